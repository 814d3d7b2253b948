//! Packets one by one: what lies between the file and the protocols, rows that wait, and packets by index.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::cast_possible_truncation
)]

use std::path::{Path, PathBuf};

use streamgauge_analyzer::capture::{Merged, Packet, Reader};
use streamgauge_analyzer::dissect::{Dissector, Index, Place, Row, Trees, Wants, render};
use wire::net::{LinkType, Transport};
use wire::pcap;

fn ours(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../captures").join(name);
    let file = ["input.pcap", "input.pcapng"].map(|file| root.join(file));
    file.into_iter().find(|file| file.exists()).unwrap()
}

fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// A row as JSON; trees and all.
fn json(row: &Row<'_>) -> String {
    let mut text = String::new();
    render::json(row, None, &mut text);
    text
}

fn rows(paths: &[&Path], wants: Wants) -> Vec<String> {
    let mut merged = Merged::open(paths);
    let mut dissector = Dissector::new(wants);
    let mut rows = Vec::new();
    let several = paths.len() > 1;
    while let Some((file, interfaces, next)) = merged.next() {
        let Ok(packet) = next else { continue };
        dissector.packet(Place { file, several, interfaces }, &packet, &mut |row| rows.push(json(row)));
    }
    dissector.finish(&mut |row| rows.push(json(row)));
    rows
}

const ALL: Wants = Wants { trees: Trees::All, facts: true };
const LINES: Wants = Wants { trees: Trees::None, facts: true };

/// Protocol and Info of each packet.
fn lines(path: &Path) -> Vec<(String, String)> {
    let told = rows(&[path], LINES);
    let cell = |row: &serde_json::Value, name: &str| row[name].as_str().unwrap().to_owned();
    told.iter()
        .map(|row| {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            (cell(&row, "protocol"), cell(&row, "info"))
        })
        .collect()
}

/// Writes another capture with what `f` makes of each packet.
fn rewritten(name: &str, from: &Path, mut f: impl FnMut(&Packet<'_>) -> Vec<Vec<u8>>) -> PathBuf {
    let mut bytes = Vec::new();
    let mut reader = Reader::open(from).unwrap();
    while let Some(packet) = reader.next() {
        let packet = packet.unwrap();
        if bytes.is_empty() {
            pcap::write_file_header(&mut bytes, packet.link, 0);
        }
        for data in f(&packet) {
            let length = u32::try_from(data.len()).unwrap();
            pcap::write_record(&mut bytes, packet.time_ns.cast_unsigned(), &data, length);
        }
    }
    let path = std::env::temp_dir().join(format!("streamgauge-dissect-{}-{name}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Every packet through the index is the packet of one pass, wherever the checkpoints lie: open messages, RTSP sessions,
/// holes and rows that wait go through them.
#[test]
fn the_index_gives_what_one_pass_gives() {
    let mut files = vec![ours("rtmp-status-elsewhere"), ours("gst-record-udp"), ours("ffmpeg-watches-hls")];
    files.extend(shared("own/s5_lost_segment.pcap"));
    files.extend(shared("own/s3_csid.pcap"));
    for file in files {
        let whole = rows(&[&file], ALL);
        let mut listed = Vec::new();
        let mut list = |row: &Row<'_>| listed.push(row.info.to_owned());
        let index = Index::every(20_000, &[&file], &mut list, &mut |error| panic!("{error}"));
        assert_eq!((index.packets() as usize, listed.len()), (whole.len(), whole.len()));
        let step = (whole.len() / 150).max(1);
        for number in (1..=whole.len()).rev().step_by(step) {
            let found = index.packet(number as u64, json);
            assert_eq!(found.as_ref(), Some(&whole[number - 1]), "{} frame {number}", file.display());
        }
        assert_eq!(index.packet(whole.len() as u64 + 1, json), None);
    }
}

#[test]
fn the_index_of_several_files_follows_their_timeline() {
    let whole = ours("rtmp-status-elsewhere");
    let half = |name: &str, odd: bool| {
        let mut n = 0;
        rewritten(name, &whole, |packet| {
            n += 1;
            if (n % 2 == 1) == odd { vec![packet.data.to_vec()] } else { Vec::new() }
        })
    };
    let (a, b) = (half("odd.pcap", true), half("even.pcap", false));
    let files = [a.as_path(), b.as_path()];
    let told = rows(&files, ALL);
    let one: Vec<(String, String)> = lines(&whole);
    let infos: Vec<String> = told
        .iter()
        .map(|row| {
            serde_json::from_str::<serde_json::Value>(row).unwrap()["info"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(infos, one.iter().map(|(_, info)| info.clone()).collect::<Vec<_>>());
    let index = Index::every(10_000, &files, &mut |_| {}, &mut |error| panic!("{error}"));
    for number in [told.len(), told.len() / 2, 3] {
        assert_eq!(index.packet(number as u64, json).as_ref(), Some(&told[number - 1]));
    }
    // The same packets from two places: the copies say nothing.
    let twice = rows(&[&whole, &whole], LINES);
    let copies = twice.iter().filter(|row| row.contains("captured before at another interface")).count();
    assert_eq!((twice.len(), copies), (told.len() * 2, told.len()));
    let said = |rows: &[String]| rows.iter().filter(|row| row.contains("\"protocol\":\"RTMP\"")).count();
    assert_eq!(said(&twice), said(&told));
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
}

/// A UDP datagram over IPv4 in two fragments, the later one first.
fn in_fragments(data: &[u8]) -> Option<Vec<Vec<u8>>> {
    let at = 14;
    let ip = data.get(at..at + 20)?;
    (data[12..14] == [8, 0] && ip[0] == 0x45 && ip[9] == 17).then_some(())?;
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let body = data.get(at + 20..at + total)?;
    (body.len() > 16).then_some(())?;
    let cut = body.len() / 2 / 8 * 8;
    let piece = |range: std::ops::Range<usize>, more: bool| {
        let part = &body[range.clone()];
        let mut out = data[..at + 20].to_vec();
        out[at + 2..at + 4].copy_from_slice(&u16::try_from(20 + part.len()).unwrap().to_be_bytes());
        let field = u16::try_from(range.start / 8).unwrap() | if more { 0x2000 } else { 0 };
        out[at + 6..at + 8].copy_from_slice(&field.to_be_bytes());
        out.extend_from_slice(part);
        out
    };
    Some(vec![piece(cut..body.len(), false), piece(0..cut, true)])
}

#[test]
fn datagrams_are_put_together_from_fragments() {
    let file = ours("gst-record-udp");
    let mut number = 0u16;
    let cut = rewritten("fragments.pcap", &file, |packet| {
        number += 1;
        match in_fragments(packet.data) {
            Some(mut pieces) => {
                pieces.iter_mut().for_each(|p| p[18..20].copy_from_slice(&number.to_be_bytes()));
                pieces
            }
            None => vec![packet.data.to_vec()],
        }
    });
    let whole = lines(&file);
    let told = lines(&cut);
    let pieces = told.iter().filter(|(protocol, _)| protocol == "IPv4").count();
    let rtp = whole.iter().filter(|(protocol, _)| protocol == "RTP").count();
    assert!(pieces >= rtp && rtp > 50, "{pieces} fragments, {rtp} RTP packets");
    assert!(told.iter().any(|(_, info)| info.starts_with("Fragmented IP protocol (proto=UDP 17, off=")));
    let back: Vec<(String, String)> = told
        .into_iter()
        .filter(|(protocol, _)| protocol != "IPv4")
        .map(|(protocol, info)| (protocol, info.replace(" [put together from IP fragments]", "")))
        .collect();
    assert_eq!(back, whole);
    std::fs::remove_file(cut).unwrap();
}

#[test]
fn tunnels_are_looked_into() {
    let file = ours("rtmp-status-elsewhere");
    let mut reader = Reader::open(&file).unwrap();
    let link = reader.next().unwrap().unwrap().link;
    assert_eq!(link, LinkType::ETHERNET);
    let inside = rewritten("gre.pcap", &file, |packet| {
        let length = u16::try_from(20 + 4 + packet.data.len()).unwrap();
        let mut out = packet.data[..12].to_vec();
        out.extend_from_slice(&[8, 0, 0x45, 0]);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&[0, 0, 0, 0, 64, 47, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0, 0, 0x65, 0x58]);
        out.extend_from_slice(packet.data);
        vec![out]
    });
    let told = lines(&inside).into_iter().map(|(p, info)| (p, info.replace(" [inside GRE]", "")));
    assert_eq!(told.collect::<Vec<_>>(), lines(&file));
    std::fs::remove_file(inside).unwrap();
}

/// One segment is missing for good, and nobody acknowledges: what came behind it is said by the packets that brought it,
/// and the rows stay in order.
#[test]
fn behind_a_hole_messages_stand_at_their_own_packets() {
    let file = ours("ffmpeg-publish-play");
    let whole = lines(&file);
    let largest = {
        let mut reader = Reader::open(&file).unwrap();
        let mut sizes = Vec::new();
        while let Some(packet) = reader.next() {
            let packet = packet.unwrap();
            let parsed = packet.parse();
            let tcp = matches!(parsed.transport, Transport::Tcp(_));
            sizes.push(if tcp { parsed.payload.len() } else { 0 });
        }
        // Of the streaming, and not the last.
        (sizes.len() / 3..sizes.len() / 2).max_by_key(|n| sizes[*n]).unwrap()
    };
    let mut n = 0;
    let cut = rewritten("hole.pcap", &file, |packet| {
        n += 1;
        if n - 1 == largest { Vec::new() } else { vec![packet.data.to_vec()] }
    });
    let told = lines(&cut);
    assert_eq!(told.len(), whole.len() - 1);
    let mut messages = 0;
    for (before, behind) in whole[largest + 1..].iter().zip(&told[largest..]) {
        let same = behind.1.contains("not captured") || behind.1.contains("missing");
        messages += usize::from(before.0 == "RTMP" && before == behind);
        assert!(same || before.0 != "RTMP" || before == behind, "{before:?} became {behind:?}");
    }
    assert!(messages > 5, "{messages}");
    let says = told.iter().filter(|(_, info)| info.contains("bytes of the stream were not captured")).count();
    assert_eq!(says, 1);
    std::fs::remove_file(cut).unwrap();
}
