//! The bytes of real connections, for tests.
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::handshake::LENGTH;
use crate::capture::Reader;
use crate::flow::{At, ConnId, ConnInfo, ConnStats, Dir, End, Flows, Handler, Missing};

/// One direction of a connection behind its handshake: place and bytes of each segment.
pub(super) type Stream = Vec<(At, Vec<u8>)>;

#[derive(Default)]
struct Streams {
    /// Client's port, what the client sent, what the server sent.
    all: BTreeMap<ConnId, (u16, [Stream; 2])>,
}

impl Handler for Streams {
    fn opened(&mut self, conn: ConnId, info: &ConnInfo) {
        self.all.insert(conn, (info.a.port(), Default::default()));
    }

    fn packet(&mut self, _: ConnId, _: Dir, _: i64, _: u64) {}

    fn data(&mut self, conn: ConnId, dir: Dir, at: At, bytes: &[u8]) {
        let skip = LENGTH.saturating_sub(at.offset).min(bytes.len() as u64) as usize;
        if skip < bytes.len() {
            let [up, down] = &mut self.all.get_mut(&conn).unwrap().1;
            let stream = if dir == Dir::AToB { up } else { down };
            stream.push((at.further(skip), bytes[skip..].to_vec()));
        }
    }

    fn gap(&mut self, _: ConnId, _: Dir, _: At, _: u64, _: Missing) {}

    fn closed(&mut self, _: ConnId, _: End, _: &ConnStats) {}
}

/// A file beside the project; none, with the reason printed, where it is not there.
pub(super) fn beside(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures").join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// The connections of a capture in their order: the client's port, and both directions, the client's first.
pub(super) fn connections(name: &str) -> Vec<(u16, [Stream; 2])> {
    let Some(path) = beside(name) else { return Vec::new() };
    let mut reader = Reader::open(&path).unwrap();
    let (mut flows, mut streams) = (Flows::default(), Streams::default());
    while let Some(Ok(packet)) = reader.next() {
        flows.packet(packet.number, packet.time_ns, &packet.parse(), &mut streams);
    }
    flows.finish(&mut streams);
    streams.all.into_values().collect()
}
