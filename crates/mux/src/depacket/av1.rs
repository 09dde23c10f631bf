//! AV1 over RTP, the AOMedia specification "RTP Payload Format For AV1", version 1.0: OBU elements, whole or in fragments.
//!
//! Over RTP an OBU has no size field and no temporal delimiter stands before a unit. Files want the size fields back, and
//! the delimiters left out (AV1 in ISOBMFF, section 2.4).

use super::{Assembly, Broken, Facts};
use crate::bitstream::av1::{Obu, SequenceHeader, leb128, obu};

/// The aggregation header, section 4.4.
struct Aggregation<'a> {
    /// Z: the first element goes on with an OBU of the previous packet.
    continues: bool,
    /// Y: the last element goes on in the next packet.
    goes_on: bool,
    /// W: number of elements, 0 when every element has a length.
    count: u8,
    body: &'a [u8],
}

fn aggregation(payload: &[u8]) -> Option<Aggregation<'_>> {
    let (header, body) = payload.split_first()?;
    let (continues, goes_on) = (header & 0x80 != 0, header & 0x40 != 0);
    (!body.is_empty()).then_some(Aggregation {
        continues,
        goes_on,
        count: header >> 4 & 3,
        body,
    })
}

/// The OBU elements of a packet; None when a length does not fit.
fn elements<'a>(aggregation: &Aggregation<'a>) -> Option<Vec<&'a [u8]>> {
    let mut elements = Vec::new();
    let mut rest = aggregation.body;
    while !rest.is_empty() {
        let last_by_count = usize::from(aggregation.count) == elements.len() + 1;
        if last_by_count {
            elements.push(rest);
            return Some(elements);
        }
        let (size, length) = leb128(rest)?;
        elements.push(rest.get(length..)?.get(..size)?);
        rest = &rest[length + size..];
    }
    let announced = usize::from(aggregation.count);
    (announced == 0 || announced == elements.len()).then_some(elements)
}

pub fn inspect(payload: &[u8]) -> Option<Facts> {
    let aggregation = aggregation(payload)?;
    let elements = elements(&aggregation)?;
    let mut facts = Facts::default();
    let begun = elements
        .iter()
        .enumerate()
        .filter(|(index, _)| !(aggregation.continues && *index == 0));
    for (index, element) in begun {
        // A fragment has its first bytes here, which is all that is looked at; only its size field would not fit.
        let Some((unit, _)) = Obu::parse(element) else {
            continue;
        };
        facts.starts_frame |= index == 0
            && matches!(
                unit.kind(),
                obu::SEQUENCE_HEADER | obu::FRAME | obu::FRAME_HEADER
            );
        facts.key |= unit.is_key_frame();
        if unit.kind() == obu::SEQUENCE_HEADER {
            facts.size = SequenceHeader::parse(unit.payload).map(|header| header.size);
        }
    }
    Some(facts)
}

/// The OBUs of one temporal unit, each with a size field.
#[derive(Default)]
pub struct TemporalUnit {
    /// The OBU whose fragments are being collected.
    open: Option<Vec<u8>>,
    has_picture: bool,
}

impl TemporalUnit {
    fn add(&mut self, element: &[u8], frame: &mut Vec<u8>) -> Result<(), Broken> {
        let (unit, rest) = Obu::parse(element).ok_or(Broken::Short)?;
        if !rest.is_empty() {
            return Err(Broken::Unsupported);
        }
        if matches!(unit.kind(), obu::TEMPORAL_DELIMITER | obu::TILE_LIST) {
            return Ok(());
        }
        self.has_picture |= matches!(
            unit.kind(),
            obu::FRAME | obu::FRAME_HEADER | obu::TILE_GROUP
        );
        unit.append_sized(frame);
        Ok(())
    }
}

impl Assembly for TemporalUnit {
    fn push(&mut self, payload: &[u8], frame: &mut Vec<u8>) -> Result<(), Broken> {
        let aggregation = aggregation(payload).ok_or(Broken::Short)?;
        let elements = elements(&aggregation).ok_or(Broken::Short)?;
        match (self.open.is_some(), aggregation.continues) {
            (false, true) => return Err(Broken::NoStart),
            (true, false) => return Err(Broken::OutOfPlace),
            _ => {}
        }
        let last = elements.len() - 1;
        for (index, element) in elements.into_iter().enumerate() {
            let unfinished = index == last && aggregation.goes_on;
            match (self.open.take(), unfinished) {
                (None, false) => self.add(element, frame)?,
                (None, true) => self.open = Some(element.to_vec()),
                (Some(begun), goes_on) => {
                    let joined = [begun.as_slice(), element].concat();
                    if goes_on {
                        self.open = Some(joined);
                    } else {
                        self.add(&joined, frame)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, _frame: &mut Vec<u8>) -> Result<(), Broken> {
        match (self.open.is_some(), self.has_picture) {
            (true, _) => Err(Broken::NoEnd),
            (false, false) => Err(Broken::NoPicture),
            (false, true) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bitstream::av1::{append_leb128, obus};
    use crate::codec::Codec;
    use crate::depacket::assemble;
    use proptest::prelude::*;

    const FRAME: u8 = obu::FRAME << 3;

    /// One OBU a packet run, fragments of `room` bytes, every element with a length (W = 0).
    fn packetise(units: &[Vec<u8>], room: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for unit in units {
            let pieces: Vec<&[u8]> = unit.chunks(room).collect();
            for (index, piece) in pieces.iter().enumerate() {
                let continues = if index > 0 { 0x80 } else { 0 };
                let goes_on = if index + 1 < pieces.len() { 0x40 } else { 0 };
                let mut packet = vec![continues | goes_on];
                append_leb128(piece.len(), &mut packet);
                packet.extend_from_slice(piece);
                packets.push(packet);
            }
        }
        packets
    }

    #[test]
    fn a_key_frame_with_its_sequence_header_is_seen() {
        let sequence = [
            0x08, 0, 0, 0, 0x42, 0xab, 0xbf, 0xc3, 0x70, 0x0a, 0x45, 0x80,
        ];
        let mut packet = vec![0x28, sequence.len() as u8]; // W = 2, N
        packet.extend(sequence);
        packet.extend([FRAME, 0x10, 1, 2]);
        let facts = inspect(&packet).expect("parsable");
        assert!(facts.starts_frame && facts.key);
        assert!(
            !inspect(&[0x10, FRAME, 0x30]).expect("parsable").key,
            "an inter frame"
        );
        assert!(
            !inspect(&[0x90, FRAME, 0x10])
                .expect("parsable")
                .starts_frame,
            "goes on from before"
        );
    }

    #[test]
    fn delimiters_are_left_out_and_sizes_put_in() {
        let packet = [0x20, 1, 0x10, FRAME, 9, 9];
        assert_eq!(
            assemble(Codec::Av1, &[&packet]),
            Ok(vec![FRAME | 2, 2, 9, 9])
        );
    }

    #[test]
    fn holes_and_swaps_are_refused() {
        let packets = packetise(&[[vec![FRAME], vec![7; 90]].concat()], 30);
        let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        assert_eq!(assemble(Codec::Av1, &slices[1..]), Err(Broken::NoStart));
        assert_eq!(assemble(Codec::Av1, &slices[..2]), Err(Broken::NoEnd));
        assert_eq!(
            assemble(Codec::Av1, &[slices[0], slices[0]]),
            Err(Broken::OutOfPlace)
        );
    }

    #[test]
    fn a_length_that_lies_or_a_wrong_count_is_refused() {
        assert_eq!(inspect(&[0x00, 9, FRAME]), None);
        assert_eq!(
            inspect(&[0x30, 1, FRAME]),
            None,
            "three elements announced, one there"
        );
    }

    proptest! {
        #[test]
        fn units_come_back(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 1..4),
            room in 2usize..90,
        ) {
            let units: Vec<Vec<u8>> = bodies.iter().map(|body| [&[FRAME], body.as_slice()].concat()).collect();
            let packets = packetise(&units, room);
            let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
            let frame = assemble(Codec::Av1, &slices).expect("whole");
            let back: Vec<Vec<u8>> = obus(&frame).map(|unit| unit.payload.to_vec()).collect();
            prop_assert_eq!(back, bodies);
        }
    }
}
