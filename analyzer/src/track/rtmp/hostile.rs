//! What bytes cost from which no messages can be read: a bounded piece of work and of memory for each of them.
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::print_stdout)]

use std::net::SocketAddr;
use std::time::Instant;

use super::chunks::Assembler;
use super::message::{Message, Sink, Trouble};
use super::work::{AT_END, EACH, STORE};
use super::{MAX_LOOKED, PORT, Tracker, Verdict};
use crate::flow::{At, ConnInfo, Dir};

/// Counts messages.
#[derive(Debug, Default)]
struct Count(u64);

impl Sink for Count {
    fn message(&mut self, _: &Message<'_>) {
        self.0 += 1;
    }
    fn trouble(&mut self, _: Trouble) {}
    fn hole(&mut self) {}
}

/// Bytes without a pattern (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[3]).collect()
    }

    /// `head` again and again, with up to `most` bytes of noise between.
    fn headers(&mut self, head: &[u8], most: u64, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 64);
        while bytes.len() < count {
            bytes.extend(head);
            let rest = self.next() % (most + 1);
            bytes.extend(self.bytes(rest as usize));
        }
        bytes
    }
}

/// Streams from which nothing can be read, each made to keep the search busy with something else.
fn streams(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut all = vec![
        ("noise", noise.bytes(size)),
        ("zeros", vec![0; size]),
        ("format 3 of one chunk stream", vec![0xc4; size]),
        ("text", b"GET /live/cam.flv HTTP/1.1\r\nHost: example.org\r\n\r\n".repeat(size / 49)),
    ];
    let heads: [(&str, &[u8], u64); 9] = [
        ("brief sound", &[0xc4, 0xaf, 1, 0x21], 63),
        ("brief sound close together", &[0xc4, 0xaf, 1, 0x21], 2),
        ("brief pictures", &[0xc6, 0x27, 1, 0, 0, 0, 0, 0, 9, 0x41], 30),
        (
            "brief pictures of many units",
            &[0xc6, 0x27, 1, 0, 0, 0, 0, 0, 0, 1, 0x41, 0, 0, 0, 1, 0x41, 0, 0, 0, 1, 0x41],
            9,
        ),
        ("sound in pictures", &[0x44, 0, 0, 0x17, 0, 0x40, 0, 8, 0xaf, 1, 0x21], 63),
        ("whole headers", &[4, 0, 0, 0, 0, 0, 40, 9, 1, 0, 0, 0, 0x27, 1, 0, 0, 0], 80),
        ("whole headers of long messages", &[4, 0, 0, 0, 1, 0, 0, 9, 1, 0, 0, 0, 0xc4], 9),
        (
            "long messages in chunks of any size",
            &[4, 0, 0, 0, 7, 0xff, 0xff, 9, 1, 0, 0, 0, 0x27, 1, 0, 0, 0, 0xc4, 0xc4, 0xc4],
            3,
        ),
        ("format 1 of many chunk streams", &[0x45, 0, 0, 1, 0, 0, 1, 8, 0x2f], 2),
    ];
    all.extend(heads.into_iter().map(|(name, head, most)| (name, noise.headers(head, most, size))));
    // Headers of everything, in any order.
    let mut mixed = Vec::new();
    while mixed.len() < size {
        let (_, head, most) = heads[noise.next() as usize % heads.len()];
        mixed.extend(head);
        mixed.extend({
            let n = noise.next() % (most + 1);
            noise.bytes(n as usize)
        });
    }
    all.push(("everything", mixed));
    let cycles: Vec<u8> =
        (0..size).map(|n| [0xc4, 0xaf, 1, 0xc6, 0x27, 1, 0, 0, 0, 0, 0, 0, 1][n % 13]).collect();
    all.push(("a cycle", cycles));
    all
}

/// What may be done in advance: a look at the bytes that a search gives back, and one attempt.
const OVERDRAFT: u64 = 5 << 18;
/// Memory of one direction.
const HELD: usize = 4 << 20;

fn at(n: usize, length: usize) -> At {
    At { time_ns: 0, frame: n as u64, offset: (n * length) as u64, ready_ns: 0 }
}

/// Reads a stream in pieces of a length and checks what that cost; how many messages came.
fn read(name: &str, bytes: &[u8], length: usize) -> u64 {
    let began = Instant::now();
    let (mut assembler, mut count, mut peak) = (Assembler::in_the_middle(), Count::default(), 0);
    for (n, piece) in bytes.chunks(length).enumerate() {
        assembler.data(at(n, length), piece, &mut count);
        peak = peak.max(assembler.weight());
    }
    assembler.close(&mut count);
    let (steps, size) = (assembler.work.done(), bytes.len() as u64);
    let (each, speed) = (steps as f64 / size as f64, size as f64 / began.elapsed().as_secs_f64() / 1e6);
    println!("{name}: {speed:.1} MB/s, {each:.1} steps a byte, {peak} bytes held, {} messages", count.0);
    assert!(steps <= STORE + AT_END + EACH * size + OVERDRAFT, "{name}: {steps} steps for {size} bytes");
    assert!(peak < HELD, "{name}: {peak} bytes held");
    assert!(assembler.unread.bytes <= size, "{name}: {:?}", assembler.unread);
    count.0
}

/// However it is made, a stream costs so much for each of its bytes and no more.
#[test]
fn no_bytes_cost_more_than_their_share() {
    for (name, bytes) in streams(2 << 20) {
        read(name, &bytes, 1400);
    }
    for (name, bytes) in streams(1 << 16) {
        read(&format!("{name}, byte by byte"), &bytes, 1);
    }
}

#[test]
fn noise_has_no_messages() {
    let mut noise = Noise(0x0123_4567_89ab_cdef);
    assert_eq!(read("noise", &noise.bytes(4 << 20), 1400), 0);
}

/// Behind a long stretch of headers that lead nowhere a true stream is found all the same.
#[test]
fn a_stream_is_found_behind_what_used_everything_up() {
    for (name, mut bytes) in streams(1 << 20) {
        let before = read(name, &bytes, 1400);
        let mut noise = Noise(7);
        for n in 0u32..3000 {
            bytes.extend([4]);
            bytes.extend(&(n * 40).to_be_bytes()[1..]);
            bytes.extend([0, 2, 0, 9, 1, 0, 0, 0, 0x27, 1, 0, 0, 0, 0, 0, 1, 0xf7, 0x41]);
            bytes.extend(noise.bytes(502));
        }
        let after = read(name, &bytes, 1400);
        // What a search has fallen behind by is in the way.
        assert!(after > before + 500, "{name}: {} of 3000 messages", after - before);
    }
}

/// 33 MB of noise on connections that are open at once: each one holds a window of it, until it is taken for something
/// else.
#[test]
fn connections_of_noise_hold_little_and_are_let_go() {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
    let info =
        |port| ConnInfo { a: address(port), b: address(PORT), client_known: false, time_ns: 0, frame: 0 };
    let mut open: Vec<_> = (0..16).map(|n| Tracker::new(&info(40_000 + n))).collect();
    let count = MAX_LOOKED as usize / 1400 + 2;
    for n in 0..count {
        for tracker in &mut open {
            tracker.data(if n % 3 == 0 { Dir::BToA } else { Dir::AToB }, at(n, 1400), &noise.bytes(1400));
            let held = tracker.weight();
            assert!(held < 2 * HELD, "{held} bytes after {n} segments");
        }
    }
    assert!(open.iter().all(|tracker| tracker.verdict() == Verdict::Other), "none of them is RTMP");
}
