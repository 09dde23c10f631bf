//! The file being made: written once, in order, and hashed on the way so that nothing is read again for the SHA-256.

use std::fs::{File, OpenOptions};
use std::io::Write;

use sha2::{Digest, Sha256};

use crate::error::MuxError;

/// Bytes hashed and written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// A new file with its hash.
pub(crate) struct HashedFile {
    path: String,
    file: File,
    hash: Sha256,
    buffer: Vec<u8>,
    written: u64,
}

/// What is known when the file is complete and durable.
pub(crate) struct Finished {
    pub size_bytes: u64,
    pub sha256: String,
}

impl HashedFile {
    /// Creates the file; one that is already there is never touched (O_EXCL).
    pub fn create(path: &str) -> Result<Self, MuxError> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.map_err(|error| MuxError::file(path, error))?;
        let buffer = Vec::with_capacity(BUFFER_BYTES + (BUFFER_BYTES >> 2));
        Ok(Self {
            path: path.to_owned(),
            file,
            hash: Sha256::new(),
            buffer,
            written: 0,
        })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), MuxError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), MuxError> {
        self.hash.update(&self.buffer);
        self.file
            .write_all(&self.buffer)
            .map_err(|error| MuxError::file(&self.path, error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the rest and makes it durable. The folder entry is the caller's to sync, after the rename.
    pub fn finish(mut self) -> Result<Finished, MuxError> {
        self.flush()?;
        self.file
            .sync_all()
            .map_err(|error| MuxError::file(&self.path, error))?;
        let digest = self.hash.finalize();
        let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Finished {
            size_bytes: self.written,
            sha256,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_whole_file_and_a_file_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("out").display().to_string();
        let mut file = HashedFile::create(&path).expect("new");
        let piece = [7u8; 1000];
        (0..3000).for_each(|_| file.write(&piece).expect("space"));
        let finished = file.finish().expect("durable");
        let bytes = std::fs::read(&path).expect("there");
        assert_eq!(finished.size_bytes, bytes.len() as u64);
        let expected: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(finished.sha256, expected);
        assert!(HashedFile::create(&path).is_err());
    }
}
