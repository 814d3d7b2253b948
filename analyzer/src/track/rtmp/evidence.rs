//! How much a header says for itself while the chunks are looked for: bits of chance, or a plain no.

use wire::flv::{FourCc, SoundFormat};
use wire::rtmp::chunk::{Basic, MessageHeader};
use wire::rtmp::message::kind;

use super::chunk_stream::Chunked;
use super::chunks::{Assembler, known_type};

/// How far a time may lie from the latest one, in milliseconds.
const NEAR_MS: u32 = 60_000;
/// The chunk stream of control messages (RTMP 1.0 §5.4).
const CONTROL: u32 = 2;
/// The longest message believed while searching.
const MAX_MESSAGE: u32 = 8 << 20;

/// What a run of headers itself has said so far: length and rest of each chunk stream's message.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    open: Vec<(u32, u32, u32)>,
    types: Vec<(u32, u8)>,
    extended: Vec<(u32, u32)>,
}

/// Payload of one chunk, and the whole length of its message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) payload: u32,
    pub(super) length: u32,
}

impl Overlay {
    /// Length and rest of the message on a chunk stream.
    pub(super) fn rest(&self, csid: u32) -> Option<(u32, u32)> {
        self.open.iter().find(|(id, _, _)| *id == csid).map(|(_, length, rest)| (*length, *rest))
    }

    /// The header as it stands for a whole one: what it leaves out is what its chunk stream had before. None of it where
    /// it goes on with a message.
    pub(super) fn filled(
        &self,
        basic: &Basic,
        header: &MessageHeader,
        known: Option<&Chunked>,
    ) -> MessageHeader {
        let mut full = *header;
        if basic.fmt < 2 || self.rest(basic.csid).is_some_and(|(_, rest)| rest > 0) {
            return full;
        }
        let own = self.types.iter().find(|(id, _)| *id == basic.csid).map(|(_, type_id)| *type_id);
        full.type_id = own.or(known.map(|s| s.type_id));
        full.length = self.rest(basic.csid).map(|(length, _)| length).or(known.map(|s| s.length));
        full
    }

    /// True where no message is under way.
    pub(super) fn is_whole(&self) -> bool {
        self.open.iter().all(|(_, _, left)| *left == 0)
    }

    /// Bytes of a repeated extended timestamp behind a format 3 header.
    pub(super) fn repeated(&self, basic: &Basic, known: Option<&Chunked>, bytes: &[u8]) -> usize {
        let own = self.extended.iter().find(|(id, _)| *id == basic.csid).map(|(_, time)| *time);
        let Some(field) = own.or_else(|| known.and_then(Chunked::extended_field)) else { return 0 };
        match bytes.first_chunk::<4>() {
            Some(four) if u32::from_be_bytes(*four) == field => 4,
            _ => 0,
        }
    }

    /// This chunk; none where its payload cannot be known.
    pub(super) fn chunk(
        &mut self,
        basic: &Basic,
        header: &MessageHeader,
        known: Option<&Chunked>,
        chunk_size: u32,
    ) -> Option<Chunk> {
        let (length, rest) = match (self.rest(basic.csid), header.length) {
            (_, Some(length)) => (length, length),
            (Some((length, 0)), None) => (length, length),
            (Some((length, rest)), None) if basic.fmt == 3 => (length, rest),
            // Inside a message only format 3 goes on.
            (Some(_), None) => return None,
            (None, None) => {
                let stream = known.filter(|s| basic.fmt == 2 || !s.open)?;
                (stream.length, stream.length)
            }
        };
        if header.extended
            && let Some(time) = header.time
        {
            self.extended.retain(|(id, _)| *id != basic.csid);
            self.extended.push((basic.csid, time));
        }
        if let Some(type_id) = header.type_id {
            self.types.retain(|(id, _)| *id != basic.csid);
            self.types.push((basic.csid, type_id));
        }
        let payload = rest.min(chunk_size);
        self.open.retain(|(id, _, _)| *id != basic.csid);
        self.open.push((basic.csid, length, rest.saturating_sub(payload)));
        Some(Chunk { payload, length })
    }
}

/// How many bits of chance a header agrees with; none where it disagrees.
pub(super) fn evidence(
    assembler: &Assembler,
    seen: &Overlay,
    basic: &Basic,
    header: &MessageHeader,
) -> Option<u32> {
    let known = assembler.stream(basic.csid);
    let in_run = seen.rest(basic.csid);
    // Inside a message of the run only its continuation may come on that chunk stream.
    if basic.fmt != 3 && in_run.is_some_and(|(_, rest)| rest > 0) {
        return None;
    }
    let mut bits: u32 = if known.is_some() || in_run.is_some() { 5 } else { 0 };
    if let Some(length) = header.length {
        if length > MAX_MESSAGE {
            return None;
        }
        bits = bits.max(1);
    }
    if let Some(type_id) = header.type_id {
        // Control messages have a fixed length, commands a modest one.
        let length = header.length.unwrap_or(0);
        let same = known.is_some_and(|s| s.type_id == type_id);
        let control = basic.csid == CONTROL || same;
        let fits = match type_id {
            kind::SET_CHUNK_SIZE | kind::ABORT | kind::ACK | kind::WINDOW_ACK_SIZE => control && length == 4,
            kind::SET_PEER_BANDWIDTH => control && length == 5,
            kind::USER_CONTROL => control && (6..=64).contains(&length),
            kind::AUDIO | kind::VIDEO | kind::AGGREGATE => true,
            _ => known_type(type_id) && (1..=262_144).contains(&length),
        };
        if !fits {
            return None;
        }
        bits = bits.saturating_add(if same { 8 } else { 3 });
    }
    match basic.fmt {
        0 => {
            let id = header.stream_id.unwrap_or(0);
            // Servers count message streams from 1, and most connections have one.
            if id > 1 && !assembler.streams().iter().any(|s| s.stream_id == id) && id > 16 {
                return None;
            }
            bits = bits.saturating_add(if id > 1 { 20 } else { 24 });
            if let Some(latest) = assembler.latest() {
                // Servers send their own messages with time 0.
                if !header.time.is_some_and(|time| time == 0 || near(time, latest)) {
                    return None;
                }
                bits = bits.saturating_add(8);
            }
        }
        1 => {
            if header.time.is_none_or(|delta| delta > NEAR_MS) {
                return None;
            }
            bits = bits.saturating_add(8);
        }
        2 => {
            known.map(|_| ()).or(in_run.map(|_| ()))?;
            if header.time.is_none_or(|delta| delta > NEAR_MS) {
                return None;
            }
            bits = bits.saturating_add(8);
        }
        _ => match in_run {
            // A continuation of this run's own message is foreseen exactly.
            Some((_, rest)) => bits = if rest > 0 { 7 } else { 5 },
            None => bits = known.map(|_| 5)?,
        },
    }
    Some(bits)
}

/// Evidence in the first bytes of a body; none where no body of this type begins so.
pub(super) fn body(header: &MessageHeader, bytes: &[u8]) -> Option<u32> {
    let (Some(type_id), Some(length)) = (header.type_id, header.length) else { return Some(0) };
    let bytes = bytes.get(..bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX)))?;
    match (type_id, bytes) {
        (_, []) => Some(0),
        (kind::SET_CHUNK_SIZE, [high, ..]) => (*high == 0).then_some(8),
        (kind::USER_CONTROL, [event, low, ..]) => (*event == 0 && *low < 64).then_some(8),
        (kind::AUDIO, [first, rest @ ..]) => sound(*first, rest),
        (kind::VIDEO, [first, rest @ ..]) => picture(*first, rest),
        (kind::COMMAND_AMF0 | kind::DATA_AMF0, _) => text(bytes),
        (kind::COMMAND_AMF3 | kind::DATA_AMF3, [0, rest @ ..]) => text(rest),
        (kind::COMMAND_AMF3 | kind::DATA_AMF3, _) => text(bytes),
        _ => Some(0),
    }
}

fn sound(first: u8, rest: &[u8]) -> Option<u32> {
    match (SoundFormat(first >> 4), rest) {
        (SoundFormat(9), _) => fourcc(first & 0x0f, rest),
        (SoundFormat(12 | 13), _) => None,
        (SoundFormat::AAC, [0 | 1, ..]) => Some(if first == 0xaf { 12 } else { 8 }),
        (SoundFormat::AAC, [_, ..]) => None,
        (SoundFormat::MP3 | SoundFormat::MP3_8K, [0xff, second, ..]) if *second >= 0xe0 => Some(12),
        _ => Some(2),
    }
}

fn picture(first: u8, rest: &[u8]) -> Option<u32> {
    if first & 0x80 != 0 {
        return if first >> 4 & 7 == 0 { None } else { fourcc(first & 0x0f, rest) };
    }
    let (frame, codec) = (first >> 4, first & 0x0f);
    if !(1..=5).contains(&frame) {
        return None;
    }
    match (codec, rest) {
        // Video information frames say what they want.
        _ if frame == 5 => Some(0),
        (7 | 12, [0..=2, ..]) => Some(if matches!(first, 0x17 | 0x27 | 0x1c | 0x2c) { 12 } else { 9 }),
        // The start code of a Sorenson H.263 picture.
        (2, [0, 0, third, ..]) if third & 0x80 != 0 => Some(18),
        (7 | 12, []) | (1..=6 | 8..=10 | 13 | 14, _) => Some(2),
        _ => None,
    }
}

/// The first packet of an enhanced message names its codec.
fn fourcc(packet_type: u8, rest: &[u8]) -> Option<u32> {
    // Multitrack and ModEx say more before the codec.
    if packet_type > 5 {
        return (packet_type < 8).then_some(1);
    }
    let Some(four) = rest.first_chunk::<4>() else { return Some(0) };
    FourCc::from(u32::from_be_bytes(*four)).codec().map(|_| 24)
}

/// A name as AMF0 writes one.
fn text(bytes: &[u8]) -> Option<u32> {
    let &[2, 0, length, ref rest @ ..] = bytes else {
        return (bytes.len() < 3 && bytes.first() == Some(&2)).then_some(0);
    };
    let name = rest.get(..rest.len().min(usize::from(length)))?;
    let good = !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
    good.then_some(12)
}

fn near(time: u32, latest: u32) -> bool {
    time.wrapping_sub(latest).cast_signed().unsigned_abs() <= NEAR_MS
}
