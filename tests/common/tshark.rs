//! Counts that are not ours: what tshark reads in a capture, and what tcpdump sniffs.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use super::peer::{Peer, output};
use super::{say, wait_until};

/// The named fields of every packet that `filter` shows; several values of one field are cut to the first.
pub fn fields(file: &Path, filter: &str, names: &[&str]) -> Vec<Vec<String>> {
    let mut arguments = vec!["-n", "-r", file.to_str().unwrap(), "-T", "fields", "-E", "occurrence=f"];
    if !filter.is_empty() {
        arguments.extend(["-Y", filter]);
    }
    for name in names {
        arguments.extend(["-e", name]);
    }
    let text = output("tshark", &arguments);
    text.lines().map(|line| line.split('\t').map(str::to_string).collect()).collect()
}

/// What tshark prints for packets that `filter` shows, with further arguments.
pub fn lines(file: &Path, filter: &str, options: &[&str]) -> Vec<String> {
    let mut arguments = vec!["-n", "-r", file.to_str().unwrap(), "-Y", filter];
    arguments.extend(options);
    output("tshark", &arguments).lines().map(str::to_string).collect()
}

/// TCP payload of each connection to `port`, every byte once however often it was sent: by the client's address, from the
/// client and to it.
pub fn unique_payload(file: &Path, port: u16) -> BTreeMap<SocketAddr, (u64, u64)> {
    let names = [
        "ip.src",
        "ip.dst",
        "tcp.srcport",
        "tcp.dstport",
        "tcp.seq",
        "tcp.len",
        "tcp.stream",
        "tcp.flags.syn",
    ];
    let mut spans: BTreeMap<(SocketAddr, bool), Vec<(u64, u64)>> = BTreeMap::new();
    for row in fields(file, &format!("tcp.port == {port}"), &names) {
        let [source, target, from, to, seq, len, ..] = &row[..] else { panic!("tshark printed {row:?}") };
        let address = |ip: &str, port: &str| SocketAddr::new(ip.parse().unwrap(), port.parse().unwrap());
        let to_server = to.parse() == Ok(port);
        let client = if to_server { address(source, from) } else { address(target, to) };
        let (seq, len): (u64, u64) = (seq.parse().unwrap(), len.parse().unwrap());
        let list = spans.entry((client, to_server)).or_default();
        if len > 0 {
            list.push((seq, seq + len));
        }
    }
    let mut clients: BTreeMap<SocketAddr, (u64, u64)> = BTreeMap::new();
    for ((client, to_server), list) in spans {
        let bytes = covered(list);
        let entry = clients.entry(client).or_default();
        if to_server { entry.0 = bytes } else { entry.1 = bytes }
    }
    clients
}

/// Length of the union of spans.
fn covered(mut spans: Vec<(u64, u64)>) -> u64 {
    spans.sort_unstable();
    let mut end = 0;
    let mut total = 0;
    for (from, to) in spans {
        total += to.saturating_sub(from.max(end));
        end = end.max(to);
    }
    total
}

/// One side of a conversation; the port is absent in tables by address.
pub type Side = (IpAddr, Option<u16>);

/// Packets and frame bytes of a conversation, from its smaller side and to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Packets from the smaller side.
    pub packets: u64,
    /// Their frame bytes.
    pub bytes: u64,
    /// Packets to the smaller side.
    pub packets_back: u64,
    /// Their frame bytes.
    pub bytes_back: u64,
}

/// A conversation table, by the two sides in order.
pub type Conversations = BTreeMap<(Side, Side), Traffic>;

/// Adds up `frame.len` by address and port pair. `kind` is `tcp`, `udp`, `ipv4` or `ipv6`.
pub fn conversations(file: &Path, kind: &str) -> Conversations {
    let names: &[&str] = match kind {
        "tcp" => &["frame.len", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport"],
        "udp" => &["frame.len", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "udp.srcport", "udp.dstport"],
        "ipv4" => &["frame.len", "ip.src", "ip.dst"],
        "ipv6" => &["frame.len", "ipv6.src", "ipv6.dst"],
        other => panic!("no conversations by {other}"),
    };
    let filter = match kind {
        "tcp" => "tcp && !icmp && !icmpv6",
        "udp" => "udp && !icmp && !icmpv6",
        "ipv4" => "ip",
        _ => "ipv6",
    };
    let mut table = Conversations::new();
    for row in fields(file, filter, names) {
        let port = |at: usize| row.get(at).and_then(|p| p.parse().ok());
        let (source, target) = match kind {
            "ipv4" | "ipv6" => (&row[1], &row[2]),
            _ if row[1].is_empty() => (&row[3], &row[4]),
            _ => (&row[1], &row[2]),
        };
        let from: Side = (source.parse().unwrap(), port(5));
        let to: Side = (target.parse().unwrap(), port(6));
        let entry = table.entry((from.min(to), from.max(to))).or_default();
        let length: u64 = row[0].parse().unwrap();
        if from <= to {
            entry.packets += 1;
            entry.bytes += length;
        } else {
            entry.packets_back += 1;
            entry.bytes_back += length;
        }
    }
    table
}

/// tcpdump on the loopback interface.
pub struct Sniffer {
    tcpdump: Peer,
    file: PathBuf,
    marker: UdpSocket,
}

impl Sniffer {
    /// Starts to sniff one TCP port. None, with the reason printed, where that is not permitted.
    pub fn start(directory: &Path, port: u16) -> Option<Self> {
        Self::of(directory, &format!("tcp port {port}"))
    }

    /// The same with a filter of one's own.
    pub fn of(directory: &Path, filter: &str) -> Option<Self> {
        // Packets on `lo` are captured in order: once this datagram stands in the file, all before it do.
        let marker = UdpSocket::bind("127.0.0.1:0").unwrap();
        let filter = format!("{filter} or udp port {}", marker.local_addr().unwrap().port());
        let file = directory.join("lo.pcap");
        let mut arguments = vec!["-i", "lo", "-s", "0", "-B", "32768", "-U", "-w", file.to_str().unwrap()];
        // As root it would give up its rights before it opens the file.
        let root =
            std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
        if root {
            arguments.extend(["-Z", "root"]);
        }
        arguments.push(&filter);
        let mut tcpdump = Peer::start(directory, "tcpdump", "tcpdump", &arguments);
        wait_until("tcpdump to listen", || tcpdump.log().contains("listening on") || !tcpdump.is_running());
        if !tcpdump.is_running() {
            assert!(!root, "tcpdump ended:\n{}", tcpdump.log());
            say(&format!("skipped: this user may not sniff: {}", tcpdump.log().trim()));
            return None;
        }
        Some(Self { tcpdump, file, marker })
    }

    /// Ends it when everything so far is in the file, which it returns.
    pub fn stop(self) -> PathBuf {
        // With the port it is no other test's mark, which a wide filter lets in.
        let address = self.marker.local_addr().unwrap();
        let mark = format!("streamgauge test: the end of the capture of {address}.");
        let mark = mark.as_bytes();
        self.marker.send_to(mark, address).unwrap();
        wait_until("the mark in the capture", || {
            let data = std::fs::read(&self.file).unwrap_or_default();
            let tail = &data[data.len().saturating_sub(1 << 16)..];
            tail.windows(mark.len()).any(|w| w == mark)
        });
        let ended = self.tcpdump.stop();
        assert!(ended.log.contains("\n0 packets dropped by kernel"), "tcpdump lost packets:\n{}", ended.log);
        self.file
    }
}
