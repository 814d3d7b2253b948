//! HTTP/1 connections: requests, replies, and the playlists and segments in them.

use std::collections::VecDeque;

use wire::Cursor;
use wire::http::{Framing, Head, MAX_HEAD, Start, chunk_size, head_length};

use super::provenance::{Provenance, Segments};
use super::rtmp::Clean;
use super::tree::text as tree;
use super::{Out, Speaks};
use crate::flow::{At, Dir};

/// Bytes kept of a body for a tree.
const MAX_BODY: usize = 4 << 20;
/// Requests that wait for their answers.
const MAX_CALLS: usize = 256;

/// One connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Http {
    sides: [Side; 2],
    /// Methods of requests without an answer.
    calls: VecDeque<String>,
}

#[derive(Clone, Debug, Default)]
struct Side {
    /// A head, or the line of a chunk, that is not whole.
    line: Vec<u8>,
    state: Body,
    message: Option<Message>,
    /// The head is none: wait for one that begins a packet.
    searching: bool,
}

#[derive(Clone, Debug, Default)]
enum Body {
    #[default]
    Head,
    Length(u64),
    ChunkLine,
    Chunk(u64),
    Trailer,
    Close,
}

/// A message whose body is not whole.
#[derive(Clone, Debug, Default)]
struct Message {
    info: String,
    facts: Vec<(&'static str, String)>,
    status: Option<u64>,
    content_type: String,
    head: Vec<u8>,
    body: Vec<u8>,
    origin: Provenance,
    body_origin: Provenance,
}

impl Http {
    /// Memory held, in bytes: the open messages.
    pub(super) fn weight(&self) -> usize {
        self.sides.iter().fold(0usize, |n, side| {
            let message = side.message.as_ref();
            let open = message.map_or(0, |m| m.body.len().saturating_add(m.body_origin.weight()));
            n.saturating_add(side.line.len()).saturating_add(open)
        })
    }

    pub(super) fn gap(&mut self, dir: Dir, len: u64) {
        let [a, b] = &mut self.sides;
        let side = if dir == Dir::AToB { a } else { b };
        match &mut side.state {
            Body::Length(left) | Body::Chunk(left) if *left > len => *left = left.saturating_sub(len),
            Body::Close => {}
            _ => *side = Side { searching: true, ..Side::default() },
        }
    }

    pub(super) fn data(&mut self, dir: Dir, at: At, bytes: &[u8], segments: &Segments, out: &mut Out) {
        let [a, b] = &mut self.sides;
        let side = if dir == Dir::AToB { a } else { b };
        let mut rest = bytes;
        if side.searching {
            let begins = bytes.iter().position(|b| *b == b'\n').and_then(|end| {
                let line = std::str::from_utf8(bytes.get(..end)?).ok()?;
                Start::of(line.trim_end_matches('\r'))
            });
            if begins.is_none() {
                return;
            }
            side.searching = false;
        }
        while !rest.is_empty() {
            let offset = at.offset.saturating_add(bytes.len().saturating_sub(rest.len()) as u64);
            let used = side.step(offset, rest, segments, &mut self.calls, out);
            rest = rest.get(used.max(1)..).unwrap_or_default();
        }
        if side.message.is_some() || !side.line.is_empty() {
            out.pending.get_or_insert("HTTP");
        }
    }
}

impl Side {
    /// Takes what belongs together from the front of `bytes`; returns how much that was.
    fn step(
        &mut self,
        offset: u64,
        bytes: &[u8],
        segments: &Segments,
        calls: &mut VecDeque<String>,
        out: &mut Out,
    ) -> usize {
        match self.state {
            Body::Head => self.head(offset, bytes, segments, calls, out),
            Body::Length(left) | Body::Chunk(left) => {
                let now = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.keep(offset, bytes.get(..now).unwrap_or_default(), segments, out);
                let left = left.saturating_sub(now as u64);
                let chunked = matches!(self.state, Body::Chunk(_));
                match (left, chunked) {
                    (0, false) => self.whole(out),
                    (0, true) => self.state = Body::ChunkLine,
                    (left, true) => self.state = Body::Chunk(left),
                    (left, false) => self.state = Body::Length(left),
                }
                now
            }
            Body::ChunkLine | Body::Trailer => {
                let end = bytes.iter().position(|b| *b == b'\n');
                let now = end.map_or(bytes.len(), |end| end.saturating_add(1));
                self.line.extend_from_slice(bytes.get(..now).unwrap_or_default());
                if end.is_some() || self.line.len() > MAX_HEAD {
                    self.line_end(out);
                }
                now
            }
            Body::Close => {
                self.keep(offset, bytes, segments, out);
                bytes.len()
            }
        }
    }

    fn line_end(&mut self, out: &mut Out) {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii();
        match self.state {
            Body::Trailer if line.is_empty() => self.whole(out),
            Body::Trailer => {}
            // The line end behind a chunk's data.
            _ if line.is_empty() => {}
            _ => match chunk_size(line) {
                Ok(0) => self.state = Body::Trailer,
                Ok(size) => self.state = Body::Chunk(size),
                Err(error) => {
                    out.remark(format_args!("[{error}]"));
                    *self = Self { searching: true, ..Self::default() };
                }
            },
        }
    }

    fn head(
        &mut self,
        offset: u64,
        bytes: &[u8],
        segments: &Segments,
        calls: &mut VecDeque<String>,
        out: &mut Out,
    ) -> usize {
        let before = self.line.len();
        self.line.extend_from_slice(bytes);
        let Some(length) = head_length(&self.line) else {
            if self.line.len() > MAX_HEAD {
                *self = Self { searching: true, ..Self::default() };
            }
            return bytes.len();
        };
        let used = length.saturating_sub(before);
        let mut line = std::mem::take(&mut self.line);
        line.truncate(length);
        let Ok(head) = Head::decode(&mut Cursor::new(&line)) else {
            out.remark(format_args!("[not HTTP]"));
            *self = Self { searching: true, ..Self::default() };
            return bytes.len();
        };
        let mut message = Message::default();
        let framing = match &head.start {
            Start::Request { method, target, version } => {
                message.info = format!("{} {} {} ", Clean(method), Clean(target), Clean(version));
                message.facts =
                    vec![("http.method", (*method).to_owned()), ("http.uri", (*target).to_owned())];
                if calls.len() < MAX_CALLS {
                    calls.push_back((*method).to_owned());
                }
                head.request_body()
            }
            Start::Status { version, code, reason } => {
                message.info = format!("{} {code} {} ", Clean(version), Clean(reason));
                message.status = Some(u64::from(*code));
                let method = if *code >= 200 { calls.pop_front() } else { None };
                head.response_body(method.as_deref().unwrap_or("GET"))
            }
        };
        let kind = head.field("Content-Type").unwrap_or_default();
        message.content_type = kind.split(';').next().unwrap_or_default().trim().to_owned();
        if !message.content_type.is_empty() {
            message.facts.push(("http.type", message.content_type.clone()));
        }
        if out.keep {
            let start = offset.saturating_sub(before as u64);
            message.origin = segments.find(start, length as u64);
            message.head.clone_from(&line);
        }
        self.message = Some(message);
        match framing {
            Ok(Framing::Length(n)) => self.state = Body::Length(n),
            Ok(Framing::Chunked) => self.state = Body::ChunkLine,
            Ok(Framing::None) => self.whole(out),
            Ok(Framing::Close) | Err(_) => {
                self.whole(out);
                self.state = Body::Close;
            }
        }
        used
    }

    fn keep(&mut self, offset: u64, bytes: &[u8], segments: &Segments, out: &Out) {
        if let Some(message) = &mut self.message
            && out.keep
            && message.body.len().saturating_add(bytes.len()) <= MAX_BODY
        {
            message.body.extend_from_slice(bytes);
            message.body_origin.extend(&segments.find(offset, bytes.len() as u64));
        }
    }

    fn whole(&mut self, out: &mut Out) {
        self.state = Body::Head;
        let Some(message) = self.message.take() else { return };
        if message.content_type.is_empty() {
            out.pdu(Speaks::Http, format_args!("{}", message.info));
        } else {
            out.pdu(Speaks::Http, format_args!("{} ({})", message.info, Clean(&message.content_type)));
        }
        for (name, value) in &message.facts {
            out.facts.text(name, value);
        }
        if let Some(status) = message.status {
            out.facts.number("http.status", status);
        }
        if out.show {
            out.parts.push(tree::http(&message.head, message.origin));
            if !message.body.is_empty() {
                out.parts.extend(tree::body(&message.body, message.body_origin, &message.content_type));
            }
        }
    }
}
