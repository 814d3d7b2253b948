//! Makes the packets of a case out of a real session's: named bytes are put in place of others of the same length, the
//! checksums are made right again, everything else stays as it was sniffed.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;

use super::written;
use wire::net::{self, LinkType};
use wire::pcapng::write::{InterfaceOptions, SectionOptions, interface, packet, section_header};

/// What `case.toml` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What is wrong with the packets, or good.
    pub title: String,
    /// The case whose packets these are made from; none where they are themselves real.
    #[serde(default)]
    pub session: Option<String>,
    /// Only so many packets of it.
    #[serde(default)]
    pub packets: Option<usize>,
    /// What two ends of RTMP say to each other, where the packets are written by hand.
    #[serde(default)]
    pub say: Vec<written::Say>,
    /// What is changed.
    #[serde(default)]
    pub edit: Vec<Edit>,
    /// Rules that fail, or warn, and no others do.
    #[serde(default)]
    pub breaks: Vec<String>,
    /// Rules that pass, among others.
    #[serde(default)]
    pub keeps: Vec<String>,
}

/// Bytes in place of others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Text, or hexadecimal digits behind `hex:`.
    pub find: String,
    /// The same, as many bytes.
    pub put: String,
    /// Which of the places, counted from 0; every one without it.
    pub nth: Option<usize>,
}

/// A packet as it is captured, and where its payload is in it.
struct Captured {
    time_ns: u64,
    data: Vec<u8>,
    payload: usize,
    orig_len: u32,
}

/// The packets of a case.
pub fn make(base: &Path, case: &Case) -> Vec<u8> {
    let mut reader = analyzer::capture::Reader::open(base).unwrap();
    let mut packets: Vec<Captured> = Vec::new();
    let mut streams: BTreeMap<(u8, IpAddr, u16, IpAddr, u16), Vec<usize>> = BTreeMap::new();
    let mut link = LinkType(1);
    while let Some(next) = reader.next() {
        let next = next.unwrap();
        if packets.len() >= case.packets.unwrap_or(usize::MAX) {
            break;
        }
        link = next.link;
        let parsed = next.parse();
        let (ip, (from, to)) = (parsed.ip.unwrap(), parsed.ports.unwrap());
        let key = (ip.protocol, ip.src, from, ip.dst, to);
        streams.entry(key).or_default().push(packets.len());
        let payload = next.data.len() - parsed.payload.len();
        packets.push(Captured {
            time_ns: u64::try_from(next.time_ns).unwrap(),
            data: next.data.to_vec(),
            payload,
            orig_len: next.orig_len,
        });
    }
    for edit in &case.edit {
        apply(edit, &streams, &mut packets);
    }
    let mut out = Vec::new();
    let section = SectionOptions { comment: Some(&case.title), ..SectionOptions::default() };
    section_header(&mut out, &section);
    interface(&mut out, &InterfaceOptions { link_type: link.0, snap_len: 0, ..InterfaceOptions::default() });
    for mut one in packets {
        mend(link, &mut one);
        packet(&mut out, 0, one.time_ns, &[&one.data], one.orig_len);
    }
    out
}

/// Text, or hexadecimal digits behind `hex:`.
pub fn bytes(text: &str) -> Vec<u8> {
    let Some(digits) = text.strip_prefix("hex:") else { return text.as_bytes().to_vec() };
    let digits: Vec<u8> = digits.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn apply(
    edit: &Edit,
    streams: &BTreeMap<(u8, IpAddr, u16, IpAddr, u16), Vec<usize>>,
    packets: &mut [Captured],
) {
    let (find, put) = (bytes(&edit.find), bytes(&edit.put));
    assert_eq!(find.len(), put.len(), "{edit:?} keeps the length");
    let mut places = 0;
    for members in streams.values() {
        // Where each byte of the stream lies.
        let mut stream = Vec::new();
        let mut spots = Vec::new();
        for member in members {
            let one = &packets[*member];
            stream.extend_from_slice(&one.data[one.payload..]);
            spots.extend((one.payload..one.data.len()).map(|at| (*member, at)));
        }
        let mut at = 0;
        while at + find.len() <= stream.len() {
            if stream[at..at + find.len()] != find[..] {
                at += 1;
                continue;
            }
            if edit.nth.is_none_or(|nth| nth == places) {
                for (offset, byte) in put.iter().enumerate() {
                    let (member, spot) = spots[at + offset];
                    packets[member].data[spot] = *byte;
                }
            }
            places += 1;
            at += find.len();
        }
    }
    assert!(places > edit.nth.unwrap_or(0), "{edit:?} is nowhere in the packets");
}

/// Makes the checksum of TCP or UDP right in an Ethernet frame with IPv4.
pub fn checksum(data: &mut [u8]) {
    let mut one = Captured { time_ns: 0, data: data.to_vec(), payload: 0, orig_len: 0 };
    one.orig_len = u32::try_from(data.len()).unwrap();
    mend(LinkType(1), &mut one);
    data.copy_from_slice(&one.data);
}

/// Makes the checksum of TCP or UDP right: behind a sniffed loopback packet stands what the network card would mend.
fn mend(link: LinkType, one: &mut Captured) {
    let (ip, transport) = {
        let parsed = net::parse(link, &one.data, one.orig_len);
        (parsed.ip.unwrap(), parsed.transport)
    };
    // Ethernet and IPv4, as the loopback interface gives them.
    assert_eq!((link, one.data[12], one.data[13]), (LinkType(1), 8, 0));
    let header = 14 + usize::from(one.data[14] & 0x0f) * 4;
    if transport == net::Transport::None {
        return;
    }
    let field = header + if matches!(transport, net::Transport::Udp(_)) { 6 } else { 16 };
    one.data[field..field + 2].fill(0);
    let mut words: Vec<u8> = Vec::new();
    for address in [ip.src, ip.dst] {
        match address {
            IpAddr::V4(address) => words.extend(address.octets()),
            IpAddr::V6(address) => words.extend(address.octets()),
        }
    }
    let length = u16::try_from(one.data.len() - header).unwrap();
    words.extend([0, ip.protocol]);
    words.extend(length.to_be_bytes());
    words.extend(&one.data[header..]);
    let mut sum: u32 =
        words.chunks(2).map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |b| u32::from(*b))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = match !u16::try_from(sum).unwrap() {
        0 => 0xffff,
        sum => sum,
    };
    one.data[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Reads a case; none where its directory has no `case.toml`.
pub fn read(directory: &Path) -> Option<Case> {
    let text = fs::read_to_string(directory.join("case.toml")).ok()?;
    Some(toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", directory.display())))
}
