//! Which requests make an HLS viewer, by the contract's rule.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::io::Write;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use streamgauge_analyzer::flow::{At, ConnInfo, ConnStats, Dir, End, HalfStats, Missing};
use streamgauge_analyzer::track::hls::{Outcome, Registry};
use streamgauge_analyzer::track::http::Tracker;

const MASTER: &str = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nvideo.m3u8\n";
const MEDIA: &str = "#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:1,\ns1.m4s\n#EXTINF:1,\ns2.m4s\n";

/// A capture with several connections.
#[derive(Default)]
struct Wire {
    hls: Registry,
    now: i64,
    ports: u16,
}

/// One connection of it.
struct Conn {
    tracker: Tracker,
    stats: ConnStats,
    sent: [u64; 2],
}

impl Wire {
    fn connect(&mut self) -> Conn {
        self.ports += 1;
        let a: SocketAddr = format!("10.0.0.1:{}", 5000 + self.ports).parse().unwrap();
        let b: SocketAddr = "10.0.0.2:8888".parse().unwrap();
        let info = ConnInfo { a, b, client_known: true, time_ns: self.now, frame: 1 };
        let half = HalfStats { from_start: true, ..HalfStats::default() };
        let stats = ConnStats {
            info,
            a_to_b: half,
            b_to_a: half,
            first_ns: self.now,
            last_ns: self.now,
            rtt_ns: None,
        };
        Conn { tracker: Tracker::new(&info), stats, sent: [0; 2] }
    }

    fn say(&mut self, conn: &mut Conn, dir: Dir, bytes: &[u8], size: usize) {
        for piece in bytes.chunks(size) {
            self.now += 1_000_000;
            let side = usize::from(dir == Dir::BToA);
            let at = At { time_ns: self.now, frame: 1, offset: conn.sent[side], ready_ns: self.now };
            conn.tracker.data(dir, at, piece, &mut self.hls);
            conn.sent[side] += piece.len() as u64;
        }
        self.hls.carried(self.now, |_, _| {});
    }

    fn fetch(&mut self, conn: &mut Conn, url: &str, answer: &str, body: impl AsRef<[u8]>) {
        self.fetch_with(conn, url, "", answer, body);
    }

    /// With more fields in the request; those of the response follow its status line.
    fn fetch_with(&mut self, conn: &mut Conn, url: &str, asked: &str, answer: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let request = format!("GET {url} HTTP/1.1\r\nHost: h\r\nUser-Agent: player\r\n{asked}\r\n");
        let head = format!("HTTP/1.1 {answer}\r\nContent-Length: {}\r\n\r\n", body.len());
        self.say(conn, Dir::AToB, request.as_bytes(), 7);
        self.say(conn, Dir::BToA, &[head.as_bytes(), body].concat(), 11);
    }

    fn close(&mut self, conn: Conn) {
        self.end(conn, End::Fin);
    }

    fn end(&mut self, mut conn: Conn, end: End) {
        conn.stats.last_ns = self.now;
        conn.tracker.close(end, &conn.stats, &mut self.hls);
    }

    fn finish(self) -> Vec<Outcome> {
        self.hls.finish().0
    }
}

#[test]
fn a_playlist_and_a_segment_make_a_viewer() {
    let mut wire = Wire::default();
    let mut conn = wire.connect();
    wire.fetch(&mut conn, "/live/a/index.m3u8", "200 OK", MASTER);
    wire.fetch(&mut conn, "/live/a/video.m3u8", "200 OK", MEDIA);
    wire.fetch(&mut conn, "/live/a/s1.m4s", "206 Partial", "xxxx");
    let sent = conn.sent;
    wire.close(conn);
    // Another one looks at the playlists only, and a third gets no segment.
    for answer in ["", "404 Not Found"] {
        let mut conn = wire.connect();
        conn.stats.info.a = "10.0.0.9:99".parse().unwrap();
        conn.tracker = Tracker::new(&conn.stats.info);
        wire.fetch(&mut conn, "/live/a/video.m3u8", "200 OK", MEDIA);
        if !answer.is_empty() {
            wire.fetch(&mut conn, "/live/a/s1.m4s", answer, "");
        }
        wire.close(conn);
    }
    let [viewer] = &wire.finish()[..] else { panic!("one viewer") };
    assert_eq!((viewer.path.as_deref(), viewer.agent.as_deref()), (Some("live/a"), Some("player")));
    assert_eq!((viewer.client.port(), viewer.bytes, viewer.parts.len()), (5001, sent, 1));
}

#[test]
fn equal_players_are_told_apart_when_a_segment_is_fetched_again() {
    let mut wire = Wire::default();
    let (mut one, mut two) = (wire.connect(), wire.connect());
    for conn in [&mut one, &mut two] {
        wire.fetch(conn, "/live/a/video.m3u8", "200 OK", MEDIA);
    }
    for segment in ["/live/a/s1.m4s", "/live/a/s2.m4s"] {
        for conn in [&mut one, &mut two] {
            wire.fetch(conn, segment, "200 OK", "x");
        }
    }
    let sum = one.sent[1] + two.sent[1];
    wire.close(one);
    wire.close(two);
    let viewers = wire.finish();
    assert_eq!(viewers.len(), 2);
    assert_eq!(viewers.iter().map(|v| v.bytes[1]).sum::<u64>(), sum);
    let mut ports: Vec<u16> = viewers.iter().map(|v| v.client.port()).collect();
    ports.sort_unstable();
    assert_eq!(ports, [5001, 5002]);
}

/// Of equal players the second one's poll is known for its own only when it fetches: its connection comes with it, whether it
/// is over by then or not.
#[test]
fn a_poll_brings_its_connection() {
    for over in [true, false] {
        let mut wire = Wire::default();
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut poll = wire.connect();
            wire.fetch(&mut poll, "/live/a/video.m3u8", "200 OK", MEDIA);
            if over {
                wire.close(poll);
            } else {
                open.push(poll);
            }
            let mut conn = wire.connect();
            wire.fetch(&mut conn, "/live/a/s1.m4s", "200 OK", "x");
            wire.close(conn);
        }
        open.into_iter().for_each(|conn| wire.close(conn));
        let viewers = wire.finish();
        let ports: Vec<Vec<u16>> =
            viewers.iter().map(|v| v.parts.iter().map(|part| part.stats.info.a.port()).collect()).collect();
        assert_eq!((viewers.len(), viewers[1].client.port()), (2, 5003), "{over}");
        assert_eq!(ports[1], [5003, 5004], "{over}");
    }
}

/// A request that the capture ends before the answer to makes it incomplete; one that the player gave up does not.
#[test]
fn a_capture_that_ends_before_an_answer_is_not_complete() {
    for (asks, end, complete) in
        [(false, End::Capture, true), (true, End::Capture, false), (true, End::Reset, true)]
    {
        let mut wire = Wire::default();
        let mut conn = wire.connect();
        wire.fetch(&mut conn, "/live/a/video.m3u8", "200 OK", MEDIA);
        wire.fetch(&mut conn, "/live/a/s1.m4s", "200 OK", "xxxx");
        if asks {
            let request = b"GET /live/a/s2.m4s HTTP/1.1\r\nHost: h\r\nUser-Agent: player\r\n\r\n";
            wire.say(&mut conn, Dir::AToB, request, 99);
        }
        wire.end(conn, end);
        let viewers = wire.finish();
        assert_eq!((viewers.len(), viewers[0].complete), (1, complete), "{asks} {end:?}");
    }
}

#[test]
fn tokens_name_viewers_over_all_their_connections() {
    let mut wire = Wire::default();
    for token in ["aa", "bb"] {
        let master = MASTER.replace("video.m3u8", &format!("video.m3u8?session={token}"));
        let media = MEDIA.replace(".m4s", &format!(".m4s?session={token}"));
        let mut conn = wire.connect();
        wire.fetch(&mut conn, "/live/a/index.m3u8", "200 OK", &master);
        wire.close(conn);
        let mut conn = wire.connect();
        wire.fetch(&mut conn, &format!("/live/a/video.m3u8?session={token}"), "200 OK", &media);
        for _ in 0..2 {
            wire.fetch(&mut conn, &format!("/live/a/s1.m4s?session={token}"), "200 OK", "x");
        }
        wire.close(conn);
    }
    let viewers = wire.finish();
    let told: Vec<_> = viewers.iter().map(|v| (v.client.port(), v.parts.len(), v.path.as_deref())).collect();
    assert_eq!(told, [(5001, 2, Some("live/a")), (5003, 2, Some("live/a"))]);
}

#[test]
fn plain_http_makes_no_session_and_bodies_end_where_they_should() {
    let mut wire = Wire::default();
    let mut conn = wire.connect();
    wire.fetch(&mut conn, "/index.html", "200 OK", "<html>");
    // HEAD has no body, chunks end with a trailer, two requests are under way at once.
    wire.say(
        &mut conn,
        Dir::AToB,
        b"HEAD /live/a/video.m3u8 HTTP/1.1\r\n\r\nGET /live/a/video.m3u8 HTTP/1.1\r\n\r\n",
        50,
    );
    wire.say(&mut conn, Dir::BToA, b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", 9);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{MEDIA}\r\n0\r\nX: y\r\n\r\n",
        MEDIA.len()
    );
    wire.say(&mut conn, Dir::BToA, chunked.as_bytes(), 3);
    // A hole inside a body costs that body's content alone.
    wire.say(&mut conn, Dir::AToB, b"GET /live/a/s1.m4s HTTP/1.1\r\n\r\n", 99);
    wire.say(&mut conn, Dir::BToA, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc", 99);
    let at = At { time_ns: wire.now, frame: 1, offset: 0, ready_ns: wire.now };
    conn.tracker.gap(Dir::BToA, at, 990, Missing::Lost, &mut wire.hls);
    wire.say(&mut conn, Dir::BToA, b"defghij", 2);
    wire.say(&mut conn, Dir::AToB, b"GET /live/a/s2.m4s HTTP/1.1\r\n\r\n", 99);
    wire.say(&mut conn, Dir::BToA, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nzz", 99);
    wire.close(conn);
    let [viewer] = &wire.finish()[..] else { panic!("one viewer") };
    assert!(!viewer.complete);
    let mut wire = Wire::default();
    let mut conn = wire.connect();
    wire.fetch(&mut conn, "/index.html", "200 OK", "<html>");
    wire.fetch(&mut conn, "/video.mp4", "200 OK", "data");
    wire.close(conn);
    assert!(wire.finish().is_empty());
}

#[test]
fn cookies_name_viewers_as_tokens_do() {
    let mut wire = Wire::default();
    // Two equal players, and one that takes no cookies; their requests are mixed.
    let cookies = ["Cookie: a=b; streamgauge_session=aa\r\n", "Cookie: streamgauge_session=bb\r\n", ""];
    let tokens = ["aa", "bb", "cc"];
    let mut firsts = Vec::new();
    for token in tokens {
        let mut conn = wire.connect();
        let given = format!("200 OK\r\nSet-Cookie: streamgauge_session={token}; Path=/live/a/; HttpOnly");
        wire.fetch(&mut conn, "/live/a/index.m3u8", &given, MASTER);
        firsts.push(conn.sent);
        wire.close(conn);
    }
    let mut conns = [(); 3].map(|()| wire.connect());
    // Not in the order in which they came.
    for n in [1, 0, 2] {
        wire.fetch_with(&mut conns[n], "/live/a/video.m3u8", cookies[n], "200 OK", MEDIA);
    }
    for segment in ["/live/a/s1.m4s", "/live/a/s2.m4s"] {
        for n in [0, 1, 1, 2] {
            wire.fetch_with(&mut conns[n], segment, cookies[n], "200 OK", "x");
        }
    }
    let sent: Vec<u64> = conns.iter().zip(&firsts).map(|(conn, first)| conn.sent[1] + first[1]).collect();
    conns.into_iter().for_each(|conn| wire.close(conn));
    let viewers = wire.finish();
    let told: Vec<_> = viewers
        .iter()
        .map(|v| (v.client.port(), v.parts.len(), v.segments, v.bytes[1], v.path.as_deref()))
        .collect();
    let path = Some("live/a");
    assert_eq!(told, [(5001, 2, 2, sent[0], path), (5002, 2, 4, sent[1], path), (5003, 2, 2, sent[2], path)]);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

#[test]
fn packed_playlists_are_read_and_damaged_ones_told() {
    const PACKED: &str = "200 OK\r\nContent-Encoding: gzip";
    let mut wire = Wire::default();
    let mut conn = wire.connect();
    wire.fetch(&mut conn, "/live/a/index.m3u8", PACKED, gzip(MASTER));
    wire.fetch(&mut conn, "/live/a/video.m3u8", PACKED, gzip(MEDIA));
    wire.fetch(&mut conn, "/live/a/s1.m4s", "200 OK", "x");
    // Damaged behind its head: what came before is lost, the viewer goes on.
    let mut damaged = gzip(&MEDIA.repeat(20));
    damaged[20..40].fill(0x55);
    let before = conn.sent[1];
    wire.fetch(&mut conn, "/live/a/video.m3u8", PACKED, &damaged);
    let content = conn.sent[1] - damaged.len() as u64;
    wire.fetch(&mut conn, "/live/a/video.m3u8", PACKED, "not packed");
    wire.fetch(&mut conn, "/live/a/s2.m4s", PACKED, "x");
    wire.close(conn);
    assert_eq!(wire.hls.take_notes().len(), 0);
    let [viewer] = &wire.finish()[..] else { panic!("one viewer") };
    assert_eq!(viewer.segments, 2);
    // Media that is packed is one more of the same rule, and that it cannot be unpacked another.
    let [note] = &viewer.notes[..] else { panic!("{:?}", viewer.notes) };
    assert_eq!((note.rule.id, note.count), ("http.gzip", 4));
    let at = note.at.unwrap().offset;
    assert!(at > before && at <= content && at + 11 > content, "{at} of {content}");

    // Without a viewer the finding stands alone.
    let mut wire = Wire::default();
    let mut conn = wire.connect();
    wire.fetch(&mut conn, "/live/a/video.m3u8", PACKED, &damaged);
    wire.close(conn);
    let notes = wire.hls.take_notes();
    assert_eq!(notes.iter().map(|note| note.rule.id).collect::<Vec<_>>(), ["http.gzip"]);
    // What the capture lacks is no fault.
    let mut conn = wire.connect();
    wire.say(&mut conn, Dir::AToB, b"GET /live/a/video.m3u8 HTTP/1.1\r\n\r\n", 99);
    let packed = gzip(MEDIA);
    let head = format!("HTTP/1.1 {PACKED}\r\nContent-Length: {}\r\n\r\n", packed.len());
    wire.say(&mut conn, Dir::BToA, &[head.as_bytes(), &packed[..20]].concat(), 99);
    let at = At { time_ns: wire.now, frame: 1, offset: 0, ready_ns: wire.now };
    conn.tracker.gap(Dir::BToA, at, 20, Missing::Lost, &mut wire.hls);
    wire.say(&mut conn, Dir::BToA, &packed[40..], 99);
    wire.close(conn);
    assert_eq!((wire.hls.take_notes().len(), wire.finish().len()), (0, 0));
}

/// Two halves of a segment are one; a resource that is listed in parts has several.
#[test]
fn parts_of_a_segment_are_one_segment() {
    const WHOLE: &str = "200 OK";
    let part = |from: u32, to: u32| {
        (
            format!("Range: bytes={from}-{to}\r\n"),
            format!("206 Partial Content\r\nContent-Range: bytes {from}-{to}/100"),
        )
    };
    let segments = |list: &str, fetched: &[(&str, Option<(u32, u32)>)]| {
        let mut wire = Wire::default();
        let mut conn = wire.connect();
        wire.fetch(&mut conn, "/live/a/video.m3u8?session=7", WHOLE, list);
        for (url, range) in fetched {
            let (asked, answer) =
                range.map_or((String::new(), WHOLE.to_owned()), |(from, to)| part(from, to));
            wire.fetch_with(&mut conn, &format!("/live/a/{url}?session=7"), &asked, &answer, "x");
        }
        wire.close(conn);
        let [viewer] = &wire.finish()[..] else { panic!("one viewer") };
        viewer.segments
    };
    let media = MEDIA.replace(".m4s", ".m4s?session=7");
    let (low, high) = (Some((0, 49)), Some((50, 99)));
    assert_eq!(segments(&media, &[("s1.m4s", low), ("s1.m4s", high)]), 1);
    assert_eq!(segments(&media, &[("s1.m4s", low), ("s2.m4s", None), ("s1.m4s", high), ("s2.m4s", high)]), 2);
    // A player that asks for two bytes first, and one that plays a segment again.
    assert_eq!(segments(&media, &[("s1.m4s", Some((0, 1))), ("s1.m4s", Some((0, 99)))]), 1);
    assert_eq!(segments(&media, &[("s1.m4s", None), ("s1.m4s", Some((0, 99))), ("s1.m4s", None)]), 3);
    let parts = "#EXTM3U\n#EXTINF:1,\n#EXT-X-BYTERANGE:50@0\nall.ts?session=7\n#EXTINF:1,\n#EXT-X-BYTERANGE:50\nall.ts?session=7\n";
    assert_eq!(segments(parts, &[("all.ts", low), ("all.ts", high)]), 2);
    assert_eq!(
        segments(parts, &[("all.ts", low), ("all.ts", Some((50, 59))), ("all.ts", Some((60, 99)))]),
        2
    );
}

/// What leads to a playlist or a segment belongs to whoever follows it, with its connection, also to another host.
#[test]
fn redirections_are_part_of_a_session() {
    const WHOLE: &str = "200 OK";
    for token in ["", "?session=7"] {
        let to = |code: &str, url: &str| format!("{code}\r\nLocation: {url}{token}");
        let mut wire = Wire::default();
        let mut conns = [wire.connect(), wire.connect(), wire.connect()];
        let [door, cdn, other] = &mut conns;
        let url = |url: &str| format!("{url}{token}");
        wire.fetch(door, &url("/live/a/index.m3u8"), &to("302 Found", "http://cdn/7/master.m3u8"), "");
        let master = format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nvideo.m3u8{token}\n");
        wire.fetch(cdn, &url("/7/master.m3u8"), WHOLE, &master);
        // The list has moved, and moved once more; a player that knows where asks there the next time.
        wire.fetch(cdn, &url("/7/video.m3u8"), &to("307 Temporary Redirect", "/8/video.m3u8"), "");
        wire.fetch(cdn, &url("/8/video.m3u8"), &to("301 Moved Permanently", "/9/video.m3u8"), "moved");
        let media = MEDIA.replace(".m4s", &format!(".m4s{token}"));
        wire.fetch(cdn, &url("/9/video.m3u8"), WHOLE, &media);
        wire.fetch(cdn, &url("/9/s1.m4s"), &to("308 Permanent Redirect", "http://other/x/s1"), "");
        wire.fetch(other, &url("/x/s1"), WHOLE, "x");
        wire.fetch(cdn, &url("/9/video.m3u8"), WHOLE, &media);
        wire.fetch(cdn, &url("/9/s2.m4s"), WHOLE, "x");
        // Nobody follows this one, and nothing else is of it.
        wire.fetch(door, "/elsewhere.m3u8", "302 Found\r\nLocation: /nowhere.m3u8", "");
        let strange = door.sent;
        let sent = |side: usize| conns.iter().map(|conn| conn.sent[side]).sum::<u64>();
        let sent = [sent(0), sent(1)];
        conns.into_iter().for_each(|conn| wire.close(conn));
        let [viewer] = &wire.finish()[..] else { panic!("one viewer {token}") };
        let (last, first) = ("GET /elsewhere.m3u8", "GET /live/a/index.m3u8");
        let asked = |line: &str| line.len() + " HTTP/1.1\r\nHost: h\r\nUser-Agent: player\r\n\r\n".len();
        assert_eq!(strange[0], (asked(first) + token.len() + asked(last)) as u64);
        let stray = "HTTP/1.1 302 Found\r\nLocation: /nowhere.m3u8\r\nContent-Length: 0\r\n\r\n".len() as u64;
        assert_eq!(viewer.bytes, [sent[0] - asked(last) as u64, sent[1] - stray], "{token}");
        assert_eq!((viewer.segments, viewer.parts.len(), viewer.client.port()), (2, 3, 5001), "{token}");
        assert_eq!((viewer.path.as_deref(), viewer.notes.len()), (Some("live/a"), 0), "{token}");
    }
}
