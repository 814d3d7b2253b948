//! HLS as players see it: ffmpeg plays every frame, and what goes wrong is answered.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::arithmetic_side_effects
)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use common::frames::{framemd5, part};
use common::peer::{Peer, ffmpeg_publishes, output};
use common::server::Server;
use common::{clip, installed, wait_until};

/// A server with HLS on a free port, and that port.
fn start(directory: &Path, more: &str) -> (Server, SocketAddr) {
    let file = directory.join("serve.toml");
    std::fs::write(&file, format!("[hls]\n{more}")).unwrap();
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    let hls = server.hls;
    (server, hls)
}

/// Sends bytes and reads the answer to its end.
fn raw(hls: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(hls).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(hls: SocketAddr, method: &str, path: &str, headers: &str) -> (String, String) {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {hls}\r\nConnection: close\r\n{headers}\r\n");
    let answer = raw(hls, request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer:?}"));
    (head.to_ascii_lowercase(), body.into())
}

#[test]
fn ffmpeg_plays_every_frame_that_was_published() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (server, hls) = start(directory.path(), "");
    let publisher = ffmpeg_publishes(directory.path(), &server.url("live/cam"));
    server.wait_published("live/cam");
    let out = directory.path().join("hls.framemd5");
    let url = format!("http://{hls}/live/cam/index.m3u8");
    let arguments = ["-nostdin", "-live_start_index", "0", "-i", &url, "-c", "copy", "-y", "-f", "framemd5"];
    let arguments: Vec<&str> = arguments.into_iter().chain([out.to_str().unwrap()]).collect();
    let player = Peer::start(directory.path(), "ffmpeg-player", "ffmpeg", &arguments);
    wait_until("the viewer to be listed", || {
        server.clients("viewer", "live/cam").iter().any(|c| c["protocol"] == "hls")
    });
    assert_eq!(server.list("streams")[0]["viewers"], 1);
    publisher.ended_well();
    player.ended_well();

    let source = directory.path().join("source.framemd5");
    let clip = clip();
    let (clip, target) = (clip.to_str().unwrap(), source.to_str().unwrap());
    output("ffmpeg", &["-nostdin", "-v", "error", "-i", clip, "-c", "copy", "-y", "-f", "framemd5", target]);
    let (source, played) = (framemd5(&source), framemd5(&out));
    for (kind, whole, got) in
        [("video", &source.video, &played.video), ("audio", &source.audio, &played.audio)]
    {
        let part = part(kind, whole, got);
        assert_eq!((part.first, part.end), (0, whole.len()), "{kind} frames are missing");
    }
    let viewer = server.clients("viewer", "live/cam").remove(0);
    let media = std::fs::metadata(clip).unwrap().len();
    assert!(viewer["bytes_out"].as_u64().unwrap() > media * 9 / 10, "{viewer}");
    assert!(viewer["bytes_in"].as_u64().unwrap() > 500, "request heads count: {viewer}");
    assert!(
        server.metrics().sum("streamgauge_bytes_total", &[("protocol", "hls"), ("direction", "out")]) > 0.0
    );
    server.stop();
}

#[test]
fn files_are_served_in_parts_with_the_headers_players_need() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (server, hls) = start(directory.path(), "");
    let publisher = ffmpeg_publishes(directory.path(), &server.url("live/cam"));
    server.wait_published("live/cam");
    // The first answer waits for the first segment instead of being a 404.
    let (head, index) = get(hls, "GET", "/live/cam/index.m3u8", "");
    assert!(head.starts_with("http/1.1 200") && head.contains("application/vnd.apple.mpegurl"), "{head}");
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    let child = index.lines().last().unwrap();
    let session = child.strip_prefix("stream.m3u8?session=").unwrap();
    let (_, list) = get(hls, "GET", &format!("/live/cam/{child}"), "");
    assert!(
        list.lines().filter(|l| l.contains(".m4s") || l.contains(".mp4")).all(|l| l.contains(session)),
        "{list}"
    );
    let segment = list.lines().find(|l| l.contains(".m4s")).unwrap();
    let path = format!("/live/cam/{segment}");

    let (head, _) = get(hls, "HEAD", &path, "");
    let length: usize =
        head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    assert!(
        length > 1000 && head.contains("content-type: video/mp4") && head.contains("accept-ranges: bytes")
    );
    let (head, _) = get(hls, "GET", &path, "Range: bytes=4-11\r\n");
    assert!(
        head.starts_with("http/1.1 206") && head.contains(&format!("content-range: bytes 4-11/{length}")),
        "{head}"
    );
    let (head, _) = get(hls, "GET", &path, "Range: bytes=99999999-\r\n");
    assert!(head.starts_with("http/1.1 416") && head.contains(&format!("bytes */{length}")), "{head}");
    let (head, _) = get(hls, "OPTIONS", &path, "Origin: http://a\r\nAccess-Control-Request-Method: GET\r\n");
    assert!(head.starts_with("http/1.1 204") && head.contains("access-control-allow-methods"), "{head}");
    assert!(get(hls, "POST", &path, "").0.starts_with("http/1.1 405"));
    assert_eq!(server.clients("viewer", "live/cam").len(), 1, "one session, however many connections");
    drop(publisher);
    server.stop();
}

#[test]
fn a_republished_stream_goes_on_counting() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (server, hls) = start(directory.path(), "");
    let number = |list: &str| -> u64 {
        list.lines().find_map(|l| l.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).unwrap().parse().unwrap()
    };
    let segments = |list: &str| list.lines().filter(|l| l.contains(".m4s")).count() as u64;
    ffmpeg_publishes(directory.path(), &server.url("live/again")).ended_well();
    let ended = || get(hls, "GET", "/live/again/stream.m3u8", "").1;
    wait_until("the end of the list", || ended().contains("#EXT-X-ENDLIST"));
    let first = ended();
    let publisher = ffmpeg_publishes(directory.path(), &server.url("live/again"));
    wait_until("a segment of the second publisher", || {
        let list = ended();
        number(&list) + segments(&list) > number(&first) + segments(&first)
    });
    let list = ended();
    assert!(!list.contains("#EXT-X-ENDLIST"), "{list}");
    assert_eq!(list.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{list}");
    assert!(list.contains("#EXT-X-DISCONTINUITY-SEQUENCE:0"), "{list}");
    let target = |list: &str| list.lines().find(|l| l.contains("TARGETDURATION")).unwrap().to_owned();
    assert_eq!(target(&first), target(&list));
    drop(publisher);
    server.stop();
}

#[test]
fn attacks_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let (server, hls) = start(directory.path(), "");
    for path in
        ["/live/none/index.m3u8", "/live/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/x"]
    {
        let (head, _) = get(hls, "GET", path, "");
        assert!(
            head.starts_with("http/1.1 404") && head.contains("access-control-allow-origin"),
            "{path}: {head}"
        );
    }
    let mut endless = b"GET / HTTP/1.1\r\nX: ".to_vec();
    endless.resize(200_000, b'a');
    assert!(raw(hls, &endless).starts_with("HTTP/1.1 431"), "an endless header is refused");
    let mut many = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    (0..500).for_each(|n| many.extend(format!("x{n}: y\r\n").bytes()));
    assert!(raw(hls, &many).starts_with("HTTP/1.1 431"), "endless headers are refused");
    assert!(raw(hls, b"\x16\x03\x01\x02\x00garbage\r\n\r\n").starts_with("HTTP/1.1 400"));
    let length = "POST /live/a/index.m3u8 HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n";
    assert!(raw(hls, length.as_bytes()).starts_with("HTTP/1.1 405"));
    server.stop();
}
