//! RTP and RTCP packets.

use wire::codec::avc::NalType;
use wire::trace::field;
use wire::{Cursor, Field, Result, Trace};

use super::codec::{self, Nal};
use super::{Part, ts};
use crate::dissect::provenance::Provenance;

const AVC: &str = "RFC 6184 §5.8";
static FU: Field = field("fragmentation unit", AVC, "A piece of one NAL unit.");
static INDICATOR: Field =
    field("FU indicator", AVC, "Type 28 (H.264) or 49 (H.265) in place of the unit's own.");
static START: Field = field("start", AVC, "1: the first piece.");
static END: Field = field("end", AVC, "1: the last piece.");
static RESERVED: Field = field("reserved", AVC, "0; a type bit in H.265.");
static INNER: Field = field("fragmented type", AVC, "nal_unit_type of the whole unit.");
static PIECE: Field = field("fragment", AVC, "Bytes of the unit.");
static AGGREGATION: Field = field("aggregation packet", "RFC 6184 §5.7", "Several NAL units.");
static SIZE: Field = field("NAL unit size", "RFC 6184 §5.7.1", "Bytes of the unit that follows.");
static UNIT: Field = field("aggregated unit", "RFC 6184 §5.7.1", "One NAL unit.");

/// Parts of an RTP packet: itself, then its payload where the encoding is known.
pub fn rtp(bytes: &[u8], origin: Provenance, encoding: Option<&str>) -> Vec<Part> {
    let whole = origin.clone();
    let (part, _) = Part::read("RTP packet", bytes, origin, |c| wire::rtp::Packet::decode(c).map(drop));
    let mut parts = vec![part];
    let place = |inside: &[u8]| {
        let start = inside.as_ptr().addr().saturating_sub(bytes.as_ptr().addr()) as u64;
        whole.slice(start..start.saturating_add(inside.len() as u64))
    };
    if let Ok(packet) = wire::rtp::Packet::parse(bytes)
        && ts::in_rtp(packet.header.payload_type, encoding, packet.payload)
    {
        let inside = ts::parts(packet.payload, &place(packet.payload));
        parts.extend(inside.into_iter().map(|part| Part { level: part.level.saturating_add(1), ..part }));
        return parts;
    }
    if let Some(codec) = encoding.and_then(Nal::of)
        && let Ok(packet) = wire::rtp::Packet::parse(bytes)
    {
        let origin = place(packet.payload);
        let title = format!("RTP payload, {}", encoding.unwrap_or_default());
        let (part, _) = Part::read(title, packet.payload, origin, |c| payload(c, codec));
        parts.push(part.at(1));
    }
    parts
}

/// Reads an RTP payload of H.264 (RFC 6184) or H.265 (RFC 7798).
pub fn payload<T: Trace>(c: &mut Cursor<'_, T>, codec: Nal) -> Result<()> {
    let Some(first) = c.peek().first() else { return Ok(()) };
    let kind = codec.type_of(*first);
    let header = if codec == Nal::Avc { 1 } else { 2 };
    match (codec, NalType(kind).0) {
        (Nal::Avc, 28) | (Nal::Hevc, 49) => c.group(&FU, |c| {
            c.bytes(&INDICATOR, header)?;
            c.bits(&START, 1)?;
            c.bits(&END, 1)?;
            if codec == Nal::Avc {
                c.bits(&RESERVED, 1)?;
            }
            c.bits(&INNER, if codec == Nal::Avc { 5 } else { 6 })?;
            c.rest(&PIECE);
            Ok(())
        }),
        (Nal::Avc, 24) | (Nal::Hevc, 48) => c.group(&AGGREGATION, |c| {
            c.bytes(&INDICATOR, header)?;
            while !c.is_empty() {
                c.group(&UNIT, |c| {
                    let size = usize::from(c.u16(&SIZE)?);
                    codec::unit(c, codec, size.min(c.remaining())).map(drop)
                })?;
            }
            Ok(())
        }),
        _ => codec::unit(c, codec, c.remaining()).map(drop),
    }
}

/// A compound RTCP packet.
pub fn rtcp(bytes: &[u8], origin: Provenance) -> Part {
    Part::read("RTCP compound", bytes, origin, |c| match wire::rtcp::decode(c) {
        (_, Some(error)) => Err(error),
        _ => Ok(()),
    })
    .0
}
