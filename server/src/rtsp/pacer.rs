//! How fast packets leave over UDP.
//!
//! A new viewer gets everything from the last key frame on. Sent at once that overflows its socket, whose buffer by
//! default holds some hundred packets; here it leaves at a pace any player reads at. What a stream makes live passes
//! without waiting, but for the far end of very large pictures.

use std::time::Duration;

use session::Time;

/// Bytes that may leave at once: with what the kernel adds to each packet, about half a default receive buffer.
const BURST: u64 = 64 << 10;
/// Bytes a second at least.
const RATE: u64 = 4 << 20;
/// Bytes a wait should be worth, so that a burst does not cost a timer a packet.
const STEP: u64 = 8 << 10;

/// A bucket of bytes that fills with time.
#[derive(Debug)]
pub(super) struct Pacer {
    level: u64,
    at: Time,
    /// Bytes a second: twice what the stream makes, where that is more than the least.
    rate: u64,
    /// Bytes since the time that stands beside.
    made: u64,
    since: Time,
}

impl Pacer {
    pub fn new(now: Time) -> Self {
        Self { level: BURST, at: now, rate: RATE, made: 0, since: now }
    }

    /// True where a packet of `bytes` may leave `now`; it is counted as gone.
    pub fn admit(&mut self, now: Time, bytes: usize) -> bool {
        self.fill(now);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        // A packet larger than the bucket goes when that is full.
        if self.level < bytes.min(BURST) {
            return false;
        }
        self.level = self.level.saturating_sub(bytes);
        true
    }

    /// Notes bytes that wait to leave: a stream is never held to less than it makes.
    pub fn made(&mut self, now: Time, bytes: usize) {
        self.made = self.made.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        let passed = now.since(self.since);
        if passed >= Duration::from_secs(2) {
            let milliseconds = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
            let rate = self.made.saturating_mul(1000).checked_div(milliseconds).unwrap_or(0);
            self.rate = rate.saturating_mul(2).max(RATE);
            (self.made, self.since) = (0, now);
        }
    }

    /// When it is worth trying again.
    pub fn next(&self) -> Time {
        let wait = STEP.saturating_mul(1_000_000).checked_div(self.rate).unwrap_or(0);
        self.at.after(Duration::from_micros(wait.max(1000)))
    }

    fn fill(&mut self, now: Time) {
        let passed = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        let more = self.rate.saturating_mul(passed) / 1_000_000;
        if more > 0 {
            self.level = self.level.saturating_add(more).min(BURST);
            self.at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    /// Sends packets of 1400 bytes from `start` on, a millisecond at a time; the most that left in any 10 ms, and when
    /// the last one did.
    fn send(pacer: &mut Pacer, start: u64, packets: usize) -> (usize, u64) {
        let mut left = Vec::new();
        let mut now = start;
        while left.len() < packets {
            while left.len() < packets && pacer.admit(Time::from_millis(now), 1400) {
                left.push(now);
            }
            now += 1;
        }
        let most = left.iter().map(|at| left.iter().filter(|t| (*at..at + 10).contains(t)).count()).max();
        (most.unwrap() * 1400, *left.last().unwrap())
    }

    #[test]
    fn a_first_group_of_pictures_fits_a_default_buffer_and_does_not_take_long() {
        let mut pacer = Pacer::new(Time::from_millis(0));
        // 1.4 MB: two seconds of 5.6 Mbit/s.
        let (most, last) = send(&mut pacer, 0, 1000);
        assert!(most < 110_000, "{most} bytes within 10 ms");
        assert!((250..400).contains(&last), "the last one after {last} ms");
    }

    #[test]
    fn live_pictures_do_not_wait() {
        let mut pacer = Pacer::new(Time::from_millis(0));
        for picture in 0..100 {
            let at = picture * 40;
            // 25 pictures of 60 kB a second: 12 Mbit/s.
            let (_, last) = send(&mut pacer, at, 43);
            assert_eq!(last, at);
        }
    }

    #[test]
    fn a_stream_larger_than_the_pace_raises_it() {
        let mut pacer = Pacer::new(Time::from_millis(0));
        // 10 MB a second.
        for step in 1..=60u64 {
            pacer.made(Time::from_millis(step * 50), 500_000);
        }
        let (_, last) = send(&mut pacer, 3000, 10_000);
        assert!(last - 3000 < 1000, "14 MB took {} ms", last - 3000);
    }
}
