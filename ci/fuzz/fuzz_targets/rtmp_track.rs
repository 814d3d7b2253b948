//! A connection that may be RTMP: whatever comes, in whatever segments and with whatever holes, joined anywhere. What is held is
//! bounded by what came, and no more frames come out than bytes went in. Input: a byte of circumstances and records of a byte of
//! direction and kind, a length and so many bytes; some kinds stand for what chance would hardly write.
#![no_main]

use std::net::SocketAddr;

use analyzer::flow::{At, ConnInfo, ConnStats, Dir, End, HalfStats, Missing};
use analyzer::track::rtmp::{Tracker, Verdict};
use libfuzzer_sys::fuzz_target;

/// Bytes of one case: repeats make a few into many.
const MOST: usize = 1 << 18;
/// What a direction may hold beside its bytes: 512 chunk streams and the lists of a search.
const BESIDE: usize = 1 << 20;

/// A connection, and how much of each direction has passed.
struct Feed {
    tracker: Tracker,
    passed: [u64; 2],
    given: usize,
    frame: u64,
}

impl Feed {
    fn at(&mut self, side: usize, length: u64) -> At {
        self.frame += 1;
        let time_ns = i64::try_from(self.frame).expect("few frames") * 1_000_000;
        let at = At { time_ns, frame: self.frame, offset: self.passed[side], ready_ns: time_ns };
        self.passed[side] += length;
        at
    }

    fn data(&mut self, side: usize, bytes: &[u8], segment: usize) {
        for piece in bytes.chunks(segment.max(1)) {
            if self.given + piece.len() > MOST {
                return;
            }
            self.given += piece.len();
            let at = self.at(side, piece.len() as u64);
            self.tracker.data(dir(side), at, piece);
            // Lists grow to twice what they hold; a sign or a piece takes some 40 bytes.
            let most = 2 * BESIDE + 200 * self.given;
            assert!(self.tracker.weight() <= most, "{} bytes for {}", self.tracker.weight(), self.given);
        }
    }
}

fn dir(side: usize) -> Dir {
    if side == 0 { Dir::AToB } else { Dir::BToA }
}

/// A whole message with a plausible header: format and chunk stream, delta, type, body.
fn message(head: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let type_id = [8, 9, 9, 8, 20, 18, 1, 4][usize::from(kind & 7)];
    let mut out = vec![head & 0xc0 | (head & 7).max(2)];
    if head < 0xc0 {
        out.extend([0, 0, kind >> 3]);
    }
    if head < 0x80 {
        out.extend(&length[1..]);
        out.push(type_id);
    }
    if head < 0x40 {
        out.extend([1, 0, 0, 0]);
    }
    out.extend(body);
    out
}

fuzz_target!(|data: &[u8]| {
    let Some((&how, mut rest)) = data.split_first() else { return };
    let end = |last, port| SocketAddr::from(([10, 0, 0, last], port));
    let info = ConnInfo {
        a: end(1, 40_000),
        b: end(2, if how & 1 == 0 { 1935 } else { 50_000 }),
        client_known: how & 2 == 0,
        time_ns: 0,
        frame: 1,
    };
    let tracker = Tracker::new(&info).traced(how & 4 != 0);
    let mut feed = Feed { tracker, passed: [0; 2], given: 0, frame: 0 };
    if how & 8 == 0 {
        for side in 0..2 {
            let mut hello = vec![if how & 16 == 0 { 3 } else { 6 }];
            hello.resize(3073, how);
            feed.data(side, &hello, 1460);
        }
    }
    let segment = [1460, 1, 100, 20][usize::from(how >> 6)];
    while let [kind, length, behind @ ..] = rest {
        let (bytes, after) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = after;
        let side = usize::from(kind & 1);
        match (kind >> 1 & 7, bytes) {
            (0, [high, low, ..]) => {
                let lost = u64::from(*high) << 8 | u64::from(*low);
                let why = if kind & 16 == 0 { Missing::Lost } else { Missing::Cut };
                let at = feed.at(side, lost);
                feed.tracker.gap(dir(side), at, lost, why);
            }
            (1, [times, part @ ..]) => feed.data(side, &part.repeat(usize::from(*times)), segment),
            (2 | 3, [head, what, body @ ..]) => feed.data(side, &message(*head, *what, body), segment),
            (4, [head, what, times, body @ ..]) => {
                feed.data(side, &message(*head, *what, body).repeat(usize::from(*times)), segment);
            }
            _ => feed.data(side, bytes, segment),
        }
        if feed.tracker.verdict() == Verdict::Other {
            return;
        }
    }
    let half = |bytes| HalfStats { bytes, ..HalfStats::default() };
    let stats = ConnStats {
        info,
        a_to_b: half(feed.passed[0]),
        b_to_a: half(feed.passed[1]),
        first_ns: 0,
        last_ns: i64::MAX / 2,
        rtt_ns: None,
    };
    let given = feed.given as u64;
    if let Ok(outcome) = feed.tracker.close(End::Capture, &stats) {
        let frames: u64 = outcome.sessions.iter().flat_map(|s| &s.tracks).map(|track| track.frames).sum();
        assert!(frames <= given, "{frames} frames in {given} bytes");
        assert!(!outcome.sessions.is_empty());
    }
});
