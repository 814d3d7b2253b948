//! Bits per second over a stated window.

use session::Time;

/// Notes kept: one a second, so that the oldest is about 5 s old, the window of every `bps` of the API.
const NOTES: usize = 6;

/// Byte counts of one connection at the last few ticks.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    notes: [Note; NOTES],
}

#[derive(Clone, Copy, Debug)]
struct Note {
    at: Time,
    bytes_in: u64,
    bytes_out: u64,
}

/// Bits per second both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Received.
    pub bps_in: u64,
    /// Sent.
    pub bps_out: u64,
}

impl Rate {
    /// A connection that begins with nothing counted.
    pub fn new(now: Time) -> Self {
        Self { notes: [Note { at: now, bytes_in: 0, bytes_out: 0 }; NOTES] }
    }

    /// Notes the counts of this second.
    pub fn note(&mut self, now: Time, bytes_in: u64, bytes_out: u64) {
        self.notes.rotate_left(1);
        if let Some(last) = self.notes.last_mut() {
            *last = Note { at: now, bytes_in, bytes_out };
        }
    }

    /// The rates over the last 5 s, or since the connection began where that is shorter; a connection younger
    /// than a second counts as one second old, so that its first burst is not blown up.
    pub fn over(&self, now: Time, bytes_in: u64, bytes_out: u64) -> Rates {
        let Some(oldest) = self.notes.first() else { return Rates::default() };
        let ms = u64::try_from(now.since(oldest.at).as_millis()).unwrap_or(u64::MAX).max(1000);
        let bps = |n: u64, o: u64| n.saturating_sub(o).saturating_mul(8000).checked_div(ms).unwrap_or(0);
        Rates { bps_in: bps(bytes_in, oldest.bytes_in), bps_out: bps(bytes_out, oldest.bytes_out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_five_seconds() {
        let mut rate = Rate::new(Time::from_millis(0));
        let at = |s: u64| Time::from_millis(s * 1000);
        assert_eq!(rate.over(Time::from_millis(100), 500, 0).bps_in, 4000);
        for s in 1..=20 {
            rate.note(at(s), s * 1000, 100);
        }
        assert_eq!(rate.over(at(20), 20_000, 100), Rates { bps_in: 8000, bps_out: 0 });
        // A stop shows within the window.
        for s in 21..=26 {
            rate.note(at(s), 20_000, 100);
        }
        assert_eq!(rate.over(at(26), 20_000, 100), Rates::default());
    }
}
