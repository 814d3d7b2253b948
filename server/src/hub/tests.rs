#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::arithmetic_side_effects)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use media::{Codec, Frame, Kind, Track, Unit};
use model::Protocol;
use session::Time;

use super::{Bounds, Busy, Form, Hub, Piece, Publisher, PublisherSnapshot, Took, Viewer, What};
use crate::counted::counted;
use crate::signal::{DATA, ROOM, Signal};

const BOUNDS: Bounds = Bounds { bytes: 64 << 20, total: 1 << 30, time: 30_000, lag: 5_000 };

fn who(id: &str) -> PublisherSnapshot {
    PublisherSnapshot { id: id.into(), protocol: Protocol::Rtmp, address: "10.0.0.1:4000".parse().unwrap() }
}

fn track(codec: Codec, config: &'static [u8]) -> Arc<Track> {
    let config = Bytes::from_static(config);
    Arc::new(Track { codec, config, clock: 1000, flv_flags: None, description: String::new() })
}

/// A publisher of one video and one audio track.
struct Cam {
    publisher: Publisher,
    video: Option<Arc<Track>>,
    audio: Arc<Track>,
    size: usize,
}

impl Cam {
    fn start(hub: &Arc<Hub>, path: &str) -> Self {
        let publisher = hub.publish(path, who("cam"), Time::from_millis(0)).unwrap();
        let (video, audio) = (track(Codec::H264, b"V1"), track(Codec::Aac, b"A1"));
        let mut cam = Self { publisher, video: Some(video.clone()), audio: audio.clone(), size: 100 };
        cam.publisher.push(Unit::Metadata(Bytes::from_static(b"M1")), 0);
        cam.publisher.push(Unit::Track(video), 0);
        cam.publisher.push(Unit::Track(audio), 0);
        cam
    }

    fn sound_only(hub: &Arc<Hub>, path: &str) -> Self {
        let publisher = hub.publish(path, who("mic"), Time::from_millis(0)).unwrap();
        let audio = track(Codec::Aac, b"A1");
        let mut cam = Self { publisher, video: None, audio: audio.clone(), size: 100 };
        cam.publisher.push(Unit::Track(audio), 0);
        cam
    }

    fn frame(&mut self, kind: Kind, at: i64, key: bool) {
        let track = match kind {
            Kind::Video => self.video.clone().unwrap(),
            Kind::Audio => self.audio.clone(),
        };
        let payload = Bytes::from(vec![7; self.size]);
        let frame = Frame { track, dts: at, pts: at, key, payload };
        self.publisher.push(Unit::Frame(frame), (at & 0xffff_ffff) as u32);
        self.publisher.flush_if_due();
    }

    fn picture(&mut self, at: i64, key: bool) {
        self.frame(Kind::Video, at, key);
    }

    fn sound(&mut self, at: i64) {
        self.frame(Kind::Audio, at, true);
    }
}

/// A viewer that writes down what it gets.
struct Eye {
    viewer: Viewer,
    signal: Arc<Signal>,
}

impl Eye {
    fn open(hub: &Arc<Hub>, path: &str) -> Self {
        let signal = Arc::new(Signal::default());
        Self { viewer: hub.watch(path, Arc::clone(&signal)), signal }
    }

    fn woken(&self) -> bool {
        self.signal.take(DATA) != 0
    }

    fn take(&mut self, limit: usize, seen: &mut Vec<String>) -> Took {
        self.viewer.take(limit, &mut |piece| {
            let (line, length) = match piece {
                Piece::Metadata(m, t) => (format!("{}@{t}", String::from_utf8_lossy(m)), m.len()),
                Piece::Track(track, t) => (format!("{}@{t}", String::from_utf8_lossy(&track.config)), 2),
                Piece::Frame(item) => {
                    let frame = item.frame().unwrap();
                    let kind = match (frame.track.kind(), frame.key) {
                        (Kind::Audio, _) => 'a',
                        (Kind::Video, true) => 'K',
                        (Kind::Video, false) => 'v',
                    };
                    (format!("{kind}{}", frame.dts), frame.payload.len())
                }
                Piece::Data(item) => {
                    let What::Data(data) = &item.what else { panic!("{item:?}") };
                    (format!("{}@{}", String::from_utf8_lossy(data), item.timestamp), data.len())
                }
            };
            seen.push(line);
            length
        })
    }

    /// Everything there is.
    fn see(&mut self) -> String {
        let mut seen = Vec::new();
        loop {
            match self.take(1 << 20, &mut seen) {
                Took::All => return seen.join(" "),
                Took::Some => {}
                Took::Began => seen.push("began".into()),
                Took::Ended => seen.push("ended".into()),
            }
        }
    }
}

#[test]
fn one_publisher_a_path() {
    let hub = Hub::new(BOUNDS);
    let cam = Cam::start(&hub, "live/a");
    let busy = hub.publish("live/a", who("other"), Time::from_millis(5));
    assert_eq!(busy.unwrap_err(), Busy(who("cam")));
    assert!(hub.publish("live/b", who("other"), Time::from_millis(5)).is_ok());
    drop(cam);
    assert!(hub.publish("live/a", who("other"), Time::from_millis(9)).is_ok());
    assert!(hub.list().is_empty(), "streams that nobody uses are forgotten");
}

#[test]
fn a_viewer_that_waits_sees_everything_from_the_first_frame() {
    let hub = Hub::new(BOUNDS);
    let mut eye = Eye::open(&hub, "live/a");
    assert_eq!(eye.see(), "");
    assert_eq!(hub.list()[0].viewers, 1);
    let mut cam = Cam::start(&hub, "live/a");
    assert!(eye.woken());
    assert_eq!(eye.see(), "began");
    cam.picture(0, true);
    cam.sound(10);
    cam.picture(40, false);
    assert_eq!(eye.see(), "M1@0 V1@0 A1@0 K0 a10 v40");
    drop(cam);
    assert_eq!(eye.see(), "ended");
    assert_eq!(eye.see(), "");
}

#[test]
fn data_keeps_its_place_among_the_frames() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    let mut eye = Eye::open(&hub, "live/a");
    cam.picture(0, true);
    cam.publisher.push_data(Bytes::from_static(b"D1"), 7);
    assert_eq!(eye.see(), "M1@0 V1@0 A1@0 K0", "it leaves with what comes next");
    cam.sound(10);
    cam.publisher.push_data(Bytes::from_static(b"D2"), 12);
    cam.picture(40, false);
    assert_eq!(eye.see(), "D1@7 a10 D2@12 v40");
    cam.publisher.push(Unit::Metadata(Bytes::new()), 0);
    cam.picture(80, true);
    assert_eq!(Eye::open(&hub, "live/a").see(), "V1@80 A1@80 K80", "metadata was taken back");

    let mut alone = hub.publish("live/b", who("data"), Time::from_millis(0)).unwrap();
    let mut eye = Eye::open(&hub, "live/b");
    alone.push_data(Bytes::from_static(b"D"), 5);
    alone.flush_if_due();
    assert_eq!(eye.see(), "D@5", "nothing else will come that it could wait for");
}

#[test]
fn what_waits_for_a_picture_that_never_comes_is_bounded() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    let mut eye = Eye::open(&hub, "live/a");
    (0..5000).for_each(|_| cam.sound(7));
    let sounds = eye.see().matches("a7").count();
    assert!((4000..5000).contains(&sounds), "sounds of one time: {sounds} of 5000");
    for _ in 0..5000 {
        cam.publisher.push_data(Bytes::from_static(b"D"), 7);
        cam.publisher.flush_if_due();
    }
    let data = eye.see().matches("D@7").count();
    assert!((4000..5000).contains(&data), "{data} of 5000");
}

#[test]
fn configurations_and_metadata_count_as_much_as_they_hold() {
    let hub = Hub::new(Bounds { bytes: 1 << 20, ..BOUNDS });
    let mut cam = Cam::start(&hub, "live/a");
    let held = Arc::new(());
    let mut most = 0;
    for n in 0..2000u32 {
        let mut metadata = n.to_be_bytes().to_vec();
        metadata.resize(10_000, 0);
        cam.publisher.push(Unit::Metadata(counted(&held, &metadata)), n);
        cam.sound(i64::from(n));
        most = most.max(Arc::strong_count(&held));
    }
    assert!((50..150).contains(&most), "{most} of 10,000 bytes in a ring of a MiB");
}

#[test]
fn a_medium_can_be_left_out_and_taken_again_with_its_configuration_and_a_key_picture() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    let mut eye = Eye::open(&hub, "live/a");
    eye.viewer.want(Kind::Video, true);
    cam.picture(0, true);
    assert_eq!(eye.see(), "M1@0 V1@0 A1@0 K0");
    eye.viewer.want(Kind::Video, false);
    for at in [40, 80] {
        cam.sound(at - 5);
        cam.picture(at, false);
    }
    assert_eq!(eye.see(), "a35 a75");
    eye.viewer.want(Kind::Video, true);
    cam.picture(120, false);
    cam.sound(130);
    cam.picture(160, true);
    eye.viewer.want(Kind::Audio, false);
    cam.sound(170);
    cam.picture(200, false);
    assert_eq!(eye.see(), "V1@160 K160 v200");
    eye.viewer.want(Kind::Audio, true);
    cam.sound(210);
    cam.picture(240, false);
    assert_eq!(eye.see(), "A1@210 a210 v240");
    assert_eq!(eye.viewer.dropped(), 0, "what is not wanted is not lost");
}

#[test]
fn after_a_pause_a_viewer_goes_on_with_what_is_live() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    let mut eye = Eye::open(&hub, "live/a");
    cam.picture(0, true);
    assert_eq!(eye.see(), "M1@0 V1@0 A1@0 K0");
    // A key picture came meanwhile: with that.
    for at in [40, 80, 120] {
        cam.picture(at, at == 80);
    }
    eye.viewer.resume();
    assert_eq!(eye.see(), "K80 v120");
    // None came: with the next one, and the sound of now.
    cam.picture(160, false);
    eye.viewer.resume();
    assert_eq!(eye.see(), "");
    cam.sound(170);
    cam.picture(200, false);
    cam.picture(240, true);
    assert_eq!(
        eye.see(),
        "a170 K240",
        "what waited in the ring and what needs an older picture are left out"
    );
    assert_eq!(eye.viewer.dropped(), 0);
    // The publisher changed.
    drop(cam);
    let mut cam = Cam::start(&hub, "live/a");
    cam.picture(0, true);
    eye.viewer.resume();
    assert_eq!(eye.see(), "began M1@0 V1@0 A1@0 K0");
    drop(cam);
    eye.viewer.resume();
    assert_eq!(eye.see(), "ended");
}

#[test]
fn a_late_viewer_gets_the_configuration_and_the_last_key_frame_at_once() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    for i in 0..130 {
        cam.picture(i * 40, i % 50 == 0);
        cam.sound(i * 40 + 3);
    }
    let mut eye = Eye::open(&hub, "live/a");
    let seen = eye.see();
    assert!(seen.starts_with("M1@4000 V1@4000 A1@4000 K4000 a4003 v4040 "), "{seen}");
    assert!(seen.ends_with("v5160"), "sound rides along with the next picture: {seen}");
    assert_eq!(eye.viewer.dropped(), 0);
}

#[test]
fn a_viewer_without_a_key_frame_to_start_at_gets_sound_and_waits() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    cam.picture(0, false);
    cam.sound(10);
    cam.picture(40, false);
    let mut eye = Eye::open(&hub, "live/a");
    cam.sound(50);
    cam.picture(80, false);
    cam.picture(120, true);
    cam.picture(160, false);
    assert_eq!(eye.see(), "M1@50 V1@50 A1@50 a50 K120 v160");
    assert_eq!(eye.viewer.dropped(), 0, "what a new viewer waits for was never its own");
}

#[test]
fn sound_alone_starts_now() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::sound_only(&hub, "radio");
    for i in 0..100 {
        cam.sound(i * 20);
    }
    let mut eye = Eye::open(&hub, "radio");
    assert_eq!(eye.see(), "");
    cam.sound(2000);
    assert!(eye.woken(), "without pictures every audio frame wakes");
    assert_eq!(eye.see(), "A1@2000 a2000");
}

#[test]
fn one_wake_up_a_picture_and_sound_does_not_wait_for_pictures_that_stall() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    let mut eye = Eye::open(&hub, "live/a");
    cam.picture(0, true);
    assert!(eye.woken());
    eye.see();
    for at in [5, 26, 45] {
        cam.sound(at);
        assert!(!eye.woken(), "{at}");
    }
    cam.sound(66);
    assert!(eye.woken(), "more than 40 ms of sound do not wait");
    assert_eq!(eye.see(), "a5 a26 a45 a66");
    cam.sound(87);
    assert!(!eye.woken());
    cam.picture(90, false);
    assert!(eye.woken());
    assert_eq!(eye.see(), "a87 v90");
}

#[test]
fn a_slow_viewer_is_moved_to_the_newest_key_frame_and_the_rest_is_counted() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    cam.picture(0, true);
    let (mut fast, mut slow) = (Eye::open(&hub, "live/a"), Eye::open(&hub, "live/a"));
    assert_eq!(slow.see(), "M1@0 V1@0 A1@0 K0");
    let mut fast_got = fast.see().split(' ').count();
    let mut next = 0;
    for i in 1..=200 {
        cam.picture(i * 40, i % 50 == 0);
        fast_got += fast.see().split(' ').count();
        next = i * 40;
    }
    assert_eq!(next, 8000);
    assert_eq!(fast_got, 3 + 201, "nobody else notices");
    assert_eq!(fast.viewer.dropped(), 0);
    // It had the frame at 0; those at 40 to 7960 are left out.
    assert_eq!(slow.see(), "K8000", "the configuration has not changed and is not repeated");
    assert_eq!(slow.viewer.dropped(), 199);
}

#[test]
fn a_slow_viewer_that_is_moved_hears_of_a_changed_configuration() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    cam.picture(0, true);
    let mut slow = Eye::open(&hub, "live/a");
    assert_eq!(slow.see(), "M1@0 V1@0 A1@0 K0");
    for i in 1..150 {
        cam.picture(i * 40, false);
    }
    cam.video = Some(track(Codec::H264, b"V2"));
    cam.publisher.push(Unit::Track(cam.video.clone().unwrap()), 6000);
    cam.picture(6000, true);
    assert_eq!(slow.see(), "V2@6000 K6000");
    assert_eq!(slow.viewer.dropped(), 149);
}

#[test]
fn slow_listeners_of_sound_alone_go_on_from_now() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::sound_only(&hub, "radio");
    cam.sound(0);
    let mut slow = Eye::open(&hub, "radio");
    for i in 1..=400 {
        cam.sound(i * 20);
    }
    assert_eq!(slow.see(), "");
    cam.sound(8020);
    assert_eq!(slow.see(), "A1@8020 a8020");
    assert_eq!(slow.viewer.dropped(), 400);
}

#[test]
fn a_change_of_configuration_reaches_all_viewers_in_order() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    cam.picture(0, true);
    let mut eye = Eye::open(&hub, "live/a");
    assert_eq!(eye.see(), "M1@0 V1@0 A1@0 K0");
    cam.audio = track(Codec::Aac, b"A2");
    let audio = cam.audio.clone();
    cam.publisher.push(Unit::Track(audio), 30);
    cam.sound(30);
    cam.publisher.push(Unit::Metadata(Bytes::from_static(b"M2")), 0);
    cam.publisher.push(Unit::Metadata(Bytes::from_static(b"M2")), 0);
    cam.picture(40, false);
    assert_eq!(eye.see(), "A2@30 a30 M2@30 v40");
    // Who comes now starts at the key frame, under the configuration of that time.
    assert_eq!(Eye::open(&hub, "live/a").see(), "M1@0 V1@0 A1@0 K0 A2@30 a30 M2@30 v40");
}

#[test]
fn viewers_that_stay_see_the_next_publisher_from_its_start() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    cam.picture(90_000, true);
    let (mut eye, mut slow) = (Eye::open(&hub, "live/a"), Eye::open(&hub, "live/a"));
    assert_eq!(eye.see(), "M1@90000 V1@90000 A1@90000 K90000");
    drop(cam);
    assert_eq!(eye.see(), "ended");
    let mut late = Eye::open(&hub, "live/a");
    assert_eq!(late.see(), "", "a stream that is over is not shown to anybody new");
    let mut cam = Cam::start(&hub, "live/a");
    cam.picture(0, true);
    assert_eq!(eye.see(), "began M1@0 V1@0 A1@0 K0", "the same configuration is told again");
    assert_eq!(late.see(), "began M1@0 V1@0 A1@0 K0");
    assert_eq!(slow.see(), "M1@90000 V1@90000 A1@90000 K90000 ended began M1@0 V1@0 A1@0 K0");
}

#[test]
fn a_viewer_that_slept_over_two_publishers_is_told_of_the_present_one() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    cam.picture(0, true);
    let mut slow = Eye::open(&hub, "live/a");
    assert_eq!(slow.see(), "M1@0 V1@0 A1@0 K0");
    cam.picture(40, false);
    drop(cam);
    let mut cam = Cam::start(&hub, "live/a");
    for i in 0..=200 {
        cam.picture(i * 40, i % 50 == 0);
    }
    assert_eq!(slow.see(), "began M1@8000 V1@8000 A1@8000 K8000");
    assert_eq!(slow.viewer.dropped(), 201);
}

#[test]
fn frames_of_a_stream_that_is_over_are_freed() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    cam.picture(0, true);
    let mut stuck = Eye::open(&hub, "live/a");
    hub.tick(Time::from_millis(1_000), Duration::from_secs(10));
    drop(cam);
    let cost = |hub: &Hub| hub.streams()["live/a"].ring.read().unwrap().cost();
    hub.tick(Time::from_millis(10_000), Duration::from_secs(10));
    assert!(cost(&hub) > 0);
    hub.tick(Time::from_millis(12_000), Duration::from_secs(10));
    assert_eq!(cost(&hub), 0);
    assert_eq!(stuck.see(), "ended");
}

#[test]
fn an_hour_leaves_no_more_in_the_ring_than_a_minute() {
    let hub = Hub::new(Bounds { bytes: 2 << 20, ..BOUNDS });
    let mut cam = Cam::start(&hub, "live/a");
    cam.size = 1000;
    let mut eye = Eye::open(&hub, "live/a");
    let (mut most, mut frames) = (0, 0);
    let state = |hub: &Hub| {
        let streams = hub.streams();
        let ring = streams["live/a"].ring.read().unwrap();
        (ring.cost(), ring.end())
    };
    for i in 0..25 * 3600i64 {
        // A key frame every 2 s in the first half hour, then none any more.
        cam.picture(i * 40, i % 50 == 0 && i < 25 * 1800);
        let (cost, _) = state(&hub);
        most = most.max(cost);
        frames += eye.see().matches(['v', 'K']).count();
    }
    // 5 s of lag or one group of pictures of 2 s at 25/s before; 30 s at most after.
    assert!(most <= 30 * 25 * (2 * 1000 + 256) + 10_000, "{most}");
    assert!(most > 5 * 25 * 2000, "{most}");
    assert_eq!(frames, 25 * 3600);
    // Larger frames hit the bound in bytes.
    cam.size = 100_000;
    for i in 25 * 3600..25 * 3620i64 {
        cam.picture(i * 40, false);
    }
    assert!(state(&hub).0 <= 2 << 20);
    // Nobody can start at a key frame now; the next one brings pictures.
    let mut late = Eye::open(&hub, "live/a");
    let end = 25 * 3620i64 * 40;
    cam.picture(end, false);
    assert_eq!(late.see(), "");
    cam.picture(end + 40, true);
    assert_eq!(late.see(), format!("M1@{0} V1@{0} A1@{0} K{0}", end + 40));
}

#[test]
fn all_rings_together_are_bounded_too() {
    let hub = Hub::new(Bounds { total: 1_000_000, ..BOUNDS });
    let mut cams: Vec<_> = (0..4).map(|i| Cam::start(&hub, &format!("live/{i}"))).collect();
    let all = |hub: &Hub| hub.streams().values().map(|s| s.ring.read().unwrap().cost()).sum::<usize>();
    for i in 0..100 {
        for cam in &mut cams {
            cam.size = 10_000;
            cam.picture(i * 40, i == 0);
        }
    }
    assert!((900_000..=1_000_000).contains(&all(&hub)), "{}", all(&hub));
    // More come; those that were there give way, even where they are silent now.
    cams.extend((4..8).map(|i| Cam::start(&hub, &format!("live/{i}"))));
    hub.tick(Time::from_millis(1_000), Duration::from_secs(10));
    assert!(all(&hub) <= 500_000 + 4 * 1_000, "{}", all(&hub));
}

#[test]
fn timestamps_that_jump_age_nothing_at_once() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    cam.picture(1000, true);
    let mut eye = Eye::open(&hub, "live/a");
    eye.see();
    cam.picture(3_600_000, false);
    cam.picture(20, false);
    cam.picture(60, false);
    assert_eq!(eye.see(), "v3600000 v20 v60");
    assert!(Eye::open(&hub, "live/a").see().contains("K1000 v3600000 v20 v60"));
}

#[test]
fn blocks_are_written_once_for_each_form() {
    let hub = Hub::new(BOUNDS);
    let mut cam = Cam::start(&hub, "live/a");
    cam.size = 300;
    cam.picture(0, true);
    let block = |form: Form| {
        let mut blocks = Vec::new();
        let mut eye = Eye::open(&hub, "live/a");
        eye.viewer.take(1 << 20, &mut |piece| {
            if let Piece::Frame(item) = piece {
                blocks.push(item.block(form));
            }
            1
        });
        blocks.remove(0)
    };
    let usual = Form { chunk_size: 4096, stream: 1 };
    let (a, b) = (block(usual), block(usual));
    assert_eq!(a.as_ptr(), b.as_ptr());
    // fmt 0 on chunk stream 6: time 0, 305 bytes, video, stream 1; then key frame, NAL units, offset 0.
    assert_eq!(a[..17], [6, 0, 0, 0, 0, 1, 0x31, 9, 1, 0, 0, 0, 0x17, 1, 0, 0, 0]);
    assert_eq!(a.len(), 12 + 305);
    let other = Form { chunk_size: 128, stream: 2 };
    let (c, d) = (block(other), block(other));
    assert_eq!(c.as_ptr(), d.as_ptr());
    assert_eq!((c[8], c[12 + 128], c.len()), (2, 0xc6, 12 + 305 + 2));
    assert_eq!(Form::unpack(other.pack()), Some(other));
}

#[test]
fn who_keeps_everything_is_never_moved_on_and_holds_the_publisher_back() {
    let hub = Hub::new(Bounds { bytes: 100_000, ..BOUNDS });
    let mut cam = Cam::start(&hub, "live/a");
    let mut keeper = Eye { viewer: hub.keep("live/a"), signal: Arc::default() };
    let mut other = Eye::open(&hub, "live/a");
    assert_eq!(keeper.see(), other.see());
    let signal = Arc::new(Signal::default());
    cam.size = 900;
    // Far more media time than a viewer may lie behind, in few bytes.
    for second in 0..20 {
        cam.picture(second * 1000, second % 5 == 0);
    }
    assert!(cam.publisher.may_go_on(&signal));
    let all: Vec<_> =
        (0..20).map(|s| format!("{}{}", if s % 5 == 0 { 'K' } else { 'v' }, s * 1000)).collect();
    assert_eq!(keeper.see().split_whitespace().filter(|w| !w.contains('@')).collect::<Vec<_>>(), all);
    assert_eq!((keeper.viewer.dropped(), other.see().contains("K0 ")), (0, false));

    // Half a ring of bytes: the publisher is held until the keeper goes on, and told.
    let fill = |cam: &mut Cam, from: i64| {
        let sent = (from..from + 1000).find(|at| {
            cam.picture(*at, *at == from);
            !cam.publisher.may_go_on(&signal)
        });
        assert!(sent.is_some(), "never held");
    };
    fill(&mut cam, 20_000);
    assert_eq!(signal.take(ROOM), 0);
    let mut few = Vec::new();
    keeper.take(1, &mut few);
    assert_eq!((few.len(), signal.take(ROOM)), (1, ROOM));
    keeper.see();
    assert!(cam.publisher.may_go_on(&signal));

    // One that leaves holds nobody, whatever it has not had; the time holds again then.
    fill(&mut cam, 22_000);
    drop(keeper);
    assert_eq!(signal.take(ROOM), ROOM);
    assert!(cam.publisher.may_go_on(&signal));
}
