//! The commands that come in on stdin; the crate's documentation explains them.

use std::path::PathBuf;

use serde::Deserialize;
use str0m::format::Codec;

#[derive(Debug, Deserialize)]
pub struct Request {
    #[serde(default)]
    pub request: Option<u64>,
    #[serde(flatten)]
    pub command: Command,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    AddPeer {
        peer: String,
    },
    PublishOffer {
        peer: String,
        #[serde(default)]
        tracks: Vec<NewTrack>,
        #[serde(default)]
        remove: Vec<String>,
    },
    PublishAnswer {
        peer: String,
        sdp: String,
    },
    SubscribeOffer {
        peer: String,
        sdp: String,
    },
    Candidate {
        peer: String,
        pc: Pc,
        candidate: String,
    },
    Start {
        peer: String,
        tracks: Vec<StartTrack>,
    },
    Stop {
        peer: String,
        track: String,
    },
    Mute {
        peer: String,
        track: String,
        muted: bool,
    },
    SendData {
        peer: String,
        pc: Pc,
        text: String,
    },
    Network {
        peer: String,
        loss_percent: f64,
        #[serde(default)]
        seed: u64,
    },
    Log {
        path: PathBuf,
    },
    Stats,
    Close {
        peer: String,
        #[serde(default)]
        pc: Option<Pc>,
        #[serde(default)]
        clean: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pc {
    Publish,
    Subscribe,
}

impl Pc {
    pub fn name(self) -> &'static str {
        match self {
            Pc::Publish => "publish",
            Pc::Subscribe => "subscribe",
        }
    }
}

#[derive(Debug, Deserialize)]
pub struct NewTrack {
    pub track: String,
    pub kind: Kind,
    pub codec: CodecName,
    pub stream_id: String,
    pub track_id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Audio,
    Video,
}

/// As SDP spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum CodecName {
    #[serde(rename = "opus")]
    Opus,
    H264,
    VP8,
    VP9,
    AV1,
}

impl CodecName {
    pub fn codec(self) -> Codec {
        match self {
            Self::Opus => Codec::Opus,
            Self::H264 => Codec::H264,
            Self::VP8 => Codec::Vp8,
            Self::VP9 => Codec::Vp9,
            Self::AV1 => Codec::Av1,
        }
    }

    /// RTP clock (RFC 7587 for Opus, 90 kHz for all video).
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            _ => 90_000,
        }
    }
}

#[derive(Debug, Deserialize)]
pub struct StartTrack {
    pub track: String,
    #[serde(flatten)]
    pub source: Source,
    #[serde(default, rename = "loop")]
    pub repeat: bool,
    #[serde(default)]
    pub offset_ms: u64,
    #[serde(default)]
    pub lose: Vec<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    File(PathBuf),
    Fake(Fake),
}

#[derive(Debug, Deserialize)]
pub struct Fake {
    pub codec: CodecName,
    pub packets_per_second: u32,
    pub payload_bytes: usize,
}
