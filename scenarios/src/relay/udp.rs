//! The UDP ports of a track that is relayed: a pair towards the client and one towards the server.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use server::tap::{Role, TapUdp};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::shaper::Shaper;
use super::{Plan, Shared};
use crate::client::{even_pair, until};
use crate::script::Net;

/// The largest datagram there is.
const DATAGRAM: usize = 64 << 10;
/// Bytes of datagrams that may be on their way in one direction.
const HOLDS: usize = 8 << 20;

/// The four sockets of a track.
#[derive(Debug)]
pub(super) struct Pair {
    front: ([UdpSocket; 2], (u16, u16)),
    back: ([UdpSocket; 2], (u16, u16)),
    client: (u16, u16),
    /// Which one of its connection it is.
    number: u64,
}

impl Pair {
    /// Binds both pairs for a client with these ports.
    pub async fn bind(near: IpAddr, far: IpAddr, client: (u16, u16), number: u64) -> io::Result<Self> {
        Ok(Self { front: even_pair(near).await?, back: even_pair(far).await?, client, number })
    }

    /// The ports of the client.
    pub fn client_ports(&self) -> (u16, u16) {
        self.client
    }

    /// Ports that the client takes for the server's.
    pub fn front_ports(&self) -> (u16, u16) {
        self.front.1
    }

    /// Ports that the server takes for the client's.
    pub fn back_ports(&self) -> (u16, u16) {
        self.back.1
    }

    /// Lets packets pass, until the tasks are dropped.
    pub fn start(
        self,
        client: IpAddr,
        (server, server_ports): (IpAddr, (u16, u16)),
        plan: &Plan,
        shared: &Arc<Shared>,
        tasks: &mut JoinSet<()>,
    ) {
        let ([front_rtp, front_rtcp], _) = self.front;
        let ([back_rtp, back_rtcp], _) = self.back;
        let channels = [
            (front_rtp, back_rtp, self.client.0, server_ports.0),
            (front_rtcp, back_rtcp, self.client.1, server_ports.1),
        ];
        for (i, (front, back, client_port, server_port)) in (1..).zip(channels) {
            let channel = Channel {
                front,
                back,
                client: SocketAddr::new(client, client_port),
                server: SocketAddr::new(server, server_port),
                net: plan.net.clone(),
                tap: plan.tap.as_ref().map(|tap| tap.datagrams(Role::Server)),
                shared: Arc::clone(shared),
            };
            // Tracks and channels must not lose the same packets.
            let seed = plan.seed ^ (self.number << 2 | i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            tasks.spawn(channel.run(seed));
        }
    }
}

struct Channel {
    front: UdpSocket,
    back: UdpSocket,
    client: SocketAddr,
    server: SocketAddr,
    net: watch::Receiver<Net>,
    tap: Option<TapUdp>,
    shared: Arc<Shared>,
}

impl Channel {
    async fn run(mut self, seed: u64) {
        let mut up = Shaper::packets(seed);
        let mut down = Shaper::packets(!seed);
        let (mut from_client, mut from_server) = (vec![0; DATAGRAM], vec![0; DATAGRAM]);
        let mut watched = true;
        let Ok(near) = self.front.local_addr() else { return };
        loop {
            let net = *self.net.borrow_and_update();
            let (up_due, down_due, before) = (up.due(), down.due(), up.lost() + down.lost());
            tokio::select! {
                changed = self.net.changed(), if watched => watched = changed.is_ok(),
                Ok((n, from)) = self.front.recv_from(&mut from_client), if up.held() < HOLDS => {
                    if from == self.client {
                        let packet = Bytes::copy_from_slice(&from_client[..n]);
                        if let Some(tap) = &self.tap {
                            tap.received(near, from, &packet);
                        }
                        up.push(Instant::now(), &net, packet, n);
                    }
                }
                Ok((n, from)) = self.back.recv_from(&mut from_server), if down.held() < HOLDS => {
                    if from == self.server {
                        let packet = Bytes::copy_from_slice(&from_server[..n]);
                        down.push(Instant::now(), &net, packet, n);
                    }
                }
                () = until(up_due) => {
                    while let Some(packet) = up.pop(Instant::now()) {
                        // Nobody may listen there any more.
                        let _ = self.back.send_to(&packet, self.server).await;
                    }
                }
                () = until(down_due) => {
                    while let Some(packet) = down.pop(Instant::now()) {
                        let sent = self.front.send_to(&packet, self.client).await;
                        if let (Ok(_), Some(tap)) = (sent, &self.tap) {
                            tap.sent(near, self.client, vec![packet]);
                        }
                    }
                }
            }
            self.shared.lost(up.lost() + down.lost() - before);
        }
    }
}
