//! Why a capture could not be read, and where.

use std::{fmt, io};

/// Why a capture, or a part of it, could not be read.
#[derive(Debug)]
pub struct CaptureError {
    /// The file's name as given.
    pub file: String,
    /// Byte position in the file.
    pub at: u64,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a capture.
#[derive(Debug)]
pub enum Problem {
    /// The file could not be read.
    Io(io::Error),
    /// Not a format we read; the text says what it is and what helps.
    Format(String),
    /// The file ends in the middle of a packet or block.
    Cut {
        /// What was begun.
        inside: &'static str,
        /// Its length in bytes.
        want: u64,
        /// Bytes of it that are there.
        got: u64,
    },
    /// A block or record contradicts itself or the blocks before it.
    Damaged(wire::Error),
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.problem.at(self.at))
    }
}

impl Problem {
    /// The problem with its position, without the file's name.
    pub fn at(&self, at: u64) -> impl fmt::Display + '_ {
        struct Placed<'a>(&'a Problem, u64);
        impl fmt::Display for Placed<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    Problem::Io(error) if self.1 == 0 => write!(f, "{error}"),
                    Problem::Io(error) => write!(f, "byte {}: {error}", self.1),
                    Problem::Format(what) => write!(f, "byte {}: {what}", self.1),
                    Problem::Cut { inside, want, got } => {
                        write!(
                            f,
                            "byte {}: the file ends inside {inside}: want {want} bytes, {got} are left",
                            self.1
                        )
                    }
                    Problem::Damaged(error) => write!(f, "{error}"),
                }
            }
        }
        Placed(self, at)
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            Problem::Damaged(error) => Some(error),
            Problem::Format(_) | Problem::Cut { .. } => None,
        }
    }
}
