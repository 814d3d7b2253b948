//! Encoders that begin anew with another configuration, without an end of the stream.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::arithmetic_side_effects)]

use std::sync::Arc;

use bytes::Bytes;
use media::mp4::Demuxer;
use media::{Codec, Frame, Kind, Track};

use super::tests::{List, Stage, at, audio, track, video};

/// An IDR picture of one NAL unit, another picture, and a frame of sound.
fn frame(track: &Arc<Track>, time: i64, key: bool) -> Frame {
    let payload: &[u8] = match track.kind() {
        Kind::Audio => &[0x21, 0x10],
        Kind::Video if key => &[0, 0, 0, 2, 0x65, 0x88],
        Kind::Video => &[0, 0, 0, 2, 0x41, 0x9a],
    };
    Frame { track: Arc::clone(track), dts: time, pts: time, key, payload: Bytes::from_static(payload) }
}

/// 44.1 kHz, mono.
fn mono() -> Arc<Track> {
    track(Codec::Aac, vec![0x12, 0x08])
}

/// Pictures and sounds of a segment.
type Content = (Vec<Frame>, Vec<Frame>);

struct Encoder {
    stage: Stage,
    video: Arc<Track>,
    audio: Arc<Track>,
    n: i64,
}

impl Encoder {
    fn new() -> Self {
        let stage = Stage::new();
        let (video, audio) = (Arc::clone(&stage.video), Arc::clone(&stage.audio));
        Self { stage, video, audio, n: 0 }
    }

    fn send(&mut self, frame: &Frame) {
        self.stage.segmenter.frame(frame, at(self.n * 40));
        self.stage.shelve(self.n * 40);
    }

    fn picture(&mut self, key: bool) {
        self.send(&frame(&self.video.clone(), self.n * 40, key));
    }

    fn sound(&mut self) {
        self.send(&frame(&self.audio.clone(), self.n * 40, true));
        self.n += 1;
    }

    /// So many pictures with sound, the first of which is a key picture.
    fn shoots(&mut self, count: i64) {
        for n in 0..count {
            self.picture(n % 50 == 0);
            self.sound();
        }
    }

    fn video(&mut self, video: Arc<Track>) {
        self.stage.segmenter.track(&video);
        self.video = video;
    }

    fn audio(&mut self, audio: Arc<Track>) {
        self.stage.segmenter.track(&audio);
        self.audio = audio;
    }

    /// The list at the end, and of each segment its pictures and its sounds.
    fn ended(&mut self) -> (List, Vec<Content>) {
        self.stage.segmenter.finish();
        self.stage.shelve(self.n * 40);
        self.stage.end(self.n * 40);
        let list = self.stage.list();
        let file = |name: &str| self.stage.shelf.file(name.split('?').next().unwrap()).unwrap().bytes;
        let frames = list.segments.iter().map(|segment| {
            let whole = [file(segment.map.as_ref().unwrap()), file(&segment.uri)].concat();
            let mut demuxer = Demuxer::open(Bytes::from(whole)).unwrap();
            let all = std::iter::from_fn(|| demuxer.next()).map(Result::unwrap);
            all.partition(|frame| frame.track.kind() == Kind::Video)
        });
        let frames = frames.collect();
        (list, frames)
    }
}

/// Where the list breaks, and that new initialisation sections stand there and nowhere else.
fn breaks(list: &List) -> Vec<usize> {
    let pairs = list.segments.windows(2).enumerate();
    let news = pairs.filter(|(_, pair)| pair[0].map != pair[1].map).map(|(n, _)| n + 1);
    let broken = list.segments.iter().enumerate().filter(|(_, segment)| segment.broken).map(|(n, _)| n);
    let broken: Vec<usize> = broken.collect();
    assert_eq!(news.collect::<Vec<_>>(), broken, "{list:?}");
    broken
}

#[test]
fn pictures_and_sound_that_change_together_break_the_list_once_and_lose_nothing() {
    // Encoders and multiplexers differ in where the headers stand: both before the key frame, or each before its medium.
    for order in 0..3 {
        let mut encoder = Encoder::new();
        encoder.shoots(60);
        match order {
            0 => {
                encoder.video(video(0x1e));
                encoder.audio(mono());
                encoder.picture(true);
            }
            1 => {
                encoder.audio(mono());
                encoder.video(video(0x1e));
                encoder.picture(true);
            }
            _ => {
                encoder.video(video(0x1e));
                encoder.picture(true);
                encoder.audio(mono());
            }
        }
        encoder.sound();
        for _ in 0..49 {
            encoder.picture(false);
            encoder.sound();
        }
        encoder.shoots(60);
        let (list, segments) = encoder.ended();
        assert_eq!(breaks(&list), [2], "order {order}");
        let counts: Vec<_> = segments.iter().map(|(v, a)| (v.len(), a.len())).collect();
        assert_eq!(counts, [(50, 50), (10, 10), (50, 50), (50, 50), (10, 10)], "order {order}");
        for (n, (pictures, sounds)) in segments.iter().enumerate() {
            assert!(pictures[0].key);
            let (video, audio) = if n < 2 { (video(0x0d), audio()) } else { (video(0x1e), mono()) };
            assert!(pictures.iter().all(|f| f.track.config == video.config));
            assert!(sounds.iter().all(|f| f.track.config == audio.config));
        }
        let text = encoder.stage.shelf.multivariant("").unwrap();
        assert!(text.contains("CODECS=\"avc1.4d401e,mp4a.40.2\""), "{text}");
    }
}

/// A header, and the key frame that it is for a second later: sound goes on meanwhile.
#[test]
fn sound_does_not_wait_for_the_key_frame_of_other_pictures() {
    let mut encoder = Encoder::new();
    encoder.shoots(60);
    encoder.video(video(0x1e));
    for _ in 0..25 {
        encoder.picture(false);
        encoder.sound();
    }
    encoder.shoots(60);
    let (list, segments) = encoder.ended();
    assert_eq!(breaks(&list), [2]);
    let counts: Vec<_> = segments.iter().map(|(v, a)| (v.len(), a.len())).collect();
    assert_eq!(counts, [(50, 50), (10, 35), (50, 50), (10, 10)]);
}

/// ffmpeg keeps to the first initialisation section it saw.
#[test]
fn key_pictures_carry_their_parameter_sets_where_the_path_began_with_others() {
    let mut encoder = Encoder::new();
    let begins_with_sps = |frames: &[Frame]| {
        let mut keys = frames.iter().filter(|frame| frame.key).map(|frame| frame.payload[4] == 0x67);
        let first = keys.next().unwrap();
        assert!(keys.all(|other| other == first));
        first
    };
    encoder.shoots(100);
    encoder.video(video(0x1e));
    encoder.shoots(100);
    // What it began with comes back.
    encoder.video(video(0x0d));
    encoder.shoots(50);
    let (_, segments) = encoder.ended();
    let got: Vec<bool> = segments.iter().map(|(pictures, _)| begins_with_sps(pictures)).collect();
    assert_eq!(got, [false, false, true, true, false]);
    // And with the publisher that comes next.
    let mut stage = encoder.stage;
    stage.video = video(0x1e);
    stage.republish(10_000);
    let mut encoder = Encoder { video: video(0x1e), audio: audio(), stage, n: 0 };
    encoder.shoots(100);
    let (_, segments) = encoder.ended();
    assert!(begins_with_sps(&segments.last().unwrap().0));
}
