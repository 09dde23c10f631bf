//! The first pass over a plan: how long every sample is, and what the decoder has to know before the first one.
//!
//! With this the whole layout of the file is known before a byte is written, so the index stands at the front and the file
//! is written once. The second pass makes the same samples again and writes them; they must come out equal.

use crate::bitstream::av1::{self, SequenceHeader, obu};
use crate::bitstream::h264::{self, nal, sps::Sps};
use crate::codec::Codec;
use crate::depacket::{self, Broken, opus, vp8, vp9};
use crate::error::MuxError;
use crate::plan::{Sample, Track};
use crate::source::Source;

/// A sample that will be in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    /// Its number in the plan.
    pub index: usize,
    pub size: u32,
    pub pts: i64,
    /// Until the next kept sample.
    pub duration: u32,
    pub key: bool,
}

/// What the decoder has to know, collected from the key frames.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// Distinct H264 parameter sets in the order in which they came.
    pub sps: Vec<Vec<u8>>,
    pub pps: Vec<Vec<u8>>,
    pub vp9: Option<vp9::KeyHeader>,
    /// The first AV1 sequence header, and its OBU with a size field.
    pub av1: Option<(SequenceHeader, Vec<u8>)>,
    /// The largest picture.
    pub size: (u16, u16),
}

/// A track whose samples are measured.
pub(crate) struct Survey<'a> {
    pub track: Track<'a>,
    pub kept: Vec<Kept>,
    /// Plan numbers of samples that could not be put together.
    pub skipped: Vec<usize>,
    pub config: Config,
}

impl<'a> Survey<'a> {
    /// Measures all samples.
    ///
    /// A picture that is broken is left out, and the one before it stays. Broken sound becomes silence of the same length,
    /// because a hole would shift all later sound in players that count samples.
    pub fn take(track: Track<'a>, source: &mut Source<'_>) -> Result<Self, MuxError> {
        let mut survey = Self {
            kept: Vec::with_capacity(track.samples.len()),
            skipped: Vec::new(),
            config: Config::default(),
            track,
        };
        let mut bytes = Vec::new();
        for index in 0..survey.track.samples.len() {
            let sample = survey.track.samples[index];
            let whole = make_sample(&survey.track, index, source, &mut bytes)?;
            if !whole {
                survey.skipped.push(index);
            }
            if bytes.is_empty() {
                continue;
            }
            if sample.key {
                survey.config.learn(survey.track.codec, &bytes);
            }
            let size = bytes.len() as u32;
            survey.kept.push(Kept {
                index,
                size,
                pts: sample.pts,
                duration: sample.duration,
                key: sample.key,
            });
        }
        survey.stretch_durations()?;
        Ok(survey)
    }

    /// Every sample lasts until the next one that is kept, the first from 0 on.
    fn stretch_durations(&mut self) -> Result<(), MuxError> {
        let name = self.track.name();
        let first = self.kept.first_mut();
        first
            .ok_or_else(|| MuxError::plan(name, "no sample could be put together"))?
            .pts = 0;
        for index in 1..self.kept.len() {
            let until_next = self.kept[index].pts - self.kept[index - 1].pts;
            let duration = u32::try_from(until_next);
            self.kept[index - 1].duration = duration.map_err(|_| {
                MuxError::plan(name, format!("sample {} lasts {until_next}", index - 1))
            })?;
        }
        Ok(())
    }

    /// End of the last sample in ticks of the track's clock.
    pub fn end(&self) -> i64 {
        self.kept
            .last()
            .map_or(0, |last| last.pts + i64::from(last.duration))
    }

    /// Makes the bytes of a kept sample again.
    pub fn sample(
        &self,
        kept: &Kept,
        source: &mut Source<'_>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), MuxError> {
        make_sample(&self.track, kept.index, source, bytes)?;
        if bytes.len() == kept.size as usize {
            return Ok(());
        }
        let reason = format!(
            "sample {}: {} bytes, then {}; the journal changed",
            kept.index,
            kept.size,
            bytes.len()
        );
        Err(MuxError::plan(self.track.name(), reason))
    }
}

/// Makes a sample's bytes; false when the packets do not make it (then `bytes` is empty, or silence).
fn make_sample(
    track: &Track<'_>,
    index: usize,
    source: &mut Source<'_>,
    bytes: &mut Vec<u8>,
) -> Result<bool, MuxError> {
    let sample = &track.samples[index];
    bytes.clear();
    let whole = if sample.literal {
        join_literal(track, sample, source, bytes)?;
        !bytes.is_empty()
    } else {
        join_packets(track, sample, source, bytes)?.is_ok()
    };
    if !whole {
        bytes.clear();
    }
    if track.codec == Codec::Opus {
        check_audio(track, index, bytes)?;
    }
    Ok(whole)
}

fn join_literal(
    track: &Track<'_>,
    sample: &Sample,
    source: &mut Source<'_>,
    bytes: &mut Vec<u8>,
) -> Result<(), MuxError> {
    for packet in track.packets_of(sample) {
        bytes.extend_from_slice(source.payload(packet)?);
    }
    if track.codec == Codec::H264 {
        let stream = std::mem::take(bytes);
        h264::units_by_start_code(&stream)
            .iter()
            .for_each(|unit| h264::append_with_length(unit, bytes));
    }
    Ok(())
}

fn join_packets(
    track: &Track<'_>,
    sample: &Sample,
    source: &mut Source<'_>,
    bytes: &mut Vec<u8>,
) -> Result<Result<(), Broken>, MuxError> {
    let mut assembly = depacket::assembly(track.codec);
    for packet in track.packets_of(sample) {
        if let Err(broken) = assembly.push(source.payload(packet)?, bytes) {
            return Ok(Err(broken));
        }
    }
    Ok(assembly.finish(bytes))
}

/// Sound must last exactly as long as the plan says; what is broken becomes silence.
fn check_audio(track: &Track<'_>, index: usize, bytes: &mut Vec<u8>) -> Result<(), MuxError> {
    let duration = track.samples[index].duration;
    if bytes.is_empty() {
        let silence = opus::silence(duration, track.channels);
        *bytes = silence.ok_or_else(|| {
            MuxError::plan(
                "audio",
                format!("sample {index}: no silence of {duration} samples"),
            )
        })?;
    }
    match opus::samples(bytes).map(u32::from) {
        Some(samples) if samples == duration => Ok(()),
        found => {
            let found = found.map_or("no Opus packet".to_owned(), |samples| {
                format!("{samples} samples")
            });
            Err(MuxError::plan(
                "audio",
                format!("sample {index}: {duration} samples planned, {found} found"),
            ))
        }
    }
}

impl Config {
    fn learn(&mut self, codec: Codec, sample: &[u8]) {
        match codec {
            Codec::H264 => {
                h264::units_by_length(sample).for_each(|unit| self.learn_parameter_set(unit))
            }
            Codec::Vp8 => self.learn_size(vp8::key_frame_size(sample)),
            Codec::Vp9 => {
                let header = vp9::key_header(sample);
                self.learn_size(header.map(|header| header.size));
                self.vp9 = self.vp9.or(header);
            }
            Codec::Av1 => self.learn_sequence_header(sample),
            Codec::Opus => {}
        }
    }

    fn learn_size(&mut self, size: Option<(u16, u16)>) {
        let (width, height) = size.unwrap_or_default();
        if u32::from(width) * u32::from(height) > u32::from(self.size.0) * u32::from(self.size.1) {
            self.size = (width, height);
        }
    }

    fn learn_parameter_set(&mut self, unit: &[u8]) {
        let known = match h264::unit_type(unit) {
            nal::SPS => {
                self.learn_size(Sps::parse(unit).and_then(|sps| sps.size()));
                &mut self.sps
            }
            nal::PPS => &mut self.pps,
            _ => return,
        };
        if !known.iter().any(|set| set == unit) {
            known.push(unit.to_vec());
        }
    }

    fn learn_sequence_header(&mut self, sample: &[u8]) {
        for unit in av1::obus(sample).filter(|unit| unit.kind() == obu::SEQUENCE_HEADER) {
            let Some(header) = SequenceHeader::parse(unit.payload) else {
                continue;
            };
            self.learn_size(Some(header.size));
            if self.av1.is_none() {
                let mut bytes = Vec::new();
                unit.append_sized(&mut bytes);
                self.av1 = Some((header, bytes));
            }
        }
    }
}
