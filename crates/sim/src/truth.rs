//! The ground-truth log: what left, written before it left.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// Turns instants into Unix time by one anchor, so that a stepped wall clock does not bend the log.
pub struct WallClock {
    unix_ns: u64,
    instant: Instant,
}

impl WallClock {
    pub fn anchored(now: Instant) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            unix_ns: since.expect("the clock is past 1970").as_nanos() as u64,
            instant: now,
        }
    }

    pub fn unix_ns(&self, at: Instant) -> u64 {
        self.unix_ns + at.saturating_duration_since(self.instant).as_nanos() as u64
    }
}

/// One packet.
#[derive(Serialize)]
pub struct Line<'a> {
    pub peer: &'a str,
    pub track: &'a str,
    pub ssrc: u32,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub bytes: usize,
    pub sha256: &'a str,
    pub send_ns: u64,
    pub lost: bool,
}

/// Writes nowhere until a path was given.
#[derive(Default)]
pub struct TruthLog {
    file: Option<BufWriter<File>>,
}

impl TruthLog {
    pub fn open(&mut self, path: &Path) -> io::Result<()> {
        self.flush()?;
        self.file = Some(BufWriter::new(File::create(path)?));
        Ok(())
    }

    pub fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        serde_json::to_writer(&mut *file, line)?;
        file.write_all(b"\n")
    }

    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.flush(),
            None => Ok(()),
        }
    }
}
