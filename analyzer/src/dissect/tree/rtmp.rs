//! RTMP: handshake, chunks, messages.

use wire::amf0;
use wire::rtmp::chunk::{self, Basic, MessageHeader};
use wire::rtmp::handshake::{self, Echo, Hello};
use wire::rtmp::message::{Command, Control, kind};
use wire::trace::field;
use wire::{Cursor, Field, Result, Trace, flv};

use super::{Part, flv as media};
use crate::dissect::provenance::Provenance;

static CHUNK: Field = field("chunk", "RTMP 1.0 §5.3", "A piece of a message behind its header.");
static CHUNK_DATA: Field = field("chunk data", "RTMP 1.0 §5.3.1", "Payload: the next bytes of the message.");
static C0C1: Field = field("C0 and C1", "RTMP 1.0 §5.2.1", "The client's version, time and random bytes.");
static S0S1S2: Field =
    field("S0, S1 and S2", "RTMP 1.0 §5.2.1", "The server's version, time and random bytes, and its echo.");
static ECHO: Field = field("C2", "RTMP 1.0 §5.2.4", "The echo of the peer's packet.");
static BODY: Field = field("message body", "RTMP 1.0 §6.1.2", "As the message type defines it.");
static SELECTOR: Field = field("format selector", "RTMP 1.0 §7.1.2", "0: AMF0 values follow");
static SUB: Field =
    field("sub-message", "RTMP 1.0 §7.1.6", "A message inside an aggregate, framed as an FLV tag.");
static SUB_BODY: Field = field("sub-message body", "RTMP 1.0 §7.1.6", "As its type defines it.");

/// Names of message types, as Wireshark spells them.
pub fn type_name(type_id: u8) -> Option<&'static str> {
    Some(match type_id {
        kind::SET_CHUNK_SIZE => "Set Chunk Size",
        kind::ABORT => "Abort Message",
        kind::ACK => "Acknowledgement",
        kind::USER_CONTROL => "User Control Message",
        kind::WINDOW_ACK_SIZE => "Window Acknowledgement Size",
        kind::SET_PEER_BANDWIDTH => "Set Peer Bandwidth",
        kind::AUDIO => "Audio Data",
        kind::VIDEO => "Video Data",
        kind::DATA_AMF3 => "AMF3 Data",
        kind::SHARED_OBJECT_AMF3 => "AMF3 Shared Object",
        kind::COMMAND_AMF3 => "AMF3 Command",
        kind::DATA_AMF0 => "AMF0 Data",
        kind::SHARED_OBJECT_AMF0 => "AMF0 Shared Object",
        kind::COMMAND_AMF0 => "AMF0 Command",
        kind::AGGREGATE => "Aggregate",
        _ => return None,
    })
}

/// Reads C0 and C1.
pub fn c0c1<T: Trace>(c: &mut Cursor<'_, T>) -> Result<()> {
    c.group(&C0C1, |c| {
        handshake::version(c)?;
        Hello::decode(c).map(drop)
    })
}

/// Reads S0, S1 and S2; what is there of them.
pub fn s0s1s2<T: Trace>(c: &mut Cursor<'_, T>) -> Result<()> {
    c.group(&S0S1S2, |c| {
        handshake::version(c)?;
        Hello::decode(c)?;
        if c.is_empty() {
            return Ok(());
        }
        Echo::decode(c).map(drop)
    })
}

/// Reads C2.
pub fn c2<T: Trace>(c: &mut Cursor<'_, T>) -> Result<()> {
    c.group(&ECHO, |c| Echo::decode(c).map(drop))
}

/// Reads chunks whose header and payload sizes are known.
pub fn chunks<T: Trace>(c: &mut Cursor<'_, T>, sizes: &[(usize, usize)]) -> Result<()> {
    for (header, payload) in sizes {
        c.group(&CHUNK, |c| {
            chunk_header(c, *header)?;
            c.bytes(&CHUNK_DATA, *payload).map(drop)
        })?;
    }
    Ok(())
}

/// Reads a chunk header of `size` bytes; what is longer than its form is a repeated extended timestamp.
pub fn chunk_header<T: Trace>(c: &mut Cursor<'_, T>, size: usize) -> Result<(Basic, MessageHeader)> {
    let start = c.position();
    let (basic, header) = chunk::header(c)?;
    if c.position().saturating_sub(start).saturating_add(4) <= size {
        chunk::extended_timestamp(c)?;
    }
    Ok((basic, header))
}

/// Reads chunks from bytes alone, with the chunk size of 128 that holds at the beginning, changed by any Set Chunk
/// Size among them.
pub fn free_chunks<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Vec<(u8, Vec<u8>)>> {
    let mut size = chunk::DEFAULT_CHUNK_SIZE;
    let mut open: Vec<Open> = Vec::new();
    let mut whole = Vec::new();
    while !c.is_empty() {
        c.group(&CHUNK, |c| {
            let (basic, header) = chunk::header(c)?;
            let at = match open.iter().position(|o| o.csid == basic.csid) {
                Some(at) => at,
                None if open.len() < 64 => {
                    open.push(Open { csid: basic.csid, ..Open::default() });
                    open.len().saturating_sub(1)
                }
                None => return Err(wire::Error::too_large(c.position() as u64, "chunk streams", 64, 65)),
            };
            let Some(stream) = open.get_mut(at) else { return Ok(()) };
            if stream.body.is_empty() {
                stream.length = header.length.unwrap_or(stream.length);
                stream.type_id = header.type_id.unwrap_or(stream.type_id);
            }
            if basic.fmt < 3 {
                stream.extended = header.extended;
            } else if stream.extended {
                chunk::extended_timestamp(c)?;
            }
            let left = usize::try_from(stream.length).unwrap_or(usize::MAX).saturating_sub(stream.body.len());
            let now = left.min(usize::try_from(size).unwrap_or(usize::MAX));
            // A piece that was copied from somewhere may end inside its chunk.
            let now = now.min(c.remaining());
            stream.body.extend_from_slice(c.bytes(&CHUNK_DATA, now)?);
            if stream.body.len() as u64 >= u64::from(stream.length) || c.is_empty() {
                let body = std::mem::take(&mut stream.body);
                if stream.type_id == kind::SET_CHUNK_SIZE
                    && let Ok(Control::SetChunkSize(n)) = Control::decode(&mut Cursor::new(&body), 1)
                {
                    size = n;
                }
                whole.push((stream.type_id, body));
            }
            Ok(())
        })?;
    }
    Ok(whole)
}

#[derive(Default)]
struct Open {
    csid: u32,
    length: u32,
    type_id: u8,
    extended: bool,
    body: Vec<u8>,
}

/// The parts of a message body.
pub fn message_parts(type_id: u8, body: &[u8], origin: Provenance, length_size: u8, level: u8) -> Vec<Part> {
    let name = type_name(type_id).map_or_else(|| format!("Unknown (0x{type_id:x})"), str::to_owned);
    let title = format!("RTMP message: {name}, {} bytes", body.len());
    match type_id {
        kind::AUDIO => media::audio_parts(body, origin, &title, level),
        kind::VIDEO => media::video_parts(body, origin, &title, length_size, level),
        kind::AGGREGATE => aggregate(body, &origin, &title, length_size, level),
        _ => vec![Part::read(title, body, origin, |c| message(c, type_id)).0.at(level)],
    }
}

/// Reads a body that is no media.
pub fn message<T: Trace>(c: &mut Cursor<'_, T>, type_id: u8) -> Result<()> {
    match type_id {
        id if Control::is_control(id) => Control::decode(c, id).map(drop),
        kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => match Command::decode(c, type_id == kind::COMMAND_AMF3)? {
            (_, Some(error)) => Err(error),
            _ => Ok(()),
        },
        kind::DATA_AMF0 | kind::DATA_AMF3 => {
            if type_id == kind::DATA_AMF3 && c.peek().first() == Some(&0) {
                c.u8(&SELECTOR)?;
            }
            amf0::decode_all(c).1.map_or(Ok(()), Err)
        }
        _ => {
            c.rest(&BODY);
            Ok(())
        }
    }
}

/// An aggregate is a row of FLV tags; each of its messages has a part of its own.
fn aggregate(body: &[u8], origin: &Provenance, title: &str, length_size: u8, level: u8) -> Vec<Part> {
    let mut inner: Vec<(u8, std::ops::Range<usize>)> = Vec::new();
    let (part, _) = Part::read(title, body, origin.clone(), |c| {
        while !c.is_empty() {
            c.group(&SUB, |c| {
                let tag = flv::file::TagHeader::decode(c)?;
                let start = c.position();
                let size = usize::try_from(tag.size).unwrap_or(usize::MAX);
                c.bytes(&SUB_BODY, size)?;
                inner.push((tag.kind, start..c.position()));
                if c.remaining() >= 4 {
                    flv::file::previous_tag_size(c)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    });
    let mut parts = vec![part.at(level)];
    for (type_id, range) in inner.into_iter().filter(|(id, _)| *id != kind::AGGREGATE).take(1024) {
        let origin = origin.slice(range.start as u64..range.end as u64);
        let bytes = body.get(range).unwrap_or_default();
        parts.extend(message_parts(type_id, bytes, origin, length_size, level.saturating_add(1)));
    }
    parts
}
