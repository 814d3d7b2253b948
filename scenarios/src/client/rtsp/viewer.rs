//! Watches a stream over RTSP.

use bytes::Bytes;
use media::rtp::{Ingest, IngestConfig};
use media::{Kind, Unit};
use session::Time;
use session::rtsp::{Action, Carry, Client, ClientConfig, ClientRole, Event};
use tokio::sync::watch;
use tokio::time::Instant;
use wire::sdp::Description;

use super::ports::Ports;
use super::{CNAME, DATAGRAM, Over, REPORTS, SETTLE, carries, told, until};
use crate::account::Account;
use crate::client::connection::{ClientError, Connection};
use crate::client::line::Place;
use crate::client::viewer::{Packets, Viewed};

/// Watches `url` until the server says goodbye, or until `stop` turns true; then leaves in good order. `frames` counts what
/// came so far; receiver reports come from `ssrc`.
pub async fn watch_rtsp(
    place: impl Into<Place>,
    config: (&str, &str),
    over: Over,
    ssrc: u32,
    frames: watch::Sender<u64>,
    mut stop: watch::Receiver<bool>,
) -> Result<Viewed, ClientError> {
    let (place, (url, agent)) = (place.into(), config);
    let client = Client::new(ClientConfig::new(ClientRole::Play, url, agent), Time::default());
    let connection = Connection::open(&place, client).await?;
    let local = connection.local()?;
    let ports = Ports::new(local.ip(), connection.remote()?.ip(), place.tap.as_ref());
    let viewed = Viewed {
        local,
        account: Account::default(),
        first_picture: None,
        told_of_end: false,
        packets: Some(Packets::default()),
    };
    let began = Instant::now();
    let mut viewer =
        Viewer { connection, ports, over, ssrc, began, ingest: None, places: Vec::new(), viewed };
    let mut buffer = vec![0; DATAGRAM];
    let (mut report_at, mut over_at) = (None, None);
    loop {
        let alarm = [viewer.wake_at(), report_at, over_at].into_iter().flatten().min();
        tokio::select! {
            event = viewer.connection.event() => {
                let event = event?;
                if matches!(event, Event::Started { .. }) {
                    report_at = Some(Instant::now() + REPORTS);
                }
                viewer.event(event).await?;
            }
            arrived = viewer.ports.receive(&mut buffer) => {
                let arrived = arrived?;
                let packet = Bytes::copy_from_slice(&buffer[..arrived.length]);
                viewer.packet(arrived.track, arrived.rtcp, packet);
            }
            () = until(alarm) => {}
            () = told(&mut stop) => break,
        }
        viewer.tick();
        viewer.take(&frames);
        let now = Instant::now();
        if report_at.is_some_and(|at| at <= now) {
            viewer.report().await?;
            report_at = Some(now + REPORTS);
        }
        if over_at.is_none() && viewer.ingest.as_ref().is_some_and(Ingest::is_over) {
            over_at = Some(if over == Over::Udp { now + SETTLE } else { now });
        }
        if over_at.is_some_and(|at| at <= now) {
            viewer.viewed.told_of_end = true;
            break;
        }
    }
    viewer.finish(&frames);
    viewer.connection.act(Action::Finish);
    // The server may be gone already; what was seen counts.
    let _ = viewer.connection.leave().await;
    Ok(viewer.viewed)
}

struct Viewer {
    connection: Connection<Client>,
    ports: Ports,
    over: Over,
    ssrc: u32,
    /// The zero of the times that the ingest is told.
    began: Instant,
    ingest: Option<Ingest>,
    /// The tracks that were set up.
    places: Vec<usize>,
    viewed: Viewed,
}

impl Viewer {
    async fn event(&mut self, event: Event) -> Result<(), ClientError> {
        match event {
            Event::Described { description, .. } => self.described(&description).await?,
            Event::TrackReady { track, carry: Carry::Udp { server_port, .. }, .. } => {
                self.ports.learn(track, server_port);
            }
            Event::Packet { track, rtcp, payload } => self.packet(track, rtcp, payload),
            Event::Refused { method, status, reason } => {
                return Err(ClientError::Refused { method, status, reason });
            }
            _ => {}
        }
        Ok(())
    }

    async fn described(&mut self, description: &Description) -> Result<(), ClientError> {
        let config = if self.over == Over::Udp { IngestConfig::udp() } else { IngestConfig::tcp() };
        let ingest = Ingest::new(description, config)
            .ok_or(ClientError::Unusable("the server describes no track that can be read here"))?;
        self.places = (0..description.media.len()).filter(|place| ingest.carries(*place)).collect();
        self.ingest = Some(ingest);
        let carries = carries(self.over, self.places.iter().copied(), &mut self.ports).await?;
        self.connection.act(Action::Carry(carries));
        Ok(())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn packet(&mut self, track: usize, rtcp: bool, packet: Bytes) {
        let now = self.now();
        let Some(ingest) = &mut self.ingest else { return };
        match rtcp {
            true => drop(ingest.rtcp(now, track, &packet)),
            false => drop(ingest.rtp(now, track, packet)),
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let at = self.ingest.as_ref()?.wake_at()?;
        Some(self.began + std::time::Duration::from_millis(at))
    }

    fn tick(&mut self) {
        let now = self.now();
        if let Some(ingest) = self.ingest.as_mut().filter(|i| i.wake_at().is_some_and(|at| at <= now)) {
            ingest.tick(now);
        }
    }

    /// Takes out what is complete.
    fn take(&mut self, frames: &watch::Sender<u64>) {
        let Some(ingest) = &mut self.ingest else { return };
        while let Some((_, unit)) = ingest.poll() {
            self.viewed.account.unit(&unit);
            let Unit::Frame(frame) = unit else { continue };
            if frame.track.kind() == Kind::Video && self.viewed.first_picture.is_none() {
                self.viewed.first_picture = Some(self.connection.age());
            }
            frames.send_modify(|n| *n += 1);
        }
    }

    /// Tells the server how its packets arrive.
    async fn report(&mut self) -> Result<(), ClientError> {
        let now = self.now();
        for track in self.places.clone() {
            let report = self.ingest.as_mut().and_then(|i| i.report(now, track, self.ssrc, CNAME));
            let Some(payload) = report else { continue };
            match self.over {
                Over::Udp => self.ports.send(track, true, &payload).await?,
                Over::Tcp => self.connection.act(Action::Packet { track, rtcp: true, payload }),
            }
        }
        Ok(())
    }

    fn finish(&mut self, frames: &watch::Sender<u64>) {
        let now = self.now();
        if let Some(ingest) = &mut self.ingest {
            ingest.finish(now);
        }
        self.take(frames);
        let mut packets = Packets::default();
        for counters in self.places.iter().filter_map(|p| Some(self.ingest.as_ref()?.counters(*p))) {
            packets.received += counters.received;
            packets.lost += counters.lost;
            self.viewed.account.errors += counters.unreadable + counters.damaged;
        }
        self.viewed.packets = Some(packets);
    }
}
