//! JUnit and JSON: what machines read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects)]

mod samples;

use model::{Run, Verdict};
use quick_junit::TestCaseStatus;
use serde_json::json;
use streamgauge_reports::{json, junit};

#[test]
fn checks_become_test_cases() {
    insta::assert_snapshot!(junit::render(&samples::eight_clients()).unwrap());
}

#[test]
fn junit_counts_what_the_run_counts() {
    let run = samples::eight_clients();
    let of = |verdict| run.checks.iter().filter(|c| c.verdict == verdict).count();
    let report = quick_junit::Report::deserialize_from_str(&junit::render(&run).unwrap()).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (10, of(Verdict::Fail), of(Verdict::Error)));
    let skipped = report.test_suites[0]
        .test_cases
        .iter()
        .filter(|c| matches!(c.status, TestCaseStatus::Skipped { .. }));
    assert_eq!(skipped.count(), of(Verdict::Skip));
}

#[test]
fn junit_stays_well_formed_whatever_a_check_says() {
    let xml = junit::render(&samples::hostile()).unwrap();
    let report = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    assert_eq!(report.failures, 2);
    let out = report.test_suites[0].system_out.as_ref().unwrap();
    assert!(out.as_str().contains("<img src=x onerror=alert(1)>"), "{out:?}");
}

#[test]
fn json_is_the_run_itself() {
    let run = samples::eight_clients();
    let text = json::run(&run).unwrap();
    assert!(text.ends_with("}\n"));
    assert!(serde_json::from_str::<Run>(&text).unwrap() == run);
    let analysis = json::analysis(&run.analysis).unwrap();
    assert!(serde_json::from_str::<model::Analysis>(&analysis).unwrap() == run.analysis);
}

#[test]
fn events_stand_one_a_line() {
    let events = [json!({"at": 1.5, "event": "publish"}), json!({"text": "two\nlines"})];
    let text = json::jsonl(&events);
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines, events);
}
