//! The engine as Python holds it: JSON commands in, JSON events out, a file descriptor that wakes the loop.

use std::collections::BTreeMap;

use isotape_worker::{Engine as Worker, EngineConfig, Error};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

/// The media engine: its socket and two threads, from construction to `close`.
#[pyclass(frozen, module = "isotape._core")]
struct Engine {
    worker: Worker,
}

#[pymethods]
impl Engine {
    #[new]
    fn new(py: Python<'_>, config_json: &str) -> PyResult<Self> {
        let config: EngineConfig = serde_json::from_str(config_json)
            .map_err(|error| PyValueError::new_err(format!("engine config: {error}")))?;
        let worker = py.detach(|| Worker::start(config)).map_err(to_python)?;
        Ok(Self { worker })
    }

    /// The UDP port of the media socket.
    #[getter]
    fn port(&self) -> u16 {
        self.worker.port()
    }

    /// A descriptor that is readable while events wait.
    fn fileno(&self) -> i32 {
        self.worker.event_fd()
    }

    /// Takes all waiting events, each a JSON object.
    fn poll(&self) -> Vec<String> {
        self.worker.poll()
    }

    /// Queues a command; its reply comes as an event.
    fn command(&self, json: &str) -> PyResult<()> {
        self.worker.command(json).map_err(to_python)
    }

    /// Counters and gauges by name.
    fn metrics(&self) -> BTreeMap<&'static str, u64> {
        self.worker.metrics()
    }

    /// Stops the engine; what was received is durable on return.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.worker.close());
    }
}

fn to_python(error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Config(_) | Error::Command(_) => PyValueError::new_err(message),
        Error::System { .. } => PyOSError::new_err(message),
        _ => PyRuntimeError::new_err(message),
    }
}

/// Adds this part to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Engine>()
}
