//! RTMP: the listener and its connections.

mod connection;
pub mod form;
mod part;

pub(crate) use connection::listen;
