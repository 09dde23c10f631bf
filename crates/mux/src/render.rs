//! Plan in, file out: two passes over the samples, one over the file.
//!
//! The planner decided everything before; verify reads the file back after. Render never skips in silence: what it could not
//! put together is listed in the report.

use serde::Serialize;

use crate::bitstream::h264;
use crate::codec::Codec;
use crate::depacket;
use crate::error::MuxError;
use crate::mp4;
use crate::plan::{AUDIO_CLOCK, PacketRef, Track};
use crate::sha::{Finished, HashedFile};
use crate::source::Source;
use crate::survey::Survey;
use crate::webm;

/// The containers that isotape writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    Mp4,
    Webm,
}

impl Container {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "mp4" => Some(Self::Mp4),
            "webm" => Some(Self::Webm),
            _ => None,
        }
    }
}

/// Everything a file is made from.
pub struct Job<'a> {
    pub out_path: &'a str,
    pub container: Container,
    /// Segment files that the packets point into.
    pub files: &'a [String],
    pub literals: &'a [u8],
    pub video: Option<Track<'a>>,
    pub audio: Option<Track<'a>>,
}

/// What was made.
#[derive(Debug, Serialize)]
pub struct Report {
    pub size_bytes: u64,
    pub sha256: String,
    pub video_frames: usize,
    pub key_frames: usize,
    pub audio_packets: usize,
    pub width: u16,
    pub height: u16,
    pub duration_ms: u64,
    /// Of the video, 90 kHz.
    pub first_key_pts: Option<i64>,
    pub last_key_pts: Option<i64>,
    /// Plan numbers of pictures that could not be put together and are not in the file.
    pub skipped_samples: Vec<usize>,
    /// Plan numbers of sound packets that could not be read and were replaced by silence.
    pub silenced_samples: Vec<usize>,
}

/// Makes the file, durable and complete, at a path where none was. On an error there is no file.
pub fn render(job: Job<'_>) -> Result<Report, MuxError> {
    let (mut surveys, mut sources) = (Vec::new(), Vec::new());
    for track in [job.video, job.audio].into_iter().flatten() {
        let mut source = Source::new(job.files, job.literals);
        surveys.push(Survey::take(track, &mut source)?);
        sources.push(source);
    }
    if surveys.is_empty() {
        return Err(MuxError::plan("file", "there is neither video nor audio"));
    }
    let file = HashedFile::create(job.out_path)?;
    let finished = write(job.container, &surveys, &mut sources, file);
    if finished.is_err() {
        // What is left is no file; if it cannot be removed, the error that led here is still the one to tell.
        let _ = std::fs::remove_file(job.out_path);
    }
    Ok(report(&surveys, finished?))
}

fn write(
    container: Container,
    surveys: &[Survey<'_>],
    sources: &mut [Source<'_>],
    mut file: HashedFile,
) -> Result<Finished, MuxError> {
    match container {
        Container::Mp4 => mp4::write(surveys, sources, &mut file)?,
        Container::Webm => webm::write(surveys, sources, shown_ms(surveys), &mut file)?,
    }
    file.finish()
}

/// How long the longest track is shown.
fn shown_ms(surveys: &[Survey<'_>]) -> f64 {
    let ticks = surveys.iter().map(mp4::shown_ticks).max().unwrap_or(0);
    ticks as f64 * 1000.0 / f64::from(AUDIO_CLOCK)
}

fn report(surveys: &[Survey<'_>], finished: Finished) -> Report {
    let video = surveys
        .iter()
        .find(|survey| survey.track.codec != Codec::Opus);
    let audio = surveys
        .iter()
        .find(|survey| survey.track.codec == Codec::Opus);
    let keys = || {
        video
            .into_iter()
            .flat_map(|survey| &survey.kept)
            .filter(|sample| sample.key)
    };
    let (width, height) = video.map_or((0, 0), |survey| survey.config.size);
    Report {
        size_bytes: finished.size_bytes,
        sha256: finished.sha256,
        video_frames: video.map_or(0, |survey| survey.kept.len()),
        key_frames: keys().count(),
        audio_packets: audio.map_or(0, |survey| survey.kept.len()),
        width,
        height,
        duration_ms: shown_ms(surveys).round() as u64,
        first_key_pts: keys().next().map(|sample| sample.pts),
        last_key_pts: keys().next_back().map(|sample| sample.pts),
        skipped_samples: video.map_or(Vec::new(), |survey| survey.skipped.clone()),
        silenced_samples: audio.map_or(Vec::new(), |survey| survey.skipped.clone()),
    }
}

/// One frame's bytes as a decoder takes them (H264: Annex B), for the planner's placeholders and for tests.
pub fn depacketise(
    codec: Codec,
    files: &[String],
    packets: &[PacketRef],
) -> Result<Vec<u8>, MuxError> {
    let mut source = Source::new(files, &[]);
    let mut assembly = depacket::assembly(codec);
    let mut frame = Vec::new();
    let broken = |broken: depacket::Broken| {
        MuxError::plan(
            "frame",
            format!("{} packets of {}: {broken}", packets.len(), codec.name()),
        )
    };
    for packet in packets {
        assembly
            .push(source.payload(*packet)?, &mut frame)
            .map_err(broken)?;
    }
    assembly.finish(&mut frame).map_err(broken)?;
    if codec == Codec::H264 {
        h264::lengths_to_start_codes(&mut frame);
    }
    Ok(frame)
}
