//! A client that comes from elsewhere all of a sudden goes on where it was: same connection, same journal.

mod kit;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use kit::{
    CHECK_INTERVAL, Client, PATIENCE, Server, api_apply, connect, folder, journal, numbered, read,
    run,
};
use serde_json::{Value, json};
use str0m::format::Codec;

const RUNS: usize = 20;
/// Between two pictures.
const PAUSE: Duration = Duration::from_millis(5);

/// Alice, whose camera is recorded in `j-cam`, and Bob, who sees it.
struct Pair {
    server: Server,
    alice: Client,
    bob: Client,
    pictures: u32,
}

impl Pair {
    fn connected(root: &Path, addresses: Value, ips: [IpAddr; 2]) -> Self {
        let mut server = Server::start_at(root, &["VP8"], addresses);
        let (mut alice, mut bob) = (Client::at("alice", ips[0]), Client::at("bob", ips[1]));
        let camera = [("video", "cam", journal(root, "j-cam"))];
        alice.join(&mut server, "room", &camera);
        bob.join(&mut server, "room", &[]);
        connect(&mut server, &mut [&mut alice, &mut bob]);
        let pictures = 0;
        let mut pair = Self {
            server,
            alice,
            bob,
            pictures,
        };
        pair.film();
        pair
    }

    fn on_loopback(root: &Path) -> Self {
        let addresses = json!({"bind": "127.0.0.1:0", "announce": ["127.0.0.1"]});
        Self::connected(root, addresses, [Ipv4Addr::LOCALHOST.into(); 2])
    }

    /// Sends pictures until Bob sees one that was sent after the call.
    fn film(&mut self) -> Instant {
        let until = Instant::now() + PATIENCE;
        let first = self.pictures;
        let known = self.bob.subscribe.packets.len();
        while Instant::now() < until {
            self.alice.send("cam", Codec::Vp8, numbered(self.pictures));
            self.pictures += 1;
            self.alice.turn();
            self.bob.turn();
            let came = &self.bob.subscribe.packets[known..];
            let is_new = |payload: &[u8]| (first..self.pictures).any(|n| payload == numbered(n));
            if came.iter().any(|packet| is_new(&packet.payload)) {
                return Instant::now();
            }
            std::thread::sleep(PAUSE);
        }
        panic!(
            "no picture comes; metrics: {:?}",
            self.server.engine.metrics()
        );
    }

    /// Until the server has every picture, those that were sent again included.
    fn settle(&mut self) {
        let sent = u64::from(self.pictures);
        let has_all = |server: &mut Server, _: &mut [&mut Client]| {
            server.engine.metrics()["received_packets"] >= sent
        };
        let clients = &mut [&mut self.alice, &mut self.bob];
        run(&mut self.server, clients, has_all);
    }

    /// Every picture is in the journal once, what was under way when the path broke included.
    fn check_journal(mut self, root: &Path) {
        self.settle();
        let seal = json!({"command": "seal", "journal": "j-cam", "reason": "left"});
        self.server.ok(seal);
        let (payloads, _) = read(&root.join("j-cam"));
        assert_eq!(payloads.len(), self.pictures as usize, "none is doubled");
        assert!((0..self.pictures).all(|n| payloads.contains(&numbered(n))));
    }
}

/// The worst of some runs: from the break, and from the first check that went out after it.
#[derive(Debug, Default)]
struct Worst {
    since_break: Duration,
    since_check: Duration,
}

impl Worst {
    fn note(&mut self, broken_at: Instant, checked_at: Option<Instant>, back_at: Instant) {
        let checked_at = checked_at.expect("nothing comes before a check");
        assert!(
            back_at >= checked_at,
            "an address is known before its check"
        );
        self.since_break = self.since_break.max(back_at - broken_at);
        self.since_check = self.since_check.max(back_at - checked_at);
    }
}

#[test]
fn a_publisher_behind_a_rebinding_nat_is_back_with_its_next_check() {
    let root = folder("rebind-publish");
    let mut pair = Pair::on_loopback(&root);
    let mut worst = Worst::default();
    for _ in 0..RUNS {
        pair.alice.publish.plain.rebind();
        pair.alice.publish.checked_at = None;
        let broken_at = Instant::now();
        let back_at = pair.film();
        worst.note(broken_at, pair.alice.publish.checked_at, back_at);
        pair.settle();
    }
    println!("{RUNS} publishers rebound, checks every {CHECK_INTERVAL:?}: {worst:?}");
    pair.check_journal(&root);
}

#[test]
fn a_subscriber_behind_a_rebinding_nat_is_back_with_its_next_check() {
    let root = folder("rebind-subscribe");
    let mut pair = Pair::on_loopback(&root);
    let mut worst = Worst::default();
    for _ in 0..RUNS {
        pair.bob.subscribe.plain.rebind();
        pair.bob.subscribe.checked_at = None;
        let broken_at = Instant::now();
        let back_at = pair.film();
        worst.note(broken_at, pair.bob.subscribe.checked_at, back_at);
        pair.settle();
    }
    println!("{RUNS} subscribers rebound, checks every {CHECK_INTERVAL:?}: {worst:?}");
    pair.check_journal(&root);
}

#[test]
fn an_ice_restart_after_a_change_of_networks_goes_on_in_the_same_journal() {
    let root = folder("ice-restart");
    let mut pair = Pair::on_loopback(&root);
    for _ in 0..3 {
        pair.alice.publish.plain.rebind();
        let mut api = pair.alice.publish.rtc().sdp_api();
        api.ice_restart(true);
        let offer = api_apply(api);
        pair.alice.negotiate(&mut pair.server, offer);
        let clients = &mut [&mut pair.alice, &mut pair.bob];
        connect(&mut pair.server, clients);
        pair.film();
    }
    pair.check_journal(&root);
}

fn has_ipv6() -> bool {
    let has_it = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has_it {
        println!("skipped: ::1 is missing");
    }
    has_it
}

#[test]
fn peers_of_both_families_meet_on_one_socket() {
    if !has_ipv6() {
        return;
    }
    let root = folder("ipv6");
    let addresses = json!({"bind": "[::]:0", "announce": ["127.0.0.1", "::1"]});
    let (four, six) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let mut pair = Pair::connected(&root, addresses, [six, four]);
    for _ in 0..100 {
        pair.film();
    }
    pair.check_journal(&root);
}

#[test]
fn a_client_changes_from_ipv6_over_udp_to_tcp() {
    if !has_ipv6() {
        return;
    }
    let root = folder("ipv6-tcp");
    let addresses = json!({"bind": "[::1]:0", "announce": ["::1"]});
    let mut pair = Pair::connected(&root, addresses, [Ipv6Addr::LOCALHOST.into(); 2]);
    let server = (Ipv6Addr::LOCALHOST, pair.server.engine.port()).into();
    pair.alice.publish.plain.connect_tcp(server);
    pair.alice.publish.plain.allow_udp(false);
    for _ in 0..100 {
        pair.film();
    }
    let metrics = |pair: &Pair| pair.server.engine.metrics()["tcp_frames_received"];
    assert!(metrics(&pair) > 0);
    pair.check_journal(&root);
}
