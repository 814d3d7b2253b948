//! A connection of RTMP written by hand: every message as the bytes of a case, one packet each.

use serde::Deserialize;
use wire::pcapng::write::{InterfaceOptions, SectionOptions, interface, packet, section_header};

use super::edit::{Case, bytes, checksum};

/// 2023-11-14, and a millisecond for every packet.
const BEGAN_NS: u64 = 1_700_000_000_000_000_000;
const PORTS: [u16; 2] = [50_000, 1935];
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const PUSH: u8 = 0x18;
const FIN: u8 = 0x11;

/// A message.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Say {
    /// Who says it.
    pub from: From,
    /// Message type id.
    pub kind: u8,
    /// Chunk stream; one byte is enough for it.
    pub csid: u8,
    /// Message stream id.
    #[serde(default)]
    pub stream: u32,
    /// Milliseconds.
    #[serde(default)]
    pub time: u32,
    /// Pieces of the body: text, or hexadecimal digits behind `hex:`.
    pub body: Vec<String>,
}

/// An end of the connection.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    Client,
    Server,
}

/// The packets of a case.
pub fn make(case: &Case) -> Vec<u8> {
    let mut wire = Wire { out: Vec::new(), packets: 0, next: [1000, 2000] };
    let section = SectionOptions { comment: Some(&case.title), ..SectionOptions::default() };
    section_header(&mut wire.out, &section);
    let ethernet = InterfaceOptions { link_type: 1, snap_len: 0, ..InterfaceOptions::default() };
    interface(&mut wire.out, &ethernet);
    wire.send(From::Client, SYN, &[]);
    wire.send(From::Server, SYN | ACK, &[]);
    wire.send(From::Client, ACK, &[]);
    // Each end's 1536 bytes have a digit of their own, so that nobody takes one for the other.
    let hello = |digit: u8| [vec![0; 8], vec![digit; 1528]].concat();
    wire.send(From::Client, PUSH, &[vec![3], hello(0xc1)].concat());
    wire.send(From::Server, PUSH, &[vec![3], hello(0x51), hello(0xc1)].concat());
    wire.send(From::Client, PUSH, &hello(0x51));
    for say in &case.say {
        wire.send(say.from, PUSH, &chunks(say));
    }
    wire.send(From::Client, FIN, &[]);
    wire.send(From::Server, FIN, &[]);
    wire.send(From::Client, ACK, &[]);
    wire.out
}

/// The chunks of a message, 128 bytes each (RTMP 1.0 §5.3.1).
fn chunks(say: &Say) -> Vec<u8> {
    let body: Vec<u8> = say.body.iter().flat_map(|piece| bytes(piece)).collect();
    let length = u32::try_from(body.len()).unwrap();
    let mut out = vec![say.csid];
    out.extend(&say.time.to_be_bytes()[1..]);
    out.extend(&length.to_be_bytes()[1..]);
    out.push(say.kind);
    out.extend(say.stream.to_le_bytes());
    for (n, piece) in body.chunks(128).enumerate() {
        if n > 0 {
            out.push(0xc0 | say.csid);
        }
        out.extend(piece);
    }
    out
}

struct Wire {
    out: Vec<u8>,
    packets: u64,
    /// Sequence number of each end's next byte.
    next: [u32; 2],
}

impl Wire {
    /// Bytes of one end, in as many packets as they need.
    fn send(&mut self, from: From, flags: u8, payload: &[u8]) {
        if payload.is_empty() {
            return self.packet(from, flags, &[]);
        }
        for piece in payload.chunks(1460) {
            self.packet(from, flags, piece);
        }
    }

    fn packet(&mut self, from: From, flags: u8, payload: &[u8]) {
        let (me, other) = (from as usize, 1 - from as usize);
        let ack = if flags & ACK == 0 { 0 } else { self.next[other] };
        let mac = |end: usize| [2, 0, 0, 0, 0, u8::try_from(end + 1).unwrap()];
        let address = |end: usize| [192, 0, 2, u8::try_from(end + 1).unwrap()];
        let length = u16::try_from(40 + payload.len()).unwrap().to_be_bytes();
        let mut ip =
            [&[0x45, 0], &length[..], &[0, 0, 0x40, 0, 64, 6, 0, 0], &address(me), &address(other)].concat();
        let sum: u32 = ip.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut frame = [&mac(other)[..], &mac(me), &[8, 0], &ip].concat();
        frame.extend(PORTS[me].to_be_bytes());
        frame.extend(PORTS[other].to_be_bytes());
        frame.extend(self.next[me].to_be_bytes());
        frame.extend(ack.to_be_bytes());
        frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.extend(payload);
        checksum(&mut frame);
        let length = u32::try_from(frame.len()).unwrap();
        packet(&mut self.out, 0, BEGAN_NS + self.packets * 1_000_000, &[&frame], length);
        self.packets += 1;
        self.next[me] += u32::try_from(payload.len()).unwrap() + u32::from(flags & 3 != 0);
    }
}
