//! The path of a packet: from a datagram through the publisher's session to journal and subscribers.
//!
//! The journal comes first: nothing that a subscriber wishes or suffers may keep a packet from it.

use std::time::Instant;

use str0m::format::CodecSpec;
use str0m::media::{KeyframeRequestKind, Mid, Pt, SenderFeedback};
use str0m::net::Receive;
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Event as RtcEvent, Input};

use crate::codecs;
use crate::connection::{Connection, ConnectionKey};
use crate::demux;
use crate::forward::Numbers;
use crate::limits;
use crate::nack::{self, Arrival, Sighting};
use crate::output::{Event, Kind, Payload, Pc, Tuple};
use crate::payload::begins_key_frame;
use crate::peer::{Peer, Received, Stage, Track, TrackKey};
use crate::sfu::{Sfu, ssrc_payload};

/// Seconds between 1900 (NTP) and 1970 (Unix), RFC 5905 section 6.
const NTP_UNIX_SECONDS: u64 = 2_208_988_800;

impl Sfu {
    /// Takes one datagram that arrived `at` (the kernel's time of receipt). False when it proved to be
    /// nobody's.
    pub fn receive(&mut self, at: Instant, source: Tuple, datagram: &[u8]) -> bool {
        let destination = self.config.local(source);
        let protocol = source.transport.into();
        let Ok(received) = Receive::new(protocol, source.address, destination, datagram) else {
            self.output.counters.datagrams_unparsable += 1;
            return false;
        };
        let key = if demux::is_stun(datagram) {
            self.take_check(at, source, datagram)
        } else {
            self.take_from_known(at, source)
        };
        let Some(key) = key else {
            return false;
        };
        self.feed(key, Input::Receive(at, received), at);
        true
    }

    fn take_from_known(&mut self, at: Instant, source: Tuple) -> Option<ConnectionKey> {
        let key = self.demux.by_source(source);
        let Some(connection) = key.and_then(|key| self.connection(key)) else {
            self.output.counters.datagrams_unknown_source += 1;
            return None;
        };
        connection.hear(source, at);
        key
    }

    /// Gives one input to a connection and acts on what comes out.
    fn feed(&mut self, key: ConnectionKey, input: Input, now: Instant) {
        let Some(connection) = self
            .peers
            .get_mut(&key.peer)
            .and_then(|peer| peer.connection(key.pc))
        else {
            return;
        };
        let fed = connection.feed(input, &mut self.output.datagrams, &mut self.happened);
        self.agenda.note(key, connection);
        self.output.counters.network_errors += u64::from(fed.errors);
        if let Some(panic) = fed.panic {
            self.happened.clear();
            self.fail_peer(key.peer, panic, now);
            return;
        }
        let mut happened = std::mem::take(&mut self.happened);
        for event in happened.drain(..) {
            self.act_on(key, event, now);
        }
        self.happened = happened;
        if key.pc == Pc::Publish {
            self.recover(key, now);
        }
    }

    /// Drains every connection that was written to since.
    pub(crate) fn flush(&mut self, now: Instant) {
        while let Some(key) = self.dirty.pop() {
            if let Some(connection) = self.connection(key) {
                connection.is_dirty = false;
                self.feed(key, Input::Timeout(now), now);
            }
        }
    }

    pub(crate) fn run_timer(&mut self, noted: Instant, key: ConnectionKey, now: Instant) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        if connection.scheduled != Some(noted) {
            return;
        }
        connection.scheduled = None;
        if connection.deadline <= now {
            self.feed(key, Input::Timeout(now), now);
        } else if let Some(connection) = self
            .peers
            .get_mut(&key.peer)
            .and_then(|peer| peer.connection(key.pc))
        {
            self.agenda.note(key, connection);
        }
    }

    fn act_on(&mut self, key: ConnectionKey, event: RtcEvent, now: Instant) {
        match (key.pc, event) {
            (Pc::Publish, RtcEvent::RtpPacket(packet)) => self.on_packet(key, packet),
            (Pc::Publish, RtcEvent::SenderFeedback(report)) => self.on_sender_report(key, report),
            (Pc::Subscribe, RtcEvent::KeyframeRequest(request)) => {
                self.on_key_frame_request(key, request.mid, now)
            }
            (Pc::Subscribe, RtcEvent::ChannelData(data)) => self.on_data(key, &data.data),
            (_, RtcEvent::Connected | RtcEvent::IceConnectionStateChange(_) | RtcEvent::Closed) => {
                self.on_connectivity(key, now);
            }
            _ => {}
        }
    }

    fn on_packet(&mut self, key: ConnectionKey, packet: RtpPacket) {
        self.output.counters.received_packets += 1;
        self.output.counters.received_bytes += packet.payload.len() as u64;
        self.output.counters.repaired_packets += u64::from(packet.repaired);
        let ssrc = *packet.header.ssrc;
        let Some((track_key, peer)) = self.track_of(key.peer, ssrc) else {
            self.output.counters.unmatched_packets += 1;
            return;
        };
        let is_new_ssrc = peer
            .track_by_key(track_key)
            .is_some_and(|track| track.ssrc != Some(ssrc));
        if is_new_ssrc {
            self.on_new_ssrc(key.peer, track_key, &packet);
        }
        self.record(key.peer, track_key, &packet);
        self.watch(key.peer, track_key, &packet);
        self.forward(key.peer, track_key, &packet);
    }

    /// Which Track a packet belongs to: str0m maps SSRC to mid, the offer mapped mid to Track.
    fn track_of(&mut self, peer_key: u32, ssrc: u32) -> Option<(TrackKey, &mut Peer)> {
        let peer = self.peers.get_mut(&peer_key)?;
        if let Some(track) = peer.by_ssrc.get(&ssrc) {
            return Some((*track, peer));
        }
        let mid = peer
            .publish
            .as_mut()?
            .rtc
            .direct_api()
            .stream_rx(&ssrc.into())?
            .mid();
        let key = peer.tracks.iter().find(|track| track.mid == mid)?.key;
        if peer.by_ssrc.len() >= limits::SSRCS {
            peer.by_ssrc.clear();
        }
        peer.by_ssrc.insert(ssrc, key);
        Some((key, peer))
    }

    /// The first packet of a Track, or of another sender behind the same m-line.
    fn on_new_ssrc(&mut self, peer_key: u32, track_key: TrackKey, packet: &RtpPacket) {
        let ssrc = *packet.header.ssrc;
        let Some(peer) = self.peers.get_mut(&peer_key) else {
            return;
        };
        let peer_id = peer.id.clone();
        let mut codec = "unknown";
        if let Some(connection) = &mut peer.publish {
            let known = connection.spec_of(packet.header.payload_type);
            codec = known.map_or(codec, |known| codecs::name(known.codec));
            // Our own recovery asks for what is missing, of Opus too: it has no RTX, but browsers do
            // resend it under its own SSRC.
            if let Some(stream) = connection.rtc.direct_api().stream_rx(&ssrc.into()) {
                stream.suppress_nack(true);
            }
        }
        let Some(track) = peer.track_by_key(track_key) else {
            return;
        };
        let from = track.ssrc.replace(ssrc);
        if from.is_some() {
            track.key_frames.want();
        }
        let (journal, track_id) = (
            track.journal.as_ref().map(|(_, key)| *key),
            track.id.clone(),
        );
        if let Some(journal) = journal {
            self.append(journal, packet.timestamp, ssrc_payload(from, ssrc));
        }
        if from.is_none() {
            self.output.events.push(Event::Media {
                peer: peer_id,
                track_id,
                codec: codec.to_owned(),
            });
        }
    }

    fn record(&mut self, peer_key: u32, track_key: TrackKey, packet: &RtpPacket) {
        let track = self
            .peers
            .get_mut(&peer_key)
            .and_then(|peer| peer.track_by_key(track_key));
        if let Some((_, journal)) = track.and_then(|track| track.journal.as_ref()) {
            let payload = Payload::Rtp {
                header: packet.wire_header.clone(),
                body: packet.payload.clone(),
                repaired: packet.repaired,
            };
            let journal = *journal;
            self.append(journal, packet.timestamp, payload);
        }
    }

    /// Levels and holes.
    fn watch(&mut self, peer_key: u32, track_key: TrackKey, packet: &RtpPacket) {
        let Some(track) = self
            .peers
            .get_mut(&peer_key)
            .and_then(|peer| peer.track_by_key(track_key))
        else {
            return;
        };
        if let Some(level) = packet.header.ext_vals.audio_level {
            track.level.packet(level);
        }
        self.note_arrival(peer_key, packet);
        self.send_key_frame_request(peer_key, track_key, packet.timestamp);
    }

    fn note_arrival(&mut self, peer_key: u32, packet: &RtpPacket) {
        let Some(peer) = self.peers.get_mut(&peer_key) else {
            return;
        };
        let connection = peer.publish.as_ref();
        let spec = connection.and_then(|known| known.spec_of(packet.header.payload_type));
        let seen = Sighting {
            number: *packet.seq_no,
            at: packet.timestamp,
            is_repaired: packet.repaired,
            begins_key_frame: spec
                .is_some_and(|spec| begins_key_frame(spec.codec, &packet.payload)),
        };
        let ssrc = *packet.header.ssrc;
        if peer.recoveries.len() >= limits::SSRCS && !peer.recoveries.contains_key(&ssrc) {
            peer.recoveries.clear();
        }
        let recovery = peer.recoveries.entry(ssrc).or_default();
        let is_late = recovery.packet(seen) == Arrival::Late;
        self.output.counters.late_packets += u64::from(is_late);
    }

    /// Asks a publisher for what is missing, and for a key frame where that has become hopeless.
    fn recover(&mut self, key: ConnectionKey, now: Instant) {
        let Some(peer) = self.peers.get_mut(&key.peer) else {
            return;
        };
        let Some(connection) = peer.publish.as_mut().filter(|open| open.key == key) else {
            return;
        };
        let mut broken = Vec::new();
        let mut asked = 0;
        for (ssrc, recovery) in &mut peer.recoveries {
            if recovery.next_at().is_none_or(|at| at > now) {
                continue;
            }
            let mut api = connection.rtc.direct_api();
            let stream = api.stream_rx(&(*ssrc).into());
            let rtt = stream.as_ref().and_then(|stream| stream.rtt());
            let (numbers, given_up) = recovery.work(now, rtt);
            self.output.counters.lost_packets += given_up.packets;
            if given_up.wants_key_frame {
                broken.extend(peer.by_ssrc.get(ssrc));
            }
            if let Some(stream) = stream {
                asked += numbers.len() as u64;
                stream.request_packets(nack::entries(&numbers));
            }
        }
        let next = peer.recoveries.values().filter_map(|known| known.next_at());
        connection.deadline = next
            .min()
            .unwrap_or(connection.deadline)
            .min(connection.deadline);
        self.agenda.note(key, connection);
        self.output.counters.requested_packets += asked;
        if asked > 0 {
            self.mark_dirty(key);
        }
        for track in broken {
            self.want_key_frame(key.peer, track, now);
        }
    }

    fn forward(&mut self, peer_key: u32, track_key: TrackKey, packet: &RtpPacket) {
        let Some(peer) = self.peers.get_mut(&peer_key) else {
            return;
        };
        let Some(connection) = &peer.publish else {
            return;
        };
        let Some(spec) = connection.spec_of(packet.header.payload_type) else {
            return;
        };
        let Some(track) = peer.track_by_key(track_key) else {
            return;
        };
        let subscribers = std::mem::take(&mut track.subscribers);
        for subscriber in &subscribers {
            let Some(peer) = self.peers.get_mut(subscriber) else {
                continue;
            };
            match write(peer, track_key, spec, packet) {
                Written::Yes(key) => {
                    self.output.counters.forwarded_packets += 1;
                    self.mark_dirty(key);
                }
                Written::NotWanted => {}
                Written::CannotDecode => self.output.counters.unforwardable_packets += 1,
            }
        }
        if let Some(track) = self
            .peers
            .get_mut(&peer_key)
            .and_then(|peer| peer.track_by_key(track_key))
        {
            track.subscribers = subscribers;
        }
    }

    fn on_sender_report(&mut self, key: ConnectionKey, report: SenderFeedback) {
        let Some(peer) = self.peers.get_mut(&key.peer) else {
            return;
        };
        let Some(track) = peer.tracks.iter().find(|track| track.mid == report.mid) else {
            return;
        };
        let Some((_, journal)) = track.journal else {
            return;
        };
        let info = report.sender_info;
        let payload = Payload::SenderReport {
            ssrc: *info.ssrc,
            ntp: ntp_32_32(info.ntp_time),
            rtp_timestamp: info.rtp_time.numer() as u32,
            packet_count: info.sender_packet_count,
            octet_count: info.sender_octet_count,
        };
        self.append(journal, report.received_at, payload);
    }

    fn on_key_frame_request(&mut self, key: ConnectionKey, mid: Mid, now: Instant) {
        let Some(peer) = self.peers.get(&key.peer) else {
            return;
        };
        let asked = peer
            .received
            .iter()
            .find(|(_, received)| received.mid == mid)
            .map(|(track, _)| *track);
        let owns = |track: &Track| Some(track.key) == asked;
        let publisher = self
            .peers
            .iter()
            .find(|(_, peer)| peer.tracks.iter().any(owns))
            .map(|(key, _)| *key);
        if let (Some(publisher), Some(track)) = (publisher, asked) {
            self.want_key_frame(publisher, track, now);
        }
    }

    fn on_data(&mut self, key: ConnectionKey, data: &[u8]) {
        let Some(peer) = self.peers.get(&key.peer) else {
            return;
        };
        match std::str::from_utf8(data) {
            Ok(text) if text.len() <= limits::DATA_BYTES => {
                self.output.events.push(Event::Data {
                    peer: peer.id.clone(),
                    text: text.to_owned(),
                });
            }
            _ => self.output.counters.network_errors += 1,
        }
    }

    pub(crate) fn ask_for_key_frame(&mut self, peer_key: u32, track_id: &str, now: Instant) {
        let track = self
            .peers
            .get_mut(&peer_key)
            .and_then(|peer| peer.track(track_id));
        if let Some(key) = track
            .filter(|track| track.kind == Kind::Video)
            .map(|track| track.key)
        {
            self.want_key_frame(peer_key, key, now);
        }
    }

    pub(crate) fn want_key_frame(&mut self, peer_key: u32, track_key: TrackKey, now: Instant) {
        if let Some(track) = self
            .peers
            .get_mut(&peer_key)
            .and_then(|peer| peer.track_by_key(track_key))
        {
            track.key_frames.want();
        }
        self.send_key_frame_request(peer_key, track_key, now);
    }

    /// Sends the PLI that a Track's wish allows now. Before the first packet there is nobody to ask.
    pub(crate) fn send_key_frame_request(
        &mut self,
        peer_key: u32,
        track_key: TrackKey,
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&peer_key) else {
            return;
        };
        let Some(track) = peer
            .track_by_key(track_key)
            .filter(|track| track.kind == Kind::Video)
        else {
            return;
        };
        let Some(ssrc) = track.ssrc else { return };
        if !track.key_frames.ask_now(now) {
            return;
        }
        let Some(connection) = &mut peer.publish else {
            return;
        };
        let key = connection.key;
        if let Some(stream) = connection.rtc.direct_api().stream_rx(&ssrc.into()) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
            self.output.counters.key_frames_asked += 1;
        }
        self.mark_dirty(key);
    }
}

/// What became of a packet at one subscriber.
enum Written {
    Yes(ConnectionKey),
    NotWanted,
    CannotDecode,
}

/// Writes a copy of a packet to one subscriber's session.
fn write(peer: &mut Peer, track: TrackKey, spec: CodecSpec, packet: &RtpPacket) -> Written {
    let Some(connection) = &mut peer.subscribe else {
        return Written::NotWanted;
    };
    let Some(received) = peer.received.get_mut(&track) else {
        return Written::NotWanted;
    };
    if received.stage != Stage::Live || !received.is_wanted || !connection.is_connected {
        received.renumbering.pause();
        return Written::NotWanted;
    }
    let Some(outgoing) = outgoing_pt(connection, received, packet.header.payload_type, spec) else {
        return Written::CannotDecode;
    };
    let Some((sequence, timestamp)) = received.renumbering.packet(numbers(packet, spec)) else {
        return Written::NotWanted;
    };
    let mut api = connection.rtc.direct_api();
    let Some(stream) = api.stream_tx_by_mid(received.mid, None) else {
        return Written::NotWanted;
    };
    let (at, payload) = (packet.timestamp, packet.payload.clone());
    let copy = RtpWrite::new(outgoing, sequence.into(), timestamp, at, payload)
        .marker(packet.header.marker)
        .nackable(received.kind == Kind::Video)
        .ext_vals(levels_of(packet));
    stream.write_rtp(copy);
    Written::Yes(connection.key)
}

/// Looked up again only when the publisher changes its payload type.
fn outgoing_pt(
    connection: &Connection,
    received: &mut Received,
    incoming: Pt,
    spec: CodecSpec,
) -> Option<Pt> {
    if received
        .payload_type
        .is_none_or(|(from, _)| from != incoming)
    {
        let media = connection.rtc.media(received.mid)?;
        let outgoing = codecs::subscriber_pt(connection.rtc.codec_config(), media, spec);
        received.payload_type = outgoing.map(|outgoing| (incoming, outgoing));
    }
    received.payload_type.map(|(_, outgoing)| outgoing)
}

fn numbers(packet: &RtpPacket, spec: CodecSpec) -> Numbers {
    Numbers {
        ssrc: *packet.header.ssrc,
        sequence: *packet.seq_no,
        timestamp: packet.time.numer(),
        clock_rate: u64::from(spec.clock_rate.get()),
        at: packet.timestamp,
    }
}

/// The extensions that concern the content; those of the path are the session's own.
fn levels_of(packet: &RtpPacket) -> ExtensionValues {
    ExtensionValues {
        audio_level: packet.header.ext_vals.audio_level,
        voice_activity: packet.header.ext_vals.voice_activity,
        ..Default::default()
    }
}

fn ntp_32_32(time: std::time::SystemTime) -> u64 {
    let since = time
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let fraction = ((u128::from(since.subsec_nanos()) << 32) + 500_000_000) / 1_000_000_000;
    ((since.as_secs() + NTP_UNIX_SECONDS) << 32) + fraction as u64
}
