//! How the program ends. Scripts rely on these numbers.

use std::fmt::Display;
use std::process::ExitCode;

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 0: as expected.
    Expected,
    /// 1: at least one unexpected result.
    Unexpected,
    /// 2: wrong usage or unreadable input.
    Usage,
    /// 3: the target or the environment kept us from doing the work.
    Environment,
    /// 4: nothing was selected.
    NothingSelected,
    /// 130: interrupted; reports are written all the same.
    Interrupted,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(match code {
            Code::Expected => 0,
            Code::Unexpected => 1,
            Code::Usage => 2,
            Code::Environment => 3,
            Code::NothingSelected => 4,
            Code::Interrupted => 130,
        })
    }
}

/// A failure: what to tell the user, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// One line, without the program's name.
    pub message: String,
    /// The exit code.
    pub code: Code,
}

impl Failure {
    /// Wrong usage or unreadable input.
    pub fn usage(message: impl Display) -> Self {
        Self { message: message.to_string(), code: Code::Usage }
    }

    /// The environment kept us from doing the work.
    pub fn environment(message: impl Display) -> Self {
        Self { message: message.to_string(), code: Code::Environment }
    }
}

/// How a command ends.
pub type Ended = Result<Code, Failure>;
