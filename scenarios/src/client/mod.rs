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
pub use rtsp::{Over, Prepared, publish_rtsp, watch_rtsp};
pub use viewer::{Packets, Viewed, watch};
