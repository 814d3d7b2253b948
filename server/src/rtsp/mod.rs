//! RTSP: the listener, its connections, and the pair of UDP ports that all of them share.

mod connection;
mod describing;
mod egress;
mod pacer;
mod part;
mod playing;
mod ports;
mod publishing;
mod receive;
mod roaming;
mod socket;
mod spread;

pub(crate) use connection::listen;
pub(crate) use ports::Ports;
pub(crate) use receive::receive;
