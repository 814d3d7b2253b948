//! Times, rates, shares and bounds as people write them.

use std::fmt;
use std::time::Duration;

/// The longest time a scenario can name: a day.
const LONGEST: f64 = 86_400.0;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Seconds.
    Time,
    /// Bits a second.
    Rate,
    /// A share of all, in percent.
    Share,
}

impl Unit {
    /// Its suffixes, with what each is worth.
    fn suffixes(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::Count => &[("", 1.0), ("k", 1e3), ("M", 1e6)],
            Self::Time => &[("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("us", 1e-6), ("µs", 1e-6)],
            Self::Rate => &[("bit/s", 1.0), ("kbit/s", 1e3), ("Mbit/s", 1e6), ("Gbit/s", 1e9)],
            Self::Share => &[("%", 1.0)],
        }
    }

    /// What to write.
    pub fn example(self) -> &'static str {
        match self {
            Self::Count => "a number such as 20",
            Self::Time => "a time such as 500ms, 2s or 1.5m",
            Self::Rate => "a rate such as 300 kbit/s or 2 Mbit/s",
            Self::Share => "a share such as 5%",
        }
    }

    /// Reads a number with its unit.
    pub fn read(self, text: &str) -> Result<f64, String> {
        let wrong = || format!("{:?}: want {}", text.trim(), self.example());
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let number: f64 = number.replace('_', "").parse().map_err(|_| wrong())?;
        let (_, worth) = self.suffixes().iter().find(|(name, _)| *name == suffix.trim()).ok_or_else(wrong)?;
        let value = number * worth;
        if !value.is_finite() || self == Self::Time && value > LONGEST {
            return Err(format!("{text:?} is too much"));
        }
        if self == Self::Share && value > 100.0 {
            return Err(format!("{text:?} is more than all"));
        }
        Ok(value)
    }

    /// Writes a number with its unit, for people.
    pub fn write(self, value: f64) -> String {
        let short = |value: f64| {
            let text = format!("{value:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        match self {
            Self::Count => short(value),
            Self::Time if value.abs() < 1.0 => format!("{:.0}ms", value * 1e3),
            Self::Time => format!("{}s", short(value)),
            Self::Rate if value >= 1e6 => format!("{} Mbit/s", short(value / 1e6)),
            Self::Rate if value >= 1e3 => format!("{} kbit/s", short(value / 1e3)),
            Self::Rate => format!("{} bit/s", short(value)),
            Self::Share => format!("{}%", short(value)),
        }
    }
}

/// A time such as `5s`, `40ms` or `1.5m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    Unit::Time.read(text).map(Duration::from_secs_f64)
}

/// What a number has to keep: `< 2s`, `>= 20`, `1s..3s`, `18s ± 0.5s`, `0`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    unit: Unit,
    /// Smallest, and whether it is allowed itself.
    low: Option<(f64, bool)>,
    /// Largest, and whether it is allowed itself.
    high: Option<(f64, bool)>,
    text: String,
}

impl Bound {
    /// Reads a bound.
    pub fn read(unit: Unit, text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (low, high) = if let Some(rest) = text.strip_prefix("<=") {
            (None, Some((unit.read(rest)?, true)))
        } else if let Some(rest) = text.strip_prefix('<') {
            (None, Some((unit.read(rest)?, false)))
        } else if let Some(rest) = text.strip_prefix(">=") {
            (Some((unit.read(rest)?, true)), None)
        } else if let Some(rest) = text.strip_prefix('>') {
            (Some((unit.read(rest)?, false)), None)
        } else if let Some((middle, by)) = text.split_once('±').or_else(|| text.split_once("+-")) {
            let (middle, by) = (unit.read(middle)?, unit.read(by)?);
            (Some((middle - by, true)), Some((middle + by, true)))
        } else if let Some((low, high)) = text.split_once("..") {
            let (low, high) = (unit.read(low)?, unit.read(high)?);
            if low > high {
                return Err(format!("{text:?}: nothing lies between {low} and {high}"));
            }
            (Some((low, true)), Some((high, true)))
        } else {
            let exact = unit.read(text.trim_start_matches('='))?;
            (Some((exact, true)), Some((exact, true)))
        };
        Ok(Self { unit, low, high, text: text.to_owned() })
    }

    /// Exactly this.
    pub fn exactly(unit: Unit, value: f64) -> Self {
        let end = Some((value, true));
        Self { unit, low: end, high: end, text: unit.write(value) }
    }

    /// Whether a value keeps it.
    pub fn holds(&self, value: f64) -> bool {
        let above = self.low.is_none_or(|(low, itself)| value > low || itself && value >= low);
        let below = self.high.is_none_or(|(high, itself)| value < high || itself && value <= high);
        above && below
    }

    /// What it counts.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// How far a value is outside; 0 where it keeps it.
    pub fn distance(&self, value: f64) -> f64 {
        let under = self.low.map_or(0.0, |(low, _)| low - value);
        let over = self.high.map_or(0.0, |(high, _)| value - high);
        if self.holds(value) { 0.0 } else { under.max(over).max(f64::MIN_POSITIVE) }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        assert_eq!(Unit::Time.read("1.5m"), Ok(90.0));
        assert_eq!(Unit::Time.read(" 40 ms"), Ok(0.04));
        assert_eq!(Unit::Rate.read("2 Mbit/s"), Ok(2e6));
        assert_eq!(Unit::Share.read("0.5 %"), Ok(0.5));
        assert_eq!(Unit::Count.read("1_000"), Ok(1000.0));
        for (unit, text) in [
            (Unit::Time, "5"),
            (Unit::Time, "s"),
            (Unit::Time, "-1s"),
            (Unit::Time, "2 days"),
            (Unit::Time, "90000h"),
            (Unit::Rate, "2MB"),
            (Unit::Share, "101%"),
            (Unit::Count, "1.2.3"),
            (Unit::Count, ""),
        ] {
            assert!(unit.read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds_hold_or_not() {
        let bound = |unit, text| Bound::read(unit, text).unwrap();
        let seconds = |text, value| bound(Unit::Time, text).holds(value);
        assert!(seconds("< 2s", 1.999) && !seconds("< 2s", 2.0) && seconds("<= 2s", 2.0));
        assert!(seconds("> 2s", 2.001) && !seconds("> 2s", 2.0) && seconds(">=2s", 2.0));
        assert!(seconds("18s ± 0.5s", 17.5) && !seconds("18s ± 0.5s", 17.4) && seconds("18s +- 500ms", 18.4));
        assert!(seconds("1s..3s", 3.0) && !seconds("1s..3s", 3.1) && !seconds("1s..3s", 0.9));
        assert!(bound(Unit::Count, "= 5").holds(5.0) && !bound(Unit::Count, "5").holds(6.0));
        assert!(Bound::read(Unit::Time, "3s..1s").unwrap_err().contains("nothing lies between"));
        assert!(Bound::read(Unit::Time, "< fast").unwrap_err().contains("want a time"));
        assert_eq!(bound(Unit::Time, "1s..3s").to_string(), "1s..3s");
        assert_eq!(Bound::exactly(Unit::Count, 0.0).to_string(), "0");
    }

    #[test]
    fn values_are_written_with_their_units() {
        let written = [
            Unit::Time.write(0.0404),
            Unit::Time.write(2.5),
            Unit::Rate.write(1_250_000.0),
            Unit::Rate.write(999.0),
            Unit::Share.write(5.0),
            Unit::Count.write(20.0),
        ];
        assert_eq!(written, ["40ms", "2.5s", "1.25 Mbit/s", "999 bit/s", "5%", "20"]);
    }

    #[test]
    fn the_distance_tells_how_far_a_value_is_out() {
        let bound = Bound::read(Unit::Count, "10..20").unwrap();
        assert_eq!([bound.distance(5.0), bound.distance(15.0), bound.distance(26.0)], [5.0, 0.0, 6.0]);
        assert!(Bound::read(Unit::Count, "< 3").unwrap().distance(3.0) > 0.0);
    }
}
