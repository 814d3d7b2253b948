//! Puts IP fragments together.
//!
//! Of bytes that several IPv4 fragments bring, those that came first count, as in Linux before it drops such datagrams
//! altogether; an IPv6 datagram whose fragments overlap is dropped (RFC 5722 §3), unless one is sent again unchanged.
//! What is kept is bounded in datagrams, bytes and time.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use wire::net::{Ip, Packet};

use super::hash::Seeded;

/// Datagrams of which fragments are kept.
const MAX_DATAGRAMS: usize = 4096;

/// Bytes of fragments kept, administration included.
const MAX_BYTES: usize = 16 << 20;

/// Fragments kept of one datagram: a 64 KiB datagram over the smallest IPv4 MTU has fewer.
const MAX_PIECES: usize = 1366;

/// How long fragments wait for the others, in nanoseconds of capture time (RFC 8200 §4.5).
const PATIENCE_NS: i64 = 60 * 1_000_000_000;

/// Largest datagram there can be, without its header.
const MAX_LENGTH: u32 = 65_535;

/// What one fragment costs beside its bytes.
const OVERHEAD: usize = 64;

/// Fragments whose datagram is not whole yet.
#[derive(Clone, Debug, Default)]
pub struct Fragments {
    open: HashMap<Name, Datagram, Seeded>,
    /// Datagrams in the order they were begun.
    order: VecDeque<(Name, u64)>,
    bytes: usize,
    begun: u64,
    dropped: u64,
}

/// What the fragments of a datagram share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Name {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// Of IPv4 only: in IPv6 each fragment may name another.
    protocol: u8,
}

#[derive(Clone, Debug)]
struct Datagram {
    number: u64,
    begun_ns: i64,
    /// Header of the first fragment, once it is there.
    first: Option<Ip>,
    /// In order of their offsets; they do not overlap.
    pieces: Vec<Piece>,
    /// Length of the datagram, once the last fragment is there.
    length: Option<u32>,
    cost: usize,
}

#[derive(Clone, Debug)]
struct Piece {
    offset: u32,
    /// Length on the wire, in bytes.
    length: u32,
    /// As far as it was captured.
    bytes: Vec<u8>,
}

/// A datagram whose fragments are all there.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Header of the first fragment.
    pub ip: Ip,
    /// What the datagram carries, up to the first byte that was not captured.
    pub bytes: Vec<u8>,
    /// Its length on the wire.
    pub length: u32,
}

impl Whole {
    /// Takes it apart.
    pub fn parse(&self) -> Packet<'_> {
        wire::net::reassembled(self.ip, &self.bytes, self.length)
    }

    /// [`parse`](Self::parse) of a cursor over [`bytes`](Self::bytes).
    pub fn decode<'b, T: wire::Trace>(&self, c: &mut wire::Cursor<'b, T>) -> Packet<'b> {
        wire::net::decode_reassembled(c, self.ip, self.length)
    }
}

impl Fragments {
    /// Takes in a fragment; returns its datagram where it was the last one missing.
    pub fn add(&mut self, time_ns: i64, packet: &Packet<'_>) -> Option<Whole> {
        let ip = packet.ip?;
        let fragment = ip.fragment?;
        self.expire(time_ns);
        let protocol = if ip.src.is_ipv4() { ip.protocol } else { 0 };
        let name = Name { src: ip.src, dst: ip.dst, id: fragment.id, protocol };
        let end = fragment.offset.saturating_add(packet.datagram_len);
        if end > MAX_LENGTH || packet.datagram_len == 0 {
            self.remove(&name);
            return None;
        }
        if !self.open.contains_key(&name) {
            self.begun = self.begun.saturating_add(1);
            let number = self.begun;
            let (first, pieces, length) = (None, Vec::new(), None);
            let datagram = Datagram { number, begun_ns: time_ns, first, pieces, length, cost: OVERHEAD };
            self.open.insert(name, datagram);
            self.order.push_back((name, number));
            self.bytes = self.bytes.saturating_add(OVERHEAD);
        }
        let datagram = self.open.get_mut(&name)?;
        if fragment.offset == 0 {
            datagram.first.get_or_insert(ip);
        }
        let length_fits = match (fragment.more, datagram.length) {
            (true, Some(length)) => end <= length,
            (false, Some(length)) => end == length,
            (false, None) => datagram.pieces.last().is_none_or(|last| last.end() <= end),
            (true, None) => true,
        };
        if !fragment.more {
            datagram.length.get_or_insert(end);
        }
        let before = datagram.cost;
        let kept = length_fits
            && datagram.pieces.len() < MAX_PIECES
            && datagram.insert(fragment.offset, packet.datagram_len, packet.datagram, ip.src.is_ipv6());
        self.bytes = self.bytes.saturating_sub(before).saturating_add(datagram.cost);
        if !kept {
            self.remove(&name);
            return None;
        }
        if datagram.is_whole() {
            let datagram = self.remove_entry(&name)?;
            return datagram.put_together();
        }
        while self.bytes > MAX_BYTES || self.open.len() > MAX_DATAGRAMS {
            let (oldest, number) = self.order.pop_front()?;
            if self.open.get(&oldest).is_some_and(|d| d.number == number) {
                self.remove(&oldest);
            }
        }
        None
    }

    /// Datagrams that were given up.
    pub fn dropped(&self) -> u64 {
        self.dropped.saturating_add(self.open.len() as u64)
    }

    fn expire(&mut self, now_ns: i64) {
        while let Some((name, number)) = self.order.front().copied() {
            match self.open.get(&name).filter(|d| d.number == number) {
                Some(d) if now_ns.saturating_sub(d.begun_ns) <= PATIENCE_NS => break,
                Some(_) => self.remove(&name),
                None => {}
            }
            self.order.pop_front();
        }
    }

    fn remove(&mut self, name: &Name) {
        if self.remove_entry(name).is_some() {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn remove_entry(&mut self, name: &Name) -> Option<Datagram> {
        let datagram = self.open.remove(name)?;
        self.bytes = self.bytes.saturating_sub(datagram.cost);
        Some(datagram)
    }
}

impl Piece {
    fn end(&self) -> u32 {
        self.offset.saturating_add(self.length)
    }
}

impl Datagram {
    /// Adds what of a fragment is new. False where the datagram has to be dropped.
    fn insert(&mut self, offset: u32, length: u32, bytes: &[u8], strict: bool) -> bool {
        let end = offset.saturating_add(length);
        let same = |p: &Piece| p.offset == offset && p.length == length && p.bytes == bytes;
        if self.pieces.iter().any(same) {
            return true;
        }
        let overlaps = |p: &Piece| p.offset < end && offset < p.end();
        if strict && self.pieces.iter().any(overlaps) {
            return false;
        }
        // The holes that the fragment fills, front to back.
        let mut fresh: Vec<(u32, u32)> = Vec::new();
        let mut from = offset;
        for piece in self.pieces.iter().filter(|p| overlaps(p)) {
            if piece.offset > from {
                fresh.push((from, piece.offset));
            }
            from = from.max(piece.end());
        }
        if from < end {
            fresh.push((from, end));
        }
        for (from, upto) in fresh {
            let place =
                |at: u32| usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
            let bytes = bytes.get(place(from)..place(upto)).unwrap_or_default().to_vec();
            self.cost = self.cost.saturating_add(bytes.len()).saturating_add(OVERHEAD);
            let at = self.pieces.partition_point(|p| p.offset < from);
            self.pieces.insert(at, Piece { offset: from, length: upto.saturating_sub(from), bytes });
        }
        true
    }

    fn is_whole(&self) -> bool {
        let covered = self.pieces.iter().try_fold(0, |next, p| (p.offset == next).then(|| p.end()));
        self.first.is_some() && self.length.is_some() && covered == self.length
    }

    fn put_together(self) -> Option<Whole> {
        let length = self.length?;
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        for piece in self.pieces {
            let cut = piece.bytes.len() < usize::try_from(piece.length).unwrap_or(usize::MAX);
            bytes.extend_from_slice(&piece.bytes);
            if cut {
                break;
            }
        }
        Some(Whole { ip: self.first?, bytes, length })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;
    use wire::net::Fragment;

    use super::*;

    fn piece(v6: bool, id: u32, offset: u32, more: bool, bytes: &[u8]) -> Packet<'_> {
        let address = |n: u8| match v6 {
            true => IpAddr::from(Ipv6Addr::from([n; 16])),
            false => IpAddr::from(Ipv4Addr::from([n; 4])),
        };
        let fragment = Some(Fragment { id, offset, more, next: 17 });
        Packet {
            ip: Some(Ip { src: address(1), dst: address(2), protocol: 17, fragment, ttl: 64 }),
            datagram: bytes,
            datagram_len: bytes.len() as u32,
            ..Packet::default()
        }
    }

    proptest! {
        #[test]
        fn any_order_of_overlapping_and_repeated_fragments_gives_the_datagram(
            body in prop::collection::vec(any::<u8>(), 9..400),
            cuts in prop::collection::vec((0usize..50, 1usize..12), 0..30),
        ) {
            let mut fragments = Fragments::default();
            let mut whole = None;
            let everything = [(0, 5), (5, 100)];
            for (at, blocks) in cuts.into_iter().chain(everything) {
                let from = at * 8;
                let upto = (from + blocks * 8).min(body.len());
                if from >= upto || whole.is_some() {
                    continue;
                }
                whole = fragments.add(0, &piece(false, 7, from as u32, upto < body.len(), &body[from..upto]));
            }
            let whole = whole.expect("all of it was there");
            prop_assert_eq!((whole.bytes, whole.length as usize), (body.clone(), body.len()));
            prop_assert_eq!((fragments.bytes, fragments.open.len(), fragments.dropped), (0, 0, 0));
        }
    }

    #[test]
    fn the_first_bytes_count_in_ipv4_and_an_overlap_ends_an_ipv6_datagram() {
        let mut fragments = Fragments::default();
        assert!(fragments.add(0, &piece(false, 1, 0, true, &[1; 16])).is_none());
        assert!(fragments.add(0, &piece(false, 1, 8, true, &[9; 16])).is_none());
        let whole = fragments.add(0, &piece(false, 1, 24, false, &[3; 4])).unwrap();
        assert_eq!(whole.bytes, [vec![1; 16], vec![9; 8], vec![3; 4]].concat());

        assert!(fragments.add(0, &piece(true, 1, 0, true, &[1; 16])).is_none());
        assert!(fragments.add(0, &piece(true, 1, 0, true, &[1; 16])).is_none(), "sent again unchanged");
        assert!(fragments.add(0, &piece(true, 1, 8, true, &[9; 16])).is_none());
        assert!(fragments.add(0, &piece(true, 1, 24, false, &[3; 4])).is_none());
        assert_eq!(fragments.dropped(), 2, "the datagram, and the piece that came too late");
    }

    #[test]
    fn what_never_becomes_whole_is_bounded_in_number_bytes_and_time() {
        let mut fragments = Fragments::default();
        for id in 0..10_000 {
            fragments.add(0, &piece(false, id, 0, true, &[0; 8]));
        }
        assert_eq!((fragments.open.len(), fragments.dropped), (MAX_DATAGRAMS, 10_000 - MAX_DATAGRAMS as u64));
        let big = vec![0; 60_000];
        for id in 20_000..20_600 {
            fragments.add(1, &piece(false, id, 0, true, &big));
            assert!(fragments.bytes <= MAX_BYTES);
        }
        fragments.add(PATIENCE_NS + 2, &piece(false, 99_999, 8, true, &[0; 8]));
        assert_eq!((fragments.open.len(), fragments.order.len()), (1, 1));
        for offset in 0..5_000u32 {
            fragments.add(PATIENCE_NS + 2, &piece(false, 99_999, offset * 16, true, &[0; 8]));
        }
        assert!(fragments.open.values().all(|d| d.pieces.len() <= MAX_PIECES));
    }

    #[test]
    fn a_cut_fragment_leaves_the_beginning_and_the_length() {
        let mut fragments = Fragments::default();
        let mut cut = piece(true, 5, 8, false, &[2; 4]);
        cut.datagram_len = 40;
        assert!(fragments.add(0, &cut).is_none());
        let whole = fragments.add(0, &piece(true, 5, 0, true, &[1; 8])).unwrap();
        assert_eq!((whole.bytes.len(), whole.length), (12, 48));
    }
}
