//! What a path does to what travels over it: a queue in which things wait for their time.
//!
//! It knows no clock: the time is an argument, and the same seed does the same to the same things.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::script::Net;

/// A packet that would wait longer than this for its turn on a narrow link is dropped, as a full router does.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// One direction of a path.
#[derive(Debug)]
pub struct Shaper<T> {
    /// The order is kept and nothing is lost: a stream of bytes.
    stream: bool,
    random: fastrand::Rng,
    /// By the time they are due, and by the order they came in where that is the same.
    queue: BTreeMap<(Instant, u64), (T, usize)>,
    number: u64,
    /// Bytes in the queue.
    held: usize,
    /// When the link has sent what it was given.
    free_at: Option<Instant>,
    /// When the latest thing of a stream is due.
    latest: Option<Instant>,
    lost: u64,
}

impl<T> Shaper<T> {
    /// A direction in which packets may be lost and overtake each other.
    pub fn packets(seed: u64) -> Self {
        Self::of(false, seed)
    }

    /// A direction of a byte stream.
    pub fn stream(seed: u64) -> Self {
        Self::of(true, seed)
    }

    fn of(stream: bool, seed: u64) -> Self {
        Self {
            stream,
            random: fastrand::Rng::with_seed(seed),
            queue: BTreeMap::new(),
            number: 0,
            held: 0,
            free_at: None,
            latest: None,
            lost: 0,
        }
    }

    /// Takes a thing of so many bytes that enters the path now.
    pub fn push(&mut self, now: Instant, net: &Net, thing: T, bytes: usize) {
        // Drawn whether it matters or not, so that the rate does not change which packets are lost.
        let (chance, shift) = (self.random.f64(), self.random.f64());
        if !self.stream && (net.cut || chance < net.loss) {
            self.lost += 1;
            return;
        }
        let mut due = now;
        if let Some(rate) = net.rate {
            #[expect(clippy::cast_precision_loss, reason = "a packet has fewer bytes than 2^52")]
            let takes = Duration::from_secs_f64(bytes as f64 * 8.0 / rate);
            let begins = self.free_at.map_or(now, |free| free.max(now));
            if !self.stream && begins - now > LONGEST_WAIT {
                self.lost += 1;
                return;
            }
            due = begins + takes;
            self.free_at = Some(due);
        }
        due = due + net.delay + net.jitter.mul_f64(2.0 * shift) - net.jitter;
        if self.stream {
            due = self.latest.map_or(due, |latest| latest.max(due));
            self.latest = Some(due);
        }
        self.number += 1;
        self.held += bytes;
        self.queue.insert((due, self.number), (thing, bytes));
    }

    /// When the next thing is due.
    pub fn due(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((due, _), _)| *due)
    }

    /// The next thing that is due by now.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let first = self.queue.first_entry().filter(|first| first.key().0 <= now)?;
        let (thing, bytes) = first.remove();
        self.held -= bytes;
        Some(thing)
    }

    /// Bytes on their way.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Things that were lost.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn all(shaper: &mut Shaper<u32>, begin: Instant) -> Vec<(u32, u128)> {
        let mut got = Vec::new();
        while let Some(due) = shaper.due() {
            assert!(shaper.pop(due - Duration::from_nanos(1)).is_none());
            got.push((shaper.pop(due).unwrap(), (due - begin).as_millis()));
        }
        assert_eq!(shaper.held(), 0);
        got
    }

    #[test]
    fn a_clear_path_passes_everything_at_once() {
        let begin = Instant::now();
        let mut shaper = Shaper::packets(1);
        for i in 0..3 {
            shaper.push(begin + MS * i, &Net::default(), i, 100);
        }
        assert_eq!(shaper.held(), 300);
        assert_eq!(all(&mut shaper, begin), [(0, 0), (1, 1), (2, 2)]);
    }

    #[test]
    fn a_rate_spreads_bytes_and_a_full_link_drops_packets_but_no_stream() {
        let begin = Instant::now();
        let net = Net { rate: Some(80_000.0), ..Net::default() };
        for (mut shaper, passes) in [(Shaper::stream(1), 100), (Shaper::packets(1), 51)] {
            for i in 0..100 {
                shaper.push(begin, &net, i, 100);
            }
            assert_eq!(shaper.lost(), 100 - passes);
            let got = all(&mut shaper, begin);
            assert_eq!(got.len() as u64, passes);
            assert_eq!(got[..3], [(0, 10), (1, 20), (2, 30)]);
        }
    }

    #[test]
    fn the_same_seed_loses_the_same_packets_and_about_as_many_as_asked_for() {
        let begin = Instant::now();
        let run = |seed, rate| {
            let net = Net { loss: 0.05, rate, ..Net::default() };
            let mut shaper = Shaper::packets(seed);
            for i in 0..2000 {
                shaper.push(begin + MS * i, &net, i, 100);
            }
            let lost = shaper.lost();
            (lost, all(&mut shaper, begin).into_iter().map(|(i, _)| i).collect::<Vec<_>>())
        };
        let (lost, passed) = run(7, None);
        assert!((70..130).contains(&lost), "{lost}");
        assert_eq!(run(7, Some(1e6)).1, passed);
        assert_ne!(run(8, None).1, passed);
    }

    #[test]
    fn jitter_lets_packets_overtake_and_keeps_a_stream_in_order() {
        let begin = Instant::now();
        let net = Net { delay: MS * 40, jitter: MS * 10, ..Net::default() };
        let mut packets = Shaper::packets(3);
        let mut stream = Shaper::stream(3);
        for i in 0..200 {
            packets.push(begin + MS * i, &net, i, 100);
            stream.push(begin + MS * i, &net, i, 100);
        }
        let (packets, stream) = (all(&mut packets, begin), all(&mut stream, begin));
        assert!(!packets.is_sorted_by_key(|(i, _)| *i) && stream.is_sorted_by_key(|(i, _)| *i));
        assert!(packets.iter().all(|(i, at)| (30..=50).contains(&(at - u128::from(*i)))));
    }

    #[test]
    fn a_cut_path_loses_packets() {
        let mut shaper = Shaper::packets(1);
        shaper.push(Instant::now(), &Net { cut: true, ..Net::default() }, 1, 1);
        assert_eq!((shaper.due(), shaper.lost()), (None, 1));
    }
}
