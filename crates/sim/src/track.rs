//! A Track that is sent: its RTP numbers and the clip that plays on it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::media::{Mid, Pt};
use str0m::rtp::{ExtensionValues, RtpWrite};

use crate::clip::{Clip, ClipPacket, Random};
use crate::protocol::CodecName;

pub struct Track {
    pub mid: Mid,
    pub codec: CodecName,
    pub payload_type: Option<Pt>,
    pub ssrc: u32,
    pub muted: bool,
    pub play: Option<Play>,
    /// Extended; starts below 65,536 because the receiver starts at rollover 0.
    next_sequence: u64,
    /// RTP timestamp of `epoch`, the first start. Later starts go on from the same clock.
    first_timestamp: u32,
    epoch: Option<Instant>,
    pub packets_sent: u64,
    pub bytes_sent: u64,
}

/// A clip in the course of being sent.
pub struct Play {
    clip: Arc<Clip>,
    started: Instant,
    repeat: bool,
    lose: BTreeSet<u64>,
    round: u32,
    next: usize,
}

/// One packet that is due, with everything but the header bytes.
pub struct Due {
    pub write: RtpWrite,
    pub sequence: u16,
    pub timestamp: u32,
    pub lost: bool,
    pub muted: bool,
    pub packet: usize,
    pub clip: Arc<Clip>,
}

impl Due {
    pub fn clip_packet(&self) -> &ClipPacket {
        &self.clip.packets[self.packet]
    }
}

impl Play {
    pub fn new(clip: Arc<Clip>, started: Instant, repeat: bool, lose: Vec<u64>) -> Self {
        Self {
            clip,
            started,
            repeat,
            lose: lose.into_iter().collect(),
            round: 0,
            next: 0,
        }
    }

    /// When the next packet is to leave; `None` after the last.
    pub fn due_at(&self) -> Option<Instant> {
        let packet = self.clip.packets.get(self.next)?;
        Some(self.started + self.offset(packet.timestamp))
    }

    fn offset(&self, timestamp: u32) -> Duration {
        let ticks = u64::from(self.round) * u64::from(self.clip.duration) + u64::from(timestamp);
        duration_of(ticks, self.clip.codec.clock_rate())
    }

    fn advance(&mut self) {
        self.next += 1;
        if self.next == self.clip.packets.len() && self.repeat {
            self.next = 0;
            self.round += 1;
        }
    }
}

impl Track {
    /// `seed` spreads the numbers, so that no two Tracks look alike and a run can be repeated.
    pub fn new(mid: Mid, codec: CodecName, seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            mid,
            codec,
            payload_type: None,
            ssrc: 0,
            muted: false,
            play: None,
            next_sequence: random.draw() % 65_000,
            first_timestamp: random.draw() as u32,
            epoch: None,
            packets_sent: 0,
            bytes_sent: 0,
        }
    }

    pub fn start(&mut self, play: Play) {
        self.epoch.get_or_insert(play.started);
        self.play = Some(play);
    }

    /// The next packet when its time has come. A muted packet takes no sequence number.
    pub fn take_due(&mut self, now: Instant) -> Option<Due> {
        let payload_type = self.payload_type?;
        let (epoch, play) = (self.epoch?, self.play.as_mut()?);
        let due_at = play.due_at().filter(|due_at| *due_at <= now)?;
        let number = play.next as u64 + play.clip.packets.len() as u64 * u64::from(play.round);
        let packet = &play.clip.packets[play.next];
        let ticks = ticks_of(due_at - epoch, play.clip.codec.clock_rate());
        let timestamp = self.first_timestamp.wrapping_add(ticks as u32);
        let sequence = self.next_sequence;
        let extensions = ExtensionValues {
            audio_level: packet.level.map(|level| -(level.min(127) as i8)),
            voice_activity: packet.level.map(|level| level < 127),
            ..ExtensionValues::default()
        };
        let payload = packet.payload.clone();
        let write = RtpWrite::new(payload_type, sequence.into(), timestamp, due_at, payload)
            .marker(packet.marker)
            .ext_vals(extensions)
            .nackable(true);
        let due = Due {
            write,
            sequence: sequence as u16,
            timestamp,
            lost: play.lose.contains(&number),
            muted: self.muted,
            packet: play.next,
            clip: play.clip.clone(),
        };
        play.advance();
        self.next_sequence += u64::from(!self.muted);
        Some(due)
    }
}

/// Rounded up, so that `ticks_of` gives the same ticks back.
fn duration_of(ticks: u64, clock_rate: u32) -> Duration {
    let nanos = (u128::from(ticks) * 1_000_000_000).div_ceil(u128::from(clock_rate));
    Duration::from_nanos(nanos as u64)
}

fn ticks_of(duration: Duration, clock_rate: u32) -> u64 {
    (duration.as_nanos() * u128::from(clock_rate) / 1_000_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_survive_the_way_through_nanoseconds() {
        for clock_rate in [48_000, 90_000] {
            for ticks in (0..10_000_000).step_by(997) {
                assert_eq!(ticks_of(duration_of(ticks, clock_rate), clock_rate), ticks);
            }
        }
    }
}
