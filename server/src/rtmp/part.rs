//! What a client wants, and what becomes of it.

use media::Unit;
use media::flv::Demuxer;
use model::{Protocol, Role};
use session::rtmp::{Action, Event, MediaKind, Reason, Refusal};
use std::sync::Arc;

use super::connection::Connection;
use super::form::Form;
use crate::hub::{Busy, Publisher, PublisherSnapshot, Viewer};

/// A client that publishes.
#[derive(Debug)]
pub(super) struct Publishing {
    stream: u32,
    publisher: Publisher,
    demuxer: Demuxer,
}

impl Publishing {
    pub fn flush_if_due(&mut self) {
        self.publisher.flush_if_due();
    }
}

/// A client that watches.
#[derive(Debug)]
pub(super) struct Viewing {
    pub form: Form,
    pub viewer: Viewer,
    dropped: u64,
}

impl Viewing {
    /// Frames left out since the last call.
    pub fn newly_dropped(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.dropped, self.viewer.dropped());
        self.dropped.saturating_sub(before)
    }
}

impl Connection {
    /// Does what an event asks for; returns the answer the session waits for.
    pub(super) fn event(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Connected { agent, .. } => self.client.name_agent(&agent),
            Event::Publish { stream, path, .. } => return Some(self.publish(stream, &path)),
            Event::Play { stream, path, .. } => return Some(self.play(stream, &path)),
            Event::Attach { stream } => self.attach(stream),
            Event::Media { stream, kind, timestamp, payload } => self.media(stream, kind, timestamp, payload),
            Event::Metadata { stream, payload } => {
                if let Some(p) = self.publishing.as_mut().filter(|p| p.stream == stream) {
                    p.publisher.push(Unit::Metadata(payload), 0);
                }
            }
            Event::Stopped { stream } => {
                self.publishing.take_if(|p| p.stream == stream);
                self.viewing.take_if(|v| v.form.stream == stream);
                self.wanted.take_if(|v| v.form.stream == stream);
            }
            Event::Misbehaved(what) => self.misbehaved(&what),
            // These are a client's.
            Event::Started { .. } | Event::Status { .. } | Event::Ended { .. } => {}
        }
        None
    }

    fn publish(&mut self, stream: u32, path: &str) -> Action {
        if self.publishing.is_some() {
            let why = "this connection publishes already".to_owned();
            return Action::Refuse { stream, why: Refusal::Failed(why) };
        }
        let who = PublisherSnapshot { id: self.client.id(), protocol: Protocol::Rtmp, address: self.remote };
        match self.shared.hub.publish(path, who, self.now()) {
            Ok(publisher) => {
                self.takes_part(Role::Publisher, publisher.stream().path(), &publisher.stream().totals);
                self.publishing = Some(Publishing { stream, publisher, demuxer: Demuxer::new() });
                Action::Accept { stream }
            }
            Err(Busy(holder)) => {
                let remote = self.remote;
                self.shared.log("busy", |kept| {
                    tracing::warn!(%remote, path, holder = %holder.address, kept, "publish refused: the path is taken");
                });
                Action::Refuse { stream, why: Refusal::NameBusy }
            }
        }
    }

    fn play(&mut self, stream: u32, path: &str) -> Action {
        if self.viewing.is_some() || self.wanted.is_some() {
            let why = "this connection plays already".to_owned();
            return Action::Refuse { stream, why: Refusal::Failed(why) };
        }
        let viewer = self.shared.hub.watch(path, Arc::clone(&self.client.signal));
        self.takes_part(Role::Viewer, viewer.stream().path(), &viewer.stream().totals);
        let form = Form { chunk_size: self.shared.config.rtmp.chunk_size, stream };
        viewer.stream().prefer_form(form);
        self.wanted = Some(Viewing { form, viewer, dropped: 0 });
        Action::Accept { stream }
    }

    /// The session has said all that comes before the first block.
    fn attach(&mut self, stream: u32) {
        self.viewing = self.wanted.take_if(|w| w.form.stream == stream);
        self.bound_socket();
    }

    fn takes_part(&self, role: Role, path: &Arc<str>, totals: &Arc<crate::registry::StreamTotals>) {
        self.shared.registry.take_part(&self.client, role, path, totals);
        let (client, remote) = (self.client.id(), self.remote);
        match role {
            Role::Publisher => tracing::info!(%client, %remote, %path, "publishes"),
            _ => tracing::info!(%client, %remote, %path, "plays"),
        }
    }

    fn media(&mut self, stream: u32, kind: MediaKind, timestamp: u32, payload: bytes::Bytes) {
        let Some(p) = self.publishing.as_mut().filter(|p| p.stream == stream) else { return };
        let units = match kind {
            MediaKind::Video => p.demuxer.video(timestamp, payload),
            MediaKind::Audio => p.demuxer.audio(timestamp, payload),
        };
        match units {
            Ok((first, second)) => {
                for unit in first.into_iter().chain(second) {
                    p.publisher.push(unit, timestamp);
                }
            }
            Err(error) => self.misbehaved(&format!("{kind:?} message left out, in its body at {error}")),
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
