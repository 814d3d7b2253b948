//! The frames of one stream, from its last key frame on and a little further back.

use std::collections::VecDeque;
use std::sync::Arc;

use media::Kind;

use super::item::{Item, Setup, What};
use super::keep::Keeper;
use super::{Bounds, PublisherSnapshot};
use crate::signal::Signal;

/// Frames in order, bounded in bytes and in media time. Positions count from the stream's first item on and
/// never come back.
#[derive(Debug, Default)]
pub struct Ring {
    items: VecDeque<Arc<Item>>,
    /// Position of the front item.
    first: u64,
    cost: usize,
    /// Position of the newest key picture of the present publisher.
    last_key: Option<u64>,
    /// The present publisher, and when it began in milliseconds.
    pub publisher: Option<(PublisherSnapshot, session::Time)>,
    /// The kinds of tracks that it said would come.
    pub expected: Vec<Kind>,
    /// When the last publisher left.
    pub ended: Option<session::Time>,
    /// Publishers so far.
    pub epoch: u64,
    /// Frames so far.
    pub frames: u64,
    /// Media time so far, in milliseconds.
    pub elapsed: u64,
    /// Codec configuration and metadata as they stand.
    pub setup: Arc<Setup>,
    /// Those who are to have every item.
    pub keepers: Vec<Arc<Keeper>>,
    /// The publisher's signal, once it had to wait for them.
    pub held_back: Option<Arc<Signal>>,
}

impl Ring {
    /// Position after the newest item.
    pub fn end(&self) -> u64 {
        self.first.saturating_add(self.items.len() as u64)
    }

    /// The item at a position; `None` where it is gone or not there yet.
    pub fn get(&self, position: u64) -> Option<&Arc<Item>> {
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        self.items.get(index)
    }

    /// What the kept items cost.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Where a viewer that cannot be anywhere else goes: the newest key picture, or else the end.
    pub fn entry(&self) -> u64 {
        self.last_key.unwrap_or_else(|| self.end())
    }

    /// Where a viewer at `position` that lies `lag` milliseconds of media time behind is moved to; `None`
    /// where it stays, since nothing newer could be started at.
    pub fn move_on(&self, position: u64, lag: u64) -> Option<u64> {
        if position < self.first {
            return Some(self.entry());
        }
        let item = self.get(position)?;
        let behind = self.elapsed.saturating_sub(item.elapsed) > lag;
        let goal = match self.last_key {
            Some(key) => key,
            None if self.setup.video.is_none() => self.end(),
            None => return None,
        };
        (behind && goal > position).then_some(goal)
    }

    /// What the items cost that the slowest keeper has not had, about: all of a ring's items as if alike.
    pub fn waits_for_keepers(&self) -> usize {
        let Some(next) = self.keepers.iter().map(|keeper| keeper.next()).min() else { return 0 };
        let waiting = usize::try_from(self.end().saturating_sub(next)).unwrap_or(usize::MAX);
        let part = self.cost.saturating_mul(waiting.min(self.items.len()));
        part.checked_div(self.items.len()).unwrap_or(0)
    }

    /// Appends an item, and lets go of what is beyond the bounds.
    pub fn push(&mut self, item: Arc<Item>, bounds: &Bounds) {
        match &item.what {
            What::Begin | What::End { .. } => self.last_key = None,
            What::Frame(_) if item.is_key_picture() => self.last_key = Some(self.end()),
            _ => {}
        }
        if item.frame().is_some() {
            self.frames = item.frames_before.saturating_add(1);
        }
        self.elapsed = item.elapsed;
        self.setup = Arc::clone(&item.setup);
        self.cost = self.cost.saturating_add(item.cost());
        self.items.push_back(item);
        self.trim(bounds);
    }

    /// Lets go of what is beyond the bounds.
    pub fn trim(&mut self, bounds: &Bounds) {
        while self.is_over(bounds) {
            self.drop_front();
        }
    }

    /// Lets go of everything; viewers that lie behind see the end of the stream at once.
    pub fn clear(&mut self) {
        while !self.items.is_empty() {
            self.drop_front();
        }
        self.items.shrink_to_fit();
    }

    /// True where the front item has to go: beyond the bytes in any case; beyond the time unless a keeper has not had
    /// it; beyond the lag that is allowed to viewers where nobody new would start there either.
    fn is_over(&self, bounds: &Bounds) -> bool {
        if self.items.len() <= 1 {
            return false;
        }
        let Some(front) = self.items.front() else { return false };
        let age = self.elapsed.saturating_sub(front.elapsed);
        let needed = self.last_key.is_some_and(|key| key <= self.first);
        let aged = age > bounds.time || (age > bounds.lag && !needed);
        self.cost > bounds.bytes || (aged && !self.keepers.iter().any(|keeper| keeper.next() <= self.first))
    }

    fn drop_front(&mut self) {
        let Some(item) = self.items.pop_front() else { return };
        self.cost = self.cost.saturating_sub(item.cost());
        if self.last_key == Some(self.first) {
            self.last_key = None;
        }
        self.first = self.first.saturating_add(1);
    }
}
