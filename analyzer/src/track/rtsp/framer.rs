//! One direction of an RTSP connection: messages and interleaved blocks, and finding them again behind a hole
//! (RFC 2326 §4, §10.12).

use wire::http::{self, Head, Start};
use wire::{Cursor, Error};

use crate::flow::At;

/// Kept at most of a message body; what is beyond is passed over.
const MAX_BODY: usize = 256 * 1024;
/// Longest start line.
const MAX_LINE: usize = 16 * 1024;
/// Bytes taken at a time to look for a place to go on at.
const LOOK: usize = 4096;
/// Bytes kept of which it is not known yet whether one can go on there.
const MAX_SCAN: usize = 256 * 1024;
/// Blocks that have to follow each other to be believed behind a hole.
const CHAIN: usize = 3;
/// Head of an interleaved block: `$`, channel, length.
const BLOCK: usize = 4;

/// Is told what one direction carries.
pub(crate) trait Sink {
    /// A request or a response with its body as far as it is kept.
    fn message(&mut self, at: At, head: &Head<'_>, body: &[u8]);
    /// An interleaved block.
    fn block(&mut self, at: At, channel: u8, payload: &[u8]);
    /// True where the channel was agreed on; also where none is known yet.
    fn expects(&self, channel: u8) -> bool;
    /// Bytes that are neither; reading goes on where something makes sense again.
    fn trouble(&mut self, at: At, error: Error);
}

/// Where in the stream the reader is.
#[derive(Debug)]
enum State {
    /// At the beginning of a message or a block, of which this much is here.
    Start(Vec<u8>),
    /// Inside a block of which bytes are missing: this many to pass over.
    Skip(u64),
    /// Inside a message body.
    Body { at: At, head: Vec<u8>, body: Vec<u8>, left: u64 },
    /// Anywhere.
    Lost(Vec<u8>),
}

/// What was found of the direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Messages.
    pub(crate) messages: u64,
    /// Interleaved blocks.
    pub(crate) blocks: u64,
    /// Bytes that belong to neither, because the capture lacks a part.
    pub(crate) unread: u64,
}

/// Reads one direction.
#[derive(Debug)]
pub(crate) struct Framer {
    state: State,
    pub(crate) seen: Seen,
}

impl Framer {
    /// At the first byte of a stream, or anywhere in it.
    pub(crate) fn new(from_start: bool) -> Self {
        let state = if from_start { State::Start(Vec::new()) } else { State::Lost(Vec::new()) };
        Self { state, seen: Seen::default() }
    }

    /// Takes the next bytes.
    pub(crate) fn data(&mut self, at: At, bytes: &[u8], sink: &mut impl Sink) {
        let mut rest = bytes;
        // Bytes that were kept and have to be read again before the rest, with their place in the stream.
        let mut kept: Vec<(u64, Vec<u8>)> = Vec::new();
        loop {
            let here = at.further(bytes.len().saturating_sub(rest.len()));
            if let Some((mut offset, again)) = kept.pop() {
                let mut left = again.as_slice();
                while !left.is_empty() {
                    let (used, found) = self.step(At { offset, ..here }, left, sink);
                    let used = used.max(1);
                    left = left.get(used..).unwrap_or_default();
                    offset = offset.saturating_add(used as u64);
                    if let Some(found) = found {
                        kept.extend((!left.is_empty()).then(|| (offset, left.to_vec())));
                        kept.push((offset.saturating_sub(found.len() as u64), found));
                        break;
                    }
                }
            } else if !rest.is_empty() {
                let (used, found) = self.step(here, rest, sink);
                // Every step takes at least one byte.
                let used = used.max(1);
                rest = rest.get(used..).unwrap_or_default();
                let offset = here.offset.saturating_add(used as u64);
                kept.extend(found.map(|found| (offset.saturating_sub(found.len() as u64), found)));
            } else {
                return;
            }
        }
    }

    /// Passes over bytes that the capture lacks.
    pub(crate) fn gap(&mut self, len: u64) {
        match &mut self.state {
            State::Start(here) if here.is_empty() => self.state = State::Lost(Vec::new()),
            State::Start(here) => {
                let missing = block_length(here).map(|length| length.saturating_sub(here.len()) as u64);
                self.unread(here_len(&self.state));
                self.state = match missing.and_then(|missing| missing.checked_sub(len)) {
                    Some(0) => State::Start(Vec::new()),
                    Some(left) => State::Skip(left),
                    None => State::Lost(Vec::new()),
                };
            }
            State::Skip(left) | State::Body { left, .. } => match left.checked_sub(len) {
                Some(0) => self.state = State::Start(Vec::new()),
                Some(left) => self.state = State::Skip(left),
                None => self.state = State::Lost(Vec::new()),
            },
            State::Lost(here) => {
                let kept = here.len() as u64;
                here.clear();
                self.unread(kept);
            }
        }
    }

    fn unread(&mut self, bytes: u64) {
        self.seen.unread = self.seen.unread.saturating_add(bytes);
    }

    /// No more bytes come: a chain of blocks that the end cut short is believed.
    pub(crate) fn close(&mut self, at: At, sink: &mut impl Sink) {
        if let State::Lost(here) = &mut self.state {
            let here = std::mem::take(here);
            match find(&here, sink, true) {
                Found::At(place) => {
                    self.unread(place as u64);
                    self.state = State::Start(Vec::new());
                    self.data(at, here.get(place..).unwrap_or_default(), sink);
                }
                Found::Nothing(_) => self.unread(here.len() as u64),
            }
        }
    }

    /// Reads on; returns how many bytes it took, and bytes kept before that have to be read first.
    fn step(&mut self, at: At, bytes: &[u8], sink: &mut impl Sink) -> (usize, Option<Vec<u8>>) {
        match &mut self.state {
            State::Skip(left) => {
                let used = within(*left, bytes);
                *left = left.saturating_sub(used as u64);
                let done = *left == 0;
                self.unread(used as u64);
                if done {
                    self.state = State::Start(Vec::new());
                }
                (used, None)
            }
            State::Body { at, head, body, left } => {
                let used = within(*left, bytes);
                let room = MAX_BODY.saturating_sub(body.len()).min(used);
                body.extend_from_slice(bytes.get(..room).unwrap_or_default());
                *left = left.saturating_sub(used as u64);
                if *left == 0 {
                    let (at, head, body) = (*at, std::mem::take(head), std::mem::take(body));
                    self.state = State::Start(Vec::new());
                    self.seen.messages = self.seen.messages.saturating_add(1);
                    if let Ok(head) = Head::decode(&mut Cursor::new(&head)) {
                        sink.message(at, &head, &body);
                    }
                }
                (used, None)
            }
            State::Lost(here) => {
                let room = LOOK.min(bytes.len());
                here.extend_from_slice(bytes.get(..room).unwrap_or_default());
                let full = here.len() >= MAX_SCAN;
                match find(here, sink, full) {
                    Found::At(place) => {
                        let found = here.split_off(place);
                        self.unread(place as u64);
                        self.state = State::Start(Vec::new());
                        (room, Some(found))
                    }
                    Found::Nothing(upto) => {
                        here.drain(..upto.min(here.len()));
                        self.unread(upto as u64);
                        (room, None)
                    }
                }
            }
            State::Start(here) if here.is_empty() => (self.start(at, bytes, sink), None),
            State::Start(here) => {
                // Only what is missing of the unit is taken over, so that most bytes are never copied.
                let wanted = match block_length(here) {
                    Some(length) => length.saturating_sub(here.len()),
                    None if here.first() == Some(&b'$') => BLOCK.saturating_sub(here.len()),
                    None => {
                        let feed = bytes.iter().position(|b| *b == b'\n');
                        feed.map_or(bytes.len(), |feed| feed.saturating_add(1))
                    }
                };
                let used = wanted.clamp(1, bytes.len());
                let first_line = here.contains(&b'\n');
                here.extend_from_slice(bytes.get(..used).unwrap_or_default());
                // Most of what is kept waits for more; only a unit that may be whole is looked at.
                let waits = match block_length(here) {
                    Some(length) => here.len() < length,
                    None => {
                        let ended = here.ends_with(b"\n\n") || here.ends_with(b"\n\r\n");
                        first_line && !ended && here.len() <= http::MAX_HEAD
                    }
                };
                if waits {
                    return (used, None);
                }
                let unit = std::mem::take(here);
                // Its place is where it begins, its time that of the packet that completed it.
                let end = at.offset.saturating_add(used as u64);
                let began = At { offset: end.saturating_sub(unit.len() as u64), ..at };
                let taken = self.start(began, &unit, sink);
                // Mostly a whole unit was read, or all of it is kept again.
                let left = unit.get(taken.max(1)..).filter(|left| !left.is_empty());
                (used, left.map(<[u8]>::to_vec))
            }
        }
    }

    /// At the beginning of a unit: reads it where it is whole, keeps it where it is not.
    fn start(&mut self, at: At, bytes: &[u8], sink: &mut impl Sink) -> usize {
        match bytes {
            [b'\r' | b'\n', ..] => 1,
            [b'$', ..] => {
                let whole = block_length(bytes).filter(|length| *length <= bytes.len());
                match (whole, bytes) {
                    (Some(length), [_, channel, ..]) => {
                        self.seen.blocks = self.seen.blocks.saturating_add(1);
                        sink.block(at, *channel, bytes.get(BLOCK..length).unwrap_or_default());
                        length
                    }
                    _ => self.keep(bytes),
                }
            }
            [first, ..] if first.is_ascii_uppercase() => self.text(at, bytes, sink),
            _ => self.lose(at, bytes, sink, "a message or a $ block"),
        }
    }

    fn text(&mut self, at: At, bytes: &[u8], sink: &mut impl Sink) -> usize {
        let line = bytes.iter().take(MAX_LINE).position(|b| *b == b'\n');
        match line {
            None if bytes.len() >= MAX_LINE => return self.lose(at, bytes, sink, "a line that ends"),
            None => return self.keep(bytes),
            Some(end) if !is_start(bytes.get(..end).unwrap_or_default()) => {
                return self.lose(at, bytes, sink, "a request line or a status line");
            }
            Some(_) => {}
        }
        let Some(length) = http::head_length(bytes) else {
            if bytes.len() > http::MAX_HEAD {
                return self.lose(at, bytes, sink, "a head that ends");
            }
            return self.keep(bytes);
        };
        let raw = bytes.get(..length).unwrap_or_default();
        let head = match Head::decode(&mut Cursor::new(raw)) {
            Ok(head) => head,
            Err(error) => {
                sink.trouble(at, error);
                return length;
            }
        };
        // A length that is no number is none: what follows is a message again or is passed over.
        match head.content_length() {
            Ok(Some(left)) if left > 0 => {
                let (head, body) = (raw.to_vec(), Vec::new());
                self.state = State::Body { at, head, body, left };
            }
            Ok(_) => {
                self.seen.messages = self.seen.messages.saturating_add(1);
                sink.message(at, &head, &[]);
            }
            Err(error) => {
                self.seen.messages = self.seen.messages.saturating_add(1);
                sink.message(at, &head, &[]);
                sink.trouble(at, error);
            }
        }
        length
    }

    fn keep(&mut self, bytes: &[u8]) -> usize {
        self.state = State::Start(bytes.to_vec());
        bytes.len()
    }

    fn lose(&mut self, at: At, bytes: &[u8], sink: &mut impl Sink, want: &'static str) -> usize {
        let got = bytes.first().copied().unwrap_or_default();
        sink.trouble(at, Error::value(at.offset, "start of a message", want, u64::from(got)));
        self.unread(1);
        self.state = State::Lost(Vec::new());
        1
    }
}

fn here_len(state: &State) -> u64 {
    match state {
        State::Start(here) | State::Lost(here) => here.len() as u64,
        _ => 0,
    }
}

fn within(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}

/// Length of the block at the beginning, its head included.
fn block_length(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'$', _, high, low, ..] => {
            Some(usize::from(u16::from_be_bytes([*high, *low])).saturating_add(BLOCK))
        }
        _ => None,
    }
}

fn is_start(line: &[u8]) -> bool {
    let text = std::str::from_utf8(line).ok().map(|line| line.trim_end_matches('\r'));
    text.and_then(Start::of).is_some_and(|start| start.version().starts_with("RTSP/"))
}

/// Where reading can go on.
enum Found {
    /// Here.
    At(usize),
    /// Nowhere yet; bytes up to here need not be looked at again.
    Nothing(usize),
}

/// Looks for a message, or for blocks that follow each other.
fn find(bytes: &[u8], sink: &impl Sink, at_end: bool) -> Found {
    let mut from = 0usize;
    while let Some(rest) = bytes.get(from..).filter(|rest| !rest.is_empty()) {
        let candidate = rest.iter().position(|b| *b == b'$' || b.is_ascii_uppercase());
        let Some(place) = candidate.map(|n| from.saturating_add(n)) else { break };
        let here = bytes.get(place..).unwrap_or_default();
        match plausible(here, sink, at_end) {
            Some(true) => return Found::At(place),
            Some(false) => from = place.saturating_add(1),
            None => return Found::Nothing(place),
        }
    }
    Found::Nothing(bytes.len())
}

/// Whether a message or a chain of blocks begins here; none where more bytes are needed to tell.
fn plausible(bytes: &[u8], sink: &impl Sink, at_end: bool) -> Option<bool> {
    if bytes.first() != Some(&b'$') {
        return message_begins(bytes, at_end);
    }
    let mut rest = bytes;
    for n in 0..CHAIN {
        match rest {
            [] => return if at_end { Some(n > 0) } else { None },
            [b'$', channel, high, low, payload @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                // RTP or RTCP of version 2, with room for its shortest header.
                let version = payload.first().is_none_or(|b| b >> 6 == 2);
                if !sink.expects(*channel) || length < 8 || !version {
                    return Some(false);
                }
                match payload.get(length..) {
                    Some(next) => rest = next,
                    None => return if at_end { Some(n > 0) } else { None },
                }
            }
            [b'$', ..] => return if at_end { Some(n > 0) } else { None },
            // A message may stand between blocks.
            _ if n > 0 => return message_begins(rest, at_end),
            _ => return Some(false),
        }
    }
    Some(true)
}

fn message_begins(bytes: &[u8], at_end: bool) -> Option<bool> {
    // A method or RTSP/ leads a line; of other text the first bytes decide.
    let word = bytes
        .iter()
        .take(32)
        .position(|b| !(b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'/' | b'.')));
    match word {
        Some(n) if bytes.get(n) == Some(&b' ') && n >= 4 => {}
        Some(_) => return Some(false),
        None if bytes.len() >= 32 || at_end => return Some(false),
        None => return None,
    }
    match bytes.iter().take(MAX_LINE).position(|b| *b == b'\n') {
        Some(end) => Some(is_start(bytes.get(..end).unwrap_or_default())),
        None if bytes.len() >= MAX_LINE || at_end => Some(false),
        // Binary data has no lines; only text is waited for.
        None if bytes.iter().any(|b| !b.is_ascii_graphic() && !matches!(b, b' ' | b'\r')) => Some(false),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    #[derive(Default)]
    struct Log {
        lines: Vec<String>,
        known: Vec<u8>,
    }

    impl Sink for Log {
        fn message(&mut self, _: At, head: &Head<'_>, body: &[u8]) {
            let name = match head.start {
                Start::Request { method, .. } => method.to_owned(),
                Start::Status { code, .. } => code.to_string(),
            };
            self.lines.push(format!("{name} {}", body.len()));
        }

        fn block(&mut self, _: At, channel: u8, payload: &[u8]) {
            self.lines.push(format!("${channel} {}", payload.len()));
        }

        fn expects(&self, channel: u8) -> bool {
            self.known.is_empty() || self.known.contains(&channel)
        }

        fn trouble(&mut self, at: At, error: Error) {
            self.lines.push(format!("trouble at {}: {}", at.offset, error.field));
        }
    }

    fn at(offset: usize) -> At {
        At { time_ns: 0, frame: 1, offset: offset as u64, ready_ns: 0 }
    }

    fn block(channel: u8, length: u16) -> Vec<u8> {
        let mut block = vec![b'$', channel];
        block.extend(length.to_be_bytes());
        block.push(0x80);
        block.resize(4 + usize::from(length), b'A');
        block
    }

    fn stream() -> Vec<u8> {
        let mut bytes = b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nContent-Length: 5\r\n\r\nv=0\r\n".to_vec();
        bytes.extend(b"RTSP/1.0 200 OK\r\nCSeq: 4\r\n\r\n");
        bytes.extend([block(0, 1400), block(1, 28), block(0, 900)].concat());
        bytes.extend(b"\r\nOPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n");
        bytes.extend(block(7, 40));
        bytes
    }

    const WHOLE: [&str; 7] = ["200 5", "200 0", "$0 1400", "$1 28", "$0 900", "OPTIONS 0", "$7 40"];

    #[test]
    fn units_are_the_same_however_the_stream_is_cut() {
        let bytes = stream();
        for size in (1..200).chain([1000, 5000]) {
            let (mut framer, mut log) = (Framer::new(true), Log::default());
            for (n, piece) in bytes.chunks(size).enumerate() {
                framer.data(at(n * size), piece, &mut log);
            }
            assert_eq!(log.lines, WHOLE, "pieces of {size}");
        }
    }

    #[test]
    fn a_hole_costs_what_it_touches_and_no_more() {
        let mut bytes = Vec::new();
        for n in 0..40u16 {
            bytes.extend(block(u8::try_from(n % 3).unwrap() & 2, 500 + n));
        }
        for (from, len) in [(1000, 1), (1300, 1460), (504, 504), (2000, 9000), (0, 3)] {
            let (mut framer, mut log) =
                (Framer::new(true), Log { known: vec![0, 1, 2, 3], ..Log::default() });
            framer.data(at(0), &bytes[..from], &mut log);
            framer.gap(len as u64);
            for piece in bytes[from + len..].chunks(777) {
                framer.data(at(0), piece, &mut log);
            }
            framer.close(at(0), &mut log);
            let touched = len / 500 + 2;
            assert!(log.lines.len() + touched >= 40, "{from} {len}: {} {:?}", log.lines.len(), log.lines);
            assert!(log.lines.iter().all(|line| line.starts_with('$')), "{:?}", log.lines);
        }
    }

    #[test]
    fn garbage_between_messages_is_passed_over() {
        let mut bytes = b"OPTIONS * RTSP/1.0\r\n\r\n".to_vec();
        bytes.extend([0u8; 300]);
        bytes.extend(
            b"DESCRIBE rtsp://h/a RTSP/1.0\r\n\r\nGET / HTTP/1.1\r\n\r\nPLAY rtsp://h/a RTSP/1.0\r\n\r\n",
        );
        let (mut framer, mut log) = (Framer::new(true), Log::default());
        framer.data(at(0), &bytes, &mut log);
        let told: Vec<&str> = log.lines.iter().map(|l| l.split(" at").next().unwrap()).collect();
        assert_eq!(told, ["OPTIONS 0", "trouble", "DESCRIBE 0", "trouble", "PLAY 0"]);
        assert!(framer.seen.unread >= 300);
    }
}
