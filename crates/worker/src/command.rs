//! The commands that Python sends, as JSON objects `{"command": NAME, "request": N, …}`.
//!
//! Each is answered by one event `{"event": "reply", "request": N, "ok": {…}}` or with
//! `"error": {"code": int, "message": str}` in place of `ok`.

use isotape_sfu::{JournalSpec, Pc, TrackSpec};
use serde::Deserialize;

/// A command with the number that its reply carries.
#[derive(Debug, Deserialize)]
pub struct Request {
    pub request: u64,
    #[serde(flatten)]
    pub command: Command,
}

/// What a subscriber wants of a Track. We forward one layer, so all but `none` mean that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    None,
    Low,
    Medium,
    High,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Makes a peer known in a room (which begins with it). Ok `{}`.
    AddPeer { room: String, peer: String },
    /// Answers the client's offer; `tracks` is everything it publishes now. Ok `{"sdp", "unmatched"}`,
    /// where `unmatched` lists track ids that no sending m-line carries. 400 for an unusable SDP.
    PublishOffer {
        peer: String,
        sdp: String,
        tracks: Vec<TrackSpec>,
    },
    /// The client's answer to the event `subscribe_offer`. Ok `{}`; 409 when none is in flight.
    SubscribeAnswer { peer: String, sdp: String },
    /// A trickled candidate; counted only, ICE-lite needs none. Ok `{}`.
    Candidate {
        peer: String,
        pc: Pc,
        candidate: String,
    },
    /// The client muted or unmuted a Track: a journal record. Ok `{}`.
    Mute {
        peer: String,
        track_id: String,
        muted: bool,
    },
    /// Begins to record a Track that is published already. Ok `{}`.
    OpenJournal {
        peer: String,
        track_id: String,
        journal: JournalSpec,
    },
    /// Ends a journal. Ok, once durable: `{"packets", "bytes", "first_arrival_ns", "last_arrival_ns",
    /// "lost_to_queue"}`. 404 when no journal of that id is open.
    Seal { journal: String, reason: String },
    /// The subscriber's wish for a video Track. Ok `{}`.
    Prefer {
        peer: String,
        track_id: String,
        layer: Layer,
    },
    /// The subscriber's wish for an audio Track. Ok `{}`.
    PreferAudio {
        peer: String,
        track_id: String,
        subscribed: bool,
    },
    /// Sends a text on the `ion-sfu` channel of the subscribe connection. Ok `{}`; 409 while it is closed.
    SendData { peer: String, text: String },
    /// Ends a peer's connections; does not seal its journals. Ok `{}`.
    RemovePeer { peer: String },
    /// Sends the unanswered subscribe offer again, or else one with an ICE restart. Ok `{}`.
    RestartSubscribe { peer: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_with_its_number() {
        let text = r#"{"command":"publish_offer","request":3,"peer":"p","sdp":"v=0","tracks":[{"track_id":"t","stream_id":"s",
            "kind":"video","source":"regular","muted":false,"journal":{"id":"j","dir":"/d","meta":{"a":1}}}]}"#;
        let request: Request = serde_json::from_str(text).unwrap();
        assert_eq!(request.request, 3);
        let Command::PublishOffer { tracks, .. } = request.command else {
            panic!("another command")
        };
        assert_eq!(tracks[0].journal.as_ref().unwrap().meta["a"], 1);
    }
}
