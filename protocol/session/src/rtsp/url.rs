//! What an RTSP URL names: a stream, and maybe one of its tracks.

use crate::rtmp::{PathError, valid_path};

/// The path segment by which our descriptions name tracks.
pub(super) const TRACK: &str = "trackID=";

/// The parts of a request URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// Percent-decoded path without query string, slash at the end and track.
    pub path: String,
    /// Query string without `?`.
    pub query: String,
    /// The track of a URL that a description of ours led to.
    pub track: Option<usize>,
}

/// Path and query string of a URL as they stand: no scheme, no host.
pub(super) fn rest(url: &str) -> &str {
    match url.split_once("://") {
        Some((_, behind)) => behind.find(['/', '?']).and_then(|at| behind.get(at..)).unwrap_or_default(),
        None => url,
    }
}

/// A URL without user name and password, which belong in no answer.
pub(super) fn without_credentials(url: &str) -> String {
    let Some((scheme, behind)) = url.split_once("://") else { return url.to_owned() };
    let host_end = behind.find(['/', '?']).unwrap_or(behind.len());
    let (authority, tail) = behind.split_at_checked(host_end).unwrap_or((behind, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{tail}")
}

impl Location {
    /// Reads a request URI. The server as a whole, `*`, is no stream.
    pub fn parse(uri: &str) -> Result<Self, PathError> {
        if uri == "*" {
            return Err(PathError::Empty);
        }
        let (mut path, mut query) = rest(uri).split_once('?').unwrap_or((rest(uri), ""));
        let mut track = None;
        // A client that joins a control to a URL with a query string puts it behind that.
        for part in [&mut path, &mut query] {
            if let Some((before, number)) = split_track(part) {
                (*part, track) = (before, Some(number));
            }
        }
        let path = valid_path(path.trim_matches('/'))?;
        Ok(Self { path, query: query.trim_end_matches('/').to_owned(), track })
    }
}

fn split_track(text: &str) -> Option<(&str, usize)> {
    let trimmed = text.trim_end_matches('/');
    let (before, last) = trimmed.rsplit_once('/')?;
    let name = last.get(..TRACK.len())?;
    let digits = last.get(TRACK.len()..)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !name.eq_ignore_ascii_case(TRACK) || !is_number {
        return None;
    }
    Some((before, digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_streams_and_tracks() {
        for (uri, path, query, track) in [
            ("rtsp://h:8554/live/a", "live/a", "", None),
            ("rtsp://u:p@h/live/caf%C3%A9/", "live/café", "", None),
            ("rtsp://h/live/a/trackID=1", "live/a", "", Some(1)),
            ("RTSPS://h/live/a/TrackId=0/?x=1", "live/a", "x=1", Some(0)),
            ("rtsp://h/live/a?x=1/trackID=2", "live/a", "x=1", Some(2)),
            ("rtsp://h/live/trackID=x", "live/trackID=x", "", None),
            ("/live/a", "live/a", "", None),
        ] {
            let want = Location { path: path.to_owned(), query: query.to_owned(), track };
            assert_eq!(Location::parse(uri), Ok(want), "{uri}");
        }
        for bad in
            ["*", "rtsp://h", "rtsp://h/", "*x/..", "rtsp://h/a/../b", "rtsp://h/a%00", "rtsp://h/a//b"]
        {
            assert!(Location::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(without_credentials("rtsp://u:p@h:1/a@b?c"), "rtsp://h:1/a@b?c");
        assert_eq!(rest("rtsp://h?x"), "?x");
    }
}
