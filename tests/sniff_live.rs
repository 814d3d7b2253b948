//! Sniffing: what the program captures on an interface is what tcpdump captures there at the same time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects
)]

mod common;

use std::path::Path;
use std::process::Command;

use common::peer::{Peer, ffmpeg_publishes, terminate};
use common::rml::Viewer;
use common::server::Server;
use common::tshark::{self, Sniffer};
use common::{PROGRAM, installed, wait_until};
use serde_json::Value;

/// The program, once it listens.
fn sniff(directory: &Path, name: &str, arguments: &[&str]) -> Peer {
    let peer = Peer::start(directory, name, PROGRAM, arguments);
    wait_until("the program to listen", || peer.log().contains("listening on lo"));
    peer
}

#[test]
fn what_is_sniffed_is_what_tcpdump_sniffs() {
    if !installed(&["ffmpeg", "tcpdump", "tshark"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let server = Server::start(&[]);
    let port = server.rtmp.port();
    let Some(tcpdump) = Sniffer::start(directory, port) else { return };
    let filter = format!("tcp port {port}");
    let file = directory.join("ours.pcapng");
    let ours =
        sniff(directory, "capture", &["capture", "-i", "lo", "-w", file.to_str().unwrap(), "-f", &filter]);
    let live = sniff(directory, "live", &["analyze", "--live", "lo", "-f", &filter, "--format", "json"]);

    let publisher = ffmpeg_publishes(directory, &server.url("live/sniffed"));
    server.wait_published("live/sniffed");
    let viewer = Viewer::start(server.rtmp, "live", "sniffed").unwrap();
    publisher.ended_well();
    viewer.watched();
    server.wait_deserted();
    server.stop();

    let theirs = tcpdump.stop();
    let captured = ours.stop();
    let analysed = live.stop();
    assert!(captured.log.contains("; none lost"), "{}", captured.log);
    let conversations = tshark::conversations(&theirs, "tcp");
    assert_eq!(conversations.len(), 2, "a publisher and a viewer: {conversations:?}");
    assert_eq!(tshark::conversations(&file, "tcp"), conversations);

    let json = analysed.log.find('{').map(|at| &analysed.log[at..]).expect("a JSON document");
    let mut documents = serde_json::Deserializer::from_str(json).into_iter::<Value>();
    let analysis = documents.next().unwrap().unwrap();
    let sessions = analysis["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert!(sessions.iter().all(|s| s["path"] == "live/sniffed" && s["complete"] == true));
    let bytes: u64 = conversations.values().map(|c| c.bytes + c.bytes_back).sum();
    let all = analysis["conversations"]["tcp"].as_array().unwrap();
    assert_eq!(all.iter().map(|c| c["bytes"].as_u64().unwrap()).sum::<u64>(), bytes);
}

/// On a terminal of 80 columns the table changes in place, and is gone before the result.
#[test]
fn a_terminal_shows_the_sessions_as_they_go_on() {
    if !installed(&["ffmpeg", "tcpdump", "script"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let server = Server::start(&[]);
    let port = server.rtmp.port();
    // The same rights as tcpdump's, without which there is nothing to show.
    let Some(tcpdump) = Sniffer::start(directory, port) else { return };
    let (pid, result) = (directory.join("pid"), directory.join("result.json"));
    let command = format!(
        "stty cols 80 rows 24; echo $$ > {}; exec {PROGRAM} analyze --live lo -f 'tcp port {port}' --format json > {}",
        pid.display(),
        result.display()
    );
    let terminal = Peer::start(directory, "terminal", "script", &["-qefc", &command, "/dev/null"]);
    wait_until("the program to listen", || terminal.log().contains("listening on lo"));
    let publisher = ffmpeg_publishes(directory, &server.url("live/shown"));
    wait_until("a row with codecs", || terminal.log().contains("h264+aac"));
    publisher.ended_well();
    server.wait_deserted();
    terminate(std::fs::read_to_string(pid).unwrap().trim().parse().unwrap());
    let shown = terminal.ended_well();
    tcpdump.stop();
    server.stop();

    let row = shown.lines().find(|line| line.contains("h264+aac")).unwrap();
    assert!(row.contains("127.0.0.1:") && row.contains("publisher live/shown"), "{row}");
    let drawn = || shown.split("\x1b[2K").skip(1).map(|line| line.split(['\r', '\x1b']).next().unwrap());
    assert!(drawn().all(|line| line.chars().count() <= 80), "{:#?}", drawn().collect::<Vec<_>>());
    // Of the last table nothing is left: the cursor goes up by its lines, and what follows is erased.
    let (_, after) = shown.rsplit_once("A\x1b[J").expect("a table that is cleared");
    assert!(after.trim_end().ends_with("; none lost") && after.lines().count() <= 2, "{after:?}");
    let result: Value = serde_json::from_slice(&std::fs::read(result).unwrap()).unwrap();
    assert_eq!(result["sessions"][0]["path"], "live/shown");
}

#[test]
fn what_cannot_be_sniffed_is_told_with_what_helps() {
    let told = |arguments: &[&str]| {
        let out = Command::new(PROGRAM).args(arguments).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, text) = told(&["capture", "-i", "no-such-interface", "-w", "-"]);
    // Who may not sniff at all is told that first.
    if text.contains("may not sniff") {
        assert!(code == Some(3) && text.contains("setcap") && text.contains("--tap"), "{text}");
        return;
    }
    assert!(code == Some(2) && text.contains("there are: ") && text.contains("lo"), "{text}");
    let (code, text) = told(&["capture", "-i", "lo", "-w", "-", "-f", "tcp prt 1935"]);
    assert!(code == Some(2) && text.contains("tcp prt 1935") && text.contains("syntax error"), "{text}");
    let (code, text) = told(&["capture", "-i", "lo", "-w", "/no/such/directory/x.pcapng"]);
    assert!(code == Some(3) && text.contains("/no/such/directory/x.pcapng"), "{text}");
    let out = Command::new(PROGRAM).args(["capture", "--list"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&out.stdout)
            .lines()
            .any(|l| l.starts_with("lo") && l.contains("127.0.0.1/8"))
    );
}
