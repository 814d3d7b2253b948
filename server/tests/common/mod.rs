#![allow(dead_code, reason = "each test file uses a part of it")]
//! A blocking RTMP peer over the session's client, and a server to talk to.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use session::Time;
use session::rtmp::{Action, Client, ClientConfig, ClientRole, Event, Input, MediaKind, Output};
use streamgauge_server::{Config, RunningServer, Server};
use tokio::runtime::Runtime;

/// Longest wait for what must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server and the runtime it lives in.
pub struct House {
    pub runtime: Runtime,
    pub server: RunningServer,
}

impl House {
    /// A server on free ports, otherwise as `config` says.
    pub fn open(mut config: Config) -> Self {
        config.rtmp.listen = Some("127.0.0.1:0".parse().unwrap());
        config.api = Some("127.0.0.1:0".parse().unwrap());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(Server::start(config)).unwrap();
        Self { runtime, server }
    }

    pub fn rtmp(&self) -> SocketAddr {
        self.server.rtmp().unwrap()
    }

    /// The body of a GET.
    pub fn get(&self, path: &str) -> (String, String) {
        let mut io = TcpStream::connect(self.server.api().unwrap()).unwrap();
        io.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(io, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        io.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

/// A publisher or a player.
pub struct Peer {
    io: TcpStream,
    client: Client,
    began: Instant,
    events: VecDeque<Event>,
    stream: u32,
    /// Bytes sent and received.
    pub sent: u64,
    pub received: u64,
    closed: bool,
    /// The last event was the stream's end.
    over: bool,
}

impl Peer {
    pub fn publish(to: SocketAddr, path: &str) -> Self {
        Self::connect(to, ClientRole::Publish, path)
    }

    pub fn play(to: SocketAddr, path: &str) -> Self {
        Self::connect(to, ClientRole::Play, path)
    }

    /// Connects and waits for the stream to start.
    fn connect(to: SocketAddr, role: ClientRole, path: &str) -> Self {
        let mut peer = Self::hello(to, role, path);
        match peer.next() {
            Some(Event::Started { stream }) => peer.stream = stream,
            other => panic!("not started: {other:?}"),
        }
        peer
    }

    /// Connects and waits for nothing.
    pub fn hello(to: SocketAddr, role: ClientRole, path: &str) -> Self {
        let io = TcpStream::connect(to).unwrap();
        io.set_nodelay(true).unwrap();
        io.set_read_timeout(Some(PATIENCE)).unwrap();
        let config = ClientConfig::new(role, &to.to_string(), path, "test peer");
        let client = Client::new(config, 7, Time::default());
        let began = Instant::now();
        let events = VecDeque::new();
        let (sent, received, closed, over) = (0, 0, false, false);
        let mut peer = Self { io, client, began, events, stream: 0, sent, received, closed, over };
        peer.drain(None);
        peer
    }

    pub fn address(&self) -> SocketAddr {
        self.io.local_addr().unwrap()
    }

    /// What the session thinks of an input.
    fn drain(&mut self, input: Option<Input<'_>>) {
        if let Some(input) = input {
            self.client.handle(Time::default().after(self.began.elapsed()), input);
        }
        while let Some(output) = self.client.poll() {
            match output {
                Output::Send(bytes) => {
                    // A server that has closed says why in what it sent before.
                    if self.io.write_all(&bytes).is_ok() {
                        self.sent += bytes.len() as u64;
                    }
                }
                // Nothing that a test waits for.
                Output::Event(Event::Connected { .. }) | Output::WakeAt(_) => {}
                Output::Event(Event::Status { level, .. }) if level == "status" => {}
                // The server says it in two ways, since players listen to one or the other.
                Output::Event(Event::Ended { .. }) if std::mem::replace(&mut self.over, true) => {}
                Output::Event(event) => {
                    self.over = matches!(event, Event::Ended { .. });
                    self.events.push_back(event);
                }
                Output::Close(_) => self.closed = true,
            }
        }
    }

    /// The next event; `None` when the connection is over.
    pub fn next(&mut self) -> Option<Event> {
        let mut buffer = vec![0; 64 << 10];
        while self.events.is_empty() && !self.closed {
            match self.io.read(&mut buffer) {
                Ok(0) => self.drain(Some(Input::Closed)),
                Ok(n) => {
                    self.received += n as u64;
                    self.drain(Some(Input::Bytes(&buffer[..n])));
                }
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => self.closed = true,
                Err(error) => panic!("{error}"),
            }
        }
        self.events.pop_front()
    }

    /// Reads to the end of the connection, past what the session wants to know.
    pub fn read_out(&mut self) {
        let mut rest = Vec::new();
        let _ = self.io.read_to_end(&mut rest);
        self.received += rest.len() as u64;
    }

    /// The next message: its kind, timestamp and body.
    pub fn media(&mut self) -> (MediaKind, u32, Bytes) {
        loop {
            match self.next() {
                Some(Event::Media { kind, timestamp, payload, .. }) => return (kind, timestamp, payload),
                Some(Event::Metadata { .. }) => {}
                other => panic!("no media: {other:?}"),
            }
        }
    }

    pub fn send(&mut self, kind: MediaKind, timestamp: u32, body: &[u8]) {
        let payload = Bytes::copy_from_slice(body);
        self.drain(Some(Input::Do(Action::Media { kind, timestamp, payload })));
    }

    /// onMetaData with nothing in it, the configuration of both tracks.
    pub fn configure(&mut self) {
        let metadata = b"\x02\x00\x0aonMetaData\x03\x00\x00\x09";
        self.drain(Some(Input::Do(Action::Metadata(Bytes::from_static(metadata)))));
        self.send(MediaKind::Video, 0, AVC);
        self.send(MediaKind::Audio, 0, AAC);
    }

    /// A picture of `size` bytes that begin with `number`.
    pub fn picture(&mut self, number: u32, size: usize, key: bool) {
        self.send(MediaKind::Video, number * 40, &picture(number, size, key));
    }

    pub fn sound(&mut self, number: u32) {
        let body = [&[0xaf, 1], number.to_be_bytes().as_slice()].concat();
        self.send(MediaKind::Audio, number * 40 + 5, &body);
    }

    /// Says goodbye in good order and waits for the server to close.
    pub fn finish(mut self) -> (u64, u64) {
        self.drain(Some(Input::Do(Action::Finish)));
        self.io.shutdown(std::net::Shutdown::Write).unwrap();
        self.read_out();
        (self.sent, self.received)
    }
}

/// The body of a picture. Behind its number are slices, whatever it counts as a length: parameter sets would be heeded.
pub fn picture(number: u32, size: usize, key: bool) -> Vec<u8> {
    let mut body = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
    body.extend(number.to_be_bytes());
    body.resize(5 + size, [0x01, 0x21, 0x41, 0x61][number as usize % 4]);
    body
}

/// AVC sequence header: High 3.1 with an SPS and a PPS.
pub const AVC: &[u8] = &[
    0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 10, 0x67, 0x64, 0, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05,
    0xbb, 1, 0, 4, 0x68, 0xeb, 0xe3, 0xcb,
];
/// AAC sequence header: LC, 48000 Hz, stereo.
pub const AAC: &[u8] = &[0xaf, 0, 0x11, 0x90];
