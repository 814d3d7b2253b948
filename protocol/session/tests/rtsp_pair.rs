//! An RTSP client and a server endpoint talk on virtual time, over a wire that cuts bytes anywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects)]

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use session::Time;
use session::rtsp::{
    Action, Carry, Client, ClientConfig, ClientRole, Event, Input, Output, Reason, Refusal, Server,
    ServerConfig, TrackStart,
};
use streamgauge_session as session;
use wire::rtsp::Head;

const SDP: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\na=control:*\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=0\r\n\
    m=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/48000/2\r\na=control:trackID=1\r\n";

struct Pair {
    client: Client,
    server: Server,
    now: Time,
    cut: usize,
    carry: Vec<(usize, Carry)>,
    refuse: Option<Refusal>,
    client_events: Vec<Event>,
    server_events: Vec<Event>,
    closed: Vec<(&'static str, Reason)>,
    wakes: [Option<Time>; 2],
}

impl Pair {
    fn new(role: ClientRole, cut: usize, carry: &[Carry]) -> Self {
        let now = Time::from_millis(5000);
        let config = ClientConfig::new(role, "rtsp://u:p@h:8554/live/caf%C3%A9?token=x", "test/1");
        Self {
            client: Client::new(config, now),
            server: Server::new(ServerConfig::default(), 2, now),
            now,
            cut,
            carry: carry.iter().copied().enumerate().collect(),
            refuse: None,
            client_events: Vec::new(),
            server_events: Vec::new(),
            closed: Vec::new(),
            wakes: [None; 2],
        }
    }

    fn decide(&self, event: &Event) -> Option<Action> {
        let yes = match event {
            Event::Describe { .. } => Action::Describe { sdp: SDP.to_owned() },
            Event::Announce { .. } => Action::Accept,
            Event::Setup { track, carry, .. } => {
                let ports = matches!(carry, Carry::Udp { .. }).then_some((8000, 8001));
                Action::SetUp { track: track.unwrap_or(0), server_port: ports, ssrc: Some(0xabc) }
            }
            Event::Play { tracks, .. } => {
                let start = |track: &usize| TrackStart { track: *track, seq: 7, rtptime: Some(9) };
                Action::Play { info: tracks.iter().map(start).collect() }
            }
            Event::Record { .. } => Action::Record,
            Event::Elsewhere { .. } => return Some(Action::Refuse(Refusal::NoSession)),
            _ => return None,
        };
        Some(self.refuse.map_or(yes, Action::Refuse))
    }

    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            let mut to_server = Vec::new();
            while let Some(output) = self.client.poll() {
                quiet = false;
                match output {
                    Output::Send(bytes) => to_server.extend_from_slice(&bytes),
                    Output::Event(event) => {
                        if matches!(event, Event::Described { .. } | Event::Announced) {
                            self.client.handle(self.now, Input::Do(Action::Carry(self.carry.clone())));
                        }
                        self.client_events.push(event);
                    }
                    Output::Close(reason) => self.closed.push(("client", reason)),
                    Output::WakeAt(at) => self.wakes[0] = Some(at),
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
                        if let Some(action) = self.decide(&event) {
                            assert!(self.server.is_waiting());
                            self.server.handle(self.now, Input::Do(action));
                        }
                        self.server_events.push(event);
                    }
                    Output::Close(reason) => self.closed.push(("server", reason)),
                    Output::WakeAt(at) => self.wakes[1] = Some(at),
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

    /// Lets time pass up to `end`, waking whoever asked for it; the client only where `client` says so.
    fn pass(&mut self, end: Time, client: bool) {
        self.settle();
        while let Some(at) =
            self.wakes.iter().enumerate().filter(|(n, _)| client || *n == 1).filter_map(|(_, w)| *w).min()
        {
            if at > end {
                break;
            }
            self.now = at;
            if client && self.wakes[0] == Some(at) {
                self.wakes[0] = None;
                self.client.handle(at, Input::Tick);
            }
            if self.wakes[1] == Some(at) {
                self.wakes[1] = None;
                self.server.handle(at, Input::Tick);
            }
            self.settle();
        }
        self.now = end;
    }
}

const UDP: [Carry; 2] = [
    Carry::Udp { client_port: (5000, 5001), server_port: None },
    Carry::Udp { client_port: (5002, 5003), server_port: None },
];
const TCP: [Carry; 2] = [Carry::Tcp { channels: (0, 1) }, Carry::Tcp { channels: (0, 1) }];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_player_gets_its_tracks_whatever_the_cuts(cut in 1usize..600, tcp: bool) {
        let mut pair = Pair::new(ClientRole::Play, cut, if tcp { &TCP } else { &UDP });
        pair.settle();
        let describe = Event::Describe { path: "live/café".into(), query: "token=x".into(), agent: "test/1".into() };
        prop_assert_eq!(&pair.server_events[0], &describe);
        let start = |track| TrackStart { track, seq: 7, rtptime: Some(9) };
        let started = Event::Started { info: vec![start(0), start(1)] };
        prop_assert!(pair.client_events.contains(&started), "{:?}", pair.client_events);
        // The server gives the second track channels of its own, and the client follows.
        let carry = if tcp {
            Carry::Tcp { channels: (2, 3) }
        } else {
            Carry::Udp { client_port: (5002, 5003), server_port: Some((8000, 8001)) }
        };
        let ready = Event::TrackReady { track: 1, carry, ssrc: Some(0xabc) };
        prop_assert!(pair.client_events.contains(&ready));
        let payload = Bytes::from(vec![b'$'; 3000]);
        pair.server.handle(pair.now, Input::Do(Action::Packet { track: 1, rtcp: false, payload: payload.clone() }));
        pair.settle();
        let packet = Event::Packet { track: 1, rtcp: false, payload };
        prop_assert_eq!(pair.client_events.contains(&packet), tcp);
        pair.client.handle(pair.now, Input::Do(Action::Pause));
        pair.settle();
        prop_assert!(pair.server_events.contains(&Event::Paused) && pair.client_events.contains(&Event::Stopped));
        pair.client.handle(pair.now, Input::Do(Action::Resume));
        pair.settle();
        prop_assert_eq!(pair.server_events.iter().filter(|e| matches!(e, Event::Play { .. })).count(), 2);
        pair.client.handle(pair.now, Input::Do(Action::Finish));
        pair.settle();
        prop_assert_eq!(pair.server_events.last(), Some(&Event::Ended { silent: false }));
        prop_assert_eq!(&pair.closed, &[("client", Reason::Done)]);
    }

    #[test]
    fn a_publisher_is_heard_whatever_the_cuts(cut in 1usize..600, sizes in prop::collection::vec(0usize..3000, 1..6)) {
        let mut pair = Pair::new(ClientRole::Publish { sdp: SDP.to_owned() }, cut, &TCP);
        pair.settle();
        prop_assert!(pair.client_events.contains(&Event::Started { info: vec![] }), "{:?}", pair.client_events);
        let publish = pair.server_events.iter().filter(|e| matches!(e, Event::Setup { publish: true, .. })).count();
        prop_assert_eq!(publish, 2);
        for (n, size) in sizes.iter().enumerate() {
            let packet = Action::Packet { track: n % 2, rtcp: n % 3 == 0, payload: vec![0x24; *size].into() };
            pair.client.handle(pair.now, Input::Do(packet));
            pair.settle();
        }
        let heard: Vec<_> = pair.server_events.iter().filter_map(|e| match e {
            Event::Packet { track, rtcp, payload } => Some((*track, *rtcp, payload.len())),
            _ => None,
        }).collect();
        let want: Vec<_> = sizes.iter().enumerate().map(|(n, s)| (n % 2, n % 3 == 0, *s)).collect();
        prop_assert_eq!(heard, want);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), text in "[A-Z]{1,9} [ -~]{0,30} RTSP/1.0\r\n([A-Za-z]{1,9}: [ -~]{0,30}\r\n){0,4}\r\n") {
        let mut server = Server::new(ServerConfig::default(), 2, Time::default());
        server.handle(Time::default(), Input::Bytes(text.as_bytes()));
        server.handle(Time::default(), Input::Bytes(&bytes));
        while server.poll().is_some() {}
    }
}

#[test]
fn keepalives_hold_a_udp_session_and_silence_ends_it() {
    let mut pair = Pair::new(ClientRole::Play, 100, &UDP);
    pair.pass(Time::from_millis(600_000), true);
    assert_eq!(pair.closed, []);
    let end = pair.now.after(Duration::from_secs(60));
    pair.server.handle(pair.now, Input::Alive);
    pair.pass(end, false);
    assert_eq!(pair.closed, [], "not before the timeout that was told");
    pair.pass(end.after(Duration::from_secs(30)), false);
    assert_eq!(pair.closed, [("server", Reason::Timeout("the session was silent"))]);
    assert_eq!(pair.server_events.last(), Some(&Event::Ended { silent: true }));
}

/// What a server says from here on, and whether it closes.
fn said(server: &mut Server) -> (Vec<String>, Option<Reason>) {
    let (mut sent, mut closed) = (Vec::new(), None);
    while let Some(output) = server.poll() {
        match output {
            Output::Send(bytes) => sent.push(String::from_utf8_lossy(&bytes).into_owned()),
            Output::Close(reason) => closed = Some(reason),
            Output::Event(_) | Output::WakeAt(_) => {}
        }
    }
    (sent, closed)
}

fn request(method: &str, session: &str) -> Head {
    Head::request(method, "rtsp://h/live/caf%C3%A9").with("CSeq", "41").with("Session", session)
}

#[test]
fn a_player_over_udp_stays_without_its_connection() {
    let play = |carry: &[Carry]| {
        let mut pair = Pair::new(ClientRole::Play, 100, carry);
        pair.settle();
        pair
    };
    // What comes interleaved needs the connection.
    let mut pair = play(&TCP);
    assert_eq!(pair.server.roams(), None);
    pair.server.handle(pair.now, Input::Closed);
    assert_eq!(said(&mut pair.server).1, Some(Reason::PeerClosed));

    let mut pair = play(&UDP);
    let id = pair.server.roams().unwrap().to_owned();
    pair.server.handle(pair.now, Input::Closed);
    assert_eq!(said(&mut pair.server), (vec![], None));
    // It is heard of on its ports, and by requests that come another way.
    let relayed = |pair: &mut Pair, method: &str, id: &str| {
        pair.server.handle(pair.now, Input::Relayed { head: request(method, id), body: Bytes::new() });
        said(&mut pair.server)
    };
    for (seconds, way) in [(60, "Alive"), (110, "GET_PARAMETER"), (160, "OPTIONS"), (210, "PAUSE")] {
        pair.pass(Time::from_millis(seconds * 1000), false);
        assert_eq!(pair.closed, [], "before {seconds} s");
        match way {
            "Alive" => pair.server.handle(pair.now, Input::Alive),
            method => {
                let (sent, closed) = relayed(&mut pair, method, &id);
                assert!(sent[0].starts_with("RTSP/1.0 200 OK\r\nCSeq: 41\r\n"), "{sent:?}");
                assert_eq!((sent.len(), closed), (1, None));
            }
        }
    }
    // A session that it has not, it does not look for elsewhere.
    assert!(relayed(&mut pair, "PLAY", "none").0[0].starts_with("RTSP/1.0 454 "));
    let (sent, closed) = relayed(&mut pair, "TEARDOWN", &id);
    assert!(sent[0].starts_with("RTSP/1.0 200 "), "{sent:?}");
    assert_eq!((pair.server.roams(), closed), (None, Some(Reason::PeerClosed)));

    // Nobody hears of it any more.
    let mut pair = play(&UDP);
    pair.server.handle(pair.now, Input::Closed);
    pair.pass(Time::from_millis(200_000), false);
    assert_eq!(pair.closed, [("server", Reason::Timeout("the session was silent"))]);
}

#[test]
fn a_session_of_another_connection_is_asked_for() {
    let mut server = Server::new(ServerConfig::default(), 2, Time::default());
    let now = Time::from_millis(10);
    let asks = |server: &mut Server, method: &str| {
        server.handle(now, Input::Bytes(&request(method, "other").encode(b"")));
        let outputs: Vec<Output> = std::iter::from_fn(|| server.poll()).collect();
        outputs.into_iter().find_map(|output| match output {
            Output::Event(Event::Elsewhere { id, head, .. }) => Some((id, head.as_request()?.0.to_owned())),
            _ => None,
        })
    };
    for method in ["OPTIONS", "GET_PARAMETER", "SET_PARAMETER", "PLAY", "PAUSE", "TEARDOWN"] {
        assert_eq!(asks(&mut server, method), Some(("other".to_owned(), method.to_owned())));
        server.handle(now, Input::Do(Action::Answered(Bytes::from_static(b"as it came"))));
        assert_eq!(said(&mut server), (vec!["as it came".to_owned()], None));
    }
    // What would change how packets travel is this connection's own matter.
    for method in ["SETUP", "RECORD", "DESCRIBE", "ANNOUNCE"] {
        server.handle(now, Input::Bytes(&request(method, "other").encode(b"")));
        assert!(said(&mut server).0[0].starts_with("RTSP/1.0 454 "), "{method}");
    }
}

#[test]
fn refusals_reach_the_client() {
    for (why, status) in [(Refusal::NotFound, 404), (Refusal::Full, 503)] {
        let mut pair = Pair::new(ClientRole::Play, 100, &UDP);
        pair.refuse = Some(why);
        pair.settle();
        let refused =
            |e: &Event| matches!(e, Event::Refused { method: "DESCRIBE", status: s, .. } if *s == status);
        assert!(pair.client_events.iter().any(refused), "{:?}", pair.client_events);
    }
}

/// Answers of a fresh server to raw requests; decisions are all yes.
fn answers(requests: &str) -> (Vec<String>, Option<Reason>) {
    let mut pair = Pair::new(ClientRole::Play, 1, &UDP);
    let mut sent = Vec::new();
    let mut closed = None;
    pair.server.handle(pair.now, Input::Bytes(requests.as_bytes()));
    while let Some(output) = pair.server.poll() {
        match output {
            Output::Send(bytes) => sent.push(String::from_utf8_lossy(&bytes).into_owned()),
            Output::Event(event) => {
                if let Some(action) = pair.decide(&event) {
                    pair.server.handle(pair.now, Input::Do(action));
                }
            }
            Output::Close(reason) => closed = Some(reason),
            Output::WakeAt(_) => {}
        }
    }
    (sent, closed)
}

#[test]
fn wrong_requests_get_the_right_status_and_cost_nothing() {
    let cases = [
        ("FOO rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n\r\n", "501"),
        ("OPTIONS * RTSP/1.0\r\n\r\n", "400"),
        ("OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\n", "505"),
        ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nRequire: funky\r\n\r\n", "551"),
        ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nProxy-Require: funky\r\n\r\n", "551"),
        ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nSession: nobody\r\n\r\n", "454"),
        ("PLAY rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n\r\n", "454"),
        ("TEARDOWN rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n\r\n", "454"),
        ("REDIRECT rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n\r\n", "405"),
        ("DESCRIBE rtsp://h/ RTSP/1.0\r\nCSeq: 1\r\n\r\n", "404"),
        ("DESCRIBE * RTSP/1.0\r\nCSeq: 1\r\n\r\n", "404"),
        ("DESCRIBE rtsp://h/../a RTSP/1.0\r\nCSeq: 1\r\n\r\n", "400"),
        ("DESCRIBE rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\nAccept: text/html\r\n\r\n", "406"),
        ("SETUP rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n\r\n", "461"),
        ("SETUP rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\nTransport: FOO/BAR\r\n\r\n", "461"),
        ("ANNOUNCE rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n\r\n", "415"),
        ("ANNOUNCE rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\nContent-Type: application/sdp\r\n\r\n", "400"),
        ("GET_PARAMETER * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 1\r\n\r\nx", "451"),
    ];
    for (request, status) in cases {
        let (sent, closed) = answers(&format!("{request}OPTIONS * RTSP/1.0\r\nCSeq: 9\r\n\r\n"));
        assert!(sent[0].starts_with(&format!("RTSP/1.0 {status} ")), "{request}: {}", sent[0]);
        assert_eq!(sent[0].contains("CSeq: 1"), request.contains("CSeq"), "{request}");
        assert!(sent[1].starts_with("RTSP/1.0 200 OK\r\nCSeq: 9\r\n"), "{request}");
        assert_eq!(closed, None);
    }
}

#[test]
fn answers_say_what_the_next_request_needs() {
    let one = |request: &str| answers(&format!("{request}\r\n")).0.remove(0);
    // RFC 2326 §12.38: the value comes back as it was.
    for (request, status) in [("OPTIONS *", 200), ("PLAY rtsp://h/a", 454), ("DESCRIBE rtsp://h/a", 200)] {
        let answer = one(&format!("{request} RTSP/1.0\r\nCSeq: 1\r\nTimestamp: 123.456\r\n"));
        assert!(answer.starts_with(&format!("RTSP/1.0 {status} ")), "{answer}");
        assert!(answer.contains("\r\nTimestamp: 123.456\r\n"), "{answer}");
    }
    // A base has to be absolute (§12.11).
    let base = |uri: &str| {
        let answer = one(&format!("DESCRIBE {uri} RTSP/1.0\r\nCSeq: 1\r\n"));
        assert!(answer.starts_with("RTSP/1.0 200 "), "{answer}");
        answer.lines().find_map(|l| l.strip_prefix("Content-Base: ").map(str::to_owned))
    };
    assert_eq!(base("rtsp://u:p@h:1/a?x=1"), Some("rtsp://h:1/a/".to_owned()));
    assert_eq!(base("/a"), None);
    // All options that we lack, wherever they are asked for.
    let answer = one("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nRequire: a, b\r\nProxy-Require: c\r\n");
    assert!(answer.contains("\r\nUnsupported: a, b, c\r\n"), "{answer}");
    // Which transports would do.
    let refused = "CSeq: 1\r\nTransport: RTP/AVP;multicast\r\n";
    let answer = one(&format!("SETUP rtsp://h/a/trackID=0 RTSP/1.0\r\n{refused}"));
    assert!(answer.starts_with("RTSP/1.0 461 "), "{answer}");
    assert!(answer.contains("\r\nTransport: RTP/AVP;unicast,RTP/AVP/TCP;unicast\r\n"), "{answer}");
}

#[test]
fn what_cannot_be_read_gets_an_answer_and_a_close() {
    for (request, status) in [
        ("DESCRIBE rtsp://h/a RTSP/1.0\r\nCSeq: 5\r\nContent-Length: 99999999999\r\n\r\n".to_owned(), "413"),
        (format!("DESCRIBE rtsp://h/{} RTSP/1.0\r\n", "a".repeat(9000)), "414"),
        ("\x16\x03\x01garbage".to_owned(), "400"),
        ("OPTIONS rtsp://h/a\r\nCSeq: 5\r\n\r\n".to_owned(), "400"),
        // Where the body ends is not known, so what looks like a request behind it is not served.
        (
            "SET_PARAMETER * RTSP/1.0\r\nCSeq: 5\r\nTransfer-Encoding: chunked\r\n\r\nOPTIONS * RTSP/1.0\r\nCSeq: 6\r\n\r\n"
                .to_owned(),
            "501",
        ),
    ] {
        let (sent, closed) = answers(&request);
        assert!(sent[0].starts_with(&format!("RTSP/1.0 {status} ")), "{}", sent[0]);
        assert_eq!((sent[0].contains("CSeq: 5"), sent.len()), (request.contains("CSeq: 5"), 1), "{sent:?}");
        assert!(matches!(closed, Some(Reason::Protocol(_))));
    }
}

#[test]
fn a_publisher_may_pause_and_go_on() {
    let sdp =
        "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
    let announce = format!(
        "ANNOUNCE rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record\r\n";
    let setup = format!("SETUP rtsp://h/a RTSP/1.0\r\nCSeq: 2\r\n{transport}\r\n");
    let (sent, _) = answers(&format!("{announce}{setup}"));
    let id = sent[1].lines().find_map(|l| l.strip_prefix("Session: ")).unwrap().split(';').next().unwrap();
    let ask = |method: &str| format!("{method} rtsp://h/a RTSP/1.0\r\nCSeq: 3\r\nSession: {id}\r\n\r\n");
    let methods = ["RECORD", "PAUSE", "PAUSE", "RECORD", "PAUSE", "TEARDOWN"];
    let (sent, closed) = answers(&format!("{announce}{setup}{}", methods.map(ask).concat()));
    let status: Vec<&str> = sent.iter().map(|s| s.split(' ').nth(1).unwrap()).collect();
    assert_eq!(status, ["200", "200", "200", "200", "455", "200", "200", "200"]);
    assert_eq!(closed, None);
}

#[test]
fn states_are_kept_in_a_pipeline_of_requests() {
    let setup =
        "SETUP rtsp://h/a/trackID=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n";
    let (sent, _) = answers(setup);
    let id = sent[0].lines().find_map(|l| l.strip_prefix("Session: ")).unwrap();
    assert!(id.ends_with(";timeout=60"));
    let id = id.split(';').next().unwrap();
    assert_eq!(id.len(), 16);
    let ask = |method: &str, more: &str| {
        format!("{method} rtsp://h/a RTSP/1.0\r\nCSeq: 2\r\nSession: {id}\r\n{more}\r\n")
    };
    let all = [
        setup.to_owned(),
        ask("PAUSE", ""),
        ask("RECORD", ""),
        ask("PLAY", "Range: npt=x-\r\n"),
        ask("PLAY", "Range: smpte=0-\r\n"),
        ask("PLAY", "Range: npt=0.000-\r\nScale: 2\r\n"),
        ask("PLAY", ""),
        ask("SETUP", "Transport: RTP/AVP/TCP;interleaved=2-3\r\n"),
        "$\x09\0\x02xx".to_owned(),
        ask("TEARDOWN", ""),
        ask("PLAY", ""),
    ]
    .concat();
    let (sent, closed) = answers(&all);
    let status: Vec<&str> = sent.iter().map(|s| s.split(' ').nth(1).unwrap()).collect();
    assert_eq!(status, ["200", "455", "405", "457", "501", "200", "200", "455", "200", "454"]);
    assert!(
        sent[5].contains(
            "Range: npt=now-\r\nScale: 1.0\r\nRTP-Info: url=rtsp://h/a/trackID=0;seq=7;rtptime=9\r\n"
        ),
        "{}",
        sent[5]
    );
    assert!(sent[1].contains("Allow: "));
    assert_eq!(closed, None);
}

#[test]
fn a_publisher_pauses_and_goes_on() {
    let announce = format!(
        "ANNOUNCE rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    );
    let setup = "SETUP rtsp://h/a/trackID=0 RTSP/1.0\r\nCSeq: 2\r\n\
        Transport: RTP/AVP/TCP;interleaved=0-1;mode=record\r\n\r\n";
    let first = format!("{announce}{setup}");
    let (sent, _) = answers(&first);
    let id = sent[1].lines().find_map(|l| l.strip_prefix("Session: ")).unwrap().split(';').next().unwrap();
    let ask = |method: &str| format!("{method} rtsp://h/a RTSP/1.0\r\nCSeq: 3\r\nSession: {id}\r\n\r\n");
    let rest: String = ["PAUSE", "RECORD", "PAUSE", "PAUSE", "RECORD", "TEARDOWN"].map(ask).concat();
    let (sent, closed) = answers(&format!("{first}{rest}"));
    let status: Vec<&str> = sent.iter().map(|s| s.split(' ').nth(1).unwrap()).collect();
    assert_eq!(status, ["200", "200", "455", "200", "200", "455", "200", "200"]);
    assert_eq!(closed, None);
}
