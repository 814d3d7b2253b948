//! What commands, metadata and flag bits claim, in words.

use std::borrow::Cow;

use wire::amf0::Amf0;
use wire::flv::{ClassicAudio, CodecId, FourCc, SoundFormat};

use crate::track::Stats;

/// Properties of onMetaData that speak of the picture.
const VIDEO: [&str; 9] = [
    "width",
    "height",
    "framerate",
    "fps",
    "videodatarate",
    "videocodecid",
    "avcprofile",
    "avclevel",
    "videokeyframe_frequency",
];
/// Properties of onMetaData that speak of the sound.
const AUDIO: [&str; 6] =
    ["audiodatarate", "audiosamplerate", "audiosamplesize", "audiochannels", "stereo", "audiocodecid"];

/// What a stream's metadata claims of its tracks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Metadata {
    video: Vec<(&'static str, String)>,
    audio: Vec<(&'static str, String)>,
}

impl Metadata {
    /// Takes over an onMetaData object; a later one counts.
    pub(super) fn take(&mut self, object: &Amf0) {
        let object = plain(object);
        *self = Self { video: claims(&object, &VIDEO), audio: claims(&object, &AUDIO) };
    }

    /// Tells a track what is claimed of it.
    pub(super) fn tell(&self, stats: &mut Stats) {
        let claims = match stats.kind() {
            model::TrackKind::Video => &self.video,
            model::TrackKind::Audio => &self.audio,
            model::TrackKind::Data => return,
        };
        claims.iter().for_each(|(name, value)| stats.declare(name, value.as_str()));
    }
}

/// The value in AMF0, whichever format it came in.
fn plain(value: &Amf0) -> Cow<'_, Amf0> {
    match value {
        Amf0::Amf3(value) => Cow::Owned(Amf0::from(&**value)),
        value => Cow::Borrowed(value),
    }
}

fn claims(object: &Amf0, names: &[&'static str]) -> Vec<(&'static str, String)> {
    names.iter().filter_map(|name| Some((*name, text(name, object.property(name)?)?))).collect()
}

fn text(name: &str, value: &Amf0) -> Option<String> {
    match value {
        Amf0::Number(n) => {
            // Codec ids above 255 are fourCCs written as a number (Enhanced RTMP).
            match value.as_u32() {
                Some(id) if name.ends_with("codecid") && id > 255 => Some(FourCc::from(id).to_string()),
                _ => Some(number(*n)),
            }
        }
        Amf0::Boolean(b) => Some(b.to_string()),
        Amf0::String(s) => Some(s.clone()),
        _ => None,
    }
}

/// A double without a fraction it does not have.
fn number(n: f64) -> String {
    format!("{n}")
}

/// The fourCcList of a connect command: codecs a peer says it can take.
pub(super) fn fourcc_list(connect: &Amf0) -> Option<String> {
    let connect = plain(connect);
    let list = match connect.property("fourCcList")? {
        Amf0::StrictArray(items) => {
            items.iter().filter_map(Amf0::as_str).map(str::to_owned).collect::<Vec<_>>()
        }
        other => other.properties().iter().filter_map(|(_, v)| v.as_str()).map(str::to_owned).collect(),
    };
    Some(list.join(" "))
}

/// The flag bits of a classic audio header, in Wireshark's words.
pub(super) fn audio_flags(header: ClassicAudio, stats: &mut Stats) {
    stats.declare("sound_format", sound_format(header.format));
    let rate = ["5.5 kHz", "11 kHz", "22 kHz", "44 kHz"];
    stats.declare("sound_rate", rate.get(usize::from(header.rate)).copied().unwrap_or_default());
    stats.declare("sound_size", if header.size == 0 { "8 bit" } else { "16 bit" });
    stats.declare("sound_type", if header.channels == 0 { "mono" } else { "stereo" });
}

fn sound_format(format: SoundFormat) -> String {
    let name = match format.0 {
        0 => "PCM, platform endian",
        1 => "ADPCM",
        2 => "MP3",
        3 => "PCM, little endian",
        4 => "Nellymoser 16 kHz",
        5 => "Nellymoser 8 kHz",
        6 => "Nellymoser",
        7 => "G.711 A-law",
        8 => "G.711 µ-law",
        10 => "AAC",
        11 => "Speex",
        14 => "MP3 8 kHz",
        15 => "device-specific",
        other => return format!("reserved ({other})"),
    };
    format!("{name} ({})", format.0)
}

/// The codec number of a classic video header.
pub(super) fn video_codec(codec: CodecId) -> String {
    let name = match codec.0 {
        1 => "JPEG",
        2 => "Sorenson H.263",
        3 => "Screen video",
        4 => "On2 VP6",
        5 => "On2 VP6 with alpha",
        6 => "Screen video 2",
        7 => "AVC",
        12 => "HEVC, unofficial",
        other => return format!("unknown ({other})"),
    };
    format!("{name} ({})", codec.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::TrackKind;

    #[test]
    fn metadata_is_told_to_the_track_it_speaks_of() {
        let mut metadata = Metadata::default();
        metadata.take(&Amf0::object([
            ("width", Amf0::Number(1280.0)),
            ("framerate", Amf0::Number(29.97)),
            ("videocodecid", Amf0::Number(1_752_589_105.0)),
            ("stereo", Amf0::Boolean(true)),
            ("encoder", Amf0::text("Lavf")),
        ]));
        let (mut video, mut audio) = (Stats::new(TrackKind::Video), Stats::new(TrackKind::Audio));
        metadata.tell(&mut video);
        metadata.tell(&mut audio);
        assert_eq!(video.declared().get("videocodecid").map(String::as_str), Some("hvc1"));
        assert_eq!(video.declared().get("framerate").map(String::as_str), Some("29.97"));
        assert_eq!(video.declared().get("width").map(String::as_str), Some("1280"));
        assert_eq!(audio.declared().len(), 1);
    }

    #[test]
    fn the_flag_bits_of_aac_are_told_in_words() {
        let mut audio = Stats::new(TrackKind::Audio);
        audio_flags(ClassicAudio::aac(wire::flv::AacPacketType::Raw), &mut audio);
        let declared: Vec<_> = audio.declared().iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            declared,
            ["sound_format=AAC (10)", "sound_rate=44 kHz", "sound_size=16 bit", "sound_type=stereo"]
        );
    }
}
