//! Where a client is: the checks that prove an address, changes of it, and whether it is there at all.
//!
//! `demux` says whose a datagram is and `connection` which way ours take; here the two meet, and the control
//! plane and the client are told what follows from it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use str0m::Input;
use str0m::net::Receive;

use crate::connection::{Connection, ConnectionKey};
use crate::demux::Check;
use crate::output::{Event, Pc, PcState, Transport, Tuple};
use crate::sfu::Sfu;

impl Sfu {
    /// A check that knows the password makes its source known, and may move the connection's path there.
    pub(crate) fn take_check(
        &mut self,
        at: Instant,
        source: Tuple,
        datagram: &[u8],
    ) -> Option<ConnectionKey> {
        let check = self.demux.check(datagram);
        let connection = check.as_ref().and_then(|check| self.connection(check.key));
        let (Some(Check { key, nominates }), Some(connection)) = (check, connection) else {
            self.output.counters.datagrams_unknown_source += 1;
            return None;
        };
        if !knows_password(connection, at, datagram) {
            self.output.counters.stun_refused += 1;
            return None;
        }
        let has_moved = connection.follow(source, nominates, at);
        self.output.counters.path_changes += u64::from(has_moved);
        self.demux.verify(source, key);
        Some(key)
    }

    /// A TCP connection is closed: nothing goes there any more, and its address may become another's.
    pub fn lose(&mut self, source: Tuple) {
        let owner = self.demux.forget_source(source);
        if let Some(connection) = owner.and_then(|key| self.connection(key)) {
            connection.lose_path(source);
        }
    }

    /// What happened to a connection may have made or broken it.
    pub(crate) fn on_connectivity(&mut self, key: ConnectionKey, now: Instant) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        let is_connected = connection.is_up(now);
        if is_connected == connection.is_connected {
            return;
        }
        connection.is_connected = is_connected;
        let Some(peer) = self.peers.get_mut(&key.peer) else {
            return;
        };
        let state = if is_connected {
            PcState::Connected
        } else {
            PcState::Disconnected
        };
        self.output.events.push(Event::Connection {
            peer: peer.id.clone(),
            pc: key.pc,
            state,
        });
        if !is_connected && key.pc == Pc::Subscribe {
            self.offer_ice_restart(key.peer, now);
        }
    }

    /// Time alone breaks connections: those that nobody checks any more, and paths that fell silent.
    pub(crate) fn look_at_paths(&mut self, now: Instant) {
        let mut broken = Vec::new();
        let mut silent = Vec::new();
        for (key, peer) in &mut self.peers {
            let connections = [&mut peer.publish, &mut peer.subscribe].into_iter();
            for connection in connections.flatten().filter(|one| one.is_connected) {
                if !connection.is_up(now) {
                    broken.push(connection.key);
                } else if connection.key.pc == Pc::Subscribe && connection.take_silence(now) {
                    silent.push(*key);
                }
            }
        }
        broken
            .into_iter()
            .for_each(|key| self.on_connectivity(key, now));
        silent
            .into_iter()
            .for_each(|peer| self.offer_ice_restart(peer, now));
    }

    /// The client repairs its publish connection itself, but waits for us on the other one.
    fn offer_ice_restart(&mut self, peer_key: u32, now: Instant) {
        let Some(peer) = self.peers.get_mut(&peer_key) else {
            return;
        };
        let is_under_way = peer
            .pending
            .as_ref()
            .is_some_and(|offer| offer.restarts_ice);
        peer.needs_ice_restart |= !is_under_way;
        self.offer_to(peer_key, now);
    }
}

/// Checks the integrity of a STUN request. A session takes STUN from the address that it sends to without
/// looking, so it is asked as if this came from nowhere.
fn knows_password(connection: &Connection, at: Instant, datagram: &[u8]) -> bool {
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    Receive::new(Transport::Udp.into(), nowhere, nowhere, datagram)
        .is_ok_and(|received| connection.rtc.accepts(&Input::Receive(at, received)))
}
