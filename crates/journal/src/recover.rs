//! After a crash: an unsealed journal is cut behind its last good record and sealed.
//!
//! Runs at start, before anything is planned from the journal, for every folder whose last record is
//! no seal. Running it again, or dying in the middle of it, changes nothing: what is good stays byte
//! for byte, and a sealed journal is left alone. It must never cut anything a good record follows.

use std::path::Path;

use serde::Serialize;

use crate::append::open_segment;
use crate::disk::{Disk, RealDisk, SegmentFile};
use crate::error::{Error, Result};
use crate::format::{self, MAGIC, RecordType, Resumes, Seal, SegmentHeader};
use crate::read::{Reader, Tail};

/// Names the step whose failure means that the file must not be trusted.
const SYNC: &str = "sync";

/// What recovery found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// Good records, segment headers included, before recovery added its own.
    pub records: u64,
    /// RTP packets among them.
    pub packets: u64,
    /// Bytes cut from the end.
    pub torn_bytes: u64,
    /// Bytes inside the journal that are damaged; they stay where they are.
    pub corrupt_bytes: u64,
    pub sealed_before: bool,
}

/// Recovers one journal folder. A folder without any readable record is left empty and unsealed.
pub fn recover(folder: &Path) -> Result<Recovery> {
    recover_on(RealDisk, folder)
}

/// [`recover`] on a given disk.
pub fn recover_on<D: Disk + Clone>(disk: D, folder: &Path) -> Result<Recovery> {
    remove_unfinished(&disk, folder)?;
    let mut cut_bytes = 0;
    loop {
        let mut reader = Reader::open_on(disk.clone(), folder)?;
        let mut recovery = survey(&mut reader)?;
        recovery.torn_bytes += cut_bytes;
        let Some(path) = reader.files().get(reader.tail().file) else {
            return Ok(recovery);
        };
        let tail = reader.tail();
        if tail.good_end > MAGIC.len() as u64 {
            match end_in_place(&disk, path, &reader, &recovery) {
                Err(error) if is_failed_sync(&error) => copy_segment(&disk, folder, tail, &error)?,
                result => result?,
            }
            sync_folder(&disk, folder)?;
            return Ok(recovery);
        }
        // The crash fell between making the segment and making its header durable: there is nothing
        // in it. The segment before it is then the last one, and is looked at in the same way.
        cut_bytes += tail.good_end + tail.torn_bytes;
        disk.remove(path)
            .map_err(Error::disk(path, "remove empty segment"))?;
        sync_folder(&disk, folder)?;
    }
}

/// Segments that never got their name. The records in them stand in the segment they were to replace
/// or were never durable.
fn remove_unfinished<D: Disk>(disk: &D, folder: &Path) -> Result<()> {
    let names = disk
        .list(folder)
        .map_err(Error::disk(folder, "list segments"))?;
    for name in names.iter().filter(|name| format::is_unfinished(name)) {
        let path = folder.join(name);
        disk.remove(&path)
            .map_err(Error::disk(&path, "remove unfinished segment"))?;
    }
    Ok(())
}

fn survey<D: Disk>(reader: &mut Reader<D>) -> Result<Recovery> {
    let mut recovery = Recovery::default();
    while let Some(record) = reader.next_record()? {
        recovery.records += 1;
        recovery.packets += u64::from(record.kind == RecordType::RTP);
    }
    recovery.torn_bytes = reader.torn_bytes();
    recovery.corrupt_bytes = reader.damage().iter().map(|damage| damage.bytes).sum();
    recovery.sealed_before = reader.sealed();
    Ok(recovery)
}

/// Cuts and seals. What the dead process had not synced is made durable by the same sync.
fn end_in_place<D: Disk>(
    disk: &D,
    path: &Path,
    reader: &Reader<D>,
    recovery: &Recovery,
) -> Result<()> {
    let tail = reader.tail();
    let file = disk
        .open_for_writing(path)
        .map_err(Error::disk(path, "open"))?;
    if tail.torn_bytes > 0 {
        file.truncate(tail.good_end)
            .map_err(Error::disk(path, "cut torn tail"))?;
    }
    if !recovery.sealed_before {
        file.write_all_at(&end_records(reader, recovery.packets), tail.good_end)
            .map_err(Error::disk(path, "append seal"))?;
    }
    file.sync_data().map_err(Error::disk(path, SYNC))
}

/// The gap says that the server stopped here; the seal that nothing follows. Both carry the time of
/// the last record, because recovery knows no other. A gap that an interrupted recovery already wrote
/// is not written twice.
fn end_records<D: Disk>(reader: &Reader<D>, packets: u64) -> Vec<u8> {
    let arrival_ns = reader.last_arrival_ns();
    let mut bytes = Vec::new();
    if reader.last_kind() != Some(RecordType::GAP) {
        let gap = br#"{"cause":"restart","packets":null}"#;
        format::encode_record(&mut bytes, RecordType::GAP, 0, arrival_ns, gap);
    }
    let seal = Seal {
        reason: "recovered".to_owned(),
        packets,
    };
    let seal = serde_json::to_vec(&seal).expect("a seal is plain JSON");
    format::encode_record(&mut bytes, RecordType::SEAL, 0, arrival_ns, &seal);
    bytes
}

fn is_failed_sync(error: &Error) -> bool {
    matches!(error, Error::Disk { action: SYNC, .. })
}

/// The file failed to sync, so what can be read of it may exist in memory alone. A second sync would
/// succeed and prove nothing: everything readable goes to a new segment that replaces this one.
fn copy_segment<D: Disk + Clone>(
    disk: &D,
    folder: &Path,
    tail: Tail,
    failure: &Error,
) -> Result<()> {
    let mut reader = Reader::open_on(disk.clone(), folder)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        if record.file == tail.file && record.kind != RecordType::HEADER {
            let (kind, flags) = (record.kind, record.flags);
            format::encode_record(&mut records, kind, flags, record.arrival_ns, record.payload);
        }
    }
    let failed = reader.number_of(tail.file);
    let mut header: SegmentHeader = reader
        .header()
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_else(|| SegmentHeader::nameless(failed));
    header.segment = failed + 1;
    header.resumes = Some(Resumes {
        segment: failed,
        offset: MAGIC.len() as u64,
        cause: failure.to_string(),
    });
    open_segment(disk, folder, &header, &records).map(drop)
}

fn sync_folder<D: Disk>(disk: &D, folder: &Path) -> Result<()> {
    disk.sync_folder(folder)
        .map_err(Error::disk(folder, "sync folder"))
}
