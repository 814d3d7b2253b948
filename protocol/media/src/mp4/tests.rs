#![allow(clippy::arithmetic_side_effects)]

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::describe::describe;
use crate::frame::{Codec, Frame, Track};

/// avcC of a 320x180 clip that x264 made.
const AVCC: [u8; 45] = [
    1, 0x4d, 0x40, 0x0d, 0xff, 0xe1, 0, 0x1d, 0x67, 0x4d, 0x40, 0x0d, 0xec, 0xa0, 0xa0, 0xcf, 0xcf, 0x80,
    0x88, 0, 0, 3, 0, 8, 0, 0, 3, 1, 0x90, 0x78, 0xa1, 0x4c, 0xb0, 1, 0, 5, 0x68, 0xeb, 0xe3, 0xcb, 0x20, 0,
    0, 0, 0,
];

fn track(codec: Codec, config: &[u8], clock: u32) -> Arc<Track> {
    let config = Bytes::copy_from_slice(config);
    let description = describe(codec, &config, None);
    Arc::new(Track { codec, config, clock, flv_flags: None, description })
}

fn video() -> Arc<Track> {
    let avcc = wire::codec::avc::encode(&[&AVCC[8..37]], &[&AVCC[36..41]]).unwrap();
    track(Codec::H264, &avcc, 1000)
}

fn audio() -> Arc<Track> {
    track(Codec::Aac, &[0x11, 0x90], 1000)
}

fn frame(track: &Arc<Track>, dts: i64, composition: i64, key: bool, fill: u8) -> Frame {
    let payload = Bytes::from(vec![fill; 20]);
    Frame { track: Arc::clone(track), dts, pts: dts + composition, key, payload }
}

/// A file of all fragments, cut at key frames, read again.
fn through(fragmenter: &mut Fragmenter, frames: &[Frame]) -> (Bytes, Vec<Fragment>) {
    let mut file = init_section(&fragmenter.tracks());
    let mut fragments = Vec::new();
    for f in frames {
        if f.key && f.track.codec == Codec::H264 {
            fragmenter.cut(Some(f));
        }
        fragmenter.push(f);
        fragments.extend(std::iter::from_fn(|| fragmenter.take()));
    }
    fragmenter.cut(None);
    fragments.extend(std::iter::from_fn(|| fragmenter.take()));
    for fragment in &fragments {
        file.extend_from_slice(&fragment.to_bytes());
    }
    (Bytes::from(file), fragments)
}

fn demuxed(file: Bytes) -> Vec<Frame> {
    let mut demuxer = Demuxer::open(file).unwrap();
    std::iter::from_fn(|| demuxer.next()).map(Result::unwrap).collect()
}

fn milliseconds(frame: &Frame) -> (i64, i64) {
    let ms = |t| crate::clock::rescale(t, frame.track.clock, 1_000_000);
    (ms(frame.dts), ms(frame.pts))
}

#[test]
fn frames_come_back_with_their_times_and_audio_that_starts_later_stays_later() {
    let (v, a) = (video(), audio());
    let mut frames = Vec::new();
    for n in 0..100i64 {
        frames.push(frame(&v, 5000 + n * 40, if n % 3 == 0 { 80 } else { 0 }, n % 25 == 0, 1));
        // AAC of 48 kHz in milliseconds, from 500 ms on: 21 and 22 in turns.
        for k in 0..2 {
            let at = (n * 2 + k) * 64 / 3;
            frames.push(frame(&a, 5500 + at, 0, true, 200));
        }
    }
    let (file, fragments) = through(&mut Fragmenter::new(&[v.clone(), a.clone()]).unwrap(), &frames);
    assert_eq!(fragments.iter().map(|f| f.duration).collect::<Vec<_>>(), [1_000_000; 4]);
    assert!(fragments.iter().all(|f| f.key));
    let got = demuxed(file);
    assert_eq!(got.len(), frames.len());
    let of =
        |codec, list: &[Frame]| list.iter().filter(|f| f.track.codec == codec).cloned().collect::<Vec<_>>();
    for (want, have) in of(Codec::H264, &frames).iter().zip(of(Codec::H264, &got)) {
        assert_eq!((have.dts, have.pts), ((want.dts - 5000) * 90, (want.pts - 5000) * 90));
        assert_eq!((want.key, &want.payload), (have.key, &have.payload));
    }
    let sound = of(Codec::Aac, &got);
    assert_eq!(sound[0].dts, 24_000, "half a second later");
    for (n, f) in (0i64..).zip(&sound) {
        assert_eq!(f.dts, 24_000 + n * 1024, "milliseconds leave no gaps between audio frames");
    }
}

#[test]
fn jumps_of_hours_either_way_are_taken_out_of_both_tracks() {
    let (v, a) = (video(), audio());
    let hours = 5 * 3_600_000i64;
    for jump in [hours, -hours] {
        let mut frames = Vec::new();
        for n in 0..200i64 {
            let t = 6 * hours + n * 40 + if n >= 100 { jump } else { 0 };
            // Audio makes the jump two frames later.
            let s = 6 * hours + n * 40 + if n >= 102 { jump } else { 0 };
            frames.push(frame(&v, t, 40, n % 50 == 0, 1));
            frames.push(frame(&a, s, 0, true, 2));
        }
        let (file, fragments) = through(&mut Fragmenter::new(&[v.clone(), a.clone()]).unwrap(), &frames);
        assert_eq!(fragments.iter().map(|f| f.duration).collect::<Vec<_>>(), [2_000_000; 4]);
        let got = demuxed(file);
        assert_eq!(got.len(), frames.len());
        let sound: Vec<i64> =
            got.iter().filter(|f| f.track.codec == Codec::Aac).map(|f| milliseconds(f).0).collect();
        for (n, at) in (0i64..).zip(sound) {
            assert!((at - n * 40_000).abs() < 1_000, "audio frame {n} at {at} µs");
        }
    }
}

#[test]
fn one_frame_from_another_day_costs_nothing_else() {
    let v = video();
    let mut frames: Vec<Frame> = (0..100).map(|n| frame(&v, n * 40, 0, n % 25 == 0, 1)).collect();
    frames[30].dts = 90_000_000;
    frames[30].pts = 90_000_000;
    frames[60].dts -= 200;
    let (file, fragments) = through(&mut Fragmenter::new(std::slice::from_ref(&v)).unwrap(), &frames);
    let whole: u64 = fragments.iter().map(|f| f.duration).sum();
    assert!(whole.abs_diff(4_000_000) <= 80_000, "{whole}");
    let times: Vec<i64> = demuxed(file).iter().map(|f| f.dts).collect();
    assert!(times.windows(2).all(|w| w[0] < w[1]), "{times:?}");
    assert_eq!(times.len(), 100);
}

#[test]
fn a_track_that_is_announced_late_joins_only_before_the_first_cut() {
    let (v, a) = (video(), audio());
    let mut fragmenter = Fragmenter::new(std::slice::from_ref(&v)).unwrap();
    fragmenter.push(&frame(&v, 0, 0, true, 1));
    assert!(fragmenter.extend(&[v.clone(), a.clone()]));
    assert_eq!(fragmenter.tracks(), [v.clone(), a.clone()]);
    fragmenter.push(&frame(&a, 10, 0, true, 1));
    fragmenter.cut(None).unwrap();
    assert_eq!(fragmenter.take().unwrap().frames, 2);
    assert!(!fragmenter.extend(std::slice::from_ref(&v)));
    assert!(fragmenter.extend(&[v, a, track(Codec::Mp3, &[], 1000)]), "what cannot be held does not count");
    assert!(Fragmenter::new(&[track(Codec::Mp3, &[], 1000)]).is_none());
}

#[test]
fn a_file_can_begin_at_zero_whichever_track_comes_first() {
    let (v, a) = (video(), audio());
    let mut fragmenter = Fragmenter::new(&[v.clone(), a.clone()]).unwrap();
    for n in 0..10 {
        fragmenter.push(&frame(&v, n * 40, 80, n == 0, 1));
        fragmenter.push(&frame(&a, 60 + n * 40, 0, true, 2));
    }
    let edits = fragmenter.begin_at_zero();
    assert_eq!(edits, [60 * 90, 0]);
    let mut file = file_head(&fragmenter.tracks(), &edits).0;
    fragmenter.cut(None).unwrap();
    file.extend_from_slice(&fragmenter.take().unwrap().to_bytes());
    let got = demuxed(Bytes::from(file));
    let first = |codec| got.iter().find(|f| f.track.codec == codec).map(|f| milliseconds(f).1);
    assert_eq!((first(Codec::H264), first(Codec::Aac)), (Some(20_000), Some(0)));
}

#[test]
fn codec_strings_are_those_of_rfc_6381() {
    assert!(codec_string(&video()).unwrap().starts_with("avc1.4d400d"), "{:?}", codec_string(&video()));
    for (config, want) in [
        (&[0x11, 0x90][..], "mp4a.40.2"),
        (&[0x2b, 0x11, 0x88, 0], "mp4a.40.5"),
        (&[0xeb, 0x09, 0x88, 0], "mp4a.40.29"),
        (&[0xf9, 0x46, 0x43, 0x22], "mp4a.40.42"),
    ] {
        assert_eq!(codec_string(&track(Codec::Aac, config, 1000)).as_deref(), Some(want));
    }
    assert_eq!(codec_string(&track(Codec::Mp3, &[], 1000)), None);
    assert_eq!(codec_string(&track(Codec::H264, &[1, 2], 1000)), None);
}

#[test]
fn a_file_that_was_cut_gives_its_whole_frames() {
    let v = video();
    let frames: Vec<Frame> = (0..50).map(|n| frame(&v, n * 40, 0, n % 25 == 0, 1)).collect();
    let (file, _) = through(&mut Fragmenter::new(std::slice::from_ref(&v)).unwrap(), &frames);
    let cut = file.slice(..file.len() - 30);
    assert_eq!(demuxed(cut).len(), 48);
    assert!(matches!(Demuxer::open(Bytes::from_static(b"\0\0\0\x08free")), Err(Trouble::NoMovie)));
    assert!(matches!(Demuxer::open(Bytes::from_static(b"\0\0\0\x03free")), Err(Trouble::Bytes(_))));
}

proptest! {
    #[test]
    fn a_damaged_file_ends(at in 0usize..1500, value: u8) {
        let v = video();
        let frames: Vec<Frame> = (0..10).map(|n| frame(&v, n * 40, 0, n % 5 == 0, 1)).collect();
        let (file, _) = through(&mut Fragmenter::new(std::slice::from_ref(&v)).unwrap(), &frames);
        let mut bytes = file.to_vec();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(mut demuxer) = Demuxer::open(Bytes::from(bytes)) {
            let frames = std::iter::from_fn(|| demuxer.next()).count();
            prop_assert!(frames < 70_000);
        }
    }

    #[test]
    fn any_times_give_a_file_whose_times_rise(steps in proptest::collection::vec(any::<i64>(), 1..60)) {
        let v = video();
        let frames: Vec<Frame> =
            steps.iter().zip(0u8..).map(|(dts, n)| frame(&v, dts >> 1, i64::from(n) * 7, n % 9 == 0, n)).collect();
        let (file, _) = through(&mut Fragmenter::new(std::slice::from_ref(&v)).unwrap(), &frames);
        let got = demuxed(file);
        prop_assert!(got.windows(2).all(|w| w[0].dts < w[1].dts));
        prop_assert!(got.iter().all(|f| f.pts >= f.dts));
    }
}

/// NAL units behind four bytes of length each.
fn units(units: &[&[u8]]) -> Bytes {
    let all = units.iter().map(|unit| [&u32::try_from(unit.len()).unwrap().to_be_bytes(), *unit].concat());
    Bytes::from(all.collect::<Vec<_>>().concat())
}

#[test]
fn samples_hold_no_parameter_sets_and_are_called_sync_by_what_they_are() {
    let v = video();
    let (sps, pps) = (&AVCC[8..37], &AVCC[36..41]);
    let (idr, slice, other) = (&[0x65u8, 1, 2, 3][..], &[0x41u8, 4, 5][..], &[0x68u8, 0xff][..]);
    let pictures = [
        (true, units(&[&[9, 0x10], sps, pps, idr]), true, units(&[&[9, 0x10], idr])),
        (false, units(&[slice]), false, units(&[slice])),
        // A recovery point that the publisher calls a key frame, and an IDR picture that it does not.
        (true, units(&[&[6, 6, 1, 0x84, 0x80], slice]), false, units(&[&[6, 6, 1, 0x84, 0x80], slice])),
        (false, units(&[idr]), true, units(&[idr])),
        // Another parameter set than those of the sample entry is needed where it stands.
        (true, units(&[other, idr]), true, units(&[other, idr])),
    ];
    let mut fragmenter = Fragmenter::new(std::slice::from_ref(&v)).unwrap();
    for (n, (key, payload, ..)) in (0i64..).zip(&pictures) {
        let payload = payload.clone();
        fragmenter.push(&Frame { track: v.clone(), dts: n * 40, pts: n * 40, key: *key, payload });
    }
    let (file, _) = through(&mut fragmenter, &[]);
    for (got, (.., sync, want)) in demuxed(file).iter().zip(&pictures) {
        assert_eq!((got.key, &got.payload), (*sync, want));
    }
}

/// The VUI of the clip says that its samples are square; here it says something else.
#[test]
fn pictures_of_samples_that_are_no_squares_say_so() {
    let head = |track: &Arc<Track>| init_section(std::slice::from_ref(track));
    let has = |file: &[u8]| file.windows(4).any(|w| w == b"pasp");
    assert!(!has(&head(&video())));
    let mut sps = AVCC[8..37].to_vec();
    let idc = (8..sps.len()).find(|at| {
        let mut changed = sps.clone();
        changed[*at] ^= 1;
        wire::codec::avc::Sps::from_nal(&changed).is_ok_and(|sps| {
            sps.width == 320 && sps.vui.and_then(|vui| vui.sample_aspect).is_some_and(|(a, d)| a != d)
        })
    });
    let Some(at) = idc else { panic!("no bit of the SPS is that of its aspect ratio") };
    sps[at] ^= 1;
    let config = wire::codec::avc::encode(&[&sps], &[&AVCC[36..41]]).unwrap();
    let file = head(&track(Codec::H264, &config, 1000));
    assert!(has(&file));
    let width = |file: &[u8]| {
        let tkhd = file.windows(4).position(|w| w == b"tkhd").unwrap();
        u32::from_be_bytes(file[tkhd + 92..tkhd + 96].try_into().unwrap()) >> 16
    };
    assert_eq!(width(&head(&video())), 320);
    assert_ne!(width(&file), 320, "shown wider or narrower than it is coded");
}

/// A pause is no frame rate: what comes behind it is where it belongs.
#[test]
fn one_pause_does_not_stretch_what_follows() {
    let (v, a) = (video(), audio());
    for (from, to) in [(100, 225), (100, 425)] {
        let mut frames = Vec::new();
        for n in 0..600i64 {
            if !(from..to).contains(&n) {
                frames.push(frame(&v, n * 40, 0, n % 25 == 0, 1));
            }
            frames.push(frame(&a, n * 40, 0, true, 2));
        }
        let (file, _) = through(&mut Fragmenter::new(&[v.clone(), a.clone()]).unwrap(), &frames);
        let of = |list: &[Frame], codec| {
            list.iter().filter(|f| f.track.codec == codec).map(|f| milliseconds(f).0).collect::<Vec<_>>()
        };
        let got = demuxed(file);
        assert_eq!(of(&got, Codec::H264), of(&frames, Codec::H264));
        let sounds = of(&got, Codec::Aac).into_iter().zip(of(&frames, Codec::Aac));
        assert!(sounds.into_iter().all(|(got, want)| (got - want).abs() <= 1_000));
    }
}

/// Clocks in which sound comes a little early or late, as from a source that counted milliseconds.
#[test]
fn fragments_join_to_the_tick_although_sound_does_not_come_evenly() {
    let (v, a) = (video(), track(Codec::Aac, &[0x11, 0x90], 48_000));
    let mut frames: Vec<Frame> = (0..100).map(|n| frame(&v, n * 40, 0, n % 25 == 0, 1)).collect();
    let jitter = [0, 16, -16, 5];
    frames.extend((0..187usize).map(|n| frame(&a, n as i64 * 1024 + jitter[n % 4], 0, true, 2)));
    frames.sort_by_key(|f| milliseconds(f).0);
    let (file, fragments) = through(&mut Fragmenter::new(&[v, a.clone()]).unwrap(), &frames);
    assert_eq!(fragments.len(), 4);
    let sounds: Vec<i64> = frames.iter().filter(|f| f.track == a).map(|f| f.dts).collect();
    let read = demuxed(file);
    let got: Vec<i64> = read.iter().filter(|f| f.track.codec == Codec::Aac).map(|f| f.dts).collect();
    assert_eq!(got, sounds, "as they came, none lost");
    // A demuxer takes each fragment's own beginning: where one ends by its durations says the writer.
    let mut ends: [Option<u64>; 2] = [None; 2];
    for fragment in &fragments {
        let moof = u32::from_be_bytes(fragment.head[..4].try_into().unwrap()) as usize;
        let parts = wire::mp4::Fragment::decode(&mut wire::Cursor::new(&fragment.head[8..moof])).unwrap();
        for part in parts.tracks {
            let (begin, lasts) = (part.decode_time.unwrap(), part.runs.iter().flat_map(|run| &run.samples));
            let lasts: u64 = lasts.map(|s| u64::from(s.duration.or(part.duration).unwrap())).sum();
            let end = ends[part.track as usize - 1].replace(begin + lasts);
            assert!(end.is_none_or(|end| end == begin), "track {}: {end:?}, {begin}", part.track);
        }
    }
}
