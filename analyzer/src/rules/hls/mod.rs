//! Rules of HLS, told per viewer.

mod identity;
mod list;
mod media;
mod target;
pub(crate) mod url;

use super::{Rule, Speech};
use crate::flow::At;

pub use list::{List, Listed};

/// HLS.
#[derive(Debug)]
pub struct Hls;

/// What a viewer gets.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A whole media playlist.
    Playlist {
        /// Where its last byte is.
        at: At,
        /// The URL it was asked for by.
        url: &'a str,
        /// Content-Type of the response.
        content_type: Option<&'a str>,
        /// What stands in it.
        list: &'a List,
    },
    /// The first bytes of a media segment.
    Segment {
        /// Where.
        at: At,
        /// The URL it was asked for by.
        url: &'a str,
        /// True where the playlist gives an initialization section for it.
        has_map: bool,
        /// The bytes.
        head: &'a [u8],
    },
    /// A track's part of a movie fragment.
    Fragment(Fragment),
    /// The capture lacks bytes here.
    Hole,
}

/// A track's part of a movie fragment.
#[derive(Clone, Copy, Debug)]
pub struct Fragment {
    /// Where in the capture.
    pub at: At,
    /// Key of the segment's URL.
    pub segment: u64,
    /// Where in the segment, in bytes.
    pub place: u64,
    /// Key of the initialization section and the track's number there.
    pub track: (u64, u32),
    /// Its decode time in ticks; none where it has no `tfdt`.
    pub from: Option<u64>,
    /// What its samples last, in ticks.
    pub lasts: u64,
    /// What each of them lasts, where they are all alike.
    pub each: Option<u64>,
    /// Ticks in a second.
    pub timescale: u32,
}

impl Speech for Hls {
    type Event<'a> = Event<'a>;

    fn is_hole(event: &Event<'_>) -> bool {
        matches!(event, Event::Hole)
    }
}

/// Every rule of HLS.
pub static ALL: &[&Rule<Hls>] = &[
    &target::DURATION,
    &target::IMMUTABLE,
    &identity::SEGMENT,
    &media::MAP_REQUIRED,
    &media::DECODE_TIME,
    &media::MIME_PLAYLIST,
];
