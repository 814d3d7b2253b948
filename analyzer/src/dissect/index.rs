//! Any packet of a capture at once.
//!
//! One pass keeps the dissector as it stood every [`INTERVAL`] bytes of packets; the trees of a packet come from reading
//! on from the nearest of these. A long capture has them further apart: what they hold together is bounded.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use super::{Dissector, Place, Row, Trees, Wants};
use crate::capture::{CaptureError, Mark, Merged};

/// Bytes of packets between two checkpoints, at first.
pub const INTERVAL: u64 = 8 << 20;
/// Checkpoints at most.
const MAX_CHECKPOINTS: usize = 256;
/// What all of them hold at most, in bytes.
const MAX_BYTES: usize = 96 << 20;

/// Where to begin for which packet.
#[derive(Debug)]
pub struct Index {
    files: Vec<PathBuf>,
    interval: u64,
    checkpoints: Vec<Checkpoint>,
    bytes: usize,
    packets: u64,
}

/// The dissector as it stood behind a packet, and the files with it.
#[derive(Clone, Debug)]
struct Checkpoint {
    /// Frame number of the packet.
    after: u64,
    marks: Vec<Mark>,
    dissector: Dissector,
    weight: usize,
}

impl Index {
    /// Reads captures, as one timeline, as far as they go, and tells every row: that is a list of all packets. What is wrong
    /// with a file is told by `trouble`. The files have to stay as they are; the standard input is none.
    pub fn build<P: AsRef<Path>>(
        paths: &[P],
        list: &mut impl FnMut(&Row<'_>),
        trouble: &mut impl FnMut(CaptureError),
    ) -> Self {
        Self::every(INTERVAL, paths, list, trouble)
    }

    /// As [`build`](Self::build), with a checkpoint every `interval` bytes.
    pub fn every<P: AsRef<Path>>(
        interval: u64,
        paths: &[P],
        list: &mut impl FnMut(&Row<'_>),
        trouble: &mut impl FnMut(CaptureError),
    ) -> Self {
        let files = paths.iter().map(|path| path.as_ref().to_path_buf()).collect();
        let mut index = Self { files, interval, checkpoints: Vec::new(), bytes: 0, packets: 0 };
        let mut merged = Merged::open(paths);
        let several = paths.len() > 1;
        // No packet has the number 0: bytes are kept for trees, and none is made.
        let mut dissector = Dissector::new(Wants { trees: Trees::Frame(0), facts: true });
        let mut since = 0u64;
        while let Some((file, interfaces, next)) = merged.next() {
            let packet = match next {
                Ok(packet) => packet,
                Err(error) => {
                    trouble(error);
                    continue;
                }
            };
            dissector.packet(Place { file, several, interfaces }, &packet, list);
            index.packets = if several { index.packets.saturating_add(1) } else { packet.number };
            since = since.saturating_add(packet.data.len() as u64);
            if since >= index.interval
                && let Some(marks) = merged.bookmark()
            {
                since = 0;
                index.keep(marks, &dissector);
            }
        }
        dissector.finish(list);
        index
    }

    /// Number of the last packet.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    fn keep(&mut self, marks: Vec<Mark>, dissector: &Dissector) {
        let weight = dissector.weight();
        if weight > MAX_BYTES / 8 {
            return;
        }
        let after = self.packets;
        self.checkpoints.push(Checkpoint { after, marks, dissector: dissector.clone(), weight });
        self.bytes = self.bytes.saturating_add(weight);
        while self.checkpoints.len() > MAX_CHECKPOINTS || self.bytes > MAX_BYTES {
            // Every second one goes.
            let mut odd = false;
            self.checkpoints.retain(|_| {
                odd = !odd;
                odd
            });
            self.bytes = self.checkpoints.iter().fold(0, |n, c| n.saturating_add(c.weight));
            self.interval = self.interval.saturating_mul(2);
        }
    }

    /// Takes one packet apart, down to its trees. None where there is no packet of this number.
    pub fn packet<R>(&self, number: u64, f: impl FnOnce(&Row<'_>) -> R) -> Option<R> {
        let behind = self.checkpoints.partition_point(|c| c.after < number);
        let from = behind.checked_sub(1).and_then(|at| self.checkpoints.get(at));
        let wants = Wants { trees: Trees::Frame(number), facts: true };
        let (mut merged, mut dissector) = match from {
            Some(checkpoint) => {
                let mut dissector = checkpoint.dissector.clone();
                dissector.wants = wants;
                (Merged::resume(&self.files, &checkpoint.marks), dissector)
            }
            None => (Merged::open(&self.files), Dissector::new(wants)),
        };
        let (mut f, mut found, told) = (Some(f), None, Cell::new(false));
        let mut pick = |row: &Row<'_>| {
            if row.number == number
                && let Some(f) = f.take()
            {
                found = Some(f(row));
                told.set(true);
            }
        };
        let several = self.files.len() > 1;
        let mut ahead = true;
        while let Some((file, interfaces, next)) = merged.next() {
            let Ok(packet) = next else { continue };
            dissector.packet(Place { file, several, interfaces }, &packet, &mut pick);
            let at = if several { dissector.count } else { packet.number };
            ahead &= at < number;
            if told.get() || !ahead && !dissector.is_waiting() {
                break;
            }
        }
        if !told.get() {
            dissector.finish(&mut pick);
        }
        found
    }
}
