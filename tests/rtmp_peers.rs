//! The server between real RTMP peers: what comes out of it is what went in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod common;

use std::path::Path;

use common::flv::{self, AUDIO, Tag, VIDEO};
use common::frames::{Media, framemd5, parts};
use common::peer::{
    self, GSTREAMER, ffmpeg_publishes, ffmpeg_watches, gstreamer_publishes, gstreamer_watches,
};
use common::rml::{Publisher, Viewer};
use common::server::Server;
use common::{clip, installed, wait_until};

/// Pictures in the clip.
const PICTURES: usize = 200;
/// Pictures from one key frame to the next.
const GOP: usize = 50;

/// A file as ffmpeg reads it: what its frames look like to an ffmpeg that watches.
fn file_by_ffmpeg(directory: &Path, file: &Path) -> Media {
    let (reader, out) = ffmpeg_watches(directory, "file", file.to_str().unwrap());
    reader.ended_well();
    let mut media = framemd5(&out);
    // framemd5 does not say where a decoder can start; the file's own flags do.
    for (frame, tag) in media.video.iter_mut().zip(flv::media(&flv::tags(file)).video) {
        frame.key = tag.key;
    }
    media
}

fn clip_tags() -> Vec<Tag> {
    flv::tags(&clip()).into_iter().filter(|t| t.kind == VIDEO || t.kind == AUDIO).collect()
}

/// Pictures that have come out so far.
fn pictures(framemd5_file: &Path) -> usize {
    framemd5(framemd5_file).video.len()
}

#[test]
fn ffmpeg_publishes_and_everybody_gets_what_went_in() {
    if !installed(&["ffmpeg", GSTREAMER]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (by_ffmpeg, by_hand) = (file_by_ffmpeg(directory, &clip()), flv::media(&flv::tags(&clip())));
    let server = Server::start(&[]);
    let url = server.url("live/a");

    // Some are there before the publisher, others come in the middle of it.
    let (ffmpeg, ffmpeg_out) = ffmpeg_watches(directory, "ffmpeg", &url);
    let (gstreamer, gstreamer_out) = gstreamer_watches(directory, "gstreamer", &url);
    let rml = Viewer::start(server.rtmp, "live", "a").unwrap();
    server.wait_viewers("live/a", 3);
    let publisher = ffmpeg_publishes(directory, &url);
    rml.wait_pictures(GOP + 1);
    let (late_ffmpeg, late_ffmpeg_out) = ffmpeg_watches(directory, "late-ffmpeg", &url);
    let (late_gstreamer, late_gstreamer_out) = gstreamer_watches(directory, "late-gstreamer", &url);
    let late_rml = Viewer::start(server.rtmp, "live", "a").unwrap();

    server.wait_viewers("live/a", 6);
    let publishers = server.clients("publisher", "live/a");
    assert_eq!(publishers.len(), 1, "{publishers:?}");
    assert_eq!(publishers[0]["protocol"], "rtmp");
    assert!(publishers[0]["agent"].as_str().unwrap().contains("Lavf"), "{}", publishers[0]);
    let viewers = server.clients("viewer", "live/a");
    let addresses: Vec<&str> = viewers.iter().map(|c| c["address"].as_str().unwrap()).collect();
    assert!(addresses.contains(&rml.address().to_string().as_str()), "{addresses:?}");
    let metrics = server.metrics();
    for (role, count) in [("publisher", 1.0), ("viewer", 6.0)] {
        assert_eq!(
            metrics.sum("streamgauge_clients", &[("protocol", "rtmp"), ("role", role)]),
            count,
            "{role}"
        );
    }
    assert_eq!(metrics.sum("streamgauge_stream_viewers", &[("path", "live/a")]), 6.0);
    let streams = server.list("streams");
    let tracks = streams[0]["tracks"].as_array().unwrap();
    let codecs: Vec<&str> = tracks.iter().map(|t| t["codec"].as_str().unwrap()).collect();
    assert!(codecs.contains(&"h264") && codecs.contains(&"aac"), "{streams:?}");

    // Nobody is told to end: the publisher's clip is over, and its viewers notice.
    publisher.ended_well();
    for (who, viewer, out) in
        [("ffmpeg", ffmpeg, &ffmpeg_out), ("late ffmpeg", late_ffmpeg, &late_ffmpeg_out)]
    {
        viewer.ended_well();
        check(who, &by_ffmpeg, &framemd5(out));
    }
    for (who, viewer, out) in
        [("GStreamer", gstreamer, &gstreamer_out), ("late GStreamer", late_gstreamer, &late_gstreamer_out)]
    {
        viewer.ended_well();
        check_gstreamer(who, &by_hand, &flv::media(&flv::tags(out)));
    }
    for (who, viewer) in [("rml_rtmp", rml), ("late rml_rtmp", late_rml)] {
        let state = viewer.watched();
        check(who, &by_hand, &flv::media(&state.tags));
        assert!(
            state.codes.iter().any(|c| c == "NetStream.Play.UnpublishNotify"),
            "{who}: {:?}",
            state.codes
        );
    }

    server.wait_deserted();
    let bytes = server.metrics().client_bytes();
    assert_eq!(bytes.len(), 7, "the clients are still counted after they have gone: {bytes:?}");
    let payload: usize = clip_tags().iter().map(|t| t.body.len()).sum();
    let from_publisher = bytes.values().find(|c| c.role == "publisher").unwrap().received as usize;
    assert!(from_publisher > payload, "{from_publisher} bytes came in, the payload alone is {payload}");
    server.stop();
}

/// A viewer that stayed to the end: the last frames are there, and a late one began at a key frame.
#[track_caller]
fn check(who: &str, whole: &Media, got: &Media) {
    check_end(who, whole, got, 0);
}

/// The same for GStreamer's rtmp2src, which drops the message it has not handed on yet when Stream EOF arrives right behind
/// it, from any server.
#[track_caller]
fn check_gstreamer(who: &str, whole: &Media, got: &Media) {
    check_end(who, whole, got, 1);
}

#[track_caller]
fn check_end(who: &str, whole: &Media, got: &Media, lost: usize) {
    let found = parts(who, whole, got);
    let missing = (whole.video.len() - found.video.end, whole.audio.len() - found.audio.end);
    assert!(
        missing.0 + missing.1 <= lost,
        "{who}: the last pictures and audio frames are missing: {missing:?}"
    );
    if who.starts_with("late") {
        assert!(found.video.first >= GOP, "{who}: began with picture {}", found.video.first);
    } else {
        assert_eq!(found.video.first, 0, "{who}: was there from the beginning");
    }
}

#[test]
fn gstreamer_publishes_and_everybody_gets_what_went_in() {
    if !installed(&["ffmpeg", GSTREAMER]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let server = Server::start(&[]);
    let url = server.url("live/b");

    let (ffmpeg, ffmpeg_out) = ffmpeg_watches(directory, "ffmpeg", &url);
    let (gstreamer, gstreamer_out) = gstreamer_watches(directory, "gstreamer", &url);
    let rml = Viewer::start(server.rtmp, "live", "b").unwrap();
    server.wait_viewers("live/b", 3);
    let (publisher, published) = gstreamer_publishes(directory, &url);

    publisher.ended_well();
    let (by_ffmpeg, by_hand) = (file_by_ffmpeg(directory, &published), flv::media(&flv::tags(&published)));
    assert_eq!(by_hand.video.len(), PICTURES);
    ffmpeg.ended_well();
    gstreamer.ended_well();
    check("ffmpeg", &by_ffmpeg, &framemd5(&ffmpeg_out));
    check_gstreamer("GStreamer", &by_hand, &flv::media(&flv::tags(&gstreamer_out)));
    check("rml_rtmp", &by_hand, &flv::media(&rml.watched().tags));
    server.wait_deserted();
    server.stop();
}

#[test]
fn rml_rtmp_publishes_to_ffmpeg_and_gstreamer() {
    if !installed(&["ffmpeg", GSTREAMER]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (by_ffmpeg, by_hand) = (file_by_ffmpeg(directory, &clip()), flv::media(&flv::tags(&clip())));
    let tags = clip_tags();
    let half = tags.iter().position(|t| t.time >= 3000).unwrap();
    let server = Server::start(&[]);

    let mut publisher = Publisher::start(server.rtmp, "live", "c").unwrap();
    publisher.describe(640, 360, "a test").unwrap();
    publisher.send_all(&tags[..half]).unwrap();
    let url = server.url("live/c");
    let (ffmpeg, ffmpeg_out) = ffmpeg_watches(directory, "ffmpeg", &url);
    let (gstreamer, gstreamer_out) = gstreamer_watches(directory, "gstreamer", &url);
    server.wait_viewers("live/c", 2);
    // GStreamer writes what it gets at once: it has the pictures since the last key frame before any other is sent.
    wait_until("the pictures since the last key frame", || {
        gstreamer_out.is_file() && std::fs::metadata(&gstreamer_out).unwrap().len() > 13 && {
            flv::media(&flv::tags(&gstreamer_out)).video.first().is_some_and(|f| f.key)
        }
    });
    publisher.send_in_time(&tags[half..], 2).unwrap();
    publisher.finish().unwrap();

    ffmpeg.ended_well();
    gstreamer.ended_well();
    check("late ffmpeg", &by_ffmpeg, &framemd5(&ffmpeg_out));
    check_gstreamer("late GStreamer", &by_hand, &flv::media(&flv::tags(&gstreamer_out)));
    server.stop();
}

#[test]
fn a_late_viewer_gets_the_configuration_and_the_last_key_frame_at_once() {
    let tags = clip_tags();
    let server = Server::start(&[]);
    let mut publisher = Publisher::start(server.rtmp, "live", "late").unwrap();
    publisher.describe(640, 360, "a test").unwrap();
    let early = Viewer::start(server.rtmp, "live", "late").unwrap();
    // Up to a picture in the middle of the third group; then the publisher is silent.
    let middle = tags.iter().position(|t| t.time >= 5000).unwrap();
    publisher.send_watched(&tags[..middle], &early).unwrap();
    let sent = flv::media(&tags[..middle]).video.len();

    let late = Viewer::start(server.rtmp, "live", "late").unwrap();
    let state = late.wait("the last key frame, from a silent publisher", |s| s.pictures() >= 1);
    let first = state.tags.iter().position(|t| t.kind == VIDEO && !t.is_config()).unwrap();
    assert!(state.tags[first].is_key_frame(), "the first picture is none that a decoder can start at");
    for (kind, name) in [(VIDEO, "video"), (AUDIO, "audio")] {
        let config = state.tags[..first].iter().any(|t| t.kind == kind && t.is_config());
        assert!(config, "the {name} configuration does not come before the first picture");
    }
    assert_eq!(state.metadata.first(), Some(&(0, Some("a test".into()))), "onMetaData comes first");

    publisher.send_watched(&tags[middle..], &early).unwrap();
    publisher.finish().unwrap();
    let whole = flv::media(&tags);
    let early = parts("early", &whole, &flv::media(&early.watched().tags));
    let late = parts("late", &whole, &flv::media(&late.watched().tags));
    assert_eq!((early.video.first, early.video.end), (0, PICTURES));
    assert_eq!((late.video.first, late.video.end), ((sent - 1) / GOP * GOP, PICTURES));
    assert_eq!(
        (early.audio.first, early.audio.end, late.audio.end),
        (0, whole.audio.len(), whole.audio.len())
    );
    server.stop();
}

#[test]
fn viewers_come_and_go_and_the_others_do_not_notice() {
    let tags = clip_tags();
    let server = Server::start(&[]);
    let mut publisher = Publisher::start(server.rtmp, "live", "busy").unwrap();
    let witness = Viewer::start(server.rtmp, "live", "busy").unwrap();
    let whole = flv::media(&tags);
    let mut staying = Vec::new();
    for (number, part) in tags.chunks(tags.len().div_ceil(8)).enumerate() {
        let passing = Viewer::start(server.rtmp, "live", "busy").unwrap();
        if number % 3 == 0 {
            staying.push(Viewer::start(server.rtmp, "live", "busy").unwrap());
        }
        publisher.send_watched(part, &witness).unwrap();
        passing.wait_pictures(1);
        // It goes in the middle of things, without a word.
        let got = flv::media(&passing.leave().tags);
        common::frames::part("one that went", &whole.video, &got.video);
    }
    publisher.finish().unwrap();
    let seen = parts("the witness", &whole, &flv::media(&witness.watched().tags));
    assert_eq!((seen.video.first, seen.video.end), (0, PICTURES));
    for viewer in staying {
        let seen = parts("one that stayed", &whole, &flv::media(&viewer.watched().tags));
        assert_eq!(seen.video.end, PICTURES);
    }
    server.wait_deserted();
    assert_eq!(server.metrics().sum("streamgauge_clients", &[]), 0.0);
    server.stop();
}

#[test]
fn a_busy_name_is_refused_and_is_free_again_after_its_publisher() {
    let tags = clip_tags();
    let server = Server::start(&[]);
    let mut first = Publisher::start(server.rtmp, "live", "name").unwrap();
    let viewer = Viewer::start(server.rtmp, "live", "name").unwrap();
    let middle = tags.len() / 2;
    first.send_watched(&tags[..middle], &viewer).unwrap();

    let refused = Publisher::start(server.rtmp, "live", "name").map(|_| ()).unwrap_err();
    assert_eq!(refused, "NetStream.Publish.BadName");
    // Another name on the same server is none of its business.
    Publisher::start(server.rtmp, "live", "other").unwrap().finish().unwrap();

    first.send_watched(&tags[middle..], &viewer).unwrap();
    first.finish().unwrap();
    let seen = parts("the viewer", &flv::media(&tags), &flv::media(&viewer.watched().tags));
    assert_eq!((seen.video.first, seen.video.end), (0, PICTURES), "the refused one did harm");

    // The second time it is another part of the clip, so that nothing of the first can be taken for it.
    let third_key = tags.iter().position(|t| t.is_key_frame() && t.time >= 4000).unwrap();
    let configs: Vec<&Tag> = tags.iter().filter(|t| t.is_config()).collect();
    let again: Vec<Tag> = configs.into_iter().chain(&tags[third_key..]).cloned().collect();
    let mut second = Publisher::start(server.rtmp, "live", "name").unwrap();
    let viewer = Viewer::start(server.rtmp, "live", "name").unwrap();
    second.send_watched(&again, &viewer).unwrap();
    second.finish().unwrap();
    let whole = flv::media(&again);
    let seen = parts("the second viewer", &whole, &flv::media(&viewer.watched().tags));
    assert_eq!((seen.video.first, seen.video.end), (0, whole.video.len()));
    server.stop();
}

#[test]
fn a_publisher_that_is_killed_ends_its_viewers_too() {
    if !installed(&["ffmpeg", GSTREAMER]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let server = Server::start(&[]);
    let url = server.url("live/killed");
    let publisher = ffmpeg_publishes(directory, &url);
    server.wait_published("live/killed");
    let (ffmpeg, out) = ffmpeg_watches(directory, "ffmpeg", &url);
    let (gstreamer, _) = gstreamer_watches(directory, "gstreamer", &url);
    server.wait_viewers("live/killed", 2);
    wait_until("25 pictures", || pictures(&out) >= 25);
    publisher.kill();
    let log = ffmpeg.ended_well();
    gstreamer.ended_well();
    assert!(pictures(&out) >= 25, "{log}");
    server.wait_deserted();
    server.stop();
}

#[test]
fn ffprobe_sees_the_codecs_that_were_published() {
    if !installed(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&[]);
    let url = server.url("live/probe");
    let publisher = ffmpeg_publishes(directory.path(), &url);
    server.wait_published("live/probe");
    let shown = "stream=codec_name,profile,width,height,sample_rate,channels,r_frame_rate";
    let seen = peer::output("ffprobe", &["-v", "error", "-show_entries", shown, "-of", "csv=p=0", &url]);
    let mut seen: Vec<&str> = seen.lines().collect();
    seen.sort_unstable();
    assert_eq!(seen, ["aac,LC,48000,2,0/0", "h264,High,640,360,25/1"]);
    drop(publisher);
    server.stop();
}
