//! Tracks, frames and their timeline: what every protocol of the server carries, independent of how.
//!
//! A protocol's ingest turns its messages into [`Unit`]s, the hub hands them on, and each outgoing form turns
//! them back. Containers live in modules of their own ([`flv`], [`mp4`]).

pub mod adts;
pub mod clock;
mod describe;
pub mod flv;
mod frame;
pub mod mp4;
pub mod rtp;
mod sets;
pub mod ts;

pub use frame::{Codec, Frame, Kind, Track, Unit};
