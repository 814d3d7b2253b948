//! Faults of RTMP: messages of the session that are not as they should be.

use bytes::Bytes;
use wire::amf0::Amf0;
use wire::cursor::Cursor;
use wire::rtmp::chunk::{DEFAULT_CHUNK_SIZE, write_message};
use wire::rtmp::handshake;
use wire::rtmp::message::{Command, kind};
use wire::rtmp::reader::{Message, Reader};

use super::{Fault, How, of};

/// Changes the messages of one block, leaves some out, adds some.
pub(super) type Change = fn(&mut Vec<Message>);

/// Every fault of RTMP.
pub(super) static ALL: &[&Fault] =
    &[&CONTROL_ELSEWHERE, &REPLY_TO_NOBODY, &CONNECT_NOT_SUCCESS, &STATUS_ELSEWHERE, &START_AS_WARNING];

/// Larger messages no session says; media does not come through here.
const LARGEST: u32 = 1 << 20;
/// The chunk stream of commands.
const COMMANDS: u32 = 3;
/// A transaction id that no client comes to.
const NOBODY: f64 = 1_000_003.0;

static CONTROL_ELSEWHERE: Fault = Fault {
    id: "rtmp.control-elsewhere",
    title: "Control messages come on another chunk stream",
    does: "Set Chunk Size, Window Acknowledgement Size, Set Peer Bandwidth and Acknowledgement are sent on chunk \
           stream 3 and message stream 1.",
    breaks: &[&spec::rtmp::CONTROL_MSID0_CSID2],
    how: How::Messages(|messages| {
        for message in messages {
            if matches!(
                message.head.type_id,
                kind::SET_CHUNK_SIZE
                    | kind::ABORT
                    | kind::ACK
                    | kind::WINDOW_ACK_SIZE
                    | kind::SET_PEER_BANDWIDTH
            ) {
                (message.head.csid, message.head.stream_id) = (COMMANDS, 1);
            }
        }
    }),
};

static REPLY_TO_NOBODY: Fault = Fault {
    id: "rtmp.reply-to-nobody",
    title: "A request is answered that nobody made",
    does: "createStream is answered as it should be, and then once more with a transaction id that nobody used.",
    breaks: &[&spec::rtmp::COMMAND_RESULT_TRANSACTION_ID],
    how: How::Messages(|messages| {
        let repeat = |message: &Message| {
            let mut command = read(message)?;
            let number = matches!(command.arguments.first(), Some(Amf0::Number(_)));
            if command.name != "_result" || !number {
                return None;
            }
            command.transaction = NOBODY;
            Some(Message { payload: command.encode(), ..message.clone() })
        };
        let more: Vec<Message> = messages.iter().filter_map(repeat).collect();
        messages.extend(more);
    }),
};

static CONNECT_NOT_SUCCESS: Fault = Fault {
    id: "rtmp.connect-not-success",
    title: "The reply to connect names no success",
    does: "The _result of connect has the code NetConnection.Connect.Accepted, which nobody defined.",
    breaks: &[&spec::rtmp::COMMAND_CONNECT_SUCCESS],
    how: How::Messages(|messages| {
        edit(messages, |command| {
            command.name == "_result"
                && set(
                    command,
                    "code",
                    |code| code == "NetConnection.Connect.Success",
                    "NetConnection.Connect.Accepted",
                )
        });
    }),
};

static STATUS_ELSEWHERE: Fault = Fault {
    id: "rtmp.status-elsewhere",
    title: "A stream's status comes on message stream 0",
    does: "Every onStatus whose code begins with NetStream is sent on message stream 0.",
    breaks: &[&spec::rtmp::STATUS_MESSAGE_STREAM_ID],
    how: How::Messages(|messages| {
        for message in messages {
            let is = read(message).is_some_and(|command| {
                let code = command.arguments.first().and_then(|info| info.property_text("code"));
                command.name == "onStatus" && code.is_some_and(|code| code.starts_with("NetStream."))
            });
            if is {
                message.head.stream_id = 0;
            }
        }
    }),
};

static START_AS_WARNING: Fault = Fault {
    id: "rtmp.start-as-warning",
    title: "A publisher is confirmed with a warning",
    does: "The onStatus NetStream.Publish.Start has the level warning in place of status.",
    breaks: &[&spec::rtmp::PUBLISH_START_STATUS],
    how: How::Messages(|messages| {
        edit(messages, |command| {
            let code = command.arguments.first().and_then(|info| info.property_text("code"));
            code == Some("NetStream.Publish.Start") && set(command, "level", |_| true, "warning")
        });
    }),
};

fn read(message: &Message) -> Option<Command> {
    if message.head.type_id != kind::COMMAND_AMF0 {
        return None;
    }
    Command::decode(&mut Cursor::new(&message.payload), false).ok().map(|(command, _)| command)
}

/// Writes the commands anew that `change` changed.
fn edit(messages: &mut [Message], change: impl Fn(&mut Command) -> bool) {
    for message in messages {
        if let Some(mut command) = read(message)
            && change(&mut command)
        {
            message.payload = command.encode();
        }
    }
}

/// Sets a text property of a command's information object where its value is such; false where it is not.
fn set(command: &mut Command, name: &str, is: impl Fn(&str) -> bool, to: &str) -> bool {
    let Some(Amf0::Object(properties)) = command.arguments.first_mut() else { return false };
    let mut named = properties.iter_mut().filter(|(key, _)| key == name).map(|(_, value)| value);
    match named.next() {
        Some(value) if value.as_str().is_some_and(is) => {
            *value = Amf0::text(to);
            true
        }
        _ => false,
    }
}

/// What the faults do to one connection.
#[derive(Debug)]
pub(crate) struct Breaker {
    changes: Vec<Change>,
    /// Bytes of the handshake that have not been sent.
    handshake: usize,
    reader: Reader,
    /// Chunk size of what was sent last.
    chunk_size: u32,
}

impl Breaker {
    /// None where none of these faults is one of RTMP.
    pub fn new(faults: &[&'static Fault]) -> Option<Box<Self>> {
        let changes = of(faults, |how| match how {
            How::Messages(change) => Some(change),
            _ => None,
        });
        let handshake = handshake::HELLO.saturating_add(handshake::PACKET);
        let reader = Reader::new(LARGEST, 0);
        let whole = Self { changes, handshake, reader, chunk_size: DEFAULT_CHUNK_SIZE };
        (!whole.changes.is_empty()).then(|| Box::new(whole))
    }

    /// What leaves in place of a block that the session sends: messages, each of them whole.
    pub fn messages(&mut self, block: Bytes) -> Bytes {
        if self.handshake > 0 {
            self.handshake = self.handshake.saturating_sub(block.len());
            return block;
        }
        let mut input = &*block;
        let mut messages = Vec::new();
        while let Ok(Some(message)) = self.reader.next(&mut input) {
            if let Some(size) = chunk_size(&message) {
                self.reader.set_chunk_size(size);
            }
            messages.push(message);
        }
        self.changes.iter().for_each(|change| change(&mut messages));
        let mut out = Vec::with_capacity(block.len());
        for message in &messages {
            write_message(&mut out, self.chunk_size, &message.head, &[&message.payload]);
            self.chunk_size = chunk_size(message).unwrap_or(self.chunk_size);
        }
        out.into()
    }
}

/// What a Set Chunk Size sets.
fn chunk_size(message: &Message) -> Option<u32> {
    let bytes = message.payload.first_chunk().filter(|_| message.head.type_id == kind::SET_CHUNK_SIZE)?;
    Some(u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use session::Time;
    use session::rtmp::{
        Action, Client, ClientConfig, ClientRole, Event, Input, Output, Server, ServerConfig,
    };

    use super::*;

    const NOW: Time = Time::from_millis(0);

    /// Has a publisher come to a server with these faults: the blocks that the session sent, and what left in their
    /// place.
    fn publishes(faults: &[&'static Fault]) -> Vec<(Bytes, Bytes)> {
        let mut breaker = Breaker::new(faults);
        let mut server = Server::new(ServerConfig::default(), 7, NOW);
        let config = ClientConfig {
            role: ClientRole::Publish,
            app: "live".into(),
            name: "a".into(),
            tc_url: "rtmp://h/live".into(),
            agent: "test".into(),
            chunk_size: 4096,
            start_timeout: Duration::from_secs(10),
        };
        let mut client = Client::new(config, 8, NOW);
        let mut blocks = Vec::new();
        let mut started = false;
        loop {
            let mut idle = true;
            while let Some(output) = client.poll() {
                match output {
                    Output::Send(bytes) => {
                        idle = false;
                        server.handle(NOW, Input::Bytes(&bytes));
                    }
                    Output::Event(Event::Started { .. }) => started = true,
                    Output::Close(reason) => panic!("{reason}"),
                    _ => {}
                }
            }
            while let Some(output) = server.poll() {
                match output {
                    Output::Send(bytes) => {
                        idle = false;
                        let out = breaker.as_mut().map_or(bytes.clone(), |b| b.messages(bytes.clone()));
                        client.handle(NOW, Input::Bytes(&out));
                        blocks.push((bytes, out));
                    }
                    Output::Event(Event::Publish { stream, .. }) => {
                        server.handle(NOW, Input::Do(Action::Accept { stream }));
                    }
                    Output::Close(reason) => panic!("{reason}"),
                    _ => {}
                }
            }
            if idle {
                break;
            }
        }
        assert!(started, "the publisher is on air in spite of {faults:?}");
        blocks
    }

    #[test]
    fn a_publisher_comes_on_air_whatever_fault_is_on() {
        for fault in ALL {
            let blocks = publishes(&[fault]);
            assert!(blocks.iter().any(|(said, left)| said != left), "{fault:?} changes nothing");
        }
        publishes(ALL);
    }

    #[test]
    fn what_no_fault_changes_leaves_as_it_was_said() {
        static NOTHING: Fault =
            Fault { id: "x", title: "", does: "", breaks: &[], how: How::Messages(|_| {}) };
        let blocks = publishes(&[&NOTHING]);
        assert!(blocks.len() > 5 && blocks.iter().all(|(said, left)| said == left));
        assert!(Breaker::new(&[]).is_none());
        assert!(Breaker::new(super::super::hls::ALL).is_none());
    }
}
