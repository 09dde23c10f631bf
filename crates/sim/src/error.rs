//! What can be wrong with a command. The process goes on; the reply says it.

use std::io;
use std::path::PathBuf;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("peer {0}: unknown")]
    UnknownPeer(String),
    #[error("peer {0}: exists already")]
    PeerExists(String),
    #[error("track {0}: unknown")]
    UnknownTrack(String),
    #[error("track {0}: not negotiated, or the answer took none of its codecs")]
    NotNegotiated(String),
    #[error("peer {0}: no such connection")]
    NoConnection(String),
    #[error("peer {0}: no offer waits for this answer")]
    NothingOffered(String),
    #[error("{path}: {reason}", path = .path.display())]
    BadClip { path: PathBuf, reason: String },
    #[error("command: {0}")]
    BadCommand(#[from] serde_json::Error),
    #[error("session description: {0}")]
    BadSdp(String),
    #[error("session: {0}")]
    Session(#[from] str0m::RtcError),
    #[error("{0}")]
    Io(#[from] io::Error),
}
