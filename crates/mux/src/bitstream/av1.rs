//! AV1 below the RTP layer: OBU framing and the sequence header (AV1 bitstream specification, sections 4.10.5 and 5.5).
//!
//! The sequence header tells the picture size for the index and the profile for the container.

use crate::bitstream::bits::BitReader;

/// obu_type values, AV1 specification section 6.2.2.
pub mod obu {
    pub const SEQUENCE_HEADER: u8 = 1;
    pub const TEMPORAL_DELIMITER: u8 = 2;
    pub const FRAME_HEADER: u8 = 3;
    pub const TILE_GROUP: u8 = 4;
    pub const FRAME: u8 = 6;
    pub const TILE_LIST: u8 = 8;
}

/// Reads leb128() of section 4.10.5: the value and its length in bytes; values above 32 bits are refused.
pub fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (index * 7);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).ok()?;
            return Some((value as usize, index + 1));
        }
    }
    None
}

/// Appends leb128() in its shortest form.
pub fn append_leb128(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// One OBU, wherever its size came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obu<'a> {
    /// The header byte without the size flag, and the extension byte when there is one.
    pub header: u8,
    pub extension: Option<u8>,
    pub payload: &'a [u8],
}

impl<'a> Obu<'a> {
    /// Reads an OBU; without a size field it fills all the bytes. Also gives what follows it.
    pub fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let header = *bytes.first()?;
        if header & 0x80 != 0 {
            return None; // obu_forbidden_bit
        }
        let extended = header & 4 != 0;
        let extension = if extended { Some(*bytes.get(1)?) } else { None };
        let body = bytes.get(1 + usize::from(extended)..)?;
        let (payload, rest) = if header & 2 != 0 {
            let (size, length) = leb128(body)?;
            let body = &body[length..];
            (body.get(..size)?, &body[size..])
        } else {
            (body, &body[body.len()..])
        };
        Some((
            Self {
                header: header & !2,
                extension,
                payload,
            },
            rest,
        ))
    }

    pub fn kind(&self) -> u8 {
        self.header >> 3 & 15
    }

    /// Appends the OBU with a size field, as files want it.
    pub fn append_sized(&self, out: &mut Vec<u8>) {
        out.push(self.header | 2);
        out.extend(self.extension);
        append_leb128(self.payload.len(), out);
        out.extend_from_slice(self.payload);
    }

    /// True when the OBU opens with the header of a key frame that is shown for the first time (section 5.9.2).
    pub fn is_key_frame(&self) -> bool {
        let opens = matches!(self.kind(), obu::FRAME | obu::FRAME_HEADER);
        // show_existing_frame is 0 and frame_type is KEY_FRAME, 0.
        opens && self.payload.first().is_some_and(|byte| byte & 0xe0 == 0)
    }
}

/// Iterates the sized OBUs of a sample; stops at the first that does not fit.
pub fn obus(sample: &[u8]) -> impl Iterator<Item = Obu<'_>> {
    let mut rest = sample;
    std::iter::from_fn(move || {
        let (obu, after) = Obu::parse(rest)?;
        rest = after;
        Some(obu)
    })
}

/// The fields of a sequence header that the index and the container use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceHeader {
    pub profile: u8,
    pub level: u8,
    pub high_tier: bool,
    pub high_bit_depth: bool,
    pub twelve_bit: bool,
    pub monochrome: bool,
    pub subsampling: (bool, bool),
    pub chroma_sample_position: u8,
    pub size: (u16, u16),
}

#[derive(Default, Clone, Copy)]
struct OperatingPoint {
    level: u8,
    high_tier: bool,
}

impl SequenceHeader {
    /// Reads the payload of a sequence header OBU (section 5.5.1).
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut bits = BitReader::new(payload);
        let profile = bits.bits(3)? as u8;
        bits.bit()?; // still_picture
        let reduced = bits.flag()?;
        let point = if reduced {
            OperatingPoint {
                level: bits.bits(5)? as u8,
                high_tier: false,
            }
        } else {
            read_operating_points(&mut bits)?
        };
        let width_bits = bits.bits(4)? + 1;
        let height_bits = bits.bits(4)? + 1;
        let width = bits.bits(width_bits)?.checked_add(1)?;
        let height = bits.bits(height_bits)?.checked_add(1)?;
        skip_tools(&mut bits, reduced)?;
        let color = read_color(&mut bits, profile)?;
        Some(Self {
            profile,
            level: point.level,
            high_tier: point.high_tier,
            high_bit_depth: color.high_bit_depth,
            twelve_bit: color.twelve_bit,
            monochrome: color.monochrome,
            subsampling: color.subsampling,
            chroma_sample_position: color.chroma_sample_position,
            size: (u16::try_from(width).ok()?, u16::try_from(height).ok()?),
        })
    }
}

/// Timing, decoder model and operating points; the level and tier of the first point are kept.
fn read_operating_points(bits: &mut BitReader<'_>) -> Option<OperatingPoint> {
    let mut delay_bits = None;
    if bits.flag()? {
        bits.bits(32)?; // num_units_in_display_tick
        bits.bits(32)?; // time_scale
        if bits.flag()? {
            bits.uvlc()?; // num_ticks_per_picture_minus_1
        }
        if bits.flag()? {
            delay_bits = Some(bits.bits(5)? + 1);
            bits.bits(32)?; // num_units_in_decoding_tick
            bits.bits(10)?; // buffer_removal_time_length, frame_presentation_time_length
        }
    }
    let display_delay = bits.flag()?;
    let points = bits.bits(5)? + 1;
    let mut first = None;
    for _ in 0..points {
        bits.bits(12)?; // operating_point_idc
        let level = bits.bits(5)? as u8;
        let high_tier = level > 7 && bits.flag()?;
        if let Some(count) = delay_bits
            && bits.flag()?
        {
            bits.bits(count)?;
            bits.bits(count)?;
            bits.bit()?; // low_delay_mode_flag
        }
        if display_delay && bits.flag()? {
            bits.bits(4)?;
        }
        first = first.or(Some(OperatingPoint { level, high_tier }));
    }
    first
}

/// Everything between the size and color_config().
fn skip_tools(bits: &mut BitReader<'_>, reduced: bool) -> Option<()> {
    if !reduced && bits.flag()? {
        bits.bits(7)?; // delta_frame_id_length_minus_2, additional_frame_id_length_minus_1
    }
    bits.bits(3)?; // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    if !reduced {
        bits.bits(4)?; // interintra, masked compound, warped motion, dual filter
        let order_hint = bits.flag()?;
        if order_hint {
            bits.bits(2)?; // enable_jnt_comp, enable_ref_frame_mvs
        }
        let choose_tools = bits.flag()?;
        let may_use_tools = choose_tools || bits.flag()?;
        if may_use_tools && !bits.flag()? {
            bits.bit()?; // seq_force_integer_mv
        }
        if order_hint {
            bits.bits(3)?; // order_hint_bits_minus_1
        }
    }
    bits.bits(3)?; // enable_superres, enable_cdef, enable_restoration
    Some(())
}

struct Color {
    high_bit_depth: bool,
    twelve_bit: bool,
    monochrome: bool,
    subsampling: (bool, bool),
    chroma_sample_position: u8,
}

/// color_config() of section 5.5.2.
fn read_color(bits: &mut BitReader<'_>, profile: u8) -> Option<Color> {
    let high_bit_depth = bits.flag()?;
    let twelve_bit = profile == 2 && high_bit_depth && bits.flag()?;
    let monochrome = profile != 1 && bits.flag()?;
    let described = bits.flag()?;
    let description = if described { bits.bits(24)? } else { 0 };
    let mut color = Color {
        high_bit_depth,
        twelve_bit,
        monochrome,
        subsampling: (true, true),
        chroma_sample_position: 0,
    };
    if monochrome {
        bits.bit()?; // color_range
        return Some(color);
    }
    /// CP_BT_709, TC_SRGB, MC_IDENTITY: the picture is RGB, never subsampled.
    const SRGB: u32 = 0x01_0d_00;
    if description == SRGB {
        color.subsampling = (false, false);
        return Some(color);
    }
    bits.bit()?; // color_range
    color.subsampling = match profile {
        0 => (true, true),
        1 => (false, false),
        _ if twelve_bit => {
            let x = bits.flag()?;
            (x, x && bits.flag()?)
        }
        _ => (true, false),
    };
    if color.subsampling == (true, true) {
        color.chroma_sample_position = bits.bits(2)? as u8;
    }
    Some(color)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn leb128_comes_back(value in 0usize..u32::MAX as usize) {
            let mut bytes = Vec::new();
            append_leb128(value, &mut bytes);
            prop_assert_eq!(leb128(&bytes), Some((value, bytes.len())));
        }

        #[test]
        fn sized_obus_come_back(header in 0u8..128, payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            let extension = (header & 4 != 0).then_some(0x28);
            let unit = Obu { header: header & !2, extension, payload: &payload };
            let mut sample = Vec::new();
            unit.append_sized(&mut sample);
            unit.append_sized(&mut sample);
            prop_assert_eq!(obus(&sample).collect::<Vec<_>>(), [unit, unit]);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            SequenceHeader::parse(&bytes);
            obus(&bytes).for_each(drop);
        }
    }

    #[test]
    fn a_size_beyond_32_bits_is_refused() {
        assert_eq!(leb128(&[0xff, 0xff, 0xff, 0xff, 0x7f]), None);
        assert_eq!(leb128(&[0x80; 8]), None);
        assert_eq!(leb128(&[0x80]), None);
    }
}
