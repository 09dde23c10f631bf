//! Writing EBML elements (RFC 8794) into memory, and knowing their length beforehand.

/// Element ids of Matroska (RFC 9559) that a WebM file needs.
pub(super) mod id {
    pub const EBML: u32 = 0x1a45_dfa3;
    pub const EBML_VERSION: u32 = 0x4286;
    pub const EBML_READ_VERSION: u32 = 0x42f7;
    pub const EBML_MAX_ID_LENGTH: u32 = 0x42f2;
    pub const EBML_MAX_SIZE_LENGTH: u32 = 0x42f3;
    pub const DOC_TYPE: u32 = 0x4282;
    pub const DOC_TYPE_VERSION: u32 = 0x4287;
    pub const DOC_TYPE_READ_VERSION: u32 = 0x4285;
    pub const SEGMENT: u32 = 0x1853_8067;
    pub const SEEK_HEAD: u32 = 0x114d_9b74;
    pub const SEEK: u32 = 0x4dbb;
    pub const SEEK_ID: u32 = 0x53ab;
    pub const SEEK_POSITION: u32 = 0x53ac;
    pub const INFO: u32 = 0x1549_a966;
    pub const TIMESTAMP_SCALE: u32 = 0x2a_d7b1;
    pub const DURATION: u32 = 0x4489;
    pub const MUXING_APP: u32 = 0x4d80;
    pub const WRITING_APP: u32 = 0x5741;
    pub const TRACKS: u32 = 0x1654_ae6b;
    pub const TRACK_ENTRY: u32 = 0xae;
    pub const TRACK_NUMBER: u32 = 0xd7;
    pub const TRACK_UID: u32 = 0x73c5;
    pub const TRACK_TYPE: u32 = 0x83;
    pub const FLAG_LACING: u32 = 0x9c;
    pub const LANGUAGE: u32 = 0x22_b59c;
    pub const CODEC_ID: u32 = 0x86;
    pub const CODEC_PRIVATE: u32 = 0x63a2;
    pub const CODEC_DELAY: u32 = 0x56aa;
    pub const SEEK_PRE_ROLL: u32 = 0x56bb;
    pub const VIDEO: u32 = 0xe0;
    pub const PIXEL_WIDTH: u32 = 0xb0;
    pub const PIXEL_HEIGHT: u32 = 0xba;
    pub const AUDIO: u32 = 0xe1;
    pub const SAMPLING_FREQUENCY: u32 = 0xb5;
    pub const CHANNELS: u32 = 0x9f;
    pub const CUES: u32 = 0x1c53_bb6b;
    pub const CUE_POINT: u32 = 0xbb;
    pub const CUE_TIME: u32 = 0xb3;
    pub const CUE_TRACK_POSITIONS: u32 = 0xb7;
    pub const CUE_TRACK: u32 = 0xf7;
    pub const CUE_CLUSTER_POSITION: u32 = 0xf1;
    pub const CLUSTER: u32 = 0x1f43_b675;
    pub const TIMESTAMP: u32 = 0xe7;
    pub const SIMPLE_BLOCK: u32 = 0xa3;
    pub const BLOCK_GROUP: u32 = 0xa0;
    pub const BLOCK: u32 = 0xa1;
    pub const BLOCK_DURATION: u32 = 0x9b;
    pub const REFERENCE_BLOCK: u32 = 0xfb;
}

/// Elements one after the other.
#[derive(Default)]
pub(super) struct Elements {
    bytes: Vec<u8>,
}

impl Elements {
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The id and the size of an element whose content follows.
    pub fn head(&mut self, id: u32, size: u64) {
        self.id(id);
        let length = size_length(size);
        let marked = size | 1 << (7 * length);
        self.raw(&marked.to_be_bytes()[8 - length..]);
    }

    fn id(&mut self, id: u32) {
        let skip = id.leading_zeros() as usize / 8;
        self.raw(&id.to_be_bytes()[skip..]);
    }

    pub fn binary(&mut self, id: u32, content: &[u8]) {
        self.head(id, content.len() as u64);
        self.raw(content);
    }

    pub fn text(&mut self, id: u32, content: &str) {
        self.binary(id, content.as_bytes());
    }

    pub fn unsigned(&mut self, id: u32, value: u64) {
        let skip = (value.leading_zeros() as usize / 8).min(7);
        self.binary(id, &value.to_be_bytes()[skip..]);
    }

    /// An unsigned number in eight bytes, for places whose length must not depend on the value.
    pub fn fixed(&mut self, id: u32, value: u64) {
        self.binary(id, &value.to_be_bytes());
    }

    pub fn signed(&mut self, id: u32, value: i64) {
        self.binary(id, &value.to_be_bytes());
    }

    pub fn float(&mut self, id: u32, value: f64) {
        self.binary(id, &value.to_be_bytes());
    }

    pub fn master(&mut self, id: u32, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.binary(id, &inner.bytes);
    }
}

/// Bytes that a size field takes; the value of all ones is reserved for an unknown size.
pub(super) fn size_length(size: u64) -> usize {
    (1..8)
        .find(|length| size < (1 << (7 * length)) - 1)
        .unwrap_or(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_avoid_the_reserved_value() {
        assert_eq!([126, 127, 16_382, 16_383].map(size_length), [1, 2, 2, 3]);
        let mut out = Elements::default();
        out.head(id::SIMPLE_BLOCK, 127);
        assert_eq!(out.into_bytes(), [0xa3, 0x40, 0x7f]);
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let mut out = Elements::default();
        out.unsigned(id::TIMESTAMP, 0);
        out.unsigned(id::TIMESTAMP, 256);
        assert_eq!(out.into_bytes(), [0xe7, 0x81, 0, 0xe7, 0x82, 1, 0]);
    }
}
