//! HLS in the shapes that servers and players give it: what is told of it equals what ffprobe counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

mod pcap;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use model::{Analysis, Protocol, Session, Track, TrackKind};
use pcap::{Side, Tcp, Writer};
use streamgauge_analyzer::{Analyzer, Options};

/// What ffmpeg's segmenter wrote.
struct Stream {
    playlist: String,
    files: BTreeMap<String, Vec<u8>>,
    /// Pictures, key frames and frames of sound, as ffprobe counts them.
    counts: [u64; 3],
}

impl Stream {
    /// What the playlist lists after each other, with the ranges of resources that hold several.
    fn segments(&self) -> Vec<(&str, Option<(usize, usize)>)> {
        let (mut range, mut found) = (None, Vec::new());
        for line in self.playlist.lines() {
            if let Some(text) = line.strip_prefix("#EXT-X-BYTERANGE:") {
                range = span(text);
            } else if !line.starts_with('#') && !line.is_empty() {
                found.push((line, range.take()));
            }
        }
        found
    }

    /// The initialization section and where it is.
    fn map(&self) -> Option<(&str, Option<(usize, usize)>)> {
        let line = self.playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\""))?;
        let (name, rest) = line.split_once('"')?;
        let range = rest.strip_prefix(",BYTERANGE=\"").and_then(|text| span(text.trim_end_matches('"')));
        Some((name, range))
    }
}

/// First and last byte of `LENGTH@OFFSET`.
fn span(text: &str) -> Option<(usize, usize)> {
    let (length, offset) = text.split_once('@')?;
    let (length, offset): (usize, usize) = (length.parse().ok()?, offset.parse().ok()?);
    Some((offset, offset + length - 1))
}

fn run(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// The sample clip in segments of a second, made with these options of ffmpeg; none, with the reason printed, where there is
/// no ffmpeg.
fn segmented(name: &str, options: &[&str]) -> Option<Stream> {
    if Command::new("ffprobe").arg("-version").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("STREAMGAUGE_REQUIRE_PEERS").is_none(), "ffmpeg is not installed");
        println!("skipped: ffmpeg is not installed");
        return None;
    }
    let clip = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenarios/samples/h264-aac.flv");
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("shape-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("key.bin"), [7; 16]).unwrap();
    fs::write(directory.join("key.info"), format!("key.bin\n{}\n", directory.join("key.bin").display()))
        .unwrap();
    let list = directory.join("index.m3u8");
    let (info, list) = (directory.join("key.info"), list.to_str().unwrap());
    let options: Vec<&str> =
        options.iter().map(|option| if *option == "KEY" { info.to_str().unwrap() } else { option }).collect();
    let input = ["-v", "error", "-y", "-nostdin", "-i", clip.to_str().unwrap(), "-c", "copy", "-t", "8"];
    let output = ["-f", "hls", "-hls_time", "1", "-hls_playlist_type", "vod"];
    run("ffmpeg", &[&input[..], &output, &options, &[list]].concat());
    let shown = ["-v", "error", "-allowed_extensions", "ALL", "-show_entries", "packet=codec_type,flags"];
    let packets = run("ffprobe", &[&shown[..], &["-of", "csv=p=0", list]].concat());
    let count = |what: &dyn Fn(&str) -> bool| packets.lines().filter(|line| what(line)).count() as u64;
    let video = |line: &str| line.starts_with("video");
    let counts = [
        count(&video),
        count(&|line| video(line) && line.contains('K')),
        count(&|line| line.starts_with("audio")),
    ];
    let playlist = fs::read_to_string(list).unwrap();
    let files = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap());
    let files =
        files.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
    let stream = Stream { playlist, files: files.collect(), counts };
    fs::remove_dir_all(directory).unwrap();
    assert!(stream.segments().len() > 2 && stream.counts.iter().sum::<u64>() > 50, "{}", stream.playlist);
    Some(stream)
}

/// A request and its answer.
fn exchange(url: &str, range: Option<(usize, usize)>, kind: &str, body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let asks = range.map(|(from, to)| format!("Range: bytes={from}-{to}\r\n")).unwrap_or_default();
    let body = range.map_or(body, |(from, to)| &body[from..=to]);
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    let request = format!("GET {url} HTTP/1.1\r\nHost: h\r\nUser-Agent: player\r\n{asks}\r\n");
    (request.into_bytes(), [head.as_bytes(), body].concat())
}

fn fetch(writer: &mut Writer, tcp: &mut Tcp, (request, answer): (Vec<u8>, Vec<u8>)) {
    writer.send(tcp, Side::Client, &request);
    writer.send(tcp, Side::Server, &answer);
}

const LIST: &str = "application/vnd.apple.mpegurl";

/// Fetches the playlist below `base`, its initialization section, then the segments.
fn play(writer: &mut Writer, tcp: &mut Tcp, base: &str, stream: &Stream, kind: &str) {
    fetch(writer, tcp, exchange(&format!("{base}index.m3u8"), None, LIST, stream.playlist.as_bytes()));
    for (name, range) in stream.map().into_iter().chain(stream.segments()) {
        fetch(writer, tcp, exchange(&format!("{base}{name}"), range, kind, &stream.files[name]));
    }
}

fn analyze(writer: Writer) -> Analysis {
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.reader("made", Cursor::new(writer.finish())).unwrap();
    analyzer.finish()
}

fn only(analysis: &Analysis) -> &Session {
    let [session] = &analysis.sessions[..] else { panic!("{:#?}", analysis.sessions) };
    assert_eq!(session.protocol, Protocol::Hls);
    session
}

fn of(session: &Session, kind: TrackKind) -> Vec<&Track> {
    session.tracks.iter().filter(|track| track.kind == kind).collect()
}

/// Pictures, key frames and frames of sound of a session with one track of each.
fn counts(session: &Session) -> [u64; 3] {
    let [video, audio] = &session.tracks[..] else { panic!("{:#?}", session.tracks) };
    assert_eq!((video.kind, audio.kind), (TrackKind::Video, TrackKind::Audio));
    [video.frames, video.key_frames, audio.frames]
}

const FMP4: [&str; 2] = ["-hls_segment_type", "fmp4"];
const TS: [&str; 2] = ["-hls_segment_type", "mpegts"];

#[test]
fn one_file_holds_all_segments_and_its_initialization_section() {
    for kind in [FMP4, TS] {
        let Some(stream) = segmented(kind[1], &[&kind[..], &["-hls_flags", "single_file"]].concat()) else {
            return;
        };
        let mut writer = Writer::default();
        let mut tcp = writer.connect(5000, 80);
        play(&mut writer, &mut tcp, "/live/", &stream, "application/octet-stream");
        writer.close(&mut tcp);
        let analysis = analyze(writer);
        let session = only(&analysis);
        assert_eq!(
            (counts(session), session.segments),
            (stream.counts, Some(stream.segments().len() as u64))
        );
        assert_eq!(session.tracks[0].frame_rate.map(f64::round), Some(25.0));
        assert!(analysis.findings.is_empty(), "{:#?}", analysis.findings);
    }
}

/// Players fetch the next segment before they have the one before, on another connection.
#[test]
fn segments_that_come_at_the_same_time_are_put_in_order() {
    for kind in [FMP4, TS] {
        let Some(stream) = segmented(&format!("order-{}", kind[1]), &kind) else { return };
        let mut writer = Writer::default();
        let mut tcps = [writer.connect(5000, 80), writer.connect(5001, 80)];
        let list = exchange("/live/index.m3u8", None, LIST, stream.playlist.as_bytes());
        fetch(&mut writer, &mut tcps[0], list);
        if let Some((name, _)) = stream.map() {
            let map = exchange(&format!("/live/{name}"), None, "video/mp4", &stream.files[name]);
            fetch(&mut writer, &mut tcps[0], map);
        }
        // The pieces of two segments come in turns; the second one is all there before the first.
        for pair in stream.segments().chunks(2) {
            let both = pair.iter().map(|(name, _)| {
                exchange(&format!("/live/{name}"), None, "application/octet-stream", &stream.files[*name])
            });
            let both: Vec<_> = both.collect();
            let mut left = Vec::new();
            for (tcp, (request, answer)) in tcps.iter_mut().zip(&both) {
                writer.send(tcp, Side::Client, request);
                left.push(answer.chunks(1400).collect::<Vec<_>>());
            }
            if let [one, two] = &left[..] {
                let keep = one.len() / 2;
                let [first, second] = &mut tcps;
                let turns = two.len().max(keep);
                for turn in 0..turns {
                    one[..keep]
                        .get(turn)
                        .into_iter()
                        .for_each(|bytes| writer.send(first, Side::Server, bytes));
                    two.get(turn).into_iter().for_each(|bytes| writer.send(second, Side::Server, bytes));
                }
                one[keep..].iter().for_each(|bytes| writer.send(first, Side::Server, bytes));
            } else {
                left[0].iter().for_each(|bytes| writer.send(&mut tcps[0], Side::Server, bytes));
            }
        }
        tcps.iter_mut().for_each(|tcp| writer.close(tcp));
        let analysis = analyze(writer);
        let session = only(&analysis);
        assert_eq!((counts(session), session.connections.len()), (stream.counts, 2), "{kind:?}");
        let video = &session.tracks[0];
        assert_eq!(video.frame_rate.map(f64::round), Some(25.0), "{kind:?}: {video:#?}");
        let gop = video.gop.as_ref().unwrap();
        assert_eq!((gop.min_frames, gop.max_frames), (50, 50), "{kind:?}");
    }
}

const MASTER: &str = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"English\",LANGUAGE=\"en\",URI=\"en/index.m3u8\"\n\
    #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"Deutsch\",LANGUAGE=\"de\",URI=\"de/index.m3u8\"\n\
    #EXT-X-STREAM-INF:BANDWIDTH=100000,RESOLUTION=160x90,CODECS=\"avc1.4d400b,mp4a.40.2\",AUDIO=\"a\"\nlow/index.m3u8\n\
    #EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=320x180,CODECS=\"avc1.4d400c,mp4a.40.2\",AUDIO=\"a\"\nhigh/index.m3u8\n";

/// A viewer takes two variant streams after each other and leaves one of them out for a while; two languages of sound, which
/// are packed audio in the second round.
#[test]
fn variants_and_renditions_are_tracks_of_their_own() {
    for (kind, packed) in [(FMP4, false), (TS, false), (TS, true)] {
        let name = format!("variants-{}-{packed}", kind[1]);
        let Some(pictures) = segmented(&name, &[&kind[..], &["-an"]].concat()) else { return };
        let Some(mut sound) = segmented(&format!("{name}-sound"), &kind) else { return };
        if packed {
            // Frames of AAC with their ADTS headers, cut anywhere between two.
            let adts = adts();
            let (half, count) = split(&adts);
            sound.counts = [0, 0, count];
            sound.playlist = "#EXTM3U\n#EXTINF:2,\na.aac\n#EXTINF:2,\nb.aac\n".to_owned();
            sound.files = [("a.aac", &adts[..half]), ("b.aac", &adts[half..])]
                .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
                .into();
        } else {
            let Some(only) = segmented(&format!("{name}-only"), &[&kind[..], &["-vn"]].concat()) else {
                return;
            };
            sound = only;
        }
        let mut writer = Writer::default();
        let mut tcp = writer.connect(5000, 80);
        fetch(&mut writer, &mut tcp, exchange("/live/master.m3u8", None, LIST, MASTER.as_bytes()));
        play(&mut writer, &mut tcp, "/live/en/", &sound, "audio/aac");
        play(&mut writer, &mut tcp, "/live/de/", &sound, "audio/aac");
        let base = ["/live/low/", "/live/high/"];
        for base in base {
            let url = format!("{base}index.m3u8");
            fetch(&mut writer, &mut tcp, exchange(&url, None, LIST, pictures.playlist.as_bytes()));
            if let Some((name, _)) = pictures.map() {
                let map = exchange(&format!("{base}{name}"), None, "video/mp4", &pictures.files[name]);
                fetch(&mut writer, &mut tcp, map);
            }
        }
        let segments = pictures.segments();
        let last = segments.len() - 1;
        for (n, (name, _)) in segments.iter().enumerate() {
            // The first and the last of the low one, the others of the high one.
            let base = base[usize::from(n != 0 && n != last)];
            let got =
                exchange(&format!("{base}{name}"), None, "application/octet-stream", &pictures.files[*name]);
            fetch(&mut writer, &mut tcp, got);
        }
        writer.close(&mut tcp);
        let analysis = analyze(writer);
        let session = only(&analysis);
        let declared = |track: &Track, name: &str| track.declared.as_ref().unwrap().get(name).cloned();
        let [low, high] = of(session, TrackKind::Video)[..] else { panic!("{name}: {session:#?}") };
        assert_eq!(low.frames + high.frames, pictures.counts[0], "{name}");
        for (track, size) in [(low, "160x90"), (high, "320x180")] {
            assert_eq!(declared(track, "RESOLUTION").as_deref(), Some(size), "{name}");
            assert_eq!(track.frame_rate.map(f64::round), Some(25.0), "{name}");
        }
        let [english, german] = of(session, TrackKind::Audio)[..] else { panic!("{name}: {session:#?}") };
        for (track, language) in [(english, "en"), (german, "de")] {
            assert_eq!(track.frames, sound.counts[2], "{name}");
            assert_eq!(declared(track, "LANGUAGE").as_deref(), Some(language), "{name}");
            assert!(declared(track, "CODECS").is_some() && declared(track, "RESOLUTION").is_none(), "{name}");
        }
        assert!(session.segments.is_some() && session.complete);
    }
}

/// The clip's sound with ADTS headers.
fn adts() -> Vec<u8> {
    let clip = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenarios/samples/h264-aac.flv");
    let arguments = ["-v", "error", "-nostdin", "-i", clip.to_str().unwrap(), "-vn", "-c", "copy", "-t", "8"];
    let out = Command::new("ffmpeg").args(arguments).args(["-f", "adts", "-"]).output().unwrap();
    assert!(out.status.success());
    out.stdout
}

/// A place between two frames near the middle, and how many there are.
fn split(adts: &[u8]) -> (usize, u64) {
    let (mut at, mut half, mut count) = (0, 0, 0);
    while at < adts.len() {
        let [.., a, b, c] = adts[at..at + 6] else { panic!("a header") };
        at += usize::from(a & 3) << 11 | usize::from(b) << 3 | usize::from(c) >> 5;
        count += 1;
        if at <= adts.len() / 2 {
            half = at;
        }
    }
    (half, count)
}

/// Bodies that end with their connections, as HTTP/1.0 has them; a segment of MP4 that is labelled as MPEG-TS.
#[test]
fn bodies_end_with_connections_and_labels_may_be_wrong() {
    let Some(stream) = segmented("close", &FMP4) else { return };
    let mut writer = Writer::default();
    let playlist = ("index.m3u8", LIST, stream.playlist.as_bytes());
    let media = stream.map().into_iter().chain(stream.segments());
    let media = media.map(|(name, _)| (name, "video/mp2t", &stream.files[name][..]));
    for (n, (name, kind, body)) in (0u16..).zip(std::iter::once(playlist).chain(media)) {
        let mut tcp = writer.connect(5000 + n, 80);
        let request = format!("GET /live/{name} HTTP/1.0\r\nUser-Agent: player\r\n\r\n");
        writer.send(&mut tcp, Side::Client, request.as_bytes());
        writer.send(
            &mut tcp,
            Side::Server,
            format!("HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\n\r\n").as_bytes(),
        );
        writer.send(&mut tcp, Side::Server, body);
        writer.close(&mut tcp);
    }
    let analysis = analyze(writer);
    let session = only(&analysis);
    assert_eq!(counts(session), stream.counts);
    assert_eq!(session.connections.len(), stream.segments().len() + 2);
}

/// A server that codes everything it sends: what segments carry is told all the same, and that the coding gains nothing. What
/// unpacks to far more than came is not followed to its end.
#[test]
fn coded_segments_are_unpacked_within_bounds() {
    for (kind, coding) in [(FMP4, "gzip"), (TS, "gzip"), (TS, "deflate")] {
        let Some(stream) = segmented(&format!("coded-{coding}-{}", kind[1]), &kind) else { return };
        let pack = |content: &[u8]| {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
            if coding == "gzip" {
                gzip.write_all(content).unwrap();
                gzip.finish().unwrap()
            } else {
                zlib.write_all(content).unwrap();
                zlib.finish().unwrap()
            }
        };
        let coded = |kind: &str| format!("{kind}\r\nContent-Encoding: {coding}");
        let mut writer = Writer::default();
        let mut tcp = writer.connect(5000, 80);
        let list = pack(stream.playlist.as_bytes());
        fetch(&mut writer, &mut tcp, exchange("/live/index.m3u8", None, &coded(LIST), &list));
        let names: Vec<&str> =
            stream.map().into_iter().chain(stream.segments()).map(|(name, _)| name).collect();
        for name in &names {
            let got =
                exchange(&format!("/live/{name}"), None, &coded("video/mp2t"), &pack(&stream.files[*name]));
            fetch(&mut writer, &mut tcp, got);
        }
        writer.close(&mut tcp);
        // Another player gets a segment of 64 MiB of nothing in 64 KiB, and half of one whose answer is over.
        let mut other = writer.connect(5001, 80);
        fetch(&mut writer, &mut other, exchange("/live/index.m3u8", None, &coded(LIST), &list));
        let bomb = pack(&vec![0; 64 << 20]);
        let last = pack(&stream.files[names[names.len() - 1]]);
        for (name, body) in
            [(names[names.len() - 2], &bomb[..]), (names[names.len() - 1], &last[..last.len() / 2])]
        {
            fetch(
                &mut writer,
                &mut other,
                exchange(&format!("/live/{name}"), None, &coded("video/mp2t"), body),
            );
        }
        writer.close(&mut other);
        let analysis = analyze(writer);
        let [session, second] = &analysis.sessions[..] else { panic!("{:#?}", analysis.sessions) };
        assert_eq!(counts(session), stream.counts, "{kind:?} {coding}");
        assert_eq!(session.segments, Some(stream.segments().len() as u64));
        assert_eq!(second.segments, Some(2));
        let told = |session: &Session| {
            let of = analysis.findings.iter().filter(|finding| finding.session.as_ref() == Some(&session.id));
            of.map(|finding| (finding.rule.clone(), finding.count)).collect::<Vec<_>>()
        };
        assert_eq!(told(session), [("http.gzip".to_owned(), names.len() as u64)]);
        // Two that are coded, and the half.
        assert_eq!(told(second), [("http.gzip".to_owned(), 3), ("capture.state-bounded".to_owned(), 1)]);
    }
}

/// Of two players behind one address the first fetches the initialization section; what its twin fetched is counted.
#[test]
fn an_initialization_section_serves_whoever_shares_the_address() {
    let Some(stream) = segmented("twins", &FMP4) else { return };
    let mut writer = Writer::default();
    let mut twins = [writer.connect(5000, 80), writer.connect(5001, 80)];
    let list = || exchange("/live/index.m3u8", None, LIST, stream.playlist.as_bytes());
    for tcp in &mut twins {
        fetch(&mut writer, tcp, list());
    }
    let (map, _) = stream.map().unwrap();
    fetch(
        &mut writer,
        &mut twins[0],
        exchange(&format!("/live/{map}"), None, "video/mp4", &stream.files[map]),
    );
    for (name, _) in stream.segments() {
        for tcp in &mut twins {
            fetch(
                &mut writer,
                tcp,
                exchange(&format!("/live/{name}"), None, "video/mp4", &stream.files[name]),
            );
        }
    }
    twins.iter_mut().for_each(|tcp| writer.close(tcp));
    let analysis = analyze(writer);
    assert_eq!(analysis.sessions.len(), 2);
    for session in &analysis.sessions {
        assert_eq!(counts(session), stream.counts);
    }
}

/// Everything a player asks for is its own: the key, and a playlist that has not changed. What is encrypted is not guessed at.
#[test]
fn encrypted_segments_and_unchanged_playlists() {
    let Some(stream) = segmented("encrypted", &["-hls_key_info_file", "KEY"]) else { return };
    let mut writer = Writer::default();
    let mut tcp = writer.connect(5000, 80);
    play(&mut writer, &mut tcp, "/live/", &stream, "video/mp2t");
    writer.close(&mut tcp);
    let mut other = writer.connect(5001, 80);
    fetch(&mut writer, &mut other, exchange("/live/key.bin", None, "application/octet-stream", &[7; 16]));
    for (method, status) in [("GET", "304 Not Modified"), ("HEAD", "200 OK")] {
        let request = format!("{method} /live/index.m3u8 HTTP/1.1\r\nHost: h\r\nUser-Agent: player\r\n\r\n");
        let answer = format!("HTTP/1.1 {status}\r\nContent-Type: {LIST}\r\nContent-Length: 9\r\n\r\n");
        fetch(&mut writer, &mut other, (request.into_bytes(), answer.into_bytes()));
    }
    writer.close(&mut other);
    let sum = |analysis: &Analysis| {
        let tcp = &analysis.conversations.tcp;
        (tcp.iter().map(|row| row.bytes).sum::<u64>(), tcp.iter().map(|row| row.packets).sum::<u64>())
    };
    let analysis = analyze(writer);
    let session = only(&analysis);
    // Without headers of 20 bytes each of IP and TCP.
    let (bytes, packets) = sum(&analysis);
    assert_eq!(session.bytes_to_server + session.bytes_to_client, bytes - 40 * packets);
    assert_eq!((session.tracks.len(), session.connections.len()), (0, 2), "{session:#?}");
    assert_eq!(session.segments, Some(stream.segments().len() as u64));
    let told: Vec<_> =
        analysis.findings.iter().map(|finding| (finding.rule.as_str(), finding.count)).collect();
    assert_eq!(told, [("capture.hls-encrypted", stream.segments().len() as u64)]);
}
