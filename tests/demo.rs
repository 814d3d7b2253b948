//! The demo from outside: what ci/test's demo phase does not look at.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Ctrl-C takes the publisher off air at once; the report is written all the same.
#[test]
fn an_interrupted_demo_reports_what_there_is() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_streamgauge"))
        .args(["demo", "--seconds", "600", "--out", out.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The server's log says when somebody publishes.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !std::fs::read_to_string(out.join("server.log")).is_ok_and(|log| log.contains("publishes")) {
        assert!(Instant::now() < deadline, "nobody published");
        std::thread::yield_now();
    }
    let killed = Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    let run: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("run.json")).unwrap()).unwrap();
    assert_eq!(run["schema"], "streamgauge.run/1");
    let publishers = run["analysis"]["sessions"].as_array().unwrap().iter();
    assert_eq!(publishers.filter(|s| s["role"] == "publisher").count(), 1);
    for file in ["index.html", "junit.xml", "bandwidth.svg", "bandwidth.png", "capture.pcapng"] {
        assert!(out.join(file).exists(), "{file}");
    }
}
