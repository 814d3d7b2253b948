//! Follows RTSP sessions with their media, over UDP and in the connection (RFC 2326).
//!
//! A connection is taken for RTSP by its request and status lines, whatever its port. Its sessions stand in one
//! [`Registry`], because UDP packets have to find theirs, and a session may go on over another connection.

mod describe;
pub(crate) mod framer;
mod receive;
mod session;

use std::collections::HashMap;
use std::net::SocketAddr;

use model::Role;

use self::describe::Tracks;
use self::framer::Framer;
use self::receive::Receiver;
pub use self::session::Carrier;
use self::session::{Port, Ports, Session};
use crate::finding::Note;
use crate::flow::hash::Seeded;
use crate::flow::{At, ConnInfo, ConnStats, Datagram, Dir, End, Missing};
use crate::rules::Judged;
use crate::track::Stats;
use crate::track::ongoing::{self, Lost, MAX_LOOKED};

/// Requests that wait for their response.
const MAX_REQUESTS: usize = 64;
/// UDP ports that are listened to.
const MAX_ROUTES: usize = 65_536;
/// Sessions on one connection after each other that are told apart.
const MAX_PARTS: usize = 1000;
/// Bytes after which a connection joined in the middle is given up.
const MAX_LATE: u64 = 4 << 20;

/// A session of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionNo(u32);

impl SessionNo {
    /// The sessions count from 0.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.0)
    }
}

/// All RTSP sessions of a capture.
#[derive(Debug, Default)]
pub struct Registry {
    sessions: Vec<Session>,
    parts: Vec<Vec<Part>>,
    by_id: HashMap<(SocketAddr, String), SessionNo, Seeded>,
    /// By the client's address and port.
    routes: HashMap<SocketAddr, Route, Seeded>,
    /// By the server's, for clients whose ports a translator changed.
    servers: HashMap<SocketAddr, Vec<Route>, Seeded>,
    /// Whether every frame is marked.
    trace: bool,
}

#[derive(Clone, Copy, Debug)]
struct Route {
    session: SessionNo,
    track: usize,
    port: Port,
}

/// A stretch of a connection that belongs to a session.
#[derive(Clone, Debug)]
pub struct Part {
    /// The connection in figures.
    pub stats: ConnStats,
    /// The client's direction.
    pub client: Dir,
    /// How it ended.
    pub end: End,
    /// Payload to the server and to the client.
    pub bytes: [u64; 2],
    /// True where the session is the connection's first.
    pub first: bool,
    /// When the session began on it, nanoseconds since 1970.
    pub from_ns: i64,
    /// When the next session began on it, or its last packet.
    pub until_ns: i64,
    /// True where every byte was understood.
    pub clean: bool,
}

/// A UDP packet that belongs to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Whose it is.
    pub session: SessionNo,
    /// Payload bytes that count with it.
    pub bytes: u64,
}

/// All that was learnt of a session.
#[derive(Debug)]
pub struct Outcome {
    /// Its number.
    pub session: SessionNo,
    /// How its media travelled, where anything was set up.
    pub carrier: Option<Carrier>,
    /// What the client did.
    pub role: Role,
    /// The side that connected.
    pub client: SocketAddr,
    /// The side that was connected to.
    pub server: SocketAddr,
    /// Path of the URL.
    pub path: Option<String>,
    /// The client's software.
    pub agent: Option<String>,
    /// The connections it used.
    pub parts: Vec<Part>,
    /// UDP payload to the server and to the client.
    pub udp_bytes: [u64; 2],
    /// Latest UDP packet, nanoseconds since 1970.
    pub last_udp_ns: Option<i64>,
    /// The first whole picture, or audio frame where there is no video, nanoseconds since 1970.
    pub first_frame_ns: Option<i64>,
    /// UDP address and port pairs, client first.
    pub udp_pairs: Vec<(SocketAddr, SocketAddr)>,
    /// What was carried.
    pub tracks: Vec<Stats>,
    /// True where the client took its leave.
    pub torn_down: bool,
    /// What is wrong or worth knowing.
    pub notes: Vec<Note>,
    /// What the rules say.
    pub judged: Vec<Judged>,
}

impl Registry {
    /// Nobody yet; every frame is marked where `trace` says so.
    pub(crate) fn new(trace: bool) -> Self {
        Self { trace, ..Self::default() }
    }

    fn get(&mut self, no: SessionNo) -> Option<&mut Session> {
        self.sessions.get_mut(usize::try_from(no.0).ok()?)
    }

    /// The latest sessions, those left out that were torn down.
    pub(crate) fn going_on(&self) -> impl Iterator<Item = (SessionNo, Role)> {
        let latest = self.sessions.iter().enumerate().rev().take(MAX_LOOKED);
        let numbered = latest.filter_map(|(n, session)| Some((u32::try_from(n).ok()?, session)));
        numbered.filter(|(_, session)| !session.torn_down).map(|(no, session)| (SessionNo(no), session.role))
    }

    /// Client, path, codecs and losses of a session so far.
    pub(crate) fn now(&self, no: SessionNo) -> Option<(SocketAddr, Option<String>, Vec<String>, Lost)> {
        let session = self.sessions.get(usize::try_from(no.0).ok()?)?;
        let codecs = ongoing::codecs(session.tracks.iter().flat_map(|track| track.receiver.all_stats()));
        let (packets, lost) = session.tracks.iter().fold((0u64, 0u64), |(packets, lost), track| {
            let (p, l) = track.receiver.so_far();
            (packets.saturating_add(p), lost.saturating_add(l))
        });
        let lost = Lost::Packets { lost, sent: packets.saturating_add(lost) };
        Some((session.client, session.path.clone(), codecs, lost))
    }

    fn begin(&mut self, client: SocketAddr, server: SocketAddr) -> Option<SessionNo> {
        let no = SessionNo(u32::try_from(self.sessions.len()).ok()?);
        self.sessions.push(Session::new(client, server, self.trace));
        self.parts.push(Vec::new());
        Some(no)
    }

    fn route(&mut self, no: SessionNo, index: usize) {
        self.make_room();
        let Some(track) = self.get(no).and_then(|session| session.tracks.get(index)) else { return };
        let (client, server, agreed) = (track.client, track.server, track.agreed);
        // Where both have one port, that of RTP stays: what is RTCP on it is seen by its type.
        for (address, port) in addresses(client).into_iter().rev() {
            let other = self.routes.get(&address).filter(|route| (route.session, route.track) != (no, index));
            // What was only asked for takes no port away from a session that goes on.
            if agreed || other.is_none_or(|route| self.is_over(route.session)) {
                self.routes.insert(address, Route { session: no, track: index, port });
            }
        }
        for (address, port) in addresses(server) {
            let routes = self.servers.entry(address).or_default();
            // A server with one port pair for all clients keeps the latest of them in mind.
            if routes.len() >= 256 {
                routes.remove(0);
            }
            routes.retain(|r| (r.session, r.track, r.port) != (no, index, port));
            routes.push(Route { session: no, track: index, port });
        }
    }

    fn is_over(&self, no: SessionNo) -> bool {
        let session = usize::try_from(no.0).ok().and_then(|n| self.sessions.get(n));
        session.is_none_or(|session| session.torn_down)
    }

    /// A SETUP was refused: nothing is sent to the ports it named, unless an earlier one was agreed to.
    fn refuse(&mut self, no: SessionNo, index: usize) {
        let mine = |route: &Route| (route.session, route.track) == (no, index);
        let Some((client, server)) = self.get(no).and_then(|session| session.refuse(index)) else { return };
        for (address, _) in addresses(client) {
            if self.routes.get(&address).is_some_and(mine) {
                self.routes.remove(&address);
            }
        }
        for (address, _) in addresses(server) {
            if let Some(routes) = self.servers.get_mut(&address) {
                routes.retain(|route| !mine(route));
            }
        }
    }

    /// Makes room: the older half of the sessions gives up its ports.
    fn make_room(&mut self) {
        if self.routes.len() < MAX_ROUTES && self.servers.len() < MAX_ROUTES {
            return;
        }
        let mut numbers: Vec<SessionNo> = self.routes.values().map(|route| route.session).collect();
        numbers.sort_unstable();
        let Some(middle) = numbers.get(numbers.len() / 2).copied() else { return };
        self.routes.retain(|_, route| route.session > middle);
        self.servers.retain(|_, routes| {
            routes.retain(|route| route.session > middle);
            !routes.is_empty()
        });
    }

    /// Takes a UDP datagram; none where it belongs to no session.
    pub fn udp(&mut self, datagram: &Datagram<'_>) -> Option<Counted> {
        if self.routes.is_empty() {
            return None;
        }
        let (route, from_client) = self.whose(datagram)?;
        let at =
            At { time_ns: datagram.time_ns, frame: datagram.frame, offset: 0, ready_ns: datagram.time_ns };
        let session = self.get(route.session)?;
        let length = u64::from(datagram.payload_len);
        let bytes = session.packet((route.track, route.port), from_client, at, datagram.payload, length);
        if bytes == 0 {
            return None;
        }
        if let Some(sum) = session.udp_bytes.get_mut(usize::from(!from_client)) {
            *sum = sum.saturating_add(bytes);
        }
        session.last_udp_ns = Some(session.last_udp_ns.unwrap_or(i64::MIN).max(datagram.time_ns));
        Some(Counted { session: route.session, bytes })
    }

    /// True where a datagram goes over the ports of a session, whether it is of its media or not.
    pub fn is_mine(&self, datagram: &Datagram<'_>) -> bool {
        !self.routes.is_empty() && self.whose(datagram).is_some()
    }

    /// The session of a datagram by its addresses, then by its source; and true where the client sent it.
    fn whose(&self, datagram: &Datagram<'_>) -> Option<(Route, bool)> {
        let known = |no: SessionNo| self.sessions.get(usize::try_from(no.0).ok()?);
        let server_is = |route: &Route, address: SocketAddr| {
            known(route.session).is_some_and(|session| {
                let announced = session.tracks.get(route.track).and_then(|track| track.server);
                session.server.ip() == address.ip() || announced.is_some_and(|(ip, ..)| ip == address.ip())
            })
        };
        if let Some(route) = self.routes.get(&datagram.dst).filter(|route| server_is(route, datagram.src)) {
            return Some((*route, false));
        }
        if let Some(route) = self.routes.get(&datagram.src).filter(|route| server_is(route, datagram.dst)) {
            return Some((*route, true));
        }
        // Behind an address translator the client's port is another one than it said.
        let ssrc =
            datagram.payload.get(8..12).and_then(|b| b.first_chunk::<4>()).map(|b| u32::from_be_bytes(*b))?;
        for (end, peer, from_client) in
            [(datagram.dst, datagram.src, true), (datagram.src, datagram.dst, false)]
        {
            let mut routes = self.servers.get(&end).map(Vec::as_slice).unwrap_or_default().iter().rev();
            let found = routes.find(|route| {
                let Some(session) = known(route.session) else { return false };
                let mine = session.client.ip() == peer.ip();
                mine && session.tracks.get(route.track).is_some_and(|t| t.receiver.is_source(ssrc))
            });
            if let Some(route) = found {
                return Some((*route, from_client));
            }
        }
        None
    }

    /// Puts all sessions together.
    pub fn finish(mut self) -> Vec<Outcome> {
        let parts = std::mem::take(&mut self.parts);
        let mut outcomes: Vec<Outcome> = Vec::new();
        for (n, (mut session, parts)) in self.sessions.into_iter().zip(parts).enumerate() {
            // Without a connection of its own it was begun for nothing.
            if parts.is_empty() {
                continue;
            }
            session.finish();
            let judged = session.judge();
            let carrier = session.carrier();
            let first = |kind| {
                let tracks = session.tracks.iter().filter(|t| t.receiver.stats.kind() == kind);
                tracks.filter_map(|t| t.receiver.first_frame_ns).min()
            };
            // Data with frames of its own is a transport stream.
            let [video, audio, data] =
                [model::TrackKind::Video, model::TrackKind::Audio, model::TrackKind::Data].map(first);
            let first_frame_ns = video.or(data).or(audio);
            let udp_pairs = session.tracks.iter().flat_map(|track| {
                let (Some((c, rtp, rtcp)), (s, s_rtp, s_rtcp)) =
                    (track.client, track.server.unwrap_or((session.server.ip(), 0, 0)))
                else {
                    return Vec::new();
                };
                vec![
                    (SocketAddr::new(c, rtp), SocketAddr::new(s, s_rtp)),
                    (SocketAddr::new(c, rtcp), SocketAddr::new(s, s_rtcp)),
                ]
            });
            let udp_pairs = udp_pairs.collect();
            let mut tracks = Vec::new();
            for mut track in session.tracks {
                let transport = track.receiver.transport.take();
                tracks.push(track.receiver.stats);
                let inner = transport.map(|transport| transport.into_stats(&mut session.notes));
                tracks.extend(inner.unwrap_or_default());
            }
            outcomes.push(Outcome {
                session: SessionNo(u32::try_from(n).unwrap_or(u32::MAX)),
                carrier,
                role: session.role,
                client: session.client,
                server: session.server,
                path: session.path,
                agent: session.agent,
                parts,
                udp_bytes: session.udp_bytes,
                last_udp_ns: session.last_udp_ns,
                first_frame_ns,
                udp_pairs,
                tracks,
                torn_down: session.torn_down,
                notes: session.notes.into_vec(),
                judged,
            });
        }
        outcomes
    }
}

/// Where RTP and RTCP of one side are sent to.
fn addresses(end: Option<Ports>) -> Vec<(SocketAddr, Port)> {
    let Some((ip, rtp, rtcp)) = end else { return Vec::new() };
    vec![(SocketAddr::new(ip, rtp), Port::Rtp), (SocketAddr::new(ip, rtcp), Port::Rtcp)]
}

/// Follows one connection.
#[derive(Debug)]
pub struct Tracker {
    client: Option<Dir>,
    addresses: [SocketAddr; 2],
    sides: [Framer; 2],
    connection: Connection,
    from_start: bool,
    first: Option<At>,
    /// First hole: where, how many, how many bytes; lost first, then cut by the snap length.
    holes: [Option<(At, u64, u64)>; 2],
    passed: u64,
}

/// What a connection's messages told.
#[derive(Debug, Default)]
struct Connection {
    session: Option<SessionNo>,
    /// The sessions on it, after each other.
    parts: Vec<Share>,
    requests: Vec<Request>,
    described: Tracks,
    announced: bool,
    /// The current session is over: the next SETUP begins another.
    over: bool,
}

/// What a session has of a connection.
#[derive(Clone, Copy, Debug)]
struct Share {
    no: SessionNo,
    /// When it began and when it last sent, nanoseconds since 1970.
    from_ns: i64,
    last_ns: i64,
    /// To the server and to the client.
    bytes: [u64; 2],
}

/// A request that waits for its response.
#[derive(Debug)]
struct Request {
    from_client: bool,
    cseq: Option<u64>,
    method: String,
    url: String,
    session: Option<SessionNo>,
    /// The track of a SETUP.
    track: Option<usize>,
    role_before: Role,
}

impl Tracker {
    /// For a connection whose bytes are about to come; `late` where the capture begins inside it.
    pub fn new(info: &ConnInfo, late: bool) -> Self {
        Self {
            client: info.client_known.then_some(Dir::AToB),
            addresses: [info.a, info.b],
            sides: [Framer::new(!late), Framer::new(!late)],
            connection: Connection::default(),
            from_start: info.client_known,
            first: None,
            holes: [None; 2],
            passed: 0,
        }
    }

    /// True where anything of RTSP was seen.
    pub fn is_rtsp(&self) -> bool {
        let [a, b] = &self.sides;
        let units = |side: &Framer| (side.seen.messages, side.seen.blocks);
        let ((am, ab), (bm, bb)) = (units(a), units(b));
        am.saturating_add(bm) > 0 || ab.saturating_add(bb) >= 3
    }

    /// True where it was looked at long enough and is nothing of RTSP.
    pub fn is_hopeless(&self) -> bool {
        self.passed > MAX_LATE && !self.is_rtsp()
    }

    /// The session whose bytes pass now; none before the first message.
    pub fn session(&self) -> Option<SessionNo> {
        self.connection.session
    }

    /// True where the current session is the connection's first.
    pub fn is_first_session(&self) -> bool {
        self.connection.parts.len() <= 1
    }

    /// Takes the next bytes of a direction.
    pub fn data(&mut self, dir: Dir, at: At, bytes: &[u8], registry: &mut Registry) {
        self.first.get_or_insert(at);
        self.passed = self.passed.saturating_add(bytes.len() as u64);
        if self.client.is_none() {
            self.client = Some(self.guess(dir, bytes));
        }
        let from_client = self.client == Some(dir);
        let ends = self.ends();
        let [a, b] = &mut self.sides;
        let side = if dir == Dir::AToB { a } else { b };
        let mut sink = Receiver { connection: &mut self.connection, registry, from_client, ends };
        side.data(at, bytes, &mut sink);
        // The packet that begins a session is the session's.
        self.count(dir, at.time_ns, bytes.len() as u64);
    }

    /// Passes over bytes that the capture lacks.
    pub fn gap(&mut self, dir: Dir, at: At, len: u64, why: Missing, registry: &mut Registry) {
        if why == Missing::Cut {
            self.count(dir, at.time_ns, len);
        }
        let [lost, cut] = &mut self.holes;
        let hole = if why == Missing::Lost { lost } else { cut };
        let (_, count, bytes) = hole.get_or_insert((at, 0, 0));
        *count = count.saturating_add(1);
        *bytes = bytes.saturating_add(len);
        let [a, b] = &mut self.sides;
        let side = if dir == Dir::AToB { a } else { b };
        side.gap(len);
        if let Some(session) = self.connection.session.and_then(|no| registry.get(no)) {
            session.hole();
        }
    }

    /// Client and server, as far as it is known which is which.
    fn ends(&self) -> (SocketAddr, SocketAddr) {
        let [a, b] = self.addresses;
        if self.client == Some(Dir::BToA) { (b, a) } else { (a, b) }
    }

    /// Which side is the client, where no SYN told: the one that asks.
    fn guess(&self, dir: Dir, bytes: &[u8]) -> Dir {
        let [a, b] = self.addresses;
        let well_known = |port: u16| matches!(port, 554 | 8554 | 322 | 8322);
        if bytes.starts_with(b"RTSP/") {
            dir.reverse()
        } else if bytes.first().is_some_and(u8::is_ascii_uppercase) {
            dir
        } else if well_known(a.port()) != well_known(b.port()) {
            if well_known(b.port()) { Dir::AToB } else { Dir::BToA }
        } else {
            // Media goes mostly to the side that asked for it.
            dir.reverse()
        }
    }

    fn count(&mut self, dir: Dir, time_ns: i64, bytes: u64) {
        let side = usize::from(self.client.is_some_and(|client| client != dir));
        let Some(share) = self.connection.parts.last_mut() else { return };
        share.last_ns = share.last_ns.max(time_ns);
        if let Some(sum) = share.bytes.get_mut(side) {
            *sum = sum.saturating_add(bytes);
        }
    }

    /// No more bytes come; true where anything of them was RTSP. Call [`close`](Self::close) after this.
    pub fn finish(&mut self, registry: &mut Registry, stats: &ConnStats) -> bool {
        let client = self.client.unwrap_or(Dir::AToB);
        let ends = self.ends();
        let last = At { time_ns: stats.last_ns, frame: stats.info.frame, offset: 0, ready_ns: stats.last_ns };
        for (dir, side) in [Dir::AToB, Dir::BToA].into_iter().zip(&mut self.sides) {
            let from_client = dir == client;
            let mut sink = Receiver { connection: &mut self.connection, registry, from_client, ends };
            side.close(last, &mut sink);
        }
        self.is_rtsp()
    }

    /// The connection is over: its bytes are given to its sessions. False where it has none.
    pub fn close(mut self, end: End, stats: &ConnStats, registry: &mut Registry) -> bool {
        let client = self.client.unwrap_or(Dir::AToB);
        if self.connection.parts.is_empty() {
            return false;
        }
        self.tell(registry);
        let unread = self.sides.iter().map(|side| side.seen.unread).fold(0u64, u64::saturating_add);
        let clean = unread == 0 && self.holes == [None, None] && self.from_start;
        // The first session has what no other one has.
        let whole = [stats.half(client).bytes, stats.half(client.reverse()).bytes];
        let parts = std::mem::take(&mut self.connection.parts);
        let others = parts
            .iter()
            .skip(1)
            .map(|share| share.bytes)
            .fold([0u64; 2], |[up, down], [u, d]| [up.saturating_add(u), down.saturating_add(d)]);
        let latest = parts.len().saturating_sub(1);
        for (index, Share { no, from_ns, last_ns, bytes }) in parts.iter().enumerate() {
            let until_ns = if index == latest { stats.last_ns } else { *last_ns };
            let first = index == 0;
            let [[up, down], [others_up, others_down]] = [whole, others];
            let rest = [up.saturating_sub(others_up), down.saturating_sub(others_down)];
            let part = Part {
                stats: *stats,
                client,
                end,
                bytes: if first { rest } else { *bytes },
                first,
                from_ns: if first { stats.first_ns } else { *from_ns },
                until_ns,
                clean,
            };
            if let Some(list) = usize::try_from(no.0).ok().and_then(|n| registry.parts.get_mut(n)) {
                list.push(part);
            }
        }
        true
    }

    fn tell(&self, registry: &mut Registry) {
        let Some(session) = self.connection.parts.first().and_then(|share| registry.get(share.no)) else {
            return;
        };
        let rules = [&spec::capture::TCP_BYTES_LOST, &spec::capture::PACKET_CUT];
        let words = ["are missing in the capture", "were cut off by the capture's snap length"];
        for ((hole, rule), words) in self.holes.iter().zip(rules).zip(words) {
            let Some((at, count, bytes)) = *hole else { continue };
            let holes = if count == 1 { "hole" } else { "holes" };
            let message = format!("{bytes} bytes of the RTSP connection {words} ({count} {holes})");
            let mut note =
                Note::new(rule, message).at(at).want_got("every byte", format!("{bytes} bytes less"));
            note.count = count;
            session.notes.push(note);
        }
        if let (false, Some(at)) = (self.from_start, self.first) {
            let text = "the capture begins inside the RTSP connection: what was set up before is not known";
            session.notes.push(Note::new(&spec::capture::STARTED_LATE, text).at(at));
        }
    }
}
