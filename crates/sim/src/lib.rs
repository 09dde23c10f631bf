//! The synthetic publisher: peers that send known media, so that a recording can be compared with it.
//!
//! It stands where a browser would: each peer has a publish connection (it offers, it sends) and may
//! have a subscribe connection (it answers, it receives and counts). Signalling is not in here: a
//! driver, usually Python, speaks the client protocol and hands SDP in and out over stdin and stdout.
//! What was sent is written to a *ground-truth log*, one line a packet, before the packet leaves; a
//! test compares that log with the journal and the finished file. This crate must never share code
//! with the server's packet path: an oracle that repeats the server's mistakes proves nothing.
//!
//! # Protocol of `isotape-publisher`
//!
//! One JSON object a line. Each command has a `command` and may have a `request`, which comes back in
//! its reply: `{"event":"reply","request":1,"ok":{…}}` or `{"event":"reply","request":1,"error":"…"}`.
//! The end of stdin ends the process. See [`protocol`] for every field.
//!
//! | command | fields | reply |
//! |---|---|---|
//! | `add_peer` | peer | |
//! | `publish_offer` | peer, tracks: `[{track, kind, codec, stream_id, track_id}]`, remove: `[track]` | sdp |
//! | `publish_answer` | peer, sdp | tracks: `{track: {mid, ssrc, payload_type}}` |
//! | `subscribe_offer` | peer, sdp | sdp (the answer) |
//! | `candidate` | peer, pc, candidate | |
//! | `start` | peer, tracks: `[{track, file \| fake, loop, offset_ms, lose}]` | started_ns |
//! | `stop` | peer, track | |
//! | `mute` | peer, track, muted | |
//! | `send_data` | peer, pc, text | |
//! | `network` | peer, loss_percent, seed | |
//! | `log` | path | |
//! | `stats` | | peers |
//! | `close` | peer, pc (both when left out), clean | |
//!
//! The first publish offer carries the data channel `ion-sfu`, alone when `tracks` is empty; each later
//! one adds m-lines. `track` is the driver's own short name of a Track. Tracks started by one `start`
//! share one time zero, so sound and picture of one file pair are in step to the sample. A muted or
//! stopped Track sends nothing while its media clock runs on, like a browser's.
//! `lose` lists packets (counted from 0 in the clip) that take a sequence number but are never sent:
//! a loss that no retransmission repairs. `network` loses datagrams on the way out, which
//! retransmission does repair. `fake` is `{codec, packets_per_second, payload_bytes}`: load without
//! meaning, with valid descriptors. `close` with `clean` says goodbye (DTLS close); without it the
//! connection falls silent, like a pulled cable.
//!
//! Events without a request: `connection {peer, pc, state}` (`connected` or `disconnected`),
//! `data {peer, pc, text}`, `finished {peer, track}` (a file that does not loop was sent whole and its
//! log lines are on disk).
//!
//! # Ground-truth log
//!
//! One JSON object a line and packet: `peer`, `track`, `ssrc`, `payload_type`, `sequence`,
//! `timestamp`, `marker`, `bytes` and `sha256` (both of the payload), `send_ns` (Unix time), `lost`.
//!
//! # Clip files
//!
//! What is sent is cut into packets beforehand by whoever makes the clip: see [`clip`].

pub mod clip;
mod error;
mod link;
mod peer;
mod plain;
pub mod protocol;
mod publisher;
mod track;
mod truth;

pub use error::{Error, Result};
pub use link::is_rtp;
pub use plain::PlainSession;
pub use publisher::{Publisher, Waiting};
