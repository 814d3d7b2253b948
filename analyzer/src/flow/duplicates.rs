//! Packets that were captured more than once, at several interfaces or in several files.
//!
//! A copy has the same addresses, identification and content as a packet seen within a short time at another place; time
//! to live and link header may differ. What was sent twice is no copy: that shows at the same place twice.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use wire::net::Packet;

use super::hash::Seeded;

/// How far apart in time copies may lie, in nanoseconds.
const WINDOW_NS: i64 = 100_000_000;

/// Packets remembered at most.
const MAX_REMEMBERED: usize = 65_536;

/// Places at which one packet is remembered to have been seen.
const MAX_PLACES: usize = 8;

/// Recognises copies.
#[derive(Clone, Debug, Default)]
pub struct Duplicates {
    seed: Seeded,
    recent: HashMap<u64, Seen>,
    order: VecDeque<(u64, i64)>,
    copies: u64,
}

#[derive(Clone, Debug)]
struct Seen {
    time_ns: i64,
    places: Vec<u64>,
}

impl Duplicates {
    /// True where the packet is a copy of one that was seen at another place. `place` names file and interface.
    pub fn is_copy(&mut self, place: u64, time_ns: i64, packet: &Packet<'_>) -> bool {
        let Some(ip) = packet.ip.filter(|_| !packet.datagram.is_empty()) else { return false };
        let mut hasher = self.seed.build_hasher();
        for address in [ip.src, ip.dst] {
            match address {
                IpAddr::V4(a) => hasher.write_u32(a.to_bits()),
                IpAddr::V6(a) => hasher.write_u128(a.to_bits()),
            }
        }
        hasher.write_u32(u32::from(packet.ip_id) << 8 | u32::from(ip.protocol));
        hasher.write_u32(packet.datagram_len);
        if let Some(fragment) = ip.fragment {
            hasher.write_u64(u64::from(fragment.id) << 32 | u64::from(fragment.offset));
        }
        hasher.write(packet.datagram);
        let name = hasher.finish();

        while let Some((oldest, since)) = self.order.front().copied() {
            let full = self.order.len() > MAX_REMEMBERED;
            if !full && since.abs_diff(time_ns) <= WINDOW_NS.unsigned_abs() {
                break;
            }
            self.order.pop_front();
            if self.recent.get(&oldest).is_some_and(|seen| seen.time_ns == since) {
                self.recent.remove(&oldest);
            }
        }
        if let Some(seen) = self.recent.get_mut(&name)
            && !seen.places.contains(&place)
            && seen.time_ns.abs_diff(time_ns) <= WINDOW_NS.unsigned_abs()
        {
            if seen.places.len() < MAX_PLACES {
                seen.places.push(place);
            }
            self.copies = self.copies.saturating_add(1);
            return true;
        }
        self.recent.insert(name, Seen { time_ns, places: vec![place] });
        self.order.push_back((name, time_ns));
        false
    }

    /// Copies so far.
    pub fn copies(&self) -> u64 {
        self.copies
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]

    use std::net::Ipv4Addr;

    use wire::net::Ip;

    use super::*;

    fn packet(ip_id: u16, ttl: u8, bytes: &[u8]) -> Packet<'_> {
        let address = |n| IpAddr::from(Ipv4Addr::new(10, 0, 0, n));
        let ip = Ip { src: address(1), dst: address(2), protocol: 17, fragment: None, ttl };
        let datagram_len = u32::try_from(bytes.len()).unwrap();
        Packet { ip: Some(ip), ip_id, datagram: bytes, datagram_len, ..Packet::default() }
    }

    #[test]
    fn a_copy_is_the_same_packet_at_another_place_soon() {
        let mut d = Duplicates::default();
        assert!(!d.is_copy(0, 0, &packet(1, 64, b"rtp")));
        assert!(d.is_copy(1, 900, &packet(1, 63, b"rtp")), "behind a router");
        assert!(d.is_copy(2, 950, &packet(1, 64, b"rtp")), "a third place");
        assert!(!d.is_copy(1, 1_000, &packet(1, 63, b"rtp")), "sent again");
        assert!(!d.is_copy(2, 1_000, &packet(2, 64, b"rtp")), "another packet with the same content");
        assert!(!d.is_copy(3, 1_000, &packet(1, 64, b"rtq")), "another content");
        assert!(!d.is_copy(3, WINDOW_NS + 1_001, &packet(1, 64, b"rtp")), "much later");
        assert_eq!(d.copies(), 2);
    }

    #[test]
    fn little_is_remembered() {
        let mut d = Duplicates::default();
        for n in 0..200_000u32 {
            assert!(!d.is_copy(0, i64::from(n), &packet(0, 64, &n.to_be_bytes())));
        }
        assert!(d.recent.len() <= MAX_REMEMBERED + 1 && d.order.len() <= MAX_REMEMBERED + 1);
        d.is_copy(0, 10 * WINDOW_NS, &packet(0, 64, b"x"));
        assert_eq!((d.recent.len(), d.order.len()), (1, 1));
    }
}
