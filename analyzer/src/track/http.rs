//! One HTTP/1.1 connection: requests, responses, and where their bodies end (RFC 9112), whatever the capture lacks.

use std::collections::VecDeque;
use std::net::SocketAddr;

use wire::Cursor;
use wire::http::{self, Framing, Head, Start};

use super::hls::{Exchange, Registry};
use crate::flow::{At, ConnInfo, ConnStats, Dir, End, Missing};

/// Requests that wait for their response.
const MAX_PIPELINED: usize = 256;
/// Longest line of a chunk size or a trailer.
const MAX_CHUNK_LINE: usize = 4096;

/// Where in a direction the reader is.
#[derive(Debug, Default)]
enum State {
    /// At a head, of which this much is here.
    Head(Vec<u8>),
    /// In a body with this many bytes to go.
    Body(u64),
    /// At a chunk's size.
    Size(Vec<u8>),
    /// In a chunk, the line end behind it counted.
    Chunk(u64),
    /// In the trailer behind the last chunk.
    Trailer(Vec<u8>),
    /// In a body that ends with the connection.
    Close,
    /// Anywhere: a packet that begins with a start line is waited for.
    #[default]
    Lost,
}

/// Follows one connection.
#[derive(Debug)]
pub struct Tracker {
    client: Option<Dir>,
    addresses: [SocketAddr; 2],
    states: [State; 2],
    /// Requests in order, without those that were answered.
    waiting: VecDeque<Exchange>,
    /// The request that is being sent, and the one that is being answered, as far as they have bodies.
    answering: Option<Exchange>,
    connection: super::hls::Connection,
}

impl Tracker {
    /// For a connection whose next bytes begin with a start line.
    pub fn new(info: &ConnInfo) -> Self {
        Self {
            client: info.client_known.then_some(Dir::AToB),
            addresses: [info.a, info.b],
            states: [State::Head(Vec::new()), State::Head(Vec::new())],
            waiting: VecDeque::new(),
            answering: None,
            connection: super::hls::Connection::default(),
        }
    }

    fn ends(&self) -> (SocketAddr, SocketAddr) {
        let [a, b] = self.addresses;
        if self.client == Some(Dir::BToA) { (b, a) } else { (a, b) }
    }

    /// Takes the next bytes of a direction.
    pub fn data(&mut self, dir: Dir, at: At, bytes: &[u8], hls: &mut Registry) {
        if self.client.is_none() {
            self.client = Some(if bytes.starts_with(b"HTTP/") { dir.reverse() } else { dir });
        }
        let from_client = self.client == Some(dir);
        let mut state = std::mem::take(self.state(dir));
        let mut rest = bytes;
        if matches!(state, State::Lost) && begins(rest, from_client) {
            state = State::Head(Vec::new());
        }
        while !rest.is_empty() {
            let here = at.further(bytes.len().saturating_sub(rest.len()));
            let (used, next) = self.step(state, from_client, here, rest, hls);
            state = next;
            rest = rest.get(used.max(1)..).unwrap_or_default();
        }
        *self.state(dir) = state;
    }

    fn state(&mut self, dir: Dir) -> &mut State {
        let [a, b] = &mut self.states;
        if dir == Dir::AToB { a } else { b }
    }

    /// Takes a piece; returns how much of it, and the state behind.
    fn step(
        &mut self,
        state: State,
        from_client: bool,
        at: At,
        bytes: &[u8],
        hls: &mut Registry,
    ) -> (usize, State) {
        let within = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        match state {
            State::Head(here) => self.head(here, from_client, at, bytes, hls),
            State::Body(left) => {
                let used = within(left);
                self.body(from_client, at, bytes.get(..used).unwrap_or_default(), hls);
                match left.saturating_sub(used as u64) {
                    0 => {
                        self.done(from_client, at, true, hls);
                        (used, State::Head(Vec::new()))
                    }
                    left => (used, State::Body(left)),
                }
            }
            State::Close => {
                self.body(from_client, at, bytes, hls);
                (bytes.len(), State::Close)
            }
            State::Size(mut line) => {
                let (used, whole) = take_line(&mut line, bytes);
                self.carry(from_client, used as u64, hls);
                if !whole {
                    let next = if line.len() > MAX_CHUNK_LINE { State::Lost } else { State::Size(line) };
                    return (used, next);
                }
                match http::chunk_size(line.trim_ascii_end()) {
                    Ok(0) => (used, State::Trailer(Vec::new())),
                    Ok(size) => (used, State::Chunk(size.saturating_add(2))),
                    Err(_) => {
                        self.done(from_client, at, false, hls);
                        (used, State::Lost)
                    }
                }
            }
            State::Chunk(left) => {
                let used = within(left);
                // The last two bytes are the line end behind the chunk.
                let media = within(left.saturating_sub(2)).min(used);
                self.body(from_client, at, bytes.get(..media).unwrap_or_default(), hls);
                self.carry(from_client, used.saturating_sub(media) as u64, hls);
                match left.saturating_sub(used as u64) {
                    0 => (used, State::Size(Vec::new())),
                    left => (used, State::Chunk(left)),
                }
            }
            State::Trailer(mut line) => {
                let (used, whole) = take_line(&mut line, bytes);
                self.carry(from_client, used as u64, hls);
                match (whole, line.trim_ascii_end().is_empty()) {
                    (true, true) => {
                        self.done(from_client, at, true, hls);
                        (used, State::Head(Vec::new()))
                    }
                    (true, false) => (used, State::Trailer(Vec::new())),
                    (false, _) if line.len() > MAX_CHUNK_LINE => (used, State::Lost),
                    (false, _) => (used, State::Trailer(line)),
                }
            }
            State::Lost => (bytes.len(), State::Lost),
        }
    }

    fn head(
        &mut self,
        mut here: Vec<u8>,
        from_client: bool,
        at: At,
        bytes: &[u8],
        hls: &mut Registry,
    ) -> (usize, State) {
        // Empty lines before a message are passed over (§2.2).
        if here.is_empty() && matches!(bytes.first(), Some(b'\r' | b'\n')) {
            return (1, State::Head(here));
        }
        let (used, _) = take_line(&mut here, bytes);
        let ended = here.ends_with(b"\n\n") || here.ends_with(b"\n\r\n");
        if !ended {
            let lost = here.len() > http::MAX_HEAD;
            return (used, if lost { State::Lost } else { State::Head(here) });
        }
        let Ok(head) = Head::decode(&mut Cursor::new(&here)) else {
            if !from_client {
                self.waiting.clear();
            }
            return (used, State::Lost);
        };
        let framing = match head.start {
            Start::Request { .. } if from_client => self.request(at, &head, here.len() as u64, hls),
            Start::Status { code, .. } if !from_client => {
                // Interim answers do not use up the request; behind a switch comes another protocol.
                if code == 101 {
                    return (used, State::Lost);
                }
                if code < 200 {
                    return (used, State::Head(Vec::new()));
                }
                self.response(at, &head, here.len() as u64, hls)
            }
            _ => return (used, State::Lost),
        };
        let next = match framing {
            Ok(Framing::None) => {
                self.done(from_client, at, true, hls);
                State::Head(Vec::new())
            }
            Ok(Framing::Length(length)) => State::Body(length),
            Ok(Framing::Chunked) => State::Size(Vec::new()),
            Ok(Framing::Close) => State::Close,
            Err(_) => {
                self.done(from_client, at, false, hls);
                State::Lost
            }
        };
        (used, next)
    }

    fn request(&mut self, at: At, head: &Head<'_>, bytes: u64, hls: &mut Registry) -> wire::Result<Framing> {
        let (client, server) = self.ends();
        let mut exchange = hls.request(&mut self.connection, (client, server), at, head);
        hls.bytes(&mut exchange, 0, bytes);
        if self.waiting.len() >= MAX_PIPELINED {
            self.waiting.pop_front();
        }
        self.waiting.push_back(exchange);
        head.request_body()
    }

    fn response(&mut self, at: At, head: &Head<'_>, bytes: u64, hls: &mut Registry) -> wire::Result<Framing> {
        let mut exchange = self.waiting.pop_front().unwrap_or_else(|| Exchange::unasked(self.ends(), at));
        hls.bytes(&mut exchange, 1, bytes);
        hls.response(&mut self.connection, &mut exchange, at, head);
        let framing = head.response_body(exchange.method());
        self.answering = Some(exchange);
        framing
    }

    /// Bytes of a body that count but are no content.
    fn carry(&mut self, from_client: bool, bytes: u64, hls: &mut Registry) {
        let exchange = if from_client { self.waiting.back_mut() } else { self.answering.as_mut() };
        if let Some(exchange) = exchange {
            hls.bytes(exchange, usize::from(!from_client), bytes);
        }
    }

    fn body(&mut self, from_client: bool, at: At, bytes: &[u8], hls: &mut Registry) {
        self.carry(from_client, bytes.len() as u64, hls);
        if let Some(exchange) = self.answering.as_mut().filter(|_| !from_client) {
            hls.body(&mut self.connection, exchange, at, bytes);
        }
    }

    fn done(&mut self, from_client: bool, at: At, whole: bool, hls: &mut Registry) {
        if from_client {
            return;
        }
        if let Some(exchange) = self.answering.take() {
            hls.end(&mut self.connection, exchange, at, whole);
        }
    }

    /// Passes over bytes that the capture lacks.
    pub fn gap(&mut self, dir: Dir, at: At, len: u64, why: Missing, hls: &mut Registry) {
        let from_client = self.client == Some(dir);
        if why == Missing::Cut {
            self.carry(from_client, len, hls);
        }
        let state = std::mem::take(self.state(dir));
        let next = match state {
            State::Body(left) => {
                self.hole(from_client, len.min(left), hls);
                match left.checked_sub(len) {
                    Some(0) => {
                        self.done(from_client, at, false, hls);
                        State::Head(Vec::new())
                    }
                    Some(left) => State::Body(left),
                    None => self.give_up(from_client, at, hls),
                }
            }
            State::Chunk(left) if left > len => {
                self.hole(from_client, len, hls);
                State::Chunk(left.saturating_sub(len))
            }
            State::Close => {
                self.hole(from_client, len, hls);
                State::Close
            }
            _ => self.give_up(from_client, at, hls),
        };
        *self.state(dir) = next;
        self.connection.incomplete = true;
    }

    fn hole(&mut self, from_client: bool, len: u64, hls: &mut Registry) {
        if let Some(exchange) = self.answering.as_mut().filter(|_| !from_client) {
            hls.hole(exchange, len);
        }
    }

    /// What follows cannot be told apart: requests and responses no longer match.
    fn give_up(&mut self, from_client: bool, at: At, hls: &mut Registry) -> State {
        self.done(from_client, at, false, hls);
        if !from_client {
            self.waiting.clear();
        }
        State::Lost
    }

    /// A side has sent its last byte, which is where a body without a length ends.
    pub fn ended(&mut self, dir: Dir, at: At, hls: &mut Registry) {
        let from_client = self.client == Some(dir);
        if !from_client && self.answering.is_some() {
            let state = std::mem::replace(self.state(dir), State::Head(Vec::new()));
            self.done(from_client, at, matches!(state, State::Close), hls);
        }
    }

    /// The connection is over.
    pub fn close(mut self, end: End, stats: &ConnStats, hls: &mut Registry) {
        let at = At { time_ns: stats.last_ns, frame: stats.info.frame, offset: 0, ready_ns: stats.last_ns };
        let to_its_end = self.states.iter().any(|state| matches!(state, State::Close)) && end == End::Fin;
        // Where the capture ends before an answer does, it lacks that.
        let asked = self.answering.is_some() || !self.waiting.is_empty();
        self.connection.incomplete |= end == End::Capture && asked;
        self.done(false, at, to_its_end, hls);
        let client = self.client.unwrap_or(Dir::AToB);
        hls.closed(self.connection, client, end, stats);
    }
}

/// Moves bytes up to the next line end; true where it is there.
fn take_line(line: &mut Vec<u8>, bytes: &[u8]) -> (usize, bool) {
    let feed = bytes.iter().position(|b| *b == b'\n');
    let used = feed.map_or(bytes.len(), |feed| feed.saturating_add(1));
    line.extend_from_slice(bytes.get(..used).unwrap_or_default());
    (used, feed.is_some())
}

/// True where a message of this side begins here.
fn begins(bytes: &[u8], from_client: bool) -> bool {
    let line = bytes.iter().take(16 * 1024).position(|b| *b == b'\n').and_then(|end| bytes.get(..end));
    let start = line
        .and_then(|line| std::str::from_utf8(line).ok())
        .and_then(|line| Start::of(line.trim_end_matches('\r')));
    match start {
        Some(Start::Request { version, .. }) => from_client && version.starts_with("HTTP/1."),
        Some(Start::Status { version, .. }) => !from_client && version.starts_with("HTTP/1."),
        None => false,
    }
}
