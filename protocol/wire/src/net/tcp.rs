//! TCP (RFC 9293 §3.1).
//!
//! ```text
//! source port 2 | destination port 2 | sequence 4 | acknowledgement 4 | offset 4b | reserved 4b | control bits 8b
//! | window 2 | checksum 2 | urgent pointer 2 | options
//! ```

use std::fmt;

use super::{Packet, Tcp, Transport, payload};
use crate::cursor::Cursor;
use crate::error::Result;
use crate::trace::{Field, Trace, field};

static TCP: Field = field("TCP", "RFC 9293 §3.1", "A reliable byte stream between two ports.");
static SOURCE_PORT: Field = field("source port", "RFC 9293 §3.1", "The sender's end.");
static DESTINATION_PORT: Field = field("destination port", "RFC 9293 §3.1", "The receiver's end.");
static SEQUENCE: Field =
    field("sequence number", "RFC 9293 §3.1", "Number of the first payload byte, modulo 2^32.");
static ACKNOWLEDGEMENT: Field =
    field("acknowledgement number", "RFC 9293 §3.1", "The next byte the sender of this segment waits for.");
static DATA_OFFSET: Field = field("data offset", "RFC 9293 §3.1", "Header length in units of 4 bytes.");
static FLAGS: Field = field(
    "control bits",
    "RFC 9293 §3.1",
    "From bit 8 down: AE CWR ECE URG ACK PSH RST SYN FIN; the three above are reserved.",
);
static WINDOW: Field =
    field("window", "RFC 9293 §3.1", "Bytes the sender is ready to receive, to be scaled by the option.");
static CHECKSUM: Field =
    field("checksum", "RFC 9293 §3.1", "Over a pseudo header, the header and the payload.");
static URGENT: Field = field("urgent pointer", "RFC 9293 §3.1", "End of urgent data, with URG.");
static OPTIONS: Field = field("options", "RFC 9293 §3.2", "What both ends agree on beyond the header.");
static KIND: Field =
    field("kind", "RFC 9293 §3.2", "2 MSS, 3 window scale, 4 SACK permitted, 5 SACK, 8 times.");
static LENGTH: Field = field("length", "RFC 9293 §3.2", "Kind, length and value in bytes.");
static MSS: Field =
    field("maximum segment size", "RFC 9293 §3.7.1", "Most payload the sender takes, in bytes.");
static SHIFT: Field =
    field("window scale", "RFC 7323 §2.2", "Windows are to be multiplied by 2 to this power.");
static LEFT_EDGE: Field = field("left edge", "RFC 2018 §3", "First byte of a block that arrived.");
static RIGHT_EDGE: Field = field("right edge", "RFC 2018 §3", "The byte behind that block.");
static TIME: Field = field("timestamp value", "RFC 7323 §3.2", "The sender's clock, in units of its own.");
static ECHO: Field = field("timestamp echo reply", "RFC 7323 §3.2", "The peer's clock when it sent.");
static VALUE: Field = field("option value", "RFC 9293 §3.2", "The option's value.");
static PAYLOAD: Field = field("TCP payload", "RFC 9293 §3.1", "Bytes of the stream.");

/// TCP control bits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Opens a connection.
    pub const SYN: Self = Self(0x02);
    /// Aborts a connection.
    pub const RST: Self = Self(0x04);
    /// Hand over at once.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);

    /// True where all bits of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"];
        let set = names.iter().enumerate().filter(|(bit, _)| self.0 >> bit & 1 == 1);
        f.debug_list().entries(set.map(|(_, name)| name)).finish()
    }
}

/// The TCP options that matter to an analysis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Most payload the sender takes in one segment, in bytes.
    pub mss: Option<u16>,
    /// Power of two by which the sender's windows are to be multiplied.
    pub window_scale: Option<u8>,
    /// The sender understands selective acknowledgements.
    pub sack_permitted: bool,
    /// Blocks of a selective acknowledgement.
    pub sack_blocks: u8,
    /// The first of them: sequence numbers of the first byte and of the one behind the last.
    pub sack: [(u32, u32); 4],
    /// The sender's clock, and the peer's that it answers.
    pub times: Option<(u32, u32)>,
    /// Kinds of the first options, in their order; 0 behind the last.
    pub kinds: [u8; 6],
}

/// Reads a segment of which `left` bytes were on the wire.
pub(super) fn decode<'b, T: Trace>(c: &mut Cursor<'b, T>, left: u32, packet: &mut Packet<'b>) -> Result<()> {
    let header = c.group(&TCP, |c| header(c, left, packet))?;
    payload(c, &PAYLOAD, left.saturating_sub(header), packet)
}

/// Reads the header and returns its length.
fn header<T: Trace>(c: &mut Cursor<'_, T>, left: u32, packet: &mut Packet<'_>) -> Result<u32> {
    let ports = (c.u16(&SOURCE_PORT)?, c.u16(&DESTINATION_PORT)?);
    packet.ports = Some(ports);
    let seq = c.u32(&SEQUENCE)?;
    let ack = c.u32(&ACKNOWLEDGEMENT)?;
    let words = c.bits(&DATA_OFFSET, 4)?;
    let header = u32::try_from(words.saturating_mul(4)).unwrap_or(0);
    let flags = Flags(u16::try_from(c.bits(&FLAGS, 12)?).unwrap_or(0));
    let window = c.u16(&WINDOW)?;
    c.u16(&CHECKSUM)?;
    c.u16(&URGENT)?;
    if header < 20 || header > left {
        return Err(c.refuse(&DATA_OFFSET, 8, "5 words up to the length of the segment", words));
    }
    let size = usize::try_from(header.saturating_sub(20)).unwrap_or(0);
    let mut tcp = Tcp { seq, ack, flags, window, options: TcpOptions::default() };
    if size > 0 && c.remaining() >= size {
        // Options that contradict themselves make no bad segment: what follows is still in its place.
        let before = c.position();
        let read = c.group(&OPTIONS, |c| options(c, size, &mut tcp.options));
        let rest = size.saturating_sub(c.position().saturating_sub(before));
        c.bytes(&VALUE, rest)?;
        packet.error = read.err();
    } else if size > 0 {
        c.bytes(&VALUE, c.remaining())?;
    }
    packet.transport = Transport::Tcp(tcp);
    Ok(header)
}

fn options<T: Trace>(c: &mut Cursor<'_, T>, size: usize, found: &mut TcpOptions) -> Result<()> {
    let end = c.position().saturating_add(size);
    while c.position() < end {
        let kind = c.u8(&KIND)?;
        match kind {
            0 => break,
            1 => continue,
            _ => {}
        }
        if c.position() >= end {
            return Err(c.refuse(&KIND, 1, "a length behind it", u64::from(kind)));
        }
        let length = c.u8(&LENGTH)?;
        let value = usize::from(length).wrapping_sub(2);
        if let Some(slot) = found.kinds.iter_mut().find(|slot| **slot == 0) {
            *slot = kind;
        }
        if value > end.saturating_sub(c.position()) {
            return Err(c.refuse(&LENGTH, 1, "2 up to the end of the options", u64::from(length)));
        }
        match (kind, value) {
            (2, 2) => found.mss = Some(c.u16(&MSS)?),
            (3, 1) => found.window_scale = Some(c.u8(&SHIFT)?),
            (4, 0) => found.sack_permitted = true,
            (5, _) if value & 7 == 0 => {
                found.sack_blocks = u8::try_from(value >> 3).unwrap_or(u8::MAX);
                for at in 0..value >> 3 {
                    let block = (c.u32(&LEFT_EDGE)?, c.u32(&RIGHT_EDGE)?);
                    if let Some(slot) = found.sack.get_mut(at) {
                        *slot = block;
                    }
                }
            }
            (8, 8) => found.times = Some((c.u32(&TIME)?, c.u32(&ECHO)?)),
            _ => {
                c.bytes(&VALUE, value)?;
            }
        }
    }
    Ok(())
}
