//! Packets one by one: a line for each as Wireshark writes it, and the field tree of those that are asked for.
//!
//! ```no_run
//! use streamgauge_analyzer::{capture::Reader, dissect::{Dissector, Place, Row, Wants}};
//! let mut reader = Reader::open("capture.pcapng")?;
//! let mut dissector = Dissector::new(Wants::default());
//! let mut print = |row: &Row<'_>| println!("{} {} {}", row.number, row.protocol, row.info);
//! while let Some(Ok(packet)) = reader.next() {
//!     dissector.packet(Place::default(), &packet, &mut print);
//! }
//! dissector.finish(&mut print);
//! # Ok::<(), streamgauge_analyzer::capture::CaptureError>(())
//! ```
//!
//! The Info of a PDU stands at the packet with which it became whole. Behind a hole that is not known from a late packet
//! before it is filled or given up, rows wait, within bounds, so that they come in the order of the capture and say what
//! their packets brought. Lists are made by plain decoders; a tree is made only for what [`Wants`] asks for, and then the
//! bytes of open messages are kept, and of nothing else: memory does not grow with the capture. [`Index`] gives the trees
//! of any packet at once.

mod describe;
pub mod facts;
pub mod filter;
pub mod forms;
mod held;
mod http;
mod index;
mod lower;
mod names;
pub mod provenance;
pub mod render;
mod rtmp;
mod rtp;
mod rtsp;
mod state;
mod tcp;
pub mod tree;
mod ts;

use std::fmt::{self, Write};
use std::net::IpAddr;

use crate::capture::Packet;
use crate::flow::{Duplicates, Flows, Fragments, Limits};
use facts::{Facts, Value};
pub use index::Index;
use state::State;
use tree::Part;

/// Datagrams put together of one packet: fragments inside a tunnel that was fragmented itself.
const MAX_NESTED: usize = 4;

/// For which packets a tree is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trees {
    /// None.
    #[default]
    None,
    /// One.
    Frame(u64),
    /// Those whose number this divides.
    Every(u64),
    /// All.
    All,
}

/// What a dissection is to give.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    /// Trees.
    pub trees: Trees,
    /// Facts for a filter or for JSON.
    pub facts: bool,
}

/// A conversation's number, from 0 in the order of the capture, TCP and UDP apart as in Wireshark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// `tcp.stream`.
    Tcp(u64),
    /// `udp.stream`.
    Udp(u64),
}

impl Flow {
    /// The number alone.
    pub fn number(self) -> u64 {
        match self {
            Self::Tcp(n) | Self::Udp(n) => n,
        }
    }
}

/// A packet in one line.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// Frame number, 1-based; of several files, the place in their common timeline, as in the file that mergecap makes.
    pub number: u64,
    /// Index of the file it is from.
    pub file: usize,
    /// Frame number in that file, 1-based.
    pub in_file: u64,
    /// Nanoseconds since the first packet of the capture.
    pub since_first_ns: i64,
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// Bytes on the wire.
    pub length: u32,
    /// Sender and receiver, where it is an IP packet.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// Its conversation.
    pub flow: Option<Flow>,
    /// The Protocol column.
    pub protocol: &'static str,
    /// The Info column.
    pub info: &'a str,
    /// What it says, if [`Wants::facts`].
    pub facts: &'a Facts,
    /// The trees, if [`Wants::trees`] asks for this packet: the frame first.
    pub parts: &'a [Part],
}

/// What a PDU speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Rtmp,
    Rtsp,
    RtspSdp,
    Rtp,
    Rtcp,
    Http,
    Ts,
}

impl Speaks {
    fn name(self) -> &'static str {
        match self {
            Self::Rtmp => "RTMP",
            Self::Rtsp => "RTSP",
            Self::RtspSdp => "RTSP/SDP",
            Self::Rtp => "RTP",
            Self::Rtcp => "RTCP",
            Self::Http => "HTTP",
            Self::Ts => "MPEG TS",
        }
    }
}

/// What one packet gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Out {
    /// Bytes of open PDUs are kept for trees.
    keep: bool,
    /// Trees are made now.
    show: bool,
    speaks: Option<Speaks>,
    /// The packet brought bytes of a PDU of this protocol.
    pending: Option<&'static str>,
    info: String,
    remarks: String,
    facts: Facts,
    parts: Vec<Part>,
}

impl Out {
    /// A PDU is whole.
    fn pdu(&mut self, speaks: Speaks, text: fmt::Arguments<'_>) {
        if !self.info.is_empty() {
            let rtp = matches!(speaks, Speaks::Rtp | Speaks::Rtcp);
            self.info.push_str(if rtp { ", " } else { "|" });
        }
        let _ = self.info.write_fmt(text);
        self.speaks = Some(speaks);
    }

    /// Something to say that is no PDU.
    fn remark(&mut self, text: fmt::Arguments<'_>) {
        self.remarks.push(' ');
        let _ = self.remarks.write_fmt(text);
    }

    /// Takes what was said, and leaves room for more of the same kind.
    fn take(&mut self) -> Self {
        let facts = self.facts.same();
        let fresh = Self { keep: self.keep, show: self.show, facts, ..Self::default() };
        std::mem::replace(self, fresh)
    }

    /// Memory held, in bytes.
    fn weight(&self) -> usize {
        const FACT: usize = 64;
        let parts = self.parts.iter().fold(0usize, |n, part| n.saturating_add(part.weight()));
        let facts = self.facts.list().len().saturating_mul(FACT);
        [256, self.info.len(), self.remarks.len(), facts, parts].into_iter().fold(0, usize::saturating_add)
    }

    fn clear(&mut self, show: bool) {
        self.show = show;
        self.speaks = None;
        self.pending = None;
        self.info.clear();
        self.remarks.clear();
        self.facts.clear();
        self.parts.clear();
    }
}

/// Where a packet is from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// Index of the file.
    pub file: usize,
    /// True where the packet is one of several files, and is numbered by its place in their timeline.
    pub several: bool,
    /// Interfaces of that file: at several a packet may be captured more than once.
    pub interfaces: usize,
}

/// Takes packets apart one after another.
#[derive(Clone, Debug)]
pub struct Dissector {
    wants: Wants,
    flows: Flows,
    fragments: Fragments,
    duplicates: Duplicates,
    state: State,
    first_ns: Option<i64>,
    count: u64,
}

impl Dissector {
    /// Nothing read yet.
    pub fn new(wants: Wants) -> Self {
        Self {
            wants,
            flows: Flows::new(Limits::default()),
            fragments: Fragments::default(),
            duplicates: Duplicates::default(),
            state: State::new(wants),
            first_ns: None,
            count: 0,
        }
    }

    /// Takes in the next packet and tells the rows that are ready: mostly its own.
    pub fn packet(&mut self, place: Place, packet: &Packet<'_>, f: &mut impl FnMut(&Row<'_>)) {
        let first = *self.first_ns.get_or_insert(packet.time_ns);
        self.count = self.count.saturating_add(1);
        let number = if place.several { self.count } else { packet.number };
        let show = match self.wants.trees {
            Trees::None => false,
            Trees::Frame(n) => n == number,
            Trees::Every(n) => number.is_multiple_of(n),
            Trees::All => true,
        };
        let parsed = packet.parse();
        let state = &mut self.state;
        state.begin(number, place, packet, &parsed, first, show);
        let elsewhere = place.several || place.interfaces > 1 || parsed.interface.is_some();
        let interface = u64::from(packet.interface) << 24 ^ u64::from(parsed.interface.unwrap_or(0));
        let here = u64::try_from(place.file).unwrap_or(0) << 48 ^ interface;
        if elsewhere && self.duplicates.is_copy(here, packet.time_ns, &parsed) {
            state.copy();
            state.describe(packet, &parsed);
        } else if parsed.ip.is_none_or(|ip| ip.fragment.is_none()) {
            self.flows.packet(number, packet.time_ns, &parsed, state);
            state.wait(&parsed);
            state.describe(packet, &parsed);
        } else {
            let mut whole = self.fragments.add(packet.time_ns, &parsed);
            for _ in 0..MAX_NESTED {
                let Some(datagram) = whole.take() else { break };
                let inner = datagram.parse();
                if inner.ip.is_some_and(|ip| ip.fragment.is_some()) {
                    whole = self.fragments.add(packet.time_ns, &inner);
                } else {
                    state.reassembled(&datagram, &inner);
                    self.flows.packet(number, packet.time_ns, &inner, state);
                    state.wait(&inner);
                    state.describe(packet, &inner);
                }
            }
            if !state.described {
                state.describe(packet, &parsed);
            }
        }
        state.tell(f);
    }

    /// The capture is over: tells what still waits.
    pub fn finish(&mut self, f: &mut impl FnMut(&Row<'_>)) {
        self.state.end();
        self.flows.finish(&mut self.state);
        self.state.release(f);
    }

    /// True where rows of packets that came already are still to be told.
    fn is_waiting(&self) -> bool {
        self.state.is_waiting()
    }

    /// Memory held, in bytes, roughly.
    fn weight(&self) -> usize {
        self.flows.weight().saturating_add(self.state.weight())
    }
}
