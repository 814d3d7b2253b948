//! Broken, slow and hostile input on the ports of RTSP and RTP: a clear answer for the one who sent it, and viewers over RTMP,
//! RTSP and HLS lose nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]

mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use common::flv::{self, Tag};
use common::frames::parts;
use common::peer::Peer;
use common::raw::{allow_many_files, noise};
use common::rml::{Publisher, Viewer, steps};
use common::rtsp::{Hand, SDP_TYPE, SOUND, server_ports, watches};
use common::server::Server;
use common::{PATIENCE, clip, installed, wait_until};

/// A stream that goes on while others misbehave, and a viewer of each kind, none of which may lose a frame. All are ffmpeg.
struct Witnesses {
    publisher: Peer,
    viewers: Vec<(&'static str, Peer, PathBuf)>,
    /// Pictures and sound of the clip, which is published again and again.
    clip: [Vec<String>; 2],
}

/// Pictures and sound in a file of framemd5, by size and hash.
fn frames(file: &Path) -> [Vec<String>; 2] {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut found = [Vec::new(), Vec::new()];
    let sound = text.lines().find_map(|l| l.strip_prefix("#media_type ")?.strip_suffix(": audio"));
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        // The last line may be in the making.
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        if let [stream, _, _, _, size, hash, ..] = fields[..]
            && hash.len() == 32
        {
            found[usize::from(Some(stream) == sound)].push(format!("{size} bytes {hash}"));
        }
    }
    found
}

/// How often `got` went around `whole`, without a gap, as the place of its first frame and of the one after its last.
#[track_caller]
fn around(who: &str, whole: &[String], got: &[String]) -> (usize, usize) {
    assert!(!got.is_empty(), "{who}: no frame came");
    let follows = |first: usize| {
        let differs = |(at, id): (usize, &String)| *id != whole[(first + at) % whole.len()];
        got.iter().enumerate().position(|(at, id)| differs((at, id))).unwrap_or(got.len())
    };
    let first = (0..whole.len()).max_by_key(|first| follows(*first)).unwrap();
    let same = follows(first);
    assert_eq!(same, got.len(), "{who}: of {} frames, number {same} is not the next one", got.len());
    (first, (first + got.len()) % whole.len())
}

impl Witnesses {
    fn start(directory: &Path, server: &Server) -> Self {
        let (source, out) = watches(directory, "source", None, clip().to_str().unwrap());
        source.ended_well();
        let whole = frames(&out);
        let clip = clip();
        let (clip, url) = (clip.to_str().unwrap(), server.url("live/witness"));
        let arguments =
            ["-nostdin", "-re", "-stream_loop", "-1", "-i", clip, "-c", "copy", "-f", "flv", &url];
        let publisher = Peer::start(directory, "publisher", "ffmpeg", &arguments);
        server.wait_published("live/witness");
        let rtsp = format!("rtsp://{}/live/witness", server.rtsp.unwrap());
        let hls = format!("http://{}/live/witness/index.m3u8", server.hls);
        let viewers = [
            ("rtmp", None, &url),
            ("rtsp-tcp", Some("tcp"), &rtsp),
            ("rtsp-udp", Some("udp"), &rtsp),
            ("hls", None, &hls),
        ];
        let start = |(name, over, url): (&'static str, Option<&str>, &String)| {
            let (peer, out) = watches(directory, name, over, url);
            (name, peer, out)
        };
        let viewers = viewers.into_iter().map(start).collect();
        let witnesses = Self { publisher, viewers, clip: whole };
        witnesses.go_on("at the start");
        witnesses
    }

    /// Each viewer gets further pictures.
    #[track_caller]
    fn go_on(&self, when: &str) {
        for (name, _, out) in &self.viewers {
            let before = frames(out)[0].len();
            wait_until(&format!("pictures over {name}, {when}"), || frames(out)[0].len() > before);
        }
    }

    /// The publisher ends. All viewers have had everything from where they began to the same last frame.
    #[track_caller]
    fn end(self) {
        self.publisher.stop();
        let mut ends = Vec::new();
        for (name, viewer, out) in self.viewers {
            viewer.ended_well();
            let [pictures, sound] = frames(&out);
            let (first, end) = around(&format!("{name}, pictures"), &self.clip[0], &pictures);
            assert_eq!(first % 50, 0, "{name}: begins with picture {first}, which is no key frame");
            let sound = around(&format!("{name}, sound"), &self.clip[1], &sound);
            ends.push((name, end, sound.1));
        }
        assert!(ends.iter().all(|end| (end.1, end.2) == (ends[0].1, ends[0].2)), "they end apart: {ends:?}");
    }
}

/// One thing to say and the answers it gets: status codes, and whether the connection is closed then.
struct Case {
    what: &'static str,
    says: Vec<u8>,
    status: Vec<u16>,
    closes: bool,
}

fn case(what: &'static str, says: impl Into<Vec<u8>>, status: &[u16], closes: bool) -> Case {
    Case { what, says: says.into(), status: status.to_vec(), closes }
}

fn announce(path: &str, kind: &str, sdp: &str) -> String {
    let length = sdp.len();
    format!("ANNOUNCE rtsp://h/{path} RTSP/1.0\r\nCSeq: 1\r\n{kind}Content-Length: {length}\r\n\r\n{sdp}")
}

fn setup(transport: &str) -> String {
    format!("SETUP rtsp://h/live/witness/trackID=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: {transport}\r\n\r\n")
}

fn request(line: &str, headers: &str) -> String {
    format!("{line} RTSP/1.0\r\nCSeq: 1\r\n{headers}\r\n")
}

fn cases() -> Vec<Case> {
    let options = request("OPTIONS *", "");
    let unknown = [&b"$\x07\x00\x04junk$\xff\xff\xff"[..], &noise(1, 0xffff), options.as_bytes()].concat();
    let codec = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";
    let many: String = (0..65).map(|_| "m=audio 0 RTP/AVP 0\r\n").collect();
    let headers = |n: usize| (0..n).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    vec![
        case("noise", [&b"\x80"[..], &noise(2, 100_000)].concat(), &[400], true),
        case("TLS", [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &noise(3, 600)].concat(), &[400], true),
        case("HTTP", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", &[505], false),
        case("a line without end", vec![b'A'; 20_000], &[414], true),
        case("a header without end", request("OPTIONS *", &"X".repeat(20_000)), &[400], true),
        case("headers without end", format!("OPTIONS * RTSP/1.0\r\n{}", headers(100_000)), &[400], true),
        case(
            "a head of 100 kB",
            request("OPTIONS *", &format!("X: {}\r\n", "y".repeat(8000)).repeat(13)),
            &[400],
            true,
        ),
        case(
            "99999999999 bytes",
            request("ANNOUNCE rtsp://h/a", "Content-Length: 99999999999\r\n"),
            &[413],
            true,
        ),
        case("-1 bytes", request("ANNOUNCE rtsp://h/a", "Content-Length: -1\r\n"), &[400], true),
        case("two lengths", request("OPTIONS *", "Content-Length: 0\r\nContent-Length: 5\r\n"), &[400], true),
        case("no CSeq", "OPTIONS * RTSP/1.0\r\n\r\n", &[400], false),
        case("an unknown method", request("BREW *", ""), &[501], false),
        case("a wish nobody knows", request("OPTIONS *", "Require: all\r\n"), &[551], false),
        case("a description that is none", announce("a", SDP_TYPE, "hello"), &[400], false),
        case("a description of nothing", announce("a", SDP_TYPE, "v=0\r\ns=-\r\n"), &[400], false),
        case("a description of 65 tracks", announce("a", SDP_TYPE, &format!("v=0\r\n{many}")), &[400], false),
        case("a codec nobody reads", announce("a", SDP_TYPE, codec), &[415], false),
        case("a description in XML", announce("a", "Content-Type: text/xml\r\n", SOUND), &[415], false),
        case("a path out of the tree", announce("../../etc/passwd", SDP_TYPE, SOUND), &[400], false),
        case("a taken name", announce("live/witness", SDP_TYPE, SOUND), &[403], false),
        case("no such stream", request("DESCRIBE rtsp://h/none", ""), &[404], false),
        case("multicast", setup("RTP/AVP;multicast"), &[461], false),
        case("no ports", setup("RTP/AVP;unicast"), &[461], false),
        case("ports that are none", setup("RTP/AVP;unicast;client_port=70000-70001"), &[461], false),
        case("encryption", setup("RTP/SAVP;unicast;client_port=5000-5001"), &[461], false),
        case("no transport", setup(""), &[461], false),
        case("too many transports", setup(&"RTP/AVP/TCP,".repeat(100)), &[400], false),
        case(
            "somebody else's address",
            setup("RTP/AVP;client_port=5000-5001;destination=192.0.2.1"),
            &[403],
            false,
        ),
        case("PLAY of no session", request("PLAY rtsp://h/live/witness", "Session: 1\r\n"), &[454], false),
        case("RECORD of no session", request("RECORD rtsp://h/live/witness", ""), &[454], false),
        case("packets on channels nobody agreed on", unknown, &[200], false),
        case("a hundred requests at once", options.repeat(100), &[200; 100], false),
        case("goes within a head", &b"OPTIONS * RT"[..], &[], false),
        case(
            "goes within a body",
            &b"ANNOUNCE rtsp://h/a RTSP/1.0\r\nContent-Length: 9\r\n\r\n"[..],
            &[],
            false,
        ),
        case("goes within a packet", &b"$\x00\xff\xff"[..], &[], false),
    ]
}

/// Says one thing, and checks what is answered.
#[track_caller]
fn try_case(rtsp: SocketAddr, case: &Case) {
    let Case { what, says, status, closes } = case;
    let mut hand = Hand::connect(rtsp);
    hand.send(says);
    for want in status {
        let answer = hand.answer().unwrap_or_else(|| panic!("{what}: closed without an answer"));
        assert!(answer.starts_with(&format!("RTSP/1.0 {want} ")), "{what}: {answer}");
    }
    if *closes {
        assert!(hand.answer().is_none(), "{what}: not closed");
    } else if !status.is_empty() {
        // The next request is answered as if nothing had been.
        hand.asks_well("OPTIONS", "*", "", "");
    }
}

/// RTP and RTCP headers with anything behind them, and anything at all.
fn junk_packets(payload_type: u8) -> Vec<(bool, Vec<u8>)> {
    let mut packets = Vec::new();
    for n in 0..200u16 {
        let body = noise(u64::from(n) + 100, usize::from(n) * 7);
        packets.push((n % 3 == 0, body.clone()));
        let mut rtp = vec![0x80, payload_type | if n % 4 == 0 { 0x80 } else { 0 }];
        rtp.extend((n / 2).to_be_bytes());
        rtp.extend((u32::from(n) * 3000).to_be_bytes());
        rtp.extend([0, 0, 0, 1]);
        rtp.extend(&body);
        packets.push((false, rtp));
        let mut rtcp = vec![0x80 | (n as u8 & 0x1f), 200 + (n % 5) as u8];
        rtcp.extend(((body.len() / 4) as u16).to_be_bytes());
        rtcp.extend(&body);
        packets.push((true, rtcp));
    }
    packets
}

/// An even port and the next one.
fn port_pair() -> (UdpSocket, UdpSocket) {
    loop {
        let rtp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = rtp.local_addr().unwrap().port();
        if let Ok(rtcp) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port ^ 1)) {
            return if port.is_multiple_of(2) { (rtp, rtcp) } else { (rtcp, rtp) };
        }
    }
}

fn bytes_in(server: &Server, path: &str) -> u64 {
    server.clients("publisher", path)[0]["bytes_in"].as_u64().unwrap()
}

/// Strangers at the ports are counted, and have no other effect.
fn strangers_are_counted(server: &Server) {
    const NAME: &str = "streamgauge_rtp_unknown_source_total";
    let rtp = server.rtp.unwrap();
    let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
    let count = || server.metrics().sum(NAME, &[]);
    let (before, streams) = (count(), server.list("streams").len());
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let packets = junk_packets(96);
    for (sent, (to_rtcp, packet)) in packets.iter().enumerate() {
        stranger.send_to(packet, if *to_rtcp { rtcp } else { rtp }).unwrap();
        // No more at once than the system holds.
        if sent % 50 == 49 {
            wait_until("strangers to be counted", || count() - before >= (sent + 1) as f64);
        }
    }
    assert_eq!(count() - before, packets.len() as f64);
    assert_eq!(server.list("streams").len(), streams, "no state for strangers");
}

/// A publisher whose packets mean nothing stays what it is, a publisher.
fn junk_over_udp(server: &Server, rtsp: SocketAddr) {
    let url = format!("rtsp://{rtsp}/live/junk-udp");
    let mut hand = Hand::connect(rtsp);
    let pairs = [port_pair(), port_pair()];
    let transport = |track: usize| {
        let [rtp, rtcp] = [&pairs[track].0, &pairs[track].1].map(|s| s.local_addr().unwrap().port());
        format!("RTP/AVP;unicast;client_port={rtp}-{rtcp}")
    };
    let (session, answer) = hand.records(&url, transport);
    let to = server_ports(&answer);
    let strangers = server.metrics().sum("streamgauge_rtp_unknown_source_total", &[]);
    for ((rtp, rtcp), payload_type) in pairs.iter().zip([96, 97]) {
        let (mut before, mut sent) = (bytes_in(server, "live/junk-udp"), 0);
        for (n, (is_rtcp, packet)) in junk_packets(payload_type).iter().enumerate() {
            let (socket, port) = if *is_rtcp { (rtcp, to.1) } else { (rtp, to.0) };
            socket.send_to(packet, (Ipv4Addr::LOCALHOST, port)).unwrap();
            sent += packet.len() as u64;
            if n % 100 == 99 {
                wait_until("the publisher's packets", || bytes_in(server, "live/junk-udp") >= before + sent);
                (before, sent) = (bytes_in(server, "live/junk-udp"), 0);
            }
        }
    }
    assert_eq!(server.metrics().sum("streamgauge_rtp_unknown_source_total", &[]), strangers);
    hand.asks_well("GET_PARAMETER", &url, &session, "");
    hand.asks_well("TEARDOWN", &url, &session, "");
}

fn interleaved(channel: u8, packet: &[u8]) -> Vec<u8> {
    let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
    [&[b'$', channel], &length[..], packet].concat()
}

fn over_tcp(track: usize) -> String {
    format!("RTP/AVP/TCP;unicast;interleaved={}-{}", 2 * track, 2 * track + 1)
}

fn junk_over_tcp(rtsp: SocketAddr) {
    let url = format!("rtsp://{rtsp}/live/junk-tcp");
    let mut hand = Hand::connect(rtsp);
    let (session, _) = hand.records(&url, over_tcp);
    for (channels, payload_type) in [((0, 1), 96), ((2, 3), 97), ((8, 9), 97)] {
        for (is_rtcp, packet) in junk_packets(payload_type) {
            hand.send(&interleaved(if is_rtcp { channels.1 } else { channels.0 }, &packet));
        }
        hand.asks_well("GET_PARAMETER", &url, &session, "");
    }
    hand.asks_well("TEARDOWN", &url, &session, "");
}

#[test]
fn whoever_misbehaves_gets_the_right_answer_and_harms_nobody() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    if !allow_many_files() {
        return;
    }
    let server = Server::start_for_many(&[]);
    let rtsp = server.rtsp.unwrap();
    let witnesses = Witnesses::start(directory.path(), &server);

    for case in cases() {
        try_case(rtsp, &case);
    }
    let mut slow = Hand::connect(rtsp);
    for byte in request("OPTIONS *", "User-Agent: slow\r\n").bytes() {
        slow.send(&[byte]);
    }
    assert!(slow.answer().unwrap().starts_with("RTSP/1.0 200"));
    strangers_are_counted(&server);
    junk_over_udp(&server, rtsp);
    junk_over_tcp(rtsp);
    witnesses.go_on("while others misbehave");

    let before = server.peak_memory();
    let kept = half_open(rtsp);
    witnesses.go_on("with a thousand messages half open");
    let grown = server.peak_memory().saturating_sub(before);
    assert!(grown < 64 * 1024, "VmHWM grew by {grown} KiB, from {before} KiB");
    println!("VmHWM grew by {grown} KiB, from {before} KiB");
    let evicted = [("protocol", "rtsp"), ("outcome", "evicted")];
    wait_until("the oldest to be gone", || {
        server.metrics().sum("streamgauge_sessions_total", &evicted) >= 300.0
    });
    try_case(rtsp, &case("one more", request("OPTIONS *", ""), &[200], false));
    drop(kept);
    witnesses.end();
    server.wait_deserted();
    assert_eq!(server.metrics().sum("streamgauge_open_message_bytes", &[]), 0.0);
    assert_eq!(server.metrics().sum("streamgauge_frames_dropped_total", &[]), 0.0);
    server.stop();
}

/// A thousand messages half open: declared far larger than taken, sent nearly whole, and pictures that never end.
fn half_open(rtsp: SocketAddr) -> Vec<Hand> {
    let mut kept = Vec::new();
    let body = vec![b'a'; 200_000];
    for number in 0..1000usize {
        let mut hand = Hand::connect(rtsp);
        let head = |length: usize| {
            request(
                &format!("ANNOUNCE rtsp://h/hostile/{number}"),
                &format!("{SDP_TYPE}Content-Length: {length}\r\n"),
            )
        };
        match number % 20 {
            0..10 => {
                hand.send(head(5_000_000).as_bytes());
                hand.send(&body[..8000]);
                assert!(hand.answer().unwrap().starts_with("RTSP/1.0 413"));
            }
            10..19 => {
                hand.send(head(250_000).as_bytes());
                hand.send(&body);
            }
            _ => {
                hand.records(&format!("rtsp://{rtsp}/hostile/{number}"), over_tcp);
                let header = |n: u16| [&[0x80, 97][..], &n.to_be_bytes(), &[0; 7], &[1]].concat();
                for n in 0..16u16 {
                    // FU-A: the first fragment, then more of it.
                    let fragment = [&header(n)[..], &[0x7c, if n == 0 { 0x85 } else { 5 }], &body[..60_000]];
                    hand.send(&interleaved(2, &fragment.concat()));
                }
            }
        }
        kept.push(hand);
    }
    kept
}

/// A picture as its packets show it: timestamp, and whether a decoder can start there.
type Picture = (u32, bool);

/// Reads packets until BYE, and tells each new picture.
fn reads(mut hand: Hand, mut tell: impl FnMut(Picture)) {
    let mut last = None;
    while let Some((channel, packet)) = hand.packet() {
        if channel == 1 {
            // Compound packets: BYE has type 203.
            let mut rest = &packet[..];
            while let Some(head) = rest.get(..4) {
                if head[1] == 203 {
                    return;
                }
                rest = &rest[4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]))..];
            }
            continue;
        }
        let timestamp = u32::from_be_bytes(packet[4..8].try_into().unwrap());
        if last != Some(timestamp) {
            last = Some(timestamp);
            // Key pictures come with their parameter sets before them, together (STAP-A) or one by one.
            tell((timestamp, matches!(packet[12] & 0x1f, 24 | 7)));
        }
    }
    panic!("the connection ended without BYE");
}

/// Configuration, pictures and sound of the clip, so many times one after the other.
fn clips(count: u32) -> Vec<Tag> {
    let tags = flv::tags(&clip());
    let tags: Vec<Tag> = tags.into_iter().filter(|t| matches!(t.kind, flv::VIDEO | flv::AUDIO)).collect();
    let length = tags.iter().map(|t| t.time).max().unwrap() + 40;
    let turn = |n: u32| tags.iter().filter(move |t| n == 0 || !t.is_config()).map(move |t| (n, t));
    (0..count).flat_map(turn).map(|(n, t)| Tag { time: t.time + n * length, ..t.clone() }).collect()
}

fn small_buffers(directory: &Path, stall: &str) -> Server {
    let file = directory.join("serve.toml");
    let buffers = "[rtmp]\nsend_buffer = 16384\nunsent_low_water = 16384\n";
    std::fs::write(&file, format!("{buffers}[limits]\nviewer_stall = \"{stall}\"\n")).unwrap();
    Server::start(&["--config", file.to_str().unwrap()])
}

fn pictures(tags: &[Tag]) -> usize {
    tags.iter().filter(|t| t.is_picture()).count()
}

#[test]
fn a_slow_viewer_is_moved_to_a_key_frame() {
    let directory = tempfile::tempdir().unwrap();
    let server = small_buffers(directory.path(), "60s");
    let (tags, url) = (clips(4), format!("rtsp://{}/live/slow", server.rtsp.unwrap()));
    let mut publisher = Publisher::start(server.rtmp, "live", "slow").unwrap();
    let witness = Viewer::start(server.rtmp, "live", "slow").unwrap();
    let steps = steps(&tags, 25);
    publisher.send_watched(steps[0], &witness).unwrap();
    let [mut prompt, mut slow] = [(); 2].map(|()| Hand::connect(server.rtsp.unwrap()));
    prompt.plays(&url);
    slow.plays(&url);
    let (tell, told) = mpsc::channel();
    let prompt = std::thread::spawn(move || reads(prompt, |picture| tell.send(picture).unwrap()));
    let mut seen: Vec<Picture> = Vec::new();
    let mut waits = |until: usize| {
        while seen.len() < until {
            seen.push(told.recv_timeout(PATIENCE).expect("a picture for the viewer that keeps up"));
        }
    };

    // It reads nothing for three quarters of the time, and then goes on, in small pieces.
    let mut sent = pictures(steps[0]);
    let mut slow = Some(slow);
    let mut slowly = None;
    for step in &steps[1..] {
        if sent > pictures(&tags) * 3 / 4
            && let Some(slow) = slow.take()
        {
            slowly = Some(std::thread::spawn(move || {
                let mut got = Vec::new();
                reads(slow, |picture| got.push(picture));
                got
            }));
        }
        publisher.send_watched(step, &witness).unwrap();
        sent += pictures(step);
        waits(sent);
    }
    publisher.finish().unwrap();
    prompt.join().unwrap();
    let slow = slowly.unwrap().join().unwrap();

    let all = pictures(&tags);
    let missing = all - slow.len();
    let dropped = server.metrics().sum("streamgauge_frames_dropped_total", &[("protocol", "rtsp")]);
    assert!(missing > 0 && dropped >= missing as f64, "{missing} pictures missing, {dropped} frames dropped");
    let second = 90_000;
    let jumps: Vec<&[Picture]> =
        slow.windows(2).filter(|p| p[1].0.wrapping_sub(p[0].0) as i32 > second).collect();
    assert!(
        !jumps.is_empty() && jumps.iter().all(|pair| pair[1].1),
        "it goes on with key pictures: {jumps:?}"
    );
    assert_eq!(seen.len(), all, "who keeps up has them all");
    let length = |got: &[Picture]| got.last().unwrap().0.wrapping_sub(got[0].0);
    assert_eq!(length(&slow), length(&seen), "the slow one too gets the last picture");
    let (whole, got) = (flv::media(&tags), flv::media(&witness.watched().tags));
    let got = parts("the witness", &whole, &got);
    assert_eq!((got.video.first, got.video.end, got.audio.end), (0, all, whole.audio.len()));
    assert_eq!(server.metrics().sum("streamgauge_frames_dropped_total", &[("protocol", "rtmp")]), 0.0);
    server.stop();
}

#[test]
fn a_viewer_that_takes_nothing_any_more_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let server = small_buffers(directory.path(), "500ms");
    let tags = clips(2);
    let mut publisher = Publisher::start(server.rtmp, "live", "stops").unwrap();
    let witness = Viewer::start(server.rtmp, "live", "stops").unwrap();
    let steps = steps(&tags, 25);
    publisher.send_watched(steps[0], &witness).unwrap();
    let mut stops = Hand::connect(server.rtsp.unwrap());
    stops.plays(&format!("rtsp://{}/live/stops", server.rtsp.unwrap()));
    for step in &steps[1..] {
        publisher.send_watched(step, &witness).unwrap();
    }
    wait_until("the one that stopped to be dropped", || {
        let stalled = [("protocol", "rtsp"), ("role", "viewer"), ("outcome", "stalled")];
        server.metrics().sum("streamgauge_sessions_total", &stalled) == 1.0
    });
    publisher.finish().unwrap();
    let (whole, got) = (flv::media(&tags), flv::media(&witness.watched().tags));
    let got = parts("the witness", &whole, &got);
    assert_eq!((got.video.end, got.audio.end), (whole.video.len(), whole.audio.len()));
    let log = server.stop();
    assert!(log.contains("its socket took nothing any more"), "{log}");
}
