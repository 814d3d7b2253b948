//! Frames to segments that begin with key frames. No I/O, no clock: times come in as arguments.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use media::mp4::{Fragmenter, carries, init_section, picture_size};
use media::{Frame, Kind, Track};
use time::OffsetDateTime;

use super::dates::Dates;

/// Microseconds beyond the target duration at which a segment is cut before any frame.
const GRACE: u64 = 400_000;
/// Microseconds beyond the target duration that no segment may last: EXTINF rounded to whole seconds must not exceed the
/// target (RFC 8216 §4.3.3.1).
const MOST: u64 = 499_000;
/// Microseconds that a segment may be shorter than configured where a key frame comes.
const SHAKE: u64 = 60_000;
/// Microseconds after which a first segment without a second key frame is cut all the same.
const FIRST: u64 = 12_000_000;
/// Bytes after which a segment is cut before any frame.
const LARGEST: usize = 32 << 20;
/// Frames after which a segment is cut before any frame.
const MOST_FRAMES: usize = 20_000;
/// Microseconds after which a segment may end early, where the publisher's times jump.
const EARLY: u64 = 1_000_000;
/// Microseconds by which times that jump differ from times that only drift.
const JUMP: u64 = 200_000;
/// Microseconds that sound is ahead when pictures stay away rather than come late.
const AWAY: u64 = 2_000_000;

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
    /// A change that waits for a key frame: what goes on goes on meanwhile.
    changed: bool,
    /// The pictures' configuration in the path's first initialisation section.
    first: Option<Bytes>,
    dates: Dates,
    /// Segments that are cut and not finished yet.
    closing: VecDeque<Closing>,
    made: Vec<Made>,
}

impl Segmenter {
    /// For segments of `least` or more. A path that had some has a target duration in seconds, and perhaps a configuration
    /// of pictures that it began with.
    pub fn new(least: Duration, target: Option<u64>, first: Option<Bytes>) -> Self {
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
            changed: false,
            first,
            dates: Dates::default(),
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
        let Some(open) = &mut self.open else { return self.renew() };
        if open.extend(&self.tracks) {
            self.changed = false;
        } else if open.has_video() && self.begun {
            self.changed = true;
        } else {
            self.renew();
        }
    }

    /// Ends the open segment, and begins anew with the tracks as they are.
    fn renew(&mut self) {
        self.cut(None);
        self.finished();
        let video = self.tracks.iter().find(|t| t.kind() == Kind::Video && carries(t));
        let open = Fragmenter::new(&self.tracks);
        // ffmpeg reads the first initialisation section of a list and no other (libavformat/hls.c, mov.c).
        let other = video.zip(self.first.as_ref()).is_some_and(|(track, first)| track.config != *first);
        self.open = if other { open.map(Fragmenter::with_parameter_sets) } else { open };
        (self.begun, self.opening) = (false, None);
        (self.offset, self.broken, self.changed) = (None, false, false);
        self.dates.renew();
    }

    /// True where tracks are known and none of them can be carried.
    pub fn is_unfit(&self) -> bool {
        !self.tracks.is_empty() && !self.tracks.iter().any(|t| carries(t))
    }

    /// Takes a frame that became live at `now`.
    pub fn frame(&mut self, frame: &Frame, now: OffsetDateTime) {
        self.dates.at(now);
        let picture = frame.track.kind() == Kind::Video;
        if self.changed && picture && frame.key {
            self.renew();
        }
        let Some(open) = &mut self.open else { return };
        if !open.holds(frame) {
            return;
        }
        let leads = picture || !open.has_video();
        let start = leads && (frame.key || !picture);
        if !self.begun && !start {
            return;
        }
        let most = self.target.filter(|_| self.begun).map(|target| target.saturating_add(MOST));
        if most.is_some_and(|most| open.gap_before(frame) > JUMP && open.length_before(frame) > most) {
            // Nothing came for a while, and the segment cannot last for so long.
            open.skip(frame);
        }
        let offset = open.offset(frame);
        let jumped = start && self.offset.zip(offset).is_some_and(|(old, new)| old.abs_diff(new) > JUMP);
        if self.begun && !leads {
            if is_full(open) {
                // Its times stand still, and nothing can be cut at them.
                return;
            }
            self.cut_without_pictures(frame);
        } else if self.begun && self.is_due(frame, start, jumped) {
            self.cut(Some(frame));
        }
        let Some(open) = &mut self.open else { return };
        self.begun = true;
        if start && open.is_fresh() {
            (self.offset, self.broken) = (offset, self.broken | jumped);
        }
        if open.is_fresh() {
            self.dates.begin(jumped);
        }
        open.push(frame);
        self.finished();
    }

    /// True where the open segment ends before a frame of the leading track.
    fn is_due(&mut self, frame: &Frame, start: bool, jumped: bool) -> bool {
        let Some(open) = &self.open else { return false };
        let length = open.length_before(frame);
        let limit = self.target.map_or(FIRST, |target| target.saturating_add(GRACE));
        let most = self.target.map_or(u64::MAX, |target| target.saturating_add(MOST));
        let mut due = length >= limit || length.saturating_add(open.lasts(frame)) > most || is_full(open);
        if start {
            // Rather a short segment than one that has to be cut between key frames.
            let at = self.end.saturating_add(length);
            let group = at.saturating_sub(std::mem::replace(&mut self.last_key, at));
            due |= jumped && length >= EARLY.min(self.least);
            due |= length >= self.least;
            if frame.track.kind() == Kind::Video {
                // Times that shake do not make two groups of one segment.
                due |= group > SHAKE.saturating_mul(2) && length.saturating_add(SHAKE) >= self.least;
                due |= self.target.is_some() && length.saturating_add(group) > limit;
            }
        }
        due
    }

    /// Where sound goes on and pictures stay away, segments do not wait for them.
    fn cut_without_pictures(&mut self, sound: &Frame) {
        let Some(open) = &self.open else { return };
        let (length, pictures) = (open.length_before(sound), open.length_of_pictures().unwrap_or(0));
        let target = self.target.unwrap_or(FIRST);
        if length >= target.saturating_add(GRACE) && length.saturating_sub(pictures) >= AWAY {
            self.cut_after(target.max(pictures));
        }
    }

    /// True where a segment was cut and waits for its last sound.
    pub fn is_waiting(&self) -> bool {
        self.open.as_ref().is_some_and(Fragmenter::is_waiting)
    }

    /// Nothing came for a while: a segment that waits is finished as it is.
    pub fn give_up(&mut self) {
        if let Some(open) = &mut self.open {
            open.give_up();
        }
        self.finished();
    }

    /// The publisher has left: what is held becomes the last segment.
    pub fn finish(&mut self) {
        self.cut(None);
        self.finished();
        self.open = None;
    }

    /// The segments that were finished since the last time.
    pub fn take(&mut self) -> Vec<Made> {
        std::mem::take(&mut self.made)
    }

    /// The pictures' configuration in the path's first initialisation section.
    pub fn first(&self) -> Option<&Bytes> {
        self.first.as_ref()
    }

    /// Tells the target duration that was fixed with the first segment, in seconds.
    pub fn fix(&mut self, target: Option<u64>) {
        self.target = target.map(|seconds| seconds.saturating_mul(1_000_000));
    }

    fn cut(&mut self, next: Option<&Frame>) {
        let duration = self.open.as_mut().and_then(|open| open.cut(next));
        self.close(duration);
    }

    fn cut_after(&mut self, length: u64) {
        let duration = self.open.as_mut().and_then(|open| open.cut_after(length));
        self.close(duration);
    }

    /// Notes what is to be known of a segment that was cut.
    fn close(&mut self, duration: Option<u64>) {
        let (Some(open), Some(duration)) = (&self.open, duration) else { return };
        let tracks = open.tracks();
        if self.first.is_none() {
            self.first = tracks.iter().find(|t| t.kind() == Kind::Video).map(|t| t.config.clone());
        }
        let opening = Bytes::from(init_section(&tracks));
        let news = self.opening.as_ref() != Some(&opening);
        if news {
            self.opening = Some(opening.clone());
        }
        self.end = self.end.saturating_add(duration);
        let (date, broken) = self.dates.end(duration);
        self.closing.push_back(Closing {
            opening: news.then_some(opening),
            size: tracks.iter().find_map(|t| picture_size(t)),
            date,
            broken: std::mem::take(&mut self.broken) | broken,
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

fn is_full(open: &Fragmenter) -> bool {
    open.held() >= MOST_FRAMES || open.held_bytes() >= LARGEST
}
