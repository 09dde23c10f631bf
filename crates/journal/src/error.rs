//! The one error type of this crate. Each message begins with the object it speaks of.

use std::io;
use std::path::{Path, PathBuf};

use crate::format::RecordType;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk said no. The path names the segment or folder.
    #[error("{path}: {action}: {source}", path = .path.display())]
    Disk {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    /// The caller asked to append something that a reader would refuse.
    #[error("journal {journal}: {kind:?} record of {bytes} bytes is not well formed")]
    BadRecord {
        journal: String,
        kind: RecordType,
        bytes: usize,
    },
    /// The disk has not accepted anything for so long that memory for the unsynced tail ran out.
    /// The record was not taken; the caller owes the journal a gap record.
    #[error("journal {journal}: {held_bytes} bytes wait for the disk, no more are held")]
    TailFull { journal: String, held_bytes: usize },
    /// The journal's file failed and no other could be made yet. Its records wait in memory.
    #[error("journal {journal}: waits for a new segment after: {cause}")]
    Waiting { journal: String, cause: String },
    /// Written by a later release. Reading it with this one could show something else than was
    /// recorded.
    #[error("{path}: a later journal format", path = .path.display())]
    LaterFormat { path: PathBuf },
    /// Nothing can be appended after the seal.
    #[error("journal {journal}: it is sealed")]
    Sealed { journal: String },
}

impl Error {
    pub(crate) fn disk(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Disk {
            path,
            action,
            source,
        }
    }

    /// The operating system's error number, where the disk gave one (`ENOSPC` decides differently
    /// from `EIO`).
    pub fn os_error(&self) -> Option<i32> {
        match self {
            Error::Disk { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
