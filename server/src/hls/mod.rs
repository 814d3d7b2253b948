//! HLS: segments of every stream that is published, and the HTTP server that hands them out.
//!
//! [`segmenter`] and [`playlist`] do no I/O; [`task`] feeds them from the hub, [`listener`] and [`answer`] talk to
//! clients, [`viewers`] knows who watches, [`meter`] counts what the sockets carried.

mod answer;
#[cfg(test)]
mod changes;
mod dates;
mod listener;
mod meter;
#[cfg(test)]
mod odd_times;
mod playlist;
mod range;
mod reply;
mod request;
mod segmenter;
mod task;
#[cfg(test)]
mod tests;
mod viewers;

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use session::Time;
use tokio::sync::{Notify, watch};

pub(crate) use listener::listen;
pub(crate) use task::run;
pub use viewers::Viewers;

use crate::totals::StreamTotals;
use playlist::Shelf;

/// Paths remembered at most, ended ones included.
const PATHS: usize = 4_096;

/// All that can be watched over HLS.
#[derive(Debug, Default)]
pub struct Hls {
    paths: Mutex<HashMap<Arc<str>, Arc<Live>>>,
    /// How many shelves there are.
    shelves: Arc<AtomicUsize>,
    /// Who watches.
    pub viewers: Viewers,
    /// True once the server is on its way down.
    closing: watch::Sender<bool>,
}

/// One path.
#[derive(Debug)]
pub struct Live {
    /// The path.
    pub path: Arc<str>,
    /// Where bytes of its ended viewers are added up.
    pub totals: Mutex<Arc<StreamTotals>>,
    shelf: Mutex<Shelf>,
    /// Rung when a segment came, or the publisher went.
    pub changed: Notify,
}

impl Live {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn totals(&self) -> Arc<StreamTotals> {
        Arc::clone(&self.totals.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Hls {
    fn paths(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Live>>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a path offers, if it offers anything.
    pub fn find(&self, path: &str) -> Option<Arc<Live>> {
        self.paths().get(path).cloned()
    }

    /// The path of a publisher that begins; `seconds` is the wall clock's time since 1970. `None` where too many paths
    /// are remembered.
    fn begin(
        &self,
        path: &Arc<str>,
        totals: &Arc<StreamTotals>,
        window: usize,
        seconds: u64,
    ) -> Option<Arc<Live>> {
        let mut paths = self.paths();
        if paths.len() >= PATHS && !paths.contains_key(path) {
            return None;
        }
        let live = paths.entry(Arc::clone(path)).or_insert_with(|| {
            Arc::new(Live {
                path: Arc::clone(path),
                totals: Mutex::default(),
                shelf: Mutex::new(Shelf::new(window, seconds, &self.shelves)),
                changed: Notify::new(),
            })
        });
        *live.totals.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(totals);
        live.shelf().begin();
        Some(Arc::clone(live))
    }

    /// The server goes: nobody is waited for who might publish again.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Once a second: lets go of segments and paths that have had their time.
    pub fn tick(&self, now: Time) {
        self.paths().retain(|_, live| live.shelf().tick(now));
    }
}
