//! The same streams in other segments give the same analysis: cut anywhere, in another order, sent twice, overlapping.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]

mod pcap;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use pcap::{Segment, Writer};
use proptest::prelude::*;
use serde_json::Value;
use streamgauge_analyzer::capture::Reader;
use streamgauge_analyzer::flow::{At, ConnId, ConnInfo, ConnStats, Dir, End, Flows, Handler, Missing};
use streamgauge_analyzer::{Analyzer, Options};

const FIN: u8 = 0x11;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Segments in a row that may change places.
const WINDOW: usize = 40;

/// What the connections of a capture said, in turns.
#[derive(Default)]
struct Said {
    conns: BTreeMap<ConnId, Conn>,
}

#[derive(Default)]
struct Conn {
    began_ns: i64,
    ended_ns: i64,
    ends: Vec<SocketAddrV4>,
    turns: Vec<Turn>,
}

/// Bytes of one side that follow on each other.
struct Turn {
    dir: Dir,
    /// When each piece came, and where it begins.
    times: Vec<(i64, usize)>,
    bytes: Vec<u8>,
}

impl Handler for Said {
    fn opened(&mut self, conn: ConnId, info: &ConnInfo) {
        let v4 = |a: SocketAddr| if let SocketAddr::V4(a) = a { a } else { panic!("{a}") };
        let ends = vec![v4(info.a), v4(info.b)];
        self.conns.insert(conn, Conn { began_ns: info.time_ns, ends, ..Conn::default() });
    }

    fn data(&mut self, conn: ConnId, dir: Dir, at: At, bytes: &[u8]) {
        let turns = &mut self.conns.get_mut(&conn).unwrap().turns;
        if turns.last().is_none_or(|turn| turn.dir != dir) {
            turns.push(Turn { dir, times: Vec::new(), bytes: Vec::new() });
        }
        let turn = turns.last_mut().unwrap();
        turn.times.push((at.time_ns, turn.bytes.len()));
        turn.bytes.extend_from_slice(bytes);
    }

    fn gap(&mut self, _: ConnId, _: Dir, _: At, _: u64, why: Missing) {
        panic!("the captures of this test are whole: {why:?}");
    }

    fn closed(&mut self, conn: ConnId, _: End, stats: &ConnStats) {
        self.conns.get_mut(&conn).unwrap().ended_ns = stats.last_ns;
    }
}

fn case(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../captures/{name}/input.pcap"));
    std::fs::read(path).unwrap()
}

fn said(file: &[u8]) -> Said {
    let mut reader = Reader::new("case", Cursor::new(file.to_vec())).unwrap();
    let (mut flows, mut said) = (Flows::default(), Said::default());
    while let Some(packet) = reader.next() {
        let packet = packet.unwrap();
        flows.packet(packet.number, packet.time_ns, &packet.parse(), &mut said);
    }
    flows.finish(&mut said);
    said
}

/// Numbers that only the test's seed decides.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// How streams are cut up.
#[derive(Clone, Copy, Debug)]
struct Cut {
    seed: u64,
    longest: usize,
    shuffled: bool,
    /// One segment in so many comes again, longer or shorter; 0: none.
    again: usize,
}

/// Time, sender and receiver, sequence number, acknowledgement, flags, payload.
type Packet = (i64, [SocketAddrV4; 2], u32, u32, u8, Vec<u8>);

/// A capture of the same streams in other segments.
fn cut_up(said: &Said, cut: Cut) -> Vec<u8> {
    let mut dice = Dice(cut.seed | 1);
    let mut packets: Vec<Packet> = Vec::new();
    for conn in said.conns.values() {
        let ends = [conn.ends[0], conn.ends[1]];
        let base = [dice.below(1 << 32) as u32, dice.below(1 << 32) as u32];
        let mut next = base.map(|n| n.wrapping_add(1));
        let turned = |dir: Dir| if dir == Dir::AToB { ends } else { [ends[1], ends[0]] };
        packets.push((conn.began_ns, ends, base[0], 0, SYN, Vec::new()));
        packets.push((conn.began_ns, turned(Dir::BToA), base[1], next[0], SYN | ACK, Vec::new()));
        packets.push((conn.began_ns, ends, next[0], next[1], ACK, Vec::new()));
        for Turn { dir, times, bytes } in &conn.turns {
            let me = usize::from(*dir == Dir::BToA);
            let mut pieces: Vec<(usize, usize)> = Vec::new();
            let mut at = 0;
            while at < bytes.len() {
                let upto = bytes.len().min(at + 1 + dice.below(cut.longest));
                pieces.push((at, upto));
                if cut.again > 0 && dice.below(cut.again) == 0 {
                    let from = at.saturating_sub(dice.below(cut.longest));
                    // One byte just below the next one would be a keep-alive.
                    pieces.push((from, bytes.len().min(from + 2 + dice.below(cut.longest))));
                }
                at = upto;
            }
            let time_of = |at: usize| times[times.partition_point(|(_, from)| *from <= at) - 1].0;
            let mut clock: Vec<i64> = pieces.iter().map(|(from, _)| time_of(*from)).collect();
            clock.sort_unstable();
            if cut.shuffled {
                for window in pieces.chunks_mut(WINDOW) {
                    for i in (1..window.len()).rev() {
                        window.swap(i, dice.below(i + 1));
                    }
                }
            }
            for ((from, upto), time) in pieces.into_iter().zip(clock) {
                let seq = next[me].wrapping_add(from as u32);
                packets.push((time, turned(*dir), seq, next[1 - me], ACK, bytes[from..upto].to_vec()));
            }
            next[me] = next[me].wrapping_add(bytes.len() as u32);
        }
        let end = conn.ended_ns;
        packets.push((end, ends, next[0], next[1], FIN, Vec::new()));
        packets.push((end, turned(Dir::BToA), next[1], next[0].wrapping_add(1), FIN, Vec::new()));
        packets.push((end, ends, next[0].wrapping_add(1), next[1].wrapping_add(1), ACK, Vec::new()));
    }
    packets.sort_by_key(|packet| packet.0);
    let mut file = Writer::default();
    for (time, [from, to], seq, ack, flags, bytes) in packets {
        file.segment_at(time.cast_unsigned() / 1000, &Segment { from, to, seq, ack, flags, bytes: &bytes });
    }
    file.finish()
}

/// What is told of a capture, without what depends on times and segments.
fn told(file: Vec<u8>, without: &[&str]) -> Value {
    const TIMING: [&str; 13] = [
        "start_s",
        "duration_s",
        "mean_bps",
        "peak_bps",
        "first_frame_ms",
        "retransmitted_bytes",
        "rtt_ms",
        "bps",
        "jitter_ms",
        "frame",
        "last_frame",
        "filter",
        "time_s",
    ];
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.reader("case", Cursor::new(file)).unwrap();
    let (analysis, cases) = analyzer.judge();
    let verdicts: Vec<_> = cases.iter().map(|case| (&case.rule, case.verdict, case.applied)).collect();
    let mut told = serde_json::json!({
        "sessions": analysis.sessions,
        "findings": analysis.findings,
        "verdicts": verdicts,
    });
    strip(&mut told, &[&TIMING, without].concat());
    told
}

fn strip(value: &mut Value, keys: &[&str]) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !keys.contains(&key.as_str()));
            map.values_mut().for_each(|value| strip(value, keys));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| strip(value, keys)),
        _ => {}
    }
}

/// Where two documents differ first.
fn difference(one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().find_map(|(key, value)| Some(format!("{key}.{}", difference(value, &b[key])?)))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(at, (a, b))| Some(format!("{at}.{}", difference(a, b)?)))
        }
        _ => (one != other).then(|| format!(" {one} is not {other}")),
    }
}

/// The same cases in every run; `PROPTEST_CASES` asks for more of them.
fn seeded() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(0x5e6_3e27);
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    ProptestConfig { rng_seed, cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Segments of one byte to 60 kB, in order or not, repeated or not.
fn cut() -> impl Strategy<Value = Cut> {
    let longest = prop_oneof![Just(7usize), 2..200usize, 200..3_000usize, 3_000..60_000usize];
    (any::<u64>(), longest, any::<bool>(), prop_oneof![Just(0usize), 1..20usize])
        .prop_map(|(seed, longest, shuffled, again)| Cut { seed, longest, shuffled, again })
}

fn same(name: &str, cut: Cut) {
    let file = case(name);
    let streams = said(&file);
    // The real segments, some connections without an end or with a reset; ours all end in order.
    let tidy = cut_up(&streams, Cut { seed: 1, longest: 1448, shuffled: false, again: 0 });
    let ends = ["end", "complete"];
    let original = told(file, &ends);
    let sessions = original["sessions"].as_array().unwrap();
    assert!(!sessions.is_empty() && sessions.iter().all(|s| s["tracks"][0]["frames"].as_u64() > Some(40)));
    assert_eq!(difference(&told(tidy.clone(), &ends), &original), None, "{name}");
    assert_eq!(difference(&told(cut_up(&streams, cut), &[]), &told(tidy, &[])), None, "{name}, {cut:?}");
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn rtmp_in_any_segments_is_told_the_same(cut in cut()) {
        same("ffmpeg-publish-play", cut);
    }

    #[test]
    fn interleaved_rtsp_in_any_segments_is_told_the_same(cut in cut()) {
        same("ffmpeg-record-tcp", cut);
    }

    #[test]
    fn hls_in_any_segments_is_told_the_same(cut in cut()) {
        same("ffmpeg-watches-hls", cut);
    }
}
