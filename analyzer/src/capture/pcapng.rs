//! Steps through a pcapng file.

use std::io;

use wire::net::LinkType;
use wire::pcap::ByteOrder;
use wire::pcapng::read::{block, head};
use wire::pcapng::{
    Block, ENHANCED_PACKET, INTERFACE, Interface, NAME_RESOLUTION, OBSOLETE_PACKET, PACKET_DATA, Packet,
    SECRETS, SECTION_HEADER, SIMPLE_PACKET, SIMPLE_PACKET_DATA, STATISTICS, Section, Statistics,
};
use wire::{Cursor, Error};

use super::buffer::Buffer;
use super::{Found, Place, Step, Trouble};

/// Type and both lengths.
const SMALLEST: usize = 12;

/// Interfaces kept of one section; real files have a handful.
const MAX_INTERFACES: usize = 65_536;

/// Block types that a search accepts as a place to go on.
const KNOWN: [u32; 8] = [
    INTERFACE,
    OBSOLETE_PACKET,
    SIMPLE_PACKET,
    NAME_RESOLUTION,
    STATISTICS,
    ENHANCED_PACKET,
    SECRETS,
    SECTION_HEADER,
];

/// Blocks that hold no packet but that Wireshark numbers as frames: systemd journal entries and sysdig events.
const FRAMES: [u32; 4] = [0x0000_0009, 0x0000_0204, 0x0000_0216, 0x0000_0221];

#[derive(Clone, Debug, Default)]
pub(super) struct Pcapng {
    order: ByteOrder,
    interfaces: Vec<Known>,
    /// Interfaces of the sections before.
    before: u32,
    /// Drops of the sections before.
    dropped: Option<u64>,
    first_link: Option<LinkType>,
    synthetic: bool,
}

/// An interface of the current section.
#[derive(Clone, Debug)]
struct Known {
    description: Interface,
    /// Drops by the latest statistics block, which counts from the beginning.
    dropped: Option<u64>,
}

impl Pcapng {
    /// Byte order of the current section.
    pub(super) fn order(&self) -> ByteOrder {
        self.order
    }

    pub(super) fn first_link(&self) -> Option<LinkType> {
        self.first_link
    }

    /// Interfaces of all sections so far.
    pub(super) fn interfaces(&self) -> usize {
        self.interfaces.len().saturating_add(usize::try_from(self.before).unwrap_or(usize::MAX)).max(1)
    }

    /// True where a section was written by this program's own tap.
    pub(super) fn is_synthetic(&self) -> bool {
        self.synthetic
    }

    pub(super) fn dropped(&self) -> Option<u64> {
        self.interfaces.iter().filter_map(|i| i.dropped).chain(self.dropped).reduce(u64::saturating_add)
    }

    pub(super) fn step(&mut self, buffer: &mut Buffer) -> Result<Step, Trouble> {
        let at = buffer.position();
        let bytes = buffer.fill(SMALLEST).map_err(|e| Trouble::io(at, e))?;
        if bytes.is_empty() {
            return Ok(Step::End);
        }
        if bytes.len() < SMALLEST {
            return Err(Trouble::cut(at, "a block", SMALLEST, bytes.len()));
        }
        let head = head(bytes, at, self.order).map_err(|e| Trouble::damaged(e, Place::Lost))?;
        let total = usize::try_from(head.total).unwrap_or(usize::MAX);
        let bytes = buffer.fill(total).map_err(|e| Trouble::io(at, e))?;
        let Some(whole) = bytes.get(..total) else {
            let mut trouble = Trouble::cut(at, "a block", total, bytes.len());
            // A damaged length looks like a cut file, and blocks may follow inside.
            trouble.then = Place::Lost;
            return Err(trouble);
        };
        let step = match block(&mut Cursor::based(whole, at), self.order) {
            Ok(decoded) => self.apply(decoded, at),
            Err(error) if is_framed(whole, self.order) => Err(Trouble::damaged(error, Place::Next)),
            Err(error) => return Err(Trouble::damaged(error, Place::Lost)),
        };
        let place = buffer.take(total);
        step.map(|step| match step {
            Step::Packet(mut found) => {
                found.data.start = found.data.start.saturating_add(place.start);
                found.data.end = found.data.end.saturating_add(place.start);
                found.record = place;
                found.at = at;
                Step::Packet(found)
            }
            other => other,
        })
    }

    /// Takes in a block that stands at `at`. Data places are relative to the block.
    fn apply(&mut self, block: Block<'_>, at: u64) -> Result<Step, Trouble> {
        match block {
            Block::Section(section) => self.begin(&section),
            Block::Interface(description) => {
                if self.interfaces.len() >= MAX_INTERFACES {
                    let error =
                        Error::too_large(at, "interfaces", MAX_INTERFACES as u64, MAX_INTERFACES as u64);
                    return Err(Trouble::damaged(error, Place::Next));
                }
                self.first_link = self.first_link.or(Some(description.link));
                self.interfaces.push(Known { description, dropped: None });
            }
            Block::Packet(packet) => {
                let interface = self.interface(packet.interface, at)?;
                let time_ns = Some(interface.description.time_ns(packet.ticks));
                return Ok(self.found(
                    &packet,
                    time_ns,
                    interface.description.link,
                    PACKET_DATA,
                    packet.data.len(),
                ));
            }
            Block::Simple(packet) => {
                let interface = &self.interface(0, at)?.description;
                let snap = match interface.snap_len {
                    0 => packet.data.len(),
                    snap => usize::try_from(snap).unwrap_or(usize::MAX).min(packet.data.len()),
                };
                return Ok(self.found(&packet, None, interface.link, SIMPLE_PACKET_DATA, snap));
            }
            Block::Statistics(statistics) => self.count(&statistics),
            Block::Other(kind) => return Ok(Step::Other(FRAMES.contains(&kind))),
        }
        Ok(Step::Other(false))
    }

    fn found(
        &self,
        packet: &Packet<'_>,
        time_ns: Option<i64>,
        link: LinkType,
        start: usize,
        captured: usize,
    ) -> Step {
        let kept = captured.min(usize::try_from(packet.orig_len).unwrap_or(usize::MAX));
        Step::Packet(Found {
            time_ns,
            link,
            interface: self.before.saturating_add(packet.interface),
            data: start..start.saturating_add(kept),
            orig_len: packet.orig_len,
            record: 0..0,
            at: 0,
        })
    }

    fn interface(&self, id: u32, at: u64) -> Result<&Known, Trouble> {
        usize::try_from(id).ok().and_then(|id| self.interfaces.get(id)).ok_or_else(|| {
            let want = "an interface described before in its section";
            Trouble::damaged(Error::value(at, "interface id", want, u64::from(id)), Place::Next)
        })
    }

    fn begin(&mut self, section: &Section) {
        self.order = section.order;
        self.dropped = self.dropped();
        let interfaces = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.before = self.before.saturating_add(interfaces);
        self.interfaces.clear();
        let says = |text: &Option<String>, f: fn(&str) -> bool| text.as_deref().is_some_and(f);
        self.synthetic |= says(&section.user_appl, |name| name.starts_with("streamgauge"))
            && says(&section.comment, |comment| comment.contains("synthetic"));
    }

    fn count(&mut self, statistics: &Statistics) {
        let known = usize::try_from(statistics.interface).ok().and_then(|id| self.interfaces.get_mut(id));
        if let Some(known) = known {
            let drops = [statistics.dropped, statistics.os_dropped].into_iter().flatten();
            known.dropped = drops.reduce(u64::saturating_add).or(known.dropped);
        }
    }

    /// Goes forward from a place that is no block to one that begins and ends like one.
    pub(super) fn search(&mut self, buffer: &mut Buffer) -> io::Result<bool> {
        buffer.take(1);
        loop {
            let bytes = buffer.fill(SMALLEST)?;
            if bytes.len() < SMALLEST {
                buffer.take(SMALLEST);
                return Ok(false);
            }
            if let Some(total) = plausible(bytes, self.order) {
                let bytes = buffer.fill(total)?;
                if bytes.get(..total).is_some_and(|whole| is_framed(whole, self.order)) {
                    return Ok(true);
                }
            }
            buffer.take(1);
        }
    }
}

/// The length of the block of a known type that may begin here.
fn plausible(bytes: &[u8], order: ByteOrder) -> Option<usize> {
    let &[a, b, c, d, ..] = bytes else { return None };
    let kind = match order {
        ByteOrder::Little => u32::from_le_bytes([a, b, c, d]),
        ByteOrder::Big => u32::from_be_bytes([a, b, c, d]),
    };
    if !KNOWN.contains(&kind) {
        return None;
    }
    usize::try_from(head(bytes, 0, order).ok()?.total).ok()
}

/// True where a block's two lengths agree.
fn is_framed(whole: &[u8], order: ByteOrder) -> bool {
    let Ok(head) = head(whole, 0, order) else { return false };
    let total = match head.order {
        ByteOrder::Little => head.total.to_le_bytes(),
        ByteOrder::Big => head.total.to_be_bytes(),
    };
    whole.ends_with(&total)
}
