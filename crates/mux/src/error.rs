//! What can go wrong between a journal and a file. Every message starts with the object it is about.
//!
//! A frame that cannot be put together is not an error: it is skipped and listed in the report, because one odd packet must
//! not cost the asset.

use std::io;

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MuxError {
    /// A file could not be opened, read, written or made durable.
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    /// The journal's folder cannot be read as a journal.
    #[error("journal {dir}: {reason}")]
    Journal { dir: String, reason: String },
    /// The plan contradicts itself or the files it points into; a bug of the planner, or a file that changed.
    #[error("plan of {track}: {reason}")]
    Plan { track: &'static str, reason: String },
    /// The container has no agreed mapping for the codec.
    #[error("{container} file: {codec} is not carried by this container")]
    Container {
        container: &'static str,
        codec: &'static str,
    },
    /// No key frame told what the decoder needs to know before the first picture.
    #[error("video track: {0}")]
    NoDecoderConfig(String),
}

impl MuxError {
    pub(crate) fn file(path: &str, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn plan(track: &'static str, reason: impl Into<String>) -> Self {
        Self::Plan {
            track,
            reason: reason.into(),
        }
    }
}
