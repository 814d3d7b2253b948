//! Frames to an FLV file, for codecs that fit no MP4.

use std::sync::Arc;

use bytes::Bytes;
use media::flv::{config_body, frame_header};
use media::{Frame, Kind, Track};
use wire::flv::file::{Header, encode_tag};
use wire::flv::{TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO};

use ::session::Time;

use super::step::Step;

/// Milliseconds of media that are written at once.
const BATCH: i64 = 1_000;
/// Bytes that are written at once.
const LARGEST: usize = 4 << 20;
/// Milliseconds that times may go forward and back from one frame to the next.
const FORWARD: i64 = 10_000;
const BACK: i64 = 1_000;
/// onMetaData with a duration of 0, whose eight bytes stand at the end of it but three.
const METADATA: &[u8] = b"\x02\0\x0aonMetaData\x08\0\0\0\x01\0\x08duration\0\0\0\0\0\0\0\0\0\0\0\x09";
/// Where the duration stands in the file: behind header, tag header and what comes before it in the tag.
const DURATION_AT: u64 = 9 + 4 + 11 + 29;

/// One file.
#[derive(Debug)]
pub struct Flv {
    tracks: Vec<Arc<Track>>,
    begun: Option<Time>,
    opened: bool,
    out: Vec<u8>,
    /// What is added to times, now and before the last jump, in milliseconds.
    offset: Option<(i64, i64)>,
    /// The latest time of the file, and the latest that was written.
    last: i64,
    written: i64,
}

impl Flv {
    pub fn new(tracks: &[Arc<Track>]) -> Self {
        let (out, offset) = (Vec::new(), None);
        Self { tracks: tracks.to_vec(), begun: None, opened: false, out, offset, last: 0, written: 0 }
    }

    /// Takes over a changed list of tracks where nothing was written of them.
    pub fn extend(&mut self, tracks: &[Arc<Track>]) -> bool {
        if self.begun.is_none() {
            self.tracks = tracks.to_vec();
        }
        self.tracks == tracks
    }

    pub fn frame(&mut self, frame: &Frame, now: Time, steps: &mut Vec<Step>) {
        let video = frame.track.kind() == Kind::Video;
        if self.begun.is_none() {
            let awaited = self.tracks.iter().any(|t| t.kind() == Kind::Video);
            if awaited && !(video && frame.key) {
                return;
            }
            self.begin(now);
        }
        let Some(time) = self.place(frame.dts_ms()) else { return };
        let kind = if video { TAG_VIDEO } else { TAG_AUDIO };
        let header = frame_header(frame);
        // A frame larger than a tag can say is left out.
        let stamp = u32::try_from(time).unwrap_or(u32::MAX);
        let _ = encode_tag(kind, stamp, &[header.as_ref(), &frame.payload], &mut self.out);
        self.last = self.last.max(time);
        if self.last.saturating_sub(self.written) >= BATCH || self.out.len() >= LARGEST {
            self.write(steps);
        }
    }

    pub fn finish(mut self, steps: &mut Vec<Step>) {
        self.write(steps);
        if self.opened {
            steps.push(Step::Close);
        }
    }

    fn begin(&mut self, now: Time) {
        self.begun = Some(now);
        let has = |kind| self.tracks.iter().any(|t| t.kind() == kind);
        Header::encode(has(Kind::Audio), has(Kind::Video), &mut self.out);
        let _ = encode_tag(TAG_SCRIPT, 0, &[METADATA], &mut self.out);
        for track in &self.tracks {
            let kind = if track.kind() == Kind::Video { TAG_VIDEO } else { TAG_AUDIO };
            if let Some(body) = config_body(track) {
                let _ = encode_tag(kind, 0, &[&body], &mut self.out);
            }
        }
    }

    /// Where a time stands in the file; `None` before its beginning. A jump is taken out, as in MP4.
    fn place(&mut self, raw: i64) -> Option<i64> {
        let near = |at: &i64| (BACK.saturating_neg()..=FORWARD).contains(&at.saturating_sub(self.last));
        let (offset, before) = *self.offset.get_or_insert((raw.saturating_neg(), raw.saturating_neg()));
        let candidates = [raw.saturating_add(offset), raw.saturating_add(before)];
        if let Some(at) = candidates.into_iter().find(near) {
            return (at >= 0).then_some(at);
        }
        let at = self.last.saturating_add(20);
        self.offset = Some((at.saturating_sub(raw), offset));
        Some(at)
    }

    fn write(&mut self, steps: &mut Vec<Step>) {
        if self.out.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.opened, true) {
            steps.push(Step::Open("flv", self.tracks.clone(), self.begun.unwrap_or_default()));
        }
        self.written = self.last;
        let seconds = self.last as f64 / 1000.0;
        let duration = vec![(DURATION_AT, Bytes::copy_from_slice(&seconds.to_be_bytes()))];
        let micros = u64::try_from(self.last).unwrap_or(0).saturating_mul(1000);
        steps.push(Step::Write(vec![Bytes::from(std::mem::take(&mut self.out))], micros, duration));
    }
}
