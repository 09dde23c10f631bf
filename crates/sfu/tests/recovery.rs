//! How much of what a publisher sends over a bad network is recorded, in virtual time and with fixed
//! seeds. Loss strikes both directions: media, retransmissions and the requests for them.

mod lab;

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use isotape_sfu::Kind;
use lab::Lab;

/// Of what is recorded of a stream.
const PACKETS: u64 = 60_000;
/// What a browser keeps for retransmission: max(1 s, 3 RTT), at most 9,600 packets (libwebrtc).
const HISTORY: Duration = Duration::from_secs(1);
const HISTORY_PACKETS: usize = 9_600;

struct Network {
    name: &'static str,
    loss: f64,
    /// Mean length of a run of losses; none when each is independent of the last.
    burst: Option<f64>,
    rtt: Duration,
    /// Highest share of packets that may be missing in the end.
    goal: f64,
}

impl Network {
    const fn new(
        name: &'static str,
        loss: f64,
        burst: Option<f64>,
        rtt_ms: u64,
        goal: f64,
    ) -> Self {
        let rtt = Duration::from_millis(rtt_ms);
        Self {
            name,
            loss,
            burst,
            rtt,
            goal,
        }
    }

    /// Puts it into force. Bursts last as long in both directions: a chain moves on with each packet
    /// of the media, however few requests there are.
    fn settle_in(&self, lab: &mut Lab, seed: u64) {
        let up = Rc::new(RefCell::new(Chain::new(self, seed)));
        let down = Rc::new(RefCell::new(Chain::new(self, seed + 1)));
        let is_independent = self.burst.is_none();
        let (media, requests) = (down.clone(), down);
        lab.delay = self.rtt / 2;
        lab.to_server = Box::new(move |_| {
            media.borrow_mut().step();
            up.borrow_mut().step()
        });
        lab.to_browsers = Box::new(move |_| {
            let mut down = requests.borrow_mut();
            if is_independent {
                down.step()
            } else {
                !down.is_bad
            }
        });
    }
}

/// A Gilbert-Elliott chain whose bad state loses everything.
struct Chain {
    begin: f64,
    end: f64,
    is_bad: bool,
    dice: Dice,
}

impl Chain {
    fn new(network: &Network, seed: u64) -> Self {
        let end = network.burst.map_or(1.0 - network.loss, |mean| 1.0 / mean);
        Self {
            begin: network.loss * end / (1.0 - network.loss),
            end,
            is_bad: false,
            dice: Dice(seed),
        }
    }

    /// Whether the next packet gets through.
    fn step(&mut self) -> bool {
        self.is_bad = match self.is_bad {
            true => self.dice.roll() >= self.end,
            false => self.dice.roll() < self.begin,
        };
        !self.is_bad
    }
}

/// SplitMix64: the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A publisher with one camera on this network. The first packet arrives: nobody can miss what came
/// before it.
fn publisher(network: &Network, seed: u64) -> Lab {
    let mut lab = Lab::new();
    lab.join("alice", &[Kind::Video]);
    lab.connect();
    let browser = &mut lab.browsers[0];
    let history = HISTORY.max(network.rtt * 3);
    browser
        .publish
        .rtc
        .direct_api()
        .stream_tx_by_mid(browser.mids[0], None)
        .unwrap()
        .set_rtx_cache(HISTORY_PACKETS, history, None);
    lab.send(0, 0, &u64::MAX.to_be_bytes());
    lab.run(network.rtt);
    network.settle_in(&mut lab, seed);
    lab
}

/// The share of the packets that is missing in the journal in the end.
fn missing(network: &Network, per_second: u32, seed: u64) -> f64 {
    let mut lab = publisher(network, seed);
    let begin = lab.now;
    // Those of the last two seconds are only there to show that others are missing.
    for number in 0..PACKETS + 2 * u64::from(per_second) {
        let at = begin + Duration::from_secs_f64(number as f64 / f64::from(per_second));
        while lab.now < at {
            lab.run(Duration::from_millis(5));
        }
        lab.send(0, 0, &number.to_be_bytes());
    }
    let (recorded, _) = lab.recorded();
    let distinct: HashSet<_> = recorded.iter().collect();
    assert_eq!(distinct.len(), recorded.len(), "no packet twice");
    let lost = (0..PACKETS).filter(|number| !distinct.contains(&number.to_be_bytes().to_vec()));
    let share = lost.count() as f64 / PACKETS as f64;
    let counters = lab.sfu.output.counters;
    println!(
        "{:<14} {per_second} packets/s: {:.4} % missing, {} repaired, {} asked for, {} given up",
        network.name,
        share * 100.0,
        counters.repaired_packets,
        counters.requested_packets,
        counters.lost_packets,
    );
    share
}

fn check(network: &Network) {
    for (per_second, seed) in [(240, 11), (600, 23)] {
        let share = missing(network, per_second, seed);
        assert!(share <= network.goal, "{}: {share}", network.name);
    }
}

#[test]
fn two_percent_on_a_usual_path() {
    check(&Network::new("2 % / 150 ms", 0.02, None, 150, 0.000_1));
}

#[test]
fn five_percent_on_a_long_path() {
    check(&Network::new("5 % / 300 ms", 0.05, None, 300, 0.000_5));
}

#[test]
fn ten_percent_on_a_usual_path() {
    check(&Network::new("10 % / 150 ms", 0.10, None, 150, 0.000_5));
}

#[test]
fn twenty_percent_on_a_long_path() {
    check(&Network::new("20 % / 300 ms", 0.20, None, 300, 0.02));
}

#[test]
fn bursts_of_twenty_on_a_short_path() {
    check(&Network::new(
        "bursts / 80 ms",
        0.05,
        Some(20.0),
        80,
        0.000_5,
    ));
}

/// Whether the datagram is RTP (RFC 5761 section 4: RTCP types are 192 to 223).
fn is_media(datagram: &[u8]) -> bool {
    (128..192).contains(&datagram[0]) && !(192..224).contains(&datagram[1])
}

/// Opus has no RTX: a browser sends the very packet again.
#[test]
fn lost_sound_is_asked_for_too() {
    let mut lab = Lab::new();
    lab.join("alice", &[Kind::Audio]);
    lab.connect();
    lab.send(0, 0, b"first");
    lab.run(Duration::from_secs(1));
    let lost = Rc::new(RefCell::new(Vec::new()));
    let trap = lost.clone();
    lab.to_server = Box::new(move |datagram| {
        trap.replace(datagram.to_vec());
        !is_media(datagram)
    });
    lab.send(0, 0, b"lost");
    lab.run(Duration::from_millis(5));
    lab.to_server = Box::new(|_| true);
    lab.send(0, 0, b"last");
    lab.run(Duration::from_millis(30));
    assert_eq!(lab.sfu.output.counters.requested_packets, 1);
    let source = lab.browsers[0].publish.address;
    lab.sfu
        .receive(lab.now, isotape_sfu::Tuple::udp(source), &lost.borrow());
    lab.run(Duration::from_secs(3));
    assert_eq!(lab.recorded().0.len(), 3);
    assert_eq!(lab.sfu.output.counters.lost_packets, 0);
}

#[test]
fn a_hole_is_asked_for_in_time_although_nothing_more_comes() {
    let mut lab = Lab::new();
    lab.join("alice", &[Kind::Video]);
    lab.connect();
    lab.send(0, 0, b"first");
    lab.run(Duration::from_secs(1));
    lab.to_server = Box::new(|datagram| !is_media(datagram));
    lab.send(0, 0, b"lost");
    lab.run(Duration::from_millis(5));
    lab.to_server = Box::new(|_| true);
    lab.send(0, 0, b"last");
    lab.run(Duration::from_millis(30));
    assert_eq!(lab.recorded().0.len(), 3);
}

/// A router that holds a packet back for seconds: neither the original nor what was sent again for it
/// is too late for the journal, and both together count once.
#[test]
fn what_comes_long_after_it_was_given_up_is_recorded_all_the_same() {
    for held in ["original", "retransmission", "both"] {
        let mut lab = Lab::new();
        lab.join("alice", &[Kind::Video]);
        lab.connect();
        lab.send(0, 0, b"first");
        lab.run(Duration::from_millis(20));
        let caught = hold_a_packet(&mut lab);
        lab.send(0, 0, b"late");
        send_quickly(&mut lab, 0..1_500);
        assert_eq!(lab.sfu.output.counters.lost_packets, 1);
        // Many other retransmissions overtake it.
        let mut sent = 0;
        lab.to_server = Box::new(move |datagram| {
            sent += u32::from(is_media(datagram));
            !(is_media(datagram) && sent % 10 == 9)
        });
        send_quickly(&mut lab, 1_500..3_500);
        lab.to_server = Box::new(|_| true);
        send_quickly(&mut lab, 3_500..4_000);
        assert!(lab.sfu.output.counters.repaired_packets > 150);
        let caught = caught.borrow();
        let source = lab.browsers[0].publish.address;
        for (name, datagram) in ["original", "retransmission"].iter().zip(&*caught) {
            if held == *name || held == "both" {
                lab.sfu
                    .receive(lab.now, isotape_sfu::Tuple::udp(source), datagram);
            }
        }
        lab.collect();
        let (recorded, _) = lab.recorded();
        let late = recorded.iter().filter(|body| *body == b"late").count();
        assert_eq!((late, recorded.len()), (1, 4_002), "{held}");
        assert_eq!(lab.sfu.output.counters.late_packets, 1);
    }
}

/// Keeps the next packet and whatever is sent again from the server.
fn hold_a_packet(lab: &mut Lab) -> Rc<RefCell<Vec<Vec<u8>>>> {
    let caught = Rc::new(RefCell::new(Vec::<Vec<u8>>::new()));
    let trap = caught.clone();
    lab.to_server = Box::new(move |datagram| {
        let mut caught = trap.borrow_mut();
        let original = caught.first();
        let is_held = is_media(datagram)
            && original.is_none_or(|original| original[8..12] != datagram[8..12]);
        if is_held {
            caught.push(datagram.to_vec());
        }
        !is_held
    });
    caught
}

/// A thousand packets a second.
fn send_quickly(lab: &mut Lab, numbers: std::ops::Range<u64>) {
    for number in numbers {
        lab.send(0, 0, &number.to_be_bytes());
        if number % 5 == 4 {
            lab.run(Duration::from_millis(5));
        }
    }
}
