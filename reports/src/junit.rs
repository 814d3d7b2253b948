//! JUnit XML, for the CI systems that read it: a check is a test case.

use std::time::Duration;

use model::{Check, Finding, Run, Verdict};
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use crate::clients::{severity, verdict};
use crate::{Error, Result};

/// The checks of a run as one test suite. The findings stand in the suite's output, worst first.
pub fn render(run: &Run) -> Result<String> {
    let mut suite = TestSuite::new(format!("streamgauge.{}", run.kind));
    if let Ok(time) = Duration::try_from_secs_f64(run.duration_s) {
        suite.set_time(time);
    }
    suite.add_property(Property::new("started", &run.started));
    suite.add_property(Property::new("generator", &run.generator));
    suite.add_test_cases(run.checks.iter().map(|check| case(run, check)));
    let mut worst_first: Vec<&Finding> = run.analysis.findings.iter().collect();
    worst_first.sort_by_key(|f| std::cmp::Reverse(f.severity));
    let lines: Vec<String> = worst_first.into_iter().map(line).collect();
    if !lines.is_empty() {
        suite.set_system_out(lines.join("\n"));
    }
    let mut report = Report::new(&run.title);
    if let Ok(time) = Duration::try_from_secs_f64(run.duration_s) {
        report.set_time(time);
    }
    report.add_test_suite(suite);
    report.to_string().map_err(|e| Error::new("cannot write JUnit XML", e))
}

fn case(run: &Run, check: &Check) -> TestCase {
    let mut status = match check.verdict {
        Verdict::Pass | Verdict::Warn => TestCaseStatus::success(),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Skip | Verdict::Inconclusive => TestCaseStatus::skipped(),
    };
    let details = details(run, check);
    match check.verdict {
        Verdict::Pass | Verdict::Warn => {}
        Verdict::Fail | Verdict::Error => {
            status.set_type(verdict(check.verdict));
            status.set_message(format!("{}: want {}, got {}", check.title, check.want, check.got));
            status.set_description(&details);
        }
        Verdict::Skip | Verdict::Inconclusive => {
            let why = check.reason.as_deref().unwrap_or(&check.got);
            status.set_message(format!("{}: {why}", verdict(check.verdict)));
        }
    }
    let mut case = TestCase::new(&check.id, status);
    case.set_classname(format!("streamgauge.{}", run.kind));
    case.set_system_out(format!("{} ({})\n{details}", check.title, verdict(check.verdict)));
    case
}

fn details(run: &Run, check: &Check) -> String {
    let mut text = format!("want: {}\ngot: {}", check.want, check.got);
    if let Some(reason) = &check.reason {
        text += &format!("\nsource: {reason}");
    }
    let session = run.analysis.sessions.iter().find(|s| Some(&s.id) == check.session.as_ref());
    if let Some(session) = session {
        text += &format!("\nsession: {}\nWireshark: {}", session.id, session.filter);
    }
    text
}

fn line(finding: &Finding) -> String {
    let at = |name: &str, value: Option<String>| value.map(|v| format!(" {name} {v}")).unwrap_or_default();
    format!(
        "{} {}:{}{} {} (x{})",
        severity(finding.severity),
        finding.rule,
        at("session", finding.session.clone()),
        at("frame", finding.frame.map(|n| n.to_string())),
        finding.message,
        finding.count
    )
}
