//! Ticks at round numbers, and the units that keep them short.

/// A tick's place and label.
pub(super) type Tick = (f64, String);

/// A scale from 0 to a round number at or above `max`, with `wanted` steps or a little less.
pub(super) struct Scale {
    /// The upper end.
    pub(super) top: f64,
    /// 0 and the steps up to the top, labelled in `unit`.
    pub(super) ticks: Vec<Tick>,
    /// `Mbit/s`.
    pub(super) unit: &'static str,
}

/// The scale for rates up to `max` bit/s.
pub(super) fn rates(max: f64, wanted: f64) -> Scale {
    let max = if max.is_finite() && max > 0.0 { max } else { 1000.0 };
    let (divisor, unit) = match max {
        m if m < 1e3 => (1.0, "bit/s"),
        m if m < 1e6 => (1e3, "kbit/s"),
        m if m < 1e9 => (1e6, "Mbit/s"),
        _ => (1e9, "Gbit/s"),
    };
    let step = round_step(max / divisor / wanted, &[1.0, 1.5, 2.0, 3.0, 5.0, 10.0]);
    let steps = (max / divisor / step - 1e-9).ceil().max(1.0);
    let ticks = ticks(step, steps, divisor);
    Scale { top: steps * step * divisor, ticks, unit }
}

/// The time axis.
pub(super) struct TimeAxis {
    /// Where the axis ends, in seconds.
    pub(super) end: f64,
    /// Ticks up to the end.
    pub(super) ticks: Vec<Tick>,
    /// `s`, `min`, `h`, `days`, `years`.
    pub(super) unit: &'static str,
}

/// The axis for `seconds` seconds.
pub(super) fn time(seconds: f64) -> TimeAxis {
    let end = if seconds.is_finite() && seconds > 0.0 { seconds } else { 1.0 };
    let (divisor, unit, sixties) = match end {
        e if e <= 300.0 => (1.0, "s", true),
        e if e <= 3.0 * 3_600.0 => (60.0, "min", true),
        e if e <= 4.0 * 86_400.0 => (3_600.0, "h", false),
        e if e <= 1_000.0 * 86_400.0 => (86_400.0, "days", false),
        _ => (365.25 * 86_400.0, "years", false),
    };
    let span = end / divisor;
    let mut step = round_step(span / 8.0, &[1.0, 2.0, 5.0, 10.0]);
    if sixties && step >= 10.0 {
        step = [10.0, 15.0, 20.0, 30.0, 60.0].into_iter().find(|s| *s >= span / 9.0).unwrap_or(60.0);
    }
    if unit == "h" && step >= 1.0 {
        step = [1.0, 2.0, 3.0, 6.0, 12.0, 24.0].into_iter().find(|s| *s >= span / 9.0).unwrap_or(24.0);
    }
    TimeAxis { end, ticks: ticks(step, (span / step + 1e-9).floor(), divisor), unit }
}

/// One of `steps` times a power of ten, at or above `least`.
fn round_step(least: f64, steps: &[f64]) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    steps.iter().map(|m| m * power).find(|s| *s >= least * 0.999_999).unwrap_or(power)
}

/// At most this many ticks, whatever the numbers.
const MAX_TICKS: u8 = 40;

fn ticks(step: f64, steps: f64, divisor: f64) -> Vec<Tick> {
    let decimals = (0..=9u8).find(|d| {
        let shown = step * 10f64.powi(i32::from(*d));
        (shown - shown.round()).abs() < 1e-6 * shown
    });
    let decimals = usize::from(decimals.unwrap_or(3));
    (0..=MAX_TICKS)
        .map(f64::from)
        .take_while(|i| *i <= steps)
        .map(|i| (i * step * divisor, format!("{:.decimals$}", i * step)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn rates_get_round_ticks_in_a_unit_that_keeps_them_short() {
        let scale = rates(4_300_000.0, 4.0);
        assert_eq!((scale.unit, scale.top), ("Mbit/s", 4_500_000.0));
        assert_eq!(labels(&scale.ticks), ["0.0", "1.5", "3.0", "4.5"]);
        let scale = rates(930.0, 4.0);
        assert_eq!((scale.unit, labels(&scale.ticks)), ("bit/s", vec!["0", "300", "600", "900", "1200"]));
        let scale = rates(1_100_000.0, 4.0);
        assert_eq!(labels(&scale.ticks), ["0.0", "0.3", "0.6", "0.9", "1.2"]);
    }

    #[test]
    fn nothing_at_all_still_has_a_scale() {
        for max in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let scale = rates(max, 4.0);
            assert!(scale.top > 0.0 && scale.ticks.len() > 1);
        }
        assert!(time(0.0).end > 0.0);
    }

    #[test]
    fn times_use_clock_steps_and_stay_few() {
        assert_eq!(labels(&time(20.3).ticks), ["0", "5", "10", "15", "20"]);
        assert_eq!(labels(&time(120.0).ticks), ["0", "15", "30", "45", "60", "75", "90", "105", "120"]);
        assert_eq!(time(7_200.0).unit, "min");
        assert_eq!(time(86_400.0).unit, "h");
        for seconds in [1e-6, 0.3, 7.0, 299.0, 3_000.0, 1e5, 1e6, 1e8, 3e9, 1e300] {
            let axis = time(seconds);
            let n = axis.ticks.len();
            assert!((2..=12).contains(&n), "{seconds}: {n} ticks");
            assert!(axis.ticks.iter().all(|(at, _)| *at <= axis.end * 1.000_001));
        }
    }
}
