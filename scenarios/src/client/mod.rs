//! Clients on real sockets.

mod connection;
mod hls;
mod line;
mod others;
mod publisher;
mod rtsp;
mod viewer;

pub use session::rtmp::{ClientConfig, ClientRole};

pub use hls::watch_hls;
pub use line::{Abort, Place, Seen};
pub use others::{Told, watch_retina, watch_rml};

pub use connection::{ClientError, Connection, Endpoint, Output};
pub use publisher::{How, Published, publish};
pub(crate) use rtsp::even_pair;
pub use rtsp::{Over, Prepared, publish_rtsp, watch_rtsp};
pub use viewer::{Packets, Viewed, watch};

use tokio::sync::watch;
use tokio::time::Instant;

/// Until an instant; for ever where there is none.
pub(crate) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Until somebody says stop, or nobody is left to say it.
pub(crate) async fn told(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
