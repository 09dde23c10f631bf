//! A str0m session over a plain socket, moved on by its owner: the other side in the tests of this
//! crate and of the worker. It panics on any error, because a test must not pass over one.

use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

/// Larger than any datagram on loopback that concerns us.
const DATAGRAM_BYTES: usize = 2_048;

pub struct PlainSession {
    pub rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
}

impl PlainSession {
    /// In RTP mode, with one candidate on loopback.
    pub fn new(config: RtcConfig) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
        socket.set_nonblocking(true).expect("a socket can poll");
        let address = socket.local_addr().expect("the socket is bound");
        let mut rtc = config.set_rtp_mode(true).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("it is an address"));
        Self {
            rtc,
            socket,
            address,
        }
    }

    /// Receives and sends what is there now; what happened meanwhile. `passes` sees each datagram on
    /// its way out and loses it by saying false.
    pub fn turn(&mut self, mut passes: impl FnMut(&[u8]) -> bool) -> Vec<Event> {
        let mut happened = Vec::new();
        let mut buffer = [0; DATAGRAM_BYTES];
        while let Ok((length, source)) = self.socket.recv_from(&mut buffer) {
            let datagram = Receive::new(Protocol::Udp, source, self.address, &buffer[..length]);
            let input = datagram.map(|received| Input::Receive(Instant::now(), received));
            self.feed(input.expect("a datagram"), &mut passes, &mut happened);
        }
        self.feed(Input::Timeout(Instant::now()), &mut passes, &mut happened);
        happened
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
                Output::Transmit(transmit) if passes(&transmit.contents) => {
                    let sent = self
                        .socket
                        .send_to(&transmit.contents, transmit.destination);
                    sent.expect("loopback takes it");
                }
                Output::Transmit(_) => {}
                Output::Event(event) => happened.push(event),
            }
        }
    }
}
