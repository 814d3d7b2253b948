//! Interarrival jitter (RFC 3550 §6.4.1, §A.8).

/// Steps of the transit time beyond this are jumps of a clock, not jitter, in seconds.
const JUMP_S: f64 = 10.0;

/// The running estimate of one source.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::track) struct Jitter {
    /// Arrival and timestamp of the packet before, nanoseconds and clock ticks.
    last: Option<(i64, u32)>,
    /// In clock ticks.
    estimate: f64,
    steps: u64,
}

impl Jitter {
    /// Takes a packet in the order of arrival; the clock runs at `rate` ticks a second.
    pub(in crate::track) fn packet(&mut self, arrival_ns: i64, timestamp: u32, rate: u32) {
        let Some((last_ns, last)) = self.last.replace((arrival_ns, timestamp)) else { return };
        let arrived = ticks(arrival_ns.saturating_sub(last_ns), rate);
        let sent = f64::from(timestamp.wrapping_sub(last).cast_signed());
        let step = (arrived - sent).abs();
        if step > JUMP_S * f64::from(rate) {
            return;
        }
        self.estimate += (step - self.estimate) / 16.0;
        self.steps = self.steps.saturating_add(1);
    }

    /// The estimate in milliseconds; none before the second packet.
    pub(in crate::track) fn ms(&self, rate: u32) -> Option<f64> {
        (self.steps > 0 && rate > 0).then(|| self.estimate * 1000.0 / f64::from(rate))
    }
}

#[allow(clippy::cast_precision_loss)]
fn ticks(ns: i64, rate: u32) -> f64 {
    ns as f64 * f64::from(rate) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_none_and_an_alternating_one_what_the_formula_says() {
        let mut steady = Jitter::default();
        let mut alternating = Jitter::default();
        let mut by_hand = 0.0;
        for n in 0..200i64 {
            let timestamp = u32::try_from(n).unwrap().wrapping_mul(3600).wrapping_sub(70_000);
            steady.packet(n * 40_000_000, timestamp, 90_000);
            // Every other packet 2 ms late: |D| is 180 ticks each time.
            alternating.packet(n * 40_000_000 + n % 2 * 2_000_000, timestamp, 90_000);
            by_hand += if n > 0 { (180.0 - by_hand) / 16.0 } else { 0.0 };
        }
        assert!(steady.ms(90_000).unwrap() < 1e-6);
        assert!((alternating.ms(90_000).unwrap() - by_hand / 90.0).abs() < 1e-6);
        assert_eq!(Jitter::default().ms(90_000), None);
    }
}
