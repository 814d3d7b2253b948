//! Publishes in real time.

use std::net::SocketAddr;
use std::time::Duration;

use media::flv::Demuxer;
use session::Time;
use session::rtmp::{Action, Client, ClientConfig, Event, MediaKind};
use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::{ClientError, Connection};
use super::line::Place;
use crate::account::Account;
use crate::feed::Feed;
use crate::sample::Tag;

/// What a publisher did.
#[derive(Debug)]
pub struct Published {
    /// Its side of the connection.
    pub local: SocketAddr,
    /// Every frame it sent, where it kept account.
    pub account: Account,
    /// Pictures and audio frames it sent.
    pub frames: u64,
    /// Seconds from the first frame to the last.
    pub seconds: f64,
}

/// How to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct How {
    /// Begin again at the end, until told to stop.
    pub again: bool,
    /// Keep account of every frame; grows with the time on air.
    pub account: bool,
    /// End where the media is that long.
    pub length: Option<Duration>,
}

impl How {
    /// Whether what is due at this millisecond is too late.
    pub(super) fn is_over(&self, due: u64) -> bool {
        self.length.is_some_and(|length| Duration::from_millis(due) >= length)
    }
}

/// Publishes a feed, each frame at its time, until it ends or `stop` turns true; then ends in good order.
/// `on_air` turns true when the server has said yes.
pub async fn publish(
    place: impl Into<Place>,
    config: ClientConfig,
    seed: u64,
    mut feed: Feed,
    how: How,
    on_air: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) -> Result<Published, ClientError> {
    let mut connection = Connection::open(&place.into(), Client::new(config, seed, Time::default())).await?;
    let local = connection.local()?;
    while !matches!(connection.event().await?, Event::Started { .. }) {}
    on_air.send_replace(true);

    let begin = Instant::now();
    let mut published = Published { local, account: Account::default(), frames: 0, seconds: 0.0 };
    let mut told = false;
    let mut frames = Demuxer::new();
    // Of a damaged file all before the damage is sent, and the server is told the end.
    let mut damage = None;
    let mut stopped_at = None;
    loop {
        let next = match feed.tag() {
            Ok(None) if how.again => feed.again().map(|()| None),
            Ok(None) if published.frames == 0 => Err(feed.is_empty()),
            Ok(None) => break,
            next => next,
        };
        let (tag, due) = match next {
            Ok(Some(next)) => next,
            Ok(None) => continue,
            Err(error) => {
                damage = Some(error);
                break;
            }
        };
        let (kind, body) = match tag {
            Tag::Script(payload) => {
                if !std::mem::replace(&mut told, true) {
                    connection.act(Action::Metadata(payload));
                }
                continue;
            }
            Tag::Media(kind, _, body) => (kind, body),
        };
        if how.is_over(due) {
            break;
        }
        let at = begin + Duration::from_millis(due);
        let stopped = loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(at) => break false,
                // A wait for true also ends where nobody is left to say it.
                _ = stop.wait_for(|stop| *stop) => break true,
                event = connection.event() => drop(event?),
            }
        };
        // One that is behind sends what was due when it was told to stop.
        if stopped || *stop.borrow() && at > *stopped_at.get_or_insert_with(Instant::now) {
            break;
        }
        // RTMP's timestamps are 32 bits that wrap.
        let timestamp = (due & 0xffff_ffff) as u32;
        if how.account {
            published.account.note(kind, timestamp, body.clone());
        }
        let held = match kind {
            MediaKind::Video => frames.video(timestamp, body.clone()),
            MediaKind::Audio => frames.audio(timestamp, body.clone()),
        };
        connection.act(Action::Media { kind, timestamp, payload: body });
        connection.flush().await?;
        // Of a codec that we do not know nothing is known to be configuration.
        published.frames += u64::from(held.map_or(true, |(_, frame)| frame.is_some()));
        published.seconds = begin.elapsed().as_secs_f64();
    }
    connection.act(Action::Finish);
    connection.leave().await?;
    damage.map_or(Ok(published), |error| Err(error.into()))
}
