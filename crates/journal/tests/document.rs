//! The example in docs/formats/journal.md is what the writer writes.

use std::fs;
use std::path::Path;

use isotape_journal::{RecordType, Writer};
use serde_json::json;

const DOCUMENT: &str = "../../docs/formats/journal.md";

#[test]
fn the_documented_example_is_byte_for_byte_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), "j1", json!({"peer": "p1"})).unwrap();
    let packet = [
        0x80, 0x6f, 0, 1, 0, 0, 3, 0xc0, 0, 0, 0, 7, 0xfc, 0xff, 0xfe,
    ];
    writer.append_rtp(1_000_000_000, &packet, false).unwrap();
    let muted = br#"{"muted":true}"#;
    writer
        .append(RecordType::MUTE, 0, 1_500_000_000, muted)
        .unwrap();
    writer.seal(2_000_000_000, "peer left").unwrap();
    let written = fs::read(folder.path().join("00000001.seg")).unwrap();
    assert_eq!(documented(), written, "written: {}", hex(&written));
}

/// The hex digits of the indented dump: what stands before the column of two spaces and a bar.
fn documented() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let text = fs::read_to_string(path).unwrap();
    let dump = text.split("```dump\n").nth(1).unwrap();
    let lines = dump.split("```").next().unwrap().lines();
    let digits: String = lines.map(|line| line.split('|').next().unwrap()).collect();
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
