//! Hypothetical reference decoder parameters (H.264 §E.1.2): read to get behind them.

use crate::cursor::Cursor;
use crate::error::{Problem, Result};
use crate::trace::{Field, Trace, field};

const HRD: &str = "H.264 §E.1.2";
static GROUP: Field = field("HRD parameters", HRD, "The buffer a decoder is promised to get by with.");
static COUNT: Field = field("cpb_cnt_minus1", HRD, "Buffer descriptions, minus 1; at most 31.");
static SCALES: Field = field("bit_rate_scale, cpb_size_scale", HRD, "Exponents of the values below.");
static RATE: Field = field("bit_rate_value_minus1", HRD, "Bits per second, scaled.");
static SIZE: Field = field("cpb_size_value_minus1", HRD, "Bits, scaled.");
static CBR: Field = field("cbr_flag", HRD, "1: constant bit rate.");
static LENGTHS: Field = field("delay lengths", HRD, "Bits of the delay fields in SEI messages.");

/// Reads one set.
pub(super) fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<()> {
    c.group(&GROUP, |c| {
        let count = c.ue(&COUNT)?;
        if count > 31 {
            return Err(c.error(&COUNT, Problem::TooLarge { limit: 31, got: count }));
        }
        c.bits(&SCALES, 8)?;
        for _ in 0..=count {
            c.ue(&RATE)?;
            c.ue(&SIZE)?;
            c.flag(&CBR)?;
        }
        c.bits(&LENGTHS, 20)?;
        Ok(())
    })
}
