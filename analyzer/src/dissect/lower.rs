//! What is below the protocols followed: the packet's record and headers, and the line of a packet without a PDU.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use wire::net::{Ip, LinkType, Packet as Headers, Transport, protocol};

use super::held::Meta;
use super::provenance::Provenance;
use super::state::State;
use super::tree::Part;
use super::{Flow, Place, render, tcp};
use crate::capture::Packet;
use crate::flow::Whole;
use crate::flow::hash::Key;

/// The record or block that the packet is stored in, in its file.
pub(super) fn record_part(packet: &Packet<'_>) -> Option<Part> {
    let record = packet.record?;
    let name = record.name();
    let title = format!("{name}: {} bytes of the file from byte {} on", record.bytes.len(), record.at);
    let (part, _) = Part::read(title, record.bytes, Provenance::default(), |c| record.decode(c));
    Some(part)
}

/// A datagram put together from fragments.
pub(super) fn datagram_part(whole: &Whole, frame: u64) -> Part {
    let captured = whole.bytes.len() as u64;
    let title = format!("IP datagram put together from fragments: {} bytes", whole.length);
    let origin = Provenance::frame(frame, None, captured);
    let mut error = None;
    let (mut part, _) = Part::read(title, &whole.bytes, origin, |c| {
        error = whole.decode(c).error;
        Ok(())
    });
    part.error = error;
    part
}

/// The captured bytes, from the link layer to the transport payload.
pub(super) fn frame_part(packet: &Packet<'_>, number: u64, place: Place, since_ns: i64) -> Part {
    let captured = packet.data.len();
    let title = format!("Frame {number}: {} bytes on the wire, {captured} captured", packet.orig_len);
    let origin = Provenance::frame(number, Some(0), captured as u64);
    let mut error = None;
    let (mut part, _) = Part::read(title, packet.data, origin, |c| {
        error = wire::net::decode(c, packet.link, packet.orig_len).error;
        Ok(())
    });
    part.error = error;
    let since = render::Seconds(since_ns);
    if place.several {
        let file = place.file.saturating_add(1);
        part.note("several files", format!("frame {} of file {file}", packet.number));
    }
    part.note(
        "captured",
        format!(
            "link type {} ({}), interface {}, {} s since 1970, {since} s since the first packet",
            packet.link.0,
            packet.link,
            packet.interface,
            render::Seconds(packet.time_ns),
        ),
    );
    part
}

/// Completes what is known of a packet: conversation, protocol, and the Info it has without a PDU.
pub(super) fn describe(state: &mut State, packet: &Packet<'_>, headers: &Headers<'_>) {
    let fragment = headers.ip.filter(|ip| ip.fragment.is_some());
    let pair = headers.ip.zip(headers.ports);
    let sockets = pair.map(|(ip, (from, to))| (SocketAddr::new(ip.src, from), SocketAddr::new(ip.dst, to)));
    let (mut flow, mut name) = (None, lower_protocol(packet, headers));
    let pdus = !state.out.info.is_empty();
    if let Some(ip) = fragment {
        name = if ip.src.is_ipv6() { "IPv6" } else { "IPv4" };
        fragment_line(&ip, &mut state.line);
    } else if let (Transport::Tcp(tcp), Some((src, dst))) = (headers.transport, sockets) {
        let (key, _) = Key::of(src, dst);
        let id = state.by_key.get(&key).copied();
        flow = id.map(|id| Flow::Tcp(id.0));
        let mut alone = tcp::State::default();
        let (known, forward) = match id.and_then(|id| state.conns.get_mut(&id)) {
            Some(conn) => {
                let forward = conn.info.a == src;
                (&mut conn.tcp, forward)
            }
            None => (&mut alone, true),
        };
        let about = known.packet(forward, &tcp);
        about.facts(&tcp, headers, &mut state.out.facts);
        if !pdus {
            let again = headers.payload_len > 0 && state.now.fresh == 0;
            about.info(&tcp, headers, again, &mut state.line);
            if state.out.pending.is_some() && headers.payload_len > 0 && !again {
                state.line.push_str(" [TCP segment of a reassembled PDU]");
            }
        }
    } else if let (Transport::Udp(_), Some((src, dst))) = (headers.transport, sockets) {
        flow = Some(Flow::Udp(state.udp_flow(src, dst)));
        for (name, port) in [("udp.srcport", src.port()), ("udp.dstport", dst.port())] {
            state.out.facts.number(name, u64::from(port));
            state.out.facts.number("udp.port", u64::from(port));
        }
        if !pdus {
            let _ = write!(state.line, "{} → {} Len={}", src.port(), dst.port(), headers.payload_len);
        }
    } else if !pdus {
        let _ = match (&headers.error, headers.ip) {
            (Some(error), _) => write!(state.line, "[{error}]"),
            (None, Some(ip)) => write!(state.line, "IP protocol {}", ip.protocol),
            (None, None) => {
                write!(state.line, "{} bytes of link type {}", packet.data.len(), packet.link)
            }
        };
    }
    if headers.missing() > 0 {
        state.out.remark(format_args!("[Packet size limited during capture]"));
    }
    if let Some(layer) = headers.outer.last() {
        state.out.remark(format_args!("[inside {}]", layer.tunnel));
    }
    let addresses = headers.ip.map(|ip| (ip.src, ip.dst));
    state.meta = Meta { flow, protocol: name, addresses, ..state.meta };
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
