//! What went wrong, and exactly where.

use std::fmt;

/// A decoding error: the position, what was being read, what encloses it, what was wanted and what was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Byte position in the buffer the cursor stands in (see [`Cursor::based`](crate::Cursor::based)).
    pub at: u64,
    /// The field that could not be read.
    pub field: &'static str,
    /// The structure that encloses the field; empty at top level.
    pub within: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// The kinds of trouble a decoder can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The buffer ends before the field does.
    Short {
        /// Bytes the field needs.
        want: u64,
        /// Bytes that were left.
        got: u64,
    },
    /// The value is none that the specification allows.
    Value {
        /// What would have been allowed.
        want: &'static str,
        /// The value found.
        got: u64,
    },
    /// A length or count above what we accept.
    TooLarge {
        /// The bound.
        limit: u64,
        /// The declared size.
        got: u64,
    },
    /// Values nested deeper than we follow.
    TooDeep {
        /// The bound.
        limit: u64,
    },
}

/// Shorthand for decoders.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error about a value, for code that already knows the position.
    pub fn value(at: u64, field: &'static str, want: &'static str, got: u64) -> Self {
        Self { at, field, within: "", problem: Problem::Value { want, got } }
    }

    /// An error about a size, for code that already knows the position.
    pub fn too_large(at: u64, field: &'static str, limit: u64, got: u64) -> Self {
        Self { at, field, within: "", problem: Problem::TooLarge { limit, got } }
    }

    /// True where more bytes could still make the value whole.
    pub fn is_short(&self) -> bool {
        matches!(self.problem, Problem::Short { .. })
    }

    /// The same error seen from an enclosing buffer in which this one starts at `base`.
    pub fn shifted(mut self, base: u64) -> Self {
        self.at = self.at.saturating_add(base);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.at, self.field)?;
        if !self.within.is_empty() {
            write!(f, " in {}", self.within)?;
        }
        match &self.problem {
            Problem::Short { want, got } => write!(f, ": want {want} bytes, {got} are left"),
            Problem::Value { want, got } => write!(f, ": want {want}, got {got} (0x{got:x})"),
            Problem::TooLarge { limit, got } => write!(f, ": {got} is above the limit of {limit}"),
            Problem::TooDeep { limit } => write!(f, ": nested deeper than {limit} levels"),
        }
    }
}

impl std::error::Error for Error {}
