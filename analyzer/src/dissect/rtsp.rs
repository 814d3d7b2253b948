//! RTSP connections: requests, replies, session descriptions, interleaved packets.

use std::collections::HashMap;
use std::net::IpAddr;

use wire::Cursor;
use wire::rtsp::{Framed, Head, Transport, frame};
use wire::sdp::{Description, control_url};

use super::provenance::Segments;
use super::rtmp::Clean;
use super::rtp::{Media, Registry};
use super::tree::text as tree;
use super::{Out, Speaks};
use crate::flow::{At, ConnInfo, Dir};

/// Requests that wait for their answers.
const MAX_CALLS: usize = 64;

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Rtsp {
    sides: [Side; 2],
    hosts: [IpAddr; 2],
    /// Method and URL by CSeq.
    calls: HashMap<u32, (String, String)>,
    base: String,
    medias: Vec<(String, Media)>,
    channels: HashMap<u8, Media>,
    path: String,
}

#[derive(Clone, Debug, Default)]
struct Side {
    buffer: Vec<u8>,
    /// Stream offset of the buffer's first byte.
    at: u64,
    seen: usize,
    searching: bool,
}

impl Rtsp {
    pub(super) fn new(info: &ConnInfo) -> Self {
        Self {
            sides: <[Side; 2]>::default(),
            hosts: [info.a.ip(), info.b.ip()],
            calls: HashMap::new(),
            base: String::new(),
            medias: Vec::new(),
            channels: HashMap::new(),
            path: String::new(),
        }
    }

    /// Memory held, in bytes: the open messages.
    pub(super) fn weight(&self) -> usize {
        self.sides.iter().fold(0, |n, side| n.saturating_add(side.buffer.len()))
    }

    fn side(&mut self, dir: Dir) -> &mut Side {
        let [a, b] = &mut self.sides;
        if dir == Dir::AToB { a } else { b }
    }

    pub(super) fn gap(&mut self, dir: Dir) {
        let side = self.side(dir);
        side.buffer.clear();
        side.searching = true;
    }

    pub(super) fn data(
        &mut self,
        dir: Dir,
        at: At,
        bytes: &[u8],
        segments: &Segments,
        registry: &mut Registry,
        out: &mut Out,
    ) {
        let side = self.side(dir);
        if side.buffer.is_empty() {
            side.at = at.offset;
            side.seen = 0;
        }
        let mut buffer = std::mem::take(&mut side.buffer);
        buffer.extend_from_slice(bytes);
        let (mut start, mut seen, base) = (0usize, side.seen, side.at);
        let mut searching = side.searching;
        loop {
            let rest = buffer.get(start..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            if searching {
                match find(rest) {
                    Some(skip) => {
                        out.remark(format_args!("[{skip} bytes passed over to the next message]"));
                        start = start.saturating_add(skip);
                        searching = false;
                        continue;
                    }
                    None => {
                        start = start.saturating_add(rest.len().saturating_sub(16));
                        break;
                    }
                }
            }
            match frame(rest, seen) {
                Ok(framed) if framed.size() > 0 => {
                    let unit = rest.get(..framed.size()).unwrap_or_default();
                    let offset = base.saturating_add(start as u64);
                    self.unit(dir, at, offset, unit, &framed, segments, registry, out);
                    start = start.saturating_add(framed.size());
                    seen = 0;
                }
                Ok(Framed::HeadOpen) => {
                    seen = rest.len();
                    break;
                }
                Ok(_) => {
                    seen = 0;
                    break;
                }
                Err(error) => {
                    out.remark(format_args!("[{error}]"));
                    start = start.saturating_add(1);
                    searching = true;
                    seen = 0;
                }
            }
        }
        buffer.drain(..start.min(buffer.len()));
        if !buffer.is_empty() {
            out.pending.get_or_insert("RTSP");
        }
        let side = self.side(dir);
        side.at = base.saturating_add(start as u64);
        (side.buffer, side.seen, side.searching) = (buffer, seen, searching);
    }

    #[expect(clippy::too_many_arguments, reason = "one unit, where it stands and whom to tell")]
    fn unit(
        &mut self,
        dir: Dir,
        at: At,
        offset: u64,
        unit: &[u8],
        framed: &Framed,
        segments: &Segments,
        registry: &mut Registry,
        out: &mut Out,
    ) {
        let origin = if out.keep { segments.find(offset, unit.len() as u64) } else { Default::default() };
        match *framed {
            Framed::Interleaved { channel, .. } => {
                out.facts.number("rtsp.channel", u64::from(channel));
                if !self.path.is_empty() {
                    out.facts.text("stream", &self.path);
                }
                let media = self.channels.get(&channel);
                let packet = unit.get(wire::rtsp::INTERLEAVED_HEADER..).unwrap_or_default();
                if out.show {
                    out.parts.push(tree::interleaved(unit, origin.clone()));
                }
                let origin = origin.slice(wire::rtsp::INTERLEAVED_HEADER as u64..unit.len() as u64);
                super::rtp::packet(packet, origin, media, None, out);
            }
            Framed::Message { head, .. } => {
                let (first, body) = unit.split_at(head.min(unit.len()));
                if let Ok(head) = Head::decode(&mut Cursor::new(first)) {
                    self.message(dir, at, &head, body, registry, out);
                }
                if out.show {
                    out.parts.extend(tree::rtsp(unit, first.len(), &origin));
                }
            }
            _ => {}
        }
    }

    fn message(
        &mut self,
        dir: Dir,
        at: At,
        head: &Head,
        body: &[u8],
        registry: &mut Registry,
        out: &mut Out,
    ) {
        let is_sdp =
            head.headers.value("Content-Type").is_some_and(|t| t.trim().starts_with("application/sdp"));
        let speaks = if is_sdp && !body.is_empty() { Speaks::RtspSdp } else { Speaks::Rtsp };
        let cseq = head.headers.cseq();
        if let Some(cseq) = cseq {
            out.facts.number("rtsp.cseq", u64::from(cseq));
        }
        if let Some(session) = head.headers.value("Session") {
            out.facts.text("rtsp.session", session);
        }
        if let Some((method, uri)) = head.as_request() {
            out.pdu(speaks, format_args!("{} {} {}", Clean(method), Clean(uri), Clean(head.version())));
            out.facts.text("rtsp.method", method);
            out.facts.text("rtsp.uri", uri);
            if self.calls.len() < MAX_CALLS
                && let Some(cseq) = cseq
            {
                self.calls.insert(cseq, (method.to_owned(), uri.to_owned()));
            }
            if matches!(method, "DESCRIBE" | "ANNOUNCE") {
                self.path = path_of(uri);
            }
            if method == "ANNOUNCE" && is_sdp {
                self.describe(uri, body);
            }
        } else if let Some(status) = head.status() {
            let reason = match &head.start {
                wire::rtsp::Start::Response { reason, .. } => reason.as_str(),
                wire::rtsp::Start::Request { .. } => "",
            };
            out.pdu(speaks, format_args!("Reply: {} {status} {}", Clean(head.version()), Clean(reason)));
            out.facts.number("rtsp.status", u64::from(status));
            let call = cseq.and_then(|cseq| self.calls.remove(&cseq));
            if let Some((method, uri)) = call.filter(|_| status == 200) {
                if method == "DESCRIBE" && is_sdp {
                    let base = head.headers.value("Content-Base").or(head.headers.value("Content-Location"));
                    self.describe(base.unwrap_or(&uri), body);
                }
                if method == "SETUP" {
                    self.set_up(dir, at, &uri, head, registry);
                }
            }
        }
        if !self.path.is_empty() {
            out.facts.text("stream", &self.path);
        }
    }

    fn describe(&mut self, base: &str, body: &[u8]) {
        let Ok(description) = Description::parse(body) else { return };
        self.base = control_url(base, description.control());
        self.medias.clear();
        for media in &description.media {
            let url = control_url(&self.base, media.control());
            let map = media.payload_type().and_then(|pt| media.rtpmap(pt));
            let encoding = map.map(|m| m.encoding).unwrap_or_default();
            self.medias.push((url, Media { encoding, path: self.path.clone() }));
        }
    }

    fn set_up(&mut self, dir: Dir, at: At, uri: &str, head: &Head, registry: &mut Registry) {
        let Some(Ok(mut transports)) = head.headers.value("Transport").map(Transport::parse_all) else {
            return;
        };
        if transports.is_empty() {
            return;
        }
        let transport = transports.swap_remove(0);
        let same = |url: &str| url.trim_end_matches('/') == uri.trim_end_matches('/');
        let media = self.medias.iter().find(|(url, _)| same(url)).map(|(_, m)| m.clone());
        let media = media.unwrap_or(Media { encoding: String::new(), path: self.path.clone() });
        if let Some((rtp, rtcp)) = transport.interleaved {
            self.channels.insert(rtp, media.clone());
            self.channels.insert(rtcp, media);
            return;
        }
        let [a, b] = self.hosts;
        let (server, client) = if dir == Dir::AToB { (a, b) } else { (b, a) };
        for (host, ports) in [(client, transport.client_port), (server, transport.server_port)] {
            if let Some((rtp, rtcp)) = ports {
                registry.learn(host, rtp, &media, at.time_ns);
                registry.learn(host, rtcp, &media, at.time_ns);
            }
        }
    }
}

/// Where a message or an interleaved packet seems to begin.
fn find(bytes: &[u8]) -> Option<usize> {
    const BEGINNINGS: [&[u8]; 12] = [
        b"RTSP/1.",
        b"OPTIONS ",
        b"DESCRIBE ",
        b"SETUP ",
        b"PLAY ",
        b"PAUSE ",
        b"TEARDOWN ",
        b"ANNOUNCE ",
        b"RECORD ",
        b"GET_PARAMETER ",
        b"SET_PARAMETER ",
        b"REDIRECT ",
    ];
    (0..bytes.len()).find(|at| {
        let here = bytes.get(*at..).unwrap_or_default();
        match *here {
            [b'$', channel, _, _, version, _, ..] if channel < 32 && version >> 6 == 2 => {
                let next = usize::from(u16::from_be_bytes([
                    here.get(2).copied().unwrap_or(0),
                    here.get(3).copied().unwrap_or(0),
                ]));
                match here.get(next.saturating_add(4)) {
                    Some(b) => matches!(b, b'$' | b'R' | b'O' | b'G' | b'P' | b'T' | b'S'),
                    None => here.len() == next.saturating_add(4),
                }
            }
            _ => BEGINNINGS.iter().any(|word| here.starts_with(word)),
        }
    })
}

fn path_of(url: &str) -> String {
    let behind = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = behind.split_once('/').map_or("", |(_, path)| path);
    path.split('?').next().unwrap_or_default().trim_matches('/').to_owned()
}
