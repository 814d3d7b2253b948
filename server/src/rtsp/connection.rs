//! One RTSP connection: a socket, a session, and what ties them to the hub.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use session::Time;
use session::rtsp::{Action, Input, Output, Reason, Server, ServerConfig};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::describing::Describing;
use super::egress::Egress;
use super::pacer::Pacer;
use super::playing::Playing;
use super::ports::{Packet, Ports, Way, way};
use super::publishing::Publishing;
use crate::budget::Share;
use crate::hub::Took;
use crate::registry::{Client, Outcome};
use crate::server::Shared;
use crate::signal::{DATA, EVICT, ROOM, SHUTDOWN, Signal};
use crate::tap::{self, TapConn};

/// Bytes read at once, into a buffer that all connections of a thread share.
const READ: usize = 16 << 10;
/// Bytes of packets taken from the ring at once.
const TAKE: usize = 128 << 10;
/// Blocks written at once.
const SLICES: usize = 64;
/// Unwritten answers above which nothing more is read: who asks must also listen.
const ANSWERS: usize = 64 << 10;
/// How long the last words may take to leave.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long a peer that was told to go may still talk.
const LINGER: Duration = Duration::from_secs(1);
/// Reports go out this often (RFC 3550 §6.2).
pub(super) const REPORTS: Duration = Duration::from_secs(5);
/// The last packets may be on their way on another port than BYE: it waits for them.
pub(super) const BEFORE_BYE: Duration = Duration::from_millis(200);
/// How long a player may stay after BYE.
const AFTER_BYE: Duration = Duration::from_secs(5);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

pub(super) struct Connection {
    io: TcpStream,
    /// The client's address as the sockets write it.
    pub(super) peer: IpAddr,
    /// Our address, as the client sees it.
    pub(super) local: IpAddr,
    pub(super) remote: SocketAddr,
    pub(super) client: Arc<Client>,
    pub(super) shared: Arc<Shared>,
    pub(super) ports: Arc<Ports>,
    pub(super) seed: u64,
    session: Server,
    pub(super) egress: Egress,
    pacer: Pacer,
    /// When datagrams that wait may leave.
    pace_at: Option<Time>,
    pub(super) playing: Option<Playing>,
    pub(super) publishing: Option<Publishing>,
    pub(super) describing: Option<Describing>,
    pub(super) arrived: mpsc::Receiver<Packet>,
    pub(super) route: Way,
    share: Share,
    tap: Option<TapConn>,
    /// When the session wants to be woken.
    wake: Option<Time>,
    /// When a player that was told BYE has to be gone.
    leave_at: Option<Time>,
    /// Since when the socket has taken nothing although something waits.
    blocked: Option<Time>,
    closing: Option<(Reason, Time)>,
    outcome: Outcome,
}

/// The connection is over.
struct End {
    outcome: Outcome,
    how: tap::How,
}

impl Connection {
    pub fn new(
        io: TcpStream,
        peer: SocketAddr,
        client: Arc<Client>,
        seed: u64,
        shared: Arc<Shared>,
        ports: Arc<Ports>,
        remote: SocketAddr,
    ) -> Self {
        let now = shared.clock.now();
        let local = io.local_addr().ok();
        let tap = local.zip(shared.tap.as_ref());
        let tap = tap.map(|(local, tap)| tap.connection(local, remote, tap::Role::Server));
        let config = ServerConfig {
            peer: Some(peer.ip()),
            session_timeout: shared.config.rtsp.session_timeout,
            ..ServerConfig::default()
        };
        let (route, arrived) = way();
        Self {
            session: Server::new(config, seed, now),
            share: shared.budget.share(Arc::clone(&client.signal)),
            egress: Egress::new(peer),
            io,
            peer: peer.ip(),
            pacer: Pacer::new(now),
            pace_at: None,
            local: local.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |local| local.ip()),
            remote,
            client,
            shared,
            ports,
            seed,
            playing: None,
            publishing: None,
            describing: None,
            arrived,
            route,
            tap,
            wake: None,
            leave_at: None,
            blocked: None,
            closing: None,
            outcome: Outcome::Reset,
        }
    }

    /// Serves the connection to its end.
    pub async fn run(mut self) {
        self.drain(None);
        let End { outcome, how } = self.serve().await;
        self.outcome = outcome;
        self.settle().await;
        if how == tap::How::Ours && SockRef::from(&self.io).shutdown(Shutdown::Write).is_ok() {
            // What the peer still says is thrown away, so that its system does not throw away our last words.
            let _ = tokio::time::timeout(LINGER, self.linger()).await;
        }
        if let Some(tap) = self.tap.take() {
            tap.closed(how);
        }
        tracing::debug!(client = %self.client.id(), remote = %self.remote, outcome = outcome.name(), "ended");
    }

    /// Takes the packets of a publisher that are on their way on its other ports.
    async fn settle(&mut self) {
        let Some(publishing) = self.publishing.as_ref().filter(|p| p.is_udp()) else { return };
        let until = publishing.over_at.unwrap_or_else(|| self.now().after(BEFORE_BYE));
        let until = Instant::from_std(self.shared.clock.instant(until));
        while let Ok(Some(packet)) = tokio::time::timeout_at(until, self.arrived.recv()).await {
            self.datagram(packet);
        }
        self.ended();
    }

    async fn linger(&self) {
        let mut buffer = [0; 1024];
        while self.io.readable().await.is_ok() {
            match self.io.try_read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    pub(super) fn now(&self) -> Time {
        self.shared.clock.now()
    }

    pub(super) fn wall(&self) -> Duration {
        Duration::from_nanos(self.shared.clock.wall_nanos())
    }

    async fn serve(&mut self) -> End {
        loop {
            match self.client.signal.take(DATA | EVICT | SHUTDOWN | ROOM) {
                flags if flags & EVICT != 0 && !self.gives_back() => return self.evicted(),
                flags if flags & SHUTDOWN != 0 => self.leave(),
                _ => {}
            }
            if let Err(end) = self.deadlines() {
                return end;
            }
            self.describe_waiting();
            if let Err(end) = self.write() {
                return end;
            }
            self.send_datagrams().await;
            let empty = self.egress.outbox.is_empty();
            let all = self.egress.is_empty();
            if let Some((reason, _)) = self.closing.as_ref().filter(|_| all) {
                return self.all_said(reason);
            }
            self.account();
            let reads =
                self.closing.is_none() && self.egress.outbox.waiting().0 <= ANSWERS && self.share.may_read();
            let mask = EVICT | SHUTDOWN | ROOM | if all { DATA } else { 0 };
            let interest = match (reads, empty) {
                (true, true) => Some(Interest::READABLE),
                (true, false) => Some(Interest::READABLE | Interest::WRITABLE),
                (false, false) => Some(Interest::WRITABLE),
                (false, true) => None,
            };
            let deadline = self.deadline().map(|at| Instant::from_std(self.shared.clock.instant(at)));
            let packet = tokio::select! {
                ready = self.io.ready(interest.unwrap_or(Interest::READABLE)), if interest.is_some() => {
                    if let Err(error) = ready {
                        return self.broken(&error);
                    }
                    None
                }
                packet = self.arrived.recv() => packet,
                () = raised(&self.client.signal, mask) => None,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => None,
            };
            if let Some(packet) = packet {
                self.datagram(packet);
            }
            if reads && let Err(end) = SCRATCH.with_borrow_mut(|buffer| self.read(buffer)) {
                return end;
            }
        }
    }

    /// Notes what the connection holds of messages and frames that are not complete.
    fn account(&self) {
        let (frames, since) = self.publishing.as_ref().map(Publishing::open).unwrap_or_default();
        let since = since.into_iter().chain(self.session.open_since()).min();
        self.share.hold(self.session.open_bytes().saturating_add(frames), since);
    }

    /// True where a publisher's frames only waited to be lined up: they go on as they are.
    fn gives_back(&mut self) -> bool {
        let now = self.now().as_millis();
        let gives = self.publishing.as_mut().is_some_and(|publishing| publishing.hurry(now));
        if gives {
            self.account();
            self.share.stay();
        }
        gives
    }

    // --- time ---

    fn deadline(&self) -> Option<Time> {
        let reports = [
            self.playing.as_ref().and_then(|p| p.report_at),
            self.publishing.as_ref().and_then(|p| p.report_at),
        ];
        let bye = self.playing.as_ref().and_then(|p| p.bye_at);
        let ingest = self.publishing.as_ref().and_then(Publishing::wake_at).map(Time::from_millis);
        let over = self.publishing.as_ref().and_then(|p| p.over_at);
        let closing = self.closing.as_ref().map(|(_, until)| *until);
        let describing = self.describing.as_ref().map(|d| d.until);
        let all =
            [self.wake, bye, ingest, over, self.leave_at, self.stall(), closing, self.pace_at, describing];
        all.into_iter().chain(reports).flatten().min()
    }

    /// When a socket that takes nothing has done so for too long.
    fn stall(&self) -> Option<Time> {
        self.blocked.map(|since| since.after(self.shared.config.limits.viewer_stall))
    }

    fn deadlines(&mut self) -> Result<(), End> {
        let (now, wall) = (self.now(), self.wall());
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if due(self.stall()) {
            return Err(self.stalled());
        }
        if let Some((reason, _)) = self.closing.as_ref().filter(|(_, until)| *until <= now) {
            return Err(End { outcome: outcome(reason), how: tap::How::ResetByUs });
        }
        if due(self.wake) {
            self.wake = None;
            self.drain(Some(Input::Tick));
        }
        if let Some(playing) = &mut self.playing {
            if due(playing.report_at) {
                playing.report_at = Some(now.after(REPORTS));
                playing.report(wall, &mut self.egress);
            }
            if due(playing.bye_at) {
                playing.bye(wall, &mut self.egress);
                self.leave_at = Some(now.after(AFTER_BYE));
            }
        }
        if let Some(publishing) = &mut self.publishing {
            if due(publishing.wake_at().map(Time::from_millis)) {
                publishing.tick(now.as_millis());
            }
            if due(publishing.report_at) {
                publishing.report_at = Some(now.after(REPORTS));
                let receptions = publishing.report(now.as_millis(), &mut self.egress);
                receptions.into_iter().for_each(|reception| self.client.reported(reception));
            }
        }
        if due(self.publishing.as_ref().and_then(|p| p.over_at)) {
            self.ended();
        }
        if due(self.leave_at) {
            self.leave_at = None;
            self.close(Reason::Done);
        }
        Ok(())
    }

    // --- reading ---

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), End> {
        match self.io.try_read(buffer) {
            Ok(0) => {
                self.drain(Some(Input::Closed));
                Err(End { outcome: Outcome::Done, how: tap::How::Theirs })
            }
            Ok(n) => {
                self.client.received(n);
                let bytes = buffer.get(..n).unwrap_or_default();
                if let Some(tap) = &mut self.tap {
                    tap.received(bytes);
                }
                self.drain(Some(Input::Bytes(bytes)));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// A packet on one of the session's UDP ports.
    fn datagram(&mut self, Packet { track, rtcp, payload, .. }: Packet) {
        // A player's packets on the port of RTP only open a way through translators: they are neither RTP nor RTCP of
        // the session.
        if rtcp || self.publishing.is_some() {
            self.client.received(payload.len());
        }
        // Who opens a way again and again is there, too.
        let opens = !rtcp && self.publishing.is_none();
        if self.packet(track, rtcp, payload) || opens {
            self.drain(Some(Input::Alive));
        }
    }

    // --- writing ---

    /// Writes until nothing waits or the socket is full.
    fn write(&mut self) -> Result<(), End> {
        loop {
            let waits = self.egress.outbox.waiting().1 > 0 || !self.egress.datagrams.is_empty();
            if !waits && self.closing.is_none() {
                self.refill(TAKE);
            }
            if self.egress.outbox.is_empty() {
                self.blocked = None;
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.egress.outbox.slices(&mut slices);
            match self.io.try_write_vectored(slices.get(..used).unwrap_or_default()) {
                Ok(n) if n > 0 => self.wrote(n),
                Ok(_) => return Err(self.broken(&io::ErrorKind::WriteZero.into())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked.get_or_insert(self.shared.clock.now());
                    return Ok(());
                }
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    fn wrote(&mut self, n: usize) {
        self.blocked = None;
        self.client.sent(n);
        let mut pieces = Vec::new();
        self.egress.outbox.advance(n, |bytes| pieces.push(bytes));
        if let Some(tap) = &mut self.tap {
            tap.sent_shared(pieces);
        }
    }

    /// Sends what may leave at the moment, and takes more from the ring when all of it has.
    async fn send_datagrams(&mut self) {
        self.pace_at = None;
        if !self.egress.datagrams.is_empty() {
            // What came into the ring while these waited was not looked at.
            self.client.signal.raise(DATA);
        }
        while let Some(datagram) = self.egress.datagrams.front() {
            let now = self.now();
            if !self.pacer.admit(now, datagram.length()) {
                self.pace_at = Some(self.pacer.next());
                return;
            }
            let Some(datagram) = self.egress.datagrams.pop_front() else { return };
            let to = datagram.to;
            match self.ports.send(self.local, datagram).await {
                Ok(n) => self.client.sent(n),
                Err(error) => {
                    self.shared.log("datagram", |kept| {
                        tracing::warn!(%to, %error, kept, "a packet could not be sent");
                    });
                }
            }
        }
    }

    /// Takes what is new in the ring.
    fn refill(&mut self, limit: usize) {
        let (now, wall) = (self.now(), self.wall());
        while let Some(playing) = self.playing.as_mut().filter(|p| p.viewer.is_some() && p.bye_at.is_none()) {
            let took = playing.take(limit, wall, &mut self.egress);
            let made = self.egress.datagrams.iter().fold(0usize, |n, d| n.saturating_add(d.length()));
            self.pacer.made(now, made);
            let dropped = playing.newly_dropped();
            if took == Took::Ended {
                let wait = if playing.is_udp() { BEFORE_BYE } else { Duration::ZERO };
                playing.bye_at = Some(now.after(wait));
            }
            if dropped > 0 {
                self.left_out(dropped);
            }
            // Datagrams wait nowhere: more of them are made when these are gone.
            if matches!(took, Took::All | Took::Some | Took::Ended) {
                if took == Took::Some && !self.egress.datagrams.is_empty() {
                    self.client.signal.raise(DATA);
                }
                return;
            }
        }
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
                    Output::Send(bytes) => self.egress.outbox.push_control(bytes),
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
        if self.closing.is_some() {
            return;
        }
        self.refill(usize::MAX);
        self.drain(Some(Input::Do(Action::Shutdown)));
    }

    fn close(&mut self, reason: Reason) {
        let wall = self.wall();
        if let Some(playing) = self.playing.as_mut().filter(|p| p.viewer.is_some()) {
            playing.bye(wall, &mut self.egress);
        }
        self.part_over();
        self.log_close(&reason);
        if self.closing.is_none() {
            self.closing = Some((reason, self.now().after(LAST_WORDS)));
        }
    }

    fn all_said(&self, reason: &Reason) -> End {
        let how = match reason {
            Reason::PeerClosed => tap::How::Theirs,
            _ => tap::How::Ours,
        };
        End { outcome: outcome(reason), how }
    }

    fn broken(&self, error: &io::Error) -> End {
        let how = match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => tap::How::ResetByThem,
            _ => tap::How::ResetByUs,
        };
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
        self.log_eviction();
        End { outcome: Outcome::Evicted, how: tap::How::ResetByUs }
    }
}

/// Waits until a flag of `mask` is up.
async fn raised(signal: &Signal, mask: u32) {
    poll_fn(|cx| if signal.park(mask, cx.waker()) { Poll::Pending } else { Poll::Ready(()) }).await;
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
        self.ended();
        self.shared.registry.end(&self.client, self.outcome, self.shared.clock.now());
    }
}
