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

pub mod write;

/// Largest block we read or write, in bytes. The format allows 4 GiB; no capture program writes packets
/// above 256 KiB, and name resolution or secrets blocks stay far below this.
pub const MAX_BLOCK: u32 = 16 << 20;

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

/// Value of the byte-order magic, read in the section's own byte order.
pub const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;
