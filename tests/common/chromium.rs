//! Headless Chromium: a page of our own that draws what hls.js plays, or the server's own page, and says what it saw.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::Value;

use super::PATIENCE;
use super::peer::Peer;

/// Names under which systems have it. Ubuntu has Chromium as a snap alone, which sees no other directories than its own, so there
/// Chrome does.
const BROWSERS: [&str; 3] = ["chromium", "google-chrome", "google-chrome-stable"];

/// Plays every stream of the query `?src=URL&src=URL` muted, and every page `?page=PATH` of the server, once `/go` is answered.
/// Every picture that is presented is drawn small and remembered by its bytes. It reports on each stream at its end, or at a
/// fatal error.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>player</title>
<script src="/hls.js"></script>
<script>
const tell = (what) => fetch('/report', { method: 'POST', body: JSON.stringify(what) });
const watched = (url, video) => {
  const canvas = document.createElement('canvas');
  canvas.width = 64, canvas.height = 36;
  const brush = canvas.getContext('2d', { willReadFrequently: true });
  const pictures = new Set(), report = { url, errors: [], lists: [], codecs: [] };
  const frame = () => {
    brush.drawImage(video, 0, 0, 64, 36);
    let hash = 0;
    for (const byte of brush.getImageData(0, 0, 64, 36).data) hash = (Math.imul(hash, 31) + byte) | 0;
    pictures.add(hash);
    video.requestVideoFrameCallback(frame);
  };
  video.requestVideoFrameCallback(frame);
  const done = (how) => tell({ ...report, how, pictures: pictures.size, time: video.currentTime,
    width: video.videoWidth, height: video.videoHeight,
    audio: video.webkitAudioDecodedByteCount, shown: video.getVideoPlaybackQuality().totalVideoFrames });
  video.addEventListener('error', () => done('video error ' + video.error?.message));
  return { report, done };
};
const play = (url) => {
  const video = document.createElement('video');
  video.muted = true;
  document.documentElement.append(video);
  const { report, done } = watched(url, video);
  video.addEventListener('ended', () => done('ended'));
  const hls = new Hls();
  hls.on(Hls.Events.ERROR, (_, e) => {
    report.errors.push(`${e.type} ${e.details}${e.fatal ? ' fatal' : ''}`);
    if (e.fatal) done('fatal');
  });
  hls.on(Hls.Events.MANIFEST_PARSED, (_, m) => m.levels.forEach((l) => report.codecs.push(l.attrs.CODECS)));
  hls.on(Hls.Events.LEVEL_LOADED, (_, { details: d }) =>
    report.lists.push({ first: d.startSN, last: d.endSN, target: d.targetduration, live: d.live }));
  hls.loadSource(url);
  hls.attachMedia(video);
  video.play().catch((e) => report.errors.push('play: ' + e));
};
// The server's own page, which plays by itself; what it says of it comes along.
const visit = (url) => {
  const frame = document.createElement('iframe');
  frame.src = url;
  frame.onload = () => {
    const page = frame.contentDocument, video = page.querySelector('video');
    const { report, done } = watched(url, video);
    const said = () => {
      const words = page.getElementById('state').textContent;
      if (words.startsWith('Nobody') && !report.lists.includes(words)) done('waits');
      report.lists.push(words);
    };
    new MutationObserver(said).observe(page.getElementById('state'), { childList: true, characterData: true, subtree: true });
    let ends = 0;
    video.addEventListener('ended', () => done('ended ' + ++ends));
  };
  document.documentElement.append(frame);
};
const query = new URLSearchParams(location.search);
fetch('/go').then(() => { query.getAll('src').forEach(play); query.getAll('page').forEach(visit); }).catch((e) => tell({ how: 'page: ' + e }));
addEventListener('error', (e) => tell({ how: 'script: ' + e.message }));
</script>"#;

/// What a player said of one stream.
pub type Report = Value;

/// A browser with a page that waits to be told to play.
pub struct Player {
    browser: Peer,
    reports: Receiver<Report>,
    gate: Arc<Gate>,
    _profile: tempfile::TempDir,
}

#[derive(Default)]
struct Gate {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, change: impl FnOnce(&mut (bool, bool))) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    #[track_caller]
    fn wait(&self, what: &str, holds: impl Fn((bool, bool)) -> bool) {
        let state = self.state.lock().unwrap();
        let (state, late) = self.changed.wait_timeout_while(state, PATIENCE * 2, |s| !holds(*s)).unwrap();
        drop(state);
        assert!(!late.timed_out(), "waited in vain for {what}");
    }
}

/// hls.js as `ci/test` fetched it. With `STREAMGAUGE_REQUIRE_PEERS=1` it is a failure that it is not there.
pub fn hls_js() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cached = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
        Some(cache.join("streamgauge/hls.js/package/dist/hls.min.js"))
    };
    let file = std::env::var_os("STREAMGAUGE_HLS_JS").map(PathBuf::from).or_else(cached);
    let found = file.filter(|file| file.is_file());
    if found.is_none() {
        let required = std::env::var("STREAMGAUGE_REQUIRE_PEERS").as_deref() == Ok("1");
        assert!(!required, "hls.js is not here: ci/test fetches it");
        super::say("skipped: hls.js is not here (ci/test fetches it)");
    }
    found
}

impl Player {
    /// Opens a page that will play `streams` with hls.js, and returns when it is there and waits.
    pub fn open(directory: &Path, hls_js: &Path, streams: &[String]) -> Self {
        let query: Vec<String> = streams.iter().map(|url| format!("src={url}")).collect();
        Self::start(directory, Some(hls_js), None, &query.join("&"))
    }

    /// Opens one that will visit the server's own page of a stream. What it does not know itself it asks `server` for, so that both
    /// pages are of one origin and the one may look at the other.
    pub fn visit(directory: &Path, server: SocketAddr, path: &str) -> Self {
        Self::start(directory, None, Some(server), &format!("page=/{path}/"))
    }

    fn start(directory: &Path, hls_js: Option<&Path>, server: Option<SocketAddr>, query: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = hls_js.map(|file| std::fs::read(file).unwrap()).unwrap_or_default();
        let gate = Arc::new(Gate::default());
        let (sender, reports) = channel();
        let theirs = Arc::clone(&gate);
        std::thread::spawn(move || host(&listener, &Arc::new(script), server, &theirs, &sender));
        let page = format!("http://{address}/?{query}");
        let profile = tempfile::tempdir().unwrap();
        let browser = browse(directory, profile.path(), &page);
        let player = Self { browser, reports, gate, _profile: profile };
        player.gate.wait("the page to be loaded by Chromium", |(waits, _)| waits);
        player
    }

    /// Has it play.
    pub fn go(&self) {
        self.gate.set(|state| state.1 = true);
    }

    /// The next report.
    #[track_caller]
    pub fn report(&self) -> Report {
        self.reports
            .recv_timeout(PATIENCE * 2)
            .unwrap_or_else(|_| panic!("no report from the page; Chromium wrote:\n{}", self.browser.log()))
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.gate.set(|state| *state = (true, true));
    }
}

/// The browser there is; Chromium where there is none.
pub fn browser() -> &'static str {
    BROWSERS.into_iter().find(|name| super::on_path(name)).unwrap_or("chromium")
}

fn browse(directory: &Path, profile: &Path, page: &str) -> Peer {
    let flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-breakpad",
        "--mute-audio",
        "--autoplay-policy=no-user-gesture-required",
        "--no-proxy-server",
    ];
    // What it leaves when it is killed goes with the profile.
    let (home, temp) = (format!("HOME={}", profile.display()), format!("TMPDIR={}", profile.display()));
    let data = format!("--user-data-dir={}", profile.join("data").display());
    let arguments: Vec<&str> =
        [&*home, &*temp, browser()].into_iter().chain(flags).chain([&*data, page]).collect();
    Peer::start(directory, "chromium", "env", &arguments)
}

/// The page's own server, on another origin than the streams'.
fn host(
    listener: &TcpListener,
    script: &Arc<Vec<u8>>,
    server: Option<SocketAddr>,
    gate: &Arc<Gate>,
    reports: &Sender<Report>,
) {
    for stream in listener.incoming().flatten() {
        let (script, gate, reports) = (Arc::clone(script), Arc::clone(gate), reports.clone());
        std::thread::spawn(move || {
            let _ = one(stream, &script, server, &gate, &reports);
        });
    }
}

/// Answers one request, and closes.
fn one(
    mut stream: TcpStream,
    script: &[u8],
    server: Option<SocketAddr>,
    gate: &Gate,
    reports: &Sender<Report>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or("").to_owned();
    let mut fields = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = fields.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (kind, answer): (&str, &[u8]) = match target.split('?').next().unwrap_or("") {
        "/" => ("text/html", PAGE.as_bytes()),
        "/hls.js" => ("text/javascript", script),
        "/go" => {
            gate.set(|state| state.0 = true);
            gate.wait("the stream to begin", |(_, go)| go);
            ("text/plain", b"go")
        }
        "/report" => {
            let _ = reports.send(serde_json::from_slice(&body).unwrap_or(Value::Null));
            ("text/plain", b"")
        }
        _ => match server {
            Some(server) => return asked_for(server, &target, stream),
            None => ("text/plain", b""),
        },
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    )?;
    stream.write_all(answer)
}

/// Hands on what the server answers.
fn asked_for(server: SocketAddr, target: &str, mut to: TcpStream) -> std::io::Result<()> {
    let mut from = TcpStream::connect(server)?;
    write!(from, "GET {target} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
    std::io::copy(&mut from, &mut to).map(drop)
}

/// Host and port as they stand in a URL of the HLS server.
pub fn playlist(hls: SocketAddr, path: &str) -> String {
    format!("http://{hls}/{path}/index.m3u8")
}
