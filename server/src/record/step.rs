//! What a recording has its writer do.

use std::sync::Arc;

use bytes::Bytes;
use media::Track;
use session::Time;

/// What is to be done with the file.
#[derive(Debug)]
pub enum Step {
    /// Begin a file of this extension with these tracks, whose first frame came at this time.
    Open(&'static str, Vec<Arc<Track>>, Time),
    /// Append, after which the file holds so many microseconds; then overwrite bytes within.
    Write(Vec<Bytes>, u64, Vec<(u64, Bytes)>),
    /// The file is whole.
    Close,
}
