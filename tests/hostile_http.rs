//! What the HLS port has to bear: an answer for the one who sent it, and viewers on every protocol lose nothing.
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

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::http::{answer, get, raw, request};
use common::installed;
use common::raw::{allow_many_files, connect, is_closed_by_peer};
use common::server::Server;
use common::witness::Witnesses;

/// A segment that is there.
fn segment(hls: SocketAddr) -> String {
    let list = get(hls, "/live/witness/stream.m3u8").text();
    format!("/live/witness/{}", list.lines().find(|l| l.contains(".m4s")).unwrap())
}

/// What leads out of the house, in every spelling, leads nowhere.
fn paths(hls: SocketAddr) {
    let spellings = [
        "..",
        "%2e%2e",
        "%2E%2e",
        ".%2e",
        "%252e%252e",
        "..%2f..",
        "..\\",
        "%5c..%5c..",
        "..%00",
        "%c0%ae%c0%ae",
    ];
    for up in spellings {
        for path in [
            format!("/{up}/{up}/{up}/etc/passwd"),
            format!("/live/{up}/{up}/etc/passwd"),
            format!("/live/witness/{up}/{up}/{up}/Cargo.toml"),
            format!("/live/witness/{up}"),
        ] {
            let answer = get(hls, &path);
            assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.head);
            assert!(!answer.text().contains("root:"), "{path}");
        }
    }
    let other = [
        "//etc/passwd",
        "/live//index.m3u8",
        "/live/witness//",
        "/live/none/index.m3u8",
        "/live/witness/-1.m4s",
        "/live/witness/99999999999999999999999.m4s",
        "/live/witness/init-.mp4",
        "/live/witness/%ff.m4s",
    ];
    for path in other {
        let answer = get(hls, path);
        assert_eq!(answer.status, 404, "{path}: {}", answer.head);
        assert_eq!(answer.field("access-control-allow-origin"), "*", "a page can see why: {path}");
    }
    assert_eq!(
        raw(hls, b"GET ../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").status,
        400
    );
}

/// Heads that are too long, too many, or no heads.
fn heads(hls: SocketAddr) {
    let mut endless = b"GET / HTTP/1.1\r\nX: ".to_vec();
    endless.resize(200_000, b'a');
    assert_eq!(raw(hls, &endless).status, 431, "an endless field");
    let mut many = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    (0..5000).for_each(|n| many.extend(format!("x{n}: y\r\n").bytes()));
    assert_eq!(raw(hls, &many).status, 431, "endless fields");
    let mut line = b"GET /".to_vec();
    line.resize(100_000, b'a');
    line.extend(b" HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(matches!(raw(hls, &line).status, 414 | 431), "an endless request line");
    let garbage: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00garbage\r\n\r\n",
        b"\x03\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7 / HTTP/1.1\r\n\r\n",
    ];
    for bytes in garbage {
        assert_eq!(raw(hls, bytes).status, 400, "{}", bytes.escape_ascii());
    }
    let both = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello";
    assert_eq!(raw(hls, both).status, 400, "two lengths");
}

fn methods(hls: SocketAddr, file: &str) {
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW", "get"] {
        let answer = request(hls, method, file, "");
        assert_eq!((answer.status, answer.field("allow").as_str()), (405, "get, head, options"), "{method}");
    }
    let length = request(hls, "POST", file, "Content-Length: 99999999999\r\n");
    assert_eq!(length.status, 405, "a body that never comes is not waited for");
}

fn ranges(hls: SocketAddr, file: &str) {
    let whole = get(hls, file);
    let length = whole.body.len();
    let of = |range: &str| request(hls, "GET", file, &format!("Range: {range}\r\n"));
    let thousands: Vec<String> = (0..3000).map(|n| format!("{}-{}", n, n + 1)).collect();
    let overlapping = vec!["0-"; 2000].join(",");
    for ignored in [
        format!("bytes={}", thousands.join(",")),
        format!("bytes={overlapping}"),
        "bytes=9-3".into(),
        "bytes=--5".into(),
        "bytes=0x0-0xff".into(),
        "bytes=".into(),
        "bytes=0-1;2-3".into(),
        "parsecs=1-2".into(),
    ] {
        let answer = of(&ignored);
        assert_eq!(
            (answer.status, answer.body.len()),
            (200, length),
            "{}",
            &ignored[..ignored.len().min(40)]
        );
    }
    for beyond in [
        "bytes=18446744073709551615-",
        "bytes=99999999999999999999999999-",
        &format!("bytes={length}-"),
        "bytes=-0",
    ] {
        let answer = of(beyond);
        assert_eq!(
            (answer.status, answer.field("content-range")),
            (416, format!("bytes */{length}")),
            "{beyond}"
        );
    }
    let last = of(&format!("bytes={}-18446744073709551615", length - 3));
    assert_eq!((last.status, &last.body[..]), (206, &whole.body[length - 3..]));
    let suffix = of("bytes=-99999999999999999999999999");
    assert_eq!((suffix.status, suffix.body == whole.body), (206, true));
}

/// A connection that is answered: its request was read, and it stays open.
fn asks(hls: SocketAddr, path: &str) -> TcpStream {
    let mut stream = connect(hls).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream
}

/// Sends a byte of a head four times a second; true where the server gives that up.
fn drips(hls: SocketAddr) -> bool {
    let mut slow = connect(hls).unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    let waits = |error: &Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    (0..400).any(|_| {
        let _ = slow.write_all(b"y");
        !slow.read(&mut [0; 256]).is_err_and(|error| waits(&error))
    })
}

#[test]
fn attacks_on_the_hls_port_are_answered_and_no_viewer_loses_a_frame() {
    const HALF_OPEN: usize = 500;
    if !installed(&["ffmpeg", "prlimit"]) {
        return;
    }
    if !allow_many_files() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_for_many(&[]);
    let hls = server.hls;
    let witnesses = Witnesses::start(directory.path(), &server, "witness");
    let file = segment(hls);
    let before = server.peak_memory();

    // Some say nothing, some stop within a head, some want a segment and never read it.
    let mut half_open: Vec<TcpStream> = Vec::new();
    for number in 0..HALF_OPEN {
        let mut stream = connect(hls).unwrap();
        let _ = match number % 4 {
            0 => Ok(()),
            1 => stream.write_all(b"GET /live/wit"),
            2 => stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: aaaa"),
            _ => stream.write_all(format!("GET {file} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(20).as_bytes()),
        };
        half_open.push(stream);
    }
    // A byte every now and then keeps no head open for ever: the time is the whole head's.
    let slow = std::thread::spawn(move || drips(hls));
    witnesses.goes_on("with 500 connections half open");
    paths(hls);
    witnesses.goes_on("after paths");
    heads(hls);
    witnesses.goes_on("after heads");
    methods(hls, &segment(hls));
    ranges(hls, &segment(hls));
    witnesses.goes_on("after ranges");
    assert!(slow.join().unwrap(), "a head that drips is given up");
    // By then those that never finished a head are gone too.
    for stream in half_open.iter_mut().enumerate().filter(|(n, _)| n % 4 < 3).map(|(_, s)| s).take(9) {
        assert!(is_closed_by_peer(stream));
    }
    let patient = asks(hls, &segment(hls));
    let grown = server.peak_memory().saturating_sub(before);
    assert!(grown < 96 * 1024, "VmHWM grew by {grown} KiB, from {before} KiB");
    witnesses.end();
    drop((half_open, patient));
    let mut alive = connect(hls).unwrap();
    alive.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(answer(&mut alive).status, 200);
    server.stop();
}
