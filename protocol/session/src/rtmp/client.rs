//! The client's end of an RTMP connection: a publisher or a player.

use std::time::Duration;

use bytes::Bytes;
use wire::Cursor;
use wire::amf0::{self, Amf0};
use wire::rtmp::chunk::Head;
use wire::rtmp::message::{Command, Control, UserEvent, kind};
use wire::rtmp::reader::Message;

use super::csid;
use super::greeting::Greeting;
use super::io::{Action, Event, Input, MediaKind, Output, Reason};
use super::link::{Link, body};
use crate::Time;

/// What the client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientRole {
    /// Sends media.
    Publish,
    /// Receives media.
    Play,
}

/// Where a client connects and how it names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Publish or play.
    pub role: ClientRole,
    /// Application, the path without its last segment.
    pub app: String,
    /// Stream name, the last segment of the path.
    pub name: String,
    /// `rtmp://host:port/app`.
    pub tc_url: String,
    /// `flashVer`.
    pub agent: String,
    /// Chunk size announced and used.
    pub chunk_size: u32,
    /// From connecting to a started stream.
    pub start_timeout: Duration,
}

impl ClientConfig {
    /// A client of `path` at `host` (with port).
    pub fn new(role: ClientRole, host: &str, path: &str, agent: &str) -> Self {
        let (app, name) = path.rsplit_once('/').unwrap_or((path, ""));
        Self {
            role,
            app: app.to_owned(),
            name: name.to_owned(),
            tc_url: format!("rtmp://{host}/{app}"),
            agent: agent.to_owned(),
            chunk_size: 16_384,
            start_timeout: Duration::from_secs(10),
        }
    }
}

/// A client endpoint.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    link: Link,
    phase: Phase,
    stream: u32,
    transaction: f64,
    deadline: Time,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Collecting S0, S1 and S2.
    Handshake(Greeting),
    /// Waiting for the `_result` of connect.
    Connecting,
    /// Waiting for the `_result` of createStream.
    Creating,
    /// Waiting for NetStream.Publish.Start or NetStream.Play.Start.
    Starting,
    Started,
}

impl Client {
    /// A client whose transport is connected `now`; `seed` grows the random bytes of its handshake.
    pub fn new(config: ClientConfig, seed: u64, now: Time) -> Self {
        let deadline = now.after(config.start_timeout);
        let (mut link, greeting) = Greeting::begin(seed, now);
        link.push(Output::WakeAt(deadline));
        Self { config, link, phase: Phase::Handshake(greeting), stream: 0, transaction: 0.0, deadline }
    }

    /// Takes one input. Call [`poll`](Self::poll) until it is dry after each.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        if self.link.closed {
            return;
        }
        match input {
            Input::Bytes(bytes) => {
                self.link.count(bytes.len(), now);
                self.take(now, bytes);
                self.link.acknowledge();
            }
            Input::Closed => self.link.close(Reason::PeerClosed),
            Input::Tick if self.phase != Phase::Started && now >= self.deadline => {
                self.link.close(Reason::Timeout("the stream did not start"));
            }
            Input::Tick | Input::Sent(_) => {}
            Input::Do(action) => self.act(action),
        }
    }

    /// The next output, in order.
    pub fn poll(&mut self) -> Option<Output> {
        self.link.poll()
    }

    /// What the server last acknowledged, modulo 2^32.
    pub fn acknowledged(&self) -> Option<u32> {
        self.link.peer_received
    }

    fn take(&mut self, now: Time, bytes: &[u8]) {
        let mut input = bytes;
        if let Phase::Handshake(greeting) = &mut self.phase {
            match greeting.take(&mut input, now) {
                Ok(None) => return,
                Ok(Some(c2)) => {
                    self.link.send_raw(c2);
                    self.connect();
                }
                Err(error) => return self.link.close(Reason::Protocol(error)),
            }
        }
        while let Some(message) = self.link.next(&mut input) {
            self.message(message);
        }
    }

    fn connect(&mut self) {
        self.phase = Phase::Connecting;
        self.link.control(&Control::SetChunkSize(self.config.chunk_size));
        let config = self.config.clone();
        let mut properties = vec![
            ("app".to_owned(), Amf0::text(config.app)),
            ("type".to_owned(), Amf0::text("nonprivate")),
            ("flashVer".to_owned(), Amf0::text(config.agent)),
            ("tcUrl".to_owned(), Amf0::text(config.tc_url)),
        ];
        if config.role == ClientRole::Play {
            properties.extend([
                ("fpad".to_owned(), Amf0::Boolean(false)),
                ("capabilities".to_owned(), Amf0::Number(15.0)),
                ("audioCodecs".to_owned(), Amf0::Number(4071.0)),
                ("videoCodecs".to_owned(), Amf0::Number(252.0)),
                ("videoFunction".to_owned(), Amf0::Number(1.0)),
            ]);
        }
        self.call(0, "connect", Amf0::Object(properties), Vec::new());
    }

    fn call(&mut self, stream: u32, name: &str, object: Amf0, arguments: Vec<Amf0>) {
        self.transaction += 1.0;
        let command = Command { name: name.to_owned(), transaction: self.transaction, object, arguments };
        self.link.command(csid::COMMAND, stream, &command);
    }

    fn message(&mut self, message: Message) {
        let stream = message.head.stream_id;
        let timestamp = message.head.timestamp;
        match message.head.type_id {
            kind::AUDIO => {
                let payload = body(message);
                self.link.event(Event::Media { stream, kind: MediaKind::Audio, timestamp, payload });
            }
            kind::VIDEO => {
                let payload = body(message);
                self.link.event(Event::Media { stream, kind: MediaKind::Video, timestamp, payload });
            }
            kind::DATA_AMF0 => {
                let payload = body(message);
                let name = amf0::decode(&mut Cursor::new(&payload));
                match name {
                    Ok(Amf0::String(name)) if name == "onMetaData" => {
                        self.link.event(Event::Metadata { stream, payload });
                    }
                    Ok(Amf0::String(_)) => self.link.event(Event::Data { stream, timestamp, payload }),
                    _ => {}
                }
            }
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => {
                let amf3 = message.head.type_id == kind::COMMAND_AMF3;
                match Command::decode(&mut Cursor::new(&message.payload), amf3) {
                    Ok((command, _)) => self.command(&command),
                    Err(error) => self.link.close(Reason::Protocol(error)),
                }
            }
            _ => {}
        }
    }

    fn command(&mut self, command: &Command) {
        match (command.name.as_str(), &self.phase) {
            ("_result", Phase::Connecting) => {
                let config = &self.config;
                let (app, tc_url) = (config.app.clone(), config.tc_url.clone());
                let server = command.object.property_text("fmsVer").unwrap_or_default();
                let agent = server.to_owned();
                self.link.event(Event::Connected { app, tc_url, agent });
                self.create();
            }
            ("_result", Phase::Creating) if command.transaction == self.transaction => {
                self.stream = command.arguments.first().and_then(Amf0::as_u32).unwrap_or(1);
                self.start();
            }
            ("_error", Phase::Connecting | Phase::Creating) if command.transaction == self.transaction => {
                let code = self.status(command);
                self.link.close(Reason::Refused(code));
            }
            ("onStatus", _) => self.on_status(command),
            _ => {}
        }
    }

    fn create(&mut self) {
        self.phase = Phase::Creating;
        let name = self.config.name.clone();
        if self.config.role == ClientRole::Publish {
            self.call(0, "releaseStream", Amf0::Null, vec![Amf0::text(name.as_str())]);
            self.call(0, "FCPublish", Amf0::Null, vec![Amf0::text(name)]);
        }
        self.call(0, "createStream", Amf0::Null, Vec::new());
    }

    fn start(&mut self) {
        self.phase = Phase::Starting;
        let name = Amf0::text(self.config.name.as_str());
        match self.config.role {
            ClientRole::Publish => {
                self.call(self.stream, "publish", Amf0::Null, vec![name, Amf0::text("live")]);
            }
            ClientRole::Play => {
                self.call(self.stream, "play", Amf0::Null, vec![name, Amf0::Number(-2000.0)]);
                let buffer = UserEvent::SetBufferLength(self.stream, 3000);
                self.link.control(&Control::User(buffer));
            }
        }
    }

    fn on_status(&mut self, command: &Command) {
        let level = command.arguments.first().and_then(|i| i.property_text("level"));
        let failed = level == Some("error");
        let stream = self.stream;
        let code = self.status(command);
        match code.as_str() {
            "NetStream.Publish.Start" | "NetStream.Play.Start" if self.phase == Phase::Starting => {
                self.phase = Phase::Started;
                self.link.event(Event::Started { stream });
            }
            "NetStream.Play.UnpublishNotify" | "NetStream.Play.Stop" | "NetStream.Play.Complete" => {
                self.link.event(Event::Ended { stream });
            }
            _ if failed => self.link.close(Reason::Refused(code)),
            _ => {}
        }
    }

    /// Reports an information object and returns its code.
    fn status(&mut self, command: &Command) -> String {
        let text = |name| {
            let property = command.arguments.first().and_then(|i| i.property(name));
            property.and_then(Amf0::as_str).unwrap_or_default().to_owned()
        };
        let code = text("code");
        let (level, description) = (text("level"), text("description"));
        self.link.event(Event::Status { level, code: code.clone(), description });
        code
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Media { kind, timestamp, payload } if self.phase == Phase::Started => {
                let (csid, type_id) = match kind {
                    MediaKind::Audio => (csid::AUDIO, kind::AUDIO),
                    MediaKind::Video => (csid::VIDEO, kind::VIDEO),
                };
                self.send_data(Head { csid, timestamp, type_id, stream_id: self.stream }, &payload);
            }
            Action::Metadata(payload) if self.phase == Phase::Started => {
                let mut whole = amf0::encode_all(&[Amf0::text("@setDataFrame")]);
                whole.extend_from_slice(&payload);
                let head = Head {
                    csid: csid::AUDIO,
                    timestamp: 0,
                    type_id: kind::DATA_AMF0,
                    stream_id: self.stream,
                };
                self.send_data(head, &whole.into());
            }
            Action::Finish => {
                if self.config.role == ClientRole::Publish {
                    let name = Amf0::text(self.config.name.as_str());
                    self.call(0, "FCUnpublish", Amf0::Null, vec![name]);
                }
                let id = Amf0::Number(f64::from(self.stream));
                self.call(0, "deleteStream", Amf0::Null, vec![id]);
                self.link.close(Reason::Done);
            }
            Action::Shutdown => self.link.close(Reason::Shutdown),
            _ => {}
        }
    }

    fn send_data(&mut self, head: Head, payload: &Bytes) {
        self.link.send(head, &[payload]);
    }
}
