//! Asks a publisher for key frames (PLI), and not too often.
//!
//! A key frame is wanted when a recording or a subscriber starts, when the SSRC changes, when packets
//! are lost for good and when a subscriber's decoder is stuck. Each costs 5 to 10 delta frames of rate,
//! and Chromium ignores bursts, so one Track is asked at most once a second; a wish that comes earlier
//! is kept and asked then.

use std::time::{Duration, Instant};

/// libwebrtc answers at most one request per 300 ms; other SFUs use 0.5 to 3 s.
pub const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct KeyFrameWish {
    wanted: bool,
    asked_at: Option<Instant>,
}

impl KeyFrameWish {
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether to send a request now. A true answer counts as sent.
    pub fn ask_now(&mut self, now: Instant) -> bool {
        let rested = self
            .asked_at
            .is_none_or(|at| now.saturating_duration_since(at) >= INTERVAL);
        if !(self.wanted && rested) {
            return false;
        }
        self.wanted = false;
        self.asked_at = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wishes_within_a_second_become_two_requests() {
        let start = Instant::now();
        let mut wish = KeyFrameWish::default();
        assert!(!wish.ask_now(start), "nobody asked");
        let mut asked = Vec::new();
        for step in 0..15 {
            let now = start + Duration::from_millis(100 * step);
            if step < 10 {
                wish.want();
            }
            if wish.ask_now(now) {
                asked.push(step);
            }
        }
        assert_eq!(asked, [0, 10]);
    }
}
