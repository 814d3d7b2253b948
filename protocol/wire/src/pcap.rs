//! pcap: the classic capture file format (draft-ietf-opsawg-pcap).
//!
//! ```text
//! file    magic 4 | major 2 | minor 2 | reserved 4 | reserved 4 | snap length 4 | FCS, link type 4 | record*
//! record  seconds 4 | fraction 4 | captured length 4 | original length 4 | data
//! ```
//!
//! The writer's byte order shows in the magic number, and whether fractions are micro- or nanoseconds.

use crate::cursor::Cursor;
use crate::error::Result;
use crate::net::LinkType;
use crate::trace::{Field, Trace, field};

static FILE: Field =
    field("pcap file header", "draft-ietf-opsawg-pcap §4", "Holds for all packets of the file.");
static MAGIC: Field = field(
    "magic number",
    "draft-ietf-opsawg-pcap §4",
    "0xA1B2C3D4 for microseconds, 0xA1B23C4D for nanoseconds, in the writer's byte order.",
);
static MAJOR: Field = field("major version", "draft-ietf-opsawg-pcap §4", "2.");
static MINOR: Field = field("minor version", "draft-ietf-opsawg-pcap §4", "4.");
static RESERVED: Field = field("reserved", "draft-ietf-opsawg-pcap §4", "0; once time zone and accuracy.");
static SNAP_LENGTH: Field =
    field("snap length", "draft-ietf-opsawg-pcap §4", "Most bytes kept of a packet; 0 for no limit.");
static LINK_TYPE: Field = field(
    "link type",
    "draft-ietf-opsawg-pcap §4",
    "LINKTYPE_ number in the low 16 bits; the length of the frame check sequence in the top ones.",
);
static RECORD: Field = field("packet record", "draft-ietf-opsawg-pcap §5", "One packet.");
static SECONDS: Field = field("seconds", "draft-ietf-opsawg-pcap §5", "Time of the packet since 1970.");
static FRACTION: Field =
    field("fraction", "draft-ietf-opsawg-pcap §5", "Micro- or nanoseconds, by the magic number.");
static CAPTURED: Field =
    field("captured length", "draft-ietf-opsawg-pcap §5", "Bytes of the packet in the file.");
static ORIGINAL: Field =
    field("original length", "draft-ietf-opsawg-pcap §5", "Bytes of the packet on the wire.");
static DATA: Field = field("packet data", "draft-ietf-opsawg-pcap §5", "From the link header on.");
static EXTRA: Field =
    field("interface and protocol", "Kuznetzov's variant", "8 bytes that one old Linux tcpdump added.");

/// Length of the file header in bytes.
pub const FILE_HEADER: usize = 24;

/// Largest piece of a capture file that is read or written, in bytes: far above what capture programs write, far below what
/// a length field may claim.
pub(crate) const MAX_RECORD: u32 = 16 << 20;
/// Largest packet a capture program writes (`MAXIMUM_SNAPLEN` of libpcap), in bytes.
pub const MAX_PACKET: u32 = 262_144;

const MICRO: u32 = 0xA1B2_C3D4;
const NANO: u32 = 0xA1B2_3C4D;
const MODIFIED: u32 = 0xA1B2_CD34;

/// The order in which a file's writer stored its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first, as x86 and ARM machines write.
    #[default]
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// Reads a 16 bit number in this order.
    pub fn u16<T: Trace>(self, c: &mut Cursor<'_, T>, field: &'static Field) -> Result<u16> {
        match self {
            Self::Little => c.u16le(field),
            Self::Big => c.u16(field),
        }
    }

    /// Reads a 32 bit number in this order.
    pub fn u32<T: Trace>(self, c: &mut Cursor<'_, T>, field: &'static Field) -> Result<u32> {
        match self {
            Self::Little => c.u32le(field),
            Self::Big => c.u32(field),
        }
    }

    /// A 64 bit number from bytes that were read already; missing ones count as 0.
    pub fn u64_of(self, bytes: &[u8]) -> u64 {
        let mut eight = [0; 8];
        eight.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        match self {
            Self::Little => u64::from_le_bytes(eight),
            Self::Big => u64::from_be_bytes(eight),
        }
    }
}

/// What holds for all packets of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Byte order of all numbers in the file's own headers.
    pub order: ByteOrder,
    /// Fractions are nanoseconds, not microseconds.
    pub nanoseconds: bool,
    /// Major and minor version, 2 and 4.
    pub version: (u16, u16),
    /// Most bytes kept of a packet; 0 for no limit.
    pub snap_len: u32,
    /// What packets begin with.
    pub link: LinkType,
    /// Each record header is followed by 8 more bytes.
    modified: bool,
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Seconds since 1970.
    pub seconds: u32,
    /// Micro- or nanoseconds.
    pub fraction: u32,
    /// Bytes of the packet in the file.
    pub captured: u32,
    /// Bytes of the packet on the wire.
    pub original: u32,
}

impl FileHeader {
    /// Length of a record's header in bytes.
    pub fn record_header(&self) -> usize {
        if self.modified { 24 } else { 16 }
    }

    /// Largest captured length that is taken for true, in bytes.
    pub fn max_captured(&self) -> u32 {
        self.snap_len.clamp(MAX_PACKET, MAX_RECORD)
    }

    /// A record's time in nanoseconds since 1970.
    pub fn time_ns(&self, record: &Record) -> i64 {
        let unit = if self.nanoseconds { 1 } else { 1_000 };
        let seconds = i64::from(record.seconds).saturating_mul(1_000_000_000);
        seconds.saturating_add(i64::from(record.fraction).saturating_mul(unit))
    }

    /// True where a record could begin like this: what a reader asks who has lost its place.
    pub fn is_plausible(&self, record: &Record) -> bool {
        let fractions = if self.nanoseconds { 1_000_000_000 } else { 1_000_000 };
        (1..=self.max_captured()).contains(&record.captured)
            && record.captured <= record.original
            && record.original <= MAX_RECORD
            && record.fraction < fractions
    }
}

/// Reads the file header.
pub fn file_header<T: Trace>(c: &mut Cursor<'_, T>) -> Result<FileHeader> {
    c.group(&FILE, |c| {
        let magic = c.u32(&MAGIC)?;
        let big = matches!(magic, MICRO | NANO | MODIFIED);
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        let native = if big { magic } else { magic.swap_bytes() };
        if !matches!(native, MICRO | NANO | MODIFIED) {
            return Err(c.refuse(&MAGIC, 4, "0xA1B2C3D4 or 0xA1B23C4D in either order", u64::from(magic)));
        }
        let version = (order.u16(c, &MAJOR)?, order.u16(c, &MINOR)?);
        order.u32(c, &RESERVED)?;
        order.u32(c, &RESERVED)?;
        let snap_len = order.u32(c, &SNAP_LENGTH)?;
        let link = order.u32(c, &LINK_TYPE)?;
        let link = LinkType(u16::try_from(link & 0xffff).unwrap_or(0));
        Ok(FileHeader {
            order,
            nanoseconds: native == NANO,
            version,
            snap_len,
            link,
            modified: native == MODIFIED,
        })
    })
}

/// Reads a record's header; `captured` bytes of data follow it.
pub fn record<T: Trace>(c: &mut Cursor<'_, T>, file: &FileHeader) -> Result<Record> {
    c.group(&RECORD, |c| {
        let order = file.order;
        let seconds = order.u32(c, &SECONDS)?;
        let fraction = order.u32(c, &FRACTION)?;
        let captured = order.u32(c, &CAPTURED)?;
        let original = order.u32(c, &ORIGINAL)?;
        if captured > file.max_captured() {
            let want = "a length that capture programs write";
            return Err(c.refuse(&CAPTURED, 8, want, u64::from(captured)));
        }
        if (seconds, fraction, captured, original) == (0, 0, 0, 0) {
            return Err(c.refuse(&ORIGINAL, 4, "a packet's length", 0));
        }
        if file.modified {
            c.bytes(&EXTRA, 8)?;
        }
        Ok(Record { seconds, fraction, captured, original })
    })
}

/// Reads a whole record, its data as one field.
pub fn whole_record<T: Trace>(c: &mut Cursor<'_, T>, file: &FileHeader) -> Result<()> {
    record(c, file)?;
    c.rest(&DATA);
    Ok(())
}

/// Appends the header of a little-endian file with nanosecond timestamps.
pub fn write_file_header(out: &mut Vec<u8>, link: LinkType, snap_len: u32) {
    out.extend_from_slice(&NANO.to_le_bytes());
    out.extend_from_slice(&2u16.to_le_bytes());
    out.extend_from_slice(&4u16.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&snap_len.to_le_bytes());
    out.extend_from_slice(&u32::from(link.0).to_le_bytes());
}

/// Appends a record to a file begun by [`write_file_header`]; times after 2106 cannot be written and stand still
/// there.
pub fn write_record(out: &mut Vec<u8>, time_ns: u64, data: &[u8], original: u32) {
    let room = usize::try_from(MAX_PACKET).unwrap_or(0);
    let data = data.get(..data.len().min(room)).unwrap_or_default();
    let captured = u32::try_from(data.len()).unwrap_or(0);
    let seconds = u32::try_from(time_ns / 1_000_000_000).unwrap_or(u32::MAX);
    let fraction = u32::try_from(time_ns % 1_000_000_000).unwrap_or(0);
    for word in [seconds, fraction, captured, original.max(captured)] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Tree;

    #[test]
    fn headers_in_both_orders_and_resolutions() {
        let big =
            [0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 253];
        let file = file_header(&mut Cursor::new(&big)).unwrap();
        assert_eq!((file.order, file.nanoseconds), (ByteOrder::Big, false));
        assert_eq!((file.version, file.snap_len, file.link), ((2, 4), 65535, LinkType(253)));
        let record = Record { seconds: 2, fraction: 3, captured: 0, original: 0 };
        assert_eq!(file.time_ns(&record), 2_000_003_000);

        let mut little = Vec::new();
        write_file_header(&mut little, LinkType::RAW, 96);
        let file = file_header(&mut Cursor::new(&little)).unwrap();
        assert_eq!((file.order, file.nanoseconds, file.link), (ByteOrder::Little, true, LinkType::RAW));
        assert_eq!(file.time_ns(&record), 2_000_000_003);
    }

    #[test]
    fn a_record_comes_back_and_its_fields_tile_it() {
        let mut bytes = Vec::new();
        write_file_header(&mut bytes, LinkType::RAW, 0);
        write_record(&mut bytes, 5_000_000_007, b"abc", 1500);
        let mut c = Cursor::traced(&bytes, Tree::default());
        let file = file_header(&mut c).unwrap();
        let read = record(&mut c, &file).unwrap();
        assert_eq!(read, Record { seconds: 5, fraction: 7, captured: 3, original: 1500 });
        assert_eq!(c.peek(), b"abc");
        let tree = c.into_trace();
        let mut next = 0;
        for leaf in tree.leaves() {
            assert_eq!(leaf.bits.start, next);
            next = leaf.bits.end;
        }
        assert_eq!(next, 40 * 8);
    }

    #[test]
    fn a_length_no_program_writes_is_refused_at_its_position() {
        let mut bytes = Vec::new();
        write_file_header(&mut bytes, LinkType::RAW, 0);
        let file = file_header(&mut Cursor::new(&bytes)).unwrap();
        let header = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0x10];
        let error = record(&mut Cursor::based(&header, 24), &file).unwrap_err();
        assert_eq!(
            error.to_string(),
            "byte 32: captured length in packet record: want a length that capture programs write, got 268435456 (0x10000000)"
        );
    }
}
