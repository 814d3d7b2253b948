//! Link, network and transport headers of a captured packet: Ethernet II and 802.3 with VLAN tags, MPLS and PPPoE,
//! Linux cooked, loopback, PPP and raw IP; IPv4, IPv6 with its extension headers; TCP and UDP; and the tunnels that
//! carry one of these in another.
//!
//! [`decode`] takes a packet apart as far as the capture holds it. A packet that was cut at the snap length is no
//! error: [`Packet::payload`] is what there is and [`Packet::payload_len`] what was sent. Padding behind the IP
//! datagram is not payload. Packets quoted inside ICMP errors are left alone.

use std::fmt;
use std::net::IpAddr;

use crate::cursor::Cursor;
use crate::error::Error;
use crate::trace::Trace;

mod ip;
mod link;
mod tcp;
mod tunnel;
mod udp;

pub use ip::protocol;
pub use link::LinkType;
pub use tcp::{Flags, TcpOptions};
pub use tunnel::Tunnel;

/// A packet's headers, and where its payload is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packet<'b> {
    /// VLAN id of the outermost tag.
    pub vlan: Option<u16>,
    /// Number of the interface, where the link header tells it (Linux cooked v2).
    pub interface: Option<u32>,
    /// Identification of the IPv4 header; 0 in IPv6, which has none.
    pub ip_id: u16,
    /// The headers of tunnels around this packet, outermost first.
    pub outer: Vec<Layer>,
    /// The IP header; none where the packet is no IP or its header is cut.
    pub ip: Option<Ip>,
    /// Source and destination port of TCP or UDP. They may be there without a [`transport`](Self::transport),
    /// where the capture holds only the first bytes of that header.
    pub ports: Option<(u16, u16)>,
    /// The whole transport header.
    pub transport: Transport,
    /// The transport payload as far as it was captured; empty without a transport header.
    pub payload: &'b [u8],
    /// Length of the transport payload on the wire, in bytes.
    pub payload_len: u32,
    /// What the IP header and its extension headers are followed by, as far as it was captured: of a fragment its piece
    /// of the datagram.
    pub datagram: &'b [u8],
    /// Its length on the wire, in bytes.
    pub datagram_len: u32,
    /// What could not be read, where the headers end early or contradict themselves.
    pub error: Option<Error>,
}

/// The headers of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// What kind of tunnel begins behind them.
    pub tunnel: Tunnel,
    /// The IP header.
    pub ip: Ip,
    /// Source and destination port, of tunnels in UDP.
    pub ports: Option<(u16, u16)>,
}

/// What the IP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol of what the datagram carries, behind all extension headers (see [`protocol`]).
    pub protocol: u8,
    /// Set where the packet is only a piece of a datagram.
    pub fragment: Option<Fragment>,
    /// Time to live or hop limit.
    pub ttl: u8,
}

/// A piece of an IP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Identification the pieces share.
    pub id: u32,
    /// Where the piece begins in the datagram's payload, in bytes.
    pub offset: u32,
    /// True where further pieces follow.
    pub more: bool,
    /// Protocol of what the datagram begins with: in IPv6 that may be an extension header.
    pub next: u8,
}

/// The transport header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Another protocol, a later fragment, or cut.
    #[default]
    None,
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Udp),
}

/// A TCP header (RFC 9293 §3.1). The ports are in [`Packet::ports`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Sequence number of the first payload byte, or of SYN.
    pub seq: u32,
    /// Next sequence number expected from the peer; meaningless without ACK.
    pub ack: u32,
    /// Control bits.
    pub flags: Flags,
    /// Window as sent, before scaling.
    pub window: u16,
    /// The options that matter to an analysis.
    pub options: TcpOptions,
}

/// A UDP header (RFC 768). The ports are in [`Packet::ports`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Udp {
    /// Length of header and payload as declared; 0 where the sender left it to segmentation offload.
    pub length: u16,
}

impl Packet<'_> {
    /// Payload bytes that were sent but not captured.
    pub fn missing(&self) -> u32 {
        self.payload_len.saturating_sub(u32::try_from(self.payload.len()).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.more { ", more follow" } else { "" };
        write!(f, "fragment {:#x} at {}{more}", self.id, self.offset)
    }
}

/// Takes a captured packet apart. `orig_len` is its length on the wire.
pub fn decode<'b, T: Trace>(c: &mut Cursor<'b, T>, link: LinkType, orig_len: u32) -> Packet<'b> {
    let mut packet = Packet::default();
    if let Err(error) = link::decode(c, link, orig_len, &mut packet) {
        packet.error = Some(error);
    }
    packet
}

/// [`decode`] without a tree.
pub fn parse(link: LinkType, data: &[u8], orig_len: u32) -> Packet<'_> {
    decode(&mut Cursor::new(data), link, orig_len)
}

/// Takes apart what a datagram carries that was put together from fragments; `ip` is the header of its first one.
/// `len` is its length on the wire, of which `datagram` is what was captured without a hole.
pub fn reassembled(ip: Ip, datagram: &[u8], len: u32) -> Packet<'_> {
    decode_reassembled(&mut Cursor::new(datagram), ip, len)
}

/// [`reassembled`], of all that `c` holds, with a tree where `T` keeps one.
pub fn decode_reassembled<'b, T: Trace>(c: &mut Cursor<'b, T>, ip: Ip, len: u32) -> Packet<'b> {
    let mut packet = Packet::default();
    let next = ip.fragment.map_or(ip.protocol, |fragment| fragment.next);
    let ip = Ip { fragment: None, protocol: next, ..ip };
    if let Err(error) = ip::whole(c, ip, len, &mut packet) {
        packet.error = Some(error);
    }
    packet
}

/// Bytes of the packet that were on the wire behind the cursor's position.
fn on_wire<T: Trace>(c: &Cursor<'_, T>, orig_len: u32) -> u32 {
    let consumed = u32::try_from(c.position()).unwrap_or(u32::MAX);
    let captured = u32::try_from(c.remaining()).unwrap_or(u32::MAX);
    orig_len.saturating_sub(consumed).max(captured)
}

/// Takes what the capture holds of `len` payload bytes.
fn payload<'b, T: Trace>(
    c: &mut Cursor<'b, T>,
    field: &'static crate::Field,
    len: u32,
    packet: &mut Packet<'b>,
) -> crate::Result<()> {
    let captured = c.remaining().min(usize::try_from(len).unwrap_or(usize::MAX));
    packet.payload = c.bytes(field, captured)?;
    packet.payload_len = len;
    Ok(())
}

#[cfg(test)]
mod tests;
