//! Media over TCP, for clients whose network lets no UDP through, and what strangers try there.

mod kit;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use kit::{
    Client, PATIENCE, Server, alice_with_camera, connect, folder, journal, numbered, read, run,
};
use serde_json::{Value, json};
use str0m::format::Codec;

/// A stranger has five seconds, and the shard looks at least twice a second.
const STRANGER_TIME: Duration = Duration::from_millis(5_500);

fn address(server: &Server) -> SocketAddr {
    ([127, 0, 0, 1], server.engine.port()).into()
}

/// A client whose network drops UDP.
fn without_udp(peer: &str, server: &Server) -> Client {
    let mut client = Client::new(peer);
    for session in [&mut client.publish, &mut client.subscribe] {
        session.plain.has_udp = false;
        session.plain.connect_tcp(address(server));
    }
    client
}

fn metric(server: &Server, name: &str) -> u64 {
    server.engine.metrics().get(name).copied().unwrap_or(0)
}

/// Sends pictures `from..to` a few at a time until the other client has them all.
fn send_all(server: &mut Server, alice: &mut Client, bob: &mut Client, from: u32, to: u32) {
    for n in from..to {
        alice.send("cam", Codec::Vp8, numbered(n));
        if n % 20 == 19 || n + 1 == to {
            run(server, &mut [alice, bob], |_, clients| {
                let packets = &clients[1].subscribe.packets;
                packets
                    .iter()
                    .any(|packet| *packet.payload == numbered(n)[..])
            });
        }
    }
}

fn seal(server: &mut Server) {
    server.ok(json!({"command": "seal", "journal": "j-cam", "reason": "left"}));
}

#[test]
fn clients_without_udp_are_recorded_and_see_each_other() {
    let root = folder("tcp");
    let mut server = Server::start_with(&root, &["VP8"]);
    let (mut alice, mut bob) = (without_udp("alice", &server), without_udp("bob", &server));
    let tracks = [("video", "cam", journal(&root, "j-cam"))];
    let answer = alice.join(&mut server, "room", &tracks);
    let port = server.engine.port();
    assert!(answer.contains(&format!("127.0.0.1 {port} typ host tcptype passive")));
    bob.join(&mut server, "room", &[]);
    connect(&mut server, &mut [&mut alice, &mut bob]);
    send_all(&mut server, &mut alice, &mut bob, 0, 200);
    seal(&mut server);
    let (payloads, _) = read(&root.join("j-cam"));
    assert_eq!(payloads, (0..200).map(numbered).collect::<Vec<_>>());
}

#[test]
fn a_client_that_goes_from_udp_to_tcp_and_back_stays_in_its_journal() {
    let root = folder("tcp-and-back");
    let mut server = Server::start_with(&root, &["VP8"]);
    let (mut alice, mut bob) = (Client::new("alice"), Client::new("bob"));
    alice.publish.plain.connect_tcp(address(&server));
    let tracks = [("video", "cam", journal(&root, "j-cam"))];
    alice.join(&mut server, "room", &tracks);
    bob.join(&mut server, "room", &[]);
    connect(&mut server, &mut [&mut alice, &mut bob]);
    for (part, has_udp) in [true, false, true].into_iter().enumerate() {
        alice.publish.plain.allow_udp(has_udp);
        let from = part as u32 * 60;
        send_all(&mut server, &mut alice, &mut bob, from, from + 60);
    }
    let was_there_and_is_back = |server: &mut Server, _: &mut [&mut Client]| {
        metric(server, "path_changes") >= 2 && metric(server, "tcp_frames_received") >= 60
    };
    run(
        &mut server,
        &mut [&mut alice, &mut bob],
        was_there_and_is_back,
    );
    seal(&mut server);
    let (payloads, _) = read(&root.join("j-cam"));
    assert_eq!(payloads.len(), 180, "nothing is doubled");
    assert!((0..180).all(|n| payloads.contains(&numbered(n))));
}

#[test]
fn who_does_not_read_loses_its_own_packets_and_nobody_elses() {
    const PICTURES: u32 = 6_000;
    let root = folder("tcp-slow");
    let mut server = Server::start_with(&root, &["VP8"]);
    let mut alice = alice_with_camera(&root, &mut server, "cam");
    let (mut bob, mut slow) = (Client::new("bob"), without_udp("slow", &server));
    bob.join(&mut server, "room", &[]);
    slow.join(&mut server, "room", &[]);
    connect(&mut server, &mut [&mut alice, &mut bob, &mut slow]);
    slow.subscribe.plain.reads_tcp = false;
    send_all(&mut server, &mut alice, &mut bob, 0, PICTURES);
    let has_dropped =
        |server: &mut Server, _: &mut [&mut Client]| metric(server, "tcp_frames_dropped") > 0;
    run(&mut server, &mut [&mut alice, &mut bob], has_dropped);
    seal(&mut server);
    let (payloads, _) = read(&root.join("j-cam"));
    assert_eq!(payloads.len(), PICTURES as usize);
}

/// Says something and waits until the server has closed the connection.
fn is_closed_after(server: &Server, words: &[&[u8]], pause: Duration) -> Duration {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address(server)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    let mut words = words.iter().cycle();
    loop {
        // Writing fails once the server has closed; then reading tells.
        let _ = stream.write(words.next().unwrap());
        match stream.read(&mut [0; 64]) {
            Ok(0) => return begun.elapsed(),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return begun.elapsed(),
            Ok(_) => panic!("the server answers a stranger"),
            Err(_) => assert!(begun.elapsed() < PATIENCE, "the server keeps a stranger"),
        }
        std::thread::sleep(pause);
    }
}

#[test]
fn strangers_are_turned_away_and_harm_nobody() {
    let root = folder("tcp-strangers");
    let mut server = Server::start_with(&root, &["VP8"]);
    let mut alice = alice_with_camera(&root, &mut server, "cam");
    let random: Vec<u8> = (0..4_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let framed = [&[0, 100][..], &random[..100]].concat();
    let at_once: [&[&[u8]]; 3] = [&[b"GET / HTTP/1.1\r\n\r\n"], &[&random], &[&framed]];
    for words in at_once {
        assert!(is_closed_after(&server, words, Duration::ZERO) < STRANGER_TIME);
    }
    // Half a frame, and one byte at a time of a frame that never ends: both run out of time.
    let slow: [(&[&[u8]], Duration); 2] = [
        (&[&[4, 0, 1], &[]], Duration::ZERO),
        (&[&[4], &[0], &[1], &[1]], Duration::from_millis(50)),
    ];
    for (words, pause) in slow {
        let lasted = is_closed_after(&server, words, pause);
        assert!(lasted >= Duration::from_secs(5), "only {lasted:?}");
    }
    let counted = |server: &mut Server, _: &mut [&mut Client]| metric(server, "tcp_refused") == 5;
    run(&mut server, &mut [&mut alice], counted);
    assert_eq!(metric(&server, "tcp_connections"), 0);
    alice.send("cam", Codec::Vp8, numbered(1));
    let has_come =
        |server: &mut Server, _: &mut [&mut Client]| metric(server, "received_packets") == 1;
    run(&mut server, &mut [&mut alice], has_come);
}

#[test]
fn one_address_cannot_take_every_connection() {
    const PER_ADDRESS: usize = 128;
    let root = folder("tcp-many");
    let server = Server::start(&root);
    let begun = Instant::now();
    let taken: Vec<_> = (0..PER_ADDRESS + 8)
        .map(|_| TcpStream::connect(address(&server)).unwrap())
        .collect();
    while metric(&server, "tcp_accepted") < taken.len() as u64 {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    if begun.elapsed() < Duration::from_secs(4) {
        assert_eq!(metric(&server, "tcp_refused"), 8);
    }
}

#[test]
fn tcp_can_be_turned_off() {
    let root = folder("tcp-off");
    let off = json!({"bind": "127.0.0.1:0", "announce": ["127.0.0.1"], "tcp": false});
    let mut server = Server::start_at(&root, &["VP8"], off);
    let mut alice = Client::new("alice");
    let answer = alice.join(&mut server, "room", &[("audio", "mic", Value::Null)]);
    assert!(!answer.contains("tcptype"), "{answer}");
    assert!(TcpStream::connect(address(&server)).is_err());
}
