//! The tap: a capture of what the sockets really carried, without any right to sniff.
//!
//! Payload, direction, order and times are real; Ethernet, IP, TCP and UDP headers are made up from the addresses,
//! and the section header says so. The hot path hands records to a writer thread through a bounded queue and
//! never waits: where the queue is full of bytes packets lose their payload (their lengths stay true), where it
//! is full of records they are counted as dropped in the interface statistics block.

mod packet;
mod writer;

use std::io::IoSlice;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;

use crate::clock::Clock;
use crate::config::TapConfig;
use packet::{Datagram, MAX_SEGMENT, Segment, flag, later};

/// Payload bytes that may wait for the writer.
const QUEUE_BYTES: usize = 32 << 20;
/// Records that may wait for the writer.
const QUEUE_RECORDS: usize = 16_384;

/// Which end of the connection the tapped socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The other side opened the connection.
    Server,
    /// The tapped side opened the connection.
    Client,
}

/// How a tapped connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The tapped side closed first.
    Ours,
    /// The other side closed first.
    Theirs,
    /// The tapped side gave up on it.
    ResetByUs,
    /// The other side broke it.
    ResetByThem,
}

/// What the tap is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TapState {
    /// Packets are written.
    Writing,
    /// The file has its size; what comes now is counted as dropped.
    Full,
    /// The file could not be written; what comes now is lost. The system's reason.
    Failed(String),
    /// Closed in good order.
    Closed,
}

/// Counters of the tap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapCounts {
    /// Packets in the file.
    pub written: u64,
    /// Packets of which the file holds no payload, since the queue was full.
    pub cut: u64,
    /// Packets that are not in the file.
    pub dropped: u64,
}

/// A capture file that connections write to. Clones write to the same file.
#[derive(Clone, Debug)]
pub struct Tap {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    file: PathBuf,
    queue: Mutex<Option<SyncSender<Record>>>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    connections: AtomicU64,
}

/// What the hot path and the writer share.
#[derive(Debug)]
struct Shared {
    state: Mutex<TapState>,
    closing: AtomicBool,
    queued: AtomicUsize,
    written: AtomicU64,
    cut: AtomicU64,
    dropped: AtomicU64,
}

impl Shared {
    fn set(&self, state: TapState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn state(&self) -> TapState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the writer makes one or more packets of.
#[derive(Debug)]
struct Record {
    /// Nanoseconds since 1970.
    time: u64,
    layer: Layer,
    /// Payload bytes on the wire.
    length: usize,
    /// The payload; empty where it was cut, or where there is none.
    payload: Vec<Bytes>,
}

/// What is said above IP.
#[derive(Debug)]
enum Layer {
    Tcp {
        segment: Segment,
        /// Whether the other side acknowledges it at once.
        acked: bool,
    },
    Udp(Datagram),
}

impl Record {
    /// Packets it makes.
    fn packets(&self) -> u64 {
        match self.layer {
            Layer::Tcp { acked, .. } => {
                let segments = self.length.div_ceil(MAX_SEGMENT).max(1) as u64;
                segments.saturating_add(u64::from(acked))
            }
            Layer::Udp(_) => 1,
        }
    }

    fn held(&self) -> usize {
        self.payload.iter().fold(0, |n, p| n.saturating_add(p.len()))
    }
}

impl Tap {
    /// Creates the file and starts its writer.
    pub fn create(config: &TapConfig, clock: Clock) -> std::io::Result<Self> {
        let file = std::fs::File::create(&config.file)?;
        Self::to(Box::new(file), config, clock, QUEUE_RECORDS)
    }

    fn to(
        file: Box<dyn std::io::Write + Send>,
        config: &TapConfig,
        clock: Clock,
        records: usize,
    ) -> std::io::Result<Self> {
        let (queue, arrivals) = sync_channel(records);
        let shared = Arc::new(Shared {
            state: Mutex::new(TapState::Writing),
            closing: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let writer = writer::Writer::new(file, config, clock, Arc::clone(&shared));
        let thread =
            std::thread::Builder::new().name("tap".to_owned()).spawn(move || writer.run(&arrivals))?;
        Ok(Self {
            inner: Arc::new(Inner {
                clock,
                file: config.file.clone(),
                queue: Mutex::new(Some(queue)),
                shared,
                thread: Mutex::new(Some(thread)),
                connections: AtomicU64::new(0),
            }),
        })
    }

    /// The file that is written.
    pub fn file(&self) -> &PathBuf {
        &self.inner.file
    }

    /// What the tap is doing.
    pub fn state(&self) -> TapState {
        self.inner.shared.state()
    }

    /// Packets so far.
    pub fn counts(&self) -> TapCounts {
        let shared = &self.inner.shared;
        TapCounts {
            written: shared.written.load(Ordering::Relaxed),
            cut: shared.cut.load(Ordering::Relaxed),
            dropped: shared.dropped.load(Ordering::Relaxed),
        }
    }

    /// Writes a connection's opening and taps it from here on. `local` is the tapped socket's own address.
    pub fn connection(&self, local: SocketAddr, remote: SocketAddr, role: Role) -> TapConn {
        let number = self.inner.connections.fetch_add(1, Ordering::Relaxed);
        // Initial sequence numbers differ, so that a port used again does not look like a retransmission.
        let isn = u32::try_from(number & 0xffff_ffff).unwrap_or(0).wrapping_mul(0x9e37_79b9);
        let mut tapped = TapConn {
            line: self.line(),
            local: canonical(local),
            remote: canonical(remote),
            role,
            ours: isn,
            theirs: isn ^ 0x5555_5555,
            ended: false,
        };
        tapped.open();
        tapped
    }

    /// Taps a UDP socket.
    pub fn datagrams(&self, role: Role) -> TapUdp {
        TapUdp { line: self.line(), role }
    }

    fn line(&self) -> Line {
        Line {
            clock: self.inner.clock,
            queue: self.inner.queue.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            shared: Arc::clone(&self.inner.shared),
        }
    }

    /// Writes what is queued, then the statistics, and closes the file. Connections that are still tapped end
    /// without a word. Blocks until it is done.
    pub fn close(&self) {
        drop(self.inner.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.inner.shared.closing.store(true, Ordering::SeqCst);
        let thread = self.inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// IPv4 addresses that a socket for both versions shows in IPv6 form, as the IPv4 they are on the wire.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The way to the writer.
#[derive(Clone, Debug)]
struct Line {
    clock: Clock,
    /// `None` where the tap was closed before.
    queue: Option<SyncSender<Record>>,
    shared: Arc<Shared>,
}

impl Line {
    fn record(&self, layer: Layer, length: usize, payload: Vec<Bytes>) {
        let Some(queue) = &self.queue else { return };
        let mut record = Record { time: self.clock.wall_nanos(), layer, length, payload };
        let mut held = record.held();
        let before = self.shared.queued.fetch_add(held, Ordering::Relaxed);
        if before.saturating_add(held) > QUEUE_BYTES {
            self.shared.queued.fetch_sub(held, Ordering::Relaxed);
            record.payload = Vec::new();
            held = 0;
        }
        let packets = record.packets();
        if queue.try_send(record).is_err() {
            self.shared.queued.fetch_sub(held, Ordering::Relaxed);
            self.shared.dropped.fetch_add(packets, Ordering::Relaxed);
        }
    }
}

/// One tapped UDP socket. Clones tap the same one.
#[derive(Clone, Debug)]
pub struct TapUdp {
    line: Line,
    role: Role,
}

impl TapUdp {
    /// Notes a datagram the socket took; its pieces are shared, not copied. `local` is the address it left from.
    pub fn sent(&self, local: SocketAddr, remote: SocketAddr, pieces: Vec<Bytes>) {
        self.datagram(local, remote, self.role == Role::Client, pieces);
    }

    /// Notes a datagram that was read from the socket, addressed to `local`.
    pub fn received(&self, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        let pieces = vec![Bytes::copy_from_slice(bytes)];
        self.datagram(remote, local, self.role == Role::Server, pieces);
    }

    fn datagram(&self, from: SocketAddr, to: SocketAddr, from_opener: bool, pieces: Vec<Bytes>) {
        let length = pieces.iter().fold(0usize, |n, p| n.saturating_add(p.len()));
        let datagram = Datagram { from: canonical(from), to: canonical(to), from_opener };
        self.line.record(Layer::Udp(datagram), length, pieces);
    }
}

/// One tapped connection. Dropping it without [`closed`](Self::closed) reads as giving up on it.
#[derive(Debug)]
pub struct TapConn {
    line: Line,
    local: SocketAddr,
    remote: SocketAddr,
    role: Role,
    /// The tapped side's next sequence number.
    ours: u32,
    /// The other side's next sequence number.
    theirs: u32,
    ended: bool,
}

/// Who sends a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Us,
    Them,
}

impl By {
    fn other(self) -> Self {
        match self {
            Self::Us => Self::Them,
            Self::Them => Self::Us,
        }
    }
}

impl TapConn {
    /// Notes the first `n` bytes of `slices`, which the socket took.
    pub fn sent(&mut self, slices: &[IoSlice<'_>], n: usize) {
        let mut left = n;
        let mut copy = Vec::with_capacity(n);
        for slice in slices {
            let piece = slice.get(..left.min(slice.len())).unwrap_or_default();
            copy.extend_from_slice(piece);
            left = left.saturating_sub(piece.len());
        }
        self.sent_shared(vec![Bytes::from(copy)]);
    }

    /// Notes bytes the socket took at once; they are shared, not copied.
    pub fn sent_shared(&mut self, pieces: Vec<Bytes>) {
        self.data(By::Us, pieces);
    }

    /// Notes bytes that were read from the socket.
    pub fn received(&mut self, bytes: &[u8]) {
        self.data(By::Them, vec![Bytes::copy_from_slice(bytes)]);
    }

    /// Notes how the connection ended; nothing can follow.
    pub fn closed(mut self, how: How) {
        self.end(how);
    }

    fn open(&mut self) {
        let opener = match self.role {
            Role::Server => By::Them,
            Role::Client => By::Us,
        };
        self.segment(opener, flag::SYN);
        self.count(opener, 1);
        self.segment(opener.other(), flag::SYN | flag::ACK);
        self.count(opener.other(), 1);
        self.segment(opener, flag::ACK);
    }

    fn end(&mut self, how: How) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        match how {
            How::ResetByUs => self.segment(By::Us, flag::RST | flag::ACK),
            How::ResetByThem => self.segment(By::Them, flag::RST | flag::ACK),
            How::Ours | How::Theirs => {
                let first = if how == How::Ours { By::Us } else { By::Them };
                self.segment(first, flag::FIN | flag::ACK);
                self.count(first, 1);
                self.segment(first.other(), flag::FIN | flag::ACK);
                self.count(first.other(), 1);
                self.segment(first, flag::ACK);
            }
        }
    }

    fn data(&mut self, by: By, payload: Vec<Bytes>) {
        let length = payload.iter().fold(0usize, |n, p| n.saturating_add(p.len()));
        if length == 0 || self.ended {
            return;
        }
        let segment = self.next(by, flag::PSH | flag::ACK);
        self.count(by, length);
        self.line.record(Layer::Tcp { segment, acked: true }, length, payload);
    }

    fn segment(&mut self, by: By, flags: u8) {
        let segment = self.next(by, flags);
        self.line.record(Layer::Tcp { segment, acked: false }, 0, Vec::new());
    }

    fn next(&self, by: By, flags: u8) -> Segment {
        let (from, to, seq, ack) = match by {
            By::Us => (self.local, self.remote, self.ours, self.theirs),
            By::Them => (self.remote, self.local, self.theirs, self.ours),
        };
        let from_opener = (by == By::Us) == (self.role == Role::Client);
        let ack = if flags & flag::ACK == 0 { 0 } else { ack };
        Segment { from, to, from_opener, seq, ack, flags }
    }

    fn count(&mut self, by: By, length: usize) {
        let seq = if by == By::Us { &mut self.ours } else { &mut self.theirs };
        *seq = later(*seq, length);
    }
}

impl Drop for TapConn {
    fn drop(&mut self) {
        self.end(How::ResetByUs);
    }
}

#[cfg(test)]
mod tests;
