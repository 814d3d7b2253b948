//! Frames as RTMP messages, written once and shared by all viewers.
//!
//! Every message begins with a fmt 0 header on its own chunk stream and is interleaved with no other, so a
//! block is right for any viewer at any point of its stream.

use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use media::{Frame, Kind, Track, flv};
use session::rtmp::csid;
use wire::rtmp::chunk::{Head, write_message};
use wire::rtmp::message::kind;

/// What a written message depends on besides its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Chunk size of what the server sends, in bytes.
    pub chunk_size: u32,
    /// Message stream id.
    pub stream: u32,
}

impl Form {
    /// As one number, never 0.
    pub fn pack(self) -> u64 {
        u64::from(self.chunk_size.max(1)) << 32 | u64::from(self.stream)
    }

    /// The form of such a number; `None` for 0.
    pub fn unpack(packed: u64) -> Option<Self> {
        let chunk_size = u32::try_from(packed >> 32).ok().filter(|n| *n > 0)?;
        Some(Self { chunk_size, stream: (packed & 0xffff_ffff) as u32 })
    }

    fn message(self, csid: u32, type_id: u8, timestamp: u32, parts: &[&[u8]]) -> Bytes {
        let payload = parts.iter().fold(0usize, |n, p| n.saturating_add(p.len()));
        let chunks = payload.checked_div(usize::try_from(self.chunk_size).unwrap_or(1)).unwrap_or(0);
        // 16 bytes for the first header, at most 5 for each further chunk.
        let mut out = Vec::with_capacity(payload.saturating_add(16).saturating_add(chunks.saturating_mul(5)));
        write_message(
            &mut out,
            self.chunk_size,
            &Head { csid, timestamp, type_id, stream_id: self.stream },
            parts,
        );
        Bytes::from(out)
    }

    /// A track's configuration; `None` for codecs that have none.
    pub fn configuration(self, track: &Track, timestamp: u32) -> Option<Bytes> {
        let (csid, type_id) = channel(track.kind());
        flv::config_body(track).map(|body| self.message(csid, type_id, timestamp, &[&body]))
    }

    /// onMetaData and other data messages.
    pub fn data(self, amf0: &[u8], timestamp: u32) -> Bytes {
        self.message(csid::STATUS, kind::DATA_AMF0, timestamp, &[amf0])
    }

    /// A picture or an audio frame.
    pub fn frame(self, frame: &Frame, timestamp: u32) -> Bytes {
        let (csid, type_id) = channel(frame.track.kind());
        let header = flv::frame_header(frame);
        self.message(csid, type_id, timestamp, &[header.as_ref(), &frame.payload])
    }
}

/// Chunk stream and message type of audio and video.
fn channel(of: Kind) -> (u32, u8) {
    match of {
        Kind::Audio => (csid::AUDIO, kind::AUDIO),
        Kind::Video => (csid::VIDEO, kind::VIDEO),
    }
}

/// A frame's written forms.
#[derive(Debug, Default)]
pub struct Forms {
    /// The one that was asked for first: as a rule the only one.
    first: OnceLock<(Form, Bytes)>,
    others: Mutex<Vec<(Form, Bytes)>>,
}

impl Forms {
    /// What these are the forms of, as one block; `write` writes it.
    pub fn block(&self, form: Form, write: impl Fn() -> Bytes) -> Bytes {
        let (first, block) = self.first.get_or_init(|| (form, write()));
        if *first == form {
            return block.clone();
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, block)) = others.iter().find(|(f, _)| *f == form) {
            return block.clone();
        }
        let block = write();
        others.push((form, block.clone()));
        block
    }
}
