//! What an RTP packet carries, as far as counting needs it: pictures, key pictures, audio frames.

use wire::codec::{avc, hevc, mpa};

mod descriptors;

pub(super) use descriptors::{Vp8, Vp9, latm_frames};

/// Bits of the AU header sections of MPEG-4 audio (RFC 3640 §3.2.1), from the session description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuBits {
    /// Of the size.
    pub size: u32,
    /// Of the first index.
    pub index: u32,
    /// Of the following ones.
    pub delta: u32,
}

/// How a payload type is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// RFC 9328.
    H266,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// The Alliance for Open Media's payload format of AV1.
    Av1,
    /// RFC 3640.
    Aac(AuBits),
    /// MP4A-LATM without its configuration (RFC 6416).
    Latm,
    /// MPEG audio of layer I to III (RFC 2250).
    Mpa,
    /// Transport stream packets (RFC 2250).
    Ts,
    /// Every packet holds one frame.
    OnePerPacket,
    /// Packets of one timestamp are one frame.
    #[default]
    OnePerTimestamp,
}

/// What one packet adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content<'b> {
    /// Part of a picture, or of a frame of a codec that is not looked into.
    pub(super) picture: bool,
    /// Part of a picture that decoding can start at.
    pub(super) key: bool,
    /// Audio frames in it.
    pub(super) sounds: u32,
    /// A piece of an audio frame that is larger than a packet.
    pub(super) fragment: bool,
    /// A sequence parameter set.
    pub(super) sps: Option<&'b [u8]>,
    /// The first audio frame where it is whole.
    pub(super) sound: Option<&'b [u8]>,
    /// Width and height of the picture that begins here.
    pub(super) size: Option<(u32, u32)>,
    /// The header of the first MPEG audio frame.
    pub(super) mpeg: Option<mpa::Header>,
}

/// Looks into a payload.
pub(super) fn look<'b>(packing: Packing, payload: &'b [u8]) -> Content<'b> {
    match packing {
        Packing::H264 => h264(payload),
        Packing::H265 => h265(payload),
        Packing::H266 => h266(payload),
        Packing::Vp8 => descriptors::vp8(payload),
        Packing::Vp9 => descriptors::vp9(payload),
        Packing::Av1 => descriptors::av1(payload),
        Packing::Aac(bits) => aac(bits, payload),
        Packing::Latm => descriptors::latm(payload),
        Packing::Mpa => descriptors::mpeg_audio(payload),
        // Its frames are counted where its packets are taken apart.
        Packing::Ts => Content::default(),
        Packing::OnePerPacket => Content { sounds: 1, ..Content::default() },
        Packing::OnePerTimestamp => Content { picture: true, ..Content::default() },
    }
}

/// NAL unit types above these are packets of several units or of a part of one (RFC 6184 §5.2).
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// The same of H.265 (RFC 7798 §4.4).
const AP: u8 = 48;
const FU: u8 = 49;

fn h264(payload: &[u8]) -> Content<'_> {
    let mut content = Content::default();
    let mut unit = |kind: u8, nal: &'_ [u8]| {
        let kind = avc::NalType(kind);
        content.picture |= kind.is_vcl();
        content.key |= kind == avc::NalType::IDR;
        kind == avc::NalType::SPS && !nal.is_empty()
    };
    let mut sps = None;
    if let [first, rest @ ..] = payload {
        match first & 0x1f {
            STAP_A => aggregated(rest, |nal| {
                if unit(nal.first().copied().unwrap_or(0) & 0x1f, nal) {
                    sps = Some(nal);
                }
            }),
            FU_A => {
                unit(rest.first().copied().unwrap_or(0) & 0x1f, &[]);
            }
            kind => {
                if unit(kind, payload) {
                    sps = Some(payload);
                }
            }
        }
    }
    Content { sps, ..content }
}

fn h265(payload: &[u8]) -> Content<'_> {
    let mut content = Content::default();
    let mut unit = |kind: u8| {
        content.picture |= hevc::is_vcl(kind);
        content.key |= hevc::is_random_access(kind);
        kind == hevc::SPS_TYPE
    };
    let mut sps = None;
    let kind = |nal: &[u8]| nal.first().map_or(u8::MAX, |b| b >> 1 & 0x3f);
    match (kind(payload), payload.get(2..)) {
        (AP, Some(rest)) => aggregated(rest, |nal| {
            if unit(kind(nal)) {
                sps = Some(nal);
            }
        }),
        (FU, Some([header, ..])) => {
            unit(header & 0x3f);
        }
        (AP | FU, _) => {}
        (whole, _) => {
            if unit(whole) {
                sps = Some(payload);
            }
        }
    }
    Content { sps, ..content }
}

/// Unit types of H.266: slices up to 11, of which 7 to 9 can be decoded on their own, and 10 with them (RFC 9328 §1.1.4).
fn h266(payload: &[u8]) -> Content<'_> {
    let mut content = Content::default();
    let mut unit = |kind: u8| {
        content.picture |= kind <= 11;
        content.key |= (7..=10).contains(&kind);
    };
    match payload {
        [_, second, rest @ ..] if second >> 3 == 28 => {
            aggregated(rest, |nal| unit(nal.get(1).map_or(u8::MAX, |b| b >> 3)));
        }
        [_, second, fu, ..] if second >> 3 == 29 => unit(fu & 0x1f),
        [_, second, ..] => unit(second >> 3),
        _ => {}
    }
    content
}

/// Units with 16 bits of length before each.
fn aggregated<'b>(mut rest: &'b [u8], mut unit: impl FnMut(&'b [u8])) {
    while let Some((&[high, low], behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        // A length beyond the packet leaves what there is of the unit.
        let (nal, next) = behind.split_at(length.min(behind.len()));
        if !nal.is_empty() {
            unit(nal);
        }
        rest = next;
    }
}

fn aac(bits: AuBits, payload: &[u8]) -> Content<'_> {
    let none = Content::default();
    let Some((&[high, low], rest)) = payload.split_first_chunk::<2>() else { return none };
    let total = u32::from(u16::from_be_bytes([high, low]));
    let first = bits.size.saturating_add(bits.index);
    let others = bits.size.saturating_add(bits.delta);
    if first == 0 || total < first {
        return none;
    }
    let more = total.saturating_sub(first).checked_div(others).unwrap_or(0);
    let head = usize::try_from(total.div_ceil(8)).unwrap_or(usize::MAX);
    let Some(data) = rest.get(head..) else { return none };
    let size = usize::try_from(leading(rest, bits.size)).unwrap_or(usize::MAX);
    let fragment = more == 0 && size > data.len();
    Content {
        sounds: if fragment { 0 } else { more.saturating_add(1) },
        fragment,
        sound: if fragment { None } else { data.get(..size) },
        ..none
    }
}

/// The first `bits` of some bytes as a number, at most 32.
fn leading(bytes: &[u8], bits: u32) -> u64 {
    let bits = bits.min(32);
    let word = bytes.iter().chain([0; 5].iter()).take(5).fold(0u64, |word, b| word << 8 | u64::from(*b));
    word.checked_shr(40u32.saturating_sub(bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264_of(payload: &[u8]) -> (bool, bool, Option<&[u8]>) {
        let content = look(Packing::H264, payload);
        (content.picture, content.key, content.sps)
    }

    #[test]
    fn nal_units_are_found_in_all_three_kinds_of_packets() {
        assert_eq!(h264_of(&[0x65, 1, 2]), (true, true, None));
        assert_eq!(h264_of(&[0x41, 1, 2]), (true, false, None));
        assert_eq!(h264_of(&[0x67, 1]), (false, false, Some(&[0x67, 1][..])));
        let stap = [0x78, 0, 2, 0x67, 9, 0, 1, 0x68, 0, 2, 0x65, 7];
        assert_eq!(h264_of(&stap), (true, true, Some(&[0x67, 9][..])));
        assert_eq!(h264_of(&[0x7c, 0x05, 1]), (true, true, None));
        assert_eq!(h264_of(&[0x5c, 0x81, 1]), (true, false, None));
        assert_eq!(h264_of(&[0x78, 0xff, 0xff, 0x41]), (true, false, None));
        assert_eq!(h264_of(&[]), (false, false, None));
        let hevc = |payload: &[u8]| {
            let content = look(Packing::H265, payload);
            (content.picture, content.key, content.sps.is_some())
        };
        assert_eq!(hevc(&[19 << 1, 1, 0]), (true, true, false));
        assert_eq!(hevc(&[49 << 1, 1, 0x80 | 21, 0]), (true, true, false));
        assert_eq!(hevc(&[48 << 1, 1, 0, 2, 33 << 1, 1, 0, 2, 1 << 1, 1]), (true, false, true));
        assert_eq!(hevc(&[49 << 1]), (false, false, false));
    }

    #[test]
    fn audio_frames_are_counted_by_their_headers() {
        let bits = AuBits { size: 13, index: 3, delta: 3 };
        let sound = |payload: &[u8]| {
            let content = look(Packing::Aac(bits), payload);
            (content.sounds, content.fragment)
        };
        assert_eq!(sound(&[0, 16, 0, 2 << 3, 1, 2]), (1, false));
        assert_eq!(sound(&[0, 48, 0, 8, 0, 8, 0, 8, 1, 2, 3]), (3, false));
        assert_eq!(sound(&[0, 16, 0xff, 0xf8, 1, 2]), (0, true));
        assert_eq!(sound(&[0, 16, 0]), (0, false));
        assert_eq!(sound(&[0]), (0, false));
    }
}
