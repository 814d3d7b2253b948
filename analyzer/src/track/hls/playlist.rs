//! What a playlist lists, as far as telling viewers apart needs it (RFC 8216 §4.3).

use wire::hls::{self, What};

use crate::rules::hls::url::key;

/// References read in one playlist.
const MAX_REFERENCES: usize = 4096;

/// Claims of a playlist, by name.
pub(super) type Claims = Vec<(&'static str, String)>;

/// A playlist's references, absolute.
#[derive(Clone, Debug, Default)]
pub(super) struct Playlist {
    /// URLs of media playlists, in a multivariant playlist, with what it claims of each.
    pub(super) children: Vec<(String, Claims)>,
    /// Segments and parts.
    pub(super) segments: Vec<Reference>,
    /// Initialization sections; where one is a part of a resource, where that begins and how long it is.
    pub(super) maps: Vec<(u64, Option<(u64, u64)>)>,
    /// Keys and whatever else a player fetches besides.
    pub(super) others: Vec<u64>,
    /// Claims of the first variant stream.
    pub(super) declared: Claims,
}

/// A segment as it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// Key of its URL.
    pub(super) url: u64,
    /// The initialization section it needs.
    pub(super) map: Option<u64>,
    /// True where the whole of it is encrypted (RFC 8216 §4.3.2.4).
    pub(super) encrypted: bool,
    /// Where it begins in its resource and how long it is, where it is a part of one (RFC 8216 §4.3.2.2).
    pub(super) part: Option<(u64, u64)>,
}

impl Reference {
    /// The resource and where the segment begins in it, and how long it is.
    pub(super) fn span(&self) -> Option<((u64, u64), u64)> {
        self.part.map(|(from, len)| ((self.url, from), len))
    }
}

/// Claims of a variant stream, and of a rendition.
const OF_VARIANTS: [&str; 4] = ["BANDWIDTH", "CODECS", "RESOLUTION", "FRAME-RATE"];
const OF_RENDITIONS: [&str; 2] = ["NAME", "LANGUAGE"];

impl Playlist {
    /// Reads a playlist that was fetched from `url`; none where it is none.
    pub(super) fn read(bytes: &[u8], url: &str) -> Option<Self> {
        let mut list = Self::default();
        let (mut map, mut encrypted) = (None, false);
        let mut variant = None;
        let mut begun = false;
        // The part that is told, and where the one before ended in its resource.
        let (mut range, mut ended) = (None, None);
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
                    let text = |name: &str| tag.attribute(name).map(|value| value.text().text.to_owned());
                    let claims = |names: &[&'static str]| -> Claims {
                        names.iter().filter_map(|name| Some((*name, text(name)?))).collect()
                    };
                    let uri = text("URI").map(|uri| hls::resolve(url, &uri));
                    match (tag.name.text, uri) {
                        ("EXT-X-STREAM-INF", _) => {
                            let claims = claims(&OF_VARIANTS);
                            if list.declared.is_empty() {
                                list.declared.clone_from(&claims);
                            }
                            variant = Some(claims);
                        }
                        ("EXT-X-MEDIA", Some(uri)) => list.children.push((uri, claims(&OF_RENDITIONS))),
                        ("EXT-X-I-FRAME-STREAM-INF", Some(uri)) => {
                            list.children.push((uri, claims(&OF_VARIANTS)));
                        }
                        ("EXT-X-MAP", Some(uri)) => {
                            map = Some(key(&uri));
                            list.maps
                                .extend(map.map(|map| (map, text("BYTERANGE").as_deref().and_then(span))));
                        }
                        ("EXT-X-KEY", uri) => {
                            // SAMPLE-AES leaves clear what is counted here.
                            encrypted = text("METHOD").is_some_and(|method| method.starts_with("AES-"));
                            list.others.extend(uri.map(|uri| key(&uri)));
                        }
                        ("EXT-X-SESSION-KEY" | "EXT-X-SESSION-DATA", Some(uri)) => {
                            list.others.push(key(&uri))
                        }
                        ("EXT-X-PART" | "EXT-X-PRELOAD-HINT", Some(uri)) => {
                            list.segments.push(Reference { url: key(&uri), map, encrypted, part: None });
                        }
                        ("EXT-X-BYTERANGE", _) => {
                            range = tag.value.and_then(|value| value.byte_range().ok());
                        }
                        _ => {}
                    }
                }
                What::Uri(uri) => {
                    let uri = hls::resolve(url, uri.text);
                    match variant.take() {
                        Some(claims) => list.children.push((uri, claims)),
                        None => {
                            let url = key(&uri);
                            let behind = ended.filter(|(of, _)| *of == url).map_or(0, |(_, end)| end);
                            let part =
                                range.take().map(|range| (range.offset.unwrap_or(behind), range.length));
                            ended = part.map(|(from, len)| (url, from.saturating_add(len)));
                            list.segments.push(Reference { url, map, encrypted, part });
                        }
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

/// What `LENGTH@OFFSET` names: where it begins and how long it is.
fn span(text: &str) -> Option<(u64, u64)> {
    let (length, offset) = text.split_once('@').unwrap_or((text, "0"));
    Some((offset.trim().parse().ok()?, length.trim().parse().ok()?))
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
        let listed = |url: &str| Reference { url: key(url), map: init, encrypted: false, part: None };
        assert_eq!(list.segments, [listed("/live/a/seg1.m4s?session=7"), listed("/x/seg2.m4s")]);
        assert!(!list.is_multivariant());
        let text = b"#EXTM3U\r\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"a.m3u8\"\r\n#EXT-X-STREAM-INF:BANDWIDTH=9\r\nv.m3u8\r\n";
        let list = Playlist::read(text, "/live/index.m3u8").unwrap();
        let bandwidth = vec![("BANDWIDTH", "9".to_owned())];
        assert_eq!(list.children, [("/live/a.m3u8".into(), vec![]), ("/live/v.m3u8".into(), bandwidth)]);
        assert_eq!(list.declared, [("BANDWIDTH", "9".to_owned())]);
        assert!(Playlist::read(b"<html>", "/").is_none() && Playlist::read(b"", "/").is_none());
    }

    #[test]
    fn parts_of_resources_keys_and_each_childs_claims() {
        let text = "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXT-X-MAP:URI=\"a.mp4\",BYTERANGE=\"700@20\"\n\
                    #EXTINF:2,\n#EXT-X-BYTERANGE:9@720\na.mp4\n#EXT-X-KEY:METHOD=NONE\n#EXTINF:2,\nb.ts\n\
                    #EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://x\"\n#EXTINF:2,\nc.ts\n";
        let list = Playlist::read(text.as_bytes(), "/v/i.m3u8").unwrap();
        assert_eq!(list.maps, [(key("/v/a.mp4"), Some((20, 700)))]);
        assert!(list.others.contains(&key("/v/k")));
        let encrypted: Vec<_> = list.segments.iter().map(|segment| segment.encrypted).collect();
        assert_eq!(encrypted, [true, false, false]);
        let text = "#EXTM3U\n#EXT-X-BYTERANGE:10@5\na.ts\n#EXT-X-BYTERANGE:20\na.ts\n#EXT-X-BYTERANGE:7\nb.ts\nc.ts\n";
        let list = Playlist::read(text.as_bytes(), "/").unwrap();
        let parts: Vec<_> = list.segments.iter().map(|segment| segment.part).collect();
        assert_eq!(parts, [Some((5, 10)), Some((15, 20)), Some((0, 7)), None]);
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,NAME=\"en\",URI=\"a\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\nb\n\
                    #EXT-X-STREAM-INF:BANDWIDTH=2,RESOLUTION=64x36\nc\n";
        let list = Playlist::read(text.as_bytes(), "/").unwrap();
        let claim = |name: &'static str, value: &str| (name, value.to_owned());
        let claims: Vec<_> = list.children.into_iter().map(|(_, claims)| claims).collect();
        let large = vec![claim("BANDWIDTH", "2"), claim("RESOLUTION", "64x36")];
        assert_eq!(claims, [vec![claim("NAME", "en")], vec![claim("BANDWIDTH", "1")], large]);
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
