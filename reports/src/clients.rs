//! Who watched what: sessions by stream, each with its colour, its name and the server's count of it.

use std::net::IpAddr;

use model::{
    Analysis, Endpoint, Protocol, Recording, Role, Run, ServerClient, Session, Severity, Transport, Verdict,
};

use crate::figures::{plural, size, span};
use crate::words::clean;

/// A session with everything that a report says about it.
pub(crate) struct Client<'a> {
    /// What the packets tell.
    pub(crate) session: &'a Session,
    /// What the server counted.
    pub(crate) server: Option<&'a ServerClient>,
    /// Place among the publishers, or among the others: the number of its colour.
    pub(crate) place: usize,
}

/// The clients of one path.
pub(crate) struct Stream<'a> {
    /// The path; none for sessions that named no stream.
    pub(crate) path: Option<&'a str>,
    /// Publishers first, then viewers, each in order of appearance.
    pub(crate) clients: Vec<Client<'a>>,
}

/// All clients by stream. Streams stand in order of appearance, sessions without a path last.
pub(crate) fn streams<'a>(analysis: &'a Analysis, server: &'a [ServerClient]) -> Vec<Stream<'a>> {
    let mut streams: Vec<Stream<'a>> = Vec::new();
    let mut places = [0; 2];
    for session in &analysis.sessions {
        let count = &mut places[usize::from(session.role != Role::Publisher)];
        let counted = server.iter().find(|c| c.session.as_deref() == Some(session.id.as_str()));
        let client = Client { session, server: counted, place: *count };
        *count += 1;
        let path = session.path.as_deref();
        match streams.iter_mut().find(|s| s.path == path) {
            Some(stream) => stream.clients.push(client),
            None => streams.push(Stream { path, clients: vec![client] }),
        }
    }
    for stream in &mut streams {
        stream.clients.sort_by_key(|c| rank(c.session.role));
    }
    streams.sort_by_key(|s| s.path.is_none());
    streams
}

/// What the server counted of clients that no packet shows.
pub(crate) fn unseen(run: &Run) -> Vec<&ServerClient> {
    let seen = |id: &str| run.analysis.sessions.iter().any(|s| s.id == id);
    run.server_clients.iter().filter(|c| !c.session.as_deref().is_some_and(seen)).collect()
}

fn rank(role: Role) -> u8 {
    match role {
        Role::Publisher => 0,
        Role::Viewer => 1,
        Role::Control => 2,
    }
}

impl Client<'_> {
    /// The name the run gave it.
    pub(crate) fn name(&self) -> Option<String> {
        self.server.and_then(|s| s.name.as_deref()).map(clean)
    }

    /// The two counts of each direction.
    pub(crate) fn tally(&self) -> Option<Tally> {
        let server = self.server?;
        Some(Tally {
            server_in: server.bytes_in,
            wire_in: self.session.bytes_to_server,
            server_out: server.bytes_out,
            wire_out: self.session.bytes_to_client,
        })
    }

    /// Payload of both directions.
    pub(crate) fn bytes(&self) -> u64 {
        self.session.bytes_to_server.saturating_add(self.session.bytes_to_client)
    }
}

/// The server's count and the wire's, in bytes of payload.
#[derive(Clone, Copy)]
pub(crate) struct Tally {
    /// What the server received, as it says.
    pub(crate) server_in: u64,
    /// What the packets carried to the server.
    pub(crate) wire_in: u64,
    /// What the server sent, as it says.
    pub(crate) server_out: u64,
    /// What the packets carried to the client.
    pub(crate) wire_out: u64,
}

impl Tally {
    /// Server minus wire, both directions added up as magnitudes so that they cannot cancel out.
    pub(crate) fn apart(&self) -> u64 {
        let (a, b) = (self.server_in.abs_diff(self.wire_in), self.server_out.abs_diff(self.wire_out));
        a.saturating_add(b)
    }

    /// Server minus wire, received.
    pub(crate) fn difference_in(&self) -> i128 {
        i128::from(self.server_in) - i128::from(self.wire_in)
    }

    /// Server minus wire, sent.
    pub(crate) fn difference_out(&self) -> i128 {
        i128::from(self.server_out) - i128::from(self.wire_out)
    }
}

/// `192.0.2.7:41234`, `[2001:db8::7]:41234`.
pub(crate) fn endpoint(endpoint: Endpoint) -> String {
    match (endpoint.address, endpoint.port) {
        (address, None) => address.to_string(),
        (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
        (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
    }
}

/// The protocol's name for people.
pub fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Rtmp => "RTMP",
        Protocol::Rtsp => "RTSP",
        Protocol::Hls => "HLS",
        Protocol::Rtp => "RTP",
        Protocol::MpegTs => "MPEG-TS",
    }
}

/// How the media travelled, where that is not the protocol's only way.
pub(crate) fn transport(session: &Session) -> Option<&'static str> {
    match (session.protocol, session.transport) {
        (_, Transport::Tls) => Some("TLS"),
        (Protocol::Rtsp | Protocol::MpegTs, Transport::Udp) => Some("UDP"),
        (Protocol::MpegTs, Transport::Http) => Some("HTTP"),
        (Protocol::Rtsp, Transport::Interleaved | Transport::Tcp) => Some("TCP"),
        _ => None,
    }
}

/// `16.2 s · 402 pictures · 758 audio frames · 2.1 MB`.
pub(crate) fn recorded(recording: &Recording) -> String {
    let mut facts = vec![span(recording.duration_s)];
    let kinds = [(recording.pictures, "picture"), (recording.audio_frames, "audio frame")];
    facts.extend(kinds.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| plural(n, what)));
    facts.push(size(recording.bytes));
    facts.join(" · ")
}

/// `RTMP`, `RTSP over UDP`.
pub(crate) fn protocol_line(session: &Session) -> String {
    let name = protocol(session.protocol);
    transport(session).map_or_else(|| name.to_owned(), |over| format!("{name} over {over}"))
}

/// The role's name for people.
pub fn role(role: Role) -> &'static str {
    match role {
        Role::Publisher => "publisher",
        Role::Viewer => "viewer",
        Role::Control => "control",
    }
}

/// How many sessions have this role.
pub(crate) fn with_role(analysis: &Analysis, role: Role) -> u64 {
    let n = analysis.sessions.iter().filter(|s| s.role == role).count();
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// How many findings have this severity.
pub(crate) fn with_severity(analysis: &Analysis, severity: Severity) -> u64 {
    let n = analysis.findings.iter().filter(|f| f.severity == severity).count();
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// The severity's name for people.
pub(crate) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// The verdict's name.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Warn => "warn",
        Verdict::Skip => "skip",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Error => "error",
    }
}

/// From the first packet of any capture to the last, in seconds.
pub(crate) fn observed_s(analysis: &Analysis) -> f64 {
    let first = analysis.captures.iter().filter_map(|c| c.first_time).fold(f64::INFINITY, f64::min);
    let last = analysis.captures.iter().filter_map(|c| c.last_time).fold(f64::NEG_INFINITY, f64::max);
    let longest = analysis.captures.iter().map(|c| c.duration_s).fold(0.0, f64::max);
    if last >= first { longest.max(last - first) } else { longest }
}

/// Payload of all sessions in bytes.
pub(crate) fn payload(analysis: &Analysis) -> u64 {
    let both = |s: &Session| s.bytes_to_server.saturating_add(s.bytes_to_client);
    analysis.sessions.iter().map(both).fold(0, u64::saturating_add)
}

/// Payload of all sessions over the time observed, in bit/s.
pub(crate) fn mean_of_all(analysis: &Analysis) -> Option<f64> {
    let seconds = observed_s(analysis);
    (seconds > 0.0).then(|| crate::figures::as_f64(payload(analysis)) * 8.0 / seconds)
}
