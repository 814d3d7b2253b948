//! Gives each connection to the tracker of its protocol and collects what they learnt.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;

use crate::finding::Note;
use crate::flow::{At, ConnId, ConnInfo, ConnStats, Datagram, Dir, End, Handler, Missing};
use crate::measure::bandwidth::Bandwidth;
use crate::sniff::{self, Disguise, Kept, Piece, Speech};
use crate::track::rtmp::{Outcome, Tracker, Verdict};
use crate::track::{hls, http, rtsp, udp};

/// Unfinished handshakes and guises kept as findings of their own.
const MAX_UNFINISHED: usize = 200;

/// Addresses of RTMP servers remembered.
const MAX_SERVERS: usize = 1024;

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
    /// A stream in UDP without a session.
    Udp(udp::StreamNo),
}

/// What a connection is.
#[derive(Debug)]
pub(crate) enum Conn {
    /// No byte was seen yet.
    New(ConnInfo),
    /// Text whose first line is not whole.
    Unclear(Box<Kept>),
    /// RTMP, or what may be it.
    Rtmp(Box<Tracker>, ConnInfo),
    /// RTSP.
    Rtsp(Box<rtsp::Tracker>, ConnInfo),
    /// HTTP/1.
    Http(Box<http::Tracker>),
    /// Nothing we follow so far; true where blocks of RTSP were looked for in vain.
    Other(ConnInfo, bool),
}

/// Is told what the packets carry.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) conns: HashMap<ConnId, Conn, ById>,
    pub(crate) bandwidth: Bandwidth<Line>,
    pub(crate) closed: Vec<Closed>,
    pub(crate) rtsp: rtsp::Registry,
    pub(crate) hls: hls::Registry,
    pub(crate) udp: udp::Registry,
    /// Where the payload of RTSP sessions is counted; that of UDP under the first.
    pub(crate) rtsp_lines: HashMap<rtsp::SessionNo, Vec<Line>>,
    /// Handshakes that were never finished, with the capture they ended in.
    pub(crate) unfinished: Vec<(usize, Note)>,
    /// Where RTMP servers are, as connections told whose ends are known.
    servers: HashSet<SocketAddr>,
    /// Connections that carry RTMP in another guise.
    disguised: HashSet<ConnId, ById>,
    /// The capture being read.
    pub(crate) file: usize,
    /// Whether every frame is marked.
    trace: bool,
}

impl Hub {
    /// Times count from the first packet of the first capture.
    pub(crate) fn new(first_ns: i64, trace: bool) -> Self {
        Self {
            trace,
            conns: HashMap::default(),
            bandwidth: Bandwidth::new(first_ns),
            closed: Vec::new(),
            rtsp: rtsp::Registry::new(trace),
            hls: hls::Registry::new(trace),
            udp: udp::Registry::default(),
            rtsp_lines: HashMap::new(),
            unfinished: Vec::new(),
            servers: HashSet::new(),
            disguised: HashSet::default(),
            file: 0,
        }
    }

    /// Names RTMP in a guise in which it is not read, once for each connection.
    fn disguise(&mut self, conn: ConnId, info: &ConnInfo, at: At, bytes: &[u8]) {
        let Some(guise) = sniff::disguise(info, bytes).filter(|_| self.disguised.insert(conn)) else {
            return;
        };
        let (rule, what) = match guise {
            Disguise::Rtmps => {
                (&spec::capture::RTMP_ENCRYPTED, "RTMPS, or TLS on a port of it: not read without its keys")
            }
            Disguise::Rtmpt => (
                &spec::capture::RTMP_TUNNELLED,
                "RTMPT, which is RTMP inside HTTP requests: not put together",
            ),
        };
        self.tell(Note::new(rule, format!("{} to {}: {what}", info.a, info.b)).at(at));
    }

    /// Keeps a finding about a connection that is no session.
    fn tell(&mut self, note: Note) {
        if self.unfinished.len() < MAX_UNFINISHED {
            self.unfinished.push((self.file, note));
        } else if let Some((_, last)) =
            self.unfinished.iter_mut().rev().find(|(_, last)| last.rule.id == note.rule.id)
        {
            last.count = last.count.saturating_add(1);
        }
    }

    /// Makes a connection what its first bytes say, and hands over what was kept.
    fn become_of(&mut self, conn: ConnId, info: &ConnInfo, speech: Speech, pieces: Vec<(Dir, At, Piece)>) {
        let slot = match speech {
            Speech::Rtsp => Conn::Rtsp(Box::new(rtsp::Tracker::new(info, false)), *info),
            Speech::RtspInside => Conn::Rtsp(Box::new(rtsp::Tracker::new(info, true)), *info),
            Speech::Http => {
                self.bandwidth.forget(Line::Conn(conn));
                Conn::Http(Box::new(http::Tracker::new(info)))
            }
            Speech::Unclear | Speech::Binary => {
                Conn::Rtmp(Box::new(Tracker::new(info).traced(self.trace)), *info)
            }
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
        let other = match slot {
            Conn::Rtmp(tracker, info) if tracker.verdict() == Verdict::Other => Conn::Other(*info, false),
            Conn::Rtsp(tracker, info) if tracker.is_hopeless() => Conn::Other(*info, true),
            _ => return,
        };
        *slot = other;
        self.bandwidth.forget(Line::Conn(conn));
    }

    /// Where nothing in a connection told which end is the server's, others to the same address may have.
    fn settle(&mut self, tracker: &mut Tracker, info: &ConnInfo) {
        let server = tracker.server_of(info);
        if tracker.knows_client() {
            if self.servers.len() < MAX_SERVERS && tracker.verdict() == Verdict::Rtmp {
                self.servers.insert(server);
            }
            return;
        }
        let is_server = |address: SocketAddr| {
            let mut open = self.conns.values().filter_map(|slot| match slot {
                Conn::Rtmp(other, info) if other.knows_client() => Some(other.server_of(info)),
                _ => None,
            });
            self.servers.contains(&address) || open.any(|there| there == address)
        };
        if is_server(tracker.client_of(info)) && !is_server(server) {
            tracker.turn();
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
        let line = match self.conns.get(&conn) {
            None | Some(Conn::Other(..) | Conn::Http(_)) => return,
            Some(Conn::Rtsp(tracker, _)) if !tracker.is_first_session() => tracker.session().map(Line::Rtsp),
            Some(_) => None,
        };
        if bytes > 0 {
            self.bandwidth.add(line.unwrap_or(Line::Conn(conn)), time_ns, bytes);
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
            Conn::Rtsp(tracker, _) => {
                let before = tracker.session();
                tracker.data(dir, at, bytes, &mut self.rtsp);
                if tracker.is_hopeless() {
                    return self.drop_other(conn);
                }
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
                self.disguise(conn, &info, at, bytes);
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
            Conn::Other(info, in_vain) => {
                // A stream that was joined late or cut by a loss is taken up where a message begins a packet.
                let (info, in_vain) = (*info, *in_vain);
                let speech = sniff::judge(&info, bytes);
                let inside = speech == Speech::RtspInside && !in_vain;
                if matches!(speech, Speech::Rtsp | Speech::Http) || inside {
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
            Conn::Rtsp(tracker, _) => tracker.gap(dir, at, len, why, &mut self.rtsp),
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
            Conn::Other(..) => {}
        }
    }

    fn ended(&mut self, conn: ConnId, dir: Dir, at: At) {
        if let Some(Conn::Http(tracker)) = self.conns.get_mut(&conn) {
            tracker.ended(dir, at, &mut self.hls);
            let bandwidth = &mut self.bandwidth;
            self.hls.carried(at.time_ns, |viewer, bytes| bandwidth.add(Line::Hls(viewer), at.time_ns, bytes));
        }
    }

    fn closed(&mut self, conn: ConnId, end: End, stats: &ConnStats) {
        self.disguised.remove(&conn);
        let note = match self.conns.remove(&conn) {
            Some(Conn::Rtmp(mut tracker, info)) => {
                self.settle(&mut tracker, &info);
                match tracker.close(end, stats) {
                    Ok(outcome) => {
                        self.closed.push(Closed { conn, end, stats: *stats, outcome, file: self.file });
                        return;
                    }
                    Err(note) => note,
                }
            }
            Some(Conn::Rtsp(mut tracker, _)) => {
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
        if let Some(note) = note {
            self.tell(*note);
        }
    }

    fn udp(&mut self, datagram: &Datagram<'_>) {
        if let Some(counted) = self.rtsp.udp(datagram) {
            let line = self.rtsp_lines.get(&counted.session).and_then(|lines| lines.first()).copied();
            self.bandwidth.add(line.unwrap_or(Line::Rtsp(counted.session)), datagram.time_ns, counted.bytes);
        } else if !self.rtsp.is_mine(datagram) {
            let Self { udp, bandwidth, .. } = self;
            udp.udp(datagram, |part| bandwidth.add(Line::Udp(part.stream), part.time_ns, part.bytes));
        }
    }
}

/// Connection ids are given out in ascending order by ourselves: one multiplication spreads them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ById;

#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

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

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    const CONN: ConnId = ConnId(1);

    /// A connection to port 554 that the capture joins inside of an interleaved block.
    fn joined_late() -> (Hub, u64) {
        let mut hub = Hub::new(0, false);
        let (a, b) = ("10.0.0.1:554".parse().unwrap(), "10.0.0.2:40000".parse().unwrap());
        hub.opened(CONN, &ConnInfo { a, b, client_known: false, time_ns: 0, frame: 1 });
        hub.data(CONN, Dir::AToB, at(0), b"$\0\x05\x00 the rest of a block");
        assert!(matches!(hub.conns.get(&CONN), Some(Conn::Rtsp(..))));
        (hub, 24)
    }

    fn at(offset: u64) -> At {
        At { time_ns: 0, frame: 1, offset, ready_ns: 0 }
    }

    #[test]
    fn blocks_are_not_looked_for_without_end() {
        let (mut hub, mut sent) = joined_late();
        let noise: Vec<u8> = (0..=u8::MAX).rev().cycle().take(64 << 10).collect();
        while matches!(hub.conns.get(&CONN), Some(Conn::Rtsp(..))) {
            hub.packet(CONN, Dir::AToB, 0, noise.len() as u64);
            hub.data(CONN, Dir::AToB, at(sent), &noise);
            sent += noise.len() as u64;
            assert!(sent < 5 << 20, "still looked into after {sent} bytes");
        }
        // It is not tried again where a packet happens to begin like a block, but where a message begins one.
        hub.data(CONN, Dir::AToB, at(sent), b"$\0\0\x10 is no block");
        assert!(matches!(hub.conns.get(&CONN), Some(Conn::Other(..))));
        assert_eq!(hub.bandwidth.peak_bps(Line::Conn(CONN)), None);
        hub.data(CONN, Dir::BToA, at(0), b"PAUSE rtsp://h/live/a RTSP/1.0\r\nCSeq: 9\r\n\r\n");
        assert!(matches!(hub.conns.get(&CONN), Some(Conn::Rtsp(..))));
    }

    #[test]
    fn blocks_found_late_make_a_session() {
        let (mut hub, sent) = joined_late();
        let block = [&[b'$', 0, 0, 12, 0x80, 96, 0, 1][..], &[0; 8]].concat();
        let blocks: Vec<u8> = [vec![7; 3000], block.repeat(20)].concat();
        hub.data(CONN, Dir::AToB, at(sent), &blocks);
        hub.data(CONN, Dir::AToB, at(sent + blocks.len() as u64), &vec![1; 6 << 20]);
        assert!(matches!(hub.conns.get(&CONN), Some(Conn::Rtsp(..))));
    }
}
