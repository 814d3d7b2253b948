//! The enhanced media header of Enhanced RTMP v2: packet type, ModEx prefixes, multitrack, fourCC.
//!
//! ```text
//! first byte | (ModEx size, data, type|packet type)* | (multitrack|packet type)? | fourCC? | packets
//! packet     | fourCC? track id? size24? | composition time? payload
//! ```

use crate::cursor::Cursor;
use crate::error::Result;
use crate::flv::fourcc::FourCc;
use crate::flv::{COMPOSITION, PAYLOAD};
use crate::trace::{Field, Trace, field};

const V2: &str = "Enhanced RTMP v2, ExVideoTagHeader and ExAudioTagHeader";
static MOD_EX: Field = field("ModEx", V2, "An extension of the packet that follows.");
static MOD_EX_SIZE: Field = field("ModEx size", V2, "Size of the extension's data in bytes, minus 1.");
static MOD_EX_LONG: Field = field("ModEx long size", V2, "Size of the extension's data in bytes, minus 1.");
static MOD_EX_DATA: Field = field("ModEx data", V2, "Data of the extension.");
static MOD_EX_NANOS: Field = field("timestamp offset", V2, "Nanoseconds to add to the message's timestamp.");
static MOD_EX_TYPE: Field = field("ModEx type", V2, "0: timestamp offset in nanoseconds.");
static PACKET_TYPE: Field = field("packet type", V2, "What kind of packet follows.");
static MULTITRACK: Field =
    field("multitrack type", V2, "0: one track, 1: many tracks, 2: many tracks with many codecs.");
static FOURCC: Field = field("fourCC", V2, "The codec in four characters.");
static COMMAND: Field = field("video command", V2, "0: the client starts seeking at the server, 1: it ends.");
static PACKET: Field = field("packet", V2, "What one track has in this message.");
static TRACK: Field = field("track id", V2, "Number of the track; 0 is the default one.");
static SIZE: Field = field("track size", V2, "Bytes this track has in the message.");

/// A packet type of either medium.
pub trait PacketType: Copy + std::fmt::Debug + PartialEq + Eq {
    /// From its number.
    fn from_number(number: u8) -> Self;
    /// Its number.
    fn number(self) -> u8;
    /// True where a coded frame (picture or sound) follows.
    fn is_coded_frame(self) -> bool;
    /// True where codec configuration follows.
    fn is_configuration(self) -> bool;
    /// True where a composition time precedes the payload.
    fn has_composition_time(self, fourcc: FourCc) -> bool;
    /// The number that announces a ModEx prefix.
    const MOD_EX: Self;
    /// The number that announces several tracks.
    const MULTITRACK: Self;
}

/// VideoPacketType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoPacketType {
    /// Decoder configuration.
    SequenceStart,
    /// A picture, with its composition time where the codec has one.
    CodedFrames,
    /// End of sequence.
    SequenceEnd,
    /// A picture whose composition time is 0 and left out.
    CodedFramesX,
    /// AMF-coded metadata such as colour information.
    Metadata,
    /// Configuration for MPEG-2 TS carriage.
    Mpeg2TsSequenceStart,
    /// Several tracks follow.
    Multitrack,
    /// An extension prefix follows.
    ModEx,
    /// A number the specification does not define.
    Other(u8),
}

impl PacketType for VideoPacketType {
    const MOD_EX: Self = Self::ModEx;
    const MULTITRACK: Self = Self::Multitrack;

    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::SequenceStart,
            1 => Self::CodedFrames,
            2 => Self::SequenceEnd,
            3 => Self::CodedFramesX,
            4 => Self::Metadata,
            5 => Self::Mpeg2TsSequenceStart,
            6 => Self::Multitrack,
            7 => Self::ModEx,
            other => Self::Other(other),
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::SequenceStart => 0,
            Self::CodedFrames => 1,
            Self::SequenceEnd => 2,
            Self::CodedFramesX => 3,
            Self::Metadata => 4,
            Self::Mpeg2TsSequenceStart => 5,
            Self::Multitrack => 6,
            Self::ModEx => 7,
            Self::Other(other) => other,
        }
    }

    fn is_coded_frame(self) -> bool {
        matches!(self, Self::CodedFrames | Self::CodedFramesX)
    }

    fn is_configuration(self) -> bool {
        matches!(self, Self::SequenceStart | Self::Mpeg2TsSequenceStart)
    }

    fn has_composition_time(self, fourcc: FourCc) -> bool {
        self == Self::CodedFrames && fourcc.has_composition_time()
    }
}

/// AudioPacketType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioPacketType {
    /// Decoder configuration.
    SequenceStart,
    /// A coded audio frame.
    CodedFrames,
    /// End of sequence.
    SequenceEnd,
    /// Channel order and layout.
    MultichannelConfig,
    /// Several tracks follow.
    Multitrack,
    /// An extension prefix follows.
    ModEx,
    /// A number the specification does not define.
    Other(u8),
}

impl PacketType for AudioPacketType {
    const MOD_EX: Self = Self::ModEx;
    const MULTITRACK: Self = Self::Multitrack;

    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::SequenceStart,
            1 => Self::CodedFrames,
            2 => Self::SequenceEnd,
            4 => Self::MultichannelConfig,
            5 => Self::Multitrack,
            7 => Self::ModEx,
            other => Self::Other(other),
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::SequenceStart => 0,
            Self::CodedFrames => 1,
            Self::SequenceEnd => 2,
            Self::MultichannelConfig => 4,
            Self::Multitrack => 5,
            Self::ModEx => 7,
            Self::Other(other) => other,
        }
    }

    fn is_coded_frame(self) -> bool {
        self == Self::CodedFrames
    }

    fn is_configuration(self) -> bool {
        self == Self::SequenceStart
    }

    fn has_composition_time(self, _: FourCc) -> bool {
        false
    }
}

/// How several tracks share a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multitrack {
    /// One track that is not the default one; no size field.
    OneTrack,
    /// Several tracks of one codec.
    ManyTracks,
    /// Several tracks, each with its codec.
    ManyTracksManyCodecs,
    /// A number the specification does not define.
    Other(u8),
}

impl Multitrack {
    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::OneTrack,
            1 => Self::ManyTracks,
            2 => Self::ManyTracksManyCodecs,
            other => Self::Other(other),
        }
    }
}

/// What all packets of an enhanced message share. Call [`packet`](Self::packet) until it returns none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enhanced<P> {
    /// Kind of packet, the same for every track.
    pub packet_type: P,
    /// Nanoseconds to add to the message's timestamp.
    pub nanos: u32,
    /// How several tracks share the message, if they do.
    pub multitrack: Option<Multitrack>,
    /// The codec where it is the same for every track.
    pub fourcc: Option<FourCc>,
    /// A command to the player in place of packets (video frame type 5).
    pub command: Option<u8>,
    done: bool,
}

/// What one track has in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<P> {
    /// Kind of packet.
    pub packet_type: P,
    /// Number of the track; 0 where the message has only one.
    pub track: u8,
    /// Codec.
    pub fourcc: FourCc,
    /// Presentation time minus decoding time in milliseconds.
    pub composition_time: i32,
    /// Payload bytes that follow; none where the payload goes on to the end of the message.
    pub size: Option<usize>,
}

impl<P: PacketType> Packet<P> {
    /// Takes the packet's payload, which stands next in `c`.
    pub fn payload<'b, T: Trace>(&self, c: &mut Cursor<'b, T>) -> Result<&'b [u8]> {
        match self.size {
            Some(size) => c.bytes(&PAYLOAD, size),
            None => Ok(c.rest(&PAYLOAD)),
        }
    }
}

impl Enhanced<AudioPacketType> {
    pub(super) fn decode_audio<T: Trace>(
        c: &mut Cursor<'_, T>,
        packet_type: AudioPacketType,
    ) -> Result<Self> {
        Self::decode(c, packet_type, false)
    }

    /// Writes the header of a message that has one audio track.
    pub fn encode_audio(packet_type: AudioPacketType, fourcc: FourCc, out: &mut Vec<u8>) {
        out.push(0x90 | packet_type.number() & 0x0f);
        out.extend_from_slice(&fourcc.0);
    }
}

impl Enhanced<VideoPacketType> {
    pub(super) fn decode_video<T: Trace>(
        c: &mut Cursor<'_, T>,
        packet_type: VideoPacketType,
        command: bool,
    ) -> Result<Self> {
        Self::decode(c, packet_type, command)
    }

    /// Writes the header of a message that has one video track. The composition time is written where packet
    /// type and codec have one.
    pub fn encode_video(
        frame_type: super::FrameType,
        packet_type: VideoPacketType,
        fourcc: FourCc,
        composition_time: i32,
        out: &mut Vec<u8>,
    ) {
        out.push(0x80 | (frame_type.number() & 7) << 4 | packet_type.number() & 0x0f);
        out.extend_from_slice(&fourcc.0);
        if packet_type.has_composition_time(fourcc) {
            let [_, high, middle, low] = composition_time.to_be_bytes();
            out.extend_from_slice(&[high, middle, low]);
        }
    }
}

impl<P: PacketType> Enhanced<P> {
    fn decode<T: Trace>(c: &mut Cursor<'_, T>, packet_type: P, command: bool) -> Result<Self> {
        let mut this =
            Self { packet_type, nanos: 0, multitrack: None, fourcc: None, command: None, done: false };
        // Each turn consumes at least three bytes, so the message's length bounds the loop.
        while this.packet_type == P::MOD_EX {
            c.group(&MOD_EX, |c| this.mod_ex(c))?;
        }
        // Metadata (packet type 4) has frame type 5 as well, but is no command.
        if command && this.packet_type.number() != VideoPacketType::Metadata.number() {
            this.command = Some(c.u8(&COMMAND)?);
            this.done = true;
            return Ok(this);
        }
        if this.packet_type == P::MULTITRACK {
            this.multitrack = Some(Multitrack::from_number(low8(c.bits(&MULTITRACK, 4)?)));
            this.packet_type = P::from_number(low8(c.bits(&PACKET_TYPE, 4)?));
        }
        if this.multitrack != Some(Multitrack::ManyTracksManyCodecs) {
            this.fourcc = Some(FourCc::from(c.u32(&FOURCC)?));
        }
        Ok(this)
    }

    fn mod_ex<T: Trace>(&mut self, c: &mut Cursor<'_, T>) -> Result<()> {
        let mut size = usize::from(c.u8(&MOD_EX_SIZE)?).saturating_add(1);
        if size == 256 {
            size = usize::from(c.u16(&MOD_EX_LONG)?).saturating_add(1);
        }
        // The type stands behind the data it explains; look there first so that the data gets its name.
        let kind = c.peek().get(size).map_or(0xff, |byte| byte >> 4);
        if kind == 0 && size >= 3 {
            self.nanos = c.u24(&MOD_EX_NANOS)?;
            c.bytes(&MOD_EX_DATA, size.saturating_sub(3))?;
        } else {
            c.bytes(&MOD_EX_DATA, size)?;
        }
        c.bits(&MOD_EX_TYPE, 4)?;
        self.packet_type = P::from_number(low8(c.bits(&PACKET_TYPE, 4)?));
        Ok(())
    }

    /// The next packet, whose payload then stands next in `c` (see [`Packet::payload`]); none at the end.
    pub fn packet<T: Trace>(&mut self, c: &mut Cursor<'_, T>) -> Result<Option<Packet<P>>> {
        let sized = !matches!(self.multitrack, None | Some(Multitrack::OneTrack));
        if self.done || (sized && c.is_empty()) {
            return Ok(None);
        }
        self.done = !sized;
        c.group(&PACKET, |c| {
            let fourcc = match self.fourcc {
                Some(fourcc) => fourcc,
                None => FourCc::from(c.u32(&FOURCC)?),
            };
            let track = if self.multitrack.is_some() { c.u8(&TRACK)? } else { 0 };
            let mut size = match sized {
                true => Some(usize::try_from(c.u24(&SIZE)?).unwrap_or(usize::MAX)),
                false => None,
            };
            let mut composition_time = 0;
            if self.packet_type.has_composition_time(fourcc) {
                composition_time = c.i24(&COMPOSITION)?;
                size = size.map(|size| size.saturating_sub(3));
            }
            Ok(Packet { packet_type: self.packet_type, track, fourcc, composition_time, size })
        })
        .map(Some)
    }
}

fn low8(value: u64) -> u8 {
    (value & 0xff) as u8
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::flv::{AudioHeader, FrameType, VideoHeader, audio, video};
    use crate::trace::Tree;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
    }

    type Seen<P> = Vec<(Packet<P>, Vec<u8>)>;

    fn video_packets(bytes: &[u8]) -> (FrameType, Enhanced<VideoPacketType>, Seen<VideoPacketType>) {
        let mut c = Cursor::traced(bytes, Tree::default());
        let VideoHeader::Enhanced { frame_type, mut packets } = video::decode(&mut c).unwrap() else {
            panic!()
        };
        let mut seen = Vec::new();
        while let Some(packet) = packets.packet(&mut c).unwrap() {
            seen.push((packet, packet.payload(&mut c).unwrap().to_vec()));
        }
        let leaves: u64 = c.into_trace().leaves().map(|n| n.bits.end - n.bits.start).sum();
        assert_eq!(leaves, bytes.len() as u64 * 8, "leaves tile the message");
        (frame_type, packets, seen)
    }

    fn audio_packets(bytes: &[u8]) -> (Enhanced<AudioPacketType>, Seen<AudioPacketType>) {
        let mut c = Cursor::new(bytes);
        let AudioHeader::Enhanced(mut packets) = audio::decode(&mut c).unwrap() else { panic!() };
        let mut seen = Vec::new();
        while let Some(packet) = packets.packet(&mut c).unwrap() {
            seen.push((packet, packet.payload(&mut c).unwrap().to_vec()));
        }
        (packets, seen)
    }

    #[test]
    fn hevc_sequence_start_and_coded_frames() {
        let (frame_type, head, seen) = video_packets(&hex("90 68766331 01016000"));
        assert_eq!(frame_type, FrameType::Key);
        assert_eq!(head.fourcc, Some(FourCc::HVC1));
        assert_eq!(seen.len(), 1);
        assert!(seen[0].0.packet_type.is_configuration());
        assert_eq!(seen[0].1, [1, 1, 0x60, 0]);

        let (_, _, seen) = video_packets(&hex("91 68766331 000042 00000004 26010203"));
        assert_eq!(seen[0].0.composition_time, 0x42);
        assert_eq!(seen[0].1.len(), 8);

        let (_, _, seen) = video_packets(&hex("a3 68766331 00000004 02010203"));
        assert_eq!((seen[0].0.composition_time, seen[0].1.len()), (0, 8));
        assert!(seen[0].0.packet_type.is_coded_frame());
    }

    #[test]
    fn many_tracks_with_many_codecs() {
        let (_, head, seen) =
            video_packets(&hex("96 21 68766331 03 000004 41424344 61763031 05 000004 45464748"));
        assert_eq!(head.multitrack, Some(Multitrack::ManyTracksManyCodecs));
        let ids: Vec<_> = seen.iter().map(|(p, _)| (p.track, p.fourcc)).collect();
        assert_eq!(ids, [(3, FourCc::HVC1), (5, FourCc::AV01)]);
        // For HEVC the composition time is part of the track's four bytes.
        assert_eq!((seen[0].1.as_slice(), seen[1].1.as_slice()), (&b"D"[..], &b"EFGH"[..]));
    }

    #[test]
    fn many_audio_tracks_and_one_track() {
        let (head, seen) = audio_packets(&hex("95 11 6d703461 00 000004 41424344 01 000004 45464748"));
        assert_eq!(head.multitrack, Some(Multitrack::ManyTracks));
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[1].0.track, 1);
        assert_eq!(seen[1].1, b"EFGH");

        let (head, seen) = audio_packets(&hex("95 01 6d703461 07 4142434445464748"));
        assert_eq!(head.multitrack, Some(Multitrack::OneTrack));
        assert_eq!((seen[0].0.track, seen[0].1.as_slice()), (7, &b"ABCDEFGH"[..]));
    }

    #[test]
    fn mod_ex_carries_nanoseconds_before_the_packet() {
        let (_, head, seen) = video_packets(&hex("97 02 0001f4 01 68766331 000000 00000004 44415441"));
        assert_eq!((head.nanos, head.packet_type), (500, VideoPacketType::CodedFrames));
        assert_eq!(seen[0].1, hex("00000004 44415441"));
    }

    #[test]
    fn metadata_is_no_command_although_its_frame_type_is_5() {
        let (frame_type, head, seen) = video_packets(&hex("d4 68766331 0200 09"));
        assert_eq!((frame_type, head.packet_type), (FrameType::Command, VideoPacketType::Metadata));
        assert_eq!((head.command, seen.len()), (None, 1));
        let (_, head, seen) = video_packets(&hex("d1 00"));
        assert_eq!((head.command, seen.len()), (Some(0), 0));
    }

    #[test]
    fn headers_are_written_as_they_are_read() {
        let mut out = Vec::new();
        Enhanced::encode_video(FrameType::Inter, VideoPacketType::CodedFrames, FourCc::HVC1, -7, &mut out);
        let (frame_type, _, seen) = video_packets(&out);
        assert_eq!((frame_type, seen[0].0.composition_time), (FrameType::Inter, -7));
        out.clear();
        Enhanced::encode_audio(AudioPacketType::SequenceStart, FourCc::OPUS, &mut out);
        assert_eq!(audio_packets(&out).0.fourcc, Some(FourCc::OPUS));
    }
}
