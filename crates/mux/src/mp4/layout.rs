//! Which samples lie together: short chunks of each track in turn, so that a player that streams has both at hand.

use crate::survey::Survey;

/// Ticks per second in which times of both tracks are whole numbers: the least common multiple of 90 and 48 kHz.
const COMMON_CLOCK: i64 = 720_000;

/// Length of a chunk. Half a second is what FFmpeg's and Bento4's interleaving come to; players buffer more than that.
const CHUNK_TICKS: i64 = COMMON_CLOCK / 2;

/// Samples of one track that lie one after the other in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Number of the track in the list of surveys.
    pub track: usize,
    /// First sample in the list of kept ones.
    pub first: usize,
    pub count: u32,
    pub size: u64,
    /// Where in the file it begins; known when the size of the index is.
    pub offset: u64,
}

/// Cuts all tracks into chunks, in the order in which they are written; offsets count from 0.
pub(super) fn chunks(surveys: &[Survey<'_>]) -> Vec<Chunk> {
    let mut next = vec![0; surveys.len()];
    let mut chunks = Vec::new();
    let mut offset = 0;
    while let Some(start) = (0..surveys.len())
        .filter_map(|track| start_of(&surveys[track], next[track]))
        .min()
    {
        for (track, survey) in surveys.iter().enumerate() {
            let first = next[track];
            while start_of(survey, next[track]).is_some_and(|time| time < start + CHUNK_TICKS) {
                next[track] += 1;
            }
            if next[track] > first {
                let size = survey.kept[first..next[track]]
                    .iter()
                    .map(|sample| u64::from(sample.size))
                    .sum();
                chunks.push(Chunk {
                    track,
                    first,
                    count: (next[track] - first) as u32,
                    size,
                    offset,
                });
                offset += size;
            }
        }
    }
    chunks
}

fn start_of(survey: &Survey<'_>, sample: usize) -> Option<i64> {
    let ticks = COMMON_CLOCK / i64::from(survey.track.clock());
    survey.kept.get(sample).map(|sample| sample.pts * ticks)
}
