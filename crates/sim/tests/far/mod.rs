//! The other end: a plain str0m session in its own thread, which notes what arrives.

use std::sync::mpsc::{self, Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use isotape_sim::PlainSession;
use sha2::{Digest, Sha256};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::ChannelId;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::rtp::RtpWrite;
use str0m::{Event, Rtc};

/// How long any one condition may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The far side looks at its orders this often.
const TURN: Duration = Duration::from_millis(2);

#[derive(Clone, Debug)]
pub struct Arrived {
    pub ssrc: u32,
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub level: Option<i8>,
    pub sha256: String,
}

type Order = Box<dyn FnOnce(&mut Session) + Send>;

pub struct Far {
    orders: Sender<Order>,
}

struct Session {
    plain: PlainSession,
    arrived: Vec<Arrived>,
    /// Of each SSRC: its clock rate and its last sender report, seconds and RTP time.
    reports: Vec<(u32, f64, f64, u32)>,
    pending: Option<SdpPendingOffer>,
    channel: Option<ChannelId>,
    sending: Option<Mid>,
    heard: Vec<String>,
}

impl Far {
    pub fn start() -> Self {
        let (orders, waiting) = channel();
        thread::spawn(move || run(&waiting));
        Self { orders }
    }

    fn order<T: Send + 'static>(&self, f: impl FnOnce(&mut Session) -> T + Send + 'static) -> T {
        let (reply, result) = mpsc::channel();
        let order: Order = Box::new(move |session| drop(reply.send(f(session))));
        self.orders.send(order).unwrap();
        result.recv_timeout(PATIENCE).unwrap()
    }

    pub fn answer(&self, offer: &str) -> String {
        let offer = SdpOffer::from_sdp_string(offer).unwrap();
        self.order(move |session| {
            let answer = session.plain.rtc.sdp_api().accept_offer(offer).unwrap();
            session.turn();
            answer.to_sdp_string()
        })
    }

    pub fn packets(&self) -> Vec<Arrived> {
        self.order(|session| session.arrived.clone())
    }

    /// When the first packet of each SSRC was sent, on the sender's clock, as its reports tell.
    pub fn starts(&self) -> Vec<f64> {
        self.order(|session| {
            let reports = session.reports.iter();
            reports
                .map(|(ssrc, clock_rate, seconds, rtp)| {
                    let first = session.arrived.iter().find(|packet| packet.ssrc == *ssrc);
                    let ticks = rtp.wrapping_sub(first.unwrap().timestamp);
                    seconds - f64::from(ticks) / clock_rate
                })
                .collect()
        })
    }

    pub fn offer(&self) -> String {
        self.order(|session| {
            let mut api = session.plain.rtc.sdp_api();
            session.channel = Some(api.add_channel("ion-sfu".to_owned()));
            let (stream, track) = (Some("far-stream".to_owned()), Some("far-track".to_owned()));
            let direction = Direction::SendOnly;
            session.sending = Some(api.add_media(MediaKind::Video, direction, stream, track, None));
            let (offer, pending) = api.apply().unwrap();
            session.pending = Some(pending);
            offer.to_sdp_string()
        })
    }

    pub fn accept(&self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        self.order(move |session| {
            let pending = session.pending.take().unwrap();
            let api = session.plain.rtc.sdp_api();
            api.accept_answer(pending, answer).unwrap();
        });
    }

    pub fn send_video(&self, packets: u64) {
        self.order(move |session| {
            let mid = session.sending.unwrap();
            let params = session.plain.rtc.codec_config().params();
            let pt = params
                .iter()
                .find(|p| p.spec().codec == Codec::Vp8)
                .unwrap()
                .pt();
            for number in 0..packets {
                let mut api = session.plain.rtc.direct_api();
                let stream = api.stream_tx_by_mid(mid, None).unwrap();
                let write =
                    RtpWrite::new(pt, (100 + number).into(), 0, Instant::now(), vec![1; 50]);
                stream.write_rtp(write);
                session.turn();
            }
        });
    }

    /// False while the channel is not open.
    pub fn say(&self, text: &'static str) -> bool {
        self.order(move |session| {
            let channel = session.channel.and_then(|id| session.plain.rtc.channel(id));
            channel.is_some_and(|mut channel| channel.write(false, text.as_bytes()).unwrap())
        })
    }

    /// What was said and not taken yet.
    pub fn heard(&self) -> Option<String> {
        self.order(|session| session.heard.pop())
    }
}

/// Ends when nobody gives orders any more.
fn run(orders: &Receiver<Order>) {
    let mut session = Session {
        plain: PlainSession::new(Rtc::builder().set_ice_lite(true)),
        arrived: Vec::new(),
        reports: Vec::new(),
        pending: None,
        channel: None,
        sending: None,
        heard: Vec::new(),
    };
    loop {
        match orders.recv_timeout(TURN) {
            Ok(order) => order(&mut session),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        session.turn();
    }
}

impl Session {
    fn turn(&mut self) {
        for event in self.plain.turn(|_| true) {
            self.note(event);
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::RtpPacket(packet) => self.arrived.push(Arrived {
                ssrc: *packet.header.ssrc,
                sequence: packet.header.sequence_number,
                timestamp: packet.header.timestamp,
                marker: packet.header.marker,
                level: packet.header.ext_vals.audio_level,
                sha256: Sha256::digest(&packet.payload)
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect(),
            }),
            Event::SenderFeedback(feedback) => {
                let info = feedback.sender_info;
                let since = info.ntp_time.duration_since(UNIX_EPOCH).unwrap();
                let clock_rate = info.rtp_time.frequency().get().into();
                let report = (
                    *info.ssrc,
                    clock_rate,
                    since.as_secs_f64(),
                    info.rtp_time.numer() as u32,
                );
                if info.sender_packet_count == 0 {
                    return;
                }
                self.reports.retain(|(ssrc, ..)| *ssrc != report.0);
                self.reports.push(report);
            }
            Event::ChannelOpen(id, _) => self.channel = Some(id),
            Event::ChannelData(data) => self.heard.push(String::from_utf8(data.data).unwrap()),
            _ => {}
        }
    }
}
