#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::trace::Tree;

/// IPv4 and TCP with a window scale option and 3 bytes of payload.
const TCP4: [u8; 47] = [
    0x45, 0, 0, 47, 0, 9, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
    0x07, 0x8f, 0xc3, 0x50, 0, 0, 0, 5, 0, 0, 0, 7, 0x60, 0x18, 1, 0, 0, 0, 0, 0, // TCP
    3, 3, 7, 0, b'a', b'b', b'c',
];

/// IPv6 and UDP with 2 bytes of payload.
const UDP6: [u8; 50] = [
    0x60, 0, 0, 0, 0, 10, 17, 3, //
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, //
    0x1f, 0x40, 0x1f, 0x41, 0, 10, 0, 0, 0x80, 0x60,
];

fn under(link: &[u8], packet: &[u8]) -> Vec<u8> {
    [link, packet].concat()
}

fn parse_whole(link: LinkType, bytes: &[u8]) -> Packet<'_> {
    parse(link, bytes, u32::try_from(bytes.len()).unwrap())
}

#[test]
fn every_link_type_leads_to_the_same_packet() {
    let ethernet = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 8, 0];
    let vlans = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x88, 0xa8, 0x20, 5, 0x81, 0, 0, 6, 8, 0];
    let pppoe = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x88, 0x64, 0x11, 0, 0, 1, 0, 49, 0, 0x21];
    let sll = [0, 0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0];
    let sll2 = [8, 0, 0, 0, 0, 0, 0, 1, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0];
    let links: [(LinkType, &[u8], Option<u16>); 11] = [
        (LinkType::ETHERNET, &ethernet, None),
        (LinkType::ETHERNET, &vlans, Some(5)),
        (LinkType::ETHERNET, &pppoe, None),
        (LinkType::LINUX_SLL, &sll, None),
        (LinkType::LINUX_SLL2, &sll2, None),
        (LinkType::NULL, &[2, 0, 0, 0], None),
        (LinkType::NULL, &[0, 0, 0, 2], None),
        (LinkType::LOOP, &[0, 0, 0, 2], None),
        (LinkType::RAW, &[], None),
        (LinkType(12), &[], None),
        (LinkType::IPV4, &[], None),
    ];
    for (link, header, vlan) in links {
        let bytes = under(header, &TCP4);
        let packet = parse_whole(link, &bytes);
        assert!(link.is_known());
        assert_eq!((packet.vlan, packet.ports, packet.payload), (vlan, Some((1935, 50_000)), &b"abc"[..]));
        let Transport::Tcp(tcp) = packet.transport else { panic!("{link} {packet:?}") };
        assert_eq!((tcp.seq, tcp.ack, tcp.window, tcp.options.window_scale), (5, 7, 256, Some(7)));
        assert_eq!(format!("{:?}", tcp.flags), r#"["PSH", "ACK"]"#);
    }
    for (link, header) in [(LinkType::NULL, &[30, 0, 0, 0][..]), (LinkType::RAW, &[]), (LinkType::IPV6, &[])]
    {
        let bytes = under(header, &UDP6);
        let packet = parse_whole(link, &bytes);
        assert_eq!((packet.ports, packet.payload), (Some((8000, 8001)), &[0x80, 0x60][..]));
        assert_eq!(packet.ip.map(|ip| (ip.src.to_string(), ip.ttl)), Some(("::1".to_owned(), 3)));
    }
}

#[test]
fn the_tree_tiles_the_packet_up_to_its_padding() {
    let mut bytes = under(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x81, 0, 0, 6, 8, 0], &TCP4);
    let end = bytes.len() as u64 * 8;
    bytes.extend_from_slice(&[0; 6]);
    let mut c = Cursor::traced(&bytes, Tree::default());
    let packet = decode(&mut c, LinkType::ETHERNET, 71);
    assert_eq!(packet, parse(LinkType::ETHERNET, &bytes, 71));
    assert_eq!((packet.payload, packet.payload_len, packet.missing()), (&b"abc"[..], 3, 0));
    let mut next = 0;
    for leaf in c.into_trace().leaves() {
        assert_eq!(leaf.bits.start, next);
        next = leaf.bits.end;
    }
    assert_eq!(next, end);
}

#[test]
fn a_length_of_zero_is_segmentation_offload() {
    let mut bytes = TCP4.to_vec();
    bytes[2..4].fill(0);
    assert_eq!(parse(LinkType::RAW, &bytes, 47).payload, b"abc");
    let cut = parse(LinkType::RAW, &bytes, 65_549);
    assert_eq!((cut.payload_len, cut.missing()), (65_505, 65_502));
    let mut bytes = UDP6.to_vec();
    bytes[4..6].fill(0);
    bytes[44..46].fill(0);
    assert_eq!(parse_whole(LinkType::RAW, &bytes).payload, &[0x80, 0x60]);
}

#[test]
fn ports_are_told_where_no_more_was_captured() {
    let packet = parse(LinkType::RAW, &TCP4[..24], 47);
    assert_eq!((packet.ports, packet.transport), (Some((1935, 50_000)), Transport::None));
    assert_eq!(
        packet.error.map(|e| e.to_string()).as_deref(),
        Some("byte 24: sequence number in TCP: want 4 bytes, 0 are left")
    );
    let packet = parse(LinkType::RAW, &TCP4[..42], 47);
    assert!(matches!(packet.transport, Transport::Tcp(_)), "options may be cut");
    assert_eq!((packet.payload_len, packet.missing()), (3, 3));
}

#[test]
fn headers_that_contradict_themselves_are_no_packets() {
    let damaged = |at: usize, value: u8| {
        let mut bytes = TCP4.to_vec();
        bytes[at] = value;
        let packet = parse_whole(LinkType::RAW, &bytes);
        (packet.ip.is_some(), packet.transport != Transport::None, packet.error.map(|e| (e.at, e.field)))
    };
    assert_eq!(damaged(0, 0x55), (false, false, Some((0, "version"))));
    assert_eq!(damaged(0, 0x44), (false, false, Some((0, "header length"))));
    assert_eq!(damaged(3, 19), (false, false, Some((2, "total length"))));
    assert_eq!(damaged(3, 40), (true, false, Some((32, "data offset"))));
    assert_eq!(damaged(32, 0x40), (true, false, Some((32, "data offset"))));
    assert_eq!(damaged(41, 9), (true, true, Some((41, "length"))));
    let mut bytes = UDP6.to_vec();
    bytes[45] = 7;
    let packet = parse_whole(LinkType::RAW, &bytes);
    assert_eq!((packet.ports, packet.transport), (Some((8000, 8001)), Transport::None));
}

#[test]
fn what_icmp_quotes_is_no_packet() {
    let mut bytes = vec![0x45, 0, 0, 75, 0, 9, 0, 0, 64, 1, 0, 0, 10, 0, 0, 9, 10, 0, 0, 1];
    bytes.extend_from_slice(&[3, 3, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&TCP4);
    let packet = parse_whole(LinkType::RAW, &bytes);
    assert_eq!((packet.ports, packet.payload_len), (None, 0));
    assert_eq!(packet.ip.map(|ip| ip.protocol), Some(protocol::ICMP));
}

#[test]
fn a_chain_of_headers_without_end_is_left() {
    let mut bytes = UDP6[..40].to_vec();
    bytes[6] = 0;
    bytes[4..6].copy_from_slice(&800u16.to_be_bytes());
    for _ in 0..100 {
        bytes.extend_from_slice(&[0; 8]);
    }
    let packet = parse_whole(LinkType::RAW, &bytes);
    assert_eq!((packet.ports, packet.error), (None, None));
}

#[test]
fn names_of_link_types() {
    let names = [1, 113, 276, 101, 147, 400].map(|n| LinkType(n).to_string());
    assert_eq!(names, ["EN10MB", "LINUX_SLL", "LINUX_SLL2", "RAW", "USER0", "LINKTYPE_400"]);
    assert!(!LinkType(253).is_known());
}

/// `TCP4` and `UDP6` behind the headers of tunnels; each with the outer ports.
fn tunnelled() -> Vec<(Tunnel, Option<u16>, Vec<u8>)> {
    let ip4 = |protocol: u8, rest: Vec<u8>| {
        let total = u8::try_from(20 + rest.len()).unwrap();
        let header = [0x45, 0, 0, total, 0, 1, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        [&header[..], &rest].concat()
    };
    let udp = |port: u16, rest: Vec<u8>| {
        let [high, low] = port.to_be_bytes();
        let length = u8::try_from(8 + rest.len()).unwrap();
        ip4(17, [&[0x9c, 0x40, high, low, 0, length, 0, 0][..], &rest].concat())
    };
    let ethernet = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 8, 0];
    let with = |header: &[u8], rest: &[u8]| [header, rest].concat();
    let gtp = |optional: &[u8]| {
        let flags = if optional.is_empty() { 0x30 } else { 0x34 };
        let length = u8::try_from(optional.len() + TCP4.len()).unwrap();
        [&[flags, 0xff, 0, length, 0, 0, 0, 9][..], optional, &TCP4].concat()
    };
    vec![
        (Tunnel::IpInIp, None, ip4(4, TCP4.to_vec())),
        (Tunnel::IpInIp, None, ip4(41, UDP6.to_vec())),
        (Tunnel::Gre, None, ip4(47, with(&[0, 0, 8, 0], &TCP4))),
        (Tunnel::Gre, None, ip4(47, with(&[0xb0, 0, 8, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3], &TCP4))),
        (Tunnel::Gre, None, ip4(47, with(&with(&[0, 0, 0x65, 0x58], &ethernet), &TCP4))),
        (
            Tunnel::Gre,
            None,
            ip4(
                47,
                with(&[0x30, 0x81, 0x88, 0x0b, 0, 51, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 3, 0, 0x21], &TCP4),
            ),
        ),
        (
            Tunnel::Gre,
            None,
            ip4(
                47,
                with(&with(&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 0, 0, 0, 0, 0], &ethernet), &TCP4),
            ),
        ),
        (Tunnel::Vxlan, Some(4789), udp(4789, with(&with(&[8, 0, 0, 0, 0, 0, 5, 0], &ethernet), &TCP4))),
        (
            Tunnel::Geneve,
            Some(6081),
            udp(6081, with(&with(&[1, 0, 0x65, 0x58, 0, 0, 5, 0, 1, 2, 3, 4], &ethernet), &TCP4)),
        ),
        (Tunnel::Gtp, Some(2152), udp(2152, gtp(&[]))),
        (Tunnel::Gtp, Some(2152), udp(2152, gtp(&[0, 0, 0, 0x85, 1, 0x10, 9, 0]))),
        (Tunnel::Teredo, Some(3544), udp(3544, UDP6.to_vec())),
    ]
}

#[test]
fn tunnels_are_followed_to_what_is_inside() {
    for (tunnel, port, bytes) in tunnelled() {
        let mut c = Cursor::traced(&bytes, Tree::default());
        let packet = decode(&mut c, LinkType::RAW, u32::try_from(bytes.len()).unwrap());
        assert_eq!(packet.error, None, "{tunnel:?}");
        let [layer] = packet.outer[..] else { panic!("{tunnel:?}: {packet:?}") };
        assert_eq!((layer.tunnel, layer.ports), (tunnel, port.map(|to| (40_000, to))));
        assert_eq!(layer.ip.src.to_string(), "192.0.2.1");
        match packet.transport {
            Transport::Tcp(_) => {
                assert_eq!((packet.ports, packet.payload), (Some((1935, 50_000)), &b"abc"[..]))
            }
            Transport::Udp(_) => {
                assert_eq!((packet.ports, packet.payload), (Some((8000, 8001)), &UDP6[48..]))
            }
            Transport::None => panic!("{tunnel:?}: {packet:?}"),
        }
        let mut next = 0;
        for leaf in c.into_trace().leaves() {
            assert_eq!(leaf.bits.start, next, "{tunnel:?}");
            next = leaf.bits.end;
        }
        // Cut anywhere, nothing is invented and nothing panics.
        for cut in 0..bytes.len() {
            let packet = parse(LinkType::RAW, &bytes[..cut], u32::try_from(bytes.len()).unwrap());
            assert!(packet.outer.is_empty() || packet.payload.len() <= 3);
        }
    }
}

#[test]
fn anything_else_on_a_tunnels_port_is_left_alone() {
    for port in [2152u16, 3544, 4789, 6081] {
        let [high, low] = port.to_be_bytes();
        for payload in
            [[0x80u8, 0x60, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2], [0x30, 0xff, 0, 4, 0, 0, 0, 0, 1, 2, 3, 4]]
        {
            let ip = [0x45, 0, 0, 40, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            let bytes = [&ip[..], &[high, low, high, low, 0, 20, 0, 0], &payload].concat();
            let packet = parse_whole(LinkType::RAW, &bytes);
            assert_eq!((packet.outer.len(), packet.payload), (0, &payload[..]), "port {port}");
        }
    }
}

#[test]
fn tunnels_in_tunnels_end_somewhere() {
    let mut bytes = Vec::new();
    for _ in 0..40 {
        bytes.extend([0x45, 0, 0, 0, 0, 1, 0, 0, 64, 4, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    }
    assert_eq!(parse_whole(LinkType::RAW, &bytes).outer.len(), 8);
}

#[test]
fn further_link_types_lead_to_the_same_packet() {
    let mpls = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64];
    let snap = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 55, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
    let links: [(LinkType, &[u8]); 7] = [
        (LinkType::ETHERNET, &mpls),
        (LinkType::ETHERNET, &snap),
        (LinkType::PPP, &[0xff, 3, 0, 0x21]),
        (LinkType::PPP, &[0x21]),
        (LinkType::PPP_HDLC, &[0xff, 3, 0, 0x21]),
        (LinkType::PPP_ETHER, &[0x11, 0, 0, 1, 0, 49, 0, 0x21]),
        (LinkType::C_HDLC, &[0x0f, 0, 8, 0]),
    ];
    for (link, header) in links {
        let bytes = under(header, &TCP4);
        let packet = parse_whole(link, &bytes);
        assert!(link.is_known());
        assert_eq!((packet.ports, packet.payload), (Some((1935, 50_000)), &b"abc"[..]), "{link}");
    }
}
