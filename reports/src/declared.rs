//! What a container declares about a track beside what its bitstream says.

use model::{CHANGED_FROM, Track};

use crate::figures;

/// A claim that the bitstream contradicts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contradiction<'a> {
    /// The name of the claim, as its container has it.
    pub(crate) claim: &'a str,
    /// What is claimed.
    pub(crate) declared: &'a str,
    /// What is so.
    pub(crate) real: String,
    /// The claim is a constant that means nothing: the flag bits of an AAC tag (FLV v10.1 §E.4.2.1).
    pub(crate) constant: bool,
}

/// The claims about a track that its bitstream contradicts. A claim that cannot be compared is left out.
pub(crate) fn contradictions(track: &Track) -> Vec<Contradiction<'_>> {
    // Where the configuration changed, nobody can tell which of them a claim was about.
    let changed = track.reported.as_ref().is_some_and(|reported| reported.contains_key(CHANGED_FROM));
    let claims = track.declared.iter().flatten().filter(|_| !changed);
    claims
        .filter_map(|(claim, declared)| {
            let real = contradiction(track, claim, declared)?;
            let constant = track.codec.as_deref() == Some("aac") && claim.starts_with("sound_");
            Some(Contradiction { claim, declared, real, constant })
        })
        .collect()
}

/// What is really so where the claim is wrong.
fn contradiction(track: &Track, claim: &str, declared: &str) -> Option<String> {
    let last = claim.rsplit('.').next().unwrap_or(claim);
    let key: String = last.chars().filter(char::is_ascii_alphanumeric).collect();
    match key.to_ascii_lowercase().as_str() {
        "width" => size(track.width, declared),
        "height" => size(track.height, declared),
        "framerate" | "videoframerate" | "fps" => {
            let real = track.frame_rate?;
            // The rate is measured; a short stretch of a steady stream is off by a frame or two.
            differs(number(declared)?, real, 0.05).then(|| format!("{} fps", figures::decimal(real)))
        }
        "samplerate" | "audiosamplerate" | "soundrate" | "rate" => {
            let real = track.sample_rate?;
            differs(number(declared)?, f64::from(real), 0.01).then(|| format!("{real} Hz"))
        }
        "channels" | "audiochannels" | "soundtype" | "type" => channels(track, channel_count(declared)?),
        "stereo" => match declared {
            "true" => channels(track, 2),
            "false" => channels(track, 1),
            _ => None,
        },
        "codec" | "videocodec" | "videocodecid" | "audiocodec" | "audiocodecid" | "soundformat"
        | "codecid" => {
            let real = track.codec.as_deref()?;
            (codec(declared)? != real).then(|| real.to_owned())
        }
        "avcprofile" => {
            let real = track.profile.as_deref()?;
            let name = match declared {
                "66" => "Baseline",
                "77" => "Main",
                "88" => "Extended",
                "100" => "High",
                _ => return None,
            };
            (!real.ends_with(name)).then(|| real.to_owned())
        }
        "avclevel" => {
            let real = track.level.as_deref()?;
            differs(number(declared)? / 10.0, number(real)?, 0.001).then(|| real.to_owned())
        }
        "profile" => {
            let real = track.profile.as_deref()?;
            (!declared.eq_ignore_ascii_case(real)).then(|| real.to_owned())
        }
        _ => None,
    }
}

fn size(real: Option<u32>, declared: &str) -> Option<String> {
    let real = real?;
    differs(number(declared)?, f64::from(real), 0.0).then(|| real.to_string())
}

fn channels(track: &Track, declared: u8) -> Option<String> {
    let real = track.channels?;
    let name = match real {
        1 => "mono".to_owned(),
        2 => "stereo".to_owned(),
        n => format!("{n} channels"),
    };
    (real != declared).then_some(name)
}

fn channel_count(declared: &str) -> Option<u8> {
    match declared.trim().to_ascii_lowercase().as_str() {
        "mono" => Some(1),
        "stereo" => Some(2),
        other => other.split_whitespace().next()?.parse().ok(),
    }
}

/// A number with an optional `k` before its unit: `44 kHz`, `44100`, `29.97 fps`.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let scale = if unit.trim_start().starts_with(['k', 'K']) { 1000.0 } else { 1.0 };
    digits.parse::<f64>().ok().map(|n| n * scale)
}

fn differs(declared: f64, real: f64, tolerance: f64) -> bool {
    (declared - real).abs() > real.abs() * tolerance + 1e-9
}

/// The contract's name for a codec as FLV numbers, FourCCs and people write it.
fn codec(declared: &str) -> Option<&'static str> {
    // `AVC (7)`: the name counts, the number says the same.
    let name = declared.split('(').next().unwrap_or_default();
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let name = name.to_ascii_lowercase();
    let known = match name.as_str() {
        "7" | "avc" | "avc1" | "h264" | "h264avc" | "avch264" => "h264",
        "12" | "hevc" | "hevcunofficial" | "hvc1" | "hev1" | "h265" => "h265",
        "av1" | "av01" => "av1",
        "2" | "h263" | "sorensonh263" => "h263",
        "4" | "5" | "vp6" | "on2vp6" | "on2vp6withalpha" => "vp6",
        "vp8" | "vp08" => "vp8",
        "vp9" | "vp09" => "vp9",
        "10" | "aac" | "mp4a" => "aac",
        "mp3" | "mp38khz" | "14" => "mp3",
        // The µ of µ-law is no ASCII letter and falls away.
        "g711alaw" => "g711a",
        "g711law" | "g711ulaw" => "g711u",
        "11" | "speex" => "speex",
        "opus" => "opus",
        "flac" => "flac",
        _ => return None,
    };
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::TrackKind;

    fn audio(declared: &[(&str, &str)]) -> Track {
        Track {
            kind: TrackKind::Audio,
            codec: Some("aac".into()),
            profile: Some("LC".into()),
            level: None,
            width: None,
            height: None,
            frame_rate: None,
            sample_rate: Some(48_000),
            channels: Some(2),
            frames: 1,
            end_of_sequence: 0,
            key_frames: 0,
            bytes: 1,
            bps: None,
            packets: None,
            lost_packets: None,
            reordered: None,
            duplicates: None,
            reported: None,
            jitter_ms: None,
            declared: Some(declared.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()),
            description: String::new(),
            gop: None,
        }
    }

    #[test]
    fn the_flags_of_an_aac_tag_are_contradicted_by_its_configuration() {
        let track =
            audio(&[("flv.sound_rate", "44 kHz"), ("flv.sound_type", "stereo"), ("profile", "HE-AAC")]);
        let found = contradictions(&track);
        let wrong: Vec<_> = found.iter().map(|c| (c.claim, c.declared, c.real.as_str())).collect();
        assert_eq!(wrong, [("flv.sound_rate", "44 kHz", "48000 Hz"), ("profile", "HE-AAC", "LC")]);
    }

    #[test]
    fn claims_that_agree_or_cannot_be_compared_are_left_alone() {
        let track = audio(&[
            ("onMetaData.audiosamplerate", "48000"),
            ("onMetaData.audiocodecid", "10"),
            ("onMetaData.stereo", "true"),
            ("onMetaData.width", "640"),
            ("encoder", "Lavf"),
        ]);
        assert_eq!(contradictions(&track), []);
    }

    #[test]
    fn names_with_their_number_are_read_as_names() {
        let agree = audio(&[("sound_format", "AAC (10)"), ("fourcc", "mp4a"), ("sound_size", "16 bit")]);
        assert_eq!(contradictions(&agree), []);
        let wrong = audio(&[("sound_format", "G.711 µ-law (8)")]);
        assert_eq!(contradictions(&wrong).len(), 1);
    }

    #[test]
    fn h264_profile_and_level_numbers_are_compared() {
        let mut track = audio(&[("avcprofile", "100"), ("avclevel", "31")]);
        (track.profile, track.level) = (Some("High".into()), Some("3.1".into()));
        assert_eq!(contradictions(&track), []);
        (track.profile, track.level) = (Some("Constrained Baseline".into()), Some("4".into()));
        let real: Vec<_> = contradictions(&track).into_iter().map(|c| c.real).collect();
        assert_eq!(real, ["4", "Constrained Baseline"]);
    }

    #[test]
    fn codec_numbers_are_read_as_codecs() {
        let track = audio(&[("audiocodecid", "2"), ("soundformat", "MP3")]);
        let found: Vec<_> = contradictions(&track).into_iter().map(|c| c.real).collect();
        assert_eq!(found, ["aac", "aac"]);
    }
}
