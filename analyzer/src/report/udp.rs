//! Streams in UDP without a session of their own as the document has them.

use model::{Protocol, Role, Session, Transport};

use super::{endpoint, float, host, round3, seconds};
use crate::finding::Note;
use crate::track::udp::{Carried, Outcome};

/// The stream's protocol.
pub(super) fn protocol(carried: Carried) -> Protocol {
    match carried {
        Carried::Rtp => Protocol::Rtp,
        Carried::MpegTs => Protocol::MpegTs,
    }
}

/// One stream, and what was noted of it: its receiver is the viewer.
pub(super) fn session(
    id: String,
    outcome: Outcome,
    first_ns: i64,
    peak_bps: Option<f64>,
) -> (Session, Vec<Note>) {
    let Outcome { carried, sender, receiver, times, bytes, tracks, notes, .. } = outcome;
    let (start_ns, end_ns) = times;
    let [bytes_to_server, bytes_to_client] = bytes;
    let duration_s = seconds(end_ns.saturating_sub(start_ns)).max(0.0);
    let sum = bytes_to_server.saturating_add(bytes_to_client);
    let session = Session {
        id,
        protocol: protocol(carried),
        transport: Transport::Udp,
        role: Role::Viewer,
        client: endpoint(receiver),
        server: endpoint(sender),
        path: None,
        agent: None,
        start_s: seconds(start_ns.saturating_sub(first_ns)),
        duration_s,
        bytes_to_server,
        bytes_to_client,
        mean_bps: (duration_s > 0.0).then(|| (float(sum) * 8.0 / duration_s).round()),
        peak_bps,
        first_frame_ms: outcome
            .first_frame_ns
            .map(|ns| round3(seconds(ns.saturating_sub(start_ns)) * 1000.0)),
        retransmitted_bytes: None,
        rtt_ms: None,
        // Neither its beginning nor its end shows in the packets.
        complete: false,
        unsent: None,
        segments: None,
        connections: Vec::new(),
        filter: format!(
            "{} && udp.port=={} && {} && udp.port=={}",
            host(sender.ip()),
            sender.port(),
            host(receiver.ip()),
            receiver.port()
        ),
        tracks: tracks.into_iter().map(crate::track::Stats::into_model).collect(),
    };
    (session, notes)
}
