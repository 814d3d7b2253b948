//! What waits to leave for one client: answers and interleaved packets in the connection's order, and datagrams.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use media::Kind;
use session::rtsp::Carry;
use wire::rtp::HEADER;
use wire::rtsp::Interleaved;

use super::ports::Datagram;
use crate::driver::Outbox;
use crate::fault::rtsp::Breaker;

#[derive(Debug)]
pub(super) struct Egress {
    pub outbox: Outbox,
    pub datagrams: VecDeque<Datagram>,
    peer: SocketAddr,
    fault: Option<Box<Breaker>>,
}

impl Egress {
    /// Towards a client at `peer`, written as the sockets write it; a fault changes all that goes there.
    pub fn new(peer: SocketAddr, fault: Option<Box<Breaker>>) -> Self {
        Self { outbox: Outbox::default(), datagrams: VecDeque::new(), peer, fault }
    }

    /// True where nothing waits.
    pub fn is_empty(&self) -> bool {
        self.outbox.is_empty() && self.datagrams.is_empty()
    }

    /// Queues what the session says.
    pub fn answer(&mut self, bytes: Bytes) {
        let bytes = match &mut self.fault {
            None => bytes,
            Some(fault) => fault.answers(bytes),
        };
        self.outbox.push_control(bytes);
    }

    /// Queues a packet of a track of this kind; returns its bytes.
    pub fn rtp(&mut self, carry: Carry, kind: Kind, mut header: [u8; HEADER], payload: Bytes) -> usize {
        if let Some(fault) = &self.fault {
            fault.header(kind, &mut header);
        }
        self.packet(carry, false, &header, payload)
    }

    /// Queues a compound packet of RTCP.
    pub fn rtcp(&mut self, carry: Carry, compound: Bytes) {
        let compound = match &self.fault {
            None => compound,
            Some(fault) => fault.compound(compound),
        };
        self.packet(carry, true, &[], compound);
    }

    fn packet(&mut self, carry: Carry, rtcp: bool, head: &[u8], payload: Bytes) -> usize {
        let length = head.len().saturating_add(payload.len());
        match carry {
            Carry::Udp { client_port, .. } => {
                let port = if rtcp { client_port.1 } else { client_port.0 };
                // The address as a whole: a link-local one is nothing without its scope.
                let mut to = self.peer;
                to.set_port(port);
                self.datagrams.push_back(Datagram { rtcp, to, head: Bytes::copy_from_slice(head), payload });
            }
            Carry::Tcp { channels } => {
                let channel = if rtcp { channels.1 } else { channels.0 };
                let channel = self.fault.as_ref().map_or(channel, |fault| fault.channel(channel));
                let Ok(length) = u16::try_from(length) else { return 0 };
                let mut front = BytesMut::with_capacity(head.len().saturating_add(4));
                front.extend_from_slice(&Interleaved { channel, length }.encode());
                front.extend_from_slice(head);
                self.outbox.push_media(front.freeze());
                self.outbox.push_media(payload);
            }
        }
        length
    }
}
