//! The RTP header, RFC 3550 section 5.1, and its extensions, RFC 8285, as far as the index needs them.

use std::ops::Range;

const FIXED_BYTES: usize = 12;

/// Profiles of the two forms of header extensions, RFC 8285 section 4; the last four bits of the second are free.
const ONE_BYTE_FORM: u16 = 0xbede;
const TWO_BYTE_FORM: u16 = 0x1000;

/// A packet's header, and where its payload lies in the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpPacket {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// Without padding; empty in a packet that is only padding.
    pub payload: Range<usize>,
    extension_profile: u16,
    extensions: Range<usize>,
}

impl RtpPacket {
    /// Reads a packet; None when it is shorter than its own header and padding say.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let fixed = bytes.first_chunk::<FIXED_BYTES>()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let mut start = FIXED_BYTES + usize::from(fixed[0] & 15) * 4;
        let (mut extension_profile, mut extensions) = (0, 0..0);
        if fixed[0] & 0x10 != 0 {
            let head = bytes.get(start..)?.first_chunk::<4>()?;
            extension_profile = u16::from_be_bytes([head[0], head[1]]);
            let length = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
            extensions = start + 4..start + 4 + length;
            start = extensions.end;
        }
        let padding = if fixed[0] & 0x20 != 0 {
            usize::from(*bytes.last()?)
        } else {
            0
        };
        let end = bytes.len().checked_sub(padding)?;
        (start <= end).then_some(Self {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            payload: start..end,
            extension_profile,
            extensions,
        })
    }

    /// The content of a header extension.
    pub fn extension<'a>(&self, id: u8, packet: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = packet.get(self.extensions.clone())?;
        let two_byte = self.extension_profile & 0xfff0 == TWO_BYTE_FORM;
        if !two_byte && self.extension_profile != ONE_BYTE_FORM {
            return None;
        }
        while let Some((head, after)) = rest.split_first() {
            if *head == 0 {
                rest = after; // padding between extensions
                continue;
            }
            let (found, length, content) = if two_byte {
                let (length, content) = after.split_first()?;
                (*head, usize::from(*length), content)
            } else {
                (head >> 4, usize::from(head & 15) + 1, after)
            };
            if found == id {
                return content.get(..length);
            }
            rest = content.get(length..)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One CSRC, a one-byte extension block with padding, two bytes of payload, three of padding.
    const PACKET: [u8; 33] = [
        0xb1, 0xef, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, // header and CSRC
        0xbe, 0xde, 0, 2, 0x30, 0x55, 0, 0x11, 1, 2, 0, 0, // extensions 3 and 1
        0xaa, 0xbb, 0, 0, 3,
    ];

    #[test]
    fn header_extensions_and_padding_are_stepped_over() {
        let packet = RtpPacket::parse(&PACKET).expect("whole");
        assert_eq!(
            (packet.marker, packet.payload_type, packet.sequence),
            (true, 111, 7)
        );
        assert_eq!((packet.timestamp, packet.ssrc), (9, 1));
        assert_eq!(PACKET[packet.payload.clone()], [0xaa, 0xbb]);
        assert_eq!(packet.extension(3, &PACKET), Some(&[0x55][..]));
        assert_eq!(packet.extension(1, &PACKET), Some(&[1, 2][..]));
        assert_eq!(packet.extension(2, &PACKET), None);
    }

    #[test]
    fn the_two_byte_form_is_read_too() {
        let mut bytes = PACKET;
        bytes[16..28].copy_from_slice(&[0x10, 0, 0, 2, 3, 1, 0x55, 0, 0, 0, 0, 0]);
        let packet = RtpPacket::parse(&bytes).expect("whole");
        assert_eq!(packet.extension(3, &bytes), Some(&[0x55][..]));
    }

    #[test]
    fn a_packet_shorter_than_it_says_is_refused() {
        for length in 0..28 {
            assert_eq!(RtpPacket::parse(&PACKET[..length]), None, "{length}");
        }
        let mut padded = PACKET;
        padded[32] = 6;
        assert_eq!(
            RtpPacket::parse(&padded),
            None,
            "padding reaches into the header"
        );
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), id in any::<u8>()) {
            if let Some(packet) = RtpPacket::parse(&bytes) {
                packet.extension(id, &bytes);
                assert!(packet.payload.end <= bytes.len());
            }
        }
    }
}
