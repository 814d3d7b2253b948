//! What lies in a stream's ring.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use media::{Frame, Kind, Track};

use super::form::{Form, Forms};

/// One entry of the ring, stored once for all viewers.
#[derive(Debug)]
pub struct Item {
    /// What it is.
    pub what: What,
    /// Which publisher it came from: the first one is 1.
    pub epoch: u64,
    /// Codec configuration and metadata as they stand at this item.
    pub setup: Arc<Setup>,
    /// Frames the stream had before this item.
    pub frames_before: u64,
    /// Media time the stream had run for at this item, in milliseconds; see [`Elapsed`](super::Elapsed).
    pub elapsed: u64,
    /// RTMP timestamp in milliseconds, as the publisher sent it.
    pub timestamp: u32,
    /// It as RTMP messages, written once for each form that a viewer asked for.
    pub forms: Forms,
    /// The frame as payloads of RTP packets, cut when the first viewer wants them.
    pub packets: OnceLock<Vec<media::rtp::Piece>>,
}

/// The kinds of items.
#[derive(Debug)]
pub enum What {
    /// A publisher is here.
    Begin,
    /// The publisher has left.
    End {
        /// It said goodbye: it is not about to come back.
        goodbye: bool,
    },
    /// The setup changed here.
    Setup,
    /// A picture or an audio frame.
    Frame(Frame),
    /// A data message, AMF0: viewers over RTMP get it as it came.
    Data(Bytes),
}

impl Item {
    /// What it takes of the ring's bound: the payload, as much again for its written form, and its own size.
    pub fn cost(&self) -> usize {
        let payload = match &self.what {
            What::Frame(frame) => frame.payload.len(),
            What::Data(data) => data.len(),
            What::Setup => self.setup.size(),
            What::Begin | What::End { .. } => 0,
        };
        payload.saturating_mul(2).saturating_add(256)
    }

    /// The frame, where it is one.
    pub fn frame(&self) -> Option<&Frame> {
        match &self.what {
            What::Frame(frame) => Some(frame),
            _ => None,
        }
    }

    /// A frame or data as RTMP messages in a form, which all viewers of that form share; empty for anything else.
    pub fn block(&self, form: Form) -> Bytes {
        self.forms.block(form, || match &self.what {
            What::Frame(frame) => form.frame(frame, self.timestamp),
            What::Data(data) => form.data(data, self.timestamp),
            _ => Bytes::new(),
        })
    }

    /// True for a picture that a decoder can start at.
    pub fn is_key_picture(&self) -> bool {
        self.frame().is_some_and(|f| f.key && f.track.kind() == Kind::Video)
    }
}

/// What a viewer must know before the first frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// onMetaData as AMF0.
    pub metadata: Option<Bytes>,
    /// The video track.
    pub video: Option<Arc<Track>>,
    /// The audio track.
    pub audio: Option<Arc<Track>>,
}

impl Setup {
    /// Bytes of its configurations and metadata.
    fn size(&self) -> usize {
        let metadata = self.metadata.as_ref().map_or(0, Bytes::len);
        self.tracks().fold(metadata, |n, track| n.saturating_add(track.config.len()))
    }

    /// The tracks there are, video first.
    pub fn tracks(&self) -> impl Iterator<Item = &Arc<Track>> {
        self.video.iter().chain(self.audio.iter())
    }
}
