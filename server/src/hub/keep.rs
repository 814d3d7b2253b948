//! Parts of the server that are to have every frame, and the publisher that waits for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use super::{Publisher, Stream};
use crate::signal::{ROOM, Signal};

/// How far such a part has come.
#[derive(Debug)]
pub(super) struct Keeper {
    next: AtomicU64,
}

impl Keeper {
    pub fn at(next: u64) -> Self {
        Self { next: AtomicU64::new(next) }
    }

    /// Position of the next item it takes.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// Notes where it is now, and lets a publisher that waits look again.
    pub fn moved(&self, next: u64, stream: &Stream) {
        self.next.store(next, Ordering::SeqCst);
        stream.let_go();
    }
}

impl Stream {
    /// Wakes the publisher where it waits.
    pub(super) fn let_go(&self) {
        if !self.held.swap(false, Ordering::SeqCst) {
            return;
        }
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(signal) = &ring.held_back {
            signal.raise(ROOM);
        }
    }
}

impl Publisher {
    /// False where half the ring's bytes wait for a part of the server that keeps them all: nothing more should be
    /// read from a publisher that can wait. `signal` is then raised with [`ROOM`] as soon as one of them has gone on.
    pub fn may_go_on(&self, signal: &Arc<Signal>) -> bool {
        if !self.is_ahead() {
            return true;
        }
        {
            let mut ring = self.stream.ring.write().unwrap_or_else(PoisonError::into_inner);
            ring.held_back = Some(Arc::clone(signal));
        }
        self.stream.held.store(true, Ordering::SeqCst);
        // They may have gone on between the question and the wish to be told.
        !self.is_ahead()
    }

    fn is_ahead(&self) -> bool {
        let bounds = self.hub.bounds();
        let ring = self.stream.ring.read().unwrap_or_else(PoisonError::into_inner);
        ring.waits_for_keepers() > bounds.bytes.div_euclid(2)
    }
}
