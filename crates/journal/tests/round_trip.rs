//! What is appended is read back: same records, same order, same bytes, from the places named.

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

use common::{Found, arrival_ns, packet, read_all};
use isotape_journal::format::{FLAG_REPAIRED, MAX_PAYLOAD_BYTES};
use isotape_journal::{
    Error, Reader, RealDisk, RecordType, SegmentHeader, SenderReport, Summary, Writer, recover,
};
use serde_json::json;

#[test]
fn every_kind_of_record_comes_back_as_it_was_appended() {
    let folder = tempfile::tempdir().unwrap();
    let meta = json!({"peer": "p1", "source": "regular"});
    let mut writer = Writer::create(folder.path(), "j1", meta.clone()).unwrap();
    let report = SenderReport {
        ssrc: 7,
        ntp: 0xdead_beef_0000_0001,
        rtp_timestamp: 90_000,
        packet_count: 3,
        octet_count: 4_000_000_000,
    };
    writer.append_rtp(5, &packet(1), false).unwrap();
    writer.append_rtp(4, &packet(2), true).unwrap();
    writer.append_sender_report(6, &report).unwrap();
    let muted = br#"{"muted":true}"#;
    writer.append(RecordType::MUTE, 0, 7, muted).unwrap();
    let summary = writer.seal(8, "peer left").unwrap();

    assert_eq!(
        (
            summary.packets,
            summary.first_arrival_ns,
            summary.last_arrival_ns
        ),
        (2, Some(5), Some(5))
    );
    let mut reader = Reader::open(folder.path()).unwrap();
    let header: SegmentHeader = serde_json::from_str(reader.header().unwrap()).unwrap();
    assert_eq!(
        (header.journal.as_str(), header.segment, header.meta),
        ("j1", 1, meta)
    );
    assert_eq!(
        reader.next_record().unwrap().unwrap().kind,
        RecordType::HEADER
    );
    let first = reader.next_record().unwrap().unwrap();
    assert_eq!(
        (first.flags, first.arrival_ns, first.payload),
        (0, 5, &packet(1)[..])
    );
    let second = reader.next_record().unwrap().unwrap();
    assert_eq!((second.flags, second.arrival_ns), (FLAG_REPAIRED, 4));
    let third = reader.next_record().unwrap().unwrap();
    assert_eq!(SenderReport::decode(third.payload), Some(report));
    assert_eq!(reader.next_record().unwrap().unwrap().payload, muted);
    let seal = reader.next_record().unwrap().unwrap();
    assert_eq!(seal.payload, br#"{"reason":"peer left","packets":2}"#);
    assert!(reader.next_record().unwrap().is_none());
    assert!(reader.sealed());
}

#[test]
fn a_record_names_the_place_of_its_payload_across_segments() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), "j", json!({}))
        .unwrap()
        .with_segment_bytes(2_000);
    for number in 0..60 {
        writer
            .append_rtp(arrival_ns(number), &packet(number), false)
            .unwrap();
        writer.sync().unwrap();
    }
    writer.seal(arrival_ns(60), "end").unwrap();

    let mut reader = Reader::open(folder.path()).unwrap();
    let files: Vec<fs::File> = reader
        .files()
        .iter()
        .map(|path| fs::File::open(path).unwrap())
        .collect();
    assert!(files.len() > 3, "it rotated {} times", files.len());
    let mut number = 0;
    while let Some(record) = reader.next_record().unwrap() {
        if record.kind == RecordType::RTP {
            let mut bytes = vec![0; record.payload.len()];
            files[record.file]
                .read_exact_at(&mut bytes, record.offset)
                .unwrap();
            assert_eq!(bytes, packet(number));
            number += 1;
        }
    }
    assert_eq!(number, 60);
    assert!(reader.sealed());
}

#[test]
fn a_record_type_of_a_later_release_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), "j", json!({})).unwrap();
    writer.append(RecordType(200), 9, 1, b"whatever").unwrap();
    writer.append_rtp(2, &packet(1), false).unwrap();
    writer.seal(3, "end").unwrap();
    let found = read_all(RealDisk, folder.path());
    assert_eq!(found.packets(), [packet(1)]);
    assert_eq!(found.of(RecordType(200)), [b"whatever"]);
    assert!(found.sealed && found.damage.is_empty());
}

#[test]
fn a_segment_of_a_later_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("00000001.seg");
    fs::write(&path, b"ISOTAPE2 and then something else entirely").unwrap();
    assert!(matches!(
        Reader::open(folder.path()),
        Err(Error::LaterFormat { .. })
    ));
    assert!(matches!(
        recover(folder.path()),
        Err(Error::LaterFormat { .. })
    ));
    assert_eq!(fs::read(&path).unwrap().len(), 41);
}

#[test]
fn what_a_reader_would_refuse_is_not_appended() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), "j", json!({})).unwrap();
    let too_long = vec![0x80; MAX_PAYLOAD_BYTES + 1];
    let refused: [(RecordType, &[u8]); 6] = [
        (RecordType::RTP, &packet(1)[..11]),
        (RecordType::RTP, &[0; 40]),
        (RecordType::RTP, &too_long),
        (RecordType::SENDER_REPORT, &[0; 23]),
        (RecordType::MUTE, b"true"),
        (RecordType::SEAL, b"{}"),
    ];
    for (kind, payload) in refused {
        let result = writer.append(kind, 0, 1, payload);
        assert!(matches!(result, Err(Error::BadRecord { .. })), "{kind:?}");
    }
    assert_eq!(writer.summary(), Summary::default());
}

#[test]
fn an_existing_journal_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), "j", json!({})).unwrap();
    writer.append_rtp(1, &packet(1), false).unwrap();
    writer.sync().unwrap();
    assert!(Writer::create(folder.path(), "j", json!({})).is_err());
    assert_eq!(read_all(RealDisk, folder.path()).packets(), [packet(1)]);
}

#[test]
fn nothing_follows_a_seal() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), "j", json!({})).unwrap();
    writer.seal(1, "end").unwrap();
    writer.seal(1, "end again").unwrap();
    let late = writer.append_rtp(2, &packet(1), false);
    assert!(matches!(late, Err(Error::Sealed { .. })));
    assert_eq!(
        read_all(RealDisk, folder.path()).of(RecordType::SEAL).len(),
        1
    );
}

#[test]
fn a_journal_is_readable_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), "j", json!({})).unwrap();
    for number in 0..20 {
        writer
            .append_rtp(arrival_ns(number), &packet(number), false)
            .unwrap();
        writer.flush().unwrap();
        let Found {
            records, sealed, ..
        } = read_all(RealDisk, folder.path());
        assert_eq!((records.len(), sealed), (number as usize + 2, false));
    }
}

#[test]
fn only_the_owner_may_read_a_recording() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("session").join("journal");
    Writer::create(&folder, "j", json!({})).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o077;
    assert_eq!(mode(&folder), 0);
    assert_eq!(mode(&folder.join("00000001.seg")), 0);
}
