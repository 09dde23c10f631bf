//! One clock for a process: monotonic, but told as Unix time.
//!
//! It is anchored once at start. A wall clock that is stepped later therefore never bends a journal.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A datagram older than this when it is read would be a clock step, not a queue: the socket's buffer
/// holds far less.
const OLDEST: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub struct SessionClock {
    anchor: Instant,
    anchor_unix_ns: u64,
}

impl SessionClock {
    pub fn start() -> Self {
        Self {
            anchor: Instant::now(),
            anchor_unix_ns: unix_ns(SystemTime::now()),
        }
    }

    /// The Unix time of an instant, in ns.
    pub fn unix_ns(&self, at: Instant) -> u64 {
        match at.checked_duration_since(self.anchor) {
            Some(after) => self.anchor_unix_ns + after.as_nanos() as u64,
            None => self.anchor_unix_ns - (self.anchor - at).as_nanos() as u64,
        }
    }
}

fn unix_ns(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos() as u64
}

/// Both clocks read together, to turn the kernel's wall-clock stamps into instants.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub now: Instant,
    unix_ns: u64,
}

impl Reading {
    pub fn take() -> Self {
        Self {
            now: Instant::now(),
            unix_ns: unix_ns(SystemTime::now()),
        }
    }

    /// The instant of a kernel stamp. One from the future or from long ago means that the wall clock
    /// was stepped meanwhile; then the time of reading is the better answer.
    pub fn instant_of(&self, stamp_unix_ns: u64) -> Instant {
        let age = Duration::from_nanos(self.unix_ns.saturating_sub(stamp_unix_ns));
        if age > OLDEST {
            self.now
        } else {
            self.now.checked_sub(age).unwrap_or(self.now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_stamp_becomes_the_instant_it_was_taken() {
        let reading = Reading::take();
        assert_eq!(
            reading.now - reading.instant_of(reading.unix_ns - 3_000_000),
            Duration::from_millis(3)
        );
    }

    #[test]
    fn a_stepped_wall_clock_does_not_move_a_packet() {
        let reading = Reading::take();
        for stamp in [
            reading.unix_ns - 3_600_000_000_000,
            reading.unix_ns + 3_600_000_000_000,
        ] {
            assert_eq!(reading.instant_of(stamp), reading.now);
        }
    }

    #[test]
    fn session_time_goes_on_from_its_anchor() {
        let clock = SessionClock::start();
        let start = clock.unix_ns(clock.anchor);
        assert_eq!(
            clock.unix_ns(clock.anchor + Duration::from_millis(5)) - start,
            5_000_000
        );
    }
}
