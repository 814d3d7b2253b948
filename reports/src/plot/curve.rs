//! Curves out of bandwidth bins: few enough points to draw, and no peak lost.

use model::{Bandwidth, Bin};

/// The most bins a document has.
const MAX_BINS: usize = 2_000;

/// The most points a curve is drawn with.
const MAX_POINTS: usize = 400;

/// Rates over time in equal steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Curve {
    /// Mean of each step, in bit/s.
    pub(super) mean: Vec<f64>,
    /// The largest bin of each step, in bit/s.
    pub(super) peak: Vec<f64>,
}

impl Curve {
    /// The highest point.
    pub(super) fn max(&self) -> f64 {
        self.peak.iter().copied().fold(0.0, f64::max)
    }

    /// Adds another curve of the same steps.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in [(&mut self.mean, &other.mean), (&mut self.peak, &other.peak)] {
            sum.resize(sum.len().max(more.len()), 0.0);
            sum.iter_mut().zip(more).for_each(|(a, b)| *a += b);
        }
    }
}

/// How bins become steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Steps {
    /// Bins of the whole picture.
    bins: usize,
    /// Bins before the steps: what is already told as a mean over a second.
    base: usize,
    /// Bases a step.
    group: usize,
    /// Length of a base in seconds.
    pub(super) base_s: f64,
    /// Length of a step in seconds.
    pub(super) step_s: f64,
    /// Length of all steps in seconds.
    pub(super) end_s: f64,
}

impl Steps {
    /// The steps for a bandwidth table. Bins shorter than a second are joined to seconds where ten seconds or
    /// more are shown: a key frame is then no spike, and the highest step is what is called the peak.
    pub(super) fn of(bandwidth: &Bandwidth) -> Self {
        let longest = std::iter::once(&bandwidth.total_bps).chain(bandwidth.per_session.values());
        let bins = longest.map(|bins| bin_count(bins)).max().unwrap_or(0).min(MAX_BINS);
        let known = bandwidth.interval_s.is_finite() && bandwidth.interval_s > 0.0;
        let interval = if known { bandwidth.interval_s } else { 1.0 };
        let end_s = float(bins) * interval;
        let base = if interval < 1.0 && end_s >= 10.0 { rounded(1.0 / interval).max(1) } else { 1 };
        let group = bins.div_ceil(base).div_ceil(MAX_POINTS).max(1);
        let base_s = interval * float(base);
        Self { bins, base, group, base_s, step_s: base_s * float(group), end_s }
    }

    /// True where a step joins several bases, so that mean and peak differ.
    pub(super) fn joined(&self) -> bool {
        self.group > 1
    }

    /// The curve of some bins.
    pub(super) fn curve(&self, bins: &[Bin]) -> Curve {
        let mut values: Vec<f64> = Bin::expand(bins, MAX_BINS).into_iter().map(sane).collect();
        // A client that left within a step sent nothing in the rest of it.
        values.resize(self.bins, 0.0);
        let bases: Vec<f64> = values.chunks(self.base).map(|base| self.mean_of(base)).collect();
        let steps = bases.chunks(self.group);
        Curve {
            mean: steps.clone().map(mean).collect(),
            peak: steps.map(|step| step.iter().copied().fold(0.0, f64::max)).collect(),
        }
    }
}

impl Steps {
    /// The mean of a base. Of the last one only a part may be in the capture; a burst in less than half of it would
    /// stand as a spike above everything that lasted, so there the rest counts as silence.
    fn mean_of(&self, base: &[f64]) -> f64 {
        let length = if base.len().saturating_mul(2) < self.base { self.base } else { base.len() };
        base.iter().sum::<f64>() / float(length.max(1))
    }
}

/// How many bins a list stands for, without making them.
fn bin_count(bins: &[Bin]) -> usize {
    let one = |bin: &Bin| match bin {
        Bin::Bps(_) => 1,
        Bin::Gap((), n) => usize::try_from(*n).unwrap_or(usize::MAX),
    };
    bins.iter().map(one).fold(0, usize::saturating_add)
}

fn sane(bps: f64) -> f64 {
    if bps.is_finite() { bps.max(0.0) } else { 0.0 }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / float(values.len().max(1))
}

fn float(n: usize) -> f64 {
    crate::figures::as_f64(u64::try_from(n).unwrap_or(u64::MAX))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn rounded(value: f64) -> usize {
    value.round().clamp(0.0, 1e6) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(interval_s: f64, total: Vec<Bin>) -> Bandwidth {
        Bandwidth { interval_s, total_bps: total, ..Bandwidth::default() }
    }

    #[test]
    fn tenths_become_seconds_and_the_mean_stays() {
        let bins: Vec<Bin> = (0..200).map(|i| Bin::Bps(if i % 10 == 0 { 10.0 } else { 0.0 })).collect();
        let table = table(0.1, bins);
        let steps = Steps::of(&table);
        assert!((steps.step_s - 1.0).abs() < 1e-9 && !steps.joined());
        assert_eq!(steps.curve(&table.total_bps).mean, vec![1.0; 20]);
    }

    #[test]
    fn a_client_that_leaves_within_a_step_sends_nothing_in_the_rest_of_it() {
        let table = table(0.1, vec![Bin::Bps(10.0); 205]);
        let steps = Steps::of(&table);
        assert_eq!(steps.curve(&vec![Bin::Bps(10.0); 15]).mean.get(..3), Some([10.0, 5.0, 0.0].as_slice()));
        // The picture's own last step is as long as the capture goes.
        assert_eq!(steps.curve(&table.total_bps).mean.last(), Some(&10.0));
    }

    #[test]
    fn a_burst_at_the_very_end_is_no_peak() {
        let mut bins = vec![Bin::Bps(10.0); 161];
        bins[160] = Bin::Bps(50.0);
        let table = table(0.1, bins);
        let curve = Steps::of(&table).curve(&table.total_bps);
        assert_eq!((curve.mean.last(), curve.mean.len()), (Some(&5.0), 17));
    }

    #[test]
    fn a_short_capture_keeps_its_tenths() {
        let table = table(0.1, vec![Bin::Bps(1.0), Bin::Gap((), 3), Bin::Bps(2.0)]);
        let curve = Steps::of(&table).curve(&table.total_bps);
        assert_eq!(curve.mean, [1.0, 0.0, 0.0, 0.0, 2.0]);
    }

    #[test]
    fn joining_steps_keeps_every_peak() {
        let mut bins = vec![Bin::Bps(1.0); 1_999];
        bins[777] = Bin::Bps(50.0);
        let table = table(60.0, bins);
        let steps = Steps::of(&table);
        let curve = steps.curve(&table.total_bps);
        assert!(steps.joined() && curve.mean.len() <= MAX_POINTS);
        assert!((curve.max() - 50.0).abs() < 1e-9);
    }

    #[test]
    fn a_gap_of_years_costs_no_more_than_the_picture_has_points() {
        let table = table(1.0, vec![Bin::Bps(1.0), Bin::Gap((), u64::MAX), Bin::Bps(1.0)]);
        assert!(Steps::of(&table).curve(&table.total_bps).mean.len() <= MAX_POINTS);
    }

    #[test]
    fn numbers_that_are_none_are_drawn_as_nothing() {
        let table = table(f64::NAN, vec![Bin::Bps(f64::NAN), Bin::Bps(-1.0), Bin::Bps(f64::INFINITY)]);
        assert_eq!(Steps::of(&table).curve(&table.total_bps).mean, [0.0; 3]);
    }
}
