//! Decodes pcapng blocks, one whole block at a time.

use super::{
    BYTE_ORDER_MAGIC, Block, Interface, MAX_BLOCK, Packet, Resolution, Section, Statistics,
    {ENHANCED_PACKET, INTERFACE, OBSOLETE_PACKET, SECTION_HEADER, SIMPLE_PACKET, STATISTICS},
};
use crate::cursor::Cursor;
use crate::error::Result;
use crate::net::LinkType;
use crate::pcap::ByteOrder;
use crate::trace::{Field, Trace, field};

static BLOCK: Field = field("block", "draft-ietf-opsawg-pcapng §3.1", "Any block; others may be skipped.");
static SHB: Field = field("section header block", "draft-ietf-opsawg-pcapng §4.1", "Begins a section.");
static IDB: Field =
    field("interface description block", "draft-ietf-opsawg-pcapng §4.2", "Where packets were captured.");
static EPB: Field = field("enhanced packet block", "draft-ietf-opsawg-pcapng §4.3", "One packet.");
static SPB: Field = field(
    "simple packet block",
    "draft-ietf-opsawg-pcapng §4.4",
    "One packet of interface 0, without a time.",
);
static PB: Field =
    field("packet block", "draft-ietf-opsawg-pcapng App. A", "One packet, in the form before 2004.");
static ISB: Field =
    field("interface statistics block", "draft-ietf-opsawg-pcapng §4.6", "What the interface counted.");
static TYPE: Field = field("block type", "draft-ietf-opsawg-pcapng §3.1", "What the block holds.");
static LENGTH: Field = field(
    "block total length",
    "draft-ietf-opsawg-pcapng §3.1",
    "Of the whole block in bytes, a multiple of 4.",
);
static LENGTH_AGAIN: Field =
    field("block total length (again)", "draft-ietf-opsawg-pcapng §3.1", "The same, to read backwards.");
static BODY: Field = field("block body", "draft-ietf-opsawg-pcapng §3.1", "What the block holds.");
static MAGIC: Field =
    field("byte-order magic", "draft-ietf-opsawg-pcapng §4.1", "0x1A2B3C4D in the section's byte order.");
static MAJOR: Field = field("major version", "draft-ietf-opsawg-pcapng §4.1", "1.");
static MINOR: Field =
    field("minor version", "draft-ietf-opsawg-pcapng §4.1", "0 (or 2, which means the same).");
static SECTION_LENGTH: Field =
    field("section length", "draft-ietf-opsawg-pcapng §4.1", "Bytes of the blocks that follow, or all ones.");
static LINK_TYPE: Field = field("link type", "draft-ietf-opsawg-pcapng §4.2", "LINKTYPE_ number.");
static RESERVED: Field = field("reserved", "draft-ietf-opsawg-pcapng §4.2", "0.");
static SNAP_LENGTH: Field =
    field("snap length", "draft-ietf-opsawg-pcapng §4.2", "Most bytes kept of a packet; 0 for no limit.");
static INTERFACE_ID: Field =
    field("interface id", "draft-ietf-opsawg-pcapng §4.3", "Which interface, counted from 0 in the section.");
static DROPS: Field = field(
    "drops count",
    "draft-ietf-opsawg-pcapng App. A",
    "Packets lost since the one before; 0xFFFF: unknown.",
);
static TIME_HIGH: Field =
    field("timestamp (high)", "draft-ietf-opsawg-pcapng §4.3", "Upper 32 bits, in units of the interface.");
static TIME_LOW: Field = field("timestamp (low)", "draft-ietf-opsawg-pcapng §4.3", "Lower 32 bits.");
static CAPTURED: Field =
    field("captured length", "draft-ietf-opsawg-pcapng §4.3", "Bytes of the packet in the block.");
static ORIGINAL: Field = field("original length", "draft-ietf-opsawg-pcapng §4.3", "Bytes on the wire.");
static DATA: Field = field("packet data", "draft-ietf-opsawg-pcapng §4.3", "From the link header on.");
static PADDING: Field = field("padding", "draft-ietf-opsawg-pcapng §3.1", "Up to a multiple of 4 bytes.");
static OPTION: Field = field("option", "draft-ietf-opsawg-pcapng §3.5", "A code, a length and a value.");
static CODE: Field =
    field("option code", "draft-ietf-opsawg-pcapng §3.5", "1 is a comment, 0 ends the list.");
static OPTION_LENGTH: Field =
    field("option length", "draft-ietf-opsawg-pcapng §3.5", "Of the value, without its padding.");
static VALUE: Field = field("option value", "draft-ietf-opsawg-pcapng §3.5", "By code and block type.");

/// A block's type, length and byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Block type.
    pub kind: u32,
    /// Length of the whole block in bytes: at least 12, a multiple of 4, at most [`MAX_BLOCK`].
    pub total: u32,
    /// Byte order of the block: the section's, or a new section's own.
    pub order: ByteOrder,
}

/// Reads a block's head, of which `bytes` has to hold 12 bytes. `base` is their position in the file.
pub fn head(bytes: &[u8], base: u64, order: ByteOrder) -> Result<Head> {
    let mut c = Cursor::based(bytes, base);
    c.group(&BLOCK, |c| begin(c, order))
}

/// Decodes a block, of which `c` has to hold all [`Head::total`] bytes, in the byte order of its section.
pub fn block<'b, T: Trace>(c: &mut Cursor<'b, T>, order: ByteOrder) -> Result<Block<'b>> {
    let kind = c.peek().get(..4).map_or(0, |k| k.iter().fold(0, |v, b| v << 8 | u32::from(*b)));
    let kind = if order == ByteOrder::Little { kind.swap_bytes() } else { kind };
    let name = match kind {
        SECTION_HEADER => &SHB,
        INTERFACE => &IDB,
        ENHANCED_PACKET => &EPB,
        SIMPLE_PACKET => &SPB,
        OBSOLETE_PACKET => &PB,
        STATISTICS => &ISB,
        _ => &BLOCK,
    };
    c.group(name, |c| {
        let start = c.position();
        let head = begin(c, order)?;
        let end = start.saturating_add(usize::try_from(head.total).unwrap_or(usize::MAX)).saturating_sub(4);
        let order = head.order;
        let block = match head.kind {
            SECTION_HEADER => Block::Section(section(c, order, end)?),
            INTERFACE => Block::Interface(interface(c, order, end)?),
            ENHANCED_PACKET => Block::Packet(packet(c, order, end, false)?),
            OBSOLETE_PACKET => Block::Packet(packet(c, order, end, true)?),
            SIMPLE_PACKET => Block::Simple(simple(c, order, end)?),
            STATISTICS => Block::Statistics(statistics(c, order, end)?),
            kind => Block::Other(kind),
        };
        c.bytes(&BODY, end.saturating_sub(c.position()))?;
        let again = order.u32(c, &LENGTH_AGAIN)?;
        if again != head.total {
            return Err(c.refuse(&LENGTH_AGAIN, 4, "the length at the block's beginning", u64::from(again)));
        }
        Ok(block)
    })
}

/// Reads type and length. A section header's byte order shows behind them.
fn begin<T: Trace>(c: &mut Cursor<'_, T>, order: ByteOrder) -> Result<Head> {
    let mut order = order;
    if c.peek().get(..4) == Some(&SECTION_HEADER.to_be_bytes()[..]) {
        order = match c.peek().get(8..12) {
            Some([0x1a, 0x2b, 0x3c, 0x4d]) => ByteOrder::Big,
            _ => ByteOrder::Little,
        };
    }
    let kind = order.u32(c, &TYPE)?;
    let total = order.u32(c, &LENGTH)?;
    if !(12..=MAX_BLOCK).contains(&total) || total & 3 != 0 {
        return Err(c.refuse(&LENGTH, 4, "a multiple of 4 from 12 to 16 MiB", u64::from(total)));
    }
    Ok(Head { kind, total, order })
}

fn section<T: Trace>(c: &mut Cursor<'_, T>, order: ByteOrder, end: usize) -> Result<Section> {
    let magic = order.u32(c, &MAGIC)?;
    if magic != BYTE_ORDER_MAGIC {
        return Err(c.refuse(&MAGIC, 4, "0x1A2B3C4D in either order", u64::from(magic)));
    }
    let version = (order.u16(c, &MAJOR)?, order.u16(c, &MINOR)?);
    if version.0 != 1 {
        return Err(c.refuse(&MAJOR, 4, "1", u64::from(version.0)));
    }
    c.bytes(&SECTION_LENGTH, 8)?;
    let mut section = Section { order, version, ..Section::default() };
    options(c, order, end, |code, value| match code {
        1 => section.comment = Some(text(value)),
        2 => section.hardware = Some(text(value)),
        3 => section.os = Some(text(value)),
        4 => section.user_appl = Some(text(value)),
        _ => {}
    })?;
    Ok(section)
}

fn interface<T: Trace>(c: &mut Cursor<'_, T>, order: ByteOrder, end: usize) -> Result<Interface> {
    let link = LinkType(order.u16(c, &LINK_TYPE)?);
    order.u16(c, &RESERVED)?;
    let snap_len = order.u32(c, &SNAP_LENGTH)?;
    let mut interface = Interface { link, snap_len, ..Interface::default() };
    options(c, order, end, |code, value| match (code, value) {
        (2, _) => interface.name = Some(text(value)),
        (9, [resolution]) => interface.resolution = Resolution(*resolution),
        (14, [..]) if value.len() == 8 => interface.offset_s = order.u64_of(value).cast_signed(),
        _ => {}
    })?;
    Ok(interface)
}

fn packet<'b, T: Trace>(
    c: &mut Cursor<'b, T>,
    order: ByteOrder,
    end: usize,
    obsolete: bool,
) -> Result<Packet<'b>> {
    let interface = if obsolete {
        let interface = order.u16(c, &INTERFACE_ID)?;
        order.u16(c, &DROPS)?;
        u32::from(interface)
    } else {
        order.u32(c, &INTERFACE_ID)?
    };
    let high = order.u32(c, &TIME_HIGH)?;
    let low = order.u32(c, &TIME_LOW)?;
    let captured = order.u32(c, &CAPTURED)?;
    let orig_len = order.u32(c, &ORIGINAL)?;
    let room = end.saturating_sub(c.position());
    let size = usize::try_from(captured).unwrap_or(usize::MAX);
    if size > room {
        return Err(c.refuse(&CAPTURED, 8, "at most what the block holds", u64::from(captured)));
    }
    let data = c.bytes(&DATA, size)?;
    c.bytes(&PADDING, (size.wrapping_neg() & 3).min(room.saturating_sub(size)))?;
    // The packet is whole, whatever its options are.
    let _ = options(c, order, end, |_, _| {});
    Ok(Packet { interface, ticks: u64::from(high) << 32 | u64::from(low), data, orig_len })
}

fn simple<'b, T: Trace>(c: &mut Cursor<'b, T>, order: ByteOrder, end: usize) -> Result<Packet<'b>> {
    let orig_len = order.u32(c, &ORIGINAL)?;
    let room = end.saturating_sub(c.position());
    let size = room.min(usize::try_from(orig_len).unwrap_or(usize::MAX));
    let data = c.bytes(&DATA, size)?;
    c.bytes(&PADDING, room.saturating_sub(size))?;
    Ok(Packet { interface: 0, ticks: 0, data, orig_len })
}

fn statistics<T: Trace>(c: &mut Cursor<'_, T>, order: ByteOrder, end: usize) -> Result<Statistics> {
    let mut statistics = Statistics { interface: order.u32(c, &INTERFACE_ID)?, ..Statistics::default() };
    order.u32(c, &TIME_HIGH)?;
    order.u32(c, &TIME_LOW)?;
    options(c, order, end, |code, value| {
        let counter = match code {
            4 => &mut statistics.received,
            5 => &mut statistics.dropped,
            7 => &mut statistics.os_dropped,
            _ => return,
        };
        if value.len() == 8 {
            *counter = Some(order.u64_of(value));
        }
    })?;
    Ok(statistics)
}

/// Reads options up to `end` or to the one that ends the list.
fn options<T: Trace>(
    c: &mut Cursor<'_, T>,
    order: ByteOrder,
    end: usize,
    mut found: impl FnMut(u16, &[u8]),
) -> Result<()> {
    while end.saturating_sub(c.position()) >= 4 {
        let code = c.group(&OPTION, |c| {
            let code = order.u16(c, &CODE)?;
            let length = order.u16(c, &OPTION_LENGTH)?;
            let size = usize::from(length);
            let room = end.saturating_sub(c.position());
            if size > room {
                return Err(c.refuse(&OPTION_LENGTH, 2, "at most what the block holds", u64::from(length)));
            }
            let value = c.bytes(&VALUE, size)?;
            c.bytes(&PADDING, (size.wrapping_neg() & 3).min(room.saturating_sub(size)))?;
            found(code, value);
            Ok(code)
        })?;
        if code == 0 {
            break;
        }
    }
    Ok(())
}

fn text(value: &[u8]) -> String {
    let value = value.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}
