//! Which codecs and header extensions we negotiate, and how one peer's payload type becomes another's.
//!
//! The order here is the order of the answer, and browsers send the first one they can. H264 in front
//! by default, because most files then are MP4 without a transcode.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use str0m::format::{Codec, CodecConfig, CodecSpec, PayloadParams};
use str0m::media::{Media, Pt};
use str0m::rtp::{Extension, ExtensionMap};

/// A video codec of the setting `video_codecs`, spelt as in SDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum VideoCodec {
    H264,
    #[serde(rename = "VP9")]
    Vp9,
    #[serde(rename = "AV1")]
    Av1,
    #[serde(rename = "VP8")]
    Vp8,
}

/// Payload type, its RTX type, and profile-level-id, all with packetization-mode 1. Constrained Baseline
/// first: every browser decodes it, so the other peers can always watch what is recorded.
const H264_PROFILES: [(u8, u8, u32); 4] = [
    (108, 109, 0x42e01f),
    (127, 121, 0x42001f),
    (123, 119, 0x4d001f),
    (114, 115, 0x64001f),
];

/// The codecs of one PeerConnection. `audio_nack` on the receiving side only: a sender of Opus has no
/// RTX type to answer with, so offering NACK to subscribers would only invite useless requests.
pub fn codec_config(order: &[VideoCodec], audio_nack: bool) -> CodecConfig {
    let mut config = CodecConfig::empty();
    config.enable_opus(true, false);
    for codec in order {
        match codec {
            VideoCodec::H264 => {
                for (pt, rtx, profile) in H264_PROFILES {
                    config.add_h264(pt.into(), Some(rtx.into()), true, profile);
                }
            }
            VideoCodec::Vp9 => config.enable_vp9(true),
            VideoCodec::Av1 => config.enable_av1(true),
            VideoCodec::Vp8 => config.enable_vp8(true),
        }
    }
    let mut params = config.params().to_vec();
    // VP9 profile 2 is 10 bit, which nothing after us expects.
    params.retain(|p| p.spec().codec != Codec::Vp9 || p.spec().format.profile_id == Some(0));
    for opus in params.iter_mut().filter(|p| p.spec().codec == Codec::Opus) {
        opus.set_fb_nack(audio_nack);
    }
    CodecConfig::new_from_payload_params(params)
}

/// The header extensions we understand. Video orientation is left out, so that the sender turns the
/// picture itself and the file needs no rotation.
pub fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    map.set(1, Extension::AudioLevel);
    map.set(2, Extension::AbsoluteSendTime);
    map.set(3, Extension::TransportSequenceNumber);
    map.set(4, Extension::RtpMid);
    map.set(8, Extension::AbsoluteCaptureTime);
    map.set(10, Extension::RtpStreamId);
    map.set(11, Extension::RepairedRtpStreamId);
    map
}

/// The payload type under which a subscriber expects what a publisher sends with `spec`.
pub fn subscriber_pt(config: &CodecConfig, media: &Media, spec: CodecSpec) -> Option<Pt> {
    config
        .params()
        .iter()
        .filter(|p| media.remote_pts().contains(&p.pt()) && p.spec().codec == spec.codec)
        .max_by_key(|p| same_profile(p.spec(), spec))
        .map(PayloadParams::pt)
}

/// Whether two payload types of one codec promise the same profile (for H264: profile_idc and flags).
fn same_profile(one: CodecSpec, other: CodecSpec) -> bool {
    let profile = |spec: CodecSpec| {
        (
            spec.format.profile_level_id.map(|id| id >> 8),
            spec.format.packetization_mode,
        )
    };
    profile(one) == profile(other)
}

/// The payload types of an m-line and, under `extensions`, the header extensions by id: what a reader
/// of the journal needs to understand its packets.
pub fn describe(config: &CodecConfig, media: &Media) -> Value {
    let agreed = config
        .params()
        .iter()
        .filter(|p| media.remote_pts().contains(&p.pt()));
    let mut all: Map<_, _> = agreed
        .map(|p| (p.pt().to_string(), describe_one(p.spec())))
        .collect();
    let extensions = media
        .remote_extmap()
        .iter()
        .map(|(id, uri)| (id.to_string(), uri.as_uri().into()));
    all.insert("extensions".to_owned(), Value::Object(extensions.collect()));
    Value::Object(all)
}

fn describe_one(spec: CodecSpec) -> Value {
    json!({
        "codec": name(spec.codec),
        "clock_rate": spec.clock_rate.get(),
        "channels": spec.channels,
        "fmtp": spec.format.to_string(),
    })
}

/// The codec as the journal, the events and SDP spell it.
pub fn name(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus",
        Codec::H264 => "H264",
        Codec::Vp8 => "VP8",
        Codec::Vp9 => "VP9",
        Codec::Av1 => "AV1",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_the_order_of_the_answer() {
        let config = codec_config(&[VideoCodec::Vp8, VideoCodec::H264], true);
        let names: Vec<_> = config
            .params()
            .iter()
            .map(|p| name(p.spec().codec))
            .collect();
        assert_eq!(names, ["opus", "VP8", "H264", "H264", "H264", "H264"]);
        assert!(
            config.params()[0].fb_nack(),
            "lost audio is asked for again"
        );
    }
}
