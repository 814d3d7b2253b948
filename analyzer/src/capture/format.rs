//! Tells capture formats apart by their first bytes.

use wire::pcapng::SECTION_HEADER;

use super::buffer::Buffer;
use super::{Format, Place, Problem, Trouble, pcap, pcapng};

/// First bytes of files that are no pcap, what they are, and what helps.
const OTHERS: [(&[u8], &str); 22] = [
    (b"\x1f\x8b", "compressed twice; unpack it once with `gunzip`"),
    (b"\x28\xb5\x2f\xfd", "compressed twice; unpack it once with `unzstd`"),
    (b"BZh", "compressed with bzip2; unpack it with `bunzip2`"),
    (b"\x04\x22\x4d\x18", "compressed with lz4; unpack it with `unlz4`"),
    (b"\xfd7zXZ\0", "compressed with xz; unpack it with `unxz`"),
    (b"PK\x03\x04", "a ZIP archive; unpack it"),
    (b"snoop\0\0\0", "a snoop capture; `editcap -F pcapng IN OUT` converts it"),
    (b"GMBU", "a Network Monitor capture; `editcap -F pcapng IN OUT` converts it"),
    (b"RTSS", "a Network Monitor capture; `editcap -F pcapng IN OUT` converts it"),
    (b"TRSNIFF data", "a Sniffer capture; `editcap -F pcapng IN OUT` converts it"),
    (b"XCP\0", "a NetXRay capture; `editcap -F pcapng IN OUT` converts it"),
    (b"\x1c\x00\x01\xac", "an IXIA capture; `editcap -F pcapng IN OUT` converts it"),
    (b"\x05VNF", "a Visual Networks capture; `editcap -F pcapng IN OUT` converts it"),
    (b"\x7fver", "a Savvius Peek capture; `editcap -F pcapng IN OUT` converts it"),
    (b"btsnoop\0", "a Bluetooth capture; `editcap -F pcapng IN OUT` converts it"),
    (b"iptrace ", "an AIX iptrace capture; `editcap -F pcapng IN OUT` converts it"),
    (b"ObserverPktBuffe", "a Network Instruments capture; `editcap -F pcapng IN OUT` converts it"),
    (b"\xaa\xaa\xaa\xaa", "an InfoVista 5View capture; `editcap -F pcapng IN OUT` converts it"),
    (b"\0\0\x02\0\x12\x05\0\x10", "a Tektronix K12 capture; `editcap -F pcapng IN OUT` converts it"),
    (b"RIFF", "a RIFF file, no capture of packets"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM file, no capture of packets"),
    (b"FLV\x01", "an FLV recording, no capture of packets"),
];

/// Largest ERF record header that a first record is recognised by.
const ERF_HEADER: usize = 16;

pub(super) fn detect(buffer: &mut Buffer) -> Result<Format, Trouble> {
    let refuse = |what: String| Trouble { at: 0, problem: Problem::Format(what), then: Place::End };
    let first = match buffer.fill(wire::pcap::FILE_HEADER) {
        Ok(first) => first,
        Err(error) => return Err(Trouble::io(0, error)),
    };
    if first.is_empty() {
        return Err(refuse("the file is empty".to_owned()));
    }
    if first.starts_with(&SECTION_HEADER.to_be_bytes()) {
        return Ok(Format::Pcapng(pcapng::Pcapng::default()));
    }
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| first.starts_with(magic)) {
        return Err(refuse(format!("not pcap or pcapng but {what}")));
    }
    if pcap::Pcap::is_magic(first) {
        return pcap::Pcap::begin(buffer).map(Format::Pcap);
    }
    let kind = if is_erf(buffer) { "an Endace ERF capture" } else { "of another format" };
    Err(refuse(format!(
        "not pcap or pcapng but {kind}; `editcap -F pcapng IN OUT` converts what Wireshark can read"
    )))
}

/// ERF has no magic number: type, length and wire length of the first records have to fit each other.
fn is_erf(buffer: &mut Buffer) -> bool {
    let mut at = 0usize;
    let mut records = 0u32;
    let Ok(bytes) = buffer.fill(4096) else { return false };
    while let Some(header) = bytes.get(at..at.saturating_add(ERF_HEADER)) {
        let &[_, _, _, _, _, _, _, _, kind, _, high, low, ..] = header else { break };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(1..=48).contains(&(kind & 0x7f)) || length < ERF_HEADER {
            return false;
        }
        records = records.saturating_add(1);
        at = at.saturating_add(length);
    }
    records > 0 && (records > 1 || at == bytes.len())
}
