//! Wireshark's conversation tables: frame bytes as on the wire by address pair and by port pair.
//!
//! Every packet counts once in the table of its addresses and once in that of its ports; in a tunnel, it counts so for
//! the tunnel's own addresses and ports and for those inside. Fragments are not put
//! together: the first one shows its ports, the others count for their addresses only. Packets quoted in ICMP errors
//! do not count. A port pair that several connections used one after the other is one row.

use std::collections::HashMap;
use std::net::IpAddr;

use model::{Conversation, Endpoint};
use wire::net::{Flags, Ip, Packet, Transport, protocol};

use crate::flow::hash::{Key, Seeded};

/// Rows kept in one table.
const MAX_ROWS: usize = 1 << 18;

/// The four tables, filled packet by packet.
#[derive(Debug, Default)]
pub struct Conversations {
    tcp: Table,
    udp: Table,
    ipv4: Table,
    ipv6: Table,
}

#[derive(Debug, Default)]
struct Table {
    by_key: HashMap<Key, usize, Seeded>,
    rows: Vec<Row>,
    latest: Option<(Key, usize)>,
    left_out: u64,
}

#[derive(Debug)]
struct Row {
    a: (IpAddr, u16),
    b: (IpAddr, u16),
    a_is_lower: bool,
    ab: Count,
    ba: Count,
    first_ns: i64,
    last_ns: i64,
    /// Sequence number of the latest SYN that opened a connection.
    syn: Option<u32>,
    /// The latest connection was closed or reset.
    ended: bool,
    reused: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    packets: u64,
    bytes: u64,
}

impl Conversations {
    /// Counts a packet of `orig_len` bytes on the wire.
    pub fn add(&mut self, time_ns: i64, orig_len: u32, packet: &Packet<'_>) {
        for layer in &packet.outer {
            self.layer(time_ns, orig_len, &layer.ip, layer.ports);
        }
        let Some(ip) = &packet.ip else { return };
        if let Some(row) = self.layer(time_ns, orig_len, ip, packet.ports)
            && let Transport::Tcp(tcp) = packet.transport
        {
            match tcp.flags {
                flags if flags.has(Flags::SYN) && !flags.has(Flags::ACK) => row.opened(tcp.seq),
                flags => row.ended |= flags.has(Flags::FIN) || flags.has(Flags::RST),
            }
        }
    }

    /// Counts for one IP header and the ports behind it, of which it returns the row.
    fn layer(&mut self, time_ns: i64, orig_len: u32, ip: &Ip, ports: Option<(u16, u16)>) -> Option<&mut Row> {
        let addresses = if ip.src.is_ipv4() { &mut self.ipv4 } else { &mut self.ipv6 };
        addresses.count((ip.src, 0), (ip.dst, 0), time_ns, orig_len);
        let (from, to) = ports?;
        let table = if ip.protocol == protocol::TCP { &mut self.tcp } else { &mut self.udp };
        table.count((ip.src, from), (ip.dst, to), time_ns, orig_len)
    }

    /// Packets that are in no row because a table was full.
    pub fn left_out(&self) -> u64 {
        let tables = [&self.tcp, &self.udp, &self.ipv4, &self.ipv6];
        tables.iter().fold(0, |sum, table| sum.saturating_add(table.left_out))
    }

    /// The tables, rows in order of their first packet; times count from `first_ns`, the capture's first packet.
    pub fn into_model(self, first_ns: i64) -> model::Conversations {
        let rows = |table: Table, ports| table.rows.iter().map(|row| row.to_model(first_ns, ports)).collect();
        model::Conversations {
            tcp: rows(self.tcp, true),
            udp: rows(self.udp, true),
            ipv4: rows(self.ipv4, false),
            ipv6: rows(self.ipv6, false),
        }
    }
}

impl Table {
    fn count(
        &mut self,
        src: (IpAddr, u16),
        dst: (IpAddr, u16),
        time_ns: i64,
        orig_len: u32,
    ) -> Option<&mut Row> {
        let (key, forward) = Key::new(src.0, dst.0, (src.1, dst.1));
        let index = match self.latest {
            Some((latest, index)) if latest == key => index,
            _ => match self.by_key.get(&key) {
                Some(index) => *index,
                None if self.rows.len() >= MAX_ROWS => {
                    self.left_out = self.left_out.saturating_add(1);
                    return None;
                }
                None => {
                    let index = self.rows.len();
                    self.by_key.insert(key, index);
                    self.rows.push(Row::new(src, dst, forward, time_ns));
                    index
                }
            },
        };
        self.latest = Some((key, index));
        let row = self.rows.get_mut(index)?;
        row.first_ns = row.first_ns.min(time_ns);
        row.last_ns = row.last_ns.max(time_ns);
        let count = if forward == row.a_is_lower { &mut row.ab } else { &mut row.ba };
        count.packets = count.packets.saturating_add(1);
        count.bytes = count.bytes.saturating_add(u64::from(orig_len));
        Some(row)
    }
}

impl Row {
    fn new(a: (IpAddr, u16), b: (IpAddr, u16), a_is_lower: bool, time_ns: i64) -> Self {
        let (ab, ba) = (Count::default(), Count::default());
        Self {
            a,
            b,
            a_is_lower,
            ab,
            ba,
            first_ns: time_ns,
            last_ns: time_ns,
            syn: None,
            ended: false,
            reused: 0,
        }
    }

    /// A SYN opened a connection, or was sent again.
    fn opened(&mut self, seq: u32) {
        let begun = self.ab.packets.saturating_add(self.ba.packets) > 1;
        if begun && (self.syn != Some(seq) || self.ended) {
            self.reused = self.reused.saturating_add(1);
        }
        self.syn = Some(seq);
        self.ended = false;
    }

    fn to_model(&self, first_ns: i64, ports: bool) -> Conversation {
        let endpoint = |(address, port)| Endpoint { address, port: ports.then_some(port) };
        let duration = self.last_ns.saturating_sub(self.first_ns);
        let bps = |bytes: u64| (duration > 0).then(|| bytes as f64 * 8e9 / duration as f64);
        Conversation {
            a: endpoint(self.a),
            b: endpoint(self.b),
            packets: self.ab.packets.saturating_add(self.ba.packets),
            bytes: self.ab.bytes.saturating_add(self.ba.bytes),
            packets_ab: self.ab.packets,
            bytes_ab: self.ab.bytes,
            packets_ba: self.ba.packets,
            bytes_ba: self.ba.bytes,
            start_s: self.first_ns.saturating_sub(first_ns) as f64 / 1e9,
            duration_s: duration as f64 / 1e9,
            bps_ab: bps(self.ab.bytes),
            bps_ba: bps(self.ba.bytes),
            reused: self.reused,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]

    use std::net::Ipv4Addr;

    use wire::net::{Fragment, Tcp};

    use super::*;

    const S: i64 = 1_000_000_000;

    fn tcp(from: u8, to: u8, flags: u16, seq: u32) -> Packet<'static> {
        let address = |n| IpAddr::from(Ipv4Addr::new(10, 0, 0, n));
        let (src, dst) = (address(from), address(to));
        Packet {
            ip: Some(Ip { src, dst, protocol: protocol::TCP, fragment: None, ttl: 64 }),
            ports: Some((1000 + u16::from(from), 1000 + u16::from(to))),
            transport: Transport::Tcp(Tcp { seq, flags: Flags(flags), ..Tcp::default() }),
            ..Packet::default()
        }
    }

    #[test]
    fn both_directions_share_a_row_of_which_a_sent_first() {
        let mut c = Conversations::default();
        c.add(5 * S, 100, &tcp(9, 1, 0x10, 0));
        c.add(6 * S, 60, &tcp(1, 9, 0x10, 0));
        c.add(7 * S, 40, &tcp(9, 1, 0x10, 0));
        c.add(9 * S, 1, &Packet::default());
        let model = c.into_model(4 * S);
        let [row] = &model.tcp[..] else { panic!("{model:?}") };
        assert_eq!((row.a.port, row.b.port), (Some(1009), Some(1001)));
        assert_eq!((row.packets_ab, row.bytes_ab, row.packets_ba, row.bytes_ba), (2, 140, 1, 60));
        assert_eq!((row.packets, row.bytes, row.start_s, row.duration_s), (3, 200, 1.0, 2.0));
        assert_eq!((row.bps_ab, row.bps_ba, row.reused), (Some(560.0), Some(240.0), 0));
        assert_eq!((model.ipv4.len(), model.ipv4[0].a.port, model.ipv4[0].bytes), (1, None, 200));
        assert!(model.udp.is_empty() && model.ipv6.is_empty());
    }

    #[test]
    fn connections_one_after_the_other_are_one_row() {
        let mut c = Conversations::default();
        for (flags, seq) in [(0x02, 7), (0x02, 7), (0x10, 8), (0x02, 99), (0x02, 99), (0x10, 100), (0x02, 7)]
        {
            c.add(0, 60, &tcp(1, 2, flags, seq));
        }
        let model = c.into_model(0);
        assert_eq!((model.tcp.len(), model.tcp[0].reused, model.tcp[0].bps_ab), (1, 2, None));
    }

    #[test]
    fn a_host_that_talks_to_itself_sends_all() {
        let mut c = Conversations::default();
        let mut packet = tcp(1, 1, 0x10, 0);
        for ports in [(5000, 1935), (1935, 5000)] {
            packet.ports = Some(ports);
            c.add(0, 10, &packet);
        }
        let model = c.into_model(0);
        assert_eq!((model.ipv4[0].packets_ab, model.ipv4[0].packets_ba), (2, 0));
        assert_eq!((model.tcp[0].packets_ab, model.tcp[0].packets_ba), (1, 1));
    }

    #[test]
    fn later_fragments_count_for_their_addresses_only() {
        let mut c = Conversations::default();
        for offset in [0, 1480] {
            let mut packet = tcp(1, 2, 0x10, 0);
            packet.ip = packet
                .ip
                .map(|ip| Ip { fragment: Some(Fragment { id: 1, offset, more: true, next: 6 }), ..ip });
            packet.ports = packet.ports.filter(|_| offset == 0);
            c.add(0, 1500, &packet);
        }
        let model = c.into_model(0);
        assert_eq!((model.tcp[0].bytes, model.ipv4[0].bytes), (1500, 3000));
    }

    #[test]
    fn a_scan_fills_a_table_up_to_its_bound() {
        let mut c = Conversations::default();
        let mut packet = tcp(1, 2, 0x02, 0);
        for n in 0..u32::try_from(MAX_ROWS).unwrap() + 10 {
            packet.ports = Some(((n >> 16) as u16, (n & 0xffff) as u16));
            c.add(0, 60, &packet);
        }
        assert_eq!((c.left_out(), c.tcp.rows.len()), (10, MAX_ROWS));
        assert_eq!(c.into_model(0).ipv4[0].packets, MAX_ROWS as u64 + 10);
    }
}
