//! What becomes of verdicts: run directories, reports, what is printed.

use std::fs;
use std::path::Path;

use model::{Case, Check, Run, Verdict, Verdicts};
use reports::text::{Detail, TextOptions};
use serde_json::Value;

use crate::args::{self, CheckFormat, Common};
use crate::exit::Failure;
use crate::output;

/// Writes a run directory with its verdicts.
pub fn directory(dir: &Path, run: &Run, events: &[Value], verdicts: &Verdicts) -> Result<(), Failure> {
    reports::rundir::write(dir, run, events).map_err(Failure::environment)?;
    put(&dir.join("verdicts.json"), &reports::json::verdicts(verdicts).map_err(Failure::environment)?)
}

/// Writes the reports that were asked for, and prints the verdicts where none of those is on stdout.
pub fn write(
    args: &args::Verdicts,
    common: &Common,
    verdicts: &Verdicts,
    run: &Run,
    human: impl FnOnce(&Verdicts, Detail, &TextOptions) -> String,
) -> Result<(), Failure> {
    let mut on_stdout = false;
    let files = [
        (&args.junit, reports::junit::render(run)),
        (&args.json, reports::json::verdicts(verdicts)),
        (&args.html, reports::html::render(run)),
    ];
    // One that cannot be written keeps nobody from the others.
    let mut written = Ok(());
    for (path, text) in files {
        let Some(path) = path else { continue };
        on_stdout |= path == Path::new("-");
        written = written.and(put(path, &text.map_err(Failure::environment)?));
    }
    if on_stdout {
        return written;
    }
    let detail = match (common.quiet, common.verbose) {
        (true, _) => Detail::Quiet,
        (false, 0) => Detail::Normal,
        (false, _) => Detail::Full,
    };
    output::print(&match args.format {
        CheckFormat::Human => human(verdicts, detail, &output::text_options(common)),
        CheckFormat::Json => reports::json::verdicts(verdicts).map_err(Failure::environment)?,
        CheckFormat::Github => reports::text::github(verdicts),
    })?;
    written
}

fn put(path: &Path, text: &str) -> Result<(), Failure> {
    if path == Path::new("-") {
        return output::print(text);
    }
    fs::write(path, text)
        .map_err(|error| Failure::environment(format!("cannot write {}: {error}", path.display())))
}

/// Verdicts as reports of runs show them.
pub fn checks(cases: &[Case]) -> Vec<Check> {
    cases.iter().map(check).collect()
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
