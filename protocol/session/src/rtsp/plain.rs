//! The client's end of the bare protocol: messages and packets go both ways, and a server's questions are answered. What is said
//! is its driver's business.

use std::collections::VecDeque;

use bytes::Bytes;
use wire::rtsp::{Head, Start};

use super::Reason;
use super::client::answer_to;
use super::inbox::{Inbox, Unit};
use super::server::interleaved;
use crate::Time;

/// One input of a [`Plain`].
#[derive(Debug)]
pub enum PlainInput<'a> {
    /// Bytes that arrived, in order.
    Bytes(&'a [u8]),
    /// The peer closed its side.
    Closed,
    /// The driver's wish.
    Do(PlainAction),
}

/// What a driver wants to be sent.
#[derive(Clone, Debug)]
pub enum PlainAction {
    /// A message; Content-Length is written where there is a body.
    Message(Head, Vec<u8>),
    /// A packet on a channel; one that is too long for a block is left out.
    Packet(u8, Vec<u8>),
}

/// One output of a [`Plain`].
#[derive(Debug)]
pub enum PlainOutput {
    /// Bytes to write, after all that were sent before.
    Send(Bytes),
    /// An answer.
    Answer(Head, Bytes),
    /// A packet and its channel.
    Packet(u8, Bytes),
    /// Close the connection once everything is written.
    Close(Reason),
}

/// A client endpoint without a will of its own.
#[derive(Debug, Default)]
pub struct Plain {
    inbox: Inbox,
    out: VecDeque<PlainOutput>,
    closed: bool,
}

impl Plain {
    /// Takes one input. Call [`poll`](Self::poll) until it is dry after each.
    pub fn handle(&mut self, now: Time, input: PlainInput<'_>) {
        if self.closed {
            return;
        }
        match input {
            PlainInput::Bytes(bytes) => self.take(now, bytes),
            PlainInput::Closed => self.close(Reason::PeerClosed),
            PlainInput::Do(PlainAction::Message(head, body)) => {
                self.out.push_back(PlainOutput::Send(head.encode(&body).into()));
            }
            PlainInput::Do(PlainAction::Packet(channel, payload)) => {
                self.out.extend(interleaved(channel, &payload).map(PlainOutput::Send));
            }
        }
    }

    /// The next output, in order.
    pub fn poll(&mut self) -> Option<PlainOutput> {
        self.out.pop_front()
    }

    fn take(&mut self, now: Time, bytes: &[u8]) {
        if let Err(error) = self.inbox.push(bytes) {
            return self.close(Reason::Protocol(error));
        }
        loop {
            let output = match self.inbox.next(now) {
                Ok(None) => return,
                Ok(Some(Unit::Packet { channel, payload })) => PlainOutput::Packet(channel, payload),
                Ok(Some(Unit::Message { head, body })) => match head.start {
                    Start::Request { .. } => PlainOutput::Send(answer_to(&head).encode(b"").into()),
                    Start::Response { .. } => PlainOutput::Answer(head, body),
                },
                Err(error) => return self.close(Reason::Protocol(error)),
            };
            self.out.push_back(output);
        }
    }

    fn close(&mut self, reason: Reason) {
        self.closed = true;
        self.out.push_back(PlainOutput::Close(reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_packets_come_out_and_questions_are_answered() {
        let mut plain = Plain::default();
        let now = Time::default();
        let said = b"RTSP/1.0 200 OK\r\nCSeq: 7\r\n\r\n$\x01\0\x02hiOPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n";
        said.chunks(5).for_each(|piece| plain.handle(now, PlainInput::Bytes(piece)));
        assert!(matches!(plain.poll(), Some(PlainOutput::Answer(head, _)) if head.headers.cseq() == Some(7)));
        assert!(matches!(plain.poll(), Some(PlainOutput::Packet(1, payload)) if payload == "hi"));
        let Some(PlainOutput::Send(answer)) = plain.poll() else { panic!() };
        assert!(answer.starts_with(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n"));
        plain.handle(now, PlainInput::Bytes(b"\x16\x03\x01 is no RTSP\r\n\r\n"));
        assert!(matches!(plain.poll(), Some(PlainOutput::Close(Reason::Protocol(_)))));
        plain.handle(now, PlainInput::Do(PlainAction::Packet(0, vec![1])));
        assert!(plain.poll().is_none());
    }
}
