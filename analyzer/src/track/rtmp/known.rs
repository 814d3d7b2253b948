//! What is known of a direction from the chunks read so far.

use wire::rtmp::chunk::DEFAULT_CHUNK_SIZE;

use super::chunk_stream::Chunked;

/// A chunk size larger than any message.
pub(super) const UNLIMITED: u32 = u32::MAX;

/// Chunk size, chunk streams and time of one direction.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Where it is not known, [`UNLIMITED`].
    pub(super) chunk_size: u32,
    /// Where the chunk size is not known: the longest message that came in one chunk. A longer one will show more.
    pub(super) fits: Option<u32>,
    /// Chunk streams, and whether a message of theirs is under way.
    pub(super) streams: Vec<Chunked>,
    /// The latest time of any media message.
    pub(super) latest: Option<u32>,
}

impl Default for Known {
    /// At the first chunk of a connection.
    fn default() -> Self {
        Self { chunk_size: DEFAULT_CHUNK_SIZE, fits: None, streams: Vec::new(), latest: None }
    }
}

impl Known {
    /// Somewhere in a connection.
    pub(super) fn nothing() -> Self {
        Self { chunk_size: UNLIMITED, fits: Some(0), ..Self::default() }
    }

    /// The state of a chunk stream.
    pub(super) fn stream(&self, csid: u32) -> Option<&Chunked> {
        self.streams.iter().find(|s| s.csid == csid)
    }

    /// The chunk size, where it is known.
    pub(super) fn size(&self) -> Option<u32> {
        self.fits.is_none().then_some(self.chunk_size)
    }
}
