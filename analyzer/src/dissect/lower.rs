//! What is below the protocols followed, as parts: the packet's record, its headers, a datagram put together.

use super::provenance::Provenance;
use super::tree::Part;
use super::{Place, render};
use crate::capture::Packet;
use crate::flow::Whole;

/// The record or block that the packet is stored in, in its file.
pub(super) fn record_part(packet: &Packet<'_>) -> Option<Part> {
    let record = packet.record?;
    let name = record.name();
    let title = format!("{name}: {} bytes of the file from byte {} on", record.bytes.len(), record.at);
    let (part, _) = Part::read(title, record.bytes, Provenance::default(), |c| record.decode(c));
    Some(part)
}

/// A datagram put together from fragments.
pub(super) fn datagram_part(whole: &Whole, frame: u64) -> Part {
    let captured = whole.bytes.len() as u64;
    let title = format!("IP datagram put together from fragments: {} bytes", whole.length);
    let origin = Provenance::frame(frame, None, captured);
    let mut error = None;
    let (mut part, _) = Part::read(title, &whole.bytes, origin, |c| {
        error = whole.decode(c).error;
        Ok(())
    });
    part.error = error;
    part
}

/// The captured bytes, from the link layer to the transport payload.
pub(super) fn frame_part(packet: &Packet<'_>, number: u64, place: Place, since_ns: i64) -> Part {
    let captured = packet.data.len();
    let title = format!("Frame {number}: {} bytes on the wire, {captured} captured", packet.orig_len);
    let origin = Provenance::frame(number, Some(0), captured as u64);
    let mut error = None;
    let (mut part, _) = Part::read(title, packet.data, origin, |c| {
        error = wire::net::decode(c, packet.link, packet.orig_len).error;
        Ok(())
    });
    part.error = error;
    let since = render::Seconds(since_ns);
    if place.several {
        let file = place.file.saturating_add(1);
        part.note("several files", format!("frame {} of file {file}", packet.number));
    }
    part.note(
        "captured",
        format!(
            "link type {} ({}), interface {}, {} s since 1970, {since} s since the first packet",
            packet.link.0,
            packet.link,
            packet.interface,
            render::Seconds(packet.time_ns),
        ),
    );
    part
}
