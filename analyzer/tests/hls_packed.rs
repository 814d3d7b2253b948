//! Packed audio as HLS segments, against what ffprobe counts in the same segments.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]

mod pcap;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::{Analysis, Protocol, Session, TrackKind};
use pcap::{Side, Writer};
use streamgauge_analyzer::{Analyzer, Options};

fn run(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A coding, how ffmpeg makes it, and what it has to be told as.
struct Coding {
    name: &'static str,
    input: Vec<String>,
    coded: &'static [&'static str],
    format: &'static str,
    want: (&'static str, Option<&'static str>, u32, u8),
}

/// Segments of a good second each, with a tag before them that tells the time; frames as ffprobe counts them in all.
fn segments(coding: &Coding) -> (Vec<Vec<u8>>, u64) {
    let name = format!("packed-{}-{}", coding.name, std::process::id());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&directory).unwrap();
    let pattern = directory.join("%03d.raw");
    let mut arguments = vec!["-v", "error", "-y", "-nostdin"];
    arguments.extend(coding.input.iter().map(String::as_str));
    arguments.extend(["-t", "4", "-map", "0:a"]);
    arguments.extend(coding.coded);
    let options = if coding.format == "mp3" { "write_xing=0:id3v2_version=0" } else { "" };
    arguments.extend(["-f", "segment", "-segment_time", "1.1", "-segment_format", coding.format]);
    arguments.extend(["-segment_format_options", options, pattern.to_str().unwrap()]);
    run("ffmpeg", &arguments);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let reader = if coding.format == "adts" { "aac" } else { coding.format };
    let shown = ["-v", "error", "-show_entries", "packet=duration_time", "-of", "csv=p=0", "-f", reader];
    let (mut segments, mut frames, mut seconds, mut each) = (Vec::new(), 0, 95_442.0, 0.0);
    for file in &files {
        let probed = run("ffprobe", &[&shown[..], &[file.to_str().unwrap()]].concat());
        // The clock of 33 bits wraps on the way.
        segments.push([tag((seconds * 90_000.0) as u64 % (1 << 33)), fs::read(file).unwrap()].concat());
        for line in probed.lines() {
            let Some(lasts) = line.split(',').next().filter(|lasts| !lasts.is_empty()) else { continue };
            frames += 1;
            // Of a frame alone ffprobe does not tell how long it lasts: as long as those before.
            each = lasts.parse::<f64>().unwrap_or(each);
            seconds += each;
        }
    }
    fs::remove_dir_all(directory).unwrap();
    assert!(segments.len() > 2 && frames > 80, "{}: {frames} frames", coding.name);
    (segments, frames)
}

/// An ID3 tag with the private frame of RFC 8216 §3.4.
fn tag(time: u64) -> Vec<u8> {
    let content = [&b"com.apple.streaming.transportStreamTimestamp\0"[..], &time.to_be_bytes()].concat();
    let frame = [&b"PRIV\0\0\0"[..], &[content.len() as u8, 0, 0], &content].concat();
    [&b"ID3\x04\0\0\0\0\0"[..], &[frame.len() as u8], &frame].concat()
}

/// One viewer of all segments.
fn watched(segments: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = Writer::default();
    let mut tcp = writer.connect(5000, 80);
    let mut fetch = |url: &str, body: &[u8]| {
        writer.send(&mut tcp, Side::Client, format!("GET {url} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        writer.send(&mut tcp, Side::Server, &[head.as_bytes(), body].concat());
    };
    let mut playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n".to_owned();
    (0..segments.len()).for_each(|n| playlist.push_str(&format!("#EXTINF:1.1,\n{n}.aac\n")));
    fetch("/live/index.m3u8", format!("{playlist}#EXT-X-ENDLIST\n").as_bytes());
    for (n, body) in segments.iter().enumerate() {
        fetch(&format!("/live/{n}.aac"), body);
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

#[test]
fn packed_audio_has_the_frames_that_ffprobe_counts() {
    if Command::new("ffprobe").arg("-version").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("STREAMGAUGE_REQUIRE_PEERS").is_none(), "ffmpeg is not installed");
        println!("skipped: ffmpeg is not installed");
        return;
    }
    let sine =
        |rate: u32| ["-f", "lavfi", "-i", &format!("sine=sample_rate={rate}")].map(str::to_owned).to_vec();
    let mut codings = vec![
        Coding {
            name: "aac",
            input: sine(44_100),
            coded: &["-c:a", "aac", "-ac", "2"],
            format: "adts",
            want: ("aac", Some("LC"), 44_100, 2),
        },
        // A low rate alone makes no HE-AAC.
        Coding {
            name: "low",
            input: sine(24_000),
            coded: &["-c:a", "aac", "-ac", "1"],
            format: "adts",
            want: ("aac", Some("LC"), 24_000, 1),
        },
        Coding {
            name: "mp3",
            input: sine(44_100),
            coded: &["-c:a", "libmp3lame", "-ac", "2"],
            format: "mp3",
            want: ("mp3", None, 44_100, 2),
        },
        Coding {
            name: "ac3",
            input: sine(48_000),
            coded: &["-c:a", "ac3", "-ac", "2"],
            format: "ac3",
            want: ("ac3", None, 48_000, 2),
        },
        Coding {
            name: "eac3",
            input: sine(48_000),
            coded: &["-c:a", "eac3", "-ac", "2"],
            format: "eac3",
            want: ("eac3", None, 48_000, 2),
        },
    ];
    let clip = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/media/h264_heaac_v1.mp4");
    if clip.exists() {
        let input = vec!["-i".to_owned(), clip.to_str().unwrap().to_owned()];
        codings.push(Coding {
            name: "heaac",
            input,
            coded: &["-c:a", "copy"],
            format: "adts",
            want: ("aac", Some("HE-AAC"), 48_000, 2),
        });
    } else {
        println!("skipped: {} is not there", clip.display());
    }
    for coding in &codings {
        let (mut segments, frames) = segments(coding);
        let analysis = analyze(watched(&segments));
        let session = only(&analysis);
        let what = format!("{}: {session:#?}", coding.name);
        assert_eq!(session.protocol, Protocol::Hls, "{what}");
        assert!(session.complete && session.first_frame_ms.is_some(), "{what}");
        let [track] = &session.tracks[..] else { panic!("{what}") };
        let (codec, profile, rate, channels) = coding.want;
        assert_eq!(
            (track.kind, track.codec.as_deref(), track.profile.as_deref()),
            (TrackKind::Audio, Some(codec), profile),
            "{what}"
        );
        assert_eq!(
            (track.sample_rate, track.channels, track.frames),
            (Some(rate), Some(channels), frames),
            "{what}"
        );
        // The tags are not media, and the times that they tell join the segments.
        let media: u64 =
            segments.iter().map(|segment| segment.len() as u64).sum::<u64>() - 73 * segments.len() as u64;
        let seconds = media as f64 * 8.0 / track.bps.unwrap();
        assert!(track.bytes == media && (3.8..4.2).contains(&seconds), "{seconds} s of {what}");

        // What the capture lacks costs the frames around it.
        let whole = watched(&segments);
        let mut packets = pcap::packets(&whole);
        let is_head = |packet: &[u8]| packet.windows(4).any(|bytes| bytes == b"HTTP");
        let inside = |n: &usize| packets[*n].len() > 1400 && !is_head(&packets[*n]);
        let long: Vec<usize> = (0..packets.len()).filter(inside).collect();
        packets.remove(long[long.len() / 2]);
        let damaged = analyze(pcap::file(&whole, &packets));
        let [track] = &only(&damaged).tracks[..] else { panic!("{}: {damaged:#?}", coding.name) };
        assert!(
            track.frames < frames && track.frames + 40 > frames && track.profile.as_deref() == profile,
            "{track:#?}"
        );

        // Without tags the frames are the same, and the segments follow each other.
        segments.iter_mut().for_each(|segment| drop(segment.drain(..73)));
        let untagged = analyze(watched(&segments));
        let [track] = &only(&untagged).tracks[..] else { panic!("{}", coding.name) };
        let seconds = media as f64 * 8.0 / track.bps.unwrap();
        assert!(track.frames == frames && (3.8..4.2).contains(&seconds), "{seconds}");
    }
}

#[test]
fn what_is_no_packed_audio_makes_no_track() {
    for body in [
        b"IDEAS for the day. ".repeat(90),
        [&[0xff, 0xfe][..], &[b'a', 0].repeat(900)].concat(),
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f".repeat(99),
    ] {
        let analysis = analyze(watched(&[body]));
        assert!(only(&analysis).tracks.is_empty(), "{analysis:#?}");
    }
}
