//! The state of one peer: two connections, what it publishes, what it receives.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use str0m::change::SdpPendingOffer;
use str0m::media::{Mid, Pt};

use crate::connection::Connection;
use crate::forward::Renumbering;
use crate::keyframe::KeyFrameWish;
use crate::levels::Level;
use crate::nack::Recovery;
use crate::output::{JournalKey, Kind, Pc};

/// A Track as the control plane describes it with an offer.
#[derive(Debug, Clone, Deserialize)]
pub struct TrackSpec {
    pub track_id: String,
    pub stream_id: String,
    pub kind: Kind,
    /// What the client calls the source: `regular`, `screen`, … It is the control plane's word.
    #[serde(default)]
    pub source: String,
    #[serde(default)]
    pub muted: bool,
    /// Where to record; none while the Track is not recorded.
    #[serde(default)]
    pub journal: Option<JournalSpec>,
}

/// A journal to open: `dir` is made now, `meta` becomes its first record.
#[derive(Debug, Clone, Deserialize)]
pub struct JournalSpec {
    pub id: String,
    pub dir: PathBuf,
    #[serde(default)]
    pub meta: Value,
}

impl JournalSpec {
    /// Of a journal that is open: nothing more is needed to go on with it.
    pub(crate) fn of_open(id: String) -> Self {
        Self {
            id,
            dir: PathBuf::new(),
            meta: Value::Null,
        }
    }
}

/// Names a Track inside the process; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackKey(pub u32);

/// A published Track.
pub struct Track {
    pub key: TrackKey,
    pub id: String,
    pub stream_id: String,
    pub kind: Kind,
    pub muted: bool,
    /// The m-line that carries it.
    pub mid: Mid,
    /// The SSRC it came with last; none before the first packet.
    pub ssrc: Option<u32>,
    pub journal: Option<(String, JournalKey)>,
    /// The codecs record as last written.
    pub codecs: String,
    pub key_frames: KeyFrameWish,
    pub level: Level,
    /// Peers that have an m-line for it.
    pub subscribers: Vec<u32>,
}

/// Where a received Track stands on the subscribe connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// In an offer that is not answered yet.
    Offered,
    Live,
    /// Its publisher stopped; the m-line goes inactive with the next offer.
    Ended,
}

/// A Track that this peer receives.
pub struct Received {
    pub mid: Mid,
    pub kind: Kind,
    pub stage: Stage,
    /// The subscriber's wish (`prefer-video-track-state`, `prefer-audio-track-state`).
    pub is_wanted: bool,
    pub renumbering: Renumbering,
    /// The publisher's payload type and what it is here.
    pub payload_type: Option<(Pt, Pt)>,
}

/// An offer that waits for its answer.
pub struct PendingOffer {
    pub token: SdpPendingOffer,
    pub sdp: String,
    pub added: Vec<TrackKey>,
    pub restarts_ice: bool,
}

pub struct Peer {
    pub id: String,
    pub room: String,
    pub publish: Option<Connection>,
    /// The client's DTLS fingerprint on the publish connection.
    pub fingerprint: String,
    pub subscribe: Option<Connection>,
    pub pending: Option<PendingOffer>,
    pub needs_ice_restart: bool,
    pub tracks: Vec<Track>,
    /// Journals, by Track id, of Tracks in the map that no m-line carries just now.
    pub unplaced: HashMap<String, JournalSpec>,
    pub received: HashMap<TrackKey, Received>,
    /// Which Track an SSRC belongs to; filled from the packets.
    pub by_ssrc: HashMap<u32, TrackKey>,
    /// What is missing of each SSRC of the publish connection.
    pub recoveries: HashMap<u32, Recovery>,
    pub candidates: usize,
}

impl Peer {
    pub fn new(id: String, room: String) -> Self {
        Self {
            id,
            room,
            publish: None,
            fingerprint: String::new(),
            subscribe: None,
            pending: None,
            needs_ice_restart: false,
            tracks: Vec::new(),
            unplaced: HashMap::new(),
            received: HashMap::new(),
            by_ssrc: HashMap::new(),
            recoveries: HashMap::new(),
            candidates: 0,
        }
    }

    pub fn connection(&mut self, pc: Pc) -> Option<&mut Connection> {
        match pc {
            Pc::Publish => self.publish.as_mut(),
            Pc::Subscribe => self.subscribe.as_mut(),
        }
    }

    /// Before the m-lines are read anew: the control plane names a journal once, with the Track's first
    /// offer, so that of a Track which goes on under another m-line is kept here.
    pub fn keep_journals(&mut self, ended: &[Track], specs: &[TrackSpec]) {
        let goes_on = |id: &String| specs.iter().any(|spec| spec.track_id == *id);
        self.unplaced.retain(|id, _| goes_on(id));
        for track in ended.iter().filter(|track| goes_on(&track.id)) {
            if let Some((journal, _)) = &track.journal {
                self.unplaced
                    .insert(track.id.clone(), JournalSpec::of_open(journal.clone()));
            }
        }
    }

    pub fn track(&mut self, id: &str) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.id == id)
    }

    pub fn track_by_key(&mut self, key: TrackKey) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.key == key)
    }
}
