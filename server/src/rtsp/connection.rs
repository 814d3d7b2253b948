//! One RTSP connection: a socket, a session, and what ties them to the hub.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use model::Protocol;
use session::Time;
use session::rtsp::{Action, Input, Output, Reason, Server, ServerConfig};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::describing::Describing;
use super::egress::Egress;
use super::pacer::Pacer;
use super::playing::Playing;
use super::ports::{Packet, Ports, Way, way};
use super::publishing::Publishing;
use super::roaming::{Roaming, answered};
use super::spread::Spread;
use crate::driver::{Accepting, End, Link, TAKE, raised, scratch};
use crate::fault::rtsp::Breaker;
use crate::hub::Took;
use crate::signal::{DATA, EVICT, ROOM, SHUTDOWN};

/// Bytes read at once.
const READ: usize = 16 << 10;
/// The last packets may be on their way on another port than BYE: it waits for them.
pub(super) const BEFORE_BYE: Duration = Duration::from_millis(200);
/// How long a player may stay after BYE.
const AFTER_BYE: Duration = Duration::from_secs(5);

/// Serves connections until that is over.
pub(crate) async fn listen(accepting: Accepting, ports: Arc<Ports>) {
    accepting.clients(Protocol::Rtsp, |link| Connection::new(link, Arc::clone(&ports)).run()).await;
}

pub(super) struct Connection {
    pub(super) link: Link,
    pub(super) ports: Arc<Ports>,
    pub(super) session: Server,
    pub(super) roaming: Roaming,
    pub(super) egress: Egress,
    pacer: Pacer,
    /// When datagrams that wait may leave.
    pace_at: Option<Time>,
    pub(super) playing: Option<Playing>,
    pub(super) publishing: Option<Publishing>,
    pub(super) describing: Option<Describing>,
    /// Until when a PLAY waits for the first frame.
    pub(super) starting: Option<Time>,
    pub(super) arrived: mpsc::Receiver<Packet>,
    pub(super) route: Way,
    spread: Spread,
    /// When the session wants to be woken.
    wake: Option<Time>,
    /// When a player that was told BYE has to be gone, unless it ends its session before.
    pub(super) leave_at: Option<Time>,
}

impl Connection {
    fn new(link: Link, ports: Arc<Ports>) -> Self {
        let now = link.now();
        let config = ServerConfig {
            peer: Some(link.peer.ip()),
            session_timeout: link.shared.config.rtsp.session_timeout,
            ..ServerConfig::default()
        };
        let (route, arrived) = way();
        Self {
            session: Server::new(config, link.seed, now),
            roaming: Roaming::new(),
            egress: Egress::new(link.peer, Breaker::new(&link.shared.config.faults)),
            pacer: Pacer::new(now),
            spread: Spread::new(link.seed),
            link,
            ports,
            pace_at: None,
            playing: None,
            publishing: None,
            describing: None,
            starting: None,
            arrived,
            route,
            wake: None,
            leave_at: None,
        }
    }

    /// Serves the connection to its end.
    async fn run(mut self) {
        self.drain(None);
        let end = self.serve().await;
        self.settle().await;
        self.link.finish(end).await;
    }

    /// Takes the packets of a publisher that are on their way on its other ports.
    async fn settle(&mut self) {
        let Some(publishing) = self.publishing.as_ref().filter(|p| p.is_udp()) else { return };
        let until = publishing.over_at.unwrap_or_else(|| self.link.now().after(BEFORE_BYE));
        let until = Instant::from_std(self.link.shared.clock.instant(until));
        while let Ok(Some(packet)) = tokio::time::timeout_at(until, self.arrived.recv()).await {
            self.datagram(packet);
        }
        self.ended();
    }

    pub(super) fn wall(&self) -> Duration {
        Duration::from_nanos(self.link.shared.clock.wall_nanos())
    }

    async fn serve(&mut self) -> End {
        loop {
            match self.link.client.signal.take(DATA | EVICT | SHUTDOWN | ROOM) {
                flags if flags & EVICT != 0 && !self.gives_back() => {
                    return self.link.evicted(self.open().0);
                }
                flags if flags & SHUTDOWN != 0 => self.leave(),
                _ => {}
            }
            if let Err(end) = self.deadlines() {
                return end;
            }
            self.describe_waiting();
            if let Some(answer) = self.started() {
                self.drain(Some(Input::Do(answer)));
            }
            if let Err(end) = poll_fn(|cx| Poll::Ready(self.write(cx))).await {
                return end;
            }
            self.send_datagrams().await;
            let all = self.egress.is_empty();
            if let Some((_, end)) = self.link.all_said().filter(|_| all) {
                return end;
            }
            self.account();
            let held = self.publishing.as_ref().is_some_and(|p| !p.may_go_on(&self.link.client.signal));
            let reads = !held && !self.roaming.detached && self.link.may_read(&self.egress.outbox);
            let writes = !self.egress.outbox.is_empty();
            let mask = EVICT | SHUTDOWN | ROOM | if all { DATA } else { 0 };
            let deadline = self.deadline().map(|at| Instant::from_std(self.link.shared.clock.instant(at)));
            let packet = tokio::select! {
                ready = self.link.ready(reads, writes) => match ready {
                    Ok(()) => None,
                    Err(end) => return end,
                },
                packet = self.arrived.recv() => packet,
                Some(relayed) = self.roaming.relayed.recv() => {
                    self.relayed(relayed);
                    continue;
                }
                answer = answered(&mut self.roaming.asked) => {
                    self.heard_elsewhere(answer);
                    continue;
                }
                () = raised(&self.link.client.signal, mask) => None,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => None,
            };
            if let Some(packet) = packet {
                self.datagram(packet);
            }
            if reads && let Err(end) = poll_fn(|cx| Poll::Ready(self.read(cx))).await {
                return end;
            }
        }
    }

    /// Bytes of messages and frames that are not complete, and since when.
    fn open(&self) -> (usize, Option<Time>) {
        let (frames, since) = self.publishing.as_ref().map(Publishing::open).unwrap_or_default();
        let since = since.into_iter().chain(self.session.open_since()).min();
        (self.session.open_bytes().saturating_add(frames), since)
    }

    /// Notes them in the common budget.
    fn account(&self) {
        let (bytes, since) = self.open();
        self.link.share.hold(bytes, since);
    }

    /// True where a publisher's frames only waited to be lined up: they go on as they are.
    fn gives_back(&mut self) -> bool {
        let now = self.link.now().as_millis();
        let gives = self.publishing.as_mut().is_some_and(|publishing| publishing.hurry(now));
        if gives {
            self.account();
            self.link.share.stay();
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
        let describing = self.describing.as_ref().map(|d| d.until);
        let link = self.link.deadline();
        let all =
            [self.wake, bye, ingest, over, self.leave_at, link, self.pace_at, describing, self.starting];
        all.into_iter().chain(reports).flatten().min()
    }

    fn deadlines(&mut self) -> Result<(), End> {
        self.link.overdue()?;
        let (now, wall) = (self.link.now(), self.wall());
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if due(self.wake) {
            self.wake = None;
            self.drain(Some(Input::Tick));
        }
        if let Some(playing) = &mut self.playing {
            if due(playing.report_at) {
                playing.report_at = Some(self.spread.next(now));
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
                publishing.report_at = Some(self.spread.next(now));
                let receptions = publishing.report(now.as_millis(), &mut self.egress);
                receptions.into_iter().for_each(|reception| self.link.client.reported(reception));
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

    /// When the next reports are due.
    pub(super) fn next_report(&mut self) -> Time {
        self.spread.next(self.link.now())
    }

    // --- reading ---

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        scratch(|buffer| {
            let buffer = buffer.get_mut(..READ).unwrap_or_default();
            let Poll::Ready(read) = self.link.poll_read(cx, buffer) else { return Ok(()) };
            let n = match read {
                Ok(n) if n > 0 => n,
                end => {
                    let end = end.err().unwrap_or(End::THEIRS);
                    return if self.goes_on() { Ok(()) } else { Err(end) };
                }
            };
            self.drain(Some(Input::Bytes(buffer.get(..n).unwrap_or_default())));
            Ok(())
        })
    }

    /// A packet on one of the session's UDP ports.
    fn datagram(&mut self, Packet { track, rtcp, payload, .. }: Packet) {
        // A player's packets on the port of RTP only open a way through translators: they are neither RTP nor RTCP of
        // the session.
        if rtcp || self.publishing.is_some() {
            self.link.client.received(payload.len());
        }
        // Who opens a way again and again is there, too.
        let opens = !rtcp && self.publishing.is_none();
        if self.packet(track, rtcp, payload) || opens {
            self.drain(Some(Input::Alive));
        }
    }

    // --- writing ---

    /// Writes until nothing waits or the socket is full.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            let waits = self.egress.outbox.waiting().1 > 0 || !self.egress.datagrams.is_empty();
            if !waits && self.link.is_open() {
                self.refill(TAKE);
            }
            match self.link.poll_write(cx, &mut self.egress.outbox) {
                Poll::Ready(wrote) => wrote?,
                Poll::Pending => return Ok(()),
            };
        }
    }

    /// Sends what may leave at the moment, and takes more from the ring when all of it has.
    async fn send_datagrams(&mut self) {
        let local = self.link.local.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |local| local.ip());
        self.pace_at = None;
        if !self.egress.datagrams.is_empty() {
            // What came into the ring while these waited was not looked at.
            self.link.client.signal.raise(DATA);
        }
        while let Some(datagram) = self.egress.datagrams.front() {
            let now = self.link.now();
            if !self.pacer.admit(now, datagram.length()) {
                self.pace_at = Some(self.pacer.next());
                return;
            }
            let Some(datagram) = self.egress.datagrams.pop_front() else { return };
            let to = datagram.to;
            match self.ports.send(local, datagram).await {
                Ok(n) => self.link.client.sent(n),
                Err(error) => {
                    self.link.shared.log("datagram", |kept| {
                        tracing::warn!(%to, %error, kept, "a packet could not be sent");
                    });
                }
            }
        }
    }

    /// Takes what is new in the ring.
    fn refill(&mut self, limit: usize) {
        let (now, wall) = (self.link.now(), self.wall());
        let starting = self.starting.is_some();
        let plays = |p: &&mut Playing| !starting && p.viewer.is_some() && p.bye_at.is_none();
        while let Some(playing) = self.playing.as_mut().filter(plays) {
            let took = playing.take(limit, wall, &mut self.egress);
            let made = self.egress.datagrams.iter().fold(0usize, |n, d| n.saturating_add(d.length()));
            self.pacer.made(now, made);
            let dropped = playing.newly_dropped();
            let misfit = playing.misfit();
            if let Some(track) = misfit {
                let (client, path, now) = (self.link.client.id(), &playing.path, &track.description);
                tracing::info!(%client, path, now, "told BYE: a player learns of a changed codec by DESCRIBE only");
            }
            if took == Took::Ended || misfit.is_some() {
                let wait = if playing.is_udp() { BEFORE_BYE } else { Duration::ZERO };
                playing.bye_at = Some(now.after(wait));
            }
            self.link.left_out(dropped);
            // Datagrams wait nowhere: more of them are made when these are gone.
            if matches!(took, Took::All | Took::Some | Took::Ended) || playing.bye_at.is_some() {
                if took == Took::Some && !self.egress.datagrams.is_empty() {
                    self.link.client.signal.raise(DATA);
                }
                return;
            }
        }
    }

    // --- the session ---

    /// Gives the session one input, and does what it says.
    pub(super) fn drain(&mut self, input: Option<Input<'_>>) {
        let now = self.link.now();
        if let Some(input) = input {
            self.session.handle(now, input);
        }
        let mut answers = Vec::new();
        loop {
            while let Some(output) = self.session.poll() {
                match output {
                    Output::Send(bytes) => match self.roaming.asker() {
                        Some(asker) => drop(asker.send(bytes)),
                        None if self.roaming.detached => {}
                        None => self.egress.answer(bytes),
                    },
                    Output::WakeAt(at) => self.wake = Some(at),
                    Output::Event(event) => answers.extend(self.event(event)),
                    Output::Close(reason) => self.close(reason),
                }
            }
            if answers.is_empty() {
                return self.show_session();
            }
            for answer in answers.drain(..) {
                self.session.handle(now, Input::Do(answer));
            }
        }
    }

    // --- the end ---

    /// The server goes: hands out what is in the ring, says goodbye.
    fn leave(&mut self) {
        if !self.link.is_open() {
            return;
        }
        self.refill(usize::MAX);
        self.drain(Some(Input::Do(Action::Shutdown)));
    }

    /// Ends what a player gets, where it gets something.
    pub(super) fn bye(&mut self) {
        let wall = self.wall();
        if let Some(playing) = self.playing.as_mut().filter(|p| p.has_begun()) {
            playing.bye(wall, &mut self.egress);
        }
    }

    fn close(&mut self, reason: Reason) {
        self.bye();
        self.part_over();
        self.link.close(reason);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.hide_session();
        self.ended();
    }
}
