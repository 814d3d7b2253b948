//! A client's TCP connection, from its first byte to its end.
//!
//! A session says what to send and when it is over; the link does it, and keeps the accounts: bytes, the tap, the common
//! budget, the registry. The same for all protocols that are sessions.

use std::cell::RefCell;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use model::{Protocol, Role};
use session::Time;
use session::rtmp::Reason;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::outbox::Outbox;
use crate::address::canonical;
use crate::budget::Share;
use crate::hub::{Busy, Publisher, PublisherSnapshot, Stream, Viewer};
use crate::registry::{Client, Outcome};
use crate::shared::Shared;
use crate::signal::{EVICT, Signal};
use crate::tap::{self, How, TapConn};

/// Bytes read at once, into a buffer that all connections of a thread share.
const READ: usize = 64 << 10;
/// Bytes given to a session at once: it queues an event for each message in them.
pub(crate) const SLICE: usize = 4 << 10;
/// Bytes of shared blocks taken from the ring at once.
pub(crate) const TAKE: usize = 128 << 10;
/// Blocks written at once.
const SLICES: usize = 64;
/// Unwritten answers above which nothing more is read: who asks must also listen.
const ANSWERS: usize = 64 << 10;
/// How long the last words may take to leave.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long a peer that was told to go may still talk.
const LINGER: Duration = Duration::from_secs(1);
/// Sent bytes that stay unacknowledged for so long mean that the peer is gone (RFC 5482).
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// A peer that says nothing is asked after this time whether it still exists, and then this often.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// Lends the thread's buffer.
pub(crate) fn scratch<R>(f: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|buffer| f(buffer))
}

/// Waits until a flag of `mask` is up.
pub(crate) async fn raised(signal: &Signal, mask: u32) {
    poll_fn(|cx| if signal.park(mask, cx.waker()) { Poll::Pending } else { Poll::Ready(()) }).await;
}

/// The connection is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    outcome: Outcome,
    how: How,
    /// Whether the peer's last words are thrown away first, so that its system does not throw away ours.
    lingers: bool,
}

impl End {
    /// The peer closed.
    pub const THEIRS: Self = Self { outcome: Outcome::Done, how: How::Theirs, lingers: false };

    /// The same without waiting for anything.
    pub fn at_once(self) -> Self {
        Self { lingers: false, ..self }
    }

    /// We close without another word.
    const fn reset(outcome: Outcome) -> Self {
        Self { outcome, how: How::ResetByUs, lingers: false }
    }
}

pub(crate) struct Link {
    io: TcpStream,
    /// The client's address as the sockets write it.
    pub peer: SocketAddr,
    /// The same, an IPv4 address as such.
    pub remote: SocketAddr,
    /// Our address, as the client sees it.
    pub local: Option<SocketAddr>,
    /// For what must not be guessed.
    pub seed: u64,
    pub client: Arc<Client>,
    pub shared: Arc<Shared>,
    pub share: Share,
    tap: Option<TapConn>,
    /// Since when the socket has taken nothing although something waits.
    blocked: Option<Time>,
    /// Why the connection is on its way out, and how long its last words may take.
    closing: Option<(Reason, Time)>,
    outcome: Outcome,
}

impl Link {
    /// A connection that was just taken: a client from now on.
    pub fn open(
        io: TcpStream,
        peer: SocketAddr,
        protocol: Protocol,
        seeds: &RandomState,
        shared: &Arc<Shared>,
    ) -> Self {
        // Without these the connection works all the same.
        let _ = io.set_nodelay(true);
        let socket = SockRef::from(&io);
        let (idle, interval, probes) = KEEPALIVE;
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes);
        let _ = socket.set_tcp_keepalive(&keepalive);
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));

        let remote = canonical(peer);
        let local = io.local_addr().ok();
        let tap = local.zip(shared.tap.as_ref());
        let client = shared.registry.connect(protocol, remote, shared.clock.now());
        Self {
            io,
            peer,
            remote,
            local,
            seed: seeds.hash_one(client.id()),
            share: shared.budget.share(Arc::clone(&client.signal)),
            client,
            shared: Arc::clone(shared),
            tap: tap.map(|(local, tap)| tap.connection(local, remote, tap::Role::Server)),
            blocked: None,
            closing: None,
            outcome: Outcome::Reset,
        }
    }

    pub fn now(&self) -> Time {
        self.shared.clock.now()
    }

    // --- time ---

    /// When [`overdue`](Self::overdue) has something to say.
    pub fn deadline(&self) -> Option<Time> {
        let closing = self.closing.as_ref().map(|(_, until)| *until);
        [self.stall(), closing].into_iter().flatten().min()
    }

    /// When a socket that takes nothing has done so for too long.
    fn stall(&self) -> Option<Time> {
        self.blocked.map(|since| since.after(self.shared.config.limits.viewer_stall))
    }

    /// An error where the socket takes nothing any more, or its last words took too long.
    pub fn overdue(&self) -> Result<(), End> {
        let now = self.now();
        if self.stall().is_some_and(|at| at <= now) {
            return Err(self.stalled());
        }
        match &self.closing {
            Some((reason, until)) if *until <= now => Err(End::reset(outcome(reason))),
            _ => Ok(()),
        }
    }

    // --- the socket ---

    /// True where the peer may say more.
    pub fn may_read(&self, outbox: &Outbox) -> bool {
        let (answers, _) = outbox.waiting();
        self.is_open() && answers <= ANSWERS && self.share.may_read()
    }

    /// Reads what there is; 0 bytes where the peer has closed.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, End>> {
        let read = ready!(self.poll_receive(cx, buffer));
        Poll::Ready(read.map_err(|error| self.broken(&error)))
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        let bytes = buffer.filled();
        self.client.received(bytes.len());
        if let Some(tap) = self.tap.as_mut().filter(|_| !bytes.is_empty()) {
            tap.received(bytes);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    /// Writes once; returns how many bytes of media the socket took.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, outbox: &mut Outbox) -> Poll<Result<u64, End>> {
        if outbox.is_empty() {
            self.blocked = None;
            return Poll::Pending;
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let used = outbox.slices(&mut slices);
        let slices = slices.get(..used).unwrap_or_default();
        Poll::Ready(match Pin::new(&mut self.io).poll_write_vectored(cx, slices) {
            Poll::Ready(Ok(n)) if n > 0 => Ok(self.wrote(n, outbox)),
            Poll::Ready(Ok(_)) => Err(self.broken(&io::ErrorKind::WriteZero.into())),
            Poll::Ready(Err(error)) => Err(self.broken(&error)),
            Poll::Pending => {
                self.blocked.get_or_insert(self.shared.clock.now());
                return Poll::Pending;
            }
        })
    }

    fn wrote(&mut self, n: usize, outbox: &mut Outbox) -> u64 {
        self.blocked = None;
        self.client.sent(n);
        let Some(tap) = &mut self.tap else { return outbox.advance(n, drop) };
        let mut pieces = Vec::new();
        let media = outbox.advance(n, |bytes| pieces.push(bytes));
        tap.sent_shared(pieces);
        media
    }

    /// True where the socket takes nothing at the moment although something waits.
    pub fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Waits until the socket can be read or written, as far as that is wanted; for ever where nothing is.
    pub async fn ready(&self, reads: bool, writes: bool) -> Result<(), End> {
        let interest = match (reads, writes) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (true, false) => Interest::READABLE,
            (false, true) => Interest::WRITABLE,
            (false, false) => return std::future::pending().await,
        };
        self.io.ready(interest).await.map(|_| ()).map_err(|error| self.broken(&error))
    }

    // --- what the client wants ---

    /// Makes the client the publisher of `path`; none where that has one.
    pub fn publish(&self, path: &str) -> Option<Publisher> {
        let who = PublisherSnapshot {
            id: self.client.id(),
            protocol: self.client.protocol(),
            address: self.remote,
        };
        match self.shared.hub.publish(path, who, self.now()) {
            Ok(publisher) => {
                self.takes_part(Role::Publisher, publisher.stream());
                tracing::info!(client = %self.client.id(), remote = %self.remote, path, "publishes");
                Some(publisher)
            }
            Err(Busy(holder)) => {
                let remote = self.remote;
                self.shared.log("busy", |kept| {
                    tracing::warn!(%remote, path, holder = %holder.address, kept, "publish refused: the path is taken");
                });
                None
            }
        }
    }

    /// Makes the client a viewer of `path`.
    pub fn watch(&self, path: &str) -> Viewer {
        let viewer = self.shared.hub.watch(path, Arc::clone(&self.client.signal));
        self.takes_part(Role::Viewer, viewer.stream());
        tracing::info!(client = %self.client.id(), remote = %self.remote, path, "plays");
        viewer
    }

    fn takes_part(&self, role: Role, stream: &Stream) {
        self.shared.registry.take_part(&self.client, role, stream.path(), &stream.totals);
    }

    /// A viewer's socket holds no more than it has to: what lies in it can be neither skipped nor taken back.
    pub fn bound_socket(&self) {
        let socket = SockRef::from(&self.io);
        let _ = socket.set_send_buffer_size(self.shared.config.rtmp.send_buffer);
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_notsent_lowat(self.shared.config.rtmp.unsent_low_water);
    }

    /// The client did what it must not, and goes on.
    pub fn misbehaved(&self, what: &str) {
        let (client, remote, at) = (self.client.id(), self.remote, self.client.bytes_in());
        self.shared.log("misbehaved", |kept| {
            tracing::warn!(%client, %remote, before_byte = at, what, kept, "a client misbehaved");
        });
    }

    /// A slow viewer lost frames.
    pub fn left_out(&self, frames: u64) {
        if frames == 0 {
            return;
        }
        self.client.dropped(frames);
        let (client, remote) = (self.client.id(), self.remote);
        self.shared.log("slow", |kept| {
            tracing::warn!(%client, %remote, frames, kept, "a viewer takes too little: frames left out for it");
        });
    }

    // --- the end ---

    /// True where the connection is not on its way out.
    pub fn is_open(&self) -> bool {
        self.closing.is_none()
    }

    /// The session is over: what waits is still written.
    pub fn close(&mut self, reason: Reason) {
        self.log_close(&reason);
        if self.closing.is_none() {
            self.closing = Some((reason, self.now().after(LAST_WORDS)));
        }
    }

    fn log_close(&self, reason: &Reason) {
        let (client, remote, at) = (self.client.id(), self.remote, self.client.bytes_in());
        let cause = match reason {
            Reason::Done | Reason::PeerClosed | Reason::Shutdown => {
                return tracing::debug!(%client, %remote, %reason, "closes");
            }
            Reason::Protocol(_) => "protocol",
            Reason::Timeout(what) => what,
            Reason::Refused(_) => "refused",
        };
        self.shared.log(cause, |kept| {
            tracing::warn!(%client, %remote, before_byte = at, %reason, kept, "connection closed");
        });
    }

    /// How a connection on its way out ends once nothing waits any more.
    pub fn all_said(&self) -> Option<(&Reason, End)> {
        let (reason, _) = self.closing.as_ref()?;
        let theirs = matches!(reason, Reason::PeerClosed);
        let how = if theirs { How::Theirs } else { How::Ours };
        Some((reason, End { outcome: outcome(reason), how, lingers: !theirs }))
    }

    fn broken(&self, error: &io::Error) -> End {
        tracing::info!(client = %self.client.id(), remote = %self.remote, %error, "connection broken");
        End { outcome: Outcome::Reset, how: who_broke(error), lingers: false }
    }

    fn stalled(&self) -> End {
        let (id, remote) = (self.client.id(), self.remote);
        let waited = self.shared.config.limits.viewer_stall.as_secs_f64();
        self.shared.log("stalled", |kept| {
            tracing::warn!(client = %id, %remote, waited, kept, "dropped: its socket took nothing any more");
        });
        End::reset(Outcome::Stalled)
    }

    /// The end of one whose incomplete messages, of `held` bytes, were asked back.
    pub fn evicted(&self, held: usize) -> End {
        let (id, remote, at) = (self.client.id(), self.remote, self.client.bytes_in());
        let limit = self.shared.config.limits.open_messages;
        self.shared.log("evicted", |kept| {
            tracing::warn!(
                client = %id, %remote, at, held, limit, kept,
                "closed: of all incomplete messages, which together are over their limit, its is the oldest"
            );
        });
        End::reset(Outcome::Evicted)
    }

    /// Closes the socket in the order that the end asks for.
    pub async fn finish(&mut self, End { outcome, mut how, lingers }: End) {
        self.outcome = outcome;
        if lingers && SockRef::from(&self.io).shutdown(Shutdown::Write).is_ok() {
            let lingering = Box::pin(tokio::time::timeout(LINGER, poll_fn(|cx| self.poll_linger(cx))));
            how = lingering.await.unwrap_or(how);
        }
        if let Some(tap) = self.tap.take() {
            tap.closed(how);
        }
        tracing::debug!(client = %self.client.id(), remote = %self.remote, outcome = outcome.name(), "ended");
    }

    /// Throws away what the peer still says; says how that ended.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<How> {
        loop {
            if self.client.signal.take(EVICT) != 0 {
                return Poll::Ready(How::ResetByUs);
            }
            match scratch(|buffer| self.poll_receive(cx, buffer)) {
                Poll::Ready(Ok(0)) => return Poll::Ready(How::Ours),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(who_broke(&error)),
                Poll::Pending if self.client.signal.park(EVICT, cx.waker()) => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }
}

impl Drop for Link {
    /// Also where the task is thrown away: nobody stays in the registry who is not there.
    fn drop(&mut self) {
        self.shared.registry.end(&self.client, self.outcome, self.shared.clock.now());
    }
}

fn who_broke(error: &io::Error) -> How {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => How::ResetByThem,
        _ => How::ResetByUs,
    }
}

fn outcome(reason: &Reason) -> Outcome {
    match reason {
        Reason::Done | Reason::PeerClosed => Outcome::Done,
        Reason::Protocol(_) => Outcome::Protocol,
        Reason::Timeout(_) => Outcome::Timeout,
        Reason::Refused(_) => Outcome::Refused,
        Reason::Shutdown => Outcome::Shutdown,
    }
}
