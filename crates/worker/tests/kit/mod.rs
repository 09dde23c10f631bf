//! A str0m client over a real socket, which joins as a browser would: it offers on its publish
//! connection and answers on its subscribe connection.

#![allow(dead_code, reason = "each test file uses its part")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use isotape_journal::{Reader, RecordType};
use isotape_sim::{PlainSession, is_rtp};
use isotape_worker::{Engine, EngineConfig};
use serde_json::{Value, json};
use str0m::change::{SdpAnswer, SdpOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Event, Rtc};

/// How long any one condition may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often a session checks its pairs.
pub const CHECK_INTERVAL: Duration = Duration::from_millis(400);

/// Of every Track.
const FIRST_SEQUENCE: u64 = 7_000;

/// The engine and the events that nobody has asked for yet.
pub struct Server {
    pub engine: Engine,
    pub events: Vec<Value>,
    requests: u64,
}

impl Server {
    pub fn start(journal_root: &Path) -> Self {
        Self::start_with(journal_root, &["H264", "VP9", "AV1", "VP8"])
    }

    pub fn start_with(journal_root: &Path, video_codecs: &[&str]) -> Self {
        let addresses = json!({"bind": "127.0.0.1:0", "announce": ["127.0.0.1"]});
        Self::start_at(journal_root, video_codecs, addresses)
    }

    /// With what the config says about addresses.
    pub fn start_at(journal_root: &Path, video_codecs: &[&str], addresses: Value) -> Self {
        let mut config = addresses;
        config["journal_root"] = json!(journal_root);
        config["video_codecs"] = json!(video_codecs);
        config["sync_interval_ms"] = json!(50);
        let config: EngineConfig = serde_json::from_value(config).unwrap();
        Self {
            engine: Engine::start(config).unwrap(),
            events: Vec::new(),
            requests: 0,
        }
    }

    pub fn collect(&mut self) {
        self.events.extend(
            self.engine
                .poll()
                .iter()
                .map(|text| serde_json::from_str::<Value>(text).unwrap()),
        );
    }

    /// Sends a command; returns the number of its reply.
    pub fn send(&mut self, mut command: Value) -> u64 {
        self.requests += 1;
        command["request"] = self.requests.into();
        self.engine.command(&command.to_string()).unwrap();
        self.requests
    }

    /// Takes the first event that fits, if it is there.
    pub fn take(&mut self, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        self.collect();
        let at = self.events.iter().position(fits)?;
        Some(self.events.remove(at))
    }

    /// Waits for an event while nothing else runs.
    pub fn wait(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(event) = self.take(&fits) {
                return event;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no such event; there are {:?}", self.events);
    }

    /// Sends a command and waits for its reply, good or bad.
    pub fn ask(&mut self, command: Value) -> Value {
        let request = self.send(command);
        self.wait(|event| event["event"] == "reply" && event["request"] == request)
    }

    /// As `ask`, for a command that must succeed.
    pub fn ok(&mut self, command: Value) -> Value {
        let reply = self.ask(command);
        assert!(reply["error"].is_null(), "{reply}");
        reply["ok"].clone()
    }
}

/// One PeerConnection of the client.
pub struct Session {
    pub plain: PlainSession,
    pub packets: Vec<RtpPacket>,
    pub texts: Vec<String>,
    pub channel: Option<str0m::channel::ChannelId>,
    pub key_frames_asked: u32,
    /// Of the datagrams to send, those to leave out: every n-th RTP packet.
    pub lose_every: Option<u64>,
    /// When the first check went out since this was set to nothing.
    pub checked_at: Option<Instant>,
    sent: u64,
}

impl Session {
    pub fn at(ip: IpAddr) -> Self {
        // A path that died is noticed within the patience of a test, and a new one is checked at once.
        let mut config = Rtc::builder();
        config.set_initial_stun_rto(CHECK_INTERVAL);
        config.set_max_stun_rto(CHECK_INTERVAL);
        Self {
            plain: PlainSession::at(config, ip),
            packets: Vec::new(),
            texts: Vec::new(),
            channel: None,
            key_frames_asked: 0,
            lose_every: None,
            checked_at: None,
            sent: 0,
        }
    }

    pub fn rtc(&mut self) -> &mut Rtc {
        &mut self.plain.rtc
    }

    /// Sends and receives what is there now.
    pub fn turn(&mut self) {
        let (sent, lose_every) = (&mut self.sent, self.lose_every);
        let checked_at = &mut self.checked_at;
        let happened = self.plain.turn(|datagram| {
            if is_stun(datagram) {
                checked_at.get_or_insert_with(Instant::now);
            }
            *sent += u64::from(is_rtp(datagram));
            let is_chosen = lose_every.is_some_and(|every| sent.is_multiple_of(every));
            !(is_rtp(datagram) && is_chosen)
        });
        for event in happened {
            match event {
                Event::RtpPacket(packet) => self.packets.push(packet),
                Event::ChannelOpen(id, _) => self.channel = Some(id),
                Event::ChannelData(data) => {
                    self.texts.push(String::from_utf8(data.data).unwrap());
                }
                Event::KeyframeRequest(_) => self.key_frames_asked += 1,
                _ => {}
            }
        }
    }

    pub fn is_connected(&self) -> bool {
        self.plain.rtc.is_connected()
    }
}

/// RFC 7983 section 7, for the methods in use.
fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first < 2)
}

/// A published Track: what the map says, and what is sent.
pub struct Source {
    pub track_id: String,
    pub kind: &'static str,
    pub mid: Mid,
    pub journal: Value,
    pub sequence: u64,
    pub timestamp: u32,
}

pub struct Client {
    pub peer: String,
    pub publish: Session,
    pub subscribe: Session,
    pub sources: Vec<Source>,
}

impl Client {
    pub fn new(peer: &str) -> Self {
        Self::at(peer, Ipv4Addr::LOCALHOST.into())
    }

    /// With candidates at this address of the machine.
    pub fn at(peer: &str, ip: IpAddr) -> Self {
        Self {
            peer: peer.into(),
            publish: Session::at(ip),
            subscribe: Session::at(ip),
            sources: Vec::new(),
        }
    }

    /// Offers a data channel and then one m-line a Track, as the SDK does; returns the last answer.
    pub fn join(
        &mut self,
        server: &mut Server,
        room: &str,
        tracks: &[(&'static str, &str, Value)],
    ) -> String {
        server.ok(json!({"command": "add_peer", "room": room, "peer": self.peer}));
        let mut api = self.publish.rtc().sdp_api();
        api.add_channel("ion-sfu".into());
        let offer = api_apply(api);
        let mut answer = self.negotiate(server, offer);
        for (kind, track_id, journal) in tracks {
            answer = self.add_track(server, kind, track_id, journal.clone());
        }
        answer
    }

    pub fn add_track(
        &mut self,
        server: &mut Server,
        kind: &'static str,
        track_id: &str,
        journal: Value,
    ) -> String {
        let mut api = self.publish.rtc().sdp_api();
        let media = if kind == "audio" {
            MediaKind::Audio
        } else {
            MediaKind::Video
        };
        let ids = (
            Some(format!("stream-{}", self.peer)),
            Some(track_id.to_owned()),
        );
        let mid = api.add_media(media, Direction::SendOnly, ids.0, ids.1, None);
        let source = Source {
            track_id: track_id.into(),
            kind,
            mid,
            journal,
            sequence: FIRST_SEQUENCE,
            timestamp: 90_000,
        };
        self.sources.push(source);
        let offer = api_apply(api);
        self.negotiate(server, offer)
    }

    /// Stops a Track: its m-line goes inactive and its id leaves the map.
    pub fn remove_track(&mut self, server: &mut Server, track_id: &str) {
        let at = self
            .sources
            .iter()
            .position(|source| source.track_id == track_id)
            .unwrap();
        let source = self.sources.remove(at);
        let mut api = self.publish.rtc().sdp_api();
        api.set_direction(source.mid, Direction::Inactive);
        let offer = api_apply(api);
        self.negotiate(server, offer);
    }

    pub fn map(&self) -> Value {
        let stream_id = format!("stream-{}", self.peer);
        let entry = |source: &Source| {
            json!({"track_id": source.track_id, "stream_id": stream_id, "kind": source.kind,
            "source": "regular", "muted": false, "journal": source.journal})
        };
        self.sources.iter().map(entry).collect()
    }

    pub fn negotiate(
        &mut self,
        server: &mut Server,
        (offer, pending): (SdpOffer, str0m::change::SdpPendingOffer),
    ) -> String {
        let command = json!({"command": "publish_offer", "peer": self.peer, "sdp": offer.to_sdp_string(), "tracks": self.map()});
        let answer = server.ok(command);
        assert_eq!(answer["unmatched"], json!([]));
        let text = answer["sdp"].as_str().unwrap().to_owned();
        let answer = SdpAnswer::from_sdp_string(&text).unwrap();
        self.publish
            .rtc()
            .sdp_api()
            .accept_answer(pending, answer)
            .unwrap();
        text
    }

    /// Answers the subscribe offers that wait; returns them.
    pub fn answer_offers(&mut self, server: &mut Server) -> Vec<String> {
        let mut offers = Vec::new();
        let peer = self.peer.clone();
        while let Some(event) = server
            .take(|event| event["event"] == "subscribe_offer" && event["peer"] == peer.as_str())
        {
            let text = event["sdp"].as_str().unwrap().to_owned();
            let offer = SdpOffer::from_sdp_string(&text).unwrap();
            let answer = self.subscribe.rtc().sdp_api().accept_offer(offer).unwrap();
            server.ok(
                json!({"command": "subscribe_answer", "peer": peer, "sdp": answer.to_sdp_string()}),
            );
            offers.push(text);
        }
        offers
    }

    pub fn turn(&mut self) {
        self.publish.turn();
        self.subscribe.turn();
    }

    /// Sends one packet of a Track with `codec`.
    pub fn send(&mut self, track_id: &str, codec: str0m::format::Codec, payload: Vec<u8>) {
        let source = self
            .sources
            .iter_mut()
            .find(|source| source.track_id == track_id)
            .unwrap();
        let rtc = self.publish.rtc();
        let pt = {
            let media = rtc.media(source.mid).unwrap();
            let agreed = rtc.codec_config().params().iter();
            agreed
                .clone()
                .find(|p| media.remote_pts().contains(&p.pt()) && p.spec().codec == codec)
                .unwrap()
                .pt()
        };
        let mut api = rtc.direct_api();
        let stream = api.stream_tx_by_mid(source.mid, None).unwrap();
        if source.sequence == FIRST_SEQUENCE {
            // Setting it empties it.
            stream.set_rtx_cache(2048, Duration::from_secs(3), None);
        }
        let extensions = ExtensionValues {
            audio_level: Some(-20),
            voice_activity: Some(true),
            ..Default::default()
        };
        let is_video = source.kind == "video";
        let packet = RtpWrite::new(
            pt,
            source.sequence.into(),
            source.timestamp,
            Instant::now(),
            payload,
        );
        stream.write_rtp(packet.marker(true).nackable(is_video).ext_vals(extensions));
        source.sequence += 1;
        source.timestamp = source
            .timestamp
            .wrapping_add(if is_video { 3_000 } else { 960 });
        self.publish.turn();
    }
}

pub fn api_apply(api: str0m::change::SdpApi<'_>) -> (SdpOffer, str0m::change::SdpPendingOffer) {
    api.apply().unwrap()
}

/// Lets all clients work until `done`.
pub fn run(
    server: &mut Server,
    clients: &mut [&mut Client],
    mut done: impl FnMut(&mut Server, &mut [&mut Client]) -> bool,
) {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        for client in clients.iter_mut() {
            client.turn();
            client.answer_offers(server);
        }
        server.collect();
        if done(server, clients) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!(
        "it never came so far; metrics: {:?}; events: {:?}",
        server.engine.metrics(),
        server.events
    );
}

/// Works until both connections of every client are up.
pub fn connect(server: &mut Server, clients: &mut [&mut Client]) {
    run(server, clients, |_, clients| {
        clients
            .iter()
            .all(|client| client.publish.is_connected() && client.subscribe.is_connected())
    });
}

/// A fresh folder for one test.
pub fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("isotape-engine-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The order to record a Track.
pub fn journal(root: &Path, id: &str) -> Value {
    json!({"id": id, "dir": root.join(id), "meta": {"test": id}})
}

/// The payloads of a journal's RTP packets in the order of arrival, and the types of all records.
pub fn read(dir: &Path) -> (Vec<Vec<u8>>, Vec<RecordType>) {
    let mut payloads = Vec::new();
    let mut types = Vec::new();
    let mut reader = Reader::open(dir).unwrap();
    while let Some(record) = reader.next_record().unwrap() {
        types.push(record.kind);
        if record.kind == RecordType::RTP {
            let words = if record.payload[0] & 0x10 != 0 {
                1 + u16::from_be_bytes([record.payload[14], record.payload[15]]) as usize
            } else {
                0
            };
            payloads.push(record.payload[12 + 4 * words..].to_vec());
        }
    }
    (payloads, types)
}

pub fn numbered(n: u32) -> Vec<u8> {
    let mut payload = vec![0x10, 0x00];
    payload.extend(n.to_be_bytes());
    payload.resize(600, n as u8);
    payload
}

/// A client that is connected and sends a camera as `track`, recorded in the journal `j-cam`.
pub fn alice_with_camera(root: &Path, server: &mut Server, track: &str) -> Client {
    let mut alice = Client::new("alice");
    alice.join(server, "room", &[("video", track, journal(root, "j-cam"))]);
    connect(server, &mut [&mut alice]);
    alice
}
