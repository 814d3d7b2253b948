//! Program specific information: which programs there are, and of which streams (ISO 13818-1 §2.4.4).
//!
//! ```text
//! | table(8) | syntax(1) 0 reserved(2) length(12) | id(16) | reserved(2) version(5) current(1) |
//! | section(8) | last section(8) | content ... | CRC(32) |
//! ```

use crate::cursor::Cursor;
use crate::error::{Problem, Result};
use crate::trace::{Field, Trace, field};

const SPEC: &str = "ISO 13818-1 §2.4.4.3";
const MAP: &str = "ISO 13818-1 §2.4.4.8";
static GROUP: Field = field("section", SPEC, "A piece of a table.");
static TABLE: Field = field("table_id", SPEC, "0: program association, 2: program map.");
static SYNTAX: Field = field("section_syntax_indicator", SPEC, "1: the head below and a CRC follow.");
static RESERVED: Field = field("reserved", SPEC, "Ones.");
static LENGTH: Field = field("section_length", SPEC, "Bytes behind this field, at most 1021.");
static ID: Field = field("table_id_extension", SPEC, "Transport stream of a PAT, program of a PMT.");
static VERSION: Field = field("version_number", SPEC, "Rises with every change, modulo 32.");
static CURRENT: Field = field("current_next_indicator", SPEC, "0: will hold only later.");
static NUMBER: Field = field("section_number", SPEC, "Of this section.");
static LAST: Field = field("last_section_number", SPEC, "Of the table.");
static CRC: Field = field("CRC_32", SPEC, "Makes the CRC over the whole section zero.");
static CONTENT: Field = field("content", SPEC, "Of a table that is not looked into.");
static PROGRAM: Field = field("program_number", SPEC, "0: the network's PID follows.");
static PROGRAM_PID: Field = field("program_map_PID", SPEC, "Where the program's map is.");
static PCR_PID: Field = field("PCR_PID", MAP, "Which packets carry the program's clock; 8191: none.");
static INFO_LENGTH: Field = field("info length", MAP, "Bytes of descriptors.");
static STREAM_TYPE: Field = field("stream_type", MAP, "What the stream is coded in (table 2-34).");
static STREAM_PID: Field = field("elementary_PID", MAP, "Which packets carry it.");
static DESCRIPTOR: Field = field("descriptor", "ISO 13818-1 §2.6", "More about a program or a stream.");
static TAG: Field = field("descriptor_tag", "ISO 13818-1 §2.6", "Which one.");
static SIZE: Field = field("descriptor_length", "ISO 13818-1 §2.6", "Bytes that follow.");
static DATA: Field = field("descriptor data", "ISO 13818-1 §2.6", "As the tag says.");

/// Largest section.
const MAX_SECTION: usize = 4096;
/// Programs and streams read of one table.
const MAX_ENTRIES: usize = 64;

/// A program of a PAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its number.
    pub number: u16,
    /// PID of its map.
    pub pid: u16,
}

/// A descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Which one.
    pub tag: u8,
    /// Its content.
    pub data: Vec<u8>,
}

/// A stream of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elementary {
    /// Table 2-34.
    pub stream_type: u8,
    /// Its PID.
    pub pid: u16,
    /// What else is said of it.
    pub descriptors: Vec<Descriptor>,
}

impl Elementary {
    /// The content of its first descriptor with this tag.
    pub fn descriptor(&self, tag: u8) -> Option<&[u8]> {
        self.descriptors.iter().find(|descriptor| descriptor.tag == tag).map(|found| found.data.as_slice())
    }

    /// The four letters of its registration descriptor.
    pub fn registration(&self) -> Option<[u8; 4]> {
        self.descriptor(5)?.first_chunk::<4>().copied()
    }
}

/// A program's map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// PID of its clock.
    pub pcr_pid: u16,
    /// Its streams.
    pub streams: Vec<Elementary>,
}

/// A section with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    /// Program association.
    Programs(Vec<Program>),
    /// The map of a program.
    Map(u16, Map),
    /// Any other table, or one that holds only later.
    Other(u8),
}

impl Section {
    /// Reads a whole section and checks its CRC.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&GROUP, |c| {
            let whole = c.peek();
            let table = c.u8(&TABLE)?;
            let syntax = c.flag(&SYNTAX)?;
            c.bits(&RESERVED, 3)?;
            let length = usize::try_from(c.bits(&LENGTH, 12)?).unwrap_or(0);
            if length > c.remaining() {
                let problem = Problem::Short { want: length as u64, got: c.remaining() as u64 };
                return Err(c.error(&LENGTH, problem));
            }
            let behind = c.remaining().saturating_sub(length);
            if !syntax || !matches!(table, 0 | 2) {
                // With the syntax bit, other tables have the same head and end; their content is theirs.
                let framed = syntax && length >= 9;
                if framed {
                    head(c)?;
                }
                c.bytes(&CONTENT, if framed { length.saturating_sub(9) } else { length })?;
                if framed {
                    c.u32(&CRC)?;
                }
                return Ok(Self::Other(table));
            }
            let sum = crc32(whole.get(..length.saturating_add(3)).unwrap_or_default());
            if length < 9 {
                return Err(c.error(&LENGTH, Problem::Short { want: 9, got: length as u64 }));
            }
            let (id, current) = head(c)?;
            // What is left before the four bytes of the CRC.
            let left = |c: &Cursor<'_, T>| c.remaining().saturating_sub(behind).saturating_sub(4);
            let read = if table == 0 {
                let mut programs = Vec::new();
                while left(c) >= 4 && programs.len() < MAX_ENTRIES {
                    let number = c.u16(&PROGRAM)?;
                    c.bits(&RESERVED, 3)?;
                    let pid = (c.bits(&PROGRAM_PID, 13)? & 0x1fff) as u16;
                    programs.push(Program { number, pid });
                }
                Self::Programs(programs)
            } else {
                c.bits(&RESERVED, 3)?;
                let pcr_pid = (c.bits(&PCR_PID, 13)? & 0x1fff) as u16;
                descriptors(c, left(c))?;
                let mut streams = Vec::new();
                while left(c) >= 5 && streams.len() < MAX_ENTRIES {
                    let stream_type = c.u8(&STREAM_TYPE)?;
                    c.bits(&RESERVED, 3)?;
                    let pid = (c.bits(&STREAM_PID, 13)? & 0x1fff) as u16;
                    let descriptors = descriptors(c, left(c))?;
                    streams.push(Elementary { stream_type, pid, descriptors });
                }
                Self::Map(id, Map { pcr_pid, streams })
            };
            let rest = left(c);
            if rest > 0 {
                c.bytes(&CONTENT, rest)?;
            }
            let crc = c.u32(&CRC)?;
            if sum != 0 {
                return Err(c.refuse(&CRC, 4, "the CRC of the section", u64::from(crc)));
            }
            Ok(if current { read } else { Self::Other(table) })
        })
    }
}

/// What stands behind the length: the table's id, and whether it holds already.
fn head<T: Trace>(c: &mut Cursor<'_, T>) -> Result<(u16, bool)> {
    let id = c.u16(&ID)?;
    c.bits(&RESERVED, 2)?;
    c.bits(&VERSION, 5)?;
    let current = c.flag(&CURRENT)?;
    c.u8(&NUMBER)?;
    c.u8(&LAST)?;
    Ok((id, current))
}

/// Descriptors with their length before them, `room` bytes at most.
fn descriptors<T: Trace>(c: &mut Cursor<'_, T>, room: usize) -> Result<Vec<Descriptor>> {
    c.bits(&RESERVED, 4)?;
    let length = usize::try_from(c.bits(&INFO_LENGTH, 12)?).unwrap_or(0);
    if length.saturating_add(2) > room {
        let problem = Problem::TooLarge { limit: room.saturating_sub(2) as u64, got: length as u64 };
        return Err(c.error(&INFO_LENGTH, problem));
    }
    let end = c.remaining().saturating_sub(length);
    let mut found = Vec::new();
    while c.remaining() > end {
        let one = c.group(&DESCRIPTOR, |c| {
            let tag = c.u8(&TAG)?;
            let size = usize::from(c.u8(&SIZE)?);
            Ok(Descriptor { tag, data: c.bytes(&DATA, size)?.to_vec() })
        })?;
        found.push(one);
    }
    Ok(found)
}

/// Puts the sections of one PID together.
#[derive(Clone, Debug, Default)]
pub struct Sections {
    kept: Vec<u8>,
    open: bool,
}

impl Sections {
    /// Takes the payload of a packet, and hands on sections that are whole.
    pub fn payload(&mut self, start: bool, payload: &[u8], mut whole: impl FnMut(&[u8])) {
        let mut rest = payload;
        if start {
            let Some((pointer, behind)) = payload.split_first() else { return };
            let (before, begins) = behind.split_at(usize::from(*pointer).min(behind.len()));
            self.push(before, &mut whole);
            self.kept.clear();
            self.open = true;
            rest = begins;
        }
        self.push(rest, &mut whole);
    }

    /// Packets are missing.
    pub fn lost(&mut self) {
        self.kept.clear();
        self.open = false;
    }

    fn push(&mut self, bytes: &[u8], whole: &mut impl FnMut(&[u8])) {
        if !self.open {
            return;
        }
        self.kept.extend_from_slice(bytes);
        loop {
            let size = match self.kept.as_slice() {
                // Filling up to the end of the packet.
                [0xff, ..] => {
                    self.lost();
                    return;
                }
                [_, high, low, ..] => usize::from(u16::from_be_bytes([high & 0xf, *low])).saturating_add(3),
                _ => return,
            };
            let Some(section) = self.kept.get(..size) else {
                if size > MAX_SECTION {
                    self.lost();
                }
                return;
            };
            whole(section);
            self.kept.drain(..size);
        }
    }
}

/// The CRC of sections: zero over one with its own CRC behind it (ISO 13818-1 annex A).
pub fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            let carry = crc & 0x8000_0000 != 0;
            crc << 1 ^ if carry { 0x04c1_1db7 } else { 0 }
        })
    })
}
