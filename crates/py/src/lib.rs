//! The Python module `isotape._core`.
