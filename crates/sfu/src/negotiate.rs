//! The subscribe connection: we offer what the others publish, the client answers.
//!
//! One offer is in flight at a time: what changes meanwhile waits for the answer. An m-line is never
//! used again; when its Track ends it becomes inactive, and the client then fires `removetrack`.

use std::time::{Duration, Instant};

use str0m::change::SdpAnswer;
use str0m::channel::ChannelId;
use str0m::media::{Direction, MediaKind, Mid};

use crate::codecs;
use crate::connection::{Connection, guarded};
use crate::error::Error;
use crate::limits;
use crate::offer::Offer;
use crate::output::{Event, Kind, Pc};
use crate::peer::{Peer, PendingOffer, Received, Stage, TrackKey};
use crate::sfu::Sfu;

/// The label that the client SDK expects.
const CHANNEL: &str = "ion-sfu";
/// Packets kept for a subscriber's retransmission requests: a second of 8 Mbit/s.
const RTX_PACKETS: usize = 1024;
const RTX_AGE: Duration = Duration::from_secs(3);

/// A Track that is to be offered.
struct Addition {
    key: TrackKey,
    publisher: u32,
    kind: Kind,
    stream_id: String,
    track_id: String,
}

impl Sfu {
    /// Offers every member of a room what changed.
    pub(crate) fn offer_to_room(&mut self, room: &str, now: Instant) {
        let members = self
            .rooms
            .get(room)
            .map(|room| room.members.clone())
            .unwrap_or_default();
        for member in members {
            self.offer_to(member, now);
        }
    }

    /// Sends a subscribe offer if there is something to offer and none is in flight.
    pub(crate) fn offer_to(&mut self, key: u32, now: Instant) {
        let Some(peer) = self.peers.get(&key) else {
            return;
        };
        if peer.publish.is_none() || peer.pending.is_some() {
            return;
        }
        let additions = self.missing_tracks(key, peer);
        let peer = &self.peers[&key];
        let has_ended = peer
            .received
            .values()
            .any(|received| received.stage == Stage::Ended);
        if additions.is_empty() && !has_ended && !peer.needs_ice_restart && peer.subscribe.is_some()
        {
            return;
        }
        self.ensure_subscribe_connection(key, now);
        for addition in &additions {
            let track = self
                .peers
                .get_mut(&addition.publisher)
                .and_then(|peer| peer.track_by_key(addition.key));
            if let Some(track) = track {
                track.subscribers.push(key);
            }
        }
        let peer = self.peers.get_mut(&key).expect("looked up above");
        match guarded(|| make_offer(peer, &additions)) {
            Ok(Some(ufrag)) => self.announce_offer(key, ufrag),
            Ok(None) => {}
            Err(panic) => self.fail_peer(key, panic, now),
        }
    }

    fn announce_offer(&mut self, key: u32, ufrag: String) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let (Some(connection), Some(pending)) = (&peer.subscribe, &peer.pending) else {
            return;
        };
        self.demux.expect(ufrag, connection.key);
        self.output.events.push(Event::SubscribeOffer {
            peer: peer.id.clone(),
            sdp: pending.sdp.clone(),
        });
        let key = connection.key;
        self.mark_dirty(key);
    }

    fn missing_tracks(&self, key: u32, peer: &Peer) -> Vec<Addition> {
        let members = self
            .rooms
            .get(&peer.room)
            .map(|room| room.members.as_slice())
            .unwrap_or_default();
        let room_left = limits::SUBSCRIBED_LINES.saturating_sub(peer.received.len());
        let others = members.iter().filter(|member| **member != key);
        let tracks = others.flat_map(|member| {
            let tracks = self
                .peers
                .get(member)
                .map(|peer| peer.tracks.as_slice())
                .unwrap_or_default();
            tracks.iter().map(move |track| (*member, track))
        });
        let missing = tracks.filter(|(_, track)| !peer.received.contains_key(&track.key));
        let additions = missing.map(|(publisher, track)| Addition {
            key: track.key,
            publisher,
            kind: track.kind,
            stream_id: track.stream_id.clone(),
            track_id: track.id.clone(),
        });
        additions.take(room_left).collect()
    }

    fn ensure_subscribe_connection(&mut self, peer_key: u32, now: Instant) {
        if self.peers[&peer_key]
            .subscribe
            .as_ref()
            .is_some_and(|connection| connection.rtc.is_alive())
        {
            return;
        }
        let key = self.new_connection_key(peer_key, Pc::Subscribe);
        let codecs = codecs::codec_config(&self.config.video_codecs, false);
        let connection = Connection::new(key, codecs, self.config.candidates(), now);
        let peer = self
            .peers
            .get_mut(&peer_key)
            .expect("looked up by the caller");
        if let Some(old) = peer.subscribe.replace(connection) {
            self.demux.forget(old.key);
        }
    }

    /// Takes the client's answer to the offer in flight, then offers what has changed since.
    pub fn subscribe_answer(&mut self, peer: &str, sdp: &str, now: Instant) -> Result<(), Error> {
        let key = self.peer_key(peer)?;
        let answer = Offer::read(sdp)?;
        let answer = SdpAnswer::from_sdp_string(&answer.text)
            .map_err(|error| Error::Bad(format!("sdp: {error}")))?;
        let known = self.peers.get_mut(&key).expect("looked up above");
        let none = || Error::Conflict(format!("peer {peer}: no offer waits for an answer"));
        let pending = known.pending.take().ok_or_else(none)?;
        let connection = known.subscribe.as_mut().ok_or_else(none)?;
        let (token, added, connection_key) = (pending.token, pending.added, connection.key);
        let accepted = guarded(|| connection.rtc.sdp_api().accept_answer(token, answer));
        self.mark_dirty(connection_key);
        match accepted {
            Ok(Ok(())) => self.begin(key, &added, now),
            Ok(Err(error)) => {
                self.withdraw(key, &added);
                return Err(Error::Bad(format!("peer {peer}: {error}")));
            }
            Err(panic) => {
                self.fail_peer(key, panic.clone(), now);
                return Err(Error::Panicked(peer.to_owned(), panic));
            }
        }
        self.offer_to(key, now);
        Ok(())
    }

    /// The offered Tracks flow from now on; video needs a key frame first.
    fn begin(&mut self, key: u32, added: &[TrackKey], now: Instant) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let mut begun = Vec::new();
        for track in added {
            let Some(received) = peer.received.get_mut(track) else {
                continue;
            };
            if received.stage != Stage::Offered {
                continue;
            }
            received.stage = Stage::Live;
            if let Some(connection) = &mut peer.subscribe
                && let Some(stream) = connection
                    .rtc
                    .direct_api()
                    .stream_tx_by_mid(received.mid, None)
            {
                // Without a ratio of its own str0m drops what exceeds 15 % of the rate, silently.
                stream.set_rtx_cache(RTX_PACKETS, RTX_AGE, None);
            }
            begun.push((*track, received.kind));
        }
        for (track, _) in begun.into_iter().filter(|(_, kind)| *kind == Kind::Video) {
            if let Some(publisher) = self.publisher_of(track) {
                self.want_key_frame(publisher, track, now);
            }
        }
    }

    /// The answer was unusable: the Tracks count as not offered, and come again with the next offer.
    fn withdraw(&mut self, key: u32, added: &[TrackKey]) {
        for track in added {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.received.remove(track);
            }
            let publisher = self.publisher_of(*track);
            if let Some(track) =
                publisher.and_then(|publisher| self.peers.get_mut(&publisher)?.track_by_key(*track))
            {
                track.subscribers.retain(|subscriber| *subscriber != key);
            }
        }
    }

    fn publisher_of(&self, track: TrackKey) -> Option<u32> {
        self.peers
            .iter()
            .find(|(_, peer)| peer.tracks.iter().any(|known| known.key == track))
            .map(|(key, _)| *key)
    }

    /// For a client that lost the offer or the path: sends the unanswered offer again, or a new one
    /// with an ICE restart.
    pub fn restart_subscribe(&mut self, peer: &str, now: Instant) -> Result<(), Error> {
        let key = self.peer_key(peer)?;
        let known = self.peers.get_mut(&key).expect("looked up above");
        match &known.pending {
            Some(pending) => {
                let again = Event::SubscribeOffer {
                    peer: known.id.clone(),
                    sdp: pending.sdp.clone(),
                };
                self.output.events.push(again);
            }
            None => {
                known.needs_ice_restart = known.subscribe.is_some();
                self.offer_to(key, now);
            }
        }
        Ok(())
    }
}

/// Writes the changes into an offer; returns the ufrag that its checks will name.
fn make_offer(peer: &mut Peer, additions: &[Addition]) -> Option<String> {
    let connection = peer.subscribe.as_mut()?;
    let mut ufrag = connection.ufrag();
    let mut api = connection.rtc.sdp_api();
    if connection.channel.is_none() {
        connection.channel = Some(api.add_channel(CHANNEL.to_owned())) as Option<ChannelId>;
    }
    for addition in additions {
        let kind = if addition.kind == Kind::Audio {
            MediaKind::Audio
        } else {
            MediaKind::Video
        };
        let ids = (
            Some(addition.stream_id.clone()),
            Some(addition.track_id.clone()),
        );
        let mid = api.add_media(kind, Direction::SendOnly, ids.0, ids.1, None);
        peer.received
            .insert(addition.key, offered(mid, addition.kind));
    }
    for received in peer
        .received
        .values()
        .filter(|received| received.stage == Stage::Ended)
    {
        api.set_direction(received.mid, Direction::Inactive);
    }
    let restarts_ice = std::mem::take(&mut peer.needs_ice_restart);
    if restarts_ice {
        ufrag = api.ice_restart(true).ufrag;
    }
    let offer = api.apply();
    peer.received
        .retain(|_, received| received.stage != Stage::Ended);
    let (offer, token) = offer?;
    let added = additions.iter().map(|addition| addition.key).collect();
    peer.pending = Some(PendingOffer {
        token,
        sdp: offer.to_sdp_string(),
        added,
        restarts_ice,
    });
    Some(ufrag)
}

fn offered(mid: Mid, kind: Kind) -> Received {
    Received {
        mid,
        kind,
        stage: Stage::Offered,
        is_wanted: true,
        renumbering: Default::default(),
        payload_type: None,
    }
}
