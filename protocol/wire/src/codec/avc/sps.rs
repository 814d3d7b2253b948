//! Sequence parameter set (H.264 §7.3.2.1.1): profile, level, picture size, reorder depth.

use super::nal::{self, NalType};
use super::vui::Vui;
use crate::codec::nal::unescape;
use crate::cursor::Cursor;
use crate::error::{Error, Problem, Result};
use crate::trace::{Field, Trace, field};

const SPS: &str = "H.264 §7.4.2.1.1";
static GROUP: Field =
    field("sequence parameter set", "H.264 §7.3.2.1", "What all pictures of a sequence share.");
static NAL_TYPE: Field = field("nal_unit_type", "H.264 table 7-1", "7: SPS.");
static PROFILE: Field = field("profile_idc", SPS, "66 Baseline, 77 Main, 100 High.");
static CONSTRAINTS: Field = field("constraint_set flags", SPS, "Which further profiles the stream keeps to.");
static LEVEL: Field = field("level_idc", SPS, "Level times 10: bounds of size and rate.");
static ID: Field = field("seq_parameter_set_id", SPS, "Number a PPS refers to.");
static CHROMA: Field = field("chroma_format_idc", SPS, "0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4.");
static SEPARATE: Field = field("separate_colour_plane_flag", SPS, "1: three grey pictures.");
static DEPTH_LUMA: Field = field("bit_depth_luma_minus8", SPS, "Bits per luma sample, minus 8.");
static DEPTH_CHROMA: Field = field("bit_depth_chroma_minus8", SPS, "Bits per chroma sample, minus 8.");
static BYPASS: Field = field("qpprime_y_zero_transform_bypass_flag", SPS, "1: may be lossless.");
static SCALING: Field = field("seq_scaling_matrix_present_flag", SPS, "1: quantiser matrices follow.");
static LIST: Field = field("seq_scaling_list_present_flag", SPS, "1: this matrix follows.");
static DELTA_SCALE: Field = field("delta_scale", SPS, "Difference to the value before.");
static FRAME_NUM: Field = field("log2_max_frame_num_minus4", SPS, "Bits of frame_num, minus 4.");
static POC_TYPE: Field = field("pic_order_cnt_type", SPS, "How output order is coded; 2: as decoded.");
static POC_LSB: Field = field("log2_max_pic_order_cnt_lsb_minus4", SPS, "Bits of the order count, minus 4.");
static POC_ZERO: Field = field("delta_pic_order_always_zero_flag", SPS, "1: no corrections in slices.");
static POC_OFFSET: Field = field("offset_for_non_ref_pic", SPS, "Order count offset.");
static POC_TOP: Field = field("offset_for_top_to_bottom_field", SPS, "Order count offset.");
static POC_CYCLE: Field =
    field("num_ref_frames_in_pic_order_cnt_cycle", SPS, "Offsets that follow; at most 255.");
static POC_REF: Field = field("offset_for_ref_frame", SPS, "Order count offset.");
static REFS: Field = field("max_num_ref_frames", SPS, "Pictures kept for prediction.");
static GAPS: Field = field("gaps_in_frame_num_value_allowed_flag", SPS, "1: numbers may be skipped.");
static WIDTH: Field = field("pic_width_in_mbs_minus1", SPS, "Width in units of 16 samples, minus 1.");
static HEIGHT: Field =
    field("pic_height_in_map_units_minus1", SPS, "Height in units of 16 (or 32) samples, minus 1.");
static FRAME_MBS: Field = field("frame_mbs_only_flag", SPS, "1: no interlaced coding.");
static MBAFF: Field = field("mb_adaptive_frame_field_flag", SPS, "1: macroblock pairs choose.");
static DIRECT: Field = field("direct_8x8_inference_flag", SPS, "How B macroblocks are predicted.");
static CROPPING: Field = field("frame_cropping_flag", SPS, "1: edges are cut off.");
static CROP: Field = field("frame_crop_offset", SPS, "Left, right, top, bottom, in chroma samples.");
static VUI: Field = field("vui_parameters_present_flag", SPS, "1: the VUI follows.");

/// The largest width or height we believe, in samples: level 6.2 allows 16888.
const MAX_SIDE: u64 = 16_384 * 4;

/// A sequence parameter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// profile_idc.
    pub profile_idc: u8,
    /// The eight constraint_set bits, set0 the highest.
    pub constraints: u8,
    /// level_idc.
    pub level_idc: u8,
    /// Its number.
    pub id: u64,
    /// chroma_format_idc: 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format: u8,
    /// Bits per luma sample.
    pub bit_depth: u8,
    /// pic_order_cnt_type; 2 means output order is decoding order.
    pub poc_type: u64,
    /// max_num_ref_frames.
    pub max_refs: u64,
    /// No interlaced coding.
    pub progressive: bool,
    /// Width in luma samples, cropping applied.
    pub width: u32,
    /// Height in luma samples, cropping applied.
    pub height: u32,
    /// Macroblocks of a frame before cropping.
    pub macroblocks: u64,
    /// The VUI, as far as it could be read.
    pub vui: Option<Vui>,
    /// Why the VUI could not be read to its end: some cameras write a bad one, and the rest still holds.
    pub vui_error: Option<Error>,
}

impl Sps {
    /// Reads an SPS as it stands in the stream: NAL header and emulation prevention bytes included. Positions
    /// in errors count without the prevention bytes.
    pub fn from_nal(nal: &[u8]) -> Result<Self> {
        Self::decode(&mut Cursor::new(&unescape(nal)))
    }

    /// Reads an SPS: NAL header included, emulation prevention bytes removed.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&GROUP, decode)
    }

    /// The profile by name.
    pub fn profile(&self) -> String {
        let set = |n: u8| self.constraints >> 7u8.saturating_sub(n) & 1 == 1;
        match self.profile_idc {
            44 => "CAVLC 4:4:4 Intra",
            66 if set(1) => "Constrained Baseline",
            66 => "Baseline",
            77 => "Main",
            83 => "Scalable Baseline",
            86 => "Scalable High",
            88 => "Extended",
            100 if set(4) && set(5) => "Constrained High",
            100 if set(4) => "Progressive High",
            100 => "High",
            110 if set(3) => "High 10 Intra",
            110 => "High 10",
            118 => "Multiview High",
            122 if set(3) => "High 4:2:2 Intra",
            122 => "High 4:2:2",
            128 => "Stereo High",
            244 if set(3) => "High 4:4:4 Intra",
            244 => "High 4:4:4 Predictive",
            other => return format!("profile {other}"),
        }
        .to_owned()
    }

    /// The level as text: `3.1`, `1b`.
    pub fn level(&self) -> String {
        level_text(self.profile_idc, self.constraints, self.level_idc)
    }

    /// Pictures per second according to the VUI.
    pub fn frame_rate(&self) -> Option<f64> {
        self.vui.and_then(|vui| vui.frame_rate())
    }

    /// How many pictures may have to wait for one that comes later in the stream: as the VUI says, else the
    /// most that profile and level allow (§C.4.4, §E.2.1).
    pub fn reorder_depth(&self) -> u32 {
        let limit = self.max_dpb_frames();
        let set3 = self.constraints & 0x10 != 0;
        let told = self.vui.and_then(|vui| vui.max_reorder);
        let intra_only = set3 && matches!(self.profile_idc, 44 | 86 | 100 | 110 | 122 | 244);
        match told {
            Some(n) => u32::try_from(n.min(16)).unwrap_or(16),
            // Output order equals decoding order: by order count type, without B slices, with intra alone.
            None if self.poc_type == 2 || self.profile_idc == 66 || intra_only => 0,
            None => limit,
        }
    }

    /// MaxDpbFrames of §A.3.1 (table A-1).
    fn max_dpb_frames(&self) -> u32 {
        let limit: u32 = match self.level_idc {
            9 | 10 => 396,
            11 if self.level() == "1b" => 396,
            11 => 900,
            12 | 13 | 20 => 2376,
            21 => 4752,
            22 | 30 => 8100,
            31 => 18_000,
            32 => 20_480,
            40 | 41 => 32_768,
            42 => 34_816,
            50 => 110_400,
            51 | 52 => 184_320,
            60..=62 => 696_320,
            _ => return 16,
        };
        let frames = u64::from(limit).checked_div(self.macroblocks).unwrap_or(16);
        u32::try_from(frames.min(16)).unwrap_or(16)
    }
}

/// Level as text. Level 1b has two codings: 9, or 11 with constraint_set3 in the older profiles (§A.3.1).
pub fn level_text(profile_idc: u8, constraints: u8, level_idc: u8) -> String {
    let older = matches!(profile_idc, 66 | 77 | 88);
    if level_idc == 9 || (level_idc == 11 && older && constraints & 0x10 != 0) {
        return "1b".to_owned();
    }
    format!("{}.{}", level_idc / 10, level_idc % 10)
}

fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Sps> {
    let kind = nal::header(c)?;
    if kind != NalType::SPS {
        return Err(c.refuse(&NAL_TYPE, 1, "7 (SPS)", u64::from(kind.0)));
    }
    let profile_idc = c.u8(&PROFILE)?;
    let constraints = c.u8(&CONSTRAINTS)?;
    let level_idc = c.u8(&LEVEL)?;
    let id = c.ue(&ID)?;
    let (chroma_format, separate, bit_depth) = match profile_idc {
        44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244 => high(c)?,
        _ => (1, false, 8),
    };
    c.ue(&FRAME_NUM)?;
    let poc_type = c.ue(&POC_TYPE)?;
    picture_order(c, poc_type)?;
    let max_refs = c.ue(&REFS)?;
    c.flag(&GAPS)?;
    let width_mbs = side(c, &WIDTH)?;
    let map_units = side(c, &HEIGHT)?;
    let progressive = c.flag(&FRAME_MBS)?;
    if !progressive {
        c.flag(&MBAFF)?;
    }
    c.flag(&DIRECT)?;
    let crop = cropping(c)?;
    let fields = if progressive { 1 } else { 2 };
    let height_mbs = map_units.saturating_mul(fields);
    // Cropping counts in chroma samples, and in field lines where there are fields (§7.4.2.1.1).
    let (unit_x, unit_y) = match chroma_format {
        1 if !separate => (2, 2),
        2 if !separate => (2, 1),
        _ => (1, 1),
    };
    let [left, right, top, bottom] = crop;
    let width = cut(width_mbs, left, right, unit_x);
    let height = cut(height_mbs, top, bottom, fields.saturating_mul(unit_y));
    let mut sps = Sps {
        profile_idc,
        constraints,
        level_idc,
        id,
        chroma_format,
        bit_depth,
        poc_type,
        max_refs,
        progressive,
        width,
        height,
        macroblocks: width_mbs.saturating_mul(height_mbs),
        vui: None,
        vui_error: None,
    };
    if c.flag(&VUI)? {
        let mut vui = Vui::default();
        sps.vui_error = vui.read(c).err();
        sps.vui = Some(vui);
    }
    Ok(sps)
}

fn high<T: Trace>(c: &mut Cursor<'_, T>) -> Result<(u8, bool, u8)> {
    let chroma = c.ue(&CHROMA)?;
    if chroma > 3 {
        return Err(c.error(&CHROMA, Problem::Value { want: "0 to 3", got: chroma }));
    }
    let separate = chroma == 3 && c.flag(&SEPARATE)?;
    let luma = c.ue(&DEPTH_LUMA)?;
    if luma > 6 {
        return Err(c.error(&DEPTH_LUMA, Problem::Value { want: "0 to 6", got: luma }));
    }
    c.ue(&DEPTH_CHROMA)?;
    c.flag(&BYPASS)?;
    if c.flag(&SCALING)? {
        let lists = if chroma == 3 { 12 } else { 8 };
        for index in 0..lists {
            if c.flag(&LIST)? {
                scaling_list(c, if index < 6 { 16 } else { 64 })?;
            }
        }
    }
    Ok(((chroma & 3) as u8, separate, ((luma & 7) as u8).saturating_add(8)))
}

/// §7.3.2.1.1.1: a list ends early where the next scale comes out as 0.
fn scaling_list<T: Trace>(c: &mut Cursor<'_, T>, size: u32) -> Result<()> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            next = last.saturating_add(c.se(&DELTA_SCALE)?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Ok(())
}

fn picture_order<T: Trace>(c: &mut Cursor<'_, T>, poc_type: u64) -> Result<()> {
    match poc_type {
        0 => {
            c.ue(&POC_LSB)?;
        }
        1 => {
            c.flag(&POC_ZERO)?;
            c.se(&POC_OFFSET)?;
            c.se(&POC_TOP)?;
            let cycle = c.ue(&POC_CYCLE)?;
            if cycle > 255 {
                return Err(c.error(&POC_CYCLE, Problem::TooLarge { limit: 255, got: cycle }));
            }
            for _ in 0..cycle {
                c.se(&POC_REF)?;
            }
        }
        2 => {}
        other => return Err(c.error(&POC_TYPE, Problem::Value { want: "0 to 2", got: other })),
    }
    Ok(())
}

/// One side of the picture in macroblocks.
fn side<T: Trace>(c: &mut Cursor<'_, T>, what: &'static Field) -> Result<u64> {
    let blocks = c.ue(what)?.saturating_add(1);
    if blocks > MAX_SIDE / 16 {
        return Err(c.error(what, Problem::TooLarge { limit: MAX_SIDE / 16, got: blocks }));
    }
    Ok(blocks)
}

fn cropping<T: Trace>(c: &mut Cursor<'_, T>) -> Result<[u64; 4]> {
    let mut crop = [0; 4];
    if c.flag(&CROPPING)? {
        for side in &mut crop {
            *side = c.ue(&CROP)?;
        }
    }
    Ok(crop)
}

fn cut(blocks: u64, before: u64, after: u64, unit: u64) -> u32 {
    let cut = before.saturating_add(after).saturating_mul(unit);
    u32::try_from(blocks.saturating_mul(16).saturating_sub(cut)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::trace::Tree;
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn parameter_sets_seen_on_the_wire() {
        // x264 Constrained Baseline 1280x720, 30 frames/s, with emulation prevention in the timing.
        let sps = Sps::from_nal(&hex("6742c01fda014016ec0440000003004000000f03c60ca8")).unwrap();
        assert_eq!((sps.profile(), sps.level()), ("Constrained Baseline".to_owned(), "3.1".to_owned()));
        assert_eq!((sps.width, sps.height), (1280, 720));
        assert_eq!(sps.frame_rate(), Some(30.0));
        assert_eq!(sps.reorder_depth(), 0);
        // x264 High 640x360, cropped by 8 lines, B pyramid.
        let sps = Sps::from_nal(&hex("6764001eacd940a02ff97011000003000100000300320f162d96")).unwrap();
        assert_eq!((sps.profile(), sps.level()), ("High".to_owned(), "3.0".to_owned()));
        assert_eq!((sps.width, sps.height), (640, 360));
        assert_eq!(sps.frame_rate(), Some(25.0));
        assert_eq!(sps.reorder_depth(), 2);
        // x264 Main 320x180.
        let sps = Sps::from_nal(&hex("674d400deca0a0cfcf80880000030008000003019078a14cb0")).unwrap();
        assert_eq!((sps.profile(), sps.level()), ("Main".to_owned(), "1.3".to_owned()));
        assert_eq!((sps.width, sps.height, sps.frame_rate()), (320, 180, Some(25.0)));
        // 768x320 with colours and a sample shape in the VUI.
        let sps = Sps::from_nal(&hex("6742c01eda0300a6c05a83030352800000030080000019478b1750")).unwrap();
        assert_eq!((sps.width, sps.height), (768, 320));
        assert_eq!(sps.vui_error, None);
    }

    #[test]
    fn level_1b_has_two_codings() {
        assert_eq!(level_text(66, 0x10, 11), "1b");
        assert_eq!(level_text(66, 0, 11), "1.1");
        assert_eq!(level_text(100, 0x10, 11), "1.1");
        assert_eq!(level_text(100, 0, 9), "1b");
        assert_eq!(level_text(100, 0, 52), "5.2");
    }

    #[test]
    fn without_vui_the_level_bounds_the_reorder_depth() {
        let mut sps = Sps::from_nal(&hex("6764001eacd940a02ff97011000003000100000300320f162d96")).unwrap();
        sps.vui = None;
        // Level 3.0 holds 8100 macroblocks, a picture of 640x368 has 920.
        assert_eq!(sps.reorder_depth(), 8);
        sps.poc_type = 2;
        assert_eq!(sps.reorder_depth(), 0);
    }

    #[test]
    fn a_vui_cut_short_leaves_the_picture_size() {
        let sps = Sps::from_nal(&hex("6742c01fda014016ec044000")).unwrap();
        assert_eq!((sps.width, sps.height), (1280, 720));
        assert!(sps.vui_error.unwrap().is_short());
    }

    #[test]
    fn hostile_values_are_refused() {
        // profile 66, then 32 zero bits: no Exp-Golomb code is that long.
        let error = Sps::from_nal(&[0x67, 66, 0, 30, 0x80, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
        assert_eq!(error.within, "sequence parameter set");
        let error = Sps::from_nal(&[0x68, 0xce]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "byte 0: nal_unit_type in sequence parameter set: want 7 (SPS), got 8 (0x8)"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_gap(tail in proptest::collection::vec(any::<u8>(), 0..96), high: bool) {
            let mut bytes = vec![0x67, if high { 244 } else { 77 }];
            bytes.extend(tail);
            let mut c = Cursor::traced(&bytes, Tree::default());
            if let Ok(sps) = Sps::decode(&mut c) {
                prop_assert!(sps.reorder_depth() <= 16);
            }
            let left = c.bits_left();
            let mut at = 0;
            for leaf in c.into_trace().leaves() {
                prop_assert!(leaf.bits.start >= at);
                at = leaf.bits.end;
            }
            prop_assert!(at + left <= bytes.len() as u64 * 8);
        }
    }
}
