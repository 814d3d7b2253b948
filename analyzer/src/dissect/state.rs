//! Everything but the reassembly: what connections speak, and what the packet in hand says.

use std::collections::HashMap;
use std::net::SocketAddr;

use wire::net::{Packet as Headers, Transport};

use super::held::{Meta, Queue};
use super::provenance::{Piece, Provenance, Segments};
use super::{Facts, Out, Place, Row, Trees, Wants, http, lower, rtmp, rtp, rtsp, tcp, ts};
use crate::capture::Packet;
use crate::flow::hash::{Key, Seeded};
use crate::flow::{At, ConnId, ConnInfo, ConnStats, Datagram, Dir, End, Handler, Missing, Whole};
use crate::sniff::{self, Kept, Speech};

/// UDP conversations numbered at a time.
const MAX_UDP: usize = 65_536;
/// Frames remembered whose bytes wait behind a hole.
const MAX_WAITING: usize = 16_384;

/// What a connection speaks.
#[derive(Clone, Debug)]
enum Talk {
    New,
    Unclear(Box<Kept>),
    Rtmp(Box<rtmp::Rtmp>),
    Rtsp(Box<rtsp::Rtsp>),
    Http(Box<http::Http>),
    Other,
}

#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) info: ConnInfo,
    talk: Talk,
    segments: [Segments; 2],
    /// What is handed on lies behind a hole that was given up.
    behind_loss: [bool; 2],
    pub(super) tcp: tcp::State,
    key: Key,
}

/// The packet in hand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Now {
    frame: u64,
    /// Where its bytes are in memory, and how many.
    data: (usize, usize),
    /// Where its TCP payload is in memory.
    payload: usize,
    seq: u32,
    /// New payload bytes it brought.
    pub(super) fresh: u64,
    /// Payload bytes handed on from this very packet.
    told: u64,
    /// The stream it is of.
    stream: Option<(ConnId, Dir)>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) conns: HashMap<ConnId, Conn>,
    pub(super) by_key: HashMap<Key, ConnId, Seeded>,
    udp: HashMap<Key, u64, Seeded>,
    udp_count: u64,
    rtp: rtp::Registry,
    ts: ts::Registry,
    pub(super) now: Now,
    /// Frames whose payload waits behind a hole: position of the payload in the frame, its sequence number.
    waiting: HashMap<u64, (u64, u32)>,
    /// For each direction, a sequence number and its offset in the stream.
    anchors: HashMap<(ConnId, Dir), (u32, u64)>,
    pub(super) out: Out,
    /// Info of the packet in hand, should no PDU end with it.
    pub(super) line: String,
    pub(super) meta: Meta,
    pub(super) described: bool,
    /// The packet's bytes wait behind a hole.
    waits: bool,
    held: Queue,
}

impl State {
    pub(super) fn new(wants: Wants) -> Self {
        let facts = if wants.facts { Facts::on() } else { Facts::off() };
        let out = Out { keep: wants.trees != Trees::None, facts, ..Out::default() };
        Self { out, ..Self::default() }
    }

    /// A packet comes.
    pub(super) fn begin(
        &mut self,
        number: u64,
        place: Place,
        packet: &Packet<'_>,
        headers: &Headers<'_>,
        first_ns: i64,
        show: bool,
    ) {
        self.out.clear(show);
        self.line.clear();
        (self.described, self.waits) = (false, false);
        self.now =
            Now { frame: number, data: (packet.data.as_ptr().addr(), packet.data.len()), ..Now::default() };
        self.carries(headers);
        self.meta = Meta {
            number,
            file: place.file,
            in_file: packet.number,
            since_ns: packet.time_ns.saturating_sub(first_ns),
            time_ns: packet.time_ns,
            length: packet.orig_len,
            ..Meta::default()
        };
        if show {
            self.out.parts.extend(lower::record_part(packet));
            self.out.parts.push(lower::frame_part(packet, number, place, self.meta.since_ns));
        }
    }

    fn carries(&mut self, headers: &Headers<'_>) {
        self.now.payload = headers.payload.as_ptr().addr();
        if let Transport::Tcp(tcp) = headers.transport {
            self.now.seq = tcp.seq.wrapping_add(u32::from(tcp.flags.has(wire::net::Flags::SYN)));
        }
    }

    /// The packet is a copy of one that was there before.
    pub(super) fn copy(&mut self) {
        self.out.remark(format_args!("[captured before at another interface]"));
    }

    /// With the packet a datagram became whole.
    pub(super) fn reassembled(&mut self, whole: &Whole, inner: &Headers<'_>) {
        self.carries(inner);
        self.out.remark(format_args!("[put together from IP fragments]"));
        if self.out.show {
            let part = lower::datagram_part(whole, self.now.frame);
            self.out.parts.push(part);
        }
    }

    /// Tells the row of the packet, now or later, and those that need not wait any longer.
    pub(super) fn tell(&mut self, f: &mut impl FnMut(&Row<'_>)) {
        let stream = self.now.stream.filter(|_| self.waits);
        if self.held.is_empty() && stream.is_none() {
            f(&self.meta.row(&mut self.out, &mut self.line));
            return;
        }
        let out = self.out.take();
        self.held.push(self.meta, stream, out, std::mem::take(&mut self.line));
        self.held.release(false, f);
    }

    /// True where rows wait.
    pub(super) fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }

    /// No packet follows.
    pub(super) fn end(&mut self) {
        self.out.clear(false);
        self.now = Now::default();
    }

    /// Tells every row that is left.
    pub(super) fn release(&mut self, f: &mut impl FnMut(&Row<'_>)) {
        self.held.release(true, f);
    }

    /// Memory held, in bytes, roughly.
    pub(super) fn weight(&self) -> usize {
        const ENTRY: usize = 64;
        let conns = self.conns.values().fold(0usize, |n, conn| n.saturating_add(conn.weight()));
        let small = [self.udp.len(), self.waiting.len(), self.anchors.len(), self.by_key.len()];
        let small = small.into_iter().fold(0, usize::saturating_add).saturating_mul(ENTRY);
        conns.saturating_add(small).saturating_add(self.held.weight())
    }

    /// Goes on with what an earlier packet says; [`back`](Self::back) returns to the one in hand.
    fn elsewhere(&mut self, frame: Option<u64>) -> Option<u64> {
        frame.filter(|frame| self.held.swap(*frame, &mut self.out))
    }

    fn back(&mut self, frame: Option<u64>) {
        if let Some(frame) = frame {
            self.held.swap(frame, &mut self.out);
        }
    }
}

impl Conn {
    fn weight(&self) -> usize {
        let talk = match &self.talk {
            Talk::New | Talk::Other => 0,
            Talk::Unclear(kept) => kept.weight(),
            Talk::Rtmp(rtmp) => rtmp.weight(),
            Talk::Rtsp(rtsp) => rtsp.weight(),
            Talk::Http(http) => http.weight(),
        };
        let segments = self.segments.iter().fold(0usize, |n, s| n.saturating_add(s.weight()));
        talk.saturating_add(segments).saturating_add(size_of::<Self>())
    }
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
    pub(super) fn wait(&mut self, headers: &Headers<'_>) {
        let other = |(id, _)| self.conns.get(&id).is_none_or(|conn| matches!(conn.talk, Talk::Other));
        self.waits = self.now.fresh > 0
            && self.now.told == 0
            && !headers.payload.is_empty()
            && self.now.stream.is_some_and(|stream| !other(stream));
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

    pub(super) fn udp_flow(&mut self, src: SocketAddr, dst: SocketAddr) -> u64 {
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

impl State {
    /// Tells what the connection speaks of a hole.
    fn hole(&mut self, conn: ConnId, dir: Dir, at: At, len: u64, why: Missing) {
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
}

impl Conn {
    fn behind(&mut self, dir: Dir) -> &mut bool {
        let [a, b] = &mut self.behind_loss;
        if dir == Dir::AToB { a } else { b }
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

impl Handler for State {
    fn opened(&mut self, conn: ConnId, info: &ConnInfo) {
        let (key, _) = Key::of(info.a, info.b);
        self.by_key.insert(key, conn);
        let segments = <[Segments; 2]>::default();
        self.conns.insert(
            conn,
            Conn {
                info: *info,
                talk: Talk::New,
                segments,
                behind_loss: [false; 2],
                tcp: tcp::State::default(),
                key,
            },
        );
    }

    fn packet(&mut self, conn: ConnId, dir: Dir, _: i64, bytes: u64) {
        self.now.stream = Some((conn, dir));
        self.now.fresh = self.now.fresh.saturating_add(bytes);
    }

    fn data(&mut self, conn: ConnId, dir: Dir, at: At, bytes: &[u8]) {
        let own = at.frame == self.now.frame;
        if own {
            self.now.told = self.now.told.saturating_add(bytes.len() as u64);
        } else {
            self.held.arrived(at.frame);
        }
        if self.out.keep {
            let piece = self.piece(conn, dir, at, bytes);
            if at.frame == self.now.frame {
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
        // What waited for a packet that came late is said by that one; what waited in vain, by its own.
        let alone = match self.conns.get_mut(&conn) {
            Some(conn) => {
                let behind = conn.behind(dir);
                *behind &= !own;
                *behind
            }
            None => false,
        };
        let there = self.elsewhere(Some(at.frame).filter(|_| alone));
        self.talk(conn, dir, at, bytes);
        self.back(there);
    }

    fn gap(&mut self, conn: ConnId, dir: Dir, at: At, len: u64, why: Missing) {
        let mut there = None;
        if why == Missing::Lost {
            if let Some(conn) = self.conns.get_mut(&conn) {
                *conn.behind(dir) = true;
            }
            let first = self.held.first_of(conn, dir);
            there = self.elsewhere(first);
        }
        self.hole(conn, dir, at, len, why);
        self.back(there);
    }

    fn closed(&mut self, conn: ConnId, _: End, _: &ConnStats) {
        if let Some(gone) = self.conns.remove(&conn)
            && self.by_key.get(&gone.key) == Some(&conn)
        {
            self.by_key.remove(&gone.key);
        }
        self.held.closed(conn);
        self.anchors.remove(&(conn, Dir::AToB));
        self.anchors.remove(&(conn, Dir::BToA));
    }

    fn udp(&mut self, datagram: &Datagram<'_>) {
        let start = datagram.payload.as_ptr().addr().checked_sub(self.now.data.0);
        let offset = start.filter(|o| o.saturating_add(datagram.payload.len()) <= self.now.data.1);
        let origin =
            Provenance::frame(datagram.frame, offset.map(|o| o as u64), datagram.payload.len() as u64);
        if self.ts.is_stream(datagram) {
            self.ts.datagram(datagram, &origin, &mut self.out);
        } else {
            self.rtp.datagram(datagram, origin, &mut self.ts, &mut self.out);
        }
    }
}
