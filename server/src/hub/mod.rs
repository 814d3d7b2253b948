//! The hub: streams by path, one publisher each, any number of viewers.
//!
//! It does no I/O and reads no clock. A publisher appends frames to its stream's ring; each viewer is a cursor
//! into it. Nobody waits for a viewer: one that lies too far behind is moved to the newest key frame. The server's
//! own parts (recording, segments) keep everything: who publishes faster than real time is read no faster than they
//! take it.

mod form;
mod item;
mod keep;
mod publisher;
mod ring;
mod taken;
#[cfg(test)]
mod tests;
mod viewer;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use media::{Kind, Track};
use model::Protocol;
use session::Time;

pub use form::Form;
pub use item::{Item, What};
use keep::Keeper;
pub use publisher::Publisher;
use ring::Ring;
pub use taken::Taken;
use viewer::Unwanted;
pub use viewer::{Piece, Took, Viewer};

use crate::config::Limits;
use crate::signal::{DATA, Signal};
use crate::totals::StreamTotals;

/// Who publishes a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherSnapshot {
    /// The client's id.
    pub id: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its address and port.
    pub address: SocketAddr,
}

/// Somebody else publishes on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy(pub PublisherSnapshot);

/// Bounds of every ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of frames, their written form included.
    pub bytes: usize,
    /// The same for all rings together.
    pub total: usize,
    /// Media time in milliseconds.
    pub time: u64,
    /// Media time in milliseconds that a viewer may lie behind.
    pub lag: u64,
}

impl From<&Limits> for Bounds {
    fn from(limits: &Limits) -> Self {
        let ms = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let (bytes, total) = (limits.ring_bytes, limits.ring_total);
        Self { bytes, total, time: ms(limits.ring_time), lag: ms(limits.viewer_lag) }
    }
}

/// Media time a stream has run for: the sum of its steps forward, each counted as a second at most, so that
/// a publisher's jump to another time of day does not age everything at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Elapsed {
    total: u64,
    at: Option<i64>,
}

impl Elapsed {
    const STEP: i64 = 1000;

    /// Takes the decoding time of the next frame, in milliseconds.
    pub fn advance(&mut self, dts: i64) {
        let step = self.at.map_or(0, |at| dts.saturating_sub(at));
        if step > 0 || step < Self::STEP.saturating_neg() || self.at.is_none() {
            self.at = Some(dts);
        }
        let forward = u64::try_from(step.clamp(0, Self::STEP)).unwrap_or(0);
        self.total = self.total.saturating_add(forward);
    }

    /// Milliseconds so far.
    pub fn total(&self) -> u64 {
        self.total
    }
}

/// Called with every new publisher's stream, before its first frame; it may ask for keepers.
pub type Hook = Box<dyn Fn(&mut dyn FnMut() -> Viewer) + Send + Sync>;

/// One path's stream.
#[derive(Debug)]
pub struct Stream {
    path: Arc<str>,
    ring: RwLock<Ring>,
    viewers: Mutex<Vec<Arc<Signal>>>,
    /// Those of `viewers` that are part of the server itself.
    observers: AtomicUsize,
    /// True while the publisher waits for its keepers.
    held: AtomicBool,
    /// The form most viewers get, as [`Form::pack`] writes it; 0 for none.
    form: AtomicU64,
    /// Bytes of clients that have ended.
    pub totals: Arc<StreamTotals>,
}

impl Stream {
    /// Its path.
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    fn viewers(&self) -> MutexGuard<'_, Vec<Arc<Signal>>> {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_viewers(&self) {
        for signal in self.viewers().iter() {
            signal.raise(DATA);
        }
    }

    fn remove_viewer(&self, signal: &Arc<Signal>) {
        let mut viewers = self.viewers();
        if let Some(index) = viewers.iter().position(|s| Arc::ptr_eq(s, signal)) {
            viewers.swap_remove(index);
        }
    }

    /// Viewers that are clients.
    fn audience(&self) -> usize {
        self.viewers().len().saturating_sub(self.observers.load(Ordering::Relaxed))
    }

    fn watched_form(&self) -> Option<Form> {
        if self.audience() == 0 { None } else { Form::unpack(self.form.load(Ordering::Relaxed)) }
    }

    /// Notes the form a viewer asks for, so that it can be written ahead.
    pub fn prefer_form(&self, form: Form) {
        self.form.store(form.pack(), Ordering::Relaxed);
    }
}

/// A stream at one moment.
#[derive(Clone, Debug)]
pub struct StreamState {
    /// The stream.
    pub path: Arc<str>,
    /// Bytes of its ended clients.
    pub totals: Arc<StreamTotals>,
    /// Its publisher, and when it began.
    pub publisher: Option<(PublisherSnapshot, Time)>,
    /// What is published.
    pub tracks: Vec<Arc<Track>>,
    /// The kinds of tracks that the publisher said would come; none where it did not say.
    pub expected: Vec<Kind>,
    /// Viewers at the moment.
    pub viewers: usize,
}

/// All streams.
pub struct Hub {
    bounds: Bounds,
    streams: Mutex<HashMap<Arc<str>, Arc<Stream>>>,
    /// The latest time anybody told, in milliseconds.
    now: AtomicU64,
    publishers: AtomicUsize,
    hook: OnceLock<Hook>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub without streams.
    pub fn new(bounds: Bounds) -> Arc<Self> {
        let (now, publishers) = (AtomicU64::new(0), AtomicUsize::new(0));
        Arc::new(Self { bounds, streams: Mutex::default(), now, publishers, hook: OnceLock::new() })
    }

    /// Has `hook` called whenever a publisher begins. Only the first hook counts.
    pub fn on_publish(&self, hook: Hook) {
        let _ = self.hook.set(hook);
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn latest(&self) -> Time {
        Time::from_millis(self.now.load(Ordering::Relaxed))
    }

    /// The bounds of a ring now: an equal part of what all may have, where that is less.
    fn bounds(&self) -> Bounds {
        let publishers = self.publishers.load(Ordering::Relaxed).max(1);
        let part = self.bounds.total.checked_div(publishers).unwrap_or(usize::MAX);
        Bounds { bytes: self.bounds.bytes.min(part), ..self.bounds }
    }

    fn stream(streams: &mut HashMap<Arc<str>, Arc<Stream>>, path: &str) -> Arc<Stream> {
        if let Some(stream) = streams.get(path) {
            return Arc::clone(stream);
        }
        let path: Arc<str> = path.into();
        let stream = Arc::new(Stream {
            path: Arc::clone(&path),
            ring: RwLock::default(),
            viewers: Mutex::default(),
            observers: AtomicUsize::new(0),
            held: AtomicBool::new(false),
            form: AtomicU64::new(0),
            totals: Arc::default(),
        });
        streams.insert(path, Arc::clone(&stream));
        stream
    }

    /// The right to publish on `path`, unless somebody has it.
    pub fn publish(
        self: &Arc<Self>,
        path: &str,
        who: PublisherSnapshot,
        now: Time,
    ) -> Result<Publisher, Busy> {
        let stream = {
            let mut streams = self.streams();
            let stream = Self::stream(&mut streams, path);
            let mut ring = stream.ring.write().unwrap_or_else(PoisonError::into_inner);
            if let Some((holder, _)) = &ring.publisher {
                return Err(Busy(holder.clone()));
            }
            ring.publisher = Some((who, now));
            ring.ended = None;
            ring.expected.clear();
            ring.epoch = ring.epoch.saturating_add(1);
            drop(ring);
            self.publishers.fetch_add(1, Ordering::Relaxed);
            stream
        };
        let mut publisher = {
            let ring = stream.ring.read().unwrap_or_else(PoisonError::into_inner);
            Publisher {
                hub: Arc::clone(self),
                stream: Arc::clone(&stream),
                epoch: ring.epoch,
                setup: Arc::default(),
                frames: ring.frames,
                elapsed: Elapsed { total: ring.elapsed, at: None },
                pending: Vec::new(),
                waiting: 0,
                due: false,
                goodbye: false,
                timestamp: 0,
            }
        };
        publisher.append(What::Begin, 0);
        publisher.flush();
        if let Some(hook) = self.hook.get() {
            hook(&mut || self.keep(path));
        }
        Ok(publisher)
    }

    /// A viewer that is part of the server, and not counted among the stream's viewers.
    pub fn observe(self: &Arc<Self>, path: &str, signal: Arc<Signal>) -> Viewer {
        let mut viewer = self.watch(path, signal);
        viewer.observer = true;
        viewer.stream.observers.fetch_add(1, Ordering::Relaxed);
        viewer
    }

    /// An observer that is to have every frame: the media time a viewer may lie behind does not hold for it, and
    /// [`Publisher::may_go_on`] says when to wait for it.
    pub fn keep(self: &Arc<Self>, path: &str) -> Viewer {
        let mut viewer = self.observe(path, Arc::default());
        let keeper = Arc::new(Keeper::at(viewer.next));
        let mut ring = viewer.stream.ring.write().unwrap_or_else(PoisonError::into_inner);
        ring.keepers.push(Arc::clone(&keeper));
        drop(ring);
        viewer.keeper = Some(keeper);
        viewer
    }

    /// A viewer of `path`, which begins at the last key frame, or waits. Its `signal` is raised with
    /// [`DATA`] when there is something new.
    pub fn watch(self: &Arc<Self>, path: &str, signal: Arc<Signal>) -> Viewer {
        let mut streams = self.streams();
        let stream = Self::stream(&mut streams, path);
        stream.viewers().push(Arc::clone(&signal));
        let ring = stream.ring.read().unwrap_or_else(PoisonError::into_inner);
        let next = ring.entry();
        let frames_before = ring.get(next).map_or(ring.frames, |item| item.frames_before);
        Viewer {
            hub: Arc::clone(self),
            stream: Arc::clone(&stream),
            signal,
            next,
            frames_before,
            epoch: ring.epoch,
            live: ring.publisher.is_some(),
            known: Arc::default(),
            key: viewer::Key::Awaited,
            dropped: 0,
            told: 0,
            observer: false,
            goodbye: false,
            unwanted: Unwanted::default(),
            resumes: false,
            keeper: None,
        }
    }

    /// Forgets a stream that nobody publishes or watches.
    fn leave(&self, stream: &Arc<Stream>) {
        let mut streams = self.streams();
        let watched = !stream.viewers().is_empty();
        let published = stream.ring.read().unwrap_or_else(PoisonError::into_inner).publisher.is_some();
        if !watched && !published && streams.get(&stream.path).is_some_and(|s| Arc::ptr_eq(s, stream)) {
            streams.remove(&stream.path);
        }
    }

    /// Once a second or so: frees the frames of streams whose publisher left longer than `linger` ago, since a
    /// viewer that has not had them by then is slow enough to be dropped; and what is beyond the bounds, which
    /// shrink as streams come.
    pub fn tick(&self, now: Time, linger: std::time::Duration) {
        self.now.fetch_max(now.as_millis(), Ordering::Relaxed);
        let all: Vec<_> = self.streams().values().cloned().collect();
        for stream in all {
            let (over, trim) = {
                let ring = stream.ring.read().unwrap_or_else(PoisonError::into_inner);
                let over = ring.publisher.is_none() && ring.ended.is_some_and(|at| now.since(at) > linger);
                (over && ring.cost() > 0, ring.cost() > self.bounds().bytes)
            };
            if over || trim {
                let mut ring = stream.ring.write().unwrap_or_else(PoisonError::into_inner);
                if over && ring.publisher.is_none() {
                    ring.clear()
                } else {
                    ring.trim(&self.bounds())
                }
                drop(ring);
                stream.wake_viewers();
            }
        }
    }

    /// All streams, by path.
    pub fn list(&self) -> Vec<StreamState> {
        let mut all: Vec<_> = self.streams().values().cloned().collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        let state = |stream: &Arc<Stream>| {
            let viewers = stream.audience();
            let ring = stream.ring.read().unwrap_or_else(PoisonError::into_inner);
            StreamState {
                path: Arc::clone(&stream.path),
                totals: Arc::clone(&stream.totals),
                publisher: ring.publisher.clone(),
                tracks: ring.setup.tracks().cloned().collect(),
                expected: ring.expected.clone(),
                viewers,
            }
        };
        all.iter().map(state).collect()
    }
}
