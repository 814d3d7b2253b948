//! What a server says about a stream that is published or played.

use wire::rtmp::message::{Command, kind};

use super::{Event, Message, Rtmp};
use crate::flow::At;
use crate::rules::{Check, Doc, Rule, Tally};

/// Streams remembered of one connection.
const MAX_STREAMS: usize = 64;
/// Media that flows this long without a status shows that none will come, in nanoseconds.
const PATIENCE_NS: i64 = 500_000_000;

/// `rtmp.status.message-stream-id`.
pub static STATUS_MESSAGE_STREAM_ID: Rule<Rtmp> = Rule {
    requirement: &spec::rtmp::STATUS_MESSAGE_STREAM_ID,
    doc: Doc {
        looks_at: "Every onStatus of the server whose code begins with NetStream, and the message streams on which the \
                   client sent publish and play.",
        judges: "Its message stream is one of those. Behind a hole the command may have been lost, and a status on \
                 another stream is left undecided.",
        peers: "Captures of nginx-rtmp 1.2.2 and SRS 6.0 keep it. ZLMediaKit sends the status that follows deleteStream on message stream 0, \
                 which this rule reports: a client that is about to leave does not mind.",
    },
    start: || Box::<Place>::default(),
};

#[derive(Debug, Default)]
struct Place {
    streams: Vec<u32>,
    blind: bool,
}

impl Check<Rtmp> for Place {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        match event {
            Event::Hole => self.blind = true,
            Event::Message(_) => {}
            Event::Command { message, command } if message.from_client => {
                let opens = matches!(command.name.as_str(), "publish" | "play" | "play2");
                if opens && !self.streams.contains(&message.stream_id) {
                    self.blind |= self.streams.len() >= MAX_STREAMS;
                    self.streams.truncate(MAX_STREAMS.saturating_sub(1));
                    self.streams.push(message.stream_id);
                }
            }
            Event::Command { message, command } => {
                let Some(code) = status(command, "code").filter(|code| code.starts_with("NetStream.")) else {
                    return;
                };
                if self.streams.contains(&message.stream_id) {
                    tally.kept();
                } else if self.blind {
                    tally.unsure("the command it answers may lie in a hole of the capture");
                } else {
                    tally.broken(message.at, || {
                        let streams: Vec<String> = self.streams.iter().map(u32::to_string).collect();
                        (
                            match streams.as_slice() {
                                [] => "no such status before publish or play".to_owned(),
                                some => format!("message stream {}", some.join(" or ")),
                            },
                            format!("{code} on message stream {}", message.stream_id),
                            "a status of a stream came on another message stream".to_owned(),
                        )
                    });
                }
            }
        }
    }
}

/// `rtmp.publish.start-status`.
pub static START_STATUS: Rule<Rtmp> = Rule {
    requirement: &spec::rtmp::PUBLISH_START_STATUS,
    doc: Doc {
        looks_at: "publish commands of the client, onStatus messages of the server, and the client's audio and video.",
        judges: "Each publish is followed by onStatus NetStream.Publish.Start of level status, or is refused by one of \
                 level error or by _error. It is broken where media flowed for half a second and the connection ended \
                 without any of these; undecided where the capture ends earlier or lacks bytes. On which message stream \
                 the status comes is rtmp.status.message-stream-id.",
        peers: "Captures of nginx-rtmp 1.2.2 and SRS 6.0 keep it for publishers they accept. SRS closes on a busy name without a \
                status, which is a refusal and not judged here.",
    },
    start: || Box::<Start>::default(),
};

#[derive(Debug, Default)]
struct Start {
    waiting: Vec<Waiting>,
    /// The capture holds what the server says.
    heard: bool,
    blind: bool,
}

#[derive(Debug)]
struct Waiting {
    message: Message,
    transaction: f64,
    /// Media flowed for long enough.
    media: bool,
}

impl Check<Rtmp> for Start {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        match event {
            Event::Hole => self.blind = true,
            Event::Message(m) => {
                self.heard |= !m.from_client;
                if self.waiting.is_empty()
                    || !m.from_client
                    || !matches!(m.type_id, kind::AUDIO | kind::VIDEO)
                {
                    return;
                }
                let late = |at: &At| m.at.time_ns.saturating_sub(at.time_ns) > PATIENCE_NS;
                for waiting in self.waiting.iter_mut().filter(|w| w.message.stream_id == m.stream_id) {
                    waiting.media |= late(&waiting.message.at);
                }
            }
            Event::Command { message, command } => match (message.from_client, command.name.as_str()) {
                (true, "publish") if self.waiting.len() < MAX_STREAMS => {
                    let (message, transaction) = (*message, command.transaction);
                    self.waiting.push(Waiting { message, transaction, media: false });
                }
                (false, "_error") => self.waiting.retain(|w| w.transaction != command.transaction),
                (false, "onStatus") => self.answer(message, command, tally),
                _ => {}
            },
        }
    }

    fn end(&mut self, tally: &mut Tally) {
        for Waiting { message, media, .. } in &self.waiting {
            match (*media, self.blind || !self.heard) {
                (_, true) => tally.unsure("the status may lie in a hole of the capture"),
                (false, false) => tally.unsure("the capture ends before a status had to be there"),
                (true, false) => tally.broken(message.at, || {
                    (
                        "onStatus NetStream.Publish.Start".to_owned(),
                        "no status, and media flowing".to_owned(),
                        "the server took a publisher without confirming it".to_owned(),
                    )
                }),
            }
        }
    }
}

impl Start {
    fn answer(&mut self, message: &Message, command: &Command, tally: &mut Tally) {
        let exact = self.waiting.iter().position(|w| w.message.stream_id == message.stream_id);
        let Some(index) = exact.or_else(|| self.waiting.len().checked_sub(1)) else { return };
        let refused = status(command, "level") == Some("error");
        let started = status(command, "code") == Some("NetStream.Publish.Start");
        if refused || started {
            self.waiting.remove(index);
        }
        if started {
            tally.is(status(command, "level") == Some("status"), message.at, || {
                let level = status(command, "level").unwrap_or("none");
                (
                    "level status".to_owned(),
                    format!("level {level}"),
                    "the status that confirms a publisher has another level".to_owned(),
                )
            });
        }
    }
}

/// A text property of a status's information object.
fn status<'c>(command: &'c Command, name: &str) -> Option<&'c str> {
    if command.name != "onStatus" {
        return None;
    }
    command.arguments.first().and_then(|info| info.property_text(name))
}
