//! The journal thread: turns batches of orders into records on disk.
//!
//! Each batch is written at once, so a killed process loses nothing that reached this thread. Every
//! `sync_interval` everything becomes durable, so a power cut loses at most that. A disk that refuses
//! costs nothing as long as the writers' memory holds, not even the making of a journal; then packets
//! are counted and become a gap.

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
use crate::intake::{Batch, Item, LeftOut};
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

impl WriterCounters {
    fn count(&self, left_out: LeftOut) {
        self.lost_packets
            .fetch_add(left_out.packets, Ordering::Relaxed);
        self.refused_records
            .fetch_add(left_out.notes, Ordering::Relaxed);
    }
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
    /// What found no room and is not told yet.
    untold: LeftOut,
    left_out: LeftOut,
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
        self.finish();
    }

    /// Makes everything durable. What was left out is told in its journal even where nothing followed:
    /// at once, or when the first sync has made room.
    fn finish(&mut self) {
        self.sync();
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
                Item::Gap { key, left_out } => self.note_gap(key, left_out),
            }
        }
        self.setup
            .in_flight
            .fetch_sub(batch.bytes, Ordering::Relaxed);
        self.flush();
    }

    /// A journal that cannot be made now is made by a later sync; its records wait as those of any other.
    fn open(&mut self, key: JournalKey, id: String, dir: PathBuf, meta: serde_json::Value) {
        let mut journal = Journal {
            writer: Writer::unmade(&dir, &id, meta),
            id,
            is_touched: false,
            untold: LeftOut::default(),
            left_out: LeftOut::default(),
            is_failing: false,
        };
        let outcome = journal.writer.sync();
        if let Some((id, error)) = journal.note(outcome) {
            self.tell_failure(&id, &error);
        }
        self.journals.insert(key, journal);
        self.setup
            .counters
            .open_journals
            .fetch_add(1, Ordering::Relaxed);
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
        let one = LeftOut::one(&payload);
        journal.tell_gap(at);
        match append_payload(&mut journal.writer, at, payload, &mut self.packet) {
            Ok(()) => {
                self.setup.counters.records.fetch_add(1, Ordering::Relaxed);
            }
            Err(isotape_journal::Error::TailFull { .. }) => {
                journal.leave_out(one);
                self.setup.counters.count(one);
            }
            Err(_) => {
                self.setup
                    .counters
                    .refused_records
                    .fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn note_gap(&mut self, key: JournalKey, left_out: LeftOut) {
        let Some(journal) = self.journals.get_mut(&key) else {
            return;
        };
        journal.leave_out(left_out);
        self.setup.counters.count(left_out);
        let event = json!({"event": "journal_gap", "journal": journal.id,
            "packets": left_out.packets, "notes": left_out.notes});
        self.setup.events.push(&event);
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
        let now = self.setup.clock.unix_ns(began);
        for journal in self.journals.values_mut() {
            journal.tell_gap(now);
        }
        let waiting = self.waiting().count();
        if waiting == 0 {
            return;
        }
        if waiting > SYNC_EACH {
            self.sync_group();
        }
        // All of few, or those that the group sync did not cover: a journal without a good file has to
        // be given one by its own sync.
        for (id, error) in self.sync_each() {
            self.tell_failure(&id, &error);
        }
        self.setup.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.setup
            .counters
            .sync_micros
            .fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
    }

    fn waiting(&mut self) -> impl Iterator<Item = &mut Journal> {
        self.journals
            .values_mut()
            .filter(|journal| journal.writer.unsynced_bytes() > 0)
    }

    fn sync_each(&mut self) -> Vec<(String, String)> {
        self.waiting()
            .filter_map(|journal| {
                let outcome = journal.writer.sync();
                journal.note(outcome)
            })
            .collect()
    }

    /// One syncfs for all. When it fails nothing is confirmed, and each file must find out for itself.
    fn sync_group(&mut self) {
        let Some(root) = &self.root else { return };
        let marks: Vec<_> = self
            .journals
            .iter()
            .filter_map(|(key, journal)| Some((*key, journal.writer.sync_mark()?)))
            .collect();
        if sync_file_system(root.as_raw_fd()).is_err() {
            return;
        }
        for (key, mark) in marks {
            if let Some(journal) = self.journals.get_mut(&key) {
                let outcome = journal.writer.confirm_durable(mark);
                if outcome.is_err()
                    && let Some((id, error)) = journal.note(outcome)
                {
                    self.tell_failure(&id, &error);
                }
            }
        }
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
            self.setup.events.refuse(request, 500, "journal: not open");
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
            Ok(_) => {
                let report = journal.report(None);
                self.close(seal.key);
                self.setup.events.reply(seal.request, report);
            }
            Err(error) => {
                if seal.tries == SEAL_TRIES {
                    let report = journal.report(Some(error.to_string()));
                    self.setup.events.reply(seal.request, report);
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
    fn leave_out(&mut self, left_out: LeftOut) {
        self.untold.add(left_out);
        self.left_out.add(left_out);
    }

    /// Writes down what was left out, if anything was and there is room for the record.
    fn tell_gap(&mut self, at: u64) {
        if self.untold.is_nothing() {
            return;
        }
        let mut gap = json!({"cause": "server", "packets": self.untold.packets});
        if self.untold.notes > 0 {
            gap["notes"] = self.untold.notes.into();
        }
        let gap = gap.to_string();
        if self
            .writer
            .append(RecordType::GAP, 0, at, gap.as_bytes())
            .is_ok()
        {
            self.untold = LeftOut::default();
        }
    }

    /// Nothing follows a seal, so what was left out must be told before it; a full tail goes first.
    fn seal(&mut self, at: u64, reason: &str) -> isotape_journal::Result<Summary> {
        self.tell_gap(at);
        if !self.untold.is_nothing() {
            self.writer.sync()?;
            self.tell_gap(at);
        }
        self.writer.seal(at, reason)
    }

    /// The answer to a seal. With a `failure` it tells how things stand while the disk still refuses.
    fn report(&self, failure: Option<String>) -> serde_json::Value {
        let summary = self.writer.summary();
        let unwritten = self.writer.unwritten_packets();
        json!({
            "packets": summary.packets - unwritten,
            "bytes": summary.bytes,
            "first_arrival_ns": summary.first_arrival_ns,
            "last_arrival_ns": summary.last_arrival_ns,
            "lost_to_queue": self.left_out.packets + unwritten,
            "failure": failure,
        })
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

    fn packet() -> Payload {
        Payload::Rtp {
            header: vec![0x80; 12].into(),
            body: vec![0; 1_000].into(),
            repaired: false,
        }
    }

    /// The number of packets in a journal, and its notes.
    fn contents(folder: &Path) -> (u64, Vec<String>) {
        let mut reader = Reader::open(folder).unwrap();
        let (mut packets, mut notes) = (0, Vec::new());
        while let Some(record) = reader.next_record().unwrap() {
            match record.kind {
                RecordType::RTP => packets += 1,
                RecordType::HEADER | RecordType::SEAL => {}
                _ => notes.push(String::from_utf8(record.payload.to_vec()).unwrap()),
            }
        }
        (packets, notes)
    }

    #[test]
    fn what_found_no_room_is_told_before_the_seal() {
        let root = tempfile::tempdir().unwrap();
        let mut thread = journal_thread(root.path());
        while thread.journals[&KEY].untold.is_nothing() {
            thread.append(KEY, Instant::now(), packet());
        }
        thread.seal(KEY, "leave".into(), 7);
        let (_, notes) = contents(&root.path().join("one"));
        assert_eq!(notes, [r#"{"cause":"server","packets":1}"#]);
    }

    #[test]
    fn a_journal_that_can_only_be_made_later_holds_its_beginning_and_the_exact_hole() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("one");
        std::fs::write(&folder, "a file where the folder should be").unwrap();
        let mut thread = journal_thread(root.path());
        let codecs = r#"{"96":{"codec":"VP8"}}"#;
        thread.append(KEY, Instant::now(), Payload::Codecs(codecs.into()));
        while thread.journals[&KEY].untold.packets < 5 {
            thread.append(KEY, Instant::now(), packet());
            thread.flush();
        }
        thread.sync();
        std::fs::remove_file(&folder).unwrap();
        thread.sync();
        thread.append(KEY, Instant::now(), packet());
        thread.seal(KEY, "leave".into(), 7);
        let (packets, notes) = contents(&folder);
        assert_eq!(notes, [codecs, r#"{"cause":"server","packets":5}"#]);
        let told = thread.setup.events.drain();
        assert_eq!(told.len(), 2, "one failure, one reply: {told:?}");
        let reply: serde_json::Value = serde_json::from_str(&told[1]).unwrap();
        let report = &reply["ok"];
        assert_eq!(
            (&report["packets"], &report["lost_to_queue"]),
            (&json!(packets), &json!(5))
        );
    }

    #[test]
    fn a_journal_that_is_never_made_says_how_much_was_lost_with_it() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("one"), "in the way").unwrap();
        let mut thread = journal_thread(root.path());
        for _ in 0..3 {
            thread.append(KEY, Instant::now(), packet());
        }
        thread.seal(KEY, "leave".into(), 7);
        for _ in 0..SEAL_TRIES {
            thread.retry_seals();
        }
        let told = thread.setup.events.drain();
        let reply: serde_json::Value = serde_json::from_str(told.last().unwrap()).unwrap();
        let report = &reply["ok"];
        assert_eq!(
            (&report["packets"], &report["lost_to_queue"]),
            (&json!(0), &json!(3))
        );
        assert!(report["failure"].as_str().unwrap().contains("one"));
    }

    #[test]
    fn one_that_waits_for_the_disk_is_made_also_among_many_that_do_not() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("one"), "in the way").unwrap();
        let mut thread = journal_thread(root.path());
        for number in 2..SYNC_EACH as u32 + 3 {
            let dir = root.path().join(number.to_string());
            thread.open(JournalKey(number), number.to_string(), dir, json!({}));
        }
        std::fs::remove_file(root.path().join("one")).unwrap();
        for key in 1..SYNC_EACH as u32 + 3 {
            thread.append(JournalKey(key), Instant::now(), packet());
        }
        thread.flush();
        thread.sync();
        assert_eq!(contents(&root.path().join("one")).0, 1);
        assert_eq!(thread.waiting().count(), 0, "all are durable");
    }

    #[test]
    fn a_hole_at_the_end_is_in_the_journal_when_the_engine_closes() {
        let root = tempfile::tempdir().unwrap();
        let mut thread = journal_thread(root.path());
        while thread.journals[&KEY].untold.packets < 2 {
            thread.append(KEY, Instant::now(), packet());
        }
        let left_out = LeftOut {
            packets: 3,
            notes: 1,
        };
        thread.note_gap(KEY, left_out);
        thread.finish();
        let (_, notes) = contents(&root.path().join("one"));
        assert_eq!(notes, [r#"{"cause":"server","notes":1,"packets":5}"#]);
    }
}
