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
