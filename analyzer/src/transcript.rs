//! What both sides of one connection said, message by message with times and frame numbers: for those who want to say it
//! again.
//!
//! Sessions are found by an analysis first; [`read`] then goes through the captures once more and tells of the connection of one
//! of them. Messages are whole here, and only one at a time is held for each chunk stream.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use model::{Endpoint, Protocol, Session};
use wire::http;
use wire::rtmp::chunk::{Basic, Head};
use wire::rtsp;

use crate::capture::{CaptureError, Merged};
use crate::flow::{At, ConnId, ConnInfo, ConnStats, Dir, End, Handler, Limits, Missing};
use crate::intake::Intake;
use crate::track::rtmp::follow::{Arrived, Events, Follower, Shake};
use crate::track::rtsp::framer::{Framer, Sink};

/// Something that was said.
#[derive(Clone, Debug)]
pub struct Said {
    /// By the client, or else by the server.
    pub from_client: bool,
    /// Where it begins.
    pub at: At,
    /// What.
    pub what: What,
}

/// What was said.
#[derive(Clone, Debug)]
pub enum What {
    /// An RTMP message.
    Rtmp {
        /// Type, time and streams.
        head: Head,
        /// The body.
        body: Vec<u8>,
    },
    /// A request or response of RTSP.
    Rtsp {
        /// The head.
        head: rtsp::Head,
        /// The body.
        body: Vec<u8>,
    },
    /// An interleaved block of RTSP.
    Block {
        /// Its channel.
        channel: u8,
        /// An RTP or RTCP packet.
        payload: Vec<u8>,
    },
    /// An RTMP message of which the capture lacks a part.
    Damaged {
        /// Type, time and streams.
        head: Head,
        /// Missing bytes of the body.
        lost: u64,
    },
    /// Bytes of the stream that the capture lacks.
    Hole(u64),
    /// The connection is over.
    Ended(End),
}

/// A connection in captures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    client: SocketAddr,
    server: SocketAddr,
    /// Seconds from the first packet of all to the connection's first and last.
    from_s: f64,
    until_s: f64,
    protocol: Protocol,
}

impl Choice {
    /// The connection of an RTMP or RTSP session, the first where it has several.
    pub fn of(session: &Session) -> Option<Self> {
        let connection = session.connections.first()?;
        Some(Self {
            client: address(&connection.client)?,
            server: address(&connection.server)?,
            from_s: connection.start_s,
            until_s: connection.start_s + connection.duration_s,
            protocol: session.protocol,
        })
    }

    /// The client's direction, where this is the connection.
    fn direction(&self, info: &ConnInfo, since_s: f64) -> Option<Dir> {
        const TICK: f64 = 1e-6;
        if since_s < self.from_s - TICK || since_s > self.until_s + TICK {
            return None;
        }
        match (info.a, info.b) {
            ends if ends == (self.client, self.server) => Some(Dir::AToB),
            ends if ends == (self.server, self.client) => Some(Dir::BToA),
            _ => None,
        }
    }
}

fn address(endpoint: &Endpoint) -> Option<SocketAddr> {
    Some(SocketAddr::new(endpoint.address, endpoint.port?))
}

/// Reads captures as one timeline and tells what was said on one connection, until `tell` returns false. Damage to the files is
/// passed over; an error comes back only where no packet could be read.
pub fn read<P: AsRef<Path>>(
    paths: &[P],
    choice: &Choice,
    tell: &mut impl FnMut(Said) -> bool,
) -> Result<(), CaptureError> {
    let mut merged = Merged::open(paths);
    let mut intake = Intake::new(Limits::default());
    let mut listener = Listener { choice, tell, first_ns: None, mine: None, is_over: false };
    let (mut packets, mut first_error) = (0u64, None);
    while let Some((file, interfaces, next)) = merged.next() {
        match next {
            Ok(packet) => {
                packets = packets.saturating_add(1);
                listener.first_ns.get_or_insert(packet.time_ns);
                let elsewhere = paths.len() > 1 || interfaces > 1;
                intake.packet(file, &packet, &packet.parse(), elsewhere, &mut listener);
            }
            Err(error) => drop(first_error.get_or_insert(error)),
        }
        if listener.is_over {
            return Ok(());
        }
    }
    intake.flows.finish(&mut listener);
    match first_error {
        Some(error) if packets == 0 => Err(error),
        _ => Ok(()),
    }
}

/// Listens to one connection of all.
struct Listener<'a, F> {
    choice: &'a Choice,
    tell: &'a mut F,
    first_ns: Option<i64>,
    mine: Option<Mine>,
    is_over: bool,
}

/// The connection while it lasts.
struct Mine {
    conn: ConnId,
    client: Dir,
    talk: Talk,
}

enum Talk {
    Rtmp { follower: Box<Follower>, open: [HashMap<u32, Open>; 2] },
    Rtsp { sides: Box<[Framer; 2]> },
}

/// A message that is not whole yet.
#[derive(Default)]
struct Open {
    first: Option<At>,
    body: Vec<u8>,
}

/// Adds what is missing to a message: by whom.
struct Teller<'a, F> {
    from_client: bool,
    tell: &'a mut F,
    is_over: &'a mut bool,
    /// Of RTMP.
    open: Option<&'a mut HashMap<u32, Open>>,
}

impl<F: FnMut(Said) -> bool> Teller<'_, F> {
    fn say(&mut self, at: At, what: What) {
        if !*self.is_over {
            *self.is_over = !(self.tell)(Said { from_client: self.from_client, at, what });
        }
    }
}

impl<F: FnMut(Said) -> bool> Handler for Listener<'_, F> {
    fn opened(&mut self, conn: ConnId, info: &ConnInfo) {
        let since_ns = info.time_ns.saturating_sub(self.first_ns.unwrap_or(info.time_ns));
        let Some(client) = self.choice.direction(info, crate::report::seconds(since_ns)) else { return };
        if self.mine.is_some() {
            return;
        }
        let talk = match self.choice.protocol {
            Protocol::Rtsp => Talk::Rtsp {
                sides: Box::new([Framer::new(info.client_known), Framer::new(info.client_known)]),
            },
            _ => {
                Talk::Rtmp { follower: Box::new(Follower::new(info)), open: [HashMap::new(), HashMap::new()] }
            }
        };
        self.mine = Some(Mine { conn, client, talk });
    }

    fn data(&mut self, conn: ConnId, dir: Dir, at: At, bytes: &[u8]) {
        self.piece(conn, dir, at, Ok(bytes));
    }

    fn gap(&mut self, conn: ConnId, dir: Dir, at: At, len: u64, _: Missing) {
        self.piece(conn, dir, at, Err(len));
    }

    fn closed(&mut self, conn: ConnId, end: End, stats: &ConnStats) {
        let Some(mine) = self.mine.as_mut().filter(|mine| mine.conn == conn) else { return };
        let time_ns = stats.last_ns;
        let at = At { time_ns, frame: 0, offset: stats.half(mine.client).bytes, ready_ns: time_ns };
        if let Talk::Rtsp { sides } = &mut mine.talk {
            for (dir, side) in [Dir::AToB, Dir::BToA].into_iter().zip(sides.iter_mut()) {
                let from_client = dir == mine.client;
                let (tell, is_over) = (&mut *self.tell, &mut self.is_over);
                side.close(at, &mut Teller { from_client, tell, is_over, open: None });
            }
        }
        let (tell, is_over) = (&mut *self.tell, &mut self.is_over);
        Teller { from_client: true, tell, is_over, open: None }.say(at, What::Ended(end));
        self.is_over = true;
    }
}

impl<F: FnMut(Said) -> bool> Listener<'_, F> {
    /// The next bytes of a direction, or so many that are missing.
    fn piece(&mut self, conn: ConnId, dir: Dir, at: At, bytes: Result<&[u8], u64>) {
        let Some(mine) = self.mine.as_mut().filter(|mine| mine.conn == conn) else { return };
        let from_client = dir == mine.client;
        let (tell, is_over) = (&mut *self.tell, &mut self.is_over);
        let mut teller = Teller { from_client, tell, is_over, open: None };
        if let Err(len) = bytes {
            teller.say(at, What::Hole(len));
        }
        match &mut mine.talk {
            Talk::Rtmp { follower, open: [a, b] } => {
                teller.open = Some(if dir == Dir::AToB { a } else { b });
                match bytes {
                    Ok(bytes) => follower.data(dir, at, bytes, &mut teller),
                    Err(len) => follower.gap(dir, at, len, &mut teller),
                }
            }
            Talk::Rtsp { sides } => {
                let [a, b] = &mut **sides;
                let side = if dir == Dir::AToB { a } else { b };
                match bytes {
                    Ok(bytes) => side.data(at, bytes, &mut teller),
                    Err(len) => side.gap(len),
                }
            }
        }
    }
}

impl<F: FnMut(Said) -> bool> Events for Teller<'_, F> {
    fn shaking(&mut self, _: At, _: &[u8]) {}

    fn shaken(&mut self, _: Shake) {}

    fn chunk(&mut self, at: At, basic: &Basic, _: &[u8], continues: bool) {
        let Some(open) = self.open.as_mut().map(|open| open.entry(basic.csid).or_default()) else { return };
        if !continues || open.first.is_none() {
            *open = Open { first: Some(at), body: Vec::new() };
        }
    }

    fn payload(&mut self, _: At, csid: u32, bytes: &[u8]) {
        if let Some(open) = self.open.as_mut().and_then(|open| open.get_mut(&csid)) {
            open.body.extend_from_slice(bytes);
        }
    }

    fn message(&mut self, message: &Arrived<'_>) {
        let Arrived { csid, timestamp, type_id, stream_id, length, lost, .. } = *message;
        let Some(open) = self.open.as_mut().and_then(|open| open.remove(&csid)) else { return };
        let Some(at) = open.first else { return };
        let head = Head { csid, timestamp, type_id, stream_id };
        let missing = u64::from(length).saturating_sub(open.body.len() as u64);
        self.say(
            at,
            match lost.max(missing) {
                0 => What::Rtmp { head, body: open.body },
                lost => What::Damaged { head, lost },
            },
        );
    }

    fn lost(&mut self, _: &wire::Error) {}
}

impl<F: FnMut(Said) -> bool> Sink for Teller<'_, F> {
    fn message(&mut self, at: At, head: &http::Head<'_>, body: &[u8]) {
        self.say(at, What::Rtsp { head: head_of(head), body: body.to_vec() });
    }

    fn block(&mut self, at: At, channel: u8, payload: &[u8]) {
        self.say(at, What::Block { channel, payload: payload.to_vec() });
    }

    fn expects(&self, _: u8) -> bool {
        true
    }

    fn trouble(&mut self, _: At, _: wire::Error) {}
}

/// The head as an endpoint has it.
fn head_of(head: &http::Head<'_>) -> rtsp::Head {
    let mut owned = match head.start {
        http::Start::Request { method, target, .. } => rtsp::Head::request(method, target),
        http::Start::Status { code, reason, .. } => {
            let (version, reason) = (rtsp::VERSION.to_owned(), reason.to_owned());
            let start = rtsp::Start::Response { version, status: code, reason };
            rtsp::Head { start, headers: rtsp::Headers::default(), problems: Vec::new() }
        }
    };
    head.fields.iter().for_each(|(name, value)| owned.headers.push(name, *value));
    owned
}
