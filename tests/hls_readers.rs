//! HLS as readers see it that are not ours: hls.js in Chromium, GStreamer, and two parsers of playlists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::arithmetic_side_effects
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::chromium::{Player, Report, browser, hls_js, playlist};
use common::flv::{self, AUDIO, Tag, VIDEO};
use common::frames::framemd5;
use common::http::{Answer, get};
use common::peer::{GSTREAMER, Peer, ffmpeg_publishes, output};
use common::playlists::{List, Variant};
use common::rml::Publisher;
use common::server::Server;
use common::{clip, installed, root, say, wait_for, wait_until};

/// A server that cuts segments of a second where key frames allow it, and lists so many.
fn start(directory: &Path, window: usize) -> Server {
    let file = directory.join("serve.toml");
    std::fs::write(&file, format!("[hls]\nsegment = \"1s\"\nwindow = {window}\n")).unwrap();
    Server::start(&["--config", file.to_str().unwrap()])
}

/// ffmpeg publishes pictures that move, a key frame a second, with B-frames and a tone, in real time.
fn publishes_moving_pictures(directory: &Path, seconds: &str, url: &str) -> Peer {
    let picture = "testsrc2=size=320x180:rate=25";
    let arguments = [
        "-nostdin",
        "-re",
        "-f",
        "lavfi",
        "-i",
        picture,
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=48000",
        "-t",
        seconds,
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-profile:v",
        "high",
        "-level:v",
        "3.0",
        "-bf",
        "2",
        "-g",
        "25",
        "-sc_threshold",
        "0",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        "-ac",
        "2",
        "-f",
        "flv",
        url,
    ];
    Peer::start(directory, "ffmpeg-testsrc", "ffmpeg", &arguments)
}

#[track_caller]
fn watched_to_the_end(report: &Report, codecs: &str, size: (u64, u64)) {
    let number = |name: &str| report[name].as_f64().unwrap_or_default();
    assert_eq!(report["how"], "ended", "the end of the list ends the video: {report}");
    let fatal = report["errors"].as_array().unwrap().iter().any(|e| e.as_str().unwrap().contains("fatal"));
    assert!(!fatal, "{report}");
    assert!(number("pictures") >= 25.0, "the pictures move: {report}");
    assert!(number("audio") > 1000.0, "the sound is decoded: {report}");
    assert!(number("time") > 3.0, "{report}");
    assert_eq!(report["codecs"][0], codecs, "{report}");
    assert_eq!((number("width"), number("height")), (size.0 as f64, size.1 as f64), "{report}");
    let lists = report["lists"].as_array().unwrap();
    assert!(lists.len() >= 3, "the list was loaded again and again: {report}");
    let of = |name: &'static str| lists.iter().map(move |l| l[name].as_u64().unwrap());
    assert!(of("last").zip(of("last").skip(1)).all(|(a, b)| a <= b), "{report}");
    assert!(of("last").next_back() >= of("last").next().map(|n| n + 2), "segments came: {report}");
    assert_eq!(of("target").min(), of("target").max(), "{report}");
    assert!(lists[0]["live"] == true && lists.last().unwrap()["live"] == false, "{report}");
}

#[test]
fn hls_js_in_chromium_plays_live_streams_to_their_end() {
    let Some(hls_js) = hls_js() else { return };
    if !installed(&["ffmpeg", browser()]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let server = start(directory, 4);
    let he_aac = root().join("../shared/media/h264_heaac_v1.mp4");
    let mut paths = vec!["live/moving", "live/jumps"];
    if he_aac.is_file() {
        paths.push("live/he-aac");
    } else {
        say("left out: no HE-AAC clip here");
    }
    let urls: Vec<String> = paths.iter().map(|path| playlist(server.hls, path)).collect();
    let player = Player::open(directory, &hls_js, &urls);
    let moving = publishes_moving_pictures(directory, "8", &server.url("live/moving"));
    let jumps = jumps_by_an_hour(directory, &server.url("live/jumps"));
    let looped = (paths.len() > 2).then(|| {
        let (clip, url) = (he_aac.to_str().unwrap(), server.url("live/he-aac"));
        let arguments =
            ["-nostdin", "-re", "-stream_loop", "3", "-i", clip, "-t", "8", "-c", "copy", "-f", "flv", &url];
        Peer::start(directory, "ffmpeg-he-aac", "ffmpeg", &arguments)
    });
    paths.iter().for_each(|path| server.wait_published(path));
    player.go();
    wait_until("the browser to be counted as viewer", || server.clients("viewer", "live/moving").len() == 1);
    let viewer = server.clients("viewer", "live/moving").remove(0);
    assert!(viewer["agent"].as_str().unwrap().contains("Chrome"), "{viewer}");
    for _ in &paths {
        let report = player.report();
        let place = urls.iter().position(|url| report["url"] == url.as_str());
        // The third clip's AudioSpecificConfig does not say that it is HE-AAC: only its frames do.
        let (codecs, size) = match place {
            Some(0) => ("avc1.64001e,mp4a.40.2", (320, 180)),
            Some(1) => ("avc1.64001e,mp4a.40.2", (640, 360)),
            _ => ("avc1.4d400d,mp4a.40.5", (320, 180)),
        };
        watched_to_the_end(&report, codecs, size);
    }
    let list = List::read(&get(server.hls, "/live/jumps/stream.m3u8").text());
    assert_eq!(list.segments.iter().filter(|s| s.broken).count(), 1, "{list:?}");
    moving.ended_well();
    jumps.ended_well();
    looped.map(Peer::ended_well);
    server.stop();
}

/// The page that the server has for people: it waits for the stream, plays it to its end, over a place where its times jump, and
/// again when it is published again.
#[test]
fn the_servers_own_page_plays_in_chromium() {
    if !installed(&["ffmpeg", browser()]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let server = start(directory, 4);
    let player = Player::visit(directory, server.hls, "live/page");
    player.go();
    assert_eq!(player.report()["how"], "waits", "nobody publishes yet");
    for time in 1..=2 {
        let publisher = jumps_by_an_hour(directory, &server.url("live/page"));
        let report = player.report();
        assert_eq!(report["how"], format!("ended {time}"), "{report}");
        let number = |name: &str| report[name].as_f64().unwrap_or_default();
        assert!(number("pictures") >= 25.0 && number("audio") > 1000.0 && number("time") > 3.0, "{report}");
        assert_eq!((number("width"), number("height")), (640.0, 360.0), "{report}");
        let said: Vec<&str> = report["lists"].as_array().unwrap().iter().filter_map(|s| s.as_str()).collect();
        assert!(said.iter().any(|words| words.starts_with("640x360 · avc1.64001e,mp4a.40.2 · ")), "{report}");
        publisher.ended_well();
    }
    let wrong = get(server.hls, "/live/../page/");
    assert_eq!(wrong.status, 404);
    let moved = get(server.hls, "/live/page");
    assert_eq!((moved.status, &*moved.field("location")), (307, "page/"));
    server.stop();
}

/// Publishes the clip, in the middle of which an hour goes by.
fn jumps_by_an_hour(directory: &Path, url: &str) -> Peer {
    let clip = clip();
    let video = "setts=dts=DTS+3600000*gte(DTS\\,4000):pts=PTS+3600000*gte(DTS\\,4000)";
    let audio = "setts=ts=TS+3600000*gte(TS\\,4000)";
    let arguments = ["-nostdin", "-re", "-i", clip.to_str().unwrap(), "-c", "copy"];
    let arguments = [&arguments[..], &["-bsf:v", video, "-bsf:a", audio, "-f", "flv", url]].concat();
    Peer::start(directory, "ffmpeg-jumps", "ffmpeg", &arguments)
}

#[test]
fn gstreamer_gets_every_picture() {
    if !installed(&["ffmpeg", GSTREAMER]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let server = start(directory, 6);
    let publisher = ffmpeg_publishes(directory, &server.url("live/gst"));
    server.wait_published("live/gst");
    let url = playlist(server.hls, "live/gst");
    // A fragment holds its pictures before its sound: nothing may wait for the other.
    let sink = "queue ! checksumsink hash=md5 sync=false async=false";
    let pipeline = format!(
        "-q souphttpsrc location={url} ! hlsdemux ! qtdemux name=q q.video_0 ! {sink} q.audio_0 ! \
         queue ! fakesink sync=false async=false"
    );
    let words: Vec<&str> = pipeline.split_whitespace().collect();
    let reader = Peer::start(directory, "gstreamer", "gst-launch-1.0", &words);
    publisher.ended_well();
    let log = reader.ended_well();
    let is_hash = |word: &str| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let got: Vec<&str> = log.split_whitespace().filter(|word| is_hash(word)).collect();
    let source = directory.join("source.framemd5");
    let (clip, target) = (clip(), source.to_str().unwrap());
    let arguments =
        ["-v", "error", "-i", clip.to_str().unwrap(), "-c", "copy", "-y", "-f", "framemd5", target];
    output("ffmpeg", &arguments);
    let source = framemd5(&source);
    let want: Vec<&str> = source.video.iter().filter_map(|f| f.id.rsplit(' ').next()).collect();
    assert_eq!(got, want, "GStreamer wrote:\n{log}");
    server.stop();
}

/// Sends a clip a group of pictures at a time, and looks at the list after each: no clock is in it.
struct Stage<'a> {
    server: &'a Server,
    path: &'a str,
    query: String,
    lists: Vec<List>,
    /// Bits per second of every segment that was fetched, by its number.
    rates: BTreeMap<u64, f64>,
}

/// So many tags behind a key frame there were sound and another picture.
const BEHIND: usize = 5;

impl Stage<'_> {
    fn fetch(&self, file: &str) -> Answer {
        get(self.server.hls, &format!("/{}/{file}", self.path))
    }

    fn list(&self) -> List {
        let answer = self.fetch(&format!("stream.m3u8{}", self.query));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("content-type"), "application/vnd.apple.mpegurl");
        List::read(&answer.text())
    }

    /// Waits for a list that `holds`, keeps it, and fetches what is new in it: whatever is listed is complete.
    #[track_caller]
    fn next(&mut self, what: &str, holds: impl Fn(&List) -> bool) {
        let list = wait_for(what, || Some(self.list()).filter(&holds));
        for (number, segment) in (list.first..).zip(&list.segments) {
            assert_eq!(segment.uri, format!("{number}.m4s{}", self.query));
            if self.rates.contains_key(&number) {
                continue;
            }
            let answer = self.fetch(&segment.uri);
            assert_eq!((answer.status, boxes(&answer.body)), (200, vec!["moof".into(), "mdat".into()]));
            assert_eq!(boxes(&self.fetch(&segment.map).body), ["ftyp", "moov"]);
            self.rates.insert(number, answer.body.len() as f64 * 8.0 / segment.seconds);
        }
        self.lists.push(list);
    }

    /// Publishes the clip, and looks at the list behind every key frame and at the end.
    #[track_caller]
    fn publish(&mut self, tags: &[Tag]) {
        let (app, key) = self.path.split_once('/').unwrap();
        let mut publisher = Publisher::start(self.server.rtmp, app, key).unwrap();
        let mut end = self.lists.last().map(List::end);
        for (at, tag) in tags.iter().enumerate() {
            publisher.send(tag).unwrap();
            // A segment is complete as soon as the sound behind it has come, and a picture with which it leaves the hub.
            let behind = at.saturating_sub(BEHIND);
            let cuts = tags[behind].is_key_frame() && tags[..behind].iter().any(Tag::is_key_frame);
            if cuts {
                if end.is_none() {
                    let index = get(self.server.hls, &format!("/{}/index.m3u8", self.path)).text();
                    self.query = Variant::read(&index).uri.trim_start_matches("stream.m3u8").to_owned();
                }
                let next = end.map_or(0, |end| end + 1);
                self.next("another segment", |list| list.end() >= next && !list.ended);
                end = self.lists.last().map(List::end);
            }
        }
        publisher.finish().unwrap();
        self.next("the end of the list", |list| list.ended);
    }
}

/// The types of the boxes of a file, which has to end where the last one does.
fn boxes(mut data: &[u8]) -> Vec<String> {
    let mut types = Vec::new();
    while !data.is_empty() {
        let size = u32::from_be_bytes(data[..4].try_into().unwrap()) as usize;
        types.push(String::from_utf8_lossy(&data[4..8]).into_owned());
        data = &data[size..];
    }
    types
}

#[test]
fn two_parsers_read_in_every_playlist_what_is_meant() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), 3);
    let tags: Vec<Tag> =
        flv::tags(&clip()).into_iter().filter(|t| t.kind == VIDEO || t.kind == AUDIO).collect();
    let mut stage = Stage {
        server: &server,
        path: "live/parsed",
        query: String::new(),
        lists: Vec::new(),
        rates: BTreeMap::new(),
    };
    stage.publish(&tags);
    let first = stage.lists.len();
    let live = Variant::read(&stage.fetch("index.m3u8").text());
    stage.publish(&tags);

    for variant in [live, Variant::read(&stage.fetch("index.m3u8").text())] {
        assert_eq!(variant.codecs, "avc1.64001e,mp4a.40.2");
        assert_eq!((variant.size, variant.frame_rate), ((640, 360), 25.0));
        assert!(variant.independent);
        let peak = stage.rates.values().copied().fold(0.0, f64::max);
        let mean = stage.rates.values().sum::<f64>() / stage.rates.len() as f64;
        let declared = variant.bandwidth as f64;
        assert!(declared >= peak && declared <= peak * 1.2, "{declared} declared, {peak} measured");
        let average = variant.average as f64;
        assert!(
            (average / mean - 1.0).abs() < 0.1 && average <= declared,
            "{average} declared, {mean} measured"
        );
    }
    // Two clips of four groups of two seconds.
    assert_eq!(stage.rates.len(), 8, "{:?}", stage.rates);
    let (start, lists) = (stage.lists[0].first, &stage.lists);
    for (at, list) in lists.iter().enumerate() {
        assert_eq!((list.target, list.version), (2, 6), "the target duration stays");
        assert!(list.segments.len() <= 3 && list.independent);
        for (number, segment) in (list.first..).zip(&list.segments) {
            assert!(segment.seconds.round() <= 2.0 && (segment.seconds - 2.0).abs() < 0.1, "{list:?}");
            assert_eq!(
                segment.broken,
                number == start + 4,
                "one break, where the second publisher began: {list:?}"
            );
            let opening = if number < start + 4 { start } else { start + 4 };
            assert_eq!(segment.map, format!("init-{opening}.mp4{}", stage.query));
            assert!(segment.date.is_some(), "{list:?}");
        }
        assert_eq!(list.discontinuities, u64::from(list.first > start + 4), "{list:?}");
        assert_eq!(list.ended, at + 1 == first || at + 1 == lists.len(), "list {at}: {list:?}");
    }
    for pair in lists.windows(2) {
        assert!(pair[1].end() == pair[0].end() + 1, "{pair:?}");
        assert!(pair[1].first - pair[0].first <= 1, "{pair:?}");
    }
    assert_eq!(lists.last().unwrap().first, start + 5, "the break has left the list, and is counted");
    // What left the list is still there for those who had it.
    let gone = stage.fetch(&format!("{}.m4s{}", start + 4, stage.query));
    assert_eq!((gone.status, gone.field("accept-ranges").as_str()), (200, "bytes"));
    server.stop();
}
