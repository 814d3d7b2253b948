//! Real connections read from somewhere inside and with holes in them: what a hole does not touch is read as if it
//! were not there.
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::ops::Range;

use wire::rtmp::chunk::Basic;

use super::chunks::{Assembler, Message, Sink, Trouble, What};
use super::real::{Stream, connections};
use crate::flow::At;

/// Every direction of a capture that carries more than `least` bytes behind its handshake.
fn streams(name: &str, least: usize) -> Vec<Stream> {
    let long = |s: &Stream| s.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > least;
    connections(&format!("own/{name}")).into_iter().flat_map(|(_, both)| both).filter(long).collect()
}

/// Where a message begins, its type and its length.
type Key = (u64, u8, u32);

/// The messages that were read, and which bytes each one lies in.
#[derive(Clone, Debug, Default)]
struct Read {
    messages: BTreeMap<Key, Vec<Range<u64>>>,
    open: BTreeMap<u32, Vec<Range<u64>>>,
    trouble: Vec<What>,
    /// Messages begun by a header of format 2 or 3.
    brief: usize,
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
            self.brief += usize::from(basic.fmt > 1);
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

const NAMES: [&str; 7] = [
    "a_rtmp_1pub_3play.pcapng",
    "e_rtmp_chunk60000_port1936.pcapng",
    "p01_ertmp_hevc_srs.pcapng",
    "p03_rtmp_he_aac_xhe_aac.pcapng",
    "p04_rtmp_h263_vp6_mp3.pcapng",
    "p09_rtmp_lossy_path_server_side.pcapng",
    "p11_rtmp_extended_timestamp.pcapng",
];

/// Places at which each stream is cut or holed.
const PLACES: usize = 24;

/// True where most messages say what they are. Where a fifth and more leave it to a header from before, which the
/// capture lacks, nobody can tell where they end.
fn speaks_for_itself(read: &Read) -> bool {
    read.brief * 5 < read.messages.len()
}

#[test]
fn from_the_middle_on_a_few_messages_are_missing() {
    for name in NAMES {
        let (mut made_up, mut missing, mut cuts) = (0, 0, 0);
        for stream in streams(name, 15_000) {
            let (whole, _) = read(Assembler::new(), &stream, None);
            let step = (stream.len() / PLACES).max(1);
            for cut in (1..stream.len() - stream.len() / 10).step_by(step) {
                let from = stream[cut].0.offset;
                let (late, assembler) = read(Assembler::in_the_middle(), &stream[cut..], None);
                let lacks = whole.messages.keys().filter(|k| k.0 >= from && !late.messages.contains_key(k));
                let lacks = lacks.count();
                if speaks_for_itself(&whole) {
                    assert!(
                        lacks <= 6,
                        "{name} from byte {from} on: {lacks} missing, {:?}",
                        assembler.unread
                    );
                    missing += lacks;
                }
                let more = late.messages.keys().filter(|k| !whole.messages.contains_key(k)).count();
                assert!(more <= 2, "{name} from byte {from} on: {more} that were not sent");
                made_up += more;
                cuts += 1;
            }
        }
        // One cut in ten costs more than the message it went through.
        assert!(missing * 10 <= cuts * 3 && made_up * 10 <= cuts, "{name}: {missing}, {made_up} of {cuts}");
    }
}

#[test]
fn a_hole_touches_what_lies_in_it() {
    for name in NAMES {
        let (mut made_up, mut missing, mut holes) = (0, 0, 0);
        for stream in streams(name, 15_000) {
            let (whole, _) = read(Assembler::new(), &stream, None);
            let step = (stream.len() / PLACES).max(1);
            for at in (0..stream.len()).step_by(step) {
                for count in [1, 3] {
                    let hole = at..(at + count).min(stream.len());
                    let (last, tail) = &stream[hole.end - 1];
                    let bytes = stream[at].0.offset..last.offset + tail.len() as u64;
                    let (holed, assembler) = read(Assembler::new(), &stream, Some(hole));
                    let touched = |r: &Range<u64>| r.start < bytes.end && bytes.start < r.end;
                    let apart = whole.messages.iter().filter(|(_, ranges)| !ranges.iter().any(touched));
                    let lacks = apart.filter(|(k, _)| !holed.messages.contains_key(k)).count();
                    if speaks_for_itself(&whole) {
                        assert!(lacks <= 6, "{name} {bytes:?}: {lacks} missing, {:?}", assembler.unread);
                        missing += lacks;
                    }
                    assert_eq!(holed.trouble, [], "{name} {bytes:?}: the sender is not to blame");
                    made_up += holed.messages.keys().filter(|k| !whole.messages.contains_key(k)).count();
                    holes += 1;
                }
            }
        }
        assert!(
            missing * 10 <= holes * 3 && made_up * 50 <= holes,
            "{name}: {missing}, {made_up} of {holes}"
        );
    }
}
