//! HLS viewers, and transport streams over HTTP, as the document has them.

use model::{Protocol, Role, Session, Transport};

use super::session::{Known, any_of, connection, ends, filter, retransmitted, rtt_ms, tracks};
use crate::finding::Note;
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
    let known = Known {
        id,
        protocol: outcome.protocol,
        transport: Transport::Http,
        role: Role::Viewer,
        client: outcome.client,
        server: outcome.server,
        times: outcome.times,
        bytes: outcome.bytes,
        peak_bps,
        first_frame_ns: outcome.first_frame_ns,
    };
    let parts = &outcome.parts;
    let session = Session {
        path: outcome.path,
        agent: outcome.agent,
        retransmitted_bytes: (!synthetic).then(|| retransmitted(parts.iter().map(|part| &part.stats))),
        rtt_ms: parts.first().filter(|_| !synthetic).and_then(|part| rtt_ms(&part.stats)),
        complete: outcome.complete,
        segments: (outcome.protocol == Protocol::Hls).then_some(outcome.segments),
        connections: parts
            .iter()
            .map(|part| connection(&part.stats, part.client, part.end, first_ns))
            .collect(),
        filter: filters(parts),
        tracks: tracks(outcome.tracks),
        ..known.session(first_ns)
    };
    (session, outcome.notes)
}

/// A display filter that shows the connections.
fn filters(parts: &[Part]) -> String {
    let shown = parts.iter().take(MAX_FILTER).map(|part| {
        let (client, server) = ends(&part.stats, part.client);
        filter(client, server)
    });
    any_of(&shown.collect::<Vec<_>>())
}
