//! Reading text formats through a cursor.

use crate::cursor::Cursor;
use crate::error::Result;
use crate::trace::{Field, Trace, field};

pub(crate) static LINE_END: Field = field("line end", "RFC 2326 §4", "CRLF; a bare LF is seen and accepted.");
pub(crate) static SPACE: Field = field("white space", "RFC 2326 §15.1", "Spaces and tabs.");
pub(crate) static SEPARATOR: Field = field("separator", "RFC 2326 §15.1", "What stands between two values.");

/// Takes bytes up to one of `stops` or the end.
pub(crate) fn until<T: Trace>(c: &mut Cursor<'_, T>, what: &'static Field, stops: &[u8]) -> Result<String> {
    let rest = c.peek();
    let n = rest.iter().position(|b| stops.contains(b)).unwrap_or(rest.len());
    c.text(what, n)
}

/// As [`until`], with the white space at its end read apart.
pub(crate) fn trimmed<T: Trace>(c: &mut Cursor<'_, T>, what: &'static Field, stops: &[u8]) -> Result<String> {
    let rest = c.peek();
    let n = rest.iter().position(|b| stops.contains(b)).unwrap_or(rest.len());
    let value = rest.get(..n).unwrap_or_default();
    let kept = value.iter().rposition(|b| !is_blank(*b)).map_or(0, |last| last.saturating_add(1));
    let text = c.text(what, kept)?;
    spaces(c)?;
    Ok(text)
}

/// Takes spaces and tabs.
pub(crate) fn spaces<T: Trace>(c: &mut Cursor<'_, T>) -> Result<()> {
    let rest = c.peek();
    let n = rest.iter().position(|b| !is_blank(*b)).unwrap_or(rest.len());
    c.bytes(&SPACE, n).map(|_| ())
}

/// Takes `byte`, with spaces around it, where it is next.
pub(crate) fn separator<T: Trace>(c: &mut Cursor<'_, T>, byte: u8) -> Result<bool> {
    let rest = c.peek();
    let before = rest.iter().position(|b| !is_blank(*b)).unwrap_or(rest.len());
    if rest.get(before) != Some(&byte) {
        return Ok(false);
    }
    let behind = rest.get(before.saturating_add(1)..).unwrap_or_default();
    let after = behind.iter().position(|b| !is_blank(*b)).unwrap_or(behind.len());
    c.bytes(&SEPARATOR, before.saturating_add(1).saturating_add(after))?;
    Ok(true)
}

/// Takes CRLF or LF, where one is next.
pub(crate) fn line_end<T: Trace>(c: &mut Cursor<'_, T>) -> Result<bool> {
    let n = match c.peek() {
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => return Ok(false),
    };
    c.bytes(&LINE_END, n).map(|_| true)
}

pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Bytes of the line that is next, its end left out, and of that end: 0 where the text ends first.
pub(crate) fn line(bytes: &[u8]) -> (usize, usize) {
    match bytes.iter().position(|b| *b == b'\n') {
        None => (bytes.len(), 0),
        Some(end) => match end.checked_sub(1) {
            Some(before) if bytes.get(before) == Some(&b'\r') => (before, 2),
            _ => (end, 1),
        },
    }
}

/// Digits of a decimal number and nothing else.
pub(crate) fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}
