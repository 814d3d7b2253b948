//! ISO base media files, MP4 and its fragments (ISO/IEC 14496-12, -14, -15).
//!
//! ```text
//! box       size u32 | type 4 | [largesize u64 where size is 1] | [16 bytes where type is uuid] | content
//! full box  version u8 | flags u24 | content
//! ```
//!
//! Sizes are never believed: a box ends where what encloses it ends, and a table is read entry by entry as far as its
//! bytes go. Boxes that are not understood are skipped as a field of their own.

pub mod entry;
pub mod fragment;
pub mod movie;
pub mod write;

use std::fmt;

use crate::cursor::Cursor;
use crate::error::{Problem, Result};
use crate::trace::{Field, Trace, field};

pub use entry::SampleEntry;
pub use fragment::{Fragment, Run, RunSample, TrackFragment};
pub use movie::{Movie, Track};
pub use write::Writer;

const CLAUSE: &str = "ISO 14496-12 §4.2";

static SIZE: Field =
    field("size", CLAUSE, "Bytes of the box, this field included; 1: see largesize; 0: to the end.");
static TYPE: Field = field("type", CLAUSE, "Four characters that say what the box holds.");
static LARGE: Field = field("largesize", CLAUSE, "Bytes of the box where 32 bits are too few.");
static UUID: Field = field("usertype", CLAUSE, "The type of a box that is nobody's standard.");
static VERSION: Field = field("version", CLAUSE, "Which layout the box has.");
static FLAGS: Field = field("flags", CLAUSE, "What is present, or how it is meant; each box says.");
static SKIPPED: Field = field("content", CLAUSE, "Content of a box that is passed over.");
static COUNT: Field = field("entry_count", CLAUSE, "Entries of the table that follows.");
static BOX: Field = field("box", CLAUSE, "A box and what it holds.");

/// Boxes nested deeper than this are not followed.
const DEPTH: u32 = 16;

/// The type of a box.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BoxType(pub [u8; 4]);

impl fmt::Display for BoxType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{}", byte.escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for BoxType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The head of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoxHeader {
    /// What the box holds.
    pub kind: BoxType,
    /// Bytes of this head.
    pub header: u8,
    /// Bytes of the whole box; `None` where it goes on to the end of what encloses it.
    pub size: Option<u64>,
}

impl BoxHeader {
    /// Reads a head. A size that does not even hold the head is an error.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        let short = c.u32(&SIZE)?;
        let kind = BoxType(c.u32(&TYPE)?.to_be_bytes());
        let (mut header, size) = match short {
            0 => (8u8, None),
            1 => (16, Some(c.u64(&LARGE)?)),
            n => (8, Some(u64::from(n))),
        };
        if kind.0 == *b"uuid" {
            c.bytes(&UUID, 16)?;
            header = header.saturating_add(16);
        }
        match size {
            Some(size) if size < u64::from(header) => {
                Err(c.refuse(&SIZE, u64::from(header), "the head at least", size))
            }
            _ => Ok(Self { kind, header, size }),
        }
    }

    /// Bytes of content, where the size says.
    pub fn content(&self) -> Option<u64> {
        self.size.map(|size| size.saturating_sub(u64::from(self.header)))
    }
}

/// Bytes that must be there to know a box: 8, or with the long size or a user type up to 32. `None` where `bytes`
/// hold a whole head.
pub fn head_needs(bytes: &[u8]) -> Option<usize> {
    let need = match (bytes.get(..4), bytes.get(4..8)) {
        (Some(size), Some(kind)) => {
            let long = if size == [0, 0, 0, 1] { 16usize } else { 8 };
            long.saturating_add(if kind == b"uuid" { 16 } else { 0 })
        }
        _ => 8,
    };
    (bytes.len() < need).then_some(need)
}

/// A box that is being read: where it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inside {
    /// What it is.
    pub kind: BoxType,
    /// Position of the cursor behind it.
    pub end: usize,
    depth: u32,
}

impl Inside {
    /// Everything the cursor has left.
    pub fn all<T: Trace>(c: &Cursor<'_, T>) -> Self {
        let end = c.position().saturating_add(c.remaining());
        Self { kind: BoxType(*b"file"), end, depth: 0 }
    }

    /// Bytes left of it.
    pub fn left<T: Trace>(&self, c: &Cursor<'_, T>) -> usize {
        self.end.saturating_sub(c.position())
    }

    /// Hands each box within to `f`; what `f` leaves of it is skipped.
    pub fn boxes<'b, T: Trace>(
        &self,
        c: &mut Cursor<'b, T>,
        f: &mut dyn FnMut(&mut Cursor<'b, T>, Inside) -> Result<()>,
    ) -> Result<()> {
        let depth = self.depth.saturating_add(1);
        if depth > DEPTH {
            return Err(c.error(&BOX, Problem::TooDeep { limit: u64::from(DEPTH) }));
        }
        // Up to 7 bytes are no box: some writers end containers with four zeros.
        while self.left(c) >= 8 {
            c.group(&BOX, |c| {
                let start = c.position();
                let head = BoxHeader::decode(c)?;
                let size = head.size.map_or(usize::MAX, |s| usize::try_from(s).unwrap_or(usize::MAX));
                let end = start.saturating_add(size);
                if head.size.is_some() && end > self.end {
                    let (limit, got) = (self.end.saturating_sub(start) as u64, size as u64);
                    let mut error = c.error(&SIZE, Problem::TooLarge { limit, got });
                    error.at = error.at.saturating_sub(u64::from(head.header));
                    return Err(error);
                }
                let inside = Inside { kind: head.kind, end: end.min(self.end), depth };
                f(c, inside)?;
                inside.finish(c)
            })?;
        }
        self.finish(c)
    }

    /// Skips what is left of it. Reading beyond it is an error: its fields said more than its size.
    fn finish<T: Trace>(&self, c: &mut Cursor<'_, T>) -> Result<()> {
        if c.position() > self.end {
            let limit = self.end as u64;
            return Err(c.error(&SIZE, Problem::TooLarge { limit, got: c.position() as u64 }));
        }
        let left = self.left(c);
        c.bytes(&SKIPPED, left)?;
        Ok(())
    }

    /// Version and flags of a full box.
    pub fn full<T: Trace>(&self, c: &mut Cursor<'_, T>) -> Result<(u8, u32)> {
        Ok((c.u8(&VERSION)?, c.u24(&FLAGS)?))
    }

    /// The entries of a table: their count, which has to fit into the box at `size` bytes each.
    pub fn count<T: Trace>(&self, c: &mut Cursor<'_, T>, size: usize) -> Result<u32> {
        let count = c.u32(&COUNT)?;
        let room = self.left(c).checked_div(size).unwrap_or(usize::MAX);
        if usize::try_from(count).unwrap_or(usize::MAX) > room {
            let mut error = c.error(&COUNT, Problem::TooLarge { limit: room as u64, got: u64::from(count) });
            error.at = error.at.saturating_sub(4);
            return Err(error);
        }
        Ok(count)
    }
}

/// Reads a number that has 32 bits in version 0 and 64 in version 1.
pub(crate) fn sized<T: Trace>(c: &mut Cursor<'_, T>, version: u8, field: &'static Field) -> Result<u64> {
    if version == 1 { c.u64(field) } else { c.u32(field).map(u64::from) }
}

/// Reads a signed 32 bit number.
pub(crate) fn i32_of<T: Trace>(c: &mut Cursor<'_, T>, field: &'static Field) -> Result<i32> {
    c.u32(field).map(u32::cast_signed)
}

#[cfg(test)]
mod tests;
