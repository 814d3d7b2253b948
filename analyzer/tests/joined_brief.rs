//! RTMP taken up anywhere whose messages begin with headers of format 2 and 3, which leave out length and type: streams
//! written here, as encoders send them whose frames have all one size.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

#[path = "pcap/mod.rs"]
mod pcap;

use std::collections::BTreeMap;
use std::io::Cursor;

use model::{Analysis, Role, TrackKind};
use pcap::{Side, Writer};
use streamgauge_analyzer::{Analyzer, Options};
use wire::amf0::Amf0;
use wire::rtmp::chunk::write_basic;
use wire::rtmp::message::{Command, kind};

/// Writes messages with the shortest header that says what changed.
struct Chunker {
    size: usize,
    /// Time, delta, length and type of the last message of each chunk stream.
    last: BTreeMap<u32, (u32, u32, usize, u8)>,
    /// Behind times that need more than three bytes every header of format 3 carries its message's own time, as some servers
    /// write them.
    extended: bool,
    /// How many messages began with each format.
    begun: [u32; 4],
    out: Vec<u8>,
}

impl Chunker {
    fn new() -> Self {
        Self { size: 128, last: BTreeMap::new(), extended: false, begun: [0; 4], out: Vec::new() }
    }

    fn message(&mut self, csid: u32, type_id: u8, time: u32, body: &[u8]) {
        let long = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
        let before = self.last.get(&csid).copied();
        let delta = before.map_or(0, |(then, ..)| time - then);
        let fmt = match before {
            Some((_, d, length, t)) if (length, t) == (body.len(), type_id) => {
                if d == delta || self.extended { 3 } else { 2 }
            }
            Some(_) if (type_id == kind::AUDIO || type_id == kind::VIDEO) && !self.extended => 1,
            _ => 0,
        };
        self.begun[usize::from(fmt)] += 1;
        write_basic(&mut self.out, fmt, csid);
        if fmt < 3 {
            let field = if fmt == 0 { time } else { delta };
            self.out.extend(&field.min(0xff_ffff).to_be_bytes()[1..]);
        }
        if fmt < 2 {
            self.out.extend(&long(body.len())[1..]);
            self.out.push(type_id);
        }
        if fmt == 0 {
            self.out.extend(u32::from(type_id == kind::AUDIO || type_id == kind::VIDEO).to_le_bytes());
        }
        for (n, chunk) in body.chunks(self.size).enumerate() {
            if n > 0 {
                write_basic(&mut self.out, 3, csid);
            }
            if self.extended && (n > 0 || fmt == 0 || fmt == 3) {
                self.out.extend(time.to_be_bytes());
            }
            self.out.extend(chunk);
        }
        self.last.insert(csid, (time, if fmt == 0 { u32::MAX } else { delta }, body.len(), type_id));
    }

    fn command(&mut self, stream: u32, command: &Command) {
        let body = command.encode();
        write_basic(&mut self.out, 0, 3);
        self.out.extend([0; 3]);
        self.out.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
        self.out.push(kind::COMMAND_AMF0);
        self.out.extend(stream.to_le_bytes());
        for (n, chunk) in body.chunks(self.size).enumerate() {
            if n > 0 {
                write_basic(&mut self.out, 3, 3);
            }
            self.out.extend(chunk);
        }
    }
}

/// Bytes without a pattern (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_le_bytes()[3]
    }

    fn body(&mut self, head: &[u8], length: usize) -> Vec<u8> {
        let rest = (head.len()..length).map(|_| self.next());
        head.iter().copied().chain(rest).collect()
    }
}

/// What pictures and sound look like.
#[derive(Clone, Copy, Debug)]
enum Codecs {
    /// H.264 of two NAL units in each picture, and AAC.
    AvcAac,
    /// Sorenson H.263 and MP3.
    H263Mp3,
    /// VP6, of which only the first byte tells anything, and MP3.
    Vp6Mp3,
    /// Enhanced HEVC and AAC.
    HevcAac,
    /// H.264 and Speex, of which only the first byte tells anything.
    AvcSpeex,
    /// H.264 and G.711 (A-law), the same.
    AvcG711,
    /// VP6 and G.711: nothing in the whole stream tells more than by a byte.
    Vp6G711,
}

/// Sizes of pictures and of sound.
type Sizes = fn(u32) -> (usize, usize);

fn picture(codecs: Codecs, n: u32, size: usize, noise: &mut Noise) -> Vec<u8> {
    let key = n.is_multiple_of(25);
    let length = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
    match codecs {
        Codecs::AvcAac | Codecs::AvcSpeex | Codecs::AvcG711 => {
            let first = noise.body(&[0x06], size / 10);
            let head =
                [&[if key { 0x17 } else { 0x27 }, 1, 0, 0, 0][..], &length(first.len()), &first].concat();
            let second = length(size - head.len() - 4);
            noise.body(&[&head[..], &second, &[if key { 0x65 } else { 0x41 }]].concat(), size)
        }
        Codecs::HevcAac => {
            let head = [&[if key { 0x93 } else { 0xa3 }][..], b"hvc1", &length(size - 9), &[0x02]].concat();
            noise.body(&head, size)
        }
        Codecs::H263Mp3 => noise.body(&[if key { 0x12 } else { 0x22 }, 0, 0, 0x84], size),
        Codecs::Vp6Mp3 | Codecs::Vp6G711 => noise.body(&[if key { 0x14 } else { 0x24 }, 0], size),
    }
}

fn sound(codecs: Codecs, size: usize, noise: &mut Noise) -> Vec<u8> {
    match codecs {
        Codecs::AvcSpeex => noise.body(&[0xb2], size),
        Codecs::AvcG711 | Codecs::Vp6G711 => noise.body(&[0x72], size),
        Codecs::AvcAac | Codecs::HevcAac => noise.body(&[0xaf, 1, 0x21], size),
        // Layer III at 64 kbit/s and 44.1 kHz: 208 bytes, padded 209.
        Codecs::H263Mp3 | Codecs::Vp6Mp3 => {
            let padded = if size > 209 { 0x52 } else { 0x50 };
            noise.body(&[0x2f, 0xff, 0xfb, padded, 0x44], size)
        }
    }
}

/// A publisher's connection as a capture, whose times begin with `from`; how many of its messages began with each format.
fn capture(chunk_size: u32, codecs: Codecs, sizes: Sizes, from: u32) -> (Vec<u8>, [u32; 4]) {
    let (mut writer, mut chunker, mut noise) =
        (Writer::default(), Chunker::new(), Noise(0x9e37_79b9_7f4a_7c15));
    let mut tcp = writer.connect(50_000, 40_000);
    let mut hello = vec![3];
    hello.resize(3073, 0x11);
    writer.send(&mut tcp, Side::Client, &hello);
    writer.send(&mut tcp, Side::Server, &hello);
    write_basic(&mut chunker.out, 0, 2);
    chunker.out.extend([0, 0, 0, 0, 0, 4, kind::SET_CHUNK_SIZE, 0, 0, 0, 0]);
    chunker.out.extend(chunk_size.to_be_bytes());
    chunker.size = usize::try_from(chunk_size).unwrap();
    let object = Amf0::object([("app", Amf0::text("live"))]);
    let connect = Command { name: "connect".into(), transaction: 1.0, object, arguments: Vec::new() };
    chunker.command(0, &connect);
    chunker.command(1, &Command::new("publish", 2.0, vec![Amf0::text("cam"), Amf0::text("live")]));
    chunker.extended = from >= 0xff_ffff;
    for n in 0..150 {
        let (video, audio) = sizes(n);
        chunker.message(6, kind::VIDEO, from + n * 40, &picture(codecs, n, video, &mut noise));
        for part in 0..2 {
            chunker.message(4, kind::AUDIO, from + n * 40 + part * 20, &sound(codecs, audio, &mut noise));
        }
        // Several messages share segments.
        if n % 3 == 2 {
            writer.send(&mut tcp, Side::Client, &std::mem::take(&mut chunker.out));
        }
    }
    chunker.command(1, &Command::new("FCUnpublish", 3.0, vec![Amf0::text("cam")]));
    writer.send(&mut tcp, Side::Client, &chunker.out);
    writer.close(&mut tcp);
    (writer.finish(), chunker.begun)
}

fn analyze(file: Vec<u8>) -> Analysis {
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.reader("made", Cursor::new(file)).unwrap();
    analyzer.finish()
}

/// Video frames and audio frames, and the frame rate.
fn frames(analysis: &Analysis) -> ([u64; 2], Option<f64>) {
    let (mut sum, mut rate) = ([0, 0], None);
    for track in analysis.sessions.iter().flat_map(|s| &s.tracks) {
        sum[usize::from(track.kind == TrackKind::Audio)] += track.frames;
        rate = rate.or(track.frame_rate);
    }
    (sum, rate)
}

const EQUAL: Sizes = |_| (1800, 210);
/// Every seventh picture and every tenth sound has another size, and its header says so.
const MOSTLY_EQUAL: Sizes = |n| (if n % 7 == 3 { 2300 } else { 1800 }, if n % 10 == 4 { 209 } else { 210 });
/// Larger than most chunks.
const LARGE: Sizes = |_| (20_000, 210);

fn check(chunk_size: u32, codecs: Codecs, sizes: Sizes) {
    check_from(chunk_size, codecs, sizes, 0);
}

fn check_from(chunk_size: u32, codecs: Codecs, sizes: Sizes, from: u32) {
    let (file, begun) = capture(chunk_size, codecs, sizes, from);
    let what = format!("{codecs:?} in chunks of {chunk_size}");
    assert!(begun[2] + begun[3] > 3 * (begun[0] + begun[1]), "{what}: {begun:?}");
    let packets = pcap::packets(&file);
    let (all, _) = frames(&analyze(file.clone()));
    assert_eq!(all, [150, 300], "{what}");
    // Five packets have the handshakes.
    for cut in (12..packets.len() * 4 / 5).step_by(packets.len() / 17) {
        let (before, _) = frames(&analyze(pcap::file(&file, &packets[..cut])));
        let after = analyze(pcap::file(&file, &packets[cut..]));
        let (got, rate) = frames(&after);
        let want = [all[0] - before[0], all[1] - before[1]];
        let place = format!("{what}, from packet {cut} of {} on: {got:?} of {want:?}", packets.len());
        // The message that the cut goes through, and one before a chunk stream is known; around a picture that says next
        // to nothing also the two sounds before it.
        let few = if matches!(codecs, Codecs::Vp6Mp3) { 4 } else { 2 };
        assert!(got[0] <= want[0] && got[1] <= want[1], "{place}: more than were sent");
        assert!(want[0] + want[1] <= got[0] + got[1] + few, "{place}: too few");
        // The last command tells who published, although the publisher has the higher port.
        assert_eq!(after.sessions[0].role, Role::Publisher, "{place}");
        assert!(rate.is_some_and(|rate| rate > 1.0), "{place}: {rate:?}");
    }
}

#[test]
fn frames_of_one_size_are_read_from_anywhere() {
    for chunk_size in [128, 4096, 60_000] {
        check(chunk_size, Codecs::AvcAac, EQUAL);
        check(chunk_size, Codecs::H263Mp3, EQUAL);
        check(chunk_size, Codecs::HevcAac, EQUAL);
        check(chunk_size, Codecs::Vp6Mp3, EQUAL);
    }
}

#[test]
fn headers_that_say_more_now_and_then_change_nothing() {
    for chunk_size in [128, 4096, 60_000] {
        check(chunk_size, Codecs::AvcAac, MOSTLY_EQUAL);
        check(chunk_size, Codecs::H263Mp3, MOSTLY_EQUAL);
    }
}

#[test]
fn frames_in_several_chunks_are_read_from_anywhere() {
    for chunk_size in [128, 4096, 60_000] {
        check(chunk_size, Codecs::AvcAac, LARGE);
        check(chunk_size, Codecs::Vp6Mp3, LARGE);
    }
}

/// Where no header tells how far frames lie apart, their packets do, and the report says so.
#[test]
fn frames_without_times_are_said_to_have_none() {
    let (file, _) = capture(4096, Codecs::AvcAac, EQUAL, 0);
    let packets = pcap::packets(&file);
    let after = analyze(pcap::file(&file, &packets[packets.len() / 2..]));
    let note = after.findings.iter().find(|f| f.rule == "capture.started-late").unwrap();
    let (frames, rate) = frames(&after);
    let untimed = format!("times of {} frames are not known", frames[0] + frames[1]);
    assert!(note.message.contains(&untimed), "{untimed}: {}", note.message);
    assert!(rate.is_some(), "the rate at which they came");
}

/// Times behind 4 h 39 min need four bytes more, and headers of format 3 carry them.
#[test]
fn frames_with_extended_times_are_read_from_anywhere() {
    for chunk_size in [128, 4096, 60_000] {
        for codecs in [Codecs::AvcAac, Codecs::H263Mp3, Codecs::HevcAac] {
            check_from(chunk_size, codecs, EQUAL, 0x0123_4567);
        }
        check_from(chunk_size, Codecs::AvcAac, LARGE, 0x0123_4567);
    }
}

/// Speex and G.711 say next to nothing for themselves: what is found of them differs, and nothing is made up.
#[test]
fn sound_that_says_nothing_is_not_made_up() {
    for codecs in [Codecs::AvcSpeex, Codecs::AvcG711, Codecs::Vp6G711] {
        for sizes in [EQUAL, MOSTLY_EQUAL, LARGE] {
            for chunk_size in [128, 4096, 60_000] {
                let (file, _) = capture(chunk_size, codecs, sizes, 0);
                let packets = pcap::packets(&file);
                let (all, _) = frames(&analyze(file.clone()));
                let (mut sum, mut of) = ([0, 0], [0, 0]);
                for cut in (12..packets.len() * 4 / 5).step_by(packets.len() / 17) {
                    let (before, _) = frames(&analyze(pcap::file(&file, &packets[..cut])));
                    let (got, _) = frames(&analyze(pcap::file(&file, &packets[cut..])));
                    for kind in 0..2 {
                        let want = all[kind] - before[kind];
                        let place = format!("{codecs:?} in chunks of {chunk_size}, from packet {cut} on");
                        assert!(got[kind] <= want, "{place}: {got:?}, more than were sent");
                        sum[kind] += got[kind];
                        of[kind] += want;
                    }
                }
                println!("{codecs:?} in chunks of {chunk_size}: {sum:?} of {of:?}");
            }
        }
    }
}
