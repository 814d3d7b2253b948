//! Publishes a clip in real time.

use std::net::SocketAddr;
use std::time::Duration;

use session::rtmp::{Action, ClientConfig, Event};
use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::{ClientError, Connection};
use crate::account::Account;
use crate::sample::{Clip, Tag};

/// What a publisher did.
#[derive(Debug)]
pub struct Published {
    /// Its side of the connection.
    pub local: SocketAddr,
    /// Every frame it sent.
    pub account: Account,
    /// Seconds from the first frame to the last.
    pub seconds: f64,
}

/// Publishes `clip` over and over, each frame at its time, until `stop` turns true; then ends in good order.
/// `on_air` turns true when the server has said yes.
pub async fn publish(
    server: SocketAddr,
    config: ClientConfig,
    seed: u64,
    clip: Clip,
    on_air: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) -> Result<Published, ClientError> {
    let mut connection = Connection::open(server, config, seed).await?;
    let local = connection.local()?;
    while !matches!(connection.event().await?, Event::Started { .. }) {}
    on_air.send_replace(true);

    let begin = Instant::now();
    let mut account = Account::default();
    let mut last = Duration::ZERO;
    'rounds: for round in 0u32.. {
        for tag in &clip.tags {
            let (kind, time, body) = match tag {
                Tag::Script(payload) => {
                    if round == 0 {
                        connection.act(Action::Metadata(payload.clone()));
                    }
                    continue;
                }
                Tag::Media(kind, time, body) => (*kind, *time, body.clone()),
            };
            let timestamp = clip.period_ms.wrapping_mul(round).wrapping_add(time);
            let due = begin + Duration::from_millis(u64::from(timestamp));
            loop {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(due) => break,
                    // A wait for true also ends where nobody is left to say it.
                    _ = stop.wait_for(|stop| *stop) => break 'rounds,
                    event = connection.event() => drop(event?),
                }
            }
            if *stop.borrow() {
                break 'rounds;
            }
            account.note(kind, timestamp, body.clone());
            connection.act(Action::Media { kind, timestamp, payload: body });
            connection.flush().await?;
            last = begin.elapsed();
        }
    }
    connection.act(Action::Finish);
    connection.flush().await?;
    Ok(Published { local, account, seconds: last.as_secs_f64() })
}
