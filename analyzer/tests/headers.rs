//! Packet headers beside another decoder's: what etherparse builds is read back as it was meant.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]

use std::net::IpAddr;

use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv6Header, Ipv6RawExtHeader, PacketBuilder, PacketBuilderStep,
    SlicedPacket, TcpHeader, TcpOptionElement, TransportSlice, UdpHeader, ip_number,
};
use proptest::prelude::*;
use wire::net::{Flags, Fragment, LinkType, Packet, Transport, parse};

#[derive(Clone, Debug)]
struct Case {
    link: u8,
    v6: bool,
    tcp: bool,
    addresses: [[u8; 16]; 2],
    ports: (u16, u16),
    seq: u32,
    ack: Option<u32>,
    flags: [bool; 4],
    window: u16,
    options: Vec<TcpOptionElement>,
    payload: Vec<u8>,
    padding: usize,
    snap: usize,
}

fn option() -> impl Strategy<Value = TcpOptionElement> {
    prop_oneof![
        any::<u16>().prop_map(TcpOptionElement::MaximumSegmentSize),
        any::<u8>().prop_map(TcpOptionElement::WindowScale),
        Just(TcpOptionElement::SelectiveAcknowledgementPermitted),
        Just(TcpOptionElement::Noop),
        any::<(u32, u32)>().prop_map(|(a, b)| TcpOptionElement::Timestamp(a, b)),
        any::<((u32, u32), (u32, u32))>()
            .prop_map(|(a, b)| TcpOptionElement::SelectiveAcknowledgement(a, [Some(b), None, None])),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let head = (0..4u8, any::<bool>(), any::<bool>(), any::<[[u8; 16]; 2]>(), any::<(u16, u16)>());
    let tcp = (any::<u32>(), any::<Option<u32>>(), any::<[bool; 4]>(), any::<u16>());
    let rest = (
        prop::collection::vec(option(), 0..3),
        prop::collection::vec(any::<u8>(), 0..200),
        0..8usize,
        0..400usize,
    );
    (head, tcp, rest).prop_map(|(head, tcp, rest)| Case {
        link: head.0,
        v6: head.1,
        tcp: head.2,
        addresses: head.3,
        ports: head.4,
        seq: tcp.0,
        ack: tcp.1,
        flags: tcp.2,
        window: tcp.3,
        options: rest.0,
        payload: rest.1,
        padding: rest.2,
        snap: rest.3,
    })
}

impl Case {
    fn address(&self, end: usize) -> IpAddr {
        let bytes = self.addresses[end];
        if self.v6 { IpAddr::from(bytes) } else { IpAddr::from(<[u8; 4]>::try_from(&bytes[..4]).unwrap()) }
    }

    fn link_type(&self) -> LinkType {
        if self.link == 3 { LinkType::RAW } else { LinkType::ETHERNET }
    }

    fn build(&self) -> Vec<u8> {
        let ethernet = || PacketBuilder::ethernet2([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]);
        let vlan = |n: u16| n.try_into().unwrap();
        let (src, dst) = (self.addresses[0], self.addresses[1]);
        let four = |a: [u8; 16]| <[u8; 4]>::try_from(&a[..4]).unwrap();
        let ip = match (self.link, self.v6) {
            (0, false) => ethernet().ipv4(four(src), four(dst), 9),
            (0, true) => ethernet().ipv6(src, dst, 9),
            (1, false) => ethernet().single_vlan(vlan(77)).ipv4(four(src), four(dst), 9),
            (1, true) => ethernet().single_vlan(vlan(77)).ipv6(src, dst, 9),
            (2, false) => ethernet().double_vlan(vlan(77), vlan(8)).ipv4(four(src), four(dst), 9),
            (2, true) => ethernet().double_vlan(vlan(77), vlan(8)).ipv6(src, dst, 9),
            (_, false) => PacketBuilder::ipv4(four(src), four(dst), 9),
            (_, true) => PacketBuilder::ipv6(src, dst, 9),
        };
        let mut out = Vec::new();
        if self.tcp {
            let mut tcp = ip.tcp(self.ports.0, self.ports.1, self.seq, self.window);
            tcp = if let Some(ack) = self.ack { tcp.ack(ack) } else { tcp };
            tcp = if self.flags[0] { tcp.syn() } else { tcp };
            tcp = if self.flags[1] { tcp.fin() } else { tcp };
            tcp = if self.flags[2] { tcp.rst() } else { tcp };
            tcp = if self.flags[3] { tcp.psh() } else { tcp };
            tcp.options(&self.options).unwrap().write(&mut out, &self.payload).unwrap();
        } else {
            let udp: PacketBuilderStep<UdpHeader> = ip.udp(self.ports.0, self.ports.1);
            udp.write(&mut out, &self.payload).unwrap();
        }
        out
    }

    fn check(&self, packet: &Packet<'_>) {
        let ip = packet.ip.unwrap();
        assert_eq!((ip.src, ip.dst, ip.ttl, ip.fragment), (self.address(0), self.address(1), 9, None));
        assert_eq!(packet.ports, Some(self.ports));
        assert_eq!(packet.vlan, matches!(self.link, 1 | 2).then_some(77));
        assert_eq!(packet.payload_len as usize, self.payload.len());
        match packet.transport {
            Transport::Tcp(tcp) => {
                assert!(self.tcp);
                assert_eq!((tcp.seq, tcp.window), (self.seq, self.window));
                assert_eq!(tcp.flags.has(Flags::ACK).then_some(tcp.ack), self.ack);
                let flags = [Flags::SYN, Flags::FIN, Flags::RST, Flags::PSH].map(|f| tcp.flags.has(f));
                assert_eq!(flags, self.flags);
            }
            Transport::Udp(udp) => {
                assert!(!self.tcp);
                assert_eq!(usize::from(udp.length), self.payload.len() + 8);
            }
            Transport::None => panic!("no transport header"),
        }
    }
}

/// The same cases in every run; `PROPTEST_CASES` asks for more of them.
fn seeded() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(0x5ee_d0f_5ea);
    ProptestConfig { rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn packets_are_read_as_they_were_built(case in case()) {
        let mut bytes = case.build();
        let whole = bytes.len();
        bytes.resize(whole + case.padding, 0xee);
        let packet = parse(case.link_type(), &bytes, bytes.len() as u32);
        prop_assert_eq!(&packet.error, &None);
        case.check(&packet);
        prop_assert_eq!(packet.payload, &case.payload[..]);

        if let Transport::Tcp(tcp) = packet.transport {
            let last = |f: fn(&TcpOptionElement) -> Option<u32>| case.options.iter().filter_map(f).next_back();
            let mss = last(|o| if let TcpOptionElement::MaximumSegmentSize(v) = o { Some(u32::from(*v)) } else { None });
            let scale = last(|o| if let TcpOptionElement::WindowScale(v) = o { Some(u32::from(*v)) } else { None });
            let sack = last(|o| matches!(o, TcpOptionElement::SelectiveAcknowledgement(..)).then_some(2));
            let permitted = case.options.contains(&TcpOptionElement::SelectiveAcknowledgementPermitted);
            prop_assert_eq!(tcp.options.mss.map(u32::from), mss);
            prop_assert_eq!(tcp.options.window_scale.map(u32::from), scale);
            prop_assert_eq!(u32::from(tcp.options.sack_blocks), sack.unwrap_or(0));
            prop_assert_eq!(tcp.options.sack_permitted, permitted);
        }
    }

    #[test]
    fn a_cut_packet_says_what_is_missing(case in case()) {
        let bytes = case.build();
        let snap = case.snap.min(bytes.len());
        let packet = parse(case.link_type(), &bytes[..snap], bytes.len() as u32);
        let headers = bytes.len() - case.payload.len();
        if snap >= headers {
            case.check(&packet);
            prop_assert_eq!(packet.missing() as usize, bytes.len() - snap);
            prop_assert_eq!(packet.payload, &bytes[headers..snap]);
        } else {
            prop_assert!(packet.payload.is_empty());
            prop_assert!(packet.transport == Transport::None || case.tcp);
        }
    }

    #[test]
    fn damaged_packets_agree_with_the_other_decoder_or_are_refused(
        case in case(),
        damage in prop::collection::vec((0..80usize, any::<u8>()), 1..4),
    ) {
        let mut bytes = case.build();
        for (at, value) in damage {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let ours = parse(case.link_type(), &bytes, bytes.len() as u32);
        let theirs = match case.link {
            3 => SlicedPacket::from_ip(&bytes),
            _ => SlicedPacket::from_ethernet(&bytes),
        };
        let Ok(theirs) = theirs else { return Ok(()) };
        match theirs.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                prop_assert_eq!(ours.ports, Some((tcp.source_port(), tcp.destination_port())));
                let Transport::Tcp(read) = ours.transport else { panic!("{ours:?}") };
                prop_assert_eq!((read.seq, read.ack), (tcp.sequence_number(), tcp.acknowledgment_number()));
                prop_assert_eq!(ours.payload, tcp.payload());
            }
            Some(TransportSlice::Udp(udp)) if udp.length() >= 8 => {
                prop_assert_eq!(ours.ports, Some((udp.source_port(), udp.destination_port())));
                prop_assert_eq!(ours.payload, udp.payload());
            }
            _ => {}
        }
    }

    #[test]
    fn no_bytes_whatever_break_it(link in prop::sample::select(vec![0u16, 1, 12, 101, 108, 113, 228, 229, 253, 276]), bytes in prop::collection::vec(any::<u8>(), 0..120), orig: u32) {
        let packet = parse(LinkType(link), &bytes, orig);
        prop_assert!(packet.payload.len() <= bytes.len());
        prop_assert!(packet.payload.len() <= packet.payload_len as usize);
    }
}

/// An IPv6 packet whose TCP header stands behind the extension headers that `extensions` writes.
fn behind_extensions(first: IpNumber, extensions: &[u8]) -> Vec<u8> {
    let tcp = TcpHeader::new(1000, 1935, 7, 8);
    let length = (extensions.len() + tcp.header_len() + 3) as u16;
    let mut out = Vec::new();
    let ip = Ipv6Header {
        payload_length: length,
        next_header: first,
        hop_limit: 1,
        source: [1; 16],
        destination: [2; 16],
        ..Default::default()
    };
    ip.write(&mut out).unwrap();
    out.extend_from_slice(extensions);
    tcp.write(&mut out).unwrap();
    out.extend_from_slice(b"abc");
    out
}

#[test]
fn extension_headers_are_passed() {
    let mut extensions = Vec::new();
    Ipv6RawExtHeader::new_raw(ip_number::IPV6_DEST_OPTIONS, &[0; 14])
        .unwrap()
        .write(&mut extensions)
        .unwrap();
    Ipv6RawExtHeader::new_raw(ip_number::AUTH, &[0; 6]).unwrap().write(&mut extensions).unwrap();
    // Authentication header: next TCP, 4 words + 2, reserved, SPI, sequence number, 12 bytes of check value.
    extensions.extend_from_slice(&[6, 4, 0, 0]);
    extensions.extend_from_slice(&[0; 20]);
    let bytes = behind_extensions(ip_number::IPV6_HEADER_HOP_BY_HOP, &extensions);
    let packet = parse(LinkType::RAW, &bytes, bytes.len() as u32);
    assert_eq!((packet.error, packet.ports, packet.payload), (None, Some((1000, 1935)), &b"abc"[..]));
    assert_eq!(packet.ip.unwrap().protocol, 6);
}

#[test]
fn fragments_show_ports_in_the_first_only() {
    for (offset, more, ports) in [(0u16, true, true), (1480, true, false), (2960, false, false)] {
        let extension = [6, 0, (offset >> 8) as u8, (offset & 0xf8) as u8 | u8::from(more), 0, 0, 0, 9];
        let bytes = behind_extensions(ip_number::IPV6_FRAGMENTATION_HEADER, &extension);
        let packet = parse(LinkType::RAW, &bytes, bytes.len() as u32);
        let fragment = Fragment { id: 9, offset: u32::from(offset), more, next: 6 };
        assert_eq!(packet.ip.unwrap().fragment, Some(fragment));
        assert_eq!(packet.ports.is_some(), ports);

        let mut ip = Ipv4Header::new(28, 3, ip_number::UDP, [1; 4], [2; 4]).unwrap();
        ip.identification = 9;
        ip.more_fragments = more;
        ip.dont_fragment = false;
        ip.fragment_offset = IpFragOffset::try_new(offset / 8).unwrap();
        let mut bytes = Vec::new();
        ip.write(&mut bytes).unwrap();
        bytes.extend_from_slice(&[0, 1, 0, 2, 11, 184, 0, 0]);
        bytes.extend_from_slice(&[5; 20]);
        let packet = parse(LinkType::IPV4, &bytes, bytes.len() as u32);
        let fragment = Fragment { next: 17, ..fragment };
        assert_eq!(packet.ip.unwrap().fragment, Some(fragment));
        assert_eq!(packet.ports, ports.then_some((1, 2)));
        assert_eq!(packet.payload_len, if ports { 20 } else { 0 });
    }
}
