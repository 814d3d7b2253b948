//! What a connection is about: its commands, its streams, who publishes and who plays.

use model::Role;
use wire::Cursor;
use wire::amf0::{self, Amf0};
use wire::flv::file::{self, TagHeader};
use wire::rtmp::message::{Command, kind};

use super::declared::{self, Metadata};
use super::direction;
use super::media::{Media, Structure, Unreadable};
use super::message::Message;
use crate::finding::{Note, Notes};
use crate::flow::At;
use crate::rules::{Panel, rtmp as rules};

/// Streams followed on one connection; real ones have one.
const MAX_STREAMS: usize = 64;
/// Requests that wait for their answer.
const MAX_REQUESTS: usize = 64;
/// Status codes kept of a stream.
const MAX_STATUSES: usize = 32;
/// Longest text kept of a command, in characters.
const MAX_TEXT: usize = 1024;

/// A connection as its commands tell it.
#[derive(Debug)]
pub(super) struct Connection {
    /// Whether every frame is marked.
    pub(super) trace: bool,
    /// The client was seen to be one.
    pub(super) client_is_sure: bool,
    /// What was taken for the client is the server.
    pub(super) turned: bool,
    pub(super) app: Option<String>,
    pub(super) tc_url: Option<String>,
    pub(super) agent: Option<String>,
    fourccs: Option<String>,
    requests: Vec<(f64, Request)>,
    pub(super) streams: Vec<Stream>,
    pub(super) notes: Notes,
    pub(super) rules: Panel<rules::Rtmp>,
}

impl Connection {
    /// Nothing said so far.
    pub(super) fn new(client_is_sure: bool) -> Self {
        Self {
            trace: false,
            client_is_sure,
            turned: false,
            app: None,
            tc_url: None,
            agent: None,
            fourccs: None,
            requests: Vec::new(),
            streams: Vec::new(),
            notes: Notes::default(),
            rules: Panel::new(rules::ALL),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    CreateStream,
    Other,
}

/// One message stream that is published or played.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) role: Role,
    /// The stream key, without its query string.
    pub(super) name: Option<String>,
    /// What stood behind a question mark in the stream key.
    pub(super) query: Option<String>,
    /// Codes of the status messages about it.
    pub(super) statuses: Vec<String>,
    metadata: Metadata,
    pub(super) media: Media,
    pub(super) started_ns: i64,
    /// The command or event that ended it.
    pub(super) ended: Option<&'static str>,
    /// Bytes of its messages with their chunk headers: to the server, to the client.
    pub(super) wire_bytes: [u64; 2],
}

impl Connection {
    /// Takes a message that came from the client or went to it.
    pub(super) fn message(&mut self, from_client: bool, message: &Message<'_>) {
        if !self.client_is_sure
            && let Some(of_client) = direction::is_of_client(message)
        {
            self.client_is_sure = true;
            if of_client != from_client {
                self.turn();
            }
        }
        self.take(from_client != self.turned, message);
    }

    /// What was taken for the client is the server. Nothing that came so far said more than that media flows.
    pub(super) fn turn(&mut self) {
        self.turned = !self.turned;
        for stream in &mut self.streams {
            stream.role = if stream.role == Role::Viewer { Role::Publisher } else { Role::Viewer };
            stream.wire_bytes.reverse();
        }
        self.rules = Panel::new(rules::ALL);
        self.rules.tell(rules::Event::Hole);
    }

    fn take(&mut self, from_client: bool, message: &Message<'_>) {
        self.rules.tell(rules::Event::Message(headers(from_client, message)));
        if let Some(stream) = self.stream_of(message.stream_id, from_client) {
            let side = usize::from(!from_client);
            if let Some(bytes) = stream.wire_bytes.get_mut(side) {
                *bytes = bytes.saturating_add(message.wire_bytes);
            }
        }
        match message.type_id {
            kind::AUDIO | kind::VIDEO => self.media(from_client, message),
            kind::AGGREGATE => self.aggregate(from_client, message),
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => self.command(from_client, message),
            kind::DATA_AMF0 | kind::DATA_AMF3 => self.data(from_client, message),
            _ => {}
        }
    }

    /// Messages of one direction may be missing here.
    pub(super) fn hole(&mut self, from_client: bool) {
        self.rules.tell(rules::Event::Hole);
        let role = if from_client != self.turned { Role::Publisher } else { Role::Viewer };
        self.streams.iter_mut().filter(|s| s.role == role && s.ended.is_none()).for_each(|s| s.media.hole());
    }

    fn stream_of(&mut self, id: u32, from_client: bool) -> Option<&mut Stream> {
        let role = if from_client { Role::Publisher } else { Role::Viewer };
        self.streams.iter_mut().rev().find(|s| s.id == id && (s.role == role || id != 0))
    }

    /// The stream that media of this direction belongs to, made up where its command was not seen.
    fn media_stream(&mut self, from_client: bool, message: &Message<'_>) -> Option<usize> {
        let role = if from_client { Role::Publisher } else { Role::Viewer };
        let id = message.stream_id;
        let exact = self.streams.iter().rposition(|s| s.role == role && s.id == id);
        // Some servers send on another stream than the one that plays; with one alone there is no doubt.
        let only = || {
            let mut of_role = self.streams.iter().enumerate().filter(|(_, s)| s.role == role);
            of_role.next().filter(|_| of_role.next().is_none()).map(|(index, _)| index)
        };
        exact.or_else(only).or_else(|| self.begin(id, role, None, message))
    }

    fn begin(&mut self, id: u32, role: Role, name: Option<&str>, message: &Message<'_>) -> Option<usize> {
        if self.streams.len() >= MAX_STREAMS {
            self.notes.add(&spec::capture::STATE_BOUNDED, None, || {
                Note::new(
                    &spec::capture::STATE_BOUNDED,
                    "more message streams on one connection than are followed",
                )
                .at(message.first)
                .want_got(format!("at most {MAX_STREAMS}"), "more")
            });
            return None;
        }
        let (name, query) =
            match name.map(|name| name.split_once('?').map_or((name, None), |(n, q)| (n, Some(q)))) {
                Some((name, query)) => (Some(short(name)), query.map(short)),
                None => (None, None),
            };
        self.streams.push(Stream {
            id,
            role,
            name,
            query,
            statuses: Vec::new(),
            metadata: Metadata::default(),
            media: Media::new(self.trace),
            started_ns: message.first.time_ns,
            ended: None,
            wire_bytes: [0; 2],
        });
        Some(self.streams.len().saturating_sub(1))
    }

    fn media(&mut self, from_client: bool, message: &Message<'_>) {
        let Some(index) = self.media_stream(from_client, message) else { return };
        let Some(stream) = self.streams.get_mut(index) else { return };
        let result = match message.type_id {
            kind::AUDIO => stream.media.audio(message),
            _ => stream.media.video(message),
        };
        let metadata = &stream.metadata;
        stream.media.stats().for_each(|stats| metadata.tell(stats));
        if let Err(unreadable) = result {
            self.unreadable(Some(index), message, &unreadable);
        }
    }

    fn unreadable(&mut self, stream: Option<usize>, message: &Message<'_>, unreadable: &Unreadable) {
        let audio = message.type_id == kind::AUDIO;
        let (rule, what) = match unreadable.what {
            Structure::Header if audio => (&spec::flv::AUDIO_AAC_PACKET_TYPE, "audio header cannot be read"),
            Structure::Header => (&spec::flv::VIDEO_AVC_PACKET_TYPE, "video header cannot be read"),
            Structure::Asc => (&spec::flv::AUDIO_ASC_WELLFORMED, "AudioSpecificConfig cannot be read"),
            Structure::Avc => (&spec::flv::VIDEO_AVCC_WELLFORMED, "AVC configuration cannot be read"),
            Structure::Hevc => (&spec::flv::VIDEO_HVCC_WELLFORMED, "HEVC configuration cannot be read"),
            Structure::Tracks => {
                (&spec::capture::STATE_BOUNDED, "more tracks in one stream than are followed")
            }
        };
        self.notes.add(rule, stream, || Note::error(rule, what, &unreadable.error).at(message.first));
    }

    /// An Aggregate holds FLV tags; their times count from the first one's (RTMP 1.0 §7.1.6).
    fn aggregate(&mut self, from_client: bool, message: &Message<'_>) {
        let mut c = Cursor::new(message.body);
        let mut first = None;
        while !c.is_empty() {
            let before = c.position();
            let Ok(tag) = TagHeader::decode(&mut c) else { break };
            let size = usize::try_from(tag.size).unwrap_or(usize::MAX);
            let Ok(body) = c.bytes(&wire::flv::PAYLOAD, size) else { break };
            let start = *first.get_or_insert(tag.timestamp);
            let part = Message {
                timestamp: message.timestamp.wrapping_add(tag.timestamp.wrapping_sub(start)),
                type_id: tag.kind,
                length: tag.size,
                body,
                lost: 0,
                wire_bytes: 0,
                ..*message
            };
            if part.type_id != kind::AGGREGATE {
                self.take(from_client, &part);
            }
            if file::previous_tag_size(&mut c).is_err() || c.position() <= before {
                break;
            }
        }
        if !c.is_empty() && message.is_whole() {
            let left = c.remaining();
            let rule = &spec::rtmp::AGGREGATE_FLV_LAYOUT;
            self.notes.add(rule, None, || {
                Note::new(rule, "an Aggregate message does not end with a whole FLV tag")
                    .at(message.first)
                    .want_got("FLV tags up to the end", format!("{left} bytes left over"))
            });
        }
    }

    fn command(&mut self, from_client: bool, message: &Message<'_>) {
        if message.lost > 0 && from_client && has_name(message.body, "connect") {
            let text = |name: &str| find_text(message.body, name);
            self.tc_url = text("tcUrl").or_else(|| self.tc_url.take());
            self.agent = text("flashVer").or_else(|| self.agent.take());
            self.app = text("app").or_else(|| self.app.take());
            return;
        }
        let mut c = Cursor::new(message.body);
        let (command, error) = match Command::decode(&mut c, message.type_id == kind::COMMAND_AMF3) {
            Ok(both) => both,
            Err(error) => {
                self.amf_error(message, "command cannot be read", &error);
                return;
            }
        };
        if let Some(error) = error {
            self.amf_error(message, "command cannot be read to its end", &error);
        }
        self.rules.tell(rules::Event::Command { message: headers(from_client, message), command: &command });
        let id = message.stream_id;
        match (from_client, command.name.as_str()) {
            (true, "connect") => self.connect(&command),
            (true, "createStream") => self.request(command.transaction, Request::CreateStream),
            (true, "publish") => self.open(id, Role::Publisher, &command, message),
            (true, "play" | "play2") => self.open(id, Role::Viewer, &command, message),
            (true, "FCUnpublish") => {
                let name = command.text(0);
                let named = |s: &Stream| {
                    s.role == Role::Publisher && (name.is_none() || s.full_name().as_deref() == name)
                };
                self.end("FCUnpublish", named);
            }
            (true, "deleteStream") => {
                let deleted = command.arguments.first().and_then(Amf0::as_u32);
                self.end("deleteStream", |s| Some(s.id) == deleted);
            }
            (true, "closeStream") => self.end("closeStream", |s| s.id == id),
            (true, _) => self.request(command.transaction, Request::Other),
            (false, "_result" | "_error") => self.answer(&command),
            (false, "onStatus") => self.status(id, &command),
            (false, _) => {}
        }
    }

    fn connect(&mut self, command: &Command) {
        let text = |name: &str| command.object.property_text(name).map(short);
        self.tc_url = text("tcUrl").or_else(|| self.tc_url.take());
        self.agent = text("flashVer").or_else(|| self.agent.take());
        self.app = text("app").or_else(|| self.app.take());
        self.fourccs = declared::fourcc_list(&command.object);
        self.request(command.transaction, Request::Other);
    }

    fn request(&mut self, transaction: f64, request: Request) {
        if self.requests.len() >= MAX_REQUESTS {
            self.requests.remove(0);
        }
        self.requests.push((transaction, request));
    }

    fn answer(&mut self, command: &Command) {
        let Some(index) = self.requests.iter().position(|(id, _)| *id == command.transaction) else { return };
        let (_, request) = self.requests.remove(index);
        if request == Request::CreateStream && command.name == "_result" {
            // The id a later publish or play uses. A stream that used it before is over.
            if let Some(id) = command.arguments.first().and_then(Amf0::as_u32) {
                self.end("createStream", |s| s.id == id);
            }
        }
    }

    fn open(&mut self, id: u32, role: Role, command: &Command, message: &Message<'_>) {
        let name = command.text(0);
        // The same command again, or the command for media that came before it.
        let known = self.streams.iter_mut().rev().find(|s| s.id == id && s.role == role && s.ended.is_none());
        match known {
            Some(stream) if stream.name.is_none() || stream.full_name().as_deref() == name => {
                if let Some((key, query)) =
                    name.map(|n| n.split_once('?').map_or((n, None), |(k, q)| (k, Some(q))))
                {
                    stream.name = Some(short(key));
                    stream.query = query.map(short);
                }
            }
            _ => {
                self.end("replaced", |s| s.id == id);
                self.begin(id, role, name, message);
            }
        }
    }

    fn end(&mut self, why: &'static str, which: impl Fn(&Stream) -> bool) {
        for stream in self.streams.iter_mut().filter(|s| which(s)) {
            stream.ended.get_or_insert(why);
        }
    }

    fn status(&mut self, id: u32, command: &Command) {
        let code = command.arguments.first().and_then(|info| info.property_text("code"));
        let Some(code) = code else { return };
        let exact = self.streams.iter().rposition(|s| s.id == id);
        let index = exact.or_else(|| self.streams.len().checked_sub(1));
        if let Some(stream) = index.and_then(|index| self.streams.get_mut(index))
            && stream.statuses.len() < MAX_STATUSES
        {
            stream.statuses.push(short(code));
        }
    }

    fn data(&mut self, from_client: bool, message: &Message<'_>) {
        // Type 15 begins with a selector byte in some programs and with AMF0 at once in others.
        let selector = message.type_id == kind::DATA_AMF3 && matches!(message.body, [0, 2 | 0x11, ..]);
        let body = message.body.get(usize::from(selector)..).unwrap_or_default();
        let (values, error) = amf0::decode_all(&mut Cursor::based(body, u64::from(selector)));
        if let Some(error) = error {
            self.amf_error(message, "data message cannot be read", &error);
        }
        let mut values = values.iter().skip_while(|v| v.as_str() == Some("@setDataFrame"));
        if values.next().and_then(Amf0::as_str) != Some("onMetaData") {
            return;
        }
        let Some(object) = values.next() else { return };
        let Some(index) = self.media_stream(from_client, message) else { return };
        if let Some(stream) = self.streams.get_mut(index) {
            stream.metadata.take(object);
        }
    }

    fn amf_error(&mut self, message: &Message<'_>, what: &str, error: &wire::Error) {
        let cut = message.lost > 0 || !message.is_whole();
        // Marker 0x11 switches to AMF3 for the rest, which is allowed.
        let amf3 = matches!(error.problem, wire::Problem::Value { got: 0x11, .. }) && error.field == "marker";
        if cut && !amf3 && message.lost == 0 {
            let rule = &spec::capture::STATE_BOUNDED;
            self.notes
                .add(rule, None, || Note::new(rule, "a command is longer than is kept").at(message.first));
        }
        if cut || amf3 {
            return;
        }
        let rule = match error.problem {
            wire::Problem::TooDeep { .. } => &spec::rtmp::AMF0_DEPTH_LIMIT,
            wire::Problem::Value { .. } if error.field == "marker" => &spec::rtmp::AMF0_RESERVED_MARKERS,
            wire::Problem::Value { .. } if error.field == "format selector" => {
                &spec::rtmp::AMF3_FORMAT_SELECTOR
            }
            _ => &spec::rtmp::COMMAND_SHAPE,
        };
        self.notes.add(rule, None, || Note::error(rule, what, error).at(message.first));
    }

    /// The path of a stream, `app/key`; none where the capture does not tell.
    pub(super) fn path(&self, stream: &Stream) -> Option<String> {
        let app = self.app.as_deref()?;
        let app = app.split_once('?').map_or(app, |(app, _)| app).trim_matches('/');
        let name = stream.name.as_deref()?.trim_start_matches('/');
        Some(match (app, name) {
            (app, "") => app.to_owned(),
            ("", name) => name.to_owned(),
            (app, name) => format!("{app}/{name}"),
        })
    }

    /// What the connect command declares, for each stream's tracks.
    pub(super) fn tell(&mut self) {
        let Some(list) = self.fourccs.take() else { return };
        for stream in &mut self.streams {
            stream.media.stats().for_each(|stats| stats.declare("fourCcList", list.as_str()));
        }
    }

    /// A place in the capture and an error there that is about the connection as a whole.
    pub(super) fn note(&mut self, rule: &'static spec::Requirement, what: &str, at: At, error: &wire::Error) {
        self.notes.add(rule, None, || Note::error(rule, what, error).at(at));
    }
}

impl Stream {
    /// The stream key as it was sent.
    fn full_name(&self) -> Option<String> {
        let name = self.name.as_ref()?;
        Some(self.query.as_ref().map_or_else(|| name.clone(), |query| format!("{name}?{query}")))
    }
}

fn headers(from_client: bool, message: &Message<'_>) -> rules::Message {
    let Message { csid, type_id, stream_id, first: at, .. } = *message;
    rules::Message { from_client, at, type_id, csid, stream_id }
}

/// True where an AMF0 command of this name begins.
fn has_name(body: &[u8], name: &str) -> bool {
    body.get(3..).is_some_and(|rest| rest.starts_with(name.as_bytes())) && body.first() == Some(&2)
}

/// A text property in the part that is left of an object the capture has cut.
fn find_text(body: &[u8], name: &str) -> Option<String> {
    let mut key = u16::try_from(name.len()).ok()?.to_be_bytes().to_vec();
    key.extend(name.as_bytes());
    key.push(2);
    let start = body.windows(key.len()).position(|window| window == key)?;
    let value = body.get(start.saturating_add(key.len())..)?;
    let length = usize::from(u16::from_be_bytes(*value.first_chunk::<2>()?));
    let text = value.get(2..length.saturating_add(2))?;
    Some(short(&String::from_utf8_lossy(text)))
}

/// A text of bounded length.
fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
