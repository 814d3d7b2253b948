//! Watches a stream.

use std::net::SocketAddr;
use std::time::Duration;

use session::Time;
use session::rtmp::{Action, Client, ClientConfig, Event, MediaKind};
use tokio::sync::watch;

use super::connection::{ClientError, Connection};
use super::line::Place;
use crate::account::Account;

/// What a viewer saw.
#[derive(Debug)]
pub struct Viewed {
    /// Its side of the connection.
    pub local: SocketAddr,
    /// Every frame it got.
    pub account: Account,
    /// From connecting to the first whole picture.
    pub first_picture: Option<Duration>,
    /// The server said that the stream is over.
    pub told_of_end: bool,
    /// RTP packets, where it came in those.
    pub packets: Option<Packets>,
}

/// RTP packets of all tracks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    /// Those that came.
    pub received: u64,
    /// Those that were missing.
    pub lost: u64,
}

/// Watches until the server ends the stream, or until `stop` turns true; then leaves in good order.
/// `frames` counts what came so far.
pub async fn watch(
    place: impl Into<Place>,
    config: ClientConfig,
    seed: u64,
    frames: watch::Sender<u64>,
    mut stop: watch::Receiver<bool>,
) -> Result<Viewed, ClientError> {
    let mut connection = Connection::open(&place.into(), Client::new(config, seed, Time::default())).await?;
    let mut viewed = Viewed {
        local: connection.local()?,
        account: Account::default(),
        first_picture: None,
        told_of_end: false,
        packets: None,
    };
    loop {
        let event = tokio::select! {
            event = connection.event() => event?,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match event {
            Event::Media { kind, timestamp, payload, .. } => {
                let before = viewed.account.marks.len();
                viewed.account.note(kind, timestamp, payload);
                if viewed.account.marks.len() > before {
                    if kind == MediaKind::Video && viewed.first_picture.is_none() {
                        viewed.first_picture = Some(connection.age());
                    }
                    frames.send_modify(|n| *n += 1);
                }
            }
            Event::Ended { .. } => {
                viewed.told_of_end = true;
                break;
            }
            _ => {}
        }
    }
    connection.act(Action::Finish);
    // The server may be gone already; what was seen counts.
    let _ = connection.flush().await;
    Ok(viewed)
}
