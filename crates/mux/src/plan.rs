//! The plan as the planner hands it over: packed rows that say which bytes make which sample and when it is shown.
//!
//! The planner (NumPy) decided order, gaps and times before; here nothing is decided again, but everything is checked: a
//! plan that contradicts itself is a bug and must not become a file.

use crate::codec::Codec;
use crate::error::MuxError;

/// A packet whose `file` is this points into the literals of the plan and not into a journal.
pub const LITERAL_FILE: u32 = u32::MAX;

/// Clock rates of the plan's times: RTP clock of every video codec, and of Opus (RFC 7587).
pub const VIDEO_CLOCK: u32 = 90_000;
pub const AUDIO_CLOCK: u32 = 48_000;

/// libopus' look-ahead at 48 kHz; browsers encode with libopus, and players drop this many samples first (docs/measured.md).
pub const OPUS_PRE_SKIP: u16 = 312;

/// Times above this are refused, so that no sum of times can overflow: 2^48 ticks are 99 years of video clock.
const LATEST: i64 = 1 << 48;

const PACKET_BYTES: usize = 16;
const SAMPLE_BYTES: usize = 32;

/// Where the payload of one packet lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketRef {
    pub file: u32,
    pub length: u32,
    pub offset: u64,
}

/// One sample to be muxed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub first: u64,
    pub count: u32,
    pub key: bool,
    /// The bytes are a finished sample (H264: Annex B) and no RTP payloads.
    pub literal: bool,
    pub pts: i64,
    pub duration: u32,
}

/// The checked plan of one track.
pub struct Track<'a> {
    pub codec: Codec,
    /// Channels of the audio track; 0 for video.
    pub channels: u16,
    pub samples: Vec<Sample>,
    packets: &'a [u8],
}

impl<'a> Track<'a> {
    /// Reads the rows of a video track: times of 90 kHz, the first 0, each later than the one before.
    pub fn video(codec: Codec, packets: &'a [u8], samples: &[u8]) -> Result<Self, MuxError> {
        if codec == Codec::Opus {
            return Err(MuxError::plan("video", "opus is no video codec"));
        }
        Self::read(codec, 0, packets, samples)
    }

    /// Reads the rows of an audio track: times of 48 kHz, the first 0, each sample beginning where the last one ended.
    pub fn audio(channels: u16, packets: &'a [u8], samples: &[u8]) -> Result<Self, MuxError> {
        if !(1..=2).contains(&channels) {
            return Err(MuxError::plan(
                "audio",
                format!("{channels} channels; Opus over RTP has 1 or 2"),
            ));
        }
        Self::read(Codec::Opus, channels, packets, samples)
    }

    fn read(
        codec: Codec,
        channels: u16,
        packets: &'a [u8],
        samples: &[u8],
    ) -> Result<Self, MuxError> {
        let track = Self {
            codec,
            channels,
            samples: Vec::new(),
            packets,
        };
        let wrong = |reason: String| MuxError::plan(track.name(), reason);
        if !packets.len().is_multiple_of(PACKET_BYTES)
            || !samples.len().is_multiple_of(SAMPLE_BYTES)
        {
            return Err(wrong("rows are cut off".to_owned()));
        }
        let samples: Vec<Sample> = samples
            .chunks_exact(SAMPLE_BYTES)
            .map(sample_from_row)
            .collect();
        if samples.is_empty() {
            return Err(wrong("there are no samples".to_owned()));
        }
        let count = (packets.len() / PACKET_BYTES) as u64;
        let mut due = 0;
        for (index, sample) in samples.iter().enumerate() {
            due = check_sample(sample, count)
                .and_then(|()| track.check_time(index, sample, due))
                .map_err(|reason| wrong(format!("sample {index}: {reason}")))?;
        }
        Ok(Self { samples, ..track })
    }

    /// Sound follows without a hole; a picture follows the one before it. Gives when the next one is due.
    fn check_time(&self, index: usize, sample: &Sample, due: i64) -> Result<i64, String> {
        let sound = self.codec == Codec::Opus;
        let exact = sound || index == 0;
        if sample.pts < due || exact && sample.pts != due {
            return Err(format!("pts {} where {due} is due", sample.pts));
        }
        let lasts = if sound { i64::from(sample.duration) } else { 1 };
        Ok(sample.pts + lasts)
    }

    pub fn name(&self) -> &'static str {
        if self.codec == Codec::Opus {
            "audio"
        } else {
            "video"
        }
    }

    pub fn clock(&self) -> u32 {
        if self.codec == Codec::Opus {
            AUDIO_CLOCK
        } else {
            VIDEO_CLOCK
        }
    }

    /// The packets of a sample, in order.
    pub fn packets_of(&self, sample: &Sample) -> impl Iterator<Item = PacketRef> + use<'a> {
        let from = sample.first as usize * PACKET_BYTES;
        let to = from + sample.count as usize * PACKET_BYTES;
        self.packets[from..to]
            .chunks_exact(PACKET_BYTES)
            .map(packet_from_row)
    }
}

fn check_sample(sample: &Sample, packets: u64) -> Result<(), String> {
    let end = sample.first.checked_add(u64::from(sample.count));
    if sample.count == 0 || end.is_none_or(|end| end > packets) {
        return Err(format!(
            "packets {}+{} of {packets}",
            sample.first, sample.count
        ));
    }
    if !(0..LATEST).contains(&sample.pts) || sample.duration == 0 {
        return Err(format!("pts {} duration {}", sample.pts, sample.duration));
    }
    Ok(())
}

/// Rows of a packed array of PacketRef, for callers that have no samples.
pub fn packets_from_rows(rows: &[u8]) -> Result<Vec<PacketRef>, MuxError> {
    if !rows.len().is_multiple_of(PACKET_BYTES) {
        return Err(MuxError::plan("frame", "rows are cut off"));
    }
    Ok(rows
        .chunks_exact(PACKET_BYTES)
        .map(packet_from_row)
        .collect())
}

fn u32_at(row: &[u8], at: usize) -> u32 {
    row[at..]
        .first_chunk()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(row: &[u8], at: usize) -> u64 {
    row[at..]
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// numpy: file u4, length u4, offset u8.
fn packet_from_row(row: &[u8]) -> PacketRef {
    PacketRef {
        file: u32_at(row, 0),
        length: u32_at(row, 4),
        offset: u64_at(row, 8),
    }
}

/// numpy: first u8, count u4, flags u4, pts i8, duration u4, reserved u4.
fn sample_from_row(row: &[u8]) -> Sample {
    let flags = u32_at(row, 12);
    Sample {
        first: u64_at(row, 0),
        count: u32_at(row, 8),
        key: flags & 1 != 0,
        literal: flags & 2 != 0,
        pts: u64_at(row, 16) as i64,
        duration: u32_at(row, 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample_row(first: u64, count: u32, pts: i64, duration: u32) -> Vec<u8> {
        let (first, count) = (first.to_le_bytes(), count.to_le_bytes());
        let (pts, duration) = (pts.to_le_bytes(), duration.to_le_bytes());
        [
            &first[..],
            &count,
            &1u32.to_le_bytes(),
            &pts,
            &duration,
            &[0; 4],
        ]
        .concat()
    }

    fn reason(result: Result<Track<'_>, MuxError>) -> String {
        result
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn audio_with_a_hole_is_refused() {
        let rows = [sample_row(0, 1, 0, 960), sample_row(1, 1, 1920, 960)].concat();
        let found = reason(Track::audio(1, &[0; 32], &rows));
        assert_eq!(found, "plan of audio: sample 1: pts 1920 where 960 is due");
    }

    #[test]
    fn video_that_starts_late_or_goes_back_is_refused() {
        let late = sample_row(0, 1, 3000, 3000);
        assert!(
            reason(Track::video(Codec::H264, &[0; 16], &late)).contains("pts 3000 where 0 is due")
        );
        let back = [sample_row(0, 1, 0, 3000), sample_row(0, 1, 0, 3000)].concat();
        assert!(reason(Track::video(Codec::H264, &[0; 16], &back)).contains("sample 1"));
    }

    #[test]
    fn packets_that_are_not_there_are_refused() {
        for row in [
            sample_row(0, 2, 0, 1),
            sample_row(u64::MAX, 1, 0, 1),
            sample_row(0, 0, 0, 1),
        ] {
            assert!(reason(Track::video(Codec::Vp8, &[0; 16], &row)).contains("packets"));
        }
        assert!(reason(Track::video(Codec::Vp8, &[0; 15], &[])).contains("cut off"));
        assert!(reason(Track::video(Codec::Vp8, &[], &[])).contains("no samples"));
    }
}
