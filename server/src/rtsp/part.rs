//! What a client wants, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use media::Track;
use media::rtp::{Ingest, IngestConfig, troubles};
use session::rtsp::{Action, Carry, Event, Refusal};
use wire::sdp::Description;

use super::connection::{BEFORE_BYE, Connection};
use super::egress::Egress;
use super::playing::Playing;
use super::publishing::Publishing;

/// How long a player waits at most for the first frame.
const START: Duration = Duration::from_secs(5);
/// Mistakes of one description that are told, the others are counted.
const MOST_TOLD: usize = 4;

impl Connection {
    /// Does what an event asks for; returns the answer the session waits for.
    pub(super) fn event(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Describe { path, agent, .. } => {
                self.link.client.name_agent(&agent);
                self.describe(path)
            }
            Event::Announce { path, agent, description, .. } => {
                self.link.client.name_agent(&agent);
                Some(self.announce(&path, &description).map_or_else(Action::Refuse, |()| Action::Accept))
            }
            Event::Setup { path, agent, track, carry, publish, .. } => {
                self.link.client.name_agent(&agent);
                let answer = self.set_up(&path, track, carry, publish);
                Some(answer.unwrap_or_else(Action::Refuse))
            }
            Event::Play { path, .. } => self.play(&path),
            Event::Record { .. } => Some(self.record()),
            Event::Paused => {
                if let Some(playing) = &mut self.playing {
                    (playing.viewer, playing.report_at) = (None, None);
                }
                None
            }
            Event::Ended { silent } => {
                if let Some(publishing) = self.publishing.as_mut().filter(|_| !silent) {
                    publishing.say_goodbye();
                }
                self.bye();
                self.leave_at = None;
                self.part_over();
                None
            }
            Event::Packet { track, rtcp, payload } => {
                self.packet(track, rtcp, payload);
                None
            }
            Event::Misbehaved(what) => {
                self.link.misbehaved(&what);
                None
            }
            Event::Elsewhere { id, head, body } => self.ask_elsewhere(&id, head, body),
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
        let streams = self.link.shared.hub.list();
        let stream = streams.into_iter().find(|s| &*s.path == path && s.publisher.is_some())?;
        Some(stream.tracks).filter(|tracks| !tracks.is_empty())
    }

    fn announce(&mut self, path: &str, description: &Description) -> Result<(), Refusal> {
        self.ended();
        let troubles = troubles(description);
        if !troubles.is_empty() {
            let remote = self.link.remote;
            let shown: Vec<_> = troubles.iter().take(MOST_TOLD).map(ToString::to_string).collect();
            self.link.shared.log("description", |kept| {
                let (count, shown) = (troubles.len(), shown.join(", "));
                tracing::warn!(%remote, path, count, kept, "a description has what cannot be read: {shown}");
            });
        }
        // What is there and cannot be read is another mistake than what we do not know.
        let unread = if troubles.is_empty() { Refusal::Codec } else { Refusal::Description };
        let ingest = Ingest::new(description, IngestConfig::tcp()).ok_or(unread)?;
        let publisher = self.link.publish(path).ok_or(Refusal::Busy)?;
        let ssrc = u32::try_from(self.link.seed & 0xffff_ffff).unwrap_or(1).max(1);
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
            if !self.ports.claim(self.link.peer.ip(), client_port, track, &self.route) {
                return Err(Refusal::Transport);
            }
            server_port = Some(self.ports.numbers());
        }
        let mut ssrc = None;
        if let Some(publishing) = self.publishing.as_mut().filter(|_| publish) {
            publishing.set_up(track, carry);
            if !publishing.carries(track) {
                // The others are worth having without it.
                let remote = self.link.remote;
                self.link.shared.log("unread", |kept| {
                    tracing::warn!(%remote, path, track, kept, "a track is left out: no format of it can be read");
                });
            }
        } else if let Some(playing) = &mut self.playing {
            let place = u64::try_from(track).unwrap_or(0);
            let seed = self.link.seed ^ place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ssrc = Some(playing.set_up(track, carry, seed).ok_or(Refusal::Codec)?);
        }
        Ok(Action::SetUp { track, server_port, ssrc })
    }

    /// Begins to play, or has the player wait for the frame it begins with: RTP-Info tells its time, and there are players that
    /// insist on that.
    fn play(&mut self, path: &str) -> Option<Action> {
        let Some(playing) = &mut self.playing else { return Some(Action::Refuse(Refusal::NotFound)) };
        playing.watch(self.link.watch(path));
        self.link.bound_socket();
        self.starting = Some(self.link.now().after(START));
        self.started()
    }

    /// The answer to PLAY, once it is due.
    pub(super) fn started(&mut self) -> Option<Action> {
        let until = self.starting?;
        let report_at = self.next_report();
        let Some(playing) = &mut self.playing else {
            self.starting = None;
            return Some(Action::Refuse(Refusal::NotFound));
        };
        if !playing.knows_start() && self.link.now() < until {
            return None;
        }
        self.starting = None;
        playing.report_at = Some(report_at);
        Some(Action::Play { info: playing.starts() })
    }

    fn record(&mut self) -> Action {
        let report_at = self.next_report();
        let Some(publishing) = &mut self.publishing else { return Action::Refuse(Refusal::NotFound) };
        if !publishing.record() {
            return Action::Refuse(Refusal::Codec);
        }
        publishing.report_at = Some(report_at);
        Action::Record
    }

    /// A packet of a publisher, or a report of a player; true where it is a sign of life.
    pub(super) fn packet(&mut self, track: usize, rtcp: bool, payload: Bytes) -> bool {
        let now = self.link.now().as_millis();
        let Some(publishing) = &mut self.publishing else {
            return rtcp && self.reported(&payload);
        };
        let alive = publishing.packet(now, track, rtcp, payload);
        if publishing.is_over() {
            publishing.say_goodbye();
            self.part_over();
        }
        alive
    }

    /// A player's report; false where it is no RTCP.
    fn reported(&self, compound: &[u8]) -> bool {
        let receptions = self.playing.iter().flat_map(|playing| playing.heard(compound, self.wall()));
        receptions.for_each(|reception| self.link.client.reported(reception));
        wire::rtcp::parse(compound).1.is_none()
    }

    /// The session is over, but packets may be on their way on another port than its goodbye.
    pub(super) fn part_over(&mut self) {
        self.playing = None;
        let until = self.link.now().after(BEFORE_BYE);
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
            let now = self.link.now().as_millis();
            publishing.finish(now);
            // The last count stays in the metrics for a while.
            let receptions = publishing.report(now, &mut Egress::new(self.link.remote, None));
            receptions.into_iter().for_each(|reception| self.link.client.reported(reception));
        }
        self.playing = None;
        self.ports.release(&self.route);
        // What came before the end counts, also where nobody reads it any more.
        while let Ok(packet) = self.arrived.try_recv() {
            self.link.client.received(packet.payload.len());
        }
    }
}
