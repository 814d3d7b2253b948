//! Four-character codec codes of Enhanced RTMP.

use std::fmt;

/// A codec's four characters, as in `hvc1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourCc(pub [u8; 4]);

impl FourCc {
    /// H.264.
    pub const AVC1: Self = Self(*b"avc1");
    /// H.265.
    pub const HVC1: Self = Self(*b"hvc1");
    /// H.266.
    pub const VVC1: Self = Self(*b"vvc1");
    /// AV1.
    pub const AV01: Self = Self(*b"av01");
    /// VP8.
    pub const VP08: Self = Self(*b"vp08");
    /// VP9.
    pub const VP09: Self = Self(*b"vp09");
    /// AAC.
    pub const MP4A: Self = Self(*b"mp4a");
    /// MP3.
    pub const MP3: Self = Self(*b".mp3");
    /// Opus.
    pub const OPUS: Self = Self(*b"Opus");
    /// FLAC.
    pub const FLAC: Self = Self(*b"fLaC");
    /// AC-3.
    pub const AC3: Self = Self(*b"ac-3");
    /// E-AC-3.
    pub const EC3: Self = Self(*b"ec-3");

    /// The short codec name used in reports; none for a code that Enhanced RTMP does not list.
    pub fn codec(self) -> Option<&'static str> {
        Some(match self {
            Self::AVC1 => "h264",
            Self::HVC1 => "h265",
            Self::VVC1 => "h266",
            Self::AV01 => "av1",
            Self::VP08 => "vp8",
            Self::VP09 => "vp9",
            Self::MP4A => "aac",
            Self::MP3 => "mp3",
            Self::OPUS => "opus",
            Self::FLAC => "flac",
            Self::AC3 => "ac3",
            Self::EC3 => "eac3",
            _ => return None,
        })
    }

    /// True where coded frames carry a composition time (Enhanced RTMP v2, extended video tag body).
    pub fn has_composition_time(self) -> bool {
        matches!(self, Self::AVC1 | Self::HVC1 | Self::VVC1)
    }
}

impl From<u32> for FourCc {
    fn from(number: u32) -> Self {
        Self(number.to_be_bytes())
    }
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            match byte {
                0x20..=0x7e => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}
