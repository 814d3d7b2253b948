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

/// The place `bytes` further on.
fn advance(at: crate::flow::At, bytes: usize) -> crate::flow::At {
    crate::flow::At { offset: at.offset.saturating_add(bytes as u64), ..at }
}
