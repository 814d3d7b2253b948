//! Decoding times for pictures that come in decoding order with presentation times only, as RTP carries them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Gives each picture the presentation time of the picture that many places earlier in output order as pictures may be
/// reordered (the SPS says how many, H.264 §E.2.1).
///
/// With a reorder depth of D, the picture decoded as number n is shown as number n - D or later, and everything shown up to
/// there is decoded by then. So the (n - D)th smallest presentation time is known, not above the picture's own, and rises from
/// picture to picture. Nothing has to be held back.
#[derive(Clone, Debug, Default)]
pub struct DtsRebuilder {
    /// Presentation times not handed out yet: as many as the depth.
    times: BinaryHeap<Reverse<i64>>,
    depth: usize,
    /// Ticks from one picture to the next, for the first ones.
    step: i64,
    last: Option<i64>,
    late: u64,
    /// The depth stays what it is.
    fixed: bool,
}

/// The deepest reordering there is (H.264 §A.3.1).
const MAX_DEPTH: usize = 16;

impl DtsRebuilder {
    /// For pictures that are reordered by `depth` places and follow each other every `step` ticks or so.
    pub fn new(depth: u32, step: i64) -> Self {
        let mut rebuilder = Self::default();
        rebuilder.configure(depth, step);
        rebuilder
    }

    /// For frames that are never reordered: audio. Two with the same time are one tick apart, and the later ones keep theirs.
    pub fn in_order() -> Self {
        Self { fixed: true, step: 1, ..Self::default() }
    }

    /// Changes depth and step, for the pictures to come.
    pub fn configure(&mut self, depth: u32, step: i64) {
        self.depth = usize::try_from(depth).unwrap_or(MAX_DEPTH).min(MAX_DEPTH);
        self.step = step.max(1);
    }

    /// Ticks by which decoding times precede presentation times at a constant rate.
    pub fn delay(&self) -> i64 {
        self.step.saturating_mul(i64::try_from(self.depth).unwrap_or(0))
    }

    /// Pictures whose presentation time had to be raised: they came later than the depth allows.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Decoding and presentation time of the next picture in decoding order. Decoding times rise strictly and never exceed
    /// the presentation time; that is changed only for a picture that breaks the promised depth.
    pub fn next(&mut self, pts: i64) -> (i64, i64) {
        if self.last.is_none() {
            // The pictures before the first are thought of as evenly spaced.
            for n in 1..=i64::try_from(self.depth).unwrap_or(0) {
                self.times.push(Reverse(pts.saturating_sub(self.step.saturating_mul(n))));
            }
        }
        self.times.push(Reverse(pts));
        // More than the depth after it shrank, fewer after it grew: then time goes on by the smallest step.
        let mut candidate = None;
        while self.times.len() > self.depth {
            candidate = self.times.pop().map(|Reverse(t)| t);
        }
        let floor = self.last.map_or(i64::MIN, |last| last.saturating_add(1));
        let dts = candidate.unwrap_or(floor).max(floor);
        let dts = if dts > pts && floor <= pts { floor } else { dts };
        self.last = Some(dts);
        if dts > pts {
            self.late = self.late.saturating_add(1);
            if !self.fixed {
                self.depth = self.depth.saturating_add(1).min(MAX_DEPTH);
            }
        }
        (dts, pts.max(dts))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_b_pyramid_comes_out_as_the_encoder_had_it() {
        // I0 P4 B2 b1 b3 P8 B6 b5 b7, two deep, 40 ms apart.
        let mut dts = DtsRebuilder::new(2, 40);
        let got: Vec<i64> = [0, 4, 2, 1, 3, 8, 6, 5, 7].into_iter().map(|n| dts.next(n * 40).0).collect();
        let want: Vec<i64> = (-2..7).map(|n| n * 40).collect();
        assert_eq!(got, want);
        assert_eq!(dts.late(), 0);
    }

    #[test]
    fn without_reordering_both_times_are_the_same() {
        let mut dts = DtsRebuilder::new(0, 40);
        for pts in [5, 6, 100, 101] {
            assert_eq!(dts.next(pts), (pts, pts));
        }
    }

    #[test]
    fn audio_that_stumbles_is_not_delayed() {
        let mut dts = DtsRebuilder::in_order();
        let got = [0, 0, 1024, 2048].map(|pts| dts.next(pts));
        assert_eq!(got, [(0, 0), (1, 1), (1024, 1024), (2048, 2048)]);
        assert_eq!(dts.late(), 1);
    }

    proptest! {
        #[test]
        fn it_rises_and_never_exceeds_the_presentation_time(
            depth in 0u32..20, change in 0u32..20, times in proptest::collection::vec(-100_000i64..100_000, 1..60),
        ) {
            let mut rebuilder = DtsRebuilder::new(depth, 3000);
            let mut last = i64::MIN;
            for (n, pts) in times.iter().enumerate() {
                if n == 20 { rebuilder.configure(change, 1500); }
                let (dts, shown) = rebuilder.next(*pts);
                prop_assert!(dts > last && dts <= shown && shown >= *pts);
                last = dts;
            }
        }

        #[test]
        fn a_stream_that_keeps_its_depth_keeps_its_times(depth in 0usize..8, seeds in proptest::collection::vec(0usize..100, 1..80)) {
            // A buffer of depth + 1 pictures from which any leaves for output, as a decoder's, gives the decoding order.
            let mut waiting: Vec<i64> = (0..seeds.len() as i64).collect();
            let mut order: Vec<i64> = Vec::new();
            let mut rebuilder = DtsRebuilder::new(u32::try_from(depth).unwrap(), 10);
            // Pick in decoding order any of the pictures that the depth allows.
            for seed in &seeds {
                let open = waiting.iter().filter(|t| order.iter().any(|o| o > *t)).count();
                let width = depth.saturating_sub(open) + 1;
                // An IDR picture comes first and is shown first.
                let pick = if order.is_empty() || order.iter().filter(|o| **o > waiting[0]).count() >= depth { 0 } else { seed % width.min(waiting.len()) };
                order.push(waiting.remove(pick));
            }
            // Only orders in which no picture is overtaken by more than the depth.
            let keeps = order.iter().enumerate().all(|(n, t)| order[..n].iter().filter(|o| *o > t).count() <= depth);
            prop_assume!(keeps);
            let mut last = i64::MIN;
            for t in &order {
                let (dts, pts) = rebuilder.next(t * 10);
                prop_assert_eq!(pts, t * 10);
                prop_assert!(dts > last);
                last = dts;
            }
            prop_assert_eq!(rebuilder.late(), 0);
        }
    }
}
