//! Bit reader and writer for codec headers, with the variable-length codes of H.264 and AV1.
//!
//! Reading past the end gives None and never panics: a truncated header is a header that cannot be understood.

/// Reads most significant bit first.
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub fn bit(&mut self) -> Option<u32> {
        let byte = *self.bytes.get(self.position / 8)?;
        let bit = (byte >> (7 - self.position % 8)) & 1;
        self.position += 1;
        Some(u32::from(bit))
    }

    pub fn flag(&mut self) -> Option<bool> {
        self.bit().map(|bit| bit == 1)
    }

    /// Up to 32 bits as one number.
    pub fn bits(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32);
        let mut value = 0u64;
        for _ in 0..count {
            value = value << 1 | u64::from(self.bit()?);
        }
        u32::try_from(value).ok()
    }

    /// ue(v) of ITU-T H.264 section 9.1: unsigned Exp-Golomb, at most 32 bits of value.
    pub fn unsigned_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let suffix = self.bits(zeros)?;
        ((1u32 << zeros) - 1).checked_add(suffix)
    }

    /// se(v) of ITU-T H.264 section 9.1.1.
    pub fn signed_golomb(&mut self) -> Option<i64> {
        let code = i64::from(self.unsigned_golomb()?);
        Some(if code % 2 == 0 {
            -(code / 2)
        } else {
            code / 2 + 1
        })
    }

    /// uvlc() of the AV1 specification, section 4.10.3.
    pub fn uvlc(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros >= 32 {
                return Some(u32::MAX);
            }
        }
        ((1u32 << zeros) - 1).checked_add(self.bits(zeros)?)
    }
}

/// Writes most significant bit first.
#[derive(Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    used: u32,
}

impl BitWriter {
    pub fn bits(&mut self, count: u32, value: u32) {
        for shift in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let bit = (value >> shift & 1) as u8;
            if let Some(last) = self.bytes.last_mut() {
                *last |= bit << (7 - self.used % 8);
            }
            self.used += 1;
        }
    }

    /// ue(v) of ITU-T H.264 section 9.1.
    pub fn unsigned_golomb(&mut self, value: u32) {
        let code = u64::from(value) + 1;
        let length = 64 - code.leading_zeros();
        self.bits(length - 1, 0);
        if length > 32 {
            self.bits(1, 1);
            self.bits(32, code as u32);
        } else {
            self.bits(length, code as u32);
        }
    }

    /// Fills the byte up with zero bits.
    pub fn align_with_zeros(&mut self) {
        let rest = (8 - self.used % 8) % 8;
        self.bits(rest, 0);
    }

    /// rbsp_trailing_bits of ITU-T H.264 section 7.3.2.11: a one, then zeros up to the byte.
    pub fn finish_rbsp(mut self) -> Vec<u8> {
        self.bits(1, 1);
        self.align_with_zeros();
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn golomb_codes_come_back(values in proptest::collection::vec(0u32..u32::MAX - 1, 0..20)) {
            let mut writer = BitWriter::default();
            for value in &values {
                writer.unsigned_golomb(*value);
            }
            let bytes = writer.finish_rbsp();
            let mut reader = BitReader::new(&bytes);
            for value in values {
                prop_assert_eq!(reader.unsigned_golomb(), Some(value));
            }
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            let mut reader = BitReader::new(&bytes);
            while reader.signed_golomb().is_some() {}
            let mut reader = BitReader::new(&bytes);
            while reader.uvlc().is_some() {}
        }
    }

    #[test]
    fn signed_codes_follow_table_9_3() {
        let mut writer = BitWriter::default();
        (0..5).for_each(|code| writer.unsigned_golomb(code));
        let bytes = writer.finish_rbsp();
        let mut reader = BitReader::new(&bytes);
        let values: Vec<i64> = (0..5).filter_map(|_| reader.signed_golomb()).collect();
        assert_eq!(values, [0, 1, -1, 2, -2]);
    }
}
