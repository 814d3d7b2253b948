//! Connections on one Ethernet link with an MTU of 1500, written as a pcap file with nanoseconds.

use std::collections::VecDeque;
use std::io::{self, Write};

/// Payload of a full segment: 1500 less 20 bytes of IP and 32 of TCP with timestamps.
const SEGMENT: usize = 1448;
const SERVER_PORT: u16 = 1935;
const BEGAN_NS: u64 = 1_760_000_000_000_000_000;
/// Time between packets of a burst.
const STEP_NS: u64 = 9_000;
/// A late segment comes behind so many later ones.
const LATE_BY: usize = 3;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// To the server or to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dir {
    Up,
    Down,
}

impl Dir {
    /// The way back.
    pub fn other(self) -> Self {
        if self == Self::Up { Self::Down } else { Self::Up }
    }
}

/// One direction of a connection.
#[derive(Default)]
struct Half {
    base: u32,
    /// Written, not in segments yet.
    queue: VecDeque<u8>,
    /// Bytes in segments so far, late ones included.
    cut: u64,
    /// A segment that comes late: its offset, its bytes, how many segments it still waits.
    late: Option<(u64, Vec<u8>, usize)>,
    unacknowledged: u32,
    repeated: u64,
    late_segments: u64,
}

impl Half {
    /// Bytes that the receiver has without a hole.
    fn contiguous(&self) -> u64 {
        self.late.as_ref().map_or(self.cut, |(offset, ..)| *offset)
    }

    fn seq(&self, offset: u64) -> u32 {
        self.base.wrapping_add(1).wrapping_add(u32::try_from(offset & 0xffff_ffff).unwrap())
    }
}

struct Conn {
    port: u16,
    halves: [Half; 2],
}

/// The link, and what passed on it.
pub struct Link<'a> {
    out: &'a mut dyn Write,
    conns: Vec<Conn>,
    now: u64,
    packets: u64,
    bytes: u64,
    data_segments: u64,
    late_every: u64,
    twice_every: u64,
}

impl<'a> Link<'a> {
    /// Nothing passed yet.
    pub fn new(out: &'a mut dyn Write, late_every: u64, twice_every: u64) -> io::Result<Self> {
        // Nanoseconds, version 2.4, Ethernet.
        let words = [0xa1b2_3c4du32, 0x0004_0002, 0, 0, 262_144, 1];
        out.write_all(&words.map(u32::to_le_bytes).concat())?;
        let (conns, now) = (Vec::new(), BEGAN_NS);
        Ok(Self { out, conns, now, packets: 0, bytes: 0, data_segments: 0, late_every, twice_every })
    }

    /// Nothing passes before this time, counted from the first packet.
    pub fn not_before(&mut self, ns: u64) {
        self.now = self.now.max(BEGAN_NS + ns);
    }

    /// Opens a connection.
    pub fn connect(&mut self, port: u16) -> io::Result<usize> {
        let conn = self.conns.len();
        let base = |n: u32| u32::from(port).wrapping_mul(0x9e37_79b1).wrapping_mul(n);
        let half = |n| Half { base: base(n), ..Half::default() };
        self.conns.push(Conn { port, halves: [half(1), half(3)] });
        let [up, down] = [base(1), base(3)];
        self.packet(conn, Dir::Up, SYN, up, 0, &[])?;
        self.packet(conn, Dir::Down, SYN | ACK, down, up.wrapping_add(1), &[])?;
        self.packet(conn, Dir::Up, ACK, up.wrapping_add(1), down.wrapping_add(1), &[])?;
        Ok(conn)
    }

    /// Bytes to send as soon as they fill a segment.
    pub fn queue(&mut self, conn: usize, dir: Dir, bytes: &[u8]) {
        self.conns[conn].halves[dir as usize].queue.extend(bytes);
    }

    /// Bytes to send at once, behind all that wait.
    pub fn say(&mut self, conn: usize, dir: Dir, bytes: &[u8]) -> io::Result<()> {
        self.queue(conn, dir, bytes);
        while !self.conns[conn].halves[dir as usize].queue.is_empty() {
            self.segment(conn, dir)?;
        }
        self.arrive(conn, dir)
    }

    /// Sends full segments, one of each connection in turn; `ways` says in which direction each has something to say.
    pub fn drain(&mut self, ways: &[Dir]) -> io::Result<()> {
        let mut sent = true;
        while sent {
            sent = false;
            for (conn, dir) in ways.iter().enumerate() {
                if self.conns[conn].halves[*dir as usize].queue.len() >= SEGMENT {
                    self.segment(conn, *dir)?;
                    sent = true;
                }
            }
        }
        Ok(())
    }

    /// One data segment, and what comes of it: it may be late, it may be sent twice, it may be acknowledged.
    fn segment(&mut self, conn: usize, dir: Dir) -> io::Result<()> {
        let half = &mut self.conns[conn].halves[dir as usize];
        let length = half.queue.len().min(SEGMENT);
        let payload: Vec<u8> = half.queue.drain(..length).collect();
        let offset = half.cut;
        half.cut += length as u64;
        self.data_segments += 1;
        let (late, twice) = (
            self.data_segments.is_multiple_of(self.late_every),
            self.data_segments.is_multiple_of(self.twice_every),
        );
        if late && half.late.is_none() {
            half.late = Some((offset, payload, LATE_BY));
            return Ok(());
        }
        self.data(conn, dir, offset, &payload)?;
        if twice {
            self.conns[conn].halves[dir as usize].repeated += payload.len() as u64;
            self.data(conn, dir, offset, &payload)?;
        }
        let half = &mut self.conns[conn].halves[dir as usize];
        if let Some((.., waits)) = &mut half.late {
            *waits -= 1;
            if *waits == 0 {
                self.arrive(conn, dir)?;
            }
        }
        let half = &mut self.conns[conn].halves[dir as usize];
        half.unacknowledged += 1;
        if half.unacknowledged == 2 {
            half.unacknowledged = 0;
            self.acknowledge(conn, dir.other())?;
        }
        Ok(())
    }

    /// Lets a late segment come.
    fn arrive(&mut self, conn: usize, dir: Dir) -> io::Result<()> {
        let half = &mut self.conns[conn].halves[dir as usize];
        let Some((offset, payload, _)) = half.late.take() else { return Ok(()) };
        // One that nothing overtook is only delayed.
        half.late_segments += u64::from(half.cut > offset + payload.len() as u64);
        self.data(conn, dir, offset, &payload)
    }

    fn data(&mut self, conn: usize, dir: Dir, offset: u64, payload: &[u8]) -> io::Result<()> {
        let halves = &self.conns[conn].halves;
        let (me, other) = (&halves[dir as usize], &halves[dir.other() as usize]);
        let (seq, ack) = (me.seq(offset), other.seq(other.contiguous()));
        self.packet(conn, dir, ACK | PSH, seq, ack, payload)
    }

    fn acknowledge(&mut self, conn: usize, dir: Dir) -> io::Result<()> {
        let halves = &self.conns[conn].halves;
        let (me, other) = (&halves[dir as usize], &halves[dir.other() as usize]);
        let (seq, ack) = (me.seq(me.cut), other.seq(other.contiguous()));
        self.packet(conn, dir, ACK, seq, ack, &[])
    }

    /// Both sides are done.
    pub fn close(&mut self, conn: usize) -> io::Result<()> {
        let seqs = self.conns[conn].halves.each_ref().map(|half| half.seq(half.cut));
        let [up, down] = seqs;
        self.packet(conn, Dir::Up, FIN | ACK, up, down, &[])?;
        self.packet(conn, Dir::Down, FIN | ACK, down, up.wrapping_add(1), &[])?;
        self.packet(conn, Dir::Up, ACK, up.wrapping_add(1), down.wrapping_add(1), &[])
    }

    /// Payload sent, every byte once.
    pub fn delivered(&self, conn: usize, dir: Dir) -> u64 {
        self.conns[conn].halves[dir as usize].cut
    }

    /// Payload sent again.
    pub fn repeated(&self, conn: usize, dir: Dir) -> u64 {
        self.conns[conn].halves[dir as usize].repeated
    }

    /// Segments that later ones overtook.
    pub fn late(&self, conn: usize, dir: Dir) -> u64 {
        self.conns[conn].halves[dir as usize].late_segments
    }

    /// Packets and bytes that passed.
    pub fn finish(self) -> io::Result<(u64, u64)> {
        self.out.flush()?;
        Ok((self.packets, self.bytes))
    }

    fn packet(
        &mut self,
        conn: usize,
        dir: Dir,
        flags: u8,
        seq: u32,
        ack: u32,
        payload: &[u8],
    ) -> io::Result<()> {
        self.now += STEP_NS;
        let port = self.conns[conn].port;
        let client = [10, 9, 1, u8::try_from(conn % 200).unwrap() + 2];
        let server = [10, 9, 0, 1];
        let (from, to, ports) = match dir {
            Dir::Up => (client, server, [port, SERVER_PORT]),
            Dir::Down => (server, client, [SERVER_PORT, port]),
        };
        let clock = u32::try_from((self.now - BEGAN_NS) / 1_000_000).unwrap().to_be_bytes();
        let mut frame = Vec::with_capacity(66 + payload.len());
        frame.extend_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        frame.extend_from_slice(&[0x45, 0]);
        frame.extend_from_slice(&u16::try_from(52 + payload.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&u16::try_from(self.packets & 0xffff).unwrap().to_be_bytes());
        frame.extend_from_slice(&[0x40, 0, 64, 6, 0, 0]);
        frame.extend_from_slice(&from);
        frame.extend_from_slice(&to);
        for port in ports {
            frame.extend_from_slice(&port.to_be_bytes());
        }
        frame.extend_from_slice(&seq.to_be_bytes());
        frame.extend_from_slice(&ack.to_be_bytes());
        frame.extend_from_slice(&[0x80, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.extend_from_slice(&[1, 1, 8, 10]);
        frame.extend_from_slice(&clock);
        frame.extend_from_slice(&[0, 0, 0, 0]);
        frame.extend_from_slice(payload);
        let (seconds, nanos) = (self.now / 1_000_000_000, self.now % 1_000_000_000);
        let length = u32::try_from(frame.len()).unwrap();
        let head = [u32::try_from(seconds).unwrap(), u32::try_from(nanos).unwrap(), length, length];
        self.out.write_all(&head.map(u32::to_le_bytes).concat())?;
        self.out.write_all(&frame)?;
        self.packets += 1;
        self.bytes += u64::from(length);
        Ok(())
    }
}
