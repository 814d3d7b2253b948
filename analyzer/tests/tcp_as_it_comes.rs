//! TCP as it comes: numbers that wrap, port pairs used again, bytes sent again that differ. The packets are a real
//! capture's, rewritten; what the sessions said must be told the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

#[path = "pcap/recorded.rs"]
mod recorded;

use std::collections::BTreeMap;

use model::{Analysis, Session};
use recorded::{Recorded, Recording};
use serde_json::Value;

const CAPTURE: &str = "own/a_rtmp_1pub_3play.pcapng";

/// Where the TCP header begins: behind Ethernet and IPv4.
fn tcp_at(p: &Recording) -> usize {
    14 + usize::from(p.data[14] & 0x0f) * 4
}

fn number(p: &Recording, at: usize) -> u32 {
    let at = tcp_at(p) + at;
    u32::from_be_bytes(p.data[at..at + 4].try_into().unwrap())
}

fn set_number(p: &mut Recording, at: usize, value: u32) {
    let at = tcp_at(p) + at;
    p.data[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn seq(p: &Recording) -> u32 {
    number(p, 4)
}

fn has_ack(p: &Recording) -> bool {
    p.data[tcp_at(p) + 13] & 0x10 != 0
}

/// Adds to the numbers of each direction what `shift` says for its ports.
fn renumber(packets: &mut [Recording], shift: impl Fn((u16, u16)) -> u32) {
    for p in packets {
        let there = shift(p.ports);
        let back = shift((p.ports.1, p.ports.0));
        set_number(p, 4, seq(p).wrapping_add(there));
        if has_ack(p) {
            set_number(p, 8, number(p, 8).wrapping_add(back));
        }
    }
}

/// A session without what depends on when and how often its packets came.
fn said(session: &Session) -> Value {
    let mut value = serde_json::to_value(session).unwrap();
    for name in ["id", "start_s", "retransmitted_bytes"] {
        value.as_object_mut().unwrap().remove(name);
    }
    for connection in value["connections"].as_array_mut().unwrap() {
        connection.as_object_mut().unwrap().remove("start_s");
    }
    value
}

fn all_said(analysis: &Analysis) -> Vec<Value> {
    analysis.sessions.iter().map(said).collect()
}

#[test]
fn sequence_numbers_wrap_in_the_middle() {
    let Some(whole) = Recorded::open(CAPTURE) else { return };
    let mut ends: BTreeMap<(u16, u16), (u32, u32)> = BTreeMap::new();
    for p in &whole.packets {
        let (first, last) = ends.entry(p.ports).or_insert((seq(p), seq(p)));
        if p.syn {
            *first = seq(p);
        }
        *last = seq(p);
    }
    // The number in the middle of each direction becomes 0.
    let middle = |ports: (u16, u16)| {
        let (first, last) = ends[&ports];
        first.wrapping_add(last.wrapping_sub(first) / 2).wrapping_neg()
    };
    let mut shifted = whole.clone();
    renumber(&mut shifted.packets, middle);
    let wraps = |r: &Recorded| {
        let mut last: BTreeMap<(u16, u16), u32> = BTreeMap::new();
        r.packets
            .iter()
            .filter(|p| last.insert(p.ports, seq(p)).is_some_and(|before| seq(p) < before))
            .count()
    };
    assert!(wraps(&shifted) >= wraps(&whole) + 8, "{} and {}", wraps(&shifted), wraps(&whole));
    let (plain, wrapped) = (whole.analyze(), shifted.analyze());
    assert_eq!(plain.sessions, wrapped.sessions);
    assert_eq!(plain.findings, wrapped.findings);
    assert_eq!(plain.conversations, wrapped.conversations);
}

/// The same ports, with the same initial numbers and with others, long after and at once after the first connections.
#[test]
fn port_pairs_are_used_again() {
    let Some(whole) = Recorded::open(CAPTURE) else { return };
    let once = whole.analyze();
    // Whole seconds, so that the second connections fall into seconds as the first ones do.
    const SECOND: i64 = 1_000_000_000;
    let span = (whole.packets.last().unwrap().time_ns - whole.packets[0].time_ns) / SECOND;
    for (pause_s, shift) in [(1, 0u32), (1, 0x9000_0001), (600, 0), (600, 0x1234_5678)] {
        let mut again = whole.clone();
        renumber(&mut again.packets, |(from, to)| if from < to { shift } else { shift.wrapping_mul(3) });
        for p in &mut again.packets {
            p.time_ns += (span + 1 + pause_s) * SECOND;
        }
        let mut both = whole.clone();
        both.packets.extend(again.packets);
        let twice = both.analyze();
        let place = format!("{pause_s} s later, numbers {shift} higher");
        let (first, second) = twice.sessions.split_at(once.sessions.len());
        let said = |sessions: &[Session]| sessions.iter().map(said).collect::<Vec<_>>();
        assert_eq!(said(first), all_said(&once), "{place}");
        assert_eq!(said(second), all_said(&once), "{place}");
        // One row a port pair, which says so.
        assert_eq!(twice.conversations.tcp.len(), once.conversations.tcp.len(), "{place}");
        for (row, before) in twice.conversations.tcp.iter().zip(&once.conversations.tcp) {
            assert_eq!((row.packets, row.bytes), (2 * before.packets, 2 * before.bytes), "{place}");
            let reused = serde_json::to_value(row).unwrap()["reused"].clone();
            assert!(!matches!(reused, Value::Null | Value::Bool(false)), "{place}: {reused}");
        }
    }
}

/// The payload with every bit turned.
fn garbled(p: &Recording) -> Recording {
    let mut other = p.clone();
    let start = other.data.len() - other.payload;
    other.data[start..].iter_mut().for_each(|b| *b = !*b);
    other
}

/// A segment of only the last bytes.
fn last_bytes(p: &Recording, count: usize) -> Recording {
    let mut p = p.clone();
    let cut = p.payload - count;
    let start = p.data.len() - p.payload;
    p.data.drain(start..start + cut);
    p.payload = count;
    p.orig_len = u32::try_from(p.data.len()).unwrap();
    let total = u16::try_from(p.data.len() - 14).unwrap();
    p.data[16..18].copy_from_slice(&total.to_be_bytes());
    let from = seq(&p).wrapping_add(u32::try_from(cut).unwrap());
    set_number(&mut p, 4, from);
    p
}

/// What was accepted first counts, as for the receiver: copies that differ come after it.
#[test]
fn of_conflicting_copies_the_first_counts() {
    let Some(whole) = Recorded::open(CAPTURE) else { return };
    let mut made = whole.clone();
    made.packets.clear();
    let (mut copies, mut bytes) = (0, 0);
    for p in &whole.packets {
        made.packets.push(p.clone());
        // A single byte in front of what is expected is a keep-alive.
        if p.payload > 1 && p.ports.1 == 1935 {
            copies += 1;
            if copies % 5 == 0 {
                made.packets.push(garbled(p));
                bytes += p.payload as u64;
            }
        }
    }
    let (plain, conflicting) = (whole.analyze(), made.analyze());
    assert!(bytes > 100_000, "{bytes}");
    assert_eq!(all_said(&conflicting), all_said(&plain));
    let again: u64 = conflicting.sessions.iter().filter_map(|s| s.retransmitted_bytes).sum();
    assert_eq!(again, bytes);
}

/// A segment that waits behind a missing one was accepted too: neither a copy that differs nor one that covers a part
/// of it changes its bytes.
#[test]
fn what_waits_behind_a_hole_was_accepted_too() {
    let Some(whole) = Recorded::open(CAPTURE) else { return };
    let mut made = whole.clone();
    made.packets.clear();
    // Every other data segment of a direction comes behind the next one there.
    let mut waiting: BTreeMap<(u16, u16), Recording> = BTreeMap::new();
    let mut places = 0;
    for p in &whole.packets {
        let Some(first) = waiting.remove(&p.ports) else {
            if p.payload > 100 {
                waiting.insert(p.ports, p.clone());
            } else {
                made.packets.push(p.clone());
            }
            continue;
        };
        let end = seq(&first).wrapping_add(u32::try_from(first.payload).unwrap());
        let late = Recording { time_ns: p.time_ns, ..first };
        if p.payload <= 100 || seq(p) != end {
            made.packets.extend([late, p.clone()]);
            continue;
        }
        places += 1;
        made.packets.extend([p.clone(), garbled(p), last_bytes(&garbled(p), 60), late]);
    }
    made.packets.extend(waiting.into_values());
    assert!(places > 20, "{places}");
    let (plain, conflicting) = (whole.analyze(), made.analyze());
    let media =
        |a: &Analysis| a.sessions.iter().map(|s| (s.path.clone(), s.tracks.clone())).collect::<Vec<_>>();
    for ((path, tracks), (other, others)) in media(&plain).iter().zip(&media(&conflicting)) {
        assert_eq!(path, other);
        for (a, b) in tracks.iter().zip(others) {
            assert_eq!(
                (a.frames, a.key_frames, a.bytes, &a.description),
                (b.frames, b.key_frames, b.bytes, &b.description)
            );
        }
    }
}
