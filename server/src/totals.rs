//! What has gone through a stream.

use std::sync::atomic::AtomicU64;

/// Bytes of ended clients of one stream; the living are added when somebody asks.
#[derive(Debug, Default)]
pub struct StreamTotals {
    /// From publishers.
    pub bytes_in: AtomicU64,
    /// To viewers.
    pub bytes_out: AtomicU64,
}
