//! One module a command.

pub mod analyze;
#[cfg(feature = "live")]
pub mod capture;
pub mod check;
pub mod demo;
pub mod dissect;
pub mod expect;
pub mod explain;
#[cfg(feature = "live")]
pub mod live;
pub mod publish;
pub mod replay;
pub mod report;
pub mod rules;
pub mod run;
pub mod serve;
pub mod verdicts;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;

use scenarios::url::StreamUrl;

use crate::exit::Failure;

/// The runtime of the commands that talk to the network.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::environment(format!("cannot start the runtime: {e}")))
}

/// The address of a URL's host.
async fn resolve(url: &StreamUrl) -> Result<SocketAddr, Failure> {
    url.resolve().await.map_err(|e| Failure::environment(format!("{}: {e}", url.authority())))
}

/// Something that nobody can guess.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// SIGINT and SIGTERM, which are heard from the moment that this exists.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn heed() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |e| Failure::environment(format!("cannot wait for signals: {e}"));
        let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate()).map_err(failed)? })
    }

    /// Waits for one of them.
    async fn asked_to_stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Waits for SIGINT or SIGTERM.
async fn asked_to_stop() -> Result<(), Failure> {
    Signals::heed()?.asked_to_stop().await;
    Ok(())
}
