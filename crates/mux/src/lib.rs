//! Placeholder of the mux crate.
