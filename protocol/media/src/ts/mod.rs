//! MPEG-2 transport streams to elementary streams and their PES packets (ISO 13818-1).
//!
//! A [`Demuxer`] takes bytes however they are cut, or datagrams of whole packets. It finds its place by the sync bytes,
//! follows the tables, and hands on each PES packet once it is whole. What it keeps is bounded by [`LARGEST`] for each
//! of at most [`STREAMS`] streams. A [`Reader`] makes frames of the first video and the first audio stream.

mod demux;
mod frames;
mod kind;
#[cfg(test)]
mod tests;

pub use demux::{Demuxer, Event, LARGEST, STREAMS, Unit};
pub use frames::Reader;
pub use kind::Kind;
