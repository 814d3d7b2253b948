//! Codec configuration and access units.

use wire::codec::aac::AudioSpecificConfig;
use wire::codec::avc::{self, NalType};
use wire::codec::hevc;
use wire::codec::unescape;
use wire::trace::field;
use wire::{Cursor, Field, Result, Trace};

use super::Part;
use crate::dissect::provenance::{Piece, Provenance};

const PICTURE: &str = "ISO 14496-15 §4.3.3, §5.3.4.2";
static UNIT: Field = field("NAL unit", PICTURE, "A unit of the picture behind its length.");
static LENGTH: Field = field("NAL unit length", PICTURE, "Bytes of the unit.");
static FORBIDDEN: Field = field("forbidden_zero_bit", "H.264 §7.4.1", "0.");
static REF_IDC: Field = field("nal_ref_idc", "H.264 §7.4.1", "0: no other picture refers to this one.");
static AVC_TYPE: Field = field("nal_unit_type", "H.264 table 7-1", "What the unit holds.");
static HEVC_TYPE: Field = field("HEVC nal_unit_type", "H.265 table 7-1", "What the unit holds.");
static LAYER: Field = field("nuh_layer_id", "H.265 §7.4.2.2", "0 for the base layer.");
static TEMPORAL: Field = field("nuh_temporal_id_plus1", "H.265 §7.4.2.2", "Sub-layer, plus 1.");
static CONTENT: Field = field("NAL unit payload", PICTURE, "Escaped content of the unit.");

/// Codecs whose pictures are lists of NAL units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nal {
    /// H.264.
    Avc,
    /// H.265.
    Hevc,
}

impl Nal {
    /// That of an encoding named as session descriptions name it.
    pub fn of(encoding: &str) -> Option<Self> {
        match encoding.to_ascii_uppercase().as_str() {
            "H264" => Some(Self::Avc),
            "H265" | "HEVC" => Some(Self::Hevc),
            _ => None,
        }
    }

    /// The type of a unit by its first byte.
    pub fn type_of(self, first: u8) -> u8 {
        match self {
            Self::Avc => first & 0x1f,
            Self::Hevc => first >> 1 & 0x3f,
        }
    }

    /// The name of a type.
    pub fn name(self, kind: u8) -> &'static str {
        match self {
            Self::Avc => match kind {
                5 => "IDR",
                _ => NalType(kind).name(),
            },
            Self::Hevc => hevc_name(kind),
        }
    }
}

fn hevc_name(kind: u8) -> &'static str {
    match kind {
        0 | 1 => "TRAIL",
        2 | 3 => "TSA",
        4 | 5 => "STSA",
        6 | 7 => "RADL",
        8 | 9 => "RASL",
        16..=18 => "BLA",
        19 | 20 => "IDR",
        21 => "CRA",
        32 => "VPS",
        33 => "SPS",
        34 => "PPS",
        35 => "AUD",
        36 => "end of sequence",
        37 => "end of bitstream",
        38 => "filler",
        39 | 40 => "SEI",
        48 => "AP",
        49 => "FU",
        50 => "PACI",
        _ => "reserved",
    }
}

/// Reads the length-prefixed NAL units of a picture.
pub fn units<T: Trace>(c: &mut Cursor<'_, T>, codec: Nal, length_size: u8) -> Result<Vec<u8>> {
    let mut kinds = Vec::new();
    while !c.is_empty() {
        let kind = c.group(&UNIT, |c| {
            let size = u32::from(length_size.clamp(1, 4)).saturating_mul(8);
            let length = usize::try_from(c.bits(&LENGTH, size)?).unwrap_or(usize::MAX);
            if length > c.remaining() {
                let problem = wire::Problem::Short { want: length as u64, got: c.remaining() as u64 };
                return Err(c.error(&CONTENT, problem));
            }
            unit(c, codec, length)
        })?;
        kinds.extend(kind);
    }
    Ok(kinds)
}

/// Reads one NAL unit of `length` bytes, header first.
pub fn unit<T: Trace>(c: &mut Cursor<'_, T>, codec: Nal, length: usize) -> Result<Option<u8>> {
    let header = if codec == Nal::Avc { 1 } else { 2 };
    if length < header {
        c.bytes(&CONTENT, length)?;
        return Ok(None);
    }
    c.bits(&FORBIDDEN, 1)?;
    let kind = match codec {
        Nal::Avc => {
            c.bits(&REF_IDC, 2)?;
            c.bits(&AVC_TYPE, 5)?
        }
        Nal::Hevc => {
            let kind = c.bits(&HEVC_TYPE, 6)?;
            c.bits(&LAYER, 6)?;
            c.bits(&TEMPORAL, 3)?;
            kind
        }
    };
    c.bytes(&CONTENT, length.saturating_sub(header))?;
    Ok(u8::try_from(kind).ok())
}

/// `AAC-LC 48000 Hz stereo`.
pub fn aac_text(config: &AudioSpecificConfig) -> String {
    let about = config.describe();
    let profile = match about.profile {
        "LC" | "Main" | "SSR" | "LTP" | "LD" | "ELD" => format!("AAC-{}", about.profile),
        other => other.to_owned(),
    };
    let channels = match about.channels {
        Some(1) => "mono".to_owned(),
        Some(2) => "stereo".to_owned(),
        Some(6) => "5.1".to_owned(),
        Some(8) => "7.1".to_owned(),
        Some(n) => format!("{n} channels"),
        None => "channels by a program config element".to_owned(),
    };
    format!("{profile} {} Hz {channels}", about.sample_rate)
}

/// `High 4.0 1920x1080 25 fps`, from an AVC configuration.
pub fn avc_text(config: &avc::Config<'_>) -> Option<String> {
    let sps = config.first_sps()?.ok()?;
    let rate =
        sps.frame_rate().map_or(String::new(), |rate| format!(" {} fps", (rate * 1000.0).round() / 1000.0));
    Some(format!("{} {} {}x{}{rate}", sps.profile(), sps.level(), sps.width, sps.height))
}

/// `Main 4.0 1920x1080`, from an HEVC configuration.
pub fn hevc_text(config: &hevc::Config<'_>) -> Option<String> {
    let sps = config.first_sps()?.ok()?;
    Some(format!("{} {} {}x{}", sps.ptl.profile(), sps.ptl.level(), sps.width, sps.height))
}

/// Parts for the parameter sets that stand in `whole`, each with its emulation prevention bytes taken out.
pub fn parameter_sets(whole: &[u8], origin: &Provenance, sets: &[(Set, &[u8])], level: u8) -> Vec<Part> {
    sets.iter().map(|(set, nal)| parameter_set(whole, origin, *set, nal).at(level)).collect()
}

/// Kinds of parameter sets that are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// H.264 SPS.
    AvcSps,
    /// H.264 PPS.
    AvcPps,
    /// H.265 SPS.
    HevcSps,
}

fn parameter_set(whole: &[u8], origin: &Provenance, set: Set, nal: &[u8]) -> Part {
    let at = (nal.as_ptr().addr()).saturating_sub(whole.as_ptr().addr()) as u64;
    let bytes = unescape(nal);
    let origin = unescaped_origin(nal, &origin.slice(at..at.saturating_add(nal.len() as u64)));
    let name = if set == Set::AvcPps { "picture parameter set" } else { "sequence parameter set" };
    let title = format!("{name}, {} bytes without emulation prevention", bytes.len());
    match set {
        Set::AvcSps => {
            let (mut part, sps) = Part::read(title, &bytes, origin, avc::Sps::decode);
            if let Some(sps) = sps {
                let rate = sps.frame_rate().map_or(String::new(), |r| format!(", {r:.3} fps"));
                let text = format!(
                    "H.264 {} level {}, {}x{}{rate}",
                    sps.profile(),
                    sps.level(),
                    sps.width,
                    sps.height
                );
                part.note("in short", text);
            }
            part
        }
        Set::AvcPps => Part::read(title, &bytes, origin, avc::Pps::decode).0,
        Set::HevcSps => {
            let (mut part, sps) = Part::read(title, &bytes, origin, hevc::Sps::decode);
            if let Some(sps) = sps {
                let text = format!(
                    "H.265 {} level {}, {}x{}",
                    sps.ptl.profile(),
                    sps.ptl.level(),
                    sps.width,
                    sps.height
                );
                part.note("in short", text);
            }
            part
        }
    }
}

/// The same bytes [`unescape`] leaves.
fn unescaped_origin(nal: &[u8], origin: &Provenance) -> Provenance {
    let mut out = Provenance::default();
    let (mut zeros, mut from) = (0u8, 0u64);
    for (at, byte) in (0u64..).zip(nal) {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            out.extend(&origin.slice(from..at));
            from = at.saturating_add(1);
            continue;
        }
        zeros = if *byte == 0 { zeros.saturating_add(1) } else { 0 };
    }
    out.extend(&origin.slice(from..nal.len() as u64));
    if out.len() < nal.len() as u64 && origin.is_empty() {
        out.push(Piece { len: 0, frame: 0, offset: None });
    }
    out
}

/// Reads an AVC configuration; the parts of its parameter sets follow.
pub fn avc_sets<'b>(config: &avc::Config<'b>) -> Vec<(Set, &'b [u8])> {
    let sps = config.sps.iter().map(|nal| (Set::AvcSps, *nal));
    sps.chain(config.pps.iter().map(|nal| (Set::AvcPps, *nal))).collect()
}

/// The sets of an HEVC configuration that are decoded.
pub fn hevc_sets<'b>(config: &hevc::Config<'b>) -> Vec<(Set, &'b [u8])> {
    config
        .units
        .iter()
        .filter(|(kind, _)| *kind == hevc::SPS_TYPE)
        .map(|(_, nal)| (Set::HevcSps, *nal))
        .collect()
}
