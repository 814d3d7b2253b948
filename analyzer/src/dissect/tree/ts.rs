//! Packets of a transport stream, and what begins in their payload.

use wire::trace::field;
use wire::ts::{PACKET, Packet, Pes, RATE, Section, is_packets};
use wire::{Cursor, Field, Result, Trace};

use super::Part;
use crate::dissect::provenance::Provenance;

const PSI: &str = "ISO 13818-1 §2.4.4.1";
static MORE: Field = field("more", "", "What is not shown packet by packet.");
static POINTER: Field = field("pointer_field", PSI, "Bytes before the first section that begins here.");
static BEFORE: Field = field("end of a section", PSI, "Of the one that began in a packet before.");
static BEGINNING: Field = field("beginning of a section", PSI, "It goes on in the next packet of the PID.");
static STUFFING: Field = field("stuffing_byte", PSI, "0xff, up to the end of the packet.");
static PIECE: Field =
    field("elementary stream", "ISO 13818-1 §2.4.3.7", "A piece of what the PES packet carries.");

/// Packets shown one by one: more than a datagram holds.
const MAX_SHOWN: usize = 352;
/// The clock of PCRs, in Hz.
pub const CLOCK: u64 = 27_000_000;

/// What begins in the payload of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// A PES packet.
    Pes,
    /// A section; here the id of the first table that begins.
    Section(u8),
}

impl Begins {
    /// What begins in a packet, where something does and is not scrambled. A PES packet has its start code there; a
    /// section cannot, for a program association table of one byte is none.
    pub fn of(packet: &Packet<'_>) -> Option<Self> {
        let payload = packet.payload.filter(|_| packet.start && packet.scrambling == 0)?;
        if payload.starts_with(&[0, 0, 1]) {
            return Some(Self::Pes);
        }
        let (pointer, behind) = payload.split_first()?;
        behind.get(usize::from(*pointer)).map(|table| Self::Section(*table))
    }
}

/// A table as Wireshark calls it.
pub fn table_name(table: u8) -> &'static str {
    match table {
        0x00 => "Program Association Table (PAT)",
        0x01 => "Conditional Access Table (CAT)",
        0x02 => "Program Map Table (PMT)",
        0x40 | 0x41 => "Network Information Table (NIT)",
        0x42 | 0x46 => "Service Description Table (SDT)",
        0x4a => "Bouquet Association Table (BAT)",
        0x4e..=0x6f => "Event Information Table (EIT)",
        0x70 => "Time and Date Table (TDT)",
        0x73 => "Time Offset Table (TOT)",
        0xfc => "SCTE-35 Splice Information",
        _ => "another table",
    }
}

/// A stream id of PES packets as Wireshark calls it (table 2-22).
pub fn stream_name(id: u8) -> &'static str {
    match id {
        0xbc => "program-stream-map",
        0xbd => "private-stream-1",
        0xbe => "padding-stream",
        0xbf => "private-stream-2",
        0xc0..=0xdf => "audio-stream",
        0xe0..=0xef => "video-stream",
        0xf0 => "ECM-stream",
        0xf1 => "EMM-stream",
        0xf2 => "DSMCC-stream",
        0xfd => "extended-stream",
        0xff => "program-stream-directory",
        _ => "other-stream",
    }
}

/// True where an RTP payload is packets: one alone may be anything, unless its type says so (RFC 3551 §5.7).
pub fn in_rtp(payload_type: u8, encoding: Option<&str>, payload: &[u8]) -> bool {
    let named = || payload_type == 33 || encoding.is_some_and(|name| name.eq_ignore_ascii_case("MP2T"));
    is_packets(payload) && (payload.len() >= 2 * PACKET || named())
}

/// Parts of bytes that are packets: these, then what begins in each.
pub fn parts(bytes: &[u8], origin: &Provenance) -> Vec<Part> {
    let count = bytes.len() / PACKET;
    let title = format!("MPEG transport stream, {count} packet{}", if count == 1 { "" } else { "s" });
    let (part, _) = Part::read(title, bytes, origin.clone(), |c| {
        for _ in 0..count.clamp(1, MAX_SHOWN) {
            Packet::decode(c)?;
        }
        if count > MAX_SHOWN {
            c.rest(&MORE);
        }
        Ok(())
    });
    let mut parts = vec![part];
    for packet in bytes.chunks_exact(PACKET).take(MAX_SHOWN).map_while(|bytes| Packet::parse(bytes).ok()) {
        let clock = packet.adaptation.and_then(|field| field.pcr);
        if let (Some(clock), Some(whole)) = (clock, parts.first_mut()) {
            whole.note("clock", format!("PID {}: {} s", packet.pid, Ticks(clock, CLOCK)));
        }
        let (Some(begins), Some(payload)) = (Begins::of(&packet), packet.payload) else { continue };
        let start = payload.as_ptr().addr().saturating_sub(bytes.as_ptr().addr()) as u64;
        let origin = origin.slice(start..start.saturating_add(payload.len() as u64));
        parts.push(self::payload(packet.pid, begins, payload, origin).at(1));
    }
    parts
}

fn payload(pid: u16, begins: Begins, bytes: &[u8], origin: Provenance) -> Part {
    match begins {
        Begins::Section(table) => {
            Part::read(format!("PID {pid}: {}", table_name(table)), bytes, origin, sections).0
        }
        Begins::Pes => {
            let stream = bytes.get(3).copied().unwrap_or(0);
            let title = format!("PID {pid}: PES packet, {}", stream_name(stream));
            let (mut part, read) = Part::read(title, bytes, origin, |c| {
                let pes = Pes::decode(c)?;
                if !c.is_empty() {
                    c.rest(&PIECE);
                }
                Ok(pes)
            });
            for (label, time) in read.map_or([("PTS", None); 2], |pes| [("PTS", pes.pts), ("DTS", pes.dts)]) {
                if let Some(time) = time {
                    part.note(label, format!("{} s", Ticks(time, u64::from(RATE))));
                }
            }
            part
        }
    }
}

/// Reads the payload of a packet in which a section begins (§2.4.4).
fn sections<T: Trace>(c: &mut Cursor<'_, T>) -> Result<()> {
    let before = usize::from(c.u8(&POINTER)?);
    if before > 0 {
        c.bytes(&BEFORE, before)?;
    }
    while let [table, rest @ ..] = c.peek() {
        let length = match rest {
            _ if *table == 0xff => {
                c.rest(&STUFFING);
                break;
            }
            [high, low, ..] => usize::from(u16::from_be_bytes([high & 0xf, *low])).saturating_add(3),
            _ => usize::MAX,
        };
        if length > c.remaining() {
            c.rest(&BEGINNING);
            break;
        }
        Section::decode(c)?;
    }
    Ok(())
}

/// Ticks of a clock, in seconds to the microsecond.
#[derive(Clone, Copy, Debug)]
pub struct Ticks(pub u64, pub u64);

impl std::fmt::Display for Ticks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micro = u128::from(self.0).saturating_mul(1_000_000).checked_div(u128::from(self.1)).unwrap_or(0);
        write!(f, "{}.{:06}", micro / 1_000_000, micro % 1_000_000)
    }
}
