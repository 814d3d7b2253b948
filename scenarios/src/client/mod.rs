//! RTMP clients on real sockets.

mod connection;
mod publisher;
mod viewer;

pub use connection::{ClientError, Connection};
pub use publisher::{Published, publish};
pub use viewer::{Viewed, watch};
