//! RTSP where the network or the client is not as one would like it: packets lost, late and doubled, players that pause, and
//! players that say nothing any more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::frames::{Frame, part};
use common::peer::ffmpeg_publishes;
use common::relay::{Fate, Relay, Unit, of_kind, read_unit};
use common::rml::{Publisher, Viewer};
use common::rtsp_media::{by_presentation, ffmpeg_publishes_rtsp};
use common::server::Server;
use common::{PATIENCE, clip, flv, installed, rtp, wait_until};

fn wait_tracks(server: &Server, path: &str) {
    wait_until("two tracks", || {
        server
            .list("streams")
            .iter()
            .any(|s| s["path"] == path && s["tracks"].as_array().is_some_and(|tracks| tracks.len() == 2))
    });
}

#[test]
fn lost_packets_cost_their_pictures_and_no_others() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&[]);
    // The picture track's packets: now and then one is lost, others come late or twice.
    let mut count = 0;
    let relay = Relay::start(server.rtsp.unwrap(), move |video, _| {
        count += usize::from(video);
        match count {
            _ if !video => Fate::Passed,
            n if n % 97 == 50 => Fate::Lost,
            n if n % 23 == 7 => Fate::Late(2),
            n if n % 31 == 5 => Fate::Doubled,
            _ => Fate::Passed,
        }
    });
    let url = format!("rtsp://{}/live/lossy", relay.address());
    let publisher = ffmpeg_publishes_rtsp(directory.path(), "udp", &url);
    wait_tracks(&server, "live/lossy");
    let viewer = Viewer::start(server.rtmp, "live", "lossy").unwrap();
    publisher.ended_well();
    let packets = relay.ended();
    let got = by_presentation(flv::slices(&viewer.watched().tags));

    // What was on the wire before the losses, and which pictures they hit.
    let video: Vec<_> = packets.iter().filter(|p| p.video && !p.rtcp).collect();
    let mut hit: BTreeMap<u32, bool> = BTreeMap::new();
    for packet in &video {
        *hit.entry(rtp::rtp(&packet.bytes).timestamp).or_default() |= packet.fate == Fate::Lost;
    }
    let lost = video.iter().filter(|p| p.fate == Fate::Lost).count();
    assert!(lost >= 4 && video.iter().any(|p| matches!(p.fate, Fate::Late(_))), "{lost} lost");
    let pictures = rtp::pictures(of_kind(&packets, true));
    let raw = |f: &Frame| u32::try_from(f.pts & 0xffff_ffff).unwrap();
    let whole: Vec<Frame> = pictures
        .iter()
        .filter(|f| !hit[&raw(f)])
        .map(|f| {
            let ms = (f.pts * 1000).div_euclid(90_000);
            Frame { dts: ms, pts: ms, ..f.clone() }
        })
        .collect();
    assert!(whole.len() + 4 <= pictures.len(), "some pictures were hit");
    let all = part("what is whole", &whole, &got.video);
    assert_eq!(all.end, whole.len(), "the pictures after the last loss");
    // The server has counted them, too: what was due, less what came, where what came twice counts twice (RFC 3550 §A.3).
    let arrived = |p: &&&common::relay::Packet| p.fate != Fate::Lost;
    let number = |p: &&common::relay::Packet| i64::from(rtp::rtp(&p.bytes).sequence);
    let (first, last) =
        (number(video.iter().find(arrived).unwrap()), number(video.iter().rfind(arrived).unwrap()));
    let due = (last - first).rem_euclid(1 << 16) + 1;
    let came = video.iter().filter(arrived).map(|p| if p.fate == Fate::Doubled { 2 } else { 1 }).sum::<i64>();
    let metrics = server.ask("/metrics");
    let count = |name: &str, kind: &str| -> i64 {
        let of = |line: &&str| {
            line.starts_with(name) && line.contains("role=\"publisher\"") && line.contains(kind)
        };
        let line = metrics.lines().find(of).unwrap_or_else(|| panic!("no {name} of {kind} in {metrics}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(count("streamgauge_rtp_packets_expected", "video"), due);
    assert_eq!(count("streamgauge_rtp_packets_lost", "video"), due - came);
    assert_eq!(count("streamgauge_rtp_packets_lost", "audio"), 0);
    let clip = flv::slices(&flv::tags(&clip()));
    part("audio, of which nothing was lost", &by_presentation(clip).audio, &got.audio);
    server.stop();
}

/// A player by hand, over one TCP connection.
struct Player {
    io: BufReader<TcpStream>,
    url: String,
    session: String,
    cseq: usize,
    /// RTP packets by channel.
    packets: BTreeMap<u8, Vec<Vec<u8>>>,
}

impl Player {
    fn connect(rtsp: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(rtsp).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let url = format!("rtsp://{rtsp}/{path}");
        Self { io: BufReader::new(stream), url, session: String::new(), cseq: 0, packets: BTreeMap::new() }
    }

    /// Asks, keeps the packets that come before the answer, and returns the answer.
    fn ask(&mut self, method: &str, below: &str, more: &str) -> String {
        self.cseq += 1;
        let (url, cseq, session) = (&self.url, self.cseq, &self.session);
        let request = format!("{method} {url}{below} RTSP/1.0\r\nCSeq: {cseq}\r\n{session}{more}\r\n");
        self.io.get_mut().write_all(request.as_bytes()).unwrap();
        loop {
            match read_unit(&mut self.io).unwrap() {
                Unit::Packet(channel, bytes) => self.packets.entry(channel).or_default().push(bytes),
                Unit::Message(text) => {
                    assert!(text.contains(&format!("\r\nCSeq: {cseq}\r\n")), "{text}");
                    return text;
                }
            }
        }
    }

    fn set_up(&mut self) {
        for track in 0..2 {
            let channels = format!("interleaved={}-{}", 2 * track, 2 * track + 1);
            let transport = format!("Transport: RTP/AVP/TCP;unicast;{channels}\r\n");
            let answer = self.ask("SETUP", &format!("/trackID={track}"), &transport);
            assert!(answer.starts_with("RTSP/1.0 200") && answer.contains(&channels), "{answer}");
            let id = answer.lines().find_map(|l| l.strip_prefix("Session: ")).unwrap();
            self.session = format!("Session: {}\r\n", id.split(';').next().unwrap());
        }
    }

    fn receive(&mut self, channel: u8, count: usize) {
        while self.packets.get(&channel).map_or(0, Vec::len) < count {
            match read_unit(&mut self.io).unwrap() {
                Unit::Packet(channel, bytes) => self.packets.entry(channel).or_default().push(bytes),
                Unit::Message(text) => panic!("nobody asked for {text}"),
            }
        }
    }
}

#[test]
fn a_pause_leaves_no_gap_in_the_numbers() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&[]);
    let publisher = ffmpeg_publishes(directory.path(), &server.url("live/a"));
    wait_tracks(&server, "live/a");
    let mut player = Player::connect(server.rtsp.unwrap(), "live/a");
    assert!(player.ask("DESCRIBE", "", "Accept: application/sdp\r\n").contains("m=video"));
    player.set_up();
    assert!(player.ask("PLAY", "", "Range: npt=0.000-\r\n").starts_with("RTSP/1.0 200"));
    player.receive(0, 30);
    assert!(player.ask("PAUSE", "", "").starts_with("RTSP/1.0 200"));
    let before: Vec<usize> = [0, 2].iter().map(|c| player.packets[c].len()).collect();
    // Between the two answers nothing comes, though the stream goes on.
    let media = |server: &Server| server.clients("publisher", "live/a")[0]["bytes_in"].as_u64().unwrap();
    let then = media(&server);
    wait_until("more of the stream", || media(&server) > then + 50_000);
    assert!(player.ask("GET_PARAMETER", "", "").starts_with("RTSP/1.0 200"));
    let paused: Vec<usize> = [0, 2].iter().map(|c| player.packets[c].len()).collect();
    assert_eq!(before, paused, "packets within the pause");
    assert!(player.ask("PLAY", "", "").starts_with("RTSP/1.0 200"));
    player.receive(0, before[0] + 30);
    for channel in [0, 2] {
        let packets = player.packets[&channel].iter().map(Vec::as_slice);
        rtp::without_gap(&format!("channel {channel}"), packets);
    }
    // After the pause it goes on with the newest key frame, which may be the one it had before, on the same timeline.
    let again = player.packets[&0][before[0]..].iter().map(Vec::as_slice);
    let stopped = rtp::pictures(player.packets[&0][..before[0]].iter().map(Vec::as_slice));
    let pictures = rtp::pictures(again);
    assert!(pictures[0].key, "it goes on with {:?}", pictures[0]);
    let begin = |at: usize| rtp::rtp(&player.packets[&0][at]).timestamp;
    let step = begin(before[0]).wrapping_sub(begin(0));
    assert!(!stopped.is_empty() && step < 8 * 90_000, "{step} ticks");
    assert!(player.ask("TEARDOWN", "", "").starts_with("RTSP/1.0 200"));
    drop(publisher);
    server.stop();
}

#[test]
fn who_keeps_alive_stays_and_who_is_silent_goes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("serve.toml");
    std::fs::write(&file, "[rtsp]\nsession_timeout = \"3s\"\n").unwrap();
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    // It stays on air, however long this takes.
    let mut publisher = Publisher::start(server.rtmp, "live", "a").unwrap();
    publisher.send_all(&flv::tags(&clip())[..50]).unwrap();
    wait_tracks(&server, "live/a");
    let mut player = Player::connect(server.rtsp.unwrap(), "live/a");
    player.set_up();
    let answer = player.ask("PAUSE", "", "");
    assert!(answer.starts_with("RTSP/1.0 455"), "{answer}");
    // It asks, and asks again, for longer than the session may be silent.
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_millis(4500) {
        assert!(player.ask("GET_PARAMETER", "", "").starts_with("RTSP/1.0 200"), "it keeps alive");
    }
    // Now it says nothing: the server ends the session, and the connection with it.
    let mut rest = Vec::new();
    let ended = player.io.read_to_end(&mut rest);
    assert!(ended.is_ok(), "the server does not end a silent session: {ended:?}");
    drop(publisher);
    server.stop();
}
