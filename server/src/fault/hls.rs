//! Faults of HLS: playlists and segments that are not as they should be.

use std::fmt::Write as _;

use bytes::Bytes;

use super::mp4::decode_times;
use super::{Fault, How, of};

/// Changes a playlist.
pub(super) type Change = fn(&mut Playlist);
/// Changes a media segment, which has this number.
pub(super) type SegmentChange = fn(u64, &mut Vec<u8>);

/// Every fault of HLS.
pub(super) static ALL: &[&Fault] = &[
    &SEGMENT_TOO_LONG,
    &TARGET_DURATION_CHANGES,
    &SEGMENT_RENAMED,
    &MAP_MISSING,
    &TIMES_APART,
    &PLAYLIST_AS_HTML,
];

const TARGET: &str = "#EXT-X-TARGETDURATION:";
const SEQUENCE: &str = "#EXT-X-MEDIA-SEQUENCE:";
const MAP: &str = "#EXT-X-MAP:";
const SEGMENT: &str = "#EXTINF:";
/// Ticks by which times are moved: of no clock the length of a frame.
const APART: u64 = 777;

static SEGMENT_TOO_LONG: Fault = Fault {
    id: "hls.segment-too-long",
    title: "Segments are longer than the target duration",
    does: "EXT-X-TARGETDURATION is half of what it should be, rounded down, as long as the stream lives.",
    breaks: &[&spec::hls::MEDIA_PLAYLIST_TARGET_DURATION],
    how: How::Playlists(|list| list.target(|target, _| target.div_euclid(2))),
};

static TARGET_DURATION_CHANGES: Fault = Fault {
    id: "hls.target-duration-changes",
    title: "The target duration changes",
    does: "EXT-X-TARGETDURATION is a second longer in every second version of the playlist.",
    breaks: &[&spec::hls::LIVE_TARGET_DURATION_IMMUTABLE],
    how: How::Playlists(|list| list.target(|target, version| target.saturating_add(version.rem_euclid(2)))),
};

static SEGMENT_RENAMED: Fault = Fault {
    id: "hls.segment-renamed",
    title: "A media sequence number stands for another URI",
    does: "The URI of every segment has a parameter that counts the versions of the playlist, so that all of them change \
           with each new segment. The bytes behind them stay.",
    breaks: &[&spec::hls::LIVE_SEGMENT_IDENTITY],
    how: How::Playlists(|list| {
        let version = list.version();
        let mut is_uri = false;
        list.lines(|line, out| {
            out.push_str(line);
            if std::mem::replace(&mut is_uri, line.starts_with(SEGMENT)) {
                let joint = if line.contains('?') { '&' } else { '?' };
                let _ = write!(out, "{joint}list={version}");
            }
            out.push('\n');
        });
    }),
};

static MAP_MISSING: Fault = Fault {
    id: "hls.map-missing",
    title: "Segments are listed without EXT-X-MAP",
    does: "EXT-X-MAP is left out of media playlists: nobody can decode the segments.",
    breaks: &[&spec::hls::MAP_REQUIRED],
    how: How::Playlists(|list| {
        list.lines(|line, out| {
            if !line.starts_with(MAP) {
                out.push_str(line);
                out.push('\n');
            }
        });
    }),
};

static TIMES_APART: Fault = Fault {
    id: "hls.times-apart",
    title: "Segments do not begin where the one before ends",
    does: "The decode times of every second segment are 777 ticks late: there is a gap before and an overlap behind it.",
    breaks: &[&spec::fmp4::MOOF_BASE_MEDIA_DECODE_TIME],
    how: How::Segments(|number, bytes| {
        if number.rem_euclid(2) == 1 {
            decode_times(bytes, |time| time.saturating_add(APART));
        }
    }),
};

static PLAYLIST_AS_HTML: Fault = Fault {
    id: "hls.playlist-as-html",
    title: "Playlists are sent as web pages",
    does: "The Content-Type of playlists is text/html.",
    breaks: &[&spec::http::MIME_PLAYLIST],
    how: How::Playlists(|list| list.content = "text/html"),
};

/// A playlist that is about to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Playlist {
    /// Its lines.
    pub text: String,
    /// Its Content-Type.
    pub content: &'static str,
}

impl Playlist {
    /// Writes every line anew.
    fn lines(&mut self, mut write: impl FnMut(&str, &mut String)) {
        let mut out = String::with_capacity(self.text.len());
        self.text.lines().for_each(|line| write(line, &mut out));
        self.text = out;
    }

    /// Sets the target duration, given the one there is and the playlist's version.
    fn target(&mut self, to: impl Fn(u64, u64) -> u64) {
        let version = self.version();
        self.lines(|line, out| {
            match line.strip_prefix(TARGET).and_then(|target| target.parse().ok()) {
                Some(target) => {
                    let _ = write!(out, "{TARGET}{}", to(target, version));
                }
                None => out.push_str(line),
            }
            out.push('\n');
        });
    }

    /// How many segments there have been: it rises with each.
    fn version(&self) -> u64 {
        let first = self.text.lines().find_map(|line| line.strip_prefix(SEQUENCE)?.parse().ok());
        let listed = self.text.lines().filter(|line| line.starts_with(SEGMENT)).count();
        u64::try_from(listed).unwrap_or(0).saturating_add(first.unwrap_or(0))
    }
}

/// What the faults do to answers.
#[derive(Debug)]
pub(crate) struct Breaker {
    playlists: Vec<Change>,
    segments: Vec<SegmentChange>,
}

impl Breaker {
    /// None where none of these faults is one of HLS.
    pub fn new(faults: &[&'static Fault]) -> Option<Self> {
        let playlists = of(faults, |how| match how {
            How::Playlists(change) => Some(change),
            _ => None,
        });
        let segments = of(faults, |how| match how {
            How::Segments(change) => Some(change),
            _ => None,
        });
        (!(playlists.is_empty() && segments.is_empty())).then_some(Self { playlists, segments })
    }

    /// Changes a playlist.
    pub fn playlist(&self, list: &mut Playlist) {
        self.playlists.iter().for_each(|change| change(list));
    }

    /// What leaves in place of a file: only media segments have a number.
    pub fn file(&self, name: &str, bytes: Bytes) -> Bytes {
        let number = name.strip_suffix(".m4s").and_then(|number| number.parse().ok());
        let Some(number) = number.filter(|_| !self.segments.is_empty()) else { return bytes };
        let mut changed = bytes.to_vec();
        self.segments.iter().for_each(|change| change(number, &mut changed));
        changed.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n\
                        #EXT-X-MAP:URI=\"init-7.mp4?session=q\"\n#EXTINF:2.000000,\n7.m4s?session=q\n\
                        #EXTINF:2.000000,\n8.m4s\n";

    fn passed(fault: &'static Fault) -> Playlist {
        let mut list = Playlist { text: LIST.to_owned(), content: "list" };
        Breaker::new(&[fault]).unwrap().playlist(&mut list);
        list
    }

    #[test]
    fn playlists_change_where_the_fault_says_so_and_nowhere_else() {
        let text = |fault| {
            let Playlist { text, content } = passed(fault);
            assert_eq!(content, "list");
            text
        };
        assert_eq!(text(&SEGMENT_TOO_LONG), LIST.replace("DURATION:2", "DURATION:1"));
        assert_eq!(text(&TARGET_DURATION_CHANGES), LIST.replace("DURATION:2", "DURATION:3"));
        let renamed =
            LIST.replace("7.m4s?session=q", "7.m4s?session=q&list=9").replace("8.m4s", "8.m4s?list=9");
        assert_eq!(text(&SEGMENT_RENAMED), renamed);
        assert_eq!(text(&MAP_MISSING), LIST.replace("#EXT-X-MAP:URI=\"init-7.mp4?session=q\"\n", ""));
        assert_eq!(passed(&PLAYLIST_AS_HTML), Playlist { text: LIST.to_owned(), content: "text/html" });
    }

    #[test]
    fn only_every_second_segment_is_moved() {
        let breaker = Breaker::new(&[&TIMES_APART]).unwrap();
        let segment = Bytes::from_static(b"\0\0\0\x1cmoof\0\0\0\x14traf\0\0\0\x14tfdt\0\0\0\0\0\0\x01\0");
        assert_eq!(breaker.file("8.m4s", segment.clone()), segment);
        assert_eq!(breaker.file("init-7.mp4", segment.clone()), segment);
        assert!(Breaker::new(super::super::rtsp::ALL).is_none());
    }
}
