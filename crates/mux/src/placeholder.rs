//! The black picture that stands in for video which is not there: before a camera starts, and while it is off.
//!
//! It uses the real stream's sequence parameter set, so that sizes and decoder settings do not change when the first real
//! picture comes, and a picture parameter set of its own, so that the stream's own is not touched. It is an IDR picture: what
//! comes after it must start with an IDR picture too, and then decodes bit by bit as if it had stood alone.

use crate::bitstream::bits::BitWriter;
use crate::bitstream::h264::sps::{PictureOrder, Sps};
use crate::bitstream::h264::{
    START_CODE, from_rbsp, nal, pps_ids, slice_pps_id, unit_type, units_by_start_code,
};

/// The id of our picture parameter set: the highest, which encoders do not reach; one less if this stream did.
const PPS_ID: u32 = 255;

/// idr_pic_id must differ between neighbouring IDR pictures (ITU-T H.264 section 7.4.3); encoders count up from 0.
const IDR_PIC_ID: u32 = 40_000;

/// Black in studio range and in full range, and no colour (ITU-T BT.709).
const BLACK_STUDIO: u32 = 16;
const BLACK_FULL: u32 = 0;
const NO_COLOR: u32 = 128;

/// nal_ref_idc 3, the most important, as encoders give parameter sets and IDR pictures.
const REFERENCE: u8 = 3 << 5;

/// A black key frame as Annex B, made to fit the stream of `key_frame` (Annex B, with its parameter sets).
///
/// None when the stream is not what this can draw: progressive, 8 bit, 4:2:0.
pub fn black_h264(key_frame: &[u8]) -> Option<Vec<u8>> {
    let units = units_by_start_code(key_frame);
    let sps_unit = active_sps(&units)?;
    let sps = Sps::parse(sps_unit)?;
    let drawable = sps.frames_only
        && sps.chroma_format == 1
        && (sps.bit_depth_luma, sps.bit_depth_chroma) == (8, 8);
    if !drawable {
        return None;
    }
    let taken = |id: u32| {
        units
            .iter()
            .any(|unit| unit_type(unit) == nal::PPS && pps_ids(unit).is_some_and(|ids| ids.0 == id))
    };
    let pps_id = if taken(PPS_ID) { PPS_ID - 1 } else { PPS_ID };
    let pps = from_rbsp(REFERENCE | nal::PPS, &picture_parameter_set(pps_id, sps.id));
    let slice = from_rbsp(REFERENCE | nal::IDR, &black_slice(pps_id, &sps));
    let stream = [sps_unit, &pps, &slice]
        .iter()
        .flat_map(|unit| [&START_CODE[..], unit].concat())
        .collect();
    Some(stream)
}

/// The sequence parameter set that the IDR slice refers to; without a readable reference, the last one.
fn active_sps<'a>(units: &[&'a [u8]]) -> Option<&'a [u8]> {
    let of_type = |kind| {
        units
            .iter()
            .copied()
            .filter(move |unit| unit_type(unit) == kind)
    };
    let pps_id = of_type(nal::IDR).next().and_then(slice_pps_id);
    let sps_id = of_type(nal::PPS)
        .filter_map(pps_ids)
        .rfind(|ids| Some(ids.0) == pps_id)
        .map(|ids| ids.1);
    let named = sps_id.and_then(|id| {
        of_type(nal::SPS).rfind(|unit| Sps::parse(unit).is_some_and(|sps| sps.id == id))
    });
    named.or_else(|| of_type(nal::SPS).next_back())
}

/// ITU-T H.264 section 7.3.2.2: CAVLC, nothing optional except control of the deblocking filter.
fn picture_parameter_set(id: u32, sps_id: u32) -> Vec<u8> {
    let mut bits = BitWriter::default();
    bits.unsigned_golomb(id);
    bits.unsigned_golomb(sps_id);
    bits.bits(2, 0); // entropy_coding_mode_flag: CAVLC; no bottom field order
    bits.unsigned_golomb(0); // one slice group
    bits.unsigned_golomb(0); // num_ref_idx_l0_default_active_minus1
    bits.unsigned_golomb(0); // num_ref_idx_l1_default_active_minus1
    bits.bits(3, 0); // no weighted prediction
    (0..3).for_each(|_| bits.unsigned_golomb(0)); // pic_init_qp, pic_init_qs, chroma_qp_index_offset: 0
    bits.bits(3, 0b100); // deblocking control present, not constrained, no redundant pictures
    bits.finish_rbsp()
}

/// One slice that is the whole picture: the first macroblock holds black samples, all others are predicted from it.
fn black_slice(pps_id: u32, sps: &Sps) -> Vec<u8> {
    let mut bits = BitWriter::default();
    slice_header(pps_id, sps, &mut bits);
    black_macroblock(
        if sps.full_range {
            BLACK_FULL
        } else {
            BLACK_STUDIO
        },
        &mut bits,
    );
    let width = sps.width_in_blocks;
    for block in 1..width * sps.height_in_map_units {
        // The macroblocks to the right of and below the first take their code table from its sixteen coefficients.
        predicted_macroblock(block == 1 && width > 1 || block == width, &mut bits);
    }
    bits.finish_rbsp()
}

/// ITU-T H.264 section 7.3.3, for an I slice of an IDR picture with our picture parameter set.
fn slice_header(pps_id: u32, sps: &Sps, bits: &mut BitWriter) {
    const ALL_SLICES_I: u32 = 7;
    bits.unsigned_golomb(0); // first_mb_in_slice
    bits.unsigned_golomb(ALL_SLICES_I);
    bits.unsigned_golomb(pps_id);
    bits.bits(sps.frame_num_bits, 0);
    bits.unsigned_golomb(IDR_PIC_ID);
    match sps.picture_order {
        PictureOrder::Lsb { bits: count } => bits.bits(count, 0),
        PictureOrder::Delta { always_zero: false } => bits.unsigned_golomb(0),
        PictureOrder::Delta { always_zero: true } | PictureOrder::Decoding => {}
    }
    bits.bits(2, 0); // no_output_of_prior_pics_flag, long_term_reference_flag
    bits.unsigned_golomb(0); // slice_qp_delta 0
    bits.unsigned_golomb(1); // disable_deblocking_filter_idc: off
}

/// I_PCM, section 7.3.5: 256 luma and twice 64 chroma samples as they are.
fn black_macroblock(luma: u32, bits: &mut BitWriter) {
    const I_PCM: u32 = 25;
    bits.unsigned_golomb(I_PCM);
    bits.align_with_zeros();
    (0..256).for_each(|_| bits.bits(8, luma));
    (0..128).for_each(|_| bits.bits(8, NO_COLOR));
}

/// I_16x16 with DC prediction and no coefficients (table 7-11), which repeats its neighbours.
fn predicted_macroblock(beside_pcm: bool, bits: &mut BitWriter) {
    const I_16X16_DC_PLAIN: u32 = 3;
    bits.unsigned_golomb(I_16X16_DC_PLAIN);
    bits.unsigned_golomb(0); // intra_chroma_pred_mode: DC
    bits.unsigned_golomb(0); // mb_qp_delta 0
    // coeff_token for no coefficients, table 9-5: by the number of coefficients in the neighbours (16 in I_PCM, else 0).
    if beside_pcm {
        bits.bits(6, 0b000011)
    } else {
        bits.bits(1, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key_frame() -> Vec<u8> {
        let sps = [
            0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x28, 0x02, 0xdd, 0x80, 0x80,
        ];
        let units: [&[u8]; 3] = [&sps, &[0x68, 0xce, 0x3c, 0x80], &[0x65, 0x88, 0x80]];
        units
            .iter()
            .flat_map(|unit| [&START_CODE[..], unit].concat())
            .collect()
    }

    #[test]
    fn the_picture_keeps_the_sps_and_brings_its_own_pps() {
        let frame = key_frame();
        let black = black_h264(&frame).expect("drawable");
        let units = units_by_start_code(&black);
        assert_eq!(
            units.iter().map(|unit| unit_type(unit)).collect::<Vec<_>>(),
            [nal::SPS, nal::PPS, nal::IDR]
        );
        assert_eq!(units[0], units_by_start_code(&frame)[0]);
        assert_eq!(pps_ids(units[1]), Some((255, 0)));
        assert_eq!(slice_pps_id(units[2]), Some(255));
        assert!(
            black.len() < 4_500,
            "3,599 predicted macroblocks of 8 bits and one of 384 bytes: {}",
            black.len()
        );
    }

    #[test]
    fn a_pps_id_that_is_taken_is_left_alone() {
        let own = from_rbsp(0x68, &picture_parameter_set(255, 0));
        let frame = [key_frame(), START_CODE.to_vec(), own].concat();
        let black = black_h264(&frame).expect("drawable");
        assert_eq!(pps_ids(units_by_start_code(&black)[1]), Some((254, 0)));
    }

    proptest! {
        #[test]
        fn garbage_gives_nothing_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            black_h264(&bytes);
            black_h264(&[&[0, 0, 1, 0x67, 66], bytes.as_slice()].concat());
        }
    }
}
