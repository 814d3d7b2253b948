//! When each frame of a session was there: for questions that figures over a whole session cannot answer.
//!
//! Marks are kept only where [`Options::trace`](crate::Options::trace) asks for them, for they grow with the length of what is
//! read: 24 bytes a frame.

use model::TrackKind;

/// One picture or audio frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When its last byte was captured, in nanoseconds since 1970; of HLS when the head of its fragment was.
    pub arrived_ns: i64,
    /// Presentation time in milliseconds of the session's own timeline, without wrap-around.
    pub pts_ms: i64,
    /// Whether a decoder can start at it; always false for sound.
    pub key: bool,
}

/// The frames of one track, in the order they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Id of the session in the analysis.
    pub session: String,
    /// Pictures or sound.
    pub kind: TrackKind,
    /// Each frame.
    pub marks: Vec<Mark>,
}
