//! Broken, slow and hostile input: a clear error for the one who sent it, and nobody else notices.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod common;

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

use common::flv::{self, AUDIO, Tag, VIDEO};
use common::frames::parts;
use common::raw::{allow_many_files, noise};
use common::rml::{Publisher, Viewer, steps};
use common::server::Server;
use common::{PROGRAM, clip, raw, wait_for};

/// A stream that goes on while others misbehave, and a viewer of it that must not lose a frame.
struct Witness {
    tags: Vec<Tag>,
    sent: usize,
    publisher: Publisher,
    viewer: Viewer,
}

impl Witness {
    fn start(server: &Server, key: &str) -> Self {
        let tags: Vec<Tag> =
            flv::tags(&clip()).into_iter().filter(|t| t.kind == VIDEO || t.kind == AUDIO).collect();
        let publisher = Publisher::start(server.rtmp, "live", key).unwrap();
        let viewer = Viewer::start(server.rtmp, "live", key).unwrap();
        let mut witness = Self { tags, sent: 0, publisher, viewer };
        witness.goes_on("at the start");
        witness
    }

    /// The next few frames pass through the server.
    #[track_caller]
    fn goes_on(&mut self, when: &str) {
        let Some(step) = steps(&self.tags[self.sent..], 10).first().copied() else {
            panic!("{when}: clip over")
        };
        let sent = self.publisher.send_watched(step, &self.viewer);
        sent.unwrap_or_else(|e| panic!("{when}: {e}"));
        self.sent += step.len();
    }

    #[track_caller]
    fn ends(mut self) {
        self.publisher.send_watched(&self.tags[self.sent..], &self.viewer).unwrap();
        self.publisher.finish().unwrap();
        let whole = flv::media(&self.tags);
        let seen = parts("the witness", &whole, &flv::media(&self.viewer.watched().tags));
        assert_eq!((seen.video.first, seen.video.end), (0, whole.video.len()));
        assert_eq!((seen.audio.first, seen.audio.end), (0, whole.audio.len()));
    }
}

/// Sends as much as the server takes; a server that closes meanwhile is within its rights.
fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

/// One way to misbehave; the connection is kept open by the caller where one is returned.
type Misbehave = fn(SocketAddr) -> Option<TcpStream>;

const WAYS: &[(&str, Misbehave)] = &[
    ("goes at once", |server| {
        drop(raw::connect(server).unwrap());
        None
    }),
    ("says nothing", |server| raw::connect(server).ok()),
    ("sends noise", |server| {
        let mut stream = raw::connect(server).unwrap();
        send(&mut stream, &noise(1, 200_000));
        Some(stream)
    }),
    ("speaks HTTP", |server| {
        let mut stream = raw::connect(server).unwrap();
        send(&mut stream, b"GET / HTTP/1.1\r\nHost: example\r\n\r\n");
        Some(stream)
    }),
    ("speaks TLS", |server| {
        let mut stream = raw::connect(server).unwrap();
        send(&mut stream, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
        send(&mut stream, &noise(2, 600));
        Some(stream)
    }),
    ("ends within C1", |server| {
        let mut stream = raw::connect(server).unwrap();
        send(&mut stream, &[3; 700]);
        let _ = stream.shutdown(Shutdown::Write);
        Some(stream)
    }),
    ("stops after a byte of C1", |server| {
        let mut stream = raw::connect(server).unwrap();
        send(&mut stream, &[3, 0]);
        Some(stream)
    }),
    ("sends noise after the handshake", |server| {
        let mut stream = raw::shake_hands(server).unwrap();
        send(&mut stream, &noise(3, 200_000));
        Some(stream)
    }),
    ("sets a chunk size of 0", |server| {
        let mut stream = raw::shake_hands(server).unwrap();
        send(&mut stream, &raw::message(2, 1, 0, &[0, 0, 0, 0]));
        send(&mut stream, &raw::connect_command("live"));
        Some(stream)
    }),
    ("sets a chunk size with the top bit", |server| {
        let mut stream = raw::shake_hands(server).unwrap();
        send(&mut stream, &raw::message(2, 1, 0, &[0xff, 0xff, 0xff, 0xff]));
        send(&mut stream, &raw::header(3, 20, 0xff_ffff, 0));
        send(&mut stream, &noise(4, 100_000));
        Some(stream)
    }),
    ("continues a chunk stream that never began", |server| {
        let mut stream = raw::shake_hands(server).unwrap();
        send(&mut stream, &[0xc5; 64]);
        Some(stream)
    }),
    ("begins a message on each of 4,000 chunk streams", |server| {
        let mut stream = raw::shake_hands(server).unwrap();
        for number in 0..4000u16 {
            let mut chunk = vec![1];
            chunk.extend(number.to_le_bytes());
            chunk.extend(&raw::header(3, 9, 0xff_ffff, 1)[1..]);
            chunk.extend([0; 128]);
            send(&mut stream, &chunk);
        }
        Some(stream)
    }),
    ("nests 100,000 arrays in its connect", |server| {
        let mut stream = raw::shake_hands(server).unwrap();
        let mut body = raw::string("connect");
        body.extend(raw::number(1.0));
        for _ in 0..100_000 {
            body.extend([0x0a, 0, 0, 0, 1]);
        }
        send(&mut stream, &raw::message(3, 20, 0, &body));
        Some(stream)
    }),
    ("declares an array of four thousand million numbers", |server| {
        let mut stream = raw::shake_hands(server).unwrap();
        let mut body = raw::string("connect");
        body.extend(raw::number(1.0));
        body.extend([0x0a, 0xff, 0xff, 0xff, 0xff]);
        send(&mut stream, &raw::message(3, 20, 0, &body));
        Some(stream)
    }),
    ("ends within a message of 16 MB", |server| {
        let mut stream = raw::shake_hands(server).unwrap();
        send(&mut stream, &raw::header(3, 20, 0xff_ffff, 0));
        send(&mut stream, &[0; 128]);
        let _ = stream.shutdown(Shutdown::Write);
        Some(stream)
    }),
    ("publishes under names that are none", |server| {
        let long = "x".repeat(60_000);
        for key in ["", "..", "../../etc/passwd", "a//b", "a\0b", "%2e%2e", "\n", long.as_str()] {
            let mut stream = raw::connected(server, "live").unwrap();
            send(&mut stream, &raw::create_stream_command());
            send(&mut stream, &raw::stream_command("publish", key));
            send(&mut stream, &raw::message(6, 9, 1, &[0x17, 1, 0, 0, 0, 0]));
        }
        None
    }),
    ("plays what nobody publishes", |server| {
        let mut stream = raw::connected(server, "live").unwrap();
        send(&mut stream, &raw::create_stream_command());
        send(&mut stream, &raw::stream_command("play", "nothing"));
        Some(stream)
    }),
    ("publishes without createStream", |server| {
        let mut stream = raw::connected(server, "live").unwrap();
        send(&mut stream, &raw::stream_command("publish", "early"));
        send(&mut stream, &raw::message(6, 9, 1, &noise(5, 5000)));
        Some(stream)
    }),
    ("sends messages without a body", |server| {
        let mut stream = raw::publish(server, "live", "empty").unwrap();
        for kind in [0, 1, 2, 3, 4, 5, 6, 8, 9, 15, 17, 18, 20, 22, 99] {
            send(&mut stream, &raw::message(6, kind, 1, &[]));
        }
        Some(stream)
    }),
    ("cuts its frames within their headers", |server| {
        let mut stream = raw::publish(server, "live", "cut").unwrap();
        for body in [&[0x17][..], &[0x17, 0], &[0x17, 1, 0, 0], &[0x17, 0, 0, 0, 0, 1], &[0x97, 0x68, 0x76]] {
            send(&mut stream, &raw::message(6, 9, 1, body));
        }
        for body in [&[0xaf][..], &[0xaf, 0], &[0xaf, 0, 0xff], &[0x9f, 1]] {
            send(&mut stream, &raw::message(7, 8, 1, body));
        }
        send(&mut stream, &raw::message(4, 18, 1, &raw::string("@setDataFrame")[..7]));
        Some(stream)
    }),
];

#[test]
fn whoever_misbehaves_harms_nobody_else() {
    let server = Server::start(&[]);
    let mut witness = Witness::start(&server, "witness");
    let mut kept = Vec::new();
    for (way, misbehave) in WAYS {
        kept.extend(misbehave(server.rtmp));
        witness.goes_on(&format!("while somebody {way}"));
    }
    witness.ends();
    drop(kept);
    server.wait_deserted();
    still_serves(&server);
    server.stop();
}

/// A fresh publisher and a fresh viewer find everything in order.
#[track_caller]
fn still_serves(server: &Server) {
    let witness = Witness::start(server, "control");
    witness.ends();
}

#[test]
fn noise_gets_an_error_with_its_place() {
    let server = Server::start(&[]);
    let mut stream = raw::shake_hands(server.rtmp).unwrap();
    send(&mut stream, &[0xc5; 64]);
    assert!(raw::is_closed_by_peer(&mut stream), "the server closes");
    let log = server.stop();
    let line =
        log.lines().find(|l| l.contains("byte ")).unwrap_or_else(|| panic!("no byte position in\n{log}"));
    assert!(line.contains(&stream.local_addr().unwrap().to_string()), "who it was: {line}");
}

#[test]
fn a_thousand_declarations_of_16_megabytes_cost_little_memory() {
    const EACH: usize = 250;
    if !allow_many_files() {
        return;
    }
    let server = Server::start_for_many(&[]);
    let mut witness = Witness::start(&server, "witness");
    let before = server.peak_memory();

    let mut hostile = Vec::new();
    for number in 0..EACH {
        // Before the handshake is over: the chunk header arrives with C2.
        let mut stream = raw::shake_hands(server.rtmp).unwrap();
        send(&mut stream, &raw::header(3, 20, 0xff_ffff, 0));
        send(&mut stream, &[0; 128]);
        hostile.push(stream);
        // With a chunk size that would let it come in one piece.
        let mut stream = raw::shake_hands(server.rtmp).unwrap();
        send(&mut stream, &raw::message(2, 1, 0, &0x7fff_ffffu32.to_be_bytes()));
        send(&mut stream, &raw::header(3, 20, 0xff_ffff, 0));
        send(&mut stream, &[0; 8192]);
        hostile.push(stream);
        let mut stream = raw::connected(server.rtmp, "live").unwrap();
        send(&mut stream, &raw::message(2, 1, 0, &0x00ff_ffffu32.to_be_bytes()));
        send(&mut stream, &raw::header(3, 18, 0xff_ffff, 0));
        send(&mut stream, &[0; 8192]);
        hostile.push(stream);
        let mut stream = raw::publish(server.rtmp, "live", &format!("hostile-{number}")).unwrap();
        send(&mut stream, &raw::message(2, 1, 0, &0x00ff_ffffu32.to_be_bytes()));
        send(&mut stream, &raw::header(6, 9, 0xff_ffff, 1));
        send(&mut stream, &[0x17; 8192]);
        hostile.push(stream);
        if number % 16 == 0 {
            witness.goes_on(&format!("with {} hostile connections", hostile.len()));
        }
    }
    assert_eq!(hostile.len(), 1000);
    witness.goes_on("with all of them");
    // What the last ones sent was read when the server answers somebody who came after them.
    still_serves(&server);
    let grown = server.peak_memory().saturating_sub(before);
    assert!(grown < 64 * 1024, "VmHWM grew by {grown} KiB, from {before} KiB");
    println!("VmHWM grew by {grown} KiB, from {before} KiB");

    witness.ends();
    drop(hostile);
    server.wait_deserted();
    still_serves(&server);
    server.stop();
}

fn analyze(file: &Path) -> Output {
    Command::new(PROGRAM).args(["analyze", file.to_str().unwrap(), "--format", "json"]).output().unwrap()
}

/// A whole capture, made by the server's tap from the clip.
fn whole_capture(directory: &Path) -> Vec<u8> {
    let tap = directory.join("whole.pcapng");
    let server = Server::start(&["--tap", tap.to_str().unwrap()]);
    still_serves(&server);
    server.wait_deserted();
    server.stop();
    std::fs::read(&tap).unwrap()
}

#[test]
fn a_damaged_capture_is_read_as_far_as_it_goes() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let whole = whole_capture(directory);
    let file = directory.join("damaged.pcapng");
    let packets = |data: &[u8]| {
        std::fs::write(&file, data).unwrap();
        let out = analyze(&file);
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(0), "{error}");
        let analysis: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let count = analysis["captures"][0]["packets"].as_u64().unwrap();
        (count, analysis["findings"].clone())
    };
    let (all, findings) = packets(&whole);
    assert!(all > 100, "{all} packets");
    assert!(!findings.to_string().contains("byte"), "nothing is wrong with the whole one: {findings}");

    let (half, findings) = packets(&whole[..whole.len() / 2 + 1]);
    assert!(half > 20 && half < all, "{half} of {all} packets");
    assert!(findings.to_string().contains("byte"), "where it is cut: {findings}");

    // A block in the middle whose length is nonsense.
    let mut bent = whole.clone();
    let block = block_starts(&whole)[(all / 2) as usize];
    bent[block + 4..block + 8].copy_from_slice(&[0xff; 4]);
    let (read, findings) = packets(&bent);
    assert!(read > 20 && read < all, "{read} of {all} packets");
    // The length stands behind the block's type.
    let place = format!("byte {}", block + 4);
    assert!(findings.to_string().contains(&place), "{place} is to blame: {findings}");
}

/// Where each block of a little-endian pcapng begins.
fn block_starts(data: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(head) = data.get(at..at + 8) {
        starts.push(at);
        at += u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    }
    starts
}

#[test]
fn bytes_turned_at_random_never_stop_the_analysis() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let whole = whole_capture(directory);
    let file = directory.join("turned.pcapng");
    for seed in 0..24u64 {
        let mut turned = whole[..whole.len().min(300_000)].to_vec();
        let dice = noise(seed + 1, 4 * 64);
        for roll in dice.chunks(4) {
            let at = u32::from_le_bytes([roll[0], roll[1], roll[2], 0]) as usize % turned.len();
            turned[at] ^= roll[3] | 1;
        }
        std::fs::write(&file, &turned).unwrap();
        let out = analyze(&file);
        let error = String::from_utf8_lossy(&out.stderr);
        match out.status.code() {
            Some(0) => drop(serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()),
            Some(2) => assert!(error.contains("byte"), "seed {seed}: {error}"),
            code => panic!("seed {seed}: exit {code:?}\n{error}"),
        }
    }
}

#[test]
fn what_is_no_capture_is_refused_with_the_place_and_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("none");
    let pcap_header_only =
        [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
    let cases: &[(&str, &[u8])] = &[
        ("empty", b""),
        ("a byte", b"\x0a"),
        ("text", b"This is a letter, and a rather short one.\n"),
        ("half a pcap header", &pcap_header_only[..13]),
        ("a pcap header and half a packet header", &[&pcap_header_only[..], &[1, 2, 3]].concat()),
        ("noise", &noise(9, 5000)),
        ("the clip", &std::fs::read(clip()).unwrap()),
    ];
    for (what, data) in cases {
        std::fs::write(&file, data).unwrap();
        let out = analyze(&file);
        let error = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{what}: {error}");
        assert!(error.contains("byte ") && error.contains("none"), "{what}, with file and byte: {error}");
        assert!(out.stdout.is_empty(), "{what}: results were printed");
    }
    let out = analyze(&directory.path().join("not-there"));
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("not-there"));
}

#[test]
fn a_busy_port_is_said_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--rtmp", &address, "--rtsp", "off", "--hls", "off", "--api", "127.0.0.1:0"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let status = wait_for("serve to give up", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(3), "the environment keeps it from serving");
    let mut error = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut error).unwrap();
    assert!(error.contains(&address), "which address: {error}");
}
