//! Audio and video messages of one stream: which codec, how many frames, when.

use model::TrackKind;
use wire::codec::{LengthPrefixed, avc, hevc};
use wire::flv::{
    self, AacPacketType, AudioHeader, AvcPacketType, CodecId, FourCc, PacketType, SoundFormat, VideoHeader,
};
use wire::{Cursor, Error};

use super::declared;
use super::message::Message;
use crate::track::{CodecInfo, Stats, codec};

/// Tracks followed in one stream.
const MAX_TRACKS: usize = 32;

/// The tracks of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Media {
    /// Whether every frame is marked.
    trace: bool,
    tracks: Vec<((TrackKind, u8), Stats)>,
    /// When the first whole picture was there, nanoseconds since 1970.
    pub(super) first_picture_ns: Option<i64>,
    /// When the first whole audio frame was there, nanoseconds since 1970.
    pub(super) first_sound_ns: Option<i64>,
}

/// A codec configuration or media header that could not be read.
#[derive(Clone, Debug)]
pub(super) struct Unreadable {
    /// Which structure.
    pub(super) what: Structure,
    /// Where in the message, and why.
    pub(super) error: Error,
}

/// Structures that may be unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Structure {
    /// A media header.
    Header,
    /// An AudioSpecificConfig.
    Asc,
    /// An AVC configuration or its parameter sets.
    Avc,
    /// An HEVC configuration or its parameter sets.
    Hevc,
    /// More tracks than are followed.
    Tracks,
}

impl Media {
    /// No track yet; every frame is marked where `trace` says so.
    pub(super) fn new(trace: bool) -> Self {
        Self { trace, ..Self::default() }
    }

    /// The tracks in the order of their first message, video first.
    pub(super) fn into_tracks(self) -> Vec<Stats> {
        let mut tracks = self.tracks;
        tracks.sort_by_key(|((kind, id), _)| (*kind != TrackKind::Video, *id));
        tracks.into_iter().map(|(_, stats)| stats).collect()
    }

    /// The codecs so far.
    pub(super) fn codecs(&self) -> Vec<String> {
        crate::track::ongoing::codecs(self.tracks.iter().map(|(_, stats)| stats))
    }

    /// The tracks.
    pub(super) fn stats(&mut self) -> impl Iterator<Item = &mut Stats> {
        self.tracks.iter_mut().map(|(_, stats)| stats)
    }

    /// Frames whose time is not known.
    pub(super) fn untimed(&mut self) -> u64 {
        self.stats().map(|stats| stats.untimed()).sum()
    }

    /// Messages may be missing here.
    pub(super) fn hole(&mut self) {
        self.stats().for_each(Stats::lost);
    }

    /// Counts an audio message.
    pub(super) fn audio(&mut self, message: &Message<'_>) -> Result<(), Unreadable> {
        // Some servers send empty audio messages as a filler.
        if message.length == 0 {
            return Ok(());
        }
        let mut c = Cursor::new(message.body);
        let header = match flv::audio::decode(&mut c) {
            Ok(header) => header,
            Err(error) => return header_error(message, error),
        };
        match header {
            AudioHeader::Classic(header) => self.classic_audio(message, header, c.peek()),
            AudioHeader::Enhanced(packets) => self.packets(TrackKind::Audio, message, packets, c, false),
        }
    }

    /// Counts a video message.
    pub(super) fn video(&mut self, message: &Message<'_>) -> Result<(), Unreadable> {
        if message.length == 0 {
            return Ok(());
        }
        let mut c = Cursor::new(message.body);
        let header = match flv::video::decode(&mut c) {
            Ok(header) => header,
            Err(error) => return header_error(message, error),
        };
        match header {
            VideoHeader::Command { .. } => {
                self.track(TrackKind::Video, 0, None, u64::from(message.length)).map(|_| ())
            }
            VideoHeader::Enhanced { frame_type, packets } => {
                self.packets(TrackKind::Video, message, packets, c, frame_type.is_key())
            }
            VideoHeader::Classic { frame_type, codec, avc } => {
                let at = c.position();
                let empty = u64::from(message.length) <= at as u64;
                let stats = self.track(TrackKind::Video, 0, codec.codec(), u64::from(message.length))?;
                stats.declare("codec_id", declared::video_codec(codec));
                let kind = avc.map(|avc| avc.packet_type);
                if kind == Some(AvcPacketType::SequenceHeader) {
                    return video_config(stats, codec, c.peek(), message);
                }
                name(stats, codec.codec());
                if kind == Some(AvcPacketType::EndOfSequence) {
                    stats.end_of_sequence();
                }
                let picture = matches!(kind, None | Some(AvcPacketType::Nalu)) && !empty;
                if picture {
                    if kind.is_some() && frame_type.is_key() && codec != CodecId::HEVC {
                        avc_sets(stats, c.peek());
                    }
                    if codec == CodecId::H263 {
                        sorenson(stats, c.peek());
                    }
                    let composition = avc.map_or(0, |avc| avc.composition_time);
                    stats.arrived(message.done_ns);
                    frame(stats, message, composition, frame_type.is_key());
                    self.whole(TrackKind::Video, message);
                }
                Ok(())
            }
        }
    }

    fn classic_audio(
        &mut self,
        message: &Message<'_>,
        header: flv::ClassicAudio,
        payload: &[u8],
    ) -> Result<(), Unreadable> {
        let codec = header.format.codec();
        let stats = self.track(TrackKind::Audio, 0, codec, u64::from(message.length))?;
        declared::audio_flags(header, stats);
        if header.aac == Some(AacPacketType::SequenceHeader) {
            return audio_config(stats, payload, message, 2);
        }
        name(stats, header.format.codec());
        match header.format {
            SoundFormat::MP3 | SoundFormat::MP3_8K => mp3(stats, payload),
            SoundFormat::SPEEX | SoundFormat::G711A | SoundFormat::G711U => {
                // Speex in FLV is mono at 16 kHz and G.711 is at 8 kHz, whatever the flags say.
                stats.info.sample_rate = header.format.fixed_rate();
                if header.format == SoundFormat::SPEEX {
                    stats.info.channels = Some(1);
                }
            }
            _ if matches!(header.format.codec(), Some("pcm" | "adpcm" | "nellymoser")) => {
                // Here the flags are all there is; Nellymoser is always mono.
                let rates = [5512, 11_025, 22_050, 44_100];
                let flagged = rates.get(usize::from(header.rate)).copied();
                let mono = header.format.codec() == Some("nellymoser") || header.channels == 0;
                stats.info.sample_rate = header.format.fixed_rate().or(flagged);
                stats.info.channels = Some(if mono { 1 } else { 2 });
            }
            _ => {}
        }
        let head = if header.aac.is_some() { 2 } else { 1 };
        if message.length > head && matches!(header.aac, None | Some(AacPacketType::Raw)) {
            stats.arrived(message.done_ns);
            frame(stats, message, 0, false);
            if message.is_whole() && header.aac.is_some() {
                stats.audio_frame(payload);
            }
            self.whole(TrackKind::Audio, message);
        }
        Ok(())
    }

    fn packets<P: PacketType>(
        &mut self,
        kind: TrackKind,
        message: &Message<'_>,
        mut packets: flv::Enhanced<P>,
        mut c: Cursor<'_>,
        key: bool,
    ) -> Result<(), Unreadable> {
        if packets.command.is_some() {
            self.track(kind, 0, None, u64::from(message.length))?;
            return Ok(());
        }
        loop {
            let before = c.position();
            let packet = match packets.packet(&mut c) {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(()),
                Err(error) => return header_error(message, error),
            };
            let head = c.position().saturating_sub(before) as u64;
            let left = u64::from(message.length).saturating_sub(c.position() as u64);
            let size = packet.size.map_or(left, |size| size as u64);
            let several = packets.multitrack.is_some();
            let bytes = if several { size.saturating_add(head) } else { u64::from(message.length) };
            let stats = self.track(kind, packet.track, packet.fourcc.codec(), bytes)?;
            stats.declare("fourcc", packet.fourcc.to_string());
            if packet.packet_type.is_configuration() {
                let config = match packet.payload(&mut c) {
                    Ok(config) => config,
                    Err(error) => return header_error(message, error),
                };
                enhanced_config(stats, packet.fourcc, config, message)?;
                continue;
            }
            let coded = packet.packet_type.is_coded_frame() && size > 0;
            if coded {
                name(stats, packet.fourcc.codec());
                stats.arrived(message.done_ns);
                frame(stats, message, packet.composition_time, key);
            }
            // Of a frame only the beginning is kept: a packet behind it may be out of reach.
            let payload = packet.payload(&mut c);
            if let Ok(frame) = &payload
                && coded
                && packet.fourcc == FourCc::MP4A
                && message.is_whole()
            {
                stats.audio_frame(frame);
            }
            if coded {
                self.whole(kind, message);
            }
            if payload.is_err() {
                return Ok(());
            }
        }
    }

    /// The track of this number and codec, its bytes counted. A sender that changes the codec goes on in another track;
    /// what names none belongs to the latest.
    fn track(
        &mut self,
        kind: TrackKind,
        id: u8,
        codec: Option<&str>,
        bytes: u64,
    ) -> Result<&mut Stats, Unreadable> {
        let fits = |stats: &Stats| {
            stats.info.codec.is_none() || codec.is_none() || stats.info.codec.as_deref() == codec
        };
        let found = self.tracks.iter().rposition(|(key, stats)| *key == (kind, id) && fits(stats));
        let index = match found {
            Some(index) => index,
            None if self.tracks.len() < MAX_TRACKS => {
                self.tracks.push(((kind, id), Stats::new(kind).traced(self.trace)));
                self.tracks.len().saturating_sub(1)
            }
            None => {
                let error = Error::too_large(0, "tracks", MAX_TRACKS as u64, self.tracks.len() as u64);
                return Err(Unreadable { what: Structure::Tracks, error });
            }
        };
        match self.tracks.get_mut(index) {
            Some((_, stats)) => {
                stats.bytes = stats.bytes.saturating_add(bytes);
                Ok(stats)
            }
            None => {
                Err(Unreadable { what: Structure::Tracks, error: Error::value(0, "track", "a known one", 0) })
            }
        }
    }

    fn whole(&mut self, kind: TrackKind, message: &Message<'_>) {
        if message.lost > 0 {
            return;
        }
        let first = match kind {
            TrackKind::Video => &mut self.first_picture_ns,
            _ => &mut self.first_sound_ns,
        };
        first.get_or_insert(message.done_ns);
    }
}

fn frame(stats: &mut Stats, message: &Message<'_>, composition: i32, key: bool) {
    if message.timed {
        stats.frame(message.timestamp, composition, key);
    } else {
        stats.untimed_frame(key);
    }
}

/// An error in a media header, unless the capture lacks the bytes.
fn header_error(message: &Message<'_>, error: Error) -> Result<(), Unreadable> {
    if error.is_short() && !message.is_whole() {
        return Ok(());
    }
    Err(Unreadable { what: Structure::Header, error })
}

fn name(stats: &mut Stats, codec: Option<&str>) {
    if stats.info.codec.as_deref() != codec && codec.is_some() {
        stats.info = CodecInfo { codec: codec.map(str::to_owned), ..CodecInfo::default() };
    }
}

fn audio_config(
    stats: &mut Stats,
    payload: &[u8],
    message: &Message<'_>,
    base: u64,
) -> Result<(), Unreadable> {
    name(stats, Some("aac"));
    if message.lost > 0 || payload.is_empty() {
        return Ok(());
    }
    let config = stats.configure(0, payload, |stats| stats.audio_config(&mut Cursor::based(payload, base)));
    config.map_err(|error| Unreadable { what: Structure::Asc, error })
}

fn video_config(
    stats: &mut Stats,
    codec: CodecId,
    payload: &[u8],
    message: &Message<'_>,
) -> Result<(), Unreadable> {
    name(stats, codec.codec());
    if message.lost > 0 {
        return Ok(());
    }
    stats.configure(0, payload, |stats| match codec {
        CodecId::HEVC => hevc_config(stats, payload, 5),
        _ => avc_config(stats, payload, 5),
    })
}

fn enhanced_config(
    stats: &mut Stats,
    fourcc: FourCc,
    payload: &[u8],
    message: &Message<'_>,
) -> Result<(), Unreadable> {
    name(stats, fourcc.codec());
    if message.lost > 0 {
        return Ok(());
    }
    match fourcc {
        FourCc::AVC1 => stats.configure(0, payload, |stats| avc_config(stats, payload, 5)),
        FourCc::HVC1 => stats.configure(0, payload, |stats| hevc_config(stats, payload, 5)),
        FourCc::MP4A => audio_config(stats, payload, message, 5),
        FourCc::OPUS => {
            // OpusHead (RFC 7845 §5.1): channels at byte 9; Opus always decodes to 48 kHz.
            stats.info.sample_rate = Some(48_000);
            stats.info.channels = payload.get(9).copied().filter(|_| payload.starts_with(b"OpusHead"));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn avc_config(stats: &mut Stats, payload: &[u8], base: u64) -> Result<(), Unreadable> {
    let unreadable = |error| Unreadable { what: Structure::Avc, error };
    let config = avc::Config::decode(&mut Cursor::based(payload, base)).map_err(unreadable)?;
    let Some(sps) = config.first_sps() else { return Ok(()) };
    let sps = sps.map_err(unreadable)?;
    stats.info.profile = Some(sps.profile());
    stats.info.level = Some(sps.level());
    stats.info.width = Some(sps.width);
    stats.info.height = Some(sps.height);
    stats.info.nominal_rate = sps.frame_rate();
    Ok(())
}

/// A sequence parameter set before the slices of a key picture counts: some encoders send no other when they change.
fn avc_sets(stats: &mut Stats, payload: &[u8]) {
    let units = LengthPrefixed::new(payload, 4).map_while(Result::ok);
    let sps = units
        .take_while(|nal| !avc::NalType::of(nal).is_some_and(avc::NalType::is_vcl))
        .find(|nal| avc::NalType::of(nal) == Some(avc::NalType::SPS));
    if let Some(sps) = sps {
        // What cannot be read leaves things as they are: a decoder would do the same.
        let _ = stats.configure(1, sps, |stats| codec::parameter_set(&mut stats.info, false, sps));
    }
}

fn hevc_config(stats: &mut Stats, payload: &[u8], base: u64) -> Result<(), Unreadable> {
    let unreadable = |error| Unreadable { what: Structure::Hevc, error };
    let config = hevc::Config::decode(&mut Cursor::based(payload, base)).map_err(unreadable)?;
    let Some(sps) = config.first_sps() else { return Ok(()) };
    let sps = sps.map_err(unreadable)?;
    stats.info.profile = Some(sps.ptl.profile());
    stats.info.level = Some(sps.ptl.level());
    stats.info.width = Some(sps.width);
    stats.info.height = Some(sps.height);
    Ok(())
}

/// The header of an MPEG audio frame (ISO 11172-3 §2.4.2.3): sampling rate and mode.
fn mp3(stats: &mut Stats, payload: &[u8]) {
    let Some(&[first, second, third, fourth]) = payload.first_chunk::<4>() else { return };
    if first != 0xff || second & 0xe0 != 0xe0 {
        return;
    }
    let base = [44_100u32, 48_000, 32_000].get(usize::from(third >> 2 & 3)).copied();
    let shift = match second >> 3 & 3 {
        3 => 0,
        2 => 1,
        0 => 2,
        _ => return,
    };
    stats.info.sample_rate = base.map(|rate| rate >> shift);
    stats.info.channels = Some(if fourth >> 6 == 3 { 1 } else { 2 });
}

/// The picture header of Sorenson H.263: size by code or in full (FLV 10.1 §E.4.3.2).
fn sorenson(stats: &mut Stats, payload: &[u8]) {
    static BITS: wire::Field = wire::trace::field("picture header", "FLV 10.1 §E.4.3.2", "Sorenson H.263.");
    let mut c = Cursor::new(payload);
    let mut take = |bits: u32| c.bits(&BITS, bits).ok();
    let size = (|| {
        take(17).filter(|start| *start == 1)?;
        take(13)?;
        Some(match take(3)? {
            0 => (take(8)?, take(8)?),
            1 => (take(16)?, take(16)?),
            2 => (352, 288),
            3 => (176, 144),
            4 => (128, 96),
            5 => (320, 240),
            6 => (160, 120),
            _ => return None,
        })
    })();
    if let Some((width, height)) = size {
        stats.info.width = u32::try_from(width).ok();
        stats.info.height = u32::try_from(height).ok();
    }
}
