//! A reading of RTP, RTCP and of H.264 and AAC in it that shares nothing with the program's own: what stood on the wire.

use std::collections::BTreeMap;

use super::flv::{identity, slices_identity};
use super::frames::Frame;

/// The parts of an RTP packet that matter here.
#[derive(Clone, Copy, Debug)]
pub struct Rtp<'a> {
    /// The marker bit.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Reads a packet without extension and padding, which no peer here sends.
pub fn rtp(packet: &[u8]) -> Rtp<'_> {
    assert!(packet.len() >= 12 && packet[0] == 0x80, "no plain RTP packet: {packet:02x?}");
    let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    Rtp {
        marker: packet[1] & 0x80 != 0,
        sequence: u16::from_be_bytes([packet[2], packet[3]]),
        timestamp: word(4),
        ssrc: word(8),
        payload: &packet[12..],
    }
}

/// Types and bodies of the parts of an RTCP compound.
pub fn rtcp(mut compound: &[u8]) -> Vec<(u8, &[u8])> {
    let mut parts = Vec::new();
    while let [first, kind, high, low, ..] = *compound {
        assert_eq!(first >> 6, 2, "the version of an RTCP packet");
        let size = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        let (part, rest) = compound.split_at(size);
        parts.push((kind, &part[4..]));
        compound = rest;
    }
    assert!(compound.is_empty(), "bytes behind the last RTCP packet: {compound:02x?}");
    parts
}

/// RTCP's goodbye.
pub const BYE: u8 = 203;
/// RTCP's sender report.
pub const SENDER_REPORT: u8 = 200;

/// The slices in packets of one picture track, by their timestamps in the order of the first packet. Times are ticks.
pub fn pictures<'a>(packets: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
    let mut units: Vec<(u32, Vec<Vec<u8>>)> = Vec::new();
    for packet in packets {
        let Rtp { timestamp, payload, .. } = rtp(packet);
        if units.last().is_none_or(|(t, _)| *t != timestamp) {
            units.push((timestamp, Vec::new()));
        }
        let nals = &mut units.last_mut().unwrap().1;
        match payload[0] & 0x1f {
            24 => {
                let mut rest = &payload[1..];
                while let [high, low, behind @ ..] = rest {
                    let size = usize::from(u16::from_be_bytes([*high, *low]));
                    nals.push(behind[..size].to_vec());
                    rest = &behind[size..];
                }
            }
            28 if payload[1] & 0x80 != 0 => {
                let header = payload[0] & 0xe0 | payload[1] & 0x1f;
                nals.push([&[header], &payload[2..]].concat());
            }
            28 => nals.last_mut().unwrap().extend(&payload[2..]),
            _ => nals.push(payload.to_vec()),
        }
    }
    let mut ticks = Ticks::default();
    let mut frames = Vec::new();
    for (timestamp, nals) in units {
        let key = nals.iter().any(|n| n[0] & 0x1f == 5);
        let id = slices_identity(nals.iter().map(Vec::as_slice));
        if nals.iter().any(|n| matches!(n[0] & 0x1f, 1..=5)) {
            let pts = ticks.next(timestamp);
            frames.push(Frame { dts: pts, pts, key, id });
        }
    }
    frames
}

/// The raw frames in packets of one AAC track, each of which lasts `samples` ticks.
pub fn audio<'a>(packets: impl IntoIterator<Item = &'a [u8]>, samples: i64) -> Vec<Frame> {
    let mut ticks = Ticks::default();
    let mut frames = Vec::new();
    for packet in packets {
        let Rtp { timestamp, payload, .. } = rtp(packet);
        let count = usize::from(u16::from_be_bytes([payload[0], payload[1]])) / 16;
        let (heads, mut data) = payload[2..].split_at(2 * count);
        let first = ticks.next(timestamp);
        for (n, head) in (0..).zip(heads.chunks(2)) {
            let size = usize::from(u16::from_be_bytes([head[0], head[1]]) >> 3);
            let (unit, rest) = data.split_at(size);
            data = rest;
            let pts = first + n * samples;
            frames.push(Frame { dts: pts, pts, key: true, id: identity(unit) });
        }
        assert!(data.is_empty(), "bytes behind the last access unit");
    }
    frames
}

/// The same in packets of LATM, one frame an element, whose configuration the description told.
pub fn latm<'a>(packets: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
    let mut ticks = Ticks::default();
    let mut frames = Vec::new();
    let mut element = Vec::new();
    for packet in packets {
        let Rtp { marker, timestamp, payload, .. } = rtp(packet);
        element.extend(payload);
        if !marker {
            continue;
        }
        let full = element.iter().take_while(|b| **b == 255).count();
        let size = 255 * full + usize::from(element[full]);
        let frame = &element[full + 1..];
        assert_eq!(frame.len(), size, "one frame an element");
        let pts = ticks.next(timestamp);
        frames.push(Frame { dts: pts, pts, key: true, id: identity(frame) });
        element.clear();
    }
    frames
}

/// Timestamps that do not wrap.
#[derive(Default)]
struct Ticks(Option<i64>);

impl Ticks {
    fn next(&mut self, raw: u32) -> i64 {
        let last = self.0.unwrap_or_else(|| i64::from(raw));
        let step = raw.wrapping_sub((last & 0xffff_ffff) as u32).cast_signed();
        *self.0.insert(last + i64::from(step))
    }
}

/// The sequence numbers of packets; panics where one is not the next.
#[track_caller]
pub fn without_gap<'a>(who: &str, packets: impl IntoIterator<Item = &'a [u8]>) -> usize {
    let mut last: BTreeMap<u32, u16> = BTreeMap::new();
    let mut count = 0;
    for packet in packets {
        let Rtp { sequence, ssrc, .. } = rtp(packet);
        if let Some(last) = last.insert(ssrc, sequence) {
            assert_eq!(sequence, last.wrapping_add(1), "{who}: packet {count} of {ssrc:08x}");
        }
        count += 1;
    }
    count
}
