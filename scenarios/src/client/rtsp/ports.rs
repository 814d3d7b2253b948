//! A client's UDP ports: an even one for RTP and the next for RTCP, a pair for each track.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;

use bytes::Bytes;
use server::tap::{Role, Tap, TapUdp};
use socket2::SockRef;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

/// Pairs tried until both ports are free.
const TRIES: usize = 64;
/// Bytes the kernel may hold: a key frame comes at once.
const RECEIVE_BUFFER: usize = 2 << 20;

/// All pairs of a session.
#[derive(Debug)]
pub(super) struct Ports {
    local: IpAddr,
    server: IpAddr,
    pairs: Vec<Pair>,
    tap: Option<TapUdp>,
}

#[derive(Debug)]
struct Pair {
    track: usize,
    /// RTP and RTCP.
    sockets: [UdpSocket; 2],
    /// The server's ports, once it told.
    server_ports: Option<[u16; 2]>,
}

/// Where a datagram belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    pub track: usize,
    pub rtcp: bool,
    pub length: usize,
}

/// Binds an even port and the next, whichever are free; returns their numbers as well.
pub(crate) async fn even_pair(local: IpAddr) -> io::Result<([UdpSocket; 2], (u16, u16))> {
    let mut tries = 0;
    loop {
        match try_pair(local).await {
            Ok(pair) => return Ok(pair),
            Err(error) if tries == TRIES => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

async fn try_pair(local: IpAddr) -> io::Result<([UdpSocket; 2], (u16, u16))> {
    let rtp = UdpSocket::bind((local, 0)).await?;
    let port = rtp.local_addr()?.port();
    if !port.is_multiple_of(2) {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    let rtcp = UdpSocket::bind((local, port + 1)).await?;
    // Less will do where the system gives no more.
    let _ = SockRef::from(&rtp).set_recv_buffer_size(RECEIVE_BUFFER);
    Ok(([rtp, rtcp], (port, port + 1)))
}

impl Ports {
    pub fn new(local: IpAddr, server: IpAddr, tap: Option<&Tap>) -> Self {
        let tap = tap.map(|tap| tap.datagrams(Role::Client));
        Self { local, server, pairs: Vec::new(), tap }
    }

    /// Binds a pair for a track; returns its numbers.
    pub async fn bind(&mut self, track: usize) -> io::Result<(u16, u16)> {
        let (sockets, numbers) = even_pair(self.local).await?;
        self.pairs.push(Pair { track, sockets, server_ports: None });
        Ok(numbers)
    }

    /// The server's ports of a track.
    pub fn learn(&mut self, track: usize, ports: Option<(u16, u16)>) {
        for pair in self.pairs.iter_mut().filter(|p| p.track == track) {
            pair.server_ports = ports.map(|(rtp, rtcp)| [rtp, rtcp]);
        }
    }

    /// Sends a packet of a track; without the server's port there is nowhere to send it.
    pub async fn send(&self, track: usize, rtcp: bool, packet: &[u8]) -> io::Result<()> {
        let Some(pair) = self.pairs.iter().find(|p| p.track == track) else { return Ok(()) };
        let Some(ports) = pair.server_ports else { return Ok(()) };
        let to = SocketAddr::new(self.server, ports[usize::from(rtcp)]);
        let socket = &pair.sockets[usize::from(rtcp)];
        let sent = socket.send_to(packet, to).await;
        if let (Ok(_), Some(tap)) = (&sent, &self.tap) {
            tap.sent(socket.local_addr()?, to, vec![Bytes::copy_from_slice(packet)]);
        }
        match sent {
            // Nobody listens there: the connection tells if the server is gone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            result => result.map(drop),
        }
    }

    /// Waits for the next datagram of the server; those of others are ignored. Cancelling it loses nothing.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Arrived> {
        poll_fn(|cx| {
            for pair in &self.pairs {
                for (rtcp, socket) in [(false, &pair.sockets[0]), (true, &pair.sockets[1])] {
                    loop {
                        let mut datagram = ReadBuf::new(buffer);
                        match socket.poll_recv_from(cx, &mut datagram) {
                            Poll::Pending => break,
                            Poll::Ready(Ok(from)) if self.is_from(pair, rtcp, from) => {
                                let length = datagram.filled().len();
                                if let (Some(tap), Ok(local)) = (&self.tap, socket.local_addr()) {
                                    tap.received(local, from, datagram.filled());
                                }
                                return Poll::Ready(Ok(Arrived { track: pair.track, rtcp, length }));
                            }
                            Poll::Ready(Ok(_)) => {}
                            Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => {}
                            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        }
                    }
                }
            }
            Poll::Pending
        })
        .await
    }

    fn is_from(&self, pair: &Pair, rtcp: bool, from: SocketAddr) -> bool {
        from.ip().to_canonical() == self.server.to_canonical()
            && pair.server_ports.is_none_or(|ports| ports[usize::from(rtcp)] == from.port())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn pairs_are_even_and_hear_their_server_only() {
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        let mut ports = Ports::new(here, here, None);
        let mut numbers = Vec::new();
        for track in 0..4 {
            numbers.push(ports.bind(track).await.unwrap());
        }
        assert!(numbers.iter().all(|(rtp, rtcp)| rtp.is_multiple_of(2) && *rtcp == rtp + 1), "{numbers:?}");
        let server = UdpSocket::bind((here, 0)).await.unwrap();
        let stranger = UdpSocket::bind((here, 0)).await.unwrap();
        let port = server.local_addr().unwrap().port();
        ports.learn(2, Some((port, port)));
        stranger.send_to(b"strange", (here, numbers[2].1)).await.unwrap();
        server.send_to(b"report", (here, numbers[2].1)).await.unwrap();
        let mut buffer = [0; 100];
        let got = ports.receive(&mut buffer).await.unwrap();
        assert_eq!(got, Arrived { track: 2, rtcp: true, length: 6 });
        ports.send(2, false, b"answer").await.unwrap();
        let (n, from) = server.recv_from(&mut buffer).await.unwrap();
        assert_eq!((n, from.port()), (6, numbers[2].0));
    }
}
