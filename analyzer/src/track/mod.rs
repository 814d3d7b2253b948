//! Passive protocol trackers: a second, separate reading of the specifications, fed with what flows past.

pub mod rtmp;
mod stats;

pub use stats::{CodecInfo, Stats};
