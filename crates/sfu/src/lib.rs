//! The media plane without I/O: SDP, ICE, DTLS, SRTP and forwarding for every peer of every room.
//!
//! Before it stands the worker, which owns the socket and the clock; after it stand the subscribers'
//! browsers and the journal. Datagrams, commands and the time come in as arguments; datagrams to send,
//! events for the control plane and orders for the journal come out of [`Output`].
//!
//! It must never open a socket, start a thread or read a clock, and no input from the network may end
//! more than the peer it belongs to.
//!
//! Read in this order: [`sfu`] (the whole and its commands), `packets` (the data path), `paths`
//! (where clients are), `negotiate`
//! (subscribe offers), `nack` (lost packets), `peer` and `connection` (state), then the small pure parts.
#![forbid(unsafe_code)]

mod agenda;
mod codecs;
mod connection;
mod demux;
mod error;
mod forward;
mod keyframe;
mod levels;
pub mod limits;
mod nack;
mod negotiate;
mod offer;
mod output;
mod packets;
mod paths;
mod payload;
mod peer;
mod publish;
mod room;
pub mod sfu;

pub use codecs::VideoCodec;
pub use error::Error;
pub use output::{
    Counters, Datagram, Event, JournalKey, Kind, Order, Output, Payload, Pc, PcState, Speaker,
    Transport, Tuple,
};
pub use peer::{JournalSpec, TrackSpec};
pub use sfu::{Config, Published, Sfu};
