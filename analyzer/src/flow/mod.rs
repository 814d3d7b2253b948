//! From packets to connections and their byte streams.
//!
//! Feed every packet of a capture to [`Flows::packet`], then call [`Flows::finish`]. What is found is told to a
//! [`Handler`]: connections opening and closing, the bytes of both directions in order, the holes in them,
//! and UDP datagrams.
//!
//! For one connection the calls come as `opened (packet | data | gap)* closed`; each direction's offsets
//! rise without a break: `data` and `gap` together tile the stream from offset 0. Bytes that arrived in order are
//! handed on as they lie in the packet; only segments behind a hole are copied, within [`Limits`].

use std::collections::VecDeque;
use std::net::SocketAddr;

use wire::net::{Packet, Transport};

use conn::{Arrival, Conn, Fit};
pub use duplicates::Duplicates;
pub use fragments::{Fragments, Whole};
use hash::Key;
use table::Table;

mod conn;
mod duplicates;
mod fragments;
mod half;
pub(crate) mod hash;
mod table;

/// A connection; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dir {
    /// From [`ConnInfo::a`] to [`ConnInfo::b`].
    AToB,
    /// From [`ConnInfo::b`] to [`ConnInfo::a`].
    BToA,
}

impl Dir {
    /// The other direction.
    pub fn reverse(self) -> Self {
        match self {
            Self::AToB => Self::BToA,
            Self::BToA => Self::AToB,
        }
    }
}

/// What is known of a connection when its first packet is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnInfo {
    /// The client where [`client_known`](Self::client_known), else the sender of the first packet.
    pub a: SocketAddr,
    /// The other side.
    pub b: SocketAddr,
    /// True where a SYN or SYN-ACK told which side is the client; the connection is then seen from its beginning.
    pub client_known: bool,
    /// Time of the first packet, nanoseconds since 1970.
    pub time_ns: i64,
    /// Frame number of the first packet.
    pub frame: u64,
}

/// Bits of a frame's number; those above say which capture it is from (see [`At::frame`]).
const FRAME_BITS: u32 = 40;

/// A frame of the capture with this index, as [`Flows::packet`] and [`At::frame`] name it.
pub fn frame_of(file: usize, number: u64) -> u64 {
    u64::try_from(file).unwrap_or(0) << FRAME_BITS | number & ((1 << FRAME_BITS) - 1)
}

/// Where a piece of a stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Time of the packet that carried the bytes, nanoseconds since 1970.
    pub time_ns: i64,
    /// Its frame number, 1-based; of several captures, the one with index 0. For the others see
    /// [`number`](Self::number) and [`file`](Self::file).
    pub frame: u64,
    /// Offset of the first byte in its direction's stream; 0 is the first payload byte.
    pub offset: u64,
    /// Time of the packet that completed the stream up to here: later than [`time_ns`](Self::time_ns) where the
    /// bytes waited behind a hole.
    pub ready_ns: i64,
}

impl At {
    /// The place `bytes` further on in the same packet.
    pub fn further(self, bytes: usize) -> Self {
        Self { offset: self.offset.saturating_add(bytes as u64), ..self }
    }

    /// Frame number in its capture, 1-based as in Wireshark.
    pub fn number(&self) -> u64 {
        self.frame & ((1 << FRAME_BITS) - 1)
    }

    /// Index of the capture.
    pub fn file(&self) -> usize {
        usize::try_from(self.frame >> FRAME_BITS).unwrap_or(0)
    }
}

/// Why bytes are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No packet with them is in the capture.
    Lost,
    /// The packet is there, but the capture holds only its beginning (snap length).
    Cut,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides sent FIN.
    Fin,
    /// One side sent RST before that.
    Reset,
    /// Nothing was sent for longer than [`Limits::idle_ns`].
    Idle,
    /// Another connection took over the same addresses and ports.
    Replaced,
    /// More connections were open than [`Limits::connections`]; this one had been silent longest.
    Evicted,
    /// The capture ends first.
    Capture,
}

/// One direction in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HalfStats {
    /// Packets, those without payload too.
    pub packets: u64,
    /// Payload bytes of the stream that were seen on the wire, each once.
    pub bytes: u64,
    /// Payload bytes sent again.
    pub retransmitted_bytes: u64,
    /// Segments that brought bytes sent before.
    pub retransmitted_segments: u64,
    /// Segments that brought new bytes after others that follow them in the stream.
    pub out_of_order_segments: u64,
    /// Bytes of the stream of which no packet is in the capture.
    pub lost_bytes: u64,
    /// Bytes of the stream beyond the snap length.
    pub cut_bytes: u64,
    /// Keep-alive probes: at most one byte, just below the next one.
    pub keep_alives: u64,
    /// Packets that announced a receive window of zero.
    pub zero_windows: u64,
    /// Segments left out, because nothing else confirmed their position far from the stream's.
    pub stray_segments: u64,
    /// True where the SYN was seen, so that offset 0 is the stream's true first byte.
    pub from_start: bool,
    /// True where the FIN was seen.
    pub fin: bool,
}

/// A connection in figures, when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnStats {
    /// What was known at the beginning.
    pub info: ConnInfo,
    /// From A to B.
    pub a_to_b: HalfStats,
    /// From B to A.
    pub b_to_a: HalfStats,
    /// Time of the earliest packet, nanoseconds since 1970.
    pub first_ns: i64,
    /// Time of the latest packet, nanoseconds since 1970.
    pub last_ns: i64,
    /// Round-trip time of the handshake, from SYN to the ACK that ends it, in nanoseconds.
    pub rtt_ns: Option<i64>,
}

impl ConnStats {
    /// One direction.
    pub fn half(&self, dir: Dir) -> &HalfStats {
        match dir {
            Dir::AToB => &self.a_to_b,
            Dir::BToA => &self.b_to_a,
        }
    }

    /// True where both directions are there from their first byte to their FIN or the connection's reset.
    pub fn is_whole(&self) -> bool {
        let whole = |h: &HalfStats| h.from_start && h.lost_bytes == 0 && h.cut_bytes == 0;
        whole(&self.a_to_b) && whole(&self.b_to_a)
    }
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'b> {
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
    /// Time, nanoseconds since 1970.
    pub time_ns: i64,
    /// Frame number, 1-based.
    pub frame: u64,
    /// The payload as far as it was captured.
    pub payload: &'b [u8],
    /// Its length on the wire, in bytes.
    pub payload_len: u32,
}

/// Is told what the packets carry. Every method does nothing unless overridden.
pub trait Handler {
    /// The first packet of a connection. Keep what this costs small: a port scan opens a connection a packet.
    fn opened(&mut self, conn: ConnId, info: &ConnInfo) {
        let _ = (conn, info);
    }

    /// A packet brought `bytes` payload bytes not seen before, in the order of the capture: for rates over time.
    fn packet(&mut self, conn: ConnId, dir: Dir, time_ns: i64, bytes: u64) {
        let _ = (conn, dir, time_ns, bytes);
    }

    /// The next bytes of a stream.
    fn data(&mut self, conn: ConnId, dir: Dir, at: At, bytes: &[u8]) {
        let _ = (conn, dir, at, bytes);
    }

    /// The next `len` bytes of a stream are missing for good. `at` is the packet that showed it.
    fn gap(&mut self, conn: ConnId, dir: Dir, at: At, len: u64, why: Missing) {
        let _ = (conn, dir, at, len, why);
    }

    /// One side has sent all it will, and every byte of it was told.
    fn ended(&mut self, conn: ConnId, dir: Dir, at: At) {
        let _ = (conn, dir, at);
    }

    /// The connection is over, and no more will be told about it.
    fn closed(&mut self, conn: ConnId, end: End, stats: &ConnStats) {
        let _ = (conn, end, stats);
    }

    /// A UDP datagram; the first fragment of one has only its own part of the payload.
    fn udp(&mut self, datagram: &Datagram<'_>) {
        let _ = datagram;
    }
}

/// What is kept at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that wait behind a hole in one direction.
    pub half_bytes: usize,
    /// Segments that wait behind a hole in one direction.
    pub half_segments: usize,
    /// Bytes that wait behind holes in all connections together, administration included.
    pub total_bytes: usize,
    /// How long a hole may stay open, in nanoseconds of capture time.
    pub hole_ns: i64,
    /// How long a hole may stay open that the receiver has acknowledged, in nanoseconds: the bytes arrived, the
    /// capture lacks them.
    pub acked_hole_ns: i64,
    /// How long a closed connection is watched for late packets, in nanoseconds.
    pub linger_ns: i64,
    /// How long a connection may be silent, in nanoseconds.
    pub idle_ns: i64,
    /// Connections followed at a time.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const SECOND: i64 = 1_000_000_000;
        Self {
            half_bytes: 8 << 20,
            half_segments: 8192,
            total_bytes: 64 << 20,
            hole_ns: 10 * SECOND,
            acked_hole_ns: SECOND,
            linger_ns: 10 * SECOND,
            idle_ns: 2 * 3600 * SECOND,
            connections: 65_536,
        }
    }
}

/// All connections of a capture.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    limits: Limits,
    table: Table,
    /// Ended connections by the time until which late packets are waited for.
    ending: VecDeque<(i64, ConnId, u32)>,
    /// Memory held by segments that wait.
    cost: usize,
    next_id: u64,
}

impl Flows {
    /// No connections yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes in one packet with its frame number and time.
    pub fn packet(&mut self, frame: u64, time_ns: i64, packet: &Packet<'_>, handler: &mut impl Handler) {
        let (Some(ip), Some(ports)) = (packet.ip, packet.ports) else { return };
        let src = SocketAddr::new(ip.src, ports.0);
        let dst = SocketAddr::new(ip.dst, ports.1);
        match packet.transport {
            Transport::Tcp(tcp) => {
                let (payload, payload_len) = (packet.payload, packet.payload_len);
                let arrival = Arrival { tcp, payload, payload_len, time_ns, frame };
                self.tcp(src, dst, &arrival, handler);
            }
            Transport::Udp(udp) => {
                // What a first fragment lacks is in the others.
                let declared = u32::from(udp.length).saturating_sub(8);
                let payload_len = packet.payload_len.max(if ip.fragment.is_some() { declared } else { 0 });
                let payload = packet.payload;
                handler.udp(&Datagram { src, dst, time_ns, frame, payload, payload_len });
            }
            Transport::None => {}
        }
    }

    fn tcp(&mut self, src: SocketAddr, dst: SocketAddr, arrival: &Arrival<'_>, handler: &mut impl Handler) {
        self.expire(arrival.time_ns, handler);
        let (key, forward) = Key::of(src, dst);
        let found = self.table.find(&key).and_then(|place| {
            let conn = self.table.at(place)?;
            Some((place, conn.fit(conn.dir(forward), arrival)))
        });
        let place = match found {
            Some((place, Fit::Member)) => place,
            Some((_, Fit::TooLate)) => return,
            Some((place, Fit::Successor)) => {
                self.close(place, End::Replaced, handler);
                self.table.forget(place);
                self.open(key, src, dst, forward, arrival, handler)
            }
            None => self.open(key, src, dst, forward, arrival, handler),
        };
        let Some(conn) = self.table.at(place) else { return };
        let dir = conn.dir(forward);
        let (cost, ending) = (conn.cost(), conn.ending());
        conn.packet(dir, arrival, &self.limits, handler);
        self.cost = self.cost.saturating_sub(cost).saturating_add(conn.cost());
        while self.cost > self.limits.total_bytes && conn.cost() > 0 {
            let before = conn.cost();
            conn.relieve(dir, arrival.time_ns, arrival.frame, handler);
            conn.relieve(dir.reverse(), arrival.time_ns, arrival.frame, handler);
            self.cost = self.cost.saturating_sub(before).saturating_add(conn.cost());
        }
        if let (None, Some((_, since))) = (ending, conn.ending()) {
            let until = since.saturating_add(self.limits.linger_ns);
            self.ending.push_back((until, conn.id, place));
        }
        self.table.touch(place);
    }

    fn open(
        &mut self,
        key: Key,
        src: SocketAddr,
        dst: SocketAddr,
        forward: bool,
        arrival: &Arrival<'_>,
        handler: &mut impl Handler,
    ) -> u32 {
        if self.table.open() >= self.limits.connections
            && let Some(place) = self.table.longest_silent()
        {
            self.close(place, End::Evicted, handler);
        }
        let id = ConnId(self.next_id);
        self.next_id = self.next_id.saturating_add(1);
        let (time_ns, frame) = (arrival.time_ns, arrival.frame);
        let info = ConnInfo { a: src, b: dst, client_known: false, time_ns, frame };
        let conn = Conn::new(id, key, info, forward, &arrival.tcp);
        handler.opened(id, &conn.info);
        self.table.insert(conn)
    }

    /// Closes connections that ended a while ago, and those silent for too long.
    fn expire(&mut self, now_ns: i64, handler: &mut impl Handler) {
        while let Some(&(until, id, place)) = self.ending.front() {
            let full = self.ending.len() > self.limits.connections;
            if until > now_ns && !full {
                break;
            }
            self.ending.pop_front();
            // It may have gone on, or its place may be another's by now.
            let ended = self.table.at(place).is_some_and(|conn| {
                let waited = |(_, since): (End, i64)| since.saturating_add(self.limits.linger_ns) <= now_ns;
                conn.id == id && conn.ending().is_some_and(|ending| full || waited(ending))
            });
            if ended {
                self.close(place, End::Capture, handler);
            }
        }
        while let Some(place) = self.table.longest_silent() {
            let idle = self
                .table
                .at(place)
                .is_some_and(|conn| now_ns.saturating_sub(conn.last_ns) > self.limits.idle_ns);
            if !idle {
                break;
            }
            self.close(place, End::Idle, handler);
        }
    }

    fn close(&mut self, place: u32, end: End, handler: &mut impl Handler) {
        let Some(conn) = self.table.at(place).filter(|conn| !conn.over) else { return };
        self.cost = self.cost.saturating_sub(conn.cost());
        conn.close(end, handler);
        self.table.retire(place);
    }

    /// Memory held by segments that wait, in bytes.
    pub(crate) fn weight(&self) -> usize {
        const CONNECTION: usize = 600;
        self.cost.saturating_add(self.table.open().saturating_mul(CONNECTION))
    }

    /// Closes what is still open, in the order the connections were opened.
    pub fn finish(&mut self, handler: &mut impl Handler) {
        for place in self.table.in_order() {
            self.close(place, End::Capture, handler);
        }
        self.ending.clear();
    }
}

#[cfg(test)]
mod tests;
