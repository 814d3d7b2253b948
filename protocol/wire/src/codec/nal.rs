//! What the NAL unit streams of H.264 and H.265 share: length prefixes and emulation prevention.

use std::borrow::Cow;

use crate::error::{Error, Problem, Result};

/// Takes the emulation prevention bytes out of a NAL unit: `00 00 03` becomes `00 00` (H.264 §7.4.1.1,
/// H.265 §7.4.2). A NAL unit without any is not copied.
pub fn unescape(nal: &[u8]) -> Cow<'_, [u8]> {
    if !nal.windows(3).any(|w| w == [0, 0, 3]) {
        return Cow::Borrowed(nal);
    }
    let mut out = Vec::with_capacity(nal.len());
    let mut zeros = 0u8;
    for &byte in nal {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros.saturating_add(1) } else { 0 };
        out.push(byte);
    }
    Cow::Owned(out)
}

/// The NAL units of a coded picture in MP4 and FLV, each behind its length (ISO 14496-15 §4.3.3, §8.3.3).
///
/// After an error the iterator ends: behind a wrong length nothing can be found again.
#[derive(Clone, Debug)]
pub struct LengthPrefixed<'b> {
    bytes: &'b [u8],
    at: usize,
    length_size: usize,
}

impl<'b> LengthPrefixed<'b> {
    /// Over a payload whose lengths take `length_size` bytes (1 to 4; the configuration record says).
    pub fn new(bytes: &'b [u8], length_size: u8) -> Self {
        Self { bytes, at: 0, length_size: usize::from(length_size).clamp(1, 4) }
    }

    /// Where the next length stands.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next length prefix and what is there of the unit behind it, even where the bytes end first.
    pub fn next_partial(&mut self) -> Option<(usize, &'b [u8])> {
        let start = self.at.saturating_add(self.length_size);
        let prefix = self.bytes.get(self.at..start)?;
        let length = prefix.iter().fold(0usize, |v, b| v << 8 | usize::from(*b));
        let end = start.saturating_add(length);
        let unit = self.bytes.get(start..end.min(self.bytes.len())).unwrap_or_default();
        self.at = end.min(self.bytes.len());
        Some((length, unit))
    }

    fn fail(&mut self, want: usize) -> Error {
        let got = self.bytes.len().saturating_sub(self.at) as u64;
        let problem = Problem::Short { want: want as u64, got };
        let error = Error { at: self.at as u64, field: "NAL unit", within: "coded picture", problem };
        self.at = self.bytes.len();
        error
    }
}

impl<'b> Iterator for LengthPrefixed<'b> {
    type Item = Result<&'b [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let start = self.at.saturating_add(self.length_size);
        let Some(prefix) = self.bytes.get(self.at..start) else {
            return Some(Err(self.fail(self.length_size)));
        };
        let length = prefix.iter().fold(0usize, |v, b| v << 8 | usize::from(*b));
        let end = start.saturating_add(length);
        match self.bytes.get(start..end) {
            Some(unit) => {
                self.at = end;
                Some(Ok(unit))
            }
            None => Some(Err(self.fail(length.saturating_add(self.length_size)))),
        }
    }
}

/// The NAL units behind start codes (H.264 and H.265 annex B), without the zeros that may follow them.
pub fn annex_b(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = behind_start(bytes).and_then(|at| bytes.get(at..)).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = behind_start(rest);
        let end = next.map_or(rest.len(), |next| next.saturating_sub(3));
        let nal = rest.get(..end).unwrap_or_default();
        rest = next.and_then(|next| rest.get(next..)).unwrap_or_default();
        let zeros = nal.iter().rev().take_while(|byte| **byte == 0).count();
        Some(nal.get(..nal.len().saturating_sub(zeros)).unwrap_or_default())
    })
}

/// Where the bytes behind the next start code begin.
fn behind_start(bytes: &[u8]) -> Option<usize> {
    let found = bytes.windows(3).position(|window| window == [0, 0, 1])?;
    Some(found.saturating_add(3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn emulation_prevention_bytes_are_removed() {
        assert_eq!(&*unescape(&[0, 0, 3, 1]), [0, 0, 1]);
        assert_eq!(&*unescape(&[0, 0, 3, 0, 0, 3]), [0, 0, 0, 0]);
        assert_eq!(&*unescape(&[0, 3, 0, 0, 0, 3, 3]), [0, 3, 0, 0, 0, 3]);
        assert!(matches!(unescape(&[1, 2, 3]), Cow::Borrowed(_)));
    }

    #[test]
    fn a_length_past_the_end_ends_the_picture_with_its_position() {
        let mut units = LengthPrefixed::new(&[0, 0, 0, 1, 9, 0, 0, 0, 9, 1], 4);
        assert_eq!(units.next(), Some(Ok(&[9][..])));
        let error = units.next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "byte 5: NAL unit in coded picture: want 13 bytes, 5 are left");
        assert_eq!(units.next(), None);
    }

    #[test]
    fn units_between_start_codes() {
        let bytes = [9, 0, 0, 0, 1, 0x67, 5, 0, 0, 1, 0x68, 0, 0, 0, 1, 0x65, 0x88, 0, 0];
        let found: Vec<&[u8]> = annex_b(&bytes).collect();
        assert_eq!(found, [&[0x67, 5][..], &[0x68], &[0x65, 0x88]]);
        assert_eq!(annex_b(&[1, 2, 3]).count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes: Vec<u8>, size in 0u8..9) {
            let taken: usize = LengthPrefixed::new(&bytes, size).flatten().map(<[u8]>::len).sum();
            prop_assert!(taken <= bytes.len());
            prop_assert!(unescape(&bytes).len() <= bytes.len());
        }
    }
}
