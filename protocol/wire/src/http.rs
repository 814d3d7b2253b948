//! Heads of HTTP/1.1 messages and the framing of their bodies (RFC 9112).
//!
//! ```text
//! GET /live/a/index.m3u8 HTTP/1.1 CRLF      request line: method, target, version (§3)
//! HTTP/1.1 200 OK CRLF                      or status line: version, code, reason (§4)
//! Host: example.org CRLF                    field lines (§5)
//! CRLF                                      the head ends
//! ```
//!
//! RTSP borrowed this form, so a head of either is read here; [`Start::version`] tells them apart. Bare line feeds are
//! taken as line ends (§2.2). Nothing is judged but what cannot be read at all.

use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::trace::{Field, Trace, field};

/// Longest head that is taken as one, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// Most field lines in a head.
pub const MAX_FIELDS: usize = 256;

static HEAD: Field = field("head", "RFC 9112 §2.1", "Start line and field lines.");
static METHOD: Field = field("method", "RFC 9112 §3.1", "What to do with the target.");
static TARGET: Field = field("request target", "RFC 9112 §3.2", "What it is to be done with.");
static VERSION: Field = field("version", "RFC 9112 §2.3", "Protocol name and version.");
static STATUS: Field = field("status code", "RFC 9112 §4", "Three digits: the outcome of the request.");
static REASON: Field = field("reason phrase", "RFC 9112 §4", "The outcome for people.");
static BLANK: Field = field("separator", "RFC 9112 §3", "Blank between the parts of a line.");
static LINE_END: Field = field("line end", "RFC 9112 §2.2", "CR and LF; a bare LF is taken too.");
static NAME: Field = field("field name", "RFC 9112 §5", "Upper and lower case mean the same.");
static VALUE: Field = field("field value", "RFC 9112 §5", "Blanks around it do not belong to it.");
static CHUNK_SIZE: Field = field("chunk size", "RFC 9112 §7.1", "Hexadecimal; 0 ends the body.");

/// The first line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'b> {
    /// Of a request.
    Request {
        /// `GET`, `HEAD`, …
        method: &'b str,
        /// Path and query, or a whole URL.
        target: &'b str,
        /// `HTTP/1.1`.
        version: &'b str,
    },
    /// Of a response.
    Status {
        /// `HTTP/1.1`.
        version: &'b str,
        /// 100 to 999.
        code: u16,
        /// For people.
        reason: &'b str,
    },
}

impl<'b> Start<'b> {
    /// Reads a start line without its line end; none where it is no such line.
    pub fn of(line: &'b str) -> Option<Self> {
        let (first, rest) = line.split_once(' ')?;
        if is_version(first) {
            let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
            let digits = code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit());
            let code = code.parse().ok().filter(|code| digits && *code >= 100)?;
            return Some(Self::Status { version: first, code, reason });
        }
        let (target, version) = rest.rsplit_once(' ')?;
        let method = !first.is_empty() && first.bytes().all(is_token);
        let target = target.trim_matches(' ');
        (method && is_version(version) && !target.is_empty()).then_some(Self::Request {
            method: first,
            target,
            version,
        })
    }

    /// Protocol name and version.
    pub fn version(&self) -> &'b str {
        match self {
            Self::Request { version, .. } | Self::Status { version, .. } => version,
        }
    }
}

/// `NAME/digit.digit` in upper case.
fn is_version(text: &str) -> bool {
    let Some((name, number)) = text.split_once('/') else { return false };
    let name_ok = !name.is_empty() && name.len() <= 8 && name.bytes().all(|b| b.is_ascii_uppercase());
    let number_ok = matches!(number.as_bytes(), [a, b'.', b] if a.is_ascii_digit() && b.is_ascii_digit());
    name_ok && number_ok
}

/// A character of a token (RFC 9110 §5.6.2).
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Start line and field lines of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'b> {
    /// The first line.
    pub start: Start<'b>,
    /// Names and values as they stand, in order.
    pub fields: Vec<(&'b str, &'b str)>,
}

/// How the end of a body is found (§6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// It has this many bytes.
    Length(u64),
    /// In chunks, each with its size before it.
    Chunked,
    /// Up to the end of the connection.
    Close,
}

impl<'b> Head<'b> {
    /// Reads a head with its final empty line.
    pub fn decode<T: Trace>(c: &mut Cursor<'b, T>) -> Result<Self> {
        c.group(&HEAD, |c| {
            let start = start_line(c)?;
            let mut fields = Vec::new();
            while let Some(field) = field_line(c)? {
                if fields.len() >= MAX_FIELDS {
                    let at = c.position() as u64;
                    return Err(Error::too_large(at, "field lines", MAX_FIELDS as u64, u64::MAX));
                }
                fields.push(field);
            }
            Ok(Self { start, fields })
        })
    }

    /// The first field of a name, whichever case it is written in.
    pub fn field(&self, name: &str) -> Option<&'b str> {
        self.all(name).next()
    }

    /// All fields of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'b str> + 'a {
        self.fields.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// True where a field of this name lists this word.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
    }

    /// The length of the body; several equal ones are one. An error says which value is none.
    pub fn content_length(&self) -> Result<Option<u64>> {
        let mut length = None;
        for value in self.all("Content-Length").flat_map(|value| value.split(',')) {
            let value = value.trim();
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            let number: Option<u64> = value.parse().ok().filter(|_| digits);
            let number = number
                .ok_or_else(|| Error::value(0, "Content-Length", "decimal digits", value.len() as u64))?;
            if *length.get_or_insert(number) != number {
                return Err(Error::value(0, "Content-Length", "one value", number));
            }
        }
        Ok(length)
    }

    /// How a request's body ends.
    pub fn request_body(&self) -> Result<Framing> {
        if self.lists("Transfer-Encoding", "chunked") {
            return Ok(Framing::Chunked);
        }
        Ok(match self.content_length()? {
            None | Some(0) => Framing::None,
            Some(length) => Framing::Length(length),
        })
    }

    /// How the body of a response to a request of this method ends.
    pub fn response_body(&self, method: &str) -> Result<Framing> {
        let bodiless = matches!(self.start, Start::Status { code: 100..=199 | 204 | 304, .. });
        if bodiless || method == "HEAD" {
            return Ok(Framing::None);
        }
        if self.lists("Transfer-Encoding", "chunked") {
            return Ok(Framing::Chunked);
        }
        Ok(match self.content_length()? {
            None => Framing::Close,
            Some(0) => Framing::None,
            Some(length) => Framing::Length(length),
        })
    }
}

fn start_line<'b, T: Trace>(c: &mut Cursor<'b, T>) -> Result<Start<'b>> {
    let (length, end) = line(c)?;
    let text = text(c, length, &HEAD)?;
    let start = Start::of(text)
        .ok_or_else(|| c.refuse(&HEAD, length as u64, "a request line or a status line", length as u64))?;
    match start {
        Start::Request { method, target, version } => {
            let tail = length.saturating_sub(method.len()).saturating_sub(version.len());
            c.bytes(&METHOD, method.len())?;
            // Blanks may be doubled: what is not the target separates it.
            let before = c.peek().iter().take_while(|b| **b == b' ').count();
            c.bytes(&BLANK, before)?;
            c.bytes(&TARGET, target.len())?;
            c.bytes(&BLANK, tail.saturating_sub(before).saturating_sub(target.len()))?;
            c.bytes(&VERSION, version.len())?;
        }
        Start::Status { version, reason, .. } => {
            c.bytes(&VERSION, version.len())?;
            c.bytes(&BLANK, 1)?;
            c.bytes(&STATUS, 3)?;
            let rest = length.saturating_sub(version.len()).saturating_sub(4);
            c.bytes(&BLANK, rest.saturating_sub(reason.len()))?;
            c.bytes(&REASON, reason.len())?;
        }
    }
    c.bytes(&LINE_END, end)?;
    Ok(start)
}

/// The next field line; none at the empty line, which is consumed.
fn field_line<'b, T: Trace>(c: &mut Cursor<'b, T>) -> Result<Option<(&'b str, &'b str)>> {
    let (length, end) = line(c)?;
    if length == 0 {
        c.bytes(&LINE_END, end)?;
        return Ok(None);
    }
    let text = text(c, length, &NAME)?;
    let (name, value) =
        text.split_once(':').ok_or_else(|| c.refuse(&NAME, length as u64, "a colon", length as u64))?;
    let value = value.trim();
    c.bytes(&NAME, name.len())?;
    let blanks = c.peek().get(1..).unwrap_or_default();
    let before = if value.is_empty() {
        length.saturating_sub(name.len())
    } else {
        blanks.iter().take_while(|b| matches!(b, b' ' | b'\t')).count().saturating_add(1)
    };
    c.bytes(&BLANK, before)?;
    c.bytes(&VALUE, value.len())?;
    let behind = length.saturating_sub(name.len()).saturating_sub(before).saturating_sub(value.len());
    c.bytes(&BLANK, behind)?;
    c.bytes(&LINE_END, end)?;
    Ok(Some((name.trim(), value)))
}

/// Lengths of the next line and of its end.
fn line<T: Trace>(c: &Cursor<'_, T>) -> Result<(usize, usize)> {
    let bytes = c.peek();
    let window = bytes.get(..MAX_HEAD.min(bytes.len())).unwrap_or_default();
    let Some(feed) = window.iter().position(|b| *b == b'\n') else {
        let (want, got) = ((bytes.len() as u64).saturating_add(1), bytes.len() as u64);
        return Err(c.error(&LINE_END, crate::error::Problem::Short { want, got }));
    };
    let length = match feed.checked_sub(1) {
        Some(before) if window.get(before) == Some(&b'\r') => before,
        _ => feed,
    };
    Ok((length, feed.saturating_sub(length).saturating_add(1)))
}

fn text<'b, T: Trace>(c: &Cursor<'b, T>, length: usize, field: &'static Field) -> Result<&'b str> {
    let bytes = c.peek().get(..length).unwrap_or_default();
    std::str::from_utf8(bytes).map_err(|error| {
        let got = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        c.refuse(field, length as u64, "UTF-8", u64::from(got))
    })
}

/// Length of the head at the beginning of the bytes, its empty line included; none where more bytes are needed.
pub fn head_length(bytes: &[u8]) -> Option<usize> {
    let mut from = 0usize;
    loop {
        let rest = bytes.get(from..)?;
        let feed = rest.iter().position(|b| *b == b'\n')?;
        let next = from.saturating_add(feed).saturating_add(1);
        match bytes.get(next..)? {
            [b'\n', ..] => return Some(next.saturating_add(1)),
            [b'\r', b'\n', ..] => return Some(next.saturating_add(2)),
            _ => from = next,
        }
    }
}

/// The size of a chunk from its line, extensions left out (§7.1).
pub fn chunk_size(line: &[u8]) -> Result<u64> {
    let wrong = || Error::value(0, CHUNK_SIZE.name, "hexadecimal digits", line.len() as u64);
    let text = std::str::from_utf8(line).map_err(|_| wrong())?;
    let digits = text.split(';').next().unwrap_or_default().trim();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    u64::from_str_radix(digits, 16).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Tree;

    const GET: &[u8] = b"GET  /live/a/index.m3u8?session=7 HTTP/1.1\r\nHost: h:8888\r\nuser-AGENT:  Lavf/59 \t\r\nEmpty:\r\n\r\nrest";

    #[test]
    fn a_request_is_read_and_tiled() {
        let mut c = Cursor::traced(GET, Tree::default());
        let head = Head::decode(&mut c).unwrap();
        let target = "/live/a/index.m3u8?session=7";
        assert_eq!(head.start, Start::Request { method: "GET", target, version: "HTTP/1.1" });
        assert_eq!((head.field("User-Agent"), head.field("empty")), (Some("Lavf/59"), Some("")));
        assert_eq!(head.field("Cookie"), None);
        assert_eq!(head_length(GET), Some(c.position()));
        let mut at = 0;
        for leaf in c.into_trace().leaves().filter(|leaf| !leaf.bits.is_empty()) {
            assert_eq!(leaf.bits.start, at, "{leaf:?}");
            at = leaf.bits.end;
        }
        assert_eq!(at, head_length(GET).unwrap() as u64 * 8);
    }

    #[test]
    fn start_lines_are_told_apart() {
        let version = "RTSP/1.0";
        assert_eq!(
            Start::of("RTSP/1.0 404 Not Found"),
            Some(Start::Status { version, code: 404, reason: "Not Found" })
        );
        assert_eq!(Start::of("HTTP/1.1 200").map(|s| s.version()), Some("HTTP/1.1"));
        for line in
            ["", "GET /", "GET / HTTP/11", "HTTP/1.1 20", "HTTP/1.1 099 x", "G@T / HTTP/1.1", " / HTTP/1.1"]
        {
            assert_eq!(Start::of(line), None, "{line}");
        }
    }

    #[test]
    fn bodies_end_where_the_head_says() {
        let head = |text: &'static str| Head::decode(&mut Cursor::new(text.as_bytes())).unwrap();
        let length = head("HTTP/1.1 200 OK\nContent-Length: 7\nContent-Length: 7\n\n");
        assert_eq!(length.response_body("GET"), Ok(Framing::Length(7)));
        assert_eq!(length.response_body("HEAD"), Ok(Framing::None));
        let chunked =
            head("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(chunked.response_body("GET"), Ok(Framing::Chunked));
        assert_eq!(head("HTTP/1.0 200 OK\r\n\r\n").response_body("GET"), Ok(Framing::Close));
        assert_eq!(
            head("HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n").response_body("GET"),
            Ok(Framing::None)
        );
        assert_eq!(head("PUT / HTTP/1.1\r\n\r\n").request_body(), Ok(Framing::None));
        for bad in ["-1", "x", "", "3, 4", "99999999999999999999"] {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {bad}\r\n\r\n");
            let head = Head::decode(&mut Cursor::new(text.as_bytes())).unwrap();
            assert!(head.response_body("GET").is_err(), "{bad}");
        }
        assert_eq!(chunk_size(b"1aF;name=value"), Ok(0x1af));
        assert!(chunk_size(b"").is_err() && chunk_size(b"-1").is_err());
    }

    #[test]
    fn heads_that_are_none_are_errors() {
        for (bytes, short) in [
            (&b"GET / HTTP/1.1\r\nHost: x\r\n"[..], true),
            (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", false),
            (b"GET /\xff HTTP/1.1\r\n\r\n", false),
            (b"\r\n\r\n", false),
        ] {
            assert_eq!(Head::decode(&mut Cursor::new(bytes)).unwrap_err().is_short(), short, "{bytes:?}");
        }
        let mut many = b"GET / HTTP/1.1\r\n".to_vec();
        for _ in 0..=MAX_FIELDS {
            many.extend(b"a:b\r\n");
        }
        many.extend(b"\r\n");
        assert!(Head::decode(&mut Cursor::new(&many)).is_err());
        assert_eq!(head_length(b"a\r\nb\n\nc"), Some(6));
        assert_eq!(head_length(b"a\r\nb\n"), None);
    }
}
