//! MP4 (ISO/IEC 14496-12) with the index in front, so that a player starts before the file has arrived.
//!
//! Both tracks start at 0 and no empty edit is ever written: Firefox ignores it and Chromium loses sound before it
//! (docs/measured.md). The only edit takes the Opus priming off. Nothing depends on the clock or the host, so the same plan
//! gives the same bytes.

mod boxes;
pub(crate) mod entries;
mod layout;
mod tables;

use boxes::{Boxes, version_for};
use layout::Chunk;

use crate::codec::Codec;
use crate::error::MuxError;
use crate::plan::{AUDIO_CLOCK, OPUS_PRE_SKIP};
use crate::sha::HashedFile;
use crate::source::Source;
use crate::survey::Survey;

/// Ticks per second of the movie header. That of the audio, so that the edit which drops the priming is exact.
const MOVIE_CLOCK: u32 = AUDIO_CLOCK;

/// The identity transform of tkhd and mvhd.
const UNITY_MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// Writes the whole file. `sources` belong to the surveys, in the same order.
pub(crate) fn write(
    surveys: &[Survey<'_>],
    sources: &mut [Source<'_>],
    file: &mut HashedFile,
) -> Result<(), MuxError> {
    let mut chunks = layout::chunks(surveys);
    let head = head(surveys, &mut chunks)?;
    file.write(&head)?;
    let mut bytes = Vec::new();
    for chunk in &chunks {
        let survey = &surveys[chunk.track];
        for kept in &survey.kept[chunk.first..][..chunk.count as usize] {
            survey.sample(kept, &mut sources[chunk.track], &mut bytes)?;
            file.write(&bytes)?;
        }
    }
    Ok(())
}

/// Everything before the first sample, with the chunks moved to behind it.
fn head(surveys: &[Survey<'_>], chunks: &mut [Chunk]) -> Result<Vec<u8>, MuxError> {
    let media: u64 = chunks.iter().map(|chunk| chunk.size).sum();
    let short = u64::from(u32::MAX);
    // The index is a small part of the file; a media part this near to the limit is simply called too large for it.
    let wide = media + (media >> 3) + (1 << 20) > short;
    let type_box = file_type(surveys);
    let data_header = data_header(media, wide);
    let index_size = index(surveys, chunks, wide)?.len();
    let before = (type_box.len() + index_size + data_header.len()) as u64;
    chunks.iter_mut().for_each(|chunk| chunk.offset += before);
    let index = index(surveys, chunks, wide)?;
    Ok([type_box, index, data_header].concat())
}

fn file_type(surveys: &[Survey<'_>]) -> Vec<u8> {
    let mut out = Boxes::default();
    out.boxed(b"ftyp", |inner| {
        inner.bytes(b"isom");
        inner.u32(0x200);
        inner.bytes(b"isomiso2iso6mp41");
        for survey in surveys {
            match survey.track.codec {
                Codec::H264 => inner.bytes(b"avc1"),
                Codec::Av1 => inner.bytes(b"av01"),
                _ => {}
            }
        }
    });
    out.into_bytes()
}

fn data_header(media: u64, wide: bool) -> Vec<u8> {
    let mut out = Boxes::default();
    if wide {
        out.u32(1);
        out.bytes(b"mdat");
        out.u64(media + 16);
    } else {
        out.u32((media + 8) as u32);
        out.bytes(b"mdat");
    }
    out.into_bytes()
}

fn index(surveys: &[Survey<'_>], chunks: &[Chunk], wide: bool) -> Result<Vec<u8>, MuxError> {
    let mut out = Boxes::default();
    let mut failed = None;
    out.boxed(b"moov", |moov| {
        movie_header(surveys, moov);
        for (number, survey) in surveys.iter().enumerate() {
            let own: Vec<Chunk> = chunks
                .iter()
                .filter(|chunk| chunk.track == number)
                .cloned()
                .collect();
            let id = number as u32 + 1;
            if let Err(error) = track(id, survey, &own, wide, moov) {
                failed = Some(error);
            }
        }
    });
    failed.map_or(Ok(out.into_bytes()), Err)
}

/// How long a track is shown, in movie ticks: sound without its priming.
pub(crate) fn shown_ticks(survey: &Survey<'_>) -> u64 {
    let end = survey.end().max(0) as u64;
    if survey.track.codec == Codec::Opus {
        return end.saturating_sub(u64::from(OPUS_PRE_SKIP)).max(1);
    }
    (end * u64::from(MOVIE_CLOCK)).div_ceil(u64::from(survey.track.clock()))
}

fn movie_header(surveys: &[Survey<'_>], out: &mut Boxes) {
    let duration = surveys.iter().map(shown_ticks).max().unwrap_or(0);
    let version = version_for(duration);
    out.full(b"mvhd", version, 0, |inner| {
        inner.time(version, 0); // creation_time: not stated, so that the file depends on the plan alone
        inner.time(version, 0);
        inner.u32(MOVIE_CLOCK);
        inner.time(version, duration);
        inner.u32(0x1_0000); // rate 1.0
        inner.u16(0x100); // volume 1.0
        inner.zeros(10);
        UNITY_MATRIX.iter().for_each(|value| inner.u32(*value));
        inner.zeros(24);
        inner.u32(surveys.len() as u32 + 1); // next_track_ID
    });
}

fn track(
    id: u32,
    survey: &Survey<'_>,
    chunks: &[Chunk],
    wide: bool,
    out: &mut Boxes,
) -> Result<(), MuxError> {
    let mut entry = Boxes::default();
    entries::write(survey, &mut entry)?;
    let entry = entry.into_bytes();
    out.boxed(b"trak", |trak| {
        track_header(id, survey, trak);
        if survey.track.codec == Codec::Opus {
            priming_edit(survey, trak);
        }
        trak.boxed(b"mdia", |mdia| {
            media_header(survey, mdia);
            handler(survey, mdia);
            mdia.boxed(b"minf", |minf| {
                media_information(survey, minf);
                minf.boxed(b"stbl", |stbl| {
                    stbl.full(b"stsd", 0, 0, |inner| {
                        inner.u32(1);
                        inner.bytes(&entry);
                    });
                    tables::write(survey, chunks, wide, stbl);
                });
            });
        });
    });
    Ok(())
}

fn track_header(id: u32, survey: &Survey<'_>, out: &mut Boxes) {
    const ENABLED_IN_MOVIE: u32 = 3;
    let audio = survey.track.codec == Codec::Opus;
    let duration = shown_ticks(survey);
    let version = version_for(duration);
    out.full(b"tkhd", version, ENABLED_IN_MOVIE, |inner| {
        inner.time(version, 0);
        inner.time(version, 0);
        inner.u32(id);
        inner.zeros(4);
        inner.time(version, duration);
        inner.zeros(12); // reserved, layer, alternate_group
        inner.u16(if audio { 0x100 } else { 0 }); // volume
        inner.zeros(2);
        UNITY_MATRIX.iter().for_each(|value| inner.u32(*value));
        inner.u32(u32::from(survey.config.size.0) << 16);
        inner.u32(u32::from(survey.config.size.1) << 16);
    });
}

fn priming_edit(survey: &Survey<'_>, out: &mut Boxes) {
    let duration = shown_ticks(survey);
    let version = version_for(duration);
    out.boxed(b"edts", |edts| {
        edts.full(b"elst", version, 0, |inner| {
            inner.u32(1);
            inner.time(version, duration);
            inner.time(version, u64::from(OPUS_PRE_SKIP));
            inner.u32(0x1_0000); // rate 1.0
        });
    });
}

fn media_header(survey: &Survey<'_>, out: &mut Boxes) {
    /// "und" in the packed form of ISO/IEC 14496-12 section 8.4.2.3.
    const UNDETERMINED: u16 = 0x55c4;
    let duration = survey.end().max(0) as u64;
    let version = version_for(duration);
    out.full(b"mdhd", version, 0, |inner| {
        inner.time(version, 0);
        inner.time(version, 0);
        inner.u32(survey.track.clock());
        inner.time(version, duration);
        inner.u16(UNDETERMINED);
        inner.u16(0);
    });
}

fn handler(survey: &Survey<'_>, out: &mut Boxes) {
    let (kind, name) = match survey.track.codec {
        Codec::Opus => (b"soun", b"Sound\0"),
        _ => (b"vide", b"Video\0"),
    };
    out.full(b"hdlr", 0, 0, |inner| {
        inner.zeros(4);
        inner.bytes(kind);
        inner.zeros(12);
        inner.bytes(name);
    });
}

fn media_information(survey: &Survey<'_>, out: &mut Boxes) {
    const SELF_CONTAINED: u32 = 1;
    match survey.track.codec {
        Codec::Opus => out.full(b"smhd", 0, 0, |inner| inner.zeros(4)),
        _ => out.full(b"vmhd", 0, 1, |inner| inner.zeros(8)),
    }
    out.boxed(b"dinf", |dinf| {
        dinf.full(b"dref", 0, 0, |inner| {
            inner.u32(1);
            inner.full(b"url ", 0, SELF_CONTAINED, |_| {});
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Track;
    use crate::survey::{Config, Kept};

    /// A sound track of two samples that claim this size; only the layout is made from it.
    fn sound_of(size: u32) -> Survey<'static> {
        let row = |pts: i64| {
            [
                &[0; 8][..],
                &1u32.to_le_bytes(),
                &[0; 4],
                &pts.to_le_bytes(),
                &960u32.to_le_bytes(),
                &[0; 4],
            ]
            .concat()
        };
        let rows = [row(0), row(48_000)].concat();
        let track = Track::audio(1, &[0; 16], &rows[..32]).expect("a plan");
        let kept = [0, 48_000].map(|pts| Kept {
            index: 0,
            size,
            pts,
            duration: 48_000,
            key: true,
        });
        Survey {
            track,
            kept: kept.to_vec(),
            skipped: Vec::new(),
            config: Config::default(),
        }
    }

    fn after<'a>(head: &'a [u8], kind: &[u8; 4]) -> &'a [u8] {
        let at = head
            .windows(4)
            .position(|window| window == kind)
            .expect("the box is there");
        &head[at + 4..]
    }

    #[test]
    fn a_file_beyond_4_gib_has_wide_offsets_and_a_wide_media_box() {
        let surveys = [sound_of(3 << 30)];
        let mut chunks = layout::chunks(&surveys);
        let head = head(&surveys, &mut chunks).expect("a layout");
        let offsets = after(&head, b"co64");
        assert_eq!(offsets[4..8], 2u32.to_be_bytes());
        assert_eq!(offsets[8..16], (head.len() as u64).to_be_bytes());
        assert_eq!(
            offsets[16..24],
            (head.len() as u64 + (3 << 30)).to_be_bytes()
        );
        assert_eq!(after(&head, b"mdat"), ((6u64 << 30) + 16).to_be_bytes());
    }

    #[test]
    fn a_small_file_has_narrow_offsets_that_begin_behind_the_index() {
        let surveys = [sound_of(100)];
        let mut chunks = layout::chunks(&surveys);
        let head = head(&surveys, &mut chunks).expect("a layout");
        let offsets = after(&head, b"stco");
        assert_eq!(offsets[8..12], (head.len() as u32).to_be_bytes());
        assert_eq!(offsets[12..16], (head.len() as u32 + 100).to_be_bytes());
    }
}
