//! From application and stream name to the one path that names a stream in every protocol.

use std::fmt;

use percent_encoding::percent_decode_str;

/// Longest path accepted, in bytes after decoding.
const MAX_PATH: usize = 512;

/// Why a path was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathError {
    /// No segment at all.
    Empty,
    /// An empty segment, `.` or `..`.
    Segment(String),
    /// A control character.
    Control,
    /// Not UTF-8 after percent-decoding.
    NotUtf8,
    /// Longer than 512 bytes.
    TooLong(usize),
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the path is empty"),
            Self::Segment(s) => write!(f, "the path segment {s:?} is not allowed"),
            Self::Control => f.write_str("the path holds a control character"),
            Self::NotUtf8 => f.write_str("the path is not UTF-8"),
            Self::TooLong(n) => write!(f, "the path is {n} bytes long, at most {MAX_PATH} are allowed"),
        }
    }
}

impl std::error::Error for PathError {}

/// Path and query string of a publish or play: `app` as in the connect command, `name` as in the other.
/// Each may carry a query string; the two are joined with `&`.
pub fn stream_path(app: &str, name: &str) -> Result<(String, String), PathError> {
    let (app, app_query) = app.split_once('?').unwrap_or((app, ""));
    let (name, name_query) = name.split_once('?').unwrap_or((name, ""));
    let app = app.trim_matches('/');
    let raw = if name.is_empty() { app.to_owned() } else { format!("{app}/{name}") };
    let query: Vec<&str> = [app_query, name_query].into_iter().filter(|q| !q.is_empty()).collect();
    Ok((valid_path(raw.trim_start_matches('/'))?, query.join("&")))
}

/// The percent-decoded path, where every segment is allowed.
pub fn valid_path(raw: &str) -> Result<String, PathError> {
    if raw.is_empty() {
        return Err(PathError::Empty);
    }
    let mut segments = Vec::new();
    for segment in raw.split('/') {
        let segment = percent_decode_str(segment).decode_utf8().map_err(|_| PathError::NotUtf8)?;
        if segment.is_empty() || segment == "." || segment == ".." || segment.contains('/') {
            return Err(PathError::Segment(segment.chars().take(40).collect()));
        }
        if segment.chars().any(char::is_control) {
            return Err(PathError::Control);
        }
        segments.push(segment);
    }
    let path = segments.join("/");
    if path.len() > MAX_PATH { Err(PathError::TooLong(path.len())) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_and_name_make_a_path_and_a_query() {
        for (app, name, path, query) in [
            ("live", "cam", "live/cam", ""),
            ("live/", "cam?token=a%20b", "live/cam", "token=a%20b"),
            ("live?vhost=x", "cam?k=1", "live/cam", "vhost=x&k=1"),
            ("only", "", "only", ""),
            ("a/b", "c/d", "a/b/c/d", ""),
            ("live", "caf%C3%A9", "live/café", ""),
            ("", "cam", "cam", ""),
        ] {
            assert_eq!(stream_path(app, name), Ok((path.to_owned(), query.to_owned())), "{app} {name}");
        }
    }

    #[test]
    fn paths_that_could_leave_their_place_are_refused() {
        for (app, name) in [
            ("live", ".."),
            ("live", "%2e%2e"),
            ("live", "a//b"),
            ("live", "a%2fb"),
            ("live", "a\n"),
            ("live", "%00"),
            ("", ""),
            ("live", "%ff"),
        ] {
            assert!(stream_path(app, name).is_err(), "{app} {name}");
        }
        assert_eq!(stream_path("live", &"x".repeat(600)), Err(PathError::TooLong(605)));
    }
}
