//! MPEG-2 transport streams (ISO 13818-1 §2.4.3).
//!
//! ```text
//! | 0x47 | error(1) start(1) priority(1) PID(13) | scrambling(2) adaptation(1) payload(1) counter(4) |
//! | adaptation field: length(8), flags(8), PCR(48), ... , stuffing | payload ... |      188 bytes in all
//! ```

mod pes;
mod psi;
#[cfg(test)]
mod tests;

pub use pes::{Pes, RATE, WRAP};
pub use psi::{Descriptor, Elementary, Map, Program, Section, Sections, crc32};

use crate::cursor::Cursor;
use crate::error::{Problem, Result};
use crate::trace::{Field, Trace, field};

const SPEC: &str = "ISO 13818-1 §2.4.3.2";
const ADAPTATION: &str = "ISO 13818-1 §2.4.3.4";
static GROUP: Field = field("transport packet", SPEC, "188 bytes of one elementary stream or table.");
static SYNC: Field = field("sync_byte", SPEC, "0x47.");
static ERROR: Field = field("transport_error_indicator", SPEC, "1: a demodulator found a bit error in it.");
static START: Field =
    field("payload_unit_start_indicator", SPEC, "1: a PES packet or a section begins in the payload.");
static PRIORITY: Field = field("transport_priority", SPEC, "1: more important than others of its PID.");
static PID: Field = field("PID", SPEC, "Which stream or table; 0: program association, 8191: filling.");
static SCRAMBLING: Field = field("transport_scrambling_control", SPEC, "0: not scrambled.");
static HAS_ADAPTATION: Field = field("adaptation field present", SPEC, "1: an adaptation field follows.");
static HAS_PAYLOAD: Field = field("payload present", SPEC, "1: payload follows.");
static COUNTER: Field =
    field("continuity_counter", SPEC, "One more in each packet of the PID with payload, modulo 16.");
static FIELD: Field = field("adaptation field", ADAPTATION, "Clock, flags and filling.");
static LENGTH: Field = field("adaptation_field_length", ADAPTATION, "Bytes behind this one.");
static DISCONTINUITY: Field =
    field("discontinuity_indicator", ADAPTATION, "1: clock or counter jump here on purpose.");
static RANDOM_ACCESS: Field =
    field("random_access_indicator", ADAPTATION, "1: decoding can start at what begins here.");
static ES_PRIORITY: Field = field("elementary_stream_priority_indicator", ADAPTATION, "1: intra coded.");
static PCR_FLAG: Field = field("PCR_flag", ADAPTATION, "1: a program clock reference follows.");
static OPCR_FLAG: Field = field("OPCR_flag", ADAPTATION, "1: the clock of the original stream follows.");
static SPLICING_FLAG: Field = field("splicing_point_flag", ADAPTATION, "1: a splice countdown follows.");
static PRIVATE_FLAG: Field = field("transport_private_data_flag", ADAPTATION, "1: private data follow.");
static EXTENSION_FLAG: Field =
    field("adaptation_field_extension_flag", ADAPTATION, "1: an extension of the field follows.");
static PCR: Field = field(
    "program_clock_reference",
    "ISO 13818-1 §2.4.3.5",
    "The sender's clock in ticks of 27 MHz: 300 times the base, and the extension.",
);
static OPCR: Field = field(
    "original_program_clock_reference",
    "ISO 13818-1 §2.4.3.5",
    "The clock of the stream that this one was made of, in ticks of 27 MHz.",
);
static PCR_BASE: Field = field("PCR base", ADAPTATION, "The sender's clock in ticks of 90 kHz.");
static RESERVED: Field = field("reserved", ADAPTATION, "Ones.");
static PCR_EXTENSION: Field = field("PCR extension", ADAPTATION, "Ticks of 27 MHz, 0 to 299.");
static COUNTDOWN: Field =
    field("splice_countdown", ADAPTATION, "Packets of the PID up to a splice, in two's complement.");
static PRIVATE_LENGTH: Field =
    field("transport_private_data_length", ADAPTATION, "Bytes of private data behind this one.");
static PRIVATE: Field = field("private_data", ADAPTATION, "Whatever the sender means by it.");
static EXTENSION_LENGTH: Field =
    field("adaptation_field_extension_length", ADAPTATION, "Bytes of the extension behind this one.");
static EXTENSION: Field =
    field("adaptation field extension", ADAPTATION, "Legal time window, piecewise rate, seamless splice.");
static STUFFING: Field = field("stuffing_byte", ADAPTATION, "0xff, up to the end of the field.");
static FILL: Field = field("rest of the adaptation field", ADAPTATION, "Less than its flags promise.");
static PAYLOAD: Field = field("payload", SPEC, "A piece of a PES packet or of sections.");

/// Bytes of a packet.
pub const PACKET: usize = 188;
/// The first byte of every packet.
pub const SYNC_BYTE: u8 = 0x47;
/// PID of the program association table.
pub const PAT: u16 = 0;
/// PID of packets without meaning.
pub const NULL: u16 = 0x1fff;

/// A packet's adaptation field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdaptationField {
    /// Clock or counter jump here on purpose.
    pub discontinuity: bool,
    /// Decoding can start at what begins in this packet.
    pub random_access: bool,
    /// Program clock reference in ticks of 27 MHz.
    pub pcr: Option<u64>,
}

/// One packet; its payload stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'b> {
    /// A bit error was found in it before.
    pub error: bool,
    /// A PES packet or a section begins in it.
    pub start: bool,
    /// Stream or table.
    pub pid: u16,
    /// 0 where it is not scrambled.
    pub scrambling: u8,
    /// Continuity counter.
    pub counter: u8,
    /// Adaptation field.
    pub adaptation: Option<AdaptationField>,
    /// Payload; none where the packet has none.
    pub payload: Option<&'b [u8]>,
}

impl<'b> Packet<'b> {
    /// Reads the 188 bytes of a packet.
    pub fn decode<T: Trace>(c: &mut Cursor<'b, T>) -> Result<Self> {
        c.group(&GROUP, |c| {
            if c.remaining() < PACKET {
                let got = c.remaining() as u64;
                return Err(c.error(&GROUP, Problem::Short { want: PACKET as u64, got }));
            }
            let behind = c.remaining().saturating_sub(PACKET);
            let sync = c.u8(&SYNC)?;
            if sync != SYNC_BYTE {
                return Err(c.refuse(&SYNC, 1, "0x47", u64::from(sync)));
            }
            let error = c.flag(&ERROR)?;
            let start = c.flag(&START)?;
            c.flag(&PRIORITY)?;
            let pid = (c.bits(&PID, 13)? & 0x1fff) as u16;
            let scrambling = (c.bits(&SCRAMBLING, 2)? & 3) as u8;
            let has_adaptation = c.flag(&HAS_ADAPTATION)?;
            let has_payload = c.flag(&HAS_PAYLOAD)?;
            let counter = (c.bits(&COUNTER, 4)? & 0xf) as u8;
            let adaptation = if has_adaptation { Some(c.group(&FIELD, adaptation_field)?) } else { None };
            let left = c.remaining().saturating_sub(behind);
            let bytes = c.bytes(&PAYLOAD, left)?;
            let payload = has_payload.then_some(bytes);
            Ok(Self { error, start, pid, scrambling, counter, adaptation, payload })
        })
    }

    /// Reads a packet, without a trace.
    pub fn parse(bytes: &'b [u8]) -> Result<Self> {
        Self::decode(&mut Cursor::new(bytes))
    }
}

fn adaptation_field<T: Trace>(c: &mut Cursor<'_, T>) -> Result<AdaptationField> {
    let length = c.u8(&LENGTH)?;
    // With payload it leaves a byte at least, alone it fills the packet.
    if length > 183 {
        return Err(c.refuse(&LENGTH, 1, "at most 183", u64::from(length)));
    }
    let mut read = AdaptationField::default();
    if length == 0 {
        return Ok(read);
    }
    read.discontinuity = c.flag(&DISCONTINUITY)?;
    read.random_access = c.flag(&RANDOM_ACCESS)?;
    c.flag(&ES_PRIORITY)?;
    let has_pcr = c.flag(&PCR_FLAG)?;
    let has_original = c.flag(&OPCR_FLAG)?;
    let has_countdown = c.flag(&SPLICING_FLAG)?;
    let has_private = c.flag(&PRIVATE_FLAG)?;
    let has_extension = c.flag(&EXTENSION_FLAG)?;
    let mut left = usize::from(length.saturating_sub(1));
    if has_pcr {
        if left < 6 {
            return Err(c.error(&PCR_BASE, Problem::Short { want: 6, got: left as u64 }));
        }
        read.pcr = Some(clock(c, &PCR)?);
        left = left.saturating_sub(6);
    }
    // What is promised and does not fit says nothing of the payload: no reason to refuse the packet.
    let mut fits = true;
    if has_original {
        fits = left >= 6;
        if fits {
            clock(c, &OPCR)?;
            left = left.saturating_sub(6);
        }
    }
    if fits && has_countdown {
        fits = left >= 1;
        if fits {
            c.u8(&COUNTDOWN)?;
            left = left.saturating_sub(1);
        }
    }
    let measured = [(has_private, &PRIVATE_LENGTH, &PRIVATE), (has_extension, &EXTENSION_LENGTH, &EXTENSION)];
    for (_, size_field, field) in measured.into_iter().filter(|(present, ..)| *present) {
        let size = c.peek().first().map_or(0, |size| usize::from(*size));
        fits &= left > size;
        if fits {
            c.u8(size_field)?;
            c.bytes(field, size)?;
            left = left.saturating_sub(size).saturating_sub(1);
        }
    }
    if left > 0 {
        c.bytes(if fits { &STUFFING } else { &FILL }, left)?;
    }
    Ok(read)
}

/// A clock of 33 bits at 90 kHz and 9 bits at 27 MHz; in ticks of 27 MHz.
fn clock<T: Trace>(c: &mut Cursor<'_, T>, field: &'static Field) -> Result<u64> {
    c.group(field, |c| {
        let base = c.bits(&PCR_BASE, 33)?;
        c.bits(&RESERVED, 6)?;
        let extension = c.bits(&PCR_EXTENSION, 9)?;
        let ticks = base.saturating_mul(300).saturating_add(extension);
        c.makes(i64::try_from(ticks).unwrap_or(i64::MAX));
        Ok(ticks)
    })
}

/// How packets lie in a stream: 188 bytes each, with a time stamp before them (192), or with Reed-Solomon bytes behind
/// them (204).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Distance from packet to packet.
    pub stride: usize,
    /// Where the first sync byte stands.
    pub offset: usize,
}

/// Packets that have to stand at a distance before they are taken for a stream.
pub const CONFIRM: usize = 4;

/// Distances at which packets lie, the likeliest first.
const STRIDES: [usize; 3] = [PACKET, 192, 204];
/// Bytes between the sync bytes of the first and of the last of [`CONFIRM`] packets, at the largest distance.
pub const REACH: usize = 204 * (CONFIRM - 1);

/// Finds the first [`CONFIRM`] packets in a row at one distance.
pub fn layout(bytes: &[u8]) -> Option<Layout> {
    (0..bytes.len()).find_map(|last| layout_up_to(bytes, last))
}

/// The layout of [`CONFIRM`] packets in a row, the last of which begins at this byte: what is looked for byte by byte is found at
/// the same place however the bytes come.
pub fn layout_up_to(bytes: &[u8], last: usize) -> Option<Layout> {
    let is_sync = |at: usize| bytes.get(at) == Some(&SYNC_BYTE);
    if !is_sync(last) {
        return None;
    }
    STRIDES.into_iter().find_map(|stride| {
        let offset = last.checked_sub(stride.saturating_mul(CONFIRM.saturating_sub(1)))?;
        (offset..last).step_by(stride).all(is_sync).then_some(Layout { stride, offset })
    })
}

/// True where some bytes are whole packets and nothing else, as in a datagram.
pub fn is_packets(bytes: &[u8]) -> bool {
    let (packets, rest) = bytes.as_chunks::<PACKET>();
    rest.is_empty() && !packets.is_empty() && packets.iter().all(|packet| Packet::parse(packet).is_ok())
}
