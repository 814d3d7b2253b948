//! Packets inside packets.
//!
//! ```text
//! IP in IP  IP datagram                                                              protocol 4 or 41
//! GRE       flags, version 2 | EtherType 2 | (checksum 4) | (key 4) | (sequence 4) | payload      protocol 47
//! VXLAN     flags 1 | reserved 3 | network 3 | reserved 1 | Ethernet frame           UDP port 4789
//! GENEVE    options length 1 | flags 1 | EtherType 2 | network 3 | reserved 1 | options | payload UDP port 6081
//! GTP-U     flags 1 | type 1 | length 2 | tunnel 4 | (sequence 2 | N-PDU 1 | next 1 | extensions) | IP   UDP port 2152
//! Teredo    IPv6 datagram                                                            UDP port 3544
//! ```
//!
//! A tunnel in UDP is believed only where port, header and the beginning of what it carries agree: anything may use these
//! ports.

use super::ip::protocol;
use super::{Layer, Packet, Transport, ip, link, on_wire};
use crate::cursor::Cursor;
use crate::error::Result;
use crate::trace::{Field, Trace, field};

static GRE: Field = field("GRE", "RFC 2784 §2", "Any protocol inside IP.");
static GRE_FLAGS: Field = field(
    "flags and version",
    "RFC 2890 §2",
    "Checksum, key and sequence number present; version 0, or 1 for PPTP.",
);
static GRE_PROTOCOL: Field = field("protocol type", "RFC 2784 §2.4", "EtherType of what is inside.");
static GRE_OPTIONAL: Field =
    field("checksum, key, sequence", "RFC 2890 §2", "As many as the flags say, 4 bytes each.");
static ERSPAN: Field = field("ERSPAN", "draft-foschiano-erspan §4", "A mirrored port's number and session.");
static VXLAN: Field =
    field("VXLAN", "RFC 7348 §5", "Ethernet inside UDP, between the hosts of a data centre.");
static GENEVE: Field =
    field("GENEVE", "RFC 8926 §3.4", "Ethernet or IP inside UDP, between virtual switches.");
static GTP: Field = field("GTP-U", "3GPP TS 29.281 §5", "A subscriber's IP packet inside a mobile network.");
static HEADER: Field =
    field("tunnel header", "3GPP TS 29.281 §5.1", "The fixed part of the tunnel's header.");
static OPTIONS: Field =
    field("tunnel options", "3GPP TS 29.281 §5.2", "Optional parts of the tunnel's header.");

/// Tunnels followed one inside another.
const MAX_TUNNELS: usize = 8;

/// Extension headers followed in one GTP header.
const MAX_EXTENSIONS: usize = 8;

const GTP_PORT: u16 = 2152;
const TEREDO_PORT: u16 = 3544;
const VXLAN_PORT: u16 = 4789;
const GENEVE_PORT: u16 = 6081;

/// Transparent Ethernet bridging.
const BRIDGED: u16 = 0x6558;
const PPP: u16 = 0x880b;
const ERSPAN_2: u16 = 0x88be;
const ERSPAN_3: u16 = 0x22eb;

/// A kind of tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// IPv4 or IPv6 directly in IP (RFC 2003, RFC 4213, RFC 2473).
    IpInIp,
    /// Generic routing encapsulation (RFC 2784).
    Gre,
    /// VXLAN (RFC 7348).
    Vxlan,
    /// GENEVE (RFC 8926).
    Geneve,
    /// GTP-U of mobile networks (3GPP TS 29.281).
    Gtp,
    /// IPv6 in UDP (RFC 4380).
    Teredo,
}

impl std::fmt::Display for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::IpInIp => "IP in IP",
            Self::Gre => "GRE",
            Self::Vxlan => "VXLAN",
            Self::Geneve => "GENEVE",
            Self::Gtp => "GTP-U",
            Self::Teredo => "Teredo",
        })
    }
}

/// Reads a tunnel directly in IP.
pub(super) fn in_ip<'b, T: Trace>(
    c: &mut Cursor<'b, T>,
    protocol: u8,
    left: u32,
    packet: &mut Packet<'b>,
) -> Result<()> {
    let tunnel = match protocol {
        protocol::GRE => Tunnel::Gre,
        protocol::IPV4 if is_ip(c.peek(), 4) => Tunnel::IpInIp,
        protocol::IPV6 if is_ip(c.peek(), 6) => Tunnel::IpInIp,
        _ => return Ok(()),
    };
    follow(c, tunnel, left, packet)
}

/// Tells whether a UDP payload is a tunnel's.
pub(super) fn in_udp(payload: &[u8], left: u32, packet: &Packet<'_>) -> Option<Tunnel> {
    let (from, to) = packet.ports?;
    if packet.ip?.fragment.is_some() {
        return None;
    }
    let either = |port| from == port || to == port;
    if to == VXLAN_PORT || to == GENEVE_PORT || either(GTP_PORT) || either(TEREDO_PORT) {
        believable(payload, left, to)
    } else {
        None
    }
}

#[cold]
fn believable(payload: &[u8], left: u32, to: u16) -> Option<Tunnel> {
    match payload {
        [8, 0, 0, 0, _, _, _, 0, frame @ ..] if to == VXLAN_PORT && is_ethernet(frame) => Some(Tunnel::Vxlan),
        [first, flags, high, low, _, _, _, 0, rest @ ..]
            if to == GENEVE_PORT && first >> 6 == 0 && flags & 0x3f == 0 =>
        {
            let options = usize::from(first & 0x3f).saturating_mul(4);
            let inner = rest.get(options..)?;
            let known = match u16::from_be_bytes([*high, *low]) {
                BRIDGED => is_ethernet(inner),
                0x0800 => is_ip(inner, 4),
                0x86dd => is_ip(inner, 6),
                _ => false,
            };
            known.then_some(Tunnel::Geneve)
        }
        // A G-PDU whose length is that of the datagram.
        [flags, 0xff, high, low, ..]
            if flags & 0xf0 == 0x30
                && u32::from(u16::from_be_bytes([*high, *low])).saturating_add(8) == left =>
        {
            let inner = payload.get(gtp_header(payload)?..)?;
            (is_ip(inner, 4) || is_ip(inner, 6)).then_some(Tunnel::Gtp)
        }
        _ if to != VXLAN_PORT && to != GENEVE_PORT && is_ip(payload, 6) => {
            let declared = payload.get(4..6)?.iter().fold(0u32, |n, b| n << 8 | u32::from(*b));
            (declared.saturating_add(40) == left).then_some(Tunnel::Teredo)
        }
        _ => None,
    }
}

/// Length of a GTP header with its options, in bytes.
fn gtp_header(payload: &[u8]) -> Option<usize> {
    let flags = payload.first()?;
    if flags & 7 == 0 {
        return Some(8);
    }
    let mut at = 12usize;
    let mut next = *payload.get(11)?;
    if flags & 4 == 0 {
        return Some(at);
    }
    for _ in 0..MAX_EXTENSIONS {
        if next == 0 {
            return Some(at);
        }
        let words = usize::from(*payload.get(at)?);
        if words == 0 {
            return None;
        }
        at = at.saturating_add(words.saturating_mul(4));
        next = *payload.get(at.checked_sub(1)?)?;
    }
    None
}

/// Moves the headers read so far to the tunnels, and reads what is inside; `left` bytes of it were on the wire.
pub(super) fn follow<'b, T: Trace>(
    c: &mut Cursor<'b, T>,
    tunnel: Tunnel,
    left: u32,
    packet: &mut Packet<'b>,
) -> Result<()> {
    let Some(ip) = packet.ip.filter(|_| packet.outer.len() < MAX_TUNNELS) else { return Ok(()) };
    let end = u32::try_from(c.position()).unwrap_or(u32::MAX).saturating_add(left);
    let inside = match tunnel {
        Tunnel::IpInIp | Tunnel::Teredo => Inside::Ip,
        Tunnel::Gre => match c.group(&GRE, gre)? {
            Some(inside) => inside,
            None => return Ok(()),
        },
        Tunnel::Vxlan => {
            c.bytes(&VXLAN, 8)?;
            Inside::Ethernet
        }
        Tunnel::Geneve => c.group(&GENEVE, |c| {
            let options = usize::from(c.peek().first().copied().unwrap_or(0) & 0x3f).saturating_mul(4);
            c.bytes(&HEADER, 2)?;
            let ethertype = c.u16(&GRE_PROTOCOL)?;
            c.bytes(&HEADER, 4)?;
            c.bytes(&OPTIONS, options)?;
            Ok(if ethertype == BRIDGED { Inside::Ethernet } else { Inside::Ip })
        })?,
        Tunnel::Gtp => c.group(&GTP, |c| {
            let header = gtp_header(c.peek()).unwrap_or(8);
            c.bytes(&HEADER, 8)?;
            c.bytes(&OPTIONS, header.saturating_sub(8))?;
            Ok(Inside::Ip)
        })?,
    };
    packet.outer.push(Layer { tunnel, ip, ports: packet.ports.take() });
    packet.ip = None;
    packet.transport = Transport::None;
    (packet.datagram, packet.datagram_len) = (&[], 0);
    match inside {
        Inside::Ip => ip::decode(c, on_wire(c, end), packet),
        Inside::Ethernet => link::ethernet(c, end, packet),
        Inside::Ppp => link::ppp(c, end, packet),
    }
}

/// What a tunnel carries.
enum Inside {
    Ip,
    Ethernet,
    Ppp,
}

/// Reads a GRE header; none where what follows is nothing we know.
fn gre<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Option<Inside>> {
    let flags = c.u16(&GRE_FLAGS)?;
    let kind = c.u16(&GRE_PROTOCOL)?;
    // Checksum (and with it an offset), key, sequence number, and in version 1 an acknowledgement number.
    let optional = [flags & 0xc000 != 0, flags & 0x2000 != 0, flags & 0x1000 != 0, flags & 0x0087 == 0x0081];
    let words = optional.iter().filter(|present| **present).count();
    c.bytes(&GRE_OPTIONAL, words.saturating_mul(4))?;
    let inside = match kind {
        0x0800 if is_ip(c.peek(), 4) => Inside::Ip,
        0x86dd if is_ip(c.peek(), 6) => Inside::Ip,
        BRIDGED => Inside::Ethernet,
        PPP => Inside::Ppp,
        // The first version has no header of its own and no sequence number.
        ERSPAN_2 if flags & 0x1000 == 0 => Inside::Ethernet,
        ERSPAN_2 => {
            c.bytes(&ERSPAN, 8)?;
            Inside::Ethernet
        }
        ERSPAN_3 => {
            let more = c.peek().get(11).is_some_and(|flags| flags & 1 == 1);
            c.bytes(&ERSPAN, if more { 20 } else { 12 })?;
            Inside::Ethernet
        }
        _ => return Ok(None),
    };
    Ok(Some(inside))
}

/// True where an IP header of this version may begin.
fn is_ip(bytes: &[u8], version: u8) -> bool {
    match bytes {
        [first, _, high, low, ..] if version == 4 => {
            let total = u16::from_be_bytes([*high, *low]);
            first >> 4 == 4 && first & 0xf >= 5 && (total == 0 || total >= 20)
        }
        [first, ..] => first >> 4 == version && bytes.len() >= 40,
        [] => false,
    }
}

/// True where an Ethernet frame may begin that carries what we know, or is at least no text or media.
fn is_ethernet(bytes: &[u8]) -> bool {
    let ethertype = bytes.get(12..14).map_or(0, |t| t.iter().fold(0u16, |n, b| n << 8 | u16::from(*b)));
    matches!(ethertype, 0x0800 | 0x0806 | 0x86dd | 0x8100 | 0x88a8 | 0x8847 | 0x8848 | 0x8864 | 0x88cc)
}
