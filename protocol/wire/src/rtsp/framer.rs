//! Where the next unit of an RTSP connection ends (RFC 2326 §4, §10.12).

use super::text;
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::trace::{Field, Trace, field};

/// The longest head accepted, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// The longest line of a head accepted, in bytes.
pub const MAX_LINE: usize = 8 * 1024;
/// The most header lines accepted, folded ones counted each.
pub const MAX_HEADERS: usize = 256;
/// The longest body accepted, in bytes.
pub const MAX_BODY: u64 = 256 * 1024;
/// Bytes before the packet of an interleaved frame.
pub const INTERLEAVED_HEADER: usize = 4;

const BINARY: &str = "RFC 2326 §10.12";
static GROUP: Field =
    field("interleaved frame", BINARY, "One RTP or RTCP packet within the RTSP connection.");
static MAGIC: Field = field("magic", BINARY, "0x24, the dollar sign.");
static CHANNEL: Field = field("channel", BINARY, "As agreed in the Transport header; RTCP has the odd one.");
static LENGTH: Field = field("length", BINARY, "Bytes of the packet that follows.");

/// The next unit at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    /// The buffer has to hold at least so many bytes before the unit can be told.
    Need(usize),
    /// A head that has not ended: at least one more byte is needed. Only then may the next call say that what is there now
    /// was `seen`.
    HeadOpen,
    /// Line ends before a message, so many bytes: they mean nothing.
    Blank(usize),
    /// A `$` frame with a packet of `length` bytes behind its header of [`INTERLEAVED_HEADER`] bytes, all there.
    Interleaved {
        /// Its channel.
        channel: u8,
        /// Bytes of the packet.
        length: usize,
    },
    /// A request or response, all there.
    Message {
        /// Bytes of the head, the empty line included.
        head: usize,
        /// Bytes of the body behind it.
        body: usize,
    },
}

impl Framed {
    /// Bytes to take off the front of the buffer; 0 where more are needed first.
    pub fn size(&self) -> usize {
        match *self {
            Self::Need(_) | Self::HeadOpen => 0,
            Self::Blank(n) => n,
            Self::Interleaved { length, .. } => INTERLEAVED_HEADER.saturating_add(length),
            Self::Message { head, body } => head.saturating_add(body),
        }
    }
}

/// Says what stands at the start of `bytes`, without side effects.
///
/// `seen` bytes of them were there when the answer last was [`Framed::HeadOpen`]: they are not searched again. 0 is always
/// right. An error means that the stream cannot be read on: the head is none, or too large, or its body is.
pub fn frame(bytes: &[u8], seen: usize) -> Result<Framed> {
    match bytes {
        [] => Ok(Framed::Need(1)),
        [b'$', rest @ ..] => Ok(match *rest {
            [channel, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                let whole = INTERLEAVED_HEADER.saturating_add(length);
                if bytes.len() < whole {
                    Framed::Need(whole)
                } else {
                    Framed::Interleaved { channel, length }
                }
            }
            _ => Framed::Need(INTERLEAVED_HEADER),
        }),
        [b'\r' | b'\n', ..] => {
            let blank = |b: &u8| matches!(b, b'\r' | b'\n');
            Ok(Framed::Blank(bytes.iter().take_while(|b| blank(b)).count()))
        }
        _ => message(bytes, seen),
    }
}

fn message(bytes: &[u8], seen: usize) -> Result<Framed> {
    let Some(head) = head_size(bytes, seen)? else {
        return Ok(Framed::HeadOpen);
    };
    let body = content_length(bytes.get(..head).unwrap_or_default())?;
    let whole = head.saturating_add(body);
    Ok(if bytes.len() < whole { Framed::Need(whole) } else { Framed::Message { head, body } })
}

/// Bytes up to and with the empty line; none where it has not come.
fn head_size(bytes: &[u8], seen: usize) -> Result<Option<usize>> {
    let searched = bytes.get(..seen.min(bytes.len())).unwrap_or_default();
    let mut at = searched.iter().rposition(|b| *b == b'\n').map_or(0, |end| end.saturating_add(1));
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let (length, end) = text::line(rest);
        if length > MAX_LINE {
            let (at, limit) = (at as u64, MAX_LINE as u64);
            return Err(Error::too_large(
                at,
                if at == 0 { "start line" } else { "header line" },
                limit,
                length as u64,
            ));
        }
        if at == 0 {
            printable(rest.get(..length).unwrap_or_default())?;
        }
        if end == 0 {
            break;
        }
        at = at.saturating_add(length).saturating_add(end);
        if at > MAX_HEAD {
            break;
        }
        if length == 0 {
            return Ok(Some(at));
        }
    }
    if bytes.len() > MAX_HEAD {
        return Err(Error::too_large(0, "message head", MAX_HEAD as u64, bytes.len() as u64));
    }
    Ok(None)
}

/// A start line holds no control characters: what does is another protocol, or we have lost our place.
fn printable(line: &[u8]) -> Result<()> {
    // The line end may be half there, and more than one CR may stand in it: what is read must not depend on where it is cut.
    let length = line.iter().rposition(|b| *b != b'\r').map_or(0, |last| last.saturating_add(1));
    let line = line.get(..length).unwrap_or_default();
    match line.iter().position(|b| b.is_ascii_control() && *b != b'\t') {
        None => Ok(()),
        Some(at) => {
            let got = line.get(at).copied().unwrap_or_default();
            Err(Error::value(at as u64, "start line", "a printable character", u64::from(got)))
        }
    }
}

/// The Content-Length of a head, 0 without one (§4.4).
fn content_length(head: &[u8]) -> Result<usize> {
    let mut found: Option<u64> = None;
    let mut at = 0usize;
    while let Some(rest) = head.get(at..).filter(|rest| !rest.is_empty()) {
        let (length, end) = text::line(rest);
        let line = rest.get(..length).unwrap_or_default();
        if let Some(value) = value_of(line, b"content-length") {
            let value_at = at.saturating_add(length).saturating_sub(value.len()) as u64;
            let number = decimal(value.trim_ascii(), value_at)?;
            if found.is_some_and(|before| before != number) {
                return Err(Error::value(value_at, "Content-Length", "one value", number));
            }
            found = Some(number);
        }
        at = at.saturating_add(length).saturating_add(end.max(1));
    }
    usize::try_from(found.unwrap_or(0)).map_err(|_| Error::too_large(0, "Content-Length", MAX_BODY, u64::MAX))
}

fn value_of<'b>(line: &'b [u8], name: &[u8]) -> Option<&'b [u8]> {
    let colon = line.iter().position(|b| *b == b':')?;
    let (before, after) = line.split_at(colon);
    before.trim_ascii_end().eq_ignore_ascii_case(name).then(|| after.get(1..).unwrap_or_default())
}

fn decimal(digits: &[u8], at: u64) -> Result<u64> {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        // The value is text: what an error can carry of it is its length.
        return Err(Error::value(at, "Content-Length", "decimal digits", digits.len() as u64));
    }
    match text.parse() {
        Ok(number) if number <= MAX_BODY => Ok(number),
        Ok(number) => Err(Error::too_large(at, "Content-Length", MAX_BODY, number)),
        Err(_) => Err(Error::too_large(at, "Content-Length", MAX_BODY, u64::MAX)),
    }
}

/// The header of an interleaved frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interleaved {
    /// Its channel.
    pub channel: u8,
    /// Bytes of the packet behind it.
    pub length: u16,
}

impl Interleaved {
    /// Reads the four bytes.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&GROUP, |c| {
            let magic = c.u8(&MAGIC)?;
            if magic != b'$' {
                return Err(c.refuse(&MAGIC, 1, "0x24 ($)", u64::from(magic)));
            }
            Ok(Self { channel: c.u8(&CHANNEL)?, length: c.u16(&LENGTH)? })
        })
    }

    /// The four bytes.
    pub fn encode(self) -> [u8; INTERLEAVED_HEADER] {
        let [high, low] = self.length.to_be_bytes();
        [b'$', self.channel, high, low]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads_bodies_frames_and_blank_lines_are_told_apart() {
        assert_eq!(frame(b"", 0), Ok(Framed::Need(1)));
        assert_eq!(frame(b"\r\n\nOPTIONS", 0), Ok(Framed::Blank(3)));
        assert_eq!(frame(b"$\x01", 0), Ok(Framed::Need(4)));
        assert_eq!(frame(b"$\x01\0\x03ab", 0), Ok(Framed::Need(7)));
        assert_eq!(frame(b"$\x01\0\x02ab$", 0), Ok(Framed::Interleaved { channel: 1, length: 2 }));
        let options = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n";
        assert_eq!(frame(options, 0), Ok(Framed::Message { head: 31, body: 0 }));
        assert_eq!(frame(&options[..30], 0), Ok(Framed::HeadOpen));
        assert_eq!(frame(options, 30), frame(options, 0));
        let bare = b"OPTIONS * RTSP/1.0\nCSeq: 1\ncontent-LENGTH : 2\n\nab";
        assert_eq!(frame(bare, 0), Ok(Framed::Message { head: bare.len() - 2, body: 2 }));
        assert_eq!(frame(&bare[..bare.len() - 1], 9), Ok(Framed::Need(bare.len())));
    }

    /// Found by fuzzing: a start line that ends in CR CR LF was refused when only its CRs had come.
    #[test]
    fn a_start_line_is_the_same_wherever_it_is_cut() {
        let bytes = b"\xd5$\r\r\n\n\x01I\0";
        assert_eq!(frame(bytes, 0), Ok(Framed::Message { head: 6, body: 0 }));
        for cut in 1..6 {
            assert_eq!(frame(&bytes[..cut], 0), Ok(Framed::HeadOpen), "{cut}");
        }
        assert!(frame(b"OPTIONS *\rX RTSP/1.0\r\n", 0).is_err());
    }

    #[test]
    fn sizes_are_bounded_with_clear_errors() {
        let length =
            |value: &str| frame(format!("A b RTSP/1.0\r\nContent-Length: {value}\r\n\r\n").as_bytes(), 0);
        assert_eq!(
            length("99999999999").unwrap_err().to_string(),
            "byte 29: Content-Length: 99999999999 is above the limit of 262144"
        );
        for bad in ["-1", "abc", "", "1 2", "0x10", "18446744073709551616"] {
            assert!(length(bad).is_err(), "{bad}");
        }
        let twice = b"A b RTSP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        assert!(frame(twice, 0).is_err());
        let long_line = vec![b'A'; MAX_LINE + 1];
        assert_eq!(frame(&long_line, 0).unwrap_err().field, "start line");
        let mut long_head = b"A b RTSP/1.0\r\n".to_vec();
        while long_head.len() <= MAX_HEAD {
            long_head.extend_from_slice(b"X: y\r\n");
        }
        assert_eq!(frame(&long_head, 0).unwrap_err().field, "message head");
        assert_eq!(frame(b"\x16\x03\x01", 0).unwrap_err().at, 0);
    }

    proptest! {
        #[test]
        fn what_is_seen_of_a_prefix_changes_nothing(
            tail in "[A-Za-z:\r\n \\$0-9]{0,120}", split in 0usize..160,
        ) {
            let bytes = format!("PLAY x RTSP/1.0\r\n{tail}\r\n\r\n").into_bytes();
            let split = split.min(bytes.len());
            if let Ok(Framed::HeadOpen) = frame(&bytes[..split], 0) {
                prop_assert_eq!(frame(&bytes, split), frame(&bytes, 0));
            }
        }

        #[test]
        fn random_bytes_end_in_a_unit_a_wish_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            match frame(&bytes, 0) {
                Ok(Framed::Need(n)) => prop_assert!(n > bytes.len()),
                Ok(Framed::HeadOpen) => {}
                Ok(unit) => prop_assert!(unit.size() > 0 && unit.size() <= bytes.len()),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
