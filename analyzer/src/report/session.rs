//! What sessions of every protocol have, as the document has it.

use std::net::{IpAddr, SocketAddr};

use model::{Connection, Endpoint, Protocol, Role, Session, Track, TrackKind, Transport};

use super::seconds;
use crate::flow::{ConnStats, Dir, End};
use crate::track::Stats;

/// What is known of a session, whatever it speaks.
pub(super) struct Known {
    pub(super) id: String,
    pub(super) protocol: Protocol,
    pub(super) transport: Transport,
    pub(super) role: Role,
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    /// First and last byte, nanoseconds since 1970.
    pub(super) times: (i64, i64),
    /// Payload to the server and to the client.
    pub(super) bytes: [u64; 2],
    pub(super) peak_bps: Option<f64>,
    pub(super) first_frame_ns: Option<i64>,
}

impl Known {
    /// The session with what follows from that, when the captures begin at `first_ns`; the rest is left to its protocol.
    pub(super) fn session(self, first_ns: i64) -> Session {
        let (start_ns, end_ns) = self.times;
        let [bytes_to_server, bytes_to_client] = self.bytes;
        let duration_s = seconds(end_ns.saturating_sub(start_ns)).max(0.0);
        let bytes = bytes_to_server.saturating_add(bytes_to_client);
        Session {
            id: self.id,
            protocol: self.protocol,
            transport: self.transport,
            role: self.role,
            client: endpoint(self.client),
            server: endpoint(self.server),
            path: None,
            agent: None,
            start_s: seconds(start_ns.saturating_sub(first_ns)),
            duration_s,
            bytes_to_server,
            bytes_to_client,
            mean_bps: (duration_s > 0.0).then(|| (float(bytes) * 8.0 / duration_s).round()),
            peak_bps: self.peak_bps,
            first_frame_ms: self.first_frame_ns.map(|ns| milliseconds(ns.saturating_sub(start_ns))),
            retransmitted_bytes: None,
            rtt_ms: None,
            complete: false,
            unsent: None,
            segments: None,
            connections: Vec::new(),
            filter: String::new(),
            tracks: Vec::new(),
        }
    }
}

/// One TCP connection of a session.
pub(super) fn connection(stats: &ConnStats, client: Dir, end: End, first_ns: i64) -> Connection {
    let (client_end, server_end) = ends(stats, client);
    Connection {
        client: endpoint(client_end),
        server: endpoint(server_end),
        start_s: seconds(stats.first_ns.saturating_sub(first_ns)),
        duration_s: seconds(stats.last_ns.saturating_sub(stats.first_ns)),
        bytes_to_server: stats.half(client).bytes,
        bytes_to_client: stats.half(client.reverse()).bytes,
        end: end_word(end),
    }
}

/// Client and server of a connection.
pub(super) fn ends(stats: &ConnStats, client: Dir) -> (SocketAddr, SocketAddr) {
    let info = &stats.info;
    if client == Dir::AToB { (info.a, info.b) } else { (info.b, info.a) }
}

/// Payload that connections carried again.
pub(super) fn retransmitted<'a>(connections: impl Iterator<Item = &'a ConnStats>) -> u64 {
    connections.fold(0, |sum, stats| {
        let both = stats.a_to_b.retransmitted_bytes.saturating_add(stats.b_to_a.retransmitted_bytes);
        sum.saturating_add(both)
    })
}

/// The round-trip time of a connection in milliseconds.
pub(super) fn rtt_ms(stats: &ConnStats) -> Option<f64> {
    stats.rtt_ns.map(milliseconds)
}

/// The tracks that are any: one that has only a command frame or so is none.
pub(super) fn tracks(tracks: Vec<Stats>) -> Vec<Track> {
    let worth_showing = |stats: &Stats| {
        let told = stats.info.codec.is_some() || !stats.declared().is_empty();
        stats.frames > 0 || told || stats.kind() == TrackKind::Data
    };
    tracks.into_iter().filter(worth_showing).map(Stats::into_model).collect()
}

/// A display filter that shows one connection, whichever protocol Wireshark takes it for.
pub(super) fn filter(client: SocketAddr, server: SocketAddr) -> String {
    format!(
        "{} && tcp.port=={} && {} && tcp.port=={}",
        host(client.ip()),
        client.port(),
        host(server.ip()),
        server.port()
    )
}

/// A display filter that shows what any of these shows.
pub(super) fn any_of(filters: &[String]) -> String {
    match filters {
        [one] => one.clone(),
        several => several.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" || "),
    }
}

/// A display filter that shows what an address sends and gets.
pub(super) fn host(address: IpAddr) -> String {
    let field = if address.is_ipv6() { "ipv6.addr" } else { "ip.addr" };
    format!("{field}=={address}")
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { address: address.ip(), port: Some(address.port()) }
}

/// How a connection ended, in a word; none where the capture does not show it.
fn end_word(end: End) -> Option<String> {
    match end {
        End::Fin => Some("fin".to_owned()),
        End::Reset => Some("reset".to_owned()),
        End::Idle | End::Replaced | End::Evicted | End::Capture => None,
    }
}

/// Nanoseconds in milliseconds, to the microsecond.
fn milliseconds(ns: i64) -> f64 {
    (seconds(ns) * 1000.0 * 1000.0).round() / 1000.0
}

/// Bytes as a float; exact below 2^53.
#[allow(clippy::cast_precision_loss)]
fn float(n: u64) -> f64 {
    n as f64
}
