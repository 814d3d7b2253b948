//! Ethernet, IP, TCP and UDP headers around bytes that a socket carried.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

/// Most payload of one segment: with the shortest headers it makes the longest IPv4 packet there is.
pub const MAX_SEGMENT: usize = 65_495;

/// TCP flags (RFC 9293 §3.1).
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment field counts.
    pub const ACK: u8 = 0x10;
}

/// Locally administered addresses of nobody: the two ends of the made-up link.
const MAC_OPENER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const MAC_LISTENER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Largest window there is: 65535 x 2^14 bytes, so that no segment can fill it.
const WINDOW: u16 = 0xffff;
const WINDOW_SCALE: u8 = 14;

/// One TCP segment to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// True where the sender is the side that opened the connection.
    pub from_opener: bool,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
}

/// A sequence number `length` bytes later.
pub fn later(seq: u32, length: usize) -> u32 {
    seq.wrapping_add(u32::try_from(length & 0xffff_ffff).unwrap_or(0))
}

/// Who sends a UDP datagram to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// True where the sender is the side that speaks first.
    pub from_opener: bool,
}

/// The headers of a segment that carries `length` bytes; `payload` are those bytes, or nothing where they are
/// not at hand any more: the TCP checksum is then left zero, and nobody can check it in a packet cut short.
pub fn headers(out: &mut Vec<u8>, segment: &Segment, length: usize, payload: &[Bytes]) {
    let Segment { from, to, from_opener, .. } = *segment;
    let mut tcp = tcp_header(segment);
    let sum = around(out, &Datagram { from, to, from_opener }, TCP, &tcp, length);
    if let Some(sum) = over(sum, length, payload) {
        put(&mut tcp, 16, sum);
    }
    out.extend_from_slice(&tcp);
}

/// The headers of a datagram; `length` and `payload` as for [`headers`].
pub fn datagram_headers(out: &mut Vec<u8>, datagram: &Datagram, length: usize, payload: &[Bytes]) {
    let whole = u16::try_from(length.saturating_add(8)).unwrap_or(u16::MAX);
    let mut udp = Vec::with_capacity(8);
    udp.extend_from_slice(&datagram.from.port().to_be_bytes());
    udp.extend_from_slice(&datagram.to.port().to_be_bytes());
    udp.extend_from_slice(&whole.to_be_bytes());
    udp.extend_from_slice(&[0, 0]);
    let sum = around(out, datagram, UDP, &udp, length);
    if let Some(sum) = over(sum, length, payload) {
        // Zero would say that there is none: a sum of zero is sent as all ones (RFC 768).
        put(&mut udp, 6, if sum == 0 { u16::MAX } else { sum });
    }
    out.extend_from_slice(&udp);
}

/// Writes what goes around `header` and `length` bytes behind it; returns the sum over pseudo-header and header.
fn around(out: &mut Vec<u8>, ends: &Datagram, protocol: u8, header: &[u8], length: usize) -> Checksum {
    let (source, destination) =
        if ends.from_opener { (MAC_OPENER, MAC_LISTENER) } else { (MAC_LISTENER, MAC_OPENER) };
    out.extend_from_slice(&destination);
    out.extend_from_slice(&source);

    let length = header.len().saturating_add(length);
    let ip_start = out.len().saturating_add(2);
    let mut sum = Checksum::default();
    match (ends.from.ip(), ends.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x08, 0x00]);
            let total = u16::try_from(length.saturating_add(20)).unwrap_or(u16::MAX);
            // Version 4, 5 words; no identification, since nothing is ever fragmented (RFC 6864 §4.1); DF;
            // time to live 64.
            out.extend_from_slice(&[0x45, 0]);
            out.extend_from_slice(&total.to_be_bytes());
            out.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
            let mut ip = Checksum::default();
            ip.add(out.get(ip_start..).unwrap_or_default());
            put(out, ip_start.saturating_add(10), ip.finish());
            sum.add(&from.octets());
            sum.add(&to.octets());
        }
        (from, to) => {
            let (from, to) = (v6(from), v6(to));
            out.extend_from_slice(&[0x86, 0xdd]);
            let payload_length = u16::try_from(length).unwrap_or(u16::MAX);
            out.extend_from_slice(&[0x60, 0, 0, 0]);
            out.extend_from_slice(&payload_length.to_be_bytes());
            out.extend_from_slice(&[protocol, 64]);
            out.extend_from_slice(&from);
            out.extend_from_slice(&to);
            sum.add(&from);
            sum.add(&to);
        }
    }
    // The rest of the pseudo-header (RFC 9293 §3.1, RFC 768, RFC 8200 §8.1): protocol and length. Both IP versions
    // sum to the same, whatever their field widths.
    sum.add(&[0, protocol]);
    sum.add(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    sum.add(header);
    sum
}

/// The sum with the payload; none where that is not at hand.
fn over(mut sum: Checksum, length: usize, payload: &[Bytes]) -> Option<u16> {
    if length > 0 && payload.is_empty() {
        return None;
    }
    payload.iter().for_each(|piece| sum.add(piece));
    Some(sum.finish())
}

fn put(out: &mut [u8], at: usize, value: u16) {
    if let Some(field) = out.get_mut(at..at.saturating_add(2)) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn tcp_header(segment: &Segment) -> Vec<u8> {
    let mut tcp = Vec::with_capacity(28);
    tcp.extend_from_slice(&segment.from.port().to_be_bytes());
    tcp.extend_from_slice(&segment.to.port().to_be_bytes());
    tcp.extend_from_slice(&segment.seq.to_be_bytes());
    tcp.extend_from_slice(&segment.ack.to_be_bytes());
    let syn = segment.flags & flag::SYN != 0;
    tcp.extend_from_slice(&[if syn { 0x70 } else { 0x50 }, segment.flags]);
    tcp.extend_from_slice(&WINDOW.to_be_bytes());
    tcp.extend_from_slice(&[0, 0, 0, 0]);
    if syn {
        // Maximum segment size; no-operation; window scale.
        let mss = u16::try_from(MAX_SEGMENT).unwrap_or(u16::MAX).to_be_bytes();
        tcp.extend_from_slice(&[2, 4]);
        tcp.extend_from_slice(&mss);
        tcp.extend_from_slice(&[1, 3, 3, WINDOW_SCALE]);
    }
    tcp
}

/// The Internet checksum (RFC 1071), over pieces of any length.
#[derive(Clone, Copy, Debug, Default)]
struct Checksum {
    sum: u64,
    /// A byte that waits for its partner.
    odd: Option<u8>,
}

impl Checksum {
    fn add(&mut self, mut bytes: &[u8]) {
        if let Some(high) = self.odd
            && let Some((low, rest)) = bytes.split_first()
        {
            self.odd = None;
            self.word(u64::from(u16::from_be_bytes([high, *low])));
            bytes = rest;
        }
        // Four bytes at a time: one's complement addition does not mind the width (RFC 1071 §2 C).
        let (fours, rest) = bytes.as_chunks::<4>();
        for four in fours {
            self.word(u64::from(u32::from_be_bytes(*four)));
        }
        let (twos, rest) = rest.as_chunks::<2>();
        for two in twos {
            self.word(u64::from(u16::from_be_bytes(*two)));
        }
        if let [last] = rest {
            self.odd = Some(*last);
        }
    }

    fn word(&mut self, word: u64) {
        self.sum = self.sum.wrapping_add(word);
    }

    fn finish(mut self) -> u16 {
        if let Some(last) = self.odd.take() {
            self.word(u64::from(u16::from_be_bytes([last, 0])));
        }
        while self.sum > 0xffff {
            self.sum = (self.sum >> 16).wrapping_add(self.sum & 0xffff);
        }
        !((self.sum & 0xffff) as u16)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    fn check(from: &str, to: &str, payload: &[&'static [u8]]) {
        let segment = Segment {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            from_opener: true,
            seq: 0xffff_fff0,
            ack: 7,
            flags: flag::ACK | flag::PSH,
        };
        let pieces: Vec<Bytes> = payload.iter().map(|p| Bytes::from_static(p)).collect();
        let body = payload.concat();
        let mut packet = Vec::new();
        headers(&mut packet, &segment, body.len(), &pieces);
        packet.extend_from_slice(&body);

        let sliced = SlicedPacket::from_ethernet(&packet).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
        assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (segment.seq, 7));
        assert_eq!(tcp.payload(), body);
        let want = match sliced.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
                tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap()
            }
            NetSlice::Ipv6(ip) => {
                tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap()
            }
            NetSlice::Arp(_) => panic!("ARP"),
        };
        assert_eq!(tcp.checksum(), want, "{from} {to} {payload:?}");
    }

    #[test]
    fn checksums_agree_with_another_implementation() {
        static LONG: [u8; MAX_SEGMENT] = [0xe7; MAX_SEGMENT];
        for (from, to) in [("10.0.0.1:40000", "192.168.7.9:1935"), ("[fe80::1]:40000", "[2001:db8::2]:1935")]
        {
            check(from, to, &[]);
            check(from, to, &[b"x"]);
            check(from, to, &[b"abc", b"", b"d", b"efghi", b"\xff\xff\xff"]);
            check(from, to, &[&LONG]);
        }
    }

    #[test]
    fn datagrams_have_checksums_too() {
        for (from, to) in [("10.0.0.1:8000", "192.168.7.9:5000"), ("[fe80::1]:8000", "[2001:db8::2]:5000")] {
            for body in [b"".as_slice(), b"x", b"rtp and more", &[0xff; 1400]] {
                let ends =
                    Datagram { from: from.parse().unwrap(), to: to.parse().unwrap(), from_opener: true };
                let mut packet = Vec::new();
                datagram_headers(&mut packet, &ends, body.len(), &[Bytes::copy_from_slice(body)]);
                packet.extend_from_slice(body);
                let sliced = SlicedPacket::from_ethernet(&packet).unwrap();
                let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP") };
                assert_eq!((udp.source_port(), udp.destination_port(), udp.payload()), (8000, 5000, body));
                let header = udp.to_header();
                let want = match sliced.net.unwrap() {
                    NetSlice::Ipv4(ip) => {
                        assert_eq!(
                            ip.header().header_checksum(),
                            ip.header().to_header().calc_header_checksum()
                        );
                        header.calc_checksum_ipv4(&ip.header().to_header(), body).unwrap()
                    }
                    NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), body).unwrap(),
                    NetSlice::Arp(_) => panic!("ARP"),
                };
                assert_eq!(udp.checksum(), want, "{from} {to} {} bytes", body.len());
            }
        }
    }

    #[test]
    fn a_syn_opens_the_largest_window() {
        let segment = Segment {
            from: "127.0.0.1:1".parse().unwrap(),
            to: "127.0.0.1:2".parse().unwrap(),
            from_opener: true,
            seq: 1,
            ack: 0,
            flags: flag::SYN,
        };
        let mut packet = Vec::new();
        headers(&mut packet, &segment, 0, &[]);
        let sliced = SlicedPacket::from_ethernet(&packet).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
        assert!(tcp.syn() && !tcp.ack());
        let options: Vec<_> = tcp.options_iterator().map(Result::unwrap).collect();
        use etherparse::TcpOptionElement::{MaximumSegmentSize, Noop, WindowScale};
        assert_eq!(options, [MaximumSegmentSize(65_495), Noop, WindowScale(14)]);
    }
}
