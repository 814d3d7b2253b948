//! What the analyzer tells of captured RTSP sessions, against counts made by other programs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

use std::io::Cursor;
use std::path::PathBuf;

use model::{Analysis, Protocol, Role, Session, Track, TrackKind, Transport};
use streamgauge_analyzer::{Analyzer, Options};

fn path(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures").join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

fn analyze(name: &str) -> Option<Analysis> {
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.file(path(name)?).unwrap();
    Some(analyzer.finish())
}

fn track(session: &Session, kind: TrackKind) -> &Track {
    session.tracks.iter().find(|t| t.kind == kind).unwrap()
}

fn frames(session: &Session) -> (u64, u64, u64) {
    let (video, audio) = (track(session, TrackKind::Video), track(session, TrackKind::Audio));
    (video.frames, video.key_frames, audio.frames)
}

#[test]
fn two_viewers_over_udp_lose_nothing() {
    let Some(analysis) = analyze("own/c1_rtsp_play_udp.pcapng") else { return };
    let [first, second] = &analysis.sessions[..] else { panic!("{:#?}", analysis.sessions) };
    for session in [first, second] {
        assert_eq!((session.protocol, session.transport), (Protocol::Rtsp, Transport::Udp));
        assert_eq!((session.role, session.path.as_deref()), (Role::Viewer, Some("test")));
        assert!(session.tracks.iter().all(|t| t.lost_packets == Some(0) && t.jitter_ms.unwrap() < 1.0));
        assert_eq!(track(session, TrackKind::Video).frame_rate.unwrap().round(), 30.0);
        assert_eq!(track(session, TrackKind::Audio).sample_rate, Some(44_100));
        assert!(session.complete);
        let bins: f64 = model::Bin::expand(&analysis.bandwidth.per_session[&session.id], 2000).iter().sum();
        let bytes = session.bytes_to_client + session.bytes_to_server;
        assert_eq!((bins * analysis.bandwidth.interval_s / 8.0).round(), bytes as f64);
    }
    assert_eq!((first.id.as_str(), second.id.as_str()), ("rtsp-1", "rtsp-2"));
    assert_eq!((frames(first).2, frames(second).2), (434, 347));
    // TCP payload, RTP and RTCP: the 12 byte packets that open a way through translators are neither.
    assert_eq!((first.bytes_to_server, first.bytes_to_client), (1054, 2_122_918));
    // ffmpeg's way openers on RTCP's port are receiver reports without a name.
    let told: Vec<_> =
        analysis.findings.iter().map(|f| (f.rule.as_str(), f.count, f.got.as_deref())).collect();
    assert_eq!(told, [("rtcp.compound.cname", 2, Some("RR")); 2]);
}

#[test]
fn two_viewers_in_the_connection_lose_nothing() {
    let Some(analysis) = analyze("own/c2_rtsp_play_tcp_interleaved.pcapng") else { return };
    let [first, second] = &analysis.sessions[..] else { panic!("{:#?}", analysis.sessions) };
    for session in [first, second] {
        assert_eq!((session.transport, session.role), (Transport::Interleaved, Role::Viewer));
        assert!(session.tracks.iter().all(|t| t.lost_packets == Some(0)));
    }
    assert_eq!((first.bytes_to_server, first.bytes_to_client), (734, 2_130_715));
    assert_eq!((frames(first), frames(second)), ((302, 6, 434), (242, 5, 347)));
    assert!(analysis.findings.is_empty(), "{:?}", analysis.findings);
}

#[test]
fn losses_and_reordering_on_a_bad_path() {
    let Some(analysis) = analyze("own/p06_rtsp_udp_hevc_aac_loss.pcapng") else { return };
    let [session] = &analysis.sessions[..] else { panic!("{:#?}", analysis.sessions) };
    assert_eq!(session.path.as_deref(), Some("live/h265"));
    assert_eq!(session.agent.as_deref(), Some("GStreamer/1.22.0"));
    let (video, audio) = (track(session, TrackKind::Video), track(session, TrackKind::Audio));
    assert_eq!((video.codec.as_deref(), video.lost_packets, video.bytes), (Some("h265"), Some(4), 164_421));
    assert_eq!((audio.codec.as_deref(), audio.lost_packets, audio.bytes), (Some("aac"), Some(8), 64_061));
    assert_eq!((frames(session), video.frame_rate), ((196, 4, 367), Some(25.0)));
    // What the path lost is told by the tracks; the capture itself lacks nothing.
    assert!(session.complete);
    // The second connection brings the TEARDOWN that the first one could not.
    assert_eq!(session.connections.len(), 2);
    // 244 and 367 RTP packets with 12 bytes before each payload, the RTSP answers, and RTCP.
    let rtp = 164_421 + 64_061 + (244 + 367) * 12;
    assert!(session.bytes_to_client >= rtp + 2016 + 136 && session.bytes_to_client < rtp + 3000);
    let told: Vec<_> =
        analysis.findings.iter().map(|f| (f.rule.as_str(), f.count, f.got.as_deref())).collect();
    assert_eq!(
        told,
        [
            ("rtp.seq.loss", 4, Some("244 packets")),
            ("rtp.seq.dup-reorder", 5, None),
            ("rtp.seq.loss", 8, Some("367 packets")),
            ("rtp.seq.dup-reorder", 11, None),
            // ZLMediaKit's sender reports stand alone.
            ("rtcp.compound.cname", 4, Some("SR")),
        ]
    );
}

#[test]
fn captures_cut_or_damaged_anywhere_do_no_harm() {
    for name in [
        "own/c1_rtsp_play_udp.pcapng",
        "own/c2_rtsp_play_tcp_interleaved.pcapng",
        "others/rtsp-profuzz-webm.pcap",
    ] {
        let Some(path) = path(name) else { return };
        let whole = std::fs::read(path).unwrap();
        let mut seed = 7u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap() % below
        };
        for round in 0..12 {
            let mut bytes = whole.clone();
            if round % 2 == 0 {
                bytes.truncate(random(whole.len()));
            } else {
                for _ in 0..200 {
                    let at = random(bytes.len());
                    bytes[at] ^= 1 << random(8);
                }
            }
            let mut analyzer = Analyzer::new(Options::default());
            let _ = analyzer.reader("damaged", Cursor::new(bytes));
            for session in analyzer.finish().sessions {
                assert!(session.duration_s >= 0.0 && session.tracks.len() <= 32);
            }
        }
    }
}

#[test]
fn publishers_over_udp_and_interleaved() {
    // The clip's first two seconds: RTP packets of the picture and of the sound, and audio frames.
    for (case, transport, agent, packets, sounds) in [
        ("gst-record-udp", Transport::Udp, "GStreamer/1.22.0", [134, 94], 94),
        ("ffmpeg-record-tcp", Transport::Interleaved, "Lavf59.27.100", [129, 18], 90),
    ] {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../captures/{case}/input.pcap"));
        let mut analyzer = Analyzer::new(Options::default());
        analyzer.file(&file).unwrap();
        let analysis = analyzer.finish();
        let [session] = &analysis.sessions[..] else { panic!("{case}: {:#?}", analysis.sessions) };
        assert_eq!((session.role, session.transport), (Role::Publisher, transport), "{case}");
        assert_eq!(
            (session.path.as_deref(), session.agent.as_deref()),
            (Some("live/clip"), Some(agent)),
            "{case}"
        );
        assert!(session.complete, "{case}");
        let (video, audio) = (track(session, TrackKind::Video), track(session, TrackKind::Audio));
        assert_eq!((video.codec.as_deref(), video.frames, video.key_frames), (Some("h264"), 52, 2), "{case}");
        assert_eq!((audio.codec.as_deref(), audio.profile.as_deref()), (Some("aac"), Some("LC")), "{case}");
        assert_eq!(audio.frames, sounds, "{case}");
        for (track, packets) in [video, audio].into_iter().zip(packets) {
            assert!(track.packets == Some(packets) && track.jitter_ms.is_some(), "{case}: {track:#?}");
            let network = (track.lost_packets, track.reordered, track.duplicates);
            assert_eq!(network, (Some(0), Some(0), Some(0)), "{case}");
        }
        // What RTCP reports stands apart from what the description declares; ffmpeg's ends before its first report.
        let reported = audio.reported.as_ref().and_then(|reported| reported.get("sender_report"));
        let sent = (transport == Transport::Udp).then(|| "94 packets, 24586 bytes".to_owned());
        assert_eq!(reported, sent.as_ref(), "{case}");
        let declared = audio.declared.as_ref().unwrap();
        assert!(declared.contains_key("rtpmap") && !declared.contains_key("sender_report"), "{case}");
        // ffmpeg's sender reports stand alone over TCP.
        let alone =
            if transport == Transport::Interleaved { vec!["rtcp.compound.cname"] } else { Vec::new() };
        let told: Vec<_> = analysis.findings.iter().map(|f| f.rule.as_str()).collect();
        assert_eq!(told, alone, "{case}");
    }
}
