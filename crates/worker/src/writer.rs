//! The journal thread: turns batches of orders into records on disk.
//!
//! Each batch is written at once, so a killed process loses nothing that reached this thread. Every
//! `sync_interval` everything becomes durable, so a power cut loses at most that. A disk that refuses
//! costs nothing as long as the writers' memory holds; then packets are counted and become a gap.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use isotape_journal::{RecordType, SenderReport, Summary, Writer};
use isotape_sfu::{JournalKey, Order, Payload};
use serde_json::json;

use crate::clock::SessionClock;
use crate::events::EventQueue;
use crate::intake::{Batch, Item};
use crate::socket::sync_file_system;

/// Up to this many journals fdatasync each is cheaper than one syncfs, which also waits for whatever
/// else the file system has to write.
const SYNC_EACH: usize = 8;
/// After so many tries, one in each sync interval, whoever asked for a seal is told that it failed. It is
/// tried on as long as the process lives: a full disk may be freed, and only memory holds the tail.
const SEAL_TRIES: u32 = 40;

/// Read by the metrics.
#[derive(Default)]
pub struct WriterCounters {
    pub records: AtomicU64,
    pub bytes: AtomicU64,
    pub lost_packets: AtomicU64,
    pub refused_records: AtomicU64,
    pub disk_errors: AtomicU64,
    pub sync_micros: AtomicU64,
    pub syncs: AtomicU64,
    pub open_journals: AtomicU64,
}

/// What the journal thread works with.
pub struct Setup {
    pub batches: Receiver<Batch>,
    pub in_flight: Arc<AtomicU64>,
    pub events: Arc<EventQueue>,
    pub counters: Arc<WriterCounters>,
    pub clock: SessionClock,
    pub journal_root: PathBuf,
    pub sync_interval: Duration,
}

struct Journal {
    id: String,
    writer: Writer,
    is_touched: bool,
    /// Packets that found no room and are not told yet.
    untold: u64,
    lost_to_queue: u64,
    /// Its failure was told; cleared by the next success.
    is_failing: bool,
}

struct PendingSeal {
    key: JournalKey,
    reason: String,
    request: u64,
    tries: u32,
}

pub struct JournalThread {
    setup: Setup,
    root: Option<File>,
    journals: HashMap<JournalKey, Journal>,
    seals: Vec<PendingSeal>,
    packet: Vec<u8>,
}

impl JournalThread {
    pub fn new(setup: Setup) -> Self {
        let root = File::open(&setup.journal_root).ok();
        Self {
            setup,
            root,
            journals: HashMap::new(),
            seals: Vec::new(),
            packet: Vec::new(),
        }
    }

    /// Works until the shard is gone and everything it sent is durable.
    pub fn run(mut self) {
        let mut sync_at = Instant::now() + self.setup.sync_interval;
        loop {
            match self
                .setup
                .batches
                .recv_timeout(sync_at.saturating_duration_since(Instant::now()))
            {
                Ok(batch) => self.take(batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= sync_at {
                self.sync();
                self.retry_seals();
                sync_at = Instant::now() + self.setup.sync_interval;
            }
        }
        self.sync();
        self.retry_seals();
    }

    fn take(&mut self, batch: Batch) {
        for item in batch.items {
            match item {
                Item::Order(Order::Open { key, id, dir, meta }) => self.open(key, id, dir, meta),
                Item::Order(Order::Append { key, at, payload }) => self.append(key, at, payload),
                Item::Order(Order::Seal {
                    key,
                    reason,
                    request,
                    ..
                }) => self.seal(key, reason, request),
                Item::Gap { key, packets } => self.note_gap(key, packets),
            }
        }
        self.setup
            .in_flight
            .fetch_sub(batch.bytes, Ordering::Relaxed);
        self.flush();
    }

    fn open(&mut self, key: JournalKey, id: String, dir: PathBuf, meta: serde_json::Value) {
        match Writer::create(&dir, &id, meta) {
            Ok(writer) => {
                let journal = Journal {
                    id,
                    writer,
                    is_touched: false,
                    untold: 0,
                    lost_to_queue: 0,
                    is_failing: false,
                };
                self.journals.insert(key, journal);
                self.setup
                    .counters
                    .open_journals
                    .fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.tell_failure(&id, &error.to_string()),
        }
    }

    fn tell_failure(&self, id: &str, error: &str) {
        self.setup
            .counters
            .disk_errors
            .fetch_add(1, Ordering::Relaxed);
        self.setup
            .events
            .push(&json!({"event": "journal_failed", "journal": id, "error": error}));
    }

    fn append(&mut self, key: JournalKey, at: Instant, payload: Payload) {
        let at = self.setup.clock.unix_ns(at);
        let Some(journal) = self.journals.get_mut(&key) else {
            self.setup
                .counters
                .refused_records
                .fetch_add(1, Ordering::Relaxed);
            return;
        };
        journal.is_touched = true;
        let is_packet = matches!(payload, Payload::Rtp { .. });
        if journal.untold > 0 {
            journal.tell_gap(at);
        }
        match append_payload(&mut journal.writer, at, payload, &mut self.packet) {
            Ok(()) => {
                self.setup.counters.records.fetch_add(1, Ordering::Relaxed);
            }
            Err(isotape_journal::Error::TailFull { .. }) if is_packet => {
                journal.untold += 1;
                journal.lost_to_queue += 1;
                self.setup
                    .counters
                    .lost_packets
                    .fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                self.setup
                    .counters
                    .refused_records
                    .fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn note_gap(&mut self, key: JournalKey, packets: u64) {
        let Some(journal) = self.journals.get_mut(&key) else {
            return;
        };
        journal.untold += packets;
        journal.lost_to_queue += packets;
        self.setup
            .counters
            .lost_packets
            .fetch_add(packets, Ordering::Relaxed);
        self.setup
            .events
            .push(&json!({"event": "journal_gap", "journal": journal.id, "packets": packets}));
    }

    fn flush(&mut self) {
        let mut failures = Vec::new();
        for journal in self
            .journals
            .values_mut()
            .filter(|journal| journal.is_touched)
        {
            journal.is_touched = false;
            let before = journal.writer.unflushed_bytes() as u64;
            let outcome = journal.writer.flush();
            if outcome.is_ok() {
                self.setup
                    .counters
                    .bytes
                    .fetch_add(before, Ordering::Relaxed);
            }
            failures.extend(journal.note(outcome));
        }
        for (id, error) in failures {
            self.tell_failure(&id, &error);
        }
    }

    fn sync(&mut self) {
        let began = Instant::now();
        let waiting = self
            .journals
            .values()
            .filter(|journal| journal.writer.unsynced_bytes() > 0)
            .count();
        if waiting == 0 {
            return;
        }
        let failures = if waiting <= SYNC_EACH || !self.sync_group() {
            self.sync_each()
        } else {
            Vec::new()
        };
        for (id, error) in failures {
            self.tell_failure(&id, &error);
        }
        self.setup.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.setup
            .counters
            .sync_micros
            .fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
    }

    fn sync_each(&mut self) -> Vec<(String, String)> {
        let waiting = self
            .journals
            .values_mut()
            .filter(|journal| journal.writer.unsynced_bytes() > 0);
        waiting
            .filter_map(|journal| {
                let outcome = journal.writer.sync();
                journal.note(outcome)
            })
            .collect()
    }

    /// One syncfs for all; false when it failed, and then each file must find out for itself.
    fn sync_group(&mut self) -> bool {
        let Some(root) = &self.root else { return false };
        let marks: Vec<_> = self
            .journals
            .iter()
            .map(|(key, journal)| (*key, journal.writer.sync_mark()))
            .collect();
        if sync_file_system(root.as_raw_fd()).is_err() {
            return false;
        }
        let mut is_good = true;
        for (key, mark) in marks {
            if let (Some(journal), Some(mark)) = (self.journals.get_mut(&key), mark) {
                is_good &= journal.writer.confirm_durable(mark).is_ok();
            }
        }
        is_good
    }

    fn seal(&mut self, key: JournalKey, reason: String, request: u64) {
        if self.journals.contains_key(&key) {
            self.try_seal(PendingSeal {
                key,
                reason,
                request,
                tries: 0,
            });
        } else {
            self.setup
                .events
                .refuse(request, 500, "journal: could not be opened");
        }
    }

    fn retry_seals(&mut self) {
        for seal in std::mem::take(&mut self.seals) {
            self.try_seal(seal);
        }
    }

    fn try_seal(&mut self, mut seal: PendingSeal) {
        let Some(journal) = self.journals.get_mut(&seal.key) else {
            return;
        };
        let now = self.setup.clock.unix_ns(Instant::now());
        match journal.seal(now, &seal.reason) {
            Ok(_) if seal.tries > SEAL_TRIES => self.close(seal.key),
            Ok(summary) => {
                let ok = json!({
                    "packets": summary.packets,
                    "bytes": summary.bytes,
                    "first_arrival_ns": summary.first_arrival_ns,
                    "last_arrival_ns": summary.last_arrival_ns,
                    "lost_to_queue": journal.lost_to_queue,
                });
                self.close(seal.key);
                self.setup.events.reply(seal.request, ok);
            }
            Err(error) => {
                if seal.tries == SEAL_TRIES {
                    self.setup
                        .events
                        .refuse(seal.request, 500, &error.to_string());
                }
                seal.tries = seal.tries.saturating_add(1);
                self.seals.push(seal);
            }
        }
    }

    fn close(&mut self, key: JournalKey) {
        self.journals.remove(&key);
        self.setup
            .counters
            .open_journals
            .fetch_sub(1, Ordering::Relaxed);
    }
}

impl Journal {
    fn tell_gap(&mut self, at: u64) {
        let gap = json!({"cause": "server", "packets": self.untold}).to_string();
        if self
            .writer
            .append(RecordType::GAP, 0, at, gap.as_bytes())
            .is_ok()
        {
            self.untold = 0;
        }
    }

    /// Nothing follows a seal, so what was left out must be told before it; a full tail goes first.
    fn seal(&mut self, at: u64, reason: &str) -> isotape_journal::Result<Summary> {
        if self.untold > 0 {
            self.tell_gap(at);
        }
        if self.untold > 0 {
            self.writer.sync()?;
            self.tell_gap(at);
        }
        self.writer.seal(at, reason)
    }

    /// Keeps the outcome of a flush or sync; returns what to tell, once for each failure.
    fn note(&mut self, outcome: isotape_journal::Result<()>) -> Option<(String, String)> {
        let error = outcome.err();
        let is_new = error.is_some() && !self.is_failing;
        self.is_failing = error.is_some();
        error
            .filter(|_| is_new)
            .map(|error| (self.id.clone(), error.to_string()))
    }
}

fn append_payload(
    writer: &mut Writer,
    at: u64,
    payload: Payload,
    packet: &mut Vec<u8>,
) -> isotape_journal::Result<()> {
    match payload {
        Payload::Rtp {
            header,
            body,
            repaired,
        } => {
            packet.clear();
            packet.extend_from_slice(&header);
            packet.extend_from_slice(&body);
            writer.append_rtp(at, packet, repaired)
        }
        Payload::SenderReport {
            ssrc,
            ntp,
            rtp_timestamp,
            packet_count,
            octet_count,
        } => writer.append_sender_report(
            at,
            &SenderReport {
                ssrc,
                ntp,
                rtp_timestamp,
                packet_count,
                octet_count,
            },
        ),
        Payload::Mute(json) => writer.append(RecordType::MUTE, 0, at, json.as_bytes()),
        Payload::Codecs(json) => writer.append(RecordType::CODECS, 0, at, json.as_bytes()),
        Payload::Ssrc(json) => writer.append(RecordType::SSRC, 0, at, json.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotape_journal::Reader;
    use std::path::Path;
    use std::sync::mpsc::sync_channel;

    const KEY: JournalKey = JournalKey(1);

    fn journal_thread(root: &Path) -> JournalThread {
        let mut thread = JournalThread::new(Setup {
            batches: sync_channel(1).1,
            in_flight: Arc::default(),
            events: Arc::new(EventQueue::new().unwrap()),
            counters: Arc::default(),
            clock: SessionClock::start(),
            journal_root: root.to_owned(),
            sync_interval: Duration::from_millis(250),
        });
        thread.open(KEY, "one".into(), root.join("one"), json!({}));
        thread
    }

    #[test]
    fn a_journal_that_cannot_be_sealed_is_not_given_up() {
        let root = tempfile::tempdir().unwrap();
        let (here, away) = (root.path().join("one"), root.path().join("away"));
        let mut thread = journal_thread(root.path());
        std::fs::rename(&here, &away).unwrap();
        thread.seal(KEY, "leave".into(), 7);
        for _ in 0..SEAL_TRIES + 5 {
            thread.retry_seals();
        }
        let told = thread.setup.events.drain();
        assert_eq!(told.len(), 1, "the asker waits no longer: {told:?}");
        assert_eq!(thread.journals.len(), 1, "its records are kept");
        std::fs::rename(&away, &here).unwrap();
        thread.retry_seals();
        assert!(thread.journals.is_empty());
    }

    #[test]
    fn what_found_no_room_is_told_before_the_seal() {
        let root = tempfile::tempdir().unwrap();
        let mut thread = journal_thread(root.path());
        while thread.journals[&KEY].untold == 0 {
            let payload = Payload::Rtp {
                header: vec![0x80; 12].into(),
                body: vec![0; 1_000].into(),
                repaired: false,
            };
            thread.append(KEY, Instant::now(), payload);
        }
        thread.seal(KEY, "leave".into(), 7);
        let mut reader = Reader::open(&root.path().join("one")).unwrap();
        let mut gaps = Vec::new();
        while let Some(record) = reader.next_record().unwrap() {
            if record.kind == RecordType::GAP {
                gaps.push(String::from_utf8(record.payload.to_vec()).unwrap());
            }
        }
        assert_eq!(gaps, [r#"{"cause":"server","packets":1}"#]);
    }
}
