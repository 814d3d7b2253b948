//! The only way to read bytes.

use crate::error::{Error, Problem, Result};
use crate::trace::{Field, Trace, Value};

/// Reads a buffer front to back, to the bit, naming each field it consumes.
///
/// Multi-byte reads need byte alignment in every format here, so an unaligned one is read bit by bit all the
/// same: a decoder cannot go wrong by it.
#[derive(Debug)]
pub struct Cursor<'b, T: Trace = ()> {
    bytes: &'b [u8],
    /// Next bit, from the start of `bytes`.
    bit: u64,
    /// Where `bytes` begins in its buffer.
    base: u64,
    within: &'static str,
    trace: T,
}

impl<'b> Cursor<'b, ()> {
    /// A plain decoder.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self::traced(bytes, ())
    }

    /// A plain decoder over a part of a larger buffer; errors then speak in that buffer's positions.
    pub fn based(bytes: &'b [u8], base: u64) -> Self {
        Self { base, ..Self::new(bytes) }
    }
}

impl<'b, T: Trace> Cursor<'b, T> {
    /// A decoder that tells `trace` what it reads.
    pub fn traced(bytes: &'b [u8], trace: T) -> Self {
        Self { bytes, bit: 0, base: 0, within: "", trace }
    }

    /// The trace, when reading is over.
    pub fn into_trace(self) -> T {
        self.trace
    }

    /// Bytes consumed so far; a byte begun counts.
    pub fn position(&self) -> usize {
        usize::try_from(self.bit.div_ceil(8)).unwrap_or(usize::MAX)
    }

    /// Whole bytes that are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.position())
    }

    /// True when every byte was read.
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// Bits that are left.
    pub fn bits_left(&self) -> u64 {
        (self.bytes.len() as u64).saturating_mul(8).saturating_sub(self.bit)
    }

    /// The bytes that are left, without consuming them.
    pub fn peek(&self) -> &'b [u8] {
        self.bytes.get(self.position()..).unwrap_or_default()
    }

    /// The next `n` bits (at most 64), without consuming them; 0 where fewer are left.
    pub fn peek_bits(&self, n: u32) -> u64 {
        static AHEAD: Field = crate::trace::field("bits ahead", "", "Not consumed.");
        let mut probe = Cursor { bytes: self.bytes, bit: self.bit, base: 0, within: "", trace: () };
        probe.raw_bits(&AHEAD, n).unwrap_or(0)
    }

    /// An error at the current position.
    pub fn error(&self, field: &'static Field, problem: Problem) -> Error {
        let at = self.base.saturating_add(self.bit >> 3);
        Error { at, field: field.name, within: self.within, problem }
    }

    /// An error about the field that was just read, which is `size` bytes long.
    pub fn refuse(&self, field: &'static Field, size: u64, want: &'static str, got: u64) -> Error {
        let mut error = self.error(field, Problem::Value { want, got });
        error.at = error.at.saturating_sub(size);
        error
    }

    /// Reads what `f` reads as one group named `field`. The group is closed even where `f` fails, so that a
    /// tree shows what was read before the error.
    pub fn group<R>(&mut self, field: &'static Field, f: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        let outer = std::mem::replace(&mut self.within, field.name);
        self.trace.open(field, self.absolute(self.bit));
        let result = f(self);
        self.trace.close(self.absolute(self.bit));
        self.within = outer;
        result
    }

    /// Says which number the pieces read in the innermost group make.
    pub fn makes(&mut self, number: i64) {
        self.trace.makes(number);
    }

    fn absolute(&self, bit: u64) -> u64 {
        self.base.saturating_mul(8).saturating_add(bit)
    }

    fn leaf(&mut self, field: &'static Field, from: u64, value: Value) {
        let bits = self.absolute(from)..self.absolute(self.bit);
        self.trace.leaf(field, bits, value);
    }

    fn short(&self, field: &'static Field, want: u64) -> Error {
        self.error(field, Problem::Short { want, got: self.remaining() as u64 })
    }

    /// Takes `n` whole bytes without naming them.
    #[inline]
    fn take(&mut self, field: &'static Field, n: usize) -> Result<&'b [u8]> {
        let start = self.position();
        let end = start.saturating_add(n);
        match self.bytes.get(start..end) {
            Some(slice) => {
                self.bit = (end as u64).saturating_mul(8);
                Ok(slice)
            }
            None => Err(self.short(field, n as u64)),
        }
    }

    #[inline]
    fn unsigned(&mut self, field: &'static Field, n: usize, little: bool) -> Result<u64> {
        if self.bit & 7 != 0 {
            return self.bits(field, u32::try_from(n.saturating_mul(8)).unwrap_or(64));
        }
        let from = self.bit;
        let slice = self.take(field, n)?;
        let value = if little {
            slice.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b))
        } else {
            slice.iter().fold(0u64, |v, b| v << 8 | u64::from(*b))
        };
        self.leaf(field, from, Value::U64(value));
        Ok(value)
    }

    /// Reads `n` bits (at most 64), most significant first.
    #[inline]
    pub fn bits(&mut self, field: &'static Field, n: u32) -> Result<u64> {
        let from = self.bit;
        let value = self.raw_bits(field, n)?;
        self.leaf(field, from, Value::U64(value));
        Ok(value)
    }

    fn raw_bits(&mut self, field: &'static Field, n: u32) -> Result<u64> {
        if u64::from(n) > self.bits_left() {
            return Err(self.short(field, u64::from(n.div_ceil(8))));
        }
        let mut value = 0u64;
        for _ in 0..n {
            let index = usize::try_from(self.bit >> 3).unwrap_or(usize::MAX);
            let byte = self.bytes.get(index).copied().unwrap_or(0);
            let shift = 7u64.saturating_sub(self.bit & 7);
            value = value << 1 | u64::from(byte >> shift & 1);
            self.bit = self.bit.saturating_add(1);
        }
        Ok(value)
    }

    /// Reads one bit as a flag.
    pub fn flag(&mut self, field: &'static Field) -> Result<bool> {
        Ok(self.bits(field, 1)? == 1)
    }

    /// Reads an unsigned Exp-Golomb code, ue(v) of H.264 §9.1.
    pub fn ue(&mut self, field: &'static Field) -> Result<u64> {
        let from = self.bit;
        let value = self.golomb(field)?;
        self.leaf(field, from, Value::U64(value));
        Ok(value)
    }

    /// Reads a signed Exp-Golomb code, se(v) of H.264 §9.1.1.
    pub fn se(&mut self, field: &'static Field) -> Result<i64> {
        let from = self.bit;
        let code = self.golomb(field)?;
        let half = i64::try_from(code.div_ceil(2)).unwrap_or(i64::MAX);
        let value = if code & 1 == 1 { half } else { half.saturating_neg() };
        self.leaf(field, from, Value::I64(value));
        Ok(value)
    }

    /// Reads a code, or nothing of it.
    fn golomb(&mut self, field: &'static Field) -> Result<u64> {
        let from = self.bit;
        let code = self.raw_golomb(field);
        if code.is_err() {
            self.bit = from;
        }
        code
    }

    fn raw_golomb(&mut self, field: &'static Field) -> Result<u64> {
        let mut zeros = 0u32;
        while self.raw_bits(field, 1)? == 0 {
            zeros = zeros.saturating_add(1);
            if zeros > 32 {
                return Err(self.error(field, Problem::TooLarge { limit: 32, got: u64::from(zeros) }));
            }
        }
        let rest = self.raw_bits(field, zeros)?;
        Ok((1u64 << zeros).saturating_sub(1).saturating_add(rest))
    }

    /// Reads an unsigned byte.
    #[inline]
    pub fn u8(&mut self, field: &'static Field) -> Result<u8> {
        self.unsigned(field, 1, false).map(|v| (v & 0xff) as u8)
    }

    /// Reads a 16 bit number in network order.
    #[inline]
    pub fn u16(&mut self, field: &'static Field) -> Result<u16> {
        self.unsigned(field, 2, false).map(|v| (v & 0xffff) as u16)
    }

    /// Reads a 24 bit number in network order.
    #[inline]
    pub fn u24(&mut self, field: &'static Field) -> Result<u32> {
        self.unsigned(field, 3, false).map(|v| (v & 0xff_ffff) as u32)
    }

    /// Reads a signed 24 bit number in network order.
    pub fn i24(&mut self, field: &'static Field) -> Result<i32> {
        let from = self.bit;
        let slice = self.take(field, 3)?;
        let raw = slice.iter().fold(0u32, |v, b| v << 8 | u32::from(*b));
        let value = (raw << 8).cast_signed() >> 8;
        self.leaf(field, from, Value::I64(i64::from(value)));
        Ok(value)
    }

    /// Reads a 32 bit number in network order.
    #[inline]
    pub fn u32(&mut self, field: &'static Field) -> Result<u32> {
        self.unsigned(field, 4, false).map(|v| (v & 0xffff_ffff) as u32)
    }

    /// Reads a signed 32 bit number in network order.
    pub fn i32(&mut self, field: &'static Field) -> Result<i32> {
        let from = self.bit;
        let slice = self.take(field, 4)?;
        let value = slice.iter().fold(0u32, |v, b| v << 8 | u32::from(*b)).cast_signed();
        self.leaf(field, from, Value::I64(i64::from(value)));
        Ok(value)
    }

    /// Reads a 64 bit number in network order.
    pub fn u64(&mut self, field: &'static Field) -> Result<u64> {
        self.unsigned(field, 8, false)
    }

    /// Reads a 16 bit little-endian number.
    pub fn u16le(&mut self, field: &'static Field) -> Result<u16> {
        self.unsigned(field, 2, true).map(|v| (v & 0xffff) as u16)
    }

    /// Reads a 32 bit little-endian number.
    pub fn u32le(&mut self, field: &'static Field) -> Result<u32> {
        self.unsigned(field, 4, true).map(|v| (v & 0xffff_ffff) as u32)
    }

    /// Reads an IEEE 754 double in network order.
    pub fn f64(&mut self, field: &'static Field) -> Result<f64> {
        let from = self.bit;
        let slice = self.take(field, 8)?;
        let raw = slice.iter().fold(0u64, |v, b| v << 8 | u64::from(*b));
        let value = f64::from_bits(raw);
        self.leaf(field, from, Value::F64(value));
        Ok(value)
    }

    /// Takes `n` bytes as they are.
    pub fn bytes(&mut self, field: &'static Field, n: usize) -> Result<&'b [u8]> {
        let from = self.bit;
        let slice = self.take(field, n)?;
        if n > 0 {
            self.leaf(field, from, Value::Bytes);
        }
        Ok(slice)
    }

    /// Takes all bytes that are left.
    pub fn rest(&mut self, field: &'static Field) -> &'b [u8] {
        let n = self.remaining();
        self.bytes(field, n).unwrap_or_default()
    }

    /// Takes `n` bytes as UTF-8; what is not UTF-8 becomes the replacement character.
    pub fn text(&mut self, field: &'static Field, n: usize) -> Result<String> {
        let from = self.bit;
        let slice = self.take(field, n)?;
        if n > 0 {
            self.leaf(field, from, Value::Text);
        }
        Ok(String::from_utf8_lossy(slice).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Tree, field};

    static A: Field = field("a", "", "");
    static B: Field = field("b", "", "");
    static G: Field = field("g", "", "");

    #[test]
    fn leaves_tile_what_was_read_to_the_bit() {
        let mut c = Cursor::traced(&[0b1010_0001, 0xff, 0x00, 0x80, 0x01], Tree::default());
        c.group(&G, |c| {
            assert_eq!(c.bits(&A, 3)?, 0b101);
            assert_eq!(c.bits(&B, 5)?, 1);
            assert_eq!(c.i24(&A)?, -65408);
            Ok(())
        })
        .unwrap();
        assert_eq!(c.remaining(), 1);
        let tree = c.into_trace();
        let bits: Vec<_> = tree.leaves().map(|n| n.bits.clone()).collect();
        assert_eq!(bits, [0..3, 3..8, 8..32]);
        assert_eq!(tree.nodes.first().map(|n| n.bits.clone()), Some(0..32));
    }

    #[test]
    fn exp_golomb_codes_of_the_standard() {
        // H.264 table 9-2: 1, 010, 011, 00100, then 00101 as se(v) -> code 4 -> -2.
        let mut c = Cursor::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!([c.ue(&A), c.ue(&A), c.ue(&A), c.ue(&A)], [Ok(0), Ok(1), Ok(2), Ok(3)]);
        assert_eq!(c.se(&A), Ok(-2));
    }

    #[test]
    fn a_code_that_is_cut_is_not_consumed() {
        let mut c = Cursor::new(&[0b1000_0001]);
        assert_eq!(c.ue(&A), Ok(0));
        assert!(c.ue(&A).unwrap_err().is_short());
        assert_eq!((c.bits_left(), c.bits(&B, 7)), (7, Ok(1)));
    }

    #[test]
    fn an_error_says_byte_field_and_enclosure() {
        let mut c = Cursor::based(&[1, 2, 3], 100);
        c.u16(&A).unwrap();
        let error = c.group(&G, |c| c.u32(&B)).unwrap_err();
        assert_eq!(error.to_string(), "byte 102: b in g: want 4 bytes, 1 are left");
        assert!(error.is_short());
    }
}
