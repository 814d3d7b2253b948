//! The interfaces of this machine.

use std::net::IpAddr;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `eth0`, `lo`, …
    pub name: String,
    /// Its addresses, each with the length of its prefix in bits.
    pub addresses: Vec<(IpAddr, u8)>,
    /// True where it is switched on.
    pub up: bool,
    /// True for the machine's way to itself.
    pub loopback: bool,
}

/// All interfaces, in the system's order.
pub fn interfaces() -> Vec<Interface> {
    let all = pnet_datalink::interfaces().into_iter();
    all.map(|i| Interface {
        addresses: i.ips.iter().map(|net| (net.ip(), net.prefix())).collect(),
        up: i.is_up(),
        loopback: i.is_loopback(),
        name: i.name,
    })
    .collect()
}
