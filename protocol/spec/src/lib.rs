//! The requirement catalogue: what peers have to do, where that is written, how it is checked and why it
//! matters.
//!
//! Each requirement is a static, `rtmp.chunk.first-chunk-type0` being [`rtmp::CHUNK_FIRST_CHUNK_TYPE0`], so a
//! rule that names a requirement which does not exist does not compile. The texts stand in the TOML files
//! beside this crate.

use std::fmt;

/// One thing a peer has to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Stable dotted name.
    pub id: &'static str,
    /// Heading it stands under.
    pub group: &'static str,
    /// What is required, in one line.
    pub title: &'static str,
    /// Document and clause.
    pub spec: &'static str,
    /// How binding it is.
    pub level: Level,
    /// Who has to do it.
    pub actor: Actor,
    /// How it shows in a capture; empty where no capture shows it.
    pub passive: &'static str,
    /// How a live peer is tested for it; empty where it is not.
    pub active: &'static str,
    /// How much a violation hurts.
    pub severity: Severity,
    /// Why it matters.
    pub teach: &'static str,
    /// Where our knowledge of it comes from.
    pub confidence: Confidence,
}

/// How binding a requirement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The specification demands it.
    Must,
    /// The specification recommends it.
    Should,
    /// No specification says so, and peers rely on it all the same.
    Convention,
    /// The specification allows it.
    May,
}

/// Who has to keep a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// The side that connects.
    Client,
    /// The side that is connected to.
    Server,
    /// Either side.
    Both,
    /// Whoever made the capture.
    Capture,
}

/// How much a violation hurts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Will hurt somebody.
    Warning,
    /// Broken.
    Error,
}

/// Where our knowledge comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// Read in the cited text.
    Spec,
    /// Seen in several implementations.
    Implementations,
    /// Our own judgement.
    Memory,
}

macro_rules! words {
    ($type:ident: $($variant:ident = $word:literal),+) => {
        impl $type {
            /// The word the catalogue and the JSON documents use.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words!(Level: Must = "must", Should = "should", Convention = "convention", May = "may");
words!(Actor: Client = "client", Server = "server", Both = "both", Capture = "capture");
words!(Severity: Info = "info", Warning = "warning", Error = "error");
words!(Confidence: Spec = "spec", Implementations = "implementations", Memory = "memory");

/// The requirement of this id.
pub fn find(id: &str) -> Option<&'static Requirement> {
    ALL.iter().copied().find(|requirement| requirement.id == id)
}

include!(concat!(env!("OUT_DIR"), "/catalogue.rs"));

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn the_catalogue_is_whole() {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for r in ALL {
            *counts.entry(r.id.split('.').next().unwrap()).or_default() += 1;
        }
        let want = [
            ("capture", 16),
            ("cmcd", 2),
            ("flv", 25),
            ("fmp4", 16),
            ("hls", 114),
            ("http", 15),
            ("robust", 7),
            ("rtcp", 16),
            ("rtmp", 155),
            ("rtp", 42),
            ("rtsp", 156),
            ("sdp", 23),
            ("sync", 6),
            ("ts", 11),
            ("udp", 3),
        ];
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), want);
    }

    #[test]
    fn ids_are_unique_and_well_formed() {
        let ids: BTreeSet<_> = ALL.iter().map(|r| r.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for id in ids {
            let parts: Vec<_> = id.split('.').collect();
            assert!((2..=3).contains(&parts.len()), "{id}");
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(parts.iter().all(|p| !p.is_empty() && p.chars().all(plain)), "{id}");
        }
    }

    #[test]
    fn no_text_is_empty() {
        for r in ALL {
            for text in [r.group, r.title, r.spec, r.teach] {
                assert!(!text.trim().is_empty(), "{}", r.id);
            }
            assert!(!r.passive.is_empty() || !r.active.is_empty(), "{} cannot be checked", r.id);
        }
    }

    #[test]
    fn a_requirement_is_found_by_its_id() {
        assert_eq!(find("rtmp.chunk.basic-header-2byte"), Some(&rtmp::CHUNK_BASIC_HEADER_2BYTE));
        assert_eq!(rtmp::CHUNK_BASIC_HEADER_2BYTE.id, "rtmp.chunk.basic-header-2byte");
        assert_eq!(find("capture.file-cut").map(|r| r.actor), Some(Actor::Capture));
        assert_eq!(find("rtmp.chunk"), None);
        assert_eq!(format!("{:<8}|", Level::Must), "must    |");
    }
}
