//! The content of segments as it flows past: boxes, packed audio, or packets of a transport stream, also where no playlist
//! lists it.

use std::net::SocketAddr;

use media::ts::Demuxer;

use super::media::{Boxes, Found, Span};
use super::samples::Samples;
use super::{Body, Coding, Connection, Exchange, Registry, ViewerNo, rules};
use crate::flow::At;
use crate::track::ts;

#[derive(Debug, Default)]
pub(super) struct Segment {
    /// Key of its URL.
    url: u64,
    pub(super) is_map: bool,
    /// The initialization section it needs; its own key where it is one.
    map: Option<u64>,
    boxes: Boxes,
    samples: Samples,
    /// Where it is a transport stream.
    transport: Option<Box<Transport>>,
    /// Where it is packed audio.
    packed: Option<ts::Reader>,
    /// True once it is known whether it is one of these.
    told: bool,
    passed: u64,
    /// Its first bytes, up to [`HEAD`].
    head: Vec<u8>,
    first_end: Option<u64>,
}

/// Bytes of a segment that tell its first box.
const HEAD: usize = 8;

impl Segment {
    /// With this URL, and the initialization section that it is or needs.
    pub(super) fn new(url: u64, is_map: bool, map: Option<u64>) -> Self {
        Self { url, is_map, map, ..Self::default() }
    }
}

/// A segment that is a transport stream.
#[derive(Debug, Default)]
struct Transport {
    demuxer: Demuxer,
    kinds: ts::Kinds,
}

impl Transport {
    fn data(&mut self, tracks: &mut ts::Tracks, at: At, bytes: &[u8]) {
        tracks.trade(&mut self.kinds);
        self.demuxer.data(bytes, |event| tracks.event(at, &event));
        tracks.trade(&mut self.kinds);
    }

    fn hole(&mut self, tracks: &mut ts::Tracks) {
        // What a hole ends is not whole: when it came does not matter.
        let at = At { time_ns: 0, frame: 0, offset: 0, ready_ns: 0 };
        tracks.trade(&mut self.kinds);
        self.demuxer.hole(|event| tracks.event(at, &event));
        tracks.trade(&mut self.kinds);
    }

    fn finish(mut self, tracks: &mut ts::Tracks, at: At) {
        tracks.trade(&mut self.kinds);
        self.demuxer.finish(|event| tracks.event(at, &event));
        tracks.trade(&mut self.kinds);
    }
}

/// True where the media type or the path of a response leave it open that it is a transport stream.
pub(super) fn might_be_transport(kind: &str, path: &str) -> bool {
    kind.is_empty() || kind.contains("mp2t") || kind.contains("octet-stream") || path.ends_with(".ts")
}

impl Exchange {
    /// A response whose request the capture lacks.
    pub(in crate::track) fn unasked((client, server): (SocketAddr, SocketAddr), at: At) -> Self {
        Self {
            method: String::new(),
            url: String::new(),
            client,
            server,
            agent: None,
            started_ns: at.time_ns,
            fetch: 0,
            viewer: None,
            token: None,
            given: None,
            bytes: [0; 2],
            body: Body::Other,
            coding: Coding::Identity,
            body_at: None,
            holes: false,
            content_type: None,
        }
    }

    /// True where content that begins so is a transport stream: the sync byte is no beginning of a box of MP4 that fits
    /// in memory. That more of them follow at the steps of packets is up to the demultiplexer.
    fn is_transport(&self, first: Option<&u8>) -> bool {
        let kind = self.content_type.as_deref().unwrap_or_default();
        first == Some(&wire::ts::SYNC_BYTE) || kind.to_ascii_lowercase().contains("mp2t")
    }
}

impl Registry {
    /// Takes a piece of a response's content.
    pub fn body(&mut self, connection: &mut Connection, exchange: &mut Exchange, at: At, bytes: &[u8]) {
        exchange.body_at.get_or_insert(at);
        if matches!(exchange.body, Body::Unlisted) && !bytes.is_empty() {
            self.unlisted(connection, exchange, bytes.first());
        }
        let transport = exchange.is_transport(bytes.first());
        match &mut exchange.body {
            Body::Other | Body::Unlisted => {}
            Body::Playlist(kept) => {
                let room = super::MAX_PLAYLIST.saturating_sub(kept.len()).min(bytes.len());
                kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
            }
            Body::Segment(segment) => {
                let Some(no) = exchange.viewer.and_then(|no| usize::try_from(no.0).ok()) else { return };
                let Some(viewer) = self.viewers.get_mut(no) else { return };
                if !std::mem::replace(&mut segment.told, true) && !segment.is_map {
                    // Where its beginning is missing it is what those before were.
                    let joined = segment.passed > 0 && !viewer.streams.is_empty();
                    segment.transport = (transport || joined).then(Box::default);
                    let begins = segment.passed == 0 && bytes.first().copied().is_some_and(ts::may_begin);
                    let joined = segment.passed > 0 && !viewer.packed.is_empty() && !joined;
                    if segment.transport.is_none() && (begins || joined) {
                        let mut reader = ts::Reader::default();
                        if joined {
                            viewer.packed.hole(&mut reader);
                        }
                        segment.packed = Some(reader);
                    }
                }
                let Segment {
                    boxes,
                    samples,
                    transport,
                    packed,
                    map,
                    first_end,
                    url,
                    is_map,
                    passed,
                    head,
                    ..
                } = segment.as_mut();
                let listed = !*is_map && !viewer.progressive;
                if listed && head.len() < HEAD && *passed == head.len() as u64 {
                    head.extend(bytes.iter().take(HEAD.saturating_sub(head.len())));
                    if head.len() == HEAD {
                        let has_map = map.is_some();
                        viewer.rules.tell(rules::Event::Segment { at, url: &exchange.url, has_map, head });
                    }
                }
                if let Some(transport) = transport {
                    *passed = passed.saturating_add(bytes.len() as u64);
                    return transport.data(&mut viewer.streams, at, bytes);
                }
                if let Some(packed) = packed {
                    *passed = passed.saturating_add(bytes.len() as u64);
                    return viewer.packed.data(packed, at, bytes);
                }
                boxes.data(bytes, |found| match found {
                    Found::Movie(movie) => viewer.tracks.movie(map.unwrap_or_default(), &movie),
                    Found::Fragment(start, fragment) => {
                        let end = viewer.tracks.fragment(*map, start, &fragment, at.ready_ns, samples);
                        *first_end = first_end.or(end);
                        let (segment, place) = (*url, start);
                        for span in viewer.tracks.spans() {
                            let Span { track, from, lasts, each, timescale } = span;
                            viewer.rules.tell(rules::Event::Fragment(rules::Fragment {
                                at,
                                segment,
                                place,
                                track,
                                from,
                                lasts,
                                each,
                                timescale,
                            }));
                        }
                    }
                });
                samples.data(*passed, bytes, |track, sample| viewer.tracks.sample(track, sample));
                segment.passed = segment.passed.saturating_add(bytes.len() as u64);
                if segment.first_end.is_some_and(|end| segment.passed >= end) && !exchange.holes {
                    viewer.first_frame_ns.get_or_insert(at.ready_ns);
                }
            }
        }
    }

    /// Content that no playlist lists begins: a transport stream makes its connection a viewer, unless it is one's.
    fn unlisted(&mut self, connection: &mut Connection, exchange: &mut Exchange, first: Option<&u8>) {
        let transport = !exchange.holes && exchange.is_transport(first);
        exchange.body = Body::Other;
        let shared = connection.viewers.iter().any(|no| Some(*no) != connection.progressive);
        if !transport || shared {
            return;
        }
        let Some(no) = connection.progressive.or_else(|| self.progressive(exchange)) else { return };
        connection.progressive = Some(no);
        self.credit(connection, no, exchange);
        exchange.body = Body::Segment(Box::default());
    }

    fn progressive(&mut self, exchange: &Exchange) -> Option<ViewerNo> {
        let of = self.add_loop(exchange)?;
        let no = self.add_viewer(of, exchange, None)?;
        self.viewer_mut(no)?.progressive = true;
        Some(no)
    }

    /// Passes over content that the capture lacks.
    pub fn hole(&mut self, exchange: &mut Exchange, len: u64) {
        exchange.holes = true;
        if let Body::Segment(segment) = &mut exchange.body {
            segment.boxes.hole(len);
            segment.samples.hole();
            segment.passed = segment.passed.saturating_add(len);
            let no = exchange.viewer.and_then(|no| usize::try_from(no.0).ok());
            if let Some(viewer) = no.and_then(|no| self.viewers.get_mut(no)) {
                if let Some(transport) = &mut segment.transport {
                    transport.hole(&mut viewer.streams);
                }
                if let Some(packed) = &mut segment.packed {
                    viewer.packed.hole(packed);
                }
                viewer.tracks.lost();
                viewer.streams.lost();
                viewer.packed.lost();
                viewer.incomplete = true;
                viewer.rules.tell(rules::Event::Hole);
            }
        }
    }

    /// A segment is over: what is open of its transport stream is whole, or never will be.
    pub(super) fn end_of_segment(&mut self, exchange: &mut Exchange, at: At) {
        let Body::Segment(segment) = &mut exchange.body else { return };
        let Some(transport) = segment.transport.take() else { return };
        let no = exchange.viewer.and_then(|no| usize::try_from(no.0).ok());
        if let Some(viewer) = no.and_then(|no| self.viewers.get_mut(no)) {
            transport.finish(&mut viewer.streams, at);
        }
    }
}
