//! AAC in RTP, mode AAC-hbr (RFC 3640 §3.3.6).
//!
//! ```text
//! headers-length in bits(16) { size(13) index or index-delta(3) } access units ...
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use wire::codec::aac::adts;
use wire::trace::{Field, field};
use wire::{Cursor, Error, Problem};

use super::piece::Piece;

static HEADERS_LENGTH: Field =
    field("AU-headers-length", "RFC 3640 §3.2.1", "Bits of the headers that follow.");
static AU_SIZE: Field = field("AU-size", "RFC 3640 §3.2.1.1", "Bytes of the access unit.");
static AU_INDEX: Field =
    field("AU-Index", "RFC 3640 §3.2.1.1", "Units left out before this one: interleaving.");
static AU: Field = field("access unit", "RFC 3640 §3.2.3", "One raw frame.");

/// The largest access unit that thirteen bits can tell.
const MAX_UNIT: usize = 0x1fff;
/// The largest access unit put together from parts: other layouts could tell far more.
const MAX_PARTS: usize = 1 << 16;

/// How headers are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub size_bits: u32,
    pub index_bits: u32,
    pub delta_bits: u32,
}

/// Puts access units together.
#[derive(Debug)]
pub(super) struct Depacketizer {
    layout: Layout,
    /// A unit that came in part: its size, timestamp and bytes.
    part: Option<(usize, u32, BytesMut)>,
    damaged: u64,
}

/// An access unit, and by how many units it follows the packet's timestamp.
pub(super) type Unit = (u32, u32, Bytes);

impl Depacketizer {
    pub fn new(layout: Layout) -> Self {
        Self { layout, part: None, damaged: 0 }
    }

    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Memory that the unfinished access unit takes.
    pub fn open_bytes(&self) -> usize {
        self.part.as_ref().map_or(0, |(_, _, held)| held.capacity())
    }

    /// Takes the payload of a packet; `lost` says that others are missing before it. Gives (timestamp, units behind it, unit).
    pub fn packet(&mut self, timestamp: u32, payload: &Bytes, lost: bool) -> Result<Vec<Unit>, Error> {
        if lost {
            self.give_up();
        }
        let Layout { size_bits, index_bits, delta_bits } = self.layout;
        let mut c = Cursor::new(payload);
        let bits = u64::from(c.u16(&HEADERS_LENGTH)?);
        let data = usize::try_from(bits.div_ceil(8)).unwrap_or(0).saturating_add(2);
        if data > payload.len() {
            let (want, got) = (data as u64, payload.len() as u64);
            return Err(c.error(&AU_SIZE, Problem::Short { want, got }));
        }
        let mut sizes = Vec::new();
        let mut left = bits;
        while left
            >= u64::from(size_bits.saturating_add(if sizes.is_empty() { index_bits } else { delta_bits }))
        {
            let index_width = if sizes.is_empty() { index_bits } else { delta_bits };
            let size = usize::try_from(c.bits(&AU_SIZE, size_bits)?).unwrap_or(usize::MAX);
            let index = if index_width > 0 { c.bits(&AU_INDEX, index_width)? } else { 0 };
            sizes.push((size, u32::try_from(index).unwrap_or(0)));
            left = left.saturating_sub(u64::from(size_bits)).saturating_sub(u64::from(index_width));
            if size_bits == 0 && index_width == 0 {
                break;
            }
        }
        let mut rest = payload.slice(data..);
        if let [(size, _)] = sizes[..]
            && (size > rest.len() || self.part.is_some())
        {
            return Ok(self.fragment(timestamp, size, &rest));
        }
        self.give_up();
        let mut units = Vec::new();
        let mut place = 0u32;
        for (n, (size, index)) in sizes.into_iter().enumerate() {
            if n > 0 {
                place = place.saturating_add(1).saturating_add(index);
            }
            if size > rest.len() {
                let (want, got) = (size as u64, rest.len() as u64);
                return Err(c.error(&AU, Problem::Short { want, got }));
            }
            let unit = rest.split_to(size);
            if !unit.is_empty() {
                // A copy: what arrived with it must not stay in memory as long as it does.
                units.push((timestamp, place, Bytes::copy_from_slice(raw(&unit))));
            }
        }
        Ok(units)
    }

    fn fragment(&mut self, timestamp: u32, size: usize, bytes: &Bytes) -> Vec<Unit> {
        if size > MAX_PARTS {
            self.part = None;
            self.damaged = self.damaged.saturating_add(1);
            return Vec::new();
        }
        if self.part.as_ref().is_some_and(|(s, t, _)| (*s, *t) != (size, timestamp)) {
            self.give_up();
        }
        let (size, timestamp, mut held) = self.part.take().unwrap_or((size, timestamp, BytesMut::new()));
        held.extend_from_slice(bytes);
        if held.len() < size {
            self.part = Some((size, timestamp, held));
            return Vec::new();
        }
        held.truncate(size);
        let unit = held.freeze();
        vec![(timestamp, 0, unit.slice_ref(raw(&unit)))]
    }

    fn give_up(&mut self) {
        if self.part.take().is_some() {
            self.damaged = self.damaged.saturating_add(1);
        }
    }
}

/// The raw frame of a unit. Some senders leave the ADTS header on it, which no decoder expects there (RFC 3640 §3.3.6).
fn raw(unit: &[u8]) -> &[u8] {
    let header = adts::Header::parse(unit).filter(|header| header.length == unit.len());
    header.and_then(|header| unit.get(header.header..)).unwrap_or(unit)
}

/// Cuts an access unit into payloads: one, or fragments where it is too large for that.
pub(super) fn packetize(unit: &Bytes, max: usize) -> Vec<Piece> {
    let room = max.saturating_sub(4).max(1);
    // What the size field cannot tell cannot be sent: no AAC frame is that long.
    let Some(size) = u16::try_from(unit.len()).ok().filter(|_| !unit.is_empty() && unit.len() <= MAX_UNIT)
    else {
        return Vec::new();
    };
    let parts = unit.len().div_ceil(room);
    let mut block = BytesMut::with_capacity(unit.len().saturating_add(parts.saturating_mul(4)));
    let mut pieces = Vec::with_capacity(parts);
    for (n, part) in unit.chunks(room).enumerate() {
        block.put_u16(16);
        block.put_u16(size << 3);
        block.extend_from_slice(part);
        pieces.push(Piece { marker: n.saturating_add(1) == parts, payload: block.split().freeze() });
    }
    pieces
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use proptest::prelude::*;

    const HBR: Layout = Layout { size_bits: 13, index_bits: 3, delta_bits: 3 };

    #[test]
    fn several_units_in_a_packet() {
        let mut d = Depacketizer::new(HBR);
        let payload = Bytes::from_static(&[0, 32, 0, 3 << 3, 0, 2 << 3 | 1, 1, 2, 3, 4, 5]);
        let units = d.packet(9, &payload, false).unwrap();
        assert_eq!(units, [(9, 0, Bytes::from_static(&[1, 2, 3])), (9, 2, Bytes::from_static(&[4, 5]))]);
    }

    #[test]
    fn adts_headers_are_taken_off() {
        // LC, 48 kHz, stereo, 9 bytes with the header; the second unit says another length than it has.
        let with = Bytes::from_static(&[0xff, 0xf1, 0x4c, 0x80, 0x01, 0x3f, 0xfc, 0x21, 0x10]);
        let (without, not) = (with.slice(7..), with.slice(..8));
        let mut d = Depacketizer::new(HBR);
        let payload = [&[0, 32, 0, 9 << 3, 0, 8 << 3][..], &with, &not].concat();
        let units = d.packet(9, &payload.into(), false).unwrap();
        assert_eq!(units, [(9, 0, without.clone()), (9, 1, not)]);
        let parts = packetize(&with, 9);
        assert!(parts.len() > 1);
        let units: Vec<_> = parts.iter().flat_map(|p| d.packet(7, &p.payload, false).unwrap()).collect();
        assert_eq!(units, [(7, 0, without)]);
    }

    #[test]
    fn lengths_that_do_not_fit_are_errors() {
        let mut d = Depacketizer::new(HBR);
        for payload in [&[0u8][..], &[0, 32, 0, 8], &[0, 32, 0, 8, 0, 8, 1]] {
            assert!(d.packet(0, &Bytes::copy_from_slice(payload), false).is_err(), "{payload:?}");
        }
        // Headers of no size and no length at all.
        let mut none = Depacketizer::new(Layout { size_bits: 0, index_bits: 0, delta_bits: 0 });
        assert!(none.packet(0, &Bytes::from_static(&[0xff, 0xff]), false).is_err());
    }

    #[test]
    fn a_unit_in_parts_without_end_is_given_up() {
        let mut d = Depacketizer::new(Layout { size_bits: 32, index_bits: 0, delta_bits: 0 });
        let payload = Bytes::from([&[0, 32, 0x40, 0, 0, 0][..], &[1; 1000]].concat());
        for _ in 0..200 {
            assert_eq!(d.packet(1, &payload, false).unwrap(), []);
            assert!(d.open_bytes() < 2 * MAX_PARTS, "{}", d.open_bytes());
        }
        assert_eq!(d.damaged(), 200);
    }

    proptest! {
        #[test]
        fn units_come_back_and_a_lost_fragment_costs_its_unit(
            unit in proptest::collection::vec(any::<u8>(), 1..4000), max in 20usize..1500, drop in 0usize..8,
        ) {
            let unit = Bytes::from(unit);
            let pieces = packetize(&unit, max);
            prop_assert!(pieces.iter().all(|p| p.payload.len() <= max));
            let mut d = Depacketizer::new(HBR);
            let got: Vec<_> = pieces.iter().flat_map(|p| d.packet(1, &p.payload, false).unwrap()).collect();
            prop_assert_eq!(got, vec![(1, 0, unit)]);
            if pieces.len() > 1 && drop < pieces.len() {
                let mut d = Depacketizer::new(HBR);
                let mut lost = false;
                let mut got = Vec::new();
                for (n, piece) in pieces.iter().enumerate() {
                    if n == drop { lost = true; continue; }
                    got.extend(d.packet(1, &piece.payload, std::mem::take(&mut lost)).unwrap());
                }
                prop_assert!(got.is_empty());
            }
        }

        #[test]
        fn random_payloads_never_panic(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8), s in 0u32..20, i in 0u32..9) {
            let mut d = Depacketizer::new(Layout { size_bits: s, index_bits: i, delta_bits: i });
            for payload in payloads {
                let _ = d.packet(0, &Bytes::from(payload), false);
            }
        }
    }
}
