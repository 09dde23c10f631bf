//! Which connection a datagram belongs to, when all share one port.
//!
//! A STUN request names our ufrag and proves that it knows the password; from then on its source
//! address is *verified* and everything from there belongs to that connection. A datagram from any
//! other address is dropped before a parser sees it, so a stranger can neither race the DTLS handshake
//! (Enable Security ES2023-01) nor have packets sent anywhere.

use std::collections::HashMap;

use str0m::ice::StunMessage;

use crate::connection::ConnectionKey;
use crate::limits;
use crate::output::Tuple;

#[derive(Default)]
pub struct Demux {
    by_ufrag: HashMap<String, ConnectionKey>,
    by_source: HashMap<Tuple, ConnectionKey>,
    sources: HashMap<ConnectionKey, Vec<Tuple>>,
}

/// What a connectivity check claims; nothing of it is proven yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    /// The connection whose ufrag it names.
    pub key: ConnectionKey,
    /// Whether the client wants to use this pair (USE-CANDIDATE).
    pub nominates: bool,
}

/// RFC 7983: the first byte of STUN is 0 or 1 for the methods in use here.
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|byte| *byte < 2)
}

impl Demux {
    pub fn expect(&mut self, ufrag: String, key: ConnectionKey) {
        self.by_ufrag.insert(ufrag, key);
    }

    /// Reads a STUN request that names one of our ufrags.
    pub fn check(&self, datagram: &[u8]) -> Option<Check> {
        let message = StunMessage::parse(datagram).ok()?;
        let (ours, _) = message.split_username()?;
        Some(Check {
            key: *self.by_ufrag.get(ours)?,
            nominates: message.use_candidate(),
        })
    }

    /// The connection that verified this source address.
    pub fn by_source(&self, source: Tuple) -> Option<ConnectionKey> {
        self.by_source.get(&source).copied()
    }

    /// Notes a source address that proved to know the password. An address that another living
    /// connection has verified stays with it: whoever can forge it must not take its media away.
    pub fn verify(&mut self, source: Tuple, key: ConnectionKey) {
        if self.by_source.contains_key(&source) {
            return;
        }
        let known = self.sources.entry(key).or_default();
        if known.len() == limits::TUPLES {
            self.by_source.remove(&known.remove(0));
        }
        known.push(source);
        self.by_source.insert(source, key);
    }

    /// A TCP connection is closed: its address may soon be another's. Says whose it was.
    pub fn forget_source(&mut self, source: Tuple) -> Option<ConnectionKey> {
        let key = self.by_source.remove(&source)?;
        if let Some(known) = self.sources.get_mut(&key) {
            known.retain(|other| *other != source);
        }
        Some(key)
    }

    pub fn forget(&mut self, key: ConnectionKey) {
        self.by_ufrag.retain(|_, owner| *owner != key);
        for source in self.sources.remove(&key).unwrap_or_default() {
            self.by_source.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Pc;

    fn key(peer: u32) -> ConnectionKey {
        ConnectionKey {
            peer,
            pc: Pc::Publish,
            generation: 1,
        }
    }

    fn source(port: u16) -> Tuple {
        Tuple::udp(([192, 0, 2, 1], port).into())
    }

    #[test]
    fn a_verified_address_cannot_be_taken_by_another_connection() {
        let mut demux = Demux::default();
        demux.verify(source(1), key(1));
        demux.verify(source(1), key(2));
        assert_eq!(demux.by_source(source(1)), Some(key(1)));
        demux.forget(key(1));
        assert_eq!(demux.by_source(source(1)), None);
    }

    #[test]
    fn one_address_over_udp_and_over_tcp_are_two() {
        let mut demux = Demux::default();
        let tcp = Tuple::tcp(source(1).address);
        demux.verify(source(1), key(1));
        assert_eq!(demux.by_source(tcp), None);
        demux.verify(tcp, key(2));
        assert_eq!(demux.forget_source(tcp), Some(key(2)));
        demux.verify(tcp, key(3));
        assert_eq!(demux.by_source(tcp), Some(key(3)));
        assert_eq!(demux.by_source(source(1)), Some(key(1)));
    }

    #[test]
    fn a_connection_that_moves_on_and_on_keeps_its_newest_addresses() {
        let mut demux = Demux::default();
        for port in 0..=limits::TUPLES as u16 {
            demux.verify(source(port), key(1));
        }
        assert_eq!(demux.by_source(source(0)), None);
        assert_eq!(demux.by_source(source(limits::TUPLES as u16)), Some(key(1)));
    }
}
