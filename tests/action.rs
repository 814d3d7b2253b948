//! The CI action, as its runner carries it out: its steps in their order, with the inputs of a workflow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use common::{PROGRAM, installed, root};
use serde_json::Value;

/// A YAML file as JSON. Python's `on` is true, as YAML 1.1 has it.
fn yaml(file: &str) -> Value {
    let script =
        "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1], encoding='utf-8'))))";
    let run = Command::new("/usr/bin/python3").args(["-c", script]).arg(root().join(file)).output().unwrap();
    assert!(run.status.success(), "{file}: {}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).unwrap()
}

/// Carries out the action's own steps in `directory`; the program was built before.
fn act(directory: &Path, with: &[(&str, &str)]) -> Output {
    let action = yaml("ci/action/action.yml");
    let place = root().join("ci/action").display().to_string();
    let temp = directory.join("temp").display().to_string();
    let mut names =
        BTreeMap::from([("github.action_path".to_owned(), place), ("runner.temp".to_owned(), temp.clone())]);
    for (name, input) in action["inputs"].as_object().unwrap() {
        let given = with.iter().find(|(with, _)| with == name).map(|(_, value)| (*value).to_owned());
        let value = given.or(input["default"].as_str().map(str::to_owned));
        names.insert(format!("inputs.{name}"), value.expect("an input that is required is given"));
    }
    assert!(with.iter().all(|(name, _)| action["inputs"][name].is_object()), "every input is one of its own");
    let fill = |text: &str| {
        let filled = names.iter().fold(text.to_owned(), |t, (n, v)| t.replace(&format!("${{{{ {n} }}}}"), v));
        assert!(!filled.contains("${{"), "nothing is left open: {filled}");
        filled
    };

    let bin = Path::new(&temp).join("streamgauge/bin");
    std::fs::create_dir_all(&bin).unwrap();
    let _ = std::os::unix::fs::symlink(PROGRAM, bin.join("streamgauge"));
    let mut last = None;
    for step in action["runs"]["steps"].as_array().unwrap() {
        let Some(line) = step["run"].as_str() else {
            assert!(step["uses"].as_str().unwrap().starts_with("actions/"), "{step}");
            continue;
        };
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &fill(line)]).current_dir(directory);
        command
            .env("GITHUB_OUTPUT", directory.join("output"))
            .env("GITHUB_STEP_SUMMARY", directory.join("summary"));
        for (name, value) in step["env"].as_object().into_iter().flatten() {
            command.env(name, fill(value.as_str().unwrap()));
        }
        let output = command.output().unwrap();
        let over = !output.status.success();
        last = Some(output);
        if over {
            break;
        }
    }
    last.unwrap()
}

const SHORT: &str = r#"
title  = "short | <b>"
clients.cam = { speaks = "rtmp", role = "publisher", path = "live/a" }
clients.tv  = { speaks = "rtmp", path = "live/a" }
steps = [
    { at = "0s", who = "cam", do = "publish" },
    { at = "200ms", who = "tv", do = "play" },
    { at = "1500ms", who = "cam", do = "stop" },
]
expect = [{ who = "tv", pictures = "> 5" }]
"#;

fn read(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(name)).unwrap()
}

#[test]
fn the_action_runs_scenarios_and_tells_the_job_how_they_went() {
    if !installed(&["bash", "/usr/bin/python3"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    std::fs::create_dir(directory.join("tests of mine")).unwrap();
    std::fs::write(directory.join("tests of mine/good.toml"), SHORT).unwrap();
    std::fs::write(directory.join("tests of mine/bad.toml"), SHORT.replace("> 5", "> 5000")).unwrap();

    let good = [("scenarios", "tests of mine\n"), ("arguments", "--only '*/good' --seed 5"), ("out", "a b")];
    let output = act(directory, &good);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !said.contains("::error"), "{said}");
    assert_eq!(read(directory, "output"), "exit-code=0\nreport=a b\n");
    assert!(read(directory, "summary").contains("as expected\n"));
    for file in ["a b/junit.xml", "a b/verdicts.json", "a b/capture.pcapng", "a b/index.html"] {
        assert!(directory.join(file).exists(), "{file}");
    }

    // The same against a server that is up already.
    let server = common::server::Server::start(&[]);
    let target = format!("rtmp://{}\n", server.rtmp);
    let output =
        act(directory, &[("scenarios", "tests of mine/good.toml"), ("target", &target), ("out", "c")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(server.metrics().sum("streamgauge_sessions_total", &[("role", "publisher")]) >= 1.0);

    let output = act(directory, &[("scenarios", "tests of mine"), ("out", "d")]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.lines().any(|line| line.starts_with("::error ") && line.contains("%0Awant: > 5000")),
        "{said}"
    );
    let (told, summary) = (read(directory, "output"), read(directory, "summary"));
    assert!(told.ends_with("exit-code=1\nreport=d\n"), "{told}");
    assert!(summary.contains("not as expected") && summary.contains("| > 5000 |"), "{summary}");

    let output = act(directory, &[("scenarios", "nowhere"), ("out", "e")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(read(directory, "summary").ends_with("There are no verdicts.\n"));
}

#[test]
fn the_example_gives_the_action_inputs_that_it_has() {
    if !installed(&["/usr/bin/python3"]) {
        return;
    }
    let (action, example) = (yaml("ci/action/action.yml"), yaml("ci/examples/github-workflow.yml"));
    let steps = example["jobs"]["streams"]["steps"].as_array().unwrap();
    let step = steps.iter().find(|s| s["uses"].as_str().is_some_and(|u| u.contains("/ci/action@"))).unwrap();
    let given = step["with"].as_object().unwrap();
    assert!(given.keys().all(|name| action["inputs"][name].is_object()), "{given:?}");
    let needed = action["inputs"].as_object().unwrap().iter().filter(|(_, input)| input["required"] == true);
    assert!(needed.clone().count() > 0 && needed.map(|(name, _)| name).all(|name| given.contains_key(name)));
    // What stands in `arguments` is understood.
    let mut words: Vec<&str> = given["arguments"].as_str().unwrap().split_whitespace().collect();
    let scenario = root().join("scenarios/smoke").display().to_string();
    words.extend(["--list", &scenario]);
    let run = Command::new(PROGRAM).arg("run").args(words).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}
