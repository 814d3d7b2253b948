//! Requests, responses and blocks of one direction, and what they mean for the sessions.

use std::net::SocketAddr;

use model::Role;
use wire::http::{Head, Start};
use wire::rtsp::{Mode, SessionId, Transport};

use super::describe;
use super::framer::Sink;
use super::{Connection, MAX_PARTS, MAX_REQUESTS, Registry, Request, SessionNo, Share};
use crate::finding::Note;
use crate::flow::At;
use crate::rules::rtsp as rules;

/// Takes what one direction carries.
pub(super) struct Receiver<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) registry: &'a mut Registry,
    pub(super) from_client: bool,
    pub(super) ends: (SocketAddr, SocketAddr),
}

impl Receiver<'_> {
    /// The session of the connection, begun where there is none.
    fn session(&mut self, at: At) -> Option<SessionNo> {
        if self.connection.session.is_none() {
            let (client, server) = self.ends;
            let no = self.registry.begin(client, server)?;
            self.join(no, at);
        }
        self.connection.session
    }

    fn join(&mut self, no: SessionNo, at: At) {
        let connection = &mut *self.connection;
        if connection.session != Some(no) {
            connection.session = Some(no);
            connection.over = false;
            if connection.parts.len() < MAX_PARTS {
                let (from_ns, last_ns) = (at.time_ns, at.time_ns);
                connection.parts.push(Share { no, from_ns, last_ns, bytes: [0; 2] });
            }
        }
    }

    /// The session that a Session field names, where another connection began it.
    fn named(&mut self, head: &Head<'_>, at: At) {
        let (_, server) = self.ends;
        let Some(id) = head.field("Session").map(|value| SessionId::parse(value).id) else { return };
        if id.is_empty() || id.len() > 256 {
            return;
        }
        let key = (server, id);
        let mine = self.connection.session.filter(|_| !self.connection.over);
        match (mine, self.registry.by_id.get(&key).copied()) {
            (Some(mine), Some(known)) if mine == known => {}
            (None, Some(known)) => self.join(known, at),
            (Some(mine), None) => {
                let Some(session) = self.registry.get(mine) else { return };
                match &session.id {
                    // A connection may carry several sessions at a time; only the first is followed by its id.
                    Some(other) if *other != key.1 => {}
                    _ => {
                        session.id = Some(key.1.clone());
                        self.registry.by_id.insert(key, mine);
                    }
                }
            }
            _ => {}
        }
    }

    fn request(&mut self, at: At, head: &Head<'_>, method: &str, url: &str, body: &[u8]) {
        if self.from_client {
            self.named(head, at);
        }
        if self.connection.over && matches!(method, "SETUP" | "ANNOUNCE" | "DESCRIBE") {
            self.connection.session = None;
            self.connection.over = false;
            self.connection.announced = false;
        }
        let Some(no) = self.session(at) else { return };
        if let Some(session) = self.registry.get(no) {
            session.rules.tell(rules::Event::Request { from_client: self.from_client, cseq: cseq(head) });
        }
        let announced = self.connection.announced;
        let mut track = None;
        let mut role_before = Role::Control;
        if let Some(session) = self.registry.get(no).filter(|_| self.from_client) {
            session.agent(head.field("User-Agent"));
            role_before = session.role;
            match method {
                "DESCRIBE" => session.url(url),
                "ANNOUNCE" => {
                    session.url(url);
                    session.publishes = true;
                    self.connection.announced = true;
                    let base = head.field("Content-Base").unwrap_or(url).to_owned();
                    self.describe(no, at, body, &base);
                }
                "PLAY" => {
                    session.role = Role::Viewer;
                    session.publishes = false;
                    session.url(url);
                }
                "RECORD" => {
                    session.role = Role::Publisher;
                    session.publishes = true;
                    session.url(url);
                }
                "SETUP" => {
                    session.publishes |= announced;
                    track = self.setup(no, head, url);
                }
                // Where the capture lacks how the session began, any request about it says whose it is.
                _ if session.path.is_none() => session.url(url),
                _ => {}
            }
        }
        let requests = &mut self.connection.requests;
        if requests.len() >= MAX_REQUESTS {
            requests.remove(0);
        }
        requests.push(Request {
            from_client: self.from_client,
            cseq: cseq(head),
            method: method.chars().take(32).collect(),
            url: url.chars().take(1024).collect(),
            session: Some(no),
            track,
            role_before,
        });
    }

    fn setup(&mut self, no: SessionNo, head: &Head<'_>, url: &str) -> Option<usize> {
        let offers = Transport::parse_all(head.field("Transport")?).ok()?;
        let offer = offers.first()?;
        let tracks = &self.connection.described.tracks;
        let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
        let exact = tracks.iter().position(|track| same(&track.control, url));
        // Hosts may be written in several ways; what stands behind them counts.
        let tail =
            |url: &str| url.split_once("://").and_then(|(_, r)| r.split_once('/')).map(|(_, p)| p.to_owned());
        let by_path = || {
            tracks
                .iter()
                .position(|track| tail(&track.control).is_some() && tail(&track.control) == tail(url))
        };
        let in_order = || {
            let set_up = self.registry.sessions.get(usize::try_from(no.0).ok()?)?.tracks.len();
            (set_up < tracks.len()).then_some(set_up)
        };
        let described = exact.or_else(by_path).or_else(in_order).and_then(|index| tracks.get(index)).cloned();
        let session = self.registry.get(no)?;
        let index = session.setup(url, described.as_ref(), offer)?;
        if offer.mode == Some(Mode::Record) {
            session.publishes = true;
        }
        self.registry.route(no, index);
        Some(index)
    }

    fn describe(&mut self, no: SessionNo, at: At, body: &[u8], base: &str) {
        if body.is_empty() {
            return;
        }
        self.connection.described = describe::read(body, base);
        if let Some(session) = self.registry.get(no) {
            session.described(&self.connection.described.tracks);
        }
        for problem in std::mem::take(&mut self.connection.described.problems) {
            let Some(session) = self.registry.get(no) else { return };
            session.note(problem.rule, || problem.at(at));
        }
    }

    fn response(&mut self, at: At, head: &Head<'_>, code: u16, body: &[u8]) {
        if code < 200 {
            return;
        }
        let number = cseq(head);
        let waiting = |request: &Request| request.from_client != self.from_client;
        let requests = &mut self.connection.requests;
        let exact = requests.iter().position(|r| waiting(r) && number.is_some() && r.cseq == number);
        let found = exact.or_else(|| requests.iter().position(|r| waiting(r) && number.is_none()));
        let request = found.map(|index| requests.remove(index));
        let of = request.as_ref().and_then(|r| r.session).or(self.connection.session);
        if let Some(session) = of.and_then(|no| self.registry.get(no)) {
            session.rules.tell(rules::Event::Response {
                from_client: self.from_client,
                at,
                code,
                cseq: number,
                head,
                request: request.as_ref().map(|r| (r.method.as_str(), r.url.as_str())),
            });
        }
        if self.from_client {
            return;
        }
        let Some(no) = request.as_ref().and_then(|r| r.session).or_else(|| self.session(at)) else { return };
        let agreed = code < 300;
        if agreed {
            self.named(head, at);
        }
        let sdp = body.starts_with(b"v=")
            || head
                .field("Content-Type")
                .is_some_and(|t| t.to_ascii_lowercase().starts_with("application/sdp"));
        match &request {
            Some(request) if request.method == "DESCRIBE" || request.method.is_empty() => {
                if agreed && sdp {
                    let base =
                        head.field("Content-Base").or(head.field("Content-Location")).unwrap_or(&request.url);
                    let base = base.to_owned();
                    self.describe(no, at, body, &base);
                }
            }
            Some(request) if request.method == "SETUP" => self.set_up(no, head, request.track, agreed),
            Some(request) if matches!(request.method.as_str(), "PLAY" | "RECORD") => {
                let before = request.role_before;
                if let Some(session) = self.registry.get(no).filter(|_| code >= 400) {
                    session.role = before;
                }
            }
            Some(request) if request.method == "TEARDOWN" => {
                if agreed {
                    self.torn_down(no);
                }
            }
            Some(_) => {}
            // The capture lacks the request.
            None => {
                if agreed && sdp {
                    let base = head.field("Content-Base").unwrap_or_default().to_owned();
                    if let Some(session) = self.registry.get(no) {
                        session.url(&base);
                    }
                    self.describe(no, at, body, &base);
                } else if agreed && head.field("Transport").is_some() {
                    let described = &self.connection.described.tracks;
                    let set_up = self.registry.sessions.get(usize::try_from(no.0).unwrap_or(usize::MAX));
                    let url = set_up.and_then(|s| described.get(s.tracks.len())).map(|d| d.control.clone());
                    let index = self.setup(no, head, url.as_deref().unwrap_or_default());
                    self.set_up(no, head, index, true);
                } else if agreed
                    && head.field("RTP-Info").is_some()
                    && let Some(session) = self.registry.get(no)
                    && session.role == Role::Control
                {
                    session.role = Role::Viewer;
                }
            }
        }
    }

    fn set_up(&mut self, no: SessionNo, head: &Head<'_>, track: Option<usize>, agreed: bool) {
        let Some(index) = track else { return };
        if !agreed {
            return self.registry.refuse(no, index);
        }
        let Some(session) = self.registry.get(no) else { return };
        let transports = head.field("Transport").and_then(|value| Transport::parse_all(value).ok());
        if let Some(transport) = transports.as_ref().and_then(|list| list.first()) {
            session.agree(index, transport, true);
            self.registry.route(no, index);
        }
    }

    fn torn_down(&mut self, no: SessionNo) {
        if let Some(session) = self.registry.get(no) {
            session.torn_down = true;
        }
        if self.connection.session == Some(no) {
            self.connection.over = true;
        }
    }
}

fn cseq(head: &Head<'_>) -> Option<u64> {
    head.field("CSeq").and_then(|value| value.trim().parse().ok())
}

impl Sink for Receiver<'_> {
    fn message(&mut self, at: At, head: &Head<'_>, body: &[u8]) {
        match head.start {
            Start::Request { method, target, .. } => {
                let (method, target) = (method.to_owned(), target.to_owned());
                self.request(at, head, &method, &target, body);
                let session = self.connection.session.and_then(|no| self.registry.get(no));
                if let Some(session) = session.filter(|_| self.from_client && method == "TEARDOWN") {
                    session.torn_down = true;
                }
            }
            Start::Status { code, .. } => self.response(at, head, code, body),
        }
    }

    fn block(&mut self, at: At, channel: u8, payload: &[u8]) {
        let Some(no) = self.session(at) else { return };
        let from_client = self.from_client;
        let Some(session) = self.registry.get(no) else { return };
        let mut port = session.channel(channel);
        if port.is_none() && session.takes_any_channel() {
            if session.tracks.is_empty() {
                session.publishes = from_client;
            }
            port = session.unknown_channel(channel);
        }
        match port {
            Some(port) => {
                let length = payload.len() as u64;
                let at = At { time_ns: at.ready_ns, ..at };
                session.packet(port, from_client, at, payload, length);
            }
            None => {
                let rule = &spec::rtsp::INTERLEAVED_CHANNELS;
                session.note(rule, || {
                    let message = "an interleaved block on a channel that was not agreed on";
                    Note::new(rule, message)
                        .at(at)
                        .want_got("a channel of a SETUP", format!("channel {channel}"))
                });
            }
        }
    }

    fn expects(&self, channel: u8) -> bool {
        let no = self.connection.session;
        let session = no.and_then(|no| self.registry.sessions.get(usize::try_from(no.0).ok()?));
        session.is_none_or(|session| session.takes_any_channel() || session.channel(channel).is_some())
    }

    fn trouble(&mut self, at: At, error: wire::Error) {
        let Some(no) = self.session(at) else { return };
        if let Some(session) = self.registry.get(no) {
            let rule = &spec::rtsp::INTERLEAVED_FRAMING;
            session.note(rule, || Note::error(rule, "the RTSP stream", &error).at(at));
        }
    }
}
