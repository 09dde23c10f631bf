//! The sequence parameter set: how large the pictures are, and what a slice header that fits the stream must contain.
//!
//! Read for the packet index (sizes), for the container (profile, chroma) and for the black placeholder picture.

use super::rbsp;
use crate::bitstream::bits::BitReader;

/// How picture order is coded, as far as a slice header depends on it (ITU-T H.264, section 7.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureOrder {
    /// Type 0: pic_order_cnt_lsb with this many bits.
    Lsb { bits: u32 },
    /// Type 1: deltas, unless they are always zero.
    Delta { always_zero: bool },
    /// Type 2: output order is decoding order.
    Decoding,
}

/// The fields of a sequence parameter set that isotape uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sps {
    pub profile: u8,
    pub id: u32,
    pub chroma_format: u32,
    pub bit_depth_luma: u32,
    pub bit_depth_chroma: u32,
    pub separate_planes: bool,
    pub frame_num_bits: u32,
    pub picture_order: PictureOrder,
    pub width_in_blocks: u32,
    pub height_in_map_units: u32,
    pub frames_only: bool,
    /// Luma uses 0..255 and not 16..235 (video_full_range_flag of the VUI).
    pub full_range: bool,
    crop: [u32; 4],
}

/// Profiles whose parameter set carries chroma format and bit depth, ITU-T H.264 section 7.3.2.1.1.
pub const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Largest picture side in macroblocks that is believed: 16,384 pixels, above every level of the standard.
const MAX_SIDE_IN_BLOCKS: u32 = 1024;

impl Sps {
    /// Reads a NAL unit of type 7; None when it is truncated or impossible.
    pub fn parse(unit: &[u8]) -> Option<Self> {
        let payload = rbsp(unit);
        let mut bits = BitReader::new(&payload);
        let profile = bits.bits(8)? as u8;
        bits.bits(16)?; // constraint flags, level_idc
        let id = bits.unsigned_golomb()?;
        let high = if HIGH_PROFILES.contains(&profile) {
            read_high(&mut bits)?
        } else {
            High::default()
        };
        let frame_num_bits = bits
            .unsigned_golomb()?
            .checked_add(4)
            .filter(|count| *count <= 16)?;
        let picture_order = read_picture_order(&mut bits)?;
        bits.unsigned_golomb()?; // max_num_ref_frames
        bits.bit()?; // gaps_in_frame_num_value_allowed_flag
        let width_in_blocks = read_side(&mut bits)?;
        let height_in_map_units = read_side(&mut bits)?;
        let frames_only = bits.flag()?;
        if !frames_only {
            bits.bit()?; // mb_adaptive_frame_field_flag
        }
        bits.bit()?; // direct_8x8_inference_flag
        let crop = read_crop(&mut bits)?;
        Some(Self {
            profile,
            id,
            chroma_format: high.chroma_format,
            bit_depth_luma: high.bit_depth_luma,
            bit_depth_chroma: high.bit_depth_chroma,
            separate_planes: high.separate_planes,
            frame_num_bits,
            picture_order,
            width_in_blocks,
            height_in_map_units,
            frames_only,
            full_range: read_full_range(&mut bits).unwrap_or(false),
            crop,
        })
    }

    /// Width and height after cropping (section 7.4.2.1.1), or None when the crop eats the picture.
    pub fn size(&self) -> Option<(u16, u16)> {
        let fields = if self.frames_only { 1 } else { 2 };
        let planar = self.separate_planes || self.chroma_format == 0;
        let (unit_x, unit_y) = match self.chroma_format {
            _ if planar => (1, fields),
            1 => (2, 2 * fields),
            2 => (2, fields),
            _ => (1, fields),
        };
        let [left, right, top, bottom] = self.crop;
        let cut_x = left.checked_add(right)?.checked_mul(unit_x)?;
        let cut_y = top.checked_add(bottom)?.checked_mul(unit_y)?;
        let width = (self.width_in_blocks * 16).checked_sub(cut_x)?;
        let height = (self.height_in_map_units * 16 * fields).checked_sub(cut_y)?;
        let size = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
        (size.0 > 0 && size.1 > 0).then_some(size)
    }
}

struct High {
    chroma_format: u32,
    bit_depth_luma: u32,
    bit_depth_chroma: u32,
    separate_planes: bool,
}

impl Default for High {
    /// What holds for profiles that do not say: 4:2:0 with 8 bits.
    fn default() -> Self {
        Self {
            chroma_format: 1,
            bit_depth_luma: 8,
            bit_depth_chroma: 8,
            separate_planes: false,
        }
    }
}

fn read_high(bits: &mut BitReader<'_>) -> Option<High> {
    let chroma_format = bits.unsigned_golomb().filter(|format| *format <= 3)?;
    let separate_planes = chroma_format == 3 && bits.flag()?;
    let bit_depth_luma = bits.unsigned_golomb().filter(|more| *more <= 6)? + 8;
    let bit_depth_chroma = bits.unsigned_golomb().filter(|more| *more <= 6)? + 8;
    bits.bit()?; // qpprime_y_zero_transform_bypass_flag
    if bits.flag()? {
        let lists = if chroma_format == 3 { 12 } else { 8 };
        for list in 0..lists {
            if bits.flag()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(High {
        chroma_format,
        bit_depth_luma,
        bit_depth_chroma,
        separate_planes,
    })
}

/// Section 7.3.2.1.1.1: a delta of zero scale ends the coded part of the list.
fn skip_scaling_list(bits: &mut BitReader<'_>, size: u32) -> Option<()> {
    let mut last = 8i64;
    for _ in 0..size {
        let next = (last + bits.signed_golomb()?).rem_euclid(256);
        if next == 0 {
            break;
        }
        last = next;
    }
    Some(())
}

fn read_picture_order(bits: &mut BitReader<'_>) -> Option<PictureOrder> {
    match bits.unsigned_golomb()? {
        0 => {
            let count = bits
                .unsigned_golomb()?
                .checked_add(4)
                .filter(|count| *count <= 16)?;
            Some(PictureOrder::Lsb { bits: count })
        }
        1 => {
            let always_zero = bits.flag()?;
            bits.signed_golomb()?;
            bits.signed_golomb()?;
            let cycle = bits.unsigned_golomb().filter(|count| *count <= 255)?;
            for _ in 0..cycle {
                bits.signed_golomb()?;
            }
            Some(PictureOrder::Delta { always_zero })
        }
        2 => Some(PictureOrder::Decoding),
        _ => None,
    }
}

fn read_side(bits: &mut BitReader<'_>) -> Option<u32> {
    bits.unsigned_golomb()?
        .checked_add(1)
        .filter(|blocks| *blocks <= MAX_SIDE_IN_BLOCKS)
}

fn read_crop(bits: &mut BitReader<'_>) -> Option<[u32; 4]> {
    if !bits.flag()? {
        return Some([0; 4]);
    }
    Some([
        bits.unsigned_golomb()?,
        bits.unsigned_golomb()?,
        bits.unsigned_golomb()?,
        bits.unsigned_golomb()?,
    ])
}

/// video_full_range_flag, Annex E.1.1; a parameter set that ends early does not say, which means no.
fn read_full_range(bits: &mut BitReader<'_>) -> Option<bool> {
    const EXTENDED_SAR: u32 = 255;
    if !bits.flag()? {
        return None;
    }
    if bits.flag()? && bits.bits(8)? == EXTENDED_SAR {
        bits.bits(32)?;
    }
    if bits.flag()? {
        bits.bit()?; // overscan_appropriate_flag
    }
    if !bits.flag()? {
        return None;
    }
    bits.bits(3)?; // video_format
    bits.flag()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Constrained Baseline 3.1, 1280x720, as OpenH264 in libwebrtc sends it.
    pub const BASELINE_720P: [u8; 12] = [
        0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x28, 0x02, 0xdd, 0x80, 0x80,
    ];

    #[test]
    fn a_720p_parameter_set_tells_its_size() {
        let sps = Sps::parse(&BASELINE_720P).expect("valid");
        assert_eq!(
            (sps.profile, sps.chroma_format, sps.bit_depth_luma),
            (66, 1, 8)
        );
        assert_eq!(sps.size(), Some((1280, 720)));
        assert!(sps.frames_only && !sps.full_range);
    }

    #[test]
    fn every_truncation_is_refused_or_read_but_never_panics() {
        for length in 0..BASELINE_720P.len() {
            if let Some(sps) = Sps::parse(&BASELINE_720P[..length]) {
                sps.size();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn garbage_never_panics(profile in any::<u8>(), bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let unit = [&[0x67, profile], bytes.as_slice()].concat();
            if let Some(sps) = Sps::parse(&unit) {
                sps.size();
            }
        }
    }
}
