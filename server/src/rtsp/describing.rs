//! DESCRIBE of a stream whose tracks are about to be known.
//!
//! A publisher is there before its codec configurations are: over RTMP they come with the first messages, video and audio
//! each on its own. Who asks in between waits a moment, since a description that lacks a track cannot be mended later.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use media::rtp::{Heading, describe};
use media::{Kind, Track};
use session::Time;
use session::rtsp::{Action, Input, Refusal};

use super::connection::Connection;
use crate::address::canonical;
use crate::hub::Viewer;

/// How long after a publisher's begin a second kind of track is waited for.
const SECOND: Duration = Duration::from_millis(1500);
/// How long after it any track is.
const ANY: Duration = Duration::from_secs(5);

/// A description that somebody waits for.
#[derive(Debug)]
pub(super) struct Describing {
    path: String,
    /// Tells when the stream has something new.
    _observer: Viewer,
    /// When to look again, should nothing happen before.
    pub until: Time,
}

/// What can be said of a stream.
enum Verdict {
    /// All there is to be, published since then.
    Whole(Vec<Arc<Track>>, Time),
    /// Look again at the latest then.
    Wait(Time),
    /// Nobody publishes, or nothing that we know.
    Nothing,
}

/// Judges a stream that has been published since `began`, by the tracks known `now` and by the kinds that its publisher said
/// would come, where it said so.
fn judge(tracks: Vec<Arc<Track>>, expected: &[Kind], began: Time, now: Time) -> Verdict {
    let has = |kind| tracks.iter().any(|track| track.kind() == kind);
    let (second, any) = (began.after(SECOND), began.after(ANY));
    let (whole, until) = match expected {
        [] => (has(Kind::Video) && has(Kind::Audio), if tracks.is_empty() { any } else { second }),
        kinds => (kinds.iter().all(|kind| has(*kind)), any),
    };
    match tracks.is_empty() {
        _ if !whole && now < until => Verdict::Wait(until),
        true => Verdict::Nothing,
        false => Verdict::Whole(tracks, began),
    }
}

impl Connection {
    /// Describes the stream, or has the client wait until that can be done.
    pub(super) fn describe(&mut self, path: String) -> Option<Action> {
        match self.look(&path) {
            Verdict::Wait(until) => {
                let observer = self.link.shared.hub.observe(&path, Arc::clone(&self.link.client.signal));
                self.describing = Some(Describing { path, _observer: observer, until });
                None
            }
            verdict => Some(self.answer(verdict, &path)),
        }
    }

    /// Looks again after something happened.
    pub(super) fn describe_waiting(&mut self) {
        let Some(Describing { path, .. }) = &self.describing else { return };
        match self.look(path) {
            Verdict::Wait(later) => {
                if let Some(describing) = &mut self.describing {
                    describing.until = later;
                }
            }
            verdict => {
                let action = self.answer(verdict, path);
                self.describing = None;
                self.drain(Some(Input::Do(action)));
            }
        }
    }

    fn look(&self, path: &str) -> Verdict {
        let stream = self.link.shared.hub.list().into_iter().find(|s| &*s.path == path);
        let Some((stream, (_, began))) = stream.and_then(|s| s.publisher.clone().map(|p| (s, p))) else {
            return Verdict::Nothing;
        };
        judge(stream.tracks, &stream.expected, began, self.link.now())
    }

    fn answer(&self, verdict: Verdict, path: &str) -> Action {
        let Verdict::Whole(tracks, began) = verdict else { return Action::Refuse(Refusal::NotFound) };
        let since = self.link.shared.clock.wall(began).duration_since(SystemTime::UNIX_EPOCH);
        let id = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
        let v6 = self.link.local.is_some_and(|local| canonical(local).is_ipv6());
        let sdp = describe(&tracks, &Heading { name: path, id, v6, live: true }).ok_or(Refusal::Codec);
        sdp.map_or_else(Action::Refuse, |sdp| Action::Describe { sdp })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use media::Codec;

    use super::*;

    fn judged(tracks: &[Codec], expected: &[Kind], ms: u64) -> Option<usize> {
        let track = |codec: &Codec| {
            Arc::new(Track {
                codec: *codec,
                clock: 1000,
                config: Bytes::new(),
                flv_flags: None,
                description: String::new(),
            })
        };
        let (began, now) =
            (Time::from_millis(7000), Time::from_millis(7000).after(Duration::from_millis(ms)));
        match judge(tracks.iter().map(track).collect(), expected, began, now) {
            Verdict::Whole(tracks, _) => Some(tracks.len()),
            Verdict::Nothing => Some(0),
            Verdict::Wait(until) => {
                assert!(until > now);
                None
            }
        }
    }

    #[test]
    fn both_kinds_are_told_at_once_one_after_a_while_and_none_after_longer() {
        let (v, a) = (Codec::H264, Codec::Aac);
        let judged = |tracks: &[Codec], ms| judged(tracks, &[], ms);
        assert_eq!(judged(&[v, a], 0), Some(2));
        assert_eq!((judged(&[v], 1499), judged(&[v], 1500)), (None, Some(1)));
        assert_eq!((judged(&[a], 0), judged(&[a], 9000)), (None, Some(1)));
        assert_eq!((judged(&[], 4999), judged(&[], 5000)), (None, Some(0)));
    }

    #[test]
    fn who_said_what_comes_is_waited_for_no_longer_than_that_takes() {
        let (v, a) = (Codec::H264, Codec::Aac);
        let (video, both) = ([Kind::Video], [Kind::Video, Kind::Audio]);
        assert_eq!(judged(&[v], &video, 0), Some(1));
        assert_eq!((judged(&[a], &both, 4999), judged(&[a], &both, 5000)), (None, Some(1)));
        assert_eq!((judged(&[v, a], &both, 0), judged(&[], &both, 5000)), (Some(2), Some(0)));
    }
}
