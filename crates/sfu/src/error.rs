//! What a command can be refused for. Bad input from the network is a counter, never one of these.

/// A refusal names its object first and carries the HTTP-like code that the control plane passes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request itself is wrong: the same request fails again.
    #[error("{0}")]
    Bad(String),
    /// The named peer, track or journal does not exist (any more).
    #[error("{0}")]
    Unknown(String),
    /// The request does not fit the present state.
    #[error("{0}")]
    Conflict(String),
    /// A panic inside one peer's session; that peer is gone.
    #[error("peer {0}: failed inside: {1}")]
    Panicked(String, String),
}

impl Error {
    /// The code of the JSON-RPC and REST answer.
    pub fn code(&self) -> u16 {
        match self {
            Self::Bad(_) => 400,
            Self::Unknown(_) => 404,
            Self::Conflict(_) => 409,
            Self::Panicked(..) => 500,
        }
    }

    pub(crate) fn unknown_peer(id: &str) -> Self {
        Self::Unknown(format!("peer {id}: unknown"))
    }

    pub(crate) fn unknown_track(peer: &str, track: &str) -> Self {
        Self::Unknown(format!("peer {peer} track {track}: unknown"))
    }
}
