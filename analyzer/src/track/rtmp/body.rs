//! What is kept of a message while its bytes flow past.

use wire::rtmp::message::kind;

/// Kept of a picture: its headers and the start of the first NAL unit.
const PICTURE_HEAD: usize = 64;
/// Kept of sound: a whole frame in most codecs.
const SOUND_HEAD: usize = 2048;
/// Kept at most of commands, metadata and codec configuration.
pub(super) const WHOLE: usize = 256 * 1024;
/// Kept of an Aggregate: it is split into its messages when it is whole.
pub(super) const AGGREGATE: usize = 1024 * 1024;

/// The beginning of a message body, and how much of it was seen and lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    kept: Vec<u8>,
    limit: usize,
    /// Bytes passed, seen or lost.
    pub(super) passed: u64,
    /// Bytes among them that are missing in the capture.
    pub(super) lost: u64,
}

impl Body {
    /// Ready for a message of this type. The buffer is used again.
    pub(super) fn begin(&mut self, type_id: u8) {
        self.kept.clear();
        self.passed = 0;
        self.lost = 0;
        self.limit = match type_id {
            kind::VIDEO => PICTURE_HEAD,
            kind::AUDIO => SOUND_HEAD,
            kind::AGGREGATE => AGGREGATE,
            _ => WHOLE,
        };
    }

    /// Memory held, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.kept.capacity()
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, type_id: u8, bytes: &[u8]) {
        self.passed = self.passed.saturating_add(bytes.len() as u64);
        let mut rest = bytes;
        // The first two bytes of a media message tell whether it is worth keeping whole.
        if self.kept.len() < 2 && matches!(type_id, kind::AUDIO | kind::VIDEO) && self.lost == 0 {
            let (head, tail) = rest.split_at(rest.len().min(2usize.saturating_sub(self.kept.len())));
            self.kept.extend_from_slice(head);
            rest = tail;
            if keep_whole(type_id, &self.kept) {
                self.limit = WHOLE;
            }
        }
        let room = self.limit.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(rest.get(..room.min(rest.len())).unwrap_or_default());
    }

    /// Passes over bytes that the capture does not have.
    pub(super) fn lose(&mut self, len: u64) {
        self.passed = self.passed.saturating_add(len);
        self.lost = self.lost.saturating_add(len);
        // What follows the hole is no continuation of what is kept.
        self.limit = self.kept.len();
    }

    /// The bytes kept: a true beginning of the body.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Gives large buffers back once their message is done.
    pub(super) fn release(&mut self) {
        if self.kept.capacity() > 4096 {
            self.kept = Vec::new();
        }
    }
}

/// True for codec configuration, and for the enhanced forms that have to be read to their end.
fn keep_whole(type_id: u8, head: &[u8]) -> bool {
    let &[first, second] = head else { return false };
    match type_id {
        // Enhanced: sequence start, metadata, MPEG-2 TS start, multitrack, ModEx.
        kind::VIDEO if first & 0x80 != 0 => matches!(first & 0x0f, 0 | 4..=7),
        kind::VIDEO => matches!(first & 0x0f, 7 | 12) && second == 0,
        kind::AUDIO if first >> 4 == 9 => matches!(first & 0x0f, 0 | 4..=7),
        kind::AUDIO => first >> 4 == 10 && second == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_forgotten_and_configuration_is_kept() {
        let mut body = Body::default();
        body.begin(kind::VIDEO);
        body.push(kind::VIDEO, &[0x27]);
        body.push(kind::VIDEO, &[1, 0, 0, 0]);
        body.push(kind::VIDEO, &[9; 5000]);
        assert_eq!((body.kept().len(), body.passed), (PICTURE_HEAD, 5005));

        body.begin(kind::VIDEO);
        body.push(kind::VIDEO, &[0x17, 0]);
        body.push(kind::VIDEO, &[9; 5000]);
        assert_eq!(body.kept().len(), 5002);

        body.begin(kind::COMMAND_AMF0);
        body.push(kind::COMMAND_AMF0, &[2; 100]);
        body.lose(50);
        body.push(kind::COMMAND_AMF0, &[3; 100]);
        assert_eq!((body.kept().len(), body.passed, body.lost), (100, 250, 50));
    }
}
