//! What the journal's tests share: packets that can be told apart, and a plain list of what a folder
//! holds.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;

use isotape_journal::{Damage, Disk, Reader, RecordType};

pub const SECOND_NS: u64 = 1_000_000_000;
/// Some day in 2026, so that times look as they do in service.
pub const START_NS: u64 = 1_795_000_000 * SECOND_NS;

/// An RTP packet whose payload says its number; sizes differ so that no offset repeats.
pub fn packet(number: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&(number as u16).to_be_bytes());
    packet.extend_from_slice(&(number * 3000).to_be_bytes());
    packet.extend_from_slice(&0xfeed_beefu32.to_be_bytes());
    packet.extend_from_slice(&number.to_be_bytes());
    packet.extend((0..(number * 37 % 400)).map(|at| (at ^ number) as u8));
    packet
}

pub fn arrival_ns(number: u32) -> u64 {
    START_NS + u64::from(number) * 4_000_000
}

/// Everything a reader finds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub records: Vec<(RecordType, u64, Vec<u8>)>,
    pub damage: Vec<Damage>,
    pub torn_bytes: u64,
    pub sealed: bool,
}

impl Found {
    pub fn packets(&self) -> Vec<Vec<u8>> {
        self.of(RecordType::RTP)
    }

    pub fn of(&self, wanted: RecordType) -> Vec<Vec<u8>> {
        let records = self.records.iter().filter(|(kind, _, _)| *kind == wanted);
        records.map(|(_, _, payload)| payload.clone()).collect()
    }
}

pub fn read_all<D: Disk>(disk: D, folder: &Path) -> Found {
    let mut reader = Reader::open_on(disk, folder).expect("folder opens");
    let mut found = Found::default();
    while let Some(record) = reader.next_record().expect("disk reads") {
        let payload = record.payload.to_vec();
        found
            .records
            .push((record.kind, record.arrival_ns, payload));
    }
    found.damage = reader.damage().to_vec();
    found.torn_bytes = reader.torn_bytes();
    found.sealed = reader.sealed();
    found
}
