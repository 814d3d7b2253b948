//! Link layers.
//!
//! ```text
//! Ethernet II   destination 6 | source 6 | EtherType 2 | (VLAN: tag control 2 | EtherType 2)* | payload
//! cooked v1     packet type 2 | ARPHRD 2 | address length 2 | address 8 | protocol 2 | payload
//! cooked v2     protocol 2 | reserved 2 | interface 4 | ARPHRD 2 | packet type 1 | address length 1 | address 8 | payload
//! null, loop    address family 4 | payload
//! ```

use std::fmt;

use super::{Packet, ip, on_wire};
use crate::cursor::Cursor;
use crate::error::Result;
use crate::trace::{Field, Trace, field};

static ETHERNET: Field = field("Ethernet II", "IEEE 802.3", "The link header of cable and Wi-Fi captures.");
static DESTINATION: Field = field("destination", "IEEE 802.3 §3.2.4", "Hardware address of the receiver.");
static SOURCE: Field = field("source", "IEEE 802.3 §3.2.5", "Hardware address of the sender.");
static ETHERTYPE: Field =
    field("EtherType", "IEEE 802.3 §3.2.6", "What follows: 0x0800 IPv4, 0x86DD IPv6, 0x8100 a VLAN tag.");
static VLAN: Field = field("VLAN tag", "IEEE 802.1Q §9.6", "Which virtual network the frame belongs to.");
static PCP: Field = field("priority", "IEEE 802.1Q §9.6", "Priority code point, 7 is highest.");
static DEI: Field = field("drop eligible", "IEEE 802.1Q §9.6", "May be dropped first under congestion.");
static VID: Field = field("VLAN id", "IEEE 802.1Q §9.6", "Number of the virtual network; 0 is none.");
static PPPOE: Field =
    field("PPPoE session", "RFC 2516 §4", "PPP frames inside Ethernet, as DSL lines use them.");
static PPPOE_VERSION: Field = field("version and type", "RFC 2516 §4", "Always 0x11.");
static PPPOE_CODE: Field = field("code", "RFC 2516 §6", "0 for data of a session.");
static PPPOE_SESSION: Field = field("session id", "RFC 2516 §4", "Which session.");
static PPPOE_LENGTH: Field = field("length", "RFC 2516 §4", "Length of the PPP frame in bytes.");
static PPP_PROTOCOL: Field = field("PPP protocol", "RFC 1661 §2", "0x0021 IPv4, 0x0057 IPv6.");
static PPP: Field = field("PPP", "RFC 1661 §2", "The link header of dial-up, mobile and tunnelled lines.");
static PPP_FRAMING: Field =
    field("address and control", "RFC 1662 §3.1", "0xFF03, where they are not left out.");
static MPLS: Field =
    field("MPLS label", "RFC 3032 §2.1", "Where a provider's network sends the packet next.");
static LABEL: Field = field("label", "RFC 3032 §2.1", "The label's value.");
static TRAFFIC_CLASS: Field = field("traffic class", "RFC 5462 §1", "Class of service.");
static BOTTOM: Field = field("bottom of stack", "RFC 3032 §2.1", "Set in the last label.");
static LABEL_TTL: Field = field("time to live", "RFC 3032 §2.1", "Routers the packet may still pass.");
static LLC: Field = field("LLC and SNAP", "IEEE 802.2", "AA AA 03, an organisation and its protocol number.");
static HDLC: Field = field("Cisco HDLC", "LINKTYPE_C_HDLC", "Address and control of a serial line.");
static SLL: Field =
    field("Linux cooked capture v1", "LINKTYPE_LINUX_SLL", "What capturing on \"any\" gives.");
static SLL2: Field =
    field("Linux cooked capture v2", "LINKTYPE_LINUX_SLL2", "What capturing on \"any\" gives.");
static PACKET_TYPE: Field = field(
    "packet type",
    "LINKTYPE_LINUX_SLL",
    "0 to us, 1 broadcast, 2 multicast, 3 to others, 4 sent by us.",
);
static ARPHRD: Field = field("ARPHRD type", "LINKTYPE_LINUX_SLL", "Kind of the device in Linux's numbering.");
static ADDRESS_LENGTH: Field = field("address length", "LINKTYPE_LINUX_SLL", "Bytes used of the address.");
static ADDRESS: Field =
    field("address", "LINKTYPE_LINUX_SLL", "Link address of the sender, padded to 8 bytes.");
static PROTOCOL: Field = field("protocol", "LINKTYPE_LINUX_SLL", "An EtherType.");
static RESERVED: Field = field("reserved", "LINKTYPE_LINUX_SLL2", "0.");
static INTERFACE: Field = field("interface index", "LINKTYPE_LINUX_SLL2", "Number of the interface.");
static LOOPBACK: Field = field("loopback", "LINKTYPE_NULL", "The link header of BSD and macOS loopback.");
static FAMILY: Field =
    field("address family", "LINKTYPE_NULL", "2 is IPv4; 10, 24, 28 or 30 is IPv6, by operating system.");

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const PPPOE_DATA: u16 = 0x8864;
const MPLS_TYPES: [u16; 2] = [0x8847, 0x8848];
const VLAN_TYPES: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
/// LLC with SNAP, and an organisation number that says that an EtherType follows.
const SNAP: [u8; 6] = [0xaa, 0xaa, 3, 0, 0, 0];

/// VLAN tags we follow in one frame; real ones have at most two.
const MAX_TAGS: usize = 8;

/// A LINKTYPE_ number: what a packet begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: the address family in the byte order of the capturing machine.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP, with or without HDLC framing.
    pub const PPP: Self = Self(9);
    /// PPP in HDLC framing.
    pub const PPP_HDLC: Self = Self(50);
    /// PPPoE without its Ethernet header.
    pub const PPP_ETHER: Self = Self(51);
    /// Raw IPv4 or IPv6.
    pub const RAW: Self = Self(101);
    /// Cisco HDLC.
    pub const C_HDLC: Self = Self(104);
    /// OpenBSD loopback: the address family in network order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture v1.
    pub const LINUX_SLL: Self = Self(113);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux cooked capture v2.
    pub const LINUX_SLL2: Self = Self(276);

    /// True where [`decode`](super::decode) knows what the packets begin with.
    pub fn is_known(self) -> bool {
        matches!(self.0, 0 | 1 | 9 | 12 | 14 | 50 | 51 | 101 | 104 | 108 | 113 | 228 | 229 | 276)
    }
}

impl fmt::Display for LinkType {
    /// The standard name without its prefix: `EN10MB`, `LINUX_SLL`; `LINKTYPE_n` where we know none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "NULL",
            1 => "EN10MB",
            6 => "IEEE802_5",
            9 => "PPP",
            12 | 14 | 101 => "RAW",
            50 => "PPP_HDLC",
            51 => "PPP_ETHER",
            104 => "C_HDLC",
            105 => "IEEE802_11",
            108 => "LOOP",
            113 => "LINUX_SLL",
            127 => "IEEE802_11_RADIO",
            147..=162 => return write!(f, "USER{}", self.0.saturating_sub(147)),
            189 => "USB_LINUX",
            195 => "IEEE802_15_4_WITHFCS",
            220 => "USB_LINUX_MMAPPED",
            228 => "IPV4",
            229 => "IPV6",
            249 => "USBPCAP",
            252 => "WIRESHARK_UPPER_PDU",
            253 => "NETLINK",
            276 => "LINUX_SLL2",
            n => return write!(f, "LINKTYPE_{n}"),
        };
        f.write_str(name)
    }
}

pub(super) fn decode<'b, T: Trace>(
    c: &mut Cursor<'b, T>,
    link: LinkType,
    orig_len: u32,
    packet: &mut Packet<'b>,
) -> Result<()> {
    match link {
        LinkType::ETHERNET => ethernet(c, orig_len, packet),
        LinkType::LINUX_SLL => {
            let ethertype = c.group(&SLL, |c| {
                c.u16(&PACKET_TYPE)?;
                c.u16(&ARPHRD)?;
                c.u16(&ADDRESS_LENGTH)?;
                c.bytes(&ADDRESS, 8)?;
                c.u16(&PROTOCOL)
            })?;
            by_ethertype(c, ethertype, orig_len, packet)
        }
        LinkType::LINUX_SLL2 => {
            let ethertype = c.group(&SLL2, |c| {
                let ethertype = c.u16(&PROTOCOL)?;
                c.u16(&RESERVED)?;
                packet.interface = Some(c.u32(&INTERFACE)?);
                c.u16(&ARPHRD)?;
                c.u8(&PACKET_TYPE)?;
                c.u8(&ADDRESS_LENGTH)?;
                c.bytes(&ADDRESS, 8)?;
                Ok(ethertype)
            })?;
            by_ethertype(c, ethertype, orig_len, packet)
        }
        LinkType::NULL | LinkType::LOOP => {
            let family = c.group(&LOOPBACK, family)?;
            match family {
                2 | 10 | 24 | 28 | 30 => ip::decode(c, on_wire(c, orig_len), packet),
                _ => Ok(()),
            }
        }
        LinkType::PPP | LinkType::PPP_HDLC => ppp(c, orig_len, packet),
        LinkType::PPP_ETHER => pppoe(c, orig_len, packet),
        LinkType::C_HDLC => {
            let ethertype = c.group(&HDLC, |c| {
                c.bytes(&PPP_FRAMING, 2)?;
                c.u16(&ETHERTYPE)
            })?;
            by_ethertype(c, ethertype, orig_len, packet)
        }
        LinkType(12 | 14 | 101 | 228 | 229) => ip::decode(c, orig_len, packet),
        _ => Ok(()),
    }
}

/// The family stands in the capturing machine's byte order, which nothing tells: families are small numbers.
fn family<T: Trace>(c: &mut Cursor<'_, T>) -> Result<u32> {
    match c.peek() {
        [0, 0, ..] => c.u32(&FAMILY),
        _ => c.u32le(&FAMILY),
    }
}

/// Reads an Ethernet frame, in a capture or in a tunnel.
pub(super) fn ethernet<'b, T: Trace>(
    c: &mut Cursor<'b, T>,
    orig_len: u32,
    packet: &mut Packet<'b>,
) -> Result<()> {
    let ethertype = c.group(&ETHERNET, |c| {
        c.bytes(&DESTINATION, 6)?;
        c.bytes(&SOURCE, 6)?;
        c.u16(&ETHERTYPE)
    })?;
    by_ethertype(c, ethertype, orig_len, packet)
}

/// Reads a PPP frame, with or without HDLC framing.
pub(super) fn ppp<'b, T: Trace>(c: &mut Cursor<'b, T>, orig_len: u32, packet: &mut Packet<'b>) -> Result<()> {
    let protocol = c.group(&PPP, |c| {
        if c.peek().starts_with(&[0xff, 3]) {
            c.u16(&PPP_FRAMING)?;
        }
        // Protocol numbers below 256 may be sent in one byte (RFC 1661 §6.5); it is odd, a first byte is even.
        match c.peek() {
            [first, ..] if first & 1 == 1 => c.u8(&PPP_PROTOCOL).map(u16::from),
            _ => c.u16(&PPP_PROTOCOL),
        }
    })?;
    match protocol {
        0x0021 | 0x0057 => ip::decode(c, on_wire(c, orig_len), packet),
        0x0281 | 0x0283 => labelled(c, orig_len, packet),
        _ => Ok(()),
    }
}

fn pppoe<'b, T: Trace>(c: &mut Cursor<'b, T>, orig_len: u32, packet: &mut Packet<'b>) -> Result<()> {
    c.group(&PPPOE, |c| {
        c.u8(&PPPOE_VERSION)?;
        c.u8(&PPPOE_CODE)?;
        c.u16(&PPPOE_SESSION)?;
        c.u16(&PPPOE_LENGTH)
    })?;
    ppp(c, orig_len, packet)
}

/// Reads MPLS labels and the IP packet behind them; other payloads are left alone.
fn labelled<'b, T: Trace>(c: &mut Cursor<'b, T>, orig_len: u32, packet: &mut Packet<'b>) -> Result<()> {
    for _ in 0..MAX_TAGS {
        let bottom = c.group(&MPLS, |c| {
            c.bits(&LABEL, 20)?;
            c.bits(&TRAFFIC_CLASS, 3)?;
            let bottom = c.flag(&BOTTOM)?;
            c.u8(&LABEL_TTL)?;
            Ok(bottom)
        })?;
        if bottom {
            return match c.peek().first().map(|first| first >> 4) {
                Some(4 | 6) => ip::decode(c, on_wire(c, orig_len), packet),
                _ => Ok(()),
            };
        }
    }
    Ok(())
}

/// Reads what an EtherType names.
pub(super) fn by_ethertype<'b, T: Trace>(
    c: &mut Cursor<'b, T>,
    mut ethertype: u16,
    orig_len: u32,
    packet: &mut Packet<'b>,
) -> Result<()> {
    for _ in 0..MAX_TAGS {
        if !VLAN_TYPES.contains(&ethertype) {
            break;
        }
        let (id, next) = c.group(&VLAN, |c| {
            c.bits(&PCP, 3)?;
            c.flag(&DEI)?;
            let id = c.bits(&VID, 12)?;
            Ok((id, c.u16(&ETHERTYPE)?))
        })?;
        packet.vlan = packet.vlan.or(u16::try_from(id).ok());
        ethertype = next;
    }
    match ethertype {
        IPV4 | IPV6 => ip::decode(c, on_wire(c, orig_len), packet),
        PPPOE_DATA => pppoe(c, orig_len, packet),
        _ if MPLS_TYPES.contains(&ethertype) => labelled(c, orig_len, packet),
        // A length in place of a type, as IEEE 802.3 has it.
        ..=1500 if c.peek().starts_with(&SNAP) => {
            let ethertype = c.group(&LLC, |c| {
                c.bytes(&PROTOCOL, SNAP.len())?;
                c.u16(&ETHERTYPE)
            })?;
            match ethertype {
                IPV4 | IPV6 => ip::decode(c, on_wire(c, orig_len), packet),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}
