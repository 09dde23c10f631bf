//! WebM (RFC 9559, WebM container guidelines) with its cues in front and every size known.
//!
//! Times are milliseconds, as WebM asks. Opus blocks keep their own time and CodecDelay says how much priming the player
//! drops, which puts sound within 0.5 ms (docs/measured.md). Nothing depends on the clock or the host.

mod ebml;
mod layout;

use ebml::{Elements, id, size_length};
use layout::{BLOCK_HEAD, Block, Cluster, group_content};

use crate::codec::Codec;
use crate::error::MuxError;
use crate::mp4::entries::av1_configuration;
use crate::plan::{AUDIO_CLOCK, OPUS_PRE_SKIP};
use crate::sha::HashedFile;
use crate::source::Source;
use crate::survey::Survey;

/// A player must decode this much before a seek target (WebM container guidelines, Opus).
const OPUS_SEEK_PRE_ROLL_NS: u64 = 80_000_000;

const APPLICATION: &str = "isotape";

/// Writes the whole file. `sources` belong to the surveys, in the same order; `duration_ms` is that of the longest track.
pub(crate) fn write(
    surveys: &[Survey<'_>],
    sources: &mut [Source<'_>],
    duration_ms: f64,
    file: &mut HashedFile,
) -> Result<(), MuxError> {
    let clusters = layout::clusters(surveys);
    file.write(&head(surveys, &clusters, duration_ms)?)?;
    let mut bytes = Vec::new();
    for cluster in &clusters {
        let mut start = Elements::default();
        let time = cluster_time(cluster);
        start.head(id::CLUSTER, time.len() as u64 + cluster.size);
        start.raw(&time);
        file.write(&start.into_bytes())?;
        for block in &cluster.blocks {
            let survey = &surveys[block.track];
            survey.sample(
                &survey.kept[block.sample],
                &mut sources[block.track],
                &mut bytes,
            )?;
            write_block(survey, block, cluster.time_ms, &bytes, file)?;
        }
    }
    Ok(())
}

fn cluster_time(cluster: &Cluster) -> Vec<u8> {
    let mut out = Elements::default();
    out.unsigned(id::TIMESTAMP, cluster.time_ms as u64);
    out.into_bytes()
}

fn write_block(
    survey: &Survey<'_>,
    block: &Block,
    cluster_ms: i64,
    sample: &[u8],
    file: &mut HashedFile,
) -> Result<(), MuxError> {
    const KEY: u8 = 0x80;
    let mut out = Elements::default();
    let content = BLOCK_HEAD + sample.len() as u64;
    let element_id = if block.group.is_some() {
        id::BLOCK
    } else {
        id::SIMPLE_BLOCK
    };
    if let Some(group) = &block.group {
        let element = 1 + size_length(content) as u64 + content;
        out.head(id::BLOCK_GROUP, group_content(group, element));
        out.fixed(id::BLOCK_DURATION, group.duration_ms);
        if let Some(reference) = group.reference_ms {
            out.signed(id::REFERENCE_BLOCK, reference);
        }
    }
    out.head(element_id, content);
    out.raw(&[0x80 | (block.track as u8 + 1)]);
    let relative = block.time_ms - cluster_ms;
    out.raw(&i16::try_from(relative).unwrap_or(i16::MAX).to_be_bytes());
    let key = block.group.is_none() && survey.kept[block.sample].key;
    out.raw(&[if key { KEY } else { 0 }]);
    file.write(&out.into_bytes())?;
    file.write(sample)
}

/// Everything before the first cluster.
fn head(
    surveys: &[Survey<'_>],
    clusters: &[Cluster],
    duration_ms: f64,
) -> Result<Vec<u8>, MuxError> {
    let info = info(duration_ms);
    let tracks = tracks(surveys)?;
    let media: u64 = clusters.iter().map(cluster_bytes).sum();
    // Every number in here has a fixed length, so the places computed from the first try hold for the second.
    let seek_length = seek_head(0, 0, 0).len() as u64;
    let cues_length = cues(clusters, 0).len() as u64;
    let info_at = seek_length;
    let tracks_at = info_at + info.len() as u64;
    let cues_at = tracks_at + tracks.len() as u64;
    let clusters_at = cues_at + cues_length;
    let mut out = Elements::default();
    out.raw(&file_header());
    out.raw(&id::SEGMENT.to_be_bytes());
    out.raw(&((clusters_at + media) | 1 << 56).to_be_bytes());
    out.raw(&seek_head(info_at, tracks_at, cues_at));
    out.raw(&info);
    out.raw(&tracks);
    out.raw(&cues(clusters, clusters_at));
    Ok(out.into_bytes())
}

fn cluster_bytes(cluster: &Cluster) -> u64 {
    let content = cluster_time(cluster).len() as u64 + cluster.size;
    4 + size_length(content) as u64 + content
}

fn file_header() -> Vec<u8> {
    let mut out = Elements::default();
    out.master(id::EBML, |inner| {
        inner.unsigned(id::EBML_VERSION, 1);
        inner.unsigned(id::EBML_READ_VERSION, 1);
        inner.unsigned(id::EBML_MAX_ID_LENGTH, 4);
        inner.unsigned(id::EBML_MAX_SIZE_LENGTH, 8);
        inner.text(id::DOC_TYPE, "webm");
        inner.unsigned(id::DOC_TYPE_VERSION, 4);
        inner.unsigned(id::DOC_TYPE_READ_VERSION, 2);
    });
    out.into_bytes()
}

fn seek_head(info_at: u64, tracks_at: u64, cues_at: u64) -> Vec<u8> {
    let mut out = Elements::default();
    out.master(id::SEEK_HEAD, |inner| {
        for (target, at) in [
            (id::INFO, info_at),
            (id::TRACKS, tracks_at),
            (id::CUES, cues_at),
        ] {
            inner.master(id::SEEK, |seek| {
                seek.binary(id::SEEK_ID, &target.to_be_bytes());
                seek.fixed(id::SEEK_POSITION, at);
            });
        }
    });
    out.into_bytes()
}

fn info(duration_ms: f64) -> Vec<u8> {
    let mut out = Elements::default();
    out.master(id::INFO, |inner| {
        inner.unsigned(id::TIMESTAMP_SCALE, 1_000_000);
        inner.float(id::DURATION, duration_ms);
        inner.text(id::MUXING_APP, APPLICATION);
        inner.text(id::WRITING_APP, APPLICATION);
    });
    out.into_bytes()
}

fn tracks(surveys: &[Survey<'_>]) -> Result<Vec<u8>, MuxError> {
    let mut entries = Elements::default();
    for (index, survey) in surveys.iter().enumerate() {
        let number = index as u64 + 1;
        let codec_id = codec_id(survey.track.codec)?;
        let private = codec_private(survey)?;
        entries.master(id::TRACK_ENTRY, |entry| {
            entry.unsigned(id::TRACK_NUMBER, number);
            entry.unsigned(id::TRACK_UID, number);
            entry.unsigned(id::FLAG_LACING, 0);
            entry.text(id::LANGUAGE, "und");
            entry.text(id::CODEC_ID, codec_id);
            if let Some(private) = private {
                entry.binary(id::CODEC_PRIVATE, &private);
            }
            track_details(survey, entry);
        });
    }
    let mut out = Elements::default();
    out.binary(id::TRACKS, &entries.into_bytes());
    Ok(out.into_bytes())
}

fn codec_id(codec: Codec) -> Result<&'static str, MuxError> {
    match codec {
        Codec::Opus => Ok("A_OPUS"),
        Codec::Vp8 => Ok("V_VP8"),
        Codec::Vp9 => Ok("V_VP9"),
        Codec::Av1 => Ok("V_AV1"),
        Codec::H264 => Err(MuxError::Container {
            container: "WebM",
            codec: Codec::H264.name(),
        }),
    }
}

fn codec_private(survey: &Survey<'_>) -> Result<Option<Vec<u8>>, MuxError> {
    match survey.track.codec {
        Codec::Opus => Ok(Some(opus_head(survey.track.channels))),
        Codec::Av1 => {
            let found = survey.config.av1.as_ref();
            let found = found.ok_or_else(|| {
                MuxError::NoDecoderConfig("no readable sequence header".to_owned())
            })?;
            Ok(Some(av1_configuration(&found.0, &found.1)))
        }
        _ => Ok(None),
    }
}

/// The identification header of Opus, RFC 7845 section 5.1.
fn opus_head(channels: u16) -> Vec<u8> {
    let pre_skip = OPUS_PRE_SKIP.to_le_bytes();
    [
        b"OpusHead",
        &[1, channels as u8][..],
        &pre_skip,
        &AUDIO_CLOCK.to_le_bytes(),
        &[0, 0, 0],
    ]
    .concat()
}

fn track_details(survey: &Survey<'_>, entry: &mut Elements) {
    const VIDEO: u64 = 1;
    const AUDIO: u64 = 2;
    if survey.track.codec == Codec::Opus {
        entry.unsigned(id::TRACK_TYPE, AUDIO);
        entry.unsigned(
            id::CODEC_DELAY,
            u64::from(OPUS_PRE_SKIP) * 1_000_000_000 / u64::from(AUDIO_CLOCK),
        );
        entry.unsigned(id::SEEK_PRE_ROLL, OPUS_SEEK_PRE_ROLL_NS);
        entry.master(id::AUDIO, |audio| {
            audio.float(id::SAMPLING_FREQUENCY, f64::from(AUDIO_CLOCK));
            audio.unsigned(id::CHANNELS, u64::from(survey.track.channels));
        });
        return;
    }
    entry.unsigned(id::TRACK_TYPE, VIDEO);
    entry.master(id::VIDEO, |video| {
        video.unsigned(id::PIXEL_WIDTH, u64::from(survey.config.size.0));
        video.unsigned(id::PIXEL_HEIGHT, u64::from(survey.config.size.1));
    });
}

/// A cue for every cluster that a player can start at; places count from the first byte inside the segment.
fn cues(clusters: &[Cluster], clusters_at: u64) -> Vec<u8> {
    let mut out = Elements::default();
    out.master(id::CUES, |inner| {
        let mut at = clusters_at;
        for cluster in clusters {
            if cluster.seekable {
                inner.master(id::CUE_POINT, |point| {
                    point.fixed(id::CUE_TIME, cluster.time_ms as u64);
                    point.master(id::CUE_TRACK_POSITIONS, |place| {
                        place.unsigned(id::CUE_TRACK, cluster.blocks[0].track as u64 + 1);
                        place.fixed(id::CUE_CLUSTER_POSITION, at);
                    });
                });
            }
            at += cluster_bytes(cluster);
        }
    });
    out.into_bytes()
}
