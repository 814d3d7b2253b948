//! `streamgauge run`: verdicts, exit codes, reports, and what it leaves behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::installed;
use common::small_disk::SmallDisk;
use serde_json::Value;

fn run(directory: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_streamgauge");
    Command::new(program).arg("run").args(arguments).current_dir(directory).output().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn scenarios(which: &str) -> String {
    common::root().join("scenarios").join(which).display().to_string()
}

/// A scenario of a few seconds.
fn write(directory: &Path, name: &str, text: &str) -> String {
    let file = directory.join(name);
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

const SHORT: &str = r#"
title  = "short"
clients.cam = { speaks = "rtmp", role = "publisher", path = "live/a" }
clients.tv  = { speaks = "rtmp", path = "live/a" }
steps = [
    { at = "0s", who = "cam", do = "publish" },
    { at = "200ms", who = "tv", do = "play" },
    { at = "1500ms", who = "cam", do = "stop" },
]
expect = [{ who = "tv", pictures = "> 5", frames_missing = 0 }]
"#;

#[test]
fn scenarios_that_ship_are_met_side_by_side() {
    let directory = tempfile::tempdir().unwrap();
    let (smoke, broken) = (scenarios("smoke"), scenarios("broken"));
    let output = run(
        directory.path(),
        &[&smoke, &broken, "--jobs", "4", "--out", "out", "--json", "all.json", "--junit", "all.xml"],
    );
    let verdicts: Value =
        serde_json::from_slice(&std::fs::read(directory.path().join("all.json")).unwrap()).unwrap();
    let cases = verdicts["cases"].as_array().unwrap();
    let bad: Vec<_> = cases.iter().filter(|case| case["verdict"] != "pass").collect();
    assert_eq!(output.status.code(), Some(0), "{}\n{bad:#?}", err(&output));
    assert!(cases.len() > 90 && bad.is_empty());
    let id = "broken/marker-missing:rules.rtp.marker.video";
    let caught = cases.iter().find(|case| case["rule"] == id).unwrap();
    assert!(caught["got"].as_str().unwrap().starts_with("rtp.marker.video: "), "{caught}");
    let bad_network = std::fs::read(directory.path().join("out/smoke/bad-network/run.json")).unwrap();
    let bad_network: Value = serde_json::from_slice(&bad_network).unwrap();
    let notes = bad_network["notes"].as_array().unwrap();
    let lost = notes
        .iter()
        .find_map(|note| note.as_str()?.strip_prefix("Packets that the paths lost on their way: "));
    assert!(lost.is_some_and(|who| who.contains("mobile ")), "{notes:?}");
    let run_directory = directory.path().join("out/smoke/rtmp-to-all");
    for file in ["run.json", "run.jsonl", "junit.xml", "index.html", "verdicts.json", "capture.pcapng"] {
        assert!(run_directory.join(file).metadata().unwrap().len() > 0, "{file}");
    }
    assert!(std::fs::read_to_string(directory.path().join("all.xml")).unwrap().contains("smoke/late-join"));
}

#[test]
fn peers_behave_as_their_list_of_known_failures_says() {
    if !installed(&["ffmpeg", "nginx", common::peer::GSTREAMER]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (interop, known) = (scenarios("interop"), scenarios("interop/expected.toml"));
    let output = run(directory.path(), &[&interop, "--expect", &known, "--out", "out", "--jobs", "2"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", err(&output));
    assert!(text.contains("1 known"), "{text}");
}

#[test]
fn mistakes_and_empty_selections_have_their_codes() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = write(directory.path(), "wrong.toml", &SHORT.replace("who = \"tv\", do", "who = \"vt\", do"));
    let output = run(directory.path(), &[&wrong]);
    assert_eq!(output.status.code(), Some(2));
    let said = err(&output);
    assert!(said.contains("wrong.toml:7:27: there is no client \"vt\"") && said.contains("^^^^"), "{said}");
    assert_eq!(run(directory.path(), &["nowhere.toml"]).status.code(), Some(2));
    let faulty = format!("target = {{ use = \"reference\", faults = [\"hls.map-mising\"] }}\n{SHORT}");
    let output = run(directory.path(), &[&write(directory.path(), "faulty.toml", &faulty)]);
    assert_eq!(output.status.code(), Some(2));
    let said = err(&output);
    assert!(
        said.contains("faulty.toml:1:41: the reference server has no fault") && said.contains("map-missing"),
        "{said}"
    );
    let right = write(directory.path(), "right.toml", SHORT);
    assert_eq!(run(directory.path(), &[&right, "--only", "other*"]).status.code(), Some(4));
    let listed = run(directory.path(), &[&right, "--list"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("right"));
    assert!(!directory.path().join("streamgauge-run").exists(), "nothing was run");
}

#[test]
fn an_expectation_that_is_not_met_is_status_1_and_said() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "short.toml", &SHORT.replace("> 5", "> 5000"));
    let output = run(directory.path(), &[&file, "--out", "out", "--json", "-"]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let verdicts: Value = serde_json::from_slice(&output.stdout).unwrap();
    let case = &verdicts["cases"][0];
    assert!(case["rule"].as_str().unwrap().ends_with("short:tv.pictures"), "{case}");
    assert_eq!((&case["verdict"], &case["want"]), (&Value::from("fail"), &Value::from("> 5000")));
    assert!(case["evidence"]["filter"].as_str().unwrap().contains("tcp.port"));
    let junit = std::fs::read_to_string(directory.path().join("out/junit.xml")).unwrap();
    assert!(junit.contains("<failure"), "{junit}");
}

#[test]
fn a_full_disk_costs_packets_and_no_report() {
    if !installed(&["mount", "umount"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(&directory.path().join("out"), "200k") else { return };
    let file = write(directory.path(), "short.toml", SHORT);
    let output = run(directory.path(), &[&file, "--out", "out/run", "--json", "-"]);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    let verdicts: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cases = verdicts["cases"].as_array().unwrap();
    assert!(cases[0]["rule"].as_str().unwrap().ends_with(":run.capture"), "{cases:#?}");
    assert!(cases[0]["got"].as_str().unwrap().contains("No space left"), "{cases:#?}");
    assert!(cases.len() > 2 && cases[1..].iter().all(|case| case["verdict"] == "inconclusive"), "{cases:#?}");
    let junit = std::fs::read_to_string(directory.path().join("out/run/junit.xml")).unwrap();
    assert!(junit.contains("No space left"), "{junit}");
    for name in ["run.json", "index.html", "verdicts.json"] {
        assert!(directory.path().join("out/run").join(name).metadata().unwrap().len() > 0, "{name}");
    }

    // A disk on which not even those have a place.
    let Some(_disk) = SmallDisk::mount(&directory.path().join("none"), "8k") else { return };
    let output = run(directory.path(), &[&file, "--out", "none/run", "--junit", "junit.xml"]);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    assert!(!err(&output).contains("report:"), "{}", err(&output));
    let junit = std::fs::read_to_string(directory.path().join("junit.xml")).unwrap();
    assert!(junit.contains("run.directory"), "{junit}");
}

#[test]
fn a_target_that_cannot_be_tested_is_status_3_with_a_report() {
    let directory = tempfile::tempdir().unwrap();
    for (name, target, says) in [
        (
            "silent",
            "{ command = \"sleep 86397\", ready = \"line:never\", url = \"rtmp://127.0.0.1:9\", patience = \"300ms\" }",
            "did not print",
        ),
        (
            "ends",
            "{ command = \"sh -c 'echo no room >&2; exit 5'\", ready = \"tcp:9\", url = \"rtmp://127.0.0.1:9\" }",
            "no room",
        ),
        (
            "absent",
            "{ command = \"no-such-program\", ready = \"tcp:9\", url = \"rtmp://h\" }",
            "could not be started",
        ),
        ("away", "{ url = \"rtmp://127.0.0.1:9/live\" }", "nobody answers"),
        (
            "dies",
            "{ command = \"sh -c 'echo up; sleep 0.3; echo gone >&2; exit 7'\", ready = \"line:up\", url = \"rtmp://127.0.0.1:9\" }",
            "the target ended",
        ),
    ] {
        let file = write(directory.path(), &format!("{name}.toml"), &format!("target = {target}\n{SHORT}"));
        let output = run(directory.path(), &[&file, "--out", name, "--timeout", "60s"]);
        assert_eq!(output.status.code(), Some(3), "{name}: {}", err(&output));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.replace("\n         ", " ").contains(says), "{name}: {text}");
        assert!(directory.path().join(name).join("junit.xml").exists(), "{name}");
    }
    // Nothing that was started is left.
    let left = Command::new("pgrep").args(["-f", "^sleep 86397$"]).output();
    assert!(left.is_err() || left.unwrap().stdout.is_empty());
}
