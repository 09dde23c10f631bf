//! Who speaks: smooths the audio levels that senders write into each packet (RFC 6464).
//!
//! The levels come from the RTP header extension, so no audio is decoded. A Track counts as speaking
//! from a level above [`AUDIBLE_DBOV`] until [`HANGOVER`] after it fell below, so that a pause between
//! two words does not flicker.

use std::time::{Duration, Instant};

/// How often a room's speakers are looked at; the most often that an event is sent.
pub const INTERVAL: Duration = Duration::from_millis(250);
/// Background noise of a quiet room lies below about -60 dBov, speech between -45 and -15.
const AUDIBLE_DBOV: f32 = -50.0;
/// A pause between words is shorter than this.
const HANGOVER: Duration = Duration::from_millis(750);
/// What counts as full: a level of 100.
const LOUD_DBOV: f32 = -15.0;
/// Levels are reported in steps, so that they change only when one could see it.
const STEP: f32 = 10.0;

/// One Track's level.
#[derive(Debug)]
pub struct Level {
    peak_dbov: i8,
    smooth_dbov: f32,
    audible_at: Option<Instant>,
}

impl Default for Level {
    fn default() -> Self {
        Self {
            peak_dbov: i8::MIN,
            smooth_dbov: -127.0,
            audible_at: None,
        }
    }
}

impl Level {
    /// Takes the level of one packet, in dBov (0 is the loudest, -127 digital silence).
    pub fn packet(&mut self, dbov: i8) {
        self.peak_dbov = self.peak_dbov.max(dbov);
    }

    /// Closes one interval; returns the level 1..100 while the Track speaks.
    pub fn close_interval(&mut self, now: Instant) -> Option<u8> {
        let peak = f32::from(std::mem::replace(&mut self.peak_dbov, i8::MIN)).max(-127.0);
        // Rises at once, falls by half the distance each interval.
        self.smooth_dbov = if peak > self.smooth_dbov {
            peak
        } else {
            (peak + self.smooth_dbov) / 2.0
        };
        if self.smooth_dbov > AUDIBLE_DBOV {
            self.audible_at = Some(now);
        }
        let speaking = self
            .audible_at
            .is_some_and(|at| now.saturating_duration_since(at) < HANGOVER);
        speaking.then(|| percent(self.smooth_dbov))
    }
}

fn percent(dbov: f32) -> u8 {
    let share = (dbov - AUDIBLE_DBOV) / (LOUD_DBOV - AUDIBLE_DBOV) * 100.0;
    ((share / STEP).ceil() * STEP).clamp(STEP, 100.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_is_seen_and_a_short_pause_does_not_end_it() {
        let start = Instant::now();
        let mut level = Level::default();
        let mut heard = Vec::new();
        for (step, dbov) in [-127, -20, -127, -127, -127, -127, -127]
            .into_iter()
            .enumerate()
        {
            level.packet(dbov);
            heard.push(
                level
                    .close_interval(start + INTERVAL * step as u32)
                    .is_some(),
            );
        }
        assert_eq!(heard, [false, true, true, true, false, false, false]);
    }

    #[test]
    fn louder_is_more_and_never_above_a_hundred() {
        assert_eq!(
            [percent(-49.0), percent(-30.0), percent(0.0)],
            [10, 60, 100]
        );
    }
}
