//! ICE over TCP (RFC 6544): the way in for clients whose network lets no UDP through.
//!
//! A listener on the number of the UDP port, and the connections that it took; none blocks, and all are in
//! the shard's own poll set. Whoever connects is a stranger until a first frame is a check that knows the
//! password. A client that reads too slowly loses datagrams, as it would over UDP: the shard never waits for
//! it, and what it has waiting never grows beyond a bound.
//!
//! The time of receipt is the time of the read: segments that the kernel puts together have no stamps of
//! their own.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use isotape_sfu::{Datagram, Transport, Tuple};

use crate::error::Error;
use crate::framing::{Input, Output};
use crate::socket::{self, DATAGRAM_MIN_BYTES, Watch};

/// Connections in all. A process has 1,024 descriptors unless it is told otherwise, and needs others too.
const CONNECTIONS: usize = 512;
/// Connections of one IPv4 address or IPv6 /64: an office behind one NAT, two for each of its people.
const CONNECTIONS_PER_SITE: usize = 128;
/// A stranger has this long for its first frame.
const STRANGER_TIME: Duration = Duration::from_secs(5);
/// A connection is given up after this long without a frame: consent to send ends then (RFC 7675 section 5.1).
const SILENCE: Duration = Duration::from_secs(30);
/// What the kernel keeps for a client beyond our own bound; 100 ms of 20 Mbit/s.
const KERNEL_OUTPUT_BYTES: libc::c_int = 256 * 1024;
/// Reads of one connection in one round, so that none keeps the others waiting.
const READS_PER_ROUND: usize = 4;
/// Connections taken in one round.
const ACCEPTS_PER_ROUND: usize = 32;
/// How long the listener rests when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Clone, Copy)]
pub struct TcpCounters {
    pub accepted: u64,
    /// Too many, or not ours: turned away before or with the first frame.
    pub refused: u64,
    pub frames_received: u64,
    pub frames_sent: u64,
    /// The client did not read, or was gone.
    pub frames_dropped: u64,
}

struct Connection {
    stream: TcpStream,
    /// Of the last frame, and before the first of the connection itself.
    heard_at: Instant,
    /// Its first frame proved that it belongs to a client of ours.
    is_known: bool,
    input: Input,
    output: Output,
    watch: Watch,
}

pub struct TcpMedia {
    listener: TcpListener,
    listener_watch: Watch,
    rests_until: Option<Instant>,
    connections: BTreeMap<SocketAddr, Connection>,
    /// Closed since they were last asked for.
    closed: Vec<SocketAddr>,
    pub counters: TcpCounters,
}

impl TcpMedia {
    pub fn bind(address: SocketAddr) -> Result<Self, Error> {
        let what = || format!("TCP socket {address}");
        let listener = TcpListener::bind(address).map_err(Error::system(what()))?;
        listener
            .set_nonblocking(true)
            .map_err(Error::system(what()))?;
        Ok(Self {
            listener_watch: Watch::reading(listener.as_raw_fd()),
            listener,
            rests_until: None,
            connections: BTreeMap::new(),
            closed: Vec::new(),
            counters: TcpCounters::default(),
        })
    }

    /// Every number with its name.
    pub fn named(&self) -> [(&'static str, u64); 6] {
        let counters = self.counters;
        [
            ("tcp_connections", self.connections.len() as u64),
            ("tcp_accepted", counters.accepted),
            ("tcp_refused", counters.refused),
            ("tcp_frames_received", counters.frames_received),
            ("tcp_frames_sent", counters.frames_sent),
            ("tcp_frames_dropped", counters.frames_dropped),
        ]
    }

    /// Everything to wait for; what became ready is noted in place.
    pub fn watches(&mut self, now: Instant) -> impl Iterator<Item = &mut Watch> {
        self.rests_until.take_if(|until| *until <= now);
        let listener = Some(&mut self.listener_watch).filter(|_| self.rests_until.is_none());
        let connections = self.connections.values_mut().map(|connection| {
            let is_waiting = !connection.output.waiting().is_empty();
            connection.watch.writing = is_waiting;
            &mut connection.watch
        });
        listener.into_iter().chain(connections)
    }

    /// Reads what is ready and hands out each frame; `each` says whether it belongs to a client of ours.
    /// Returns how many there were.
    pub fn receive(
        &mut self,
        now: Instant,
        mut each: impl FnMut(SocketAddr, &[u8]) -> bool,
    ) -> usize {
        let before = self.counters.frames_received;
        let mut ended = Vec::new();
        for (source, connection) in &mut self.connections {
            let is_over = connection.is_over(now);
            let is_ready = connection.watch.take_ready();
            let mut of_it = |frame: &[u8]| each(*source, frame);
            let lives = !is_ready || connection.read(now, &mut self.counters, &mut of_it);
            if is_over || !lives {
                ended.push(*source);
            }
        }
        ended.into_iter().for_each(|source| self.close(source));
        if self.listener_watch.take_ready() {
            self.accept(now);
        }
        (self.counters.frames_received - before) as usize
    }

    /// Sends the datagrams that go by TCP and takes them out.
    pub fn send(&mut self, datagrams: &mut Vec<Datagram>) {
        datagrams.retain(|datagram| {
            let Tuple { transport, address } = datagram.destination;
            if transport == Transport::Tcp {
                self.queue(address, &datagram.contents);
            }
            transport == Transport::Udp
        });
        let has_failed = |connection: &mut Connection| connection.flush().is_err();
        let failed = self.connections.iter_mut();
        let failed = failed.filter_map(|(at, connection)| has_failed(connection).then_some(*at));
        for address in failed.collect::<Vec<_>>() {
            self.close(address);
        }
    }

    /// The connections that ended: nothing can be sent to them any more.
    pub fn take_closed(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.closed)
    }

    fn queue(&mut self, address: SocketAddr, contents: &[u8]) {
        let connection = self.connections.get_mut(&address);
        let is_queued = connection.is_some_and(|connection| {
            connection.output.add(contents)
                // A failure shows again when the round ends.
                || connection.flush().is_ok() && connection.output.add(contents)
        });
        self.counters.frames_sent += u64::from(is_queued);
        self.counters.frames_dropped += u64::from(!is_queued);
    }

    fn close(&mut self, source: SocketAddr) {
        if let Some(connection) = self.connections.remove(&source) {
            self.counters.refused += u64::from(!connection.is_known);
            self.closed.push(source);
        }
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_PER_ROUND {
            match self.listener.accept() {
                Ok((stream, source)) => self.admit(stream, canonical(source), now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                // No descriptor is left; the listener stays readable, and we must not spin on it.
                Err(_) => {
                    self.rests_until = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, source: SocketAddr, now: Instant) {
        self.counters.accepted += 1;
        if !self.has_room(source.ip()) || prepare(&stream).is_err() {
            self.counters.refused += 1;
            return;
        }
        let connection = Connection {
            watch: Watch::reading(stream.as_raw_fd()),
            stream,
            heard_at: now,
            is_known: false,
            input: Input::new(),
            output: Output::default(),
        };
        self.connections.insert(source, connection);
    }

    /// Makes room where it can: the stranger that waits longest gives way to a newcomer.
    fn has_room(&mut self, ip: IpAddr) -> bool {
        let is_neighbour = |other: &&SocketAddr| site(other.ip()) == site(ip);
        let neighbours = self.connections.keys().filter(is_neighbour).count();
        if neighbours >= CONNECTIONS_PER_SITE {
            return false;
        }
        if self.connections.len() < CONNECTIONS {
            return true;
        }
        let strangers = self.connections.iter();
        let strangers = strangers.filter(|(_, connection)| !connection.is_known);
        let oldest = strangers.min_by_key(|(_, connection)| connection.heard_at);
        let Some(oldest) = oldest.map(|(source, _)| *source) else {
            return false;
        };
        self.close(oldest);
        true
    }
}

impl Connection {
    fn is_over(&self, now: Instant) -> bool {
        let patience = if self.is_known {
            SILENCE
        } else {
            STRANGER_TIME
        };
        now.saturating_duration_since(self.heard_at) >= patience
    }

    /// False when the connection is to be closed.
    fn read(
        &mut self,
        now: Instant,
        counters: &mut TcpCounters,
        each: &mut impl FnMut(&[u8]) -> bool,
    ) -> bool {
        for _ in 0..READS_PER_ROUND {
            let count = match self.stream.read(self.input.room()) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return false,
            };
            let (is_known, heard_at) = (&mut self.is_known, &mut self.heard_at);
            let goes_on = self.input.take(count, |frame| {
                counters.frames_received += 1;
                *heard_at = now;
                *is_known |= frame.len() >= DATAGRAM_MIN_BYTES && each(frame);
                *is_known
            });
            if goes_on != Ok(true) {
                return false;
            }
        }
        true
    }

    /// Writes what the kernel takes now.
    fn flush(&mut self) -> io::Result<()> {
        while !self.output.waiting().is_empty() {
            match self.stream.write(self.output.waiting()) {
                Ok(count) => self.output.written(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    socket::set_option(stream.as_raw_fd(), libc::SO_SNDBUF, KERNEL_OUTPUT_BYTES)
}

/// A dual-stack listener names IPv4 clients by mapped addresses.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What one household or office has for itself: an IPv4 address, or an IPv6 /64.
fn site(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
    }
}
