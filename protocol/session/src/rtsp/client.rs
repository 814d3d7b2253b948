//! The client's end of an RTSP connection: a player or a publisher.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use wire::rtsp::{Head, Mode, RtpInfo, SessionId, Start, Transport};
use wire::sdp::{Description, control_url};

use super::Reason;
use super::inbox::{Inbox, Unit};
use super::io::{Action, Carry, Event, Input, Output, TrackStart};
use super::server::interleaved;
use super::url::{rest, without_credentials};
use crate::Time;

/// What the client is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientRole {
    /// Receives media.
    Play,
    /// Sends what this session description says.
    Publish {
        /// The text.
        sdp: String,
    },
}

/// Where a client connects and how it names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Play or publish.
    pub role: ClientRole,
    /// `rtsp://host:port/path`.
    pub url: String,
    /// `User-Agent`.
    pub agent: String,
    /// From connecting to a started stream.
    pub start_timeout: Duration,
}

impl ClientConfig {
    /// A client of `url`; user name and password in it are left out.
    pub fn new(role: ClientRole, url: &str, agent: &str) -> Self {
        let (url, agent) = (without_credentials(url), agent.to_owned());
        Self { role, url, agent, start_timeout: Duration::from_secs(10) }
    }
}

/// A client endpoint.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    inbox: Inbox,
    out: VecDeque<Output>,
    closed: bool,
    cseq: u32,
    asked: VecDeque<(u32, Ask)>,
    public: String,
    /// The URL of the whole and of each track.
    aggregate: String,
    controls: Vec<String>,
    to_set_up: VecDeque<(usize, Carry)>,
    tracks: BTreeMap<usize, Carry>,
    session: Option<SessionId>,
    started: bool,
    deadline: Time,
    now: Time,
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Options,
    Describe,
    Announce,
    Setup(usize, Carry),
    Start,
    Pause,
    KeepAlive,
}

impl Ask {
    fn method(self, publish: bool) -> &'static str {
        match self {
            Self::Options => "OPTIONS",
            Self::Describe => "DESCRIBE",
            Self::Announce => "ANNOUNCE",
            Self::Setup(..) => "SETUP",
            Self::Start if publish => "RECORD",
            Self::Start => "PLAY",
            Self::Pause => "PAUSE",
            Self::KeepAlive => "GET_PARAMETER",
        }
    }
}

impl Client {
    /// A client whose transport is connected `now`.
    pub fn new(config: ClientConfig, now: Time) -> Self {
        let deadline = now.after(config.start_timeout);
        let mut client = Self {
            aggregate: config.url.clone(),
            config,
            inbox: Inbox::default(),
            out: VecDeque::new(),
            closed: false,
            cseq: 0,
            asked: VecDeque::new(),
            public: String::new(),
            controls: Vec::new(),
            to_set_up: VecDeque::new(),
            tracks: BTreeMap::new(),
            session: None,
            started: false,
            deadline,
            now,
        };
        let url = client.config.url.clone();
        client.ask(Ask::Options, &url, Vec::new(), b"");
        client.out.push_back(Output::WakeAt(deadline));
        client
    }

    /// Takes one input. Call [`poll`](Self::poll) until it is dry after each.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        if self.closed {
            return;
        }
        self.now = now;
        match input {
            Input::Bytes(bytes) => self.take(now, bytes),
            Input::Closed => self.close(Reason::PeerClosed),
            Input::Tick if now >= self.deadline => self.expire(),
            Input::Tick => self.out.push_back(Output::WakeAt(self.deadline)),
            // These are a server's.
            Input::Alive | Input::Relayed { .. } => {}
            Input::Do(action) => self.act(action),
        }
    }

    /// The next output, in order.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn publishes(&self) -> bool {
        matches!(self.config.role, ClientRole::Publish { .. })
    }

    fn take(&mut self, now: Time, bytes: &[u8]) {
        if let Err(error) = self.inbox.push(bytes) {
            return self.close(Reason::Protocol(error));
        }
        while !self.closed {
            match self.inbox.next(now) {
                Ok(None) => return,
                Ok(Some(Unit::Packet { channel, payload })) => self.packet(channel, payload),
                Ok(Some(Unit::Message { head, body })) => match head.start {
                    Start::Request { .. } => self.answer(&head),
                    Start::Response { status, ref reason, .. } => self.answered(status, reason, &head, &body),
                },
                Err(error) => self.close(Reason::Protocol(error)),
            }
        }
    }

    fn packet(&mut self, channel: u8, payload: Bytes) {
        let found = self.tracks.iter().find_map(|(track, carry)| match carry {
            Carry::Tcp { channels: (rtp, _) } if *rtp == channel => Some((*track, false)),
            Carry::Tcp { channels: (_, rtcp) } if *rtcp == channel => Some((*track, true)),
            _ => None,
        });
        if let Some((track, rtcp)) = found {
            self.event(Event::Packet { track, rtcp, payload });
        }
    }

    fn answer(&mut self, head: &Head) {
        self.out.push_back(Output::Send(answer_to(head).encode(b"").into()));
    }

    // --- requests and their answers ---

    fn ask(&mut self, ask: Ask, url: &str, fields: Vec<(&str, String)>, body: &[u8]) {
        let method = match ask {
            Ask::KeepAlive if !self.public.contains("GET_PARAMETER") => "OPTIONS",
            ask => ask.method(self.publishes()),
        };
        self.send(method, url, fields, body);
        self.asked.push_back((self.cseq, ask));
    }

    fn send(&mut self, method: &str, url: &str, fields: Vec<(&str, String)>, body: &[u8]) {
        self.cseq = self.cseq.wrapping_add(1);
        let mut head = Head::request(method, url).with("CSeq", self.cseq.to_string());
        head.headers.push("User-Agent", self.config.agent.as_str());
        if let Some(session) = &self.session {
            head.headers.push("Session", session.id.as_str());
        }
        fields.into_iter().for_each(|(name, value)| head.headers.push(name, value));
        self.out.push_back(Output::Send(head.encode(body).into()));
    }

    fn answered(&mut self, status: u16, reason: &str, head: &Head, body: &[u8]) {
        // Continue and its like are no answers yet.
        if status < 200 {
            return;
        }
        let cseq = head.headers.cseq();
        let Some(index) = self.asked.iter().position(|(n, _)| Some(*n) == cseq) else {
            return self
                .event(Event::Misbehaved(format!("an answer to request {cseq:?}, which was never asked")));
        };
        let Some((_, ask)) = self.asked.remove(index) else { return };
        // Who does not know OPTIONS or a keepalive may know the rest.
        let ok = (200..300).contains(&status) || matches!(ask, Ask::Options | Ask::KeepAlive);
        if !ok {
            let (method, reason) = (ask.method(self.publishes()), reason.to_owned());
            let text = format!("{method}: {status} {reason}");
            self.event(Event::Refused { method, status, reason });
            return self.close(Reason::Refused(text));
        }
        match ask {
            Ask::Options => self.introduced(head),
            Ask::Describe => self.described(head, body),
            Ask::Announce => self.event(Event::Announced),
            Ask::Setup(track, wanted) => self.set_up(head, track, wanted),
            Ask::Start => self.start(head),
            Ask::Pause => self.event(Event::Stopped),
            Ask::KeepAlive => {}
        }
    }

    fn introduced(&mut self, head: &Head) {
        self.public = head.headers.value("Public").unwrap_or_default().to_owned();
        let url = self.config.url.clone();
        match self.config.role.clone() {
            ClientRole::Play => {
                self.ask(Ask::Describe, &url, vec![("Accept", "application/sdp".to_owned())], b"");
            }
            ClientRole::Publish { sdp } => match Description::parse(sdp.as_bytes()) {
                Ok(description) => {
                    self.learn(&description, &url);
                    let kind = vec![("Content-Type", "application/sdp".to_owned())];
                    self.ask(Ask::Announce, &url, kind, sdp.as_bytes());
                }
                Err(error) => self.close(Reason::Protocol(error)),
            },
        }
    }

    fn described(&mut self, head: &Head, body: &[u8]) {
        let description = match Description::parse(body) {
            Ok(description) => description,
            Err(error) => return self.close(Reason::Protocol(error)),
        };
        let told = ["Content-Base", "Content-Location"].into_iter().find_map(|name| head.headers.value(name));
        let base = told.filter(|b| b.contains("://")).unwrap_or(&self.config.url).to_owned();
        self.learn(&description, &base);
        self.event(Event::Described { description, base });
    }

    fn learn(&mut self, description: &Description, base: &str) {
        self.aggregate = control_url(base, description.control());
        self.controls = description.media.iter().map(|m| control_url(base, m.control())).collect();
    }

    fn next_setup(&mut self) {
        let Some((track, carry)) = self.to_set_up.pop_front() else {
            let url = self.aggregate.clone();
            let range = vec![("Range", "npt=0.000-".to_owned())];
            return self.ask(Ask::Start, &url, range, b"");
        };
        let Some(url) = self.controls.get(track).cloned() else {
            return self.close(Reason::Refused(format!("track {track} is not described")));
        };
        let mut transport = match carry {
            Carry::Udp { client_port, .. } => Transport::udp(client_port),
            Carry::Tcp { channels } => Transport::tcp(channels),
        };
        transport.mode = self.publishes().then_some(Mode::Record);
        self.ask(Ask::Setup(track, carry), &url, vec![("Transport", transport.to_string())], b"");
    }

    fn set_up(&mut self, head: &Head, track: usize, wanted: Carry) {
        if let Some(value) = head.headers.value("Session") {
            self.session = Some(SessionId::parse(value));
        }
        let value = head.headers.value("Transport").unwrap_or_default();
        let offers = Transport::parse_all(value).unwrap_or_default();
        let Some(transport) = offers.first() else {
            return self.close(Reason::Refused("SETUP: the answer names no transport".to_owned()));
        };
        // The server decides: its channels count, not those we asked for.
        let carry = match (wanted, transport.interleaved) {
            (Carry::Tcp { channels }, told) => Carry::Tcp { channels: told.unwrap_or(channels) },
            (Carry::Udp { .. }, Some(_)) => {
                return self.close(Reason::Refused("SETUP: the server wants another transport".to_owned()));
            }
            (Carry::Udp { client_port, .. }, None) => {
                let server_port = transport.server_port.filter(|(rtp, _)| *rtp != 0);
                Carry::Udp { client_port: transport.client_port.unwrap_or(client_port), server_port }
            }
        };
        self.tracks.insert(track, carry);
        self.event(Event::TrackReady { track, carry, ssrc: transport.ssrc });
        self.next_setup();
    }

    fn start(&mut self, head: &Head) {
        let info = head.headers.value("RTP-Info").map(RtpInfo::parse_all).unwrap_or_default();
        let place = |info: &RtpInfo| {
            let path = rest(&info.url).trim_end_matches('/');
            self.controls.iter().position(|control| rest(control).trim_end_matches('/') == path)
        };
        let known = info
            .iter()
            .filter_map(|i| Some(TrackStart { track: place(i)?, seq: i.seq?, rtptime: i.rtptime }));
        let info = known.collect();
        self.started = true;
        self.event(Event::Started { info });
        self.rest_until_keepalive();
    }

    fn rest_until_keepalive(&mut self) {
        let timeout = self.session.as_ref().map_or(wire::rtsp::DEFAULT_TIMEOUT, SessionId::timeout_s);
        let half = Duration::from_secs(u64::from(timeout)).checked_div(2).unwrap_or_default();
        self.deadline = self.now.after(half.max(Duration::from_millis(500)));
        self.out.push_back(Output::WakeAt(self.deadline));
    }

    fn expire(&mut self) {
        if !self.started {
            return self.close(Reason::Timeout("the stream did not start"));
        }
        let url = self.aggregate.clone();
        // Some servers never answer those: what is not answered is forgotten with the next.
        self.asked.retain(|(_, ask)| *ask != Ask::KeepAlive);
        self.ask(Ask::KeepAlive, &url, Vec::new(), b"");
        self.rest_until_keepalive();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Carry(tracks) if self.tracks.is_empty() && !tracks.is_empty() => {
                self.to_set_up = tracks.into();
                self.next_setup();
            }
            Action::Packet { track, rtcp, payload } => {
                let Some(Carry::Tcp { channels }) = self.tracks.get(&track) else { return };
                let channel = if rtcp { channels.1 } else { channels.0 };
                if let Some(bytes) = interleaved(channel, &payload) {
                    self.out.push_back(Output::Send(bytes));
                }
            }
            Action::Pause if self.started => {
                let url = self.aggregate.clone();
                self.ask(Ask::Pause, &url, Vec::new(), b"");
            }
            Action::Resume if self.started => {
                let url = self.aggregate.clone();
                self.ask(Ask::Start, &url, Vec::new(), b"");
            }
            Action::Finish => self.leave(Reason::Done),
            Action::Shutdown => self.leave(Reason::Shutdown),
            _ => {}
        }
    }

    fn leave(&mut self, reason: Reason) {
        if self.session.is_some() {
            let url = self.aggregate.clone();
            self.send("TEARDOWN", &url, Vec::new(), b"");
        }
        self.close(reason);
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

/// What a client answers to a request of a server: it may ask whether we are there, and for nothing else.
pub(super) fn answer_to(head: &Head) -> Head {
    let is_options = head.as_request().is_some_and(|(method, _)| method == "OPTIONS");
    let mut answer = Head::response(if is_options { 200 } else { 501 });
    if let Some(cseq) = head.headers.value("CSeq") {
        answer.headers.push("CSeq", cseq);
    }
    answer.headers.push("Public", "OPTIONS");
    answer
}
