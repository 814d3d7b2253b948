//! The Range header (RFC 9110 §14).

use std::ops::Range;

/// What of a file is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All: nothing else is asked for, or in a form that may be ignored.
    All,
    /// These bytes.
    Part(Range<usize>),
    /// Bytes that there are not.
    Outside,
}

/// Reads a Range header for a file of `length` bytes. Several ranges at once may be answered with all (§14.2).
pub fn wanted(header: Option<&str>, length: usize) -> Wanted {
    // Names of units have no case (§14.1).
    let pair = header.and_then(|h| h.trim().split_once('='));
    let Some((_, spec)) = pair.filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes")) else {
        return Wanted::All;
    };
    let Some((first, last)) = spec.split_once('-') else { return Wanted::All };
    let (first, last) = (first.trim(), last.trim());
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return Wanted::All;
    }
    // More digits than a number holds are a number beyond every file.
    let number = |text: &str| text.parse::<usize>().unwrap_or(usize::MAX);
    match (first.is_empty(), last.is_empty()) {
        (true, true) => Wanted::All,
        (true, false) => match number(last).min(length) {
            0 => Wanted::Outside,
            n => Wanted::Part(length.saturating_sub(n)..length),
        },
        (false, open) => {
            let (first, last) = (number(first), if open { usize::MAX } else { number(last) });
            if last < first {
                return Wanted::All;
            }
            if first >= length {
                return Wanted::Outside;
            }
            Wanted::Part(first..last.saturating_add(1).min(length))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_rfc_9110() {
        let of = |header| wanted(Some(header), 1000);
        assert_eq!(wanted(None, 1000), Wanted::All);
        assert_eq!(of("bytes=0-1"), Wanted::Part(0..2));
        assert_eq!(of("Bytes=0-1"), Wanted::Part(0..2));
        assert_eq!(of("bytes=0-"), Wanted::Part(0..1000));
        assert_eq!(of("bytes=990-5000"), Wanted::Part(990..1000));
        assert_eq!(of("bytes=-188"), Wanted::Part(812..1000));
        assert_eq!(of("bytes=-5000"), Wanted::Part(0..1000));
        assert_eq!(of("bytes=1000-"), Wanted::Outside);
        assert_eq!(of("bytes=99999999999999999999999-"), Wanted::Outside);
        assert_eq!(of("bytes=-0"), Wanted::Outside);
        for ignored in ["bytes=5-2", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes=+1-2"] {
            assert_eq!(of(ignored), Wanted::All, "{ignored}");
        }
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Outside);
    }
}
