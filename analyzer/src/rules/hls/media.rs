//! Segments, their initialization sections and times, and how playlists are labelled.

use std::collections::HashMap;

use super::url::key;
use super::{Event, Fragment, Hls, List};
use crate::rules::{Check, Doc, Rule, Tally};

/// Playlists followed of one viewer.
const MAX_PLAYLISTS: usize = 64;

/// `hls.map.required`.
pub static MAP_REQUIRED: Rule<Hls> = Rule {
    requirement: &spec::hls::MAP_REQUIRED,
    doc: Doc {
        looks_at: "The first box of every segment that was fetched, and the playlist that listed it.",
        judges: "A segment that begins with styp, sidx or moof was listed behind an EXT-X-MAP. Transport streams, \
                 packed audio and segments whose first bytes the capture lacks are not judged.",
        peers: "This program's own server keeps it; no capture of another server was at hand.",
    },
    start: || Box::new(Map),
};

#[derive(Debug)]
struct Map;

impl Check<Hls> for Map {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        let Event::Segment { at, url, has_map, head } = event else { return };
        let Some(kind @ (b"styp" | b"sidx" | b"moof")) = head.get(4..8) else { return };
        tally.is(*has_map, *at, || {
            (
                "EXT-X-MAP before a segment of fragmented MP4".to_owned(),
                format!("none for {url}, which begins with {}", String::from_utf8_lossy(kind)),
                "a segment was listed without its initialization section".to_owned(),
            )
        });
    }
}

/// `fmp4.moof.base-media-decode-time`.
pub static DECODE_TIME: Rule<Hls> = Rule {
    requirement: &spec::fmp4::MOOF_BASE_MEDIA_DECODE_TIME,
    doc: Doc {
        looks_at: "The tfdt of every track in every movie fragment a viewer fetched, and the durations of its samples.",
        judges: "Every track has one. It is where the track's fragment before ended, to one tick, if that fragment is in \
                 the same segment or in the one listed directly before, no EXT-X-DISCONTINUITY stands between them, and \
                 the capture lacks nothing of either. Segments that were passed over or fetched again are not judged. \
                 Where whole frames are missing in between it is left undecided: whether the source had them or the \
                 server lost them, a viewer's capture does not tell.",
        peers: "This program's own server keeps it; no capture of another server was at hand.",
    },
    start: || Box::<Times>::default(),
};

#[derive(Debug, Default)]
struct Times {
    lists: HashMap<u64, List>,
    /// Where each track ended.
    ends: HashMap<(u64, u32), End>,
}

#[derive(Clone, Copy, Debug)]
struct End {
    segment: u64,
    place: u64,
    time: u64,
}

/// Tracks followed of one viewer.
const MAX_TRACKS: usize = 64;

impl Times {
    /// True where the second segment directly follows the first, or is the same.
    fn follows(&self, first: u64, second: u64) -> bool {
        first == second
            || self.lists.values().any(|list| {
                let pairs = list.segments.iter().zip(list.segments.iter().skip(1));
                pairs.into_iter().any(|(a, b)| a.url == first && b.url == second && !b.discontinuity)
            })
    }

    fn fragment(&mut self, fragment: &Fragment, tally: &mut Tally) {
        let Fragment { at, segment, place, track, from, lasts, each, timescale } = *fragment;
        let Some(from) = from else {
            self.ends.remove(&track);
            return tally.broken(at, || {
                (
                    "a tfdt in every traf".to_owned(),
                    format!("none for track {}", track.1),
                    "a movie fragment does not say when it begins".to_owned(),
                )
            });
        };
        let end = End { segment, place, time: from.saturating_add(lasts) };
        if self.ends.len() >= MAX_TRACKS && !self.ends.contains_key(&track) {
            return;
        }
        let Some(before) = self.ends.insert(track, end) else { return };
        // The same bytes again, or an earlier part of the segment.
        if (before.segment == segment && before.place >= place) || !self.follows(before.segment, segment) {
            return;
        }
        let frames_late =
            from.checked_sub(before.time).zip(each).and_then(|(late, each)| late.checked_rem(each));
        if frames_late == Some(0) && from > before.time {
            return tally
                .unsure("whole frames are missing between two fragments, at the source or at the server");
        }
        tally.is(before.time.abs_diff(from) <= 1, at, || {
            let ticks = before.time.abs_diff(from);
            let us =
                u128::from(ticks).saturating_mul(1_000_000).checked_div(u128::from(timescale)).unwrap_or(0);
            let what = if before.time < from { "gap" } else { "overlap" };
            (
                format!("tfdt {} for track {}, where the fragment before ended", before.time, track.1),
                format!(
                    "{from}: {what} of {ticks} ticks, {}.{:03} ms",
                    us.div_euclid(1000),
                    us.rem_euclid(1000)
                ),
                "fragments of a track do not join".to_owned(),
            )
        });
    }
}

impl Check<Hls> for Times {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        match event {
            Event::Hole => self.ends.clear(),
            Event::Playlist { url, list, .. } => {
                let name = key(url);
                if self.lists.len() < MAX_PLAYLISTS || self.lists.contains_key(&name) {
                    self.lists.insert(name, (*list).clone());
                }
            }
            Event::Segment { .. } => {}
            Event::Fragment(fragment) => self.fragment(fragment, tally),
        }
    }
}

/// `http.mime.playlist`.
pub static MIME_PLAYLIST: Rule<Hls> = Rule {
    requirement: &spec::http::MIME_PLAYLIST,
    doc: Doc {
        looks_at: "The Content-Type of every media playlist, and the path it was asked for by.",
        judges: "The type is application/vnd.apple.mpegurl or audio/mpegurl, with parameters or without, or the path \
                 ends in .m3u8 or .m3u; text/html is never right.",
        peers: "This program's own server keeps it; no capture of another server was at hand.",
    },
    start: || Box::new(Mime),
};

#[derive(Debug)]
struct Mime;

impl Check<Hls> for Mime {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        let Event::Playlist { at, url, content_type, .. } = event else { return };
        let kind = content_type.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        let is = |name: &str| kind.eq_ignore_ascii_case(name);
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let named = [".m3u8", ".m3u"].iter().any(|ending| path.ends_with(ending));
        let typed = is("application/vnd.apple.mpegurl") || is("audio/mpegurl");
        tally.is((typed || named) && !is("text/html"), *at, || {
            (
                "Content-Type application/vnd.apple.mpegurl or audio/mpegurl".to_owned(),
                if kind.is_empty() { "none".to_owned() } else { kind.to_owned() },
                format!("the playlist {path} cannot be told for one"),
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use model::Verdict;

    use super::*;
    use crate::flow::At;
    use crate::rules::Panel;

    /// Two fragments of ten samples of 1024 ticks, the second of which begins so many ticks after the first one's end.
    fn judged(apart: i64) -> Verdict {
        static RULES: &[&Rule<Hls>] = &[&DECODE_TIME];
        let mut panel = Panel::new(RULES);
        for (place, from) in [(0, 0), (5000, 10_240i64.saturating_add(apart))] {
            let at = At { time_ns: 1, frame: 1, offset: 0, ready_ns: 1 };
            let fragment = Fragment {
                at,
                segment: 1,
                place,
                track: (1, 2),
                from: u64::try_from(from).ok(),
                lasts: 10_240,
                each: Some(1024),
                timescale: 48_000,
            };
            panel.tell(Event::Fragment(fragment));
        }
        panel.finish().first().unwrap().verdict
    }

    #[test]
    fn fragments_join_to_a_tick_and_missing_frames_are_left_undecided() {
        assert_eq!([-1, 0, 1].map(judged), [Verdict::Pass; 3]);
        assert_eq!([-1024, -2, 2, 1000, 1500].map(judged), [Verdict::Fail; 5]);
        assert_eq!([1024, 2048].map(judged), [Verdict::Inconclusive; 2]);
    }
}
