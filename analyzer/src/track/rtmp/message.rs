//! What a direction of a connection carries: messages, and what could not be read.

use wire::Error;
use wire::rtmp::chunk::Basic;

use crate::flow::At;

/// A message that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'b> {
    /// Chunk stream it came on.
    pub(super) csid: u32,
    pub(super) timestamp: u32,
    /// The time is known, if only up to a constant.
    pub(super) timed: bool,
    pub(super) type_id: u8,
    pub(super) stream_id: u32,
    /// Declared length of the body.
    pub(super) length: u32,
    /// The body, or its beginning.
    pub(super) body: &'b [u8],
    /// Bytes of the body that the capture lacks.
    pub(super) lost: u64,
    /// Bytes on the wire, chunk headers included.
    pub(super) wire_bytes: u64,
    /// Where the message begins.
    pub(super) first: At,
    /// When its last byte was there, nanoseconds since 1970.
    pub(super) done_ns: i64,
}

impl Message<'_> {
    /// True where [`body`](Self::body) is all of it.
    pub(super) fn is_whole(&self) -> bool {
        self.body.len() as u64 == u64::from(self.length)
    }
}

/// Something that could not be read.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    /// Where.
    pub(super) at: At,
    /// What.
    pub(super) error: Error,
    /// What kind of thing.
    pub(super) what: What,
}

/// Kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A chunk stream begins with a header that needs an earlier one.
    FirstChunk,
    /// A header begins a message inside another one of the same chunk stream.
    Interrupted,
    /// A Set Chunk Size that no chunk can have.
    ChunkSize,
    /// What follows cannot be told apart into chunks.
    Desync,
    /// More state than is kept.
    Bound,
}

/// Is told what a direction carries.
pub(super) trait Sink {
    fn message(&mut self, message: &Message<'_>);
    fn trouble(&mut self, trouble: Trouble);
    /// Messages may be missing here.
    fn hole(&mut self);
    /// A chunk header was read from `bytes`; `continues` says that it goes on with an open message.
    fn chunk(&mut self, at: At, basic: &Basic, bytes: &[u8], continues: bool) {
        let _ = (at, basic, bytes, continues);
    }
    /// The next payload bytes of a chunk stream.
    fn payload(&mut self, at: At, csid: u32, bytes: &[u8]) {
        let _ = (at, csid, bytes);
    }
}

/// What could not be read of a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unread {
    /// Bytes that were seen and could not be told apart into chunks.
    pub(super) bytes: u64,
    /// Messages with a hole in them.
    pub(super) damaged: u64,
    /// How often the stream had to be found again.
    pub(super) resyncs: u32,
}

/// Message types that RTMP defines.
pub(super) fn known_type(type_id: u8) -> bool {
    matches!(type_id, 1..=6 | 8 | 9 | 15..=20 | 22)
}
