//! Journal to file, as Python sees it: arguments are checked and copied here, the work is done without the GIL.

use isotape_mux::codec::Codec;
use isotape_mux::plan::{Track, packets_from_rows};
use isotape_mux::render::{Container, Job};
use isotape_mux::{MuxError, index, placeholder, render};
use pyo3::exceptions::{PyFileExistsError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Everything that a journal holds, without the media. `packets` is an array of rows for NumPy.
#[pyclass(frozen, get_all, module = "isotape._core")]
struct JournalIndex {
    files: Vec<String>,
    header: String,
    packets: Py<PyBytes>,
    notes: Vec<index::Note>,
    sealed: bool,
    torn_bytes: u64,
}

/// Codec name, rows of packets, rows of samples.
type VideoRows = (String, Vec<u8>, Vec<u8>);
/// Channels, rows of packets, rows of samples.
type AudioRows = (u16, Vec<u8>, Vec<u8>);

/// Reads a journal folder.
#[pyfunction]
fn index_journal(py: Python<'_>, folder: &str) -> PyResult<JournalIndex> {
    let found = py
        .detach(|| index::index_journal(folder))
        .map_err(to_python)?;
    Ok(JournalIndex {
        files: found.files,
        header: found.header,
        packets: PyBytes::new(py, &found.packets).unbind(),
        notes: found.notes,
        sealed: found.sealed,
        torn_bytes: found.torn_bytes,
    })
}

/// Cuts the torn tail off a journal and seals it; gives JSON of what was found.
#[pyfunction]
fn recover_journal(py: Python<'_>, folder: &str) -> PyResult<String> {
    py.detach(|| index::recover_journal(folder))
        .map_err(to_python)
}

/// Makes a file from a plan; gives the report as JSON.
#[pyfunction]
#[pyo3(name = "render")]
fn render_file(
    py: Python<'_>,
    out_path: &str,
    container: &str,
    files: Vec<String>,
    video: Option<VideoRows>,
    audio: Option<AudioRows>,
    literals: &[u8],
) -> PyResult<String> {
    let container = Container::from_name(container).ok_or_else(|| {
        PyValueError::new_err(format!("{out_path}: unknown container {container:?}"))
    })?;
    let codec = video.as_ref().map(|rows| codec_of(&rows.0)).transpose()?;
    py.detach(|| {
        let video = codec
            .zip(video.as_ref())
            .map(|(codec, rows)| Track::video(codec, &rows.1, &rows.2));
        let audio = audio
            .as_ref()
            .map(|rows| Track::audio(rows.0, &rows.1, &rows.2));
        let (video, audio) = (video.transpose()?, audio.transpose()?);
        let job = Job {
            out_path,
            container,
            files: &files,
            literals,
            video,
            audio,
        };
        render::render(job)
    })
    .map_err(to_python)
    .and_then(|report| {
        serde_json::to_string(&report).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    })
}

/// A black key frame that fits the stream of `key_frame`; None when this codec or stream is not one that can be drawn.
#[pyfunction]
fn black_key_frame<'py>(
    py: Python<'py>,
    codec: &str,
    key_frame: &[u8],
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    if codec_of(codec)? != Codec::H264 {
        return Ok(None);
    }
    Ok(placeholder::black_h264(key_frame).map(|frame| PyBytes::new(py, &frame)))
}

/// One frame's bytes (H264 as Annex B) from the packets of a journal.
#[pyfunction]
fn depacketise<'py>(
    py: Python<'py>,
    codec: &str,
    files: Vec<String>,
    packets: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let codec = codec_of(codec)?;
    let frame = py.detach(|| render::depacketise(codec, &files, &packets_from_rows(packets)?));
    Ok(PyBytes::new(py, &frame.map_err(to_python)?))
}

fn codec_of(name: &str) -> PyResult<Codec> {
    Codec::from_name(name).ok_or_else(|| PyValueError::new_err(format!("unknown codec {name:?}")))
}

/// A contradiction in the arguments is a ValueError, what the disk refused an OSError.
fn to_python(error: MuxError) -> PyErr {
    let message = error.to_string();
    match error {
        MuxError::File { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
            PyFileExistsError::new_err(message)
        }
        MuxError::File { .. } | MuxError::Journal { .. } => PyOSError::new_err(message),
        MuxError::Plan { .. } | MuxError::Container { .. } | MuxError::NoDecoderConfig(_) => {
            PyValueError::new_err(message)
        }
        _ => PyRuntimeError::new_err(message),
    }
}

/// Adds this part to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<JournalIndex>()?;
    module.add_function(wrap_pyfunction!(index_journal, module)?)?;
    module.add_function(wrap_pyfunction!(recover_journal, module)?)?;
    module.add_function(wrap_pyfunction!(render_file, module)?)?;
    module.add_function(wrap_pyfunction!(black_key_frame, module)?)?;
    module.add_function(wrap_pyfunction!(depacketise, module)?)
}
