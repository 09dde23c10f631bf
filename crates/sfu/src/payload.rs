//! Whether a key frame begins in a packet, by the first bytes of its payload.
//!
//! The live path needs no more of a codec than this; whoever makes files reads payloads with
//! `crates/mux`. Bytes that make no sense begin nothing.

use str0m::format::Codec;

/// NAL unit types of RFC 6184 section 5.2.
const H264_IDR: u8 = 5;
const H264_STAP_A: u8 = 24;
const H264_FU_A: u8 = 28;

pub fn begins_key_frame(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264(payload),
        Codec::Vp8 => vp8(payload).unwrap_or(false),
        Codec::Vp9 => vp9(payload).unwrap_or(false),
        // The N bit: a new coded video sequence (AV1 RTP specification, section 4.4).
        Codec::Av1 => payload.first().is_some_and(|header| header & 0x08 != 0),
        _ => false,
    }
}

fn h264(payload: &[u8]) -> bool {
    let Some(first) = payload.first() else {
        return false;
    };
    match first & 0x1f {
        H264_FU_A => payload
            .get(1)
            .is_some_and(|fu| fu & 0x80 != 0 && fu & 0x1f == H264_IDR),
        H264_STAP_A => aggregated(&payload[1..]).any(|unit| unit & 0x1f == H264_IDR),
        kind => kind == H264_IDR,
    }
}

/// The first bytes of the units in a STAP-A.
fn aggregated(mut rest: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let [high, low, unit, ..] = rest else {
            return None;
        };
        let size = usize::from(u16::from_be_bytes([*high, *low]));
        let unit = *unit;
        rest = rest.get(2 + size..)?;
        Some(unit)
    })
}

/// RFC 7741 section 4: the descriptor, and behind it the P bit of the frame's first byte.
fn vp8(payload: &[u8]) -> Option<bool> {
    let descriptor = payload.first()?;
    let mut at = 1;
    if descriptor & 0x80 != 0 {
        let extension = payload.get(1)?;
        at = 2;
        if extension & 0x80 != 0 {
            at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(extension & 0x40 != 0) + usize::from(extension & 0x30 != 0);
    }
    let begins_frame = descriptor & 0x17 == 0x10;
    Some(begins_frame && payload.get(at)? & 1 == 0)
}

/// RFC 9628 section 4.2: beginning of a frame that is not predicted from others, in the base layer.
fn vp9(payload: &[u8]) -> Option<bool> {
    let descriptor = payload.first()?;
    let begins_independent_frame = descriptor & 0x48 == 0x08;
    if descriptor & 0x20 == 0 {
        return Some(begins_independent_frame);
    }
    let mut at = 1;
    if descriptor & 0x80 != 0 {
        at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    let spatial_layer = payload.get(at)? >> 1 & 0x07;
    Some(begins_independent_frame && spatial_layer == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_are_told_from_others_in_every_codec() {
        let begins: [(Codec, &[u8]); 8] = [
            (Codec::H264, &[0x65, 0x88]),
            (Codec::H264, &[0x7c, 0x85, 0]),
            (Codec::H264, &[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x65]),
            (Codec::Vp8, &[0x10, 0x02]),
            (Codec::Vp8, &[0x90, 0xf0, 0x81, 0x23, 7, 9, 0x02]),
            (Codec::Vp9, &[0x8c, 0x81, 0x23, 0x00]),
            (Codec::Vp9, &[0xa8, 0x01, 0x10]),
            (Codec::Av1, &[0x18, 0x0a]),
        ];
        for (codec, payload) in begins {
            assert!(begins_key_frame(codec, payload), "{codec:?} {payload:x?}");
        }
        let others: [(Codec, &[u8]); 11] = [
            (Codec::H264, &[0x41, 0x88]),
            (Codec::H264, &[0x7c, 0x05, 0]),
            (Codec::H264, &[0x78, 0, 9, 0x65]),
            (Codec::H264, &[]),
            (Codec::Vp8, &[0x00, 0x02]),
            (Codec::Vp8, &[0x10, 0x03]),
            (Codec::Vp8, &[0x90, 0xf0, 0x81]),
            (Codec::Vp9, &[0xcc, 0x81, 0x23]),
            (Codec::Vp9, &[0xa8, 0x01, 0x12]),
            (Codec::Av1, &[0x10]),
            (Codec::Opus, &[0xfc]),
        ];
        for (codec, payload) in others {
            assert!(!begins_key_frame(codec, payload), "{codec:?} {payload:x?}");
        }
    }
}
