//! Torn tails and flipped bits: recovery keeps everything that is whole, cuts only what nothing whole
//! follows, and makes nothing up.

mod common;

use std::fs;
use std::path::Path;

use common::{arrival_ns, packet, read_all};
use isotape_journal::{RealDisk, RecordType, Recovery, Writer, recover};
use proptest::prelude::*;
use serde_json::json;

/// A journal of `packets` packets as one segment file's bytes, unsealed, and the ends of its records.
fn journal(packets: u32) -> (Vec<u8>, Vec<usize>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("00000001.seg");
    let mut writer = Writer::create(folder.path(), "j", json!({"peer": "p"})).unwrap();
    let mut ends = vec![fs::metadata(&path).unwrap().len() as usize];
    for number in 0..packets {
        writer
            .append_rtp(arrival_ns(number), &packet(number), false)
            .unwrap();
        writer.flush().unwrap();
        ends.push(fs::metadata(&path).unwrap().len() as usize);
    }
    (fs::read(&path).unwrap(), ends)
}

fn lay_down(folder: &Path, bytes: &[u8]) {
    fs::write(folder.join("00000001.seg"), bytes).unwrap();
}

#[test]
fn a_tail_torn_at_any_byte_costs_only_the_record_it_tears() {
    let (bytes, ends) = journal(6);
    let folder = tempfile::tempdir().unwrap();
    for cut in ends[0]..=bytes.len() {
        lay_down(folder.path(), &bytes[..cut]);
        let whole = ends.iter().rposition(|end| *end <= cut).unwrap();
        let first = recover(folder.path()).unwrap();
        assert_eq!(first.packets, whole as u64, "cut at {cut}");
        assert_eq!(first.torn_bytes, (cut - ends[whole]) as u64, "cut at {cut}");
        let expected: Vec<_> = (0..whole as u32).map(packet).collect();
        let found = read_all(RealDisk, folder.path());
        assert_eq!(found.packets(), expected, "cut at {cut}");
        assert!(found.sealed && found.torn_bytes == 0 && found.damage.is_empty());
        assert_eq!(
            found.of(RecordType::GAP),
            [br#"{"cause":"restart","packets":null}"#]
        );
    }
}

#[test]
fn a_segment_that_died_before_its_header_was_whole_is_removed() {
    let (bytes, ends) = journal(1);
    for cut in 0..ends[0] {
        let folder = tempfile::tempdir().unwrap();
        lay_down(folder.path(), &bytes[..cut]);
        let recovery = recover(folder.path()).unwrap();
        assert_eq!((recovery.records, recovery.torn_bytes), (0, cut as u64));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn an_empty_second_segment_leaves_the_first_one_sealed() {
    let (bytes, _) = journal(3);
    let folder = tempfile::tempdir().unwrap();
    lay_down(folder.path(), &bytes);
    fs::write(folder.path().join("00000002.seg"), b"").unwrap();
    assert_eq!(recover(folder.path()).unwrap().packets, 3);
    let found = read_all(RealDisk, folder.path());
    assert_eq!((found.packets().len(), found.sealed), (3, true));
}

#[test]
fn recovering_twice_changes_nothing() {
    let (bytes, ends) = journal(4);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("00000001.seg");
    lay_down(folder.path(), &bytes[..ends[3] + 5]);
    recover(folder.path()).unwrap();
    let once = fs::read(&path).unwrap();
    let again = recover(folder.path()).unwrap();
    assert!(again.sealed_before && again.torn_bytes == 0);
    assert_eq!(fs::read(&path).unwrap(), once);
}

/// A crash inside recovery's own append: whatever part of gap and seal is there, the next recovery
/// ends with one gap and one seal.
#[test]
fn a_recovery_that_was_interrupted_is_finished() {
    let (bytes, _) = journal(2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("00000001.seg");
    lay_down(folder.path(), &bytes);
    recover(folder.path()).unwrap();
    let recovered = fs::read(&path).unwrap();
    for cut in bytes.len()..recovered.len() {
        lay_down(folder.path(), &recovered[..cut]);
        recover(folder.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), recovered, "cut at {cut}");
    }
}

#[test]
fn garbage_behind_the_last_record_is_cut_even_after_a_seal() {
    let (bytes, _) = journal(2);
    let folder = tempfile::tempdir().unwrap();
    lay_down(folder.path(), &bytes);
    recover(folder.path()).unwrap();
    let path = folder.path().join("00000001.seg");
    let sealed = fs::read(&path).unwrap();
    lay_down(folder.path(), &[&sealed[..], &[0xa5; 2400]].concat());
    let recovery = recover(folder.path()).unwrap();
    assert!(recovery.sealed_before);
    assert_eq!(recovery.torn_bytes, 2400);
    assert_eq!(fs::read(&path).unwrap(), sealed);
}

/// Every single bit of the records between the first and the last.
#[test]
fn a_flipped_bit_costs_one_packet_and_is_reported() {
    let (bytes, ends) = journal(5);
    let folder = tempfile::tempdir().unwrap();
    for bit in ends[1] * 8..ends[4] * 8 {
        let hit = ends.iter().position(|end| bit / 8 < *end).unwrap() as u32 - 1;
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        lay_down(folder.path(), &damaged);
        let found = read_all(RealDisk, folder.path());
        let expected: Vec<_> = (0..5).filter(|number| *number != hit).map(packet).collect();
        assert_eq!(found.packets(), expected, "bit {bit}");
        assert_eq!(found.damage.len(), 1, "bit {bit}");
        let (damage, start) = (found.damage[0], ends[hit as usize]);
        assert_eq!(damage.offset, start as u64);
        assert_eq!(damage.bytes, (ends[hit as usize + 1] - start) as u64);
        assert_eq!(damage.after_ns, arrival_ns(hit - 1));
    }
}

#[test]
fn recovery_keeps_what_stands_behind_damage() {
    let (mut bytes, ends) = journal(5);
    bytes[ends[2] + 30] ^= 0x10;
    let folder = tempfile::tempdir().unwrap();
    lay_down(folder.path(), &bytes);
    let recovery = recover(folder.path()).unwrap();
    let corrupt_bytes = (ends[3] - ends[2]) as u64;
    let expected = Recovery {
        records: 5,
        packets: 4,
        torn_bytes: 0,
        corrupt_bytes,
        sealed_before: false,
    };
    assert_eq!(recovery, expected);
    assert_eq!(read_all(RealDisk, folder.path()).packets().len(), 4);
}

#[test]
fn a_damaged_header_costs_no_packet() {
    let (mut bytes, _) = journal(3);
    bytes[40] ^= 1;
    let folder = tempfile::tempdir().unwrap();
    lay_down(folder.path(), &bytes);
    recover(folder.path()).unwrap();
    let found = read_all(RealDisk, folder.path());
    assert_eq!((found.packets().len(), found.damage.len()), (3, 1));
}

/// A whole record inside a payload is not taken for one, even when the payload's record is damaged:
/// the length of the damaged record is believed first.
#[test]
fn a_record_smuggled_into_a_payload_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("00000001.seg");
    let mut forged = Vec::new();
    isotape_journal::format::encode_record(&mut forged, RecordType::SEAL, 0, arrival_ns(1), b"{}");
    let carrier = [&packet(0)[..], &forged].concat();
    let mut writer = Writer::create(folder.path(), "j", json!({})).unwrap();
    let start = fs::metadata(&path).unwrap().len() as usize;
    writer.append_rtp(arrival_ns(0), &carrier, false).unwrap();
    writer.append_rtp(arrival_ns(1), &packet(1), false).unwrap();
    writer.flush().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[start + 22] ^= 4;
    fs::write(&path, bytes).unwrap();
    let found = read_all(RealDisk, folder.path());
    assert_eq!(found.of(RecordType::SEAL).len(), 0);
    assert_eq!(found.packets(), [packet(1)]);
}

/// Blocks of a journal deleted long ago, laid bare behind the last record by a file system.
#[test]
fn records_of_an_old_journal_behind_the_tail_are_not_believed() {
    let (bytes, _) = journal(2);
    let mut stale = vec![0; 700];
    let day_before = arrival_ns(0) - 86_400 * common::SECOND_NS;
    isotape_journal::format::encode_record(&mut stale, RecordType::RTP, 0, day_before, &packet(9));
    let folder = tempfile::tempdir().unwrap();
    lay_down(folder.path(), &[&bytes[..], &stale].concat());
    let recovery = recover(folder.path()).unwrap();
    assert_eq!(
        (recovery.packets, recovery.torn_bytes),
        (2, stale.len() as u64)
    );
}

proptest! {
    /// Whatever stands in the file, reading ends, and recovery leaves a journal that reads the same.
    #[test]
    fn arbitrary_bytes_never_break_reading(
        packets in 0u32..4,
        cut in 0usize..2000,
        noise in proptest::collection::vec(any::<u8>(), 0..1500),
    ) {
        let (bytes, _) = journal(packets);
        let folder = tempfile::tempdir().unwrap();
        lay_down(folder.path(), &[&bytes[..cut.min(bytes.len())], &noise].concat());
        if let Ok(recovery) = recover(folder.path()) {
            let found = read_all(RealDisk, folder.path());
            prop_assert_eq!(found.packets().len() as u64, recovery.packets);
            prop_assert!(found.torn_bytes == 0);
        }
    }
}
