//! Reads the few facts that we need from a client's SDP, and takes out what we do not accept.
//!
//! The full parser is str0m's. Ours runs before it and answers: which m-line carries which Track
//! (`a=msid`), is it sending, and is this still the same PeerConnection (its DTLS fingerprint)?

use crate::error::Error;
use crate::limits;

/// One m-line of an offer.
#[derive(Debug, Default, PartialEq)]
pub struct MediaLine {
    pub mid: String,
    pub track_id: String,
    pub sending: bool,
}

/// An SDP after our reading.
#[derive(Debug)]
pub struct Offer {
    /// The text that str0m gets.
    pub text: String,
    /// The first DTLS fingerprint: a new one means a new PeerConnection.
    pub fingerprint: String,
    pub lines: Vec<MediaLine>,
}

impl Offer {
    pub fn read(sdp: &str) -> Result<Self, Error> {
        limits::check_sdp(sdp)?;
        let mut offer = Self {
            text: String::with_capacity(sdp.len()),
            fingerprint: String::new(),
            lines: Vec::new(),
        };
        for line in sdp.lines().filter(|line| !is_unwanted(line)) {
            offer.text.push_str(line);
            offer.text.push_str("\r\n");
            offer.note(line);
        }
        offer.check()?;
        Ok(offer)
    }

    fn note(&mut self, line: &str) {
        if let Some(fingerprint) = line.strip_prefix("a=fingerprint:")
            && self.fingerprint.is_empty()
        {
            self.fingerprint = fingerprint.trim().to_ascii_lowercase();
        }
        if line.starts_with("m=") {
            self.lines.push(MediaLine {
                sending: true,
                ..Default::default()
            });
        }
        let Some(media) = self.lines.last_mut() else {
            return;
        };
        if let Some(mid) = line.strip_prefix("a=mid:") {
            media.mid = mid.trim().to_owned();
        } else if let Some(msid) = line.strip_prefix("a=msid:") {
            media.track_id = msid
                .split_ascii_whitespace()
                .nth(1)
                .unwrap_or_default()
                .to_owned();
        } else if line == "a=inactive" || line == "a=recvonly" {
            media.sending = false;
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.fingerprint.is_empty() {
            return Err(Error::Bad("sdp: no a=fingerprint".into()));
        }
        // str0m maps other characters to `_` and cuts the rest, and then no packet finds its m-line.
        let kept = |mid: &str| {
            !mid.is_empty()
                && mid.len() <= limits::MID_BYTES
                && mid.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        match self.lines.iter().find(|line| !kept(&line.mid)) {
            Some(line) => Err(Error::Bad(format!(
                "sdp: mid {:?} is not 1 to 16 letters or digits",
                line.mid
            ))),
            None => Ok(()),
        }
    }

    /// The sending m-line of a Track.
    pub fn line_of(&self, track_id: &str) -> Option<&MediaLine> {
        self.lines
            .iter()
            .find(|line| line.sending && line.track_id == track_id)
    }
}

/// Candidates: as an ICE-lite agent we answer whoever knows the password and never send to an address
/// that a client merely names. Simulcast: without it in the answer the browser sends one layer at the
/// best rate the path allows, and that layer is what a recording wants.
fn is_unwanted(line: &str) -> bool {
    [
        "a=candidate:",
        "a=end-of-candidates",
        "a=simulcast:",
        "a=rid:",
    ]
    .iter()
    .any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\na=fingerprint:sha-256 AA:BB\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\n\
        a=mid:0\r\na=msid:s {t-1}\r\na=sendonly\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=msid:s t-2\r\na=inactive\r\na=simulcast:send f;h\r\n";

    #[test]
    fn a_track_is_found_by_its_msid_unless_its_line_is_inactive() {
        let offer = Offer::read(SDP).unwrap();
        assert_eq!(offer.line_of("{t-1}").unwrap().mid, "0");
        assert_eq!(offer.line_of("t-2"), None);
    }

    #[test]
    fn named_addresses_and_simulcast_do_not_reach_the_session() {
        let text = Offer::read(SDP).unwrap().text;
        assert!(
            !text.contains("candidate") && !text.contains("simulcast") && text.contains("a=mid:1")
        );
    }

    #[test]
    fn a_mid_that_would_be_rewritten_is_refused() {
        let error = Offer::read(&SDP.replace("a=mid:1", "a=mid:video-1")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sdp: mid \"video-1\" is not 1 to 16 letters or digits"
        );
    }
}
