#![allow(clippy::arithmetic_side_effects)]
use super::*;
use crate::trace::Tree;
use proptest::prelude::*;

/// A PAT of one program 1 with its map on PID 0x1000, written out by hand from §2.4.4.3.
const PAT_SECTION: [u8; 16] =
    [0x00, 0xb0, 0x0d, 0x00, 0x01, 0xc1, 0x00, 0x00, 0x00, 0x01, 0xf0, 0x00, 0x2a, 0xb1, 0x04, 0xb2];

/// A map with H.264 on 0x100 and ADTS AAC in German on 0x101; its CRC is put behind it.
fn map_section() -> Vec<u8> {
    let mut section = vec![
        0x02, 0xb0, 0x1d, 0x00, 0x01, 0xc1, 0x00, 0x00, 0xe1, 0x00, 0xf0, 0x00, 0x1b, 0xe1, 0x00, 0xf0, 0x00,
        0x0f, 0xe1, 0x01, 0xf0, 0x06, 0x0a, 0x04, b'd', b'e', b'u', 0x00,
    ];
    let crc = crc32(&section);
    section.extend_from_slice(&crc.to_be_bytes());
    section
}

fn packet(head: [u8; 3], fill: &[u8]) -> Vec<u8> {
    let mut bytes = vec![SYNC_BYTE];
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(fill);
    bytes.resize(PACKET, 0xff);
    bytes
}

#[test]
fn the_crc_of_the_standard() {
    // The check value of CRC-32/MPEG-2.
    assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
    assert_eq!(crc32(&PAT_SECTION), 0);
}

#[test]
fn a_packet_with_its_clock() {
    // PCR base 0x1_0000_0001, extension 299, random access; the rest of the field is stuffing.
    let field = [0x07, 0x50, 0x80, 0x00, 0x00, 0x00, 0xff, 0x2b];
    let bytes = packet([0x41, 0x00, 0x35], &field);
    let read = Packet::parse(&bytes).unwrap();
    assert_eq!((read.pid, read.start, read.counter, read.error, read.scrambling), (0x100, true, 5, false, 0));
    let adaptation = read.adaptation.unwrap();
    assert!(adaptation.random_access && !adaptation.discontinuity);
    assert_eq!(adaptation.pcr, Some(0x1_0000_0001 * 300 + 299));
    assert_eq!(read.payload.map(<[u8]>::len), Some(176));
    assert_eq!(
        Packet::parse(&bytes[..187]).unwrap_err().to_string(),
        "byte 0: transport packet in transport packet: want 188 bytes, 187 are left"
    );
    let mut other = bytes.clone();
    other[0] = 0x48;
    assert_eq!(Packet::parse(&other).unwrap_err().field, "sync_byte");
    other = bytes;
    other[4] = 184;
    assert_eq!(Packet::parse(&other).unwrap_err().field, "adaptation_field_length");
}

#[test]
fn tables_are_read_and_their_sums_checked() {
    let read = |bytes: &[u8]| Section::decode(&mut Cursor::new(bytes));
    assert_eq!(read(&PAT_SECTION), Ok(Section::Programs(vec![Program { number: 1, pid: 0x1000 }])));
    let section = map_section();
    let Ok(Section::Map(1, map)) = read(&section) else { panic!("no map") };
    assert_eq!(map.pcr_pid, 0x100);
    let types: Vec<_> = map.streams.iter().map(|s| (s.stream_type, s.pid)).collect();
    assert_eq!(types, [(0x1b, 0x100), (0x0f, 0x101)]);
    assert_eq!(map.streams[1].descriptor(10), Some(&b"deu\0"[..]));
    for at in 0..section.len() {
        let mut damaged = section.clone();
        damaged[at] ^= 0x10;
        let damage = read(&damaged);
        assert!(matches!(damage, Err(_) | Ok(Section::Other(_))), "byte {at}: {damage:?}");
    }
}

#[test]
fn sections_are_whole_however_they_are_cut() {
    let section = map_section();
    for cut in 1..section.len() {
        let mut sections = Sections::default();
        let mut found = Vec::new();
        let first = [&[0u8][..], &section[..cut]].concat();
        sections.payload(true, &first, |bytes| found.push(bytes.to_vec()));
        let rest = [&section[cut..], &[0xff; 20]].concat();
        sections.payload(false, &rest, |bytes| found.push(bytes.to_vec()));
        assert_eq!(found, std::slice::from_ref(&section), "{cut}");
    }
    // The pointer tells where the first one begins; two may follow each other.
    let mut sections = Sections::default();
    let mut found = 0;
    let payload = [&[3u8, 9, 9, 9][..], &section, &PAT_SECTION, &[0xff; 9]].concat();
    sections.payload(true, &payload, |_| found += 1);
    assert_eq!(found, 2);
}

#[test]
fn times_of_pes_packets() {
    // PTS 0x1_2345_6789 and DTS 0x1_2345_5f19 by table 2-21, length 20 with ten bytes of header.
    let pts = 0x1_2345_6789u64;
    let dts = 0x1_2345_5f19u64;
    let write = |prefix: u8, time: u64| {
        let byte = |n: u64| (n & 0xff) as u8;
        [
            prefix << 4 | byte(time >> 29) & 0x0e | 1,
            byte(time >> 22),
            byte(time >> 14) | 1,
            byte(time >> 7),
            byte(time << 1) | 1,
        ]
    };
    let mut bytes = vec![0, 0, 1, 0xe0, 0, 20, 0x80, 0xc0, 10];
    bytes.extend_from_slice(&write(3, pts));
    bytes.extend_from_slice(&write(1, dts));
    bytes.extend_from_slice(&[7; 7]);
    let mut c = Cursor::new(&bytes);
    let read = Pes::decode(&mut c).unwrap();
    assert_eq!(read, Pes { stream: 0xe0, length: Some(7), pts: Some(pts), dts: Some(dts) });
    assert_eq!(c.peek(), [7; 7]);
    bytes[5] = 0;
    assert_eq!(Pes::decode(&mut Cursor::new(&bytes)).unwrap().length, None);
    bytes[8] = 9;
    assert_eq!(Pes::decode(&mut Cursor::new(&bytes)).unwrap_err().field, "PES_header_data_length");
    bytes[2] = 2;
    assert_eq!(Pes::decode(&mut Cursor::new(&bytes)).unwrap_err().field, "packet_start_code_prefix");
}

#[test]
fn packets_are_found_in_all_three_sizes() {
    let one = packet([0, 0x11, 0x10], &[]);
    for (stride, before, behind) in [(188, 0, 0), (192, 4, 0), (204, 0, 16)] {
        let unit = [vec![1; before], one.clone(), vec![2; behind]].concat();
        let stream = [vec![9; 50], unit.repeat(6)].concat();
        assert_eq!(layout(&stream), Some(Layout { stride, offset: 50 + before }), "{stride}");
    }
    assert_eq!(layout(&one.repeat(3)), None);
    assert_eq!(layout(&[0x12; 2000]), None);
    assert!(is_packets(&one.repeat(7)) && !is_packets(&one.repeat(7)[1..]) && !is_packets(&[]));
}

proptest! {
    #[test]
    fn leaves_tile_and_any_bytes_are_answered(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), start in 0usize..3) {
        if let (0, Some(first)) = (start, bytes.first_mut()) {
            *first = SYNC_BYTE;
        }
        for what in 0..3 {
            let mut c = Cursor::traced(&bytes, Tree::default());
            match what {
                0 => drop(Packet::decode(&mut c)),
                1 => drop(Section::decode(&mut c)),
                _ => drop(Pes::decode(&mut c)),
            }
            let left = c.bits_left();
            let mut at = 0;
            for leaf in c.into_trace().leaves() {
                prop_assert_eq!(leaf.bits.start, at);
                at = leaf.bits.end;
            }
            prop_assert_eq!(at + left, bytes.len() as u64 * 8);
        }
        let mut sections = Sections::default();
        sections.payload(true, &bytes, |section| assert!(section.len() <= bytes.len()));
        layout(&bytes);
    }
}
