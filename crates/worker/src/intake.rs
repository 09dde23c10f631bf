//! The shard's end of the way to the journal thread: bounded in bytes, never blocking.
//!
//! A disk that stalls makes orders pile up here. At the bound packets are left out, each counted, and
//! as soon as there is room again a gap record says how many; orders that open, seal or describe a
//! journal are always kept, for they are few.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};

use isotape_sfu::{JournalKey, Order, Payload};

/// Bytes of packets that may wait for the disk: about 13 s of 40 peers at 1 Mbit/s.
pub const WAITING_BYTES: u64 = 64 * 1024 * 1024;
/// Batches in the channel. More wait in the backlog, so this bounds nothing but the channel's size.
pub const BATCHES: usize = 64;

/// What the journal thread gets.
#[derive(Debug)]
pub enum Item {
    Order(Order),
    /// So many packets were left out here.
    Gap {
        key: JournalKey,
        packets: u64,
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
    left_out: HashMap<JournalKey, u64>,
    bound: u64,
    pub left_out_packets: u64,
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
            left_out_packets: 0,
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
        if let Order::Append {
            key,
            payload: Payload::Rtp { header, body, .. },
            ..
        } = &order
        {
            let bytes = (header.len() + body.len()) as u64;
            if self.backlog_bytes + self.in_flight.load(Ordering::Relaxed) + bytes > self.bound {
                *self.left_out.entry(*key).or_default() += 1;
                self.left_out_packets += 1;
                return;
            }
            self.backlog_bytes += bytes;
        }
        let key = match &order {
            Order::Open { key, .. } | Order::Append { key, .. } | Order::Seal { key, .. } => *key,
        };
        if let Some(packets) = self.left_out.remove(&key) {
            self.backlog.push(Item::Gap { key, packets });
        }
        self.backlog.push(Item::Order(order));
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

    /// At the end: waits until the journal thread has everything.
    pub fn finish(mut self) {
        let batch = Batch {
            items: std::mem::take(&mut self.backlog),
            bytes: self.backlog_bytes,
        };
        self.in_flight.fetch_add(batch.bytes, Ordering::Relaxed);
        // The journal thread is gone only if it died, and then nobody is left to tell.
        let _ = self.sender.send(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;
    use std::time::Instant;

    const KEY: JournalKey = JournalKey(1);

    fn packet(bytes: usize) -> Order {
        let payload = Payload::Rtp {
            header: Box::default(),
            body: vec![0; bytes].into(),
            repaired: false,
        };
        Order::Append {
            key: KEY,
            at: Instant::now(),
            payload,
        }
    }

    #[test]
    fn what_a_stalled_disk_costs_is_counted_and_told_in_its_place() {
        let (sender, receiver) = sync_channel(BATCHES);
        let in_flight = Arc::new(AtomicU64::new(0));
        let mut intake = Intake::new(sender, in_flight.clone(), 100);
        intake.take(&mut vec![packet(60), packet(60), packet(60)]);
        assert_eq!(intake.left_out_packets, 2);
        let batch = receiver.recv().unwrap();
        in_flight.fetch_sub(batch.bytes, Ordering::Relaxed);
        intake.take(&mut vec![packet(60)]);
        let batch = receiver.recv().unwrap();
        assert!(matches!(
            batch.items[..],
            [Item::Gap { packets: 2, .. }, Item::Order(_)]
        ));
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
