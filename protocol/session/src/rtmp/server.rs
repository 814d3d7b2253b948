//! The server's end of an RTMP connection.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use wire::Cursor;
use wire::amf0::{self, Amf0};
use wire::flv::PAYLOAD;
use wire::flv::file::{TagHeader, previous_tag_size};
use wire::rtmp::handshake;
use wire::rtmp::message::{Command, Control, UserEvent, kind};
use wire::rtmp::reader::Message;

use super::io::{Action, Event, Input, MediaKind, Output, Reason, Refusal};
use super::link::{Link, body};
use super::path::stream_path;
use super::welcome::{Shake, shake};
use super::{commands, csid};
use crate::Time;

/// What a server announces and how long it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Chunk size announced, and used for all that is sent. Wireshark before 4.4 loses a stream whose chunks
    /// are 32768 bytes or more.
    pub chunk_size: u32,
    /// Window Acknowledgement Size and Set Peer Bandwidth announced.
    pub window_ack_size: u32,
    /// Longest message taken from a publisher, in bytes.
    pub max_message: u32,
    /// Longest message taken from a peer that does not publish.
    pub max_message_before_publish: u32,
    /// From the first byte to C2.
    pub handshake_timeout: Duration,
    /// From C2 to an accepted publish or play.
    pub request_timeout: Duration,
    /// How long a publisher may be silent.
    pub publisher_timeout: Duration,
    /// Message streams a connection may open.
    pub max_streams: u32,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            chunk_size: 16_384,
            window_ack_size: 2_500_000,
            max_message: 0xff_ffff,
            max_message_before_publish: 65_536,
            handshake_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            publisher_timeout: Duration::from_secs(30),
            max_streams: 16,
        }
    }
}

/// A server endpoint: one for each accepted connection.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    seed: u64,
    link: Link,
    phase: Phase,
    streams: BTreeMap<u32, Stream>,
    next_stream: u32,
    began: Time,
    heard: Time,
    /// The wake-up asked for last.
    wake: Option<Time>,
    /// What came behind a publish or play that waits for the driver's decision: what it means depends on it.
    behind: Vec<u8>,
}

#[derive(Debug)]
enum Phase {
    /// Collecting C0 and C1, then C2.
    Handshake { bytes: Vec<u8>, answered: bool },
    /// Handshake done, no connect yet.
    Greeted,
    /// Connected to an application.
    Connected { app: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stream {
    Idle,
    /// A publish or play waits for the driver's decision.
    Asked {
        publish: bool,
        name: String,
    },
    Publishing {
        name: String,
    },
    Playing(Playing),
}

/// What a viewer asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Playing {
    name: String,
    /// Whether it takes this medium (RTMP 1.0 §7.2.2.4, §7.2.2.5).
    audio: bool,
    video: bool,
}

impl Server {
    /// An endpoint for a connection accepted `now`; `seed` grows the random bytes of its handshake.
    pub fn new(config: ServerConfig, seed: u64, now: Time) -> Self {
        let after_handshake = handshake::HELLO.saturating_add(handshake::PACKET) as u64;
        let mut server = Self {
            link: Link::new(config.max_message_before_publish, after_handshake),
            config,
            seed,
            phase: Phase::Handshake { bytes: Vec::new(), answered: false },
            streams: BTreeMap::new(),
            next_stream: 1,
            began: now,
            heard: now,
            wake: None,
            behind: Vec::new(),
        };
        server.plan();
        server
    }

    /// Takes one input. Call [`poll`](Self::poll) until it is dry after each.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        if self.link.closed {
            return;
        }
        match input {
            Input::Bytes(bytes) => {
                self.heard = now;
                self.link.count(bytes.len(), now);
                self.take(now, bytes);
                self.link.acknowledge();
            }
            Input::Closed => self.link.close(Reason::PeerClosed),
            Input::Tick => self.tick(now),
            Input::Do(action) => {
                self.act(action);
                self.go_on();
            }
            Input::Sent(_) => {}
        }
    }

    /// The next output, in order.
    pub fn poll(&mut self) -> Option<Output> {
        self.link.poll()
    }

    /// Bytes held of messages that are not complete.
    pub fn open_bytes(&self) -> usize {
        self.link.reader.held()
    }

    /// When the oldest of those messages began.
    pub fn open_since(&self) -> Option<Time> {
        self.link.reader.oldest_open().map(Time::from_millis)
    }

    /// What the peer last acknowledged, modulo 2^32.
    pub fn acknowledged(&self) -> Option<u32> {
        self.link.peer_received
    }

    // --- time ---

    /// The deadline of the present phase.
    fn deadline(&self) -> Option<(Time, &'static str)> {
        match self.phase {
            Phase::Handshake { .. } => {
                Some((self.began.after(self.config.handshake_timeout), "no whole handshake"))
            }
            _ if self.streams.values().any(|s| matches!(s, Stream::Publishing { .. })) => {
                Some((self.heard.after(self.config.publisher_timeout), "the publisher fell silent"))
            }
            _ if self.streams.values().any(|s| matches!(s, Stream::Playing(_))) => None,
            _ => Some((self.began.after(self.config.request_timeout), "no publish and no play")),
        }
    }

    fn tick(&mut self, now: Time) {
        self.wake = None;
        match self.deadline() {
            Some((at, what)) if at <= now => self.link.close(Reason::Timeout(what)),
            _ => self.plan(),
        }
    }

    /// Asks to be woken at the deadline, unless an earlier wake-up is on its way: a deadline that moved on is
    /// looked at again then, so that not every read costs a timer.
    fn plan(&mut self) {
        if let Some((at, _)) = self.deadline()
            && self.wake.is_none_or(|wake| at < wake)
        {
            self.wake = Some(at);
            self.link.push(Output::WakeAt(at));
        }
    }

    // --- handshake ---

    fn take(&mut self, now: Time, bytes: &[u8]) {
        let mut input = bytes;
        if let Phase::Handshake { bytes: held, answered } = &mut self.phase {
            match shake(held, answered, &mut input, self.seed, now) {
                Ok(Shake { reply, done }) => {
                    if let Some(reply) = reply {
                        self.link.send_raw(reply);
                    }
                    if !done {
                        return;
                    }
                    self.phase = Phase::Greeted;
                    self.began = now;
                    self.plan();
                }
                Err(error) => return self.link.close(Reason::Protocol(error)),
            }
        }
        self.messages(input);
    }

    // --- messages ---

    fn messages(&mut self, mut input: &[u8]) {
        while !self.is_undecided()
            && let Some(message) = self.link.next(&mut input)
        {
            self.message(message);
        }
        if !self.link.closed {
            self.behind.extend_from_slice(input);
        }
    }

    fn is_undecided(&self) -> bool {
        self.streams.values().any(|s| matches!(s, Stream::Asked { .. }))
    }

    /// Reads on once the driver has decided.
    fn go_on(&mut self) {
        if !self.link.closed && !self.behind.is_empty() && !self.is_undecided() {
            let behind = std::mem::take(&mut self.behind);
            self.messages(&behind);
        }
    }

    fn message(&mut self, message: Message) {
        let stream = message.head.stream_id;
        match message.head.type_id {
            kind::AUDIO | kind::VIDEO => {
                let media =
                    if message.head.type_id == kind::AUDIO { MediaKind::Audio } else { MediaKind::Video };
                self.media(stream, media, message.head.timestamp, body(message));
            }
            kind::AGGREGATE => self.aggregate(message),
            kind::DATA_AMF0 => self.data(stream, message.head.timestamp, body(message)),
            // By practice a selector byte, then AMF0.
            kind::DATA_AMF3 => self.data(stream, message.head.timestamp, body(message).tail(1)),
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => self.command_message(&message),
            _ => {}
        }
    }

    fn media(&mut self, stream: u32, kind: MediaKind, timestamp: u32, payload: Bytes) {
        match self.streams.get(&stream) {
            Some(Stream::Publishing { .. }) => {
                self.link.event(Event::Media { stream, kind, timestamp, payload });
            }
            _ => {
                let text = format!("media on message stream {stream}, which does not publish");
                self.link.event(Event::Misbehaved(text));
            }
        }
    }

    /// An Aggregate holds FLV tags whose times count from the first one's (RTMP 1.0 §7.1.6).
    fn aggregate(&mut self, message: Message) {
        let (stream, timestamp) = (message.head.stream_id, message.head.timestamp);
        let all = body(message);
        let mut c = Cursor::new(&all);
        let mut first = None;
        while !c.is_empty() {
            let header = match TagHeader::decode(&mut c) {
                Ok(header) if header.size as usize <= c.remaining() => header,
                Ok(header) => {
                    let text =
                        format!("aggregate: a part of {} bytes, {} are left", header.size, c.remaining());
                    return self.link.event(Event::Misbehaved(text));
                }
                Err(error) => return self.link.event(Event::Misbehaved(format!("aggregate at {error}"))),
            };
            let start = c.position();
            let end = start.saturating_add(header.size as usize);
            // A copy: a small part must not hold on to all of the message.
            let payload = Bytes::copy_from_slice(all.get(start..end).unwrap_or_default());
            let base = *first.get_or_insert(header.timestamp);
            let time = timestamp.wrapping_add(header.timestamp.wrapping_sub(base));
            match header.kind {
                kind::AUDIO => self.media(stream, MediaKind::Audio, time, payload),
                kind::VIDEO => self.media(stream, MediaKind::Video, time, payload),
                kind::DATA_AMF0 => self.data(stream, time, payload),
                _ => {}
            }
            // The last part's size field is left out by some senders.
            let skipped = c.bytes(&PAYLOAD, header.size as usize).and_then(|_| previous_tag_size(&mut c));
            if skipped.is_err() {
                return;
            }
        }
    }

    /// `@setDataFrame` is a word to the server, not to viewers: what it wraps goes to them.
    fn data(&mut self, stream: u32, timestamp: u32, payload: Bytes) {
        if !matches!(self.streams.get(&stream), Some(Stream::Publishing { .. })) {
            return;
        }
        let mut c = Cursor::new(&payload);
        let mut from = 0;
        let mut name = amf0::decode(&mut c);
        if matches!(&name, Ok(Amf0::String(s)) if s == "@setDataFrame") {
            from = c.position();
            name = amf0::decode(&mut c);
        }
        match name {
            Ok(Amf0::String(name)) if name == "onMetaData" => {
                self.link.event(Event::Metadata { stream, payload: payload.tail(from) });
            }
            Ok(Amf0::String(name)) if name == "@clearDataFrame" => {
                self.link.event(Event::Metadata { stream, payload: Bytes::new() });
            }
            Ok(Amf0::String(_)) => {
                self.link.event(Event::Data { stream, timestamp, payload: payload.tail(from) });
            }
            Ok(_) => {
                self.link.event(Event::Misbehaved("a data message that does not begin with its name".into()))
            }
            Err(error) => self.link.event(Event::Misbehaved(format!("data message at {error}"))),
        }
    }

    // --- commands ---

    fn command_message(&mut self, message: &Message) {
        let at = self.link.reader.position().saturating_sub(message.payload.len() as u64);
        let mut c = Cursor::based(&message.payload, at);
        match Command::decode(&mut c, message.head.type_id == kind::COMMAND_AMF3) {
            Ok((command, error)) => {
                if let Some(error) = error {
                    self.link
                        .event(Event::Misbehaved(format!("command {:?} at {error}", clip(&command.name))));
                }
                self.command(message.head.stream_id, command);
            }
            Err(error) => self.link.close(Reason::Protocol(error)),
        }
    }

    fn command(&mut self, stream: u32, command: Command) {
        if command.name == "connect" {
            return self.connect(&command);
        }
        let Phase::Connected { app } = &self.phase else {
            let text = format!("command {:?} before connect", clip(&command.name));
            return self.link.close(Reason::Refused(text));
        };
        let app = app.clone();
        match command.name.as_str() {
            "createStream" => self.create_stream(command.transaction),
            "publish" => self.ask(&app, stream, &command, true),
            "play" => self.ask(&app, stream, &command, false),
            "deleteStream" => {
                let id = command.arguments.first().and_then(Amf0::as_u32).unwrap_or(stream);
                self.stop(id);
                self.streams.remove(&id);
            }
            "closeStream" => self.stop(stream),
            "releaseStream" | "FCPublish" | "FCUnpublish" | "FCSubscribe" | "FCUnsubscribe" | "_checkbw" => {
                self.reply(command.transaction, Amf0::Undefined);
            }
            "getStreamLength" => self.reply(command.transaction, Amf0::Number(0.0)),
            // Flash Player says pauseRaw where it is to keep what it has buffered.
            "pause" | "pauseRaw" => self.pause(stream, &command),
            "receiveAudio" => self.receive(stream, MediaKind::Audio, &command),
            "receiveVideo" => self.receive(stream, MediaKind::Video, &command),
            "seek" => {
                let text = "A live stream has no other place to go to.";
                self.status(stream, "error", "NetStream.Seek.Failed", text, "");
            }
            // Answers to what we never asked.
            "_result" | "_error" => {}
            _ if command.transaction != 0.0 => {
                let text = format!("Method {:?} is unknown.", clip(&command.name));
                let answer = commands::error(command.transaction, "NetConnection.Call.Failed", &text);
                self.link.command(csid::COMMAND, 0, &answer);
            }
            _ => {}
        }
    }

    fn connect(&mut self, command: &Command) {
        if matches!(self.phase, Phase::Connected { .. }) {
            let text = "The connection has its application already.";
            let answer = commands::error(command.transaction, "NetConnection.Connect.Failed", text);
            return self.link.command(csid::COMMAND, 0, &answer);
        }
        let text = |name| command.object.property_text(name).unwrap_or_default().to_owned();
        let app = text("app");
        self.link.control(&Control::WindowAckSize(self.config.window_ack_size));
        self.link.control(&Control::SetPeerBandwidth(self.config.window_ack_size, 2));
        self.link.control(&Control::SetChunkSize(self.config.chunk_size));
        self.link.control(&Control::User(UserEvent::StreamBegin(0)));
        self.link.command(csid::COMMAND, 0, &commands::connect_result(command.transaction));
        self.phase = Phase::Connected { app: app.clone() };
        let app = app.split('?').next().unwrap_or_default().to_owned();
        self.link.event(Event::Connected { app, tc_url: text("tcUrl"), agent: text("flashVer") });
    }

    fn create_stream(&mut self, transaction: f64) {
        if self.streams.len() as u64 >= u64::from(self.config.max_streams) {
            let text = format!("A connection has at most {} streams.", self.config.max_streams);
            let answer = commands::error(transaction, "NetConnection.Call.Failed", &text);
            return self.link.command(csid::COMMAND, 0, &answer);
        }
        let id = self.next_stream;
        self.next_stream = self.next_stream.wrapping_add(1).max(1);
        self.streams.insert(id, Stream::Idle);
        self.reply(transaction, Amf0::Number(f64::from(id)));
    }

    fn reply(&mut self, transaction: f64, value: Amf0) {
        if transaction != 0.0 {
            self.link.command(csid::COMMAND, 0, &commands::result(transaction, value));
        }
    }

    fn ask(&mut self, app: &str, stream: u32, command: &Command, publish: bool) {
        let kind = if publish { "publish" } else { "play" };
        if self.streams.get(&stream) != Some(&Stream::Idle) {
            let text = format!("{kind} on message stream {stream}, which is not free");
            self.link.event(Event::Misbehaved(text));
            let code = if publish { "NetStream.Publish.Failed" } else { "NetStream.Play.Failed" };
            let text = "Call createStream first, once for each publish or play.";
            return self.status(stream, "error", code, text, "");
        }
        let name = command.text(0).unwrap_or_default().to_owned();
        self.streams.insert(stream, Stream::Asked { publish, name: name.clone() });
        match stream_path(app, &name) {
            Ok((path, query)) if publish => self.link.event(Event::Publish { stream, path, query }),
            Ok((path, query)) => self.link.event(Event::Play { stream, path, query }),
            Err(error) => self.act(Action::Refuse { stream, why: Refusal::BadPath(error.to_string()) }),
        }
    }

    /// RTMP 1.0 §7.2.2.8. Saying it twice changes nothing and is confirmed twice.
    fn pause(&mut self, stream: u32, command: &Command) {
        let Some(name) = self.played(stream) else {
            let text = "Nothing plays on this message stream.";
            return self.status(stream, "error", "NetStream.Failed", text, "");
        };
        let paused = command.arguments.first().and_then(Amf0::as_bool).unwrap_or(true);
        let (code, text) = match paused {
            true => ("NetStream.Pause.Notify", "Paused."),
            false => ("NetStream.Unpause.Notify", "Goes on with what is live now."),
        };
        self.status(stream, "status", code, text, &name);
        self.link.event(Event::Paused { stream, paused });
    }

    /// RTMP 1.0 §7.2.2.4, §7.2.2.5: saying no is answered by nothing, saying yes again by Seek.Notify and Play.Start.
    fn receive(&mut self, stream: u32, kind: MediaKind, command: &Command) {
        let wanted = command.arguments.first().and_then(Amf0::as_bool).unwrap_or(true);
        let Some(Stream::Playing(playing)) = self.streams.get_mut(&stream) else { return };
        let told = match kind {
            MediaKind::Audio => &mut playing.audio,
            MediaKind::Video => &mut playing.video,
        };
        if std::mem::replace(told, wanted) == wanted {
            return;
        }
        if wanted {
            let name = playing.name.clone();
            self.status(stream, "status", "NetStream.Seek.Notify", "To what is live now.", &name);
            self.status(stream, "status", "NetStream.Play.Start", "Playing.", &name);
        }
        self.link.event(Event::Receive { stream, kind, wanted });
    }

    /// The name that is played on a message stream.
    fn played(&self, stream: u32) -> Option<String> {
        match self.streams.get(&stream) {
            Some(Stream::Playing(playing)) => Some(playing.name.clone()),
            _ => None,
        }
    }

    fn stop(&mut self, stream: u32) {
        let before = self.streams.get_mut(&stream).map(|s| std::mem::replace(s, Stream::Idle));
        match before {
            Some(Stream::Publishing { name }) => {
                self.link.event(Event::Stopped { stream });
                self.status(stream, "status", "NetStream.Unpublish.Success", "Stopped publishing.", &name);
                if !self.streams.values().any(|s| matches!(s, Stream::Publishing { .. })) {
                    self.link.reader.set_max_message(self.config.max_message_before_publish);
                }
            }
            Some(Stream::Playing(_) | Stream::Asked { .. }) => self.link.event(Event::Stopped { stream }),
            Some(Stream::Idle) | None => return,
        }
        // Whoever stopped gets the time of a newcomer to ask for something else.
        self.began = self.heard;
        self.plan();
    }

    fn status(&mut self, stream: u32, level: &str, code: &str, description: &str, details: &str) {
        let command = commands::status(level, code, description, details);
        self.link.command(csid::STATUS, stream, &command);
    }

    // --- the driver's word ---

    fn act(&mut self, action: Action) {
        match action {
            Action::Accept { stream } => self.accept(stream),
            Action::Refuse { stream, why } => self.refuse(stream, why),
            Action::EndOfStream { stream } => {
                let Some(name) = self.played(stream) else { return };
                self.link.control(&Control::User(UserEvent::StreamEof(stream)));
                let text = "The publisher has left.";
                self.status(stream, "status", "NetStream.Play.UnpublishNotify", text, &name);
            }
            Action::StreamBegan { stream } => {
                let Some(name) = self.played(stream) else { return };
                self.link.control(&Control::User(UserEvent::StreamBegin(stream)));
                self.status(stream, "status", "NetStream.Play.PublishNotify", "A publisher is here.", &name);
            }
            Action::Shutdown => {
                let playing: Vec<u32> = self
                    .streams
                    .iter()
                    .filter(|(_, s)| matches!(s, Stream::Playing(_)))
                    .map(|(id, _)| *id)
                    .collect();
                playing.into_iter().for_each(|stream| self.act(Action::EndOfStream { stream }));
                self.link.close(Reason::Shutdown);
            }
            // These are a client's.
            Action::Media { .. } | Action::Metadata(_) | Action::Finish => {}
        }
    }

    fn accept(&mut self, stream: u32) {
        let Some(Stream::Asked { publish, name }) = self.streams.get(&stream).cloned() else { return };
        if publish {
            self.streams.insert(stream, Stream::Publishing { name: name.clone() });
            self.link.reader.set_max_message(self.config.max_message);
            self.status(stream, "status", "NetStream.Publish.Start", "Publishing.", &name);
        } else {
            let playing = Playing { name: name.clone(), audio: true, video: true };
            self.streams.insert(stream, Stream::Playing(playing));
            self.link.control(&Control::User(UserEvent::StreamBegin(stream)));
            self.status(stream, "status", "NetStream.Play.Reset", "Playing and resetting.", &name);
            self.status(stream, "status", "NetStream.Play.Start", "Playing.", &name);
            self.link.event(Event::Attach { stream });
        }
        self.plan();
    }

    /// Says why, then closes: an encoder that is told nothing tries again for ever, one that is left connected
    /// waits for ever.
    fn refuse(&mut self, stream: u32, why: Refusal) {
        let Some(Stream::Asked { publish, name }) = self.streams.get(&stream).cloned() else { return };
        let (code, text) = match (why, publish) {
            (Refusal::NameBusy, _) => {
                ("NetStream.Publish.BadName", "Somebody else publishes here already.".to_owned())
            }
            (Refusal::BadPath(text), true) => ("NetStream.Publish.BadName", text),
            (Refusal::Failed(text), true) => ("NetStream.Publish.Failed", text),
            (Refusal::BadPath(text) | Refusal::Failed(text), false) => ("NetStream.Play.Failed", text),
        };
        self.streams.insert(stream, Stream::Idle);
        self.status(stream, "error", code, &text, &name);
        self.link.close(Reason::Refused(format!("{code}: {text}")));
    }
}

/// A peer's text for a log line.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The bytes from `from` on, sharing the allocation; empty where there are none.
trait Tail {
    fn tail(&self, from: usize) -> Bytes;
}

impl Tail for Bytes {
    fn tail(&self, from: usize) -> Bytes {
        self.slice(from.min(self.len())..)
    }
}
