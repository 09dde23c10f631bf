//! A disk in memory that behaves like a bad day: for tests.
//!
//! It models what a file system may do to a program that trusts it: writes stay in a page cache until
//! a sync; a failed sync *drops* the dirty pages, so that the next sync succeeds and the bytes are
//! gone (what ext4 does); a power cut keeps an arbitrary choice of the unsynced 512-byte sectors and
//! names. It must never be kinder than a real disk, or the tests above it prove nothing.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, SegmentFile};

/// What a disk writes at once, whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Handles share one disk.
#[derive(Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<State>>);

pub struct FaultyFile {
    disk: FaultyDisk,
    path: PathBuf,
}

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Content>,
    operations: u64,
    faults: Vec<Fault>,
}

/// The operations numbered `first..` (counted from 0 over the disk's life) fail `times` times.
struct Fault {
    operations: Range<u64>,
    errno: i32,
}

#[derive(Clone, Default)]
struct Content {
    /// What a process reads.
    cache: Vec<u8>,
    /// What a power cut certainly leaves.
    durable: Vec<u8>,
    dirty: Vec<Range<usize>>,
    name_durable: bool,
    /// A group sync failed on this file; its own next sync says so.
    owes_error: bool,
}

impl FaultyDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the changing operations with these numbers fail.
    pub fn fail(&self, operations: Range<u64>, errno: i32) {
        self.state().faults.push(Fault { operations, errno });
    }

    /// Changing operations so far: create, write, truncate, remove and the syncs.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The disk after a power cut. `choose` decides for each unsynced sector and each unsynced name
    /// whether it survived.
    pub fn after_power_cut(&self, mut choose: impl FnMut() -> bool) -> FaultyDisk {
        let mut files = BTreeMap::new();
        for (path, content) in &self.state().files {
            if content.name_durable || choose() {
                files.insert(path.clone(), content.after_power_cut(&mut choose));
            }
        }
        FaultyDisk(Arc::new(Mutex::new(State {
            files,
            ..State::default()
        })))
    }

    /// The disk as the next process finds it after `kill -9`: the page cache survives.
    pub fn after_kill(&self) -> FaultyDisk {
        FaultyDisk(Arc::new(Mutex::new(State {
            files: self.state().files.clone(),
            ..State::default()
        })))
    }

    /// The bytes a process reads.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        self.state().files.get(path).map(|file| file.cache.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("no test panics while it holds the disk")
    }

    /// Counts one changing operation and says whether it is allowed.
    fn begin(&self) -> io::Result<()> {
        let mut state = self.state();
        let number = state.operations;
        state.operations += 1;
        let fault = (state.faults.iter()).find(|fault| fault.operations.contains(&number));
        match fault {
            Some(fault) => Err(io::Error::from_raw_os_error(fault.errno)),
            None => Ok(()),
        }
    }

    fn handle(&self, path: &Path) -> io::Result<FaultyFile> {
        match self.state().files.contains_key(path) {
            true => Ok(FaultyFile {
                disk: self.clone(),
                path: path.to_owned(),
            }),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Content {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        self.cache[offset..end].copy_from_slice(bytes);
        self.dirty.push(offset..end);
    }

    fn write_back(&mut self) {
        self.durable.resize(self.cache.len(), 0);
        for range in self.dirty.drain(..) {
            let end = range.end.min(self.cache.len());
            let start = range.start.min(end);
            self.durable[start..end].copy_from_slice(&self.cache[start..end]);
        }
    }

    fn after_power_cut(&self, choose: &mut impl FnMut() -> bool) -> Content {
        let mut kept = self.durable.clone();
        for range in &self.dirty {
            let first = range.start / SECTOR_BYTES;
            for sector in first..range.end.div_ceil(SECTOR_BYTES) {
                let start = range.start.max(sector * SECTOR_BYTES);
                let end = range
                    .end
                    .min((sector + 1) * SECTOR_BYTES)
                    .min(self.cache.len());
                if start < end && choose() {
                    kept.resize(kept.len().max(end), 0);
                    kept[start..end].copy_from_slice(&self.cache[start..end]);
                }
            }
        }
        Content {
            cache: kept.clone(),
            durable: kept,
            name_durable: true,
            ..Content::default()
        }
    }
}

impl Disk for FaultyDisk {
    type File = FaultyFile;

    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        self.begin()
    }

    fn create(&self, path: &Path) -> io::Result<FaultyFile> {
        self.begin()?;
        if self.state().files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        (self.state().files).insert(path.to_owned(), Content::default());
        self.handle(path)
    }

    fn open_for_reading(&self, path: &Path) -> io::Result<FaultyFile> {
        self.handle(path)
    }

    fn open_for_writing(&self, path: &Path) -> io::Result<FaultyFile> {
        self.handle(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.begin()?;
        self.state().files.remove(path);
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state
            .files
            .keys()
            .filter(|path| path.parent() == Some(folder));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.begin()?;
        for (path, content) in &mut self.state().files {
            if path.parent() == Some(folder) {
                content.name_durable = true;
            }
        }
        Ok(())
    }

    /// Fails as the kernel does: the dirty pages are dropped, the error is told once, and which file
    /// it was is told by that file's own next sync.
    fn sync_filesystem(&self, _folder: &Path) -> io::Result<()> {
        let allowed = self.begin();
        for content in self.state().files.values_mut() {
            match allowed {
                Ok(()) => {
                    content.write_back();
                    content.name_durable = true;
                }
                Err(_) => {
                    content.owes_error |= !content.dirty.is_empty();
                    content.dirty.clear();
                }
            }
        }
        allowed
    }
}

impl FaultyFile {
    fn change(&self, action: impl FnOnce(&mut Content)) -> io::Result<()> {
        match self.disk.state().files.get_mut(&self.path) {
            Some(content) => {
                action(content);
                Ok(())
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl SegmentFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let content = state.files.get(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let from = (offset as usize).min(content.cache.len());
        let count = buffer.len().min(content.cache.len() - from);
        buffer[..count].copy_from_slice(&content.cache[from..from + count]);
        Ok(count)
    }

    /// A write that fails has written half.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let allowed = self.disk.begin();
        let written = if allowed.is_ok() {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        self.change(|content| content.write(&bytes[..written], offset as usize))?;
        allowed
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        let content = state.files.get(&self.path).ok_or(io::ErrorKind::NotFound)?;
        Ok(content.cache.len() as u64)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.begin()?;
        self.change(|content| {
            content.cache.truncate(length as usize);
            content.durable.truncate(length as usize);
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let allowed = self.disk.begin();
        let mut owed = false;
        self.change(|content| {
            owed = std::mem::take(&mut content.owes_error);
            match allowed {
                Ok(()) if !owed => content.write_back(),
                _ => content.dirty.clear(),
            }
        })?;
        match owed {
            true => Err(io::Error::from_raw_os_error(libc::EIO)),
            false => allowed,
        }
    }
}
