//! Frames to segments that begin with key frames. No I/O, no clock: times come in as arguments.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use media::mp4::{Fragmenter, carries, init_section, picture_size};
use media::{Frame, Kind, Track};
use time::OffsetDateTime;

/// Microseconds beyond the target duration at which a segment is cut before any frame: EXTINF rounded to whole
/// seconds must not exceed the target (RFC 8216 §4.3.3.1).
const GRACE: u64 = 400_000;
/// Microseconds after which a first segment without a second key frame is cut all the same.
const FIRST: u64 = 12_000_000;
/// Bytes after which a segment is cut before any frame.
const LARGEST: usize = 32 << 20;
/// Frames after which a segment is cut before any frame.
const MOST_FRAMES: usize = 20_000;
/// Nanoseconds that the dates may drift from the clock before they are set anew.
const DRIFT: u128 = 2_000_000_000;

/// Microseconds after which a segment may end early, where the publisher's times jump.
const EARLY: u64 = 1_000_000;
/// Microseconds by which times that jump differ from times that only drift.
const JUMP: u64 = 1_000_000;

/// A finished segment.
#[derive(Debug)]
pub struct Made {
    /// The initialisation section (ftyp and moov), where it is new with this segment.
    pub opening: Option<Bytes>,
    /// moof and mdat.
    pub bytes: Bytes,
    /// Duration in microseconds.
    pub micros: u64,
    /// When its first frame was live.
    pub date: OffsetDateTime,
    /// True where it begins with a key frame.
    pub key: bool,
    /// True where the publisher's times jumped since the segment before.
    pub broken: bool,
    /// What the multivariant playlist says.
    pub about: About,
}

/// What the multivariant playlist says of the encoding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// As RFC 6381 writes them, a comma between.
    pub codecs: String,
    /// Width and height in pixels.
    pub size: Option<(u16, u16)>,
    /// Pictures per second.
    pub frame_rate: Option<f64>,
}

/// A segment that is cut: it may take the next sound to finish its bytes.
#[derive(Debug)]
struct Closing {
    opening: Option<Bytes>,
    size: Option<(u16, u16)>,
    date: OffsetDateTime,
    broken: bool,
}

/// Cuts one publisher's frames into segments.
#[derive(Debug)]
pub struct Segmenter {
    /// Shortest segment in microseconds.
    least: u64,
    /// Target duration in microseconds, once it is known.
    target: Option<u64>,
    tracks: Vec<Arc<Track>>,
    open: Option<Fragmenter>,
    opening: Option<Bytes>,
    /// True once a frame was taken by `open`.
    begun: bool,
    /// Microseconds of all segments so far.
    end: u64,
    /// What the publisher's times differ by from the open segment's, and whether they jumped where it began.
    offset: Option<i64>,
    broken: bool,
    /// Where the newest key frame stands, in microseconds from the first segment on.
    last_key: u64,
    /// Where the open segment begins, in dates.
    date: Option<OffsetDateTime>,
    /// Segments that are cut and not finished yet.
    closing: VecDeque<Closing>,
    made: Vec<Made>,
}

impl Segmenter {
    /// For segments of `least` or more; `target` is the path's target duration in seconds, where it has one.
    pub fn new(least: Duration, target: Option<u64>) -> Self {
        let least = u64::try_from(least.as_micros()).unwrap_or(u64::MAX);
        let target = target.map(|seconds| seconds.saturating_mul(1_000_000));
        let (tracks, made) = (Vec::new(), Vec::new());
        let (end, last_key) = (0, 0);
        Self {
            least,
            target,
            tracks,
            open: None,
            opening: None,
            begun: false,
            end,
            offset: None,
            broken: false,
            last_key,
            date: None,
            closing: VecDeque::new(),
            made,
        }
    }

    /// A track begins, or its configuration changes. Take what was [`made`](Self::take) of it.
    pub fn track(&mut self, track: &Arc<Track>) {
        match self.tracks.iter_mut().find(|t| t.kind() == track.kind()) {
            Some(old) => *old = Arc::clone(track),
            None if track.kind() == Kind::Video => self.tracks.insert(0, Arc::clone(track)),
            None => self.tracks.push(Arc::clone(track)),
        }
        if self.open.as_mut().is_some_and(|open| open.extend(&self.tracks)) {
            return;
        }
        self.cut(None);
        (self.open, self.begun, self.opening) = (Fragmenter::new(&self.tracks), false, None);
        (self.offset, self.broken) = (None, false);
    }

    /// True where tracks are known and none of them can be carried.
    pub fn is_unfit(&self) -> bool {
        !self.tracks.is_empty() && !self.tracks.iter().any(|t| carries(t))
    }

    /// Takes a frame that became live at `now`.
    pub fn frame(&mut self, frame: &Frame, now: OffsetDateTime) {
        let Some(open) = &mut self.open else { return };
        let picture = frame.track.kind() == Kind::Video;
        if !carries(&frame.track) {
            return;
        }
        let start = if open.has_video() { picture && frame.key } else { true };
        if !self.begun && !start {
            return;
        }
        let offset = open.offset(frame);
        let jumped = start && self.offset.zip(offset).is_some_and(|(old, new)| old.abs_diff(new) > JUMP);
        if self.begun {
            let length = open.length_before(frame);
            let limit = self.target.map_or(FIRST, |target| target.saturating_add(GRACE));
            let full = open.held_bytes() >= LARGEST || open.held() >= MOST_FRAMES;
            let at = self.end.saturating_add(length);
            let mut due = length >= limit || full;
            if start {
                // Rather a short segment than one that has to be cut between key frames.
                let group = at.saturating_sub(std::mem::replace(&mut self.last_key, at));
                let next = length.saturating_add(group);
                due |= jumped && length >= EARLY.min(self.least);
                due |= length >= self.least || (picture && self.target.is_some() && next > limit);
            }
            if due {
                self.cut(Some(frame));
            }
        }
        self.begun = true;
        if start && open_is_empty(self.open.as_ref()) {
            (self.offset, self.broken) = (offset, jumped);
        }
        // The dates go on by the media's own time, unless that has left the clock behind or run ahead of it.
        let date = self.date.get_or_insert(now);
        if open_is_empty(self.open.as_ref())
            && now.unix_timestamp_nanos().abs_diff(date.unix_timestamp_nanos()) > DRIFT
        {
            *date = now;
        }
        if let Some(open) = &mut self.open {
            open.push(frame);
        }
        self.finished();
    }

    /// The publisher has left: what is held becomes the last segment.
    pub fn finish(&mut self) {
        self.cut(None);
        self.open = None;
    }

    /// The segments that were finished since the last time.
    pub fn take(&mut self) -> Vec<Made> {
        std::mem::take(&mut self.made)
    }

    /// Tells the target duration that was fixed with the first segment, in seconds.
    pub fn fix(&mut self, target: Option<u64>) {
        self.target = target.map(|seconds| seconds.saturating_mul(1_000_000));
    }

    fn cut(&mut self, next: Option<&Frame>) {
        let Some(open) = &mut self.open else { return };
        let Some(duration) = open.cut(next) else { return self.finished() };
        let tracks = open.tracks();
        let opening = Bytes::from(init_section(&tracks, &[]).0);
        let news = self.opening.as_ref() != Some(&opening);
        if news {
            self.opening = Some(opening.clone());
        }
        self.end = self.end.saturating_add(duration);
        let date = self.date.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let step = time::Duration::microseconds(i64::try_from(duration).unwrap_or(i64::MAX));
        self.date = date.checked_add(step);
        self.closing.push_back(Closing {
            opening: news.then_some(opening),
            size: tracks.iter().find_map(|t| picture_size(t)),
            date: millisecond(date),
            broken: std::mem::take(&mut self.broken),
        });
        self.finished();
    }

    /// Makes segments of what is finished.
    fn finished(&mut self) {
        let Some(open) = &mut self.open else { return };
        while let Some(fragment) = open.take() {
            let Some(Closing { opening, size, date, broken }) = self.closing.pop_front() else { return };
            self.made.push(Made {
                opening,
                bytes: fragment.to_bytes(),
                micros: fragment.duration.max(1),
                date,
                key: fragment.key,
                broken,
                about: About { codecs: fragment.codecs, size, frame_rate: fragment.frame_rate },
            });
        }
    }
}

fn open_is_empty(open: Option<&Fragmenter>) -> bool {
    open.is_some_and(Fragmenter::is_fresh)
}

fn millisecond(date: OffsetDateTime) -> OffsetDateTime {
    date.replace_nanosecond(u32::from(date.millisecond()).saturating_mul(1_000_000)).unwrap_or(date)
}
