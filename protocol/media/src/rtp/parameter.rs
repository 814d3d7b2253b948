//! Parameters of formats in session descriptions: decoder configurations in base64 and hexadecimal, and what is wrong with them.

use std::fmt::{self, Write as _};

use wire::Cursor;
use wire::codec::aac::AudioSpecificConfig;
use wire::codec::aac::latm::StreamMuxConfig;
use wire::codec::avc::NalType;
use wire::sdp::{Description, Media};

use crate::sets::Sets;

/// Longest configuration of sound believed, in bytes.
const MAX_CONFIG: usize = 256;
/// Characters of a value that are repeated to people.
const MAX_SHOWN: usize = 60;

const NOT_BASE64: &str = "no base64";
const NOT_HEX: &str = "no hexadecimal";

/// A parameter of a description that cannot be used as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The media section, the first being 0.
    pub section: usize,
    /// The payload type it is about.
    pub payload_type: u8,
    /// The parameter's name (RFC 6184 §8.1, RFC 3640 §4.1, RFC 6416 §7.3).
    pub name: &'static str,
    /// The beginning of its value, without control characters.
    pub value: String,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payload_type, name, value, what, .. } = self;
        write!(f, "a=fmtp:{payload_type} {name}={value}: {what}")
    }
}

/// What is wrong with the configurations that a description gives to decoders. Pictures may bring theirs along; sound without
/// a readable one is left out.
pub fn troubles(description: &Description) -> Vec<Trouble> {
    let sections = description.media.iter().enumerate();
    sections.flat_map(|(section, media)| of_section(section, media)).collect()
}

fn of_section(section: usize, media: &Media) -> Vec<Trouble> {
    let types = media.formats.iter().filter_map(|f| f.parse::<u8>().ok()).filter(|n| *n < 128);
    let mut found = Vec::new();
    for payload_type in types {
        let Some(map) = media.rtpmap(payload_type) else { continue };
        let parameters = media.fmtp(payload_type).unwrap_or_default();
        let value = |name: &str| parameters.value(name).filter(|value| !value.is_empty());
        let mut note = |name, value: &str, what| {
            let value = value.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect();
            found.push(Trouble { section, payload_type, name, value, what });
        };
        if map.is("H264") {
            let name = "sprop-parameter-sets";
            for part in value(name).into_iter().flat_map(|sets| sets.split(',')) {
                if let Err(what) = parameter_set(part) {
                    note(name, part, what);
                }
            }
        } else if let Some(config) = value("config") {
            let what = if map.is("mpeg4-generic") {
                match audio_config(config) {
                    Ok(_) if digits(config).len().is_multiple_of(2) => None,
                    Ok(_) => Some("half a byte at the end: read as if a 0 followed"),
                    Err(what) => Some(what),
                }
            } else if map.is("MP4A-LATM") {
                mux_config(config).err()
            } else {
                None
            };
            if let Some(what) = what {
                note("config", config, what);
            }
        }
    }
    found
}

/// A parameter set of H.264, without a start code that should not be there.
pub(super) fn parameter_set(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut nal = from_base64(text).ok_or(NOT_BASE64)?;
    if nal.starts_with(&[0, 0, 0, 1]) {
        nal.drain(..4);
    }
    let known = matches!(NalType::of(&nal), Some(NalType::SPS | NalType::PPS));
    // Extensions of them (ITU-T H.264 table 7-1) are nothing to us, and nothing wrong.
    let extends = nal.first().is_some_and(|first| matches!(first & 0x1f, 13 | 15));
    if extends || known && Sets::default().take(&nal) {
        Ok(nal)
    } else {
        Err("no parameter set that can be read")
    }
}

/// An AudioSpecificConfig.
pub(super) fn audio_config(text: &str) -> Result<Vec<u8>, &'static str> {
    let config = from_hex(text).ok_or(NOT_HEX)?;
    match AudioSpecificConfig::decode(&mut Cursor::new(&config)) {
        Ok(_) => Ok(config),
        Err(_) => Err("no AudioSpecificConfig that can be read"),
    }
}

/// What LATM holds.
pub(super) fn mux_config(text: &str) -> Result<StreamMuxConfig, &'static str> {
    let config = from_hex(text).ok_or(NOT_HEX)?;
    StreamMuxConfig::decode(&config).map_err(|_| "no StreamMuxConfig that can be read")
}

fn digits(text: &str) -> &str {
    text.trim().trim_matches('"')
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let text = digits(text).as_bytes();
    if text.len() > MAX_CONFIG.saturating_mul(2) {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    // An odd last digit stands for four bits; zeros fill the byte.
    text.chunks(2)
        .map(|pair| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            [high] => Some(digit(high)? << 4),
            _ => None,
        })
        .collect()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn to_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for group in bytes.chunks(3) {
        let at = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for n in 0..4usize {
            let shift = 18u32.saturating_sub(u32::try_from(n).unwrap_or(0).saturating_mul(6));
            let index = usize::try_from(bits >> shift & 63).unwrap_or(0);
            let letter = ALPHABET.get(index).copied().map_or('=', char::from);
            out.push(if n <= group.len() { letter } else { '=' });
        }
    }
    out
}

/// Missing padding is forgiven; a letter that is none spoils the whole.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().trim_end_matches('=').as_bytes();
    let mut out = Vec::with_capacity(text.len());
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for n in 0..4usize {
            let value = match group.get(n) {
                Some(letter) => ALPHABET.iter().position(|a| a == letter)?,
                None => 0,
            };
            bits = bits << 6 | u32::try_from(value).unwrap_or(0);
        }
        let [_, a, b, c] = bits.to_be_bytes();
        out.extend([a, b, c].into_iter().take(group.len().saturating_mul(6) / 8));
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_both_ways() {
        for (plain, coded) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(to_base64(plain.as_bytes()), coded);
            assert_eq!(from_base64(coded).unwrap(), plain.as_bytes());
        }
        assert_eq!(from_base64("Zg"), Some(vec![b'f']));
        assert_eq!((from_base64("Z*=="), from_base64("")), (None, None));
    }

    /// What is told of one media section.
    fn told(section: &str) -> Vec<String> {
        let description = Description::parse(format!("v=0\n{section}\n").as_bytes()).unwrap();
        troubles(&description).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn parameter_sets_are_told_one_by_one() {
        let of = |sets: &str| {
            told(&format!(
                "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 sprop-parameter-sets={sets}"
            ))
        };
        let (sps, pps) = ("Z2QAHqzZQKAv+XARAAADAAEAAAMAMg8WLZY=", "aOrssiw=");
        for good in [format!("{sps},{pps}"), String::new(), format!("AAAAAWjq7LIs,{sps},bQ==")] {
            assert_eq!(of(&good), [""; 0], "{good}");
        }
        let line = |set: &str, what: &str| format!("a=fmtp:96 sprop-parameter-sets={set}: {what}");
        let unread = "no parameter set that can be read";
        assert_eq!(of(&format!("Z2Q*Hqz,{pps}")), [line("Z2Q*Hqz", "no base64")]);
        assert_eq!(of("!!,AAAA,Z2Q="), [line("!!", "no base64"), line("AAAA", unread), line("Z2Q=", unread)]);
        assert_eq!(of(&format!("{sps},")), [line("", "no base64")]);
        let long = of(&format!("\u{7}*{}", "A".repeat(5000)));
        assert_eq!(long, [line(&format!("*{}", "A".repeat(59)), "no base64")]);
    }

    #[test]
    fn configurations_of_sound_are_told() {
        let of = |encoding: &str, fmtp: &str| {
            told(&format!("m=audio 0 RTP/AVP 97\na=rtpmap:97 {encoding}/48000/2\na=fmtp:97 {fmtp}"))
        };
        let line = |config: &str, what: &str| vec![format!("a=fmtp:97 config={config}: {what}")];
        for good in ["mode=AAC-hbr;config=1190", "mode=AAC-hbr", "config="] {
            assert_eq!(of("mpeg4-generic", good), [""; 0], "{good}");
        }
        let aac = |config: &str| of("MPEG4-GENERIC", &format!("mode=AAC-hbr;config={config}"));
        assert_eq!(aac("119"), line("119", "half a byte at the end: read as if a 0 followed"));
        assert_eq!(aac("11 90"), line("11 90", "no hexadecimal"));
        assert_eq!(aac("zz"), line("zz", "no hexadecimal"));
        assert_eq!(aac("f8"), line("f8", "no AudioSpecificConfig that can be read"));
        assert_eq!(of("MP4A-LATM", "config=400023203fc0"), [""; 0]);
        assert_eq!(
            of("MP4A-LATM", "cpresent=0;config=00"),
            line("00", "no StreamMuxConfig that can be read")
        );
        assert_eq!(of("opus", "config=zz"), [""; 0]);
    }
}
