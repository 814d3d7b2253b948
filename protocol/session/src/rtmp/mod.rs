//! RTMP endpoints.

mod io;

pub use io::{Action, Event, Input, MediaKind, Output, Reason, Refusal};
