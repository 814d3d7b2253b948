//! Puts packets of one timestamp together into frames, in the order of their sequence numbers.

use std::collections::{BTreeMap, VecDeque};

/// Frames that wait for late packets.
const OPEN: usize = 64;

/// Packets of one timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Timestamp without wrap-around, in clock ticks.
    pub(super) ticks: i64,
    /// Lowest and highest sequence number without wrap-around.
    pub(super) numbers: (i64, i64),
    packets: i64,
    /// True where a packet held a part of a picture.
    pub(super) picture: bool,
    /// True where decoding can start here.
    pub(super) key: bool,
    /// Audio frames.
    pub(super) sounds: u32,
    fragment: bool,
    marker: bool,
    /// When its latest packet was there, nanoseconds since 1970.
    pub(super) arrived_ns: i64,
}

impl Frame {
    /// Pictures or audio frames in it.
    pub(super) fn count(&self) -> u32 {
        self.sounds.saturating_add(u32::from((self.picture || self.fragment) && self.sounds == 0))
    }

    /// True where every packet from the first to the last is there, and the last one says that it is.
    pub(super) fn is_whole(&self) -> bool {
        let (low, high) = self.numbers;
        let whole = self.packets == high.saturating_sub(low).saturating_add(1);
        whole && (self.marker || self.sounds > 0)
    }
}

/// What a packet is in a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) number: i64,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) picture: bool,
    pub(super) key: bool,
    pub(super) sounds: u32,
    pub(super) fragment: bool,
    pub(super) arrived_ns: i64,
}

/// Frames of one source that are not done.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    open: VecDeque<Frame>,
    /// Latest timestamp, as it stood and without wrap-around.
    clock: Option<(u32, i64)>,
    /// Numbers up to here belong to frames that are done.
    done: i64,
}

impl Frames {
    /// Takes a packet; returns a frame that no late packet is waited for any longer, and the packet's frame where it
    /// has become whole.
    pub(super) fn packet(&mut self, part: &Part) -> (Option<Frame>, Option<Frame>) {
        let ticks = self.unwrap(part.timestamp);
        // Late packets belong to one of the latest frames: look from behind.
        let known = self.open.iter().rposition(|frame| frame.ticks == ticks);
        let index = match known {
            Some(index) => index,
            None => {
                let before = self.open.iter().rposition(|frame| frame.numbers.0 < part.number);
                let index = before.map_or(0, |before| before.saturating_add(1));
                self.open.insert(index, Frame::new(ticks, part.number));
                index
            }
        };
        let mut whole = None;
        if let Some(frame) = self.open.get_mut(index) {
            let was = frame.is_whole();
            frame.add(part);
            whole = (!was && frame.is_whole() && frame.count() > 0).then_some(*frame);
        }
        let done = if self.open.len() > OPEN { self.open.pop_front() } else { None };
        if let Some(frame) = done {
            self.done = self.done.max(frame.numbers.1);
        }
        (done, whole)
    }

    /// True where a packet comes too late for its frame.
    pub(super) fn is_past(&self, number: i64) -> bool {
        number <= self.done
    }

    /// The frames left, when no more packets come.
    pub(super) fn finish(&mut self) -> impl Iterator<Item = Frame> {
        std::mem::take(&mut self.open).into_iter()
    }

    fn unwrap(&mut self, timestamp: u32) -> i64 {
        let (last, ticks) = self.clock.unwrap_or((timestamp, i64::from(timestamp)));
        let ticks = ticks.saturating_add(i64::from(timestamp.wrapping_sub(last).cast_signed()));
        self.clock = Some((timestamp, ticks));
        ticks
    }
}

impl Frame {
    fn new(ticks: i64, number: i64) -> Self {
        Self {
            ticks,
            numbers: (number, number),
            packets: 0,
            picture: false,
            key: false,
            sounds: 0,
            fragment: false,
            marker: false,
            arrived_ns: i64::MIN,
        }
    }

    fn add(&mut self, part: &Part) {
        let (low, high) = self.numbers;
        self.numbers = (low.min(part.number), high.max(part.number));
        self.packets = self.packets.saturating_add(1);
        self.picture |= part.picture;
        self.key |= part.key;
        self.sounds = self.sounds.saturating_add(part.sounds);
        self.fragment |= part.fragment;
        self.marker |= part.marker;
        self.arrived_ns = self.arrived_ns.max(part.arrived_ns);
    }
}

/// The mean distance of frames on their timeline, whatever order they come in.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    /// Timestamps that wait for smaller ones, ascending.
    window: Vec<i64>,
    last: Option<i64>,
    steps: u64,
    ticks: u64,
    /// How often each distance occurred, as far as there are not too many different ones.
    often: BTreeMap<u64, u64>,
    incomplete: bool,
}

/// Deepest reordering of pictures that H.264 and H.265 allow.
const REORDER: usize = 16;
/// Different distances that are counted.
const DISTANCES: usize = 64;

impl Pace {
    /// Takes the timestamp of a frame; a distance above `limit` ticks is a jump.
    pub(super) fn frame(&mut self, ticks: i64, limit: u64) {
        let at = self.window.partition_point(|t| *t < ticks);
        self.window.insert(at, ticks);
        if self.window.len() > REORDER {
            let first = self.window.remove(0);
            self.step(first, limit);
        }
    }

    /// Frames may be missing: single distances may be those of two frames.
    pub(super) fn lost(&mut self) {
        self.incomplete = true;
    }

    /// The timeline ends or begins anew.
    pub(super) fn cut(&mut self, limit: u64) {
        // Of the last pictures some may not have been sent that are shown between them.
        let usual = self.ticks.checked_div(self.steps).unwrap_or(limit);
        let limit = limit.min(usual.saturating_mul(3) / 2);
        for ticks in std::mem::take(&mut self.window) {
            self.step(ticks, limit);
        }
        self.last = None;
    }

    fn step(&mut self, ticks: i64, limit: u64) {
        let Some(last) = self.last.replace(ticks) else { return };
        let step = u64::try_from(ticks.saturating_sub(last)).unwrap_or(0);
        if step > 0 && step <= limit {
            self.steps = self.steps.saturating_add(1);
            self.ticks = self.ticks.saturating_add(step);
            if self.often.len() < DISTANCES || self.often.contains_key(&step) {
                let count = self.often.entry(step).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    /// Frames a second of a clock of `rate` ticks.
    pub(super) fn rate(&self, rate: u32) -> Option<f64> {
        let (steps, ticks) = if self.incomplete { self.usual() } else { (self.steps, self.ticks) };
        if steps == 0 || ticks == 0 {
            return None;
        }
        let per_second = float(steps) * f64::from(rate) / float(ticks);
        Some((per_second * 1000.0).round() / 1000.0)
    }

    /// Steps and their ticks without those that are longer than usual by half, which a lost frame makes.
    fn usual(&self) -> (u64, u64) {
        let all = self.often.values().fold(0u64, |sum, count| sum.saturating_add(*count));
        let mut below = 0u64;
        let median = self.often.iter().find_map(|(step, count)| {
            below = below.saturating_add(*count);
            (below.saturating_mul(2) >= all).then_some(*step)
        });
        let limit = median.unwrap_or(0).saturating_mul(3) / 2;
        self.often.range(..limit).fold((0u64, 0u64), |(steps, ticks), (step, count)| {
            (steps.saturating_add(*count), ticks.saturating_add(step.saturating_mul(*count)))
        })
    }
}

/// A count as a float; exact below 2^53.
#[allow(clippy::cast_precision_loss)]
fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    fn part(number: i64, timestamp: u32, marker: bool) -> Part {
        Part {
            number,
            timestamp,
            marker,
            picture: true,
            key: false,
            sounds: 0,
            fragment: false,
            arrived_ns: number,
        }
    }

    #[test]
    fn late_packets_find_their_frame() {
        let mut frames = Frames::default();
        let mut whole = Vec::new();
        for (number, timestamp, marker) in
            [(1, 10, false), (3, 20, false), (2, 10, true), (5, 30, true), (4, 20, true)]
        {
            whole.extend(frames.packet(&part(number, timestamp, marker)).1);
        }
        assert_eq!(whole.iter().map(|f| f.ticks).collect::<Vec<_>>(), [10, 30, 20]);
        let rest: Vec<_> = frames.finish().map(|f| (f.ticks, f.numbers)).collect();
        assert_eq!(rest, [(10, (1, 2)), (20, (3, 4)), (30, (5, 5))]);
    }

    #[test]
    fn frames_are_given_up_in_order_and_the_clock_wraps() {
        let mut frames = Frames::default();
        let mut done = Vec::new();
        for n in 0..100u32 {
            let timestamp = 0xffff_ff00u32.wrapping_add(n * 3000);
            done.extend(frames.packet(&part(i64::from(n), timestamp, true)).0);
        }
        done.extend(frames.finish());
        assert_eq!(done.len(), 100);
        assert!(done.windows(2).all(|pair| pair[1].ticks - pair[0].ticks == 3000));
        assert!(frames.is_past(20) && !frames.is_past(99));
    }

    #[test]
    fn the_pace_is_that_of_the_timeline_not_of_decoding() {
        let mut pace = Pace::default();
        // I P B B in decoding order, 25 a second.
        for group in 0..50i64 {
            for shown in [0, 3, 1, 2] {
                pace.frame((group * 4 + shown) * 3600, 900_000);
            }
        }
        pace.cut(900_000);
        for n in 0..20 {
            pace.frame(5_000_000 + n * 3600, 900_000);
        }
        pace.cut(900_000);
        assert_eq!(pace.rate(90_000), Some(25.0));
        for n in [20, 21, 23, 24, 27] {
            pace.frame(5_000_000 + n * 3600, 900_000);
        }
        pace.cut(900_000);
        assert_eq!(pace.rate(90_000), Some(25.0), "what is missing between the last ones was not sent");
        for n in 0..40 {
            pace.frame(9_000_000 + n * 3600 + n / 20 * 3600, 900_000);
        }
        pace.cut(900_000);
        assert!(pace.rate(90_000).unwrap() < 25.0);
        pace.lost();
        assert_eq!(pace.rate(90_000), Some(25.0));
        assert_eq!(Pace::default().rate(90_000), None);
    }
}
