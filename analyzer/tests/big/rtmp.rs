//! RTMP as it is written by a publisher and a server: chunks, commands, FLV bodies.

use std::collections::BTreeMap;

use super::tcp::Dir;

/// Bytes of a chunk behind Set Chunk Size.
const CHUNK: usize = 4096;
const FIRST_CHUNK: usize = 128;

/// SPS and PPS of 640x360, High 3.0, 25 pictures a second.
const AVCC: &[u8] = b"\x01\x64\x00\x1e\xff\xe1\x00\x1a\
    \x67\x64\x00\x1e\xac\xd9\x40\xa0\x2f\xf9\x70\x11\x00\x00\x03\x00\x01\x00\x00\x03\x00\x32\x0f\x16\x2d\x96\
    \x01\x00\x05\x68\xea\xec\xb2\x2c";
/// AAC-LC, 48000 Hz, two channels.
const ASC: &[u8] = b"\x11\x90";
/// Samples of an audio frame a second: 48000 / 1024.
const SOUNDS_IN_64_S: u64 = 3_000;

/// Writes messages as chunks, with the shortest header that says what is new.
#[derive(Default)]
pub struct Chunks {
    size: usize,
    /// By chunk stream: time, delta, length, type of the message before.
    last: BTreeMap<u8, (u32, u32, usize, u8)>,
}

impl Chunks {
    /// The chunks of one message, each by itself.
    pub fn pieces(&mut self, csid: u8, time: u32, kind: u8, msid: u32, body: &[u8]) -> Vec<Vec<u8>> {
        let size = if self.size == 0 { FIRST_CHUNK } else { self.size };
        let (time_be, length_be) = (time.to_be_bytes(), u32::try_from(body.len()).unwrap().to_be_bytes());
        let mut head = Vec::new();
        let delta;
        match self.last.get(&csid) {
            Some((before, step, length, was)) => {
                delta = time - before;
                let delta_be = delta.to_be_bytes();
                if (*length, *was) != (body.len(), kind) {
                    head.push(0x40 | csid);
                    head.extend_from_slice(&delta_be[1..]);
                    head.extend_from_slice(&length_be[1..]);
                    head.push(kind);
                } else if *step != delta {
                    head.push(0x80 | csid);
                    head.extend_from_slice(&delta_be[1..]);
                } else {
                    head.push(0xc0 | csid);
                }
            }
            None => {
                head.push(csid);
                head.extend_from_slice(&time_be[1..]);
                head.extend_from_slice(&length_be[1..]);
                head.push(kind);
                head.extend_from_slice(&msid.to_le_bytes());
                // A type 3 header would take the time itself for the delta: no message comes with it.
                delta = u32::MAX;
            }
        }
        self.last.insert(csid, (time, delta, body.len(), kind));
        let mut pieces = Vec::new();
        for (at, part) in body.chunks(size).enumerate() {
            let mut piece = if at == 0 { head.clone() } else { vec![0xc0 | csid] };
            piece.extend_from_slice(part);
            pieces.push(piece);
        }
        pieces
    }

    /// The same in one piece.
    pub fn message(&mut self, csid: u8, time: u32, kind: u8, msid: u32, body: &[u8]) -> Vec<u8> {
        self.pieces(csid, time, kind, msid, body).concat()
    }

    /// Set Chunk Size, which holds from the next chunk on.
    fn grow(&mut self) -> Vec<u8> {
        let bytes = self.message(2, 0, 1, 0, &u32::try_from(CHUNK).unwrap().to_be_bytes());
        self.size = CHUNK;
        bytes
    }
}

fn text(value: &str) -> Vec<u8> {
    [&[2][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value.as_bytes()].concat()
}

fn number(value: f64) -> Vec<u8> {
    [&[0][..], &value.to_be_bytes()].concat()
}

fn properties(marker: &[u8], pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = marker.to_vec();
    for (name, value) in pairs {
        out.extend_from_slice(&text(name)[1..]);
        out.extend_from_slice(value);
    }
    out.extend_from_slice(&[0, 0, 9]);
    out
}

const NULL: &[u8] = &[5];

fn command(name: &str, transaction: f64, rest: &[Vec<u8>]) -> Vec<u8> {
    [text(name), number(transaction), rest.concat()].concat()
}

fn status(code: &str) -> Vec<u8> {
    let pairs = [("level", text("status")), ("code", text(code)), ("description", text("as asked"))];
    properties(&[3], &pairs)
}

/// What passes before media, in order.
pub fn opening(chunks: &mut [Chunks; 2], publishes: bool, path: &str) -> Vec<(Dir, Vec<u8>)> {
    let (app, name) = path.split_once('/').unwrap();
    let [up, down] = chunks;
    let c1: Vec<u8> = [&[0; 8][..], &vec![0x5a; 1528]].concat();
    let s1: Vec<u8> = [&[0, 0, 0, 9, 0, 0, 0, 0][..], &vec![0xa5; 1528]].concat();
    let mut all =
        vec![(Dir::Up, [&[3][..], &c1].concat()), (Dir::Down, [&[3][..], &s1, &c1].concat()), (Dir::Up, s1)];
    let agent = if publishes { "FMLE/3.0 (generated)" } else { "LNX 9,0,124,2" };
    let wanted = [("app", text(app)), ("flashVer", text(agent)), ("tcUrl", text("rtmp://10.9.0.1/live"))];
    let connect = command("connect", 1.0, &[properties(&[3], &wanted)]);
    all.push((Dir::Up, up.message(3, 0, 20, 0, &connect)));
    let window = 2_500_000u32.to_be_bytes();
    let server = properties(&[3], &[("fmsVer", text("FMS/3,0,1,123")), ("capabilities", number(31.0))]);
    let yes = command("_result", 1.0, &[server, status("NetConnection.Connect.Success")]);
    let answer = [
        down.message(2, 0, 5, 0, &window),
        down.message(2, 0, 6, 0, &[&window[..], &[2]].concat()),
        down.grow(),
        down.message(3, 0, 20, 0, &yes),
    ];
    all.push((Dir::Down, answer.concat()));
    let create = command("createStream", 2.0, &[NULL.to_vec()]);
    let asked = [up.message(2, 0, 5, 0, &window), up.grow(), up.message(3, 0, 20, 0, &create)];
    all.push((Dir::Up, asked.concat()));
    let made = command("_result", 2.0, &[NULL.to_vec(), number(1.0)]);
    all.push((Dir::Down, down.message(3, 0, 20, 0, &made)));
    let begin = down.message(2, 0, 4, 0, &[0, 0, 0, 0, 0, 1]);
    if publishes {
        let publish = command("publish", 3.0, &[NULL.to_vec(), text(name), text("live")]);
        all.push((Dir::Up, up.message(8, 0, 20, 1, &publish)));
        let on = command("onStatus", 0.0, &[NULL.to_vec(), status("NetStream.Publish.Start")]);
        all.push((Dir::Down, [begin, down.message(5, 0, 20, 1, &on)].concat()));
    } else {
        let play = command("play", 3.0, &[NULL.to_vec(), text(name), number(-2000.0)]);
        all.push((Dir::Up, up.message(8, 0, 20, 1, &play)));
        let reset = command("onStatus", 0.0, &[NULL.to_vec(), status("NetStream.Play.Reset")]);
        let on = command("onStatus", 0.0, &[NULL.to_vec(), status("NetStream.Play.Start")]);
        let answer = [begin, down.message(5, 0, 20, 1, &reset), down.message(5, 0, 20, 1, &on)];
        all.push((Dir::Down, answer.concat()));
    }
    all
}

/// Metadata and the decoders' configurations, ahead of the first picture.
pub fn head(chunks: &mut Chunks, now: u32) -> Vec<u8> {
    let known = [("width", number(640.0)), ("height", number(360.0)), ("framerate", number(25.0))];
    let metadata = [text("onMetaData"), properties(&[8, 0, 0, 0, 3], &known)].concat();
    [
        chunks.message(7, now, 18, 1, &metadata),
        chunks.message(6, now, 9, 1, &[b"\x17\0\0\0\0", AVCC].concat()),
        chunks.message(4, now, 8, 1, &[b"\xaf\0", ASC].concat()),
    ]
    .concat()
}

/// What a publisher or the server says last.
pub fn tail(chunks: &mut Chunks, publishes: bool, path: &str) -> Vec<u8> {
    let (_, name) = path.split_once('/').unwrap();
    if publishes {
        let unpublish = command("FCUnpublish", 4.0, &[NULL.to_vec(), text(name)]);
        let delete = command("deleteStream", 5.0, &[NULL.to_vec(), number(1.0)]);
        [chunks.message(3, 0, 20, 0, &unpublish), chunks.message(3, 0, 20, 0, &delete)].concat()
    } else {
        chunks.message(2, 0, 4, 0, &[0, 1, 0, 0, 0, 1])
    }
}

/// What one publisher's encoders make.
pub struct Stream {
    noise: Vec<u8>,
    state: u64,
    mean: u32,
    sounds: u64,
}

impl Stream {
    /// Differs with the seed.
    pub fn new(seed: u64, mean: u32) -> Self {
        let mut stream =
            Self { noise: Vec::new(), state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), mean, sounds: 0 };
        while stream.noise.len() < 1 << 20 {
            let next = stream.random();
            stream.noise.extend_from_slice(&next.to_le_bytes());
        }
        stream
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn noise(&mut self, length: usize) -> &[u8] {
        let from = usize::try_from(self.random() & 0x7fff).unwrap();
        &self.noise[from..from + length]
    }

    /// The body of a video message with one slice.
    pub fn picture(&mut self, key: bool) -> Vec<u8> {
        let spread = u32::try_from(self.random() % 1000).unwrap();
        let mean = if key { self.mean * 4 } else { self.mean / 100 * 94 };
        let length = mean / 1000 * (500 + spread) + 200;
        let length = usize::try_from(length).unwrap();
        let head: &[u8] = if key { b"\x17\x01\0\0\0" } else { b"\x27\x01\0\0\0" };
        let slice: &[u8] = if key { b"\x65\x88\x84" } else { b"\x41\x9a\x21" };
        let size = u32::try_from(length + slice.len()).unwrap().to_be_bytes();
        [head, &size, slice, self.noise(length)].concat()
    }

    /// The bodies of the audio messages due before this time, with their times.
    pub fn sounds_before(&mut self, end: u32) -> Vec<(u32, Vec<u8>)> {
        let mut due = Vec::new();
        loop {
            let time = u32::try_from(self.sounds * 64_000 / SOUNDS_IN_64_S).unwrap();
            if time >= end {
                return due;
            }
            self.sounds += 1;
            let length = 300 + usize::try_from(self.random() % 200).unwrap();
            // A channel pair element, so that the block is what its configuration says.
            due.push((time, [b"\xaf\x01\x21", self.noise(length)].concat()));
        }
    }
}
