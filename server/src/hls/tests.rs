#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::arithmetic_side_effects)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use media::{Codec, Frame, Track};
use model::Role;
use session::Time;
use time::OffsetDateTime;
use wire::hls::{What, lines};

use super::playlist::Shelf;
use super::segmenter::{Made, Segmenter};
use super::viewers::{Asker, Viewers, Visit, is_name};
use super::{Hls, Live};
use crate::registry::Registry;

pub(super) const LEAST: Duration = Duration::from_secs(2);
pub(super) const START: i64 = 1_700_000_000;

pub(super) fn track(codec: Codec, config: Vec<u8>) -> Arc<Track> {
    Arc::new(Track {
        codec,
        config: Bytes::from(config),
        clock: 1000,
        flv_flags: None,
        description: String::new(),
    })
}

/// A 320x180 picture's configuration, at a level of its own so that it can change.
pub(super) fn video(level: u8) -> Arc<Track> {
    let sps = [
        0x67, 0x4d, 0x40, level, 0xec, 0xa0, 0xa0, 0xcf, 0xcf, 0x80, 0x88, 0, 0, 3, 0, 8, 0, 0, 3, 1, 0x90,
        0x78, 0xa1, 0x4c, 0xb0,
    ];
    track(Codec::H264, wire::codec::avc::encode(&[&sps], &[&[0x68, 0xeb, 0xe3, 0xcb, 0x20]]).unwrap())
}

pub(super) fn audio() -> Arc<Track> {
    track(Codec::Aac, vec![0x11, 0x90])
}

pub(super) fn at(ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(START) * 1_000_000_000 + i128::from(ms) * 1_000_000)
        .unwrap()
}

/// A publisher, its segmenter and its shelf on virtual time.
pub(super) struct Stage {
    pub segmenter: Segmenter,
    pub shelf: Shelf,
    pub video: Arc<Track>,
    pub audio: Arc<Track>,
}

impl Stage {
    pub fn new() -> Self {
        let mut shelf = Shelf::new(6, START as u64, &Arc::default());
        shelf.begin();
        let (video, audio) = (video(0x0d), audio());
        let mut stage = Self { segmenter: Segmenter::new(LEAST, None, None), shelf, video, audio };
        stage.announce();
        stage
    }

    pub fn announce(&mut self) {
        self.segmenter.track(&self.video);
        self.segmenter.track(&self.audio);
    }

    pub fn end(&mut self, now: i64) {
        self.shelf.end(self.shelf.publishers(), Time::from_millis(now as u64));
    }

    pub fn republish(&mut self, now: i64) {
        self.segmenter.finish();
        self.shelve(now);
        self.end(now);
        self.shelf.begin();
        self.segmenter = Segmenter::new(LEAST, self.shelf.target(), self.shelf.first.clone());
        self.announce();
    }

    pub fn shelve(&mut self, now: i64) {
        for made in self.segmenter.take() {
            self.shelf.add(made, 2, Time::from_millis(now as u64));
        }
        self.segmenter.fix(self.shelf.target());
        self.shelf.first = self.segmenter.first().cloned();
    }

    /// A picture and the audio beside it, at a publisher's time, as it arrives at `now`.
    pub fn picture(&mut self, time: i64, key: bool, now: i64) {
        let payload = Bytes::from(vec![1; if key { 4000 } else { 400 }]);
        let frame = Frame { track: Arc::clone(&self.video), dts: time, pts: time + 40, key, payload };
        self.segmenter.frame(&frame, at(now));
        let payload = Bytes::from_static(&[0x21; 120]);
        let frame = Frame { track: Arc::clone(&self.audio), dts: time, pts: time, key: true, payload };
        self.segmenter.frame(&frame, at(now));
        self.shelve(now);
    }

    pub fn list(&self) -> List {
        List::read(&self.shelf.media("?session=x").unwrap())
    }
}

/// A media playlist, as its lines say.
#[derive(Debug, Default)]
pub(super) struct List {
    pub target: u64,
    pub first: u64,
    pub discontinuities: u64,
    pub ended: bool,
    pub independent: bool,
    pub segments: Vec<Listed>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    pub uri: String,
    pub seconds: f64,
    pub date: String,
    pub broken: bool,
    pub map: Option<String>,
}

impl List {
    pub fn read(text: &str) -> Self {
        let mut list = Self::default();
        let mut open = Listed::default();
        for line in lines(text.as_bytes()) {
            match line.unwrap().what {
                What::Tag(tag) => {
                    let number = || tag.wanted().unwrap().integer().unwrap();
                    match tag.name.text {
                        "EXT-X-TARGETDURATION" => list.target = number(),
                        "EXT-X-MEDIA-SEQUENCE" => list.first = number(),
                        "EXT-X-DISCONTINUITY-SEQUENCE" => list.discontinuities = number(),
                        "EXT-X-DISCONTINUITY" => open.broken = true,
                        "EXT-X-INDEPENDENT-SEGMENTS" => list.independent = true,
                        "EXT-X-ENDLIST" => list.ended = true,
                        "EXT-X-PROGRAM-DATE-TIME" => open.date = tag.wanted().unwrap().text.to_owned(),
                        "EXT-X-MAP" => open.map = tag.attribute("URI").map(|v| v.text().text.to_owned()),
                        "EXTINF" => open.seconds = tag.segment().unwrap().0,
                        _ => {}
                    }
                }
                What::Uri(uri) => {
                    let map = open.map.clone();
                    list.segments.push(Listed { uri: uri.text.to_owned(), ..std::mem::take(&mut open) });
                    open.map = map;
                }
                _ => {}
            }
        }
        list
    }
}

#[test]
fn an_hour_of_jittery_pictures_keeps_every_promise_of_the_list() {
    let mut stage = Stage::new();
    let (mut last, mut dates) = (None, std::collections::HashMap::new());
    let mut seed = 1u64;
    for n in 0..90_000i64 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let jitter = ((seed >> 60) as i64) - 8;
        stage.picture(n * 40 + jitter, n % 50 == 0, n * 40 + 5);
        if n % 50 != 1 || n < 200 {
            continue;
        }
        let list = stage.list();
        assert_eq!(list.target, 2, "the target duration changes");
        assert!(
            list.segments.iter().all(|s| s.seconds.round() <= 2.0 && s.seconds > 1.9 && s.seconds < 2.1),
            "{list:?}"
        );
        assert!(list.segments.len() <= 6 && list.discontinuities == 0 && !list.ended);
        for (number, segment) in (list.first..).zip(&list.segments) {
            assert_eq!(segment.uri, format!("{number}.m4s?session=x"));
            let date = dates.entry(number).or_insert_with(|| segment.date.clone());
            assert_eq!(*date, segment.date, "the date of segment {number} changes");
        }
        assert!(last.is_none_or(|l| list.first == l || list.first == l + 1));
        last = Some(list.first);
        let kept = (list.first.saturating_sub(6)..list.first)
            .filter(|m| stage.shelf.file(&format!("{m}.m4s")).is_some());
        assert!(n < 1000 || kept.count() >= 6, "segments go before the list that had them is played");
        assert!(
            stage.shelf.file(&format!("{}.m4s", list.first - 20)).is_none(),
            "old segments are kept for ever"
        );
    }
    assert_eq!(last, Some(START as u64 + 1800 - 7));
}

#[test]
fn republishing_goes_on_with_a_discontinuity_that_is_counted_when_it_leaves() {
    let mut stage = Stage::new();
    for n in 0..250 {
        stage.picture(n * 40, n % 50 == 0, n * 40);
    }
    let before = stage.list();
    stage.republish(10_000);
    let ended = |stage: &mut Stage| {
        stage.end(10_000);
        stage.list().ended
    };
    assert!(ended(&mut stage));
    stage.shelf.begin();
    // The end of one who was followed by another ends nothing.
    stage.shelf.end(stage.shelf.publishers() - 1, Time::from_millis(10_000));
    assert!(!stage.list().ended);
    stage.video = video(0x1e);
    stage.announce();
    let mut counted = Vec::new();
    for n in 0..1000 {
        stage.picture(n * 40, n % 50 == 0, 12_000 + n * 40);
        if n % 50 == 1 && n > 50 {
            let list = stage.list();
            assert!(!list.ended && list.target == before.target);
            let broken = list.segments.iter().filter(|s| s.broken).count() as u64;
            assert_eq!(broken + list.discontinuities, 1, "one republish, one discontinuity: {list:?}");
            for pair in list.segments.windows(2) {
                assert_eq!(pair[1].broken, pair[0].map != pair[1].map);
            }
            counted.push(list.discontinuities);
        }
    }
    assert_eq!((counted.first(), counted.last()), (Some(&0), Some(&1)));
    assert!(stage.list().first > before.first + 10);
}

#[test]
fn the_target_duration_holds_even_where_key_frames_become_rare() {
    let mut stage = Stage::new();
    for n in 0..500 {
        stage.picture(n * 40, n % 50 == 0, n * 40);
    }
    let promised = |stage: &Stage| {
        let multivariant = stage.shelf.multivariant("").unwrap();
        (stage.list().independent, multivariant.contains("\n#EXT-X-INDEPENDENT-SEGMENTS\n"))
    };
    assert_eq!(promised(&stage), (true, true), "every segment begins with a key frame");
    for n in 500..2000 {
        stage.picture(n * 40, n % 250 == 0, n * 40);
        let list = stage.list();
        assert!(list.target == 2 && list.segments.iter().all(|s| s.seconds.round() <= 2.0), "{list:?}");
    }
    assert_eq!(promised(&stage), (false, false), "no promise that is not kept");
}

/// A clock that is not to be relied on: what comes at `n` is of another time of day.
#[test]
fn times_that_jump_make_a_discontinuity_and_dreams_of_one_picture_none() {
    const HOUR: i64 = 3_600_000;
    let mut stage = Stage::new();
    let (mut seen, mut counted) = (std::collections::BTreeMap::new(), 0);
    for n in 0..1500i64 {
        let away = match n {
            0..200 => 9 * HOUR,
            // Ahead between two segments, back in the middle of one, on a key frame and between two.
            200..475 => 14 * HOUR,
            475..690 => 2 * HOUR,
            // One picture of another day, and a drift that is none.
            812 | 901 => -30 * HOUR,
            1000.. => (n - 1000) * 3,
            _ => 0,
        };
        stage.picture(n * 40 + away, n % 25 == 0, n * 40);
        if n < 100 {
            continue;
        }
        let list = stage.list();
        assert_eq!(list.target, 2);
        for (number, segment) in (list.first..).zip(&list.segments) {
            assert!(segment.seconds >= 1.0 && segment.seconds.round() <= 2.0, "{list:?}");
            seen.insert(number, segment.broken);
        }
        let before = seen.range(..list.first).filter(|(_, broken)| **broken).count() as u64;
        assert_eq!(list.discontinuities, before, "breaks that left the list are counted: {list:?}");
        counted = list.discontinuities;
    }
    assert_eq!(counted, 3, "{seen:?}");
}

#[test]
fn sbr_that_only_the_frames_tell_of_is_in_the_codecs() {
    // A fill element of eight bytes: SBR data, and behind it PS data or nothing; then END.
    let frame = |ps: bool| {
        let extended = if ps { "1001110".to_owned() + &"01".repeat(11) + "0000000" } else { "0".repeat(36) };
        let bits = format!("0100{}{}1101{}{extended}111", "110", "1000", "01".repeat(12));
        let bits = format!("{bits}{}", "0".repeat((8 - bits.len() % 8) % 8));
        let byte = |bits: &[u8]| bits.iter().fold(0u8, |value, bit| value << 1 | (bit - b'0'));
        Bytes::from(bits.as_bytes().chunks(8).map(byte).collect::<Vec<u8>>())
    };
    // AAC-LC at 24 kHz, of which nothing is said, and at 48 kHz, where no SBR can be.
    for (config, payload, want) in [
        ([0x13, 0x10], frame(false), "mp4a.40.5"),
        ([0x13, 0x10], frame(true), "mp4a.40.29"),
        ([0x13, 0x10], Bytes::from_static(&[0x21; 60]), "mp4a.40.2"),
        ([0x11, 0x90], frame(true), "mp4a.40.2"),
    ] {
        let mut segmenter = Segmenter::new(LEAST, None, None);
        let sound = track(Codec::Aac, config.to_vec());
        segmenter.track(&sound);
        for n in 0..500i64 {
            let (time, payload) = (n * 128 / 3, payload.clone());
            let frame = Frame { track: Arc::clone(&sound), dts: time, pts: time, key: true, payload };
            segmenter.frame(&frame, at(time));
        }
        let made = segmenter.take();
        assert!(made.len() > 3);
        assert!(made.iter().all(|m| m.about.codecs == want), "{want}: {:?}", made[0].about);
        assert_eq!(made.iter().filter(|m| m.opening.is_some()).count(), 1);
        let opening = made[0].opening.clone().unwrap();
        let mut told =
            media::mp4::Demuxer::open(Bytes::from([&opening[..], &made[0].bytes[..]].concat())).unwrap();
        let told = told.next().unwrap().unwrap().track;
        assert_eq!(media::mp4::codec_string(&told).as_deref(), Some(want), "{:02x?}", told.config);
    }
}

#[test]
fn the_multivariant_playlist_tells_the_truth() {
    let mut stage = Stage::new();
    assert!(
        stage.shelf.multivariant("").is_none() && stage.shelf.media("").is_none() && stage.shelf.is_coming()
    );
    for n in 0..300 {
        stage.picture(n * 40, n % 50 == 0, n * 40);
    }
    let text = stage.shelf.multivariant("?session=abc").unwrap();
    let line = lines(text.as_bytes()).map(Result::unwrap).find_map(|l| match l.what {
        What::Tag(tag) if tag.is("EXT-X-STREAM-INF") => Some(tag),
        _ => None,
    });
    let tag = line.unwrap();
    let text_of = |name| tag.attribute(name).unwrap().text();
    assert_eq!(text_of("CODECS").text, "avc1.4d400d,mp4a.40.2");
    assert_eq!(text_of("FRAME-RATE").text, "25.000");
    let number = |name| text_of(name).integer().unwrap();
    let sizes: Vec<u64> = stage
        .list()
        .segments
        .iter()
        .map(|s| {
            (stage.shelf.file(s.uri.split('?').next().unwrap()).unwrap().bytes.len() as f64 * 8.0 / s.seconds)
                .ceil() as u64
        })
        .collect();
    let peak = *sizes.iter().max().unwrap();
    assert!(number("BANDWIDTH") >= peak && number("BANDWIDTH") <= peak * 111 / 100);
    assert!(
        number("AVERAGE-BANDWIDTH") <= peak && number("AVERAGE-BANDWIDTH") >= *sizes.iter().min().unwrap()
    );
    assert!(text.ends_with("\nstream.m3u8?session=abc\n"));
    let init = stage.shelf.file(&format!("init-{START}.mp4")).unwrap();
    assert_eq!(&init.bytes[4..8], b"ftyp");
    for nothing in ["init-0.mp4", "0.m4s", "+1.m4s", "01.m4s", "x", "../a", ""] {
        assert!(stage.shelf.file(nothing).is_none(), "{nothing}");
    }
}

#[test]
fn what_cannot_be_carried_is_said_and_sound_alone_is_cut_anywhere() {
    let mut segmenter = Segmenter::new(LEAST, None, None);
    segmenter.track(&track(Codec::Mp3, Vec::new()));
    assert!(segmenter.is_unfit());
    let mut segmenter = Segmenter::new(LEAST, None, None);
    let sound = audio();
    segmenter.track(&sound);
    assert!(!segmenter.is_unfit());
    for n in 0..500i64 {
        let payload = Bytes::from_static(&[0x21; 60]);
        let time = n * 64 / 3;
        segmenter
            .frame(&Frame { track: Arc::clone(&sound), dts: time, pts: time, key: true, payload }, at(time));
    }
    let made: Vec<Made> = segmenter.take();
    assert_eq!(made.len(), 5);
    assert!(made.iter().all(|m| m.key && (2_000_000..2_050_000).contains(&m.micros)), "{made:?}");
    assert_eq!(made[0].about.codecs, "mp4a.40.2");
}

#[test]
fn an_ended_path_is_forgotten_after_its_list_was_played() {
    let mut stage = Stage::new();
    for n in 0..100 {
        stage.picture(n * 40, n % 50 == 0, n * 40);
    }
    assert!(stage.shelf.tick(Time::from_millis(3_600_000)), "a live path is never forgotten");
    stage.end(3_600_000);
    assert!(stage.shelf.tick(Time::from_millis(3_620_000)));
    assert!(!stage.shelf.tick(Time::from_millis(3_700_000)));
}

/// Viewers of one path with a target duration of 2 s, on virtual time.
struct House {
    registry: Registry,
    viewers: Viewers,
    live: Arc<Live>,
}

impl House {
    fn new() -> Self {
        let live = Hls::default().begin(&"live/a".into(), &Arc::default(), 6, START as u64).unwrap();
        let mut stage = Stage::new();
        for n in 0..60 {
            let payload = Bytes::from_static(&[1; 400]);
            let (track, time) = (Arc::clone(&stage.video), n * 40);
            let frame = Frame { track, dts: time, pts: time, key: n % 50 == 0, payload };
            stage.segmenter.frame(&frame, at(time));
        }
        let made = stage.segmenter.take().remove(0);
        live.shelf().add(made, 2, Time::from_millis(0));
        assert_eq!(live.shelf().target(), Some(2));
        Self { registry: Registry::default(), viewers: Viewers::default(), live }
    }

    fn visit(&self, id: Option<&str>, most: usize, seconds: u64) -> Option<Visit> {
        let address: SocketAddr = "192.0.2.1:40000".parse().unwrap();
        let asker = Asker { address, agent: "test" };
        let now = Time::from_millis(seconds * 1000);
        self.viewers.visit(id, &self.live, asker, &self.registry, most, now)
    }

    fn watching(&self, seconds: u64) -> usize {
        self.viewers.tick(&self.registry, Time::from_millis(seconds * 1000));
        self.viewers.count("live/a")
    }
}

#[test]
fn a_viewer_ends_after_three_target_durations_of_silence() {
    let house = House::new();
    let visit = house.visit(None, 10, 0).unwrap();
    let name = visit.session.id.to_string();
    assert!(is_name(&name));
    assert_eq!(house.watching(0), 0, "who asked for names only does not watch");
    visit.session.watches(&house.registry);
    drop(visit);
    assert_eq!(house.watching(6), 1);
    drop(house.visit(Some(&name), 10, 6).unwrap());
    assert_eq!(house.watching(12), 1, "every request counts");
    let slow = house.visit(Some(&name), 10, 12).unwrap();
    assert_eq!(house.watching(100), 1, "nobody ends while something is being sent");
    slow.session.stays(Time::from_millis(100_000));
    drop(slow);
    assert_eq!(house.watching(106), 1);
    assert_eq!(house.watching(107), 0);
    let ended = house.registry.clients(Time::from_millis(107_000)).remove(0);
    assert_eq!((ended.role, ended.ended.map(|(at, _)| at.as_millis())), (Role::Viewer, Some(107_000)));
    // The same name is a new session then.
    house.visit(Some(&name), 10, 108).unwrap().session.watches(&house.registry);
    assert_eq!(house.registry.clients(Time::from_millis(108_000)).len(), 2);
}

#[test]
fn who_never_watches_makes_room_for_others() {
    let house = House::new();
    let watching = house.visit(None, 4, 0).unwrap();
    watching.session.watches(&house.registry);
    for second in 1..100 {
        assert!(house.visit(None, 4, second).is_some(), "those that ask again and again push each other out");
    }
    let held: Vec<_> = (0..3).map(|_| house.visit(None, 4, 100).unwrap()).collect();
    assert!(house.visit(None, 4, 100).is_none(), "all are busy");
    drop(held);
    assert_eq!(house.viewers.count("live/a"), 1, "who watches stays");
}
