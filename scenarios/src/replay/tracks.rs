//! What came of each track: then and now, by the same count.

use std::collections::BTreeMap;

use wire::Cursor;
use wire::flv::{AudioHeader, VideoHeader, audio, video};
use wire::rtmp::message::kind;

/// Tracks told apart; what is beyond counts with the last.
const MAX_TRACKS: usize = 64;

/// Then or now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// In the capture.
    Captured,
    /// From the server of this run.
    Now,
}

/// Messages or packets of each track, by its kind and codec.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracks {
    counts: BTreeMap<String, [u64; 2]>,
    total: [u64; 2],
}

impl Tracks {
    /// One more of a track.
    pub(super) fn count(&mut self, when: When, name: &str) {
        let [captured, now] = &mut self.total;
        let total = if when == When::Captured { captured } else { now };
        *total = total.saturating_add(1);
        if self.counts.len() >= MAX_TRACKS && !self.counts.contains_key(name) {
            return;
        }
        let [captured, now] = self.counts.entry(name.to_owned()).or_default();
        let one = if when == When::Captured { captured } else { now };
        *one = one.saturating_add(1);
    }

    /// Messages or packets of all tracks, then and now.
    pub(super) fn total(&self) -> [u64; 2] {
        self.total
    }

    /// Every track with its counts, then and now.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, [u64; 2])> {
        self.counts.iter().map(|(name, counts)| (name.as_str(), *counts))
    }
}

/// Kind and codec of an RTMP message that carries media.
pub(super) fn of_message(type_id: u8, body: &[u8]) -> Option<String> {
    let mut c = Cursor::new(body);
    let (what, codec) = match type_id {
        kind::VIDEO => {
            let codec = match video::decode(&mut c) {
                Ok(VideoHeader::Classic { codec, .. } | VideoHeader::Command { codec, .. }) => codec.codec(),
                Ok(VideoHeader::Enhanced { packets, .. }) => packets.fourcc.and_then(|fourcc| fourcc.codec()),
                Err(_) => None,
            };
            ("video", codec)
        }
        kind::AUDIO => {
            let codec = match audio::decode(&mut c) {
                Ok(AudioHeader::Classic(header)) => header.format.codec(),
                Ok(AudioHeader::Enhanced(packets)) => packets.fourcc.and_then(|fourcc| fourcc.codec()),
                Err(_) => None,
            };
            ("audio", codec)
        }
        kind::AGGREGATE => ("aggregates", None),
        _ => return None,
    };
    Some(codec.map_or_else(|| what.to_owned(), |codec| format!("{what} {codec}")))
}
