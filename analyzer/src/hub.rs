//! Gives each connection to the tracker of its protocol and collects what they learnt.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use crate::finding::Note;
use crate::flow::{At, ConnId, ConnInfo, ConnStats, Dir, End, Handler, Missing};
use crate::measure::bandwidth::Bandwidth;
use crate::track::rtmp::{Outcome, Tracker, Verdict};

/// Unfinished handshakes kept as findings of their own.
const MAX_UNFINISHED: usize = 200;

/// A connection that was RTMP.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) conn: ConnId,
    pub(crate) end: End,
    pub(crate) stats: ConnStats,
    pub(crate) outcome: Outcome,
    /// The capture in which it ended.
    pub(crate) file: usize,
}

/// What a connection is.
#[derive(Debug)]
enum Conn {
    /// No byte was seen yet.
    New(ConnInfo),
    /// RTMP, or what may be it.
    Rtmp(Box<Tracker>),
    /// Nothing we follow.
    Other,
}

/// Is told what the packets carry.
#[derive(Debug)]
pub(crate) struct Hub {
    conns: HashMap<ConnId, Conn, ById>,
    pub(crate) bandwidth: Bandwidth<ConnId>,
    pub(crate) closed: Vec<Closed>,
    /// Handshakes that were never finished, with the capture they ended in.
    pub(crate) unfinished: Vec<(usize, Note)>,
    /// The capture being read.
    pub(crate) file: usize,
}

impl Hub {
    /// Times count from the first packet of the first capture.
    pub(crate) fn new(first_ns: i64) -> Self {
        Self {
            conns: HashMap::default(),
            bandwidth: Bandwidth::new(first_ns),
            closed: Vec::new(),
            unfinished: Vec::new(),
            file: 0,
        }
    }

    /// The tracker of a connection, made when its first bytes come.
    fn tracker(&mut self, conn: ConnId) -> Option<&mut Tracker> {
        let slot = self.conns.get_mut(&conn)?;
        if let Conn::New(info) = slot {
            *slot = Conn::Rtmp(Box::new(Tracker::new(info)));
        }
        match slot {
            Conn::Rtmp(tracker) => Some(tracker),
            Conn::New(_) | Conn::Other => None,
        }
    }

    /// Lets go of a connection that is nothing we follow.
    fn drop_other(&mut self, conn: ConnId) {
        if let Some(slot) = self.conns.get_mut(&conn)
            && let Conn::Rtmp(tracker) = slot
            && tracker.verdict() == Verdict::Other
        {
            *slot = Conn::Other;
            self.bandwidth.forget(conn);
        }
    }
}

impl Handler for Hub {
    fn opened(&mut self, conn: ConnId, info: &ConnInfo) {
        self.conns.insert(conn, Conn::New(*info));
    }

    fn packet(&mut self, conn: ConnId, _: Dir, time_ns: i64, bytes: u64) {
        if bytes > 0 && !matches!(self.conns.get(&conn), None | Some(Conn::Other)) {
            self.bandwidth.add(conn, time_ns, bytes);
        }
    }

    fn data(&mut self, conn: ConnId, dir: Dir, at: At, bytes: &[u8]) {
        if let Some(tracker) = self.tracker(conn) {
            tracker.data(dir, at, bytes);
            if tracker.verdict() == Verdict::Other {
                self.drop_other(conn);
            }
        }
    }

    fn gap(&mut self, conn: ConnId, dir: Dir, at: At, len: u64, why: Missing) {
        if let Some(tracker) = self.tracker(conn) {
            tracker.gap(dir, at, len, why);
            if tracker.verdict() == Verdict::Other {
                self.drop_other(conn);
            }
        }
    }

    fn closed(&mut self, conn: ConnId, end: End, stats: &ConnStats) {
        let Some(Conn::Rtmp(tracker)) = self.conns.remove(&conn) else {
            self.bandwidth.forget(conn);
            return;
        };
        match tracker.close(end, stats) {
            Ok(outcome) => self.closed.push(Closed { conn, end, stats: *stats, outcome, file: self.file }),
            Err(note) => {
                self.bandwidth.forget(conn);
                let Some(note) = note else { return };
                if self.unfinished.len() < MAX_UNFINISHED {
                    self.unfinished.push((self.file, *note));
                } else if let Some((_, last)) = self.unfinished.last_mut() {
                    last.count = last.count.saturating_add(1);
                }
            }
        }
    }
}

/// Connection ids are given out in ascending order by ourselves: one multiplication spreads them.
#[derive(Clone, Copy, Debug, Default)]
struct ById;

#[derive(Debug, Default)]
struct IdHasher(u64);

impl BuildHasher for ById {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher::default()
    }
}

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(8) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
