//! RTMP sessions as the document has them.

use model::{Protocol, Transport};

use super::session::{Known, connection, ends, filter, retransmitted, rtt_ms, tracks};
use crate::flow::{ConnStats, Dir, End};
use crate::track::rtmp::Session;

/// A connection as its sessions are described.
pub(super) struct View {
    pub(super) first_ns: i64,
    pub(super) synthetic: bool,
    pub(super) end: End,
    pub(super) stats: ConnStats,
    pub(super) client: Dir,
    pub(super) clean: bool,
}

impl View {
    /// One session; `others` are the bytes of those that have bytes of their own.
    pub(super) fn session(
        &self,
        id: String,
        session: Session,
        others: [u64; 2],
        peak_bps: Option<f64>,
    ) -> model::Session {
        let stats = &self.stats;
        let (client, server) = ends(stats, self.client);
        let [others_up, others_down] = others;
        // Bytes that belong to no stream in particular are the first one's.
        let bytes = session.own_bytes.unwrap_or([
            stats.half(self.client).bytes.saturating_sub(others_up),
            stats.half(self.client.reverse()).bytes.saturating_sub(others_down),
        ]);
        let known = Known {
            id,
            protocol: Protocol::Rtmp,
            transport: Transport::Tcp,
            role: session.role,
            client,
            server,
            times: (session.started_ns.unwrap_or(stats.first_ns), stats.last_ns),
            bytes,
            peak_bps,
            first_frame_ns: session.first_frame_ns,
        };
        model::Session {
            path: session.path,
            agent: session.agent,
            retransmitted_bytes: (!self.synthetic).then(|| retransmitted(std::iter::once(stats))),
            rtt_ms: rtt_ms(stats).filter(|_| !self.synthetic),
            complete: stats.is_whole() && self.clean && matches!(self.end, End::Fin | End::Reset),
            connections: vec![connection(stats, self.client, self.end, self.first_ns)],
            filter: filter(client, server),
            tracks: tracks(session.tracks),
            ..known.session(self.first_ns)
        }
    }
}
