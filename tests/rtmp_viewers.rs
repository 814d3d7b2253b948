//! What viewers over RTMP may ask for while they play, spoken by hand, and data messages between real peers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::flv::{self, AUDIO, Tag, VIDEO};
use common::peer::Peer;
use common::rml::{Publisher, Viewer};
use common::server::Server;
use common::{clip, installed, raw, uninterrupted};
use wire::rtmp::reader::{Message, Reader};

/// Message type of Set Chunk Size.
const CHUNK_SIZE: u8 = 1;
/// Message type of AMF0 data.
const DATA: u8 = 18;
/// Message type of AMF0 commands.
const COMMAND: u8 = 20;

/// A viewer by hand.
struct Hand {
    stream: TcpStream,
    reader: Reader,
    unread: Vec<u8>,
}

impl Hand {
    /// One that plays, up to Play.Start.
    fn plays(server: SocketAddr, key: &str) -> Self {
        let mut stream = raw::shake_hands(server).unwrap();
        stream.write_all(&raw::connect_command("live")).unwrap();
        stream.write_all(&raw::create_stream_command()).unwrap();
        stream.write_all(&raw::stream_command("play", key)).unwrap();
        let mut this = Self { stream, reader: Reader::new(0xff_ffff, 0), unread: Vec::new() };
        this.until(|message| says(message, "NetStream.Play.Start"));
        this
    }

    /// Says a command with one boolean on the stream that plays.
    fn says(&mut self, name: &str, flag: bool) {
        let body = [raw::string(name), raw::number(0.0), vec![5, 1, u8::from(flag)]].concat();
        self.stream.write_all(&raw::message(4, COMMAND, 1, &body)).unwrap();
    }

    /// What comes up to a message and with it.
    fn until(&mut self, enough: impl Fn(&Message) -> bool) -> Vec<Message> {
        let mut got = Vec::new();
        loop {
            let mut input = self.unread.as_slice();
            let next = self.reader.next(&mut input).unwrap();
            let left = input.len();
            self.unread.drain(..self.unread.len() - left);
            match next {
                Some(message) => {
                    if message.head.type_id == CHUNK_SIZE {
                        let size = u32::from_be_bytes(message.payload[..4].try_into().unwrap());
                        self.reader.set_chunk_size(size);
                    }
                    got.push(message);
                    if enough(got.last().unwrap()) {
                        return got;
                    }
                }
                None => {
                    let mut buffer = [0; 4096];
                    let n = uninterrupted(|| self.stream.read(&mut buffer)).unwrap();
                    assert!(n > 0, "the server closed the connection");
                    self.unread.extend_from_slice(&buffer[..n]);
                }
            }
        }
    }

    /// What comes up to the answer to a question that the server answers at once.
    fn now(&mut self) -> Vec<Message> {
        let body = [raw::string("_checkbw"), raw::number(77.0), vec![5]].concat();
        self.stream.write_all(&raw::message(3, COMMAND, 0, &body)).unwrap();
        self.until(|message| says(message, "_result"))
    }
}

fn contains(bytes: &[u8], words: &str) -> bool {
    bytes.windows(words.len()).any(|w| w == words.as_bytes())
}

fn holds(message: &Message, words: &str) -> bool {
    contains(&message.payload, words)
}

/// True for a command that holds these words.
fn says(message: &Message, words: &str) -> bool {
    message.head.type_id == COMMAND && holds(message, words)
}

/// The audio and video messages of these.
fn tags(messages: &[Message]) -> Vec<Tag> {
    let media = messages.iter().filter(|m| matches!(m.head.type_id, AUDIO | VIDEO));
    media.map(|m| Tag { kind: m.head.type_id, time: m.head.timestamp, body: m.payload.clone() }).collect()
}

fn of(kind: u8, tags: &[Tag]) -> Vec<&Tag> {
    tags.iter().filter(|tag| tag.kind == kind).collect()
}

/// The clip from one time to another, in milliseconds.
fn part(from: u32, to: u32) -> Vec<Tag> {
    flv::tags(&clip())
        .into_iter()
        .filter(|t| (t.kind == VIDEO || t.kind == AUDIO) && (from..to).contains(&t.time))
        .collect()
}

#[test]
fn a_viewer_pauses_and_goes_on_with_a_key_frame() {
    let server = Server::start(&[]);
    let mut publisher = Publisher::start(server.rtmp, "live", "pause").unwrap();
    let witness = Viewer::start(server.rtmp, "live", "pause").unwrap();
    publisher.send_watched(&part(0, 1000), &witness).unwrap();
    let mut hand = Hand::plays(server.rtmp, "pause");
    hand.until(|m| m.head.type_id == VIDEO && m.head.timestamp >= 900);

    hand.says("pause", true);
    hand.until(|m| says(m, "NetStream.Pause.Notify"));
    publisher.send_watched(&part(1000, 3000), &witness).unwrap();
    assert!(tags(&hand.now()).is_empty(), "it is to get nothing while the others get two seconds");

    hand.says("pause", false);
    hand.until(|m| says(m, "NetStream.Unpause.Notify"));
    publisher.send_watched(&part(3000, 4000), &witness).unwrap();
    let got = tags(&hand.until(|m| m.head.type_id == VIDEO && m.head.timestamp >= 3900));
    let first = of(VIDEO, &got)[0];
    assert!(first.is_key_frame() && first.time >= 1000, "{} ms", first.time);
    let want = part(first.time, 4000);
    let [want, seen] = [&want, &got].map(|tags| of(VIDEO, tags).iter().map(|t| t.time).collect::<Vec<_>>());
    assert!(want.starts_with(&seen) && seen.len() > 20, "every picture from there on: {seen:?}");
    publisher.finish().unwrap();
    witness.watched();
    server.stop();
}

#[test]
fn a_viewer_does_without_pictures_and_takes_them_again() {
    let server = Server::start(&[]);
    let mut publisher = Publisher::start(server.rtmp, "live", "ears").unwrap();
    let witness = Viewer::start(server.rtmp, "live", "ears").unwrap();
    publisher.send_watched(&part(0, 1000), &witness).unwrap();
    let mut hand = Hand::plays(server.rtmp, "ears");
    hand.until(|m| m.head.type_id == VIDEO && m.head.timestamp >= 900);

    hand.says("receiveVideo", false);
    hand.now();
    publisher.send_watched(&part(1000, 3000), &witness).unwrap();
    let got = tags(&hand.until(|m| m.head.type_id == AUDIO && m.head.timestamp >= 2900));
    assert!(of(VIDEO, &got).is_empty() && of(AUDIO, &got).len() > 80);

    hand.says("receiveVideo", true);
    hand.until(|m| says(m, "NetStream.Seek.Notify"));
    hand.until(|m| says(m, "NetStream.Play.Start"));
    publisher.send_watched(&part(3000, 5000), &witness).unwrap();
    let got = tags(&hand.until(|m| m.head.type_id == VIDEO && m.head.timestamp >= 4900));
    let pictures = of(VIDEO, &got);
    assert!(pictures[0].is_config() && pictures[1].is_key_frame(), "configuration, then a key frame");
    publisher.finish().unwrap();
    witness.watched();
    server.stop();
}

#[test]
fn captions_of_ffmpeg_reach_all_viewers_in_their_place() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let times: Vec<u32> = (0..7).map(|n| n * 1000 + 500).collect();
    let title = |n: usize| format!("{}\n00:00:0{n},500 --> 00:00:0{n},900\nline {n}\n\n", n + 1);
    std::fs::write(file("titles.srt"), (0..times.len()).map(title).collect::<String>()).unwrap();
    let server = Server::start(&[]);
    let url = server.url("live/captions");
    let (titles, seen) = (file("titles.srt"), file("seen.flv"));
    let input = ["-hide_banner", "-nostdin", "-i", &url, "-map", "0", "-c", "copy", "-f", "flv", &seen];
    let watcher = Peer::start(directory.path(), "watcher", "ffmpeg", &input);
    server.wait_viewers("live/captions", 1);
    let mut hand = Hand::plays(server.rtmp, "captions");
    let clip = clip();
    let sources = ["-hide_banner", "-nostdin", "-re", "-i", clip.to_str().unwrap(), "-i", &titles];
    let coded = ["-map", "0", "-map", "1", "-c:v", "copy", "-c:a", "copy", "-c:s", "text", "-f", "flv", &url];
    let publisher = Peer::start(directory.path(), "publisher", "ffmpeg", &[&sources[..], &coded].concat());
    let got = hand.until(|m| says(m, "NetStream.Play.UnpublishNotify"));
    publisher.ended_well();
    watcher.ended_well();

    let texts = got.iter().filter(|m| m.head.type_id == DATA && holds(m, "onTextData"));
    let (at, lines): (Vec<u32>, Vec<String>) = texts
        .map(|m| {
            let line = (0..times.len()).find(|n| holds(m, &format!("line {n}")));
            (m.head.timestamp, format!("{line:?}"))
        })
        .unzip();
    let since = |times: &[u32]| times.iter().map(|t| t - times[0]).collect::<Vec<_>>();
    assert_eq!(since(&at), since(&times), "ffmpeg moves all of it by the reordering of pictures");
    assert_eq!(lines, (0..times.len()).map(|n| format!("{:?}", Some(n))).collect::<Vec<_>>());
    assert!(!got.iter().any(|m| holds(m, "@setDataFrame")), "that is a word to the server");
    let written = std::fs::read(seen).unwrap();
    let written = (0..times.len()).filter(|n| contains(&written, &format!("line {n}"))).count();
    assert_eq!(written, times.len(), "ffmpeg watched");
    server.stop();
}
