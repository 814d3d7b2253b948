//! Chunks to messages, for a reader that was not asked: nothing is refused that could still make sense, holes
//! are skipped, and after one the stream is found again where several headers in a row agree.

use std::collections::VecDeque;

use wire::rtmp::chunk::{Basic, DEFAULT_CHUNK_SIZE, MAX_CHUNK_SIZE, MessageHeader};
use wire::rtmp::message::kind;
use wire::{Cursor, Error, Problem};

use super::chunk_stream::Chunked;
use super::known::{Known, UNLIMITED};
use super::message::{Message, Sink, Trouble, Unread, What, known_type};
use super::overlay::Said;
use super::resync::{Found, Scanner};
use super::work::Work;
use crate::flow::At;

/// Longest header: basic 3, message 11, extended timestamp 4.
const MAX_HEADER: usize = 18;
/// Chunk streams followed in one direction; real peers use about five.
const MAX_STREAMS: usize = 512;
/// How often a direction may be found again before it is given up.
const MAX_RESYNCS: u32 = 1000;
/// Headers that have to make sense after a hole before an error counts as the sender's.
const TRUST: u32 = 4;

/// Puts the messages of one direction together.
#[derive(Clone, Debug)]
pub(super) struct Assembler {
    /// What the chunks told.
    pub(super) known: Known,
    /// A message that changes the chunk size may lie in a hole.
    size_doubted: bool,
    pending: Vec<u8>,
    pending_at: At,
    /// The chunk whose payload comes next: index of its stream, bytes left.
    open: Option<(usize, u64)>,
    scanner: Option<Box<Scanner>>,
    /// Bytes that are to be read before any others: what a search gave back.
    again: VecDeque<(At, Vec<u8>)>,
    /// What the search may cost.
    pub(super) work: Work,
    /// Headers read since the last hole or error.
    trusted: u32,
    /// No byte is missing: what cannot be read is the sender's fault.
    intact: bool,
    /// What could not be read.
    pub(super) unread: Unread,
}

const NOWHERE: At = At { time_ns: 0, frame: 0, offset: 0, ready_ns: 0 };

impl Assembler {
    /// At the first chunk of a connection.
    pub(super) fn new() -> Self {
        Self {
            known: Known::default(),
            size_doubted: false,
            pending: Vec::new(),
            pending_at: NOWHERE,
            open: None,
            scanner: None,
            again: VecDeque::new(),
            work: Work::default(),
            trusted: TRUST,
            intact: true,
            unread: Unread::default(),
        }
    }

    /// Somewhere in a connection: chunk size, chunk streams and times are not known.
    pub(super) fn in_the_middle() -> Self {
        let mut this = Self { known: Known::nothing(), trusted: 0, intact: false, ..Self::new() };
        this.lose_sync();
        this
    }

    /// Memory held, in bytes.
    pub(super) fn weight(&self) -> usize {
        let scanner = self.scanner.as_ref().map_or(0, |scanner| scanner.weight());
        let streams = self.known.streams.capacity().saturating_mul(size_of::<Chunked>());
        let held = scanner.saturating_add(streams).saturating_add(self.pending.capacity());
        self.known.streams.iter().fold(held, |n, stream| n.saturating_add(stream.body.weight()))
    }

    /// Takes the next bytes of the stream.
    pub(super) fn data(&mut self, at: At, bytes: &[u8], sink: &mut impl Sink) {
        self.work.earn(bytes.len());
        self.read(at, bytes, sink);
        self.read_again(sink);
    }

    /// Reads what a search gave back. A search may begin anew in it and give back some of it once more.
    fn read_again(&mut self, sink: &mut impl Sink) {
        while let Some((at, bytes)) = self.again.pop_front() {
            self.read(at, &bytes, sink);
        }
    }

    fn read(&mut self, at: At, bytes: &[u8], sink: &mut impl Sink) {
        let mut rest = bytes;
        loop {
            if self.scanner.is_some() {
                let at = at.further(bytes.len().saturating_sub(rest.len()));
                return self.scan(at, rest, false);
            }
            let here = at.further(bytes.len().saturating_sub(rest.len()));
            if let Some((index, left)) = self.open {
                if rest.is_empty() {
                    return;
                }
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                let (now, later) = rest.split_at(take);
                rest = later;
                self.payload(index, left, now, here, sink);
            } else {
                let before = self.again.len();
                if !self.header(here, &mut rest, sink) {
                    return;
                }
                // What the header took too much comes first.
                if self.again.len() > before {
                    let here = at.further(bytes.len().saturating_sub(rest.len()));
                    self.again.insert(1, (here, rest.to_vec()));
                    return;
                }
            }
        }
    }

    /// Passes over bytes that the capture lacks.
    pub(super) fn gap(&mut self, at: At, len: u64, sink: &mut impl Sink) {
        self.trusted = 0;
        self.intact = false;
        sink.hole();
        if let Some(mut scanner) = self.scanner.take() {
            // No header can be confirmed across the hole. Where packets are cut short there is one hole after the
            // other, and a good header right behind a hole has to do.
            scanner.work = self.work;
            let well = scanner.begins_well(&self.known);
            self.work = scanner.work;
            let Some(length) = well else {
                self.unread.bytes = self.unread.bytes.saturating_add(scanner.discard());
                self.scanner = Some(scanner);
                return;
            };
            self.known.fits = self.known.fits.map(|fits| fits.max(length));
            scanner.drain(0, |at, bytes| self.again.push_back((at, bytes.to_vec())));
            self.read_again(sink);
            if let Some(scanner) = &mut self.scanner {
                self.unread.bytes = self.unread.bytes.saturating_add(scanner.discard());
                return;
            }
        }
        let mut len = len;
        while let Some((index, left)) = self.open {
            let skipped = left.min(len);
            len = len.saturating_sub(skipped);
            let Some(stream) = self.known.streams.get_mut(index) else { break };
            stream.body.lose(skipped);
            let rest = left.saturating_sub(skipped);
            if rest > 0 {
                self.open = Some((index, rest));
                return;
            }
            self.open = None;
            if stream.body.passed >= u64::from(stream.length) {
                self.finish(index, at, sink);
                break;
            }
            if len == 0 {
                return;
            }
            // The hole goes on into the next chunk of, most likely, the same message.
            let header = stream.continuation_header();
            if len < header {
                break;
            }
            len = len.saturating_sub(header);
            self.open_chunk(index);
            if len == 0 {
                return;
            }
        }
        if len > 0 || !self.pending.is_empty() {
            self.unread.bytes = self.unread.bytes.saturating_add(self.pending.len() as u64);
            self.pending.clear();
            self.lose_sync();
        }
    }

    /// The stream is over.
    pub(super) fn close(&mut self, sink: &mut impl Sink) {
        if self.scanner.is_some() {
            self.scan(NOWHERE, &[], true);
            self.read_again(sink);
            if let Some(scanner) = &mut self.scanner {
                self.unread.bytes = self.unread.bytes.saturating_add(scanner.discard());
            }
            return;
        }
        // Less than an extended timestamp behind a format 3 header: it is payload then.
        let pending = std::mem::take(&mut self.pending);
        let basic = pending.first().map_or(0, |first| Basic::size_of(*first));
        if let (Some(rest), Ok(header)) = (pending.get(basic..), Basic::decode(&mut Cursor::new(&pending)))
            && header.fmt == 3
            && let Some(index) = self.known.streams.iter().position(|s| s.csid == header.csid)
            && self.known.streams.get(index).is_some_and(|s| s.open)
        {
            self.open_chunk(index);
            let at = self.pending_at.further(basic);
            if let Some((index, left)) = self.open
                && left == rest.len() as u64
            {
                self.payload(index, left, rest, at, sink);
            }
        }
    }

    fn payload(&mut self, index: usize, left: u64, now: &[u8], at: At, sink: &mut impl Sink) {
        let Some(stream) = self.known.streams.get_mut(index) else { return };
        stream.body.push(stream.type_id, now);
        sink.payload(at, stream.csid, now);
        stream.wire_bytes = stream.wire_bytes.saturating_add(now.len() as u64);
        let left = left.saturating_sub(now.len() as u64);
        self.open = if left > 0 { Some((index, left)) } else { None };
        if left == 0 && stream.body.passed >= u64::from(stream.length) {
            self.finish(index, at, sink);
        }
    }

    /// Reads a header from `rest` if it is whole, with what is pending before it. False where more bytes are
    /// needed.
    fn header(&mut self, at: At, rest: &mut &[u8], sink: &mut impl Sink) -> bool {
        if self.pending.is_empty() {
            if rest.is_empty() {
                return false;
            }
            if rest.len() >= MAX_HEADER || self.missing(rest) == 0 {
                match self.decode(at, rest, sink) {
                    Ok(Some(used)) => *rest = rest.get(used..).unwrap_or_default(),
                    Ok(None) => self.scanner = Some(Box::new(Scanner::exact())),
                    Err(error) => self.desync(at, error, sink),
                }
                return true;
            }
            self.pending_at = at;
        }
        loop {
            let missing = self.missing(&self.pending);
            if missing == 0 {
                break;
            }
            if rest.is_empty() {
                return false;
            }
            let (now, later) = rest.split_at(missing.min(rest.len()));
            self.pending.extend_from_slice(now);
            *rest = later;
        }
        let pending = std::mem::take(&mut self.pending);
        let at = self.pending_at;
        match self.decode(at, &pending, sink) {
            Ok(Some(used)) if used < pending.len() => {
                // Bytes that could have been an extended timestamp were payload.
                let tail = pending.get(used..).unwrap_or_default();
                self.again.push_front((at.further(used), tail.to_vec()));
            }
            Ok(Some(_)) => {
                self.pending = pending;
                self.pending.clear();
            }
            Ok(None) => {
                self.scanner = Some(Box::new(Scanner::exact()));
                self.again.push_front((at, pending));
            }
            Err(error) => {
                self.desync(at, error, sink);
                self.again.push_front((at, pending));
            }
        }
        true
    }

    /// How many bytes the header that begins `bytes` lacks, as far as those bytes tell.
    fn missing(&self, bytes: &[u8]) -> usize {
        let Some(first) = bytes.first() else { return 1 };
        let basic = Basic::size_of(*first);
        if bytes.len() < basic {
            return basic.saturating_sub(bytes.len());
        }
        let fmt = first >> 6;
        let fixed = basic.saturating_add(MessageHeader::size_of(fmt));
        let extended = match bytes.get(basic..basic.saturating_add(3)) {
            _ if fmt == 3 => self.may_be_extended(bytes, basic),
            Some(time) => time == [0xff; 3],
            None => return fixed.saturating_sub(bytes.len()),
        };
        let whole = if extended { fixed.saturating_add(4) } else { fixed };
        whole.saturating_sub(bytes.len())
    }

    /// True where the bytes behind a format 3 header could still be a repeated extended timestamp.
    fn may_be_extended(&self, bytes: &[u8], basic: usize) -> bool {
        let Ok(header) = Basic::decode(&mut Cursor::new(bytes)) else { return false };
        let Some(stream) = self.known.streams.iter().find(|s| s.csid == header.csid) else { return false };
        let Some(field) = stream.extended else { return false };
        let here = bytes.get(basic..).unwrap_or_default();
        let here = here.get(..here.len().min(4)).unwrap_or_default();
        // A message of its own may carry its own time, which cannot be foreseen.
        !stream.open
            || field.to_be_bytes().starts_with(here)
            || stream.timestamp.to_be_bytes().starts_with(here)
    }

    /// Takes the header at the beginning of `bytes`; returns its length. None where the chunk size has to be found
    /// first.
    fn decode(&mut self, at: At, bytes: &[u8], sink: &mut impl Sink) -> Result<Option<usize>, Error> {
        let mut c = Cursor::based(bytes, at.offset);
        let basic = Basic::decode(&mut c)?;
        let mut header = MessageHeader::decode(&mut c, basic.fmt)?;
        let index = match self.known.streams.iter().position(|s| s.csid == basic.csid) {
            Some(index) => index,
            // What the capture lacks may have said what this header leaves out.
            None if basic.fmt > 1 && !self.intact => return Ok(None),
            None => self.first_chunk(at, &basic, &header, sink)?,
        };
        let latest = self.known.latest.unwrap_or(0);
        let Some(stream) = self.known.streams.get_mut(index) else { return Ok(None) };
        if basic.fmt == 3 && stream.interrupted {
            // How much is left of the message that the hole cut is not known.
            return Ok(None);
        }
        if basic.fmt == 3
            && let Some(field) = stream.extended
        {
            header.time = stream.repeated_time(c.peek(), field);
            if header.time.is_some() {
                wire::rtmp::chunk::extended_timestamp(&mut c)?;
            }
        }
        if header.type_id.is_some_and(|t| !known_type(t)) && !tolerable(&header) {
            return Err(unknown_type(at, &basic, &header));
        }
        let continues = stream.open && stream.continues(basic.fmt, &header);
        let length = header.length.unwrap_or(stream.length);
        let unsure = match self.known.fits {
            Some(fits) => length > fits.max(DEFAULT_CHUNK_SIZE),
            None => self.size_doubted && length > self.known.chunk_size,
        };
        if !continues && (unsure || stream.stale && basic.fmt > 1) {
            return Ok(None);
        }
        if stream.open && !continues {
            let got = u64::from(basic.fmt);
            let error = Error::value(at.offset, "fmt", "3 until the message is whole", got);
            if self.intact && !stream.interrupted {
                sink.trouble(Trouble { at, error, what: What::Interrupted });
                self.unread.damaged = self.unread.damaged.saturating_add(1);
            }
            stream.open = false;
        }
        if !continues {
            stream.begin(basic.fmt, &header, latest);
            stream.first = at;
            stream.wire_bytes = 0;
        }
        stream.wire_bytes = stream.wire_bytes.saturating_add(c.position() as u64);
        sink.chunk(at, &basic, bytes.get(..c.position()).unwrap_or_default(), continues);
        self.trusted = self.trusted.saturating_add(1);
        self.open_chunk(index);
        if self.known.streams.get(index).is_some_and(|s| s.length == 0) {
            self.open = None;
            self.finish(index, at, sink);
        }
        Ok(Some(c.position()))
    }

    /// A chunk stream that was not there before.
    fn first_chunk(
        &mut self,
        at: At,
        basic: &Basic,
        header: &MessageHeader,
        sink: &mut impl Sink,
    ) -> Result<usize, Error> {
        if basic.fmt != 0 {
            let error = Error::value(
                at.offset,
                "fmt",
                "0 on the first chunk of a chunk stream",
                u64::from(basic.fmt),
            );
            // Format 1 says everything but the message stream, and some clients begin so.
            if basic.fmt > 1 || header.type_id.is_none_or(|t| !known_type(t)) {
                return Err(error);
            }
            if self.intact && self.trusted >= TRUST {
                sink.trouble(Trouble { at, error, what: What::FirstChunk });
            }
        } else if header.type_id.is_none_or(|t| !known_type(t)) && !tolerable(header) {
            return Err(unknown_type(at, basic, header));
        }
        // The last byte of a message looks like the first one of a longer basic header once in 64 times.
        if !self.intact && self.trusted < TRUST && basic.size > 1 {
            return Err(Error::value(at.offset, "csid", "one that was used before", u64::from(basic.csid)));
        }
        if self.known.streams.len() >= MAX_STREAMS {
            let got = self.known.streams.len().saturating_add(1) as u64;
            let error = Error::too_large(at.offset, "chunk streams", MAX_STREAMS as u64, got);
            sink.trouble(Trouble { at, error: error.clone(), what: What::Bound });
            return Err(error);
        }
        self.known.streams.push(Chunked::new(basic.csid, at));
        Ok(self.known.streams.len().saturating_sub(1))
    }

    fn open_chunk(&mut self, index: usize) {
        let Some(stream) = self.known.streams.get_mut(index) else { return };
        let rest = u64::from(stream.length).saturating_sub(stream.body.passed);
        self.open = Some((index, rest.min(u64::from(self.known.chunk_size))));
    }

    fn finish(&mut self, index: usize, at: At, sink: &mut impl Sink) {
        let Some(stream) = self.known.streams.get_mut(index) else { return };
        stream.open = false;
        if stream.body.lost > 0 {
            self.unread.damaged = self.unread.damaged.saturating_add(1);
        }
        let message = Message {
            csid: stream.csid,
            timestamp: stream.timestamp,
            timed: stream.timed,
            type_id: stream.type_id,
            stream_id: stream.stream_id,
            length: stream.length,
            body: stream.body.kept(),
            lost: stream.body.lost,
            wire_bytes: stream.wire_bytes,
            first: stream.first,
            done_ns: at.ready_ns,
        };
        if matches!(message.type_id, kind::AUDIO | kind::VIDEO) && stream.based {
            self.known.latest = Some(message.timestamp);
        }
        sink.message(&message);
        let control = (message.type_id, message.body.first_chunk::<4>().map(|b| u32::from_be_bytes(*b)));
        let first = stream.first;
        stream.body.release();
        match control {
            (kind::SET_CHUNK_SIZE, Some(size)) if (1..=MAX_CHUNK_SIZE).contains(&size) => {
                self.known.chunk_size = size;
                self.size_doubted = false;
                self.known.fits = None;
            }
            (kind::SET_CHUNK_SIZE, Some(size)) => {
                let problem = Problem::Value { want: "1 to 0x7FFFFFFF", got: u64::from(size) };
                let error =
                    Error { at: first.offset, field: "chunk size", within: "Set Chunk Size", problem };
                sink.trouble(Trouble { at: first, error, what: What::ChunkSize });
            }
            (kind::ABORT, Some(csid)) => {
                if let Some(stream) = self.known.streams.iter_mut().find(|s| s.csid == csid) {
                    stream.open = false;
                    stream.body.begin(0);
                }
            }
            _ => {}
        }
    }

    fn desync(&mut self, at: At, error: Error, sink: &mut impl Sink) {
        if self.intact && self.trusted >= TRUST {
            sink.trouble(Trouble { at, error, what: What::Desync });
        }
        sink.hole();
        self.trusted = 0;
        self.lose_sync();
    }

    /// Takes over what a run found out about headers that leave it out.
    fn vouch(&mut self, said: &Said, at: At) {
        let index = self.known.streams.iter().position(|s| s.csid == said.csid);
        if index.is_none() && self.known.streams.len() < MAX_STREAMS {
            self.known.streams.push(Chunked::untimed(said.csid, at));
        }
        let index = index.unwrap_or(self.known.streams.len().saturating_sub(1));
        if let Some(stream) = self.known.streams.get_mut(index).filter(|s| s.csid == said.csid) {
            said.resume(stream);
        }
    }

    fn lose_sync(&mut self) {
        for stream in &mut self.known.streams {
            stream.interrupted |= stream.open;
            stream.stale = true;
        }
        self.open = None;
        self.size_doubted = true;
        self.unread.resyncs = self.unread.resyncs.saturating_add(1);
        self.scanner = Some(Box::default());
    }

    /// Looks for the next header that makes sense together with those behind it.
    fn scan(&mut self, at: At, bytes: &[u8], last: bool) {
        let Some(mut scanner) = self.scanner.take() else { return };
        if self.unread.resyncs > MAX_RESYNCS {
            self.unread.bytes = self.unread.bytes.saturating_add(bytes.len() as u64);
            self.scanner = Some(scanner);
            return;
        }
        self.unread.bytes = self.unread.bytes.saturating_add(scanner.push(at, bytes));
        self.work.spend(bytes.len() as u64);
        scanner.work = self.work;
        let found = scanner.find(&self.known, last);
        self.work = scanner.work;
        match found {
            None => self.scanner = Some(scanner),
            Some(Found { position, chunk_size, fits, split, brief }) => {
                if position > 0 {
                    self.known.streams.iter_mut().for_each(|s| s.interrupted |= s.open);
                }
                self.known.chunk_size = chunk_size;
                self.size_doubted &= !split;
                self.known.fits = (chunk_size == UNLIMITED).then_some(fits.max(self.known.fits.unwrap_or(0)));
                self.unread.bytes = self.unread.bytes.saturating_add(position as u64);
                let at = scanner.place(position);
                brief.iter().for_each(|said| self.vouch(said, at));
                // They come before what else is to be read again.
                let later = std::mem::take(&mut self.again);
                scanner.drain(position, |at, bytes| self.again.push_back((at, bytes.to_vec())));
                self.again.extend(later);
            }
        }
    }
}

/// A type that RTMP does not define is a message all the same where the rest of its header is modest; a header
/// of zeros is none.
fn tolerable(header: &MessageHeader) -> bool {
    let modest = header.length.is_some_and(|length| (1..=65_536).contains(&length));
    modest && header.type_id != Some(0) && header.stream_id.is_none_or(|id| id < 256)
}

fn unknown_type(at: At, basic: &Basic, header: &MessageHeader) -> Error {
    let at = at.offset.saturating_add(u64::from(basic.size)).saturating_add(6);
    Error::value(at, "message type id", "a type that RTMP defines", u64::from(header.type_id.unwrap_or(0)))
}
