//! A str0m session over plain sockets, moved on by its owner: the other side in the tests of this
//! crate and of the worker. It panics on any error, because a test must not pass over one.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use str0m::net::{Protocol, Receive, TcpType, Transmit};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

/// Larger than any datagram on loopback that concerns us.
const DATAGRAM_BYTES: usize = 2_048;
/// How long a server may leave a frame untaken before the test is in trouble.
const WRITE_TIME: Duration = Duration::from_secs(20);

pub struct PlainSession {
    pub rtc: Rtc,
    socket: UdpSocket,
    /// What the session takes for its own address; behind a NAT the other side sees another.
    address: SocketAddr,
    /// Whether the network lets UDP through.
    pub has_udp: bool,
    tcp: Option<Tcp>,
    /// Whether what comes over TCP is read.
    pub reads_tcp: bool,
}

/// A connection that carries frames (RFC 4571).
struct Tcp {
    stream: TcpStream,
    own: SocketAddr,
    server: SocketAddr,
    received: Vec<u8>,
}

impl PlainSession {
    /// In RTP mode, with one candidate on loopback.
    pub fn new(config: RtcConfig) -> Self {
        Self::at(config, Ipv4Addr::LOCALHOST.into())
    }

    /// As `new`, with a candidate at this address of the machine.
    pub fn at(config: RtcConfig, ip: IpAddr) -> Self {
        let socket = bind(ip);
        let address = socket.local_addr().expect("the socket is bound");
        let mut rtc = config.set_rtp_mode(true).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("it is an address"));
        Self {
            rtc,
            socket,
            address,
            has_udp: true,
            tcp: None,
            reads_tcp: true,
        }
    }

    /// From now on the other side sees another port, as behind a NAT that forgot the old one.
    pub fn rebind(&mut self) {
        self.socket = bind(self.address.ip());
    }

    /// Connects by TCP and adds the candidate for it.
    pub fn connect_tcp(&mut self, server: SocketAddr) {
        let stream = TcpStream::connect(server).expect("the server takes TCP");
        stream.set_nonblocking(true).expect("a socket can poll");
        let own = stream.local_addr().expect("it is connected");
        let active = Candidate::builder()
            .tcp()
            .host(own)
            .tcptype(TcpType::Active);
        self.rtc
            .add_local_candidate(active.build().expect("it is an address"));
        self.tcp = Some(Tcp {
            stream,
            own,
            server,
            received: Vec::new(),
        });
    }

    /// The network drops UDP, and the session knows; or it is back.
    pub fn allow_udp(&mut self, is_allowed: bool) {
        self.has_udp = is_allowed;
        let candidate = Candidate::host(self.address, "udp").expect("it is an address");
        if is_allowed {
            self.rtc.add_local_candidate(candidate);
        } else {
            self.rtc.direct_api().invalidate_candidate(&candidate);
        }
    }

    /// Receives and sends what is there now; what happened meanwhile. `passes` sees each datagram on
    /// its way out and loses it by saying false.
    pub fn turn(&mut self, mut passes: impl FnMut(&[u8]) -> bool) -> Vec<Event> {
        let mut happened = Vec::new();
        for (protocol, source, own, datagram) in self.received() {
            let received = Receive::new(protocol, source, own, &datagram).expect("a datagram");
            let input = Input::Receive(Instant::now(), received);
            self.feed(input, &mut passes, &mut happened);
        }
        self.feed(Input::Timeout(Instant::now()), &mut passes, &mut happened);
        happened
    }

    fn received(&mut self) -> Vec<(Protocol, SocketAddr, SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        let mut buffer = [0; DATAGRAM_BYTES];
        while let Ok((length, source)) = self.socket.recv_from(&mut buffer) {
            if self.has_udp {
                let datagram = buffer[..length].to_vec();
                all.push((Protocol::Udp, source, self.address, datagram));
            }
        }
        if let Some(tcp) = self.tcp.as_mut().filter(|_| self.reads_tcp) {
            let frames = tcp.frames().into_iter();
            all.extend(frames.map(|frame| (Protocol::Tcp, tcp.server, tcp.own, frame)));
        }
        all
    }

    fn feed(
        &mut self,
        input: Input<'_>,
        passes: &mut impl FnMut(&[u8]) -> bool,
        happened: &mut Vec<Event>,
    ) {
        self.rtc.handle_input(input).expect("the session takes it");
        loop {
            match self.rtc.poll_output().expect("the session goes on") {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) if passes(&transmit.contents) => self.send(&transmit),
                Output::Transmit(_) => {}
                Output::Event(event) => happened.push(event),
            }
        }
    }

    fn send(&mut self, transmit: &Transmit) {
        match (transmit.proto, &mut self.tcp) {
            (Protocol::Tcp, Some(tcp)) => tcp.send(&transmit.contents),
            (Protocol::Udp, _) if self.has_udp => {
                let sent = self
                    .socket
                    .send_to(&transmit.contents, transmit.destination);
                sent.expect("loopback takes it");
            }
            _ => {}
        }
    }
}

impl Tcp {
    fn frames(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = [0; DATAGRAM_BYTES];
        while let Ok(count @ 1..) = self.stream.read(&mut buffer) {
            self.received.extend(&buffer[..count]);
        }
        let mut frames = Vec::new();
        let mut rest = &self.received[..];
        while let Some((length, behind)) = rest.split_first_chunk::<2>()
            && let Some((frame, behind)) =
                behind.split_at_checked(u16::from_be_bytes(*length).into())
        {
            frames.push(frame.to_vec());
            rest = behind;
        }
        self.received = rest.to_vec();
        frames
    }

    fn send(&mut self, datagram: &[u8]) {
        let length = u16::try_from(datagram.len()).expect("a datagram is short");
        let frame = [&length.to_be_bytes()[..], datagram].concat();
        let mut rest = &frame[..];
        let until = Instant::now() + WRITE_TIME;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(Instant::now() < until, "the server does not read");
                    std::thread::yield_now();
                }
                Err(error) => panic!("the server closed the connection: {error}"),
            }
        }
    }
}

fn bind(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).expect("the address has a free port");
    socket.set_nonblocking(true).expect("a socket can poll");
    socket
}
