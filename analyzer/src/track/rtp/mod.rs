//! What one receiver of RTP would know of a track: losses, order, jitter, frames (RFC 3550).

mod clock;
pub mod encoding;
mod frames;
mod guess;
pub(in crate::track) mod jitter;
mod payload;
pub mod report;
mod sequence;
mod unexplained;

use model::TrackKind;
use wire::codec::aac::AudioSpecificConfig;
use wire::rtp;

use self::clock::Clocks;
use self::frames::{Frame, Frames, Pace, Part};
use self::jitter::Jitter;
pub use self::payload::{AuBits, Packing};
use self::report::Reports;
use self::sequence::{Arrival, Sequence};
use self::unexplained::Unexplained;
use crate::finding::{Note, Notes};
use crate::flow::At;
use crate::track::codec::{self, Hidden};
use crate::track::ts::Transport;
use crate::track::{CodecInfo, Network, Stats};

/// Sources followed in one track after each other; more are one.
const MAX_SOURCES: u64 = 1000;
/// Seconds between two frames beyond which the clock has jumped.
const JUMP_S: u32 = 10;

/// A payload type as the session description explains it.
#[derive(Clone, Debug, Default)]
pub struct Format {
    /// 0 to 127.
    pub payload_type: u8,
    /// Ticks of the clock in a second; 0 where unknown.
    pub clock: u32,
    /// What is known of the codec.
    pub info: CodecInfo,
    /// How packets hold frames.
    pub packing: Packing,
    /// The AudioSpecificConfig of AAC.
    pub audio: Option<AudioSpecificConfig>,
    /// Claims of the description, by name.
    pub declared: Vec<(&'static str, String)>,
}

/// What a datagram or an interleaved block was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// RTP of this track; with it this many bytes of datagrams count, an earlier one that was held included.
    Counted(u64),
    /// Kept until the next packet tells what it is.
    Held,
    /// Nothing of this track.
    Foreign,
}

/// The header of a packet and its payload.
#[derive(Clone, Copy, Debug)]
struct Packet<'b> {
    marker: bool,
    payload_type: u8,
    number: u16,
    timestamp: u32,
    ssrc: u32,
    payload: &'b [u8],
    /// Payload bytes on the wire.
    length: u64,
}

/// One track of one session.
#[derive(Debug)]
pub struct Receiver {
    formats: Vec<Format>,
    /// What is counted.
    pub stats: Stats,
    expected: Option<u32>,
    source: Option<Source>,
    /// The first packet of what may become the source, with its length on the wire.
    held: Option<(At, Vec<u8>, u64)>,
    totals: Totals,
    firsts: Firsts,
    sources: u64,
    pace: Pace,
    clock: u32,
    foreign_types: u64,
    /// When the first whole frame was there, nanoseconds since 1970.
    pub first_frame_ns: Option<i64>,
    /// What receivers and senders reported.
    pub reports: Reports,
    /// True once packets may be missing because the capture lacks them.
    holes: bool,
    /// Packets of types that no description explains, while they are told from how they are built.
    unexplained: Option<Unexplained>,
    /// The transport stream in it, where it holds one.
    pub(in crate::track) transport: Option<Box<Transport>>,
}

/// One synchronisation source.
#[derive(Debug)]
struct Source {
    ssrc: u32,
    clocks: Clocks,
    sequence: Sequence,
    jitter: Jitter,
    frames: Frames,
    last_number: Option<i64>,
    said_bye: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    packets: u64,
    lost: u64,
    reordered: u64,
    duplicates: u64,
    jumps: u64,
    jitter_ms: Option<f64>,
    unannounced: u64,
}

/// Where a track's faults were seen first.
#[derive(Clone, Copy, Debug, Default)]
struct Firsts {
    lost: Option<At>,
    out_of_order: Option<At>,
    jump: Option<At>,
    unannounced: Option<At>,
    foreign_type: Option<At>,
}

impl Firsts {
    /// A packet came, and now this many are missing.
    fn arrived(&mut self, at: At, arrival: Arrival, lost: u64) {
        let place = match arrival {
            Arrival::Next { skipped: 0, .. } | Arrival::Jumping => return,
            Arrival::Next { .. } => &mut self.lost,
            Arrival::Late { .. } | Arrival::Duplicate => &mut self.out_of_order,
            Arrival::Restarted { .. } => &mut self.jump,
        };
        place.get_or_insert(at);
        // What came late was not lost.
        if lost == 0 {
            self.lost = None;
        }
    }
}

impl Receiver {
    /// A track as it was described.
    pub fn new(kind: TrackKind, formats: Vec<Format>) -> Self {
        // What a transport stream is announced as says nothing of its tracks: they are counted by themselves.
        let transport = formats.first().is_some_and(|format| format.packing == Packing::Ts);
        let mut stats = Stats::new(if transport { TrackKind::Data } else { kind });
        if let Some(first) = formats.first() {
            stats.info = first.info.clone();
            stats.hidden = first.audio.clone().map(Hidden::of).unwrap_or_default();
            first.declared.iter().for_each(|(name, value)| stats.declare(name, value.as_str()));
        }
        Self {
            formats,
            stats,
            expected: None,
            source: None,
            held: None,
            totals: Totals::default(),
            firsts: Firsts::default(),
            sources: 0,
            pace: Pace::default(),
            clock: 0,
            foreign_types: 0,
            first_frame_ns: None,
            reports: Reports::default(),
            holes: false,
            unexplained: None,
            transport: None,
        }
    }

    /// The same, with a mark kept of every frame where `trace` says so.
    pub fn traced(mut self, trace: bool) -> Self {
        self.stats = self.stats.traced(trace);
        self
    }

    /// A track that nothing describes: what its packets hold is told from how they are built.
    pub fn undescribed(kind: TrackKind) -> Self {
        Self { unexplained: Some(Unexplained::default()), ..Self::new(kind, Vec::new()) }
    }

    /// The track, and those of the transport stream in it.
    pub(in crate::track) fn all_stats(&self) -> impl Iterator<Item = &Stats> {
        let inner = self.transport.iter().flat_map(|transport| transport.stats());
        std::iter::once(&self.stats).chain(inner)
    }

    /// The source that was announced at SETUP.
    pub fn expect(&mut self, ssrc: u32) {
        self.expected = Some(ssrc);
    }

    /// The source that was announced, if one was.
    pub fn expected(&self) -> Option<u32> {
        self.expected
    }

    /// True where this source is the track's.
    pub fn is_source(&self, ssrc: u32) -> bool {
        self.expected == Some(ssrc) || self.source.as_ref().is_some_and(|source| source.ssrc == ssrc)
    }

    /// Takes what came on the track's RTP port or channel, `length` bytes on the wire.
    pub fn rtp(&mut self, at: At, bytes: &[u8], length: u64) -> Taken {
        let Some(packet) = parse(bytes, length) else { return Taken::Foreign };
        let known = self.formats.is_empty()
            || self.unexplained.is_some()
            || self.formats.iter().any(|format| format.payload_type == packet.payload_type);
        if !known {
            if self.is_source(packet.ssrc) {
                self.foreign_types = self.foreign_types.saturating_add(1);
                self.firsts.foreign_type.get_or_insert(at);
            }
            return Taken::Foreign;
        }
        if self.source.as_ref().is_some_and(|source| source.ssrc == packet.ssrc) {
            self.count(at, &packet);
            return Taken::Counted(length);
        }
        if self.source.is_none() && self.expected == Some(packet.ssrc) {
            self.held = None;
            self.begin(at, packet.ssrc);
            self.count(at, &packet);
            return Taken::Counted(length);
        }
        // A source counts from its second packet on: random bytes have no successor.
        if let Some((held_at, held, held_length)) = self.held.take()
            && let Some(first) = parse(&held, held_length)
            && first.ssrc == packet.ssrc
            && (1..=16).contains(&packet.number.wrapping_sub(first.number))
        {
            self.begin(held_at, packet.ssrc);
            self.count(held_at, &first);
            self.count(at, &packet);
            return Taken::Counted(length.saturating_add(held_length));
        }
        self.held = Some((at, bytes.to_vec(), length));
        Taken::Held
    }

    /// A packet that was held to the end is the track's where nothing else was; returns its length and time.
    pub fn finish_held(&mut self) -> Option<(At, u64)> {
        let (at, bytes, length) = self.held.take().filter(|_| self.sources == 0)?;
        let packet = parse(&bytes, length)?;
        self.begin(at, packet.ssrc);
        self.count(at, &packet);
        Some((at, length))
    }

    /// Packets that arrived, and numbers that are missing so far.
    pub(crate) fn so_far(&self) -> (u64, u64) {
        let Totals { packets, lost, .. } = self.totals;
        let now = self.source.as_ref().map_or((0, 0), |s| (s.sequence.packets(), s.sequence.lost()));
        (packets.saturating_add(now.0), lost.saturating_add(now.1))
    }

    /// True where packets of this type hold H.264 or H.265.
    pub fn has_pictures(&self, payload_type: u8) -> bool {
        let mut formats = self.formats.iter().filter(|format| format.payload_type == payload_type);
        formats.any(|format| matches!(format.packing, Packing::H264 | Packing::H265))
    }

    /// The source said that it leaves.
    pub fn bye(&mut self, ssrc: u32) {
        if let Some(source) = self.source.as_mut().filter(|source| source.ssrc == ssrc) {
            source.said_bye = true;
        }
    }

    /// The capture lacks bytes here: numbers that are missing need not have been lost on the way.
    pub fn hole(&mut self) {
        self.holes = true;
    }

    fn begin(&mut self, at: At, ssrc: u32) {
        self.settle();
        if let Some(old) = self.source.take() {
            if !old.said_bye {
                self.totals.unannounced = self.totals.unannounced.saturating_add(1);
                self.firsts.unannounced.get_or_insert(at);
            }
            self.retire(old);
            self.stats.lost();
            self.pace.cut(self.jump());
        }
        self.sources = self.sources.saturating_add(1).min(MAX_SOURCES);
        self.source = Some(Source {
            ssrc,
            clocks: Clocks::default(),
            sequence: Sequence::default(),
            jitter: Jitter::default(),
            frames: Frames::default(),
            last_number: None,
            said_bye: false,
        });
    }

    fn count(&mut self, at: At, packet: &Packet<'_>) {
        if !self.keep(at, packet) {
            self.take(at, packet);
        }
    }

    fn take(&mut self, at: At, packet: &Packet<'_>) {
        let format = self.formats.iter().find(|format| format.payload_type == packet.payload_type);
        let (clock, packing) = format.map_or((0, Packing::default()), |f| (f.clock, f.packing));
        if self.clock != clock && clock > 0 {
            self.clock = clock;
        }
        let Some(source) = &mut self.source else { return };
        let arrival = source.sequence.packet(packet.number);
        self.firsts.arrived(at, arrival, self.totals.lost.saturating_add(source.sequence.lost()));
        if clock > 0 {
            source.jitter.packet(at.time_ns, packet.timestamp, clock);
        } else {
            source.clocks.packet(at.time_ns, packet.timestamp);
        }
        self.stats.bytes = self.stats.bytes.saturating_add(packet.length);
        let extended = match arrival {
            Arrival::Duplicate | Arrival::Jumping => return,
            Arrival::Next { extended, .. } | Arrival::Late { extended } | Arrival::Restarted { extended } => {
                extended
            }
        };
        if packing == Packing::Ts {
            let restarted = matches!(arrival, Arrival::Restarted { .. });
            let transport = self.transport.get_or_insert_with(Default::default);
            transport.numbered(extended, restarted, at, packet.payload);
            self.first_frame_ns = transport.first_frame_ns().or(self.first_frame_ns);
            return;
        }
        let content = payload::look(packing, packet.payload);
        if source.frames.is_past(extended) {
            // Its neighbours are counted already; a picture was counted with the rest of its packets.
            self.stats.frames = self.stats.frames.saturating_add(u64::from(content.sounds));
            return;
        }
        if let Some(sound) = content.sound {
            self.stats.audio_frame(sound);
        }
        if let Some((width, height)) = content.size {
            (self.stats.info.width, self.stats.info.height) = (Some(width), Some(height));
        }
        if let Some(header) = content.mpeg.filter(|_| self.stats.info.sample_rate.is_none()) {
            codec::mpeg_audio(&mut self.stats.info, &header);
        }
        let part = Part {
            number: extended,
            timestamp: packet.timestamp,
            marker: packet.marker,
            picture: content.picture,
            key: content.key,
            sounds: content.sounds,
            fragment: content.fragment,
            arrived_ns: at.ready_ns,
        };
        let (done, whole) = source.frames.packet(&part);
        if whole.is_some() {
            self.first_frame_ns.get_or_insert(at.ready_ns);
        }
        if let Some(sps) = content.sps {
            let h265 = packing == Packing::H265;
            // What cannot be read leaves things as they are.
            let _ = self.stats.configure(1, sps, |stats| codec::parameter_set(&mut stats.info, h265, sps));
        }
        if let Some(frame) = done {
            self.frame(&frame);
        }
    }

    /// A frame that no late packet is waited for.
    fn frame(&mut self, frame: &Frame) {
        let jump = self.jump();
        if let Some(source) = &mut self.source {
            let follows = source.last_number.is_none_or(|last| frame.numbers.0 <= last.saturating_add(1));
            source.last_number = Some(source.last_number.unwrap_or(i64::MIN).max(frame.numbers.1));
            if !follows {
                self.stats.lost();
                self.pace.lost();
            }
        }
        let count = frame.count();
        if count == 0 {
            return;
        }
        let ms =
            i128::from(frame.ticks).saturating_mul(1000).checked_div(i128::from(self.clock)).unwrap_or(0);
        let ms = u32::try_from(ms.rem_euclid(1 << 32)).unwrap_or(0);
        self.stats.arrived(frame.arrived_ns);
        for _ in 0..count {
            self.stats.frame(ms, 0, frame.key);
        }
        if self.stats.kind() == TrackKind::Video {
            self.pace.frame(frame.ticks, jump);
        }
    }

    fn jump(&self) -> u64 {
        u64::from(self.clock.saturating_mul(JUMP_S).max(1))
    }

    fn retire(&mut self, mut source: Source) {
        let left: Vec<Frame> = source.frames.finish().collect();
        let clock = self.clock;
        let Source { sequence, jitter, .. } = &source;
        let totals = &mut self.totals;
        totals.packets = totals.packets.saturating_add(sequence.packets());
        totals.lost = totals.lost.saturating_add(sequence.lost());
        totals.reordered = totals.reordered.saturating_add(sequence.reordered);
        totals.duplicates = totals.duplicates.saturating_add(sequence.duplicates);
        totals.jumps = totals.jumps.saturating_add(sequence.jumps);
        let measured = source.clocks.jitter_ms(self.reports.measured_clock());
        totals.jitter_ms = jitter.ms(clock).or(measured).or(totals.jitter_ms);
        self.source = Some(source);
        left.iter().for_each(|frame| self.frame(frame));
        self.source = None;
    }

    /// No more packets come: the figures of the track. What is wrong with it is noted.
    pub fn finish(&mut self, interleaved: bool, name: &str, notes: &mut Notes) -> Network {
        self.finish_held();
        self.settle();
        if let Some(transport) = &mut self.transport {
            transport.finish();
        }
        if let Some(source) = self.source.take() {
            self.retire(source);
        }
        let jump = self.jump();
        self.pace.cut(jump);
        if self.stats.kind() == TrackKind::Video {
            self.stats.set_rate(self.pace.rate(self.clock));
        }
        let Totals { packets, lost, reordered, duplicates, jitter_ms, .. } = self.totals;
        let figures = Network { packets, lost, reordered, duplicates, jitter_ms };
        if packets > 0 {
            self.stats.set_network(figures);
        }
        self.reports.tell(&mut self.stats, self.clock);
        self.tell(interleaved, name, figures, notes);
        figures
    }

    fn tell(&self, interleaved: bool, name: &str, figures: Network, notes: &mut Notes) {
        let Network { packets, lost, reordered, duplicates, .. } = figures;
        let firsts = self.firsts;
        let mut add = |note: Note, at: Option<At>, count: u64| notes.push(Note { at, count, ..note });
        if lost > 0 && !self.holes {
            let rule = if interleaved { &spec::rtp::SEQ_TCP_GAP } else { &spec::rtp::SEQ_LOSS };
            let message = if interleaved {
                format!("{name}: {lost} RTP packets were never sent: a TCP connection loses none")
            } else {
                format!("{name}: {lost} RTP packets never arrived where this was captured")
            };
            let sent = packets.saturating_add(lost);
            let note =
                Note::new(rule, message).want_got(format!("{sent} packets"), format!("{packets} packets"));
            add(note, firsts.lost, lost);
        }
        if reordered.saturating_add(duplicates) > 0 {
            let message =
                format!("{name}: {reordered} RTP packets arrived late, {duplicates} more than once");
            let count = reordered.saturating_add(duplicates);
            add(Note::new(&spec::rtp::SEQ_DUP_REORDER, message), firsts.out_of_order, count);
        }
        if self.totals.unannounced > 0 {
            let message =
                format!("{name}: the synchronisation source changed and the old one did not say BYE");
            let note =
                Note::new(&spec::rtp::SSRC_STABLE, message).want_got("one SSRC", format!("{}", self.sources));
            add(note, firsts.unannounced, self.totals.unannounced);
        }
        if self.totals.jumps > 0 {
            let message = format!("{name}: the sequence numbers jumped");
            add(Note::new(&spec::rtp::SEQ_JUMP, message), firsts.jump, self.totals.jumps);
        }
        if self.foreign_types > 0 {
            let message = format!("{name}: packets of a payload type that its description does not name");
            add(Note::new(&spec::rtp::HDR_PAYLOAD_TYPE, message), firsts.foreign_type, self.foreign_types);
        }
    }
}

/// Reads a packet of `length` bytes; none where it cannot be one: another version, or lengths that do not fit.
fn parse(bytes: &[u8], length: u64) -> Option<Packet<'_>> {
    let cut = length.saturating_sub(bytes.len() as u64);
    // Of a packet cut by the snap length the padding is not there: its header is read as if it had none.
    let unpadded: Vec<u8>;
    let read = match bytes {
        [first, rest @ ..] if cut > 0 && first & 0x20 != 0 => {
            unpadded = [&[first & 0xdf], rest].concat();
            let header = rtp::Packet::parse(&unpadded).ok()?;
            let (header, payload) = (header.header, header.payload.len());
            (header, bytes.get(bytes.len().checked_sub(payload)?..)?)
        }
        _ => {
            let packet = rtp::Packet::parse(bytes).ok()?;
            (packet.header, packet.payload)
        }
    };
    let (header, payload) = read;
    Some(Packet {
        marker: header.marker,
        payload_type: header.payload_type,
        number: header.sequence,
        timestamp: header.timestamp,
        ssrc: header.ssrc,
        payload,
        length: (payload.len() as u64).saturating_add(cut),
    })
}
