//! VP8 over RTP, RFC 7741: a descriptor in front of each piece of the frame.

use super::{Assembly, Broken, Facts};

/// Start code of a key frame header, RFC 6386 section 9.1.
const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];

/// The payload descriptor, RFC 7741 section 4.2.
struct Descriptor {
    /// S bit and partition index 0: the frame begins here.
    starts_frame: bool,
    /// Where the VP8 payload begins.
    length: usize,
}

fn descriptor(payload: &[u8]) -> Option<Descriptor> {
    let first = *payload.first()?;
    let mut length = 1;
    if first & 0x80 != 0 {
        let extension = *payload.get(1)?;
        length = 2;
        if extension & 0x80 != 0 {
            length += if payload.get(length)? & 0x80 != 0 {
                2
            } else {
                1
            };
        }
        if extension & 0x40 != 0 {
            length += 1;
        }
        if extension & 0x30 != 0 {
            length += 1;
        }
    }
    // An empty VP8 payload cannot be part of a frame: RFC 7741 section 4.4 has at least one byte.
    (payload.len() > length).then_some(Descriptor {
        starts_frame: first & 0x17 == 0x10,
        length,
    })
}

/// True when the frame header says key frame (P bit zero, RFC 7741 section 4.3).
fn is_key_frame(frame: &[u8]) -> bool {
    frame.first().is_some_and(|tag| tag & 1 == 0)
}

/// Width and height of a key frame, RFC 6386 section 9.1; the upper two bits of each are a scaling hint.
pub fn key_frame_size(frame: &[u8]) -> Option<(u16, u16)> {
    let header = frame.get(3..10)?;
    if !is_key_frame(frame) || header[..3] != START_CODE {
        return None;
    }
    let width = u16::from_le_bytes([header[3], header[4]]) & 0x3fff;
    let height = u16::from_le_bytes([header[5], header[6]]) & 0x3fff;
    Some((width, height))
}

pub fn inspect(payload: &[u8]) -> Option<Facts> {
    let descriptor = descriptor(payload)?;
    if !descriptor.starts_frame {
        return Some(Facts::default());
    }
    let frame = &payload[descriptor.length..];
    let key = is_key_frame(frame);
    Some(Facts {
        starts_frame: true,
        key,
        size: key_frame_size(frame),
        ..Facts::default()
    })
}

/// A VP8 frame: the payloads without their descriptors, one after the other.
#[derive(Default)]
pub struct Frame {
    begun: bool,
}

impl Assembly for Frame {
    fn push(&mut self, payload: &[u8], frame: &mut Vec<u8>) -> Result<(), Broken> {
        let descriptor = descriptor(payload).ok_or(Broken::Short)?;
        match (self.begun, descriptor.starts_frame) {
            (false, false) => return Err(Broken::NoStart),
            (true, true) => return Err(Broken::OutOfPlace),
            _ => self.begun = true,
        }
        frame.extend_from_slice(&payload[descriptor.length..]);
        Ok(())
    }

    fn finish(&mut self, _frame: &mut Vec<u8>) -> Result<(), Broken> {
        if self.begun {
            Ok(())
        } else {
            Err(Broken::NoStart)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::depacket::assemble;
    use proptest::prelude::*;

    /// Packetises like libwebrtc: 15 bit picture id, TL0PICIDX, TID.
    fn packetise(frame: &[u8], room: usize) -> Vec<Vec<u8>> {
        let pieces = frame.chunks(room).enumerate();
        pieces
            .map(|(index, piece)| {
                let start = if index == 0 { 0x10 } else { 0 };
                [&[0x80 | start, 0xe0, 0x81, 0x02, 7, 0x20], piece].concat()
            })
            .collect()
    }

    fn key_frame() -> Vec<u8> {
        let mut frame = vec![0x10, 0, 0, 0x9d, 0x01, 0x2a];
        frame.extend(1280u16.to_le_bytes());
        frame.extend((720u16 | 0x4000).to_le_bytes());
        frame.extend([9; 50]);
        frame
    }

    #[test]
    fn a_key_frame_tells_its_size_without_the_scaling_bits() {
        let packets = packetise(&key_frame(), 20);
        let facts = inspect(&packets[0]).expect("parsable");
        assert!(facts.starts_frame && facts.key);
        assert_eq!(facts.size, Some((1280, 720)));
        assert_eq!(inspect(&packets[1]), Some(Facts::default()));
    }

    #[test]
    fn a_later_partition_does_not_start_a_frame() {
        assert_eq!(inspect(&[0x11, 0]), Some(Facts::default()));
        let delta = inspect(&[0x10, 1]).expect("parsable");
        assert!(delta.starts_frame && !delta.key);
    }

    #[test]
    fn a_lost_first_packet_or_two_frames_at_once_are_refused() {
        let packets = packetise(&key_frame(), 20);
        let lost: Vec<&[u8]> = packets[1..].iter().map(Vec::as_slice).collect();
        assert_eq!(assemble(Codec::Vp8, &lost), Err(Broken::NoStart));
        let swapped = [packets[1].as_slice(), packets[0].as_slice()];
        assert_eq!(assemble(Codec::Vp8, &swapped), Err(Broken::NoStart));
        let twice = [packets[0].as_slice(), packets[0].as_slice()];
        assert_eq!(assemble(Codec::Vp8, &twice), Err(Broken::OutOfPlace));
    }

    proptest! {
        #[test]
        fn frames_come_back(frame in proptest::collection::vec(any::<u8>(), 1..400), room in 1usize..60) {
            let packets = packetise(&frame, room);
            let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(assemble(Codec::Vp8, &slices), Ok(frame));
        }
    }
}
