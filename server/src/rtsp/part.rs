//! What a client wants, and what becomes of it.

use std::sync::Arc;

use bytes::Bytes;
use media::Track;
use media::rtp::{Ingest, IngestConfig};
use model::{Protocol, Role};
use session::rtsp::{Action, Carry, Event, Reason, Refusal};
use wire::sdp::Description;

use super::connection::{BEFORE_BYE, Connection, REPORTS};
use super::egress::Egress;
use super::playing::Playing;
use super::publishing::Publishing;
use crate::hub::{Busy, PublisherSnapshot};

impl Connection {
    /// Does what an event asks for; returns the answer the session waits for.
    pub(super) fn event(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Describe { path, agent, .. } => {
                self.client.name_agent(&agent);
                self.describe(path)
            }
            Event::Announce { path, agent, description, .. } => {
                self.client.name_agent(&agent);
                Some(self.announce(&path, &description).map_or_else(Action::Refuse, |()| Action::Accept))
            }
            Event::Setup { path, agent, track, carry, publish, .. } => {
                self.client.name_agent(&agent);
                let answer = self.set_up(&path, track, carry, publish);
                Some(answer.unwrap_or_else(Action::Refuse))
            }
            Event::Play { path, .. } => Some(self.play(&path)),
            Event::Record { .. } => Some(self.record()),
            Event::Paused => {
                if let Some(playing) = &mut self.playing {
                    (playing.viewer, playing.report_at) = (None, None);
                }
                None
            }
            Event::Ended { .. } => {
                self.part_over();
                None
            }
            Event::Packet { track, rtcp, payload } => {
                self.packet(track, rtcp, payload);
                None
            }
            Event::Misbehaved(what) => {
                self.misbehaved(&what);
                None
            }
            // These are a client's.
            Event::Described { .. }
            | Event::Announced
            | Event::TrackReady { .. }
            | Event::Started { .. }
            | Event::Stopped
            | Event::Refused { .. } => None,
        }
    }

    pub(super) fn tracks(&self, path: &str) -> Option<Vec<Arc<Track>>> {
        let streams = self.shared.hub.list();
        let stream = streams.into_iter().find(|s| &*s.path == path && s.publisher.is_some())?;
        Some(stream.tracks).filter(|tracks| !tracks.is_empty())
    }

    fn announce(&mut self, path: &str, description: &Description) -> Result<(), Refusal> {
        self.ended();
        let ingest = Ingest::new(description, IngestConfig::tcp()).ok_or(Refusal::Codec)?;
        let who = PublisherSnapshot { id: self.client.id(), protocol: Protocol::Rtsp, address: self.remote };
        let publisher = self.shared.hub.publish(path, who, self.now()).map_err(|Busy(holder)| {
            let remote = self.remote;
            self.shared.log("busy", |kept| {
                tracing::warn!(%remote, path, holder = %holder.address, kept, "publish refused: the path is taken");
            });
            Refusal::Busy
        })?;
        let stream = Arc::clone(publisher.stream());
        self.shared.registry.take_part(&self.client, Role::Publisher, stream.path(), &stream.totals);
        tracing::info!(client = %self.client.id(), remote = %self.remote, path, "publishes");
        let ssrc = u32::try_from(self.seed & 0xffff_ffff).unwrap_or(1).max(1);
        self.publishing = Some(Publishing::new(publisher, ingest, ssrc));
        Ok(())
    }

    fn set_up(
        &mut self,
        path: &str,
        track: Option<usize>,
        carry: Carry,
        publish: bool,
    ) -> Result<Action, Refusal> {
        let count = if publish {
            self.publishing.as_ref().ok_or(Refusal::NotFound)?.track_count()
        } else {
            if self.playing.as_ref().is_none_or(|p| p.path != path) {
                let tracks = self.tracks(path).ok_or(Refusal::NotFound)?;
                self.playing = Some(Playing::new(path, tracks));
            }
            self.playing.as_ref().ok_or(Refusal::Failed)?.track_count()
        };
        let track = match track {
            Some(track) if track < count => track,
            None if count == 1 => 0,
            None => return Err(Refusal::Aggregate),
            Some(_) => return Err(Refusal::NotFound),
        };
        let mut server_port = None;
        if let Carry::Udp { client_port, .. } = carry {
            if !self.ports.claim(self.peer, client_port, track, &self.route) {
                return Err(Refusal::Transport);
            }
            server_port = Some(self.ports.numbers());
        }
        let mut ssrc = None;
        if let Some(publishing) = self.publishing.as_mut().filter(|_| publish) {
            if !publishing.carries(track) {
                return Err(Refusal::Codec);
            }
            publishing.set_up(track, carry);
        } else if let Some(playing) = &mut self.playing {
            let place = u64::try_from(track).unwrap_or(0);
            let seed = self.seed ^ place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ssrc = Some(playing.set_up(track, carry, seed).ok_or(Refusal::Codec)?);
        }
        Ok(Action::SetUp { track, server_port, ssrc })
    }

    fn play(&mut self, path: &str) -> Action {
        let viewer = self.shared.hub.watch(path, Arc::clone(&self.client.signal));
        let stream = Arc::clone(viewer.stream());
        let now = self.now();
        let Some(playing) = &mut self.playing else { return Action::Refuse(Refusal::NotFound) };
        playing.watch(viewer);
        playing.report_at = Some(now.after(REPORTS));
        let info = playing.starts();
        self.shared.registry.take_part(&self.client, Role::Viewer, stream.path(), &stream.totals);
        tracing::info!(client = %self.client.id(), remote = %self.remote, path, "plays");
        self.bound_socket();
        Action::Play { info }
    }

    fn record(&mut self) -> Action {
        let now = self.now();
        let Some(publishing) = &mut self.publishing else { return Action::Refuse(Refusal::NotFound) };
        publishing.report_at = Some(now.after(REPORTS));
        publishing.record();
        Action::Record
    }

    /// A packet of a publisher, or a report of a player; true where it is a sign of life.
    pub(super) fn packet(&mut self, track: usize, rtcp: bool, payload: Bytes) -> bool {
        let now = self.now().as_millis();
        let Some(publishing) = &mut self.publishing else {
            return rtcp && self.reported(&payload);
        };
        let alive = publishing.packet(now, track, rtcp, payload);
        if publishing.is_over() {
            self.part_over();
        }
        alive
    }

    /// A player's report; false where it is no RTCP.
    fn reported(&self, compound: &[u8]) -> bool {
        let receptions = self.playing.iter().flat_map(|playing| playing.heard(compound, self.wall()));
        receptions.for_each(|reception| self.client.reported(reception));
        wire::rtcp::parse(compound).1.is_none()
    }

    /// The session is over, but packets may be on their way on another port than its goodbye.
    pub(super) fn part_over(&mut self) {
        self.playing = None;
        let until = self.now().after(BEFORE_BYE);
        match self.publishing.as_mut().filter(|p| p.is_udp()) {
            Some(publishing) => {
                publishing.over_at.get_or_insert(until);
            }
            None => self.ended(),
        }
    }

    /// The session is over: nothing is held for it any more.
    pub(super) fn ended(&mut self) {
        if let Some(mut publishing) = self.publishing.take() {
            let now = self.now().as_millis();
            publishing.finish(now);
            // The last count stays in the metrics for a while.
            let receptions = publishing.report(now, &mut Egress::new(self.remote));
            receptions.into_iter().for_each(|reception| self.client.reported(reception));
        }
        self.playing = None;
        self.ports.release(&self.route);
        // What came before the end counts, also where nobody reads it any more.
        while let Ok(packet) = self.arrived.try_recv() {
            self.client.received(packet.payload.len());
        }
    }

    fn misbehaved(&self, what: &str) {
        let (client, remote, at) = (self.client.id(), self.remote, self.client.bytes_in());
        self.shared.log("misbehaved", |kept| {
            tracing::warn!(%client, %remote, before_byte = at, what, kept, "a client misbehaved");
        });
    }

    /// A slow viewer lost frames.
    pub(super) fn left_out(&self, frames: u64) {
        self.client.dropped(frames);
        let (client, remote) = (self.client.id(), self.remote);
        self.shared.log("slow", |kept| {
            tracing::warn!(%client, %remote, frames, kept, "a viewer takes too little: frames left out for it");
        });
    }

    pub(super) fn log_eviction(&self) {
        let (client, remote, at) = (self.client.id(), self.remote, self.client.bytes_in());
        let limit = self.shared.config.limits.open_messages;
        self.shared.log("evicted", |kept| {
            tracing::warn!(
                %client, %remote, at, limit, kept,
                "closed: of all incomplete messages, which together are over their limit, its is the oldest"
            );
        });
    }

    pub(super) fn log_close(&self, reason: &Reason) {
        let (client, remote, at) = (self.client.id(), self.remote, self.client.bytes_in());
        let cause = match reason {
            Reason::Done | Reason::PeerClosed | Reason::Shutdown => {
                return tracing::debug!(%client, %remote, %reason, "closes");
            }
            Reason::Protocol(_) => "protocol",
            Reason::Timeout(what) => what,
            Reason::Refused(_) => "refused",
        };
        self.shared.log(cause, |kept| {
            tracing::warn!(%client, %remote, before_byte = at, %reason, kept, "connection closed");
        });
    }
}
