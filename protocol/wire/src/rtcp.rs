//! RTCP compound packets (RFC 3550 §6).
//!
//! ```text
//! +--+-+-----+-------+----------------+
//! |V2|P|count|  PT   | length in words minus 1 |   SR 200, RR 201, SDES 202, BYE 203, APP 204
//! +--+-+-----+-------+----------------+
//! SR: SSRC NTP(64) RTP(32) packets(32) octets(32) blocks      RR: SSRC blocks
//! block: SSRC lost/256(8) lost(24) highest(32) jitter(32) last SR(32) delay since it(32)
//! ```

use crate::cursor::Cursor;
use crate::error::{Error, Problem, Result};
use crate::trace::{Field, Trace, field};

const SPEC: &str = "RFC 3550 §6.4.1";
const SDES: &str = "RFC 3550 §6.5";
static SR_GROUP: Field = field("sender report", SPEC, "What a sender sent, and its clock.");
static RR_GROUP: Field = field("receiver report", "RFC 3550 §6.4.2", "What a receiver got.");
static SDES_GROUP: Field = field("source description", SDES, "Who the sources are.");
static BYE_GROUP: Field = field("goodbye", "RFC 3550 §6.6", "Sources that leave.");
static APP_GROUP: Field = field("application packet", "RFC 3550 §6.7", "Private matters.");
static OTHER_GROUP: Field =
    field("RTCP packet", "RFC 3550 §6.1", "Feedback and others (RFC 4585, RFC 3611); passed over.");
static BLOCK_GROUP: Field = field("report block", SPEC, "How one source is received.");
static CHUNK_GROUP: Field = field("SDES chunk", SDES, "Items of one source.");
static VERSION: Field = field("version", SPEC, "2.");
static PADDING: Field =
    field("padding flag", SPEC, "1: bytes without meaning stand at the end of the compound.");
static COUNT: Field = field("count", SPEC, "Blocks, chunks or sources; a subtype or format otherwise.");
static TYPE: Field = field("packet type", SPEC, "200 SR, 201 RR, 202 SDES, 203 BYE, 204 APP.");
static LENGTH: Field = field("length", SPEC, "In words of four bytes, minus 1.");
static SSRC: Field = field("SSRC", SPEC, "Who says it.");
static NTP: Field = field("NTP timestamp", SPEC, "Wall clock: seconds since 1900 in 32.32 fixed point.");
static RTP: Field = field("RTP timestamp", SPEC, "The same instant on the stream's media clock.");
static PACKETS: Field = field("packet count", SPEC, "Sent since the start, modulo 2^32.");
static OCTETS: Field = field("octet count", SPEC, "Payload bytes sent since the start, modulo 2^32.");
static SOURCE: Field = field("source", SPEC, "Who it is about.");
static FRACTION: Field = field("fraction lost", SPEC, "Of the packets since the last report, in 256ths.");
static LOST: Field =
    field("cumulative lost", SPEC, "Packets expected minus received; duplicates make it negative.");
static HIGHEST: Field = field("highest sequence number", SPEC, "With the count of wraps in the upper half.");
static JITTER: Field = field("interarrival jitter", SPEC, "In ticks of the media clock.");
static LAST_SR: Field =
    field("last SR", SPEC, "Middle 32 bits of the NTP timestamp of the last sender report.");
static DELAY: Field = field("delay since last SR", SPEC, "In units of 1/65536 s.");
static PROFILE: Field = field("profile extension", "RFC 3550 §6.4.3", "Further words of a report.");
static ITEM: Field = field("SDES item type", SDES, "1 CNAME, 2 NAME, 6 TOOL; 0 ends the chunk.");
static ITEM_LENGTH: Field = field("SDES item length", SDES, "Bytes of text.");
static TEXT: Field = field("SDES item", SDES, "Text.");
static PAD: Field = field("chunk padding", SDES, "Zeros up to the next word.");
static REASON_LENGTH: Field = field("reason length", "RFC 3550 §6.6", "Bytes of text.");
static REASON: Field = field("reason for leaving", "RFC 3550 §6.6", "Text.");
static NAME: Field = field("APP name", "RFC 3550 §6.7", "Four letters.");
static DATA: Field = field("data", "RFC 3550 §6.1", "As the packet type defines it.");
static FILL: Field = field("padding", SPEC, "Bytes without meaning.");

/// The SDES item every compound packet has to carry (§6.5.1).
pub const CNAME: u8 = 1;

/// A report block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Who it is about.
    pub source: u32,
    /// Packets lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the start, 24 bits with sign.
    pub lost: i32,
    /// Highest sequence number, wraps in the upper half.
    pub highest: u32,
    /// Interarrival jitter in ticks of the media clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP timestamp of the last sender report; 0 before one.
    pub last_sr: u32,
    /// Time since then in units of 1/65536 s.
    pub delay: u32,
}

/// A sender report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderReport {
    /// The sender.
    pub ssrc: u32,
    /// Seconds since 1900 in 32.32 fixed point.
    pub ntp: u64,
    /// The same instant on the media clock.
    pub rtp: u32,
    /// Packets sent.
    pub packets: u32,
    /// Payload bytes sent.
    pub octets: u32,
    /// What it receives itself.
    pub blocks: Vec<Block>,
}

/// One packet of a compound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// SR.
    SenderReport(SenderReport),
    /// RR.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// What it receives.
        blocks: Vec<Block>,
    },
    /// SDES: sources and their items (type, text).
    Sdes(Vec<(u32, Vec<(u8, String)>)>),
    /// BYE.
    Bye {
        /// Who leaves.
        sources: Vec<u32>,
        /// Why.
        reason: Option<String>,
    },
    /// APP.
    App {
        /// Who says it.
        ssrc: u32,
        /// Four letters.
        name: [u8; 4],
    },
    /// Feedback and others.
    Other {
        /// Packet type.
        kind: u8,
    },
}

/// Reads a compound packet. What was read before an error is kept.
pub fn decode<T: Trace>(c: &mut Cursor<'_, T>) -> (Vec<Packet>, Option<Error>) {
    let mut packets = Vec::new();
    while !c.is_empty() {
        match packet(c) {
            Ok(packet) => packets.push(packet),
            Err(error) => return (packets, Some(error)),
        }
    }
    (packets, None)
}

/// As [`decode`], without a trace.
pub fn parse(bytes: &[u8]) -> (Vec<Packet>, Option<Error>) {
    decode(&mut Cursor::new(bytes))
}

fn packet<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Packet> {
    let kind = c.peek().get(1).copied().unwrap_or(0);
    let group = match kind {
        200 => &SR_GROUP,
        201 => &RR_GROUP,
        202 => &SDES_GROUP,
        203 => &BYE_GROUP,
        204 => &APP_GROUP,
        _ => &OTHER_GROUP,
    };
    c.group(group, |c| {
        let version = c.bits(&VERSION, 2)?;
        if version != 2 {
            return Err(c.error(&VERSION, Problem::Value { want: "2", got: version }));
        }
        let padded = c.flag(&PADDING)?;
        let count = c.bits(&COUNT, 5)?;
        let kind = c.u8(&TYPE)?;
        let words = c.u16(&LENGTH)?;
        let size = usize::from(words).saturating_mul(4);
        let end = c.position().saturating_add(size);
        let Some(content) = c.peek().get(..size) else {
            return Err(c.error(&DATA, Problem::Short { want: size as u64, got: c.remaining() as u64 }));
        };
        let padding = if padded { usize::from(content.last().copied().unwrap_or(0)) } else { 0 };
        let fits = |c: &Cursor<'_, T>| end.saturating_sub(padding).saturating_sub(c.position());
        let read = match kind {
            200 => {
                room(c, fits(c), 24_u64.saturating_add(count.saturating_mul(24)))?;
                let mut report = SenderReport {
                    ssrc: c.u32(&SSRC)?,
                    ntp: c.u64(&NTP)?,
                    rtp: c.u32(&RTP)?,
                    packets: c.u32(&PACKETS)?,
                    octets: c.u32(&OCTETS)?,
                    blocks: Vec::new(),
                };
                report.blocks = blocks(c, count)?;
                c.bytes(&PROFILE, fits(c))?;
                Packet::SenderReport(report)
            }
            201 => {
                room(c, fits(c), 4_u64.saturating_add(count.saturating_mul(24)))?;
                let ssrc = c.u32(&SSRC)?;
                let blocks = blocks(c, count)?;
                c.bytes(&PROFILE, fits(c))?;
                Packet::ReceiverReport { ssrc, blocks }
            }
            202 => {
                let mut chunks = Vec::new();
                for _ in 0..count {
                    chunks.push(chunk(c, end.saturating_sub(padding))?);
                }
                c.bytes(&DATA, fits(c))?;
                Packet::Sdes(chunks)
            }
            203 => {
                room(c, fits(c), count.saturating_mul(4))?;
                let sources = (0..count).map(|_| c.u32(&SOURCE)).collect::<Result<_>>()?;
                let mut reason = None;
                if fits(c) > 0 {
                    let length = c.u8(&REASON_LENGTH)?;
                    room(c, fits(c), u64::from(length))?;
                    reason = Some(c.text(&REASON, usize::from(length))?);
                    c.bytes(&PAD, fits(c))?;
                }
                Packet::Bye { sources, reason }
            }
            204 => {
                room(c, fits(c), 8)?;
                let ssrc = c.u32(&SSRC)?;
                let mut name = [0; 4];
                name.copy_from_slice(c.bytes(&NAME, 4)?.first_chunk::<4>().unwrap_or(&[0; 4]));
                c.bytes(&DATA, fits(c))?;
                Packet::App { ssrc, name }
            }
            kind => {
                c.bytes(&DATA, fits(c))?;
                Packet::Other { kind }
            }
        };
        c.bytes(&FILL, end.saturating_sub(c.position()))?;
        Ok(read)
    })
}

/// An error where less is left of the packet than its count needs.
fn room<T: Trace>(c: &Cursor<'_, T>, left: usize, want: u64) -> Result<()> {
    if (left as u64) < want {
        return Err(c.error(&LENGTH, Problem::Short { want, got: left as u64 }));
    }
    Ok(())
}

fn blocks<T: Trace>(c: &mut Cursor<'_, T>, count: u64) -> Result<Vec<Block>> {
    let block = |c: &mut Cursor<'_, T>| {
        c.group(&BLOCK_GROUP, |c| {
            Ok(Block {
                source: c.u32(&SOURCE)?,
                fraction_lost: c.u8(&FRACTION)?,
                lost: c.i24(&LOST)?,
                highest: c.u32(&HIGHEST)?,
                jitter: c.u32(&JITTER)?,
                last_sr: c.u32(&LAST_SR)?,
                delay: c.u32(&DELAY)?,
            })
        })
    };
    (0..count).map(|_| block(c)).collect()
}

fn chunk<T: Trace>(c: &mut Cursor<'_, T>, end: usize) -> Result<(u32, Vec<(u8, String)>)> {
    c.group(&CHUNK_GROUP, |c| {
        let start = c.position();
        room(c, end.saturating_sub(start), 4)?;
        let source = c.u32(&SOURCE)?;
        let mut items = Vec::new();
        while c.position() < end {
            let kind = c.u8(&ITEM)?;
            if kind == 0 {
                // Zeros to the word's end; a chunk always has at least one, which was just read.
                let read = c.position().saturating_sub(start);
                let pad = read.next_multiple_of(4).saturating_sub(read);
                c.bytes(&PAD, pad.min(end.saturating_sub(c.position())))?;
                break;
            }
            room(c, end.saturating_sub(c.position()), 1)?;
            let length = c.u8(&ITEM_LENGTH)?;
            room(c, end.saturating_sub(c.position()), u64::from(length))?;
            items.push((kind, c.text(&TEXT, usize::from(length))?));
        }
        Ok((source, items))
    })
}

impl Packet {
    /// SDES with the canonical name of one source.
    pub fn cname(ssrc: u32, name: &str) -> Self {
        Self::Sdes(vec![(ssrc, vec![(CNAME, name.to_owned())])])
    }

    /// Appends the packet. Others than SR, RR, SDES and BYE are not written.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Self::SenderReport(report) => {
                begin(out, 200, report.blocks.len());
                out.extend_from_slice(&report.ssrc.to_be_bytes());
                out.extend_from_slice(&report.ntp.to_be_bytes());
                for word in [report.rtp, report.packets, report.octets] {
                    out.extend_from_slice(&word.to_be_bytes());
                }
                put_blocks(out, &report.blocks);
            }
            Self::ReceiverReport { ssrc, blocks } => {
                begin(out, 201, blocks.len());
                out.extend_from_slice(&ssrc.to_be_bytes());
                put_blocks(out, blocks);
            }
            Self::Sdes(chunks) => {
                begin(out, 202, chunks.len());
                for (source, items) in chunks.iter().take(31) {
                    let chunk = out.len();
                    out.extend_from_slice(&source.to_be_bytes());
                    for (kind, text) in items {
                        put_text(out, &[*kind], text);
                    }
                    out.push(0);
                    pad(out, chunk);
                }
            }
            Self::Bye { sources, reason } => {
                begin(out, 203, sources.len());
                for source in sources.iter().take(31) {
                    out.extend_from_slice(&source.to_be_bytes());
                }
                if let Some(reason) = reason {
                    put_text(out, &[], reason);
                    pad(out, start);
                }
            }
            Self::App { .. } | Self::Other { .. } => return,
        }
        let words = (out.len().saturating_sub(start) / 4).saturating_sub(1);
        let [high, low] = u16::try_from(words).unwrap_or(u16::MAX).to_be_bytes();
        if let Some([_, _, h, l]) = out.get_mut(start..).and_then(|o| o.first_chunk_mut::<4>()) {
            (*h, *l) = (high, low);
        }
    }
}

/// Writes a compound packet.
pub fn encode_all(packets: &[Packet]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    packets.iter().for_each(|packet| packet.encode(&mut out));
    out
}

fn begin(out: &mut Vec<u8>, kind: u8, count: usize) {
    let count = u8::try_from(count.min(31)).unwrap_or(31);
    out.extend_from_slice(&[0x80 | count, kind, 0, 0]);
}

fn put_blocks(out: &mut Vec<u8>, blocks: &[Block]) {
    for block in blocks.iter().take(31) {
        out.extend_from_slice(&block.source.to_be_bytes());
        let [_, a, b, c] = block.lost.clamp(-0x80_0000, 0x7f_ffff).to_be_bytes();
        out.extend_from_slice(&[block.fraction_lost, a, b, c]);
        for word in [block.highest, block.jitter, block.last_sr, block.delay] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}

fn put_text(out: &mut Vec<u8>, before: &[u8], text: &str) {
    let text = text.as_bytes().get(..text.len().min(255)).unwrap_or_default();
    out.extend_from_slice(before);
    out.push(u8::try_from(text.len()).unwrap_or(255));
    out.extend_from_slice(text);
}

/// Zeros up to a multiple of four bytes from `start`.
fn pad(out: &mut Vec<u8>, start: usize) {
    while !out.len().saturating_sub(start).is_multiple_of(4) {
        out.push(0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::trace::Tree;
    use proptest::prelude::*;

    fn everything() -> Vec<Packet> {
        let block = Block {
            source: 7,
            fraction_lost: 128,
            lost: -3,
            highest: 0x1_ffff,
            jitter: 12,
            last_sr: 0xaabb_ccdd,
            delay: 65_536,
        };
        let report = SenderReport {
            ssrc: 1,
            ntp: 0xe000_0000_8000_0000,
            rtp: 90_000,
            packets: 5,
            octets: 500,
            blocks: vec![block],
        };
        vec![
            Packet::SenderReport(report),
            Packet::ReceiverReport { ssrc: 2, blocks: vec![block, block] },
            Packet::cname(1, "camera@host"),
            Packet::Sdes(vec![(1, vec![(1, "a".into()), (6, "tool".into())]), (2, vec![])]),
            Packet::Bye { sources: vec![1, 2], reason: Some("over".into()) },
            Packet::Bye { sources: vec![1], reason: None },
        ]
    }

    #[test]
    fn a_compound_comes_back() {
        let bytes = encode_all(&everything());
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(parse(&bytes), (everything(), None));
        // SR of 28 + 24 bytes: 12 words behind the first.
        assert_eq!(bytes[..4], [0x81, 200, 0, 12]);
    }

    #[test]
    fn feedback_and_private_packets_are_passed_over() {
        let bytes = [
            0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, // RTPFB
            0x80, 204, 0, 3, 0, 0, 0, 9, b'q', b't', b's', b'i', 1, 2, 3, 4, // APP
            0xa0, 201, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, // RR with padding
        ];
        let (packets, error) = parse(&bytes);
        assert_eq!(error, None);
        assert_eq!(
            packets,
            [
                Packet::Other { kind: 205 },
                Packet::App { ssrc: 9, name: *b"qtsi" },
                Packet::ReceiverReport { ssrc: 3, blocks: vec![] }
            ]
        );
    }

    #[test]
    fn what_does_not_fit_ends_the_compound_and_keeps_the_rest() {
        let mut bytes = encode_all(&[Packet::ReceiverReport { ssrc: 2, blocks: vec![] }]);
        bytes.extend_from_slice(&[0x82, 201, 0, 1, 0, 0, 0, 1]);
        let (packets, error) = parse(&bytes);
        assert_eq!(packets.len(), 1);
        assert_eq!(
            error.unwrap().to_string(),
            "byte 12: length in receiver report: want 52 bytes, 4 are left"
        );
        assert!(parse(&[0x80, 200, 0, 6]).1.unwrap().is_short());
    }

    proptest! {
        #[test]
        fn leaves_tile_whatever_comes(
            cut in 0usize..400, at in 0usize..400, with: u8, random in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut bytes = encode_all(&everything());
            bytes.truncate(cut);
            if let Some(byte) = bytes.get_mut(at) { *byte = with; }
            for bytes in [bytes, random] {
                let mut c = Cursor::traced(&bytes, Tree::default());
                decode(&mut c);
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
}
