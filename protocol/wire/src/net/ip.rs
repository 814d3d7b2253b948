//! IPv4 (RFC 791 §3.1) and IPv6 (RFC 8200 §3, §4).
//!
//! ```text
//! IPv4: version 4b | IHL 4b | DSCP 6b | ECN 2b | total length 2 | id 2 | flags 3b | offset 13b | TTL 1 | protocol 1
//!       | checksum 2 | source 4 | destination 4 | options
//! IPv6: version 4b | traffic class 8b | flow label 20b | payload length 2 | next header 1 | hop limit 1
//!       | source 16 | destination 16 | extension headers
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Fragment, Ip, Packet, tcp, tunnel, udp};
use crate::cursor::Cursor;
use crate::error::Result;
use crate::trace::{Field, Trace, field};

static IPV4: Field = field("IPv4", "RFC 791 §3.1", "The Internet's datagram header, version 4.");
static VERSION: Field = field("version", "RFC 791 §3.1", "4 or 6.");
static IHL: Field = field("header length", "RFC 791 §3.1", "In units of 4 bytes, at least 5.");
static DSCP: Field = field("DSCP", "RFC 2474 §3", "Class of service asked for.");
static ECN: Field = field("ECN", "RFC 3168 §5", "3 says that a router saw congestion.");
static TOTAL_LENGTH: Field = field(
    "total length",
    "RFC 791 §3.1",
    "Header and payload in bytes. 0 where the capture was made before the network card cut the packet up.",
);
static ID: Field = field("identification", "RFC 791 §3.1", "The same in all fragments of one datagram.");
static FLAG_RESERVED: Field = field("reserved", "RFC 791 §3.1", "0.");
static DONT_FRAGMENT: Field = field("don't fragment", "RFC 791 §3.1", "Routers must not split the datagram.");
static MORE_FRAGMENTS: Field = field("more fragments", "RFC 791 §3.1", "This is not the last fragment.");
static FRAGMENT_OFFSET: Field =
    field("fragment offset", "RFC 791 §3.1", "Where the fragment belongs, in units of 8 bytes.");
static TTL: Field = field("time to live", "RFC 791 §3.1", "Routers the packet may still pass.");
static PROTOCOL: Field = field("protocol", "RFC 791 §3.1", "6 TCP, 17 UDP, 1 ICMP.");
static CHECKSUM: Field = field("header checksum", "RFC 791 §3.1", "Over the header only.");
static SOURCE: Field = field("source address", "RFC 791 §3.1", "Who sent the packet.");
static DESTINATION: Field = field("destination address", "RFC 791 §3.1", "Who is to receive it.");
static OPTIONS: Field = field("options", "RFC 791 §3.1", "Record route, timestamps and others; rare.");

static IPV6: Field = field("IPv6", "RFC 8200 §3", "The Internet's datagram header, version 6.");
static FLOW_LABEL: Field = field("flow label", "RFC 6437", "The same for all packets of one flow.");
static PAYLOAD_LENGTH: Field = field(
    "payload length",
    "RFC 8200 §3",
    "What follows this header, in bytes. 0 in jumbograms and before segmentation offload.",
);
static NEXT_HEADER: Field = field("next header", "RFC 8200 §3", "6 TCP, 17 UDP, or an extension header.");
static HOP_LIMIT: Field = field("hop limit", "RFC 8200 §3", "Routers the packet may still pass.");
static EXTENSION: Field = field("extension header", "RFC 8200 §4", "Options between IPv6 and the payload.");
static EXTENSION_LENGTH: Field =
    field("header extension length", "RFC 8200 §4.3", "In units of 8 bytes, the first 8 not counted.");
static AH_LENGTH: Field = field("payload length", "RFC 4302 §2.2", "In units of 4 bytes, minus 2.");
static EXTENSION_DATA: Field = field("extension data", "RFC 8200 §4", "What the extension holds.");
static FRAGMENT: Field = field("fragment header", "RFC 8200 §4.5", "The packet is one piece of a datagram.");
static RESERVED: Field = field("reserved", "RFC 8200 §4.5", "0.");
static FRAGMENT_ID: Field = field("identification", "RFC 8200 §4.5", "The same in all fragments.");

/// Extension headers we follow in one packet.
const MAX_EXTENSIONS: usize = 16;

/// IP protocol numbers.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP (RFC 2003).
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP (RFC 4213).
    pub const IPV6: u8 = 41;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Generic routing encapsulation (RFC 2784).
    pub const GRE: u8 = 47;
    /// IPsec authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION: u8 = 60;
    /// IPv6 mobility header.
    pub const MOBILITY: u8 = 135;
    /// Host identity protocol, shaped like an extension header.
    pub const HIP: u8 = 139;
    /// Shim6, shaped like an extension header.
    pub const SHIM6: u8 = 140;
}

/// Reads an IP datagram that had `wire` bytes on the wire, link padding included.
pub(super) fn decode<'b, T: Trace>(c: &mut Cursor<'b, T>, wire: u32, packet: &mut Packet<'b>) -> Result<()> {
    let version = c.peek().first().copied().unwrap_or(0) >> 4;
    let left = match version {
        6 => c.group(&IPV6, |c| ipv6(c, wire, packet))?,
        _ => c.group(&IPV4, |c| ipv4(c, wire, packet))?,
    };
    upper(c, left, packet)
}

/// Reads what a datagram carries whose header was read before, extension headers first.
pub(super) fn whole<'b, T: Trace>(
    c: &mut Cursor<'b, T>,
    ip: Ip,
    left: u32,
    packet: &mut Packet<'b>,
) -> Result<()> {
    let left = match ip.src.is_ipv6() {
        true => extensions(c, packet.ip.insert(ip), left)?,
        false => {
            packet.ip = Some(ip);
            left
        }
    };
    upper(c, left, packet)
}

/// Reads what follows the IP header: `left` bytes of it were on the wire.
fn upper<'b, T: Trace>(c: &mut Cursor<'b, T>, left: u32, packet: &mut Packet<'b>) -> Result<()> {
    let Some(ip) = packet.ip else { return Ok(()) };
    let captured = c.remaining().min(usize::try_from(left).unwrap_or(usize::MAX));
    packet.datagram = c.peek().get(..captured).unwrap_or_default();
    packet.datagram_len = left;
    match ip.protocol {
        _ if ip.fragment.is_some_and(|f| f.offset > 0) => Ok(()),
        protocol::TCP => tcp::decode(c, left, packet),
        protocol::UDP => udp::decode(c, left, packet),
        _ if ip.fragment.is_some() => Ok(()),
        protocol::IPV4 | protocol::IPV6 | protocol::GRE => tunnel::in_ip(c, ip.protocol, left, packet),
        _ => Ok(()),
    }
}

/// Reads the header and returns how many bytes of the datagram follow it on the wire.
fn ipv4<T: Trace>(c: &mut Cursor<'_, T>, wire: u32, packet: &mut Packet<'_>) -> Result<u32> {
    let version = c.bits(&VERSION, 4)?;
    if version != 4 {
        return Err(c.refuse(&VERSION, 0, "4 or 6", version));
    }
    let words = c.bits(&IHL, 4)?;
    let header = u32::try_from(words.saturating_mul(4)).unwrap_or(0);
    c.bits(&DSCP, 6)?;
    c.bits(&ECN, 2)?;
    let total = u32::from(c.u16(&TOTAL_LENGTH)?);
    let id = c.u16(&ID)?;
    c.flag(&FLAG_RESERVED)?;
    c.flag(&DONT_FRAGMENT)?;
    let more = c.flag(&MORE_FRAGMENTS)?;
    let offset = u32::try_from(c.bits(&FRAGMENT_OFFSET, 13)?).unwrap_or(0).saturating_mul(8);
    let ttl = c.u8(&TTL)?;
    let protocol = c.u8(&PROTOCOL)?;
    c.u16(&CHECKSUM)?;
    let src = address4(c, &SOURCE)?;
    let dst = address4(c, &DESTINATION)?;
    if header < 20 {
        return Err(c.refuse(&IHL, 20, "at least 5 words", words));
    }
    let total = if total == 0 { wire } else { total };
    if total < header {
        return Err(c.refuse(&TOTAL_LENGTH, 18, "at least the header's length", u64::from(total)));
    }
    let fragment = (more || offset > 0).then_some(Fragment { id: id.into(), offset, more, next: protocol });
    packet.ip = Some(Ip { src, dst, protocol, fragment, ttl });
    packet.ip_id = id;
    let options = header.saturating_sub(20);
    c.bytes(&OPTIONS, usize::try_from(options).unwrap_or(0))?;
    Ok(total.min(wire).saturating_sub(header))
}

fn ipv6<T: Trace>(c: &mut Cursor<'_, T>, wire: u32, packet: &mut Packet<'_>) -> Result<u32> {
    c.bits(&VERSION, 4)?;
    c.bits(&DSCP, 6)?;
    c.bits(&ECN, 2)?;
    c.bits(&FLOW_LABEL, 20)?;
    let length = u32::from(c.u16(&PAYLOAD_LENGTH)?);
    let next = c.u8(&NEXT_HEADER)?;
    let ttl = c.u8(&HOP_LIMIT)?;
    let src = address6(c, &SOURCE)?;
    let dst = address6(c, &DESTINATION)?;
    let room = wire.saturating_sub(40);
    let left = if length == 0 { room } else { length.min(room) };
    let ip = Ip { src, dst, protocol: next, fragment: None, ttl };
    extensions(c, packet.ip.insert(ip), left)
}

/// Reads the extension headers, of which [`Ip::protocol`] names the first; returns how many of `left` bytes follow them.
fn extensions<T: Trace>(c: &mut Cursor<'_, T>, ip: &mut Ip, mut left: u32) -> Result<u32> {
    for _ in 0..MAX_EXTENSIONS {
        let before = c.position();
        let step = match ip.protocol {
            protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::DESTINATION
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6 => c.group(&EXTENSION, |c| {
                extension(c, &EXTENSION_LENGTH, |n| n.saturating_add(1).saturating_mul(8))
            })?,
            protocol::AUTHENTICATION => {
                c.group(&EXTENSION, |c| extension(c, &AH_LENGTH, |n| n.saturating_add(2).saturating_mul(4)))?
            }
            protocol::FRAGMENT => c.group(&FRAGMENT, |c| {
                let next = c.u8(&NEXT_HEADER)?;
                c.u8(&RESERVED)?;
                let offset = u32::try_from(c.bits(&FRAGMENT_OFFSET, 13)?).unwrap_or(0).saturating_mul(8);
                c.bits(&RESERVED, 2)?;
                let more = c.flag(&MORE_FRAGMENTS)?;
                let id = c.u32(&FRAGMENT_ID)?;
                if more || offset > 0 {
                    ip.fragment = Some(Fragment { id, offset, more, next });
                }
                Ok(next)
            })?,
            _ => break,
        };
        ip.protocol = step;
        let read = c.position().saturating_sub(before);
        left = left.saturating_sub(u32::try_from(read).unwrap_or(u32::MAX));
        if ip.fragment.is_some_and(|f| f.offset > 0) {
            break;
        }
    }
    Ok(left)
}

/// Reads an extension header and returns what follows it.
fn extension<T: Trace>(
    c: &mut Cursor<'_, T>,
    length: &'static Field,
    bytes: impl Fn(usize) -> usize,
) -> Result<u8> {
    let next = c.u8(&NEXT_HEADER)?;
    let length = usize::from(c.u8(length)?);
    c.bytes(&EXTENSION_DATA, bytes(length).saturating_sub(2))?;
    Ok(next)
}

fn address4<T: Trace>(c: &mut Cursor<'_, T>, field: &'static Field) -> Result<IpAddr> {
    let bytes = c.bytes(field, 4)?;
    Ok(<[u8; 4]>::try_from(bytes).map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from).into())
}

fn address6<T: Trace>(c: &mut Cursor<'_, T>, field: &'static Field) -> Result<IpAddr> {
    let bytes = c.bytes(field, 16)?;
    Ok(<[u8; 16]>::try_from(bytes).map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from).into())
}
