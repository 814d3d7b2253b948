//! RTMP: the listener and its connections.

mod connection;
pub mod form;
mod listener;
pub mod outbox;
mod part;

pub(crate) use listener::listen;
