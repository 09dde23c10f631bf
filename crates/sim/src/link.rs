//! One PeerConnection over its own socket: a str0m session as full ICE agent on loopback.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use serde::Serialize;
use str0m::change::SdpPendingOffer;
use str0m::channel::ChannelId;
use str0m::format::Codec;
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpPacket;
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc};

use crate::clip::Random;
use crate::error::Result;

/// Larger than any datagram on loopback that concerns us.
const DATAGRAM_BYTES: usize = 2_048;
/// RTP and RTCP by the first byte (RFC 7983 section 7).
const FIRST_BYTES_OF_RTP: std::ops::Range<u8> = 128..192;
/// RTCP packet types on the second byte (RFC 5761 section 4).
const RTCP_TYPES: std::ops::Range<u8> = 192..224;

pub struct Link {
    pub rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    pub deadline: Instant,
    pub pending: Option<SdpPendingOffer>,
    pub channel: Option<ChannelId>,
    pub received: BTreeMap<u32, Received>,
    pub key_frames_asked: u64,
    pub losses: Option<Losses>,
    pub datagrams_lost: u64,
    happened: Vec<Happened>,
}

/// Loses RTP on the way out; handshakes and feedback pass.
pub struct Losses {
    pub fraction: f64,
    pub random: Random,
}

/// What the driver is told.
pub enum Happened {
    Connected,
    Disconnected,
    Data(String),
}

/// What came in on one SSRC.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Received {
    pub mid: String,
    pub packets: u64,
    pub bytes: u64,
    pub repaired: u64,
    pub first_sequence: u64,
    pub last_sequence: u64,
}

impl Link {
    pub fn new(now: Instant, from: Ipv4Addr) -> Result<Self> {
        let socket = UdpSocket::bind((from, 0).into())?;
        let address = socket.local_addr()?;
        let mut rtc = Rtc::builder().set_rtp_mode(true).build(now);
        let candidate = Candidate::host(address, "udp").map_err(str0m::RtcError::from)?;
        rtc.add_local_candidate(candidate);
        Ok(Self {
            rtc,
            socket,
            address,
            deadline: now,
            pending: None,
            channel: None,
            received: BTreeMap::new(),
            key_frames_asked: 0,
            losses: None,
            datagrams_lost: 0,
            happened: Vec::new(),
        })
    }

    pub fn socket(&mut self) -> &mut UdpSocket {
        &mut self.socket
    }

    /// Reads until the socket is empty (it is watched edge-triggered).
    pub fn receive(&mut self, now: Instant) -> Result<()> {
        let mut buffer = [0; DATAGRAM_BYTES];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, source)) => self.take(now, source, &buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // An ICMP answer to an earlier send: the server is away for the moment.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) -> Result<()> {
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.address, datagram) else {
            return Ok(());
        };
        let input = Input::Receive(now, receive);
        if self.rtc.is_alive() && self.rtc.accepts(&input) {
            self.rtc.handle_input(input)?;
            self.drain()?;
        }
        Ok(())
    }

    /// Lets time pass and sends what is due.
    pub fn turn(&mut self, now: Instant) -> Result<()> {
        if self.rtc.is_alive() {
            self.rtc.handle_input(Input::Timeout(now))?;
        }
        self.drain()
    }

    pub fn drain(&mut self) -> Result<()> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return Ok(());
                }
                Output::Transmit(transmit) => {
                    self.send(&transmit.contents, transmit.destination)?
                }
                Output::Event(event) => self.note(event),
            }
        }
    }

    fn send(&mut self, datagram: &[u8], destination: SocketAddr) -> Result<()> {
        let lost = self
            .losses
            .as_mut()
            .is_some_and(|losses| is_rtp(datagram) && losses.random.fraction() < losses.fraction);
        if lost {
            self.datagrams_lost += 1;
            return Ok(());
        }
        match self.socket.send_to(datagram, destination) {
            Ok(_) => Ok(()),
            // A full socket buffer is loss on the first metre, as on a real machine.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.datagrams_lost += 1;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Connected => self.happened.push(Happened::Connected),
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.happened.push(Happened::Disconnected);
            }
            Event::ChannelOpen(id, _) => self.channel = Some(id),
            Event::ChannelData(data) => {
                let text = String::from_utf8_lossy(&data.data).into_owned();
                self.happened.push(Happened::Data(text));
            }
            Event::KeyframeRequest(_) => self.key_frames_asked += 1,
            Event::RtpPacket(packet) => self.count(&packet),
            _ => {}
        }
    }

    fn count(&mut self, packet: &RtpPacket) {
        let ssrc = packet.header.ssrc;
        let received = self.received.entry(*ssrc).or_insert_with(|| Received {
            first_sequence: *packet.seq_no,
            ..Received::default()
        });
        if let Some(mid) = packet.header.ext_vals.mid {
            received.mid = mid.to_string();
        }
        received.packets += 1;
        received.bytes += packet.payload.len() as u64;
        received.repaired += u64::from(packet.repaired);
        received.first_sequence = received.first_sequence.min(*packet.seq_no);
        received.last_sequence = received.last_sequence.max(*packet.seq_no);
    }

    pub fn take_happened(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.happened)
    }

    /// The payload type under which the other side takes a codec, by its own order of preference.
    pub fn payload_type(&self, mid: str0m::media::Mid, codec: Codec) -> Option<str0m::media::Pt> {
        let params = self.rtc.codec_config().params();
        let is_codec = |pt: &str0m::media::Pt| {
            (params.iter()).any(|param| param.pt() == *pt && param.spec().codec == codec)
        };
        let media = self.rtc.media(mid)?;
        media.remote_pts().iter().copied().find(is_codec)
    }
}

/// Whether a datagram on a port that carries everything is RTP.
pub fn is_rtp(datagram: &[u8]) -> bool {
    datagram.len() > 1
        && FIRST_BYTES_OF_RTP.contains(&datagram[0])
        && !RTCP_TYPES.contains(&datagram[1])
}

/// Long enough ahead that it is no deadline.
pub const FAR: Duration = Duration::from_secs(3600);
