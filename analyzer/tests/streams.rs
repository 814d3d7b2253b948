//! Streams that nothing sets up: RTP and transport streams found by behaviour, against counts made by other programs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

use std::path::PathBuf;

use model::{Analysis, Protocol, Role, Session, Track, TrackKind, Transport};
use streamgauge_analyzer::{Analyzer, Options};

fn captures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures")
}

fn analyze(path: &PathBuf) -> Analysis {
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.file(path).unwrap();
    analyzer.finish()
}

/// One source as a separate count has it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    from: String,
    to: String,
    ssrc: String,
    unique: u64,
    repeated: u64,
    lost: u64,
    late: u64,
}

/// The lines of a count: src, sport, dst, dport, ssrc, packets, unique, dup, expected, lost, out of order.
fn counted(text: &str) -> Vec<Source> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let mut all: Vec<Source> = lines
        .map(|line| {
            let c: Vec<&str> = line.split('\t').collect();
            let n = |at: usize| c[at].parse().unwrap();
            Source {
                from: format!("{}:{}", c[0], c[1]),
                to: format!("{}:{}", c[2], c[3]),
                ssrc: c[4].to_owned(),
                unique: n(6),
                repeated: n(7),
                lost: n(9),
                late: n(10),
            }
        })
        .collect();
    all.sort();
    all
}

fn found(analysis: &Analysis) -> Vec<Source> {
    let mut all = Vec::new();
    let of_rtp = analysis.sessions.iter().filter(|session| session.protocol == Protocol::Rtp);
    for session in of_rtp {
        assert_eq!((session.role, session.transport), (Role::Viewer, Transport::Udp));
        let end = |end: model::Endpoint| format!("{}:{}", end.address, end.port.unwrap());
        for track in &session.tracks {
            let Some(ssrc) = track.declared.as_ref().and_then(|claims| claims.get("SSRC")) else { continue };
            all.push(Source {
                from: end(session.server),
                to: end(session.client),
                ssrc: ssrc.clone(),
                unique: track.packets.unwrap(),
                repeated: track.duplicates.unwrap(),
                lost: track.lost_packets.unwrap(),
                late: track.reordered.unwrap(),
            });
        }
    }
    all.sort();
    all
}

/// Every capture with RTP in UDP that no session announces, against the separate count beside it. tshark agrees where
/// it looks; of RIST's repeated packets (SSRC ...09) it says 1544 lost, because it counts the 89 that came twice.
#[test]
fn sources_are_those_of_a_separate_count() {
    let truth = captures().join("others/truth");
    let Ok(dir) = std::fs::read_dir(&truth) else {
        println!("skipped: {} is not there", truth.display());
        return;
    };
    let mut seen = 0;
    for entry in dir {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(capture) = name.strip_suffix(".rtp-independent.txt") else { continue };
        // ERF is refused; sessions that are announced are tested where sessions are.
        if capture.ends_with(".erf") || capture == "rtsp-trex-short.pcap" {
            continue;
        }
        let want = counted(&std::fs::read_to_string(truth.join(&name)).unwrap());
        let analysis = analyze(&captures().join("others").join(capture));
        let mut found = found(&analysis);
        for (found, want) in found.iter_mut().zip(&want) {
            // The separate count has packets that came again late among the late ones too.
            assert!(
                found.late <= want.late && want.late <= found.late + found.repeated,
                "{capture}: {found:?}"
            );
            found.late = want.late;
        }
        assert_eq!(found, want, "{capture}");
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}

fn only(name: &str) -> Option<Session> {
    let path = captures().join("others").join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    let analysis = analyze(&path);
    assert_eq!(analysis.sessions.len(), 1, "{name}: {:#?}", analysis.sessions);
    analysis.sessions.into_iter().next()
}

#[test]
fn codecs_are_told_from_how_packets_are_built() {
    for (name, codec, kind, frames) in [
        ("rtp-str0m-h266.pcap", "h266", TrackKind::Video, 240),
        ("rtp-str0m-vp8.pcap", "vp8", TrackKind::Video, 101),
        // 44 markers, and the beginning of one picture more.
        ("rtp-str0m-av1.pcap", "av1", TrackKind::Video, 45),
        ("rtp-tau-wilson-h265.pcap", "h265", TrackKind::Video, 276),
        ("rtp-asterisk-opus-ok.pcapng", "opus", TrackKind::Audio, 3000),
    ] {
        let Some(session) = only(name) else { return };
        let [track] = &session.tracks[..] else { panic!("{name}: {:#?}", session.tracks) };
        assert_eq!((track.codec.as_deref(), track.kind, track.frames), (Some(codec), kind, frames), "{name}");
        assert!(track.jitter_ms.is_some() && session.first_frame_ms.is_some(), "{name}: {track:#?}");
    }
    let Some(session) = only("rtp-tau-wilson-h265.pcap") else { return };
    assert_eq!(session.tracks[0].description, "H.265 Main 4.1 640x480 2.08 fps");
    let Some(session) = only("rtp-str0m-vp8.pcap") else { return };
    assert_eq!((session.tracks[0].width, session.tracks[0].height), (Some(240), Some(180)));
}

fn first(analysis: &Analysis) -> &Track {
    &analysis.sessions[0].tracks[0]
}

#[test]
fn fixed_payload_types_have_their_meaning_and_jitter_within_that_of_tshark() {
    let path = captures().join("others/rtp-trex-g729-gap.pcap");
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return;
    }
    let analysis = analyze(&path);
    assert_eq!(analysis.sessions.len(), 2);
    let track = first(&analysis);
    assert_eq!((track.codec.as_deref(), track.sample_rate, track.frames), (Some("g729"), Some(8000), 677));
    assert_eq!(track.declared.as_ref().unwrap()["payload_type"], "18 G729/8000 (RFC 3551)");
    // tshark tells the least and the most of its estimates; ours is the last one.
    let truth = captures().join("others/truth/rtp-trex-g729-gap.pcap.rtp.txt");
    let truth = std::fs::read_to_string(truth).unwrap();
    for session in &analysis.sessions {
        let [track] = &session.tracks[..] else { panic!("{session:#?}") };
        let ssrc = track.declared.as_ref().unwrap()["SSRC"].to_uppercase().replace("0X", "0x");
        let line = truth.lines().find(|line| line.contains(&ssrc)).expect("the source");
        let last: Vec<f64> = line.split_whitespace().rev().take(3).map(|n| n.parse().unwrap()).collect();
        let jitter = track.jitter_ms.unwrap();
        assert!(last[2] <= jitter && jitter <= last[0], "{jitter} ms in {line}");
    }
}

/// What no stream is in: nothing may be found.
#[test]
fn nothing_is_found_where_nothing_is() {
    let dir = captures();
    let mut seen = 0;
    for (part, names) in [
        ("own", ["a_", "e_", "s", "p0", "p1"].as_slice()),
        ("others", &["rtmp-", "tcp-", "bad-", "fmt-", "neg-", "hls-"]),
    ] {
        let Ok(files) = std::fs::read_dir(dir.join(part)) else {
            println!("skipped: {} is not there", dir.display());
            return;
        };
        for file in files {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let kind = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            if !matches!(kind, "pcap" | "pcapng" | "cap")
                || !names.iter().any(|start| name.starts_with(start))
            {
                continue;
            }
            let mut analyzer = Analyzer::new(Options::default());
            if analyzer.file(&path).is_err() {
                continue;
            }
            let analysis = analyzer.finish();
            let found: Vec<_> = analysis
                .sessions
                .iter()
                .filter(|s| {
                    s.transport == Transport::Udp && matches!(s.protocol, Protocol::Rtp | Protocol::MpegTs)
                })
                .collect();
            assert!(found.is_empty(), "{name}: {found:#?}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn a_datagram_of_a_transport_stream() {
    let Some(session) = only("ts-ndpi-vlan-1pkt.pcap") else { return };
    assert_eq!((session.protocol, session.transport), (Protocol::MpegTs, Transport::Udp));
}
