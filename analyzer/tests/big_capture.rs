//! A capture whose content is known from its making: 15 sessions, every message of them counted. `ci/bench big` does the same
//! with 700 MB.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod big;

use std::io::Cursor;

use big::{Plan, Session};
use model::{Role, TrackKind};
use streamgauge_analyzer::{Analyzer, Options};

#[test]
fn every_message_of_every_session_is_counted() {
    let mut file = Vec::new();
    let truth = big::write(&Plan::SMALL, &mut file).unwrap();
    assert!(file.len() > 18_000_000 && truth.sessions.len() == 15, "{} bytes", file.len());
    assert!(truth.sessions.iter().all(|s| s.sounds > 0 && s.key_frames > 1 && s.late > 0));
    assert!(truth.sessions.iter().any(|s| s.repeated > 0));
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.reader("big.pcap", Cursor::new(file)).unwrap();
    let (analysis, cases) = analyzer.judge();
    let capture = &analysis.captures[0];
    assert_eq!((capture.packets, capture.bytes), (truth.packets, truth.bytes));
    let found: Vec<Session> = analysis
        .sessions
        .iter()
        .map(|s| {
            let track = |kind| s.tracks.iter().find(|t| t.kind == kind).unwrap();
            let (video, audio) = (track(TrackKind::Video), track(TrackKind::Audio));
            assert!(s.complete, "{}", s.id);
            Session {
                publishes: s.role == Role::Publisher,
                path: s.path.clone().unwrap(),
                port: s.client.port.unwrap(),
                bytes: (s.bytes_to_server, s.bytes_to_client),
                repeated: s.retransmitted_bytes.unwrap(),
                // Not told of a session.
                late: truth.sessions.iter().find(|t| Some(t.port) == s.client.port).unwrap().late,
                pictures: video.frames,
                key_frames: video.key_frames,
                sounds: audio.frames,
            }
        })
        .collect();
    assert_eq!(found, truth.sessions);
    let told: Vec<_> = analysis.findings.iter().map(|f| (&f.rule, &f.message)).collect();
    assert!(told.is_empty(), "{told:?}");
    assert!(cases.iter().all(|c| !matches!(c.verdict, model::Verdict::Fail | model::Verdict::Warn)));
}
