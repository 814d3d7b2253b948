//! The Real-Time Messaging Protocol, Adobe's specification 1.0 of 2012.

pub mod chunk;
pub mod digest;
pub mod handshake;
pub mod message;
pub mod reader;
