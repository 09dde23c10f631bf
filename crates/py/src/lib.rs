//! The Python module `isotape._core`: a table of contents.
//!
//! The only crate that knows Python. Each part adapts one pure crate and registers itself; the stub
//! `src/isotape/_core.pyi` is the contract and is checked against what is registered here.

mod engine;
mod mux;

use pyo3::prelude::*;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    engine::register(module)?;
    mux::register(module)
}
