//! A client and a server endpoint talk on virtual time, over a wire that cuts bytes anywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects)]

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use session::Time;
use session::rtmp::{
    Action, Client, ClientConfig, ClientRole, Event, Input, MediaKind, Output, Reason, Refusal, Server,
    ServerConfig,
};
use streamgauge_session as session;
use wire::amf0::Amf0;
use wire::rtmp::chunk::{Head, write_message};
use wire::rtmp::handshake;
use wire::rtmp::message::Command;

/// Both ends and what came out of them.
struct Pair {
    client: Client,
    server: Server,
    now: Time,
    cut: usize,
    client_events: Vec<Event>,
    server_events: Vec<Event>,
    closed: Vec<(&'static str, Reason)>,
    answer: Option<Refusal>,
}

impl Pair {
    fn new(role: ClientRole, path: &str, cut: usize) -> Self {
        let now = Time::from_millis(5000);
        let config = ClientConfig::new(role, "example.org:1935", path, "test/1");
        Self {
            client: Client::new(config, 1, now),
            server: Server::new(ServerConfig::default(), 2, now),
            now,
            cut,
            client_events: Vec::new(),
            server_events: Vec::new(),
            closed: Vec::new(),
            answer: None,
        }
    }

    /// Carries bytes both ways until nobody has more to say; publish and play are accepted or refused.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            let mut to_server = Vec::new();
            while let Some(output) = self.client.poll() {
                quiet = false;
                match output {
                    Output::Send(bytes) => to_server.extend_from_slice(&bytes),
                    Output::Event(event) => self.client_events.push(event),
                    Output::Close(reason) => self.closed.push(("client", reason)),
                    Output::WakeAt(_) => {}
                }
            }
            for piece in to_server.chunks(self.cut) {
                self.server.handle(self.now, Input::Bytes(piece));
            }
            let mut to_client = Vec::new();
            while let Some(output) = self.server.poll() {
                quiet = false;
                match output {
                    Output::Send(bytes) => to_client.extend_from_slice(&bytes),
                    Output::Event(event) => {
                        if let Event::Publish { stream, .. } | Event::Play { stream, .. } = event {
                            let action = match self.answer.clone() {
                                None => Action::Accept { stream },
                                Some(why) => Action::Refuse { stream, why },
                            };
                            self.server.handle(self.now, Input::Do(action));
                        }
                        self.server_events.push(event);
                    }
                    Output::Close(reason) => self.closed.push(("server", reason)),
                    Output::WakeAt(_) => {}
                }
            }
            for piece in to_client.chunks(self.cut) {
                self.client.handle(self.now, Input::Bytes(piece));
            }
            if quiet {
                return;
            }
        }
    }

    fn do_client(&mut self, action: Action) {
        self.client.handle(self.now, Input::Do(action));
        self.settle();
    }
}

fn media(timestamp: u32, n: usize) -> Action {
    Action::Media { kind: MediaKind::Video, timestamp, payload: Bytes::from(vec![0x27; n]) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_publisher_is_heard_whatever_the_cuts(cut in 1usize..4000, sizes in prop::collection::vec(1usize..40_000, 1..6)) {
        let mut pair = Pair::new(ClientRole::Publish, "live/cam%20era?token=x", cut);
        pair.settle();
        let publish = Event::Publish { stream: 1, path: "live/cam era".into(), query: "token=x".into() };
        prop_assert!(pair.server_events.contains(&publish), "{:?}", pair.server_events);
        let started = pair.client_events.contains(&Event::Started { stream: 1 });
        prop_assert!(started);
        let times = [0u32, 0xff_fffe, 0xff_ffff, 0x0100_0000, 0xffff_fff0, 16];
        for (size, time) in sizes.iter().zip(times) {
            pair.do_client(media(time, *size));
        }
        let heard: Vec<_> = pair.server_events.iter().filter_map(|e| match e {
            Event::Media { timestamp, payload, kind: MediaKind::Video, .. } => Some((payload.len(), *timestamp)),
            _ => None,
        }).collect();
        prop_assert_eq!(heard, sizes.iter().copied().zip(times).collect::<Vec<_>>());
        pair.do_client(Action::Finish);
        let stopped = pair.server_events.contains(&Event::Stopped { stream: 1 });
        prop_assert!(stopped);
        prop_assert_eq!(&pair.closed, &[("client", Reason::Done)]);
        prop_assert_eq!(pair.server.open_bytes(), 0);
    }

    #[test]
    fn random_bytes_after_the_handshake_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let mut server = Server::new(ServerConfig::default(), 2, Time::default());
        server.handle(Time::default(), Input::Bytes(&hello()));
        server.handle(Time::default(), Input::Bytes(&bytes));
        while server.poll().is_some() {}
        prop_assert!(server.open_bytes() <= bytes.len());
    }
}

/// C0, C1 and C2.
fn hello() -> Vec<u8> {
    let mut bytes = vec![3];
    handshake::write_hello(&mut bytes, 0, 9);
    bytes.extend([0; handshake::PACKET]);
    bytes
}

fn outputs(server: &mut Server) -> Vec<Output> {
    std::iter::from_fn(|| server.poll()).collect()
}

fn close_reason(server: &mut Server) -> Option<Reason> {
    outputs(server).into_iter().find_map(|o| if let Output::Close(reason) = o { Some(reason) } else { None })
}

#[test]
fn metadata_arrives_without_its_wrapper() {
    let mut pair = Pair::new(ClientRole::Publish, "live/cam", 9999);
    pair.settle();
    let payload: Bytes =
        wire::amf0::encode_all(&[Amf0::text("onMetaData"), Amf0::object([("width", Amf0::Number(640.0))])])
            .into();
    pair.do_client(Action::Metadata(payload.clone()));
    assert!(pair.server_events.contains(&Event::Metadata { stream: 1, payload }));
}

#[test]
fn a_player_is_attached_and_told_of_the_end_in_both_ways() {
    let mut pair = Pair::new(ClientRole::Play, "live/cam", 100);
    pair.settle();
    assert!(pair.server_events.contains(&Event::Attach { stream: 1 }));
    assert!(pair.client_events.contains(&Event::Started { stream: 1 }));
    pair.server.handle(pair.now, Input::Do(Action::EndOfStream { stream: 1 }));
    pair.settle();
    let ends = pair.client_events.iter().filter(|e| matches!(e, Event::Ended { stream: 1 })).count();
    assert_eq!(ends, 2, "Stream EOF and UnpublishNotify");
    pair.server.handle(pair.now, Input::Do(Action::StreamBegan { stream: 1 }));
    pair.settle();
    let back = |e: &Event| matches!(e, Event::Status { code, .. } if code == "NetStream.Play.PublishNotify");
    assert!(pair.client_events.iter().any(back));
    assert!(pair.closed.is_empty());
}

#[test]
fn a_busy_name_is_refused_with_its_code_and_then_closed() {
    let mut pair = Pair::new(ClientRole::Publish, "live/cam", 512);
    pair.answer = Some(Refusal::NameBusy);
    pair.settle();
    assert_eq!(pair.closed[0].0, "server");
    assert!(matches!(&pair.closed[1].1, Reason::Refused(code) if code == "NetStream.Publish.BadName"));
}

#[test]
fn a_path_that_leaves_its_place_is_refused() {
    let mut pair = Pair::new(ClientRole::Play, "live/..", 512);
    pair.settle();
    let refused = |e: &Event| matches!(e, Event::Status { code, .. } if code == "NetStream.Play.Failed");
    assert!(pair.client_events.iter().any(refused), "{:?}", pair.client_events);
    assert!(!pair.server_events.iter().any(|e| matches!(e, Event::Play { .. })));
}

#[test]
fn silence_ends_in_a_timeout_that_names_the_phase() {
    let start = Time::from_millis(1000);
    let after = |s| start.after(Duration::from_secs(s));
    let mut server = Server::new(ServerConfig::default(), 1, start);
    assert_eq!(outputs(&mut server), [Output::WakeAt(after(10))]);
    server.handle(after(9), Input::Bytes(&hello()[..700]));
    server.handle(after(10), Input::Tick);
    assert_eq!(close_reason(&mut server), Some(Reason::Timeout("no whole handshake")));

    let mut server = Server::new(ServerConfig::default(), 1, start);
    server.handle(after(1), Input::Bytes(&hello()));
    server.handle(after(10), Input::Tick);
    assert!(outputs(&mut server).contains(&Output::WakeAt(after(31))));
    server.handle(after(31), Input::Tick);
    assert_eq!(close_reason(&mut server), Some(Reason::Timeout("no publish and no play")));
}

#[test]
fn a_publisher_that_falls_silent_is_let_go_and_one_that_speaks_is_not() {
    let mut pair = Pair::new(ClientRole::Publish, "live/cam", 9999);
    pair.settle();
    for second in 1..100u32 {
        pair.now = Time::from_millis(5000 + u64::from(second) * 1000);
        pair.do_client(media(second * 1000, 10));
        pair.server.handle(pair.now, Input::Tick);
        pair.settle();
    }
    assert!(pair.closed.is_empty());
    let late = pair.now.after(Duration::from_secs(30));
    pair.server.handle(late, Input::Tick);
    assert_eq!(close_reason(&mut pair.server), Some(Reason::Timeout("the publisher fell silent")));
}

#[test]
fn bytes_are_acknowledged_once_a_window() {
    let mut pair = Pair::new(ClientRole::Publish, "live/cam", 9999);
    pair.settle();
    let sent: usize = (0..100u32)
        .map(|i| {
            pair.do_client(media(i, 100_000));
            100_000
        })
        .sum();
    // The server may lag by one window at most.
    let acked = pair.client.acknowledged().expect("an acknowledgement came") as usize;
    assert!(acked <= sent + 10_000 && acked + 2_500_000 >= sent, "{acked} of {sent}");
}

#[test]
fn http_on_the_port_is_refused_at_its_first_byte() {
    let mut server = Server::new(ServerConfig::default(), 1, Time::default());
    server.handle(Time::default(), Input::Bytes(b"GET / HTTP/1.1\r\n\r\n"));
    let reason = close_reason(&mut server).unwrap();
    assert_eq!(reason.to_string(), "protocol error at byte 0: version: want RTMP version 3, got 71 (0x47)");
}

#[test]
fn sixteen_megabytes_before_a_publish_are_refused_at_the_header() {
    let mut server = Server::new(ServerConfig::default(), 1, Time::default());
    let mut bytes = hello();
    bytes.extend([0x03, 0, 0, 0, 0xff, 0xff, 0xff, 20, 0, 0, 0, 0]);
    server.handle(Time::default(), Input::Bytes(&bytes));
    let text = close_reason(&mut server).unwrap().to_string();
    let want =
        "protocol error at byte 3073: message length in chunk header: 16777215 is above the limit of 65536";
    assert_eq!(text, want);
    assert_eq!(server.open_bytes(), 0);
}

#[test]
fn streams_are_counted_and_media_without_publish_is_not_taken() {
    let mut server = Server::new(ServerConfig::default(), 1, Time::default());
    let mut bytes = hello();
    let mut connect = Command::new("connect", 1.0, vec![]);
    connect.object = Amf0::object([("app", Amf0::text("live"))]);
    let head = Head { csid: 3, type_id: 20, ..Head::default() };
    write_message(&mut bytes, 128, &head, &[&connect.encode()]);
    for i in 0..20u32 {
        let create = Command::new("createStream", f64::from(i + 2), vec![]);
        write_message(&mut bytes, 128, &head, &[&create.encode()]);
    }
    let video = Head { csid: 6, type_id: 9, stream_id: 1, timestamp: 0 };
    write_message(&mut bytes, 128, &video, &[&[0x17, 1, 0, 0, 0, 1]]);
    server.handle(Time::default(), Input::Bytes(&bytes));
    let all = outputs(&mut server);
    let sent: Vec<u8> =
        all.iter().flat_map(|o| if let Output::Send(b) = o { b.to_vec() } else { vec![] }).collect();
    let text = String::from_utf8_lossy(&sent);
    assert_eq!(text.matches("A connection has at most 16 streams.").count(), 4);
    assert!(all.iter().any(|o| matches!(o, Output::Event(Event::Misbehaved(_)))));
    assert!(!all.iter().any(|o| matches!(o, Output::Event(Event::Media { .. }))));
    assert!(!all.iter().any(|o| matches!(o, Output::Close(_))));
}

/// A server with a viewer on message stream 1.
fn playing() -> Server {
    let mut server = Server::new(ServerConfig::default(), 1, Time::default());
    let mut bytes = hello();
    let command = Head { csid: 3, type_id: 20, ..Head::default() };
    let mut connect = Command::new("connect", 1.0, vec![]);
    connect.object = Amf0::object([("app", Amf0::text("live"))]);
    write_message(&mut bytes, 128, &command, &[&connect.encode()]);
    write_message(&mut bytes, 128, &command, &[&Command::new("createStream", 2.0, vec![]).encode()]);
    let play = Command::new("play", 0.0, vec![Amf0::text("cam")]);
    write_message(&mut bytes, 128, &Head { stream_id: 1, ..command }, &[&play.encode()]);
    server.handle(Time::default(), Input::Bytes(&bytes));
    server.handle(Time::default(), Input::Do(Action::Accept { stream: 1 }));
    outputs(&mut server);
    server
}

/// The viewer says something: the codes that it is answered with, and what the driver is told.
fn says(server: &mut Server, name: &str, arguments: Vec<Amf0>) -> (String, Vec<Event>) {
    let mut bytes = Vec::new();
    let head = Head { csid: 3, type_id: 20, stream_id: 1, ..Head::default() };
    write_message(&mut bytes, 128, &head, &[&Command::new(name, 0.0, arguments).encode()]);
    server.handle(Time::default(), Input::Bytes(&bytes));
    let (mut said, mut events) = (Vec::new(), Vec::new());
    for output in outputs(server) {
        match output {
            Output::Send(bytes) => said.extend_from_slice(&bytes),
            Output::Event(event) => events.push(event),
            _ => {}
        }
    }
    let said = String::from_utf8_lossy(&said).into_owned();
    let words = said.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    (words.filter(|word| word.starts_with("NetStream.")).collect::<Vec<_>>().join(" "), events)
}

#[test]
fn a_viewer_pauses_and_goes_on() {
    let mut server = playing();
    for (paused, code) in [(true, "Pause"), (false, "Unpause"), (false, "Unpause")] {
        let (codes, events) = says(&mut server, "pause", vec![Amf0::Boolean(paused), Amf0::Number(1000.0)]);
        assert_eq!(codes, format!("NetStream.{code}.Notify"));
        assert_eq!(events, [Event::Paused { stream: 1, paused }]);
    }
    assert_eq!(says(&mut server, "seek", vec![Amf0::Number(0.0)]), ("NetStream.Seek.Failed".into(), vec![]));
    says(&mut server, "closeStream", vec![]);
    let (codes, events) = says(&mut server, "pause", vec![Amf0::Boolean(true)]);
    assert_eq!((codes.as_str(), events), ("NetStream.Failed", vec![]), "nothing plays any more");
}

#[test]
fn a_viewer_does_without_a_medium_and_wants_it_again() {
    let mut server = playing();
    for (name, kind) in [("receiveVideo", MediaKind::Video), ("receiveAudio", MediaKind::Audio)] {
        let mut ask = |wanted| says(&mut server, name, vec![Amf0::Boolean(wanted)]);
        assert_eq!(ask(true), (String::new(), vec![]), "nothing changes");
        assert_eq!(ask(false), (String::new(), vec![Event::Receive { stream: 1, kind, wanted: false }]));
        assert_eq!(ask(false), (String::new(), vec![]));
        let (codes, events) = ask(true);
        assert_eq!(codes, "NetStream.Seek.Notify NetStream.Play.Start");
        assert_eq!(events, [Event::Receive { stream: 1, kind, wanted: true }]);
    }
}

/// Who keeps one part of an Aggregate must not keep all of it: no two of them may be of one piece of memory.
#[test]
fn parts_of_an_aggregate_have_memory_of_their_own() {
    let mut pair = Pair::new(ClientRole::Publish, "live/cam", 9999);
    pair.settle();
    let part = |kind: u8, time: u8, payload: &[u8]| {
        let size = u8::try_from(payload.len()).unwrap();
        [&[kind, 0, 0, size, 0, 0, time, 0, 0, 0, 0][..], payload, &[0, 0, 0, size + 11]].concat()
    };
    let (sound, picture) = ([0xaf, 1, 0x21, 0x10], [&[0x17, 1, 0, 0, 0][..], &[7; 200]].concat());
    let data = wire::amf0::encode_all(&[Amf0::text("onTextData"), Amf0::text("one")]);
    let aggregate =
        [part(8, 40, &sound), part(9, 50, &picture), part(18, 55, &data), part(8, 60, &sound)].concat();
    let mut bytes = Vec::new();
    let head = Head { csid: 6, type_id: 22, stream_id: 1, timestamp: 1000 };
    write_message(&mut bytes, 4096, &head, &[&aggregate]);
    pair.server_events.clear();
    pair.server.handle(pair.now, Input::Bytes(&bytes));
    pair.settle();
    let parts = pair.server_events.iter().map(|event| match event {
        Event::Media { timestamp, payload, .. } | Event::Data { timestamp, payload, .. } => {
            (*timestamp, payload.to_vec(), payload.is_unique())
        }
        other => panic!("{other:?}"),
    });
    let [sound, picture, data] = [&sound[..], &picture, &data].map(<[u8]>::to_vec);
    let want = [(1000, sound.clone(), true), (1010, picture, true), (1015, data, true), (1020, sound, true)];
    assert_eq!(parts.collect::<Vec<_>>(), want);
}

#[test]
fn data_messages_are_passed_on_with_their_times_and_without_the_wrapper() {
    let mut pair = Pair::new(ClientRole::Publish, "live/cam", 9999);
    pair.settle();
    let text = |name: &str| wire::amf0::encode_all(&[Amf0::text(name), Amf0::text("one")]);
    let wrapped = [wire::amf0::encode_all(&[Amf0::text("@setDataFrame")]), text("onTextData")].concat();
    let amf3 = [vec![0], text("onCuePoint")].concat();
    let mut bytes = Vec::new();
    let data = Head { csid: 5, type_id: 18, stream_id: 1, timestamp: 700 };
    write_message(&mut bytes, 4096, &data, &[&text("onTextData")]);
    write_message(&mut bytes, 4096, &Head { timestamp: 701, ..data }, &[&wrapped]);
    write_message(&mut bytes, 4096, &Head { timestamp: 702, type_id: 15, ..data }, &[&amf3]);
    write_message(&mut bytes, 4096, &Head { stream_id: 9, ..data }, &[&text("onTextData")]);
    let clear = wire::amf0::encode_all(&[Amf0::text("@clearDataFrame"), Amf0::text("onMetaData")]);
    write_message(&mut bytes, 4096, &Head { timestamp: 703, ..data }, &[&clear]);
    write_message(&mut bytes, 4096, &data, &[&wire::amf0::encode_all(&[Amf0::Number(1.0)])]);
    pair.server_events.clear();
    pair.server.handle(pair.now, Input::Bytes(&bytes));
    pair.settle();
    let event = |timestamp, name| Event::Data { stream: 1, timestamp, payload: text(name).into() };
    let taken_back = Event::Metadata { stream: 1, payload: Bytes::new() };
    let (last, others) = pair.server_events.split_last().unwrap();
    assert_eq!(
        others,
        [event(700, "onTextData"), event(701, "onTextData"), event(702, "onCuePoint"), taken_back]
    );
    assert!(matches!(last, Event::Misbehaved(_)), "a number is no name");
}

/// C1 as FFmpeg signs it, out of a capture.
fn signed() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../captures/ffmpeg-publish-play/input.pcap");
    let file = std::fs::read(path).unwrap();
    // C0, a time of 0 and the version that FFmpeg claims; loopback carries it in one segment.
    let begin = [3, 0, 0, 0, 0, 9, 0, 124, 2];
    let at = file.windows(begin.len()).position(|window| window == begin).unwrap() + 1;
    file[at..at + 1536].to_vec()
}

#[test]
fn who_signs_the_handshake_gets_a_signed_answer_and_who_only_seems_to_the_plain_one() {
    use wire::rtmp::digest;
    let answer = |c1: &[u8]| {
        let mut server = Server::new(ServerConfig::default(), 1, Time::default());
        server.handle(Time::default(), Input::Bytes(&[&[3], c1].concat()));
        let sent: Vec<u8> = outputs(&mut server)
            .iter()
            .flat_map(|o| if let Output::Send(b) = o { b.to_vec() } else { vec![] })
            .collect();
        assert_eq!(sent.len(), 1 + 2 * 1536);
        (sent[1..1537].to_vec(), sent[1537..].to_vec())
    };
    let signed = signed();
    let theirs = digest::of_client(&signed).expect("FFmpeg signs");
    let (s1, s2) = answer(&signed);
    assert_eq!(digest::of_server(&s1).map(|d| d.block), Some(theirs.block));
    assert!(digest::is_answer(&s2, &theirs) && s1[4] >= 3);
    let mut broken = signed;
    broken[1000] ^= 1;
    let (s1, s2) = answer(&broken);
    assert_eq!((digest::of_server(&s1), &s1[4..8]), (None, &[0; 4][..]));
    assert_eq!(s2[8..], broken[8..], "an echo");
}

#[test]
fn the_oldest_incomplete_message_is_told_with_its_time() {
    let mut pair = Pair::new(ClientRole::Publish, "live/cam", 9999);
    pair.settle();
    let mut bytes = Vec::new();
    write_message(&mut bytes, 128, &Head { csid: 9, type_id: 9, stream_id: 1, timestamp: 0 }, &[&[1; 200]]);
    pair.server.handle(Time::from_millis(7000), Input::Bytes(&bytes[..100]));
    assert_eq!(pair.server.open_since(), Some(Time::from_millis(7000)));
    assert_eq!(pair.server.open_bytes(), 88);
}

#[test]
fn media_right_behind_the_publish_waits_for_the_decision() {
    let mut server = Server::new(ServerConfig::default(), 1, Time::default());
    let mut bytes = hello();
    let command = Head { csid: 3, type_id: 20, ..Head::default() };
    let mut connect = Command::new("connect", 1.0, vec![]);
    connect.object = Amf0::object([("app", Amf0::text("live"))]);
    write_message(&mut bytes, 128, &command, &[&connect.encode()]);
    write_message(&mut bytes, 128, &command, &[&Command::new("createStream", 2.0, vec![]).encode()]);
    let publish = Command::new("publish", 3.0, vec![Amf0::text("cam"), Amf0::text("live")]);
    write_message(&mut bytes, 128, &Head { stream_id: 1, ..command }, &[&publish.encode()]);
    let video = Head { csid: 6, type_id: 9, stream_id: 1, timestamp: 0 };
    write_message(&mut bytes, 128, &video, &[&[0x17, 1, 0, 0, 0, 1]]);
    server.handle(Time::default(), Input::Bytes(&bytes[..bytes.len() - 3]));
    server.handle(Time::default(), Input::Bytes(&bytes[bytes.len() - 3..]));
    let is_media = |o: &Output| matches!(o, Output::Event(Event::Media { .. }));
    assert!(!outputs(&mut server).iter().any(is_media));
    server.handle(Time::default(), Input::Do(Action::Accept { stream: 1 }));
    let all = outputs(&mut server);
    assert_eq!(all.iter().filter(|o| is_media(o)).count(), 1);
    assert!(!all.iter().any(|o| matches!(o, Output::Event(Event::Misbehaved(_)))));
}
