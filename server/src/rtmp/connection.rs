//! One RTMP connection: a socket, a session, and what ties them to the hub.
//!
//! The whole is one hand-written poll function, since a thousand viewers each wake once a picture: no buffer,
//! no timer and no future is held per connection beyond what something waits for.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use session::Time;
use session::rtmp::{Action, Input, Output, Reason, Server};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::form::Form;
use super::outbox::Outbox;
use super::part::{Publishing, Viewing};
use crate::budget::Share;
use crate::hub::{Piece, Took};
use crate::registry::{Client, Outcome};
use crate::server::Shared;
use crate::signal::{DATA, EVICT, ROOM, SHUTDOWN};
use crate::tap::{self, TapConn};
use crate::timer::Timer;

/// Bytes read at once, into a buffer that all connections of a thread share.
const READ: usize = 64 << 10;
/// Bytes given to the session at once: it queues an event for each message in them.
const SLICE: usize = 4 << 10;
/// Bytes of shared blocks taken from the ring at once.
const TAKE: usize = 128 << 10;
/// Blocks written at once.
const SLICES: usize = 64;
/// Unwritten answers above which nothing more is read: who asks must also listen.
const ANSWERS: usize = 64 << 10;
/// How long the last words may take to leave.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long a peer that was told to go may still talk.
const LINGER: Duration = Duration::from_secs(1);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

pub(super) struct Connection {
    io: TcpStream,
    pub(super) remote: SocketAddr,
    pub(super) client: Arc<Client>,
    pub(super) shared: Arc<Shared>,
    session: Server,
    outbox: Outbox,
    pub(super) publishing: Option<Publishing>,
    pub(super) viewing: Option<Viewing>,
    /// What the client will watch once the session has said so.
    pub(super) wanted: Option<Viewing>,
    share: Share,
    tap: Option<TapConn>,
    timer: Timer,
    /// When the session wants to be woken.
    wake: Option<Time>,
    /// Since when the socket has taken nothing although something waits.
    blocked: Option<Time>,
    phase: Phase,
    outcome: Outcome,
}

/// How far a connection is on its way out.
#[derive(Debug)]
enum Phase {
    /// Not on its way out.
    Open,
    /// The last words are being written.
    Saying { reason: Reason, until: Time },
    /// All is said; the peer's last words are thrown away, so that its system does not throw away ours.
    Lingering { until: Time },
}

/// The connection is over.
pub(super) struct End {
    pub outcome: Outcome,
    pub how: tap::How,
}

impl Connection {
    pub fn new(
        io: TcpStream,
        remote: SocketAddr,
        client: Arc<Client>,
        seed: u64,
        shared: Arc<Shared>,
    ) -> Self {
        let now = shared.clock.now();
        let tap = shared.tap.as_ref().and_then(|tap| {
            let local = io.local_addr().ok()?;
            Some(tap.connection(local, remote, tap::Role::Server))
        });
        Self {
            session: Server::new(shared.config.rtmp.session(), seed, now),
            share: shared.budget.share(Arc::clone(&client.signal)),
            io,
            remote,
            client,
            shared,
            outbox: Outbox::default(),
            publishing: None,
            viewing: None,
            wanted: None,
            tap,
            timer: Timer::default(),
            wake: None,
            blocked: None,
            phase: Phase::Open,
            outcome: Outcome::Reset,
        }
    }

    /// Serves the connection to its end.
    pub async fn run(mut self) {
        self.drain(None);
        let End { outcome, how } = poll_fn(|cx| self.poll(cx)).await;
        self.outcome = outcome;
        if let Some(tap) = self.tap.take() {
            tap.closed(how);
        }
        tracing::debug!(client = %self.client.id(), remote = %self.remote, outcome = outcome.name(), "ended");
    }

    pub(super) fn now(&self) -> Time {
        self.shared.clock.now()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            match self.client.signal.take(DATA | EVICT | SHUTDOWN | ROOM) {
                flags if flags & EVICT != 0 => return Poll::Ready(self.evicted()),
                flags if flags & SHUTDOWN != 0 => self.leave(),
                _ => {}
            }
            if let Err(end) = self.deadlines(cx) {
                return Poll::Ready(end);
            }
            if let Poll::Ready(Err(end)) = self.write(cx) {
                return Poll::Ready(end);
            }
            let read = self.read(cx);
            if let Poll::Ready(Err(end)) = read {
                return Poll::Ready(end);
            }
            if read.is_ready() || self.has_answers() {
                continue;
            }
            // The deadline may have changed on the way: arm the timer for the one that holds now.
            if self.timer.is_late(self.deadline()) {
                continue;
            }
            let mut wanted = EVICT | SHUTDOWN | ROOM;
            if self.viewing.is_some() && self.outbox.is_empty() {
                wanted |= DATA;
            }
            if self.client.signal.park(wanted, cx.waker()) {
                return Poll::Pending;
            }
        }
    }

    // --- time ---

    fn deadline(&self) -> Option<Time> {
        let phase = match self.phase {
            Phase::Open => self.wake,
            Phase::Saying { until, .. } | Phase::Lingering { until } => Some(until),
        };
        [self.stall(), phase].into_iter().flatten().min()
    }

    /// When a socket that takes nothing has done so for too long.
    fn stall(&self) -> Option<Time> {
        self.blocked.map(|since| since.after(self.shared.config.limits.viewer_stall))
    }

    fn deadlines(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while self.timer.poll(self.deadline(), &self.shared.clock, cx).is_ready() {
            let now = self.now();
            if self.stall().is_some_and(|at| at <= now) {
                return Err(self.stalled());
            }
            match &self.phase {
                Phase::Open if self.wake.take_if(|at| *at <= now).is_some() => {
                    self.drain(Some(Input::Tick));
                }
                Phase::Saying { reason, until } if *until <= now => {
                    return Err(End { outcome: outcome(reason), how: tap::How::ResetByUs });
                }
                Phase::Lingering { until } if *until <= now => return Err(self.said()),
                _ => {}
            }
        }
        Ok(())
    }

    // --- reading ---

    /// Ready when something was read, pending when there is nothing to read or no wish to.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let (answers, _) = self.outbox.waiting();
        if matches!(self.phase, Phase::Saying { .. }) || answers > ANSWERS || !self.share.may_read() {
            return Poll::Pending;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let result = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
            Poll::Ready(match result {
                Ok(()) if buffer.filled().is_empty() => self.peer_closed(),
                Ok(()) => {
                    self.take(buffer.filled());
                    Ok(())
                }
                Err(error) => Err(self.broken(&error)),
            })
        })
    }

    fn take(&mut self, bytes: &[u8]) {
        self.client.received(bytes.len());
        if let Some(tap) = &mut self.tap {
            tap.received(bytes);
        }
        for slice in bytes.chunks(SLICE) {
            if !matches!(self.phase, Phase::Open) {
                return;
            }
            self.drain(Some(Input::Bytes(slice)));
            self.share.hold(self.session.open_bytes(), self.session.open_since());
        }
        if let Some(publishing) = &mut self.publishing {
            publishing.flush_if_due();
        }
    }

    // --- writing ---

    /// Writes until nothing waits or the socket is full.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            if self.outbox.waiting().1 == 0 {
                self.refill();
            }
            if self.outbox.is_empty() {
                self.blocked = None;
                return match self.phase {
                    Phase::Saying { .. } => Poll::Ready(self.all_said()),
                    _ => Poll::Pending,
                };
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.outbox.slices(&mut slices);
            let slices = slices.get(..used).unwrap_or_default();
            match Pin::new(&mut self.io).poll_write_vectored(cx, slices) {
                Poll::Ready(Ok(n)) if n > 0 => self.wrote(n),
                Poll::Ready(Ok(_)) => return Poll::Ready(Err(self.broken(&io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.broken(&error))),
                Poll::Pending => {
                    if self.blocked.is_none() {
                        self.blocked = Some(self.now());
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn wrote(&mut self, n: usize) {
        self.blocked = None;
        self.client.sent(n);
        let media = match &mut self.tap {
            Some(tap) => {
                let mut pieces = Vec::new();
                let media = self.outbox.advance(n, |bytes| pieces.push(bytes));
                tap.sent_shared(pieces);
                media
            }
            None => self.outbox.advance(n, drop),
        };
        if media > 0 {
            self.drain(Some(Input::Sent(media)));
        }
    }

    /// Takes what is new in the ring.
    fn refill(&mut self) {
        if matches!(self.phase, Phase::Open) {
            self.refill_up_to(TAKE);
        }
    }

    fn refill_up_to(&mut self, limit: usize) {
        while let Some(viewing) = &mut self.viewing {
            let (form, outbox) = (viewing.form, &mut self.outbox);
            let took = viewing.viewer.take(limit, &mut |piece| {
                let block = block(form, &piece);
                let length = block.len();
                outbox.push_media(block);
                length
            });
            let dropped = viewing.newly_dropped();
            if dropped > 0 {
                self.left_out(dropped);
            }
            let stream = form.stream;
            match took {
                Took::Began => self.drain(Some(Input::Do(Action::StreamBegan { stream }))),
                Took::Ended => self.drain(Some(Input::Do(Action::EndOfStream { stream }))),
                Took::All | Took::Some => return,
            }
        }
    }

    fn has_answers(&self) -> bool {
        // What a write or a read made the session say; a full socket says itself when to go on.
        self.blocked.is_none() && !self.outbox.is_empty()
    }

    // --- the session ---

    /// Gives the session one input, and does what it says.
    pub(super) fn drain(&mut self, input: Option<Input<'_>>) {
        let now = self.now();
        if let Some(input) = input {
            self.session.handle(now, input);
        }
        let mut answers = Vec::new();
        loop {
            while let Some(output) = self.session.poll() {
                match output {
                    Output::Send(bytes) => self.outbox.push_control(bytes),
                    Output::WakeAt(at) => self.wake = Some(at),
                    Output::Event(event) => answers.extend(self.event(event)),
                    Output::Close(reason) => self.close(reason),
                }
            }
            if answers.is_empty() {
                return;
            }
            for answer in answers.drain(..) {
                self.session.handle(now, Input::Do(answer));
            }
        }
    }

    /// A viewer's socket holds no more than it has to: what lies in it can be neither skipped nor taken back.
    pub(super) fn bound_socket(&self) {
        let socket = SockRef::from(&self.io);
        let _ = socket.set_send_buffer_size(self.shared.config.rtmp.send_buffer);
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_notsent_lowat(self.shared.config.rtmp.unsent_low_water);
    }

    // --- the end ---

    /// The server goes: hands out what is in the ring, says goodbye.
    fn leave(&mut self) {
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        self.refill_up_to(usize::MAX);
        self.publishing = None;
        self.drain(Some(Input::Do(Action::Shutdown)));
    }

    fn close(&mut self, reason: Reason) {
        self.publishing = None;
        self.viewing = None;
        self.log_close(&reason);
        if matches!(self.phase, Phase::Open) {
            self.phase = Phase::Saying { reason, until: self.now().after(LAST_WORDS) };
        }
    }

    fn all_said(&mut self) -> Result<(), End> {
        let Phase::Saying { reason, .. } = &self.phase else { return Ok(()) };
        let end = End { outcome: outcome(reason), how: tap::How::Ours };
        match reason {
            Reason::PeerClosed => Err(End { how: tap::How::Theirs, ..end }),
            Reason::Protocol(_) => Err(end),
            Reason::Done | Reason::Timeout(_) | Reason::Refused(_) | Reason::Shutdown => {
                self.outcome = end.outcome;
                if SockRef::from(&self.io).shutdown(Shutdown::Write).is_err() {
                    return Err(end);
                }
                self.phase = Phase::Lingering { until: self.now().after(LINGER) };
                Ok(())
            }
        }
    }

    /// The end after lingering.
    fn said(&self) -> End {
        End { outcome: self.outcome, how: tap::How::Ours }
    }

    fn peer_closed(&mut self) -> Result<(), End> {
        if matches!(self.phase, Phase::Lingering { .. }) {
            return Err(self.said());
        }
        self.drain(Some(Input::Closed));
        Err(End { outcome: Outcome::Done, how: tap::How::Theirs })
    }

    fn broken(&mut self, error: &io::Error) -> End {
        let how = match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => tap::How::ResetByThem,
            _ => tap::How::ResetByUs,
        };
        if matches!(self.phase, Phase::Lingering { .. }) {
            return End { how, ..self.said() };
        }
        tracing::info!(client = %self.client.id(), remote = %self.remote, %error, "connection broken");
        End { outcome: Outcome::Reset, how }
    }

    fn stalled(&self) -> End {
        let (id, remote) = (self.client.id(), self.remote);
        let waited = self.shared.config.limits.viewer_stall.as_secs_f64();
        self.shared.log("stalled", |kept| {
            tracing::warn!(client = %id, %remote, waited, kept, "dropped: its socket took nothing any more");
        });
        End { outcome: Outcome::Stalled, how: tap::How::ResetByUs }
    }

    fn evicted(&self) -> End {
        let (id, remote, held) = (self.client.id(), self.remote, self.session.open_bytes());
        let (at, limit) = (self.client.bytes_in(), self.shared.config.limits.open_messages);
        self.shared.log("evicted", |kept| {
            tracing::warn!(
                client = %id, %remote, at, held, limit, kept,
                "closed: of all incomplete messages, which together are over their limit, its is the oldest"
            );
        });
        End { outcome: Outcome::Evicted, how: tap::How::ResetByUs }
    }
}

fn block(form: Form, piece: &Piece<'_>) -> bytes::Bytes {
    match piece {
        Piece::Frame(item) => item.forms.block(item, form),
        Piece::Metadata(amf0, timestamp) => form.metadata(amf0, *timestamp),
        Piece::Track(track, timestamp) => form.configuration(track, *timestamp).unwrap_or_default(),
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

impl Drop for Connection {
    /// Also where the task is thrown away: nobody stays in the registry who is not there.
    fn drop(&mut self) {
        self.publishing = None;
        self.viewing = None;
        self.shared.registry.end(&self.client, self.outcome, self.shared.clock.now());
    }
}
