//! Who is connected, and how many bytes went over each connection.
//!
//! Counted is transport payload: for TCP every byte that was read from or taken by the socket, handshake
//! included. The hot path adds to two atomics of its own connection; sums are made when somebody asks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Protocol, Role};
use session::Time;

use crate::hub::StreamState;
use crate::rate::{Rate, Rates};
use crate::signal::Signal;
use crate::totals::StreamTotals;

/// How long a client is listed after its end.
pub const LINGER: Duration = Duration::from_secs(60);
/// Clients with metrics of their own at a time.
pub const LISTED: usize = 1_000;
/// Ended clients kept at most, however fast they come and go.
const ENDED: usize = 4_096;
/// Characters kept of what a client says of itself.
const AGENT: usize = 256;

/// The label value of a protocol.
pub fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Rtmp => "rtmp",
        Protocol::Rtsp => "rtsp",
        Protocol::Hls => "hls",
        Protocol::Rtp => "rtp",
        Protocol::MpegTs => "mpegts",
    }
}

/// The label value of a role.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Publisher => "publisher",
        Role::Viewer => "viewer",
        Role::Control => "control",
    }
}

/// How a connection ended; the label `outcome` of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Said goodbye, or closed after it had what it wanted.
    Done,
    /// The connection broke.
    Reset,
    /// Broke the protocol.
    Protocol,
    /// Did not do in time what it had to.
    Timeout,
    /// Wanted what we do not give.
    Refused,
    /// A viewer whose socket took nothing any more.
    Stalled,
    /// Closed to free memory for others.
    Evicted,
    /// The server shut down.
    Shutdown,
}

impl Outcome {
    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Stalled => "stalled",
            Self::Evicted => "evicted",
            Self::Shutdown => "shutdown",
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    number: u64,
    protocol: Protocol,
    address: SocketAddr,
    connected: Time,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    frames_dropped: AtomicU64,
    about: Mutex<About>,
    /// Wakes the connection's task.
    pub signal: Arc<Signal>,
}

#[derive(Debug)]
struct About {
    agent: String,
    part: Option<Part>,
    rate: Rate,
    receptions: Vec<Reception>,
}

/// How a track arrives: at a viewer as its latest receiver report has it, from a publisher as our latest one does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reception {
    /// Video or audio.
    pub kind: media::Kind,
    /// What the report says.
    pub heard: media::rtp::Heard,
    /// Packets that should have come, as far as we counted: only we know how many.
    pub expected: Option<u64>,
}

/// What a client does, once it is known.
#[derive(Clone, Debug)]
struct Part {
    role: Role,
    path: Arc<str>,
    totals: Arc<StreamTotals>,
    listed: bool,
}

impl Client {
    /// `c1`, `c2`, … in the order of connecting.
    pub fn id(&self) -> String {
        format!("c{}", self.number)
    }

    /// What it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Counts bytes read from the socket.
    pub fn received(&self, n: usize) {
        self.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Counts bytes the socket took.
    pub fn sent(&self, n: usize) {
        self.bytes_out.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Bytes read from the socket so far.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Bytes the socket took so far.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// Counts frames that a slow viewer does not get.
    pub fn dropped(&self, frames: u64) {
        self.frames_dropped.fetch_add(frames, Ordering::Relaxed);
    }

    /// What the client says it is; control characters and all beyond 256 characters are left out.
    pub fn name_agent(&self, agent: &str) {
        self.about().agent = agent.chars().filter(|c| !c.is_control()).take(AGENT).collect();
    }

    /// Keeps the latest report of each track.
    pub fn reported(&self, reception: Reception) {
        let mut about = self.about();
        about.receptions.retain(|r| r.kind != reception.kind);
        about.receptions.push(reception);
    }

    fn about(&self) -> MutexGuard<'_, About> {
        self.about.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's numbers at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSnapshot {
    /// The server's id for it: `c1`, `c2`, …
    pub id: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Publisher or viewer.
    pub role: Role,
    /// Address and port of the client.
    pub address: SocketAddr,
    /// Stream path.
    pub path: String,
    /// What it says it is (`flashVer`); empty where it said nothing.
    pub agent: String,
    /// Payload bytes the server received.
    pub bytes_in: u64,
    /// Payload bytes the client's socket took.
    pub bytes_out: u64,
    /// Bits per second received over the last 5 s.
    pub bps_in: u64,
    /// Bits per second sent over the last 5 s.
    pub bps_out: u64,
    /// Frames left out because the client was slow.
    pub frames_dropped: u64,
    /// How its tracks arrive, where it reports that.
    pub receptions: Vec<Reception>,
    /// When it connected.
    pub connected: Time,
    /// When it ended, and how; `None` while it is connected.
    pub ended: Option<(Time, Outcome)>,
    /// False where its metrics are summed under `other`.
    pub listed: bool,
}

impl ClientSnapshot {
    /// Seconds it was connected, up to `now` where it still is.
    pub fn connected_s(&self, now: Time) -> f64 {
        self.ended.map_or(now, |(at, _)| at).since(self.connected).as_secs_f64()
    }
}

/// Payload bytes, in and out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes2 {
    /// Received.
    pub bytes_in: u64,
    /// Sent.
    pub bytes_out: u64,
}

impl Bytes2 {
    fn add(&mut self, bytes_in: u64, bytes_out: u64) {
        self.bytes_in = self.bytes_in.saturating_add(bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(bytes_out);
    }
}

/// Sums over clients, for the metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Connected clients by protocol and role.
    pub clients: BTreeMap<(&'static str, &'static str), u64>,
    /// All bytes by protocol.
    pub bytes: BTreeMap<&'static str, Bytes2>,
    /// Bytes of clients without metrics of their own.
    pub other: BTreeMap<(&'static str, &'static str), Bytes2>,
    /// Frames left out by protocol.
    pub frames_dropped: BTreeMap<&'static str, u64>,
    /// Ended connections by protocol, role (`none` where the client never came to publish or play) and outcome.
    pub sessions: BTreeMap<(&'static str, &'static str, &'static str), u64>,
}

/// A stream's bytes and rates, as far as its clients tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StreamTraffic {
    /// Payload received from its publishers.
    pub bytes_in: u64,
    /// Payload sent to its viewers.
    pub bytes_out: u64,
    /// Bits per second from its publisher over the last 5 s.
    pub bps_in: u64,
    /// Bits per second to its viewers over the last 5 s.
    pub bps_out: u64,
}

/// All connections.
#[derive(Debug, Default)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    live: BTreeMap<u64, Arc<Client>>,
    ended: VecDeque<ClientSnapshot>,
    listed: usize,
    /// Sums over ended clients.
    totals: Totals,
}

impl Registry {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection.
    pub fn connect(&self, protocol: Protocol, address: SocketAddr, now: Time) -> Arc<Client> {
        let mut inner = self.inner();
        inner.last = inner.last.saturating_add(1);
        let client = Arc::new(Client {
            number: inner.last,
            protocol,
            address,
            connected: now,
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            frames_dropped: AtomicU64::new(0),
            about: Mutex::new(About {
                agent: String::new(),
                part: None,
                rate: Rate::new(now),
                receptions: Vec::new(),
            }),
            signal: Arc::default(),
        });
        inner.live.insert(client.number, Arc::clone(&client));
        client
    }

    /// Connections at the moment.
    pub fn connections(&self) -> usize {
        self.inner().live.len()
    }

    /// Every connection.
    pub fn each(&self, mut f: impl FnMut(&Arc<Client>)) {
        let all: Vec<_> = self.inner().live.values().cloned().collect();
        all.iter().for_each(&mut f);
    }

    /// Notes what a client does; the first part it takes is the one it is counted under.
    pub fn take_part(&self, client: &Client, role: Role, path: &Arc<str>, totals: &Arc<StreamTotals>) {
        let mut inner = self.inner();
        let mut about = client.about();
        if about.part.is_none() {
            let listed = inner.listed < LISTED;
            inner.listed = inner.listed.saturating_add(usize::from(listed));
            let (path, totals) = (Arc::clone(path), Arc::clone(totals));
            about.part = Some(Part { role, path, totals, listed });
        }
    }

    /// Takes a connection out, and keeps its numbers for a while.
    pub fn end(&self, client: &Client, outcome: Outcome, now: Time) {
        let mut inner = self.inner();
        if inner.live.remove(&client.number).is_none() {
            return;
        }
        let snapshot = client.snapshot(now);
        let protocol = protocol_name(client.protocol);
        let totals = &mut inner.totals;
        let (bytes_in, bytes_out) = (client.bytes_in(), client.bytes_out());
        totals.bytes.entry(protocol).or_default().add(bytes_in, bytes_out);
        let dropped = client.frames_dropped.load(Ordering::Relaxed);
        let all_dropped = totals.frames_dropped.entry(protocol).or_default();
        *all_dropped = all_dropped.saturating_add(dropped);
        let role = snapshot.as_ref().map_or("none", |s| role_name(s.role));
        let sessions = totals.sessions.entry((protocol, role, outcome.name())).or_default();
        *sessions = sessions.saturating_add(1);

        let Some(mut snapshot) = snapshot else { return };
        if !snapshot.listed {
            totals.other.entry((protocol, role)).or_default().add(bytes_in, bytes_out);
        }
        if let Some(part) = &client.about().part {
            match part.role {
                Role::Publisher => part.totals.bytes_in.fetch_add(bytes_in, Ordering::Relaxed),
                _ => part.totals.bytes_out.fetch_add(bytes_out, Ordering::Relaxed),
            };
        }
        snapshot.ended = Some((now, outcome));
        (snapshot.bps_in, snapshot.bps_out) = (0, 0);
        inner.ended.push_back(snapshot);
        inner.forget(now);
    }

    /// Once a second: notes the byte counts that rates are made from, and forgets who ended long ago.
    pub fn tick(&self, now: Time) {
        let mut inner = self.inner();
        for client in inner.live.values() {
            client.about().rate.note(now, client.bytes_in(), client.bytes_out());
        }
        inner.forget(now);
    }

    /// Clients that publish or play, and those that ended no longer than a minute ago.
    pub fn clients(&self, now: Time) -> Vec<ClientSnapshot> {
        let inner = self.inner();
        let ended = inner.ended.iter().filter(|s| !is_old(s, now)).cloned();
        ended.chain(inner.live.values().filter_map(|c| c.snapshot(now))).collect()
    }

    /// The traffic of each of `streams`: what its ended clients left, and its living ones.
    pub fn traffic(&self, streams: &[StreamState], now: Time) -> Vec<StreamTraffic> {
        // One lock over all of it: a client that ends meanwhile is counted once.
        let inner = self.inner();
        let mut living: HashMap<Arc<str>, StreamTraffic> = HashMap::new();
        for client in inner.live.values() {
            let about = client.about();
            let Some(part) = &about.part else { continue };
            let (bytes_in, bytes_out) = (client.bytes_in(), client.bytes_out());
            let Rates { bps_in, bps_out } = about.rate.over(now, bytes_in, bytes_out);
            let sum = living.entry(Arc::clone(&part.path)).or_default();
            if part.role == Role::Publisher {
                sum.bytes_in = sum.bytes_in.saturating_add(bytes_in);
                sum.bps_in = sum.bps_in.saturating_add(bps_in);
            } else {
                sum.bytes_out = sum.bytes_out.saturating_add(bytes_out);
                sum.bps_out = sum.bps_out.saturating_add(bps_out);
            }
        }
        let sum = |stream: &StreamState| {
            let sum = living.get(&stream.path).copied().unwrap_or_default();
            let StreamTotals { bytes_in, bytes_out } = &*stream.totals;
            StreamTraffic {
                bytes_in: sum.bytes_in.saturating_add(bytes_in.load(Ordering::Relaxed)),
                bytes_out: sum.bytes_out.saturating_add(bytes_out.load(Ordering::Relaxed)),
                ..sum
            }
        };
        streams.iter().map(sum).collect()
    }

    /// The sums of the metrics: ended and living together.
    pub fn totals(&self, now: Time) -> Totals {
        let inner = self.inner();
        let mut totals = inner.totals.clone();
        for client in inner.live.values() {
            let protocol = protocol_name(client.protocol);
            let (bytes_in, bytes_out) = (client.bytes_in(), client.bytes_out());
            totals.bytes.entry(protocol).or_default().add(bytes_in, bytes_out);
            let dropped = totals.frames_dropped.entry(protocol).or_default();
            *dropped = dropped.saturating_add(client.frames_dropped.load(Ordering::Relaxed));
            let Some(snapshot) = client.snapshot(now) else { continue };
            let key = (protocol, role_name(snapshot.role));
            let count = totals.clients.entry(key).or_default();
            *count = count.saturating_add(1);
            if !snapshot.listed {
                totals.other.entry(key).or_default().add(bytes_in, bytes_out);
            }
        }
        totals
    }
}

impl Inner {
    fn forget(&mut self, now: Time) {
        while self.ended.len() > ENDED || self.ended.front().is_some_and(|s| is_old(s, now)) {
            let Some(gone) = self.ended.pop_front() else { return };
            self.listed = self.listed.saturating_sub(usize::from(gone.listed));
        }
    }
}

fn is_old(snapshot: &ClientSnapshot, now: Time) -> bool {
    snapshot.ended.is_some_and(|(at, _)| now.since(at) > LINGER)
}

impl Client {
    /// `None` before the client takes part in a stream.
    fn snapshot(&self, now: Time) -> Option<ClientSnapshot> {
        let about = self.about();
        let part = about.part.as_ref()?;
        let (bytes_in, bytes_out) = (self.bytes_in(), self.bytes_out());
        let Rates { bps_in, bps_out } = about.rate.over(now, bytes_in, bytes_out);
        Some(ClientSnapshot {
            id: self.id(),
            protocol: self.protocol,
            role: part.role,
            address: self.address,
            path: part.path.to_string(),
            agent: about.agent.clone(),
            bytes_in,
            bytes_out,
            bps_in,
            bps_out,
            frames_dropped: self.frames_dropped.load(Ordering::Relaxed),
            receptions: about.receptions.clone(),
            connected: self.connected,
            ended: None,
            listed: part.listed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], n))
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds.saturating_mul(1000))
    }

    fn join(registry: &Registry, role: Role, totals: &Arc<StreamTotals>, now: Time) -> Arc<Client> {
        let client = registry.connect(Protocol::Rtmp, address(7), now);
        registry.take_part(&client, role, &"live/a".into(), totals);
        client
    }

    #[test]
    fn a_client_is_listed_for_a_minute_after_its_end() {
        let (registry, totals) = (Registry::default(), Arc::default());
        let client = join(&registry, Role::Publisher, &totals, at(0));
        client.name_agent(&format!("a\u{7}b{}", "x".repeat(1000)));
        client.received(1000);
        registry.end(&client, Outcome::Reset, at(10));
        registry.end(&client, Outcome::Done, at(11));
        let listed = registry.clients(at(70));
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].ended, Some((at(10), Outcome::Reset)));
        assert_eq!((listed[0].bytes_in, listed[0].agent.len()), (1000, 256));
        assert_eq!(listed[0].connected_s(at(70)), 10.0);
        assert_eq!(registry.clients(at(71)), []);
        let sums = registry.totals(at(71));
        assert_eq!(sums.sessions[&("rtmp", "publisher", "reset")], 1);
        assert_eq!(sums.bytes["rtmp"].bytes_in, 1000);
        assert!(sums.clients.is_empty());
    }

    #[test]
    fn who_takes_no_part_is_counted_and_not_listed() {
        let registry = Registry::default();
        let client = registry.connect(Protocol::Rtmp, address(1), at(0));
        client.received(5);
        assert_eq!(registry.clients(at(0)), []);
        assert_eq!(registry.totals(at(0)).bytes["rtmp"].bytes_in, 5);
        registry.end(&client, Outcome::Protocol, at(1));
        assert_eq!(registry.totals(at(1)).sessions[&("rtmp", "none", "protocol")], 1);
        assert_eq!(registry.connections(), 0);
    }

    #[test]
    fn beyond_a_thousand_the_rest_is_other_and_never_shrinks() {
        let (registry, totals) = (Registry::default(), Arc::default());
        let mut clients: Vec<_> =
            (0..LISTED + 5).map(|_| join(&registry, Role::Viewer, &totals, at(0))).collect();
        clients.iter().for_each(|c| c.sent(10));
        let listed = |now| registry.clients(now).iter().filter(|c| c.listed).count();
        let other = |now| registry.totals(now).other[&("rtmp", "viewer")].bytes_out;
        assert_eq!((listed(at(1)), other(at(1))), (LISTED, 50));
        // The first thousand and two end: of them two were other, and remain in its sum.
        for client in clients.drain(3..) {
            registry.end(&client, Outcome::Done, at(2));
        }
        assert_eq!((listed(at(30)), other(at(30))), (LISTED, 50));
        let next = join(&registry, Role::Viewer, &totals, at(30));
        next.sent(7);
        assert_eq!(other(at(30)), 57, "a minute has to pass before its place is free");
        registry.tick(at(63));
        join(&registry, Role::Viewer, &totals, at(63));
        assert_eq!((listed(at(63)), other(at(63))), (4, 57));
        assert_eq!(registry.totals(at(63)).bytes["rtmp"].bytes_out, (LISTED as u64 + 5) * 10 + 7);
    }

    #[test]
    fn a_stream_keeps_the_bytes_of_those_who_left() {
        let (registry, totals) = (Registry::default(), Arc::<StreamTotals>::default());
        let cam = join(&registry, Role::Publisher, &totals, at(0));
        let eye = join(&registry, Role::Viewer, &totals, at(0));
        cam.received(100);
        cam.sent(9);
        eye.sent(60);
        eye.received(3);
        let stream = StreamState {
            path: "live/a".into(),
            totals,
            publisher: None,
            tracks: Vec::new(),
            expected: Vec::new(),
            viewers: 1,
        };
        let traffic = |now| registry.traffic(std::slice::from_ref(&stream), now)[0];
        let before = traffic(at(2));
        assert_eq!((before.bytes_in, before.bytes_out), (100, 60));
        assert_eq!((before.bps_in, before.bps_out), (400, 240));
        registry.end(&eye, Outcome::Done, at(2));
        let after = traffic(at(2));
        assert_eq!((after.bytes_in, after.bytes_out, after.bps_out), (100, 60, 0));
    }
}
