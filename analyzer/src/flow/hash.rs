//! Hashing of address pairs: fast, and seeded, so that no capture can be made whose keys all collide.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};

/// An odd constant with its bits well mixed (the golden ratio's fraction).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Two addresses and two ports, the lower pair first: both directions have one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    addresses: [u128; 2],
    ports: u32,
    v6: bool,
}

impl Key {
    /// The key, and true where the source is the lower end.
    pub(crate) fn new(src: IpAddr, dst: IpAddr, ports: (u16, u16)) -> (Self, bool) {
        let (s, d) = (bits(src), bits(dst));
        let forward = (s, ports.0) <= (d, ports.1);
        let (addresses, ports) = if forward { ([s, d], ports) } else { ([d, s], (ports.1, ports.0)) };
        let ports = u32::from(ports.0) << 16 | u32::from(ports.1);
        (Self { addresses, ports, v6: src.is_ipv6() }, forward)
    }

    /// [`new`](Self::new) for sockets.
    pub(crate) fn of(src: SocketAddr, dst: SocketAddr) -> (Self, bool) {
        Self::new(src.ip(), dst.ip(), (src.port(), dst.port()))
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

impl std::hash::Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b] = self.addresses;
        if self.v6 {
            state.write_u128(a);
            state.write_u128(b);
            state.write_u32(self.ports);
        } else {
            let low = |address: u128| u64::try_from(address & 0xffff_ffff).unwrap_or(0);
            state.write_u64(low(a) << 32 | low(b));
            state.write_u32(self.ports);
        }
    }
}

/// Makes [`Folded`] hashers with one random seed.
#[derive(Clone, Debug)]
pub(crate) struct Seeded(u64);

impl Default for Seeded {
    fn default() -> Self {
        Self(RandomState::new().hash_one(MULTIPLIER))
    }
}

impl BuildHasher for Seeded {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded(self.0)
    }
}

/// Mixes each word by a 128 bit product of which both halves are kept.
#[derive(Debug)]
pub(crate) struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word).wrapping_mul(u128::from(MULTIPLIER));
        let half = |v: u128| u64::try_from(v & u128::from(u64::MAX)).unwrap_or(0);
        // The seed enters before and after, so that a word which makes the product 0 erases nothing.
        self.0 = half(product) ^ half(product >> 64) ^ self.0.rotate_left(23);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u128(&mut self, word: u128) {
        let half = |v: u128| u64::try_from(v & u128::from(u64::MAX)).unwrap_or(0);
        self.write_u64(half(word));
        self.write_u64(half(word >> 64));
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            self.write_u64(chunk.iter().fold(0, |word, b| word << 8 | u64::from(*b)));
        }
    }
}
