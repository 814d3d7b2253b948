//! Between tracks and media sections of session descriptions.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use wire::Cursor;
use wire::codec::aac::AudioSpecificConfig;
use wire::codec::aac::latm::StreamMuxConfig;
use wire::codec::avc;
use wire::sdp::Media;

use super::aac::Layout;
use super::parameter::{audio_config, mux_config, parameter_set, to_base64, to_hex};
use crate::describe::describe as describe_track;
use crate::frame::{Codec, Track};
use crate::sets::Sets;

/// The first dynamic payload type (RFC 3551 §6).
const DYNAMIC: u8 = 96;

/// Payload formats that we read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatKind {
    /// RFC 6184.
    H264,
    /// RFC 3640, mode AAC-hbr.
    Aac,
    /// RFC 6416, MP4A-LATM: read, not written.
    Latm,
}

/// The format of a media section.
#[derive(Clone, Debug)]
pub struct Format {
    /// What it is.
    pub kind: FormatKind,
    /// Its payload type.
    pub payload_type: u8,
    /// Ticks per second of its timestamps.
    pub clock: u32,
    pub(super) sets: Sets,
    pub(super) config: Bytes,
    pub(super) layout: Layout,
    /// What LATM holds, as far as the description tells, and whether packets tell too.
    pub(super) mux: Option<StreamMuxConfig>,
    pub(super) mux_in_band: bool,
    /// Ticks from one AAC frame to the next.
    pub(super) samples: u32,
}

impl Format {
    /// The first format of a section that we can read.
    pub fn of(media: &Media) -> Option<Self> {
        let types = media.formats.iter().filter_map(|f| f.parse::<u8>().ok()).filter(|n| *n < 128);
        types.into_iter().find_map(|payload_type| {
            let map = media.rtpmap(payload_type)?;
            let parameters = media.fmtp(payload_type).unwrap_or_default();
            let number = |name: &str, default: u32| {
                let value = parameters.number(name).and_then(|n| u32::try_from(n).ok());
                value.unwrap_or(default).min(32)
            };
            let none = Layout { size_bits: 0, index_bits: 0, delta_bits: 0 };
            let (sets, config) = (Sets::default(), Bytes::new());
            let mut format = Self {
                kind: FormatKind::H264,
                payload_type,
                clock: map.clock,
                sets,
                config,
                layout: none,
                mux: None,
                mux_in_band: false,
                samples: 0,
            };
            if map.is("H264") {
                let sprop = parameters.value("sprop-parameter-sets").unwrap_or_default();
                for nal in sprop.split(',').filter_map(|set| parameter_set(set).ok()) {
                    format.sets.take(&nal);
                }
                return Some(format);
            }
            if !media.kind.eq_ignore_ascii_case("audio") {
                return None;
            }
            if map.is("MP4A-LATM") {
                format.kind = FormatKind::Latm;
                // Where nothing is said the packets bring it (RFC 6416 §7.3).
                format.mux_in_band = number("cpresent", 1) != 0;
                match parameters.value("config").and_then(|config| mux_config(config).ok()) {
                    Some(mux) => format.mux(mux),
                    None if format.mux_in_band => {}
                    None => return None,
                }
                return Some(format);
            }
            // Of its modes we know those of AAC, and everybody who names none means one of them.
            let mode = parameters.value("mode").unwrap_or("AAC-hbr");
            if !map.is("mpeg4-generic") || !mode.get(..4).is_some_and(|m| m.eq_ignore_ascii_case("AAC-")) {
                return None;
            }
            // The lengths have no defaults; everybody who leaves them out means those of AAC-hbr.
            format.layout = Layout {
                size_bits: number("sizelength", 13),
                index_bits: number("indexlength", 3),
                delta_bits: number("indexdeltalength", 3),
            };
            format.kind = FormatKind::Aac;
            format.config = match parameters.value("config").filter(|config| !config.is_empty()) {
                // Sound by a configuration that was guessed would be noise.
                Some(config) => audio_config(config).ok()?.into(),
                None => {
                    let channels = u8::try_from(map.channels.unwrap_or(1)).ok().filter(|n| *n < 8)?;
                    AudioSpecificConfig::encode_simple(2, map.clock, channels).ok()?.into()
                }
            };
            let config = AudioSpecificConfig::decode(&mut Cursor::new(&format.config)).ok()?;
            format.samples = frame_ticks(&config, map.clock);
            Some(format)
        })
    }

    /// Learns what LATM holds.
    pub(super) fn mux(&mut self, mux: StreamMuxConfig) {
        self.config = mux.config.clone().into();
        self.samples = frame_ticks(&mux.audio, self.clock);
        self.mux = Some(mux);
    }

    /// The track as far as the description tells.
    pub fn track(&self) -> Option<Arc<Track>> {
        let (codec, config) = match self.kind {
            FormatKind::H264 => (Codec::H264, self.sets.record()?),
            FormatKind::Latm if self.mux.is_none() => return None,
            FormatKind::Aac | FormatKind::Latm => (Codec::Aac, self.config.clone()),
        };
        Some(track(codec, config, self.clock))
    }
}

pub(super) fn track(codec: Codec, config: Bytes, clock: u32) -> Arc<Track> {
    let description = describe_track(codec, &config, None);
    Arc::new(Track { codec, config, clock, flv_flags: None, description })
}

fn frame_ticks(config: &AudioSpecificConfig, clock: u32) -> u32 {
    let rate = config.describe().sample_rate.max(1);
    let ticks = crate::clock::rescale(i64::from(config.frame_samples()), rate, clock);
    u32::try_from(ticks).unwrap_or(1024).max(1)
}

/// Ticks per second of a track's RTP timestamps; none where we have no payload format for its codec.
pub fn rtp_clock(track: &Track) -> Option<u32> {
    match track.codec {
        Codec::H264 if avc::Config::decode(&mut Cursor::new(&track.config)).is_ok() => Some(90_000),
        Codec::Aac => {
            let config = AudioSpecificConfig::decode(&mut Cursor::new(&track.config)).ok()?;
            Some(config.describe().sample_rate).filter(|rate| *rate > 0)
        }
        _ => None,
    }
}

/// Ticks from one frame to the next, where frames are evenly spaced.
pub(super) fn frame_step(track: &Track) -> Option<u32> {
    let config = AudioSpecificConfig::decode(&mut Cursor::new(&track.config)).ok()?;
    (track.codec == Codec::Aac).then(|| frame_ticks(&config, config.describe().sample_rate))
}

/// The payload type of a track by its place.
pub(super) fn payload_type(place: usize) -> u8 {
    DYNAMIC.saturating_add(u8::try_from(place).unwrap_or(0)).min(127)
}

/// What a description says of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading<'a> {
    /// For people.
    pub name: &'a str,
    /// Tells this description from all others of its origin (RFC 8866 §5.2).
    pub id: u64,
    /// Of which version of IP the addresses are.
    pub v6: bool,
    /// True where players come to it while it runs, so that it has no beginning and no end (RFC 2326 §C.1.5).
    pub live: bool,
}

/// The session description of a stream: one media section for each track that RTP can carry, its control `trackID=N` with the
/// track's place in `tracks`, its payload type 96 + N. None where there is no such track.
pub fn describe(tracks: &[Arc<Track>], heading: &Heading<'_>) -> Option<String> {
    let name: String = heading.name.chars().filter(|c| !c.is_control()).collect();
    let name = if name.trim().is_empty() { "-".to_owned() } else { name };
    let (origin, any) = if heading.v6 { ("IP6 ::1", "IP6 ::") } else { ("IP4 127.0.0.1", "IP4 0.0.0.0") };
    let id = heading.id;
    let range = if heading.live { "a=range:npt=now-\r\n" } else { "" };
    let mut sdp =
        format!("v=0\r\no=- {id} 1 IN {origin}\r\ns={name}\r\nc=IN {any}\r\nt=0 0\r\na=control:*\r\n{range}");
    let mut sections = 0usize;
    for (place, track) in tracks.iter().enumerate() {
        let Some(section) = section(track, payload_type(place)) else { continue };
        sections = sections.saturating_add(1);
        let _ = write!(sdp, "{section}a=control:trackID={place}\r\n");
    }
    (sections > 0).then_some(sdp)
}

fn section(track: &Track, pt: u8) -> Option<String> {
    let clock = rtp_clock(track)?;
    match track.codec {
        Codec::H264 => {
            let config = avc::Config::decode(&mut Cursor::new(&track.config)).ok()?;
            let sets: Vec<String> = config.sps.iter().chain(&config.pps).map(|set| to_base64(set)).collect();
            let level = config.sps.first().and_then(|sps| sps.get(1..4)).map(to_hex)?;
            Some(format!(
                "m=video 0 RTP/AVP {pt}\r\na=rtpmap:{pt} H264/{clock}\r\na=fmtp:{pt} packetization-mode=1;\
                 profile-level-id={level};sprop-parameter-sets={}\r\n",
                sets.join(",")
            ))
        }
        Codec::Aac => {
            let config = AudioSpecificConfig::decode(&mut Cursor::new(&track.config)).ok()?;
            let channels = config.describe().channels.unwrap_or(2);
            let hex = to_hex(&track.config);
            Some(format!(
                "m=audio 0 RTP/AVP {pt}\r\na=rtpmap:{pt} mpeg4-generic/{clock}/{channels}\r\na=fmtp:{pt} streamtype=5;\
                 profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config={hex}\r\n"
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::sdp::Description;

    #[test]
    fn a_description_leads_back_to_its_tracks() {
        let sps: &[u8] = &[
            0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00,
            0x01, 0x00, 0x00, 0x03, 0x00, 0x32, 0x0f, 0x16, 0x2d, 0x96,
        ];
        let record = avc::encode(&[sps], &[&[0x68, 0xea, 0xec, 0xb2, 0x2c]]).unwrap();
        let tracks = [
            track(Codec::H264, record.into(), 90_000),
            track(Codec::Vp8, Bytes::new(), 1000),
            track(Codec::Aac, Bytes::from_static(&[0x11, 0x90]), 48_000),
        ];
        let heading = Heading { name: "live/a\r\nx", id: 7, v6: false, live: true };
        let sdp = describe(&tracks, &heading).unwrap();
        let begin = "v=0\r\no=- 7 1 IN IP4 127.0.0.1\r\ns=live/ax\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n";
        assert!(sdp.starts_with(&format!("{begin}a=control:*\r\na=range:npt=now-\r\nm=")), "{sdp}");
        let other = describe(&tracks, &Heading { v6: true, live: false, ..heading }).unwrap();
        assert!(other.contains(" IN IP6 ::1\r\n") && other.contains("c=IN IP6 ::\r\n"), "{other}");
        assert!(!other.contains("a=range"), "{other}");
        assert!(sdp.contains("profile-level-id=64001e;"), "{sdp}");
        assert!(
            sdp.contains("a=rtpmap:98 mpeg4-generic/48000/2\r\n") && sdp.contains("config=1190"),
            "{sdp}"
        );
        let read = Description::parse(sdp.as_bytes()).unwrap();
        assert!(read.problems.is_empty());
        let formats: Vec<Format> = read.media.iter().filter_map(Format::of).collect();
        let back: Vec<_> = formats.iter().filter_map(Format::track).collect();
        assert_eq!(back, [tracks[0].clone(), tracks[2].clone()]);
        assert_eq!((formats[1].samples, read.media[1].control()), (1024, Some("trackID=2")));
        assert_eq!(describe(&tracks[1..2], &heading), None);
    }

    #[test]
    fn sections_that_say_too_little_or_nonsense() {
        let of = |text: &str| Format::of(&Description::parse(text.as_bytes()).unwrap().media[0]);
        let aac = of("m=audio 0 RTP/AVP 97\na=rtpmap:97 MPEG4-GENERIC/44100/2\n").unwrap();
        assert_eq!((aac.config.as_ref(), aac.layout.size_bits), (&[0x12, 0x10][..], 13));
        let h264 =
            of("m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 sprop-parameter-sets=!!,AAAA\n")
                .unwrap();
        assert!(h264.track().is_none());
        assert!(of("m=video 0 RTP/AVP 96\na=rtpmap:96 VP8/90000\n").is_none());
        let celp =
            "m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/16000\na=fmtp:97 mode=CELP-cbr;config=440E00\n";
        assert!(of(celp).is_none() && of(&celp.replace("CELP-cbr;config=440E00", "aac-lbr")).is_some());
        let latm = |fmtp: &str| {
            of(&format!("m=audio 0 RTP/AVP 96\na=rtpmap:96 MP4A-LATM/48000/2\na=fmtp:96 {fmtp}\n"))
        };
        let told = latm("cpresent=0;config=40002320 3fc0".replace(' ', "").as_str()).unwrap();
        assert_eq!((told.track().unwrap().config.as_ref(), told.samples), (&[0x11, 0x90][..], 1024));
        assert!(latm("profile-level-id=1").is_some_and(|format| format.track().is_none()));
        assert!(latm("cpresent=0").is_none() && latm("cpresent=0;config=00").is_none());
        assert!(
            of("m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/44100\na=fmtp:97 config=;sizelength=99\n")
                .is_some()
        );
        // Nobody can make sound of a configuration that is there and cannot be read.
        for config in ["zz", "12zz", "f8", "0"] {
            let fmtp = format!("a=fmtp:97 config={config}");
            assert!(
                of(&format!("m=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/44100\n{fmtp}\n")).is_none()
            );
        }
    }
}
