//! A fragment that was cut before all of its sound came.

use bytes::Bytes;
use wire::mp4::write::{Part, fragment_head};

use super::fragment::Fragment;
use super::lane::{Held, Lane};

/// Sound that belongs to it is added, and its last sound lasts until the first that does not.
#[derive(Debug)]
pub(super) struct Waiting {
    pub fragment: Fragment,
    pub parts: Vec<Part>,
    /// The track of the sound, and its number in fragments.
    pub lane: usize,
    pub id: u32,
    /// When its last sound was decoded, in ticks.
    pub last: Option<i64>,
    /// Where sound belongs to the next, in ticks.
    pub boundary: i64,
    /// Until where the timeline may come before it is given up, in microseconds.
    pub until: i64,
}

impl Waiting {
    /// Adds the sound that the lane took last.
    pub fn add(&mut self, held: Held, lane: &mut Lane) {
        self.settle(held.dts, lane);
        let next = held.dts.saturating_add(i64::from(lane.entry.frame.unwrap_or(1)));
        let sample = held.sample(next);
        match self.parts.iter_mut().find(|part| part.track == self.id) {
            Some(part) => part.samples.push(sample),
            None => {
                let part =
                    Part { track: self.id, decode_time: lane.written(held.dts), samples: vec![sample] };
                self.parts.push(part);
            }
        }
        self.last = Some(held.dts);
        lane.cut = Some((lane.cut.map_or(held.dts, |(first, _)| first), next));
        self.fragment.data.push(held.payload);
        self.fragment.frames = self.fragment.frames.saturating_add(1);
    }

    /// Its last sound lasts until `next`, in ticks.
    pub fn settle(&mut self, next: i64, lane: &mut Lane) {
        let Some(last) = self.last else { return };
        let lasts = u32::try_from(next.saturating_sub(last)).ok().filter(|lasts| *lasts > 0);
        let part = self.parts.iter_mut().find(|part| part.track == self.id);
        let sample = part.and_then(|part| part.samples.last_mut());
        if let Some((sample, lasts)) = sample.zip(lasts) {
            sample.duration = lasts;
            if let Some((_, end)) = &mut lane.cut {
                *end = next;
            }
        }
    }

    /// The fragment as it is.
    pub fn finished(mut self) -> Fragment {
        self.fragment.head = Bytes::from(fragment_head(self.fragment.number, &self.parts));
        self.fragment
    }
}
