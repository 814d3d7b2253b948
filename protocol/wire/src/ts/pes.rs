//! PES packet headers (ISO 13818-1 §2.4.3.6).
//!
//! ```text
//! | 00 00 01 | stream id(8) | length(16) | 10 | flags(14) | header length(8) | PTS(40) | DTS(40) | ... | payload |
//! ```

use crate::cursor::Cursor;
use crate::error::{Problem, Result};
use crate::trace::{Field, Trace, field};

const SPEC: &str = "ISO 13818-1 §2.4.3.7";
static GROUP: Field = field("PES packet", SPEC, "One or more access units of an elementary stream.");
static PREFIX: Field = field("packet_start_code_prefix", SPEC, "00 00 01.");
static STREAM: Field = field("stream_id", SPEC, "0xc0 to 0xdf: audio, 0xe0 to 0xef: video, 0xbd: private.");
static LENGTH: Field =
    field("PES_packet_length", SPEC, "Bytes behind this field; 0: not said, video alone may.");
static MARKER: Field = field("marker", SPEC, "10.");
static SCRAMBLING: Field = field("PES_scrambling_control", SPEC, "0: not scrambled.");
static PRIORITY: Field = field("PES_priority", SPEC, "1: more important than others of the stream.");
static ALIGNMENT: Field =
    field("data_alignment_indicator", SPEC, "1: an access unit begins with the payload.");
static COPYRIGHT: Field = field("copyright", SPEC, "1: the material is protected by copyright.");
static ORIGINAL: Field = field("original_or_copy", SPEC, "1: an original.");
static TIMES: Field = field("PTS_DTS_flags", SPEC, "2: a PTS follows, 3: a PTS and a DTS.");
static CLOCK_FLAG: Field = field("ESCR_flag", SPEC, "1: a clock of the elementary stream follows.");
static RATE_FLAG: Field = field("ES_rate_flag", SPEC, "1: the rate of the elementary stream follows.");
static TRICK_FLAG: Field = field("DSM_trick_mode_flag", SPEC, "1: how to play it fast or slow follows.");
static COPY_FLAG: Field = field("additional_copy_info_flag", SPEC, "1: more of copyright follows.");
static CRC_FLAG: Field = field("PES_CRC_flag", SPEC, "1: a CRC of the packet before follows.");
static EXTENSION_FLAG: Field = field("PES_extension_flag", SPEC, "1: an extension of the header follows.");
static HEADER_LENGTH: Field = field("PES_header_data_length", SPEC, "Bytes of header behind this one.");
static PTS: Field = field("PTS", SPEC, "Presentation time in ticks of 90 kHz, modulo 2^33.");
static DTS: Field = field("DTS", SPEC, "Decoding time in ticks of 90 kHz, modulo 2^33.");
static CODE: Field = field("time prefix", SPEC, "0010, 0011 or 0001.");
static PART: Field = field("time bits", SPEC, "3, 15 and 15 bits of the time.");
static BIT: Field = field("marker_bit", SPEC, "1.");
static REST: Field = field("rest of the header", SPEC, "Further fields and stuffing.");

/// Ticks of PTS and DTS in a second.
pub const RATE: u32 = 90_000;
/// PTS and DTS start again at zero here.
pub const WRAP: u64 = 1 << 33;

/// The header of a PES packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pes {
    /// Stream id.
    pub stream: u8,
    /// Bytes of payload; none where the header does not say.
    pub length: Option<usize>,
    /// Presentation time.
    pub pts: Option<u64>,
    /// Decoding time, where it differs from the presentation time.
    pub dts: Option<u64>,
}

impl Pes {
    /// Reads a header; the cursor then stands at the payload.
    pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Self> {
        c.group(&GROUP, |c| {
            let prefix = c.u24(&PREFIX)?;
            if prefix != 1 {
                return Err(c.refuse(&PREFIX, 3, "00 00 01", u64::from(prefix)));
            }
            let stream = c.u8(&STREAM)?;
            if stream < 0xbc {
                return Err(c.refuse(&STREAM, 1, "0xbc or more", u64::from(stream)));
            }
            let said = usize::from(c.u16(&LENGTH)?);
            // Maps, padding, ECM and the like have no header of their own (table 2-21).
            if matches!(stream, 0xbc | 0xbe | 0xbf | 0xf0..=0xf2 | 0xf8 | 0xff) {
                return Ok(Self { stream, length: Some(said), pts: None, dts: None });
            }
            let marker = c.bits(&MARKER, 2)?;
            if marker != 2 {
                return Err(c.error(&MARKER, Problem::Value { want: "10", got: marker }));
            }
            c.bits(&SCRAMBLING, 2)?;
            for flag in [&PRIORITY, &ALIGNMENT, &COPYRIGHT, &ORIGINAL] {
                c.flag(flag)?;
            }
            let times = c.bits(&TIMES, 2)?;
            for flag in [&CLOCK_FLAG, &RATE_FLAG, &TRICK_FLAG, &COPY_FLAG, &CRC_FLAG, &EXTENSION_FLAG] {
                c.flag(flag)?;
            }
            let header = usize::from(c.u8(&HEADER_LENGTH)?);
            let need = match times {
                2 => 5usize,
                3 => 10,
                _ => 0,
            };
            if header < need {
                let problem = Problem::Short { want: need as u64, got: header as u64 };
                return Err(c.error(&HEADER_LENGTH, problem));
            }
            let pts = if times >= 2 { Some(c.group(&PTS, time)?) } else { None };
            let dts = if times == 3 { Some(c.group(&DTS, time)?) } else { None };
            let rest = header.saturating_sub(need);
            if rest > 0 {
                c.bytes(&REST, rest)?;
            }
            // Length 0 leaves the end to the next beginning.
            let length = said.checked_sub(header.saturating_add(3)).filter(|_| said > 0);
            Ok(Self { stream, length, pts, dts })
        })
    }
}

fn time<T: Trace>(c: &mut Cursor<'_, T>) -> Result<u64> {
    c.bits(&CODE, 4)?;
    let mut time = 0u64;
    for bits in [3, 15, 15] {
        time = time << bits | c.bits(&PART, bits)?;
        c.bits(&BIT, 1)?;
    }
    c.makes(i64::try_from(time).unwrap_or(i64::MAX));
    Ok(time)
}
