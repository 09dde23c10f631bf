//! Peers of one room, without sockets and in virtual time.

mod lab;

use std::net::SocketAddr;
use std::time::Duration;

use isotape_sfu::{Event, Kind, Pc, PcState};
use lab::Lab;

const SECOND: Duration = Duration::from_secs(1);

fn publisher_and_viewer() -> (Lab, usize, usize) {
    let mut lab = Lab::new();
    let alice = lab.join("alice", &[Kind::Video]);
    let bob = lab.join("bob", &[]);
    lab.connect();
    (lab, alice, bob)
}

#[test]
fn a_wish_of_a_viewer_pauses_the_picture_but_never_the_recording() {
    let (mut lab, alice, bob) = publisher_and_viewer();
    lab.send(alice, 0, b"one");
    lab.run(SECOND);
    lab.sfu.prefer("bob", "alice-0", false, lab.now).unwrap();
    for _ in 0..5 {
        lab.send(alice, 0, b"unseen");
    }
    lab.run(2 * SECOND);
    let asked_before = lab.browsers[alice].publish.key_frames_asked;
    lab.sfu.prefer("bob", "alice-0", true, lab.now).unwrap();
    lab.send(alice, 0, b"two");
    lab.run(2 * SECOND);
    let seen: Vec<_> = lab.browsers[bob]
        .subscribe
        .packets
        .iter()
        .map(|p| (*p.seq_no, p.payload.to_vec()))
        .collect();
    assert_eq!(
        seen,
        [(1_000, b"one".to_vec()), (1_001, b"two".to_vec())],
        "no hole where the pause was"
    );
    assert_eq!(
        lab.browsers[alice].publish.key_frames_asked,
        asked_before + 1
    );
    assert_eq!(lab.recorded().0.len(), 7);
}

#[test]
fn another_ssrc_behind_the_same_line_goes_on_in_the_same_journal() {
    let (mut lab, alice, bob) = publisher_and_viewer();
    lab.send(alice, 0, b"one");
    lab.run(SECOND);
    lab.change_ssrc(alice, 0, 77_000);
    lab.send(alice, 0, b"two");
    lab.run(SECOND);
    let (packets, ssrcs) = lab.recorded();
    assert_eq!(packets, [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(ssrcs.len(), 2);
    assert!(
        ssrcs[0].contains("\"from\":null") && ssrcs[1].ends_with("\"to\":77000}"),
        "{ssrcs:?}"
    );
    let numbers: Vec<_> = lab.browsers[bob]
        .subscribe
        .packets
        .iter()
        .map(|packet| *packet.seq_no)
        .collect();
    assert_eq!(numbers, [1_000, 1_001], "the viewer sees one stream");
}

#[test]
fn losses_that_recovery_gives_up_bring_a_key_frame() {
    let (mut lab, alice, _) = publisher_and_viewer();
    lab.send(alice, 0, b"one");
    lab.run(3 * SECOND);
    let asked_before = lab.browsers[alice].publish.key_frames_asked;
    lab.to_server = Box::new(|datagram| !(128..192).contains(&datagram[0]));
    lab.send(alice, 0, b"lost");
    lab.run(SECOND / 20);
    // Nothing can be repaired: the history is gone.
    lab.browsers[alice]
        .publish
        .rtc
        .direct_api()
        .stream_tx_by_mid("1".into(), None)
        .unwrap()
        .set_rtx_cache(1, SECOND / 1000, None);
    lab.to_server = Box::new(|_| true);
    for _ in 0..30 {
        lab.send(alice, 0, b"later");
        lab.run(SECOND / 10);
    }
    assert_eq!(lab.sfu.output.counters.lost_packets, 1);
    assert_eq!(
        lab.browsers[alice].publish.key_frames_asked,
        asked_before + 1
    );
}

#[test]
fn a_viewer_whose_path_fell_silent_is_offered_one_ice_restart_before_it_counts_as_lost() {
    let (mut lab, _, bob) = publisher_and_viewer();
    lab.run(SECOND);
    lab.events.clear();
    lab.browsers[bob].is_online = false;
    lab.run(6 * SECOND);
    assert_eq!(lab.events, [], "an idle client may be silent for 6 s");
    lab.run(2 * SECOND);
    let [Event::SubscribeOffer { peer, .. }] = &lab.events[..] else {
        panic!("not one offer: {:?}", lab.events);
    };
    assert_eq!(peer, "bob");
    lab.browsers[bob].is_online = true;
    lab.run(10 * SECOND);
    let is_offer = |event: &&Event| matches!(event, Event::SubscribeOffer { .. });
    assert_eq!(lab.events.iter().filter(is_offer).count(), 0);
    assert!(lab.browsers[bob].subscribe.rtc.is_connected());
}

#[test]
fn a_viewer_whose_path_broke_is_offered_an_ice_restart_and_comes_back() {
    let (mut lab, alice, bob) = publisher_and_viewer();
    lab.browsers[bob].is_online = false;
    let lost = |pc| Event::Connection {
        peer: "bob".into(),
        pc,
        state: PcState::Disconnected,
    };
    lab.run_until("both lost", |lab| {
        lab.events.contains(&lost(Pc::Publish)) && lab.events.contains(&lost(Pc::Subscribe))
    });
    let offers = lab
        .events
        .iter()
        .filter(|event| matches!(event, Event::SubscribeOffer { peer, .. } if peer == "bob"));
    assert_eq!(offers.count(), 1, "one offer is in flight");
    lab.events
        .retain(|event| !matches!(event, Event::Connection { .. }));
    lab.browsers[bob].is_online = true;
    let back = Event::Connection {
        peer: "bob".into(),
        pc: Pc::Subscribe,
        state: PcState::Connected,
    };
    lab.run_until("back", |lab| lab.events.contains(&back));
    lab.send(alice, 0, b"seen again");
    lab.run(SECOND);
    assert_eq!(
        &*lab.browsers[bob].subscribe.packets.last().unwrap().payload,
        b"seen again"
    );
}

#[test]
fn a_stranger_can_neither_disturb_a_handshake_nor_be_sent_anything() {
    let mut lab = Lab::new();
    let heard = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let copy = heard.clone();
    lab.to_server = Box::new(move |datagram| {
        copy.borrow_mut().push(datagram.to_vec());
        true
    });
    lab.join("alice", &[Kind::Video]);
    let stranger: SocketAddr = "203.0.113.9:9".parse().unwrap();
    for _ in 0..400 {
        lab.run(Duration::from_millis(5));
        for datagram in heard.borrow_mut().drain(..) {
            // All that a listener on the path could have: hellos, media, and STUN whose content it
            // cannot change without breaking the integrity check.
            let mut forged = datagram;
            if forged[0] < 2 {
                *forged.last_mut().unwrap() ^= 1;
                let at = forged.len() - 9;
                forged[at] ^= 1;
            }
            lab.sfu
                .receive(lab.now, isotape_sfu::Tuple::udp(stranger), &forged);
        }
    }
    assert!(
        lab.browsers[0].publish.rtc.is_connected() && lab.browsers[0].subscribe.rtc.is_connected()
    );
    assert!(
        !lab.datagrams_out.contains(&stranger),
        "nothing goes to an address that proved nothing"
    );
    let counters = lab.sfu.output.counters;
    assert!(
        counters.datagrams_unknown_source > 0 && counters.network_errors == 0,
        "{counters:?}"
    );
}

#[test]
fn key_frames_for_many_viewers_are_asked_once_a_second() {
    let mut lab = Lab::new();
    let alice = lab.join("alice", &[Kind::Video]);
    lab.connect();
    lab.send(alice, 0, b"first");
    lab.run(2 * SECOND);
    let asked_before = lab.browsers[alice].publish.key_frames_asked;
    for viewer in 0..5 {
        lab.join(&format!("viewer-{viewer}"), &[]);
        lab.connect();
    }
    lab.run(SECOND / 10);
    let asked = lab.browsers[alice].publish.key_frames_asked - asked_before;
    assert!(
        (1..=2).contains(&asked),
        "{asked} requests for five viewers"
    );
}

#[test]
fn an_answer_that_cannot_be_read_is_refused_and_the_offer_still_waits() {
    let mut lab = Lab::new();
    lab.join("alice", &[Kind::Video]);
    let bob = lab.join("bob", &[]);
    lab.browsers[bob].answers = false;
    let is_offer =
        |event: &Event| matches!(event, Event::SubscribeOffer { peer, .. } if peer == "bob");
    lab.run_until("an offer", |lab| lab.events.iter().any(is_offer));
    let error = lab
        .sfu
        .subscribe_answer("bob", "v=0\r\nnonsense", lab.now)
        .unwrap_err();
    assert_eq!(error.code(), 400);
    lab.browsers[bob].answers = true;
    lab.connect();
    let error = lab
        .sfu
        .subscribe_answer("bob", "v=0\r\na=fingerprint:sha-256 00\r\n", lab.now)
        .unwrap_err();
    assert!([400, 409].contains(&error.code()));
}

#[test]
fn a_forged_packet_cannot_move_a_line_to_its_own_ssrc() {
    let mut lab = Lab::new();
    let alice = lab.join("alice", &[Kind::Audio]);
    lab.connect();
    let send_for_a_while = |lab: &mut Lab| {
        for _ in 0..80 {
            lab.send(alice, 0, b"real");
            lab.run(SECOND / 10);
        }
    };
    // Once our receiver reports have come, the sender leaves the mid out of its packets.
    send_for_a_while(&mut lab);
    let source = lab.browsers[alice].publish.address;
    let mid = lab.browsers[alice].mids[0];
    let mut forged = vec![
        0x90, 111, 0, 1, 0, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef, 0xbe, 0xde, 0, 1,
    ];
    forged.extend([0x40, mid.as_bytes()[0], 0, 0]);
    forged.extend([7; 200]);
    lab.sfu
        .receive(lab.now, isotape_sfu::Tuple::udp(source), &forged);
    send_for_a_while(&mut lab);
    assert_eq!(lab.recorded().0.len(), 160);
}

#[test]
fn a_track_that_comes_back_on_another_line_goes_on_in_its_journal() {
    let mut lab = Lab::new();
    let alice = lab.join("alice", &[Kind::Audio, Kind::Video]);
    lab.connect();
    lab.send(alice, 1, b"one");
    lab.run(SECOND);
    lab.renew(alice, &[1, 0]);
    lab.connect();
    lab.send(alice, 1, b"two");
    lab.run(SECOND);
    assert_eq!(lab.recorded().0, [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn a_track_is_recorded_from_its_line_on_although_it_was_named_before() {
    let mut lab = Lab::new();
    let alice = lab.join("alice", &[Kind::Audio]);
    let camera = lab.name_track(alice, Kind::Video);
    let share = lab.name_track(alice, Kind::Video);
    assert_eq!(lab.add_lines(alice, &[share]), ["alice-1"]);
    assert!(lab.add_lines(alice, &[camera]).is_empty());
    lab.connect();
    lab.send(alice, camera, b"one");
    lab.run(SECOND);
    assert_eq!(lab.recorded().0, [b"one".to_vec()]);
}
