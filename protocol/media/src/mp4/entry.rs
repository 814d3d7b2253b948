//! What MP4 and HLS say of a track: its sample entry, its timescale, its codec string.

use std::sync::Arc;

use bytes::Bytes;
use wire::Cursor;
use wire::codec::aac::{AudioSpecificConfig, sbr};
use wire::codec::{avc, hevc};
use wire::mp4::Writer;

use crate::clock::rescale;
use crate::describe::describe;
use crate::frame::{Codec, Track};

/// Ticks per second of video: an exact multiple of a millisecond, and the clock of RTP.
pub(super) const VIDEO_TIMESCALE: u32 = 90_000;

/// Whether our fragments can hold a track: H.264, H.265 and AAC whose configuration can be read.
pub fn carries(track: &Track) -> bool {
    Entry::of(track).is_some()
}

/// The codec of a track as RFC 6381 writes it: `avc1.64001f`, `mp4a.40.2`; `None` where fragments cannot hold it. What
/// only the frames tell of AAC is in [`Fragment::codecs`](super::Fragment).
pub fn codec_string(track: &Track) -> Option<String> {
    Entry::of(track).map(|entry| entry.codecs)
}

/// Width and height in pixels of a video track that fragments can hold.
pub fn picture_size(track: &Track) -> Option<(u16, u16)> {
    Entry::of(track)?.size
}

/// What is known of a track that fragments can hold.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub timescale: u32,
    /// Ticks of every frame, where the codec has frames of one length.
    pub frame: Option<u32>,
    /// Width and height in pixels.
    pub size: Option<(u16, u16)>,
    /// Width and height of a sample of the picture, where it is no square.
    pub shape: Option<(u16, u16)>,
    /// Channels and Hz.
    pub sound: Option<(u16, u32)>,
    pub codecs: String,
    /// Pictures per second, as the configuration states them.
    pub frame_rate: Option<f64>,
    /// AAC whose frames may carry SBR that the configuration does not tell of.
    pub may_hide_sbr: bool,
}

impl Entry {
    pub fn of(track: &Track) -> Option<Self> {
        match track.codec {
            Codec::H264 => h264(&track.config),
            Codec::H265 => h265(&track.config),
            Codec::Aac => aac(&track.config),
            _ => None,
        }
    }

    fn video(size: Option<(u16, u16)>, codecs: String, frame_rate: Option<f64>) -> Self {
        let (timescale, may_hide_sbr) = (VIDEO_TIMESCALE, false);
        Self { timescale, frame: None, size, shape: None, sound: None, codecs, frame_rate, may_hide_sbr }
    }

    /// Width and height at which the pictures are to be shown, in pixels of 16 bits and as many behind the point.
    pub fn shown(&self) -> (u32, u32) {
        let (width, height) = self.size.unwrap_or((0, 0));
        let (across, down) = self.shape.map_or((1, 1), |(a, d)| (u64::from(a), u64::from(d)));
        let wide = (u64::from(width) << 16).saturating_mul(across).checked_div(down).unwrap_or(0);
        (u32::try_from(wide).unwrap_or(u32::MAX), u32::from(height) << 16)
    }

    /// The codec string, by what was found in the frames where the configuration is silent.
    pub fn codecs(&self, found: Option<sbr::Hint>) -> String {
        match found.filter(|_| self.may_hide_sbr) {
            Some(sbr::Hint { ps: true, .. }) => "mp4a.40.29".to_owned(),
            Some(sbr::Hint { sbr: true, .. }) => "mp4a.40.5".to_owned(),
            _ => self.codecs.clone(),
        }
    }

    /// Writes the sample entry.
    pub fn write(&self, track: &Track, w: &mut Writer) {
        let (kind, config): (&[u8; 4], &[u8; 4]) = match track.codec {
            Codec::H265 => (b"hvc1", b"hvcC"),
            Codec::H264 => (b"avc1", b"avcC"),
            _ => (b"mp4a", b"esds"),
        };
        let entry = w.open(kind);
        w.zeros(6);
        w.u16(1);
        if let Some((width, height)) = self.size {
            w.zeros(16);
            w.u16(width);
            w.u16(height);
            w.u32(0x48_0000);
            w.u32(0x48_0000);
            w.u32(0);
            w.u16(1);
            w.zeros(32);
            w.u16(0x18);
            w.u16(0xffff);
            w.whole(config, &track.config);
            if let Some((across, down)) = self.shape {
                let pasp = w.open(b"pasp");
                w.u32(u32::from(across));
                w.u32(u32::from(down));
                w.close(pasp);
            }
        }
        if let Some((channels, rate)) = self.sound {
            w.zeros(8);
            w.u16(channels);
            w.u16(16);
            w.u32(0);
            w.u32(u16::try_from(rate).map_or(0, |rate| u32::from(rate) << 16));
            w.esds(0x40, &track.config);
        }
        w.close(entry);
    }
}

fn pixels(n: u32) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

fn h264(config: &[u8]) -> Option<Entry> {
    let record = avc::Config::decode(&mut Cursor::new(config)).ok()?;
    let sps = record.first_sps()?.ok()?;
    let codecs = format!("avc1.{:02x}{:02x}{:02x}", record.profile, record.compatibility, record.level);
    let size = Some((pixels(sps.width), pixels(sps.height)));
    let shape =
        sps.vui.and_then(|vui| vui.sample_aspect).filter(|(across, down)| across != down && *down > 0);
    Some(Entry { shape, ..Entry::video(size, codecs, sps.frame_rate()) })
}

/// ISO 14496-15 Annex E.3: profile, compatibility bits in reverse, tier and level, constraint bytes.
fn h265(config: &[u8]) -> Option<Entry> {
    let record = hevc::Config::decode(&mut Cursor::new(config)).ok()?;
    let sps = record.first_sps()?.ok()?;
    let ptl = record.ptl;
    let tier = if ptl.high_tier { 'H' } else { 'L' };
    let mut codecs =
        format!("hvc1.{}.{:x}.{tier}{}", ptl.profile_idc, ptl.compatibility.reverse_bits(), ptl.level_idc);
    let constraints = config.get(6..12).unwrap_or_default();
    let used = constraints.iter().rposition(|b| *b != 0).map_or(0, |last| last.saturating_add(1));
    for byte in constraints.iter().take(used) {
        codecs.push_str(&format!(".{byte:x}"));
    }
    let size = Some((pixels(sps.width), pixels(sps.height)));
    Some(Entry::video(size, codecs, None))
}

fn aac(config: &[u8]) -> Option<Entry> {
    let record = AudioSpecificConfig::decode(&mut Cursor::new(config)).ok()?;
    let description = record.describe();
    // The object type that decoders are told by the record itself; SBR and PS it announces count (RFC 6381 §3.3).
    let object = match (record.ps, record.sbr) {
        (Some(true), _) => 29,
        (_, Some(true)) => 5,
        _ => record.object_type,
    };
    let sbr = record.sbr == Some(true) && record.object_type != 42;
    // The rate that is heard, also where only the frames may tell of SBR: it counts the core's samples as well.
    let rate = match record.extension_frequency {
        Some(rate) if sbr => rate,
        _ if record.may_hide_sbr() => record.frequency.saturating_mul(2),
        _ => record.frequency,
    };
    let core = AudioSpecificConfig { sbr: None, ..record.clone() }.frame_samples();
    let frame = rescale(i64::from(core), record.frequency, rate);
    (record.frequency > 0).then(|| Entry {
        timescale: rate,
        frame: u32::try_from(frame).ok(),
        size: None,
        shape: None,
        sound: Some((description.channels.map_or(2, u16::from), description.sample_rate)),
        codecs: format!("mp4a.40.{object}"),
        frame_rate: None,
        may_hide_sbr: record.may_hide_sbr(),
    })
}

/// An AAC track with a configuration that tells of the SBR and PS that its frames were found to carry: in MP4 they are
/// to be signalled. `None` where they carry none.
pub(super) fn with_sbr(track: &Track, found: sbr::Hint) -> Option<Arc<Track>> {
    let record = AudioSpecificConfig::decode(&mut Cursor::new(&track.config)).ok()?;
    let config = Bytes::from(record.encode_with_sbr(found.ps).filter(|_| found.sbr)?);
    let description = describe(track.codec, &config, track.flv_flags);
    Some(Arc::new(Track { config, description, ..track.clone() }))
}
