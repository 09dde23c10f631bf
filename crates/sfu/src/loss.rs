//! Notices packets that recovery has given up, so that a key frame can be asked for.
//!
//! NACK and RTX are str0m's. This only watches what came out of them: a sequence number that is still
//! missing after [`PATIENCE`] will not come any more (Chromium keeps its history for about a second).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Longer than Chromium's retransmission history of max(1 s, 3 RTT) on a usual path.
pub const PATIENCE: Duration = Duration::from_millis(1500);
/// Missing numbers watched at a time; a larger hole counts as lost at once.
const WATCHED: usize = 512;

#[derive(Debug, Default)]
pub struct LossWatch {
    highest: Option<u64>,
    missing: VecDeque<(u64, Instant)>,
}

impl LossWatch {
    /// Takes the extended sequence number of a new packet; returns how many packets are now known lost.
    pub fn packet(&mut self, sequence: u64, now: Instant) -> u64 {
        let highest = *self.highest.get_or_insert(sequence);
        let mut lost = 0;
        if sequence > highest {
            let first = (highest + 1).max(sequence.saturating_sub(WATCHED as u64));
            lost += first - (highest + 1);
            self.missing
                .extend((first..sequence).map(|number| (number, now)));
            self.highest = Some(sequence);
        } else if let Some(at) = self
            .missing
            .iter()
            .position(|(number, _)| *number == sequence)
        {
            self.missing.remove(at);
        }
        lost + self.give_up(now)
    }

    /// Starts over, for a new SSRC.
    pub fn restart(&mut self) {
        *self = Self::default();
    }

    fn give_up(&mut self, now: Instant) -> u64 {
        let mut lost = 0;
        while let Some((_, since)) = self.missing.front()
            && (self.missing.len() > WATCHED || now.saturating_duration_since(*since) >= PATIENCE)
        {
            self.missing.pop_front();
            lost += 1;
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_packet_is_not_a_loss_and_a_missing_one_is() {
        let start = Instant::now();
        let mut watch = LossWatch::default();
        assert_eq!(watch.packet(10, start), 0);
        assert_eq!(watch.packet(13, start), 0);
        assert_eq!(watch.packet(11, start + Duration::from_millis(300)), 0);
        assert_eq!(watch.packet(14, start + PATIENCE), 1, "only 12 never came");
        assert_eq!(watch.packet(15, start + PATIENCE * 2), 0, "counted once");
    }

    #[test]
    fn a_hole_larger_than_the_watch_is_lost_at_once() {
        let mut watch = LossWatch::default();
        watch.packet(1, Instant::now());
        assert_eq!(watch.packet(1002, Instant::now()), 1000 - WATCHED as u64);
    }
}
