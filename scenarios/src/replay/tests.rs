//! What is put in another way: streams, names, sessions, URLs, channels, times.
#![allow(clippy::arithmetic_side_effects)]

use std::time::Duration;

use analyzer::flow::At;
use analyzer::transcript::{Said, What};
use bytes::Bytes;
use model::Verdict;
use session::rtmp::PlainOutput;
use session::rtsp::{PlainAction, PlainOutput as RtspOutput};
use tokio::time::Instant;
use wire::Cursor;
use wire::amf0::Amf0;
use wire::rtmp::chunk::Head;
use wire::rtmp::message::{Command, Control, UserEvent, kind};
use wire::rtmp::reader::Message;
use wire::rtsp;

use super::drive::{Adapted, Part as _};
use super::end::End;
use super::ledger::{Ledger, Weight};
use super::pace::Pace;
use super::{rtmp as our_rtmp, rtsp as our_rtsp};
use crate::url::StreamUrl;

fn said(from_client: bool, frame: u64, what: What) -> Said {
    Said { from_client, at: At { time_ns: 0, frame, offset: 0, ready_ns: 0 }, what }
}

fn message(stream_id: u32, command: &Command) -> Message {
    let head = Head { csid: 3, type_id: kind::COMMAND_AMF0, stream_id, timestamp: 0 };
    Message { head, payload: command.encode() }
}

fn words(stream: u32, name: &str, transaction: f64, arguments: Vec<Amf0>) -> What {
    let Message { head, payload } = message(stream, &Command::new(name, transaction, arguments));
    What::Rtmp { head, body: payload }
}

fn status(code: &str, level: &str) -> Vec<Amf0> {
    vec![Amf0::object([("code", Amf0::text(code)), ("level", Amf0::text(level))])]
}

/// A session of RTMP that is played again, both sides in the hands of a test.
struct Play {
    part: our_rtmp::Part,
    ledger: Ledger,
    frame: u64,
}

impl Play {
    fn new(url: &str) -> Self {
        let part = our_rtmp::Part::new(Some("app/key"), &StreamUrl::parse(url).unwrap());
        Self { part, ledger: Ledger::of("messages"), frame: 0 }
    }

    fn says(&mut self, what: What) -> Adapted<Message> {
        self.frame += 1;
        self.part.adapt(said(true, self.frame, what), &mut self.ledger)
    }

    #[track_caller]
    fn sends(&mut self, what: What) -> Message {
        match self.says(what) {
            Adapted::Say(message) => message,
            Adapted::LeftOut(why) => panic!("left out: {why}"),
            Adapted::Own => panic!("the protocol's own"),
            Adapted::Impossible(why) => panic!("{why}"),
        }
    }

    #[track_caller]
    fn command(&mut self, what: What) -> (u32, Command) {
        let sent = self.sends(what);
        (sent.head.stream_id, Command::decode(&mut Cursor::new(&sent.payload), false).unwrap().0)
    }

    /// The answers of both servers.
    fn answers(&mut self, stream: u32, then: (&str, f64, Vec<Amf0>), now: (&str, f64, Vec<Amf0>)) {
        let what = words(stream, then.0, then.1, then.2);
        self.part.captured(said(false, self.frame, what), &mut self.ledger);
        let now = message(stream, &Command::new(now.0, now.1, now.2));
        self.part.heard(PlainOutput::Message(now), &mut self.ledger);
    }
}

#[test]
fn names_and_message_streams_of_this_run_take_the_place_of_the_captured_ones() {
    let mut play = Play::new("rtmp://[::1]:1936/live/new?token=x");
    let mut connect = Command::new("connect", 1.0, Vec::new());
    connect.object = Amf0::object([("app", Amf0::text("app")), ("flashVer", Amf0::text("LNX"))]);
    let Message { head, payload } = message(0, &connect);
    let (_, sent) = play.command(What::Rtmp { head, body: payload });
    assert_eq!(sent.object.property_text("app"), Some("live"));
    assert_eq!(sent.object.property_text("tcUrl"), Some("rtmp://[::1]:1936/live"));
    assert_eq!(sent.object.property_text("flashVer"), Some("LNX"));

    play.command(words(0, "createStream", 4.0, vec![]));
    let data =
        What::Rtmp { head: Head { csid: 4, type_id: 8, stream_id: 1, timestamp: 5 }, body: vec![0xaf, 1] };
    assert_eq!(play.part.lacks(&data, &play.ledger).as_deref(), Some("createStream"));
    play.answers(0, ("_result", 4.0, vec![Amf0::Number(1.0)]), ("_result", 4.0, vec![Amf0::Number(7.0)]));
    assert_eq!(play.part.lacks(&data, &play.ledger), None);

    let (stream, sent) =
        play.command(words(1, "publish", 5.0, vec![Amf0::text("key?token=old"), Amf0::text("live")]));
    assert_eq!((stream, sent.arguments[0].as_str()), (7, Some("new?token=x")));
    assert_eq!((sent.transaction, sent.arguments[1].as_str()), (5.0, Some("live")));
    let sent = play.sends(data);
    assert_eq!((sent.head.stream_id, sent.head.timestamp, sent.payload), (7, 5, vec![0xaf, 1]));
    let (kind, body) = Control::User(UserEvent::SetBufferLength(1, 300)).encode();
    let sent = play.sends(What::Rtmp { head: Head { csid: 2, type_id: kind, ..Head::default() }, body });
    let again = Control::decode(&mut Cursor::new(&sent.payload), kind).unwrap();
    assert_eq!(again, Control::User(UserEvent::SetBufferLength(7, 300)));
    let (_, sent) = play.command(words(0, "deleteStream", 6.0, vec![Amf0::Number(1.0)]));
    assert_eq!(sent.arguments[0].as_u32(), Some(7));

    // What the protocol says by itself is said by this run's connection.
    for (control, own) in [(Control::Ack(9), true), (Control::SetChunkSize(60_000), false)] {
        let (type_id, body) = control.encode();
        let what = What::Rtmp { head: Head { csid: 2, type_id, ..Head::default() }, body };
        assert_eq!(matches!(play.says(what), Adapted::Own), own);
    }
}

#[test]
fn a_url_without_a_name_keeps_the_captured_one_and_others_of_the_connection_are_left_out() {
    let mut play = Play::new("rtmp://h/only");
    for n in [1.0, 2.0] {
        play.command(words(0, "createStream", n, vec![]));
        play.answers(0, ("_result", n, vec![Amf0::Number(n)]), ("_result", n, vec![Amf0::Number(n + 10.0)]));
    }
    let (stream, sent) = play.command(words(1, "publish", 3.0, vec![Amf0::text("key")]));
    assert_eq!((stream, sent.arguments[0].as_str()), (11, Some("key")));
    assert!(matches!(play.says(words(2, "publish", 4.0, vec![Amf0::text("another")])), Adapted::LeftOut(_)));
    let media = |stream_id| What::Rtmp {
        head: Head { csid: 4, type_id: 9, stream_id, timestamp: 0 },
        body: vec![0x17, 1],
    };
    assert_eq!(play.sends(media(1)).head.stream_id, 11);
    assert!(matches!(play.says(media(2)), Adapted::LeftOut(_)));
    assert!(matches!(play.says(words(0, "deleteStream", 5.0, vec![Amf0::Number(2.0)])), Adapted::LeftOut(_)));
    let lost = What::Damaged { head: Head { csid: 3, type_id: 20, ..Head::default() }, lost: 3 };
    assert!(matches!(play.says(lost), Adapted::Impossible(why) if why.contains("in frame 8")));
}

#[test]
fn answers_are_compared_by_outcome_and_code() {
    let mut play = Play::new("rtmp://h/live/a");
    play.command(words(0, "connect", 1.0, vec![]));
    let good = status("NetConnection.Connect.Success", "status");
    play.answers(0, ("_result", 1.0, good.clone()), ("_result", 1.0, good));
    play.command(words(0, "FCPublish", 3.0, vec![Amf0::text("key")]));
    play.part.captured(said(false, 1, words(0, "_result", 3.0, vec![])), &mut play.ledger);
    play.command(words(1, "publish", 0.0, vec![Amf0::text("key")]));
    // A server may say this first.
    play.answers(1, ("onStatus", 0.0, status("NetStream.Play.Reset", "status")), ("onStatus", 0.0, vec![]));
    let (start, busy) = ("NetStream.Publish.Start", "NetStream.Publish.BadName");
    play.answers(1, ("onStatus", 0.0, status(start, "status")), ("onStatus", 0.0, status(busy, "error")));
    assert_eq!(play.ledger.refusal().unwrap(), format!("publish was refused: {busy}"));
    assert!(play.ledger.differs());
    assert_eq!(play.ledger.open(Weight::Essential), None);
    assert_eq!(play.ledger.open(Weight::Courtesy), Some("FCPublish"));
    let cases = play.ledger.cases("a.pcap", "rtmp-1", &End::Refused("publish was refused".to_owned()));
    let found: Vec<_> = cases.iter().map(|case| (case.rule.as_str(), case.verdict)).collect();
    assert_eq!(
        found,
        [
            ("replay.connect", Verdict::Pass),
            ("replay.FCPublish", Verdict::Warn),
            ("replay.publish", Verdict::Fail),
            ("replay.whole", Verdict::Fail),
        ]
    );
    let frame = |n: usize| cases[n].evidence.as_ref().unwrap().frame;
    assert_eq!((frame(0), frame(2), frame(3)), (Some(1), Some(3), None));
}

const THEN: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\na=control:*\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:stream=0\r\n\
    m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\na=control:stream=1\r\n";
const NOW: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n\
    m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\na=control:rtsp://new:554/cam/a\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:v\r\n";

/// A session of RTSP that is played again.
struct Watch {
    part: our_rtsp::Part,
    ledger: Ledger,
}

impl Watch {
    fn new() -> Self {
        let url = StreamUrl::parse("rtsp://user:secret@new/cam").unwrap();
        Self { part: our_rtsp::Part::new(&url), ledger: Ledger::of("packets") }
    }

    #[track_caller]
    fn asks(&mut self, head: rtsp::Head, body: &str) -> (rtsp::Head, Vec<u8>) {
        let what = What::Rtsp { head, body: body.as_bytes().to_vec() };
        match self.part.adapt(said(true, 1, what), &mut self.ledger) {
            Adapted::Say(PlainAction::Message(head, body)) => (head, body),
            _ => panic!("no request"),
        }
    }

    fn then(&mut self, head: rtsp::Head, body: &str) {
        let what = What::Rtsp { head, body: body.as_bytes().to_vec() };
        self.part.captured(said(false, 2, what), &mut self.ledger);
    }

    fn now(&mut self, head: rtsp::Head, body: &'static str) {
        self.part.heard(RtspOutput::Answer(head, Bytes::from_static(body.as_bytes())), &mut self.ledger);
    }

    fn packet(&mut self, from_client: bool, channel: u8) -> Option<u8> {
        let what = What::Block { channel, payload: vec![0x80, 96, 0, 1] };
        let said = said(from_client, 3, what);
        if !from_client {
            self.part.captured(said, &mut self.ledger);
            return None;
        }
        match self.part.adapt(said, &mut self.ledger) {
            Adapted::Say(PlainAction::Packet(channel, _)) => Some(channel),
            _ => None,
        }
    }
}

fn ok(cseq: u32) -> rtsp::Head {
    rtsp::Head::response(200).with("CSeq", cseq.to_string())
}

#[test]
fn urls_sessions_and_channels_of_this_run_take_the_place_of_the_captured_ones() {
    let mut watch = Watch::new();
    let url = "rtsp://old:8554/test";
    let describe = rtsp::Head::request("DESCRIBE", url).with("CSeq", "2").with("Authorization", "Basic eDp5");
    let (sent, _) = watch.asks(describe, "");
    assert_eq!(sent.as_request(), Some(("DESCRIBE", "rtsp://new:554/cam")));
    assert_eq!((sent.headers.value("CSeq"), sent.headers.value("Authorization")), (Some("1"), None));
    watch.then(ok(2).with("Content-Base", "rtsp://old:8554/test/"), THEN);
    watch.now(ok(1).with("Content-Base", "rtsp://new:554/cam/"), NOW);

    // The tracks stand in another order there, and the server gives other channels than those asked for.
    let transport = "RTP/AVP/TCP;unicast;interleaved=";
    for (n, (path, want, then, now)) in [
        ("stream=0", "rtsp://new:554/cam/v", "0-1", "4-5"),
        ("stream=1", "rtsp://new:554/cam/a", "2-3", "0-1"),
    ]
    .into_iter()
    .enumerate()
    {
        let n = u32::try_from(n).unwrap();
        let setup = rtsp::Head::request("SETUP", &format!("{url}/{path}"))
            .with("CSeq", (3 + n).to_string())
            .with("Transport", format!("{transport}{then}"))
            .with("Session", "OLD");
        let (sent, _) = watch.asks(setup, "");
        assert_eq!(sent.as_request(), Some(("SETUP", want)));
        // Nobody has one before the first answer.
        assert_eq!(sent.headers.value("Session"), (n > 0).then_some("NEW"));
        watch.then(
            ok(3 + n).with("Session", "OLD;timeout=60").with("Transport", format!("{transport}{then}")),
            "",
        );
        watch.now(ok(2 + n).with("Session", "NEW").with("Transport", format!("{transport}{now}")), "");
    }
    let play = rtsp::Head::request("PLAY", &format!("{url}/")).with("CSeq", "5").with("Session", "OLD");
    let (sent, _) = watch.asks(play, "");
    assert_eq!(sent.as_request(), Some(("PLAY", "rtsp://new:554/cam/")));
    assert_eq!(sent.headers.value("Session"), Some("NEW"));
    watch.then(ok(5), "");
    watch.now(rtsp::Head::response(454).with("CSeq", "4"), "");
    assert!(watch.ledger.refusal().unwrap().starts_with("PLAY was refused: 454"));

    // Receiver reports of the first and the second track.
    assert_eq!(
        (watch.packet(true, 1), watch.packet(true, 3), watch.packet(true, 9)),
        (Some(5), Some(1), None)
    );
    watch.packet(false, 0);
    watch.part.heard(RtspOutput::Packet(4, Bytes::from_static(&[0x80, 96])), &mut watch.ledger);
    watch.part.heard(RtspOutput::Packet(0, Bytes::from_static(&[0x80, 97])), &mut watch.ledger);
    let tracks: Vec<_> = watch.ledger.tracks.iter().collect();
    assert_eq!(tracks, [("audio mpeg4-generic", [0, 1]), ("video h264", [1, 1])]);
    assert!(!watch.part.is_over());
    watch
        .part
        .heard(RtspOutput::Packet(5, Bytes::from_static(&[0x81, 203, 0, 1, 0, 0, 0, 7])), &mut watch.ledger);
    assert!(watch.part.is_over());
}

#[test]
fn what_is_announced_names_this_runs_urls() {
    let mut watch = Watch::new();
    let sdp = THEN.replace("control:stream=1", "control:rtsp://old:8554/live/clip/second");
    let announce = rtsp::Head::request("ANNOUNCE", "rtsp://old:8554/live/clip")
        .with("CSeq", "1")
        .with("Content-Type", "application/sdp")
        .with("Content-Length", "999");
    let (sent, body) = watch.asks(announce, &sdp);
    let body = String::from_utf8(body).unwrap();
    assert!(body.contains("a=control:rtsp://new:554/cam/second\r\n"), "{body}");
    assert_eq!(sent.headers.value("Content-Length"), None);
    for (path, want) in [("stream=0", "stream=0"), ("second", "second")] {
        let setup =
            rtsp::Head::request("SETUP", &format!("rtsp://old:8554/live/clip/{path}")).with("CSeq", "2");
        let (sent, _) = watch.asks(setup, "");
        assert_eq!(sent.as_request().unwrap().1, format!("rtsp://new:554/cam/{want}"));
    }
}

#[test]
fn gaps_stay_as_long_as_they_were_when_an_answer_is_late() {
    let mut pace = Pace::default();
    let (began, second) = (Instant::now(), 1_000_000_000);
    let at = |seconds| began + Duration::from_secs(seconds);
    assert_eq!(pace.due(began, 5 * second), began);
    assert_eq!(pace.due(at(9), 6 * second), at(1));
    // Captured out of order: never before what went out already.
    assert_eq!(pace.due(at(9), 5 * second), at(1));
    // An answer that came in time moves nothing, a late one all that follows.
    pace.waited(at(2), 7 * second);
    assert_eq!(pace.due(at(2), 8 * second), at(3));
    pace.waited(at(10), 8 * second);
    assert_eq!(pace.due(at(10), 9 * second), at(11));
}
