//! FLV: the media headers that RTMP messages carry, and the file format around them.
//!
//! An RTMP audio or video message body is exactly the body of an FLV tag. Its first byte tells whether the
//! classic header (Adobe FLV v10.1 §E.4) or the enhanced one (Enhanced RTMP v1 and v2, with a fourCC) follows.

pub mod audio;
mod enhanced;
pub mod file;
mod fourcc;
pub mod video;

pub use audio::{AacPacketType, AudioHeader, ClassicAudio, SoundFormat};
pub use enhanced::{AudioPacketType, Enhanced, Multitrack, Packet, PacketType, VideoPacketType};
pub use fourcc::FourCc;
pub use video::{AvcHeader, AvcPacketType, CodecId, FrameType, VideoHeader};

use crate::trace::{Field, field};

/// The codec data or coded frame behind a media header.
pub static PAYLOAD: Field = field("payload", "FLV 10.1 §E.4", "Codec configuration or a coded frame.");

/// Presentation time minus decoding time.
static COMPOSITION: Field = field(
    "composition time",
    "FLV 10.1 §E.4.3.1",
    "Presentation time minus decoding time in milliseconds, signed 24 bit.",
);

/// Tag type 8, the same number as RTMP's message type.
pub const TAG_AUDIO: u8 = 8;
/// Tag type 9, the same number as RTMP's message type.
pub const TAG_VIDEO: u8 = 9;
/// Tag type 18: script data, AMF0 as in RTMP's data message.
pub const TAG_SCRIPT: u8 = 18;
