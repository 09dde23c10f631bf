//! Placeholder of the worker crate.
