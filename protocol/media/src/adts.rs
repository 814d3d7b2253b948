//! AAC with ADTS headers to frames: as a file, or in PES packets.

use std::sync::Arc;

use bytes::Bytes;
use wire::codec::aac::AudioSpecificConfig;
use wire::codec::aac::adts::Header;

use crate::clock::rescale;
use crate::describe::describe;
use crate::frame::{Codec, Frame, Track, Unit};

/// Bytes of the longest header.
const HEAD: usize = 9;
/// Bytes of an ID3 tag's head.
const TAG_HEAD: usize = 10;
/// Samples of a raw data block.
const SAMPLES: i64 = 1024;
/// Told times that differ from the counted ones by less than this part of a second are taken for rounding.
const ROUNDING: i64 = 10;

/// Cuts frames out of bytes that come in any pieces.
#[derive(Debug, Default)]
pub struct Splitter {
    rest: Vec<u8>,
    /// Bytes of an ID3 tag that are still to come.
    tag: usize,
    track: Option<Arc<Track>>,
    /// When the next frame begins, in samples.
    next: Option<i64>,
    /// Bytes that are no frame.
    skipped: u64,
}

impl Splitter {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that were passed over, being no frame.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Takes the next bytes and hands on their frames, with the track before the first. `time` is that of the first frame
    /// that begins in them, in ticks of a clock; without one a frame follows the one before.
    pub fn data(&mut self, bytes: &[u8], time: Option<(i64, u32)>, mut unit: impl FnMut(Unit)) {
        let passed = self.tag.min(bytes.len());
        self.tag = self.tag.saturating_sub(passed);
        let before = self.rest.len();
        self.rest.extend_from_slice(bytes.get(passed..).unwrap_or_default());
        let all = Bytes::from(std::mem::take(&mut self.rest));
        let (mut at, mut time) = (0usize, time);
        loop {
            let left = all.slice(at.min(all.len())..);
            let header_cut = left.len() < HEAD && Header::parse(&left).is_none();
            if header_cut || (left.len() < TAG_HEAD && left.starts_with(b"ID3")) {
                self.rest = left.to_vec();
                return;
            }
            if let Some(size) = tag(&left) {
                // However long it says to be, nothing of it is kept.
                self.tag = size.saturating_sub(left.len());
                at = at.saturating_add(size.min(left.len()));
                continue;
            }
            let Some(header) = Header::parse(&left) else {
                at = at.saturating_add(1);
                self.skipped = self.skipped.saturating_add(1);
                continue;
            };
            let Some(payload) = left.get(header.header..header.length) else {
                self.rest = left.to_vec();
                return;
            };
            let told = if at >= before { time.take() } else { None };
            if let Some(track) = self.configure(&header) {
                unit(Unit::Track(track));
            }
            if let Some(frame) = self.frame(told, i64::from(header.blocks), left.slice_ref(payload)) {
                unit(Unit::Frame(frame));
            }
            at = at.saturating_add(header.length);
        }
    }

    /// The track, where it is new or has changed.
    fn configure(&mut self, header: &Header) -> Option<Arc<Track>> {
        let AudioSpecificConfig { object_type, frequency, channel_configuration, .. } = header.config;
        let config =
            AudioSpecificConfig::encode_simple(object_type, frequency, channel_configuration).ok()?;
        if self.track.as_ref().is_some_and(|track| track.config == config) {
            return None;
        }
        let description = describe(Codec::Aac, &config, None);
        let config = Bytes::from(config);
        let track = Track { codec: Codec::Aac, config, clock: frequency, flv_flags: None, description };
        let track = Arc::new(track);
        if let Some(old) = self.track.replace(Arc::clone(&track)) {
            self.next = self.next.map(|next| rescale(next, old.clock, frequency));
        }
        Some(track)
    }

    fn frame(&mut self, told: Option<(i64, u32)>, blocks: i64, payload: Bytes) -> Option<Frame> {
        let track = Arc::clone(self.track.as_ref()?);
        let told = told.map(|(time, clock)| rescale(time, clock, track.clock));
        let near = i64::from(track.clock) / ROUNDING;
        let at = match (self.next, told) {
            (Some(next), Some(told)) if next.abs_diff(told) < near.unsigned_abs() => next,
            (next, told) => told.or(next).unwrap_or(0),
        };
        self.next = Some(at.saturating_add(blocks.saturating_mul(SAMPLES)));
        Some(Frame { track, dts: at, pts: at, key: true, payload })
    }
}

/// Bytes of an ID3 tag that begins here.
fn tag(bytes: &[u8]) -> Option<usize> {
    let [b'I', b'D', b'3', _, _, _, a, b, c, d, ..] = bytes else { return None };
    let size = [a, b, c, d].into_iter().fold(0usize, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    Some(size.saturating_add(TAG_HEAD))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    /// LC, 48 kHz, stereo, with five bytes of nothing.
    const FRAME: [u8; 12] = [0xff, 0xf1, 0x4c, 0x80, 0x01, 0x9f, 0xfc, 1, 2, 3, 4, 5];

    #[test]
    fn frames_are_the_same_however_the_bytes_are_cut() {
        let file = [&b"ID3\x04\0\0\0\0\0\x02xx"[..], &FRAME.repeat(3), &[9], &FRAME].concat();
        for size in 1..=file.len() {
            let (mut splitter, mut tracks, mut frames) = (Splitter::new(), Vec::new(), Vec::new());
            for piece in file.chunks(size) {
                splitter.data(piece, None, |unit| match unit {
                    Unit::Track(track) => tracks.push(track.description.clone()),
                    Unit::Frame(frame) => frames.push((frame.dts, frame.payload)),
                    Unit::Metadata(_) => {}
                });
            }
            assert_eq!(
                (tracks, splitter.skipped()),
                (vec!["AAC-LC 48000 Hz stereo".to_owned()], 1),
                "{size}"
            );
            let times: Vec<i64> = frames.iter().map(|(dts, _)| *dts).collect();
            assert_eq!(times, [0, 1024, 2048, 3072], "{size}");
            assert!(frames.iter().all(|(_, payload)| payload[..] == [1, 2, 3, 4, 5]));
        }
    }

    #[test]
    fn told_times_hold_where_they_are_far_from_the_counted_ones() {
        let (mut splitter, mut times) = (Splitter::new(), Vec::new());
        for time in [90_000, 90_000 + 1920 + 7, 180_000] {
            splitter.data(&FRAME, Some((time, 90_000)), |unit| {
                if let Unit::Frame(frame) = unit {
                    times.push(frame.dts);
                }
            });
        }
        assert_eq!(times, [48_000, 49_024, 96_000]);
    }
}
