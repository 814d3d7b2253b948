//! Video usability information (H.264 §E.1.1): shape, colour, timing and reorder depth.

use super::hrd;
use crate::cursor::Cursor;
use crate::error::Result;
use crate::trace::{Field, Trace, field};

const VUI: &str = "H.264 §E.2.1";
static GROUP: Field = field("VUI parameters", VUI, "How the pictures are to be shown.");
static ASPECT: Field = field("aspect_ratio_info_present_flag", VUI, "1: the shape of a sample follows.");
static ASPECT_IDC: Field = field("aspect_ratio_idc", VUI, "1: square samples, 255: written out.");
static SAR_WIDTH: Field = field("sar_width", VUI, "Width of a sample.");
static SAR_HEIGHT: Field = field("sar_height", VUI, "Height of a sample.");
static OVERSCAN_INFO: Field = field("overscan_info_present_flag", VUI, "1: the next flag follows.");
static OVERSCAN: Field = field("overscan_appropriate_flag", VUI, "1: edges may be cut off.");
static SIGNAL: Field = field("video_signal_type_present_flag", VUI, "1: format and colours follow.");
static FORMAT: Field = field("video_format", VUI, "5: unspecified.");
static FULL_RANGE: Field = field("video_full_range_flag", VUI, "1: samples use all values.");
static COLOUR: Field = field("colour_description_present_flag", VUI, "1: three numbers follow.");
static PRIMARIES: Field = field("colour_primaries", VUI, "1: BT.709, 9: BT.2020.");
static TRANSFER: Field = field("transfer_characteristics", VUI, "1: BT.709, 16: PQ, 18: HLG.");
static MATRIX: Field = field("matrix_coefficients", VUI, "1: BT.709.");
static CHROMA_LOC: Field = field("chroma_loc_info_present_flag", VUI, "1: two numbers follow.");
static CHROMA_TOP: Field = field("chroma_sample_loc_type_top_field", VUI, "Where chroma samples lie.");
static CHROMA_BOTTOM: Field = field("chroma_sample_loc_type_bottom_field", VUI, "Where chroma samples lie.");
static TIMING: Field = field("timing_info_present_flag", VUI, "1: the frame rate follows.");
static UNITS: Field =
    field("num_units_in_tick", VUI, "Length of a tick in units of 1 / time_scale s; a tick is a field.");
static SCALE: Field = field("time_scale", VUI, "Units per second.");
static FIXED: Field = field("fixed_frame_rate_flag", VUI, "1: the rate is kept exactly.");
static NAL_HRD: Field = field("nal_hrd_parameters_present_flag", VUI, "1: HRD parameters follow.");
static VCL_HRD: Field = field("vcl_hrd_parameters_present_flag", VUI, "1: HRD parameters follow.");
static LOW_DELAY: Field = field("low_delay_hrd_flag", VUI, "1: big pictures may come late.");
static PIC_STRUCT: Field =
    field("pic_struct_present_flag", VUI, "1: SEI messages tell fields and frames apart.");
static RESTRICTION: Field = field("bitstream_restriction_flag", VUI, "1: bounds follow.");
static MV_OVER: Field =
    field("motion_vectors_over_pic_boundaries_flag", VUI, "1: prediction may look outside.");
static MAX_BYTES: Field = field("max_bytes_per_pic_denom", VUI, "Bound of a picture's size.");
static MAX_BITS: Field = field("max_bits_per_mb_denom", VUI, "Bound of a macroblock's size.");
static MV_H: Field = field("log2_max_mv_length_horizontal", VUI, "Bound of a motion vector.");
static MV_V: Field = field("log2_max_mv_length_vertical", VUI, "Bound of a motion vector.");
static REORDER: Field = field(
    "max_num_reorder_frames",
    VUI,
    "Pictures that may precede another in decoding order and follow it in output order.",
);
static BUFFERING: Field = field("max_dec_frame_buffering", VUI, "Pictures a decoder has to keep.");

/// What the VUI says that we use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vui {
    /// Width and height of a sample; 1:1 are square ones.
    pub sample_aspect: Option<(u16, u16)>,
    /// num_units_in_tick and time_scale.
    pub timing: Option<(u32, u32)>,
    /// fixed_frame_rate_flag.
    pub fixed_frame_rate: bool,
    /// max_num_reorder_frames.
    pub max_reorder: Option<u64>,
    /// max_dec_frame_buffering.
    pub max_buffering: Option<u64>,
}

/// Table E-1: sample aspect ratios 1 to 16.
const ASPECTS: [(u16, u16); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];

impl Vui {
    /// Pictures per second: two ticks make a frame (§E.2.1).
    pub fn frame_rate(&self) -> Option<f64> {
        let (units, scale) = self.timing?;
        (units > 0 && scale > 0).then(|| f64::from(scale) / 2.0 / f64::from(units))
    }

    /// Fills in what can be read; after an error the fields before it hold.
    pub(super) fn read<T: Trace>(&mut self, c: &mut Cursor<'_, T>) -> Result<()> {
        c.group(&GROUP, |c| {
            self.appearance(c)?;
            if c.flag(&TIMING)? {
                let units = (c.bits(&UNITS, 32)? & 0xffff_ffff) as u32;
                let scale = (c.bits(&SCALE, 32)? & 0xffff_ffff) as u32;
                self.timing = Some((units, scale));
                self.fixed_frame_rate = c.flag(&FIXED)?;
            }
            let nal = c.flag(&NAL_HRD)?;
            if nal {
                hrd::decode(c)?;
            }
            let vcl = c.flag(&VCL_HRD)?;
            if vcl {
                hrd::decode(c)?;
            }
            if nal || vcl {
                c.flag(&LOW_DELAY)?;
            }
            c.flag(&PIC_STRUCT)?;
            if c.flag(&RESTRICTION)? {
                c.flag(&MV_OVER)?;
                for bound in [&MAX_BYTES, &MAX_BITS, &MV_H, &MV_V] {
                    c.ue(bound)?;
                }
                self.max_reorder = Some(c.ue(&REORDER)?);
                self.max_buffering = Some(c.ue(&BUFFERING)?);
            }
            Ok(())
        })
    }

    fn appearance<T: Trace>(&mut self, c: &mut Cursor<'_, T>) -> Result<()> {
        if c.flag(&ASPECT)? {
            let idc = c.bits(&ASPECT_IDC, 8)?;
            self.sample_aspect = if idc == 255 {
                let width = (c.bits(&SAR_WIDTH, 16)? & 0xffff) as u16;
                let height = (c.bits(&SAR_HEIGHT, 16)? & 0xffff) as u16;
                Some((width, height))
            } else {
                let index = usize::try_from(idc).ok().and_then(|idc| idc.checked_sub(1));
                index.and_then(|index| ASPECTS.get(index).copied())
            };
        }
        if c.flag(&OVERSCAN_INFO)? {
            c.flag(&OVERSCAN)?;
        }
        if c.flag(&SIGNAL)? {
            c.bits(&FORMAT, 3)?;
            c.flag(&FULL_RANGE)?;
            if c.flag(&COLOUR)? {
                for number in [&PRIMARIES, &TRANSFER, &MATRIX] {
                    c.bits(number, 8)?;
                }
            }
        }
        if c.flag(&CHROMA_LOC)? {
            c.ue(&CHROMA_TOP)?;
            c.ue(&CHROMA_BOTTOM)?;
        }
        Ok(())
    }
}
