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

use std::net::SocketAddr;
use std::path::Path;

use common::flv;
use common::frames::{framemd5, part};
use common::http::request;
use common::peer::{Peer, ffmpeg_publishes, output};
use common::rml::Publisher;
use common::server::Server;
use common::{clip, installed, tshark, wait_until};

/// A server with HLS on a free port, and that port.
fn start(directory: &Path, more: &str) -> (Server, SocketAddr) {
    let (file, tap) = (directory.join("serve.toml"), directory.join("tap.pcapng"));
    std::fs::write(&file, format!("[hls]\n{more}")).unwrap();
    let server = Server::start(&["--config", file.to_str().unwrap(), "--tap", tap.to_str().unwrap()]);
    let hls = server.hls;
    (server, hls)
}

fn get(hls: SocketAddr, method: &str, path: &str, headers: &str) -> (String, String) {
    let answer = request(hls, method, path, headers);
    assert!(answer.status > 0, "{path} is not answered");
    (answer.head.clone(), answer.text())
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
    let metrics = server.metrics();
    let counted =
        |direction| metrics.sum("streamgauge_bytes_total", &[("protocol", "hls"), ("direction", direction)]);
    let counted = (counted("in") as u64, counted("out") as u64);
    server.stop();
    the_tap_holds(directory.path(), hls.port(), counted);
}

/// Of HLS the tap has every byte that was counted, whole HTTP that tshark reads, and nothing to complain about.
fn the_tap_holds(directory: &Path, port: u16, counted: (u64, u64)) {
    if !installed(&["tshark"]) {
        return;
    }
    let tap = directory.join("tap.pcapng");
    let payload = tshark::unique_payload(&tap, port);
    let sum = |of: fn(&(u64, u64)) -> u64| payload.values().map(of).sum::<u64>();
    assert_eq!((sum(|p| p.0), sum(|p| p.1)), counted, "bytes of HLS that the tap has, and that were counted");
    let decode = format!("tcp.port=={port},http");
    let flaws = format!("tcp.port == {port} && (tcp.analysis.flags || _ws.malformed)");
    let flawed = tshark::lines(&tap, &flaws, &["-d", &decode]);
    assert!(flawed.is_empty(), "{}", flawed.join("\n"));
    let answers = tshark::lines(&tap, "http.response", &["-d", &decode]);
    let count = |what: &str| answers.iter().filter(|line| line.contains(what)).count();
    // What media is in them tshark reads too.
    let (lists, media) = (count("200 OK"), count(" MP4 "));
    assert!(lists >= 2 && media >= 5 && lists + media == answers.len(), "{}", answers.join("\n"));
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
    let whole = format!("content-length: {length}\r\n");
    let (head, _) = get(hls, "HEAD", &path, "Range: bytes=4-11\r\n");
    assert!(head.starts_with("http/1.1 200") && head.contains(&whole), "parts are for GET alone: {head}");
    let (head, _) = get(hls, "GET", &path, &format!("If-None-Match: W/\"{}\"\r\n", path_name(segment)));
    assert!(head.starts_with("http/1.1 304"), "{head}");
    let wanted =
        "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: cmcd-session,range\r\n";
    let (head, _) = get(hls, "OPTIONS", &path, wanted);
    assert!(head.contains("access-control-allow-headers: cmcd-session,range"), "{head}");
    let nobody = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert_eq!(common::http::raw(hls, nobody).status, 400, "HTTP/1.1 names the host");

    // Lists are compressed for who takes that, and not sent again where they are known. The publisher is gone, so that
    // no segment comes between the answers.
    drop(publisher);
    let child = format!("/live/cam/{child}");
    wait_until("the end of the list", || get(hls, "GET", &child, "").1.contains("#EXT-X-ENDLIST"));
    let plain = request(hls, "GET", &child, "");
    let packed = request(hls, "GET", &child, "Accept-Encoding: gzip\r\n");
    assert_eq!(
        (packed.field("content-encoding"), packed.field("vary")),
        ("gzip".into(), "accept-encoding".into())
    );
    assert!(packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() < plain.body.len());
    assert_ne!(plain.field("etag"), packed.field("etag"));
    let known = format!("If-None-Match: {}\r\n", plain.field("etag"));
    let again = request(hls, "GET", &child, &known);
    assert_eq!((again.status, again.body.len()), (304, 0), "{}", again.head);
    assert_eq!(server.clients("viewer", "live/cam").len(), 1, "one session, however many connections");
    server.stop();
}

/// A URI without its query.
fn path_name(uri: &str) -> &str {
    uri.split('?').next().unwrap()
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

/// A player stops for good where the list ends: it does not while the encoder may come back.
#[test]
fn a_list_does_not_end_because_an_encoders_connection_breaks() {
    let directory = tempfile::tempdir().unwrap();
    // Segments of 10 s, which makes this the time to come back in.
    let (server, hls) = start(directory.path(), "segment = \"10s\"\n");
    let mut tags = flv::tags(&clip());
    tags.iter_mut().for_each(|tag| tag.time *= 5);
    let two = tags.iter().enumerate().filter(|(_, t)| t.is_key_frame()).nth(1).unwrap().0;
    let list = || get(hls, "GET", "/live/back/stream.m3u8", "").1;
    let publish = |segments: usize| {
        let mut publisher = Publisher::start(server.rtmp, "live", "back").unwrap();
        publisher.send_all(&tags[..=two + 5]).unwrap();
        wait_until("its segment", || list().matches(".m4s").count() >= segments);
        publisher
    };
    let gone = || wait_until("its end", || server.clients("publisher", "live/back").is_empty());
    let ends = || list().contains("#EXT-X-ENDLIST");

    drop(publish(1));
    gone();
    assert!(!ends(), "{}", list());
    let second = publish(3);
    let now = list();
    assert!(!ends() && now.contains("#EXT-X-TARGETDURATION:10\n"), "{now}");
    assert_eq!(now.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{now}");
    drop(second);
    gone();
    assert!(!ends(), "{}", list());
    wait_until("the end of what nobody took up again", ends);

    // Who says goodbye is not waited for.
    publish(5).finish().unwrap();
    wait_until("the end", ends);
    server.stop();
}

/// Everybody whom the API lists as a viewer.
fn viewers(server: &Server) -> usize {
    let listed = server.clients("viewer", "live/cam").len();
    assert_eq!(server.list("streams")[0]["viewers"], listed, "one count, two places");
    listed
}

#[test]
fn viewers_are_told_apart_by_cookie_or_by_address_and_agent() {
    let directory = tempfile::tempdir().unwrap();
    for mode in ["cookie", "off"] {
        let (server, hls) = start(directory.path(), &format!("session = \"{mode}\"\n"));
        let mut publisher = Publisher::start(server.rtmp, "live", "cam").unwrap();
        // Groups of half a minute, so that nobody's silence is long enough to end a session here.
        let mut tags = flv::tags(&clip());
        tags.iter_mut().for_each(|tag| tag.time *= 15);
        let two = tags.iter().enumerate().filter(|(_, t)| t.is_key_frame()).nth(1).unwrap().0;
        publisher.send_all(&tags[..=two]).unwrap();

        let index = request(hls, "GET", "/live/cam/index.m3u8", "User-Agent: one\r\n");
        assert_eq!(index.status, 200);
        assert!(index.text().ends_with("\nstream.m3u8\n"), "no token: {}", index.text());
        let cookie = index.field("set-cookie");
        let watch = |headers: &str| {
            let list = request(hls, "GET", "/live/cam/stream.m3u8", headers);
            assert!(list.status == 200 && !list.text().contains('?'), "no token: {}", list.text());
            let segment = list.text().lines().find(|l| l.ends_with(".m4s")).unwrap().to_owned();
            assert_eq!(request(hls, "GET", &format!("/live/cam/{segment}"), headers).status, 200);
        };
        let mine = if mode == "cookie" {
            let (pair, attributes) = cookie.split_once("; ").unwrap();
            assert_eq!(attributes, "path=/live/cam/; httponly");
            let id = pair.strip_prefix("streamgauge_session=").unwrap();
            assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{cookie}");
            format!("Cookie: other=1; {pair}\r\n")
        } else {
            assert_eq!(cookie, "");
            "User-Agent: one\r\n".to_owned()
        };
        watch(&mine);
        watch(&mine);
        assert_eq!(viewers(&server), 1, "{mode}: one viewer, however many connections");
        // A player that keeps no cookies is one viewer too, and another program is another viewer.
        watch("User-Agent: two\r\n");
        watch("User-Agent: two\r\n");
        assert_eq!(viewers(&server), 2, "{mode}");
        if mode == "cookie" {
            let again =
                request(hls, "GET", "/live/cam/index.m3u8", "User-Agent: one\r\n").field("set-cookie");
            assert_ne!(again, cookie, "each player has a cookie of its own");
            watch(&format!("Cookie: {}\r\n", again.split(';').next().unwrap()));
            watch("Cookie: streamgauge_session=../../etc\r\nUser-Agent: three\r\n");
            assert_eq!(viewers(&server), 4);
        }
        server.stop();
    }
}
