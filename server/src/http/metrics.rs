//! The metrics, as OpenMetrics text, which Prometheus reads.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::api::kind;
use crate::registry::{protocol_name, role_name};
use crate::shared::Shared;

type Labels = Vec<(&'static str, String)>;

/// Names and values of one sample's labels.
fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// A family of counters that grows by what it is given.
#[derive(Default)]
struct Counters(Family<Labels, Counter>);

impl Counters {
    fn add<const N: usize>(&self, pairs: [(&'static str, &str); N], value: u64) {
        self.0.get_or_create(&labels(pairs)).inc_by(value);
    }
}

#[derive(Default)]
struct Gauges(Family<Labels, Gauge>);

impl Gauges {
    fn set<const N: usize>(&self, pairs: [(&'static str, &str); N], value: usize) {
        self.0.get_or_create(&labels(pairs)).set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

/// The metrics of this moment.
pub fn text(shared: &Shared) -> String {
    let mut registry = Registry::with_prefix("streamgauge");
    sums(&mut registry, shared);
    clients(&mut registry, shared);
    streams(&mut registry, shared);
    own(&mut registry, shared);
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &registry) {
        tracing::error!(%error, "the metrics could not be written");
    }
    text
}

fn sums(registry: &mut Registry, shared: &Shared) {
    let totals = shared.registry.totals(shared.clock.now());
    let (clients, bytes) = (Gauges::default(), Counters::default());
    let (dropped, sessions) = (Counters::default(), Counters::default());
    for role in ["publisher", "viewer"] {
        clients.set([("protocol", "rtmp"), ("role", role)], 0);
    }
    for ((protocol, role), count) in &totals.clients {
        clients.set([("protocol", protocol), ("role", role)], usize::try_from(*count).unwrap_or(usize::MAX));
    }
    for direction in ["in", "out"] {
        bytes.add([("protocol", "rtmp"), ("direction", direction)], 0);
    }
    for (protocol, sum) in &totals.bytes {
        bytes.add([("protocol", protocol), ("direction", "in")], sum.bytes_in);
        bytes.add([("protocol", protocol), ("direction", "out")], sum.bytes_out);
    }
    dropped.add([("protocol", "rtmp")], 0);
    for (protocol, frames) in &totals.frames_dropped {
        dropped.add([("protocol", protocol)], *frames);
    }
    for ((protocol, role, outcome), count) in &totals.sessions {
        sessions.add([("protocol", protocol), ("role", role), ("outcome", outcome)], *count);
    }
    registry.register("clients", "Connected clients that publish or watch", clients.0);
    registry.register("bytes", "Transport payload of all connections", bytes.0);
    registry.register("frames_dropped", "Frames left out for slow viewers", dropped.0);
    registry.register("sessions", "Ended connections; role none never came to publish or play", sessions.0);
}

fn clients(registry: &mut Registry, shared: &Shared) {
    let now = shared.clock.now();
    let (bytes, lost, expected) = (Counters::default(), Gauges::default(), Gauges::default());
    for c in shared.registry.clients(now).into_iter().filter(|c| c.listed) {
        let address = c.address.to_string();
        let (protocol, role) = (protocol_name(c.protocol), role_name(c.role));
        for r in &c.receptions {
            let labels = [
                ("id", c.id.as_str()),
                ("protocol", protocol),
                ("role", role),
                ("path", &c.path),
                ("kind", kind(r.kind)),
            ];
            lost.0.get_or_create(&self::labels(labels)).set(i64::from(r.heard.lost));
            if let Some(packets) = r.expected {
                expected.set(labels, usize::try_from(packets).unwrap_or(usize::MAX));
            }
        }
        for (direction, n) in [("in", c.bytes_in), ("out", c.bytes_out)] {
            let labels = [
                ("id", c.id.as_str()),
                ("address", &address),
                ("protocol", protocol),
                ("role", role),
                ("path", &c.path),
                ("direction", direction),
            ];
            bytes.add(labels, n);
        }
    }
    for ((protocol, role), sum) in shared.registry.totals(now).other {
        for (direction, n) in [("in", sum.bytes_in), ("out", sum.bytes_out)] {
            let labels = [
                ("id", "other"),
                ("address", ""),
                ("protocol", protocol),
                ("role", role),
                ("path", ""),
                ("direction", direction),
            ];
            bytes.add(labels, n);
        }
    }
    let help = "Transport payload of a client, until a minute after its end; at most 1000 clients, the rest is other";
    registry.register("client_bytes", help, bytes.0);
    let help = "RTP packets of a track lost on the way, below 0 where some came twice: from publishers as counted, to viewers as they report";
    registry.register("rtp_packets_lost", help, lost.0);
    registry.register("rtp_packets_expected", "RTP packets of a publisher's track that were due", expected.0);
}

fn streams(registry: &mut Registry, shared: &Shared) {
    let viewers = Gauges::default();
    for stream in shared.streams() {
        viewers.set([("path", &stream.path)], stream.viewers);
    }
    registry.register("stream_viewers", "Viewers of a stream", viewers.0);
}

/// The server's own state.
fn own(registry: &mut Registry, shared: &Shared) {
    let (begun, failed) = (Counter::<u64>::default(), Counter::<u64>::default());
    begun.inc_by(shared.recorder.begun.load(Ordering::Relaxed));
    failed.inc_by(shared.recorder.failed.load(Ordering::Relaxed));
    registry.register("recordings", "Recordings begun, one a file", begun);
    registry.register("recordings_failed", "Recordings given up, such as on a full disk", failed);
    let held: Gauge = Gauge::default();
    held.set(i64::try_from(shared.budget.used()).unwrap_or(i64::MAX));
    registry.register("open_message_bytes", "Bytes held of incomplete incoming messages", held);
    if let Some(ports) = &shared.rtp {
        let strangers = Counter::<u64>::default();
        strangers.inc_by(ports.unknown_sources());
        let help = "Datagrams on the RTP and RTCP ports whose source no session named";
        registry.register("rtp_unknown_source", help, strangers);
    }
    if let Some(tap) = &shared.tap {
        let (packets, counts) = (Counters::default(), tap.counts());
        for (outcome, n) in [("written", counts.written), ("cut", counts.cut), ("dropped", counts.dropped)] {
            packets.add([("outcome", outcome)], n);
        }
        let help = "Packets of the tap; those written without their payload are cut as well";
        registry.register("tap_packets", help, packets.0);
    }
}
