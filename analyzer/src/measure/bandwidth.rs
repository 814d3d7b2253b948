//! Payload over time, in bins whose width follows the length of the capture.
//!
//! Bins are kept only where bytes are, and get wider when the capture gets longer, or when many sessions together would
//! take too much memory. Nothing is ever allocated by the length of time.

use std::collections::BTreeMap;

use model::Bin;

const SECOND: u64 = 1_000_000_000;

/// Widths of bins in nanoseconds; each is a multiple of the one before.
const WIDTHS: [u64; 11] = [
    SECOND / 10,
    SECOND,
    10 * SECOND,
    60 * SECOND,
    600 * SECOND,
    3_600 * SECOND,
    21_600 * SECOND,
    86_400 * SECOND,
    864_000 * SECOND,
    8_640_000 * SECOND,
    86_400_000 * SECOND,
];

/// Most bins in a curve.
const MAX_BINS: u64 = 2_000;

/// Most bins in all curves together, 16 bytes each.
const TOTAL_BINS: usize = 1 << 20;

/// Seconds for which late packets still count in a series' peak.
const PEAK_WINDOW: usize = 4;

/// Rates of many sessions over time, in bounded memory.
///
/// `K` names a series while packets come in (a connection, say); sessions are put together at the end.
#[derive(Debug)]
pub struct Bandwidth<K: Ord> {
    first_ns: i64,
    /// Index into [`WIDTHS`].
    level: usize,
    series: BTreeMap<K, Series>,
    /// Bins of all series together.
    bins: usize,
}

#[derive(Debug, Default)]
struct Series {
    level: usize,
    /// Number of each bin and its bytes, in ascending order.
    bins: Vec<(u64, u64)>,
    /// The latest seconds with their bytes.
    seconds: [(u64, u64); PEAK_WINDOW],
    peak: u64,
}

impl<K: Ord + Copy> Bandwidth<K> {
    /// Bins begin at `first_ns`, the time of the capture's first packet; what is earlier counts in the first bin.
    pub fn new(first_ns: i64) -> Self {
        Self { first_ns, level: 0, series: BTreeMap::new(), bins: 0 }
    }

    /// Counts payload bytes.
    pub fn add(&mut self, key: K, time_ns: i64, bytes: u64) {
        let since = time_ns.saturating_sub(self.first_ns);
        let since = u64::try_from(since).unwrap_or(0);
        while index(since, self.level) >= MAX_BINS && self.coarsen() {}
        let level = self.level;
        let series = self.series.entry(key).or_insert_with(|| Series { level, ..Series::default() });
        let before = series.bins.len();
        series.widen(level);
        series.add(since, bytes);
        self.bins = self.bins.saturating_sub(before).saturating_add(series.bins.len());
        while self.bins > TOTAL_BINS && self.coarsen() {
            let level = self.level;
            self.series.values_mut().for_each(|series| series.widen(level));
            self.bins = self.series.values().map(|series| series.bins.len()).sum();
        }
    }

    fn coarsen(&mut self) -> bool {
        let wider = self.level.saturating_add(1) < WIDTHS.len();
        self.level = self.level.saturating_add(usize::from(wider));
        wider
    }

    /// Forgets a series that turned out to be no session.
    pub fn forget(&mut self, key: K) {
        if let Some(series) = self.series.remove(&key) {
            self.bins = self.bins.saturating_sub(series.bins.len());
        }
    }

    /// The largest 1 s bin of a series in bits per second. Packets more than a few seconds late do not count in it.
    pub fn peak_bps(&self, key: K) -> Option<f64> {
        self.series.get(&key).map(|series| series.peak as f64 * 8.0)
    }

    /// Bytes of a series in a second, counted from the first packet; 0 where it is not one of the latest few.
    pub fn in_second(&self, key: K, second: u64) -> u64 {
        let seconds = self.series.get(&key).map(|series| series.seconds).unwrap_or_default();
        seconds.iter().filter(|(s, _)| *s == second).fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// The latest second in which a series had bytes.
    pub fn latest_second(&self, key: K) -> Option<u64> {
        self.series.get(&key)?.seconds.iter().map(|(second, _)| *second).max()
    }

    /// Bytes of a series so far.
    pub fn bytes(&self, key: K) -> u64 {
        let bins = self.series.get(&key).map(|series| series.bins.as_slice()).unwrap_or_default();
        bins.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// The curves: each session has an id and the series it consists of. The total is that of these sessions.
    pub fn into_model(mut self, sessions: &[(String, Vec<K>)]) -> model::Bandwidth {
        let level = self.level;
        let mut total = BTreeMap::new();
        let mut per_session = BTreeMap::new();
        for (id, keys) in sessions {
            let mut own = BTreeMap::new();
            for key in keys {
                let Some(series) = self.series.get_mut(key) else { continue };
                series.widen(level);
                for (bin, bytes) in &series.bins {
                    for sum in [&mut own, &mut total] {
                        let sum: &mut u64 = sum.entry(*bin).or_default();
                        *sum = sum.saturating_add(*bytes);
                    }
                }
            }
            per_session.insert(id.clone(), curve(&own, level));
        }
        let interval_s = width(level) as f64 / 1e9;
        model::Bandwidth { interval_s, total_bps: curve(&total, level), per_session }
    }
}

impl Series {
    fn add(&mut self, since: u64, bytes: u64) {
        let bin = index(since, self.level);
        match self.bins.last_mut() {
            Some((last, sum)) if *last == bin => *sum = sum.saturating_add(bytes),
            Some((last, _)) if *last > bin => match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
                Ok(at) => {
                    if let Some((_, sum)) = self.bins.get_mut(at) {
                        *sum = sum.saturating_add(bytes);
                    }
                }
                Err(at) => self.bins.insert(at, (bin, bytes)),
            },
            _ => self.bins.push((bin, bytes)),
        }
        self.second(since.checked_div(SECOND).unwrap_or(0), bytes);
    }

    /// Counts for the peak. An empty place is that of second 0 with no bytes yet.
    fn second(&mut self, second: u64, bytes: u64) {
        let known = self.seconds.iter().position(|(s, sum)| *s == second && *sum > 0);
        let oldest = || (0..PEAK_WINDOW).min_by_key(|i| self.seconds.get(*i).copied());
        let Some(place) = known.or_else(oldest).and_then(|place| self.seconds.get_mut(place)) else { return };
        if place.0 > second {
            return;
        }
        if place.0 < second {
            *place = (second, 0);
        }
        place.1 = place.1.saturating_add(bytes);
        self.peak = self.peak.max(place.1);
    }

    /// Puts bins together until they have the width of `level`.
    fn widen(&mut self, level: usize) {
        if self.level >= level {
            return;
        }
        let ratio = width(level).checked_div(width(self.level)).unwrap_or(1).max(1);
        self.level = level;
        self.bins.iter_mut().for_each(|(bin, _)| *bin = bin.checked_div(ratio).unwrap_or(0));
        self.bins.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = earlier.1.saturating_add(later.1);
            }
            same
        });
        self.bins.shrink_to(self.bins.len().saturating_mul(2));
    }
}

/// Width of a bin in nanoseconds.
fn width(level: usize) -> u64 {
    WIDTHS.get(level).copied().unwrap_or(SECOND)
}

fn index(since: u64, level: usize) -> u64 {
    since.checked_div(width(level)).unwrap_or(0)
}

fn curve(bins: &BTreeMap<u64, u64>, level: usize) -> Vec<Bin> {
    let mut curve = Vec::with_capacity(bins.len());
    let mut next = 0u64;
    for (bin, bytes) in bins {
        match bin.saturating_sub(next) {
            0 => {}
            silent => curve.push(Bin::Gap((), silent)),
        }
        curve.push(Bin::Bps(*bytes as f64 * 8e9 / width(level) as f64));
        next = bin.saturating_add(1);
    }
    curve
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]

    use super::*;

    const S: i64 = 1_000_000_000;

    fn session(bandwidth: Bandwidth<u8>) -> (f64, Vec<Bin>) {
        let model = bandwidth.into_model(&[("s".to_owned(), vec![1])]);
        assert_eq!(Some(&model.total_bps), model.per_session.get("s"));
        (model.interval_s, model.total_bps)
    }

    #[test]
    fn short_captures_have_tenths_of_seconds_and_gaps() {
        let mut b = Bandwidth::new(100 * S);
        b.add(1, 100 * S + S / 2, 10);
        b.add(1, 100 * S + S / 2 + 1, 10);
        b.add(1, 102 * S, 5);
        b.add(1, 99 * S, 1);
        let bins = vec![Bin::Bps(80.0), Bin::Gap((), 4), Bin::Bps(1600.0), Bin::Gap((), 14), Bin::Bps(400.0)];
        assert_eq!(b.bytes(1), 26);
        assert_eq!(session(b), (0.1, bins));
    }

    #[test]
    fn a_year_takes_few_bins_and_loses_no_byte() {
        let mut b = Bandwidth::new(0);
        for day in 0..365 {
            b.add(1, day * 86_400 * S, 1);
            b.add(1, day * 86_400 * S + 7, 1);
        }
        let (interval, bins) = session(b);
        assert_eq!(interval, 21_600.0);
        assert!(Bin::expand(&bins, 4000).len() <= 2000);
        let bytes: f64 = Bin::expand(&bins, 4000).iter().map(|bps| bps * interval / 8.0).sum();
        assert_eq!(bytes.round(), 730.0);
    }

    #[test]
    fn the_ends_of_time_fit() {
        let mut b = Bandwidth::new(i64::MIN);
        b.add(1, i64::MIN, 1);
        b.add(1, i64::MAX, 1);
        assert!(Bin::expand(&session(b).1, 4000).len() <= 2000);
    }

    #[test]
    fn the_peak_is_the_largest_second_even_with_late_packets() {
        let mut b = Bandwidth::new(0);
        for (time, bytes) in [(0, 10), (S, 20), (2 * S, 5), (S + 1, 7), (9 * S, 26), (2 * S, 100), (8 * S, 3)]
        {
            b.add(1, time, bytes);
        }
        assert_eq!(b.peak_bps(1), Some(105.0 * 8.0));
        assert_eq!(b.peak_bps(2), None);
        // The window holds four seconds, of which 2 came with a late packet.
        assert_eq!((b.in_second(1, 9), b.in_second(1, 8), b.in_second(1, 7)), (26, 3, 0));
        assert_eq!((b.latest_second(1), b.latest_second(2)), (Some(9), None));
    }

    #[test]
    fn many_sessions_share_one_bound_on_memory() {
        let mut b = Bandwidth::new(0);
        for tenth in 0..1_000 {
            for key in 0..3_000u32 {
                b.add(key, tenth * S / 10, 1);
            }
        }
        assert!(b.bins <= TOTAL_BINS);
        assert_eq!((b.level, b.bytes(2_999)), (1, 1_000));
    }
}
