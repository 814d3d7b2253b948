//! Whose a request is: by its token, by what its client's loops list, by its connection.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use super::playlist::stream_path;
use super::rendition::{Declared as Claimed, Rendition};
use super::segment::Segment;
use super::{
    Body, Claim, Connection, Exchange, Loop, MAX_SHARED, Pending, Poll, Registry, Viewer, ViewerNo, bare,
};
use crate::finding::Notes;
use crate::rules::hls::url::key;
use crate::rules::{Panel, hls as rules};

/// Viewers and poll loops followed.
const MAX_VIEWERS: usize = 1 << 17;
/// Renditions of one viewer that are told apart.
const MAX_RENDITIONS: usize = 32;
/// Segments a viewer fetched that are remembered.
const MAX_FETCHED: usize = 1024;

/// A stream's path, and what its multivariant playlist declares.
type Declared = (Option<String>, Claimed);

impl Registry {
    /// Finds the viewer of a request for a segment, or of any request with a known token.
    pub(super) fn assign(&mut self, connection: &mut Connection, exchange: &mut Exchange) {
        let url = key(exchange.listed());
        let by_token = exchange
            .token
            .as_ref()
            .and_then(|token| self.tokens.get(&(exchange.server, token.clone())).copied());
        let of = match by_token {
            Some(no) => self.viewer(no).map(|viewer| viewer.of),
            None => {
                let mine = self.by_client.get(&client_key(exchange)).map(Vec::as_slice).unwrap_or_default();
                let listing = |of: &usize| Some((self.loops.get(*of)?.listed.get(&url)?.stamp, *of));
                let maps = |of: &usize| {
                    let group = self.loops.get(*of)?;
                    (group.maps.contains_key(&url) || group.others.contains(&url)).then_some((0, *of))
                };
                mine.iter().filter_map(|of| listing(of).or_else(|| maps(of))).max().map(|(_, of)| of)
            }
        };
        let Some(of) = of else { return };
        let Some(group) = self.loops.get(of) else { return };
        let (map, listing) = (group.maps.get(&url), group.listed.get(&url));
        // A resource may hold its initialization section in front of its segments.
        let is_map = match (map, listing) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some((part, _)), Some(_)) => {
                let inside = |(from, len): (u64, u64)| {
                    exchange
                        .range
                        .is_some_and(|(first, last)| first >= from && last < from.saturating_add(len))
                };
                part.is_some_and(inside)
            }
        };
        let is_segment = listing.is_some();
        if exchange.method == "GET" && (is_map || is_segment) {
            let needs = if is_map { Some(url) } else { listing.and_then(|listing| listing.map) };
            let list = if is_map { map.map(|(_, list)| *list) } else { listing.map(|listing| listing.list) };
            let mut segment = Segment::new(exchange.listed(), url, is_map, needs, list.unwrap_or_default());
            segment.encrypted = listing.is_some_and(|listing| listing.encrypted && !is_map);
            exchange.body = Body::Segment(Box::new(segment));
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
        let latest = self.loops.get_mut(of)?.latest.take();
        let pending = self.take_pending(of);
        let no = self.add_viewer(of, exchange, pending)?;
        let mut poll = [0; 2];
        if let Some(Poll { no: poll_no, viewer: other, bytes, client, at_ns, part }) = latest
            && let Some(first) = self.viewer_mut(other).filter(|first| first.playlists > 1)
        {
            first.playlists = first.playlists.saturating_sub(1);
            for (sum, bytes) in first.bytes.iter_mut().zip(bytes) {
                *sum = sum.saturating_sub(bytes);
            }
            poll = bytes;
            let goes_on = part.is_none();
            if let Some(viewer) = self.viewer_mut(no) {
                (viewer.client, viewer.first_ns) = (client, at_ns);
                viewer.parts.extend(part);
            }
            if goes_on {
                self.claims.insert(poll_no, Claim { viewer: Some(no), part: None });
            }
        }
        let viewer = self.viewer_mut(no)?;
        viewer.playlists = 1;
        viewer.bytes = poll;
        Some(no)
    }

    /// Who polls a loop's playlist on this connection, else who did longest ago.
    pub(super) fn polls(&self, connection: &Connection, of: usize) -> Option<ViewerNo> {
        let group = self.loops.get(of)?;
        let bound = connection.viewers.iter().rev().find(|no| group.viewers.contains(no)).copied();
        let waiting = || {
            let viewers = group.viewers.iter().copied();
            viewers.min_by_key(|no| self.viewer(*no).map(|viewer| viewer.polled_ns))
        };
        bound.or_else(waiting)
    }

    /// The first request for a loop's multivariant playlist that no viewer has yet.
    pub(super) fn take_pending(&mut self, of: usize) -> Option<Pending> {
        self.loops.get_mut(of)?.pending.pop_front()
    }

    /// Adds a viewer, whose request for the multivariant playlist `pending` was.
    pub(super) fn add_viewer(
        &mut self,
        of: usize,
        exchange: &Exchange,
        pending: Option<Pending>,
    ) -> Option<ViewerNo> {
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
            got: VecDeque::new(),
            renditions: Vec::new(),
            declared: Claimed::default(),
            progressive: false,
            parts: Vec::new(),
            notes: Notes::default(),
            incomplete: false,
            rules: Panel::new(rules::ALL),
        };
        let group = self.loops.get_mut(of)?;
        group.viewers.push(no);
        viewer.declared = group.declared.clone();
        let led = pending.as_ref().and_then(|pending| pending.led);
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
        self.claim(led, no);
        Some(no)
    }

    pub(super) fn viewer(&self, no: ViewerNo) -> Option<&Viewer> {
        self.viewers.get(usize::try_from(no.0).ok()?)
    }

    pub(super) fn viewer_mut(&mut self, no: ViewerNo) -> Option<&mut Viewer> {
        self.viewers.get_mut(usize::try_from(no.0).ok()?)
    }

    /// Gives a request to a viewer.
    pub(super) fn credit(&mut self, connection: &mut Connection, no: ViewerNo, exchange: &mut Exchange) {
        exchange.viewer = Some(no);
        self.claim(exchange.led.as_mut().and_then(|(_, claim)| claim.take()), no);
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

    /// The viewer of a token, new or known.
    pub(super) fn of_token(&mut self, token: &str, exchange: &Exchange) -> Option<ViewerNo> {
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
    pub(super) fn find_loop(&mut self, exchange: &Exchange, listed: bool) -> Option<usize> {
        let url = key(bare(&exchange.url));
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

    pub(super) fn add_loop(&mut self, exchange: &Exchange) -> Option<usize> {
        if self.loops.len() >= MAX_VIEWERS {
            return None;
        }
        self.loops.push(Loop {
            playlist: key(bare(&exchange.url)),
            path: stream_path(exchange.listed()),
            children: HashSet::new(),
            declared: Claimed::default(),
            viewers: Vec::new(),
            listed: HashMap::new(),
            order: VecDeque::new(),
            spans: BTreeMap::new(),
            maps: HashMap::new(),
            others: HashSet::new(),
            pending: VecDeque::new(),
            latest: None,
        });
        Some(self.loops.len().saturating_sub(1))
    }
}

impl Viewer {
    /// Which of its renditions is of the playlist with this key; the last one, where there are too many.
    pub(super) fn rendition(&mut self, list: u64, trace: bool) -> usize {
        if let Some(known) = self.renditions.iter().position(|rendition| rendition.is_of(list)) {
            return known;
        }
        if self.renditions.len() < MAX_RENDITIONS {
            self.renditions.push(Rendition::new(list, trace));
        }
        self.renditions.len().saturating_sub(1)
    }
}

pub(super) fn client_key(exchange: &Exchange) -> (IpAddr, u64) {
    (exchange.client.ip(), key(exchange.agent.as_deref().unwrap_or_default()))
}
