//! `check`: every rule has a case that breaks it and one that keeps it; options, documents and exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{PROGRAM, edit, root, written};
use serde_json::Value;

fn program(args: &[&str], directory: &Path) -> Output {
    Command::new(PROGRAM).args(args).current_dir(directory).output().unwrap()
}

fn cases() -> Vec<(PathBuf, edit::Case)> {
    let directories = fs::read_dir(root().join("captures")).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> =
        directories.filter_map(|directory| edit::read(&directory).map(|case| (directory, case))).collect();
    cases.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(!cases.is_empty());
    cases
}

/// The capture of a case directory.
fn packets(directory: &Path) -> PathBuf {
    let names = ["input.pcapng", "input.pcap"].map(|name| directory.join(name));
    names
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{} has no packets", directory.display()))
}

fn verdicts(directory: &Path) -> Value {
    let file = packets(directory);
    let file = file.file_name().unwrap().to_str().unwrap();
    let out = program(&["check", "--level", "may", "--format", "json", file], directory);
    serde_json::from_slice(&out.stdout).unwrap_or_else(|error| {
        panic!("{}: {error}\n{}", directory.display(), String::from_utf8_lossy(&out.stderr))
    })
}

fn with<'v>(verdicts: &'v Value, words: &[&str]) -> BTreeSet<&'v str> {
    let all = verdicts["cases"].as_array().unwrap().iter();
    all.filter(|case| words.contains(&case["verdict"].as_str().unwrap()))
        .map(|case| case["rule"].as_str().unwrap())
        .collect()
}

#[test]
fn the_packets_of_a_case_come_out_byte_for_byte() {
    for (directory, case) in cases() {
        let made = match &case.session {
            Some(session) => edit::make(&packets(&root().join("captures").join(session)), &case),
            None if case.say.is_empty() => continue,
            None => written::make(&case),
        };
        let path = directory.join("input.pcapng");
        if std::env::var_os("STREAMGAUGE_BLESS").is_some() {
            fs::write(&path, &made).unwrap();
        }
        assert!(
            fs::read(&path).is_ok_and(|kept| kept == made),
            "{}: made anew they differ; STREAMGAUGE_BLESS=1 cargo test --test check writes them",
            path.display()
        );
    }
}

#[test]
fn exactly_the_named_rules_break() {
    for (directory, case) in cases() {
        let verdicts = verdicts(&directory);
        let name = directory.file_name().unwrap().to_str().unwrap();
        let broken = with(&verdicts, &["fail", "warn", "error"]);
        assert_eq!(broken, case.breaks.iter().map(String::as_str).collect(), "{name}");
        let kept = with(&verdicts, &["pass"]);
        for rule in &case.keeps {
            assert!(kept.contains(rule.as_str()), "{name} keeps {rule}: {kept:?}");
        }
        let file = packets(&directory);
        let file = file.file_name().unwrap().to_str().unwrap();
        let out = program(&["check", "--level", "may", file], &directory);
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(&directory);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{name}: {text}");
        settings.bind(|| insta::assert_snapshot!("verdicts", text));
    }
}

#[test]
fn every_rule_has_a_case_that_breaks_it_and_one_that_keeps_it() {
    let cases = cases();
    let listed = |of: fn(&edit::Case) -> &Vec<String>| -> BTreeSet<&str> {
        cases.iter().flat_map(|(_, case)| of(case)).map(String::as_str).collect()
    };
    let (broken, kept) = (listed(|case| &case.breaks), listed(|case| &case.keeps));
    let rules: BTreeSet<&str> = analyzer::rules::all().map(|rule| rule.requirement.id).collect();
    assert_eq!(rules.difference(&broken).collect::<Vec<_>>(), [&""; 0], "no case breaks them");
    assert_eq!(rules.difference(&kept).collect::<Vec<_>>(), [&""; 0], "no case keeps them");
}

#[test]
fn the_document_follows_its_schema() {
    let (directory, _) = cases().into_iter().find(|(_, case)| !case.breaks.is_empty()).unwrap();
    let schema: Value = serde_json::from_str(model::VERDICTS_SCHEMA_TEXT).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let document = verdicts(&directory);
    let errors: Vec<String> = validator.iter_errors(&document).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(document["schema"], "streamgauge.verdicts/1");
}

#[test]
fn exit_codes_and_known_failures() {
    let (directory, case) = cases().into_iter().find(|(_, case)| !case.breaks.is_empty()).unwrap();
    let rule = case.breaks[0].as_str();
    let file = packets(&directory);
    let file = file.to_str().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let code = |args: &[&str]| program(&[&["check"], args].concat(), scratch.path()).status.code();
    assert_eq!(code(&[file]), Some(1));
    assert_eq!(code(&[file, "--skip", rule]), Some(0));
    assert_eq!(code(&[file, "--only", "nothing.*"]), Some(4));
    assert_eq!(code(&["--list"]), Some(0));
    assert_eq!(code(&[]), Some(2));
    assert_eq!(code(&["absent.pcap"]), Some(2));

    // What fails is written down with a reason, and is expected from then on.
    assert_eq!(code(&[file, "--expect", "known.toml"]), Some(2));
    assert_eq!(code(&[file, "--expect", "known.toml", "--bless"]), Some(0));
    let known = scratch.path().join("known.toml");
    let text = fs::read_to_string(&known).unwrap();
    assert!(text.contains(rule), "{text}");
    fs::write(&known, text.replace("reason = \"\"", "reason = \"as ever\"")).unwrap();
    assert_eq!(code(&[file, "--expect", "known.toml"]), Some(0));
    assert_eq!(code(&[file, "--expect", "known.toml", "--bless"]), Some(0));
    assert!(fs::read_to_string(&known).unwrap().contains("as ever"), "reasons stay");

    // A failure that went away is a surprise.
    let (good, kept) = cases().into_iter().find(|(_, case)| case.breaks.is_empty()).unwrap();
    fs::write(&known, format!("[[expect]]\nrule = \"{}\"\nverdict = \"fail\"\n", kept.keeps[0])).unwrap();
    assert_eq!(code(&[packets(&good).to_str().unwrap(), "--expect", "known.toml"]), Some(1));
}

#[test]
fn profiles_select_rules_and_the_options_of_live_targets_change_nothing() {
    let here = root();
    let listed = |profile: &str| {
        let out = program(&["check", "--list", "--profile", profile], here);
        assert_eq!(out.status.code(), Some(0), "{profile}");
        let text = String::from_utf8(out.stdout).unwrap();
        let word = |line: &str| line.split_whitespace().find(|word| word.contains('.')).map(str::to_owned);
        text.lines()
            .filter_map(word)
            .filter(|word| analyzer::rules::find(word).is_some())
            .collect::<BTreeSet<_>>()
    };
    let all: BTreeSet<_> = analyzer::rules::all().map(|rule| rule.requirement.id.to_owned()).collect();
    let of = |heads: &[&str]| {
        all.iter()
            .filter(|id| heads.iter().any(|head| id.starts_with(head)))
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(listed("strict"), all);
    assert_eq!(listed("encoder"), of(&["rtmp.", "flv."]));
    assert_eq!(listed("camera"), of(&["rtsp.", "sdp.", "rtp.", "rtcp."]));
    assert_eq!(listed("apple"), of(&["hls.", "fmp4.", "ts.", "http.", "cmcd."]));
    let broken = listed("broken");
    assert!(broken.iter().all(|id| spec::find(id).unwrap().severity == spec::Severity::Error));
    assert!(!broken.is_empty() && broken.len() < all.len());

    let (directory, _) =
        cases().into_iter().find(|(_, case)| case.breaks.iter().any(|r| r.starts_with("rtmp."))).unwrap();
    let file = packets(&directory);
    let file = file.to_str().unwrap();
    let run = |more: &[&str]| program(&[&["check", file], more].concat(), here);
    assert_eq!(run(&["--profile", "encoder"]).status.code(), Some(1));
    assert_eq!(run(&["--profile", "apple"]).status.code(), Some(0));
    assert_eq!(run(&["--profile", "camera", "--only", "hls.*"]).status.code(), Some(4));
    assert_eq!(run(&["--profile", "nobody"]).status.code(), Some(2));
    let plain = run(&[]);
    let more = run(&["--seed", "7", "--timeout", "5s", "--retries", "2", "--jobs", "2"]);
    assert_eq!((plain.stdout, plain.status.code()), (more.stdout, more.status.code()));
}

#[test]
fn several_files_are_one_timeline() {
    let whole = fs::read(root().join("captures/ffmpeg-publish-play/input.pcap")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut halves = [whole[..24].to_vec(), whole[..24].to_vec()];
    let (mut at, mut number) = (24, 0);
    while at < whole.len() {
        let size = 16 + u32::from_le_bytes(whole[at + 8..at + 12].try_into().unwrap()) as usize;
        // In turns of seven: neither file makes sense alone.
        halves[number / 7 % 2].extend_from_slice(&whole[at..at + size]);
        (at, number) = (at + size, number + 1);
    }
    for (name, bytes) in [("whole.pcap", &whole), ("a.pcap", &halves[0]), ("b.pcap", &halves[1])] {
        fs::write(scratch.path().join(name), bytes).unwrap();
    }
    let judged = |files: &[&str]| -> Vec<(Value, Value, Value)> {
        let out = program(&[&["check", "--format", "json"], files].concat(), scratch.path());
        let document: Value = serde_json::from_slice(&out.stdout).unwrap();
        let cases = document["cases"].as_array().unwrap().iter();
        cases.map(|c| (c["rule"].clone(), c["verdict"].clone(), c["applied"].clone())).collect()
    };
    let alone = judged(&["whole.pcap"]);
    assert!(alone.iter().filter(|(_, verdict, _)| verdict == "pass").count() >= 5);
    assert_eq!(judged(&["b.pcap", "a.pcap"]), alone);
    assert_eq!(program(&["check", "a.pcap", "absent.pcap"], scratch.path()).status.code(), Some(2));
}

#[test]
fn reports_go_where_they_are_wanted() {
    let (directory, case) = cases().into_iter().find(|(_, case)| !case.breaks.is_empty()).unwrap();
    let file = packets(&directory);
    let file = file.to_str().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let args = ["check", file, "--junit", "j.xml", "--html", "h.html", "--json", "-", "--out", "run"];
    let out = program(&args, scratch.path());
    assert!(serde_json::from_slice::<Value>(&out.stdout).is_ok());
    let read = |name: &str| fs::read_to_string(scratch.path().join(name)).unwrap();
    assert!(read("j.xml").contains("<failure") && read("h.html").contains(&case.breaks[0]));
    assert!(
        read("run/verdicts.json").contains(&case.breaks[0]) && read("run/index.html").contains("</html>")
    );
    let github = program(&["check", file, "--format", "github"], scratch.path());
    assert!(String::from_utf8(github.stdout).unwrap().starts_with("::error file="));
    let quiet = program(&["check", file, "-q"], scratch.path());
    assert!(!String::from_utf8(quiet.stdout).unwrap().contains("  pass"));
}

#[test]
fn the_catalogue_is_told() {
    let here = root();
    let text = |args: &[&str]| String::from_utf8(program(args, here).stdout).unwrap();
    let list = text(&["rules", "rtsp.cseq.*"]);
    assert!(list.contains("● rtsp.cseq.echo") && list.contains("  rtsp.cseq.present"), "{list}");
    let all = text(&["explain", "rtsp.cseq.echo"]);
    for part in ["RFC 2326 §12.17", "HOW THE RULE JUDGES", "PEERS"] {
        assert!(all.contains(part), "{all}");
    }
    assert!(all.lines().chain(list.lines()).all(|line| line.chars().count() <= 80));
    let wrong = program(&["explain", "rtsp.cseq.eco"], here);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("did you mean rtsp.cseq.echo"));
    assert_eq!(program(&["rules", "nothing.*"], here).status.code(), Some(4));
}
