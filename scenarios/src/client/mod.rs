//! Clients on real sockets.

mod connection;
mod hls;
mod publisher;
mod viewer;

pub use session::rtmp::{ClientConfig, ClientRole};

pub use hls::watch_hls;

pub use connection::{ClientError, Connection};
pub use publisher::{How, Published, publish};
pub use viewer::{Viewed, watch};
