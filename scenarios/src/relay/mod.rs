//! A relay between clients and a server: the place where a path gets worse, and where packets of programs that are not ours
//! are captured.
//!
//! Clients talk to the relay as if it were the server. Its capture is of their side: what a client sent, and what it got,
//! when it got it. RTSP's Transport headers are changed on the way, so that RTP over UDP comes by as well.

mod rtsp;
mod shaper;
mod tcp;
mod udp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use server::tap::Tap;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use shaper::Shaper;

use crate::script::Net;

/// What a relay does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub upstream: SocketAddr,
    /// Whether RTSP is spoken, whose ports are to be changed.
    pub rtsp: bool,
    /// How the path is.
    pub net: watch::Receiver<Net>,
    /// Grows what is lost and how late things are.
    pub seed: u64,
    /// Where packets are written.
    pub tap: Option<Tap>,
}

/// A relay that listens. Dropping it breaks its connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    task: JoinHandle<()>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    lost: AtomicU64,
    /// How often all connections were reset.
    resets: watch::Sender<u64>,
    /// The client's address, and the relay's own towards the server.
    sides: Mutex<Vec<(SocketAddr, SocketAddr)>>,
}

impl Shared {
    fn lost(&self, packets: u64) {
        self.lost.fetch_add(packets, Ordering::Relaxed);
    }

    fn side(&self, client: SocketAddr, ours: SocketAddr) {
        self.sides.lock().unwrap_or_else(PoisonError::into_inner).push((client, ours));
    }
}

impl Relay {
    /// Listens on a free port of this machine.
    pub async fn start(plan: Plan) -> io::Result<Self> {
        let listener = TcpListener::bind((IpAddr::from(Ipv4Addr::LOCALHOST), 0)).await?;
        let (address, shared) = (listener.local_addr()?, Arc::new(Shared::default()));
        let task = tokio::spawn(accept(listener, plan, Arc::clone(&shared)));
        Ok(Self { address, task, shared })
    }

    /// Where clients find the server now.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Packets that the path has lost.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Resets every connection there is, for both ends; new ones may come.
    pub fn reset(&self) {
        self.shared.resets.send_modify(|resets| *resets += 1);
    }

    /// For each TCP connection the client's address, and the one under which the server knows it.
    pub fn sides(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.shared.sides.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, plan: Plan, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut number = 0u64;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Too many open files: those that are there go on.
                let Ok((client, _)) = accepted else { continue };
                number += 1;
                let seed = plan.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                connections.spawn(tcp::relay(client, Plan { seed, ..plan.clone() }, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests;
