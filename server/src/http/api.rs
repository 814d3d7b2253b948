//! The documents of the API.

use std::net::SocketAddr;

use media::Kind;
use serde::Serialize;

use crate::registry::{protocol_name, role_name};
use crate::shared::Shared;

#[derive(Debug, Serialize)]
pub struct Stream {
    path: String,
    publisher: Option<Publisher>,
    tracks: Vec<Track>,
    viewers: usize,
    bytes_in: u64,
    bytes_out: u64,
    bps_in: u64,
    bps_out: u64,
    started: Option<String>,
}

#[derive(Debug, Serialize)]
struct Publisher {
    id: String,
    protocol: &'static str,
    address: SocketAddr,
}

#[derive(Debug, Serialize)]
struct Track {
    kind: &'static str,
    codec: &'static str,
    description: String,
}

#[derive(Debug, Serialize)]
pub struct Client {
    id: String,
    protocol: &'static str,
    role: &'static str,
    address: SocketAddr,
    path: String,
    agent: String,
    bytes_in: u64,
    bytes_out: u64,
    bps_in: u64,
    bps_out: u64,
    frames_dropped: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reception: Vec<Reception>,
    connected: String,
}

/// A track as the latest RTCP report of who receives it tells: the viewer's, or ours about a publisher.
#[derive(Debug, Serialize)]
struct Reception {
    kind: &'static str,
    fraction_lost: f64,
    packets_lost: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets_expected: Option<u64>,
    jitter_ms: f64,
    round_trip_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct Recording {
    path: String,
    file: String,
    started: String,
    duration_s: f64,
    bytes: u64,
    tracks: Vec<Track>,
    state: &'static str,
    error: Option<String>,
}

/// Recordings that run, and the latest that ended.
pub fn recordings(shared: &Shared) -> Vec<Recording> {
    let recording = |r: crate::record::Entry| Recording {
        path: r.path.to_string(),
        file: r.file.display().to_string(),
        started: shared.clock.rfc3339(r.started),
        duration_s: r.micros as f64 / 1e6,
        bytes: r.bytes,
        tracks: r.tracks.iter().map(|t| track(t)).collect(),
        state: r.state.name(),
        error: match r.state {
            crate::record::State::Failed(reason) => Some(reason),
            _ => None,
        },
    };
    shared.recorder.list().into_iter().map(recording).collect()
}

pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Video => "video",
        Kind::Audio => "audio",
    }
}

fn reception(r: &crate::registry::Reception) -> Reception {
    Reception {
        kind: kind(r.kind),
        fraction_lost: r.heard.fraction_lost,
        packets_lost: r.heard.lost,
        packets_expected: r.expected,
        jitter_ms: r.heard.jitter_ms,
        round_trip_ms: r.heard.round_trip_ms,
    }
}

fn track(track: &media::Track) -> Track {
    Track { kind: kind(track.kind()), codec: track.codec.name(), description: track.description.clone() }
}

/// Streams that have a publisher or viewers.
pub fn streams(shared: &Shared) -> Vec<Stream> {
    let stream = |s: crate::shared::StreamSnapshot| Stream {
        path: s.path,
        publisher: s.publisher.map(|p| Publisher {
            id: p.id,
            protocol: protocol_name(p.protocol),
            address: p.address,
        }),
        tracks: s.tracks.iter().map(|t| track(t)).collect(),
        viewers: s.viewers,
        bytes_in: s.traffic.bytes_in,
        bytes_out: s.traffic.bytes_out,
        bps_in: s.traffic.bps_in,
        bps_out: s.traffic.bps_out,
        started: s.started.map(|at| shared.clock.rfc3339(at)),
    };
    shared.streams().into_iter().map(stream).collect()
}

/// Clients that publish or watch at the moment.
pub fn clients(shared: &Shared) -> Vec<Client> {
    let client = |c: crate::registry::ClientSnapshot| Client {
        id: c.id,
        protocol: protocol_name(c.protocol),
        role: role_name(c.role),
        address: c.address,
        path: c.path,
        agent: c.agent,
        bytes_in: c.bytes_in,
        bytes_out: c.bytes_out,
        bps_in: c.bps_in,
        bps_out: c.bps_out,
        frames_dropped: c.frames_dropped,
        reception: c.receptions.iter().map(reception).collect(),
        connected: shared.clock.rfc3339(c.connected),
    };
    shared.clients().into_iter().filter(|c| c.ended.is_none()).map(client).collect()
}
