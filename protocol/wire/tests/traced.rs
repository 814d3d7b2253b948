//! Plain and traced decoders agree: with `T = ()` and with `T = Tree` each of them reads the same value or meets the same
//! error at the same byte, and the leaves tile what was read. On a good example, and on the example damaged a thousand ways.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    missing_docs
)]

use std::fmt::Debug;

use streamgauge_wire as wire;

use wire::codec::{aac, avc, hevc, unescape};
use wire::flv::{self, AudioHeader, VideoHeader};
use wire::mp4::fragment::SegmentIndex;
use wire::mp4::{BoxHeader, Fragment, Movie};
use wire::net::LinkType;
use wire::pcap::{self, ByteOrder};
use wire::rtmp::message::{Command, Control};
use wire::rtmp::{chunk, handshake};
use wire::rtsp::{Head, Interleaved, Range, RtpInfo, SessionId, Transport};
use wire::{Cursor, Error, Tree, amf0, amf3, http, net, pcapng, rtcp, rtp, sdp};

/// Damaged copies of each example.
const COPIES: u32 = 1000;

/// What a decoder came to.
#[derive(Debug, PartialEq)]
struct Told {
    /// The value or the error, written out: a NaN then equals itself.
    text: String,
    /// True where there was no error.
    whole: bool,
    bits_left: u64,
}

trait Outcome: Debug {
    fn whole(&self) -> bool;
}

impl<V: Debug> Outcome for Result<V, Error> {
    fn whole(&self) -> bool {
        self.is_ok()
    }
}

impl<V: Debug> Outcome for (V, Option<Error>) {
    fn whole(&self) -> bool {
        self.1.is_none()
    }
}

fn told<T: wire::Trace>(result: &impl Outcome, c: &Cursor<'_, T>) -> Told {
    Told { text: format!("{result:?}"), whole: result.whole(), bits_left: c.bits_left() }
}

/// One decoder, both ways.
struct Decoder {
    name: &'static str,
    examples: Vec<Vec<u8>>,
    plain: fn(&[u8]) -> Told,
    traced: fn(&[u8]) -> (Told, Tree),
}

macro_rules! decoder {
    ($name:literal, [$($example:expr),+ $(,)?], |$c:ident| $read:expr) => {
        Decoder {
            name: $name,
            examples: vec![$(<Vec<u8>>::from($example)),+],
            plain: |bytes| {
                let $c = &mut Cursor::new(bytes);
                let result = $read;
                told(&result, $c)
            },
            traced: |bytes| {
                let mut cursor = Cursor::traced(bytes, Tree::default());
                let $c = &mut cursor;
                let result = $read;
                (told(&result, $c), cursor.into_trace())
            },
        }
    };
}

/// Enhanced packets to the end of their message.
macro_rules! packets {
    ($c:ident, $packets:expr) => {{
        let mut packets = $packets;
        let mut seen = Vec::new();
        loop {
            match packets.packet($c) {
                Ok(None) => break Ok((packets, seen)),
                Ok(Some(packet)) => match packet.payload($c) {
                    Ok(payload) => seen.push((packet, payload.to_vec())),
                    Err(error) => break Err(error),
                },
                Err(error) => break Err(error),
            }
        }
    }};
}

fn rtmp() -> Vec<Decoder> {
    let command = Command::new(
        "publish",
        5.0,
        vec![amf0::Amf0::text("key"), amf0::Amf0::object([("audioCodecs", amf0::Amf0::Number(3191.0))])],
    );
    let body = command.encode();
    let typed = |bytes: &[u8], kind: u8| [&[kind], bytes].concat();
    vec![
        decoder!(
            "chunk header",
            [
                hex("03 00 00 00 00 00 14 14 01 00 00 00"),
                hex("00 2a ff ff ff 00 00 14 09 01 00 00 00 01 02 03 04"),
                hex("41 01 02 00 00 28 00 00 14 08"),
                hex("c4")
            ],
            |c| chunk::header(c).and_then(|(basic, header)| {
                let extended = if c.remaining() >= 4 { Some(chunk::extended_timestamp(c)?) } else { None };
                Ok((basic, header, extended))
            })
        ),
        decoder!("handshake", [[&[3][..], &[7; 1536], &[9; 1536]].concat()], |c| handshake::version(c)
            .and_then(|version| {
                let hello = format!("{:?}", handshake::Hello::decode(c)?);
                Ok((version, hello, format!("{:?}", handshake::Echo::decode(c)?)))
            })),
        decoder!(
            "control message",
            [
                typed(&[0, 0, 0x10, 0], 1),
                typed(&[0, 0, 0, 7], 2),
                typed(&[0, 0, 9, 0xc4], 3),
                typed(&[0, 3, 0, 0, 0, 1, 0, 0, 0xb, 0xb8], 4),
                typed(&[0, 6, 1, 2, 3, 4], 4),
                typed(&[0, 0x1f, 1], 4),
                typed(&[0, 0x26, 0x25, 0xa0], 5),
                typed(&[0, 0x26, 0x25, 0xa0, 2], 6)
            ],
            |c| c.u8(&KIND).and_then(|kind| Control::decode(c, kind))
        ),
        decoder!("command message", [body.clone()], |c| split(Command::decode(c, false))),
        decoder!("command message of type 17", [[&[0][..], &body].concat()], |c| split(Command::decode(
            c, true
        ))),
        decoder!(
            "AMF0",
            [body.clone(), include_bytes!("../../../ci/fuzz/seeds/amf0/every-type").to_vec()],
            |c| amf0::decode_all(c)
        ),
        decoder!(
            "AMF3",
            [
                include_bytes!("../../../ci/fuzz/seeds/amf3/every-type"),
                include_bytes!("../../../ci/fuzz/seeds/amf3/objects")
            ],
            |c| amf3::decode_all(c)
        ),
    ]
}

fn flv() -> Vec<Decoder> {
    vec![
        decoder!("FLV file header", [*b"FLV\x01\x05\0\0\0\x09"], |c| flv::file::Header::decode(c)),
        decoder!(
            "FLV tag header",
            [hex("09 00 00 05 00 00 17 01 00 00 00"), hex("12 00 00 05 ff ff ff 7f 00 00 00")],
            |c| flv::file::TagHeader::decode(c)
        ),
        decoder!("FLV previous tag size", [hex("00 00 00 0c")], |c| flv::file::previous_tag_size(c)),
        decoder!(
            "audio header",
            [
                hex("af 00 11 90"),
                hex("2f ff fb 90"),
                hex("95 11 6d703461 00 000004 41424344 01 000004 45464748"),
                hex("95 01 6d703461 07 4142434445464748"),
                hex("95 01 4f 70 75 73 00 01")
            ],
            |c| match flv::audio::decode(c) {
                Ok(AudioHeader::Enhanced(packets)) => packets!(c, packets).map(|all| format!("{all:?}")),
                other => other.map(|header| format!("{header:?}")),
            }
        ),
        decoder!(
            "video header",
            [
                hex("17 00 00 00 00 01 64"),
                hex("27 01 ff ff d8 00 00 00 01 09"),
                hex("52 00"),
                hex("90 68766331 01016000"),
                hex("96 21 68766331 03 000004 41424344 61763031 05 000004 45464748"),
                hex("97 02 0001f4 01 68766331 000000 00000004 44415441"),
                hex("d1 00")
            ],
            |c| match flv::video::decode(c) {
                Ok(VideoHeader::Enhanced { frame_type, packets }) => {
                    packets!(c, packets).map(|all| format!("{frame_type:?} {all:?}"))
                }
                other => other.map(|header| format!("{header:?}")),
            }
        ),
    ]
}

fn rtsp() -> Vec<Decoder> {
    let setup = b"SETUP rtsp://h/a/trackID=0 RTSP/1.0\r\nCSeq: 2\r\nX-Folded: a\r\n b\r\nSession: 1;timeout=60\r\n\r\n";
    vec![
        decoder!(
            "RTP",
            [
                hex("80 e0 00 01 00 00 00 02 00 00 00 03 7c 85 11"),
                hex("b1 60 ff ff 00 00 00 02 00 00 00 03 00 00 00 09 be de 00 01 10 aa 00 00 65 88 00 00 03")
            ],
            |c| rtp::Packet::decode(c)
        ),
        decoder!(
            "RTCP",
            [
                hex("80 c9 00 01 00 00 00 07"),
                hex(
                    "81 c8 00 0c 00 00 00 01 e9 00 00 00 80 00 00 00 00 01 5f 90 00 00 00 0a 00 00 03 e8 00 00 00 02 \
                     10 ff ff fe 00 01 00 05 00 00 00 09 00 00 00 00 00 00 00 00 81 ca 00 03 00 00 00 01 01 04 63 61 \
                     6d 31 00 00 81 cb 00 02 00 00 00 01 03 62 79 65"
                )
            ],
            |c| rtcp::decode(c)
        ),
        decoder!(
            "RTSP head",
            [setup, &include_bytes!("../../../ci/fuzz/seeds/rtsp_head/answer")[..]],
            |c| Head::decode(c)
        ),
        decoder!("interleaved frame", [hex("24 01 00 0c")], |c| Interleaved::decode(c)),
        decoder!(
            "Transport",
            [*b"RTP/AVP;unicast;client_port=5000-5001;mode=\"PLAY\",RTP/AVP/TCP;interleaved=0-1;ssrc=0A0B0C0D"],
            |c| Transport::decode_all(c)
        ),
        decoder!("Range", [&b"npt=0.5-"[..], b"npt=1:02:03.5-now", b"clock=20260101T000000Z-"], |c| {
            Range::decode(c)
        }),
        decoder!(
            "RTP-Info",
            [*b"url=rtsp://h/a/trackID=0;seq=1;rtptime=2,url=rtsp://h/a/trackID=1;seq=65535;rtptime=4294967295"],
            |c| RtpInfo::decode_all(c)
        ),
        decoder!("Session", [*b"12345678; timeout=60"], |c| SessionId::decode(c)),
        decoder!("SDP", [include_bytes!("../../../ci/fuzz/seeds/sdp/two-tracks")], |c| {
            sdp::Description::decode(c)
        }),
        decoder!(
            "HTTP head",
            [
                &b"GET /live/a/index.m3u8?session=1 HTTP/1.1\r\nHost: h:8888\r\nRange: bytes=0-99\r\n\r\n"[..],
                b"HTTP/1.1 206 Partial Content\r\nContent-Type: video/mp4\r\nContent-Length: 100\r\n\r\n"
            ],
            |c| http::Head::decode(c)
        ),
    ]
}

fn codecs() -> Vec<Decoder> {
    let boxed = |bytes: &[u8]| bytes[1..].to_vec();
    let sps = hex("6764001eacd940a02ff97011000003000100000300320f162d96");
    let hevc_sps =
        hex("42010101600000030090000003000003003ca00a080b9f79656492 4caf01680800000300080000 0300c840");
    let mut hvcc = hex("01 01 60 00 00 00 90 00 00 00 00 00 3c f0 00 fc fd f8 f8 00 00 0f 01 21 00 01 00 2b");
    hvcc.extend(&hevc_sps);
    let avcc = avc::encode(&[&sps], &[&hex("68eaecb22c")]).unwrap();
    let mut index = hex("00 00 00 00 00 00 00 01 00 01 5f 90 00 00 00 00 00 00 00 00 00 00 00 01");
    index.extend(hex("00 00 10 00 00 01 5f 90 90 00 00 00"));
    vec![
        decoder!("MP4 box header", [boxed(include_bytes!("../../../ci/fuzz/seeds/mp4_boxes/head"))], |c| {
            BoxHeader::decode(c)
        }),
        decoder!("moov", [boxed(include_bytes!("../../../ci/fuzz/seeds/mp4_boxes/movie"))], |c| {
            Movie::decode(c)
        }),
        decoder!("moof", [boxed(include_bytes!("../../../ci/fuzz/seeds/mp4_boxes/fragment"))], |c| {
            Fragment::decode(c)
        }),
        decoder!("sidx", [index], |c| SegmentIndex::decode(c)),
        decoder!(
            "AudioSpecificConfig",
            [hex("11 90"), hex("12 10 56 e5 00"), hex("2b 11 88 00"), hex("eb 09 88 00"),],
            |c| aac::AudioSpecificConfig::decode(c)
        ),
        decoder!("AVC configuration", [avcc], |c| avc::Config::decode(c)),
        decoder!("AVC SPS", [unescape(&sps)], |c| avc::Sps::decode(c)),
        decoder!("AVC PPS", [hex("68 ce 0f c8")], |c| avc::Pps::decode(c)),
        decoder!("HEVC configuration", [hvcc], |c| hevc::Config::decode(c)),
        decoder!("HEVC SPS", [unescape(&hevc_sps)], |c| hevc::Sps::decode(c)),
    ]
}

fn captures() -> Vec<Decoder> {
    let pcap_file = include_bytes!("../../../ci/fuzz/seeds/pcapng/ethernet.pcap");
    let pcapng_file = include_bytes!("../../../ci/fuzz/seeds/pcapng/ethernet.pcapng");
    // The pcapng file goes on in the other byte order.
    vec![
        decoder!("pcap file and its first record", [pcap_file], |c| pcap::file_header(c)
            .and_then(|file| Ok((file, pcap::whole_record(c, &file)?)))),
        decoder!("pcapng blocks", [&pcapng_file[..2072]], |c| loop {
            let block = pcapng::read::block(c, ByteOrder::Little);
            if block.is_err() || c.is_empty() {
                break block.map(|block| format!("{block:?}"));
            }
        }),
        decoder!("Ethernet to UDP", [&pcap_file[40..]], |c| {
            let length = c.remaining() as u32;
            let packet = net::decode(c, LinkType::ETHERNET, length);
            let error = packet.error.clone();
            (format!("{packet:?}"), error)
        }),
    ]
}

static KIND: wire::Field =
    wire::trace::field("message type", "RTMP 1.0 §6.1.1", "Says which control message follows.");

/// A command with the error behind it as one result.
fn split(result: Result<(Command, Option<Error>), Error>) -> (Option<Command>, Option<Error>) {
    match result {
        Ok((command, error)) => (Some(command), error),
        Err(error) => (None, Some(error)),
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
}

/// Numbers grown from a seed (xorshift).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n.max(1)
    }

    /// One of: bits turned over, bytes with values that matter, a piece taken out, doubled, put elsewhere, or an end cut off.
    fn damage(&mut self, example: &[u8]) -> Vec<u8> {
        let mut bytes = example.to_vec();
        for _ in 0..=self.below(4) {
            let (at, other) = (self.below(bytes.len()), self.below(bytes.len()));
            let piece = at.min(other)..at.max(other).min(at.min(other) + 8);
            match self.below(8) {
                _ if bytes.is_empty() => bytes.push(self.below(256) as u8),
                0 | 1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'\r', b'\n', b' '][self.below(8)],
                3 => bytes[at] = self.below(256) as u8,
                4 => bytes.truncate(at),
                5 => drop(bytes.drain(piece)),
                6 => {
                    let copy = bytes[piece].to_vec();
                    bytes.splice(at..at, copy);
                }
                _ => bytes.swap(at, other),
            }
        }
        bytes
    }
}

fn agree(decoder: &Decoder, bytes: &[u8]) -> Told {
    let name = decoder.name;
    let plain = (decoder.plain)(bytes);
    let (traced, tree) = (decoder.traced)(bytes);
    assert_eq!(plain, traced, "{name}: {bytes:02x?}");
    let mut end = 0;
    for leaf in tree.leaves() {
        assert_eq!(leaf.bits.start, end, "{name}: before {:?}: {bytes:02x?}", leaf.field);
        end = leaf.bits.end;
    }
    // Also where it ended in an error: what was not named was not consumed.
    let read = bytes.len() as u64 * 8 - plain.bits_left;
    assert_eq!(end, read, "{name}: the leaves end elsewhere: {bytes:02x?}");
    plain
}

#[test]
fn plain_and_traced_decoders_agree() {
    let mut bad = Vec::new();
    for decoder in [rtmp(), flv(), rtsp(), codecs(), captures()].iter().flatten() {
        let mut wholes = 0;
        for (number, example) in decoder.examples.iter().enumerate() {
            let good = agree(decoder, example);
            if !good.whole {
                bad.push(format!("{} {number}: {}", decoder.name, good.text));
            }
            let mut seeded = Seeded(0x9e37_79b9_7f4a_7c15 ^ number as u64);
            for _ in 0..COPIES {
                let told = agree(decoder, &seeded.damage(example));
                wholes += u32::from(told.whole);
            }
        }
        if wholes == 0 {
            bad.push(format!("{}: no damaged copy is read", decoder.name));
        }
    }
    assert!(bad.is_empty(), "examples that show nothing: {bad:#?}");
}
