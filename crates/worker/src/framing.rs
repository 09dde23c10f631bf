//! Frames of a TCP connection (RFC 4571): two bytes of length, then a datagram.
//!
//! Both directions are buffers of a fixed bound. Nothing here knows sockets.

use crate::socket::DATAGRAM_BYTES;

/// The length in front of a frame.
const LENGTH_BYTES: usize = 2;
/// Read at once: some ten full frames.
const INPUT_BYTES: usize = 16 * 1024;
/// What may wait for a client that reads slowly: a quarter of a second of 2 Mbit/s. More would only make
/// its pictures older.
pub const OUTPUT_BYTES: usize = 64 * 1024;

/// A frame longer than any datagram: whoever sends it does not speak our protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Cuts what came in into frames.
pub struct Input {
    bytes: Box<[u8; INPUT_BYTES]>,
    filled: usize,
}

impl Input {
    pub fn new() -> Self {
        Self {
            bytes: Box::new([0; INPUT_BYTES]),
            filled: 0,
        }
    }

    /// Where the next bytes belong; never empty after [`Input::take`].
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// Hands out the whole frames after `count` bytes were put into the room, and keeps the rest.
    /// `each` says whether to go on.
    pub fn take(
        &mut self,
        count: usize,
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<bool, TooLong> {
        self.filled += count;
        let mut rest = &self.bytes[..self.filled];
        let mut goes_on = true;
        while goes_on && let Some((length, behind)) = rest.split_first_chunk::<LENGTH_BYTES>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if length > DATAGRAM_BYTES {
                return Err(TooLong);
            }
            let Some((frame, behind)) = behind.split_at_checked(length) else {
                break;
            };
            goes_on = each(frame);
            rest = behind;
        }
        let taken = self.filled - rest.len();
        self.bytes.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        Ok(goes_on)
    }
}

/// Frames that wait to be written.
#[derive(Default)]
pub struct Output {
    bytes: Vec<u8>,
}

impl Output {
    /// False when there is no room for it.
    pub fn add(&mut self, datagram: &[u8]) -> bool {
        let Ok(length) = u16::try_from(datagram.len()) else {
            return false;
        };
        if self.bytes.len() + LENGTH_BYTES + datagram.len() > OUTPUT_BYTES {
            return false;
        }
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(datagram);
        true
    }

    pub fn waiting(&self) -> &[u8] {
        &self.bytes
    }

    pub fn written(&mut self, count: usize) {
        self.bytes.drain(..count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(input: &mut Input, bytes: &[u8], frames: &mut Vec<Vec<u8>>) -> Result<bool, TooLong> {
        input.room()[..bytes.len()].copy_from_slice(bytes);
        input.take(bytes.len(), |frame| {
            frames.push(frame.to_vec());
            true
        })
    }

    #[test]
    fn frames_come_out_whole_however_they_were_cut() {
        let mut output = Output::default();
        let sent: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 37 * n as usize % 1500]).collect();
        sent.iter().for_each(|frame| assert!(output.add(frame)));
        for piece in [1, 2, 3, 700, 5_000] {
            let (mut input, mut frames) = (Input::new(), Vec::new());
            for bytes in output.waiting().chunks(piece) {
                assert_eq!(put(&mut input, bytes, &mut frames), Ok(true));
            }
            assert_eq!(frames, sent);
        }
    }

    #[test]
    fn the_largest_datagram_passes_and_one_byte_more_does_not() {
        let (mut input, mut frames) = (Input::new(), Vec::new());
        let mut output = Output::default();
        output.add(&[7; DATAGRAM_BYTES]);
        assert_eq!(put(&mut input, output.waiting(), &mut frames), Ok(true));
        assert_eq!(frames, [vec![7; DATAGRAM_BYTES]]);
        let mut output = Output::default();
        output.add(&[7; DATAGRAM_BYTES + 1]);
        assert_eq!(put(&mut input, output.waiting(), &mut frames), Err(TooLong));
    }

    #[test]
    fn what_a_slow_reader_has_waiting_is_bounded_and_its_frames_stay_whole() {
        let mut output = Output::default();
        let kept = (0..1_000).filter(|_| output.add(&[1; 998])).count();
        assert_eq!(kept, OUTPUT_BYTES / 1_000);
        output.written(400);
        assert!(!output.add(&[2; 998]), "half a frame makes no room");
        output.written(600);
        assert!(output.add(&[2; 998]));
    }
}
