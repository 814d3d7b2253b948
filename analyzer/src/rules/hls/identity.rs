//! Media sequence numbers.

use std::collections::HashMap;

use super::url::key;
use super::{Event, Hls, List};
use crate::rules::{Check, Doc, Rule, Tally};

/// Playlists followed of one viewer.
const MAX_PLAYLISTS: usize = 64;

/// `hls.live.segment-identity`.
pub static SEGMENT: Rule<Hls> = Rule {
    requirement: &spec::hls::LIVE_SEGMENT_IDENTITY,
    doc: Doc {
        looks_at: "The segments of one playlist URL over time, as one viewer got it, by their media sequence numbers.",
        judges: "A number that two versions in a row list stands for the same URL and the same EXTINF in both. \
                 Whether one URL always gives the same bytes is not looked at.",
        peers: "This program's own server keeps it; no capture of another server was at hand. A restart that begins at 0 again \
                breaks it.",
    },
    start: || Box::<Identity>::default(),
};

#[derive(Debug, Default)]
struct Identity {
    lists: HashMap<u64, List>,
}

impl Check<Hls> for Identity {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        let Event::Playlist { at, url, list, .. } = event else { return };
        let name = key(url);
        let Some(before) = self.lists.get(&name) else {
            if self.lists.len() < MAX_PLAYLISTS {
                self.lists.insert(name, (*list).clone());
            }
            return;
        };
        let start = list.sequence.max(before.sequence);
        let from = |list: &List| usize::try_from(start.saturating_sub(list.sequence)).unwrap_or(usize::MAX);
        let (old, new) = (before.segments.iter().skip(from(before)), list.segments.iter().skip(from(list)));
        for ((number, old), new) in (start..).zip(old).zip(new) {
            tally.is(old.url == new.url && old.seconds == new.seconds, *at, || {
                let changed = if old.url == new.url { "another EXTINF" } else { "another URI" };
                (
                    format!("segment {number} as it was listed before"),
                    format!("{changed} in {url}"),
                    "a media sequence number stands for another segment".to_owned(),
                )
            });
        }
        if before != *list {
            self.lists.insert(name, (*list).clone());
        }
    }
}
