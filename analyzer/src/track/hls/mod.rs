//! Tells HLS viewers apart and counts what they fetched.
//!
//! A viewer is named by the token `session=` of its URLs or by our server's cookie. Without one it is the poll loop of an address, a User-Agent and a
//! playlist, split when a segment is fetched again. One playlist and one segment answered 200 or 206 make a session; so do the transport streams on one
//! connection that no playlist lists.

mod coding;
mod media;
mod moved;
mod outcome;
mod parts;
mod playlist;
mod polls;
mod rendition;
mod samples;
mod segment;
mod unpack;
mod viewers;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use spec::Requirement;
use wire::http::{Head, Start};

use self::coding::Coding;
use self::moved::Moved;
pub use self::outcome::Outcome;
use self::parts::{Got, part, told_part};
use self::playlist::{cookie, token};
use self::rendition::{Declared, Movies, Rendition};
use self::segment::{Segment, might_be_transport};
use self::unpack::Unpacker;
use crate::finding::{Note, Notes};
use crate::flow::hash::Seeded;
use crate::flow::{At, ConnStats, Dir, End};
use crate::rules::hls::url::{key, local};
use crate::rules::{Panel, hls as rules};

/// Longest playlist that is read.
const MAX_PLAYLIST: usize = 4 << 20;
/// Connections listed of one viewer.
const MAX_CONNECTIONS: usize = 1000;
/// Viewers on one connection that are told apart.
const MAX_SHARED: usize = 64;

/// A viewer of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewerNo(u32);

/// All HLS viewers of a capture.
#[derive(Debug, Default)]
pub struct Registry {
    /// Whether every frame is marked.
    trace: bool,
    viewers: Vec<Viewer>,
    loops: Vec<Loop>,
    tokens: HashMap<(SocketAddr, String), ViewerNo, Seeded>,
    by_client: HashMap<(IpAddr, u64), Vec<usize>, Seeded>,
    carried: Vec<(ViewerNo, u64)>,
    claims: HashMap<u64, Claim>,
    /// What was noted of requests that no viewer could be found for.
    notes: Notes,
    stamp: u64,
    /// Initialization sections seen lately.
    movies: Movies,
    /// Segments whose answers began.
    turns: u64,
    /// Redirections that nobody followed yet, oldest first.
    moved: VecDeque<Moved>,
    /// Memory that answers take which wait for those before them.
    waiting: usize,
}

/// Who polls one playlist.
#[derive(Debug)]
struct Loop {
    playlist: u64,
    path: Option<String>,
    /// Media playlists of the multivariant playlist, if it is one.
    children: HashSet<u64>,
    declared: Declared,
    viewers: Vec<ViewerNo>,
    /// Segments, and where and when they were listed last.
    listed: HashMap<u64, Listing>,
    order: VecDeque<u64>,
    /// Segments that are parts of resources: the resource, where each begins and how long it is.
    spans: BTreeMap<(u64, u64), u64>,
    /// Initialization sections: which part of their resource they are, and the playlist that lists them.
    maps: HashMap<u64, (Option<(u64, u64)>, u64)>,
    /// Keys and the like.
    others: HashSet<u64>,
    /// Requests for the multivariant playlist that no viewer has yet.
    pending: VecDeque<Pending>,
    latest: Option<Poll>,
}

/// The latest poll of a playlist, which may turn out to be another viewer's.
#[derive(Debug)]
struct Poll {
    no: u64,
    viewer: ViewerNo,
    bytes: [u64; 2],
    client: SocketAddr,
    at_ns: i64,
    /// Its connection, once that is over.
    part: Option<Part>,
}

/// A segment that a playlist lists.
#[derive(Clone, Copy, Debug)]
struct Listing {
    /// The initialization section it needs.
    map: Option<u64>,
    encrypted: bool,
    /// The playlist's key.
    list: u64,
    /// When it was fetched last, in playlists.
    stamp: u64,
}

/// A request for a multivariant playlist.
#[derive(Clone, Debug)]
struct Pending {
    no: u64,
    /// The token that its answer gave to the viewer in a cookie.
    token: Option<String>,
    /// The redirection that led to it.
    led: Option<u64>,
    bytes: [u64; 2],
    client: SocketAddr,
    at_ns: i64,
}

/// Whose a request for a multivariant playlist turned out to be, and the connection it was on.
#[derive(Debug, Default)]
struct Claim {
    viewer: Option<ViewerNo>,
    part: Option<Part>,
}

/// One viewer.
#[derive(Debug)]
struct Viewer {
    of: usize,
    client: SocketAddr,
    server: SocketAddr,
    agent: Option<String>,
    first_ns: i64,
    last_ns: i64,
    bytes: [u64; 2],
    playlists: u64,
    segments: u64,
    polled_ns: i64,
    fetched: VecDeque<u64>,
    /// Segments it got lately, and whether all of each.
    got: VecDeque<Got>,
    /// What it fetched, each playlist's by itself.
    renditions: Vec<Rendition>,
    declared: Declared,
    /// True where transport streams are in responses that no playlist lists.
    progressive: bool,
    parts: Vec<Part>,
    notes: Notes,
    incomplete: bool,
    rules: Panel<rules::Hls>,
}

/// A connection of a viewer.
#[derive(Clone, Debug)]
pub struct Part {
    /// The connection in figures.
    pub stats: ConnStats,
    /// The client's direction.
    pub client: Dir,
    /// How it ended.
    pub end: End,
}

/// What a connection knows of its viewers.
#[derive(Debug, Default)]
pub struct Connection {
    viewers: Vec<ViewerNo>,
    /// Requests for multivariant playlists that had no viewer yet.
    pending: Vec<u64>,
    /// The latest poll on it, and its loop.
    latest: Option<(usize, u64)>,
    /// Whose the transport streams are that no playlist lists.
    progressive: Option<ViewerNo>,
    /// True once bytes are missing.
    pub incomplete: bool,
}

/// A request and its response.
#[derive(Debug)]
pub struct Exchange {
    method: String,
    url: String,
    client: SocketAddr,
    server: SocketAddr,
    agent: Option<String>,
    started_ns: i64,
    /// The segment's key, its range counted.
    fetch: u64,
    /// The first and the last byte that it asks for, where it asks for a part.
    range: Option<(u64, u64)>,
    viewer: Option<ViewerNo>,
    /// The token of the URL or of the cookie.
    token: Option<String>,
    /// The token that the answer gives in a cookie.
    given: Option<String>,
    /// Where the answer leads.
    leads: Option<String>,
    /// The URL that led here, and what the redirection is claimed by.
    led: Option<(String, Option<u64>)>,
    bytes: [u64; 2],
    body: Body,
    coding: Coding,
    /// What undoes the coding of a segment.
    unpacker: Option<Box<Unpacker>>,
    /// Where the content begins.
    body_at: Option<At>,
    holes: bool,
    content_type: Option<String>,
}

#[derive(Debug)]
enum Body {
    /// Nothing is expected of it.
    Other,
    /// May be a playlist: what there is of it.
    Playlist(Vec<u8>),
    /// May be a transport stream that no playlist lists.
    Unlisted,
    /// A segment or an initialization section.
    Segment(Box<Segment>),
}

impl Exchange {
    /// The request's method.
    pub fn method(&self) -> &str {
        &self.method
    }
}

impl Registry {
    /// Nobody yet; every frame is marked where `trace` says so.
    pub(crate) fn new(trace: bool) -> Self {
        Self { trace, ..Self::default() }
    }

    /// Takes a request's head.
    pub fn request(
        &mut self,
        connection: &mut Connection,
        (client, server): (SocketAddr, SocketAddr),
        at: At,
        head: &Head<'_>,
    ) -> Exchange {
        let (method, target) = match head.start {
            Start::Request { method, target, .. } => (method, target),
            Start::Status { .. } => ("", ""),
        };
        let url: String = local(target).chars().take(4096).collect();
        let range = head.field("Range").unwrap_or_default();
        let token = token(&url).or_else(|| head.all("Cookie").find_map(cookie)).map(str::to_owned);
        let mut exchange = Exchange {
            method: method.chars().take(32).collect(),
            fetch: key(&format!("{} {range}", local(&url))),
            range: part(range),
            token,
            url,
            agent: head.field("User-Agent").map(|agent| agent.chars().take(1024).collect()),
            ..Exchange::unasked((client, server), at)
        };
        self.led(&mut exchange);
        self.assign(connection, &mut exchange);
        exchange
    }

    /// Counts bytes of a request or its response, to the server (0) or to the client (1).
    pub fn bytes(&mut self, exchange: &mut Exchange, side: usize, bytes: u64) {
        match exchange.viewer {
            Some(no) if bytes > 0 => {
                if let Some(sum) = self.viewer_mut(no).and_then(|viewer| viewer.bytes.get_mut(side)) {
                    *sum = sum.saturating_add(bytes);
                }
                self.carried.push((no, bytes));
            }
            _ => {
                if let Some(sum) = exchange.bytes.get_mut(side) {
                    *sum = sum.saturating_add(bytes);
                }
            }
        }
    }

    /// Tells what viewers got since the call before, all of it in a packet of this time.
    pub fn carried(&mut self, time_ns: i64, mut count: impl FnMut(ViewerNo, u64)) {
        for (no, bytes) in std::mem::take(&mut self.carried) {
            if let Some(viewer) = self.viewer_mut(no) {
                viewer.last_ns = viewer.last_ns.max(time_ns);
            }
            count(no, bytes);
        }
    }

    /// Takes a response's head.
    pub fn response(
        &mut self,
        connection: &mut Connection,
        exchange: &mut Exchange,
        at: At,
        head: &Head<'_>,
    ) {
        let code = match head.start {
            Start::Status { code, .. } => code,
            Start::Request { .. } => 0,
        };
        let ok = matches!(code, 200 | 206);
        let moved = exchange.method == "GET" && matches!(code, 301 | 302 | 303 | 307 | 308);
        exchange.leads = head.field("Location").filter(|_| moved).map(|to| to.chars().take(4096).collect());
        exchange.given = head.all("Set-Cookie").find_map(cookie).map(str::to_owned);
        exchange.coding = Coding::of(head);
        exchange.content_type = head.field("Content-Type").map(|kind| kind.chars().take(256).collect());
        let kind = head.field("Content-Type").unwrap_or_default().to_ascii_lowercase();
        let path = exchange.url.split('?').next().unwrap_or_default().to_ascii_lowercase();
        if exchange.viewer.is_none() && (code == 304 || exchange.method == "HEAD") {
            self.asks_again(connection, exchange);
        }
        if let Body::Segment(segment) = &mut exchange.body {
            segment.offset = exchange.range.filter(|_| code == 206).map_or(0, |(from, _)| from);
            let (counts, encrypted) = (!segment.is_map, segment.encrypted);
            let (url, told) = (segment.url(), head.field("Content-Range").and_then(told_part));
            let got = self.got(exchange, url, (code == 206).then_some(told));
            if let Some(viewer) = exchange.viewer.and_then(|no| self.viewer_mut(no)).filter(|_| counts) {
                if ok {
                    viewer.got(got);
                } else if moved {
                    viewer.fetched.retain(|fetched| *fetched != exchange.fetch);
                } else {
                    viewer.fetched.retain(|fetched| *fetched != exchange.fetch);
                    let rule = &spec::hls::LIVE_AVAILABLE_WHEN_LISTED;
                    viewer.notes.add(rule, None, || {
                        Note::new(rule, "a listed segment could not be fetched")
                            .at(at)
                            .want_got("200 or 206", code.to_string())
                    });
                }
            }
            if ok && encrypted {
                self.note(exchange, &spec::capture::HLS_ENCRYPTED, || {
                    let words = "segments are encrypted: what they carry is not known without their key";
                    Note::new(&spec::capture::HLS_ENCRYPTED, words).at(at)
                });
            }
            if !ok {
                exchange.body = Body::Other;
            } else if exchange.coding != Coding::Identity {
                self.note(exchange, &spec::http::GZIP, || {
                    let coding = head.field("Content-Encoding").unwrap_or_default();
                    Note::new(&spec::http::GZIP, "media is coded once more on its way, which gains nothing")
                        .at(at)
                        .want_got("no Content-Encoding", coding.chars().take(64).collect::<String>())
                });
                // A part of what is coded cannot be undone by itself.
                exchange.unpacker = Unpacker::of(exchange.coding).filter(|_| code == 200).map(Box::new);
                if exchange.unpacker.is_some() {
                    self.begin_segment(exchange);
                } else {
                    exchange.body = Body::Other;
                }
            } else {
                self.begin_segment(exchange);
            }
            return;
        }
        let listing = kind.contains("mpegurl") || path.ends_with(".m3u8") || path.ends_with(".m3u");
        if ok && listing && exchange.method == "GET" && exchange.coding != Coding::Other {
            exchange.body = Body::Playlist(Vec::new());
        } else if ok && exchange.coding == Coding::Identity && might_be_transport(&kind, &path) {
            exchange.body = Body::Unlisted;
        }
    }

    /// Something about a request: with its viewer, where it has one.
    fn note(&mut self, exchange: &Exchange, rule: &'static Requirement, make: impl FnOnce() -> Note) {
        let viewer = exchange.viewer.and_then(|no| usize::try_from(no.0).ok());
        match viewer.and_then(|no| self.viewers.get_mut(no)) {
            Some(viewer) => viewer.notes.add(rule, None, make),
            None => self.notes.add(rule, None, make),
        }
    }

    /// A playlist that has not changed, or only its head, was asked for: by whoever polls it.
    fn asks_again(&mut self, connection: &mut Connection, exchange: &mut Exchange) {
        let (url, bare) = (key(&exchange.url), key(bare(&exchange.url)));
        let mine = self.by_client.get(&viewers::client_key(exchange)).map(Vec::as_slice).unwrap_or_default();
        let polls = |of: &usize| {
            let group = self.loops.get(*of)?;
            (group.playlist == bare || group.children.contains(&url)).then_some(*of)
        };
        let Some(of) = mine.iter().rev().find_map(polls) else { return };
        if let Some(no) = self.polls(connection, of) {
            self.credit(connection, no, exchange);
        }
    }

    /// A connection is over.
    pub fn closed(&mut self, connection: Connection, client: Dir, end: End, stats: &ConnStats) {
        let mut viewers = connection.viewers;
        if let Some((of, no)) = connection.latest
            && let Some(poll) = self.loops.get_mut(of).and_then(|group| group.latest.as_mut())
            && poll.no == no
        {
            poll.part = Some(Part { stats: *stats, client, end });
        }
        for pending in connection.pending.into_iter().chain(connection.latest.map(|(_, no)| no)) {
            let Some(claim) = self.claims.remove(&pending) else { continue };
            match claim.viewer {
                Some(no) if viewers.contains(&no) => {}
                Some(no) => viewers.push(no),
                None => {
                    let part = Some(Part { stats: *stats, client, end });
                    self.claims.insert(pending, Claim { viewer: None, part });
                }
            }
        }
        // On a viewer's connection they were segments of a playlist that the capture lacks.
        let shared = viewers.len() > 1;
        for no in viewers {
            let Some(viewer) = self.viewer_mut(no) else { continue };
            viewer.progressive &= !shared;
            viewer.incomplete |= connection.incomplete || !stats.is_whole();
            if viewer.parts.len() < MAX_CONNECTIONS {
                viewer.parts.push(Part { stats: *stats, client, end });
            } else {
                let rule = &spec::capture::STATE_BOUNDED;
                viewer.notes.add(rule, None, || {
                    let (time_ns, frame) = (stats.first_ns, stats.info.frame);
                    Note::new(rule, "more connections of one viewer than are listed")
                        .at(At { time_ns, frame, offset: 0, ready_ns: time_ns })
                        .want_got(format!("at most {MAX_CONNECTIONS}"), "more")
                });
            }
        }
    }

    /// What was noted of requests that are no viewer's.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes).into_vec()
    }
}

/// A URL without its query.
fn bare(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}
