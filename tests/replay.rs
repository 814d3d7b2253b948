//! `streamgauge replay`: what was captured of a client reaches another server frame for frame, and what that server answers is
//! compared with what was captured.
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

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use analyzer::transcript::{self, Choice, What};
use analyzer::{Analyzer, Options};
use common::flv::{self, AUDIO, Tag, VIDEO};
use common::frames::{Frame, framemd5, part, parts};
use common::peer::{Peer, interrupt};
use common::rml::{Publisher, Viewer};
use common::rtsp_media::{by_presentation, ffmpeg_slices, slices_of};
use common::server::Server;
use common::{PROGRAM, capture, clip, installed, root, say, wait_for, wait_until};
use serde_json::Value;

/// ffmpeg publishes 15 s to nginx-rtmp and three others watch: 452 video and 647 audio messages by a separate count.
const OWN: &str = "own/a_rtmp_1pub_3play.pcapng";
/// An RTSP server that is not ours.
const GST_RTSP_SERVER: &str = "tests/peers/gst-record-server";

/// A capture of the project itself.
fn case(name: &str) -> PathBuf {
    root().join("captures").join(name).join("input.pcap")
}

fn replay(file: &Path, url: &str, more: &[&str]) -> Output {
    Command::new(PROGRAM).arg("replay").arg(file).arg(url).args(more).output().unwrap()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs it and expects this exit code; what it printed and said comes back.
#[track_caller]
fn ends(code: i32, file: &Path, url: &str, more: &[&str]) -> (String, String) {
    let output = replay(file, url, more);
    let (out, err) = (words(&output.stdout), words(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{url} {more:?}:\n{out}\n{err}");
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    (out, err)
}

/// The audio and video messages that the client of a session sent, as the capture has them.
fn sent(file: &Path, session: &str) -> Vec<Tag> {
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.file(file).unwrap();
    let analysis = analyzer.finish();
    let session = analysis.sessions.iter().find(|s| s.id == session).unwrap();
    let mut tags = Vec::new();
    transcript::read(&[file], &Choice::of(session).unwrap(), &mut |said| {
        if let (true, What::Rtmp { head, body }) = (said.from_client, said.what)
            && matches!(head.type_id, AUDIO | VIDEO)
        {
            tags.push(Tag { kind: head.type_id, time: head.timestamp, body });
        }
        true
    })
    .unwrap();
    tags
}

/// nginx-rtmp that records what is published at `live/`.
struct Nginx {
    child: Child,
    address: SocketAddr,
    records: PathBuf,
}

impl Nginx {
    fn start(directory: &Path) -> Self {
        // The port is free now; nginx has no way to say which it took by itself.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let records = directory.join("records");
        std::fs::create_dir_all(&records).unwrap();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log error.log info;\n\
             load_module /usr/lib/nginx/modules/ngx_rtmp_module.so; events {{ worker_connections 64; }}\n\
             rtmp {{ server {{ listen {address}; application live {{ live on; record all; record_path {}; }} }} }}\n",
            records.display()
        );
        std::fs::write(directory.join("nginx.conf"), config).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(directory).args(["-c", "nginx.conf"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let nginx = Self { child, address, records };
        wait_until("nginx to listen", || std::net::TcpStream::connect(nginx.address).is_ok());
        nginx
    }

    /// nginx begins a file with the configuration that has come so far, and then records what comes: some of it is there twice.
    fn recorded(&self, name: &str) -> Vec<Tag> {
        let file = self.records.join(format!("{name}.flv"));
        let mut tags: Vec<Tag> = Vec::new();
        for tag in flv::tags(&file).into_iter().filter(|tag| matches!(tag.kind, AUDIO | VIDEO)) {
            if !(tag.is_config() && tags.contains(&tag)) {
                tags.push(tag);
            }
        }
        tags
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_captured_publisher_arrives_at_nginx_message_for_message() {
    if !installed(&["nginx"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(directory.path());
    let url = |name: &str| format!("rtmp://{}/live/{name}", nginx.address);
    let same = |name: &str, want: &[Tag]| {
        // nginx records a message when it comes, and closes the file when the publisher goes.
        let got = wait_for("the recording", || {
            let got = nginx.recorded(name);
            (got.len() >= want.len()).then_some(got)
        });
        assert_eq!(got.len(), want.len(), "{name}");
        let first = (0..want.len()).find(|n| got[*n] != want[*n]);
        assert_eq!(first, None, "{name}: {} and {} messages", want.len(), got.len());
    };

    // From our server to nginx: what that answers nobody waits for.
    let small = case("ffmpeg-publish-play");
    let (out, _) = ends(0, &small, &url("small"), &["--session", "rtmp-2", "--fast"]);
    assert!(out.contains("FCPublish        _result                no answer              ~"), "{out}");
    same("small", &sent(&small, "rtmp-2"));

    let Some(own) = capture(OWN) else { return };
    let want = sent(&own, "rtmp-1");
    let count = |kind| want.iter().filter(|tag| tag.kind == kind).count();
    assert_eq!((count(VIDEO), count(AUDIO)), (452, 647));
    let (out, _) = ends(0, &own, &url("own"), &["--fast"]);
    assert!(out.contains("8 the same, none differs"), "{out}");
    same("own", &want);
}

#[test]
fn a_captured_publisher_arrives_at_our_servers_viewers_frame_for_frame() {
    let server = Server::start(&[]);
    let check = |name: &str, file: &Path, more: &[&str]| {
        let path = format!("live/{name}");
        let viewer = Viewer::start(server.rtmp, "live", name).unwrap();
        server.wait_viewers(&path, 1);
        let (out, err) = ends(0, file, &server.url(&path), more);
        assert!(err.starts_with("replaying rtmp-"), "{err}");
        assert!(out.contains("Publish.Start          Publish.Start          yes"), "{out}");
        viewer.watched().tags
    };
    // In its own time: nothing is left out.
    let small = case("ffmpeg-publish-play");
    let whole = flv::media(&sent(&small, "rtmp-2"));
    let got = flv::media(&check("small", &small, &[]));
    let seen = parts("in its own time", &whole, &got);
    // Viewers begin with the first key picture.
    assert_eq!((seen.video.first, seen.video.end), (0, whole.video.len()));
    assert_eq!(seen.audio.end, whole.audio.len());
    assert_eq!(seen.video.offset, seen.audio.offset);
    server.stop();
}

#[test]
fn a_publisher_played_fast_is_recorded_frame_for_frame() {
    if !installed(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let (file, session) = match capture(OWN) {
        Some(own) => (own, "rtmp-1"),
        None => (case("ffmpeg-publish-play"), "rtmp-2"),
    };
    let directory = tempfile::tempdir().unwrap();
    let records = directory.path().join("records");
    let server = Server::start(&["--record", records.to_str().unwrap()]);
    let out = directory.path().join("run");
    let more = ["--session", session, "--fast", "--out", out.to_str().unwrap()];
    let (_, err) = ends(0, &file, &server.url("live/fast"), &more);
    assert!(err.contains("index.html"), "{err}");
    server.stop();

    // What was sent, out of the run's own capture: the very messages, but for their names.
    let want = sent(&file, session);
    let sent_again = sent(&out.join("capture.pcapng"), "rtmp-1");
    assert!(want == sent_again, "{} messages, {} again", want.len(), sent_again.len());
    let run: Value = serde_json::from_slice(&std::fs::read(out.join("run.json")).unwrap()).unwrap();
    assert_eq!(run["kind"], "replay");
    assert_eq!(run["analysis"]["sessions"][0]["path"], "live/fast");
    for name in ["junit.xml", "index.html", "verdicts.json", "run.jsonl"] {
        assert!(out.join(name).exists(), "{name}");
    }

    // What was recorded, read by ffmpeg.
    let recorded = std::fs::read_dir(records.join("live/fast")).unwrap().next().unwrap().unwrap().path();
    let published = directory.path().join("published.flv");
    std::fs::write(&published, file_of(&want)).unwrap();
    let whole = slices_of(directory.path(), "published", &published);
    let mut got = slices_of(directory.path(), "recorded", &recorded);
    // A recording begins with the first picture: sound from before that is not in it.
    let mut all = whole.clone();
    all.video[0].key = true;
    got.video[0].key = true;
    let seen = parts("the recording", &all, &got);
    assert_eq!((seen.video.first, seen.video.end), (0, whole.video.len()));
    assert!(seen.audio.first <= 1, "{seen:?}");
    assert_eq!(seen.audio.end, whole.audio.len());
}

/// An FLV file of these tags.
fn file_of(tags: &[Tag]) -> Vec<u8> {
    let mut file = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
    for tag in tags {
        let size = tag.body.len() as u32;
        file.push(tag.kind);
        file.extend(&size.to_be_bytes()[1..]);
        file.extend(&tag.time.to_be_bytes()[1..]);
        file.push((tag.time >> 24) as u8);
        file.extend([0; 3]);
        file.extend(&tag.body);
        file.extend((size + 11).to_be_bytes());
    }
    file
}

#[test]
fn a_captured_viewer_watches_again_and_says_what_it_lacks() {
    let server = Server::start(&[]);
    let tags: Vec<Tag> = flv::tags(&clip());
    let file = case("ffmpeg-publish-play");
    let mut publisher = Publisher::start(server.rtmp, "live", "tv").unwrap();
    let on_air = std::thread::spawn(move || publisher.send_in_time(&tags, 1).map(|()| publisher.finish()));
    server.wait_published("live/tv");
    let json = |more: &[&str]| {
        let all = [&["--session", "rtmp-1", "--format", "json", "-q"], more].concat();
        let (out, _) = ends_wide(0, &file, &server.url("live/tv"), &all);
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let verdicts = json(&["--fast"]);
    let case = |rule: &str| {
        let cases = verdicts["cases"].as_array().unwrap();
        cases
            .iter()
            .find(|case| case["rule"] == rule)
            .unwrap_or_else(|| panic!("{rule} in {verdicts}"))
            .clone()
    };
    assert_eq!(verdicts["schema"], "streamgauge.verdicts/1");
    for rule in ["replay.connect", "replay.play", "replay.track.video-h264", "replay.track.audio-aac"] {
        assert_eq!(case(rule)["verdict"], "pass", "{rule}: {}", case(rule));
    }
    assert_eq!(case("replay.play")["got"], "NetStream.Play.Start");
    let got = case("replay.track.video-h264");
    let count = |key: &str| got[key].as_str().unwrap().split(' ').next().unwrap().parse::<u64>().unwrap();
    assert!(count("want") > 40 && count("got") > 0, "{got}");
    on_air.join().unwrap().unwrap().unwrap();
    server.stop();
}

/// As [`ends`], of output that has no 80 columns.
#[track_caller]
fn ends_wide(code: i32, file: &Path, url: &str, more: &[&str]) -> (String, String) {
    let output = replay(file, url, more);
    assert_eq!(output.status.code(), Some(code), "{}\n{}", words(&output.stdout), words(&output.stderr));
    (words(&output.stdout), words(&output.stderr))
}

/// True where somebody listens on a port of this machine; nobody is called for that.
fn is_listening(port: u16) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    sockets.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1).is_some_and(|address| address.ends_with(&local)) && fields.get(3) == Some(&"0A")
    })
}

#[test]
fn a_captured_rtsp_publisher_is_recorded_by_ours_as_by_ffmpegs_server_and_taken_by_gstreamers() {
    if !installed(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let file = case("ffmpeg-record-tcp");
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();

    // What ffmpeg's server makes of it is what ours has to make of it.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("rtsp://127.0.0.1:{port}/live/clip");
    let (listener, frames) = ffmpeg_slices(directory, "ffmpeg", &["-rtsp_flags", "listen"], &url);
    wait_until("ffmpeg to listen", || is_listening(port));
    let (out, _) = ends(0, &file, &url, &["--fast"]);
    assert!(out.contains("RECORD           200 OK                 200 OK                 yes"), "{out}");
    listener.ended_well();
    let whole = by_presentation(framemd5(&frames));
    assert_eq!((whole.video.len(), whole.audio.len()), (52, 90));

    let records = directory.join("records");
    let server = Server::start(&["--record", records.to_str().unwrap()]);
    let url = format!("rtsp://{}/live/rtsp", server.rtsp.unwrap());
    let (out, _) = ends(0, &file, &url, &["--fast"]);
    assert!(out.contains("7 the same, none differs"), "{out}");
    server.stop();
    let recorded = std::fs::read_dir(records.join("live/rtsp")).unwrap().next().unwrap().unwrap().path();
    let got = by_presentation(slices_of(directory, "ours", &recorded));
    let ids = |frames: &[Frame]| frames.iter().map(|frame| frame.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&got.video), ids(&whole.video));
    // A recording begins with the first picture: sound from before that is not in it.
    let before = whole.audio.len() - got.audio.len();
    assert!(before <= 1, "{before} audio frames are missing");
    assert_eq!(ids(&got.audio), ids(&whole.audio)[before..]);
    // ffmpeg has no time for the very first picture.
    part("ours, video", &whole.video[1..], &got.video[1..]);
    part("ours, audio", &whole.audio[before + 1..], &got.audio[1..]);

    if !installed(&[GST_RTSP_SERVER]) {
        return;
    }
    let recorded = directory.join("gst.mkv");
    let program = root().join(GST_RTSP_SERVER);
    let mut server = Peer::start(directory, "gst", program.to_str().unwrap(), &[recorded.to_str().unwrap()]);
    wait_until("the server's port", || server.log().ends_with('\n') || !server.is_running());
    let url = format!("rtsp://127.0.0.1:{}/live", server.log().trim());
    // What it still holds back at the TEARDOWN it throws away, and with that it does not always end well: its answers count.
    let (out, _) = ends(0, &file, &url, &[]);
    assert!(out.contains("7 the same, none differs"), "{out}");
    server.kill();
}

#[test]
fn a_server_that_answers_otherwise_is_told_with_the_frame_of_the_capture() {
    let server = Server::start(&[]);
    let _first = Publisher::start(server.rtmp, "live", "busy").unwrap();
    let file = case("ffmpeg-publish-play");
    let (out, _) = ends(1, &file, &server.url("live/busy"), &["--session", "rtmp-2"]);
    let row = out.lines().find(|line| line.contains("publish  ")).unwrap();
    assert!(row.trim_start().starts_with("41  publish") && row.ends_with("NO"), "{row}");
    assert!(row.contains("Publish.Start          Publish.BadName"), "{row}");
    assert!(out.contains("publish was") && out.contains("2 not the same"), "{out}");

    // No such stream to describe; the second session is a viewer's over RTSP.
    let url = format!("rtsp://{}/live/busy", server.rtsp.unwrap());
    let (out, _) = ends(1, &case("ffmpeg-record-tcp"), &url, &[]);
    assert!(out.lines().any(|l| l.contains("ANNOUNCE         200 OK") && l.ends_with("NO")), "{out}");

    // Announced failures are none; the file that says so is written by --bless.
    let directory = tempfile::tempdir().unwrap();
    let known = directory.path().join("known.toml");
    let known = ["--session", "rtmp-2", "--expect", known.to_str().unwrap()];
    let url = server.url("live/busy");
    ends(0, &file, &url, &[&known[..], &["--bless"]].concat());
    let (out, _) = ends(0, &file, &url, &known);
    assert!(out.contains("2 known to differ"), "{out}");
    server.stop();
}

#[test]
fn what_cannot_be_played_is_said_before_anybody_is_called() {
    // Nobody listens there, and nobody is called.
    let url = "rtmp://127.0.0.1:9/live/a";
    let file = case("ffmpeg-publish-play");
    let (_, err) = ends(2, &file, url, &["--session", "rtmp-9"]);
    assert!(
        err.contains("no session \"rtmp-9\"") && err.contains("rtmp-2    publisher rtmp over tcp, live/clip"),
        "{err}"
    );
    let (_, err) = ends(2, &file, "rtsp://127.0.0.1:9/live/a", &[]);
    assert!(err.contains("rtmp-2 is rtmp: want rtmp://"), "{err}");
    let (_, err) = ends(2, &case("gst-record-udp"), "rtsp://127.0.0.1:9/live/a", &[]);
    assert!(err.contains("carries its media in UDP"), "{err}");
    let (_, err) = ends(2, &case("ffmpeg-watches-hls"), url, &[]);
    assert!(err.contains("has no publisher") && err.contains("hls-1"), "{err}");
    let (_, err) = ends(2, Path::new("/nowhere.pcap"), url, &[]);
    assert!(err.contains("/nowhere.pcap"), "{err}");
    let (_, err) = ends(2, &clip(), url, &[]);
    assert!(err.contains("h264-aac.flv"), "{err}");

    // A capture that begins inside the connection.
    let directory = tempfile::tempdir().unwrap();
    let late = directory.path().join("late.pcap");
    let from = 24 + records(&file).take(40).map(|record| record.len()).sum::<usize>();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&late, [&whole[..24], &whole[from..]].concat()).unwrap();
    let (_, err) = ends(2, &late, url, &["--session", "rtmp-1"]);
    assert!(err.contains("lacks the beginning") || err.contains("nothing to play again"), "{err}");
}

/// The records of a classic pcap file.
fn records(file: &Path) -> impl Iterator<Item = Vec<u8>> + use<> {
    let whole = std::fs::read(file).unwrap();
    let mut at = 24;
    std::iter::from_fn(move || {
        let head = whole.get(at..at + 16)?;
        let length = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        let record = whole[at..at + 16 + length].to_vec();
        at += record.len();
        Some(record)
    })
}

#[test]
fn a_capture_with_a_hole_is_played_without_what_it_lacks() {
    let file = case("ffmpeg-publish-play");
    let want = sent(&file, "rtmp-2");
    // Without one packet of the publisher's with media; the largest are those.
    let packets: Vec<Vec<u8>> = records(&file).collect();
    let whole = std::fs::read(&file).unwrap();
    let server = Server::start(&[]);
    let to = u16::from_be_bytes(port_of(&file));
    let gone = (100..packets.len())
        .find(|n| packets[*n].len() > 2000 && u16::from_be_bytes(ports(&packets[*n]).1) == to)
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let holed = directory.path().join("holed.pcap");
    let kept = packets.iter().enumerate().filter(|(n, _)| *n != gone).flat_map(|(_, packet)| packet.clone());
    std::fs::write(&holed, whole[..24].iter().copied().chain(kept).collect::<Vec<u8>>()).unwrap();
    let out = directory.path().join("run");
    let more = ["--session", "rtmp-2", "--fast", "--out", out.to_str().unwrap()];
    let (text, _) = ends(0, &holed, &server.url("live/holed"), &more);
    assert!(text.contains("The capture lacks") && text.contains("in 1 places"), "{text}");
    server.stop();
    let again = sent(&out.join("capture.pcapng"), "rtmp-1");
    let lost = want.len() - again.len();
    assert!((1..10).contains(&lost), "{lost} of {} are left out", want.len());
    assert!(again.iter().all(|tag| want.contains(tag)), "what was sent was captured");
}

/// Source and destination port of an Ethernet frame with IPv4 and TCP behind its record header.
fn ports(record: &[u8]) -> ([u8; 2], [u8; 2]) {
    let tcp = 16 + 14 + 20;
    (record[tcp..tcp + 2].try_into().unwrap(), record[tcp + 2..tcp + 4].try_into().unwrap())
}

/// The server's port in a capture: who the first packet goes to.
fn port_of(file: &Path) -> [u8; 2] {
    ports(&records(file).next().unwrap()).1
}

/// A server that takes connections, sends `says` as often as `times`, and reads or does not.
fn odd_server(says: &'static [u8], times: usize, reads: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut stream = stream;
                let told = (0..times).try_for_each(|_| stream.write_all(says));
                if reads && told.is_ok() {
                    let _ = stream.read_to_end(&mut Vec::new());
                }
                // It is held until the client goes.
                let _ = stream.read(&mut [0; 1]);
            });
        }
    });
    address
}

#[test]
fn servers_that_are_none_are_told_apart() {
    let file = case("ffmpeg-publish-play");
    let rtsp = case("ffmpeg-record-tcp");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_, err) = ends(3, &file, &format!("rtmp://{free}/live/a"), &[]);
    assert!(err.contains("nobody takes the connection"), "{err}");

    let silent = odd_server(b"", 0, true);
    let (out, err) = ends(3, &file, &format!("rtmp://{silent}/live/a"), &["--timeout", "200ms"]);
    assert!(
        err.contains("the handshake is not answered within 0.2 s") && out.contains("0 sent"),
        "{err}\n{out}"
    );
    let (_, err) = ends(3, &rtsp, &format!("rtsp://{silent}/live/a"), &["--timeout", "200ms"]);
    assert!(err.contains("OPTIONS is not answered"), "{err}");

    let other = odd_server(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", 1, true);
    let (_, err) = ends(3, &file, &format!("rtmp://{other}/live/a"), &[]);
    assert!(err.contains("the server breaks the protocol at byte 0: version"), "{err}");
    let other = odd_server(b"\x15\x03\x01\0\x02\x02\x28\r\n", 1, true);
    let (_, err) = ends(3, &rtsp, &format!("rtsp://{other}/live/a"), &[]);
    assert!(err.contains("the server breaks the protocol at byte 0: start line"), "{err}");

    // Endless answers that are none.
    let endless = odd_server(b"RTSP/1.0 100 Continue\r\nCSeq: 1\r\n\r\n", usize::MAX, false);
    let (_, err) = ends(3, &rtsp, &format!("rtsp://{endless}/live/a"), &["--timeout", "300ms"]);
    assert!(err.contains("OPTIONS is not answered"), "{err}");
}

#[test]
fn an_interrupted_replay_ends_at_once_and_tells_what_was_done() {
    let Some(file) = capture(OWN) else {
        return say("the project's own captures are too short to interrupt");
    };
    let server = Server::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let child = Command::new(PROGRAM)
        .arg("replay")
        .arg(&file)
        .arg(server.url("live/cut"))
        .args(["--out", "run"])
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    server.wait_published("live/cut");
    interrupt(child.id());
    let output = child.wait_with_output().unwrap();
    let out = words(&output.stdout);
    assert_eq!(output.status.code(), Some(130), "{out}\n{}", words(&output.stderr));
    assert!(out.contains("publish") && out.contains("interrupted"), "{out}");
    assert!(
        directory.path().join("run/run.json").exists() && directory.path().join("run/index.html").exists()
    );
    server.stop();
}
