//! Rules of RTSP's requests and responses, told per session.

mod cseq;
mod setup;

use wire::http::Head;

use super::{Rule, Speech};
use crate::flow::At;

/// RTSP.
#[derive(Debug)]
pub struct Rtsp;

/// What passes in a session.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A request.
    Request {
        /// True for client to server.
        from_client: bool,
        /// Its CSeq, where it has a number.
        cseq: Option<u64>,
    },
    /// A final response.
    Response {
        /// True for client to server.
        from_client: bool,
        /// Where it begins.
        at: At,
        /// The status code.
        code: u16,
        /// Its CSeq, where it has a number.
        cseq: Option<u64>,
        /// The head.
        head: &'a Head<'a>,
        /// Method and URL of the request it answers, where that is known.
        request: Option<(&'a str, &'a str)>,
    },
    /// The capture lacks bytes here, or begins here.
    Hole,
}

impl Speech for Rtsp {
    type Event<'a> = Event<'a>;

    fn is_hole(event: &Event<'_>) -> bool {
        matches!(event, Event::Hole)
    }
}

/// Every rule of RTSP.
pub static ALL: &[&Rule<Rtsp>] = &[&cseq::ECHO, &setup::SESSION_ISSUED, &setup::INTERLEAVED_UNIQUE];
