//! What the journal asks of a disk, and the real one.
//!
//! [`append`](crate::append), [`read`](crate::read) and [`recover`](crate::recover) touch files only
//! through these two traits, so that a test can put a disk underneath which fails the n-th operation
//! or loses power. Nothing here retries: what an error means is decided by the caller.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

/// Recordings are private: only the server's user may read them.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// One open segment file.
pub trait SegmentFile {
    /// Reads at most `buffer.len()` bytes; 0 means the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`. After an error any part may have been written; writing
    /// the same bytes to the same place again is allowed.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes everything written so far durable. After an error the file must not be trusted beyond
    /// what an earlier success covered: a second call may succeed and lie.
    fn sync_data(&self) -> io::Result<()>;
}

/// The folder operations around it.
pub trait Disk {
    type File: SegmentFile;
    /// Makes the folder and its missing parents; each new name is durable on return.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Makes a file that did not exist; an existing one is an error.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    fn open_for_reading(&self, path: &Path) -> io::Result<Self::File>;
    fn open_for_writing(&self, path: &Path) -> io::Result<Self::File>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Whole or not at all; durable after the next [`Disk::sync_folder`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// File names in the folder, in no order.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Makes the folder's names durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Makes everything on the file system of `folder` durable at once. For hundreds of journals
    /// this costs a ninth of syncing one by one; on an error the caller must sync each file to learn
    /// which one failed.
    fn sync_filesystem(&self, folder: &Path) -> io::Result<()>;
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    type File = File;

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        let parent = match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.create_folder(parent)?;
        match fs::DirBuilder::new().mode(FOLDER_MODE).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_folder(parent)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(path)
    }

    fn open_for_reading(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn open_for_writing(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn sync_filesystem(&self, folder: &Path) -> io::Result<()> {
        let folder = File::open(folder)?;
        // SAFETY: syncfs takes a descriptor that stays open until after the call.
        match unsafe { libc::syncfs(folder.as_raw_fd()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl SegmentFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}
