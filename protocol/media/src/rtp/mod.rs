//! Frames in RTP packets and back (RFC 3550, RFC 6184, RFC 3640, RFC 6416).
//!
//! In: an [`Ingest`] takes a publisher's packets and reports, brings them into order, puts frames together, gives them decoding
//! times and lines the tracks up on one timeline. Out: [`packetize`] cuts a frame into payloads that all viewers share; a
//! [`Sender`] makes one viewer's headers and reports; [`describe`] writes the session description.
//!
//! Times `now` are milliseconds since an epoch that the caller chose.

mod aac;
mod dts;
mod egress;
mod format;
mod h264;
mod ingest;
mod latm;
mod parameter;
mod piece;
mod reception;
mod reorder;
#[cfg(test)]
mod tests;
mod timeline;

pub use dts::DtsRebuilder;
pub use egress::{Anchor, Heard, MAX_PAYLOAD, Sender, packetize};
pub use format::{Format, FormatKind, Heading, describe, rtp_clock};
pub use ingest::{Counters, Ingest, IngestConfig};
pub use parameter::{Trouble, troubles};
pub use piece::Piece;
pub use reception::Reception;
pub use reorder::Reorder;
