//! RTSP over TCP: sequence numbers, session, URLs and channels of this run in place of the captured ones.

use std::collections::HashMap;

use analyzer::flow::At;
use analyzer::transcript::{Said, What};
use session::Time;
use session::rtsp::{Plain, PlainAction, PlainInput, PlainOutput};
use wire::rtcp;
use wire::rtsp::{Head, SessionId, Start, Transport};
use wire::sdp::{Description, Media, control_url};

use super::drive::{self, Adapted};
use super::ledger::{Answer, Ledger, Place, Weight};
use super::tracks::When;
use crate::client::{Endpoint, Output};
use crate::url::StreamUrl;

/// Requests remembered; answers come soon, and the oldest are forgotten.
const MAX_CALLS: usize = 256;

impl Endpoint for Plain {
    type Action = PlainAction;
    type Event = PlainOutput;

    fn take(&mut self, now: Time, bytes: Option<&[u8]>) {
        self.handle(now, bytes.map_or(PlainInput::Closed, PlainInput::Bytes));
    }

    fn tick(&mut self, _: Time) {}

    fn act(&mut self, now: Time, action: PlainAction) {
        self.handle(now, PlainInput::Do(action));
    }

    fn poll(&mut self) -> Option<Output<PlainOutput>> {
        Some(match Plain::poll(self)? {
            PlainOutput::Send(bytes) => Output::Send(bytes),
            PlainOutput::Close(reason) => Output::Close(reason),
            event => Output::Event(event),
        })
    }
}

/// A request that was sent.
struct Call {
    place: Option<Place>,
    method: String,
    /// CSeq, then and now.
    cseq: [Option<u32>; 2],
    /// The channels that a SETUP asked for.
    wanted: Option<(u8, u8)>,
    /// Number of the track that it sets up.
    track: Option<usize>,
    answered: [bool; 2],
}

/// What one of the two servers says.
#[derive(Default)]
struct Side {
    /// URL of the whole, as requests name it.
    base: String,
    description: Option<Description>,
    session: Option<String>,
    /// By channel: the track, and whether it is RTCP.
    channels: HashMap<u8, (usize, bool)>,
}

/// What RTSP knows.
pub(super) struct Part {
    captured: Side,
    now: Side,
    /// The URL of the run and that of the first request of the capture.
    url: String,
    captured_url: Option<String>,
    calls: Vec<Call>,
    cseq: u32,
    setups: usize,
    over: bool,
}

impl Part {
    pub(super) fn new(url: &StreamUrl) -> Self {
        let url = url.plain();
        let now = Side { base: url.clone(), ..Side::default() };
        Self {
            captured: Side::default(),
            now,
            url,
            captured_url: None,
            calls: Vec::new(),
            cseq: 0,
            setups: 0,
            over: false,
        }
    }

    /// The URL of this run for one of the capture, and the track where it is one's.
    fn place(&self, uri: &str) -> (String, Option<usize>) {
        if uri == "*" {
            return (uri.to_owned(), None);
        }
        let same = |a: &str, b: &str| path(a).trim_end_matches('/') == path(b).trim_end_matches('/');
        let (then, now) = (&self.captured, &self.now);
        if let (Some(described), Some(live)) = (&then.description, &now.description) {
            let control = |media: &Media| control_url(&then.base, media.control());
            // Where one track is the whole, a request may mean either: the URL is the same.
            let track = described.media.iter().position(|media| same(&control(media), uri));
            if let Some((track, media)) =
                track.and_then(|track| Some((track, counterpart(described, live, track)?)))
            {
                return (control_url(&now.base, media.control()), Some(track));
            }
            if same(&control_url(&then.base, described.control()), uri) {
                return (control_url(&now.base, live.control()), None);
            }
        }
        let known = self.captured_url.as_deref().and_then(|url| uri.strip_prefix(url.trim_end_matches('/')));
        match known {
            Some(rest) => (format!("{}{rest}", self.url.trim_end_matches('/')), None),
            None => (self.url.clone(), None),
        }
    }

    fn request(&mut self, head: &Head, body: Vec<u8>, at: At, ledger: &mut Ledger) -> Adapted<PlainAction> {
        let Some((method, uri)) = head.as_request() else {
            return Adapted::LeftOut("answers to requests of the captured server");
        };
        if uri.contains("://") && self.captured_url.is_none() {
            self.captured_url = Some(uri.to_owned());
            self.captured.base = uri.to_owned();
        }
        let mut body = body;
        if method == "ANNOUNCE" {
            body = self.announce(&body);
        }
        let (url, track) = self.place(uri);
        let mut live = Head::request(method, &url);
        self.cseq = self.cseq.wrapping_add(1);
        live.headers.push("CSeq", self.cseq.to_string());
        for header in &head.headers.0 {
            match header.name.to_ascii_lowercase().as_str() {
                "cseq" | "content-length" | "authorization" | "proxy-authorization" | "content-base" => {}
                "session" => {
                    if let Some(session) = &self.now.session {
                        live.headers.push("Session", session.as_str());
                    }
                }
                _ => live.headers.push(&header.name, header.value.as_str()),
            }
        }
        let setup = method == "SETUP";
        let detail = match setup {
            true => uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default(),
            false => "",
        };
        let weight = if method == "TEARDOWN" { Weight::Courtesy } else { Weight::Essential };
        let wanted = head.headers.value("Transport").and_then(|text| {
            Transport::parse_all(text).unwrap_or_default().iter().find_map(|transport| transport.interleaved)
        });
        if self.calls.len() >= MAX_CALLS {
            self.calls.remove(0);
        }
        let number = self.setups;
        self.setups += usize::from(setup);
        self.calls.push(Call {
            place: ledger.ask(method, detail, at, weight),
            method: method.to_owned(),
            cseq: [head.headers.cseq(), Some(self.cseq)],
            wanted,
            track: setup.then_some(track.unwrap_or(number)),
            answered: [false; 2],
        });
        Adapted::Say(PlainAction::Message(live, body))
    }

    /// The description that is announced, with the URLs of this run.
    fn announce(&mut self, body: &[u8]) -> Vec<u8> {
        self.captured.description = Description::parse(body).ok();
        let Ok(text) = std::str::from_utf8(body) else {
            self.now.description = self.captured.description.clone();
            return body.to_vec();
        };
        let text = text.replace(self.captured.base.trim_end_matches('/'), self.url.trim_end_matches('/'));
        self.now.description = Description::parse(text.as_bytes()).ok();
        text.into_bytes()
    }

    fn answer(&mut self, when: When, head: &Head, body: &[u8], ledger: &mut Ledger) {
        let Start::Response { status, ref reason, .. } = head.start else { return };
        // Continue and its like are no answers yet.
        if status < 200 {
            return;
        }
        let n = usize::from(when == When::Now);
        let cseq = head.headers.cseq();
        let mut open = self.calls.iter_mut().filter(|call| !call.answered[n]);
        let Some(call) = open.find(|call| call.cseq[n] == cseq) else { return };
        call.answered[n] = true;
        let ok = (200..300).contains(&status);
        if let Some(place) = call.place {
            ledger.answered(when, place, Answer::new(!ok, status.to_string(), reason.as_str()));
        }
        if !ok {
            return;
        }
        let side = if when == When::Now { &mut self.now } else { &mut self.captured };
        match (call.method.as_str(), call.track) {
            ("DESCRIBE", _) => {
                let told = ["Content-Base", "Content-Location"].into_iter();
                let mut told = told.filter_map(|name| head.headers.value(name));
                if let Some(base) = told.find(|base| base.contains("://")) {
                    side.base = base.to_owned();
                }
                side.description = Description::parse(body).ok();
            }
            ("SETUP", Some(track)) => {
                let offers = head.headers.value("Transport").map(Transport::parse_all);
                let told = offers.and_then(Result::ok).and_then(|offers| offers.first()?.interleaved);
                if let Some((rtp, rtcp)) = told.or(call.wanted) {
                    side.channels.insert(rtcp, (track, true));
                    side.channels.insert(rtp, (track, false));
                }
            }
            _ => {}
        }
        if let Some(session) = head.headers.value("Session") {
            side.session = Some(SessionId::parse(session).id);
        }
    }

    fn packet(&mut self, when: When, channel: u8, payload: &[u8], ledger: &mut Ledger) {
        let side = if when == When::Now { &self.now } else { &self.captured };
        let Some((track, rtcp)) = side.channels.get(&channel).copied() else { return };
        if rtcp {
            let is_bye = |report: &rtcp::Packet| matches!(report, rtcp::Packet::Bye { .. });
            self.over |= when == When::Now && rtcp::parse(payload).0.iter().any(is_bye);
            return;
        }
        ledger.tracks.count(when, &self.name(track));
    }

    /// Kind and encoding of a track, as the capture describes it.
    fn name(&self, track: usize) -> String {
        let described = self.captured.description.as_ref().or(self.now.description.as_ref());
        let Some(media) = described.and_then(|described| described.media.get(track)) else {
            return format!("track {}", track + 1);
        };
        let encoding = media.payload_type().and_then(|payload_type| media.rtpmap(payload_type));
        match encoding {
            Some(map) => format!("{} {}", media.kind, map.encoding.to_lowercase()),
            None => media.kind.clone(),
        }
    }
}

/// The media section of another description that is the same one of its kind.
fn counterpart<'a>(described: &Description, live: &'a Description, track: usize) -> Option<&'a Media> {
    let kind = &described.media.get(track)?.kind;
    let nth = described.media.iter().take(track).filter(|media| media.kind == *kind).count();
    live.media.iter().filter(|media| media.kind == *kind).nth(nth)
}

/// Path and query of a URL.
fn path(url: &str) -> &str {
    let behind = url.split_once("://").map_or(url, |(_, behind)| behind);
    behind.find('/').and_then(|at| behind.get(at..)).unwrap_or_default()
}

impl drive::Part for Part {
    type Client = Plain;
    const UNIT: &str = "packets";

    fn captured(&mut self, said: Said, ledger: &mut Ledger) {
        match said.what {
            What::Rtsp { head, body } => self.answer(When::Captured, &head, &body, ledger),
            What::Block { channel, payload } => self.packet(When::Captured, channel, &payload, ledger),
            _ => {}
        }
    }

    fn heard(&mut self, event: PlainOutput, ledger: &mut Ledger) {
        match event {
            PlainOutput::Answer(head, body) => self.answer(When::Now, &head, &body, ledger),
            PlainOutput::Packet(channel, payload) => self.packet(When::Now, channel, &payload, ledger),
            PlainOutput::Send(_) | PlainOutput::Close(_) => {}
        }
    }

    fn adapt(&mut self, said: Said, ledger: &mut Ledger) -> Adapted<PlainAction> {
        match said.what {
            What::Rtsp { head, body } => self.request(&head, body, said.at, ledger),
            What::Block { channel, payload } => {
                let place = self.captured.channels.get(&channel);
                let live = place.and_then(|place| {
                    self.now.channels.iter().find(|(_, there)| *there == place).map(|(channel, _)| *channel)
                });
                let Some(live) = live else {
                    return Adapted::LeftOut("packets on channels that nobody agreed on");
                };
                if let Some((track, false)) = place {
                    let name = self.name(*track);
                    ledger.sends(&name);
                }
                Adapted::Say(PlainAction::Packet(live, payload))
            }
            _ => Adapted::Own,
        }
    }

    fn lacks(&self, what: &What, ledger: &Ledger) -> Option<String> {
        let needs_session = match what {
            What::Rtsp { head, .. } => head.headers.value("Session").is_some(),
            What::Block { .. } => true,
            _ => false,
        };
        // Said before the answer had come.
        let open = |call: &&Call| {
            let unanswered = call.place.is_some_and(|place| !ledger.is_answered(When::Now, place));
            call.method == "SETUP" && unanswered
        };
        self.calls.iter().find(open).filter(|_| needs_session).map(|call| call.method.clone())
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
