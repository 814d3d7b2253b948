//! What a relay changes in RTSP: the ports of the Transport header, so that RTP comes by the relay, too.

use bytes::{Bytes, BytesMut};
use wire::rtsp::{Framed, frame};

/// Which way a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// What a message says about ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// The message's number.
    pub cseq: Option<u32>,
    /// RTP and RTCP ports of the client.
    pub client: Option<(u16, u16)>,
    /// RTP and RTCP ports of the server.
    pub server: Option<(u16, u16)>,
}

/// Takes a connection's bytes apart, into messages with a Transport header and everything else.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: BytesMut,
    seen: usize,
    /// What came is no RTSP: everything passes as it is.
    through: bool,
}

/// A piece of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Passes as it is.
    Plain(Bytes),
    /// A message that agrees on ports.
    Setup(Bytes, Ports),
}

impl Splitter {
    /// Takes bytes that came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole piece.
    pub fn next(&mut self) -> Option<Piece> {
        if self.buffer.is_empty() {
            return None;
        }
        if !self.through {
            match frame(&self.buffer, self.seen) {
                Ok(Framed::HeadOpen) => {
                    self.seen = self.buffer.len();
                    return None;
                }
                Ok(framed) if framed.size() == 0 => return None,
                Ok(framed) => {
                    self.seen = 0;
                    let piece = self.buffer.split_to(framed.size().min(self.buffer.len())).freeze();
                    return Some(match ports(&piece) {
                        Some(ports) => Piece::Setup(piece, ports),
                        None => Piece::Plain(piece),
                    });
                }
                Err(_) => self.through = true,
            }
        }
        Some(Piece::Plain(self.buffer.split().freeze()))
    }

    /// What is left when the connection ends.
    pub fn rest(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }
}

/// The lines of a message's head with their places.
fn lines(message: &str) -> impl Iterator<Item = (usize, &str)> {
    let head = message.split("\r\n\r\n").next().unwrap_or_default();
    head.split_inclusive("\r\n").scan(0, |at, line| {
        let begins = *at;
        *at += line.len();
        Some((begins, line.trim_end_matches("\r\n")))
    })
}

/// A header's value with its place.
fn header<'a>(message: &'a str, name: &str) -> Option<(usize, &'a str)> {
    lines(message).find_map(|(at, line)| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then_some((at + key.len() + 1, value))
    })
}

/// The ports of a message, where it has a Transport header that speaks of UDP.
fn ports(message: &[u8]) -> Option<Ports> {
    let text = std::str::from_utf8(message).ok()?;
    let (_, transport) = header(text, "Transport")?;
    let ports = Ports {
        cseq: header(text, "CSeq").and_then(|(_, value)| value.trim().parse().ok()),
        client: parameter(transport, "client_port").and_then(|(_, value)| pair(value)),
        server: parameter(transport, "server_port").and_then(|(_, value)| pair(value)),
    };
    (ports.client.is_some() || ports.server.is_some()).then_some(ports)
}

/// A parameter of a Transport header with its place.
fn parameter<'a>(transport: &'a str, name: &str) -> Option<(usize, &'a str)> {
    let mut at = 0;
    for part in transport.split_inclusive([';', ',']) {
        let plain = part.trim_end_matches([';', ',']);
        if let Some((key, value)) = plain.split_once('=')
            && key.trim().eq_ignore_ascii_case(name)
        {
            return Some((at + key.len() + 1, value));
        }
        at += part.len();
    }
    None
}

fn pair(value: &str) -> Option<(u16, u16)> {
    let value = value.trim();
    match value.split_once('-') {
        Some((rtp, rtcp)) => Some((rtp.parse().ok()?, rtcp.parse().ok()?)),
        None => {
            let rtp: u16 = value.parse().ok()?;
            Some((rtp, rtp.checked_add(1)?))
        }
    }
}

/// The same message with other ports; what it does not say stays unsaid. Where the server tells its address it is left out:
/// packets come from the relay.
pub fn with_ports(message: &Bytes, client: Option<(u16, u16)>, server: Option<(u16, u16)>) -> Bytes {
    let Ok(text) = std::str::from_utf8(message) else { return message.clone() };
    let Some((begins, transport)) = header(text, "Transport") else { return message.clone() };
    let mut changed = transport.to_owned();
    for (name, ports) in [("client_port", client), ("server_port", server)] {
        let Some((rtp, rtcp)) = ports else { continue };
        if let Some((at, value)) = parameter(&changed, name) {
            let end = at + value.len();
            changed.replace_range(at..end, &format!("{rtp}-{rtcp}"));
        }
    }
    if server.is_some() {
        let of_source = |part: &&str| {
            !part.split('=').next().is_some_and(|key| key.trim().eq_ignore_ascii_case("source"))
        };
        changed = changed.split(';').filter(of_source).collect::<Vec<_>>().join(";");
    }
    let (before, after) = text.split_at(begins);
    let after = after.get(transport.len()..).unwrap_or_default();
    Bytes::from([before, &changed, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETUP: &str = "SETUP rtsp://h/live/a/0 RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP;unicast;client_port=5000-5001\r\n\r\n";
    const ANSWER: &str = "RTSP/1.0 200 OK\r\ntransport: RTP/AVP/UDP;unicast;client_port=6000-6001;source=10.0.0.1;server_port=8000-8001;ssrc=1\r\nCSeq: 3\r\nContent-Length: 3\r\n\r\nxyz";

    fn pieces(splitter: &mut Splitter) -> Vec<Piece> {
        std::iter::from_fn(|| splitter.next()).collect()
    }

    #[test]
    fn setups_are_found_however_the_bytes_come() {
        let stream = [b"$\0\0\x04abcd", SETUP.as_bytes(), b"OPTIONS * RTSP/1.0\r\nCSeq: 4\r\n\r\n"].concat();
        let mut whole = Splitter::default();
        whole.push(&stream);
        let want = pieces(&mut whole);
        let Piece::Setup(_, ports) = &want[1] else { panic!("{want:?}") };
        assert_eq!((want.len(), ports.cseq, ports.client), (3, Some(3), Some((5000, 5001))));
        let (mut drops, mut got) = (Splitter::default(), Vec::new());
        for byte in &stream {
            drops.push(&[*byte]);
            got.extend(pieces(&mut drops));
        }
        assert_eq!(got, want);
    }

    #[test]
    fn ports_are_changed_and_nothing_else() {
        let asked = with_ports(&SETUP.into(), Some((7000, 7001)), None);
        assert_eq!(asked, SETUP.replace("5000-5001", "7000-7001"));
        let answered = with_ports(&ANSWER.into(), Some((5000, 5001)), Some((9000, 9001)));
        let want = ANSWER.replace("6000-6001", "5000-5001").replace("8000-8001", "9000-9001");
        assert_eq!(answered, want.replace(";source=10.0.0.1", ""));
        let interleaved = SETUP.replace("client_port=5000-5001", "interleaved=0-1");
        assert_eq!(ports(interleaved.as_bytes()), None);
        let one = SETUP.replace("5000-5001", "5000");
        assert_eq!(ports(one.as_bytes()).unwrap().client, Some((5000, 5001)));
    }

    #[test]
    fn what_is_no_rtsp_passes() {
        let mut splitter = Splitter::default();
        splitter.push(&[0xff; 100_000]);
        let passed: usize =
            pieces(&mut splitter).iter().map(|p| if let Piece::Plain(b) = p { b.len() } else { 0 }).sum();
        assert_eq!(passed + splitter.rest().len(), 100_000);
    }
}
