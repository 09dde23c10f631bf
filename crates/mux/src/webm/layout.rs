//! Which samples share a cluster, and how many bytes every cluster takes.

use super::ebml::size_length;
use crate::survey::Survey;

/// A cluster is closed after this time; FFmpeg's limit too. Block times are 16 bit milliseconds, so 32 s are the most.
const CLUSTER_MS: i64 = 5_000;

/// Ticks per second in which times of both tracks are whole numbers: the least common multiple of 90 and 48 kHz.
const COMMON_CLOCK: i64 = 720_000;

/// One sample in a cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// Number of the track in the list of surveys.
    pub track: usize,
    /// The sample in the list of kept ones.
    pub sample: usize,
    pub time_ms: i64,
    /// The last picture states its duration, so it needs a block group.
    pub group: Option<Group>,
    /// Bytes of the whole element in the cluster.
    size: u64,
}

/// What a block group adds to a simple block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub duration_ms: u64,
    /// Time of the picture before, relative to this one; None for a key frame, which refers to nothing.
    pub reference_ms: Option<i64>,
}

/// Blocks that stand together.
#[derive(Debug)]
pub(super) struct Cluster {
    pub time_ms: i64,
    pub blocks: Vec<Block>,
    /// Bytes of the blocks.
    pub size: u64,
    /// It begins with a picture that can be decoded alone, or the file has only sound.
    pub seekable: bool,
}

/// Bytes of a block before the sample: track number, relative time, flags.
pub(super) const BLOCK_HEAD: u64 = 4;

/// Bytes of a BlockDuration and a ReferenceBlock element, both written with eight-byte numbers.
pub(super) const GROUP_NUMBER: u64 = 10;

/// Orders the samples of all tracks by time and cuts them into clusters.
pub(super) fn clusters(surveys: &[Survey<'_>]) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    let only_sound = surveys.iter().all(|survey| survey.track.name() == "audio");
    for block in blocks_in_order(surveys) {
        let survey = &surveys[block.track];
        let key_picture = survey.track.name() == "video" && survey.kept[block.sample].key;
        let full = clusters
            .last()
            .is_none_or(|cluster| block.time_ms - cluster.time_ms >= CLUSTER_MS);
        if full || key_picture {
            clusters.push(Cluster {
                time_ms: block.time_ms,
                blocks: Vec::new(),
                size: 0,
                seekable: key_picture || only_sound,
            });
        }
        if let Some(cluster) = clusters.last_mut() {
            cluster.size += block.size;
            cluster.blocks.push(block);
        }
    }
    clusters
}

fn blocks_in_order(surveys: &[Survey<'_>]) -> Vec<Block> {
    let mut blocks = Vec::with_capacity(surveys.iter().map(|survey| survey.kept.len()).sum());
    let mut next = vec![0; surveys.len()];
    // On equal times the first track wins; video comes first, so that a cluster begins with its key frame.
    while let Some((_, track)) = (0..surveys.len())
        .filter_map(|track| Some((start_of(&surveys[track], next[track])?, track)))
        .min()
    {
        blocks.push(block(track, next[track], &surveys[track]));
        next[track] += 1;
    }
    blocks
}

fn start_of(survey: &Survey<'_>, sample: usize) -> Option<i64> {
    survey
        .kept
        .get(sample)
        .map(|kept| kept.pts * (COMMON_CLOCK / i64::from(survey.track.clock())))
}

/// Time of a sample, rounded to the millisecond ticks of WebM.
fn milliseconds(survey: &Survey<'_>, ticks: i64) -> i64 {
    let clock = i64::from(survey.track.clock());
    (ticks * 1000 + clock / 2) / clock
}

fn block(track: usize, sample: usize, survey: &Survey<'_>) -> Block {
    let kept = &survey.kept[sample];
    let time_ms = milliseconds(survey, kept.pts);
    let last_picture = survey.track.name() == "video" && sample + 1 == survey.kept.len();
    let group = last_picture.then(|| {
        let before = sample
            .checked_sub(1)
            .map(|before| milliseconds(survey, survey.kept[before].pts) - time_ms);
        let duration_ms = (milliseconds(survey, survey.end()) - time_ms).max(1) as u64;
        Group {
            duration_ms,
            reference_ms: before.filter(|_| !kept.key),
        }
    });
    let content = BLOCK_HEAD + u64::from(kept.size);
    let element = 1 + size_length(content) as u64 + content;
    let size = match group {
        None => element,
        Some(group) => {
            let inner = group_content(&group, element);
            1 + size_length(inner) as u64 + inner
        }
    };
    Block {
        track,
        sample,
        time_ms,
        group,
        size,
    }
}

/// Bytes inside a block group whose block element takes `element` bytes.
pub(super) fn group_content(group: &Group, element: u64) -> u64 {
    element
        + GROUP_NUMBER
        + if group.reference_ms.is_some() {
            GROUP_NUMBER
        } else {
            0
        }
}
