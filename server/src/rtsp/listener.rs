//! Taking connections.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::Protocol;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::connection::Connection;
use super::ports::Ports;
use crate::server::Shared;

/// How long to wait when the system has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);
/// Sent bytes that stay unacknowledged for so long mean that the peer is gone (RFC 5482).
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// A peer that says nothing is asked after this time whether it still exists, and then this often.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

/// Takes connections until `stop` says otherwise. Every connection's task holds a clone of `alive`.
pub(crate) async fn listen(
    listener: TcpListener,
    shared: Arc<Shared>,
    ports: Arc<Ports>,
    mut stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    let seeds = RandomState::new();
    let mut number = 0u64;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((io, remote)) => {
                number = number.wrapping_add(1);
                take(io, remote, &shared, &ports, seeds.hash_one(number), &alive);
            }
            Err(error) => {
                // Of one connection, or of the process's descriptors: either way the next one may do better.
                shared.log("accept", |kept| tracing::warn!(%error, kept, "a connection could not be taken"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn take(
    io: TcpStream,
    remote: SocketAddr,
    shared: &Arc<Shared>,
    ports: &Arc<Ports>,
    seed: u64,
    alive: &mpsc::Sender<()>,
) {
    let peer = remote;
    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
    let limit = shared.config.limits.connections;
    if shared.registry.connections() >= limit {
        shared.log("connections", |kept| {
            tracing::warn!(%remote, limit, kept, "connection refused: the server has all it may have");
        });
        return;
    }
    // Without these the connection works all the same.
    let _ = io.set_nodelay(true);
    let socket = SockRef::from(&io);
    let (idle, interval, probes) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));

    let client = shared.registry.connect(Protocol::Rtsp, remote, shared.clock.now());
    let connection = Connection::new(io, peer, client, seed, Arc::clone(shared), Arc::clone(ports), remote);
    let alive = alive.clone();
    tokio::spawn(async move {
        connection.run().await;
        drop(alive);
    });
}
