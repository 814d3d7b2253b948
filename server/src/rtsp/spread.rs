//! When reports are due.

use std::time::Duration;

use session::Time;

/// Milliseconds from one report to the next, on average (RFC 3550 §6.2).
const INTERVAL: u64 = 5000;

/// Times of reports, each after half the interval or up to one and a half, so that those of many sessions do not fall together
/// (RFC 3550 §6.3.1).
#[derive(Debug)]
pub(super) struct Spread(u64);

impl Spread {
    /// Each seed has times of its own.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// When the report after one at `now` is due.
    pub fn next(&mut self, now: Time) -> Time {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let part = (self.0 >> 33).checked_rem(INTERVAL).unwrap_or(0);
        now.after(Duration::from_millis((INTERVAL / 2).saturating_add(part)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    #[test]
    fn reports_are_neither_bursty_nor_periodic() {
        for seed in [0, 7, u64::MAX] {
            let mut spread = Spread::new(seed);
            let mut now = Time::from_millis(9);
            let steps: Vec<u64> = (0..1000)
                .map(|_| {
                    let next = spread.next(now);
                    u64::try_from(next.since(std::mem::replace(&mut now, next)).as_millis()).unwrap()
                })
                .collect();
            assert!(steps.iter().all(|ms| (2500..7500).contains(ms)));
            assert!(steps.iter().any(|ms| *ms < 3000) && steps.iter().any(|ms| *ms > 7000));
            assert!((4700..5300).contains(&(steps.iter().sum::<u64>() / 1000)));
        }
    }
}
