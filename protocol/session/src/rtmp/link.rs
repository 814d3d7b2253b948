//! What both ends of a connection share once the handshake is over: reading messages, acknowledging,
//! answering pings, queueing what goes out.

use std::collections::VecDeque;

use bytes::Bytes;
use wire::Cursor;
use wire::rtmp::chunk::{DEFAULT_CHUNK_SIZE, Head, write_message};
use wire::rtmp::message::{Command, Control, UserEvent, kind};
use wire::rtmp::reader::{Message, Reader};

use super::csid;
use super::io::{Event, Output, Reason};
use crate::Time;

/// Acknowledge this often where the peer named no window of its own.
const DEFAULT_WINDOW: u32 = 2_500_000;

#[derive(Debug)]
pub(super) struct Link {
    pub reader: Reader,
    out: VecDeque<Output>,
    /// Chunk size of what we send.
    chunk_size: u32,
    received: u64,
    acknowledged: u64,
    window: u32,
    /// What the peer last said it had received, modulo 2^32.
    pub peer_received: Option<u32>,
    pub closed: bool,
}

impl Link {
    /// `at` is the position of the first byte after the handshake in the peer's stream.
    pub fn new(max_message: u32, at: u64) -> Self {
        Self {
            reader: Reader::new(max_message, at),
            out: VecDeque::new(),
            chunk_size: DEFAULT_CHUNK_SIZE,
            received: 0,
            acknowledged: 0,
            window: DEFAULT_WINDOW,
            peer_received: None,
            closed: false,
        }
    }

    /// A burst of tiny messages makes a long queue; once dry, a connection keeps none of it.
    pub fn poll(&mut self) -> Option<Output> {
        let next = self.out.pop_front();
        if next.is_none() && self.out.capacity() > 64 {
            self.out = VecDeque::new();
        }
        next
    }

    pub fn push(&mut self, output: Output) {
        self.out.push_back(output);
    }

    pub fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    /// Ends the session; nothing comes after the first close.
    pub fn close(&mut self, reason: Reason) {
        if !self.closed {
            self.closed = true;
            self.push(Output::Close(reason));
        }
    }

    pub fn send_raw(&mut self, bytes: Vec<u8>) {
        self.push(Output::Send(bytes.into()));
    }

    pub fn send(&mut self, head: Head, parts: &[&[u8]]) {
        let length = parts.iter().fold(32usize, |n, p| n.saturating_add(p.len()));
        let mut out = Vec::with_capacity(length);
        write_message(&mut out, self.chunk_size, &head, parts);
        self.send_raw(out);
    }

    pub fn control(&mut self, control: &Control) {
        let (type_id, body) = control.encode();
        self.send(Head { csid: csid::CONTROL, type_id, ..Head::default() }, &[&body]);
        if let Control::SetChunkSize(size) = control {
            self.chunk_size = *size;
        }
    }

    pub fn command(&mut self, csid: u32, stream_id: u32, command: &Command) {
        let head = Head { csid, timestamp: 0, type_id: kind::COMMAND_AMF0, stream_id };
        self.send(head, &[&command.encode()]);
    }

    /// Counts bytes that arrived, handshake included, and acknowledges each window of them.
    ///
    /// The sequence number counts what was received "so far" (§5.4.3); peers disagree whether the handshake
    /// belongs to it, and none minds.
    pub fn count(&mut self, bytes: usize, now: Time) {
        self.reader.set_mark(now.as_millis());
        self.received = self.received.saturating_add(bytes as u64);
    }

    /// Call when what arrived was taken in.
    pub fn acknowledge(&mut self) {
        if self.received.saturating_sub(self.acknowledged) >= u64::from(self.window) {
            self.acknowledged = self.received;
            self.control(&Control::Ack((self.received & 0xffff_ffff) as u32));
        }
    }

    /// The next message that is not the link's own business.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Message> {
        while !self.closed {
            match self.reader.next(input) {
                Ok(Some(message)) if Control::is_control(message.head.type_id) => self.take_control(&message),
                Ok(Some(message)) => return Some(message),
                Ok(None) => return None,
                Err(error) => self.close(Reason::Protocol(error)),
            }
        }
        None
    }

    fn take_control(&mut self, message: &Message) {
        let at = self.reader.position().saturating_sub(message.payload.len() as u64);
        match Control::decode(&mut Cursor::based(&message.payload, at), message.head.type_id) {
            Ok(Control::SetChunkSize(size)) => self.reader.set_chunk_size(size),
            Ok(Control::Abort(csid)) => self.reader.abort(csid),
            Ok(Control::Ack(n)) => self.peer_received = Some(n),
            Ok(Control::WindowAckSize(n)) => self.window = n.max(1),
            // §5.4.5 wants a Window Acknowledgement Size back where the value is new; ours never changes.
            Ok(Control::SetPeerBandwidth(..)) => {}
            Ok(Control::User(UserEvent::PingRequest(t))) => {
                self.control(&Control::User(UserEvent::PingResponse(t)));
            }
            Ok(Control::User(UserEvent::StreamEof(stream))) => self.event(Event::Ended { stream }),
            Ok(Control::User(_)) => {}
            // A chunk size that cannot be makes the rest unreadable; any other bad control message does not.
            Err(error) if message.head.type_id == kind::SET_CHUNK_SIZE => self.close(Reason::Protocol(error)),
            Err(error) => self.event(Event::Misbehaved(format!("control message at {error}"))),
        }
    }
}

/// A message's body as shared bytes.
pub(super) fn body(message: Message) -> Bytes {
    Bytes::from(message.payload)
}
