//! What a client sent or saw, frame by frame.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use bytes::Bytes;
use media::flv::Demuxer;
use media::{Frame, Kind, Unit};
use session::rtmp::MediaKind;

/// One frame, told from others by its content and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Video or audio.
    pub kind: Kind,
    /// Hash of the payload.
    pub content: u64,
    /// Decoding time in milliseconds.
    pub dts_ms: i64,
    /// Presentation time in milliseconds.
    pub pts_ms: i64,
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
        for unit in [track, frame].into_iter().flatten() {
            match unit {
                Unit::Track(track) => self.tracks.push(track.description.clone()),
                Unit::Frame(frame) => self.frame(&frame),
                Unit::Metadata(_) => {}
            }
        }
    }

    /// Takes a frame in.
    pub fn frame(&mut self, frame: &Frame) {
        let mut hasher = DefaultHasher::new();
        hasher.write(&frame.payload);
        self.marks.push(Mark {
            kind: frame.track.kind(),
            content: hasher.finish(),
            dts_ms: frame.dts_ms(),
            pts_ms: frame.dts_ms().saturating_add(frame.composition_ms()),
            key: frame.key,
        });
    }

    /// The frames of one kind, in order.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Mark> {
        self.marks.iter().filter(move |m| m.kind == kind)
    }

    /// Compares what a viewer saw with what was published.
    ///
    /// Where the protocol keeps the publisher's times they have to be equal; where it has a timeline of its own
    /// (`own_timeline`), times may be apart by one constant and 1 ms of rounding.
    pub fn compare(&self, published: &Account, own_timeline: bool) -> Comparison {
        let shift = if own_timeline { self.shift(published) } else { Some(0) };
        let tolerance = i64::from(own_timeline);
        let same = |seen: &Mark, p: &Mark| {
            let apart = |a: i64, b: i64| shift.is_some_and(|s| (a - b - s).abs() <= tolerance);
            seen.content == p.content
                && seen.key == p.key
                && apart(seen.dts_ms, p.dts_ms)
                && apart(seen.pts_ms, p.pts_ms)
        };
        let video = run(self.of(Kind::Video), published.of(Kind::Video), same);
        let audio = run(self.of(Kind::Audio), published.of(Kind::Audio), same);
        Comparison {
            frames: video.seen + audio.seen,
            missing: video.missing + audio.missing,
            foreign: video.foreign + audio.foreign,
            to_the_end: video.to_the_end && audio.to_the_end,
            key_frame_first: self.of(Kind::Video).next().is_none_or(|m| m.key),
        }
    }
}

impl Account {
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
        Some(first.dts_ms - all[best].dts_ms)
    }
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
            |t: &i64| Mark { kind: Kind::Video, content: 7, dts_ms: *t, pts_ms: *t, key: t % 100 == 0 };
        Account { marks: times.iter().map(mark).collect(), ..Account::default() }
    }

    #[test]
    fn a_viewer_that_joins_late_and_stays_misses_nothing() {
        let all = account(&[0, 40, 100, 140, 180]);
        let got = account(&[100, 140, 180]).compare(&all, false);
        let want = Comparison { frames: 3, missing: 0, foreign: 0, to_the_end: true, key_frame_first: true };
        assert_eq!(got, want);
    }

    #[test]
    fn gaps_strange_frames_and_early_ends_are_told() {
        let all = account(&[0, 40, 100, 140, 180]);
        let got = account(&[40, 140, 150]).compare(&all, false);
        let want =
            Comparison { frames: 3, missing: 1, foreign: 1, to_the_end: false, key_frame_first: false };
        assert_eq!(got, want);
        // The order counts.
        assert_eq!(account(&[100, 40]).compare(&all, false).foreign, 1);
    }

    #[test]
    fn a_timeline_of_its_own_may_be_apart_by_one_constant() {
        let mut all = account(&[0, 40, 100, 140, 180]);
        for (i, mark) in all.marks.iter_mut().enumerate() {
            mark.content = i as u64;
        }
        let mut seen = Account { marks: all.marks[2..].to_vec(), ..Account::default() };
        for mark in &mut seen.marks {
            mark.dts_ms += 9_000_001;
            mark.pts_ms += 9_000_000;
        }
        let want = Comparison { frames: 3, missing: 0, foreign: 0, to_the_end: true, key_frame_first: true };
        assert_eq!(seen.compare(&all, true), want);
        assert_eq!(seen.compare(&all, false).foreign, 3);
        seen.marks[1].dts_ms += 5;
        assert_eq!(seen.compare(&all, true).foreign, 1);
    }
}
