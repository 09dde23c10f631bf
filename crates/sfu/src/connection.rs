//! One PeerConnection: a str0m session, drained after every input, with its next deadline.
//!
//! str0m holds a single pending packet, so each input is followed by a full drain. A panic inside is
//! caught here and reported to the caller, who gives up that peer.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use str0m::channel::ChannelId;
use str0m::format::{CodecConfig, CodecSpec};
use str0m::media::Pt;
use str0m::{Candidate, Event, Input, Output, Rtc};

use crate::codecs;
use crate::output::{Datagram, Pc};

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
}

/// How an input ended.
#[derive(Debug, Default)]
pub struct Fed {
    pub errors: u32,
    pub panic: Option<String>,
}

impl Connection {
    /// A new ICE-lite session that is reachable at `announce`. The certificate is its own, on purpose:
    /// a client restarts DTLS only when the fingerprint changes, and needs to when we lost its session.
    pub fn new(
        key: ConnectionKey,
        codecs: CodecConfig,
        announce: &[SocketAddr],
        now: Instant,
    ) -> Self {
        let mut config = Rtc::builder()
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .clear_codecs()
            .set_extension_map(codecs::extensions());
        *config.codec_config() = codecs;
        let mut rtc = config.build(now);
        for candidate in announce
            .iter()
            .filter_map(|address| Candidate::host(*address, "udp").ok())
        {
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
        }
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
                Ok(Output::Transmit(transmit)) => datagrams.push(Datagram {
                    destination: transmit.destination,
                    contents: transmit.contents.into(),
                }),
                Ok(Output::Event(event)) => events.push(event),
                Err(_) if errors < ERRORS_PER_DRAIN => errors += 1,
                Err(_) => {
                    self.deadline = now + ERROR_PAUSE;
                    return errors + 1;
                }
            }
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
