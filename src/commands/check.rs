//! `streamgauge check`.

use std::fs;
use std::time::Instant;

use analyzer::capture::Reader;
use analyzer::{Analyzer, Options};
use model::{Analysis, Artifact, Case, RUN_SCHEMA, Run, VERDICTS_SCHEMA, Verdict, Verdicts};

use super::expect::Expectations;
use super::rules::{did_you_mean, matches};
use super::verdicts::{checks, directory, write};
use crate::args::{self, Common};
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
    let expectations = args
        .verdicts
        .expect
        .as_deref()
        .map(|path| Expectations::of_rules(path, args.verdicts.bless))
        .transpose()?;
    let (began, started) = (Instant::now(), scenarios::demo::now_rfc3339());
    let (analysis, mut cases) = read(args)?;
    let seconds = began.elapsed().as_secs_f64();
    cases.retain(|case| selected.iter().any(|rule| rule.id == case.rule));
    let strict = args.verdicts.strict || args.profile.is_some_and(|name| Profile::of(name).strict);
    for case in &mut cases {
        case.seconds = seconds;
        case.expected = !(case.verdict == Verdict::Fail || strict && case.verdict == Verdict::Warn);
    }
    if let (Some(path), true) = (&args.verdicts.expect, args.verdicts.bless) {
        let blessed = expectations.unwrap_or_default().bless(&cases);
        blessed.write(path)?;
        blessed.apply(&mut cases, strict);
    } else if let Some(expectations) = &expectations {
        expectations.apply(&mut cases, strict);
    }
    if args.verdicts.fail_fast
        && let Some(first) = cases.iter().position(|case| !case.expected)
    {
        cases.truncate(first + 1);
    }
    let target = names(args).join(", ");
    let verdicts = Verdicts { schema: VERDICTS_SCHEMA.to_owned(), target, cases };
    let run = document(&verdicts, &analysis, started, seconds);
    if let Some(dir) = &args.verdicts.out {
        directory(dir, &run, &[], &verdicts)?;
    }
    write(&args.verdicts, common, &verdicts, &run, reports::text::verdicts)?;
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
        checks: checks(&verdicts.cases),
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
