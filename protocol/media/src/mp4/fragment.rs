//! Frames to fragments: one timeline for all tracks that begins at 0 and never runs backwards.
//!
//! A frame lasts until the decoding time of its successor, the last one of all as long as the codec says or else as long
//! as the one before. A fragment ends at one time for all tracks: sound that came too early for it is kept for the next,
//! and sound that is still to come is waited for, so that fragments join to the tick. Where a publisher's times jump (by more than
//! ten seconds beyond all that came, or back by more than one), the timeline goes on as if nothing had happened: the jump is taken
//! out, from every track alike, so that a camera that dreams of another day for one frame costs nothing but that. Steps
//! back that are smaller are flattened.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::lane::{Lane, MICROS, Others};
use super::waiting::Waiting;
use crate::clock::rescale;
use crate::frame::{Frame, Kind, Track};

/// Microseconds of timeline beyond a fragment's end in which its sound is waited for.
const LATE: i64 = 1_000_000;
/// Microseconds that sound may lie behind and still be waited for.
const ABSENT: i64 = 1_500_000;

/// Microseconds of sound that are given up where pictures have just begun and their new sound follows.
const BRIEF: i64 = 250_000;

/// Collects frames, and cuts them into fragments.
#[derive(Debug)]
pub struct Fragmenter {
    lanes: Vec<Lane>,
    /// Key pictures carry their parameter sets.
    in_band: bool,
    sequence: u32,
    cut: bool,
    /// True while nothing was pushed since the last cut.
    fresh: bool,
    /// Where the open fragment begins on the timeline, in microseconds.
    start: i64,
    waiting: Option<Waiting>,
    done: VecDeque<Fragment>,
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

impl Fragmenter {
    /// For those of `tracks` that fragments can hold; `None` where there are none.
    pub fn new(tracks: &[Arc<Track>]) -> Option<Self> {
        let lanes: Vec<Lane> = tracks.iter().filter_map(Lane::new).collect();
        (!lanes.is_empty()).then_some(Self {
            lanes,
            in_band: false,
            sequence: 0,
            cut: false,
            fresh: true,
            start: 0,
            waiting: None,
            done: VecDeque::new(),
        })
    }

    /// Has key pictures carry their parameter sets, which the initialization section has as well: for readers that keep to
    /// the first one they saw.
    pub fn with_parameter_sets(mut self) -> Self {
        self.in_band = true;
        self.lanes.iter_mut().for_each(Lane::carry_sets);
        self
    }

    /// Takes over a changed list of tracks, if nothing was cut yet and it only adds to what there is; otherwise false. Sound
    /// that has been there for a moment only gives way: encoders that begin anew send pictures first.
    pub fn extend(&mut self, tracks: &[Arc<Track>]) -> bool {
        let held: Vec<&Arc<Track>> = tracks.iter().filter(|t| super::carries(t)).collect();
        if self.is_for(tracks) {
            return true;
        }
        let (video, sound) = (self.has_video(), held.iter().any(|t| t.kind() == Kind::Audio));
        let brief = |lane: &Lane| lane.track.kind() == Kind::Audio && lane.held_micros() < BRIEF;
        let stays = |lane: &Lane| held.iter().any(|t| **t == lane.track) || (video && sound && brief(lane));
        if self.cut || !self.lanes.iter().all(stays) {
            return false;
        }
        let mut lanes = std::mem::take(&mut self.lanes);
        for track in held {
            match lanes.iter().position(|lane| lane.track == *track) {
                Some(at) => self.lanes.push(lanes.swap_remove(at)),
                None => self.lanes.extend(Lane::new(track)),
            }
        }
        if self.in_band {
            self.lanes.iter_mut().for_each(Lane::carry_sets);
        }
        true
    }

    /// True where these are the tracks it holds.
    pub fn is_for(&self, tracks: &[Arc<Track>]) -> bool {
        tracks.iter().filter(|t| super::carries(t)).eq(self.lanes.iter().map(|lane| &lane.track))
    }

    /// The tracks, in the order of the initialisation section. AAC whose frames were seen to carry SBR has a configuration
    /// that says so.
    pub fn tracks(&self) -> Vec<Arc<Track>> {
        self.lanes.iter().map(Lane::told).collect()
    }

    /// True where it holds the track of this frame.
    pub fn holds(&self, frame: &Frame) -> bool {
        self.lane(frame).is_some()
    }

    fn lane(&self, frame: &Frame) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.track == frame.track)
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
            let first = lane.held.first().map(|h| h.dts);
            let shown = lane.held.iter().map(|h| h.pts).min().zip(first);
            lane.shown = shown.map_or(0, |(shown, first)| shown.saturating_sub(first));
            if first.is_some_and(|first| first < ticks) {
                lane.edit = ticks;
            } else {
                lane.shift = ticks;
            }
            u64::try_from(lane.edit).unwrap_or(0)
        };
        self.lanes.iter_mut().map(edit).collect()
    }

    /// Where the presentation of each track ends in microseconds, as far as it was cut.
    pub fn lengths(&self) -> Vec<u64> {
        self.lanes.iter().map(|lane| u64::try_from(lane.presented()).unwrap_or(0)).collect()
    }

    /// Bytes of payload that wait to be cut.
    pub fn held_bytes(&self) -> usize {
        let sizes = self.lanes.iter().flat_map(|lane| &lane.held).map(|h| h.payload.len());
        sizes.fold(0, usize::saturating_add)
    }

    /// How long the open fragment would be in microseconds if it were cut before `frame`.
    pub fn length_before(&self, frame: &Frame) -> u64 {
        let Some(lane) = self.lane(frame) else { return 0 };
        let at = lane.place(frame, &self.others()).0;
        u64::try_from(at.saturating_sub(self.start)).unwrap_or(0)
    }

    /// Microseconds between the end of all that came and `frame`: nothing of any track came in that time.
    pub fn gap_before(&self, frame: &Frame) -> u64 {
        let others = self.others();
        let gap =
            self.lane(frame).zip(others.now).map(|(l, now)| l.place(frame, &others).0.saturating_sub(now));
        gap.map_or(0, |gap| u64::try_from(gap).unwrap_or(0))
    }

    /// Takes a gap before `frame` out of the timeline, as a jump is.
    pub fn skip(&mut self, frame: &Frame) {
        let now = self.others().now;
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.track == frame.track) {
            lane.skip(frame, now);
        }
    }

    /// Microseconds that the frames of a frame's track last, as far as is known.
    pub fn lasts(&self, frame: &Frame) -> u64 {
        self.lane(frame).map_or(0, |lane| u64::try_from(lane.frame_micros()).unwrap_or(0))
    }

    /// How long the open fragment's pictures would last in microseconds if no more of them came.
    pub fn length_of_pictures(&self) -> Option<u64> {
        let lane = self.lanes.iter().find(|l| l.track.kind() == Kind::Video && l.last.is_some())?;
        Some(u64::try_from(lane.expected_micros().saturating_sub(self.start)).unwrap_or(0))
    }

    /// Microseconds that come on top of a frame's time to put it on the timeline. It stays the same until the publisher's
    /// times jump. `None` for a frame of a track that it does not hold.
    pub fn offset(&self, frame: &Frame) -> Option<i64> {
        Some(self.lane(frame)?.place(frame, &self.others()).1)
    }

    fn codecs(&self) -> String {
        let all: Vec<String> = self.lanes.iter().map(Lane::codecs).collect();
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
        if self.waiting.as_ref().is_some_and(|waiting| at > waiting.until) {
            self.give_up();
        }
        if beginning {
            self.start = at;
        }
        let Some(lane) = self.lanes.get_mut(index) else { return };
        // What comes before the beginning (audio that was sent behind the first picture) has no place.
        if at >= 0 {
            lane.push(frame, at, offset);
        }
        match &mut self.waiting {
            Some(waiting) if waiting.lane == index && next < waiting.boundary => {
                if let Some(held) = lane.held.pop() {
                    waiting.add(held, lane);
                }
            }
            Some(waiting) if waiting.lane == index => {
                waiting.settle(next, lane);
                self.fresh = false;
                self.give_up();
            }
            _ => self.fresh = false,
        }
    }

    fn others(&self) -> Others {
        let mut others = Others::default();
        for (lane, place) in self.lanes.iter().zip(&mut others.offsets) {
            *place = lane.offset;
        }
        let ends = self.lanes.iter().filter(|lane| lane.last.is_some());
        others.now = ends.map(Lane::expected_micros).max();
        others
    }

    /// The next fragment that was cut and is finished.
    pub fn take(&mut self) -> Option<Fragment> {
        self.done.pop_front()
    }

    /// Cuts what was pushed into a fragment; `next` is the frame that will follow, none at the end. Returns how long the
    /// fragment lasts in microseconds, `None` where nothing was pushed. [`take`](Self::take) it when it is finished: at once
    /// at the end, else when the sound has come that belongs to it.
    pub fn cut(&mut self, next: Option<&Frame>) -> Option<u64> {
        let others = self.others();
        let next = next.and_then(|frame| {
            let index = self.lanes.iter().position(|lane| lane.track == frame.track)?;
            let lane = self.lanes.get(index)?;
            let (at, offset) = lane.place(frame, &others);
            Some(Boundary { follower: Some((index, lane.decoding_time(frame, at, offset))), at })
        });
        self.cut_at(next)
    }

    /// Cuts what was pushed into a fragment of `length` microseconds, since pictures stay away; sound beyond is kept.
    pub fn cut_after(&mut self, length: u64) -> Option<u64> {
        let at = self.start.saturating_add(i64::try_from(length).unwrap_or(i64::MAX));
        self.cut_at(Some(Boundary { follower: None, at }))
    }

    fn cut_at(&mut self, boundary: Option<Boundary>) -> Option<u64> {
        self.give_up();
        if self.held() == 0 {
            return None;
        }
        let key = self.lanes.iter().filter(|l| l.track.kind() == Kind::Video);
        let key = key.filter_map(|l| l.held.first()).all(|h| h.key);
        let (codecs, frame_rate) = (self.codecs(), self.frame_rate());
        let (mut parts, mut data, mut frames) = (Vec::new(), Vec::new(), 0usize);
        let (mut pictures, mut waits) = (0usize, None);
        let (mut ends, mut leading) = (self.start, None);
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let video = lane.track.kind() == Kind::Video;
            let follower = boundary.and_then(|b| b.follower).filter(|(at, _)| *at == index);
            let sound = boundary.map(|b| rescale(b.at, MICROS, lane.entry.timescale));
            // All that was pushed of the track whose frame follows comes before that.
            let apart = sound.filter(|_| !video && follower.is_none());
            let count =
                apart.map_or(lane.held.len(), |sound| lane.held.iter().take_while(|h| h.dts < sound).count());
            let whole = count == lane.held.len();
            let behind = lane.expected_micros();
            let mut last = None;
            if let Some((part, stop)) = lane.cut(part_id(index), count, follower.map(|(_, at)| at), &mut data)
            {
                frames = frames.saturating_add(count);
                pictures = pictures.saturating_add(if video { count } else { 0 });
                let stop = rescale(stop, lane.entry.timescale, MICROS);
                ends = ends.max(stop);
                leading = leading.or((video || follower.is_some()).then_some(stop));
                parts.push(part);
                last = lane.last;
            }
            let misses = |b: &Boundary| lane.last.is_some() && b.at.saturating_sub(behind) < ABSENT;
            if let (Some(b), Some(sound)) = (boundary.filter(misses), apart)
                && whole
                && lane.entry.frame.is_some()
            {
                waits = Some((index, last, sound, b.at.saturating_add(LATE)));
            }
        }
        if parts.is_empty() {
            return None;
        }
        self.sequence = self.sequence.wrapping_add(1);
        (self.cut, self.fresh) = (true, true);
        // The duration that counts is video's where there is video, up to the tick; sound alone ends where it ends.
        let end = match boundary {
            Some(b) if b.follower.is_some() => leading.unwrap_or(b.at),
            Some(b) => b.at,
            None => leading.filter(|stop| ends.saturating_sub(*stop) < LATE).unwrap_or(ends),
        };
        let end = end.max(self.start);
        let duration = u64::try_from(end.saturating_sub(self.start)).unwrap_or(0);
        let fragment = Fragment {
            number: self.sequence,
            head: Bytes::new(),
            data,
            start: u64::try_from(self.start).unwrap_or(0),
            duration,
            frames,
            pictures,
            key,
            codecs,
            frame_rate,
        };
        self.start = end;
        let late = waits.is_some();
        let (lane, last, boundary, until) = waits.unwrap_or_default();
        let waiting = Waiting { fragment, parts, lane, id: part_id(lane), last, boundary, until };
        if late {
            self.waiting = Some(waiting);
        } else {
            self.done.push_back(waiting.finished());
        }
        Some(duration)
    }

    /// True where a fragment that was cut waits for its sound.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Finishes what waits as it is.
    pub fn give_up(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.done.push_back(waiting.finished());
        }
    }
}

/// Where a fragment ends.
#[derive(Clone, Copy, Debug)]
struct Boundary {
    /// The track whose frame follows, and when that is decoded in the track's ticks.
    follower: Option<(usize, i64)>,
    /// On the timeline in microseconds. Players that line up tracks at a discontinuity do it by decoding times.
    at: i64,
}

/// A track's number in fragments.
fn part_id(lane: usize) -> u32 {
    u32::try_from(lane.saturating_add(1)).unwrap_or(u32::MAX)
}
