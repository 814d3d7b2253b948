//! Writes pcapng blocks into a byte vector, in little-endian order with nanosecond timestamps.
//!
//! Call [`section_header`] once, [`interface`] once for each interface (they number themselves from 0), then
//! [`packet`] as often as wanted, and [`statistics`] at the end of the capture.

use super::{BYTE_ORDER_MAGIC, ENHANCED_PACKET, INTERFACE, MAX_BLOCK, SECRETS, SECTION_HEADER, STATISTICS};

const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;

const SHB_HARDWARE: u16 = 2;
const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;

const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;

const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
const ISB_FILTERACCEPT: u16 = 6;
const ISB_OSDROP: u16 = 7;
const ISB_USRDELIV: u16 = 8;

/// Type, both lengths, and the fixed fields of an enhanced packet block.
const PACKET_OVERHEAD: u32 = 32;

/// TLS key log lines (`SSLKEYLOGFILE`) in a [`decryption_secrets`] block.
pub const TLS_KEY_LOG: u32 = 0x544c_534b;

/// What a section header says about its writer.
#[derive(Clone, Copy, Debug, Default)]
pub struct SectionOptions<'a> {
    /// `shb_hardware`: the machine's processor.
    pub hardware: Option<&'a str>,
    /// `shb_os`: the operating system.
    pub os: Option<&'a str>,
    /// `shb_userappl`: the program that wrote the section.
    pub user_appl: Option<&'a str>,
    /// `opt_comment`: a sentence for readers.
    pub comment: Option<&'a str>,
}

/// What an interface description says.
#[derive(Clone, Copy, Debug, Default)]
pub struct InterfaceOptions<'a> {
    /// LINKTYPE_ number: 1 for Ethernet, 101 for raw IP.
    pub link_type: u16,
    /// Most bytes kept of a packet; 0 for no limit.
    pub snap_len: u32,
    /// `if_name`.
    pub name: Option<&'a str>,
    /// `if_description`.
    pub description: Option<&'a str>,
    /// `opt_comment`.
    pub comment: Option<&'a str>,
}

/// Counters of an interface at the end of a capture; what is not known is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    /// When the counters were read, nanoseconds since 1970.
    pub time_ns: u64,
    /// `isb_starttime`: when the capture began, nanoseconds since 1970.
    pub start_ns: Option<u64>,
    /// `isb_endtime`: when the capture ended, nanoseconds since 1970.
    pub end_ns: Option<u64>,
    /// `isb_ifrecv`: packets that passed the interface.
    pub received: Option<u64>,
    /// `isb_ifdrop`: packets dropped for want of buffer space.
    pub dropped: Option<u64>,
    /// `isb_filteraccept`: packets the filter let through.
    pub accepted: Option<u64>,
    /// `isb_osdrop`: packets the operating system dropped.
    pub os_dropped: Option<u64>,
    /// `isb_usrdeliv`: packets delivered to the file.
    pub delivered: Option<u64>,
}

/// Appends a section header block: begins a file, or a new section in it. The section's length is left open,
/// as for any file that is still being written.
pub fn section_header(out: &mut Vec<u8>, options: &SectionOptions<'_>) {
    block(out, SECTION_HEADER, |out| {
        out.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
        out.extend_from_slice(&1u16.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        out.extend_from_slice(&u64::MAX.to_le_bytes());
        let mut any = text(out, COMMENT, options.comment);
        any |= text(out, SHB_HARDWARE, options.hardware);
        any |= text(out, SHB_OS, options.os);
        any |= text(out, SHB_USERAPPL, options.user_appl);
        end_of_options(out, any);
    });
}

/// Appends an interface description block. The first one of a section is interface 0.
pub fn interface(out: &mut Vec<u8>, options: &InterfaceOptions<'_>) {
    block(out, INTERFACE, |out| {
        out.extend_from_slice(&options.link_type.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&options.snap_len.to_le_bytes());
        text(out, COMMENT, options.comment);
        text(out, IF_NAME, options.name);
        text(out, IF_DESCRIPTION, options.description);
        option(out, IF_TSRESOL, &[9]);
        end_of_options(out, true);
    });
}

/// Appends an enhanced packet block. `captured` are the pieces of what is kept of the packet, front to back;
/// `orig_len` is its length on the wire. Data beyond [`MAX_BLOCK`] is cut off.
pub fn packet(out: &mut Vec<u8>, interface_id: u32, time_ns: u64, captured: &[&[u8]], orig_len: u32) {
    let mut room = usize::try_from(MAX_BLOCK.saturating_sub(PACKET_OVERHEAD)).unwrap_or(0);
    let total = captured.iter().fold(0usize, |n, piece| n.saturating_add(piece.len())).min(room);
    let captured_len = u32::try_from(total).unwrap_or(0);
    out.reserve(total.saturating_add(40));
    block(out, ENHANCED_PACKET, |out| {
        out.extend_from_slice(&interface_id.to_le_bytes());
        timestamp(out, time_ns);
        out.extend_from_slice(&captured_len.to_le_bytes());
        out.extend_from_slice(&orig_len.max(captured_len).to_le_bytes());
        for piece in captured {
            let piece = piece.get(..room.min(piece.len())).unwrap_or_default();
            out.extend_from_slice(piece);
            room = room.saturating_sub(piece.len());
        }
        pad(out, total);
    });
}

/// Appends an interface statistics block.
pub fn statistics(out: &mut Vec<u8>, interface_id: u32, counters: &Statistics) {
    block(out, STATISTICS, |out| {
        out.extend_from_slice(&interface_id.to_le_bytes());
        timestamp(out, counters.time_ns);
        let mut any = false;
        for (code, time) in [(ISB_STARTTIME, counters.start_ns), (ISB_ENDTIME, counters.end_ns)] {
            if let Some(time) = time {
                let mut value = Vec::with_capacity(8);
                timestamp(&mut value, time);
                option(out, code, &value);
                any = true;
            }
        }
        for (code, count) in [
            (ISB_IFRECV, counters.received),
            (ISB_IFDROP, counters.dropped),
            (ISB_FILTERACCEPT, counters.accepted),
            (ISB_OSDROP, counters.os_dropped),
            (ISB_USRDELIV, counters.delivered),
        ] {
            if let Some(count) = count {
                option(out, code, &count.to_le_bytes());
                any = true;
            }
        }
        end_of_options(out, any);
    });
}

/// Appends a decryption secrets block, for example of type [`TLS_KEY_LOG`]. It has to come before the packets
/// that need it. Secrets beyond [`MAX_BLOCK`] are cut off.
pub fn decryption_secrets(out: &mut Vec<u8>, secrets_type: u32, secrets: &[u8]) {
    let room = usize::try_from(MAX_BLOCK.saturating_sub(PACKET_OVERHEAD)).unwrap_or(0);
    let secrets = secrets.get(..room.min(secrets.len())).unwrap_or_default();
    block(out, SECRETS, |out| {
        out.extend_from_slice(&secrets_type.to_le_bytes());
        out.extend_from_slice(&u32::try_from(secrets.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(secrets);
        pad(out, secrets.len());
    });
}

/// Writes type, body and both lengths.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    let total = out.len().saturating_sub(start).saturating_add(4);
    let total = u32::try_from(total).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&total);
    let field = start.saturating_add(4)..start.saturating_add(8);
    if let Some(length) = out.get_mut(field) {
        length.copy_from_slice(&total);
    }
}

/// A timestamp is two 32 bit words, the high one first in either byte order.
fn timestamp(out: &mut Vec<u8>, time_ns: u64) {
    let word = |v: u64| u32::try_from(v & 0xffff_ffff).unwrap_or(0).to_le_bytes();
    out.extend_from_slice(&word(time_ns >> 32));
    out.extend_from_slice(&word(time_ns));
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    let value = value.get(..usize::from(length)).unwrap_or_default();
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

fn text(out: &mut Vec<u8>, code: u16, value: Option<&str>) -> bool {
    if let Some(value) = value {
        let longest = usize::from(u16::MAX).min(value.len());
        let end = (0..=longest).rev().find(|end| value.is_char_boundary(*end)).unwrap_or(0);
        option(out, code, value.as_bytes().get(..end).unwrap_or_default());
    }
    value.is_some()
}

fn end_of_options(out: &mut Vec<u8>, any: bool) {
    if any {
        option(out, END_OF_OPTIONS, &[]);
    }
}

fn pad(out: &mut Vec<u8>, written: usize) {
    let padding = written.wrapping_neg() & 3;
    out.resize(out.len().saturating_add(padding), 0);
}
