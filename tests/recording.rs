//! Recordings, as programs that are not ours see them: whole, after a crash, and on a full disk.
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

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::flv::{self, AUDIO, Tag, VIDEO};
use common::frames::{framemd5, part};
use common::http::{get, request};
use common::peer::{Peer, ffmpeg_publishes, output};
use common::playlists::List;
use common::rml::{Publisher, Viewer};
use common::server::Server;
use common::small_disk::SmallDisk;
use common::witness::Witnesses;
use common::{PROGRAM, clip, installed, wait_for, wait_until};
use serde_json::Value;

/// A configuration that records to `DIR/rec`.
fn config(directory: &Path) -> PathBuf {
    let file = directory.join("serve.toml");
    std::fs::write(&file, format!("[record]\ndir = {:?}\n", directory.join("rec"))).unwrap();
    file
}

fn recordings(server: &Server, state: &str) -> Vec<Value> {
    server.list("recordings").into_iter().filter(|r| r["state"] == state).collect()
}

/// What ffmpeg reads of a file, copied and not decoded.
fn frames_of(directory: &Path, name: &str, file: &Path) -> common::frames::Media {
    let out = directory.join(format!("{name}.framemd5"));
    let (file, target) = (file.to_str().unwrap(), out.to_str().unwrap());
    output("ffmpeg", &["-nostdin", "-v", "error", "-i", file, "-c", "copy", "-y", "-f", "framemd5", target]);
    framemd5(&out)
}

/// Decodes every frame; ffmpeg must have nothing to complain about.
fn decodes(file: &Path) {
    let run = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-xerror", "-i"])
        .arg(file)
        .args(["-f", "null", "-"])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success() && words.is_empty(), "{}: {words}", file.display());
}

fn duration(file: &Path) -> f64 {
    let arguments =
        ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", file.to_str().unwrap()];
    output("ffprobe", &arguments).trim().parse().unwrap()
}

#[test]
fn a_session_is_recorded_whole_and_as_long_as_it_was() {
    if !installed(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&["--config", config(directory.path()).to_str().unwrap()]);
    ffmpeg_publishes(directory.path(), &server.url("live/rec")).ended_well();
    let finished = wait_for("the recording's end", || recordings(&server, "finished").pop());
    let file = PathBuf::from(finished["file"].as_str().unwrap());
    let name = file.file_name().unwrap().to_str().unwrap();
    let form: String = name.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "0000-00-00T00-00-00.000Z.mp0");
    assert_eq!(file.parent().unwrap(), directory.path().join("rec/live/rec"));
    assert_eq!(finished["bytes"].as_u64().unwrap(), std::fs::metadata(&file).unwrap().len());

    decodes(&file);
    let source = frames_of(directory.path(), "source", &clip());
    let recorded = frames_of(directory.path(), "recorded", &file);
    for (kind, whole, got) in
        [("video", &source.video, &recorded.video), ("audio", &source.audio, &recorded.audio)]
    {
        let part = part(kind, whole, got);
        assert_eq!((part.first, part.end), (0, whole.len()), "{kind} frames are missing");
    }
    // The clip's own duration, by its frames: what its header says is shorter.
    let frame = 0.040;
    let times = || source.video.iter().map(|f| (f.pts, 40)).chain(source.audio.iter().map(|f| (f.pts, 21)));
    let (first, end) = (times().map(|t| t.0).min().unwrap(), times().map(|t| t.0 + t.1).max().unwrap());
    let want = (end - first) as f64 / 1000.0;
    assert!((duration(&file) - want).abs() <= frame, "{} s, want {want} s", duration(&file));
    assert!(server.metrics().sum("streamgauge_recordings_total", &[]) >= 1.0);
    server.stop();
}

/// Minutes of media within a second or two, over both protocols: the publisher is read as fast as it is recorded.
#[test]
fn a_publisher_in_a_hurry_is_recorded_whole() {
    if !installed(&["ffmpeg", "ffprobe"]) {
        return;
    }
    const TIMES: usize = 40;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&["--config", config(directory.path()).to_str().unwrap()]);
    let rtsp = format!("rtsp://{}/live/rtsp", server.rtsp.unwrap());
    let (clip, again) = (clip(), (TIMES - 1).to_string());
    let source = frames_of(directory.path(), "source", &clip);
    for (path, to, form) in [
        ("live/rtmp", server.url("live/rtmp"), &["-f", "flv"][..]),
        ("live/rtsp", rtsp, &["-f", "rtsp", "-rtsp_transport", "tcp"][..]),
    ] {
        let from =
            ["-nostdin", "-v", "error", "-stream_loop", &again, "-i", clip.to_str().unwrap(), "-c", "copy"];
        let run = Command::new("ffmpeg").args(from).args(form).arg(to).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let mine = |r: &Value| r["path"] == path;
        let ended = || recordings(&server, "finished").into_iter().find(mine);
        let finished = wait_for("the recording's end", ended);
        let recorded = frames_of(directory.path(), "recorded", Path::new(finished["file"].as_str().unwrap()));
        let pictures = (source.video.len() * TIMES, recorded.video.len());
        assert_eq!(pictures.0, pictures.1, "{path}: pictures are missing");
        // ffmpeg never sends the very last sounds over RTSP.
        let sounds = (source.audio.len() * TIMES, recorded.audio.len());
        assert!(sounds.1 <= sounds.0 && sounds.1 + 8 >= sounds.0, "{path}: {sounds:?} sounds");
    }
    server.stop();
}

#[test]
fn what_a_crash_leaves_plays() {
    if !installed(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&["--config", config(directory.path()).to_str().unwrap()]);
    let publisher = ffmpeg_publishes(directory.path(), &server.url("live/crash"));
    let begun = wait_for("four seconds on disk", || {
        recordings(&server, "recording").pop().filter(|r| r["duration_s"].as_f64().unwrap() >= 3.9)
    });
    // Dropping the server is kill -9.
    drop(server);
    publisher.kill();
    let file = PathBuf::from(begun["file"].as_str().unwrap());
    decodes(&file);
    let got = frames_of(directory.path(), "crashed", &file);
    assert!(got.video.len() >= 95, "only {} pictures", got.video.len());
    assert!(duration(&file) >= 3.9);
}

#[test]
fn the_end_of_the_server_closes_the_file() {
    if !installed(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&["--config", config(directory.path()).to_str().unwrap()]);
    let publisher = ffmpeg_publishes(directory.path(), &server.url("live/end"));
    let begun = wait_for("a fragment on disk", || recordings(&server, "recording").pop());
    let before = begun["bytes"].as_u64().unwrap();
    let log = server.stop();
    publisher.kill();
    assert!(log.contains("recording finished"), "{log}");
    let file = PathBuf::from(begun["file"].as_str().unwrap());
    assert!(std::fs::metadata(&file).unwrap().len() > before, "what was held is not in the file");
    decodes(&file);
}

#[test]
fn the_api_stops_and_starts_one_stream() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&["--config", config(directory.path()).to_str().unwrap()]);
    let ask = |action: &str, path: &str| {
        let url = format!("http://{}/api/v1/recordings/{action}?path={path}", server.api);
        let arguments = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", &url];
        output("curl", &arguments)
    };
    if !installed(&["curl"]) {
        return;
    }
    assert_eq!(ask("start", "live/none"), "404");
    assert_eq!(ask("stop", "live/none"), "404");
    assert_eq!(ask("start", "../../etc/passwd"), "400");
    let publisher = ffmpeg_publishes(directory.path(), &server.url("live/api"));
    wait_for("the recording", || recordings(&server, "recording").pop());
    assert_eq!(ask("start", "live/api"), "409");
    assert_eq!(ask("stop", "live/api"), "200");
    wait_for("its end", || recordings(&server, "finished").pop());
    wait_until("the place to be free", || ask("start", "live%2Fapi") == "200");
    wait_for("the second recording", || recordings(&server, "recording").pop());
    publisher.kill();
    wait_until("both files closed", || recordings(&server, "finished").len() == 2);
    server.list("recordings").iter().for_each(|r| decodes(Path::new(r["file"].as_str().unwrap())));
    server.stop();
}

#[test]
fn a_full_disk_ends_the_recording_and_nothing_else() {
    if !installed(&["ffmpeg", "prlimit", "sh"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    // No file of the server may have more than 200 kB: for it the disk is full then.
    let script = format!(
        "trap '' XFSZ; exec prlimit --fsize=200000 {PROGRAM} serve --rtmp 127.0.0.1:0 --rtsp off --hls off \
         --api 127.0.0.1:0 --config {}",
        config.display()
    );
    let log = directory.path().join("server.log");
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stderr(Stdio::from(std::fs::File::create(&log).unwrap()))
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until("the server", || said().lines().any(|l| l == "ready"));
    let find = |protocol: &str| {
        let text = said();
        let line =
            text.lines().find_map(|l| l.strip_prefix(&format!("listening {protocol} ")).map(str::to_owned));
        line.unwrap()
    };
    let (rtmp, api) = (find("rtmp"), find("api"));
    let publisher = ffmpeg_publishes(directory.path(), &format!("rtmp://{rtmp}/live/full"));
    publisher.ended_well();
    let list = output("curl", &["-s", &format!("http://{api}/api/v1/recordings")]);
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    assert_eq!((list.len(), &list[0]["state"]), (1, &Value::from("failed")), "{list:?}");
    assert!(list[0]["error"].as_str().unwrap().contains("File too large"), "{list:?}");
    let metrics = output("curl", &["-s", &format!("http://{api}/metrics")]);
    assert!(metrics.contains("streamgauge_recordings_failed_total 1"), "{metrics}");
    decodes(Path::new(list[0]["file"].as_str().unwrap()));
    common::peer::terminate(child.id());
    assert!(child.wait().unwrap().success());
    assert!(said().contains("recording given up"), "{}", said());
}

#[test]
fn a_disk_that_is_really_full_disturbs_nobody_and_can_be_recorded_to_again() {
    if !installed(&["ffmpeg", "ffprobe", "mount", "umount"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&directory.path().join("rec"), "220k") else { return };
    let server = Server::start(&["--config", config(directory.path()).to_str().unwrap()]);
    let mut publisher = Publisher::start(server.rtmp, "live", "full").unwrap();
    let viewer = Viewer::start(server.rtmp, "live", "full").unwrap();
    let tags: Vec<Tag> =
        flv::tags(&clip()).into_iter().filter(|t| t.kind == VIDEO || t.kind == AUDIO).collect();
    // All but the last group of pictures, which is more than there is room for.
    let last = tags.iter().rposition(Tag::is_key_frame).unwrap();
    publisher.send_watched(&tags[..last], &viewer).unwrap();
    let failed = wait_for("the recording to be given up", || recordings(&server, "failed").pop());
    assert!(failed["error"].as_str().unwrap().contains("No space left on device"), "{failed}");
    let file = PathBuf::from(failed["file"].as_str().unwrap());
    assert_eq!(failed["bytes"].as_u64().unwrap(), std::fs::metadata(&file).unwrap().len());
    decodes(&file);
    assert!(duration(&file) >= 1.9, "what was written before plays");
    assert!(server.metrics().sum("streamgauge_recordings_failed_total", &[]) >= 1.0);
    let ask = |action: &str| {
        request(server.api, "POST", &format!("/api/v1/recordings/{action}?path=live/full"), "").status
    };

    // Somebody makes room, and records again.
    let at = disk.0.to_str().unwrap();
    output("mount", &["-o", "remount,size=8m", at]);
    wait_until("a recording to begin again", || ask("start") == 200);
    assert_eq!(ask("start"), 409, "it is recorded already");
    publisher.send_watched(&tags[last..], &viewer).unwrap();
    publisher.finish().unwrap();
    let second = wait_for("the second recording", || recordings(&server, "finished").pop());
    let second = PathBuf::from(second["file"].as_str().unwrap());
    decodes(&second);
    let whole = flv::media(&tags);
    let seen = common::frames::parts("the viewer", &whole, &flv::media(&viewer.watched().tags));
    assert_eq!((seen.video.end, seen.audio.end), (whole.video.len(), whole.audio.len()));
    server.stop();
    drop(disk);
}

#[test]
fn a_stream_that_came_over_rtsp_is_recorded_whole() {
    if !installed(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let server = Server::start(&["--config", config(directory).to_str().unwrap()]);
    let (clip, url) = (clip(), format!("rtsp://{}/live/rtsp", server.rtsp.unwrap()));
    let clip = clip.to_str().unwrap();
    let arguments =
        ["-nostdin", "-re", "-i", clip, "-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", &url];
    Peer::start(directory, "ffmpeg-publisher", "ffmpeg", &arguments).ended_well();
    let finished = wait_for("the recording's end", || recordings(&server, "finished").pop());
    assert_eq!(finished["tracks"].as_array().unwrap().len(), 2, "{finished}");
    let file = PathBuf::from(finished["file"].as_str().unwrap());
    decodes(&file);
    // Parameter sets travel in other places in RTP than in FLV: the slices are compared.
    let slices = |name: &str, file: &str| {
        let out = directory.join(format!("{name}.framemd5"));
        let bsf = "h264_mp4toannexb,filter_units=pass_types=1-5";
        let arguments =
            ["-nostdin", "-v", "error", "-i", file, "-c", "copy", "-bsf:v", bsf, "-y", "-f", "framemd5"];
        let arguments: Vec<&str> = arguments.into_iter().chain([out.to_str().unwrap()]).collect();
        output("ffmpeg", &arguments);
        framemd5(&out)
    };
    let (source, got) = (slices("source", clip), slices("recorded", file.to_str().unwrap()));
    let ids = |frames: &[common::frames::Frame]| frames.iter().map(|f| f.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&source.video), ids(&got.video), "every picture is in the file");
    assert!(duration(&file) > 7.8 && duration(&file) < 8.3, "{}", duration(&file));
    server.stop();
}

/// A clock that is not to be relied on: by turns hours ahead and hours behind, two seconds each.
fn jumping(time: u32) -> u32 {
    const HOUR: u32 = 3_600_000;
    match time {
        0..2_000 => time + 6 * HOUR,
        2_000..4_000 => time + 11 * HOUR,
        4_000..6_000 => time + 6 * HOUR,
        _ => time + HOUR,
    }
}

#[test]
fn times_that_jump_by_hours_cost_nobody_a_frame() {
    if !installed(&["ffmpeg", "ffprobe"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let server = Server::start(&["--config", config(directory).to_str().unwrap()]);
    let witnesses = Witnesses::with_times(directory, &server, "jumps", jumping);
    witnesses.wait_pictures(190);
    let sent = witnesses.end();
    let pictures = sent.iter().filter(|t| t.is_picture()).count();
    let seconds = pictures as f64 / 25.0;

    let list = List::read(&get(server.hls, "/live/jumps/stream.m3u8").text());
    assert!(list.ended && list.target == 2, "{list:?}");
    assert!(list.segments.iter().all(|s| s.seconds > 0.5 && s.seconds.round() <= 2.0), "{list:?}");
    let broken: Vec<bool> = list.segments.iter().map(|s| s.broken).collect();
    assert_eq!(broken, [false, true, true, true], "a discontinuity at every jump");

    let finished = wait_for("the recording's end", || recordings(&server, "finished").pop());
    assert_eq!(recordings(&server, "finished").len(), 1, "one session, one file");
    let file = PathBuf::from(finished["file"].as_str().unwrap());
    decodes(&file);
    let recorded = frames_of(directory, "recorded", &file);
    assert_eq!(recorded.video.len(), pictures);
    assert!((duration(&file) - seconds).abs() < 0.5, "{} s of file, {seconds} s of media", duration(&file));
    assert!((finished["duration_s"].as_f64().unwrap() - seconds).abs() < 0.5, "{finished}");
    server.stop();
}
