//! What the first bytes of a body say: whether they fit a type, which type they are, where the body ends.

use wire::Cursor;
use wire::flv::{CodecId, FourCc, SoundFormat};
use wire::rtmp::message::kind;

use super::laid::Laid;

/// Evidence in a body alone that tells its type, in bits.
const TELLS: u32 = 8;
/// NAL units looked at in one body.
const MAX_UNITS: usize = 64;
/// The longest NAL unit believed.
const MAX_UNIT: u32 = 4 << 20;

/// The type that a body has by its looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Guess {
    pub(super) type_id: u8,
    pub(super) bits: u32,
}

/// Where a body may end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// After one of these many bytes.
    At(Vec<u32>),
    /// More bytes are needed to tell.
    Later,
    /// It does not say.
    Unsaid,
}

/// Evidence in the first bytes of a body of this type, in bits; none where no body of this type begins so.
pub(super) fn body(type_id: u8, length: u32, bytes: &[u8]) -> Option<u32> {
    let bytes = bytes.get(..bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX)))?;
    match (type_id, bytes) {
        (_, []) => Some(0),
        (kind::SET_CHUNK_SIZE, [high, ..]) => (*high == 0).then_some(8),
        (kind::USER_CONTROL, [event, low, ..]) => (*event == 0 && *low < 64).then_some(8),
        (kind::AUDIO, [first, rest @ ..]) => sound(*first, rest),
        (kind::VIDEO, [first, rest @ ..]) => picture(*first, rest),
        (kind::COMMAND_AMF0 | kind::DATA_AMF0, _) => text(bytes),
        (kind::COMMAND_AMF3 | kind::DATA_AMF3, [0, rest @ ..]) => text(rest),
        (kind::COMMAND_AMF3 | kind::DATA_AMF3, _) => text(bytes),
        _ => Some(0),
    }
}

/// False where [`guess`] finds nothing, by the first bytes.
pub(super) fn may_tell(bytes: &[u8]) -> bool {
    match bytes {
        [2, 0, ..] | [0xae | 0xaf, 0 | 1, ..] | [0x20..=0x2f | 0xe0..=0xef, 0xff, ..] => true,
        // An enhanced message names its codec in letters.
        [0x80..=0xff, name @ ..] if name.iter().take(4).all(|letter| (0x20..0x7f).contains(letter)) => true,
        [first, second, ..] => match (first >> 4, first & 0x0f) {
            (1..=5, 7 | 12) => *second <= 2,
            (1..=5, 2) => *second == 0,
            _ => false,
        },
        _ => false,
    }
}

/// The type of a body that shows it.
pub(super) fn guess(bytes: &[u8]) -> Option<Guess> {
    let (&first, rest) = bytes.split_first()?;
    let told = |type_id, bits: Option<u32>| bits.filter(|b| *b >= TELLS).map(|bits| Guess { type_id, bits });
    let video = || {
        // Composition time, then the version of a configuration, or the length and header of a NAL unit.
        let good = match (first & 0x8f, rest) {
            (7 | 12, [0, 0, 0, 0, version, ..]) => *version < 2,
            (7 | 12, [1, 0 | 0xff, _, _, unit @ ..]) => units_begin(unit),
            (7 | 12, [2, 0, 0, 0, ..]) => true,
            (7 | 12, [_, _, _, _, ..]) => false,
            _ => true,
        };
        told(kind::VIDEO, picture(first, rest).filter(|_| good))
    };
    let script = || {
        let data = [&b"onMetaData"[..], b"@setDataFrame", b"|RtmpSampleAccess", b"onTextData", b"onCuePoint"];
        let name = bytes.get(3..)?;
        let type_id =
            if data.iter().any(|d| name.starts_with(d)) { kind::DATA_AMF0 } else { kind::COMMAND_AMF0 };
        // A long name is no chance.
        let letters = u32::from(*bytes.get(2)?).min(20);
        told(type_id, text(bytes).map(|bits| bits.saturating_add(letters)))
    };
    let audio = || {
        let good = match (SoundFormat(first >> 4), rest) {
            // Other flags than these are too rare with AAC to be worth what they cost in chance. No frame begins with
            // its end, and no configuration without an object type.
            (SoundFormat::AAC, [packet_type, next, ..]) => {
                first >= 0xae && if *packet_type == 1 { *next < 0xe0 } else { *next >= 8 }
            }
            (SoundFormat::MP3 | SoundFormat::MP3_8K, rest) => mpeg_frame(rest.first_chunk::<3>()?).is_some(),
            _ => true,
        };
        told(kind::AUDIO, sound(first, rest).filter(|_| good))
    };
    audio().or_else(video).or_else(script)
}

/// The type that a body most likely has, where something stands that must be one.
pub(super) fn weak_guess(bytes: &[u8]) -> Option<Guess> {
    guess(bytes).or_else(|| {
        let (&first, _) = bytes.split_first()?;
        let (high, low) = (first >> 4, first & 0x0f);
        if matches!(high, 1..=3) && matches!(low, 3..=6) {
            return Some(Guess { type_id: kind::VIDEO, bits: 2 });
        }
        matches!(high, 0 | 3..=8 | 11).then_some(Guess { type_id: kind::AUDIO, bits: 1 })
    })
}

/// Where a body ends by what it says itself.
pub(super) fn ends(type_id: u8, laid: &Laid<'_>) -> Ends {
    let byte = |at| laid.byte(at);
    let (Some(first), Some(second)) = (byte(0), byte(1)) else { return Ends::Later };
    match type_id {
        kind::AUDIO if matches!(SoundFormat(first >> 4), SoundFormat::MP3 | SoundFormat::MP3_8K) => {
            let header = [byte(1), byte(2), byte(3)];
            let [Some(one), Some(two), Some(three)] = header else { return Ends::Later };
            mpeg_frame(&[one, two, three]).map_or(Ends::Unsaid, |n| Ends::At(vec![n.saturating_add(1)]))
        }
        kind::VIDEO if first & 0x80 == 0 => match (CodecId(first & 0x0f), second) {
            (CodecId::AVC | CodecId::HEVC, 1) => units(laid, 5),
            (CodecId::AVC | CodecId::HEVC, 2) => Ends::At(vec![5]),
            _ => Ends::Unsaid,
        },
        // Coded frames with and without a composition time.
        kind::VIDEO if matches!(first & 0x0f, 1 | 3) => {
            let named = [byte(1), byte(2), byte(3), byte(4)];
            let [Some(a), Some(b), Some(c), Some(d)] = named else { return Ends::Later };
            match (FourCc([a, b, c, d]), first & 0x0f) {
                (FourCc::AVC1 | FourCc::HVC1 | FourCc::VVC1, 1) => units(laid, 8),
                (FourCc::AVC1 | FourCc::HVC1 | FourCc::VVC1, _) => units(laid, 5),
                _ => Ends::Unsaid,
            }
        }
        _ => Ends::Unsaid,
    }
}

/// The ends of the NAL units that follow each other from a place on, each behind its length.
fn units(laid: &Laid<'_>, from: u32) -> Ends {
    let (mut at, mut ends) = (from, Vec::new());
    while ends.len() < MAX_UNITS {
        let mut length = 0u32;
        for place in at..at.saturating_add(4) {
            let Some(byte) = laid.byte(place) else {
                return if ends.is_empty() { Ends::Later } else { Ends::At(ends) };
            };
            length = length << 8 | u32::from(byte);
        }
        at = at.saturating_add(4);
        if !(1..=MAX_UNIT).contains(&length) || laid.byte(at).is_some_and(|head| head & 0x80 != 0) {
            break;
        }
        at = at.saturating_add(length);
        ends.push(at);
    }
    if ends.is_empty() { Ends::Unsaid } else { Ends::At(ends) }
}

/// True where a NAL unit behind its length may begin.
fn units_begin(bytes: &[u8]) -> bool {
    let Some(length) = bytes.first_chunk::<4>().map(|four| u32::from_be_bytes(*four)) else { return true };
    (1..=MAX_UNIT).contains(&length) && bytes.get(4).is_none_or(|head| head & 0x80 == 0)
}

fn sound(first: u8, rest: &[u8]) -> Option<u32> {
    match (SoundFormat(first >> 4), rest) {
        (SoundFormat(9), _) => fourcc(first & 0x0f, rest),
        (SoundFormat(12 | 13), _) => None,
        (SoundFormat::AAC, [0 | 1, ..]) => Some(if first == 0xaf { 12 } else { 8 }),
        (SoundFormat::AAC, [_, ..]) => None,
        (SoundFormat::MP3 | SoundFormat::MP3_8K, [0xff, second, ..]) if *second >= 0xe0 => Some(12),
        _ => Some(2),
    }
}

fn picture(first: u8, rest: &[u8]) -> Option<u32> {
    if first & 0x80 != 0 {
        return if first >> 4 & 7 == 0 { None } else { fourcc(first & 0x0f, rest) };
    }
    let (frame, codec) = (first >> 4, first & 0x0f);
    if !(1..=5).contains(&frame) {
        return None;
    }
    match (codec, rest) {
        // Video information frames say what they want.
        _ if frame == 5 => Some(0),
        (7 | 12, [0..=2, ..]) => Some(if matches!(first, 0x17 | 0x27 | 0x1c | 0x2c) { 12 } else { 9 }),
        // The start code of a Sorenson H.263 picture.
        (2, [0, 0, third, ..]) if third & 0x80 != 0 => Some(18),
        (7 | 12, []) | (1..=6 | 8..=10 | 13 | 14, _) => Some(2),
        _ => None,
    }
}

/// The first packet of an enhanced message names its codec.
fn fourcc(packet_type: u8, rest: &[u8]) -> Option<u32> {
    // Multitrack and ModEx say more before the codec.
    if packet_type > 5 {
        return (packet_type < 8).then_some(1);
    }
    let Some(four) = rest.first_chunk::<4>() else { return Some(0) };
    FourCc::from(u32::from_be_bytes(*four)).codec().map(|_| 24)
}

/// A name as AMF0 writes one.
fn text(bytes: &[u8]) -> Option<u32> {
    let &[2, 0, length, ref rest @ ..] = bytes else {
        return (bytes.len() < 3 && bytes.first() == Some(&2)).then_some(0);
    };
    let name = rest.get(..rest.len().min(usize::from(length)))?;
    let good = !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
    good.then_some(12)
}

/// Bytes of the MPEG audio frame that begins so (ISO 11172-3 §2.4.2.3, ISO 13818-3 §2.4.2.3); none where none does.
fn mpeg_frame(bytes: &[u8; 3]) -> Option<u32> {
    static BITS: wire::Field = wire::trace::field("frame header", "ISO 11172-3 §2.4.2.3", "MPEG audio.");
    let mut c = Cursor::new(bytes);
    let mut take = |bits: u32| c.bits(&BITS, bits).ok().and_then(|n| usize::try_from(n).ok());
    take(8).filter(|sync| *sync == 0xff)?;
    take(3).filter(|sync| *sync == 7)?;
    let (version, layer) = (take(2)?, take(2)?);
    take(1)?;
    let (rate_index, frequency_index, padding) = (take(4)?, take(2)?, u32::try_from(take(1)?).ok()?);
    // Layer III only: no program puts another one into RTMP.
    if layer != 1 || version == 1 {
        return None;
    }
    const FIRST: [u32; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    const SECOND: [u32; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let rates = if version == 3 { FIRST } else { SECOND };
    let rate = rates.get(rate_index).copied().filter(|rate| *rate > 0)?;
    let base = [44_100u32, 48_000, 32_000].get(frequency_index).copied()?;
    let (samples_by_8, shift) = match version {
        3 => (144u32, 0),
        2 => (72, 1),
        _ => (72, 2),
    };
    let length = samples_by_8.saturating_mul(rate).saturating_mul(1000).checked_div(base >> shift)?;
    Some(length.saturating_add(padding))
}
