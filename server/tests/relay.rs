//! Publishers and viewers over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    missing_docs
)]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{AAC, AVC, House, PATIENCE, Peer, picture};
use session::rtmp::{ClientRole, Event, MediaKind};
use streamgauge_server::config::TapConfig;
use streamgauge_server::{ClientSnapshot, Config, Outcome};

use MediaKind::{Audio, Video};

/// The numbers of the client at an address.
fn of(clients: &[ClientSnapshot], address: std::net::SocketAddr) -> &ClientSnapshot {
    clients.iter().find(|c| c.address == address).unwrap()
}

#[test]
fn every_viewer_gets_every_byte_in_order_and_every_byte_is_counted() {
    let house = House::open(Config::default());
    let mut early = Peer::play(house.rtmp(), "live/a");
    let mut cam = Peer::publish(house.rtmp(), "live/a");
    cam.configure();
    let sizes = [1, 100, 20_000, 300_000, 7, 16_384, 16_379, 65_536];
    for i in 0..80 {
        cam.picture(i, sizes[i as usize % sizes.len()], i % 20 == 0);
        cam.sound(i);
    }
    assert_eq!(early.media(), (Video, 0, AVC.into()));
    assert_eq!(early.media(), (Audio, 0, AAC.into()));
    for i in 0..79 {
        assert_eq!(
            early.media(),
            (Video, i * 40, picture(i, sizes[i as usize % sizes.len()], i % 20 == 0).into())
        );
        assert_eq!(early.media().1, i * 40 + 5);
    }
    // All that is there was relayed: who comes now starts at the last key frame.
    let mut late = Peer::play(house.rtmp(), "live/a");
    assert_eq!(late.media(), (Video, 60 * 40, AVC.into()));
    assert_eq!(late.media(), (Audio, 60 * 40, AAC.into()));
    for i in 60..79 {
        assert_eq!(
            late.media(),
            (Video, i * 40, picture(i, sizes[i as usize % sizes.len()], i == 60).into())
        );
        assert_eq!(late.media().1, i * 40 + 5);
    }
    let addresses = [cam.address(), early.address(), late.address()];
    let cam = cam.finish();
    let mut counts = vec![cam];
    for mut viewer in [early, late] {
        assert_eq!(viewer.media().1, 79 * 40);
        assert_eq!(viewer.media().1, 79 * 40 + 5, "the end lets out what waited for a picture");
        assert!(matches!(viewer.next(), Some(Event::Ended { .. })));
        counts.push(viewer.finish());
    }
    let clients = house.runtime.block_on(house.server.shutdown());
    for (address, (sent, received)) in addresses.into_iter().zip(counts) {
        let client = of(&clients, address);
        assert_eq!((client.bytes_in, client.bytes_out), (sent, received), "{client:?}");
        assert_eq!((client.frames_dropped, client.agent.as_str()), (0, "test peer"));
        assert_eq!(client.ended.map(|(_, outcome)| outcome), Some(Outcome::Done));
    }
}

#[test]
fn a_taken_path_is_refused_with_a_word_and_free_again_after_its_publisher() {
    let house = House::open(Config::default());
    let mut first = Peer::publish(house.rtmp(), "live/a");
    let mut second = Peer::hello(house.rtmp(), ClientRole::Publish, "live/a");
    match second.next() {
        Some(Event::Status { level, code, .. }) => {
            assert_eq!((level.as_str(), code.as_str()), ("error", "NetStream.Publish.BadName"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(second.next(), None);
    // The first one did not notice.
    let mut viewer = Peer::play(house.rtmp(), "live/a");
    first.configure();
    first.picture(0, 10, true);
    assert_eq!(viewer.media().2, AVC);
    // A connection that breaks frees the name as well as a goodbye does.
    drop(first);
    while !matches!(viewer.next(), Some(Event::Ended { .. })) {}
    let mut third = Peer::publish(house.rtmp(), "live/a");
    third.configure();
    third.picture(0, 10, true);
    assert_eq!(viewer.media().2, AVC, "the viewer that stayed sees the next publisher");
}

#[test]
fn the_api_and_the_metrics_tell_who_streams_what() {
    let house = House::open(Config::default());
    let mut viewer = Peer::play(house.rtmp(), "live/caf%C3%A9 \"x\"\\");
    let mut cam = Peer::publish(house.rtmp(), "live/caf%C3%A9 \"x\"\\");
    cam.configure();
    cam.picture(0, 1000, true);
    for _ in 0..3 {
        viewer.media();
    }
    let path = "live/caf\u{e9} \"x\"\\";
    let streams: serde_json::Value = serde_json::from_str(&house.get("/api/v1/streams").1).unwrap();
    let stream = &streams[0];
    assert_eq!(stream["path"], path);
    assert_eq!(stream["publisher"]["address"], cam.address().to_string());
    assert_eq!(stream["publisher"]["protocol"], "rtmp");
    let tracks: Vec<_> =
        stream["tracks"].as_array().unwrap().iter().map(|t| (&t["kind"], &t["codec"])).collect();
    assert_eq!(tracks, [(&"video".into(), &"h264".into()), (&"audio".into(), &"aac".into())]);
    assert!(stream["tracks"][1]["description"].as_str().unwrap().contains("48000 Hz"));
    assert_eq!(stream["viewers"], 1);
    assert_eq!(stream["bytes_in"], cam.sent);
    assert_eq!(stream["bytes_out"], viewer.received);
    assert!(stream["started"].as_str().unwrap().ends_with('Z'));

    let clients: serde_json::Value = serde_json::from_str(&house.get("/api/v1/clients").1).unwrap();
    let clients = clients.as_array().unwrap();
    let roles: Vec<_> = clients.iter().map(|c| c["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["viewer", "publisher"]);
    let keys: Vec<_> = clients[0].as_object().unwrap().keys().map(String::as_str).collect();
    let mut want = vec![
        "id",
        "protocol",
        "role",
        "address",
        "path",
        "agent",
        "bytes_in",
        "bytes_out",
        "bps_in",
        "bps_out",
        "frames_dropped",
        "connected",
    ];
    want.sort_unstable();
    let mut got = keys;
    got.sort_unstable();
    assert_eq!(got, want);
    // A connection younger than the window counts as one second old at least.
    assert_eq!(clients[0]["bytes_out"], viewer.received);
    assert!(clients[0]["bps_out"].as_u64().unwrap() <= viewer.received * 8);

    let (head, text) = house.get("/metrics");
    assert!(head.contains("content-type: application/openmetrics-text"), "{head}");
    let metrics = samples(&text);
    assert_eq!(metrics["streamgauge_clients{protocol=\"rtmp\",role=\"viewer\"}"], 1);
    let labels = |direction| {
        format!(
            "streamgauge_client_bytes_total{{id=\"c2\",address=\"{}\",protocol=\"rtmp\",role=\"publisher\",\
             path=\"live/caf\u{e9} \\\"x\\\"\\\\\",direction=\"{direction}\"}}",
            cam.address()
        )
    };
    assert_eq!(metrics[&labels("in")], cam.sent);
    let total = cam.sent + viewer.sent;
    assert_eq!(metrics["streamgauge_bytes_total{protocol=\"rtmp\",direction=\"in\"}"], total);
    assert_eq!(metrics["streamgauge_stream_viewers{path=\"live/caf\u{e9} \\\"x\\\"\\\\\"}"], 1);

    assert_eq!(house.get("/healthz").1, "ok\n");
    assert!(house.get("/").1.contains("/api/v1/clients"));
    let (cam_address, sent) = (cam.address(), cam.finish().0);
    // The publisher has gone, its numbers stay for a minute.
    while !matches!(viewer.next(), Some(Event::Ended { .. })) {}
    let clients = house.runtime.block_on(house.server.shutdown());
    assert_eq!(of(&clients, cam_address).bytes_in, sent);
}

/// Samples of an exposition: name and labels, value. Fails on what is none.
fn samples(text: &str) -> BTreeMap<String, u64> {
    assert!(text.ends_with("# EOF\n"));
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("streamgauge_"), "{line}");
        let twice = samples.insert(name.to_owned(), value.parse().unwrap());
        assert_eq!(twice, None, "{line}");
    }
    samples
}

#[test]
fn nonsense_on_the_port_hurts_only_whoever_sends_it() {
    let house = House::open(Config::default());
    let mut viewer = Peer::play(house.rtmp(), "live/a");
    let mut cam = Peer::publish(house.rtmp(), "live/a");
    cam.configure();
    let mut attempts: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        vec![0; 4000],
        vec![3],
        vec![],
    ];
    // A whole handshake, then a message far too long for somebody who does not publish; a chunk of a stream
    // that has not begun; a chunk size of zero.
    for after in [
        &[0x06, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0][..],
        &[0xc7, 1, 2, 3],
        &[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        attempts.push([&[3][..], &[0; 2 * 1536], after].concat());
    }
    for (i, bytes) in attempts.iter().enumerate() {
        let mut io = TcpStream::connect(house.rtmp()).unwrap();
        io.set_read_timeout(Some(PATIENCE)).unwrap();
        io.write_all(bytes).unwrap();
        io.shutdown(std::net::Shutdown::Write).unwrap();
        // Closed by the server, with a reset or without.
        let _ = io.read_to_end(&mut Vec::new());
        cam.picture(i as u32, 100, i == 0);
    }
    viewer.media();
    viewer.media();
    for i in 0..attempts.len() as u32 {
        assert_eq!(viewer.media(), (Video, i * 40, picture(i, 100, i == 0).into()));
    }
    let metrics = samples(&house.get("/metrics").1);
    let ended = |outcome| {
        let key =
            format!("streamgauge_sessions_total{{protocol=\"rtmp\",role=\"none\",outcome=\"{outcome}\"}}");
        metrics.get(&key).copied().unwrap_or(0)
    };
    // Three that were no handshake, three that broke the chunk format; two that only came and went.
    assert_eq!((ended("protocol"), ended("done") + ended("reset")), (6, 2), "{metrics:?}");
}

#[test]
fn a_viewer_that_takes_nothing_is_dropped_and_nobody_else_waits_for_it() {
    let mut config = Config::default();
    config.limits.viewer_stall = Duration::from_millis(300);
    config.rtmp.send_buffer = 32 << 10;
    let house = House::open(config);
    let stuck = Peer::play(house.rtmp(), "live/a");
    let mut cam = Peer::publish(house.rtmp(), "live/a");
    cam.configure();
    let mut viewer = Peer::play(house.rtmp(), "live/a");
    let (address, began) = (stuck.address(), Instant::now());
    let mut number = 0;
    let outcome = loop {
        cam.picture(number, 200_000, number % 10 == 0);
        while viewer.media().1 != number * 40 {}
        number += 1;
        let clients = house.server.clients();
        if let Some((_, outcome)) = of(&clients, address).ended {
            break outcome;
        }
        assert!(began.elapsed() < PATIENCE, "{clients:?}");
    };
    assert_eq!(outcome, Outcome::Stalled);
    let clients = house.server.clients();
    let healthy = of(&clients, viewer.address());
    assert_eq!((healthy.frames_dropped, healthy.ended), (0, None));
}

#[test]
fn a_shutdown_tells_everybody_and_gives_the_last_numbers() {
    let house = House::open(Config::default());
    let mut cam = Peer::publish(house.rtmp(), "live/a");
    cam.configure();
    cam.picture(0, 100, true);
    cam.sound(0);
    cam.picture(1, 100, false);
    let mut viewer = Peer::play(house.rtmp(), "live/a");
    while viewer.media().1 != 40 {}
    let (cam_address, viewer_address) = (cam.address(), viewer.address());
    let goodbye = std::thread::spawn(move || {
        assert!(matches!(viewer.next(), Some(Event::Ended { .. })));
        viewer.finish()
    });
    let farewell = std::thread::spawn(move || {
        while cam.next().is_some() {}
        cam.finish()
    });
    let clients = house.runtime.block_on(house.server.shutdown());
    // A viewer hangs up when it is told of the end; that may come with the publisher's end, a moment before the
    // server says its own goodbye.
    let by_viewer = [Outcome::Shutdown, Outcome::Done].as_slice();
    for (address, (sent, received), outcomes) in [
        (viewer_address, goodbye.join().unwrap(), by_viewer),
        (cam_address, farewell.join().unwrap(), &[Outcome::Shutdown]),
    ] {
        let client = of(&clients, address);
        assert_eq!((client.bytes_in, client.bytes_out), (sent, received), "{client:?}");
        assert!(outcomes.contains(&client.ended.unwrap().1), "{client:?}");
    }
}

#[test]
fn the_tap_holds_what_the_sockets_carried() {
    if Command::new("tshark").arg("--version").output().is_err() {
        eprintln!("skipped: tshark is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tap.pcapng");
    let tap = Some(TapConfig { file: file.clone(), snap: 0, size: 0 });
    let house = House::open(Config { tap, ..Config::default() });
    let mut cam = Peer::publish(house.rtmp(), "live/a");
    let mut viewer = Peer::play(house.rtmp(), "live/a");
    cam.configure();
    for i in 0..50 {
        cam.picture(i, 5000 * (i as usize % 30) + 1, i % 10 == 0);
        cam.sound(i);
    }
    while viewer.media().1 != 49 * 40 {}
    cam.finish();
    while !matches!(viewer.next(), Some(Event::Ended { .. })) {}
    viewer.finish();
    let clients = house.runtime.block_on(house.server.shutdown());
    let tshark = |more: &[&str]| {
        let out = Command::new("tshark")
            .args([
                "-r",
                file.to_str().unwrap(),
                "-o",
                "tcp.check_checksum:TRUE",
                "-o",
                "ip.check_checksum:TRUE",
            ])
            .args(more)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let wrong = "tcp.analysis.flags || tcp.checksum.status==0 || ip.checksum.status==0";
    assert_eq!(tshark(&["-Y", wrong]), "");
    let mut wire: BTreeMap<(u16, u16), u64> = BTreeMap::new();
    for line in tshark(&["-T", "fields", "-e", "tcp.srcport", "-e", "tcp.dstport", "-e", "tcp.len"]).lines() {
        let n: Vec<u64> = line.split('\t').map(|n| n.parse().unwrap()).collect();
        *wire.entry((n[0] as u16, n[1] as u16)).or_default() += n[2];
    }
    assert_eq!(clients.len(), 2);
    let server = wire.keys().map(|k| k.0).find(|p| clients.iter().all(|c| c.address.port() != *p)).unwrap();
    for client in &clients {
        let port = client.address.port();
        let counted = (wire[&(port, server)], wire[&(server, port)]);
        assert_eq!(counted, (client.bytes_in, client.bytes_out), "{client:?}");
    }
}
