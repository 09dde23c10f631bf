//! The sample tables of a track (ISO/IEC 14496-12, section 8.6 and 8.7): durations, key frames, sizes, and where chunks lie.

use super::boxes::Boxes;
use super::layout::Chunk;
use crate::codec::Codec;
use crate::survey::{Kept, Survey};

/// Writes all tables; `wide` offsets have 64 bits and are needed once the file may pass 4 GiB.
pub(super) fn write(survey: &Survey<'_>, chunks: &[Chunk], wide: bool, out: &mut Boxes) {
    durations(&survey.kept, out);
    key_frames(&survey.kept, out);
    samples_per_chunk(chunks, out);
    sizes(&survey.kept, out);
    offsets(chunks, wide, out);
    if survey.track.codec == Codec::Opus {
        roll_groups(&survey.kept, out);
    }
}

/// Runs of equal values as (count, value).
fn runs(values: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some(run) if run.1 == value => run.0 += 1,
            _ => runs.push((1, value)),
        }
    }
    runs
}

fn durations(kept: &[Kept], out: &mut Boxes) {
    let runs = runs(kept.iter().map(|sample| sample.duration));
    out.full(b"stts", 0, 0, |inner| {
        inner.u32(runs.len() as u32);
        for (count, duration) in runs {
            inner.u32(count);
            inner.u32(duration);
        }
    });
}

/// Left out when every sample is a key frame, which is what its absence says.
fn key_frames(kept: &[Kept], out: &mut Boxes) {
    let numbers: Vec<u32> = (1..)
        .zip(kept)
        .filter(|(_, sample)| sample.key)
        .map(|(number, _)| number)
        .collect();
    if numbers.len() == kept.len() {
        return;
    }
    out.full(b"stss", 0, 0, |inner| {
        inner.u32(numbers.len() as u32);
        numbers.iter().for_each(|number| inner.u32(*number));
    });
}

fn samples_per_chunk(chunks: &[Chunk], out: &mut Boxes) {
    let runs = runs(chunks.iter().map(|chunk| chunk.count));
    out.full(b"stsc", 0, 0, |inner| {
        inner.u32(runs.len() as u32);
        let mut first_chunk = 1;
        for (chunks, samples) in runs {
            inner.u32(first_chunk);
            inner.u32(samples);
            inner.u32(1); // sample_description_index
            first_chunk += chunks;
        }
    });
}

fn sizes(kept: &[Kept], out: &mut Boxes) {
    out.full(b"stsz", 0, 0, |inner| {
        inner.u32(0); // sizes differ
        inner.u32(kept.len() as u32);
        kept.iter().for_each(|sample| inner.u32(sample.size));
    });
}

fn offsets(chunks: &[Chunk], wide: bool, out: &mut Boxes) {
    out.full(if wide { b"co64" } else { b"stco" }, 0, 0, |inner| {
        inner.u32(chunks.len() as u32);
        for chunk in chunks {
            if wide {
                inner.u64(chunk.offset)
            } else {
                inner.u32(chunk.offset as u32)
            }
        }
    });
}

/// Says that a decoder must start 80 ms early to be exact, as the Opus mapping asks in its section 4.3.6.2.
fn roll_groups(kept: &[Kept], out: &mut Boxes) {
    const PRE_ROLL_SAMPLES: u32 = 3840;
    let shortest = kept
        .iter()
        .map(|sample| sample.duration)
        .min()
        .unwrap_or(960)
        .max(1);
    let distance = -(PRE_ROLL_SAMPLES.div_ceil(shortest) as i16);
    out.full(b"sgpd", 1, 0, |inner| {
        inner.bytes(b"roll");
        inner.u32(2); // default_length
        inner.u32(1);
        inner.u16(distance as u16);
    });
    out.full(b"sbgp", 0, 0, |inner| {
        inner.bytes(b"roll");
        inner.u32(1);
        inner.u32(kept.len() as u32);
        inner.u32(1); // group_description_index
    });
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn runs_of_equal_values_are_counted() {
        assert_eq!(runs([3, 3, 4, 3].into_iter()), [(2, 3), (1, 4), (1, 3)]);
        assert_eq!(runs([].into_iter()), []);
    }
}
