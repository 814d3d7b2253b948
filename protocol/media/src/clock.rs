//! Timestamps as exact rationals of a clock.

/// `ticks` of a clock of `from` Hz in ticks of one of `to` Hz, rounded down; saturates at the ends of i64.
pub fn rescale(ticks: i64, from: u32, to: u32) -> i64 {
    if from == to || from == 0 {
        return ticks;
    }
    let exact = i128::from(ticks).saturating_mul(i128::from(to));
    let floor = exact.checked_div_euclid(i128::from(from)).unwrap_or(0);
    i64::try_from(floor).unwrap_or(if floor > 0 { i64::MAX } else { i64::MIN })
}

/// Unrolls a 32 bit timestamp that wraps into one that does not.
///
/// Each value is read as the one nearest to its predecessor, so a step back stays a step back and a step over
/// 2^32 goes on (RTMP 1.0 §5.3.1: "adjacent timestamps within 2^31 - 1 milliseconds of each other").
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwrap32 {
    last: Option<i64>,
}

impl Unwrap32 {
    /// The unrolled value of the next timestamp.
    pub fn next(&mut self, raw: u32) -> i64 {
        let value = match self.last {
            None => i64::from(raw),
            Some(last) => {
                let low = (last.cast_unsigned() & 0xffff_ffff) as u32;
                last.saturating_add(i64::from(raw.wrapping_sub(low).cast_signed()))
            }
        };
        self.last = Some(value);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescaling_rounds_down_and_never_overflows() {
        assert_eq!(rescale(90_000, 90_000, 1000), 1000);
        assert_eq!(rescale(-1, 90_000, 1000), -1);
        assert_eq!(rescale(44_101, 44_100, 1000), 1000);
        assert_eq!(rescale(i64::MAX, 1, u32::MAX), i64::MAX);
        assert_eq!(rescale(7, 0, 1000), 7);
    }

    #[test]
    fn timestamps_go_on_over_the_wrap_and_may_step_back() {
        let mut u = Unwrap32::default();
        let seen: Vec<i64> =
            [0xffff_ff00, 0xffff_fff0, 0x10, 0x08, 0x20].into_iter().map(|t| u.next(t)).collect();
        assert_eq!(seen, [0xffff_ff00, 0xffff_fff0, 0x1_0000_0010, 0x1_0000_0008, 0x1_0000_0020]);
    }
}
