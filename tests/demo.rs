//! The demo from outside: what ci/test's demo phase does not look at.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod common;

use std::process::{Command, Stdio};

use common::peer::interrupt;
use common::wait_until;

/// Four kinds of client on one stream, a recording, and no other program: there is no PATH.
#[test]
fn every_kind_of_client_is_in_the_report_and_agrees() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let demo = Command::new(env!("CARGO_BIN_EXE_streamgauge"))
        .env_clear()
        .args(["demo", "--seconds", "14", "--out", out.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&demo.stdout);
    assert_eq!(demo.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&demo.stderr));
    let run: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("run.json")).unwrap()).unwrap();
    let sessions = run["analysis"]["sessions"].as_array().unwrap();
    let ways = [("rtmp", "tcp", 3), ("rtsp", "udp", 2), ("rtsp", "interleaved", 2), ("hls", "http", 2)];
    for (protocol, transport, count) in ways {
        let of = |s: &&serde_json::Value| {
            s["role"] == "viewer" && s["protocol"] == protocol && s["transport"] == transport
        };
        let viewers: Vec<_> = sessions.iter().filter(of).collect();
        assert_eq!(viewers.len(), count, "{protocol} over {transport}: {sessions:#?}");
        for viewer in viewers {
            let codecs: Vec<_> = viewer["tracks"].as_array().unwrap().iter().map(|t| &t["codec"]).collect();
            assert_eq!(codecs, ["h264", "aac"], "{viewer:#}");
            assert!(viewer["mean_bps"].as_f64().unwrap() > 100_000.0, "{viewer:#}");
        }
    }
    let recording = &run["recordings"][0];
    assert!(out.join(recording["file"].as_str().unwrap()).exists());
    assert!(recording["pictures"].as_u64().unwrap() >= 340, "{recording}");
    let ids: Vec<_> = run["checks"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    for id in [
        "demo.recording.all",
        "demo.recording-length.all",
        "demo.packets.control-room",
        "demo.bytes.wall-screen",
    ] {
        assert!(ids.contains(&id), "{id} is not among {ids:?}");
    }
    let page = std::fs::read_to_string(out.join("index.html")).unwrap();
    for words in ["RTSP over UDP", "RTSP over TCP", "HLS", "What was recorded"] {
        assert!(page.contains(words), "{words}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    // Long enough for the clip to come round: its repetition leaves no gap in any segment.
    let check = Command::new(env!("CARGO_BIN_EXE_streamgauge"))
        .args(["check", "--format", "json", out.join("capture.pcapng").to_str().unwrap()])
        .output()
        .unwrap();
    let verdicts: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    let of = |rule: &str| {
        let mut cases = verdicts["cases"].as_array().unwrap().iter();
        cases.find(|case| case["rule"] == rule).map(|case| case["verdict"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("fmp4.moof.base-media-decode-time").as_deref(), Some("pass"), "{verdicts:#}");
}

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
    let log = out.join("server.log");
    wait_until("a publisher", || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("publishes")));
    interrupt(demo.id());
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
