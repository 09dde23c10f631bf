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

type Names = BTreeMap<PathBuf, Inode>;
type Inode = usize;

/// Handles share one disk.
#[derive(Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<State>>);

pub struct FaultyFile {
    disk: FaultyDisk,
    inode: Inode,
}

#[derive(Default)]
struct State {
    /// As a process sees them, and as a power cut certainly leaves them.
    names: Names,
    durable_names: Names,
    contents: Vec<Content>,
    operations: u64,
    faults: Vec<Fault>,
}

/// The operations with these numbers (counted from 0 over the disk's life) fail.
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

    /// Changing operations so far: create, write, truncate, rename, remove and the syncs.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The disk after a power cut. `choose` decides for each unsynced sector and each unsynced change
    /// of a name whether it survived.
    pub fn after_power_cut(&self, mut choose: impl FnMut() -> bool) -> FaultyDisk {
        let state = self.state();
        let mut names = state.durable_names.clone();
        for path in state.names.keys().chain(state.durable_names.keys()) {
            let (now, durable) = (state.names.get(path), state.durable_names.get(path));
            if now == durable || !choose() {
                continue;
            }
            match now {
                Some(inode) => names.insert(path.clone(), *inode),
                None => names.remove(path),
            };
        }
        let contents = state.contents.iter();
        let kept = contents.map(|content| content.after_power_cut(&mut choose));
        FaultyDisk::restarted(names.clone(), names, kept.collect())
    }

    /// The disk as the next process finds it after `kill -9`: the page cache survives.
    pub fn after_kill(&self) -> FaultyDisk {
        let state = self.state();
        let (names, durable_names) = (state.names.clone(), state.durable_names.clone());
        FaultyDisk::restarted(names, durable_names, state.contents.clone())
    }

    fn restarted(names: Names, durable_names: Names, contents: Vec<Content>) -> FaultyDisk {
        FaultyDisk(Arc::new(Mutex::new(State {
            names,
            durable_names,
            contents,
            ..State::default()
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        (self.0.lock()).expect("no test panics while it holds the disk")
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
        let inode = self.state().names.get(path).copied();
        Ok(FaultyFile {
            disk: self.clone(),
            inode: inode.ok_or(io::ErrorKind::NotFound)?,
        })
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
                let end = (range.end.min((sector + 1) * SECTOR_BYTES)).min(self.cache.len());
                if start < end && choose() {
                    kept.resize(kept.len().max(end), 0);
                    kept[start..end].copy_from_slice(&self.cache[start..end]);
                }
            }
        }
        Content {
            cache: kept.clone(),
            durable: kept,
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
        let mut state = self.state();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.contents.len();
        state.contents.push(Content::default());
        state.names.insert(path.to_owned(), inode);
        drop(state);
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
        self.state().names.remove(path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin()?;
        let mut state = self.state();
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = (state.names.keys()).filter(|path| path.parent() == Some(folder));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    /// All folders at once: no test has two.
    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        self.begin()?;
        let mut state = self.state();
        state.durable_names = state.names.clone();
        Ok(())
    }

    /// Fails as the kernel does: the dirty pages are dropped, the error is told once, and which file
    /// it was is told by that file's own next sync.
    fn sync_filesystem(&self, _folder: &Path) -> io::Result<()> {
        let allowed = self.begin();
        let mut state = self.state();
        if allowed.is_ok() {
            state.durable_names = state.names.clone();
        }
        for content in &mut state.contents {
            if allowed.is_ok() {
                content.write_back();
            } else {
                content.owes_error |= !content.dirty.is_empty();
                content.dirty.clear();
            }
        }
        allowed
    }
}

impl SegmentFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let cache = &self.disk.state().contents[self.inode].cache;
        let from = (offset as usize).min(cache.len());
        let count = buffer.len().min(cache.len() - from);
        buffer[..count].copy_from_slice(&cache[from..from + count]);
        Ok(count)
    }

    /// A write that fails has written half.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let allowed = self.disk.begin();
        let written = match allowed {
            Ok(()) => bytes.len(),
            Err(_) => bytes.len() / 2,
        };
        self.disk.state().contents[self.inode].write(&bytes[..written], offset as usize);
        allowed
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().contents[self.inode].cache.len() as u64)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.begin()?;
        let content = &mut self.disk.state().contents[self.inode];
        content.cache.truncate(length as usize);
        content.durable.truncate(length as usize);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let allowed = self.disk.begin();
        let content = &mut self.disk.state().contents[self.inode];
        if std::mem::take(&mut content.owes_error) {
            content.dirty.clear();
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        match allowed {
            Ok(()) => content.write_back(),
            Err(_) => content.dirty.clear(),
        }
        allowed
    }
}
