//! Placeholder of the sfu crate.
