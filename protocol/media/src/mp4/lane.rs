//! One track of a presentation: where its frames stand on the common timeline, and its samples.

use std::sync::Arc;

use bytes::Bytes;
use wire::codec::aac::sbr::Probe;
use wire::mp4::write::{Part, Sample};

use super::cadence::Cadence;
use super::entry::Entry;
use super::picture::Pictures;
use crate::clock::rescale;
use crate::frame::{Frame, Track};

/// Microseconds a track's time may advance beyond all that came.
const FORWARD: i64 = 10_000_000;
/// Microseconds a track's time may step back from where its next frame is expected.
const BACK: i64 = 1_000_000;
/// Microseconds off the expected time within which no other track is asked for the offset.
const NEAR: i64 = 250_000;
/// Microseconds per second.
pub(super) const MICROS: u32 = 1_000_000;
/// Distances between frames that are so many times the usual one are pauses.
const PAUSE: i64 = 3;
/// Microseconds a frame lasts of which nothing is known.
const UNKNOWN: i64 = 40_000;

#[derive(Debug)]
pub(super) struct Lane {
    pub track: Arc<Track>,
    pub entry: Entry,
    pictures: Option<Pictures>,
    /// Microseconds that are added to the frames' times.
    pub offset: Option<i64>,
    /// Decoding time at which the next frame is expected, and that of the last frame, in ticks.
    expected: i64,
    pub last: Option<i64>,
    /// Ticks between frames as a rule, and how many in a row were much further apart.
    step: i64,
    strange: u32,
    /// Ticks that come off the decoding times that are written, those of its edit, and how long after the first decoding
    /// time its presentation begins.
    pub shift: i64,
    pub edit: i64,
    pub shown: i64,
    /// Where what was cut begins and ends, in ticks.
    pub cut: Option<(i64, i64)>,
    pub held: Vec<Held>,
    pub cadence: Cadence,
    /// Looks for SBR that the configuration does not tell of.
    probe: Probe,
}

/// What one track has to know of all.
#[derive(Default)]
pub(super) struct Others {
    pub offsets: [Option<i64>; 4],
    /// The latest end of any track so far, in microseconds.
    pub now: Option<i64>,
}

/// A sample whose duration is not known yet.
#[derive(Debug)]
pub(super) struct Held {
    pub dts: i64,
    pub pts: i64,
    pub key: bool,
    pub payload: Bytes,
}

impl Held {
    /// As a sample that lasts until `next`, in ticks.
    pub fn sample(&self, next: i64) -> Sample {
        Sample {
            duration: u32::try_from(next.saturating_sub(self.dts)).unwrap_or(u32::MAX),
            size: u32::try_from(self.payload.len()).unwrap_or(u32::MAX),
            key: self.key,
            composition: i32::try_from(self.pts.saturating_sub(self.dts)).unwrap_or(i32::MAX),
        }
    }
}

impl Lane {
    pub fn new(track: &Arc<Track>) -> Option<Self> {
        let (entry, pictures) = (Entry::of(track)?, Pictures::of(track));
        let track = Arc::clone(track);
        Some(Self {
            track,
            entry,
            pictures,
            offset: None,
            expected: 0,
            last: None,
            step: 0,
            strange: 0,
            shift: 0,
            edit: 0,
            shown: 0,
            cut: None,
            held: Vec::new(),
            cadence: Cadence::default(),
            probe: Probe::default(),
        })
    }

    /// Has key pictures carry the parameter sets of the sample entry.
    pub fn carry_sets(&mut self) {
        if let Some(pictures) = &mut self.pictures {
            pictures.in_band = true;
        }
    }

    /// Microseconds from the first frame that waits to be cut to the end of the last.
    pub fn held_micros(&self) -> i64 {
        let first = self.held.first().map_or(self.expected, |held| held.dts);
        rescale(self.expected.saturating_sub(first), self.entry.timescale, MICROS)
    }

    /// The track as its frames show it to be: with SBR and PS in the configuration where the publisher was silent.
    pub fn told(&self) -> Arc<Track> {
        let found = self.probe.verdict().filter(|_| self.entry.may_hide_sbr);
        found
            .and_then(|hint| super::entry::with_sbr(&self.track, hint))
            .unwrap_or_else(|| Arc::clone(&self.track))
    }

    /// Its codecs as RFC 6381 writes them.
    pub fn codecs(&self) -> String {
        self.entry.codecs(self.probe.verdict())
    }

    /// Where its next frame is expected, in microseconds.
    pub fn expected_micros(&self) -> i64 {
        rescale(self.expected, self.entry.timescale, MICROS)
    }

    /// Where a frame stands on the timeline, and the offset that puts it there, both in microseconds. The tracks' times
    /// are those of one clock: where a track's own offset leads away from what is expected, another's that leads there
    /// is taken, since that track was the first to see the clock jump.
    pub fn place(&self, frame: &Frame, others: &Others) -> (i64, i64) {
        let raw = rescale(frame.dts, frame.track.clock, MICROS);
        let (Some(own), Some(now)) = (self.offset, others.now) else {
            let Some(now) = others.now else { return (0, raw.saturating_neg()) };
            let near = |offset: &i64| raw.saturating_add(*offset).abs_diff(now) <= FORWARD.unsigned_abs();
            let offset = others.offsets.iter().flatten().copied().find(near);
            let offset = offset.unwrap_or(now.saturating_sub(raw));
            return (raw.saturating_add(offset), offset);
        };
        let expected = self.expected_micros();
        let last = self.last.map_or(expected, |last| rescale(last, self.entry.timescale, MICROS));
        let (from, to) = (last.min(expected).saturating_sub(BACK), now.max(expected).saturating_add(FORWARD));
        let off = |offset: i64| raw.saturating_add(offset).abs_diff(expected);
        let fits = |offset: &i64| (from..=to).contains(&raw.saturating_add(*offset));
        let offset = if off(own) <= NEAR.unsigned_abs() {
            own
        } else {
            let known = std::iter::once(own).chain(others.offsets.iter().flatten().copied());
            let best = known.filter(fits).min_by_key(|offset| off(*offset));
            best.unwrap_or(expected.saturating_sub(raw))
        };
        (raw.saturating_add(offset), offset)
    }

    /// Has a frame and what follows stand where it is expected.
    pub fn skip(&mut self, frame: &Frame, now: Option<i64>) {
        let raw = rescale(frame.dts, frame.track.clock, MICROS);
        let at = if self.last.is_some() { self.expected_micros() } else { now.unwrap_or(0) };
        self.offset = Some(at.saturating_sub(raw));
    }

    /// The decoding time in ticks of a frame that stands at `at` by the offset `offset`, both in microseconds.
    pub fn decoding_time(&self, frame: &Frame, at: i64, offset: i64) -> i64 {
        let timescale = self.entry.timescale;
        let mut dts = if frame.track.clock == timescale {
            let base = rescale(offset, MICROS, timescale);
            // Ticks need no rounding twice where the offset is whole.
            if rescale(base, timescale, MICROS) == offset {
                frame.dts.saturating_add(base)
            } else {
                rescale(at, MICROS, timescale)
            }
        } else {
            rescale(at, MICROS, timescale)
        };
        // Milliseconds cannot say where an audio frame begins: one that is within a millisecond of where its
        // predecessor ended begins there.
        let slack = i64::from(timescale.div_euclid(1000)).saturating_add(1);
        if self.entry.frame.is_some()
            && frame.track.clock != timescale
            && self.last.is_some()
            && dts.abs_diff(self.expected) <= slack.unsigned_abs()
        {
            dts = self.expected;
        }
        self.last.map_or(dts, |last| dts.max(last.saturating_add(1)))
    }

    pub fn push(&mut self, frame: &Frame, at: i64, offset: i64) {
        let timescale = self.entry.timescale;
        let dts = self.decoding_time(frame, at, offset);
        self.offset = Some(offset);
        if let Some(last) = self.last {
            let step = dts.saturating_sub(last);
            if self.entry.size.is_some() {
                self.cadence.step(step);
            }
            // One pause says nothing of what comes behind it.
            let strange = self.step > 0 && step > self.step.saturating_mul(PAUSE);
            self.strange = if strange { self.strange.saturating_add(1) } else { 0 };
            if self.strange != 1 {
                self.step = step;
            }
        }
        if self.entry.may_hide_sbr {
            self.probe.frame(&frame.payload);
        }
        let composition = rescale(frame.pts.saturating_sub(frame.dts), frame.track.clock, timescale).max(0);
        let pts = dts.saturating_add(composition);
        let (key, payload) = match &self.pictures {
            Some(pictures) => pictures.sample(frame),
            None => (frame.key, frame.payload.clone()),
        };
        self.held.push(Held { dts, pts, key, payload });
        self.last = Some(dts);
        self.expected = dts.saturating_add(self.length());
    }

    /// Ticks the newest frame lasts as far as is known.
    fn length(&self) -> i64 {
        match self.entry.frame {
            Some(frame) => i64::from(frame),
            None if self.step > 0 => self.step,
            None => rescale(UNKNOWN, MICROS, self.entry.timescale),
        }
    }

    /// Microseconds its frames last, as far as is known.
    pub fn frame_micros(&self) -> i64 {
        rescale(self.length(), self.entry.timescale, MICROS)
    }

    /// The first `count` held frames as a part, and where it ends: where `follower` is decoded, where it is known.
    pub fn cut(
        &mut self,
        track: u32,
        count: usize,
        follower: Option<i64>,
        data: &mut Vec<Bytes>,
    ) -> Option<(Part, i64)> {
        let cut: Vec<Held> = self.held.drain(..count.min(self.held.len())).collect();
        let (first, last) = (cut.first()?.dts, cut.last()?.dts);
        let follower = self.held.first().map(|held| held.dts).or(follower);
        let end = follower.filter(|at| *at > last).unwrap_or(self.expected);
        let ends = cut.iter().skip(1).map(|h| h.dts).chain([end]);
        let samples = cut.iter().zip(ends).map(|(held, next)| held.sample(next)).collect();
        let part = Part { track, decode_time: self.written(first), samples };
        self.cut = Some((self.cut.map_or(first, |(first, _)| first), end));
        data.extend(cut.into_iter().map(|held| held.payload));
        Some((part, end))
    }

    /// Where the presentation of what was cut ends, in microseconds.
    pub fn presented(&self) -> i64 {
        let end = self.cut.map_or(0, |(_, end)| end.saturating_sub(self.shift));
        let shown = if self.cut.is_some() { self.shown.saturating_sub(self.edit) } else { 0 };
        rescale(end.saturating_add(shown), self.entry.timescale, MICROS)
    }

    /// A decoding time as it is written.
    pub fn written(&self, dts: i64) -> u64 {
        u64::try_from(dts.saturating_sub(self.shift)).unwrap_or(0)
    }
}
