//! What a client wants, and what becomes of it.

use std::sync::Arc;

use media::flv::Demuxer;
use media::{Kind, Unit};
use session::rtmp::{Action, Event, MediaKind, Refusal};

use super::connection::Connection;
use crate::hub::{Form, Publisher, Viewer};
use crate::signal::Signal;

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

    /// False where it has to wait for those who keep all of it.
    pub fn may_go_on(&self, signal: &Arc<Signal>) -> bool {
        self.publisher.may_go_on(signal)
    }
}

/// A client that watches.
#[derive(Debug)]
pub(super) struct Viewing {
    pub form: Form,
    pub viewer: Viewer,
    /// It is to get nothing for now.
    pub paused: bool,
}

impl Viewing {
    fn pause(&mut self, paused: bool) {
        if std::mem::replace(&mut self.paused, paused) && !paused {
            self.viewer.resume();
        }
    }
}

impl Connection {
    /// Does what an event asks for; returns the answer the session waits for.
    pub(super) fn event(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Connected { agent, .. } => self.link.client.name_agent(&agent),
            Event::Publish { stream, path, .. } => return Some(self.publish(stream, &path)),
            Event::Play { stream, path, .. } => return Some(self.play(stream, &path)),
            Event::Attach { stream } => self.attach(stream),
            Event::Media { stream, kind, timestamp, payload } => self.media(stream, kind, timestamp, payload),
            Event::Metadata { stream, payload } => {
                if let Some(p) = self.publishing.as_mut().filter(|p| p.stream == stream) {
                    p.publisher.push(Unit::Metadata(payload), 0);
                }
            }
            Event::Data { stream, timestamp, payload } => {
                if let Some(p) = self.publishing.as_mut().filter(|p| p.stream == stream) {
                    p.publisher.push_data(payload, timestamp);
                }
            }
            Event::Paused { stream, paused } => {
                if let Some(v) = self.viewing.as_mut().filter(|v| v.form.stream == stream) {
                    v.pause(paused);
                }
            }
            Event::Receive { stream, kind, wanted } => {
                let kind = match kind {
                    MediaKind::Audio => Kind::Audio,
                    MediaKind::Video => Kind::Video,
                };
                if let Some(v) = self.viewing.as_mut().filter(|v| v.form.stream == stream) {
                    v.viewer.want(kind, wanted);
                }
            }
            Event::Stopped { stream } => {
                if let Some(mut publishing) = self.publishing.take_if(|p| p.stream == stream) {
                    publishing.publisher.say_goodbye();
                }
                self.viewing.take_if(|v| v.form.stream == stream);
                self.wanted.take_if(|v| v.form.stream == stream);
            }
            Event::Misbehaved(what) => self.link.misbehaved(&what),
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
        let Some(publisher) = self.link.publish(path) else {
            return Action::Refuse { stream, why: Refusal::NameBusy };
        };
        self.publishing = Some(Publishing { stream, publisher, demuxer: Demuxer::new() });
        Action::Accept { stream }
    }

    fn play(&mut self, stream: u32, path: &str) -> Action {
        if self.viewing.is_some() || self.wanted.is_some() {
            let why = "this connection plays already".to_owned();
            return Action::Refuse { stream, why: Refusal::Failed(why) };
        }
        let viewer = self.link.watch(path);
        let form = Form { chunk_size: self.link.shared.config.rtmp.chunk_size, stream };
        viewer.stream().prefer_form(form);
        self.wanted = Some(Viewing { form, viewer, paused: false });
        Action::Accept { stream }
    }

    /// The session has said all that comes before the first block.
    fn attach(&mut self, stream: u32) {
        self.viewing = self.wanted.take_if(|w| w.form.stream == stream);
        self.link.bound_socket();
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
            Err(error) => self.link.misbehaved(&format!("{kind:?} message left out, in its body at {error}")),
        }
    }
}
