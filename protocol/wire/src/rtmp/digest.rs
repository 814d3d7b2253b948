//! The handshake with digests, by which Flash Player and Flash Media Server told each other from strangers. No
//! specification tells of it; nginx-rtmp, FFmpeg and SRS agree on this much:
//!
//! ```text
//! C1, S1:  time (4) | version (4) | two blocks of 764 bytes, of which one holds the digest, either the first or the second
//! block:   offset (4) | digest (32) at the sum of the offset's bytes modulo 728
//! S2, C2:  random (1504) | signature (32)
//! ```
//!
//! The digest is HMAC-SHA256, with the sender's key, of the other 1504 bytes; the signature is one of what stands before it, its key
//! being HMAC-SHA256 of the peer's digest.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::handshake::PACKET;

/// Length of a digest and of a signature in bytes.
pub const LENGTH: usize = 32;

/// What the server signs digests with: the first 36 bytes for its own, all 68 for signatures.
const SERVER: [u8; 68] = *b"Genuine Adobe Flash Media Server 001\
\xf0\xee\xc2\x4a\x80\x68\xbe\xe8\x2e\x00\xd0\xd1\x02\x9e\x7e\x57\x6e\xec\x5d\x2d\x29\x80\x6f\xab\x93\xb8\xe6\x36\xcf\xeb\x31\xae";
/// Of those, the words.
const SERVER_WORDS: usize = 36;
/// What a client signs its digest with.
const CLIENT: [u8; 30] = *b"Genuine Adobe Flash Player 001";

/// Which block of C1 and S1 holds the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// The one behind time and version.
    First,
    /// The one behind that.
    Second,
}

impl Block {
    fn begin(self) -> usize {
        match self {
            Self::First => 8,
            Self::Second => 772,
        }
    }

    /// Where the digest lies in `packet`.
    fn place(self, packet: &[u8]) -> Option<usize> {
        let begin = self.begin();
        let offset = packet.get(begin..begin.checked_add(4)?)?;
        let sum: usize = offset.iter().map(|byte| usize::from(*byte)).sum();
        begin.checked_add(4)?.checked_add(sum.checked_rem(728)?)
    }
}

/// A digest that was found to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Where it was.
    pub block: Block,
    /// The digest.
    pub bytes: [u8; LENGTH],
}

/// The digest of a C1; none in the plain handshake.
pub fn of_client(c1: &[u8]) -> Option<Digest> {
    find(c1, &CLIENT)
}

/// The digest of an S1; none in the plain handshake.
pub fn of_server(s1: &[u8]) -> Option<Digest> {
    find(s1, words())
}

/// Puts a server's digest into an S1 of random bytes.
pub fn sign(s1: &mut [u8], block: Block) {
    if let Some(digest) = expected(s1, block, words())
        && let Some(place) = block.place(s1)
        && let Some(there) = s1.get_mut(place..).and_then(|rest| rest.get_mut(..LENGTH))
    {
        there.copy_from_slice(&digest);
    }
}

/// Ends `s2`, 1504 random bytes, with the server's signature for a client's digest.
pub fn answer(s2: &mut Vec<u8>, client: &Digest) {
    if let Some(signature) = signature(s2, client, &SERVER) {
        s2.extend(signature);
    }
}

/// True where an S2 ends with the server's signature for a client's digest.
pub fn is_answer(s2: &[u8], client: &Digest) -> bool {
    let Some((random, there)) = s2.split_at_checked(PACKET.saturating_sub(LENGTH)) else { return false };
    signature(random, client, &SERVER).is_some_and(|signature| signature == there)
}

fn words() -> &'static [u8] {
    SERVER.get(..SERVER_WORDS).unwrap_or_default()
}

fn find(packet: &[u8], key: &[u8]) -> Option<Digest> {
    [Block::First, Block::Second].into_iter().find_map(|block| {
        let bytes = expected(packet, block, key)?;
        let there = packet.get(block.place(packet)?..)?.get(..LENGTH)?;
        (there == bytes).then_some(Digest { block, bytes })
    })
}

/// The digest that a packet should have.
fn expected(packet: &[u8], block: Block, key: &[u8]) -> Option<[u8; LENGTH]> {
    let place = block.place(packet)?;
    let before = packet.get(..place)?;
    let behind = packet.get(place.checked_add(LENGTH)?..PACKET)?;
    hmac(key, &[before, behind])
}

fn signature(random: &[u8], peer: &Digest, key: &[u8]) -> Option<[u8; LENGTH]> {
    let key = hmac(key, &[&peer.bytes])?;
    hmac(&key, &[random])
}

/// HMAC-SHA256; it takes keys of any length.
fn hmac(key: &[u8], parts: &[&[u8]]) -> Option<[u8; LENGTH]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtmp::handshake::write_hello;

    fn hello(seed: u64) -> Vec<u8> {
        let mut packet = Vec::new();
        write_hello(&mut packet, 5, seed);
        packet
    }

    #[test]
    fn a_digest_is_found_in_either_block_and_any_change_breaks_it() {
        for (block, seed) in [(Block::First, 1), (Block::Second, 2), (Block::First, 3), (Block::Second, 4)] {
            let mut s1 = hello(seed);
            assert_eq!(of_server(&s1), None);
            sign(&mut s1, block);
            let digest = of_server(&s1).unwrap();
            assert_eq!(digest.block, block);
            assert_eq!(of_client(&s1), None, "another key");
            for place in [0, 4, 700, 1535] {
                let mut changed = s1.clone();
                changed[place] ^= 1;
                assert_eq!(of_server(&changed), None, "byte {place}");
            }
        }
    }

    #[test]
    fn the_offset_wraps_and_the_digest_stays_in_its_block() {
        let mut s1 = hello(9);
        for (offset, place) in
            [([0xff; 4], 12 + 1020 - 728), ([0, 0, 0, 0], 12), ([255, 255, 217, 0], 12 + 727)]
        {
            s1[8..12].copy_from_slice(&offset);
            assert_eq!(Block::First.place(&s1), Some(place));
            sign(&mut s1, Block::First);
            assert!(of_server(&s1).is_some());
        }
        assert!(of_server(&s1[..1535]).is_none());
    }

    #[test]
    fn an_answer_is_for_one_client() {
        let (mut one, mut other) = (hello(1), hello(2));
        sign(&mut one, Block::First);
        sign(&mut other, Block::First);
        let [one, other] = [one, other].map(|s1| of_server(&s1).unwrap());
        let mut s2 = hello(3)[..1504].to_vec();
        answer(&mut s2, &one);
        assert_eq!(s2.len(), PACKET);
        assert!(is_answer(&s2, &one) && !is_answer(&s2, &other));
    }
}
