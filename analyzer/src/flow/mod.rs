//! From packets to connections and their byte streams.
//!
//! Feed every packet of a capture to [`Flows::packet`], then call [`Flows::finish`]. What is found is told to a
//! [`Handler`]: connections opening and closing, the bytes of both directions in order, the holes in them,
//! and UDP datagrams.
//!
//! For one connection the calls come as `opened (packet | data | gap)* closed`; each direction's offsets
//! rise without a break: `data` and `gap` together tile the stream from offset 0. Bytes that arrived in order are
//! handed on as they lie in the packet; only segments behind a hole are copied, within [`Limits`].

use std::net::{IpAddr, SocketAddr};

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

/// Where a piece of a stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Time of the packet that carried the bytes, nanoseconds since 1970.
    pub time_ns: i64,
    /// Its frame number, 1-based.
    pub frame: u64,
    /// Offset of the first byte in its direction's stream; 0 is the first payload byte.
    pub offset: u64,
    /// Time of the packet that completed the stream up to here: later than [`time_ns`](Self::time_ns) where the
    /// bytes waited behind a hole.
    pub ready_ns: i64,
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
    /// Segments that arrived before others that precede them in the stream.
    pub out_of_order_segments: u64,
    /// Bytes of the stream of which no packet is in the capture.
    pub lost_bytes: u64,
    /// Bytes of the stream beyond the snap length.
    pub cut_bytes: u64,
    /// Keep-alive probes: at most one byte, just below the next one.
    pub keep_alives: u64,
    /// Packets that announced a receive window of zero.
    pub zero_windows: u64,
    /// Segments so far from the stream's position that they were left out.
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
#[derive(Debug, Default)]
pub struct Flows {
    limits: Limits,
}

impl Flows {
    /// No connections yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Takes in one packet with its frame number and time.
    pub fn packet(
        &mut self,
        frame: u64,
        time_ns: i64,
        packet: &wire::net::Packet<'_>,
        handler: &mut impl Handler,
    ) {
        let _ = (frame, time_ns, packet, handler, self.limits);
    }

    /// Closes what is still open, in the order the connections were opened.
    pub fn finish(&mut self, handler: &mut impl Handler) {
        let _ = handler;
    }
}

fn socket(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}
