//! NAL unit headers, picture parameter sets and slice headers, as far as pictures have to be told apart
//! (H.264 §7.3.1, §7.3.2.2, §7.3.3).
//!
//! ```text
//! +-+---+---------+
//! |0|ref|  type   |
//! +-+---+---------+
//! ```

use crate::codec::nal::unescape;
use crate::cursor::Cursor;
use crate::error::Result;
use crate::trace::{Field, Trace, field};

pub(super) static HEADER: Field = field("NAL unit header", "H.264 §7.3.1", "What the unit holds.");
static FORBIDDEN: Field = field("forbidden_zero_bit", "H.264 §7.4.1", "0.");
static REF_IDC: Field = field("nal_ref_idc", "H.264 §7.4.1", "0: no other picture needs this one.");
static TYPE: Field =
    field("nal_unit_type", "H.264 table 7-1", "1 slice, 5 IDR slice, 6 SEI, 7 SPS, 8 PPS, 9 AUD.");
static SLICE: Field = field("slice header", "H.264 §7.3.3", "The start of a slice.");
static FIRST_MB: Field = field("first_mb_in_slice", "H.264 §7.4.3", "0 in the first slice of a picture.");
static SLICE_TYPE: Field =
    field("slice_type", "H.264 table 7-6", "0 P, 1 B, 2 I, 3 SP, 4 SI; 5 more: all slices alike.");
static PPS: Field = field("picture parameter set", "H.264 §7.3.2.2", "What several pictures share.");
static PPS_ID: Field = field("pic_parameter_set_id", "H.264 §7.4.2.2", "Number slices refer to.");
static SPS_ID: Field = field("seq_parameter_set_id", "H.264 §7.4.2.2", "The SPS this PPS refers to.");
static ENTROPY: Field = field("entropy_coding_mode_flag", "H.264 §7.4.2.2", "0 CAVLC, 1 CABAC.");
static FIELD_ORDER: Field = field(
    "bottom_field_pic_order_in_frame_present_flag",
    "H.264 §7.4.2.2",
    "1: interlaced order is written out.",
);

/// nal_unit_type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NalType(pub u8);

impl NalType {
    /// A slice of a picture that is no IDR picture.
    pub const SLICE: Self = Self(1);
    /// A slice of an IDR picture, at which decoding can start.
    pub const IDR: Self = Self(5);
    /// Supplemental enhancement information.
    pub const SEI: Self = Self(6);
    /// Sequence parameter set.
    pub const SPS: Self = Self(7);
    /// Picture parameter set.
    pub const PPS: Self = Self(8);
    /// Access unit delimiter.
    pub const AUD: Self = Self(9);
    /// Filler data.
    pub const FILLER: Self = Self(12);

    /// The type of a NAL unit; none for an empty one.
    pub fn of(nal: &[u8]) -> Option<Self> {
        nal.first().map(|byte| Self(byte & 0x1f))
    }

    /// True for slices, with or without data partitioning: video coding layer.
    pub fn is_vcl(self) -> bool {
        matches!(self.0, 1..=5)
    }

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self.0 {
            1 => "slice",
            2..=4 => "slice data partition",
            5 => "IDR slice",
            6 => "SEI",
            7 => "SPS",
            8 => "PPS",
            9 => "AUD",
            10 => "end of sequence",
            11 => "end of stream",
            12 => "filler",
            13 => "SPS extension",
            14 => "prefix",
            15 => "subset SPS",
            19 => "auxiliary slice",
            20 => "slice extension",
            24..=29 => "RTP packet",
            _ => "reserved",
        }
    }
}

/// Kind of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceType {
    /// Predicted.
    P,
    /// Predicted from both sides: picture order differs from decoding order.
    B,
    /// Coded alone.
    I,
    /// Switching P.
    Sp,
    /// Switching I.
    Si,
}

/// Reads the one-byte header.
pub(super) fn header<T: Trace>(c: &mut Cursor<'_, T>) -> Result<NalType> {
    c.group(&HEADER, |c| {
        c.bits(&FORBIDDEN, 1)?;
        c.bits(&REF_IDC, 2)?;
        Ok(NalType((c.bits(&TYPE, 5)? & 0x1f) as u8))
    })
}

/// True where one of the NAL units is a slice of an IDR picture.
pub fn is_idr<'b>(mut nals: impl Iterator<Item = &'b [u8]>) -> bool {
    nals.any(|nal| NalType::of(nal) == Some(NalType::IDR))
}

/// Three Exp-Golomb codes of at most 65 bits each behind the header: so many bytes hold them, escapes included.
const SLICE_HEAD: usize = 40;

/// The beginning of the header of the slice that a NAL unit holds; its first bytes are enough. None for other NAL units.
fn first_slice<R>(nal: &[u8], read: impl FnOnce(&mut Cursor<'_>) -> Result<R>) -> Option<R> {
    if !matches!(NalType::of(nal)?.0, 1 | 2 | 5 | 19) {
        return None;
    }
    let head = unescape(nal.get(..nal.len().min(SLICE_HEAD))?);
    let mut c = Cursor::new(&head);
    header(&mut c).ok()?;
    c.group(&SLICE, |c| {
        c.ue(&FIRST_MB)?;
        read(c)
    })
    .ok()
}

/// The kind of the slice a NAL unit holds. None for other NAL units.
pub fn first_slice_type(nal: &[u8]) -> Option<SliceType> {
    first_slice(nal, |c| c.ue(&SLICE_TYPE)).and_then(|n| match n {
        0 | 5 => Some(SliceType::P),
        1 | 6 => Some(SliceType::B),
        2 | 7 => Some(SliceType::I),
        3 | 8 => Some(SliceType::Sp),
        4 | 9 => Some(SliceType::Si),
        _ => None,
    })
}

/// The number of the picture parameter set that the slice in a NAL unit refers to. None for other NAL units.
pub fn first_slice_pps(nal: &[u8]) -> Option<u64> {
    first_slice(nal, |c| {
        c.ue(&SLICE_TYPE)?;
        c.ue(&PPS_ID)
    })
}

/// The start of a picture parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pps {
    /// Its number.
    pub id: u64,
    /// The SPS it refers to.
    pub sps: u64,
    /// CABAC in place of CAVLC.
    pub cabac: bool,
}

impl Pps {
    /// Reads the start of a PPS: NAL header included, emulation prevention removed.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&PPS, |c| {
            let kind = header(c)?;
            if kind != NalType::PPS {
                return Err(c.refuse(&TYPE, 1, "8 (PPS)", u64::from(kind.0)));
            }
            let id = c.ue(&PPS_ID)?;
            let sps = c.ue(&SPS_ID)?;
            let cabac = c.flag(&ENTROPY)?;
            c.flag(&FIELD_ORDER)?;
            Ok(Self { id, sps, cabac })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_and_parameter_sets_are_told_apart() {
        assert!(is_idr([&[0x06, 5][..], &[0x65, 0x88][..]].into_iter()));
        assert!(!is_idr([&[0x41, 0x9a][..], &[][..]].into_iter()));
        // first_mb 0 (1), slice_type 7 (0001000): I.
        assert_eq!(first_slice_type(&[0x65, 0b1000_1000, 0x80]), Some(SliceType::I));
        // first_mb 0 (1), slice_type 5 (00110): P; 6 (00111): B.
        assert_eq!(first_slice_type(&[0x41, 0b1001_1000]), Some(SliceType::P));
        assert_eq!(first_slice_type(&[0x01, 0b1001_1100]), Some(SliceType::B));
        assert_eq!(first_slice_type(&[0x67, 0x42]), None);
        // first_mb 0 (1), slice_type 7 (0001000), PPS 2 (011).
        assert_eq!(first_slice_pps(&[0x65, 0b1000_1000, 0b0110_0000]), Some(2));
        assert_eq!((first_slice_pps(&[0x65, 0b1000_1000]), first_slice_pps(&[0x68, 0xce])), (None, None));
        assert_eq!(first_slice_type(&[]), None);
    }

    #[test]
    fn a_pps_from_the_wire() {
        let pps = Pps::decode(&mut Cursor::new(&[0x68, 0xce, 0x0f, 0xc8])).unwrap();
        assert_eq!(pps, Pps { id: 0, sps: 0, cabac: false });
        let error = Pps::decode(&mut Cursor::new(&[0x67, 0xce])).unwrap_err();
        assert_eq!((error.at, error.field), (0, "nal_unit_type"));
    }
}
