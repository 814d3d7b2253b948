//! What packets hold of a payload type that nothing explains, told from how they are built.
//!
//! Each payload format is held against all packets of a row: one that breaks a format's rules rules it out, and what
//! only that format makes counts for it. One format has to be left, with enough that speaks for it; else nothing is
//! said. Encrypted payload is nothing: random bytes break every format's rules within a few packets.

use wire::codec::{avc, hevc};

use super::payload::AuBits;
use super::{Packet, Packing};

/// Packets that a format has to fit.
pub(super) const ENOUGH: usize = 16;
/// The fewest that tell anything, where there are no more.
const FEWEST: usize = 3;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) codec: &'static str,
    pub(super) packing: Packing,
    /// Ticks a second where the format fixes them; else 0.
    pub(super) clock: u32,
}

/// How a packet stands to a format: none where it breaks its rules, else what speaks for it.
type Fit = Option<u32>;

/// Looks at packets of one payload type, in the order of their numbers.
pub(super) fn format(packets: &[Packet<'_>]) -> Option<Found> {
    if packets.len() < FEWEST {
        return None;
    }
    let need = u32::try_from(packets.len().min(ENOUGH)).unwrap_or(16);
    let video = |codec, packing| Found { codec, packing, clock: 90_000 };
    let candidates = [
        (video("mpegts", Packing::Ts), ts(packets)),
        (video("h264", Packing::H264), h264(packets)),
        (video("h265", Packing::H265), h265(packets)),
        (video("h266", Packing::H266), h266(packets)),
        (video("av1", Packing::Av1), av1(packets)),
        (video("vp8", Packing::Vp8), vp8(packets)),
        (video("vp9", Packing::Vp9), vp9(packets)),
        (video("mp3", Packing::Mpa), mpa(packets)),
        (Found { codec: "aac", packing: Packing::Aac(HBR), clock: 0 }, aac(packets)),
        (Found { codec: "aac", packing: Packing::Latm, clock: 0 }, latm(packets)),
        (Found { codec: "opus", packing: Packing::OnePerPacket, clock: 48_000 }, opus(packets)),
    ];
    let mut fitting = candidates.into_iter().filter(|(_, fit)| fit.is_some_and(|score| score >= need));
    let (found, _) = fitting.next()?;
    fitting.next().is_none().then_some(found)
}

/// AAC-hbr, the mode that every sender uses (RFC 3640 §3.3.6).
const HBR: AuBits = AuBits { size: 13, index: 3, delta: 3 };

/// Sums what single packets say.
fn each(packets: &[Packet<'_>], mut of: impl FnMut(&[u8]) -> Fit) -> Fit {
    packets.iter().try_fold(0u32, |sum, packet| Some(sum.saturating_add(of(packet.payload)?)))
}

fn follows(before: &Packet<'_>, packet: &Packet<'_>) -> bool {
    packet.number == before.number.wrapping_add(1)
}

fn ts(packets: &[Packet<'_>]) -> Fit {
    each(packets, |payload| wire::ts::is_packets(payload).then_some(1))
}

/// Runs of fragments: a first one, those in the middle, a last one, all of one unit type.
#[derive(Default)]
struct Fragments {
    open: Option<(u16, u8)>,
}

impl Fragments {
    fn packet(&mut self, number: u16, (start, end, kind): (bool, bool, u8)) -> Fit {
        let open = self.open.take().filter(|(last, _)| last.wrapping_add(1) == number);
        // A unit in a single fragment is forbidden; a run goes on with its own type.
        if start && (end || open.is_some()) || open.is_some_and(|(_, of)| of != kind) {
            return None;
        }
        let known = start || open.is_some();
        self.open = (!end).then_some((number, kind));
        Some(if known { 2 } else { 1 })
    }

    /// A packet that is no fragment: none may be open right before it.
    fn other(&mut self, number: u16) -> Option<()> {
        let open = self.open.take().is_some_and(|(last, _)| last.wrapping_add(1) == number);
        (!open).then_some(())
    }
}

/// Units of an aggregation packet, which they fill to the last byte.
fn aggregated(mut rest: &[u8], mut unit: impl FnMut(&[u8]) -> bool) -> Fit {
    let mut units = 0u32;
    while !rest.is_empty() {
        let (size, behind) = rest.split_first_chunk::<2>()?;
        let (nal, next) = behind.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
        if nal.is_empty() || !unit(nal) {
            return None;
        }
        units = units.saturating_add(1);
        rest = next;
    }
    (units > 0).then_some(2)
}

/// Unit types that encoders make: slices, SEI, parameter sets, delimiters, fillers.
fn h264_unit(header: u8) -> bool {
    let (reference, kind) = (header >> 5 & 3, header & 0x1f);
    header & 0x80 == 0
        && match kind {
            1 => true,
            5 | 7 | 8 => reference > 0,
            6 | 9..=12 => reference == 0,
            _ => false,
        }
}

fn h264(packets: &[Packet<'_>]) -> Fit {
    let mut fragments = Fragments::default();
    let mut score = 0u32;
    for packet in packets {
        let (header, rest) = packet.payload.split_first()?;
        let fit = match header & 0x1f {
            28 => {
                let (fu, _) = rest.split_first()?;
                let unit = header & 0xe0 | fu & 0x1f;
                if fu & 0x20 != 0 || !h264_unit(unit) {
                    return None;
                }
                fragments.packet(packet.number, (fu & 0x80 != 0, fu & 0x40 != 0, unit))?
            }
            24 => {
                fragments.other(packet.number)?;
                aggregated(rest, |nal| nal.first().is_some_and(|header| h264_unit(*header)))?
            }
            kind if h264_unit(*header) => {
                fragments.other(packet.number)?;
                let parameters = kind == avc::NalType::SPS.0;
                if parameters && avc::Sps::from_nal(packet.payload).is_err() {
                    return None;
                }
                if parameters { 8 } else { 1 }
            }
            _ => return None,
        };
        score = score.saturating_add(fit);
    }
    Some(score)
}

fn h265(packets: &[Packet<'_>]) -> Fit {
    two_byte_units(packets, &|nal| {
        let [first, second, ..] = nal else { return None };
        let kind = first >> 1 & 0x3f;
        let plain = first & 0x81 == 0 && second >> 3 == 0 && second & 7 > 0;
        (plain && (kind <= 9 || (16..=21).contains(&kind) || (32..=40).contains(&kind) || kind >= 48))
            .then_some(kind)
    })
    .filter(|_| {
        // A sequence parameter set on its own can be read, or this is something else.
        let mut sets = packets.iter().filter(|p| hevc::nal_type(p.payload) == Some(hevc::SPS_TYPE));
        sets.all(|packet| hevc::Sps::from_nal(packet.payload).is_ok())
    })
}

/// H.266 has its unit type in the second byte (RFC 9328 §1.1.4).
fn h266(packets: &[Packet<'_>]) -> Fit {
    two_byte_units(packets, &|nal| {
        let [first, second, ..] = nal else { return None };
        let kind = second >> 3;
        let plain = *first == 0 && second & 7 > 0;
        let kind = match kind {
            28 => 48,
            29 => 49,
            kind => kind,
        };
        (plain && (kind <= 3 || (7..=10).contains(&kind) || (12..=25).contains(&kind) || kind >= 48))
            .then_some(kind)
    })
}

/// Formats with two bytes of unit header, aggregation packets (48) and fragments (49); `kind` reads a header.
fn two_byte_units(packets: &[Packet<'_>], kind: &dyn Fn(&[u8]) -> Option<u8>) -> Fit {
    let mut fragments = Fragments::default();
    let mut score = 0u32;
    for packet in packets {
        let rest = packet.payload.get(2..)?;
        let fit = match kind(packet.payload)? {
            49 => {
                let fu = rest.first()?;
                // The type is six bits wide in H.265 and five with one reserved bit in H.266: both below 64.
                fragments.packet(packet.number, (fu & 0x80 != 0, fu & 0x40 != 0, fu & 0x3f))?
            }
            48 => {
                fragments.other(packet.number)?;
                aggregated(rest, |nal| kind(nal).is_some_and(|kind| kind < 48))?
            }
            50.. => return None,
            _ => {
                fragments.other(packet.number)?;
                1
            }
        };
        score = score.saturating_add(fit);
    }
    Some(score)
}

/// The aggregation header of AV1 says whether its first and last units go on in the neighbours
/// (AOM, RTP payload format for AV1 §4.4).
fn av1(packets: &[Packet<'_>]) -> Fit {
    let mut score = 0u32;
    let mut before: Option<(&Packet<'_>, bool)> = None;
    for packet in packets {
        let (header, rest) = packet.payload.split_first()?;
        let (continues, goes_on, first) = (header & 0x80 != 0, header & 0x40 != 0, header & 8 != 0);
        if header & 7 != 0 || first && continues || goes_on && packet.marker {
            return None;
        }
        if let Some((before, went_on)) = before.filter(|(before, _)| follows(before, packet)) {
            if went_on != continues || before.marker == (before.timestamp == packet.timestamp) {
                return None;
            }
            score = score.saturating_add(1);
        }
        if !continues {
            // The length stands before every element but the last of a known number.
            let sized = header >> 4 & 3 != 1;
            let unit = if sized { rest.get(1..)? } else { rest };
            // A long first element has a length of two bytes or more.
            let unit = if sized && rest.first()? & 0x80 != 0 { rest.get(2..)? } else { unit };
            let obu = unit.first()?;
            let kind = obu >> 3 & 0xf;
            if obu & 0x81 != 0 || !matches!(kind, 1 | 3 | 4 | 5 | 6 | 7 | 15) || first && kind != 1 {
                return None;
            }
            score = score.saturating_add(if first { 4 } else { 0 });
        }
        before = Some((packet, goes_on));
    }
    Some(score.saturating_add(1))
}

/// The payload descriptor of VP8 (RFC 7741 §4.2): the picture's beginning, its number.
fn vp8(packets: &[Packet<'_>]) -> Fit {
    let mut score = 0u32;
    let mut before: Option<(&Packet<'_>, Option<u16>)> = None;
    for packet in packets {
        let descriptor = super::payload::Vp8::read(packet.payload)?;
        let number = descriptor.picture;
        if descriptor.begins {
            let (first, rest) = descriptor.data.split_first()?;
            let key = first & 1 == 0;
            if first >> 1 & 7 > 3 || key && rest.get(2..5) != Some(&[0x9d, 0x01, 0x2a]) {
                return None;
            }
            score = score.saturating_add(if key { 8 } else { 0 });
        }
        if let Some((before, last)) = before.filter(|(before, _)| follows(before, packet)) {
            let same = before.timestamp == packet.timestamp;
            if same == before.marker || same == descriptor.begins || last.is_some() != number.is_some() {
                return None;
            }
            if let (Some(last), Some(number)) = (last, number) {
                let step = number.wrapping_sub(last) & descriptor.mask;
                if step != u16::from(!same) {
                    return None;
                }
                score = score.saturating_add(2);
            }
        }
        before = Some((packet, number));
    }
    Some(score)
}

/// The payload descriptor of VP9 (RFC 9628 §4.2): beginning and end of frames, picture numbers.
fn vp9(packets: &[Packet<'_>]) -> Fit {
    let mut score = 0u32;
    let mut before: Option<(&Packet<'_>, u16, bool)> = None;
    for packet in packets {
        let descriptor = super::payload::Vp9::read(packet.payload)?;
        let (number, mask) = descriptor.picture?;
        if packet.marker && !descriptor.ends {
            return None;
        }
        if let Some((before, last, ended)) = before.filter(|(before, ..)| follows(before, packet)) {
            let same = before.timestamp == packet.timestamp;
            let step = number.wrapping_sub(last) & mask;
            if same == before.marker || ended != descriptor.begins || step != u16::from(!same) {
                return None;
            }
            score = score.saturating_add(2);
        }
        before = Some((packet, number, descriptor.ends));
    }
    Some(score)
}

/// Two bytes of zeros and an offset before frames that begin with their sync word (RFC 2250 §3.5).
fn mpa(packets: &[Packet<'_>]) -> Fit {
    each(packets, |payload| {
        let [0, 0, high, low, data @ ..] = payload else { return None };
        match (*high, *low) {
            (0, 0) => wire::codec::mpa::Header::parse(data).map(|_| 2),
            _ => Some(0),
        }
    })
}

/// Headers of access units whose sizes add up to the payload, or one unit in pieces.
fn aac(packets: &[Packet<'_>]) -> Fit {
    each(packets, |payload| {
        let (bits, rest) = payload.split_first_chunk::<2>()?;
        let bits = usize::from(u16::from_be_bytes(*bits));
        if bits == 0 || !bits.is_multiple_of(16) {
            return None;
        }
        let (headers, data) = rest.split_at_checked(bits / 8)?;
        let mut sum = 0usize;
        let (headers, _) = headers.as_chunks::<2>();
        for header in headers {
            let header = u16::from_be_bytes(*header);
            if header & 7 != 0 {
                return None;
            }
            sum = sum.saturating_add(usize::from(header >> 3));
        }
        let piece = headers.len() == 1 && data.len() < sum && data.len() > 500;
        match sum == data.len() && sum > 0 {
            true => Some(2),
            false => piece.then_some(0),
        }
    })
}

/// Lengths in bytes of 255 and a smaller one, then as much payload (ISO 14496-3 §1.7.3, RFC 6416 §6.1).
fn latm(packets: &[Packet<'_>]) -> Fit {
    each(packets, |payload| {
        let frames = super::payload::latm_frames(payload)?;
        (frames > 0).then_some(1)
    })
}

/// The first byte tells how long the packet's sound lasts, and the timestamps have to step by that (RFC 6716 §3.1).
fn opus(packets: &[Packet<'_>]) -> Fit {
    let mut score = 0u32;
    for pair in packets.windows(2) {
        let [before, packet] = pair else { continue };
        let samples = opus_samples(before.payload)?;
        if follows(before, packet) {
            let step = packet.timestamp.wrapping_sub(before.timestamp);
            if step != samples {
                return None;
            }
            score = score.saturating_add(1);
        }
    }
    let last = packets.last()?;
    opus_samples(last.payload)?;
    Some(score.saturating_add(1))
}

/// Samples at 48 kHz of an Opus packet; none where its head cannot be one.
fn opus_samples(payload: &[u8]) -> Option<u32> {
    let (toc, rest) = payload.split_first()?;
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1920, 2880].get(usize::from(config & 3)).copied()?,
        12..=15 => {
            if config & 1 == 0 {
                480
            } else {
                960
            }
        }
        _ => 120u32 << (config & 3),
    };
    let frames = match toc & 3 {
        0 => 1,
        1 => {
            if !rest.len().is_multiple_of(2) {
                return None;
            }
            2
        }
        2 => 2,
        _ => u32::from(rest.first()? & 0x3f),
    };
    let samples = frame.saturating_mul(frames);
    (1..=5760).contains(&samples).then_some(samples)
}
