//! The main job in one go: a server, a publisher, several viewers, a capture, its analysis, a report.

mod checks;
mod play;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Artifact, RUN_SCHEMA, Run};
use serde_json::{Value, json};
use tokio::sync::watch;

pub use play::{Moment, VIEWERS, Watching};

/// The stream's path in the demo.
pub const PATH: &str = "live/demo";
/// The capture in the run directory.
pub const CAPTURE: &str = "capture.pcapng";
/// Where the recordings are in the run directory.
pub const RECORDINGS: &str = "recordings";
/// The server's log in the run directory.
pub const LOG: &str = "server.log";
/// What the program calls itself.
pub const GENERATOR: &str = concat!("streamgauge ", env!("CARGO_PKG_VERSION"));

/// What a demo does.
#[derive(Clone, Debug)]
pub struct Options {
    /// The run directory, which exists.
    pub out: PathBuf,
    /// How long the publisher is on air.
    pub air_time: Duration,
    /// Grows everything random.
    pub seed: u64,
}

/// Why a demo came to no result.
#[derive(Debug)]
pub enum DemoError {
    /// The server did not start.
    Server(server::StartError),
    /// A client failed.
    Client(&'static str, crate::client::ClientError),
    /// The clip inside the program cannot be read.
    Clip(wire::Error),
    /// The capture could not be analyzed.
    Capture(String),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => write!(f, "the server did not start: {error}"),
            Self::Client(name, error) => write!(f, "{name}: {error}"),
            Self::Clip(error) => write!(f, "the clip inside the program: {error}"),
            Self::Capture(error) => write!(f, "the capture: {error}"),
        }
    }
}

impl std::error::Error for DemoError {}

/// The result of a demo.
#[derive(Debug)]
pub struct Demo {
    /// Everything the report shows.
    pub run: Run,
    /// What happened when, for `run.jsonl`.
    pub events: Vec<Value>,
}

/// Runs the demo; `progress` hears about ten times a second how far it is.
///
/// When `interrupted` turns true the publisher goes off air at once, and the report tells what there is.
pub async fn run(
    options: &Options,
    progress: impl FnMut(&Moment),
    interrupted: watch::Receiver<bool>,
) -> Result<Demo, DemoError> {
    let began = std::time::Instant::now();
    let started = now_rfc3339();
    let played = play::play(options, progress, interrupted).await?;
    let capture = options.out.join(CAPTURE);
    let analysis = tokio::task::spawn_blocking(move || analyze(&capture))
        .await
        .map_err(|e| DemoError::Capture(e.to_string()))??;
    let server_clients = checks::server_clients(&played, &analysis);
    let mut checks = checks::all(&played, &analysis, &server_clients);
    let (out, began_at) = (options.out.as_path(), played.began);
    let (recording, of_recording) = checks::recording(out, began_at, &played.published.account);
    checks.extend(of_recording);
    let mut events = played.events;
    for check in &checks {
        events.push(json!({ "event": "check", "id": check.id, "verdict": check.verdict }));
    }
    let run = Run {
        schema: RUN_SCHEMA.to_owned(),
        kind: "demo".to_owned(),
        title: format!(
            "Demo: one publisher and {} viewers of {PATH} over RTMP, RTSP and HLS",
            played.viewers.len()
        ),
        generator: GENERATOR.to_owned(),
        started,
        duration_s: began.elapsed().as_secs_f64(),
        analysis,
        server_clients,
        recordings: recording.into_iter().collect(),
        checks,
        artifacts: artifacts(),
        notes: notes(),
    };
    Ok(Demo { run, events })
}

fn analyze(capture: &Path) -> Result<model::Analysis, DemoError> {
    let failed = |e: analyzer::capture::CaptureError| DemoError::Capture(e.to_string());
    let mut analyzer = analyzer::Analyzer::new(analyzer::Options::default());
    analyzer.file(capture).map_err(failed)?;
    let mut analysis = analyzer.finish();
    for capture in &mut analysis.captures {
        // The report stands beside the capture, wherever the two are taken.
        capture.file = CAPTURE.to_owned();
    }
    Ok(analysis)
}

/// The time of day, RFC 3339 in UTC, to the second.
pub fn now_rfc3339() -> String {
    let now = time::OffsetDateTime::now_utc();
    let whole = now.replace_nanosecond(0).unwrap_or(now);
    whole.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

fn artifacts() -> Vec<Artifact> {
    [
        ("index.html", "this report"),
        (CAPTURE, "every packet, for Wireshark"),
        ("bandwidth.svg", "bandwidth over time"),
        ("bandwidth.png", "the same as a picture"),
        ("run.json", "everything in this report, for programs"),
        ("run.jsonl", "what happened when"),
        ("junit.xml", "the checks, for CI"),
        (LOG, "the server's log"),
        (RECORDINGS, "what the server recorded, as fragmented MP4"),
    ]
    .map(|(file, title)| Artifact { file: file.to_owned(), title: title.to_owned() })
    .to_vec()
}

fn notes() -> Vec<String> {
    [
        "In the demo both counts share code: the server's tap wrote the capture at the server's own sockets, so \
         an error in what the sockets report would show in both. The tests hold the server's counts against \
         packets sniffed by libpcap and counted by tshark.",
        "The capture's packet headers are made up, its payload and times are real: it can tell no round-trip \
         times and no retransmissions.",
        "Bytes are payload of TCP, handshakes and requests included, each byte once, and payload of the UDP packets that \
         carry RTP and RTCP.",
    ]
    .map(str::to_owned)
    .to_vec()
}
