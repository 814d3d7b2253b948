//! A crowd that begins messages it never ends. Alone in its process, whose memory is measured.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    missing_docs
)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::{House, PATIENCE, Peer, picture};
use session::rtmp::MediaKind::{Audio, Video};
use streamgauge_server::Config;

/// Peak of the resident set in KiB.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Descriptors the process may have.
fn descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|l| l.starts_with("Max open files")).unwrap_or_default();
    line.split_whitespace().nth(3).and_then(|n| n.parse().ok()).unwrap_or(1024)
}

/// One command or message in a single chunk stream, in chunks of 128 bytes.
fn message(csid: u8, type_id: u8, stream: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![csid, 0, 0, 0];
    out.extend(&(body.len() as u32).to_be_bytes()[1..]);
    out.extend([type_id, stream, 0, 0, 0]);
    for (i, chunk) in body.chunks(128).enumerate() {
        if i > 0 {
            out.push(0xc0 | csid);
        }
        out.extend(chunk);
    }
    out
}

fn text(s: &str) -> Vec<u8> {
    [&[2][..], &(s.len() as u16).to_be_bytes(), s.as_bytes()].concat()
}

fn number(n: f64) -> Vec<u8> {
    [&[0][..], &n.to_be_bytes()].concat()
}

/// A publisher that has got as far as it needs to be allowed long messages.
fn intrude(to: SocketAddr, name: usize) -> TcpStream {
    let mut io = TcpStream::connect(to).unwrap();
    io.set_read_timeout(Some(PATIENCE)).unwrap();
    io.write_all(&[&[3][..], &[0; 2 * 1536]].concat()).unwrap();
    let app = [&[3, 0, 3][..], b"app", &text("live"), &[0, 0, 9]].concat();
    let connect = [text("connect"), number(1.0), app].concat();
    let create = [text("createStream"), number(2.0), vec![5]].concat();
    let publish = [text("publish"), number(3.0), vec![5], text(&format!("x{name}"))].concat();
    io.write_all(
        &[message(3, 20, 0, &connect), message(3, 20, 0, &create), message(8, 20, 1, &publish)].concat(),
    )
    .unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.windows(23).any(|w| w == b"NetStream.Publish.Start") {
        let n = io.read(&mut buffer).unwrap();
        assert!(n > 0, "closed before it began");
        seen.extend_from_slice(&buffer[..n]);
    }
    io
}

#[test]
fn a_thousand_open_messages_take_bounded_memory_and_a_witness_loses_nothing() {
    let house = House::open(Config::default());
    let mut viewer = Peer::play(house.rtmp(), "live/witness");
    let mut cam = Peer::publish(house.rtmp(), "live/witness");
    cam.configure();
    // Both ends of each connection are in this process.
    let crowd = 1000.min((descriptors().saturating_sub(200)) / 2);
    let Some(before) = peak() else {
        eprintln!("skipped: this system does not tell the peak of a process's memory");
        return;
    };
    let mut intruders: Vec<_> = (0..crowd).map(|i| intrude(house.rtmp(), i)).collect();
    // A chunk size that fits the message, so that one header is all it takes; then 16 MB, a bit at a time.
    let begin =
        [&message(2, 1, 0, &[0x7f, 0xff, 0xff, 0xff])[..], &[6, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0]]
            .concat();
    for io in &mut intruders {
        let _ = io.write_all(&begin);
    }
    let piece = vec![0x27; 48 << 10];
    cam.picture(0, 10, true);
    for _ in 0..3 {
        viewer.media();
    }
    let mut number = 1;
    for _ in 0..12 {
        for (i, io) in intruders.iter_mut().enumerate() {
            // Those that were sent away get an error.
            let _ = io.write_all(&piece);
            if i % 50 == 0 {
                let key = number % 25 == 1;
                cam.picture(number, 12_000, key);
                cam.sound(number);
                let (kind, timestamp, body) = viewer.media();
                assert!((kind, timestamp) == (Video, number * 40) && body == picture(number, 12_000, key));
                number += 1;
                cam.picture(number, 10, false);
                assert_eq!(viewer.media().0, Audio);
                assert_eq!(viewer.media().1, number * 40);
                number += 1;
            }
        }
    }
    let clients = house.server.clients();
    let witness: Vec<_> = clients.iter().filter(|c| c.path == "live/witness").collect();
    assert!(witness.iter().all(|c| c.ended.is_none() && c.frames_dropped == 0), "{witness:?}");
    let metrics = house.get("/metrics").1;
    let evicted = metrics.lines().find(|l| l.contains("role=\"publisher\",outcome=\"evicted\"")).unwrap();
    let evicted: usize = evicted.rsplit(' ').next().unwrap().parse().unwrap();
    // 1000 x 576 KiB would be more than half a gigabyte; 18 MiB are allowed.
    assert!(evicted > crowd / 2, "{evicted} of {crowd}");
    let grown = peak().unwrap().saturating_sub(before);
    eprintln!("{crowd} connections, {evicted} closed, VmHWM +{grown} KiB");
    assert!(grown < 64 << 10, "VmHWM grew by {grown} KiB");
}
