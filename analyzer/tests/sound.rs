//! Sound and pictures inside RTP and HLS segments, against what other programs make of the same clips.
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
use std::sync::Arc;

use bytes::Bytes;
use media::rtp::{Sender, packetize};
use media::{Codec, Frame, Track};
use model::{Analysis, Session, TrackKind};
use pcap::{Side, Writer};
use streamgauge_analyzer::{Analyzer, Options};

/// A clip beside the project; none where those are absent.
fn clip(name: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/media").join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path.to_str().unwrap().to_owned())
}

/// False where ffmpeg is not installed and need not be.
fn has_ffmpeg() -> bool {
    let found = Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status().is_ok();
    if !found {
        assert!(std::env::var_os("STREAMGAUGE_REQUIRE_PEERS").is_none(), "ffmpeg is not installed");
        println!("skipped: ffmpeg is not installed");
    }
    found
}

fn ffmpeg(arguments: &[&str]) {
    let status =
        Command::new("ffmpeg").args(["-v", "error", "-y", "-nostdin"]).args(arguments).status().unwrap();
    assert!(status.success(), "ffmpeg {arguments:?}");
}

fn fresh(name: &str) -> PathBuf {
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sound-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// A tone at 24 kHz, plain LC.
const TONE: [&str; 8] =
    ["-f", "lavfi", "-t", "4", "-i", "sine=frequency=440:sample_rate=24000", "-c:a", "aac"];

fn analyze(capture: Vec<u8>) -> Analysis {
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.reader("made", Cursor::new(capture)).unwrap();
    analyzer.finish()
}

/// Profile, rate and channels of a session's sound, and what is said of its configuration.
fn sound(session: &Session) -> (Option<&str>, Option<u32>, Option<u8>, Option<&str>) {
    let track = session.tracks.iter().find(|track| track.kind == TrackKind::Audio).unwrap();
    let declared = track.declared.as_ref().and_then(|declared| declared.get("AudioSpecificConfig"));
    (track.profile.as_deref(), track.sample_rate, track.channels, declared.map(String::as_str))
}

/// The raw frames of an ADTS stream.
fn adts(bytes: &[u8]) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while let [0xff, flags, _, high, middle, low, ..] = rest {
        let length = usize::from(high & 3) << 11 | usize::from(*middle) << 3 | usize::from(low >> 5);
        let head = if flags & 1 == 1 { 7 } else { 9 };
        frames.push(Bytes::copy_from_slice(&rest[head..length]));
        rest = &rest[length..];
    }
    assert!(rest.is_empty() && frames.len() > 20);
    frames
}

/// A capture of a viewer to whom these frames of 24 kHz are sent in the RTSP connection.
fn played(frames: &[Bytes], config: [u8; 2]) -> Vec<u8> {
    let mut writer = Writer::default();
    let mut tcp = writer.connect(40_000, 554);
    let hex = format!("{:02x}{:02x}", config[0], config[1]);
    let sdp = format!(
        "v=0\r\no=- 0 0 IN IP4 0\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 96\r\na=rtpmap:96 mpeg4-generic/24000/2\r\n\
         a=fmtp:96 mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config={hex}\r\na=control:a\r\n"
    );
    let described = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    let asked = [
        ("DESCRIBE rtsp://h/live/a", "", described.as_str()),
        ("SETUP rtsp://h/live/a/a", transport, &format!("Session: 1\r\n{transport}\r\n")),
        ("PLAY rtsp://h/live/a", "Session: 1\r\n", "Session: 1\r\n\r\n"),
    ];
    for (number, (request, fields, answer)) in asked.into_iter().enumerate() {
        let request = format!("{request} RTSP/1.0\r\nCSeq: {number}\r\n{fields}\r\n");
        writer.send(&mut tcp, Side::Client, request.as_bytes());
        let answer = format!("RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{answer}");
        writer.send(&mut tcp, Side::Server, answer.as_bytes());
    }
    let track = Arc::new(Track {
        codec: Codec::Aac,
        config: Bytes::copy_from_slice(&config),
        clock: 24_000,
        flv_flags: None,
        description: String::new(),
    });
    let mut sender = Sender::new(&track, 0, 7).unwrap();
    for (n, payload) in (0i64..).zip(frames) {
        let pts = n * 1024;
        let frame = Frame { track: track.clone(), dts: pts, pts, key: true, payload: payload.clone() };
        let timestamp = sender.timestamp(&frame);
        for piece in packetize(&frame, 1400) {
            let header = sender.header(timestamp, &piece);
            let length = u16::try_from(header.len() + piece.payload.len()).unwrap().to_be_bytes();
            let block = [&[b'$', 0], &length[..], &header, &piece.payload].concat();
            writer.send(&mut tcp, Side::Server, &block);
        }
    }
    writer.close(&mut tcp);
    writer.finish()
}

#[test]
fn sbr_and_ps_are_found_behind_plain_descriptions_of_rtp() {
    let told = |frames: &[Bytes], config| {
        let analysis = analyze(played(frames, config));
        let [session] = &analysis.sessions[..] else { panic!("{:?}", analysis.sessions) };
        assert_eq!(session.tracks[0].frames, frames.len() as u64);
        let (profile, rate, channels, declared) = sound(session);
        (profile.map(str::to_owned), rate, channels, declared.map(str::to_owned))
    };
    let (Some(v1), Some(v2)) = (clip("he_aac_v1.adts"), clip("he_aac_v2.adts")) else { return };
    let (v1, v2) = (adts(&fs::read(v1).unwrap()), adts(&fs::read(v2).unwrap()));
    let of = |profile: &str, channels, declared: Option<&str>, rate| {
        (Some(profile.to_owned()), Some(rate), Some(channels), declared.map(str::to_owned))
    };
    assert_eq!(told(&v1, [0x13, 0x10]), of("HE-AAC", 2, Some("LC 24000 Hz, 2 channel(s)"), 48_000));
    assert_eq!(told(&v2, [0x13, 0x08]), of("HE-AACv2", 2, Some("LC 24000 Hz, 1 channel(s)"), 48_000));
    if !has_ffmpeg() {
        return;
    }
    let directory = fresh("rtp");
    let tone = directory.join("tone.adts");
    ffmpeg(&[&TONE[..], &[tone.to_str().unwrap()]].concat());
    assert_eq!(told(&adts(&fs::read(tone).unwrap()), [0x13, 0x08]), of("LC", 1, None, 24_000));
    fs::remove_dir_all(directory).unwrap();
}

/// A segment's name and its bytes.
type Segment = (String, Vec<u8>);

/// Makes a playlist with segments of a clip; the initialization section, and the segments by name.
fn segments(name: &str, input: &[&str]) -> (String, Vec<u8>, Vec<Segment>) {
    let directory = fresh(name);
    let playlist = directory.join("index.m3u8");
    let form = ["-f", "hls", "-hls_time", "2", "-hls_segment_type", "fmp4", "-hls_playlist_type", "vod"];
    ffmpeg(&[input, &form, &[playlist.to_str().unwrap()]].concat());
    let list = fs::read_to_string(playlist).unwrap();
    let names = list.lines().filter(|line| line.ends_with(".m4s")).map(str::to_owned);
    let segments = names.map(|name| (name.clone(), fs::read(directory.join(name)).unwrap())).collect();
    let init = fs::read(directory.join("init.mp4")).unwrap();
    fs::remove_dir_all(directory).unwrap();
    (list, init, segments)
}

/// A capture of a viewer who fetches these.
fn fetched(list: &str, init: &[u8], segments: &[Segment]) -> Vec<u8> {
    let mut writer = Writer::default();
    let mut tcp = writer.connect(40_000, 80);
    let head = [("index.m3u8", list.as_bytes()), ("init.mp4", init)];
    for (name, body) in
        head.into_iter().chain(segments.iter().map(|(name, body)| (name.as_str(), body.as_slice())))
    {
        writer.send(
            &mut tcp,
            Side::Client,
            format!("GET /live/a/{name} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(),
        );
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        writer.send(&mut tcp, Side::Server, &[answer.as_bytes(), body].concat());
    }
    writer.close(&mut tcp);
    writer.finish()
}

#[test]
fn sbr_and_ps_are_found_in_segments() {
    if !has_ffmpeg() {
        return;
    }
    let (Some(v1), Some(v2)) = (clip("h264_heaac_v1.mp4"), clip("h264_heaac_v2.mp4")) else { return };
    let copy = |path| vec!["-i", path, "-c", "copy"];
    for (name, input, want) in [
        ("v1", copy(&v1), (Some("HE-AAC"), Some(48_000), Some(2), Some("LC 24000 Hz, 2 channel(s)"))),
        ("v2", copy(&v2), (Some("HE-AACv2"), Some(48_000), Some(2), Some("LC 24000 Hz, 1 channel(s)"))),
        ("lc", TONE.to_vec(), (Some("LC"), Some(24_000), Some(1), None)),
    ] {
        let (list, init, segments) = segments(name, &input);
        let analysis = analyze(fetched(&list, &init, &segments));
        let [session] = &analysis.sessions[..] else { panic!("{name}: {:?}", analysis.sessions) };
        assert_eq!(sound(session), want, "{name}");
    }
}

/// Packets of each stream as ffprobe counts them, video first.
fn probed(name: &str, file: &[u8]) -> Vec<u64> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.mp4", std::process::id()));
    fs::write(&path, file).unwrap();
    let entries = ["-show_entries", "stream=codec_type,nb_read_packets", "-of", "csv=p=0"];
    let out = Command::new("ffprobe")
        .args(["-v", "error", "-count_packets"])
        .args(entries)
        .arg(&path)
        .output()
        .unwrap();
    fs::remove_file(path).unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let mut rows: Vec<(&str, u64)> = text
        .lines()
        .map(|line| line.trim_end_matches(',').split_once(',').unwrap())
        .map(|(kind, count)| (kind, count.parse().unwrap()))
        .collect();
    rows.sort_by_key(|(kind, _)| *kind != "video");
    rows.into_iter().map(|(_, count)| count).collect()
}

#[test]
fn segments_hold_the_samples_that_ffprobe_counts() {
    if !has_ffmpeg() {
        return;
    }
    for name in ["h264_aac.mp4", "h265_aac.mp4"] {
        let Some(path) = clip(name) else { return };
        let (list, init, segments) = segments(name, &["-i", &path, "-c", "copy"]);
        assert!(segments.len() >= 3, "{name}");
        let mut sum = vec![0, 0];
        for one in &segments {
            let analysis = analyze(fetched(&list, &init, std::slice::from_ref(one)));
            let told: Vec<u64> = analysis.sessions[0].tracks.iter().map(|track| track.frames).collect();
            assert_eq!(told, probed(name, &[init.as_slice(), &one.1].concat()), "{name} {}", one.0);
            sum.iter_mut().zip(told).for_each(|(sum, told)| *sum += told);
        }
        let whole = analyze(fetched(&list, &init, &segments));
        let told: Vec<u64> = whole.sessions[0].tracks.iter().map(|track| track.frames).collect();
        assert_eq!(told, sum, "{name}");
        assert_eq!(whole.findings, [], "{name}");
    }
}
