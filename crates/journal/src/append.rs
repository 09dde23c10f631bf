//! The writer: packets become records, records become durable.
//!
//! The journal thread owns one [`Writer`] for each recorded Track. For every packet it calls
//! [`Writer::append_rtp`], which only copies into memory; once for each batch [`Writer::flush`], one
//! write into the page cache, after which a killed process loses nothing; and four times a second
//! [`Writer::sync`] (or one `syncfs` for all journals and [`Writer::confirm_durable`]), after which a
//! power cut loses nothing. [`Writer::seal`] ends the journal; [`crate::recover`] does so for writers
//! that died.
//!
//! Records stay in memory until a sync covered them. This is what makes a failed sync harmless: the
//! file is dead from then on, its synced part counts, and the rest is appended again to a new segment.
//! A file whose sync failed must never be synced again: the second call succeeds and the data is gone.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::disk::{Disk, RealDisk, SegmentFile};
use crate::error::{Error, Result};
use crate::format::{
    self, FLAG_REPAIRED, MAGIC, RecordType, Resumes, SEGMENT_BYTES, Seal, SegmentHeader,
    SenderReport,
};

/// Most bytes held for a disk that does not answer: 13 s of 720p video. Beyond it records are refused
/// and the caller counts them into a gap, because 400 such journals already hold 1.6 GB.
const TAIL_MAX_BYTES: usize = 4 * 1024 * 1024;
/// A tail this large syncs by itself, so that a slow group sync does not lead to refused records.
const TAIL_SYNC_BYTES: usize = TAIL_MAX_BYTES / 2;
/// Capacity kept for the tail between syncs; what a burst needed beyond it is given back.
const TAIL_KEEP_BYTES: usize = 256 * 1024;

/// Appends to one journal.
pub struct Writer<D: Disk = RealDisk> {
    disk: D,
    folder: PathBuf,
    journal: String,
    meta: serde_json::Value,
    segment: Segment<D::File>,
    /// Encoded records that no successful sync covered yet, oldest first.
    tail: Vec<u8>,
    /// How much of the tail is in the segment file (in the page cache, perhaps on the disk).
    written: usize,
    /// Set when the segment's file failed; its words go into the replacing segment's header.
    failure: Option<String>,
    next_number: u32,
    segment_bytes: u64,
    sealed: bool,
    summary: Summary,
    device_errors: u64,
}

pub(crate) struct Segment<F> {
    file: F,
    number: u32,
    /// Everything before this offset is durable; the tail belongs here.
    durable_end: u64,
}

/// What a journal holds so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// RTP packets.
    pub packets: u64,
    /// All records with their headers, as appended; segment headers are not counted.
    pub bytes: u64,
    /// Of the first RTP packet appended.
    pub first_arrival_ns: Option<u64>,
    /// The latest of any RTP packet.
    pub last_arrival_ns: Option<u64>,
}

/// How far a journal was flushed when a group sync began; see [`Writer::confirm_durable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncMark {
    segment: u32,
    end: u64,
}

impl Writer<RealDisk> {
    /// Makes the folder and its first segment, both durable on return. `meta` is a JSON object that
    /// readers find in the header. A folder that already holds a journal is refused.
    pub fn create(folder: &Path, journal: &str, meta: serde_json::Value) -> Result<Self> {
        Self::create_on(RealDisk, folder, journal, meta)
    }
}

impl<D: Disk> Writer<D> {
    /// [`Writer::create`] on a given disk.
    pub fn create_on(
        disk: D,
        folder: &Path,
        journal: &str,
        meta: serde_json::Value,
    ) -> Result<Self> {
        disk.create_folder(folder)
            .map_err(Error::disk(folder, "create folder"))?;
        refuse_existing_journal(&disk, folder)?;
        let header = SegmentHeader {
            version: format::VERSION,
            journal: journal.to_owned(),
            segment: 1,
            resumes: None,
            meta: meta.clone(),
        };
        let segment = open_segment(&disk, folder, &header, &[])?;
        Ok(Self {
            disk,
            folder: folder.to_owned(),
            journal: journal.to_owned(),
            meta,
            segment,
            tail: Vec::new(),
            written: 0,
            failure: None,
            next_number: 2,
            segment_bytes: SEGMENT_BYTES,
            sealed: false,
            summary: Summary::default(),
            device_errors: 0,
        })
    }

    /// Rotates at another size than [`SEGMENT_BYTES`].
    pub fn with_segment_bytes(mut self, segment_bytes: u64) -> Self {
        self.segment_bytes = segment_bytes;
        self
    }

    /// Takes one RTP packet: after decryption, header and extensions as received. `repaired` says
    /// that it came by retransmission and stands here as the packet it repairs.
    pub fn append_rtp(&mut self, arrival_ns: u64, packet: &[u8], repaired: bool) -> Result<()> {
        let flags = if repaired { FLAG_REPAIRED } else { 0 };
        self.append(RecordType::RTP, flags, arrival_ns, packet)
    }

    pub fn append_sender_report(&mut self, arrival_ns: u64, report: &SenderReport) -> Result<()> {
        self.append(RecordType::SENDER_REPORT, 0, arrival_ns, &report.encode())
    }

    /// Takes one record of any type but header and seal, which only the writer makes. No I/O.
    /// On an error the record was not taken.
    pub fn append(
        &mut self,
        kind: RecordType,
        flags: u8,
        arrival_ns: u64,
        payload: &[u8],
    ) -> Result<()> {
        let reserved = matches!(kind, RecordType::HEADER | RecordType::SEAL);
        if reserved || !format::is_well_formed(kind, payload) {
            return Err(Error::BadRecord {
                journal: self.journal.clone(),
                kind,
                bytes: payload.len(),
            });
        }
        self.check_room()?;
        self.encode(kind, flags, arrival_ns, payload);
        if kind == RecordType::RTP {
            self.count_packet(arrival_ns);
        }
        Ok(())
    }

    /// Hands everything appended so far to the operating system. After this a killed process loses
    /// nothing; a power cut may. A file that fails is replaced on the spot, see [`Writer::sync`]. On
    /// an error the records are still held; only [`Writer::sync`] tries another segment, so that a
    /// broken disk is asked four times a second and not once for each batch.
    pub fn flush(&mut self) -> Result<()> {
        if let Some(cause) = &self.failure {
            return Err(Error::Waiting {
                journal: self.journal.clone(),
                cause: cause.clone(),
            });
        }
        if self.tail.len() > TAIL_SYNC_BYTES {
            return self.sync();
        }
        match self.write_tail() {
            Err(_) if self.failure.is_some() => self.sync(),
            result => result,
        }
    }

    /// Makes everything appended so far durable. A file that fails to sync is replaced by a new
    /// segment on the spot; that is a success, counted by [`Writer::device_errors`]. On an error
    /// nothing was lost yet; call again after the next interval.
    pub fn sync(&mut self) -> Result<()> {
        if self.failure.is_none() {
            match self.sync_segment() {
                Err(error) if self.failure.is_none() => return Err(error),
                _ => {}
            }
        }
        if self.failure.is_some() {
            self.replace_segment()?;
        }
        self.rotate_if_full()
    }

    /// Taken before a group sync begins. `None` when nothing waits for one.
    pub fn sync_mark(&self) -> Option<SyncMark> {
        (self.failure.is_none() && self.written > 0).then(|| SyncMark {
            segment: self.segment.number,
            end: self.segment.durable_end + self.written as u64,
        })
    }

    /// Says that a group sync which began after `mark` was taken has *succeeded*. When it failed,
    /// call [`Writer::sync`] on every journal instead: it finds out which file is bad.
    pub fn confirm_durable(&mut self, mark: SyncMark) -> Result<()> {
        if mark.segment == self.segment.number && self.failure.is_none() {
            self.release_tail(mark.end);
        }
        self.rotate_if_full()
    }

    /// Ends the journal durably. After an error it may be called again; nothing else can be
    /// appended. The reason goes into the seal record.
    pub fn seal(&mut self, arrival_ns: u64, reason: &str) -> Result<Summary> {
        if !self.sealed {
            let seal = Seal {
                reason: reason.to_owned(),
                packets: self.summary.packets,
            };
            let payload = serde_json::to_vec(&seal).expect("a seal is plain JSON");
            self.encode(RecordType::SEAL, 0, arrival_ns, &payload);
            self.sealed = true;
        }
        self.sync()?;
        self.disk
            .sync_folder(&self.folder)
            .map_err(Error::disk(&self.folder, "sync folder"))?;
        Ok(self.summary)
    }

    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Bytes that a power cut would lose now.
    pub fn unsynced_bytes(&self) -> usize {
        self.tail.len()
    }

    /// Bytes that a killed process would lose now.
    pub fn unflushed_bytes(&self) -> usize {
        self.tail.len() - self.written
    }

    /// How many times a segment's file failed and was given up.
    pub fn device_errors(&self) -> u64 {
        self.device_errors
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn check_room(&self) -> Result<()> {
        if self.sealed {
            return Err(Error::Sealed {
                journal: self.journal.clone(),
            });
        }
        if self.tail.len() >= TAIL_MAX_BYTES {
            return Err(Error::TailFull {
                journal: self.journal.clone(),
                held_bytes: self.tail.len(),
            });
        }
        Ok(())
    }

    fn encode(&mut self, kind: RecordType, flags: u8, arrival_ns: u64, payload: &[u8]) {
        let before = self.tail.len();
        format::encode_record(&mut self.tail, kind, flags, arrival_ns, payload);
        self.summary.bytes += (self.tail.len() - before) as u64;
    }

    fn count_packet(&mut self, arrival_ns: u64) {
        self.summary.packets += 1;
        self.summary.first_arrival_ns.get_or_insert(arrival_ns);
        self.summary.last_arrival_ns = self.summary.last_arrival_ns.max(Some(arrival_ns));
    }

    /// Writes what the file lacks. A full disk leaves the file good: the same bytes go to the same
    /// place when there is room again. Any other error means that the file must be replaced.
    fn write_tail(&mut self) -> Result<()> {
        if self.written == self.tail.len() {
            return Ok(());
        }
        let offset = self.segment.durable_end + self.written as u64;
        match (self.segment.file).write_all_at(&self.tail[self.written..], offset) {
            Ok(()) => {
                self.written = self.tail.len();
                Ok(())
            }
            Err(source) => {
                if !is_disk_full(&source) {
                    self.give_up_segment(&source);
                }
                Err(Error::disk(&self.segment_path(), "append")(source))
            }
        }
    }

    /// Syncs what the file holds even when no more could be written: after a failed group sync this
    /// is the only call that tells whether this file was the bad one.
    fn sync_segment(&mut self) -> Result<()> {
        let wrote = self.write_tail();
        if self.written == 0 || self.failure.is_some() {
            return wrote;
        }
        match self.segment.file.sync_data() {
            Ok(()) => {
                self.release_tail(self.segment.durable_end + self.written as u64);
                wrote
            }
            Err(source) => {
                self.give_up_segment(&source);
                Err(Error::disk(&self.segment_path(), "sync")(source))
            }
        }
    }

    /// Forgets the part of the tail that ends at `durable_end` in the segment.
    fn release_tail(&mut self, durable_end: u64) {
        let released = durable_end.saturating_sub(self.segment.durable_end) as usize;
        self.tail.drain(..released);
        self.written -= released;
        self.segment.durable_end += released as u64;
        self.tail.shrink_to(TAIL_KEEP_BYTES);
    }

    fn give_up_segment(&mut self, source: &std::io::Error) {
        self.device_errors += 1;
        self.failure = Some(source.to_string());
    }

    /// Appends the tail to a new segment, which says from where it replaces the failed one.
    fn replace_segment(&mut self) -> Result<()> {
        let resumes = self.failure.clone().map(|cause| Resumes {
            segment: self.segment.number,
            offset: self.segment.durable_end,
            cause,
        });
        self.move_to_new_segment(resumes)?;
        self.failure = None;
        Ok(())
    }

    fn rotate_if_full(&mut self) -> Result<()> {
        if self.sealed || self.segment.durable_end < self.segment_bytes {
            return Ok(());
        }
        // A segment is only left when it holds the whole tail and is durable to its end: so a power
        // cut can tear the last segment alone, and no half-written record stands in two segments.
        if !self.tail.is_empty() {
            self.sync_segment()?;
        }
        self.move_to_new_segment(None)
    }

    /// The new segment holds its header and the tail, durable on return. After an error the writer
    /// stands where it stood; the number of the half-made segment is not used again.
    fn move_to_new_segment(&mut self, resumes: Option<Resumes>) -> Result<()> {
        let header = SegmentHeader {
            version: format::VERSION,
            journal: self.journal.clone(),
            segment: self.next_number,
            resumes,
            meta: self.meta.clone(),
        };
        self.next_number += 1;
        self.segment = open_segment(&self.disk, &self.folder, &header, &self.tail)?;
        self.tail.clear();
        self.written = 0;
        Ok(())
    }

    fn segment_path(&self) -> PathBuf {
        self.folder.join(format::segment_name(self.segment.number))
    }
}

/// Makes a segment of a header and some records, durable together with its name. It gets the name
/// that readers look for when it is whole: a half-made replacement must not put the records aside
/// that it was to replace.
pub(crate) fn open_segment<D: Disk>(
    disk: &D,
    folder: &Path,
    header: &SegmentHeader,
    records: &[u8],
) -> Result<Segment<D::File>> {
    let path = folder.join(format::segment_name(header.segment));
    let json = serde_json::to_vec(header).expect("a header is plain JSON");
    if !format::is_well_formed(RecordType::HEADER, &json) {
        return Err(Error::BadRecord {
            journal: header.journal.clone(),
            kind: RecordType::HEADER,
            bytes: json.len(),
        });
    }
    let mut bytes = MAGIC.to_vec();
    format::encode_record(&mut bytes, RecordType::HEADER, 0, 0, &json);
    bytes.extend_from_slice(records);
    let unfinished = folder.join(format::unfinished_segment_name(header.segment));
    let made = write_new_file(disk, &unfinished, &bytes).and_then(|file| {
        disk.rename(&unfinished, &path)
            .map_err(Error::disk(&path, "name"))?;
        disk.sync_folder(folder)
            .map_err(Error::disk(folder, "sync folder"))?;
        Ok(file)
    });
    match made {
        Ok(file) => Ok(Segment {
            file,
            number: header.segment,
            durable_end: bytes.len() as u64,
        }),
        Err(error) => {
            // Best effort: a disk that fails for hours would otherwise collect four files a second.
            // One that stays is harmless, the header of the segment that comes instead disowns it.
            let _ = disk.remove(&unfinished);
            let _ = disk.remove(&path);
            Err(error)
        }
    }
}

fn write_new_file<D: Disk>(disk: &D, path: &Path, bytes: &[u8]) -> Result<D::File> {
    let file = disk.create(path).map_err(Error::disk(path, "create"))?;
    file.write_all_at(bytes, 0)
        .map_err(Error::disk(path, "write header"))?;
    file.sync_data().map_err(Error::disk(path, "sync"))?;
    Ok(file)
}

fn refuse_existing_journal<D: Disk>(disk: &D, folder: &Path) -> Result<()> {
    let names = disk
        .list(folder)
        .map_err(Error::disk(folder, "list segments"))?;
    match names
        .iter()
        .any(|name| format::segment_number(name).is_some())
    {
        true => Err(Error::disk(folder, "create journal")(
            std::io::ErrorKind::AlreadyExists.into(),
        )),
        false => Ok(()),
    }
}

fn is_disk_full(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSPC) | Some(libc::EDQUOT)
    )
}
