//! Bodies of audio and video messages, which are the bodies of FLV tags.

use std::fmt::Write;

use wire::codec::aac::AudioSpecificConfig;
use wire::codec::{avc, hevc};
use wire::flv::{
    AacPacketType, AudioHeader, AvcPacketType, CodecId, FourCc, FrameType, PAYLOAD, PacketType, SoundFormat,
    VideoHeader, VideoPacketType, audio, video,
};
use wire::{Cursor, Result, Trace};

use super::codec::{self, Nal, Set};
use super::{Note, Part};
use crate::dissect::facts::{Facts, Value};
use crate::dissect::provenance::Provenance;

/// What a body says, whether or not a tree is made of it.
#[derive(Clone, Debug, Default)]
pub struct Says<'b> {
    /// For the Info column: `AAC sequence header: AAC-LC 48000 Hz stereo`.
    pub text: String,
    /// What Wireshark makes of the first byte, where it differs from what is so.
    pub wireshark: Option<String>,
    /// What is so, in a sentence, where it differs.
    pub truth: Option<String>,
    /// Why that counts and not the other.
    pub why: Why,
    /// Parameter sets in the body.
    pub sets: Vec<(Set, &'b [u8])>,
    /// Bytes of a NAL unit's length, from a configuration.
    pub length_size: Option<u8>,
}

/// Why Wireshark's reading of the first byte does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// The codec gives rate, size and channels no meaning.
    #[default]
    Constants,
    /// The byte is not the one that Wireshark takes it for.
    Enhanced,
    /// The codec number is not one of Adobe's list.
    Unlisted,
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Self::Constants => {
                "the second: the flag bits behind the codec number mean nothing for this codec"
            }
            Self::Enhanced => {
                "the second: this is a tag of Enhanced RTMP, whose first byte has no codec number; \
                 the FourCC behind it names the codec"
            }
            Self::Unlisted => {
                "the second: Adobe's list has no such codec number, and many programs agree on what it stands for"
            }
        }
    }
}

/// Wireshark's words for the first byte of an audio message.
pub fn wireshark_audio(first: u8) -> String {
    let format = match first >> 4 {
        0 => "Uncompressed",
        1 => "ADPCM",
        2 => "MP3",
        3 => "Uncompressed, little-endian",
        4 | 9 => "Nellymoser 16kHz",
        5 => "Nellymoser 8kHz",
        6 => "Nellymoser",
        7 => "G711A",
        8 => "G711U",
        10 => "HE-AAC",
        11 => "SPEEX",
        _ => "Unknown codec",
    };
    let rate = match first >> 2 & 3 {
        0 => "5.5 kHz",
        1 => "11 kHz",
        2 => "22 kHz",
        _ => "44 kHz",
    };
    let size = if first & 2 != 0 { "16 bit" } else { "8 bit" };
    let channels = if first & 1 != 0 { "stereo" } else { "mono" };
    format!("{format} {rate} {size} {channels}")
}

/// Wireshark's words for the first byte of a video message.
pub fn wireshark_video(first: u8) -> String {
    let frame = match first >> 4 {
        1 => "keyframe",
        2 => "inter-frame",
        3 => "disposable inter-frame",
        4 => "generated key frame",
        5 => "video info/command frame",
        _ => "Unknown frame type",
    };
    let codec = match first & 0x0f {
        2 => "Sorensen H.263",
        3 => "Screen video",
        4 => "On2 VP6",
        5 => "On2 VP6+alpha",
        6 => "Screen video version 2",
        7 => "H.264",
        _ => "Unknown codec",
    };
    format!("{frame} {codec}")
}

/// Reads an audio body.
pub fn audio<'b, T: Trace>(c: &mut Cursor<'b, T>, facts: &mut Facts) -> Result<Says<'b>> {
    let first = c.peek().first().copied().unwrap_or(0);
    let mut says = Says::default();
    match audio::decode(c)? {
        AudioHeader::Classic(header) => {
            let name = header.format.codec().unwrap_or("unknown");
            facts.text("audio.codec", name);
            match header.aac {
                Some(kind) => {
                    facts.number("audio.packet", u64::from(kind.number()));
                    aac(c, kind, first, &mut says)?;
                }
                None => {
                    c.rest(&PAYLOAD);
                    let rate = header.format.fixed_rate().map_or(header.claimed_rate(), f64::from);
                    let channels = if header.channels == 1 { "stereo" } else { "mono" };
                    says.text = match header.format {
                        SoundFormat::SPEEX => "speex 16000 Hz mono".to_owned(),
                        _ => format!("{name} {rate} Hz {channels}"),
                    };
                    if header.format.0 >= 9 || header.format.fixed_rate().is_some() {
                        says.wireshark = Some(wireshark_audio(first));
                        says.truth = Some(says.text.clone());
                    }
                }
            }
        }
        AudioHeader::Enhanced(mut packets) => {
            let kind = packets.packet_type;
            while let Some(packet) = packets.packet(c)? {
                facts.text("audio.codec", packet.fourcc.codec().unwrap_or("unknown"));
                facts.number("audio.packet", u64::from(packet.packet_type.number()));
                let name = packet.fourcc.codec().map_or_else(|| packet.fourcc.to_string(), str::to_owned);
                let what = enhanced_audio(kind.number());
                let mut text = format!("{name} {what}");
                if packet.fourcc == FourCc::MP4A
                    && packet.packet_type.is_configuration()
                    && packet.size.is_none()
                {
                    let config = AudioSpecificConfig::decode(c)?;
                    let _ = write!(text, ": {}", codec::aac_text(&config));
                    c.rest(&PAYLOAD);
                } else {
                    packet.payload(c)?;
                }
                if packets.multitrack.is_some() {
                    let _ = write!(text, " track {}", packet.track);
                }
                join(&mut says.text, &text);
            }
            says.wireshark = Some(wireshark_audio(first));
            says.why = Why::Enhanced;
            says.truth = Some(format!("Enhanced RTMP: {}", says.text));
        }
    }
    Ok(says)
}

fn aac<'b, T: Trace>(
    c: &mut Cursor<'b, T>,
    kind: AacPacketType,
    first: u8,
    says: &mut Says<'b>,
) -> Result<()> {
    says.wireshark = Some(wireshark_audio(first));
    match kind {
        AacPacketType::SequenceHeader => {
            says.text = "AAC sequence header".to_owned();
            let config = AudioSpecificConfig::decode(c)?;
            let about = codec::aac_text(&config);
            let _ = write!(says.text, ": {about}");
            says.truth = Some(format!("AAC sequence header, AudioSpecificConfig {about}"));
            c.rest(&PAYLOAD);
        }
        AacPacketType::Raw => {
            says.text = "AAC frame".to_owned();
            says.truth =
                Some("a raw AAC frame, coded as the AudioSpecificConfig sent before says".to_owned());
            c.rest(&PAYLOAD);
        }
        AacPacketType::Other(other) => {
            says.text = format!("AAC, packet type {other}");
            says.truth = Some(says.text.clone());
            c.rest(&PAYLOAD);
        }
    }
    Ok(())
}

fn enhanced_audio(kind: u8) -> &'static str {
    match kind {
        0 => "sequence start",
        1 => "frame",
        2 => "sequence end",
        4 => "multichannel config",
        _ => "packet",
    }
}

/// Reads a video body; pictures of H.264 and H.265 down to their NAL units where `nals` says how long their lengths
/// are and the body is whole.
pub fn video<'b, T: Trace>(c: &mut Cursor<'b, T>, nals: Option<u8>, facts: &mut Facts) -> Result<Says<'b>> {
    let first = c.peek().first().copied().unwrap_or(0);
    let mut says = Says::default();
    match video::decode(c)? {
        VideoHeader::Classic { frame_type, codec, avc } => {
            let name = codec.codec().unwrap_or("unknown");
            facts.text("video.codec", name);
            facts.number("video.frame", u64::from(frame_type.number()));
            says.text = format!("{name} {}", frame_name(frame_type));
            let Some(avc) = avc else {
                c.rest(&PAYLOAD);
                return Ok(says);
            };
            facts.number("video.packet", u64::from(avc.packet_type.number()));
            let nal = if codec == CodecId::HEVC { Nal::Hevc } else { Nal::Avc };
            match avc.packet_type {
                AvcPacketType::SequenceHeader => {
                    says.text = format!("{name} sequence header");
                    configuration(c, nal, &mut says)?;
                    c.rest(&PAYLOAD);
                }
                AvcPacketType::Nalu => {
                    facts.push("video.cts", Value::Signed(i64::from(avc.composition_time)));
                    let _ = write!(says.text, ", CTS {} ms", avc.composition_time);
                    picture(c, nal, nals, facts, &mut says)?;
                }
                AvcPacketType::EndOfSequence => {
                    says.text = format!("{name} end of sequence");
                    c.rest(&PAYLOAD);
                }
                AvcPacketType::Other(other) => {
                    says.text = format!("{name}, packet type {other}");
                    c.rest(&PAYLOAD);
                }
            }
            if codec == CodecId::HEVC {
                says.wireshark = Some(wireshark_video(first));
                says.why = Why::Unlisted;
                says.truth = Some(says.text.clone());
            }
        }
        VideoHeader::Command { command, .. } => {
            says.text = match command {
                Some(0) => "command: seek begins".to_owned(),
                Some(1) => "command: seek ends".to_owned(),
                Some(other) => format!("command {other}"),
                None => "command".to_owned(),
            };
            c.rest(&PAYLOAD);
        }
        VideoHeader::Enhanced { frame_type, mut packets } => {
            facts.number("video.frame", u64::from(frame_type.number()));
            while let Some(packet) = packets.packet(c)? {
                facts.text("video.codec", packet.fourcc.codec().unwrap_or("unknown"));
                facts.number("video.packet", u64::from(packet.packet_type.number()));
                let name = packet.fourcc.codec().map_or_else(|| packet.fourcc.to_string(), str::to_owned);
                let mut text = match packet.packet_type {
                    VideoPacketType::SequenceStart => format!("{name} sequence start"),
                    VideoPacketType::SequenceEnd => format!("{name} sequence end"),
                    VideoPacketType::Metadata => format!("{name} metadata"),
                    VideoPacketType::Mpeg2TsSequenceStart => format!("{name} MPEG-2 TS sequence start"),
                    VideoPacketType::Other(other) => format!("{name}, packet type {other}"),
                    _ => format!("{name} {}", frame_name(frame_type)),
                };
                if packet.packet_type.has_composition_time(packet.fourcc) {
                    facts.push("video.cts", Value::Signed(i64::from(packet.composition_time)));
                    let _ = write!(text, ", CTS {} ms", packet.composition_time);
                }
                if packets.multitrack.is_some() {
                    let _ = write!(text, ", track {}", packet.track);
                }
                join(&mut says.text, &text);
                let nal = match packet.fourcc {
                    FourCc::AVC1 => Some(Nal::Avc),
                    FourCc::HVC1 => Some(Nal::Hevc),
                    _ => None,
                };
                match nal.filter(|_| packet.size.is_none()) {
                    Some(nal) if packet.packet_type == VideoPacketType::SequenceStart => {
                        configuration(c, nal, &mut says)?;
                        c.rest(&PAYLOAD);
                    }
                    Some(nal) if packet.packet_type.is_coded_frame() => {
                        picture(c, nal, nals, facts, &mut says)?
                    }
                    _ => {
                        packet.payload(c)?;
                    }
                }
            }
            if let Some(command) = packets.command {
                join(&mut says.text, &format!("command {command}"));
            }
            says.wireshark = Some(wireshark_video(first));
            says.why = Why::Enhanced;
            says.truth = Some(format!("Enhanced RTMP: {}", says.text));
        }
    }
    Ok(says)
}

fn configuration<'b, T: Trace>(c: &mut Cursor<'b, T>, nal: Nal, says: &mut Says<'b>) -> Result<()> {
    let about = match nal {
        Nal::Avc => {
            let config = avc::Config::decode(c)?;
            says.sets = codec::avc_sets(&config);
            says.length_size = Some(config.length_size);
            codec::avc_text(&config)
        }
        Nal::Hevc => {
            let config = hevc::Config::decode(c)?;
            says.sets = codec::hevc_sets(&config);
            says.length_size = Some(config.length_size);
            codec::hevc_text(&config)
        }
    };
    if let Some(about) = about {
        let _ = write!(says.text, ": {about}");
    }
    Ok(())
}

fn picture<T: Trace>(
    c: &mut Cursor<'_, T>,
    nal: Nal,
    length_size: Option<u8>,
    facts: &mut Facts,
    says: &mut Says<'_>,
) -> Result<()> {
    match length_size {
        Some(size) => {
            let kinds = codec::units(c, nal, size)?;
            kinds.iter().for_each(|kind| facts.number("video.nal", u64::from(*kind)));
            says.text.push_str(&nal_text(nal, &kinds));
        }
        None => {
            c.rest(&PAYLOAD);
        }
    }
    Ok(())
}

/// `, NAL AUD SEI IDR x4`.
pub fn nal_text(nal: Nal, kinds: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = kinds;
    while let Some(kind) = rest.first() {
        let name = nal.name(*kind);
        let run = rest.iter().take_while(|k| nal.name(**k) == name).count();
        rest = rest.get(run..).unwrap_or_default();
        text.push_str(if text.is_empty() { ", NAL " } else { " " });
        text.push_str(name);
        if run > 1 {
            let _ = write!(text, " x{run}");
        }
    }
    text
}

fn frame_name(kind: FrameType) -> &'static str {
    match kind {
        FrameType::Key => "key frame",
        FrameType::Inter => "inter frame",
        FrameType::DisposableInter => "disposable inter frame",
        FrameType::GeneratedKey => "generated key frame",
        FrameType::Command => "command",
        FrameType::Other(_) => "frame of unknown type",
    }
}

fn join(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push_str("; ");
    }
    text.push_str(more);
}

/// The parts of an audio body.
pub fn audio_parts(bytes: &[u8], origin: Provenance, title: &str, level: u8) -> Vec<Part> {
    let (mut part, _) = Part::read(title, bytes, origin, |c| audio(c, &mut Facts::off()).map(drop));
    part.level = level;
    if let Ok(says) = audio(&mut Cursor::new(bytes), &mut Facts::off()) {
        part.notes = statements(&says);
    } else if let Some(first) = bytes.first() {
        part.note("Wireshark says", wireshark_audio(*first));
    }
    vec![part]
}

/// The parts of a video body: itself, then its parameter sets.
pub fn video_parts(bytes: &[u8], origin: Provenance, title: &str, length_size: u8, level: u8) -> Vec<Part> {
    let sets_origin = origin.clone();
    let (mut part, _) =
        Part::read(title, bytes, origin, |c| video(c, Some(length_size), &mut Facts::off()).map(drop));
    part.level = level;
    let says = video(&mut Cursor::new(bytes), Some(length_size), &mut Facts::off()).unwrap_or_default();
    part.notes = statements(&says);
    let mut parts = vec![part];
    parts.extend(codec::parameter_sets(bytes, &sets_origin, &says.sets, level.saturating_add(1)));
    parts
}

/// What Wireshark says beside what is so, and which counts.
pub fn statements(says: &Says<'_>) -> Vec<Note> {
    let note = |label, text: &str| Note { label, text: text.to_owned() };
    match (&says.wireshark, &says.truth) {
        (Some(wireshark), Some(truth)) => vec![
            note("Wireshark says", wireshark),
            note("what is so", truth),
            note("what counts", says.why.text()),
        ],
        _ if says.text.is_empty() => Vec::new(),
        _ => vec![note("in short", &says.text)],
    }
}
