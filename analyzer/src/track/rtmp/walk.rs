//! A run of headers, each one where the one before says the next has to be.
//!
//! A header of format 2 or 3 leaves the length to one that came before. Where the capture lacks that one, the body tells
//! where it ends (NAL units and MPEG audio frames have their lengths), or the next header that can be told by its looks
//! does; the run that goes on from there decides.

use std::cell::Cell;

use wire::Cursor;
use wire::rtmp::chunk::{Basic, MessageHeader};
use wire::rtmp::message::kind;

use super::chunk_stream::Chunked;
use super::evidence::evidence;
use super::known::{Known, UNLIMITED};
use super::laid::Laid;
use super::likely::{self, Ends, Guess, body, guess, weak_guess};
use super::overlay::{Overlay, Said};
use super::signs::{LOOK, Signs, guess_timed};

/// Evidence that is enough, in bits.
const ENOUGH: i32 = 48;
/// Evidence that is enough where the run ends exactly with the stream.
const ENOUGH_AT_END: i32 = 26;
/// Headers that have to agree: one and the next two.
const CHAIN: u32 = 3;
/// What it costs to believe in a chunk stream that nothing spoke of, in bits.
const UNHEARD: i32 = 4;
/// The longest body whose end is looked for.
const MAX_SPAN: usize = 1 << 19;
/// The longest sound whose end is looked for: eight channels of AAC have 6144 bytes at most.
const MAX_SOUND: usize = 8192;
/// Signs in a body of unknown length that may be chance.
const MAX_ENDS: u32 = 4;
/// Evidence of a sign that is no chance, in bits.
const STRONG: u32 = 12;
/// Evidence in a header that confirms those before it, in bits.
const SAYS: i32 = 7;
/// Evidence of a run in which something may stand that hardly says what it is, in bits.
const GOOD: i32 = 20;
/// Evidence of a body that leaves no doubt, in bits.
const PLAIN: u32 = 22;
/// Steps of one attempt.
pub(super) const EFFORT: u32 = 16_000;
/// Steps that a header takes.
const HEADER: u32 = 8;
/// Steps that it takes to try chunk sizes on a body.
const SIZES: u32 = 64;
/// Chunk sizes in use by known programs, tried before others are looked for.
pub(super) const CHUNK_SIZES: [u32; 14] =
    [128, 256, 512, 1024, 2048, 4096, 5000, 8192, 10_000, 16_384, 32_768, 60_000, 65_536, 131_072];

/// What became of a run of headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// No header, or one that disagrees.
    Wrong,
    /// Agrees as far as the bytes go; with so many more can be said.
    Open(usize),
    /// Agrees, with enough evidence. `fits` is the longest message in one chunk; `split` says that one came in
    /// several; `brief` is what headers of format 2 and 3 left out.
    True { fits: u32, split: bool, brief: Vec<Said> },
}

/// Where and with what a run is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground<'a> {
    pub(super) known: &'a Known,
    pub(super) bytes: &'a [u8],
    pub(super) signs: &'a Signs,
    pub(super) chunk_size: u32,
    /// A header stands at the first position.
    pub(super) exact: bool,
    /// No more bytes will come.
    pub(super) last: bool,
    /// Where a header is known to stand that the run has to come to.
    pub(super) goal: Option<usize>,
}

/// A run so far.
#[derive(Clone, Debug)]
struct State {
    at: usize,
    bits: i32,
    headers: u32,
    fits: u32,
    split: bool,
    /// A header must stand here.
    sure: bool,
    /// The end of a body was chosen, and nothing has stood there yet.
    owing: bool,
    /// A chunk stream whose type and length were guessed by next to nothing, and that has to come again.
    guessed: Option<u32>,
    seen: Overlay,
}

/// What a message is taken for.
struct Taken {
    type_id: u8,
    bits: i32,
    lengths: Lengths,
    /// Next to nothing speaks for the type.
    weak: bool,
    /// Bytes of a repeated extended timestamp before the body, and that time.
    repeated: usize,
    extended: Option<u32>,
}

enum Lengths {
    One(u32),
    /// Behind a loss: most likely this one.
    Doubted(u32),
    Unknown,
    /// Nothing else speaks of the chunk stream so far.
    Unheard,
}

impl Ground<'_> {
    /// Follows the headers from a position on; how many steps that took.
    pub(super) fn run(&self, position: usize) -> (Run, u64) {
        let sure = self.exact && position == 0;
        let seen = Overlay::default();
        let start = State {
            at: position,
            bits: 0,
            headers: 0,
            fits: 0,
            split: false,
            sure,
            owing: false,
            guessed: None,
            seen,
        };
        let mut effort = EFFORT;
        let run = self.walk(start, &mut effort);
        (run, u64::from(EFFORT.saturating_sub(effort)))
    }

    /// What it costs to ask for a chunk stream, in steps.
    fn asking(&self) -> u32 {
        let streams = u32::try_from(self.known.streams.len() / 8).unwrap_or(u32::MAX);
        self.signs.cost().saturating_add(streams)
    }

    fn walk(&self, mut state: State, effort: &mut u32) -> Run {
        let tries_size = self.known.size() != Some(self.chunk_size);
        loop {
            let seen = u32::try_from(state.seen.len()).unwrap_or(u32::MAX);
            let cost = HEADER.saturating_add(self.asking()).saturating_add(seen);
            if !take_from(effort, cost) {
                return Run::Wrong;
            }
            let State { at, .. } = state;
            if self.goal.is_some_and(|goal| goal <= at) {
                let there = self.goal == Some(at) && state.seen.is_whole() && state.guessed.is_none();
                return if there { state.into_run() } else { Run::Wrong };
            }
            if at == self.bytes.len() {
                let enough = self.last
                    && !state.owing
                    && state.guessed.is_none()
                    && state.seen.is_whole()
                    && state.bits >= ENOUGH_AT_END;
                return if enough { state.into_run() } else { Run::Open(at.saturating_add(1)) };
            }
            if at > self.bytes.len() {
                return Run::Open(at.saturating_add(1));
            }
            let mut c = Cursor::new(self.bytes.get(at..).unwrap_or_default());
            let header = Basic::decode(&mut c).and_then(|b| Ok((b, MessageHeader::decode(&mut c, b.fmt)?)));
            let Ok((basic, header)) = header else { return Run::Open(at.saturating_add(18)) };
            let Some(bits) = evidence(self.known, &state.seen, &basic, &header) else {
                return Run::Wrong;
            };
            state.bits = state.bits.saturating_add(bits.cast_signed());
            let before = state.bits.saturating_sub(bits.cast_signed());
            let known = self.known.stream(basic.csid);
            // The last byte of a message may look like the first one of a longer basic header: the shorter one is meant.
            let unheard = known.is_none() && state.seen.said(basic.csid).is_none();
            if unheard && (1..basic.size).any(|skip| self.signs.is_at(at.saturating_add(usize::from(skip)))) {
                return Run::Wrong;
            }
            let mut behind = at.saturating_add(c.position());
            let continues = state.seen.rest(basic.csid).is_some_and(|(_, rest)| rest > 0);
            // Where the chunk size is a try, too much would fit if messages could lie inside each other.
            if tries_size && !continues && !state.seen.is_whole() {
                return Run::Wrong;
            }
            if continues {
                state.split = true;
                state.headers = state.headers.saturating_add(1);
                let repeated = state.seen.repeated(&basic, known, c.peek());
                behind = behind.saturating_add(if repeated.is_some() { 4 } else { 0 });
                if self.is_enough(&state) && (!tries_size || state.seen.is_whole()) {
                    return state.into_run();
                }
            } else {
                let Some(taken) = self.take(&state, &basic, &header, known, c.peek()) else {
                    return Run::Wrong;
                };
                state.owing = false;
                if state.guessed == Some(basic.csid) {
                    state.guessed = None;
                } else if taken.weak && !state.sure {
                    state.guessed = Some(basic.csid);
                }
                if matches!(taken.lengths, Lengths::Unheard) {
                    let more = self.bytes.len().saturating_add(256);
                    return if self.last { Run::Wrong } else { Run::Open(more) };
                }
                state.bits = state.bits.saturating_add(taken.bits);
                // A header that says next to nothing confirms nothing.
                if state.bits.saturating_sub(before) >= SAYS {
                    state.headers = state.headers.saturating_add(1);
                    if self.is_enough(&state) {
                        return state.into_run();
                    }
                }
                behind = behind.saturating_add(taken.repeated);
                state.sure = false;
                match taken.lengths {
                    Lengths::One(length) => {
                        // What an earlier header said has to prove right.
                        state.owing = header.length.is_none() && state.seen.said(basic.csid).is_none();
                        state.seen.begin(&basic, &header, length, taken.type_id, taken.extended);
                    }
                    Lengths::Doubted(length) => {
                        let mut same = state.clone();
                        same.owing = true;
                        same.seen.begin(&basic, &header, length, taken.type_id, taken.extended);
                        same.next(behind, basic.csid, self.chunk_size);
                        let run = self.walk(same, effort);
                        let body = self.bytes.get(behind..).unwrap_or_default();
                        let told = guess(body).is_some_and(|guess| {
                            let heard = self.is_heard(basic.csid, guess.type_id, guess.bits);
                            guess.type_id == taken.type_id && (heard || self.exact && at == 0)
                        });
                        if matches!(run, Run::True { .. }) || !told {
                            return run;
                        }
                        let other = self.branch(&state, &basic, &header, &taken, behind, effort);
                        return if matches!(other, Run::True { .. }) || run == Run::Wrong {
                            other
                        } else {
                            run
                        };
                    }
                    Lengths::Unknown | Lengths::Unheard => {
                        return self.branch(&state, &basic, &header, &taken, behind, effort);
                    }
                }
            }
            state.next(behind, basic.csid, self.chunk_size);
        }
    }

    /// True where a chunk stream is in use for messages of a type that says so with this much evidence.
    pub(super) fn is_heard(&self, csid: u32, type_id: u8, bits: u32) -> bool {
        if bits >= PLAIN {
            return true;
        }
        let mut of_type = self.known.streams.iter().filter(|stream| stream.type_id == type_id);
        if of_type.clone().next().is_some() {
            return bits >= STRONG && of_type.any(|stream| stream.csid == csid);
        }
        self.signs.are_many(csid, type_id, self.last || self.goal.is_some())
    }

    fn is_enough(&self, state: &State) -> bool {
        let sure = !state.owing && state.guessed.is_none();
        self.goal.is_none() && state.headers >= CHAIN && state.bits >= ENOUGH && sure
    }

    /// What the message is whose header stands at `state.at` and whose body begins with `bytes`.
    fn take(
        &self,
        state: &State,
        basic: &Basic,
        header: &MessageHeader,
        known: Option<&Chunked>,
        bytes: &[u8],
    ) -> Option<Taken> {
        let time = if basic.fmt == 3 { state.seen.repeated(basic, known, bytes) } else { None };
        let repeated = if time.is_some() { 4 } else { 0 };
        let behind = bytes.get(repeated..).unwrap_or_default();
        let taken = |type_id, bits: u32, lengths| {
            let bits = bits.cast_signed();
            Taken { type_id, bits, lengths, weak: false, repeated, extended: time }
        };
        if let (Some(length), Some(type_id)) = (header.length, header.type_id) {
            return Some(taken(type_id, body(type_id, length, behind)?, Lengths::One(length)));
        }
        if let Some(said) = state.seen.said(basic.csid) {
            let bits = body(said.type_id, said.length, behind)?;
            return Some(taken(said.type_id, bits, Lengths::One(said.length)));
        }
        if let Some(stream) = known
            && let Some(bits) = body(stream.type_id, stream.length, behind)
            // Where a message was cut a header of format 3 may go on with it.
            && (bits >= 8 || basic.fmt == 2 || !stream.open)
        {
            let doubted = stream.stale || stream.open;
            let lengths = if doubted { Lengths::Doubted(stream.length) } else { Lengths::One(stream.length) };
            return Some(taken(stream.type_id, bits, lengths));
        }
        // Nothing is known but what the body shows, and inside another message that is too little.
        if !state.seen.is_whole() {
            return None;
        }
        if behind.len() < LOOK && !self.last {
            return Some(taken(0, 0, Lengths::Unheard));
        }
        let may_be_weak = state.sure || state.bits >= GOOD && !state.owing && state.guessed.is_none();
        let weak = || weak_guess(bytes).filter(|_| may_be_weak).map(|guess| (guess, true, None));
        let plain = guess_timed(basic.fmt, bytes).map(|(guess, time)| (guess, false, time));
        let (Guess { type_id, bits }, weak, extended) = plain.or_else(weak)?;
        let heard = state.sure || weak || self.is_heard(basic.csid, type_id, bits);
        let repeated = if extended.is_some() { 4 } else { 0 };
        let bits = bits.cast_signed().saturating_sub(UNHEARD);
        let lengths = if heard { Lengths::Unknown } else { Lengths::Unheard };
        Some(Taken { type_id, bits, lengths, weak, repeated, extended })
    }

    /// Tries the ends that a body of unknown length may have.
    fn branch(
        &self,
        state: &State,
        basic: &Basic,
        header: &MessageHeader,
        taken: &Taken,
        start: usize,
        effort: &mut u32,
    ) -> Run {
        let laid = Laid::new(self.bytes, start, self.chunk_size, basic.csid, taken.extended);
        let open = Cell::new(None);
        let attempt = |length: u32, cost: i32, effort: &mut u32| {
            if !take_from(effort, HEADER.saturating_add(laid.joints(length) / 4)) || !laid.joins(length) {
                return None;
            }
            let mut state = state.clone();
            state.bits = state.bits.saturating_sub(cost);
            state.owing = true;
            state.seen.begin(basic, header, length, taken.type_id, taken.extended);
            state.next(start, basic.csid, self.chunk_size);
            match self.walk(state, effort) {
                Run::True { fits, split, brief } => return Some(Run::True { fits, split, brief }),
                Run::Open(need) => open.set(Some(open.get().unwrap_or(need).min(need))),
                Run::Wrong => {}
            }
            None
        };
        let more = self.bytes.len().saturating_add(512);
        match likely::ends(taken.type_id, &laid) {
            Ends::At(lengths) => {
                for length in lengths.into_iter().rev() {
                    if let Some(run) = attempt(length, 0, effort) {
                        return run;
                    }
                }
                if let Some(need) = open.get() {
                    return Run::Open(need);
                }
            }
            Ends::Later => return Run::Open(more),
            Ends::Unsaid => {}
        }
        let longest = if taken.type_id == kind::AUDIO { MAX_SOUND } else { MAX_SPAN };
        let mut tried = 0u32;
        for sign in self.signs.behind(start) {
            let span = sign.at.saturating_sub(start);
            if span > longest {
                return open.get().map_or(Run::Wrong, Run::Open);
            }
            if !take_from(effort, 1u32.saturating_add(self.asking())) {
                return open.get().map_or(Run::Wrong, Run::Open);
            }
            let said = state.seen.said(sign.csid).is_some_and(|said| said.type_id == sign.type_id);
            let own = sign.csid == basic.csid && sign.type_id == taken.type_id;
            if !said && !own && !self.is_heard(sign.csid, sign.type_id, sign.bits) {
                continue;
            }
            tried = tried.saturating_add(1);
            let cost = span.checked_ilog2().unwrap_or(0).cast_signed();
            if !take_from(effort, if self.chunk_size == UNLIMITED { SIZES } else { 1 }) {
                return open.get().map_or(Run::Wrong, Run::Open);
            }
            let length =
                laid.length_to(sign.at).filter(|length| !self.is_split_otherwise(&laid, sign.at, *length));
            let run = length.and_then(|length| attempt(length, cost, effort));
            // A body that goes on behind a good sign would hide a message.
            let sure = sign.bits >= STRONG && (said || self.known.stream(sign.csid).is_some());
            if run.is_some() || open.get().is_some() || sure || tried >= MAX_ENDS {
                return run.unwrap_or(open.get().map_or(Run::Wrong, Run::Open));
            }
        }
        if self.last {
            return open.get().map_or(Run::Wrong, Run::Open);
        }
        Run::Open(more.saturating_add(self.bytes.len().saturating_sub(start) / 8))
    }

    /// True where nothing is known of the chunk size and one of those in use has its joints in this body.
    fn is_split_otherwise(&self, laid: &Laid<'_>, end: usize, length: u32) -> bool {
        self.chunk_size == UNLIMITED
            && CHUNK_SIZES.iter().any(|size| {
                let other = laid.with(*size);
                let there = other.length_to(end).filter(|l| *size < length && other.joints(*l) > 0);
                there.is_some_and(|length| other.joins(length))
            })
    }
}

/// Takes steps from those that are left; false where there are too few.
fn take_from(left: &mut u32, steps: u32) -> bool {
    let enough = *left >= steps;
    *left = left.saturating_sub(steps);
    enough
}

impl State {
    /// Passes over a chunk that begins at a place.
    fn next(&mut self, behind: usize, csid: u32, chunk_size: u32) {
        let payload = self.seen.chunk(csid, chunk_size);
        if let Some((length, 0)) = self.seen.rest(csid)
            && length == payload
        {
            self.fits = self.fits.max(length);
        }
        self.at = behind.saturating_add(usize::try_from(payload).unwrap_or(usize::MAX));
    }

    fn into_run(self) -> Run {
        Run::True { fits: self.fits, split: self.split, brief: self.seen.into_first() }
    }
}
