//! Journal and plan to finished file: the bytes of step 7 of the story.
//!
//! A journal was sealed before; after this the file is verified and stored. `index` turns a journal folder into arrays for
//! the planner, `render` turns the plan that comes back into MP4 or WebM. Both only copy what the sender sent: nothing is
//! transcoded, and the one picture this crate invents (`placeholder`) is asked for by name and listed by the planner.
//!
//! Everything read here came from a network, so every parser is bounds checked and returns; none panics. No threads, no
//! sockets, no clock: the same plan gives the same bytes.
#![forbid(unsafe_code)]

pub mod bitstream;
pub mod codec;
pub mod depacket;
pub mod error;
pub mod index;
mod mp4;
pub mod placeholder;
pub mod plan;
pub mod render;
pub mod rtp;
mod sha;
mod source;
mod survey;
mod webm;

pub use error::MuxError;
