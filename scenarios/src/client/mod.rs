//! RTMP clients on real sockets.

mod connection;
mod publisher;
mod viewer;

pub use session::rtmp::{ClientConfig, ClientRole};

pub use connection::{ClientError, Connection};
pub use publisher::{How, Published, publish};
pub use viewer::{Viewed, watch};
