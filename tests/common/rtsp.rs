//! RTSP by hand, and ffmpeg as a reader.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use super::peer::Peer;
use super::rtsp_media::ffmpeg_slices;
use super::{PATIENCE, uninterrupted};

/// Header of an ANNOUNCE.
pub const SDP_TYPE: &str = "Content-Type: application/sdp\r\n";
/// A description of one track of sound.
pub const SOUND: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP 96\r\n\
                         a=rtpmap:96 MPEG4-GENERIC/48000/2\r\na=fmtp:96 mode=AAC-hbr;config=1190;sizelength=13;\
                         indexlength=3;indexdeltalength=3\r\na=control:trackID=0\r\n";
/// To be added: a second track, of pictures whose parameter sets come with them.
pub const PICTURES: &str = "m=video 0 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=1\r\n\
                            a=control:trackID=1\r\n";

/// A client by hand.
pub struct Hand {
    /// What is read from the connection.
    pub io: BufReader<TcpStream>,
    cseq: usize,
}

impl Hand {
    /// Connects, and says nothing.
    pub fn connect(rtsp: SocketAddr) -> Self {
        let stream = TcpStream::connect(rtsp).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { io: BufReader::new(stream), cseq: 0 }
    }

    /// Sends bytes as far as the server takes them: one that closes meanwhile is within its rights.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.io.get_mut().write_all(bytes);
    }

    /// Asks, and returns the head of the answer.
    #[track_caller]
    pub fn ask(&mut self, method: &str, url: &str, more: &str, body: &str) -> String {
        self.cseq += 1;
        let request = format!(
            "{method} {url} RTSP/1.0\r\nCSeq: {}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            self.cseq,
            body.len()
        );
        self.io.get_mut().write_all(request.as_bytes()).unwrap();
        self.answer().unwrap_or_else(|| panic!("closed instead of an answer to {method} {url}"))
    }

    /// [`ask`](Self::ask) where the answer has to be a 200.
    #[track_caller]
    pub fn asks_well(&mut self, method: &str, url: &str, more: &str, body: &str) -> String {
        let answer = self.ask(method, url, more, body);
        assert!(answer.starts_with("RTSP/1.0 200"), "{method} {url} is answered {answer}");
        answer
    }

    /// The head of the next answer, where there is a whole one before the end; packets before it are left out.
    pub fn answer(&mut self) -> Option<String> {
        while uninterrupted(|| Ok(self.io.fill_buf()?.first() == Some(&b'$'))).ok()? {
            self.packet()?;
        }
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.io.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        Some(head)
    }

    /// The next interleaved packet and its channel; none at the end.
    pub fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 4];
        self.io.read_exact(&mut head).ok()?;
        assert_eq!(head[0], b'$', "no packet");
        let mut packet = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        self.io.read_exact(&mut packet).ok()?;
        Some((head[1], packet))
    }

    /// Publishes sound and pictures; `transport` is the Transport header of each, without mode. Returns the header Session and
    /// the last answer to SETUP.
    #[track_caller]
    pub fn records(&mut self, url: &str, transport: impl Fn(usize) -> String) -> (String, String) {
        self.asks_well("ANNOUNCE", url, SDP_TYPE, &format!("{SOUND}{PICTURES}"));
        let (mut session, mut answer) = (String::new(), String::new());
        for track in 0..2 {
            let headers = format!("{session}Transport: {};mode=record\r\n", transport(track));
            answer = self.asks_well("SETUP", &format!("{url}/trackID={track}"), &headers, "");
            session = session_of(&answer);
        }
        self.asks_well("RECORD", url, &session, "");
        (session, answer)
    }

    /// Plays the first track, interleaved on channels 0 and 1.
    #[track_caller]
    pub fn plays(&mut self, url: &str) {
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        let answer = self.asks_well("SETUP", &format!("{url}/trackID=0"), transport, "");
        self.asks_well("PLAY", url, &session_of(&answer), "");
    }
}

/// The header Session for further requests.
#[track_caller]
pub fn session_of(answer: &str) -> String {
    let session = answer.lines().find_map(|l| l.strip_prefix("Session: ")).unwrap();
    format!("Session: {}\r\n", session.split(';').next().unwrap())
}

/// The server's ports as a SETUP was answered.
#[track_caller]
pub fn server_ports(answer: &str) -> (u16, u16) {
    let ports = answer.split("server_port=").nth(1).unwrap().split([';', '\r']).next().unwrap();
    let (rtp, rtcp) = ports.split_once('-').unwrap();
    (rtp.parse().unwrap(), rtcp.parse().unwrap())
}

/// ffmpeg reads `input`; the slices of its pictures and its raw audio frames go to `NAME.framemd5`.
pub fn watches(directory: &Path, name: &str, over: Option<&str>, input: &str) -> (Peer, PathBuf) {
    let options: Vec<&str> = over.into_iter().flat_map(|over| ["-rtsp_transport", over]).collect();
    ffmpeg_slices(directory, name, &options, input)
}
