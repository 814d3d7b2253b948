//! Frames to fragments: one timeline for all tracks that begins at 0 and never runs backwards.
//!
//! A frame lasts until the decoding time of its successor, the last one of all as long as the codec says or else as long
//! as the one before. A fragment that is cut before a picture waits until the sound's successor tells how long its last
//! sound lasts, so that fragments join to the tick. Where a publisher's times jump (forward by more than [`FORWARD`], back by more than
//! [`BACK`]), the timeline goes on as if nothing had happened: the jump is taken out, from every track alike, so that
//! a camera that dreams of another day for one frame costs nothing but that. Steps back that are smaller are flattened.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use wire::codec::aac::sbr::Probe;
use wire::mp4::write::{Part, Sample, fragment_head};

use super::cadence::Cadence;
use super::entry::Entry;
use crate::clock::rescale;
use crate::frame::{Frame, Kind, Track};

/// Microseconds a track's time may advance from one frame to the next.
const FORWARD: i64 = 10_000_000;
/// Microseconds a track's time may step back from one frame to the next.
const BACK: i64 = 1_000_000;
/// Microseconds per second.
const MICROS: u32 = 1_000_000;
/// Microseconds a frame lasts of which nothing is known.
const UNKNOWN: i64 = 40_000;
/// Microseconds behind the expected end of a track's last frame in which its successor is waited for.
const SUCCESSOR: i64 = 200_000;

/// Collects frames, and cuts them into fragments.
#[derive(Debug)]
pub struct Fragmenter {
    lanes: Vec<Lane>,
    sequence: u32,
    cut: bool,
    /// True while nothing was pushed since the last cut.
    fresh: bool,
    /// Where the open fragment begins on the timeline, in microseconds.
    start: i64,
    /// Largest end of any sample that was cut, in microseconds.
    end: i64,
    waiting: Option<Waiting>,
    done: VecDeque<Fragment>,
}

/// A fragment that was cut before it is known how long its last sound lasts.
#[derive(Debug)]
struct Waiting {
    fragment: Fragment,
    parts: Vec<Part>,
    lane: usize,
    /// When its last sound was decoded, in ticks.
    last: i64,
    /// Until where the timeline may come before it is given up, in microseconds.
    until: i64,
}

/// A moof, the head of its mdat, and the data behind it.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// Its sequence number.
    pub number: u32,
    /// moof and the head of mdat.
    pub head: Bytes,
    /// The frames' payloads, shared.
    pub data: Vec<Bytes>,
    /// Where it begins on the timeline, in microseconds.
    pub start: u64,
    /// How long it lasts in microseconds: to the beginning of what follows.
    pub duration: u64,
    /// Frames in it.
    pub frames: usize,
    /// Pictures among them.
    pub pictures: usize,
    /// True where it begins with a picture that decoding can start at, or has no pictures.
    pub key: bool,
    /// The tracks' codecs as RFC 6381 writes them, a comma between: SBR and PS that only the frames tell of (ISO 14496-3
    /// §1.6.5.3) included, as far as frames were seen.
    pub codecs: String,
    /// Pictures per second, the nominal rate.
    pub frame_rate: Option<f64>,
}

impl Fragment {
    /// Bytes of all of it.
    pub fn len(&self) -> usize {
        self.data.iter().fold(self.head.len(), |n, piece| n.saturating_add(piece.len()))
    }

    /// True for no bytes at all, which is never.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it in one piece.
    pub fn to_bytes(&self) -> Bytes {
        let mut whole = Vec::with_capacity(self.len());
        whole.extend_from_slice(&self.head);
        for piece in &self.data {
            whole.extend_from_slice(piece);
        }
        Bytes::from(whole)
    }
}

#[derive(Debug)]
struct Lane {
    track: Arc<Track>,
    entry: Entry,
    /// Microseconds that are added to the frames' times.
    offset: Option<i64>,
    /// The frame before, in microseconds of its own time.
    raw: i64,
    /// Decoding time at which the next frame is expected, and that of the last frame, in ticks.
    expected: i64,
    last: Option<i64>,
    /// Ticks between the last two frames.
    step: i64,
    /// Ticks that come off the decoding times that are written.
    shift: i64,
    /// Where what was cut begins and ends, in ticks.
    cut: Option<(i64, i64)>,
    held: Vec<Held>,
    cadence: Cadence,
    /// Looks for SBR that the configuration does not tell of.
    probe: Probe,
}

/// What one track has to know of all.
#[derive(Default)]
struct Others {
    offsets: [Option<i64>; 4],
    /// The latest end of any track so far, in microseconds.
    now: Option<i64>,
}

#[derive(Debug)]
struct Held {
    dts: i64,
    pts: i64,
    key: bool,
    payload: Bytes,
}

impl Fragmenter {
    /// For those of `tracks` that fragments can hold; `None` where there are none.
    pub fn new(tracks: &[Arc<Track>]) -> Option<Self> {
        let lanes: Vec<Lane> = tracks.iter().filter_map(Lane::new).collect();
        (!lanes.is_empty()).then_some(Self {
            lanes,
            sequence: 0,
            cut: false,
            fresh: true,
            start: 0,
            end: 0,
            waiting: None,
            done: VecDeque::new(),
        })
    }

    /// Takes over a changed list of tracks, if nothing was cut yet and it only adds to what there is; otherwise false.
    pub fn extend(&mut self, tracks: &[Arc<Track>]) -> bool {
        let held: Vec<&Arc<Track>> = tracks.iter().filter(|t| super::carries(t)).collect();
        if self.is_for(tracks) {
            return true;
        }
        if self.cut || !self.lanes.iter().all(|lane| held.iter().any(|t| **t == lane.track)) {
            return false;
        }
        let mut lanes = std::mem::take(&mut self.lanes);
        for track in held {
            match lanes.iter().position(|lane| lane.track == *track) {
                Some(at) => self.lanes.push(lanes.swap_remove(at)),
                None => self.lanes.extend(Lane::new(track)),
            }
        }
        true
    }

    /// True where these are the tracks it holds.
    pub fn is_for(&self, tracks: &[Arc<Track>]) -> bool {
        tracks.iter().filter(|t| super::carries(t)).eq(self.lanes.iter().map(|lane| &lane.track))
    }

    /// The tracks, in the order of the initialisation section.
    pub fn tracks(&self) -> Vec<Arc<Track>> {
        self.lanes.iter().map(|lane| Arc::clone(&lane.track)).collect()
    }

    /// True where one of the tracks is video.
    pub fn has_video(&self) -> bool {
        self.lanes.iter().any(|lane| lane.track.kind() == Kind::Video)
    }

    /// True where nothing was pushed since the last cut.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Frames that wait to be cut.
    pub fn held(&self) -> usize {
        self.lanes.iter().map(|lane| lane.held.len()).sum()
    }

    /// Before the first cut: has the presentation begin at 0, since a file's length is counted from there. Returns for
    /// each track the edit that this takes, in its ticks: tracks whose decoding would begin before 0 need one.
    pub fn begin_at_zero(&mut self) -> Vec<u64> {
        let first =
            |lane: &Lane| lane.held.iter().map(|h| rescale(h.pts, lane.entry.timescale, MICROS)).min();
        let origin = self.lanes.iter().filter_map(first).min().unwrap_or(0);
        let edit = |lane: &mut Lane| {
            let ticks = rescale(origin, MICROS, lane.entry.timescale);
            if lane.held.first().is_some_and(|h| h.dts < ticks) {
                return u64::try_from(ticks).unwrap_or(0);
            }
            lane.shift = ticks;
            0
        };
        self.lanes.iter_mut().map(edit).collect()
    }

    /// How long each track is in microseconds, as far as it was cut.
    pub fn lengths(&self) -> Vec<u64> {
        let length = |lane: &Lane| lane.cut.map_or(0, |(first, end)| end.saturating_sub(first));
        let micros = |lane: &Lane| rescale(length(lane), lane.entry.timescale, MICROS);
        self.lanes.iter().map(|lane| u64::try_from(micros(lane)).unwrap_or(0)).collect()
    }

    /// Bytes of payload that wait to be cut.
    pub fn held_bytes(&self) -> usize {
        let sizes = self.lanes.iter().flat_map(|lane| &lane.held).map(|h| h.payload.len());
        sizes.fold(0, usize::saturating_add)
    }

    /// How long the open fragment would be in microseconds if it were cut before `frame`.
    pub fn length_before(&self, frame: &Frame) -> u64 {
        let Some(lane) = self.lanes.iter().find(|lane| lane.track == frame.track) else { return 0 };
        let at = lane.place(frame, &self.others()).0;
        u64::try_from(at.saturating_sub(self.start)).unwrap_or(0)
    }

    /// Microseconds that come on top of a frame's time to put it on the timeline. It stays the same until the publisher's
    /// times jump. `None` for a frame of a track that it does not hold.
    pub fn offset(&self, frame: &Frame) -> Option<i64> {
        let lane = self.lanes.iter().find(|lane| lane.track == frame.track)?;
        Some(lane.place(frame, &self.others()).1)
    }

    fn codecs(&self) -> String {
        let all: Vec<String> =
            self.lanes.iter().map(|lane| lane.entry.codecs(lane.probe.verdict())).collect();
        all.join(",")
    }

    fn frame_rate(&self) -> Option<f64> {
        let video = self.lanes.iter().find(|lane| lane.track.kind() == Kind::Video)?;
        video.cadence.rate(video.entry.frame_rate)
    }

    /// Takes a frame. One of a track that it does not hold is ignored.
    pub fn push(&mut self, frame: &Frame) {
        let others = self.others();
        let beginning = others.now.is_none();
        let Some(index) = self.lanes.iter().position(|lane| lane.track == frame.track) else { return };
        let Some(lane) = self.lanes.get(index) else { return };
        let (at, offset) = lane.place(frame, &others);
        let next = lane.decoding_time(frame, at, offset);
        match &self.waiting {
            Some(waiting) if at > waiting.until => self.give_up(),
            Some(waiting) if waiting.lane == index => self.settle(next),
            _ => {}
        }
        self.fresh = false;
        if beginning {
            (self.start, self.end) = (at, at);
        }
        let Some(lane) = self.lanes.get_mut(index) else { return };
        // What comes before the beginning (audio that was sent behind the first picture) has no place.
        if at >= 0 {
            lane.push(frame, at, offset);
        }
    }

    fn others(&self) -> Others {
        let mut others = Others::default();
        for (lane, place) in self.lanes.iter().zip(&mut others.offsets) {
            *place = lane.offset;
        }
        let ends = self.lanes.iter().filter(|lane| lane.last.is_some());
        others.now = ends.map(|lane| rescale(lane.expected, lane.entry.timescale, MICROS)).max();
        others
    }

    /// The next fragment that was cut and is finished.
    pub fn take(&mut self) -> Option<Fragment> {
        self.done.pop_front()
    }

    /// Cuts what was pushed into a fragment; `next` is the frame that will follow, none at the end. Returns how long the
    /// fragment lasts in microseconds, `None` where nothing was pushed. [`take`](Self::take) it when it is finished: at once
    /// at the end, else with the next sound at the latest.
    pub fn cut(&mut self, next: Option<&Frame>) -> Option<u64> {
        self.give_up();
        if self.held() == 0 {
            return None;
        }
        let others = self.others();
        let key = self.lanes.iter().filter(|l| l.track.kind() == Kind::Video);
        let key = key.filter_map(|l| l.held.first()).all(|h| h.key);
        let (mut parts, mut data, mut frames) = (Vec::new(), Vec::new(), 0usize);
        let mut pictures = 0usize;
        let mut end = self.end;
        let mut waits = None;
        // The duration that counts is video's where there is video.
        let leading = self.lanes.iter().position(|l| l.track.kind() == Kind::Video && !l.held.is_empty());
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let follower = next.filter(|frame| frame.track == lane.track);
            let follower = follower.map(|frame| {
                let (at, offset) = lane.place(frame, &others);
                lane.decoding_time(frame, at, offset)
            });
            let last =
                lane.last.filter(|_| next.is_some() && follower.is_none() && lane.entry.frame.is_some());
            frames = frames.saturating_add(lane.held.len());
            if lane.track.kind() == Kind::Video {
                pictures = pictures.saturating_add(lane.held.len());
            }
            let Some((part, stop)) = lane.cut(part_id(index), follower, &mut data) else { continue };
            parts.push(part);
            let stop = rescale(stop, lane.entry.timescale, MICROS);
            waits = last.map(|last| (index, last, stop.saturating_add(SUCCESSOR))).or(waits);
            end = match leading {
                Some(lead) if lead == index => stop,
                Some(lead) if lead < index => end,
                _ => end.max(stop),
            };
        }
        self.sequence = self.sequence.wrapping_add(1);
        (self.cut, self.fresh) = (true, true);
        let end = end.max(self.start);
        let duration = u64::try_from(end.saturating_sub(self.start)).unwrap_or(0);
        let mut fragment = Fragment {
            number: self.sequence,
            head: Bytes::new(),
            data,
            start: u64::try_from(self.start).unwrap_or(0),
            duration,
            frames,
            pictures,
            key,
            codecs: self.codecs(),
            frame_rate: self.frame_rate(),
        };
        (self.start, self.end) = (end, end);
        match waits {
            Some((lane, last, until)) => self.waiting = Some(Waiting { fragment, parts, lane, last, until }),
            None => {
                fragment.head = Bytes::from(fragment_head(fragment.number, &parts));
                self.done.push_back(fragment);
            }
        }
        Some(duration)
    }

    /// Finishes what waits with the duration that was expected.
    fn give_up(&mut self) {
        if let Some(Waiting { mut fragment, parts, .. }) = self.waiting.take() {
            fragment.head = Bytes::from(fragment_head(fragment.number, &parts));
            self.done.push_back(fragment);
        }
    }

    /// Finishes what waits: its last sound lasts until `next`, in ticks.
    fn settle(&mut self, next: i64) {
        let Some(waiting) = &mut self.waiting else { return };
        let lasts = u32::try_from(next.saturating_sub(waiting.last)).ok().filter(|lasts| *lasts > 0);
        let id = part_id(waiting.lane);
        let part = waiting.parts.iter_mut().find(|part| part.track == id);
        if let Some((sample, lasts)) = part.and_then(|part| part.samples.last_mut()).zip(lasts) {
            sample.duration = lasts;
        }
        if let Some((_, end)) = self.lanes.get_mut(waiting.lane).and_then(|lane| lane.cut.as_mut()) {
            *end = next;
        }
        self.give_up();
    }
}

/// A track's number in fragments.
fn part_id(lane: usize) -> u32 {
    u32::try_from(lane.saturating_add(1)).unwrap_or(u32::MAX)
}

impl Lane {
    fn new(track: &Arc<Track>) -> Option<Self> {
        let entry = Entry::of(track)?;
        let track = Arc::clone(track);
        Some(Self {
            track,
            entry,
            offset: None,
            raw: 0,
            expected: 0,
            last: None,
            step: 0,
            shift: 0,
            cut: None,
            held: Vec::new(),
            cadence: Cadence::default(),
            probe: Probe::default(),
        })
    }

    /// Where a frame stands on the timeline, and the offset that puts it there, both in microseconds.
    fn place(&self, frame: &Frame, others: &Others) -> (i64, i64) {
        let raw = rescale(frame.dts, frame.track.clock, MICROS);
        let near = |at: i64, want: i64, back: i64| {
            (back.saturating_neg()..=FORWARD).contains(&at.saturating_sub(want))
        };
        // The offsets of other tracks are tried first: the tracks' times are those of one clock.
        let shared = |want: i64, back: i64| {
            let known = others.offsets.iter().flatten().map(|offset| (raw.saturating_add(*offset), *offset));
            known.into_iter().find(|(at, _)| near(*at, want, back))
        };
        match (self.offset, others.now) {
            (Some(offset), _) if near(raw, self.raw, BACK) => (raw.saturating_add(offset), offset),
            (Some(_), _) => {
                let expected = rescale(self.expected, self.entry.timescale, MICROS);
                shared(expected, BACK).unwrap_or((expected, expected.saturating_sub(raw)))
            }
            (None, Some(now)) => shared(now, FORWARD).unwrap_or((now, now.saturating_sub(raw))),
            (None, None) => (0, raw.saturating_neg()),
        }
    }

    /// The decoding time in ticks of a frame that stands at `at` by the offset `offset`, both in microseconds.
    fn decoding_time(&self, frame: &Frame, at: i64, offset: i64) -> i64 {
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

    fn push(&mut self, frame: &Frame, at: i64, offset: i64) {
        let timescale = self.entry.timescale;
        let dts = self.decoding_time(frame, at, offset);
        self.raw = rescale(frame.dts, frame.track.clock, MICROS);
        self.offset = Some(offset);
        if let Some(last) = self.last {
            self.step = dts.saturating_sub(last);
            if self.entry.size.is_some() {
                self.cadence.step(self.step);
            }
        }
        if self.entry.may_hide_sbr {
            self.probe.frame(&frame.payload);
        }
        let composition = rescale(frame.pts.saturating_sub(frame.dts), frame.track.clock, timescale).max(0);
        let pts = dts.saturating_add(composition);
        self.held.push(Held { dts, pts, key: frame.key, payload: frame.payload.clone() });
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

    /// The held frames as a part, and where it ends.
    fn cut(&mut self, track: u32, follower: Option<i64>, data: &mut Vec<Bytes>) -> Option<(Part, i64)> {
        let first = self.held.first()?.dts;
        let expected = self.expected;
        let last = self.held.last()?.dts;
        let end = follower.filter(|at| *at > last);
        let end = end.unwrap_or(expected);
        let ends = self.held.iter().skip(1).map(|h| h.dts).chain([end]);
        let samples = self.held.iter().zip(ends).map(|(held, next)| Sample {
            duration: u32::try_from(next.saturating_sub(held.dts)).unwrap_or(u32::MAX),
            size: u32::try_from(held.payload.len()).unwrap_or(u32::MAX),
            key: held.key,
            composition: i32::try_from(held.pts.saturating_sub(held.dts)).unwrap_or(i32::MAX),
        });
        let part = Part {
            track,
            decode_time: u64::try_from(first.saturating_sub(self.shift)).unwrap_or(0),
            samples: samples.collect(),
        };
        self.cut = Some((self.cut.map_or(first, |(first, _)| first), end));
        data.extend(self.held.drain(..).map(|held| held.payload));
        Some((part, end))
    }
}
