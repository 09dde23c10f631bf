//! Writing ISO base media boxes (ISO/IEC 14496-12, section 4.2) into memory.

/// Bytes of a box tree; every box gets its size when its content is written.
#[derive(Default)]
pub(super) struct Boxes {
    bytes: Vec<u8>,
}

impl Boxes {
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A box with the content that `fill` writes.
    pub fn boxed(&mut self, kind: &[u8; 4], fill: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        self.u32(0);
        self.bytes(kind);
        fill(self);
        let size = (self.bytes.len() - at) as u32;
        self.bytes[at..at + 4].copy_from_slice(&size.to_be_bytes());
    }

    /// A FullBox: version and flags before the content.
    pub fn full(&mut self, kind: &[u8; 4], version: u8, flags: u32, fill: impl FnOnce(&mut Self)) {
        self.boxed(kind, |inner| {
            inner.u32(u32::from(version) << 24 | flags);
            fill(inner);
        });
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// A time field: 32 bits in version 0 of a box, 64 in version 1.
    pub fn time(&mut self, version: u8, value: u64) {
        if version == 0 {
            self.u32(value as u32)
        } else {
            self.u64(value)
        }
    }

    pub fn zeros(&mut self, count: usize) {
        self.bytes.resize(self.bytes.len() + count, 0);
    }
}

/// The box version that a time needs.
pub(super) fn version_for(time: u64) -> u8 {
    u8::from(time > u64::from(u32::MAX))
}
