//! What an analysis knows while it is still reading: the sessions that go on, and what they take.
//!
//! Whoever shows it asks a [`Watch`] from another thread. The analysis answers between two packets, and only when asked: the
//! work follows the number of questions and of open connections, not the number of packets.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Protocol, Role};

use crate::flow::ConnId;
use crate::hub::{Conn, Hub, Line};
use crate::track::ongoing::Lost;
use crate::track::rtmp::Verdict;

/// Sessions told one by one; the others are counted and summed.
pub const MAX_ROWS: usize = 200;
/// Seconds without a byte after which a session is not shown any more.
pub const IDLE_S: u64 = 15;
const SECOND: i64 = 1_000_000_000;

/// A session that goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it speaks.
    pub protocol: Protocol,
    /// What its client does.
    pub role: Role,
    /// The client's address.
    pub client: SocketAddr,
    /// Path of its stream, where it is known.
    pub path: Option<String>,
    /// Codecs of its tracks so far.
    pub codecs: Vec<String>,
    /// Payload bits in the last whole second; none where a session before it on the same connection has them.
    pub bps: Option<f64>,
    /// What never came.
    pub lost: Lost,
}

/// The sessions of a moment, publishers first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// At most [`MAX_ROWS`].
    pub rows: Vec<Row>,
    /// Sessions beyond those.
    pub more: usize,
    /// Payload bits of those beyond in the last whole second.
    pub more_bps: f64,
}

impl Snapshot {
    /// All sessions.
    pub fn sessions(&self) -> usize {
        self.rows.len().saturating_add(self.more)
    }

    /// Payload bits of all sessions in the last whole second.
    pub fn bps(&self) -> f64 {
        sum(self.rows.iter().filter_map(|row| row.bps)) + self.more_bps
    }

    /// The same sessions where no packet came for a second.
    pub fn fall_silent(&mut self) {
        self.rows.iter_mut().for_each(|row| row.bps = row.bps.map(|_| 0.0));
        self.more_bps = 0.0;
    }
}

/// Asks an analysis in another thread what it knows.
#[derive(Debug, Default)]
pub struct Watch {
    asked: AtomicBool,
    answer: Mutex<Option<Snapshot>>,
}

impl Watch {
    /// The answer to the question before, if a packet has come since; and asks again.
    pub fn ask(&self) -> Option<Snapshot> {
        let answer = self.answer.lock().ok().and_then(|mut answer| answer.take());
        self.asked.store(true, Ordering::Relaxed);
        answer
    }

    /// Answers where somebody asked.
    pub(crate) fn answer(&self, snapshot: impl FnOnce() -> Snapshot) {
        if self.asked.load(Ordering::Relaxed) && self.asked.swap(false, Ordering::Relaxed) {
            let snapshot = snapshot();
            if let Ok(mut answer) = self.answer.lock() {
                *answer = Some(snapshot);
            }
        }
    }
}

/// What is known of a session without looking closer.
struct Candidate {
    role: Role,
    order: (Protocol, u64, usize),
    bps: Option<f64>,
    key: Key,
}

#[derive(Clone, Copy)]
enum Key {
    Rtmp(ConnId, usize),
    Rtsp(crate::track::rtsp::SessionNo),
    Hls(crate::track::hls::ViewerNo),
}

/// The sessions that go on at a time, nanoseconds since 1970, when the capture began at `first_ns`.
pub(crate) fn snapshot(hub: &Hub, first_ns: i64, now_ns: i64) -> Snapshot {
    let seconds = now_ns.saturating_sub(first_ns).checked_div(SECOND).unwrap_or(0);
    let now = u64::try_from(seconds).unwrap_or(0);
    // In the first second there is no whole one.
    let second = now.saturating_sub(1);
    let bits = |line: Line| float(hub.bandwidth.in_second(line, second)) * 8.0;
    let awake = |line: Line| {
        let latest = hub.bandwidth.latest_second(line);
        latest.is_some_and(|latest| now.saturating_sub(latest) <= IDLE_S)
    };
    let mut found = Vec::new();
    for (id, conn) in &hub.conns {
        let Conn::Rtmp(tracker, _) = conn else { continue };
        // One that was closed stays for late packets.
        if tracker.verdict() != Verdict::Rtmp || !awake(Line::Conn(*id)) {
            continue;
        }
        for (place, (index, role)) in tracker.open_streams().into_iter().enumerate() {
            found.push(Candidate {
                role,
                order: (Protocol::Rtmp, id.0, index),
                bps: (place == 0).then(|| bits(Line::Conn(*id))),
                key: Key::Rtmp(*id, index),
            });
        }
    }
    for (no, role) in hub.rtsp.going_on() {
        let lines = hub.rtsp_lines.get(&no).map(Vec::as_slice).unwrap_or_default();
        if lines.iter().any(|line| awake(*line)) {
            found.push(Candidate {
                role,
                order: (Protocol::Rtsp, no.number(), 0),
                bps: Some(sum(lines.iter().map(|line| bits(*line)))),
                key: Key::Rtsp(no),
            });
        }
    }
    for (no, protocol) in hub.hls.latest_viewers() {
        if awake(Line::Hls(no)) {
            found.push(Candidate {
                role: Role::Viewer,
                order: (protocol, no.number(), 0),
                bps: Some(bits(Line::Hls(no))),
                key: Key::Hls(no),
            });
        }
    }
    found.sort_unstable_by_key(|one| (rank(one.role), one.order));
    let rest = found.split_off(found.len().min(MAX_ROWS));
    Snapshot {
        rows: found.iter().filter_map(|one| row(hub, one)).collect(),
        more: rest.len(),
        more_bps: sum(rest.iter().filter_map(|one| one.bps)),
    }
}

fn rank(role: Role) -> u8 {
    match role {
        Role::Publisher => 0,
        Role::Viewer => 1,
        Role::Control => 2,
    }
}

fn row(hub: &Hub, one: &Candidate) -> Option<Row> {
    let (client, path, codecs, lost) = match one.key {
        Key::Rtmp(id, index) => {
            let Conn::Rtmp(tracker, info) = hub.conns.get(&id)? else { return None };
            let (path, codecs) = tracker.stream(index).unwrap_or_default();
            (tracker.client_of(info), path, codecs, Lost::Bytes(tracker.lost_bytes()))
        }
        Key::Rtsp(no) => hub.rtsp.now(no)?,
        Key::Hls(no) => hub.hls.now(no)?,
    };
    Some(Row { protocol: one.order.0, role: one.role, client, path, codecs, bps: one.bps, lost })
}

/// The sum; that of nothing is not negative.
fn sum(rates: impl Iterator<Item = f64>) -> f64 {
    rates.fold(0.0, |sum, bps| sum + bps)
}

/// Bytes as a float; exact below 2^53.
#[allow(clippy::cast_precision_loss)]
fn float(n: u64) -> f64 {
    n as f64
}
