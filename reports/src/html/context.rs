//! What the template shows: every figure already a string.

use model::{
    Check, Connection, Conversation, Finding, Run, ServerClient, Severity, Track, TrackKind, Verdict,
};
use serde_json::{Value, json};

use crate::clients::{
    Client, endpoint, mean_of_all, observed_s, payload, protocol, protocol_line, recorded, role, severity,
    streams, unseen, verdict, with_role, with_severity,
};
use crate::declared::contradictions;
use crate::figures::{
    UNKNOWN, count, decimal, difference, instant, len, millis, plural, rate, short_rate, size, span,
};
use crate::words::clean;

/// As many rows of a table are written out; the JSON has them all.
const MAX_ROWS: usize = 500;

/// Cards of so many clients stand open.
const OPEN_CARDS: usize = 12;

/// The report as data for the template.
pub(super) fn of(run: &Run) -> Value {
    let analysis = &run.analysis;
    let streams = streams(analysis, &run.server_clients);
    let clients = streams.iter().map(|s| s.clients.len()).sum::<usize>();
    let mut value = json!({
        "title": run.title,
        "kind": run.kind,
        "generator": run.generator,
        "made": made(run),
        "verdict": headline(run),
        "tiles": tiles(run),
        "many_streams": streams.len() > 1,
        "open": clients <= OPEN_CARDS,
        "counted": !run.server_clients.is_empty(),
        "seen": !analysis.sessions.is_empty(),
        "streams": streams.iter().map(|s| json!({
            "path": s.path,
            "codecs": s.clients.iter().find(|c| !c.session.tracks.is_empty()).map(|c| {
                c.session.tracks.iter().map(|t| t.description.as_str()).collect::<Vec<_>>().join(" · ")
            }),
            "clients": s.clients.iter().take(MAX_ROWS).map(client).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "unseen": unseen(run).into_iter().map(unseen_client).collect::<Vec<_>>(),
        "recordings": run.recordings.iter().take(MAX_ROWS).map(|r| json!({
            "file": r.file, "path": r.path, "facts": recorded(r), "tracks": r.tracks.join(" · "),
        })).collect::<Vec<_>>(),
        "checks": checks(run),
        "findings": findings(&analysis.findings),
        "traces": analysis.traces.iter().take(MAX_ROWS).map(|t| json!({
            "publisher": t.publisher, "viewer": t.viewer, "matched": count(t.matched), "missing": count(t.missing),
            "p50": millis(Some(t.latency_ms.p50)), "p95": millis(Some(t.latency_ms.p95)),
            "p99": millis(Some(t.latency_ms.p99)), "max": millis(Some(t.latency_ms.max)),
        })).collect::<Vec<_>>(),
        "conversations": [
            table("TCP", true, &analysis.conversations.tcp),
            table("UDP", true, &analysis.conversations.udp),
            table("IPv4", false, &analysis.conversations.ipv4),
            table("IPv6", false, &analysis.conversations.ipv6),
        ],
        "captures": analysis.captures.iter().map(|c| json!({
            "file": c.file, "format": format!("{} {}", c.format, c.link_type), "packets": count(c.packets),
            "bytes": count(c.bytes), "first": c.first_time.map_or_else(|| UNKNOWN.to_owned(), instant),
            "duration": span(c.duration_s), "truncated": count(c.truncated_packets), "synthetic": c.synthetic,
        })).collect::<Vec<_>>(),
        "artifacts": run.artifacts.iter().map(|a| json!({ "file": a.file, "title": a.title })).collect::<Vec<_>>(),
        "notes": run.notes,
    });
    scrub(&mut value);
    value
}

/// When, how long and by what. How long a capture took to read is nobody's question.
fn made(run: &Run) -> String {
    let (started, generator) = (started(&run.started), &run.generator);
    match run.kind.as_str() {
        "analyze" | "check" => format!("read {started} · {generator}"),
        _ => format!("{started} · {} · {generator}", span(run.duration_s)),
    }
}

/// `2026-11-22T19:40:12Z` as people write it; anything else as it is.
fn started(rfc3339: &str) -> String {
    match rfc3339.strip_suffix('Z').and_then(|s| s.split_once('T')) {
        Some((date, time)) => format!("{date} {} UTC", time.split('.').next().unwrap_or(time)),
        None => rfc3339.to_owned(),
    }
}

/// Makes every string harmless where escaping alone would not: control and bidirectional characters.
fn scrub(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean(text),
        Value::Array(values) => values.iter_mut().for_each(scrub),
        Value::Object(fields) => fields.values_mut().for_each(scrub),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The answer to "was it right", in one line.
fn headline(run: &Run) -> Value {
    let of = |wanted: &[Verdict]| run.checks.iter().filter(|c| wanted.contains(&c.verdict)).count();
    let failed = of(&[Verdict::Fail, Verdict::Error]);
    let doubtful = of(&[Verdict::Warn, Verdict::Inconclusive]);
    let (passed, all) = (of(&[Verdict::Pass]), run.checks.len());
    let errors = with_severity(&run.analysis, Severity::Error);
    let warnings = with_severity(&run.analysis, Severity::Warning);
    // Scenarios say themselves what has to be in the packets, errors too.
    let told = run.kind == "run" && all > 0;
    let state = if failed > 0 || (errors > 0 && !told) {
        "bad"
    } else if errors > 0 {
        "told"
    } else if doubtful > 0 || warnings > 0 {
        "doubtful"
    } else if all > 0 || !run.analysis.sessions.is_empty() {
        "good"
    } else {
        "none"
    };
    let mut parts = Vec::new();
    if all > 0 {
        parts.push(format!("{passed} of {} passed", plural(u64::try_from(all).unwrap_or(u64::MAX), "check")));
    }
    if errors + warnings > 0 {
        parts.push(format!("{}, {} in the packets", plural(errors, "error"), plural(warnings, "warning")));
    } else if state == "none" {
        parts.push("no session was seen".to_owned());
    } else {
        parts.push("nothing wrong in the packets".to_owned());
    }
    let word = match state {
        "told" => "As expected",
        "bad" => "Something is wrong",
        "doubtful" => "Worth a look",
        "good" => "All as it should be",
        _ => "Nothing to judge",
    };
    let state = if state == "told" { "doubtful" } else { state };
    json!({ "state": state, "word": word, "text": parts.join("; ") })
}

fn tiles(run: &Run) -> Value {
    let analysis = &run.analysis;
    let (peak, step) = crate::plot::highest(&analysis.bandwidth);
    let seconds = observed_s(analysis);
    let bytes = payload(analysis);
    let mean = mean_of_all(analysis);
    let publishers = with_role(analysis, model::Role::Publisher);
    let viewers = with_role(analysis, model::Role::Viewer);
    let packets = analysis.captures.iter().map(|c| c.packets).fold(0, u64::saturating_add);
    json!([
        { "label": "Clients", "value": count(publishers + viewers),
          "note": format!("{}, {}", plural(publishers, "publisher"), plural(viewers, "viewer")) },
        { "label": "Payload", "value": size(bytes), "note": format!("{} bytes, both ways", count(bytes)) },
        { "label": "Mean of all", "value": rate(mean),
          "note": format!("peak {} (mean of {})", rate((peak > 0.0).then_some(peak)), crate::plot::step(step)) },
        { "label": "Observed", "value": span(seconds), "note": plural(packets, "packet") },
    ])
}

fn client(client: &Client<'_>) -> Value {
    let s = client.session;
    let palette = if s.role == model::Role::Publisher { ("p", 3) } else { ("v", 8) };
    json!({
        "id": s.id,
        "name": client.name(),
        "role": role(s.role),
        "swatch": format!("{}{}", palette.0, client.place % palette.1),
        "address": endpoint(s.client),
        "server": endpoint(s.server),
        "protocol": protocol_line(s),
        "path": s.path,
        "agent": s.agent,
        "mean": rate(s.mean_bps),
        "peak": rate(s.peak_bps),
        "size": size(client.bytes()),
        "bytes": count(client.bytes()),
        "to_server": count(s.bytes_to_server),
        "to_client": count(s.bytes_to_client),
        "first_frame": millis(s.first_frame_ms),
        "start": format!("{:.1} s", s.start_s),
        "duration": span(s.duration_s),
        "rtt": s.rtt_ms.map(|ms| millis(Some(ms))),
        "resent": s.retransmitted_bytes.map(count),
        "complete": s.complete,
        "unsent": s.unsent.filter(|n| *n > 0).map(count),
        "dropped": client.server.map(|c| c.frames_dropped).filter(|n| *n > 0).map(count),
        "filter": s.filter,
        "segments": s.segments.map(count),
        "connections": s.connections.iter().take(MAX_ROWS).map(connection).collect::<Vec<_>>(),
        "tally": client.tally().map(|t| json!({
            "server_in": count(t.server_in), "wire_in": count(t.wire_in), "apart_in": difference(t.difference_in()),
            "server_out": count(t.server_out), "wire_out": count(t.wire_out),
            "apart_out": difference(t.difference_out()), "equal": t.apart() == 0, "apart": count(t.apart()),
        })),
        "tracks": s.tracks.iter().map(track).collect::<Vec<_>>(),
    })
}

fn connection(c: &Connection) -> Value {
    json!({
        "client": endpoint(c.client), "server": endpoint(c.server), "start": format!("{:.3} s", c.start_s),
        "duration": span(c.duration_s), "to_server": count(c.bytes_to_server), "to_client": count(c.bytes_to_client),
        "end": c.end.as_deref().unwrap_or("the capture ends first"),
    })
}

fn track(track: &Track) -> Value {
    let wrong = contradictions(track);
    let real = |claim: &str| wrong.iter().find(|c| c.claim == claim && !c.constant).map(|c| c.real.clone());
    let constant = |claim: &str| wrong.iter().any(|c| c.claim == claim && c.constant);
    let video = track.kind == TrackKind::Video;
    json!({
        "kind": match track.kind { TrackKind::Video => "video", TrackKind::Audio => "audio", TrackKind::Data => "data" },
        "description": track.description,
        "frames": count(track.coded_frames()),
        "key_frames": video.then(|| count(track.key_frames)),
        "gop": track.gop.map(|g| if g.min_frames == g.max_frames {
            format!("{} frames, {} s", count(g.min_frames), decimal(g.mean_s))
        } else {
            format!("{} to {} frames, mean {}, {} s", g.min_frames, g.max_frames, decimal(g.mean_frames), decimal(g.mean_s))
        }),
        "frame_rate": track.frame_rate.map(|fps| format!("{} fps", decimal(fps))),
        "rate": rate(track.bps),
        "bytes": count(track.bytes),
        "packets": track.packets.map(count),
        "lost": track.lost_packets.map(count),
        "reordered": track.reordered.filter(|n| *n > 0).map(count),
        "duplicates": track.duplicates.filter(|n| *n > 0).map(count),
        "reported": track.reported.iter().flatten()
            .map(|(claim, value)| json!({ "claim": claim, "value": value })).collect::<Vec<_>>(),
        "jitter": track.jitter_ms.map(|ms| millis(Some(ms))),
        "declared": track.declared.iter().flatten().map(|(claim, declared)| json!({
            "claim": claim, "declared": declared, "real": real(claim), "constant": constant(claim),
        })).collect::<Vec<_>>(),
        "wrong": wrong.iter().filter(|c| !c.constant).count(),
    })
}

fn unseen_client(c: &ServerClient) -> Value {
    json!({
        "name": c.name, "address": endpoint(c.address), "protocol": protocol(c.protocol), "role": role(c.role),
        "bytes_in": count(c.bytes_in), "bytes_out": count(c.bytes_out),
    })
}

/// The checks, those that need a look first.
fn checks(run: &Run) -> Vec<Value> {
    let rank = |v: Verdict| match v {
        Verdict::Fail | Verdict::Error => 0,
        Verdict::Warn | Verdict::Inconclusive => 1,
        Verdict::Skip => 2,
        Verdict::Pass => 3,
    };
    let states = ["bad", "doubtful", "none", "good"];
    let mut sorted: Vec<&Check> = run.checks.iter().collect();
    sorted.sort_by_key(|c| rank(c.verdict));
    let shown = sorted.into_iter().map(|c| {
        json!({
            "id": c.id, "title": c.title, "verdict": verdict(c.verdict), "want": c.want, "got": c.got,
            "reason": c.reason, "session": c.session,
            "state": states[rank(c.verdict)],
        })
    });
    shown.collect()
}

fn findings(findings: &[Finding]) -> Value {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|f| std::cmp::Reverse(f.severity));
    let shown = sorted.iter().take(MAX_ROWS).map(|f| {
        let mut place = Vec::new();
        place.extend(f.session.clone());
        place.extend(f.frame.map(|n| format!("frame {n}")));
        place.extend(f.stream_offset.map(|n| format!("stream byte {n}")));
        place.extend(f.time_s.map(|s| format!("{s:.3} s")));
        place.extend(f.file.clone());
        json!({
            "rule": f.rule, "level": f.level, "severity": severity(f.severity), "message": f.message,
            "state": match f.severity {
                Severity::Error => "bad", Severity::Warning => "doubtful", Severity::Info => "none",
            },
            "count": (f.count > 1).then(|| count(f.count)), "place": place.join(" · "), "want": f.want, "got": f.got,
            "filter": f.filter,
        })
    });
    json!({ "rows": shown.collect::<Vec<_>>(), "left_out": len(findings).saturating_sub(500) })
}

fn table(name: &str, ports: bool, rows: &[Conversation]) -> Value {
    let bits = |bps: Option<f64>| bps.filter(|v| v.is_finite()).map(|v| short_rate(Some(v)));
    let mut largest: Vec<&Conversation> = rows.iter().collect();
    if rows.len() > MAX_ROWS {
        largest.sort_by_key(|c| std::cmp::Reverse(c.bytes));
        largest.truncate(MAX_ROWS);
    }
    let shown = largest.into_iter().map(|c| {
        json!({
            "a": c.a.address.to_string(), "a_port": c.a.port, "b": c.b.address.to_string(), "b_port": c.b.port,
            "packets": count(c.packets), "bytes": count(c.bytes), "packets_ab": count(c.packets_ab),
            "bytes_ab": count(c.bytes_ab), "packets_ba": count(c.packets_ba), "bytes_ba": count(c.bytes_ba),
            "start": format!("{:.6}", c.start_s), "duration": format!("{:.6}", c.duration_s),
            "bps_ab": bits(c.bps_ab), "bps_ba": bits(c.bps_ba), "reused": c.reused,
        })
    });
    json!({
        "name": name, "ports": ports, "rows": shown.collect::<Vec<_>>(), "all": count(len(rows)),
        "left_out": len(rows).saturating_sub(500),
    })
}
