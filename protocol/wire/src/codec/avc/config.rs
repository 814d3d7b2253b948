//! AVCDecoderConfigurationRecord, the payload of an AVC sequence header (ISO 14496-15 §5.3.3.1).
//!
//! ```text
//! version=1(8) profile(8) compatibility(8) level(8) 111111 length size-1(2)
//! 111 SPS count(5) { length(16) SPS } PPS count(8) { length(16) PPS }
//! profile 100, 110, 122, 144: 111111 chroma(2) 11111 luma(3) 11111 chroma(3) count(8) { length(16) ext }
//! ```

use super::sps::Sps;
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::trace::{Field, Trace, field};

const RECORD: &str = "ISO 14496-15 §5.3.3.1";
static GROUP: Field =
    field("AVCDecoderConfigurationRecord", RECORD, "What a decoder needs before the first picture.");
static VERSION: Field = field("configurationVersion", RECORD, "1.");
static PROFILE: Field = field("AVCProfileIndication", RECORD, "profile_idc of the SPS.");
static COMPATIBILITY: Field = field("profile_compatibility", RECORD, "Constraint flags of the SPS.");
static LEVEL: Field = field("AVCLevelIndication", RECORD, "level_idc of the SPS.");
static RESERVED: Field = field("reserved", RECORD, "All ones.");
static LENGTH_SIZE: Field = field("lengthSizeMinusOne", RECORD, "Bytes of a NAL unit's length, minus 1.");
static SPS_COUNT: Field = field("numOfSequenceParameterSets", RECORD, "SPS that follow.");
static PPS_COUNT: Field = field("numOfPictureParameterSets", RECORD, "PPS that follow.");
static UNIT_LENGTH: Field = field("parameter set length", RECORD, "Bytes.");
static SPS: Field = field("SPS", RECORD, "A sequence parameter set NAL unit.");
static PPS: Field = field("PPS", RECORD, "A picture parameter set NAL unit.");
static EXTENSION: Field = field("SPS extension", RECORD, "A sequence parameter set extension NAL unit.");
static CHROMA: Field = field("chroma_format", RECORD, "1: 4:2:0.");
static DEPTH_LUMA: Field = field("bit_depth_luma_minus8", RECORD, "Bits per luma sample, minus 8.");
static DEPTH_CHROMA: Field = field("bit_depth_chroma_minus8", RECORD, "Bits per chroma sample, minus 8.");

/// A decoder configuration record; parameter sets stay where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config<'b> {
    /// AVCProfileIndication.
    pub profile: u8,
    /// profile_compatibility.
    pub compatibility: u8,
    /// AVCLevelIndication.
    pub level: u8,
    /// Bytes of a NAL unit's length: 1, 2 or 4.
    pub length_size: u8,
    /// Sequence parameter sets.
    pub sps: Vec<&'b [u8]>,
    /// Picture parameter sets.
    pub pps: Vec<&'b [u8]>,
}

impl<'b> Config<'b> {
    /// Reads a record. The part for the high profiles is missing in many streams and may be.
    pub fn decode<T: Trace>(c: &mut Cursor<'b, T>) -> Result<Self> {
        c.group(&GROUP, |c| {
            let version = c.u8(&VERSION)?;
            if version != 1 {
                return Err(c.refuse(&VERSION, 1, "1", u64::from(version)));
            }
            let profile = c.u8(&PROFILE)?;
            let compatibility = c.u8(&COMPATIBILITY)?;
            let level = c.u8(&LEVEL)?;
            c.bits(&RESERVED, 6)?;
            let length_size = (c.bits(&LENGTH_SIZE, 2)? & 3) as u8;
            c.bits(&RESERVED, 3)?;
            let count = c.bits(&SPS_COUNT, 5)?;
            let sps = units(c, &SPS, count)?;
            let count = c.u8(&PPS_COUNT)?;
            let pps = units(c, &PPS, u64::from(count))?;
            if matches!(profile, 100 | 110 | 122 | 144) && c.remaining() >= 4 {
                c.bits(&RESERVED, 6)?;
                c.bits(&CHROMA, 2)?;
                c.bits(&RESERVED, 5)?;
                c.bits(&DEPTH_LUMA, 3)?;
                c.bits(&RESERVED, 5)?;
                c.bits(&DEPTH_CHROMA, 3)?;
                let count = c.u8(&SPS_COUNT)?;
                units(c, &EXTENSION, u64::from(count))?;
            }
            Ok(Self { profile, compatibility, level, length_size: length_size.saturating_add(1), sps, pps })
        })
    }

    /// The first SPS, decoded.
    pub fn first_sps(&self) -> Option<Result<Sps>> {
        self.sps.first().map(|nal| Sps::from_nal(nal))
    }
}

fn units<'b, T: Trace>(c: &mut Cursor<'b, T>, what: &'static Field, count: u64) -> Result<Vec<&'b [u8]>> {
    let mut out = Vec::new();
    for _ in 0..count {
        let length = c.u16(&UNIT_LENGTH)?;
        out.push(c.bytes(what, usize::from(length))?);
    }
    Ok(out)
}

/// Writes a record with lengths of four bytes from the stream's parameter sets.
pub fn encode(sps: &[&[u8]], pps: &[&[u8]]) -> Result<Vec<u8>> {
    let first = sps.first().and_then(|nal| nal.get(1..4));
    let Some(&[profile, compatibility, level]) = first else {
        return Err(Error::value(0, SPS.name, "at least one of 4 bytes", sps.len() as u64));
    };
    let mut out = vec![1, profile, compatibility, level, 0xff];
    out.push(0xe0 | count(sps, 31)?);
    put(sps, &mut out)?;
    out.push(count(pps, 255)?);
    put(pps, &mut out)?;
    if matches!(profile, 100 | 110 | 122 | 144) {
        let sps = Sps::from_nal(sps.first().copied().unwrap_or_default())?;
        let depth = sps.bit_depth.saturating_sub(8) & 7;
        out.extend_from_slice(&[0xfc | sps.chroma_format & 3, 0xf8 | depth, 0xf8 | depth, 0]);
    }
    Ok(out)
}

fn count(units: &[&[u8]], limit: u8) -> Result<u8> {
    let count = u8::try_from(units.len()).ok().filter(|n| *n <= limit);
    count.ok_or_else(|| Error::too_large(0, "parameter sets", u64::from(limit), units.len() as u64))
}

fn put(units: &[&[u8]], out: &mut Vec<u8>) -> Result<()> {
    for unit in units {
        let length = u16::try_from(unit.len());
        let length = length.map_err(|_| Error::too_large(0, UNIT_LENGTH.name, 0xffff, unit.len() as u64))?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(unit);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::trace::Tree;
    use proptest::prelude::*;

    const BASELINE: [u8; 39] = [
        0x01, 0x42, 0xc0, 0x1f, 0xff, 0xe1, 0x00, 0x17, 0x67, 0x42, 0xc0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xec,
        0x04, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00, 0x00, 0x0f, 0x03, 0xc6, 0x0c, 0xa8, 0x01, 0x00, 0x04,
        0x68, 0xce, 0x3c, 0x80, 0x00,
    ];

    #[test]
    fn a_record_from_the_wire() {
        let record = &BASELINE[..38];
        let config = Config::decode(&mut Cursor::new(record)).unwrap();
        assert_eq!((config.profile, config.level, config.length_size), (66, 31, 4));
        assert_eq!((config.sps.len(), config.pps.len()), (1, 1));
        assert_eq!(config.first_sps().unwrap().unwrap().width, 1280);
        assert_eq!(encode(&config.sps, &config.pps).unwrap(), record);
    }

    #[test]
    fn the_high_profiles_have_a_tail_that_may_be_missing() {
        let sps: &[u8] = &[
            0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00,
            0x01, 0x00, 0x00, 0x03, 0x00, 0x32, 0x0f, 0x16, 0x2d, 0x96,
        ];
        let pps: &[u8] = &[0x68, 0xea, 0xec, 0xb2, 0x2c];
        let record = encode(&[sps], &[pps]).unwrap();
        assert_eq!(record[record.len() - 4..], [0xfd, 0xf8, 0xf8, 0]);
        let whole = Config::decode(&mut Cursor::new(&record)).unwrap();
        let short = Config::decode(&mut Cursor::new(&record[..record.len() - 4])).unwrap();
        assert_eq!(whole, short);
    }

    #[test]
    fn a_record_cut_short_says_where() {
        let error = Config::decode(&mut Cursor::new(&BASELINE[..20])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "byte 8: SPS in AVCDecoderConfigurationRecord: want 23 bytes, 12 are left"
        );
        assert!(encode(&[], &[]).is_err());
        assert!(encode(&[&[0x67]], &[]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_gap(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let mut c = Cursor::traced(&bytes, Tree::default());
            if let Ok(config) = Config::decode(&mut c) {
                let _ = config.first_sps();
            }
            let left = c.bits_left();
            let mut at = 0;
            for leaf in c.into_trace().leaves() {
                prop_assert_eq!(leaf.bits.start, at);
                at = leaf.bits.end;
            }
            prop_assert_eq!(at + left, bytes.len() as u64 * 8);
        }
    }
}
