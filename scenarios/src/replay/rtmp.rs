//! RTMP: names, message streams and answers of this run in place of the captured ones.

use std::collections::{HashMap, HashSet};

use analyzer::flow::At;
use analyzer::transcript::{Said, What};
use session::Time;
use session::rtmp::{Plain, PlainInput, PlainOutput};
use wire::Cursor;
use wire::amf0::Amf0;
use wire::rtmp::chunk::Head;
use wire::rtmp::message::{Command, Control, UserEvent, kind};
use wire::rtmp::reader::Message;

use super::drive::{self, Adapted};
use super::ledger::{Answer, Ledger, Place, Weight};
use super::tracks::{When, of_message};
use crate::client::{Endpoint, Output};
use crate::url::StreamUrl;

/// Calls remembered; answers come soon, and the oldest are forgotten.
const MAX_CALLS: usize = 256;

impl Endpoint for Plain {
    type Action = Message;
    type Event = PlainOutput;

    fn take(&mut self, now: Time, bytes: Option<&[u8]>) {
        self.handle(now, bytes.map_or(PlainInput::Closed, PlainInput::Bytes));
    }

    fn tick(&mut self, _: Time) {}

    fn act(&mut self, now: Time, action: Message) {
        self.handle(now, PlainInput::Say(action));
    }

    fn poll(&mut self) -> Option<Output<PlainOutput>> {
        Some(match Plain::poll(self)? {
            PlainOutput::Send(bytes) => Output::Send(bytes),
            PlainOutput::Close(reason) => Output::Close(reason),
            event => Output::Event(event),
        })
    }
}

/// A command that was sent.
struct Call {
    /// Its row.
    place: Place,
    name: String,
    transaction: f64,
    /// The message stream that it made: the captured one and this run's.
    made: [Option<u32>; 2],
    answered: [bool; 2],
}

/// What RTMP knows.
pub(super) struct Part {
    /// Of the URL; a URL without a name keeps the captured one.
    app: String,
    name: Option<String>,
    tc_url: String,
    /// The captured stream key, without its query string.
    key: Option<String>,
    calls: Vec<Call>,
    /// Message streams: the captured one and this run's.
    streams: HashMap<u32, u32>,
    /// Captured message streams of other sessions on the connection.
    others: HashSet<u32>,
    ready: bool,
    over: bool,
}

impl Part {
    /// For the session of this captured path.
    pub(super) fn new(path: Option<&str>, url: &StreamUrl) -> Self {
        let (app, name) = url.app_and_name();
        let key = path.map(|path| path.rsplit('/').next().unwrap_or(path).to_owned());
        Self {
            tc_url: format!("rtmp://{}/{app}", url.authority()),
            app,
            name: (!name.is_empty()).then_some(name),
            key,
            calls: Vec::new(),
            streams: HashMap::new(),
            others: HashSet::new(),
            ready: false,
            over: false,
        }
    }

    /// This run's message stream for a captured one.
    fn stream(&self, captured: u32) -> u32 {
        let latest = || self.calls.iter().rev().find_map(|call| call.made[1]);
        match captured {
            0 => 0,
            _ => self.streams.get(&captured).copied().or_else(latest).unwrap_or(captured),
        }
    }

    /// True where a stream name is that of the session.
    fn is_mine(&self, name: &str) -> bool {
        let key = name.split('?').next().unwrap_or(name).trim_start_matches('/');
        // The path of a session has no other way to tell a key with slashes.
        let last = key.rsplit('/').next().unwrap_or(key);
        self.key.as_deref().is_none_or(|mine| mine == key || mine == last)
    }

    fn control(&self, body: Vec<u8>, head: Head) -> Adapted<Message> {
        match Control::decode(&mut Cursor::new(&body), head.type_id) {
            Ok(Control::Ack(_) | Control::Abort(_) | Control::User(UserEvent::PingResponse(_))) => {
                Adapted::Own
            }
            Ok(Control::User(UserEvent::SetBufferLength(stream, ms))) => {
                if self.others.contains(&stream) {
                    return Adapted::LeftOut(OTHERS);
                }
                let event = UserEvent::SetBufferLength(self.stream(stream), ms);
                let (_, payload) = Control::User(event).encode();
                Adapted::Say(Message { head, payload })
            }
            Ok(_) => Adapted::Say(Message { head, payload: body }),
            Err(_) => Adapted::LeftOut("control messages that cannot be read"),
        }
    }

    fn command(&mut self, head: Head, body: Vec<u8>, at: At, ledger: &mut Ledger) -> Adapted<Message> {
        let amf3 = head.type_id == kind::COMMAND_AMF3;
        let captured_stream = head.stream_id;
        let head = Head { stream_id: self.stream(captured_stream), ..head };
        let (mut command, error) = match Command::decode(&mut Cursor::new(&body), amf3) {
            Ok(read) => read,
            // Nobody can tell what it says: it goes as it is.
            Err(_) => return Adapted::Say(Message { head, payload: body }),
        };
        if matches!(command.name.as_str(), "_result" | "_error") {
            return Adapted::LeftOut("answers to calls of the captured server");
        }
        let before = command.clone();
        if let Some(why) = self.names(&mut command, captured_stream) {
            return Adapted::LeftOut(why);
        }
        let payload = match (command == before, error) {
            (true, _) => body,
            (false, None) => {
                let mut payload = if amf3 { vec![0] } else { Vec::new() };
                payload.extend(command.encode());
                payload
            }
            (false, Some(error)) => {
                let frame = at.number();
                return Adapted::Impossible(format!(
                    "{} in frame {frame} cannot be read: {error}",
                    command.name
                ));
            }
        };
        self.call(&command, at, ledger);
        Adapted::Say(Message { head, payload })
    }

    /// Puts in the names of this run; says why where the command is not this session's.
    fn names(&mut self, command: &mut Command, captured_stream: u32) -> Option<&'static str> {
        match command.name.as_str() {
            "connect" => {
                if let Amf0::Object(properties) | Amf0::EcmaArray(properties) = &mut command.object {
                    for (name, value) in [("app", &self.app), ("tcUrl", &self.tc_url)] {
                        let value = Amf0::text(value.as_str());
                        match properties.iter_mut().find(|(key, _)| key == name) {
                            Some((_, old)) => *old = value,
                            None => properties.push((name.to_owned(), value)),
                        }
                    }
                }
            }
            "publish" | "play" | "releaseStream" | "FCPublish" | "FCUnpublish" | "FCSubscribe"
            | "FCUnsubscribe" | "getStreamLength" => {
                let opens = matches!(command.name.as_str(), "publish" | "play");
                // `publish(false)` is an old way to stop.
                let name = command.arguments.first().and_then(Amf0::as_str)?.to_owned();
                if !self.is_mine(&name) {
                    if opens {
                        self.others.insert(captured_stream);
                    }
                    return Some(OTHERS);
                }
                if opens {
                    self.others.remove(&captured_stream);
                }
                if let (Some(mine), Some(argument)) = (&self.name, command.arguments.first_mut()) {
                    *argument = Amf0::text(mine.as_str());
                }
            }
            "deleteStream" => {
                let captured = command.arguments.first().and_then(Amf0::as_u32)?;
                if self.others.contains(&captured) {
                    return Some(OTHERS);
                }
                let stream = self.stream(captured);
                if let Some(argument) = command.arguments.first_mut() {
                    *argument = Amf0::Number(f64::from(stream));
                }
            }
            _ if self.others.contains(&captured_stream) => return Some(OTHERS),
            _ => {}
        }
        None
    }

    fn call(&mut self, command: &Command, at: At, ledger: &mut Ledger) {
        let name = command.name.as_str();
        let weight = match name {
            "connect" | "createStream" | "publish" | "play" => Weight::Essential,
            _ => Weight::Courtesy,
        };
        let Some(place) = ledger.ask(name, "", at, weight) else { return };
        if self.calls.len() >= MAX_CALLS {
            self.calls.remove(0);
        }
        self.calls.push(Call {
            place,
            name: name.to_owned(),
            transaction: command.transaction,
            made: [None; 2],
            answered: [false; 2],
        });
    }

    /// Takes in what the server says: an answer, media, or what nobody asked for.
    fn said(&mut self, when: When, head: &Head, body: &[u8], ledger: &mut Ledger) {
        if let Some(track) = of_message(head.type_id, body) {
            return ledger.tracks.count(when, &track);
        }
        if !matches!(head.type_id, kind::COMMAND_AMF0 | kind::COMMAND_AMF3) {
            return;
        }
        let amf3 = head.type_id == kind::COMMAND_AMF3;
        let Ok((command, _)) = Command::decode(&mut Cursor::new(body), amf3) else { return };
        match command.name.as_str() {
            "_result" | "_error" => self.result(when, &command, ledger),
            "onStatus" => self.status(when, &command, ledger),
            _ => {}
        }
    }

    fn result(&mut self, when: When, command: &Command, ledger: &mut Ledger) {
        let side = side(when);
        let mut open = self.calls.iter_mut();
        let Some(call) = open.find(|c| c.transaction == command.transaction && !c.answered[side]) else {
            return;
        };
        call.answered[side] = true;
        let refused = command.name == "_error";
        let code = command.arguments.iter().find_map(|value| value.property_text("code"));
        let mut words = String::new();
        if call.name == "createStream" && !refused {
            call.made[side] = command.arguments.first().and_then(Amf0::as_u32);
            if let [Some(captured), Some(now)] = call.made {
                self.streams.insert(captured, now);
            }
            words = call.made[side].map(|id| format!("stream {id}")).unwrap_or_default();
        }
        ledger.answered(when, call.place, Answer::new(refused, code.unwrap_or(&command.name), words));
    }

    fn status(&mut self, when: When, command: &Command, ledger: &mut Ledger) {
        let text = |name| command.arguments.iter().find_map(|info| info.property_text(name));
        let Some(code) = text("code") else { return };
        let refused = text("level") == Some("error");
        if when == When::Now {
            self.over |= matches!(
                code,
                "NetStream.Play.UnpublishNotify" | "NetStream.Play.Stop" | "NetStream.Play.Complete"
            );
        }
        // These go before the answer or come when nothing was asked.
        let aside =
            ["Play.Reset", "Play.PublishNotify", "Play.UnpublishNotify", "Play.InsufficientBW", "Data.Start"];
        if aside.iter().any(|aside| code.ends_with(aside)) {
            return;
        }
        let about: &[&str] = match code.split('.').nth(1) {
            _ if code.starts_with("NetConnection.") => &["connect"],
            Some("Publish") => &["publish"],
            Some("Play") => &["play"],
            Some("Unpublish") => &["FCUnpublish", "closeStream", "deleteStream", "publish"],
            Some("Pause" | "Unpause") => &["pause", "pauseRaw"],
            Some("Seek") => &["seek"],
            _ if refused => &["publish", "play"],
            _ => return,
        };
        let side = side(when);
        let mut calls = self.calls.iter_mut().rev();
        let Some(call) = calls.find(|call| about.contains(&call.name.as_str())) else { return };
        // A farewell is no answer to what was asked first.
        if call.answered[side] && !refused || call.name == "publish" && code.contains("Unpublish") {
            return;
        }
        call.answered[side] = true;
        ledger.answered(when, call.place, Answer::new(refused, code, ""));
    }
}

/// Why something is left out that belongs to another stream of the connection.
const OTHERS: &str = "messages of other sessions on the connection";

fn side(when: When) -> usize {
    usize::from(when == When::Now)
}

impl drive::Part for Part {
    type Client = Plain;
    const UNIT: &str = "messages";

    fn captured(&mut self, said: Said, ledger: &mut Ledger) {
        if let What::Rtmp { head, body } = said.what
            && !self.others.contains(&head.stream_id)
        {
            self.said(When::Captured, &head, &body, ledger);
        }
    }

    fn heard(&mut self, event: PlainOutput, ledger: &mut Ledger) {
        match event {
            PlainOutput::Ready => self.ready = true,
            PlainOutput::Message(message) => self.said(When::Now, &message.head, &message.payload, ledger),
            PlainOutput::Eof(_) => self.over = true,
            PlainOutput::Send(_) | PlainOutput::Close(_) => {}
        }
    }

    fn adapt(&mut self, said: Said, ledger: &mut Ledger) -> Adapted<Message> {
        let (head, body) = match said.what {
            What::Rtmp { head, body } => (head, body),
            What::Damaged { head, .. } if matches!(head.type_id, kind::COMMAND_AMF0 | kind::COMMAND_AMF3) => {
                let frame = said.at.number();
                return Adapted::Impossible(format!(
                    "the capture lacks a part of the command in frame {frame}"
                ));
            }
            What::Damaged { .. } => return Adapted::LeftOut("messages of which the capture lacks a part"),
            _ => return Adapted::Own,
        };
        match head.type_id {
            type_id if Control::is_control(type_id) => self.control(body, head),
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => self.command(head, body, said.at, ledger),
            _ if self.others.contains(&head.stream_id) => Adapted::LeftOut(OTHERS),
            type_id => {
                if let Some(track) = of_message(type_id, &body) {
                    ledger.sends(&track);
                }
                let head = Head { stream_id: self.stream(head.stream_id), ..head };
                Adapted::Say(Message { head, payload: body })
            }
        }
    }

    fn lacks(&self, what: &What, ledger: &Ledger) -> Option<String> {
        let What::Rtmp { head, .. } = what else { return None };
        if head.stream_id == 0 || self.streams.contains_key(&head.stream_id) {
            return None;
        }
        // Said before the answer had come: the client knew, or guessed, which stream it would be.
        let open = |call: &&Call| call.name == "createStream" && !ledger.is_answered(When::Now, call.place);
        self.calls.iter().find(open).map(|call| call.name.clone())
    }

    fn is_ready(&self) -> bool {
        self.ready
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
