//! The content of segments as it flows past: boxes, packed audio, or packets of a transport stream, also where no playlist
//! lists it.

use std::borrow::Cow;
use std::net::SocketAddr;

use media::ts::Demuxer;

use super::media::{Boxes, Found, Span};
use super::rendition::{Movies, Rendition};
use super::samples::Samples;
use super::unpack::{Fault, MOST_TIMES};
use super::{Body, Coding, Connection, Exchange, Registry, Viewer, ViewerNo, rules};
use crate::finding::Note;
use crate::flow::At;
use crate::rules::Panel;
use crate::track::ts;

/// Bytes of answers that wait for those before them, in all.
const MAX_WAITING: usize = 32 << 20;

#[derive(Debug, Default)]
pub(super) struct Segment {
    /// Key of its URL.
    url: u64,
    /// The URL it was asked for by.
    name: String,
    pub(super) is_map: bool,
    /// The initialization section it needs; its own key where it is one.
    map: Option<u64>,
    /// True where its content says nothing without a key.
    pub(super) encrypted: bool,
    /// The playlist that lists it.
    list: u64,
    /// Where the content begins in the resource.
    pub(super) offset: u64,
    /// True where it is labelled as a transport stream.
    mp2t: bool,
    /// Which of the viewer's renditions it is of.
    rendition: usize,
    /// Its place in the order of the rendition's answers.
    pub(super) turn: u64,
    /// What came of it while others came first.
    waiting: Vec<Piece<'static>>,
    boxes: Boxes,
    samples: Samples,
    /// Where it is a transport stream.
    transport: Option<Box<Transport>>,
    /// Where it is packed audio.
    packed: Option<ts::Reader>,
    /// True once it is known whether it is one of these.
    told: bool,
    passed: u64,
    holes: bool,
    /// Its first bytes, up to [`HEAD`].
    head: Vec<u8>,
    /// Where its first picture or sound ends, and whether it is a picture.
    first_end: Option<(bool, u64)>,
}

/// Something of an answer's content.
#[derive(Clone, Debug)]
enum Piece<'b> {
    Bytes(At, Cow<'b, [u8]>),
    /// Bytes that the capture lacks.
    Hole(u64),
    End(At),
}

impl Piece<'_> {
    /// Memory that it takes to keep it.
    fn cost(&self) -> usize {
        let bytes = if let Self::Bytes(_, bytes) = self { bytes.len() } else { 0 };
        bytes.saturating_add(size_of::<Self>())
    }

    fn into_owned(self) -> Piece<'static> {
        match self {
            Self::Bytes(at, bytes) => Piece::Bytes(at, Cow::Owned(bytes.into_owned())),
            Self::Hole(len) => Piece::Hole(len),
            Self::End(at) => Piece::End(at),
        }
    }
}

/// Who else is told what a segment carries, and the server it is from.
type Around<'a> = (&'a mut Panel<rules::Hls>, &'a mut Movies, SocketAddr);

/// Bytes of a segment that tell its first box.
const HEAD: usize = 8;

impl Segment {
    /// With this URL and its key, and the initialization section that it is or needs; listed by a playlist.
    pub(super) fn new(name: &str, url: u64, is_map: bool, map: Option<u64>, list: u64) -> Self {
        Self { name: name.to_owned(), url, is_map, map, list, ..Self::default() }
    }

    /// The key of its URL.
    pub(super) fn url(&self) -> u64 {
        self.url
    }

    /// Takes something of its content.
    fn piece(&mut self, viewer: &mut Viewer, movies: &mut Movies, piece: &Piece<'_>) {
        let Some(rendition) = viewer.renditions.get_mut(self.rendition) else { return };
        match piece {
            Piece::Bytes(_, bytes) if bytes.is_empty() => {}
            Piece::Bytes(at, bytes) => {
                let rules = &mut viewer.rules;
                if !self.is_map && !viewer.progressive {
                    self.tell(*at, bytes, rules);
                }
                if self.encrypted {
                    self.passed = self.passed.saturating_add(bytes.len() as u64);
                } else {
                    self.data(rendition, (rules, movies, viewer.server), *at, bytes);
                }
            }
            Piece::Hole(len) => {
                self.hole(rendition, *len);
                viewer.rules.tell(rules::Event::Hole);
            }
            Piece::End(at) => {
                if let Some(transport) = self.transport.take() {
                    transport.finish(&mut rendition.streams, *at);
                }
            }
        }
    }

    /// Tells the rules how it begins.
    fn tell(&mut self, at: At, bytes: &[u8], rules: &mut Panel<rules::Hls>) {
        if self.encrypted || self.head.len() >= HEAD || self.passed != self.head.len() as u64 {
            return;
        }
        self.head.extend(bytes.iter().take(HEAD.saturating_sub(self.head.len())));
        if self.head.len() == HEAD {
            let (url, has_map, head) = (self.name.as_str(), self.map.is_some(), self.head.as_slice());
            rules.tell(rules::Event::Segment { at, url, has_map, head });
        }
    }

    /// What it is, by its first bytes; where its beginning is missing it is what those before were.
    fn begin(&mut self, rendition: &mut Rendition, first: Option<&u8>) {
        rendition.seam();
        if self.is_map {
            return;
        }
        let late = self.passed > 0;
        let transport = is_transport(first, self.mp2t) || (late && !rendition.streams.is_empty());
        if transport {
            self.transport = Some(Box::default());
            return;
        }
        let begins = !late && first.copied().is_some_and(ts::may_begin);
        if begins || (late && !rendition.packed.is_empty()) {
            let mut reader = ts::Reader::default();
            if late {
                rendition.packed.hole(&mut reader);
            }
            self.packed = Some(reader);
        }
    }

    fn data(&mut self, rendition: &mut Rendition, (rules, movies, server): Around<'_>, at: At, bytes: &[u8]) {
        if !std::mem::replace(&mut self.told, true) {
            self.begin(rendition, bytes.first());
        }
        let Self { boxes, samples, map, first_end, passed, .. } = self;
        if let Some(transport) = &mut self.transport {
            *passed = passed.saturating_add(bytes.len() as u64);
            return transport.data(&mut rendition.streams, at, bytes);
        }
        if let Some(packed) = &mut self.packed {
            *passed = passed.saturating_add(bytes.len() as u64);
            return rendition.packed.data(packed, at, bytes);
        }
        let (segment, offset) = (self.url, self.offset);
        let tracks = &mut rendition.tracks;
        boxes.data(bytes, |found| match found {
            Found::Movie(movie) => {
                tracks.movie(map.unwrap_or_default(), &movie);
                if let Some(map) = *map {
                    movies.keep(server, map, movie);
                }
            }
            Found::Fragment(start, fragment) => {
                if let Some(movie) =
                    map.filter(|map| !tracks.knows(*map)).and_then(|map| movies.find(server, map))
                {
                    tracks.movie(map.unwrap_or_default(), movie);
                }
                let end = tracks.fragment(*map, start, &fragment, at.ready_ns, samples);
                *first_end = first_end.or(end);
                for span in tracks.spans() {
                    let Span { track, from, lasts, each, timescale } = span;
                    let place = offset.saturating_add(start);
                    rules.tell(rules::Event::Fragment(rules::Fragment {
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
        samples.data(*passed, bytes, |track, sample| tracks.sample(track, sample));
        *passed = passed.saturating_add(bytes.len() as u64);
        if let Some((picture, _)) = first_end.filter(|(_, end)| *passed >= *end && !self.holes) {
            tracks.first(picture, at.ready_ns);
        }
    }

    fn hole(&mut self, rendition: &mut Rendition, len: u64) {
        self.holes = true;
        self.boxes.hole(len);
        self.samples.hole();
        self.passed = self.passed.saturating_add(len);
        if let Some(transport) = &mut self.transport {
            transport.hole(&mut rendition.streams);
        }
        if let Some(packed) = &mut self.packed {
            rendition.packed.hole(packed);
        }
        rendition.lost();
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
            range: None,
            viewer: None,
            token: None,
            given: None,
            leads: None,
            led: None,
            bytes: [0; 2],
            body: Body::Other,
            coding: Coding::Identity,
            unpacker: None,
            body_at: None,
            holes: false,
            content_type: None,
        }
    }

    /// True where it is labelled as a transport stream.
    fn is_mp2t(&self) -> bool {
        self.content_type.as_deref().unwrap_or_default().to_ascii_lowercase().contains("mp2t")
    }
}

/// True where content that begins so is a transport stream: the sync byte is no beginning of a box of MP4 that fits in
/// memory, and no packet begins with 0, as those do. That more sync bytes follow at the steps of packets is up to the
/// demultiplexer.
fn is_transport(first: Option<&u8>, mp2t: bool) -> bool {
    first == Some(&wire::ts::SYNC_BYTE) || (mp2t && first != Some(&0))
}

impl Registry {
    /// Takes a piece of a response's content.
    pub fn body(&mut self, connection: &mut Connection, exchange: &mut Exchange, at: At, bytes: &[u8]) {
        exchange.body_at.get_or_insert(at);
        if matches!(exchange.body, Body::Unlisted) && !bytes.is_empty() {
            self.unlisted(connection, exchange, bytes.first());
        }
        match &mut exchange.body {
            Body::Other | Body::Unlisted => {}
            Body::Playlist(kept) => {
                let room = super::MAX_PLAYLIST.saturating_sub(kept.len()).min(bytes.len());
                kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
            }
            Body::Segment(segment) => match &mut exchange.unpacker {
                None => self.piece(exchange.viewer, segment, Piece::Bytes(at, bytes.into())),
                Some(unpacker) => {
                    let no = exchange.viewer;
                    let mut out = |bytes: &[u8]| self.piece(no, segment, Piece::Bytes(at, bytes.into()));
                    if let Err(fault) = unpacker.data(bytes, &mut out) {
                        self.spoilt(exchange, at, &fault);
                    }
                }
            },
        }
    }

    /// The rest of a segment's content cannot be had.
    fn spoilt(&mut self, exchange: &mut Exchange, at: At, fault: &Fault) {
        if let Body::Segment(segment) = &mut exchange.body {
            self.piece(exchange.viewer, segment, Piece::Hole(u64::MAX));
        }
        let (rule, words, want, got) = match fault {
            Fault::Damaged(why) => {
                let want = "content as Content-Encoding says".to_owned();
                (&spec::http::GZIP, "a segment's content cannot be unpacked", want, why.clone())
            }
            Fault::Bomb(bytes) => {
                let want = format!("at most {MOST_TIMES} times its size on the wire");
                let words = "content that is much larger than what came is not unpacked to its end";
                (&spec::capture::STATE_BOUNDED, words, want, format!("{bytes} bytes and more"))
            }
        };
        self.note(exchange, rule, || Note::new(rule, words).at(at).want_got(want, got));
    }

    /// The answer of a segment begins: what it carries follows what those before it carry.
    pub(super) fn begin_segment(&mut self, exchange: &mut Exchange) {
        let mp2t = exchange.is_mp2t();
        let Body::Segment(segment) = &mut exchange.body else { return };
        let no = exchange.viewer.and_then(|no| usize::try_from(no.0).ok());
        let Some(viewer) = no.and_then(|no| self.viewers.get_mut(no)) else { return };
        self.turns = self.turns.saturating_add(1);
        segment.mp2t = mp2t;
        segment.turn = self.turns;
        segment.rendition = viewer.rendition(segment.list, self.trace);
        if let Some(rendition) = viewer.renditions.get_mut(segment.rendition) {
            rendition.queue(segment.turn);
        }
    }

    /// Takes something of a segment's content, in its turn.
    fn piece(&mut self, no: Option<ViewerNo>, segment: &mut Segment, piece: Piece<'_>) {
        let Some(viewer) = no.and_then(|no| self.viewers.get_mut(usize::try_from(no.0).ok()?)) else {
            return;
        };
        let Some(rendition) = viewer.renditions.get_mut(segment.rendition) else { return };
        if !rendition.is_next(segment.turn) {
            let waiting = self.waiting.saturating_add(piece.cost());
            if waiting <= MAX_WAITING {
                self.waiting = waiting;
                return segment.waiting.push(piece.into_owned());
            }
            rendition.overtake(segment.turn);
        }
        for earlier in std::mem::take(&mut segment.waiting) {
            self.waiting = self.waiting.saturating_sub(earlier.cost());
            segment.piece(viewer, &mut self.movies, &earlier);
        }
        segment.piece(viewer, &mut self.movies, &piece);
    }

    /// What waits for answers that never ended.
    pub(super) fn drain(&mut self) {
        for viewer in &mut self.viewers {
            let mut left: Vec<_> = viewer.renditions.iter_mut().flat_map(Rendition::take_ended).collect();
            left.sort_by_key(|segment| segment.turn);
            for mut segment in left {
                for piece in std::mem::take(&mut segment.waiting) {
                    segment.piece(viewer, &mut self.movies, &piece);
                }
            }
        }
    }

    /// Content that no playlist lists begins: a transport stream makes its connection a viewer, unless it is one's.
    fn unlisted(&mut self, connection: &mut Connection, exchange: &mut Exchange, first: Option<&u8>) {
        let transport = !exchange.holes && is_transport(first, exchange.is_mp2t());
        exchange.body = Body::Other;
        let shared = connection.viewers.iter().any(|no| Some(*no) != connection.progressive);
        if !transport || shared {
            return;
        }
        let Some(no) = connection.progressive.or_else(|| self.progressive(exchange)) else { return };
        connection.progressive = Some(no);
        self.credit(connection, no, exchange);
        exchange.body = Body::Segment(Box::default());
        self.begin_segment(exchange);
    }

    fn progressive(&mut self, exchange: &Exchange) -> Option<ViewerNo> {
        let of = self.add_loop(exchange)?;
        let no = self.add_viewer(of, exchange, None)?;
        self.viewer_mut(no)?.progressive = true;
        Some(no)
    }

    /// Passes over content that the capture lacks.
    pub fn hole(&mut self, exchange: &mut Exchange, mut len: u64) {
        exchange.holes = true;
        if let Some(unpacker) = &mut exchange.unpacker {
            unpacker.spoil();
            len = u64::MAX;
        }
        if let Body::Segment(segment) = &mut exchange.body {
            self.piece(exchange.viewer, segment, Piece::Hole(len));
            if let Some(viewer) = exchange.viewer.and_then(|no| self.viewer_mut(no)) {
                viewer.incomplete = true;
            }
        }
    }

    /// A segment is over: what is open of its transport stream is whole, or never will be.
    pub(super) fn end_of_segment(&mut self, exchange: &mut Exchange, at: At, whole: bool) {
        if let (Body::Segment(segment), Some(unpacker)) = (&mut exchange.body, &mut exchange.unpacker) {
            let no = exchange.viewer;
            let mut out = |bytes: &[u8]| self.piece(no, segment, Piece::Bytes(at, bytes.into()));
            // What the capture lacks is no fault of the packing.
            if let Err(fault) = unpacker.finish(&mut out)
                && whole
            {
                self.spoilt(exchange, at, &fault);
            }
        }
        if !matches!(exchange.body, Body::Segment(_)) {
            return;
        }
        let Body::Segment(mut segment) = std::mem::replace(&mut exchange.body, Body::Other) else { return };
        self.piece(exchange.viewer, &mut segment, Piece::End(at));
        let no = exchange.viewer.and_then(|no| usize::try_from(no.0).ok());
        let Some(viewer) = no.and_then(|no| self.viewers.get_mut(no)) else { return };
        let index = segment.rendition;
        if !segment.waiting.is_empty() {
            if let Some(rendition) = viewer.renditions.get_mut(index) {
                rendition.keep(*segment);
            }
            return;
        }
        let mut done = segment.turn;
        while let Some(mut next) = viewer.renditions.get_mut(index).and_then(|rendition| rendition.done(done))
        {
            for piece in std::mem::take(&mut next.waiting) {
                self.waiting = self.waiting.saturating_sub(piece.cost());
                next.piece(viewer, &mut self.movies, &piece);
            }
            done = next.turn;
        }
    }
}
