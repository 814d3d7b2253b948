//! RTP packets (RFC 3550 §5.1).
//!
//! ```text
//! +--+-+-+----+-+-------+----------------+
//! |V2|P|X| CC |M|  PT   | sequence       |
//! +--+-+-+----+-+-------+----------------+
//! | timestamp                            |
//! | SSRC                                 |
//! | CSRC, CC times                       |
//! | X: profile(16) length in words(16) extension |
//! | payload ...        | P: padding, its size in the last byte |
//! ```

use crate::cursor::Cursor;
use crate::error::{Problem, Result};
use crate::trace::{Field, Trace, field};

const SPEC: &str = "RFC 3550 §5.1";
static GROUP: Field = field("RTP packet", SPEC, "A piece of one stream of media.");
static VERSION: Field = field("version", SPEC, "2.");
static PADDING: Field = field("padding flag", SPEC, "1: bytes without meaning stand at the end.");
static EXTENSION: Field = field("extension flag", SPEC, "1: one header extension follows.");
static CSRC_COUNT: Field = field("CSRC count", SPEC, "Contributing sources that follow.");
static MARKER: Field =
    field("marker", SPEC, "Meaning depends on the payload format: usually the end of a frame.");
static PAYLOAD_TYPE: Field = field("payload type", SPEC, "The format, as the session description maps it.");
static SEQUENCE: Field = field("sequence number", SPEC, "One more for each packet, modulo 65536.");
static TIMESTAMP: Field = field("timestamp", SPEC, "Sampling instant in ticks of the format's clock.");
static SSRC: Field = field("SSRC", SPEC, "Number of the source, unique within the session.");
static CSRC: Field = field("CSRC list", SPEC, "Sources a mixer put together, four bytes each.");
static PROFILE: Field =
    field("extension profile", "RFC 3550 §5.3.1", "What the extension is; 0xbede: RFC 8285.");
static LENGTH: Field =
    field("extension length", "RFC 3550 §5.3.1", "In words of four bytes, these four left out.");
static EXTENSION_DATA: Field = field("header extension", "RFC 3550 §5.3.1", "Its content.");
static PAYLOAD: Field = field("payload", SPEC, "Media in the format of the payload type.");
static FILL: Field = field("padding", SPEC, "Bytes without meaning.");
static FILL_SIZE: Field = field("padding size", SPEC, "Bytes of padding, this one counted.");

/// Bytes of a header without CSRC and extension.
pub const HEADER: usize = 12;

/// A header extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'b> {
    /// What it is.
    pub profile: u16,
    /// Its content.
    pub data: &'b [u8],
}

/// The fixed part of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, below 128.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Source.
    pub ssrc: u32,
}

impl Header {
    /// The twelve bytes, without padding, extension and CSRC.
    pub fn encode(self) -> [u8; HEADER] {
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [r0, r1, r2, r3] = self.ssrc.to_be_bytes();
        let second = u8::from(self.marker) << 7 | self.payload_type & 0x7f;
        [0x80, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3]
    }
}

/// A packet; payload and extension stay where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'b> {
    /// Fixed part of the header.
    pub header: Header,
    /// CSRC list, four bytes each.
    pub csrc: &'b [u8],
    /// Header extension.
    pub extension: Option<Extension<'b>>,
    /// Payload without padding.
    pub payload: &'b [u8],
    /// Bytes of padding, its size byte counted.
    pub padding: u8,
}

impl<'b> Packet<'b> {
    /// Reads a whole packet.
    pub fn decode<T: Trace>(c: &mut Cursor<'b, T>) -> Result<Self> {
        c.group(&GROUP, |c| {
            let version = c.bits(&VERSION, 2)?;
            if version != 2 {
                return Err(c.error(&VERSION, Problem::Value { want: "2", got: version }));
            }
            let padded = c.flag(&PADDING)?;
            let extended = c.flag(&EXTENSION)?;
            let sources = c.bits(&CSRC_COUNT, 4)?;
            let header = Header {
                marker: c.flag(&MARKER)?,
                payload_type: (c.bits(&PAYLOAD_TYPE, 7)? & 0x7f) as u8,
                sequence: c.u16(&SEQUENCE)?,
                timestamp: c.u32(&TIMESTAMP)?,
                ssrc: c.u32(&SSRC)?,
            };
            let csrc = c.bytes(&CSRC, usize::try_from(sources.saturating_mul(4)).unwrap_or(60))?;
            let extension = if extended {
                let profile = c.u16(&PROFILE)?;
                let words = c.u16(&LENGTH)?;
                let data = c.bytes(&EXTENSION_DATA, usize::from(words).saturating_mul(4))?;
                Some(Extension { profile, data })
            } else {
                None
            };
            let padding = if padded { c.peek().last().copied().unwrap_or(0) } else { 0 };
            let length = c.remaining().checked_sub(usize::from(padding)).filter(|_| !padded || padding > 0);
            let Some(length) = length else {
                let want = "1 to the bytes that are left";
                return Err(c.error(&FILL_SIZE, Problem::Value { want, got: u64::from(padding) }));
            };
            let payload = c.bytes(&PAYLOAD, length)?;
            if padding > 0 {
                c.bytes(&FILL, usize::from(padding.saturating_sub(1)))?;
                c.u8(&FILL_SIZE)?;
            }
            Ok(Self { header, csrc, extension, payload, padding })
        })
    }

    /// Reads a whole packet, without a trace.
    pub fn parse(bytes: &'b [u8]) -> Result<Self> {
        Self::decode(&mut Cursor::new(bytes))
    }

    /// Writes the packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.header.encode());
        if let Some(first) = out.get_mut(start) {
            *first |= u8::from(self.padding > 0) << 5 | u8::from(self.extension.is_some()) << 4;
            *first |= u8::try_from((self.csrc.len() / 4).min(15)).unwrap_or(15);
        }
        out.extend_from_slice(
            self.csrc.get(..(self.csrc.len() / 4).min(15).saturating_mul(4)).unwrap_or_default(),
        );
        if let Some(Extension { profile, data }) = self.extension {
            let words = data.len().div_ceil(4);
            out.extend_from_slice(&profile.to_be_bytes());
            out.extend_from_slice(&u16::try_from(words).unwrap_or(u16::MAX).to_be_bytes());
            out.extend_from_slice(data);
            out.resize(out.len().saturating_add(words.saturating_mul(4).saturating_sub(data.len())), 0);
        }
        out.extend_from_slice(self.payload);
        if let Some(zeros) = usize::from(self.padding).checked_sub(1) {
            out.resize(out.len().saturating_add(zeros), 0);
            out.push(self.padding);
        }
    }
}

/// True where the bytes are RTCP rather than RTP, should they be one of the two: its packet types 192 to 223 are the
/// payload types 64 to 95 with a marker, which RTP leaves free for that (RFC 5761 §4).
pub fn is_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes, [first, 192..=223, ..] if first >> 6 == 2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::trace::Tree;
    use proptest::prelude::*;

    #[test]
    fn a_packet_with_everything() {
        let bytes = [
            0xb1, 0xe0, 0x12, 0x34, 0, 0, 0, 9, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 0xbe, 0xde, 0, 1, 0x10,
            0xff, 0, 0, b'h', b'i', 0, 2,
        ];
        let packet = Packet::parse(&bytes).unwrap();
        let header =
            Header { marker: true, payload_type: 96, sequence: 0x1234, timestamp: 9, ssrc: 0xdead_beef };
        assert_eq!((packet.header, packet.csrc, packet.payload), (header, &[1, 2, 3, 4][..], &b"hi"[..]));
        assert_eq!(packet.extension, Some(Extension { profile: 0xbede, data: &[0x10, 0xff, 0, 0] }));
        assert_eq!(packet.padding, 2);
        let mut again = Vec::new();
        packet.encode(&mut again);
        assert_eq!(again, bytes);
        assert!(!is_rtcp(&bytes));
        assert!(is_rtcp(&[0x80, 200, 0, 6]));
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused_with_their_place() {
        assert_eq!(
            Packet::parse(&[0x40; 12]).unwrap_err().to_string(),
            "byte 0: version in RTP packet: want 2, got 1 (0x1)"
        );
        assert!(Packet::parse(&[0x80; 11]).unwrap_err().is_short());
        assert_eq!(Packet::parse(&[0x81, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap_err().field, "CSRC list");
        assert_eq!(
            Packet::parse(&[0xa0, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]).unwrap_err().field,
            "padding size"
        );
        assert_eq!(
            Packet::parse(&[0xa0, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap_err().field,
            "padding size"
        );
        assert_eq!(
            Packet::parse(&[0xa0, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap_err().field,
            "padding size"
        );
    }

    proptest! {
        #[test]
        fn leaves_tile_and_what_is_read_writes_the_same(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), valid: bool) {
            if let (true, Some(first)) = (valid, bytes.first_mut()) {
                *first = *first & 0x3f | 0x80;
            }
            let mut c = Cursor::traced(&bytes, Tree::default());
            let read = Packet::decode(&mut c);
            let left = c.bits_left();
            let mut at = 0;
            for leaf in c.into_trace().leaves() {
                prop_assert_eq!(leaf.bits.start, at);
                at = leaf.bits.end;
            }
            prop_assert_eq!(at + left, bytes.len() as u64 * 8);
            if let Ok(packet) = read {
                prop_assert_eq!(left, 0);
                let mut again = Vec::new();
                packet.encode(&mut again);
                prop_assert_eq!(Packet::parse(&again), Ok(packet));
            }
        }
    }
}
