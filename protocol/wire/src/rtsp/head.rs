//! Heads of requests and responses (RFC 2326 §6, §7, §15.1).

use super::framer::{MAX_HEAD, MAX_HEADERS};
use super::text::{self, is_blank};
use crate::cursor::Cursor;
use crate::error::{Error, Problem, Result};
use crate::trace::{Field, Trace, field};

static REQUEST: Field = field("RTSP request", "RFC 2326 §6", "What a peer wants.");
static RESPONSE: Field = field("RTSP response", "RFC 2326 §7", "The answer to the request of the same CSeq.");
static METHOD: Field = field("method", "RFC 2326 §6.1", "What is to be done.");
static URI: Field = field("request URI", "RFC 2326 §6.1", "With what: an absolute URL, or * for the server.");
static VERSION: Field = field("version", "RFC 2326 §3.1", "RTSP/1.0.");
static STATUS: Field =
    field("status code", "RFC 2326 §7.1.1", "2xx done, 3xx elsewhere, 4xx your mistake, 5xx mine.");
static REASON: Field = field("reason phrase", "RFC 2326 §7.1.1", "The status for people.");
static HEADER: Field = field("header field", "RFC 2326 §12", "One property of the message.");
static NAME: Field = field("header name", "RFC 2326 §4.2", "In any case of letters.");
static COLON: Field = field("colon", "RFC 2326 §4.2", "With the white space behind it.");
static VALUE: Field = field("header value", "RFC 2326 §12", "Meaning depends on the name.");
static FOLD: Field =
    field("folding", "RFC 2068 §4.2", "A line end before white space: the value goes on in the next line.");
static UNREADABLE: Field = field("line without a colon", "RFC 2326 §4.2", "No header field; passed over.");

/// One header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name as it was spelled.
    pub name: String,
    /// Its value, unfolded, without white space at both ends.
    pub value: String,
    /// Where the name begins, from the start of the head.
    pub at: usize,
    /// Where the value begins.
    pub value_at: usize,
}

/// The header fields of a message, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<Header>);

impl Headers {
    /// The first field of a name.
    pub fn field(&self, name: &str) -> Option<&Header> {
        self.0.iter().find(|h| h.name.eq_ignore_ascii_case(name))
    }

    /// The value of the first field of a name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.field(name).map(|h| h.value.as_str())
    }

    /// All values of a name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_str())
    }

    /// CSeq, where it is a number.
    pub fn cseq(&self) -> Option<u32> {
        text::number(self.value("CSeq")?).and_then(|n| u32::try_from(n).ok())
    }

    /// Adds a field. Line ends within a value become spaces: they would end it.
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        let value: String = value.into().replace(['\r', '\n'], " ");
        self.0.push(Header { name: name.to_owned(), value, at: 0, value_at: 0 });
    }
}

/// The first line of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// A request.
    Request {
        /// `OPTIONS`, `DESCRIBE`, …, as spelled.
        method: String,
        /// As it stands.
        uri: String,
        /// `RTSP/1.0`, as spelled.
        version: String,
    },
    /// A response.
    Response {
        /// `RTSP/1.0`, as spelled.
        version: String,
        /// Three digits.
        status: u16,
        /// Words.
        reason: String,
    },
}

/// A head: first line and header fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The first line.
    pub start: Start,
    /// The header fields.
    pub headers: Headers,
    /// Lines that are no header fields, and where they stand.
    pub problems: Vec<Error>,
}

impl Head {
    /// A request without header fields.
    pub fn request(method: &str, uri: &str) -> Self {
        let (method, uri, version) = (method.to_owned(), uri.to_owned(), super::VERSION.to_owned());
        Self::of(Start::Request { method, uri, version })
    }

    /// A response without header fields.
    pub fn response(status: u16) -> Self {
        let (version, reason) = (super::VERSION.to_owned(), status_text(status).to_owned());
        Self::of(Start::Response { version, status, reason })
    }

    fn of(start: Start) -> Self {
        Self { start, headers: Headers::default(), problems: Vec::new() }
    }

    /// The same with one more header field.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Method and URI of a request.
    pub fn as_request(&self) -> Option<(&str, &str)> {
        match &self.start {
            Start::Request { method, uri, .. } => Some((method, uri)),
            Start::Response { .. } => None,
        }
    }

    /// Status of a response.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            Start::Response { status, .. } => Some(status),
            Start::Request { .. } => None,
        }
    }

    /// The version as spelled.
    pub fn version(&self) -> &str {
        match &self.start {
            Start::Request { version, .. } | Start::Response { version, .. } => version,
        }
    }

    /// Reads a head with its empty line, as [`frame`](super::frame) measured it.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        let response = c.peek().get(..5).is_some_and(|b| b.eq_ignore_ascii_case(b"RTSP/"));
        c.group(if response { &RESPONSE } else { &REQUEST }, |c| {
            let start = if response { status_line(c)? } else { request_line(c)? };
            let mut head = Self::of(start);
            let from = c.position();
            let mut lines = 0usize;
            while !c.is_empty() && !text::line_end(c)? {
                lines = lines.saturating_add(1);
                if lines > MAX_HEADERS {
                    let (limit, got) = (MAX_HEADERS as u64, lines as u64);
                    return Err(c.error(&HEADER, Problem::TooLarge { limit, got }));
                }
                if c.position().saturating_sub(from) > MAX_HEAD {
                    let (limit, got) = (MAX_HEAD as u64, c.position() as u64);
                    return Err(c.error(&HEADER, Problem::TooLarge { limit, got }));
                }
                head.header(c)?;
            }
            Ok(head)
        })
    }

    fn header<T: Trace>(&mut self, c: &mut Cursor<'_, T>) -> Result<()> {
        let (length, _) = text::line(c.peek());
        let line = c.peek().get(..length).unwrap_or_default();
        let colon = line.iter().position(|b| *b == b':');
        let Some(name_length) = colon.filter(|n| *n > 0 && !line.first().is_some_and(|b| is_blank(*b)))
        else {
            let want = "a name and a colon";
            self.problems.push(c.error(&UNREADABLE, Problem::Value { want, got: length as u64 }));
            c.bytes(&UNREADABLE, length)?;
            end(c)?;
            return Ok(());
        };
        c.group(&HEADER, |c| {
            let at = c.position();
            let name = text::trimmed(c, &NAME, b":")?;
            debug_assert!(c.position() <= at.saturating_add(name_length));
            let behind = c.peek().get(1..).unwrap_or_default();
            let blank = behind.iter().take_while(|b| is_blank(**b)).count();
            c.bytes(&COLON, blank.saturating_add(1))?;
            let value_at = c.position();
            let mut value = value_part(c)?;
            while folds(c.peek()) {
                let (_, line_end) = text::line(c.peek());
                let next = c.peek().get(line_end..).unwrap_or_default();
                let blank = next.iter().take_while(|b| is_blank(**b)).count();
                c.bytes(&FOLD, line_end.saturating_add(blank))?;
                let more = value_part(c)?;
                if !value.is_empty() && !more.is_empty() {
                    value.push(' ');
                }
                value.push_str(&more);
            }
            end(c)?;
            self.headers.0.push(Header { name, value, at, value_at });
            Ok(())
        })
    }

    /// Writes the message. Content-Length and the body come where there is one.
    pub fn encode(&self, body: &[u8]) -> Vec<u8> {
        let mut out = match &self.start {
            Start::Request { method, uri, version } => format!("{method} {uri} {version}\r\n"),
            Start::Response { version, status, reason } => format!("{version} {status:03} {reason}\r\n"),
        };
        for Header { name, value, .. } in &self.headers.0 {
            out.push_str(name);
            out.push_str(": ");
            out.push_str(value);
            out.push_str("\r\n");
        }
        if !body.is_empty() {
            out.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        out.extend_from_slice(body);
        out
    }
}

/// A value up to its line's end, the white space at its end read apart.
fn value_part<T: Trace>(c: &mut Cursor<'_, T>) -> Result<String> {
    let (length, _) = text::line(c.peek());
    let line = c.peek().get(..length).unwrap_or_default();
    let kept = line.iter().rposition(|b| !is_blank(*b)).map_or(0, |last| last.saturating_add(1));
    let value = c.text(&VALUE, kept)?;
    c.bytes(&text::SPACE, length.saturating_sub(kept))?;
    Ok(value)
}

/// True where a line ends and the next one begins with white space that something follows.
fn folds(rest: &[u8]) -> bool {
    let (_, end) = text::line(rest);
    let next = rest.get(end..).unwrap_or_default();
    next.first().is_some_and(|b| is_blank(*b)) && end > 0
}

fn end<T: Trace>(c: &mut Cursor<'_, T>) -> Result<()> {
    text::line_end(c).map(|_| ())
}

fn request_line<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Start> {
    let (length, _) = text::line(c.peek());
    let line = c.peek().get(..length).unwrap_or_default().trim_ascii_end();
    let first = line.iter().position(|b| is_blank(*b));
    let last = line.iter().rposition(|b| is_blank(*b));
    let Some((first, last)) = first.zip(last).filter(|(first, last)| *first > 0 && first < last) else {
        let problem = Problem::Value { want: "method, URI and version", got: length as u64 };
        return Err(c.error(&METHOD, problem));
    };
    let method = c.text(&METHOD, first)?;
    text::spaces(c)?;
    let uri_at = c.position();
    let middle = line.get(first..last).unwrap_or_default();
    let uri = c.text(&URI, middle.trim_ascii().len())?;
    if uri.is_empty() {
        let mut error = c.error(&URI, Problem::Value { want: "a URI", got: 0 });
        error.at = uri_at as u64;
        return Err(error);
    }
    text::spaces(c)?;
    let version = c.text(&VERSION, line.len().saturating_sub(last).saturating_sub(1))?;
    text::spaces(c)?;
    end(c)?;
    Ok(Start::Request { method, uri, version })
}

fn status_line<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Start> {
    let version = text::until(c, &VERSION, b" \t\r\n")?;
    text::spaces(c)?;
    let digits = text::until(c, &STATUS, b" \t\r\n")?;
    let status =
        text::number(&digits).filter(|n| (100..1000).contains(n)).and_then(|n| u16::try_from(n).ok());
    let Some(status) = status else {
        let size = digits.len() as u64;
        return Err(c.refuse(&STATUS, size, "three digits", size));
    };
    text::spaces(c)?;
    let reason = value_of_line(c, &REASON)?;
    end(c)?;
    Ok(Start::Response { version, status, reason })
}

fn value_of_line<T: Trace>(c: &mut Cursor<'_, T>, what: &'static Field) -> Result<String> {
    let (length, _) = text::line(c.peek());
    let line = c.peek().get(..length).unwrap_or_default();
    let kept = line.trim_ascii_end().len();
    let value = c.text(what, kept)?;
    c.bytes(&text::SPACE, length.saturating_sub(kept))?;
    Ok(value)
}

/// The reason phrase of a status (§7.1.1 and the codes of RTSP 2.0 that 1.0 servers use).
pub fn status_text(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        250 => "Low on Storage Space",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Time-out",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        415 => "Unsupported Media Type",
        451 => "Parameter Not Understood",
        452 => "Conference Not Found",
        453 => "Not Enough Bandwidth",
        454 => "Session Not Found",
        455 => "Method Not Valid in This State",
        456 => "Header Field Not Valid for Resource",
        457 => "Invalid Range",
        458 => "Parameter Is Read-Only",
        459 => "Aggregate Operation Not Allowed",
        460 => "Only Aggregate Operation Allowed",
        461 => "Unsupported Transport",
        462 => "Destination Unreachable",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Time-out",
        505 => "RTSP Version Not Supported",
        551 => "Option Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::rtsp::{Framed, frame};
    use crate::trace::Tree;
    use proptest::prelude::*;

    #[test]
    fn a_request_of_the_rfc() {
        // RFC 2326 §10.4.
        let text = b"SETUP rtsp://example.com/foo/bar/baz.rm RTSP/1.0\r\nCSeq: 302\r\n\
            Transport: RTP/AVP;unicast;client_port=4588-4589\r\n\r\n";
        let head = Head::decode(&mut Cursor::new(text)).unwrap();
        assert_eq!(head.as_request(), Some(("SETUP", "rtsp://example.com/foo/bar/baz.rm")));
        assert_eq!(head.version(), "RTSP/1.0");
        assert_eq!(head.headers.cseq(), Some(302));
        let transport = head.headers.field("transport").unwrap();
        assert_eq!(transport.value, "RTP/AVP;unicast;client_port=4588-4589");
        assert!(text[transport.value_at..].starts_with(b"RTP/AVP;"));
        assert!(text[transport.at..].starts_with(b"Transport"));
        assert_eq!(head.encode(b""), text);
    }

    #[test]
    fn a_response_with_a_body() {
        let head = Head::response(200).with("CSeq", "312").with("Content-Type", "application/sdp");
        let bytes = head.encode(b"v=0\r\n");
        let Ok(Framed::Message { head: size, body }) = frame(&bytes, 0) else { panic!() };
        assert_eq!(body, 5);
        let read = Head::decode(&mut Cursor::new(&bytes[..size])).unwrap();
        assert_eq!((read.status(), read.headers.value("content-length")), (Some(200), Some("5")));
        // A reason phrase may be missing.
        let bare = Head::decode(&mut Cursor::new(b"RTSP/1.0 454\n\n")).unwrap();
        assert_eq!(bare.status(), Some(454));
        assert!(Head::decode(&mut Cursor::new(b"RTSP/1.0 20 OK\r\n\r\n")).is_err());
    }

    #[test]
    fn sloppy_heads_are_read_and_said() {
        let text = b"OPTIONS  *  RTSP/1.0 \nCseq : 7 \nnonsense\nA: b\r\n\t c\n  d\nEmpty:\n\n";
        let head = Head::decode(&mut Cursor::new(text)).unwrap();
        assert_eq!(head.as_request(), Some(("OPTIONS", "*")));
        assert_eq!(head.headers.cseq(), Some(7));
        assert_eq!(head.headers.value("A"), Some("b c d"));
        assert_eq!(head.headers.value("Empty"), Some(""));
        assert_eq!(
            head.problems[0].to_string(),
            "byte 32: line without a colon in RTSP request: want a name and a colon, got 8 (0x8)"
        );
        for bad in [&b"OPTIONS\r\n\r\n"[..], b"OPTIONS *\r\n\r\n", b" * RTSP/1.0\r\n\r\n"] {
            assert!(Head::decode(&mut Cursor::new(bad)).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_value_cannot_smuggle_a_line() {
        let head = Head::request("OPTIONS", "*").with("User-Agent", "a\r\nX: y");
        assert_eq!(head.encode(b""), b"OPTIONS * RTSP/1.0\r\nUser-Agent: a  X: y\r\n\r\n");
    }

    fn tiles(bytes: &[u8]) -> Result<(), TestCaseError> {
        let mut c = Cursor::traced(bytes, Tree::default());
        let _ = Head::decode(&mut c);
        let end = c.position() as u64 * 8;
        let mut at = 0;
        for leaf in c.into_trace().leaves() {
            prop_assert_eq!(leaf.bits.start, at);
            at = leaf.bits.end;
        }
        prop_assert_eq!(at, end);
        Ok(())
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(
            method in "[A-Z_]{1,16}", uri in "[!-~]{1,40}", fields in proptest::collection::vec(("[A-Za-z-]{1,12}", "[!-~]([ -~]{0,30}[!-~])?"), 0..8),
        ) {
            prop_assume!(!method.starts_with("RTSP/"));
            let mut head = Head::request(&method, &uri);
            for (name, value) in &fields {
                prop_assume!(!name.eq_ignore_ascii_case("content-length"));
                head.headers.push(name, value.clone());
            }
            let bytes = head.encode(b"body");
            let Ok(Framed::Message { head: size, body: 4 }) = frame(&bytes, 0) else { panic!() };
            let read = Head::decode(&mut Cursor::new(&bytes[..size])).unwrap();
            prop_assert_eq!(read.as_request(), Some((method.as_str(), uri.as_str())));
            for ((name, value), header) in fields.iter().zip(&read.headers.0) {
                prop_assert_eq!((name, value), (&header.name, &header.value));
            }
            tiles(&bytes[..size])?;
        }

        #[test]
        fn leaves_tile_whatever_comes(text in "(RTSP/1.0 200|PLAY x RTSP/1.0)[ -~\r\n\t:]{0,80}", bytes: Vec<u8>) {
            tiles(text.as_bytes())?;
            tiles(&bytes)?;
        }
    }
}
