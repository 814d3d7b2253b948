//! What is known of a viewer when all is read.

use std::net::SocketAddr;

use super::{Part, ViewerNo};
use crate::finding::Note;
use crate::rules::Judged;
use crate::track::Stats;

/// All that was learnt of a viewer.
#[derive(Debug)]
pub struct Outcome {
    /// Its number.
    pub viewer: ViewerNo,
    /// The first connection's client.
    pub client: SocketAddr,
    /// The server.
    pub server: SocketAddr,
    /// Path of the stream.
    pub path: Option<String>,
    /// User-Agent.
    pub agent: Option<String>,
    /// First and last byte, nanoseconds since 1970.
    pub times: (i64, i64),
    /// Payload to the server and to the client.
    pub bytes: [u64; 2],
    /// Segments fetched.
    pub segments: u64,
    /// The first whole picture, or audio frame where there is no video, nanoseconds since 1970.
    pub first_frame_ns: Option<i64>,
    /// The connections it used, shared ones too.
    pub parts: Vec<Part>,
    /// What was carried.
    pub tracks: Vec<Stats>,
    /// True where the capture lacks nothing of it.
    pub complete: bool,
    /// What is wrong or worth knowing.
    pub notes: Vec<Note>,
    /// What the rules say.
    pub judged: Vec<Judged>,
}
