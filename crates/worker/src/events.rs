//! Events on their way to Python: a bounded queue and an eventfd that is readable while it holds any.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde_json::{Value, json};

use crate::error::Error;
use crate::socket::EventFd;

/// Events kept for a reader that does not come. Beyond it only replies are kept, up to twice as many.
const QUEUED: usize = 32_768;

pub struct EventQueue {
    queue: Mutex<VecDeque<String>>,
    wake: EventFd,
    dropped: AtomicU64,
}

impl EventQueue {
    pub fn new() -> Result<Self, Error> {
        Ok(Self {
            queue: Mutex::default(),
            wake: EventFd::new()?,
            dropped: AtomicU64::new(0),
        })
    }

    pub fn fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    /// Queues an event; counts it when the queue is full.
    pub fn push<E: Serialize>(&self, event: &E) {
        self.push_within(event, QUEUED);
    }

    /// The good answer to a command.
    pub fn reply(&self, request: u64, ok: Value) {
        self.push_within(
            &json!({"event": "reply", "request": request, "ok": ok}),
            2 * QUEUED,
        );
    }

    /// The refusal of a command.
    pub fn refuse(&self, request: u64, code: u16, message: &str) {
        let error = json!({"code": code, "message": message});
        self.push_within(
            &json!({"event": "reply", "request": request, "error": error}),
            2 * QUEUED,
        );
    }

    fn push_within<E: Serialize>(&self, event: &E, bound: usize) {
        let text = serde_json::to_string(event).expect("events are plain JSON");
        let mut queue = self
            .queue
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if queue.len() >= bound {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.push_back(text);
        self.wake.signal();
    }

    /// Takes all events.
    pub fn drain(&self) -> Vec<String> {
        let mut queue = self
            .queue
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        self.wake.clear();
        queue.drain(..).collect()
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_does_not_come_costs_events_but_no_reply() {
        let events = EventQueue::new().unwrap();
        for _ in 0..QUEUED + 10 {
            events.push(&json!({"event": "speakers"}));
        }
        events.reply(7, json!({}));
        assert_eq!(events.dropped(), 10);
        assert_eq!(
            events.drain().last().unwrap(),
            r#"{"event":"reply","ok":{},"request":7}"#
        );
        assert!(events.drain().is_empty());
    }
}
