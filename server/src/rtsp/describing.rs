//! DESCRIBE of a stream whose tracks are about to be known.
//!
//! A publisher is there before its codec configurations are: over RTMP they come with the first messages, video and audio
//! each on its own. Who asks in between waits a moment, since a description that lacks a track cannot be mended later.

use std::sync::Arc;
use std::time::Duration;

use media::rtp::describe;
use media::{Kind, Track};
use session::Time;
use session::rtsp::{Action, Input, Refusal};

use super::connection::Connection;
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
    /// All there is to be.
    Whole(Vec<Arc<Track>>),
    /// Look again at the latest then.
    Wait(Time),
    /// Nobody publishes, or nothing that we know.
    Nothing,
}

/// Judges a stream that has been published since `began`, by the tracks known `now`.
fn judge(tracks: Vec<Arc<Track>>, began: Time, now: Time) -> Verdict {
    let has = |kind| tracks.iter().any(|track| track.kind() == kind);
    let (second, any) = (began.after(SECOND), began.after(ANY));
    match tracks.is_empty() {
        false if has(Kind::Video) && has(Kind::Audio) || now >= second => Verdict::Whole(tracks),
        false => Verdict::Wait(second),
        true if now < any => Verdict::Wait(any),
        true => Verdict::Nothing,
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
            verdict => Some(answer(verdict, &path)),
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
                let action = answer(verdict, path);
                self.describing = None;
                self.drain(Some(Input::Do(action)));
            }
        }
    }

    fn look(&self, path: &str) -> Verdict {
        let stream = self.link.shared.hub.list().into_iter().find(|s| &*s.path == path);
        let Some((tracks, (_, began))) = stream.and_then(|s| Some((s.tracks, s.publisher?))) else {
            return Verdict::Nothing;
        };
        judge(tracks, began, self.link.now())
    }
}

fn answer(verdict: Verdict, path: &str) -> Action {
    match verdict {
        Verdict::Whole(tracks) => {
            let sdp = describe(&tracks, path).ok_or(Refusal::Codec);
            sdp.map_or_else(Action::Refuse, |sdp| Action::Describe { sdp })
        }
        Verdict::Wait(_) | Verdict::Nothing => Action::Refuse(Refusal::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use media::Codec;

    use super::*;

    fn judged(tracks: &[Codec], ms: u64) -> Option<usize> {
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
        match judge(tracks.iter().map(track).collect(), began, now) {
            Verdict::Whole(tracks) => Some(tracks.len()),
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
        assert_eq!(judged(&[v, a], 0), Some(2));
        assert_eq!((judged(&[v], 1499), judged(&[v], 1500)), (None, Some(1)));
        assert_eq!((judged(&[a], 0), judged(&[a], 9000)), (None, Some(1)));
        assert_eq!((judged(&[], 4999), judged(&[], 5000)), (None, Some(0)));
    }
}
