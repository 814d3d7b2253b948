//! Every case of captures/: what the analyzer says of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Directory and packets of each case.
fn cases() -> Vec<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let mut cases: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|case| {
            let packets = ["input.pcap", "input.pcapng"].map(|name| case.join(name)).into_iter();
            let packets = packets.filter(|p| p.exists()).collect::<Vec<_>>();
            assert_eq!(packets.len(), 1, "{} holds one capture", case.display());
            (case, packets.into_iter().next().unwrap())
        })
        .collect();
    cases.sort();
    cases
}

#[test]
fn every_case_is_analyzed_as_it_was() {
    let cases = cases();
    assert!(!cases.is_empty());
    for (case, packets) in cases {
        assert!(case.join("README.md").exists(), "{} says where it came from", case.display());
        // From within the case, so that no path of this machine is in the report.
        let out = Command::new(env!("CARGO_BIN_EXE_streamgauge"))
            .args(["analyze", packets.file_name().unwrap().to_str().unwrap()])
            .current_dir(&case)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(&case);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!("analysis", String::from_utf8(out.stdout).unwrap()));
    }
}

/// What captures/README.md promises of every case directory.
#[test]
fn every_case_is_whole() {
    let maker = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/make/captures")).unwrap();
    for (case, packets) in cases() {
        let name = case.file_name().unwrap().to_str().unwrap();
        let mut files: Vec<String> = fs::read_dir(&case)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|file| !file.ends_with(".snap.new"))
            .collect();
        files.sort();
        let input = packets.file_name().unwrap().to_str().unwrap();
        assert_eq!(files, ["README.md", "analysis.snap", "case.toml", input, "verdicts.snap"], "{name}");
        let about = fs::read_to_string(case.join("README.md")).unwrap();
        assert!(about.starts_with("# ") && about.lines().count() > 2, "{name}: {about}");
        let toml: toml::Table = fs::read_to_string(case.join("case.toml")).unwrap().parse().unwrap();
        match toml.get("session").and_then(|session| session.as_str()) {
            Some(session) => {
                assert!(case.with_file_name(session).is_dir(), "{name} is made of {session}");
                assert_eq!(input, "input.pcapng", "{name}");
            }
            // Bytes written by hand: `tests/check.rs` makes the packets of them.
            None if toml.contains_key("say") => assert_eq!(input, "input.pcapng", "{name}"),
            None => assert!(
                maker.contains(&format!("finish {name}\n")) && about.contains("`ci/make/captures`"),
                "{name}: which script made it?"
            ),
        }
    }
}
