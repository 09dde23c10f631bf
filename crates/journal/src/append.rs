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
/// Room beyond [`TAIL_MAX_BYTES`] for what describes packets: a mute or a codec that is missing would
/// falsify all that follow, and a thousand of them fit in here.
const NOTES_RESERVE_BYTES: usize = 64 * 1024;
/// Capacity kept for the tail between syncs; what a burst needed beyond it is given back.
const TAIL_KEEP_BYTES: usize = 256 * 1024;

/// Appends to one journal.
pub struct Writer<D: Disk = RealDisk> {
    disk: D,
    folder: PathBuf,
    journal: String,
    meta: serde_json::Value,
    /// None as long as the journal could not be made.
    segment: Option<Segment<D::File>>,
    /// Encoded records that no successful sync covered yet, oldest first.
    tail: Vec<u8>,
    /// How much of the tail is in the segment file (in the page cache, perhaps on the disk).
    written: usize,
    /// Set when the segment's file failed or the journal is not made yet; its words go into the header
    /// of the segment that comes instead.
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

    /// Takes records for a journal that does not exist yet. [`Writer::sync`] makes it, as soon as the
    /// disk allows; until then they wait in memory, as they do for a disk that fails later.
    pub fn unmade(folder: &Path, journal: &str, meta: serde_json::Value) -> Self {
        Self::unmade_on(RealDisk, folder, journal, meta)
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
        let mut writer = Self::unmade_on(disk, folder, journal, meta);
        writer.sync()?;
        Ok(writer)
    }

    /// [`Writer::unmade`] on a given disk.
    pub fn unmade_on(disk: D, folder: &Path, journal: &str, meta: serde_json::Value) -> Self {
        Self {
            disk,
            folder: folder.to_owned(),
            journal: journal.to_owned(),
            meta,
            segment: None,
            tail: Vec::new(),
            written: 0,
            failure: Some("not made yet".to_owned()),
            next_number: 1,
            segment_bytes: SEGMENT_BYTES,
            sealed: false,
            summary: Summary::default(),
            device_errors: 0,
        }
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
        self.check_room(kind)?;
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
        if self.failure.is_some() {
            return Err(self.waiting());
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
        let segment = self.segment.as_ref()?;
        (self.failure.is_none() && self.written > 0).then(|| SyncMark {
            segment: segment.number,
            end: segment.durable_end + self.written as u64,
        })
    }

    /// Says that a group sync which began after `mark` was taken has *succeeded*. When it failed,
    /// call [`Writer::sync`] on every journal instead: it finds out which file is bad.
    pub fn confirm_durable(&mut self, mark: SyncMark) -> Result<()> {
        let current = self.segment.as_ref().map(|segment| segment.number);
        if current == Some(mark.segment) && self.failure.is_none() {
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

    /// RTP packets that wait in memory alone, because the disk did not take them.
    pub fn unwritten_packets(&self) -> u64 {
        let from = if self.failure.is_some() {
            0
        } else {
            self.written
        };
        let mut waiting = &self.tail[from..];
        let mut packets = 0;
        while let Some(record) = format::RecordHeader::decode_or_short(waiting) {
            packets += u64::from(record.kind == RecordType::RTP);
            waiting = &waiting[record.record_bytes().min(waiting.len())..];
        }
        packets
    }

    /// How many times a segment's file failed and was given up.
    pub fn device_errors(&self) -> u64 {
        self.device_errors
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn waiting(&self) -> Error {
        Error::Waiting {
            journal: self.journal.clone(),
            cause: self.failure.clone().unwrap_or_default(),
        }
    }

    fn check_room(&self, kind: RecordType) -> Result<()> {
        if self.sealed {
            return Err(Error::Sealed {
                journal: self.journal.clone(),
            });
        }
        // A gap waits for room as the packets do that it counts: else each of them would get its own.
        let reserve = match kind {
            RecordType::RTP | RecordType::GAP => 0,
            _ => NOTES_RESERVE_BYTES,
        };
        if self.tail.len() >= TAIL_MAX_BYTES + reserve {
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
        let Some(segment) = &self.segment else {
            return Err(self.waiting());
        };
        let offset = segment.durable_end + self.written as u64;
        match (segment.file).write_all_at(&self.tail[self.written..], offset) {
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
        let Some(segment) = &self.segment else {
            return wrote;
        };
        match segment.file.sync_data() {
            Ok(()) => {
                self.release_tail(segment.durable_end + self.written as u64);
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
        let Some(segment) = &mut self.segment else {
            return;
        };
        let released = durable_end.saturating_sub(segment.durable_end) as usize;
        segment.durable_end += released as u64;
        self.tail.drain(..released);
        self.written -= released;
        self.tail.shrink_to(TAIL_KEEP_BYTES);
    }

    fn give_up_segment(&mut self, source: &std::io::Error) {
        self.device_errors += 1;
        self.failure = Some(source.to_string());
    }

    /// Appends the tail to a new segment, which says from where it replaces the failed one. The first
    /// segment of all replaces whatever earlier tries to make it left behind.
    fn replace_segment(&mut self) -> Result<()> {
        let failed = self.segment.as_ref();
        let resumes = (self.next_number > 1).then(|| Resumes {
            segment: failed.map_or(0, |segment| segment.number),
            offset: failed.map_or(0, |segment| segment.durable_end),
            cause: self.failure.clone().unwrap_or_default(),
        });
        if self.segment.is_none() {
            self.make_folder()?;
        }
        self.move_to_new_segment(resumes)?;
        self.failure = None;
        Ok(())
    }

    fn make_folder(&self) -> Result<()> {
        self.disk
            .create_folder(&self.folder)
            .map_err(Error::disk(&self.folder, "create folder"))?;
        // Later a segment in there may be our own, half made.
        match self.next_number {
            1 => refuse_existing_journal(&self.disk, &self.folder),
            _ => Ok(()),
        }
    }

    fn rotate_if_full(&mut self) -> Result<()> {
        let reached = self
            .segment
            .as_ref()
            .map_or(0, |segment| segment.durable_end);
        if self.sealed || reached < self.segment_bytes {
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
        let made = open_segment(&self.disk, &self.folder, &header, &self.tail)?;
        self.segment = Some(made);
        self.tail.clear();
        self.written = 0;
        Ok(())
    }

    fn segment_path(&self) -> PathBuf {
        let number = self.segment.as_ref().map_or(0, |segment| segment.number);
        self.folder.join(format::segment_name(number))
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
