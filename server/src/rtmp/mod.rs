//! RTMP: the listener and its connections.

mod connection;
mod part;

pub(crate) use connection::listen;
