//! What a request asks for.

use axum::http::HeaderMap;
use axum::http::header::{COOKIE, USER_AGENT};

/// Name of the query parameter that says the session.
pub const PARAMETER: &str = "session";
/// Name of the cookie that does the same.
pub const COOKIE_NAME: &str = "streamgauge_session";

/// A file of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The stream's path.
    pub path: String,
    /// The file's name.
    pub file: String,
}

impl Asked {
    /// Reads the path of a URL. What could leave its place in the house is nothing that we have.
    pub fn read(url_path: &str) -> Option<Self> {
        let whole = session::rtmp::valid_path(url_path.strip_prefix('/')?).ok()?;
        let (path, file) = whole.rsplit_once('/')?;
        Some(Self { path: path.to_owned(), file: file.to_owned() })
    }
}

/// The first value of a parameter in a query string.
pub fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The session cookie.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    let mut cookies =
        headers.get_all(COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    cookies
        .find_map(|c| c.trim().split_once('=').filter(|(name, _)| *name == COOKIE_NAME))
        .map(|(_, value)| value)
}

/// What the client says it is.
pub fn agent(headers: &HeaderMap) -> &str {
    headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_stream_and_a_file() {
        let of = |path| Asked::read(path).map(|a| (a.path, a.file));
        let pair = |path: &str, file: &str| Some((path.to_owned(), file.to_owned()));
        assert_eq!(of("/live/cam/index.m3u8"), pair("live/cam", "index.m3u8"));
        assert_eq!(of("/cam%201/7.m4s"), pair("cam 1", "7.m4s"));
        for wrong in [
            "/index.m3u8",
            "/",
            "",
            "*",
            "//live/index.m3u8",
            "/live/../index.m3u8",
            "/live/%2e%2e/index.m3u8",
            "/live/a%2fb/index.m3u8",
            "/live/a%00/index.m3u8",
            "/live/%ff/index.m3u8",
            "/live/",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sessions_come_by_query_or_cookie() {
        assert_eq!(parameter(Some("a=1&session=xyz&session=2"), PARAMETER), Some("xyz"));
        assert_eq!(parameter(Some("mysession=1"), PARAMETER), None);
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, "a=b; streamgauge_session=q1".parse().unwrap());
        assert_eq!(cookie(&headers), Some("q1"));
    }
}
