//! H.264 below the RTP layer: NAL units, their two framings, and the parameter sets (ITU-T H.264, sections 7.3 and Annex B).
//!
//! RTP carries bare NAL units, MP4 wants each behind a four-byte length, decoders and encoders speak Annex B start codes.

pub mod sps;

use crate::bitstream::bits::BitReader;

/// nal_unit_type values, ITU-T H.264 table 7-1.
pub mod nal {
    pub const SLICE: u8 = 1;
    pub const IDR: u8 = 5;
    pub const SPS: u8 = 7;
    pub const PPS: u8 = 8;
    pub const DELIMITER: u8 = 9;
}

/// A four-byte start code; the framing of every NAL unit that leaves this crate as Annex B.
pub const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The type of a NAL unit; 0 for an empty one.
pub fn unit_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |header| header & 0x1f)
}

/// True for a coded slice that is the first of its picture (first_mb_in_slice is 0, so its ue(v) is a single one bit).
pub fn starts_picture(unit: &[u8]) -> bool {
    matches!(unit_type(unit), nal::SLICE | nal::IDR)
        && unit.get(1).is_some_and(|byte| byte & 0x80 != 0)
}

/// Iterates the NAL units of a sample with four-byte lengths; stops at the first length that does not fit.
pub fn units_by_length(sample: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = sample;
    std::iter::from_fn(move || {
        let (length, body) = rest.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let unit = body.get(..length)?;
        rest = &body[length..];
        Some(unit)
    })
}

/// The NAL units of an Annex B byte stream, without start codes and trailing zeros.
pub fn units_by_start_code(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at + 3 <= stream.len() {
        if stream[at..at + 3] == [0, 0, 1] {
            starts.push(at + 3);
            at += 3;
        } else {
            at += 1;
        }
    }
    let ends = starts
        .iter()
        .skip(1)
        .map(|next| next - 3)
        .chain([stream.len()]);
    let units = starts
        .iter()
        .zip(ends)
        .map(|(start, end)| without_trailing_zeros(&stream[*start..end]));
    units.filter(|unit| !unit.is_empty()).collect()
}

fn without_trailing_zeros(unit: &[u8]) -> &[u8] {
    let end = unit
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    &unit[..end]
}

/// Appends a NAL unit with its length in front.
pub fn append_with_length(unit: &[u8], sample: &mut Vec<u8>) {
    sample.extend_from_slice(&(unit.len() as u32).to_be_bytes());
    sample.extend_from_slice(unit);
}

/// Turns the lengths of a sample into start codes, in place; both are four bytes.
pub fn lengths_to_start_codes(sample: &mut [u8]) {
    let mut at = 0;
    while let Some(field) = sample.get_mut(at..at + 4) {
        let length = u32::from_be_bytes([field[0], field[1], field[2], field[3]]) as usize;
        field.copy_from_slice(&START_CODE);
        at += 4 + length;
    }
}

/// The payload of a NAL unit without its header byte and without emulation prevention (section 7.4.1).
pub fn rbsp(unit: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for &byte in unit.iter().skip(1) {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        payload.push(byte);
    }
    payload
}

/// A NAL unit from its header and payload, with emulation prevention put in.
pub fn from_rbsp(header: u8, payload: &[u8]) -> Vec<u8> {
    let mut unit = vec![header];
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte <= 3 {
            unit.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        unit.push(byte);
    }
    unit
}

/// pic_parameter_set_id and seq_parameter_set_id of a picture parameter set.
pub fn pps_ids(unit: &[u8]) -> Option<(u32, u32)> {
    let payload = rbsp(unit.get(..unit.len().min(16))?);
    let mut bits = BitReader::new(&payload);
    Some((bits.unsigned_golomb()?, bits.unsigned_golomb()?))
}

/// pic_parameter_set_id that a slice uses.
pub fn slice_pps_id(unit: &[u8]) -> Option<u32> {
    let payload = rbsp(unit.get(..unit.len().min(16))?);
    let mut bits = BitReader::new(&payload);
    bits.unsigned_golomb()?; // first_mb_in_slice
    bits.unsigned_golomb()?; // slice_type
    bits.unsigned_golomb()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn start_codes_of_three_and_four_bytes_part_units() {
        let stream = [
            0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65, 4,
        ];
        let units = units_by_start_code(&stream);
        assert_eq!(units, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 4]]);
    }

    proptest! {
        #[test]
        fn payloads_come_back_and_hold_no_start_code(payload in proptest::collection::vec(0u8..5, 0..60)) {
            let unit = from_rbsp(0x65, &payload);
            prop_assert!(!unit.windows(3).any(|window| window == [0, 0, 1] || window == [0, 0, 0]));
            prop_assert_eq!(rbsp(&unit), payload);
        }

        #[test]
        fn both_framings_hold_the_same_units(
            units in proptest::collection::vec(proptest::collection::vec(1u8..255, 1..20), 1..5),
        ) {
            let mut sample = Vec::new();
            units.iter().for_each(|unit| append_with_length(unit, &mut sample));
            prop_assert_eq!(units_by_length(&sample).collect::<Vec<_>>(), units.clone());
            lengths_to_start_codes(&mut sample);
            prop_assert_eq!(units_by_start_code(&sample), units);
        }

        #[test]
        fn garbage_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            units_by_length(&bytes).for_each(drop);
            units_by_start_code(&bytes);
            pps_ids(&bytes);
            slice_pps_id(&bytes);
            lengths_to_start_codes(&mut bytes);
        }
    }
}
