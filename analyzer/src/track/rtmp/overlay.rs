//! What a run of headers has said so far of its chunk streams.

use wire::rtmp::chunk::{Basic, EXTENDED, MessageHeader};

use super::chunk_stream::Chunked;

/// How far the times of two messages that follow each other may lie apart, in milliseconds.
const NEAR_MS: u32 = 60_000;

/// The latest message of a chunk stream in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) csid: u32,
    pub(super) length: u32,
    /// Bytes of it that are still to come.
    pub(super) rest: u32,
    pub(super) type_id: u8,
    /// The extended timestamp in force.
    pub(super) extended: Option<u32>,
    /// Its first header in the run was of format 2 or 3, and the run vouches for length and type.
    pub(super) brief: bool,
}

impl Said {
    /// A chunk stream goes on behind a loss with what was found out about its messages.
    pub(super) fn resume(&self, stream: &mut Chunked) {
        stream.length = self.length;
        stream.type_id = self.type_id;
        if let (None, Some(time)) = (stream.extended, self.extended) {
            stream.extended = Some(time);
            stream.timestamp = time;
            stream.timed = true;
        }
        stream.open = false;
        stream.interrupted = false;
        stream.stale = false;
    }
}

/// True for an extended time of a message that may come next.
fn is_next(time: u32, before: u32) -> bool {
    time >= EXTENDED && time.wrapping_sub(before) < NEAR_MS
}

/// Chunk streams in a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    all: Vec<Said>,
    /// What brief headers stood for when their chunk streams were first seen.
    first: Vec<Said>,
}

impl Overlay {
    /// The latest message of a chunk stream.
    pub(super) fn said(&self, csid: u32) -> Option<&Said> {
        self.all.iter().find(|said| said.csid == csid)
    }

    /// How many chunk streams were seen.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Length and rest of the message on a chunk stream.
    pub(super) fn rest(&self, csid: u32) -> Option<(u32, u32)> {
        self.said(csid).map(|said| (said.length, said.rest))
    }

    /// True where no message is under way.
    pub(super) fn is_whole(&self) -> bool {
        self.all.iter().all(|said| said.rest == 0)
    }

    /// What the run found out about headers that leave out what came before it.
    pub(super) fn into_first(self) -> Vec<Said> {
        self.first
    }

    /// A repeated extended timestamp behind a format 3 header. One that begins a message may carry that message's time.
    pub(super) fn repeated(&self, basic: &Basic, known: Option<&Chunked>, bytes: &[u8]) -> Option<u32> {
        let four = u32::from_be_bytes(*bytes.first_chunk::<4>()?);
        let Some(said) = self.said(basic.csid) else {
            let stream = known?;
            let field = stream.extended?;
            return (four == field || !stream.open && is_next(four, stream.timestamp)).then_some(four);
        };
        let field = said.extended?;
        (four == field || said.rest == 0 && is_next(four, field)).then_some(four)
    }

    /// A message begins.
    pub(super) fn begin(
        &mut self,
        basic: &Basic,
        header: &MessageHeader,
        length: u32,
        type_id: u8,
        extended: Option<u32>,
    ) {
        let before = self.said(basic.csid).copied();
        let extended = match (header.time, basic.fmt) {
            (Some(time), _) => header.extended.then_some(time),
            _ => extended.or(before.and_then(|said| said.extended)),
        };
        let said = Said { csid: basic.csid, length, rest: length, type_id, extended, brief: basic.fmt > 1 };
        if before.is_none() && said.brief {
            self.first.push(said);
        }
        self.all.retain(|said| said.csid != basic.csid);
        self.all.push(said);
    }

    /// A chunk of the message on a chunk stream; its payload's length.
    pub(super) fn chunk(&mut self, csid: u32, chunk_size: u32) -> u32 {
        let Some(said) = self.all.iter_mut().find(|said| said.csid == csid) else { return 0 };
        let payload = said.rest.min(chunk_size);
        said.rest = said.rest.saturating_sub(payload);
        payload
    }
}
