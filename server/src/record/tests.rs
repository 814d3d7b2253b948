#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::arithmetic_side_effects)]

use std::sync::Arc;

use bytes::Bytes;
use media::mp4::Demuxer;
use media::{Codec, Frame, Track};
use session::Time;
use wire::flv::file::{Reader, Step as FlvStep};

use super::session::Session;
use super::step::Step;
use crate::counted::counted;

fn track(codec: Codec, config: Vec<u8>, flv_flags: Option<u8>) -> Arc<Track> {
    let config = Bytes::from(config);
    Arc::new(Track { codec, config, clock: 1000, flv_flags, description: String::new() })
}

fn video(level: u8) -> Arc<Track> {
    let sps = [
        0x67, 0x4d, 0x40, level, 0xec, 0xa0, 0xa0, 0xcf, 0xcf, 0x80, 0x88, 0, 0, 3, 0, 8, 0, 0, 3, 1, 0x90,
        0x78, 0xa1, 0x4c, 0xb0,
    ];
    let config = wire::codec::avc::encode(&[&sps], &[&[0x68, 0xeb, 0xe3, 0xcb, 0x20]]).unwrap();
    track(Codec::H264, config, None)
}

fn frame(track: &Arc<Track>, time: i64, key: bool) -> Frame {
    Frame { track: Arc::clone(track), dts: time, pts: time, key, payload: Bytes::from_static(&[7; 30]) }
}

/// Files as a disk would have them.
#[derive(Default)]
struct Disk {
    files: Vec<(&'static str, Vec<u8>, u64)>,
    closed: usize,
    started: Vec<u64>,
    largest_step: usize,
}

impl Disk {
    fn take(&mut self, session: &mut Session) {
        for step in session.take() {
            match step {
                Step::Open(extension, _, started) => {
                    self.files.push((extension, Vec::new(), 0));
                    self.started.push(started.as_millis());
                }
                Step::Write(pieces, micros, patches) => {
                    let (_, file, length) = self.files.last_mut().unwrap();
                    let before = file.len();
                    pieces.iter().for_each(|p| file.extend_from_slice(p));
                    self.largest_step = self.largest_step.max(file.len() - before);
                    for (at, patch) in patches {
                        file[at as usize..at as usize + patch.len()].copy_from_slice(&patch);
                    }
                    *length = micros;
                }
                Step::Close => self.closed += 1,
            }
        }
    }
}

fn demuxed(file: &[u8]) -> Vec<Frame> {
    let mut demuxer = Demuxer::open(Bytes::copy_from_slice(file)).unwrap();
    std::iter::from_fn(|| demuxer.next()).map(Result::unwrap).collect()
}

#[test]
fn an_hour_is_written_in_steps_of_a_group_and_loses_no_frame() {
    let (v, a) = (video(0x0d), track(Codec::Aac, vec![0x11, 0x90], None));
    let (mut session, mut disk) = (Session::default(), Disk::default());
    session.track(&v);
    session.track(&a);
    for n in 0..90_000i64 {
        session.frame(&frame(&v, n * 40, n % 50 == 0));
        session.frame(&frame(&a, n * 40, true));
        disk.take(&mut session);
        if n == 45_000 {
            // A crash now: everything but the open fragment is there and plays.
            let got = demuxed(&disk.files[0].1);
            assert!(got.len() > 2 * 45_000 - 110, "{}", got.len());
        }
    }
    session.finish();
    disk.take(&mut session);
    assert_eq!((disk.files.len(), disk.closed, disk.files[0].0), (1, 1, "mp4"));
    assert!(disk.largest_step < 20_000, "{} bytes at once", disk.largest_step);
    assert_eq!(disk.files[0].2, 3_600_000_000);
    let got = demuxed(&disk.files[0].1);
    assert_eq!(got.len(), 180_000);
}

#[test]
fn jumps_of_hours_keep_one_file_that_plays() {
    let v = video(0x0d);
    let (mut session, mut disk) = (Session::default(), Disk::default());
    session.track(&v);
    for n in 0..500i64 {
        let jump = match n / 100 {
            1 => 7_200_000,
            3 => -7_200_000,
            4 => 1 << 45,
            _ => 0,
        };
        session.frame(&frame(&v, n * 40 + jump, n % 50 == 0));
    }
    session.finish();
    disk.take(&mut session);
    assert_eq!(disk.files.len(), 1);
    let got = demuxed(&disk.files[0].1);
    assert_eq!(got.len(), 500);
    assert!(got.windows(2).all(|w| w[0].dts < w[1].dts));
    let seconds = disk.files[0].2 as f64 / 1e6;
    assert!((seconds - 20.0).abs() < 0.5, "{seconds}");
}

#[test]
fn a_changed_codec_configuration_begins_another_file() {
    let (mut session, mut disk) = (Session::default(), Disk::default());
    for (round, level) in [(0i64, 0x0d), (1, 0x1e)] {
        let v = video(level);
        session.track(&v);
        for n in 0..100 {
            session.frame(&frame(&v, (round * 100 + n) * 40, n % 50 == 0));
        }
    }
    session.finish();
    disk.take(&mut session);
    assert_eq!((disk.files.len(), disk.closed), (2, 2));
    assert!(disk.files.iter().all(|(_, file, micros)| demuxed(file).len() == 100 && *micros == 4_000_000));
}

#[test]
fn codecs_that_fit_no_mp4_go_to_flv_with_its_duration() {
    let (v, mp3) = (video(0x0d), track(Codec::Mp3, Vec::new(), Some(0x2f)));
    let (mut session, mut disk) = (Session::default(), Disk::default());
    session.track(&v);
    session.track(&mp3);
    for n in 0..250i64 {
        let jump = if n >= 125 { 10_000_000 } else { 0 };
        session.frame(&frame(&v, 1_000 + n * 40 + jump, n % 50 == 0));
        session.frame(&frame(&mp3, 1_000 + n * 40 + jump, true));
    }
    session.finish();
    disk.take(&mut session);
    let (extension, file, _) = &disk.files[0];
    assert_eq!((*extension, disk.files.len(), disk.closed), ("flv", 1, 1));
    let duration = file.windows(8).position(|w| w == b"duration").unwrap() + 9;
    let seconds = f64::from_be_bytes(file[duration..duration + 8].try_into().unwrap());
    assert!((seconds - 9.96).abs() < 0.1, "{seconds}");
    let (mut reader, mut rest, mut tags, mut last) = (Reader::new(), &file[..], 0, 0);
    loop {
        match reader.step(rest).unwrap() {
            FlvStep::Need(_) => break,
            FlvStep::Header(_, used) => rest = &rest[used..],
            FlvStep::Tag(tag, used) => {
                assert!(tag.header.timestamp >= last, "times rise");
                (tags, last) = (tags + 1, tag.header.timestamp);
                rest = &rest[used..];
            }
        }
    }
    assert_eq!(tags, 502, "metadata, one configuration and all frames");
}

#[test]
fn nothing_that_never_came_makes_a_file() {
    let (mut session, mut disk) = (Session::default(), Disk::default());
    session.track(&video(0x0d));
    session.frame(&frame(&video(0x0d), 0, false));
    session.finish();
    session.finish();
    disk.take(&mut session);
    assert!(disk.files.is_empty() && disk.closed == 0);
}

#[test]
fn sound_that_comes_ahead_of_the_first_picture_is_kept_from_its_time_on() {
    let (video, audio) = (video(30), track(Codec::Aac, vec![0x11, 0x90], None));
    let (mut session, mut disk) = (Session::default(), Disk::default());
    session.track(&video);
    session.track(&audio);
    // The pictures come late, as behind an encoder's look-ahead; those before the first key picture cannot be shown.
    session.frame(&frame(&video, 0, false));
    (0..40).for_each(|n| session.frame(&frame(&audio, n * 20, true)));
    (5..40).for_each(|n| session.frame(&frame(&video, n * 20 + 10, n == 5)));
    session.finish();
    disk.take(&mut session);
    let frames = demuxed(&disk.files[0].1);
    let count = |codec: Codec| frames.iter().filter(|f| f.track.codec == codec).count();
    assert_eq!((count(Codec::H264), count(Codec::Aac)), (35, 40 - 6));
}

#[test]
fn sound_whose_time_stands_still_is_written_and_not_held_without_end() {
    let (mut session, mut disk) = (Session::default(), Disk::default());
    let (video, audio) = (video(0x0d), track(Codec::Aac, vec![0x11, 0x90], None));
    session.track(&video);
    session.track(&audio);
    session.frame(&frame(&video, 0, true));
    let held = Arc::new(());
    let mut sound = frame(&audio, 0, true);
    let mut most = 0;
    for _ in 0..50_000 {
        sound.payload = counted(&held, &[0x21, 0x10, 4]);
        session.frame(&sound);
        disk.take(&mut session);
        most = most.max(Arc::strong_count(&held));
    }
    assert!(most < 21_000, "{most} frames");
    session.finish();
    disk.take(&mut session);
    assert_eq!(disk.files.len(), 1);
    let sounds = demuxed(&disk.files[0].1).iter().filter(|f| f.track.codec == Codec::Aac).count();
    assert_eq!(sounds, 50_000);
}

#[test]
fn sound_that_joins_or_changes_costs_no_picture() {
    let (v, stereo, mono) =
        (video(0x0d), track(Codec::Aac, vec![0x11, 0x90], None), track(Codec::Aac, vec![0x11, 0x88], None));
    let (mut session, mut disk) = (Session::default(), Disk::default());
    session.track(&v);
    for n in 0..400i64 {
        session.at(Time::from_millis(1_000_000 + n as u64 * 40));
        match n {
            130 => session.track(&stereo),
            270 => session.track(&mono),
            _ => {}
        }
        session.frame(&frame(&v, n * 40, n % 50 == 0));
        match n {
            130..270 => session.frame(&frame(&stereo, n * 40, true)),
            270.. => session.frame(&frame(&mono, n * 40, true)),
            _ => {}
        }
        disk.take(&mut session);
    }
    session.finish();
    disk.take(&mut session);
    let of =
        |file: usize, codec| demuxed(&disk.files[file].1).iter().filter(|f| f.track.codec == codec).count();
    assert_eq!((0..3).map(|file| of(file, Codec::H264)).collect::<Vec<_>>(), [150, 150, 100]);
    assert_eq!((0..3).map(|file| of(file, Codec::Aac)).collect::<Vec<_>>(), [0, 120, 100]);
    assert_eq!(disk.started, [1_000_000, 1_006_000, 1_012_000], "a file is of the time of its first picture");
    assert_eq!((disk.files.len(), disk.closed), (3, 3));
}

/// An encoder that begins anew: its headers come with the first frames they are for, in any order.
#[test]
fn pictures_and_sound_that_change_together_begin_one_file_and_lose_nothing() {
    for order in 0..3 {
        let (mut session, mut disk) = (Session::default(), Disk::default());
        let tracks = [
            (video(0x0d), track(Codec::Aac, vec![0x11, 0x90], None)),
            (video(0x1e), track(Codec::Aac, vec![0x12, 0x08], None)),
        ];
        for (round, (v, a)) in (0i64..).zip(&tracks) {
            if order == 1 {
                session.track(a);
            }
            session.track(v);
            if order == 0 {
                session.track(a);
            }
            for n in 0..130 {
                let time = (round * 130 + n) * 40;
                // Where the header is early, the key frame is not there at once.
                let key = n % 50 == if order == 0 && round == 1 { 5 } else { 0 };
                session.frame(&frame(v, time, key));
                if order == 2 && n == 0 {
                    session.track(a);
                }
                session.frame(&frame(a, time, true));
                disk.take(&mut session);
            }
        }
        session.finish();
        disk.take(&mut session);
        assert_eq!((disk.files.len(), disk.closed), (2, 2), "order {order}");
        let counts = disk.files.iter().map(|(_, file, _)| {
            let frames = demuxed(file);
            assert!(frames.iter().all(|f| {
                tracks.iter().any(|(v, a)| f.track.config == v.config || f.track.config == a.config)
            }));
            let sounds = frames.iter().filter(|f| f.track.codec == Codec::Aac).count();
            (frames.len() - sounds, sounds)
        });
        let want = if order == 0 { [(130, 130), (125, 125)] } else { [(130, 130), (130, 130)] };
        assert_eq!(counts.collect::<Vec<_>>(), want, "order {order}");
    }
}

/// Pictures that are shown after they are decoded, and sound from before the first of them is shown on.
#[test]
fn a_file_lasts_until_the_last_of_it_was_shown() {
    let (v, a) = (video(0x0d), track(Codec::Aac, vec![0x11, 0x90], None));
    let (mut session, mut disk) = (Session::default(), Disk::default());
    session.track(&v);
    session.track(&a);
    for n in 0..200i64 {
        let mut picture = frame(&v, n * 40, n % 50 == 0);
        picture.pts += 80;
        session.frame(&picture);
        session.frame(&frame(&a, n * 40 + 20, true));
    }
    session.finish();
    disk.take(&mut session);
    // Sound begins at 20 ms, the first picture is shown at 80 and the last until 8080.
    assert_eq!(disk.files[0].2, 8_060_000);
    let movie = disk.files[0].1.windows(4).position(|w| w == b"mvhd").unwrap();
    assert_eq!(disk.files[0].1[movie + 28..movie + 36], 8_060u64.to_be_bytes());
}
