//! One peer: its two connections and the Tracks it sends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use str0m::change::{SdpAnswer, SdpOffer};
use str0m::media::{Direction, MediaKind};

use crate::error::{Error, Result};
use crate::link::Link;
use crate::protocol::{Kind, NewTrack, Pc};
use crate::track::Track;
use crate::truth::{Line, TruthLog, WallClock};

/// libwebrtc keeps a packet for resending for max(1 s, 3 RTT), and three times as long while it holds
/// fewer than 600 (its kMinSendSidePacketHistorySize and kPacketCullingDelayFactor). A camera of
/// 2 Mbit/s passes 600 in 2.3 s.
const RESEND_PACKETS: usize = 600;
const RESEND_AGE: Duration = Duration::from_secs(3);

pub struct Peer {
    pub name: String,
    pub publish: Option<Link>,
    pub subscribe: Option<Link>,
    pub tracks: BTreeMap<String, Track>,
    /// msid of each mid that the server offered.
    offered: BTreeMap<String, String>,
    seed: u64,
}

impl Peer {
    pub fn new(name: String, seed: u64) -> Self {
        Self {
            name,
            publish: None,
            subscribe: None,
            tracks: BTreeMap::new(),
            offered: BTreeMap::new(),
            seed,
        }
    }

    pub fn link(&mut self, pc: Pc) -> Result<&mut Link> {
        let link = match pc {
            Pc::Publish => &mut self.publish,
            Pc::Subscribe => &mut self.subscribe,
        };
        link.as_mut()
            .ok_or_else(|| Error::NoConnection(self.name.clone()))
    }

    pub fn track(&mut self, track: &str) -> Result<&mut Track> {
        self.tracks
            .get_mut(track)
            .ok_or_else(|| Error::UnknownTrack(track.to_owned()))
    }

    /// The next offer of the publish connection, which must exist.
    pub fn offer(&mut self, tracks: Vec<NewTrack>, remove: &[String]) -> Result<String> {
        let removed: Vec<Track> = remove
            .iter()
            .filter_map(|track| self.tracks.remove(track))
            .collect();
        let is_first = self.link(Pc::Publish)?.channel.is_none();
        let seed = self.seed;
        let link = self.publish.as_mut().expect("it exists");
        let mut api = link.rtc.sdp_api();
        if is_first {
            link.channel = Some(api.add_channel("ion-sfu".to_owned()));
        }
        for track in removed {
            api.set_direction(track.mid, Direction::Inactive);
        }
        for new in tracks {
            let kind = match new.kind {
                Kind::Audio => MediaKind::Audio,
                Kind::Video => MediaKind::Video,
            };
            let (stream_id, track_id) = (Some(new.stream_id), Some(new.track_id));
            let mid = api.add_media(kind, Direction::SendOnly, stream_id, track_id, None);
            let seed = seed * 1_000 + self.tracks.len() as u64 + 1;
            let track = Track::new(mid, new.codec, seed);
            self.tracks.insert(new.track, track);
        }
        let (offer, pending) = api
            .apply()
            .ok_or_else(|| Error::BadSdp("nothing to offer".to_owned()))?;
        link.pending = Some(pending);
        Ok(offer.to_sdp_string())
    }

    /// Takes the answer; returns what each Track will be sent as.
    pub fn accept_answer(&mut self, sdp: &str) -> Result<Value> {
        let name = self.name.clone();
        let link = self.link(Pc::Publish)?;
        let pending = link.pending.take().ok_or(Error::NothingOffered(name))?;
        let answer = SdpAnswer::from_sdp_string(sdp).map_err(|e| Error::BadSdp(e.to_string()))?;
        link.rtc.sdp_api().accept_answer(pending, answer)?;
        let link = self.publish.as_mut().expect("it was there above");
        let mut agreed = Map::new();
        for (name, track) in &mut self.tracks {
            track.payload_type = link.payload_type(track.mid, track.codec.codec());
            let mut api = link.rtc.direct_api();
            if let Some(stream) = api.stream_tx_by_mid(track.mid, None) {
                if track.ssrc == 0 {
                    stream.set_rtx_cache(RESEND_PACKETS, RESEND_AGE, None);
                }
                track.ssrc = *stream.ssrc();
            }
            let payload_type = track.payload_type.map(|pt| *pt);
            let mid = track.mid.to_string();
            let facts = json!({"mid": mid, "ssrc": track.ssrc, "payload_type": payload_type});
            agreed.insert(name.clone(), facts);
        }
        Ok(Value::Object(agreed))
    }

    /// Answers an offer of the server on the subscribe connection, which must exist.
    pub fn answer(&mut self, sdp: &str) -> Result<String> {
        self.offered = msids(sdp);
        let offer = SdpOffer::from_sdp_string(sdp).map_err(|e| Error::BadSdp(e.to_string()))?;
        let link = self.link(Pc::Subscribe)?;
        Ok(link.rtc.sdp_api().accept_offer(offer)?.to_sdp_string())
    }

    /// Sends every packet whose time has come. Returns the Tracks whose clip has ended.
    pub fn send_due(
        &mut self,
        now: Instant,
        clock: &WallClock,
        truth: &mut TruthLog,
    ) -> Result<Vec<String>> {
        let mut finished = Vec::new();
        let Some(link) = &mut self.publish else {
            return Ok(finished);
        };
        let mut wrote = false;
        for (name, track) in &mut self.tracks {
            while let Some(due) = track.take_due(now) {
                if due.muted {
                    continue;
                }
                let packet = due.clip_packet();
                truth.write(&Line {
                    peer: &self.name,
                    track: name,
                    ssrc: track.ssrc,
                    payload_type: track.payload_type.map_or(0, |pt| *pt),
                    sequence: due.sequence,
                    timestamp: due.timestamp,
                    marker: packet.marker,
                    bytes: packet.payload.len(),
                    sha256: &packet.sha256,
                    send_ns: clock.unix_ns(now),
                    lost: due.lost,
                })?;
                if due.lost {
                    continue;
                }
                track.packets_sent += 1;
                track.bytes_sent += packet.payload.len() as u64;
                let mut api = link.rtc.direct_api();
                if let Some(stream) = api.stream_tx_by_mid(track.mid, None) {
                    stream.write_rtp(due.write);
                    wrote = true;
                }
            }
            if track
                .play
                .as_ref()
                .is_some_and(|play| play.due_at().is_none())
            {
                track.play = None;
                finished.push(name.clone());
            }
        }
        if wrote {
            link.turn(now)?;
        }
        Ok(finished)
    }

    /// When this peer wants its next turn.
    pub fn next_turn(&self) -> Option<Instant> {
        let links = self.publish.iter().chain(&self.subscribe);
        let plays = self.tracks.values().filter_map(|track| track.play.as_ref());
        links
            .map(|link| link.deadline)
            .chain(plays.filter_map(|play| play.due_at()))
            .min()
    }

    pub fn stats(&self) -> Value {
        let sent: Map<String, Value> = (self.tracks.iter())
            .map(|(name, track)| {
                let sent = json!({"packets": track.packets_sent, "bytes": track.bytes_sent});
                (name.clone(), sent)
            })
            .collect();
        let publish = self.publish.as_ref();
        let received: Vec<Value> = (self.subscribe.iter())
            .flat_map(|link| link.received.iter())
            .map(|(ssrc, received)| {
                let mut facts = serde_json::to_value(received).expect("plain numbers");
                facts["ssrc"] = (*ssrc).into();
                facts["msid"] = self.offered.get(&received.mid).cloned().into();
                facts
            })
            .collect();
        json!({
            "sent": sent,
            "received": received,
            "datagrams_lost": publish.map_or(0, |link| link.datagrams_lost),
            "key_frames_asked": publish.map_or(0, |link| link.key_frames_asked),
        })
    }
}

/// `mid` to `stream_id track_id` of the m-lines of an SDP.
fn msids(sdp: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for section in sdp.split("\nm=").skip(1) {
        let value = |name: &str| {
            let lines = section.lines();
            lines
                .filter_map(|line| line.trim_end().strip_prefix(name))
                .next()
        };
        if let (Some(mid), Some(msid)) = (value("a=mid:"), value("a=msid:")) {
            found.insert(mid.to_owned(), msid.to_owned());
        }
    }
    found
}
