//! Follows RTMP connections.
//!
//! A connection is taken for RTMP by its handshake, whatever its port: a version byte of 3, packets of 1536
//! bytes both ways, and behind them a chunk header that makes sense. Where the capture lacks the beginning, a run of
//! chunks decides. Nothing is kept of what cannot be one.

mod body;
mod chunk_stream;
mod chunks;
mod connection;
mod declared;
mod direction;
mod evidence;
pub(crate) mod follow;
mod handshake;
#[cfg(test)]
mod holes;
#[cfg(test)]
mod hostile;
mod known;
mod laid;
mod likely;
mod media;
mod message;
mod overlay;
#[cfg(test)]
mod real;
mod resync;
mod signs;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod truth;
mod walk;
mod work;

use std::net::SocketAddr;

use self::chunks::Assembler;
use self::connection::Connection;
use self::handshake::Half;
use self::message::{Message, Sink, Trouble, Unread, What};
use crate::finding::Note;
use crate::flow::{At, ConnInfo, ConnStats, Dir, End, Missing};
use crate::rules::Judged;
use crate::track::Stats;
use model::Role;

/// The port registered for RTMP.
const PORT: u16 = 1935;
/// Bytes of a connection joined late that are looked through for chunks before it is taken for something else.
const MAX_LOOKED: u64 = 2 << 20;

/// What a connection turned out to be, so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough was seen.
    Open,
    /// RTMP.
    Rtmp,
    /// Something else: feed it no more.
    Other,
}

/// Follows one connection.
#[derive(Debug)]
pub struct Tracker {
    verdict: Verdict,
    client: Option<Dir>,
    sides: [Side; 2],
    connection: Connection,
    /// Where the capture begins inside the connection.
    late: Option<At>,
    from_start: bool,
    ports: [u16; 2],
    /// Bytes looked through after joining late.
    looked: u64,
    /// The version of an encrypted handshake, and where it was answered.
    encrypted: Option<(u8, At)>,
}

/// One direction.
#[derive(Debug)]
struct Side {
    hello: Half,
    chunks: Assembler,
    messages: u64,
    /// First hole: where, how many, how many bytes; lost first, then cut by the snap length.
    holes: [Option<(At, u64, u64)>; 2],
}

/// A stream that was published or played, or a connection on which neither happened.
#[derive(Debug)]
pub struct Session {
    /// What the client did.
    pub role: Role,
    /// `app/key`.
    pub path: Option<String>,
    /// The query string behind the key.
    pub query: Option<String>,
    /// The client's software.
    pub agent: Option<String>,
    /// When its command came, nanoseconds since 1970; none for the first of a connection.
    pub started_ns: Option<i64>,
    /// When the first whole picture was there, or the first audio frame where there is no video.
    pub first_frame_ns: Option<i64>,
    /// What was carried.
    pub tracks: Vec<Stats>,
    /// Codes of the status messages about it.
    pub statuses: Vec<String>,
    /// The command that ended it.
    pub ended: Option<&'static str>,
    /// Bytes to the server and to the client that belong to this stream and not to the connection's first.
    pub own_bytes: Option<[u64; 2]>,
}

/// All that was learnt of a connection.
#[derive(Debug)]
pub struct Outcome {
    /// The client's direction.
    pub client: Dir,
    /// At least one.
    pub sessions: Vec<Session>,
    /// What is wrong or worth knowing.
    pub notes: Vec<Note>,
    /// What the rules say.
    pub judged: Vec<Judged>,
    /// True where every byte was understood.
    pub clean: bool,
    /// tcUrl of the connect command.
    pub tc_url: Option<String>,
}

impl Tracker {
    /// For a connection whose first bytes are about to come.
    pub fn new(info: &ConnInfo) -> Self {
        Self {
            verdict: Verdict::Open,
            client: info.client_known.then_some(Dir::AToB),
            sides: [Side::new(), Side::new()],
            connection: Connection::new(info.client_known),
            late: None,
            from_start: info.client_known,
            ports: [info.a.port(), info.b.port()],
            looked: 0,
            encrypted: None,
        }
    }

    /// The same, with a mark kept of every frame where `trace` says so.
    pub fn traced(mut self, trace: bool) -> Self {
        self.connection.trace = trace;
        self
    }

    /// Takes up a connection whose beginning the capture lacks, on whatever port; false where it does not lack it. RTMP
    /// is recognised by a run of chunks then.
    fn join_late(&mut self, at: At, bytes: &[u8]) -> bool {
        if self.late.is_some() || self.from_start || is_tls(bytes) {
            return false;
        }
        self.client = Some(client_by_port(self.ports));
        self.late = Some(at);
        self.sides = [Side::in_the_middle(), Side::in_the_middle()];
        self.connection.hole(true);
        true
    }

    /// Memory held, in bytes: open messages, and what is searched.
    pub fn weight(&self) -> usize {
        self.sides.iter().fold(0, |n, side| n.saturating_add(side.chunks.weight()))
    }

    /// What the connection is, as far as it is known.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Index and role of the streams that go on; before the first, the connection is there to control.
    pub(crate) fn open_streams(&self) -> Vec<(usize, Role)> {
        let streams = &self.connection.streams;
        if streams.is_empty() {
            return vec![(0, Role::Control)];
        }
        let open = streams.iter().enumerate().filter(|(_, stream)| stream.ended.is_none());
        open.map(|(index, stream)| (index, stream.role)).collect()
    }

    /// Path and codecs of a stream so far.
    pub(crate) fn stream(&self, index: usize) -> Option<(Option<String>, Vec<String>)> {
        let stream = self.connection.streams.get(index)?;
        Some((self.connection.path(stream), stream.media.codecs()))
    }

    /// The client's address.
    pub(crate) fn client_of(&self, info: &ConnInfo) -> SocketAddr {
        if self.client() == Dir::BToA { info.b } else { info.a }
    }

    /// The server's address.
    pub(crate) fn server_of(&self, info: &ConnInfo) -> SocketAddr {
        if self.client() == Dir::BToA { info.a } else { info.b }
    }

    /// True where the connection itself told which end is the client.
    pub(crate) fn knows_client(&self) -> bool {
        self.connection.client_is_sure
    }

    /// What was taken for the client is the server.
    pub(crate) fn turn(&mut self) {
        self.connection.turn();
    }

    /// The client's direction, as far as it is known.
    fn client(&self) -> Dir {
        let first = self.client.unwrap_or(Dir::AToB);
        if self.connection.turned { first.reverse() } else { first }
    }

    /// Bytes of both directions that the capture lacks so far.
    pub(crate) fn lost_bytes(&self) -> u64 {
        let holes = self.sides.iter().filter_map(|side| side.holes.first().copied().flatten());
        holes.fold(0, |sum, (_, _, bytes)| sum.saturating_add(bytes))
    }

    /// Takes the next bytes of a direction.
    pub fn data(&mut self, dir: Dir, at: At, bytes: &[u8]) {
        if self.verdict == Verdict::Other || bytes.is_empty() {
            return;
        }
        if !self.from_start && self.late.is_none() && handshake::is_chunk(bytes) {
            self.join_late(at, bytes);
        }
        // Where no SYN was seen the side that speaks first is the client.
        let client = *self.client.get_or_insert(dir);
        let [a, b] = &mut self.sides;
        let (side, peer) = if dir == Dir::AToB { (a, b) } else { (b, a) };
        let first = side.hello.passed == 0;
        let rest = if side.hello.is_done() { bytes } else { side.hello.push(bytes) };
        if let Some(version) = side.hello.encrypted()
            && self.from_start
        {
            // The client says C0 and C1 and waits; the server answers with the same version.
            let answered = dir != client && peer.hello.encrypted() == Some(version);
            if first && dir != client && !(answered && peer.hello.is_at_hello()) {
                self.verdict = Verdict::Other;
            } else if answered && side.hello.has_hello() {
                self.verdict = Verdict::Rtmp;
                self.encrypted.get_or_insert((version, at));
            }
            return;
        }
        if !side.hello.is_plausible() {
            if self.join_late(at, bytes) {
                return self.data(dir, at, bytes);
            }
            self.verdict = Verdict::Other;
            return;
        }
        let at = at.further(bytes.len().saturating_sub(rest.len()));
        let from_client = dir == client;
        let echoed = side.hello.echoes(&peer.hello) || peer.hello.echoes(&side.hello);
        let Side { chunks, messages, .. } = side;
        let mut sink = Receiver { connection: &mut self.connection, from_client, messages, desync: false };
        chunks.data(at, rest, &mut sink);
        let desync = sink.desync;
        if self.verdict == Verdict::Open {
            // The first header decides; an echo of the other side's random bytes settles it before.
            if echoed || *messages > 0 {
                self.verdict = Verdict::Rtmp;
            } else if self.late.is_some() {
                self.looked = self.looked.saturating_add(rest.len() as u64);
                if self.looked > MAX_LOOKED {
                    self.verdict = Verdict::Other;
                }
            } else if desync && !self.join_late(at, rest) {
                self.verdict = Verdict::Other;
            }
        }
    }

    /// Passes over bytes that the capture lacks.
    pub fn gap(&mut self, dir: Dir, at: At, len: u64, why: Missing) {
        if self.verdict == Verdict::Other {
            return;
        }
        let client = *self.client.get_or_insert(dir);
        let [a, b] = &mut self.sides;
        let side = if dir == Dir::AToB { a } else { b };
        let [lost, cut] = &mut side.holes;
        let hole = if why == Missing::Lost { lost } else { cut };
        let (_, count, bytes) = hole.get_or_insert((at, 0, 0));
        *count = count.saturating_add(1);
        *bytes = bytes.saturating_add(len);
        let rest = if side.hello.is_done() { len } else { side.hello.skip(len) };
        if rest > 0 {
            let Side { chunks, messages, .. } = side;
            let from_client = dir == client;
            let mut sink =
                Receiver { connection: &mut self.connection, from_client, messages, desync: false };
            chunks.gap(at, rest, &mut sink);
        }
    }

    /// The connection is over: what it was, if it was RTMP; or why it never became it.
    pub fn close(mut self, end: End, stats: &ConnStats) -> Result<Outcome, Option<Box<Note>>> {
        if self.verdict != Verdict::Rtmp {
            return Err(self.unfinished(self.client(), end, stats).map(Box::new));
        }
        let first = self.client.unwrap_or(Dir::AToB);
        for (dir, side) in [Dir::AToB, Dir::BToA].into_iter().zip(&mut self.sides) {
            let Side { chunks, messages, .. } = side;
            let from_client = dir == first;
            let mut sink =
                Receiver { connection: &mut self.connection, from_client, messages, desync: false };
            chunks.close(&mut sink);
        }
        let client = self.client();
        self.connection.tell();
        let mut clean = true;
        for (dir, side) in [Dir::AToB, Dir::BToA].into_iter().zip(&self.sides) {
            clean &= side.holes == [None, None] && side.chunks.unread == Unread::default();
            let what = if dir == client { "client to server" } else { "server to client" };
            side.hole_notes(what).into_iter().for_each(|note| self.connection.notes.push(note));
        }
        if let Some((version, at)) = self.encrypted {
            let bytes = stats.a_to_b.bytes.saturating_add(stats.b_to_a.bytes);
            let rule = &spec::capture::RTMP_ENCRYPTED;
            let text = format!("RTMPE (version {version}): {bytes} bytes cannot be read without the keys");
            self.connection.notes.push(Note::new(rule, text).at(at).want_got("3", version.to_string()));
            clean = false;
        }
        if let Some(at) = self.late {
            let rule = &spec::capture::STARTED_LATE;
            let mut text =
                "the capture begins inside the connection: who asked for what is not known".to_owned();
            let untimed: u64 = self.connection.streams.iter_mut().map(|s| s.media.untimed()).sum();
            if untimed > 0 {
                text.push_str(&format!(
                    "; times of {untimed} frames are not known, as the capture lacks what they count from"
                ));
            }
            self.connection.notes.push(Note::new(rule, text).at(at));
            clean = false;
        }
        if let Some(note) = self.other_direction(client, stats) {
            self.connection.notes.push(note);
        }
        Ok(self.outcome(client, clean))
    }

    /// A handshake that began plausibly and was never finished.
    fn unfinished(&self, client: Dir, end: End, stats: &ConnStats) -> Option<Note> {
        let [a, b] = &self.sides;
        let (mine, theirs) = if client == Dir::AToB { (a, b) } else { (b, a) };
        let seen = mine.hello.has_hello() || (mine.hello.passed > 0 && stats.info.b.port() == PORT);
        if self.verdict == Verdict::Other
            || !seen
            || !mine.hello.is_plausible()
            || !theirs.hello.is_plausible()
        {
            return None;
        }
        let rule = &spec::capture::RTMP_HANDSHAKE_UNFINISHED;
        let ended = match end {
            End::Fin => "was closed",
            End::Reset => "was reset",
            End::Idle => "fell silent",
            End::Replaced | End::Evicted | End::Capture => "was left open",
        };
        let message = format!(
            "{} to {}: an RTMP handshake began and the connection {ended} before it was finished",
            stats.info.a, stats.info.b
        );
        let got =
            format!("{} bytes from the client, {} from the server", mine.hello.passed, theirs.hello.passed);
        let at = At { time_ns: stats.first_ns, frame: stats.info.frame, offset: 0, ready_ns: stats.first_ns };
        Some(Note::new(rule, message).at(at).want_got(format!("{} bytes both ways", handshake::LENGTH), got))
    }

    fn other_direction(&self, client: Dir, stats: &ConnStats) -> Option<Note> {
        let silent = |dir: Dir| stats.half(dir).bytes == 0;
        let rule = &spec::capture::ONE_DIRECTION;
        let missing = match (silent(client), silent(client.reverse())) {
            (true, false) => "client",
            (false, true) => "server",
            _ => return None,
        };
        Some(Note::new(rule, format!("the capture has nothing that the {missing} sent")))
    }

    fn outcome(self, client: Dir, clean: bool) -> Outcome {
        let mut connection = self.connection;
        let paths: Vec<_> = connection.streams.iter().map(|s| connection.path(s)).collect();
        let agent = connection.agent.take();
        let mut sessions: Vec<Session> = std::mem::take(&mut connection.streams)
            .into_iter()
            .zip(paths)
            .enumerate()
            .map(|(index, (stream, path))| Session {
                role: stream.role,
                path,
                query: stream.query,
                agent: agent.clone(),
                started_ns: (index > 0).then_some(stream.started_ns),
                first_frame_ns: stream.media.first_picture_ns.or(stream.media.first_sound_ns),
                tracks: stream.media.into_tracks(),
                statuses: stream.statuses,
                ended: stream.ended,
                own_bytes: (index > 0).then_some(stream.wire_bytes),
            })
            .collect();
        if sessions.is_empty() {
            sessions.push(Session {
                role: Role::Control,
                path: None,
                query: None,
                agent,
                started_ns: None,
                first_frame_ns: None,
                tracks: Vec::new(),
                statuses: Vec::new(),
                ended: None,
                own_bytes: None,
            });
        }
        let judged = connection.rules.finish();
        let notes = connection.notes.into_vec();
        Outcome { client, sessions, notes, judged, clean, tc_url: connection.tc_url }
    }
}

/// The client of a connection whose beginning the capture lacks, until a message tells: not the side with RTMP's port, or the one with the
/// higher port.
fn client_by_port([a, b]: [u16; 2]) -> Dir {
    let server_is_a = if (a == PORT) == (b == PORT) { a < b } else { a == PORT };
    if server_is_a { Dir::BToA } else { Dir::AToB }
}

/// True where a segment begins like a TLS record: nothing can be found inside.
fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x14..=0x17, 3, 0..=4, length, ..] if *length <= 0x41)
}

impl Side {
    fn new() -> Self {
        Self { hello: Half::default(), chunks: Assembler::new(), messages: 0, holes: [None; 2] }
    }

    fn in_the_middle() -> Self {
        Self { hello: Half::done(), chunks: Assembler::in_the_middle(), ..Self::new() }
    }

    /// What the capture lacks of this direction, and what that cost.
    fn hole_notes(&self, what: &str) -> Vec<Note> {
        let unread = self.chunks.unread;
        let rules = [&spec::capture::TCP_BYTES_LOST, &spec::capture::PACKET_CUT];
        let words = ["are missing in the capture", "were cut off by the capture's snap length"];
        let holes = self.holes.iter().zip(rules).zip(words);
        holes
            .filter_map(|((hole, rule), words)| {
                let (at, count, bytes) = (*hole)?;
                let message = format!(
                    "{what}: {bytes} bytes {words} ({count} {}); damaged messages: {}, further bytes that could \
                     not be told apart: {}",
                    if count == 1 { "hole" } else { "holes" },
                    unread.damaged,
                    unread.bytes
                );
                let mut note = Note::new(rule, message).at(at).want_got("every byte", format!("{bytes} bytes less"));
                note.count = count;
                Some(note)
            })
            .collect()
    }
}

/// Takes what one direction's chunks carry.
struct Receiver<'a> {
    connection: &'a mut Connection,
    from_client: bool,
    messages: &'a mut u64,
    desync: bool,
}

impl Sink for Receiver<'_> {
    fn message(&mut self, message: &Message<'_>) {
        *self.messages = self.messages.saturating_add(1);
        self.connection.message(self.from_client, message);
    }

    fn trouble(&mut self, trouble: Trouble) {
        let Trouble { at, error, what } = trouble;
        let (rule, text) = match what {
            What::FirstChunk => (
                &spec::rtmp::CHUNK_FIRST_CHUNK_TYPE0,
                "a chunk stream begins with a header that needs an earlier one",
            ),
            What::Interrupted => (
                &spec::rtmp::CHUNK_CONTINUATION_TYPE3,
                "a message begins inside another one of its chunk stream",
            ),
            What::ChunkSize => match error.problem {
                wire::Problem::Value { got: 0, .. } => {
                    (&spec::rtmp::CONTROL_CHUNK_SIZE_ZERO, "a chunk size of zero")
                }
                _ => (&spec::rtmp::CONTROL_CHUNK_SIZE_HUGE, "a chunk size with its highest bit set"),
            },
            What::Desync => {
                (&spec::capture::RTMP_UNDECODABLE, "the chunks cannot be told apart from here on")
            }
            What::Bound => (&spec::capture::STATE_BOUNDED, "more chunk streams than are followed"),
        };
        self.desync |= what == What::Desync;
        self.connection.note(rule, text, at, &error);
    }

    fn hole(&mut self) {
        self.connection.hole(self.from_client);
    }
}
