//! Asks for lost packets again (RFC 4585 NACK) for as long as the sender still has them.
//!
//! One [`Recovery`] stands behind each received SSRC. It sees every packet once, originals and
//! retransmissions alike, after the journal and the subscribers have got it: nothing waits here. A
//! recorder has no latency to lose, so a packet is asked for until the sender's history is over, even
//! when a newer key frame has made it useless to somebody who watches.
//!
//! What it gives up is counted, and brings a key frame where the picture is still broken.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A packet that is merely overtaken comes by itself: browsers and access points reorder within a few
/// milliseconds, and each NACK for nothing costs a packet of the publisher's rate.
const REORDER_GUARD: Duration = Duration::from_millis(15);
/// What is due this soon goes into the same NACK.
const TOGETHER: Duration = Duration::from_millis(5);
/// On top of the round trip before a packet is asked for again: the sender's pacer, and timers of both.
const RETRY_MARGIN: Duration = Duration::from_millis(10);
/// So many tries come one round trip apart. Later ones share what is left of the history, so that on a
/// short path they reach over all of it: an outage of half a second must not use them up.
const QUICK_TRIES: u32 = 4;
/// As libwebrtc.
const TRIES: u32 = 10;
/// Chromium keeps what it sent for max(1 s, 3 RTT) (libwebrtc, RtpPacketHistory).
const HISTORY: Duration = Duration::from_secs(1);
const HISTORY_ROUND_TRIPS: u32 = 3;
/// Before the first measurement.
const DEFAULT_RTT: Duration = Duration::from_millis(100);
/// Packets of one stream that may be missing at a time: 7 s of 5 Mbit/s. A longer outage is none that
/// retransmission could mend.
const WINDOW: u64 = 4096;

/// Of one SSRC.
#[derive(Debug, Default)]
pub struct Recovery {
    highest: Option<u64>,
    missing: BTreeMap<u64, Missing>,
    /// When something is to be done; never later than it is due, perhaps earlier.
    next_at: Option<Instant>,
    /// Round trip as NACK and retransmission show it, for senders that do not answer reports.
    observed_rtt: Option<Duration>,
    /// Where the newest key frame begins.
    key_frame: Option<u64>,
    given_up: GivenUp,
}

#[derive(Debug)]
struct Missing {
    since: Instant,
    tries: u32,
    asked_at: Option<Instant>,
    /// When to ask again, or to give up.
    next_at: Instant,
}

/// What will not come any more.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp {
    pub packets: u64,
    /// No newer key frame has begun: the picture is broken until one does.
    pub wants_key_frame: bool,
}

/// How a packet fits into what came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// In its turn, or the first after a hole.
    Newest,
    /// It was missing.
    Mended,
    /// Nobody waited for it any more. It is recorded all the same.
    Late,
}

/// A packet as it came: its extended sequence number and what is known about it.
#[derive(Debug, Clone, Copy)]
pub struct Sighting {
    pub number: u64,
    pub at: Instant,
    pub is_repaired: bool,
    pub begins_key_frame: bool,
}

impl Recovery {
    /// Takes note of a packet that was not there before.
    pub fn packet(&mut self, seen: Sighting) -> Arrival {
        if seen.begins_key_frame {
            self.key_frame = self.key_frame.max(Some(seen.number));
        }
        let highest = *self.highest.get_or_insert(seen.number);
        if seen.number >= highest {
            self.highest = Some(seen.number);
            self.note_hole(highest + 1, seen.number, seen.at);
            return Arrival::Newest;
        }
        let Some(missing) = self.missing.remove(&seen.number) else {
            return Arrival::Late;
        };
        if let (true, 1, Some(asked_at)) = (seen.is_repaired, missing.tries, missing.asked_at) {
            self.observe(seen.at.saturating_duration_since(asked_at));
        }
        Arrival::Mended
    }

    /// When [`Recovery::work`] wants to be called.
    pub fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// What to ask for now, ascending, and what was given up since the last call. `rtt` is the round
    /// trip as the sender's answers to our reports tell it.
    pub fn work(&mut self, now: Instant, rtt: Option<Duration>) -> (Vec<u64>, GivenUp) {
        let rtt = rtt.or(self.observed_rtt).unwrap_or(DEFAULT_RTT);
        let history = HISTORY.max(rtt * HISTORY_ROUND_TRIPS);
        let mut asked = Vec::new();
        let mut lost = Vec::new();
        for (number, missing) in &mut self.missing {
            if missing.next_at > now + TOGETHER {
                continue;
            }
            let is_over = missing.tries >= TRIES || now >= missing.since + history;
            if is_over && missing.next_at <= now {
                lost.push(*number);
            } else if !is_over {
                missing.ask(now, rtt, history);
                asked.push(*number);
            }
        }
        for number in &lost {
            self.missing.remove(number);
        }
        if let Some(last) = lost.last() {
            self.give_up(lost.len() as u64, *last);
        }
        self.next_at = self.missing.values().map(|missing| missing.next_at).min();
        (asked, std::mem::take(&mut self.given_up))
    }

    /// The numbers from `first` up to `next` did not come, at least not yet.
    fn note_hole(&mut self, first: u64, next: u64, now: Instant) {
        if first >= next {
            return;
        }
        let hole = next - first;
        if hole + self.missing.len() as u64 > WINDOW {
            // All at once would be more than any history holds.
            let lost = hole + self.missing.len() as u64;
            self.missing.clear();
            self.give_up(lost, next - 1);
            self.next_at = Some(now);
            return;
        }
        let next_at = now + REORDER_GUARD;
        let missing = || Missing {
            since: now,
            tries: 0,
            asked_at: None,
            next_at,
        };
        self.missing
            .extend((first..next).map(|number| (number, missing())));
        self.next_at = Some(self.next_at.map_or(next_at, |at| at.min(next_at)));
    }

    fn give_up(&mut self, packets: u64, last: u64) {
        self.given_up.packets += packets;
        self.given_up.wants_key_frame |= self.key_frame.is_none_or(|begin| begin <= last);
    }

    /// A moving average, as TCP smooths its round trip (RFC 6298).
    fn observe(&mut self, round_trip: Duration) {
        let before = self.observed_rtt.unwrap_or(round_trip);
        self.observed_rtt = Some((before * 7 + round_trip) / 8);
    }
}

impl Missing {
    fn ask(&mut self, now: Instant, rtt: Duration, history: Duration) {
        self.tries += 1;
        self.asked_at = Some(now);
        let over = self.since + history;
        let mut pause = rtt + RETRY_MARGIN;
        if (QUICK_TRIES..TRIES).contains(&self.tries) {
            // What is asked for later than this is forgotten when the sender hears of it.
            let left = (over - rtt).saturating_duration_since(now);
            pause = pause.max(left / (TRIES - self.tries));
        }
        self.next_at = match now + pause {
            next if next < over && self.tries < TRIES => next,
            // The last try: its answer is waited for.
            _ => over.max(now + rtt + RETRY_MARGIN),
        };
    }
}

/// Ascending numbers as the entries of a NACK: a number and the mask of the 16 after it.
pub fn entries(numbers: &[u64]) -> Vec<(u16, u16)> {
    let mut entries: Vec<(u64, u16)> = Vec::new();
    for number in numbers {
        match entries.last_mut() {
            Some((first, mask)) if number - *first <= 16 => *mask |= 1 << (number - *first - 1),
            _ => entries.push((*number, 0)),
        }
    }
    let on_the_wire = |(first, mask): (u64, u16)| (first as u16, mask);
    entries.into_iter().map(on_the_wire).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    struct Lab {
        start: Instant,
        recovery: Recovery,
        rtt: Option<Duration>,
    }

    /// What was asked for and what was given up, each with its millisecond.
    type Ran = (Vec<(u64, Vec<u64>)>, Vec<(u64, GivenUp)>);

    impl Lab {
        fn new() -> Self {
            Self {
                start: Instant::now(),
                recovery: Recovery::default(),
                rtt: Some(RTT),
            }
        }

        fn sees(&mut self, at: u64, number: u64) -> Arrival {
            self.recovery.packet(Sighting {
                number,
                at: self.start + ms(at),
                is_repaired: false,
                begins_key_frame: false,
            })
        }

        fn sees_key_frame(&mut self, at: u64, number: u64) {
            self.recovery.packet(Sighting {
                number,
                at: self.start + ms(at),
                is_repaired: false,
                begins_key_frame: true,
            });
        }

        /// Works whenever it wants to, up to `until`.
        fn run(&mut self, until: u64) -> Ran {
            let (mut asked, mut given_up) = (Vec::new(), Vec::new());
            while let Some(at) = self.recovery.next_at()
                && at <= self.start + ms(until)
            {
                let (numbers, lost) = self.recovery.work(at, self.rtt);
                let at = (at - self.start).as_millis() as u64;
                if !numbers.is_empty() {
                    asked.push((at, numbers));
                }
                if lost.packets > 0 {
                    given_up.push((at, lost));
                }
            }
            (asked, given_up)
        }

        fn asked_at(&mut self, until: u64) -> Vec<u64> {
            self.run(until).0.into_iter().map(|(at, _)| at).collect()
        }
    }

    #[test]
    fn what_was_only_overtaken_is_not_asked_for() {
        let mut lab = Lab::new();
        lab.sees(0, 10);
        lab.sees(1, 12);
        assert_eq!(lab.sees(14, 11), Arrival::Mended);
        assert_eq!(lab.run(5_000), (vec![], vec![]));
    }

    #[test]
    fn tries_are_a_round_trip_apart_and_end_with_the_history() {
        let mut lab = Lab::new();
        lab.sees(0, 10);
        lab.sees(0, 12);
        let (asked, given_up) = lab.run(5_000);
        let times: Vec<_> = asked.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [15, 125, 235, 345, 455, 565, 675, 785, 895]);
        assert!(asked.iter().all(|(_, numbers)| numbers == &[11]));
        let lost = GivenUp {
            packets: 1,
            wants_key_frame: true,
        };
        assert_eq!(given_up, [(1_005, lost)], "its last answer is waited for");
        assert_eq!(lab.sees(1_006, 11), Arrival::Late);
    }

    #[test]
    fn a_long_path_has_a_longer_history() {
        let mut lab = Lab::new();
        lab.rtt = Some(ms(600));
        lab.sees(0, 1);
        lab.sees(0, 3);
        let (asked, given_up) = lab.run(10_000);
        assert_eq!(asked.len(), 3);
        assert_eq!((asked[2].0, given_up[0].0), (1_235, 1_845));
    }

    #[test]
    fn on_a_short_path_ten_tries_reach_over_the_whole_history() {
        let mut lab = Lab::new();
        lab.rtt = Some(ms(20));
        lab.sees(0, 1);
        lab.sees(0, 3);
        let times = lab.asked_at(5_000);
        assert_eq!(times, [15, 45, 75, 105, 250, 396, 542, 688, 834, 980]);
    }

    #[test]
    fn a_sender_that_answers_no_report_is_timed_by_its_retransmissions() {
        let mut lab = Lab::new();
        lab.rtt = None;
        lab.sees(0, 1);
        lab.sees(0, 3);
        assert_eq!(lab.asked_at(20), [15]);
        lab.recovery.packet(Sighting {
            number: 2,
            at: lab.start + ms(65),
            is_repaired: true,
            begins_key_frame: false,
        });
        lab.sees(1_000, 5);
        assert_eq!(lab.asked_at(1_100), [1_015, 1_075], "50 ms and the margin");
    }

    #[test]
    fn a_newer_key_frame_spares_another_but_not_the_tries() {
        let mut lab = Lab::new();
        lab.sees(0, 1);
        lab.sees(0, 3);
        lab.sees_key_frame(200, 4);
        let (asked, given_up) = lab.run(5_000);
        assert_eq!(asked.len(), 9);
        assert!(!given_up[0].1.wants_key_frame);
        lab.sees(5_000, 6);
        assert!(lab.run(9_000).1[0].1.wants_key_frame, "5 is part of it");
    }

    #[test]
    fn a_hole_beyond_the_window_is_lost_at_once_and_what_follows_is_not() {
        let mut lab = Lab::new();
        lab.sees(0, 1);
        lab.sees(0, 3);
        lab.sees(1, 4 + WINDOW);
        let (asked, given_up) = lab.run(0);
        assert!(asked.is_empty() && given_up.is_empty());
        let lost = GivenUp {
            packets: WINDOW + 1,
            wants_key_frame: true,
        };
        assert_eq!(lab.run(1), (vec![], vec![(1, lost)]));
        lab.sees(2, 6 + WINDOW);
        assert_eq!(lab.run(30).0, [(17, vec![5 + WINDOW])]);
    }

    #[test]
    fn holes_of_one_moment_share_a_nack() {
        let mut lab = Lab::new();
        lab.sees(0, 1);
        lab.sees(0, 3);
        lab.sees(4, 5);
        assert_eq!(lab.run(50).0, [(15, vec![2, 4])]);
    }

    #[test]
    fn entries_hold_seventeen_numbers_and_wrap() {
        assert_eq!(entries(&[]), []);
        assert_eq!(entries(&[65_536]), [(0, 0)]);
        let run: Vec<u64> = (65_530..65_548).collect();
        assert_eq!(entries(&run), [(65_530, 0xffff), (11, 0)]);
        assert_eq!(entries(&[5, 21, 22]), [(5, 0x8000), (22, 0)]);
    }
}
