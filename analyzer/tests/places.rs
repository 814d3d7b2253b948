//! Findings name the capture and the packet in which something was seen, where captures are read one after another.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod pcap;

use std::io::Cursor;

use model::Analysis;
use pcap::{Side, Writer};
use streamgauge_analyzer::{Analyzer, Options};

fn analyze(files: &[(&str, Vec<u8>)]) -> Analysis {
    let mut analyzer = Analyzer::new(Options::default());
    for (name, bytes) in files {
        analyzer.reader(name, Cursor::new(bytes.clone())).unwrap();
    }
    analyzer.finish()
}

/// Rule, file and frame of every finding.
fn places(analysis: &Analysis) -> Vec<(&str, Option<&str>, Option<u64>)> {
    analysis.findings.iter().map(|f| (f.rule.as_str(), f.file.as_deref(), f.frame)).collect()
}

#[test]
fn faults_of_rtp_have_their_own_captures() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../captures/gst-record-udp/input.pcap");
    let whole = std::fs::read(path).unwrap();
    let packets = pcap::packets(&whole);
    // Ethernet and IPv4 stand before the ports; RTP of the picture has payload type 99.
    let is_picture =
        |packet: &Vec<u8>| packet[16 + 23] == 17 && packet.get(16 + 43).is_some_and(|b| b & 0x7f == 99);
    let mut pictures = (0..packets.len()).filter(|n| is_picture(&packets[*n]));
    let (lost, late) = (pictures.by_ref().nth(20).unwrap(), pictures.nth(80).unwrap());
    let after = (late + 1..packets.len()).find(|n| is_picture(&packets[*n])).unwrap();
    let middle = (lost + late) / 2;
    let (mut one, mut two) = (packets[..middle].to_vec(), packets[middle..].to_vec());
    let behind = (lost + 1..middle).find(|n| is_picture(&packets[*n])).unwrap();
    one.remove(lost);
    let moved = two.remove(late - middle);
    two.insert(after - middle, moved);
    let analysis = analyze(&[
        ("one", pcap::file(&whole, &one)),
        ("two", pcap::file(&whole, &two)),
        ("three", Writer::default().finish()),
    ]);
    assert_eq!(analysis.sessions.len(), 1);
    // The packet behind the missing one tells of it, and the late one itself that it is late: one further back.
    assert_eq!(
        places(&analysis),
        [
            ("rtp.seq.loss", Some("one"), Some(behind as u64)),
            ("rtp.seq.dup-reorder", Some("two"), Some((after - middle) as u64 + 1)),
        ]
    );
}

#[test]
fn faults_of_http_have_their_own_captures() {
    let media = "#EXTM3U\n#EXTINF:1,\ns1.m4s\n#EXTINF:1,\ns2.m4s\n";
    let mut writer = Writer::default();
    let mut tcp = writer.connect(5000, 80);
    let fetch = |writer: &mut Writer, tcp: &mut _, url: &str, status: &str, body: &str| {
        writer.send(tcp, Side::Client, format!("GET {url} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        writer.send(tcp, Side::Server, [head.as_bytes(), body.as_bytes()].concat().as_slice());
    };
    fetch(&mut writer, &mut tcp, "/a/index.m3u8", "200 OK", media);
    fetch(&mut writer, &mut tcp, "/a/s1.m4s", "404 Not Found", "");
    let gone = writer.len();
    fetch(&mut writer, &mut tcp, "/a/s2.m4s", "200 OK", "x");
    writer.close(&mut tcp);
    let whole = writer.finish();
    let packets = pcap::packets(&whole);
    for cut in [gone - 1, gone] {
        let (one, two) = packets.split_at(cut);
        let analysis = analyze(&[("one", pcap::file(&whole, one)), ("two", pcap::file(&whole, two))]);
        let place = if cut == gone { (Some("one"), Some(gone as u64)) } else { (Some("two"), Some(1)) };
        assert_eq!(places(&analysis), [("hls.live.available-when-listed", place.0, place.1)], "{cut}");
        assert_eq!(analysis.findings[0].session.as_deref(), Some("hls-1"));
    }
}
