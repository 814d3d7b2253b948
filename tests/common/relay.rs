//! A stand-in for the network between an RTSP publisher and a server: passes everything on, keeps what the publisher sent,
//! and loses, doubles or delays packets over UDP as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{PATIENCE, uninterrupted};

/// A packet of the publisher.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// Which track it belongs to, by the place in the announced description, in whose order publishers set tracks up.
    pub track: usize,
    /// True where that is the pictures'.
    pub video: bool,
    /// True for RTCP.
    pub rtcp: bool,
    /// The packet.
    pub bytes: Vec<u8>,
    /// What became of it.
    pub fate: Fate,
}

/// What becomes of a packet over UDP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// It arrives.
    Passed,
    /// It does not.
    Lost,
    /// It arrives twice.
    Doubled,
    /// It arrives after so many packets that were sent after it.
    Late(usize),
}

type Plan = Box<dyn FnMut(bool, &[u8]) -> Fate + Send>;

/// A relay for one publisher.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Shared {
    sent: Mutex<Vec<Packet>>,
    plan: Mutex<Plan>,
    over: AtomicBool,
    /// For each announced track, whether it is one of pictures.
    kinds: Mutex<Vec<bool>>,
}

/// One track's sockets: RTP and RTCP towards the publisher, and towards the server.
struct Pair {
    near: [UdpSocket; 2],
    far: [UdpSocket; 2],
    /// The publisher's and the server's RTP port, once known.
    client: AtomicU16,
    server: AtomicU16,
}

impl Relay {
    /// Waits for a publisher of `server`; `plan` says what becomes of each RTP packet, of which it is told whether it
    /// is of pictures.
    pub fn start(server: SocketAddr, plan: impl FnMut(bool, &[u8]) -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sent, over, kinds) = (Mutex::default(), AtomicBool::new(false), Mutex::default());
        let shared = Arc::new(Shared { sent, plan: Mutex::new(Box::new(plan)), over, kinds });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || theirs.run(&listener, server));
        Self { address, shared, thread }
    }

    /// Passes everything on.
    pub fn faithful(server: SocketAddr) -> Self {
        Self::start(server, |_, _| Fate::Passed)
    }

    /// Where the publisher has to go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the publisher has gone, and returns all its packets in the order in which it sent them.
    pub fn ended(self) -> Vec<Packet> {
        self.thread.join().unwrap();
        std::mem::take(&mut *self.shared.sent.lock().unwrap())
    }
}

/// RTP packets of the pictures, or of the audio.
pub fn of_kind(packets: &[Packet], video: bool) -> impl Iterator<Item = &[u8]> {
    packets.iter().filter(move |p| p.video == video && !p.rtcp).map(|p| &p.bytes[..])
}

impl Shared {
    fn run(self: &Arc<Self>, listener: &TcpListener, server: SocketAddr) {
        let (near, _) = listener.accept().unwrap();
        let far = TcpStream::connect(server).unwrap();
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.set_nodelay(true).unwrap();
        }
        let pairs: Arc<Mutex<Vec<Arc<Pair>>>> = Arc::default();
        let (back, answers) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        let told = Arc::clone(&pairs);
        let answering = std::thread::spawn(move || answer(answers, back, &told));
        let mut udp = Vec::new();
        self.ask(near, far, &pairs, &mut udp);
        answering.join().unwrap();
        self.over.store(true, Ordering::Relaxed);
        udp.into_iter().for_each(|t: JoinHandle<()>| t.join().unwrap());
    }

    /// From the publisher to the server.
    fn ask(
        self: &Arc<Self>,
        near: TcpStream,
        mut far: TcpStream,
        pairs: &Mutex<Vec<Arc<Pair>>>,
        udp: &mut Vec<JoinHandle<()>>,
    ) {
        let mut near = BufReader::new(near);
        while let Some(unit) = read_unit(&mut near) {
            match unit {
                Unit::Packet(channel, bytes) => {
                    let (track, rtcp) = (usize::from(channel / 2), channel % 2 == 1);
                    let head = [&[b'$', channel][..], &u16::try_from(bytes.len()).unwrap().to_be_bytes()];
                    if far.write_all(&[&head.concat(), &bytes[..]].concat()).is_err() {
                        break;
                    }
                    self.keep(track, rtcp, &bytes, Fate::Passed);
                }
                Unit::Message(mut text) => {
                    let kinds = text.lines().filter_map(|l| l.strip_prefix("m="));
                    self.kinds.lock().unwrap().extend(kinds.map(|kind| kind.starts_with("video")));
                    if let Some(port) = port(&text, "client_port=") {
                        let pair = Arc::new(Pair::new(port));
                        let track = pairs.lock().unwrap().len();
                        pairs.lock().unwrap().push(Arc::clone(&pair));
                        let ours = pair.far[0].local_addr().unwrap().port();
                        text = with_ports(&text, "client_port=", ours);
                        for (rtcp, forth) in [(false, true), (true, true), (false, false), (true, false)] {
                            let (shared, pair) = (Arc::clone(self), Arc::clone(&pair));
                            udp.push(std::thread::spawn(move || {
                                if forth {
                                    shared.forward(&pair, track, rtcp)
                                } else {
                                    shared.back(&pair, rtcp)
                                }
                            }));
                        }
                    }
                    if far.write_all(text.as_bytes()).is_err() {
                        break;
                    }
                }
            }
        }
        let _ = far.shutdown(Shutdown::Write);
    }

    fn keep(&self, track: usize, rtcp: bool, bytes: &[u8], fate: Fate) {
        let video = self.is_video(track);
        self.sent.lock().unwrap().push(Packet { track, video, rtcp, bytes: bytes.to_vec(), fate });
    }

    fn is_video(&self, track: usize) -> bool {
        self.kinds.lock().unwrap()[track]
    }

    /// Packets of one socket to the server.
    fn forward(&self, pair: &Pair, track: usize, rtcp: bool) {
        let (near, far) = (&pair.near[usize::from(rtcp)], &pair.far[usize::from(rtcp)]);
        let mut late: Vec<(usize, Vec<u8>)> = Vec::new();
        while let Some(bytes) = self.receive(near) {
            let fate =
                if rtcp { Fate::Passed } else { (self.plan.lock().unwrap())(self.is_video(track), &bytes) };
            self.keep(track, rtcp, &bytes, fate);
            let to = (Ipv4Addr::LOCALHOST, pair.server.load(Ordering::Relaxed) + u16::from(rtcp));
            let send = |bytes: &[u8]| drop(far.send_to(bytes, to));
            match fate {
                Fate::Passed => send(&bytes),
                Fate::Lost => {}
                Fate::Doubled => (0..2).for_each(|_| send(&bytes)),
                Fate::Late(after) => {
                    late.push((after, bytes));
                    continue;
                }
            }
            late.iter_mut().for_each(|(after, _)| *after -= 1);
            late.extract_if(.., |(after, _)| *after == 0).for_each(|(_, bytes)| send(&bytes));
        }
    }

    /// Packets of one socket to the publisher.
    fn back(&self, pair: &Pair, rtcp: bool) {
        let (near, far) = (&pair.near[usize::from(rtcp)], &pair.far[usize::from(rtcp)]);
        while let Some(bytes) = self.receive(far) {
            let to = (Ipv4Addr::LOCALHOST, pair.client.load(Ordering::Relaxed) + u16::from(rtcp));
            let _ = near.send_to(&bytes, to);
        }
    }

    /// The next packet; none when it is over and nothing is there any more.
    fn receive(&self, socket: &UdpSocket) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let over = self.over.load(Ordering::Relaxed);
            match socket.recv(&mut buffer) {
                Ok(n) => return Some(buffer[..n].to_vec()),
                Err(_) if over => return None,
                Err(_) => {}
            }
        }
    }
}

impl Pair {
    fn new(client: u16) -> Self {
        Self {
            near: even_pair(),
            far: even_pair(),
            client: AtomicU16::new(client),
            server: AtomicU16::new(0),
        }
    }
}

/// Sockets on an even port and the next one.
fn even_pair() -> [UdpSocket; 2] {
    loop {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if !port.is_multiple_of(2) {
            continue;
        }
        let Ok(second) = UdpSocket::bind(("127.0.0.1", port + 1)) else { continue };
        for socket in [&first, &second] {
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        }
        return [first, second];
    }
}

/// From the server to the publisher.
fn answer(far: TcpStream, mut near: TcpStream, pairs: &Mutex<Vec<Arc<Pair>>>) {
    let mut far = BufReader::new(far);
    while let Some(unit) = read_unit(&mut far) {
        let bytes = match unit {
            Unit::Packet(channel, bytes) => {
                let head = [&[b'$', channel][..], &u16::try_from(bytes.len()).unwrap().to_be_bytes()];
                [&head.concat(), &bytes[..]].concat()
            }
            Unit::Message(mut text) => {
                if let Some(port) = port(&text, "server_port=") {
                    let pair = pairs.lock().unwrap().last().cloned().unwrap();
                    pair.server.store(port, Ordering::Relaxed);
                    text = with_ports(&text, "server_port=", pair.near[0].local_addr().unwrap().port());
                    text = with_ports(&text, "client_port=", pair.client.load(Ordering::Relaxed));
                }
                text.into_bytes()
            }
        };
        if near.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = near.shutdown(Shutdown::Write);
}

/// What comes over an RTSP connection.
pub enum Unit {
    /// An interleaved packet and its channel.
    Packet(u8, Vec<u8>),
    /// A request or an answer, with its body.
    Message(String),
}

/// The next interleaved packet, or message with its body.
pub fn read_unit(from: &mut BufReader<TcpStream>) -> Option<Unit> {
    if uninterrupted(|| Ok(from.fill_buf()?.first().copied())).ok()?? == b'$' {
        let mut head = [0; 4];
        from.read_exact(&mut head).ok()?;
        let mut bytes = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        from.read_exact(&mut bytes).ok()?;
        return Some(Unit::Packet(head[1], bytes));
    }
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        if from.read_line(&mut text).ok()? == 0 {
            return None;
        }
    }
    let length = text
        .lines()
        .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    from.read_exact(&mut body).ok()?;
    text.push_str(&String::from_utf8(body).ok()?);
    Some(Unit::Message(text))
}

/// The first port behind a key of a Transport header.
fn port(text: &str, key: &str) -> Option<u16> {
    text.split(key).nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The text with another port and the next one behind a key.
fn with_ports(text: &str, key: &str, port: u16) -> String {
    let Some((before, behind)) = text.split_once(key) else { return text.to_owned() };
    let rest = behind.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
    format!("{before}{key}{port}-{}{rest}", port + 1)
}
