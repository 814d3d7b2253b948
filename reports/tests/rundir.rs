//! The run directory: whole files, the same again from run.json, errors that say where and why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects)]

mod samples;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;
use streamgauge_reports::rundir;

const FILES: [&str; 6] =
    ["bandwidth.png", "bandwidth.svg", "index.html", "junit.xml", "run.json", "run.jsonl"];

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

#[test]
fn reports_are_functions_of_run_json() {
    let dir = tempfile::tempdir().unwrap();
    let (first, again) = (dir.path().join("a/run"), dir.path().join("again"));
    let run = samples::eight_clients();
    let events = [json!({"event": "start"})];
    rundir::write(&first, &run, &events).unwrap();
    let loaded = rundir::load(&first).unwrap();
    assert!(loaded == run, "what was read is not what was written");
    rundir::write(&again, &loaded, &events).unwrap();
    let written = contents(&first);
    assert_eq!(written.keys().collect::<Vec<_>>(), FILES);
    assert!(written == contents(&again), "a second rendering differs");
    assert!(written["bandwidth.png"].starts_with(b"\x89PNG"));
}

#[test]
fn rendering_again_replaces_the_reports_and_keeps_the_events() {
    let dir = tempfile::tempdir().unwrap();
    rundir::write(dir.path(), &samples::good(), &[json!({"event": "start"})]).unwrap();
    fs::write(dir.path().join("index.html"), "old").unwrap();
    rundir::render(dir.path(), &rundir::load(dir.path()).unwrap()).unwrap();
    let written = contents(dir.path());
    assert_eq!(written.keys().collect::<Vec<_>>(), FILES);
    assert!(written["index.html"].len() > 10_000);
    assert_eq!(written["run.jsonl"], b"{\"event\":\"start\"}\n");
}

#[test]
fn a_file_that_cannot_be_written_is_named_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("index.html")).unwrap();
    fs::write(dir.path().join("index.html/occupied"), "").unwrap();
    let error = rundir::write(dir.path(), &samples::empty(), &[]).unwrap_err().to_string();
    assert!(error.starts_with("cannot write ") && error.contains("index.html: "), "{error}");
    let parts = fs::read_dir(dir.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().ends_with(".part"));
    assert_eq!(parts.count(), 0, "a part was left behind");

    let file = dir.path().join("a-file");
    fs::write(&file, "").unwrap();
    let error = rundir::write(&file, &samples::empty(), &[]).unwrap_err().to_string();
    assert!(error.contains("a-file"), "{error}");
}

#[test]
fn a_directory_that_is_no_run_is_refused_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.json");
    let error = || rundir::load(dir.path()).unwrap_err().to_string();
    assert!(error().contains("cannot read") && error().contains("run.json"), "{}", error());
    fs::write(&path, "{\n  \"schema\": ").unwrap();
    assert!(error().contains("line 2 column"), "{}", error());
    fs::write(&path, "{\"schema\": \"streamgauge.run/9\"}").unwrap();
    assert!(error().contains("streamgauge.run/9") && error().contains("streamgauge.run/1"), "{}", error());
    fs::write(&path, "{\"schema\": \"streamgauge.run/1\",\n\"kind\": 7}").unwrap();
    assert!(error().contains("line 2 column"), "{}", error());
}
