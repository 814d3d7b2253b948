//! Packets one by one: a line for each as Wireshark writes it, and the field tree of those that are asked for.
//!
//! ```no_run
//! use streamgauge_analyzer::{capture::Reader, dissect::{Dissector, Wants}};
//! let mut reader = Reader::open("capture.pcapng")?;
//! let mut dissector = Dissector::new(Wants::default());
//! while let Some(Ok(packet)) = reader.next() {
//!     let row = dissector.packet(&packet);
//!     println!("{} {} {}", row.number, row.protocol, row.info);
//! }
//! # Ok::<(), streamgauge_analyzer::capture::CaptureError>(())
//! ```
//!
//! The Info of a PDU stands at the packet with which it became whole. Lists are made by plain decoders; a tree is
//! made only for what [`Wants`] asks for, and then the bytes of open messages are kept, and of nothing else: memory
//! does not grow with the capture.

pub mod facts;
pub mod filter;
pub mod forms;
mod http;
mod names;
pub mod provenance;
pub mod render;
mod rtmp;
mod rtp;
mod rtsp;
mod tcp;
pub mod tree;

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

use wire::net::{LinkType, Packet as Headers, Transport};

use crate::capture::Packet;
use crate::flow::hash::{Key, Seeded};
use crate::flow::{At, ConnId, ConnInfo, ConnStats, Datagram, Dir, End, Flows, Handler, Limits, Missing};
use crate::sniff::{self, Kept, Speech};
use facts::{Facts, Value};
use provenance::{Piece, Provenance, Segments};
use tree::Part;

/// UDP conversations numbered at a time.
const MAX_UDP: usize = 65_536;
/// Frames remembered whose bytes wait behind a hole.
const MAX_WAITING: usize = 16_384;

/// For which packets a tree is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trees {
    /// None.
    #[default]
    None,
    /// One.
    Frame(u64),
    /// All.
    All,
}

/// What a dissection is to give.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    /// Trees.
    pub trees: Trees,
    /// Facts for a filter or for JSON.
    pub facts: bool,
}

/// A conversation's number, from 0 in the order of the capture, TCP and UDP apart as in Wireshark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// `tcp.stream`.
    Tcp(u64),
    /// `udp.stream`.
    Udp(u64),
}

impl Flow {
    /// The number alone.
    pub fn number(self) -> u64 {
        match self {
            Self::Tcp(n) | Self::Udp(n) => n,
        }
    }
}

/// A packet in one line.
#[derive(Debug)]
pub struct Row<'a> {
    /// Frame number, 1-based.
    pub number: u64,
    /// Nanoseconds since the first packet of the capture.
    pub since_first_ns: i64,
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// Bytes on the wire.
    pub length: u32,
    /// Sender and receiver, where it is an IP packet.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// Its conversation.
    pub flow: Option<Flow>,
    /// The Protocol column.
    pub protocol: &'static str,
    /// The Info column.
    pub info: &'a str,
    /// What it says, if [`Wants::facts`].
    pub facts: &'a Facts,
    /// The trees, if [`Wants::trees`] asks for this packet: the frame first.
    pub parts: &'a [Part],
}

/// What a PDU speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Rtmp,
    Rtsp,
    RtspSdp,
    Rtp,
    Rtcp,
    Http,
}

impl Speaks {
    fn name(self) -> &'static str {
        match self {
            Self::Rtmp => "RTMP",
            Self::Rtsp => "RTSP",
            Self::RtspSdp => "RTSP/SDP",
            Self::Rtp => "RTP",
            Self::Rtcp => "RTCP",
            Self::Http => "HTTP",
        }
    }
}

/// What one packet gave.
#[derive(Debug, Default)]
pub(crate) struct Out {
    /// Bytes of open PDUs are kept for trees.
    keep: bool,
    /// Trees are made now.
    show: bool,
    speaks: Option<Speaks>,
    /// The packet brought bytes of a PDU of this protocol.
    pending: Option<&'static str>,
    info: String,
    remarks: String,
    facts: Facts,
    parts: Vec<Part>,
}

impl Out {
    /// A PDU is whole.
    fn pdu(&mut self, speaks: Speaks, text: fmt::Arguments<'_>) {
        if !self.info.is_empty() {
            let rtp = matches!(speaks, Speaks::Rtp | Speaks::Rtcp);
            self.info.push_str(if rtp { ", " } else { "|" });
        }
        let _ = self.info.write_fmt(text);
        self.speaks = Some(speaks);
    }

    /// Something to say that is no PDU.
    fn remark(&mut self, text: fmt::Arguments<'_>) {
        self.remarks.push(' ');
        let _ = self.remarks.write_fmt(text);
    }

    fn clear(&mut self, show: bool) {
        self.show = show;
        self.speaks = None;
        self.pending = None;
        self.info.clear();
        self.remarks.clear();
        self.facts.clear();
        self.parts.clear();
    }
}

/// What a connection speaks.
#[derive(Debug)]
enum Talk {
    New,
    Unclear(Box<Kept>),
    Rtmp(Box<rtmp::Rtmp>),
    Rtsp(Box<rtsp::Rtsp>),
    Http(Box<http::Http>),
    Other,
}

#[derive(Debug)]
struct Conn {
    info: ConnInfo,
    talk: Talk,
    segments: [Segments; 2],
    tcp: tcp::State,
    key: Key,
}

/// The packet in hand.
#[derive(Clone, Copy, Debug, Default)]
struct Now {
    frame: u64,
    /// Where its bytes are in memory, and how many.
    data: (usize, usize),
    /// Where its TCP payload is in memory.
    payload: usize,
    seq: u32,
    /// New payload bytes it brought.
    fresh: u64,
    /// Payload bytes handed on from this very packet.
    told: u64,
}

/// Everything but the reassembly.
#[derive(Debug, Default)]
struct State {
    conns: HashMap<ConnId, Conn>,
    by_key: HashMap<Key, ConnId, Seeded>,
    udp: HashMap<Key, u64, Seeded>,
    udp_count: u64,
    rtp: rtp::Registry,
    now: Now,
    /// Frames whose payload waits behind a hole: position of the payload in the frame, its sequence number.
    waiting: HashMap<u64, (u64, u32)>,
    /// For each direction, a sequence number and its offset in the stream.
    anchors: HashMap<(ConnId, Dir), (u32, u64)>,
    out: Out,
}

/// Takes packets apart one after another.
#[derive(Debug)]
pub struct Dissector {
    wants: Wants,
    flows: Flows,
    state: State,
    first_ns: Option<i64>,
    number: u64,
}

impl Dissector {
    /// Nothing read yet.
    pub fn new(wants: Wants) -> Self {
        let mut state = State::default();
        state.out.keep = wants.trees != Trees::None;
        state.out.facts = if wants.facts { Facts::on() } else { Facts::off() };
        Self { wants, flows: Flows::new(Limits::default()), state, first_ns: None, number: 0 }
    }

    /// Takes in the next packet.
    pub fn packet(&mut self, packet: &Packet<'_>) -> Row<'_> {
        let first = *self.first_ns.get_or_insert(packet.time_ns);
        self.number = packet.number;
        let show = match self.wants.trees {
            Trees::None => false,
            Trees::Frame(n) => n == packet.number,
            Trees::All => true,
        };
        let headers = packet.parse();
        let state = &mut self.state;
        state.out.clear(show);
        if show {
            state.out.parts.push(frame_part(packet, first));
        }
        state.now = Now {
            frame: packet.number,
            data: (packet.data.as_ptr().addr(), packet.data.len()),
            payload: headers.payload.as_ptr().addr(),
            ..Now::default()
        };
        if let Transport::Tcp(tcp) = headers.transport {
            state.now.seq = tcp.seq.wrapping_add(u32::from(tcp.flags.has(wire::net::Flags::SYN)));
        }
        self.flows.packet(packet.number, packet.time_ns, &headers, state);
        state.wait(&headers);
        let since_first_ns = packet.time_ns.saturating_sub(first);
        let (flow, protocol) = state.finish(packet, &headers, since_first_ns);
        Row {
            number: packet.number,
            since_first_ns,
            time_ns: packet.time_ns,
            length: packet.orig_len,
            addresses: headers.ip.map(|ip| (ip.src, ip.dst)),
            flow,
            protocol,
            info: &self.state.out.info,
            facts: &self.state.out.facts,
            parts: &self.state.out.parts,
        }
    }

    /// What became whole only because no more bytes will come; a line of text where there is any.
    pub fn finish(&mut self) -> Option<String> {
        self.state.out.clear(false);
        self.flows.finish(&mut self.state);
        (!self.state.out.info.is_empty()).then(|| std::mem::take(&mut self.state.out.info))
    }
}

/// The captured bytes, from the link layer to the transport payload.
fn frame_part(packet: &Packet<'_>, first_ns: i64) -> Part {
    let title = format!(
        "Frame {}: {} bytes on the wire, {} captured",
        packet.number,
        packet.orig_len,
        packet.data.len()
    );
    let origin = Provenance::frame(packet.number, Some(0), packet.data.len() as u64);
    let mut error = None;
    let (mut part, _) = Part::read(title, packet.data, origin, |c| {
        error = wire::net::decode(c, packet.link, packet.orig_len).error;
        Ok(())
    });
    part.error = error;
    let since = render::Seconds(packet.time_ns.saturating_sub(first_ns));
    part.note(
        "packet record",
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

impl State {
    /// Where `bytes`, which came as `at`, stand in their frame.
    fn piece(&self, conn: ConnId, dir: Dir, at: At, bytes: &[u8]) -> Piece {
        let len = bytes.len() as u64;
        let (start, size) = self.now.data;
        let offset = if at.frame == self.now.frame {
            let inside =
                bytes.as_ptr().addr().checked_sub(start).filter(|o| o.saturating_add(bytes.len()) <= size);
            inside.map(|o| o as u64)
        } else {
            let anchor = self.anchors.get(&(conn, dir));
            self.waiting.get(&at.frame).zip(anchor).map(|((payload, seq), (anchor_seq, anchor_offset))| {
                let there = anchor_offset.wrapping_add(u64::from(seq.wrapping_sub(*anchor_seq)));
                payload.saturating_add(at.offset.saturating_sub(there))
            })
        };
        Piece { len, frame: at.frame, offset }
    }

    /// Remembers a frame of which not every byte was handed on.
    fn wait(&mut self, headers: &Headers<'_>) {
        if !self.out.keep || self.now.told >= headers.payload.len() as u64 || headers.payload.is_empty() {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            let oldest = self.now.frame.saturating_sub(MAX_WAITING as u64 / 2);
            self.waiting.retain(|frame, _| *frame > oldest);
        }
        let offset = self.now.payload.saturating_sub(self.now.data.0) as u64;
        self.waiting.insert(self.now.frame, (offset, self.now.seq));
    }

    /// Completes the line: conversation, protocol, and what is said of a packet without a PDU.
    fn finish(
        &mut self,
        packet: &Packet<'_>,
        headers: &Headers<'_>,
        since_ns: i64,
    ) -> (Option<Flow>, &'static str) {
        let pair = headers.ip.zip(headers.ports);
        let sockets =
            pair.map(|(ip, (from, to))| (SocketAddr::new(ip.src, from), SocketAddr::new(ip.dst, to)));
        let mut flow = None;
        let mut protocol = lower_protocol(packet, headers);
        let pdus = !self.out.info.is_empty();
        match (headers.transport, sockets) {
            (Transport::Tcp(tcp), Some((src, dst))) => {
                let (key, _) = Key::of(src, dst);
                let id = self.by_key.get(&key).copied();
                flow = id.map(|id| Flow::Tcp(id.0));
                let mut alone = tcp::State::default();
                let conn = id.and_then(|id| self.conns.get_mut(&id));
                let (state, forward) = match conn {
                    Some(conn) => {
                        let forward = conn.info.a == src;
                        (&mut conn.tcp, forward)
                    }
                    None => (&mut alone, true),
                };
                let about = state.packet(forward, &tcp);
                about.facts(&tcp, headers, &mut self.out.facts);
                if !pdus {
                    let again = headers.payload_len > 0 && self.now.fresh == 0;
                    about.info(&tcp, headers, again, &mut self.out.info);
                    if self.out.pending.is_some() && headers.payload_len > 0 && !again {
                        self.out.info.push_str(" [TCP segment of a reassembled PDU]");
                    }
                }
            }
            (Transport::Udp(_), Some((src, dst))) => {
                flow = Some(Flow::Udp(self.udp_flow(src, dst)));
                for (name, port) in [("udp.srcport", src.port()), ("udp.dstport", dst.port())] {
                    self.out.facts.number(name, u64::from(port));
                    self.out.facts.number("udp.port", u64::from(port));
                }
                if !pdus {
                    let _ =
                        write!(self.out.info, "{} → {} Len={}", src.port(), dst.port(), headers.payload_len);
                }
            }
            _ if !pdus => {
                let _ = match (&headers.error, headers.ip) {
                    (Some(error), _) => write!(self.out.info, "[{error}]"),
                    (None, Some(ip)) => match ip.fragment {
                        Some(fragment) => write!(
                            self.out.info,
                            "Fragmented IP protocol (proto {}) [{fragment}]",
                            ip.protocol
                        ),
                        None => write!(self.out.info, "IP protocol {}", ip.protocol),
                    },
                    (None, None) => {
                        write!(self.out.info, "{} bytes of link type {}", packet.data.len(), packet.link)
                    }
                };
            }
            _ => {}
        }
        if let Some(speaks) = self.out.speaks {
            protocol = speaks.name();
        }
        if headers.missing() > 0 {
            self.out.remark(format_args!("[Packet size limited during capture]"));
        }
        let remarks = std::mem::take(&mut self.out.remarks);
        self.out.info.push_str(&remarks);
        self.out.remarks = remarks;
        self.own_facts(packet, headers, since_ns, flow, protocol);
        (flow, protocol)
    }

    fn own_facts(
        &mut self,
        packet: &Packet<'_>,
        headers: &Headers<'_>,
        since_ns: i64,
        flow: Option<Flow>,
        protocol: &str,
    ) {
        let facts = &mut self.out.facts;
        facts.number("frame.number", packet.number);
        facts.number("frame.len", u64::from(packet.orig_len));
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds for people, compared with numbers typed by people"
        )]
        facts.push("frame.time", Value::Real(since_ns as f64 / 1e9));
        if let Some(flow) = flow {
            facts.number("flow", flow.number());
        }
        if let Some(ip) = headers.ip {
            facts.push("ip.src", Value::Address(ip.src));
            facts.push("ip.dst", Value::Address(ip.dst));
            facts.push("ip.addr", Value::Address(ip.src));
            facts.push("ip.addr", Value::Address(ip.dst));
        }
        facts.text("protocol", protocol);
        facts.text("info", &self.out.info);
    }

    fn udp_flow(&mut self, src: SocketAddr, dst: SocketAddr) -> u64 {
        let (key, _) = Key::of(src, dst);
        if let Some(number) = self.udp.get(&key) {
            return *number;
        }
        if self.udp.len() >= MAX_UDP {
            self.udp.clear();
        }
        let number = self.udp_count;
        self.udp_count = self.udp_count.saturating_add(1);
        self.udp.insert(key, number);
        number
    }

    /// Hands bytes to what the connection speaks, deciding that first where it is not known.
    fn talk(&mut self, id: ConnId, dir: Dir, at: At, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (info, out) = (conn.info, &mut self.out);
        let segments = match dir {
            Dir::AToB => &conn.segments[0],
            Dir::BToA => &conn.segments[1],
        };
        match &mut conn.talk {
            Talk::Rtmp(rtmp) => {
                rtmp.data(dir, at, bytes, segments, out);
                if rtmp.is_other() {
                    conn.talk = Talk::Other;
                }
            }
            Talk::Rtsp(rtsp) => rtsp.data(dir, at, bytes, segments, &mut self.rtp, out),
            Talk::Http(http) => http.data(dir, at, bytes, segments, out),
            Talk::Unclear(kept) => {
                let speech = kept.data(dir, at, bytes);
                if speech == Speech::Unclear {
                    return;
                }
                let pieces = std::mem::take(&mut kept.pieces);
                conn.talk = Talk::of(speech, &info);
                for (dir, at, piece) in pieces {
                    if let sniff::Piece::Bytes(bytes) = piece {
                        self.talk(id, dir, at, &bytes);
                    }
                }
            }
            Talk::New | Talk::Other => {
                let speech = sniff::judge(&info, bytes);
                let again = matches!(conn.talk, Talk::Other);
                if speech == Speech::Unclear && !again {
                    let mut kept = Kept::new(info);
                    kept.data(dir, at, bytes);
                    conn.talk = Talk::Unclear(Box::new(kept));
                } else if !again || matches!(speech, Speech::Rtsp | Speech::Http | Speech::RtspInside) {
                    conn.talk = Talk::of(speech, &info);
                    self.talk(id, dir, at, bytes);
                }
            }
        }
    }
}

impl Talk {
    fn of(speech: Speech, info: &ConnInfo) -> Self {
        match speech {
            Speech::Rtsp | Speech::RtspInside => Self::Rtsp(Box::new(rtsp::Rtsp::new(info))),
            Speech::Http => Self::Http(Box::default()),
            Speech::Unclear | Speech::Binary => Self::Rtmp(Box::new(rtmp::Rtmp::new(info))),
        }
    }
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

impl Handler for State {
    fn opened(&mut self, conn: ConnId, info: &ConnInfo) {
        let (key, _) = Key::of(info.a, info.b);
        self.by_key.insert(key, conn);
        let segments = <[Segments; 2]>::default();
        self.conns
            .insert(conn, Conn { info: *info, talk: Talk::New, segments, tcp: tcp::State::default(), key });
    }

    fn packet(&mut self, _: ConnId, _: Dir, _: i64, bytes: u64) {
        self.now.fresh = self.now.fresh.saturating_add(bytes);
    }

    fn data(&mut self, conn: ConnId, dir: Dir, at: At, bytes: &[u8]) {
        if self.out.keep {
            let piece = self.piece(conn, dir, at, bytes);
            if at.frame == self.now.frame {
                self.now.told = self.now.told.saturating_add(bytes.len() as u64);
                let inside = bytes.as_ptr().addr().wrapping_sub(self.now.payload);
                let seq = self.now.seq.wrapping_add(u32::try_from(inside).unwrap_or(0));
                self.anchors.insert((conn, dir), (seq, at.offset));
            } else {
                self.waiting.remove(&at.frame);
            }
            if let Some(conn) = self.conns.get_mut(&conn) {
                let [a, b] = &mut conn.segments;
                if dir == Dir::AToB { a } else { b }.push(at.offset, piece);
            }
        }
        self.talk(conn, dir, at, bytes);
    }

    fn gap(&mut self, conn: ConnId, dir: Dir, at: At, len: u64, why: Missing) {
        let Some(conn) = self.conns.get_mut(&conn) else { return };
        let segments = match dir {
            Dir::AToB => &conn.segments[0],
            Dir::BToA => &conn.segments[1],
        };
        if why == Missing::Lost {
            self.out.remark(format_args!("[{len} bytes of the stream were not captured]"));
        }
        match &mut conn.talk {
            Talk::Rtmp(rtmp) => rtmp.gap(dir, at, len, why, segments, &mut self.out),
            Talk::Rtsp(rtsp) => rtsp.gap(dir),
            Talk::Http(http) => http.gap(dir, len),
            Talk::New | Talk::Unclear(_) => {
                let mut rtmp = rtmp::Rtmp::new(&conn.info);
                rtmp.gap(dir, at, len, why, segments, &mut self.out);
                conn.talk = Talk::Rtmp(Box::new(rtmp));
            }
            Talk::Other => {}
        }
    }

    fn closed(&mut self, conn: ConnId, _: End, _: &ConnStats) {
        if let Some(gone) = self.conns.remove(&conn)
            && self.by_key.get(&gone.key) == Some(&conn)
        {
            self.by_key.remove(&gone.key);
        }
        self.anchors.remove(&(conn, Dir::AToB));
        self.anchors.remove(&(conn, Dir::BToA));
    }

    fn udp(&mut self, datagram: &Datagram<'_>) {
        let start = datagram.payload.as_ptr().addr().checked_sub(self.now.data.0);
        let offset = start.filter(|o| o.saturating_add(datagram.payload.len()) <= self.now.data.1);
        let origin =
            Provenance::frame(datagram.frame, offset.map(|o| o as u64), datagram.payload.len() as u64);
        self.rtp.datagram(datagram, origin, &mut self.out);
    }
}
