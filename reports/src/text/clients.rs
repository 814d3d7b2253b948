//! Who watched what, and how much: a row a session; then, at length, what each carried.

use model::{Analysis, CHANGED_FROM, Gop, Protocol, Role, ServerClient, Session, Track, TrackKind};

use super::page::{Ink, Page};
use crate::clients::{Client, endpoint, protocol, role, streams, transport};
use crate::declared::contradictions;
use crate::figures::{count, count_within, decimal, millis, plural, rate, short_rate, short_span};
use crate::words::{clean, columns, left, middle};

/// As many sessions are listed.
const MAX_SESSIONS: usize = 60;

/// The sessions of every stream.
pub(super) fn table(page: &mut Page, analysis: &Analysis, server: &[ServerClient]) {
    page.heading("CLIENTS", "payload in bit/s and bytes, both ways");
    if analysis.sessions.is_empty() {
        page.line("  no RTMP, RTSP or HLS session was seen");
        return;
    }
    let mut room = MAX_SESSIONS;
    for stream in streams(analysis, server) {
        if room == 0 {
            break;
        }
        let path = left(stream.path.unwrap_or("(no stream named)"), 39 + page.width() - 80);
        let titles = cells(["mean", "peak", "bytes", "time", "first"].map(str::to_owned));
        let line = format!("{}{}", page.ink(Ink::Strong, &path), page.ink(Ink::Faint, &titles));
        page.line(&line);
        let carried = stream.clients.iter().map(|c| &c.session.tracks).find(|tracks| !tracks.is_empty());
        let codecs: Vec<String> = carried.into_iter().flatten().map(|t| clean(&t.description)).collect();
        if !codecs.is_empty() {
            let codecs = middle(&codecs.join(" · "), page.width() - 2);
            let line = format!("  {}", page.ink(Ink::Faint, &codecs));
            page.line(&line);
        }
        for client in stream.clients.iter().take(room) {
            row(page, client);
        }
        room = room.saturating_sub(stream.clients.len());
    }
    page.left_out(analysis.sessions.len(), MAX_SESSIONS);
}

/// The figures of a row: mean and peak rate, bytes, time, first frame.
fn cells(cells: [String; 5]) -> String {
    let [mean, peak, bytes, time, first] = cells;
    format!("{mean:>6} {peak:>6} {bytes:>12} {time:>7} {first:>6}")
}

fn row(page: &mut Page, client: &Client<'_>) {
    let session = client.session;
    let ink = if session.role == Role::Publisher { Ink::Source } else { Ink::Sink };
    let address = endpoint(session.client);
    let address_width = 21 + page.width() - 80;
    let figures = cells([
        short_rate(session.mean_bps),
        short_rate(session.peak_bps),
        count_within(client.bytes(), 12),
        short_span(session.duration_s),
        millis(session.first_frame_ms),
    ]);
    let line = format!(
        "  {} {} {} {figures}",
        page.ink(ink, &left(role(session.role), 9)),
        left(&address, address_width),
        left(protocol(session.protocol), 4),
    );
    page.line(&line);
    if columns(&address) > address_width {
        page.detail(&address);
    }
    about(page, client);
}

/// What every session carried.
pub(super) fn tracks(page: &mut Page, analysis: &Analysis) {
    let carrying: Vec<&Session> = analysis.sessions.iter().filter(|s| !s.tracks.is_empty()).collect();
    if carrying.is_empty() {
        return;
    }
    page.heading("TRACKS", "what the bitstreams say");
    for session in carrying.iter().take(MAX_SESSIONS) {
        let path = session.path.as_deref().unwrap_or_default();
        let who = format!("{} {} {}", session.id, role(session.role), endpoint(session.client));
        let room = (page.width() - 4).saturating_sub(columns(&who));
        page.entry(&format!("{who}  {}", middle(&clean(path), room)));
        for track in &session.tracks {
            describe(page, track);
        }
    }
    page.left_out(carrying.len(), MAX_SESSIONS);
}

/// What else is known of the session: its name, how it travelled, its agent.
fn about(page: &mut Page, client: &Client<'_>) {
    let session = client.session;
    let mut facts: Vec<String> = Vec::new();
    facts.extend(client.name());
    facts.push(session.id.clone());
    facts.extend(transport(session).map(|t| format!("over {t}")));
    if !session.complete {
        facts.push("not seen whole".to_owned());
    }
    facts
        .extend(session.retransmitted_bytes.filter(|n| *n > 0).map(|n| format!("{} B sent again", count(n))));
    facts.extend(session.rtt_ms.map(|ms| format!("RTT {}", millis(Some(ms)))));
    facts.extend(session.segments.map(|n| plural(n, "segment")));
    facts.extend(several_connections(session));
    facts.extend(frames(session));
    let facts = facts.join(" · ");
    let agent = session.agent.as_deref().map(clean).unwrap_or_default();
    let room = (page.width() - 4).saturating_sub(columns(&facts) + 3);
    // An agent shares the line where it fits into it, and has the next one otherwise.
    if agent.is_empty() || columns(&agent) > room {
        page.detail(&facts);
        if !agent.is_empty() {
            page.line(&format!("    {}", middle(&agent, page.width() - 4)));
        }
    } else {
        page.detail(&format!("{facts} · {agent}"));
    }
}

/// `606 pictures`, or audio frames where there are none.
fn frames(session: &Session) -> Option<String> {
    let of = |kind| session.tracks.iter().find(|t| t.kind == kind);
    match (of(TrackKind::Video), of(TrackKind::Audio)) {
        (Some(video), _) => Some(plural(video.coded_frames(), "picture")),
        (None, Some(audio)) => Some(plural(audio.coded_frames(), "audio frame")),
        (None, None) => None,
    }
}

fn several_connections(session: &Session) -> Option<String> {
    let n = session.connections.len();
    (n > 1 || session.protocol == Protocol::Hls)
        .then(|| plural(u64::try_from(n).unwrap_or(u64::MAX), "connection"))
}

fn describe(page: &mut Page, track: &Track) {
    let mut what = vec![track.description.clone()];
    what.extend(track.bps.map(|bps| rate(Some(bps))));
    let mut facts = vec![plural(track.coded_frames(), "frame")];
    if track.kind == TrackKind::Video {
        facts.push(format!("{} key", count(track.key_frames)));
        // The description may have the rate already; it is told once.
        let fps = track.frame_rate.map(|fps| format!("{} fps", decimal(fps)));
        facts.extend(fps.filter(|fps| !track.description.contains(fps.as_str())));
        facts.extend(track.gop.map(|g| gop(&g)));
    }
    facts.extend(network(track));
    facts.extend(track.jitter_ms.map(|ms| format!("jitter {}", millis(Some(ms)))));
    let label = format!("{:>5}", kind(track.kind));
    let (what, facts) = (what.join(", "), facts.join(", "));
    // On one line where that is possible, else what it is above how much of it.
    if columns(&what) + columns(&facts) + 12 <= page.width() {
        page.labelled(&label, &format!("{what}, {facts}"));
    } else {
        page.labelled(&label, &what);
        page.labelled("     ", &facts);
    }
    for (claim, value) in track.reported.iter().flatten().filter(|(claim, _)| claim.starts_with("receiver_"))
    {
        page.labelled("    ·", &format!("RTCP {claim} = {value}"));
    }
    if let Some(before) = track.reported.as_ref().and_then(|reported| reported.get(CHANGED_FROM)) {
        page.labelled("    ·", &format!("changed from {before}"));
    }
    for wrong in contradictions(track) {
        if wrong.constant {
            let text = format!("{} = {} in every AAC tag means nothing", wrong.claim, wrong.declared);
            page.labelled("    ·", &text);
        } else {
            let text = format!("declared {} = {}, but it is {}", wrong.claim, wrong.declared, wrong.real);
            page.labelled("    !", &text);
        }
    }
}

/// `1,565 packets, 4 lost, 5 reordered`: what is not zero.
fn network(track: &Track) -> Vec<String> {
    let mut facts: Vec<String> = track.packets.into_iter().map(|n| plural(n, "packet")).collect();
    let words =
        [(track.lost_packets, "lost"), (track.reordered, "reordered"), (track.duplicates, "repeated")];
    facts.extend(words.into_iter().filter_map(|(n, word)| Some((n.filter(|n| *n > 0)?, word))).map(
        |(n, word)| {
            let n = if track.packets.is_some() { count(n) } else { plural(n, "packet") };
            format!("{n} {word}")
        },
    ));
    facts
}

/// `GOP 60 frames (2 s)`, `GOP 30 to 250, mean 118.5 frames (3.95 s)`.
pub(super) fn gop(gop: &Gop) -> String {
    let seconds = decimal(gop.mean_s);
    if gop.min_frames == gop.max_frames {
        return format!("GOP {} ({seconds} s)", count(gop.min_frames));
    }
    let mean = decimal(gop.mean_frames);
    format!("GOP {} to {}, mean {mean} ({seconds} s)", count(gop.min_frames), count(gop.max_frames))
}

/// The kind's name.
pub(super) fn kind(kind: TrackKind) -> &'static str {
    match kind {
        TrackKind::Video => "video",
        TrackKind::Audio => "audio",
        TrackKind::Data => "data",
    }
}
