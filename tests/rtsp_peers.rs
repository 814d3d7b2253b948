//! The server between real RTSP peers: what comes out of it is what went in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod common;

use std::io::{BufRead, Read};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use common::frames::{Media, Part, framemd5, part};
use common::peer::{Peer, ffmpeg_publishes, output};
use common::rtsp::{Hand, SOUND as SDP, watches};
use common::server::Server;
use common::{GST_RTSP_SERVER, PROGRAM, clip, installed, wait_until};

/// Pictures in the clip.
const PICTURES: usize = 200;
/// Pictures from one key frame to the next.
const GOP: usize = 50;

fn start(directory: &Path, more: &str) -> (Server, SocketAddr) {
    let file = directory.join("serve.toml");
    std::fs::write(&file, format!("[rtsp]\nlisten = \"127.0.0.1:0\"\nrtp = 0\n{more}")).unwrap();
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    let rtsp = server.rtsp.unwrap();
    (server, rtsp)
}

/// What ffmpeg got.
struct Got {
    /// Frames by presentation time alone: RTP carries no other, and ffmpeg guesses decoding times.
    media: Media,
    /// Size and hash of pictures to which ffmpeg gives no presentation time: the first one over RTSP. Its parser begins at
    /// position -1 where packets have none, and then never finds that time, whoever the server is.
    untimed: Vec<String>,
}

impl Got {
    /// Bytes of all frames.
    fn bytes(&self) -> u64 {
        let timed = self.media.video.iter().chain(&self.media.audio).map(|frame| &frame.id);
        timed.chain(&self.untimed).map(|id| id.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

fn got(file: &Path) -> Got {
    const NONE: &str = "-9223372036854775808";
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let (without, with): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains(NONE));
    let timed = file.with_extension("timed");
    std::fs::write(&timed, with.join("\n")).unwrap();
    let mut media = framemd5(&timed);
    for frame in media.video.iter_mut().chain(&mut media.audio) {
        frame.dts = frame.pts;
    }
    let id = |line: &str| {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        format!("{} bytes {}", fields[4], fields[5])
    };
    Got { media, untimed: without.into_iter().map(id).collect() }
}

fn source(directory: &Path, file: &Path) -> Media {
    let (reader, out) = watches(directory, "source", None, file.to_str().unwrap());
    reader.ended_well();
    let Got { media, untimed } = got(&out);
    assert_eq!((media.video.len(), untimed.len()), (PICTURES, 0));
    media
}

/// The tracks are known, so that a player is described all of them.
fn wait_tracks(server: &Server, path: &str) {
    wait_until("two tracks", || {
        server
            .list("streams")
            .iter()
            .any(|s| s["path"] == path && s["tracks"].as_array().is_some_and(|tracks| tracks.len() == 2))
    });
}

#[track_caller]
fn check(who: &str, whole: &Media, got: &Got) -> (Part, Part) {
    let Got { media: got, untimed } = got;
    let mut video = part(&format!("{who}, video"), &whole.video, &got.video);
    let audio = part(&format!("{who}, audio"), &whole.audio, &got.audio);
    let missing = (whole.video.len() - video.end, whole.audio.len() - audio.end);
    assert_eq!(missing, (0, 0), "{who}: the last pictures and audio frames");
    assert!(untimed.len() <= 1, "{who}: {untimed:?} have no presentation time");
    for id in untimed {
        video.first -= 1;
        assert_eq!(*id, whole.video[video.first].id, "{who}: its first picture");
    }
    (video, audio)
}

fn everybody_plays(path: &str, publish: impl Fn(&Path, &Server, SocketAddr) -> Peer) {
    everybody_plays_a_file(path, |_| clip(), publish);
}

/// The same with another file than the clip, of the same media.
fn everybody_plays_a_file(
    path: &str,
    file: impl Fn(&Path) -> PathBuf,
    publish: impl Fn(&Path, &Server, SocketAddr) -> Peer,
) {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let whole = source(directory, &file(directory));
    let (server, rtsp) = start(directory, "");
    let url = format!("rtsp://{rtsp}/{path}");
    let publisher = publish(directory, &server, rtsp);
    wait_tracks(&server, path);
    let (tcp, tcp_out) = watches(directory, "tcp", Some("tcp"), &url);
    let (udp, udp_out) = watches(directory, "udp", Some("udp"), &url);
    wait_until("the first group of pictures to be over", || got(&tcp_out).media.video.len() > GOP);
    let (late, late_out) = watches(directory, "late", Some("tcp"), &url);
    server.wait_viewers(path, 3);
    let viewers = server.clients("viewer", path);
    assert!(viewers.iter().all(|c| c["protocol"] == "rtsp"), "{viewers:?}");
    assert!(viewers.iter().all(|c| c["agent"].as_str().unwrap().contains("Lavf")), "{viewers:?}");

    // Nobody is told to end: the publisher's clip is over, and its viewers hear BYE.
    publisher.ended_well();
    let mut received = Vec::new();
    for (who, viewer, out) in [("tcp", tcp, tcp_out), ("udp", udp, udp_out), ("late", late, late_out)] {
        viewer.ended_well();
        let got = got(&out);
        let (video, audio) = check(who, &whole, &got);
        assert!(video.first.is_multiple_of(GOP), "{who}: began with {}", video.first);
        assert!(who != "late" || video.first >= GOP, "the late one began with {}", video.first);
        received.push(got.bytes());
        assert!((video.offset - audio.offset).abs() <= 1, "{who}: {video:?} {audio:?}");
    }
    server.wait_deserted();
    let bytes = server.metrics().client_bytes();
    let mut sent: Vec<u64> = bytes.values().filter(|c| c.role == "viewer").map(|c| c.sent).collect();
    [&mut received, &mut sent].into_iter().for_each(|list| list.sort_unstable());
    assert_eq!(sent.len(), 3, "{bytes:?}");
    let counts = |(received, sent): (&u64, &u64)| received < sent && sent * 4 / 5 < *received;
    assert!(received.iter().zip(&sent).all(counts), "frames of {received:?} bytes came in {sent:?}");
    server.stop();
}

#[test]
fn ffmpeg_plays_over_tcp_and_udp_what_came_over_rtmp() {
    everybody_plays("live/rtmp", |directory, server, _| {
        ffmpeg_publishes(directory, &server.url("live/rtmp"))
    });
}

fn ours_publishes(directory: &Path, over: &str, file: &Path, url: &str) -> Peer {
    let arguments = ["publish", "--over", over, file.to_str().unwrap(), url];
    Peer::start(directory, "our-publisher", PROGRAM, &arguments)
}

#[test]
fn ffmpeg_plays_what_our_publisher_sent_interleaved() {
    everybody_plays("live/own-tcp", |directory, _, rtsp| {
        ours_publishes(directory, "tcp", &clip(), &format!("rtsp://{rtsp}/live/own-tcp"))
    });
}

#[test]
fn ffmpeg_plays_what_our_publisher_sent_from_an_mp4_file_over_udp() {
    let file = |directory: &Path| {
        let (from, to) = (clip(), directory.join("clip.mp4"));
        let copy = ["-i", from.to_str().unwrap(), "-c", "copy", to.to_str().unwrap()];
        output("ffmpeg", &[&["-loglevel", "error", "-nostdin"][..], &copy].concat());
        to
    };
    everybody_plays_a_file("live/own-udp", file, |directory, _, rtsp| {
        let url = format!("rtsp://{rtsp}/live/own-udp");
        ours_publishes(directory, "udp", &directory.join("clip.mp4"), &url)
    });
}

/// gst-rtsp-server takes what our publisher sends. It gives frames times by their arrival, so only content and order count.
#[test]
fn gstreamers_server_records_what_our_publisher_sent() {
    if !installed(&["ffmpeg", GST_RTSP_SERVER]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let file = directory.join("clip.mp4");
    let cut =
        ["-i", clip().to_str().unwrap(), "-t", "3", "-c", "copy", file.to_str().unwrap()].map(str::to_owned);
    let quiet = ["-loglevel", "error", "-nostdin"].map(str::to_owned);
    output("ffmpeg", &[&quiet[..], &cut].concat());
    let ids = |name: &str, file: &Path| {
        let (reader, out) = watches(directory, name, None, file.to_str().unwrap());
        reader.ended_well();
        let text = std::fs::read_to_string(out).unwrap();
        let id = |line: &str| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            (fields[0].to_owned(), fields[4..].join(" "))
        };
        let (video, audio): (Vec<_>, Vec<_>) =
            text.lines().filter(|l| !l.starts_with('#')).map(id).partition(|(track, _)| track == "0");
        (video, audio)
    };
    let whole = ids("source", &file);
    assert!(whole.0.len() > 70 && whole.1.len() > 130, "{} and {}", whole.0.len(), whole.1.len());
    for over in ["tcp", "udp"] {
        let recorded = directory.join(format!("{over}.mkv"));
        let program = common::root().join(GST_RTSP_SERVER);
        let mut server =
            Peer::start(directory, over, program.to_str().unwrap(), &[recorded.to_str().unwrap()]);
        wait_until("the server's port", || server.log().ends_with('\n') || !server.is_running());
        let url = format!("rtsp://127.0.0.1:{}/live", server.log().trim());
        ours_publishes(directory, over, &file, &url).ended_well();
        server.ended_well();
        let got = ids(&format!("{over}-recorded"), &recorded);
        assert_eq!(got, whole, "over {over}");
    }
}

#[test]
fn a_name_is_one_publishers_until_it_has_gone() {
    let directory = tempfile::tempdir().unwrap();
    let (server, rtsp) = start(directory.path(), "session_timeout = \"5s\"\n");
    let url = format!("rtsp://{rtsp}/live/one");
    let kind = "Content-Type: application/sdp\r\n";
    let mut first = Hand::connect(rtsp);
    let mut second = Hand::connect(rtsp);
    assert!(first.ask("ANNOUNCE", &url, kind, SDP).starts_with("RTSP/1.0 200"));
    assert!(second.ask("ANNOUNCE", &url, kind, SDP).starts_with("RTSP/1.0 403"));
    assert!(second.ask("DESCRIBE", &format!("{url}/none"), "", "").starts_with("RTSP/1.0 404"));
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record\r\n";
    let answer = first.ask("SETUP", &format!("{url}/trackID=0"), transport, "");
    assert!(answer.starts_with("RTSP/1.0 200"), "{answer}");
    let session = answer.lines().find_map(|l| l.strip_prefix("Session: ")).unwrap();
    let session = format!("Session: {}\r\n", session.split(';').next().unwrap());
    assert!(first.ask("RECORD", &url, &session, "").starts_with("RTSP/1.0 200"));
    // It says nothing any more: its session ends, and the name is free.
    let mut rest = Vec::new();
    first.io.read_to_end(&mut rest).unwrap();
    assert!(second.ask("ANNOUNCE", &url, kind, SDP).starts_with("RTSP/1.0 200"));
    server.stop();
}

#[test]
fn a_shutdown_says_goodbye_between_whole_packets() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (server, rtsp) = start(directory.path(), "");
    let _publisher = ffmpeg_publishes(directory.path(), &server.url("live/a"));
    wait_tracks(&server, "live/a");
    let (mut hand, url) = (Hand::connect(rtsp), format!("rtsp://{rtsp}/live/a"));
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=4-5\r\n";
    let answer = hand.ask("SETUP", &format!("{url}/trackID=0"), transport, "");
    let session = answer.lines().find_map(|l| l.strip_prefix("Session: ")).unwrap();
    let session = format!("Session: {}\r\n", session.split(';').next().unwrap());
    assert!(hand.ask("PLAY", &url, &session, "").starts_with("RTSP/1.0 200"));
    server.stop();
    let mut rest = Vec::new();
    hand.io.read_to_end(&mut rest).unwrap();
    let (mut at, mut packets, mut goodbye) = (0, 0, false);
    while let Some(head) = rest.get(at..at + 4) {
        assert_eq!(head[0], b'$', "no packet at byte {at} of {}", rest.len());
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let packet = &rest[at + 4..at + 4 + length];
        assert!(!goodbye, "a packet after BYE");
        // RTCP compounds: BYE has type 203.
        let mut part = if head[1] == 5 { packet } else { &[] };
        while let Some(head) = part.get(..4) {
            goodbye |= head[1] == 203;
            part = &part[4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]))..];
        }
        packets += usize::from(head[1] == 4);
        at += 4 + length;
    }
    assert_eq!(at, rest.len());
    assert!(packets > 0 && goodbye, "{packets} packets, goodbye: {goodbye}");
}

/// A player that stays hears BYE when the publisher has gone, and is told to go itself: what comes next may have other tracks,
/// so that it has to ask anew. One that asks finds nothing until somebody publishes again.
#[test]
fn players_are_sent_home_after_their_publisher() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (server, rtsp) = start(directory.path(), "session_timeout = \"1h\"\n");
    let url = format!("rtsp://{rtsp}/live/home");
    let publisher = ffmpeg_publishes(directory.path(), &server.url("live/home"));
    wait_tracks(&server, "live/home");
    let mut player = Hand::connect(rtsp);
    player.plays(&url);
    publisher.kill();
    let mut last = None;
    while let Some(packet) = player.packet() {
        last = Some(packet);
    }
    assert!(player.io.fill_buf().unwrap().is_empty(), "it is closed, not silent");
    let (channel, compound) = last.unwrap();
    let kinds: Vec<u8> = common::rtp::rtcp(&compound).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!((channel, kinds.last()), (1, Some(&common::rtp::BYE)), "{kinds:?}");
    assert!(Hand::connect(rtsp).ask("DESCRIBE", &url, "", "").starts_with("RTSP/1.0 404"));
    server.stop();
}

/// The other way to put AAC in RTP, as ffmpeg writes it.
#[test]
fn latm_by_ffmpeg_comes_out_as_it_went_in() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let whole = source(directory, &clip());
    let (server, rtsp) = start(directory, "");
    let url = format!("rtsp://{rtsp}/live/latm");
    let (from, over) = (clip(), ["-rtpflags", "latm", "-rtsp_transport", "tcp"]);
    let copy = ["-nostdin", "-re", "-i", from.to_str().unwrap(), "-t", "3", "-c", "copy", "-f", "rtsp"];
    let arguments: Vec<&str> = copy.into_iter().chain(over).chain([url.as_str()]).collect();
    let publisher = Peer::start(directory, "publisher", "ffmpeg", &arguments);
    wait_tracks(&server, "live/latm");
    let streams = server.list("streams");
    let tracks = streams[0]["tracks"].as_array().unwrap();
    assert!(tracks[1]["description"].as_str().unwrap().contains("LC"), "{tracks:?}");
    let (player, out) = watches(directory, "player", Some("tcp"), &url);
    publisher.ended_well();
    player.ended_well();
    let got = got(&out);
    let (video, audio) =
        (part("video", &whole.video, &got.media.video), part("audio", &whole.audio, &got.media.audio));
    assert!(audio.end - audio.first > 100 && (video.offset - audio.offset).abs() <= 1, "{video:?} {audio:?}");
    server.stop();
}

#[test]
fn packets_of_strangers_are_told_and_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let (server, rtsp) = start(directory.path(), "");
    let kind = "Content-Type: application/sdp\r\n";
    let url = format!("rtsp://{rtsp}/live/udp");
    let (rtp, mut publisher) = (UdpSocket::bind("127.0.0.1:0").unwrap(), Hand::connect(rtsp));
    assert!(publisher.ask("ANNOUNCE", &url, kind, SDP).starts_with("RTSP/1.0 200"));
    let port = rtp.local_addr().unwrap().port();
    let transport = format!("Transport: RTP/AVP;unicast;client_port={port}-{};mode=record\r\n", port ^ 1);
    let answer = publisher.ask("SETUP", &format!("{url}/trackID=0"), &transport, "");
    assert!(answer.starts_with("RTSP/1.0 200"), "{answer}");
    let ports = answer.split("server_port=").nth(1).unwrap();
    let server_port: u16 = ports.split(['-', ';', '\r']).next().unwrap().parse().unwrap();
    assert!(server_port.is_multiple_of(2));

    // Another session cannot have the same ports, and a packet from elsewhere goes nowhere.
    let mut other = Hand::connect(rtsp);
    assert!(other.ask("ANNOUNCE", &format!("{url}2"), kind, SDP).starts_with("RTSP/1.0 200"));
    let answer = other.ask("SETUP", &format!("{url}2/trackID=0"), &transport, "");
    assert!(answer.starts_with("RTSP/1.0 461"), "{answer}");
    let before = server.clients("publisher", "live/udp")[0]["bytes_in"].as_u64().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(&[0x80; 500], ("127.0.0.1", server_port)).unwrap();
    rtp.send_to(&[0x80; 100], ("127.0.0.1", server_port)).unwrap();
    let bytes = || server.clients("publisher", "live/udp")[0]["bytes_in"].as_u64().unwrap();
    wait_until("the packet of the publisher", || bytes() > before);
    assert_eq!(bytes(), before + 100);
    let log = server.stop();
    assert!(log.contains("a packet of nobody who set up a session"), "{log}");
}
