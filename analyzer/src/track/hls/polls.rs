//! What a playlist that was fetched tells of the viewer who polls it.

use super::playlist::{Playlist, Reference, token};
use super::{
    Body, Claim, Connection, Declared, Exchange, Listing, MAX_PLAYLIST, MAX_SHARED, Pending, Poll, Registry,
    ViewerNo, bare,
};
use crate::finding::Note;
use crate::flow::At;
use crate::rules::hls as rules;
use crate::rules::hls::url::key;

/// Segments a loop listed that are remembered.
const MAX_LISTED: usize = 8192;

impl Registry {
    /// The response is over; `whole` where its end was seen.
    pub fn end(&mut self, connection: &mut Connection, mut exchange: Exchange, at: At, whole: bool) {
        if let Some(to) = exchange.leads.take() {
            self.leads_on(connection, &mut exchange, &to);
        }
        self.end_of_segment(&mut exchange, at, whole);
        let Body::Playlist(kept) = &mut exchange.body else { return };
        let kept = std::mem::take(kept);
        let large = kept.len() >= MAX_PLAYLIST;
        let (text, fault) = exchange.coding.unpack(kept, MAX_PLAYLIST);
        let full = large || text.len() >= MAX_PLAYLIST;
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
        if full {
            exchange.viewer = exchange.viewer.or(connection.viewers.last().copied());
            let rule = &spec::capture::STATE_BOUNDED;
            self.note(&exchange, rule, || {
                let note = Note::new(rule, "a playlist is longer than is read");
                let note = note.want_got(format!("less than {MAX_PLAYLIST} bytes"), "more");
                Note { at: exchange.body_at, ..note }
            });
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

    fn multivariant(&mut self, connection: &mut Connection, exchange: &mut Exchange, list: &Playlist) {
        let named = list.children.iter().find_map(|(child, _)| token(child)).map(str::to_owned);
        let each = list.children.iter().take(MAX_SHARED);
        let each = each.map(|(child, claims)| (key(bare(child)), claims.clone())).collect();
        let declared = Declared::new(each, list.declared.clone());
        if let Some(no) = named.or(exchange.token.clone()).and_then(|token| self.of_token(&token, exchange)) {
            if let Some(viewer) = self.viewer_mut(no) {
                if viewer.declared.is_empty() {
                    viewer.declared = declared;
                }
                viewer.playlists = viewer.playlists.saturating_add(1);
            }
            self.credit(connection, no, exchange);
            return;
        }
        let Some(of) = self.find_loop(exchange, false) else { return };
        let Some(group) = self.loops.get_mut(of) else { return };
        group.children.extend(list.children.iter().take(MAX_SHARED).map(|(child, _)| key(child)));
        group.declared = declared;
        if group.pending.len() >= MAX_SHARED
            && let Some(old) = group.pending.pop_front()
        {
            self.claims.remove(&old.no);
        }
        let Exchange { bytes, client, started_ns: at_ns, .. } = *exchange;
        let no = self.stamp;
        let led = exchange.led.take().and_then(|(_, claim)| claim);
        group.pending.push_back(Pending { no, token: exchange.given.take(), led, bytes, client, at_ns });
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
                let fresh = !group.pending.is_empty();
                match bound.or_else(|| self.polls(connection, of).filter(|_| !fresh)) {
                    Some(no) => no,
                    None => {
                        let pending = self.take_pending(of);
                        self.add_viewer(of, exchange, pending)?
                    }
                }
            }
        };
        let Exchange { bytes, client, started_ns: at_ns, .. } = *exchange;
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
        group.latest = own.then_some(Poll { no: stamp, viewer: no, bytes, client, at_ns, part: None });
        connection.latest = own.then_some((of, stamp));
        let of_list = key(bare(&exchange.url));
        let maps = || list.maps.iter().take(MAX_SHARED).map(|(map, part)| (*map, (*part, of_list)));
        group.maps.extend(maps());
        if group.maps.len() > MAX_LISTED {
            group.maps = maps().collect();
        }
        group.others.extend(list.others.iter().take(MAX_SHARED));
        if group.others.len() > MAX_LISTED {
            group.others = list.others.iter().take(MAX_SHARED).copied().collect();
        }
        group.spans.extend(list.segments.iter().filter_map(Reference::span));
        if group.spans.len() > MAX_LISTED {
            group.spans = list.segments.iter().filter_map(Reference::span).collect();
        }
        for Reference { url, map, encrypted, .. } in &list.segments {
            let listing = Listing { map: *map, encrypted: *encrypted, list: of_list, stamp };
            if group.listed.insert(*url, listing).is_none() {
                group.order.push_back(*url);
            }
        }
        while group.order.len() > MAX_LISTED {
            if let Some(old) = group.order.pop_front() {
                group.listed.remove(&old);
            }
        }
        Some(no)
    }
}
