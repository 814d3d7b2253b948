//! Frames to segments that begin with key frames. No I/O, no clock: times come in as arguments.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use media::mp4::{Fragment, Fragmenter, carries, codec_string, init_section, picture_size};
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

/// A finished segment.
#[derive(Debug)]
pub struct Made {
    /// The initialisation section, where it is new with this segment.
    pub opening: Option<Opening>,
    /// moof and mdat.
    pub bytes: Bytes,
    /// Duration in microseconds.
    pub micros: u64,
    /// Pictures in it.
    pub pictures: usize,
    /// When its first frame was live.
    pub date: OffsetDateTime,
    /// True where it begins with a key frame.
    pub key: bool,
}

/// An initialisation section and what the multivariant playlist says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// ftyp and moov.
    pub bytes: Bytes,
    /// As RFC 6381 writes them, a comma between.
    pub codecs: String,
    /// Width and height in pixels.
    pub size: Option<(u16, u16)>,
}

impl Opening {
    fn of(tracks: &[Arc<Track>]) -> Self {
        let codecs: Vec<String> = tracks.iter().filter_map(|t| codec_string(t)).collect();
        Self {
            bytes: Bytes::from(init_section(tracks, &[]).0),
            codecs: codecs.join(","),
            size: tracks.iter().find_map(|t| picture_size(t)),
        }
    }
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
    opening: Option<Opening>,
    /// True once a frame was taken by `open`.
    begun: bool,
    /// Microseconds of all segments so far.
    end: u64,
    /// Where the newest key frame stands, in microseconds from the first segment on.
    last_key: u64,
    /// Where the open segment begins, in dates.
    date: Option<OffsetDateTime>,
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
            last_key,
            date: None,
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
                due |= length >= self.least || (picture && self.target.is_some() && next > limit);
            }
            if due {
                self.cut(Some(frame));
            }
        }
        self.begun = true;
        // The dates go on by the media's own time, unless that has left the clock behind or run ahead of it.
        let date = self.date.get_or_insert(now);
        if self.open.as_ref().is_some_and(|open| open.held() == 0)
            && now.unix_timestamp_nanos().abs_diff(date.unix_timestamp_nanos()) > DRIFT
        {
            *date = now;
        }
        if let Some(open) = &mut self.open {
            open.push(frame);
        }
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
        let Some(fragment) = open.cut(next) else { return };
        let Fragment { duration, pictures, key, .. } = fragment;
        let opening = Opening::of(&open.tracks());
        let news = self.opening.as_ref() != Some(&opening);
        if news {
            self.opening = Some(opening.clone());
        }
        self.end = self.end.saturating_add(duration);
        let date = self.date.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let step = time::Duration::microseconds(i64::try_from(duration).unwrap_or(i64::MAX));
        self.date = date.checked_add(step);
        self.made.push(Made {
            opening: news.then_some(opening),
            bytes: fragment.to_bytes(),
            micros: duration.max(1),
            pictures,
            date: millisecond(date),
            key,
        });
    }
}

fn millisecond(date: OffsetDateTime) -> OffsetDateTime {
    date.replace_nanosecond(u32::from(date.millisecond()).saturating_mul(1_000_000)).unwrap_or(date)
}
