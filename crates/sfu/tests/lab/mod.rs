//! A room without sockets or waiting: browsers are str0m sessions, the network is a function, time is
//! a number that the lab moves on in steps of 5 ms.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use isotape_sfu::{
    Config, Event, JournalSpec, Kind, Order, Payload, Pc, Sfu, TrackSpec, Tuple, VideoCodec,
};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RawPacket, RtpPacket, RtpWrite, Ssrc};
use str0m::{Candidate, Event as RtcEvent, Input, Output, Rtc, RtcConfig};

const STEP: Duration = Duration::from_millis(5);
const SERVER: &str = "192.0.2.1:7000";

/// One direction of the network: sees each datagram; false loses it.
pub type Path = Box<dyn FnMut(&[u8]) -> bool>;

/// A datagram under way.
struct Flight {
    arrives: Instant,
    /// From or to this browser's socket.
    browser: usize,
    address: SocketAddr,
    to_server: bool,
    contents: Vec<u8>,
}

/// One PeerConnection of a browser.
pub struct Session {
    pub rtc: Rtc,
    pub address: SocketAddr,
    pub packets: Vec<RtpPacket>,
    pub key_frames_asked: u32,
    /// What went over the wire, in clear; only where `Lab::browser` asks for it.
    pub raw: Vec<RawPacket>,
}

pub struct Browser {
    pub peer: String,
    pub publish: Session,
    pub subscribe: Session,
    pub specs: Vec<TrackSpec>,
    pub mids: Vec<Mid>,
    pub sequence: u64,
    /// Whether anything reaches it or comes from it.
    pub is_online: bool,
    /// Whether it answers subscribe offers.
    pub answers: bool,
}

pub struct Lab {
    pub sfu: Sfu,
    pub now: Instant,
    pub browsers: Vec<Browser>,
    pub events: Vec<Event>,
    pub orders: Vec<Order>,
    /// How browsers are made.
    pub browser: fn() -> RtcConfig,
    pub to_server: Path,
    pub to_browsers: Path,
    /// What a datagram needs for its way, each way.
    pub delay: Duration,
    in_flight: VecDeque<Flight>,
    pub datagrams_out: Vec<SocketAddr>,
}

fn server() -> SocketAddr {
    SERVER.parse().unwrap()
}

impl Session {
    fn new(port: u16, config: RtcConfig, now: Instant) -> Self {
        let address = SocketAddr::from(([198, 51, 100, 1], port));
        let mut rtc = config.set_rtp_mode(true).build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        Self {
            rtc,
            address,
            packets: Vec::new(),
            key_frames_asked: 0,
            raw: Vec::new(),
        }
    }

    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => return out,
                Output::Transmit(transmit) => out.push(transmit.contents.to_vec()),
                Output::Event(RtcEvent::RtpPacket(packet)) => self.packets.push(packet),
                Output::Event(RtcEvent::KeyframeRequest(_)) => self.key_frames_asked += 1,
                Output::Event(RtcEvent::RawPacket(raw)) => self.raw.push(*raw),
                Output::Event(_) => {}
            }
        }
    }

    fn timeout(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain()
    }

    fn receive(&mut self, now: Instant, contents: &[u8]) -> Vec<Vec<u8>> {
        let received = Receive::new(Protocol::Udp, server(), self.address, contents).unwrap();
        self.rtc
            .handle_input(Input::Receive(now, received))
            .unwrap();
        self.drain()
    }
}

impl Lab {
    pub fn new() -> Self {
        let now = Instant::now();
        let config = Config {
            announce: vec![server()],
            tcp: true,
            video_codecs: vec![VideoCodec::Vp8],
        };
        Self {
            sfu: Sfu::new(config, now),
            now,
            browsers: Vec::new(),
            events: Vec::new(),
            orders: Vec::new(),
            browser: Rtc::builder,
            to_server: Box::new(|_| true),
            to_browsers: Box::new(|_| true),
            delay: Duration::ZERO,
            in_flight: VecDeque::new(),
            datagrams_out: Vec::new(),
        }
    }

    /// A browser joins with the given Tracks, each recorded.
    pub fn join(&mut self, peer: &str, kinds: &[Kind]) -> usize {
        let index = self.browsers.len();
        let port = 1_000 + 10 * index as u16;
        self.sfu.add_peer("room", peer).unwrap();
        self.browsers.push(Browser {
            peer: peer.to_owned(),
            publish: Session::new(port, (self.browser)(), self.now),
            subscribe: Session::new(port + 1, (self.browser)(), self.now),
            specs: Vec::new(),
            mids: Vec::new(),
            sequence: 3_000,
            is_online: true,
            answers: true,
        });
        let mut api = self.browsers[index].publish.rtc.sdp_api();
        api.add_channel("ion-sfu".to_owned());
        let offer = api.apply().unwrap();
        self.publish(index, offer);
        for kind in kinds {
            self.add_track(index, *kind);
        }
        index
    }

    pub fn add_track(&mut self, index: usize, kind: Kind) {
        let track = self.name_track(index, kind);
        let unmatched = self.add_lines(index, &[track]);
        assert!(unmatched.is_empty());
    }

    /// Puts a Track into the map of the next offer; its number.
    pub fn name_track(&mut self, index: usize, kind: Kind) -> usize {
        let browser = &mut self.browsers[index];
        let track = browser.specs.len();
        let track_id = format!("{}-{track}", browser.peer);
        let journal = JournalSpec {
            id: format!("journal-{track_id}"),
            dir: PathBuf::from("/nowhere"),
            meta: serde_json::Value::Null,
        };
        browser.specs.push(TrackSpec {
            track_id,
            stream_id: browser.peer.clone(),
            kind,
            source: "regular".to_owned(),
            muted: false,
            journal: Some(journal),
        });
        browser.mids.push("none".into());
        track
    }

    /// Offers an m-line for each of these Tracks; which of the map have none.
    pub fn add_lines(&mut self, index: usize, tracks: &[usize]) -> Vec<String> {
        let browser = &mut self.browsers[index];
        let mut api = browser.publish.rtc.sdp_api();
        for track in tracks {
            let spec = &browser.specs[*track];
            let media = if spec.kind == Kind::Audio {
                MediaKind::Audio
            } else {
                MediaKind::Video
            };
            browser.mids[*track] = api.add_media(
                media,
                Direction::SendOnly,
                Some(spec.stream_id.clone()),
                Some(spec.track_id.clone()),
                None,
            );
        }
        let offer = api.apply().unwrap();
        self.publish(index, offer)
    }

    /// The browser makes its connections anew, with its Tracks on m-lines in this order.
    pub fn renew(&mut self, index: usize, tracks: &[usize]) {
        let browser = &mut self.browsers[index];
        let port = 2_000 + 10 * index as u16;
        browser.publish = Session::new(port, (self.browser)(), self.now);
        browser.subscribe = Session::new(port + 1, (self.browser)(), self.now);
        self.events.clear();
        assert!(self.add_lines(index, tracks).is_empty());
    }

    /// As the control plane does it, a journal is named with the first offer of its Track alone.
    fn publish(
        &mut self,
        index: usize,
        (offer, pending): (SdpOffer, SdpPendingOffer),
    ) -> Vec<String> {
        let browser = &mut self.browsers[index];
        let (peer, specs) = (browser.peer.clone(), browser.specs.clone());
        for spec in &mut browser.specs {
            spec.journal = None;
        }
        let published = self
            .sfu
            .publish_offer(&peer, &offer.to_sdp_string(), specs, self.now)
            .unwrap();
        let answer = SdpAnswer::from_sdp_string(&published.sdp).unwrap();
        browser
            .publish
            .rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .unwrap();
        self.collect();
        published.unmatched
    }

    /// Queues one packet of a Track.
    pub fn send(&mut self, index: usize, track: usize, payload: &[u8]) {
        let now = self.now;
        let browser = &mut self.browsers[index];
        let (mid, kind) = (browser.mids[track], browser.specs[track].kind);
        let codec = if kind == Kind::Audio {
            Codec::Opus
        } else {
            Codec::Vp8
        };
        let params = browser.publish.rtc.codec_config().params().iter();
        let pt = params
            .clone()
            .find(|p| p.spec().codec == codec)
            .unwrap()
            .pt();
        let sequence = browser.sequence;
        browser.sequence += 1;
        let mut api = browser.publish.rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, None).unwrap();
        let packet = RtpWrite::new(
            pt,
            sequence.into(),
            sequence as u32 * 3_000,
            now,
            payload.to_vec(),
        );
        stream.write_rtp(packet.marker(true).nackable(kind == Kind::Video));
    }

    /// The sender of a Track starts over under another SSRC, as Firefox does at times.
    pub fn change_ssrc(&mut self, index: usize, track: usize, ssrc: u32) {
        let browser = &mut self.browsers[index];
        let mut api = browser.publish.rtc.direct_api();
        let rtx = Some(Ssrc::from(ssrc + 1));
        api.reset_stream_tx(browser.mids[track], None, ssrc.into(), rtx)
            .unwrap();
    }

    /// Moves time on.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += STEP;
            self.turn();
        }
    }

    /// Moves time on until the condition holds.
    pub fn run_until(&mut self, what: &str, mut done: impl FnMut(&mut Lab) -> bool) {
        for _ in 0..20_000 {
            if done(self) {
                return;
            }
            self.run(STEP);
        }
        panic!(
            "{what}: not within 100 s; events {:?}, counters {:?}",
            self.events, self.sfu.output.counters
        );
    }

    pub fn connect(&mut self) {
        self.run_until("all connected", |lab| {
            lab.browsers
                .iter()
                .all(|b| b.publish.rtc.is_connected() && b.subscribe.rtc.is_connected())
        });
    }

    fn turn(&mut self) {
        for index in 0..self.browsers.len() {
            for pc in [Pc::Publish, Pc::Subscribe] {
                let session = self.browsers[index].session(pc);
                let datagrams = session.timeout(self.now);
                let source = session.address;
                self.deliver(index, source, datagrams);
            }
        }
        self.land();
        self.sfu.settle(self.now);
        self.collect();
        self.answer();
    }

    /// What has come to the end of its way.
    fn land(&mut self) {
        let now = self.now;
        let has_arrived = |flight: &Flight| flight.arrives <= now;
        while self.in_flight.front().is_some_and(has_arrived) {
            let Some(flight) = self.in_flight.pop_front() else {
                return;
            };
            if flight.to_server {
                self.sfu
                    .receive(self.now, Tuple::udp(flight.address), &flight.contents);
            } else {
                self.give(flight.browser, flight.address, &flight.contents);
            }
        }
    }

    fn give(&mut self, index: usize, address: SocketAddr, contents: &[u8]) {
        for pc in [Pc::Publish, Pc::Subscribe] {
            let session = self.browsers[index].session(pc);
            if session.address == address {
                let replies = session.receive(self.now, contents);
                self.deliver(index, address, replies);
            }
        }
    }

    fn fly(&mut self, browser: usize, address: SocketAddr, to_server: bool, contents: Vec<u8>) {
        let arrives = self.now + self.delay;
        self.in_flight.push_back(Flight {
            arrives,
            browser,
            address,
            to_server,
            contents,
        });
    }

    fn deliver(&mut self, index: usize, source: SocketAddr, datagrams: Vec<Vec<u8>>) {
        for datagram in datagrams {
            if !self.browsers[index].is_online || !(self.to_server)(&datagram) {
                continue;
            }
            if self.delay.is_zero() {
                self.sfu.receive(self.now, Tuple::udp(source), &datagram);
            } else {
                self.fly(index, source, true, datagram);
            }
        }
    }

    /// Takes what came out of the server and carries datagrams to the browsers.
    pub fn collect(&mut self) {
        self.events.append(&mut self.sfu.output.events);
        self.orders.append(&mut self.sfu.output.orders);
        for datagram in std::mem::take(&mut self.sfu.output.datagrams) {
            let address = datagram.destination.address;
            self.datagrams_out.push(address);
            for index in 0..self.browsers.len() {
                let browser = &self.browsers[index];
                let is_mine = [&browser.publish, &browser.subscribe]
                    .iter()
                    .any(|session| session.address == address);
                if !is_mine || !browser.is_online || !(self.to_browsers)(&datagram.contents) {
                    continue;
                }
                if self.delay.is_zero() {
                    self.give(index, address, &datagram.contents);
                } else {
                    self.fly(index, address, false, datagram.contents.clone());
                }
            }
        }
    }

    fn answer(&mut self) {
        let waiting = |(at, event): (usize, &Event)| match event {
            Event::SubscribeOffer { peer, sdp } => Some((at, peer.clone(), sdp.clone())),
            _ => None,
        };
        let offers: Vec<_> = self.events.iter().enumerate().filter_map(waiting).collect();
        let answering = |lab: &Lab, peer: &str| {
            lab.browsers
                .iter()
                .position(|b| b.peer == peer && b.is_online && b.answers)
        };
        for (at, peer, sdp) in offers.into_iter().rev() {
            let Some(index) = answering(self, &peer) else {
                continue;
            };
            self.events.remove(at);
            let offer = SdpOffer::from_sdp_string(&sdp).unwrap();
            let answer = self.browsers[index]
                .subscribe
                .rtc
                .sdp_api()
                .accept_offer(offer)
                .unwrap();
            self.sfu
                .subscribe_answer(&peer, &answer.to_sdp_string(), self.now)
                .unwrap();
        }
    }

    /// The payloads recorded so far, and the JSON of the ssrc records.
    pub fn recorded(&self) -> (Vec<Vec<u8>>, Vec<String>) {
        let mut packets = Vec::new();
        let mut ssrcs = Vec::new();
        for order in &self.orders {
            match order {
                Order::Append {
                    payload: Payload::Rtp { body, .. },
                    ..
                } => packets.push(body.to_vec()),
                Order::Append {
                    payload: Payload::Ssrc(json),
                    ..
                } => ssrcs.push(json.clone()),
                _ => {}
            }
        }
        (packets, ssrcs)
    }
}

impl Browser {
    pub fn session(&mut self, pc: Pc) -> &mut Session {
        match pc {
            Pc::Publish => &mut self.publish,
            Pc::Subscribe => &mut self.subscribe,
        }
    }
}
