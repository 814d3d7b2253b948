//! A viewer: a cursor into a stream's ring.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use media::{Kind, Track};

use super::item::{Item, Setup, What};
use super::keep::Keeper;
use super::ring::Ring;
use super::{Hub, Stream};
use crate::signal::{DATA, Signal};

/// One viewer's place in a stream. Dropping it leaves the stream.
#[derive(Debug)]
pub struct Viewer {
    pub(super) hub: Arc<Hub>,
    pub(super) stream: Arc<Stream>,
    pub(super) signal: Arc<Signal>,
    /// Position of the next item.
    pub(super) next: u64,
    /// Frames the stream had before that item.
    pub(super) frames_before: u64,
    pub(super) epoch: u64,
    /// True while the viewer knows of a publisher.
    pub(super) live: bool,
    /// The setup the viewer was told.
    pub(super) known: Arc<Setup>,
    pub(super) key: Key,
    pub(super) dropped: u64,
    /// Of those, the ones that were told.
    pub(super) told: u64,
    /// True for a part of the server.
    pub(super) observer: bool,
    pub(super) goodbye: bool,
    /// Which media it does not want.
    pub(super) unwanted: Unwanted,
    /// It was paused, and goes on with the next take.
    pub(super) resumes: bool,
    /// For one that is to have every frame.
    pub(super) keeper: Option<Arc<Keeper>>,
}

/// Whether pictures can be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The viewer had a key picture.
    Seen,
    /// A new viewer waits for one.
    Awaited,
    /// One that was moved waits for one, and loses pictures until then.
    Missed,
}

/// Media that a viewer asked not to get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unwanted {
    audio: bool,
    video: bool,
}

impl Unwanted {
    fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::Audio => self.audio,
            Kind::Video => self.video,
        }
    }
}

/// What is handed out, in order.
#[derive(Debug)]
pub enum Piece<'a> {
    /// onMetaData, new to this viewer.
    Metadata(&'a Bytes, u32),
    /// A track's configuration, new to this viewer, with the RTMP timestamp of what follows.
    Track(&'a Arc<Track>, u32),
    /// A frame.
    Frame(&'a Item),
    /// A data message.
    Data(&'a Item),
}

/// How a [`Viewer::take`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// There is nothing more at the moment.
    All,
    /// The limit was reached; there may be more.
    Some,
    /// A publisher has come; more may follow.
    Began,
    /// The publisher has left; another may follow.
    Ended,
}

impl Viewer {
    /// The stream that is watched.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The decoding time of the frame the viewer begins with, and its clock; none while there is no such frame. Pictures begin
    /// with a key picture.
    pub fn begins_at(&self) -> Option<(i64, u32)> {
        let ring = self.stream.ring.read().unwrap_or_else(PoisonError::into_inner);
        let items = (self.next..).map_while(|position| ring.get(position));
        let handed = |item: &&Arc<Item>| item.frame().is_some_and(|f| f.key || f.track.kind() != Kind::Video);
        let frame = items.into_iter().find(handed)?.frame()?;
        Some((frame.dts, frame.track.clock))
    }

    /// Waits until there may be something new to take.
    pub async fn ready(&self) {
        std::future::poll_fn(|cx| {
            if self.signal.take(DATA) != 0 || !self.signal.park(DATA, cx.waker()) {
                self.signal.take(DATA);
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    /// Whether the publisher that left last said goodbye, as far as that was seen.
    pub fn heard_goodbye(&self) -> bool {
        self.goodbye
    }

    /// From now on a medium is left out, or handed out again: configuration first, pictures from the next key picture on.
    pub fn want(&mut self, kind: Kind, wanted: bool) {
        let unwanted = match kind {
            Kind::Audio => &mut self.unwanted.audio,
            Kind::Video => &mut self.unwanted.video,
        };
        if *unwanted != wanted {
            return;
        }
        *unwanted = !wanted;
        let mut known = Setup::clone(&self.known);
        match kind {
            Kind::Audio => known.audio = None,
            Kind::Video => (known.video, self.key) = (None, Key::Awaited),
        }
        self.known = Arc::new(known);
    }

    /// Goes on after a pause, in which nothing was taken: with the newest key picture where one came meanwhile, else with the
    /// next one. What is left out is what was not wanted.
    pub fn resume(&mut self) {
        self.resumes = true;
    }

    /// Frames left out so far because the viewer was slow.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The same since the last call.
    pub fn newly_dropped(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.told, self.dropped);
        self.dropped.saturating_sub(before)
    }

    /// Hands what is new to `sink`, which returns the bytes it made of it, until they are at least `limit`.
    pub fn take(&mut self, limit: usize, sink: &mut dyn FnMut(Piece<'_>) -> usize) -> Took {
        let stream = Arc::clone(&self.stream);
        let before = self.next;
        let took = {
            let ring = stream.ring.read().unwrap_or_else(PoisonError::into_inner);
            self.take_from(&ring, limit, sink)
        };
        if let Some(keeper) = self.keeper.as_ref().filter(|_| self.next != before) {
            keeper.moved(self.next, &stream);
        }
        took
    }

    fn take_from(&mut self, ring: &Ring, limit: usize, sink: &mut dyn FnMut(Piece<'_>) -> usize) -> Took {
        if std::mem::take(&mut self.resumes)
            && let Some(turn) = self.go_on(ring)
        {
            return turn;
        }
        let lag = if self.keeper.is_some() { u64::MAX } else { self.hub.bounds.lag };
        if let Some(goal) = ring.move_on(self.next, lag)
            && let Some(turn) = self.jump(ring, goal)
        {
            return turn;
        }
        let mut bytes = 0usize;
        while let Some(item) = ring.get(self.next) {
            if bytes >= limit {
                return Took::Some;
            }
            match &item.what {
                What::Begin | What::End { .. } if bytes > 0 => return Took::Some,
                What::Begin => {
                    self.step(item);
                    self.enter(item.epoch);
                    return Took::Began;
                }
                What::End { goodbye } => {
                    self.step(item);
                    self.goodbye = *goodbye;
                    if self.leave_epoch() {
                        return Took::Ended;
                    }
                }
                What::Setup => {
                    bytes = bytes.saturating_add(self.tell(item, sink));
                    self.step(item);
                }
                What::Data(_) => {
                    bytes = bytes.saturating_add(sink(Piece::Data(item)));
                    self.step(item);
                }
                What::Frame(frame) if self.unwanted.has(frame.track.kind()) => self.step(item),
                What::Frame(frame) => {
                    let picture = frame.track.kind() == Kind::Video;
                    let hold = picture && !frame.key && self.key != Key::Seen;
                    if hold && self.key == Key::Missed {
                        self.dropped = self.dropped.saturating_add(1);
                    }
                    if !hold {
                        if picture {
                            self.key = Key::Seen;
                        }
                        bytes = bytes.saturating_add(self.tell(item, sink));
                        bytes = bytes.saturating_add(sink(Piece::Frame(item)));
                    }
                    self.step(item);
                }
            }
        }
        Took::All
    }

    fn step(&mut self, item: &Item) {
        self.next = self.next.saturating_add(1);
        let frames = u64::from(item.frame().is_some());
        self.frames_before = item.frames_before.saturating_add(frames);
    }

    /// A new publisher: nothing that was told holds any more.
    fn enter(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.live = true;
        self.known = Arc::default();
        self.key = Key::Awaited;
    }

    /// The publisher is gone; false where the viewer never knew of it.
    fn leave_epoch(&mut self) -> bool {
        self.known = Arc::default();
        self.key = Key::Awaited;
        std::mem::take(&mut self.live)
    }

    fn go_on(&mut self, ring: &Ring) -> Option<Took> {
        let newest = ring.entry();
        let goal = if newest > self.next { newest } else { ring.end() };
        let dropped = self.dropped;
        let turn = self.jump(ring, goal);
        self.dropped = dropped;
        self.key = Key::Awaited;
        turn
    }

    /// Moves to `goal`, counting what is left out; says so where publishers changed on the way.
    fn jump(&mut self, ring: &Ring, goal: u64) -> Option<Took> {
        let (frames_before, epoch) = match ring.get(goal) {
            Some(item) => (item.frames_before, item.epoch),
            None => (ring.frames, ring.epoch),
        };
        self.dropped = self.dropped.saturating_add(frames_before.saturating_sub(self.frames_before));
        self.next = goal;
        self.frames_before = frames_before;
        self.key = Key::Missed;
        if ring.publisher.is_none() {
            self.epoch = epoch;
            self.goodbye = false;
            return self.leave_epoch().then_some(Took::Ended);
        }
        if epoch != self.epoch {
            self.enter(epoch);
            return Some(Took::Began);
        }
        None
    }

    /// Hands out what of the item's setup the viewer does not know.
    fn tell(&mut self, item: &Item, sink: &mut dyn FnMut(Piece<'_>) -> usize) -> usize {
        if Arc::ptr_eq(&self.known, &item.setup) {
            return 0;
        }
        let known = std::mem::replace(&mut self.known, Arc::clone(&item.setup));
        let mut bytes = 0usize;
        let mut hand = |piece| bytes = bytes.saturating_add(sink(piece));
        if let Some(metadata) = item.setup.metadata.as_ref().filter(|m| known.metadata.as_ref() != Some(m)) {
            hand(Piece::Metadata(metadata, item.timestamp));
        }
        let wanted = |track: &&Arc<Track>| !self.unwanted.has(track.kind());
        for track in item.setup.tracks().filter(wanted).filter(|t| !known.tracks().any(|k| k == *t)) {
            hand(Piece::Track(track, item.timestamp));
        }
        bytes
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.stream.remove_viewer(&self.signal);
        if self.observer {
            self.stream.observers.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(keeper) = self.keeper.take() {
            let mut ring = self.stream.ring.write().unwrap_or_else(PoisonError::into_inner);
            ring.keepers.retain(|other| !Arc::ptr_eq(other, &keeper));
            drop(ring);
            self.stream.let_go();
        }
        self.hub.leave(&self.stream);
    }
}
