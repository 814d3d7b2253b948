//! RTMP endpoints, server and client side.
//!
//! Sessions carry control: handshake, commands, status, acknowledgements. Media a server sends to viewers is
//! written by its driver as blocks that all viewers share; media that arrives comes out as events.

mod client;
mod commands;
mod greeting;
mod io;
mod link;
mod path;
mod plain;
mod server;
mod welcome;

pub use client::{Client, ClientConfig, ClientRole};
pub use io::{Action, Event, Input, MediaKind, Output, Reason, Refusal};
pub use path::{PathError, stream_path, valid_path};
pub use plain::{Plain, PlainInput, PlainOutput};
pub use server::{Server, ServerConfig};

/// Chunk streams both sides use for what they send; the numbers are those of common encoders.
pub mod csid {
    /// Protocol control and user control messages (RTMP 1.0 §5.4).
    pub const CONTROL: u32 = 2;
    /// Commands of the connection.
    pub const COMMAND: u32 = 3;
    /// Audio.
    pub const AUDIO: u32 = 4;
    /// Status and data of a message stream.
    pub const STATUS: u32 = 5;
    /// Video.
    pub const VIDEO: u32 = 6;
}
