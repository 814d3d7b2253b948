//! Payload formats by name, and the payload types whose meaning is fixed (RFC 3551 §6).

use model::TrackKind;

use super::Packing;

/// What a payload format is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// The codec's name in the report.
    pub codec: &'static str,
    /// How packets hold frames.
    pub packing: Packing,
    /// Video, audio or data.
    pub kind: TrackKind,
}

/// A payload format by its encoding name; none for one that is not known. MPEG-4 audio needs parameters too.
pub fn named(encoding: &str) -> Option<Encoding> {
    let name = encoding.to_ascii_uppercase();
    let video = |codec, packing| (codec, packing, TrackKind::Video);
    let audio = |codec| (codec, Packing::OnePerPacket, TrackKind::Audio);
    let picture = |codec| (codec, Packing::OnePerTimestamp, TrackKind::Video);
    let (codec, packing, kind) = match name.as_str() {
        "H264" => video("h264", Packing::H264),
        "H265" => video("h265", Packing::H265),
        "H266" => video("h266", Packing::H266),
        "VP8" => video("vp8", Packing::Vp8),
        "VP9" => video("vp9", Packing::Vp9),
        "AV1" | "AV1X" => video("av1", Packing::Av1),
        "H263" | "H263-1998" | "H263-2000" => picture("h263"),
        "H261" => picture("h261"),
        "JPEG" => picture("mjpeg"),
        "JPEG2000" => picture("jpeg2000"),
        "MP4V-ES" => picture("mpeg4"),
        "MPV" => picture("mpv"),
        "CELB" => picture("celb"),
        "NV" => picture("nv"),
        "THEORA" => picture("theora"),
        "RAW" => picture("raw"),
        "X-SV3V-ES" => picture("svq3"),
        "X-SORENSONVIDEO" | "X-SORENSON-VIDEO" => picture("svq1"),
        "MP4A-LATM" => ("aac", Packing::Latm, TrackKind::Audio),
        "OPUS" | "MULTIOPUS" => audio("opus"),
        "MPA" => ("mp3", Packing::Mpa, TrackKind::Audio),
        "MPA-ROBUST" | "X-MP3-DRAFT-00" => audio("mp3"),
        "AC3" => audio("ac3"),
        "EAC3" => audio("eac3"),
        "PCMU" => audio("g711u"),
        "PCMA" => audio("g711a"),
        "SPEEX" => audio("speex"),
        "VORBIS" => audio("vorbis"),
        "X-QDM" => audio("qdm2"),
        "G722" => audio("g722"),
        "G723" => audio("g723"),
        "G726-16" | "G726-24" | "G726-32" | "G726-40" => audio("g726"),
        "G728" => audio("g728"),
        "G729" | "G729D" | "G729E" => audio("g729"),
        "GSM" | "GSM-EFR" | "GSM-HR-08" => audio("gsm"),
        "AMR" => audio("amr"),
        "AMR-WB" => audio("amr-wb"),
        "ILBC" => audio("ilbc"),
        "L8" => audio("l8"),
        "L16" => audio("l16"),
        "L24" => audio("l24"),
        "DVI4" => audio("dvi4"),
        "LPC" => audio("lpc"),
        "QCELP" => audio("qcelp"),
        "CN" => audio("cn"),
        "TELEPHONE-EVENT" => ("telephone-event", Packing::OnePerPacket, TrackKind::Data),
        "MP2T" => ("mpegts", Packing::Ts, TrackKind::Data),
        _ => return None,
    };
    Some(Encoding { codec, packing, kind })
}

/// Name, clock and channels of a payload type whose meaning is fixed.
pub fn fixed(payload_type: u8) -> Option<(&'static str, u32, Option<u32>)> {
    Some(match payload_type {
        0 => ("PCMU", 8000, Some(1)),
        3 => ("GSM", 8000, Some(1)),
        4 => ("G723", 8000, Some(1)),
        5 => ("DVI4", 8000, Some(1)),
        6 => ("DVI4", 16_000, Some(1)),
        7 => ("LPC", 8000, Some(1)),
        8 => ("PCMA", 8000, Some(1)),
        9 => ("G722", 8000, Some(1)),
        10 => ("L16", 44_100, Some(2)),
        11 => ("L16", 44_100, Some(1)),
        12 => ("QCELP", 8000, Some(1)),
        13 => ("CN", 8000, Some(1)),
        14 => ("MPA", 90_000, None),
        15 => ("G728", 8000, Some(1)),
        16 => ("DVI4", 11_025, Some(1)),
        17 => ("DVI4", 22_050, Some(1)),
        18 => ("G729", 8000, Some(1)),
        25 => ("CelB", 90_000, None),
        26 => ("JPEG", 90_000, None),
        28 => ("nv", 90_000, None),
        31 => ("H261", 90_000, None),
        32 => ("MPV", 90_000, None),
        33 => ("MP2T", 90_000, None),
        34 => ("H263", 90_000, None),
        _ => return None,
    })
}

/// Samples a second that plain sound formats have; the clock of G.722 runs at half of them (RFC 3551 §4.5.2).
pub fn sample_rate(codec: &str, clock: u32) -> Option<u32> {
    match codec {
        "g722" => Some(16_000),
        "g711u" | "g711a" | "speex" | "opus" | "g723" | "g726" | "g728" | "g729" | "gsm" | "amr"
        | "amr-wb" | "ilbc" | "l8" | "l16" | "l24" | "dvi4" | "lpc" | "qcelp" | "vorbis" | "qdm2" | "ac3"
        | "eac3" => Some(clock),
        _ => None,
    }
    .filter(|rate| *rate > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fixed_type_has_a_format() {
        for payload_type in 0..=127 {
            let Some((name, clock, _)) = fixed(payload_type) else { continue };
            let encoding = named(name).unwrap();
            assert_eq!(
                clock == 90_000,
                sample_rate(encoding.codec, clock).is_none() && name != "CN",
                "{name}"
            );
        }
        assert_eq!((fixed(1), fixed(72), fixed(96)), (None, None, None));
        assert_eq!(sample_rate(named("G722").unwrap().codec, 8000), Some(16_000));
        assert_eq!(named("x-qdm").unwrap().codec, "qdm2");
    }
}
