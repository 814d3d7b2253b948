//! What a playlist lists, as far as telling viewers apart needs it (RFC 8216 §4.3).

use wire::hls::{self, What};

use crate::rules::hls::url::key;

/// References read in one playlist.
const MAX_REFERENCES: usize = 4096;

/// A playlist's references, absolute.
#[derive(Clone, Debug, Default)]
pub(super) struct Playlist {
    /// URLs of media playlists, in a multivariant playlist.
    pub(super) children: Vec<String>,
    /// Segments and parts with the initialization section that each needs.
    pub(super) segments: Vec<(u64, Option<u64>)>,
    /// Initialization sections.
    pub(super) maps: Vec<u64>,
    /// Claims of the first variant stream.
    pub(super) declared: Vec<(&'static str, String)>,
}

impl Playlist {
    /// Reads a playlist that was fetched from `url`; none where it is none.
    pub(super) fn read(bytes: &[u8], url: &str) -> Option<Self> {
        let mut list = Self::default();
        let mut map = None;
        let mut variant = false;
        let mut begun = false;
        for line in hls::lines(bytes) {
            let Ok(line) = line else { continue };
            let full = list.children.len().saturating_add(list.segments.len()) >= MAX_REFERENCES;
            match line.what {
                What::Tag(tag) if !begun => {
                    if !tag.is("EXTM3U") {
                        return None;
                    }
                    begun = true;
                }
                _ if !begun => return None,
                _ if full => break,
                What::Tag(tag) => {
                    let uri = tag.attribute("URI").map(|value| hls::resolve(url, value.text().text));
                    match (tag.name.text, uri) {
                        ("EXT-X-STREAM-INF", _) => {
                            variant = true;
                            if list.declared.is_empty() {
                                for name in ["BANDWIDTH", "CODECS", "RESOLUTION", "FRAME-RATE"] {
                                    let value = tag.attribute(name).map(|v| v.text().text.to_owned());
                                    list.declared.extend(value.map(|value| (name, value)));
                                }
                            }
                        }
                        ("EXT-X-MEDIA" | "EXT-X-I-FRAME-STREAM-INF", Some(uri)) => list.children.push(uri),
                        ("EXT-X-MAP", Some(uri)) => {
                            map = Some(key(&uri));
                            list.maps.extend(map);
                        }
                        ("EXT-X-PART" | "EXT-X-PRELOAD-HINT", Some(uri)) => {
                            list.segments.push((key(&uri), map))
                        }
                        _ => {}
                    }
                }
                What::Uri(uri) => {
                    let uri = hls::resolve(url, uri.text);
                    if std::mem::take(&mut variant) {
                        list.children.push(uri);
                    } else {
                        list.segments.push((key(&uri), map));
                    }
                }
                What::Blank | What::Comment(_) => {}
            }
        }
        begun.then_some(list)
    }

    pub(super) fn is_multivariant(&self) -> bool {
        !self.children.is_empty()
    }
}

/// The value of `session` in a URL's query.
pub(super) fn token(url: &str) -> Option<&str> {
    let (_, query) = url.split_once('?')?;
    let value = query.split('&').find_map(|pair| pair.strip_prefix("session="))?;
    (!value.is_empty() && value.len() <= 256).then_some(value)
}

/// The viewer's token in a `Cookie` or a `Set-Cookie` field, as our server names it.
pub(super) fn cookie(value: &str) -> Option<&str> {
    let value = value.split(';').find_map(|pair| pair.trim().strip_prefix("streamgauge_session="))?;
    (!value.is_empty() && value.len() <= 256).then_some(value)
}

/// The stream's path: the directory of an `index.m3u8`, else the playlist without its ending.
pub(super) fn stream_path(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next().unwrap_or_default().trim_start_matches('/');
    let path = match path.rsplit_once('/') {
        Some((directory, "index.m3u8")) => directory,
        _ => path.strip_suffix(".m3u8").unwrap_or(path),
    };
    (!path.is_empty()).then(|| path.chars().take(1024).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_absolute_and_know_their_initialization() {
        let text = b"#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:2,\nseg1.m4s?session=7\n#EXTINF:2,\n/x/seg2.m4s\n";
        let list = Playlist::read(text, "/live/a/video.m3u8?session=7").unwrap();
        let init = Some(key("/live/a/init.mp4"));
        assert_eq!(list.segments, [(key("/live/a/seg1.m4s?session=7"), init), (key("/x/seg2.m4s"), init)]);
        assert!(!list.is_multivariant());
        let text = b"#EXTM3U\r\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"a.m3u8\"\r\n#EXT-X-STREAM-INF:BANDWIDTH=9\r\nv.m3u8\r\n";
        let list = Playlist::read(text, "/live/index.m3u8").unwrap();
        assert_eq!(list.children, ["/live/a.m3u8", "/live/v.m3u8"]);
        assert_eq!(list.declared, [("BANDWIDTH", "9".to_owned())]);
        assert!(Playlist::read(b"<html>", "/").is_none() && Playlist::read(b"", "/").is_none());
    }

    #[test]
    fn paths_and_tokens() {
        assert_eq!(stream_path("/live/a/index.m3u8?session=1").as_deref(), Some("live/a"));
        assert_eq!(stream_path("/hls/cam.m3u8").as_deref(), Some("hls/cam"));
        assert_eq!(stream_path("/").as_deref(), None);
        assert_eq!(token("/a?x=1&session=ab"), Some("ab"));
        assert_eq!((token("/a"), token("/a?session=")), (None, None));
        assert_eq!(cookie("a=b; streamgauge_session=q1"), Some("q1"));
        assert_eq!(cookie("streamgauge_session=q1; Path=/live/; HttpOnly"), Some("q1"));
        assert_eq!((cookie("session=x"), cookie("streamgauge_session=")), (None, None));
    }
}
