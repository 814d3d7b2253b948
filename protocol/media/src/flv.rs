//! FLV tag bodies, which RTMP audio and video messages carry, to units and back.

use std::sync::Arc;

use bytes::Bytes;
use wire::codec::LengthPrefixed;
use wire::codec::avc::NalType;
use wire::flv::{
    AacPacketType, AudioHeader, AvcHeader, AvcPacketType, ClassicAudio, CodecId, Enhanced, FourCc, FrameType,
    PacketType, SoundFormat, VideoHeader, VideoPacketType, audio, video,
};
use wire::{Cursor, Error};

use crate::clock::Unwrap32;
use crate::describe::describe;
use crate::frame::{Codec, Frame, Kind, Track, Unit};
use crate::sets::{Following, Sets};

/// FLV and RTMP count milliseconds.
const CLOCK: u32 = 1000;

/// Turns tag bodies into units, one publisher's audio and video.
#[derive(Debug, Default)]
pub struct Demuxer {
    video: Side,
    audio: Side,
    avc: Avc,
}

/// H.264 whose pictures may bring parameter sets that the sequence header does not have.
#[derive(Debug, Default)]
struct Avc {
    /// The latest sequence header.
    header: Bytes,
    length_size: u8,
    sets: Following,
}

impl Avc {
    /// Takes a sequence header. True where it is new; one that was sent before takes back what pictures brought since, from
    /// the next key picture on.
    fn header(&mut self, header: &Bytes) -> bool {
        let sets = Sets::of(header);
        if self.header == *header {
            self.sets.sets = sets;
            return false;
        }
        // Its fifth byte ends with the bytes of a length, less one (ISO 14496-15 §5.3.3.1).
        self.length_size = header.get(4).map_or(4, |byte| (byte & 3).saturating_add(1));
        (self.header, self.sets) = (header.clone(), Following::from(sets));
        true
    }

    /// Takes a picture; the decoder configuration record from it on, where it brings another.
    fn picture(&mut self, key: bool, payload: &[u8]) -> Option<Bytes> {
        for nal in LengthPrefixed::new(payload, self.length_size).map_while(Result::ok) {
            if matches!(NalType::of(nal), Some(NalType::SPS | NalType::PPS)) {
                self.sets.sets.take(nal);
            }
        }
        let record = self.sets.picture(key, payload, self.length_size)?;
        if Sets::of(&self.header).mean(&self.sets.sets) {
            return Some(self.header.clone());
        }
        let mut record = record.to_vec();
        if let Some(byte) = record.get_mut(4) {
            *byte = *byte & !3 | self.length_size.saturating_sub(1) & 3;
        }
        Some(Bytes::from(record))
    }
}

#[derive(Debug, Default)]
struct Side {
    clock: Unwrap32,
    track: Option<Arc<Track>>,
}

impl Side {
    /// The track, where it is new or has changed.
    fn configure(&mut self, codec: Codec, config: Bytes, flv_flags: Option<u8>) -> Option<Unit> {
        let same = self
            .track
            .as_ref()
            .is_some_and(|t| t.codec == codec && t.config == config && t.flv_flags == flv_flags);
        if same {
            return None;
        }
        let description = describe(codec, &config, flv_flags);
        let track = Arc::new(Track { codec, config, clock: CLOCK, flv_flags, description });
        self.track = Some(track.clone());
        Some(Unit::Track(track))
    }

    /// A frame of the configured track; `None` where its codec was never configured.
    fn frame(&self, codec: Codec, dts: i64, composition: i32, key: bool, payload: Bytes) -> Option<Unit> {
        let track = self.track.clone().filter(|t| t.codec == codec)?;
        let pts = dts.saturating_add(i64::from(composition));
        Some(Unit::Frame(Frame { track, dts, pts, key, payload }))
    }
}

/// What a tag body held.
pub type Units = (Option<Unit>, Option<Unit>);

impl Demuxer {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a video tag holds: at most a track and a frame. Payloads share `body`.
    ///
    /// An empty body, an end of sequence and a command frame hold nothing; a frame whose configuration never
    /// came could not be decoded and is an error.
    pub fn video(&mut self, timestamp: u32, body: Bytes) -> Result<Units, Error> {
        let dts = self.video.clock.next(timestamp);
        if body.is_empty() {
            return Ok((None, None));
        }
        let mut c = Cursor::new(&body);
        match video::decode(&mut c)? {
            VideoHeader::Classic { frame_type, codec, avc: Some(avc) } => {
                let name = if codec == CodecId::HEVC { Codec::H265 } else { Codec::H264 };
                let payload = body.slice(c.position()..);
                match avc.packet_type {
                    AvcPacketType::SequenceHeader if !payload.is_empty() => {
                        Ok((self.configure(name, payload), None))
                    }
                    AvcPacketType::Nalu if !payload.is_empty() => {
                        self.picture(name, dts, avc.composition_time, frame_type.is_key(), payload)
                    }
                    _ => Ok((None, None)),
                }
            }
            VideoHeader::Classic { frame_type, codec, avc: None } => {
                let known = match codec {
                    CodecId::H263 => Codec::H263,
                    CodecId::VP6 | CodecId::VP6_ALPHA => Codec::Vp6,
                    // Seen in the field for VP8, never standardised.
                    CodecId(8) => Codec::Vp8,
                    other => return Err(unknown("video codec id", u64::from(other.0))),
                };
                let payload = body.slice(c.position()..);
                if payload.is_empty() {
                    return Ok((None, None));
                }
                let track = self.video.configure(known, Bytes::new(), Some(codec.0));
                Ok((track, self.video.frame(known, dts, 0, frame_type.is_key(), payload)))
            }
            VideoHeader::Command { .. } => Ok((None, None)),
            VideoHeader::Enhanced { frame_type, mut packets } => {
                let Some(packet) = packets.packet(&mut c)? else { return Ok((None, None)) };
                let codec = enhanced_codec(packet.fourcc)?;
                let start = c.position();
                let length = packet.payload(&mut c)?.len();
                let payload = body.slice(start..start.saturating_add(length));
                if packet.packet_type.is_configuration() {
                    return Ok((self.configure(codec, payload), None));
                }
                if !packet.packet_type.is_coded_frame() || payload.is_empty() {
                    return Ok((None, None));
                }
                self.picture(codec, dts, packet.composition_time, frame_type.is_key(), payload)
            }
        }
    }

    /// A sequence header; the track, where it is new or has changed.
    fn configure(&mut self, codec: Codec, config: Bytes) -> Option<Unit> {
        let avc = codec == Codec::H264;
        let again = avc && !self.avc.header(&config);
        if again && self.video.track.as_ref().is_some_and(|track| track.codec == codec) {
            return None;
        }
        self.video.configure(codec, config, None)
    }

    /// A picture, and the track before it where the picture brings other parameter sets.
    fn picture(
        &mut self,
        codec: Codec,
        dts: i64,
        composition: i32,
        key: bool,
        payload: Bytes,
    ) -> Result<Units, Error> {
        let known = self.video.track.as_ref().is_some_and(|track| track.codec == codec);
        let config = (codec == Codec::H264 && known).then(|| self.avc.picture(key, &payload)).flatten();
        let track = config.and_then(|config| self.video.configure(codec, config, None));
        let unit = self.video.frame(codec, dts, composition, key, payload);
        Ok((track, Some(unit.ok_or_else(|| unconfigured(codec))?)))
    }

    /// What an audio tag holds, as [`video`](Self::video).
    pub fn audio(&mut self, timestamp: u32, body: Bytes) -> Result<Units, Error> {
        let dts = self.audio.clock.next(timestamp);
        let Some(flags) = body.first().copied() else { return Ok((None, None)) };
        let mut c = Cursor::new(&body);
        match audio::decode(&mut c)? {
            AudioHeader::Classic(ClassicAudio { aac: Some(packet_type), .. }) => {
                let payload = body.slice(c.position()..);
                match packet_type {
                    AacPacketType::SequenceHeader if !payload.is_empty() => {
                        Ok((self.audio.configure(Codec::Aac, payload, None), None))
                    }
                    AacPacketType::Raw if !payload.is_empty() => {
                        let unit = self.audio.frame(Codec::Aac, dts, 0, true, payload);
                        Ok((None, Some(unit.ok_or_else(|| unconfigured(Codec::Aac))?)))
                    }
                    _ => Ok((None, None)),
                }
            }
            AudioHeader::Classic(header) => {
                let codec = match header.format {
                    SoundFormat::MP3 | SoundFormat::MP3_8K => Codec::Mp3,
                    SoundFormat::G711A => Codec::G711a,
                    SoundFormat::G711U => Codec::G711u,
                    SoundFormat::SPEEX => Codec::Speex,
                    other => return Err(unknown("sound format", u64::from(other.0))),
                };
                let payload = body.slice(c.position()..);
                if payload.is_empty() {
                    return Ok((None, None));
                }
                let track = self.audio.configure(codec, Bytes::new(), Some(flags));
                Ok((track, self.audio.frame(codec, dts, 0, true, payload)))
            }
            AudioHeader::Enhanced(mut packets) => {
                let Some(packet) = packets.packet(&mut c)? else { return Ok((None, None)) };
                let codec = enhanced_codec(packet.fourcc)?;
                let start = c.position();
                let length = packet.payload(&mut c)?.len();
                let payload = body.slice(start..start.saturating_add(length));
                if packet.packet_type.is_configuration() {
                    return Ok((self.audio.configure(codec, payload, None), None));
                }
                if !packet.packet_type.is_coded_frame() || payload.is_empty() {
                    return Ok((None, None));
                }
                let unit = self.audio.frame(codec, dts, 0, true, payload);
                Ok((None, Some(unit.ok_or_else(|| unconfigured(codec))?)))
            }
        }
    }
}

fn unconfigured(codec: Codec) -> Error {
    let mut error = Error::value(0, "payload", "the codec's configuration first", 0);
    error.within = codec.name();
    error
}

fn unknown(field: &'static str, got: u64) -> Error {
    Error::value(0, field, "a codec this server carries", got)
}

fn enhanced_codec(fourcc: FourCc) -> Result<Codec, Error> {
    Ok(match fourcc {
        FourCc::AVC1 => Codec::H264,
        FourCc::HVC1 => Codec::H265,
        FourCc::AV01 => Codec::Av1,
        FourCc::VP08 => Codec::Vp8,
        FourCc::VP09 => Codec::Vp9,
        FourCc::MP4A => Codec::Aac,
        FourCc::MP3 => Codec::Mp3,
        FourCc::OPUS => Codec::Opus,
        FourCc::FLAC => Codec::Flac,
        FourCc(other) => return Err(unknown("fourCC", u64::from(u32::from_be_bytes(other)))),
    })
}

/// The bytes that stand before a frame's payload in its tag body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    bytes: Vec<u8>,
}

impl AsRef<[u8]> for FrameHeader {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The tag header of a frame: the classic form for the codecs that have one, the enhanced form for the rest.
pub fn frame_header(frame: &Frame) -> FrameHeader {
    let mut bytes = Vec::with_capacity(8);
    let frame_type = if frame.key { FrameType::Key } else { FrameType::Inter };
    let composition = i32::try_from(frame.composition_ms()).unwrap_or(0).clamp(-0x80_0000, 0x7f_ffff);
    let flags = frame.track.flv_flags;
    match frame.track.codec {
        Codec::H264 => {
            let avc = AvcHeader { packet_type: AvcPacketType::Nalu, composition_time: composition };
            video::encode_avc(frame_type, avc, &mut bytes);
        }
        Codec::H263 => video::encode_classic(frame_type, CodecId::H263, None, &mut bytes),
        Codec::Vp6 => {
            let id = flags.map_or(CodecId::VP6, CodecId);
            video::encode_classic(frame_type, id, None, &mut bytes);
        }
        Codec::Aac => audio::encode(ClassicAudio::aac(AacPacketType::Raw), &mut bytes),
        codec => match (flags, fourcc(codec)) {
            (Some(flags), _) if codec.kind() == Kind::Audio => bytes.push(flags),
            (Some(id), _) => video::encode_classic(frame_type, CodecId(id), None, &mut bytes),
            (None, Some(fourcc)) if codec.kind() == Kind::Audio => {
                Enhanced::encode_audio(wire::flv::AudioPacketType::CodedFrames, fourcc, &mut bytes);
            }
            (None, Some(fourcc)) => {
                let kind = VideoPacketType::CodedFrames;
                Enhanced::encode_video(frame_type, kind, fourcc, composition, &mut bytes);
            }
            // G.711 and Speex exist in the classic form only, with their usual parameters.
            (None, None) => bytes.push(classic_flags(codec)),
        },
    }
    FrameHeader { bytes }
}

/// The tag body that configures a track; `None` for codecs that need none.
pub fn config_body(track: &Track) -> Option<Vec<u8>> {
    if track.config.is_empty() {
        return None;
    }
    let mut body = Vec::with_capacity(track.config.len().saturating_add(8));
    match track.codec {
        Codec::H264 => {
            let avc = AvcHeader { packet_type: AvcPacketType::SequenceHeader, composition_time: 0 };
            video::encode_avc(FrameType::Key, avc, &mut body);
        }
        Codec::Aac => audio::encode(ClassicAudio::aac(AacPacketType::SequenceHeader), &mut body),
        codec if codec.kind() == Kind::Audio => {
            let kind = wire::flv::AudioPacketType::SequenceStart;
            Enhanced::encode_audio(kind, fourcc(codec)?, &mut body);
        }
        codec => {
            let kind = VideoPacketType::SequenceStart;
            Enhanced::encode_video(FrameType::Key, kind, fourcc(codec)?, 0, &mut body);
        }
    }
    body.extend_from_slice(&track.config);
    Some(body)
}

fn fourcc(codec: Codec) -> Option<FourCc> {
    Some(match codec {
        Codec::H264 => FourCc::AVC1,
        Codec::H265 => FourCc::HVC1,
        Codec::Av1 => FourCc::AV01,
        Codec::Vp8 => FourCc::VP08,
        Codec::Vp9 => FourCc::VP09,
        Codec::Aac => FourCc::MP4A,
        Codec::Mp3 => FourCc::MP3,
        Codec::Opus => FourCc::OPUS,
        Codec::Flac => FourCc::FLAC,
        Codec::Vp6 | Codec::H263 | Codec::G711a | Codec::G711u | Codec::Speex => return None,
    })
}

/// First byte of a classic audio tag whose own was not seen: G.711 is 8 kHz mono by definition, Speex 16 kHz.
fn classic_flags(codec: Codec) -> u8 {
    let format = match codec {
        Codec::G711a => SoundFormat::G711A,
        Codec::G711u => SoundFormat::G711U,
        _ => SoundFormat::SPEEX,
    };
    format.0 << 4 | 0b0010
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    fn frame(units: Units) -> Frame {
        match units.1 {
            Some(Unit::Frame(frame)) => frame,
            other => panic!("{other:?}"),
        }
    }

    fn rebuilt(frame: &Frame) -> Vec<u8> {
        [frame_header(frame).as_ref(), &frame.payload].concat()
    }

    #[test]
    fn h264_and_aac_come_back_byte_for_byte_with_their_composition_times() {
        let mut d = Demuxer::new();
        let config: &[u8] = &[0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x1f, 0xff, 0xe0, 0];
        let (track, none) = d.video(0, Bytes::copy_from_slice(config)).unwrap();
        let Some(Unit::Track(track)) = track else { panic!() };
        assert!(none.is_none());
        assert_eq!(config_body(&track).as_deref(), Some(config));
        for body in [[0x17, 1, 0, 0, 80, 0, 0, 0, 1, 0x65], [0x27, 1, 0xff, 0xff, 0xde, 0, 0, 0, 1, 0x41]] {
            let f = frame(d.video(40, Bytes::copy_from_slice(&body)).unwrap());
            assert_eq!(rebuilt(&f), body);
        }
        d.audio(0, Bytes::from_static(&[0xaf, 0, 0x11, 0x90])).unwrap();
        let f = frame(d.audio(21, Bytes::from_static(&[0xaf, 1, 0x21, 0x10])).unwrap());
        assert_eq!((rebuilt(&f), f.dts, f.key), (vec![0xaf, 1, 0x21, 0x10], 21, true));
    }

    #[test]
    fn a_repeated_configuration_is_no_news_and_a_changed_one_is() {
        let mut d = Demuxer::new();
        let send =
            |d: &mut Demuxer, asc: &'static [u8]| d.audio(0, Bytes::from_static(asc)).unwrap().0.is_some();
        assert!(send(&mut d, &[0xaf, 0, 0x11, 0x90]));
        assert!(!send(&mut d, &[0xaf, 0, 0x11, 0x90]));
        assert!(send(&mut d, &[0xaf, 0, 0x12, 0x10]));
    }

    /// A tag with NAL units behind lengths of four bytes.
    fn picture(key: bool, units: &[&[u8]]) -> Bytes {
        let mut body = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
        for unit in units {
            body.extend_from_slice(&u32::try_from(unit.len()).unwrap().to_be_bytes());
            body.extend_from_slice(unit);
        }
        Bytes::from(body)
    }

    #[test]
    fn parameter_sets_of_key_pictures_make_another_track_until_a_sequence_header_takes_them_back() {
        use crate::sets::tests::{LARGE, PPS, SMALL};
        const OTHER_PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x40];
        let (idr, slice): (&[u8], &[u8]) = (&[0x65, 0x88, 0x80], &[0x41, 0x9a]);
        let small = wire::codec::avc::encode(&[SMALL], &[PPS]).unwrap();
        let large = wire::codec::avc::encode(&[LARGE], &[PPS]).unwrap();
        let header = Bytes::from([&[0x17, 0, 0, 0, 0], &small[..]].concat());
        let mut d = Demuxer::new();
        let mut told = |body: Bytes| match d.video(0, body).unwrap() {
            (Some(Unit::Track(track)), _) => Some(track.config.to_vec()),
            (None, _) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(told(header.clone()), Some(small.clone()));
        assert_eq!(told(picture(true, &[SMALL, PPS, idr])), None, "they are those of the header");
        // What an encoder sends between key pictures is for the pictures behind it.
        assert_eq!(told(picture(false, &[OTHER_PPS, slice])), None);
        assert_eq!(told(picture(true, &[LARGE, PPS, idr])), Some(large.clone()));
        assert_eq!(told(picture(true, &[idr])), None);
        // The same header again, and key pictures that still bring their own: it means nothing.
        assert_eq!(told(header.clone()), None);
        assert_eq!(told(picture(true, &[LARGE, PPS, idr])), None);
        // And key pictures that do not: it counts.
        assert_eq!(told(header), None);
        assert_eq!(told(picture(false, &[slice])), None);
        assert_eq!(told(picture(true, &[idr])), Some(small));
    }

    #[test]
    fn lengths_stay_as_long_as_the_sequence_header_says() {
        use crate::sets::tests::{LARGE, PPS, SMALL};
        let mut small = wire::codec::avc::encode(&[SMALL], &[PPS]).unwrap();
        small[4] = 0xfd;
        let mut d = Demuxer::new();
        d.video(0, Bytes::from([&[0x17, 0, 0, 0, 0], &small[..]].concat())).unwrap();
        let mut body = vec![0x17, 1, 0, 0, 0];
        for unit in [LARGE, PPS, &[0x65, 0x88]] {
            body.extend_from_slice(&u16::try_from(unit.len()).unwrap().to_be_bytes());
            body.extend_from_slice(unit);
        }
        let (Some(Unit::Track(track)), Some(_)) = d.video(40, body.into()).unwrap() else { panic!() };
        assert_eq!((track.config[4], track.description.as_str()), (0xfd, "H.264 High 3.0 640x360"));
    }

    #[test]
    fn what_holds_no_picture_and_no_sound_is_passed_over() {
        let mut d = Demuxer::new();
        for body in [&[][..], &[0x17, 2, 0, 0, 0], &[0x57, 0], &[0x27, 1, 0, 0, 0]] {
            assert_eq!(d.video(0, Bytes::copy_from_slice(body)).unwrap(), (None, None), "{body:02x?}");
        }
        for body in [&[][..], &[0xaf, 0], &[0xaf, 1], &[0x2f]] {
            assert_eq!(d.audio(0, Bytes::copy_from_slice(body)).unwrap(), (None, None), "{body:02x?}");
        }
    }

    #[test]
    fn a_frame_before_its_configuration_is_an_error() {
        let error = Demuxer::new().audio(0, Bytes::from_static(&[0xaf, 1, 0x21])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "byte 0: payload in aac: want the codec's configuration first, got 0 (0x0)"
        );
    }

    #[test]
    fn legacy_codecs_keep_their_parameters() {
        let mut d = Demuxer::new();
        for body in [[0x2f, 0xff, 0xfb], [0xb6, 1, 2], [0x72, 3, 4]] {
            let f = frame(d.audio(5, Bytes::copy_from_slice(&body)).unwrap());
            assert_eq!(rebuilt(&f), body);
        }
        for body in [[0x12, 9, 9], [0x25, 9, 9], [0x14, 9, 9]] {
            let f = frame(d.video(5, Bytes::copy_from_slice(&body)).unwrap());
            assert_eq!(rebuilt(&f), body);
        }
    }

    #[test]
    fn enhanced_hevc_keeps_its_composition_time() {
        let mut d = Demuxer::new();
        d.video(0, Bytes::from_static(b"\x90hvc1\x01\x01")).unwrap();
        let body = b"\xa1hvc1\0\0\x42\0\0\0\x01\x02";
        let f = frame(d.video(40, Bytes::from_static(body)).unwrap());
        assert_eq!((f.composition_ms(), rebuilt(&f).as_slice()), (0x42, body.as_slice()));
    }
}
