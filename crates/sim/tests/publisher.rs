//! The publisher against a plain str0m session over real sockets: what its log says is what arrives.

mod far;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use far::{Far, PATIENCE};
use isotape_sim::Publisher;
use serde_json::{Value, json};

/// The publisher in this thread, with what it said and nobody asked for yet.
struct Driver {
    publisher: Publisher,
    commands: SyncSender<String>,
    waker: std::sync::Arc<mio::Waker>,
    said: Vec<Value>,
    folder: tempfile::TempDir,
}

impl Driver {
    fn new() -> Self {
        let (commands, lines) = sync_channel(8);
        let (publisher, waker) = Publisher::new(lines).unwrap();
        let said = Vec::new();
        let folder = tempfile::tempdir().unwrap();
        let mut driver = Self {
            publisher,
            commands,
            waker,
            said,
            folder,
        };
        let log = driver.path("truth.jsonl");
        driver.ok(json!({"command": "log", "path": log}));
        driver
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn wait(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(at) = self.said.iter().position(&fits) {
                return self.said.remove(at);
            }
            self.publisher.turn().unwrap();
            self.said.extend(self.publisher.take_lines());
        }
        panic!("{what} did not come; said {:?}", self.said);
    }

    /// Lets the publisher run until the far side says so.
    fn run_until(&mut self, what: &str, mut done: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < until, "{what}: not in time");
            self.publisher.turn().unwrap();
        }
    }

    fn ask(&mut self, mut command: Value) -> Value {
        command["request"] = 7.into();
        self.commands.send(command.to_string()).unwrap();
        self.waker.wake().unwrap();
        self.wait("reply", |line| line["event"] == "reply")
    }

    fn ok(&mut self, command: Value) -> Value {
        let reply = self.ask(command);
        assert!(reply["error"].is_null(), "{reply}");
        assert_eq!(reply["request"], 7);
        reply["ok"].clone()
    }

    /// A peer that is connected and has the given Tracks, each `(name, kind, codec)`.
    fn publish(&mut self, far: &Far, tracks: &[(&str, &str, &str)]) -> Value {
        self.ok(json!({"command": "add_peer", "peer": "p"}));
        self.offer(far, &[]);
        self.wait("connection", |line| line["state"] == "connected");
        self.offer(far, tracks)
    }

    fn offer(&mut self, far: &Far, tracks: &[(&str, &str, &str)]) -> Value {
        let tracks: Vec<Value> = tracks
            .iter()
            .map(|(track, kind, codec)| {
                json!({"track": track, "kind": kind, "codec": codec,
                    "stream_id": "stream", "track_id": format!("id-{track}")})
            })
            .collect();
        let offer = self.ok(json!({"command": "publish_offer", "peer": "p", "tracks": tracks}));
        let answer = far.answer(offer["sdp"].as_str().unwrap());
        self.ok(json!({"command": "publish_answer", "peer": "p", "sdp": answer}))["tracks"].clone()
    }

    fn start(&mut self, tracks: Value) {
        self.ok(json!({"command": "start", "peer": "p", "tracks": tracks}));
    }

    fn finish(&mut self, track: &str) {
        self.wait("end of the clip", |line| {
            line["event"] == "finished" && line["track"] == track
        });
    }

    /// The ground-truth log, by SSRC and sequence number.
    fn truth(&self) -> BTreeMap<(u32, u16), Value> {
        let text = fs::read_to_string(self.path("truth.jsonl")).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .map(|line| {
                let ssrc = line["ssrc"].as_u64().unwrap() as u32;
                ((ssrc, line["sequence"].as_u64().unwrap() as u16), line)
            })
            .collect()
    }

    /// Waits until the far side has every packet of the log that was not lost on purpose, and checks
    /// that it has nothing else and nothing changed.
    fn check_arrivals(&mut self, far: &Far) {
        let truth = self.truth();
        let sent = truth.values().filter(|line| line["lost"] == false).count();
        self.run_until("all packets", || far.packets().len() >= sent);
        let arrived = far.packets();
        assert_eq!(arrived.len(), sent);
        for packet in arrived {
            let line = &truth[&(packet.ssrc, packet.sequence)];
            let facts = json!([packet.timestamp, packet.marker, packet.sha256]);
            assert_eq!(
                facts,
                json!([line["timestamp"], line["marker"], line["sha256"]])
            );
            assert_eq!(line["lost"], false);
        }
    }
}

/// A clip of `packets` packets, `ticks` apart.
fn write_clip(path: &Path, codec: &str, packets: u32, ticks: u32, level: u8) {
    let header = json!({"codec": codec, "duration": packets * ticks}).to_string();
    let mut bytes = b"ISOCLIP1".to_vec();
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend(header.as_bytes());
    for number in 0..packets {
        let payload = [
            &[0x10, 0x02, 0, 0x9d, 0x01, 0x2a][..],
            &number.to_be_bytes(),
            &[7; 200],
        ]
        .concat();
        bytes.extend((number * ticks).to_le_bytes());
        bytes.extend([u8::from(number % 2 == 1), level]);
        bytes.extend((payload.len() as u16).to_le_bytes());
        bytes.extend(payload);
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_log_is_what_arrives_byte_for_byte() {
    let (mut driver, far) = (Driver::new(), Far::start());
    let clips = [driver.path("mic"), driver.path("cam")];
    write_clip(&clips[0], "opus", 50, 960, 33);
    write_clip(&clips[1], "VP8", 60, 1500, 255);
    let tracks = [("mic", "audio", "opus"), ("cam", "video", "VP8")];
    let agreed = driver.publish(&far, &tracks);
    assert_eq!(agreed["mic"]["payload_type"], 111);
    driver.start(json!([
        {"track": "mic", "file": &clips[0]},
        {"track": "cam", "file": &clips[1], "lose": [10, 11, 40]},
    ]));
    driver.finish("mic");
    driver.finish("cam");
    driver.check_arrivals(&far);
    let truth = driver.truth();
    assert_eq!(truth.len(), 110);
    assert_eq!(
        truth.values().filter(|line| line["lost"] == true).count(),
        3
    );
    let levels: Vec<_> = far
        .packets()
        .iter()
        .filter_map(|packet| packet.level)
        .collect();
    assert_eq!(levels, [-33; 50]);
}

#[test]
fn every_video_codec_of_a_browser_can_be_sent() {
    for codec in ["VP8", "VP9", "H264", "AV1"] {
        let (mut driver, far) = (Driver::new(), Far::start());
        let clip = driver.path("cam");
        write_clip(&clip, codec, 6, 1500, 255);
        driver.publish(&far, &[("cam", "video", codec)]);
        driver.start(json!([{"track": "cam", "file": clip}]));
        driver.finish("cam");
        driver.check_arrivals(&far);
    }
}

#[test]
fn what_the_network_loses_is_sent_again_when_asked_for() {
    let (mut driver, far) = (Driver::new(), Far::start());
    let clip = driver.path("cam");
    write_clip(&clip, "VP8", 600, 300, 255);
    driver.publish(&far, &[("cam", "video", "VP8")]);
    // A receiver cannot miss what was lost before anything came, or after the last that came.
    driver.start(json!([{"track": "cam", "file": &clip}]));
    driver.finish("cam");
    driver.ok(json!({"command": "network", "peer": "p", "loss_percent": 5.0, "seed": 3}));
    driver.start(json!([{"track": "cam", "file": clip}]));
    driver.finish("cam");
    driver.ok(json!({"command": "network", "peer": "p", "loss_percent": 0.0}));
    driver.start(json!([{"track": "cam", "file": driver.path("cam")}]));
    driver.finish("cam");
    driver.check_arrivals(&far);
    let stats = driver.ok(json!({"command": "stats"}));
    assert!(
        stats["peers"]["p"]["datagrams_lost"].as_u64().unwrap() > 10,
        "{stats}"
    );
}

/// Sender reports of both Tracks put their first packets at one time of the sender's clock.
#[test]
fn sender_reports_put_sound_and_picture_on_one_clock() {
    let (mut driver, far) = (Driver::new(), Far::start());
    let clips = [driver.path("mic"), driver.path("cam")];
    write_clip(&clips[0], "opus", 50, 960, 33);
    write_clip(&clips[1], "VP8", 30, 3000, 255);
    driver.publish(&far, &[("mic", "audio", "opus"), ("cam", "video", "VP8")]);
    driver.start(json!([
        {"track": "mic", "file": &clips[0], "loop": true},
        {"track": "cam", "file": &clips[1], "loop": true},
    ]));
    driver.run_until("sender reports", || far.starts().len() == 2);
    let starts = far.starts();
    let apart = (starts[0] - starts[1]).abs();
    assert!(apart < 0.0001, "{starts:?} are {apart} s apart");
}

#[test]
fn a_muted_track_sends_nothing_while_its_clock_runs_on() {
    let (mut driver, far) = (Driver::new(), Far::start());
    let clip = driver.path("cam");
    write_clip(&clip, "VP8", 10, 3000, 255);
    driver.publish(&far, &[("cam", "video", "VP8")]);
    for muted in [false, true, false] {
        driver.ok(json!({"command": "mute", "peer": "p", "track": "cam", "muted": muted}));
        driver.start(json!([{"track": "cam", "file": &clip}]));
        driver.finish("cam");
    }
    driver.check_arrivals(&far);
    let truth = driver.truth();
    let mut lines: Vec<_> = truth.values().collect();
    lines.sort_by_key(|line| line["send_ns"].as_u64());
    assert_eq!(lines.len(), 20, "the muted ten are not sent");
    let (before, after) = (lines[9], lines[10]);
    let step = |field: &str| after[field].as_u64().unwrap() - before[field].as_u64().unwrap();
    assert_eq!(step("sequence"), 1);
    let ticks = (after["timestamp"].as_u64().unwrap() as u32)
        .wrapping_sub(before["timestamp"].as_u64().unwrap() as u32);
    assert!(ticks > 9 * 3000, "{ticks} ticks passed");
}

#[test]
fn the_subscribe_side_answers_counts_and_talks() {
    let (mut driver, far) = (Driver::new(), Far::start());
    driver.ok(json!({"command": "add_peer", "peer": "p"}));
    let offer = far.offer();
    let answer = driver.ok(json!({"command": "subscribe_offer", "peer": "p", "sdp": offer}));
    far.accept(answer["sdp"].as_str().unwrap());
    driver.wait("connection", |line| {
        line["state"] == "connected" && line["pc"] == "subscribe"
    });
    far.send_video(20);
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let stats = driver.ok(json!({"command": "stats"}));
        let received = &stats["peers"]["p"]["received"][0];
        if received["packets"] == 20 {
            assert_eq!(received["msid"], "far-stream far-track");
            break;
        }
        assert!(Instant::now() < until, "{stats}");
    }
    driver.run_until("open channel", || far.say("speakers"));
    let data = driver.wait("data", |line| line["event"] == "data");
    assert_eq!(
        (&data["text"], &data["pc"]),
        (&json!("speakers"), &json!("subscribe"))
    );
    driver.ok(json!({"command": "send_data", "peer": "p", "pc": "subscribe", "text": "hello"}));
    driver.run_until("the words", || {
        far.heard().is_some_and(|words| words == "hello")
    });
}

#[test]
fn a_screen_share_is_a_later_offer_and_goes_away_again() {
    let (mut driver, far) = (Driver::new(), Far::start());
    let clip = driver.path("cam");
    write_clip(&clip, "VP8", 10, 3000, 255);
    driver.publish(&far, &[("cam", "video", "VP8")]);
    let agreed = driver.offer(&far, &[("screen", "video", "VP8")]);
    assert_ne!(agreed["cam"]["ssrc"], agreed["screen"]["ssrc"]);
    driver.start(json!([{"track": "screen", "file": &clip}, {"track": "cam", "file": &clip}]));
    driver.finish("screen");
    driver.check_arrivals(&far);
    let remove = json!({"command": "publish_offer", "peer": "p", "remove": ["screen"]});
    let sdp = driver.ok(remove)["sdp"].as_str().unwrap().to_owned();
    assert_eq!(sdp.matches("a=inactive").count(), 1);
    let answer = far.answer(&sdp);
    let agreed = driver.ok(json!({"command": "publish_answer", "peer": "p", "sdp": answer}));
    assert!(agreed["tracks"]["screen"].is_null() && !agreed["tracks"]["cam"].is_null());
}

#[test]
fn mistakes_of_the_driver_are_named() {
    let mut driver = Driver::new();
    driver.ok(json!({"command": "add_peer", "peer": "p"}));
    let broken = driver.path("broken");
    fs::write(&broken, b"ISOCLIP1\x05\0\0\0").unwrap();
    let mistakes = [
        (json!({"command": "dance"}), "dance"),
        (
            json!({"command": "add_peer", "peer": "p"}),
            "exists already",
        ),
        (
            json!({"command": "publish_answer", "peer": "p", "sdp": ""}),
            "no such connection",
        ),
        (
            json!({"command": "subscribe_offer", "peer": "p", "sdp": "x"}),
            "session description",
        ),
        (
            json!({"command": "stop", "peer": "q", "track": "cam"}),
            "peer q: unknown",
        ),
        (
            json!({"command": "start", "peer": "p", "tracks": [{"track": "c", "file": broken}]}),
            "cut short",
        ),
    ];
    for (command, words) in mistakes {
        let reply = driver.ask(command);
        assert!(reply["error"].as_str().unwrap().contains(words), "{reply}");
    }
}

#[test]
fn a_peer_that_was_closed_can_come_back() {
    let mut driver = Driver::new();
    let clip = driver.path("cam");
    write_clip(&clip, "VP8", 10, 1500, 255);
    for clean in [true, false, true] {
        let far = Far::start();
        let log = driver.path("truth.jsonl");
        driver.ok(json!({"command": "log", "path": log}));
        driver.publish(&far, &[("cam", "video", "VP8")]);
        driver.start(json!([{"track": "cam", "file": &clip}]));
        driver.finish("cam");
        driver.check_arrivals(&far);
        driver.ok(json!({"command": "close", "peer": "p", "clean": clean}));
        assert_eq!(driver.ok(json!({"command": "stats"}))["peers"], json!({}));
    }
}
