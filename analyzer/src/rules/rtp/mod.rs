//! Rules of RTP and RTCP, told per session.

mod marker;
mod report;

use wire::rtcp;

use super::{Rule, Speech};
use crate::flow::At;

/// RTP and RTCP.
#[derive(Debug)]
pub struct Rtp;

/// What passes in a session.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A packet of a track's source.
    Packet(Packet),
    /// An RTCP datagram or block.
    Compound {
        /// Where.
        at: At,
        /// True for client to server.
        from_client: bool,
        /// Its packets.
        packets: &'a [rtcp::Packet],
    },
    /// The capture lacks bytes here.
    Hole,
}

/// The header of an RTP packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Where.
    pub at: At,
    /// Which track of the session, counted from 0.
    pub track: usize,
    /// True where the track holds H.264 or H.265.
    pub pictures: bool,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Sequence number.
    pub number: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
}

impl Speech for Rtp {
    type Event<'a> = Event<'a>;

    fn is_hole(event: &Event<'_>) -> bool {
        matches!(event, Event::Hole)
    }
}

/// Every rule of RTP and RTCP.
pub static ALL: &[&Rule<Rtp>] = &[&marker::VIDEO, &report::CNAME];
