//! The server under test, as a process of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use super::peer::terminate;
use super::raw::many_files;
use super::{PATIENCE, PROGRAM, wait_for, wait_until};

/// A running `streamgauge serve` on free ports.
pub struct Server {
    child: Child,
    /// Where RTMP is spoken.
    pub rtmp: SocketAddr,
    /// Where the API answers.
    pub api: SocketAddr,
    /// Where RTSP is spoken, where the configuration asks for it.
    pub rtsp: Option<SocketAddr>,
    /// Where RTP is taken and sent from, where RTSP is spoken; RTCP has the next port.
    pub rtp: Option<SocketAddr>,
    /// Where HLS is served.
    pub hls: SocketAddr,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Server {
    /// Starts it with further arguments, and returns when it says `ready`.
    pub fn start(arguments: &[&str]) -> Self {
        Self::command(Command::new(PROGRAM), arguments)
    }

    /// Starts it with a limit of open files that lets a thousand clients in.
    pub fn start_for_many(arguments: &[&str]) -> Self {
        let mut command = Command::new("prlimit");
        command.arg(many_files()).arg(PROGRAM);
        Self::command(command, arguments)
    }

    fn command(mut command: Command, arguments: &[&str]) -> Self {
        let loopback = "127.0.0.1:0";
        let usual = [
            ("--rtmp", loopback),
            ("--rtsp", loopback),
            ("--rtp", "0"),
            ("--hls", loopback),
            ("--api", loopback),
        ];
        let usual = usual.into_iter().filter(|(name, _)| !arguments.contains(name));
        let mut child = command
            .arg("serve")
            .args(usual.flat_map(|(name, value)| [name, value]))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (ready, line) = mpsc::channel();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.push_str(&line);
                log.push('\n');
                let _ = ready.send(line);
            }
            log
        });
        let mut listening: BTreeMap<String, SocketAddr> = BTreeMap::new();
        let mut seen = String::new();
        loop {
            let Ok(line) = line.recv_timeout(PATIENCE) else { panic!("the server is not ready:\n{seen}") };
            if line == "ready" {
                break;
            }
            if let Some((protocol, address)) = line.strip_prefix("listening ").and_then(|l| l.split_once(' '))
            {
                listening.insert(protocol.into(), address.parse().unwrap());
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        let address = |protocol: &str| {
            *listening
                .get(protocol)
                .unwrap_or_else(|| panic!("no line `listening {protocol} ADDR` in\n{seen}"))
        };
        let (rtmp, api, hls) = (address("rtmp"), address("api"), address("hls"));
        let (rtsp, rtp) = (listening.get("rtsp").copied(), listening.get("rtp").copied());
        Self { child, rtmp, api, rtsp, rtp, hls, log: Some(log) }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The URL of a stream.
    pub fn url(&self, path: &str) -> String {
        format!("rtmp://{}/{path}", self.rtmp)
    }

    /// Asks the API; panics unless the answer is a 200.
    #[track_caller]
    pub fn ask(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.api).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.api).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) =
            answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path} answers {answer:?}"));
        assert!(head.starts_with("HTTP/1.1 200 "), "{path} answers {head}");
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{path} answers {head}");
        body.into()
    }

    /// A JSON list of the API.
    #[track_caller]
    pub fn list(&self, what: &str) -> Vec<Value> {
        match serde_json::from_str(&self.ask(&format!("/api/v1/{what}"))).unwrap() {
            Value::Array(list) => list,
            other => panic!("{what} is {other}"),
        }
    }

    /// Clients in a role on a path.
    pub fn clients(&self, role: &str, path: &str) -> Vec<Value> {
        self.list("clients").into_iter().filter(|c| c["role"] == role && c["path"] == path).collect()
    }

    /// Waits until a path has a publisher.
    #[track_caller]
    pub fn wait_published(&self, path: &str) {
        wait_until(&format!("a publisher of {path}"), || {
            self.list("streams").iter().any(|s| s["path"] == path && !s["publisher"].is_null())
        });
    }

    /// Waits until a path has so many viewers.
    #[track_caller]
    pub fn wait_viewers(&self, path: &str, count: usize) {
        wait_until(&format!("{count} viewers of {path}"), || self.clients("viewer", path).len() == count);
    }

    /// Waits until nobody is connected any more.
    #[track_caller]
    pub fn wait_deserted(&self) {
        wait_until("the last client to be gone", || self.list("clients").is_empty());
    }

    /// The metrics as they are now.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.ask("/metrics"))
    }

    /// Largest resident memory so far, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    /// Ends it as a person would (SIGTERM) and returns what it logged. Its exit has to be a good one.
    #[track_caller]
    pub fn stop(self) -> String {
        terminate(self.pid());
        let (code, log) = self.ended();
        assert_eq!(code, Some(0), "the server did not end well:\n{log}");
        log
    }

    /// Waits until it has ended; returns its exit code and what it logged.
    #[track_caller]
    pub fn ended(mut self) -> (Option<i32>, String) {
        let status = wait_for("the server's end", || self.child.try_wait().unwrap());
        let log = self.log.take().unwrap().join().unwrap();
        assert!(!log.contains("panicked at"), "a task of the server panicked:\n{log}");
        (status.code(), log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(log) = self.log.take().filter(|_| std::thread::panicking()) {
            eprintln!("the server's log:\n{}", log.join().unwrap_or_default());
        }
    }
}

/// Samples of the Prometheus text format.
#[derive(Debug)]
pub struct Metrics(Vec<Sample>);

/// One line of it.
#[derive(Clone, Debug)]
pub struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
        Self(lines.map(|l| Sample::parse(l).unwrap_or_else(|| panic!("metrics line {l:?}"))).collect())
    }

    /// Sum over the series of `name` that have all these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(name, labels).map(|s| s.value).sum()
    }

    /// True where there is such a series.
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.series(name, labels).next().is_some()
    }

    fn series<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |s| {
            s.name == name && labels.iter().all(|(k, v)| s.labels.get(*k).is_some_and(|have| have == v))
        })
    }

    /// Bytes in and out of each client, by its address.
    pub fn client_bytes(&self) -> BTreeMap<SocketAddr, ClientBytes> {
        let mut clients: BTreeMap<SocketAddr, ClientBytes> = BTreeMap::new();
        for sample in self.series("streamgauge_client_bytes_total", &[]) {
            let Some(address) = sample.labels.get("address").and_then(|a| a.parse().ok()) else { continue };
            let client = clients.entry(address).or_default();
            client.role = sample.labels["role"].clone();
            client.path = sample.labels["path"].clone();
            match sample.labels["direction"].as_str() {
                "in" => client.received += sample.value as u64,
                "out" => client.sent += sample.value as u64,
                other => panic!("direction {other:?}"),
            }
        }
        clients
    }
}

/// A client as the metrics have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientBytes {
    /// Publisher or viewer.
    pub role: String,
    /// Stream path.
    pub path: String,
    /// Bytes the server received.
    pub received: u64,
    /// Bytes the server sent.
    pub sent: u64,
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = match line.find('}') {
            Some(end) => (&line[..end], &line[end + 1..]),
            None => line.split_once(' ')?,
        };
        let (name, list) = series.split_once('{').unwrap_or((series, ""));
        let mut labels = BTreeMap::new();
        let mut rest = list;
        while let Some((label, tail)) = rest.split_once("=\"") {
            let (value, tail) = tail.split_once('"')?;
            labels.insert(label.trim_start_matches(',').into(), value.into());
            rest = tail;
        }
        let value = value.split_whitespace().next()?.parse().ok()?;
        Some(Self { name: name.into(), labels, value })
    }
}
