//! What arrived and was not read yet.

use bytes::{Buf, Bytes, BytesMut};
use wire::rtsp::{Framed, Head, INTERLEAVED_HEADER, frame};
use wire::{Cursor, Error};

use crate::Time;

/// What may lie unread: a whole message of the largest size, and as much again behind it.
const MAX_HELD: usize = 640 * 1024;
/// The largest buffer kept where nothing lies in it.
const KEPT: usize = 4 * 1024;

/// One unit of an RTSP connection.
#[derive(Debug)]
pub(super) enum Unit {
    /// A request or response.
    Message { head: Head, body: Bytes },
    /// A packet on a channel.
    Packet { channel: u8, payload: Bytes },
}

/// Collects bytes and cuts units off their front.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    held: BytesMut,
    /// Bytes of the front unit that were searched already.
    seen: usize,
    /// Bytes cut off so far.
    position: u64,
    /// The head that could not be read.
    broken: BytesMut,
    /// When the first byte of an incomplete unit was there.
    pub since: Option<Time>,
}

impl Inbox {
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let whole = self.held.len().saturating_add(bytes.len());
        if whole > MAX_HELD {
            return Err(Error::too_large(self.position, "unread requests", MAX_HELD as u64, whole as u64));
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// Memory that what was not read takes.
    pub fn bytes(&self) -> usize {
        if self.held.is_empty() { 0 } else { self.held.capacity() }
    }

    /// The next whole unit. After an error nothing more can be read.
    pub fn next(&mut self, now: Time) -> Result<Option<Unit>, Error> {
        loop {
            let framed = frame(&self.held, self.seen).map_err(|e| e.shifted(self.position))?;
            self.seen = 0;
            self.position = self.position.saturating_add(framed.size() as u64);
            match framed {
                Framed::Need(_) | Framed::HeadOpen => {
                    if framed == Framed::HeadOpen {
                        self.seen = self.held.len();
                    }
                    self.since = if self.held.is_empty() { None } else { self.since.or(Some(now)) };
                    if self.held.is_empty() && self.held.capacity() > KEPT {
                        // Who says nothing holds nothing.
                        self.held = BytesMut::new();
                    }
                    return Ok(None);
                }
                Framed::Blank(n) => self.held.advance(n),
                Framed::Interleaved { channel, length } => {
                    self.since = None;
                    self.held.advance(INTERLEAVED_HEADER);
                    return Ok(Some(Unit::Packet { channel, payload: self.held.split_to(length).freeze() }));
                }
                Framed::Message { head, body } => {
                    self.since = None;
                    let text = self.held.split_to(head);
                    let body = self.held.split_to(body).freeze();
                    let at = self.position.saturating_sub(head as u64).saturating_sub(body.len() as u64);
                    return match Head::decode(&mut Cursor::based(&text, at)) {
                        Ok(head) => Ok(Some(Unit::Message { head, body })),
                        Err(error) => {
                            self.broken = text;
                            Err(error)
                        }
                    };
                }
            }
        }
    }

    /// The CSeq of the message that [`next`](Self::next) could not read, where it has one. Its start line may be what is wrong
    /// with it.
    pub fn broken_cseq(&self) -> Option<String> {
        let text = if self.broken.is_empty() { &self.held } else { &self.broken };
        let first = text.iter().position(|b| *b == b'\n')?;
        let text = [b"ANY * RTSP/1.0\r\n", text.get(first.saturating_add(1)..)?].concat();
        let head = Head::decode(&mut Cursor::new(&text)).ok()?;
        head.headers.cseq()?;
        head.headers.value("CSeq").map(str::to_owned)
    }
}

/// The status code for what could not be read.
pub(super) fn status_of(error: &Error) -> u16 {
    match (error.field, &error.problem) {
        ("Content-Length", wire::Problem::TooLarge { .. }) => 413,
        ("start line", wire::Problem::TooLarge { .. }) => 414,
        _ => 400,
    }
}
