//! One TCP connection: who opened it, how it ends, and its two directions.

use wire::net::{Flags, Tcp};

use super::half::{Half, Out, Segment};
use super::hash::Key;
use super::{At, ConnId, ConnInfo, ConnStats, Dir, End, Handler, Limits};

/// A packet of a connection.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'b> {
    pub tcp: Tcp,
    pub payload: &'b [u8],
    pub payload_len: u32,
    pub time_ns: i64,
    pub frame: u64,
}

/// What a packet means to the connection that its addresses name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It belongs to it.
    Member,
    /// It begins another one with the same addresses and ports.
    Successor,
    /// It comes after the end and brings nothing.
    TooLate,
}

#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub id: ConnId,
    pub key: Key,
    pub info: ConnInfo,
    /// True where A is the lower end of the key.
    a_is_lower: bool,
    a_to_b: Half,
    b_to_a: Half,
    first_ns: i64,
    pub last_ns: i64,
    last_frame: u64,
    handshake: Handshake,
    /// How and when it ended, while late packets are still waited for.
    ending: Option<(End, i64)>,
    /// Offset of the RST in its sender's direction.
    reset: Option<(Dir, u32)>,
    /// Told as closed; kept only so that late packets open no new connection.
    pub over: bool,
}

/// How far the handshake came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handshake {
    None,
    /// The SYN's time.
    Syn(i64),
    /// The SYN's time; the SYN-ACK followed.
    SynAck(i64),
    /// The round-trip time.
    Done(i64),
}

impl Conn {
    /// A connection whose first packet is `arrival`; `forward` says that the key's lower end sent it.
    pub fn new(id: ConnId, key: Key, src_to_dst: ConnInfo, forward: bool, tcp: &Tcp) -> Self {
        let mut info = src_to_dst;
        let mut a_is_lower = forward;
        let syn = tcp.flags.has(Flags::SYN);
        if syn && tcp.flags.has(Flags::ACK) {
            (info.a, info.b) = (info.b, info.a);
            a_is_lower = !a_is_lower;
        }
        info.client_known = syn;
        Self {
            id,
            key,
            info,
            a_is_lower,
            a_to_b: Half::default(),
            b_to_a: Half::default(),
            first_ns: info.time_ns,
            last_ns: info.time_ns,
            last_frame: info.frame,
            handshake: Handshake::None,
            ending: None,
            reset: None,
            over: false,
        }
    }

    /// The direction of a packet, by whether the key's lower end sent it.
    pub fn dir(&self, forward: bool) -> Dir {
        if forward == self.a_is_lower { Dir::AToB } else { Dir::BToA }
    }

    fn half(&self, dir: Dir) -> &Half {
        match dir {
            Dir::AToB => &self.a_to_b,
            Dir::BToA => &self.b_to_a,
        }
    }

    fn half_mut(&mut self, dir: Dir) -> &mut Half {
        match dir {
            Dir::AToB => &mut self.a_to_b,
            Dir::BToA => &mut self.b_to_a,
        }
    }

    /// Memory held by segments that wait.
    pub fn cost(&self) -> usize {
        self.a_to_b.cost().saturating_add(self.b_to_a.cost())
    }

    /// Tells whether a packet belongs here.
    pub fn fit(&self, dir: Dir, arrival: &Arrival<'_>) -> Fit {
        let half = self.half(dir);
        let flags = arrival.tcp.flags;
        if flags.has(Flags::SYN) && !flags.has(Flags::RST) {
            let first = arrival.tcp.seq.wrapping_add(1);
            return match half.base() {
                // Behind the end even a SYN of the same number is another connection's.
                Some(base) if base == first && self.has_ended_before(arrival, half) => Fit::Successor,
                Some(base) if base == first => self.late_or(Fit::Member),
                // A server that forgot its first answer answers again.
                Some(_) if flags.has(Flags::ACK) && !half.has_data() && self.answers(dir, arrival) => {
                    self.late_or(Fit::Member)
                }
                None if !half.has_data() && !self.over && self.ending.is_none() => Fit::Member,
                _ => Fit::Successor,
            };
        }
        if !self.over {
            return Fit::Member;
        }
        let unrelated = half.base().is_none() || half.distance(arrival.tcp.seq).is_none();
        if unrelated && arrival.payload_len > 0 { Fit::Successor } else { Fit::TooLate }
    }

    fn has_ended_before(&self, arrival: &Arrival<'_>, half: &Half) -> bool {
        let ended = self.ending.is_some_and(|(_, at)| at < arrival.time_ns);
        ended && half.has_data() && !arrival.tcp.flags.has(Flags::ACK)
    }

    fn late_or(&self, fit: Fit) -> Fit {
        if self.over { Fit::TooLate } else { fit }
    }

    /// True where a SYN-ACK acknowledges the SYN of this connection.
    fn answers(&self, dir: Dir, arrival: &Arrival<'_>) -> bool {
        let peer = self.half(dir.reverse());
        peer.stats.from_start && peer.base() == Some(arrival.tcp.ack)
    }

    /// Takes in a packet that belongs here.
    pub fn packet<H: Handler>(&mut self, dir: Dir, arrival: &Arrival<'_>, limits: &Limits, handler: &mut H) {
        let tcp = &arrival.tcp;
        let (time_ns, frame) = (arrival.time_ns, arrival.frame);
        self.first_ns = self.first_ns.min(time_ns);
        self.last_ns = self.last_ns.max(time_ns);
        self.last_frame = frame;

        self.shake(dir, arrival);
        let syn = tcp.flags.has(Flags::SYN);
        let reset = tcp.flags.has(Flags::RST);
        let half = self.half_mut(dir);
        half.stats.packets = half.stats.packets.saturating_add(1);
        if tcp.window == 0 && tcp.flags.has(Flags::ACK) && !syn && !reset {
            half.stats.zero_windows = half.stats.zero_windows.saturating_add(1);
        }
        if tcp.flags.has(Flags::ACK) && !reset {
            self.half_mut(dir.reverse()).acknowledged(tcp.ack);
        }
        if reset {
            self.reset(dir, tcp.seq, time_ns);
        } else {
            let segment = Segment {
                seq: tcp.seq.wrapping_add(u32::from(syn)),
                bytes: arrival.payload,
                len: arrival.payload_len,
                fin: tcp.flags.has(Flags::FIN),
                time_ns,
                frame,
            };
            let was_told = self.half(dir).is_told();
            let mut out = Out { handler, conn: self.id, dir };
            let fresh = self.half_mut(dir).segment(&mut out, &segment, limits);
            if fresh > 0 {
                handler.packet(self.id, dir, time_ns, fresh);
                self.revive(dir, segment.seq);
            }
            if !was_told && self.half(dir).is_told() {
                let offset = self.half(dir).next();
                handler.ended(self.id, dir, At { time_ns, frame, offset, ready_ns: time_ns });
            }
            if self.ending.is_none() && self.a_to_b.stats.fin && self.b_to_a.stats.fin {
                self.ending = Some((End::Fin, time_ns));
            }
        }
        for dir in [dir.reverse(), dir] {
            let mut out = Out { handler, conn: self.id, dir };
            self.half_mut(dir).expire(&mut out, time_ns, frame, limits);
        }
    }

    /// Follows the handshake: where each stream begins, and its round-trip time.
    fn shake(&mut self, dir: Dir, arrival: &Arrival<'_>) {
        let tcp = &arrival.tcp;
        let time_ns = arrival.time_ns;
        let (syn, ack) = (tcp.flags.has(Flags::SYN), tcp.flags.has(Flags::ACK));
        if syn && !tcp.flags.has(Flags::RST) {
            let half = self.half_mut(dir);
            if !half.has_data() {
                half.start(tcp.seq.wrapping_add(1));
            }
            // Where the SYN is not in the capture, its answer says where the client's stream begins.
            let peer = self.half_mut(dir.reverse());
            if ack && peer.base().is_none() {
                peer.start(tcp.ack);
            }
            self.handshake = match self.handshake {
                Handshake::None | Handshake::Syn(_) if !ack => Handshake::Syn(time_ns),
                Handshake::Syn(since) if ack => Handshake::SynAck(since),
                unchanged => unchanged,
            };
        } else if ack && dir == Dir::AToB && !tcp.flags.has(Flags::RST) {
            match self.handshake {
                Handshake::SynAck(since) => {
                    let rtt = time_ns.checked_sub(since).filter(|rtt| *rtt >= 0);
                    self.handshake = rtt.map_or(Handshake::None, Handshake::Done);
                }
                // The SYN-ACK is not in the capture, but its acknowledgement says where the answer begins.
                Handshake::Syn(_) => {
                    self.handshake = Handshake::None;
                    if self.b_to_a.base().is_none() && !self.a_to_b.has_data() {
                        self.b_to_a.start(tcp.ack);
                    }
                }
                _ => {}
            }
        }
    }

    fn reset(&mut self, dir: Dir, seq: u32, time_ns: i64) {
        let half = self.half(dir);
        let ours = half.base().is_none() || half.distance(seq).is_some() || seq == 0;
        if ours && self.ending.is_none() {
            self.ending = Some((End::Reset, time_ns));
            self.reset = Some((dir, seq));
        }
    }

    /// A sender that goes on behind its own RST never sent that RST.
    fn revive(&mut self, dir: Dir, seq: u32) {
        if let Some((by, at)) = self.reset
            && by == dir
            && seq.wrapping_sub(at) < 1 << 31
            && at != 0
        {
            self.ending = None;
            self.reset = None;
        }
    }

    /// How it ended, and when, where it did.
    pub fn ending(&self) -> Option<(End, i64)> {
        self.ending
    }

    /// Gives up what is missing and says that the connection is over.
    pub fn close<H: Handler>(&mut self, end: End, handler: &mut H) {
        if self.over {
            return;
        }
        self.over = true;
        let (time_ns, frame) = (self.last_ns, self.last_frame);
        for dir in [Dir::AToB, Dir::BToA] {
            let mut out = Out { handler, conn: self.id, dir };
            self.half_mut(dir).finish(&mut out, time_ns, frame);
        }
        let end = self.ending.map_or(end, |(end, _)| end);
        handler.closed(self.id, end, &self.stats());
    }

    /// The hole that waits longest is given up, because memory is short.
    pub fn relieve<H: Handler>(&mut self, dir: Dir, time_ns: i64, frame: u64, handler: &mut H) {
        let mut out = Out { handler, conn: self.id, dir };
        self.half_mut(dir).skip_hole(&mut out, time_ns, frame);
    }

    fn stats(&self) -> ConnStats {
        ConnStats {
            info: self.info,
            a_to_b: self.a_to_b.stats,
            b_to_a: self.b_to_a.stats,
            first_ns: self.first_ns,
            last_ns: self.last_ns,
            rtt_ns: match self.handshake {
                Handshake::Done(rtt) => Some(rtt),
                _ => None,
            },
        }
    }
}
