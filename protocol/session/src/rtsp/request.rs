//! A request to a server, taken apart.

use bytes::Bytes;
use wire::Error;
use wire::rtsp::Head;

use super::url::without_credentials;

/// The methods we serve.
pub(super) const PUBLIC: &str =
    "OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, PAUSE, RECORD, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

/// What an answer repeats of its request (RFC 2326 §12.17, §12.38).
#[derive(Clone, Debug)]
pub(super) struct Echo {
    pub cseq: String,
    pub timestamp: Option<String>,
}

impl Echo {
    pub fn response(&self, status: u16) -> Head {
        let mut head = Head::response(status).with("CSeq", self.cseq.as_str());
        if let Some(timestamp) = &self.timestamp {
            head.headers.push("Timestamp", timestamp.as_str());
        }
        head
    }
}

/// A request.
pub(super) struct Request {
    pub echo: Echo,
    pub method: String,
    pub uri: String,
    pub head: Head,
    pub body: Bytes,
}

impl Request {
    pub fn value(&self, name: &str) -> Option<&str> {
        self.head.headers.value(name)
    }

    pub fn agent(&self) -> String {
        self.value("User-Agent").unwrap_or_default().chars().take(200).collect()
    }

    /// Whether it is about a session as it stands, whatever connection it comes on.
    pub fn may_roam(&self) -> bool {
        let methods = ["OPTIONS", "GET_PARAMETER", "SET_PARAMETER", "PLAY", "PAUSE", "TEARDOWN"];
        methods.contains(&self.method.as_str())
    }

    /// Options without which the request must not be served. We know none; what is asked of proxies is asked of servers, too
    /// (RFC 2326 §12.27, §12.32).
    pub fn required(&self) -> Option<String> {
        let headers = &self.head.headers;
        let tags: Vec<&str> = headers.all("Require").chain(headers.all("Proxy-Require")).collect();
        (!tags.is_empty()).then(|| tags.join(", "))
    }
}

/// Whether a session description is among what a client takes.
pub(super) fn sdp_is_accepted(head: &Head) -> bool {
    let takes = |range: &str| {
        let range = range.split(';').next().unwrap_or_default().trim();
        ["application/sdp", "application/*", "*/*", "*"].iter().any(|t| range.eq_ignore_ascii_case(t))
    };
    let mut accepted = head.headers.all("Accept").flat_map(|v| v.split(',')).peekable();
    accepted.peek().is_none() || accepted.any(takes)
}

/// What the controls of a description are relative to: the URL that was asked about, with a slash at its end, which makes
/// joining and resolving come out the same. None where that is not absolute (RFC 2326 §12.11 asks for that).
pub(super) fn base_of(uri: &str) -> Option<String> {
    let url = without_credentials(uri);
    let path = url.split('?').next().unwrap_or_default().trim_end_matches('/');
    path.contains("://").then(|| format!("{path}/"))
}

/// An error where the body comes in a transfer coding: RTSP has none, and where such a body ends is not known (RFC 2326 §4.4).
pub(super) fn is_chunked(head: &Head) -> Option<Error> {
    let field = head.headers.field("Transfer-Encoding")?;
    let (at, got) = (field.value_at as u64, field.value.len() as u64);
    let is_coded = !field.value.eq_ignore_ascii_case("identity");
    is_coded.then(|| Error::value(at, "Transfer-Encoding", "none", got))
}
