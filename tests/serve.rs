//! How `serve` greets, and how it takes its leave.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice
)]

mod common;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use common::http::get;
use common::peer::{Peer, ffmpeg_publishes, ffmpeg_watches, interrupt, terminate};
use common::server::Server;
use common::{PROGRAM, installed, wait_for, wait_until};

/// On a terminal of 80 columns everything that is to be pasted stands on a line of its own, whole.
#[test]
fn the_first_screen_says_where_to_publish_and_watch() {
    if !installed(&["script"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (pid, records) = (directory.join("pid"), directory.join("records"));
    // The longer addresses of IPv6, where there are any.
    let rtsp = if TcpListener::bind("[::1]:0").is_ok() { "[::1]:0" } else { "127.0.0.1:0" };
    let loopback = format!("--rtmp 127.0.0.1:0 --rtsp {rtsp} --rtp 0 --hls 127.0.0.1:0 --api 127.0.0.1:0");
    let command = format!(
        "stty cols 80 rows 24; echo $$ > {}; exec {PROGRAM} serve {loopback} --record {}",
        pid.display(),
        records.display()
    );
    let terminal = Peer::start(directory, "terminal", "script", &["-qefc", &command, "/dev/null"]);
    wait_until("the whole screen", || terminal.log().contains("Ctrl-C ends the server"));
    interrupt(std::fs::read_to_string(pid).unwrap().trim().parse().unwrap());
    let shown = terminal.ended_well();
    let address = |protocol: &str| {
        let start = format!("listening {protocol} ");
        shown.lines().find_map(|line| line.trim_end().strip_prefix(&start)).unwrap().to_owned()
    };
    let [rtmp, rtsp, hls, api] = ["rtmp", "rtsp", "hls", "api"].map(address);
    let (_, screen) = shown.split_once("ready").unwrap();
    let lines: Vec<&str> = screen.lines().map(str::trim_end).collect();
    for (label, words) in [
        ("OBS", format!("Server rtmp://{rtmp}/live   Stream key cam")),
        ("ffmpeg", format!("ffmpeg -re -i FILE -c copy -f flv rtmp://{rtmp}/live/cam")),
        ("or", format!("ffmpeg -re -i FILE -c copy -f rtsp rtsp://{rtsp}/live/cam")),
        ("VLC", format!("rtmp://{rtmp}/live/cam")),
        ("VLC", format!("rtsp://{rtsp}/live/cam")),
        ("ffplay", format!("ffplay rtsp://{rtsp}/live/cam")),
        ("browser", format!("http://{hls}/live/cam/")),
        ("HLS", format!("http://{hls}/live/cam/index.m3u8")),
        ("Clients", format!("http://{api}/api/v1/clients")),
        ("Recordings", records.display().to_string()),
    ] {
        let found = lines
            .iter()
            .any(|line| line.trim_start().strip_prefix(label).is_some_and(|rest| rest.trim_start() == words));
        assert!(found, "{label} {words}: {screen}");
    }
    let path = records.display().to_string();
    let fits = |line: &&str| line.replace(&path, "DIR").chars().count() <= 80;
    assert!(lines.iter().all(fits), "{screen}");
}

/// A viewer that asks by hand: the media playlist's path with the viewer's name.
fn joins(server: &Server, path: &str) -> String {
    let index = wait_for("a list", || {
        let index = get(server.hls, &format!("/{path}/index.m3u8"));
        (index.status == 200).then(|| index.text())
    });
    let list = index.lines().find(|line| line.starts_with("stream.m3u8")).unwrap().to_owned();
    let list = format!("/{path}/{list}");
    assert_eq!(get(server.hls, &list).status, 200);
    list
}

fn is_gone(server: &Server) -> bool {
    TcpStream::connect(server.rtmp).is_err()
}

/// Viewers over all protocols are told: over HLS the list ends, and what is left of it can be had.
#[test]
fn viewers_over_every_protocol_learn_that_the_server_goes() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    for (signal, name) in [(interrupt as fn(u32), "int"), (terminate, "term")] {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let server = Server::start(&["--record", directory.to_str().unwrap()]);
        let publisher = ffmpeg_publishes(directory, &server.url("live/goes"));
        let list = joins(&server, "live/goes");
        let urls = [server.url("live/goes"), format!("rtsp://{}/live/goes", server.rtsp.unwrap())];
        let watching: Vec<_> = urls
            .iter()
            .zip(["rtmp", "rtsp"])
            .map(|(url, name)| ffmpeg_watches(directory, name, url))
            .collect();
        wait_until("pictures at both", || {
            watching
                .iter()
                .all(|(_, seen)| std::fs::read_to_string(seen).is_ok_and(|text| text.lines().count() > 40))
        });
        signal(server.pid());
        let text = wait_for("the end of the list", || {
            let text = get(server.hls, &list).text();
            text.contains("#EXT-X-ENDLIST").then_some(text)
        });
        assert!(is_gone(&server), "new clients are taken no more");
        let last = text.lines().rfind(|line| line.contains(".m4s")).unwrap();
        assert_eq!(get(server.hls, &format!("/live/goes/{last}")).status, 200, "{name}: what is left");
        for (viewer, _) in watching {
            viewer.ended_well();
        }
        let (code, log) = server.ended();
        assert_eq!(code, Some(0), "{name}: {log}");
        assert!(log.contains("recording finished"), "{name}: {log}");
        publisher.ended();
        whole(directory);
    }
}

/// The recording's own end is there: ffprobe reads it without a word.
fn whole(directory: &Path) {
    let found = std::fs::read_dir(directory.join("live/goes")).unwrap().next().unwrap().unwrap().path();
    let arguments = ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"];
    let out = Command::new("ffprobe").args(arguments).arg(found).output().unwrap();
    let (said, complaints) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(said.trim().parse::<f64>().unwrap() > 0.5 && complaints.is_empty(), "{said} {complaints}");
}

/// Who asks a second time is not made to wait for viewers.
#[test]
fn a_second_signal_ends_it_at_once() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let server = Server::start(&[]);
    let publisher = ffmpeg_publishes(directory, &server.url("live/twice"));
    let list = joins(&server, "live/twice");
    interrupt(server.pid());
    wait_until("the server to take nobody any more", || is_gone(&server));
    // It waits for the viewer, who asked just now and does not take what is left.
    assert_eq!(get(server.hls, &list).status, 200);
    interrupt(server.pid());
    let (code, log) = server.ended();
    assert_eq!(code, Some(130), "{log}");
    publisher.ended();
}

/// What a server says that cannot start. It is the environment that keeps it from that, and it is never ready.
fn does_not_start(arguments: &[&str]) -> String {
    let usual = ["--rtmp", "--rtsp", "--hls", "--api"].map(|name| [name, "127.0.0.1:0"]);
    let usual = usual.into_iter().chain([["--rtp", "0"]]).filter(|[name, _]| !arguments.contains(name));
    let mut command = Command::new(PROGRAM);
    command.arg("serve").args(usual.flatten()).args(arguments).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
        if line == "ready" {
            child.kill().unwrap();
            panic!("it started with {arguments:?}: {said}");
        }
        said += &(line + "\n");
    }
    assert_eq!(child.wait().unwrap().code(), Some(3), "{said}");
    said
}

/// Who asks for recordings hears at the start that there would be none.
#[test]
fn a_directory_that_takes_no_recordings_is_told_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    // /proc takes no files, not even from who has every privilege.
    let places = [
        (file.clone(), "not a directory"),
        (file.join("below"), "Not a directory"),
        ("/proc".into(), ""),
        ("/proc/new/records".into(), ""),
    ];
    for (place, reason) in places {
        let place = place.to_str().unwrap();
        let said = does_not_start(&["--record", place]);
        assert!(said.contains(&format!("cannot record into {place}: {reason}")), "{said}");
        assert!(said.contains("--record DIR takes another"), "{said}");
    }
    // One that takes them is as it was before, but that it is there.
    let good = directory.path().join("a/b");
    let server = Server::start(&["--record", good.to_str().unwrap()]);
    assert_eq!(std::fs::read_dir(good).unwrap().count(), 0);
    server.stop();
}

/// The message names the protocol and the address that is taken, and what to choose another with.
#[test]
fn a_port_that_is_taken_is_told_by_its_own_name() {
    // An address and ports below those that systems hand out, so that no other test has them.
    let (ip, rtp) = ("127.0.0.77", 21_474);
    let taken = TcpListener::bind((ip, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for protocol in ["rtmp", "rtsp", "hls", "api"] {
        let said = does_not_start(&[&format!("--{protocol}"), &address]);
        assert!(said.contains(&format!("cannot listen for {protocol} on {address}: ")), "{said}");
        assert!(said.contains(&format!("another program has it; --{protocol} ADDR takes another")), "{said}");
    }
    for (port, protocol) in [(rtp, "rtp"), (rtp + 1, "rtcp")] {
        let _taken = UdpSocket::bind((ip, port)).unwrap();
        let said = does_not_start(&["--rtsp", &format!("{ip}:0"), "--rtp", &rtp.to_string()]);
        assert!(said.contains(&format!("cannot listen for {protocol} on {ip}:{port}: ")), "{said}");
        assert!(said.contains("another program has it; --rtp PORT takes another pair"), "{said}");
    }
}
