//! The samples of a progressive track, one by one.

use wire::mp4::movie::SampleTable;

use super::Sample;

/// A place in a track's tables. No table is unrolled.
#[derive(Debug)]
pub(super) struct Walk {
    table: SampleTable,
    /// Samples so far.
    number: u32,
    dts: i64,
    durations: Runs,
    compositions: Runs,
    sync: usize,
    /// Index into the runs of chunks, the chunk from 0, samples taken of it, and the byte of the next.
    run: usize,
    chunk: usize,
    taken: u32,
    at: u64,
}

/// A place in a table of runs: index, and how much of it is used.
#[derive(Debug, Default)]
struct Runs {
    index: usize,
    used: u32,
}

impl Runs {
    /// The value that holds for the next sample.
    fn next<V: Copy>(&mut self, runs: &[(u32, V)]) -> Option<V> {
        loop {
            let (count, value) = runs.get(self.index)?;
            if self.used < *count {
                self.used = self.used.saturating_add(1);
                return Some(*value);
            }
            self.index = self.index.saturating_add(1);
            self.used = 0;
        }
    }
}

impl Walk {
    pub fn new(table: SampleTable) -> Self {
        let at = table.offsets.first().copied().unwrap_or(0);
        let (durations, compositions) = (Runs::default(), Runs::default());
        Self { table, number: 0, dts: 0, durations, compositions, sync: 0, run: 0, chunk: 0, taken: 0, at }
    }

    /// Moves on to a chunk that has samples left; false where there is none.
    fn find_chunk(&mut self) -> bool {
        loop {
            let Some(at) = self.table.offsets.get(self.chunk) else { return false };
            let following = self.table.chunks.get(self.run.saturating_add(1));
            let number = u32::try_from(self.chunk).unwrap_or(u32::MAX).saturating_add(1);
            if following.is_some_and(|(first, _, _)| *first <= number) {
                self.run = self.run.saturating_add(1);
                continue;
            }
            let Some((_, samples, _)) = self.table.chunks.get(self.run) else { return false };
            if self.taken < *samples {
                if self.taken == 0 {
                    self.at = *at;
                }
                return true;
            }
            self.chunk = self.chunk.saturating_add(1);
            self.taken = 0;
        }
    }

    pub fn next(&mut self) -> Option<Sample> {
        if self.number >= self.table.count || !self.find_chunk() {
            return None;
        }
        let index = usize::try_from(self.number).ok()?;
        let size =
            if self.table.size > 0 { self.table.size } else { self.table.sizes.get(index).copied()? };
        let composition = self.compositions.next(&self.table.compositions).unwrap_or(0);
        let duration = self.durations.next(&self.table.durations).unwrap_or(0);
        self.number = self.number.saturating_add(1);
        let key = match &self.table.sync {
            None => true,
            Some(sync) => {
                while sync.get(self.sync).is_some_and(|n| *n < self.number) {
                    self.sync = self.sync.saturating_add(1);
                }
                sync.get(self.sync) == Some(&self.number)
            }
        };
        let pts = self.dts.saturating_add(composition);
        let sample = Sample { lane: 0, dts: self.dts, pts, key, at: self.at, size };
        self.at = self.at.saturating_add(u64::from(size));
        self.taken = self.taken.saturating_add(1);
        self.dts = self.dts.saturating_add(i64::from(duration));
        Some(sample)
    }
}
