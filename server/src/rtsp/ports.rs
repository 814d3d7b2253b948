//! The UDP ports for RTP and RTCP, which all sessions share.
//!
//! A packet belongs to the session that named its source at SETUP. Anybody else's is counted, and forgotten.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use socket2::SockRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::roaming::Registry;
use super::socket::Socket;
use crate::address::canonical;
use crate::tap::{Role, Tap, TapUdp};

/// Packets of one session that may wait for its task.
const WAITING: usize = 1024;
/// Bytes of them.
const WAITING_BYTES: usize = 2 << 20;
/// Pairs tried where any will do.
const TRIES: usize = 64;
/// Bytes the kernel may hold of what arrives, for all publishers together.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A packet that arrived for a session.
#[derive(Debug)]
pub(super) struct Packet {
    pub track: usize,
    pub rtcp: bool,
    pub payload: Bytes,
    /// Its part of what may wait, given back when it is taken.
    _room: OwnedSemaphorePermit,
}

/// What became of a packet that arrived.
#[derive(Debug)]
pub(super) enum Handed {
    /// Its session has it.
    Over,
    /// Nobody set up a session with its source; so many of such have come.
    Stranger { from: SocketAddr, strangers: u64 },
    /// Too many wait for its session.
    Full { from: SocketAddr },
}

/// The way of packets to a session's task.
#[derive(Clone, Debug)]
pub(super) struct Way {
    to: mpsc::Sender<Packet>,
    room: Arc<Semaphore>,
}

/// A way for a session, and its end.
pub(super) fn way() -> (Way, mpsc::Receiver<Packet>) {
    let (to, arrived) = mpsc::channel(WAITING);
    (Way { to, room: Arc::new(Semaphore::new(WAITING_BYTES)) }, arrived)
}

impl Way {
    fn is(&self, other: &Self) -> bool {
        self.to.same_channel(&other.to)
    }

    /// False where too much waits already.
    fn send(&self, track: usize, rtcp: bool, payload: &[u8]) -> bool {
        let Ok(length) = u32::try_from(payload.len()) else { return false };
        let Ok(_room) = Arc::clone(&self.room).try_acquire_many_owned(length) else { return false };
        let payload = Bytes::copy_from_slice(payload);
        self.to.try_send(Packet { track, rtcp, payload, _room }).is_ok()
    }
}

/// A packet for UDP: a header of the viewer's own and a payload that is shared.
#[derive(Debug)]
pub(super) struct Datagram {
    pub rtcp: bool,
    pub to: SocketAddr,
    pub head: Bytes,
    pub payload: Bytes,
}

impl Datagram {
    /// Bytes of its payload.
    pub fn length(&self) -> usize {
        self.head.len().saturating_add(self.payload.len())
    }
}

#[derive(Debug)]
struct Route {
    track: usize,
    way: Way,
}

/// An even port for RTP and the next one for RTCP.
#[derive(Debug)]
pub(crate) struct Ports {
    rtp: Socket,
    rtcp: Socket,
    numbers: (u16, u16),
    /// By port (true for RTCP) and source.
    routes: Mutex<HashMap<(bool, SocketAddr), Route>>,
    strangers: AtomicU64,
    tap: Option<TapUdp>,
    roaming: Registry,
}

impl Ports {
    /// Binds `port`, which should be even, and the next one; any such pair for port 0. An error says for which of the
    /// two protocols which port was not to be had.
    pub async fn bind(ip: IpAddr, port: u16) -> Result<Self, (&'static str, u16, io::Error)> {
        let mut tries = 0usize;
        loop {
            match Self::pair(ip, port).await {
                Err((.., error)) if port == 0 && tries < TRIES => {
                    tries = tries.saturating_add(1);
                    tracing::debug!(%error, "another pair of ports is tried");
                }
                result => return result,
            }
        }
    }

    async fn pair(ip: IpAddr, port: u16) -> Result<Self, (&'static str, u16, io::Error)> {
        let rtp = Socket::bind(ip, port).await.map_err(|error| ("rtp", port, error))?;
        let first = rtp.address().port();
        let second = first.checked_add(1).filter(|_| port != 0 || first.is_multiple_of(2));
        let second = second.ok_or_else(|| ("rtcp", port, io::ErrorKind::AddrNotAvailable.into()))?;
        let rtcp = Socket::bind(ip, second).await.map_err(|error| ("rtcp", second, error))?;
        // Less will do where the system gives no more.
        let _ = SockRef::from(rtp.io()).set_recv_buffer_size(RECEIVE_BUFFER);
        let (routes, strangers) = (Mutex::default(), AtomicU64::new(0));
        Ok(Self {
            rtp,
            rtcp,
            numbers: (first, second),
            routes,
            strangers,
            tap: None,
            roaming: Registry::default(),
        })
    }

    /// Notes what comes and goes in the tap.
    pub fn tapped(self, tap: Option<&Tap>) -> Self {
        Self { tap: tap.map(|tap| tap.datagrams(Role::Server)), ..self }
    }

    /// The sessions that use them and need no connection.
    pub(super) fn roaming(&self) -> &Registry {
        &self.roaming
    }

    /// The port numbers of RTP and RTCP.
    pub(super) fn numbers(&self) -> (u16, u16) {
        self.numbers
    }

    /// The bound addresses of RTP and RTCP.
    pub fn addresses(&self) -> [SocketAddr; 2] {
        [self.rtp.address(), self.rtcp.address()]
    }

    /// Datagrams so far whose source no session named.
    pub fn unknown_sources(&self) -> u64 {
        self.strangers.load(Ordering::Relaxed)
    }

    fn routes(&self) -> MutexGuard<'_, HashMap<(bool, SocketAddr), Route>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands packets from these ports of `ip` to a track of a session from now on; false where they are another's.
    pub(super) fn claim(&self, ip: IpAddr, (rtp, rtcp): (u16, u16), track: usize, way: &Way) -> bool {
        let keys =
            [(false, rtp), (true, rtcp)].map(|(is, port)| (is, SocketAddr::new(ip.to_canonical(), port)));
        let mut routes = self.routes();
        // Also no two tracks of a session: their packets would be told apart by nothing.
        let free = |key| routes.get(key).is_none_or(|route| route.way.is(way) && route.track == track);
        if !keys.iter().all(free) {
            return false;
        }
        routes.retain(|_, route| route.track != track || !route.way.is(way));
        routes.extend(keys.map(|key| (key, Route { track, way: way.clone() })));
        true
    }

    /// Forgets all ports of a session.
    pub(super) fn release(&self, way: &Way) {
        self.routes().retain(|_, route| !route.way.is(way));
    }

    fn socket(&self, rtcp: bool) -> &Socket {
        if rtcp { &self.rtcp } else { &self.rtp }
    }

    /// Our port's address, as a client sees that speaks to `local`.
    fn address(&self, rtcp: bool, local: IpAddr) -> SocketAddr {
        SocketAddr::new(local, if rtcp { self.numbers.1 } else { self.numbers.0 })
    }

    /// Sends one packet from our address `local`.
    pub(super) async fn send(&self, local: IpAddr, datagram: Datagram) -> io::Result<usize> {
        let Datagram { rtcp, to, head, payload } = datagram;
        let parts = [IoSlice::new(&head), IoSlice::new(&payload)];
        let sent = self.socket(rtcp).send(local, to, &parts).await?;
        if let Some(tap) = &self.tap {
            tap.sent(self.address(rtcp, local), to, vec![head, payload]);
        }
        Ok(sent)
    }

    /// Waits for a packet, and hands it to the session that named its source.
    pub(super) async fn receive(&self, rtcp: bool, buffer: &mut [u8]) -> io::Result<Handed> {
        let arrival = self.socket(rtcp).receive(buffer).await?;
        let payload = buffer.get(..arrival.length).unwrap_or_default();
        let from = canonical(arrival.from);
        if let Some(tap) = &self.tap {
            tap.received(self.address(rtcp, arrival.local), from, payload);
        }
        let routes = self.routes();
        Ok(match routes.get(&(rtcp, from)) {
            None => {
                let strangers = self.strangers.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                Handed::Stranger { from, strangers }
            }
            Some(route) if route.way.send(route.track, rtcp, payload) => Handed::Over,
            Some(_) => Handed::Full { from },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_of_a_client_is_one_tracks() {
        let client: IpAddr = "127.0.0.1".parse().unwrap();
        let ports = Ports::bind(client, 0).await.unwrap();
        let ((way, _one), (other, _another)) = (way(), way());
        assert!(ports.claim(client, (5000, 5001), 0, &way));
        assert!(!ports.claim(client, (5000, 5001), 0, &other));
        assert!(!ports.claim(client, (5000, 5001), 1, &way) && !ports.claim(client, (5002, 5001), 1, &way));
        // A track may keep its ports, or have others and leave them to the next.
        assert!(ports.claim(client, (5000, 5001), 0, &way) && ports.claim(client, (5002, 5003), 0, &way));
        assert!(ports.claim(client, (5000, 5001), 1, &way));
        ports.release(&way);
        assert!(ports.claim(client, (5000, 5001), 0, &other));
    }

    #[tokio::test]
    async fn what_waits_for_a_session_is_bounded_in_bytes_and_number() {
        let (way, mut arrived) = way();
        let large = vec![0; 60_000];
        let sent = (0..100).filter(|_| way.send(0, false, &large)).count();
        assert_eq!(sent, WAITING_BYTES / large.len());
        arrived.recv().await.unwrap();
        assert!(way.send(0, false, &large) && !way.send(0, false, &large));
        let (way, _arrived) = super::way();
        assert_eq!((0..2000).filter(|_| way.send(0, true, &[0])).count(), WAITING);
    }
}
