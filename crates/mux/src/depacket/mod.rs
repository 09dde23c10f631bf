//! From RTP payloads to frames, one file a codec; adding a codec is one file, one row in `ROWS` and its number in `codec`.
//!
//! Two questions are answered about payloads. `inspect`: what does this one packet tell by itself (for the index, which the
//! planner reads)? `Assembly`: what frame do these packets make (for the file)? Packets arrive here in sequence order, those
//! of one frame only. Packets that do not fit together are refused, so that no frame in a file is something nobody sent.

pub mod av1;
pub mod h264;
pub mod opus;
pub mod vp8;
pub mod vp9;

use crate::codec::Codec;

/// What one packet shows without its neighbours.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// A frame begins with this packet.
    pub starts_frame: bool,
    /// The codec says that the frame ends here; the RTP marker is not looked at.
    pub ends_frame: bool,
    /// The packet shows that its frame is a key frame. For H264 this may be any packet of the frame, not only the first.
    pub key: bool,
    /// Width and height of the coded picture, when this packet carries them.
    pub size: Option<(u16, u16)>,
    /// Duration of an Opus packet in samples of 48 kHz, else 0.
    pub samples: u16,
}

/// Why packets make no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    #[error("the payload ends inside a header")]
    Short,
    #[error("the first packet of the frame is missing")]
    NoStart,
    #[error("a packet in the middle is missing or out of place")]
    OutOfPlace,
    #[error("the last packet of the frame is missing")]
    NoEnd,
    #[error("there is no picture in the frame")]
    NoPicture,
    #[error("the payload structure is not one that was negotiated")]
    Unsupported,
}

/// A frame being put together. One value makes one frame.
pub trait Assembly {
    /// Appends what the next packet adds to the frame.
    fn push(&mut self, payload: &[u8], frame: &mut Vec<u8>) -> Result<(), Broken>;
    /// Checks that the frame is whole and appends what is known only now.
    fn finish(&mut self, frame: &mut Vec<u8>) -> Result<(), Broken>;
}

/// What this crate can do with a codec.
struct Row {
    codec: Codec,
    inspect: fn(&[u8]) -> Option<Facts>,
    assembly: fn() -> Box<dyn Assembly>,
}

const ROWS: [Row; 5] = [
    Row {
        codec: Codec::Opus,
        inspect: opus::inspect,
        assembly: || Box::new(opus::Packet::default()),
    },
    Row {
        codec: Codec::Vp8,
        inspect: vp8::inspect,
        assembly: || Box::new(vp8::Frame::default()),
    },
    Row {
        codec: Codec::Vp9,
        inspect: vp9::inspect,
        assembly: || Box::new(vp9::Frame::default()),
    },
    Row {
        codec: Codec::H264,
        inspect: h264::inspect,
        assembly: || Box::new(h264::AccessUnit::default()),
    },
    Row {
        codec: Codec::Av1,
        inspect: av1::inspect,
        assembly: || Box::new(av1::TemporalUnit::default()),
    },
];

fn row(codec: Codec) -> &'static Row {
    ROWS.iter()
        .find(|row| row.codec == codec)
        .expect("every codec has a row")
}

/// What one payload (padding removed) tells by itself; None when it cannot be parsed.
pub fn inspect(codec: Codec, payload: &[u8]) -> Option<Facts> {
    (row(codec).inspect)(payload)
}

/// Starts a frame. The bytes it makes are those of a sample in a file: H264 with four-byte lengths, AV1 with size fields.
pub fn assembly(codec: Codec) -> Box<dyn Assembly> {
    (row(codec).assembly)()
}

/// The frame that these payloads make.
pub fn assemble(codec: Codec, payloads: &[&[u8]]) -> Result<Vec<u8>, Broken> {
    let mut frame = Vec::new();
    let mut assembly = assembly(codec);
    for payload in payloads {
        assembly.push(payload, &mut frame)?;
    }
    assembly.finish(&mut frame)?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Codec; 5] = [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn garbage_is_refused_or_read_but_never_panics(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..5),
        ) {
            let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
            for codec in ALL {
                slices.iter().for_each(|payload| { inspect(codec, payload); });
                let _ = assemble(codec, &slices);
            }
        }
    }

    #[test]
    fn an_empty_payload_tells_nothing() {
        for codec in ALL {
            assert_eq!(inspect(codec, &[]), None);
            assert!(assemble(codec, &[]).is_err());
            assert!(assemble(codec, &[&[]]).is_err());
        }
    }
}
