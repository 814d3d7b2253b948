//! Redirections: what leads to a playlist or a segment is part of the viewer's session that follows it (RFC 9110 §15.4).

use std::net::{IpAddr, SocketAddr};

use super::viewers::client_key;
use super::{Claim, Connection, Exchange, MAX_CONNECTIONS, MAX_SHARED, Registry, ViewerNo, bare};
use crate::rules::hls::url::key;

/// Redirections that wait for somebody to follow them.
const MAX_MOVED: usize = 256;

/// A redirection that was answered.
#[derive(Debug)]
pub(super) struct Moved {
    who: (IpAddr, u64),
    /// Key of the URL it leads to.
    to: u64,
    /// The URL that was asked for, of the first redirection in a row.
    from: String,
    server: SocketAddr,
    token: Option<String>,
    /// What no viewer has yet.
    bytes: [u64; 2],
    client: SocketAddr,
    started_ns: i64,
    /// What its connection is claimed by.
    claim: Option<u64>,
}

impl Registry {
    /// An answer leads to another URL, on this server or elsewhere.
    pub(super) fn leads_on(&mut self, connection: &mut Connection, exchange: &mut Exchange, to: &str) {
        let url = wire::hls::resolve(&exchange.url, to.trim());
        let (who, to) = (client_key(exchange), key(&url));
        let (from, mut claim) = exchange.led.take().unwrap_or_else(|| (exchange.url.clone(), None));
        // What a multivariant playlist lists is listed wherever it has gone.
        let listed = key(&from);
        for of in self.by_client.get(&who).map(Vec::as_slice).unwrap_or_default() {
            if let Some(group) = self.loops.get_mut(*of)
                && group.children.contains(&listed)
                && group.children.len() < MAX_SHARED
            {
                group.children.extend([to, key(bare(&url))]);
            }
        }
        if exchange.viewer.is_none() && claim.is_none() && connection.pending.len() < MAX_SHARED {
            self.stamp = self.stamp.saturating_add(1);
            claim = Some(self.stamp);
            connection.pending.push(self.stamp);
            self.claims.insert(self.stamp, Claim::default());
        }
        if self.moved.len() >= MAX_MOVED
            && let Some(old) = self.moved.pop_front().and_then(|old| old.claim)
        {
            self.claims.remove(&old);
        }
        let (server, client, started_ns) = (exchange.server, exchange.client, exchange.started_ns);
        let (token, bytes) = (exchange.token.clone(), std::mem::take(&mut exchange.bytes));
        self.moved.push_back(Moved { who, to, from, server, token, bytes, client, started_ns, claim });
    }

    /// A request may be what a redirection led to: it goes on where that began.
    pub(super) fn led(&mut self, exchange: &mut Exchange) {
        if self.moved.is_empty() {
            return;
        }
        let (who, url) = (client_key(exchange), key(&exchange.url));
        let found = self.moved.iter().position(|moved| moved.to == url && moved.who == who);
        let Some(moved) = found.and_then(|index| self.moved.remove(index)) else { return };
        for (sum, bytes) in exchange.bytes.iter_mut().zip(moved.bytes) {
            *sum = sum.saturating_add(bytes);
        }
        (exchange.client, exchange.started_ns) = (moved.client, moved.started_ns);
        exchange.server = moved.server;
        exchange.token = exchange.token.take().or(moved.token);
        exchange.led = Some((moved.from, moved.claim));
    }

    /// A redirection is this viewer's, and so is the connection it was on.
    pub(super) fn claim(&mut self, claim: Option<u64>, no: ViewerNo) {
        let Some(claim) = claim else { return };
        match self.claims.remove(&claim) {
            Some(Claim { part: Some(part), .. }) => {
                let of = |part: &super::Part| (part.stats.info.a, part.stats.info.b, part.stats.info.frame);
                let Some(viewer) = self.viewer_mut(no) else { return };
                let known = viewer.parts.iter().any(|known| of(known) == of(&part));
                if !known && viewer.parts.len() < MAX_CONNECTIONS {
                    viewer.parts.push(part);
                }
            }
            Some(_) => {
                self.claims.insert(claim, Claim { viewer: Some(no), part: None });
            }
            None => {}
        }
    }
}

impl Exchange {
    /// The URL that playlists list it by.
    pub(super) fn listed(&self) -> &str {
        self.led.as_ref().map_or(&self.url, |(from, _)| from)
    }
}
