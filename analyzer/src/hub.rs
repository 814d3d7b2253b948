//! Gives each connection to the tracker of its protocol and collects what they learnt.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use crate::finding::Note;
use crate::flow::{At, ConnId, ConnInfo, ConnStats, Datagram, Dir, End, Handler, Missing};
use crate::measure::bandwidth::Bandwidth;
use crate::sniff::{self, Kept, Piece, Speech};
use crate::track::rtmp::{Outcome, Tracker, Verdict};
use crate::track::{hls, http, rtsp};

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

/// Something whose bandwidth is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Line {
    /// A whole connection.
    Conn(ConnId),
    /// An RTSP session that has no connection for itself.
    Rtsp(rtsp::SessionNo),
    /// The requests of an HLS viewer.
    Hls(hls::ViewerNo),
}

/// What a connection is.
#[derive(Debug)]
enum Conn {
    /// No byte was seen yet.
    New(ConnInfo),
    /// Text whose first line is not whole.
    Unclear(Box<Kept>),
    /// RTMP, or what may be it.
    Rtmp(Box<Tracker>, ConnInfo),
    /// RTSP.
    Rtsp(Box<rtsp::Tracker>),
    /// HTTP/1.
    Http(Box<http::Tracker>),
    /// Nothing we follow so far.
    Other(ConnInfo),
}

/// Is told what the packets carry.
#[derive(Debug)]
pub(crate) struct Hub {
    conns: HashMap<ConnId, Conn, ById>,
    pub(crate) bandwidth: Bandwidth<Line>,
    pub(crate) closed: Vec<Closed>,
    pub(crate) rtsp: rtsp::Registry,
    pub(crate) hls: hls::Registry,
    /// Where the payload of RTSP sessions is counted; that of UDP under the first.
    pub(crate) rtsp_lines: HashMap<rtsp::SessionNo, Vec<Line>>,
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
            rtsp: rtsp::Registry::default(),
            hls: hls::Registry::default(),
            rtsp_lines: HashMap::new(),
            unfinished: Vec::new(),
            file: 0,
        }
    }

    /// Makes a connection what its first bytes say, and hands over what was kept.
    fn become_of(&mut self, conn: ConnId, info: &ConnInfo, speech: Speech, pieces: Vec<(Dir, At, Piece)>) {
        let slot = match speech {
            Speech::Rtsp => Conn::Rtsp(Box::new(rtsp::Tracker::new(info, false))),
            Speech::RtspInside => Conn::Rtsp(Box::new(rtsp::Tracker::new(info, true))),
            Speech::Http => {
                self.bandwidth.forget(Line::Conn(conn));
                Conn::Http(Box::new(http::Tracker::new(info)))
            }
            Speech::Unclear | Speech::Binary => Conn::Rtmp(Box::new(Tracker::new(info)), *info),
        };
        self.conns.insert(conn, slot);
        for (dir, at, piece) in pieces {
            match piece {
                Piece::Bytes(bytes) => self.data(conn, dir, at, &bytes),
                Piece::Gap(len, why) => self.gap(conn, dir, at, len, why),
            }
        }
    }

    /// Lets go of a connection that turned out to be nothing we follow.
    fn drop_other(&mut self, conn: ConnId) {
        let Some(slot) = self.conns.get_mut(&conn) else { return };
        if let Conn::Rtmp(tracker, info) = slot
            && tracker.verdict() == Verdict::Other
        {
            *slot = Conn::Other(*info);
            self.bandwidth.forget(Line::Conn(conn));
        }
    }

    /// Remembers under which series the packets of a session count: `first` where it is its connection's first.
    fn line_of(&mut self, conn: ConnId, session: Option<rtsp::SessionNo>, first: bool) {
        let Some(no) = session else { return };
        let line = if first { Line::Conn(conn) } else { Line::Rtsp(no) };
        let lines = self.rtsp_lines.entry(no).or_default();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
}

impl Handler for Hub {
    fn opened(&mut self, conn: ConnId, info: &ConnInfo) {
        self.conns.insert(conn, Conn::New(*info));
    }

    fn packet(&mut self, conn: ConnId, _: Dir, time_ns: i64, bytes: u64) {
        if bytes > 0 && !matches!(self.conns.get(&conn), None | Some(Conn::Other(_) | Conn::Http(_))) {
            self.bandwidth.add(Line::Conn(conn), time_ns, bytes);
        }
    }

    fn data(&mut self, conn: ConnId, dir: Dir, at: At, bytes: &[u8]) {
        let Some(slot) = self.conns.get_mut(&conn) else { return };
        match slot {
            Conn::Rtmp(tracker, _) => {
                tracker.data(dir, at, bytes);
                if tracker.verdict() == Verdict::Other {
                    self.drop_other(conn);
                }
            }
            Conn::Rtsp(tracker) => {
                let before = tracker.session();
                tracker.data(dir, at, bytes, &mut self.rtsp);
                let (after, first) = (tracker.session(), tracker.is_first_session());
                if before != after {
                    self.line_of(conn, after, first);
                }
            }
            Conn::Http(tracker) => {
                tracker.data(dir, at, bytes, &mut self.hls);
                let bandwidth = &mut self.bandwidth;
                self.hls
                    .carried(at.time_ns, |viewer, bytes| bandwidth.add(Line::Hls(viewer), at.time_ns, bytes));
            }
            Conn::New(info) => {
                let info = *info;
                match sniff::judge(&info, bytes) {
                    Speech::Unclear => {
                        let mut kept = Kept::new(info);
                        kept.data(dir, at, bytes);
                        self.conns.insert(conn, Conn::Unclear(Box::new(kept)));
                    }
                    speech => {
                        self.become_of(conn, &info, speech, Vec::new());
                        self.data(conn, dir, at, bytes);
                    }
                }
            }
            Conn::Unclear(kept) => match kept.data(dir, at, bytes) {
                Speech::Unclear => {}
                speech => {
                    let (info, pieces) = (kept.info, std::mem::take(&mut kept.pieces));
                    self.become_of(conn, &info, speech, pieces);
                }
            },
            Conn::Other(info) => {
                // A stream that was joined late or cut by a loss is taken up where a message begins a packet.
                let info = *info;
                let speech = sniff::judge(&info, bytes);
                if matches!(speech, Speech::Rtsp | Speech::Http | Speech::RtspInside) {
                    self.become_of(conn, &info, speech, Vec::new());
                    self.data(conn, dir, at, bytes);
                }
            }
        }
    }

    fn gap(&mut self, conn: ConnId, dir: Dir, at: At, len: u64, why: Missing) {
        let Some(slot) = self.conns.get_mut(&conn) else { return };
        match slot {
            Conn::Rtmp(tracker, _) => {
                tracker.gap(dir, at, len, why);
                if tracker.verdict() == Verdict::Other {
                    self.drop_other(conn);
                }
            }
            Conn::Rtsp(tracker) => tracker.gap(dir, at, len, why, &mut self.rtsp),
            Conn::Http(tracker) => {
                tracker.gap(dir, at, len, why, &mut self.hls);
                let bandwidth = &mut self.bandwidth;
                self.hls
                    .carried(at.time_ns, |viewer, bytes| bandwidth.add(Line::Hls(viewer), at.time_ns, bytes));
            }
            Conn::New(info) => {
                let info = *info;
                self.become_of(conn, &info, Speech::Binary, vec![(dir, at, Piece::Gap(len, why))]);
            }
            Conn::Unclear(kept) => {
                let speech = kept.gap(dir, at, len, why);
                let (info, pieces) = (kept.info, std::mem::take(&mut kept.pieces));
                self.become_of(conn, &info, speech, pieces);
            }
            Conn::Other(_) => {}
        }
    }

    fn closed(&mut self, conn: ConnId, end: End, stats: &ConnStats) {
        let note = match self.conns.remove(&conn) {
            Some(Conn::Rtmp(tracker, _)) => match tracker.close(end, stats) {
                Ok(outcome) => {
                    self.closed.push(Closed { conn, end, stats: *stats, outcome, file: self.file });
                    return;
                }
                Err(note) => note,
            },
            Some(Conn::Rtsp(mut tracker)) => {
                // The end may bring a first session: its packets are this connection's.
                let was_rtsp = tracker.finish(&mut self.rtsp, stats);
                self.line_of(conn, tracker.session(), tracker.is_first_session());
                if was_rtsp && tracker.close(end, stats, &mut self.rtsp) {
                    return;
                }
                None
            }
            Some(Conn::Http(tracker)) => {
                tracker.close(end, stats, &mut self.hls);
                let bandwidth = &mut self.bandwidth;
                self.hls.carried(stats.last_ns, |viewer, bytes| {
                    bandwidth.add(Line::Hls(viewer), stats.last_ns, bytes);
                });
                None
            }
            _ => None,
        };
        self.bandwidth.forget(Line::Conn(conn));
        let Some(note) = note else { return };
        if self.unfinished.len() < MAX_UNFINISHED {
            self.unfinished.push((self.file, *note));
        } else if let Some((_, last)) = self.unfinished.last_mut() {
            last.count = last.count.saturating_add(1);
        }
    }

    fn udp(&mut self, datagram: &Datagram<'_>) {
        if let Some(counted) = self.rtsp.udp(datagram) {
            let line = self.rtsp_lines.get(&counted.session).and_then(|lines| lines.first()).copied();
            self.bandwidth.add(line.unwrap_or(Line::Rtsp(counted.session)), datagram.time_ns, counted.bytes);
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
