//! Wire formats of live streaming: bytes to values and back, with positions.
//!
//! Everything here is a pure function of bytes: no I/O, no clock, no randomness, no threads, no logging.
//! A decoder reads through a [`Cursor`] and nothing else, so every byte it consumed has a named [`Field`];
//! with `Cursor<()>` that costs next to nothing, with `Cursor<Tree>` the same decoder yields a field tree.
//!
//! Each module has the same parts in the same order: the wire diagram and its clause, the fields, the value
//! type, `decode`, `encode`, tests.

pub mod amf0;
pub mod amf3;
pub mod codec;
pub mod cursor;
pub mod error;
pub mod flv;
pub mod hls;
pub mod http;
pub mod mp4;
pub mod net;
pub mod pcap;
pub mod pcapng;
pub mod rtcp;
pub mod rtmp;
pub mod rtp;
pub mod rtsp;
pub mod sdp;
pub mod trace;
pub mod ts;

pub use cursor::Cursor;
pub use error::{Error, Problem, Result};
pub use trace::{Field, Node, Trace, Tree, Value};
