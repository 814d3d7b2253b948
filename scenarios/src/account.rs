//! What a client sent or saw, frame by frame.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use bytes::Bytes;
use media::flv::Demuxer;
use media::{Kind, Unit};
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
                Unit::Frame(frame) => {
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
                Unit::Metadata(_) => {}
            }
        }
    }

    /// The frames of one kind, in order.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Mark> {
        self.marks.iter().filter(move |m| m.kind == kind)
    }

    /// Compares what a viewer saw with what was published.
    pub fn compare(&self, published: &Account) -> Comparison {
        let video = run(self.of(Kind::Video), published.of(Kind::Video));
        let audio = run(self.of(Kind::Audio), published.of(Kind::Audio));
        Comparison {
            frames: video.seen + audio.seen,
            missing: video.missing + audio.missing,
            foreign: video.foreign + audio.foreign,
            to_the_end: video.to_the_end && audio.to_the_end,
            key_frame_first: self.of(Kind::Video).next().is_none_or(|m| m.key),
        }
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
fn run<'a>(seen: impl Iterator<Item = &'a Mark>, published: impl Iterator<Item = &'a Mark>) -> RunOf {
    let published: Vec<&Mark> = published.collect();
    let mut result = RunOf { seen: 0, missing: 0, foreign: 0, to_the_end: published.is_empty() };
    let mut at: Option<usize> = None;
    for mark in seen {
        result.seen += 1;
        let from = at.map_or(0, |at| at + 1);
        match published.iter().skip(from).position(|p| *p == mark) {
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
        let got = account(&[100, 140, 180]).compare(&all);
        let want = Comparison { frames: 3, missing: 0, foreign: 0, to_the_end: true, key_frame_first: true };
        assert_eq!(got, want);
    }

    #[test]
    fn gaps_strange_frames_and_early_ends_are_told() {
        let all = account(&[0, 40, 100, 140, 180]);
        let got = account(&[40, 140, 150]).compare(&all);
        let want =
            Comparison { frames: 3, missing: 1, foreign: 1, to_the_end: false, key_frame_first: false };
        assert_eq!(got, want);
        // The order counts.
        assert_eq!(account(&[100, 40]).compare(&all).foreign, 1);
    }
}
