//! UDP (RFC 768).
//!
//! ```text
//! source port 2 | destination port 2 | length 2 | checksum 2
//! ```

use super::{Packet, Transport, Udp, payload, tunnel};
use crate::cursor::Cursor;
use crate::error::Result;
use crate::trace::{Field, Trace, field};

static UDP: Field = field("UDP", "RFC 768", "A single datagram between two ports.");
static SOURCE_PORT: Field = field("source port", "RFC 768", "The sender's end.");
static DESTINATION_PORT: Field = field("destination port", "RFC 768", "The receiver's end.");
static LENGTH: Field = field("length", "RFC 768", "Header and payload in bytes, at least 8.");
static CHECKSUM: Field = field("checksum", "RFC 768", "0 where the sender made none.");
static PAYLOAD: Field = field("UDP payload", "RFC 768", "One datagram.");

/// Reads a datagram of which `left` bytes were on the wire.
pub(super) fn decode<'b, T: Trace>(c: &mut Cursor<'b, T>, left: u32, packet: &mut Packet<'b>) -> Result<()> {
    let length = c.group(&UDP, |c| {
        packet.ports = Some((c.u16(&SOURCE_PORT)?, c.u16(&DESTINATION_PORT)?));
        let length = c.u16(&LENGTH)?;
        c.u16(&CHECKSUM)?;
        if length > 0 && length < 8 {
            return Err(c.refuse(&LENGTH, 4, "0 or at least 8", u64::from(length)));
        }
        packet.transport = Transport::Udp(Udp { length });
        Ok(u32::from(length))
    })?;
    let declared = if length == 0 { left } else { length.min(left) };
    let left = declared.saturating_sub(8);
    if let Some(tunnel) = tunnel::in_udp(c.peek(), left, packet) {
        return tunnel::follow(c, tunnel, left, packet);
    }
    payload(c, &PAYLOAD, left, packet)
}
