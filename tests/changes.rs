//! A publisher that changes its codec configuration without ending the stream, as an encoder does that is started again
//! behind a switcher: what every kind of viewer and the recording get.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod common;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::flv::{self, AUDIO, Tag, VIDEO};
use common::peer::{Peer, output};
use common::playlists::{List, Variant};
use common::rml::{Publisher, Viewer};
use common::rtsp::Hand;
use common::server::Server;
use common::{PROGRAM, http, installed, wait_until};
use serde_json::Value;

/// Pictures of every clip, two groups of them; with a constant rate of 25 that is two seconds.
const PICTURES: usize = 50;

/// A clip with B-frames and a tone.
fn make(directory: &Path, name: &str, size: &str, rate: &str, channels: &str) -> PathBuf {
    let file = directory.join(format!("{name}.flv"));
    let (picture, tone) = (format!("testsrc2=size={size}:rate=25"), format!("sine=sample_rate={rate}"));
    let arguments = ["-nostdin", "-v", "error", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone];
    let video =
        ["-t", "2", "-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-g", "25", "-bf", "2"];
    let audio = ["-sc_threshold", "0", "-pix_fmt", "yuv420p", "-c:a", "aac", "-ac", channels, "-f", "flv"];
    output("ffmpeg", &[&arguments[..], &video, &audio, &[file.to_str().unwrap()]].concat());
    file
}

/// Its messages, from a time on; all but the one that says it is over.
fn part(file: &Path, begin: u32) -> Vec<Tag> {
    let media = flv::tags(file).into_iter().filter(|t| t.kind == AUDIO || t.kind == VIDEO);
    let going = media.filter(|t| t.kind == AUDIO || t.body[1] != 2);
    going.map(|t| Tag { time: t.time + begin, ..t }).collect()
}

/// Sizes of the pictures as ffprobe decodes them, each with how many follow each other.
fn sizes(file: &Path) -> Vec<(String, usize)> {
    let file = file.to_str().unwrap();
    let arguments = ["-v", "error", "-select_streams", "v", "-show_entries", "frame=width,height"];
    let text = output("ffprobe", &[&arguments[..], &["-of", "csv=p=0", file]].concat());
    let mut sizes: Vec<(String, usize)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let size = line.split(',').take(2).collect::<Vec<_>>().join("x");
        match sizes.last_mut() {
            Some((last, count)) if *last == size => *count += 1,
            _ => sizes.push((size, 1)),
        }
    }
    sizes
}

/// Decodes all of it; ffmpeg must have nothing to complain about. Gives the number of pictures.
fn decodes(input: &str) -> usize {
    let run = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-progress", "-", "-i", input, "-f", "null", "-"])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&run.stderr).into_owned();
    let broken = words.lines().any(|line| line.contains("h264") || line.contains("aac"));
    assert!(run.status.success() && !broken, "{input}: {words}");
    let told = String::from_utf8_lossy(&run.stdout).into_owned();
    told.lines().filter_map(|line| line.strip_prefix("frame=")).next_back().unwrap().trim().parse().unwrap()
}

fn start(directory: &Path) -> Server {
    let file = directory.join("serve.toml");
    let recordings = directory.join("rec");
    let text = format!("[hls]\nsegment = \"1s\"\nwindow = 30\n[record]\ndir = {recordings:?}\n");
    std::fs::write(&file, text).unwrap();
    let tap = directory.join("tap.pcapng");
    Server::start(&["--config", file.to_str().unwrap(), "--tap", tap.to_str().unwrap()])
}

/// ffmpeg plays over RTSP and keeps the pictures as they came, parameter sets included.
fn ffmpeg_keeps_pictures(directory: &Path, url: &str) -> (Peer, PathBuf) {
    let out = directory.join("played.h264");
    let arguments = ["-nostdin", "-rtsp_transport", "tcp", "-i", url, "-map", "0:v", "-c", "copy"];
    let target = ["-bsf:v", "null", "-y", "-f", "h264", out.to_str().unwrap()];
    (Peer::start(directory, "ffmpeg-rtsp", "ffmpeg", &[&arguments[..], &target].concat()), out)
}

fn describe(server: &Server, url: &str) -> String {
    let mut hand = Hand::connect(server.rtsp.unwrap());
    let head = hand.asks_well("DESCRIBE", url, "Accept: application/sdp\r\n", "");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    hand.io.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

/// What a viewer has to get: frames as they were sent, and each header that says something new.
#[track_caller]
fn same(sent: &[Tag], got: &[Tag]) {
    for kind in [VIDEO, AUDIO] {
        let of = |tags: &[Tag]| -> Vec<(bool, u32, Vec<u8>)> {
            let tags = tags.iter().filter(|t| t.kind == kind);
            tags.map(|t| (t.is_config(), if t.is_config() { 0 } else { t.time }, t.body.clone())).collect()
        };
        let (mut sent, got) = (of(sent), of(got));
        let mut header = Vec::new();
        sent.retain(|(is_header, _, body)| {
            !is_header || std::mem::replace(&mut header, body.clone()) != *body
        });
        let differs = sent.iter().zip(&got).position(|(a, b)| a != b);
        assert_eq!((differs, got.len()), (None, sent.len()), "messages of type {kind}");
    }
}

#[test]
fn every_viewer_goes_on_with_what_an_encoder_became() {
    if !installed(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let small = part(&make(directory, "small", "320x180", "48000", "2"), 0);
    let large = part(&make(directory, "large", "640x360", "48000", "2"), 2000);
    let other = part(&make(directory, "other", "640x360", "44100", "1"), 4000);
    let server = start(directory);
    let rtsp = format!("rtsp://{}/live/cam", server.rtsp.unwrap());

    let mut publisher = Publisher::start(server.rtmp, "live", "cam").unwrap();
    let witness = Viewer::start(server.rtmp, "live", "cam").unwrap();
    // A header that is sent again means nothing.
    let mut again = small.clone();
    let headers: Vec<Tag> = small.iter().filter(|t| t.is_config()).cloned().collect();
    let middle = again.iter().rposition(Tag::is_key_frame).unwrap();
    again.splice(middle..middle, headers.into_iter().map(|t| Tag { time: small[middle].time, ..t }));
    publisher.send_watched(&again, &witness).unwrap();
    let (player, played) = ffmpeg_keeps_pictures(directory, &rtsp);
    wait_until("the RTSP player", || {
        server.clients("viewer", "live/cam").iter().any(|c| c["protocol"] == "rtsp")
    });
    let before = describe(&server, &rtsp);

    // Other pictures: everybody goes on.
    publisher.send_watched(&large, &witness).unwrap();
    let after = describe(&server, &rtsp);
    let line = |sdp: &str, what: &str| sdp.lines().find(|line| line.contains(what)).unwrap().to_owned();
    assert_ne!(line(&before, "sprop-parameter-sets"), line(&after, "sprop-parameter-sets"));
    assert_eq!(line(&before, "mpeg4-generic"), line(&after, "mpeg4-generic"));
    let late = Viewer::start(server.rtmp, "live", "cam").unwrap();
    late.wait_pictures(1);
    let first: Vec<Tag> = late.now().tags.into_iter().filter(|t| t.kind == VIDEO).take(2).collect();
    assert!(first[0].is_config() && first[1].is_key_frame());
    let newest = large.iter().find(|t| t.kind == VIDEO && t.is_config()).unwrap();
    assert_eq!(first[0].body, newest.body, "who comes late gets the newest header alone");
    late.leave();

    // Other sound: RTSP cannot tell its players, who come again and ask. This one has had the pictures before.
    let bytes: usize = large.iter().map(|tag| tag.body.len()).sum();
    wait_until("the RTSP player to have other pictures", || {
        let sent = server.clients("viewer", "live/cam").into_iter().filter(|c| c["protocol"] == "rtsp");
        sent.filter_map(|c| c["bytes_out"].as_u64()).max() > u64::try_from(bytes).ok()
    });
    publisher.send_watched(&other, &witness).unwrap();
    player.ended_well();
    let sdp = describe(&server, &rtsp);
    assert!(line(&sdp, "mpeg4-generic").contains("/44100"), "{sdp}");
    publisher.finish().unwrap();
    let got = witness.watched();
    same(&[&again[..], &large, &other].concat(), &got.tags);
    let sizes_played = sizes(&played);
    assert_eq!(sizes_played.len(), 2, "{sizes_played:?}");
    assert!(sizes_played[0].0 == "320x180" && sizes_played[1].0 == "640x360", "{sizes_played:?}");
    assert!(sizes_played[1].1 >= PICTURES, "{sizes_played:?}");

    hls(&server, directory);
    wait_until("the recordings to be finished", || {
        let list = server.list("recordings");
        list.len() == 3 && list.iter().all(|r| r["state"] == "finished")
    });
    let mut list = server.list("recordings");
    list.sort_by_key(|r| r["file"].as_str().unwrap().to_owned());
    let told = |n: usize| -> Vec<String> {
        let tracks = list[n]["tracks"].as_array().unwrap();
        tracks
            .iter()
            .map(|t| t["description"].as_str().unwrap().rsplit(' ').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        (told(0), told(1)),
        (["320x180".into(), "stereo".into()].into(), ["640x360".into(), "stereo".into()].into())
    );
    assert_eq!(told(2), ["640x360", "mono"]);
    for recording in &list {
        assert_eq!(decodes(recording["file"].as_str().unwrap()), PICTURES, "{recording}");
    }
    let log = server.stop();
    assert!(log.contains("told BYE") && log.contains("AAC-LC 44100 Hz mono"), "{log}");
    analyzed(directory);
}

/// The list, ffmpeg that reads it, and what the browser is told.
fn hls(server: &Server, directory: &Path) {
    let index = format!("http://{}/live/cam/index.m3u8", server.hls);
    let media = || List::read(&http::get(server.hls, "/live/cam/stream.m3u8").text());
    wait_until("the list to end", || media().ended);
    let multivariant = http::get(server.hls, "/live/cam/index.m3u8").text();
    let variant = Variant::read(&multivariant);
    assert_eq!((variant.size, variant.codecs.as_str()), ((640, 360), "avc1.64001e,mp4a.40.2"));
    let list = media();
    let broken: Vec<usize> = (0..list.segments.len()).filter(|n| list.segments[*n].broken).collect();
    assert_eq!((list.segments.len(), broken), (6, vec![2, 4]), "{list:?}");
    for (n, segment) in list.segments.iter().enumerate() {
        let fetch = |uri: &str| http::get(server.hls, &format!("/live/cam/{uri}")).body;
        let file = directory.join(format!("{n}.mp4"));
        std::fs::write(&file, [fetch(&segment.map), fetch(&segment.uri)].concat()).unwrap();
        let size = if n < 2 { "320x180" } else { "640x360" };
        assert_eq!(sizes(&file), [(size.to_owned(), PICTURES / 2)], "segment {n}");
        assert_eq!(segment.map == list.segments[0].map, n < 2);
    }
    // ffmpeg reads the first initialisation section alone.
    let out = directory.join("hls.h264");
    let arguments = ["-nostdin", "-v", "error", "-live_start_index", "0", "-i", &index, "-map", "0:v"];
    let target = ["-c", "copy", "-y", "-f", "h264", out.to_str().unwrap()];
    output("ffmpeg", &[&arguments[..], &target].concat());
    assert_eq!(sizes(&out), [("320x180".to_owned(), PICTURES), ("640x360".to_owned(), 2 * PICTURES)]);
}

/// What was on the wire, by the analyzer: every frame, and nothing that breaks a rule.
fn analyzed(directory: &Path) {
    let tap = directory.join("tap.pcapng");
    let text = output(PROGRAM, &["analyze", tap.to_str().unwrap(), "--format", "json"]);
    let analysis: Value = serde_json::from_str(&text).unwrap();
    let findings = analysis["findings"].as_array().unwrap();
    assert!(findings.iter().all(|f| f["severity"] != "error" && f["severity"] != "warning"), "{findings:?}");
    let sessions = analysis["sessions"].as_array().unwrap();
    let pictures = |session: &Value| -> u64 {
        let tracks = session["tracks"].as_array().unwrap().iter().filter(|t| t["kind"] == "video");
        tracks.map(|t| t["frames"].as_u64().unwrap()).sum()
    };
    let all = 3 * PICTURES as u64;
    let publisher = sessions.iter().find(|s| s["role"] == "publisher").unwrap();
    assert_eq!(pictures(publisher), all);
    let track = publisher["tracks"].as_array().unwrap().iter().find(|t| t["kind"] == "video").unwrap();
    assert_eq!(
        (&track["width"], &track["reported"]["changed_from"]),
        (&640.into(), &"H.264 High 1.2 320x180 (50 frames)".into())
    );
    let witness = sessions.iter().filter(|s| s["protocol"] == "rtmp" && s["role"] == "viewer");
    assert_eq!(witness.map(pictures).max(), Some(all));
    let hls = sessions.iter().filter(|s| s["protocol"] == "hls").map(pictures).max();
    assert_eq!(hls, Some(all));
}

/// Encoders that send parameter sets with their pictures alone: over RTMP behind the sequence header of the first ones, and
/// over RTSP.
#[test]
fn parameter_sets_among_the_pictures_count() {
    if !installed(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut joined = Vec::new();
    for (name, size, begin) in [("small", "320x180", "0"), ("large", "640x360", "2")] {
        let (clip, ts) = (make(directory, name, size, "48000", "2"), directory.join(format!("{name}.ts")));
        let arguments = ["-nostdin", "-v", "error", "-i", clip.to_str().unwrap(), "-an", "-c", "copy"];
        let target = ["-output_ts_offset", begin, "-f", "mpegts", ts.to_str().unwrap()];
        output("ffmpeg", &[&arguments[..], &target].concat());
        joined.extend(std::fs::read(ts).unwrap());
    }
    let file = directory.join("joined.ts");
    std::fs::write(&file, joined).unwrap();
    let server = start(directory);
    let rtsp = format!("rtsp://{}/live/rtsp", server.rtsp.unwrap());
    let rtmp = server.url("live/rtmp");
    let input = ["-nostdin", "-re", "-i", file.to_str().unwrap(), "-map", "0:v", "-c", "copy"];
    let ways =
        [("rtmp", vec!["-f", "flv", &rtmp]), ("rtsp", vec!["-f", "rtsp", "-rtsp_transport", "tcp", &rtsp])];
    let publishers =
        ways.map(|(name, to)| Peer::start(directory, name, "ffmpeg", &[&input[..], &to].concat()));
    publishers.into_iter().for_each(|publisher| drop(publisher.ended_well()));
    for path in ["live/rtmp", "live/rtsp"] {
        let of = |list: Vec<Value>| -> Vec<PathBuf> {
            let ended = list.into_iter().filter(|r| r["path"] == path && r["state"] == "finished");
            let mut files: Vec<PathBuf> = ended.map(|r| r["file"].as_str().unwrap().into()).collect();
            files.sort();
            files
        };
        wait_until("both recordings", || of(server.list("recordings")).len() == 2);
        let files = of(server.list("recordings"));
        for (file, size) in files.iter().zip(["320x180", "640x360"]) {
            assert_eq!(decodes(file.to_str().unwrap()), PICTURES);
            assert_eq!(sizes(file), [(size.to_owned(), PICTURES)], "{path}");
        }
        let media = || List::read(&http::get(server.hls, &format!("/{path}/stream.m3u8")).text());
        wait_until("the list to end", || media().ended);
        let list = media();
        assert_eq!(list.segments.iter().filter(|s| s.broken).count(), 1, "{path}: {list:?}");
    }
    server.stop();
}
