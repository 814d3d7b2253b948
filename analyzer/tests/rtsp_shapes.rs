//! RTSP connections as captures have them: joined in the middle, with several sessions after each other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod pcap;

use std::io::Cursor;
use std::net::SocketAddrV4;

use model::{Analysis, Role, Transport};
use pcap::{Segment, Writer};
use streamgauge_analyzer::{Analyzer, Options};

/// A connection whose segments come when the test says.
struct Wire {
    writer: Writer,
    ends: [SocketAddrV4; 2],
    next: [u32; 2],
    now_us: u64,
    cseq: u32,
}

impl Wire {
    fn new() -> Self {
        let ends = ["10.0.0.1:40000", "10.0.0.2:8554"].map(|text| text.parse().unwrap());
        Self { writer: Writer::default(), ends, next: [1000, 2000], now_us: 1_700_000_000_000_000, cseq: 0 }
    }

    /// From the client (0) or the server (1).
    fn put(&mut self, side: usize, flags: u8, bytes: &[u8]) {
        self.now_us += 1000;
        let (from, to) = (self.ends[side], self.ends[1 - side]);
        let ack = if flags & 0x10 == 0 { 0 } else { self.next[1 - side] };
        self.writer.segment_at(self.now_us, &Segment { from, to, seq: self.next[side], ack, flags, bytes });
        self.next[side] += u32::try_from(bytes.len()).unwrap() + u32::from(flags & 3 != 0);
    }

    fn opened(mut self) -> Self {
        self.put(0, 0x02, &[]);
        self.put(1, 0x12, &[]);
        self.put(0, 0x10, &[]);
        self
    }

    fn ask(&mut self, request: &str, answer: &str) {
        self.cseq += 1;
        let (method, rest) = request.split_once(' ').unwrap();
        let (url, fields) = rest.split_once("\r\n").unwrap_or((rest, ""));
        let request = format!("{method} {url} RTSP/1.0\r\nCSeq: {}\r\n{fields}\r\n", self.cseq);
        self.put(0, 0x18, request.as_bytes());
        let answer = format!("RTSP/1.0 200 OK\r\nCSeq: {}\r\n{answer}\r\n", self.cseq);
        self.put(1, 0x18, answer.as_bytes());
    }

    /// One packet of RTP on a channel.
    fn block(&mut self, channel: u8, number: u16) {
        let rtp =
            [&[0x80, 96 + channel][..], &number.to_be_bytes(), &[0; 4], &[channel; 4], &[1; 188]].concat();
        let block = [&[b'$', channel, 0, 200][..], &rtp].concat();
        self.put(1, 0x18, &block);
    }

    fn closed(mut self) -> Analysis {
        self.put(0, 0x11, &[]);
        self.put(1, 0x11, &[]);
        self.put(0, 0x10, &[]);
        let mut analyzer = Analyzer::new(Options::default());
        analyzer.reader("made", Cursor::new(self.writer.finish())).unwrap();
        analyzer.finish()
    }
}

/// What was set up is not in the capture: every channel is a track, and none of them a fault.
#[test]
fn all_tracks_of_a_connection_joined_late_are_found() {
    let mut wire = Wire::new();
    for number in 0..20 {
        for channel in [0, 2, 4] {
            wire.block(channel, number);
        }
    }
    wire.ask("TEARDOWN rtsp://h/live/a\r\nSession: s\r\n", "");
    let analysis = wire.closed();
    let [session] = &analysis.sessions[..] else { panic!("{:#?}", analysis.sessions) };
    assert_eq!((session.transport, session.role), (Transport::Interleaved, Role::Viewer));
    assert_eq!(session.path.as_deref(), Some("live/a"), "told by the TEARDOWN");
    let packets: Vec<_> = session.tracks.iter().map(|track| (track.packets, track.lost_packets)).collect();
    assert_eq!(packets, [(Some(20), Some(0)); 3]);
    let told: Vec<_> = analysis.findings.iter().map(|finding| finding.rule.as_str()).collect();
    assert_eq!(told, ["capture.started-late"]);
}

/// Where a SETUP is in the capture its channels are the ones there are.
#[test]
fn a_channel_that_nobody_asked_for_is_a_fault() {
    let mut wire = Wire::new().opened();
    let transport = "Session: s\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    wire.ask(&format!("SETUP rtsp://h/live/a/v\r\n{transport}"), transport);
    for number in 0..5 {
        wire.block(0, number);
        wire.block(6, number);
    }
    let analysis = wire.closed();
    let told: Vec<_> =
        analysis.findings.iter().map(|finding| (finding.rule.as_str(), finding.count)).collect();
    assert!(told.contains(&("rtsp.interleaved.channels", 5)), "{told:?}");
    assert_eq!(analysis.sessions[0].tracks.len(), 1);
}

#[test]
fn sessions_after_each_other_have_their_own_bytes_and_times() {
    let mut wire = Wire::new().opened();
    let mut sent = Vec::new();
    for session in ["one", "two"] {
        let start = (wire.now_us, wire.next);
        let id = format!("Session: {session}\r\n");
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        wire.ask("OPTIONS rtsp://h/live/a", "");
        wire.ask("DESCRIBE rtsp://h/live/a", "");
        wire.ask(&format!("SETUP rtsp://h/live/a/v\r\n{transport}"), &format!("{id}{transport}"));
        wire.ask(&format!("PLAY rtsp://h/live/a\r\n{id}"), &id);
        (0..50).for_each(|number| wire.block(0, number));
        wire.ask(&format!("TEARDOWN rtsp://h/live/a\r\n{id}"), &id);
        sent.push((wire.now_us - start.0, [0, 1].map(|side| u64::from(wire.next[side] - start.1[side]))));
        wire.now_us += 5_000_000;
    }
    wire.now_us -= 5_000_000;
    let analysis = wire.closed();
    let [one, two] = &analysis.sessions[..] else { panic!("{:#?}", analysis.sessions) };
    // The request that looks around before the second session is the first one's, as far as anybody can tell.
    let looked =
        ["OPTIONS rtsp://h/live/a RTSP/1.0\r\nCSeq: 6\r\n\r\n", "RTSP/1.0 200 OK\r\nCSeq: 6\r\n\r\n"];
    let looked = looked.map(|text| text.len() as u64);
    assert_eq!([one.bytes_to_server, one.bytes_to_client], [0, 1].map(|side| sent[0].1[side] + looked[side]));
    assert_eq!([two.bytes_to_server, two.bytes_to_client], [0, 1].map(|side| sent[1].1[side] - looked[side]));
    for session in [one, two] {
        let bytes = session.bytes_to_server + session.bytes_to_client;
        let bins: f64 = model::Bin::expand(&analysis.bandwidth.per_session[&session.id], 2000).iter().sum();
        assert_eq!((bins * analysis.bandwidth.interval_s / 8.0).round(), bytes as f64);
        let peak = session.peak_bps.unwrap();
        assert!(peak <= bytes as f64 * 8.0 && peak > bytes as f64 * 4.0, "{session:#?}");
        assert!(session.complete && session.tracks[0].packets == Some(50));
    }
    assert!(two.duration_s < 0.2, "{two:#?}");
}
