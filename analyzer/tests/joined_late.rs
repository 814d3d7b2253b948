//! RTMP whose beginning the capture lacks, or one direction, or the port one expects: real captures, cut.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

#[path = "pcap/recorded.rs"]
mod recorded;

use model::{Analysis, Role, TrackKind};
use recorded::Recorded;

/// Video frames and audio frames of the connection from a client's port.
fn frames(analysis: &Analysis, port: u16) -> [u64; 2] {
    let mut sum = [0, 0];
    for session in analysis.sessions.iter().filter(|s| s.client.port == Some(port)) {
        for track in &session.tracks {
            sum[usize::from(track.kind == TrackKind::Audio)] += track.frames;
        }
    }
    sum
}

/// Every capture beside the project in which RTMP carries media for a while.
const NAMES: [&str; 12] = [
    "own/a_rtmp_1pub_3play.pcapng",
    "own/e_rtmp_chunk60000_port1936.pcapng",
    "own/p01_ertmp_hevc_srs.pcapng",
    "own/p03_rtmp_he_aac_xhe_aac.pcapng",
    "own/p04_rtmp_h263_vp6_mp3.pcapng",
    "own/p09_rtmp_lossy_path_server_side.pcapng",
    "own/p11_rtmp_extended_timestamp.pcapng",
    "own/s5_lost_segment.pcap",
    "others/rtmp-cheetah-1080p-large-publish.pcap",
    "others/rtmp-cheetah-audio-only-publish.pcap",
    "others/rtmp-cheetah-h264-aac-publish.pcap",
    "others/rtmp-fq-ffmpeg-play-aac.pcap",
];

/// Frames that may be missing of both kinds: the one the cut goes through, and one whose header says too little.
const FEW: u64 = 2;

fn check(name: &str, whole: &Recorded, cut: usize) {
    let full = whole.analyze();
    let before = whole.only(|n, _| n < cut).analyze();
    let after = whole.only(|n, _| n >= cut).analyze();
    for session in &full.sessions {
        let port = session.client.port.unwrap();
        let (all, first, rest) = (frames(&full, port), frames(&before, port), frames(&after, port));
        let want = [0, 1].map(|kind| all[kind] - first[kind]);
        assert!(
            rest[0] <= want[0] && rest[1] <= want[1] && want[0] + want[1] <= rest[0] + rest[1] + FEW,
            "{name} from packet {cut} on, port {port}: {rest:?} of {all:?}, {first:?} before"
        );
        let late = after.sessions.iter().filter(|s| s.client.port == Some(port));
        for late in late.filter(|s| !s.tracks.is_empty()) {
            assert_eq!((late.role, late.server.port), (session.role, session.server.port), "{name} {cut}");
            // A connection that begins behind the cut is told whole; of any other nobody said the name.
            let began = whole.packets[..cut].iter().any(|p| p.ports.0 == port || p.ports.1 == port);
            match first {
                [0, 0] => assert!(late.path.is_none() || late.path == session.path, "{name} {cut}"),
                _ => assert_eq!(late.path, None, "{name} {cut}"),
            }
            assert_eq!(late.complete, !began && session.complete, "{name} {cut}");
            let told =
                |f: &model::Finding| f.rule == "capture.started-late" && f.session.as_ref() == Some(&late.id);
            assert_eq!(after.findings.iter().any(told), began, "{name} {cut}");
        }
    }
    let ours = |f: &&model::Finding| f.rule.starts_with("capture.") || f.rule.ends_with("deletes-stream");
    let blamed: Vec<_> = after.findings.iter().filter(|f| !ours(f)).map(|f| &f.message).collect();
    assert!(blamed.is_empty(), "{name} from packet {cut} on: {blamed:?}");
}

#[test]
fn from_any_packet_on_everything_later_is_counted() {
    for name in NAMES {
        let Some(whole) = Recorded::open(name) else { continue };
        for part in [1, 3, 5, 7, 11] {
            check(name, &whole, whole.packets.len() * part / 13);
        }
    }
}

#[test]
fn the_port_says_nothing() {
    for (name, port) in
        [("own/a_rtmp_1pub_3play.pcapng", 1935), ("own/p09_rtmp_lossy_path_server_side.pcapng", 1935)]
    {
        let Some(whole) = Recorded::open(name) else { return };
        let moved = whole.clone().move_port(port, 8081);
        assert!(
            moved.packets.iter().any(|p| p.ports.1 == 8081)
                && !moved.packets.iter().any(|p| p.ports.1 == port)
        );
        let (here, there) = (whole.analyze(), moved.analyze());
        for (one, other) in here.sessions.iter().zip(&there.sessions) {
            assert_eq!((one.role, &one.path, &one.tracks), (other.role, &other.path, &other.tracks));
            assert_eq!(other.server.port, Some(8081));
        }
        assert_eq!(here.sessions.len(), there.sessions.len());
        check(name, &moved, moved.packets.len() / 3);
    }
}

#[test]
fn without_its_syn_a_connection_is_whole() {
    let Some(whole) = Recorded::open("own/a_rtmp_1pub_3play.pcapng") else { return };
    let (full, bare) = (whole.analyze(), whole.only(|_, p| !p.syn).analyze());
    let told = |a: &Analysis| {
        let all = a
            .sessions
            .iter()
            .map(|s| (s.role, s.path.clone(), s.client.port, frames(a, s.client.port.unwrap())));
        all.collect::<Vec<_>>()
    };
    assert_eq!(told(&full), told(&bare));
}

#[test]
fn one_direction_shows_the_media_it_carries() {
    let Some(whole) = Recorded::open("own/a_rtmp_1pub_3play.pcapng") else { return };
    let full = whole.analyze();
    let frames_of = |a: &Analysis, role| {
        full.sessions
            .iter()
            .filter(|s| s.role == role)
            .map(|s| frames(a, s.client.port.unwrap()))
            .collect::<Vec<_>>()
    };
    let up = whole.only(|_, p| p.ports.1 == 1935).analyze();
    assert_eq!(frames_of(&up, Role::Publisher), frames_of(&full, Role::Publisher));
    assert!(up.sessions.iter().all(|s| s.path.as_deref() == Some("app/teststream")));
    let down = whole.only(|_, p| p.ports.0 == 1935).analyze();
    assert_eq!(frames_of(&down, Role::Viewer), frames_of(&full, Role::Viewer));
    // Who publishes is not seen in what the server says, and no path is made up.
    assert!(down.sessions.iter().all(|s| s.path.is_none()));
}

/// Behind the cut commands, pings and what a viewer says of its buffer tell who is the client, or other connections
/// to the same address do, whatever the ports are.
#[test]
fn a_server_may_have_the_higher_port() {
    for name in NAMES {
        // Those of others have one direction, and so has the one with a lost segment: media, and nothing that tells.
        let real = name.starts_with("own/") && !name.contains("s5_lost");
        let Some(whole) = Recorded::open(name).filter(|_| real) else { continue };
        let port = whole.packets.iter().find(|p| p.syn).map(|p| p.ports.1).unwrap();
        let moved = whole.move_port(port, 65_000);
        let full = moved.analyze();
        for part in [1, 2, 3] {
            let cut = moved.packets.len() * part / 4;
            let after = moved.only(|n, _| n >= cut).analyze();
            let late: Vec<_> = after.sessions.iter().filter(|s| !s.tracks.is_empty()).collect();
            for late in &late {
                let is_this = |s: &&model::Session| s.client.port == late.client.port;
                let session =
                    full.sessions.iter().find(is_this).unwrap_or_else(|| {
                        panic!("{name} from packet {cut} on: {:?} is no client", late.client)
                    });
                assert_eq!((late.role, late.server.port), (session.role, Some(65_000)), "{name} {cut}");
            }
            assert!(!late.is_empty(), "{name} from packet {cut} on");
        }
    }
}
