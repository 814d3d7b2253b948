//! The Range header (RFC 2326 §12.29, §3.6): `npt=0-`, `npt=now-`, `npt=12:05:35.3-`.

use std::fmt;

use super::text;
use crate::cursor::Cursor;
use crate::error::{Error, Problem, Result};
use crate::trace::{Field, Trace, field};

const SPEC: &str = "RFC 2326 §3.6";
static GROUP: Field = field("Range", "RFC 2326 §12.29", "The part of the presentation that is meant.");
static UNIT: Field = field("range unit", SPEC, "npt: normal play time; clock and smpte are others.");
static FROM: Field = field("range start", SPEC, "Seconds, hh:mm:ss.fraction, or now.");
static DASH: Field = field("dash", SPEC, "Between start and end.");
static TO: Field = field("range end", SPEC, "As the start; nothing: to the end.");
static REST: Field = field("range parameter", "RFC 2326 §12.29", "time: when it is to happen.");

/// A point of normal play time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Npt {
    /// The present of a live stream.
    Now,
    /// Milliseconds from the start.
    Millis(u64),
}

/// A range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// Normal play time; either end may be open.
    Npt {
        /// Start.
        from: Option<Npt>,
        /// End.
        to: Option<Npt>,
    },
    /// In another unit, as it stands.
    Other {
        /// `clock`, `smpte`, …
        unit: String,
    },
}

impl Range {
    /// Reads a header value.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&GROUP, |c| {
            text::spaces(c)?;
            let unit = text::trimmed(c, &UNIT, b"=;")?;
            if !text::separator(c, b'=')? {
                return Err(c.error(&UNIT, Problem::Value { want: "unit=range", got: unit.len() as u64 }));
            }
            if !unit.eq_ignore_ascii_case("npt") {
                c.text(&REST, c.remaining())?;
                return Ok(Self::Other { unit });
            }
            let at = c.position() as u64;
            let from = text::trimmed(c, &FROM, b"-;")?;
            let dash = c.peek().first() == Some(&b'-');
            if dash {
                c.bytes(&DASH, 1)?;
                text::spaces(c)?;
            }
            let to = text::trimmed(c, &TO, b";")?;
            c.text(&REST, c.remaining())?;
            let point = |text: &str| match text {
                "" => Ok(None),
                text => npt(text).map(Some).ok_or_else(|| {
                    Error::value(at, FROM.name, "seconds, hh:mm:ss or now", text.len() as u64)
                }),
            };
            Ok(Self::Npt { from: point(&from)?, to: point(&to)? })
        })
    }

    /// As [`decode`](Self::decode), from text.
    pub fn parse(value: &str) -> Result<Self> {
        Self::decode(&mut Cursor::new(value.as_bytes()))
    }
}

fn npt(text: &str) -> Option<Npt> {
    if text.eq_ignore_ascii_case("now") {
        return Some(Npt::Now);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut seconds = 0u64;
    let mut parts = 0u32;
    for part in whole.split(':') {
        // "12:" is no time, "now" came before, ".5" has no whole part and is taken as 0.
        let value = if whole.is_empty() { 0 } else { text::number(part)? };
        seconds = seconds.checked_mul(60)?.checked_add(value)?;
        parts = parts.saturating_add(1);
    }
    if !fraction.bytes().all(|b| b.is_ascii_digit()) || parts > 3 {
        return None;
    }
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    let millis = text::number(&digits)?;
    Some(Npt::Millis(seconds.checked_mul(1000)?.checked_add(millis)?))
}

impl fmt::Display for Npt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Millis(ms) => write!(f, "{}.{:03}", ms / 1000, ms % 1000),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Npt { from, to } => {
                f.write_str("npt=")?;
                if let Some(from) = from {
                    write!(f, "{from}")?;
                }
                f.write_str("-")?;
                match to {
                    Some(to) => write!(f, "{to}"),
                    None => Ok(()),
                }
            }
            Self::Other { unit } => write!(f, "{unit}="),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_play_time_in_its_spellings() {
        let npt = |from, to| Range::Npt { from, to };
        let ms = |n| Some(Npt::Millis(n));
        for (text, want) in [
            ("npt=123.45-125", npt(ms(123_450), ms(125_000))),
            ("npt=12:05:35.3-", npt(ms(43_535_300), None)),
            ("npt=now-", npt(Some(Npt::Now), None)),
            ("npt=-20", npt(None, ms(20_000))),
            ("NPT = 0.000 - ;time=19970123T143720Z", npt(ms(0), None)),
            ("npt=0", npt(ms(0), None)),
        ] {
            assert_eq!(Range::parse(text), Ok(want), "{text}");
        }
        assert_eq!(Range::parse("clock=19961108T142300Z-"), Ok(Range::Other { unit: "clock".into() }));
        for bad in ["0.000-", "npt=a-", "npt=1:2:3:4-", "npt=1.x-", "npt=99999999999999999999-"] {
            assert!(Range::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(npt(ms(1_500), None).to_string(), "npt=1.500-");
    }
}
