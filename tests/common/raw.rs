//! RTMP by hand, for clients that do not keep to it, and what all such clients need.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use super::{PATIENCE, say, uninterrupted};

/// Connects and goes through the plain handshake.
pub fn shake_hands(server: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = connect(server)?;
    let mut hello = vec![3];
    hello.extend([0; 8]);
    hello.extend((0..1528u32).map(|n| (n % 251) as u8));
    stream.write_all(&hello)?;
    let mut answer = [0; 1 + 1536 + 1536];
    stream.read_exact(&mut answer)?;
    stream.write_all(&answer[1..1537])?;
    Ok(stream)
}

/// Connects, and does no more.
pub fn connect(server: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A type 0 chunk header that declares a message of `length` bytes.
pub fn header(chunk_stream: u8, kind: u8, length: u32, message_stream: u32) -> Vec<u8> {
    let mut header = vec![chunk_stream, 0, 0, 0];
    header.extend(&length.to_be_bytes()[1..]);
    header.push(kind);
    header.extend(message_stream.to_le_bytes());
    header
}

/// A whole message in chunks of 128 bytes.
pub fn message(chunk_stream: u8, kind: u8, message_stream: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(chunk_stream, kind, u32::try_from(body.len()).unwrap(), message_stream);
    for (at, chunk) in body.chunks(128).enumerate() {
        if at > 0 {
            bytes.push(0xc0 | chunk_stream);
        }
        bytes.extend(chunk);
    }
    bytes
}

/// The command `connect`.
pub fn connect_command(app: &str) -> Vec<u8> {
    let mut body = string("connect");
    body.extend(number(1.0));
    body.push(3);
    for (key, value) in [("app", app), ("tcUrl", "rtmp://127.0.0.1/live"), ("flashVer", "by hand")] {
        body.extend(&string(key)[1..]);
        body.extend(string(value));
    }
    body.extend([0, 0, 9]);
    message(3, 20, 0, &body)
}

/// The command `createStream`.
pub fn create_stream_command() -> Vec<u8> {
    let mut body = string("createStream");
    body.extend(number(2.0));
    body.push(5);
    message(3, 20, 0, &body)
}

/// The command `publish` or `play` of message stream 1.
pub fn stream_command(name: &str, key: &str) -> Vec<u8> {
    let mut body = string(name);
    body.extend(number(0.0));
    body.push(5);
    body.extend(string(key));
    message(4, 20, 1, &body)
}

/// Everything up to an accepted publish: reads until the server has said so.
pub fn publish(server: SocketAddr, app: &str, key: &str) -> std::io::Result<TcpStream> {
    let mut stream = shake_hands(server)?;
    stream.write_all(&connect_command(app))?;
    read_until(&mut stream, b"NetConnection.Connect.Success")?;
    stream.write_all(&create_stream_command())?;
    stream.write_all(&stream_command("publish", key))?;
    read_until(&mut stream, b"NetStream.Publish.Start")?;
    Ok(stream)
}

/// Everything up to an accepted connect.
pub fn connected(server: SocketAddr, app: &str) -> std::io::Result<TcpStream> {
    let mut stream = shake_hands(server)?;
    stream.write_all(&connect_command(app))?;
    read_until(&mut stream, b"NetConnection.Connect.Success")?;
    Ok(stream)
}

fn read_until(stream: &mut TcpStream, words: &[u8]) -> std::io::Result<()> {
    let mut seen: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.windows(words.len()).any(|w| w == words) {
        let n = uninterrupted(|| stream.read(&mut buffer))?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        seen.extend(&buffer[..n]);
    }
    Ok(())
}

/// Reads until the server closes or resets; true where it did so before the read timeout.
pub fn is_closed_by_peer(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match uninterrupted(|| stream.read(&mut buffer)) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// AMF0 string, marker first.
pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = vec![2];
    bytes.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

/// AMF0 number, marker first.
pub fn number(value: f64) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(value.to_be_bytes());
    bytes
}

/// Bytes that mean nothing, the same each time.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let step = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}

/// What prlimit needs to let a process open as many files as a thousand clients take: the hard limit is raised only where it has
/// to be, which takes root.
pub fn many_files() -> &'static str {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let low = limit
        .split_whitespace()
        .nth(1)
        .and_then(|hard| hard.parse().ok())
        .is_some_and(|hard: u64| hard < 8192);
    if low { "--nofile=8192:8192" } else { "--nofile=8192:" }
}

/// This process may open as many files as the test needs from now on. False, with the reason printed, where it may not.
pub fn allow_many_files() -> bool {
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, many_files()]).status().unwrap();
    if !status.success() {
        say("skipped: nobody may open 8,192 files here");
    }
    status.success()
}
