//! Plays the client's side of a captured session again, against a live server, and compares what the server answers with what
//! was captured.
//!
//! The captures are read twice: an analysis finds the sessions, then `tape` brings what was said on one connection, a few
//! messages ahead of what is played. `drive` carries it out: a message goes out no sooner than the answers that had come before
//! it in the capture, and media at its captured time. What has to be another way this time (names, ids, channels) is put in by
//! `rtmp` and `rtsp`; `ledger` keeps what was asked and how it was answered, then and now.

mod choose;
mod drive;
mod end;
mod ledger;
mod pace;
mod rtmp;
mod rtsp;
mod tape;
#[cfg(test)]
mod tests;
mod tracks;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use analyzer::capture::CaptureError;
use analyzer::transcript::Choice;
use model::{Artifact, Case, Protocol, RUN_SCHEMA, Role, Run, Session};
use serde_json::{Value, json};
use server::Clock;
use server::config::TapConfig;
use server::tap::{Tap, TapState};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::Place;
use crate::demo::{CAPTURE, GENERATOR, now_rfc3339};
use crate::engine;
use crate::url::{Scheme, StreamUrl};
use drive::Drive;
use end::End;
use tape::Tape;

/// What is played, where to, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The capture.
    pub file: PathBuf,
    /// Where to.
    pub url: StreamUrl,
    /// The server's address.
    pub server: SocketAddr,
    /// Id of the session; the first publisher where there is none.
    pub session: Option<String>,
    /// As quickly as answers and socket allow, instead of at the captured times.
    pub fast: bool,
    /// How long an answer may take, and how long the server may take nothing.
    pub timeout: Duration,
    /// Nothing more behind the first answer that differs.
    pub fail_fast: bool,
    /// Grows what is random.
    pub seed: u64,
    /// A run directory, which exists.
    pub out: Option<PathBuf>,
}

/// Why nothing was played.
#[derive(Debug)]
pub enum ReplayError {
    /// The capture cannot be read.
    Capture(CaptureError),
    /// The session cannot be played, or there is no such session.
    Unplayable(String),
    /// Nobody takes the connection.
    Unreachable(io::Error),
    /// The run directory cannot be written, or its capture cannot be read.
    Out(String),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture(error) => write!(f, "{error}"),
            Self::Unplayable(why) | Self::Out(why) => f.write_str(why),
            Self::Unreachable(error) => write!(f, "nobody takes the connection: {error}"),
        }
    }
}

impl std::error::Error for ReplayError {}

/// What came of it.
#[derive(Debug)]
pub struct Replayed {
    /// Everything a report shows, but for the verdicts.
    pub run: Run,
    /// A verdict for each request and each track.
    pub cases: Vec<Case>,
    /// What was played, in words.
    pub title: String,
    /// The server was silent or took nothing: nothing could be learnt.
    pub kept_from: Option<String>,
    /// Somebody wanted it to end.
    pub interrupted: bool,
    /// What happened, for `run.jsonl`.
    pub events: Vec<Value>,
}

/// A session that can be played, and where it is in the capture.
#[derive(Debug)]
pub struct Prepared {
    options: Options,
    session: Session,
    choice: Choice,
}

/// Finds the session in the capture. Reads all of it, which may take a while.
pub fn prepare(options: Options) -> Result<Prepared, ReplayError> {
    let (session, choice) = choose::choose(&options)?;
    Ok(Prepared { options, session, choice })
}

impl Prepared {
    /// One line about what is going to be played.
    pub fn title(&self) -> String {
        let Session { id, role, path, .. } = &self.session;
        let role = if *role == Role::Viewer { "viewer" } else { "publisher" };
        let of = path.as_ref().map(|path| format!(" of {path}")).unwrap_or_default();
        format!("{id}, {role}{of}, to {}", self.options.url.plain())
    }

    /// Plays it.
    pub async fn play(self, interrupted: watch::Receiver<bool>) -> Result<Replayed, ReplayError> {
        let (began, started, title) = (Instant::now(), now_rfc3339(), self.title());
        let Self { options, session, choice } = self;
        let file = options.out.as_ref().map(|out| out.join(CAPTURE));
        let tap = match &file {
            Some(file) => {
                let config = TapConfig { file: file.clone(), snap: 0, size: 0 };
                let tap = Tap::create(&config, Clock::start());
                Some(tap.map_err(|error| ReplayError::Out(format!("{}: {error}", file.display())))?)
            }
            None => None,
        };
        let mut tape = Tape::start(options.file.clone(), choice);
        let rtmp = session.protocol == Protocol::Rtmp;
        tape.check(rtmp, session.role).await.map_err(ReplayError::Unplayable)?;
        let place = Place { tap: tap.clone(), ..Place::from(options.server) };
        let viewer = session.role == Role::Viewer;
        let (end, ledger) = if rtmp {
            let part = rtmp::Part::new(session.path.as_deref(), &options.url);
            let client = session::rtmp::Plain::new(options.seed, session::Time::default());
            Drive::play(&place, client, part, tape, &options, viewer, interrupted).await?
        } else {
            let part = rtsp::Part::new(&options.url);
            Drive::play(&place, session::rtsp::Plain::default(), part, tape, &options, viewer, interrupted)
                .await?
        };
        let mut analysis = model::Analysis::default();
        if let (Some(tap), Some(file)) = (tap, file) {
            tap.close();
            if let TapState::Failed(why) = tap.state() {
                return Err(ReplayError::Out(format!("{}: {why}", file.display())));
            }
            let traced = engine::analyze(file).await.map_err(|error| ReplayError::Out(error.to_string()))?;
            analysis = traced.analysis;
        }
        let cases = ledger.cases(&options.file.display().to_string(), &session.id, &end);
        let events = events(&cases, &end);
        let run = Run {
            schema: RUN_SCHEMA.to_owned(),
            kind: "replay".to_owned(),
            title: format!("Replay of {title}"),
            generator: GENERATOR.to_owned(),
            started,
            duration_s: began.elapsed().as_secs_f64(),
            analysis,
            server_clients: Vec::new(),
            recordings: Vec::new(),
            checks: Vec::new(),
            artifacts: artifacts(),
            notes: ledger.notes(&options),
        };
        let kept_from = match &end {
            End::Unusable(why) => Some(why.clone()),
            _ => None,
        };
        Ok(Replayed { run, cases, title, kept_from, interrupted: end == End::Interrupted, events })
    }
}

fn events(cases: &[Case], end: &End) -> Vec<Value> {
    let answers = cases.iter().map(|case| {
        json!({ "event": "answer", "rule": case.rule, "verdict": case.verdict, "want": case.want, "got": case.got })
    });
    answers.chain([json!({ "event": "ended", "how": end.to_string() })]).collect()
}

fn artifacts() -> Vec<Artifact> {
    [
        ("index.html", "this report"),
        ("verdicts.json", "the answers compared, for programs"),
        ("run.json", "everything in this report, for programs"),
        ("run.jsonl", "the answers in their order"),
        ("junit.xml", "the answers compared, for CI"),
        (CAPTURE, "the packets of the replayed session, for Wireshark"),
    ]
    .into_iter()
    .map(|(file, title)| Artifact { file: file.to_owned(), title: title.to_owned() })
    .collect()
}

/// What a URL has to speak for a session.
fn scheme(protocol: Protocol) -> Option<Scheme> {
    match protocol {
        Protocol::Rtmp => Some(Scheme::Rtmp),
        Protocol::Rtsp => Some(Scheme::Rtsp),
        _ => None,
    }
}
