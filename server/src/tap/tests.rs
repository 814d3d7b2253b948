#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::arithmetic_side_effects,
    clippy::print_stderr
)]

use std::io::{self, IoSlice, Write};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::{How, QUEUE_BYTES, QUEUE_RECORDS, Role, Tap, TapState};
use crate::clock::Clock;
use crate::config::TapConfig;

/// A file in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes nothing until it is told to, then everything or nothing.
struct Gate(Receiver<bool>, Memory);

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.recv() {
            Ok(false) => Err(io::Error::other("no space left on device")),
            _ => self.1.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn config(snap: u32, size: u64) -> TapConfig {
    TapConfig { file: "memory".into(), snap, size }
}

fn in_memory(snap: u32, size: u64) -> (Tap, Memory) {
    let memory = Memory::default();
    let tap = Tap::to(Box::new(memory.clone()), &config(snap, size), Clock::start(), QUEUE_RECORDS).unwrap();
    (tap, memory)
}

/// One packet of a file: time, bytes kept, length on the wire.
struct Packet {
    time: u64,
    kept: Vec<u8>,
    length: usize,
}

/// A TCP segment that a packet holds: source port, sequence number, acknowledgment number, flags, payload.
#[derive(Debug, PartialEq, Eq)]
struct Seen(u16, u32, u32, &'static str, Vec<u8>);

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Block types in order, and the packets, read by hand.
fn blocks(file: &[u8]) -> (Vec<usize>, Vec<Packet>) {
    let (mut types, mut packets, mut at) = (Vec::new(), Vec::new(), 0);
    while at < file.len() {
        let (kind, length) = (u32_at(file, at), u32_at(file, at + 4));
        assert_eq!(length % 4, 0);
        assert_eq!(u32_at(file, at + length - 4), length);
        types.push(kind);
        if kind == 6 {
            let kept = u32_at(file, at + 20);
            packets.push(Packet {
                time: (u32_at(file, at + 12) as u64) << 32 | u32_at(file, at + 16) as u64,
                kept: file[at + 28..at + 28 + kept].to_vec(),
                length: u32_at(file, at + 24),
            });
        }
        at += length;
    }
    (types, packets)
}

fn seen(packet: &Packet) -> Seen {
    let sliced = SlicedPacket::from_ethernet(&packet.kept).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
    let sum = match sliced.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap()
        }
        NetSlice::Ipv6(ip) => {
            tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap()
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    assert_eq!(tcp.checksum(), sum);
    let flags = match (tcp.syn(), tcp.fin(), tcp.rst(), tcp.ack()) {
        (true, _, _, false) => "S",
        (true, _, _, true) => "SA",
        (_, true, _, true) => "FA",
        (_, _, true, true) => "RA",
        (_, _, _, true) => "A",
        _ => "",
    };
    let (seq, ack) = (tcp.sequence_number(), tcp.acknowledgment_number());
    Seen(tcp.source_port(), seq, ack, flags, tcp.payload().to_vec())
}

#[test]
fn a_connection_from_handshake_to_fin() {
    let (tap, memory) = in_memory(0, 0);
    let mut conn =
        tap.connection("10.0.0.1:1935".parse().unwrap(), "10.0.0.2:4000".parse().unwrap(), Role::Server);
    conn.received(b"hello");
    conn.sent(&[IoSlice::new(b"abc"), IoSlice::new(b"defgh")], 5);
    conn.sent_shared(vec![Bytes::from_static(b"fg"), Bytes::from_static(b"h")]);
    conn.closed(How::Theirs);
    tap.close();
    assert_eq!(tap.state(), TapState::Closed);

    let file = memory.0.lock().unwrap().clone();
    let (types, packets) = blocks(&file);
    assert_eq!((types[0], types[1], *types.last().unwrap()), (0x0a0d_0d0a, 1, 5));
    assert!(file.windows(10).any(|w| w == b"synthetic:"));
    assert!(packets.windows(2).all(|w| w[0].time <= w[1].time));
    let got: Vec<_> = packets.iter().map(seen).collect();
    let (client, server) = (got[0].1, got[1].1);
    let rel = |s: &Seen| {
        let (own, other) = if s.0 == 4000 { (client, server) } else { (server, client) };
        let ack = if s.3 == "S" { 0 } else { s.2.wrapping_sub(other) };
        (s.0, s.1.wrapping_sub(own), ack, s.3, String::from_utf8(s.4.clone()).unwrap())
    };
    let got: Vec<_> = got.iter().map(rel).collect();
    let want = [
        (4000, 0, 0, "S", ""),
        (1935, 0, 1, "SA", ""),
        (4000, 1, 1, "A", ""),
        (4000, 1, 1, "A", "hello"),
        (1935, 1, 6, "A", ""),
        (1935, 1, 6, "A", "abcde"),
        (4000, 6, 6, "A", ""),
        (1935, 6, 6, "A", "fgh"),
        (4000, 6, 9, "A", ""),
        (4000, 6, 9, "FA", ""),
        (1935, 9, 7, "FA", ""),
        (4000, 7, 10, "A", ""),
    ];
    assert_eq!(got, want.map(|(p, s, a, f, t)| (p, s, a, f, t.to_owned())));
    assert_eq!(tap.counts().written, 12);
}

#[test]
fn long_writes_become_segments_that_fit_an_ip_packet() {
    for (local, remote) in [("10.0.0.1:1935", "10.0.0.2:9"), ("[2001:db8::1]:1935", "[2001:db8::2]:9")] {
        let (tap, memory) = in_memory(0, 0);
        let mut conn = tap.connection(local.parse().unwrap(), remote.parse().unwrap(), Role::Client);
        let body: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        let pieces = body.chunks(7777).map(Bytes::copy_from_slice).collect();
        conn.sent_shared(pieces);
        drop(conn);
        tap.close();
        let (_, packets) = blocks(&memory.0.lock().unwrap());
        let got: Vec<_> = packets.iter().map(seen).collect();
        let lengths: Vec<_> = got.iter().map(|s| s.4.len()).collect();
        assert_eq!(lengths, [0, 0, 0, 65_495, 65_495, 65_495, 200_000 - 3 * 65_495, 0, 0]);
        assert_eq!(got.iter().flat_map(|s| s.4.clone()).collect::<Vec<_>>(), body);
        assert_eq!((got[0].0, got[8].3), (1935, "RA"), "the client opened it, and gave up on it");
    }
}

#[test]
fn snap_cuts_and_size_ends_but_lengths_stay_true() {
    let (tap, memory) = in_memory(100, 2_000);
    let mut conn = tap.connection(
        "[::ffff:10.0.0.1]:1935".parse().unwrap(),
        "10.0.0.2:9".parse().unwrap(),
        Role::Server,
    );
    for _ in 0..20 {
        conn.sent_shared(vec![Bytes::from(vec![1; 500])]);
    }
    conn.closed(How::Ours);
    tap.close();
    let file = memory.0.lock().unwrap().clone();
    assert!(file.len() <= 2_000, "{}", file.len());
    let (types, packets) = blocks(&file);
    assert_eq!(types.last(), Some(&5), "the statistics come last");
    assert_eq!((packets[3].kept.len(), packets[3].length), (100, 54 + 500));
    let counts = tap.counts();
    assert_eq!(counts.written, packets.len() as u64);
    assert_eq!(counts.written + counts.dropped, 3 + 40 + 3);
    // isb_ifdrop, option 5 of 8 bytes.
    let option = [&[5, 0, 8, 0], counts.dropped.to_le_bytes().as_slice()].concat();
    assert!(file.windows(12).any(|w| w == option));
}

#[test]
fn a_full_queue_cuts_payload_then_counts_and_never_waits() {
    let (open, gate): (Sender<bool>, _) = channel();
    let memory = Memory::default();
    let records = 40;
    let tap = Tap::to(Box::new(Gate(gate, memory.clone())), &config(0, 0), Clock::start(), records).unwrap();
    let mut conn =
        tap.connection("10.0.0.1:1935".parse().unwrap(), "10.0.0.2:9".parse().unwrap(), Role::Server);
    // The writer stands at its first write. Twenty writes of 4 MiB are more than the queue may hold.
    let block = Bytes::from(vec![3; 4 << 20]);
    for _ in 0..20 {
        conn.sent_shared(vec![block.clone()]);
    }
    for _ in 0..100 {
        conn.sent_shared(vec![Bytes::from_static(b"x")]);
    }
    // Three records of the handshake, twenty writes, and seventeen more fit; each is acknowledged.
    assert_eq!(tap.counts().dropped, 2 * (100 - 17));
    drop(open);
    conn.closed(How::Ours);
    tap.close();
    let (_, packets) = blocks(&memory.0.lock().unwrap());
    let kept: usize = packets.iter().map(|p| p.kept.len()).sum();
    assert!(kept < QUEUE_BYTES + (1 << 20), "{kept}");
    let counts = tap.counts();
    let segments = (4usize << 20).div_ceil(65_495) as u64;
    assert_eq!(counts.cut, 12 * segments + 17, "8 of 20 long writes fit into 32 MiB, and then nothing");
    assert_eq!(counts.written, packets.len() as u64);
    let lengths: usize = packets.iter().map(|p| p.length).sum();
    assert!(lengths > 20 * (4 << 20), "the lengths of what was cut are true");
}

#[test]
fn a_full_disk_stops_the_tap_and_nothing_else() {
    let (open, gate) = channel();
    let tap = Tap::to(Box::new(Gate(gate, Memory::default())), &config(0, 0), Clock::start(), QUEUE_RECORDS)
        .unwrap();
    open.send(false).unwrap();
    let mut conn =
        tap.connection("10.0.0.1:1935".parse().unwrap(), "10.0.0.2:9".parse().unwrap(), Role::Server);
    conn.sent_shared(vec![Bytes::from_static(b"x")]);
    conn.closed(How::Theirs);
    tap.close();
    assert_eq!(tap.state(), TapState::Failed("no space left on device".into()));
    // A connection that begins afterwards is not disturbed either.
    let mut conn =
        tap.connection("10.0.0.1:1935".parse().unwrap(), "10.0.0.2:9".parse().unwrap(), Role::Server);
    conn.received(b"y");
}

#[test]
fn tshark_finds_nothing_to_complain_about() {
    if Command::new("tshark").arg("--version").output().is_err() {
        eprintln!("skipped: tshark is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tap.pcapng");
    let tap = Tap::create(&TapConfig { file: file.clone(), snap: 0, size: 0 }, Clock::start()).unwrap();
    std::thread::scope(|threads| {
        for n in 0..8u16 {
            let tap = tap.clone();
            threads.spawn(move || {
                let (local, remote) = if n % 2 == 0 {
                    (format!("127.0.0.1:{}", 1935), format!("127.0.0.1:{}", 50_000 + n))
                } else {
                    (format!("[::1]:{}", 50_000 + n), "[::1]:1935".to_owned())
                };
                let role = if n % 2 == 0 { Role::Server } else { Role::Client };
                let mut conn = tap.connection(local.parse().unwrap(), remote.parse().unwrap(), role);
                for i in 0..300usize {
                    let length = i * 37 % 3000 + usize::from(i % 50 == 0) * 150_000 + 1;
                    conn.sent_shared(vec![Bytes::from(vec![(i % 256) as u8; length])]);
                    if i % 7 == 0 {
                        conn.received(&vec![9; i % 90 + 1]);
                    }
                }
                let how = [How::Ours, How::Theirs, How::ResetByUs, How::ResetByThem][usize::from(n / 2)];
                conn.closed(how);
            });
        }
    });
    for (local, remote) in [("127.0.0.1:8000", "127.0.0.1:6000"), ("[::1]:8000", "[::1]:6000")] {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        let udp = tap.datagrams(Role::Server);
        for n in 0..300usize {
            udp.sent(local, remote, vec![Bytes::from(vec![0x80; 12]), Bytes::from(vec![n as u8; n * 5])]);
            udp.received(local, remote, &vec![0x81; n % 40 + 8]);
        }
    }
    tap.close();
    assert_eq!(tap.counts().dropped, 0);
    let tshark = |filter: &str| {
        let out = Command::new("tshark")
            .args(["-r", file.to_str().unwrap()])
            .args([
                "-o",
                "tcp.check_checksum:TRUE",
                "-o",
                "ip.check_checksum:TRUE",
                "-o",
                "udp.check_checksum:TRUE",
            ])
            .args(["-Y", filter])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(tshark("tcp.analysis.flags || tcp.checksum.status==0 || ip.checksum.status==0"), "");
    assert_eq!(tshark("udp.checksum.status==0 || udp.checksum.zero"), "");
    assert_eq!(tshark("udp.checksum.status==1").lines().count(), 2 * 2 * 300);
    assert_eq!(tshark("tcp.checksum.status==1").lines().count() as u64, tap.counts().written - 2 * 2 * 300);
    assert_eq!(tshark("tcp.flags.reset==1").lines().count(), 4);
}

#[test]
fn datagrams_keep_their_bounds_their_times_and_their_lengths() {
    for (local, remote) in [("10.0.0.1:8000", "10.0.0.2:5000"), ("[2001:db8::1]:8000", "[2001:db8::2]:5000")]
    {
        let (tap, memory) = in_memory(100, 0);
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        let udp = tap.datagrams(Role::Server);
        udp.received(local, remote, &[7; 30]);
        udp.sent(local, remote, vec![Bytes::from_static(b"head"), Bytes::from(vec![9; 1400])]);
        udp.received(local, remote, b"");
        tap.close();
        let (_, packets) = blocks(&memory.0.lock().unwrap());
        let headers = if local.is_ipv4() { 42 } else { 62 };
        let lengths: Vec<_> = packets.iter().map(|p| (p.kept.len(), p.length)).collect();
        assert_eq!(lengths, [(headers + 30, headers + 30), (100, headers + 1404), (headers, headers)]);
        assert_eq!(packets[0].kept[headers..], [7; 30]);
        assert_eq!(packets[1].kept[headers..headers + 4], *b"head");
        // Who speaks first has the same place on the made-up link in either direction.
        assert_eq!(packets[0].kept[..6], packets[1].kept[6..12]);
        assert_eq!(tap.counts().written, 3);
    }
}
