//! Follows one RTMP connection for those who want to see its chunks: the same reading as the tracker's, told chunk
//! by chunk.

use wire::rtmp::chunk::Basic;

use super::chunks::Assembler;
use super::handshake::Half;
use super::message::{Message, Sink, Trouble, What};
use crate::flow::{At, ConnInfo, Dir};

/// Pieces of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shake {
    /// C0 and C1.
    C0C1,
    /// C2.
    C2,
    /// S0, S1 and S2.
    S0S1S2,
}

/// A message that ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived<'b> {
    pub(crate) csid: u32,
    pub(crate) timestamp: u32,
    pub(crate) type_id: u8,
    pub(crate) stream_id: u32,
    /// Declared length of the body.
    pub(crate) length: u32,
    /// The body, or its beginning.
    pub(crate) body: &'b [u8],
    /// Bytes of the body that the capture lacks.
    pub(crate) lost: u64,
}

/// Is told what a direction carries.
pub(crate) trait Events {
    /// Bytes of the handshake.
    fn shaking(&mut self, at: At, bytes: &[u8]);
    /// A piece of the handshake is whole.
    fn shaken(&mut self, what: Shake);
    /// A chunk header.
    fn chunk(&mut self, at: At, basic: &Basic, bytes: &[u8], continues: bool);
    /// Payload of a chunk.
    fn payload(&mut self, at: At, csid: u32, bytes: &[u8]);
    /// A message is whole.
    fn message(&mut self, message: &Arrived<'_>);
    /// The chunks cannot be told apart any more.
    fn lost(&mut self, error: &wire::Error);
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    client: Option<Dir>,
    sides: [Side; 2],
    from_start: bool,
    ports: [u16; 2],
    late: bool,
    /// Bytes looked through after joining late.
    looked: u64,
    other: bool,
    certain: bool,
}

#[derive(Clone, Debug)]
struct Side {
    hello: Half,
    chunks: Assembler,
}

impl Follower {
    pub(crate) fn new(info: &ConnInfo) -> Self {
        let side = || Side { hello: Half::default(), chunks: Assembler::new() };
        Self {
            client: info.client_known.then_some(Dir::AToB),
            sides: [side(), side()],
            from_start: info.client_known,
            ports: [info.a.port(), info.b.port()],
            late: false,
            looked: 0,
            other: false,
            certain: false,
        }
    }

    /// Memory held, in bytes: the open messages.
    pub(crate) fn weight(&self) -> usize {
        self.sides.iter().fold(0, |n, side| n.saturating_add(side.chunks.weight()))
    }

    /// True where it turned out to be something else.
    pub(crate) fn is_other(&self) -> bool {
        self.other
    }

    /// True where it certainly is RTMP.
    pub(crate) fn is_certain(&self) -> bool {
        self.certain
    }

    /// Takes up a connection whose beginning the capture lacks.
    fn join_late(&mut self, bytes: &[u8]) -> bool {
        if self.late || self.from_start || super::is_tls(bytes) {
            return false;
        }
        self.client = Some(super::client_by_port(self.ports));
        self.late = true;
        let side = || Side { hello: Half::done(), chunks: Assembler::in_the_middle() };
        self.sides = [side(), side()];
        true
    }

    /// Takes the next bytes of a direction.
    pub(crate) fn data(&mut self, dir: Dir, at: At, bytes: &[u8], events: &mut impl Events) {
        if self.other || bytes.is_empty() {
            return;
        }
        if !self.from_start && !self.late && super::handshake::is_chunk(bytes) {
            self.join_late(bytes);
        }
        let client = *self.client.get_or_insert(dir);
        let [a, b] = &mut self.sides;
        let (side, peer) = if dir == Dir::AToB { (a, b) } else { (b, a) };
        let rest = if side.hello.is_done() { bytes } else { side.hello.push(bytes) };
        if !side.hello.is_plausible() {
            if self.join_late(bytes) {
                return self.data(dir, at, bytes, events);
            }
            self.other = true;
            return;
        }
        let (before, shaken) = (side.hello.passed, bytes.len().saturating_sub(rest.len()));
        self.certain |= side.hello.echoes(&peer.hello) || peer.hello.echoes(&side.hello);
        if shaken > 0 {
            let began = before.saturating_sub(shaken as u64);
            shake(dir == client, began, at, bytes.get(..shaken).unwrap_or_default(), events);
        }
        let mut teller = Teller { events, messages: 0, desync: false };
        side.chunks.data(at.further(shaken), rest, &mut teller);
        let (messages, desync) = (teller.messages, teller.desync);
        self.certain |= messages > 0;
        if desync && !self.certain && !self.join_late(bytes) {
            self.other = true;
        }
        if self.late && !self.certain {
            self.looked = self.looked.saturating_add(bytes.len() as u64);
            self.other |= self.looked > super::MAX_LOOKED;
        }
    }

    /// Passes over bytes that the capture lacks.
    pub(crate) fn gap(&mut self, dir: Dir, at: At, len: u64, events: &mut impl Events) {
        self.client.get_or_insert(dir);
        let [a, b] = &mut self.sides;
        let side = if dir == Dir::AToB { a } else { b };
        let rest = if side.hello.is_done() { len } else { side.hello.skip(len) };
        if rest > 0 && !self.other {
            side.chunks.gap(at, rest, &mut Teller { events, messages: 0, desync: false });
        }
    }
}

/// Tells the bytes of a handshake so that no call goes across the end of a piece.
fn shake(client: bool, began: u64, at: At, bytes: &[u8], events: &mut impl Events) {
    const FIRST: u64 = wire::rtmp::handshake::HELLO as u64;
    let cut = usize::try_from(FIRST.saturating_sub(began)).unwrap_or(usize::MAX);
    let first = bytes.get(..cut.min(bytes.len())).unwrap_or_default();
    let second = bytes.get(first.len()..).unwrap_or_default();
    let end = began.saturating_add(bytes.len() as u64);
    if !client {
        events.shaking(at, bytes);
        if end >= super::handshake::LENGTH {
            events.shaken(Shake::S0S1S2);
        }
        return;
    }
    if !first.is_empty() {
        events.shaking(at, first);
        if cut <= bytes.len() {
            events.shaken(Shake::C0C1);
        }
    }
    if !second.is_empty() {
        events.shaking(at.further(first.len()), second);
        if end >= super::handshake::LENGTH {
            events.shaken(Shake::C2);
        }
    }
}

struct Teller<'a, E: Events> {
    events: &'a mut E,
    messages: u64,
    desync: bool,
}

impl<E: Events> Sink for Teller<'_, E> {
    fn message(&mut self, message: &Message<'_>) {
        self.messages = self.messages.saturating_add(1);
        self.events.message(&Arrived {
            csid: message.csid,
            timestamp: message.timestamp,
            type_id: message.type_id,
            stream_id: message.stream_id,
            length: message.length,
            body: message.body,
            lost: message.lost,
        });
    }

    fn trouble(&mut self, trouble: Trouble) {
        if trouble.what == What::Desync {
            self.desync = true;
            self.events.lost(&trouble.error);
        }
    }

    fn hole(&mut self) {}

    fn chunk(&mut self, at: At, basic: &Basic, bytes: &[u8], continues: bool) {
        self.events.chunk(at, basic, bytes, continues);
    }

    fn payload(&mut self, at: At, csid: u32, bytes: &[u8]) {
        self.events.payload(at, csid, bytes);
    }
}
