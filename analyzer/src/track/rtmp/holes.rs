//! Real connections read from somewhere inside and with holes in them: what a hole does not touch is read as if it
//! were not there.
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use wire::rtmp::chunk::Basic;

use super::chunks::Assembler;
use super::message::{Message, Sink, Trouble, Unread, What};
use super::real::{Stream, connections};
use crate::flow::At;

/// Every direction of a capture that carries more than `least` bytes behind its handshake: its name and its bytes.
fn streams(name: &str, least: usize) -> Vec<(String, Stream)> {
    let named = |(port, both): (u16, [Stream; 2])| {
        both.into_iter().zip(["up", "down"]).map(move |(s, way)| (format!("{name}, port {port}, {way}"), s))
    };
    let long = |s: &Stream| s.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > least;
    connections(name).into_iter().flat_map(named).filter(|(_, stream)| long(stream)).collect()
}

/// Where a message begins, its type and its length.
type Key = (u64, u8, u32);

/// The messages that were read, and which bytes each one lies in.
#[derive(Clone, Debug, Default)]
struct Read {
    messages: BTreeMap<Key, Vec<Range<u64>>>,
    open: BTreeMap<u32, Vec<Range<u64>>>,
    trouble: Vec<What>,
}

impl Sink for Read {
    fn message(&mut self, m: &Message<'_>) {
        let ranges = self.open.remove(&m.csid).unwrap_or_default();
        if m.lost == 0 {
            self.messages.insert((m.first.offset, m.type_id, m.length), ranges);
        }
    }
    fn trouble(&mut self, trouble: Trouble) {
        self.trouble.push(trouble.what);
    }
    fn hole(&mut self) {}
    fn chunk(&mut self, at: At, basic: &Basic, bytes: &[u8], continues: bool) {
        let ranges = self.open.entry(basic.csid).or_default();
        if !continues {
            ranges.clear();
        }
        ranges.push(at.offset..at.offset + bytes.len() as u64);
    }
    fn payload(&mut self, at: At, csid: u32, bytes: &[u8]) {
        self.open.entry(csid).or_default().push(at.offset..at.offset + bytes.len() as u64);
    }
}

fn read(mut assembler: Assembler, stream: &[(At, Vec<u8>)], hole: Option<Range<usize>>) -> (Read, Assembler) {
    let mut read = Read::default();
    for (n, (at, bytes)) in stream.iter().enumerate() {
        if hole.as_ref().is_some_and(|hole| hole.contains(&n)) {
            assembler.gap(*at, bytes.len() as u64, &mut read);
        } else {
            assembler.data(*at, bytes, &mut read);
        }
    }
    assembler.close(&mut read);
    (read, assembler)
}

const NAMES: [&str; 11] = [
    "own/a_rtmp_1pub_3play.pcapng",
    "own/e_rtmp_chunk60000_port1936.pcapng",
    "own/p01_ertmp_hevc_srs.pcapng",
    "own/p03_rtmp_he_aac_xhe_aac.pcapng",
    "own/p04_rtmp_h263_vp6_mp3.pcapng",
    "own/p09_rtmp_lossy_path_server_side.pcapng",
    "own/p11_rtmp_extended_timestamp.pcapng",
    "others/rtmp-cheetah-1080p-large-publish.pcap",
    "others/rtmp-cheetah-audio-only-publish.pcap",
    "others/rtmp-cheetah-h264-aac-publish.pcap",
    "others/rtmp-fq-ffmpeg-play-aac.pcap",
];

/// Places at which each stream is cut or holed: 24, or as many as the environment asks for.
fn places() -> usize {
    std::env::var("STREAMGAUGE_PLACES").ok().and_then(|n| n.parse().ok()).unwrap_or(24)
}

/// What was asked of the reader, and what it answered.
#[derive(Debug, Default)]
struct Sum {
    tries: usize,
    /// Messages that could be read, and those that were not.
    whole: usize,
    missing: usize,
    /// Messages that were read and never sent.
    made_up: usize,
}

impl Sum {
    /// Compares what was read with the messages that could be.
    fn add(&mut self, place: &str, want: &BTreeSet<&Key>, whole: &Read, got: &Read, unread: Unread) {
        let missing: Vec<_> = want.iter().filter(|key| !got.messages.contains_key(key)).collect();
        // One publisher begins with deltas of hours, which nobody would believe behind a loss: five messages.
        assert!(missing.len() <= 5, "{place}: {} missing, {missing:?}, {unread:?}", missing.len());
        let made_up = got.messages.keys().filter(|key| !whole.messages.contains_key(key));
        let made_up: Vec<_> = made_up.collect();
        assert!(made_up.len() <= 1, "{place}: {made_up:?} were not sent");
        self.tries += 1;
        self.whole += want.len();
        self.missing += missing.len();
        self.made_up += made_up.len();
    }

    /// One try in forty may cost a message that no hole touched, and of 20,000 messages one may be chance.
    fn check(&self, name: &str) {
        println!("{name}: {self:?}");
        let lost = 1 + self.tries / 40;
        assert!(self.missing <= lost && self.made_up <= self.whole / 20_000, "{name}: {self:?}");
    }
}

#[test]
fn from_the_middle_on_every_message_is_read() {
    for name in NAMES {
        let mut sum = Sum::default();
        for (place, stream) in streams(name, 15_000) {
            let (whole, _) = read(Assembler::new(), &stream, None);
            let step = (stream.len() / places()).max(1);
            for cut in (1..stream.len()).step_by(step) {
                let from = stream[cut].0.offset;
                let (late, assembler) = read(Assembler::in_the_middle(), &stream[cut..], None);
                let want = whole.messages.keys().filter(|key| key.0 >= from).collect();
                sum.add(&format!("{place}, from byte {from} on"), &want, &whole, &late, assembler.unread);
            }
        }
        sum.check(name);
    }
}

#[test]
fn a_hole_touches_what_lies_in_it() {
    for name in NAMES {
        let mut sum = Sum::default();
        for (place, stream) in streams(name, 15_000) {
            let (whole, _) = read(Assembler::new(), &stream, None);
            let step = (stream.len() / places()).max(1);
            for at in (0..stream.len()).step_by(step) {
                for count in [1, 3] {
                    let hole = at..(at + count).min(stream.len());
                    let (last, tail) = &stream[hole.end - 1];
                    let bytes = stream[at].0.offset..last.offset + tail.len() as u64;
                    let (holed, assembler) = read(Assembler::new(), &stream, Some(hole));
                    let touched = |r: &Range<u64>| r.start < bytes.end && bytes.start < r.end;
                    let apart = whole.messages.iter().filter(|(_, ranges)| !ranges.iter().any(touched));
                    let want = apart.map(|(key, _)| key).collect();
                    let place = format!("{place}, without {bytes:?}");
                    assert_eq!(holed.trouble, [], "{place}: the sender is not to blame");
                    sum.add(&place, &want, &whole, &holed, assembler.unread);
                }
            }
        }
        sum.check(name);
    }
}

/// Bytes that look like headers again and again and lead nowhere cost a window of memory, and every one is counted.
#[test]
fn what_leads_nowhere_is_bounded() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    let heads: [(&[u8], u32, usize); 3] = [
        (&[0x3c], 1, 1 << 20),
        (&[0xc4, 0xaf, 1, 0x21], 64, 1 << 13),
        (&[0x44, 0, 0, 0x17, 0, 0x40, 0, 8, 0xaf, 1, 0x21], 64, 1 << 13),
    ];
    for (head, most, count) in heads {
        let mut bytes = Vec::new();
        for n in 0..count as u32 {
            bytes.extend(head);
            bytes.extend((0..n % most + 1).map(|_| noise()));
        }
        let (mut assembler, mut read, mut peak) = (Assembler::in_the_middle(), Read::default(), 0);
        for (n, piece) in bytes.chunks(1400).enumerate() {
            let at = At { time_ns: 0, frame: n as u64, offset: n as u64 * 1400, ready_ns: 0 };
            assembler.data(at, piece, &mut read);
            peak = peak.max(assembler.weight());
        }
        assembler.close(&mut read);
        assert!(peak < 3 << 20, "{head:?}: {peak} bytes held");
        assert!(read.messages.is_empty(), "{head:?}: {} messages", read.messages.len());
        assert_eq!(assembler.unread.bytes, bytes.len() as u64, "{head:?}");
    }
}
