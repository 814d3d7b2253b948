//! Transport streams that ffmpeg sends in UDP, in RTP and over HTTP, and GStreamer in RTSP sessions, sniffed by tcpdump, against
//! ffprobe's counts of the same file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects
)]

mod common;

use std::net::UdpSocket;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use common::peer::{Peer, output};
use common::tshark::{Sniffer, fields};
use common::{GST_MPEGTS_SERVER, PROGRAM, installed, wait_until};
use serde_json::Value;

/// One sniffs at a time: whose media ports are not known sniffs all of UDP, the other's mark included.
static SNIFFS: Mutex<()> = Mutex::new(());

/// A second of pictures and sound: how ffmpeg codes them, and how the analyzer names them.
const CODINGS: [(&str, &str, &[&str]); 4] = [
    ("libx264", "aac", &["h264", "aac"]),
    ("libx265", "ac3", &["h265", "ac3"]),
    ("mpeg2video", "mp2", &["mpeg2video", "mp2"]),
    ("libx264", "eac3", &["h264", "eac3"]),
];

fn make(path: &Path, video: &str, audio: &str) {
    let mut arguments = vec!["-v", "error", "-nostdin", "-y"];
    arguments.extend(["-f", "lavfi", "-t", "1", "-i", "testsrc=size=160x96:rate=25"]);
    arguments.extend(["-f", "lavfi", "-t", "1", "-i", "sine=sample_rate=48000"]);
    arguments.extend(["-pix_fmt", "yuv420p", "-threads", "1", "-c:v", video, "-g", "10", "-c:a", audio]);
    arguments.extend(["-f", "mpegts", path.to_str().unwrap()]);
    output("ffmpeg", &arguments);
}

/// Frames of pictures, key frames, and frames of sound.
fn probed(path: &Path) -> [u64; 3] {
    let shown = ["-v", "error", "-show_entries", "packet=codec_type,flags", "-of", "csv=p=0"];
    let text = output("ffprobe", &[&shown[..], &[path.to_str().unwrap()]].concat());
    let count = |holds: &dyn Fn(&str) -> bool| text.lines().filter(|line| holds(line)).count() as u64;
    let video = |line: &str| line.contains("video");
    [count(&video), count(&|line| video(line) && line.contains('K')), count(&|line| line.contains("audio"))]
}

fn send(directory: &Path, name: &str, file: &Path, format: &str, url: &str) -> Peer {
    let file = file.to_str().unwrap();
    let arguments =
        ["-v", "warning", "-nostdin", "-re", "-i", file, "-map", "0", "-c", "copy", "-f", format, url];
    Peer::start(directory, name, "ffmpeg", &arguments)
}

fn analyzed(capture: &Path) -> Value {
    let text = output(PROGRAM, &["analyze", "--format", "json", capture.to_str().unwrap()]);
    serde_json::Deserializer::from_str(&text).into_iter().next().unwrap().unwrap()
}

/// The payload of the RTP packets that wait in a socket.
fn received(socket: &UdpSocket) -> Vec<u8> {
    socket.set_nonblocking(true).unwrap();
    let mut packet = [0; 2048];
    let mut payload = Vec::new();
    while let Ok(length) = socket.recv(&mut packet) {
        if packet[1] & 0x7f == 33 {
            payload.extend_from_slice(&packet[12..length]);
        }
    }
    payload
}

#[test]
fn transport_streams_on_the_wire_have_the_frames_of_their_files() {
    if !installed(&["ffmpeg", "ffprobe", "tcpdump"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    // Somebody listens everywhere: no ICMP comes back.
    let sockets: Vec<UdpSocket> =
        (0..CODINGS.len() * 2).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
    let http = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut filter = format!("tcp port {http}");
    ports.iter().for_each(|port| filter.push_str(&format!(" or udp dst port {port}")));
    let _alone = SNIFFS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(tcpdump) = Sniffer::of(directory, &filter) else { return };

    let mut senders = Vec::new();
    let mut files = Vec::new();
    for (n, (video, audio, _)) in CODINGS.iter().enumerate() {
        let file = directory.join(format!("{n}.ts"));
        make(&file, video, audio);
        let (udp, rtp) = (ports[n * 2], ports[n * 2 + 1]);
        let url = format!("udp://127.0.0.1:{udp}?pkt_size=1316");
        senders.push(send(directory, &format!("udp-{n}"), &file, "mpegts", &url));
        let url = format!("rtp://127.0.0.1:{rtp}?rtcpport={rtp}");
        senders.push(send(directory, &format!("rtp-{n}"), &file, "rtp_mpegts", &url));
        files.push(file);
    }
    for sender in senders {
        sender.ended_well();
    }
    // ffmpeg at both ends of one long answer.
    let url = format!("http://127.0.0.1:{http}/clip.ts");
    let file = files[0].to_str().unwrap();
    let served =
        ["-v", "warning", "-nostdin", "-i", file, "-c", "copy", "-f", "mpegts", "-listen", "1", &url];
    let server = Peer::start(directory, "http-server", "ffmpeg", &served);
    wait_until("the server to listen", || {
        std::fs::read_to_string("/proc/net/tcp").unwrap().lines().any(|line| {
            let mut columns = line.split_whitespace().skip(1);
            columns.next().is_some_and(|local| local.ends_with(&format!(":{http:04X}")))
                && columns.nth(1) == Some("0A")
        })
    });
    let watched = ["-v", "warning", "-nostdin", "-i", &url, "-c", "copy", "-f", "null", "-"];
    Peer::start(directory, "http-viewer", "ffmpeg", &watched).ended_well();
    server.ended_well();

    let analysis = analyzed(&tcpdump.stop());
    let sessions = analysis["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), ports.len() + 1, "{sessions:#?}");
    // At its end ffmpeg leaves out what does not fill an RTP packet: what was sent counts, without the frame that is cut.
    let sent: Vec<[u64; 3]> = (0..CODINGS.len())
        .map(|coding| {
            let file = directory.join("sent.ts");
            std::fs::write(&file, received(&sockets[coding * 2 + 1])).unwrap();
            probed(&file)
        })
        .collect();
    let check = |end: &str, port: u16, protocol: &str, coding: usize| {
        let session = sessions.iter().find(|session| session[end]["port"] == port).expect("a session");
        let (_, _, names) = CODINGS[coding];
        let what = format!("{protocol} {names:?}: {session:#}");
        assert_eq!(session["protocol"], protocol, "{what}");
        let tracks: Vec<&Value> = session["tracks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|track| track["kind"] != "data" || track["codec"].is_null())
            .collect();
        let of = |kind: &str| *tracks.iter().find(|track| track["kind"] == kind).expect(&what);
        let (video, audio) = (of("video"), of("audio"));
        assert_eq!((&video["codec"], &audio["codec"]), (&names[0].into(), &names[1].into()), "{what}");
        assert_eq!((&video["width"], &video["height"]), (&160.into(), &96.into()), "{what}");
        assert_eq!(audio["sample_rate"], 48_000, "{what}");
        let counts = [&video["frames"], &video["key_frames"], &audio["frames"]].map(|n| n.as_u64().unwrap());
        if protocol == "rtp" {
            let [pictures, keys, sounds] = sent[coding];
            assert_eq!(counts[..2], [pictures, keys], "{what}");
            assert!(counts[2] == sounds || counts[2] + 1 == sounds, "{sounds} frames of sound in {what}");
        } else {
            assert_eq!(counts, probed(&files[coding]), "{what}");
        }
        assert!([video, audio].iter().all(|track| track["lost_packets"] == 0), "{what}");
        assert!(session["first_frame_ms"].is_number(), "{what}");
    };
    for coding in 0..CODINGS.len() {
        check("client", ports[coding * 2], "mpegts", coding);
        check("client", ports[coding * 2 + 1], "rtp", coding);
    }
    check("server", http, "mpegts", 0);
}

/// gst-rtsp-server sends the file over TCP and over UDP; the tracks are those of the file, behind the RTP track that holds them.
#[test]
fn transport_streams_in_rtsp_sessions_have_the_frames_of_their_file() {
    if !installed(&["ffmpeg", "ffprobe", "tcpdump", "tshark", "editcap", GST_MPEGTS_SERVER]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let file = directory.join("clip.ts");
    make(&file, "libx264", "aac");
    let program = common::root().join(GST_MPEGTS_SERVER);
    let server = Peer::start(directory, "server", program.to_str().unwrap(), &[file.to_str().unwrap()]);
    wait_until("the server's port", || server.log().ends_with('\n'));
    let port: u16 = server.log().trim().parse().unwrap();
    let _alone = SNIFFS.lock().unwrap_or_else(PoisonError::into_inner);
    // Its media ports are known only when it sends.
    let Some(tcpdump) = Sniffer::of(directory, &format!("tcp port {port} or (udp and not port 53)")) else {
        return;
    };
    let url = format!("rtsp://127.0.0.1:{port}/live");
    for over in ["tcp", "udp"] {
        let watched =
            ["-v", "error", "-nostdin", "-rtsp_transport", over, "-i", &url, "-c", "copy", "-f", "null", "-"];
        Peer::start(directory, over, "ffmpeg", &watched).ended_well();
    }
    server.stop();
    let capture = tcpdump.stop();
    let of_server = |analysis: &Value| -> Vec<Value> {
        let sessions = analysis["sessions"].as_array().unwrap().iter();
        sessions.filter(|session| session["server"]["port"] == port).cloned().collect()
    };
    let numbers = |track: &Value, names: [&str; 3]| names.map(|name| track[name].as_u64().unwrap());
    let [pictures, keys, sounds] = probed(&file);
    let sessions = of_server(&analyzed(&capture));
    assert_eq!(sessions.len(), 2, "{sessions:#?}");
    for (session, over) in sessions.iter().zip(["interleaved", "udp"]) {
        assert_eq!((&session["protocol"], &session["transport"]), (&"rtsp".into(), &over.into()));
        let [whole, video, audio] = &session["tracks"].as_array().unwrap()[..] else { panic!("{session:#}") };
        assert_eq!((&whole["kind"], &whole["codec"]), (&"data".into(), &"mpegts".into()), "{session:#}");
        assert_eq!(whole["lost_packets"], 0, "{session:#}");
        assert_eq!((&video["codec"], &audio["codec"]), (&"h264".into(), &"aac".into()), "{session:#}");
        assert_eq!((&audio["profile"], &audio["sample_rate"]), (&"LC".into(), &48_000.into()), "{session:#}");
        assert_eq!((&video["width"], &video["height"]), (&160.into(), &96.into()), "{session:#}");
        assert_eq!(
            numbers(video, ["frames", "key_frames", "lost_packets"]),
            [pictures, keys, 0],
            "{session:#}"
        );
        assert_eq!(numbers(audio, ["frames", "frames", "lost_packets"]), [sounds, sounds, 0], "{session:#}");
        assert!(session["first_frame_ms"].is_number(), "{session:#}");
    }

    // A datagram out of the middle is missing: so are its seven transport packets, among them up to three of the tables.
    let big = fields(&capture, "udp.srcport > 1024 && udp.length > 1300", &["frame.number"]);
    let cut = directory.join("cut.pcap");
    let lost = &big[big.len() / 2][0];
    output("editcap", &[capture.to_str().unwrap(), cut.to_str().unwrap(), lost]);
    let sessions = of_server(&analyzed(&cut));
    let lost: Vec<u64> = sessions[1]["tracks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|track| track["lost_packets"].as_u64().unwrap())
        .collect();
    assert!(lost[0] == 1 && (4..=7).contains(&(lost[1] + lost[2])), "{:#}", sessions[1]);
}
