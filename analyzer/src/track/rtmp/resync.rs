//! Finding the chunks again behind a hole.
//!
//! RTMP has no marker to look for. But a true header is followed, one chunk later, by another one, and what
//! they say agrees with what is known: chunk streams, types, message streams, times. Every header adds
//! evidence, counted in bits of chance: a run that random bytes would make once in 2^48 is taken for true.

use wire::Cursor;
use wire::rtmp::chunk::{Basic, MessageHeader};

use super::evidence::evidence;
use super::known::{Known, UNLIMITED};
use super::likely::{Guess, body};
use super::overlay::{Overlay, Said};
use super::signs::{self, LOOK, Signs};
use super::walk::{CHUNK_SIZES, Ground, Run};
use super::work::Work;
use crate::flow::At;

/// Bytes kept while searching.
const WINDOW: usize = 1 << 20;
/// Evidence in one header that is enough right behind a hole, where only one position is tried, and for a search of
/// its chunk size.
const ENOUGH_ALONE: u32 = 20;
/// Runs that go on behind the bytes at hand.
const MAX_WAITING: usize = 512;
/// Pieces kept while searching: of tiny ones this many take as much memory as the bytes.
const MAX_PIECES: usize = 1 << 14;
/// Chunk sizes tried in one search for any.
const MAX_SIZES: u32 = 4096;
/// Steps that it takes to look at a place that may be a header.
const PLACE: u64 = 8;
/// Bytes of a search for continuation headers that take a step.
const BYTES: u64 = 8;
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
    /// Runs that may still turn out true.
    waiting: Vec<Waiting>,
    /// Places where a header of format 2 or 3 may stand, if its chunk stream turns out to be in use.
    doubted: Vec<usize>,
    /// How many signs there were when those were looked at.
    doubted_at: usize,
    signs: Signs,
    /// What the search may cost.
    pub(super) work: Work,
    /// A header stands at the first position.
    exact: bool,
}

/// A run that goes on behind the bytes at hand.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    position: usize,
    chunk_size: u32,
    /// How many bytes it takes to say more.
    need: usize,
}

/// Where the stream goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Position in the scanner's bytes.
    pub(super) position: usize,
    /// The chunk size with which it makes sense; [`UNLIMITED`] where no message was longer than a chunk.
    pub(super) chunk_size: u32,
    /// The longest message that came in one chunk.
    pub(super) fits: u32,
    /// A message came in several.
    pub(super) split: bool,
    /// What headers of format 2 and 3 left out.
    pub(super) brief: Vec<Said>,
}

impl Scanner {
    /// At a place where a header stands that leaves out what is not known.
    pub(super) fn exact() -> Self {
        Self { exact: true, ..Self::default() }
    }

    /// Memory held, in bytes.
    pub(super) fn weight(&self) -> usize {
        let pieces = self.pieces.capacity().saturating_mul(size_of::<(usize, At)>());
        let waiting = self.waiting.capacity().saturating_mul(size_of::<Waiting>());
        let doubted = self.doubted.capacity().saturating_mul(size_of::<usize>());
        let lists = pieces.saturating_add(waiting).saturating_add(doubted);
        self.bytes.capacity().saturating_add(lists).saturating_add(self.signs.weight())
    }

    /// Takes more bytes; returns how many old ones had to go.
    pub(super) fn push(&mut self, at: At, bytes: &[u8]) -> u64 {
        if bytes.is_empty() {
            return 0;
        }
        let gone = if self.bytes.len().saturating_add(bytes.len()) > WINDOW {
            self.drop_front(self.bytes.len().saturating_sub(WINDOW / 2))
        } else if self.pieces.len() >= MAX_PIECES {
            let half = self.pieces.get(MAX_PIECES / 2).map_or(0, |(start, _)| *start);
            self.drop_front(half)
        } else {
            0
        };
        self.pieces.push((self.bytes.len(), at));
        self.bytes.extend_from_slice(bytes);
        gone
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
        self.exact = false;
        self.signs.drop_front(count);
        self.doubted_at = 0;
        self.doubted.retain(|position| *position >= count);
        self.doubted.iter_mut().for_each(|position| *position = position.saturating_sub(count));
        self.waiting.retain(|run| run.position >= count);
        for run in &mut self.waiting {
            run.position = run.position.saturating_sub(count);
            run.need = run.need.saturating_sub(count);
        }
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
    pub(super) fn find(&mut self, known: &Known, last: bool) -> Option<Found> {
        self.signs.look(&self.bytes, last);
        if last {
            self.work.end();
        }
        if self.work.is_used_up() {
            return None;
        }
        let len = self.bytes.len();
        if let Some(found) = self.retry(known, last, |run| last || run.need <= len) {
            return Some(self.better(known, found));
        }
        // Only other signs make a difference.
        let signs = self.signs.count();
        if last || self.doubted_at != signs {
            self.doubted_at = signs;
            let mut doubted = std::mem::take(&mut self.doubted).into_iter();
            while !self.work.is_used_up()
                && let Some(position) = doubted.next()
            {
                if let Some(found) = self.test(known, position, last) {
                    return Some(self.better(known, found));
                }
            }
            self.doubted.extend(doubted);
        }
        while self.tested < self.bytes.len() && !self.work.is_used_up() {
            let position = self.tested;
            if !last && self.bytes.len().saturating_sub(position) < LOOK {
                break;
            }
            self.tested = self.tested.saturating_add(1);
            if let Some(found) = self.test(known, position, last) {
                return Some(self.better(known, found));
            }
        }
        None
    }

    /// Tries the runs that may begin at a position.
    fn test(&mut self, known: &Known, position: usize, last: bool) -> Option<Found> {
        let sure = self.exact && position == 0;
        let here = self.bytes.get(position..).unwrap_or_default();
        let is_known = here.first().is_some_and(|first| match first & 0x3f {
            0 | 1 => !known.streams.is_empty(),
            csid => known.stream(u32::from(csid)).is_some(),
        });
        if !sure && !signs::may_begin(here, is_known) {
            return None;
        }
        self.work.spend(PLACE);
        let bits = match self.begins(known, position, last) {
            Some(bits) => bits,
            None if sure => 0,
            None => {
                if self.signs.is_brief(position) && self.doubted.len() < MAX_WAITING {
                    self.doubted.push(position);
                }
                return None;
            }
        };
        let current = known.size();
        let others = CHUNK_SIZES.iter().copied().filter(|size| Some(*size) != current);
        let any = (bits >= ENOUGH_ALONE).then_some(ANY);
        let mut sizes = current.into_iter().chain(others).chain([UNLIMITED]).chain(any);
        sizes.find_map(|chunk_size| self.attempt(known, position, chunk_size, last))
    }

    /// A run that waits and begins earlier, or goes on with a likelier chunk size, may have what it needs by now.
    fn better(&mut self, known: &Known, found: Found) -> Found {
        let this = rank(known, found.position, found.chunk_size);
        let better = |run: &Waiting| rank(known, run.position, run.chunk_size) < this;
        let found = self.retry(known, false, better).unwrap_or(found);
        // Where the chunks are known to go on less has to speak for what stands before.
        let before: Vec<usize> = self.doubted.iter().copied().filter(|at| *at < found.position).collect();
        let mut steps = 0u64;
        let earlier = before.into_iter().find_map(|position| {
            if !self.work.covers(steps) {
                return None;
            }
            let goal = Some(found.position);
            let ground = Ground { goal, ..self.ground(known, found.chunk_size, false) };
            let (run, more) = ground.run(position);
            steps = steps.saturating_add(more);
            let Run::True { fits, mut brief, .. } = run else { return None };
            let agrees = |said: &Said| found.brief.iter().all(|s| s.csid != said.csid || s == said);
            if !brief.iter().all(agrees) {
                return None;
            }
            let later: Vec<Said> = found.brief.iter().filter(|s| !brief.contains(s)).copied().collect();
            brief.extend(later);
            Some(Found { position, fits: fits.max(found.fits), brief, ..found })
        });
        self.work.spend(steps);
        earlier.unwrap_or(found)
    }

    /// Tries the runs that wait and are `ready`, the best first.
    fn retry(&mut self, known: &Known, last: bool, ready: impl Fn(&Waiting) -> bool) -> Option<Found> {
        if !self.waiting.iter().any(&ready) {
            return None;
        }
        let (mut old, kept): (Vec<_>, _) = std::mem::take(&mut self.waiting).into_iter().partition(ready);
        self.waiting = kept;
        old.sort_by_key(|run| rank(known, run.position, run.chunk_size));
        let mut old = old.into_iter();
        let found = old.find_map(|run| self.attempt(known, run.position, run.chunk_size, last));
        self.waiting.extend(old);
        found
    }

    fn attempt(&mut self, known: &Known, position: usize, chunk_size: u32, last: bool) -> Option<Found> {
        if self.work.is_used_up() {
            self.wait(Waiting { position, chunk_size, need: 0 });
            return None;
        }
        if chunk_size == ANY {
            return self.search(known, position, last);
        }
        match self.run(known, position, chunk_size, last) {
            Run::True { fits, split, brief } => {
                // Without a message in several chunks only a size that was known before is more than a lower bound.
                let sure = split || chunk_size == UNLIMITED || known.size() == Some(chunk_size);
                return sure.then_some(Found { position, chunk_size, fits, split, brief });
            }
            Run::Open(need) => self.wait(Waiting { position, chunk_size, need }),
            Run::Wrong => {}
        }
        None
    }

    /// Tries every chunk size that would put a continuation header into the first message.
    fn search(&mut self, known: &Known, position: usize, last: bool) -> Option<Found> {
        let mut c = Cursor::new(self.bytes.get(position..)?);
        let basic = Basic::decode(&mut c).ok().filter(|basic| basic.csid < 64)?;
        let header = MessageHeader::decode(&mut c, basic.fmt).ok()?;
        let length = usize::try_from(header.length?).ok()?;
        let behind = position.saturating_add(c.position());
        let there = self.bytes.len().saturating_sub(behind);
        let enough = length.saturating_add(64);
        if !last && there < enough {
            self.wait(Waiting { position, chunk_size: ANY, need: behind.saturating_add(enough) });
            return None;
        }
        let sign = 0xc0 | u8::try_from(basic.csid).ok()?;
        let (mut open, mut tried) = (None, 0u32);
        self.work.spend(length.min(there) as u64 / BYTES);
        for size in 1..length.min(there) {
            if self.bytes.get(behind.saturating_add(size)) != Some(&sign) {
                continue;
            }
            tried = tried.saturating_add(1);
            if tried > MAX_SIZES || self.work.is_used_up() {
                break;
            }
            let chunk_size = u32::try_from(size).ok()?;
            match self.run(known, position, chunk_size, last) {
                Run::True { fits, split: true, brief } => {
                    return Some(Found { position, chunk_size, fits, split: true, brief });
                }
                Run::Open(need) => open = Some(open.unwrap_or(need).min(need)),
                _ => {}
            }
        }
        if let Some(need) = open
            && there < length.saturating_mul(2).saturating_add(4096)
        {
            self.wait(Waiting { position, chunk_size: ANY, need });
        }
        None
    }

    fn run(&mut self, known: &Known, position: usize, chunk_size: u32, last: bool) -> Run {
        let (run, steps) = self.ground(known, chunk_size, last).run(position);
        self.work.spend(steps);
        run
    }

    fn ground<'a>(&'a self, known: &'a Known, chunk_size: u32, last: bool) -> Ground<'a> {
        let Self { bytes, signs, exact, .. } = self;
        Ground { known, bytes, signs, chunk_size, exact: *exact, last, goal: None }
    }

    fn wait(&mut self, run: Waiting) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.remove(0);
        }
        self.waiting.push(run);
    }

    /// Where a position lies in the stream.
    pub(super) fn place(&self, position: usize) -> At {
        let index = self.pieces.partition_point(|(start, _)| *start <= position).saturating_sub(1);
        let nowhere = At { time_ns: 0, frame: 0, offset: 0, ready_ns: 0 };
        let (start, at) = self.pieces.get(index).copied().unwrap_or((0, nowhere));
        at.further(position.saturating_sub(start))
    }

    /// Hands the bytes from `position` on to `to`, piece by piece.
    pub(super) fn drain(self, position: usize, mut to: impl FnMut(At, &[u8])) {
        let ends = self.pieces.iter().skip(1).map(|(start, _)| *start).chain([self.bytes.len()]);
        for ((start, at), end) in self.pieces.iter().zip(ends) {
            let from = position.max(*start);
            if let Some(bytes) = self.bytes.get(from..end)
                && !bytes.is_empty()
            {
                to(at.further(from.saturating_sub(*start)), bytes);
            }
        }
    }

    /// The length of the message whose header the first bytes are, if there is much evidence for it and nothing behind
    /// it speaks against it.
    pub(super) fn begins_well(&mut self, known: &Known) -> Option<u32> {
        self.begins(known, 0, false).filter(|bits| *bits >= ENOUGH_ALONE)?;
        let chunk_size = known.size().unwrap_or(UNLIMITED);
        if self.run(known, 0, chunk_size, false) == Run::Wrong {
            return None;
        }
        let mut c = Cursor::new(&self.bytes);
        let basic = Basic::decode(&mut c).ok()?;
        Some(MessageHeader::decode(&mut c, basic.fmt).ok()?.length.unwrap_or(0))
    }

    /// A cheap look at the first header: a run begins where a message begins. The evidence of that header.
    fn begins(&self, known: &Known, position: usize, last: bool) -> Option<u32> {
        let (basic, bits) = self.first(known, position, last)?;
        // The last byte of a message may look like the first one of a longer basic header: the shorter one is meant.
        let unheard = basic.size > 1 && known.stream(basic.csid).is_none();
        let shorter = || {
            (1..basic.size).any(|skip| {
                let there = self.first(known, position.saturating_add(usize::from(skip)), last);
                there.is_some_and(|(other, more)| other.fmt == basic.fmt && more >= bits)
            })
        };
        (!unheard || !shorter()).then_some(bits)
    }

    fn first(&self, known: &Known, position: usize, last: bool) -> Option<(Basic, u32)> {
        let mut c = Cursor::new(self.bytes.get(position..)?);
        let basic = Basic::decode(&mut c).ok()?;
        let header = MessageHeader::decode(&mut c, basic.fmt).ok()?;
        let bits = evidence(known, &Overlay::default(), &basic, &header)?;
        if let (Some(type_id), Some(length)) = (header.type_id, header.length) {
            return Some((basic, bits.saturating_add(body(type_id, length, c.peek())?)));
        }
        // Nothing but the body speaks for a header that says nothing.
        let as_known = known
            .stream(basic.csid)
            .filter(|stream| basic.fmt == 2 || !stream.open)
            .and_then(|stream| body(stream.type_id, stream.length, c.peek()))
            .filter(|bits| basic.fmt == 2 || *bits >= 12);
        let inside = as_known.or_else(|| {
            let (Guess { type_id, bits }, _) = signs::guess_timed(basic.fmt, c.peek())?;
            self.ground(known, UNLIMITED, last).is_heard(basic.csid, type_id, bits).then_some(bits)
        })?;
        Some((basic, bits.saturating_add(inside)))
    }
}

/// The order in which runs are tried: earlier ones first, then likelier chunk sizes.
fn rank(known: &Known, position: usize, chunk_size: u32) -> (usize, u8) {
    let size = match chunk_size {
        _ if Some(chunk_size) == known.size() => 0,
        _ if CHUNK_SIZES.contains(&chunk_size) => 1,
        UNLIMITED => 2,
        _ => 3,
    };
    (position, size)
}
