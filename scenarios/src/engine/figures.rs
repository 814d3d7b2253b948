//! Figures of a client, from the packets of its sessions.

use std::collections::BTreeSet;
use std::time::Duration;

use analyzer::trace::{Mark, Trace};
use model::{Session, TrackKind};

use crate::script::Figure;

/// The kinds that figures are of.
pub const KINDS: [TrackKind; 2] = [TrackKind::Video, TrackKind::Audio];
/// Presentation times on two ways may differ by so much in milliseconds: RTMP counts whole ones.
const NEAR_MS: i64 = 2;
/// Starting points tried to lay one timeline over the other.
const TRIES: usize = 400;

/// What the packets tell of a client.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Ids of its sessions, in the order they came.
    pub sessions: Vec<String>,
    /// Contract names, sorted.
    pub codecs: Vec<String>,
    /// Whether the first picture of every session is a key frame.
    pub key_frame_first: Option<bool>,
    with_frames: f64,
    pictures: f64,
    audio_frames: f64,
    first_frame_s: Option<f64>,
    bitrate: Option<f64>,
    lost_packets: Option<f64>,
    missing: Option<f64>,
    foreign: Option<f64>,
    longest_gap_s: Option<f64>,
    stalls: Option<f64>,
}

impl Figures {
    /// The value of a figure; none where the packets do not tell it.
    pub fn value(&self, figure: Figure) -> Option<f64> {
        if self.sessions.is_empty() {
            return None;
        }
        match figure {
            Figure::Sessions => Some(self.with_frames),
            Figure::Frames => Some(self.pictures + self.audio_frames),
            Figure::Pictures => Some(self.pictures),
            Figure::AudioFrames => Some(self.audio_frames),
            Figure::FirstFrame => self.first_frame_s,
            Figure::FramesMissing => self.missing,
            Figure::FramesForeign => self.foreign,
            Figure::LongestGap => self.longest_gap_s,
            Figure::Stalls => self.stalls,
            Figure::Bitrate => self.bitrate,
            Figure::LostPackets => self.lost_packets,
        }
    }
}

/// Figures of the sessions of one client; `published` are the sessions of who publishes what it watches.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^52")]
pub fn of(sessions: &[&Session], published: &[&Session], traces: &[Trace], buffer: Duration) -> Figures {
    let mut figures =
        Figures { sessions: sessions.iter().map(|s| s.id.clone()).collect(), ..Figures::default() };
    let count = |kind| -> f64 {
        let tracks = sessions.iter().flat_map(|s| &s.tracks).filter(|t| t.kind == kind);
        tracks.map(|t| t.coded_frames()).sum::<u64>() as f64
    };
    let has_frames = |s: &&&Session| s.tracks.iter().any(|track| track.coded_frames() > 0);
    figures.with_frames = sessions.iter().filter(has_frames).count() as f64;
    (figures.pictures, figures.audio_frames) = (count(TrackKind::Video), count(TrackKind::Audio));
    let mut codecs: Vec<String> =
        sessions.iter().flat_map(|s| &s.tracks).filter_map(|t| t.codec.clone()).collect();
    codecs.sort();
    codecs.dedup();
    figures.codecs = codecs;
    figures.first_frame_s = sessions.iter().find_map(|s| s.first_frame_ms).map(|ms| ms / 1e3);
    let bytes: u64 = sessions.iter().map(|s| s.bytes_to_server + s.bytes_to_client).sum();
    let seconds: f64 = sessions.iter().map(|s| s.duration_s).sum();
    figures.bitrate = (seconds > 0.0).then(|| bytes as f64 * 8.0 / seconds);
    let lost: Vec<u64> = sessions.iter().flat_map(|s| &s.tracks).filter_map(|t| t.lost_packets).collect();
    figures.lost_packets = (!lost.is_empty()).then(|| lost.iter().sum::<u64>() as f64);

    let marks = |of: &[&Session], kind: TrackKind| -> Vec<Vec<Mark>> {
        let theirs = |trace: &&Trace| trace.kind == kind && of.iter().any(|s| s.id == trace.session);
        traces.iter().filter(theirs).map(|trace| trace.marks.clone()).collect()
    };
    let (mut gap, mut stalls) = (None::<f64>, None::<f64>);
    for kind in KINDS {
        let sent: Vec<Vec<Mark>> = marks(published, kind);
        for seen in marks(sessions, kind) {
            if let (TrackKind::Video, Some(first)) = (kind, seen.first()) {
                figures.key_frame_first = Some(figures.key_frame_first.unwrap_or(true) && first.key);
            }
            if let Some(seconds) = longest_gap(&seen) {
                gap = Some(gap.map_or(seconds, |gap| gap.max(seconds)));
            }
            if kind == TrackKind::Video {
                stalls = Some(stalls.unwrap_or(0.0) + self::stalls(&seen, buffer) as f64);
            }
            if let Some((missing, foreign)) = compare_with_each(&seen, &sent) {
                *figures.missing.get_or_insert(0.0) += missing as f64;
                *figures.foreign.get_or_insert(0.0) += foreign as f64;
            }
        }
    }
    (figures.longest_gap_s, figures.stalls) = (gap, stalls);
    figures
}

/// The longest time in seconds in which no frame arrived, between the first and the last.
fn longest_gap(marks: &[Mark]) -> Option<f64> {
    let steps = marks.windows(2).map(|pair| (pair[1].arrived_ns - pair[0].arrived_ns) as f64 / 1e9);
    steps.max_by(f64::total_cmp)
}

/// How often a player stands still that begins when it holds `buffer`, and goes on after each stall when it holds that again.
fn stalls(marks: &[Mark], buffer: Duration) -> u64 {
    let Some(first) = marks.first() else { return 0 };
    let buffer_ns = i64::try_from(buffer.as_nanos()).unwrap_or(i64::MAX);
    let media_ns = |mark: &Mark| (mark.pts_ms - first.pts_ms).saturating_mul(1_000_000);
    let mut stalls = 0;
    // The instant at which the media's zero is shown, once it plays.
    let mut zero: Option<i64> = None;
    // Media up to here was there when it last waited.
    let mut waits_for = buffer_ns;
    let mut held = i64::MIN;
    for mark in marks {
        let media = media_ns(mark);
        if let Some(shown) = zero
            && mark.arrived_ns > shown.saturating_add(media.max(held))
        {
            stalls += 1;
            zero = None;
            waits_for = held.saturating_add(buffer_ns);
        }
        held = held.max(media);
        if zero.is_none() && held >= waits_for {
            let from = waits_for.saturating_sub(buffer_ns).max(0);
            zero = Some(mark.arrived_ns.saturating_sub(from));
        }
    }
    stalls
}

/// [`compare`] with what was sent in one session, or in all of them: who publishes again begins a new timeline, and some
/// viewers see the end of one and the begin of another. Where the least is missing is what a viewer saw.
fn compare_with_each(seen: &[Mark], sent: &[Vec<Mark>]) -> Option<(usize, usize)> {
    let all = if sent.len() > 1 { sent.concat() } else { Vec::new() };
    let each = sent.iter().map(Vec::as_slice).chain([all.as_slice()]);
    each.filter_map(|sent| compare(seen, sent)).min_by_key(|(missing, foreign)| missing + foreign)
}

/// Frames that were sent between the first and the last seen one, in the order of decoding, and never came, and frames that came
/// and were never sent so: by their presentation times, up to one constant. None where there is nothing to compare.
fn compare(seen: &[Mark], sent: &[Mark]) -> Option<(usize, usize)> {
    let first = seen.first()?;
    let mut by_time: Vec<(i64, usize)> = sent.iter().enumerate().map(|(i, mark)| (mark.pts_ms, i)).collect();
    by_time.sort_unstable();
    // The place among those sent of what was seen at this time.
    let place = |time: i64| {
        let at = by_time.partition_point(|(sent, _)| *sent < time - NEAR_MS);
        by_time.get(at).filter(|(sent, _)| *sent <= time + NEAR_MS).map(|(_, place)| *place)
    };
    // What came first was sent at one of these times; most streams keep theirs.
    let starts = sent.iter().step_by((sent.len() / TRIES).max(1)).map(|mark| mark.pts_ms);
    let mut best: Option<(usize, i64)> = None;
    for start in [first.pts_ms].into_iter().chain(starts) {
        let shift = start - first.pts_ms;
        let matched = seen.iter().filter(|mark| place(mark.pts_ms + shift).is_some()).count();
        if best.is_none_or(|(most, _)| matched > most) {
            best = Some((matched, shift));
        }
        if matched == seen.len() {
            break;
        }
    }
    let (matched, shift) = best?;
    let places: BTreeSet<usize> = seen.iter().filter_map(|mark| place(mark.pts_ms + shift)).collect();
    let (low, high) = (places.first()?, places.last()?);
    Some((high - low + 1 - places.len(), seen.len() - matched))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(times: impl IntoIterator<Item = (i64, i64)>) -> Vec<Mark> {
        times
            .into_iter()
            .map(|(arrived_ms, pts_ms)| Mark {
                arrived_ns: arrived_ms * 1_000_000,
                pts_ms,
                key: pts_ms % 1000 == 0,
            })
            .collect()
    }

    #[test]
    fn missing_frames_are_found_on_another_timeline() {
        let sent = marks((0..100).map(|i| (i * 40, i * 40)));
        let seen = |skip: &[i64]| {
            marks((25..90).filter(|i| !skip.contains(i)).map(|i| (i * 40 + 100, i * 40 + 777_001)))
        };
        assert_eq!(compare(&seen(&[]), &sent), Some((0, 0)));
        assert_eq!(compare(&seen(&[30, 31, 60]), &sent), Some((3, 0)));
        let mut odd = seen(&[]);
        odd[20].pts_ms += 17;
        assert_eq!(compare(&odd, &sent), Some((1, 1)));
        assert_eq!(compare(&[], &sent), None);
        // A viewer that leaves between a picture and those shown before it misses none of them.
        let reordered = |range: std::ops::Range<i64>| {
            marks(range.map(|i| (i * 40, if i % 3 == 1 { i * 40 + 80 } else { i * 40 - 40 })))
        };
        assert_eq!(compare(&reordered(9..32), &reordered(0..99)), Some((0, 0)));
    }

    #[test]
    fn each_time_on_air_has_its_own_timeline() {
        let times = |range: std::ops::Range<i64>| marks(range.map(|i| (i * 40, i * 40)));
        // On air twice, from the same begin; the second time was longer.
        let sent = [times(0..50), times(0..80)];
        assert_eq!(compare_with_each(&times(10..50), &sent), Some((0, 0)));
        assert_eq!(compare_with_each(&times(10..80), &sent), Some((0, 0)));
        let mut gap = times(10..80);
        gap.drain(20..25);
        assert_eq!(compare_with_each(&gap, &sent), Some((5, 0)));
        assert_eq!(compare_with_each(&gap, &[]), None);
    }

    #[test]
    fn a_player_stalls_when_its_buffer_runs_dry() {
        let steady = marks((0..100).map(|i| (i * 40, i * 40)));
        assert_eq!(stalls(&steady, Duration::from_millis(200)), 0);
        // 1.5 s without a frame, twice: once more than the buffer holds, each time.
        let late = |i: i64| {
            i * 40
                + if i > 60 {
                    3000
                } else if i > 30 {
                    1500
                } else {
                    0
                }
        };
        let gaps = marks((0..100).map(|i| (late(i), i * 40)));
        assert_eq!(stalls(&gaps, Duration::from_millis(200)), 2);
        // One that waits longer before it begins sits both gaps out.
        assert_eq!(stalls(&gaps, Duration::from_millis(1600)), 0);
        assert_eq!(longest_gap(&gaps), Some(1.54));
        // Segments come at once: no gap in them is a stall.
        let segments = marks((0..100).map(|i| (i / 25 * 1000, i * 40)));
        assert_eq!(stalls(&segments, Duration::from_millis(1000)), 0);
    }
}
