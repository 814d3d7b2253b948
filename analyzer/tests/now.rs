//! What is known of a capture before its end: the sessions that go on there, with what they take at that moment.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use model::{Protocol, Role};
use streamgauge_analyzer::now::{Row, Snapshot, Watch};
use streamgauge_analyzer::track::ongoing::Lost;
use streamgauge_analyzer::{Analyzer, Options};

/// A capture's beginning: so many hundredths of it.
fn beginning(case: &str, hundredths: usize) -> Analyzer {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../captures").join(case);
    let file = ["input.pcap", "input.pcapng"].map(|file| case.join(file)).into_iter().find(|f| f.exists());
    let mut bytes = std::fs::read(file.unwrap()).unwrap();
    bytes.truncate(bytes.len() * hundredths / 100);
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.reader("beginning", Cursor::new(bytes)).unwrap();
    analyzer
}

fn told(row: &Row) -> (Protocol, Role, &str, String) {
    (row.protocol, row.role, row.path.as_deref().unwrap_or_default(), row.codecs.join("+"))
}

/// The bits of the last whole second as the document has them, whose intervals are tenths.
fn last_second(snapshot: &Snapshot, analyzer: Analyzer) -> (f64, f64) {
    let analysis = analyzer.finish();
    assert_eq!(analysis.bandwidth.interval_s, 0.1);
    let end = analysis.captures[0].duration_s as usize;
    let total = model::Bin::expand(&analysis.bandwidth.total_bps, 2000);
    let second = &total[(end - 1) * 10..end * 10];
    (snapshot.bps(), second.iter().sum::<f64>() / 10.0)
}

#[test]
fn sessions_are_told_while_they_go_on() {
    use Protocol::{Hls, Rtmp, Rtsp};
    for (case, hundredths, protocol, roles) in [
        ("ffmpeg-publish-play", 80, Rtmp, &[Role::Publisher, Role::Viewer][..]),
        ("gst-record-udp", 80, Rtsp, &[Role::Publisher]),
        ("ffmpeg-watches-hls", 90, Hls, &[Role::Viewer]),
    ] {
        let analyzer = beginning(case, hundredths);
        let now = analyzer.snapshot();
        let rows: Vec<_> = now.rows.iter().filter(|row| row.protocol == protocol).collect();
        assert_eq!(rows.iter().map(|row| row.role).collect::<Vec<_>>(), roles, "{case}: {now:#?}");
        for row in &rows {
            let (_, _, path, codecs) = told(row);
            assert!(path.contains("live/") && codecs == "h264+aac", "{case}: {row:?}");
            let whole = match row.lost {
                Lost::Packets { lost, sent } => lost == 0 && sent > 50,
                Lost::Bytes(bytes) => bytes == 0,
                Lost::Unknown => protocol == Hls,
            };
            assert!(whole, "{case}: {row:?}");
        }
        assert_eq!((now.sessions(), now.more), (now.rows.len(), 0));
        let (shown, document) = last_second(&now, analyzer);
        // An HLS viewer fetches at times only.
        assert!(
            (protocol == Hls || shown > 0.0) && (shown - document).abs() < 1.0,
            "{case}: {shown} {document}"
        );
    }
}

#[test]
fn sessions_that_ended_are_not_told() {
    let now = beginning("ffmpeg-publish-play", 100).snapshot();
    assert_eq!(now, Snapshot::default());
}

#[test]
fn a_question_is_answered_once() {
    let watch = Arc::new(Watch::default());
    assert_eq!(watch.ask(), None);
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.watched(Arc::clone(&watch));
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../captures/ffmpeg-publish-play/input.pcap");
    analyzer.file(&case).unwrap();
    // As it was at the first packet.
    assert_eq!(watch.ask(), Some(Snapshot::default()));
    assert_eq!(watch.ask(), None);
}
