//! Session descriptions: which tracks there are, with which codecs and clocks (RFC 4566, RFC 6184 §8, RFC 3640 §4).

use model::TrackKind;
use spec::Requirement;
use wire::Error;
use wire::codec::aac::latm::StreamMuxConfig;
use wire::sdp::{self, Description, Media};

use crate::finding::Note;
use crate::track::codec;
use crate::track::rtp::{AuBits, Format, Packing, encoding};

/// Tracks followed in one session.
pub(super) const MAX_TRACKS: usize = 32;

/// One track as described.
#[derive(Clone, Debug)]
pub(super) struct Described {
    /// Video, audio or data.
    pub(super) kind: TrackKind,
    /// Its payload types.
    pub(super) formats: Vec<Format>,
    /// The URL to set it up with.
    pub(super) control: String,
}

/// A whole description.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracks {
    /// In order of their media lines.
    pub(super) tracks: Vec<Described>,
    /// What of it cannot be read.
    pub(super) problems: Vec<Note>,
}

/// Reads a description; `base` is the URL that controls are relative to.
pub(super) fn read(body: &[u8], base: &str) -> Tracks {
    let description = match Description::parse(body) {
        Ok(description) => description,
        Err(error) => return Tracks { tracks: Vec::new(), problems: vec![unread(&error)] },
    };
    let mut problems: Vec<Note> = description.problems.iter().take(1).map(unread).collect();
    let tracks = description
        .media
        .iter()
        .take(MAX_TRACKS)
        .map(|media| Described {
            kind: match media.kind.as_str() {
                "video" => TrackKind::Video,
                "audio" => TrackKind::Audio,
                _ => TrackKind::Data,
            },
            formats: formats(media, &mut problems),
            control: sdp::control_url(base, media.control()),
        })
        .collect();
    Tracks { tracks, problems }
}

fn unread(error: &Error) -> Note {
    Note::error(&spec::sdp::STRUCTURE, "the session description", error)
}

fn formats(media: &Media, problems: &mut Vec<Note>) -> Vec<Format> {
    let types = media.formats.iter().filter_map(|format| format.parse().ok().filter(|n: &u8| *n < 128));
    types.take(16).map(|payload_type| format(media, payload_type, problems)).collect()
}

fn format(media: &Media, payload_type: u8, problems: &mut Vec<Note>) -> Format {
    let mut format = Format { payload_type, ..Format::default() };
    let (encoding, clock, channels) = match media.rtpmap(payload_type) {
        Some(map) => (map.encoding, map.clock, map.channels),
        None => match encoding::fixed(payload_type) {
            Some((encoding, clock, channels)) => (encoding.to_owned(), clock, channels),
            None => return format,
        },
    };
    format.clock = clock;
    let suffix = channels.map_or_else(String::new, |n| format!("/{n}"));
    format.declared.push(("rtpmap", format!("{payload_type} {encoding}/{clock}{suffix}")));
    let parameters = media.fmtp(payload_type).unwrap_or_default();
    for (name, value) in parameters.0.iter().take(16) {
        let known =
            ["packetization-mode", "profile-level-id", "config", "mode", "profile-id", "level-id", "object"];
        if let Some(name) = known.iter().find(|known| name.eq_ignore_ascii_case(known)) {
            format.declared.push((name, value.clone()));
        }
    }
    let info = &mut format.info;
    let name = encoding.to_ascii_uppercase();
    let (codec, packing) = match name.as_str() {
        "MPEG4-GENERIC" => {
            let bits =
                |name: &str| parameters.number(name).and_then(|n| u32::try_from(n).ok()).unwrap_or(0).min(32);
            let au = AuBits {
                size: bits("sizelength"),
                index: bits("indexlength"),
                delta: bits("indexdeltalength"),
            };
            let mode = parameters.value("mode").unwrap_or_default();
            (
                "aac",
                if mode.to_ascii_lowercase().starts_with("aac") {
                    Packing::Aac(au)
                } else {
                    Packing::OnePerPacket
                },
            )
        }
        _ => match encoding::named(&name) {
            Some(encoding) => (encoding.codec, encoding.packing),
            None => return format,
        },
    };
    info.codec = Some(codec.to_owned());
    format.packing = packing;
    if let Some(rate) = encoding::sample_rate(codec, clock) {
        info.sample_rate = Some(rate);
        info.channels = channels.or(Some(1)).and_then(|n| u8::try_from(n).ok());
    }
    let (sets, rule): (&'static str, _) = match packing {
        Packing::H265 => ("sprop-sps", &spec::sdp::H265_SPROP),
        _ => ("sprop-parameter-sets", &spec::sdp::H264_SPROP),
    };
    let listed = parameters.value(sets).filter(|list| !list.is_empty()).into_iter();
    for set in listed.flat_map(|list| list.split(',')) {
        let Some(nal) = base64(set.trim()) else {
            problems.push(coded(rule, sets, set, "base64"));
            continue;
        };
        let h265 = packing == Packing::H265;
        let is_sps = match nal.first() {
            Some(first) if h265 => first >> 1 & 0x3f == wire::codec::hevc::SPS_TYPE,
            Some(first) => first & 0x1f == wire::codec::avc::NalType::SPS.0,
            None => false,
        };
        if is_sps && let Err(error) = codec::parameter_set(info, h265, &nal) {
            problems.push(Note::error(rule, &format!("{sets} of the session description"), &error));
        }
    }
    if codec == "aac"
        && let Some(text) = parameters.value("config").filter(|text| !text.is_empty())
    {
        let rule = if packing == Packing::Latm { &spec::sdp::LATM_CONFIG } else { &spec::sdp::AAC_CONFIG };
        let Some(config) = hex(text) else {
            problems.push(coded(rule, "config", text, "two hexadecimal digits a byte"));
            return format;
        };
        let config = match packing {
            // LATM wraps it (RFC 6416 §7.3).
            Packing::Latm => StreamMuxConfig::decode(&config).map(|mux| mux.config),
            _ => Ok(config),
        };
        match config.and_then(|config| codec::audio(info, &mut wire::Cursor::new(&config))) {
            Ok(config) => format.audio = Some(config),
            Err(error) => problems.push(Note::error(rule, "config of the session description", &error)),
        }
    }
    format
}

/// A parameter that is not what it should be.
fn coded(rule: &'static Requirement, name: &str, value: &str, want: &str) -> Note {
    let value: String = value.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect();
    let message = format!("{name} of the session description is not {want}: {value:?}");
    Note::new(rule, message).want_got(want, value)
}

/// Characters of a value that are repeated.
const MAX_SHOWN: usize = 60;
/// Longest encoded value that is read.
const MAX_VALUE: usize = 16 * 1024;

fn hex(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes().get(..text.len().min(MAX_VALUE))?;
    let digit = |b: &u8| char::from(*b).to_digit(16);
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| u8::try_from(digit(high)? << 4 | digit(low)?).ok()).collect()
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut word, mut bits) = (0u32, 0u32);
    for b in text.bytes().take(MAX_VALUE).take_while(|b| *b != b'=') {
        let value = match b {
            b'A'..=b'Z' => b.wrapping_sub(b'A'),
            b'a'..=b'z' => b.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => b.wrapping_sub(b'0').wrapping_add(52),
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        word = (word << 6 | u32::from(value)) & 0xff_ffff;
        bits = bits.saturating_add(6);
        if bits >= 8 {
            bits = bits.saturating_sub(8);
            out.push(u8::try_from(word >> bits & 0xff).unwrap_or(0));
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &[u8] = b"v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=x\r\nt=0 0\r\na=control:*\r\n\
        m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n\
        a=fmtp:96 level-id=60; sprop-sps=QgEBAWAAAAMAkAAAAwAAAwA8oAoIC595ZWSSTK8BaAgAAAMACAAAAwDIQA==\r\n\
        a=control:trackID=0\r\n\
        m=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/48000/2\r\n\
        a=fmtp:97 mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190\r\na=control:trackID=1\r\n\
        m=audio 0 RTP/AVP 14\r\n";

    #[test]
    fn tracks_have_codecs_clocks_and_urls() {
        let read = read(SDP, "rtsp://h/live/a");
        assert!(read.problems.is_empty());
        let [video, audio, mp3] = &read.tracks[..] else { panic!("{read:?}") };
        assert_eq!(video.control, "rtsp://h/live/a/trackID=0");
        let format = &video.formats[0];
        assert_eq!((format.clock, format.packing), (90_000, Packing::H265));
        assert_eq!((format.info.width, format.info.height), (Some(320), Some(180)));
        let format = &audio.formats[0];
        let bits = AuBits { size: 13, index: 3, delta: 3 };
        assert_eq!((format.clock, format.packing), (48_000, Packing::Aac(bits)));
        assert_eq!((format.info.profile.as_deref(), format.info.sample_rate), (Some("LC"), Some(48_000)));
        assert_eq!(mp3.formats[0].info.codec.as_deref(), Some("mp3"));
        assert_eq!(mp3.formats[0].clock, 90_000);
        let latm = "m=audio 0 RTP/AVP 96\r\na=rtpmap:96 MP4A-LATM/48000/2\r\na=fmtp:96 cpresent=0;config=400023203fc0\r\n";
        let latm = Description::parse(latm.as_bytes()).unwrap();
        let mut problems = Vec::new();
        let latm = super::format(&latm.media[0], 96, &mut problems);
        assert_eq!((latm.info.profile.as_deref(), latm.info.sample_rate), (Some("LC"), Some(48_000)));
    }

    #[test]
    fn parameters_that_cannot_be_read_are_told_by_their_own_rules() {
        let told = |from: &str, to: &str| {
            let sdp = String::from_utf8(SDP.to_vec()).unwrap().replace(from, to);
            let read = read(sdp.as_bytes(), "rtsp://h/live/a");
            assert_eq!(read.tracks.len(), 3, "{to}");
            let problem = |note: Note| (note.rule.id, note.got.unwrap_or_default());
            read.problems.into_iter().map(problem).collect::<Vec<_>>()
        };
        assert_eq!(
            told("sprop-sps=QgEB", "sprop-sps=!!"),
            [("sdp.h265.sprop", "!!AWAAAAMAkAAAAwAAAwA8oAoIC595ZWSSTK8BaAgAAAMACAAAAwDIQA==".to_owned())]
        );
        assert_eq!(told("H265", "H264"), []);
        let h264 = |sets: &str| {
            told("H265/90000\r\na=fmtp:96 ", &format!("H264/90000\r\na=fmtp:96 sprop-parameter-sets={sets};"))
        };
        assert_eq!(h264("Z2QAHqzZQKAv+XARAAADAAEAAAMAMg8WLZY=,aOrssiw="), []);
        assert_eq!(h264("Z2Q*Hqz,aOrssiw="), [("sdp.h264.sprop", "Z2Q*Hqz".to_owned())]);
        assert_eq!(h264("Z2Q=").first().map(|(rule, _)| *rule), Some("sdp.h264.sprop"));
        for config in ["119", "zz", "11 90"] {
            assert_eq!(
                told("config=1190", &format!("config={config}")),
                [("sdp.aac.config", config.to_owned())]
            );
        }
        assert_eq!(told("config=1190", "config=f8").first().map(|(rule, _)| *rule), Some("sdp.aac.config"));
        assert_eq!(told("config=1190", "config="), []);
    }

    #[test]
    fn encodings_of_values() {
        assert_eq!(base64("aGVsbG8="), Some(b"hello".to_vec()));
        assert_eq!(base64("a b"), None);
        assert_eq!(hex("11aF"), Some(vec![0x11, 0xaf]));
        assert_eq!((hex("1"), hex("zz")), (None, None));
    }
}
