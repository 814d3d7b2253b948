//! Faults: each breaks exactly the rules it names, as the packets of two independent kinds of clients tell, and
//! everything else goes on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::frames::framemd5;
use common::peer::{Peer, ffmpeg_publishes_again_and_again};
use common::server::Server;
use common::{PROGRAM, installed, rtsp, wait_until};
use model::Protocol;
use serde_json::Value;
use server::fault::{self, Fault};

/// Who cannot play although his session is right, and how it ends for ours: no decoder begins without an initialization
/// section; pictures and sound lie in one channel.
const BEYOND_PLAYING: &[(&str, &str, &str)] =
    &[("hls.map-missing", "hls", "lost"), ("rtsp.channels-shared", "tcp", "ok")];
/// Faults that are tried at once.
const AT_ONCE: usize = 10;
/// Who gets his frames at other times.
const OUT_OF_TIME: (&str, &str) = ("hls.times-apart", "hls");

fn is_beyond(id: &str, name: &str) -> Option<&'static str> {
    BEYOND_PLAYING.iter().find(|(fault, who, _)| *fault == id && *who == name).map(|(.., outcome)| *outcome)
}

/// Our own clients: a publisher, and viewers of every kind, each with what has to be true of it with this fault.
fn own(id: &str) -> String {
    let kinds = [
        ("rtmp", r#"speaks = "rtmp""#),
        ("tcp", r#"speaks = "rtsp", over = "tcp""#),
        ("udp", r#"speaks = "rtsp", over = "udp""#),
        ("hls", r#"speaks = "hls""#),
    ];
    let (mut clients, mut expect) = (String::new(), String::new());
    for (name, speaks) in kinds {
        let beyond = is_beyond(id, name);
        let leaves = if beyond.is_some() { r#", for = "5s""# } else { "" };
        clients += &format!("{name} = {{ {speaks}, path = \"live/own\"{leaves} }}\n");
        expect += &match beyond {
            Some(outcome) => format!("{{ who = {name:?}, outcome = {outcome:?} }},\n"),
            None if (id, name) == OUT_OF_TIME => format!("{{ who = {name:?}, pictures = \"> 50\" }},\n"),
            None => format!("{{ who = {name:?}, pictures = \"> 50\", frames_missing = 0 }},\n"),
        };
    }
    format!(
        r#"
title = "our own clients"
steps = [
    {{ at = "0s", who = "cam", do = "publish" }},
    {{ at = "1s", who = ["rtmp", "tcp", "udp", "hls"], do = "play" }},
    {{ at = "7s", who = "cam", do = "stop" }},
]
expect = [
{expect}]
[clients]
cam = {{ speaks = "rtmp", role = "publisher", path = "live/own" }}
{clients}"#
    )
}

/// ffmpeg plays what ffmpeg publishes; what it got goes to a file.
fn ffmpeg_plays(directory: &Path, server: &Server, name: &str) -> (Peer, PathBuf) {
    let (over, url) = match name {
        "rtmp" => (None, server.url("live/peer")),
        "tcp" => (Some("tcp"), format!("rtsp://{}/live/peer", server.rtsp.unwrap())),
        _ => (None, format!("http://{}/live/peer/index.m3u8", server.hls)),
    };
    rtsp::watches(directory, &format!("ffmpeg-{name}"), over, &url)
}

/// The rules that are broken in the packets of a server with this fault.
fn broken(fault: Option<&'static Fault>) -> BTreeSet<String> {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let id = fault.map_or("none", |fault| fault.id);
    let tap = directory.join("tap.pcapng");
    let mut arguments = vec!["--tap", tap.to_str().unwrap()];
    arguments.extend(fault.iter().flat_map(|fault| ["--fault", fault.id]));
    let server = Server::start(&arguments);

    let scenario = directory.join("own.toml");
    std::fs::write(&scenario, own(id)).unwrap();
    let targets = [
        format!("rtmp://{}", server.rtmp),
        format!("rtsp://{}", server.rtsp.unwrap()),
        format!("http://{}", server.hls),
    ];
    let out = directory.join("out");
    let mut words = vec!["run", scenario.to_str().unwrap(), "--out", out.to_str().unwrap()];
    words.extend(targets.iter().flat_map(|url| ["--target", url.as_str()]));
    let ours = Peer::start(directory, "own", PROGRAM, &words);

    let publisher = ffmpeg_publishes_again_and_again(directory, &server.url("live/peer"));
    server.wait_published("live/peer");
    // ffmpeg over UDP opens its way with reports that lack the name, which is its own breach of a rule.
    let names: &[&str] = match fault.map(Fault::protocol) {
        Some(Protocol::Rtmp) => &["rtmp"],
        Some(Protocol::Rtsp) => &["tcp"],
        Some(_) => &["hls"],
        None => &["rtmp", "tcp", "hls"],
    };
    let players: Vec<_> = names.iter().map(|name| (name, ffmpeg_plays(directory, &server, name))).collect();
    // On air for as long as the slowest machine takes.
    let pictures = |file: &Path| framemd5(file).video.len();
    for (name, (_, file)) in players.iter().filter(|(name, _)| is_beyond(id, name).is_none()) {
        wait_until(&format!("{id}: 100 pictures for ffmpeg over {name}"), || pictures(file) >= 100);
    }
    let ours = ours.ended();
    assert!(ours.success, "{id}: our own clients: {}", ours.log);
    publisher.stop();
    for (name, (player, _)) in players {
        match is_beyond(id, name) {
            None => drop(player.ended_well()),
            Some(_) => drop(player.ended()),
        }
    }
    let log = server.stop();
    assert_eq!(log.contains("BROKEN ON PURPOSE"), fault.is_some(), "{log}");

    let arguments = ["check", "--level", "may", "--format", "json", tap.to_str().unwrap()];
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    let verdicts: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cases = verdicts["cases"].as_array().unwrap().iter();
    let broken = cases.filter(|case| case["verdict"] == "fail" || case["verdict"] == "warn");
    broken.map(|case| case["rule"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_fault_breaks_exactly_the_rules_it_names() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let mut wrong = Vec::new();
    let all: Vec<Option<&'static Fault>> = std::iter::once(None).chain(fault::all().map(Some)).collect();
    // Each keeps five programs busy: no more at once than a small machine bears.
    for some in all.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let runs: Vec<_> = some.iter().map(|fault| (fault, scope.spawn(|| broken(*fault)))).collect();
            for (fault, run) in runs {
                let named = fault.iter().flat_map(|fault| fault.breaks).map(|rule| rule.id.to_owned());
                let named: BTreeSet<String> = named.collect();
                match run.join() {
                    Ok(found) if found == named => {}
                    Ok(found) => wrong.push(format!("{fault:?}: {found:?}")),
                    Err(_) => wrong.push(format!("{fault:?}: failed before it could be judged, see above")),
                }
            }
        });
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_fault_breaks_rules_that_the_analyzer_judges() {
    for fault in fault::all() {
        for rule in fault.breaks {
            assert!(analyzer::rules::find(rule.id).is_some(), "{fault:?}: nothing judges {}", rule.id);
        }
    }
}

#[test]
fn faults_are_listed_and_an_unknown_one_is_wrong_usage() {
    let run = |arguments: &[&str]| Command::new(PROGRAM).arg("serve").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let list = run(&["--fault", "list"]);
    let help = run(&["--help"]);
    let unknown = run(&["--fault", "rtp.marker"]);
    assert_eq!([&list, &help, &unknown].map(|o| o.status.code()), [Some(0), Some(0), Some(2)]);
    let said = text(&unknown.stderr);
    assert!(said.contains("there is no fault rtp.marker; did you mean rtp.marker-missing?"), "{said}");
    for fault in fault::all() {
        for words in [text(&list.stdout), text(&help.stdout), said.clone()] {
            assert!(words.contains(fault.id), "{fault:?} is not in {words}");
        }
        assert!(text(&list.stdout).contains(&format!("breaks {}", fault.breaks[0].id)));
    }
    let lines = text(&list.stdout);
    assert!(lines.lines().all(|line| line.chars().count() <= 80), "{lines}");
}
