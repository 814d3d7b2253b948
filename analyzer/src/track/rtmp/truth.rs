//! Messages and chunks of real captures against the files in which other programs counted them.
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::string_slice)]

use std::collections::BTreeMap;
use std::fs;

use wire::Cursor;
use wire::rtmp::chunk::{Basic, MessageHeader};

use super::chunks::Assembler;
use super::message::{Message, Sink, Trouble};
use super::real::{Stream, beside, connections};
use crate::flow::At;

/// What a direction carried.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    /// Messages by type.
    types: BTreeMap<u8, u64>,
    /// Body bytes by type.
    bytes: BTreeMap<u8, u64>,
    /// Chunks by format; under 10 and 13 those of format 0 and 3 with an extended timestamp, under 23 those of format
    /// 3 that begin a message.
    chunks: BTreeMap<u8, u64>,
    /// Chunk streams, first and last time by type.
    media: BTreeMap<u8, (Vec<u32>, u32, u32)>,
    /// Chunk stream, time, type, message stream and length of each message that is no media.
    control: Vec<[u32; 5]>,
    /// Messages by type that a header of format 2 or 3 begins.
    brief: BTreeMap<u8, u64>,
    /// Format of the header that began the open message of a chunk stream.
    begun: BTreeMap<u32, u8>,
    trouble: usize,
}

impl Sink for Tally {
    fn message(&mut self, m: &Message<'_>) {
        assert_eq!(m.lost, 0);
        *self.types.entry(m.type_id).or_default() += 1;
        let brief = self.begun.get(&m.csid).is_some_and(|fmt| *fmt > 1);
        *self.brief.entry(m.type_id).or_default() += u64::from(brief);
        *self.bytes.entry(m.type_id).or_default() += u64::from(m.length);
        if matches!(m.type_id, 8 | 9) {
            let (csids, _, last) = self.media.entry(m.type_id).or_insert((Vec::new(), m.timestamp, 0));
            *last = m.timestamp;
            if !csids.contains(&m.csid) {
                csids.push(m.csid);
            }
        } else {
            self.control.push([m.csid, m.timestamp, u32::from(m.type_id), m.stream_id, m.length]);
        }
    }

    fn trouble(&mut self, _: Trouble) {
        self.trouble += 1;
    }

    fn hole(&mut self) {}

    fn chunk(&mut self, _: At, basic: &Basic, bytes: &[u8], continues: bool) {
        *self.chunks.entry(basic.fmt).or_default() += 1;
        let plain = usize::from(basic.size) + MessageHeader::size_of(basic.fmt);
        if bytes.len() > plain {
            *self.chunks.entry(10 + basic.fmt).or_default() += 1;
        }
        if !continues {
            self.begun.insert(basic.csid, basic.fmt);
        }
        if basic.fmt == 3 && !continues {
            *self.chunks.entry(23).or_default() += 1;
        }
        assert!(Basic::decode(&mut Cursor::new(bytes)).is_ok());
    }
}

fn tally(stream: &Stream) -> Tally {
    let (mut assembler, mut tally) = (Assembler::new(), Tally::default());
    stream.iter().for_each(|(at, bytes)| assembler.data(*at, bytes, &mut tally));
    assembler.close(&mut tally);
    tally
}

/// The number behind a label.
fn number(text: &str, label: &str) -> Option<u64> {
    let (_, rest) = text.split_once(label)?;
    let rest = rest.trim_start_matches([' ', ':']);
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

const NAMES: [(&str, u8); 9] = [
    ("SetChunkSize", 1),
    ("Abort", 2),
    ("Acknowledgement", 3),
    ("UserControl", 4),
    ("WindowAckSize", 5),
    ("SetPeerBandwidth", 6),
    ("audio", 8),
    ("video", 9),
    ("data0", 18),
];

/// What one direction of a truth file of our own says, put to the test.
fn compare(place: &str, lines: &[&str], got: &Tally) {
    let find = |start: &str| lines.iter().find(|l| l.trim_start().starts_with(start)).copied();
    let types = find("by type:").unwrap();
    let want: BTreeMap<u8, u64> = NAMES
        .iter()
        .chain(&[("command0", 20), ("command3", 17)])
        .filter_map(|(name, type_id)| Some((*type_id, number(types, &format!(" {name} "))?)))
        .collect();
    assert_eq!(got.types, want, "{place}: {types}");
    let chunks = find("chunks:").unwrap();
    let forms = [
        ("chunk fmt 0 ", 0),
        ("chunk fmt 1 ", 1),
        ("chunk fmt 2 ", 2),
        ("chunk fmt 3 ", 3),
        ("extended timestamps on fmt 0 chunks ", 10),
        ("extended timestamps repeated on fmt 3 chunks ", 13),
        ("messages begun by fmt 3 ", 23),
    ];
    for (label, form) in forms {
        let (want, mut count) =
            (number(chunks, label).unwrap_or(0), got.chunks.get(&form).copied().unwrap_or(0));
        // A last message that is cut off has its header, which is among the chunks counted there as well.
        if form == 23 && want == 0 {
            count = count.min(want);
        }
        assert_eq!(count, want, "{place}: {label} in {chunks}");
    }
    for (label, type_id) in [("video:", 9), ("audio:", 8)] {
        let Some(line) = find(label) else {
            assert!(!got.media.contains_key(&type_id), "{place}: {label}");
            continue;
        };
        let (csids, first, last) = &got.media[&type_id];
        assert_eq!(Some(got.bytes[&type_id]), number(line, "messages,"), "{place}: {line}");
        assert!(line.contains(&format!("csid {csids:?}")), "{place}: {csids:?} in {line}");
        let times = (number(line, "first ts"), number(line, "last ts"));
        assert_eq!((Some(u64::from(*first)), Some(u64::from(*last))), times, "{place}: {line}");
    }
    assert_eq!(got.trouble, 0, "{place}");
}

#[test]
fn every_chunk_is_counted_as_in_the_truth_files() {
    let Some(own) = beside("own") else { return };
    let (mut files, mut directions) = (0, 0);
    for entry in fs::read_dir(own).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(stem) = name.strip_suffix(".truth.txt") else { continue };
        let truth = fs::read_to_string(beside(&format!("own/{name}")).unwrap()).unwrap();
        if !truth.contains("version byte 3") {
            continue;
        }
        files += 1;
        let conns = connections(&format!("own/{stem}.pcapng"));
        for (index, part) in truth.split("\nTCP connection ").skip(1).enumerate() {
            let (port, both) = &conns[index];
            assert_eq!(number(part, "127.0.0.1:").or(number(part, "10.9.0.2:")), Some(u64::from(*port)));
            let lines: Vec<&str> = part.lines().collect();
            let at = |start: &str| lines.iter().position(|l| l.starts_with(start)).unwrap();
            let (up, down) = (at("  client->server:"), at("  server->client:"));
            for (lines, stream, side) in
                [(&lines[up..down], &both[0], "up"), (&lines[down..], &both[1], "down")]
            {
                compare(&format!("{stem}, port {port}, {side}"), lines, &tally(stream));
                directions += 1;
            }
        }
    }
    assert!(files >= 5 && directions >= 36, "{files} files, {directions} directions");
}

/// Counts by type as `{20: 5, 5: 1}` or `{'0x14': 5}`.
fn dictionary(text: &str) -> BTreeMap<u8, u64> {
    let inside = text.split_once('{').unwrap().1.split_once('}').unwrap().0;
    let pairs = inside.split(',').filter_map(|pair| pair.split_once(':'));
    let number = |s: &str| {
        let s = s.trim().trim_matches('\'');
        s.strip_prefix("0x").map_or_else(|| s.parse().unwrap(), |hex| u8::from_str_radix(hex, 16).unwrap())
    };
    pairs.map(|(k, v)| (number(k), v.trim().parse().unwrap())).collect()
}

/// Where tshark's count of a message type differs, in captures of others, and why: capture, type, how many it lacks.
const TSHARK_LACKS: [(&str, u8, u64, &str); 7] = [
    ("rtmp-cheetah-1080p-large-publish", 8, 4, BRIEF),
    ("rtmp-cheetah-1080p-large-publish", 18, 39, BRIEF),
    ("rtmp-cheetah-audio-only-publish", 8, 93, BRIEF),
    ("rtmp-cheetah-audio-only-publish", 18, 2, BRIEF),
    ("rtmp-cheetah-h264-aac-publish", 8, 28, BRIEF),
    ("rtmp-cheetah-h264-aac-publish", 18, 27, BRIEF),
    ("rtmp-fq-ffmpeg-play-aac", 8, 10, BRIEF),
];

/// Its field of the type exists only where a header of format 0 or 1 begins the message.
const BRIEF: &str = "messages begun by a header of format 2 or 3 have no type field there";

#[test]
fn captures_of_others_have_the_messages_that_another_program_counted() {
    let Some(truths) = beside("others/truth") else { return };
    let (mut files, mut lacks) = (0, Vec::new());
    let mut names: Vec<_> =
        fs::read_dir(&truths).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for name in names {
        let Some(capture) = name.strip_suffix(".rtmp-independent.txt") else { continue };
        let truth = fs::read_to_string(truths.join(&name)).unwrap();
        let theirs = fs::read_to_string(truths.join(format!("{capture}.rtmp.txt"))).unwrap();
        let seen = dictionary(
            theirs.lines().find(|l| l.contains("typeid:count")).unwrap().split_once("): ").unwrap().1,
        );
        files += 1;
        let (mut sum, mut brief) = (BTreeMap::<u8, u64>::new(), BTreeMap::<u8, u64>::new());
        for part in truth.split("## tcp.stream ").skip(1) {
            let client = part.split_whitespace().nth(3).unwrap();
            let port: u16 = client.rsplit_once(':').unwrap().1.parse().unwrap();
            let conns = connections(&format!("others/{capture}"));
            let (_, both) = conns.iter().find(|(p, both)| *p == port && !both[0].is_empty()).unwrap();
            for (stream, side) in both.iter().zip(["node0->node1", "node1->node0"]) {
                let line = part.lines().find(|l| l.starts_with(&format!("# {side}:"))).unwrap();
                let got = tally(stream);
                let (count, bytes) = line.split_once("body bytes by type").unwrap();
                // Types are told in the order of their first message.
                assert_eq!(got.types, dictionary(count), "{name} {side}");
                assert_eq!(got.bytes, dictionary(bytes), "{name} {side}");
                assert_eq!(got.trouble, 0, "{name} {side}");
                let rows: Vec<[u32; 5]> = part.lines().filter(|l| l.starts_with(side)).map(row).collect();
                let all = rows.len() as u64
                    == got.types.iter().filter(|(t, _)| !matches!(t, 8 | 9)).map(|(_, n)| n).sum::<u64>();
                assert!(all, "{name} {side}: every message but media has a line");
                assert_eq!(got.control, rows, "{name} {side}");
                got.types.iter().for_each(|(t, n)| *sum.entry(*t).or_default() += n);
                got.brief.iter().for_each(|(t, n)| *brief.entry(*t).or_default() += n);
            }
        }
        for (type_id, count) in sum {
            let short = count - seen.get(&type_id).copied().unwrap_or(0);
            assert_eq!(short, brief[&type_id], "{capture}, type {type_id}: {BRIEF}");
            if short > 0 {
                lacks.push((capture.rsplit_once('.').unwrap().0.to_owned(), type_id, short));
            }
        }
    }
    let known: Vec<_> = TSHARK_LACKS.iter().map(|(n, t, k, _)| ((*n).to_owned(), *t, *k)).collect();
    assert_eq!(lacks, known, "tshark lacks messages in no other place; {BRIEF}");
    assert!(files >= 7, "{files} files");
}

/// Chunk stream, time, type, message stream and length of a line.
fn row(line: &str) -> [u32; 5] {
    let fields: Vec<&str> = line.split('\t').collect();
    [1, 2, 3, 4, 5].map(|n| fields[n].rsplit_once(' ').unwrap().1.parse().unwrap())
}
