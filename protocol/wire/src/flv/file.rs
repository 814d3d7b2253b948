//! The FLV file: a header, then tags, each followed by its own size (FLV 10.1 §E.2, §E.3, §E.4.1).
//!
//! ```text
//! "FLV" version flags data-offset(32) | prev-size(32)=0 | tag | prev-size | tag | prev-size ...
//! tag: 00 filter(1) type(5) | size(24) | time(24) | time high(8) | stream id(24)=0 | body
//! ```

use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::trace::{Field, Trace, field};

static HEADER: Field = field("FLV header", "FLV 10.1 §E.2", "Says what the file is.");
static SIGNATURE: Field = field("signature", "FLV 10.1 §E.2", "The letters FLV.");
static VERSION: Field = field("version", "FLV 10.1 §E.2", "1.");
static FLAGS: Field = field("type flags", "FLV 10.1 §E.2", "4: has audio tags, 1: has video tags.");
static OFFSET: Field = field("data offset", "FLV 10.1 §E.2", "Length of this header in bytes.");
static EXTRA: Field = field("header extension", "FLV 10.1 §E.2", "Bytes between header and first tag.");
static TAG: Field = field("FLV tag", "FLV 10.1 §E.4.1", "Header of one audio, video or script tag.");
static RESERVED: Field = field("reserved", "FLV 10.1 §E.4.1", "0.");
static FILTER: Field = field("filter", "FLV 10.1 §E.4.1", "1: the body is encrypted.");
static KIND: Field = field("tag type", "FLV 10.1 §E.4.1", "8 audio, 9 video, 18 script data.");
static SIZE: Field = field("data size", "FLV 10.1 §E.4.1", "Length of the body in bytes.");
static TIME: Field = field("timestamp", "FLV 10.1 §E.4.1", "Milliseconds, lower 24 bits.");
static TIME_HIGH: Field = field("timestamp extended", "FLV 10.1 §E.4.1", "Milliseconds, upper 8 bits.");
static STREAM: Field = field("stream id", "FLV 10.1 §E.4.1", "Always 0.");
static PREVIOUS: Field =
    field("previous tag size", "FLV 10.1 §E.3", "Length of the tag before, its header of 11 bytes included.");

/// Bytes of the file header without extension.
pub const HEADER_SIZE: usize = 9;
/// Bytes of a tag header.
pub const TAG_HEADER_SIZE: usize = 11;
/// The longest header extension we skip.
const MAX_EXTENSION: u32 = 64 * 1024;
const HEADER_U32: u32 = 9;
const TAG_HEADER_U32: u32 = 11;

/// The file header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The file promises audio tags.
    pub audio: bool,
    /// The file promises video tags.
    pub video: bool,
    /// Length of the header in bytes, at least 9.
    pub size: u32,
}

impl Header {
    /// Reads the nine bytes; an extension is left in the cursor.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&HEADER, |c| {
            let signature = c.u24(&SIGNATURE)?;
            if signature != 0x46_4c56 {
                return Err(c.refuse(&SIGNATURE, 3, "0x464c56 (FLV)", u64::from(signature)));
            }
            c.u8(&VERSION)?;
            let flags = c.u8(&FLAGS)?;
            let size = c.u32(&OFFSET)?;
            if size < 9 {
                return Err(c.refuse(&OFFSET, 4, "at least 9", u64::from(size)));
            }
            Ok(Self { audio: flags & 4 != 0, video: flags & 1 != 0, size })
        })
    }

    /// Writes the header and the first previous-tag-size, which is 0.
    pub fn encode(audio: bool, video: bool, out: &mut Vec<u8>) {
        let flags = u8::from(audio) << 2 | u8::from(video);
        out.extend_from_slice(&[0x46, 0x4c, 0x56, 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]);
    }
}

/// The header of a tag. An Aggregate message of RTMP consists of the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagHeader {
    /// 8 audio, 9 video, 18 script data.
    pub kind: u8,
    /// The body is encrypted.
    pub filter: bool,
    /// Length of the body in bytes.
    pub size: u32,
    /// Milliseconds.
    pub timestamp: u32,
    /// Always 0 in a file.
    pub stream: u32,
}

impl TagHeader {
    /// Reads the eleven bytes.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&TAG, |c| {
            c.bits(&RESERVED, 2)?;
            let filter = c.flag(&FILTER)?;
            let kind = (c.bits(&KIND, 5)? & 0x1f) as u8;
            let size = c.u24(&SIZE)?;
            let low = c.u24(&TIME)?;
            let high = c.u8(&TIME_HIGH)?;
            let stream = c.u24(&STREAM)?;
            Ok(Self { kind, filter, size, timestamp: u32::from(high) << 24 | low, stream })
        })
    }

    /// Writes the eleven bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let [_, s0, s1, s2] = self.size.to_be_bytes();
        let [high, t0, t1, t2] = self.timestamp.to_be_bytes();
        let [_, i0, i1, i2] = self.stream.to_be_bytes();
        let first = u8::from(self.filter) << 5 | self.kind & 0x1f;
        out.extend_from_slice(&[first, s0, s1, s2, t0, t1, t2, high, i0, i1, i2]);
    }

    /// What the previous-tag-size behind this tag says.
    pub fn whole_size(&self) -> u32 {
        self.size.saturating_add(TAG_HEADER_U32)
    }
}

/// Reads the four bytes behind a tag.
pub fn previous_tag_size<T: Trace>(c: &mut Cursor<'_, T>) -> Result<u32> {
    c.u32(&PREVIOUS)
}

/// Writes a whole tag with the size behind it. Bodies above 16 MiB do not exist in the format and are refused.
pub fn encode_tag(kind: u8, timestamp: u32, body: &[&[u8]], out: &mut Vec<u8>) -> Result<()> {
    let size = body.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
    let size = u32::try_from(size).ok().filter(|size| *size < 1 << 24);
    let size = size.ok_or_else(|| Error::too_large(0, "data size", 0xff_ffff, u64::MAX))?;
    let header = TagHeader { kind, filter: false, size, timestamp, stream: 0 };
    header.encode(out);
    body.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(&header.whole_size().to_be_bytes());
    Ok(())
}

/// A tag as it stands in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'b> {
    /// Its header.
    pub header: TagHeader,
    /// Its body.
    pub body: &'b [u8],
    /// The size that stands behind it, right where equal to [`TagHeader::whole_size`].
    pub trailing_size: u32,
}

/// What [`Reader::step`] found at the start of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'b> {
    /// Call again with at least this many bytes; nothing was consumed.
    Need(usize),
    /// The file header, and the bytes to drop from the input.
    Header(Header, usize),
    /// A tag, and the bytes to drop from the input.
    Tag(Tag<'b>, usize),
}

/// Reads a file piece by piece: it owns no bytes, only the place reached.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    begun: bool,
    offset: u64,
}

impl Reader {
    /// At the beginning of a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of the file consumed so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Looks at `input`, which begins where the last step ended.
    pub fn step<'b>(&mut self, input: &'b [u8]) -> Result<Step<'b>> {
        let step = if self.begun { self.tag(input) } else { self.header(input) };
        if let Ok(Step::Header(_, used) | Step::Tag(_, used)) = step {
            self.begun = true;
            self.offset = self.offset.saturating_add(used as u64);
        }
        step
    }

    fn header<'b>(&self, input: &'b [u8]) -> Result<Step<'b>> {
        if input.len() < HEADER_SIZE {
            return Ok(Step::Need(HEADER_SIZE));
        }
        let mut c = Cursor::based(input, self.offset);
        let header = Header::decode(&mut c)?;
        let extra = header.size.saturating_sub(HEADER_U32);
        if extra > MAX_EXTENSION {
            return Err(Error::too_large(5, OFFSET.name, u64::from(MAX_EXTENSION), u64::from(header.size)));
        }
        let extra = extra as usize;
        let whole = HEADER_SIZE.saturating_add(extra).saturating_add(4);
        if input.len() < whole {
            return Ok(Step::Need(whole));
        }
        c.bytes(&EXTRA, extra)?;
        previous_tag_size(&mut c)?;
        Ok(Step::Header(header, whole))
    }

    fn tag<'b>(&self, input: &'b [u8]) -> Result<Step<'b>> {
        if input.len() < TAG_HEADER_SIZE {
            return Ok(Step::Need(TAG_HEADER_SIZE));
        }
        let mut c = Cursor::based(input, self.offset);
        let header = TagHeader::decode(&mut c)?;
        let whole = (header.whole_size() as usize).saturating_add(4);
        if input.len() < whole {
            return Ok(Step::Need(whole));
        }
        let body = c.bytes(&super::PAYLOAD, header.size as usize)?;
        let trailing_size = previous_tag_size(&mut c)?;
        Ok(Step::Tag(Tag { header, body, trailing_size }, whole))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    fn file() -> Vec<u8> {
        let mut out = Vec::new();
        Header::encode(true, true, &mut out);
        encode_tag(8, 0, &[&[0xaf, 0], &[0x12, 0x10]], &mut out).unwrap();
        encode_tag(9, 0x0102_0304, &[&[0x57, 0]], &mut out).unwrap();
        out
    }

    #[test]
    fn a_written_file_is_read_again_at_every_split() {
        let file = file();
        for split in 1..file.len() {
            let mut reader = Reader::new();
            let (mut seen, mut start, mut end) = (Vec::new(), 0, split);
            loop {
                match reader.step(&file[start..end]).unwrap() {
                    Step::Need(n) if end == file.len() => {
                        assert!(n > end - start);
                        break;
                    }
                    Step::Need(_) => end = file.len(),
                    Step::Header(header, used) => {
                        assert_eq!(header, Header { audio: true, video: true, size: 9 });
                        start += used;
                    }
                    Step::Tag(tag, used) => {
                        assert_eq!(tag.trailing_size, tag.header.whole_size());
                        seen.push((tag.header.kind, tag.header.timestamp, tag.body.to_vec()));
                        start += used;
                    }
                }
            }
            assert_eq!(seen, [(8, 0, vec![0xaf, 0, 0x12, 0x10]), (9, 0x0102_0304, vec![0x57, 0])]);
            assert_eq!(reader.offset(), file.len() as u64);
        }
    }

    #[test]
    fn what_is_no_flv_is_refused_with_its_position() {
        let error = Reader::new().step(b"RIFF....WAVE").unwrap_err();
        assert_eq!((error.at, error.field), (0, "signature"));
        let error = Reader::new().step(b"FLV\x01\x05\x7f\xff\xff\xff\0\0\0\0").unwrap_err();
        assert_eq!((error.at, error.field), (5, "data offset"));
    }
}
