//! H.264 over RTP, RFC 6184, non-interleaved mode: single NAL units, STAP-A aggregates and FU-A fragments.
//!
//! Nothing is dropped or reordered: parameter sets stay in band where the sender put them, so a picture size that changes in
//! the middle of a stream stays decodable.

use super::{Assembly, Broken, Facts};
use crate::bitstream::h264::{append_with_length, nal, sps::Sps, starts_picture, unit_type};

/// RFC 6184 table 1.
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// The NAL units of a STAP-A after its type byte; an item is None when a length does not fit.
fn aggregated(payload: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = payload.get(1..).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((length, body)) = rest.split_first_chunk::<2>() else {
            rest = &[];
            return Some(None);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        let unit = body.get(..length).filter(|unit| !unit.is_empty());
        rest = if unit.is_some() { &body[length..] } else { &[] };
        Some(unit)
    })
}

/// FU-A, RFC 6184 section 5.8.
struct Fragment<'a> {
    first: bool,
    last: bool,
    /// The header byte of the NAL unit that is fragmented.
    header: u8,
    body: &'a [u8],
}

fn fragment(payload: &[u8]) -> Option<Fragment<'_>> {
    let (indicator, header) = (*payload.first()?, *payload.get(1)?);
    let (first, last) = (header & 0x80 != 0, header & 0x40 != 0);
    // RFC 6184 forbids a fragment that is first and last at once; it is unambiguous, so it is accepted.
    Some(Fragment {
        first,
        last,
        header: indicator & 0xe0 | header & 0x1f,
        body: &payload[2..],
    })
}

fn add_unit(unit: &[u8], facts: &mut Facts) {
    if starts_picture(unit) {
        facts.starts_frame = true;
        facts.key |= unit_type(unit) == nal::IDR;
    }
    if matches!(unit_type(unit), nal::SPS | nal::PPS | nal::DELIMITER) {
        facts.starts_frame = true;
    }
    if unit_type(unit) == nal::SPS {
        facts.size = Sps::parse(unit).and_then(|sps| sps.size()).or(facts.size);
    }
}

pub fn inspect(payload: &[u8]) -> Option<Facts> {
    let mut facts = Facts::default();
    match unit_type(payload) {
        1..=23 => add_unit(payload, &mut facts),
        STAP_A => {
            let mut any = false;
            for unit in aggregated(payload) {
                add_unit(unit?, &mut facts);
                any = true;
            }
            any.then_some(())?;
        }
        FU_A => {
            let fragment = fragment(payload)?;
            if fragment.first {
                let beginning = [
                    &[fragment.header],
                    &fragment.body[..fragment.body.len().min(1)],
                ]
                .concat();
                add_unit(&beginning, &mut facts);
            }
        }
        _ => return None,
    }
    Some(facts)
}

/// The NAL units of one access unit, each behind its length.
#[derive(Default)]
pub struct AccessUnit {
    /// The fragmented NAL unit that is being read: where its length stands, and its type.
    open: Option<(usize, u8)>,
    has_picture: bool,
}

impl AccessUnit {
    fn add(&mut self, unit: &[u8], frame: &mut Vec<u8>) -> Result<(), Broken> {
        if self.open.is_some() {
            return Err(Broken::OutOfPlace);
        }
        self.has_picture |= is_slice(unit_type(unit));
        append_with_length(unit, frame);
        Ok(())
    }

    fn add_fragment(&mut self, fragment: &Fragment<'_>, frame: &mut Vec<u8>) -> Result<(), Broken> {
        let kind = fragment.header & 0x1f;
        let length_at = match (self.open, fragment.first) {
            (None, true) => {
                self.has_picture |= is_slice(kind);
                frame.extend_from_slice(&[0, 0, 0, 0, fragment.header]);
                frame.len() - 5
            }
            (Some((length_at, open_kind)), false) if open_kind == kind => length_at,
            (None, false) => return Err(Broken::NoStart),
            _ => return Err(Broken::OutOfPlace),
        };
        frame.extend_from_slice(fragment.body);
        self.open = Some((length_at, kind));
        if fragment.last {
            let length = (frame.len() - length_at - 4) as u32;
            frame[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
            self.open = None;
        }
        Ok(())
    }
}

/// Slices and slice data partitions, ITU-T H.264 table 7-1.
fn is_slice(kind: u8) -> bool {
    (nal::SLICE..=nal::IDR).contains(&kind)
}

impl Assembly for AccessUnit {
    fn push(&mut self, payload: &[u8], frame: &mut Vec<u8>) -> Result<(), Broken> {
        match unit_type(payload) {
            1..=23 => self.add(payload, frame),
            STAP_A => {
                aggregated(payload).try_for_each(|unit| self.add(unit.ok_or(Broken::Short)?, frame))
            }
            FU_A => self.add_fragment(&fragment(payload).ok_or(Broken::Short)?, frame),
            0 => Err(Broken::Short),
            _ => Err(Broken::Unsupported),
        }
    }

    fn finish(&mut self, _frame: &mut Vec<u8>) -> Result<(), Broken> {
        match (self.open, self.has_picture) {
            (Some(_), _) => Err(Broken::NoEnd),
            (None, false) => Err(Broken::NoPicture),
            (None, true) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bitstream::h264::units_by_length;
    use crate::codec::Codec;
    use crate::depacket::assemble;
    use proptest::prelude::*;

    /// Packetises like libwebrtc: small units in a STAP-A, large ones in FU-A.
    fn packetise(units: &[Vec<u8>], room: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for unit in units {
            if unit.len() <= room {
                let length = (unit.len() as u16).to_be_bytes();
                packets.push([&[STAP_A | 0x60], &length[..], unit].concat());
                continue;
            }
            let pieces: Vec<&[u8]> = unit[1..].chunks(room).collect();
            for (index, piece) in pieces.iter().enumerate() {
                let first = if index == 0 { 0x80 } else { 0 };
                let last = if index + 1 == pieces.len() { 0x40 } else { 0 };
                packets.push(
                    [
                        &[unit[0] & 0xe0 | FU_A, unit[0] & 0x1f | first | last],
                        *piece,
                    ]
                    .concat(),
                );
            }
        }
        packets
    }

    fn key_frame() -> Vec<Vec<u8>> {
        let sps = vec![
            0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x28, 0x02, 0xdd, 0x80, 0x80,
        ];
        vec![
            sps,
            vec![0x68, 0xce, 0x3c, 0x80],
            [vec![0x65, 0x88], vec![7; 90]].concat(),
        ]
    }

    #[test]
    fn key_and_size_are_seen_in_the_packets_that_carry_them() {
        let packets = packetise(&key_frame(), 30);
        let facts: Vec<Facts> = packets
            .iter()
            .filter_map(|packet| inspect(packet))
            .collect();
        assert_eq!(facts.len(), packets.len());
        assert_eq!(facts[0].size, Some((1280, 720)));
        assert!(facts[0].starts_frame && !facts[0].key);
        assert!(facts[2].key && facts[2].starts_frame);
        assert_eq!(facts[3], Facts::default());
    }

    #[test]
    fn a_slice_in_the_middle_of_a_picture_starts_nothing() {
        assert_eq!(inspect(&[0x41, 0x40]), Some(Facts::default()));
        assert!(inspect(&[0x41, 0x9a]).expect("parsable").starts_frame);
    }

    #[test]
    fn loss_and_disorder_in_a_fragmented_unit_are_refused() {
        let packets = packetise(&key_frame()[2..], 30);
        let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        assert_eq!(assemble(Codec::H264, &slices[1..]), Err(Broken::NoStart));
        assert_eq!(assemble(Codec::H264, &slices[..2]), Err(Broken::NoEnd));
        assert_eq!(
            assemble(Codec::H264, &[slices[0], slices[0]]),
            Err(Broken::OutOfPlace)
        );
        let other = [0x7c, 0x41, 9];
        assert_eq!(
            assemble(Codec::H264, &[slices[0], &other]),
            Err(Broken::OutOfPlace)
        );
        assert_eq!(
            assemble(Codec::H264, &[slices[0], &[0x41, 0x9a]]),
            Err(Broken::OutOfPlace)
        );
    }

    #[test]
    fn an_aggregate_whose_length_lies_is_refused() {
        assert_eq!(inspect(&[STAP_A, 0, 9, 0x67]), None);
        assert_eq!(
            assemble(Codec::H264, &[&[STAP_A, 0, 9, 0x67]]),
            Err(Broken::Short)
        );
        assert_eq!(inspect(&[STAP_A, 0]), None);
    }

    #[test]
    fn parameter_sets_alone_are_no_picture() {
        let packets = packetise(&key_frame()[..2], 30);
        let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        assert_eq!(assemble(Codec::H264, &slices), Err(Broken::NoPicture));
    }

    proptest! {
        #[test]
        fn units_come_back(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 2..300), 1..5),
            room in 10usize..90,
        ) {
            let units: Vec<Vec<u8>> = bodies.iter().map(|body| [&[0x41], body.as_slice()].concat()).collect();
            let packets = packetise(&units, room);
            let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
            let frame = assemble(Codec::H264, &slices).expect("whole");
            prop_assert_eq!(units_by_length(&frame).collect::<Vec<_>>(), units);
        }
    }
}
