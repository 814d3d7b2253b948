//! Commands and their replies.

use wire::amf0::Amf0;

use super::control::side;
use super::{Event, Rtmp};
use crate::rules::{Check, Doc, Rule, Tally};

/// Requests remembered of one side; more are never open at a time in practice.
const MAX_OPEN: usize = 256;

/// `rtmp.command.result-transaction-id`.
pub static RESULT_TRANSACTION_ID: Rule<Rtmp> = Rule {
    requirement: &spec::rtmp::COMMAND_RESULT_TRANSACTION_ID,
    doc: Doc {
        looks_at: "Every _result and _error, both ways, beside the requests of the other side.",
        judges: "A reply carries the transaction id of a request that has none yet. Behind a hole the request may have \
                 been lost, and a reply without one is left undecided.",
        peers: "Captures of ffmpeg 5.1 and 9.0, nginx-rtmp 1.2.2 and SRS 6.0 keep it.",
    },
    start: || Box::<Replies>::default(),
};

#[derive(Debug, Default)]
struct Replies {
    /// Transaction ids without a reply: of the client, of the server.
    open: [Vec<f64>; 2],
    blind: bool,
}

impl Check<Rtmp> for Replies {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        let (message, command) = match event {
            Event::Hole => {
                self.blind = true;
                return;
            }
            Event::Message(_) => return,
            Event::Command { message, command } => (message, command),
        };
        let [client, server] = &mut self.open;
        let (mine, theirs) = if message.from_client { (client, server) } else { (server, client) };
        if !matches!(command.name.as_str(), "_result" | "_error") {
            if mine.len() >= MAX_OPEN {
                mine.remove(0);
                self.blind = true;
            }
            mine.push(command.transaction);
            return;
        }
        match theirs.iter().position(|id| *id == command.transaction) {
            Some(index) => {
                theirs.swap_remove(index);
                tally.kept();
            }
            None if self.blind => tally.unsure("the request may lie in a hole of the capture"),
            None => tally.broken(message.at, || {
                let open: Vec<String> = theirs.iter().take(8).map(f64::to_string).collect();
                let open = if open.is_empty() { "none is open".to_owned() } else { open.join(", ") };
                (
                    format!("the id of an open request ({open})"),
                    format!("{} {}", command.name, command.transaction),
                    format!("the {} answered a request that was never made", side(message.from_client)),
                )
            }),
        }
    }
}

/// `rtmp.command.connect-success`.
pub static CONNECT_SUCCESS: Rule<Rtmp> = Rule {
    requirement: &spec::rtmp::COMMAND_CONNECT_SUCCESS,
    doc: Doc {
        looks_at: "The _result of the connect command.",
        judges: "Its information object has code NetConnection.Connect.Success and level status. A connect that was \
                 refused with _error is not judged, nor one whose reply the capture lacks.",
        peers: "Captures of nginx-rtmp 1.2.2 and SRS 6.0 keep it.",
    },
    start: || Box::<Connect>::default(),
};

#[derive(Debug, Default)]
struct Connect {
    waiting: Option<f64>,
}

impl Check<Rtmp> for Connect {
    fn event(&mut self, event: &Event<'_>, tally: &mut Tally) {
        let Event::Command { message, command } = event else { return };
        match (message.from_client, command.name.as_str()) {
            (true, "connect") => self.waiting = Some(command.transaction),
            (false, "_result") if self.waiting == Some(command.transaction) => {
                self.waiting = None;
                let info = |name: &str| {
                    let of = |value: &'_ Amf0| value.property_text(name).map(str::to_owned);
                    command.arguments.first().and_then(of)
                };
                let (code, level) = (info("code"), info("level"));
                let good = code.as_deref() == Some("NetConnection.Connect.Success")
                    && level.as_deref() == Some("status");
                tally.is(good, message.at, || {
                    let word = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
                    (
                        "code NetConnection.Connect.Success, level status".to_owned(),
                        format!("code {}, level {}", word(code), word(level)),
                        "the reply to connect does not say that it succeeded".to_owned(),
                    )
                });
            }
            _ => {}
        }
    }
}
