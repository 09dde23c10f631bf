//! A journal folder as arrays: one row a packet, which the planner sorts, counts and cuts with NumPy.
//!
//! Nothing is judged here. Rows stand in the order of the journal, late and doubled packets included; what a packet shows by
//! itself (frame start, key frame, size, duration) is read once, so that the planner never opens a payload.

use std::path::Path;

use isotape_journal::format::FLAG_REPAIRED;
use isotape_journal::{Damage, Reader, Record, RecordType, SenderReport};
use serde_json::{Map, Value, json};

use crate::codec::Codec;
use crate::depacket;
use crate::error::MuxError;
use crate::rtp::RtpPacket;

/// The `flags` column.
pub mod flag {
    pub const MARKER: u8 = 1;
    pub const STARTS_FRAME: u8 = 1 << 1;
    /// This packet shows that its frame is a key frame; for H264 it need not be the first of the frame.
    pub const KEY: u8 = 1 << 2;
    /// There is a payload, its codec is known, and it cannot be parsed.
    pub const UNPARSABLE: u8 = 1 << 3;
    pub const REPAIRED: u8 = 1 << 4;
    pub const ENDS_FRAME: u8 = 1 << 5;
}

/// The `level` column of a packet without RFC 6464 audio level.
pub const NO_LEVEL: u8 = 255;

/// Bytes of a row. Its columns, little endian and packed: file u32, length u32, offset u64 (of the payload in the segment
/// file), arrival_ns i64, timestamp u32, ssrc u32, sequence u16, payload type u8, flags u8, level u8, codec u8, width u16,
/// height u16, samples u16.
pub const ROW_BYTES: usize = 44;

/// The record types whose payload is JSON.
const NOTES: [RecordType; 6] = [
    RecordType::HEADER,
    RecordType::MUTE,
    RecordType::CODECS,
    RecordType::SSRC,
    RecordType::GAP,
    RecordType::SEAL,
];

const AUDIO_LEVEL_URI: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

/// A record that is not RTP: arrival time, name of the type, JSON.
pub type Note = (i64, &'static str, String);

/// Everything that a journal holds, without the media.
#[derive(Debug, Default)]
pub struct JournalIndex {
    pub files: Vec<String>,
    /// JSON of the first header record; empty for a journal that has none.
    pub header: String,
    pub packets: Vec<u8>,
    pub notes: Vec<Note>,
    pub sealed: bool,
    pub torn_bytes: u64,
}

/// What payload types and header extension ids mean at this point of the journal.
struct Mapping {
    codecs: [Option<Codec>; 128],
    audio_level: Option<u8>,
}

impl Mapping {
    /// Takes a codecs record: payload types by number and, under `extensions`, header extensions by id.
    fn learn(&mut self, record: &Map<String, Value>) {
        for (key, value) in record {
            if key == "extensions" {
                self.learn_extensions(value);
                continue;
            }
            let slot = key
                .parse::<usize>()
                .ok()
                .and_then(|payload_type| self.codecs.get_mut(payload_type));
            if let Some(slot) = slot {
                *slot = value
                    .get("codec")
                    .and_then(Value::as_str)
                    .and_then(Codec::from_name);
            }
        }
    }

    fn learn_extensions(&mut self, extensions: &Value) {
        let level = extensions
            .as_object()
            .and_then(|all| all.iter().find(|(_, uri)| *uri == AUDIO_LEVEL_URI));
        self.audio_level = level.and_then(|(id, _)| id.parse().ok());
    }
}

/// Reads a journal from its first record to its last.
pub fn index_journal(dir: &str) -> Result<JournalIndex, MuxError> {
    let failed = |error: isotape_journal::Error| MuxError::Journal {
        dir: dir.to_owned(),
        reason: error.to_string(),
    };
    let mut reader = Reader::open(Path::new(dir)).map_err(failed)?;
    let mut index = JournalIndex {
        files: reader
            .files()
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        header: reader.header().unwrap_or_default().to_owned(),
        ..JournalIndex::default()
    };
    let mut mapping = Mapping {
        codecs: [None; 128],
        audio_level: None,
    };
    while let Some(record) = reader.next_record().map_err(failed)? {
        index.add(&record, &mut mapping);
    }
    for damage in reader.damage() {
        index.notes.push((
            damage.after_ns as i64,
            RecordType::GAP.name(),
            damage_json(damage),
        ));
    }
    index.sealed = reader.sealed();
    index.torn_bytes = reader.torn_bytes();
    Ok(index)
}

impl JournalIndex {
    fn add(&mut self, record: &Record<'_>, mapping: &mut Mapping) {
        match record.kind {
            RecordType::RTP => self.add_packet(record, mapping),
            RecordType::SENDER_REPORT => {
                if let Some(report) = SenderReport::decode(record.payload) {
                    self.notes.push((
                        record.arrival_ns as i64,
                        record.kind.name(),
                        report_json(&report),
                    ));
                }
            }
            _ => self.add_note(record, mapping),
        }
    }

    fn add_note(&mut self, record: &Record<'_>, mapping: &mut Mapping) {
        if !NOTES.contains(&record.kind) {
            return; // a type of a later release, which readers skip
        }
        let Ok(text) = std::str::from_utf8(record.payload) else {
            return;
        };
        let Ok(Value::Object(content)) = serde_json::from_str(text) else {
            return;
        };
        if record.kind == RecordType::CODECS {
            mapping.learn(&content);
        }
        self.notes.push((
            record.arrival_ns as i64,
            record.kind.name(),
            text.to_owned(),
        ));
    }

    fn add_packet(&mut self, record: &Record<'_>, mapping: &Mapping) {
        // The journal checked the first bytes; what is too short for its own header or padding has no payload to record.
        let Some(packet) = RtpPacket::parse(record.payload) else {
            return;
        };
        let codec = mapping.codecs[usize::from(packet.payload_type)];
        let payload = &record.payload[packet.payload.clone()];
        let found = codec
            .filter(|_| !payload.is_empty())
            .map(|codec| depacket::inspect(codec, payload));
        let facts = found.flatten().unwrap_or_default();
        let set = |condition: bool, flag: u8| if condition { flag } else { 0 };
        let flags = set(packet.marker, flag::MARKER)
            | set(facts.starts_frame, flag::STARTS_FRAME)
            | set(facts.key, flag::KEY)
            | set(found == Some(None), flag::UNPARSABLE)
            | set(record.flags & FLAG_REPAIRED != 0, flag::REPAIRED)
            | set(facts.ends_frame, flag::ENDS_FRAME);
        let level = mapping.audio_level.and_then(|id| {
            packet
                .extension(id, record.payload)?
                .first()
                .map(|byte| byte & 0x7f)
        });
        let (width, height) = facts.size.unwrap_or_default();
        let row = &mut self.packets;
        row.extend_from_slice(&(record.file as u32).to_le_bytes());
        row.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        row.extend_from_slice(&(record.offset + packet.payload.start as u64).to_le_bytes());
        row.extend_from_slice(&record.arrival_ns.to_le_bytes());
        row.extend_from_slice(&packet.timestamp.to_le_bytes());
        row.extend_from_slice(&packet.ssrc.to_le_bytes());
        row.extend_from_slice(&packet.sequence.to_le_bytes());
        let number = codec.map_or(0, Codec::number);
        row.extend_from_slice(&[
            packet.payload_type,
            flags,
            level.unwrap_or(NO_LEVEL),
            number,
        ]);
        row.extend_from_slice(&width.to_le_bytes());
        row.extend_from_slice(&height.to_le_bytes());
        row.extend_from_slice(&facts.samples.to_le_bytes());
    }
}

/// Bytes that are no record any more are a gap like any other; how many packets they were, nobody knows.
fn damage_json(damage: &Damage) -> String {
    json!({
        "cause": "corrupt",
        "packets": null,
        "file": damage.file,
        "offset": damage.offset,
        "bytes": damage.bytes,
    })
    .to_string()
}

fn report_json(report: &SenderReport) -> String {
    json!({
        "ssrc": report.ssrc,
        "ntp": report.ntp,
        "rtp_timestamp": report.rtp_timestamp,
        "packet_count": report.packet_count,
        "octet_count": report.octet_count,
    })
    .to_string()
}

/// Recovers a journal after a crash; gives what was found as JSON.
pub fn recover_journal(dir: &str) -> Result<String, MuxError> {
    let failed = |reason: String| MuxError::Journal {
        dir: dir.to_owned(),
        reason,
    };
    let recovery =
        isotape_journal::recover(Path::new(dir)).map_err(|error| failed(error.to_string()))?;
    serde_json::to_string(&recovery).map_err(|error| failed(error.to_string()))
}
