//! The Session header (RFC 2326 §12.37): `id[;timeout=seconds]`.

use super::text;
use crate::cursor::Cursor;
use crate::error::Result;
use crate::trace::{Field, Trace, field};

const SPEC: &str = "RFC 2326 §12.37";
static GROUP: Field = field("Session", SPEC, "Which session a message is about.");
static ID: Field = field("session id", SPEC, "At least eight characters, hard to guess.");
static PARAMETER: Field =
    field("session parameter", SPEC, "timeout: seconds of silence after which it ends.");
static VALUE: Field = field("session parameter value", SPEC, "Seconds.");

/// Seconds until a silent session ends where nothing was said (§12.37).
pub const DEFAULT_TIMEOUT: u32 = 60;

/// A Session header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionId {
    /// The id.
    pub id: String,
    /// Seconds, where they were said.
    pub timeout: Option<u32>,
}

impl SessionId {
    /// Reads a header value.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&GROUP, |c| {
            text::spaces(c)?;
            let id = text::trimmed(c, &ID, b";")?;
            let mut timeout = None;
            while text::separator(c, b';')? {
                let name = text::trimmed(c, &PARAMETER, b"=;")?;
                if text::separator(c, b'=')? {
                    let value = text::trimmed(c, &VALUE, b";")?;
                    let seconds = text::number(&value).and_then(|n| u32::try_from(n).ok());
                    if name.eq_ignore_ascii_case("timeout") && timeout.is_none() {
                        timeout = seconds.filter(|n| *n > 0);
                    }
                }
            }
            Ok(Self { id, timeout })
        })
    }

    /// As [`decode`](Self::decode), from text.
    pub fn parse(value: &str) -> Self {
        let empty = || Self { id: String::new(), timeout: None };
        Self::decode(&mut Cursor::new(value.as_bytes())).unwrap_or_else(|_| empty())
    }

    /// Seconds until a silent session ends.
    pub fn timeout_s(&self) -> u32 {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.id)?;
        match self.timeout {
            Some(seconds) => write!(f, ";timeout={seconds}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_with_and_without_timeout() {
        assert_eq!(SessionId::parse("47112344;timeout=60").timeout, Some(60));
        assert_eq!(SessionId::parse(" 47112344 ; Timeout = 10 ; x").to_string(), "47112344;timeout=10");
        let bare = SessionId::parse("12345678");
        assert_eq!((bare.id.as_str(), bare.timeout_s()), ("12345678", 60));
        for broken in ["a;timeout=0", "a;timeout=x", "a;timeout", "a;timeout=99999999999"] {
            assert_eq!(SessionId::parse(broken), SessionId { id: "a".to_owned(), timeout: None }, "{broken}");
        }
    }
}
