//! H.265: the decoder configuration record and the start of the sequence parameter set
//! (ISO 14496-15 §8.3.3.1, ITU-T H.265 §7.3.2.2, §7.3.3).
//!
//! ```text
//! version=1(8) space(2) tier(1) profile(5) compatibility(32) constraints(48) level(8)
//! 1111 segmentation(12) 111111 parallelism(2) 111111 chroma(2) 11111 luma(3) 11111 chroma(3)
//! average rate(16) constant(2) layers(3) nested(1) length size-1(2) arrays(8)
//! { complete(1) 0 type(6) count(16) { length(16) NAL unit } }
//! ```

use crate::codec::nal::unescape;
use crate::cursor::Cursor;
use crate::error::{Problem, Result};
use crate::trace::{Field, Trace, field};

const RECORD: &str = "ISO 14496-15 §8.3.3.1.2";
static GROUP: Field =
    field("HEVCDecoderConfigurationRecord", RECORD, "What a decoder needs before the first picture.");
static VERSION: Field = field("configurationVersion", RECORD, "1.");
static SEGMENTATION: Field = field("min_spatial_segmentation_idc", RECORD, "Bound for parallel decoding.");
static PARALLELISM: Field = field("parallelismType", RECORD, "1 slices, 2 tiles, 3 wavefronts.");
static RESERVED: Field = field("reserved", RECORD, "All ones.");
static CHROMA: Field = field("chroma_format_idc", RECORD, "1: 4:2:0.");
static DEPTH_LUMA: Field = field("bit_depth_luma_minus8", RECORD, "Bits per luma sample, minus 8.");
static DEPTH_CHROMA: Field = field("bit_depth_chroma_minus8", RECORD, "Bits per chroma sample, minus 8.");
static RATE: Field = field("avgFrameRate", RECORD, "Frames in 256 s; 0: not said.");
static CONSTANT: Field = field("constantFrameRate", RECORD, "1: constant.");
static LAYERS: Field = field("numTemporalLayers", RECORD, "0: not known.");
static NESTED: Field = field("temporalIdNested", RECORD, "1: switching up is always possible.");
static LENGTH_SIZE: Field = field("lengthSizeMinusOne", RECORD, "Bytes of a NAL unit's length, minus 1.");
static ARRAYS: Field = field("numOfArrays", RECORD, "Kinds of parameter sets that follow.");
static COMPLETE: Field = field("array_completeness", RECORD, "1: none of this kind is in the stream itself.");
static ARRAY_TYPE: Field = field("NAL_unit_type", RECORD, "32 VPS, 33 SPS, 34 PPS, 39 SEI.");
static COUNT: Field = field("numNalus", RECORD, "NAL units of this kind.");
static UNIT_LENGTH: Field = field("nalUnitLength", RECORD, "Bytes.");
static UNIT: Field = field("NAL unit", RECORD, "A parameter set.");

const PTL_CLAUSE: &str = "H.265 §7.4.4";
static PTL: Field = field("profile_tier_level", PTL_CLAUSE, "Which decoder can play this.");
static SPACE: Field = field("general_profile_space", PTL_CLAUSE, "0.");
static TIER: Field = field("general_tier_flag", PTL_CLAUSE, "0 Main tier, 1 High tier.");
static PROFILE: Field =
    field("general_profile_idc", PTL_CLAUSE, "1 Main, 2 Main 10, 3 Main Still Picture, 4 Rext.");
static COMPATIBILITY: Field = field("general_profile_compatibility_flags", PTL_CLAUSE, "One bit a profile.");
static CONSTRAINTS: Field =
    field("general constraint flags", PTL_CLAUSE, "Progressive, interlaced, and more.");
static LEVEL: Field = field("general_level_idc", PTL_CLAUSE, "Level times 30.");
static SUB_FLAGS: Field =
    field("sub-layer presence flags", PTL_CLAUSE, "Which sub-layers describe themselves.");
static SUB_PROFILE: Field = field("sub-layer profile", PTL_CLAUSE, "As the general one.");
static SUB_LEVEL: Field = field("sub-layer level", PTL_CLAUSE, "As the general one.");

const SPS_CLAUSE: &str = "H.265 §7.4.3.2.1";
static NAL_HEADER: Field = field("NAL unit header", "H.265 §7.3.1.2", "Type, layer and temporal id.");
static FORBIDDEN: Field = field("forbidden_zero_bit", "H.265 §7.4.2.2", "0.");
static TYPE: Field =
    field("nal_unit_type", "H.265 table 7-1", "0 to 31 slices (16 to 21 random access), 33 SPS.");
static LAYER: Field = field("nuh_layer_id", "H.265 §7.4.2.2", "0: base layer.");
static TEMPORAL: Field = field("nuh_temporal_id_plus1", "H.265 §7.4.2.2", "1: lowest sub-layer.");
static SPS: Field =
    field("sequence parameter set", "H.265 §7.3.2.2", "What all pictures of a sequence share.");
static VPS_ID: Field = field("sps_video_parameter_set_id", SPS_CLAUSE, "The VPS it refers to.");
static SUB_LAYERS: Field = field("sps_max_sub_layers_minus1", SPS_CLAUSE, "Temporal sub-layers, minus 1.");
static NESTING: Field =
    field("sps_temporal_id_nesting_flag", SPS_CLAUSE, "1: switching up is always possible.");
static SPS_ID: Field = field("sps_seq_parameter_set_id", SPS_CLAUSE, "Number a PPS refers to.");
static SPS_CHROMA: Field = field("chroma_format_idc", SPS_CLAUSE, "0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4.");
static SEPARATE: Field = field("separate_colour_plane_flag", SPS_CLAUSE, "1: three grey pictures.");
static WIDTH: Field = field("pic_width_in_luma_samples", SPS_CLAUSE, "Before cropping.");
static HEIGHT: Field = field("pic_height_in_luma_samples", SPS_CLAUSE, "Before cropping.");
static WINDOW: Field = field("conformance_window_flag", SPS_CLAUSE, "1: edges are cut off.");
static OFFSET: Field = field("conf_win_offset", SPS_CLAUSE, "Left, right, top, bottom, in chroma samples.");
static BITS_LUMA: Field = field("bit_depth_luma_minus8", SPS_CLAUSE, "Bits per luma sample, minus 8.");
static BITS_CHROMA: Field = field("bit_depth_chroma_minus8", SPS_CLAUSE, "Bits per chroma sample, minus 8.");
static POC_LSB: Field =
    field("log2_max_pic_order_cnt_lsb_minus4", SPS_CLAUSE, "Bits of the order count, minus 4.");
static ORDERING: Field =
    field("sps_sub_layer_ordering_info_present_flag", SPS_CLAUSE, "1: for each sub-layer.");
static BUFFERING: Field =
    field("sps_max_dec_pic_buffering_minus1", SPS_CLAUSE, "Pictures a decoder keeps, minus 1.");
static REORDER: Field =
    field("sps_max_num_reorder_pics", SPS_CLAUSE, "Pictures that may have to wait for a later one.");
static LATENCY: Field = field("sps_max_latency_increase_plus1", SPS_CLAUSE, "Bound of the wait; 0: none.");

/// NAL unit type of an SPS.
pub const SPS_TYPE: u8 = 33;

/// The nal_unit_type of a NAL unit; none for an empty one.
pub fn nal_type(nal: &[u8]) -> Option<u8> {
    nal.first().map(|byte| byte >> 1 & 0x3f)
}

/// True for a picture at which decoding can start: BLA, IDR or CRA (§3.67, table 7-1).
pub fn is_random_access(nal_type: u8) -> bool {
    (16..=21).contains(&nal_type)
}

/// True for slices: video coding layer.
pub fn is_vcl(nal_type: u8) -> bool {
    nal_type < 32
}

/// profile_tier_level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileTierLevel {
    /// general_profile_idc.
    pub profile_idc: u8,
    /// High tier.
    pub high_tier: bool,
    /// general_profile_compatibility_flags.
    pub compatibility: u32,
    /// general_level_idc: level times 30.
    pub level_idc: u8,
}

impl ProfileTierLevel {
    fn general<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.bits(&SPACE, 2)?;
        let high_tier = c.flag(&TIER)?;
        let profile_idc = (c.bits(&PROFILE, 5)? & 0x1f) as u8;
        let compatibility = (c.bits(&COMPATIBILITY, 32)? & 0xffff_ffff) as u32;
        c.bits(&CONSTRAINTS, 48)?;
        let level_idc = (c.bits(&LEVEL, 8)? & 0xff) as u8;
        Ok(Self { profile_idc, high_tier, compatibility, level_idc })
    }

    /// The profile by name.
    pub fn profile(&self) -> String {
        match self.profile_idc {
            1 => "Main",
            2 => "Main 10",
            3 => "Main Still Picture",
            4 => "Rext",
            5 => "High Throughput",
            9 => "Screen Content",
            other => return format!("profile {other}"),
        }
        .to_owned()
    }

    /// The level as text: `3.1`.
    pub fn level(&self) -> String {
        let tenths = u16::from(self.level_idc) / 3;
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

/// A decoder configuration record; parameter sets stay where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config<'b> {
    /// Which decoder can play this.
    pub ptl: ProfileTierLevel,
    /// Bytes of a NAL unit's length: 1, 2 or 4.
    pub length_size: u8,
    /// Type and content of each parameter set.
    pub units: Vec<(u8, &'b [u8])>,
}

impl<'b> Config<'b> {
    /// Reads a record.
    pub fn decode<T: Trace>(c: &mut Cursor<'b, T>) -> Result<Self> {
        c.group(&GROUP, |c| {
            // Version 0 is in use by encoders that follow a draft; the layout is the same.
            let version = c.u8(&VERSION)?;
            if version > 1 {
                return Err(c.refuse(&VERSION, 1, "1", u64::from(version)));
            }
            let ptl = c.group(&PTL, ProfileTierLevel::general)?;
            for (field, bits) in [
                (&RESERVED, 4),
                (&SEGMENTATION, 12),
                (&RESERVED, 6),
                (&PARALLELISM, 2),
                (&RESERVED, 6),
                (&CHROMA, 2),
                (&RESERVED, 5),
                (&DEPTH_LUMA, 3),
                (&RESERVED, 5),
                (&DEPTH_CHROMA, 3),
                (&RATE, 16),
                (&CONSTANT, 2),
                (&LAYERS, 3),
                (&NESTED, 1),
            ] {
                c.bits(field, bits)?;
            }
            let length_size = (c.bits(&LENGTH_SIZE, 2)? & 3) as u8;
            let arrays = c.u8(&ARRAYS)?;
            let mut units = Vec::new();
            for _ in 0..arrays {
                c.bits(&COMPLETE, 1)?;
                c.bits(&RESERVED, 1)?;
                let kind = (c.bits(&ARRAY_TYPE, 6)? & 0x3f) as u8;
                for _ in 0..c.u16(&COUNT)? {
                    let length = c.u16(&UNIT_LENGTH)?;
                    units.push((kind, c.bytes(&UNIT, usize::from(length))?));
                }
            }
            Ok(Self { ptl, length_size: length_size.saturating_add(1), units })
        })
    }

    /// The first SPS, decoded.
    pub fn first_sps(&self) -> Option<Result<Sps>> {
        self.units.iter().find(|(kind, _)| *kind == SPS_TYPE).map(|(_, nal)| Sps::from_nal(nal))
    }
}

/// The part of a sequence parameter set that comes before the coding tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// Which decoder can play this.
    pub ptl: ProfileTierLevel,
    /// Width in luma samples, cropping applied.
    pub width: u32,
    /// Height in luma samples, cropping applied.
    pub height: u32,
    /// chroma_format_idc.
    pub chroma_format: u8,
    /// Bits per luma sample.
    pub bit_depth: u8,
    /// Pictures that may have to wait for one that comes later in the stream.
    pub max_reorder: u64,
}

impl Sps {
    /// Reads an SPS as it stands in the stream: NAL header and emulation prevention bytes included. Positions
    /// in errors count without the prevention bytes.
    pub fn from_nal(nal: &[u8]) -> Result<Self> {
        Self::decode(&mut Cursor::new(&unescape(nal)))
    }

    /// Reads an SPS: NAL header included, emulation prevention bytes removed.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&SPS, sps)
    }
}

fn sps<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Sps> {
    let kind = c.group(&NAL_HEADER, |c| {
        c.bits(&FORBIDDEN, 1)?;
        let kind = c.bits(&TYPE, 6)?;
        c.bits(&LAYER, 6)?;
        c.bits(&TEMPORAL, 3)?;
        Ok(kind)
    })?;
    if kind != u64::from(SPS_TYPE) {
        return Err(c.refuse(&TYPE, 2, "33 (SPS)", kind));
    }
    c.bits(&VPS_ID, 4)?;
    let sub_layers = c.bits(&SUB_LAYERS, 3)?;
    c.flag(&NESTING)?;
    let ptl = c.group(&PTL, |c| profile_tier_level(c, sub_layers))?;
    c.ue(&SPS_ID)?;
    let chroma = c.ue(&SPS_CHROMA)?;
    if chroma > 3 {
        return Err(c.error(&SPS_CHROMA, Problem::Value { want: "0 to 3", got: chroma }));
    }
    if chroma == 3 {
        c.flag(&SEPARATE)?;
    }
    let width = c.ue(&WIDTH)?;
    let height = c.ue(&HEIGHT)?;
    let mut window = [0u64; 4];
    if c.flag(&WINDOW)? {
        for offset in &mut window {
            *offset = c.ue(&OFFSET)?;
        }
    }
    let luma = c.ue(&BITS_LUMA)?;
    c.ue(&BITS_CHROMA)?;
    c.ue(&POC_LSB)?;
    let each = c.flag(&ORDERING)?;
    let mut max_reorder = 0;
    for _ in 0..=if each { sub_layers } else { 0 } {
        c.ue(&BUFFERING)?;
        max_reorder = c.ue(&REORDER)?;
        c.ue(&LATENCY)?;
    }
    let (unit_x, unit_y) = match chroma {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    let [left, right, top, bottom] = window;
    let cut = |size: u64, before: u64, after: u64, unit: u64| {
        let cut = before.saturating_add(after).saturating_mul(unit);
        u32::try_from(size.saturating_sub(cut)).unwrap_or(0)
    };
    Ok(Sps {
        ptl,
        width: cut(width, left, right, unit_x),
        height: cut(height, top, bottom, unit_y),
        chroma_format: (chroma & 3) as u8,
        bit_depth: u8::try_from(luma.saturating_add(8)).unwrap_or(u8::MAX),
        max_reorder,
    })
}

fn profile_tier_level<T: Trace>(c: &mut Cursor<'_, T>, sub_layers: u64) -> Result<ProfileTierLevel> {
    let ptl = ProfileTierLevel::general(c)?;
    if sub_layers == 0 {
        return Ok(ptl);
    }
    // Two presence bits for each sub-layer; the list is padded to eight sub-layers.
    let flags = c.bits(&SUB_FLAGS, 16)?;
    for layer in 0..sub_layers.min(8) {
        let shift = 14u64.saturating_sub(layer.saturating_mul(2));
        let present = flags >> shift & 3;
        if present & 2 != 0 {
            c.bits(&SUB_PROFILE, 44)?;
            c.bits(&SUB_PROFILE, 44)?;
        }
        if present & 1 != 0 {
            c.bits(&SUB_LEVEL, 8)?;
        }
    }
    Ok(ptl)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::trace::Tree;
    use proptest::prelude::*;

    /// SPS of a 320x180 stream that x265 made: 320x184 coded, 4 lines cropped.
    const UNIT_320X180: [u8; 43] = [
        0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00,
        0x3c, 0xa0, 0x0a, 0x08, 0x0b, 0x9f, 0x79, 0x65, 0x64, 0x92, 0x4c, 0xaf, 0x01, 0x68, 0x08, 0x00, 0x00,
        0x03, 0x00, 0x08, 0x00, 0x00, 0x03, 0x00, 0xc8, 0x40,
    ];

    #[test]
    fn a_picture_is_as_large_as_it_says_after_cropping() {
        let sps = Sps::from_nal(&UNIT_320X180).unwrap();
        assert_eq!((sps.width, sps.height, sps.bit_depth, sps.chroma_format), (320, 180, 8, 1));
        assert_eq!((sps.ptl.profile(), sps.ptl.level()), ("Main".to_owned(), "2.0".to_owned()));
        assert_eq!(sps.max_reorder, 2);
    }

    #[test]
    fn a_record_holds_its_parameter_sets() {
        let mut record = vec![1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x3c];
        record.extend([0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8, 0, 0, 0x0f, 1, 0x21, 0, 1, 0, 43]);
        record.extend(UNIT_320X180);
        let config = Config::decode(&mut Cursor::new(&record)).unwrap();
        assert_eq!((config.length_size, config.units.len()), (4, 1));
        assert_eq!(config.first_sps().unwrap().unwrap().width, 320);
        record.truncate(40);
        assert!(Config::decode(&mut Cursor::new(&record)).unwrap_err().is_short());
    }

    #[test]
    fn random_access_pictures_are_known() {
        assert_eq!(nal_type(&[0x26, 0x01]), Some(19));
        assert!(is_random_access(19) && is_random_access(21) && !is_random_access(1));
        assert!(is_vcl(1) && !is_vcl(SPS_TYPE));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_gap(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let mut c = Cursor::traced(&bytes, Tree::default());
            let _ = Config::decode(&mut c);
            let left = c.bits_left();
            let mut at = 0;
            for leaf in c.into_trace().leaves() {
                prop_assert_eq!(leaf.bits.start, at);
                at = leaf.bits.end;
            }
            prop_assert_eq!(at + left, bytes.len() as u64 * 8);
            let _ = Sps::from_nal(&bytes);
        }
    }
}
