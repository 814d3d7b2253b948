//! What waits to leave for one client: answers and interleaved packets in the connection's order, and datagrams.

use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};
use session::rtsp::Carry;
use wire::rtsp::Interleaved;

use crate::rtmp::outbox::Outbox;

/// A packet for UDP: a header of the viewer's own and a payload that is shared.
#[derive(Debug)]
pub(super) struct Datagram {
    pub rtcp: bool,
    pub to: SocketAddr,
    pub head: Bytes,
    pub payload: Bytes,
}

#[derive(Debug)]
pub(super) struct Egress {
    pub outbox: Outbox,
    pub datagrams: Vec<Datagram>,
    peer: IpAddr,
}

impl Egress {
    /// Towards a client at `peer`, written as the sockets write it.
    pub fn new(peer: IpAddr) -> Self {
        Self { outbox: Outbox::default(), datagrams: Vec::new(), peer }
    }

    /// Queues a packet; returns its bytes.
    pub fn packet(&mut self, carry: Carry, rtcp: bool, head: &[u8], payload: Bytes) -> usize {
        let length = head.len().saturating_add(payload.len());
        match carry {
            Carry::Udp { client_port, .. } => {
                let port = if rtcp { client_port.1 } else { client_port.0 };
                let to = SocketAddr::new(self.peer, port);
                self.datagrams.push(Datagram { rtcp, to, head: Bytes::copy_from_slice(head), payload });
            }
            Carry::Tcp { channels } => {
                let channel = if rtcp { channels.1 } else { channels.0 };
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
