//! To which RTSP session packets belong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::net::SocketAddr;

use streamgauge_analyzer::flow::{At, ConnInfo, ConnStats, Datagram, Dir, End, HalfStats};
use streamgauge_analyzer::track::rtsp::{Outcome, Registry, SessionNo, Tracker};

const SDP: &str = "v=0\r\no=- 0 0 IN IP4 0\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\na=control:a\r\n";

/// A capture with several connections of one client.
#[derive(Default)]
struct Wire {
    rtsp: Registry,
    ports: u16,
    number: u16,
}

struct Conn {
    tracker: Tracker,
    info: ConnInfo,
    sent: [u64; 2],
    cseq: u32,
}

impl Wire {
    fn connect(&mut self) -> Conn {
        self.ports += 1;
        let a: SocketAddr = format!("10.0.0.1:{}", 40_000 + self.ports).parse().unwrap();
        let b: SocketAddr = "10.0.0.2:554".parse().unwrap();
        let info = ConnInfo { a, b, client_known: true, time_ns: 0, frame: 1 };
        let mut conn = Conn { tracker: Tracker::new(&info, false), info, sent: [0; 2], cseq: 0 };
        let answer =
            format!("200 OK\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}", SDP.len());
        self.ask(&mut conn, "DESCRIBE rtsp://h/live/a RTSP/1.0\r\n", Some(&answer));
        conn
    }

    fn ask(&mut self, conn: &mut Conn, request: &str, answer: Option<&str>) {
        conn.cseq += 1;
        let request = format!("{request}CSeq: {}\r\n\r\n", conn.cseq);
        let answer = answer.map(|answer| {
            let (status, rest) = answer.split_once("\r\n").unwrap();
            format!("RTSP/1.0 {status}\r\nCSeq: {}\r\n{rest}", conn.cseq)
        });
        for (side, dir, text) in [(0, Dir::AToB, Some(request)), (1, Dir::BToA, answer)] {
            let Some(text) = text else { continue };
            let at = At { time_ns: 0, frame: 1, offset: conn.sent[side], ready_ns: 0 };
            conn.tracker.data(dir, at, text.as_bytes(), &mut self.rtsp);
            conn.sent[side] += text.len() as u64;
        }
    }

    /// Asks for the client's ports 5000 and 5001.
    fn set_up(&mut self, conn: &mut Conn, answer: Option<&str>) -> SessionNo {
        let transport = "RTP/AVP;unicast;client_port=5000-5001";
        let request = format!("SETUP rtsp://h/live/a/a RTSP/1.0\r\nTransport: {transport}\r\n");
        let agreed = "200 OK\r\nSession: s;timeout=60\r\nTransport: RTP/AVP;unicast;client_port=5000-5001;\
                      server_port=6000-6001\r\n\r\n";
        self.ask(conn, &request, answer.map(|answer| if answer == "200" { agreed } else { answer }));
        conn.tracker.session().unwrap()
    }

    /// Whose the next packet on those ports is.
    fn packet(&mut self) -> Option<SessionNo> {
        let mut found = None;
        // A source counts from its second packet on.
        for _ in 0..2 {
            self.number += 1;
            let payload = [&[0x80, 0][..], &self.number.to_be_bytes(), &[0; 4], &[9; 4], &[1; 160]].concat();
            let (src, dst) = ("10.0.0.2:6000".parse().unwrap(), "10.0.0.1:5000".parse().unwrap());
            let datagram = Datagram { src, dst, time_ns: 0, frame: 1, payload: &payload, payload_len: 172 };
            found = self.rtsp.udp(&datagram).map(|counted| counted.session);
        }
        found
    }

    fn close(&mut self, mut conn: Conn) {
        let half = HalfStats { from_start: true, ..HalfStats::default() };
        let stats =
            ConnStats { info: conn.info, a_to_b: half, b_to_a: half, first_ns: 0, last_ns: 0, rtt_ns: None };
        conn.tracker.finish(&mut self.rtsp, &stats);
        conn.tracker.close(End::Fin, &stats, &mut self.rtsp);
    }

    fn finish(self) -> Vec<Outcome> {
        self.rtsp.finish()
    }
}

const REFUSED: &str = "461 Unsupported Transport\r\n\r\n";

#[test]
fn refused_ports_carry_nothing() {
    let mut wire = Wire::default();
    let mut conn = wire.connect();
    wire.set_up(&mut conn, Some(REFUSED));
    assert_eq!(wire.packet(), None);
    wire.close(conn);
    let [session] = &wire.finish()[..] else { panic!("one session") };
    assert_eq!((session.carrier, session.udp_pairs.len(), session.udp_bytes), (None, 0, [0; 2]));
}

#[test]
fn ports_are_those_of_the_session_that_got_them() {
    // Refused before, while and after another session gets the same ports.
    let mut wire = Wire::default();
    let [mut before, mut owner, mut while_it_lasts] = [(); 3].map(|()| wire.connect());
    wire.set_up(&mut before, Some(REFUSED));
    let no = wire.set_up(&mut owner, Some("200"));
    assert_eq!(wire.packet(), Some(no));
    wire.set_up(&mut while_it_lasts, None);
    assert_eq!(wire.packet(), Some(no), "asked for, and not answered yet");
    wire.set_up(&mut while_it_lasts, Some(REFUSED));
    assert_eq!(wire.packet(), Some(no));
    // A session that has the ports keeps them where a change is refused.
    wire.set_up(&mut owner, Some(REFUSED));
    assert_eq!(wire.packet(), Some(no));
    // Behind its end they are free.
    wire.ask(&mut owner, "TEARDOWN rtsp://h/live/a RTSP/1.0\r\nSession: s\r\n", Some("200 OK\r\n\r\n"));
    let mut next = wire.connect();
    let next_no = wire.set_up(&mut next, None);
    assert_eq!(wire.packet(), Some(next_no), "the capture lacks the answer");
    [before, owner, while_it_lasts, next].into_iter().for_each(|conn| wire.close(conn));
    let bytes: Vec<u64> = wire.finish().iter().map(|session| session.udp_bytes[1]).collect();
    assert_eq!(bytes, [0, 8 * 172, 0, 2 * 172]);
}
