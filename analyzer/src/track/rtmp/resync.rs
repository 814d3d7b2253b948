//! Finding the chunks again behind a hole.
//!
//! RTMP has no marker to look for. But a true header is followed, one chunk later, by another one, and what
//! they say agrees with what is known: chunk streams, types, message streams, times. Every header adds
//! evidence, counted in bits of chance: a run that random bytes would make once in 2^48 is taken for true.

use wire::Cursor;
use wire::rtmp::chunk::{Basic, MessageHeader};

use super::chunks::Assembler;
use super::evidence::{Overlay, body, evidence};
use crate::flow::At;

/// Bytes kept while searching.
const WINDOW: usize = 1 << 20;
/// Evidence that is enough, in bits.
const ENOUGH: u32 = 48;
/// Evidence that is enough where the run ends exactly with the stream.
const ENOUGH_AT_END: u32 = 26;
/// Evidence in one header that is enough right behind a hole, where only one position is tried, and for a search of
/// its chunk size.
const ENOUGH_ALONE: u32 = 20;
/// Headers that have to agree: one and the next two.
const CHAIN: u32 = 3;
/// Runs that go on behind the bytes at hand.
const MAX_WAITING: usize = 512;
/// Chunk sizes in use by known programs, tried before others are looked for.
const CHUNK_SIZES: [u32; 7] = [128, 1024, 4096, 16_384, 60_000, 65_536, 131_072];
/// A chunk size larger than any message: what a run shows in which no message is longer than a chunk.
pub(super) const UNLIMITED: u32 = u32::MAX;
/// Stands for a chunk size that is to be looked for.
const ANY: u32 = 0;

/// Bytes behind a hole, and the search through them.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanner {
    bytes: Vec<u8>,
    /// Where each piece begins in `bytes`, and in the stream.
    pieces: Vec<(usize, At)>,
    /// Positions before this one were looked at.
    tested: usize,
    /// Position and chunk size of runs that may still turn out true.
    waiting: Vec<(usize, u32)>,
}

/// Where the stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Position in the scanner's bytes.
    pub(super) position: usize,
    /// The chunk size with which it makes sense; [`UNLIMITED`] where no message was longer than a chunk.
    pub(super) chunk_size: u32,
    /// The longest message that came in one chunk.
    pub(super) fits: u32,
}

/// What became of a run of headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// No header, or one that disagrees.
    Wrong,
    /// Agrees as far as the bytes go.
    Open,
    /// Agrees, with enough evidence. `fits` is the longest message in one chunk; `split` says that one came in
    /// several.
    True { fits: u32, split: bool },
}

impl Scanner {
    /// Memory held, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len().saturating_add(self.pieces.len().saturating_mul(size_of::<(usize, At)>()))
    }

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
            if let Some(found) = self.attempt(assembler, position, chunk_size, last) {
                return Some(found);
            }
        }
        while self.tested < self.bytes.len() {
            let position = self.tested;
            // The longest header has to be there before a position is judged.
            if !last && self.bytes.len().saturating_sub(position) < 18 {
                break;
            }
            self.tested = self.tested.saturating_add(1);
            let Some(bits) = self.begins(assembler, position) else { continue };
            let current = assembler.known_size();
            let others = CHUNK_SIZES.iter().copied().filter(|size| Some(*size) != current);
            let any = (bits >= ENOUGH_ALONE).then_some(ANY);
            for chunk_size in current.into_iter().chain([UNLIMITED]).chain(others).chain(any) {
                if let Some(found) = self.attempt(assembler, position, chunk_size, last) {
                    return Some(found);
                }
            }
        }
        None
    }

    fn attempt(
        &mut self,
        assembler: &Assembler,
        position: usize,
        chunk_size: u32,
        last: bool,
    ) -> Option<Found> {
        if chunk_size == ANY {
            return self.search(assembler, position, last);
        }
        match self.run(assembler, position, chunk_size, last) {
            Run::True { fits, split } => {
                // Without a message in several chunks only a size that was known before is more than a lower bound.
                let sure = split || chunk_size == UNLIMITED || assembler.known_size() == Some(chunk_size);
                return sure.then_some(Found { position, chunk_size, fits });
            }
            Run::Open => self.wait(position, chunk_size),
            Run::Wrong => {}
        }
        None
    }

    /// Tries every chunk size that would put a continuation header into the first message.
    fn search(&mut self, assembler: &Assembler, position: usize, last: bool) -> Option<Found> {
        let mut c = Cursor::new(self.bytes.get(position..)?);
        let basic = Basic::decode(&mut c).ok().filter(|basic| basic.csid < 64)?;
        let header = MessageHeader::decode(&mut c, basic.fmt).ok()?;
        let length = usize::try_from(header.length?).ok()?;
        let rest = c.peek();
        if !last && rest.len() < length.saturating_add(64) {
            self.wait(position, ANY);
            return None;
        }
        let sign = 0xc0 | u8::try_from(basic.csid).ok()?;
        let mut open = false;
        for size in 1..length.min(rest.len()) {
            if rest.get(size) != Some(&sign) {
                continue;
            }
            let chunk_size = u32::try_from(size).ok()?;
            match self.run(assembler, position, chunk_size, last) {
                Run::True { fits, split: true } => return Some(Found { position, chunk_size, fits }),
                Run::Open => open = true,
                _ => {}
            }
        }
        if open && rest.len() < length.saturating_mul(2).saturating_add(4096) {
            self.wait(position, ANY);
        }
        None
    }

    fn wait(&mut self, position: usize, chunk_size: u32) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.remove(0);
        }
        self.waiting.push((position, chunk_size));
    }

    /// The chunk stream of the header at a position.
    pub(super) fn csid(&self, position: usize) -> Option<u32> {
        Basic::decode(&mut Cursor::new(self.bytes.get(position..)?)).ok().map(|basic| basic.csid)
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

    /// The length of the message whose header the first bytes are, if there is much evidence for it and nothing behind
    /// it speaks against it.
    pub(super) fn begins_well(&self, assembler: &Assembler) -> Option<u32> {
        self.begins(assembler, 0).filter(|bits| *bits >= ENOUGH_ALONE)?;
        let chunk_size = assembler.known_size().unwrap_or(UNLIMITED);
        if self.run(assembler, 0, chunk_size, false) == Run::Wrong {
            return None;
        }
        let mut c = Cursor::new(&self.bytes);
        let basic = Basic::decode(&mut c).ok()?;
        Some(MessageHeader::decode(&mut c, basic.fmt).ok()?.length.unwrap_or(0))
    }

    /// A cheap look at the first header: a run begins where a message begins. The evidence of that header.
    fn begins(&self, assembler: &Assembler, position: usize) -> Option<u32> {
        let (basic, bits) = self.first(assembler, position)?;
        // The last byte of a message may look like the first one of a longer basic header: the shorter one is meant.
        let unheard = basic.size > 1 && assembler.stream(basic.csid).is_none();
        let shorter = || {
            (1..basic.size).any(|skip| {
                let there = self.first(assembler, position.saturating_add(usize::from(skip)));
                there.is_some_and(|(other, more)| other.fmt == basic.fmt && more >= bits)
            })
        };
        (!unheard || !shorter()).then_some(bits)
    }

    fn first(&self, assembler: &Assembler, position: usize) -> Option<(Basic, u32)> {
        let mut c = Cursor::new(self.bytes.get(position..)?);
        let basic = Basic::decode(&mut c).ok()?;
        let header = MessageHeader::decode(&mut c, basic.fmt).ok()?;
        let (nothing, known) = (Overlay::default(), assembler.stream(basic.csid));
        if basic.fmt == 3 && known.is_none_or(|stream| stream.open) {
            return None;
        }
        let bits = evidence(assembler, &nothing, &basic, &header)?;
        let inside = body(&nothing.filled(&basic, &header, known), c.peek())?;
        // Nothing but the body speaks for a header that says nothing.
        (basic.fmt < 3 || inside >= 12).then(|| (basic, bits.saturating_add(inside)))
    }

    fn run(&self, assembler: &Assembler, position: usize, chunk_size: u32, last: bool) -> Run {
        let (mut at, mut bits, mut headers) = (position, 0u32, 0u32);
        let (mut fits, mut split) = (0, false);
        let mut seen = Overlay::default();
        loop {
            if at == self.bytes.len() {
                let enough = last && seen.is_whole() && bits >= ENOUGH_AT_END;
                return if enough { Run::True { fits, split } } else { Run::Open };
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
            let known = assembler.stream(basic.csid);
            let full = seen.filled(&basic, &header, known);
            let repeated = if basic.fmt == 3 { seen.repeated(&basic, known, c.peek()) } else { 0 };
            let behind = c.peek().get(repeated..).unwrap_or_default();
            let Some(inside) = body(&full, behind) else { return Run::Wrong };
            bits = bits.saturating_add(more).saturating_add(inside);
            headers = headers.saturating_add(1);
            split |= basic.fmt == 3 && seen.rest(basic.csid).is_some_and(|(_, rest)| rest > 0);
            if headers >= CHAIN && bits >= ENOUGH {
                return Run::True { fits, split };
            }
            let used = c.position().saturating_add(repeated);
            let Some(chunk) = seen.chunk(&basic, &header, known, chunk_size) else { return Run::Wrong };
            if chunk.length == chunk.payload {
                fits = fits.max(chunk.length);
            }
            let Ok(payload) = usize::try_from(chunk.payload) else { return Run::Wrong };
            at = at.saturating_add(used).saturating_add(payload);
        }
    }
}
