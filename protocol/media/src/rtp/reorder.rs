//! Bringing packets into order, within bounds of time and number.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use wire::rtp::{Header, Packet};

/// A packet in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Its header.
    pub header: Header,
    /// Its payload.
    pub payload: Bytes,
    /// Packets that are missing before it.
    pub lost: u64,
}

/// Steps beyond which a number is from another stream rather than from a gap (RFC 3550 §A.1, MAX_DROPOUT).
const MAX_DROPOUT: u16 = 3000;
/// How far back a number is late rather than from another stream (RFC 3550 §A.1, MAX_MISORDER).
const MAX_MISORDER: u16 = 100;
/// Bytes that wait at most: what is more is taken in the order it has.
const MAX_BYTES: usize = 2 << 20;

/// Holds packets that came too early until those before them came, or until it was long enough.
#[derive(Debug)]
pub struct Reorder {
    /// Milliseconds a packet waits at most.
    wait: u64,
    /// Packets that wait at most.
    room: usize,
    /// The next number in order, with its wraps.
    next: Option<i64>,
    held: BTreeMap<i64, (u64, Header, Bytes)>,
    /// Payload in `held`.
    bytes: usize,
    ssrc: u32,
    /// The last packet that did not belong: two in a row begin a new stream.
    stranger: Option<(u32, u16)>,
    late: u64,
    strangers: u64,
    /// A new stream began.
    restarted: bool,
}

impl Reorder {
    /// For a path that may reorder; a wait of 0 is for one that cannot.
    pub fn new(wait: u64, room: usize) -> Self {
        Self {
            wait,
            room,
            next: None,
            held: BTreeMap::new(),
            bytes: 0,
            ssrc: 0,
            stranger: None,
            late: 0,
            strangers: 0,
            restarted: false,
        }
    }

    /// Packets that came twice, or after their place was given up.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Packets of another source or far from their place.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }

    /// Takes a packet. True where it counts as one of the stream's.
    pub fn push(&mut self, now: u64, packet: &Packet<'_>, payload: Bytes) -> bool {
        let header = packet.header;
        let Some(next) = self.next else {
            self.begin(now, header, payload);
            return true;
        };
        let ahead = header.sequence.wrapping_sub((next & 0xffff).cast_unsigned().try_into().unwrap_or(0));
        let behind = ahead.wrapping_neg();
        let near = ahead < MAX_DROPOUT || behind <= MAX_MISORDER;
        if header.ssrc != self.ssrc || !near {
            let follows = self.stranger == Some((header.ssrc, header.sequence.wrapping_sub(1)));
            self.stranger = Some((header.ssrc, header.sequence));
            if !follows {
                self.strangers = self.strangers.saturating_add(1);
                return false;
            }
            self.begin(now, header, payload);
            self.restarted = true;
            return true;
        }
        self.stranger = None;
        if ahead >= MAX_DROPOUT {
            self.late = self.late.saturating_add(1);
            return true;
        }
        let place = next.saturating_add(i64::from(ahead));
        match self.held.entry(place) {
            Entry::Occupied(_) => self.late = self.late.saturating_add(1),
            Entry::Vacant(free) => {
                self.bytes = self.bytes.saturating_add(payload.len());
                free.insert((now, header, payload));
            }
        }
        true
    }

    fn begin(&mut self, now: u64, header: Header, payload: Bytes) {
        self.held.clear();
        self.bytes = payload.len();
        self.held.insert(i64::from(header.sequence), (now, header, payload));
        self.next = Some(i64::from(header.sequence));
        self.ssrc = header.ssrc;
        self.stranger = None;
    }

    /// True once after a new stream took the place of the old one.
    pub fn take_restarted(&mut self) -> bool {
        std::mem::take(&mut self.restarted)
    }

    /// The next packet in order, where it is there or what is missing before it was given up.
    pub fn pop(&mut self, now: u64) -> Option<Ordered> {
        let next = self.next?;
        let first = self.held.first_entry()?;
        let lost = first.key().saturating_sub(next);
        // What waited is told by the one that came first, which need not be the lowest.
        let oldest = || self.oldest().unwrap_or(now);
        let fits = self.held.len() <= self.room && self.bytes <= MAX_BYTES;
        if lost > 0 && fits && now.saturating_sub(oldest()) < self.wait {
            return None;
        }
        let (place, (_, header, payload)) = self.held.pop_first()?;
        self.bytes = self.bytes.saturating_sub(payload.len());
        self.next = Some(place.saturating_add(1));
        Some(Ordered { header, payload, lost: lost.cast_unsigned() })
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when the packet that waits the longest does.
    pub fn oldest(&self) -> Option<u64> {
        self.held.values().map(|(at, ..)| *at).min()
    }

    /// When [`pop`](Self::pop) will give something without another packet.
    pub fn wake_at(&self) -> Option<u64> {
        self.oldest().map(|at| at.saturating_add(self.wait))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use proptest::prelude::*;

    fn push(reorder: &mut Reorder, now: u64, ssrc: u32, sequence: u16) -> bool {
        let header = Header { payload_type: 96, sequence, ssrc, ..Header::default() };
        let packet = Packet { header, csrc: &[], extension: None, payload: &[], padding: 0 };
        reorder.push(now, &packet, Bytes::new())
    }

    fn popped(reorder: &mut Reorder, now: u64) -> Vec<(u16, u64)> {
        std::iter::from_fn(|| reorder.pop(now)).map(|p| (p.header.sequence, p.lost)).collect()
    }

    #[test]
    fn a_swap_is_undone_and_a_loss_is_given_up_in_time() {
        let mut r = Reorder::new(100, 64);
        for (now, sequence) in [(0, 65_534), (1, 0), (2, 65_535)] {
            push(&mut r, now, 1, sequence);
        }
        assert_eq!(popped(&mut r, 2), [(65_534, 0), (65_535, 0), (0, 0)]);
        push(&mut r, 10, 1, 3);
        assert_eq!(popped(&mut r, 109), []);
        assert_eq!(r.wake_at(), Some(110));
        assert_eq!(popped(&mut r, 110), [(3, 2)]);
        push(&mut r, 111, 1, 2);
        assert_eq!((r.late(), popped(&mut r, 500)), (1, vec![]));
    }

    #[test]
    fn the_room_bounds_what_waits() {
        let mut r = Reorder::new(1_000_000, 4);
        push(&mut r, 0, 1, 0);
        popped(&mut r, 0);
        for sequence in 2..=6 {
            push(&mut r, 0, 1, sequence);
        }
        assert_eq!(popped(&mut r, 0), [(2, 1), (3, 0), (4, 0), (5, 0), (6, 0)]);
    }

    #[test]
    fn the_bytes_that_wait_are_bounded() {
        let mut r = Reorder::new(1_000_000, 100_000);
        let payload = Bytes::from(vec![0; 60_000]);
        for sequence in (0..200u16).map(|n| n * 2) {
            let header = Header { payload_type: 96, sequence, ssrc: 1, ..Header::default() };
            let packet = Packet { header, csrc: &[], extension: None, payload: &payload, padding: 0 };
            r.push(0, &packet, payload.clone());
            while r.pop(0).is_some() {}
            assert!(r.bytes() <= MAX_BYTES && r.bytes() == r.held.len() * 60_000);
        }
        while r.pop(2_000_000).is_some() {}
        assert_eq!((r.bytes(), r.oldest()), (0, None));
    }

    #[test]
    fn strangers_are_left_out_until_two_in_a_row() {
        let mut r = Reorder::new(0, 64);
        push(&mut r, 0, 1, 10);
        popped(&mut r, 0);
        assert!(!push(&mut r, 0, 2, 500));
        assert!(push(&mut r, 0, 1, 11));
        assert_eq!(popped(&mut r, 0), [(11, 0)]);
        assert!(!push(&mut r, 0, 1, 40_000));
        assert!(push(&mut r, 0, 1, 40_001));
        assert!(r.take_restarted());
        assert_eq!((popped(&mut r, 0), r.strangers()), (vec![(40_001, 0)], 2));
    }

    proptest! {
        #[test]
        fn what_comes_out_rises_and_what_is_lost_is_counted(
            order in Just((0u16..200).collect::<Vec<_>>()).prop_shuffle(), from: u16, keep in 1usize..8,
        ) {
            let mut r = Reorder::new(50, 32);
            let mut out = Vec::new();
            // Mixed within windows of 20.
            let mut all: Vec<u16> = (0..200).collect();
            all.chunks_mut(20).zip(order.chunks(20)).for_each(|(a, o)| a.sort_by_key(|n| o[*n as usize % 20]));
            for (n, sequence) in all.iter().enumerate().filter(|(n, _)| n % 8 != keep) {
                push(&mut r, n as u64, 1, from.wrapping_add(*sequence));
                out.extend(popped(&mut r, n as u64));
            }
            out.extend(popped(&mut r, 10_000));
            for pair in out.windows(2) {
                prop_assert_eq!(u64::from(pair[1].0.wrapping_sub(pair[0].0)), pair[1].1 + 1);
            }
        }
    }
}
