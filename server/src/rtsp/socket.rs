//! A UDP socket that answers from the address it was spoken to.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use tokio::io::Interest;
use tokio::net::UdpSocket;

/// One of the two sockets.
#[derive(Debug)]
pub(super) struct Socket {
    io: UdpSocket,
    bound: SocketAddr,
}

/// A datagram that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub length: usize,
    pub from: SocketAddr,
    /// The address of ours it was sent to.
    pub local: IpAddr,
}

impl Socket {
    pub async fn bind(ip: IpAddr, port: u16) -> io::Result<Self> {
        let io = UdpSocket::bind((ip, port)).await?;
        let bound = io.local_addr()?;
        if bound.ip().is_unspecified() {
            system::ask_where(&io, bound)?;
        }
        Ok(Self { io, bound })
    }

    pub fn address(&self) -> SocketAddr {
        self.bound
    }

    pub fn io(&self) -> &UdpSocket {
        &self.io
    }

    /// Sends a datagram, given in parts, from our address `local`.
    pub async fn send(&self, local: IpAddr, to: SocketAddr, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let local = Some(local).filter(|ip| self.bound.ip().is_unspecified() && !ip.is_unspecified());
        self.io
            .async_io(Interest::WRITABLE, || system::send(&self.io, local, self.bound.is_ipv6(), to, parts))
            .await
    }

    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Arrival> {
        let read = || system::receive(&self.io, &mut [IoSliceMut::new(buffer)]);
        let (length, from, local) = self.io.async_io(Interest::READABLE, read).await?;
        Ok(Arrival { length, from, local: local.unwrap_or_else(|| self.bound.ip()).to_canonical() })
    }
}

/// Where the system can tell a datagram's address on our side, and takes it for one that leaves.
#[cfg(target_os = "linux")]
mod system {
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
    use std::os::fd::AsRawFd;

    use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
    use nix::sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrLike, SockaddrStorage, recvmsg, sendmsg,
        setsockopt, sockopt,
    };
    use tokio::net::UdpSocket;

    pub fn ask_where(io: &UdpSocket, bound: SocketAddr) -> io::Result<()> {
        // A socket for both versions tells IPv4 addresses in their mapped form.
        if bound.is_ipv6() {
            setsockopt(io, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(io, sockopt::Ipv4PacketInfo, &true)?;
        }
        Ok(())
    }

    pub fn send(
        io: &UdpSocket,
        local: Option<IpAddr>,
        v6: bool,
        to: SocketAddr,
        parts: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let to = SockaddrStorage::from(to);
        let (four, six);
        let control = match local {
            Some(local) if v6 => {
                let address = match local {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                six = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: address.octets() }, ipi6_ifindex: 0 };
                Some(ControlMessage::Ipv6PacketInfo(&six))
            }
            Some(IpAddr::V4(local)) => {
                four = in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(local.octets()) },
                    ipi_addr: in_addr { s_addr: 0 },
                };
                Some(ControlMessage::Ipv4PacketInfo(&four))
            }
            _ => None,
        };
        let sent = sendmsg(io.as_raw_fd(), parts, control.as_slice(), MsgFlags::empty(), Some(&to));
        Ok(sent?)
    }

    pub fn receive(
        io: &UdpSocket,
        parts: &mut [IoSliceMut<'_>],
    ) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
        let mut space = nix::cmsg_space!(in6_pktinfo);
        let message = recvmsg::<SockaddrStorage>(io.as_raw_fd(), parts, Some(&mut space), MsgFlags::empty())?;
        let from = message.address.as_ref().and_then(address).ok_or(io::ErrorKind::InvalidData)?;
        let mut local = None;
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    local = Some(IpAddr::V4(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())));
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                }
                _ => {}
            }
        }
        Ok((message.bytes, from, local))
    }

    fn address(from: &SockaddrStorage) -> Option<SocketAddr> {
        let v4 = || from.as_sockaddr_in().map(|a| SocketAddr::V4(SocketAddrV4::from(*a)));
        let v6 = || from.as_sockaddr_in6().map(|a| SocketAddr::V6(SocketAddrV6::from(*a)));
        from.family().and_then(|_| v4().or_else(v6))
    }
}

/// Elsewhere the system chooses the address that datagrams leave from.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::{IpAddr, SocketAddr};

    use socket2::SockRef;
    use tokio::net::UdpSocket;

    pub fn ask_where(_: &UdpSocket, _: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    pub fn send(
        io: &UdpSocket,
        _: Option<IpAddr>,
        _: bool,
        to: SocketAddr,
        parts: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        SockRef::from(io).send_to_vectored(parts, &to.into())
    }

    pub fn receive(
        io: &UdpSocket,
        parts: &mut [IoSliceMut<'_>],
    ) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
        let Some(buffer) = parts.first_mut() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let (length, from) = io.try_recv_from(buffer)?;
        Ok((length, from, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client hears from a server bound to `any`, spoken to at `local`: from where, and what.
    async fn answers(any: &str, local: &str) {
        let server = Socket::bind(any.parse().unwrap(), 0).await.unwrap();
        let local: IpAddr = local.parse().unwrap();
        let here: IpAddr = if local.is_ipv4() { "127.0.0.1" } else { "::1" }.parse().unwrap();
        let client = UdpSocket::bind((here, 0)).await.unwrap();
        client.send_to(b"here", (local, server.address().port())).await.unwrap();
        let mut buffer = [0; 100];
        let arrival = server.receive(&mut buffer).await.unwrap();
        assert_eq!((arrival.length, arrival.local), (4, local));
        let parts = [IoSlice::new(b"he"), IoSlice::new(b"ad")];
        assert_eq!(server.send(local, arrival.from, &parts).await.unwrap(), 4);
        let (n, from) = client.recv_from(&mut buffer).await.unwrap();
        assert_eq!(
            (&buffer[..n], from),
            (b"head".as_slice(), SocketAddr::new(local, server.address().port()))
        );
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn answers_leave_from_the_address_that_was_spoken_to() {
        // Every address of 127.0.0.0/8 is this machine's, and by itself the system would choose 127.0.0.1.
        answers("0.0.0.0", "127.0.0.5").await;
        answers("127.0.0.1", "127.0.0.1").await;
        if UdpSocket::bind("[::1]:0").await.is_ok() {
            answers("::", "127.0.0.5").await;
            answers("::", "::1").await;
        }
    }
}
