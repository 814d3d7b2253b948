//! Finding the chunks again behind a hole.
//!
//! RTMP has no marker to look for. But a true header is followed, one chunk later, by another one, and what
//! they say agrees with what is known: chunk streams, types, message streams, times. Every header adds
//! evidence, counted in bits of chance: a run that random bytes would make once in 2^40 is taken for true.

use wire::Cursor;
use wire::rtmp::chunk::{Basic, MessageHeader};

use super::chunk_stream::Chunked;
use super::chunks::{Assembler, known_type};
use crate::flow::At;

/// Bytes kept while searching.
const WINDOW: usize = 1 << 20;
/// Evidence that is enough, in bits.
const ENOUGH: u32 = 40;
/// Evidence that is enough where the run ends exactly with the stream.
const ENOUGH_AT_END: u32 = 26;
/// Evidence that is enough right behind a hole, where only one position is tried.
const ENOUGH_BEHIND_HOLE: u32 = 20;
/// Headers that have to agree: one and the next two.
const CHAIN: u32 = 3;
/// Positions whose run goes on behind the bytes at hand.
const MAX_WAITING: usize = 256;
/// Chunk sizes in use by known programs, tried where the current one leads nowhere.
const CHUNK_SIZES: [u32; 7] = [128, 1024, 4096, 16_384, 60_000, 65_536, 131_072];
/// How far a time may lie from the latest one, in milliseconds.
const NEAR_MS: u32 = 60_000;
/// The longest message believed while searching.
const MAX_MESSAGE: u32 = 8 << 20;

/// Bytes behind a hole, and the search through them.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    bytes: Vec<u8>,
    /// Where each piece begins in `bytes`, and in the stream.
    pieces: Vec<(usize, At)>,
    /// Positions before this one were looked at.
    tested: usize,
    waiting: Vec<(usize, u32)>,
}

/// Where the stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Position in the scanner's bytes.
    pub(super) position: usize,
    /// The chunk size with which it makes sense.
    pub(super) chunk_size: u32,
}

/// What became of a run of headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// No header, or one that disagrees.
    Wrong,
    /// Agrees as far as the bytes go.
    Open,
    /// Agrees, with enough evidence.
    True,
}

impl Scanner {
    /// Takes more bytes; returns how many old ones had to go.
    pub(super) fn push(&mut self, at: At, bytes: &[u8]) -> u64 {
        if bytes.is_empty() {
            return 0;
        }
        self.pieces.push((self.bytes.len(), at));
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() <= WINDOW {
            return 0;
        }
        self.drop_front(self.bytes.len().saturating_sub(WINDOW / 2))
    }

    /// Forgets everything; returns how many bytes that was.
    pub(super) fn discard(&mut self) -> u64 {
        let len = self.bytes.len() as u64;
        *self = Self::default();
        len
    }

    fn drop_front(&mut self, count: usize) -> u64 {
        self.bytes.drain(..count.min(self.bytes.len()));
        self.tested = self.tested.saturating_sub(count);
        self.waiting.retain(|(position, _)| *position >= count);
        self.waiting.iter_mut().for_each(|(position, _)| *position = position.saturating_sub(count));
        let keep = self.pieces.partition_point(|(start, _)| *start <= count).saturating_sub(1);
        self.pieces.drain(..keep);
        for (start, at) in &mut self.pieces {
            let cut = count.saturating_sub(*start);
            at.offset = at.offset.saturating_add(cut as u64);
            *start = start.saturating_sub(count);
        }
        count as u64
    }

    /// Looks for the first position from which the headers agree. `last` says that no more bytes will come.
    pub(super) fn find(&mut self, assembler: &Assembler, last: bool) -> Option<Found> {
        let old = std::mem::take(&mut self.waiting);
        for (position, chunk_size) in old {
            match self.run(assembler, position, chunk_size, last) {
                Run::True => return Some(Found { position, chunk_size }),
                Run::Open => self.wait(position, chunk_size),
                Run::Wrong => {}
            }
        }
        let current = assembler.chunk_size;
        while self.tested < self.bytes.len() {
            let position = self.tested;
            // The longest header has to be there before a position is judged.
            if !last && self.bytes.len().saturating_sub(position) < 18 {
                break;
            }
            self.tested = self.tested.saturating_add(1);
            if self.begins(assembler, position).is_none() {
                continue;
            }
            let sizes = CHUNK_SIZES.iter().copied().filter(|size| *size != current);
            for chunk_size in std::iter::once(current).chain(sizes) {
                match self.run(assembler, position, chunk_size, last) {
                    Run::True => return Some(Found { position, chunk_size }),
                    Run::Open => self.wait(position, chunk_size),
                    Run::Wrong => {}
                }
            }
        }
        None
    }

    fn wait(&mut self, position: usize, chunk_size: u32) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.remove(0);
        }
        self.waiting.push((position, chunk_size));
    }

    /// Hands the bytes from `position` on to `to`, piece by piece.
    pub(super) fn drain(self, position: usize, mut to: impl FnMut(At, &[u8])) {
        let ends = self.pieces.iter().skip(1).map(|(start, _)| *start).chain([self.bytes.len()]);
        for ((start, at), end) in self.pieces.iter().zip(ends) {
            let from = position.max(*start);
            if let Some(bytes) = self.bytes.get(from..end)
                && !bytes.is_empty()
            {
                to(super::chunks::advance(*at, from.saturating_sub(*start)), bytes);
            }
        }
    }

    /// True where the first bytes are a header with much evidence, and nothing behind it speaks against it.
    pub(super) fn begins_well(&self, assembler: &Assembler) -> bool {
        self.begins(assembler, 0).is_some_and(|bits| bits >= ENOUGH_BEHIND_HOLE)
            && self.run(assembler, 0, assembler.chunk_size, false) != Run::Wrong
    }

    /// A cheap look at the first header: a run begins where a message begins. The evidence of that header.
    fn begins(&self, assembler: &Assembler, position: usize) -> Option<u32> {
        let mut c = Cursor::new(self.bytes.get(position..)?);
        let basic = Basic::decode(&mut c).ok()?;
        let header = MessageHeader::decode(&mut c, basic.fmt).ok()?;
        let bits = evidence(assembler, &Overlay::default(), &basic, &header).filter(|_| basic.fmt < 3)?;
        Some(bits.saturating_add(media(&header, c.peek())))
    }

    fn run(&self, assembler: &Assembler, position: usize, chunk_size: u32, last: bool) -> Run {
        let (mut at, mut bits, mut headers) = (position, 0u32, 0u32);
        let mut seen = Overlay::default();
        loop {
            if at == self.bytes.len() {
                let whole = seen.open.iter().all(|(_, _, left)| *left == 0);
                return if last && whole && bits >= ENOUGH_AT_END { Run::True } else { Run::Open };
            }
            if at > self.bytes.len() {
                return Run::Open;
            }
            let mut c = Cursor::new(self.bytes.get(at..).unwrap_or_default());
            let header = Basic::decode(&mut c).and_then(|b| Ok((b, MessageHeader::decode(&mut c, b.fmt)?)));
            let (basic, header) = match header {
                Ok(both) => both,
                Err(_) => return Run::Open,
            };
            let Some(more) = evidence(assembler, &seen, &basic, &header) else { return Run::Wrong };
            bits = bits.saturating_add(more).saturating_add(media(&header, c.peek()));
            headers = headers.saturating_add(1);
            if headers >= CHAIN && bits >= ENOUGH {
                return Run::True;
            }
            let known = assembler.streams().iter().find(|s| s.csid == basic.csid);
            let mut used = c.position();
            if basic.fmt == 3 {
                used = used.saturating_add(seen.repeated(&basic, known, c.peek()));
            }
            let Some(payload) = seen.chunk(&basic, &header, known, chunk_size) else { return Run::Wrong };
            at = at.saturating_add(used).saturating_add(payload);
        }
    }
}

/// What the run itself has said so far: length and rest of each chunk stream's message.
#[derive(Debug, Default)]
struct Overlay {
    open: Vec<(u32, u32, u32)>,
    extended: Vec<(u32, u32)>,
}

impl Overlay {
    fn rest(&self, csid: u32) -> Option<(u32, u32)> {
        self.open.iter().find(|(id, _, _)| *id == csid).map(|(_, length, rest)| (*length, *rest))
    }

    /// Bytes of a repeated extended timestamp behind a format 3 header.
    fn repeated(&self, basic: &Basic, known: Option<&Chunked>, bytes: &[u8]) -> usize {
        let own = self.extended.iter().find(|(id, _)| *id == basic.csid).map(|(_, time)| *time);
        let Some(field) = own.or_else(|| known.and_then(Chunked::extended_field)) else { return 0 };
        match bytes.first_chunk::<4>() {
            Some(four) if u32::from_be_bytes(*four) == field => 4,
            _ => 0,
        }
    }

    /// Payload bytes of this chunk; none where it cannot be known.
    fn chunk(
        &mut self,
        basic: &Basic,
        header: &MessageHeader,
        known: Option<&Chunked>,
        chunk_size: u32,
    ) -> Option<usize> {
        let (length, rest) = match (self.rest(basic.csid), header.length) {
            (_, Some(length)) => (length, length),
            (Some((length, 0)), None) => (length, length),
            (Some((length, rest)), None) if basic.fmt == 3 => (length, rest),
            // Inside a message only format 3 goes on.
            (Some(_), None) => return None,
            (None, None) => {
                let stream = known.filter(|s| basic.fmt == 2 || !s.open)?;
                (stream.length, stream.length)
            }
        };
        if header.extended
            && let Some(time) = header.time
        {
            self.extended.retain(|(id, _)| *id != basic.csid);
            self.extended.push((basic.csid, time));
        }
        let payload = rest.min(chunk_size);
        self.open.retain(|(id, _, _)| *id != basic.csid);
        self.open.push((basic.csid, length, rest.saturating_sub(payload)));
        usize::try_from(payload).ok()
    }
}

/// How many bits of chance a header agrees with; none where it disagrees.
fn evidence(assembler: &Assembler, seen: &Overlay, basic: &Basic, header: &MessageHeader) -> Option<u32> {
    let known = assembler.streams().iter().find(|s| s.csid == basic.csid);
    let in_run = seen.rest(basic.csid);
    // Inside a message of the run only its continuation may come on that chunk stream.
    if basic.fmt != 3 && in_run.is_some_and(|(_, rest)| rest > 0) {
        return None;
    }
    let mut bits: u32 = if known.is_some() { 5 } else { 0 };
    if let Some(length) = header.length {
        if length > MAX_MESSAGE {
            return None;
        }
        bits = bits.max(1);
    }
    if let Some(type_id) = header.type_id {
        if !known_type(type_id) {
            return None;
        }
        // Control messages have a fixed length, commands a modest one.
        let length = header.length.unwrap_or(0);
        let fits = match type_id {
            1 | 2 | 3 | 5 => length == 4,
            6 => length == 5,
            4 => (6..=64).contains(&length),
            8 | 9 | 22 => true,
            _ => (1..=262_144).contains(&length),
        };
        if !fits {
            return None;
        }
        let same = known.is_some_and(|s| s.type_id == type_id);
        bits = bits.saturating_add(if same { 8 } else { 3 });
    }
    match basic.fmt {
        0 => {
            let id = header.stream_id.unwrap_or(0);
            // Servers count message streams from 1, and most connections have one.
            if id > 1 && !assembler.streams().iter().any(|s| s.stream_id == id) {
                return None;
            }
            bits = bits.saturating_add(24);
            if let Some(latest) = assembler.latest() {
                // Servers send their own messages with time 0.
                if !header.time.is_some_and(|time| time == 0 || near(time, latest)) {
                    return None;
                }
                bits = bits.saturating_add(8);
            }
        }
        // The chunk stream's first header may lie in the hole; media alone is believed then.
        1 | 2 if known.is_none() && !matches!(header.type_id, Some(8 | 9)) => return None,
        1 | 2 => {
            if header.time.is_none_or(|delta| delta > NEAR_MS) {
                return None;
            }
            bits = bits.saturating_add(8);
        }
        _ => {
            known?;
            // A continuation of this run's own message is foreseen exactly.
            bits = if in_run.is_some() { 7 } else { 5 };
        }
    }
    Some(bits)
}

/// Evidence in the first two bytes of a media message: the ones nearly every picture or sound begins with.
fn media(header: &MessageHeader, body: &[u8]) -> u32 {
    match (header.type_id, body) {
        (Some(8), [0xaf, 0 | 1, ..]) | (Some(9), [0x17 | 0x27, 0..=2, ..]) => 12,
        (Some(8), [first, ..]) if first >> 4 == 9 => 3,
        (Some(9), [first, ..]) if first & 0x80 != 0 => 1,
        _ => 0,
    }
}

fn near(time: u32, latest: u32) -> bool {
    time.wrapping_sub(latest).cast_signed().unsigned_abs() <= NEAR_MS
}
