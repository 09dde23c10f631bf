//! One PeerConnection: a str0m session, drained after every input, with its next deadline.
//!
//! str0m holds a single pending packet, so each input is followed by a full drain. A panic inside is
//! caught here and reported to the caller, who gives up that peer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use str0m::channel::ChannelId;
use str0m::format::{CodecConfig, CodecSpec};
use str0m::media::Pt;
use str0m::net::Transmit;
use str0m::{Candidate, Event, Input, Output, Rtc};

use crate::codecs;
use crate::demux;
use crate::output::{Datagram, Pc, Tuple};

/// Names a connection; the generation tells a renewed one from its predecessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey {
    pub peer: u32,
    pub pc: Pc,
    pub generation: u32,
}

/// Errors in a row after which a drain stops: the rest waits for the next deadline.
const ERRORS_PER_DRAIN: u32 = 8;
/// When to try again after such a drain.
const ERROR_PAUSE: Duration = Duration::from_millis(50);
/// A path that carries nothing for so long gives way to any other that passes a check. Chromium checks
/// the path it uses every 2.5 s when nothing else flows (its weak and stable ping intervals).
const PATH_SILENCE: Duration = Duration::from_secs(3);

/// When silence on a subscriber's path means that it is dead. The longest honest silence is that of a client
/// to which nothing is sent and which only consents: 6 s (RFC 7675 section 5.1).
const DEAD_SILENCE: Duration = Duration::from_secs(7);
/// Nobody has checked any path for so long: the client is gone. It is str0m's own time for a pair.
const UNCHECKED: Duration = Duration::from_secs(15);

pub struct Connection {
    pub rtc: Rtc,
    pub key: ConnectionKey,
    /// When str0m wants to run next.
    pub deadline: Instant,
    /// The deadline that is noted in the agenda.
    pub scheduled: Option<Instant>,
    /// Waits for the end of this batch of input to be drained.
    pub is_dirty: bool,
    /// ICE and DTLS are up, as last told to the control plane.
    pub is_connected: bool,
    /// The `ion-sfu` channel (subscribe connections only).
    pub channel: Option<ChannelId>,
    /// Where everything but answers to checks goes; none before the first check.
    path: Option<Tuple>,
    /// When something last came from there.
    path_heard: Instant,
    /// When a check last came, on whatever path.
    checked_at: Instant,
}

/// How an input ended.
#[derive(Debug, Default)]
pub struct Fed {
    pub errors: u32,
    pub panic: Option<String>,
}

impl Connection {
    /// A new ICE-lite session that is reachable at the candidates. The certificate is its own, on purpose:
    /// a client restarts DTLS only when the fingerprint changes, and needs to when we lost its session.
    pub fn new(
        key: ConnectionKey,
        codecs: CodecConfig,
        candidates: impl Iterator<Item = Candidate>,
        now: Instant,
    ) -> Self {
        let mut config = Rtc::builder()
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .clear_codecs()
            .set_extension_map(codecs::extensions());
        *config.codec_config() = codecs;
        let mut rtc = config.build(now);
        for candidate in candidates {
            rtc.add_local_candidate(candidate);
        }
        Self {
            rtc,
            key,
            deadline: now,
            scheduled: None,
            is_dirty: false,
            is_connected: false,
            channel: None,
            path: None,
            path_heard: now,
            checked_at: now,
        }
    }

    /// Something other than a check came in.
    pub fn hear(&mut self, source: Tuple, at: Instant) {
        if self.path == Some(source) {
            self.path_heard = at;
        }
    }

    /// A check came in and proved that it knows the password. Says whether the path is another one now.
    ///
    /// str0m would stay with the pair it has, as long as no better one is nominated. But a client nominates
    /// the pair that it uses, and after a NAT rebinding or a change of networks the new pair is no better
    /// than the dead one: so the latest nomination counts. A client that does not repeat its nomination
    /// (Firefox's consent checks) is followed when the old path has fallen silent.
    pub fn follow(&mut self, source: Tuple, nominates: bool, at: Instant) -> bool {
        self.checked_at = at;
        let is_silent = at.saturating_duration_since(self.path_heard) >= PATH_SILENCE;
        if !(nominates || is_silent || self.path.is_none()) {
            self.hear(source, at);
            return false;
        }
        self.path_heard = at;
        self.path.replace(source).is_some_and(|old| old != source)
    }

    /// Whether the client can be reached. str0m gives up a nominated pair that is checked no more, though
    /// the client may use another that it had no need to nominate again.
    pub fn is_up(&self, now: Instant) -> bool {
        let is_checked = now.saturating_duration_since(self.checked_at) < UNCHECKED;
        self.rtc.is_alive() && (self.rtc.is_connected() || self.is_connected && is_checked)
    }

    /// Whether the path has been silent so long that it must be dead; true once for each such time.
    pub fn take_silence(&mut self, now: Instant) -> bool {
        let is_dead = now.saturating_duration_since(self.path_heard) >= DEAD_SILENCE;
        if is_dead {
            self.path_heard = now;
        }
        is_dead
    }

    /// Nothing reaches the client there any more.
    pub fn lose_path(&mut self, lost: Tuple) {
        self.path.take_if(|path| *path == lost);
    }

    /// What was agreed for a payload type.
    pub fn spec_of(&self, payload_type: Pt) -> Option<CodecSpec> {
        let mut agreed = self.rtc.codec_config().params().iter();
        agreed
            .find(|known| known.pt() == payload_type)
            .map(|known| known.spec())
    }

    pub fn ufrag(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// Gives one input and drains what it causes.
    pub fn feed(
        &mut self,
        input: Input,
        datagrams: &mut Vec<Datagram>,
        events: &mut Vec<Event>,
    ) -> Fed {
        let now = match &input {
            Input::Timeout(now) | Input::Receive(now, _) => *now,
        };
        let fed = guarded(|| {
            let refused = u32::from(self.rtc.handle_input(input).is_err());
            refused + self.drain(now, datagrams, events)
        });
        match fed {
            Ok(errors) => Fed {
                errors,
                panic: None,
            },
            Err(panic) => Fed {
                errors: 0,
                panic: Some(panic),
            },
        }
    }

    fn drain(
        &mut self,
        now: Instant,
        datagrams: &mut Vec<Datagram>,
        events: &mut Vec<Event>,
    ) -> u32 {
        let mut errors = 0;
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(deadline)) => {
                    self.deadline = deadline;
                    return errors;
                }
                Ok(Output::Transmit(transmit)) => datagrams.push(self.address(transmit)),
                Ok(Output::Event(event)) => events.push(event),
                Err(_) if errors < ERRORS_PER_DRAIN => errors += 1,
                Err(_) => {
                    self.deadline = now + ERROR_PAUSE;
                    return errors + 1;
                }
            }
        }
    }

    /// The answer to a check goes back where that came from, everything else along the path.
    fn address(&self, transmit: Transmit) -> Datagram {
        let named = Tuple::of_session(transmit.proto, transmit.destination);
        let path = self.path.filter(|_| !demux::is_stun(&transmit.contents));
        Datagram {
            destination: path.unwrap_or(named),
            contents: transmit.contents.into(),
        }
    }
}

/// Runs `f`; a panic becomes its message.
pub fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "panic".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codecs::{VideoCodec, codec_config};

    fn connection(now: Instant) -> Connection {
        let key = ConnectionKey {
            peer: 1,
            pc: Pc::Publish,
            generation: 1,
        };
        let codecs = codec_config(&[VideoCodec::Vp8], true);
        Connection::new(key, codecs, std::iter::empty(), now)
    }

    fn source(port: u16) -> Tuple {
        Tuple::udp(([192, 0, 2, 1], port).into())
    }

    #[test]
    fn the_latest_nomination_is_followed_and_a_spare_pair_is_not() {
        let now = Instant::now();
        let mut connection = connection(now);
        assert!(
            !connection.follow(source(1), true, now),
            "the first is no change"
        );
        assert!(!connection.follow(source(2), false, now), "a spare pair");
        assert!(connection.follow(source(2), true, now));
        assert!(connection.follow(source(1), true, now), "and back");
    }

    #[test]
    fn a_client_that_nominates_only_once_is_followed_when_its_old_path_is_silent() {
        let now = Instant::now();
        let mut connection = connection(now);
        connection.follow(source(1), true, now);
        let media_at = now + PATH_SILENCE;
        connection.hear(source(1), media_at);
        let early = media_at + PATH_SILENCE - Duration::from_millis(1);
        assert!(!connection.follow(source(2), false, early));
        assert!(connection.follow(source(2), false, media_at + PATH_SILENCE));
    }

    #[test]
    fn a_closed_tcp_connection_leaves_no_path_behind() {
        let now = Instant::now();
        let mut connection = connection(now);
        connection.follow(source(1), true, now);
        connection.lose_path(source(2));
        assert_eq!(connection.path, Some(source(1)));
        connection.lose_path(source(1));
        assert!(
            !connection.follow(source(2), false, now),
            "any will do, and it is the first"
        );
        assert_eq!(connection.path, Some(source(2)));
    }
}
