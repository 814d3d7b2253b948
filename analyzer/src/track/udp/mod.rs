//! Streams in UDP that no RTSP session set up: RTP and MPEG-TS, known by how their packets follow each other.
//!
//! RTP has no mark of its own. A source is one where several packets have its number at the right place, sequence
//! numbers that rise step by step, and lengths that fit: what else runs over UDP does not look like that for four
//! packets. Transport streams are known by whole packets with their sync bytes.

mod session;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

pub use self::session::{Carried, Outcome};
use self::session::{Kept, Session};
use crate::flow::hash::Seeded;
use crate::flow::{At, Datagram};

/// Directions of UDP that are looked at until it is known what they are.
const MAX_CANDIDATES: usize = 4096;
/// Bytes of theirs that are kept.
const MAX_KEPT: usize = 8 << 20;
/// Streams followed.
const MAX_SESSIONS: usize = 4096;
/// RTP packets in a row that make a source.
const RTP_PACKETS: usize = 4;
/// Of one that calls itself 0, which much else may look like.
const ZERO_PACKETS: usize = 16;
/// Numbers that packets of a row may be apart.
const MAX_STEP: u16 = 64;
/// Ticks that packets of a row may be apart: three minutes at 90 kHz.
const MAX_TICKS: u32 = 1 << 24;

/// A stream, in the order in which they were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamNo(pub u32);

/// A direction: from whom to whom.
type Way = (SocketAddr, SocketAddr);

/// All streams in UDP without a session of their own.
#[derive(Debug, Default)]
pub struct Registry {
    candidates: HashMap<Way, Candidate, Seeded>,
    /// In the order in which they came; some may be gone.
    order: VecDeque<Way>,
    kept: usize,
    streams: HashMap<Way, StreamNo, Seeded>,
    sessions: Vec<Session>,
}

/// Packets of a direction that may be RTP.
#[derive(Debug, Default)]
struct Candidate {
    packets: Vec<Kept>,
}

/// What of a datagram counts with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Which one.
    pub stream: StreamNo,
    /// When it came, nanoseconds since 1970.
    pub time_ns: i64,
    /// Payload bytes.
    pub bytes: u64,
}

impl Registry {
    /// Takes a datagram; `counted` is told what counts, packets before included that were kept.
    pub fn udp(&mut self, datagram: &Datagram<'_>, mut counted: impl FnMut(Counted)) {
        let way = (datagram.src, datagram.dst);
        if let Some(stream) = self.streams.get(&way).copied() {
            if let Some(session) = self.session(stream) {
                let bytes = session.datagram(datagram);
                counted(Counted { stream, time_ns: datagram.time_ns, bytes });
            }
            return;
        }
        if wire::rtp::is_rtcp(datagram.payload) {
            return self.control(datagram, &mut counted);
        }
        let cut = u64::from(datagram.payload_len) > datagram.payload.len() as u64;
        if is_transport(datagram, cut) {
            return self.begin(way, vec![Kept::of(datagram)], &mut counted);
        }
        if wire::rtp::Packet::parse(datagram.payload).is_ok() || cut && may_be_rtp(datagram.payload) {
            self.candidate(way, datagram, &mut counted);
        }
    }

    fn session(&mut self, stream: StreamNo) -> Option<&mut Session> {
        self.sessions.get_mut(usize::try_from(stream.0).ok()?)
    }

    fn candidate(&mut self, way: Way, datagram: &Datagram<'_>, counted: &mut impl FnMut(Counted)) {
        let fresh = !self.candidates.contains_key(&way);
        if fresh {
            self.order.push_back(way);
        }
        let kept = Kept::of(datagram);
        self.kept = self.kept.saturating_add(kept.bytes.len());
        let candidate = self.candidates.entry(way).or_default();
        candidate.packets.push(kept);
        if candidate.is_rtp() {
            if let Some(found) = self.forget(way) {
                self.begin(way, found.packets, counted);
            }
            return;
        }
        if candidate.packets.len() > ZERO_PACKETS {
            let old = candidate.packets.remove(0);
            self.kept = self.kept.saturating_sub(old.bytes.len());
        }
        // The oldest make room.
        while self.candidates.len() > MAX_CANDIDATES || self.kept > MAX_KEPT {
            let Some(oldest) = self.order.pop_front() else { break };
            self.forget(oldest);
        }
        if self.order.len() > MAX_CANDIDATES.saturating_mul(2) {
            let candidates = &self.candidates;
            self.order.retain(|way| candidates.contains_key(way));
        }
    }

    fn forget(&mut self, way: Way) -> Option<Candidate> {
        let candidate = self.candidates.remove(&way)?;
        let bytes = candidate.packets.iter().fold(0usize, |sum, kept| sum.saturating_add(kept.bytes.len()));
        self.kept = self.kept.saturating_sub(bytes);
        Some(candidate)
    }

    fn begin(&mut self, way: Way, packets: Vec<Kept>, counted: &mut impl FnMut(Counted)) {
        let Ok(no) = u32::try_from(self.sessions.len()) else { return };
        if self.sessions.len() >= MAX_SESSIONS {
            return;
        }
        let stream = StreamNo(no);
        let mut session = Session::new(way);
        for kept in &packets {
            let bytes = session.datagram(&kept.datagram(way));
            counted(Counted { stream, time_ns: kept.at.time_ns, bytes });
        }
        self.streams.insert(way, stream);
        self.sessions.push(session);
    }

    /// RTCP beside a stream: on its ports or on the next ones, of the sender or of the receiver.
    fn control(&mut self, datagram: &Datagram<'_>, counted: &mut impl FnMut(Counted)) {
        let below = |end: SocketAddr| SocketAddr::new(end.ip(), end.port().saturating_sub(1));
        let (src, dst) = (datagram.src, datagram.dst);
        let ways = [
            ((src, dst), true),
            ((below(src), below(dst)), true),
            ((dst, src), false),
            ((below(dst), below(src)), false),
        ];
        for (way, from_sender) in ways {
            if let Some(stream) = self.streams.get(&way).copied()
                && let Some(session) = self.session(stream)
            {
                if session.control(datagram, from_sender) {
                    let bytes = u64::from(datagram.payload_len);
                    counted(Counted { stream, time_ns: datagram.time_ns, bytes });
                }
                return;
            }
        }
    }

    /// All that was found.
    pub fn finish(self) -> Vec<Outcome> {
        let numbered = (0u32..).zip(self.sessions);
        numbered.filter_map(|(no, session)| session.finish(StreamNo(no))).collect()
    }
}

/// True where a datagram is whole packets of a transport stream: one alone may be anything, unless it names a table.
fn is_transport(datagram: &Datagram<'_>, cut: bool) -> bool {
    let packets = datagram.payload.len() / wire::ts::PACKET;
    let whole = if cut {
        let length = usize::try_from(datagram.payload_len).unwrap_or(0);
        let there = datagram.payload.get(..packets.saturating_mul(wire::ts::PACKET)).unwrap_or_default();
        length.is_multiple_of(wire::ts::PACKET) && wire::ts::is_packets(there)
    } else {
        wire::ts::is_packets(datagram.payload)
    };
    whole && packets >= 2
}

/// True where the beginning of a packet that the capture cut may be RTP.
fn may_be_rtp(bytes: &[u8]) -> bool {
    bytes.len() >= wire::rtp::HEADER && bytes.first().is_some_and(|first| first >> 6 == 2)
}

impl Candidate {
    /// True where the latest packets follow each other as those of one source do.
    fn is_rtp(&self) -> bool {
        let Some(last) = self.packets.last().and_then(Kept::header) else { return false };
        let mine: Vec<_> =
            self.packets.iter().filter_map(Kept::header).filter(|h| h.ssrc == last.ssrc).collect();
        // Zeros and repeated bytes are what other protocols have there.
        let [a, b, c, d] = last.ssrc.to_be_bytes();
        let plain = a == b && b == c && c == d;
        if mine.len() < if plain { ZERO_PACKETS } else { RTP_PACKETS } {
            return false;
        }
        let types: std::collections::BTreeSet<u8> = mine.iter().map(|header| header.payload_type).collect();
        let rising = mine.windows(2).all(|pair| {
            let [before, header] = pair else { return true };
            let step = header.sequence.wrapping_sub(before.sequence);
            let late = step.wrapping_neg();
            let ticks = header.timestamp.wrapping_sub(before.timestamp).cast_signed().unsigned_abs();
            step != 0 && (step <= MAX_STEP || late <= MAX_STEP / 4) && ticks <= MAX_TICKS
        });
        let forward = mine.windows(2).filter(|pair| match pair {
            [before, header] => (1..=MAX_STEP).contains(&header.sequence.wrapping_sub(before.sequence)),
            _ => false,
        });
        rising && types.len() <= 2 && forward.count().saturating_mul(4) >= mine.len().saturating_mul(2)
    }
}

fn at(datagram: &Datagram<'_>) -> At {
    At { time_ns: datagram.time_ns, frame: datagram.frame, offset: 0, ready_ns: datagram.time_ns }
}
