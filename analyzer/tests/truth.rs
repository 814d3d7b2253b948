//! Sessions and codecs of real captures against the files in which another program counted them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use model::{Analysis, Role, Session, Track, TrackKind};
use serde_json::Value;
use streamgauge_analyzer::capture::Reader;
use streamgauge_analyzer::dissect::{Dissector, Place, Row, Trees, Wants, render};
use streamgauge_analyzer::{Analyzer, Options};

/// A file beside the project; none, with the reason printed, where it is not there.
fn beside(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures").join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

fn analyze(path: &PathBuf) -> Analysis {
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.file(path).unwrap();
    analyzer.finish()
}

/// The number behind a label.
fn number(text: &str, label: &str) -> Option<u64> {
    let (_, rest) = text.split_once(label)?;
    let rest = rest.trim_start();
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

/// The `n`th text in quotes of an AMF line.
fn quoted(line: &str, n: usize) -> &str {
    line.split('\'').nth(2 * n + 1).unwrap()
}

/// The kinds of media messages of a line: what each is, and how many.
fn kinds(line: &str) -> Vec<(&str, u64)> {
    // Between them are semicolons where the line says more before them, commas between the kinds themselves.
    let list = line.rsplit_once("; ").unwrap().1;
    let kinds = list.split(", ").filter_map(|kind| kind.rsplit_once(": "));
    kinds.map(|(kind, count)| (kind, count.parse().unwrap())).collect()
}

/// True where a message of this kind holds no picture and no sound.
fn is_no_frame(kind: &str) -> bool {
    ["SEQUENCE HEADER", "SequenceStart", "Metadata"].iter().any(|word| kind.contains(word))
}

/// True where it is a key frame.
fn is_key(kind: &str) -> bool {
    kind.contains(" key") && !kind.contains("END OF")
        || kind.contains("CodedFrames") && kind.contains("type 1")
}

/// The codec that a kind of message names.
fn codec(kind: &str) -> &'static str {
    let names = [
        ("AVC", "h264"),
        ("hvc1", "h265"),
        ("H.263", "h263"),
        ("VP6", "vp6"),
        ("AAC", "aac"),
        ("MP3", "mp3"),
    ];
    names.iter().find(|(word, _)| kind.contains(word)).unwrap().1
}

fn compare_track(place: &str, line: &str, config: Option<&str>, track: &Track) {
    let kinds = kinds(line);
    let sum = |which: fn(&str) -> bool| kinds.iter().filter(|(k, _)| which(k)).map(|(_, n)| n).sum::<u64>();
    assert_eq!(number(line, "messages,"), Some(track.bytes), "{place}: body bytes of {line}");
    assert_eq!(sum(|k| !is_no_frame(k)), track.frames, "{place}: {line}");
    assert_eq!(track.codec.as_deref(), Some(codec(kinds[0].0)), "{place}: {line}");
    if track.kind == TrackKind::Video {
        assert_eq!(sum(|k| is_key(k) && !is_no_frame(k)), track.key_frames, "{place}: {line}");
        return;
    }
    let Some(config) = config else { return };
    const RATES: [u32; 13] =
        [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350];
    let said = |label| number(config, label).unwrap();
    let rate = RATES[usize::try_from(said("frequency index")).unwrap()];
    let (object, channels) = (said("object type"), said("channel configuration"));
    match (object, track.profile.as_deref()) {
        (42, Some("xHE-AAC")) | (2, Some("LC")) => {
            let got = (track.sample_rate, track.channels.map(u64::from));
            assert_eq!(got, (Some(rate), Some(channels)), "{place}: {config}");
        }
        // Only the frames show SBR, which doubles the rate, and PS, which makes two channels of one.
        (2, Some("HE-AAC" | "HE-AACv2")) => {
            assert_eq!((track.sample_rate, track.channels), (Some(2 * rate), Some(2)), "{place}: {config}");
            assert_eq!(track.profile.as_deref() == Some("HE-AACv2"), channels == 1, "{place}: {config}");
        }
        other => panic!("{place}: {other:?} for {config}"),
    }
}

fn compare(place: &str, part: &str, session: &Session) {
    let lines: Vec<&str> = part.lines().map(str::trim).collect();
    let commands: Vec<&str> = lines.iter().copied().filter(|l| l.starts_with("AMF type 20")).collect();
    let command = |name: &str| commands.iter().find(|l| quoted(l, 0) == name).copied();
    let (role, start) = match (command("publish"), command("play")) {
        (Some(publish), _) => (Role::Publisher, publish),
        (_, Some(play)) => (Role::Viewer, play),
        _ => panic!("{place}: neither published nor played"),
    };
    let connect = command("connect").unwrap();
    let app = connect.split_once("'app': '").unwrap().1.split_once('\'').unwrap().0;
    let path = format!("{app}/{}", quoted(start, 1));
    assert_eq!((session.role, session.path.as_deref()), (role, Some(path.as_str())), "{place}");
    let agent = connect.split_once("'flashVer': '").unwrap().1.split_once('\'').unwrap().0;
    assert_eq!(session.agent.as_deref(), Some(agent), "{place}");
    let (up, down) = lines[0].split_once("stream bytes ").unwrap().1.split_once(" / ").unwrap();
    let down = &down[..down.find(',').unwrap()];
    let bytes = (session.bytes_to_server.to_string(), session.bytes_to_client.to_string());
    assert_eq!(bytes, (up.to_owned(), down.to_owned()), "{place}");
    for (label, kind) in [("video: ", TrackKind::Video), ("audio: ", TrackKind::Audio)] {
        let at = lines.iter().position(|l| l.starts_with(label));
        let track = session.tracks.iter().find(|t| t.kind == kind);
        assert_eq!(at.is_some(), track.is_some(), "{place}: {label}");
        let (Some(at), Some(track)) = (at, track) else { continue };
        let config = lines.get(at + 1).copied().filter(|l| l.contains("AudioSpecificConfig"));
        compare_track(place, lines[at], config, track);
    }
}

#[test]
fn sessions_are_those_of_the_truth_files() {
    let Some(own) = beside("own") else { return };
    let mut compared = 0;
    for entry in fs::read_dir(own).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(stem) = name.strip_suffix(".truth.txt") else { continue };
        let truth = fs::read_to_string(beside(&format!("own/{name}")).unwrap()).unwrap();
        if !truth.contains("version byte 3") {
            continue;
        }
        let analysis = analyze(&beside(&format!("own/{stem}.pcapng")).unwrap());
        let parts: Vec<&str> = truth.split("\nTCP connection ").skip(1).collect();
        assert_eq!(parts.len(), analysis.sessions.len(), "{stem}");
        for (part, session) in parts.iter().zip(&analysis.sessions) {
            compare(&format!("{stem}, {}", session.id), part, session);
            compared += 1;
        }
    }
    assert!(compared >= 18, "{compared} sessions");
}

/// The counts that the notes beside the captures have for those without a truth file.
#[test]
fn sessions_are_those_of_the_notes() {
    let Some(notes) = beside("README.md") else { return };
    let notes = fs::read_to_string(notes).unwrap();
    let row = |name: &str| notes.lines().find(|l| l.contains(name)).unwrap();
    for (name, video, audio, keys) in [
        ("own/a_rtmp_1pub_3play.pcapng", "Video messages", "audio", Some("key frames")),
        ("own/e_rtmp_chunk60000_port1936.pcapng", "video", "audio", None),
    ] {
        let analysis = analyze(&beside(name).unwrap());
        let line = row(name);
        let sum = |kind, of: fn(&Track) -> u64| -> u64 {
            analysis.sessions.iter().flat_map(|s| &s.tracks).filter(|t| t.kind == kind).map(of).sum()
        };
        // Each stream has one message with its configuration, which is no frame.
        let sessions = u64::try_from(analysis.sessions.len()).unwrap();
        assert_eq!(
            number(line, &format!("{video} ")),
            Some(sum(TrackKind::Video, |t| t.frames) + sessions),
            "{name}"
        );
        assert_eq!(
            number(line, &format!("{audio} ")),
            Some(sum(TrackKind::Audio, |t| t.frames) + sessions),
            "{name}"
        );
        if let Some(keys) = keys {
            // The notes count the configurations and the end of the sequence as key frames, as their header bits do.
            let want = sum(TrackKind::Video, |t| t.key_frames + t.end_of_sequence) + sessions;
            assert_eq!(number(line, &format!("{keys} ")), Some(want), "{name}");
        }
    }
}

/// The facts of a capture's packets under this name, in the order of the packets.
fn facts(name: &str, fact: &str) -> Vec<Value> {
    let mut reader = Reader::open(beside(name).unwrap()).unwrap();
    let mut dissector = Dissector::new(Wants { trees: Trees::None, facts: true });
    let mut found = Vec::new();
    let mut take = |row: &Row<'_>| {
        let mut text = String::new();
        render::json(row, None, &mut text);
        let row: Value = serde_json::from_str(&text).unwrap();
        found.extend(row["facts"][fact].as_array().into_iter().flatten().cloned());
    };
    while let Some(packet) = reader.next() {
        dissector.packet(Place::default(), packet.as_ref().unwrap(), &mut take);
    }
    dissector.finish(&mut take);
    found
}

/// What the notes say of the captures that were built by hand, and no count stands beside.
#[test]
fn captures_built_by_hand_are_those_of_the_notes() {
    let Some(notes) = beside("README.md") else { return };
    let notes = fs::read_to_string(notes).unwrap();
    let inside = |name: &str| notes.lines().find(|l| l.contains(name)).unwrap().split('|').nth(2).unwrap();

    let list = inside("own/s3_csid.pcap").split_once("ids ").unwrap().1;
    let list = list.split(" in their").next().unwrap();
    let want: Vec<u64> = list.split(", ").map(|id| id.trim().parse().unwrap()).collect();
    assert!(want.len() > 4 && want.iter().any(|id| *id > 319), "{want:?}");
    let got: BTreeSet<u64> =
        facts("own/s3_csid.pcap", "rtmp.csid").iter().map(|id| id.as_u64().unwrap()).collect();
    // Commands and control messages have chunk streams of their own below 63.
    assert_eq!(got.iter().copied().filter(|id| *id >= 63).collect::<Vec<_>>(), want);

    let row = inside("own/s1_ertmp_codecs.pcap");
    let analysis = analyze(&beside("own/s1_ertmp_codecs.pcap").unwrap());
    let tracks = &analysis.sessions[0].tracks;
    let codecs: BTreeSet<&str> = tracks.iter().filter_map(|t| t.codec.as_deref()).collect();
    for (word, codec) in [("Speex", "speex"), ("AudioSpecificConfig", "aac"), ("Opus", "opus")] {
        assert!(row.contains(word) && codecs.contains(codec), "{word}: {codecs:?}");
    }
    // One track of each kind is what streams without multitrack have.
    assert!(row.contains("multitrack") && tracks.len() > codecs.len(), "{tracks:?}");
    // A message of which ModEx is not read names no codec.
    assert!(row.contains("ModEx") && tracks.iter().all(|t| t.codec.is_some()), "{tracks:?}");

    let row = inside("own/s8_aggregate_amf3.pcap");
    let types: Vec<String> =
        facts("own/s8_aggregate_amf3.pcap", "rtmp.type").iter().map(Value::to_string).collect();
    let told = |name: &str| types.iter().any(|t| t.contains(name));
    assert!(row.contains("Aggregate") && told("aggregate"), "{types:?}");
    assert!(row.contains("AMF3 command") && told("amf3"), "{types:?}");
}

/// One request or answer that tshark lists, with its columns.
struct Line<'a> {
    stream: u64,
    method: &'a str,
    url: &'a str,
    transport: &'a str,
}

fn lines_of(truth: &str) -> Vec<Line<'_>> {
    let rows =
        truth.lines().take_while(|line| !line.starts_with("# SDP")).filter(|line| !line.starts_with('#'));
    let columns = rows.map(|row| row.split('\t').collect::<Vec<_>>()).filter(|columns| columns.len() > 6);
    columns
        .map(|c| Line { stream: c[1].parse().unwrap(), method: c[2], url: c[4], transport: c[6] })
        .collect()
}

/// RTSP sessions of captures made by others, against what tshark lists of them.
#[test]
fn rtsp_sessions_are_those_of_the_lists() {
    let Some(dir) = beside("others/truth") else { return };
    let mut compared = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(capture) = name.strip_suffix(".rtsp.txt").filter(|c| !c.ends_with(".erf")) else { continue };
        let truth = fs::read_to_string(beside(&format!("others/truth/{name}")).unwrap()).unwrap();
        let lines = lines_of(&truth);
        let analysis = analyze(&beside(&format!("others/{capture}")).unwrap());
        let sessions: Vec<&Session> =
            analysis.sessions.iter().filter(|s| s.protocol == model::Protocol::Rtsp).collect();
        let streams: BTreeSet<u64> = lines.iter().map(|line| line.stream).collect();
        assert_eq!(sessions.len(), streams.len(), "{capture}: one session a connection");
        let described: Vec<&str> = truth
            .lines()
            .skip_while(|line| !line.starts_with("# SDP"))
            .skip(1)
            .flat_map(|line| line.split('\t').nth(1).unwrap_or_default().split('|'))
            .filter(|media| !media.is_empty())
            .collect();
        for (stream, session) in streams.iter().zip(&sessions) {
            let place = format!("{capture}, {}", session.id);
            let mine: Vec<&Line<'_>> = lines.iter().filter(|line| line.stream == *stream).collect();
            let plays = mine.iter().any(|line| line.method == "PLAY");
            assert_eq!(session.role, if plays { Role::Viewer } else { Role::Control }, "{place}");
            let url = mine.iter().map(|line| line.url).find(|url| !url.is_empty()).unwrap();
            let path = url.splitn(4, '/').nth(3).unwrap();
            assert_eq!(session.path.as_deref(), Some(path), "{place}");
            let set_up = mine.iter().filter(|line| line.method == "SETUP").count();
            let over_udp = mine.iter().any(|line| line.transport.contains("client_port"));
            assert_eq!(session.transport == model::Transport::Udp, over_udp, "{place}");
            if plays {
                assert_eq!((session.tracks.len(), described.len()), (set_up, set_up), "{place}");
                for (track, media) in session.tracks.iter().zip(&described) {
                    let kind = if track.kind == TrackKind::Video { "video" } else { "audio" };
                    assert!(media.starts_with(kind) && track.codec.is_some(), "{place}: {media}");
                }
            }
            compared += 1;
        }
    }
    assert!(compared >= 9, "{compared} sessions");
}
