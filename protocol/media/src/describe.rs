//! A track in one line for people, from its configuration record.

use wire::Cursor;
use wire::codec::{aac::AudioSpecificConfig, avc};
use wire::flv::audio;

use crate::frame::Codec;

/// `H.264 High 3.1 640x360`, `AAC-LC 48000 Hz stereo`; the codec's name alone where no more is known.
pub(crate) fn describe(codec: Codec, config: &[u8], flv_flags: Option<u8>) -> String {
    let name = title(codec);
    let detail = match codec {
        Codec::H264 => h264(config),
        Codec::Aac => return aac(config).unwrap_or_else(|| name.to_owned()),
        _ => flv_flags.filter(|_| config.is_empty()).and_then(|flags| legacy_audio(codec, flags)),
    };
    detail.map_or_else(|| name.to_owned(), |detail| format!("{name} {detail}"))
}

fn title(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => "H.264",
        Codec::H265 => "H.265",
        Codec::Av1 => "AV1",
        Codec::Vp8 => "VP8",
        Codec::Vp9 => "VP9",
        Codec::Vp6 => "VP6",
        Codec::H263 => "H.263",
        Codec::Aac => "AAC",
        Codec::Mp3 => "MP3",
        Codec::Opus => "Opus",
        Codec::Flac => "FLAC",
        Codec::G711a => "G.711 A-law",
        Codec::G711u => "G.711 µ-law",
        Codec::Speex => "Speex",
    }
}

fn h264(config: &[u8]) -> Option<String> {
    let config = avc::Config::decode(&mut Cursor::new(config)).ok()?;
    let sps = config.first_sps()?.ok()?;
    Some(format!("{} {} {}x{}", sps.profile(), sps.level(), sps.width, sps.height))
}

fn aac(config: &[u8]) -> Option<String> {
    let description = AudioSpecificConfig::decode(&mut Cursor::new(config)).ok()?.describe();
    let profile = match description.profile {
        "LC" => "AAC-LC",
        other => other,
    };
    let channels = match description.channels {
        Some(1) => "mono".to_owned(),
        Some(2) => "stereo".to_owned(),
        Some(n) => format!("{n} channels"),
        None => "channels unknown".to_owned(),
    };
    Some(format!("{profile} {} Hz {channels}", description.sample_rate))
}

fn legacy_audio(codec: Codec, flags: u8) -> Option<String> {
    let audio::AudioHeader::Classic(header) = audio::decode(&mut Cursor::new(&[flags, 1])).ok()? else {
        return None;
    };
    let (rate, channels) = match (codec, header.format.fixed_rate()) {
        (_, Some(rate)) => (f64::from(rate), "mono"),
        _ => (header.claimed_rate(), if header.channels == 1 { "stereo" } else { "mono" }),
    };
    (codec.kind() == crate::Kind::Audio).then(|| format!("{rate} Hz {channels}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_speaks_not_the_flag_bits() {
        assert_eq!(describe(Codec::Aac, &[0x11, 0x90], None), "AAC-LC 48000 Hz stereo");
        assert_eq!(describe(Codec::Aac, &[], None), "AAC");
        assert_eq!(describe(Codec::Mp3, &[], Some(0x2f)), "MP3 44100 Hz stereo");
        assert_eq!(describe(Codec::Speex, &[], Some(0xb6)), "Speex 16000 Hz mono");
        assert_eq!(describe(Codec::H264, &[1, 2, 3], None), "H.264");
    }
}
