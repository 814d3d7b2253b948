//! How long a file is, exactly, so that its repetition joins without a gap and its tracks stay in step.

use media::{Codec, Frame, Track};
use session::rtmp::MediaKind;
use wire::Cursor;
use wire::codec::aac::AudioSpecificConfig;

/// Nanoseconds per millisecond and second.
pub const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
/// Nanoseconds that times of whole milliseconds may differ from the exact ones by.
const ROUNDING: u64 = 2 * MS;
/// Nanoseconds that one track may outlast the beginning of the next round.
const OVERLAP: u64 = 100 * MS;

/// What was seen of one round, in nanoseconds of the file's time.
#[derive(Debug, Default)]
pub struct Span {
    lanes: [Lane; 2],
}

#[derive(Debug, Default)]
struct Lane {
    /// The first and the last frame.
    ends: Option<(u64, u64)>,
    /// Distance of the last two frames that were apart.
    step: u64,
    frames: u64,
    /// Samples of every frame and Hz, where the codec has frames of one length.
    each: Option<(u64, u64)>,
}

impl Span {
    /// An FLV tag at a time in milliseconds.
    pub fn tag(&mut self, kind: MediaKind, ms: u32, body: &[u8]) {
        let lane = self.lane(kind);
        // An AAC sequence header (FLV 10.1 §E.4.2.2).
        if let (MediaKind::Audio, [first, 0, config @ ..]) = (kind, body)
            && first >> 4 == 10
        {
            lane.each = frame_length(config);
            return;
        }
        lane.frame(u64::from(ms) * MS);
    }

    /// A frame and its time in nanoseconds.
    pub fn frame(&mut self, kind: MediaKind, frame: &Frame, at: u64) {
        let lane = self.lane(kind);
        if lane.ends.is_none() {
            lane.each = aac(&frame.track);
        }
        lane.frame(at);
    }

    fn lane(&mut self, kind: MediaKind) -> &mut Lane {
        &mut self.lanes[usize::from(kind == MediaKind::Audio)]
    }

    /// Nanoseconds from one round to the next: the length of the longest track. The others pause until then.
    pub fn period(&self) -> u64 {
        let spans: Vec<(u64, u64)> = self.lanes.iter().filter_map(Lane::span).collect();
        let first = spans.iter().map(|(from, _)| *from).min().unwrap_or(0);
        let end = spans.iter().map(|(_, to)| *to).max().unwrap_or(0);
        let longest = spans.iter().map(|(from, to)| to - from).max().unwrap_or(0);
        // A track that begins later than the others may end later than they begin again, but not much.
        let period = longest.max((end - first).saturating_sub(OVERLAP));
        // Of two lengths that agree but for rounding the exact one counts.
        let exact = self.lanes[1].each.and(self.lanes[1].span()).map(|(from, to)| to - from);
        exact.filter(|exact| exact.abs_diff(period) <= ROUNDING).unwrap_or(period)
    }
}

impl Lane {
    fn frame(&mut self, at: u64) {
        let (first, last) = *self.ends.get_or_insert((at, at));
        if at > last {
            self.step = at - last;
        }
        self.ends = Some((first, at.max(last)));
        self.frames += 1;
    }

    /// Where the track begins and ends.
    fn span(&self) -> Option<(u64, u64)> {
        let (first, last) = self.ends?;
        let to = last + self.step;
        let exact = self.each.map(|(samples, rate)| {
            let length = u128::from(self.frames * samples) * u128::from(SECOND) + u128::from(rate / 2);
            first + u64::try_from(length / u128::from(rate)).unwrap_or(0)
        });
        Some((first, exact.filter(|exact| exact.abs_diff(to) <= ROUNDING).unwrap_or(to)))
    }
}

fn aac(track: &Track) -> Option<(u64, u64)> {
    (track.codec == Codec::Aac).then(|| frame_length(&track.config)).flatten()
}

/// Samples of a frame and Hz, as an AudioSpecificConfig says.
fn frame_length(config: &[u8]) -> Option<(u64, u64)> {
    let config = AudioSpecificConfig::decode(&mut Cursor::new(config)).ok()?;
    // Both as they are before SBR doubles them.
    let samples = if config.short_frame { 960 } else { 1024 };
    (config.frequency > 0).then(|| (samples, u64::from(config.frequency)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: [u8; 4] = [0xaf, 0, 0x11, 0x90];

    /// The period of so many pictures `each` ms apart, and as many AAC frames from `from` ms on.
    fn period(pictures: u32, each: u32, sounds: u32, from: u32) -> u64 {
        let mut span = Span::default();
        for n in 0..pictures {
            span.tag(MediaKind::Video, n * each, &[0x17, 1]);
        }
        span.tag(MediaKind::Audio, 0, &CONFIG);
        for n in 0..sounds {
            span.tag(MediaKind::Audio, from + n * 64 / 3, &[0xaf, 1]);
        }
        span.period()
    }

    #[test]
    fn a_round_is_as_long_as_its_longest_track() {
        assert_eq!(period(200, 40, 375, 0), 8_000 * MS, "both end together");
        assert_eq!(period(200, 40, 375, 59), 8_000 * MS, "one is late by a little");
        assert_eq!(period(200, 40, 300, 0), 8_000 * MS, "sound pauses");
        assert_eq!(period(100, 40, 375, 0), 8_000 * MS, "pictures pause");
        assert_eq!(period(0, 40, 100, 0), 2_133_333_333, "whole frames, not whole milliseconds");
        assert_eq!(period(200, 40, 375, 1_000), 8_900 * MS, "rounds do not run into each other");
        assert_eq!(period(1, 40, 0, 0), 0);
    }
}
