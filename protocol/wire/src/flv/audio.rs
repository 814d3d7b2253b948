//! The header of an audio tag (FLV 10.1 §E.4.2), and where the enhanced one begins (Enhanced RTMP v2).
//!
//! ```text
//!  0               1
//!  0 1 2 3 4 5 6 7 0 ...
//! +-------+---+-+-+---------------+
//! |format |rat|s|c| AACPacketType |   AACPacketType only where format is 10
//! +-------+---+-+-+---------------+
//! ```

use crate::cursor::Cursor;
use crate::error::Result;
use crate::flv::enhanced::{AudioPacketType, Enhanced, PacketType};
use crate::trace::{Field, Trace, field};

static HEADER: Field = field("audio header", "FLV 10.1 §E.4.2.1", "How the sound that follows is coded.");
static FORMAT: Field =
    field("sound format", "FLV 10.1 §E.4.2.1", "Codec number; 9 announces the enhanced header.");
static RATE: Field = field(
    "sound rate",
    "FLV 10.1 §E.4.2.1",
    "0: 5.5, 1: 11, 2: 22, 3: 44 kHz. Always 3 for AAC, where the AudioSpecificConfig counts.",
);
static SIZE: Field =
    field("sound size", "FLV 10.1 §E.4.2.1", "0: 8 bit, 1: 16 bit; means nothing for compressed formats.");
static CHANNELS: Field = field(
    "sound type",
    "FLV 10.1 §E.4.2.1",
    "0: mono, 1: stereo. Always 1 for AAC, where the AudioSpecificConfig counts.",
);
static AAC_TYPE: Field =
    field("AACPacketType", "FLV 10.1 §E.4.2.1", "0: AudioSpecificConfig, 1: a raw AAC frame.");
static PACKET_TYPE: Field = field(
    "audio packet type",
    "Enhanced RTMP v2, ExAudioTagHeader",
    "What kind of packet follows the fourCC.",
);

/// SoundFormat: the codec number of an audio tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoundFormat(pub u8);

impl SoundFormat {
    /// MP3.
    pub const MP3: Self = Self(2);
    /// G.711 A-law.
    pub const G711A: Self = Self(7);
    /// G.711 µ-law.
    pub const G711U: Self = Self(8);
    /// No codec: the enhanced header follows.
    pub const ENHANCED: Self = Self(9);
    /// AAC.
    pub const AAC: Self = Self(10);
    /// Speex.
    pub const SPEEX: Self = Self(11);
    /// MP3 at 8 kHz.
    pub const MP3_8K: Self = Self(14);

    /// The short codec name used in reports.
    pub fn codec(self) -> Option<&'static str> {
        Some(match self.0 {
            0 | 3 => "pcm",
            1 => "adpcm",
            2 | 14 => "mp3",
            4..=6 => "nellymoser",
            7 => "g711a",
            8 => "g711u",
            10 => "aac",
            11 => "speex",
            _ => return None,
        })
    }

    /// Sampling rate that the format itself fixes, whatever the rate bits say.
    pub fn fixed_rate(self) -> Option<u32> {
        Some(match self.0 {
            4 | 11 => 16_000,
            5 | 7 | 8 | 14 => 8_000,
            _ => return None,
        })
    }
}

/// AACPacketType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AacPacketType {
    /// The AudioSpecificConfig.
    SequenceHeader,
    /// One raw AAC frame.
    Raw,
    /// A number the format does not define.
    Other(u8),
}

impl AacPacketType {
    /// From its number.
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Self::SequenceHeader,
            1 => Self::Raw,
            other => Self::Other(other),
        }
    }

    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Self::SequenceHeader => 0,
            Self::Raw => 1,
            Self::Other(other) => other,
        }
    }
}

/// The four fields of the classic first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassicAudio {
    /// Codec.
    pub format: SoundFormat,
    /// Rate code, 0 to 3: 5.5, 11, 22, 44 kHz.
    pub rate: u8,
    /// Size code: 0 is 8 bit, 1 is 16 bit.
    pub size: u8,
    /// Channel code: 0 is mono, 1 is stereo.
    pub channels: u8,
    /// Only for AAC.
    pub aac: Option<AacPacketType>,
}

impl ClassicAudio {
    /// The header every AAC tag has: the flag bits are constants.
    pub const fn aac(packet_type: AacPacketType) -> Self {
        Self { format: SoundFormat::AAC, rate: 3, size: 1, channels: 1, aac: Some(packet_type) }
    }

    /// Sampling rate the flag bits claim, in Hz. The lowest is 44100 / 8.
    pub fn claimed_rate(self) -> f64 {
        match self.rate {
            0 => 5512.5,
            1 => 11_025.0,
            2 => 22_050.0,
            _ => 44_100.0,
        }
    }
}

/// The header of an audio tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudioHeader {
    /// One codec number and flag bits.
    Classic(ClassicAudio),
    /// Enhanced RTMP: call [`Enhanced::packet`] for each packet.
    Enhanced(Enhanced<AudioPacketType>),
}

/// Reads the header of an audio tag; what is left in `c` is payload (classic) or packets (enhanced).
pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<AudioHeader> {
    c.group(&HEADER, |c| {
        let format = SoundFormat(low8(c.bits(&FORMAT, 4)?));
        if format == SoundFormat::ENHANCED {
            let packet_type = AudioPacketType::from_number(low8(c.bits(&PACKET_TYPE, 4)?));
            return Enhanced::decode_audio(c, packet_type).map(AudioHeader::Enhanced);
        }
        let rate = low8(c.bits(&RATE, 2)?);
        let size = low8(c.bits(&SIZE, 1)?);
        let channels = low8(c.bits(&CHANNELS, 1)?);
        let aac = match format {
            SoundFormat::AAC => Some(AacPacketType::from_number(c.u8(&AAC_TYPE)?)),
            _ => None,
        };
        Ok(AudioHeader::Classic(ClassicAudio { format, rate, size, channels, aac }))
    })
}

/// Writes a classic header.
pub fn encode(header: ClassicAudio, out: &mut Vec<u8>) {
    out.push(header.format.0 << 4 | (header.rate & 3) << 2 | (header.size & 1) << 1 | header.channels & 1);
    if let Some(aac) = header.aac {
        out.push(aac.number());
    }
}

fn low8(value: u64) -> u8 {
    (value & 0xff) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_that_started_it_is_an_aac_sequence_header() {
        let mut c = Cursor::new(&[0xaf, 0x00, 0x11, 0x90]);
        let header = decode(&mut c).unwrap();
        assert_eq!(header, AudioHeader::Classic(ClassicAudio::aac(AacPacketType::SequenceHeader)));
        assert_eq!(c.peek(), [0x11, 0x90]);
        let mut out = Vec::new();
        encode(ClassicAudio::aac(AacPacketType::SequenceHeader), &mut out);
        assert_eq!(out, [0xaf, 0x00]);
    }

    #[test]
    fn speex_is_no_enhanced_header_although_its_top_bit_is_set() {
        let AudioHeader::Classic(header) = decode(&mut Cursor::new(b"\xb6speex")).unwrap() else { panic!() };
        assert_eq!(header.format.codec(), Some("speex"));
        assert_eq!((header.rate, header.size, header.channels, header.aac), (1, 1, 0, None));
    }

    #[test]
    fn an_aac_tag_of_one_byte_is_too_short() {
        let error = decode(&mut Cursor::new(&[0xaf])).unwrap_err();
        assert!(error.is_short());
        assert_eq!(error.to_string(), "byte 1: AACPacketType in audio header: want 1 bytes, 0 are left");
    }
}
