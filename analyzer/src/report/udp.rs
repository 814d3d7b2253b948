//! Streams in UDP without a session of their own as the document has them.

use model::{Protocol, Role, Session, Transport};

use super::session::{Known, host};
use crate::finding::Note;
use crate::track::Stats;
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
    let Outcome { sender, receiver, .. } = outcome;
    let known = Known {
        id,
        protocol: protocol(outcome.carried),
        transport: Transport::Udp,
        role: Role::Viewer,
        client: receiver,
        server: sender,
        times: outcome.times,
        bytes: outcome.bytes,
        peak_bps,
        first_frame_ns: outcome.first_frame_ns,
    };
    // Neither its beginning nor its end shows in the packets, so that it is never complete.
    let session = Session {
        filter: format!(
            "{} && udp.port=={} && {} && udp.port=={}",
            host(sender.ip()),
            sender.port(),
            host(receiver.ip()),
            receiver.port()
        ),
        tracks: outcome.tracks.into_iter().map(Stats::into_model).collect(),
        ..known.session(first_ns)
    };
    (session, outcome.notes)
}
