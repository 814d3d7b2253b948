//! What the server says to an RTSP client, exchange by exchange: clients by hand, all on one server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod common;

use std::io::Read;
use std::net::{SocketAddr, UdpSocket};

use common::PATIENCE;
use common::rtp::{BYE, rtcp, rtp};
use common::rtsp::{Hand, SDP_TYPE, SOUND, session_of};
use common::server::Server;

/// A second track, of pictures whose parameter sets are told.
const TOLD_PICTURES: &str = "m=video 0 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=1;\
    sprop-parameter-sets=Z2QAHqzZQKAv+XARAAADAAEAAAMAMg8WLZY=,aOrssiw=\r\na=control:trackID=1\r\n";
/// How a player gets its only track on the connection.
const OVER_TCP: &str = "RTP/AVP/TCP;unicast;interleaved=0-1";
/// A second track that nobody here can read.
const SPEECH: &str = "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 telephone-event/8000\r\na=control:trackID=1\r\n";

/// Publishes by hand over TCP, the tracks of a description that are named.
struct Cam {
    hand: Hand,
    url: String,
    session: String,
    sequence: u16,
}

impl Cam {
    #[track_caller]
    fn new(rtsp: SocketAddr, path: &str, sdp: &str, tracks: &[usize]) -> Self {
        let url = format!("rtsp://{rtsp}/{path}");
        let mut hand = Hand::connect(rtsp);
        hand.asks_well("ANNOUNCE", &url, SDP_TYPE, sdp);
        let mut session = String::new();
        for track in tracks {
            let channels = format!("interleaved={}-{}", 2 * track, 2 * track + 1);
            let headers = format!("{session}Transport: RTP/AVP/TCP;unicast;{channels};mode=record\r\n");
            session = session_of(&hand.asks_well("SETUP", &format!("{url}/trackID={track}"), &headers, ""));
        }
        hand.asks_well("RECORD", &url, &session, "");
        Self { hand, url, session, sequence: 0 }
    }

    /// Sends a frame of sound on the first track.
    fn sound(&mut self) {
        let at = (u32::from(self.sequence) + 1) * 1024;
        self.packet(at, &[0, 16, 0, 2 << 3, 0x21, 0x10]);
    }

    /// Sends a packet on the first track, the only one of its frame.
    fn packet(&mut self, timestamp: u32, payload: &[u8]) {
        self.sequence += 1;
        let mut packet = vec![0x80, 0x80 | 96];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend([0, 0, 0, 1]);
        packet.extend(payload);
        let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
        self.hand.send(&[&[b'$', 0], &length[..], &packet].concat());
    }

    /// Has somebody play the first track, this way, from a further frame of sound on; returns the header Session.
    #[track_caller]
    fn plays(&mut self, server: &Server, player: &mut Hand, way: &str) -> String {
        let headers = format!("Transport: {way}\r\n");
        let answer = player.asks_well("SETUP", &format!("{}/trackID=0", self.url), &headers, "");
        let session = session_of(&answer);
        player.send(format!("PLAY {} RTSP/1.0\r\nCSeq: 90\r\n{session}\r\n", self.url).as_bytes());
        server.wait_viewers(self.url.splitn(4, '/').last().unwrap(), 1);
        self.sound();
        let answer = player.answer().unwrap();
        assert!(answer.starts_with("RTSP/1.0 200 "), "{answer}");
        session
    }

    #[track_caller]
    fn leaves(mut self) {
        self.hand.asks_well("TEARDOWN", &self.url.clone(), &self.session.clone(), "");
    }
}

/// The media sections of what a stream is described as.
#[track_caller]
fn described(rtsp: SocketAddr, url: &str) -> Vec<String> {
    let mut hand = Hand::connect(rtsp);
    let answer = hand.asks_well("DESCRIBE", url, "", "");
    let length = answer.lines().find_map(|l| l.strip_prefix("Content-Length: ")).unwrap();
    let mut sdp = vec![0; length.parse().unwrap()];
    hand.io.read_exact(&mut sdp).unwrap();
    let sdp = String::from_utf8(sdp).unwrap();
    sdp.lines().filter(|l| l.starts_with("m=")).map(str::to_owned).collect()
}

/// Tracks that a publisher announced and did not set up, and those that we cannot read, are left out; the others are described.
fn described_is_what_comes(rtsp: SocketAddr) {
    for (name, more, tracks) in [("in-part", TOLD_PICTURES, &[0][..]), ("unreadable", SPEECH, &[0, 1])] {
        let mut cam = Cam::new(rtsp, &format!("described/{name}"), &format!("{SOUND}{more}"), tracks);
        cam.sound();
        assert_eq!(described(rtsp, &cam.url), ["m=audio 0 RTP/AVP 96"], "{name}");
        cam.leaves();
    }
    // What cannot be read at all is no stream.
    let (url, mut hand) = (format!("rtsp://{rtsp}/described/nothing"), Hand::connect(rtsp));
    hand.asks_well("ANNOUNCE", &url, SDP_TYPE, &format!("{SOUND}{SPEECH}"));
    let headers = "Transport: RTP/AVP/TCP;unicast;interleaved=2-3;mode=record\r\n";
    let answer = hand.asks_well("SETUP", &format!("{url}/trackID=1"), headers, "");
    assert!(hand.ask("RECORD", &url, &session_of(&answer), "").starts_with("RTSP/1.0 415 "));
}

/// Parameters of a description that cannot be read: pictures bring theirs along, sound is none without, and a line of the log
/// says which they are. Returns that line's words.
fn mistakes_of_a_description_are_told(rtsp: SocketAddr) -> [&'static str; 2] {
    let pictures = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;\
        sprop-parameter-sets=Z2Q*Hqz,aOrssiw=\r\na=control:trackID=0\r\n";
    let sound = "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/48000/2\r\na=fmtp:97 mode=AAC-hbr;config=11g0;\
        sizelength=13;indexlength=3;indexdeltalength=3\r\na=control:trackID=1\r\n";
    let mut cam = Cam::new(rtsp, "mistakes/a", &format!("{pictures}{sound}"), &[0, 1]);
    let sets: [&[u8]; 3] = [
        &[
            0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00,
            0x01, 0x00, 0x00, 0x03, 0x00, 0x32, 0x0f, 0x16, 0x2d, 0x96,
        ],
        &[0x68, 0xea, 0xec, 0xb2, 0x2c],
        &[0x65, 0x88, 0x84],
    ];
    // All in one packet (RFC 6184 §5.7.1).
    let units = sets.iter().flat_map(|unit| [&[0, u8::try_from(unit.len()).unwrap()][..], unit].concat());
    cam.packet(3600, &[0x78].into_iter().chain(units).collect::<Vec<_>>());
    assert_eq!(described(rtsp, &cam.url), ["m=video 0 RTP/AVP 96"]);
    cam.leaves();
    // Of sound alone nothing is left; another's codec is another matter.
    let mut hand = Hand::connect(rtsp);
    let alone = format!("v=0\r\n{sound}");
    let asks = |hand: &mut Hand, sdp: &str| {
        hand.ask("ANNOUNCE", &format!("rtsp://{rtsp}/mistakes/b"), SDP_TYPE, sdp)
    };
    assert!(asks(&mut hand, &alone).starts_with("RTSP/1.0 400 "));
    assert!(asks(&mut hand, &alone.replace("mpeg4-generic", "opus")).starts_with("RTSP/1.0 415 "));
    assert!(asks(&mut hand, &alone.replace("config=11g0;", "")).starts_with("RTSP/1.0 200 "));
    ["a=fmtp:96 sprop-parameter-sets=Z2Q*Hqz: no base64", "a=fmtp:97 config=11g0: no hexadecimal"]
}

/// The answer to PLAY tells the time of the first packet, also where that has yet to come (RFC 2326 §12.33).
fn play_is_answered_with_the_first_frame(server: &Server, rtsp: SocketAddr) {
    let sdp = TOLD_PICTURES.replace("trackID=1", "trackID=0").replace(" 97", " 96").replace(":97", ":96");
    let mut cam = Cam::new(rtsp, "start/a", &format!("v=0\r\n{sdp}"), &[0]);
    let (slice, key): (&[u8], &[u8]) = (&[0x41, 0x9a, 0x24], &[0x65, 0x88, 0x84]);
    // It is on air, but nobody can begin with this picture.
    cam.packet(3600, slice);
    assert_eq!(described(rtsp, &cam.url).len(), 1);
    let mut player = Hand::connect(rtsp);
    let headers = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    let answer = player.asks_well("SETUP", &format!("{}/trackID=0", cam.url), headers, "");
    let session = session_of(&answer);
    player.send(format!("PLAY {} RTSP/1.0\r\nCSeq: 90\r\n{session}\r\n", cam.url).as_bytes());
    server.wait_viewers("start/a", 1);
    for (at, picture) in [(7200, slice), (10_800, key), (14_400, slice)] {
        cam.packet(at, picture);
    }
    let answer = player.answer().unwrap();
    assert!(answer.starts_with("RTSP/1.0 200 "), "{answer}");
    let told = |name: &str| {
        let value = answer.split(name).nth(1).unwrap_or_else(|| panic!("{name} in {answer}"));
        value.split([';', ',', '\r']).next().unwrap().parse::<u32>().unwrap()
    };
    let first = loop {
        let (channel, packet) = player.packet().unwrap();
        if channel == 0 {
            break packet;
        }
    };
    let first = rtp(&first);
    // Its decoding time may precede the time it is shown at by the pictures that are shown in another order.
    let ahead = first.timestamp.wrapping_sub(told("rtptime="));
    assert_eq!((told("seq="), ahead < 90_000), (u32::from(first.sequence), true), "{ahead} ticks");
    cam.leaves();
}

/// Who ends its session after its publisher left may stay on the connection, with another session.
fn a_player_comes_back_on_its_connection(server: &Server, rtsp: SocketAddr) {
    let on_air = || {
        let mut cam = Cam::new(rtsp, "back/a", SOUND, &[0]);
        cam.sound();
        assert_eq!(described(rtsp, &cam.url).len(), 1);
        cam
    };
    let mut player = Hand::connect(rtsp);
    let mut cam = on_air();
    let session = cam.plays(server, &mut player, OVER_TCP);
    cam.sound();
    let url = cam.url.clone();
    cam.leaves();
    let says_bye =
        |(channel, packet): &(u8, Vec<u8>)| *channel == 1 && rtcp(packet).iter().any(|p| p.0 == BYE);
    while !says_bye(&player.packet().expect("goodbye")) {}
    player.asks_well("TEARDOWN", &url, &session, "");

    let mut cam = on_air();
    cam.plays(server, &mut player, OVER_TCP);
    // Longer than one may stay who does nothing.
    for _ in 0..56 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        cam.sound();
        while player.packet().expect("a frame of the second session").0 != 0 {}
    }
    cam.leaves();
}

/// A session over UDP goes on when its connection breaks, and listens to another (RFC 2326 §1.1).
fn a_session_outlives_its_connection(server: &Server, rtsp: SocketAddr) {
    let mut cam = Cam::new(rtsp, "udp/a", SOUND, &[0]);
    cam.sound();
    assert_eq!(described(rtsp, &cam.url).len(), 1);
    let ports = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    ports.iter().for_each(|port| port.set_read_timeout(Some(PATIENCE)).unwrap());
    let [rtp_port, rtcp_port] = [0, 1].map(|n: usize| ports[n].local_addr().unwrap().port());
    let way = format!("RTP/AVP;unicast;client_port={rtp_port}-{rtcp_port}");
    let mut player = Hand::connect(rtsp);
    let session = cam.plays(server, &mut player, &way);
    let mut packet = [0; 2000];
    let mut hears = |cam: &mut Cam| {
        cam.sound();
        let length = ports[0].recv(&mut packet).expect("a packet of the session");
        rtp(&packet[..length]).sequence
    };
    let first = hears(&mut cam);
    drop(player);
    let mut other = Hand::connect(rtsp);
    other.asks_well("GET_PARAMETER", &cam.url, &session, "");
    assert_eq!(hears(&mut cam), first.wrapping_add(1));
    assert_eq!(server.clients("viewer", "udp/a").len(), 1);
    other.asks_well("TEARDOWN", &cam.url, &session, "");
    let goodbye = loop {
        let length = ports[1].recv(&mut packet).expect("goodbye");
        if let Some(bye) = rtcp(&packet[..length]).iter().find(|part| part.0 == BYE) {
            break bye.1.len();
        }
    };
    assert_eq!(goodbye, 4);
    server.wait_viewers("udp/a", 0);
    assert!(other.ask("PLAY", &cam.url, &session, "").starts_with("RTSP/1.0 454 "));
    cam.leaves();
}

/// A player that leaves gets a goodbye of each track before the answer, and nothing behind it (RFC 3550 §6.6, RFC 2326 §10.7).
fn who_leaves_hears_goodbye(server: &Server, rtsp: SocketAddr) {
    let mut cam = Cam::new(rtsp, "bye/a", SOUND, &[0]);
    cam.sound();
    assert_eq!(described(rtsp, &cam.url).len(), 1);
    let mut player = Hand::connect(rtsp);
    let session = cam.plays(server, &mut player, "RTP/AVP/TCP;unicast;interleaved=4-5");
    // Sound alone leaves at once.
    (0..5).for_each(|_| cam.sound());
    let mut ssrc = None;
    while ssrc.is_none() {
        let (channel, packet) = player.packet().unwrap();
        ssrc = (channel == 4).then(|| rtp(&packet).ssrc);
    }
    player.send(format!("TEARDOWN {} RTSP/1.0\r\nCSeq: 90\r\n{session}\r\n", cam.url).as_bytes());
    let mut goodbye = None;
    while goodbye.is_none() {
        let (channel, packet) = player.packet().expect("a goodbye before the answer");
        let parts = if channel == 5 { rtcp(&packet) } else { Vec::new() };
        let bye = parts.iter().find(|(kind, _)| *kind == BYE);
        goodbye = bye.map(|(_, body)| u32::from_be_bytes(body[..4].try_into().unwrap()));
    }
    assert_eq!(goodbye, ssrc);
    let mut next = [0; 15];
    player.io.read_exact(&mut next).unwrap();
    assert_eq!(&next, b"RTSP/1.0 200 OK", "the answer is next");
    cam.leaves();
}

#[test]
fn exchanges_by_hand() {
    let server = Server::start(&[]);
    let rtsp = server.rtsp.unwrap();
    described_is_what_comes(rtsp);
    let mistakes = mistakes_of_a_description_are_told(rtsp);
    play_is_answered_with_the_first_frame(&server, rtsp);
    who_leaves_hears_goodbye(&server, rtsp);
    a_session_outlives_its_connection(&server, rtsp);
    a_player_comes_back_on_its_connection(&server, rtsp);
    server.wait_deserted();
    let log = server.stop();
    let told = |line: &str| line.contains("WARN") && mistakes.iter().all(|mistake| line.contains(mistake));
    assert!(log.lines().any(told), "{log}");
}
