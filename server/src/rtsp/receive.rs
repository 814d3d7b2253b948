//! What arrives on the UDP ports.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::ports::{Handed, Ports};
use crate::shared::Shared;

/// How long to wait after an error of a socket that stays open.
const PAUSE: Duration = Duration::from_millis(10);

/// Hands out what arrives on one of the ports until `stop` says otherwise.
pub(crate) async fn receive(
    ports: Arc<Ports>,
    rtcp: bool,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let handed = tokio::select! {
            handed = ports.receive(rtcp, &mut buffer) => handed,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match handed {
            Ok(Handed::Over) => {}
            Ok(Handed::Stranger { from, strangers }) => shared.log("strangers", |kept| {
                tracing::warn!(%from, strangers, kept, "a packet of nobody who set up a session");
            }),
            Ok(Handed::Full { from }) => {
                shared.log("full", |kept| tracing::warn!(%from, kept, "a packet left out: too many wait"));
            }
            Err(error) => {
                shared.log("receive", |kept| tracing::warn!(%error, kept, "a packet could not be received"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
