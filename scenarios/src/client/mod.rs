//! Clients on real sockets.

mod connection;
mod hls;
mod publisher;
mod rtsp;
mod viewer;

pub use session::rtmp::{ClientConfig, ClientRole};

pub use hls::watch_hls;

pub use connection::{ClientError, Connection, Endpoint, Output};
pub use publisher::{How, Published, publish};
pub(crate) use rtsp::even_pair;
pub use rtsp::{Over, Prepared, publish_rtsp, watch_rtsp};
pub use viewer::{Packets, Viewed, watch};

use tokio::time::Instant;

/// Until an instant; for ever where there is none.
pub(crate) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
