//! The server's own tap: a capture made without any privilege that Wireshark has nothing to say against.
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

use common::peer::{GSTREAMER, ffmpeg_publishes, ffmpeg_watches, gstreamer_watches, output};
use common::rml::Viewer;
use common::server::Server;
use common::{PROGRAM, installed, tshark};
use serde_json::Value;

#[test]
fn the_tap_of_real_peers_is_a_flawless_capture() {
    if !installed(&["ffmpeg", GSTREAMER, "tshark"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let tap = directory.join("tap.pcapng");
    let server = Server::start(&["--tap", tap.to_str().unwrap()]);
    let url = server.url("live/tapped");
    let publisher = ffmpeg_publishes(directory, &url);
    server.wait_published("live/tapped");
    let (ffmpeg, _) = ffmpeg_watches(directory, "ffmpeg", &url);
    let (gstreamer, _) = gstreamer_watches(directory, "gstreamer", &url);
    // One that is gone in the middle: its connection ends with a reset or with unread data.
    let passing = Viewer::start(server.rtmp, "live", "tapped").unwrap();
    passing.wait_pictures(30);
    passing.leave();
    publisher.ended_well();
    ffmpeg.ended_well();
    gstreamer.ended_well();
    server.wait_deserted();
    let port = server.rtmp.port();
    let metrics = server.metrics();
    server.stop();

    let checks = ["tcp.check_checksum:TRUE", "ip.check_checksum:TRUE", "udp.check_checksum:TRUE"];
    let options: Vec<&str> = checks.iter().flat_map(|check| ["-o", *check]).collect();
    let flaws = "tcp.analysis.flags || tcp.checksum.status == 0 || ip.checksum.status == 0";
    let flawed = tshark::lines(&tap, flaws, &options);
    assert!(flawed.is_empty(), "tshark finds fault with the tap:\n{}", flawed.join("\n"));
    let sound = tshark::lines(&tap, "tcp.checksum.status == 1 && ip.checksum.status == 1", &options);
    assert!(sound.len() > 500, "only {} packets have checksums that were checked", sound.len());

    let payload = tshark::unique_payload(&tap, port);
    let counted =
        metrics.client_bytes().into_iter().map(|(address, c)| (address, (c.received, c.sent))).collect();
    assert_eq!(payload, counted, "the tap holds every byte that the sockets took, and no other");

    let analysis = output(PROGRAM, &["analyze", tap.to_str().unwrap(), "--format", "json"]);
    let analysis: Value = serde_json::from_str(&analysis).unwrap();
    assert_eq!(analysis["captures"][0]["synthetic"], true);
    let sessions = analysis["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 4);
    for session in sessions {
        assert!(session["rtt_ms"].is_null(), "made-up headers know no round-trip time: {session}");
        assert!(session["retransmitted_bytes"].is_null(), "nor retransmissions: {session}");
        assert_eq!(session["path"], "live/tapped");
        let video = session["tracks"].as_array().unwrap().iter().find(|t| t["kind"] == "video").unwrap();
        assert_eq!((&video["codec"], &video["profile"]), (&"h264".into(), &"High".into()));
    }
}
