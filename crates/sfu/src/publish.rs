//! The publish connection: the client offers, we answer, and the Track map says what the m-lines are.
//!
//! A client that lost its server or was moved comes with a new PeerConnection (another DTLS
//! fingerprint) and all its m-lines at once: it gets fresh connections. A Track that stays in the map
//! stays in its journal, whichever m-line carries it, and none for a while.

use std::time::Instant;

use str0m::change::{SdpAnswer, SdpOffer};
use str0m::media::Mid;

use crate::codecs;
use crate::connection::{Connection, guarded};
use crate::error::Error;
use crate::limits;
use crate::offer::Offer;
use crate::output::{Payload, Pc};
use crate::peer::{Stage, Track, TrackKey, TrackSpec};
use crate::sfu::{Published, Sfu, mute_payload};

impl Sfu {
    /// Answers an offer of a known peer. `specs` is the complete map of what it publishes now.
    pub fn publish_offer(
        &mut self,
        peer: &str,
        sdp: &str,
        specs: Vec<TrackSpec>,
        now: Instant,
    ) -> Result<Published, Error> {
        let key = self.peer_key(peer)?;
        check_specs(peer, &specs)?;
        let offer = Offer::read(sdp)?;
        let parsed = SdpOffer::from_sdp_string(&offer.text)
            .map_err(|error| Error::Bad(format!("sdp: {error}")))?;
        self.renew_if_needed(key, &offer, now);
        let answer = self.accept(key, parsed, now)?;
        let unmatched = self.match_tracks(key, &offer, specs, now);
        let room = self.peers[&key].room.clone();
        self.offer_to_room(&room, now);
        Ok(Published {
            sdp: answer.to_sdp_string(),
            unmatched,
        })
    }

    /// Makes the peer's first publish connection, or a new one when the client has made a new one.
    fn renew_if_needed(&mut self, peer_key: u32, offer: &Offer, now: Instant) {
        let peer = self
            .peers
            .get_mut(&peer_key)
            .expect("the key was looked up");
        let alive = peer
            .publish
            .as_ref()
            .is_some_and(|connection| connection.rtc.is_alive());
        if alive && peer.fingerprint == offer.fingerprint {
            return;
        }
        peer.fingerprint.clone_from(&offer.fingerprint);
        peer.by_ssrc.clear();
        peer.recoveries.clear();
        peer.received.clear();
        peer.pending = None;
        for old in [peer.publish.take(), peer.subscribe.take()]
            .into_iter()
            .flatten()
        {
            self.demux.forget(old.key);
        }
        for others in self.peers.values_mut() {
            for track in &mut others.tracks {
                track
                    .subscribers
                    .retain(|subscriber| *subscriber != peer_key);
            }
        }
        let key = self.new_connection_key(peer_key, Pc::Publish);
        let codecs = codecs::codec_config(&self.config.video_codecs, true);
        let connection = Connection::new(key, codecs, self.config.candidates(), now);
        self.peers
            .get_mut(&peer_key)
            .expect("the key was looked up")
            .publish = Some(connection);
    }

    fn accept(&mut self, peer_key: u32, offer: SdpOffer, now: Instant) -> Result<SdpAnswer, Error> {
        let peer = self
            .peers
            .get_mut(&peer_key)
            .expect("the key was looked up");
        let id = peer.id.clone();
        let connection = peer.publish.as_mut().expect("made just before");
        let key = connection.key;
        let answer = match guarded(|| connection.rtc.sdp_api().accept_offer(offer)) {
            Ok(answer) => answer.map_err(|error| Error::Bad(format!("peer {id}: {error}")))?,
            Err(panic) => {
                self.fail_peer(peer_key, panic.clone(), now);
                return Err(Error::Panicked(id, panic));
            }
        };
        self.demux.expect(connection.ufrag(), key);
        self.mark_dirty(key);
        Ok(answer)
    }

    /// Brings the Tracks in line with the map; returns those that no sending m-line carries.
    fn match_tracks(
        &mut self,
        peer_key: u32,
        offer: &Offer,
        specs: Vec<TrackSpec>,
        now: Instant,
    ) -> Vec<String> {
        let peer = self
            .peers
            .get_mut(&peer_key)
            .expect("the key was looked up");
        let is_current = |track: &Track| {
            let line = offer.line_of(&track.id);
            specs.iter().any(|spec| spec.track_id == track.id)
                && line.is_some_and(|line| *track.mid == *line.mid)
        };
        let (mut kept, ended): (Vec<_>, Vec<_>) = peer.tracks.drain(..).partition(is_current);
        peer.tracks.append(&mut kept);
        peer.by_ssrc.clear();
        peer.keep_journals(&ended, &specs);
        self.end_tracks(ended);
        let mut unmatched = Vec::new();
        for mut spec in specs {
            let peer = self
                .peers
                .get_mut(&peer_key)
                .expect("the key was looked up");
            let kept = peer.unplaced.remove(&spec.track_id);
            spec.journal = spec.journal.or(kept);
            if let Some(line) = offer.line_of(&spec.track_id) {
                self.publish_track(peer_key, Mid::from(line.mid.as_str()), spec, now);
                continue;
            }
            if let Some(journal) = spec.journal {
                peer.unplaced.insert(spec.track_id.clone(), journal);
            }
            unmatched.push(spec.track_id);
        }
        unmatched
    }

    fn publish_track(&mut self, peer_key: u32, mid: Mid, spec: TrackSpec, now: Instant) {
        let key = TrackKey(self.new_key());
        let peer = self
            .peers
            .get_mut(&peer_key)
            .expect("the key was looked up");
        let codecs = peer.publish.as_ref().and_then(|connection| {
            let media = connection.rtc.media(mid)?;
            Some(codecs::describe(connection.rtc.codec_config(), media).to_string())
        });
        let codecs = codecs.unwrap_or_else(|| "{}".to_owned());
        if peer.track(&spec.track_id).is_none() {
            let journal = spec.journal.as_ref().and_then(|journal| {
                self.journals
                    .get(&journal.id)
                    .map(|open| (journal.id.clone(), *open))
            });
            peer.tracks.push(new_track(key, mid, &spec, journal));
        }
        self.note_codecs(peer_key, &spec.track_id, codecs, now);
        self.note_mute(peer_key, &spec.track_id, spec.muted, now);
        let track = self
            .peers
            .get_mut(&peer_key)
            .and_then(|peer| peer.track(&spec.track_id));
        let is_recorded = track.is_some_and(|track| track.journal.is_some());
        if let Some(journal) = spec.journal
            && !is_recorded
        {
            self.start_journal(peer_key, &spec.track_id, journal, now);
        }
    }

    fn note_codecs(&mut self, peer_key: u32, track_id: &str, codecs: String, now: Instant) {
        let Some(track) = self
            .peers
            .get_mut(&peer_key)
            .and_then(|peer| peer.track(track_id))
        else {
            return;
        };
        if track.codecs == codecs {
            return;
        }
        track.codecs.clone_from(&codecs);
        if let Some((_, key)) = track.journal {
            self.append(key, now, Payload::Codecs(codecs));
        }
    }

    fn note_mute(&mut self, peer_key: u32, track_id: &str, muted: bool, now: Instant) {
        let Some(track) = self
            .peers
            .get_mut(&peer_key)
            .and_then(|peer| peer.track(track_id))
        else {
            return;
        };
        if track.muted == muted {
            return;
        }
        track.muted = muted;
        if let Some((_, key)) = track.journal {
            self.append(key, now, mute_payload(muted));
        }
    }

    /// Takes Tracks from their subscribers. Their journals stay open until they are sealed.
    pub(crate) fn end_tracks(&mut self, ended: Vec<Track>) {
        for track in ended {
            for subscriber in track.subscribers {
                let received = self
                    .peers
                    .get_mut(&subscriber)
                    .and_then(|peer| peer.received.get_mut(&track.key));
                if let Some(received) = received {
                    received.stage = Stage::Ended;
                }
            }
        }
    }
}

fn new_track(
    key: TrackKey,
    mid: Mid,
    spec: &TrackSpec,
    journal: Option<(String, crate::JournalKey)>,
) -> Track {
    Track {
        key,
        id: spec.track_id.clone(),
        stream_id: spec.stream_id.clone(),
        kind: spec.kind,
        muted: spec.muted,
        mid,
        ssrc: None,
        journal,
        codecs: String::new(),
        key_frames: Default::default(),
        level: Default::default(),
        subscribers: Vec::new(),
    }
}

fn check_specs(peer: &str, specs: &[TrackSpec]) -> Result<(), Error> {
    if specs.len() > limits::TRACKS {
        return Err(Error::Bad(format!(
            "peer {peer}: {} tracks, at most {}",
            specs.len(),
            limits::TRACKS
        )));
    }
    let fits = |text: &str| !text.is_empty() && text.len() <= limits::MSID_BYTES;
    match specs
        .iter()
        .find(|spec| !(fits(&spec.track_id) && fits(&spec.stream_id)))
    {
        Some(spec) => Err(Error::Bad(format!(
            "peer {peer} track {:?}: ids of 1 to 64 characters",
            spec.track_id
        ))),
        None => Ok(()),
    }
}
