//! Addresses of clients.

use std::net::SocketAddr;

/// An IPv4 address as such, also where the socket is for both versions.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
