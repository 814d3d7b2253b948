//! Transport streams over HTTP, with a playlist and without, against what ffprobe counts in the same segments.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

mod pcap;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::{Analysis, Protocol, Role, Session, TrackKind, Transport};
use pcap::{Side, Writer};
use streamgauge_analyzer::{Analyzer, Options};

/// What ffmpeg's segmenter wrote.
struct Listed {
    playlist: String,
    segments: Vec<(String, Vec<u8>)>,
    /// Frames and key frames of the pictures, and frames of sound, as ffprobe counts them in all segments.
    counts: [u64; 3],
}

fn run(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Cuts a clip into segments of a second; none, with the reason printed, where ffmpeg or the clip is missing.
fn listed(name: &str, clip: &str) -> Option<Listed> {
    if Command::new("ffprobe").arg("-version").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("STREAMGAUGE_REQUIRE_PEERS").is_none(), "ffmpeg is not installed");
        println!("skipped: ffmpeg is not installed");
        return None;
    }
    let clip = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(clip);
    if !clip.exists() {
        println!("skipped: {} is not there", clip.display());
        return None;
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ts-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let list = directory.join("index.m3u8");
    let (clip, list) = (clip.to_str().unwrap(), list.to_str().unwrap());
    let options = ["-c", "copy", "-t", "4", "-f", "hls", "-hls_time", "1", "-hls_list_size", "0"];
    run("ffmpeg", &[&["-v", "error", "-y", "-nostdin", "-i", clip], &options[..], &[list]].concat());
    let playlist = fs::read_to_string(list).unwrap();
    let mut counts = [0; 3];
    let mut segments = Vec::new();
    for name in playlist.lines().filter(|line| !line.starts_with('#')) {
        let path = directory.join(name);
        let probed = run(
            "ffprobe",
            &[
                "-v",
                "error",
                "-show_entries",
                "packet=codec_type,flags",
                "-of",
                "csv=p=0",
                path.to_str().unwrap(),
            ],
        );
        for packet in probed.lines() {
            counts[0] += u64::from(packet.starts_with("video"));
            counts[2] += u64::from(packet.starts_with("audio"));
            counts[1] += u64::from(packet.starts_with("video") && packet.contains('K'));
        }
        segments.push((format!("/live/{name}"), fs::read(path).unwrap()));
    }
    assert!(segments.len() > 1, "{playlist}");
    fs::remove_dir_all(directory).unwrap();
    Some(Listed { playlist, segments, counts })
}

fn fetch(writer: &mut Writer, tcp: &mut pcap::Tcp, url: &str, kind: &str, body: &[u8]) {
    writer.send(tcp, Side::Client, format!("GET {url} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    writer.send(tcp, Side::Server, &[head.as_bytes(), body].concat());
}

/// One viewer that gets the playlist, where there is one, and every segment; media types as `kind` says.
fn watched(listed: &Listed, with_playlist: bool, kind: &str) -> Vec<u8> {
    let mut writer = Writer::default();
    let mut tcp = writer.connect(5000, 80);
    if with_playlist {
        let url = "/live/index.m3u8";
        fetch(&mut writer, &mut tcp, url, "application/vnd.apple.mpegurl", listed.playlist.as_bytes());
    }
    for (url, body) in &listed.segments {
        fetch(&mut writer, &mut tcp, url, kind, body);
    }
    writer.close(&mut tcp);
    writer.finish()
}

fn analyze(capture: Vec<u8>) -> Analysis {
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.reader("made", Cursor::new(capture)).unwrap();
    analyzer.finish()
}

fn only(analysis: &Analysis) -> &Session {
    let [session] = &analysis.sessions[..] else { panic!("{:#?}", analysis.sessions) };
    session
}

fn counts(session: &Session) -> [u64; 3] {
    let [video, audio] = &session.tracks[..] else { panic!("{:#?}", session.tracks) };
    assert_eq!((video.kind, audio.kind), (TrackKind::Video, TrackKind::Audio));
    [video.frames, video.key_frames, audio.frames]
}

const CLIP: &str = "scenarios/samples/h264-aac.flv";

#[test]
fn segments_have_the_frames_that_ffprobe_counts() {
    let Some(listed) = listed("plain", CLIP) else { return };
    for kind in ["video/mp2t", "application/octet-stream"] {
        let analysis = analyze(watched(&listed, true, kind));
        let session = only(&analysis);
        assert_eq!((session.protocol, session.transport), (Protocol::Hls, Transport::Http));
        assert_eq!(counts(session), listed.counts);
        assert_eq!(session.segments, Some(listed.segments.len() as u64));
        let [video, audio] = &session.tracks[..] else { panic!("{session:#?}") };
        assert_eq!((video.codec.as_deref(), audio.codec.as_deref()), (Some("h264"), Some("aac")));
        assert!(video.profile.is_some() && video.width.is_some() && video.bytes > 0, "{video:#?}");
        assert_eq!((audio.profile.as_deref(), audio.lost_packets), (Some("LC"), Some(0)));
        assert!(video.jitter_ms.is_none() && session.first_frame_ms.is_some() && session.complete);
        assert!(!analysis.findings.iter().any(|finding| finding.rule.contains("ts.")), "{analysis:#?}");
    }
}

/// The headers say LC; the frames hold spectral band replication, and parametric stereo in the second.
#[test]
fn high_efficiency_sound_is_told_by_its_frames() {
    for (clip, profile, channels) in
        [("h264_heaac_v1.mp4", "HE-AAC", 2), ("h264_heaac_v2.mp4", "HE-AACv2", 2)]
    {
        let Some(listed) = listed(clip, &format!("../shared/media/{clip}")) else { return };
        let analysis = analyze(watched(&listed, true, "video/mp2t"));
        let session = only(&analysis);
        assert_eq!(counts(session), listed.counts, "{clip}");
        let audio = &session.tracks[1];
        assert_eq!((audio.profile.as_deref(), audio.channels), (Some(profile), Some(channels)), "{audio:#?}");
    }
}

#[test]
fn without_a_playlist_it_is_a_session_of_its_own() {
    let Some(listed) = listed("progressive", CLIP) else { return };
    let whole = watched(&listed, false, "video/mp2t");
    // What was sent to the server is missing in the second one.
    let answers: Vec<Vec<u8>> =
        pcap::packets(&whole).into_iter().filter(|packet| packet[16 + 15] == 2).collect();
    let half = pcap::file(&whole, &answers);
    for (capture, path) in [(whole, Some(listed.segments[0].0.trim_start_matches('/'))), (half, None)] {
        let analysis = analyze(capture);
        let session = only(&analysis);
        assert_eq!((session.protocol, session.transport), (Protocol::MpegTs, Transport::Http));
        assert_eq!((session.role, session.path.as_deref()), (Role::Viewer, path));
        assert_eq!(session.client.address.to_string(), "10.0.0.1");
        assert_eq!((session.id.as_str(), session.segments), ("mpegts-1", None));
        assert_eq!(counts(session), listed.counts);
        let media: u64 = listed.segments.iter().map(|(_, body)| body.len() as u64).sum();
        assert!(session.bytes_to_client > media && session.peak_bps.is_some(), "{session:#?}");
    }
    // A page that begins with the same letter, and content that is scrambled, are none.
    for body in [b"Good day to you all. ".repeat(500), (0..=255u8).rev().cycle().take(9000).collect()] {
        let mut writer = Writer::default();
        let mut tcp = writer.connect(5000, 80);
        fetch(&mut writer, &mut tcp, "/a.ts", "video/mp2t", &body);
        writer.close(&mut tcp);
        assert!(analyze(writer.finish()).sessions.is_empty());
    }
}

#[test]
fn what_the_capture_lacks_is_not_what_the_stream_lost() {
    let Some(mut listed) = listed("damaged", CLIP) else { return };
    let whole = watched(&listed, true, "video/mp2t");
    let mut packets = pcap::packets(&whole);
    let long: Vec<usize> = (0..packets.len()).filter(|n| packets[*n].len() > 1400).collect();
    packets.remove(long[long.len() / 2]);
    let analysis = analyze(pcap::file(&whole, &packets));
    let session = only(&analysis);
    let [frames, _, sound] = counts(session);
    let [all, _, all_sound] = listed.counts;
    assert!(frames <= all && frames + 8 >= all, "{frames} of {all} pictures");
    assert!(sound < all_sound && sound + 30 >= all_sound || frames < all, "{sound} of {all_sound}");
    assert!(!session.complete && session.tracks.iter().all(|track| track.lost_packets == Some(0)));

    // A packet that the sender left out is told, with its place.
    let (_, body) = &mut listed.segments[1];
    let inside = |packet: &[u8]| packet[1] & 0x5f == 1 && packet[2] == 0 && packet[3] & 0x30 == 0x10;
    let at = (0..body.len()).step_by(188).filter(|at| inside(&body[*at..])).nth(3).expect("more packets");
    body.drain(at..at + 188);
    let analysis = analyze(watched(&listed, true, "video/mp2t"));
    let lost: Vec<_> = only(&analysis).tracks.iter().map(|track| track.lost_packets).collect();
    assert_eq!(lost, [Some(1), Some(0)]);
    let told = analysis.findings.iter().filter(|finding| finding.rule == spec::ts::CONTINUITY_COUNTER.id);
    assert_eq!(told.count(), 1);
    assert!(only(&analysis).complete);

    // One that ends early does not spoil the next one's.
    let (_, body) = &mut listed.segments[0];
    body.truncate(body.len() / 2 + 7);
    let [frames, ..] = counts(only(&analyze(watched(&listed, true, "video/mp2t"))));
    assert!(frames > all / 2 && frames < all, "{frames} of {all}");
}
