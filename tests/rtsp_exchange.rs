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
use std::net::SocketAddr;

use common::rtp::{BYE, rtcp, rtp};
use common::rtsp::{Hand, SDP_TYPE, SOUND, session_of};
use common::server::Server;

/// A second track, of pictures whose parameter sets are told.
const TOLD_PICTURES: &str = "m=video 0 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=1;\
    sprop-parameter-sets=Z2QAHqzZQKAv+XARAAADAAEAAAMAMg8WLZY=,aOrssiw=\r\na=control:trackID=1\r\n";
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
        self.sequence += 1;
        let mut packet = vec![0x80, 0x80 | 96];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend((u32::from(self.sequence) * 1024).to_be_bytes());
        packet.extend([0, 0, 0, 1, 0, 16, 0, 2 << 3, 0x21, 0x10]);
        let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
        self.hand.send(&[&[b'$', 0], &length[..], &packet].concat());
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

/// A player that leaves gets a goodbye of each track before the answer, and nothing behind it (RFC 3550 §6.6, RFC 2326 §10.7).
fn who_leaves_hears_goodbye(rtsp: SocketAddr) {
    let mut cam = Cam::new(rtsp, "bye/a", SOUND, &[0]);
    cam.sound();
    assert_eq!(described(rtsp, &cam.url).len(), 1);
    let mut player = Hand::connect(rtsp);
    let headers = "Transport: RTP/AVP/TCP;unicast;interleaved=4-5\r\n";
    let answer = player.asks_well("SETUP", &format!("{}/trackID=0", cam.url), headers, "");
    let session = session_of(&answer);
    player.asks_well("PLAY", &cam.url, &session, "");
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
    who_leaves_hears_goodbye(rtsp);
    server.wait_deserted();
    server.stop();
}
