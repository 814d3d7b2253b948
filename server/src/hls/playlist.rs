//! What one path has to offer over HLS: its segments, and the playlists that list them. No I/O, no clock.
//!
//! Media sequence numbers begin at the wall clock's seconds, and segments last a second at least: so they go on rising
//! over republishing, over streams that were forgotten, and over a restart of the server, and a name is never used
//! again. The target duration is fixed with the first segment and does not change as long as the path is remembered.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use session::Time;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::segmenter::{About, Made};

/// Target durations for which a file of the shelf may be kept by caches.
pub const LIFETIME: u64 = 20;
/// Bytes of segments kept of one path, listed and retained.
const MOST_BYTES: usize = 256 << 20;
/// The same of all paths together, which share it evenly.
const MOST_IN_ALL: usize = 4 << 30;
/// Segments of a list at most, however short they are.
const LONGEST: usize = 1_000;
/// Target durations that a list is never shorter than once segments leave it (RFC 8216 §6.2.2).
const SHORTEST: u64 = 3;
/// Head room of the declared peak over the measured one, in percent.
const HEADROOM: u64 = 10;
/// How long an ended stream's list stays after its last segment could have been played.
const AFTERWARDS: Duration = Duration::from_secs(30);

/// The segments of one path.
#[derive(Debug)]
pub struct Shelf {
    /// Segments a list holds.
    window: usize,
    /// Seconds; `None` before the first segment.
    target: Option<u64>,
    next: u64,
    listed: VecDeque<Segment>,
    /// Segments that left the list, and when they may go.
    retained: VecDeque<(Segment, Time)>,
    discontinuities: u64,
    /// True where the next segment does not go on from the one before.
    broken: bool,
    opening: Option<Arc<Init>>,
    /// The pictures' configuration in the first initialisation section there was.
    pub first: Option<Bytes>,
    live: bool,
    ended: Option<Time>,
    /// Publishers so far.
    publishers: u64,
    unfit: bool,
    rate: Measured,
    about: About,
    /// True until a segment had to begin between key frames.
    independent: bool,
    /// How many shelves there are, this one among them.
    shelves: Arc<AtomicUsize>,
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.shelves.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Segment {
    number: u64,
    micros: u64,
    /// How long the longest list was that had it.
    longest: u64,
    date: OffsetDateTime,
    bytes: Bytes,
    broken: bool,
    init: Arc<Init>,
}

/// An initialisation section.
#[derive(Debug)]
struct Init {
    name: u64,
    bytes: Bytes,
    /// No pictures.
    sound: bool,
}

/// A file as it is served.
#[derive(Clone, Debug)]
pub struct File {
    /// Its content.
    pub bytes: Bytes,
    /// True where it holds no pictures.
    pub sound: bool,
}

/// Bit rates since the encoding last changed.
#[derive(Debug, Default)]
struct Measured {
    bytes: u64,
    micros: u64,
    peak: u64,
    /// Bytes and duration of the latest segments.
    latest: VecDeque<(u64, u64)>,
}

impl Shelf {
    /// An empty one among others; `seconds` is the wall clock's time since 1970.
    pub fn new(window: usize, seconds: u64, shelves: &Arc<AtomicUsize>) -> Self {
        shelves.fetch_add(1, Ordering::Relaxed);
        Self {
            window: window.max(1),
            target: None,
            next: seconds,
            listed: VecDeque::new(),
            retained: VecDeque::new(),
            discontinuities: 0,
            broken: false,
            opening: None,
            first: None,
            live: false,
            ended: None,
            publishers: 0,
            unfit: false,
            rate: Measured::default(),
            about: About::default(),
            independent: true,
            shelves: Arc::clone(shelves),
        }
    }

    /// A publisher has come.
    pub fn begin(&mut self) {
        (self.live, self.ended, self.unfit) = (true, None, false);
        self.publishers = self.publishers.saturating_add(1);
        self.broken = self.target.is_some();
        self.opening = None;
    }

    /// Publishers so far.
    pub fn publishers(&self) -> u64 {
        self.publishers
    }

    /// The stream is over, unless another publisher has come since this one, by its number.
    pub fn end(&mut self, publisher: u64, now: Time) {
        if publisher == self.publishers {
            (self.live, self.ended) = (false, Some(now));
        }
    }

    /// Nothing of what is published can be carried.
    pub fn refuse(&mut self) {
        self.unfit = true;
    }

    /// True where a list can be expected although there is none yet.
    pub fn is_coming(&self) -> bool {
        self.live && self.listed.is_empty() && !self.unfit
    }

    /// True where the list has ended.
    pub fn has_ended(&self) -> bool {
        !self.live && !self.listed.is_empty()
    }

    /// True where a file is the last segment of a list that has ended.
    pub fn is_last(&self, name: &str) -> bool {
        let number = name.strip_suffix(".m4s").and_then(|number| number.parse().ok());
        self.has_ended() && self.listed.back().map(|segment| segment.number) == number
    }

    /// The target duration in seconds, once it is known.
    pub fn target(&self) -> Option<u64> {
        self.target
    }

    /// Takes a segment; the target duration is at least `least` seconds.
    pub fn add(&mut self, made: Made, least: u64, now: Time) {
        let seconds = made.micros.saturating_add(500_000).div_euclid(1_000_000);
        self.target.get_or_insert(seconds.max(least).max(1));
        self.broken |= made.broken;
        self.independent &= made.key;
        if let Some(bytes) = made.opening {
            self.broken |= self.opening.is_some();
            let sound = made.about.size.is_none();
            self.opening = Some(Arc::new(Init { name: self.next, bytes, sound }));
            self.rate = Measured::default();
        }
        let Some(init) = self.opening.clone() else { return };
        self.rate.add(made.bytes.len() as u64, made.micros, self.target.unwrap_or(1));
        self.about = made.about;
        self.listed.push_back(Segment {
            number: self.next,
            micros: made.micros,
            longest: 0,
            date: made.date,
            bytes: made.bytes,
            broken: std::mem::take(&mut self.broken),
            init,
        });
        self.next = self.next.saturating_add(1);
        self.trim(now);
        let total = self.listed_micros();
        self.listed.iter_mut().for_each(|s| s.longest = s.longest.max(total));
    }

    /// Lets go of what has had its time, and of what there is no room for: first of segments that left the list.
    fn trim(&mut self, now: Time) {
        self.expire(now);
        while self.is_too_long() || (self.is_over() && self.listed.len() > 1) {
            self.unlist(now);
            self.expire(now);
        }
    }

    /// True where there are more bytes than there is room for.
    fn is_over(&self) -> bool {
        let part = MOST_IN_ALL.checked_div(self.shelves.load(Ordering::Relaxed)).unwrap_or(MOST_BYTES);
        self.bytes() > part.min(MOST_BYTES)
    }

    /// True where the oldest segment is to leave.
    fn is_too_long(&self) -> bool {
        let first = self.listed.front().map_or(0, |s| s.micros);
        let least = self.target.unwrap_or(0).saturating_mul(SHORTEST).saturating_mul(1_000_000);
        let rest = self.listed_micros().saturating_sub(first);
        self.listed.len() > LONGEST || (self.listed.len() > self.window && rest >= least)
    }

    fn listed_micros(&self) -> u64 {
        self.listed.iter().fold(0, |n, s| n.saturating_add(s.micros))
    }

    fn bytes(&self) -> usize {
        let all = self.listed.iter().chain(self.retained.iter().map(|(s, _)| s));
        all.fold(0, |n, s| n.saturating_add(s.bytes.len()))
    }

    /// Takes the oldest segment off the list; it stays for its own duration and that of the longest list that had it
    /// (RFC 8216 §6.2.2).
    fn unlist(&mut self, now: Time) {
        let Some(segment) = self.listed.pop_front() else { return };
        if segment.broken {
            self.discontinuities = self.discontinuities.saturating_add(1);
        }
        let stay = Duration::from_micros(segment.longest.saturating_add(segment.micros));
        self.retained.push_back((segment, now.after(stay)));
    }

    fn expire(&mut self, now: Time) {
        while self.retained.front().is_some_and(|(_, until)| *until <= now)
            || (self.is_over() && !self.retained.is_empty())
        {
            self.retained.pop_front();
        }
    }

    /// Lets go of what has had its time. False where the whole path can be forgotten.
    pub fn tick(&mut self, now: Time) -> bool {
        self.trim(now);
        let stay = Duration::from_micros(self.listed_micros()).saturating_mul(2).saturating_add(AFTERWARDS);
        self.ended.is_none_or(|at| now.since(at) < stay)
    }

    /// How both playlists begin, each with the version that its tags need (RFC 8216 §7): EXT-X-MAP needs 6. Segments are
    /// independent as a rule (§4.3.5.1); once one was not, the path makes no such promise any more.
    fn head(&self, version: &str) -> String {
        let mut text = format!("#EXTM3U\n{version}");
        if self.independent {
            text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        text
    }

    /// The multivariant playlist; `None` before the first segment. `query` goes behind the URI in it.
    pub fn multivariant(&self, query: &str) -> Option<String> {
        self.listed.back()?;
        let mut text = self.head("");
        text.push_str("#EXT-X-STREAM-INF:");
        let _ =
            write!(text, "BANDWIDTH={},AVERAGE-BANDWIDTH={}", self.rate.declared_peak(), self.rate.average());
        let _ = write!(text, ",CODECS=\"{}\"", self.about.codecs);
        if let Some((width, height)) = self.about.size {
            let _ = write!(text, ",RESOLUTION={width}x{height}");
        }
        if let Some(rate) = self.about.frame_rate {
            let _ = write!(text, ",FRAME-RATE={rate:.3}");
        }
        let _ = write!(text, "\nstream.m3u8{query}\n");
        Some(text)
    }

    /// The media playlist; `None` before the first segment. `query` goes behind every URI in it.
    pub fn media(&self, query: &str) -> Option<String> {
        let (first, target) = (self.listed.front()?, self.target?);
        let mut text = self.head("#EXT-X-VERSION:6\n");
        let _ = write!(text, "#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{}\n", first.number);
        // Another publisher may come at any time: players that saw the list without this tag would count from 0.
        let _ = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuities);
        let mut init = None;
        for segment in &self.listed {
            if segment.broken {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            if init != Some(segment.init.name) {
                init = Some(segment.init.name);
                let _ = writeln!(text, "#EXT-X-MAP:URI=\"init-{}.mp4{query}\"", segment.init.name);
            }
            if let Ok(date) = segment.date.format(&Rfc3339) {
                let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{date}");
            }
            let (whole, part) = (segment.micros.div_euclid(1_000_000), segment.micros.rem_euclid(1_000_000));
            let _ = write!(text, "#EXTINF:{whole}.{part:06},\n{}.m4s{query}\n", segment.number);
        }
        if !self.live {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        Some(text)
    }

    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.retained.iter().map(|(s, _)| s).chain(&self.listed)
    }

    /// A segment or an initialisation section by its name.
    pub fn file(&self, name: &str) -> Option<File> {
        if let Some(number) = name.strip_suffix(".m4s") {
            let number = numeral(number)?;
            let segment = self.segments().find(|s| s.number == number)?;
            return Some(File { bytes: segment.bytes.clone(), sound: segment.init.sound });
        }
        let number = numeral(name.strip_prefix("init-")?.strip_suffix(".mp4")?)?;
        let Init { bytes, sound, .. } = &*self.segments().find(|s| s.init.name == number)?.init;
        Some(File { bytes: bytes.clone(), sound: *sound })
    }
}

/// Digits as we write them: no sign, no leading zero.
fn numeral(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl Measured {
    /// Takes a segment. The peak is that of any run of segments that last half a target duration to one and a half
    /// (RFC 8216 §4.3.4.2).
    fn add(&mut self, bytes: u64, micros: u64, target: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.micros = self.micros.saturating_add(micros);
        self.latest.push_back((bytes, micros));
        let half = target.saturating_mul(500_000);
        let (mut run, mut lasts, mut used) = (0u64, 0u64, 0usize);
        for (bytes, micros) in self.latest.iter().rev() {
            (run, lasts) = (run.saturating_add(*bytes), lasts.saturating_add(*micros));
            if lasts > half.saturating_mul(3) && used > 0 {
                break;
            }
            used = used.saturating_add(1);
            if lasts >= half {
                self.peak = self.peak.max(rate(run, lasts));
            }
        }
        self.latest.drain(..self.latest.len().saturating_sub(used));
    }

    fn declared_peak(&self) -> u64 {
        let peak = if self.peak > 0 { self.peak } else { self.average() };
        peak.saturating_mul(HEADROOM.saturating_add(100)).div_euclid(100).max(1)
    }

    fn average(&self) -> u64 {
        rate(self.bytes, self.micros).max(1)
    }
}

/// Bits per second, rounded up.
fn rate(bytes: u64, micros: u64) -> u64 {
    let bits = u128::from(bytes).saturating_mul(8_000_000);
    u64::try_from(bits.div_ceil(u128::from(micros.max(1)))).unwrap_or(u64::MAX)
}
