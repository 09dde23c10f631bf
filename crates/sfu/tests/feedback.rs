//! What the transport-wide feedback (TWCC) tells a publisher, which sets its rate by it.

mod lab;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use isotape_sfu::Kind;
use lab::Lab;
use str0m::Rtc;
use str0m::bwe::Bitrate;
use str0m::rtp::RawPacket;
use str0m::rtp::rtcp::Rtcp;

/// Feedback counts in steps of 250 µs.
const STEP: Duration = Duration::from_micros(250);

fn publisher() -> Lab {
    let mut lab = Lab::new();
    lab.browser = || {
        Rtc::builder()
            .enable_raw_packets(true)
            .enable_bwe(Some(Bitrate::kbps(300)))
    };
    lab.join("alice", &[Kind::Video]);
    lab.connect();
    lab
}

/// When each packet was received, by its transport-wide number, as the publisher was told.
fn told(lab: &Lab, zero: Instant) -> BTreeMap<u64, Instant> {
    let mut told = BTreeMap::new();
    for raw in &lab.browsers[0].publish.raw {
        if let RawPacket::RtcpRx(Rtcp::Twcc(feedback)) = raw {
            let received = feedback.clone().into_iter(zero, 0.into());
            told.extend(received.filter_map(|(number, _, at)| Some((*number, at?))));
        }
    }
    told
}

#[test]
fn feedback_tells_when_the_kernel_received_however_late_it_was_read() {
    let mut lab = publisher();
    let zero = lab.now;
    let held = Rc::new(RefCell::new(Vec::new()));
    let trap = held.clone();
    lab.to_server = Box::new(move |datagram| {
        let is_media = (128..192).contains(&datagram[0]) && !(192..224).contains(&datagram[1]);
        if is_media {
            trap.borrow_mut().push(datagram.to_vec());
        }
        !is_media
    });
    let mut stamped = Vec::new();
    for pause in [5, 15, 5, 40, 10, 5] {
        lab.send(0, 0, b"picture");
        lab.run(Duration::from_millis(pause));
        let sent = held.borrow_mut().drain(..).collect::<Vec<_>>();
        // Microseconds of its own, so that no timer of anybody can pass for it.
        let at = lab.now + Duration::from_micros(pause * 100);
        stamped.extend(sent.into_iter().map(|datagram| (at, datagram)));
    }
    lab.run(Duration::from_millis(60));
    let source = lab.browsers[0].publish.address;
    for (at, datagram) in &stamped {
        lab.sfu
            .receive(*at, isotape_sfu::Tuple::udp(source), datagram);
    }
    lab.run(Duration::from_millis(200));
    let times: Vec<_> = told(&lab, zero).into_values().collect();
    assert_eq!(times.len(), stamped.len());
    for (told, (at, _)) in times.iter().zip(&stamped) {
        let since_first = (*told - times[0], *at - stamped[0].0);
        let error = since_first.0.abs_diff(since_first.1);
        assert!(error <= STEP, "{since_first:?}");
    }
}

/// A probe repeats old packets or carries nothing, on the SSRC of the retransmissions.
#[test]
fn probes_for_more_bandwidth_are_reported_and_not_recorded() {
    let mut lab = publisher();
    let zero = lab.now;
    let bandwidth = (Bitrate::kbps(100), Bitrate::mbps(4));
    let mut estimate = lab.browsers[0].publish.rtc.bwe();
    estimate.set_bitrate(bandwidth.0, bandwidth.1);
    for _ in 0..400 {
        lab.send(0, 0, &[7; 500]);
        lab.run(Duration::from_millis(10));
    }
    lab.run(Duration::from_secs(1));
    let sent: BTreeMap<_, _> = (lab.browsers[0].publish.raw.iter())
        .filter_map(|raw| match raw {
            RawPacket::RtpTx(header, _) => {
                Some((u64::from(header.ext_vals.transport_cc?), *header.ssrc))
            }
            _ => None,
        })
        .collect();
    let media = sent[&0];
    let probes = sent.values().filter(|ssrc| **ssrc != media).count();
    assert!(probes > 20, "{probes} probes");
    let told = told(&lab, zero);
    assert!(sent.keys().all(|number| told.contains_key(number)));
    assert_eq!(lab.recorded().0.len(), 400);
    assert_eq!(lab.sfu.output.counters.requested_packets, 0);
}
