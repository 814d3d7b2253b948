//! The field trees of real packets: the leaves of every part tile its bytes, and every byte says where it comes from.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::print_stderr
)]

use std::path::{Path, PathBuf};

use streamgauge_analyzer::capture::Reader;
use streamgauge_analyzer::dissect::{Dissector, Place, Row, Trees, Wants, tree};

/// Packets of a capture whose trees are made; with STREAMGAUGE_EVERY_FRAME in the environment it is all of them.
const SAMPLE: u64 = 250;

/// Captures under a directory that this program reads.
fn captures(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            captures(&path, found);
        } else if path.extension().is_some_and(|e| ["pcap", "pcapng", "cap"].iter().any(|known| e == *known))
        {
            found.push(path);
        }
    }
}

fn packets(file: &Path) -> u64 {
    let mut reader = Reader::open(file).unwrap();
    let mut packets = 0;
    while let Some(step) = reader.next() {
        packets += u64::from(step.is_ok());
    }
    packets
}

#[test]
fn the_leaves_of_every_frame_tile_its_bytes_and_say_where_they_come_from() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    captures(&root.join("captures"), &mut files);
    let ours = files.len();
    assert!(ours > 10, "{ours} captures of our own");
    captures(&root.join("../shared/captures"), &mut files);
    if files.len() == ours {
        println!("the captures of ../shared/captures are not here: only our own were looked at");
    }
    files.sort();
    let all = std::env::var_os("STREAMGAUGE_EVERY_FRAME").is_some();
    let (mut frames, mut parts, mut leaves, mut transport) = (0u64, 0u64, 0u64, 0u64);
    for file in files {
        let step = if all { 1 } else { packets(&file).div_ceil(SAMPLE).max(1) };
        let mut reader = Reader::open(&file).unwrap();
        let mut dissector = Dissector::new(Wants { trees: Trees::Every(step), facts: true });
        let mut look = |row: &Row<'_>| {
            let at = || format!("{} frame {}", file.display(), row.number);
            assert_eq!(row.parts.is_empty(), !row.number.is_multiple_of(step), "{}", at());
            frames += u64::from(!row.parts.is_empty());
            for part in row.parts {
                assert_eq!(tree::gap(part), None, "{}: {}", at(), part.title);
                let told = part.origin.is_empty() || part.origin.len() == part.bytes.len() as u64;
                assert!(told, "{}: {}", at(), part.title);
                parts += 1;
                transport += u64::from(part.title.starts_with("MPEG transport stream"));
                leaves += part.tree.leaves().count() as u64;
            }
        };
        while let Some(step) = reader.next() {
            // A damaged end is no packet.
            if let Ok(packet) = step {
                dissector.packet(Place::default(), &packet, &mut look);
            }
        }
        dissector.finish(&mut look);
    }
    println!("{frames} frames, {parts} parts, {leaves} leaves, {transport} transport streams");
    assert!(transport > 80, "{transport} transport streams");
    assert!(frames > 500 && parts > 3 * frames && leaves > 5 * parts, "{frames}, {parts}, {leaves}");
}
