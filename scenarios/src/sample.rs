//! The clip inside the program, and FLV files like it.

use bytes::Bytes;
use session::rtmp::MediaKind;
use wire::Error;
use wire::flv::file::{Reader, Step};
use wire::flv::{TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO};

/// 8 s of H.264 and AAC-LC; `ci/make/sample` makes it.
pub static FILE: &[u8] = include_bytes!("../samples/h264-aac.flv");

/// One tag of a clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// An audio or video message body at a time in milliseconds.
    Media(MediaKind, u32, Bytes),
    /// Script data: onMetaData.
    Script(Bytes),
}

/// A clip that can be published again and again.
#[derive(Clone, Debug)]
pub struct Clip {
    /// In the order of the file.
    pub tags: Vec<Tag>,
}

impl Clip {
    /// The clip inside the program.
    pub fn sample() -> Result<Self, Error> {
        Self::from_flv(Bytes::from_static(FILE))
    }

    /// A clip from the bytes of an FLV file. A last tag that is cut off is left out.
    pub fn from_flv(file: Bytes) -> Result<Self, Error> {
        let mut reader = Reader::new();
        let mut tags = Vec::new();
        let mut at = 0;
        loop {
            let input = file.get(at..).unwrap_or_default();
            match reader.step(input)? {
                Step::Need(_) => break,
                Step::Header(_, used) => at += used,
                Step::Tag(tag, used) => {
                    let body = file.slice_ref(tag.body);
                    let time = tag.header.timestamp;
                    match tag.header.kind {
                        TAG_AUDIO => tags.push(Tag::Media(MediaKind::Audio, time, body)),
                        // An end of sequence, with which some files end, would end every repetition.
                        TAG_VIDEO if tag.body.get(1) == Some(&2) => {}
                        TAG_VIDEO => tags.push(Tag::Media(MediaKind::Video, time, body)),
                        TAG_SCRIPT => tags.push(Tag::Script(body)),
                        _ => {}
                    }
                    at += used;
                }
            }
        }
        Ok(Self { tags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_200_pictures_and_8_s_of_sound() {
        let clip = Clip::sample().unwrap();
        let count = |kind| clip.tags.iter().filter(|t| matches!(t, Tag::Media(k, ..) if *k == kind)).count();
        // One configuration each besides; 8 s are 375 frames of 1024 samples at 48 kHz.
        assert_eq!((count(MediaKind::Video), count(MediaKind::Audio)), (201, 376));
        assert!(clip.tags.iter().any(|t| matches!(t, Tag::Script(_))));
    }

    #[test]
    fn a_file_that_is_no_flv_is_refused_with_its_position() {
        let error = Clip::from_flv(Bytes::from_static(b"not an flv file at all")).unwrap_err();
        assert_eq!(error.at, 0);
    }
}
