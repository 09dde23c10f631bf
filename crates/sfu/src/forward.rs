//! Renumbers one Track's packets for one subscriber.
//!
//! A subscriber must see one unbroken stream: sequence numbers without the holes that we make (a pause,
//! another SSRC), timestamps that go on. SRTP also wants the first sequence number of a receiver below
//! 65,536, while the publisher may be far beyond. Real losses stay holes: the subscriber may ask for
//! them, and the publisher's retransmission then fills them under the same number.

use std::time::Instant;

/// Where a subscriber's stream begins: away from 0, so that a packet older than the first one has room.
const FIRST_SEQUENCE: u64 = 1_000;

#[derive(Debug)]
struct Source {
    ssrc: u32,
    first_sequence: u64,
    first_timestamp: u64,
    out_sequence: u64,
    out_timestamp: u64,
}

#[derive(Debug)]
struct Last {
    sequence: u64,
    timestamp: u64,
    at: Instant,
}

/// What to know of a packet to renumber it.
#[derive(Debug, Clone, Copy)]
pub struct Numbers {
    pub ssrc: u32,
    /// Extended sequence number.
    pub sequence: u64,
    /// Extended RTP timestamp.
    pub timestamp: u64,
    pub clock_rate: u64,
    pub at: Instant,
}

#[derive(Debug, Default)]
pub struct Renumbering {
    source: Option<Source>,
    last: Option<Last>,
}

impl Renumbering {
    /// The numbers that the subscriber sees; none for a packet from before the stream's (re)start.
    pub fn packet(&mut self, packet: Numbers) -> Option<(u64, u32)> {
        if self
            .source
            .as_ref()
            .is_none_or(|source| source.ssrc != packet.ssrc)
        {
            self.source = Some(self.attach(packet));
        }
        let source = self.source.as_ref()?;
        let sequence = source.out_sequence + packet.sequence.checked_sub(source.first_sequence)?;
        // A frame sent before the first may come with a later number (audio and video never do).
        let timestamp = source
            .out_timestamp
            .wrapping_add(packet.timestamp.wrapping_sub(source.first_timestamp));
        if self
            .last
            .as_ref()
            .is_none_or(|last| sequence > last.sequence)
        {
            self.last = Some(Last {
                sequence,
                timestamp,
                at: packet.at,
            });
        }
        Some((sequence, timestamp as u32))
    }

    /// Packets were left out on purpose: the next one follows the last without a hole.
    pub fn pause(&mut self) {
        self.source = None;
    }

    fn attach(&self, packet: Numbers) -> Source {
        let (out_sequence, out_timestamp) = match &self.last {
            None => (FIRST_SEQUENCE, packet.timestamp),
            Some(last) => {
                let passed = packet.at.saturating_duration_since(last.at).as_micros() as u64;
                (
                    last.sequence + 1,
                    last.timestamp
                        .wrapping_add((passed * packet.clock_rate / 1_000_000).max(1)),
                )
            }
        };
        Source {
            ssrc: packet.ssrc,
            first_sequence: packet.sequence,
            first_timestamp: packet.timestamp,
            out_sequence,
            out_timestamp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn packet(ssrc: u32, sequence: u64, timestamp: u64, at: Instant) -> Numbers {
        Numbers {
            ssrc,
            sequence,
            timestamp,
            clock_rate: 90_000,
            at,
        }
    }

    #[test]
    fn losses_stay_holes_and_a_late_packet_gets_its_own_number() {
        let now = Instant::now();
        let mut out = Renumbering::default();
        let numbers: Vec<_> = [70_000, 70_003, 70_001]
            .iter()
            .map(|n| out.packet(packet(1, *n, 5, now)).unwrap().0)
            .collect();
        assert_eq!(numbers, [1_000, 1_003, 1_001]);
        assert_eq!(
            out.packet(packet(1, 69_999, 5, now)),
            None,
            "older than the first"
        );
    }

    #[test]
    fn another_ssrc_continues_the_numbers_and_the_time() {
        let now = Instant::now();
        let mut out = Renumbering::default();
        out.packet(packet(1, 10, 1_000, now)).unwrap();
        let later = now + Duration::from_millis(100);
        assert_eq!(
            out.packet(packet(2, 500, 77, later)),
            Some((1_001, 1_000 + 9_000))
        );
    }

    #[test]
    fn a_pause_leaves_no_hole() {
        let now = Instant::now();
        let mut out = Renumbering::default();
        out.packet(packet(1, 10, 0, now)).unwrap();
        out.pause();
        assert_eq!(out.packet(packet(1, 900, 0, now)).unwrap().0, 1_001);
        assert_eq!(
            out.packet(packet(1, 899, 0, now)),
            None,
            "from within the pause"
        );
    }
}
