//! What the trackers tell of a session that goes on.

use model::TrackKind;

use super::Stats;

/// RTSP sessions and HLS viewers that are looked at, the latest first.
pub(super) const MAX_LOOKED: usize = 4096;

/// What a session lost, as far as this protocol and this capture tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lost {
    /// Not known.
    #[default]
    Unknown,
    /// Of numbered packets, how many never came.
    Packets {
        /// Numbers that are missing.
        lost: u64,
        /// Packets that were sent.
        sent: u64,
    },
    /// Bytes of the connection that the capture lacks.
    Bytes(u64),
}

/// Codecs by name, each once, those of video first.
pub(super) fn codecs<'a>(tracks: impl Iterator<Item = &'a Stats>) -> Vec<String> {
    let mut tracks: Vec<&Stats> = tracks.collect();
    tracks.sort_by_key(|stats| stats.kind() != TrackKind::Video);
    let mut names: Vec<String> = Vec::new();
    for name in tracks.into_iter().filter_map(|stats| stats.info.codec.as_ref()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}
