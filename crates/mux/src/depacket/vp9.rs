//! VP9 over RTP, RFC 9628: a descriptor in front of each piece of each layer frame.
//!
//! Several spatial layers of one picture become one sample that ends with a superframe index, as Annex B of the VP9
//! bitstream specification asks for; without it FFmpeg cannot find the second layer.

use super::{Assembly, Broken, Facts};
use crate::bitstream::bits::BitReader;

/// The payload descriptor, RFC 9628 section 4.2.
struct Descriptor {
    /// B: a layer frame begins here.
    begins: bool,
    /// E: a layer frame ends here.
    ends: bool,
    spatial_layer: u8,
    length: usize,
}

fn descriptor(payload: &[u8]) -> Option<Descriptor> {
    let first = *payload.first()?;
    let flag = |mask: u8| first & mask != 0;
    let (picture_id, predicted, layered, flexible) =
        (flag(0x80), flag(0x40), flag(0x20), flag(0x10));
    let mut length = 1;
    if picture_id {
        length += if payload.get(length)? & 0x80 != 0 {
            2
        } else {
            1
        };
    }
    let mut spatial_layer = 0;
    if layered {
        spatial_layer = payload.get(length)? >> 1 & 7;
        length += if flexible { 1 } else { 2 };
    }
    if flexible && predicted {
        length += reference_bytes(payload.get(length..)?)?;
    }
    if flag(0x02) {
        length += scalability_bytes(payload.get(length..)?)?;
    }
    let whole = Descriptor {
        begins: flag(0x08),
        ends: flag(0x04),
        spatial_layer,
        length,
    };
    (payload.len() > length).then_some(whole)
}

/// Length of the P_DIFF list: at most three, each with a bit that says whether another follows.
fn reference_bytes(bytes: &[u8]) -> Option<usize> {
    let last = bytes.iter().take(3).position(|byte| byte & 1 == 0)?;
    Some(last + 1)
}

/// Length of the scalability structure, RFC 9628 section 4.2.1.
fn scalability_bytes(bytes: &[u8]) -> Option<usize> {
    let first = *bytes.first()?;
    let layers = usize::from(first >> 5) + 1;
    let mut length = 1;
    if first & 0x10 != 0 {
        length += layers * 4;
    }
    if first & 0x08 != 0 {
        let pictures = *bytes.get(length)?;
        length += 1;
        for _ in 0..pictures {
            length += 1 + usize::from(bytes.get(length)? >> 2 & 3);
        }
    }
    Some(length)
}

/// What the uncompressed header of a key frame tells (VP9 bitstream specification, section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHeader {
    pub profile: u8,
    pub bit_depth: u8,
    pub color_space: u8,
    pub full_range: bool,
    /// Horizontal and vertical chroma subsampling.
    pub subsampling: (bool, bool),
    pub size: (u16, u16),
}

/// CS_RGB of the VP9 bitstream specification, section 7.2.2.
const COLOR_SPACE_RGB: u8 = 7;

/// The header of a key frame, or None for any other frame.
pub fn key_header(frame: &[u8]) -> Option<KeyHeader> {
    let mut bits = BitReader::new(frame);
    if bits.bits(2)? != 2 {
        return None;
    }
    let profile = (bits.bit()? | bits.bit()? << 1) as u8;
    if profile == 3 {
        bits.bit()?;
    }
    let (show_existing, inter) = (bits.flag()?, bits.flag()?);
    if show_existing || inter {
        return None;
    }
    bits.bits(2)?; // show_frame, error_resilient_mode
    if bits.bits(24)? != 0x49_83_42 {
        return None;
    }
    let bit_depth = if profile < 2 {
        8
    } else {
        10 + 2 * bits.bit()? as u8
    };
    let color_space = bits.bits(3)? as u8;
    let (full_range, subsampling) = color_range(&mut bits, color_space, profile)?;
    let width = bits.bits(16)?.checked_add(1)?;
    let height = bits.bits(16)?.checked_add(1)?;
    let size = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
    Some(KeyHeader {
        profile,
        bit_depth,
        color_space,
        full_range,
        subsampling,
        size,
    })
}

fn color_range(
    bits: &mut BitReader<'_>,
    color_space: u8,
    profile: u8,
) -> Option<(bool, (bool, bool))> {
    let coded_subsampling = profile & 1 == 1;
    if color_space == COLOR_SPACE_RGB {
        if coded_subsampling {
            bits.bit()?;
        }
        return Some((true, (false, false)));
    }
    let full_range = bits.flag()?;
    if !coded_subsampling {
        return Some((full_range, (true, true)));
    }
    let subsampling = (bits.flag()?, bits.flag()?);
    bits.bit()?;
    Some((full_range, subsampling))
}

pub fn inspect(payload: &[u8]) -> Option<Facts> {
    let descriptor = descriptor(payload)?;
    let header = descriptor
        .begins
        .then(|| key_header(&payload[descriptor.length..]))
        .flatten();
    let base = descriptor.spatial_layer == 0;
    Some(Facts {
        starts_frame: descriptor.begins && base,
        ends_frame: descriptor.ends,
        key: header.is_some() && base,
        size: header.map(|header| header.size),
        samples: 0,
    })
}

/// A VP9 picture: the layer frames one after the other, with an index when there are several.
#[derive(Default)]
pub struct Frame {
    /// Lengths of the layer frames that are whole.
    layers: Vec<usize>,
    /// Where the layer frame that is being read begins.
    open_at: Option<usize>,
}

impl Assembly for Frame {
    fn push(&mut self, payload: &[u8], frame: &mut Vec<u8>) -> Result<(), Broken> {
        let descriptor = descriptor(payload).ok_or(Broken::Short)?;
        let begin = match (self.open_at, descriptor.begins) {
            (None, true) => frame.len(),
            (Some(begin), false) => begin,
            (Some(_), true) => return Err(Broken::OutOfPlace),
            (None, false) => return Err(Broken::NoStart),
        };
        frame.extend_from_slice(&payload[descriptor.length..]);
        self.open_at = Some(begin);
        if descriptor.ends {
            self.layers.push(frame.len() - begin);
            self.open_at = None;
        }
        Ok(())
    }

    fn finish(&mut self, frame: &mut Vec<u8>) -> Result<(), Broken> {
        match (self.open_at, self.layers.len()) {
            (Some(_), _) => Err(Broken::NoEnd),
            (None, 0) => Err(Broken::NoStart),
            (None, 1) => Ok(()),
            (None, 2..=8) => {
                append_superframe_index(&self.layers, frame);
                Ok(())
            }
            _ => Err(Broken::Unsupported),
        }
    }
}

/// Annex B of the VP9 bitstream specification: the sizes of the frames, between two equal marker bytes.
fn append_superframe_index(layers: &[usize], frame: &mut Vec<u8>) {
    let width = 4u8; // bytes for each size; always four, so that every size fits
    let marker = 0xc0 | (width - 1) << 3 | (layers.len() as u8 - 1);
    frame.push(marker);
    layers
        .iter()
        .for_each(|size| frame.extend_from_slice(&(*size as u32).to_le_bytes()));
    frame.push(marker);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bitstream::bits::BitWriter;
    use crate::codec::Codec;
    use crate::depacket::assemble;
    use proptest::prelude::*;

    /// Packetises one layer frame like libwebrtc in non-flexible mode with layer indices.
    fn packetise(frame: &[u8], room: usize, layer: u8) -> Vec<Vec<u8>> {
        let count = frame.chunks(room).len();
        let pieces = frame.chunks(room).enumerate();
        pieces
            .map(|(index, piece)| {
                let begin = if index == 0 { 0x08 } else { 0 };
                let end = if index + 1 == count { 0x04 } else { 0 };
                [&[0xa0 | begin | end, 0x81, 0x05, layer << 1, 3], piece].concat()
            })
            .collect()
    }

    fn key_frame(width: u32, height: u32) -> Vec<u8> {
        let mut bits = BitWriter::default();
        bits.bits(2, 2);
        bits.bits(2, 0); // profile 0
        bits.bits(2, 0); // not shown again, key frame
        bits.bits(2, 2);
        bits.bits(24, 0x49_83_42);
        bits.bits(4, 2 << 1); // BT.709, studio range
        bits.bits(16, width - 1);
        bits.bits(16, height - 1);
        bits.finish_rbsp()
    }

    #[test]
    fn a_key_frame_tells_its_size() {
        let packets = packetise(&key_frame(1280, 720), 100, 0);
        let facts = inspect(&packets[0]).expect("parsable");
        assert!(facts.starts_frame && facts.ends_frame && facts.key);
        assert_eq!(facts.size, Some((1280, 720)));
    }

    #[test]
    fn an_upper_layer_does_not_start_a_frame() {
        let packets = packetise(&key_frame(64, 64), 100, 1);
        let facts = inspect(&packets[0]).expect("parsable");
        assert!(!facts.starts_frame && !facts.key);
    }

    #[test]
    fn the_scalability_structure_is_stepped_over() {
        // V set: one spatial layer with size, picture group of two with 0 and 1 references.
        let payload = [0x0e, 0x18, 5, 0, 2, 208, 2, 0x00, 0x04, 1, 0x82, 0x49];
        let descriptor = descriptor(&payload).expect("parsable");
        assert_eq!(descriptor.length, 10);
    }

    #[test]
    fn holes_and_swaps_are_refused() {
        let packets = packetise(&[7; 100], 30, 0);
        let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        assert_eq!(assemble(Codec::Vp9, &slices[1..]), Err(Broken::NoStart));
        assert_eq!(assemble(Codec::Vp9, &slices[..3]), Err(Broken::NoEnd));
        let swapped = [slices[0], slices[3], slices[1], slices[2]];
        assert_eq!(assemble(Codec::Vp9, &swapped), Err(Broken::NoStart));
    }

    #[test]
    fn two_layers_end_with_a_superframe_index() {
        let packets = [packetise(&[1; 10], 6, 0), packetise(&[2; 20], 6, 1)].concat();
        let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        let frame = assemble(Codec::Vp9, &slices).expect("two layers");
        assert_eq!(frame[30..], [0xd9, 10, 0, 0, 0, 20, 0, 0, 0, 0xd9]);
    }

    proptest! {
        #[test]
        fn frames_come_back(frame in proptest::collection::vec(any::<u8>(), 1..400), room in 1usize..60) {
            let packets = packetise(&frame, room, 0);
            let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(assemble(Codec::Vp9, &slices), Ok(frame));
        }
    }
}
