#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::collections::VecDeque;
use std::io::{self, Cursor};

use wire::net::LinkType;
use wire::pcap::{write_file_header, write_record};
use wire::pcapng::write::{self, InterfaceOptions, SectionOptions, Statistics};

use super::*;

const SECOND: u64 = 1_000_000_000;

/// A source that gives few bytes at a time, interrupts itself, and may fail in the end.
struct Dribble {
    bytes: VecDeque<u8>,
    turn: usize,
    fail: bool,
}

impl Read for Dribble {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.bytes.is_empty() && self.fail {
            return Err(io::Error::other("the disk is gone"));
        }
        let n = out.len().min(self.turn % 7 + 1);
        self.bytes.read(&mut out[..n])
    }
}

type Seen = (u64, i64, LinkType, Vec<u8>, u32, u32);

fn drain(mut reader: Reader) -> (Vec<Seen>, Vec<String>, Reader) {
    let (mut packets, mut errors) = (Vec::new(), Vec::new());
    while let Some(next) = reader.next() {
        match next {
            Ok(p) => packets.push((p.number, p.time_ns, p.link, p.data.to_vec(), p.orig_len, p.interface)),
            Err(error) => errors.push(error.to_string()),
        }
    }
    assert!(reader.next().is_none(), "the end is the end");
    (packets, errors, reader)
}

fn read(bytes: &[u8]) -> (Vec<Seen>, Vec<String>, Reader) {
    drain(Reader::new("f", Cursor::new(bytes.to_vec())).unwrap())
}

fn refused(bytes: &[u8]) -> String {
    Reader::new("f", Cursor::new(bytes.to_vec())).unwrap_err().to_string()
}

/// A pcapng section with one Ethernet interface, before its packets.
fn begin() -> Vec<u8> {
    let mut out = Vec::new();
    write::section_header(&mut out, &SectionOptions::default());
    write::interface(&mut out, &InterfaceOptions { link_type: 1, ..Default::default() });
    out
}

/// A block in either byte order, `words` in that order.
fn block(big: bool, kind: u32, words: &[u32], rest: &[u8]) -> Vec<u8> {
    let total = 12 + words.len() * 4 + rest.len().next_multiple_of(4);
    let word = |w: u32| if big { w.to_be_bytes() } else { w.to_le_bytes() };
    let mut out = Vec::new();
    [kind, total as u32].iter().chain(words).for_each(|w| out.extend_from_slice(&word(*w)));
    out.extend_from_slice(rest);
    out.resize(total - 4, 0);
    out.extend_from_slice(&word(total as u32));
    out
}

#[test]
fn a_pcap_is_read_however_its_source_delivers() {
    let mut bytes = Vec::new();
    write_file_header(&mut bytes, LinkType::RAW, 0);
    for i in 0..50u64 {
        write_record(&mut bytes, 7 * SECOND + i, &vec![i as u8; i as usize + 1], i as u32 + 10);
    }
    let dribble = Dribble { bytes: bytes.into(), turn: 0, fail: false };
    let (packets, errors, reader) = drain(Reader::new("f", dribble).unwrap());
    assert_eq!((packets.len(), errors), (50, Vec::new()));
    assert_eq!(packets[49], (50, 7 * SECOND as i64 + 49, LinkType::RAW, vec![49; 50], 59, 0));
    let summary = reader.summary();
    assert_eq!((summary.format.as_str(), summary.link_type.as_str()), ("pcap", "RAW"));
    assert_eq!((summary.packets, summary.bytes, summary.truncated_packets), (50, (10..60).sum(), 50));
    assert_eq!((summary.first_time, summary.synthetic), (Some(7.0), false));
}

#[test]
fn sections_and_interfaces_of_every_kind() {
    let mut bytes = block(true, 0x0a0d_0d0a, &[0x1a2b_3c4d, 0x0001_0000, !0, !0], &[]);
    bytes.extend(block(true, 1, &[0x0065_0000, 0], &[]));
    bytes.extend(block(true, 1, &[0x0071_0000, 4], &[0, 9, 0, 1, 3, 0, 0, 0]));
    bytes.extend(block(true, 6, &[1, 0, 5_250, 3, 3], b"abc"));
    bytes.extend(block(true, 2, &[0x0000_ffff, 0, 2_000_000, 2, 9], b"de"));
    bytes.extend(block(true, 3, &[5], b"simpl"));
    bytes.extend(block(true, 0x0000_0bad, &[1, 2, 3], b"a custom block"));
    bytes.extend(block(true, 9, &[], b"a journal entry"));
    let second = bytes.len();
    bytes.extend(begin());
    write::interface(&mut bytes, &InterfaceOptions { link_type: 276, snap_len: 4, ..Default::default() });
    write::packet(&mut bytes, 1, 9 * SECOND, &[b"fg"], 2);
    write::statistics(
        &mut bytes,
        1,
        &Statistics { dropped: Some(3), os_dropped: Some(4), ..Default::default() },
    );
    let (packets, errors, reader) = read(&bytes);
    let s = SECOND as i64;
    let expected: [Seen; 4] = [
        (1, 5 * s + s / 4, LinkType::LINUX_SLL, b"abc".to_vec(), 3, 1),
        (2, 2 * s, LinkType::RAW, b"de".to_vec(), 9, 0),
        (3, 2 * s, LinkType::RAW, b"simpl".to_vec(), 5, 0),
        (5, 9 * s, LinkType::LINUX_SLL2, b"fg".to_vec(), 2, 3),
    ];
    assert_eq!((packets, errors), (expected.to_vec(), Vec::new()), "second section at {second}");
    let summary = reader.summary();
    assert_eq!((summary.packets, summary.link_type.as_str(), summary.synthetic), (4, "RAW", false));
    assert_eq!((summary.first_time, summary.last_time, summary.duration_s), (Some(2.0), Some(9.0), 7.0));
    assert_eq!((reader.dropped(), reader.start_ns()), (Some(7), Some(5 * s + s / 4)));
}

#[test]
fn a_simple_packet_ends_at_the_snap_length() {
    let mut bytes = block(false, 0x0a0d_0d0a, &[0x1a2b_3c4d, 1, !0, !0], &[]);
    bytes.extend(block(false, 1, &[1, 6], &[]));
    bytes.extend(block(false, 3, &[100], b"sixsix"));
    let (packets, ..) = read(&bytes);
    assert_eq!(packets, [(1, 0, LinkType::ETHERNET, b"sixsix".to_vec(), 100, 0)]);
}

#[test]
fn only_our_own_tap_is_synthetic() {
    for (user_appl, comment, synthetic) in [
        (Some("streamgauge 0.1.0"), Some("synthetic: written at the sockets"), true),
        (Some("streamgauge 0.1.0"), None, false),
        (Some("Dumpcap"), Some("synthetic"), false),
    ] {
        let mut bytes = Vec::new();
        write::section_header(&mut bytes, &SectionOptions { user_appl, comment, ..Default::default() });
        assert_eq!(read(&bytes).2.summary().synthetic, synthetic);
    }
}

#[test]
fn reading_goes_on_behind_a_damaged_block() {
    let mut bytes = begin();
    let mut starts = Vec::new();
    for i in 0..9u64 {
        starts.push(bytes.len());
        write::packet(&mut bytes, 0, i * SECOND, &[&[i as u8; 30]], 30);
    }
    let numbers = |packets: &[Seen]| packets.iter().map(|p| p.3[0]).collect::<Vec<_>>();

    let mut damaged = bytes.clone();
    damaged[starts[2] + 4] = 3;
    damaged[starts[6] - 4] ^= 0x40;
    let (packets, errors, reader) = read(&damaged);
    assert_eq!(numbers(&packets), [0, 1, 3, 4, 6, 7, 8]);
    let at = |error: &str| error.split([' ', ':']).nth(3).unwrap().parse::<usize>().unwrap();
    assert_eq!(
        errors.iter().map(|e| at(e)).collect::<Vec<_>>(),
        [starts[2] + 4, starts[6] - 4],
        "{errors:?}"
    );
    assert_eq!(reader.skipped_bytes(), 2 * 64);

    let mut damaged = bytes.clone();
    damaged[starts[4] + 8] = 7;
    let (packets, errors, _) = read(&damaged);
    assert_eq!(numbers(&packets), [0, 1, 2, 3, 5, 6, 7, 8]);
    let want = format!(
        "f: byte {}: interface id: want an interface described before in its section, got 7 (0x7)",
        starts[4]
    );
    assert_eq!(errors, [want]);

    let mut torn = bytes[..starts[3] + 11].to_vec();
    torn.extend_from_slice(&bytes[starts[7]..]);
    let (packets, errors, _) = read(&torn);
    assert_eq!((numbers(&packets), errors.len()), (vec![0, 1, 2, 7, 8], 1));
}

#[test]
fn reading_goes_on_behind_a_damaged_record() {
    let mut bytes = Vec::new();
    write_file_header(&mut bytes, LinkType::RAW, 0);
    let mut starts = Vec::new();
    for i in 0..9u64 {
        starts.push(bytes.len());
        write_record(&mut bytes, (1_700_000_000 + i) * SECOND, &[i as u8 + 1; 30], 30);
    }
    let numbers = |packets: &[Seen]| packets.iter().map(|p| p.3[0]).collect::<Vec<_>>();

    let mut damaged = bytes.clone();
    damaged[starts[2] + 10] = 0xff;
    let (packets, errors, reader) = read(&damaged);
    assert_eq!((numbers(&packets), reader.skipped_bytes()), (vec![1, 2, 4, 5, 6, 7, 8, 9], 46));
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with(&format!("f: byte {}: captured length", starts[2] + 8)), "{errors:?}");

    let mut damaged = bytes.clone();
    damaged[starts[2]..starts[4] + 5].fill(0);
    let (packets, errors, _) = read(&damaged);
    assert_eq!((numbers(&packets), errors.len()), (vec![1, 2, 6, 7, 8, 9], 1), "{errors:?}");
}

#[test]
fn a_cut_file_gives_what_went_before_and_says_where_it_ends() {
    let mut bytes = begin();
    write::packet(&mut bytes, 0, 1, &[&[1; 30]], 30);
    let last = bytes.len();
    write::packet(&mut bytes, 0, 1, &[&[1; 30]], 30);
    let (packets, errors, _) = read(&bytes[..bytes.len() - 1]);
    assert_eq!(packets.len(), 1);
    assert_eq!(errors, [format!("f: byte {last}: the file ends inside a block: want 64 bytes, 63 are left")]);

    let mut bytes = Vec::new();
    write_file_header(&mut bytes, LinkType::RAW, 0);
    write_record(&mut bytes, 1, &[1; 30], 30);
    let (packets, errors, _) = read(&bytes[..60]);
    assert_eq!(
        (packets.len(), errors),
        (0, vec!["f: byte 24: the file ends inside a packet record: want 46 bytes, 36 are left".to_owned()])
    );
    assert_eq!(
        refused(&bytes[..20]),
        "f: byte 0: the file ends inside the file header: want 24 bytes, 20 are left"
    );
}

#[test]
fn declared_sizes_take_no_memory() {
    let mut bytes = begin();
    let at = bytes.len();
    for total in [0xffff_fff0u32, 0x0100_0004, 0x0100_0000] {
        bytes.truncate(at);
        bytes.extend_from_slice(&6u32.to_le_bytes());
        bytes.extend_from_slice(&total.to_le_bytes());
        bytes.resize(at + 5_000, 0);
        let (packets, errors, reader) = read(&bytes);
        assert_eq!((packets.len(), errors.len()), (0, 1));
        assert!(
            errors[0].starts_with(&format!("f: byte {}: ", if total > 1 << 24 { at + 4 } else { at })),
            "{errors:?}"
        );
        assert!(reader.buffer.capacity() <= 32 << 20);
    }
}

#[test]
fn a_wall_of_interfaces_is_bounded() {
    let mut bytes = begin();
    let one = block(false, 1, &[1, 0], &[]);
    (0..70_000).for_each(|_| bytes.extend_from_slice(&one));
    write::packet(&mut bytes, 0, 1, &[b"x"], 1);
    let (packets, errors, _) = read(&bytes);
    assert_eq!((packets.len(), errors.len()), (1, 70_001 - 65_536));
}

#[test]
fn other_files_are_refused_with_advice() {
    assert_eq!(refused(b""), "f: byte 0: the file is empty");
    assert!(refused(&gzip(&gzip(&begin()))).contains("compressed twice"));
    assert!(refused(b"GMBU\0\0\0\0").contains("Network Monitor capture; `editcap -F pcapng"));
    assert!(refused(b"\x05VNF\0\0\0\0").contains("Visual Networks capture; `editcap -F pcapng"));
    assert!(refused(b"snoop\0\0\0\0\0\0\x02\0\0\0\x04").contains("editcap -F pcapng"));
    assert!(refused(b"just some text, not a capture at all").contains("editcap -F pcapng"));
    let mut erf = vec![0, 0, 0, 0, 1, 2, 3, 4, 2, 4, 0, 24, 0, 0, 0, 6, 1, 2, 3, 4, 5, 6, 7, 8];
    erf.extend(erf.clone());
    assert!(refused(&erf).contains("ERF"), "{}", refused(&erf));
    let missing = Reader::open("/nonexistent/capture.pcap").unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent/capture.pcap: ") && !missing.contains("byte"), "{missing}");
}

#[test]
fn a_failing_disk_is_an_error_at_its_place() {
    let mut bytes = begin();
    write::packet(&mut bytes, 0, 1, &[b"x"], 1);
    let length = bytes.len();
    let dribble = Dribble { bytes: bytes.into(), turn: 0, fail: true };
    let (packets, errors, _) = drain(Reader::new("f", dribble).unwrap());
    assert_eq!((packets.len(), errors), (1, vec![format!("f: byte {length}: the disk is gone")]));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// One-byte packets with these times in seconds.
fn timed(times: &[u64]) -> Vec<u8> {
    let mut bytes = begin();
    for time in times {
        write::packet(&mut bytes, 0, time * SECOND, &[&[*time as u8]], 1);
    }
    bytes
}

#[test]
fn packed_captures_are_unpacked_while_reading() {
    let plain = timed(&[1, 2, 3]);
    let want = read(&plain).0;
    for pack in [gzip, zstd] {
        let (packets, errors, reader) = read(&pack(&plain));
        assert_eq!(
            (packets, errors, reader.summary().format),
            (want.clone(), Vec::new(), "pcapng".to_owned())
        );
        // Members one behind the other, cut anywhere in what they hold.
        for cut in [1, 30, plain.len() / 2, plain.len() - 1] {
            let members = [pack(&plain[..cut]), pack(&plain[cut..])].concat();
            assert_eq!(read(&members).0, want, "cut at {cut}");
        }
        let many: Vec<u64> = (0..40_000).map(|i| i * 2_654_435_761 % 1_000_000).collect();
        let packed = pack(&timed(&many));
        let (packets, errors, _) = read(&packed[..packed.len() / 2]);
        assert!(!packets.is_empty() && packets.len() < 40_000, "{}", packets.len());
        assert_eq!(errors.len(), 1, "{errors:?}");
    }
}

#[test]
fn a_small_file_that_unpacks_to_gigabytes_takes_no_memory() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut encoder, &begin()).unwrap();
    io::Write::write_all(&mut encoder, &vec![0; 64 << 20]).unwrap();
    let (packets, errors, reader) = read(&encoder.finish().unwrap());
    assert_eq!((packets.len(), errors.len()), (0, 1));
    assert!(reader.buffer.capacity() <= 1 << 20);
}

/// Each packet's file and first byte, and the errors.
fn merge(files: &[Vec<u8>]) -> (Vec<(usize, u8)>, Vec<String>, Vec<u64>) {
    let directory = std::env::temp_dir().join(format!("streamgauge-merge-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let unique = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let paths: Vec<_> = (0..files.len()).map(|n| directory.join(format!("{unique}-{n}"))).collect();
    paths.iter().zip(files).for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    let mut merged = Merged::open(&paths);
    let (mut packets, mut errors) = (Vec::new(), Vec::new());
    while let Some((file, _, next)) = merged.next() {
        match next {
            Ok(packet) => packets.push((file, packet.data[0])),
            Err(error) => errors.push(error.to_string()),
        }
    }
    let counts = (0..files.len()).filter_map(|n| merged.ended(n)).map(|r| r.summary().packets).collect();
    paths.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    (packets, errors, counts)
}

#[test]
fn several_files_are_one_timeline() {
    let files = [timed(&[2, 5, 9]), gzip(&timed(&[1, 6, 6, 7])), timed(&[])];
    let (packets, errors, counts) = merge(&files);
    assert_eq!(packets, [(1, 1), (0, 2), (0, 5), (1, 6), (1, 6), (1, 7), (0, 9)]);
    assert_eq!((errors, counts), (Vec::new(), vec![3, 4, 0]));
    let (packets, errors, counts) =
        merge(&[timed(&[4]), b"no capture at all".to_vec(), timed(&[3])[..80].to_vec()]);
    assert_eq!((packets, counts), (vec![(0, 4)], vec![1, 0]));
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[test]
fn a_long_ring_of_files_is_opened_as_its_time_comes() {
    let files: Vec<_> = (0..60).rev().map(|n| timed(&[n * 3, n * 3 + 1, n * 3 + 4])).collect();
    let (packets, errors, counts) = merge(&files);
    assert!(packets.is_sorted_by_key(|(_, time)| *time), "{packets:?}");
    assert_eq!((packets.len(), errors.len(), counts), (180, 0, vec![3; 60]));
}
