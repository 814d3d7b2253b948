//! Segments of publishers whose tracks pause, run ahead or lag behind, and of networks that stutter.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use media::mp4::Demuxer;
use media::{Frame, Kind, Track};
use session::Time;

use super::Hls;
use super::playlist::Shelf;
use super::segmenter::{About, Made};
use super::tests::{Listed, START, Stage, at};
use crate::counted::counted;

/// Everything that was listed, and how it was.
#[derive(Default)]
struct Seen {
    segments: BTreeMap<u64, Listed>,
    /// What each frame's place differs by from the publisher's time, by segment: pictures, then sound.
    offsets: BTreeMap<u64, [Vec<i64>; 2]>,
    /// Where a segment's pictures and sounds begin.
    begins: BTreeMap<u64, [Option<i64>; 2]>,
    independent: bool,
}

/// A frame whose payload says when it was sent; what it begins with is no NAL unit.
fn frame(track: &Arc<Track>, time: i64, shown: i64, key: bool) -> Frame {
    let payload = [&[0xff; 4][..], &time.to_be_bytes(), &[3; 200]].concat();
    Frame { track: Arc::clone(track), dts: time, pts: time + shown, key, payload: Bytes::from(payload) }
}

/// When a segment was live, in milliseconds of the test's clock.
fn live(segment: &Listed) -> i64 {
    // The whole test is of one day.
    let of_day = |text: &str| {
        let time = text.split_once('T').unwrap().1.trim_end_matches('Z');
        let parts: Vec<f64> = time.split(':').map(|part| part.parse().unwrap()).collect();
        (parts[0].mul_add(3600.0, parts[1].mul_add(60.0, parts[2])) * 1000.0).round() as i64
    };
    of_day(&segment.date) - START.rem_euclid(86_400) * 1000
}

impl Stage {
    /// A picture of 25 a second with a key frame every two seconds, of which viewers see nothing for 80 ms.
    fn shoots(&mut self, n: i64, time: i64, now: i64) {
        let frame = frame(&self.video, time, 80, n % 50 == 0);
        self.segmenter.frame(&frame, at(now));
    }

    fn sounds(&mut self, time: i64, now: i64) {
        let frame = frame(&self.audio, time, 0, true);
        self.segmenter.frame(&frame, at(now));
    }
}

impl Seen {
    /// Looks at the list as it stands.
    fn look(&mut self, stage: &mut Stage, now: i64) {
        stage.shelve(now);
        if stage.shelf.media("").is_none() {
            return;
        }
        let list = stage.list();
        self.independent = list.independent;
        for (number, segment) in (list.first..).zip(list.segments) {
            assert!(segment.seconds.round() <= list.target as f64, "{} of {}", segment.seconds, list.target);
            if self.segments.contains_key(&number) {
                continue;
            }
            let file = |uri: &str| stage.shelf.file(uri.split('?').next().unwrap()).unwrap().bytes;
            let whole = [file(segment.map.as_deref().unwrap()), file(&segment.uri)].concat();
            let mut demuxer = Demuxer::open(Bytes::from(whole)).unwrap();
            let (mut offsets, mut begins) = ([Vec::new(), Vec::new()], [None; 2]);
            for frame in std::iter::from_fn(|| demuxer.next()).map(Result::unwrap) {
                let kind = usize::from(frame.track.kind() == Kind::Audio);
                let sent = i64::from_be_bytes(frame.payload[4..12].try_into().unwrap());
                let decoded = frame.dts * 1000 / i64::from(frame.track.clock);
                begins[kind].get_or_insert(decoded);
                offsets[kind].push(decoded - sent);
            }
            self.offsets.insert(number, offsets);
            self.begins.insert(number, begins);
            self.segments.insert(number, segment);
        }
    }

    /// Pictures and sounds are as far from the publisher's times, everywhere the same where those do not jump.
    fn in_step(&self) {
        for (number, [pictures, sounds]) in &self.offsets {
            let ends = |list: &[i64]| Some((*list.iter().min()?, *list.iter().max()?));
            let both = [ends(pictures), ends(sounds)];
            let all: Vec<_> = both.into_iter().flatten().collect();
            let apart = |of: fn(&(i64, i64)) -> i64| {
                all.iter().map(of).max().unwrap() - all.iter().map(of).min().unwrap()
            };
            assert!(apart(|ends| ends.0) <= 25 && apart(|ends| ends.1) <= 25, "segment {number}: {both:?}");
            assert!(
                self.breaks() > 0 || all.iter().all(|(least, most)| most - least <= 2),
                "{number}: {both:?}"
            );
        }
    }

    fn seconds(&self) -> Vec<f64> {
        self.segments.values().map(|s| (s.seconds * 100.0).round() / 100.0).collect()
    }

    fn breaks(&self) -> usize {
        self.segments.values().filter(|s| s.broken).count()
    }

    /// How far each date is from where the one before ends, in milliseconds.
    fn gaps_of_dates(&self) -> Vec<(bool, i64)> {
        let all: Vec<&Listed> = self.segments.values().collect();
        let gap = |a: &Listed, b: &Listed| live(b) - live(a) - (a.seconds * 1000.0).round() as i64;
        all.windows(2).map(|pair| (pair[1].broken, gap(pair[0], pair[1]))).collect()
    }
}

#[test]
fn a_pause_of_everything_is_a_discontinuity_and_no_long_segment() {
    for pause in [1_500, 3_000, 5_000, 9_500, 11_000] {
        let (mut stage, mut seen) = (Stage::new(), Seen::default());
        for n in 0..600i64 {
            let time = n * 40 + if n >= 175 { pause } else { 0 };
            // Behind the pause sound is the first to come back.
            if n == 175 {
                stage.sounds(time, time);
            } else {
                stage.shoots(n, time, time);
                stage.sounds(time, time);
            }
            if n == 175 {
                stage.shoots(n, time, time);
            }
            seen.look(&mut stage, time);
        }
        assert!(seen.seconds().iter().all(|s| (s - 2.0).abs() < 0.05), "{pause}: {:?}", seen.seconds());
        assert_eq!((seen.breaks(), seen.independent), (1, true), "{pause}");
        seen.in_step();
        let dates = seen.gaps_of_dates();
        let jump = dates.iter().find(|(broken, _)| *broken).unwrap().1;
        assert!((jump - pause).abs() < 500, "{pause}: dates leave out {jump} ms");
        assert!(dates.iter().all(|(broken, gap)| *broken || gap.abs() <= 1), "{dates:?}");
    }
}

#[test]
fn a_track_that_pauses_comes_back_in_its_place() {
    for (pause, sound_stays) in [(5_000, true), (13_000, true), (5_000, false), (13_000, false)] {
        let (mut stage, mut seen) = (Stage::new(), Seen::default());
        for n in 0..900i64 {
            let time = n * 40;
            let away = (6_500..6_500 + pause).contains(&time);
            if !away || !sound_stays {
                stage.shoots(n, time, time);
            }
            if !away || sound_stays {
                stage.sounds(time, time);
            }
            seen.look(&mut stage, time);
        }
        seen.in_step();
        assert_eq!(seen.breaks(), 0);
        assert!(seen.seconds().iter().all(|s| (1.0..=2.4).contains(s)), "{:?}", seen.seconds());
        let whole: f64 = seen.segments.values().map(|s| s.seconds).sum();
        assert!(whole > 33.0, "{whole} s of 36 are listed");
        assert!(seen.gaps_of_dates().iter().all(|(_, gap)| gap.abs() <= 1));
    }
}

#[test]
fn sound_ahead_or_behind_is_in_the_segment_of_its_pictures() {
    for ahead in [800, 100, 0, -150, -600] {
        let (mut stage, mut seen) = (Stage::new(), Seen::default());
        for n in 0..600i64 {
            stage.shoots(n, n * 40, n * 40);
            stage.sounds(n * 40 + ahead, n * 40);
            seen.look(&mut stage, n * 40);
        }
        assert!(seen.seconds().iter().all(|s| *s == 2.0), "{ahead}: {:?}", seen.seconds());
        assert!(seen.independent);
        seen.in_step();
        // The first begins with whatever came first.
        for (number, begins) in seen.begins.iter().skip(1) {
            let [Some(pictures), Some(sounds)] = begins else { panic!("{ahead}: {number} lacks a track") };
            assert!(
                (sounds - pictures).abs() <= 40,
                "{ahead}: {number} begins at {pictures} and {sounds} ms"
            );
        }
    }
}

#[test]
fn a_network_that_stutters_changes_no_date_and_an_encoder_that_froze_breaks_the_list_once() {
    for (freeze, breaks) in [(true, 1), (false, 0)] {
        let (mut stage, mut seen) = (Stage::new(), Seen::default());
        let mut last = 0;
        for n in 0..1000i64 {
            let time = n * 40;
            let now = match (n < 175, freeze) {
                (true, _) => time,
                (false, true) => time + 10_000,
                (false, false) => time.max(17_000),
            };
            stage.shoots(n, time, now);
            stage.sounds(time, now);
            seen.look(&mut stage, now);
            let Some((number, segment)) = seen.segments.last_key_value().filter(|(n, _)| **n != last) else {
                continue;
            };
            last = *number;
            let ended = live(segment) + (segment.seconds * 1000.0) as i64;
            assert!(ended <= now, "segment {number} ends in the future: {ended} ms at {now} ms");
        }
        assert_eq!(seen.breaks(), breaks);
        let dates = seen.gaps_of_dates();
        assert!(dates.iter().all(|(broken, gap)| *broken || gap.abs() <= 1), "{dates:?}");
        let jump = dates.iter().find(|(broken, _)| *broken).map_or(0, |(_, gap)| *gap);
        assert!((jump - if freeze { 10_000 } else { 0 }).abs() < 500, "{jump}");
    }
}

#[test]
fn sound_that_joins_late_costs_no_picture() {
    let (mut stage, mut seen) = (Stage::new(), Seen::default());
    stage.segmenter = super::segmenter::Segmenter::new(super::tests::LEAST, None, None);
    let (video, sound) = (Arc::clone(&stage.video), Arc::clone(&stage.audio));
    stage.segmenter.track(&video);
    for n in 0..500i64 {
        if n == 130 {
            stage.segmenter.track(&sound);
        }
        stage.shoots(n, n * 40, n * 40);
        if n >= 130 {
            stage.sounds(n * 40, n * 40);
        }
        seen.look(&mut stage, n * 40);
    }
    assert!(seen.seconds().iter().all(|s| *s == 2.0), "{:?}", seen.seconds());
    let pictures: usize = seen.offsets.values().map(|o| o[0].len()).sum();
    assert_eq!((pictures, seen.breaks()), (seen.segments.len() * 50, 1));
    assert!(
        seen.offsets.values().skip(3).all(|o| o[1].len() > 45),
        "sound is there from the next key frame on"
    );
}

#[test]
fn sound_whose_time_stands_still_is_not_held_without_end() {
    let held = Arc::new(());
    let mut stage = Stage::new();
    for n in 0..60 {
        stage.shoots(n, n * 40, n * 40);
    }
    let mut sound = frame(&stage.audio, 2400, 0, true);
    for _ in 0..50_000 {
        sound.payload = counted(&held, &[0x21, 0x10, 4]);
        stage.segmenter.frame(&sound, at(2400));
        stage.shelve(2400);
    }
    assert!(Arc::strong_count(&held) < 21_000, "{} frames", Arc::strong_count(&held));
    // Where time goes on, so do segments.
    for n in 60..400 {
        stage.shoots(n, n * 40, n * 40);
        stage.sounds(n * 40, n * 40);
        stage.shelve(n * 40);
    }
    assert!(stage.shelf.media("").unwrap().matches("#EXTINF").count() > 5);
}

#[test]
fn key_frames_that_shake_make_even_segments_and_many_of_them_exact_ones() {
    for (every, shake) in [(50, 12), (1, 0), (25, 0)] {
        let (mut stage, mut seen) = (Stage::new(), Seen::default());
        for n in 0..700i64 {
            let time = n * 40 + if n % 100 == 50 { -shake } else { 0 };
            let shot = frame(&stage.video, time, 0, n % every == 0);
            stage.segmenter.frame(&shot, at(time));
            stage.sounds(time, time);
            seen.look(&mut stage, time);
        }
        assert!(seen.seconds().iter().all(|s| (s - 2.0).abs() < 0.03), "{every}: {:?}", seen.seconds());
    }
}

/// A segment of so many bytes and microseconds.
fn made(bytes: usize, micros: u64, first: bool) -> Made {
    Made {
        opening: first.then(|| Bytes::from_static(b"init")),
        bytes: Bytes::from(vec![0; bytes]),
        micros,
        date: at(0),
        key: true,
        broken: false,
        about: About::default(),
    }
}

#[test]
fn a_list_is_never_shorter_than_three_targets_and_its_files_outlive_it() {
    let mut shelf = Shelf::new(6, START as u64, &Arc::default());
    shelf.begin();
    let (mut now, mut longest) = (0u64, BTreeMap::<u64, f64>::new());
    let mut left = BTreeMap::new();
    let lasts = |n: u64| if n < 3 { 8_000_000 } else { 2_000_000 };
    for n in 0..60u64 {
        now += lasts(n) / 1000;
        shelf.add(made(1000, lasts(n), n == 0), 2, Time::from_millis(now));
        let list = super::tests::List::read(&shelf.media("").unwrap());
        let sum: f64 = list.segments.iter().map(|s| s.seconds).sum();
        assert!(list.first == START as u64 || sum >= 24.0, "{sum} s of list for a target of {}", list.target);
        for number in list.first..list.first + list.segments.len() as u64 {
            let longest = longest.entry(number).or_default();
            *longest = longest.max(sum);
        }
        for number in START as u64..list.first {
            let since = *left.entry(number).or_insert(now);
            let stay = longest[&number] + lasts(number - START as u64) as f64 / 1e6;
            let there = shelf.file(&format!("{number}.m4s")).is_some();
            assert!(
                there || (now - since) as f64 / 1000.0 >= stay,
                "{number} is gone after {} ms",
                now - since
            );
        }
    }
    assert!(left.len() > 40 && shelf.file(&format!("{START}.m4s")).is_none());
}

#[test]
fn a_scrap_of_a_segment_is_no_peak() {
    let mut shelf = Shelf::new(6, START as u64, &Arc::default());
    shelf.begin();
    for n in 0..10 {
        shelf.add(made(250_000, 2_000_000, n == 0), 2, Time::from_millis(0));
    }
    let declared = |shelf: &Shelf| {
        let text = shelf.multivariant("").unwrap();
        let (_, rest) = text.split_once("BANDWIDTH=").unwrap();
        rest.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(declared(&shelf), 1_100_000);
    // A key frame alone: ten times the rate, for a moment that players do not measure (RFC 8216 §4.3.4.2).
    shelf.add(made(50_000, 40_000, false), 2, Time::from_millis(0));
    let with = declared(&shelf);
    assert!(with < 1_400_000, "{with}");
    assert!(with >= 300_000 * 8 * 100 / 204, "the run that has it counts: {with}");
}

#[test]
fn paths_share_the_memory_and_what_has_left_the_list_goes_first() {
    // Among so many each has a MiB.
    let shelves = Arc::new(AtomicUsize::new(4095));
    let mut shelf = Shelf::new(6, START as u64, &shelves);
    shelf.begin();
    let mut numbers = START..;
    let mut add = |shelf: &mut Shelf, bytes, count: usize| {
        for number in numbers.by_ref().take(count) {
            shelf.add(made(bytes, 2_000_000, number == START), 2, Time::from_millis(0));
        }
        let there = (START..START + 100).filter(|n| shelf.file(&format!("{n}.m4s")).is_some()).count();
        (shelf.media("").unwrap().matches("#EXTINF").count(), there)
    };
    assert_eq!(add(&mut shelf, 100 << 10, 20), (6, 10), "the list is whole, and four more are there");
    assert_eq!(add(&mut shelf, 300 << 10, 6), (3, 3), "there is no room for more");
    shelves.store(1, Ordering::Relaxed);
    assert_eq!(add(&mut shelf, 300 << 10, 9), (6, 12), "the others are gone");
    drop(shelf);
    assert_eq!(shelves.load(Ordering::Relaxed), 0);
}

/// The bound is one for the server: a path's part of it is less where there are others.
#[test]
fn every_path_counts_for_the_bound_of_all() {
    let hls = Hls::default();
    let begin = |path: &str| hls.begin(&path.into(), &Arc::default(), 6, START as u64).unwrap();
    let one = begin("live/one");
    // Beside so many others it has a MiB.
    let others: Vec<_> = (0..4095).map(|n| begin(&format!("live/{n}"))).collect();
    begin("live/one");
    let fill = || {
        for n in 0..20 {
            one.shelf().add(made(100 << 10, 2_000_000, n == 0), 2, Time::from_millis(0));
        }
        (START..START + 100).filter(|n| one.shelf().file(&format!("{n}.m4s")).is_some()).count()
    };
    assert_eq!(fill(), 10);
    // Once they are forgotten there is room again.
    drop(others);
    hls.paths().retain(|path, _| &**path == "live/one");
    assert!(fill() > 10);
}
