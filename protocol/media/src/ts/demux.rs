//! Packets to PES packets.

use std::collections::BTreeMap;

use wire::ts::{
    self, Layout, Map, NULL, PACKET, PAT, Packet, Pes, REACH, SYNC_BYTE, Section, Sections, WRAP,
};
use wire::{Cursor, Error};

use super::Kind;

/// Largest PES packet that is kept; of a longer one the beginning.
pub const LARGEST: usize = 4 << 20;
/// Streams followed.
pub const STREAMS: usize = 32;
/// Program maps followed.
const MAPS: usize = 16;
/// Bytes among which packets are looked for.
const HUNT: usize = 4096;
// What is dropped of them begins no layout that can still be found.
const _: () = assert!(REACH < HUNT / 2);

/// A PES packet: one or more access units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit<'b> {
    /// Its stream.
    pub pid: u16,
    /// Presentation time in ticks of 90 kHz, without wrap-around.
    pub pts: Option<i64>,
    /// Decoding time, the presentation time where it is the same.
    pub dts: Option<i64>,
    /// Decoding can start here.
    pub random_access: bool,
    /// True where no byte of it is missing.
    pub whole: bool,
    /// Its payload.
    pub data: &'b [u8],
}

/// What is found in a stream.
#[derive(Debug)]
pub enum Event<'b> {
    /// A stream of a program, when it is named first, and again when what is said of it changes.
    Stream(u16, Kind),
    /// A PES packet.
    Unit(Unit<'b>),
    /// A packet of a known stream.
    Packet(u16),
    /// Packets of a stream are missing: at least this many.
    Lost(u16, u8),
    /// A packet of a stream came again.
    Repeated(u16),
    /// The clock of a stream's program, in ticks of 27 MHz; true where it jumps on purpose.
    Clock(u16, u64, bool),
    /// A table cannot be read.
    Table(Error),
    /// Bytes that are no packets were passed over.
    Skipped(u64),
}

/// Takes a transport stream apart.
#[derive(Debug, Default)]
pub struct Demuxer {
    layout: Option<Layout>,
    /// Bytes of a packet that is not whole, or among which packets are looked for.
    kept: Vec<u8>,
    /// How many of these were looked at, where packets are looked for: each byte is looked at once.
    looked: usize,
    skipped: u64,
    association: Counted<Sections>,
    maps: BTreeMap<u16, Counted<Sections>>,
    streams: BTreeMap<u16, Stream>,
}

/// Something with the continuity counter of its PID.
#[derive(Debug, Default)]
struct Counted<T> {
    it: T,
    counter: Option<u8>,
}

#[derive(Debug)]
struct Stream {
    kind: Kind,
    counter: Option<u8>,
    repeated: bool,
    open: Option<Open>,
    /// Latest decoding time without wrap-around.
    clock: Option<i64>,
}

/// The PES packet being put together.
#[derive(Debug, Default)]
struct Open {
    bytes: Vec<u8>,
    whole: bool,
    random_access: bool,
    /// Bytes it has in all, header included, once that is known and said.
    size: Option<usize>,
}

/// How a packet's counter stands to the one before.
enum Step {
    Next,
    Again,
    Missing(u8),
}

fn step(before: Option<u8>, packet: &Packet<'_>) -> Step {
    let jumps = packet.adaptation.is_some_and(|field| field.discontinuity);
    let Some(before) = before.filter(|_| !jumps) else { return Step::Next };
    match packet.counter.wrapping_sub(before).wrapping_sub(1) & 0xf {
        0 => Step::Next,
        15 => Step::Again,
        missing => Step::Missing(missing),
    }
}

impl Demuxer {
    /// Takes the next bytes of a stream of packets.
    pub fn data(&mut self, bytes: &[u8], mut event: impl FnMut(Event<'_>)) {
        self.feed(bytes, &mut event);
    }

    fn feed(&mut self, bytes: &[u8], event: &mut dyn FnMut(Event<'_>)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(layout) = self.layout else {
                let room = HUNT.saturating_sub(self.kept.len()).clamp(1, rest.len());
                let (now, later) = rest.split_at(room);
                self.kept.extend_from_slice(now);
                rest = later;
                self.hunt(event);
                continue;
            };
            // Whole packets are read where they lie.
            if self.kept.is_empty() && rest.len() >= layout.stride {
                let (unit, later) = rest.split_at(layout.stride);
                rest = later;
                self.unit(unit, event);
                continue;
            }
            let need = layout.stride.saturating_sub(self.kept.len()).clamp(1, rest.len());
            let (now, later) = rest.split_at(need);
            self.kept.extend_from_slice(now);
            rest = later;
            if self.kept.len() >= layout.stride {
                let unit = std::mem::take(&mut self.kept);
                self.unit(&unit, event);
            }
        }
    }

    /// Takes a datagram of whole packets.
    pub fn datagram(&mut self, bytes: &[u8], mut event: impl FnMut(Event<'_>)) {
        for bytes in bytes.chunks(PACKET) {
            match Packet::parse(bytes) {
                Ok(packet) => self.packet(&packet, &mut event),
                Err(_) => event(Event::Skipped(bytes.len() as u64)),
            }
        }
    }

    /// Bytes are missing: the place in the stream is not known any more.
    pub fn hole(&mut self, mut event: impl FnMut(Event<'_>)) {
        self.lose_place();
        self.association = Counted::default();
        self.maps.values_mut().for_each(|map| *map = Counted::default());
        for (pid, stream) in &mut self.streams {
            stream.counter = None;
            if let Some(open) = &mut stream.open {
                open.whole = false;
            }
            stream.close(*pid, &mut event);
        }
    }

    /// The stream is over: what is open is handed on.
    pub fn finish(&mut self, mut event: impl FnMut(Event<'_>)) {
        let left = std::mem::take(&mut self.kept);
        if self.layout.is_some() && left.len() >= PACKET {
            self.unit(&left, &mut event);
        } else {
            self.skipped = self.skipped.saturating_add(left.len() as u64);
        }
        for (pid, stream) in &mut self.streams {
            stream.close(*pid, &mut event);
        }
        if self.skipped > 0 {
            event(Event::Skipped(std::mem::take(&mut self.skipped)));
        }
    }

    fn hunt(&mut self, event: &mut dyn FnMut(Event<'_>)) {
        // A last packet may be cut: its sync byte is enough.
        let found = (self.looked..self.kept.len()).find_map(|last| ts::layout_up_to(&self.kept, last));
        self.looked = self.kept.len();
        if let Some(layout) = found {
            let kept = self.lose_place();
            let (before, packets) = kept.split_at(layout.offset.min(kept.len()));
            self.skipped = self.skipped.saturating_add(before.len() as u64);
            if self.skipped > 0 {
                event(Event::Skipped(std::mem::take(&mut self.skipped)));
            }
            // A packet's offset is that of its sync byte.
            self.layout = Some(Layout { offset: 0, ..layout });
            self.feed(packets, event);
        } else if self.kept.len() >= HUNT {
            self.kept.drain(..HUNT / 2);
            self.looked = self.kept.len();
            self.skipped = self.skipped.saturating_add((HUNT / 2) as u64);
        }
    }

    /// Where packets begin is not known any more; what was kept.
    fn lose_place(&mut self) -> Vec<u8> {
        self.layout = None;
        self.looked = 0;
        std::mem::take(&mut self.kept)
    }

    fn unit(&mut self, unit: &[u8], event: &mut dyn FnMut(Event<'_>)) {
        if unit.first() != Some(&SYNC_BYTE) {
            self.lose_place();
            self.kept = unit.to_vec();
            return;
        }
        match unit.get(..PACKET).map(Packet::parse) {
            Some(Ok(packet)) => self.packet(&packet, event),
            _ => event(Event::Skipped(unit.len() as u64)),
        }
    }

    fn packet(&mut self, packet: &Packet<'_>, event: &mut dyn FnMut(Event<'_>)) {
        if packet.error || packet.pid == NULL {
            return;
        }
        if packet.pid == PAT {
            return self.association(packet, event);
        }
        if self.maps.contains_key(&packet.pid) {
            return self.map(packet, event);
        }
        if let Some((pcr, field)) = packet.adaptation.and_then(|field| Some((field.pcr?, field))) {
            event(Event::Clock(packet.pid, pcr, field.discontinuity));
        }
        if let Some(stream) = self.streams.get_mut(&packet.pid) {
            stream.packet(packet, event);
        }
    }

    fn association(&mut self, packet: &Packet<'_>, event: &mut dyn FnMut(Event<'_>)) {
        let maps = &mut self.maps;
        self.association.payload(packet, |section| match Section::decode(&mut Cursor::new(section)) {
            Ok(Section::Programs(programs)) => {
                let named = programs.iter().filter(|program| program.number != 0);
                let pids: Vec<u16> = named.map(|program| program.pid).take(MAPS).collect();
                // What is no longer named is gone.
                maps.retain(|pid, _| pids.contains(pid));
                for pid in pids {
                    maps.entry(pid).or_default();
                }
            }
            Ok(_) => {}
            Err(error) => event(Event::Table(error)),
        });
    }

    fn map(&mut self, packet: &Packet<'_>, event: &mut dyn FnMut(Event<'_>)) {
        let Some(map) = self.maps.get_mut(&packet.pid) else { return };
        let mut found: Vec<Map> = Vec::new();
        map.payload(packet, |section| match Section::decode(&mut Cursor::new(section)) {
            Ok(Section::Map(_, map)) => found.push(map),
            Ok(_) => {}
            Err(error) => event(Event::Table(error)),
        });
        for stream in found.iter().flat_map(|map| &map.streams) {
            let kind = Kind::of(stream);
            let known = self.streams.get(&stream.pid);
            let new = known.is_none_or(|known| known.kind != kind);
            if new && (known.is_some() || self.streams.len() < STREAMS) {
                self.streams.insert(stream.pid, Stream::new(kind));
                event(Event::Stream(stream.pid, kind));
            }
        }
    }
}

impl Counted<Sections> {
    fn payload(&mut self, packet: &Packet<'_>, whole: impl FnMut(&[u8])) {
        let Some(payload) = packet.payload else { return };
        match step(self.counter, packet) {
            Step::Again => return,
            Step::Missing(_) => self.it.lost(),
            Step::Next => {}
        }
        self.counter = Some(packet.counter);
        self.it.payload(packet.start, payload, whole);
    }
}

impl Stream {
    fn new(kind: Kind) -> Self {
        Self { kind, counter: None, repeated: false, open: None, clock: None }
    }

    fn packet(&mut self, packet: &Packet<'_>, event: &mut dyn FnMut(Event<'_>)) {
        let Some(payload) = packet.payload else { return };
        event(Event::Packet(packet.pid));
        match step(self.counter, packet) {
            // A packet may come twice, not more often (§2.4.3.3): a whole round of 16 is missing then.
            Step::Again if !self.repeated => {
                self.repeated = true;
                return event(Event::Repeated(packet.pid));
            }
            Step::Again => self.missing(packet.pid, 15, event),
            Step::Missing(packets) => self.missing(packet.pid, packets, event),
            Step::Next => {}
        }
        self.repeated = false;
        self.counter = Some(packet.counter);
        if packet.start {
            self.close(packet.pid, event);
            let random_access = packet.adaptation.is_some_and(|field| field.random_access);
            self.open = Some(Open { whole: true, random_access, ..Open::default() });
        }
        let Some(open) = &mut self.open else { return };
        if packet.scrambling != 0 {
            open.whole = false;
        }
        let room = LARGEST.saturating_sub(open.bytes.len()).min(payload.len());
        open.whole &= room == payload.len();
        open.bytes.extend_from_slice(payload.get(..room).unwrap_or_default());
        if open.size.is_none()
            && let Some(&[.., high, low]) = open.bytes.first_chunk::<6>()
        {
            let said = usize::from(u16::from_be_bytes([high, low]));
            open.size = Some(if said > 0 { said.saturating_add(6) } else { usize::MAX });
        }
        if open.size.is_some_and(|size| open.bytes.len() >= size) {
            self.close(packet.pid, event);
        }
    }

    fn missing(&mut self, pid: u16, packets: u8, event: &mut dyn FnMut(Event<'_>)) {
        event(Event::Lost(pid, packets));
        if let Some(open) = &mut self.open {
            open.whole = false;
        }
        self.close(pid, event);
    }

    /// Hands on the open PES packet.
    fn close(&mut self, pid: u16, event: &mut dyn FnMut(Event<'_>)) {
        let Some(open) = self.open.take() else { return };
        let Open { bytes, whole, random_access, size } = open;
        let mut c = Cursor::new(&bytes);
        let Ok(head) = Pes::decode(&mut c) else { return };
        let complete = size.is_none_or(|size| size == usize::MAX || bytes.len() >= size);
        let data = c.peek();
        let data = data.get(..head.length.unwrap_or(data.len()).min(data.len())).unwrap_or_default();
        let dts = head.dts.or(head.pts).map(|raw| self.unroll(raw));
        // The presentation time is near the decoding time, on whichever side of the wrap.
        let pts = head.pts.zip(dts).map(|(pts, dts)| near(dts, pts));
        event(Event::Unit(Unit { pid, pts, dts, random_access, whole: whole && complete, data }));
    }

    fn unroll(&mut self, raw: u64) -> i64 {
        let time = match self.clock {
            None => i64::try_from(raw).unwrap_or(0),
            Some(last) => near(last, raw),
        };
        self.clock = Some(time);
        time
    }
}

/// The time of 33 bits that is nearest to another one.
fn near(last: i64, raw: u64) -> i64 {
    let step = raw.wrapping_sub(last.cast_unsigned()) & WRAP.saturating_sub(1);
    let step = i64::try_from(step).unwrap_or(0);
    let half = i64::try_from(WRAP / 2).unwrap_or(i64::MAX);
    let step = if step >= half { step.saturating_sub(half).saturating_sub(half) } else { step };
    last.saturating_add(step)
}
