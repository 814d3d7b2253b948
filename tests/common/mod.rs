//! What the tests of the whole program share: the server under test, real peers, and the comparison of what came
//! out with what went in.
//!
//! Nothing here sleeps to wait for something: a wait ends by a real signal (a line, a frame, a process that ended), and
//! its deadline is only there so that a failure is a failure and not a hang.
#![allow(dead_code, reason = "every test file takes its own part of this")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::string_slice)]

pub mod chromium;
pub mod edit;
pub mod flv;
pub mod frames;
pub mod http;
pub mod peer;
pub mod playlists;
pub mod raw;
pub mod relay;
pub mod retina_viewer;
pub mod rml;
pub mod rtp;
pub mod rtsp;
pub mod rtsp_media;
pub mod server;
pub mod small_disk;
pub mod tshark;
pub mod witness;
pub mod written;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_streamgauge");

/// How long anything may take before the test gives up. Only failures take this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The workspace's root directory.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The clip that the tests publish.
pub fn clip() -> PathBuf {
    root().join("scenarios/samples/h264-aac.flv")
}

/// A capture of the collection beside the project; prints why the test is skipped where there is none.
pub fn capture(name: &str) -> Option<PathBuf> {
    let path = root().join("../shared/captures").join(name);
    if path.is_file() {
        return Some(path);
    }
    say(&format!("skipped: the capture {name} is not here"));
    None
}

/// True where every program is installed. Prints what is missing and why that skips the test; with
/// `STREAMGAUGE_REQUIRE_PEERS=1` in the environment it is a failure, but for those that `STREAMGAUGE_WITHOUT` names because the
/// system has none.
pub fn installed(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !on_path(program)).collect();
    if missing.is_empty() {
        return true;
    }
    let required = std::env::var("STREAMGAUGE_REQUIRE_PEERS").as_deref() == Ok("1");
    let without = std::env::var("STREAMGAUGE_WITHOUT").unwrap_or_default();
    let announced = missing.iter().all(|program| without.split(' ').any(|name| name == *program));
    assert!(!required || announced, "not installed: {}", missing.join(", "));
    say(&format!("skipped: not installed: {}", missing.join(", ")));
    false
}

/// Says something that is seen also when the test passes: what the test harness captures is thrown away then.
pub fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// An RTSP server that is not ours and takes RECORD, for [`installed`].
pub const GST_RTSP_SERVER: &str = "tests/peers/gst-record-server";
/// An RTSP server that is not ours and sends transport streams, for [`installed`].
pub const GST_MPEGTS_SERVER: &str = "tests/peers/gst-mpegts-server";
/// An RTSP player that is not ours, for [`installed`].
pub const GST_RTSP_PLAYER: &str = "tests/peers/gst-player";
/// An RTSP publisher that is not ours, for [`installed`].
pub const GST_RTSP_PUBLISHER: &str = "tests/peers/gst-publisher";

fn on_path(program: &str) -> bool {
    // Their libraries and elements make the difference.
    let works = |command: &mut Command| command.output().is_ok_and(|out| out.status.success());
    if program.starts_with("tests/peers/") {
        return works(Command::new(root().join(program)).arg("--probe"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// What a call returns that is made again where the process was stopped meanwhile: a socket with a timeout says so.
pub fn uninterrupted<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Asks `holds` until it says something, at most for [`PATIENCE`].
#[track_caller]
pub fn wait_for<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = holds() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// [`wait_for`] where there is nothing to return.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}
