//! RTSP endpoints, server and client side (RFC 2326).
//!
//! Sessions carry control: requests, answers, who sends what where, who is still there. RTP and RTCP are made and read by
//! `media::rtp`; what a server sends to viewers its driver writes itself, what arrives interleaved comes out as
//! [`Event::Packet`]. Packets on UDP never pass through a session: the driver tells it [`Input::Alive`].
//!
//! A connection has one session at a time, and a session ends with its connection. One that plays over UDP goes on without it, as
//! long as its player is heard of, and takes requests that come on another (RFC 2326 §1.1).

mod client;
mod inbox;
mod io;
mod offer;
mod plain;
mod request;
mod server;
mod url;

pub use crate::rtmp::Reason;
pub use client::{Client, ClientConfig, ClientRole};
pub use io::{Action, Carry, Event, Input, Output, Refusal, ServerConfig, TrackStart};
pub use plain::{Plain, PlainAction, PlainInput, PlainOutput};
pub use server::Server;
