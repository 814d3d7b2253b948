//! HLS viewers, and transport streams over HTTP, as the document has them.

use model::{Connection, Protocol, Role, Session, Transport};

use super::{end_word, endpoint, filter, float, round3, seconds, worth_showing};
use crate::finding::Note;
use crate::flow::Dir;
use crate::track::hls::{Outcome, Part};

/// Connections shown in a display filter.
const MAX_FILTER: usize = 16;

/// One viewer, and what was noted of it.
pub(super) fn session(
    id: String,
    outcome: Outcome,
    first_ns: i64,
    synthetic: bool,
    peak_bps: Option<f64>,
) -> (Session, Vec<Note>) {
    let Outcome { client, server, path, agent, times, bytes, parts, tracks, notes, .. } = outcome;
    let (start_ns, end_ns) = times;
    let [bytes_to_server, bytes_to_client] = bytes;
    let duration_s = seconds(end_ns.saturating_sub(start_ns)).max(0.0);
    let sum = bytes_to_server.saturating_add(bytes_to_client);
    let retransmitted = parts.iter().fold(0u64, |sum, part| {
        let both =
            part.stats.a_to_b.retransmitted_bytes.saturating_add(part.stats.b_to_a.retransmitted_bytes);
        sum.saturating_add(both)
    });
    let rtt = parts.first().and_then(|part| part.stats.rtt_ns).filter(|_| !synthetic);
    let session = Session {
        id,
        protocol: outcome.protocol,
        transport: Transport::Http,
        role: Role::Viewer,
        client: endpoint(client),
        server: endpoint(server),
        path,
        agent,
        start_s: seconds(start_ns.saturating_sub(first_ns)),
        duration_s,
        bytes_to_server,
        bytes_to_client,
        mean_bps: (duration_s > 0.0).then(|| (float(sum) * 8.0 / duration_s).round()),
        peak_bps,
        first_frame_ms: outcome
            .first_frame_ns
            .map(|ns| round3(seconds(ns.saturating_sub(start_ns)) * 1000.0)),
        retransmitted_bytes: (!synthetic).then_some(retransmitted),
        rtt_ms: rtt.map(|ns| round3(seconds(ns) * 1000.0)),
        complete: outcome.complete,
        unsent: None,
        segments: (outcome.protocol == Protocol::Hls).then_some(outcome.segments),
        connections: parts.iter().map(|part| connection(part, first_ns)).collect(),
        filter: filters(&parts),
        tracks: tracks.into_iter().filter(worth_showing).map(crate::track::Stats::into_model).collect(),
    };
    (session, notes)
}

fn connection(part: &Part, first_ns: i64) -> Connection {
    let stats = &part.stats;
    let (client, server) = ends(part);
    Connection {
        client: endpoint(client),
        server: endpoint(server),
        start_s: seconds(stats.first_ns.saturating_sub(first_ns)),
        duration_s: seconds(stats.last_ns.saturating_sub(stats.first_ns)),
        bytes_to_server: stats.half(part.client).bytes,
        bytes_to_client: stats.half(part.client.reverse()).bytes,
        end: end_word(part.end),
    }
}

fn ends(part: &Part) -> (std::net::SocketAddr, std::net::SocketAddr) {
    let info = &part.stats.info;
    if part.client == Dir::AToB { (info.a, info.b) } else { (info.b, info.a) }
}

fn filters(parts: &[Part]) -> String {
    let all: Vec<String> = parts
        .iter()
        .take(MAX_FILTER)
        .map(|part| {
            let (client, server) = ends(part);
            filter(client, server)
        })
        .collect();
    match all.as_slice() {
        [one] => one.clone(),
        several => several.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" || "),
    }
}
