//! The thread that writes the tap's file.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::Bytes;
use wire::pcapng::write::{
    InterfaceOptions, SectionOptions, Statistics, interface, packet, section_header, statistics,
};

use super::packet::{MAX_SEGMENT, Segment, datagram_headers, flag, headers, later};
use super::{Layer, Record, Shared, TapState};
use crate::clock::Clock;
use crate::config::TapConfig;

/// Bytes gathered before they are written.
const GATHER: usize = 256 << 10;
/// Room kept in a file of bounded size for the statistics at its end.
const TAIL: u64 = 256;
/// How long the thread sleeps between two looks at a queue in use: whoever queues then never has to wake it.
const NAP: Duration = Duration::from_millis(5);
/// How long it waits for a record before it looks whether the tap was closed.
const IDLE: Duration = Duration::from_millis(100);

const ETHERNET: u16 = 1;
const COMMENT: &str =
    "synthetic: made by the server's tap; packet headers are invented, payload and times are real";

pub struct Writer {
    file: Box<dyn Write + Send>,
    clock: Clock,
    shared: Arc<Shared>,
    snap: usize,
    limit: u64,
    /// Bytes of the file so far, those gathered included.
    size: u64,
    gathered: Vec<u8>,
    header: Vec<u8>,
    started: u64,
    /// Time of the last packet: times of different connections may reach the queue the other way round.
    last: u64,
    /// False once the file takes nothing more.
    takes: bool,
    broken: bool,
}

impl Writer {
    pub fn new(file: Box<dyn Write + Send>, config: &TapConfig, clock: Clock, shared: Arc<Shared>) -> Self {
        let mut gathered = Vec::with_capacity(GATHER);
        let program = concat!("streamgauge ", env!("CARGO_PKG_VERSION"));
        section_header(
            &mut gathered,
            &SectionOptions { user_appl: Some(program), comment: Some(COMMENT), ..SectionOptions::default() },
        );
        interface(
            &mut gathered,
            &InterfaceOptions {
                link_type: ETHERNET,
                snap_len: config.snap,
                name: Some("tap"),
                ..InterfaceOptions::default()
            },
        );
        Self {
            file,
            clock,
            shared,
            snap: if config.snap == 0 {
                usize::MAX
            } else {
                usize::try_from(config.snap).unwrap_or(usize::MAX)
            },
            limit: if config.size == 0 { u64::MAX } else { config.size },
            size: gathered.len() as u64,
            gathered,
            header: Vec::new(),
            started: clock.wall_nanos(),
            last: 0,
            takes: true,
            broken: false,
        }
    }

    /// Writes until the tap is closed and the queue is empty.
    pub fn run(mut self, arrivals: &Receiver<Record>) {
        self.write_out();
        loop {
            let closing = self.shared.closing.load(Ordering::SeqCst);
            match arrivals.try_recv() {
                Ok(record) => self.record(record),
                Err(_) if closing => break,
                Err(_) if self.gathered.is_empty() => {
                    if let Ok(record) = arrivals.recv_timeout(IDLE) {
                        self.record(record);
                    }
                }
                Err(_) => {
                    std::thread::sleep(NAP);
                    match arrivals.try_recv() {
                        Ok(record) => self.record(record),
                        Err(_) => self.write_out(),
                    }
                }
            }
        }
        self.finish();
    }

    fn record(&mut self, record: Record) {
        self.shared.queued.fetch_sub(record.held(), Ordering::Relaxed);
        self.last = self.last.max(record.time);
        if !self.takes {
            self.shared.dropped.fetch_add(record.packets(), Ordering::Relaxed);
            return;
        }
        let Record { layer, length, payload, .. } = record;
        let cut = length > 0 && payload.is_empty();
        match layer {
            Layer::Tcp { segment, acked } => self.segments(&segment, acked, length, payload, cut),
            Layer::Udp(datagram) => {
                self.packet(length, &payload, |out| datagram_headers(out, &datagram, length, &payload));
                self.count_cut(cut);
            }
        }
        if self.gathered.len() >= GATHER {
            self.write_out();
        }
    }

    fn count_cut(&self, cut: bool) {
        self.shared.cut.fetch_add(u64::from(cut), Ordering::Relaxed);
    }

    fn segments(&mut self, segment: &Segment, acked: bool, length: usize, payload: Vec<Bytes>, cut: bool) {
        let mut pieces = Pieces::new(payload);
        let mut seq = segment.seq;
        let mut left = length;
        loop {
            let n = left.min(MAX_SEGMENT);
            let pieces = pieces.take(n);
            self.packet(n, &pieces, |out| headers(out, &Segment { seq, ..*segment }, n, &pieces));
            self.count_cut(cut);
            seq = later(seq, n);
            left = left.saturating_sub(n);
            if left == 0 {
                break;
            }
        }
        if acked {
            let Segment { from, to, from_opener, ack, .. } = *segment;
            let answer = Segment {
                from: to,
                to: from,
                from_opener: !from_opener,
                seq: ack,
                ack: seq,
                flags: flag::ACK,
            };
            self.packet(0, &[], |out| headers(out, &answer, 0, &[]));
        }
    }

    /// Writes a packet of `length` payload bytes; `write` makes what goes before them.
    fn packet(&mut self, length: usize, payload: &[Bytes], write: impl FnOnce(&mut Vec<u8>)) {
        let mut header = std::mem::take(&mut self.header);
        header.clear();
        write(&mut header);
        let whole = header.len().saturating_add(length);
        let mut room = self.snap;
        let mut kept: Vec<&[u8]> = Vec::with_capacity(payload.len().saturating_add(1));
        for piece in std::iter::once(header.as_slice()).chain(payload.iter().map(AsRef::as_ref)) {
            kept.push(piece.get(..room.min(piece.len())).unwrap_or_default());
            room = room.saturating_sub(piece.len());
        }
        let before = self.gathered.len();
        packet(&mut self.gathered, 0, self.last, &kept, u32::try_from(whole).unwrap_or(u32::MAX));
        drop(kept);
        self.header = header;

        let grew = self.gathered.len().saturating_sub(before) as u64;
        if self.takes && self.size.saturating_add(grew).saturating_add(TAIL) <= self.limit {
            self.size = self.size.saturating_add(grew);
            self.shared.written.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.gathered.truncate(before);
        self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        if std::mem::replace(&mut self.takes, false) {
            self.shared.set(TapState::Full);
            tracing::warn!(bytes = self.size, "the tap's file has its size: it grows no further");
        }
    }

    fn write_out(&mut self) {
        if self.broken || self.gathered.is_empty() {
            self.gathered.clear();
            return;
        }
        let result = self.file.write_all(&self.gathered).and_then(|()| self.file.flush());
        self.gathered.clear();
        if let Err(error) = result {
            self.takes = false;
            self.broken = true;
            tracing::warn!(%error, "the tap's file cannot be written: the tap stops, the server goes on");
            self.shared.set(TapState::Failed(error.to_string()));
        }
    }

    fn finish(mut self) {
        let written = self.shared.written.load(Ordering::Relaxed);
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let now = self.clock.wall_nanos().max(self.last);
        let counters = Statistics {
            time_ns: now,
            start_ns: Some(self.started),
            end_ns: Some(now),
            received: Some(written.saturating_add(dropped)),
            dropped: Some(dropped),
            ..Statistics::default()
        };
        statistics(&mut self.gathered, 0, &counters);
        self.write_out();
        if !self.broken {
            self.shared.set(TapState::Closed);
        }
    }
}

/// Shared bytes, taken off the front in lengths that need not match.
struct Pieces {
    left: std::collections::VecDeque<Bytes>,
}

impl Pieces {
    fn new(pieces: Vec<Bytes>) -> Self {
        Self { left: pieces.into() }
    }

    fn take(&mut self, n: usize) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut want = n;
        while want > 0 {
            let Some(mut front) = self.left.pop_front() else { break };
            if front.len() > want {
                self.left.push_front(front.split_off(want));
            }
            want = want.saturating_sub(front.len());
            taken.push(front);
        }
        taken
    }
}
