//! Passive protocol trackers: a second, separate reading of the specifications, fed with what flows past.

mod codec;
pub mod hls;
pub mod http;
pub mod ongoing;
pub mod rtmp;
pub mod rtp;
pub mod rtsp;
mod stats;
pub mod ts;
pub mod udp;

pub use stats::{CodecInfo, Network, Stats};
