//! The access unit and the track it belongs to.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// Video or audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// What a payload is coded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// H.264 / AVC.
    H264,
    /// H.265 / HEVC.
    H265,
    /// AV1.
    Av1,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// On2 VP6, with or without alpha channel.
    Vp6,
    /// Sorenson H.263.
    H263,
    /// AAC of any object type.
    Aac,
    /// MPEG-1/2 layer III.
    Mp3,
    /// Opus.
    Opus,
    /// FLAC.
    Flac,
    /// G.711 A-law.
    G711a,
    /// G.711 µ-law.
    G711u,
    /// Speex.
    Speex,
}

impl Codec {
    /// The name used in the JSON documents and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "h265",
            Self::Av1 => "av1",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::Vp6 => "vp6",
            Self::H263 => "h263",
            Self::Aac => "aac",
            Self::Mp3 => "mp3",
            Self::Opus => "opus",
            Self::Flac => "flac",
            Self::G711a => "g711a",
            Self::G711u => "g711u",
            Self::Speex => "speex",
        }
    }

    /// Video or audio.
    pub fn kind(self) -> Kind {
        match self {
            Self::H264 | Self::H265 | Self::Av1 | Self::Vp8 | Self::Vp9 | Self::Vp6 | Self::H263 => {
                Kind::Video
            }
            _ => Kind::Audio,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A track: what a decoder must know before the first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// What the frames are coded in.
    pub codec: Codec,
    /// The decoder configuration record: avcC, AudioSpecificConfig, …; empty for codecs that have none.
    pub config: Bytes,
    /// Ticks per second of the frames' timestamps.
    pub clock: u32,
    /// The first byte of the FLV tags it came in, where it came in FLV: legacy audio formats keep their
    /// sampling parameters there and nowhere else.
    pub flv_flags: Option<u8>,
    /// One line for people: `H.264 High 3.1 640x360`, `AAC-LC 48000 Hz stereo`.
    pub description: String,
}

impl Track {
    /// Video or audio.
    pub fn kind(&self) -> Kind {
        self.codec.kind()
    }
}

/// One coded picture or one coded audio frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its track, as it was configured when the frame was coded.
    pub track: Arc<Track>,
    /// Decoding time in ticks of the track's clock; it does not wrap.
    pub dts: i64,
    /// Presentation time in ticks of the track's clock.
    pub pts: i64,
    /// True where a decoder can start here; always true for audio.
    pub key: bool,
    /// Length-prefixed NAL units (H.264, H.265), else the codec's own frame.
    pub payload: Bytes,
}

impl Frame {
    /// Decoding time in milliseconds, rounded down.
    pub fn dts_ms(&self) -> i64 {
        crate::clock::rescale(self.dts, self.track.clock, 1000)
    }

    /// Presentation minus decoding time in milliseconds.
    pub fn composition_ms(&self) -> i64 {
        crate::clock::rescale(self.pts, self.track.clock, 1000).saturating_sub(self.dts_ms())
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { track, dts, pts, key, payload } = self;
        write!(f, "{} dts {dts} pts {pts} key {key} {} bytes", track.codec, payload.len())
    }
}

/// What travels from a publisher to the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A track begins, or its configuration changes.
    Track(Arc<Track>),
    /// A picture or an audio frame.
    Frame(Frame),
    /// onMetaData as AMF0: the name and its object, without `@setDataFrame`.
    Metadata(Bytes),
}
