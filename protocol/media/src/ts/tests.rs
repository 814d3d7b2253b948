#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
use super::*;
use proptest::prelude::*;
use wire::ts::crc32;

/// Packets of one PID with the given payload, the first of which begins a unit.
fn packets(pid: u16, counter: &mut u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = payload;
    let mut start = 0x40;
    while !rest.is_empty() {
        let take = rest.len().min(184);
        let fill = 184 - take;
        let flags = if fill > 0 { 0x30 } else { 0x10 };
        out.extend_from_slice(&[0x47, start | (pid >> 8) as u8, (pid & 0xff) as u8, flags | *counter & 0xf]);
        if fill > 0 {
            out.push((fill - 1) as u8);
            out.extend((1..fill).map(|n| if n == 1 { 0 } else { 0xff }));
        }
        out.extend_from_slice(&rest[..take]);
        rest = &rest[take..];
        *counter = counter.wrapping_add(1);
        start = 0;
    }
    out
}

fn section(body: &[u8]) -> Vec<u8> {
    let mut section = body.to_vec();
    section[2] = (section.len() + 4 - 3) as u8;
    let crc = crc32(&section);
    section.extend_from_slice(&crc.to_be_bytes());
    [&[0][..], &section].concat()
}

fn tables() -> Vec<u8> {
    let pat = section(&[0, 0xb0, 0, 0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0]);
    let map = section(&[
        2, 0xb0, 0, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0, 0x1b, 0xe1, 0, 0xf0, 0, 0x0f, 0xe1, 1, 0xf0, 0,
    ]);
    [packets(0, &mut 0, &pat), packets(0x1000, &mut 0, &map)].concat()
}

fn pes(stream: u8, pts: u64, data: &[u8], said: bool) -> Vec<u8> {
    let byte = |n: u64| (n & 0xff) as u8;
    let length = if said { (data.len() + 8) as u16 } else { 0 };
    let [high, low] = length.to_be_bytes();
    let head = [
        0,
        0,
        1,
        stream,
        high,
        low,
        0x80,
        0x80,
        5,
        0x21 | byte(pts >> 29) & 0x0e,
        byte(pts >> 22),
        byte(pts >> 14) | 1,
        byte(pts >> 7),
        byte(pts << 1) | 1,
    ];
    [&head[..], data].concat()
}

/// Two pictures over the wrap of the clock, two stretches of sound between.
fn stream() -> Vec<u8> {
    let (mut v, mut a) = (0, 14);
    [
        tables(),
        packets(0x100, &mut v, &pes(0xe0, (1 << 33) - 3600, &[1; 700], false)),
        packets(0x101, &mut a, &pes(0xc0, (1 << 33) - 1000, &[2; 300], true)),
        packets(0x100, &mut v, &pes(0xe0, 0, &[3; 500], false)),
        packets(0x101, &mut a, &pes(0xc0, 920, &[4; 100], true)),
        packets(0x100, &mut v, &pes(0xe0, 3600, &[5; 50], false)),
    ]
    .concat()
}

type Units = Vec<(u16, i64, bool, u8, usize)>;

fn read(pieces: &[&[u8]]) -> (Units, Vec<(u16, Kind)>, u64, u64) {
    let mut demuxer = Demuxer::default();
    let (mut units, mut kinds, mut lost, mut skipped) = (Vec::new(), Vec::new(), 0u64, 0u64);
    let mut event = |event: Event<'_>| match event {
        Event::Unit(unit) => {
            units.push((unit.pid, unit.pts.unwrap(), unit.whole, unit.data[0], unit.data.len()));
        }
        Event::Stream(pid, kind) => kinds.push((pid, kind)),
        Event::Lost(_, packets) => lost += u64::from(packets),
        Event::Skipped(bytes) => skipped += bytes,
        _ => {}
    };
    for piece in pieces {
        demuxer.data(piece, &mut event);
    }
    demuxer.finish(&mut event);
    (units, kinds, lost, skipped)
}

fn want() -> Units {
    let wrap = 1i64 << 33;
    vec![
        (0x101, wrap - 1000, true, 2, 300),
        (0x100, wrap - 3600, true, 1, 700),
        (0x101, wrap + 920, true, 4, 100),
        (0x100, wrap, true, 3, 500),
        (0x100, wrap + 3600, true, 5, 50),
    ]
}

#[test]
fn units_and_their_times_over_the_wrap() {
    let (units, kinds, lost, skipped) = read(&[&stream()]);
    assert_eq!(units, want());
    assert_eq!(kinds, [(0x100, Kind::H264), (0x101, Kind::Adts)]);
    assert_eq!((lost, skipped), (0, 0));
}

#[test]
fn packets_that_are_missing_are_counted_and_units_marked() {
    let mut bytes = stream();
    // The second packet of the first picture, which is the fourth of all.
    bytes.drain(3 * 188..4 * 188);
    let (units, _, lost, _) = read(&[&bytes]);
    assert_eq!(lost, 1);
    assert_eq!(units[0], (0x100, (1 << 33) - 3600, false, 1, 170));
    assert_eq!(units[1..], [want()[0], want()[2], want()[3], want()[4]]);
}

#[test]
fn other_sizes_and_bytes_before_the_first_packet() {
    let stream = stream();
    for (before, behind) in [(4, 0), (0, 16)] {
        let mut units = Vec::new();
        for packet in stream.chunks(188) {
            units.extend(vec![7; before]);
            units.extend_from_slice(packet);
            units.extend(vec![9; behind]);
        }
        let with_noise = [vec![3; 33], units].concat();
        assert_eq!(read(&[&with_noise]).0, want(), "{before} {behind}");
    }
}

#[test]
fn the_place_is_found_again_behind_damage() {
    let twice = [stream(), vec![0x11; 77], stream()].concat();
    let (units, _, _, skipped) = read(&[&twice]);
    // The last picture says no length: with packets missing behind it, it is not known to be whole.
    assert_eq!(units.iter().filter(|unit| unit.2).count(), 9, "{units:?}");
    assert!((77..=188 + 77).contains(&skipped), "{skipped}");
}

/// All that is told of bytes in pieces of a size.
fn told(bytes: &[u8], size: usize) -> Vec<String> {
    let mut demuxer = Demuxer::default();
    let mut told = Vec::new();
    for piece in bytes.chunks(size) {
        demuxer.data(piece, |event| told.push(format!("{event:?}")));
    }
    demuxer.finish(|event| told.push(format!("{event:?}")));
    told
}

#[test]
fn the_smallest_pieces_cost_little_and_tell_the_same() {
    // A megabyte in which sync bytes are frequent and streams are begun and left: every place is tried, none for long.
    let mut state = 7u32;
    let mut noise = |length: usize| -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(|_| Some(next()).filter(|byte| *byte > 90).unwrap_or(0x47)).collect()
    };
    let mut bytes = Vec::new();
    while bytes.len() < 1 << 20 {
        bytes.extend(noise(9000));
        bytes.extend(stream());
    }
    let whole = told(&bytes, bytes.len());
    assert!(whole.iter().filter(|event| event.starts_with("Unit")).count() > 100, "{}", whole.len());
    for size in [1, 187, 4097] {
        assert!(told(&bytes, size) == whole, "pieces of {size}");
    }
    let alone = told(&[0x11; 1 << 20], 1);
    assert_eq!(alone, ["Skipped(1048576)"]);
}

proptest! {
    #[test]
    fn any_bytes_are_told_the_same_in_any_pieces(
        noise in proptest::collection::vec(prop_oneof![Just(0x47u8), any::<u8>()], 0..3000),
        flips in proptest::collection::vec((0usize..2000, any::<u8>()), 0..9),
        size in 1usize..400,
    ) {
        let mut bytes = [noise, stream()].concat();
        for (at, value) in flips {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        prop_assert_eq!(told(&bytes, size), told(&bytes, bytes.len()));
    }

    #[test]
    fn any_cut_gives_the_same(cuts in proptest::collection::vec(0usize..2000, 0..12)) {
        let bytes = stream();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % bytes.len()).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&bytes[from..cut]);
            from = cut;
        }
        pieces.push(&bytes[from..]);
        prop_assert_eq!(read(&pieces).0, want());
    }

    #[test]
    fn any_bytes_end(bytes: Vec<u8>, at in 0usize..2000, flips in proptest::collection::vec((0usize..2000, any::<u8>()), 0..20)) {
        let mut demuxer = Demuxer::default();
        demuxer.data(&bytes, |_| {});
        let mut damaged = stream();
        for (at, value) in flips {
            let at = at % damaged.len();
            damaged[at] = value;
        }
        demuxer.data(&damaged, |_| {});
        demuxer.hole(|_| {});
        demuxer.datagram(&damaged[..at.min(damaged.len())], |_| {});
        demuxer.finish(|_| {});
    }
}
