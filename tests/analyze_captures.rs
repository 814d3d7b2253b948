//! `analyze` on captures whose content is known from a separate count.
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

use std::path::{Path, PathBuf};

use common::peer::output;
use common::tshark::{self, Conversations, Side, Traffic};
use common::{PROGRAM, capture, installed, root, say};
use serde_json::Value;

/// A session as a separate count has it.
struct Known {
    role: &'static str,
    path: &'static str,
    client: u16,
    /// TCP payload to the server and to the client.
    bytes: (u64, u64),
    video: &'static str,
    /// Messages that carry a picture or the end of the sequence; the decoder configuration is not among them.
    pictures: u64,
    audio: &'static str,
    audio_frames: u64,
}

const fn known(
    role: &'static str,
    path: &'static str,
    client: u16,
    bytes: (u64, u64),
    (video, pictures): (&'static str, u64),
    (audio, audio_frames): (&'static str, u64),
) -> Known {
    Known { role, path, client, bytes, video, pictures, audio, audio_frames }
}

const PUB: &str = "publisher";
const VIEW: &str = "viewer";
const NO_VIDEO: (&str, u64) = ("", 0);

const CAPTURES: &[(&str, &[Known])] = &[
    (
        "own/a_rtmp_1pub_3play.pcapng",
        &[
            known(PUB, "app/teststream", 39806, (3_094_325, 3602), ("h264", 451), ("aac", 646)),
            known(VIEW, "app/teststream", 39808, (3493, 2_463_868), ("h264", 361), ("aac", 518)),
            known(VIEW, "app/teststream", 39824, (3493, 2_103_479), ("h264", 306), ("aac", 519)),
            known(VIEW, "app/teststream", 39838, (3493, 2_167_812), ("h264", 317), ("aac", 518)),
        ],
    ),
    (
        "own/e_rtmp_chunk60000_port1936.pcapng",
        &[
            known(PUB, "live/s60k", 0, (1_675_994, 3602), ("h264", 241), ("aac", 345)),
            known(VIEW, "live/s60k", 0, (3483, 819_597), ("h264", 116), ("aac", 217)),
        ],
    ),
    (
        "own/p01_ertmp_hevc_srs.pcapng",
        &[
            known(PUB, "live/hevc", 55012, (246_327, 4503), ("h265", 200), ("aac", 376)),
            known(VIEW, "live/hevc", 55016, (3502, 164_391), ("h265", 131), ("aac", 241)),
        ],
    ),
    (
        "own/p03_rtmp_he_aac_xhe_aac.pcapng",
        &[
            known(PUB, "live/xhe", 55196, (31_435, 3602), NO_VIDEO, ("aac", 375)),
            known(PUB, "live/hev2", 55208, (259_389, 3602), ("h264", 201), ("aac", 188)),
            known(PUB, "live/hev1", 55210, (274_761, 3602), ("h264", 201), ("aac", 188)),
            known(VIEW, "live/xhe", 55222, (3481, 21_368), NO_VIDEO, ("aac", 238)),
            known(VIEW, "live/hev2", 55224, (3483, 63_467), ("h264", 42), ("aac", 73)),
        ],
    ),
    (
        "own/p04_rtmp_h263_vp6_mp3.pcapng",
        &[
            known(PUB, "live/h263", 47264, (357_774, 3602), ("h263", 175), ("mp3", 268)),
            known(PUB, "live/vp6", 47270, (535_057, 3602), ("vp6", 24), ("mp3", 185)),
            known(VIEW, "live/vp6", 47280, (3494, 382_775), ("vp6", 17), ("mp3", 138)),
            known(VIEW, "live/h263", 47292, (3496, 236_863), ("h263", 125), ("mp3", 221)),
        ],
    ),
    (
        "own/p09_rtmp_lossy_path_server_side.pcapng",
        &[
            known(PUB, "", 44052, (803_871, 3602), ("h264", 201), ("aac", 376)),
            known(VIEW, "", 44064, (3442, 417_572), ("h264", 101), ("aac", 243)),
        ],
    ),
    (
        "own/p11_rtmp_extended_timestamp.pcapng",
        &[
            known(PUB, "live/ff", 39340, (294_743, 3602), ("h264", 201), ("aac", 376)),
            known(PUB, "live/own", 39350, (298_812, 3602), ("h264", 201), ("aac", 376)),
            known(VIEW, "live/ff", 39356, (3445, 190_679), ("h264", 121), ("aac", 238)),
            known(VIEW, "live/own", 39366, (3485, 96_643), ("h264", 51), ("aac", 176)),
            known(VIEW, "live/own", 39374, (3405, 95_455), ("h264", 51), ("aac", 170)),
            known(VIEW, "live/ff", 39380, (3479, 74_302), ("h264", 43), ("aac", 96)),
        ],
    ),
];

fn analyze(file: &Path) -> Value {
    let text = output(PROGRAM, &["analyze", file.to_str().unwrap(), "--format", "json"]);
    serde_json::from_str(&text).unwrap()
}

fn track<'a>(session: &'a Value, kind: &str) -> Option<&'a Value> {
    session["tracks"].as_array().unwrap().iter().find(|t| t["kind"] == kind)
}

/// Every capture of the collection that there is; empty, with the reason printed, without the collection.
fn collection(part: &str) -> Vec<PathBuf> {
    let directory = root().join("../shared/captures").join(part);
    let Ok(entries) = std::fs::read_dir(&directory) else {
        say(&format!("skipped: the captures {part}/ are not here"));
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "pcap" || e == "pcapng" || e == "cap"))
        .collect();
    files.sort();
    files
}

#[test]
fn sessions_are_those_of_a_separate_count() {
    for (name, sessions) in CAPTURES {
        let Some(file) = capture(name) else { continue };
        let analysis = analyze(&file);
        let found = analysis["sessions"].as_array().unwrap();
        assert_eq!(found.len(), sessions.len(), "{name}: {found:#?}");
        for (want, got) in sessions.iter().zip(found) {
            let place = format!("{name}, {} of {}", want.role, want.path);
            assert_eq!(got["role"], want.role, "{place}");
            assert_eq!(got["protocol"], "rtmp", "{place}");
            if !want.path.is_empty() {
                assert_eq!(got["path"], want.path, "{place}");
            }
            if want.client != 0 {
                assert_eq!(got["client"]["port"], want.client, "{place}");
            }
            let bytes = (&got["bytes_to_server"], &got["bytes_to_client"]);
            assert_eq!(bytes, (&want.bytes.0.into(), &want.bytes.1.into()), "{place}: payload bytes");
            for (kind, codec, frames) in
                [("video", want.video, want.pictures), ("audio", want.audio, want.audio_frames)]
            {
                match track(got, kind) {
                    None => assert_eq!(frames, 0, "{place} has no {kind}"),
                    Some(track) => {
                        assert_eq!(track["codec"], codec, "{place}");
                        assert_eq!(track["frames"], frames, "{place}: {kind} frames");
                    }
                }
            }
            assert!(got["agent"].is_string(), "{place}: every client here names its software");
        }
    }
}

#[test]
fn codecs_are_what_the_bitstream_says() {
    if let Some(file) = capture("own/a_rtmp_1pub_3play.pcapng") {
        for session in analyze(&file)["sessions"].as_array().unwrap() {
            let audio = track(session, "audio").unwrap();
            assert_eq!(audio["profile"], "LC");
            assert_eq!((&audio["sample_rate"], &audio["channels"]), (&44100.into(), &2.into()));
            let description = audio["description"].as_str().unwrap();
            assert_eq!(description, "AAC-LC 44100 Hz stereo");
            let video = track(session, "video").unwrap();
            assert!(
                video["width"].is_u64() && video["height"].is_u64() && video["profile"].is_string(),
                "{video}"
            );
            assert!(video["key_frames"].as_u64().unwrap() >= 6, "{video}");
        }
    }
    if let Some(file) = capture("own/p03_rtmp_he_aac_xhe_aac.pcapng") {
        let analysis = analyze(&file);
        let xhe: Vec<&Value> =
            analysis["sessions"].as_array().unwrap().iter().filter(|s| s["path"] == "live/xhe").collect();
        assert_eq!(xhe.len(), 2);
        for session in xhe {
            assert_eq!(track(session, "audio").unwrap()["profile"], "xHE-AAC");
        }
    }
}

#[test]
fn a_lost_segment_costs_only_the_messages_it_carried() {
    let Some(file) = capture("own/s5_lost_segment.pcap") else { return };
    let analysis = analyze(&file);
    let session = &analysis["sessions"][0];
    for kind in ["video", "audio"] {
        let frames = track(session, kind).unwrap()["frames"].as_u64().unwrap();
        assert!((95..=100).contains(&frames), "{frames} {kind} frames of 100");
    }
    assert_eq!(session["complete"], false);
    let findings = analysis["findings"].as_array().unwrap();
    assert!(!findings.is_empty(), "the hole is worth a finding");
}

#[test]
fn the_json_keeps_to_its_schema() {
    let schema = std::fs::read_to_string(root().join("reports/model/schema/analysis-1.json")).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    for file in collection("own").into_iter().chain(collection("others")) {
        let Some(analysis) = analyze_if_readable(&file) else { continue };
        assert_eq!(analysis["schema"], "streamgauge.analysis/1");
        let wrong: Vec<String> =
            validator.iter_errors(&analysis).map(|e| format!("{}: {e}", e.instance_path)).collect();
        assert!(wrong.is_empty(), "{}: {wrong:#?}", file.display());
    }
}

/// The analysis; none for a file without a packet that can be read, which is exit code 2 and a line that says why.
fn analyze_if_readable(file: &Path) -> Option<Value> {
    let out = std::process::Command::new(PROGRAM)
        .args(["analyze", file.to_str().unwrap(), "--format", "json"])
        .output()
        .unwrap();
    match out.status.code() {
        Some(0) => Some(serde_json::from_slice(&out.stdout).unwrap()),
        Some(2) => {
            assert!(!out.stderr.is_empty(), "{}: nothing says why it cannot be read", file.display());
            None
        }
        code => panic!("{}: exit {code:?}\n{}", file.display(), String::from_utf8_lossy(&out.stderr)),
    }
}

#[test]
fn conversations_are_wiresharks() {
    if !installed(&["tshark"]) {
        return;
    }
    for file in collection("own") {
        let analysis = analyze(&file);
        for kind in ["tcp", "udp", "ipv4", "ipv6"] {
            let want = tshark::conversations(&file, kind);
            let got = conversations(&analysis["conversations"][kind]);
            assert_eq!(got, want, "{}, {kind}", file.display());
        }
    }
}

fn conversations(list: &Value) -> Conversations {
    let mut table = Conversations::new();
    for row in list.as_array().unwrap() {
        let side = |key: &str| -> Side {
            let side = &row[key];
            let port = side["port"].as_u64().map(|p| p as u16);
            (side["address"].as_str().unwrap().parse().unwrap(), port)
        };
        let number = |key: &str| row[key].as_u64().unwrap();
        let (a, b) = (side("a"), side("b"));
        let ab = (number("packets_ab"), number("bytes_ab"));
        let ba = (number("packets_ba"), number("bytes_ba"));
        assert_eq!((number("packets"), number("bytes")), (ab.0 + ba.0, ab.1 + ba.1), "{row}");
        let (there, back) = if a <= b { (ab, ba) } else { (ba, ab) };
        let traffic = Traffic { packets: there.0, bytes: there.1, packets_back: back.0, bytes_back: back.1 };
        assert!(table.insert((a.min(b), a.max(b)), traffic).is_none(), "{row} is there twice");
    }
    table
}

#[test]
fn the_text_report_fits_a_terminal() {
    for file in collection("own") {
        let text = output(PROGRAM, &["analyze", file.to_str().unwrap()]);
        assert!(text.lines().count() > 10, "{}:\n{text}", file.display());
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{}: wider than 80 columns: {line:?}", file.display());
            assert!(!line.contains('\u{1b}'), "{}: colour where no terminal is: {line:?}", file.display());
        }
    }
}

#[test]
fn the_text_report_answers_who_watched_what() {
    let Some(file) = capture("own/a_rtmp_1pub_3play.pcapng") else { return };
    let text = output(PROGRAM, &["analyze", file.to_str().unwrap()]);
    for word in ["app/teststream", "publisher", "viewer", "39806", "39838", "AAC-LC 44100 Hz stereo"] {
        assert!(text.contains(word), "no {word:?} in\n{text}");
    }
}

#[test]
fn rtsp_sessions_lose_what_a_separate_count_says() {
    // Transport, then of each session: frames of the picture and of the sound, packets lost of each.
    type Row = [(u64, u64, u64, u64)];
    let known: [(&str, &str, &Row); 3] = [
        ("own/c1_rtsp_play_udp.pcapng", "udp", &[(302, 434, 0, 0), (242, 347, 0, 0)]),
        ("own/c2_rtsp_play_tcp_interleaved.pcapng", "interleaved", &[(302, 434, 0, 0), (242, 347, 0, 0)]),
        ("own/p06_rtsp_udp_hevc_aac_loss.pcapng", "udp", &[(196, 367, 4, 8)]),
    ];
    for (name, transport, rows) in known {
        let Some(file) = capture(name) else { continue };
        let analysis = analyze(&file);
        let sessions = analysis["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), rows.len(), "{name}");
        for (session, (pictures, sounds, video_lost, audio_lost)) in sessions.iter().zip(rows) {
            assert_eq!(
                (&session["transport"], &session["role"]),
                (&transport.into(), &VIEW.into()),
                "{name}"
            );
            let (video, audio) = (track(session, "video").unwrap(), track(session, "audio").unwrap());
            assert_eq!(
                (&video["frames"], &audio["frames"]),
                (&(*pictures).into(), &(*sounds).into()),
                "{name}"
            );
            let lost = (&video["lost_packets"], &audio["lost_packets"]);
            assert_eq!(lost, (&(*video_lost).into(), &(*audio_lost).into()), "{name}");
            assert!(video["jitter_ms"].is_f64() && audio["jitter_ms"].is_f64(), "{name}: the SDP has clocks");
        }
    }
}
