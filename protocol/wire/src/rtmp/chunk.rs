//! Chunk headers.
//!
//! ```text
//!  0 1 2 3 4 5 6 7      basic header, RTMP 1.0 §5.3.1.1
//! +---+-----------+
//! |fmt|   csid    |     csid 0: one more byte, csid = that + 64
//! +---+-----------+     csid 1: two more bytes, csid = first + second * 256 + 64
//!
//! fmt 0:  timestamp (3) | length (3) | type (1) | message stream id (4, little-endian)   §5.3.1.2.1
//! fmt 1:  delta (3)     | length (3) | type (1)                                          §5.3.1.2.2
//! fmt 2:  delta (3)                                                                      §5.3.1.2.3
//! fmt 3:  nothing: a continuation, or a message like the last one                        §5.3.1.2.4
//! A timestamp or delta of 0xFFFFFF is followed by an extended timestamp of 4 bytes       §5.3.1.3
//! ```

use crate::cursor::Cursor;
use crate::error::Result;
use crate::trace::{Field, Trace, field};

/// The value of a 24 bit timestamp that announces an extended one.
pub const EXTENDED: u32 = 0xff_ffff;
/// The chunk size of both directions until a Set Chunk Size says otherwise (§5.4.1).
pub const DEFAULT_CHUNK_SIZE: u32 = 128;
/// The largest chunk size a Set Chunk Size can name; its first bit must be zero (§5.4.1).
pub const MAX_CHUNK_SIZE: u32 = 0x7fff_ffff;

static FMT: Field = field("fmt", "RTMP 1.0 §5.3.1.1", "how much of the message header follows");
static CSID: Field = field("chunk stream id", "RTMP 1.0 §5.3.1.1", "0 and 1 announce longer forms");
static CSID_2: Field = field("chunk stream id - 64", "RTMP 1.0 §5.3.1.1", "two-byte form, 64 to 319");
static CSID_3: Field =
    field("chunk stream id - 64", "RTMP 1.0 §5.3.1.1", "three-byte form, little-endian, 64 to 65599");
static TIMESTAMP: Field = field("timestamp", "RTMP 1.0 §5.3.1.2.1", "absolute time in milliseconds");
static DELTA: Field = field("timestamp delta", "RTMP 1.0 §5.3.1.2.2", "milliseconds since the last message");
static LENGTH: Field =
    field("message length", "RTMP 1.0 §5.3.1.2.5", "of the whole message, not of the chunk");
static TYPE: Field = field("message type id", "RTMP 1.0 §5.3.1.2.5", "8 audio, 9 video, 20 AMF0 command, …");
static STREAM: Field = field("message stream id", "RTMP 1.0 §5.3.1.2.5", "little-endian, unlike all else");
static EXTENDED_FIELD: Field =
    field("extended timestamp", "RTMP 1.0 §5.3.1.3", "the whole 32 bit timestamp or delta");
static HEADER: Field =
    field("chunk header", "RTMP 1.0 §5.3.1", "basic header, message header, extended timestamp");

/// The basic header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basic {
    /// 0 to 3.
    pub fmt: u8,
    /// 2 to 65599.
    pub csid: u32,
    /// 1, 2 or 3 bytes on the wire.
    pub size: u8,
}

impl Basic {
    /// Bytes of the basic header that begins with `first`.
    pub fn size_of(first: u8) -> usize {
        match first & 0x3f {
            0 => 2,
            1 => 3,
            _ => 1,
        }
    }

    /// Reads a basic header.
    #[inline]
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        let fmt = (c.bits(&FMT, 2)? & 3) as u8;
        let low = (c.bits(&CSID, 6)? & 0x3f) as u32;
        Ok(match low {
            0 => Self { fmt, csid: u32::from(c.u8(&CSID_2)?).saturating_add(64), size: 2 },
            1 => Self { fmt, csid: u32::from(c.u16le(&CSID_3)?).saturating_add(64), size: 3 },
            _ => Self { fmt, csid: low, size: 1 },
        })
    }
}

/// The message header of one chunk; what a fmt leaves out is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageHeader {
    /// fmt 0: the absolute time; fmt 1 and 2: the delta. Extended already, where it is.
    pub time: Option<u32>,
    /// fmt 0 and 1.
    pub length: Option<u32>,
    /// fmt 0 and 1.
    pub type_id: Option<u8>,
    /// fmt 0.
    pub stream_id: Option<u32>,
    /// True where the time came from an extended timestamp field.
    pub extended: bool,
}

impl MessageHeader {
    /// Bytes after the basic header, without an extended timestamp.
    pub fn size_of(fmt: u8) -> usize {
        match fmt {
            0 => 11,
            1 => 7,
            2 => 3,
            _ => 0,
        }
    }

    /// Reads the message header of a chunk of this `fmt`, extended timestamp included.
    ///
    /// For fmt 3 there is nothing to read here: whether an extended timestamp is repeated there depends on the
    /// chunk stream's state, and on the peer; see [`extended_timestamp`].
    #[inline]
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>, fmt: u8) -> Result<Self> {
        let mut header = Self::default();
        if fmt > 2 {
            return Ok(header);
        }
        let time = c.u24(if fmt == 0 { &TIMESTAMP } else { &DELTA })?;
        if fmt < 2 {
            header.length = Some(c.u24(&LENGTH)?);
            header.type_id = Some(c.u8(&TYPE)?);
        }
        if fmt == 0 {
            header.stream_id = Some(c.u32le(&STREAM)?);
        }
        header.extended = time == EXTENDED;
        header.time = Some(if header.extended { extended_timestamp(c)? } else { time });
        Ok(header)
    }
}

/// Reads an extended timestamp.
pub fn extended_timestamp<T: Trace>(c: &mut Cursor<'_, T>) -> Result<u32> {
    c.u32(&EXTENDED_FIELD)
}

/// Reads basic and message header as one group.
pub fn header<T: Trace>(c: &mut Cursor<'_, T>) -> Result<(Basic, MessageHeader)> {
    c.group(&HEADER, |c| {
        let basic = Basic::decode(c)?;
        Ok((basic, MessageHeader::decode(c, basic.fmt)?))
    })
}

/// What a message says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Chunk stream, 2 to 65599.
    pub csid: u32,
    /// Milliseconds, 32 bits that wrap.
    pub timestamp: u32,
    /// Message type.
    pub type_id: u8,
    /// Message stream.
    pub stream_id: u32,
}

/// Appends a basic header in its smallest form.
pub fn write_basic(out: &mut Vec<u8>, fmt: u8, csid: u32) {
    let fmt = fmt << 6;
    match csid {
        0..=63 => out.push(fmt | (csid & 0x3f) as u8),
        64..=319 => out.extend([fmt, (csid.saturating_sub(64) & 0xff) as u8]),
        _ => {
            let rest = csid.saturating_sub(64) & 0xffff;
            out.extend([fmt | 1, (rest & 0xff) as u8, (rest >> 8) as u8]);
        }
    }
}

/// Appends a message of the given body `parts` as chunks: fmt 0, then fmt 3 for the rest.
///
/// Nothing in it depends on what was sent before, so that the same bytes serve any receiver at any point. An
/// extended timestamp is repeated on each fmt 3 chunk (§5.3.1.3). A body longer than 24 bits can say is cut.
pub fn write_message(out: &mut Vec<u8>, chunk_size: u32, head: &Head, parts: &[&[u8]]) {
    let total = parts.iter().fold(0usize, |n, p| n.saturating_add(p.len())).min(0xff_ffff);
    let extended = head.timestamp >= EXTENDED;
    let short = if extended { EXTENDED } else { head.timestamp };
    write_basic(out, 0, head.csid);
    out.extend(short.to_be_bytes().iter().skip(1));
    out.extend(u32::try_from(total).unwrap_or(EXTENDED).to_be_bytes().iter().skip(1));
    out.push(head.type_id);
    out.extend(head.stream_id.to_le_bytes());
    if extended {
        out.extend(head.timestamp.to_be_bytes());
    }
    let size = usize::try_from(chunk_size.max(1)).unwrap_or(usize::MAX);
    let mut room = size;
    let mut left = total;
    for part in parts {
        let mut part = part.get(..left.min(part.len())).unwrap_or_default();
        while !part.is_empty() {
            if room == 0 {
                write_basic(out, 3, head.csid);
                if extended {
                    out.extend(head.timestamp.to_be_bytes());
                }
                room = size;
            }
            let (now, later) = part.split_at(room.min(part.len()));
            out.extend_from_slice(now);
            room = room.saturating_sub(now.len());
            left = left.saturating_sub(now.len());
            part = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csids_in_their_one_two_and_three_byte_forms() {
        for (csid, bytes) in [
            (2, vec![0x02]),
            (63, vec![0x3f]),
            (64, vec![0x00, 0x00]),
            (319, vec![0x00, 0xff]),
            (320, vec![0x01, 0x00, 0x01]),
            (65_599, vec![0x01, 0xff, 0xff]),
        ] {
            let mut out = Vec::new();
            write_basic(&mut out, 0, csid);
            assert_eq!(out, bytes, "csid {csid}");
            assert_eq!(Basic::size_of(out[0]), out.len());
            assert_eq!(Basic::decode(&mut Cursor::new(&out)).unwrap().csid, csid);
        }
    }

    #[test]
    fn the_specification_s_video_example_in_chunks() {
        // RTMP 1.0 §5.3.2.2: a video message of 307 bytes at time 1000 on chunk stream 4 in chunks of 128.
        let body = vec![0xaa; 307];
        let mut out = Vec::new();
        let head = Head { csid: 4, timestamp: 1000, type_id: 9, stream_id: 12346 };
        write_message(&mut out, 128, &head, &[&body[..5], &body[5..]]);
        assert_eq!(out.len(), 140 + 129 + 52);
        assert_eq!((out[140], out[140 + 129]), (0xc4, 0xc4));
        let (basic, header) = header(&mut Cursor::new(&out)).unwrap();
        assert_eq!((basic.fmt, basic.csid), (0, 4));
        assert_eq!(
            (header.time, header.length, header.type_id, header.stream_id),
            (Some(1000), Some(307), Some(9), Some(12346))
        );
    }

    #[test]
    fn an_extended_timestamp_is_repeated_on_every_continuation() {
        let mut out = Vec::new();
        let head = Head { csid: 6, timestamp: 0xff_ffff, type_id: 9, stream_id: 1 };
        write_message(&mut out, 128, &head, &[&[7; 200]]);
        assert_eq!(out.get(1..4), Some([0xff; 3].as_slice()));
        assert_eq!(out.get(12..16), Some([0, 0xff, 0xff, 0xff].as_slice()));
        assert_eq!(out.get(16 + 128..16 + 128 + 5), Some([0xc6, 0, 0xff, 0xff, 0xff].as_slice()));
        assert_eq!(out.len(), 16 + 128 + 5 + 72);
    }

    #[test]
    fn an_empty_message_is_a_header_alone() {
        let mut out = Vec::new();
        write_message(&mut out, 128, &Head { csid: 3, type_id: 8, ..Head::default() }, &[]);
        assert_eq!(out.len(), 12);
    }
}
