//! The one who fills a stream's ring.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};

use bytes::Bytes;
use media::{Kind, Unit};

use super::form::Forms;
use super::item::{Item, Setup, What};
use super::{Elapsed, Hub, Stream};

/// Media time in milliseconds that audio may wait for a picture to leave with.
const AUDIO_WAITS: i64 = 40;
/// What may wait for a picture at most, as the ring counts it, in bytes: times that stand still and data are no end of it.
const MOST_WAITING: usize = 256 << 10;

/// The right to publish on one path. Dropping it ends the stream.
#[derive(Debug)]
pub struct Publisher {
    pub(super) hub: Arc<Hub>,
    pub(super) stream: Arc<Stream>,
    pub(super) epoch: u64,
    pub(super) setup: Arc<Setup>,
    pub(super) frames: u64,
    pub(super) elapsed: Elapsed,
    /// Items that viewers do not see yet.
    pub(super) pending: Vec<Arc<Item>>,
    /// What they cost.
    pub(super) waiting: usize,
    pub(super) due: bool,
    pub(super) goodbye: bool,
    pub(super) timestamp: u32,
}

impl Publisher {
    /// The stream that is published on.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Takes a unit that came with an RTMP timestamp of `timestamp` milliseconds. Call
    /// [`flush_if_due`](Self::flush_if_due) when all that arrived together was pushed.
    pub fn push(&mut self, unit: Unit, timestamp: u32) {
        match unit {
            Unit::Track(track) => {
                let mut setup = Setup::clone(&self.setup);
                match track.kind() {
                    Kind::Video => setup.video = Some(track),
                    Kind::Audio => setup.audio = Some(track),
                }
                self.change(setup, timestamp);
            }
            Unit::Metadata(metadata) => {
                // A metadata message has no time of its own that anybody keeps to.
                let timestamp = self.timestamp;
                self.change(
                    Setup { metadata: Some(metadata).filter(|m| !m.is_empty()), ..Setup::clone(&self.setup) },
                    timestamp,
                );
            }
            Unit::Frame(frame) => {
                self.elapsed.advance(frame.dts_ms());
                self.due |= frame.track.kind() == Kind::Video
                    || self.setup.video.is_none()
                    || self.is_overdue(frame.dts_ms());
                self.append(What::Frame(frame), timestamp);
                self.frames = self.frames.saturating_add(1);
            }
        }
    }

    /// Takes a data message: it keeps its place among the frames, and goes out with the next of them.
    pub fn push_data(&mut self, data: Bytes, timestamp: u32) {
        self.due |= self.setup.tracks().next().is_none();
        self.append(What::Data(data), timestamp);
    }

    /// Shows viewers what was pushed, where a picture came or audio waited long enough: one wake-up a picture.
    pub fn flush_if_due(&mut self) {
        if self.due {
            self.flush();
        }
    }

    /// Says which kinds of tracks are going to come, before any is known.
    pub fn expect(&self, kinds: Vec<Kind>) {
        self.stream.ring.write().unwrap_or_else(PoisonError::into_inner).expected = kinds;
    }

    /// The publisher ends the stream of its own will, before it is dropped: nobody has to wait for it to come back.
    pub fn say_goodbye(&mut self) {
        self.goodbye = true;
    }

    /// Shows viewers everything that was pushed.
    pub fn flush(&mut self) {
        self.due = false;
        self.waiting = 0;
        if self.pending.is_empty() {
            return;
        }
        if let Some(form) = self.stream.watched_form() {
            // Written before viewers wake, so that none of them waits for another to write it.
            for item in self.pending.iter().filter(|item| item.frame().is_some()) {
                item.block(form);
            }
        }
        {
            let bounds = self.hub.bounds();
            let mut ring = self.stream.ring.write().unwrap_or_else(PoisonError::into_inner);
            for item in self.pending.drain(..) {
                ring.push(item, &bounds);
            }
        }
        self.stream.wake_viewers();
    }

    /// True where audio of `dts` milliseconds comes after audio that waited too long for a picture.
    fn is_overdue(&self, dts: i64) -> bool {
        let oldest = self.pending.iter().find_map(|item| item.frame()).map_or(dts, |f| f.dts_ms());
        dts.saturating_sub(oldest) > AUDIO_WAITS
    }

    fn change(&mut self, setup: Setup, timestamp: u32) {
        if setup != *self.setup {
            self.setup = Arc::new(setup);
            self.append(What::Setup, timestamp);
        }
    }

    pub(super) fn append(&mut self, what: What, timestamp: u32) {
        self.timestamp = timestamp;
        let item = Item {
            what,
            epoch: self.epoch,
            setup: Arc::clone(&self.setup),
            frames_before: self.frames,
            elapsed: self.elapsed.total(),
            timestamp,
            forms: Forms::default(),
            packets: OnceLock::new(),
        };
        self.waiting = self.waiting.saturating_add(item.cost());
        self.due |= self.waiting > MOST_WAITING;
        self.pending.push(Arc::new(item));
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.setup = Arc::default();
        self.append(What::End { goodbye: self.goodbye }, self.timestamp);
        {
            let mut ring = self.stream.ring.write().unwrap_or_else(PoisonError::into_inner);
            ring.publisher = None;
            ring.held_back = None;
            ring.ended = Some(self.hub.latest());
        }
        self.flush();
        self.hub.publishers.fetch_sub(1, Ordering::Relaxed);
        self.hub.leave(&self.stream);
    }
}
