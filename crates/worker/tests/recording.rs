//! What a publisher sends is in the journal, byte for byte, and reaches the other peer.

mod kit;

use std::collections::HashSet;

use isotape_journal::RecordType;
use kit::{
    Client, PATIENCE, Server, alice_with_camera, connect, folder, journal, numbered, read, run,
};
use serde_json::{Value, json};
use str0m::format::Codec;

#[test]
fn a_publisher_is_recorded_and_seen_by_the_other_peer() {
    let root = folder("recorded");
    let mut server = Server::start_with(&root, &["VP8"]);
    let (mut alice, mut bob) = (Client::new("alice"), Client::new("bob"));
    alice.join(
        &mut server,
        "room",
        &[
            ("audio", "mic", journal(&root, "j-mic")),
            ("video", "cam", journal(&root, "j-cam")),
        ],
    );
    bob.join(&mut server, "room", &[]);
    connect(&mut server, &mut [&mut alice, &mut bob]);
    for n in 0..200 {
        alice.send("mic", Codec::Opus, vec![n as u8; 80]);
        alice.send("cam", Codec::Vp8, numbered(n));
        // A burst of all would overflow the receiving socket of the test, and lost audio of a
        // forwarded stream does not come again.
        if n % 20 == 19 {
            let so_far = 2 * (n as usize + 1);
            run(&mut server, &mut [&mut alice, &mut bob], |_, clients| {
                clients[1].subscribe.packets.len() >= so_far
            });
        }
    }
    for event in ["mic", "cam"] {
        server.wait(|e| e["event"] == "media" && e["peer"] == "alice" && e["track_id"] == event);
    }
    let speakers = server.wait(|e| e["event"] == "speakers" && e["speakers"] != json!([]));
    assert_eq!(speakers["speakers"][0]["track_id"], "mic");
    assert!(
        alice.publish.key_frames_asked >= 1,
        "a key frame when the recording and the subscriber began"
    );

    let sealed = server.ok(json!({"command": "seal", "journal": "j-cam", "reason": "left"}));
    let (payloads, types) = read(&root.join("j-cam"));
    assert_eq!(
        payloads,
        (0..200).map(numbered).collect::<Vec<_>>(),
        "as sent, in order"
    );
    assert_eq!(
        (sealed["packets"].as_u64(), sealed["lost_to_queue"].as_u64()),
        (Some(200), Some(0))
    );
    assert_eq!(types.last(), Some(&RecordType::SEAL));
    for expected in [
        RecordType::HEADER,
        RecordType::CODECS,
        RecordType::MUTE,
        RecordType::SSRC,
        RecordType::RTP,
    ] {
        assert!(types.contains(&expected), "{expected:?} is missing");
    }
    let received: HashSet<_> = bob
        .subscribe
        .packets
        .iter()
        .map(|packet| packet.payload.to_vec())
        .collect();
    assert!(
        (0..200).all(|n| received.contains(&numbered(n))),
        "every picture reached the other peer"
    );
    assert_eq!(
        server.ask(json!({"command": "seal", "journal": "j-cam", "reason": "again"}))["error"]["code"],
        404
    );
}

#[test]
fn lost_packets_are_asked_for_again_and_recorded() {
    let root = folder("lossy");
    let mut server = Server::start_with(&root, &["VP8"]);
    let mut alice = alice_with_camera(&root, &mut server, "cam");
    for n in 0..300 {
        // A loss at the very end shows only when something follows.
        alice.publish.lose_every = (n < 290).then_some(10);
        alice.send("cam", Codec::Vp8, numbered(n));
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    // One in ten was lost, and the first 290 of them counted.
    run(&mut server, &mut [&mut alice], |server, _| {
        let metrics = server.engine.metrics();
        metrics["received_packets"] >= 300 && metrics["repaired_packets"] >= 25
    });
    server.ok(json!({"command": "seal", "journal": "j-cam", "reason": "left"}));
    let (payloads, _) = read(&root.join("j-cam"));
    let distinct: HashSet<_> = payloads.iter().cloned().collect();
    assert_eq!(distinct.len(), 300, "nothing is missing");
    assert_eq!(payloads.len(), 300, "nothing is doubled");
}

#[test]
fn a_track_that_ends_goes_inactive_for_the_others_and_its_journal_can_still_be_sealed() {
    let root = folder("ends");
    let mut server = Server::start_with(&root, &["VP8"]);
    let (mut alice, mut bob) = (Client::new("alice"), Client::new("bob"));
    alice.join(
        &mut server,
        "room",
        &[
            ("video", "cam", Value::Null),
            ("video", "screen", journal(&root, "j-screen")),
        ],
    );
    bob.join(&mut server, "room", &[]);
    connect(&mut server, &mut [&mut alice, &mut bob]);
    alice.send("screen", Codec::Vp8, numbered(1));
    run(&mut server, &mut [&mut alice, &mut bob], |_, clients| {
        !clients[1].subscribe.packets.is_empty()
    });
    alice.remove_track(&mut server, "screen");
    let offer = server.wait(|e| e["event"] == "subscribe_offer" && e["peer"] == "bob");
    let sdp = offer["sdp"].as_str().unwrap();
    let sections: Vec<_> = sdp.split("m=video").skip(1).collect();
    assert_eq!(sections.len(), 2, "m-lines stay");
    assert!(
        sections
            .iter()
            .any(|s| s.contains("stream-alice screen") && s.contains("a=inactive")),
        "{sdp}"
    );
    assert!(
        sections
            .iter()
            .any(|s| s.contains("stream-alice cam") && s.contains("a=sendonly"))
    );
    let sealed =
        server.ok(json!({"command": "seal", "journal": "j-screen", "reason": "share ended"}));
    assert_eq!(sealed["packets"], 1);
}

#[test]
fn mids_are_decimal_and_one_offer_is_in_flight() {
    let root = folder("offers");
    let mut server = Server::start(&root);
    let mut bob = Client::new("bob");
    bob.join(&mut server, "room", &[]);
    let first = server.wait(|e| e["event"] == "subscribe_offer" && e["peer"] == "bob");
    let mut alice = Client::new("alice");
    alice.join(
        &mut server,
        "room",
        &[("audio", "mic", Value::Null), ("video", "cam", Value::Null)],
    );
    assert!(
        server
            .take(|e| e["event"] == "subscribe_offer" && e["peer"] == "bob")
            .is_none(),
        "the first has no answer yet"
    );
    server.events.push(first);
    let offers = bob.answer_offers(&mut server);
    let last = offers.last().unwrap();
    assert_eq!(
        offers.len(),
        2,
        "the channel, then everything that came meanwhile"
    );
    let mids: Vec<_> = last
        .lines()
        .filter_map(|line| line.strip_prefix("a=mid:"))
        .collect();
    assert_eq!(mids, ["0", "1", "2"]);
    assert!(
        last.contains("a=msid:stream-alice mic") && last.contains("a=msid:stream-alice cam"),
        "{last}"
    );
}

#[test]
fn the_answer_takes_our_codec_order_and_asks_for_lost_audio() {
    let root = folder("answer");
    let mut server = Server::start_with(&root, &["H264", "VP9", "AV1", "VP8"]);
    let mut alice = Client::new("alice");
    let answer = alice.join(
        &mut server,
        "room",
        &[("audio", "mic", Value::Null), ("video", "cam", Value::Null)],
    );
    let audio = answer.split("m=audio").nth(1).unwrap();
    let video = answer.split("m=video").nth(1).unwrap();
    assert!(
        audio.contains(" nack\r\n") && audio.contains("transport-cc"),
        "{audio}"
    );
    assert!(!audio.contains("usedtx"));
    assert!(
        video.contains("abs-send-time") && video.contains("transport-wide-cc"),
        "{video}"
    );
    assert!(!video.contains("video-orientation"));
    let order: Vec<_> = video
        .lines()
        .filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '))
        .map(|(_, name)| name)
        .collect();
    assert_eq!(order.first(), Some(&"H264/90000"), "{order:?}");
    let last = order.iter().rfind(|name| !name.starts_with("rtx"));
    assert_eq!(last, Some(&"VP8/90000"));
    assert!(answer.contains("a=ice-lite"));
}

#[test]
fn a_client_with_a_new_connection_goes_on_in_the_same_journal() {
    let root = folder("renewed");
    let mut server = Server::start_with(&root, &["VP8"]);
    let mut alice = alice_with_camera(&root, &mut server, "cam");
    alice.send("cam", Codec::Vp8, numbered(1));
    run(&mut server, &mut [&mut alice], |server, _| {
        server.engine.metrics()["received_packets"] == 1
    });
    let mut again = alice_with_camera(&root, &mut server, "cam-2");
    again.send("cam-2", Codec::Vp8, numbered(2));
    run(&mut server, &mut [&mut again], |server, _| {
        server.engine.metrics()["received_packets"] == 2
    });
    let sealed = server.ok(json!({"command": "seal", "journal": "j-cam", "reason": "left"}));
    assert_eq!(sealed["packets"], 2);
    assert_eq!(read(&root.join("j-cam")).0, [numbered(1), numbered(2)]);
}

#[test]
fn texts_go_both_ways_on_the_data_channel() {
    let root = folder("channel");
    let mut server = Server::start(&root);
    let mut alice = Client::new("alice");
    alice.join(&mut server, "room", &[]);
    connect(&mut server, &mut [&mut alice]);
    run(&mut server, &mut [&mut alice], |_, clients| {
        clients[0].subscribe.channel.is_some()
    });
    let id = alice.subscribe.channel.unwrap();
    alice
        .subscribe
        .rtc()
        .channel(id)
        .unwrap()
        .write(false, b"{\"ask\":1}")
        .unwrap();
    run(&mut server, &mut [&mut alice], |server, _| {
        server.events.iter().any(|e| e["event"] == "data")
    });
    assert_eq!(
        server.take(|e| e["event"] == "data").unwrap()["text"],
        "{\"ask\":1}"
    );
    server.ok(json!({"command": "send_data", "peer": "alice", "text": "told"}));
    run(&mut server, &mut [&mut alice], |_, clients| {
        clients[0].subscribe.texts == ["told"]
    });
}

#[test]
fn bad_requests_are_refused_by_name_and_harm_nobody() {
    let root = folder("refused");
    let mut server = Server::start(&root);
    server.ok(json!({"command": "add_peer", "room": "room", "peer": "p"}));
    let offer =
        |sdp: &str| json!({"command": "publish_offer", "peer": "p", "sdp": sdp, "tracks": []});
    for sdp in ["", "nonsense", "v=0\r\nm=audio", &"a=x\r\n".repeat(100_000)] {
        assert_eq!(server.ask(offer(sdp))["error"]["code"], 400);
    }
    assert_eq!(
        server.ask(json!({"command": "remove_peer", "peer": "q"}))["error"]["code"],
        404
    );
    assert_eq!(
        server.ask(json!({"command": "add_peer", "room": "other", "peer": "p"}))["error"]["code"],
        409
    );
    assert!(server.engine.command("{").is_err());
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for first in 0..=255u8 {
        stranger
            .send_to(&[first; 64], ("127.0.0.1", server.engine.port()))
            .unwrap();
    }
    let until = std::time::Instant::now() + PATIENCE;
    while server
        .engine
        .metrics()
        .get("datagrams_received")
        .is_none_or(|count| *count < 256)
    {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    server.ok(json!({"command": "remove_peer", "peer": "p"}));
}
