//! `streamgauge publish`: what a real player gets is what the file holds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::string_slice
)]

mod common;

use std::path::Path;
use std::process::Command;

use common::frames::{framemd5, part, parts};
use common::peer::{Peer, ffmpeg_watches, interrupt, output};
use common::server::Server;
use common::{PROGRAM, clip, installed, wait_until};

/// Publishes `file` once while ffmpeg, which came before, watches; compares with ffmpeg's reading of the file.
fn arrives_whole(name: &str, file: &Path, directory: &Path) {
    let (reader, out) = ffmpeg_watches(directory, &format!("{name}-file"), file.to_str().unwrap());
    reader.ended_well();
    let mut whole = framemd5(&out);
    // framemd5 does not say where a decoder can start; the first picture of the file is such a place.
    whole.video[0].key = true;

    let server = Server::start(&[]);
    let path = format!("live/{name}");
    let url = server.url(&path);
    let (viewer, seen) = ffmpeg_watches(directory, &format!("{name}-viewer"), &url);
    server.wait_viewers(&path, 1);
    output(PROGRAM, &["publish", file.to_str().unwrap(), &url]);
    viewer.ended_well();
    let got = framemd5(&seen);
    let parts = parts(name, &whole, &got);
    assert_eq!((parts.video.first, parts.video.end), (0, whole.video.len()), "{name}: all pictures");
    assert_eq!((parts.audio.first, parts.audio.end), (0, whole.audio.len()), "{name}: all audio frames");
    server.stop();
}

#[test]
fn flv_and_mp4_files_arrive_frame_for_frame() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for name in ["short.flv", "short.mp4", "fragmented.mp4"] {
        let flags = if name == "fragmented.mp4" { "frag_keyframe+empty_moov" } else { "faststart" };
        let file = directory.join(name);
        let mut remux = Command::new("ffmpeg");
        remux.args([
            "-loglevel",
            "error",
            "-nostdin",
            "-i",
            clip().to_str().unwrap(),
            "-t",
            "3",
            "-c",
            "copy",
        ]);
        if name.ends_with("mp4") {
            remux.args(["-movflags", flags]);
        }
        assert!(remux.arg(&file).status().unwrap().success());
        arrives_whole(&name.replace('.', "-"), &file, directory);
    }
}

/// Transport streams and ADTS hold the clip's frames with other wrapping, and configuration that is written anew.
#[test]
fn transport_streams_and_adts_arrive_frame_for_frame() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let server = Server::start(&[]);
    for (name, left, rtsp) in
        [("short.ts", "-sn", false), ("short.ts", "-sn", true), ("sound.aac", "-vn", false)]
    {
        let [file, like] = [name, "like.flv"].map(|name| directory.join(name));
        for file in [&file, &like] {
            let remux = ["-i", clip().to_str().unwrap(), left, "-t", "3", "-c", "copy"].map(str::to_owned);
            let quiet = ["-loglevel", "error", "-nostdin", "-y"].map(str::to_owned);
            output("ffmpeg", &[&quiet[..], &remux, &[file.to_str().unwrap().to_owned()]].concat());
        }
        let (reader, out) = ffmpeg_watches(directory, "like", like.to_str().unwrap());
        reader.ended_well();
        let whole = framemd5(&out);
        let path = format!("live/{rtsp}-{}", name.replace('.', "-"));
        let (viewer, seen) = ffmpeg_watches(directory, "viewer", &server.url(&path));
        server.wait_viewers(&path, 1);
        let url = if rtsp { format!("rtsp://{}/{path}", server.rtsp.unwrap()) } else { server.url(&path) };
        output(PROGRAM, &["publish", file.to_str().unwrap(), &url]);
        viewer.ended_well();
        let got = framemd5(&seen);
        let mut offsets = Vec::new();
        for (kind, want, have) in [("video", &whole.video, &got.video), ("audio", &whole.audio, &got.audio)] {
            if !want.is_empty() {
                let part = part(&format!("{name}, {kind}"), want, have);
                assert_eq!((part.first, part.end), (0, want.len()), "{name}: all of the {kind}");
                offsets.push(part.offset);
            }
        }
        assert!(offsets.iter().all(|offset| (offset - offsets[0]).abs() <= 1), "{name}: {offsets:?}");
        assert_eq!(offsets.len(), if left == "-vn" { 1 } else { 2 });
    }
    server.stop();
}

/// A server that answers one request with OPTIONS' answer and the next with `status`.
fn refuses(status: &'static str) -> (std::net::SocketAddr, std::thread::JoinHandle<()>) {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answers = move || {
        let (stream, _) = listener.accept().unwrap();
        let mut io = BufReader::new(stream);
        for (n, status) in ["200 OK", status].into_iter().enumerate() {
            let (mut line, mut length) = (String::new(), 0);
            while io.read_line(&mut line).unwrap() > 0 && !line.ends_with("\r\n\r\n") {
                if let Some(value) = line.lines().last().and_then(|l| l.strip_prefix("Content-Length: ")) {
                    length = value.parse().unwrap();
                }
            }
            io.read_exact(&mut vec![0; length]).unwrap();
            write!(io.get_mut(), "RTSP/1.0 {status}\r\nCSeq: {}\r\n\r\n", n + 1).unwrap();
        }
    };
    (address, std::thread::spawn(answers))
}

#[test]
fn an_rtsp_server_that_refuses_is_quoted() {
    let film = clip();
    for (status, words) in [
        ("403 Forbidden", "answers ANNOUNCE with 403 Forbidden: the name is taken"),
        ("404 Not Found", "404 Not Found: there is no such stream"),
        ("461 Unsupported Transport", "another one may do"),
        ("401 Unauthorized", "a password"),
    ] {
        let (address, server) = refuses(status);
        let url = format!("rtsp://{address}/live/x");
        let out = Command::new(PROGRAM).args(["publish", film.to_str().unwrap(), &url]).output().unwrap();
        let error = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(3), "{status}: {error}");
        assert!(error.contains(words), "{status}: {error}");
        server.join().unwrap();
    }
}

#[test]
fn what_rtsp_cannot_carry_is_refused_before_anybody_is_asked() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("old.flv");
    let sound = ["-f", "lavfi", "-i", "sine=duration=1", "-c:a", "pcm_s16le", file.to_str().unwrap()];
    output("ffmpeg", &[&["-loglevel", "error", "-nostdin"][..], &sound].concat());
    let nowhere = ["publish", file.to_str().unwrap(), "rtsp://127.0.0.1:9/live/x"];
    let out = Command::new(PROGRAM).args(nowhere).output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{error}");
    assert!(error.contains("old.flv: "), "{error}");
}

/// Round after round, and when the server goes: a clear end.
#[test]
fn a_loop_over_rtsp_goes_on_until_the_server_goes() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("second.mp4");
    let cut =
        ["-i", clip().to_str().unwrap(), "-t", "1", "-c", "copy", file.to_str().unwrap()].map(str::to_owned);
    let quiet = ["-loglevel", "error", "-nostdin"].map(str::to_owned);
    output("ffmpeg", &[&quiet[..], &cut].concat());
    let server = Server::start(&[]);
    let url = format!("rtsp://{}/live/loop", server.rtsp.unwrap());
    let arguments = ["publish", "--loop", "--over", "udp", file.to_str().unwrap(), &url];
    let publisher = Peer::start(directory.path(), "publisher", PROGRAM, &arguments);
    let size = std::fs::metadata(&file).unwrap().len();
    wait_until("the third round", || {
        let clients = server.clients("publisher", "live/loop");
        clients.first().is_some_and(|c| c["bytes_in"].as_u64().unwrap() > 2 * size + size / 4)
    });
    server.stop();
    let ended = publisher.ended();
    assert!(!ended.success && ended.log.contains("closed"), "{}", ended.log);
}

/// Frames of the first video and the first audio track, as ffprobe counts them.
fn frames(file: &Path) -> u64 {
    let of = |track: &str| {
        let shown =
            ["-v", "error", "-select_streams", track, "-show_entries", "packet=size", "-of", "csv=p=0"];
        output("ffprobe", &[&shown[..], &[file.to_str().unwrap()]].concat()).lines().count() as u64
    };
    of("v:0") + of("a:0")
}

#[test]
fn odd_tracks_are_left_out_with_a_line_and_the_rest_is_published() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let words = directory.join("words.srt");
    std::fs::write(&words, "1\n00:00:00,000 --> 00:00:01,000\nwords\n").unwrap();
    let (clip, words) = (clip(), words);
    let (clip, words) = (clip.to_str().unwrap(), words.to_str().unwrap());
    let quiet = ["-loglevel", "error", "-nostdin", "-i", clip];
    let server = Server::start(&[]);
    for (name, how, left_out) in [
        (
            "timecode.mov",
            &["-c", "copy", "-timecode", "01:00:00:00"][..],
            &["track 3 (tmcd): neither pictures nor sound"][..],
        ),
        (
            "subtitles.mp4",
            &["-i", words, "-map", "0", "-map", "1", "-c", "copy", "-c:s", "mov_text"],
            &["track 3 (tx3g): neither"],
        ),
        (
            "twice.mp4",
            &["-map", "0:v", "-map", "0:a", "-map", "0:a", "-map", "0:v", "-c", "copy"],
            &["track 3 (mp4a): a stream has one track of each kind", "track 4 (avc1): a stream has one"],
        ),
        ("silent.mov", &["-c:v", "copy", "-c:a", "pcm_s16le"], &["track 2 (sowt): a codec we do not carry"]),
    ] {
        let file = directory.join(name);
        output("ffmpeg", &[&quiet[..], how, &["-t", "1", file.to_str().unwrap()]].concat());
        let want = if name == "silent.mov" { frames(&file) - audio_packets(&file) } else { frames(&file) };
        for url in
            [server.url(&format!("live/{name}")), format!("rtsp://{}/live/r-{name}", server.rtsp.unwrap())]
        {
            let out = Command::new(PROGRAM).args(["publish", file.to_str().unwrap(), &url]).output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(0), "{name}: {said}");
            assert!(said.contains(&format!("off air: {want} frames")), "{name} {want}: {said}");
            for words in left_out {
                assert!(said.contains(&format!("left out: {words}")), "{name}: {said}");
            }
        }
    }
    server.stop();
}

fn audio_packets(file: &Path) -> u64 {
    let shown = ["-v", "error", "-select_streams", "a:0", "-show_entries", "packet=size", "-of", "csv=p=0"];
    output("ffprobe", &[&shown[..], &[file.to_str().unwrap()]].concat()).lines().count() as u64
}

/// What stands before the cut is published, and the server is told the end; then the damage is named.
#[test]
fn a_file_that_was_cut_is_published_as_far_as_it_goes() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let server = Server::start(&[]);
    let quiet = ["-loglevel", "error", "-nostdin", "-i", clip().to_str().unwrap(), "-t", "1", "-c", "copy"]
        .map(str::to_owned);
    for (name, words) in
        [("cut.flv", "its last tag is not whole"), ("cut.mp4", "a frame should stand at byte")]
    {
        let file = directory.join(name);
        let how = ["-movflags", "faststart", file.to_str().unwrap()].map(str::to_owned);
        let how = if name == "cut.flv" { &how[2..] } else { &how[..] };
        output("ffmpeg", &[&quiet[..], how].concat());
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() - 700]).unwrap();
        for url in [server.url("live/cut"), format!("rtsp://{}/live/cut", server.rtsp.unwrap())] {
            let (viewer, seen) = ffmpeg_watches(directory, "viewer", &server.url("live/cut"));
            server.wait_viewers("live/cut", 1);
            let out = Command::new(PROGRAM).args(["publish", file.to_str().unwrap(), &url]).output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(2), "{name}: {said}");
            assert!(
                said.contains("on air") && said.contains("the file is cut") && said.contains(words),
                "{said}"
            );
            viewer.ended_well();
            assert!(framemd5(&seen).video.len() > 10, "{name} to {url}");
        }
    }
    server.stop();
}

#[test]
fn what_cannot_be_published_says_why() {
    let letter = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(letter.path(), "Dear reader, this is no film.").unwrap();
    let (letter, film) = (letter.path().to_str().unwrap().to_owned(), clip());
    let film = film.to_str().unwrap();
    // Nobody listens on the port of a socket that was closed.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("rtmp://{closed}/live/x");
    for (file, url, code, words) in [
        (letter.as_str(), "rtmp://127.0.0.1/live/x", 2, "no FLV, MP4, MPEG-TS or ADTS file"),
        ("no-such-file.mp4", "rtmp://127.0.0.1/live/x", 2, "no-such-file.mp4"),
        (film, "http://127.0.0.1/live/x", 2, "is no URL to publish to"),
        (film, nobody.as_str(), 3, "refused"),
        (film, nobody.replace("rtmp", "rtsp").as_str(), 3, "refused"),
        (letter.as_str(), "rtsp://127.0.0.1/live/x", 2, "no FLV, MP4, MPEG-TS or ADTS file"),
        (film, "rtsp://127.0.0.1", 2, "names no stream"),
    ] {
        let out = Command::new(PROGRAM).args(["publish", file, url]).output().unwrap();
        let error = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{file} to {url}: {error}");
        assert!(error.contains(words), "{file} to {url}: {error}");
    }
    // A name that is taken.
    let server = Server::start(&[]);
    let url = server.url("live/taken");
    let mut first = Command::new(PROGRAM).args(["-q", "publish", "--loop", film, &url]).spawn().unwrap();
    server.wait_published("live/taken");
    let out = Command::new(PROGRAM).args(["publish", film, &url]).output().unwrap();
    assert_eq!(out.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&out.stderr).contains("NetStream.Publish.BadName"));
    // The first one is told to end, and does so in good order.
    interrupt(first.id());
    assert_eq!(first.wait().unwrap().code(), Some(130));
    server.wait_deserted();
    server.stop();
}
