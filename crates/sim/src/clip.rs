//! Clips: encoded media cut into RTP payloads, with the times to send them at.
//!
//! Whoever makes a clip cuts it too, so that a test can send any cut that a browser, or an unfriendly
//! sender, might. The publisher adds only RTP headers and never looks inside a payload.
//!
//! File, little endian: the 8 bytes `ISOCLIP1`; u32 length and JSON
//! `{"codec":"H264","duration":ticks}`; then for each packet u32 timestamp (ticks of the codec's RTP
//! clock, from 0, never falling), u8 flags (bit 0 marker), u8 audio level (0…127 as RFC 6464 counts,
//! -dBov; 255 for none), u16 length, payload. `duration` is where the clip ends and a loop begins again.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::protocol::{CodecName, Fake};

const MAGIC: &[u8] = b"ISOCLIP1";
const PACKET_HEADER_BYTES: usize = 8;
const FLAG_MARKER: u8 = 1;
const NO_LEVEL: u8 = 255;

/// A faked clip is this long and starts with a key frame; then it loops.
const FAKE_SECONDS: u32 = 10;
const FAKE_FRAMES_PER_SECOND: u32 = 30;

pub struct Clip {
    pub codec: CodecName,
    /// In ticks of the codec's clock.
    pub duration: u32,
    pub packets: Vec<ClipPacket>,
}

pub struct ClipPacket {
    pub timestamp: u32,
    pub marker: bool,
    /// -dBov.
    pub level: Option<u8>,
    pub payload: Arc<[u8]>,
    /// Of the payload, made once: a looping load sends the same bytes many times.
    pub sha256: String,
}

impl ClipPacket {
    fn new(timestamp: u32, marker: bool, level: Option<u8>, payload: &[u8]) -> Self {
        let digest = Sha256::digest(payload);
        Self {
            timestamp,
            marker,
            level,
            payload: payload.into(),
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

#[derive(Deserialize)]
struct Header {
    codec: CodecName,
    duration: u32,
}

impl Clip {
    pub fn load(path: &Path) -> Result<Self> {
        let bad = |reason: &str| Error::BadClip {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let bytes = fs::read(path).map_err(|error| bad(&error.to_string()))?;
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| bad("not a clip"))?;
        let (length, rest) = rest.split_at_checked(4).ok_or_else(|| bad("cut short"))?;
        let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
        let (json, rest) =
            (rest.split_at_checked(length as usize)).ok_or_else(|| bad("cut short"))?;
        let header: Header =
            serde_json::from_slice(json).map_err(|error| bad(&error.to_string()))?;
        let packets = parse_packets(rest).ok_or_else(|| bad("packets are cut short"))?;
        let last = packets.last().ok_or_else(|| bad("no packet"))?;
        if last.timestamp >= header.duration || !packets.is_sorted_by_key(|p| p.timestamp) {
            return Err(bad("timestamps fall, or pass the duration"));
        }
        Ok(Self {
            codec: header.codec,
            duration: header.duration,
            packets,
        })
    }

    /// Noise behind valid descriptors. Only VP8 pictures and Opus are faked.
    pub fn fake(fake: &Fake) -> Self {
        let is_audio = fake.codec == CodecName::Opus;
        let frames_per_second = match is_audio {
            true => fake.packets_per_second.max(1),
            false => FAKE_FRAMES_PER_SECOND,
        };
        let (seconds, clock_rate) = (FAKE_SECONDS, fake.codec.clock_rate());
        let total = fake.packets_per_second * seconds;
        let frames = frames_per_second * seconds;
        let mut packets = Vec::with_capacity(total as usize);
        for frame in 0..frames {
            let (first, end) = (frame * total / frames, (frame + 1) * total / frames);
            for number in first..end.max(first + 1) {
                let mut payload = noise(u64::from(number), fake.payload_bytes);
                match is_audio {
                    true => payload[0] = OPUS_TOC,
                    false => describe_vp8(&mut payload, number == first, frame == 0),
                }
                let timestamp = (u64::from(frame) * u64::from(clock_rate)
                    / u64::from(frames_per_second)) as u32;
                let marker = !is_audio && number + 1 >= end;
                let level = is_audio.then_some(30);
                packets.push(ClipPacket::new(timestamp, marker, level, &payload));
            }
        }
        Self {
            codec: fake.codec,
            duration: seconds * clock_rate,
            packets,
        }
    }
}

fn parse_packets(mut rest: &[u8]) -> Option<Vec<ClipPacket>> {
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let (header, behind) = rest.split_at_checked(PACKET_HEADER_BYTES)?;
        let timestamp = u32::from_le_bytes(header[0..4].try_into().expect("four bytes"));
        let length = u16::from_le_bytes([header[6], header[7]]);
        let (payload, behind) = behind.split_at_checked(length.into())?;
        let level = (header[5] != NO_LEVEL).then_some(header[5]);
        let marker = header[4] & FLAG_MARKER != 0;
        packets.push(ClipPacket::new(timestamp, marker, level, payload));
        rest = behind;
    }
    Some(packets)
}

/// One 20 ms CELT frame, full band, mono (RFC 6716 section 3.1).
const OPUS_TOC: u8 = 0xf8;

/// A VP8 payload descriptor without extensions (RFC 7741 section 4.2) and, on a frame's first packet,
/// the frame header (RFC 6386 section 9.1): a key frame says that it is 1280 x 720.
fn describe_vp8(payload: &mut [u8], is_first: bool, is_key: bool) {
    const KEY: [u8; 10] = [0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02];
    payload[0] = if is_first { 0x10 } else { 0x00 };
    match (is_first, is_key) {
        (true, true) => payload[1..11].copy_from_slice(&KEY),
        (true, false) => payload[1] |= 1,
        (false, _) => {}
    }
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..bytes.max(16)).map(|_| random.draw() as u8).collect()
}

/// xorshift64*: fast, seeded, good enough for noise and losses.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    /// In 0..1.
    pub fn fraction(&mut self) -> f64 {
        self.draw() as f64 / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fake_has_its_rate_and_begins_with_a_key_frame() {
        let fake = |codec, packets_per_second, payload_bytes| {
            Clip::fake(&Fake {
                codec,
                packets_per_second,
                payload_bytes,
            })
        };
        let video = fake(CodecName::VP8, 190, 1100);
        assert_eq!(video.packets.len(), 1900);
        assert_eq!(video.packets.iter().filter(|p| p.marker).count(), 300);
        assert_eq!(
            video.packets[0].payload[..5],
            [0x10, 0x10, 0x02, 0x00, 0x9d]
        );
        let starts = video.packets.iter().filter(|p| p.payload[0] == 0x10);
        assert!(
            starts.skip(1).all(|p| p.payload[1] & 1 == 1),
            "one key frame"
        );
        let audio = fake(CodecName::Opus, 50, 80);
        assert!(
            audio
                .packets
                .windows(2)
                .all(|two| two[1].timestamp - two[0].timestamp == 960)
        );
        assert_eq!(audio.packets.len(), 500);
    }
}
