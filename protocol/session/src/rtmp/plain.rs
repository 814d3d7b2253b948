//! The client's end of the bare protocol: handshake, chunks, acknowledgements, answers to pings. What is said is its driver's
//! business.

use std::collections::VecDeque;

use bytes::Bytes;
use wire::rtmp::message::{Control, kind};
use wire::rtmp::reader::Message;
use wire::{Cursor, Error};

use super::greeting::Greeting;
use super::io::{Event, Output, Reason};
use super::link::Link;
use crate::Time;

/// Bytes held of messages that are not whole, at most: no server has so much under way.
const MAX_HELD: usize = 32 << 20;

/// One input of a [`Plain`].
#[derive(Debug)]
pub enum PlainInput<'a> {
    /// Bytes that arrived, in order.
    Bytes(&'a [u8]),
    /// The peer closed its side.
    Closed,
    /// Say this, once [`PlainOutput::Ready`] came. A Set Chunk Size holds for what follows it.
    Say(Message),
}

/// One output of a [`Plain`].
#[derive(Debug, PartialEq, Eq)]
pub enum PlainOutput {
    /// Bytes to write, after all that were sent before.
    Send(Bytes),
    /// The handshake is over.
    Ready,
    /// What the server said, but for what the protocol itself answers.
    Message(Message),
    /// A Stream EOF: the stream with this id is over.
    Eof(u32),
    /// Close the connection once everything is written.
    Close(Reason),
}

/// A client endpoint without a will of its own.
#[derive(Debug)]
pub struct Plain {
    link: Link,
    /// None once the handshake is over.
    greeting: Option<Greeting>,
    out: VecDeque<PlainOutput>,
}

impl Plain {
    /// A client whose transport is connected `now`; `seed` grows the random bytes of its handshake.
    pub fn new(seed: u64, now: Time) -> Self {
        let (link, greeting) = Greeting::begin(seed, now);
        Self { link, greeting: Some(greeting), out: VecDeque::new() }
    }

    /// Takes one input. Call [`poll`](Self::poll) until it is dry after each.
    pub fn handle(&mut self, now: Time, input: PlainInput<'_>) {
        if self.link.closed {
            return;
        }
        match input {
            PlainInput::Bytes(bytes) => {
                self.link.count(bytes.len(), now);
                self.take(now, bytes);
                self.link.acknowledge();
            }
            PlainInput::Closed => self.link.close(Reason::PeerClosed),
            PlainInput::Say(message) => self.say(&message),
        }
        self.pass_on();
    }

    /// The next output, in order.
    pub fn poll(&mut self) -> Option<PlainOutput> {
        self.pass_on();
        self.out.pop_front()
    }

    fn take(&mut self, now: Time, bytes: &[u8]) {
        let mut input = bytes;
        if let Some(greeting) = &mut self.greeting {
            match greeting.take(&mut input, now) {
                Ok(None) => return,
                Ok(Some(c2)) => {
                    self.link.send_raw(c2);
                    self.greeting = None;
                    self.pass_on();
                    self.out.push_back(PlainOutput::Ready);
                }
                Err(error) => return self.link.close(Reason::Protocol(error)),
            }
        }
        while let Some(message) = self.link.next(&mut input) {
            self.pass_on();
            self.out.push_back(PlainOutput::Message(message));
        }
        let held = self.link.reader.held();
        if held > MAX_HELD {
            let at = self.link.reader.position();
            let error = Error::too_large(at, "unfinished messages", MAX_HELD as u64, held as u64);
            self.link.close(Reason::Protocol(error));
        }
    }

    fn say(&mut self, message: &Message) {
        let size = match message.head.type_id {
            kind::SET_CHUNK_SIZE => Control::decode(&mut Cursor::new(&message.payload), kind::SET_CHUNK_SIZE),
            _ => return self.link.send(message.head, &[&message.payload]),
        };
        // One that no chunk can have would make the rest unreadable.
        if let Ok(size) = size {
            self.link.control(&size);
        }
    }

    fn pass_on(&mut self) {
        while let Some(output) = self.link.poll() {
            self.out.extend(match output {
                Output::Send(bytes) => Some(PlainOutput::Send(bytes)),
                Output::Event(Event::Ended { stream }) => Some(PlainOutput::Eof(stream)),
                Output::Close(reason) => Some(PlainOutput::Close(reason)),
                Output::Event(_) | Output::WakeAt(_) => None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::rtmp::{Server, ServerConfig};
    use wire::rtmp::chunk::Head;
    use wire::rtmp::handshake;
    use wire::rtmp::message::Command;

    fn sent(plain: &mut Plain) -> (Vec<u8>, Vec<PlainOutput>) {
        let (mut bytes, mut others) = (Vec::new(), Vec::new());
        while let Some(output) = plain.poll() {
            match output {
                PlainOutput::Send(piece) => bytes.extend(piece),
                other => others.push(other),
            }
        }
        (bytes, others)
    }

    #[test]
    fn the_handshake_is_made_and_what_is_said_is_heard_as_it_is() {
        let now = Time::default();
        let (mut plain, mut server) = (Plain::new(1, now), Server::new(ServerConfig::default(), 2, now));
        let mut said = Vec::new();
        for round in 0..8 {
            let (bytes, others) = sent(&mut plain);
            if others.contains(&PlainOutput::Ready) {
                let connect = Command::new("connect", 1.0, Vec::new());
                let head = Head { csid: 3, type_id: kind::COMMAND_AMF0, ..Head::default() };
                let size = Head { csid: 2, type_id: kind::SET_CHUNK_SIZE, ..Head::default() };
                for (head, payload) in [(size, vec![0, 0, 0, 7]), (head, connect.encode())] {
                    plain.handle(now, PlainInput::Say(Message { head, payload }));
                }
            }
            said.extend(others);
            server.handle(now, super::super::Input::Bytes(&bytes));
            while let Some(output) = server.poll() {
                if let Output::Send(bytes) = output {
                    plain.handle(now, PlainInput::Bytes(&bytes));
                }
            }
            assert!(round < 7 || said.len() > 1, "{said:?}");
        }
        let answers: Vec<String> = said
            .iter()
            .filter_map(|output| match output {
                PlainOutput::Message(message) => {
                    Some(Command::decode(&mut Cursor::new(&message.payload), false).unwrap().0.name)
                }
                _ => None,
            })
            .collect();
        assert_eq!(answers, ["_result"]);
    }

    #[test]
    fn what_is_no_handshake_and_what_never_ends_close_it() {
        let now = Time::default();
        let mut plain = Plain::new(1, now);
        plain.handle(now, PlainInput::Bytes(b"HTTP/1.1 400 Bad Request\r\n"));
        assert!(matches!(sent(&mut plain).1[..], [PlainOutput::Close(Reason::Protocol(_))]));

        let mut plain = Plain::new(1, now);
        let mut hello = vec![handshake::VERSION];
        handshake::write_hello(&mut hello, 0, 3);
        hello.extend(vec![0; handshake::PACKET]);
        // Chunks of 1 MiB, and messages that begin and never end.
        hello.extend([2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0x10, 0, 0]);
        plain.handle(now, PlainInput::Bytes(&hello));
        let chunk = vec![7; 1 << 20];
        for csid in 3..60u8 {
            let open = [csid, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0];
            plain.handle(now, PlainInput::Bytes(&open));
            plain.handle(now, PlainInput::Bytes(&chunk));
        }
        let Some(PlainOutput::Close(Reason::Protocol(error))) = sent(&mut plain).1.pop() else { panic!() };
        assert_eq!(error.field, "unfinished messages");
    }
}
