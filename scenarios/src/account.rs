//! What a client sent or saw, frame by frame.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use bytes::Bytes;
use media::clock::rescale;
use media::flv::Demuxer;
use media::{Codec, Frame, Kind, Unit};
use session::rtmp::MediaKind;
use wire::Cursor;
use wire::codec::LengthPrefixed;
use wire::codec::avc::{self, NalType};

/// RTMP and FLV count milliseconds; another protocol's clock adds its own rounding, a tick here and there.
const ROUNDING_US: i64 = 1_050;

/// One frame, told from others by its content and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Video or audio.
    pub kind: Kind,
    /// Hash of the coded picture's slices, or of the payload of another codec.
    pub content: u64,
    /// Decoding time in microseconds.
    pub dts_us: i64,
    /// Presentation time in microseconds.
    pub pts_us: i64,
    /// A decoder can start here.
    pub key: bool,
}

/// The frames of one stream at one place.
#[derive(Debug, Default)]
pub struct Account {
    demuxer: Demuxer,
    /// In order of arrival.
    pub marks: Vec<Mark>,
    /// Descriptions of the tracks, as they were configured.
    pub tracks: Vec<String>,
    /// Bodies that could not be understood.
    pub errors: u64,
}

impl Account {
    /// Takes a message's body in.
    pub fn note(&mut self, kind: MediaKind, timestamp: u32, body: Bytes) {
        let units = match kind {
            MediaKind::Video => self.demuxer.video(timestamp, body),
            MediaKind::Audio => self.demuxer.audio(timestamp, body),
        };
        let Ok((track, frame)) = units else {
            self.errors += 1;
            return;
        };
        [track, frame].iter().flatten().for_each(|unit| self.unit(unit));
    }

    /// Takes a unit in.
    pub fn unit(&mut self, unit: &Unit) {
        match unit {
            Unit::Track(track) => self.tracks.push(track.description.clone()),
            Unit::Frame(frame) => self.frame(frame),
            Unit::Metadata(_) => {}
        }
    }

    /// Takes a frame in.
    pub fn frame(&mut self, frame: &Frame) {
        let us = |ticks| rescale(ticks, frame.track.clock, 1_000_000);
        self.marks.push(Mark {
            kind: frame.track.kind(),
            content: content(frame),
            dts_us: us(frame.dts),
            pts_us: us(frame.pts),
            key: frame.key,
        });
    }

    /// The frames of one kind, in order.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Mark> {
        self.marks.iter().filter(move |m| m.kind == kind)
    }

    /// Compares what a viewer saw with what was published, whose times came to it as `times` says.
    pub fn compare(&self, published: &Account, times: Times) -> Comparison {
        let shift = if times == Times::Kept { Some(0) } else { self.shift(published) };
        let tolerance = if times == Times::Kept { 0 } else { ROUNDING_US };
        let same = |seen: &Mark, p: &Mark| {
            let near = |a: i64, b: i64| shift.is_some_and(|s| (a - b - s).abs() <= tolerance);
            seen.content == p.content
                && seen.key == p.key
                && near(seen.pts_us, p.pts_us)
                && (times == Times::Rebuilt || near(seen.dts_us, p.dts_us))
        };
        let side = |kind| {
            let mut run = run(self.of(kind), published.of(kind), same);
            let mut before = i64::MIN;
            for mark in self.of(kind) {
                let fits = mark.dts_us > before && mark.dts_us <= mark.pts_us;
                run.foreign += usize::from(times == Times::Rebuilt && !fits);
                before = mark.dts_us;
            }
            run
        };
        let (video, audio) = (side(Kind::Video), side(Kind::Audio));
        Comparison {
            frames: video.seen + audio.seen,
            missing: video.missing + audio.missing,
            foreign: video.foreign + audio.foreign,
            to_the_end: video.to_the_end && audio.to_the_end,
            key_frame_first: self.of(Kind::Video).next().is_none_or(|m| m.key),
        }
    }

    /// From the first moment that something is shown or heard to the end of the last frame, in microseconds.
    pub fn span_us(&self) -> i64 {
        let first = self.marks.iter().map(|m| m.pts_us).min();
        let ends = [Kind::Video, Kind::Audio].into_iter().filter_map(|kind| {
            let last = self.of(kind).map(|m| m.pts_us).max()?;
            Some(last + self.step_us(kind).unwrap_or(0))
        });
        first.zip(ends.max()).map_or(0, |(first, end)| end - first)
    }

    /// The mean distance from one frame of a kind to the next, in microseconds.
    pub fn step_us(&self, kind: Kind) -> Option<i64> {
        let times = || self.of(kind).map(|m| m.dts_us);
        let steps = i64::try_from(times().count()).ok()? - 1;
        (times().max()? - times().min()?).checked_div(steps)
    }

    /// The constant between this timeline and the published one: that of the first picture, or of the first frame
    /// where there are no pictures. A clip that repeats has the same picture at several times; the constant that
    /// fits most frames is taken, the latest of those.
    fn shift(&self, published: &Account) -> Option<i64> {
        let kind = if self.of(Kind::Video).next().is_some() { Kind::Video } else { Kind::Audio };
        let seen: Vec<&Mark> = self.of(kind).collect();
        let all: Vec<&Mark> = published.of(kind).collect();
        let first = seen.first()?;
        let fits =
            |at: usize| all[at..].iter().zip(&seen).take_while(|(p, s)| p.content == s.content).count();
        let best =
            (0..all.len()).filter(|at| all[*at].content == first.content).max_by_key(|at| fits(*at))?;
        Some(first.pts_us - all[best].pts_us)
    }
}

/// Parameter sets, delimiters and the like travel in other places in other protocols, or not at all: of H.264 only the
/// slices count.
fn content(frame: &Frame) -> u64 {
    let mut hasher = DefaultHasher::new();
    match avc::Config::decode(&mut Cursor::new(&frame.track.config)) {
        Ok(config) if frame.track.codec == Codec::H264 => {
            for nal in LengthPrefixed::new(&frame.payload, config.length_size).map_while(Result::ok) {
                if NalType::of(nal).is_some_and(NalType::is_vcl) {
                    hasher.write_usize(nal.len());
                    hasher.write(nal);
                }
            }
        }
        _ => hasher.write(&frame.payload),
    }
    hasher.finish()
}

/// What a protocol makes of the publisher's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// It keeps them: they have to be equal.
    Kept,
    /// It has a timeline of its own: they may be apart by one constant and 1 ms of rounding.
    Shifted,
    /// The same, and it carries presentation times only: decoding times have to rise and to keep below them.
    Rebuilt,
}

/// How a viewer's frames stand to the published ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Frames the viewer saw.
    pub frames: usize,
    /// Published frames between the viewer's first and last that it never saw.
    pub missing: usize,
    /// Frames the viewer saw that were not published so: other content, other times or another order.
    pub foreign: usize,
    /// The viewer saw the last published frame of every track.
    pub to_the_end: bool,
    /// The first picture was a key frame.
    pub key_frame_first: bool,
}

struct RunOf {
    seen: usize,
    missing: usize,
    foreign: usize,
    to_the_end: bool,
}

/// Walks along the published frames with the seen ones; content and times must be equal.
fn run<'a>(
    seen: impl Iterator<Item = &'a Mark>,
    published: impl Iterator<Item = &'a Mark>,
    same: impl Fn(&Mark, &Mark) -> bool,
) -> RunOf {
    let published: Vec<&Mark> = published.collect();
    let mut result = RunOf { seen: 0, missing: 0, foreign: 0, to_the_end: published.is_empty() };
    let mut at: Option<usize> = None;
    for mark in seen {
        result.seen += 1;
        let from = at.map_or(0, |at| at + 1);
        match published.iter().skip(from).position(|p| same(mark, p)) {
            Some(ahead) => {
                if at.is_some() {
                    result.missing += ahead;
                }
                at = Some(from + ahead);
            }
            None => result.foreign += 1,
        }
    }
    result.to_the_end |= at.is_some_and(|at| at + 1 == published.len());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(times: &[i64]) -> Account {
        let mark =
            |t: &i64| Mark { kind: Kind::Video, content: 7, dts_us: *t, pts_us: *t, key: t % 100 == 0 };
        Account { marks: times.iter().map(mark).collect(), ..Account::default() }
    }

    #[test]
    fn a_viewer_that_joins_late_and_stays_misses_nothing() {
        let all = account(&[0, 40, 100, 140, 180]);
        let got = account(&[100, 140, 180]).compare(&all, Times::Kept);
        let want = Comparison { frames: 3, missing: 0, foreign: 0, to_the_end: true, key_frame_first: true };
        assert_eq!(got, want);
    }

    #[test]
    fn gaps_strange_frames_and_early_ends_are_told() {
        let all = account(&[0, 40, 100, 140, 180]);
        let got = account(&[40, 140, 150]).compare(&all, Times::Kept);
        let want =
            Comparison { frames: 3, missing: 1, foreign: 1, to_the_end: false, key_frame_first: false };
        assert_eq!(got, want);
        // The order counts.
        assert_eq!(account(&[100, 40]).compare(&all, Times::Kept).foreign, 1);
    }

    #[test]
    fn a_timeline_of_its_own_may_be_apart_by_one_constant() {
        let mut all = account(&[0, 40, 100, 140, 180]);
        for (i, mark) in all.marks.iter_mut().enumerate() {
            mark.content = i as u64;
        }
        let mut seen = Account { marks: all.marks[2..].to_vec(), ..Account::default() };
        for mark in &mut seen.marks {
            mark.dts_us += 9_001_000;
            mark.pts_us += 9_000_000;
        }
        let want = Comparison { frames: 3, missing: 0, foreign: 0, to_the_end: true, key_frame_first: true };
        assert_eq!(seen.compare(&all, Times::Shifted), want);
        assert_eq!(seen.compare(&all, Times::Kept).foreign, 3);
        seen.marks[1].dts_us += 5_000;
        assert_eq!(seen.compare(&all, Times::Shifted).foreign, 1);
        // Where decoding times are made anew, they may be others, but neither fall nor exceed the presentation time.
        for mark in &mut seen.marks {
            mark.dts_us = mark.pts_us - 500;
        }
        assert_eq!(seen.compare(&all, Times::Rebuilt), want);
        seen.marks[1].dts_us = seen.marks[0].dts_us;
        assert_eq!(seen.compare(&all, Times::Rebuilt).foreign, 1);
        (seen.marks[1].dts_us, seen.marks[2].dts_us) = (seen.marks[1].pts_us + 1, seen.marks[2].pts_us);
        assert_eq!(seen.compare(&all, Times::Rebuilt).foreign, 1);
    }

    #[test]
    fn the_span_ends_with_the_last_frame() {
        let mut all = account(&[0, 40, 80, 120]);
        assert_eq!((all.step_us(Kind::Video), all.span_us()), (Some(40), 160));
        assert_eq!(all.step_us(Kind::Audio), None);
        all.marks.push(Mark { kind: Kind::Audio, dts_us: -10, pts_us: -10, ..all.marks[0] });
        assert_eq!(all.span_us(), 170);
        assert_eq!(account(&[]).span_us(), 0);
    }

    #[test]
    fn only_the_slices_of_a_picture_count() {
        let sps = [
            0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00,
            0x01, 0x00, 0x00, 0x03, 0x00, 0x32, 0x0f, 0x16, 0x2d, 0x96,
        ];
        let config: Bytes = avc::encode(&[&sps], &[&[0x68, 0xea]]).unwrap().into();
        let track = media::Track {
            codec: Codec::H264,
            config,
            clock: 1000,
            flv_flags: None,
            description: String::new(),
        };
        let track = std::sync::Arc::new(track);
        let hash = |nals: &[&[u8]]| {
            let payload: Vec<u8> = nals
                .iter()
                .flat_map(|n| [&u32::try_from(n.len()).unwrap().to_be_bytes(), *n].concat())
                .collect();
            content(&Frame { track: track.clone(), dts: 0, pts: 0, key: true, payload: payload.into() })
        };
        let slice: &[u8] = &[0x65, 1, 2, 3];
        assert_eq!(hash(&[&[0x09, 0xf0], &sps, &[0x06, 5, 5], slice]), hash(&[slice]));
        assert_ne!(hash(&[slice, slice]), hash(&[slice]));
    }
}
