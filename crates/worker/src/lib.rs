//! The engine: the media plane with its socket, its threads and its journals.
//!
//! Before it stands Python, which sends commands and reads events; in it run two threads: the *shard*
//! (socket, sessions, forwarding) and the *journal thread* (disk). Packets go from the shard to the
//! journal thread in batches; nothing on that way waits for Python, and the shard never waits for a
//! disk.
//!
//! This is the only crate with sockets and threads. It must never drop anything without counting it.
//!
//! Read in this order: [`command`], `shard`, `intake`, `writer`, `socket`, `tcp`, then the small parts.

mod clock;
pub mod command;
mod engine;
mod error;
mod events;
mod framing;
mod intake;
mod shard;
mod socket;
mod tcp;
mod writer;

pub use engine::{Engine, EngineConfig};
pub use error::Error;
