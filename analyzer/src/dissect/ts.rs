//! Transport streams: in UDP by their sync bytes, and inside RTP.
//!
//! Wireshark names a PES packet where its last byte came, and says neither PID nor time. Here it stands where it begins,
//! as receivers take its times.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::net::SocketAddr;

use media::ts::Kind;
use wire::Cursor;
use wire::ts::{NULL, PACKET, Packet, Pes, RATE, Section, Sections, is_packets};

use super::facts::Value;
use super::provenance::Provenance;
use super::tree::ts::{self as tree, Begins, Ticks};
use super::{Out, Speaks};
use crate::flow::Datagram;

/// Ways remembered, from whom to whom.
const MAX_WAYS: usize = 1024;
/// PIDs remembered of a way.
const MAX_PIDS: usize = 64;

/// Who sends transport streams to whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry {
    ways: HashMap<(SocketAddr, SocketAddr), Way>,
}

/// What is known of the streams on a way.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    maps: BTreeMap<u16, Sections>,
    kinds: BTreeMap<u16, Kind>,
    counters: BTreeMap<u16, u8>,
}

impl Registry {
    /// What is known between two.
    pub(super) fn way(&mut self, src: SocketAddr, dst: SocketAddr) -> &mut Way {
        if self.ways.len() >= MAX_WAYS && !self.ways.contains_key(&(src, dst)) {
            self.ways.clear();
        }
        self.ways.entry((src, dst)).or_default()
    }

    /// True where a datagram is packets: one alone may be anything, unless there were more on its way.
    pub(super) fn is_stream(&self, datagram: &Datagram<'_>) -> bool {
        let there = whole(datagram.payload);
        let said = usize::try_from(datagram.payload_len).unwrap_or(0);
        let cut = datagram.payload.len() < said;
        let fits = said.is_multiple_of(PACKET) && (cut || there.len() == datagram.payload.len());
        let known = || self.ways.contains_key(&(datagram.src, datagram.dst));
        fits && (there.len() >= 2 * PACKET || known()) && is_packets(there)
    }

    /// A datagram that is packets.
    pub(super) fn datagram(&mut self, datagram: &Datagram<'_>, origin: &Provenance, out: &mut Out) {
        let way = self.way(datagram.src, datagram.dst);
        let text = packets(datagram.payload, Some(way), out);
        out.pdu(Speaks::Ts, format_args!("{text}"));
        if out.show {
            out.parts.extend(tree::parts(datagram.payload, origin));
        }
    }
}

/// The whole packets that bytes begin with.
fn whole(bytes: &[u8]) -> &[u8] {
    bytes.get(..bytes.len().saturating_sub(bytes.len() % PACKET)).unwrap_or_default()
}

/// What packets say, in a line; the facts go to `out`.
pub(super) fn packets(bytes: &[u8], mut way: Option<&mut Way>, out: &mut Out) -> String {
    let mut said = Vec::new();
    let (mut payload, mut filling) = (false, false);
    for packet in bytes.chunks_exact(PACKET).map_while(|bytes| Packet::parse(bytes).ok()) {
        out.facts.number("ts.pid", u64::from(packet.pid));
        if let Some(field) = packet.adaptation {
            field.pcr.into_iter().for_each(|pcr| out.facts.number("ts.pcr", pcr));
            for (name, flag) in
                [("ts.discontinuity", field.discontinuity), ("ts.random_access", field.random_access)]
            {
                if flag {
                    out.facts.push(name, Value::Flag(true));
                }
            }
        }
        if packet.pid == NULL {
            filling = true;
            continue;
        }
        let kind = way.as_mut().and_then(|way| {
            if let Some(missing) = way.missing(&packet) {
                let s = if missing == 1 { "" } else { "s" };
                out.remark(format_args!("[before it, {missing} packet{s} of PID {} missing]", packet.pid));
                out.facts.number("ts.missing", u64::from(missing));
            }
            way.learn(&packet);
            way.kinds.get(&packet.pid).and_then(|kind| kind.name())
        });
        match Begins::of(&packet) {
            Some(Begins::Section(table)) => {
                out.facts.number("ts.table", u64::from(table));
                said.push(tree::table_name(table).to_owned());
            }
            Some(Begins::Pes) => said.push(pes(&packet, kind, out)),
            None => payload |= packet.payload.is_some(),
        }
    }
    if said.is_empty() && payload {
        said.push("[MP2T fragment of a reassembled packet]".to_owned());
    } else if said.is_empty() && filling {
        said.push("NULL packet".to_owned());
    }
    said.join("  ")
}

/// `video-stream (PID 256, h264, PTS 1.466667, DTS 1.400000)`.
fn pes(packet: &Packet<'_>, kind: Option<&'static str>, out: &mut Out) -> String {
    let payload = packet.payload.unwrap_or_default();
    let stream = payload.get(3).copied().unwrap_or(0);
    out.facts.number("ts.stream_id", u64::from(stream));
    let mut text = format!("{} (PID {}", tree::stream_name(stream), packet.pid);
    if let Some(kind) = kind {
        out.facts.text("ts.codec", kind);
        let _ = write!(text, ", {kind}");
    }
    match Pes::decode(&mut Cursor::new(payload)) {
        Ok(pes) => {
            for (label, name, time) in [("PTS", "ts.pts", pes.pts), ("DTS", "ts.dts", pes.dts)] {
                if let Some(time) = time {
                    out.facts.number(name, time);
                    let _ = write!(text, ", {label} {}", Ticks(time, u64::from(RATE)));
                }
            }
        }
        Err(error) => drop(write!(text, ", {error}")),
    }
    text.push(')');
    text
}

impl Way {
    /// How many packets of its PID are missing before this one, modulo 16.
    fn missing(&mut self, packet: &Packet<'_>) -> Option<u8> {
        packet.payload?;
        if self.counters.len() >= MAX_PIDS && !self.counters.contains_key(&packet.pid) {
            return None;
        }
        let before = self.counters.insert(packet.pid, packet.counter)?;
        if packet.adaptation.is_some_and(|field| field.discontinuity) {
            return None;
        }
        // A packet may come twice.
        let step = packet.counter.wrapping_sub(before) & 0xf;
        Some(step.saturating_sub(1)).filter(|missing| *missing > 0)
    }

    /// Takes in what a program map says of its streams.
    fn learn(&mut self, packet: &Packet<'_>) {
        let Some(payload) = packet.payload else { return };
        let begins = matches!(Begins::of(packet), Some(Begins::Section(2)));
        if !begins && !self.maps.contains_key(&packet.pid)
            || self.maps.len() >= MAX_PIDS && !self.maps.contains_key(&packet.pid)
        {
            return;
        }
        let sections = self.maps.entry(packet.pid).or_default();
        let kinds = &mut self.kinds;
        sections.payload(packet.start, payload, |section| {
            if let Ok(Section::Map(_, map)) = Section::decode(&mut Cursor::new(section)) {
                for stream in &map.streams {
                    if kinds.len() < MAX_PIDS || kinds.contains_key(&stream.pid) {
                        kinds.insert(stream.pid, Kind::of(stream));
                    }
                }
            }
        });
    }
}
