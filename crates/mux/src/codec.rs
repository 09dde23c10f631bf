//! The codecs that isotape records, with the number each has in the packet index and its names on the wire.

/// A codec that can be journalled, depacketised and stored in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    Opus,
    Vp8,
    Vp9,
    H264,
    Av1,
}

/// Codec, number in the packet index, and name as in SDP `a=rtpmap` (RFC 4566; compared without case).
const TABLE: [(Codec, u8, &str); 5] = [
    (Codec::Opus, 1, "opus"),
    (Codec::Vp8, 2, "VP8"),
    (Codec::Vp9, 3, "VP9"),
    (Codec::H264, 4, "H264"),
    (Codec::Av1, 5, "AV1"),
];

impl Codec {
    /// The codec of an SDP encoding name, or None when isotape does not know it.
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE
            .iter()
            .find(|row| row.2.eq_ignore_ascii_case(name))
            .map(|row| row.0)
    }

    fn row(self) -> &'static (Codec, u8, &'static str) {
        TABLE
            .iter()
            .find(|row| row.0 == self)
            .expect("every codec has a row")
    }

    /// The number in the `codec` column of the packet index; 0 is kept for unknown.
    pub fn number(self) -> u8 {
        self.row().1
    }

    pub fn name(self) -> &'static str {
        self.row().2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_without_case_and_every_codec_has_its_own_number() {
        assert_eq!(Codec::from_name("OPUS"), Some(Codec::Opus));
        assert_eq!(Codec::from_name("h264"), Some(Codec::H264));
        assert_eq!(Codec::from_name("rtx"), None);
        let mut numbers: Vec<u8> = TABLE.iter().map(|row| row.0.number()).collect();
        numbers.dedup();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
    }
}
