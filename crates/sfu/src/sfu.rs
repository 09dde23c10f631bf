//! The whole of the media plane on one thread, and the commands that steer it.
//!
//! A round of the worker is: give every datagram to [`Sfu::receive`], run commands, call
//! [`Sfu::settle`], empty [`Sfu::output`], sleep until [`Sfu::next_deadline`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use serde_json::json;
use str0m::Candidate;
use str0m::net::TcpType;

use crate::agenda::Agenda;
use crate::codecs::VideoCodec;
use crate::connection::{Connection, ConnectionKey};
use crate::demux::Demux;
use crate::error::Error;
use crate::levels;
use crate::limits;
use crate::output::{Event, JournalKey, Kind, Order, Output, Payload, Pc, Tuple};
use crate::peer::{JournalSpec, Peer, Stage};
use crate::room::Room;

/// What the media plane must know beforehand.
#[derive(Debug, Clone)]
pub struct Config {
    /// The addresses that clients are told; the port is the socket's.
    pub announce: Vec<SocketAddr>,
    /// Whether the same addresses take TCP connections (RFC 6544).
    pub tcp: bool,
    /// Video codecs in the order of the answer.
    pub video_codecs: Vec<VideoCodec>,
}

impl Config {
    /// The ways in, UDP first: the order decides between candidates of one kind.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = Candidate> {
        let udp = self.announce.iter();
        let udp = udp.map(|address| Candidate::builder().udp().host(*address).build());
        let tcp = self.announce.iter().filter(|_| self.tcp).map(|address| {
            let passive = Candidate::builder().tcp().host(*address);
            passive.tcptype(TcpType::Passive).build()
        });
        udp.chain(tcp).flatten()
    }

    /// Where a datagram from `source` was sent to, as far as the candidates tell.
    pub(crate) fn local(&self, source: Tuple) -> SocketAddr {
        let is_family = |own: &&SocketAddr| own.is_ipv4() == source.address.is_ipv4();
        let same_family = self.announce.iter().find(is_family);
        *same_family.unwrap_or(&self.announce[0])
    }
}

/// The answer to a publish offer.
#[derive(Debug)]
pub struct Published {
    pub sdp: String,
    /// Tracks of the map that no sending m-line carries.
    pub unmatched: Vec<String>,
}

pub struct Sfu {
    pub(crate) config: Config,
    pub(crate) peers: HashMap<u32, Peer>,
    pub(crate) ids: HashMap<String, u32>,
    pub(crate) rooms: HashMap<String, Room>,
    pub(crate) journals: HashMap<String, JournalKey>,
    pub(crate) demux: Demux,
    pub(crate) agenda: Agenda,
    pub(crate) dirty: Vec<ConnectionKey>,
    /// Reused between drains.
    pub(crate) happened: Vec<str0m::Event>,
    pub(crate) looked_at: Instant,
    last_key: u32,
    /// What came out; the worker empties it.
    pub output: Output,
}

impl Sfu {
    pub fn new(config: Config, now: Instant) -> Self {
        Self {
            config,
            peers: HashMap::new(),
            ids: HashMap::new(),
            rooms: HashMap::new(),
            journals: HashMap::new(),
            demux: Demux::default(),
            agenda: Agenda::default(),
            dirty: Vec::new(),
            happened: Vec::new(),
            looked_at: now,
            last_key: 0,
            output: Output::default(),
        }
    }

    pub(crate) fn new_key(&mut self) -> u32 {
        self.last_key += 1;
        self.last_key
    }

    pub(crate) fn peer_key(&self, id: &str) -> Result<u32, Error> {
        self.ids
            .get(id)
            .copied()
            .ok_or_else(|| Error::unknown_peer(id))
    }

    pub(crate) fn peer_mut(&mut self, id: &str) -> Result<&mut Peer, Error> {
        let key = self.peer_key(id)?;
        self.peers
            .get_mut(&key)
            .ok_or_else(|| Error::unknown_peer(id))
    }

    /// Makes a peer known. Its connections come with its first publish offer. Known already: nothing.
    pub fn add_peer(&mut self, room: &str, peer: &str) -> Result<(), Error> {
        if let Ok(known) = self.peer_mut(peer) {
            return match known.room == room {
                true => Ok(()),
                false => Err(Error::Conflict(format!(
                    "peer {peer}: is in room {}",
                    known.room
                ))),
            };
        }
        let key = self.new_key();
        self.ids.insert(peer.to_owned(), key);
        self.peers
            .insert(key, Peer::new(peer.to_owned(), room.to_owned()));
        self.rooms
            .entry(room.to_owned())
            .or_default()
            .members
            .push(key);
        Ok(())
    }

    /// Ends a peer's connections and takes its Tracks from the others. Its journals stay open for `seal`.
    pub fn remove_peer(&mut self, peer: &str, now: Instant) -> Result<(), Error> {
        let key = self.peer_key(peer)?;
        self.drop_peer(key, now);
        Ok(())
    }

    pub(crate) fn drop_peer(&mut self, key: u32, now: Instant) {
        let Some(mut peer) = self.peers.remove(&key) else {
            return;
        };
        self.ids.remove(&peer.id);
        for connection in [peer.publish.take(), peer.subscribe.take()]
            .into_iter()
            .flatten()
        {
            self.demux.forget(connection.key);
        }
        if let Some(room) = self.rooms.get_mut(&peer.room) {
            room.members.retain(|member| *member != key);
            if room.members.is_empty() {
                self.rooms.remove(&peer.room);
            }
        }
        let ended: Vec<_> = peer.tracks.drain(..).collect();
        self.end_tracks(ended);
        self.offer_to_room(&peer.room, now);
    }

    /// A trickled candidate. As an ICE-lite agent we need none of them: it is only counted.
    pub fn candidate(&mut self, peer: &str, candidate: &str) -> Result<(), Error> {
        let known = self.peer_mut(peer)?;
        known.candidates += 1;
        if known.candidates > limits::CANDIDATES || candidate.len() > limits::CANDIDATE_BYTES {
            return Err(Error::Bad(format!(
                "peer {peer}: too many or too long candidates"
            )));
        }
        Ok(())
    }

    pub fn mute(
        &mut self,
        peer: &str,
        track_id: &str,
        muted: bool,
        now: Instant,
    ) -> Result<(), Error> {
        let track = self
            .peer_mut(peer)?
            .track(track_id)
            .ok_or_else(|| Error::unknown_track(peer, track_id))?;
        track.muted = muted;
        if let Some((_, key)) = track.journal {
            self.append(key, now, mute_payload(muted));
        }
        Ok(())
    }

    /// Begins to record a Track that is already published.
    pub fn open_journal(
        &mut self,
        peer: &str,
        track_id: &str,
        journal: JournalSpec,
        now: Instant,
    ) -> Result<(), Error> {
        if self.journals.contains_key(&journal.id) {
            return Err(Error::Conflict(format!("journal {}: is open", journal.id)));
        }
        let track = self
            .peer_mut(peer)?
            .track(track_id)
            .ok_or_else(|| Error::unknown_track(peer, track_id))?;
        if let Some((open, _)) = &track.journal {
            return Err(Error::Conflict(format!(
                "peer {peer} track {track_id}: journal {open} is open"
            )));
        }
        let key = self.peer_key(peer)?;
        self.start_journal(key, track_id, journal, now);
        Ok(())
    }

    pub(crate) fn start_journal(
        &mut self,
        peer_key: u32,
        track_id: &str,
        spec: JournalSpec,
        now: Instant,
    ) {
        let key = JournalKey(self.new_key());
        let Some(track) = self
            .peers
            .get_mut(&peer_key)
            .and_then(|peer| peer.track(track_id))
        else {
            return;
        };
        track.journal = Some((spec.id.clone(), key));
        track.key_frames.want();
        let (codecs, muted, ssrc) = (track.codecs.clone(), track.muted, track.ssrc);
        self.journals.insert(spec.id.clone(), key);
        self.output.orders.push(Order::Open {
            key,
            id: spec.id,
            dir: spec.dir,
            meta: spec.meta,
        });
        self.append(key, now, Payload::Codecs(codecs));
        self.append(key, now, mute_payload(muted));
        if let Some(ssrc) = ssrc {
            self.append(key, now, ssrc_payload(None, ssrc));
        }
        self.ask_for_key_frame(peer_key, track_id, now);
    }

    pub(crate) fn append(&mut self, key: JournalKey, at: Instant, payload: Payload) {
        self.output.orders.push(Order::Append { key, at, payload });
    }

    /// Ends a journal. The answer to `request` comes from the journal thread once the seal is durable.
    pub fn seal(&mut self, journal: &str, reason: String, request: u64) -> Result<(), Error> {
        for peer in self.peers.values_mut() {
            peer.unplaced.retain(|_, waiting| waiting.id != journal);
        }
        let key = self
            .journals
            .remove(journal)
            .ok_or_else(|| Error::Unknown(format!("journal {journal}: not open")))?;
        for track in self.peers.values_mut().flat_map(|peer| &mut peer.tracks) {
            track.journal.take_if(|(_, open)| *open == key);
        }
        self.output.orders.push(Order::Seal {
            key,
            id: journal.to_owned(),
            reason,
            request,
        });
        Ok(())
    }

    /// The subscriber's wish for one Track. It never touches the publisher nor the journal.
    pub fn prefer(
        &mut self,
        peer: &str,
        track_id: &str,
        is_wanted: bool,
        now: Instant,
    ) -> Result<(), Error> {
        let subscriber = self.peer_key(peer)?;
        let room = self.peers[&subscriber].room.clone();
        let members = self
            .rooms
            .get(&room)
            .map(|room| room.members.clone())
            .unwrap_or_default();
        for publisher in members.into_iter().filter(|member| *member != subscriber) {
            let Some(track) = self
                .peers
                .get_mut(&publisher)
                .and_then(|peer| peer.track(track_id))
            else {
                continue;
            };
            let (key, kind) = (track.key, track.kind);
            let Some(received) = self
                .peers
                .get_mut(&subscriber)
                .and_then(|peer| peer.received.get_mut(&key))
            else {
                continue;
            };
            let begins = is_wanted && !received.is_wanted && received.stage == Stage::Live;
            received.is_wanted = is_wanted;
            if begins && kind == Kind::Video {
                self.want_key_frame(publisher, key, now);
            }
            return Ok(());
        }
        Err(Error::unknown_track(peer, track_id))
    }

    /// Sends a text on the subscribe connection's channel.
    pub fn send_data(&mut self, peer: &str, text: &str) -> Result<(), Error> {
        if text.len() > limits::DATA_BYTES {
            return Err(Error::Bad(format!(
                "peer {peer}: text of {} bytes",
                text.len()
            )));
        }
        let closed = || Error::Conflict(format!("peer {peer}: data channel is not open"));
        let connection = self.peer_mut(peer)?.subscribe.as_mut().ok_or_else(closed)?;
        let id = connection.channel.ok_or_else(closed)?;
        let sent = connection
            .rtc
            .channel(id)
            .map(|mut channel| channel.write(false, text.as_bytes()));
        let key = connection.key;
        self.mark_dirty(key);
        match sent {
            Some(Ok(true)) => Ok(()),
            _ => Err(closed()),
        }
    }

    pub(crate) fn connection(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        let connection = self.peers.get_mut(&key.peer)?.connection(key.pc)?;
        (connection.key == key).then_some(connection)
    }

    pub(crate) fn mark_dirty(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connection(key)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            self.dirty.push(key);
        }
    }

    /// A panic inside a peer's session: that peer is lost, nobody else.
    pub(crate) fn fail_peer(&mut self, key: u32, error: String, now: Instant) {
        let Some(peer) = self.peers.get(&key) else {
            return;
        };
        self.output.counters.peers_failed += 1;
        self.output.events.push(Event::PeerFailed {
            peer: peer.id.clone(),
            error,
        });
        self.drop_peer(key, now);
    }

    /// Runs what is due: marked connections, timers, the rooms' speakers, kept wishes for key frames.
    pub fn settle(&mut self, now: Instant) {
        self.flush(now);
        while let Some((at, key)) = self.agenda.pop_due(now) {
            self.run_timer(at, key, now);
        }
        if now.saturating_duration_since(self.looked_at) >= levels::INTERVAL {
            self.looked_at = now;
            self.look_at_rooms(now);
        }
        self.flush(now);
    }

    fn look_at_rooms(&mut self, now: Instant) {
        self.look_at_paths(now);
        for (name, room) in &mut self.rooms {
            self.output
                .events
                .extend(room.speakers_changed(name, &mut self.peers, now));
        }
        let wishes: Vec<_> = self
            .peers
            .iter()
            .flat_map(|(key, peer)| peer.tracks.iter().map(|t| (*key, t.key)))
            .collect();
        for (peer, track) in wishes {
            self.send_key_frame_request(peer, track, now);
        }
    }

    /// When [`Sfu::settle`] has something to do again.
    pub fn next_deadline(&self) -> Option<Instant> {
        let look = (!self.rooms.is_empty()).then(|| self.looked_at + levels::INTERVAL);
        [self.agenda.next(), look].into_iter().flatten().min()
    }

    pub fn gauges(&self) -> [(&'static str, u64); 4] {
        let tracks: usize = self.peers.values().map(|peer| peer.tracks.len()).sum();
        let connected = |peer: &Peer| {
            [&peer.publish, &peer.subscribe]
                .into_iter()
                .flatten()
                .filter(|c| c.is_connected)
                .count()
        };
        [
            ("rooms", self.rooms.len() as u64),
            ("peers", self.peers.len() as u64),
            ("tracks", tracks as u64),
            (
                "connections",
                self.peers.values().map(connected).sum::<usize>() as u64,
            ),
        ]
    }

    pub(crate) fn new_connection_key(&mut self, peer: u32, pc: Pc) -> ConnectionKey {
        ConnectionKey {
            peer,
            pc,
            generation: self.new_key(),
        }
    }
}

pub(crate) fn mute_payload(muted: bool) -> Payload {
    Payload::Mute(json!({ "muted": muted }).to_string())
}

pub(crate) fn ssrc_payload(from: Option<u32>, to: u32) -> Payload {
    Payload::Ssrc(json!({ "from": from, "to": to }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_costs_one_peer_and_the_room_goes_on() {
        let now = Instant::now();
        let announce = vec![SocketAddr::from(([192, 0, 2, 1], 7000))];
        let mut sfu = Sfu::new(
            Config {
                announce,
                tcp: false,
                video_codecs: vec![VideoCodec::Vp8],
            },
            now,
        );
        sfu.add_peer("room", "alice").unwrap();
        sfu.add_peer("room", "bob").unwrap();
        let panic = crate::connection::guarded(|| panic!("session broke")).unwrap_err();
        sfu.fail_peer(sfu.peer_key("alice").unwrap(), panic, now);
        let told = Event::PeerFailed {
            peer: "alice".into(),
            error: "session broke".into(),
        };
        assert_eq!(sfu.output.events, [told]);
        assert_eq!(sfu.remove_peer("alice", now).unwrap_err().code(), 404);
        sfu.remove_peer("bob", now).unwrap();
        assert!(sfu.rooms.is_empty(), "the last leave ends the room");
    }
}
