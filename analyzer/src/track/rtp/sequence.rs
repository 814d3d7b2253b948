//! Sequence numbers of one RTP source: what arrived, what is missing, what came late or twice (RFC 3550 §A.1, §A.3).

/// A step forward beyond this many numbers is a jump, not a loss (RFC 3550 §A.1).
const MAX_DROPOUT: i64 = 3000;
/// A step back beyond this many numbers is a restart, not a late packet. RFC 3550 §A.1 has 100; paths reorder deeper.
const MAX_MISORDER: i64 = 1000;
/// Numbers remembered below the highest one, to tell late packets from repeated ones.
const WINDOW: i64 = 2048;
/// Words of 64 bits that hold them.
const WORDS: usize = 32;

/// What a packet's number says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It follows the highest number seen, this many numbers being skipped for now.
    Next {
        /// Its number without wrap-around.
        extended: i64,
        /// Numbers between the highest one so far and this one.
        skipped: u64,
    },
    /// It was overtaken.
    Late {
        /// Its number without wrap-around.
        extended: i64,
    },
    /// It was there before.
    Duplicate,
    /// Its number is far from the others; it counts when the next packet follows it.
    Jumping,
    /// It follows a jumping one: numbering goes on from there.
    Restarted {
        /// Its number without wrap-around, above all earlier ones.
        extended: i64,
    },
}

/// Numbers of one source so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    /// Lowest and highest number of the run, without wrap-around.
    run: Option<(i64, i64)>,
    /// Different numbers of the run that arrived.
    received: u64,
    /// Bit `n mod 2048` is set where number n arrived.
    seen: [u64; WORDS],
    /// Where the numbering may have jumped to: the number wanted next.
    jump: Option<u16>,
    lost_before: u64,
    received_before: u64,
    /// Packets that came after one with a higher number.
    pub(super) reordered: u64,
    /// Packets that came again.
    pub(super) duplicates: u64,
    /// Jumps of the numbering.
    pub(super) jumps: u64,
}

impl Sequence {
    /// Takes the number of a packet.
    pub(super) fn packet(&mut self, number: u16) -> Arrival {
        let Some((low, high)) = self.run else {
            // One wrap ahead, so that late first packets stay above zero.
            let extended = i64::from(number).saturating_add(0x1_0000);
            self.begin(extended);
            return Arrival::Next { extended, skipped: 0 };
        };
        let last = u16::try_from(high & 0xffff).unwrap_or(0);
        let step = i64::from(number.wrapping_sub(last).cast_signed());
        let extended = high.saturating_add(step);
        if !(-MAX_MISORDER..=MAX_DROPOUT).contains(&step) {
            return self.jumping(number, high);
        }
        self.jump = None;
        if step > 0 {
            self.forget(high, extended);
            self.mark(extended);
            self.run = Some((low, extended));
            self.received = self.received.saturating_add(1);
            let skipped = u64::try_from(step.saturating_sub(1)).unwrap_or(0);
            return Arrival::Next { extended, skipped };
        }
        if self.is_marked(extended) {
            self.duplicates = self.duplicates.saturating_add(1);
            return Arrival::Duplicate;
        }
        self.mark(extended);
        self.run = Some((low.min(extended), high));
        self.received = self.received.saturating_add(1);
        self.reordered = self.reordered.saturating_add(1);
        Arrival::Late { extended }
    }

    fn jumping(&mut self, number: u16, high: i64) -> Arrival {
        if self.jump != Some(number) {
            self.jump = Some(number.wrapping_add(1));
            return Arrival::Jumping;
        }
        self.jump = None;
        self.jumps = self.jumps.saturating_add(1);
        self.lost_before = self.lost();
        self.received_before = self.packets();
        // The numbering goes on a whole round above everything before; the packet before this one belongs to it.
        let round = high.saturating_add(0x2_0000) & !0xffff;
        let extended = round.saturating_add(i64::from(number));
        self.begin(extended.saturating_sub(1));
        self.mark(extended);
        self.run = Some((extended.saturating_sub(1), extended));
        self.received = 2;
        Arrival::Restarted { extended }
    }

    fn begin(&mut self, extended: i64) {
        self.seen = [0; WORDS];
        self.run = Some((extended, extended));
        self.received = 1;
        self.mark(extended);
    }

    /// Clears the bits of the numbers above `high` up to `upto`.
    fn forget(&mut self, high: i64, upto: i64) {
        if upto.saturating_sub(high) >= WINDOW {
            self.seen = [0; WORDS];
            return;
        }
        for n in high.saturating_add(1)..=upto {
            let (word, bit) = place(n);
            if let Some(word) = self.seen.get_mut(word) {
                *word &= !bit;
            }
        }
    }

    fn mark(&mut self, n: i64) {
        let (word, bit) = place(n);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
    }

    fn is_marked(&self, n: i64) -> bool {
        let (word, bit) = place(n);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Different packets that arrived.
    pub(super) fn packets(&self) -> u64 {
        self.received_before.saturating_add(self.received)
    }

    /// Numbers that never arrived.
    pub(super) fn lost(&self) -> u64 {
        let expected = self.run.map_or(0, |(low, high)| high.saturating_sub(low).saturating_add(1));
        let lost = u64::try_from(expected).unwrap_or(0).saturating_sub(self.received);
        self.lost_before.saturating_add(lost)
    }
}

fn place(n: i64) -> (usize, u64) {
    let slot = u32::try_from(n.rem_euclid(WINDOW)).unwrap_or(0);
    (usize::try_from(slot >> 6).unwrap_or(0), 1u64 << (slot & 63))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    fn fed(numbers: impl IntoIterator<Item = u16>) -> Sequence {
        let mut sequence = Sequence::default();
        numbers.into_iter().for_each(|n| {
            sequence.packet(n);
        });
        sequence
    }

    #[test]
    fn losses_are_what_never_arrived_across_the_wrap() {
        let s = fed((0..1000u16).map(|n| n.wrapping_add(65_000)).filter(|n| n % 100 != 7));
        assert_eq!((s.packets(), s.lost(), s.reordered, s.duplicates), (989, 11, 0, 0));
    }

    #[test]
    fn late_and_repeated_packets_are_told_apart() {
        let s = fed([5, 3, 4, 6, 8, 7, 7, 6, 9]);
        assert_eq!((s.packets(), s.lost(), s.reordered, s.duplicates), (7, 0, 3, 2));
    }

    #[test]
    fn a_single_packet_from_far_away_is_no_restart() {
        let s = fed([10, 11, 40_000, 12, 13, 41_000, 14]);
        assert_eq!((s.packets(), s.lost(), s.jumps), (5, 0, 0));
        let s = fed([10, 11, 13, 40_000, 40_001, 40_003, 5, 6]);
        assert_eq!((s.packets(), s.lost(), s.jumps), (8, 2, 2));
    }

    #[test]
    fn any_order_of_a_burst_gives_the_same_count() {
        let mut numbers: Vec<u16> = (0..500).collect();
        let mut seed = 1u32;
        for i in (1..numbers.len()).rev() {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            numbers.swap(i, (seed >> 8) as usize % (i + 1));
        }
        let s = fed(numbers.iter().copied().chain(numbers.iter().copied()));
        assert_eq!((s.packets(), s.lost(), s.duplicates), (500, 0, 500));
    }
}
