#![allow(clippy::arithmetic_side_effects)]

use super::read::{block, head};
use super::*;
use crate::cursor::Cursor;
use crate::trace::Tree;

fn decode(bytes: &[u8]) -> Block<'_> {
    block(&mut Cursor::new(bytes), ByteOrder::Little).unwrap()
}

#[test]
fn a_section_header_says_who_wrote_it() {
    let mut out = Vec::new();
    let options = write::SectionOptions {
        user_appl: Some("streamgauge 0.1.0"),
        comment: Some("synthetic: made at sockets"),
        os: Some("Linux"),
        ..Default::default()
    };
    write::section_header(&mut out, &options);
    assert_eq!(head(&out, 0, ByteOrder::Big).unwrap().total as usize, out.len());
    let Block::Section(section) = decode(&out) else { panic!("no section") };
    assert_eq!(section.user_appl.as_deref(), Some("streamgauge 0.1.0"));
    assert_eq!(section.comment.as_deref(), Some("synthetic: made at sockets"));
    assert_eq!((section.os.as_deref(), section.hardware), (Some("Linux"), None));
}

#[test]
fn a_packet_written_in_pieces_comes_back_with_nanoseconds() {
    let mut out = Vec::new();
    let options =
        write::InterfaceOptions { link_type: 1, snap_len: 96, name: Some("tap0"), ..Default::default() };
    write::interface(&mut out, &options);
    let Block::Interface(interface) = decode(&out) else { panic!("no interface") };
    assert_eq!((interface.link, interface.snap_len), (LinkType::ETHERNET, 96));
    assert_eq!(interface.name.as_deref(), Some("tap0"));

    let time = 1_700_000_000_123_456_789;
    out.clear();
    write::packet(&mut out, 3, time, &[b"head", b"", b"body!"], 1500);
    assert_eq!(out.len() % 4, 0);
    let Block::Packet(packet) = decode(&out) else { panic!("no packet") };
    assert_eq!((packet.interface, packet.data, packet.orig_len), (3, &b"headbody!"[..], 1500));
    assert_eq!(interface.time_ns(packet.ticks), time.cast_signed());
}

#[test]
fn data_beyond_the_largest_block_is_cut_off() {
    let piece = vec![7; 10 << 20];
    let mut out = Vec::new();
    write::packet(&mut out, 0, 0, &[&piece, &piece], 20 << 20);
    assert_eq!(out.len(), MAX_BLOCK as usize);
    let Block::Packet(packet) = decode(&out) else { panic!("no packet") };
    assert_eq!((packet.data.len(), packet.orig_len), (MAX_BLOCK as usize - 32, 20 << 20));
}

#[test]
fn statistics_come_back() {
    let mut out = Vec::new();
    let counters = write::Statistics {
        time_ns: 9,
        start_ns: Some(1),
        received: Some(1 << 40),
        dropped: Some(12),
        ..Default::default()
    };
    write::statistics(&mut out, 1, &counters);
    let expected = Statistics { interface: 1, received: Some(1 << 40), dropped: Some(12), os_dropped: None };
    assert_eq!(decode(&out), Block::Statistics(expected));
}

#[test]
fn secrets_are_a_block_to_skip() {
    let mut out = Vec::new();
    write::decryption_secrets(&mut out, write::TLS_KEY_LOG, b"CLIENT_RANDOM 00 11\n");
    assert_eq!(decode(&out), Block::Other(SECRETS));
}

#[test]
fn timestamps_in_every_unit() {
    let at = |resolution, offset_s, ticks| {
        Interface { resolution: Resolution(resolution), offset_s, ..Interface::default() }.time_ns(ticks)
    };
    assert_eq!(at(6, 0, 1_500_000), 1_500_000_000);
    assert_eq!(at(9, 0, 17), 17);
    assert_eq!(at(0, 0, 2), 2_000_000_000);
    assert_eq!(at(12, 0, 5_999), 5);
    assert_eq!(at(0x80 | 10, 0, 512), 500_000_000);
    assert_eq!(at(6, -1, 0), -1_000_000_000);
    assert_eq!(at(0, i64::MAX, u64::MAX), i64::MAX);
    assert_eq!(at(0xff, i64::MIN, u64::MAX), i64::MIN);
    assert_eq!(at(0x7f, 0, u64::MAX), 0);
}

#[test]
fn both_byte_orders() {
    let big = [
        0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 28, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 28,
    ];
    let Block::Section(section) = decode(&big) else { panic!("no section") };
    assert_eq!((section.order, section.version), (ByteOrder::Big, (1, 0)));
}

#[test]
fn leaves_tile_every_block() {
    let mut blocks: Vec<Vec<u8>> = vec![Vec::new(); 5];
    let section = write::SectionOptions { comment: Some("12345"), ..Default::default() };
    write::section_header(&mut blocks[0], &section);
    write::interface(&mut blocks[1], &write::InterfaceOptions { name: Some("a"), ..Default::default() });
    write::packet(&mut blocks[2], 0, 1, &[b"abcde"], 5);
    write::statistics(&mut blocks[3], 0, &write::Statistics { dropped: Some(1), ..Default::default() });
    write::decryption_secrets(&mut blocks[4], 1, b"abc");
    for bytes in &blocks {
        let mut c = Cursor::traced(bytes, Tree::default());
        block(&mut c, ByteOrder::Little).unwrap();
        let mut next = 0;
        for leaf in c.into_trace().leaves() {
            assert_eq!(leaf.bits.start, next);
            next = leaf.bits.end;
        }
        assert_eq!(next, bytes.len() as u64 * 8);
    }
}

#[test]
fn lengths_that_contradict_are_refused_at_their_position() {
    let mut out = Vec::new();
    write::packet(&mut out, 0, 1, &[b"abcde"], 5);
    let last = out.len() - 4;
    out[last] += 4;
    let error = block(&mut Cursor::based(&out, 1000), ByteOrder::Little).unwrap_err();
    assert_eq!(error.at, 1000 + last as u64);
    out[last] -= 4;
    out[20] = 200;
    let error = block(&mut Cursor::based(&out, 1000), ByteOrder::Little).unwrap_err();
    assert_eq!((error.at, error.field), (1020, "captured length"));
    out[4] = 3;
    assert_eq!(head(&out, 1000, ByteOrder::Little).unwrap_err().at, 1004);
}
