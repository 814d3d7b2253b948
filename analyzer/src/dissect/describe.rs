//! The columns of a packet without a PDU: its conversation, the lower protocol, a line.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use wire::net::{Ip, LinkType, Packet as Headers, Transport, protocol};

use super::held::Meta;
use super::state::State;
use super::{Flow, tcp};
use crate::capture::Packet;
use crate::flow::hash::Key;

impl State {
    /// Completes what is known of the packet: conversation, protocol, and the Info it has without a PDU.
    pub(super) fn describe(&mut self, packet: &Packet<'_>, headers: &Headers<'_>) {
        self.described = true;
        let fragment = headers.ip.filter(|ip| ip.fragment.is_some());
        let pair = headers.ip.zip(headers.ports);
        let sockets =
            pair.map(|(ip, (from, to))| (SocketAddr::new(ip.src, from), SocketAddr::new(ip.dst, to)));
        let (mut flow, mut name) = (None, lower_protocol(packet, headers));
        let pdus = !self.out.info.is_empty();
        if let Some(ip) = fragment {
            name = if ip.src.is_ipv6() { "IPv6" } else { "IPv4" };
            fragment_line(&ip, &mut self.line);
        } else if let (Transport::Tcp(tcp), Some((src, dst))) = (headers.transport, sockets) {
            let (key, _) = Key::of(src, dst);
            let id = self.by_key.get(&key).copied();
            flow = id.map(|id| Flow::Tcp(id.0));
            let mut alone = tcp::State::default();
            let (known, forward) = match id.and_then(|id| self.conns.get_mut(&id)) {
                Some(conn) => {
                    let forward = conn.info.a == src;
                    (&mut conn.tcp, forward)
                }
                None => (&mut alone, true),
            };
            let about = known.packet(forward, &tcp);
            about.facts(&tcp, headers, &mut self.out.facts);
            if !pdus {
                let again = headers.payload_len > 0 && self.now.fresh == 0;
                about.info(&tcp, headers, again, &mut self.line);
                if self.out.pending.is_some() && headers.payload_len > 0 && !again {
                    self.line.push_str(" [TCP segment of a reassembled PDU]");
                }
            }
        } else if let (Transport::Udp(_), Some((src, dst))) = (headers.transport, sockets) {
            flow = Some(Flow::Udp(self.udp_flow(src, dst)));
            for (name, port) in [("udp.srcport", src.port()), ("udp.dstport", dst.port())] {
                self.out.facts.number(name, u64::from(port));
                self.out.facts.number("udp.port", u64::from(port));
            }
            if !pdus {
                let _ = write!(self.line, "{} → {} Len={}", src.port(), dst.port(), headers.payload_len);
            }
        } else if !pdus {
            let _ = match (&headers.error, headers.ip) {
                (Some(error), _) => write!(self.line, "[{error}]"),
                (None, Some(ip)) => write!(self.line, "IP protocol {}", ip.protocol),
                (None, None) => {
                    write!(self.line, "{} bytes of link type {}", packet.data.len(), packet.link)
                }
            };
        }
        if headers.missing() > 0 {
            self.out.remark(format_args!("[Packet size limited during capture]"));
        }
        if let Some(layer) = headers.outer.last() {
            self.out.remark(format_args!("[inside {}]", layer.tunnel));
        }
        let addresses = headers.ip.map(|ip| (ip.src, ip.dst));
        self.meta = Meta { flow, protocol: name, addresses, ..self.meta };
    }
}

/// `Fragmented IP protocol (proto=UDP 17, off=0, ID=e2f4)`.
fn fragment_line(ip: &Ip, out: &mut String) {
    let Some(fragment) = ip.fragment else { return };
    let name = match fragment.next {
        protocol::TCP => "TCP ",
        protocol::UDP => "UDP ",
        1 => "ICMP ",
        _ => "",
    };
    let _ = if ip.src.is_ipv6() {
        let more = if fragment.more { "y" } else { "n" };
        write!(
            out,
            "IPv6 fragment (off={} more={more} ident=0x{:08x} nxt={})",
            fragment.offset, fragment.id, fragment.next
        )
    } else {
        write!(
            out,
            "Fragmented IP protocol (proto={name}{}, off={}, ID={:04x})",
            fragment.next, fragment.offset, fragment.id
        )
    };
}

fn lower_protocol(packet: &Packet<'_>, headers: &Headers<'_>) -> &'static str {
    match (headers.transport, headers.ip.map(|ip| ip.protocol)) {
        (Transport::Tcp(_), _) => "TCP",
        (Transport::Udp(_), _) => "UDP",
        (_, Some(1)) => "ICMP",
        (_, Some(58)) => "ICMPv6",
        (_, Some(2)) => "IGMP",
        (_, Some(47)) => "GRE",
        (_, Some(132)) => "SCTP",
        (_, Some(_)) => match headers.ip.map(|ip| ip.src) {
            Some(IpAddr::V6(_)) => "IPv6",
            _ => "IPv4",
        },
        _ => match (packet.link, packet.data.get(12..14)) {
            (LinkType::ETHERNET, Some([0x08, 0x06])) => "ARP",
            (LinkType::ETHERNET, _) => "Ethernet",
            _ => "Link",
        },
    }
}
