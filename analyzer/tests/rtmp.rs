//! What the analyzer tells of captured RTMP sessions, against counts made by other programs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

use std::path::PathBuf;

use model::{Analysis, Role, Session, Track, TrackKind};
use streamgauge_analyzer::{Analyzer, Options};

/// Analyzes a capture beside the project; none where those are absent.
fn analyze(name: &str) -> Option<Analysis> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures").join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.file(&path).unwrap();
    Some(analyzer.finish())
}

fn track(session: &Session, kind: TrackKind) -> &Track {
    session.tracks.iter().find(|t| t.kind == kind).unwrap()
}

/// Role, path, video frames, key frames, audio frames.
type Row<'a> = (Role, Option<&'a str>, u64, u64, u64);

fn rows(analysis: &Analysis) -> Vec<Row<'_>> {
    let sum = |session: &Session, kind, of: fn(&Track) -> u64| {
        session.tracks.iter().filter(|t| t.kind == kind).map(of).sum()
    };
    analysis
        .sessions
        .iter()
        .map(|session| {
            (
                session.role,
                session.path.as_deref(),
                sum(session, TrackKind::Video, |t| t.coded_frames()),
                sum(session, TrackKind::Video, |t| t.key_frames),
                sum(session, TrackKind::Audio, |t| t.coded_frames()),
            )
        })
        .collect()
}

/// Bytes to the server and to the client.
fn bytes(analysis: &Analysis) -> Vec<(u64, u64)> {
    analysis.sessions.iter().map(|s| (s.bytes_to_server, s.bytes_to_client)).collect()
}

fn rules(analysis: &Analysis) -> Vec<&str> {
    analysis.findings.iter().map(|f| f.rule.as_str()).collect()
}

use Role::{Publisher, Viewer};

#[test]
fn one_publisher_and_three_viewers() {
    let Some(analysis) = analyze("own/a_rtmp_1pub_3play.pcapng") else { return };
    let path = Some("app/teststream");
    // Video messages are 452, 362, 307 and 318: one each is the configuration, and the publisher's last one is an
    // end of sequence, which is no picture.
    assert_eq!(
        rows(&analysis),
        [
            (Publisher, path, 450, 8, 646),
            (Viewer, path, 361, 7, 518),
            (Viewer, path, 306, 6, 519),
            (Viewer, path, 317, 6, 518),
        ]
    );
    assert_eq!(bytes(&analysis)[0], (3_094_325, 3602));
    for session in &analysis.sessions {
        let video = track(session, TrackKind::Video);
        assert_eq!(video.description, "H.264 Constrained Baseline 3.1 1280x720 30 fps");
        assert_eq!((video.width, video.height), (Some(1280), Some(720)));
        assert!((video.frame_rate.unwrap() - 30.0).abs() < 0.01);
        assert_eq!(video.gop.unwrap().mean_frames, 60.0);
        let audio = track(session, TrackKind::Audio);
        assert_eq!(audio.description, "AAC-LC 44100 Hz stereo");
        assert_eq!(audio.declared.as_ref().unwrap()["sound_rate"], "44 kHz");
        assert!(session.complete, "{}", session.id);
        assert_eq!(session.retransmitted_bytes, Some(0));
        assert!(session.first_frame_ms.unwrap() > 0.0);
        assert!(session.peak_bps.unwrap() >= session.mean_bps.unwrap());
        assert_eq!(session.connections.len(), 1);
    }
    let first = &analysis.sessions[0];
    assert_eq!(first.id, "rtmp-1");
    assert_eq!(first.agent.as_deref(), Some("FMLE/3.0 (compatible; Lavf59.27.100)"));
    assert_eq!(first.filter, "ip.addr==127.0.0.1 && tcp.port==39806 && ip.addr==127.0.0.1 && tcp.port==1935");
    assert_eq!(rules(&analysis), [""; 0]);
    assert_eq!(analysis.conversations.tcp.len(), 4);
    let curve = model::Bin::expand(&analysis.bandwidth.per_session["rtmp-1"], 10_000);
    let bits: f64 = curve.iter().map(|bps| bps * analysis.bandwidth.interval_s).sum();
    assert!((bits / 8.0 - 3_097_927.0).abs() < 1.0, "the curve holds every byte: {bits}");
}

#[test]
fn large_chunks_on_another_port() {
    let Some(analysis) = analyze("own/e_rtmp_chunk60000_port1936.pcapng") else { return };
    // 359 video messages: two configurations and the publisher's end of sequence; 564 audio: two configurations.
    assert_eq!(
        rows(&analysis),
        [(Publisher, Some("live/s60k"), 240, 4, 345), (Viewer, Some("live/s60k"), 116, 2, 217)]
    );
    assert_eq!(rules(&analysis), [""; 0]);
}

#[test]
fn a_lost_segment_costs_what_it_touched() {
    let Some(analysis) = analyze("own/s5_lost_segment.pcap") else { return };
    let [(_, _, video, _, audio)] = rows(&analysis)[..] else { panic!() };
    assert!((95..=100).contains(&video) && (95..=100).contains(&audio), "{video} video, {audio} audio");
    // The hand-made server confirms connect without a level.
    assert_eq!(rules(&analysis), ["capture.tcp-bytes-lost", "rtmp.command.connect-success"]);
    let finding = &analysis.findings[0];
    assert_eq!((finding.count, finding.session.as_deref()), (1, Some("rtmp-1")));
    assert_eq!(finding.got.as_deref(), Some("1400 bytes less"));
    assert!(!analysis.sessions[0].complete);
}

#[test]
fn hevc_over_enhanced_rtmp() {
    let Some(analysis) = analyze("own/p01_ertmp_hevc_srs.pcapng") else { return };
    // 202 video messages: sequence start, metadata, 151 + 49 coded frames; the player gets no metadata.
    assert_eq!(
        rows(&analysis),
        [(Publisher, Some("live/hevc"), 200, 4, 376), (Viewer, Some("live/hevc"), 131, 3, 241)]
    );
    assert_eq!(bytes(&analysis), [(246_327, 4503), (3502, 164_391)]);
    let video = track(&analysis.sessions[0], TrackKind::Video);
    assert_eq!(video.description, "H.265 Main 2.0 320x180 25 fps");
    assert_eq!(video.bytes, 172_981);
    let declared = video.declared.as_ref().unwrap();
    assert_eq!((declared["fourCcList"].as_str(), declared["videocodecid"].as_str()), ("hvc1", "hvc1"));
    assert_eq!(rules(&analysis), [""; 0]);
}

#[test]
fn xhe_aac_and_two_more_publishers_at_once() {
    let Some(analysis) = analyze("own/p03_rtmp_he_aac_xhe_aac.pcapng") else { return };
    let counts: Vec<_> = rows(&analysis).iter().map(|r| (r.0, r.1.unwrap(), r.2, r.4)).collect();
    assert_eq!(
        counts[..3],
        [
            (Publisher, "live/xhe", 0, 375),
            (Publisher, "live/hev2", 200, 188),
            (Publisher, "live/hev1", 200, 188)
        ]
    );
    assert_eq!(analysis.sessions.len(), 5);
    let audio = track(&analysis.sessions[0], TrackKind::Audio);
    assert_eq!((audio.profile.as_deref(), audio.sample_rate), (Some("xHE-AAC"), Some(48_000)));
    // The other two configurations say AAC-LC at 24 kHz; only the frames show SBR and PS.
    let v2 = track(&analysis.sessions[1], TrackKind::Audio);
    assert_eq!(v2.description, "HE-AACv2 48000 Hz stereo");
    assert_eq!(v2.declared.as_ref().unwrap()["AudioSpecificConfig"], "LC 24000 Hz, 1 channel(s)");
    assert_eq!(track(&analysis.sessions[2], TrackKind::Audio).description, "HE-AAC 48000 Hz stereo");
    assert_eq!(rules(&analysis), [""; 0]);
}

#[test]
fn older_codecs_and_messages_begun_by_type_3() {
    let Some(analysis) = analyze("own/p04_rtmp_h263_vp6_mp3.pcapng") else { return };
    assert_eq!(
        rows(&analysis),
        [
            (Publisher, Some("live/h263"), 175, 4, 268),
            (Publisher, Some("live/vp6"), 24, 24, 185),
            (Viewer, Some("live/vp6"), 17, 17, 138),
            (Viewer, Some("live/h263"), 125, 3, 221),
        ]
    );
    let h263 = &analysis.sessions[0];
    assert_eq!(track(h263, TrackKind::Video).description, "Sorenson H.263 320x180 25 fps");
    assert_eq!(track(h263, TrackKind::Audio).description, "MP3 44100 Hz stereo");
    assert_eq!(track(&analysis.sessions[1], TrackKind::Video).codec.as_deref(), Some("vp6"));
    assert_eq!(rules(&analysis), [""; 0]);
}

#[test]
fn a_lossy_path_loses_no_message() {
    let Some(analysis) = analyze("own/p09_rtmp_lossy_path_server_side.pcapng") else { return };
    // 202 video messages: configuration and end of sequence beside the pictures.
    assert_eq!(
        rows(&analysis),
        [(Publisher, Some("live/lossy"), 200, 4, 376), (Viewer, Some("live/lossy"), 100, 2, 243)]
    );
    assert_eq!(bytes(&analysis), [(803_871, 3602), (3442, 417_572)]);
    assert_eq!(track(&analysis.sessions[0], TrackKind::Audio).description, "AAC-LC 48000 Hz mono");
    assert!(analysis.sessions.iter().all(|s| s.complete && s.retransmitted_bytes > Some(0)));
    assert_eq!(rules(&analysis), [""; 0]);
}

#[test]
fn times_cross_24_bits() {
    let Some(analysis) = analyze("own/p11_rtmp_extended_timestamp.pcapng") else { return };
    assert_eq!(
        rows(&analysis),
        [
            (Publisher, Some("live/ff"), 200, 4, 376),
            (Publisher, Some("live/own"), 200, 4, 376),
            (Viewer, Some("live/ff"), 121, 3, 238),
            (Viewer, Some("live/own"), 50, 1, 176),
            (Viewer, Some("live/own"), 50, 1, 170),
            (Viewer, Some("live/ff"), 43, 1, 96),
        ]
    );
    for session in &analysis.sessions {
        assert_eq!(track(session, TrackKind::Video).frame_rate, Some(25.0), "{}", session.id);
    }
    assert_eq!(rules(&analysis), [""; 0]);
}

#[test]
fn enhanced_forms_made_by_hand() {
    let Some(analysis) = analyze("own/s1_ertmp_codecs.pcap") else { return };
    let tracks: Vec<_> = analysis.sessions[0]
        .tracks
        .iter()
        .map(|t| (t.kind, t.codec.as_deref().unwrap(), t.coded_frames()))
        .collect();
    // Track 0 of video: one HEVC frame and one behind a ModEx prefix, and an H.264 message without a picture; tracks 3
    // and 5 in one multitrack message. Track 0 of audio: a Speex frame, an AAC one in a multitrack message, and the
    // configuration of Opus; track 1 of that message, and track 7 alone.
    assert_eq!(
        tracks,
        [
            (TrackKind::Video, "h265", 2),
            (TrackKind::Video, "h264", 0),
            (TrackKind::Video, "h265", 1),
            (TrackKind::Video, "av1", 1),
            (TrackKind::Audio, "speex", 1),
            (TrackKind::Audio, "aac", 1),
            (TrackKind::Audio, "opus", 0),
            (TrackKind::Audio, "aac", 1),
            (TrackKind::Audio, "aac", 1),
        ]
    );
    assert_eq!(rules(&analysis), ["flv.video.hvcc-wellformed", "rtmp.command.connect-success"]);
}

#[test]
fn chunk_stream_ids_in_all_three_forms() {
    let Some(analysis) = analyze("own/s3_csid.pcap") else { return };
    assert_eq!(rows(&analysis), [(Publisher, Some("live/k"), 6, 0, 0)]);
    assert_eq!(rules(&analysis), ["rtmp.command.connect-success"]);
}

#[test]
fn an_aggregate_is_taken_apart_and_amf3_is_no_error() {
    let Some(analysis) = analyze("own/s8_aggregate_amf3.pcap") else { return };
    assert_eq!(rows(&analysis), [(Publisher, Some("live/k"), 2, 1, 1)]);
    assert_eq!(rules(&analysis), ["rtmp.command.connect-success"]);
}

#[test]
fn captures_made_by_others() {
    for (name, role, path, video, audio) in [
        (
            "cheetah-1080p-large-publish.pcap",
            Publisher,
            "live/from_file_018_spreed_1080p_hevc_ccd40e8693",
            26,
            90,
        ),
        (
            "cheetah-audio-only-publish.pcap",
            Publisher,
            "live/from_file_010_fallback_audio_f1932e2a04",
            0,
            278,
        ),
        (
            "cheetah-h264-aac-publish.pcap",
            Publisher,
            "live/from_file_017_source_200kbps_768x320_fc8200c552",
            33,
            85,
        ),
        (
            "cheetah-vp9-play-probe.pcap",
            Viewer,
            "live/from_file_012_fallback_video_vp9_72cd0a041b__retry_3",
            0,
            0,
        ),
        ("fq-ffmpeg-play-aac.pcap", Viewer, "test_stream", 0, 409),
        ("wiki-flash9-sample.cap", Viewer, "StreamPlayer/rtmp://fc432.streamedia.info/StreamPlayer/", 0, 0),
    ] {
        let Some(analysis) = analyze(&format!("others/rtmp-{name}")) else { return };
        let [row] = rows(&analysis)[..] else { panic!("{name}: one session") };
        assert_eq!((row.0, row.1, row.2, row.4), (role, Some(path), video, audio), "{name}");
        assert!(
            rules(&analysis).iter().all(|r| *r == "capture.one-direction"),
            "{name}: {:?}",
            rules(&analysis)
        );
    }
    let Some(analysis) = analyze("others/rtmp-twinx-connect.pcap") else { return };
    assert_eq!(analysis.sessions.len(), 1);
    assert_eq!(rules(&analysis), ["capture.rtmp-handshake-unfinished"]);
}

#[test]
fn what_is_nothing_we_follow_is_no_session() {
    for name in [
        "others/bad-ndpi-ip-fragmented-garbage.pcap",
        "others/tcp-pcpp-missing-packet.pcap",
        "others/tcp-pcpp-seq-max.pcap",
        // Two answers of video/MP2T, but scrambled: none of their bytes is a sync byte at the steps of packets.
        "others/hls-psvue-ts-midstream.pcap",
    ] {
        let Some(analysis) = analyze(name) else { return };
        assert!(analysis.sessions.is_empty(), "{name}");
        assert!(
            analysis.bandwidth.per_session.is_empty() && analysis.bandwidth.total_bps.is_empty(),
            "{name}"
        );
    }
}

#[test]
fn a_cut_capture_is_read_as_far_as_it_goes() {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/own/a_rtmp_1pub_3play.pcapng");
    let Ok(whole) = std::fs::read(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let cut = whole[..whole.len() / 2 + 3].to_vec();
    let mut analyzer = Analyzer::new(Options::default());
    assert!(analyzer.reader("cut.pcapng", std::io::Cursor::new(cut)).unwrap() > 1000);
    let analysis = analyzer.finish();
    assert_eq!(analysis.sessions.len(), 4);
    assert_eq!(rules(&analysis), ["capture.file-cut"]);
    assert_eq!(analysis.findings[0].file.as_deref(), Some("cut.pcapng"));
    assert!(analysis.sessions.iter().all(|s| !s.complete && s.connections[0].end.is_none()));
}

#[test]
fn what_is_no_capture_is_an_error_and_a_finding() {
    let mut analyzer = Analyzer::new(Options::default());
    assert!(analyzer.reader("words.txt", &b"these are only words, and no packets"[..]).is_err());
    assert!(analyzer.file("/nowhere/at/all.pcap").is_err());
    let analysis = analyzer.finish();
    assert_eq!(rules(&analysis), ["capture.file-unreadable"; 2]);
    assert_eq!(analysis.captures.len(), 2);
}

#[test]
fn every_rule_that_was_found_is_in_the_catalogue() {
    for name in ["own/s1_ertmp_codecs.pcap", "own/s5_lost_segment.pcap", "others/rtmp-twinx-connect.pcap"] {
        let Some(analysis) = analyze(name) else { return };
        for finding in &analysis.findings {
            let rule =
                spec::find(&finding.rule).unwrap_or_else(|| panic!("{} is in the catalogue", finding.rule));
            assert_eq!(rule.level.to_string(), finding.level);
        }
    }
}
