//! Taking connections.

use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::Protocol;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::link::Link;
use crate::address::canonical;
use crate::shared::Shared;

/// How long to wait when the system has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket, and when it is over.
pub(crate) struct Accepting {
    pub listener: TcpListener,
    pub shared: Arc<Shared>,
    /// Says when to take no more.
    pub stop: watch::Receiver<bool>,
    /// Every connection's task holds a clone.
    pub alive: mpsc::Sender<()>,
}

impl Accepting {
    /// Has `serve` serve every connection in a task of its own, until `stop` says otherwise. A connection for which
    /// `room` has none is closed at once; what it gives is held as long as the connection lives.
    pub async fn each<P, F>(
        mut self,
        room: impl Fn() -> Option<P>,
        serve: impl Fn(TcpStream, SocketAddr) -> F,
    ) where
        P: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = self.stop.wait_for(|stop| *stop) => return,
            };
            let (io, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Of one connection, or of the process's descriptors: either way the next one may do better.
                    let log = |kept| tracing::warn!(%error, kept, "a connection could not be taken");
                    self.shared.log("accept", log);
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(place) = room() else {
                let (limit, remote) = (self.shared.config.limits.connections, canonical(remote));
                self.shared.log("connections", |kept| {
                    tracing::warn!(%remote, limit, kept, "connection refused: the server has all it may have");
                });
                continue;
            };
            let (task, alive) = (serve(io, remote), self.alive.clone());
            tokio::spawn(async move {
                task.await;
                drop((place, alive));
            });
        }
    }

    /// The same for connections of which each is one client from its first byte on.
    pub async fn clients<F>(self, protocol: Protocol, serve: impl Fn(Link) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let limit = shared.config.limits.connections;
        let seeds = RandomState::new();
        let room = || (shared.registry.connections() < limit).then_some(());
        self.each(room, |io, remote| serve(Link::open(io, remote, protocol, &seeds, &shared))).await;
    }
}
