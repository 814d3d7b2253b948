//! Cuts single samples out of a resource that flows past.

use std::collections::VecDeque;

use wire::codec::aac::sbr;

/// Largest sample that is kept: no AAC frame is as long.
const MAX_SAMPLE: u32 = 32 * 1024;
/// Samples waited for at a time: as many as settle what their track is.
const MAX_SAMPLES: usize = sbr::FRAMES as usize * 2;

/// Samples that are waited for.
#[derive(Debug, Default)]
pub(super) struct Samples {
    wanted: VecDeque<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    track: usize,
    /// Where it begins in the resource.
    from: u64,
    size: u32,
    /// What of it has passed.
    kept: Vec<u8>,
}

impl Samples {
    /// Asks for the `size` bytes at `from`.
    pub(super) fn want(&mut self, track: usize, from: u64, size: u32) {
        if (1..=MAX_SAMPLE).contains(&size) && self.wanted.len() < MAX_SAMPLES {
            self.wanted.push_back(Wanted { track, from, size, kept: Vec::new() });
        }
    }

    /// Takes the bytes at `at` and hands on what is whole with them.
    pub(super) fn data(&mut self, at: u64, bytes: &[u8], mut whole: impl FnMut(usize, &[u8])) {
        let end = at.saturating_add(bytes.len() as u64);
        self.wanted.retain_mut(|sample| {
            let next = sample.from.saturating_add(sample.kept.len() as u64);
            if next >= end {
                return true;
            }
            // Where its beginning has passed it cannot be had any more.
            let Some(skip) = next.checked_sub(at).and_then(|skip| usize::try_from(skip).ok()) else {
                return false;
            };
            let left = usize::try_from(sample.size).unwrap_or(0).saturating_sub(sample.kept.len());
            sample.kept.extend(bytes.iter().skip(skip).take(left));
            if left > bytes.len().saturating_sub(skip) {
                return true;
            }
            whole(sample.track, &sample.kept);
            false
        });
    }

    /// Bytes are missing: what was waited for may be among them.
    pub(super) fn hole(&mut self) {
        self.wanted.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    #[test]
    fn samples_are_whole_however_the_resource_is_cut() {
        let resource: Vec<u8> = (0..=99).collect();
        for size in 1..101 {
            let mut samples = Samples::default();
            for (track, from, size) in
                [(0, 10, 5), (1, 15, 1), (0, 60, 30), (1, 16, 20), (0, 99, 2), (0, 50, 0)]
            {
                samples.want(track, from, size);
            }
            let mut found = Vec::new();
            for (n, piece) in resource.chunks(size).enumerate() {
                samples.data((n * size) as u64, piece, |track, sample| found.push((track, sample.to_vec())));
            }
            found.sort();
            let want = [(0, 10..15), (0, 60..90), (1, 15..16), (1, 16..36)];
            assert_eq!(found, want.map(|(track, range)| (track, range.collect::<Vec<u8>>())), "{size}");
            samples.hole();
            assert!(samples.wanted.is_empty());
        }
        // What has passed already is not waited for.
        let mut samples = Samples::default();
        samples.want(0, 3, 4);
        samples.data(5, &resource, |_, _| panic!("not whole"));
        assert!(samples.wanted.is_empty());
    }
}
