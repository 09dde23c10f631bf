//! Placeholder of the sim crate.
