//! What is known of a viewer, so far and when all is read.

use std::net::SocketAddr;

use model::{Protocol, TrackKind};

use super::{MAX_CONNECTIONS, Part, Registry, Rendition, Viewer, ViewerNo};
use crate::finding::Note;
use crate::rules::Judged;
use crate::track::Stats;
use crate::track::ongoing::{self, Lost, MAX_LOOKED};

/// All that was learnt of a viewer.
#[derive(Debug)]
pub struct Outcome {
    /// Its number.
    pub viewer: ViewerNo,
    /// HLS, or MPEG-TS where no playlist lists what it fetched.
    pub protocol: Protocol,
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

impl Viewer {
    /// What it speaks: a playlist and a segment make HLS; none where it is no session.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        let hls = self.playlists > 0 && self.segments > 0;
        let streams =
            self.progressive && self.renditions.iter().any(|rendition| !rendition.streams.is_empty());
        hls.then_some(Protocol::Hls).or(streams.then_some(Protocol::MpegTs))
    }
}

impl Registry {
    /// The latest viewers that are sessions, and what they speak.
    pub(crate) fn latest_viewers(&self) -> impl Iterator<Item = (ViewerNo, Protocol)> {
        let latest = self.viewers.iter().enumerate().rev().take(MAX_LOOKED);
        latest.filter_map(|(n, viewer)| Some((ViewerNo(u32::try_from(n).ok()?), viewer.protocol()?)))
    }

    /// Client, path, codecs and losses of a viewer so far.
    pub(crate) fn now(&self, no: ViewerNo) -> Option<(SocketAddr, Option<String>, Vec<String>, Lost)> {
        let viewer = self.viewer(no)?;
        let path = self.loops.get(viewer.of).and_then(|group| group.path.clone());
        let codecs = ongoing::codecs(viewer.renditions.iter().flat_map(Rendition::stats));
        Some((viewer.client, path, codecs, Lost::Unknown))
    }

    /// The viewers that are sessions, in order of their first request; then what the rules say of the others.
    pub fn finish(mut self) -> (Vec<Outcome>, Vec<Vec<Judged>>) {
        self.drain();
        let Self { viewers, loops, .. } = self;
        let path = |of: usize| loops.get(of).and_then(|group| group.path.clone());
        let (sessions, others): (Vec<_>, Vec<_>) =
            (0u32..).zip(viewers).partition(|(_, viewer)| viewer.protocol().is_some());
        let strays = others.into_iter().map(|(_, viewer)| viewer.rules.finish()).collect();
        let mut outcomes: Vec<Outcome> = sessions
            .into_iter()
            .map(|(no, mut viewer)| {
                viewer.parts.sort_by_key(|part| part.stats.first_ns);
                let protocol = viewer.protocol().unwrap_or(Protocol::Hls);
                let firsts = |kind: usize| {
                    let of = |rendition: &Rendition| rendition.firsts().get(kind).copied().flatten();
                    viewer.renditions.iter().filter_map(of).min()
                };
                let first_frame_ns = firsts(0).or_else(|| firsts(1));
                let mut tracks = Vec::new();
                for rendition in std::mem::take(&mut viewer.renditions) {
                    tracks.extend(rendition.into_stats(&viewer.declared, &mut viewer.notes));
                }
                tracks.sort_by_key(|stats| stats.kind() != TrackKind::Video);
                Outcome {
                    viewer: ViewerNo(no),
                    protocol,
                    client: viewer.client,
                    server: viewer.server,
                    path: path(viewer.of),
                    agent: viewer.agent,
                    times: (viewer.first_ns, viewer.last_ns),
                    bytes: viewer.bytes,
                    segments: viewer.segments,
                    first_frame_ns,
                    complete: !viewer.incomplete && viewer.parts.len() < MAX_CONNECTIONS,
                    parts: viewer.parts,
                    tracks,
                    judged: viewer.rules.finish(),
                    notes: viewer.notes.into_vec(),
                }
            })
            .collect();
        outcomes.sort_by_key(|outcome| (outcome.times.0, outcome.viewer));
        (outcomes, strays)
    }
}
