//! The rate of a clock that nothing tells, from timestamps beside arrival times.

use super::jitter::Jitter;

/// Rates that senders use.
const RATES: [u32; 8] = [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 90_000];
/// How far a measured rate may be from the true one: a thousandth part of it, thirty times.
const TOLERANCE: f64 = 0.03;
/// Shorter stretches are too much at the mercy of bursts, in nanoseconds.
const SHORTEST_NS: i64 = 1_000_000_000;

/// Jitter at every rate that may be the right one.
#[derive(Clone, Debug, Default)]
pub(super) struct Clocks {
    jitters: [Jitter; RATES.len()],
    first: Option<(i64, u32)>,
    last: (i64, u32),
    ticks: i64,
}

impl Clocks {
    /// Takes a packet in the order of arrival.
    pub(super) fn packet(&mut self, arrival_ns: i64, timestamp: u32) {
        for (jitter, rate) in self.jitters.iter_mut().zip(RATES) {
            jitter.packet(arrival_ns, timestamp, rate);
        }
        if self.first.is_some() {
            let step = timestamp.wrapping_sub(self.last.1).cast_signed();
            self.ticks = self.ticks.saturating_add(i64::from(step));
        }
        self.first.get_or_insert((arrival_ns, timestamp));
        self.last = (arrival_ns, timestamp);
    }

    /// The rate: as sender reports measure it, else as the arrival of the packets does.
    fn rate(&self, reported: Option<f64>) -> Option<u32> {
        let near = |measured: f64| {
            let off = |rate: u32| (measured / f64::from(rate) - 1.0).abs();
            let best = RATES.into_iter().min_by(|a, b| off(*a).total_cmp(&off(*b)))?;
            (off(best) <= TOLERANCE).then_some(best)
        };
        let (first_ns, _) = self.first?;
        let span = self.last.0.saturating_sub(first_ns);
        reported.and_then(near).or_else(|| {
            let measured = float(self.ticks) * 1e9 / float(span);
            (span >= SHORTEST_NS).then(|| near(measured)).flatten()
        })
    }

    /// Interarrival jitter in milliseconds, where the rate is found.
    pub(super) fn jitter_ms(&self, reported: Option<f64>) -> Option<f64> {
        let rate = self.rate(reported)?;
        let (jitter, rate) = self.jitters.iter().zip(RATES).find(|(_, of)| *of == rate)?;
        jitter.ms(rate)
    }
}

#[allow(clippy::cast_precision_loss)]
fn float(n: i64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    #[test]
    fn the_rate_is_one_that_is_used_or_none() {
        let measured = |rate: i64, packets: i64| {
            let mut clocks = Clocks::default();
            for n in 0..packets {
                let timestamp = u32::try_from(n * rate / 50 % (1 << 32)).unwrap().wrapping_sub(70_000);
                clocks.packet(n * 20_000_000 + n % 3 * 1_000_000, timestamp);
            }
            clocks.rate(None)
        };
        assert_eq!(
            (measured(8000, 200), measured(48_000, 200), measured(90_000, 200)),
            (Some(8000), Some(48_000), Some(90_000))
        );
        assert_eq!(
            (measured(44_100, 200), measured(60_000, 200), measured(8000, 20)),
            (Some(44_100), None, None)
        );
        let mut burst = Clocks::default();
        (0..20u32).for_each(|n| burst.packet(i64::from(n), n * 160));
        assert_eq!((burst.rate(Some(8001.5)), burst.rate(None)), (Some(8000), None));
        assert!(burst.jitter_ms(Some(8000.0)).is_some() && burst.jitter_ms(None).is_none());
    }
}
