//! Faults: ways to break a protocol on purpose, so that others can see their rules, their players and their students
//! at work.
//!
//! A fault is a static in one of the slices `rtmp::ALL`, `rtsp::ALL`, `hls::ALL`: what it does, and which requirements
//! of the catalogue that breaks, each by its constant. It stands between a session and the socket: what the session
//! says is taken apart, changed and written again, so that the session itself stays right, and so does everything that
//! the fault does not name. Where no fault is on, all of this is one branch.

pub(crate) mod hls;
mod mp4;
pub(crate) mod rtmp;
pub(crate) mod rtsp;

use std::fmt;

use model::Protocol;
use spec::Requirement;

/// A way to break a protocol.
pub struct Fault {
    /// Stable dotted name.
    pub id: &'static str,
    /// What is wrong then, in one line.
    pub title: &'static str,
    /// What the server does, and when.
    pub does: &'static str,
    /// The requirements that this breaks; all others are kept.
    pub breaks: &'static [&'static Requirement],
    how: How,
}

/// What is changed, and by what.
#[derive(Clone, Copy)]
enum How {
    /// The messages of a block that an RTMP session sends.
    Messages(rtmp::Change),
    /// The answers of an RTSP session.
    Answers(rtsp::Change),
    /// The headers of RTP packets.
    Rtp(rtsp::HeaderChange),
    /// Compound packets of RTCP.
    Rtcp(rtsp::CompoundChange),
    /// Playlists.
    Playlists(hls::Change),
    /// Media segments.
    Segments(hls::SegmentChange),
}

impl Fault {
    /// Whose clients see it.
    pub fn protocol(&self) -> Protocol {
        match self.how {
            How::Messages(_) => Protocol::Rtmp,
            How::Answers(_) | How::Rtp(_) | How::Rtcp(_) => Protocol::Rtsp,
            How::Playlists(_) | How::Segments(_) => Protocol::Hls,
        }
    }
}

/// An id names one fault.
impl PartialEq for Fault {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Fault {}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

/// Every fault.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    [rtmp::ALL, rtsp::ALL, hls::ALL].into_iter().flatten().copied()
}

/// The fault of this id.
pub fn find(id: &str) -> Option<&'static Fault> {
    all().find(|fault| fault.id == id)
}

/// The changes of some faults that are of one kind.
fn of<T>(faults: &[&'static Fault], kind: impl Fn(How) -> Option<T>) -> Vec<T> {
    faults.iter().filter_map(|fault| kind(fault.how)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_is_documented_and_stands_once() {
        let ids: BTreeSet<_> = all().map(|fault| fault.id).collect();
        assert_eq!(ids.len(), all().count());
        for fault in all() {
            let id = fault.id;
            assert!(!fault.breaks.is_empty(), "{id} breaks nothing");
            // It stands beside its id in 80 columns.
            assert!((15..50).contains(&fault.title.len()) && id.len() <= 28, "{id}: {}", fault.title);
            assert!(!fault.title.ends_with('.'), "{id}: {}", fault.title);
            assert!(fault.does.ends_with('.') && fault.does.len() > 30, "{id}: {}", fault.does);
            assert_eq!(find(id), Some(fault));
        }
        assert_eq!(find("rtmp.no-such"), None);
    }

    #[test]
    fn every_protocol_has_faults() {
        for protocol in [Protocol::Rtmp, Protocol::Rtsp, Protocol::Hls] {
            assert!(all().filter(|fault| fault.protocol() == protocol).count() >= 2, "{protocol:?}");
        }
    }
}
