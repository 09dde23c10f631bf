//! Which connection a datagram belongs to, when all share one port.
//!
//! A STUN request names our ufrag and proves that it knows the password; from then on its source
//! address is *verified* and everything from there belongs to that connection. A datagram from any
//! other address is dropped before a parser sees it, so a stranger can neither race the DTLS handshake
//! (Enable Security ES2023-01) nor have packets sent anywhere.

use std::collections::HashMap;
use std::net::SocketAddr;

use str0m::ice::StunMessage;

use crate::connection::ConnectionKey;
use crate::limits;

#[derive(Default)]
pub struct Demux {
    by_ufrag: HashMap<String, ConnectionKey>,
    by_source: HashMap<SocketAddr, ConnectionKey>,
    sources: HashMap<ConnectionKey, Vec<SocketAddr>>,
}

/// RFC 7983: the first byte of STUN is 0 or 1 for the methods in use here.
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|byte| *byte < 2)
}

impl Demux {
    pub fn expect(&mut self, ufrag: String, key: ConnectionKey) {
        self.by_ufrag.insert(ufrag, key);
    }

    /// The connection whose ufrag a STUN request names; it is not proven yet.
    pub fn by_ufrag(&self, datagram: &[u8]) -> Option<ConnectionKey> {
        let message = StunMessage::parse(datagram).ok()?;
        let (ours, _) = message.split_username()?;
        self.by_ufrag.get(ours).copied()
    }

    /// The connection that verified this source address.
    pub fn by_source(&self, source: SocketAddr) -> Option<ConnectionKey> {
        self.by_source.get(&source).copied()
    }

    /// Notes a source address that proved to know the password. An address that another living
    /// connection has verified stays with it: whoever can forge it must not take its media away.
    pub fn verify(&mut self, source: SocketAddr, key: ConnectionKey) {
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

    fn source(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
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
    fn a_connection_that_moves_on_and_on_keeps_its_newest_addresses() {
        let mut demux = Demux::default();
        for port in 0..=limits::TUPLES as u16 {
            demux.verify(source(port), key(1));
        }
        assert_eq!(demux.by_source(source(0)), None);
        assert_eq!(demux.by_source(source(limits::TUPLES as u16)), Some(key(1)));
    }
}
