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

use common::frames::{framemd5, parts};
use common::peer::{ffmpeg_watches, output};
use common::server::Server;
use common::{PROGRAM, clip, installed};

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
        (letter.as_str(), "rtmp://127.0.0.1/live/x", 2, "neither an FLV nor an MP4 file"),
        ("no-such-file.mp4", "rtmp://127.0.0.1/live/x", 2, "no-such-file.mp4"),
        (film, "http://127.0.0.1/live/x", 2, "is no URL to publish to"),
        (film, nobody.as_str(), 3, "refused"),
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
    assert!(Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap().success());
    assert_eq!(first.wait().unwrap().code(), Some(130));
    server.wait_deserted();
    server.stop();
}
