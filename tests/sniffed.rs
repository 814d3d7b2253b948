//! Two accounts of one truth: the server's metrics, and a count of sniffed packets that is not ours.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use common::peer::{GSTREAMER, ffmpeg_publishes_again_and_again, ffmpeg_watches, gstreamer_watches, output};
use common::rml::Viewer;
use common::server::Server;
use common::tshark::{self, Sniffer};
use common::{PROGRAM, installed};
use serde_json::Value;

#[test]
fn metrics_sniffed_packets_and_the_analysis_agree_on_every_byte() {
    if !installed(&["ffmpeg", GSTREAMER, "tcpdump", "tshark"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let server = Server::start(&[]);
    let Some(sniffer) = Sniffer::start(directory, server.rtmp.port()) else { return };

    let url = server.url("live/sniffed");
    let publisher = ffmpeg_publishes_again_and_again(directory, &url);
    server.wait_published("live/sniffed");
    let (first, _) = ffmpeg_watches(directory, "ffmpeg", &url);
    let (second, _) = gstreamer_watches(directory, "gstreamer", &url);
    let rml = Viewer::start(server.rtmp, "live", "sniffed").unwrap();
    rml.wait_pictures(60);
    let (third, _) = ffmpeg_watches(directory, "late-ffmpeg", &url);
    server.wait_viewers("live/sniffed", 4);
    publisher.stop();
    rml.watched();
    first.ended_well();
    second.ended_well();
    third.ended_well();
    server.wait_deserted();
    let metrics = server.metrics();
    let port = server.rtmp.port();
    server.stop();
    let capture = sniffer.stop();

    let counted: BTreeMap<SocketAddr, (u64, u64)> =
        metrics.client_bytes().into_iter().map(|(a, c)| (a, (c.received, c.sent))).collect();
    let sniffed = tshark::unique_payload(&capture, port);
    assert_eq!(sniffed.len(), 5, "{sniffed:?}");
    assert_eq!(counted, sniffed, "metrics of each client (in, out) against unique TCP payload by tshark");
    for (direction, want) in
        [("in", sniffed.values().map(|b| b.0).sum::<u64>()), ("out", sniffed.values().map(|b| b.1).sum())]
    {
        let total = metrics.sum("streamgauge_bytes_total", &[("protocol", "rtmp"), ("direction", direction)]);
        assert_eq!(total as u64, want, "{direction}, all clients");
    }

    let analysis = output(PROGRAM, &["analyze", capture.to_str().unwrap(), "--format", "json"]);
    let analysis: Value = serde_json::from_str(&analysis).unwrap();
    let sessions = analysis["sessions"].as_array().unwrap();
    let analyzed: BTreeMap<SocketAddr, (u64, u64)> = sessions
        .iter()
        .map(|s| {
            let bytes = |key: &str| s[key].as_u64().unwrap();
            (client(s), (bytes("bytes_to_server"), bytes("bytes_to_client")))
        })
        .collect();
    assert_eq!(analyzed, sniffed, "the analysis of each client against unique TCP payload by tshark");
    for session in sessions {
        assert_eq!(session["path"], "live/sniffed");
        assert_eq!(session["complete"], true, "{}", session["id"]);
        let filter = session["filter"].as_str().unwrap();
        let shown = tshark::fields(&capture, filter, &["tcp.srcport", "tcp.dstport"]);
        let port = client(session).port().to_string();
        assert!(
            !shown.is_empty() && shown.iter().all(|row| row.contains(&port)),
            "{filter} shows others' packets"
        );
    }
}

fn client(session: &Value) -> SocketAddr {
    let side = &session["client"];
    let address = side["address"].as_str().unwrap().parse().unwrap();
    SocketAddr::new(address, side["port"].as_u64().unwrap() as u16)
}

#[test]
fn a_damaged_line_of_the_comparison_is_seen() {
    // The script that ci/demo ends with has to fail where one byte is missing.
    if !installed(&["python3"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let metrics = directory.path().join("metrics.txt");
    let analysis = directory.path().join("analysis.json");
    let series = |direction: &str, bytes: u64| {
        format!(
            "streamgauge_client_bytes_total{{id=\"1\",address=\"127.0.0.1:5000\",protocol=\"rtmp\",role=\"viewer\",             path=\"live/a\",direction=\"{direction}\"}} {bytes}\n"
        )
    };
    std::fs::write(&metrics, series("in", 10) + &series("out", 20)).unwrap();
    for (sent, status) in [(20, 0), (19, 1)] {
        let session = serde_json::json!({
            "role": "viewer", "client": { "address": "127.0.0.1", "port": 5000 },
            "bytes_to_server": 10, "bytes_to_client": sent,
        });
        std::fs::write(&analysis, serde_json::json!({ "sessions": [session] }).to_string()).unwrap();
        let script = common::root().join("ci/compare-bytes");
        let out = Command::new("python3").arg(script).args([&metrics, &analysis]).output().unwrap();
        assert_eq!(out.status.code(), Some(status), "{}", String::from_utf8_lossy(&out.stdout));
    }
}
