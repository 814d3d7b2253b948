//! Publishes over RTSP, by ANNOUNCE and RECORD.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use media::rtp::{Anchor, Heading, MAX_PAYLOAD, Sender, describe, packetize, rtp_clock};
use media::{Frame, Track, Unit};
use session::Time;
use session::rtsp::{Action, Carry, Client, ClientConfig, ClientRole, Event};
use tokio::sync::watch;
use tokio::time::Instant;

use super::ports::Ports;
use super::{CNAME, DATAGRAM, Over, REPORTS, SETTLE, carries, told, until};
use crate::account::Account;
use crate::client::connection::{ClientError, Connection};
use crate::client::line::Place;
use crate::client::publisher::{How, Published};
use crate::feed::{Feed, FeedError};

/// A track is found in a file by then, or is not in it: in units, milliseconds and bytes.
const LOOK_AHEAD: (usize, u64, usize) = (1000, 5000, 16 << 20);
/// Datagrams sent at once; a receiver's buffer has to hold what comes faster than it reads.
const BURST: usize = 64;
/// The pause between two bursts.
const BREATH: Duration = Duration::from_millis(1);

/// A feed of which the tracks are known.
#[derive(Debug)]
pub struct Prepared {
    feed: Feed,
    /// What was read already.
    ahead: VecDeque<(Unit, u64)>,
    /// By place in the description.
    tracks: Vec<Arc<Track>>,
    /// What RTSP cannot carry.
    left_out: Vec<String>,
}

impl Prepared {
    /// Reads as far as it takes to know the tracks. An error where RTSP carries none of them.
    pub fn new(mut feed: Feed) -> Result<Self, FeedError> {
        let (mut ahead, mut all, mut bytes) = (VecDeque::new(), Vec::<Arc<Track>>::new(), 0);
        while let Some((unit, due)) = feed.unit()? {
            match &unit {
                Unit::Track(track) if all.iter().all(|t| t.kind() != track.kind()) => {
                    all.push(Arc::clone(track))
                }
                Unit::Frame(frame) => bytes += frame.payload.len(),
                _ => {}
            }
            ahead.push_back((unit, due));
            let (units, ms, most) = LOOK_AHEAD;
            let has_both = all.len() == 2 && bytes > 0;
            if has_both || ahead.len() >= units || due >= ms || bytes >= most {
                break;
            }
        }
        let (tracks, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|t| rtp_clock(t).is_some());
        let left_out: Vec<String> = others.into_iter().map(|t| t.description.clone()).collect();
        if tracks.is_empty() {
            return Err(match left_out.is_empty() {
                true => feed.is_empty(),
                false => FeedError::Codecs(feed.name(), left_out.join(" and ")),
            });
        }
        Ok(Self { feed, ahead, tracks, left_out })
    }

    /// Descriptions of the tracks that RTSP cannot carry, and which stay at home.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// What it is read from.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    fn next(&mut self, again: bool) -> Result<Option<(Unit, u64)>, FeedError> {
        if let Some(unit) = self.ahead.pop_front() {
            return Ok(Some(unit));
        }
        match self.feed.unit()? {
            None if again => {
                self.feed.again()?;
                self.feed.unit()
            }
            unit => Ok(unit),
        }
    }

    /// The place of a frame's track; none where it is left out.
    fn place(&self, track: &Track) -> Option<usize> {
        self.tracks.iter().position(|t| t.kind() == track.kind())
    }
}

/// Publishes a feed at `url`, each frame at its time, until it ends or `stop` turns true; then ends in good order. `on_air`
/// turns true when the server has said yes; SSRCs and first numbers grow from `seed`.
#[allow(clippy::too_many_arguments, reason = "each is another thing, and all are wanted")]
pub async fn publish_rtsp(
    place: impl Into<Place>,
    (url, agent): (&str, &str),
    over: Over,
    seed: u64,
    mut feed: Prepared,
    how: How,
    on_air: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) -> Result<Published, ClientError> {
    let place = place.into();
    let heading = Heading { name: "streamgauge", id: 0, v6: url.contains("://["), live: false };
    let sdp = describe(&feed.tracks, &heading)
        .ok_or(ClientError::Unusable("there is nothing that RTSP could carry"))?;
    let config = ClientConfig::new(ClientRole::Publish { sdp }, url, agent);
    let connection = Connection::open(&place, Client::new(config, Time::default())).await?;
    let local = connection.local()?;
    let ports = Ports::new(local.ip(), connection.remote()?.ip(), place.tap.as_ref());
    let sender =
        |(place, track): (usize, &Arc<Track>)| Sender::new(track, place, seed.wrapping_add(place as u64));
    let senders = feed.tracks.iter().enumerate().filter_map(sender).collect();
    let mut publisher = Publisher { connection, ports, over, senders, anchor: None };
    publisher.start().await?;
    on_air.send_replace(true);

    let begin = Instant::now();
    let mut published = Published { local, account: Account::default(), frames: 0, seconds: 0.0 };
    let mut report_at = begin + REPORTS;
    let mut reports = vec![0; DATAGRAM];
    // Of a damaged file all before the damage is sent, and the server is told the end.
    let mut damage = None;
    let mut stopped_at = None;
    loop {
        let (unit, due) = match feed.next(how.again) {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(error) => {
                damage = Some(error);
                break;
            }
        };
        let place = match &unit {
            Unit::Frame(frame) => feed.place(&frame.track),
            Unit::Track(track) => feed.place(track),
            Unit::Metadata(_) => None,
        };
        let Some(place) = place else { continue };
        let frame = match &unit {
            Unit::Frame(frame) => frame,
            Unit::Track(track) if changed(&feed.tracks[place], track) => {
                return Err(FeedError::Codecs(
                    feed.feed.name(),
                    format!("a change to {}", track.description),
                )
                .into());
            }
            unit => {
                if how.account {
                    published.account.unit(unit);
                }
                continue;
            }
        };
        if how.is_over(due) {
            break;
        }
        let at = begin + Duration::from_millis(due);
        let stopped = loop {
            tokio::select! {
                biased;
                () = until(Some(at.min(report_at))) => {
                    if Instant::now() < report_at {
                        break false;
                    }
                    publisher.report(false).await?;
                    report_at += REPORTS;
                }
                () = told(&mut stop) => break true,
                event = publisher.connection.event() => refused(event?)?,
                // Reports of the server: they are read, so that they count, and not heeded.
                report = publisher.ports.receive(&mut reports) => drop(report?),
            }
        };
        // One that is behind sends what was due when it was told to stop.
        if stopped || *stop.borrow() && at > *stopped_at.get_or_insert_with(Instant::now) {
            break;
        }
        publisher.frame(place, frame).await?;
        if how.account {
            published.account.unit(&unit);
        }
        published.frames += 1;
        published.seconds = begin.elapsed().as_secs_f64();
    }
    if publisher.over == Over::Udp {
        // A receiver may read the goodbye before packets that came on another port, and then leaves those out.
        tokio::time::sleep(SETTLE).await;
    }
    publisher.report(true).await?;
    publisher.connection.act(Action::Finish);
    let Publisher { connection, ports, .. } = &mut publisher;
    // Reports may still come; they are read, so that nothing of the server's is left lying.
    let reading = async {
        while ports.receive(&mut reports).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    tokio::select! {
        left = connection.leave() => left?,
        () = reading => {}
    }
    while ports.receive(&mut reports).now_or_never().is_some_and(|report| report.is_ok()) {}
    damage.map_or(Ok(published), |error| Err(error.into()))
}

/// Parameter sets of pictures go along with them; what a description alone can tell may not change any more.
fn changed(announced: &Track, now: &Track) -> bool {
    announced.codec != now.codec || (now.codec == media::Codec::Aac && announced.config != now.config)
}

fn refused(event: Event) -> Result<(), ClientError> {
    match event {
        Event::Refused { method, status, reason } => Err(ClientError::Refused { method, status, reason }),
        _ => Ok(()),
    }
}

struct Publisher {
    connection: Connection<Client>,
    ports: Ports,
    over: Over,
    senders: Vec<Sender>,
    anchor: Option<Anchor>,
}

impl Publisher {
    /// Until RECORD is answered.
    async fn start(&mut self) -> Result<(), ClientError> {
        loop {
            match self.connection.event().await? {
                Event::Announced => {
                    let carries = carries(self.over, 0..self.senders.len(), &mut self.ports).await?;
                    self.connection.act(Action::Carry(carries));
                }
                Event::TrackReady { track, carry: Carry::Udp { server_port, .. }, .. } => {
                    if server_port.is_none() {
                        return Err(ClientError::Unusable("the server does not say to which port to send"));
                    }
                    self.ports.learn(track, server_port);
                }
                Event::Started { .. } => return Ok(()),
                event => refused(event)?,
            }
        }
    }

    async fn frame(&mut self, place: usize, frame: &Frame) -> Result<(), ClientError> {
        if self.anchor.is_none() {
            // Reports go first: with them a receiver lines up the tracks from the first frame on.
            self.anchor = Some(Anchor::first(wall(), frame.pts, frame.track.clock));
            self.report(false).await?;
        }
        let timestamp = self.senders[place].timestamp(frame);
        for (n, piece) in packetize(frame, MAX_PAYLOAD).iter().enumerate() {
            if n > 0 && n.is_multiple_of(BURST) && self.over == Over::Udp {
                tokio::time::sleep(BREATH).await;
            }
            let header = self.senders[place].header(timestamp, piece);
            let mut packet = BytesMut::with_capacity(header.len() + piece.payload.len());
            packet.put_slice(&header);
            packet.put_slice(&piece.payload);
            self.send(place, false, packet.freeze()).await?;
        }
        self.connection.flush().await
    }

    /// A report of each track, with a goodbye at the end.
    async fn report(&mut self, bye: bool) -> Result<(), ClientError> {
        let Some(anchor) = self.anchor else { return Ok(()) };
        for place in 0..self.senders.len() {
            let sender = &self.senders[place];
            let report = match bye {
                true => sender.bye(&anchor, wall(), CNAME),
                false => sender.report(&anchor, wall(), CNAME),
            };
            self.send(place, true, report).await?;
        }
        Ok(())
    }

    async fn send(&mut self, track: usize, rtcp: bool, payload: Bytes) -> Result<(), ClientError> {
        match self.over {
            Over::Udp => self.ports.send(track, rtcp, &payload).await?,
            Over::Tcp => self.connection.act(Action::Packet { track, rtcp, payload }),
        }
        Ok(())
    }
}

/// Since 1970.
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
