//! Was it right? Three accounts of one truth, held against each other: what the clients sent and saw, what the
//! server counted, what the packets tell.

use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

use media::Kind;
use model::{
    Analysis, Check, Endpoint, Recording, Role, ServerClient, Session, Severity, TrackKind, Verdict,
};

use super::play::{Played, Seen};
use super::{PATH, RECORDINGS};
use crate::account::{Account, Times};
use crate::engine::record;

/// The server's clients as the report has them, with their sessions in the analysis.
pub(super) fn server_clients(played: &Played, analysis: &Analysis) -> Vec<ServerClient> {
    let clients = played.clients.iter().map(|client| {
        let address = Endpoint { address: client.address.ip(), port: Some(client.address.port()) };
        ServerClient {
            id: client.id.clone(),
            name: name_of(played, client.address).map(str::to_owned),
            protocol: client.protocol,
            role: client.role,
            address,
            path: Some(client.path.clone()),
            bytes_in: client.bytes_in,
            bytes_out: client.bytes_out,
            frames_dropped: client.frames_dropped,
            connected_s: client.connected_s(played.ended),
            session: session_of(analysis, client.address).map(|s| s.id.clone()),
        }
    });
    clients.collect()
}

fn name_of(played: &Played, address: SocketAddr) -> Option<&'static str> {
    if played.published.local == address {
        return Some("encoder");
    }
    played.viewers.iter().find(|v| v.viewed.local == address).map(|v| v.name)
}

fn session_of(analysis: &Analysis, client: SocketAddr) -> Option<&Session> {
    analysis.sessions.iter().find(|s| s.client.address == client.ip() && s.client.port == Some(client.port()))
}

pub(super) fn all(played: &Played, analysis: &Analysis, clients: &[ServerClient]) -> Vec<Check> {
    let mut checks = vec![sessions(played, analysis), findings(analysis)];
    let published = &played.published;
    let session = session_of(analysis, published.local);
    checks.push(codecs("encoder", &published.account, session));
    checks.push(frames("encoder", &published.account, false, session));
    for seen in &played.viewers {
        let session = session_of(analysis, seen.viewed.local);
        checks.push(content(seen, &published.account, session));
        checks.push(codecs(seen.name, &published.account, session));
        checks.push(frames(seen.name, &seen.viewed.account, seen.leaves_early, session));
        checks.extend(packets(seen, session));
    }
    for client in clients {
        checks.push(bytes(client, analysis));
    }
    checks
}

fn check(id: &str, name: &str, title: String, ok: bool, want: String, got: String) -> Check {
    Check {
        id: format!("demo.{id}.{}", name.replace(' ', "-")),
        title,
        verdict: if ok { Verdict::Pass } else { Verdict::Fail },
        want,
        got,
        reason: None,
        session: None,
    }
}

/// Who was there.
fn sessions(played: &Played, analysis: &Analysis) -> Check {
    let count = |role| analysis.sessions.iter().filter(|s| s.role == role).count();
    let want = (1, played.viewers.len());
    let got = (count(Role::Publisher), count(Role::Viewer));
    let say = |(p, v): (usize, usize)| format!("{p} publisher, {v} viewers");
    let complete = analysis.sessions.iter().all(|s| s.complete);
    let mut check = check(
        "sessions",
        "all",
        "every client is found in the packets".into(),
        want == got,
        say(want),
        say(got),
    );
    if !complete {
        check.verdict = Verdict::Fail;
        check.got.push_str(", not all of them complete");
    }
    check.reason = Some("counted from the packets; wanted by the script".to_owned());
    check
}

/// What the packets complain about.
fn findings(analysis: &Analysis) -> Check {
    let errors = analysis.findings.iter().filter(|f| f.severity == Severity::Error).count();
    let got = match errors {
        0 => "no error".to_owned(),
        n => format!("{n} errors"),
    };
    let title = "the packets show no error".to_owned();
    check("findings", "all", title, errors == 0, "no error".to_owned(), got)
}

/// What the viewer got is what was published, content and time.
fn content(seen: &Seen, published: &Account, session: Option<&Session>) -> Check {
    let c = seen.viewed.account.compare(published, seen.over.times());
    let mut faults = Vec::new();
    if c.frames == 0 {
        faults.push("no frame came".to_owned());
    }
    if c.missing > 0 {
        faults.push(format!("{} frames missing", c.missing));
    }
    if c.foreign > 0 {
        faults.push(format!("{} frames were not published so", c.foreign));
    }
    if !c.key_frame_first {
        faults.push("the first picture is no key frame".to_owned());
    }
    let saw_the_end = c.to_the_end && seen.viewed.told_of_end;
    if !seen.leaves_early && !saw_the_end {
        faults.push("the end did not arrive".to_owned());
    }
    let got = match faults.is_empty() {
        true => format!("{} frames, all as published", c.frames),
        false => format!("{} frames; {}", c.frames, faults.join("; ")),
    };
    let title = format!("{}: saw every frame as it was published", seen.name);
    let want = "each frame with its bytes and times, a key frame first".to_owned();
    let mut check = check("content", seen.name, title, faults.is_empty(), want, got);
    check.reason = Some("hashes and timestamps kept by the publisher and the viewer themselves".to_owned());
    check.session = session.map(|s| s.id.clone());
    check
}

/// The codecs in the packets are those of the clip.
fn codecs(name: &str, published: &Account, session: Option<&Session>) -> Check {
    let want = published.tracks.join(", ");
    let got: Vec<String> = session
        .iter()
        .flat_map(|s| &s.tracks)
        .filter(|t| t.kind != TrackKind::Data)
        .map(|t| t.description.clone())
        .collect();
    // The analyzer may say more of a track (`25 fps`) than the publisher's own reading.
    let told = published.tracks.iter().all(|t| got.iter().any(|g| g.starts_with(t.as_str())));
    let title = format!("{name}: its packets tell the codecs");
    let mut check = check("codecs", name, title, told && !want.is_empty(), want, got.join(", "));
    check.session = session.map(|s| s.id.clone());
    check
}

/// As many frames in the packets as the client counted itself.
fn frames(name: &str, account: &Account, leaves_early: bool, session: Option<&Session>) -> Check {
    let of = |kind| account.of(kind).count() as u64;
    let in_packets = |kind| {
        session
            .iter()
            .flat_map(|s| &s.tracks)
            .filter(|t| t.kind == kind)
            .map(|t| t.coded_frames())
            .sum::<u64>()
    };
    let want = (of(Kind::Video), of(Kind::Audio));
    let got = (in_packets(TrackKind::Video), in_packets(TrackKind::Audio));
    // A viewer that leaves may have frames on their way to it that it never read.
    let ok = want == got || (leaves_early && got.0 >= want.0 && got.1 >= want.1);
    let say = |(v, a): (u64, u64)| format!("{v} pictures, {a} audio frames");
    let title = format!("{name}: its packets hold its frames");
    let mut check = check("frames", name, title, ok, say(want), say(got));
    check.reason = Some("wanted: the client's own count; got: counted from the packets".to_owned());
    check.session = session.map(|s| s.id.clone());
    check
}

/// What a viewer missed of RTP, and what the packets tell of that.
fn packets(seen: &Seen, session: Option<&Session>) -> Option<Check> {
    let own = seen.viewed.packets?;
    let wire = session.map(|s| s.tracks.iter().filter_map(|t| t.lost_packets).sum::<u64>());
    let got = match wire {
        Some(wire) => format!("{} came, {} missing; {wire} missing in the capture", own.received, own.lost),
        None => "no session in the packets".to_owned(),
    };
    let ok = own.received > 0 && own.lost == 0 && wire == Some(0);
    let title = format!("{}: no RTP packet was lost", seen.name);
    let mut check = check("packets", seen.name, title, ok, "none missing".to_owned(), got);
    check.reason = Some("sequence numbers, by the viewer itself and by the capture".to_owned());
    check.session = session.map(|s| s.id.clone());
    Some(check)
}

/// The server's count and the packets' count of one client.
fn bytes(client: &ServerClient, analysis: &Analysis) -> Check {
    let session = analysis.sessions.iter().find(|s| Some(&s.id) == client.session.as_ref());
    let name = client.name.as_deref().unwrap_or(&client.id);
    let want = (client.bytes_in, client.bytes_out);
    let got = session.map(|s| (s.bytes_to_server, s.bytes_to_client));
    let say = |(i, o): (u64, u64)| format!("{i} bytes in, {o} bytes out");
    let title = format!("{name}: server and packets count the same bytes");
    let got_text = got.map_or_else(|| "no session in the packets".to_owned(), say);
    let mut check = check("bytes", name, title, got == Some(want), say(want), got_text);
    check.reason =
        Some("wanted: the server's metrics; got: payload of TCP, RTP and RTCP in the capture".to_owned());
    check.session.clone_from(&client.session);
    check
}

/// What the server recorded: the file as the report shows it, and whether it holds what was published.
pub(super) fn recording(
    out: &Path,
    since: SystemTime,
    published: &Account,
) -> (Option<Recording>, [Check; 2]) {
    let found = record::newest(&out.join(RECORDINGS).join(PATH), since);
    let read = found.and_then(|file| Ok((record::read(&file)?, file)));
    let say = |id: &str, title: &str, ok: bool, want: String, got: String| {
        let mut check = check(id, "all", title.to_owned(), ok, want, got);
        check.reason =
            Some("the file, read by this program's MP4 reader; the publisher's own account".to_owned());
        check
    };
    let frames = "the recording holds every frame as it was published";
    let length = "the recording is as long as the session, to within a frame";
    let want_frames = "each frame with its bytes and times".to_owned();
    let want_length = format!("{:.3} s", seconds(published.span_us()));
    let (account, file) = match read {
        Ok(read) => read,
        Err(why) => {
            let checks = [
                say("recording", frames, false, want_frames, why.clone()),
                say("recording-length", length, false, want_length, why),
            ];
            return (None, checks);
        }
    };
    let c = account.compare(published, Times::Shifted);
    let whole = c.frames > 0 && c.missing == 0 && c.foreign == 0 && c.to_the_end && c.key_frame_first;
    let all = c.frames == published.marks.len();
    let end = if c.to_the_end { "" } else { ", the end is missing" };
    let got = format!(
        "{} of {} frames, {} missing, {} others{end}",
        c.frames,
        published.marks.len(),
        c.missing,
        c.foreign
    );
    let frame = published.step_us(Kind::Video).or(published.step_us(Kind::Audio)).unwrap_or(0);
    let near = (account.span_us() - published.span_us()).abs() <= frame;
    let checks = [
        say("recording", frames, whole && all, want_frames, got),
        say("recording-length", length, near, want_length, format!("{:.3} s", seconds(account.span_us()))),
    ];
    let recording = record::describe(PATH, &file, out, account);
    (Some(recording), checks)
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}
