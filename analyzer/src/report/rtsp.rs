//! RTSP sessions as the document has them.

use std::net::SocketAddr;

use model::{Connection, Protocol, Session, Transport};

use super::{endpoint, filter, float, host, round3, seconds, worth_showing};
use crate::finding::Note;
use crate::flow::End;
use crate::track::rtsp::{Carrier, Outcome, Part};

/// UDP pairs shown in a display filter.
const MAX_PAIRS: usize = 8;

/// One session, and what was noted of it.
pub(super) fn session(
    id: String,
    outcome: Outcome,
    first_ns: i64,
    synthetic: bool,
    peak_bps: Option<f64>,
) -> (Session, Vec<Note>) {
    let Outcome { carrier, role, client, server, path, agent, parts, udp_bytes, notes, .. } = outcome;
    let sum = |side: usize| {
        let tcp = parts.iter().filter_map(|part| part.bytes.get(side));
        tcp.chain(udp_bytes.get(side)).fold(0u64, |sum, bytes| sum.saturating_add(*bytes))
    };
    let (bytes_to_server, bytes_to_client) = (sum(0), sum(1));
    let start_ns = parts.iter().map(|part| part.from_ns).min().unwrap_or(first_ns);
    let last_tcp = parts.iter().map(|part| part.until_ns).max();
    let end_ns = last_tcp.max(outcome.last_udp_ns).unwrap_or(start_ns);
    let duration_s = seconds(end_ns.saturating_sub(start_ns)).max(0.0);
    let bytes = bytes_to_server.saturating_add(bytes_to_client);
    let retransmitted = parts.iter().filter(|part| part.first).fold(0u64, |sum, part| {
        let both =
            part.stats.a_to_b.retransmitted_bytes.saturating_add(part.stats.b_to_a.retransmitted_bytes);
        sum.saturating_add(both)
    });
    let whole = |part: &Part| {
        let ended = outcome.torn_down || matches!(part.end, End::Fin | End::Reset);
        part.stats.is_whole() && part.clean && ended
    };
    let rtt = parts.first().and_then(|part| part.stats.rtt_ns).filter(|_| !synthetic);
    let session = Session {
        id,
        protocol: Protocol::Rtsp,
        transport: match carrier {
            Some(Carrier::Udp) => Transport::Udp,
            Some(Carrier::Interleaved) => Transport::Interleaved,
            None => Transport::Tcp,
        },
        role,
        client: endpoint(client),
        server: endpoint(server),
        path,
        agent,
        start_s: seconds(start_ns.saturating_sub(first_ns)),
        duration_s,
        bytes_to_server,
        bytes_to_client,
        mean_bps: (duration_s > 0.0).then(|| (float(bytes) * 8.0 / duration_s).round()),
        peak_bps,
        first_frame_ms: outcome
            .first_frame_ns
            .map(|ns| round3(seconds(ns.saturating_sub(start_ns)) * 1000.0)),
        retransmitted_bytes: (!synthetic).then_some(retransmitted),
        rtt_ms: rtt.map(|ns| round3(seconds(ns) * 1000.0)),
        complete: parts.iter().all(whole),
        unsent: None,
        segments: None,
        connections: parts.iter().map(|part| connection(part, first_ns)).collect(),
        filter: filters(&parts, &outcome.udp_pairs),
        tracks: outcome
            .tracks
            .into_iter()
            .filter(worth_showing)
            .map(crate::track::Stats::into_model)
            .collect(),
    };
    (session, notes)
}

/// Client and server of a connection.
fn ends(part: &Part) -> (SocketAddr, SocketAddr) {
    let info = &part.stats.info;
    if part.client == crate::flow::Dir::AToB { (info.a, info.b) } else { (info.b, info.a) }
}

fn connection(part: &Part, first_ns: i64) -> Connection {
    let (client, server) = ends(part);
    let stats = &part.stats;
    Connection {
        client: endpoint(client),
        server: endpoint(server),
        start_s: seconds(stats.first_ns.saturating_sub(first_ns)),
        duration_s: seconds(stats.last_ns.saturating_sub(stats.first_ns)),
        bytes_to_server: stats.half(part.client).bytes,
        bytes_to_client: stats.half(part.client.reverse()).bytes,
        end: super::end_word(part.end),
    }
}

/// A display filter that shows the connections and the UDP flows.
fn filters(parts: &[Part], pairs: &[(SocketAddr, SocketAddr)]) -> String {
    let tcp = parts.iter().take(MAX_PAIRS).map(|part| {
        let (client, server) = ends(part);
        filter(client, server)
    });
    let udp = pairs.iter().take(MAX_PAIRS).map(|(client, server)| {
        let mut text =
            format!("{} && udp.port=={} && {}", host(client.ip()), client.port(), host(server.ip()));
        // Port 0 stands for one that was never announced.
        if server.port() != 0 {
            text.push_str(&format!(" && udp.port=={}", server.port()));
        }
        text
    });
    let all: Vec<String> = tcp.chain(udp).collect();
    match all.as_slice() {
        [one] => one.clone(),
        several => several.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" || "),
    }
}
