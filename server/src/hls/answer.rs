//! Requests to answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, Version, header};
use tokio::time::{Instant, timeout_at};

use super::meter::Meter;
use super::reply::{PLAYLIST, later, media, open_to_all, plain, preflight, refused, set};
use super::request::{Asked, COOKIE_NAME, PARAMETER, agent, cookie, parameter};
use super::viewers::{Asker, Visit, is_name};
use super::{Live, reply};
use crate::config::HlsSession;
use crate::fault::hls::Playlist;
use crate::shared::Shared;

/// How long a request for a list waits for the first segment.
const PATIENCE: Duration = Duration::from_secs(15);

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
        _ if !names_host(&request) => plain(StatusCode::BAD_REQUEST, "want one Host header field\n"),
        Method::GET | Method::HEAD => file(&request, remote, &meter, &shared, &mut whose).await,
        Method::OPTIONS => preflight(request.headers()),
        _ => refused(),
    };
    if whose.is_none() {
        meter.belongs_to(None);
    }
    open_to_all(&mut response);
    response
}

/// A request of HTTP/1.1 has exactly one Host field (RFC 9112 §3.2).
fn names_host<B>(request: &Request<B>) -> bool {
    request.version() < Version::HTTP_11 || request.headers().get_all(header::HOST).iter().count() == 1
}

async fn file<B>(
    request: &Request<B>,
    remote: SocketAddr,
    meter: &Meter,
    shared: &Arc<Shared>,
    whose: &mut Option<Visit>,
) -> Response<Body> {
    if request.uri().path() == "/" {
        return plain(
            StatusCode::OK,
            "streamgauge: /PATH/index.m3u8 plays what is published on PATH, /PATH/ plays it in a browser\n",
        );
    }
    if let Some(page) = page(request.uri().path()) {
        return page;
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
        if shared.hls.find(&format!("{}/{}", asked.path, asked.file)).is_some() {
            return reply::moved(&format!("{}/", escaped(&asked.file)));
        }
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
        return later("too many viewers\n", "5");
    };
    meter.belongs_to(Some(&visit.session));
    if live.shelf().is_last(&asked.file) {
        visit.session.has_last();
    }
    if kind != File::Multivariant {
        visit.session.watches(&shared.registry);
    }
    match bytes {
        Some(mut found) => {
            if let Some(fault) = &shared.hls_fault {
                found.bytes = fault.file(&asked.file, found.bytes);
            }
            let target = live.shelf().target().unwrap_or(1);
            media(request, &asked.file, found, target)
        }
        None => list(request, (kind, &asked), &live, visit, shared).await,
    }
}

/// The page that plays a path in any browser: at `/PATH/`, whoever publishes there or not yet.
fn page(path: &str) -> Option<Response<Body>> {
    let stream = path.strip_suffix('/')?;
    Asked::read(&format!("{stream}/index.m3u8")).map(|_| reply::page(include_str!("watch.html")))
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

async fn list<B>(
    request: &Request<B>,
    (kind, asked): (File, &Asked),
    live: &Live,
    visit: &Visit,
    shared: &Shared,
) -> Response<Body> {
    let mode = shared.config.hls.session;
    let query = match mode {
        HlsSession::Uri => format!("?{PARAMETER}={}", visit.session.id),
        _ => String::new(),
    };
    let now = Instant::now();
    let deadline = now.checked_add(PATIENCE).unwrap_or(now);
    let (text, ended) = loop {
        let changed = live.changed.notified();
        let coming = {
            let shelf = live.shelf();
            let text = if kind == File::Media { shelf.media(&query) } else { shelf.multivariant(&query) };
            match text {
                Some(text) => break (text, shelf.has_ended()),
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
            return later("the first segment is not complete yet\n", "1");
        }
    };
    let mut list = Playlist { text, content: PLAYLIST };
    if let Some(fault) = &shared.hls_fault {
        fault.playlist(&mut list);
    }
    if kind == File::Media {
        visit.session.hears(ended);
    }
    let mut response = reply::list(request, list.content, list.text);
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
