//! Transport streams: which elementary streams there are, and what they carry.

mod packed;
mod sound;
mod tracks;
mod unit;

use std::collections::BTreeMap;

use media::ts::{Demuxer, Event};

pub(super) use self::packed::{Packed, Reader, may_begin};
pub(super) use self::tracks::Kinds;
pub use self::tracks::Tracks;
use crate::finding::Notes;
use crate::flow::At;
use crate::track::Stats;

/// RTP packets that wait for one that is late.
const REORDER: usize = 64;

/// A transport stream that comes in datagrams or in RTP packets.
#[derive(Debug, Default)]
pub struct Transport {
    demuxer: Demuxer,
    tracks: Tracks,
    /// RTP packets behind a missing one.
    waiting: BTreeMap<i64, (At, Vec<u8>)>,
    next: Option<i64>,
}

impl Transport {
    /// Takes a datagram of whole packets.
    pub fn datagram(&mut self, at: At, bytes: &[u8]) {
        let Self { demuxer, tracks, .. } = self;
        demuxer.datagram(bytes, |event: Event<'_>| tracks.event(at, &event));
    }

    /// Takes the payload of an RTP packet with its number, in any order.
    pub(super) fn numbered(&mut self, number: i64, restarted: bool, at: At, payload: &[u8]) {
        if restarted {
            self.drain(0);
            self.next = None;
        }
        if self.next.is_none_or(|next| next == number) {
            self.next = Some(number.saturating_add(1));
            self.datagram(at, payload);
        } else if self.next.is_some_and(|next| number > next) {
            self.waiting.insert(number, (at, payload.to_vec()));
        }
        while let Some((at, payload)) = self.next.and_then(|next| self.waiting.remove(&next)) {
            self.next = self.next.map(|next| next.saturating_add(1));
            self.datagram(at, &payload);
        }
        self.drain(REORDER);
    }

    /// Goes on without what is missing while more than `keep` packets wait.
    fn drain(&mut self, keep: usize) {
        while self.waiting.len() > keep
            && let Some((number, (at, payload))) = self.waiting.pop_first()
        {
            self.next = Some(number.saturating_add(1));
            self.datagram(at, &payload);
        }
    }

    /// When the first picture was whole, or the first sound where there is no video, nanoseconds since 1970.
    pub fn first_frame_ns(&self) -> Option<i64> {
        self.tracks.first_frame_ns()
    }

    /// Its tracks so far.
    pub(super) fn stats(&self) -> impl Iterator<Item = &Stats> {
        self.tracks.stats()
    }

    /// True once a stream of it is known.
    pub fn has_streams(&self) -> bool {
        !self.tracks.is_empty()
    }

    /// No more comes.
    pub fn finish(&mut self) {
        self.drain(0);
        let Self { demuxer, tracks, .. } = self;
        let at = At { time_ns: 0, frame: 0, offset: 0, ready_ns: 0 };
        demuxer.finish(|event| tracks.event(at, &event));
    }

    /// Its tracks, with what became of their packets; what is wrong is noted.
    pub fn into_stats(self, notes: &mut Notes) -> Vec<Stats> {
        self.tracks.into_stats(notes, true)
    }
}
