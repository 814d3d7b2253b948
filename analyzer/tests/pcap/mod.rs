//! Captures made and changed by tests.
#![allow(dead_code, reason = "every test file takes its own part of this")]

use std::net::{Ipv4Addr, SocketAddrV4};

/// Bytes of a capture's header, and of a packet's.
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;

/// Link type of packets that begin with their IP header.
const RAW_IP: u32 = 101;

/// The packets of a little-endian pcap file, with their headers.
pub fn packets(file: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut rest = &file[FILE_HEADER..];
    while !rest.is_empty() {
        let captured = u32::from_le_bytes(rest[8..12].try_into().unwrap());
        let (packet, behind) = rest.split_at(PACKET_HEADER + usize::try_from(captured).unwrap());
        packets.push(packet.to_vec());
        rest = behind;
    }
    packets
}

/// A pcap file with the header of another one.
pub fn file(like: &[u8], packets: &[Vec<u8>]) -> Vec<u8> {
    [&like[..FILE_HEADER], &packets.concat()].concat()
}

/// Writes packets; every one comes a millisecond after the one before.
#[derive(Debug, Default)]
pub struct Writer {
    packets: Vec<Vec<u8>>,
}

/// A TCP connection in a [`Writer`]: where each side's stream stands.
#[derive(Debug)]
pub struct Tcp {
    ends: [SocketAddrV4; 2],
    next: [u32; 2],
}

impl Segment<'_> {
    /// With its header.
    fn whole(&self) -> Vec<u8> {
        [
            &self.from.port().to_be_bytes()[..],
            &self.to.port().to_be_bytes(),
            &self.seq.to_be_bytes(),
            &self.ack.to_be_bytes(),
            &[0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0],
            self.bytes,
        ]
        .concat()
    }
}

/// Which side of a connection sends.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    Client,
    Server,
}

/// A TCP segment, as it is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub bytes: &'a [u8],
}

impl Writer {
    fn put(&mut self, from: SocketAddrV4, to: SocketAddrV4, protocol: u8, segment: &[u8]) {
        let n = u64::try_from(self.packets.len()).unwrap();
        self.put_at(1_700_000_000_000_000 + n * 1000, from, to, protocol, segment);
    }

    fn put_at(&mut self, time_us: u64, from: SocketAddrV4, to: SocketAddrV4, protocol: u8, segment: &[u8]) {
        let length = u16::try_from(20 + segment.len()).unwrap().to_be_bytes();
        let ip = [
            &[0x45, 0][..],
            &length,
            &[0, 0, 0x40, 0, 64, protocol, 0, 0],
            &from.ip().octets(),
            &to.ip().octets(),
            segment,
        ]
        .concat();
        let length = u32::try_from(ip.len()).unwrap();
        let time = [time_us / 1_000_000, time_us % 1_000_000].map(|n| u32::try_from(n).unwrap());
        let head = [time[0], time[1], length, length].map(u32::to_le_bytes).concat();
        self.packets.push([head, ip].concat());
    }

    /// Packets so far.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// The file's bytes.
    pub fn finish(self) -> Vec<u8> {
        let words = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, RAW_IP];
        [words.map(u32::to_le_bytes).concat(), self.packets.concat()].concat()
    }

    /// A connection with its handshake; the client is 10.0.0.1, the server 10.0.0.2.
    pub fn connect(&mut self, client_port: u16, server_port: u16) -> Tcp {
        let end = |last, port| SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), port);
        let mut tcp = Tcp { ends: [end(1, client_port), end(2, server_port)], next: [1000, 2000] };
        self.segment(&mut tcp, Side::Client, 0x02, &[]);
        self.segment(&mut tcp, Side::Server, 0x12, &[]);
        self.segment(&mut tcp, Side::Client, 0x10, &[]);
        tcp
    }

    fn segment(&mut self, tcp: &mut Tcp, side: Side, flags: u8, bytes: &[u8]) {
        let (me, other) = (side as usize, 1 - side as usize);
        let ack = if flags & 0x10 == 0 { 0 } else { tcp.next[other] };
        let (from, to) = (tcp.ends[me], tcp.ends[other]);
        self.put(from, to, 6, &Segment { from, to, seq: tcp.next[me], ack, flags, bytes }.whole());
        tcp.next[me] += u32::try_from(bytes.len()).unwrap() + u32::from(flags & 3 != 0);
    }

    /// A segment at a time of its own, in microseconds since 1970.
    pub fn segment_at(&mut self, time_us: u64, segment: &Segment<'_>) {
        self.put_at(time_us, segment.from, segment.to, 6, &segment.whole());
    }

    /// Bytes of one side, in segments of Ethernet's size.
    pub fn send(&mut self, tcp: &mut Tcp, side: Side, bytes: &[u8]) {
        for piece in bytes.chunks(1460) {
            self.segment(tcp, side, 0x18, piece);
        }
    }

    /// Both sides are done.
    pub fn close(&mut self, tcp: &mut Tcp) {
        self.segment(tcp, Side::Client, 0x11, &[]);
        self.segment(tcp, Side::Server, 0x11, &[]);
        self.segment(tcp, Side::Client, 0x10, &[]);
    }
}
