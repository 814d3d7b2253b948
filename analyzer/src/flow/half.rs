//! One direction of a connection: from segments in any order to a stream.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::{At, ConnId, Dir, HalfStats, Handler, Limits, Missing};

/// How far a segment may lie from the stream's position and still be believed at once, in bytes. Receive windows
/// are far smaller; what lies beyond is a damaged packet, or the capture has a large hole.
const NEAR: u32 = 64 << 20;

/// Segments in a row, each following the one before, that make a far position believed.
const CONFIRMATIONS: u8 = 3;

/// Lost ranges remembered, to recognise what arrives too late.
const REMEMBERED: usize = 32;

/// What a segment that waits costs beyond its bytes.
const OVERHEAD: usize = 128;

/// Whom to tell, and about which connection.
pub(super) struct Out<'h, H: Handler> {
    pub handler: &'h mut H,
    pub conn: ConnId,
    pub dir: Dir,
}

/// A segment as captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'b> {
    /// Sequence number of the first payload byte.
    pub seq: u32,
    /// The payload as far as it was captured.
    pub bytes: &'b [u8],
    /// Its length on the wire.
    pub len: u32,
    pub fin: bool,
    pub time_ns: i64,
    pub frame: u64,
}

/// One direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Half {
    /// Sequence number of offset 0.
    base: Option<u32>,
    /// Offset of the next byte to hand on.
    next: u64,
    /// End of the furthest segment seen.
    highest: u64,
    /// Offset at which the stream ends.
    fin: Option<u64>,
    /// Segments behind a hole by offset; none overlap.
    waiting: BTreeMap<u64, Waiting>,
    /// What they hold, administration included.
    cost: usize,
    /// When the hole before them was met.
    hole_since: Option<i64>,
    /// Up to where the peer acknowledged.
    acked: u64,
    /// Ranges given up as lost, latest last.
    lost: VecDeque<Range<u64>>,
    /// The end of a segment far away, and how many led there.
    stray: Option<(u32, u8)>,
    pub stats: HalfStats,
}

#[derive(Clone, Debug)]
struct Waiting {
    bytes: Box<[u8]>,
    len: u64,
    time_ns: i64,
    frame: u64,
}

/// Where a segment belongs.
enum Place {
    /// Offset of its first byte; negative for what lies before the stream's beginning.
    Near(i64),
    /// Offset behind a large hole, which other segments have confirmed.
    Jump(u64),
    /// Nobody knows yet.
    Stray,
}

impl Half {
    /// Takes the sequence number of offset 0 from a SYN, or from what stands for one.
    pub fn start(&mut self, first: u32) {
        self.base = Some(first);
        self.stats.from_start = true;
    }

    pub fn base(&self) -> Option<u32> {
        self.base
    }

    /// True where any payload was seen.
    pub fn has_data(&self) -> bool {
        self.highest > 0
    }

    /// Memory held by what waits.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Where a sequence number stands, counted from the next byte: negative below it. `None` where nothing is known
    /// or it is too far off.
    pub fn distance(&self, seq: u32) -> Option<i64> {
        let from = self.position()?;
        let ahead = seq.wrapping_sub(from);
        let behind = from.wrapping_sub(seq);
        if ahead <= NEAR {
            Some(i64::from(ahead))
        } else if behind <= NEAR {
            Some(i64::from(behind).saturating_neg())
        } else {
            None
        }
    }

    /// Sequence number of the next byte.
    fn position(&self) -> Option<u32> {
        let next = u32::try_from(self.next & 0xffff_ffff).unwrap_or(0);
        self.base.map(|base| base.wrapping_add(next))
    }

    /// The peer waits for this sequence number.
    pub fn acknowledged(&mut self, ack: u32) {
        if let Some(distance) = self.distance(ack) {
            self.acked = self.acked.max(self.next.saturating_add_signed(distance));
        }
    }

    /// Takes in a segment and returns how many payload bytes it brought that were not seen before.
    pub fn segment<H: Handler>(
        &mut self,
        out: &mut Out<'_, H>,
        segment: &Segment<'_>,
        limits: &Limits,
    ) -> u64 {
        let base = *self.base.get_or_insert(segment.seq);
        if segment.len <= 1 && !segment.fin && self.distance(segment.seq) == Some(-1) {
            self.stats.keep_alives = self.stats.keep_alives.saturating_add(1);
            return 0;
        }
        if segment.len == 0 && !segment.fin {
            return 0;
        }
        let start = match self.place(base, segment) {
            Place::Near(start) => start,
            Place::Jump(start) => {
                while !self.waiting.is_empty() {
                    self.skip_hole(out, segment.time_ns, segment.frame);
                }
                self.lose(out, start, segment.time_ns, segment.frame);
                i64::try_from(start).unwrap_or(i64::MAX)
            }
            Place::Stray => {
                self.stats.stray_segments = self.stats.stray_segments.saturating_add(1);
                return 0;
            }
        };
        let end = start.saturating_add(i64::from(segment.len));
        let before = self.next;
        let fresh = self.merge(out, segment, start, end);
        let end = u64::try_from(end).unwrap_or(0);
        if segment.fin {
            self.fin = self.fin.or(Some(end));
            self.stats.fin = true;
        }
        self.highest = self.highest.max(end);
        if self.waiting.is_empty() {
            self.hole_since = None;
        } else if self.hole_since.is_none() || self.next > before {
            self.hole_since = Some(segment.time_ns);
        }
        while self.cost > limits.half_bytes || self.waiting.len() > limits.half_segments {
            self.skip_hole(out, segment.time_ns, segment.frame);
        }
        fresh
    }

    /// True where the stream has ended and was handed on to its end.
    pub fn is_told(&self) -> bool {
        self.fin.is_some_and(|fin| self.next >= fin)
    }

    /// Offset of the next byte to hand on.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Where a segment belongs in the stream.
    fn place(&mut self, base: u32, segment: &Segment<'_>) -> Place {
        if let Some(distance) = self.distance(segment.seq) {
            self.stray = None;
            return Place::Near(i64::try_from(self.next).unwrap_or(i64::MAX).saturating_add(distance));
        }
        let confirmed = match self.stray {
            Some((expected, count)) if expected == segment.seq => count.saturating_add(1),
            _ => 1,
        };
        if confirmed < CONFIRMATIONS {
            self.stray = Some((segment.seq.wrapping_add(segment.len), confirmed));
            return Place::Stray;
        }
        self.stray = None;
        let position = self.position().unwrap_or(base);
        Place::Jump(self.next.saturating_add(u64::from(segment.seq.wrapping_sub(position))))
    }

    /// Hands on what is new and in order, keeps what is new and early, counts the rest.
    fn merge<H: Handler>(
        &mut self,
        out: &mut Out<'_, H>,
        segment: &Segment<'_>,
        start: i64,
        end: i64,
    ) -> u64 {
        let mut repeated = 0u64;
        let mut fresh = 0u64;
        let mut at = self.next.max(u64::try_from(start).unwrap_or(0));
        let below = i64::try_from(at).unwrap_or(i64::MAX).min(end).saturating_sub(start);
        let end = u64::try_from(end).unwrap_or(0);
        if let Ok(below) = u64::try_from(below) {
            let late = self.found_late(u64::try_from(start).unwrap_or(0)..at.min(end));
            repeated = below.saturating_sub(late);
            fresh = late;
        }
        if at < end && at < self.highest {
            self.stats.out_of_order_segments = self.stats.out_of_order_segments.saturating_add(1);
        }
        while at < end {
            if let Some(known) = self.known(at) {
                let upto = known.end.min(end);
                if known.start <= at {
                    repeated = repeated.saturating_add(upto.saturating_sub(at));
                    at = upto;
                    continue;
                }
            }
            let upto = self.waiting.range(at..).next().map_or(end, |(start, _)| (*start).min(end));
            let len = upto.saturating_sub(at);
            let bytes = piece(segment, start, at..upto);
            if at == self.next {
                self.pass(out, bytes, len, segment.time_ns, segment.frame, segment.time_ns);
                self.drain(out, segment.time_ns);
            } else {
                self.keep(at, len, bytes, segment);
            }
            fresh = fresh.saturating_add(len);
            let passed = self.next.min(end).max(upto);
            repeated = repeated.saturating_add(passed.saturating_sub(upto));
            at = passed;
        }
        self.stats.bytes = self.stats.bytes.saturating_add(fresh);
        if repeated > 0 {
            self.stats.retransmitted_bytes = self.stats.retransmitted_bytes.saturating_add(repeated);
            self.stats.retransmitted_segments = self.stats.retransmitted_segments.saturating_add(1);
        }
        fresh
    }

    /// The waiting segment that holds the byte at `at`.
    fn known(&self, at: u64) -> Option<Range<u64>> {
        let (start, waiting) = self.waiting.range(..=at).next_back()?;
        let end = start.saturating_add(waiting.len);
        (end > at).then_some(*start..end)
    }

    fn keep(&mut self, at: u64, len: u64, bytes: &[u8], segment: &Segment<'_>) {
        self.cost = self.cost.saturating_add(bytes.len()).saturating_add(OVERHEAD);
        let waiting = Waiting { bytes: bytes.into(), len, time_ns: segment.time_ns, frame: segment.frame };
        self.waiting.insert(at, waiting);
    }

    /// Hands on the next bytes: what was captured, then the gap for what was not.
    fn pass<H: Handler>(
        &mut self,
        out: &mut Out<'_, H>,
        bytes: &[u8],
        len: u64,
        time_ns: i64,
        frame: u64,
        ready_ns: i64,
    ) {
        let at = At { time_ns, frame, offset: self.next, ready_ns };
        if !bytes.is_empty() {
            out.handler.data(out.conn, out.dir, at, bytes);
        }
        let captured = bytes.len() as u64;
        if let Some(cut) = len.checked_sub(captured).filter(|cut| *cut > 0) {
            self.stats.cut_bytes = self.stats.cut_bytes.saturating_add(cut);
            let at = At { offset: at.offset.saturating_add(captured), ..at };
            out.handler.gap(out.conn, out.dir, at, cut, Missing::Cut);
        }
        self.next = self.next.saturating_add(len);
    }

    /// Hands on what has waited and now follows.
    fn drain<H: Handler>(&mut self, out: &mut Out<'_, H>, ready_ns: i64) {
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() > self.next {
                break;
            }
            let waiting = entry.remove();
            self.cost = self.cost.saturating_sub(waiting.bytes.len()).saturating_sub(OVERHEAD);
            self.pass(out, &waiting.bytes, waiting.len, waiting.time_ns, waiting.frame, ready_ns);
        }
    }

    /// Gives up a hole that has been open for too long.
    pub fn expire<H: Handler>(&mut self, out: &mut Out<'_, H>, now_ns: i64, frame: u64, limits: &Limits) {
        let Some(since) = self.hole_since else { return };
        let open = now_ns.saturating_sub(since);
        let reached = self.waiting.keys().next().is_some_and(|first| self.acked >= *first);
        if open > limits.hole_ns || (reached && open > limits.acked_hole_ns) {
            self.skip_hole(out, now_ns, frame);
            self.hole_since = (!self.waiting.is_empty()).then_some(now_ns);
        }
    }

    /// Declares the hole at the front lost and goes on behind it.
    pub fn skip_hole<H: Handler>(&mut self, out: &mut Out<'_, H>, now_ns: i64, frame: u64) {
        let Some(first) = self.waiting.keys().next().copied() else { return };
        self.lose(out, first, now_ns, frame);
        self.drain(out, now_ns);
    }

    /// The stream up to `end` is lost.
    fn lose<H: Handler>(&mut self, out: &mut Out<'_, H>, end: u64, now_ns: i64, frame: u64) {
        let len = end.saturating_sub(self.next);
        if len == 0 {
            return;
        }
        let at = At { time_ns: now_ns, frame, offset: self.next, ready_ns: now_ns };
        out.handler.gap(out.conn, out.dir, at, len, Missing::Lost);
        self.stats.lost_bytes = self.stats.lost_bytes.saturating_add(len);
        if self.lost.len() >= REMEMBERED {
            self.lost.pop_front();
        }
        self.lost.push_back(self.next..end);
        self.next = end;
    }

    /// Counts bytes that were given up as lost and arrived after all, and forgets that they were lost.
    fn found_late(&mut self, range: Range<u64>) -> u64 {
        let mut found = 0u64;
        let mut index = 0usize;
        while let Some(lost) = self.lost.get_mut(index) {
            let from = lost.start.max(range.start);
            let upto = lost.end.min(range.end);
            if from >= upto {
                index = index.saturating_add(1);
                continue;
            }
            found = found.saturating_add(upto.saturating_sub(from));
            let behind = upto..lost.end;
            lost.end = from;
            let mut keep = 1usize;
            if lost.is_empty() {
                self.lost.remove(index);
                keep = 0;
            }
            if !behind.is_empty() {
                self.lost.insert(index.saturating_add(keep), behind);
                keep = keep.saturating_add(1);
            }
            index = index.saturating_add(keep);
        }
        self.stats.lost_bytes = self.stats.lost_bytes.saturating_sub(found);
        found
    }

    /// The connection is over: what waits is handed on with its holes, and what the FIN or the peer's
    /// acknowledgements say was sent beyond that is lost.
    pub fn finish<H: Handler>(&mut self, out: &mut Out<'_, H>, now_ns: i64, frame: u64) {
        while !self.waiting.is_empty() {
            self.skip_hole(out, now_ns, frame);
        }
        self.hole_since = None;
        match self.fin {
            Some(fin) => self.lose(out, fin, now_ns, frame),
            // One byte more may be the acknowledgement of a FIN that was not captured.
            None if self.acked > self.next.saturating_add(1) => self.lose(out, self.acked, now_ns, frame),
            None => {}
        }
    }
}

/// The captured part of the stream's `range` in a segment whose first byte is at `start`.
fn piece<'b>(segment: &Segment<'b>, start: i64, range: Range<u64>) -> &'b [u8] {
    let within = |at: u64| {
        let at = i64::try_from(at).unwrap_or(i64::MAX).saturating_sub(start);
        usize::try_from(at).unwrap_or(0).min(segment.bytes.len())
    };
    segment.bytes.get(within(range.start)..within(range.end)).unwrap_or_default()
}
