//! A reader of FLV files and of RTMP's audio and video messages that shares nothing with the program's own.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use super::frames::{Frame, Media};

/// Audio, in the type of FLV tags and RTMP messages alike.
pub const AUDIO: u8 = 8;
/// Video.
pub const VIDEO: u8 = 9;

/// A tag of a file, or a message of a session: the two carry the same bodies.
#[derive(Clone, Debug, PartialEq)]
pub struct Tag {
    /// [`AUDIO`] or [`VIDEO`]; 18 is script data.
    pub kind: u8,
    /// Decoding time in milliseconds.
    pub time: u32,
    /// The body, flag bits first.
    pub body: Vec<u8>,
}

impl Tag {
    /// True for an AVC sequence header or an AudioSpecificConfig.
    pub fn is_config(&self) -> bool {
        match self.kind {
            VIDEO => self.body[0] & 0x0f == 7 && self.body[1] == 0,
            AUDIO => self.body[0] >> 4 == 10 && self.body[1] == 0,
            _ => false,
        }
    }

    /// True for a coded picture.
    pub fn is_picture(&self) -> bool {
        self.kind == VIDEO && self.body.get(1) == Some(&1)
    }

    /// True for a picture that a decoder can start at.
    pub fn is_key_frame(&self) -> bool {
        self.kind == VIDEO && self.body[0] == 0x17 && self.body[1] == 1
    }

    fn frame(&self) -> Option<Frame> {
        let dts = i64::from(self.time);
        match self.kind {
            VIDEO if self.body[1] == 1 => {
                let b = &self.body;
                let composition = i32::from_be_bytes([b[2], b[3], b[4], 0]) >> 8;
                let pts = dts + i64::from(composition);
                Some(Frame { dts, pts, key: self.is_key_frame(), id: identity(&self.body[5..]) })
            }
            AUDIO if self.body[1] == 1 => {
                Some(Frame { dts, pts: dts, key: true, id: identity(&self.body[2..]) })
            }
            _ => None,
        }
    }
}

/// Size and hash of a payload.
pub fn identity(payload: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    format!("{} bytes {:016x}", payload.len(), hasher.finish())
}

/// [`identity`] of the slices among NAL units: what stays the same on the way through any protocol.
pub fn slices_identity<'a>(nals: impl Iterator<Item = &'a [u8]>) -> String {
    let slices: Vec<&[u8]> = nals.filter(|n| n.first().is_some_and(|b| matches!(b & 0x1f, 1..=5))).collect();
    let mut hasher = DefaultHasher::new();
    slices.hash(&mut hasher);
    let bytes: usize = slices.iter().map(|s| s.len()).sum();
    format!("{} slices, {bytes} bytes {:016x}", slices.len(), hasher.finish())
}

/// NAL units behind four bytes of length each.
pub fn nal_units(mut payload: &[u8]) -> Vec<&[u8]> {
    let mut units = Vec::new();
    while let Some((length, rest)) = payload.split_first_chunk() {
        let (unit, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        units.push(unit);
        payload = rest;
    }
    units
}

/// Every whole tag of a file; a tag cut by the end is left out.
pub fn tags(file: &Path) -> Vec<Tag> {
    let data = std::fs::read(file).unwrap();
    assert!(data.starts_with(b"FLV\x01"), "{} is no FLV file", file.display());
    let mut at = 9 + 4;
    let mut tags = Vec::new();
    while let Some(head) = data.get(at..at + 11) {
        let size = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let time = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
        let Some(body) = data.get(at + 11..at + 11 + size) else { break };
        tags.push(Tag { kind: head[0], time, body: body.to_vec() });
        at += 11 + size + 4;
    }
    tags
}

/// Tags or messages as media.
pub fn media(tags: &[Tag]) -> Media {
    let of = |kind| tags.iter().filter(move |t| t.kind == kind && t.body.len() > 1);
    let config = |kind| of(kind).filter(|t| t.is_config()).map(|t| t.body[2..].to_vec()).collect();
    Media {
        video_config: config(VIDEO),
        audio_config: config(AUDIO),
        video: of(VIDEO).filter(|t| !t.is_config()).filter_map(Tag::frame).collect(),
        audio: of(AUDIO).filter(|t| !t.is_config()).filter_map(Tag::frame).collect(),
    }
}

/// [`media`], with pictures known by their slices alone.
pub fn slices(tags: &[Tag]) -> Media {
    let mut media = media(tags);
    let pictures = tags.iter().filter(|t| t.kind == VIDEO && t.is_picture());
    for (frame, tag) in media.video.iter_mut().zip(pictures) {
        frame.id = slices_identity(nal_units(&tag.body[5..]).into_iter());
    }
    media
}
