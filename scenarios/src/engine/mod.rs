//! Carries out scenarios: brings the target up, lets the clients come and go, captures, analyzes, judges.

mod actor;
mod figures;
mod judge;
mod metrics;
mod plan;
mod program;
pub(crate) mod record;
mod target;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Artifact, Case, RUN_SCHEMA, Run};
use serde_json::{Value, json};
use server::config::TapConfig;
use server::tap::{Tap, TapState};
use server::{ClientSnapshot, Clock};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub use actor::Ending;
pub(crate) use judge::case_of;
pub use target::TargetError;

use crate::client::until;
use crate::demo::{CAPTURE, GENERATOR, now_rfc3339};
use crate::script::{Act, Capture, Client, Role, Scenario, Target, Want, With};
use actor::{Actor, PATIENCE, Stage};
use plan::{Due, What};
use target::Up;

/// Bytes kept of each packet where only headers are captured.
const HEADERS: u32 = 256;
/// Bytes that a capture which filled its disk gives back.
const REPORTS: u64 = 1 << 20;
/// How long the timeline stands still for a publisher that is not on air yet.
const ON_AIR: Duration = Duration::from_secs(10);
/// A step that is later than this makes all that follow later: the machine stood still.
const LATE: Duration = Duration::from_millis(250);
/// Between two looks whether a publisher is on air.
const LOOK: Duration = Duration::from_millis(10);

/// How a scenario is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The run directory, which exists.
    pub out: PathBuf,
    /// URLs to test instead of the scenario's target.
    pub targets: Vec<String>,
    /// A seed instead of the scenario's.
    pub seed: Option<u64>,
    /// The longest it may take in all.
    pub timeout: Duration,
}

/// Why a scenario came to no verdict.
#[derive(Debug)]
pub enum EngineError {
    /// There is no target to test.
    Target(TargetError),
    /// The target does not speak what a client speaks.
    Unspoken(String, &'static str),
    /// The capture could not be written or read.
    Capture(String),
    /// The run directory cannot be written.
    Io(PathBuf, io::Error),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(error) => write!(f, "{error}"),
            Self::Unspoken(client, protocol) => {
                write!(f, "the target has no {protocol} URL, which {client:?} needs")
            }
            Self::Capture(why) => write!(f, "the capture: {why}"),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for EngineError {}

impl From<TargetError> for EngineError {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

/// What became of a scenario.
#[derive(Debug)]
pub struct Outcome {
    /// Everything the report shows.
    pub run: Run,
    /// One verdict for each expectation.
    pub cases: Vec<Case>,
    /// What happened when, for `run.jsonl`.
    pub events: Vec<Value>,
    /// The run was interrupted.
    pub interrupted: bool,
}

/// Where a run stands.
#[derive(Clone, Debug)]
pub struct Moment {
    /// On the timeline, which begins when the target is ready.
    pub elapsed: Duration,
    /// When the last step is over.
    pub total: Duration,
    /// Clients that are there.
    pub here: usize,
    /// What happened last.
    pub latest: String,
}

/// Runs a scenario; `progress` hears what happens.
pub async fn run(
    scenario: &Scenario,
    options: &Options,
    mut progress: impl FnMut(&Moment),
    mut interrupted: watch::Receiver<bool>,
) -> Result<Outcome, EngineError> {
    let (began, started) = (Instant::now(), now_rfc3339());
    let file = options.out.join(CAPTURE);
    let tap = match scenario.capture {
        Capture::Off => None,
        how => {
            let snap = if how == Capture::Headers { HEADERS } else { 0 };
            let config = TapConfig { file: file.clone(), snap, size: 0 };
            let tap = Tap::create(&config, Clock::start());
            Some(tap.map_err(|error| EngineError::Io(file.clone(), error))?)
        }
    };
    let target = target(scenario);
    let up = tokio::select! {
        up = Up::start(&target, &scenario.home, &options.targets, &options.out) => up?,
        _ = interrupted.wait_for(|stop| *stop) => {
            return Err(EngineError::Capture("interrupted before the target was ready".to_owned()));
        }
    };
    let mut show = Show::new(scenario, options, up, tap.clone())?;
    let played = tokio::select! {
        () = show.play(&mut progress) => Played::Whole,
        () = sleep_until(began + options.timeout) => Played::Late,
        _ = interrupted.wait_for(|stop| *stop) => Played::Interrupted,
    };
    let performance = show.close(&played).await;
    let written = tap.map(|tap| {
        tap.close();
        (tap.state(), tap.counts())
    });
    let broken = match &written {
        Some((TapState::Failed(why), _)) => Some(format!("{}: {why}", file.display())),
        _ => None,
    };
    let traced = match written {
        None => None,
        Some(_) if broken.is_none() => Some(analyze(file).await?),
        // Of packets that are not all there nothing can be expected; the report shows them all the same.
        Some(_) if make_room(&file) => analyze(file).await.ok(),
        Some(_) => None,
    };
    let whole = traced.as_ref().filter(|_| broken.is_none());
    let mut judged = judge::judge(scenario, &performance, whole, options);
    if let Some(why) = broken {
        judged.cases.insert(0, case_of_error("run.capture", "the packets are written and read", why));
    }
    let mut events = performance.events;
    for case in &judged.cases {
        events.push(json!({ "event": "verdict", "rule": case.rule, "verdict": case.verdict }));
    }
    let run = Run {
        schema: RUN_SCHEMA.to_owned(),
        kind: "run".to_owned(),
        title: scenario.title.clone(),
        generator: GENERATOR.to_owned(),
        started,
        duration_s: began.elapsed().as_secs_f64(),
        analysis: traced.map(|traced| traced.analysis).unwrap_or_default(),
        server_clients: judged.server_clients,
        recordings: judged.recordings,
        checks: Vec::new(),
        artifacts: artifacts(scenario, &options.out),
        notes: judged.notes,
    };
    let interrupted = matches!(played, Played::Interrupted);
    Ok(Outcome { run, cases: judged.cases, events, interrupted })
}

/// The scenario's target; one of which a recording is expected records.
fn target(scenario: &Scenario) -> Target {
    let mut target = scenario.target.clone();
    if let Target::Reference { record, .. } = &mut target {
        *record |= scenario.expect.iter().any(|expect| matches!(expect.want, Want::Record { .. }));
    }
    target
}

/// Shortens a capture that filled its disk, so that the reports have a place; false where nothing of it is left.
fn make_room(file: &Path) -> bool {
    let length = std::fs::metadata(file).map_or(0, |about| about.len());
    let left = length.saturating_sub(REPORTS);
    if left == 0 {
        // Without it the reports are all there is.
        let _ = std::fs::remove_file(file);
        return false;
    }
    std::fs::OpenOptions::new().write(true).open(file).is_ok_and(|file| file.set_len(left).is_ok())
}

/// How far the steps came.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Played {
    Whole,
    Late,
    Interrupted,
}

/// The only case of something that could not be judged at all.
pub fn case_of_error(id: &str, title: &str, what: String) -> Case {
    judge::case(id, 1, model::Verdict::Error, title, title, what)
}

/// What the packets tell.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) analysis: model::Analysis,
    rules: Vec<Case>,
    traces: Vec<analyzer::trace::Trace>,
}

/// Analyzes the capture of a run.
pub(crate) async fn analyze(file: PathBuf) -> Result<Traced, EngineError> {
    let read = move || {
        let options = analyzer::Options { trace: true, ..analyzer::Options::default() };
        let mut analyzer = analyzer::Analyzer::new(options);
        match analyzer.file(&file) {
            Ok(_) => {}
            Err(error) => return Err(EngineError::Capture(error.to_string())),
        }
        let (mut analysis, rules, traces) = analyzer.trace();
        // The report stands beside the capture, wherever the two are taken.
        for capture in &mut analysis.captures {
            capture.file = CAPTURE.to_owned();
        }
        for file in analysis.findings.iter_mut().filter_map(|finding| finding.file.as_mut()) {
            *file = CAPTURE.to_owned();
        }
        Ok(Traced { analysis, rules, traces })
    };
    tokio::task::spawn_blocking(read).await.map_err(|e| EngineError::Capture(e.to_string()))?
}

/// A scenario while it is played.
struct Show<'a> {
    scenario: &'a Scenario,
    up: Up,
    stage: Stage,
    actors: Vec<Actor>,
    due: Vec<Due>,
    begin: Instant,
    /// How long the timeline stood still.
    held: Duration,
    /// When a client with a length has to go.
    leaving: Vec<(Instant, usize)>,
    samples: Vec<metrics::Sample>,
    events: Vec<Value>,
    died: Option<String>,
}

/// What was seen of a show, besides its packets.
struct Performance {
    actors: Vec<Actor>,
    clients: Vec<ClientSnapshot>,
    clock: Option<(Clock, session::Time)>,
    samples: Vec<metrics::Sample>,
    began: std::time::SystemTime,
    events: Vec<Value>,
    died: Option<String>,
    late: bool,
}

impl<'a> Show<'a> {
    fn new(scenario: &'a Scenario, options: &Options, up: Up, tap: Option<Tap>) -> Result<Self, EngineError> {
        for client in &scenario.clients {
            if up.stream(client.speaks, &client.path).is_none() {
                return Err(EngineError::Unspoken(client.name.clone(), client.speaks.name()));
            }
        }
        let stage = Stage {
            tap,
            dir: options.out.clone(),
            home: scenario.home.clone(),
            seed: options.seed.unwrap_or(scenario.seed),
            agent: GENERATOR.to_owned(),
        };
        Ok(Self {
            scenario,
            up,
            stage,
            actors: plan::actors(scenario),
            due: plan::due(scenario),
            begin: Instant::now(),
            held: Duration::ZERO,
            leaving: Vec::new(),
            samples: Vec::new(),
            events: Vec::new(),
            died: None,
        })
    }

    fn tell(&mut self, mut event: Value) {
        if let Value::Object(fields) = &mut event {
            let at = (self.begin.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
            fields.insert("at_s".to_owned(), json!(at));
        }
        self.events.push(event);
    }

    /// Plays every step, then waits until those that have a length are gone, or the target is.
    async fn play(&mut self, progress: &mut impl FnMut(&Moment)) {
        self.begin = Instant::now();
        self.tell(json!({ "event": "ready" }));
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        let due = std::mem::take(&mut self.due);
        let total = self.scenario.length();
        let mut next = due.iter().peekable();
        loop {
            while let Some(due) = next.next_if(|due| self.is_due(due.at) <= Instant::now()) {
                let late = self.is_due(due.at).elapsed();
                if late > LATE {
                    self.stand_still(late);
                }
                self.step(&due.what).await;
            }
            let now = Instant::now();
            let (gone, staying): (Vec<_>, Vec<_>) = self.leaving.iter().partition(|(at, _)| *at <= now);
            self.leaving = staying;
            for (_, actor) in gone {
                self.actors[actor].stop();
            }
            let alarm = [next.peek().map(|due| self.is_due(due.at)), self.leaving.iter().map(|l| l.0).min()];
            let Some(alarm) = alarm.into_iter().flatten().min() else {
                // All was due at once where the machine stood still; the target may have died meanwhile.
                if self.up.is_over() {
                    let how = self.up.died().await;
                    self.target_died(how);
                }
                break;
            };
            tokio::select! {
                () = until(Some(alarm)) => {}
                _ = ticks.tick() => {}
                how = self.up.died() => {
                    self.target_died(how);
                    break;
                }
            }
            let latest = self.events.last().map(describe).unwrap_or_default();
            let here = self.actors.iter().filter(|actor| actor.is_here()).count();
            let elapsed = self.begin.elapsed().saturating_sub(self.held);
            progress(&Moment { elapsed, total, here, latest });
        }
    }

    fn target_died(&mut self, how: String) {
        self.tell(json!({ "event": "target_died", "how": how }));
        self.died = Some(how);
    }

    /// When something is due.
    fn is_due(&self, at: Duration) -> Instant {
        self.begin + self.held + at
    }

    async fn step(&mut self, what: &What) {
        match what {
            What::Act(actor, act) => self.act(*actor, *act).await,
            What::Net(actor, net) => {
                self.tell(json!({ "event": "net", "client": self.actors[*actor].name }));
                self.actors[*actor].net(*net);
            }
            What::Sample(expectation) => self.sample(Some(*expectation)).await,
        }
    }

    async fn sample(&mut self, expectation: Option<usize>) {
        if let Some(server) = self.up.server() {
            self.samples.push(metrics::Sample { expectation, ..metrics::scrape(server) });
        }
    }

    async fn act(&mut self, actor: usize, act: Act) {
        let client = &self.scenario.clients[self.actors[actor].client];
        let name = self.actors[actor].name.clone();
        self.tell(json!({ "event": act.name(), "client": name }));
        match act {
            Act::Publish | Act::Play => {
                let Some(url) = self.up.stream(client.speaks, &client.path) else { return };
                let relayed = is_relayed(self.scenario, self.actors[actor].client);
                if let Err(why) = self.actors[actor].come(client, &url, &self.stage, relayed).await {
                    self.tell(json!({ "event": "lost", "client": name, "why": why }));
                    self.actors[actor].ending = Some(Ending::Lost(why));
                    return;
                }
                if act == Act::Publish {
                    self.until_on_air(actor).await;
                }
                if let Some(length) = client.length {
                    self.leaving.push((Instant::now() + length, actor));
                }
            }
            Act::Stop => self.actors[actor].stop(),
            Act::Abort => self.actors[actor].abort(),
            Act::Freeze => self.actors[actor].freeze(true),
            Act::Resume => self.actors[actor].freeze(false),
            Act::Reset => self.actors[actor].reset(),
        }
    }

    /// Waits for a publisher to be on air, as far as that can be known: how long a program takes to start, or a busy machine to
    /// connect, is no part of the plan. Meanwhile the timeline stands still.
    async fn until_on_air(&mut self, actor: usize) {
        let began = Instant::now();
        while began.elapsed() < ON_AIR && self.is_getting_on_air(&self.actors[actor]) {
            sleep(LOOK).await;
        }
        self.stand_still(began.elapsed());
    }

    /// What follows is due so much later.
    fn stand_still(&mut self, so_long: Duration) {
        self.held += so_long;
        self.leaving.iter_mut().for_each(|(at, _)| *at += so_long);
    }

    fn is_getting_on_air(&self, actor: &Actor) -> bool {
        let client = &self.scenario.clients[actor.client];
        let waits = match self.up.server() {
            // Somebody else may hold the name.
            Some(server) => !server.streams().iter().any(|stream| {
                stream.path == client.path && stream.publisher.is_some() && !stream.tracks.is_empty()
            }),
            None => actor.is_unanswered(),
        };
        waits && actor.is_here()
    }

    /// Publishers go off air, viewers see the end of it, everybody leaves, the target ends.
    async fn close(mut self, played: &Played) -> Performance {
        let role = |actor: &Actor| self.scenario.clients[actor.client].role;
        for actor in self.actors.iter().filter(|actor| role(actor) == Role::Publisher) {
            actor.stop();
        }
        let mut patience =
            if *played == Played::Whole && self.died.is_none() { PATIENCE } else { Duration::ZERO };
        let (publishers, viewers): (Vec<_>, Vec<_>) =
            (0..self.actors.len()).partition(|i| role(&self.actors[*i]) == Role::Publisher);
        for i in publishers {
            end(&mut self.actors[i], PATIENCE).await;
        }
        for i in &viewers {
            // Who comes back by itself has to be told that nothing more comes.
            if self.scenario.clients[self.actors[*i].client].reconnect.is_some() {
                self.actors[*i].stop();
            }
        }
        let deadline = Instant::now() + patience;
        for i in viewers {
            patience = deadline.saturating_duration_since(Instant::now());
            end(&mut self.actors[i], patience).await;
        }
        self.sample(None).await;
        for i in 0..self.actors.len() {
            let (name, ending) = (&self.actors[i].name, &self.actors[i].ending);
            let ending = ending.as_ref().map(|ending| format!("{ending:?}"));
            let lost = self.actors[i].lost_on_path();
            let event = json!({ "event": "ended", "client": name, "how": ending, "lost_on_path": lost });
            self.tell(event);
        }
        let clock = self.up.server().map(|server| (server.clock(), server.clock().now()));
        let began = std::time::SystemTime::now() - self.begin.elapsed();
        let clients = self.up.end().await;
        Performance {
            actors: self.actors,
            clients,
            clock,
            samples: self.samples,
            began,
            events: self.events,
            died: self.died,
            late: *played == Played::Late,
        }
    }
}

/// Gives a client time to end by itself, then sends it home.
async fn end(actor: &mut Actor, patience: Duration) {
    if timeout(patience, actor.end()).await.is_ok() {
        return;
    }
    actor.stop();
    if timeout(PATIENCE, actor.end()).await.is_err() {
        actor.abort();
        let _ = timeout(PATIENCE, actor.end()).await;
    }
}

/// Whether a client's way leads over a relay: its path has behaviours, or it is not ours and cannot be tapped.
fn is_relayed(scenario: &Scenario, client: usize) -> bool {
    let named = |client: &Client| client.with != With::Ours || !client.net.is_clear();
    scenario.clients.get(client).is_some_and(named)
        || scenario.steps.iter().any(|step| {
            let on_the_way = step.net.is_some() || step.act == Some(Act::Reset);
            on_the_way && step.who.contains(&client)
        })
}

fn describe(event: &Value) -> String {
    let word = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}", word("client"), word("event")).trim().to_owned()
}

fn artifacts(scenario: &Scenario, out: &Path) -> Vec<Artifact> {
    let mut all = vec![
        ("index.html", "this report"),
        ("verdicts.json", "the verdicts, for programs"),
        ("run.json", "everything in this report, for programs"),
        ("run.jsonl", "what happened when"),
        ("junit.xml", "the verdicts, for CI"),
    ];
    if scenario.capture != Capture::Off {
        all.push((CAPTURE, "the packets of every client, for Wireshark"));
    }
    for (file, title) in
        [("target.log", "what the target printed"), (target::RECORDINGS, "what was recorded")]
    {
        if out.join(file).exists() {
            all.push((file, title));
        }
    }
    all.into_iter().map(|(file, title)| Artifact { file: file.to_owned(), title: title.to_owned() }).collect()
}
