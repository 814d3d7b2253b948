//! Conformance rules: each takes the events of one connection, session or viewer and says what it saw of one
//! requirement of the catalogue.
//!
//! A rule is a static in one of the slices `rtmp::ALL`, `rtsp::ALL`, `rtp::ALL`, `hls::ALL`: its requirement, its
//! documentation under fixed headings, and a function that makes a fresh [`Check`]. Trackers own a [`Panel`] of them
//! and tell it what passes; events borrow what the tracker has in its hands, and nothing is allocated where all is
//! well. What the capture lacks is never held against a peer: a rule that cannot judge says so.

pub mod hls;
mod panel;
pub mod rtmp;
pub mod rtp;
pub mod rtsp;

use std::fmt::Debug;

use spec::Requirement;

pub(crate) use panel::notes;
pub use panel::{Judged, Panel, Tally};

/// A family of events.
pub trait Speech: Debug + Sized + 'static {
    /// What its rules are told.
    type Event<'a>: Copy + Debug;

    /// True where this event says that the capture lacks something here.
    fn is_hole(event: &Self::Event<'_>) -> bool;
}

/// One rule at work on one connection, session or viewer.
pub trait Check<S: Speech>: Debug + Send {
    /// Takes the next event.
    fn event(&mut self, event: &S::Event<'_>, tally: &mut Tally);

    /// No more events come.
    fn end(&mut self, tally: &mut Tally) {
        let _ = tally;
    }
}

/// A rule.
#[derive(Debug)]
pub struct Rule<S: Speech> {
    /// What it is about.
    pub requirement: &'static Requirement,
    /// How it works.
    pub doc: Doc,
    /// Makes a fresh check.
    pub start: fn() -> Box<dyn Check<S>>,
}

/// What a rule does, under fixed headings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doc {
    /// Which packets it looks at.
    pub looks_at: &'static str,
    /// How it comes to its verdict, and when it gives none.
    pub judges: &'static str,
    /// Peers known to keep or to break it.
    pub peers: &'static str,
}

/// A rule without its kind of events: for listings.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// What it is about.
    pub requirement: &'static Requirement,
    /// How it works.
    pub doc: &'static Doc,
}

/// Every rule.
pub fn all() -> impl Iterator<Item = Listed> {
    fn list<S: Speech>(rules: &'static [&'static Rule<S>]) -> impl Iterator<Item = Listed> {
        rules.iter().map(|rule| Listed { requirement: rule.requirement, doc: &rule.doc })
    }
    list(rtmp::ALL).chain(list(rtsp::ALL)).chain(list(rtp::ALL)).chain(list(hls::ALL))
}

/// The rule about this requirement.
pub fn find(id: &str) -> Option<Listed> {
    all().find(|rule| rule.requirement.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_rule_is_documented_and_stands_once() {
        let ids: BTreeSet<_> = all().map(|rule| rule.requirement.id).collect();
        assert_eq!(ids.len(), all().count());
        for rule in all() {
            let id = rule.requirement.id;
            assert!(!rule.requirement.passive.is_empty(), "{id} is not about captures");
            for text in [rule.doc.looks_at, rule.doc.judges, rule.doc.peers] {
                assert!(text.ends_with('.') && text.len() > 20, "{id}: {text}");
            }
        }
    }

    #[test]
    fn every_protocol_has_three_rules_and_most_are_musts() {
        let of = |heads: &[&str]| {
            all().filter(|r| heads.iter().any(|head| r.requirement.id.starts_with(head))).count()
        };
        assert!(of(&["rtmp.", "flv."]) >= 3 && of(&["rtsp.", "rtp.", "rtcp."]) >= 3);
        assert!(of(&["hls.", "fmp4.", "http."]) >= 3);
        assert!(all().filter(|r| r.requirement.level == spec::Level::Must).count() >= 7);
        assert!(of(&["rtmp.handshake"]) <= 1);
    }
}
