//! Payload formats that put a descriptor before the media: VP8, VP9, AV1, MPEG audio, LATM.

use wire::codec::mpa;

use super::Content;

/// The payload descriptor of VP8 (RFC 7741 §4.2).
///
/// ```text
/// | X R N S R PID(3) | X: I L T K RSV(4) | I: M picture id(7 or 15) | L: TL0PICIDX(8) | T or K: (8) |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::track::rtp) struct Vp8<'b> {
    /// A picture begins here.
    pub(in crate::track::rtp) begins: bool,
    /// Its number, where it has one.
    pub(in crate::track::rtp) picture: Option<u16>,
    /// The bits that a number has.
    pub(in crate::track::rtp) mask: u16,
    pub(in crate::track::rtp) data: &'b [u8],
}

impl<'b> Vp8<'b> {
    pub(in crate::track::rtp) fn read(payload: &'b [u8]) -> Option<Self> {
        let (first, mut rest) = payload.split_first()?;
        if first & 0x48 != 0 {
            return None;
        }
        let begins = first & 0x10 != 0 && first & 7 == 0;
        let (mut picture, mut mask) = (None, 0x7f);
        if first & 0x80 != 0 {
            let (flags, behind) = rest.split_first()?;
            rest = behind;
            if flags & 0x0f != 0 {
                return None;
            }
            if flags & 0x80 != 0 {
                (picture, mask, rest) = number(rest)?;
            }
            for present in [flags & 0x40 != 0, flags & 0x30 != 0] {
                rest = if present { rest.get(1..)? } else { rest };
            }
        }
        Some(Self { begins, picture, mask, data: rest })
    }
}

/// A picture number of 7 or 15 bits, with the mask of its bits and what follows.
fn number(bytes: &[u8]) -> Option<(Option<u16>, u16, &[u8])> {
    match bytes {
        [high, low, rest @ ..] if high & 0x80 != 0 => {
            Some((Some(u16::from_be_bytes([high & 0x7f, *low])), 0x7fff, rest))
        }
        [short, rest @ ..] if short & 0x80 == 0 => Some((Some(u16::from(*short)), 0x7f, rest)),
        _ => None,
    }
}

pub(super) fn vp8(payload: &[u8]) -> Content<'_> {
    let Some(descriptor) = Vp8::read(payload) else { return Content::default() };
    let mut content = Content { picture: true, ..Content::default() };
    if let (true, [first, _, _, rest @ ..]) = (descriptor.begins, descriptor.data)
        && first & 1 == 0
    {
        content.key = true;
        // A key frame's start code, then 14 bits of width and of height, scaling above them (RFC 6386 §9.1).
        if let [0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = rest {
            let size = |low: &u8, high: &u8| u32::from(u16::from_le_bytes([*low, high & 0x3f]));
            content.size = Some((size(w0, w1), size(h0, h1)));
        }
    }
    content
}

/// The payload descriptor of VP9 (RFC 9628 §4.2), as far as frames need it.
///
/// ```text
/// | I P L F B E V Z | I: M picture id(7 or 15) | ...
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::track::rtp) struct Vp9 {
    /// A frame begins here.
    pub(in crate::track::rtp) begins: bool,
    /// A frame ends here.
    pub(in crate::track::rtp) ends: bool,
    /// It is predicted from other pictures.
    predicted: bool,
    /// The picture's number and its bits, where it has one.
    pub(in crate::track::rtp) picture: Option<(u16, u16)>,
}

impl Vp9 {
    pub(in crate::track::rtp) fn read(payload: &[u8]) -> Option<Self> {
        let (first, rest) = payload.split_first()?;
        let picture = if first & 0x80 != 0 {
            let (number, mask, _) = number(rest)?;
            number.map(|number| (number, mask))
        } else {
            None
        };
        Some(Self { begins: first & 8 != 0, ends: first & 4 != 0, predicted: first & 0x40 != 0, picture })
    }
}

pub(super) fn vp9(payload: &[u8]) -> Content<'_> {
    let Some(descriptor) = Vp9::read(payload) else { return Content::default() };
    Content { picture: true, key: descriptor.begins && !descriptor.predicted, ..Content::default() }
}

/// The bit N says that a coded video sequence, with its key picture, begins in the packet.
pub(super) fn av1(payload: &[u8]) -> Content<'_> {
    Content {
        picture: !payload.is_empty(),
        key: payload.first().is_some_and(|h| h & 8 != 0),
        ..Content::default()
    }
}

/// Whole frames behind the four bytes of the header, or a piece of one (RFC 2250 §3.5).
pub(super) fn mpeg_audio(payload: &[u8]) -> Content<'_> {
    let none = Content::default();
    let Some((&[_, _, high, low], mut rest)) = payload.split_first_chunk::<4>() else { return none };
    if (high, low) != (0, 0) {
        return Content { fragment: true, ..none };
    }
    let mut content = none;
    while let Some(header) = mpa::Header::parse(rest) {
        content.mpeg.get_or_insert(header);
        let Some(next) = header.size.and_then(|size| rest.get(size..)) else {
            // The frame goes on in the next packet, or its size is not written.
            let whole = header.size.is_none() || content.sounds > 0;
            content.sounds = content.sounds.saturating_add(u32::from(header.size.is_none()));
            content.fragment = !whole;
            break;
        };
        content.sounds = content.sounds.saturating_add(1);
        rest = next;
    }
    content
}

/// Frames of a LATM packet whose lengths fill it; none where they do not (ISO 14496-3 §1.7.3.1, RFC 6416 §6.1).
pub(in crate::track::rtp) fn latm_frames(payload: &[u8]) -> Option<u32> {
    let mut rest = payload;
    let mut frames = 0u32;
    while !rest.is_empty() {
        let tail = rest.iter().position(|byte| *byte != 255)?;
        let last = usize::from(*rest.get(tail)?);
        let size = tail.saturating_mul(255).saturating_add(last);
        if size == 0 {
            return None;
        }
        rest = rest.get(tail.saturating_add(1)..)?.get(size..)?;
        frames = frames.saturating_add(1);
    }
    Some(frames)
}

pub(super) fn latm(payload: &[u8]) -> Content<'_> {
    match latm_frames(payload) {
        Some(sounds) => {
            let tail = payload.iter().take_while(|byte| **byte == 255).count();
            let last = payload.get(tail).copied().map_or(0, usize::from);
            let from = tail.saturating_add(1);
            let size = tail.saturating_mul(255).saturating_add(last);
            let sound = payload.get(from..from.saturating_add(size));
            Content { sounds, sound, ..Content::default() }
        }
        // A frame of several packets, or one whose configuration stands in it.
        None => Content { picture: true, ..Content::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vp8_begins_and_has_a_size() {
        // X, S; I and L and T: 15 bits of number, two bytes more; a key frame of 176x144.
        let payload =
            [0x90, 0xe0, 0xcc, 0x21, 0xdc, 0x20, 0x30, 0x0c, 0x00, 0x9d, 0x01, 0x2a, 0xb0, 0, 0x90, 0x40];
        let read = Vp8::read(&payload).unwrap();
        assert_eq!((read.begins, read.picture, read.mask), (true, Some(0x4c21), 0x7fff));
        let content = vp8(&payload);
        assert_eq!((content.picture, content.key, content.size), (true, true, Some((176, 144))));
        assert!(
            !vp8(&[0x00, 0x00, 1, 2]).key
                && Vp8::read(&[0x40, 0]).is_none()
                && Vp8::read(&[0x80, 1]).is_none()
        );
    }

    #[test]
    fn frames_of_sound_are_counted() {
        let mut payload = vec![0, 0, 0, 0];
        for _ in 0..2 {
            payload.extend_from_slice(&[0xff, 0xfb, 0x90, 0x64]);
            payload.resize(payload.len() + 413, 0);
        }
        let content = mpeg_audio(&payload);
        assert_eq!((content.sounds, content.fragment), (2, false));
        assert_eq!(content.mpeg.map(|header| (header.layer, header.sample_rate)), Some((3, 44_100)));
        let piece = mpeg_audio(&payload[..300]);
        assert_eq!((piece.sounds, piece.fragment), (0, true));
        assert!(mpeg_audio(&[0, 0, 1, 0, 7]).fragment);
        let frame = [&[255u8, 10][..], &[7; 265]].concat();
        assert_eq!((latm_frames(&frame), latm(&frame).sound.map(<[u8]>::len)), (Some(1), Some(265)));
        assert_eq!((latm_frames(&frame[..200]), latm_frames(&[0, 0])), (None, None));
    }
}
