//! The tracker fed with bytes: every form of header, every kind of hole.
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::single_range_in_vec_init)]

use proptest::prelude::*;
use wire::amf0::Amf0;
use wire::rtmp::chunk::{Head, write_message};
use wire::rtmp::message::Command;

use super::chunks::Assembler;
use super::message::{Message, Sink, Trouble, What};
use super::*;

const NS: i64 = 1_000_000;

#[derive(Debug, Default)]
struct Seen {
    /// Type, time, length and beginning of each message, and what was lost of it.
    messages: Vec<(u8, u32, u32, Vec<u8>, u64)>,
    trouble: Vec<What>,
    holes: u32,
}

impl Seen {
    fn times(&self) -> Vec<u32> {
        self.messages.iter().map(|m| m.1).collect()
    }

    fn kinds(&self) -> Vec<(u8, u32)> {
        self.messages.iter().map(|m| (m.0, m.2)).collect()
    }
}

impl Sink for Seen {
    fn message(&mut self, m: &Message<'_>) {
        self.messages.push((m.type_id, m.timestamp, m.length, m.body.to_vec(), m.lost));
    }

    fn trouble(&mut self, trouble: Trouble) {
        self.trouble.push(trouble.what);
    }

    fn hole(&mut self) {
        self.holes += 1;
    }
}

fn at(offset: usize) -> At {
    At {
        time_ns: offset as i64 * NS,
        frame: 1 + offset as u64,
        offset: offset as u64,
        ready_ns: offset as i64 * NS,
    }
}

/// Feeds `bytes` in pieces of `cut`, without the ranges in `holes`.
fn read(bytes: &[u8], cut: usize, holes: &[std::ops::Range<usize>]) -> (Seen, Assembler) {
    let (mut seen, mut assembler) = (Seen::default(), Assembler::new());
    let mut from = 0;
    for hole in holes {
        for (n, piece) in bytes[from..hole.start].chunks(cut).enumerate() {
            assembler.data(at(from + n * cut), piece, &mut seen);
        }
        assembler.gap(at(hole.start), hole.len() as u64, &mut seen);
        from = hole.end;
    }
    for (n, piece) in bytes[from..].chunks(cut).enumerate() {
        assembler.data(at(from + n * cut), piece, &mut seen);
    }
    assembler.close(&mut seen);
    (seen, assembler)
}

fn message(out: &mut Vec<u8>, size: u32, csid: u32, type_id: u8, timestamp: u32, length: usize) {
    let mut body = vec![0x5a; length];
    let head: &[u8] = match type_id {
        9 => &[0x27, 1, 0, 0, 0],
        8 => &[0xaf, 1],
        _ => &[],
    };
    let n = head.len().min(length);
    body[..n].copy_from_slice(&head[..n]);
    write_message(out, size, &Head { csid, timestamp, type_id, stream_id: 1 }, &[&body]);
}

/// A stream of pictures and sound as encoders send it; every picture has 900 bytes, every sound 200.
fn stream(chunk_size: u32, pictures: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head { csid: 2, type_id: 1, ..Head::default() };
    write_message(&mut out, 128, &head, &[&chunk_size.to_be_bytes()]);
    for n in 0..pictures {
        message(&mut out, chunk_size, 6, 9, n * 40, 900);
        message(&mut out, chunk_size, 4, 8, n * 40 + 7, 200);
    }
    out
}

proptest! {
    #[test]
    fn messages_come_out_as_they_went_in(
        specs in prop::collection::vec((2u32..70_000, any::<u32>(), 0usize..700, any::<bool>()), 1..12),
        size in 1u32..400,
        cut in 1usize..60,
    ) {
        let mut bytes = Vec::new();
        let head = Head { csid: 2, type_id: 1, ..Head::default() };
        write_message(&mut bytes, 128, &head, &[&size.to_be_bytes()]);
        let mut want = vec![(1, 4)];
        for (csid, timestamp, length, video) in specs {
            let type_id = if video { 9 } else { 8 };
            message(&mut bytes, size, csid.min(65_599), type_id, timestamp, length);
            want.push((type_id, length as u32));
        }
        let (seen, assembler) = read(&bytes, cut, &[]);
        prop_assert_eq!(seen.kinds(), want);
        prop_assert_eq!(seen.trouble, []);
        prop_assert_eq!(assembler.unread, Unread::default());
    }

    #[test]
    fn random_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..4000), cut in 1usize..600, hole in 0usize..4000) {
        let start = hole.min(bytes.len());
        let end = (start + hole / 3).min(bytes.len());
        let (seen, assembler) = read(&bytes, cut, &[start..end, end..end]);
        prop_assert!(seen.messages.iter().all(|m| m.3.len() as u32 <= m.2));
        prop_assert!(assembler.unread.bytes <= bytes.len() as u64);
    }

    #[test]
    fn a_hole_costs_only_what_it_touches(
        chunk in prop::sample::select(vec![128u32, 500, 4096, 60_000]),
        start in 100usize..30_000,
        len in 1usize..3000,
        cut in 1usize..3000,
    ) {
        let bytes = stream(chunk, 60);
        let start = start.min(bytes.len() - 12_000);
        let (seen, _) = read(&bytes, cut, &[start..start + len]);
        // Messages that lie in the hole, two that it cuts, and one more behind it, where the search begins inside.
        let touched = len.div_ceil(1100) * 2 + 3;
        let whole = seen.messages.iter().filter(|m| m.4 == 0 && m.0 != 1).count();
        prop_assert!(whole + touched >= 120, "{} of 120 whole, {} touched", whole, touched);
        prop_assert_eq!(seen.trouble, []);
        prop_assert!(seen.holes > 0);
    }

    #[test]
    fn a_whole_connection_never_fails(up in prop::collection::vec(any::<u8>(), 0..800), zero: bool, gap in 0u64..5000) {
        let mut tracker = Tracker::new(&info());
        let mut hello = vec![3];
        hello.resize(3073, if zero { 0 } else { 7 });
        tracker.data(Dir::AToB, at(0), &hello);
        tracker.data(Dir::BToA, at(0), &hello);
        tracker.data(Dir::AToB, at(3073), &up);
        tracker.gap(Dir::BToA, at(3073), gap, Missing::Cut);
        if let Ok(outcome) = tracker.close(End::Fin, &stats()) {
            prop_assert!(!outcome.sessions.is_empty());
        }
    }
}

#[test]
fn a_lost_chunk_size_is_found_again() {
    let mut bytes = stream(4096, 3);
    let change = bytes.len();
    let head = Head { csid: 2, type_id: 1, ..Head::default() };
    write_message(&mut bytes, 4096, &head, &[&60_000u32.to_be_bytes()]);
    for n in 3..12 {
        message(&mut bytes, 60_000, 6, 9, n * 40, 9000);
        message(&mut bytes, 60_000, 4, 8, n * 40 + 7, 200);
    }
    // The hole takes the Set Chunk Size and a little of the picture behind it.
    let (seen, assembler) = read(&bytes, 1400, &[change..change + 300]);
    // Any size above these messages explains them; the next larger message would show a wrong one.
    assert!(assembler.known.chunk_size >= 9000);
    assert_eq!(seen.messages.len(), 1 + 6 + 17);
    assert_eq!(assembler.unread.resyncs, 1);
}

#[test]
fn a_lost_chunk_size_shows_in_the_first_long_message() {
    let mut bytes = Vec::new();
    for n in 0..5 {
        message(&mut bytes, 128, 4, 8, n * 20, 100);
    }
    let change = bytes.len();
    let head = Head { csid: 2, type_id: 1, ..Head::default() };
    write_message(&mut bytes, 128, &head, &[&4096u32.to_be_bytes()]);
    let behind = bytes.len();
    // Short messages come first, which fit into chunks of either size.
    for n in 5..12 {
        message(&mut bytes, 4096, 4, 8, n * 20, 100);
    }
    for n in 12..20 {
        message(&mut bytes, 4096, 6, 9, n * 20, 900);
        message(&mut bytes, 4096, 4, 8, n * 20 + 7, 100);
    }
    let (seen, assembler) = read(&bytes, 1400, &[change..behind]);
    assert_eq!((seen.messages.len(), assembler.unread.bytes), (12 + 16, 0));
    assert_eq!(seen.trouble, []);
}

#[test]
fn format_3_after_format_0_is_read_both_ways() {
    // By the text: the absolute time is the delta. The second sound at 2000 fits the picture at 1990.
    let mut by_text = Vec::new();
    message(&mut by_text, 128, 4, 8, 1000, 10);
    message(&mut by_text, 128, 6, 9, 1990, 10);
    by_text.push(0xc4);
    by_text.extend([0xaf, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(read(&by_text, 7, &[]).0.times(), [1000, 1990, 2000]);
    // By several servers: the same time again.
    let mut by_servers = Vec::new();
    message(&mut by_servers, 128, 4, 8, 1000, 10);
    message(&mut by_servers, 128, 6, 9, 1003, 10);
    by_servers.push(0xc4);
    by_servers.extend([0xaf, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(read(&by_servers, 7, &[]).0.times(), [1000, 1003, 1000]);
}

#[test]
fn extended_timestamps_may_be_repeated_or_not() {
    let time = 0x0100_0005u32;
    let mut repeated = Vec::new();
    message(&mut repeated, 128, 6, 9, time, 300);
    let mut bare = repeated.clone();
    // Twice: the four bytes behind each format 3 header.
    for header in [16 + 128, 16 + 128 + 1 + 128] {
        assert_eq!(bare[header], 0xc6);
        bare.drain(header + 1..header + 5);
    }
    for bytes in [repeated, bare] {
        for cut in [1, 5, 4000] {
            let mut bytes = bytes.clone();
            message(&mut bytes, 128, 4, 8, time + 1, 20);
            let (seen, _) = read(&bytes, cut, &[]);
            assert_eq!(seen.kinds(), [(9, 300), (8, 20)]);
            assert_eq!(seen.times(), [time, time + 1]);
            assert_eq!(seen.trouble, []);
        }
    }
}

#[test]
fn a_message_of_its_own_may_repeat_its_own_extended_time() {
    let time = 0x0100_0000u32;
    let mut bytes = Vec::new();
    message(&mut bytes, 128, 4, 8, time, 10);
    bytes.push(0xc4);
    bytes.extend((time + 23).to_be_bytes());
    bytes.extend([0xaf, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    message(&mut bytes, 128, 4, 8, time + 46, 10);
    let (seen, _) = read(&bytes, 3, &[]);
    assert_eq!(seen.times(), [time, time + 23, time + 46]);
}

#[test]
fn a_last_short_payload_is_no_extended_timestamp() {
    let mut bytes = Vec::new();
    message(&mut bytes, 128, 6, 9, 0x0100_0000, 130);
    let header = 16 + 128;
    bytes.drain(header + 1..header + 5);
    // Two bytes are left, and they begin like the time.
    let end = bytes.len() - 2;
    bytes[end..].copy_from_slice(&[1, 0]);
    assert_eq!(read(&bytes, 50, &[]).0.kinds(), [(9, 130)]);
}

#[test]
fn abort_empty_messages_and_odd_beginnings() {
    let mut bytes = Vec::new();
    message(&mut bytes, 128, 4, 8, 5, 0);
    let mut video = Vec::new();
    message(&mut video, 128, 6, 9, 10, 300);
    bytes.extend(&video[..140]);
    write_message(&mut bytes, 128, &Head { csid: 2, type_id: 2, ..Head::default() }, &[&6u32.to_be_bytes()]);
    message(&mut bytes, 128, 6, 9, 50, 20);
    // Format 1 on a new chunk stream, as some clients begin.
    bytes.extend([0x45, 0, 0, 9, 0, 0, 2, 8, 0xaf, 1]);
    // A header of format 0 in place of a continuation.
    bytes.extend(&video[..140]);
    let mut header = video[..12].to_vec();
    header.extend(&video[141..141 + 128]);
    bytes.extend(header);
    bytes.extend(&video[141 + 128..]);
    let (seen, assembler) = read(&bytes, 11, &[]);
    assert_eq!(seen.kinds(), [(8, 0), (2, 4), (9, 20), (8, 2), (9, 300)]);
    assert_eq!(seen.trouble, [What::FirstChunk]);
    assert_eq!(assembler.unread, Unread::default());
}

#[test]
fn a_message_inside_another_of_its_chunk_stream_is_told() {
    let mut bytes = Vec::new();
    message(&mut bytes, 128, 6, 9, 10, 300);
    bytes.truncate(140);
    message(&mut bytes, 128, 6, 9, 50, 20);
    let (seen, assembler) = read(&bytes, 1000, &[]);
    assert_eq!(seen.kinds(), [(9, 20)]);
    assert_eq!(seen.trouble, [What::Interrupted]);
    assert_eq!(assembler.unread.damaged, 1);
}

#[test]
fn impossible_chunk_sizes_change_nothing() {
    for size in [0u32, 0x8000_0001] {
        let mut bytes = Vec::new();
        let head = Head { csid: 2, type_id: 1, ..Head::default() };
        write_message(&mut bytes, 128, &head, &[&size.to_be_bytes()]);
        message(&mut bytes, 128, 6, 9, 10, 300);
        let (seen, _) = read(&bytes, 9, &[]);
        assert_eq!(seen.kinds(), [(1, 4), (9, 300)]);
        assert_eq!(seen.trouble, [What::ChunkSize]);
    }
}

#[test]
fn garbage_in_the_middle_is_told_and_passed_over() {
    let mut bytes = stream(4096, 10);
    let garbage = bytes.len();
    bytes.extend([0xff; 5000]);
    for n in 10..20 {
        message(&mut bytes, 4096, 6, 9, n * 40, 900);
        message(&mut bytes, 4096, 4, 8, n * 40 + 7, 200);
    }
    let (seen, assembler) = read(&bytes, 1400, &[]);
    assert_eq!(seen.messages.len(), 1 + 40);
    assert_eq!(seen.trouble, [What::Desync]);
    assert_eq!((assembler.unread.bytes, garbage), (5000, garbage));
}

#[test]
fn declared_sizes_cost_nothing() {
    let mut assembler = Assembler::new();
    let mut seen = Seen::default();
    let mut bytes = Vec::new();
    for csid in 3..2000u32 {
        // A command of 16 MB of which only the first byte comes.
        wire::rtmp::chunk::write_basic(&mut bytes, 0, csid);
        bytes.extend([0, 0, 0, 0xff, 0xff, 0xff, 20, 0, 0, 0, 0]);
        bytes.extend([2; 128]);
    }
    assembler.data(at(0), &bytes, &mut seen);
    assert_eq!(assembler.known.streams.len(), 512);
    assert!(seen.trouble.contains(&What::Bound));
    assert!(seen.messages.is_empty());
}

fn info() -> ConnInfo {
    ConnInfo {
        a: "192.0.2.1:5000".parse().unwrap(),
        b: "192.0.2.2:1935".parse().unwrap(),
        client_known: true,
        time_ns: 0,
        frame: 1,
    }
}

fn stats() -> ConnStats {
    ConnStats {
        info: info(),
        a_to_b: Default::default(),
        b_to_a: Default::default(),
        first_ns: 0,
        last_ns: NS,
        rtt_ns: None,
    }
}

/// A connection of a client that sent these commands, answered with these.
fn commands(client: &[(u32, Command)], server: &[(u32, Command)]) -> Outcome {
    let mut tracker = Tracker::new(&info());
    let mut hello = vec![3];
    hello.resize(3073, 0);
    let mut time = 3073;
    tracker.data(Dir::AToB, at(0), &hello);
    tracker.data(Dir::BToA, at(0), &hello);
    for (dir, list) in [(Dir::AToB, client), (Dir::BToA, server)] {
        for (stream_id, command) in list {
            let mut bytes = Vec::new();
            let head = Head { csid: 3, type_id: 20, timestamp: 0, stream_id: *stream_id };
            write_message(&mut bytes, 128, &head, &[&command.encode()]);
            tracker.data(dir, at(time), &bytes);
            time += bytes.len();
        }
    }
    assert_eq!(tracker.verdict(), Verdict::Rtmp);
    tracker.close(End::Fin, &stats()).unwrap()
}

fn connect(app: &str) -> (u32, Command) {
    let object = Amf0::object([("app", Amf0::text(app)), ("flashVer", Amf0::text("test/1"))]);
    (0, Command { name: "connect".into(), transaction: 1.0, object, arguments: Vec::new() })
}

#[test]
fn a_path_has_no_query_and_one_slash() {
    let publish = |key: &str| (1, Command::new("publish", 5.0, vec![Amf0::text(key), Amf0::text("live")]));
    let start =
        Command::new("onStatus", 0.0, vec![Amf0::object([("code", Amf0::text("NetStream.Publish.Start"))])]);
    for (app, key, path, query) in [
        ("live", "cam", "live/cam", None),
        ("live/", "cam?token=a?b", "live/cam", Some("token=a?b")),
        ("live/sub?x=1", "/cam", "live/sub/cam", None),
        ("app", "", "app", None),
        ("caf\u{e9}", "\u{fc}ber", "caf\u{e9}/\u{fc}ber", None),
    ] {
        let outcome = commands(&[connect(app), publish(key)], &[(1, start.clone())]);
        let [session] = &outcome.sessions[..] else { panic!() };
        assert_eq!((session.role, session.path.as_deref()), (Role::Publisher, Some(path)));
        assert_eq!(session.query.as_deref(), query);
        assert_eq!(session.agent.as_deref(), Some("test/1"));
        assert_eq!(session.statuses, ["NetStream.Publish.Start"]);
        assert!(outcome.clean);
    }
}

#[test]
fn several_streams_on_one_connection_are_several_sessions() {
    let create = |n: f64| (0, Command::new("createStream", n, Vec::new()));
    let created = |n: f64, id: f64| (0, Command::new("_result", n, vec![Amf0::Number(id)]));
    let play = |id: u32, key: &str| (id, Command::new("play", 0.0, vec![Amf0::text(key)]));
    let outcome = commands(
        &[
            connect("live"),
            create(2.0),
            create(3.0),
            play(1, "a"),
            play(2, "b"),
            (0, Command::new("deleteStream", 0.0, vec![Amf0::Number(1.0)])),
            play(1, "c"),
        ],
        &[created(2.0, 1.0), created(3.0, 2.0)],
    );
    let told: Vec<_> = outcome.sessions.iter().map(|s| (s.path.as_deref().unwrap(), s.ended)).collect();
    // The answers came last in this order of bytes: they end nothing but what had the id before.
    assert_eq!(told.iter().map(|t| t.0).collect::<Vec<_>>(), ["live/a", "live/b", "live/c"]);
    assert_eq!(told[0].1, Some("deleteStream"));
    assert!(outcome.sessions[0].own_bytes.is_none() && outcome.sessions[1].own_bytes.is_some());
}

#[test]
fn a_connection_without_a_stream_is_control_alone() {
    let outcome = commands(&[connect("live")], &[]);
    let [session] = &outcome.sessions[..] else { panic!() };
    assert_eq!((session.role, session.path.as_deref()), (Role::Control, None));
}

#[test]
fn an_unfinished_handshake_is_told_and_other_protocols_are_not() {
    let mut hello = vec![3];
    hello.resize(1537, 0);
    let mut tracker = Tracker::new(&info());
    tracker.data(Dir::AToB, at(0), &hello);
    let note = tracker.close(End::Reset, &stats()).unwrap_err().unwrap();
    assert_eq!(note.rule.id, "capture.rtmp-handshake-unfinished");
    assert_eq!(note.got.as_deref(), Some("1537 bytes from the client, 0 from the server"));

    // TPKT begins with 3 as well; what is behind 3073 bytes is no chunk.
    let mut tracker = Tracker::new(&info());
    let mut rdp = vec![3, 0, 0, 19];
    rdp.resize(4000, 0xee);
    tracker.data(Dir::AToB, at(0), &rdp);
    assert_eq!(tracker.verdict(), Verdict::Other);
    assert!(tracker.close(End::Fin, &stats()).unwrap_err().is_none());
}

#[test]
fn garbage_behind_a_handshake_is_a_finding() {
    let mut tracker = Tracker::new(&info());
    let mut hello = vec![3];
    hello.resize(3073, 7);
    tracker.data(Dir::AToB, at(0), &hello);
    tracker.data(Dir::BToA, at(0), &hello);
    tracker.data(Dir::AToB, at(3073), &[0xee; 500]);
    let outcome = tracker.close(End::Fin, &stats()).unwrap();
    let [note] = &outcome.notes[..] else { panic!("{:?}", outcome.notes) };
    assert_eq!((note.rule.id, note.at.map(|a| a.offset)), ("capture.rtmp-undecodable", Some(3073)));
    assert_eq!(note.want.as_deref(), Some("0 on the first chunk of a chunk stream"));
}

#[test]
fn a_capture_that_begins_inside_a_connection_is_taken_up_on_any_port() {
    let bytes = stream(4096, 40);
    for port in [1935, 1936] {
        let info =
            ConnInfo { b: format!("192.0.2.2:{port}").parse().unwrap(), client_known: false, ..info() };
        let mut tracker = Tracker::new(&info);
        for (n, piece) in bytes[10_000..].chunks(1400).enumerate() {
            tracker.data(Dir::BToA, at(n * 1400), piece);
        }
        let stats = ConnStats { info, ..stats() };
        assert_eq!(tracker.verdict(), Verdict::Rtmp);
        let outcome = tracker.close(End::Capture, &stats).unwrap();
        let [session] = &outcome.sessions[..] else { panic!() };
        assert_eq!((session.role, session.path.as_deref()), (Role::Viewer, None));
        // The ninth pair is cut; 31 are behind it.
        let frames: Vec<_> = session.tracks.iter().map(|t| t.frames).collect();
        assert_eq!(frames, [31, 31]);
        let rules: Vec<_> = outcome.notes.iter().map(|n| n.rule.id).collect();
        assert!(rules.contains(&"capture.started-late") && !outcome.clean, "{rules:?}");
    }
}

#[test]
fn what_is_no_rtmp_is_given_up_in_the_middle() {
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut noise = |len: usize| -> Vec<u8> {
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 32) as u8
        };
        (0..len).map(|_| next()).collect()
    };
    let info = ConnInfo { client_known: false, ..info() };
    let mut tracker = Tracker::new(&info);
    let mut sent = 0;
    while tracker.verdict() == Verdict::Open {
        let bytes = noise(64 << 10);
        tracker.data(Dir::BToA, at(sent), &bytes);
        sent += bytes.len();
        assert!(sent < 3 << 20, "still looked into after {sent} bytes");
    }
    assert_eq!(tracker.verdict(), Verdict::Other);
    // A TLS record is not even looked into.
    let mut tracker = Tracker::new(&info);
    tracker.data(Dir::BToA, at(0), &[0x17, 3, 3, 0x10, 0, 1, 2, 3]);
    assert_eq!(tracker.verdict(), Verdict::Other);
}

#[test]
fn packets_cut_short_still_show_their_messages() {
    // As with a snap length: of every message, in a packet of its own, only the first 60 bytes are there.
    let mut bytes = stream(4096, 0);
    let (mut holes, mut count) = (Vec::new(), 0);
    for n in 0..50 {
        for (csid, type_id, length) in [(6, 9, 3000), (4, 8, 200)] {
            let start = bytes.len();
            message(&mut bytes, 4096, csid, type_id, n * 40, length);
            holes.push(start + 60..bytes.len());
            count += 1;
        }
    }
    let (seen, assembler) = read(&bytes, 5000, &holes);
    assert_eq!(seen.messages.len(), 1 + count);
    assert_eq!((assembler.unread.damaged, assembler.unread.bytes), (count as u64, 0));
}

#[test]
fn bad_amf_is_told_with_its_position() {
    let mut tracker = Tracker::new(&info());
    let mut hello = vec![3];
    hello.resize(3073, 0);
    tracker.data(Dir::AToB, at(0), &hello);
    tracker.data(Dir::BToA, at(0), &hello);
    let mut body = connect("live").1.encode();
    body.push(0x0e);
    let mut bytes = Vec::new();
    write_message(&mut bytes, 128, &Head { csid: 3, type_id: 20, ..Head::default() }, &[&body]);
    tracker.data(Dir::AToB, at(3073), &bytes);
    let outcome = tracker.close(End::Fin, &stats()).unwrap();
    let note = outcome.notes.iter().find(|n| n.rule.id == "rtmp.amf0.reserved-markers").unwrap();
    assert_eq!(note.got.as_deref(), Some("14 (0xe)"));
    assert_eq!(note.at.map(|a| a.offset), Some(3073));
}

#[test]
fn rtmpe_is_named_and_not_guessed_at() {
    let hello = |version: u8, fill: u8| {
        let mut bytes = vec![version];
        bytes.resize(1537, fill);
        bytes
    };
    for version in [6, 8] {
        let mut tracker = Tracker::new(&info());
        tracker.data(Dir::AToB, at(0), &hello(version, 0x41));
        tracker.data(Dir::BToA, at(1), &[hello(version, 0x42), vec![0x43; 1536]].concat());
        tracker.data(Dir::AToB, at(1537), &[0x44; 1536]);
        tracker.data(Dir::AToB, at(3073), &[0xee; 5000]);
        assert_eq!(tracker.verdict(), Verdict::Rtmp);
        let outcome = tracker.close(End::Fin, &stats()).unwrap();
        let [note] = &outcome.notes[..] else { panic!("{:?}", outcome.notes) };
        assert_eq!((note.rule.id, outcome.clean), ("capture.rtmp-encrypted", false));
        assert!(note.message.starts_with(&format!("RTMPE (version {version})")), "{}", note.message);
        let [session] = &outcome.sessions[..] else { panic!() };
        assert_eq!((session.role, session.path.as_deref()), (Role::Control, None));
    }
    // Something else that begins with the same byte.
    for (up, down) in [(hello(6, 0), hello(3, 0)), (vec![6; 200], hello(6, 1)), (hello(8, 0), vec![8; 100])] {
        let mut tracker = Tracker::new(&info());
        tracker.data(Dir::AToB, at(0), &up);
        tracker.data(Dir::BToA, at(0), &down);
        assert_ne!(tracker.verdict(), Verdict::Rtmp);
    }
}
