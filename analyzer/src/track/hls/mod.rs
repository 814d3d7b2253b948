//! Tells HLS viewers apart and counts what they fetched.
//!
//! A viewer is named by the token `session=` of its URLs or by our server's cookie. Without one it is the poll loop of an address, a User-Agent and a
//! playlist, split when a segment is fetched again. One playlist and one segment answered 200 or 206 make a session; so do the transport streams on one
//! connection that no playlist lists.

mod coding;
mod media;
mod outcome;
mod playlist;
mod samples;
mod segment;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use model::Protocol;
use spec::Requirement;
use wire::http::{Head, Start};

use self::coding::Coding;
use self::media::Tracks;
pub use self::outcome::Outcome;
pub(crate) use self::playlist::key;
use self::playlist::{Playlist, cookie, stream_path, token};
use self::segment::{Segment, might_be_transport};
use crate::finding::{Note, Notes};
use crate::flow::hash::Seeded;
use crate::flow::{At, ConnStats, Dir, End};
use crate::rules::{Judged, Panel, hls as rules};
use crate::track::ts;

/// Longest playlist that is read.
const MAX_PLAYLIST: usize = 4 << 20;
/// Viewers and poll loops followed.
const MAX_VIEWERS: usize = 1 << 17;
/// Segments a loop listed that are remembered.
const MAX_LISTED: usize = 8192;
/// Segments a viewer fetched that are remembered.
const MAX_FETCHED: usize = 1024;
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
}

/// Who polls one playlist.
#[derive(Debug)]
struct Loop {
    playlist: u64,
    path: Option<String>,
    /// Media playlists of the multivariant playlist, if it is one.
    children: HashSet<u64>,
    declared: Vec<(&'static str, String)>,
    viewers: Vec<ViewerNo>,
    /// Segments with their initialization sections, and when they were listed last.
    listed: HashMap<u64, (Option<u64>, u64)>,
    order: VecDeque<u64>,
    maps: HashSet<u64>,
    /// Requests for the multivariant playlist that no viewer has yet.
    pending: VecDeque<Pending>,
    /// The latest poll: by whom, its bytes, from where, when.
    latest: Option<(ViewerNo, [u64; 2], SocketAddr, i64)>,
}

/// A request for a multivariant playlist.
#[derive(Clone, Debug)]
struct Pending {
    no: u64,
    /// The token that its answer gave to the viewer in a cookie.
    token: Option<String>,
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
    tracks: Tracks,
    /// What its transport streams carry.
    streams: ts::Tracks,
    /// True where they are in responses that no playlist lists.
    progressive: bool,
    first_frame_ns: Option<i64>,
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

/// A stream's path, and what its multivariant playlist declares.
type Declared = (Option<String>, Vec<(&'static str, String)>);

/// What a connection knows of its viewers.
#[derive(Debug, Default)]
pub struct Connection {
    viewers: Vec<ViewerNo>,
    /// Requests for multivariant playlists that had no viewer yet.
    pending: Vec<u64>,
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
    viewer: Option<ViewerNo>,
    /// The token of the URL or of the cookie.
    token: Option<String>,
    /// The token that the answer gives in a cookie.
    given: Option<String>,
    bytes: [u64; 2],
    body: Body,
    coding: Coding,
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
        let url: String = playlist::local(target).chars().take(4096).collect();
        let range = head.field("Range").unwrap_or_default();
        let token = token(&url).or_else(|| head.all("Cookie").find_map(cookie)).map(str::to_owned);
        let mut exchange = Exchange {
            method: method.chars().take(32).collect(),
            fetch: key(&format!("{} {range}", playlist::local(&url))),
            token,
            url,
            agent: head.field("User-Agent").map(|agent| agent.chars().take(1024).collect()),
            ..Exchange::unasked((client, server), at)
        };
        self.assign(connection, &mut exchange);
        exchange
    }

    /// Finds the viewer of a request for a segment, or of any request with a known token.
    fn assign(&mut self, connection: &mut Connection, exchange: &mut Exchange) {
        let url = key(&exchange.url);
        let by_token = exchange
            .token
            .as_ref()
            .and_then(|token| self.tokens.get(&(exchange.server, token.clone())).copied());
        let of = match by_token {
            Some(no) => self.viewer(no).map(|viewer| viewer.of),
            None => {
                let mine = self.by_client.get(&client_key(exchange)).map(Vec::as_slice).unwrap_or_default();
                let listing = |of: &usize| Some((self.loops.get(*of)?.listed.get(&url)?.1, *of));
                let maps = |of: &usize| self.loops.get(*of)?.maps.contains(&url).then_some((0, *of));
                mine.iter().filter_map(|of| listing(of).or_else(|| maps(of))).max().map(|(_, of)| of)
            }
        };
        let Some(of) = of else { return };
        let Some(group) = self.loops.get(of) else { return };
        let (is_map, is_segment) = (group.maps.contains(&url), group.listed.contains_key(&url));
        if exchange.method == "GET" && (is_map || is_segment) {
            let map = if is_map { Some(url) } else { group.listed.get(&url).and_then(|(map, _)| *map) };
            exchange.body = Body::Segment(Box::new(Segment::new(url, is_map, map)));
        }
        let counts = is_segment && !is_map && exchange.method == "GET";
        let viewer = match by_token {
            Some(no) => Some(no),
            None => self.of_loop(connection, of, exchange, counts),
        };
        if let Some(no) = viewer {
            if let Some(viewer) = self.viewer_mut(no).filter(|_| counts) {
                if viewer.fetched.len() >= MAX_FETCHED {
                    viewer.fetched.pop_front();
                }
                viewer.fetched.push_back(exchange.fetch);
            }
            self.credit(connection, no, exchange);
        }
    }

    /// The viewer of a loop that a request for a segment is from; a new one where all have fetched it.
    fn of_loop(
        &mut self,
        connection: &Connection,
        of: usize,
        exchange: &Exchange,
        counts: bool,
    ) -> Option<ViewerNo> {
        let group = self.loops.get(of)?;
        let has = |no: &ViewerNo| {
            counts && self.viewer(*no).is_some_and(|viewer| viewer.fetched.contains(&exchange.fetch))
        };
        let bound = connection.viewers.iter().rev().find(|no| group.viewers.contains(no) && !has(no));
        let latest = || {
            let free = group.viewers.iter().filter(|no| !has(no));
            free.max_by_key(|no| self.viewer(**no).map(|viewer| viewer.polled_ns))
        };
        if let Some(no) = bound.or_else(latest) {
            return Some(*no);
        }
        // The latest poll was this one's, where another viewer has more than one.
        let latest = group.latest;
        let pending = self.take_pending(of);
        let no = self.add_viewer(of, exchange, pending)?;
        let mut poll = [0; 2];
        if let Some((other, bytes, client, at_ns)) = latest
            && let Some(first) = self.viewer_mut(other).filter(|first| first.playlists > 1)
        {
            first.playlists = first.playlists.saturating_sub(1);
            for (sum, bytes) in first.bytes.iter_mut().zip(bytes) {
                *sum = sum.saturating_sub(bytes);
            }
            poll = bytes;
            if let Some(viewer) = self.viewer_mut(no) {
                (viewer.client, viewer.first_ns) = (client, at_ns);
            }
        }
        if let Some(group) = self.loops.get_mut(of) {
            group.latest = None;
        }
        let viewer = self.viewer_mut(no)?;
        viewer.playlists = 1;
        viewer.bytes = poll;
        Some(no)
    }

    /// The first request for a loop's multivariant playlist that no viewer has yet.
    fn take_pending(&mut self, of: usize) -> Option<Pending> {
        self.loops.get_mut(of)?.pending.pop_front()
    }

    /// Adds a viewer, whose request for the multivariant playlist `pending` was.
    fn add_viewer(&mut self, of: usize, exchange: &Exchange, pending: Option<Pending>) -> Option<ViewerNo> {
        let no =
            ViewerNo(u32::try_from(self.viewers.len()).ok().filter(|_| self.viewers.len() < MAX_VIEWERS)?);
        let mut viewer = Viewer {
            of,
            client: exchange.client,
            server: exchange.server,
            agent: exchange.agent.clone(),
            first_ns: exchange.started_ns,
            last_ns: exchange.started_ns,
            bytes: [0; 2],
            playlists: 0,
            segments: 0,
            polled_ns: exchange.started_ns,
            fetched: VecDeque::new(),
            tracks: Tracks::new(self.trace),
            streams: ts::Tracks::default(),
            progressive: false,
            first_frame_ns: None,
            parts: Vec::new(),
            notes: Notes::default(),
            incomplete: false,
            rules: Panel::new(rules::ALL),
        };
        let group = self.loops.get_mut(of)?;
        group.viewers.push(no);
        viewer.tracks.declare(&group.declared);
        // Who asked for the multivariant playlist first is the first to poll what it lists.
        if let Some(Pending { no: pending, bytes, client, at_ns, .. }) = pending {
            (viewer.bytes, viewer.client, viewer.first_ns) = (bytes, client, at_ns);
            // Its connection is over, or its end will ask whose it was.
            match self.claims.remove(&pending).and_then(|claim| claim.part) {
                Some(part) => viewer.parts.push(part),
                None => {
                    self.claims.insert(pending, Claim { viewer: Some(no), part: None });
                }
            }
            self.carried.push((no, bytes.iter().fold(0, |sum, b| sum.saturating_add(*b))));
        }
        self.viewers.push(viewer);
        Some(no)
    }

    fn viewer(&self, no: ViewerNo) -> Option<&Viewer> {
        self.viewers.get(usize::try_from(no.0).ok()?)
    }

    fn viewer_mut(&mut self, no: ViewerNo) -> Option<&mut Viewer> {
        self.viewers.get_mut(usize::try_from(no.0).ok()?)
    }

    /// Gives a request to a viewer.
    fn credit(&mut self, connection: &mut Connection, no: ViewerNo, exchange: &mut Exchange) {
        exchange.viewer = Some(no);
        if !connection.viewers.contains(&no) && connection.viewers.len() < MAX_SHARED {
            connection.viewers.push(no);
        }
        for side in [0, 1] {
            let bytes = exchange.bytes.get_mut(side).map(std::mem::take).unwrap_or(0);
            self.bytes(exchange, side, bytes);
        }
        if let Some(viewer) = self.viewer_mut(no)
            && exchange.started_ns < viewer.first_ns
        {
            (viewer.first_ns, viewer.client) = (exchange.started_ns, exchange.client);
        }
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
    pub fn response(&mut self, _: &mut Connection, exchange: &mut Exchange, at: At, head: &Head<'_>) {
        let code = match head.start {
            Start::Status { code, .. } => code,
            Start::Request { .. } => 0,
        };
        let ok = matches!(code, 200 | 206);
        exchange.given = head.all("Set-Cookie").find_map(cookie).map(str::to_owned);
        exchange.coding = Coding::of(head);
        exchange.content_type = head.field("Content-Type").map(|kind| kind.chars().take(256).collect());
        let kind = head.field("Content-Type").unwrap_or_default().to_ascii_lowercase();
        let path = exchange.url.split('?').next().unwrap_or_default().to_ascii_lowercase();
        if let Body::Segment(segment) = &exchange.body {
            let counts = !segment.is_map;
            if let Some(viewer) = exchange.viewer.and_then(|no| self.viewer_mut(no)).filter(|_| counts) {
                if ok {
                    viewer.segments = viewer.segments.saturating_add(1);
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
            if !ok {
                exchange.body = Body::Other;
            } else if exchange.coding != Coding::Identity {
                exchange.body = Body::Other;
                self.note(exchange, &spec::http::GZIP, || {
                    let coding = head.field("Content-Encoding").unwrap_or_default();
                    Note::new(&spec::http::GZIP, "media is coded once more on its way, which gains nothing")
                        .at(at)
                        .want_got("no Content-Encoding", coding.chars().take(64).collect::<String>())
                });
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

    /// The response is over; `whole` where its end was seen.
    pub fn end(&mut self, connection: &mut Connection, mut exchange: Exchange, at: At, whole: bool) {
        self.end_of_segment(&mut exchange, at);
        let Body::Playlist(kept) = &mut exchange.body else { return };
        let kept = std::mem::take(kept);
        let full = kept.len() >= MAX_PLAYLIST;
        let (text, fault) = exchange.coding.unpack(kept, MAX_PLAYLIST);
        // The beginning of a list is one, where the rest is missing.
        if let Some(list) = Playlist::read(&text, &exchange.url).filter(|_| whole || !exchange.holes) {
            self.stamp = self.stamp.saturating_add(1);
            if list.is_multivariant() {
                self.multivariant(connection, &mut exchange, &list);
            } else {
                let no = self.media_playlist(connection, &mut exchange, &list);
                let viewer = no.and_then(|no| self.viewer_mut(no));
                // Rules judge what is known to its end.
                if let Some(viewer) = viewer.filter(|_| whole && !exchange.holes && fault.is_none() && !full)
                {
                    let (url, content_type) = (exchange.url.as_str(), exchange.content_type.as_deref());
                    let read = rules::List::read(&text, url);
                    viewer.rules.tell(rules::Event::Playlist { at, url, content_type, list: &read });
                }
            }
        }
        // What the capture lacks, or was not kept, is no fault of the packing.
        if let Some(fault) = fault.filter(|_| whole && !exchange.holes && !full) {
            exchange.viewer = exchange.viewer.or(connection.viewers.last().copied());
            self.note(&exchange, &spec::http::GZIP, || {
                let note = Note::new(&spec::http::GZIP, "a playlist's content cannot be unpacked");
                let note = note.want_got("content as Content-Encoding says", fault);
                Note { at: exchange.body_at, ..note }
            });
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

    fn multivariant(&mut self, connection: &mut Connection, exchange: &mut Exchange, list: &Playlist) {
        let named = list.children.iter().find_map(|child| token(child)).map(str::to_owned);
        if let Some(no) = named.or(exchange.token.clone()).and_then(|token| self.of_token(&token, exchange)) {
            if let Some(viewer) = self.viewer_mut(no) {
                viewer.tracks.declare(&list.declared);
                viewer.playlists = viewer.playlists.saturating_add(1);
            }
            self.credit(connection, no, exchange);
            return;
        }
        let Some(of) = self.find_loop(exchange, false) else { return };
        let Some(group) = self.loops.get_mut(of) else { return };
        group.children.extend(list.children.iter().take(MAX_SHARED).map(|child| key(child)));
        group.declared = list.declared.clone();
        if group.pending.len() >= MAX_SHARED
            && let Some(old) = group.pending.pop_front()
        {
            self.claims.remove(&old.no);
        }
        let Exchange { bytes, client, started_ns: at_ns, .. } = *exchange;
        let no = self.stamp;
        group.pending.push_back(Pending { no, token: exchange.given.take(), bytes, client, at_ns });
        self.claims.insert(no, Claim::default());
        if connection.pending.len() < MAX_SHARED {
            connection.pending.push(no);
        }
    }

    fn media_playlist(
        &mut self,
        connection: &mut Connection,
        exchange: &mut Exchange,
        list: &Playlist,
    ) -> Option<ViewerNo> {
        let named = exchange.token.clone();
        let no = match named.and_then(|token| self.of_token(&token, exchange)) {
            Some(no) => no,
            None => {
                let of = self.find_loop(exchange, true)?;
                let group = self.loops.get(of)?;
                let bound = connection.viewers.iter().rev().find(|no| group.viewers.contains(no)).copied();
                let waiting = || {
                    let viewers = group.viewers.iter().copied();
                    viewers.min_by_key(|no| self.viewer(*no).map(|viewer| viewer.polled_ns))
                };
                let fresh = !group.pending.is_empty();
                match bound.or_else(|| waiting().filter(|_| !fresh)) {
                    Some(no) => no,
                    None => {
                        let pending = self.take_pending(of);
                        self.add_viewer(of, exchange, pending)?
                    }
                }
            }
        };
        let poll = (no, exchange.bytes, exchange.client, exchange.started_ns);
        let own = exchange.viewer.is_none();
        if own {
            self.credit(connection, no, exchange);
        }
        let stamp = self.stamp;
        let viewer = self.viewer_mut(no)?;
        viewer.playlists = viewer.playlists.saturating_add(1);
        viewer.polled_ns = exchange.started_ns;
        let of = viewer.of;
        let group = self.loops.get_mut(of)?;
        group.latest = own.then_some(poll);
        group.maps.extend(list.maps.iter().take(MAX_SHARED));
        if group.maps.len() > MAX_LISTED {
            group.maps = list.maps.iter().copied().collect();
        }
        for (segment, map) in &list.segments {
            if group.listed.insert(*segment, (*map, stamp)).is_none() {
                group.order.push_back(*segment);
            }
        }
        while group.order.len() > MAX_LISTED {
            if let Some(old) = group.order.pop_front() {
                group.listed.remove(&old);
            }
        }
        Some(no)
    }

    /// The viewer of a token, new or known.
    fn of_token(&mut self, token: &str, exchange: &Exchange) -> Option<ViewerNo> {
        let name = (exchange.server, token.to_owned());
        if let Some(no) = self.tokens.get(&name) {
            return Some(*no);
        }
        let of = self.add_loop(exchange)?;
        let (path, pending) = self.given(token, exchange).unzip();
        if let (Some(path), Some(group)) = (path, self.loops.get_mut(of)) {
            (group.path, group.declared) = path;
        }
        let no = self.add_viewer(of, exchange, pending)?;
        self.tokens.insert(name, no);
        Some(no)
    }

    /// The request whose answer gave this token in a cookie, with its stream's path and what is declared of it.
    fn given(&mut self, token: &str, exchange: &Exchange) -> Option<(Declared, Pending)> {
        let mine = self.by_client.get(&client_key(exchange)).map(Vec::as_slice).unwrap_or_default();
        mine.iter().find_map(|of| {
            let group = self.loops.get_mut(*of)?;
            let index = group.pending.iter().position(|pending| pending.token.as_deref() == Some(token))?;
            let pending = group.pending.remove(index)?;
            Some(((group.path.clone(), group.declared.clone()), pending))
        })
    }

    /// The loop that polls this playlist, or whose multivariant playlist lists it.
    fn find_loop(&mut self, exchange: &Exchange, listed: bool) -> Option<usize> {
        let url = key(exchange.url.split('?').next().unwrap_or_default());
        let whole = key(&exchange.url);
        let mine = self.by_client.get(&client_key(exchange)).map(Vec::as_slice).unwrap_or_default();
        let known =
            |of: &&usize| self.loops.get(**of).is_some_and(|group| listed && group.children.contains(&whole));
        let same = |of: &&usize| self.loops.get(**of).is_some_and(|group| group.playlist == url);
        let found = mine.iter().rev().find(known).or_else(|| mine.iter().rev().find(same)).copied();
        if found.is_some() {
            return found;
        }
        let of = self.add_loop(exchange)?;
        self.by_client.entry(client_key(exchange)).or_default().push(of);
        Some(of)
    }

    fn add_loop(&mut self, exchange: &Exchange) -> Option<usize> {
        if self.loops.len() >= MAX_VIEWERS {
            return None;
        }
        self.loops.push(Loop {
            playlist: key(exchange.url.split('?').next().unwrap_or_default()),
            path: stream_path(&exchange.url),
            children: HashSet::new(),
            declared: Vec::new(),
            viewers: Vec::new(),
            listed: HashMap::new(),
            order: VecDeque::new(),
            maps: HashSet::new(),
            pending: VecDeque::new(),
            latest: None,
        });
        Some(self.loops.len().saturating_sub(1))
    }

    /// A connection is over.
    pub fn closed(&mut self, connection: Connection, client: Dir, end: End, stats: &ConnStats) {
        let mut viewers = connection.viewers;
        for pending in connection.pending {
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

    /// The viewers that are sessions, in order of their first request; then what the rules say of the others.
    pub fn finish(self) -> (Vec<Outcome>, Vec<Vec<Judged>>) {
        let Self { viewers, loops, .. } = self;
        let path = |of: usize| loops.get(of).and_then(|group| group.path.clone());
        let (sessions, others): (Vec<_>, Vec<_>) =
            (0u32..).zip(viewers).partition(|(_, viewer)| viewer.protocol().is_some());
        let strays = others.into_iter().map(|(_, viewer)| viewer.rules.finish()).collect();
        let mut outcomes: Vec<Outcome> = sessions
            .into_iter()
            .map(|(no, mut viewer)| {
                viewer.parts.sort_by_key(|part| part.stats.first_ns);
                let protocol = viewer.protocol().unwrap_or(Protocol::Hls);
                let first_frame_ns = viewer.first_frame_ns.or(viewer.streams.first_frame_ns());
                let streams = viewer.streams.into_stats(&mut viewer.notes, false);
                Outcome {
                    viewer: ViewerNo(no),
                    protocol,
                    client: viewer.client,
                    server: viewer.server,
                    path: path(viewer.of),
                    agent: viewer.agent,
                    times: (viewer.first_ns, viewer.last_ns),
                    bytes: viewer.bytes,
                    segments: viewer.segments,
                    first_frame_ns,
                    complete: !viewer.incomplete && viewer.parts.len() < MAX_CONNECTIONS,
                    parts: viewer.parts,
                    tracks: viewer.tracks.into_stats(streams),
                    judged: viewer.rules.finish(),
                    notes: viewer.notes.into_vec(),
                }
            })
            .collect();
        outcomes.sort_by_key(|outcome| (outcome.times.0, outcome.viewer));
        (outcomes, strays)
    }
}

fn client_key(exchange: &Exchange) -> (IpAddr, u64) {
    (exchange.client.ip(), key(exchange.agent.as_deref().unwrap_or_default()))
}
