//! The target duration.

use std::collections::HashMap;

use super::url::key;
use super::{Event, Hls};
use crate::rules::{Check, Doc, Rule, Tally};

/// Playlists followed of one viewer.
const MAX_PLAYLISTS: usize = 64;

/// `hls.media-playlist.target-duration`.
pub static DURATION: Rule<Hls> = Rule {
    requirement: &spec::hls::MEDIA_PLAYLIST_TARGET_DURATION,
    doc: Doc {
        looks_at: "Every EXTINF of every media playlist beside its EXT-X-TARGETDURATION.",
        judges: "EXTINF rounded to the nearest second is at most the target duration, in playlists of every version. A \
                 segment is counted each time it is listed. Playlists without a target duration are not judged here.",
        peers: "ffmpeg's hls muxer keeps it by raising the target duration while the stream is live, which is \
                hls.live.target-duration-immutable.",
    },
    start: || Box::new(Longest),
};

#[derive(Debug)]
struct Longest;

impl Check<Hls> for Longest {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        let Event::Playlist { at, url, list, .. } = event else { return };
        let Some(target) = list.target else { return };
        #[allow(clippy::cast_precision_loss)]
        let limit = target as f64;
        for (number, segment) in list.numbered() {
            let Some(seconds) = segment.seconds else { continue };
            // Half a second rounds up; what a decimal fraction loses as a float does not.
            tally.is((seconds - 1e-9).round() <= limit, *at, || {
                (
                    format!("EXTINF of at most {target} s when rounded"),
                    format!("{seconds} s for segment {number} of {url}"),
                    "a segment is longer than the target duration".to_owned(),
                )
            });
        }
    }
}

/// `hls.live.target-duration-immutable`.
pub static IMMUTABLE: Rule<Hls> = Rule {
    requirement: &spec::hls::LIVE_TARGET_DURATION_IMMUTABLE,
    doc: Doc {
        looks_at: "EXT-X-TARGETDURATION of one playlist URL over time, as one viewer got it.",
        judges: "It is the same in every version of the playlist. It applies from the second one on.",
        peers: "ffmpeg 5.1 and 9.0, gohlslib, SRS, nginx-rtmp and ZLMediaKit compute it anew from the segments in the \
                window and break it where key frames come irregularly.",
    },
    start: || Box::<Constant>::default(),
};

#[derive(Debug, Default)]
struct Constant {
    targets: HashMap<u64, u64>,
}

impl Check<Hls> for Constant {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        let Event::Playlist { at, url, list, .. } = event else { return };
        let Some(target) = list.target else { return };
        let name = key(url);
        if self.targets.len() >= MAX_PLAYLISTS && !self.targets.contains_key(&name) {
            return;
        }
        let Some(before) = self.targets.insert(name, target) else { return };
        tally.is(before == target, *at, || {
            (
                format!("target duration {before} s as before"),
                format!("{target} s in {url}"),
                "the target duration of a playlist changed".to_owned(),
            )
        });
    }
}
