//! Reads payloads out of segment files, through one window that moves forward.
//!
//! The packets of a track lie nearly in the order in which they are muxed, so one window a track serves almost every read
//! from memory. A window is used and not a memory map: mapping a file is unsafe, and costs no less here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::error::MuxError;
use crate::plan::{LITERAL_FILE, PacketRef};

/// Bytes read at once: large enough that the system call does not count, small enough for the second-level cache.
const WINDOW_BYTES: usize = 1 << 20;

/// Part of the window that lies before the packet which moved it. A packet that came late stands later in the journal than
/// the ones after it; without this each such packet at the edge would move the window twice.
const WINDOW_BEFORE_BYTES: u64 = 1 << 17;

/// An RTP payload came in one UDP datagram, whose length has 16 bits; it always fits behind the packets before it.
const MAX_PAYLOAD_BYTES: u32 = 1 << 16;

/// The segment files and literals that a track's packets point into.
pub(crate) struct Source<'a> {
    files: &'a [String],
    literals: &'a [u8],
    open: Option<(u32, File)>,
    window: Vec<u8>,
    /// Where in the open file the window begins.
    window_at: u64,
}

impl<'a> Source<'a> {
    pub fn new(files: &'a [String], literals: &'a [u8]) -> Self {
        Self {
            files,
            literals,
            open: None,
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// The payload of a packet; valid until the next call.
    pub fn payload(&mut self, packet: PacketRef) -> Result<&[u8], MuxError> {
        if packet.file == LITERAL_FILE {
            return self.literal(packet);
        }
        if packet.length > MAX_PAYLOAD_BYTES {
            let reason = format!("a payload of {} bytes", packet.length);
            return Err(MuxError::plan("packets", reason));
        }
        if self.in_window(packet).is_none() {
            self.move_window(packet)?;
        }
        let start = self.in_window(packet).ok_or_else(|| self.missing(packet))?;
        Ok(&self.window[start..start + packet.length as usize])
    }

    fn literal(&self, packet: PacketRef) -> Result<&[u8], MuxError> {
        let start = usize::try_from(packet.offset).ok();
        let range = start.and_then(|start| Some(start..start.checked_add(packet.length as usize)?));
        range
            .and_then(|range| self.literals.get(range))
            .ok_or_else(|| {
                let (offset, length, total) = (packet.offset, packet.length, self.literals.len());
                MuxError::File {
                    path: "literals".to_owned(),
                    source: past_end(offset, length, total as u64),
                }
            })
    }

    /// Where the packet begins in the window, if the window holds all of it.
    fn in_window(&self, packet: PacketRef) -> Option<usize> {
        self.open
            .as_ref()
            .filter(|(file, _)| *file == packet.file)?;
        let start = usize::try_from(packet.offset.checked_sub(self.window_at)?).ok()?;
        (start.checked_add(packet.length as usize)? <= self.window.len()).then_some(start)
    }

    fn move_window(&mut self, packet: PacketRef) -> Result<(), MuxError> {
        let path = self.path(packet.file)?.to_owned();
        let file = match self.open.take().filter(|(file, _)| *file == packet.file) {
            Some((_, file)) => file,
            None => File::open(&path).map_err(|error| MuxError::file(&path, error))?,
        };
        self.window_at = packet.offset.saturating_sub(WINDOW_BEFORE_BYTES);
        self.window.resize(WINDOW_BYTES, 0);
        let filled = read_at(&file, &mut self.window, self.window_at);
        self.window
            .truncate(filled.map_err(|error| MuxError::file(&path, error))?);
        self.open = Some((packet.file, file));
        Ok(())
    }

    fn path(&self, file: u32) -> Result<&str, MuxError> {
        let found = self.files.get(file as usize).map(String::as_str);
        found.ok_or_else(|| {
            MuxError::plan("packets", format!("file {file} of {}", self.files.len()))
        })
    }

    fn missing(&self, packet: PacketRef) -> MuxError {
        let path = self.path(packet.file).unwrap_or("segment").to_owned();
        let end = self.window_at.saturating_add(self.window.len() as u64);
        MuxError::File {
            path,
            source: past_end(packet.offset, packet.length, end),
        }
    }
}

/// Fills the window as far as the file goes.
fn read_at(file: &File, window: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < window.len() {
        match file.read_at(&mut window[filled..], at.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn past_end(offset: u64, length: u32, end: u64) -> io::Error {
    let reason = format!("{length} bytes at {offset} are asked for, the file ends at {end}");
    io::Error::new(io::ErrorKind::UnexpectedEof, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_from_files_and_literals_in_any_order() {
        let folder = tempfile::tempdir().expect("folder");
        let bytes: Vec<u8> = (0..3 << 20).map(|index: u32| (index % 251) as u8).collect();
        let files: Vec<String> = ["a", "b"]
            .map(|name| folder.path().join(name).display().to_string())
            .to_vec();
        files
            .iter()
            .for_each(|path| std::fs::write(path, &bytes).expect("write"));
        let mut source = Source::new(&files, b"literal");
        for (file, offset, length) in [
            (0, 0, 10),
            (0, 2 << 20, 5),
            (1, 7, 1 << 16),
            (0, 3, 4),
            (1, (3 << 20) - 1, 1),
        ] {
            let packet = PacketRef {
                file,
                length,
                offset,
            };
            let wanted = &bytes[offset as usize..][..length as usize];
            assert_eq!(source.payload(packet).expect("there"), wanted);
        }
        let packet = PacketRef {
            file: LITERAL_FILE,
            length: 3,
            offset: 1,
        };
        assert_eq!(source.payload(packet).expect("there"), b"ite");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("1.seg").display().to_string();
        std::fs::write(&path, [1; 100]).expect("write");
        let files = [path.clone()];
        let mut source = Source::new(&files, b"");
        let mut message = |file, offset| {
            let packet = PacketRef {
                file,
                length: 8,
                offset,
            };
            source
                .payload(packet)
                .map(<[u8]>::to_vec)
                .expect_err("not there")
                .to_string()
        };
        assert!(
            message(0, 96).starts_with(&path) && message(0, 96).contains("the file ends at 100")
        );
        assert!(message(0, u64::MAX).starts_with(&path));
        assert!(message(1, 0).contains("file 1 of 1"));
        assert!(message(LITERAL_FILE, u64::MAX).starts_with("literals"));
    }
}
