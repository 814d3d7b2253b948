//! `streamgauge check`.

use std::fs;
use std::path::Path;
use std::time::Instant;

use analyzer::capture::Reader;
use analyzer::{Analyzer, Options};
use model::{Analysis, Artifact, Case, Check, RUN_SCHEMA, Run, VERDICTS_SCHEMA, Verdict, Verdicts};
use reports::text::Detail;

use super::expect::Expectations;
use super::rules::{did_you_mean, matches};
use crate::args::{self, CheckFormat, Common};
use crate::exit::{Code, Ended, Failure};
use crate::output;

/// Runs the conformance rules over captures.
pub fn run(args: &args::Check, common: &Common) -> Ended {
    let selected = select(args)?;
    if args.list {
        let entries: Vec<_> = selected
            .iter()
            .map(|rule| reports::text::Entry {
                id: rule.id.to_owned(),
                level: rule.level.to_string(),
                title: rule.title.to_owned(),
                judged: true,
            })
            .collect();
        output::print(&reports::text::catalogue(&entries, &output::text_options(common)))?;
        return Ok(Code::Expected);
    }
    if args.files.is_empty() {
        return Err(Failure::usage("check needs a capture file"));
    }
    let expectations = args.expect.as_deref().map(|path| Expectations::read(path, args.bless)).transpose()?;
    let (began, started) = (Instant::now(), scenarios::demo::now_rfc3339());
    let (analysis, mut cases) = read(args)?;
    let seconds = began.elapsed().as_secs_f64();
    cases.retain(|case| selected.iter().any(|rule| rule.id == case.rule));
    let strict = args.strict || args.profile.is_some_and(|name| Profile::of(name).strict);
    for case in &mut cases {
        case.seconds = seconds;
        case.expected = !(case.verdict == Verdict::Fail || strict && case.verdict == Verdict::Warn);
    }
    if let (Some(path), true) = (&args.expect, args.bless) {
        let blessed = expectations.unwrap_or_default().bless(&cases);
        blessed.write(path)?;
        blessed.apply(&mut cases, strict);
    } else if let Some(expectations) = &expectations {
        expectations.apply(&mut cases, strict);
    }
    if args.fail_fast
        && let Some(first) = cases.iter().position(|case| !case.expected)
    {
        cases.truncate(first + 1);
    }
    let target = names(args).join(", ");
    let verdicts = Verdicts { schema: VERDICTS_SCHEMA.to_owned(), target, cases };
    write(args, common, &verdicts, &analysis, started, seconds)?;
    let surprise = verdicts.cases.iter().any(|case| !case.expected);
    Ok(if surprise { Code::Unexpected } else { Code::Expected })
}

/// What a profile selects.
struct Profile {
    /// Beginnings of ids; all where there are none.
    heads: &'static [&'static str],
    /// The least binding level, where it is not the usual one.
    level: Option<spec::Level>,
    /// The least a breach hurts.
    severity: spec::Severity,
    /// True where a warning is unexpected.
    strict: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self { heads: &[], level: None, severity: spec::Severity::Info, strict: false }
    }
}

impl Profile {
    fn of(name: args::Profile) -> Self {
        let all = Self::default();
        match name {
            args::Profile::Strict => Self { level: Some(spec::Level::May), strict: true, ..all },
            args::Profile::Broken => {
                Self { level: Some(spec::Level::May), severity: spec::Severity::Error, ..all }
            }
            args::Profile::Encoder => Self { heads: &["rtmp.", "flv."], ..all },
            args::Profile::Camera => Self { heads: &["rtsp.", "sdp.", "rtp.", "rtcp."], ..all },
            args::Profile::Apple => {
                Self { heads: &["hls.", "fmp4.", "ts.", "http.", "cmcd."], strict: true, ..all }
            }
        }
    }
}

/// The rules that the options select.
fn select(args: &args::Check) -> Result<Vec<&'static spec::Requirement>, Failure> {
    let profile = args.profile.map(Profile::of).unwrap_or_default();
    let lowest = match args.level {
        None => profile.level.unwrap_or(spec::Level::Should),
        Some(args::Level::Must) => spec::Level::Must,
        Some(args::Level::Should) => spec::Level::Should,
        Some(args::Level::Convention) => spec::Level::Convention,
        Some(args::Level::May) => spec::Level::May,
    };
    let any = |globs: &[String], id: &str| globs.iter().any(|glob| matches(glob, id));
    let selected: Vec<_> = analyzer::rules::all()
        .map(|rule| rule.requirement)
        .filter(|rule| rule.level <= lowest && rule.severity >= profile.severity)
        .filter(|rule| profile.heads.is_empty() || profile.heads.iter().any(|head| rule.id.starts_with(head)))
        .filter(|rule| args.only.is_empty() || any(&args.only, rule.id))
        .filter(|rule| !any(&args.skip, rule.id))
        .collect();
    if selected.is_empty() {
        let hint = args.only.first().map(|glob| hint(glob)).unwrap_or_default();
        let message = format!("no rule is selected{hint}");
        return Err(Failure { message, code: Code::NothingSelected });
    }
    Ok(selected)
}

fn hint(glob: &str) -> String {
    match spec::find(glob) {
        Some(_) if analyzer::rules::find(glob).is_none() => {
            format!(": no rule judges {glob} over captures yet")
        }
        _ => did_you_mean(glob),
    }
}

fn read(args: &args::Check) -> Result<(Analysis, Vec<Case>), Failure> {
    // Files are one timeline; one that is none at all is wrong usage, also beside others that can be read.
    for file in &args.files {
        // What a pipe holds can be read only once.
        let piped = file.as_os_str() == "-" || fs::metadata(file).is_ok_and(|about| !about.is_file());
        if !piped {
            Reader::open(file).map_err(Failure::usage)?;
        }
    }
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.files(&args.files).map_err(Failure::usage)?;
    Ok(analyzer.judge())
}

fn names(args: &args::Check) -> Vec<String> {
    let name = |path: &std::path::PathBuf| {
        path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
    };
    args.files.iter().map(name).collect()
}

/// Every report that was asked for.
fn write(
    args: &args::Check,
    common: &Common,
    verdicts: &Verdicts,
    analysis: &Analysis,
    started: String,
    seconds: f64,
) -> Result<(), Failure> {
    let run = document(verdicts, analysis, started, seconds);
    if let Some(dir) = &args.out {
        reports::rundir::write(dir, &run, &[]).map_err(Failure::environment)?;
        put(&dir.join("verdicts.json"), &reports::json::verdicts(verdicts).map_err(Failure::environment)?)?;
    }
    let mut on_stdout = false;
    let files = [
        (&args.junit, reports::junit::render(&run)),
        (&args.json, reports::json::verdicts(verdicts)),
        (&args.html, reports::html::render(&run)),
    ];
    for (path, text) in files {
        let Some(path) = path else { continue };
        on_stdout |= path == Path::new("-");
        put(path, &text.map_err(Failure::environment)?)?;
    }
    if on_stdout {
        return Ok(());
    }
    let detail = match (common.quiet, common.verbose) {
        (true, _) => Detail::Quiet,
        (false, 0) => Detail::Normal,
        (false, _) => Detail::Full,
    };
    output::print(&match args.format {
        CheckFormat::Human => reports::text::verdicts(verdicts, detail, &output::text_options(common)),
        CheckFormat::Json => reports::json::verdicts(verdicts).map_err(Failure::environment)?,
        CheckFormat::Github => reports::text::github(verdicts),
    })
}

fn put(path: &Path, text: &str) -> Result<(), Failure> {
    if path == Path::new("-") {
        return output::print(text);
    }
    fs::write(path, text)
        .map_err(|error| Failure::environment(format!("cannot write {}: {error}", path.display())))
}

/// The verdicts as a run, for the reports that show runs.
fn document(verdicts: &Verdicts, analysis: &Analysis, started: String, duration_s: f64) -> Run {
    let artifact = |(file, title): (&str, &str)| Artifact { file: file.to_owned(), title: title.to_owned() };
    Run {
        schema: RUN_SCHEMA.to_owned(),
        kind: "check".to_owned(),
        title: format!("Conformance of {}", verdicts.target),
        generator: scenarios::demo::GENERATOR.to_owned(),
        started,
        duration_s,
        analysis: analysis.clone(),
        server_clients: Vec::new(),
        checks: verdicts.cases.iter().map(check).collect(),
        recordings: Vec::new(),
        artifacts: [
            ("index.html", "this report"),
            ("verdicts.json", "the verdicts, for programs"),
            ("run.json", "everything in this report, for programs"),
            ("junit.xml", "the verdicts, for CI"),
        ]
        .map(artifact)
        .to_vec(),
        notes: vec!["A rule is inconclusive where the capture lacks the bytes it would need.".to_owned()],
    }
}

fn check(case: &Case) -> Check {
    // An announced failure is no failure of the run, and a failure that went away is one.
    let verdict = match (case.verdict, case.expected) {
        (Verdict::Fail, true) => Verdict::Warn,
        (Verdict::Fail | Verdict::Error, false) => case.verdict,
        (_, false) => Verdict::Fail,
        (verdict, true) => verdict,
    };
    let evidence = case.evidence.clone().unwrap_or_default();
    let place = evidence.frame.map(|frame| format!(" (frame {frame})")).unwrap_or_default();
    let count = |n: u64| if n == 1 { "once".to_owned() } else { format!("{n} times") };
    let got = match (&case.got, case.verdict) {
        (Some(got), _) => format!("{got}{place}"),
        (None, Verdict::Pass) => format!("kept, {}", count(case.applied)),
        (None, other) => format!("{other:?}").to_lowercase(),
    };
    Check {
        id: case.rule.clone(),
        title: format!("{} ({}, {})", case.title, case.level, case.clause),
        verdict,
        want: case.want.clone().unwrap_or_else(|| case.title.clone()),
        got,
        reason: case.reason.clone(),
        session: evidence.flow,
    }
}
