//! Disks that fail and lose power. The promise: what `sync` confirmed is never lost, what `flush`
//! handed over survives a kill, and no record appears twice or out of order, whatever fails when.

mod common;

use std::path::Path;

use common::{arrival_ns, packet, read_all};
use isotape_journal::faulty::FaultyDisk;
use isotape_journal::recover::recover_on;
use isotape_journal::{Disk, Error, RecordType, Writer};
use proptest::prelude::*;
use serde_json::json;

const FOLDER: &str = "/journals/s/j";
const SEGMENT_BYTES: u64 = 3_000;

fn writer_on(disk: &FaultyDisk) -> Writer<FaultyDisk> {
    Writer::create_on(disk.clone(), Path::new(FOLDER), "j", json!({}))
        .expect("the disk is still good")
        .with_segment_bytes(SEGMENT_BYTES)
}

fn append(writer: &mut Writer<FaultyDisk>, numbers: std::ops::Range<u32>) {
    for number in numbers {
        writer
            .append_rtp(arrival_ns(number), &packet(number), false)
            .unwrap();
    }
}

fn expected(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    numbers.map(packet).collect()
}

#[test]
fn a_journal_whose_making_failed_can_be_made_again() {
    for failing in 0..6 {
        let disk = FaultyDisk::new();
        disk.fail(failing..failing + 1, libc::ENOSPC);
        let folder = Path::new(FOLDER);
        assert!(Writer::create_on(disk.clone(), folder, "j", json!({})).is_err());
        assert_eq!(disk.list(folder).unwrap().len(), 0);
        writer_on(&disk);
    }
}

/// Each try may leave a half-made segment behind, which must count for nothing.
#[test]
fn what_waited_for_a_journal_that_could_not_be_made_stands_in_it_once() {
    for failing in 0..6 {
        let disk = FaultyDisk::new();
        disk.fail(failing..20, libc::ENOSPC);
        let folder = Path::new(FOLDER);
        let mut writer = Writer::unmade_on(disk.clone(), folder, "j", json!({}));
        append(&mut writer, 0..4);
        while writer.sync().is_err() {
            assert!(matches!(writer.flush(), Err(Error::Waiting { .. })));
            assert_eq!(writer.unwritten_packets(), 4);
        }
        assert_eq!(writer.unwritten_packets(), 0);
        append(&mut writer, 4..8);
        writer.seal(arrival_ns(8), "end").unwrap();
        for disk in [disk.clone(), disk.after_power_cut(|| false)] {
            let found = read_all(disk, folder);
            assert_eq!(found.packets(), expected(0..8), "failing from {failing}");
            assert!(found.sealed && found.damage.is_empty());
        }
    }
}

#[test]
fn what_describes_packets_finds_room_when_they_do_not() {
    let disk = FaultyDisk::new();
    let mut writer = Writer::unmade_on(disk, Path::new(FOLDER), "j", json!({}));
    let large = vec![0x80; 60_000];
    while writer.append_rtp(0, &large, false).is_ok() {}
    let gap = br#"{"cause":"server","packets":1}"#;
    assert!(writer.append(RecordType::GAP, 0, 0, gap).is_err());
    let mute = br#"{"muted":true}"#;
    let notes = (0..100_000).take_while(|_| writer.append(RecordType::MUTE, 0, 0, mute).is_ok());
    let kept = notes.count();
    assert!((1_000..3_000).contains(&kept), "{kept} notes, and no more");
}

#[test]
fn after_a_failed_sync_the_tail_stands_once_in_a_new_segment() {
    let disk = FaultyDisk::new();
    let mut writer = writer_on(&disk);
    append(&mut writer, 0..3);
    writer.sync().unwrap();
    append(&mut writer, 3..6);
    writer.flush().unwrap();
    let sync = disk.operations();
    disk.fail(sync..sync + 1, libc::EIO);
    writer.sync().unwrap();
    assert_eq!((writer.device_errors(), writer.unsynced_bytes()), (1, 0));

    // Both the process that goes on and the one after a power cut see every packet once.
    assert_eq!(
        read_all(disk.clone(), Path::new(FOLDER)).packets(),
        expected(0..6)
    );
    let cut = disk.after_power_cut(|| false);
    assert_eq!(read_all(cut, Path::new(FOLDER)).packets(), expected(0..6));
    append(&mut writer, 6..9);
    writer.seal(arrival_ns(9), "end").unwrap();
    let found = read_all(disk, Path::new(FOLDER));
    assert_eq!(found.packets(), expected(0..9));
    assert!(found.sealed);
}

/// The core loop: the n-th operation fails once, for all n and both kinds of error.
#[test]
fn one_failing_operation_at_any_point_loses_nothing() {
    for errno in [libc::EIO, libc::ENOSPC] {
        for failing in 6.. {
            let disk = FaultyDisk::new();
            disk.fail(failing..failing + 1, errno);
            let mut writer = writer_on(&disk);
            for batch in 0..20 {
                append(&mut writer, batch * 4..batch * 4 + 4);
                let _ = writer.flush();
                if batch % 3 == 2 {
                    let _ = writer.sync();
                }
            }
            if writer.seal(arrival_ns(80), "end").is_err() {
                writer.seal(arrival_ns(80), "end").unwrap();
            }
            for disk in [disk.clone(), disk.after_power_cut(|| false)] {
                let found = read_all(disk, Path::new(FOLDER));
                assert_eq!(found.packets(), expected(0..80), "{errno} at {failing}");
                assert!(
                    found.sealed && found.damage.is_empty(),
                    "{errno} at {failing}"
                );
            }
            if disk.operations() <= failing {
                assert!(failing > 40, "the loop covered {failing} operations");
                break;
            }
        }
    }
}

#[test]
fn a_disk_that_stays_broken_is_waited_for_and_then_refuses() {
    let disk = FaultyDisk::new();
    let mut writer = writer_on(&disk);
    append(&mut writer, 0..4);
    writer.sync().unwrap();
    let broken = disk.operations();
    disk.fail(broken..broken + 40, libc::EIO);
    append(&mut writer, 4..8);
    assert!(matches!(writer.flush(), Err(Error::Disk { .. })));
    assert!(matches!(writer.flush(), Err(Error::Waiting { .. })));
    while disk.operations() < broken + 40 {
        assert!(writer.sync().is_err());
    }
    writer.sync().unwrap();
    assert_eq!(
        read_all(disk.clone(), Path::new(FOLDER)).packets(),
        expected(0..8)
    );
    assert_eq!(
        disk.list(Path::new(FOLDER)).unwrap().len(),
        2,
        "half-made segments are removed"
    );

    let full = disk.operations();
    disk.fail(full..u64::MAX, libc::ENOSPC);
    let mut number = 8;
    let refusal = loop {
        match writer.append_rtp(arrival_ns(number), &packet(number), false) {
            Ok(()) => number += 1,
            Err(refusal) => break refusal,
        }
    };
    assert!(matches!(refusal, Error::TailFull { held_bytes, .. } if held_bytes < 5 << 20));
    assert_eq!(
        writer.summary().packets,
        u64::from(number),
        "refused packets are not counted"
    );
}

#[test]
fn a_full_disk_is_written_on_in_place_when_there_is_room_again() {
    let disk = FaultyDisk::new();
    let mut writer = writer_on(&disk);
    let full = disk.operations();
    disk.fail(full..full + 3, libc::ENOSPC);
    append(&mut writer, 0..4);
    for _ in 0..3 {
        let error = writer.flush().unwrap_err();
        assert_eq!(error.os_error(), Some(libc::ENOSPC));
    }
    writer.sync().unwrap();
    assert_eq!(writer.device_errors(), 0);
    assert_eq!(read_all(disk, Path::new(FOLDER)).packets(), expected(0..4));
}

#[test]
fn a_group_sync_confirms_what_it_covered_and_no_more() {
    let disk = FaultyDisk::new();
    let mut writer = writer_on(&disk);
    append(&mut writer, 0..2);
    writer.flush().unwrap();
    let mark = writer.sync_mark().unwrap();
    disk.sync_filesystem(Path::new(FOLDER)).unwrap();
    append(&mut writer, 2..4);
    writer.flush().unwrap();
    writer.confirm_durable(mark).unwrap();
    assert!(writer.unsynced_bytes() > 0);

    // The group sync fails and names no file; each journal's own sync finds out.
    let failing = disk.operations();
    disk.fail(failing..failing + 1, libc::EIO);
    assert!(disk.sync_filesystem(Path::new(FOLDER)).is_err());
    writer.sync().unwrap();
    let cut = disk.after_power_cut(|| false);
    assert_eq!(read_all(cut, Path::new(FOLDER)).packets(), expected(0..4));
}

/// A batch that a full disk took in half is not left behind in the old segment.
#[test]
fn a_full_segment_with_a_half_written_batch_is_finished_before_the_next_one() {
    let disk = FaultyDisk::new();
    let mut writer = writer_on(&disk);
    append(&mut writer, 0..16);
    writer.flush().unwrap();
    append(&mut writer, 16..20);
    let full = disk.operations();
    disk.fail(full..full + 1, libc::ENOSPC);
    writer.flush().unwrap_err();
    let mark = writer.sync_mark().unwrap();
    disk.sync_filesystem(Path::new(FOLDER)).unwrap();
    writer.confirm_durable(mark).unwrap();
    assert_eq!(read_all(disk, Path::new(FOLDER)).packets(), expected(0..20));
}

/// A failed group sync is followed up by each file's own sync, even where the disk is also full.
#[test]
fn a_full_disk_does_not_hide_a_failed_group_sync() {
    let disk = FaultyDisk::new();
    let mut writer = writer_on(&disk);
    append(&mut writer, 0..2);
    writer.flush().unwrap();
    append(&mut writer, 2..4);
    let failing = disk.operations();
    disk.fail(failing..failing + 2, libc::ENOSPC);
    assert!(disk.sync_filesystem(Path::new(FOLDER)).is_err());
    writer.sync().unwrap();
    let cut = disk.after_power_cut(|| false);
    assert_eq!(read_all(cut, Path::new(FOLDER)).packets(), expected(0..4));
}

#[test]
fn a_mark_from_before_a_replaced_segment_confirms_nothing() {
    let disk = FaultyDisk::new();
    let mut writer = writer_on(&disk);
    append(&mut writer, 0..2);
    writer.flush().unwrap();
    let stale = writer.sync_mark().unwrap();
    let failing = disk.operations();
    disk.fail(failing..failing + 1, libc::EIO);
    writer.sync().unwrap();
    append(&mut writer, 2..9);
    writer.flush().unwrap();
    let unsynced = writer.unsynced_bytes();
    writer.confirm_durable(stale).unwrap();
    assert_eq!(writer.unsynced_bytes(), unsynced);
}

/// The process dies between a failed group sync and the journals' own syncs. The next process reads
/// the packets from memory, and must not believe that they are on the disk.
#[test]
fn recovery_copies_what_its_own_sync_could_not_make_durable() {
    let disk = FaultyDisk::new();
    let mut writer = writer_on(&disk);
    append(&mut writer, 0..5);
    writer.flush().unwrap();
    let failing = disk.operations();
    disk.fail(failing..failing + 1, libc::EIO);
    assert!(disk.sync_filesystem(Path::new(FOLDER)).is_err());
    let next_process = disk.after_kill();
    recover_on(next_process.clone(), Path::new(FOLDER)).unwrap();
    for disk in [next_process.after_power_cut(|| false), next_process] {
        let found = read_all(disk, Path::new(FOLDER));
        assert_eq!(found.packets(), expected(0..5));
        assert!(found.sealed && found.of(RecordType::GAP).len() == 1);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(u32),
    Flush,
    Sync,
    GroupSync,
    Fail { after: u64, times: u64, full: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u32..6).prop_map(Step::Append),
        3 => Just(Step::Flush),
        2 => Just(Step::Sync),
        1 => Just(Step::GroupSync),
        1 => (0u64..4, 1u64..4, any::<bool>())
            .prop_map(|(after, times, full)| Step::Fail { after, times, full }),
    ];
    proptest::collection::vec(step, 1..60)
}

/// A journal under a random script, with what it promised so far.
struct Script {
    disk: FaultyDisk,
    writer: Writer<FaultyDisk>,
    appended: u32,
    flushed: u32,
    durable: u32,
}

impl Script {
    fn run(&mut self, step: Step) {
        match step {
            Step::Append(count) => {
                append(&mut self.writer, self.appended..self.appended + count);
                self.appended += count;
            }
            Step::Flush => {
                if self.writer.flush().is_ok() {
                    self.flushed = self.appended;
                }
            }
            Step::Sync => {
                if self.writer.sync().is_ok() {
                    (self.flushed, self.durable) = (self.appended, self.appended);
                }
            }
            Step::GroupSync => self.group_sync(),
            Step::Fail { after, times, full } => {
                let first = self.disk.operations() + after;
                let errno = if full { libc::ENOSPC } else { libc::EIO };
                self.disk.fail(first..first + times, errno);
            }
        }
    }

    fn group_sync(&mut self) {
        let flushed = self.writer.flush().is_ok();
        let mark = self.writer.sync_mark();
        if self.disk.sync_filesystem(Path::new(FOLDER)).is_err() {
            return self.run(Step::Sync);
        }
        if flushed {
            (self.flushed, self.durable) = (self.appended, self.appended);
        }
        if let Some(mark) = mark {
            let _ = self.writer.confirm_durable(mark);
        }
    }
}

/// `found` is `0..n` with holes only at or beyond `whole`; nothing twice, nothing made up.
fn check(found: &[Vec<u8>], whole: u32, appended: u32) {
    assert!(found.len() >= whole as usize, "{} of {whole}", found.len());
    assert_eq!(found[..whole as usize], expected(0..whole));
    let mut rest = whole..appended;
    for packet in &found[whole as usize..] {
        assert!(
            rest.any(|number| common::packet(number) == *packet),
            "out of order"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn promises_hold_under_any_script(steps in steps(), choices in any::<u64>()) {
        let disk = FaultyDisk::new();
        let writer = writer_on(&disk);
        let mut script = Script { disk, writer, appended: 0, flushed: 0, durable: 0 };
        for step in steps {
            script.run(step);
        }
        let mut random = choices | 1;
        let mut choose = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random & 1 == 1
        };
        let cases = [
            (script.disk.after_kill(), script.flushed),
            (script.disk.after_power_cut(&mut choose), script.durable),
            (script.disk.after_power_cut(|| false), script.durable),
        ];
        for (disk, whole) in cases {
            recover_on(disk.clone(), Path::new(FOLDER)).unwrap();
            let found = read_all(disk.clone(), Path::new(FOLDER));
            check(&found.packets(), whole, script.appended);
            // What had only reached a page cache that a failed sync emptied may go with a later
            // power cut, and nothing can tell; what a sync confirmed may not.
            let after_cut = read_all(disk.after_power_cut(|| false), Path::new(FOLDER));
            check(&after_cut.packets(), script.durable, script.appended);
            prop_assert!(found.sealed && found.torn_bytes == 0);
            prop_assert!(found.of(RecordType::SEAL).len() == 1);
        }
    }
}
