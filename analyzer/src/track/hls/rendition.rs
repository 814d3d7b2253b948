//! What the segments of one media playlist carry, put in order: players fetch several at a time.

use std::collections::VecDeque;
use std::net::SocketAddr;

use model::TrackKind;

use super::media::Tracks;
use super::playlist::Claims;
use super::segment::Segment;
use crate::finding::Notes;
use crate::track::{Stats, ts};

/// Initialization sections that are remembered.
const MAX_MOVIES: usize = 256;
/// Largest one that is.
const MAX_MOVIE: usize = 64 << 10;

/// A variant stream, or one of its renditions.
#[derive(Debug)]
pub(super) struct Rendition {
    /// Key of its playlist; 0 where none lists it.
    list: u64,
    /// What its movie fragments carry.
    pub(super) tracks: Tracks,
    /// What its transport streams carry.
    pub(super) streams: ts::Tracks,
    /// What its packed audio carries.
    pub(super) packed: ts::Packed,
    /// Its resources whose content was not read to the end, in the order in which their answers began.
    open: VecDeque<u64>,
    /// Those of them that are all there.
    ended: Vec<Segment>,
}

impl Rendition {
    /// Of the playlist with this key; every frame is marked where `trace` says so.
    pub(super) fn new(list: u64, trace: bool) -> Self {
        Self {
            list,
            tracks: Tracks::new(trace),
            streams: ts::Tracks::default(),
            packed: ts::Packed::new(trace),
            open: VecDeque::new(),
            ended: Vec::new(),
        }
    }

    /// True where this is the playlist's.
    pub(super) fn is_of(&self, list: u64) -> bool {
        self.list == list
    }

    /// An answer begins.
    pub(super) fn queue(&mut self, turn: u64) {
        self.open.push_back(turn);
    }

    /// True where everything before this answer was read.
    pub(super) fn is_next(&self, turn: u64) -> bool {
        self.open.front() == Some(&turn)
    }

    /// An answer is not waited with any longer: what it carries may stand in the wrong place.
    pub(super) fn overtake(&mut self, turn: u64) {
        self.open.retain(|open| *open != turn);
        self.open.push_front(turn);
        self.lost();
    }

    /// An answer was read to the end; returns the next that is all there.
    pub(super) fn done(&mut self, turn: u64) -> Option<Segment> {
        self.open.retain(|open| *open != turn);
        let next = self.open.front()?;
        let index = self.ended.iter().position(|segment| segment.turn == *next)?;
        Some(self.ended.swap_remove(index))
    }

    /// An answer is all there, but others come first.
    pub(super) fn keep(&mut self, segment: Segment) {
        self.ended.push(segment);
    }

    /// Those that are all there and were not read yet.
    pub(super) fn take_ended(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.ended)
    }

    /// Another resource begins, which need not follow the one before.
    pub(super) fn seam(&mut self) {
        self.tracks.seam();
        self.streams.seam();
        self.packed.seam();
    }

    /// A piece of the timeline is missing.
    pub(super) fn lost(&mut self) {
        self.tracks.lost();
        self.streams.lost();
        self.packed.lost();
    }

    /// When the first picture and the first sound were whole, nanoseconds since 1970.
    pub(super) fn firsts(&self) -> [Option<i64>; 2] {
        let least = |a: Option<i64>, b: Option<i64>| a.into_iter().chain(b).min();
        let ([picture, sound], [p, s]) = (self.tracks.firsts(), self.streams.firsts());
        [least(picture, p), least(least(sound, s), self.packed.first_frame_ns())]
    }

    /// The tracks so far.
    pub(super) fn stats(&self) -> impl Iterator<Item = &Stats> {
        self.tracks.stats().chain(self.streams.stats()).chain(self.packed.stats())
    }

    /// The tracks with what is claimed of them.
    pub(super) fn into_stats(self, claims: &Declared, notes: &mut Notes) -> Vec<Stats> {
        let Self { list, tracks, streams, packed, .. } = self;
        let inner = streams.into_stats(notes, false).into_iter().chain(packed.into_stats());
        let mut stats: Vec<Stats> = tracks.into_stats().chain(inner).collect();
        let claims = claims.of(list);
        let mut kinds = Vec::new();
        for one in &mut stats {
            let video = one.kind() == TrackKind::Video;
            // What was declared first was about the first: behind a discontinuity another may follow.
            if kinds.contains(&one.kind()) {
                continue;
            }
            kinds.push(one.kind());
            let is_told = |name: &str| video || matches!(name, "CODECS" | "NAME" | "LANGUAGE");
            for (name, value) in claims.iter().filter(|(name, _)| is_told(name)) {
                one.declare(name, value.as_str());
            }
        }
        stats
    }
}

/// What a multivariant playlist declares.
#[derive(Clone, Debug, Default)]
pub(super) struct Declared {
    /// Of each media playlist, by its key.
    each: Vec<(u64, Claims)>,
    /// Of the first variant stream.
    first: Claims,
}

impl Declared {
    /// Of these media playlists, and of the first variant stream.
    pub(super) fn new(each: Vec<(u64, Claims)>, first: Claims) -> Self {
        Self { each, first }
    }

    /// True where nothing was declared.
    pub(super) fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// What holds for the media playlist with this key. The codecs of a rendition stand with the variant streams that
    /// use it.
    fn of(&self, list: u64) -> Claims {
        let Some((_, claims)) = self.each.iter().find(|(key, _)| *key == list) else { return Vec::new() };
        let mut claims = claims.clone();
        if !claims.iter().any(|(name, _)| *name == "CODECS") {
            claims.extend(self.first.iter().filter(|(name, _)| *name == "CODECS").cloned());
        }
        claims
    }
}

/// Initialization sections seen lately. Who watches the same stream from the same address may have fetched one for another,
/// or before the capture began.
#[derive(Debug, Default)]
pub(super) struct Movies(VecDeque<((SocketAddr, u64), Vec<u8>)>);

impl Movies {
    /// The content of the resource with this key was seen.
    pub(super) fn keep(&mut self, server: SocketAddr, map: u64, movie: Vec<u8>) {
        let of = (server, map);
        if movie.len() > MAX_MOVIE {
            return;
        }
        self.0.retain(|(known, _)| *known != of);
        if self.0.len() >= MAX_MOVIES {
            self.0.pop_front();
        }
        self.0.push_back((of, movie));
    }

    /// The content of the resource with this key, where it was seen.
    pub(super) fn find(&self, server: SocketAddr, map: u64) -> Option<&[u8]> {
        let (_, movie) = self.0.iter().rev().find(|(known, _)| *known == (server, map))?;
        Some(movie)
    }
}
