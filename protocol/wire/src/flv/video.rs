//! The header of a video tag (FLV 10.1 §E.4.3), and where the enhanced one begins (Enhanced RTMP v1, v2).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7
//! +-------+-------+---------------+-----------------------------------------------+
//! |frame t|codec  | AVCPacketType | composition time (signed milliseconds)        |
//! +-------+-------+---------------+-----------------------------------------------+
//! |1|frame|packet | fourCC ...                                    enhanced
//! +-+-----+-------+----
//! ```

use crate::cursor::Cursor;
use crate::error::Result;
use crate::flv::COMPOSITION;
use crate::flv::enhanced::{Enhanced, PacketType, VideoPacketType};
use crate::trace::{Field, Trace, field};

static HEADER: Field = field("video header", "FLV 10.1 §E.4.3.1", "How the picture that follows is coded.");
static EX: Field =
    field("ex header", "Enhanced RTMP v2, ExVideoTagHeader", "1: a packet type and a fourCC follow.");
static FRAME_TYPE: Field = field(
    "frame type",
    "FLV 10.1 §E.4.3.1",
    "1 key frame, 2 inter, 3 disposable inter, 4 generated key frame, 5 command.",
);
static CODEC: Field =
    field("codec id", "FLV 10.1 §E.4.3.1", "2 Sorenson H.263, 4 VP6, 7 AVC, 12 HEVC (unofficial).");
static PACKET_TYPE: Field = field(
    "video packet type",
    "Enhanced RTMP v2, ExVideoTagHeader",
    "What kind of packet follows the fourCC.",
);
static COMMAND: Field =
    field("video command", "FLV 10.1 §E.4.3.1", "0: the client starts seeking at the server, 1: it ends.");
static AVC_TYPE: Field = field(
    "AVCPacketType",
    "FLV 10.1 §E.4.3.1",
    "0: decoder configuration, 1: NAL units, 2: end of sequence.",
);

/// FrameType.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameType {
    /// A picture a decoder can start at.
    Key,
    /// A picture predicted from others.
    Inter,
    /// A predicted picture that no other needs (H.263 only).
    DisposableInter,
    /// A key frame that a server made (reserved for servers).
    GeneratedKey,
    /// No picture: video info or a command to the player.
    Command,
    /// A number the format does not define.
    Other(u8),
}

impl FrameType {
    /// From its number.
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Key,
            2 => Self::Inter,
            3 => Self::DisposableInter,
            4 => Self::GeneratedKey,
            5 => Self::Command,
            other => Self::Other(other),
        }
    }

    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Self::Key => 1,
            Self::Inter => 2,
            Self::DisposableInter => 3,
            Self::GeneratedKey => 4,
            Self::Command => 5,
            Self::Other(other) => other,
        }
    }

    /// True for both kinds of key frame.
    pub fn is_key(self) -> bool {
        matches!(self, Self::Key | Self::GeneratedKey)
    }
}

/// CodecID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodecId(pub u8);

impl CodecId {
    /// Sorenson H.263.
    pub const H263: Self = Self(2);
    /// On2 VP6.
    pub const VP6: Self = Self(4);
    /// On2 VP6 with alpha channel.
    pub const VP6_ALPHA: Self = Self(5);
    /// H.264.
    pub const AVC: Self = Self(7);
    /// H.265 in AVC's layout: in no specification, sent by some encoders all the same.
    pub const HEVC: Self = Self(12);

    /// The short codec name used in reports.
    pub fn codec(self) -> Option<&'static str> {
        Some(match self.0 {
            2 => "h263",
            3 => "flashsv",
            6 => "flashsv2",
            4 | 5 => "vp6",
            7 => "h264",
            12 => "h265",
            _ => return None,
        })
    }
}

/// AVCPacketType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AvcPacketType {
    /// The decoder configuration record.
    SequenceHeader,
    /// Length-prefixed NAL units of one picture.
    Nalu,
    /// End of sequence: no picture.
    EndOfSequence,
    /// A number the format does not define.
    Other(u8),
}

impl AvcPacketType {
    /// From its number.
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Self::SequenceHeader,
            1 => Self::Nalu,
            2 => Self::EndOfSequence,
            other => Self::Other(other),
        }
    }

    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Self::SequenceHeader => 0,
            Self::Nalu => 1,
            Self::EndOfSequence => 2,
            Self::Other(other) => other,
        }
    }
}

/// What follows the first byte for AVC, and for HEVC in AVC's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvcHeader {
    /// Configuration, picture or end.
    pub packet_type: AvcPacketType,
    /// Presentation time minus decoding time in milliseconds.
    pub composition_time: i32,
}

/// The header of a video tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoHeader {
    /// One codec number.
    Classic {
        /// Kind of picture.
        frame_type: FrameType,
        /// Codec.
        codec: CodecId,
        /// Only for AVC and HEVC.
        avc: Option<AvcHeader>,
    },
    /// Frame type 5: no picture. The codec number is there all the same.
    Command {
        /// Codec.
        codec: CodecId,
        /// 0: seek begins, 1: seek ends; none where the tag has only its first byte.
        command: Option<u8>,
    },
    /// Enhanced RTMP: call [`Enhanced::packet`] for each packet.
    Enhanced {
        /// Kind of picture.
        frame_type: FrameType,
        /// Packets.
        packets: Enhanced<VideoPacketType>,
    },
}

/// Reads the header of a video tag; what is left in `c` is payload (classic) or packets (enhanced).
pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<VideoHeader> {
    c.group(&HEADER, |c| {
        // The top bit belongs to the frame type in the classic header and is always 0 there: no frame type
        // above 5 was ever defined.
        if c.flag(&EX)? {
            let frame_type = FrameType::from_number(low8(c.bits(&FRAME_TYPE, 3)?));
            let packet_type = VideoPacketType::from_number(low8(c.bits(&PACKET_TYPE, 4)?));
            let packets = Enhanced::decode_video(c, packet_type, frame_type == FrameType::Command)?;
            return Ok(VideoHeader::Enhanced { frame_type, packets });
        }
        let frame_type = FrameType::from_number(low8(c.bits(&FRAME_TYPE, 3)?));
        let codec = CodecId(low8(c.bits(&CODEC, 4)?));
        if frame_type == FrameType::Command {
            let command = if c.is_empty() { None } else { Some(c.u8(&COMMAND)?) };
            return Ok(VideoHeader::Command { codec, command });
        }
        let avc = match codec {
            CodecId::AVC | CodecId::HEVC => Some(avc_header(c)?),
            _ => None,
        };
        Ok(VideoHeader::Classic { frame_type, codec, avc })
    })
}

fn avc_header<T: Trace>(c: &mut Cursor<'_, T>) -> Result<AvcHeader> {
    let packet_type = AvcPacketType::from_number(c.u8(&AVC_TYPE)?);
    // An end of sequence has nothing to time, and some encoders leave the three bytes out.
    let absent = packet_type == AvcPacketType::EndOfSequence && c.is_empty();
    let composition_time = if absent { 0 } else { c.i24(&COMPOSITION)? };
    Ok(AvcHeader { packet_type, composition_time })
}

/// Writes the five bytes before an AVC payload.
pub fn encode_avc(frame_type: FrameType, header: AvcHeader, out: &mut Vec<u8>) {
    encode_classic(frame_type, CodecId::AVC, Some(header), out);
}

/// Writes a classic header.
pub fn encode_classic(frame_type: FrameType, codec: CodecId, avc: Option<AvcHeader>, out: &mut Vec<u8>) {
    out.push((frame_type.number() & 7) << 4 | codec.0 & 0x0f);
    if let Some(avc) = avc {
        let [_, high, middle, low] = avc.composition_time.to_be_bytes();
        out.extend_from_slice(&[avc.packet_type.number(), high, middle, low]);
    }
}

fn low8(value: u64) -> u8 {
    (value & 0xff) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composition_times_are_signed() {
        let header = decode(&mut Cursor::new(&[0x27, 0x01, 0xff, 0xff, 0xde])).unwrap();
        let avc = AvcHeader { packet_type: AvcPacketType::Nalu, composition_time: -34 };
        assert_eq!(
            header,
            VideoHeader::Classic { frame_type: FrameType::Inter, codec: CodecId::AVC, avc: Some(avc) }
        );
        let mut out = Vec::new();
        encode_avc(FrameType::Inter, avc, &mut out);
        assert_eq!(out, [0x27, 0x01, 0xff, 0xff, 0xde]);
    }

    #[test]
    fn a_command_frame_has_no_avc_header() {
        let header = decode(&mut Cursor::new(&[0x57, 0x00])).unwrap();
        assert_eq!(header, VideoHeader::Command { codec: CodecId::AVC, command: Some(0) });
        let header = decode(&mut Cursor::new(&[0x57])).unwrap();
        assert_eq!(header, VideoHeader::Command { codec: CodecId::AVC, command: None });
    }

    #[test]
    fn an_end_of_sequence_may_stop_after_its_packet_type() {
        let header = decode(&mut Cursor::new(&[0x17, 0x02])).unwrap();
        let avc = AvcHeader { packet_type: AvcPacketType::EndOfSequence, composition_time: 0 };
        assert_eq!(
            header,
            VideoHeader::Classic { frame_type: FrameType::Key, codec: CodecId::AVC, avc: Some(avc) }
        );
        assert!(decode(&mut Cursor::new(&[0x17, 0x01])).unwrap_err().is_short());
    }

    #[test]
    fn older_codecs_have_one_byte() {
        let mut c = Cursor::new(&[0x12, 0xaa]);
        let header = decode(&mut c).unwrap();
        assert_eq!(
            header,
            VideoHeader::Classic { frame_type: FrameType::Key, codec: CodecId::H263, avc: None }
        );
        assert_eq!(c.peek(), [0xaa]);
    }
}
