//! What a media playlist says, as far as the rules need it (RFC 8216 §4.3).

use wire::hls::{self, What};

use super::url::key;

/// Segments read of one playlist.
const MAX_SEGMENTS: usize = 4096;

/// A media playlist.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// EXT-X-TARGETDURATION in seconds.
    pub target: Option<u64>,
    /// EXT-X-MEDIA-SEQUENCE: the number of the first segment; 0 without the tag.
    pub sequence: u64,
    /// The segments, oldest first.
    pub segments: Vec<Listed>,
}

/// A segment as it is listed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Listed {
    /// Key of its URL.
    pub url: u64,
    /// EXTINF in seconds.
    pub seconds: Option<f64>,
    /// True where EXT-X-DISCONTINUITY stands before it.
    pub discontinuity: bool,
}

impl List {
    /// Reads a media playlist that was fetched from `url`.
    pub fn read(bytes: &[u8], url: &str) -> Self {
        let mut list = Self::default();
        let (mut seconds, mut discontinuity) = (None, false);
        for line in hls::lines(bytes).flatten() {
            match line.what {
                What::Tag(tag) => {
                    let number = || tag.wanted().and_then(|value| value.integer()).ok();
                    match tag.name.text {
                        "EXT-X-TARGETDURATION" => list.target = number().or(list.target),
                        "EXT-X-MEDIA-SEQUENCE" => list.sequence = number().unwrap_or(0),
                        "EXTINF" => seconds = tag.segment().ok().map(|(seconds, _)| seconds),
                        "EXT-X-DISCONTINUITY" => discontinuity = true,
                        _ => {}
                    }
                }
                What::Uri(_) if list.segments.len() >= MAX_SEGMENTS => break,
                What::Uri(uri) => list.segments.push(Listed {
                    url: key(&hls::resolve(url, uri.text)),
                    seconds: seconds.take(),
                    discontinuity: std::mem::take(&mut discontinuity),
                }),
                What::Blank | What::Comment(_) => {}
            }
        }
        list
    }

    /// The segments with their media sequence numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (u64, &Listed)> {
        (self.sequence..).zip(&self.segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_numbered() {
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:3.5,\na.ts\n\
                    #EXT-X-DISCONTINUITY\n#EXTINF:4,x\nb.ts\n";
        let list = List::read(text.as_bytes(), "/live/v.m3u8");
        assert_eq!((list.target, list.sequence), (Some(4), 7));
        let seen: Vec<_> = list.numbered().map(|(n, s)| (n, s.seconds, s.discontinuity)).collect();
        assert_eq!(seen, [(7, Some(3.5), false), (8, Some(4.0), true)]);
        assert_eq!(list.segments.first().map(|s| s.url), Some(key("/live/a.ts")));
    }
}
