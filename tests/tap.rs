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

use common::peer::{GSTREAMER, Peer, ffmpeg_publishes, ffmpeg_watches, gstreamer_watches, output};
use common::rml::Viewer;
use common::server::Server;
use common::{PROGRAM, clip, installed, tshark, wait_until};
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

    let analysis = analysis(&tap);
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

/// What the analyzer says of one capture.
fn analysis(file: &std::path::Path) -> Value {
    let text = output(PROGRAM, &["analyze", file.to_str().unwrap(), "--format", "json"]);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn packets_over_udp_are_in_the_tap_as_the_sockets_took_them() {
    if !installed(&["ffmpeg", "tshark"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    // Both versions of IP, on the same sockets: what they carry is IPv4 for one of the players and IPv6 for the other.
    let both = std::net::TcpListener::bind("[::1]:0").is_ok();
    let tap = directory.join("tap.pcapng");
    let any = if both { "[::]:0" } else { "0.0.0.0:0" };
    let server = Server::start(&["--tap", tap.to_str().unwrap(), "--rtsp", any]);
    let port = server.rtsp.unwrap().port();
    let over_udp = |name: &str, host: &str| {
        let out = directory.join(format!("{name}.framemd5"));
        let url = format!("rtsp://{host}:{port}/live/tapped");
        let more = ["-c", "copy", "-y", "-f", "framemd5", out.to_str().unwrap()];
        let mut arguments = vec!["-hide_banner", "-nostdin", "-rtsp_transport", "udp", "-i", &url];
        arguments.extend(more);
        Peer::start(directory, name, "ffmpeg", &arguments)
    };
    let clip = clip();
    let url = format!("rtsp://127.0.0.1:{port}/live/tapped");
    let mut publish = vec!["-hide_banner", "-nostdin", "-re", "-i", clip.to_str().unwrap(), "-c", "copy"];
    publish.extend(["-f", "rtsp", "-rtsp_transport", "udp", &url]);
    let publisher = Peer::start(directory, "publisher", "ffmpeg", &publish);
    wait_until("two tracks", || {
        server.list("streams").iter().any(|s| s["tracks"].as_array().is_some_and(|t| t.len() == 2))
    });
    let hosts: &[&str] = if both { &["127.0.0.1", "[::1]"] } else { &["127.0.0.1"] };
    let viewers: Vec<_> =
        hosts.iter().enumerate().map(|(n, host)| over_udp(&format!("viewer-{n}"), host)).collect();
    publisher.ended_well();
    viewers.into_iter().for_each(|viewer| drop(viewer.ended_well()));
    server.wait_deserted();
    let counted = server.metrics().client_bytes();
    let rtp = server.rtp.unwrap();
    server.stop();

    let (rtp, rtcp) = (rtp.port(), rtp.port() + 1);
    let checks = ["ip.check_checksum:TRUE", "udp.check_checksum:TRUE", "tcp.check_checksum:TRUE"];
    let mut options: Vec<&str> = checks.iter().flat_map(|check| ["-o", *check]).collect();
    let (as_rtp, as_rtcp) = (format!("udp.port=={rtp},rtp"), format!("udp.port=={rtcp},rtcp"));
    options.extend(["-d", &as_rtp, "-d", &as_rtcp]);
    let flaws = "udp.checksum.status == 0 || udp.checksum.zero || ip.checksum.status == 0 || \
                 tcp.checksum.status == 0 || tcp.analysis.flags || (udp && _ws.malformed)";
    let flawed = tshark::lines(&tap, flaws, &options);
    assert!(flawed.is_empty(), "tshark finds fault with the tap:\n{}", flawed.join("\n"));
    let packets = tshark::lines(&tap, "rtp && udp.checksum.status == 1", &options).len();
    assert!(packets > 300 * (1 + hosts.len()), "{packets} RTP packets");
    assert!(tshark::lines(&tap, "rtcp.pt == 200 && rtcp.pt == 202", &options).len() > hosts.len());

    // What the analyzer counts of each session is what the server counted, byte for byte.
    let analysis = analysis(&tap);
    let sessions = analysis["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 1 + hosts.len(), "{sessions:#?}");
    for session in sessions {
        let address = &session["client"]["address"].as_str().unwrap();
        let address = std::net::SocketAddr::new(
            address.parse().unwrap(),
            session["client"]["port"].as_u64().unwrap() as u16,
        );
        let client = &counted[&address];
        let bytes =
            (session["bytes_to_server"].as_u64().unwrap(), session["bytes_to_client"].as_u64().unwrap());
        assert_eq!(bytes, (client.received, client.sent), "{address}");
        assert_eq!(session["transport"], "udp");
        assert_eq!(session["complete"], true, "{session:#}");
        for track in session["tracks"].as_array().unwrap() {
            assert_eq!(track["lost_packets"], 0, "{track}");
            assert!(track["frames"].as_u64().unwrap() >= 190, "{track}");
        }
    }
}
