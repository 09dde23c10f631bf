//! When each connection wants to run next: a heap, so that a thousand idle peers cost nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::connection::{Connection, ConnectionKey};

/// Deadlines of all connections. An entry that was overtaken by an earlier one stays in the heap and is
/// recognised as stale when it comes up, because the connection remembers which entry counts.
#[derive(Default)]
pub struct Agenda {
    heap: BinaryHeap<Reverse<(Instant, ConnectionKey)>>,
}

impl Agenda {
    /// Notes the connection's deadline unless an earlier run is already noted.
    pub fn note(&mut self, key: ConnectionKey, connection: &mut Connection) {
        if connection
            .scheduled
            .is_none_or(|noted| connection.deadline < noted)
        {
            connection.scheduled = Some(connection.deadline);
            self.heap.push(Reverse((connection.deadline, key)));
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next entry that is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, ConnectionKey)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
