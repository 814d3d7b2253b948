//! A capture of real packets that a test cuts, reorders and changes.
#![allow(dead_code, reason = "every test file takes its own part of this")]

use std::io::Cursor;
use std::path::PathBuf;

use model::Analysis;
use streamgauge_analyzer::capture::Reader;
use streamgauge_analyzer::{Analyzer, Options};
use wire::net::{LinkType, Transport};
use wire::pcapng::write::{InterfaceOptions, SectionOptions, interface, packet, section_header};

/// Packets of a capture beside the project.
#[derive(Clone, Debug)]
pub struct Recorded {
    link: LinkType,
    pub packets: Vec<Recording>,
}

/// One packet.
#[derive(Clone, Debug)]
pub struct Recording {
    pub time_ns: i64,
    pub data: Vec<u8>,
    pub orig_len: u32,
    /// TCP ports, source first; zeros where it is no TCP.
    pub ports: (u16, u16),
    /// SYN is set.
    pub syn: bool,
    /// TCP payload bytes.
    pub payload: usize,
}

/// Where a capture beside the project is; none, with the reason printed, where it is not.
pub fn beside(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures").join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

impl Recorded {
    pub fn open(name: &str) -> Option<Self> {
        let mut reader = Reader::open(beside(name)?).unwrap();
        let (mut link, mut packets) = (LinkType(1), Vec::new());
        while let Some(next) = reader.next() {
            let next = next.unwrap();
            link = next.link;
            let parsed = next.parse();
            let tcp = match parsed.transport {
                Transport::Tcp(tcp) => Some(tcp),
                _ => None,
            };
            packets.push(Recording {
                time_ns: next.time_ns,
                data: next.data.to_vec(),
                orig_len: next.orig_len,
                ports: parsed.ports.filter(|_| tcp.is_some()).unwrap_or_default(),
                syn: tcp.is_some_and(|tcp| tcp.flags.has(wire::net::Flags::SYN)),
                payload: if tcp.is_some() { parsed.payload.len() } else { 0 },
            });
        }
        Some(Self { link, packets })
    }

    /// Only the packets for which `keep` holds.
    pub fn only(&self, mut keep: impl FnMut(usize, &Recording) -> bool) -> Self {
        let kept = self.packets.iter().enumerate().filter(|(n, p)| keep(*n, p));
        Self { link: self.link, packets: kept.map(|(_, p)| p.clone()).collect() }
    }

    /// Puts another port in the place of one. Packets are Ethernet and IPv4 without options in the way of sniffed
    /// loopback ones, whose checksums nobody looks at.
    pub fn move_port(mut self, from: u16, to: u16) -> Self {
        for p in &mut self.packets {
            let header = p.data.len() - p.payload;
            let find = |port: u16| port.to_be_bytes();
            let pair = [find(p.ports.0), find(p.ports.1)].concat();
            let Some(at) = p.data[..header].windows(4).position(|w| w == pair) else { continue };
            for (place, port) in [(at, &mut p.ports.0), (at + 2, &mut p.ports.1)] {
                if *port == from {
                    p.data[place..place + 2].copy_from_slice(&find(to));
                    *port = to;
                }
            }
        }
        self
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        section_header(&mut out, &SectionOptions::default());
        let options = InterfaceOptions { link_type: self.link.0, snap_len: 0, ..InterfaceOptions::default() };
        interface(&mut out, &options);
        for p in &self.packets {
            packet(&mut out, 0, u64::try_from(p.time_ns).unwrap(), &[&p.data], p.orig_len);
        }
        out
    }

    pub fn analyze(&self) -> Analysis {
        let mut analyzer = Analyzer::new(Options::default());
        analyzer.reader("made.pcapng", Cursor::new(self.bytes())).unwrap();
        analyzer.finish()
    }
}
