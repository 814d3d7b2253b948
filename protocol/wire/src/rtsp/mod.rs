//! RTSP 1.0: messages, the `$` frames between them, and the headers that carry structure (RFC 2326).
//!
//! ```text
//! METHOD SP URI SP RTSP/1.0 CRLF          RTSP/1.0 SP code SP reason CRLF
//! *( name ":" value CRLF )                *( name ":" value CRLF )
//! CRLF                                    CRLF
//! [ body of Content-Length bytes ]        [ body of Content-Length bytes ]
//!
//! '$' channel(8) length(16) one RTP or RTCP packet                             (§10.12)
//! ```
//!
//! [`frame`] says how far the next unit of a stream reaches, [`Head::decode`] takes a head apart. Reading is lenient where
//! peers are known to be sloppy: a bare LF, blank lines before a message, folded headers, lines without a colon. Sizes are
//! bounded, so that nobody has to hold more than [`MAX_HEAD`] and [`MAX_BODY`] for a peer.

mod framer;
mod head;
mod info;
mod range;
mod session;
pub(crate) mod text;
mod transport;

pub use framer::{Framed, INTERLEAVED_HEADER, Interleaved, MAX_BODY, MAX_HEAD, MAX_HEADERS, MAX_LINE, frame};
pub use head::{Head, Header, Headers, Start, status_text};
pub use info::RtpInfo;
pub use range::{Npt, Range};
pub use session::{DEFAULT_TIMEOUT, SessionId};
pub use transport::{Lower, Mode, Transport};

/// The version everybody speaks.
pub const VERSION: &str = "RTSP/1.0";
