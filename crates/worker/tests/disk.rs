//! What becomes of the recording when the disk or the process ends first.

mod kit;

use std::path::Path;

use isotape_journal::{Reader, RecordType, recover};
use kit::{Client, Server, connect, folder, journal, run};
use serde_json::json;
use str0m::format::Codec;

fn packets(dir: &Path) -> usize {
    let mut reader = Reader::open(dir).unwrap();
    let mut count = 0;
    while let Some(record) = reader.next_record().unwrap() {
        count += usize::from(record.kind == RecordType::RTP);
    }
    count
}

/// One publisher with a microphone that is recorded in `journal`; it has sent ten packets.
fn recorded(server: &mut Server, journal: serde_json::Value) -> Client {
    let mut alice = Client::new("alice");
    alice.join(server, "room", &[("audio", "mic", journal)]);
    connect(server, &mut [&mut alice]);
    for n in 0..10 {
        alice.send("mic", Codec::Opus, vec![n; 80]);
    }
    run(server, &mut [&mut alice], |server, _| {
        server.engine.metrics()["received_packets"] >= 10
    });
    alice
}

#[test]
fn an_engine_that_is_closed_leaves_everything_durable_for_recovery() {
    let root = folder("closed");
    let mut server = Server::start(&root);
    let order = journal(&root, "j");
    let _alice = recorded(&mut server, order);
    server.engine.close();
    assert!(
        server
            .engine
            .command(r#"{"command":"remove_peer","request":99,"peer":"alice"}"#)
            .is_err()
    );
    assert_eq!(packets(&root.join("j")), 10);
    let recovery = recover(&root.join("j")).unwrap();
    assert!(!recovery.sealed_before);
    assert_eq!(recovery.torn_bytes, 0);
}

#[test]
fn a_journal_that_cannot_be_made_is_told_with_its_loss_and_the_call_goes_on() {
    let root = folder("refusing");
    std::fs::write(root.join("j"), "a file where the folder should be").unwrap();
    let mut server = Server::start(&root);
    let order = journal(&root, "j");
    let mut alice = recorded(&mut server, order);
    let failed = server.wait(|event| event["event"] == "journal_failed");
    assert_eq!(failed["journal"], "j");
    let report = server.ok(json!({"command": "seal", "journal": "j", "reason": "left"}));
    assert_eq!(report["packets"], 0);
    assert_eq!(report["lost_to_queue"], 10);
    assert!(report["failure"].is_string());
    // The Track is free for another journal, and its packets flow there.
    let again = journal(&root, "j-2");
    server.ok(
        json!({"command": "open_journal", "peer": "alice", "track_id": "mic", "journal": again}),
    );
    alice.send("mic", Codec::Opus, vec![0; 80]);
    run(&mut server, &mut [&mut alice], |server, _| {
        server.engine.metrics()["received_packets"] >= 11
    });
    let sealed = server.ok(json!({"command": "seal", "journal": "j-2", "reason": "left"}));
    assert_eq!(sealed["packets"], 1);
}

#[test]
fn a_mute_is_a_record_between_the_packets_it_stands_between() {
    let root = folder("muted");
    let mut server = Server::start(&root);
    let order = journal(&root, "j");
    let mut alice = recorded(&mut server, order);
    server.ok(json!({"command": "mute", "peer": "alice", "track_id": "mic", "muted": true}));
    alice.send("mic", Codec::Opus, vec![0; 80]);
    run(&mut server, &mut [&mut alice], |server, _| {
        server.engine.metrics()["received_packets"] >= 11
    });
    server.ok(json!({"command": "seal", "journal": "j", "reason": "left"}));
    let mut story = Vec::new();
    let mut reader = Reader::open(&root.join("j")).unwrap();
    while let Some(record) = reader.next_record().unwrap() {
        match record.kind {
            RecordType::RTP => story.push("packet".to_owned()),
            RecordType::MUTE => story.push(String::from_utf8(record.payload.to_vec()).unwrap()),
            _ => {}
        }
    }
    assert_eq!(story[0], r#"{"muted":false}"#);
    assert_eq!(
        story[11..],
        [r#"{"muted":true}"#.to_owned(), "packet".to_owned()]
    );
}
