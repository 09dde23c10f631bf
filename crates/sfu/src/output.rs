//! What comes out: datagrams for the socket, events for the control plane, orders for the journal.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use str0m::net::Protocol;

/// Everything produced since the worker last emptied it.
#[derive(Default)]
pub struct Output {
    pub datagrams: Vec<Datagram>,
    pub events: Vec<Event>,
    pub orders: Vec<Order>,
    pub counters: Counters,
}

/// What carries a datagram; over TCP it is a frame (RFC 4571).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
    Tcp,
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Udp => Self::Udp,
            Transport::Tcp => Self::Tcp,
        }
    }
}

/// Where a client's datagrams come from and ours to it go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    pub transport: Transport,
    pub address: SocketAddr,
}

impl Tuple {
    pub fn udp(address: SocketAddr) -> Self {
        Self {
            transport: Transport::Udp,
            address,
        }
    }

    pub fn tcp(address: SocketAddr) -> Self {
        Self {
            transport: Transport::Tcp,
            address,
        }
    }

    /// As the session names it; of all protocols it only ever uses those of its candidates.
    pub(crate) fn of_session(protocol: Protocol, address: SocketAddr) -> Self {
        match protocol {
            Protocol::Udp => Self::udp(address),
            _ => Self::tcp(address),
        }
    }
}

/// A datagram to send.
pub struct Datagram {
    pub destination: Tuple,
    pub contents: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Audio,
    Video,
}

/// Which of a peer's two PeerConnections: the client offers on the first, we on the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pc {
    Publish,
    Subscribe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PcState {
    Connected,
    Disconnected,
}

/// One speaking Track; level 1..100.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Speaker {
    pub peer: String,
    pub track_id: String,
    pub level: u8,
}

/// Told to the control plane as JSON with the variant's name in `event`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// An offer for the subscribe connection. The next one follows only after its answer.
    SubscribeOffer { peer: String, sdp: String },
    /// A text that came on the data channel of the subscribe connection.
    Data { peer: String, text: String },
    Connection {
        peer: String,
        pc: Pc,
        state: PcState,
    },
    /// The first packet of a Track.
    Media {
        peer: String,
        track_id: String,
        codec: String,
    },
    /// Who speaks in a room; sent when it changes.
    Speakers {
        room: String,
        speakers: Vec<Speaker>,
    },
    /// A panic inside the peer's session; its connections are gone, its journals can still be sealed.
    PeerFailed { peer: String, error: String },
}

/// Names an open journal inside the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JournalKey(pub u32);

/// An order for the journal thread. Orders of one journal arrive in order.
#[derive(Debug)]
pub enum Order {
    Open {
        key: JournalKey,
        id: String,
        dir: PathBuf,
        meta: Value,
    },
    Append {
        key: JournalKey,
        at: Instant,
        payload: Payload,
    },
    Seal {
        key: JournalKey,
        id: String,
        reason: String,
        request: u64,
    },
}

/// The payload of one record (docs/formats/journal.md). JSON where the format says so.
#[derive(Debug)]
pub enum Payload {
    Rtp {
        header: Box<[u8]>,
        body: Arc<[u8]>,
        repaired: bool,
    },
    SenderReport {
        ssrc: u32,
        ntp: u64,
        rtp_timestamp: u32,
        packet_count: u32,
        octet_count: u32,
    },
    Mute(String),
    Codecs(String),
    Ssrc(String),
}

/// What happened, as numbers for the metrics. Network errors live here and nowhere else.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counters {
    pub received_packets: u64,
    pub received_bytes: u64,
    pub repaired_packets: u64,
    /// Missing packets of which the sender was asked in vain.
    pub lost_packets: u64,
    /// That came when they were already counted as lost.
    pub late_packets: u64,
    /// Packets asked for, each as often as it was.
    pub requested_packets: u64,
    pub forwarded_packets: u64,
    pub key_frames_asked: u64,
    pub datagrams_unparsable: u64,
    pub datagrams_unknown_source: u64,
    pub stun_refused: u64,
    /// Connections that went on from another address, or over the other transport.
    pub path_changes: u64,
    pub network_errors: u64,
    pub unmatched_packets: u64,
    pub unforwardable_packets: u64,
    pub peers_failed: u64,
}

impl Counters {
    /// Every counter with its name.
    pub fn named(&self) -> [(&'static str, u64); 16] {
        [
            ("received_packets", self.received_packets),
            ("received_bytes", self.received_bytes),
            ("repaired_packets", self.repaired_packets),
            ("lost_packets", self.lost_packets),
            ("late_packets", self.late_packets),
            ("requested_packets", self.requested_packets),
            ("forwarded_packets", self.forwarded_packets),
            ("key_frames_asked", self.key_frames_asked),
            ("datagrams_unparsable", self.datagrams_unparsable),
            ("datagrams_unknown_source", self.datagrams_unknown_source),
            ("stun_refused", self.stun_refused),
            ("path_changes", self.path_changes),
            ("network_errors", self.network_errors),
            ("unmatched_packets", self.unmatched_packets),
            ("unforwardable_packets", self.unforwardable_packets),
            ("peers_failed", self.peers_failed),
        ]
    }
}
