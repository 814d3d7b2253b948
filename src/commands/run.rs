//! `streamgauge run`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use model::{Case, Check, RUN_SCHEMA, Run, VERDICTS_SCHEMA, Verdict, Verdicts};
use reports::text::Ran;
use scenarios::demo::{GENERATOR, now_rfc3339};
use scenarios::engine::{self, EngineError, Options};
use scenarios::script::Scenario;
use tokio::sync::watch;

use super::expect::Expectations;
use super::rules::matches;
use super::verdicts::{checks, directory, write};
use crate::args::{self, Common};
use crate::exit::{Code, Ended, Failure};
use crate::output;

/// Where run directories go where nobody says.
const OUT: &str = "streamgauge-run";
/// What a scenario may take beyond its steps where nobody says.
const SLACK: Duration = Duration::from_secs(60);

/// A scenario that is to be run.
struct Job {
    name: String,
    scenario: Scenario,
    out: PathBuf,
}

/// What became of it.
struct Done {
    name: String,
    cases: Vec<Case>,
    run: Run,
    /// The target or the environment was in the way.
    kept_from: bool,
    interrupted: bool,
    /// The run directory has its report.
    reported: bool,
    seconds: f64,
}

/// Whether a case belongs to the scenario of this name.
fn is_of(case: &Case, name: &str) -> bool {
    case.rule.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))
}

/// Runs scenarios.
pub fn run(args: &args::Run, common: &Common) -> Ended {
    let jobs = select(args)?;
    if args.list {
        let lines: String =
            jobs.iter().map(|job| format!("{:<28} {}\n", job.name, job.scenario.title)).collect();
        output::print(&lines)?;
        return Ok(Code::Expected);
    }
    let (bless, strict) = (args.verdicts.bless, args.verdicts.strict);
    let known = args.verdicts.expect.as_deref().map(|path| Expectations::read(path, bless)).transpose()?;
    let started = now_rfc3339();
    let began = std::time::Instant::now();
    let (interrupt, interrupted) = watch::channel(false);
    let judged = |cases: &mut Vec<Case>| match &known {
        Some(known) => known.apply(cases, strict),
        None => {
            cases.iter_mut().filter(|c| strict && c.verdict == Verdict::Warn).for_each(|c| c.expected = false)
        }
    };
    let runtime = super::runtime()?;
    runtime.spawn(async move {
        if super::asked_to_stop().await.is_ok() {
            interrupt.send_replace(true);
        }
        // The receiver reads the last value; keep the channel open for it.
        std::future::pending::<()>().await;
    });
    let try_one = |job| attempt(job, args, common, &judged, interrupted.clone());
    let enough = |one: &Done| {
        let surprise = one.cases.iter().any(|case| !case.expected);
        *interrupted.borrow() || args.verdicts.fail_fast && surprise
    };
    let done = side_by_side(&runtime, &jobs, args.jobs, try_one, enough);

    let mut cases = Vec::new();
    for one in &done {
        cases.extend(one.cases.iter().cloned());
    }
    if let (Some(path), true) = (&args.verdicts.expect, bless) {
        let blessed = known.unwrap_or_default().bless(&cases);
        blessed.write(path)?;
        blessed.apply(&mut cases, strict);
    } else if let (Some(known), false) = (&known, common.quiet) {
        for rule in known.unheard(&cases) {
            output::say(&format!("the file of known failures names {rule}, which was not judged"));
        }
    }
    let code = code(&done, &cases);
    let target = match args.target.join(" ") {
        none if none.is_empty() => done.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", "),
        urls => urls,
    };
    let verdicts = Verdicts { schema: VERDICTS_SCHEMA.to_owned(), target, cases };
    let run = together(&done, &verdicts, started, began.elapsed().as_secs_f64());
    write(&args.verdicts, common, &verdicts, &run, |verdicts, detail, options| {
        let of =
            |one: &Done| verdicts.cases.iter().filter(|c| is_of(c, &one.name)).cloned().collect::<Vec<_>>();
        let cases: Vec<Vec<Case>> = done.iter().map(of).collect();
        let ran: Vec<Ran<'_>> = done
            .iter()
            .zip(&cases)
            .map(|(one, cases)| Ran { name: &one.name, cases, seconds: one.seconds })
            .collect();
        reports::text::scenarios(&ran, detail, options)
    })?;
    if !common.quiet {
        for job in jobs.iter().filter(|job| done.iter().any(|one| one.name == job.name && one.reported)) {
            output::say(&format!("report: {}", job.out.join("index.html").display()));
        }
    }
    Ok(code)
}

/// Runs so many at once, until all are done or one is `enough`; in their order. Each has a thread of its own: at its end it judges and
/// draws for a while, which must not hold up the steps of the others.
fn side_by_side<'a, F: Future<Output = Done>>(
    runtime: &tokio::runtime::Runtime,
    jobs: &'a [Job],
    at_once: u16,
    try_one: impl Fn(&'a Job) -> F + Sync,
    enough: impl Fn(&Done) -> bool,
) -> Vec<Done> {
    let (next, (tell, told)) = (AtomicUsize::new(0), mpsc::channel());
    let (abandon, abandoned) = watch::channel(false);
    let work = |tell: mpsc::Sender<(usize, Done)>, mut abandoned: watch::Receiver<bool>| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(number) else { return };
            let one = runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = abandoned.wait_for(|abandoned| *abandoned) => None,
                    one = try_one(job) => Some(one),
                }
            });
            if one.is_none_or(|one| tell.send((number, one)).is_err()) {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            let (tell, abandoned) = (tell.clone(), abandoned.clone());
            scope.spawn(|| work(tell, abandoned));
        }
        drop(tell);
        let (mut early, mut done) = (BTreeMap::new(), Vec::new());
        while let Ok((number, one)) = told.recv() {
            early.insert(number, one);
            while let Some(one) = early.remove(&done.len()) {
                let enough = enough(&one);
                done.push(one);
                if enough {
                    abandon.send_replace(true);
                    return done;
                }
            }
        }
        done
    })
}

fn code(done: &[Done], cases: &[Case]) -> Code {
    if done.iter().any(|one| one.interrupted) {
        Code::Interrupted
    } else if done.iter().any(|one| one.kept_from) {
        Code::Environment
    } else if cases.iter().any(|case| !case.expected) {
        Code::Unexpected
    } else {
        Code::Expected
    }
}

/// The scenarios that the arguments select, all of them read before one is run.
fn select(args: &args::Run) -> Result<Vec<Job>, Failure> {
    let mut files = Vec::new();
    for path in &args.scenarios {
        find(path, &mut files)?;
    }
    let any = |globs: &[String], name: &str| globs.iter().any(|glob| matches(glob, name));
    let selected: Vec<(PathBuf, String)> = files
        .into_iter()
        .filter(|(_, name)| args.only.is_empty() || any(&args.only, name))
        .filter(|(_, name)| !any(&args.skip, name))
        .collect();
    if selected.is_empty() {
        return Err(Failure { message: "no scenario is selected".to_owned(), code: Code::NothingSelected });
    }
    let out = args.verdicts.out.clone().unwrap_or_else(|| PathBuf::from(OUT));
    let alone = selected.len() == 1;
    let (mut jobs, mut wrong) = (Vec::new(), Vec::new());
    for (file, name) in selected {
        match Scenario::load(&file) {
            Ok(scenario) => {
                let out = if alone { out.clone() } else { out.join(&name) };
                jobs.push(Job { name, scenario, out });
            }
            Err(error) => wrong.push(error.to_string()),
        }
    }
    if wrong.is_empty() { Ok(jobs) } else { Err(Failure::usage(wrong.join("\n"))) }
}

/// A scenario's file, or every one in a directory, with names: the file's own and its directory's.
fn find(path: &Path, files: &mut Vec<(PathBuf, String)>) -> Result<(), Failure> {
    let failed = |error| Failure::usage(format!("{}: {error}", path.display()));
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        files.push((path.to_owned(), name(path)));
        return Ok(());
    }
    let entries: std::io::Result<Vec<_>> = fs::read_dir(path).map_err(failed)?.collect();
    let mut paths: Vec<PathBuf> = entries.map_err(failed)?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let scenario = path.extension().is_some_and(|e| e == "toml") && !is_expectations(&path);
        if path.is_dir() || scenario {
            find(&path, files)?;
        }
    }
    Ok(())
}

/// Files of known failures stand beside scenarios.
fn is_expectations(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().ends_with("expected.toml") || name == "Cargo.toml")
}

fn name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    match whole.parent().and_then(Path::file_name) {
        Some(parent) => format!("{}/{stem}", parent.to_string_lossy()),
        None => stem,
    }
}

/// Runs a scenario, and again where it may.
async fn attempt(
    job: &Job,
    args: &args::Run,
    common: &Common,
    judged: &impl Fn(&mut Vec<Case>),
    interrupted: watch::Receiver<bool>,
) -> Done {
    let mut tries = 0;
    loop {
        tries += 1;
        if !common.quiet {
            output::say(&format!("{}: {}", job.name, job.scenario.title));
        }
        let mut done = once(job, args, interrupted.clone()).await;
        for case in &mut done.cases {
            case.rule = format!("{}:{}", job.name, case.rule);
            if tries > 1 {
                case.reason = Some(format!("attempt {tries}"));
            }
        }
        judged(&mut done.cases);
        let surprise = done.cases.iter().any(|case| !case.expected);
        if !surprise || tries > args.retries || *interrupted.borrow() {
            return done;
        }
    }
}

async fn once(job: &Job, args: &args::Run, interrupted: watch::Receiver<bool>) -> Done {
    let began = std::time::Instant::now();
    let options = Options {
        out: job.out.clone(),
        targets: args.target.clone(),
        seed: args.seed,
        timeout: args.timeout.unwrap_or_else(|| job.scenario.length() + SLACK),
    };
    let prepared = fs::create_dir_all(&job.out).map_err(|error| EngineError::Io(job.out.clone(), error));
    let outcome = match prepared {
        Ok(()) => engine::run(&job.scenario, &options, |_| {}, interrupted.clone()).await,
        Err(error) => Err(error),
    };
    let (mut run, mut cases, events, stopped) = match outcome {
        Ok(outcome) => (outcome.run, outcome.cases, outcome.events, outcome.interrupted),
        Err(error) => (empty(job), vec![kept(&error)], Vec::new(), *interrupted.borrow()),
    };
    let seconds = began.elapsed().as_secs_f64();
    cases.iter_mut().for_each(|case| case.seconds = seconds);
    run.checks = checks(&cases);
    let target = args.target.first().cloned().unwrap_or_else(|| job.name.clone());
    let verdicts = Verdicts { schema: VERDICTS_SCHEMA.to_owned(), target, cases: cases.clone() };
    let written = directory(&job.out, &run, &events, &verdicts);
    let reported = written.is_ok();
    if let Err(failure) = written {
        cases.push(engine::case_of_error("run.directory", "the run directory is written", failure.message));
    }
    let kept_from = cases.iter().any(|case| case.verdict == Verdict::Error);
    Done { name: job.name.clone(), cases, run, kept_from, interrupted: stopped, reported, seconds }
}

/// What kept a scenario from being judged, as its only case.
fn kept(error: &EngineError) -> Case {
    let (id, title) = match error {
        EngineError::Target(_) | EngineError::Unspoken(..) => ("target.ready", "there is a target to test"),
        EngineError::Capture(_) => ("run.capture", "the packets are written and read"),
        EngineError::Io(..) => ("run.directory", "the run directory can be used"),
    };
    engine::case_of_error(id, title, error.to_string())
}

/// A run of which there is nothing but its end.
fn empty(job: &Job) -> Run {
    Run {
        schema: RUN_SCHEMA.to_owned(),
        kind: "run".to_owned(),
        title: job.scenario.title.clone(),
        generator: GENERATOR.to_owned(),
        started: now_rfc3339(),
        duration_s: 0.0,
        analysis: model::Analysis::default(),
        server_clients: Vec::new(),
        recordings: Vec::new(),
        checks: Vec::new(),
        artifacts: Vec::new(),
        notes: Vec::new(),
    }
}

/// All scenarios as one run, for reports about all of them.
fn together(done: &[Done], verdicts: &Verdicts, started: String, duration_s: f64) -> Run {
    let [one] = done else {
        let checks: Vec<Check> = checks(&verdicts.cases);
        return Run {
            title: format!("{} scenarios", done.len()),
            checks,
            started,
            duration_s,
            schema: RUN_SCHEMA.to_owned(),
            kind: "run".to_owned(),
            generator: GENERATOR.to_owned(),
            analysis: model::Analysis::default(),
            server_clients: Vec::new(),
            recordings: Vec::new(),
            artifacts: Vec::new(),
            notes: vec!["Each scenario has a report of its own in its run directory.".to_owned()],
        };
    };
    Run { checks: checks(&verdicts.cases), ..one.run.clone() }
}
