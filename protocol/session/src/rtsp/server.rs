//! The server's end of an RTSP connection.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use wire::Error;
use wire::rtsp::{Head, Interleaved, Range, RtpInfo, SessionId, Start, VERSION};
use wire::sdp::{Description, control_url};

use super::Reason;
use super::inbox::{Inbox, Unit, status_of};
use super::io::{Action, Carry, Event, Input, Output, Refusal, ServerConfig, TrackStart};
use super::offer;
use super::request::{Echo, PUBLIC, Request, base_of, is_chunked, sdp_is_accepted};
use super::url::{Location, rest, without_credentials};
use crate::Time;
use crate::rtmp::PathError;

/// A server endpoint.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    ids: u64,
    inbox: Inbox,
    out: VecDeque<Output>,
    closed: bool,
    /// The peer will send no more.
    half_closed: bool,
    waiting: Option<Waiting>,
    announced: Option<Announced>,
    session: Option<Session>,
    heard: Time,
    wake: Option<Time>,
    strangers: u64,
    /// The request at hand came on another connection.
    relayed: bool,
}

/// A request that the driver has to decide on.
#[derive(Debug)]
struct Waiting {
    echo: Echo,
    ask: Ask,
}

#[derive(Debug)]
enum Ask {
    Describe { base: Option<String> },
    Announce(Announced),
    Setup { path: String, url: String, choice: offer::Choice, publish: bool },
    Play { ranged: bool, scaled: bool },
    Record,
    Elsewhere,
}

/// What a publisher described.
#[derive(Clone, Debug)]
struct Announced {
    path: String,
    /// Path and query string of each track's control URL, as they stand.
    controls: Vec<String>,
}

#[derive(Debug)]
struct Session {
    id: String,
    path: String,
    publish: bool,
    state: State,
    /// It has played.
    played: bool,
    tracks: BTreeMap<usize, Track>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Playing,
    Recording,
}

#[derive(Debug)]
struct Track {
    url: String,
    carry: Carry,
}

impl Server {
    /// An endpoint whose connection was accepted `now`; `seed`, which nobody can guess, grows its session ids.
    pub fn new(config: ServerConfig, seed: u64, now: Time) -> Self {
        let mut server = Self {
            config,
            ids: seed,
            inbox: Inbox::default(),
            out: VecDeque::new(),
            closed: false,
            half_closed: false,
            waiting: None,
            announced: None,
            session: None,
            heard: now,
            wake: None,
            strangers: 0,
            relayed: false,
        };
        server.plan();
        server
    }

    /// Takes one input. Call [`poll`](Self::poll) until it is dry after each.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        if self.closed {
            return;
        }
        match input {
            Input::Bytes(bytes) => {
                if let Err(error) = self.inbox.push(bytes) {
                    return self.close(Reason::Protocol(error));
                }
                self.read(now);
            }
            Input::Closed => self.half_closed = true,
            Input::Relayed { head, body } => {
                self.relayed = true;
                self.message(now, head, body);
                self.relayed = false;
                self.read(now);
            }
            Input::Tick => {
                self.wake = None;
                self.expire(now);
            }
            Input::Alive => self.heard = now,
            Input::Do(action) => {
                self.act(action);
                self.read(now);
            }
        }
        if self.half_closed && self.waiting.is_none() && self.roams().is_none() {
            return self.close(Reason::PeerClosed);
        }
        self.plan();
    }

    /// The id of a session that does not need its connection: one that plays, and over UDP alone.
    pub fn roams(&self) -> Option<&str> {
        let udp = |track: &Track| matches!(track.carry, Carry::Udp { .. });
        let session = self.session.as_ref().filter(|s| s.played && s.tracks.values().all(udp))?;
        Some(&session.id)
    }

    /// The next output, in order.
    pub fn poll(&mut self) -> Option<Output> {
        let next = self.out.pop_front();
        if next.is_none() && self.out.capacity() > 64 {
            self.out = VecDeque::new();
        }
        next
    }

    /// True while a request waits for the driver's answer: nothing is read meanwhile, so it need not be received either.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Memory held of what was received and not acted on: incomplete messages, and what waits behind a request.
    pub fn open_bytes(&self) -> usize {
        self.inbox.bytes()
    }

    /// Since when there is something like that.
    pub fn open_since(&self) -> Option<Time> {
        (self.open_bytes() > 0).then(|| self.inbox.since.unwrap_or(self.heard))
    }

    /// How a track of the session travels.
    pub fn carry(&self, track: usize) -> Option<Carry> {
        self.session.as_ref()?.tracks.get(&track).map(|t| t.carry)
    }

    // --- reading ---

    fn read(&mut self, now: Time) {
        while self.waiting.is_none() && !self.closed {
            match self.inbox.next(now) {
                Ok(None) => return,
                Ok(Some(Unit::Packet { channel, payload })) => self.packet(now, channel, payload),
                Ok(Some(Unit::Message { head, body })) => self.message(now, head, body),
                Err(error) => self.unreadable(error),
            }
        }
    }

    fn unreadable(&mut self, error: Error) {
        let mut answer = Head::response(status_of(&error));
        if let Some(cseq) = self.inbox.broken_cseq() {
            answer.headers.push("CSeq", cseq);
        }
        self.last(answer, error);
    }

    /// The last answer: what follows on the connection cannot be told apart.
    fn last(&mut self, answer: Head, error: Error) {
        self.send(&answer.with("Connection", "close"), b"");
        self.close(Reason::Protocol(error));
    }

    fn packet(&mut self, now: Time, channel: u8, payload: Bytes) {
        let found = self.session.as_ref().and_then(|session| {
            session.tracks.iter().find_map(|(track, t)| match t.carry {
                Carry::Tcp { channels: (rtp, _) } if rtp == channel => Some((*track, false)),
                Carry::Tcp { channels: (_, rtcp) } if rtcp == channel => Some((*track, true)),
                _ => None,
            })
        });
        let Some((track, rtcp)) = found else {
            self.strangers = self.strangers.saturating_add(1);
            if self.strangers == 1 {
                let text = format!("an interleaved packet on channel {channel}, which nobody agreed on");
                self.event(Event::Misbehaved(text));
            }
            return;
        };
        self.heard = now;
        let state = self.session.as_ref().map(|s| s.state);
        if state == Some(State::Recording) || (rtcp && state == Some(State::Playing)) {
            self.event(Event::Packet { track, rtcp, payload });
        }
    }

    fn message(&mut self, now: Time, head: Head, body: Bytes) {
        self.heard = now;
        if let Some(error) = head.problems.first() {
            self.event(Event::Misbehaved(format!("head at {error}")));
        }
        // We ask nothing, so an answer is none of ours.
        let Start::Request { method, uri, version } = &head.start else { return };
        let (method, uri, version) = (method.clone(), uri.clone(), version.clone());
        let cseq = head.headers.cseq().and_then(|_| head.headers.value("CSeq")).map(str::to_owned);
        if version != VERSION {
            let mut answer = Head::response(505);
            if let Some(cseq) = cseq {
                answer.headers.push("CSeq", cseq);
            }
            return self.send(&answer, b"");
        }
        let Some(cseq) = cseq else { return self.send(&Head::response(400), b"") };
        let timestamp = head.headers.value("Timestamp").map(str::to_owned);
        let echo = Echo { cseq, timestamp };
        if let Some(error) = is_chunked(&head) {
            let answer = self.answer(&echo, 501);
            return self.last(answer, error);
        }
        self.request(Request { echo, method, uri, head, body });
    }

    fn request(&mut self, request: Request) {
        if let Some(unsupported) = request.required() {
            return self.send(&self.answer(&request.echo, 551).with("Unsupported", unsupported), b"");
        }
        if let Some(given) = request.value("Session") {
            let given = SessionId::parse(given);
            if self.session.as_ref().is_none_or(|s| s.id != given.id) {
                return self.elsewhere(given.id, request);
            }
        }
        match request.method.as_str() {
            "OPTIONS" => self.send(&self.answer(&request.echo, 200).with("Public", PUBLIC), b""),
            "DESCRIBE" => self.describe(&request),
            "ANNOUNCE" => self.announce(&request),
            "SETUP" => self.setup(&request),
            "PLAY" => self.in_session(&request, Self::play),
            "PAUSE" => self.in_session(&request, Self::pause),
            "RECORD" => self.in_session(&request, Self::record),
            "TEARDOWN" => self.in_session(&request, Self::teardown),
            "GET_PARAMETER" | "SET_PARAMETER" => {
                // Without a body it says no more than that the peer is there (RFC 2326 §10.8).
                let status = if request.body.trim_ascii().is_empty() { 200 } else { 451 };
                self.send(&self.answer(&request.echo, status), b"");
            }
            "REDIRECT" => self.fail(&request, 405),
            _ => self.send(&self.answer(&request.echo, 501).with("Public", PUBLIC), b""),
        }
    }

    /// A request about a session that is not ours.
    fn elsewhere(&mut self, id: String, request: Request) {
        if self.relayed || !request.may_roam() {
            return self.fail(&request, 454);
        }
        let event = Event::Elsewhere { id, head: request.head.clone(), body: request.body.clone() };
        self.ask(&request, Ask::Elsewhere, event);
    }

    fn location(&mut self, request: &Request) -> Option<Location> {
        match Location::parse(&request.uri) {
            Ok(location) => Some(location),
            Err(PathError::Empty) => {
                self.fail(request, 404);
                None
            }
            Err(error) => {
                self.event(Event::Misbehaved(error.to_string()));
                self.fail(request, 400);
                None
            }
        }
    }

    // --- requests ---

    fn describe(&mut self, request: &Request) {
        if !sdp_is_accepted(&request.head) {
            return self.fail(request, 406);
        }
        let Some(Location { path, query, .. }) = self.location(request) else { return };
        let base = base_of(&request.uri);
        self.ask(request, Ask::Describe { base }, Event::Describe { path, query, agent: request.agent() });
    }

    fn announce(&mut self, request: &Request) {
        if self.session.is_some() {
            return self.fail(request, 455);
        }
        let kind = request.value("Content-Type").unwrap_or_default();
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/sdp") {
            return self.fail(request, 415);
        }
        let Some(Location { path, query, .. }) = self.location(request) else { return };
        let description = match Description::parse(&request.body) {
            Ok(description) => description,
            Err(error) => {
                self.event(Event::Misbehaved(format!("session description at {error}")));
                return self.fail(request, 400);
            }
        };
        if description.media.is_empty() || description.media.len() > self.config.max_tracks {
            let text = format!("a session description of {} media sections", description.media.len());
            self.event(Event::Misbehaved(text));
            return self.fail(request, 400);
        }
        let control = |control| rest(&control_url(&request.uri, control)).trim_matches('/').to_owned();
        let controls = description.media.iter().map(|m| control(m.control())).collect();
        let announced = Announced { path: path.clone(), controls };
        let event = Event::Announce { path, query, agent: request.agent(), description };
        self.ask(request, Ask::Announce(announced), event);
    }

    fn setup(&mut self, request: &Request) {
        if self.session.as_ref().is_some_and(|s| s.state != State::Ready) {
            return self.fail(request, 455);
        }
        let Some(location) = self.location(request) else { return };
        let (path, track) = match &self.announced {
            None => (location.path, location.track),
            Some(announced) => match announced.track(&request.uri) {
                Some(track) => (announced.path.clone(), Some(track)),
                None => return self.fail(request, 404),
            },
        };
        let publish = self.announced.is_some();
        if let Some(session) = &self.session {
            if session.path != path {
                return self.fail(request, 459);
            }
            if session.tracks.len() >= self.config.max_tracks {
                return self.fail(request, 503);
            }
        }
        let taken: Vec<u8> = self.channels(track);
        let offered = request.value("Transport").unwrap_or_default();
        let choice = match offer::choose(offered, &self.config, publish, &taken) {
            Ok(choice) => choice,
            Err(status) => return self.fail(request, status),
        };
        let url = without_credentials(&request.uri);
        let event = Event::Setup {
            path: path.clone(),
            query: location.query,
            agent: request.agent(),
            track,
            carry: choice.carry,
            publish,
        };
        self.ask(request, Ask::Setup { path, url, choice, publish }, event);
    }

    /// Channels that tracks other than this one use.
    fn channels(&self, but: Option<usize>) -> Vec<u8> {
        let tracks = self.session.iter().flat_map(|s| &s.tracks);
        let others = tracks.filter(|(track, _)| but != Some(**track));
        others
            .flat_map(|(_, track)| match track.carry {
                Carry::Tcp { channels: (rtp, rtcp) } => vec![rtp, rtcp],
                Carry::Udp { .. } => Vec::new(),
            })
            .collect()
    }

    /// Requests that only make sense within a session, about all of its tracks.
    fn in_session(&mut self, request: &Request, then: fn(&mut Self, &Request)) {
        if request.value("Session").is_none() || self.session.is_none() {
            return self.fail(request, 454);
        }
        let Some(location) = self.location(request) else { return };
        let Some(session) = &self.session else { return };
        let on_track = match &self.announced {
            Some(announced) => announced.track(&request.uri).is_some() && location.path != session.path,
            None => location.track.is_some(),
        };
        if !on_track && location.path != session.path {
            return self.fail(request, 404);
        }
        if on_track && session.tracks.len() > 1 {
            return self.fail(request, 460);
        }
        then(self, request);
    }

    fn play(&mut self, request: &Request) {
        let Some(session) = &self.session else { return };
        if session.publish {
            return self.fail(request, 405);
        }
        let range = request.value("Range").map(Range::parse);
        match range {
            Some(Err(_)) => return self.fail(request, 457),
            Some(Ok(Range::Other { .. })) => return self.fail(request, 501),
            Some(Ok(Range::Npt { .. })) | None => {}
        }
        let (ranged, scaled) = (range.is_some(), request.value("Scale").is_some());
        if session.state == State::Playing {
            // A live stream goes on: there is nothing to seek in.
            let answer = self.played(&request.echo, ranged, scaled);
            return self.send(&answer, b"");
        }
        let (path, tracks) = (session.path.clone(), session.tracks.keys().copied().collect());
        self.ask(request, Ask::Play { ranged, scaled }, Event::Play { path, tracks });
    }

    fn played(&self, echo: &Echo, ranged: bool, scaled: bool) -> Head {
        let mut answer = self.answer(echo, 200);
        if ranged {
            answer.headers.push("Range", "npt=now-");
        }
        if scaled {
            answer.headers.push("Scale", "1.0");
        }
        answer
    }

    /// Stops playing or recording for a while (RFC 2326 §10.6): publishers of GStreamer pause before they leave.
    fn pause(&mut self, request: &Request) {
        let Some(session) = &mut self.session else { return };
        if session.state == State::Ready {
            return self.fail(request, 455);
        }
        // A publisher may pause too (RFC 2326 §A.2); GStreamer's does so before it leaves.
        session.state = State::Ready;
        self.event(Event::Paused);
        self.send(&self.answer(&request.echo, 200), b"");
    }

    fn record(&mut self, request: &Request) {
        let Some(session) = &self.session else { return };
        if !session.publish {
            return self.fail(request, 405);
        }
        if session.state != State::Ready {
            return self.fail(request, 455);
        }
        let (path, tracks) = (session.path.clone(), session.tracks.keys().copied().collect());
        self.ask(request, Ask::Record, Event::Record { path, tracks });
    }

    fn teardown(&mut self, request: &Request) {
        let answer = self.answer(&request.echo, 200);
        self.end(false);
        self.send(&answer, b"");
    }

    fn end(&mut self, silent: bool) {
        self.announced = None;
        if self.session.take().is_some() {
            self.event(Event::Ended { silent });
        }
    }

    // --- answers ---

    fn ask(&mut self, request: &Request, ask: Ask, event: Event) {
        self.waiting = Some(Waiting { echo: request.echo.clone(), ask });
        self.event(event);
    }

    /// An answer with what every answer has.
    fn answer(&self, echo: &Echo, status: u16) -> Head {
        let mut head = echo.response(status).with("Server", self.config.agent.as_str());
        if let Some(session) = self.session.as_ref().filter(|_| status == 200) {
            head.headers.push("Session", session.id.as_str());
        }
        head
    }

    fn fail(&mut self, request: &Request, status: u16) {
        let mut answer = self.answer(&request.echo, status);
        match status {
            405 | 455 => answer.headers.push("Allow", self.allowed()),
            461 => answer.headers.push("Transport", offer::possible(&self.config, self.announced.is_some())),
            _ => {}
        }
        self.send(&answer, b"");
    }

    /// The methods that work in this state.
    fn allowed(&self) -> &'static str {
        match self.session.as_ref().map(|s| (s.state, s.publish)) {
            None => "OPTIONS, DESCRIBE, ANNOUNCE, SETUP, GET_PARAMETER, SET_PARAMETER",
            Some((State::Ready, false)) => {
                "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER, SET_PARAMETER"
            }
            Some((State::Ready, true)) => {
                "OPTIONS, DESCRIBE, SETUP, RECORD, TEARDOWN, GET_PARAMETER, SET_PARAMETER"
            }
            Some((State::Playing, _)) => {
                "OPTIONS, DESCRIBE, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER"
            }
            Some((State::Recording, _)) => "OPTIONS, DESCRIBE, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER",
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Packet { track, rtcp, payload } => self.interleave(track, rtcp, &payload),
            Action::Shutdown => self.close(Reason::Shutdown),
            // These are a client's.
            Action::Carry(_) | Action::Pause | Action::Resume | Action::Finish => {}
            decision => {
                if let Some(waiting) = self.waiting.take() {
                    self.decide(waiting, decision);
                }
            }
        }
    }

    fn decide(&mut self, Waiting { echo, ask }: Waiting, decision: Action) {
        match (ask, decision) {
            (Ask::Describe { base }, Action::Describe { sdp }) => {
                let mut answer = self.answer(&echo, 200);
                if let Some(base) = base {
                    answer.headers.push("Content-Base", base);
                }
                self.send(&answer.with("Content-Type", "application/sdp"), sdp.as_bytes());
            }
            (Ask::Announce(announced), Action::Accept) => {
                self.announced = Some(announced);
                self.send(&self.answer(&echo, 200), b"");
            }
            (Ask::Setup { path, url, choice, publish }, Action::SetUp { track, server_port, ssrc }) => {
                self.set_up(path, publish, track, Track { url, carry: choice.carry.with(server_port) });
                let transport = choice.answer(server_port, ssrc);
                let mut answer = self.answer(&echo, 200).with("Transport", transport.to_string());
                if let Some(session) = answer.headers.0.iter_mut().find(|h| h.name == "Session") {
                    let seconds = self.config.session_timeout.as_secs();
                    let timeout = u32::try_from(seconds).ok();
                    session.value = SessionId { id: session.value.clone(), timeout }.to_string();
                }
                self.send(&answer, b"");
            }
            (Ask::Play { ranged, scaled }, Action::Play { info }) => {
                if let Some(session) = &mut self.session {
                    (session.state, session.played) = (State::Playing, true);
                }
                let mut answer = self.played(&echo, ranged, scaled);
                let info = self.rtp_info(&info);
                if !info.is_empty() {
                    answer.headers.push("RTP-Info", info);
                }
                self.send(&answer, b"");
            }
            (Ask::Record, Action::Record) => {
                if let Some(session) = &mut self.session {
                    session.state = State::Recording;
                }
                self.send(&self.answer(&echo, 200), b"");
            }
            (Ask::Elsewhere, Action::Answered(bytes)) => self.out.push_back(Output::Send(bytes)),
            (_, decision) => {
                let why = if let Action::Refuse(why) = decision { why } else { Refusal::Failed };
                self.send(&self.answer(&echo, why.status()), b"");
            }
        }
    }

    fn set_up(&mut self, path: String, publish: bool, track: usize, how: Track) {
        if self.session.is_none() {
            let id = self.new_id();
            self.session = Some(Session {
                id,
                path,
                publish,
                state: State::Ready,
                played: false,
                tracks: BTreeMap::new(),
            });
        }
        if let Some(session) = &mut self.session {
            session.tracks.insert(track, how);
        }
    }

    /// Sixteen digits: the seed is the driver's, this only tells several sessions of a connection apart.
    fn new_id(&mut self) -> String {
        self.ids = self.ids.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.ids;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        format!("{:016X}", z ^ z >> 31)
    }

    fn rtp_info(&self, info: &[TrackStart]) -> String {
        let Some(session) = &self.session else { return String::new() };
        let one = |start: &TrackStart| {
            let url = session.tracks.get(&start.track)?.url.clone();
            Some(RtpInfo { url, seq: Some(start.seq), rtptime: start.rtptime }.to_string())
        };
        info.iter().filter_map(one).collect::<Vec<_>>().join(",")
    }

    fn interleave(&mut self, track: usize, rtcp: bool, payload: &[u8]) {
        let Some(Carry::Tcp { channels }) = self.carry(track) else { return };
        let channel = if rtcp { channels.1 } else { channels.0 };
        if let Some(bytes) = interleaved(channel, payload) {
            self.out.push_back(Output::Send(bytes));
        }
    }

    // --- time ---

    /// When the peer has to have done something; none where it need not.
    fn deadline(&self) -> Option<(Time, &'static str)> {
        if self.waiting.is_some() {
            return None;
        }
        let message =
            self.inbox.since.map(|t| (t.after(self.config.request_timeout), "a message was not finished"));
        let silence = match &self.session {
            None => Some((self.heard.after(self.config.request_timeout), "no session")),
            // Who takes what is written on the connection is there; who does not is the driver's to notice.
            Some(session) if session.state == State::Playing && session.is_interleaved() => None,
            Some(_) => {
                let limit = self.config.session_timeout.saturating_add(self.config.grace);
                Some((self.heard.after(limit), "the session was silent"))
            }
        };
        [message, silence].into_iter().flatten().min()
    }

    fn expire(&mut self, now: Time) {
        let Some((_, why)) = self.deadline().filter(|(at, _)| *at <= now) else { return };
        self.end(true);
        self.close(Reason::Timeout(why));
    }

    /// Asks to be woken, where no earlier wish stands.
    fn plan(&mut self) {
        if self.closed {
            return;
        }
        let Some((at, _)) = self.deadline() else { return };
        if self.wake.is_none_or(|wake| at < wake) {
            self.wake = Some(at);
            self.out.push_back(Output::WakeAt(at));
        }
    }

    // --- output ---

    fn send(&mut self, head: &Head, body: &[u8]) {
        self.out.push_back(Output::Send(head.encode(body).into()));
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn close(&mut self, reason: Reason) {
        if !self.closed {
            self.closed = true;
            self.out.push_back(Output::Close(reason));
        }
    }
}

impl Announced {
    /// The track of a SETUP: by its control URL, or the only one by the URL of the stream.
    fn track(&self, uri: &str) -> Option<usize> {
        let given = rest(uri).trim_matches('/');
        let found = self.controls.iter().position(|control| control == given);
        let only = self.controls.len() == 1 && Location::parse(uri).is_ok_and(|l| l.path == self.path);
        found.or(only.then_some(0))
    }
}

impl Session {
    fn is_interleaved(&self) -> bool {
        self.tracks.values().all(|t| matches!(t.carry, Carry::Tcp { .. }))
    }
}

/// An interleaved frame; none where the packet is longer than one can be.
pub(super) fn interleaved(channel: u8, payload: &[u8]) -> Option<Bytes> {
    let length = u16::try_from(payload.len()).ok()?;
    let mut bytes = BytesMut::with_capacity(payload.len().saturating_add(4));
    bytes.extend_from_slice(&Interleaved { channel, length }.encode());
    bytes.extend_from_slice(payload);
    Some(bytes.freeze())
}
