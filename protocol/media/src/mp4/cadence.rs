//! How many pictures a second a track has, by what it says and by how far apart they are.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::entry::VIDEO_TIMESCALE;

/// Distances that are told apart at most.
const MOST: usize = 256;
/// Distances from which on they say more than the most common one.
const ENOUGH: u64 = 24;
/// Frame rates in use, as fractions: a measured one that is this near to one of them is meant to be it.
const USUAL: [(u32, u32); 12] = [
    (24_000, 1001),
    (24, 1),
    (25, 1),
    (30_000, 1001),
    (30, 1),
    (48, 1),
    (50, 1),
    (60_000, 1001),
    (60, 1),
    (100, 1),
    (120_000, 1001),
    (120, 1),
];
/// Half of the relative distance between 30 and 30000/1001.
const NEAR: f64 = 0.0005;

/// The distances between the pictures of a track.
#[derive(Debug, Default)]
pub(super) struct Cadence {
    /// How often a distance was seen, in ticks.
    steps: BTreeMap<i64, u64>,
}

impl Cadence {
    /// Takes the distance between two pictures in ticks.
    pub fn step(&mut self, ticks: i64) {
        if self.steps.len() < MOST || self.steps.contains_key(&ticks) {
            let count = self.steps.entry(ticks).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// The distance that half of `all` are below.
    fn middle(&self, all: u64) -> i64 {
        let mut below = 0u64;
        let middle = self.steps.iter().find(|(_, count)| {
            below = below.saturating_add(**count);
            below.saturating_mul(2) >= all
        });
        middle.map_or(0, |(step, _)| *step)
    }

    /// Pictures per second: the `nominal` rate that the configuration states, unless the pictures contradict it, else
    /// that of their most common distance. Gaps and pauses do not count. `None` where nothing is known.
    pub fn rate(&self, nominal: Option<f64>) -> Option<f64> {
        let most = self.steps.iter().max_by_key(|(step, count)| (**count, Reverse(**step)));
        let Some((common, _)) = most else { return nominal };
        // Times of whole milliseconds lie to both sides of the true distance.
        let slack = i64::from(VIDEO_TIMESCALE.div_euclid(1000));
        let (mut from, mut to) = (common.saturating_sub(slack), common.saturating_add(slack));
        let all = self.steps.values().fold(0u64, |n, count| n.saturating_add(*count));
        let there = self.steps.range(from..=to).fold(0u64, |n, (_, count)| n.saturating_add(*count));
        if all >= ENOUGH && there.saturating_mul(2) < all {
            // Times of a clock that shakes: the middle one, and what lies around it.
            let middle = self.middle(all);
            (from, to) = (middle.div_euclid(2), middle.saturating_mul(3).div_euclid(2));
        }
        let (mut ticks, mut pictures) = (0.0, 0.0);
        for (step, count) in self.steps.range(from..=to) {
            // Both numbers are far below 2^52.
            ticks += *step as f64 * *count as f64;
            pictures += *count as f64;
        }
        let measured =
            if ticks > 0.0 { pictures * f64::from(VIDEO_TIMESCALE) / ticks } else { return nominal };
        // A tick of a millisecond, seen through one distance: what is nearer than that agrees.
        let agrees = |rate: &f64| (measured / rate - 1.0).abs() < 0.002 + rate / 1000.0;
        let usual = USUAL.iter().map(|(n, d)| f64::from(*n) / f64::from(*d));
        nominal
            .filter(agrees)
            .or_else(|| usual.into_iter().find(|rate| (measured / rate - 1.0).abs() < NEAR))
            .or(Some(measured))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    /// What pictures at these times in milliseconds make.
    fn of(times: impl Iterator<Item = i64>, nominal: Option<f64>) -> String {
        let times: Vec<i64> = times.collect();
        let mut cadence = Cadence::default();
        times.windows(2).for_each(|pair| cadence.step((pair[1] - pair[0]) * 90));
        cadence.rate(nominal).map_or("none".to_owned(), |rate| format!("{rate:.3}"))
    }

    #[test]
    fn the_rate_is_the_nominal_one_whatever_is_missing() {
        assert_eq!(of((0..50).map(|n| n * 40), None), "25.000");
        // A picture lost now and then, and a pause.
        assert_eq!(
            of((0..500).filter(|n| n % 40 != 7 && !(100..180).contains(n)).map(|n| n * 40), None),
            "25.000"
        );
        for (numerator, denominator, want) in
            [(30_000, 1001, "29.970"), (30, 1, "30.000"), (24_000, 1001, "23.976"), (60_000, 1001, "59.940")]
        {
            assert_eq!(of((0..240).map(|n| n * 1000 * denominator / numerator), None), want);
        }
        assert_eq!(of((0..50).map(|n| n * 80), None), "12.500", "no usual rate");
    }

    #[test]
    fn a_clock_that_shakes_does_not_change_the_rate() {
        let mut seed = 1u64;
        let mut shaken = |n: i64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            n * 40 + i64::try_from(seed >> 59).unwrap() - 16
        };
        assert_eq!(of((0..500).map(&mut shaken), Some(25.0)), "25.000");
        let measured: f64 = of((0..500).map(&mut shaken), None).parse().unwrap();
        assert!((measured - 25.0).abs() < 0.5, "{measured}");
    }

    #[test]
    fn a_stated_rate_holds_unless_the_pictures_contradict_it() {
        assert_eq!(of((0..2).map(|n| n * 33), Some(30_000.0 / 1001.0)), "29.970");
        assert_eq!(of((0..50).map(|n| n * 40), Some(50.0)), "25.000");
        assert_eq!(of(0..0, Some(50.0)), "50.000");
        assert_eq!(of(0..0, None), "none");
        assert_eq!(of((0..9).map(|n| n * n * n * 1000), None), "1.000", "nothing is divided by 0");
    }
}
