#![allow(clippy::arithmetic_side_effects)]

use proptest::prelude::*;
use wire::Cursor;

use super::gap;
use crate::dissect::facts::Facts;
use crate::dissect::forms::{FORMS, read};

/// One good example of each form.
fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let hex = |text: &str| crate::dissect::forms::hex(text).unwrap();
    let avc = hex(
        "01 64 00 28 ff e1 00 1b 67 64 00 28 ac d9 40 78 02 27 e5 c0 44 00 00 03 00 04 00 00 03 00 c8 3c 60 c6 58 \
         01 00 06 68 eb e3 cb 22 c0",
    );
    let mut video = vec![0x17, 0, 0, 0, 0];
    video.extend(&avc);
    let mut picture = vec![0x27, 1, 0, 0, 80];
    for unit in [&[9u8, 0x10][..], &[6, 5, 1, 2], &[0x41, 0x9a, 7, 7, 7]] {
        picture.extend(u32::try_from(unit.len()).unwrap().to_be_bytes());
        picture.extend(unit);
    }
    let mut chunks = Vec::new();
    let body =
        wire::rtmp::message::Command::new("publish", 5.0, vec![wire::amf0::Amf0::text("a".repeat(200))])
            .encode();
    let head = wire::rtmp::chunk::Head { csid: 3, timestamp: 0x0100_0000, type_id: 20, stream_id: 1 };
    wire::rtmp::chunk::write_message(&mut chunks, 128, &head, &[&body]);
    vec![
        ("flv.audio", hex("af 00 11 90")),
        ("flv.audio", hex("95 01 4f 70 75 73 00 01")),
        ("flv.video", video),
        ("flv.video", picture),
        ("aac.asc", hex("12 10 56 e5 00")[..2].to_vec()),
        ("avc.config", avc),
        ("rtmp.chunk", chunks),
        ("rtmp.command", body),
        ("rtp.h264", hex("80 e0 00 01 00 00 00 02 00 00 00 03 7c 85 11 22 33")),
        ("rtcp", hex("80 c9 00 01 00 00 00 07")),
        ("rtsp", b"OPTIONS rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n\r\n".to_vec()),
        (
            "sdp",
            b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=x\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
                .to_vec(),
        ),
        (
            "http",
            b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpegurl\r\n\r\n#EXTM3U\n#EXTINF:2.0,\na.ts\n".to_vec(),
        ),
        (
            "m3u8",
            b"#EXTM3U\r\n#EXT-X-MAP:URI=\"i.mp4\",BYTERANGE=\"1@2\"\n\n# note\n#EXTINF:4.0,title\nseg.m4s"
                .to_vec(),
        ),
        ("mp4", [&16u32.to_be_bytes()[..], b"ftypisom\0\0\0\0", &8u32.to_be_bytes(), b"moov"].concat()),
        (
            "flv",
            [&b"FLV\x01\x05\0\0\0\x09\0\0\0\0"[..], &[8, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xaf, 0, 0, 0, 12]]
                .concat(),
        ),
        ("ts", transport()),
    ]
}

/// A PAT, a packet with both clocks, a countdown, private data and an extension, and a PES packet with both times.
fn transport() -> Vec<u8> {
    let hex = |text: &str| crate::dissect::forms::hex(text).unwrap();
    let packets = [
        hex("47 40 00 10 00 00 b0 0d 00 01 c1 00 00 00 01 f0 00 2a b1 04 b2"),
        hex("47 01 00 20 b7 1f 80 00 00 00 ff 2b 00 00 00 01 7e 00 05 02 ab cd 01 1f"),
        hex("47 41 00 11 00 00 01 e0 00 00 84 c0 0a 31 00 07 e9 45 11 00 07 d1 cb 00 00 01 09"),
    ];
    let filled = |mut packet: Vec<u8>| {
        packet.resize(wire::ts::PACKET, 0xff);
        packet
    };
    packets.into_iter().flat_map(filled).collect()
}

#[test]
fn clocks_and_times_of_a_transport_stream_are_whole_numbers_beside_their_bits() {
    let parts = read("ts", &transport()).unwrap();
    let pieces = |part: &super::Part, name: &str| {
        let node = part.tree.nodes.iter().find(|node| node.field.name == name);
        node.map(|node| (node.value, node.bits.end - node.bits.start)).unwrap()
    };
    use wire::trace::Value::Pieces;
    // Base 0x1_0000_0001 and extension 299; base 2.
    assert_eq!(pieces(&parts[0], "program_clock_reference"), (Pieces(0x1_0000_0001 * 300 + 299), 48));
    assert_eq!(pieces(&parts[0], "original_program_clock_reference"), (Pieces(600), 48));
    assert_eq!(pieces(&parts[0], "splice_countdown"), (wire::trace::Value::U64(5), 8));
    assert_eq!(pieces(&parts[0], "private_data").1, 16);
    assert_eq!(parts[1].title, "PID 0: Program Association Table (PAT)");
    assert_eq!(parts[2].title, "PID 256: PES packet, video-stream");
    assert_eq!(
        (pieces(&parts[2], "PTS"), pieces(&parts[2], "DTS")),
        ((Pieces(128_162), 40), (Pieces(125_157), 40))
    );
}

#[test]
fn every_example_is_read_to_its_end() {
    for (form, bytes) in examples() {
        for part in read(form, &bytes).unwrap() {
            assert_eq!((gap(&part), &part.error), (None, &None), "{form}: {}", part.title);
            let unread = part.tree.nodes.iter().any(|n| n.field.name == "unread");
            // A parameter set ends in bits that align it, and goes on behind what is decoded.
            assert!(!unread || part.title.contains("parameter set"), "{form}: {}", part.title);
        }
    }
}

#[test]
fn the_audio_header_that_started_it_is_shown_with_both_readings() {
    let parts = read("flv.audio", &[0xaf, 0, 0x11, 0x90]).unwrap();
    let notes: Vec<_> = parts[0].notes.iter().map(|n| (n.label, n.text.as_str())).collect();
    assert_eq!(notes[0], ("Wireshark says", "HE-AAC 44 kHz 16 bit stereo"));
    assert_eq!(notes[1], ("what is so", "AAC sequence header, AudioSpecificConfig AAC-LC 48000 Hz stereo"));
    assert!(notes[2].1.starts_with("the second"));
}

proptest! {
    #[test]
    fn leaves_tile_whatever_comes(form in 0..FORMS.len(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for part in read(FORMS[form].name, &bytes).unwrap() {
            prop_assert_eq!(gap(&part), None, "{} {}", FORMS[form].name, part.title);
        }
    }

    #[test]
    fn leaves_tile_damaged_examples(n in 0usize..17, at in 0usize..300, with: u8, cut in 0usize..300) {
        let (form, mut bytes) = examples().swap_remove(n);
        let length = bytes.len();
        bytes[at % length] = with;
        bytes.truncate(length - cut % length);
        for part in read(form, &bytes).unwrap() {
            prop_assert_eq!(gap(&part), None, "{} {}", form, part.title);
            prop_assert!(part.origin.is_empty() || part.origin.len() == part.bytes.len() as u64, "{}", part.title);
        }
    }

    #[test]
    fn plain_and_traced_readings_agree(mut bytes in prop::collection::vec(any::<u8>(), 0..60), head in 0usize..5) {
        let heads: [&[u8]; 5] = [&[0xaf, 0], &[0x17, 0, 0, 0, 0, 1], &[0x27, 1, 0, 0, 0], &[0x91], &[0x90, b'h', b'v', b'c', b'1']];
        bytes.splice(0..0, heads[head].iter().copied());
        let plain = super::flv::audio(&mut Cursor::new(&bytes), &mut Facts::off()).map(|s| s.text);
        let traced = super::flv::audio(&mut Cursor::traced(&bytes, wire::Tree::default()), &mut Facts::off()).map(|s| s.text);
        prop_assert_eq!(plain, traced);
        let plain = super::flv::video(&mut Cursor::new(&bytes), Some(4), &mut Facts::off()).map(|s| s.text);
        let traced = super::flv::video(&mut Cursor::traced(&bytes, wire::Tree::default()), Some(4), &mut Facts::off()).map(|s| s.text);
        prop_assert_eq!(plain, traced);
    }
}
