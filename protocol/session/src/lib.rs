//! Sans-IO protocol endpoints, server and client side.
//!
//! An endpoint does no I/O and reads no clock: `session.handle(now, input)`, then `while let Some(output) =
//! session.poll()` until it is dry, then the next input. The same inputs give the same bytes.

pub mod rtmp;
pub mod rtsp;
mod time;

pub use time::Time;
