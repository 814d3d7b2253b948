//! Answers as HTTP has them: types, caching, validators, parts, compression, and who may read them.

use std::hash::{DefaultHasher, Hasher};
use std::io::Write;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::playlist::{File, LIFETIME};
use super::range::{Wanted, wanted};

/// Content types (RFC 8216 §10, RFC 4337).
pub const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const VIDEO: &str = "video/mp4";
const AUDIO: &str = "audio/mp4";
const TEXT: &str = "text/plain; charset=utf-8";

const METHODS: &str = "GET, HEAD, OPTIONS";
/// Header fields that a page may send where it does not say which it wants to.
const FIELDS: &str = "*, Authorization, Range";
/// A list changes with every segment, and may name its viewer: it is asked for again each time.
const ASK_AGAIN: &str = "private, no-cache";

/// Sets a header field.
pub fn set(response: &mut Response<Body>, name: header::HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
}

fn respond(status: StatusCode, content: &str, cache: &str, body: Bytes) -> Response<Body> {
    let length = body.len();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, content);
    set(&mut response, header::CACHE_CONTROL, cache);
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    response
}

/// A sentence for people.
pub fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    respond(status, TEXT, "no-store", Bytes::from_static(text.as_bytes()))
}

/// A page for people, that fetches from nowhere else.
pub fn page(html: &'static str) -> Response<Body> {
    let mut response =
        respond(StatusCode::OK, "text/html; charset=utf-8", "no-cache", Bytes::from_static(html.as_bytes()));
    set(
        &mut response,
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; connect-src 'self'; media-src 'self' blob:; script-src 'unsafe-inline'; style-src 'unsafe-inline'",
    );
    response
}

/// It is at another place, for now.
pub fn moved(to: &str) -> Response<Body> {
    let mut response =
        plain(StatusCode::TEMPORARY_REDIRECT, "the page that plays this stream is at /PATH/\n");
    set(&mut response, header::LOCATION, to);
    response
}

/// An answer for later.
pub fn later(text: &'static str, seconds: &str) -> Response<Body> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, text);
    set(&mut response, header::RETRY_AFTER, seconds);
    response
}

/// To a method that is none of ours.
pub fn refused() -> Response<Body> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD and OPTIONS\n");
    set(&mut response, header::ALLOW, METHODS);
    response
}

/// To OPTIONS, by which browsers ask what a page may do (Fetch §3.2.2). What it wants to send is named, since not all
/// browsers know `*`.
pub fn preflight(headers: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let listed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(&b);
    let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).and_then(|v| v.to_str().ok());
    let fields = wanted.filter(|fields| !fields.is_empty() && fields.bytes().all(listed)).unwrap_or(FIELDS);
    set(&mut response, header::ALLOW, METHODS);
    set(&mut response, header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    set(&mut response, header::ACCESS_CONTROL_ALLOW_HEADERS, fields);
    set(&mut response, header::ACCESS_CONTROL_MAX_AGE, "86400");
    response
}

/// Any page may play any stream, and read why it cannot.
pub fn open_to_all(response: &mut Response<Body>) {
    set(response, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    let exposed = "Content-Length, Content-Range, Date, ETag";
    set(response, header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
}

/// A playlist, compressed for those who take that.
pub fn list<B>(request: &Request<B>, content: &str, text: String) -> Response<Body> {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    let packed = takes_gzip(request.headers()).then(|| gzip(text.as_bytes())).flatten();
    // Each form has a validator of its own (RFC 9110 §8.8.3).
    let form = if packed.is_some() { "-gzip" } else { "" };
    let tag = format!("\"{:016x}{form}\"", hasher.finish());
    let mut response = if matches(request.headers(), &tag) {
        unchanged(&tag, ASK_AGAIN)
    } else {
        let gzip = packed.is_some();
        let body = packed.unwrap_or_else(|| text.into_bytes());
        let mut response = respond(StatusCode::OK, content, ASK_AGAIN, Bytes::from(body));
        set(&mut response, header::ETAG, &tag);
        if gzip {
            set(&mut response, header::CONTENT_ENCODING, "gzip");
        }
        response
    };
    set(&mut response, header::VARY, "Accept-Encoding");
    response
}

/// A file of media, or the part of it that is asked for; `target` is the target duration of its list in seconds.
pub fn media<B>(request: &Request<B>, name: &str, file: File, target: u64) -> Response<Body> {
    // A name is never used again, so what it names is its validator.
    let tag = format!("\"{name}\"");
    let cache = format!("public, max-age={}, immutable", target.saturating_mul(LIFETIME));
    if matches(request.headers(), &tag) {
        return unchanged(&tag, &cache);
    }
    let content = if file.sound { AUDIO } else { VIDEO };
    let text = |name| request.headers().get(name).and_then(|v: &header::HeaderValue| v.to_str().ok());
    // Parts are defined for GET alone (RFC 9110 §14.2).
    let whole = text(header::IF_RANGE).is_some_and(|t| t != tag) || request.method() != Method::GET;
    let length = file.bytes.len();
    let mut response = match wanted(text(header::RANGE).filter(|_| !whole), length) {
        Wanted::All => respond(StatusCode::OK, content, &cache, file.bytes),
        Wanted::Part(part) => {
            let last = part.end.saturating_sub(1);
            let range = format!("bytes {}-{last}/{length}", part.start);
            let mut response = respond(StatusCode::PARTIAL_CONTENT, content, &cache, file.bytes.slice(part));
            set(&mut response, header::CONTENT_RANGE, &range);
            response
        }
        Wanted::Outside => {
            let mut response = plain(StatusCode::RANGE_NOT_SATISFIABLE, "beyond the end of the file\n");
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{length}"));
            return response;
        }
    };
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::ETAG, &tag);
    response
}

/// If-None-Match, in which weak validators count as well (RFC 9110 §13.1.2).
fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|t| t == "*" || t.strip_prefix("W/").unwrap_or(t) == tag)
}

fn unchanged(tag: &str, cache: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    set(&mut response, header::ETAG, tag);
    set(&mut response, header::CACHE_CONTROL, cache);
    response
}

/// Accept-Encoding (RFC 9110 §12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    let (mut named, mut any) = (None, false);
    for coding in lists.flat_map(|list| list.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
        let wanted = weight.is_none_or(|q| q.trim().parse::<f32>().is_ok_and(|q| q > 0.0));
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            named = Some(wanted);
        } else if name == "*" {
            any = wanted;
        }
    }
    named.unwrap_or(any)
}

fn gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn field<'r>(response: &'r Response<Body>, name: &str) -> &'r str {
        response.headers().get(name).map_or("", |v| v.to_str().unwrap())
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for (accept, want) in [
            ("gzip", true),
            ("br, gzip;q=0.5", true),
            ("GZIP", true),
            ("*", true),
            ("x-gzip", true),
            ("gzip;q=0, *", false),
            ("gzip; q=0.0", false),
            ("identity", false),
            ("", false),
        ] {
            let list =
                list(&request(Method::GET, &[("accept-encoding", accept)]), PLAYLIST, "#EXTM3U\n".into());
            assert_eq!(field(&list, "content-encoding") == "gzip", want, "{accept}");
            assert_eq!(field(&list, "vary"), "Accept-Encoding");
        }
    }

    #[test]
    fn validators_change_with_the_text_and_its_form() {
        let of = |fields: &[(&str, &str)], text: &str| {
            list(&request(Method::GET, fields), PLAYLIST, text.to_owned())
        };
        let (one, two) = (of(&[], "#EXTM3U\n1"), of(&[], "#EXTM3U\n2"));
        let packed = of(&[("accept-encoding", "gzip")], "#EXTM3U\n1");
        let tags = [field(&one, "etag"), field(&two, "etag"), field(&packed, "etag")];
        assert!(
            tags[0] != tags[1] && tags[0] != tags[2] && tags.iter().all(|t| t.starts_with('"')),
            "{tags:?}"
        );
        for (fields, want) in [
            (&[("if-none-match", tags[0])][..], 304),
            (&[("if-none-match", "\"a\""), ("if-none-match", tags[0])], 304),
            (&[("if-none-match", tags[0]), ("accept-encoding", "gzip")], 200),
            (&[("if-none-match", tags[1])], 200),
        ] {
            let again = of(fields, "#EXTM3U\n1");
            assert_eq!(again.status(), want, "{fields:?}");
            assert_eq!(field(&again, "cache-control"), ASK_AGAIN);
        }
    }

    #[test]
    fn parts_are_for_get_and_whoever_has_the_same_file() {
        let of = |method, fields: &[(&str, &str)]| {
            let file = File { bytes: Bytes::from_static(&[7; 100]), sound: true };
            media(&request(method, fields), "7.m4s", file, 2)
        };
        let range = ("range", "Bytes=4-11");
        let part = of(Method::GET, &[range]);
        assert_eq!((part.status().as_u16(), field(&part, "content-range")), (206, "bytes 4-11/100"));
        assert_eq!(field(&part, "content-type"), "audio/mp4");
        let head = of(Method::HEAD, &[range]);
        assert_eq!((head.status().as_u16(), field(&head, "content-length")), (200, "100"));
        assert_eq!(of(Method::GET, &[range, ("if-range", "\"7.m4s\"")]).status(), 206);
        for other in ["W/\"7.m4s\"", "\"8.m4s\"", "Mon, 23 Nov 2026 08:00:00 GMT"] {
            assert_eq!(of(Method::GET, &[range, ("if-range", other)]).status(), 200, "{other}");
        }
        for same in ["\"7.m4s\"", "W/\"7.m4s\"", "\"a\", \"7.m4s\"", "*"] {
            assert_eq!(of(Method::GET, &[range, ("if-none-match", same)]).status(), 304, "{same}");
        }
    }

    #[test]
    fn a_page_may_send_what_it_wants_to() {
        let of = |fields: &[(&str, &str)]| {
            field(&preflight(request(Method::OPTIONS, fields).headers()), "access-control-allow-headers")
                .to_owned()
        };
        let asked = "authorization,cmcd-session,range";
        assert_eq!(of(&[("access-control-request-headers", asked)]), asked);
        assert_eq!(of(&[]), FIELDS);
        assert_eq!(of(&[("access-control-request-headers", "a: b")]), FIELDS);
    }
}
