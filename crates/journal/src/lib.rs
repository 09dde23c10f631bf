//! The journal: what was received, as it was received, on disk.
//!
//! It stands between the media plane and the finaliser. The media plane authenticates a packet and
//! hands it over; the writer thread appends it here before anything else happens to it; much later the
//! finaliser reads the journal back and makes the file people watch. Every Track of every connection
//! has its own journal: one folder of segment files (`docs/formats/journal.md` gives every byte).
//!
//! This crate knows bytes and disks. It must never know WebRTC sessions, start a thread, open a socket
//! or read a clock: times come in as arguments. It must never rewrite a byte that is durable.
//!
//! Read in this order: [`format`] (the bytes), [`disk`] (what a disk promises), [`append`] (the
//! [`Writer`]), [`read`] (the [`Reader`]), [`recover`] (after a crash).

pub mod append;
pub mod disk;
mod error;
#[cfg(feature = "faulty-disk")]
pub mod faulty;
pub mod format;
pub mod read;
pub mod recover;

pub use append::{Summary, SyncMark, Writer};
pub use disk::{Disk, RealDisk, SegmentFile};
pub use error::{Error, Result};
pub use format::{RecordType, SegmentHeader, SenderReport};
pub use read::{Damage, Reader, Record};
pub use recover::{Recovery, recover};
