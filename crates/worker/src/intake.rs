//! The shard's end of the way to the journal thread: bounded in bytes, never blocking.
//!
//! A disk that stalls makes orders pile up here. At the bound packets and sender reports are left out,
//! each counted, and as soon as there is room again a gap record says how many. What describes packets
//! (mutes, codecs, SSRCs) has a reserve beyond the bound. Orders that open or seal a journal are always
//! kept: the control plane waits for each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};

use isotape_sfu::{JournalKey, Order, Payload};

/// Bytes of memory that packets and notes may take while they wait for the disk: about 11 s of 40 peers
/// at 1 Mbit/s.
pub const WAITING_BYTES: u64 = 64 * 1024 * 1024;
/// Room beyond it for notes: some thousand, which only somebody who floods us with them can fill.
const NOTES_RESERVE_BYTES: u64 = 1024 * 1024;
/// What an order takes besides the bytes of its payload.
const ORDER_BYTES: u64 = size_of::<Item>() as u64;
/// Batches in the channel. More wait in the backlog, so this bounds nothing but the channel's size.
pub const BATCHES: usize = 64;

/// What could not be kept of a journal.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    pub packets: u64,
    /// Sender reports, mutes, codecs and SSRCs.
    pub notes: u64,
}

impl LeftOut {
    pub fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.notes += other.notes;
    }

    /// One record of this kind.
    pub fn one(payload: &Payload) -> Self {
        let is_packet = matches!(payload, Payload::Rtp { .. });
        Self {
            packets: u64::from(is_packet),
            notes: u64::from(!is_packet),
        }
    }

    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What the journal thread gets.
#[derive(Debug)]
pub enum Item {
    Order(Order),
    /// This was left out here.
    Gap {
        key: JournalKey,
        left_out: LeftOut,
    },
}

#[derive(Debug)]
pub struct Batch {
    pub items: Vec<Item>,
    pub bytes: u64,
}

pub struct Intake {
    sender: SyncSender<Batch>,
    backlog: Vec<Item>,
    backlog_bytes: u64,
    /// In batches that the journal thread has not worked off.
    in_flight: Arc<AtomicU64>,
    left_out: HashMap<JournalKey, LeftOut>,
    bound: u64,
    /// Over the life of the engine.
    pub left_out_in_all: LeftOut,
}

impl Intake {
    pub fn new(sender: SyncSender<Batch>, in_flight: Arc<AtomicU64>, bound: u64) -> Self {
        Self {
            sender,
            backlog: Vec::new(),
            backlog_bytes: 0,
            in_flight,
            left_out: HashMap::new(),
            bound,
            left_out_in_all: LeftOut::default(),
        }
    }

    /// Takes the orders of one round and passes on what the journal thread can take.
    pub fn take(&mut self, orders: &mut Vec<Order>) {
        for order in orders.drain(..) {
            self.take_one(order);
        }
        self.pass_on();
    }

    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    fn take_one(&mut self, order: Order) {
        let key = match &order {
            Order::Append { key, payload, .. } => {
                let bytes = ORDER_BYTES + payload_bytes(payload);
                if !self.has_room(bytes, payload) {
                    let left_out = LeftOut::one(payload);
                    self.left_out.entry(*key).or_default().add(left_out);
                    self.left_out_in_all.add(left_out);
                    return;
                }
                self.backlog_bytes += bytes;
                *key
            }
            Order::Open { key, .. } | Order::Seal { key, .. } => *key,
        };
        if let Some(left_out) = self.left_out.remove(&key) {
            self.backlog.push(Item::Gap { key, left_out });
        }
        self.backlog.push(Item::Order(order));
    }

    fn has_room(&self, bytes: u64, payload: &Payload) -> bool {
        let reserve = match payload {
            Payload::Rtp { .. } | Payload::SenderReport { .. } => 0,
            Payload::Mute(_) | Payload::Codecs(_) | Payload::Ssrc(_) => NOTES_RESERVE_BYTES,
        };
        let waiting = self.backlog_bytes + self.in_flight.load(Ordering::Relaxed);
        waiting + bytes <= self.bound + reserve
    }

    fn pass_on(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        let batch = Batch {
            items: std::mem::take(&mut self.backlog),
            bytes: self.backlog_bytes,
        };
        self.in_flight.fetch_add(batch.bytes, Ordering::Relaxed);
        self.backlog_bytes = 0;
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) =
            self.sender.try_send(batch)
        {
            self.in_flight.fetch_sub(batch.bytes, Ordering::Relaxed);
            self.backlog_bytes = batch.bytes;
            self.backlog = batch.items;
        }
    }

    /// At the end: waits until the journal thread has everything, holes that nothing followed included.
    pub fn finish(mut self) {
        let holes = self.left_out.drain();
        self.backlog
            .extend(holes.map(|(key, left_out)| Item::Gap { key, left_out }));
        let batch = Batch {
            items: std::mem::take(&mut self.backlog),
            bytes: self.backlog_bytes,
        };
        self.in_flight.fetch_add(batch.bytes, Ordering::Relaxed);
        // The journal thread is gone only if it died, and then nobody is left to tell.
        let _ = self.sender.send(batch);
    }
}

fn payload_bytes(payload: &Payload) -> u64 {
    let bytes = match payload {
        Payload::Rtp { header, body, .. } => header.len() + body.len(),
        Payload::SenderReport { .. } => 0,
        Payload::Mute(json) | Payload::Codecs(json) | Payload::Ssrc(json) => json.len(),
    };
    bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;
    use std::time::Instant;

    const KEY: JournalKey = JournalKey(1);

    fn append(payload: Payload) -> Order {
        Order::Append {
            key: KEY,
            at: Instant::now(),
            payload,
        }
    }

    fn packet(bytes: usize) -> Order {
        append(Payload::Rtp {
            header: Box::default(),
            body: vec![0; bytes].into(),
            repaired: false,
        })
    }

    fn report() -> Order {
        append(Payload::SenderReport {
            ssrc: 1,
            ntp: 2,
            rtp_timestamp: 3,
            packet_count: 4,
            octet_count: 5,
        })
    }

    fn left_out(packets: u64, notes: u64) -> LeftOut {
        LeftOut { packets, notes }
    }

    #[test]
    fn what_a_stalled_disk_costs_is_counted_and_told_in_its_place() {
        let (sender, receiver) = sync_channel(BATCHES);
        let in_flight = Arc::new(AtomicU64::new(0));
        let mut intake = Intake::new(sender, in_flight.clone(), ORDER_BYTES + 100);
        intake.take(&mut vec![packet(60), packet(60), report(), packet(60)]);
        assert_eq!(intake.left_out_in_all, left_out(2, 1));
        let batch = receiver.recv().unwrap();
        in_flight.fetch_sub(batch.bytes, Ordering::Relaxed);
        intake.take(&mut vec![packet(60)]);
        let batch = receiver.recv().unwrap();
        let [Item::Gap { left_out: told, .. }, Item::Order(_)] = batch.items[..] else {
            panic!("{batch:?}");
        };
        assert_eq!(told, left_out(2, 1));
    }

    #[test]
    fn a_hole_that_nothing_follows_is_told_at_the_end() {
        let (sender, receiver) = sync_channel(BATCHES);
        let mut intake = Intake::new(sender, Arc::default(), ORDER_BYTES + 100);
        intake.take(&mut vec![packet(60), packet(60)]);
        intake.finish();
        let items: Vec<_> = receiver.iter().flat_map(|batch| batch.items).collect();
        let [Item::Order(_), Item::Gap { left_out: told, .. }] = items[..] else {
            panic!("{items:?}");
        };
        assert_eq!(told, left_out(1, 0));
    }

    #[test]
    fn a_flood_of_notes_ends_at_its_own_bound() {
        let (sender, _receiver) = sync_channel(BATCHES);
        let mut intake = Intake::new(sender, Arc::default(), 0);
        let mute = || append(Payload::Mute("{}".into()));
        intake.take(&mut vec![packet(1), mute()]);
        assert_eq!(
            intake.left_out_in_all,
            left_out(1, 0),
            "the reserve is theirs"
        );
        let flood = NOTES_RESERVE_BYTES / ORDER_BYTES;
        intake.take(&mut (0..flood).map(|_| mute()).collect());
        assert!(intake.left_out_in_all.notes > 0);
    }

    #[test]
    fn a_full_channel_delays_and_loses_nothing() {
        let (sender, receiver) = sync_channel(1);
        let mut intake = Intake::new(sender, Arc::default(), WAITING_BYTES);
        for _ in 0..5 {
            intake.take(&mut vec![packet(1)]);
        }
        assert_eq!(receiver.recv().unwrap().items.len(), 1);
        intake.take(&mut Vec::new());
        assert_eq!(receiver.recv().unwrap().items.len(), 4);
        assert!(!intake.has_backlog());
    }
}
