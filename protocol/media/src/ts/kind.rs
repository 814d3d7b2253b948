//! What an elementary stream is coded in, by its stream type and descriptors (ISO 13818-1 table 2-34).

use wire::ts::Elementary;

/// How a stream is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// MPEG-1 video.
    Mpeg1Video,
    /// MPEG-2 video.
    Mpeg2Video,
    /// MPEG-4 part 2.
    Mpeg4Video,
    /// H.264, start codes before NAL units.
    H264,
    /// H.265.
    H265,
    /// H.266.
    H266,
    /// AV1.
    Av1,
    /// VC-1.
    Vc1,
    /// MPEG audio of layer I to III.
    MpegAudio,
    /// AAC with ADTS headers.
    Adts,
    /// AAC in LOAS frames (LATM with its sync word).
    Latm,
    /// AC-3.
    Ac3,
    /// E-AC-3.
    Eac3,
    /// DTS.
    Dts,
    /// Opus.
    Opus,
    /// Subtitles, teletext, metadata, cue messages.
    Data(&'static str),
    /// Encrypted with SAMPLE-AES: H.264 (HLS).
    EncryptedH264,
    /// Encrypted with SAMPLE-AES: AAC with ADTS headers.
    EncryptedAdts,
    /// Not known.
    Unknown(u8),
}

impl Kind {
    /// As a program map says.
    pub fn of(stream: &Elementary) -> Self {
        match stream.stream_type {
            0x01 => Self::Mpeg1Video,
            0x02 => Self::Mpeg2Video,
            0x03 | 0x04 => Self::MpegAudio,
            0x0f => Self::Adts,
            0x10 => Self::Mpeg4Video,
            0x11 => Self::Latm,
            0x15 => Self::Data("metadata"),
            0x1b => Self::H264,
            0x24 => Self::H265,
            0x33 => Self::H266,
            0x81 => Self::Ac3,
            0x82 | 0x8a => Self::Dts,
            0x86 => Self::Data("scte35"),
            0x87 => Self::Eac3,
            0xc1 => Self::Ac3,
            0xc2 => Self::Eac3,
            0xcf => Self::EncryptedAdts,
            0xdb => Self::EncryptedH264,
            0xea => Self::Vc1,
            other => Self::private(stream).unwrap_or(Self::Unknown(other)),
        }
    }

    /// Private data is what its descriptors say (ETSI EN 300 468, and registered identifiers).
    fn private(stream: &Elementary) -> Option<Self> {
        let by_tag = stream.descriptors.iter().find_map(|descriptor| match descriptor.tag {
            0x6a => Some(Self::Ac3),
            0x7a => Some(Self::Eac3),
            0x7b => Some(Self::Dts),
            0x56 => Some(Self::Data("teletext")),
            0x59 => Some(Self::Data("dvb_subtitle")),
            _ => None,
        });
        by_tag.or_else(|| match &stream.registration()? {
            b"Opus" => Some(Self::Opus),
            b"AC-3" => Some(Self::Ac3),
            b"EAC3" => Some(Self::Eac3),
            b"HEVC" => Some(Self::H265),
            b"AV01" => Some(Self::Av1),
            b"VC-1" => Some(Self::Vc1),
            b"DTS1" | b"DTS2" | b"DTS3" => Some(Self::Dts),
            b"KLVA" => Some(Self::Data("klv")),
            b"ID3 " => Some(Self::Data("metadata")),
            b"CUEI" => Some(Self::Data("scte35")),
            _ => None,
        })
    }

    /// The codec's name in the JSON documents; none where it is not known.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Mpeg1Video => "mpeg1video",
            Self::Mpeg2Video => "mpeg2video",
            Self::Mpeg4Video => "mpeg4",
            Self::H264 | Self::EncryptedH264 => "h264",
            Self::H265 => "h265",
            Self::H266 => "h266",
            Self::Av1 => "av1",
            Self::Vc1 => "vc1",
            Self::MpegAudio => "mp2",
            Self::Adts | Self::Latm | Self::EncryptedAdts => "aac",
            Self::Ac3 => "ac3",
            Self::Eac3 => "eac3",
            Self::Dts => "dts",
            Self::Opus => "opus",
            Self::Data(name) => name,
            Self::Unknown(_) => return None,
        })
    }

    /// True for video, false for audio, none for anything else.
    pub fn is_video(self) -> Option<bool> {
        match self {
            Self::Mpeg1Video
            | Self::Mpeg2Video
            | Self::Mpeg4Video
            | Self::H264
            | Self::EncryptedH264
            | Self::H265
            | Self::H266
            | Self::Av1
            | Self::Vc1 => Some(true),
            Self::Data(_) | Self::Unknown(_) => None,
            _ => Some(false),
        }
    }
}
