//! Segments that are coded once more on their way, unpacked as they flow past (RFC 9110 §8.4).

use std::io::Write;

use flate2::write::{MultiGzDecoder, ZlibDecoder};

use super::coding::Coding;

/// Times its size on the wire that content may have: media hardly gets smaller, and deflate reaches a thousand.
pub(super) const MOST_TIMES: u64 = 50;
/// What it may have in any case, in bytes.
const ALWAYS: u64 = 1 << 20;

/// Unpacks the content of one answer.
#[derive(Debug)]
pub(super) struct Unpacker {
    decoder: Decoder,
    packed: u64,
    unpacked: u64,
    /// True where nothing more can be had of it.
    spoilt: bool,
}

#[derive(Debug)]
enum Decoder {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
}

/// Why the rest of the content cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not what its head says.
    Damaged(String),
    /// It would be too large for what came: so many bytes so far.
    Bomb(u64),
}

impl Unpacker {
    /// For a coding that can be undone.
    pub(super) fn of(coding: Coding) -> Option<Self> {
        let decoder = match coding {
            Coding::Gzip => Decoder::Gzip(MultiGzDecoder::new(Vec::new())),
            Coding::Deflate => Decoder::Deflate(ZlibDecoder::new(Vec::new())),
            Coding::Identity | Coding::Other => return None,
        };
        Some(Self { decoder, packed: 0, unpacked: 0, spoilt: false })
    }

    /// Bytes are missing: what follows says nothing without them.
    pub(super) fn spoil(&mut self) {
        self.spoilt = true;
    }

    /// Takes the next bytes and hands on what they hold, in pieces of some 32 KiB; there is nothing behind a fault.
    pub(super) fn data(&mut self, bytes: &[u8], out: &mut impl FnMut(&[u8])) -> Result<(), Fault> {
        if self.spoilt {
            return Ok(());
        }
        let went = self.write(bytes, out);
        self.spoilt = went.is_err();
        went
    }

    fn write(&mut self, bytes: &[u8], out: &mut impl FnMut(&[u8])) -> Result<(), Fault> {
        self.packed = self.packed.saturating_add(bytes.len() as u64);
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match &mut self.decoder {
                Decoder::Gzip(decoder) => decoder.write(rest),
                Decoder::Deflate(decoder) => decoder.write(rest),
            };
            let used = used.map_err(|error| Fault::Damaged(error.to_string()))?;
            self.drain(out)?;
            // What follows the end is no content.
            if used == 0 {
                break;
            }
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// The content is over: hands on the rest, and says whether it was whole.
    pub(super) fn finish(&mut self, out: &mut impl FnMut(&[u8])) -> Result<(), Fault> {
        if std::mem::replace(&mut self.spoilt, true) {
            return Ok(());
        }
        let ended = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Deflate(decoder) => decoder.try_finish(),
        };
        self.drain(out)?;
        ended.map_err(|error| Fault::Damaged(error.to_string()))
    }

    fn drain(&mut self, out: &mut impl FnMut(&[u8])) -> Result<(), Fault> {
        let held = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => decoder.get_mut(),
        };
        if held.is_empty() {
            return Ok(());
        }
        self.unpacked = self.unpacked.saturating_add(held.len() as u64);
        if self.unpacked > self.packed.saturating_mul(MOST_TIMES).max(ALWAYS) {
            return Err(Fault::Bomb(self.unpacked));
        }
        out(held);
        held.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    fn pack(coding: Coding, content: &[u8]) -> Vec<u8> {
        let (mut gzip, mut zlib) = (
            GzEncoder::new(Vec::new(), Compression::best()),
            ZlibEncoder::new(Vec::new(), Compression::best()),
        );
        if coding == Coding::Gzip {
            gzip.write_all(content).unwrap();
            gzip.finish().unwrap()
        } else {
            zlib.write_all(content).unwrap();
            zlib.finish().unwrap()
        }
    }

    /// What comes out of bytes that come in pieces of so many, the largest piece of it, and the fault.
    fn unpack(coding: Coding, packed: &[u8], size: usize) -> (Vec<u8>, usize, Option<Fault>) {
        let (mut all, mut largest) = (Vec::new(), 0);
        let mut out = |bytes: &[u8]| {
            largest = largest.max(bytes.len());
            all.extend_from_slice(bytes);
        };
        let mut unpacker = Unpacker::of(coding).unwrap();
        let went = packed.chunks(size).try_for_each(|piece| unpacker.data(piece, &mut out));
        let fault = went.and_then(|()| unpacker.finish(&mut out)).err();
        (all, largest, fault)
    }

    #[test]
    fn content_comes_back_however_it_is_cut() {
        let mut seed = 7u32;
        let content: Vec<u8> = (0..100_000)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 28).to_le_bytes()[0]
            })
            .collect();
        for coding in [Coding::Gzip, Coding::Deflate] {
            let packed = pack(coding, &content);
            for size in [1, 7, 1460, packed.len()] {
                assert_eq!(unpack(coding, &packed, size).2, None, "{coding:?} {size}");
                assert!(unpack(coding, &packed, size).0 == content, "{coding:?} {size}");
            }
            let (some, _, fault) = unpack(Coding::Gzip, &packed[..packed.len() / 2], 1000);
            assert!(content.starts_with(&some) && matches!(fault, Some(Fault::Damaged(_))));
            let (_, _, fault) = unpack(coding, b"\0\0\0\x18ftypiso5", 5);
            assert!(matches!(fault, Some(Fault::Damaged(_))), "{coding:?}");
        }
        let twice = [pack(Coding::Gzip, &content), pack(Coding::Gzip, &content)].concat();
        assert_eq!(unpack(Coding::Gzip, &twice, 999).0.len(), 2 * content.len());
    }

    #[test]
    fn a_bomb_is_given_up_early_and_costs_no_memory() {
        for coding in [Coding::Gzip, Coding::Deflate] {
            // 256 MiB in 256 KiB.
            let packed = pack(coding, &vec![0; 256 << 20]);
            let (all, largest, fault) = unpack(coding, &packed, packed.len());
            let most = usize::try_from(MOST_TIMES).unwrap() * packed.len();
            assert!(matches!(fault, Some(Fault::Bomb(_))), "{coding:?}: {fault:?}");
            assert!(all.len() <= most && largest <= 128 << 10, "{} {largest}", all.len());
            let (all, ..) = unpack(coding, &packed, 1460);
            assert!(all.len() <= 1 << 20, "{} of the first packets", all.len());
        }
    }
}
