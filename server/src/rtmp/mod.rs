//! RTMP: the listener and its connections.

mod connection;
pub mod form;
mod listener;
mod outbox;
mod part;

pub(crate) use listener::listen;
