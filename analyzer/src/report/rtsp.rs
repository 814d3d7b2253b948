//! RTSP sessions as the document has them.

use std::net::SocketAddr;

use model::{Protocol, Session, Transport};

use super::session::{Known, any_of, connection, ends, filter, host, retransmitted, rtt_ms, tracks};
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
    let (parts, udp_bytes) = (&outcome.parts, &outcome.udp_bytes);
    let sum = |side: usize| {
        let tcp = parts.iter().filter_map(|part| part.bytes.get(side));
        tcp.chain(udp_bytes.get(side)).fold(0u64, |sum, bytes| sum.saturating_add(*bytes))
    };
    let start_ns = parts.iter().map(|part| part.from_ns).min().unwrap_or(first_ns);
    let last_tcp = parts.iter().map(|part| part.until_ns).max();
    let end_ns = last_tcp.max(outcome.last_udp_ns).unwrap_or(start_ns);
    let again = parts.iter().filter(|part| part.first).map(|part| &part.stats);
    let whole = |part: &Part| {
        let ended = outcome.torn_down || matches!(part.end, End::Fin | End::Reset);
        part.stats.is_whole() && part.clean && ended
    };
    let known = Known {
        id,
        protocol: Protocol::Rtsp,
        transport: match outcome.carrier {
            Some(Carrier::Udp) => Transport::Udp,
            Some(Carrier::Interleaved) => Transport::Interleaved,
            None => Transport::Tcp,
        },
        role: outcome.role,
        client: outcome.client,
        server: outcome.server,
        times: (start_ns, end_ns),
        bytes: [sum(0), sum(1)],
        peak_bps,
        first_frame_ns: outcome.first_frame_ns,
    };
    let session = Session {
        path: outcome.path,
        agent: outcome.agent,
        retransmitted_bytes: (!synthetic).then(|| retransmitted(again)),
        rtt_ms: parts.first().filter(|_| !synthetic).and_then(|part| rtt_ms(&part.stats)),
        complete: parts.iter().all(whole),
        connections: parts
            .iter()
            .map(|part| connection(&part.stats, part.client, part.end, first_ns))
            .collect(),
        filter: filters(parts, &outcome.udp_pairs),
        tracks: tracks(outcome.tracks),
        ..known.session(first_ns)
    };
    (session, outcome.notes)
}

/// A display filter that shows the connections and the UDP flows.
fn filters(parts: &[Part], pairs: &[(SocketAddr, SocketAddr)]) -> String {
    let tcp = parts.iter().take(MAX_PAIRS).map(|part| {
        let (client, server) = ends(&part.stats, part.client);
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
    any_of(&tcp.chain(udp).collect::<Vec<_>>())
}
