//! The bytes of a journal: segment magic, record header, record types and their payloads.
//!
//! Both sides stand on this file: [`crate::append`] encodes with it and [`crate::read`] decodes with
//! it, and both run the same [`is_well_formed`] check, so that nothing can be written which would be
//! refused when it is read. It must never change the meaning of a number that was once released;
//! a new meaning is a new record type, which old readers skip.

use serde::{Deserialize, Serialize};

/// First bytes of every segment file. The digit is the format version.
pub const MAGIC: [u8; 8] = *b"ISOTAPE1";
/// Version named inside the header record, for people who read the JSON.
pub const VERSION: u32 = 1;
/// Bytes in front of every payload.
pub const RECORD_HEADER_BYTES: usize = 20;
/// The checksum stands last in the record header and covers what is before it, then the payload.
const CHECKED_HEADER_BYTES: usize = 16;
/// Longest payload. RTP packets come from UDP datagrams (65,507 bytes at most); the largest JSON is
/// the header's meta object. The bound keeps a damaged length from being believed.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;
/// A segment is closed when it has grown beyond this. 64 MiB is about 3.5 minutes of 720p video:
/// few files, and a file that a reader can scan in well under a second.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Fixed part of an RTP header (RFC 3550 section 5.1).
const RTP_HEADER_BYTES: usize = 12;

/// Record flag: the packet was delivered by retransmission (RFC 4588) and is stored as the original.
pub const FLAG_REPAIRED: u8 = 0x01;

/// What a record holds. A number without a name is kept as it is, because readers skip what they
/// do not know.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordType(pub u8);

impl RecordType {
    /// JSON, first record of every segment: [`SegmentHeader`].
    pub const HEADER: Self = Self(1);
    /// One RTP packet after decryption, header and extensions as received.
    pub const RTP: Self = Self(2);
    /// [`SenderReport`], 24 bytes.
    pub const SENDER_REPORT: Self = Self(3);
    /// JSON `{"muted":bool}`.
    pub const MUTE: Self = Self(4);
    /// JSON `{"<payload type>":{"codec","clock_rate","channels","fmtp"}}`.
    pub const CODECS: Self = Self(5);
    /// JSON `{"from":n|null,"to":n}`.
    pub const SSRC: Self = Self(6);
    /// JSON `{"cause":text,"packets":n|null}`; null where the number cannot be known.
    pub const GAP: Self = Self(7);
    /// JSON [`Seal`]; nothing follows it.
    pub const SEAL: Self = Self(8);

    pub fn name(self) -> &'static str {
        match self {
            Self::HEADER => "header",
            Self::RTP => "rtp",
            Self::SENDER_REPORT => "sender_report",
            Self::MUTE => "mute",
            Self::CODECS => "codecs",
            Self::SSRC => "ssrc",
            Self::GAP => "gap",
            Self::SEAL => "seal",
            _ => "unknown",
        }
    }
}

impl std::fmt::Debug for RecordType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

/// Payload of the header record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentHeader {
    pub version: u32,
    pub journal: String,
    pub segment: u32,
    /// Set when this segment replaces one whose file failed; see [`Resumes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<Resumes>,
    /// What the opener of the journal wanted to keep: peer, track, source, codec. Opaque here.
    pub meta: serde_json::Value,
}

impl SegmentHeader {
    /// For a journal of which no header is readable any more: its records still count.
    pub(crate) fn nameless(segment: u32) -> Self {
        Self {
            version: VERSION,
            journal: String::new(),
            segment,
            resumes: None,
            meta: serde_json::json!({}),
        }
    }
}

/// After a failed sync nobody knows which of the unsynced bytes reached the disk, so all of them are
/// appended again to a new segment. Readers must then leave the old ones aside, or packets would
/// appear twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resumes {
    /// Last segment that holds durable records which this segment does not repeat.
    pub segment: u32,
    /// Records of that segment at or beyond this offset are repeated here, and every segment
    /// between the two counts for nothing.
    pub offset: u64,
    /// The operating system's words.
    pub cause: String,
}

/// Payload of the seal record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seal {
    pub reason: String,
    pub packets: u64,
}

/// An RTCP sender report without its report blocks (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    pub ssrc: u32,
    /// 32.32 fixed point seconds since 1900.
    pub ntp: u64,
    pub rtp_timestamp: u32,
    pub packet_count: u32,
    pub octet_count: u32,
}

impl SenderReport {
    pub const BYTES: usize = 24;

    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..4].copy_from_slice(&self.ssrc.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.ntp.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.rtp_timestamp.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.packet_count.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.octet_count.to_le_bytes());
        bytes
    }

    pub fn decode(payload: &[u8]) -> Option<Self> {
        if payload.len() != Self::BYTES {
            return None;
        }
        Some(Self {
            ssrc: u32_at(payload, 0),
            ntp: u64_at(payload, 4),
            rtp_timestamp: u32_at(payload, 12),
            packet_count: u32_at(payload, 16),
            octet_count: u32_at(payload, 20),
        })
    }
}

/// The 20 bytes in front of a payload, decoded but not yet checked against the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub payload_bytes: usize,
    pub kind: RecordType,
    pub flags: u8,
    pub arrival_ns: u64,
    crc: u32,
    checked: u32,
}

impl RecordHeader {
    /// `None` where the bytes cannot be a record header: an impossible length, or a reserved field
    /// that is not zero. `bytes` holds at least [`RECORD_HEADER_BYTES`].
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let payload_bytes = u32_at(bytes, 0) as usize;
        let reserved = u16::from_le_bytes([bytes[6], bytes[7]]);
        if payload_bytes > MAX_PAYLOAD_BYTES || reserved != 0 {
            return None;
        }
        Some(Self {
            payload_bytes,
            kind: RecordType(bytes[4]),
            flags: bytes[5],
            arrival_ns: u64_at(bytes, 8),
            crc: u32_at(bytes, 16),
            checked: crc32c::crc32c(&bytes[..CHECKED_HEADER_BYTES]),
        })
    }

    /// [`RecordHeader::decode`] of bytes that may be too few.
    pub fn decode_or_short(bytes: &[u8]) -> Option<Self> {
        match bytes.len() < RECORD_HEADER_BYTES {
            true => None,
            false => Self::decode(bytes),
        }
    }

    /// Whether `payload` is the one this header was written for.
    pub fn covers(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_bytes
            && crc32c::crc32c_append(self.checked, payload) == self.crc
            && is_well_formed(self.kind, payload)
    }

    pub fn record_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.payload_bytes
    }
}

/// Appends one whole record to `out`.
pub fn encode_record(
    out: &mut Vec<u8>,
    kind: RecordType,
    flags: u8,
    arrival_ns: u64,
    payload: &[u8],
) {
    let mut header = [0; RECORD_HEADER_BYTES];
    header[0..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[4] = kind.0;
    header[5] = flags;
    header[8..16].copy_from_slice(&arrival_ns.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..CHECKED_HEADER_BYTES]), payload);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

/// The check that the writer makes before it appends and the reader after it read.
/// Cheap on purpose: RTP by length and version, JSON by its braces, unknown types by size alone.
pub fn is_well_formed(kind: RecordType, payload: &[u8]) -> bool {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return false;
    }
    match kind {
        RecordType::RTP => payload.len() >= RTP_HEADER_BYTES && payload[0] >> 6 == 2,
        RecordType::SENDER_REPORT => payload.len() == SenderReport::BYTES,
        RecordType::HEADER
        | RecordType::MUTE
        | RecordType::CODECS
        | RecordType::SSRC
        | RecordType::GAP
        | RecordType::SEAL => payload.first() == Some(&b'{') && payload.last() == Some(&b'}'),
        _ => true,
    }
}

/// File name of a segment; segments count from 1.
pub fn segment_name(number: u32) -> String {
    format!("{number:08}.seg")
}

/// The name of a segment until it is whole; readers pass it over.
pub fn unfinished_segment_name(number: u32) -> String {
    format!("{number:08}.new")
}

pub fn is_unfinished(name: &str) -> bool {
    name.ends_with(".new")
}

/// The number in a segment's file name; `None` for any other file.
pub fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg")?;
    let number = digits.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
