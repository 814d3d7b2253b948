//! A capture of publishers and players of RTMP as a server's network card with an MTU of 1500 sees it, with the truth about it:
//! whatever is written is counted as it is written, and nothing here comes from the decoders under test.
//!
//! Segments of 1448 bytes that no message keeps to, audio between the chunks of a picture, headers in all four forms, a few
//! segments late and a few sent twice. Checksums are left to the card, as on a machine that sniffs itself.

mod rtmp;
mod tcp;

use std::io::{self, Write};

use rtmp::{Chunks, Stream};
use tcp::{Dir, Link};

/// What the capture holds.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Publishers.
    pub publishers: u16,
    /// Players of each.
    pub players: u16,
    /// Pictures of each publisher, 25 a second.
    pub pictures: u32,
    /// Mean bytes of a picture.
    pub picture_bytes: u32,
    /// One data segment in so many comes late.
    pub late_every: u64,
    /// One data segment in so many is sent twice.
    pub twice_every: u64,
}

impl Plan {
    /// 700 MB: three publishers at 20 Mb/s with four players each.
    pub const LARGE: Self = Self {
        publishers: 3,
        players: 4,
        pictures: 565,
        picture_bytes: 98_000,
        late_every: 9_973,
        twice_every: 20_011,
    };
    /// The same at 1 Mb/s, about 20 MB.
    pub const SMALL: Self =
        Self { pictures: 280, picture_bytes: 5_000, late_every: 97, twice_every: 151, ..Self::LARGE };
}

/// What one connection carried.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    /// True for a publisher.
    pub publishes: bool,
    /// Application and name.
    pub path: String,
    /// The client's port.
    pub port: u16,
    /// Payload to the server and to the client, every byte once.
    pub bytes: (u64, u64),
    /// Payload bytes that were sent again.
    pub repeated: u64,
    /// Segments that came behind a later one.
    pub late: u64,
    /// Pictures, without the decoder's configuration.
    pub pictures: u64,
    /// Those of them that are key frames.
    pub key_frames: u64,
    /// Audio frames, without the decoder's configuration.
    pub sounds: u64,
}

/// What the capture holds, counted while it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    /// Packets.
    pub packets: u64,
    /// Bytes on the wire.
    pub bytes: u64,
    /// The connections, in the order in which they were opened.
    pub sessions: Vec<Session>,
}

const KEY_EVERY: u32 = 50;
const PICTURE_MS: u32 = 40;
/// The network's way of counting: a receiver acknowledges so many bytes.
const WINDOW: u64 = 2_500_000;

/// One end of a connection that speaks RTMP, and what it takes in.
struct Peer {
    stream: u16,
    chunks: [Chunks; 2],
    /// Bytes of media that the receiver has acknowledged.
    acknowledged: u64,
    playing: bool,
    truth: Session,
}

/// Writes the capture.
pub fn write(plan: &Plan, out: &mut dyn Write) -> io::Result<Truth> {
    let mut link = Link::new(out, plan.late_every, plan.twice_every)?;
    let mut streams: Vec<Stream> =
        (0..plan.publishers).map(|no| Stream::new(u64::from(no) + 1, plan.picture_bytes)).collect();
    let mut peers: Vec<Peer> = Vec::new();
    for no in 0..plan.publishers {
        peers.push(open(&mut link, no, true, 40_000 + no)?);
    }
    for tick in 0..plan.pictures {
        link.not_before(u64::from(tick * PICTURE_MS) * 1_000_000);
        // Players come one after another, all within the first half.
        for place in 0..plan.players * plan.publishers {
            if u32::from(place) * plan.pictures / u32::from(plan.players * plan.publishers * 2) == tick {
                peers.push(open(&mut link, place % plan.publishers, false, 50_000 + place)?);
            }
        }
        let now = tick * PICTURE_MS;
        for (no, stream) in streams.iter_mut().enumerate() {
            let key = tick.is_multiple_of(KEY_EVERY);
            let sounds = stream.sounds_before(now + PICTURE_MS);
            let picture = stream.picture(key);
            for (conn, peer) in peers.iter_mut().enumerate().filter(|(_, p)| usize::from(p.stream) == no) {
                if key && !peer.playing {
                    peer.playing = true;
                    let head = rtmp::head(&mut peer.chunks[peer.dir() as usize], now);
                    link.queue(conn, peer.dir(), &head);
                }
                if peer.playing {
                    media(&mut link, conn, peer, now, key, &picture, &sounds);
                }
            }
        }
        link.drain(&peers.iter().map(Peer::dir).collect::<Vec<_>>())?;
        for (conn, peer) in peers.iter_mut().enumerate() {
            let received = link.delivered(conn, peer.dir());
            if received - peer.acknowledged >= WINDOW {
                peer.acknowledged = received;
                let number = u32::try_from(received & 0xffff_ffff).unwrap().to_be_bytes();
                let back = peer.dir().other();
                let bytes = peer.chunks[back as usize].message(2, 0, 3, 0, &number);
                link.say(conn, back, &bytes)?;
            }
        }
    }
    for (conn, peer) in peers.iter_mut().enumerate() {
        let last = rtmp::tail(&mut peer.chunks[peer.dir() as usize], peer.truth.publishes, &peer.truth.path);
        link.say(conn, peer.dir(), &last)?;
        link.close(conn)?;
        let half = |dir| (link.delivered(conn, dir), link.repeated(conn, dir), link.late(conn, dir));
        let (up, down) = (half(Dir::Up), half(Dir::Down));
        peer.truth.bytes = (up.0, down.0);
        peer.truth.repeated = up.1 + down.1;
        peer.truth.late = up.2 + down.2;
    }
    let (packets, bytes) = link.finish()?;
    Ok(Truth { packets, bytes, sessions: peers.into_iter().map(|peer| peer.truth).collect() })
}

impl Peer {
    /// Which way the media goes.
    fn dir(&self) -> Dir {
        if self.truth.publishes { Dir::Up } else { Dir::Down }
    }
}

/// The connection, the handshake and the commands of one client.
fn open(link: &mut Link<'_>, stream: u16, publishes: bool, port: u16) -> io::Result<Peer> {
    let conn = link.connect(port)?;
    let path = format!("live/cam{stream}");
    let mut chunks = [Chunks::default(), Chunks::default()];
    for (dir, bytes) in rtmp::opening(&mut chunks, publishes, &path) {
        link.say(conn, dir, &bytes)?;
    }
    let truth = Session { publishes, path, port, ..Session::default() };
    Ok(Peer { stream, chunks, acknowledged: 0, playing: false, truth })
}

/// A picture and the sounds of its time: one of them lies between the chunks of the picture.
fn media(
    link: &mut Link<'_>,
    conn: usize,
    peer: &mut Peer,
    now: u32,
    key: bool,
    picture: &[u8],
    sounds: &[(u32, Vec<u8>)],
) {
    let dir = peer.dir();
    let chunks = &mut peer.chunks[dir as usize];
    let mut pieces = chunks.pieces(6, now, 9, 1, picture);
    let middle = pieces.len() / 2;
    for (place, (at, sound)) in sounds.iter().enumerate() {
        let whole = chunks.message(4, *at, 8, 1, sound);
        let after = if place == 0 { middle } else { pieces.len() };
        pieces.insert(after, whole);
    }
    for piece in pieces {
        link.queue(conn, dir, &piece);
    }
    peer.truth.pictures += 1;
    peer.truth.key_frames += u64::from(key);
    peer.truth.sounds += sounds.len() as u64;
}
