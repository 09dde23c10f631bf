//! Opus: one packet is one frame, RFC 7587; its duration is in the first bytes, RFC 6716 section 3.
//!
//! The file's audio must be continuous from the first sample on, so durations are the one thing that matters here.

use super::{Assembly, Broken, Facts};

/// Longest packet, RFC 6716 section 3.2.5: 120 ms at 48 kHz.
const MAX_SAMPLES: u16 = 5760;

/// Duration of a packet in samples of 48 kHz, or None when the bytes are no Opus packet.
pub fn samples(packet: &[u8]) -> Option<u16> {
    let toc = *packet.first()?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    let total = u16::try_from(frame_samples(toc) * frames).ok()?;
    (1..=MAX_SAMPLES).contains(&total).then_some(total)
}

/// Duration of one frame by the configuration number in the top five bits, RFC 6716 table 2.
fn frame_samples(toc: u8) -> u32 {
    let configuration = toc >> 3;
    let step = u32::from(configuration & 3);
    match configuration {
        0..=11 => [480, 960, 1920, 2880][step as usize],
        12..=15 => 480 << (step & 1),
        _ => 120 << step,
    }
}

/// A packet of digital silence that lasts `samples`, or None when Opus has no such duration.
///
/// `F8 FF FE` is exact zero in libopus and FFmpeg (docs/measured.md): a CELT frame whose first coded bit says silence. The
/// other durations are the same frame in another length, or several in one packet (RFC 6716 section 3.2.5).
pub fn silence(samples: u32, channels: u16) -> Option<Vec<u8>> {
    const SILENT_FRAME: [u8; 2] = [0xff, 0xfe];
    /// Frame lengths and their full-band CELT configurations, RFC 6716 table 2.
    const FRAMES: [(u32, u8); 4] = [(960, 31), (480, 30), (240, 29), (120, 28)];
    if !(1..=u32::from(MAX_SAMPLES)).contains(&samples) {
        return None;
    }
    let (length, configuration) = FRAMES.iter().find(|row| samples.is_multiple_of(row.0))?;
    let toc = configuration << 3 | if channels == 2 { 4 } else { 0 };
    let count = (samples / length) as u8;
    let head = if count == 1 {
        vec![toc]
    } else {
        vec![toc | 3, count]
    };
    Some([head, SILENT_FRAME.repeat(usize::from(count))].concat())
}

pub fn inspect(payload: &[u8]) -> Option<Facts> {
    let samples = samples(payload)?;
    Some(Facts {
        starts_frame: true,
        ends_frame: true,
        key: true,
        size: None,
        samples,
    })
}

/// One Opus packet, taken as it is.
#[derive(Default)]
pub struct Packet {
    taken: bool,
}

impl Assembly for Packet {
    fn push(&mut self, payload: &[u8], frame: &mut Vec<u8>) -> Result<(), Broken> {
        if self.taken {
            return Err(Broken::OutOfPlace);
        }
        samples(payload).ok_or(Broken::Short)?;
        self.taken = true;
        frame.extend_from_slice(payload);
        Ok(())
    }

    fn finish(&mut self, _frame: &mut Vec<u8>) -> Result<(), Broken> {
        if self.taken {
            Ok(())
        } else {
            Err(Broken::NoStart)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::depacket::assemble;

    #[test]
    fn durations_follow_the_configuration_and_the_frame_count() {
        assert_eq!(
            samples(&[0x78, 0]),
            Some(960),
            "CELT-only 20 ms at 24 kHz band limit, one frame"
        );
        assert_eq!(samples(&[0x00, 0]), Some(480), "SILK 10 ms");
        assert_eq!(samples(&[3 << 3]), Some(2880), "SILK 60 ms");
        assert_eq!(samples(&[13 << 3]), Some(960), "hybrid 20 ms");
        assert_eq!(samples(&[16 << 3]), Some(120), "CELT 2.5 ms");
        assert_eq!(samples(&[0xf8 | 1]), Some(1920), "two equal frames");
        assert_eq!(
            samples(&[0xfb, 6]),
            Some(5760),
            "six frames counted in the second byte"
        );
    }

    #[test]
    fn impossible_durations_are_refused() {
        assert_eq!(samples(&[]), None);
        assert_eq!(samples(&[0xfb]), None, "the frame count is missing");
        assert_eq!(samples(&[0xfb, 0]), None, "no frame");
        assert_eq!(samples(&[0xfb, 7]), None, "140 ms");
    }

    #[test]
    fn silence_lasts_as_long_as_asked() {
        for wanted in (120..=5760).step_by(120) {
            for channels in [1, 2] {
                let packet = silence(wanted, channels).expect("a known duration");
                assert_eq!(samples(&packet).map(u32::from), Some(wanted));
                assert_eq!(packet[0] & 4 != 0, channels == 2, "the stereo bit");
            }
        }
        assert_eq!(silence(960, 1), Some(vec![0xf8, 0xff, 0xfe]));
        assert_eq!(
            silence(2880, 2),
            Some(vec![0xff, 3, 0xff, 0xfe, 0xff, 0xfe, 0xff, 0xfe])
        );
        assert_eq!(
            [0, 961, 5880].map(|wanted| silence(wanted, 1)),
            [None, None, None]
        );
    }

    #[test]
    fn a_packet_passes_unchanged_and_two_are_not_one() {
        let packet: &[u8] = &[0x78, 1, 2, 3];
        assert_eq!(assemble(Codec::Opus, &[packet]), Ok(packet.to_vec()));
        assert_eq!(
            assemble(Codec::Opus, &[packet, packet]),
            Err(Broken::OutOfPlace)
        );
    }
}
