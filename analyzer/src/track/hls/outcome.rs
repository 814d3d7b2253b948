//! What is known of a viewer, so far and when all is read.

use std::net::SocketAddr;

use super::{Part, Registry, ViewerNo};
use crate::finding::Note;
use crate::now::{Lost, MAX_LOOKED};
use crate::rules::Judged;
use crate::track::Stats;

/// All that was learnt of a viewer.
#[derive(Debug)]
pub struct Outcome {
    /// Its number.
    pub viewer: ViewerNo,
    /// The first connection's client.
    pub client: SocketAddr,
    /// The server.
    pub server: SocketAddr,
    /// Path of the stream.
    pub path: Option<String>,
    /// User-Agent.
    pub agent: Option<String>,
    /// First and last byte, nanoseconds since 1970.
    pub times: (i64, i64),
    /// Payload to the server and to the client.
    pub bytes: [u64; 2],
    /// Segments fetched.
    pub segments: u64,
    /// The first whole picture, or audio frame where there is no video, nanoseconds since 1970.
    pub first_frame_ns: Option<i64>,
    /// The connections it used, shared ones too.
    pub parts: Vec<Part>,
    /// What was carried.
    pub tracks: Vec<Stats>,
    /// True where the capture lacks nothing of it.
    pub complete: bool,
    /// What is wrong or worth knowing.
    pub notes: Vec<Note>,
    /// What the rules say.
    pub judged: Vec<Judged>,
}

impl ViewerNo {
    /// The viewers count from 0.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.0)
    }
}

impl Registry {
    /// The latest viewers that have a playlist and a segment.
    pub(crate) fn latest_viewers(&self) -> impl Iterator<Item = ViewerNo> {
        let latest = self.viewers.iter().enumerate().rev().take(MAX_LOOKED);
        let viewers = latest.filter(|(_, viewer)| viewer.playlists > 0 && viewer.segments > 0);
        viewers.filter_map(|(n, _)| Some(ViewerNo(u32::try_from(n).ok()?)))
    }

    /// Client, path, codecs and losses of a viewer so far.
    pub(crate) fn now(&self, no: ViewerNo) -> Option<(SocketAddr, Option<String>, Vec<String>, Lost)> {
        let viewer = self.viewer(no)?;
        let path = self.loops.get(viewer.of).and_then(|group| group.path.clone());
        Some((viewer.client, path, viewer.tracks.codecs(), Lost::Unknown))
    }
}
