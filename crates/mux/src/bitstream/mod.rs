//! What the codecs themselves write: headers that tell sizes and settings, and the framing between them.
//!
//! Below `depacket`, which takes RTP apart and asks here what it found; the containers ask the same parsers.

pub mod av1;
pub(crate) mod bits;
pub mod h264;
