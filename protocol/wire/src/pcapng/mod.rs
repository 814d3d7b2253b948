//! pcapng: the capture file format of Wireshark, block by block (draft-ietf-opsawg-pcapng).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------------------------------------------------------+
//! |                          Block Type                           |
//! +---------------------------------------------------------------+
//! |                      Block Total Length                       |
//! +---------------------------------------------------------------+
//! /                 Block Body, padded to 32 bits                 /
//! +---------------------------------------------------------------+
//! |                      Block Total Length                       |
//! +---------------------------------------------------------------+
//! ```
//!
//! A section header block (SHB) opens a section and fixes its byte order; interface description blocks (IDB)
//! number the interfaces from 0; enhanced packet blocks (EPB) carry the packets.

use crate::net::LinkType;
use crate::pcap::{ByteOrder, MAX_RECORD};

pub mod read;
pub mod write;

/// Largest block we read or write, in bytes. The format allows 4 GiB; no capture program writes packets
/// above 256 KiB, and name resolution or secrets blocks stay far below this.
pub const MAX_BLOCK: u32 = MAX_RECORD;

/// Section Header Block; the same in both byte orders.
pub const SECTION_HEADER: u32 = 0x0A0D_0D0A;
/// Interface Description Block.
pub const INTERFACE: u32 = 1;
/// Packet Block, obsolete since 2004 and still met.
pub const OBSOLETE_PACKET: u32 = 2;
/// Simple Packet Block.
pub const SIMPLE_PACKET: u32 = 3;
/// Name Resolution Block.
pub const NAME_RESOLUTION: u32 = 4;
/// Interface Statistics Block.
pub const STATISTICS: u32 = 5;
/// Enhanced Packet Block.
pub const ENHANCED_PACKET: u32 = 6;
/// Decryption Secrets Block.
pub const SECRETS: u32 = 10;

/// Where the data begins in an enhanced or an obsolete packet block, in bytes from the block's start.
pub const PACKET_DATA: usize = 28;
/// Where the data begins in a simple packet block, in bytes from the block's start.
pub const SIMPLE_PACKET_DATA: usize = 12;

/// Value of the byte-order magic, read in the section's own byte order.
pub const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;

/// A decoded block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block<'b> {
    /// A section begins: forget the interfaces of the one before.
    Section(Section),
    /// The next interface of the section.
    Interface(Interface),
    /// A packet, from an enhanced or an obsolete packet block.
    Packet(Packet<'b>),
    /// A packet of interface 0 without a time; its data may hold padding beyond the interface's snap length.
    Simple(Packet<'b>),
    /// Counters of an interface.
    Statistics(Statistics),
    /// A block of another type.
    Other(u32),
}

/// A section header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Byte order of the section.
    pub order: ByteOrder,
    /// Major and minor version, 1 and 0.
    pub version: (u16, u16),
    /// The machine.
    pub hardware: Option<String>,
    /// The operating system.
    pub os: Option<String>,
    /// The program that wrote the section.
    pub user_appl: Option<String>,
    /// A sentence for readers; the last one of several.
    pub comment: Option<String>,
}

/// An interface description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// What packets begin with.
    pub link: LinkType,
    /// Most bytes kept of a packet; 0 for no limit.
    pub snap_len: u32,
    /// `eth0` and the like.
    pub name: Option<String>,
    /// Unit of the timestamps.
    pub resolution: Resolution,
    /// Seconds to add to every timestamp.
    pub offset_s: i64,
}

/// The unit of an interface's timestamps (`if_tsresol`): the value of the low 7 bits is a negative power of 10, or of
/// 2 where the top bit is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution(pub u8);

impl Default for Resolution {
    fn default() -> Self {
        Self(6)
    }
}

/// A packet in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'b> {
    /// Interface id, counted from 0 in the section.
    pub interface: u32,
    /// Timestamp in units of the interface.
    pub ticks: u64,
    /// The packet as far as it was captured.
    pub data: &'b [u8],
    /// Its length on the wire in bytes.
    pub orig_len: u32,
}

/// Counters of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Interface id, counted from 0 in the section.
    pub interface: u32,
    /// Packets that passed the interface.
    pub received: Option<u64>,
    /// Packets dropped for want of buffer space.
    pub dropped: Option<u64>,
    /// Packets the operating system dropped.
    pub os_dropped: Option<u64>,
}

impl Interface {
    /// A timestamp in nanoseconds since 1970; what no 64 bit number can hold stands still at its limit.
    pub fn time_ns(&self, ticks: u64) -> i64 {
        let ticks = i128::from(ticks);
        let exponent = u32::from(self.resolution.0 & 0x7f);
        let ns = if self.resolution.0 & 0x80 != 0 {
            ticks.saturating_mul(1_000_000_000) >> exponent
        } else if exponent <= 9 {
            ticks.saturating_mul(10i128.saturating_pow(9u32.saturating_sub(exponent)))
        } else {
            let unit = 10i128.saturating_pow(exponent.saturating_sub(9));
            ticks.checked_div(unit).unwrap_or(0)
        };
        let ns = ns.saturating_add(i128::from(self.offset_s).saturating_mul(1_000_000_000));
        i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
    }
}

#[cfg(test)]
mod tests;
