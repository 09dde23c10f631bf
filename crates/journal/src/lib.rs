//! Placeholder of the journal crate.
