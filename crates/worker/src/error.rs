//! What can go wrong when the engine is started or steered.

/// Errors of the engine as a whole. A refused command is an event instead, with the request's number.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("engine config: {0}")]
    Config(String),
    #[error("engine command: {0}")]
    Command(String),
    #[error("engine: {0} commands wait already")]
    Full(usize),
    #[error("engine: is closed")]
    Closed,
    #[error("engine {what}: {source}")]
    System {
        what: String,
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}
