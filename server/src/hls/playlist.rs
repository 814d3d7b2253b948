//! What one path has to offer over HLS: its segments, and the playlists that list them. No I/O, no clock.
//!
//! Media sequence numbers begin at the wall clock's seconds, and segments last a second at least: so they go on rising
//! over republishing, over streams that were forgotten, and over a restart of the server, and a name is never used
//! again. The target duration is fixed with the first segment and does not change as long as the path is remembered.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
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
    live: bool,
    ended: Option<Time>,
    /// Publishers so far.
    publishers: u64,
    unfit: bool,
    rate: Measured,
    about: About,
    /// True until a segment had to begin between key frames.
    independent: bool,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    micros: u64,
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
}

/// Bit rates since the encoding last changed.
#[derive(Debug, Default)]
struct Measured {
    bytes: u64,
    micros: u64,
    peak: u64,
}

impl Shelf {
    /// An empty one; `seconds` is the wall clock's time since 1970.
    pub fn new(window: usize, seconds: u64) -> Self {
        Self {
            window: window.max(1),
            target: None,
            next: seconds,
            listed: VecDeque::new(),
            retained: VecDeque::new(),
            discontinuities: 0,
            broken: false,
            opening: None,
            live: false,
            ended: None,
            publishers: 0,
            unfit: false,
            rate: Measured::default(),
            about: About::default(),
            independent: true,
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
            self.opening = Some(Arc::new(Init { name: self.next, bytes }));
            self.rate = Measured::default();
        }
        let Some(init) = self.opening.clone() else { return };
        self.rate.add(&made.bytes, made.micros);
        self.about = made.about;
        self.listed.push_back(Segment {
            number: self.next,
            micros: made.micros,
            date: made.date,
            bytes: made.bytes,
            broken: std::mem::take(&mut self.broken),
            init,
        });
        self.next = self.next.saturating_add(1);
        while self.listed.len() > self.window || (self.bytes() > MOST_BYTES && self.listed.len() > 1) {
            self.unlist(now);
        }
        self.expire(now);
    }

    fn bytes(&self) -> usize {
        let all = self.listed.iter().chain(self.retained.iter().map(|(s, _)| s));
        all.fold(0, |n, s| n.saturating_add(s.bytes.len()))
    }

    /// Takes the oldest segment off the list; it stays for as long as a list that had it takes to play
    /// (RFC 8216 §6.2.2).
    fn unlist(&mut self, now: Time) {
        let micros = self.listed.iter().fold(0u64, |n, s| n.saturating_add(s.micros));
        let Some(segment) = self.listed.pop_front() else { return };
        if segment.broken {
            self.discontinuities = self.discontinuities.saturating_add(1);
        }
        let stay = Duration::from_micros(micros.saturating_add(segment.micros));
        self.retained.push_back((segment, now.after(stay)));
    }

    fn expire(&mut self, now: Time) {
        while self.retained.front().is_some_and(|(_, until)| *until <= now)
            || (self.bytes() > MOST_BYTES && !self.retained.is_empty())
        {
            self.retained.pop_front();
        }
    }

    /// Lets go of what has had its time. False where the whole path can be forgotten.
    pub fn tick(&mut self, now: Time) -> bool {
        self.expire(now);
        let micros = self.listed.iter().fold(0u64, |n, s| n.saturating_add(s.micros));
        let stay = Duration::from_micros(micros).saturating_mul(2).saturating_add(AFTERWARDS);
        self.ended.is_none_or(|at| now.since(at) < stay)
    }

    /// How both playlists begin. Segments are independent as a rule (RFC 8216 §4.3.5.1); once one was not, the
    /// path makes no such promise any more.
    fn head(&self) -> String {
        let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:6\n");
        if self.independent {
            text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        text
    }

    /// The multivariant playlist; `None` before the first segment. `query` goes behind the URI in it.
    pub fn multivariant(&self, query: &str) -> Option<String> {
        self.listed.back()?;
        let mut text = self.head();
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
        let mut text = self.head();
        let _ = write!(text, "#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{}\n", first.number);
        if self.discontinuities > 0 || self.listed.iter().any(|s| s.broken) {
            let _ = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuities);
        }
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
    pub fn file(&self, name: &str) -> Option<Bytes> {
        if let Some(number) = name.strip_suffix(".m4s") {
            let number = numeral(number)?;
            return self.segments().find(|s| s.number == number).map(|s| s.bytes.clone());
        }
        let number = numeral(name.strip_prefix("init-")?.strip_suffix(".mp4")?)?;
        self.segments().find(|s| s.init.name == number).map(|s| s.init.bytes.clone())
    }
}

/// Digits as we write them: no sign, no leading zero.
fn numeral(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl Measured {
    fn add(&mut self, bytes: &Bytes, micros: u64) {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.micros = self.micros.saturating_add(micros);
        self.peak = self.peak.max(rate(bytes.len() as u64, micros));
    }

    fn declared_peak(&self) -> u64 {
        self.peak.saturating_mul(HEADROOM.saturating_add(100)).div_euclid(100).max(1)
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
