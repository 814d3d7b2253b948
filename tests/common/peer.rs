//! Programs that are not ours: started, watched, ended.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{PATIENCE, clip};

/// A program that runs beside the test. It is killed when the test is over with it.
pub struct Peer {
    name: String,
    child: Child,
    log: PathBuf,
}

/// How a program ended.
pub struct Ended {
    /// Its exit status.
    pub success: bool,
    /// Its exit code, or the signal that ended it.
    pub how: String,
    /// What it wrote on stdout and stderr.
    pub log: String,
}

impl Peer {
    /// Starts a program whose output goes to `NAME.log` in `directory`.
    pub fn start<S: AsRef<OsStr>>(directory: &Path, name: &str, program: &str, arguments: &[S]) -> Self {
        let log = directory.join(format!("{name}.log"));
        let file = std::fs::File::create(&log).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
        Self { name: name.into(), child, log }
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// True as long as it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its own end.
    #[track_caller]
    pub fn ended(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let _ = self.child.kill();
                    panic!("{} does not end by itself; it wrote:\n{}", self.name, self.log());
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        Ended { success: status.success(), how: status.to_string(), log: self.log() }
    }

    /// Waits for its own end, which has to be a good one.
    #[track_caller]
    pub fn ended_well(self) -> String {
        let name = self.name.clone();
        let ended = self.ended();
        assert!(ended.success, "{name} failed ({}); it wrote:\n{}", ended.how, ended.log);
        ended.log
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    #[track_caller]
    pub fn stop(self) -> Ended {
        terminate(self.child.id());
        self.ended()
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends SIGTERM.
pub fn terminate(pid: u32) {
    signal(pid, "TERM");
}

/// Sends SIGINT, as Ctrl-C does.
pub fn interrupt(pid: u32) {
    signal(pid, "INT");
}

/// By the shell's own `kill`: a machine may have no other.
fn signal(pid: u32, name: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

/// ffmpeg publishes the clip once, in real time, without coding it again.
pub fn ffmpeg_publishes(directory: &Path, url: &str) -> Peer {
    let clip = clip();
    let clip = clip.to_str().unwrap();
    let arguments = ["-hide_banner", "-nostdin", "-re", "-i", clip, "-c", "copy", "-f", "flv", url];
    Peer::start(directory, "ffmpeg-publisher", "ffmpeg", &arguments)
}

/// ffmpeg publishes the clip in real time, until it is told to end.
pub fn ffmpeg_publishes_again_and_again(directory: &Path, url: &str) -> Peer {
    let clip = clip();
    let clip = clip.to_str().unwrap();
    let arguments = ["-nostdin", "-re", "-stream_loop", "-1", "-i", clip, "-c", "copy", "-f", "flv", url];
    Peer::start(directory, "ffmpeg-publisher", "ffmpeg", &arguments)
}

/// ffmpeg watches; what it gets goes to `NAME.framemd5`, one line a frame.
pub fn ffmpeg_watches(directory: &Path, name: &str, url: &str) -> (Peer, PathBuf) {
    let out = directory.join(format!("{name}.framemd5"));
    let arguments = [
        "-hide_banner",
        "-nostdin",
        "-i",
        url,
        "-c",
        "copy",
        "-flush_packets",
        "1",
        "-y",
        "-f",
        "framemd5",
        out.to_str().unwrap(),
    ];
    (Peer::start(directory, name, "ffmpeg", &arguments), out)
}

/// GStreamer publishes the clip once, in real time, without coding it again. Its muxer gives some pictures other composition
/// times than the clip has, so what it publishes goes to `published.flv` too.
pub fn gstreamer_publishes(directory: &Path, url: &str) -> (Peer, PathBuf) {
    let copy = directory.join("published.flv");
    let pipeline = format!(
        "filesrc location={} ! flvdemux name=d  flvmux name=m streamable=true ! tee name=t \
         d.video ! queue ! m.video  d.audio ! queue ! m.audio \
         t. ! queue ! rtmp2sink location={url} sync=true  t. ! queue ! filesink location={} sync=false",
        clip().display(),
        copy.display()
    );
    (gst_launch(directory, "gstreamer-publisher", &pipeline), copy)
}

/// GStreamer watches; what it gets goes to `NAME.flv`.
pub fn gstreamer_watches(directory: &Path, name: &str, url: &str) -> (Peer, PathBuf) {
    let out = directory.join(format!("{name}.flv"));
    let pipeline =
        format!("rtmp2src location={url} ! filesink location={} buffer-mode=unbuffered", out.display());
    (gst_launch(directory, name, &pipeline), out)
}

/// Programs that GStreamer's peers need, for [`installed`](super::installed).
pub const GSTREAMER: &str = "gst-launch-1.0";

fn gst_launch(directory: &Path, name: &str, pipeline: &str) -> Peer {
    let words: Vec<&str> = std::iter::once("-q").chain(pipeline.split_whitespace()).collect();
    Peer::start(directory, name, "gst-launch-1.0", &words)
}

/// Runs a program to its end, which has to be a good one, and returns its stdout.
#[track_caller]
pub fn output<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    let out = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{program} failed:\n{text}\n{}", String::from_utf8_lossy(&out.stderr));
    text
}
