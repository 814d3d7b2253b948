//! RTMP connections: Info texts, facts and parts of their messages.

use std::collections::HashMap;
use std::fmt::Write;

use wire::amf0::{self, Amf0};
use wire::rtmp::chunk::Basic;
use wire::rtmp::message::{Command, Control, UserEvent, kind};
use wire::{Cursor, Error};

use super::facts::Value;
use super::provenance::{Piece, Provenance, Segments};
use super::tree::codec::Nal;
use super::tree::{Part, flv as media, rtmp as tree};
use super::{Out, Speaks};
use crate::flow::{At, ConnInfo, Dir, Missing};
use crate::track::rtmp::follow::{Arrived, Events, Follower, Shake};

/// Bytes kept of one message for a tree.
const MAX_KEPT: usize = 16 << 20;
/// NAL unit types remembered of a picture.
const MAX_UNITS: usize = 64;

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Rtmp {
    follower: Follower,
    sides: [Side; 2],
    session: Session,
}

/// What both sides share.
#[derive(Clone, Debug, Default)]
struct Session {
    app: String,
    /// Path by message stream; the latest under 0.
    paths: HashMap<u32, String>,
    /// Commands that wait for their answer.
    calls: HashMap<u32, String>,
}

#[derive(Clone, Debug, Default)]
struct Side {
    shake: Open,
    open: HashMap<u32, Open>,
    /// Bytes of a NAL unit's length.
    length_size: Option<u8>,
}

/// A message that is not whole yet.
#[derive(Clone, Debug, Default)]
struct Open {
    type_id: u8,
    fmt: u8,
    /// Headers and payload as they came, where they are kept.
    bytes: Vec<u8>,
    origin: Provenance,
    sizes: Vec<(usize, usize)>,
    full: bool,
    units: Units,
}

impl Rtmp {
    pub(super) fn new(info: &ConnInfo) -> Self {
        Self { follower: Follower::new(info), sides: <[Side; 2]>::default(), session: Session::default() }
    }

    pub(super) fn is_other(&self) -> bool {
        self.follower.is_other()
    }

    /// Memory held, in bytes: the open messages.
    pub(super) fn weight(&self) -> usize {
        let open = self.sides.iter().flat_map(|side| side.open.values().chain([&side.shake]));
        open.fold(self.follower.weight(), |n, open| {
            let sizes = open.sizes.len().saturating_mul(16);
            n.saturating_add(open.bytes.len()).saturating_add(open.origin.weight()).saturating_add(sizes)
        })
    }

    pub(super) fn data(&mut self, dir: Dir, at: At, bytes: &[u8], segments: &Segments, out: &mut Out) {
        let [a, b] = &mut self.sides;
        let side = if dir == Dir::AToB { a } else { b };
        let mut listener = Listener { side, session: &mut self.session, segments, out };
        self.follower.data(dir, at, bytes, &mut listener);
        if self.follower.is_certain() {
            out.pending.get_or_insert("RTMP");
        }
    }

    pub(super) fn gap(&mut self, dir: Dir, at: At, len: u64, _: Missing, segments: &Segments, out: &mut Out) {
        let [a, b] = &mut self.sides;
        let side = if dir == Dir::AToB { a } else { b };
        let mut listener = Listener { side, session: &mut self.session, segments, out };
        self.follower.gap(dir, at, len, &mut listener);
    }
}

struct Listener<'a> {
    side: &'a mut Side,
    session: &'a mut Session,
    segments: &'a Segments,
    out: &'a mut Out,
}

impl Open {
    fn keep(&mut self, at: At, bytes: &[u8], segments: &Segments) {
        if self.bytes.len().saturating_add(bytes.len()) > MAX_KEPT {
            self.full = true;
            return;
        }
        self.bytes.extend_from_slice(bytes);
        self.origin.extend(&segments.find(at.offset, bytes.len() as u64));
    }
}

impl Events for Listener<'_> {
    fn shaking(&mut self, at: At, bytes: &[u8]) {
        if self.out.keep {
            self.side.shake.keep(at, bytes, self.segments);
        }
    }

    fn shaken(&mut self, what: Shake) {
        let open = std::mem::take(&mut self.side.shake);
        let name = match what {
            Shake::C0C1 => "C0+C1",
            Shake::C2 => "C2",
            Shake::S0S1S2 => "S0+S1+S2",
        };
        self.out.pdu(Speaks::Rtmp, format_args!("Handshake {name}"));
        self.out.facts.text("rtmp.handshake", name);
        if self.out.show {
            let title = format!("RTMP handshake {name}");
            let (part, _) = Part::read(title, &open.bytes, open.origin, |c| match what {
                Shake::C0C1 => tree::c0c1(c),
                Shake::C2 => tree::c2(c),
                Shake::S0S1S2 => tree::s0s1s2(c),
            });
            self.out.parts.push(part);
        }
    }

    fn chunk(&mut self, at: At, basic: &Basic, bytes: &[u8], continues: bool) {
        let open = self.side.open.entry(basic.csid).or_default();
        if !continues {
            let type_id = match basic.fmt {
                0 | 1 => bytes.get(usize::from(basic.size).saturating_add(6)).copied().unwrap_or(0),
                _ => open.type_id,
            };
            *open = Open { type_id, fmt: basic.fmt, ..Open::default() };
        }
        if self.out.keep {
            open.keep(at, bytes, self.segments);
            open.sizes.push((bytes.len(), 0));
        }
    }

    fn payload(&mut self, at: At, csid: u32, bytes: &[u8]) {
        let length_size = self.side.length_size.unwrap_or(4);
        let Some(open) = self.side.open.get_mut(&csid) else { return };
        if open.type_id == kind::VIDEO {
            open.units.push(bytes, length_size);
        }
        if self.out.keep && !open.full {
            open.keep(at, bytes, self.segments);
            if let Some((_, payload)) = open.sizes.last_mut()
                && !open.full
            {
                *payload = payload.saturating_add(bytes.len());
            }
        }
    }

    fn message(&mut self, message: &Arrived<'_>) {
        let open = self.side.open.get_mut(&message.csid).map(std::mem::take).unwrap_or_default();
        // The type holds for the next message without one.
        if let Some(slot) = self.side.open.get_mut(&message.csid) {
            slot.type_id = message.type_id;
        }
        self.facts(message, &open);
        let text = self.text(message, &open);
        let damaged =
            if message.lost > 0 { format!(" [{} bytes missing]", message.lost) } else { String::new() };
        self.out.pdu(Speaks::Rtmp, format_args!("{text}{damaged}"));
        if self.out.show {
            self.parts(message, open, &text);
        }
    }

    fn lost(&mut self, error: &Error) {
        self.out.remark(format_args!("[chunks cannot be told apart: {error}]"));
    }
}

impl Listener<'_> {
    fn facts(&mut self, message: &Arrived<'_>, open: &Open) {
        let facts = &mut self.out.facts;
        facts.number("rtmp.type", u64::from(message.type_id));
        facts.number("rtmp.fmt", u64::from(open.fmt));
        facts.number("rtmp.csid", u64::from(message.csid));
        facts.number("rtmp.msid", u64::from(message.stream_id));
        facts.number("rtmp.timestamp", u64::from(message.timestamp));
        facts.number("rtmp.length", u64::from(message.length));
    }

    /// The Info text: Wireshark's, then what it leaves out.
    fn text(&mut self, message: &Arrived<'_>, open: &Open) -> String {
        let body = message.body;
        let mut text = String::new();
        match message.type_id {
            id if Control::is_control(id) => match Control::decode(&mut Cursor::new(body), id) {
                Ok(control) => control_text(&control, &mut self.out.facts, &mut text),
                Err(error) => {
                    let _ = write!(text, "{} [{error}]", tree::type_name(id).unwrap_or("Unknown"));
                }
            },
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => {
                match Command::decode(&mut Cursor::new(body), message.type_id == kind::COMMAND_AMF3) {
                    Ok((command, error)) => {
                        self.command(message.stream_id, &command, &mut text);
                        if let Some(error) = error {
                            let _ = write!(text, " [{error}]");
                        }
                    }
                    Err(error) => {
                        let _ = write!(
                            text,
                            "{} [{error}]",
                            tree::type_name(message.type_id).unwrap_or("Unknown")
                        );
                    }
                }
            }
            kind::DATA_AMF0 => data_text(body, &mut self.out.facts, &mut text),
            kind::DATA_AMF3 => {
                text.push_str("AMF3 Data ");
                data_text(body.strip_prefix(&[0]).unwrap_or(body), &mut self.out.facts, &mut text);
            }
            kind::AUDIO => {
                text.push_str("Audio Data");
                if let Ok(says) = media::audio(&mut Cursor::new(body), &mut self.out.facts) {
                    let _ = write!(text, " ({})", says.text);
                } else if body.is_empty() {
                    text.push_str(" (empty)");
                }
            }
            kind::VIDEO => {
                text.push_str("Video Data");
                if let Ok(says) = media::video(&mut Cursor::new(body), None, &mut self.out.facts) {
                    if says.length_size.is_some() {
                        self.side.length_size = says.length_size;
                    }
                    let (codec, kinds) = open.units.found();
                    kinds.iter().for_each(|k| self.out.facts.number("video.nal", u64::from(*k)));
                    let _ = write!(text, " ({}{})", says.text, media::nal_text(codec, kinds));
                } else if body.is_empty() {
                    text.push_str(" (empty)");
                }
            }
            other => match tree::type_name(other) {
                Some(name) => text.push_str(name),
                None => {
                    let _ = write!(text, "Unknown (0x{other:x})");
                }
            },
        }
        if !self.out.facts.list().is_empty() {
            let path = self.session.paths.get(&message.stream_id).or_else(|| self.session.paths.get(&0));
            if let Some(path) = path {
                self.out.facts.text("stream", path);
            }
        }
        text
    }

    fn command(&mut self, stream_id: u32, command: &Command, text: &mut String) {
        let facts = &mut self.out.facts;
        facts.text("rtmp.command", &command.name);
        facts.push("rtmp.transaction", Value::Real(command.transaction));
        let name = command.name.as_str();
        let code = || {
            let infos = std::iter::once(&command.object).chain(&command.arguments);
            infos.filter_map(|v| v.property_text("code")).next()
        };
        let parameter = match name {
            "connect" => command.object.property_text("app"),
            "play" | "releaseStream" | "FCPublish" | "publish" => command.text(0),
            "play2" => command.arguments.first().and_then(|v| v.property_text("streamName")),
            "onStatus" | "_result" | "_error" | "onPlayStatus" => code(),
            _ => None,
        };
        match parameter {
            Some(parameter) => {
                let _ = write!(text, "{}('{}')", Clean(name), Clean(parameter));
            }
            None => {
                let _ = write!(text, "{}()", Clean(name));
            }
        }
        // What Wireshark leaves out.
        match name {
            "publish" => {
                if let Some(kind) = command.text(1) {
                    let _ = write!(text, " {}", Clean(kind));
                }
            }
            "FCUnpublish" | "getStreamLength" => {
                if let Some(key) = command.text(0) {
                    let _ = write!(text, " '{}'", Clean(key));
                }
            }
            "deleteStream" => {
                if let Some(id) = command.arguments.first().and_then(Amf0::as_u32) {
                    let _ = write!(text, " stream {id}");
                }
            }
            "_result" if parameter.is_none() => {
                let id = command.arguments.first().and_then(Amf0::as_f64);
                let call = transaction(command).and_then(|t| self.session.calls.remove(&t));
                match (id, call.as_deref()) {
                    (Some(id), Some("createStream") | None) => {
                        let _ = write!(text, " stream {id}");
                    }
                    (Some(value), Some(call)) => {
                        let _ = write!(text, " {value} for {}", Clean(call));
                    }
                    (None, Some(call)) => {
                        let _ = write!(text, " for {}", Clean(call));
                    }
                    (None, None) => {}
                }
            }
            _ => {}
        }
        self.remember(stream_id, command);
    }

    fn remember(&mut self, stream_id: u32, command: &Command) {
        let session = &mut *self.session;
        if !matches!(command.name.as_str(), "_result" | "_error" | "onStatus")
            && session.calls.len() < 256
            && let Some(id) = transaction(command)
        {
            session.calls.insert(id, command.name.clone());
        }
        match command.name.as_str() {
            "connect" => {
                let app = command.object.property_text("app").unwrap_or_default();
                session.app = app.trim_matches('/').to_owned();
            }
            "publish" | "play" => {
                let key = command.text(0).unwrap_or_default().split('?').next().unwrap_or_default();
                let path = match session.app.as_str() {
                    "" => key.to_owned(),
                    app => format!("{}/{key}", app.split('?').next().unwrap_or(app).trim_end_matches('/')),
                };
                if session.paths.len() < 256 {
                    session.paths.insert(stream_id, path.clone());
                }
                session.paths.insert(0, path);
            }
            _ => {}
        }
    }

    fn parts(&mut self, message: &Arrived<'_>, open: Open, text: &str) {
        let count = open.sizes.len();
        if open.full || count == 0 {
            let kept = Piece { len: 0, frame: 0, offset: None };
            let mut origin = Provenance::default();
            origin.push(kept);
            let parts = tree::message_parts(message.type_id, message.body, origin, 4, 0);
            self.out.parts.extend(parts);
            return;
        }
        let plural = if count == 1 { "chunk" } else { "chunks" };
        let title =
            format!("RTMP chunk stream {}: {count} {plural}, {} bytes", message.csid, open.bytes.len());
        let mut body = Vec::new();
        let mut origin = Provenance::default();
        let mut at = 0usize;
        for (header, payload) in &open.sizes {
            let start = at.saturating_add(*header);
            at = start.saturating_add(*payload);
            body.extend_from_slice(open.bytes.get(start..at).unwrap_or_default());
            origin.extend(&open.origin.slice(start as u64..at as u64));
        }
        let sizes = open.sizes;
        let (mut part, _) = Part::read(title, &open.bytes, open.origin, |c| tree::chunks(c, &sizes));
        let kind = tree::type_name(message.type_id).unwrap_or("unknown type");
        let state = format!(
            "type {} ({kind}), timestamp {} ms, message stream {}, {} bytes",
            message.type_id, message.timestamp, message.stream_id, message.length
        );
        part.note("message", state);
        if open.fmt > 0 {
            let left =
                ["", "message stream id", "length, type and message stream id", "the whole message header"];
            let left = left.get(usize::from(open.fmt)).copied().unwrap_or_default();
            part.note(
                "carried over",
                format!("fmt {}: {left} as in the chunk stream's last header", open.fmt),
            );
        }
        self.out.parts.push(part);
        let size = self.side.length_size.unwrap_or(4);
        let mut parts = tree::message_parts(message.type_id, &body, origin, size, 1);
        if let Some(first) = parts.first_mut() {
            first.note("info", text);
        }
        self.out.parts.extend(parts);
    }
}

fn transaction(command: &Command) -> Option<u32> {
    Amf0::Number(command.transaction).as_u32().filter(|id| *id > 0)
}

pub(super) fn control_text(control: &Control, facts: &mut super::facts::Facts, text: &mut String) {
    let mut event = |number: u64| facts.number("rtmp.event", number);
    let _ = match control {
        Control::SetChunkSize(n) => {
            facts.number("rtmp.chunk_size", u64::from(*n));
            write!(text, "Set Chunk Size {n}")
        }
        Control::Abort(csid) => write!(text, "Abort Message {csid}"),
        Control::Ack(n) => write!(text, "Acknowledgement {n}"),
        Control::WindowAckSize(n) => write!(text, "Window Acknowledgement Size {n}"),
        Control::SetPeerBandwidth(n, limit) => {
            let limit = match limit {
                0 => "Hard",
                1 => "Soft",
                2 => "Dynamic",
                _ => "Unknown",
            };
            write!(text, "Set Peer Bandwidth {n},{limit}")
        }
        Control::User(user) => match user {
            UserEvent::StreamBegin(id) => {
                event(0);
                write!(text, "Stream Begin {id}")
            }
            UserEvent::StreamEof(id) => {
                event(1);
                write!(text, "Stream EOF {id}")
            }
            UserEvent::StreamDry(id) => {
                event(2);
                write!(text, "Stream Dry {id}")
            }
            UserEvent::SetBufferLength(id, ms) => {
                event(3);
                write!(text, "Set Buffer Length {id},{ms}ms")
            }
            UserEvent::StreamIsRecorded(id) => {
                event(4);
                write!(text, "Stream Is Recorded {id}")
            }
            UserEvent::PingRequest(time) => {
                event(6);
                write!(text, "Ping Request {time}")
            }
            UserEvent::PingResponse(time) => {
                event(7);
                write!(text, "Ping Response {time}")
            }
            UserEvent::Other(number, _) => {
                event(u64::from(*number));
                write!(text, "User Control Message 0x{number:x}")
            }
        },
    };
}

fn data_text(body: &[u8], facts: &mut super::facts::Facts, text: &mut String) {
    let (values, error) = amf0::decode_all(&mut Cursor::new(body));
    let name = values.first().and_then(Amf0::as_str).unwrap_or("AMF0 Data");
    facts.text("rtmp.command", name);
    let code = values.iter().filter_map(|v| v.property_text("code")).next();
    let _ = match code.filter(|_| matches!(name, "onStatus" | "onPlayStatus")) {
        Some(code) => write!(text, "{}('{}')", Clean(name), Clean(code)),
        None => write!(text, "{}()", Clean(name)),
    };
    if name == "@setDataFrame"
        && let Some(what) = values.get(1).and_then(Amf0::as_str)
    {
        let _ = write!(text, " {}", Clean(what));
    }
    if let Some(error) = error {
        let _ = write!(text, " [{error}]");
    }
}

/// Text from the network, without what would disturb a terminal.
pub(super) struct Clean<'a>(pub(super) &'a str);

impl std::fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Finds the types of a picture's NAL units while its bytes flow past.
#[derive(Clone, Debug, Default)]
struct Units {
    head: Vec<u8>,
    codec: Option<Nal>,
    settled: bool,
    /// Bytes of the current unit that are still to come.
    left: u64,
    prefix: (u8, u64),
    kinds: Vec<u8>,
}

impl Units {
    fn found(&self) -> (Nal, &[u8]) {
        (self.codec.unwrap_or(Nal::Avc), &self.kinds)
    }

    fn push(&mut self, bytes: &[u8], length_size: u8) {
        let mut rest = bytes;
        while !self.settled {
            let Some((first, more)) = rest.split_first() else { return };
            self.head.push(*first);
            rest = more;
            self.settle();
        }
        if self.codec.is_none() {
            return;
        }
        while let Some(first) = rest.first() {
            if self.left > 0 {
                let skip = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
                self.left = self.left.saturating_sub(skip as u64);
                rest = rest.get(skip..).unwrap_or_default();
                continue;
            }
            let (have, value) = self.prefix;
            if have < length_size {
                self.prefix = (have.saturating_add(1), value << 8 | u64::from(*first));
                rest = rest.get(1..).unwrap_or_default();
                if self.prefix.0 == length_size && self.prefix.1 == 0 {
                    self.prefix = (0, 0);
                }
                continue;
            }
            if self.kinds.len() < MAX_UNITS
                && let Some(codec) = self.codec
            {
                self.kinds.push(codec.type_of(*first));
            }
            self.left = value;
            self.prefix = (0, 0);
        }
    }

    /// Looks whether the bytes so far tell where the first unit begins, if there is one.
    fn settle(&mut self) {
        let (codec, header) = match *self.head.as_slice() {
            [first, ..] if first & 0x80 == 0 && !matches!(first & 0x0f, 7 | 12) => (None, 1usize),
            [first, ..] if first & 0x80 == 0 && first >> 4 == 5 => (None, 1),
            [first, 1, ..] if first & 0x8f == 7 => (Some(Nal::Avc), 5),
            [first, 1, ..] if first & 0x8f == 12 => (Some(Nal::Hevc), 5),
            [first, _, ..] if first & 0x80 == 0 => (None, 2),
            [first, ..] if first & 0x80 != 0 && !matches!(first & 0x0f, 1 | 3) => (None, 1),
            [first, a, b, c, d, ..] if first & 0x80 != 0 => {
                let codec = match [a, b, c, d] {
                    [b'a', b'v', b'c', b'1'] => Some(Nal::Avc),
                    [b'h', b'v', b'c', b'1'] => Some(Nal::Hevc),
                    _ => None,
                };
                (codec, if first & 0x0f == 1 { 8 } else { 5 })
            }
            _ => return,
        };
        if self.head.len() >= header {
            self.settled = true;
            self.codec = codec;
        }
    }
}
