//! Numbers for people: grouped counts, rates, sizes, spans of time. A number nobody has is `–`.

use time::OffsetDateTime;
use time::macros::format_description;

/// What stands where nothing is known.
pub const UNKNOWN: &str = "–";

/// A whole number with its thousands grouped: `1,234,567`.
pub fn count(n: u64) -> String {
    group(&n.to_string())
}

/// A signed difference: `0`, `+1,460`, `−12`.
pub fn difference(n: i128) -> String {
    let digits = group(&n.unsigned_abs().to_string());
    match n.signum() {
        0 => digits,
        1 => format!("+{digits}"),
        _ => format!("−{digits}"),
    }
}

fn group(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count that keeps to `width` columns: grouped, else bare digits, else with a prefix (`18.4 E`).
pub fn count_within(n: u64, width: usize) -> String {
    let grouped = count(n);
    if grouped.len() <= width {
        return grouped;
    }
    let bare = n.to_string();
    if bare.len() <= width { bare } else { prefixed(as_f64(n)) }
}

/// The nearest double.
#[allow(clippy::cast_precision_loss)]
pub fn as_f64(n: u64) -> f64 {
    n as f64
}

const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];

/// Three significant digits with a decimal prefix: `1.21 M`, `950`.
pub fn prefixed(value: f64) -> String {
    let (number, prefix) = scaled(value);
    if prefix.is_empty() { number } else { format!("{number} {prefix}") }
}

fn scaled(value: f64) -> (String, &'static str) {
    if !value.is_finite() {
        return (UNKNOWN.to_owned(), "");
    }
    let mut value = value;
    let mut prefix = 0;
    // 999.5 and more would be shown as 1000 of the smaller unit.
    while value.abs() >= 999.5 && prefix + 1 < PREFIXES.len() {
        value /= 1000.0;
        prefix += 1;
    }
    if value.abs() >= 999.5 {
        // Beyond all prefixes: nothing real, but it must not take hundreds of columns.
        return (format!("{:.0e}", value * 1e18), "");
    }
    let decimals = match value.abs() {
        _ if prefix == 0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    (format!("{value:.decimals$}"), PREFIXES[prefix])
}

/// A rate: `1.21 Mbit/s`.
pub fn rate(bps: Option<f64>) -> String {
    with_unit(bps, "bit/s")
}

/// A rate without its unit: `1.21 M`.
pub fn short_rate(bps: Option<f64>) -> String {
    bps.filter(|v| v.is_finite()).map_or_else(|| UNKNOWN.to_owned(), prefixed)
}

/// A size: `3.41 MB` (a megabyte is 1,000,000 bytes).
pub fn size(bytes: u64) -> String {
    with_unit(Some(as_f64(bytes)), "B")
}

fn with_unit(value: Option<f64>, unit: &str) -> String {
    match value.filter(|v| v.is_finite()) {
        Some(value) => {
            let (number, prefix) = scaled(value);
            format!("{number} {prefix}{unit}")
        }
        None => UNKNOWN.to_owned(),
    }
}

/// A span of time: `20.3 s`, `3 min 20 s`, `2 h 05 min`, `9 d 4 h`, `3.2 years`.
pub fn span(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return UNKNOWN.to_owned();
    }
    let whole = seconds.round();
    let part = |unit: f64, modulo: f64| (whole / unit).floor() % modulo;
    match seconds {
        s if s < 99.95 => format!("{s:.1} s"),
        s if s < 3_599.5 => format!("{:.0} min {:02.0} s", part(60.0, 60.0), part(1.0, 60.0)),
        s if s < 86_399.5 => format!("{:.0} h {:02.0} min", part(3_600.0, 24.0), part(60.0, 60.0)),
        s if s < 200.0 * 86_400.0 => format!("{:.0} d {:.0} h", part(86_400.0, 1e9), part(3_600.0, 24.0)),
        s => format!("{:.1} years", s / (365.25 * 86_400.0)),
    }
}

/// A span in at most seven columns: `20.3 s`, `3:20`, `2:05 h`, `9 d`, `3.2 y`.
pub fn short_span(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return UNKNOWN.to_owned();
    }
    let whole = seconds.round();
    match seconds {
        s if s < 99.95 => format!("{s:.1} s"),
        s if s < 3_599.5 => format!("{:.0}:{:02.0}", (whole / 60.0).floor(), whole % 60.0),
        s if s < 86_370.0 => {
            let minutes = (s / 60.0).round();
            format!("{:.0}:{:02.0} h", (minutes / 60.0).floor(), minutes % 60.0)
        }
        s if s < 1000.0 * 86_400.0 => format!("{:.0} d", s / 86_400.0),
        s => format!("{:.1} y", s / (365.25 * 86_400.0)),
    }
}

/// Seconds with as many decimals, six at most, as `width` columns leave room for.
pub fn seconds_within(seconds: f64, width: usize) -> String {
    for decimals in (0..=6).rev() {
        let text = format!("{seconds:.decimals$}");
        if text.len() <= width {
            return text;
        }
    }
    prefixed(seconds)
}

/// A short time: `40 µs`, `312 ms`, `1.24 s`.
pub fn millis(ms: Option<f64>) -> String {
    match ms.filter(|v| v.is_finite()) {
        Some(ms) if ms.abs() < 0.9995 && ms != 0.0 => format!("{:.0} µs", ms * 1000.0),
        Some(ms) if ms.abs() < 9.95 => format!("{ms:.1} ms"),
        Some(ms) if ms.abs() < 999.5 => format!("{ms:.0} ms"),
        Some(ms) if ms.abs() < 99_950.0 => format!("{:.2} s", ms / 1000.0),
        Some(ms) => short_span(ms / 1000.0),
        None => UNKNOWN.to_owned(),
    }
}

/// Up to two decimals, without trailing zeros: `29.97`, `30`.
pub fn decimal(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// An instant: `2026-11-22 19:40:12 UTC`.
pub fn instant(seconds_since_1970: f64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    whole_seconds(seconds_since_1970)
        .and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok())
        .and_then(|t| t.format(format).ok())
        .unwrap_or_else(|| UNKNOWN.to_owned())
}

#[allow(clippy::cast_possible_truncation)]
fn whole_seconds(seconds: f64) -> Option<i64> {
    // i64 holds every whole number that a double below 2^53 can be.
    (seconds.is_finite() && seconds.abs() < 9e15).then(|| seconds.floor() as i64)
}

/// `1 viewer`, `3 viewers`; the plural is made with `s`.
pub fn plural(n: u64, noun: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(n))
}

/// The length of a list as a number the other functions take.
pub fn len<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_and_give_way_to_narrow_columns() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(count_within(1_234_567, 9), "1,234,567");
        assert_eq!(count_within(1_234_567, 8), "1234567");
        assert_eq!(count_within(u64::MAX, 12), "18.4 E");
        assert_eq!([difference(0), difference(1460), difference(-12)], ["0", "+1,460", "−12"]);
    }

    #[test]
    fn rates_never_show_four_digits() {
        assert_eq!(rate(Some(999.4)), "999 bit/s");
        assert_eq!(rate(Some(999.6)), "1.00 kbit/s");
        assert_eq!(rate(Some(999_500.0)), "1.00 Mbit/s");
        assert_eq!(rate(Some(1_214_000.0)), "1.21 Mbit/s");
        assert_eq!(rate(Some(20_000_000.0)), "20.0 Mbit/s");
        assert_eq!(short_rate(Some(f64::MAX)), "2e308");
        assert_eq!(rate(None), UNKNOWN);
        assert_eq!(rate(Some(f64::NAN)), UNKNOWN);
        assert_eq!(size(0), "0 B");
    }

    #[test]
    fn spans_change_unit_without_a_gap() {
        let spans = [0.0, 99.94, 99.96, 3_599.4, 3_599.6, 86_399.6, 796_000.0, 1e8];
        let want =
            ["0.0 s", "99.9 s", "1 min 40 s", "59 min 59 s", "1 h 00 min", "1 d 0 h", "9 d 5 h", "3.2 years"];
        assert_eq!(spans.map(span), want);
        let want = ["0.0 s", "99.9 s", "1:40", "59:59", "1:00 h", "1 d", "9 d", "3.2 y"];
        assert_eq!(spans.map(short_span), want);
        assert_eq!([millis(Some(0.0412)), millis(Some(0.9996))], ["41 µs", "1.0 ms"]);
        assert_eq!(millis(Some(312.4)), "312 ms");
        assert_eq!(millis(Some(1240.0)), "1.24 s");
    }

    #[test]
    fn seconds_lose_decimals_before_they_lose_their_place() {
        assert_eq!(seconds_within(20.123_456_7, 9), "20.123457");
        assert_eq!(seconds_within(123_456.789, 9), "123456.79");
        assert_eq!(seconds_within(1e12, 9), "1.00 T");
    }

    #[test]
    fn instants_out_of_range_are_unknown() {
        assert_eq!(instant(1_763_800_000.9), "2025-11-22 08:26:40 UTC");
        assert_eq!(instant(f64::INFINITY), UNKNOWN);
        assert_eq!(instant(1e15), UNKNOWN);
    }
}
