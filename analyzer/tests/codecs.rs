//! Every codec that RTMP can name, by tags written by hand: one publisher each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod pcap;

use std::io::Cursor;

use model::{Analysis, TrackKind};
use pcap::{Side, Writer};
use streamgauge_analyzer::{Analyzer, Options};
use wire::amf0::Amf0;
use wire::rtmp::chunk::{Head, write_message};
use wire::rtmp::message::Command;

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;

fn message(type_id: u8, stream_id: u32, timestamp: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_message(&mut out, 128, &Head { csid: 4, timestamp, type_id, stream_id }, &[body]);
    out
}

/// A publisher of these tags on a connection of its own.
fn publish(writer: &mut Writer, port: u16, tags: &[(u8, Vec<u8>)]) {
    let hello = |digit: u8| [vec![0; 8], vec![digit; 1528]].concat();
    let mut tcp = writer.connect(port, 1935);
    writer.send(&mut tcp, Side::Client, &[vec![3], hello(1)].concat());
    writer.send(&mut tcp, Side::Server, &[vec![3], hello(2), hello(1)].concat());
    writer.send(&mut tcp, Side::Client, &hello(2));
    let connect = Command {
        object: Amf0::object([("app", Amf0::text("live"))]),
        ..Command::new("connect", 1.0, Vec::new())
    };
    let name = Amf0::text(port.to_string());
    let publish = Command::new("publish", 0.0, vec![name, Amf0::text("live")]);
    writer.send(&mut tcp, Side::Client, &message(20, 0, 0, &connect.encode()));
    writer.send(&mut tcp, Side::Client, &message(20, 1, 0, &publish.encode()));
    for (n, (kind, body)) in tags.iter().enumerate() {
        let time = u32::try_from(n * 40).unwrap();
        writer.send(&mut tcp, Side::Client, &message(*kind, 1, time, body));
    }
    writer.close(&mut tcp);
}

fn analyze(capture: Vec<u8>) -> Analysis {
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.reader("made.pcap", Cursor::new(capture)).unwrap();
    analyzer.finish()
}

/// Tags, and what the one track of their session is: codec, sampling rate, channels, frames.
type Row = (u8, Vec<Vec<u8>>, Option<&'static str>, Option<u32>, Option<u8>, u64);

fn rows() -> Vec<Row> {
    let video = |first: u8, codec| (VIDEO, vec![vec![first, 0, 0, 0, 0, 9, 9]], codec, None, None, 1);
    // H.264 and H.265 in its layout: an empty configuration says nothing, NAL units are a picture.
    let units =
        |first: u8, codec| (VIDEO, vec![vec![first, 1, 0, 0, 0, 0, 0, 0, 1, 9]], codec, None, None, 1);
    let audio =
        |first: u8, codec, rate, channels| (AUDIO, vec![vec![first, 7, 7, 7, 7]], codec, rate, channels, 1);
    let four = |kind, first: u8, name: &[u8; 4], codec| {
        (kind, vec![[&[first], &name[..], &[9, 9, 9, 9]].concat()], codec, None, None, 1)
    };
    let opus = [&[0x90], &b"OpusOpusHead"[..], &[1, 2, 0, 0, 0x80, 0xbb, 0, 0, 0, 0, 0]].concat();
    vec![
        // FLV 10.1 table E.4.3.1, key pictures; 12 is in no specification, and encoders send it.
        video(0x12, Some("h263")),
        video(0x13, Some("flashsv")),
        video(0x14, Some("vp6")),
        video(0x15, Some("vp6")),
        video(0x16, Some("flashsv2")),
        units(0x17, Some("h264")),
        units(0x1c, Some("h265")),
        // Numbers that nobody gave a meaning are no codec.
        video(0x1f, None),
        // Enhanced RTMP, coded frames (1) without a composition time, and (3) where it would be zero.
        four(VIDEO, 0x91, b"vp08", Some("vp8")),
        four(VIDEO, 0x91, b"vp09", Some("vp9")),
        four(VIDEO, 0x91, b"av01", Some("av1")),
        four(VIDEO, 0x93, b"avc1", Some("h264")),
        four(VIDEO, 0x93, b"hvc1", Some("h265")),
        four(VIDEO, 0x93, b"vvc1", Some("h266")),
        four(VIDEO, 0x91, b"none", None),
        // FLV 10.1 table E.4.2.1: format, rate, size, channels. The flags count for PCM and ADPCM.
        audio(0x06, Some("pcm"), Some(11_025), Some(1)),
        audio(0x3f, Some("pcm"), Some(44_100), Some(2)),
        audio(0x1b, Some("adpcm"), Some(22_050), Some(2)),
        audio(0x4f, Some("nellymoser"), Some(16_000), Some(1)),
        audio(0x5f, Some("nellymoser"), Some(8000), Some(1)),
        audio(0x6a, Some("nellymoser"), Some(22_050), Some(1)),
        audio(0x7e, Some("g711a"), Some(8000), None),
        audio(0x8e, Some("g711u"), Some(8000), None),
        audio(0xbe, Some("speex"), Some(16_000), Some(1)),
        audio(0xff, None, None, None),
        // The headers of MPEG-1 and MPEG-2 layer 3 say their rate and mode themselves.
        (AUDIO, vec![vec![0x2f, 0xff, 0xfb, 0x90, 0xc0]], Some("mp3"), Some(44_100), Some(1), 1),
        (AUDIO, vec![vec![0xef, 0xff, 0xe3, 0x18, 0x00]], Some("mp3"), Some(8000), Some(2), 1),
        (
            AUDIO,
            vec![vec![0xaf, 0, 0x11, 0x90], vec![0xaf, 1, 1, 2, 3]],
            Some("aac"),
            Some(48_000),
            Some(2),
            1,
        ),
        (AUDIO, vec![opus, b"\x91Opus123".to_vec()], Some("opus"), Some(48_000), Some(2), 1),
        four(AUDIO, 0x91, b"fLaC", Some("flac")),
        four(AUDIO, 0x91, b"ac-3", Some("ac3")),
        four(AUDIO, 0x91, b"ec-3", Some("eac3")),
        four(AUDIO, 0x91, b".mp3", Some("mp3")),
        four(AUDIO, 0x91, b"mp4a", Some("aac")),
        four(AUDIO, 0x91, b"none", None),
    ]
}

#[test]
fn every_codec_is_named() {
    let rows = rows();
    let mut writer = Writer::default();
    for (n, (kind, bodies, ..)) in rows.iter().enumerate() {
        let tags: Vec<_> = bodies.iter().map(|body| (*kind, body.clone())).collect();
        publish(&mut writer, 40_000 + u16::try_from(n).unwrap(), &tags);
    }
    let analysis = analyze(writer.finish());
    assert_eq!(analysis.sessions.len(), rows.len());
    for (session, (kind, bodies, codec, rate, channels, frames)) in analysis.sessions.iter().zip(rows) {
        let [track] = session.tracks.as_slice() else { panic!("{bodies:02x?}: {:?}", session.tracks) };
        let audio = if kind == AUDIO { TrackKind::Audio } else { TrackKind::Video };
        let got = (track.kind, track.codec.as_deref(), track.sample_rate, track.channels, track.frames);
        assert_eq!(got, (audio, codec, rate, channels, frames), "{bodies:02x?}");
        let keys = if kind == VIDEO { frames } else { 0 };
        assert_eq!(track.key_frames, keys, "{bodies:02x?}");
    }
}

/// A sender that changes its codec has a track of each, and comes back to the first.
#[test]
fn a_change_of_codec_begins_another_track() {
    let mut writer = Writer::default();
    let speex = (AUDIO, vec![0xb2, 1, 2, 3]);
    let mp3 = (AUDIO, vec![0x2f, 0xff, 0xfb, 0x90, 0xc0]);
    publish(&mut writer, 40_000, &[speex.clone(), mp3, speex]);
    let analysis = analyze(writer.finish());
    let tracks = analysis.sessions[0].tracks.iter().map(|t| (t.codec.as_deref(), t.frames));
    assert_eq!(tracks.collect::<Vec<_>>(), [(Some("speex"), 2), (Some("mp3"), 1)]);
}
