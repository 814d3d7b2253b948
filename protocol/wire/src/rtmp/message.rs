//! Messages: their types, the protocol control messages, user control events and commands.

use crate::amf0::{self, Amf0};
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::trace::{Field, Trace, field};

/// Message type ids (RTMP 1.0 §5.4, §6.2, §7.1).
pub mod kind {
    /// Set Chunk Size.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message.
    pub const ABORT: u8 = 2;
    /// Acknowledgement.
    pub const ACK: u8 = 3;
    /// User Control Message.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size.
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Set Peer Bandwidth.
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio.
    pub const AUDIO: u8 = 8;
    /// Video.
    pub const VIDEO: u8 = 9;
    /// Data in AMF3.
    pub const DATA_AMF3: u8 = 15;
    /// Shared object in AMF3.
    pub const SHARED_OBJECT_AMF3: u8 = 16;
    /// Command in AMF3.
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0.
    pub const DATA_AMF0: u8 = 18;
    /// Shared object in AMF0.
    pub const SHARED_OBJECT_AMF0: u8 = 19;
    /// Command in AMF0.
    pub const COMMAND_AMF0: u8 = 20;
    /// Aggregate of audio, video and data.
    pub const AGGREGATE: u8 = 22;
}

static CHUNK_SIZE: Field = field("chunk size", "RTMP 1.0 §5.4.1", "largest chunk payload in bytes, 31 bits");
static ABORTED: Field = field("chunk stream id", "RTMP 1.0 §5.4.2", "its incomplete message is dropped");
static SEQUENCE: Field = field("sequence number", "RTMP 1.0 §5.4.3", "bytes received so far, modulo 2^32");
static WINDOW: Field = field("window size", "RTMP 1.0 §5.4.4", "bytes between acknowledgements");
static BANDWIDTH: Field = field("window size", "RTMP 1.0 §5.4.5", "bytes the peer may have unacknowledged");
static LIMIT: Field = field("limit type", "RTMP 1.0 §5.4.5", "0 hard, 1 soft, 2 dynamic");
static EVENT: Field = field("event type", "RTMP 1.0 §6.2", "what happened");
static EVENT_STREAM: Field = field("message stream id", "RTMP 1.0 §7.1.7", "the stream it happened to");
static EVENT_TIME: Field = field("timestamp", "RTMP 1.0 §7.1.7", "the server's time in milliseconds");
static BUFFER: Field = field("buffer length", "RTMP 1.0 §7.1.7", "milliseconds");
static EVENT_DATA: Field = field("event data", "RTMP 1.0 §6.2", "as the event defines it");
static SELECTOR: Field = field("format selector", "RTMP 1.0 §7.1.1", "0: AMF0 values follow");

/// A protocol control message or a user control event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Type 1.
    SetChunkSize(u32),
    /// Type 2: the chunk stream whose message is dropped.
    Abort(u32),
    /// Type 3: bytes received so far.
    Ack(u32),
    /// Type 5.
    WindowAckSize(u32),
    /// Type 6: window size and limit type.
    SetPeerBandwidth(u32, u8),
    /// Type 4.
    User(UserEvent),
}

/// A user control event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserEvent {
    /// Event 0.
    StreamBegin(u32),
    /// Event 1.
    StreamEof(u32),
    /// Event 2.
    StreamDry(u32),
    /// Event 3: stream and milliseconds.
    SetBufferLength(u32, u32),
    /// Event 4.
    StreamIsRecorded(u32),
    /// Event 6: the server's time.
    PingRequest(u32),
    /// Event 7: the time of the request.
    PingResponse(u32),
    /// Any other event and its data.
    Other(u16, Vec<u8>),
}

/// The largest control message worth keeping whole.
const CONTROL_LIMIT: usize = 4096;

impl Control {
    /// True for types 1 to 6, which are decoded here.
    pub fn is_control(type_id: u8) -> bool {
        (kind::SET_CHUNK_SIZE..=kind::SET_PEER_BANDWIDTH).contains(&type_id)
    }

    /// Reads the body of a message of type 1 to 6.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>, type_id: u8) -> Result<Self> {
        match type_id {
            kind::SET_CHUNK_SIZE => {
                let size = c.u32(&CHUNK_SIZE)?;
                if size == 0 || size > super::chunk::MAX_CHUNK_SIZE {
                    return Err(c.refuse(&CHUNK_SIZE, 4, "1 to 0x7FFFFFFF", u64::from(size)));
                }
                Ok(Self::SetChunkSize(size))
            }
            kind::ABORT => Ok(Self::Abort(c.u32(&ABORTED)?)),
            kind::ACK => Ok(Self::Ack(c.u32(&SEQUENCE)?)),
            kind::WINDOW_ACK_SIZE => Ok(Self::WindowAckSize(c.u32(&WINDOW)?)),
            kind::SET_PEER_BANDWIDTH => Ok(Self::SetPeerBandwidth(c.u32(&BANDWIDTH)?, c.u8(&LIMIT)?)),
            kind::USER_CONTROL => Ok(Self::User(UserEvent::decode(c)?)),
            other => Err(Error::value(0, "message type id", "1 to 6", u64::from(other))),
        }
    }

    /// Message type and body.
    pub fn encode(&self) -> (u8, Vec<u8>) {
        let be = |n: &u32| n.to_be_bytes().to_vec();
        match self {
            Self::SetChunkSize(n) => (kind::SET_CHUNK_SIZE, be(n)),
            Self::Abort(n) => (kind::ABORT, be(n)),
            Self::Ack(n) => (kind::ACK, be(n)),
            Self::WindowAckSize(n) => (kind::WINDOW_ACK_SIZE, be(n)),
            Self::SetPeerBandwidth(n, limit) => {
                let mut body = be(n);
                body.push(*limit);
                (kind::SET_PEER_BANDWIDTH, body)
            }
            Self::User(event) => (kind::USER_CONTROL, event.encode()),
        }
    }
}

impl UserEvent {
    fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        Ok(match c.u16(&EVENT)? {
            0 => Self::StreamBegin(c.u32(&EVENT_STREAM)?),
            1 => Self::StreamEof(c.u32(&EVENT_STREAM)?),
            2 => Self::StreamDry(c.u32(&EVENT_STREAM)?),
            3 => Self::SetBufferLength(c.u32(&EVENT_STREAM)?, c.u32(&BUFFER)?),
            4 => Self::StreamIsRecorded(c.u32(&EVENT_STREAM)?),
            6 => Self::PingRequest(c.u32(&EVENT_TIME)?),
            7 => Self::PingResponse(c.u32(&EVENT_TIME)?),
            other => Self::Other(other, c.bytes(&EVENT_DATA, c.remaining().min(CONTROL_LIMIT))?.to_vec()),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let (event, data): (u16, Vec<u8>) = match self {
            Self::StreamBegin(n) => (0, n.to_be_bytes().to_vec()),
            Self::StreamEof(n) => (1, n.to_be_bytes().to_vec()),
            Self::StreamDry(n) => (2, n.to_be_bytes().to_vec()),
            Self::SetBufferLength(n, ms) => (3, [n.to_be_bytes(), ms.to_be_bytes()].concat()),
            Self::StreamIsRecorded(n) => (4, n.to_be_bytes().to_vec()),
            Self::PingRequest(t) => (6, t.to_be_bytes().to_vec()),
            Self::PingResponse(t) => (7, t.to_be_bytes().to_vec()),
            Self::Other(event, data) => (*event, data.clone()),
        };
        let mut out = event.to_be_bytes().to_vec();
        out.extend(data);
        out
    }
}

/// A command: name, transaction id, command object, further arguments (RTMP 1.0 §7.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// `connect`, `_result`, `onStatus`, …
    pub name: String,
    /// 0 where no answer is wanted.
    pub transaction: f64,
    /// The command object; often null.
    pub object: Amf0,
    /// What follows it.
    pub arguments: Vec<Amf0>,
}

impl Command {
    /// A command with a null command object.
    pub fn new(name: &str, transaction: f64, arguments: Vec<Amf0>) -> Self {
        Self { name: name.to_owned(), transaction, object: Amf0::Null, arguments }
    }

    /// Reads the body of a command message, `amf3` telling type 17 from type 20.
    ///
    /// A type 17 body begins with a selector byte, which by practice is 0 and followed by AMF0. A missing
    /// transaction id or command object is taken as 0 and null; an error after the first value leaves the
    /// values before it and is returned beside them.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>, amf3: bool) -> Result<(Self, Option<Error>)> {
        if amf3 {
            let selector = c.u8(&SELECTOR)?;
            if selector != 0 {
                return Err(c.refuse(&SELECTOR, 1, "0, AMF0 values", u64::from(selector)));
            }
        }
        let at = c.position();
        let (values, error) = amf0::decode_all(c);
        let mut values = values.into_iter();
        let name = match (values.next(), &error) {
            (Some(Amf0::String(name)), _) => name,
            (None, Some(error)) => return Err(error.clone()),
            (_, _) => return Err(Error::value(at as u64, "command name", "an AMF0 string", 0)),
        };
        let transaction = values.next().and_then(|v| v.as_f64()).unwrap_or(0.0);
        let object = values.next().unwrap_or(Amf0::Null);
        Ok((Self { name, transaction, object, arguments: values.collect() }, error))
    }

    /// The body of an AMF0 command message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        amf0::encode(&mut out, &Amf0::text(self.name.as_str()));
        amf0::encode(&mut out, &Amf0::Number(self.transaction));
        amf0::encode(&mut out, &self.object);
        self.arguments.iter().for_each(|a| amf0::encode(&mut out, a));
        out
    }

    /// The text of the n-th argument, counted from 0.
    pub fn text(&self, n: usize) -> Option<&str> {
        self.arguments.get(n).and_then(Amf0::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_survive_the_round_trip() {
        for control in [
            Control::SetChunkSize(4096),
            Control::Abort(5),
            Control::Ack(u32::MAX),
            Control::WindowAckSize(2_500_000),
            Control::SetPeerBandwidth(2_500_000, 2),
            Control::User(UserEvent::StreamBegin(1)),
            Control::User(UserEvent::SetBufferLength(1, 3000)),
            Control::User(UserEvent::Other(31, vec![0, 0, 0, 1])),
        ] {
            let (type_id, body) = control.encode();
            assert_eq!(Control::decode(&mut Cursor::new(&body), type_id), Ok(control));
        }
    }

    #[test]
    fn a_chunk_size_of_zero_or_with_the_top_bit_is_refused() {
        for size in [0u32, 0x8000_0000, 0x8000_1000] {
            let error = Control::decode(&mut Cursor::new(&size.to_be_bytes()), 1).unwrap_err();
            assert_eq!(error.at, 0);
        }
    }

    #[test]
    fn a_command_keeps_what_stands_before_an_error() {
        let mut body = Command::new("publish", 5.0, vec![Amf0::text("cam"), Amf0::text("live")]).encode();
        body.push(0x0e);
        let (command, error) = Command::decode(&mut Cursor::new(&body), false).unwrap();
        assert_eq!((command.text(0), command.text(1)), (Some("cam"), Some("live")));
        assert_eq!(error.map(|e| e.at), Some(body.len() as u64 - 1));
        body.insert(0, 0);
        assert_eq!(Command::decode(&mut Cursor::new(&body), true).unwrap().0.name, "publish");
    }
}
