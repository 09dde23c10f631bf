//! Sample entries: what the decoder has to know before the first sample, in the form each codec's mapping asks for.

use super::boxes::Boxes;
use crate::bitstream::av1::SequenceHeader;
use crate::bitstream::h264::{pps_ids, sps};
use crate::codec::Codec;
use crate::depacket::vp9;
use crate::error::MuxError;
use crate::plan::{OPUS_PRE_SKIP, VIDEO_CLOCK};
use crate::survey::{Config, Survey};

/// Writes the one sample entry of a track.
pub(super) fn write(survey: &Survey<'_>, out: &mut Boxes) -> Result<(), MuxError> {
    let config = &survey.config;
    match survey.track.codec {
        Codec::Opus => opus(survey.track.channels, out),
        Codec::H264 => h264(config, out)?,
        Codec::Vp9 => {
            let header = config.vp9.ok_or_else(|| none_found("key frame"))?;
            visual(b"vp09", config.size, out, |entry| {
                vp9_configuration(&header, vp9_level(survey), entry)
            });
        }
        Codec::Av1 => {
            let (header, unit) = config
                .av1
                .as_ref()
                .ok_or_else(|| none_found("sequence header"))?;
            visual(b"av01", config.size, out, |entry| {
                entry.boxed(b"av1C", |inner| {
                    inner.bytes(&av1_configuration(header, unit))
                });
            });
        }
        // Firefox decodes no frame of VP8 in MP4 and FFmpeg refuses to write it (docs/measured.md).
        Codec::Vp8 => {
            return Err(MuxError::Container {
                container: "MP4",
                codec: Codec::Vp8.name(),
            });
        }
    }
    Ok(())
}

fn none_found(what: &str) -> MuxError {
    MuxError::NoDecoderConfig(format!(
        "no readable {what} in any sample marked as key frame"
    ))
}

/// VisualSampleEntry, ISO/IEC 14496-12 section 12.1.3.
fn visual(
    kind: &[u8; 4],
    size: (u16, u16),
    out: &mut Boxes,
    configuration: impl FnOnce(&mut Boxes),
) {
    const DPI_72: u32 = 72 << 16;
    out.boxed(kind, |entry| {
        entry.zeros(6);
        entry.u16(1); // data_reference_index
        entry.zeros(16);
        entry.u16(size.0);
        entry.u16(size.1);
        entry.u32(DPI_72);
        entry.u32(DPI_72);
        entry.zeros(4);
        entry.u16(1); // frame_count
        entry.zeros(32); // compressorname
        entry.u16(0x18); // depth: colour without alpha
        entry.u16(0xffff);
        configuration(entry);
    });
}

/// AVCConfigurationBox, ISO/IEC 14496-15 section 5.3.3.
///
/// `avc1` promises that all parameter sets stand in the entry; they also stay in band. When one of them changes during the
/// stream that promise cannot be kept, so the entry becomes `avc3`, which says that the ones in band count.
fn h264(config: &Config, out: &mut Boxes) -> Result<(), MuxError> {
    let first = config
        .sps
        .first()
        .filter(|set| set.len() >= 4)
        .ok_or_else(|| none_found("sequence parameter set"))?;
    let parameters = sps::Sps::parse(first).ok_or_else(|| none_found("sequence parameter set"))?;
    let changes = config.sps.len() > 1 || has_redefined_picture_set(&config.pps);
    let kind = if changes { b"avc3" } else { b"avc1" };
    visual(kind, config.size, out, |entry| {
        entry.boxed(b"avcC", |inner| {
            inner.u8(1);
            inner.bytes(&first[1..4]); // profile, constraints, level
            inner.u8(0xff); // four-byte lengths
            inner.u8(0xe1); // one SPS
            write_set(first, inner);
            let sets = picture_sets_of_the_beginning(&config.pps);
            inner.u8(sets.len() as u8);
            sets.iter().for_each(|set| write_set(set, inner));
            if matches!(parameters.profile, 100 | 110 | 122 | 144) {
                inner.u8(0xfc | parameters.chroma_format as u8);
                inner.u8(0xf8 | (parameters.bit_depth_luma - 8) as u8);
                inner.u8(0xf8 | (parameters.bit_depth_chroma - 8) as u8);
                inner.u8(0); // no SPS extensions
            }
        });
    });
    Ok(())
}

fn write_set(set: &[u8], out: &mut Boxes) {
    out.u16(set.len() as u16);
    out.bytes(set);
}

/// The first set of every id, at most as many as the count field holds.
fn picture_sets_of_the_beginning(sets: &[Vec<u8>]) -> Vec<&Vec<u8>> {
    let mut ids = Vec::new();
    let fresh = sets.iter().filter(|set| {
        let id = pps_ids(set).map(|ids| ids.0);
        let new = !ids.contains(&id);
        ids.push(id);
        new && set.len() <= usize::from(u16::MAX)
    });
    fresh.take(255).collect()
}

fn has_redefined_picture_set(sets: &[Vec<u8>]) -> bool {
    picture_sets_of_the_beginning(sets).len() < sets.len()
}

/// VPCodecConfigurationBox, "VP Codec ISO Media File Format Binding" version 1.0.
fn vp9_configuration(header: &vp9::KeyHeader, level: u8, out: &mut Boxes) {
    const UNSPECIFIED: u8 = 2; // of ISO/IEC 23091-2, for primaries, transfer and matrix
    let chroma = match header.subsampling {
        (true, true) => 1,
        (true, false) => 2,
        _ => 3,
    };
    out.full(b"vpcC", 1, 0, |inner| {
        inner.u8(header.profile);
        inner.u8(level);
        inner.u8(header.bit_depth << 4 | chroma << 1 | u8::from(header.full_range));
        let color = match header.color_space {
            2 => [1, 1, 1], // BT.709
            1 => [6, 6, 6], // BT.601
            _ => [UNSPECIFIED; 3],
        };
        inner.bytes(&color);
        inner.u16(0); // no codec initialisation data
    });
}

/// The lowest level whose picture size and rate hold the track ("VP9 Levels" of the WebM project).
fn vp9_level(survey: &Survey<'_>) -> u8 {
    const LEVELS: [(u8, u64, u64); 13] = [
        (10, 829_440, 36_864),
        (11, 2_764_800, 73_728),
        (20, 4_608_000, 122_880),
        (21, 9_216_000, 245_760),
        (30, 20_736_000, 552_960),
        (31, 36_864_000, 983_040),
        (40, 83_558_400, 2_228_224),
        (41, 160_432_128, 2_228_224),
        (50, 311_951_360, 8_912_896),
        (51, 588_251_136, 8_912_896),
        (52, 1_176_502_272, 8_912_896),
        (60, 1_176_502_272, 35_651_584),
        (61, 2_353_004_544, 35_651_584),
    ];
    let picture = u64::from(survey.config.size.0) * u64::from(survey.config.size.1);
    let ticks = survey.end().max(1) as u64;
    let rate = (picture * survey.kept.len() as u64).saturating_mul(u64::from(VIDEO_CLOCK)) / ticks;
    LEVELS
        .iter()
        .find(|row| rate <= row.1 && picture <= row.2)
        .map_or(62, |row| row.0)
}

/// AV1CodecConfigurationRecord, "AV1 Codec ISO Media File Format Binding" section 2.3.3; WebM uses the same bytes.
pub(crate) fn av1_configuration(header: &SequenceHeader, unit: &[u8]) -> Vec<u8> {
    let flag = |set: bool, shift: u8| u8::from(set) << shift;
    let details = flag(header.high_tier, 7)
        | flag(header.high_bit_depth, 6)
        | flag(header.twelve_bit, 5)
        | flag(header.monochrome, 4)
        | flag(header.subsampling.0, 3)
        | flag(header.subsampling.1, 2)
        | header.chroma_sample_position & 3;
    [
        &[0x81, header.profile << 5 | header.level & 0x1f, details, 0],
        unit,
    ]
    .concat()
}

/// OpusSampleEntry and OpusSpecificBox, "Encapsulation of Opus in ISO Base Media File Format" section 4.3.
fn opus(channels: u16, out: &mut Boxes) {
    const RATE: u32 = 48_000;
    out.boxed(b"Opus", |entry| {
        entry.zeros(6);
        entry.u16(1); // data_reference_index
        entry.zeros(8);
        entry.u16(channels);
        entry.u16(16); // samplesize
        entry.zeros(4);
        entry.u32(RATE << 16);
        entry.boxed(b"dOps", |inner| {
            inner.u8(0);
            inner.u8(channels as u8);
            inner.u16(OPUS_PRE_SKIP);
            inner.u32(RATE);
            inner.u16(0); // output gain
            inner.u8(0); // mapping family of mono and stereo
        });
    });
}
