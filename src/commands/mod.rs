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

/// Waits for SIGINT or SIGTERM.
async fn asked_to_stop() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |e| Failure::environment(format!("cannot wait for signals: {e}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
