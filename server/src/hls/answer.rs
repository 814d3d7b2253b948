//! Requests to answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::meter::Meter;
use super::range::{Wanted, wanted};
use super::request::{Asked, COOKIE_NAME, PARAMETER, agent, cookie, parameter};
use super::viewers::{Asker, Visit, is_name};
use super::{Live, playlist};
use crate::config::HlsSession;
use crate::fault::hls::Playlist;
use crate::shared::Shared;

/// How long a request for a list waits for the first segment.
const PATIENCE: Duration = Duration::from_secs(15);

/// Content types (RFC 8216 §10, RFC 4337).
const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const MEDIA: &str = "video/mp4";
const TEXT: &str = "text/plain; charset=utf-8";

/// What a client may fetch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum File {
    Multivariant,
    Media,
    Bytes,
}

/// Answers one request of the connection that `meter` counts.
pub async fn answer<B>(
    request: Request<B>,
    remote: SocketAddr,
    meter: Arc<Meter>,
    shared: Arc<Shared>,
) -> Response<Body> {
    let mut whose = None;
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => file(&request, remote, &meter, &shared, &mut whose).await,
        Method::OPTIONS => preflight(),
        _ => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD and OPTIONS\n");
            set(&mut response, header::ALLOW, "GET, HEAD, OPTIONS");
            response
        }
    };
    if whose.is_none() {
        meter.belongs_to(None);
    }
    // Any page may play any stream, and read why it cannot.
    set(&mut response, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    let exposed = "Content-Length, Content-Range, Date, ETag";
    set(&mut response, header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    response
}

fn set(response: &mut Response<Body>, name: header::HeaderName, value: &str) {
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

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    respond(status, TEXT, "no-store", Bytes::from_static(text.as_bytes()))
}

fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    set(&mut response, header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS");
    set(&mut response, header::ACCESS_CONTROL_ALLOW_HEADERS, "*, Authorization, Range");
    set(&mut response, header::ACCESS_CONTROL_MAX_AGE, "86400");
    response
}

async fn file<B>(
    request: &Request<B>,
    remote: SocketAddr,
    meter: &Meter,
    shared: &Arc<Shared>,
    whose: &mut Option<Visit>,
) -> Response<Body> {
    if request.uri().path() == "/" {
        return plain(StatusCode::OK, "streamgauge: /PATH/index.m3u8 plays what is published on PATH\n");
    }
    let Some(asked) = Asked::read(request.uri().path()) else {
        return plain(StatusCode::NOT_FOUND, "no such file: want /PATH/index.m3u8\n");
    };
    let kind = match asked.file.as_str() {
        "index.m3u8" => File::Multivariant,
        "stream.m3u8" => File::Media,
        _ => File::Bytes,
    };
    let Some(live) = shared.hls.find(&asked.path) else {
        return plain(StatusCode::NOT_FOUND, "nobody publishes on this path\n");
    };
    let bytes = match kind {
        File::Bytes => match live.shelf().file(&asked.file) {
            Some(bytes) => Some(bytes),
            None => return plain(StatusCode::NOT_FOUND, "this segment is no more, or never was\n"),
        },
        _ => None,
    };
    let Some(visit) = visit(request, (kind, &asked), &live, remote, shared).map(|v| &*whose.insert(v)) else {
        let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "too many viewers\n");
        set(&mut response, header::RETRY_AFTER, "5");
        return response;
    };
    meter.belongs_to(Some(&visit.session));
    if kind != File::Multivariant {
        visit.session.watches(&shared.registry);
    }
    match bytes {
        Some(bytes) => {
            let bytes = match &shared.hls_fault {
                None => bytes,
                Some(fault) => fault.file(&asked.file, bytes),
            };
            media(request.headers(), &asked.file, bytes, &live)
        }
        None => list(kind, &asked, &live, visit, shared).await,
    }
}

/// The session of a request. Where a player that has none asks for more than a name (it keeps no cookies, or was handed
/// the media playlist's URL), its address and what it calls itself stand for one.
fn visit<B>(
    request: &Request<B>,
    (kind, asked): (File, &Asked),
    live: &Arc<Live>,
    address: SocketAddr,
    shared: &Shared,
) -> Option<Visit> {
    let agent = agent(request.headers());
    let mode = shared.config.hls.session;
    let told = match mode {
        HlsSession::Uri => parameter(request.uri().query(), PARAMETER),
        HlsSession::Cookie => cookie(request.headers()),
        HlsSession::Off => None,
    };
    let told = told.filter(|id| is_name(id));
    let apart = shared.hls.viewers.name_of(address.ip(), &asked.path, agent);
    let nameless = kind != File::Multivariant || mode == HlsSession::Off;
    let id = told.or_else(|| nameless.then_some(apart.as_str()));
    let (most, now) = (shared.config.limits.connections, shared.clock.now());
    shared.hls.viewers.visit(id, live, Asker { address, agent }, &shared.registry, most, now)
}

async fn list(kind: File, asked: &Asked, live: &Live, visit: &Visit, shared: &Shared) -> Response<Body> {
    let mode = shared.config.hls.session;
    let query = match mode {
        HlsSession::Uri => format!("?{PARAMETER}={}", visit.session.id),
        _ => String::new(),
    };
    let now = Instant::now();
    let deadline = now.checked_add(PATIENCE).unwrap_or(now);
    let text = loop {
        let changed = live.changed.notified();
        let coming = {
            let shelf = live.shelf();
            let text = if kind == File::Media { shelf.media(&query) } else { shelf.multivariant(&query) };
            match text {
                Some(text) => break text,
                None => shelf.is_coming(),
            }
        };
        if !coming {
            return plain(
                StatusCode::NOT_FOUND,
                "nothing that is published on this path can be carried over HLS\n",
            );
        }
        if timeout_at(deadline, changed).await.is_err() {
            let mut response =
                plain(StatusCode::SERVICE_UNAVAILABLE, "the first segment is not complete yet\n");
            set(&mut response, header::RETRY_AFTER, "1");
            return response;
        }
    };
    let mut list = Playlist { text, content: PLAYLIST };
    if let Some(fault) = &shared.hls_fault {
        fault.playlist(&mut list);
    }
    // A list names its viewer, and changes with every segment.
    let mut response = respond(StatusCode::OK, list.content, "private, no-cache", Bytes::from(list.text));
    if mode == HlsSession::Cookie && kind == File::Multivariant {
        let path: String = asked.path.split('/').map(escaped).collect::<Vec<_>>().join("/");
        set(
            &mut response,
            header::SET_COOKIE,
            &format!("{COOKIE_NAME}={}; Path=/{path}/; HttpOnly", visit.session.id),
        );
    }
    response
}

/// A path segment as it stands in a URL.
fn escaped(segment: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    segment.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn media(headers: &HeaderMap, name: &str, bytes: Bytes, live: &Live) -> Response<Body> {
    // A name is never used again, so what it names is its validator.
    let tag = format!("\"{name}\"");
    let text = |name| headers.get(name).and_then(|v: &header::HeaderValue| v.to_str().ok());
    let target = live.shelf().target().unwrap_or(1);
    let cache = format!("public, max-age={}, immutable", target.saturating_mul(playlist::LIFETIME));
    if text(header::IF_NONE_MATCH)
        .is_some_and(|list| list.split(',').any(|t| t.trim() == tag || t.trim() == "*"))
    {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        set(&mut response, header::ETAG, &tag);
        set(&mut response, header::CACHE_CONTROL, &cache);
        return response;
    }
    let same = text(header::IF_RANGE).is_none_or(|t| t == tag);
    let length = bytes.len();
    let mut response = match wanted(text(header::RANGE).filter(|_| same), length) {
        Wanted::All => respond(StatusCode::OK, MEDIA, &cache, bytes),
        Wanted::Part(part) => {
            let last = part.end.saturating_sub(1);
            let range = format!("bytes {}-{last}/{length}", part.start);
            let mut response = respond(StatusCode::PARTIAL_CONTENT, MEDIA, &cache, bytes.slice(part));
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
