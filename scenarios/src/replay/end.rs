//! How replays end.

use std::fmt;

/// How a replay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything was sent.
    Whole,
    /// The server refused what it had accepted in the capture.
    Refused(String),
    /// The server closed the connection before everything was sent.
    Closed(String),
    /// The server broke the protocol.
    Broken(String),
    /// The server does not answer, takes nothing, or speaks something else.
    Unusable(String),
    /// The capture lacks something that cannot be left out.
    Unplayable(String),
    /// An answer differed, and that was to be the end.
    Differs,
    /// Somebody wanted it to end.
    Interrupted,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("everything was sent"),
            Self::Refused(why) | Self::Broken(why) | Self::Unusable(why) | Self::Unplayable(why) => {
                f.write_str(why)
            }
            Self::Closed(why) => write!(f, "the server ended it: {why}"),
            Self::Differs => f.write_str("ended at the first answer that differs"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}
