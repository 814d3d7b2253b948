//! A publisher's packets to units.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use wire::rtcp::{self, Packet as Report};
use wire::rtp::Packet;
use wire::sdp::Description;

use super::dts::DtsRebuilder;
use super::egress::Heard;
use super::format::{Format, FormatKind, track};
use super::reception::Reception;
use super::reorder::{Ordered, Reorder};
use super::timeline::{Origin, TrackClock, align, join};
use super::{aac, h264, latm};
use crate::frame::{Codec, Frame, Kind, Track, Unit};
use crate::sets::Sets;

/// Bounds of an ingest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestConfig {
    /// Milliseconds a packet waits for one before it; 0 where the path keeps order.
    pub reorder_wait: u64,
    /// Packets that wait at most, for each track.
    pub reorder_packets: usize,
    /// Milliseconds the first frames wait for the sender reports that line the tracks up: senders that keep to RFC 3550 tell
    /// within 3.1 s.
    pub sync_wait: u64,
    /// Bytes of frames that wait for that at most.
    pub sync_bytes: usize,
}

impl IngestConfig {
    /// For packets over UDP.
    pub fn udp() -> Self {
        Self { reorder_wait: 100, reorder_packets: 512, ..Self::tcp() }
    }

    /// For packets interleaved in a TCP connection.
    pub fn tcp() -> Self {
        Self { reorder_wait: 0, reorder_packets: 0, sync_wait: 3500, sync_bytes: 8 << 20 }
    }
}

/// What went wrong on a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that came and belonged.
    pub received: u64,
    /// Packets missing.
    pub lost: u64,
    /// Packets that came twice or too late.
    pub late: u64,
    /// Packets of another payload type or source, or far from their place.
    pub strangers: u64,
    /// Packets and payloads that could not be read.
    pub unreadable: u64,
    /// Frames dropped because a part was missing.
    pub damaged: u64,
    /// Frames dropped because their parameter sets never came.
    pub unconfigured: u64,
    /// Jumps of the timestamps that were taken out.
    pub jumps: u64,
}

#[derive(Debug)]
enum Depacketizer {
    H264(Box<h264::Depacketizer>),
    Aac(aac::Depacketizer),
    Latm(latm::Depacketizer),
}

impl Depacketizer {
    fn open_bytes(&self) -> usize {
        match self {
            Self::H264(depacketizer) => depacketizer.open_bytes(),
            Self::Aac(depacketizer) => depacketizer.open_bytes(),
            Self::Latm(depacketizer) => depacketizer.open_bytes(),
        }
    }
}

#[derive(Debug)]
struct Channel {
    format: Format,
    depacketizer: Depacketizer,
    reorder: Reorder,
    reception: Reception,
    clock: TrackClock,
    dts: DtsRebuilder,
    track: Option<Arc<Track>>,
    told: Option<Arc<Track>>,
    counters: Counters,
    /// What the last receiver report said.
    heard: Option<Heard>,
    said_bye: bool,
    /// When the unfinished frame began to come.
    open_since: Option<u64>,
}

/// A frame that has no time yet.
#[derive(Debug)]
struct Raw {
    place: usize,
    track: Arc<Track>,
    at: i64,
    key: bool,
    payload: Bytes,
}

/// All tracks of one publisher.
#[derive(Debug)]
pub struct Ingest {
    config: IngestConfig,
    /// By media section; none where the format is not ours.
    channels: Vec<Option<Channel>>,
    waiting: VecDeque<Raw>,
    waiting_bytes: usize,
    since: Option<u64>,
    origin: Option<(Origin, i64)>,
    out: VecDeque<(usize, Unit)>,
}

impl Ingest {
    /// For what a description announces. None where there is no track that we can read.
    pub fn new(description: &Description, config: IngestConfig) -> Option<Self> {
        let mut channels: Vec<Option<Channel>> = description
            .media
            .iter()
            .map(|media| {
                let format = Format::of(media)?;
                let depacketizer = match format.kind {
                    FormatKind::H264 => {
                        let sets = format.sets.clone();
                        Depacketizer::H264(Box::new(h264::Depacketizer::new(sets)))
                    }
                    FormatKind::Aac => Depacketizer::Aac(aac::Depacketizer::new(format.layout)),
                    FormatKind::Latm => {
                        let mux = format.mux.clone();
                        Depacketizer::Latm(latm::Depacketizer::new(mux, format.mux_in_band))
                    }
                };
                let dts = match format.kind {
                    FormatKind::H264 => DtsRebuilder::new(0, 1),
                    FormatKind::Aac | FormatKind::Latm => DtsRebuilder::in_order(),
                };
                let mut channel = Channel {
                    depacketizer,
                    reorder: Reorder::new(config.reorder_wait, config.reorder_packets),
                    reception: Reception::default(),
                    clock: TrackClock::new(format.clock),
                    dts,
                    track: None,
                    told: None,
                    counters: Counters::default(),
                    heard: None,
                    said_bye: false,
                    open_since: None,
                    format,
                };
                channel.configure(channel.format.track().map(|track| track.config.clone()));
                Some(channel)
            })
            .collect();
        if channels.iter().all(Option::is_none) {
            return None;
        }
        let mut out = VecDeque::new();
        for (place, channel) in channels.iter_mut().enumerate() {
            if let Some((channel, track)) = channel.as_mut().and_then(|c| c.track.clone().map(|t| (c, t))) {
                channel.told = Some(Arc::clone(&track));
                out.push_back((place, Unit::Track(track)));
            }
        }
        let (waiting, waiting_bytes, since, origin) = (VecDeque::new(), 0, None, None);
        Some(Self { config, channels, waiting, waiting_bytes, since, origin, out })
    }

    /// Has other bounds from now on; what waits in the old ones is lost, so call it before the first packet.
    pub fn rebound(&mut self, config: IngestConfig) {
        self.config = config;
        for channel in self.channels.iter_mut().flatten() {
            channel.reorder = Reorder::new(config.reorder_wait, config.reorder_packets);
        }
    }

    /// Leaves out the media sections that are not to come. Call it before the first packet.
    pub fn keep(&mut self, comes: impl Fn(usize) -> bool) {
        for (place, channel) in self.channels.iter_mut().enumerate() {
            if !comes(place) {
                *channel = None;
            }
        }
        self.out.retain(|(place, _)| comes(*place));
    }

    /// The kinds of media that come.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.channels.iter().flatten().map(Channel::kind)
    }

    /// How many media sections there are.
    pub fn sections(&self) -> usize {
        self.channels.len()
    }

    /// Memory held of frames that are not complete or wait for their place or their time.
    pub fn open_bytes(&self) -> usize {
        let channels = self.channels.iter().flatten().map(Channel::open_bytes);
        channels.fold(self.waiting_bytes, usize::saturating_add)
    }

    /// Since when there is something like that.
    pub fn open_since(&self) -> Option<u64> {
        let waiting = self.since.filter(|_| !self.waiting.is_empty());
        let channels = self.channels.iter().flatten();
        let open = channels.flat_map(|c| [c.open_since, c.reorder.oldest()]).flatten();
        open.chain(waiting).min()
    }

    /// Lets no frame wait for sender reports any longer; false where none did.
    pub fn hurry(&mut self, now: u64) -> bool {
        let waits = self.origin.is_none() && !self.waiting.is_empty();
        if waits {
            self.align(now);
        }
        waits
    }

    /// Whether a media section can be read.
    pub fn carries(&self, place: usize) -> bool {
        self.channel(place).is_some()
    }

    fn channel(&self, place: usize) -> Option<&Channel> {
        self.channels.get(place)?.as_ref()
    }

    fn channel_mut(&mut self, place: usize) -> Option<&mut Channel> {
        self.channels.get_mut(place)?.as_mut()
    }

    /// What went wrong on a track so far.
    pub fn counters(&self, place: usize) -> Counters {
        let Some(channel) = self.channel(place) else { return Counters::default() };
        let (damaged, misfits) = match &channel.depacketizer {
            Depacketizer::H264(d) => (d.damaged(), d.misfits()),
            Depacketizer::Aac(d) => (d.damaged(), 0),
            Depacketizer::Latm(d) => (d.damaged(), 0),
        };
        let mut counters = channel.counters;
        counters.received = channel.reception.received();
        counters.late = channel.reorder.late();
        counters.strangers = counters.strangers.saturating_add(channel.reorder.strangers());
        counters.unreadable = counters.unreadable.saturating_add(misfits);
        counters.damaged = damaged;
        counters.jumps = channel.clock.jumps();
        counters
    }

    /// True where every track's sender has said goodbye.
    pub fn is_over(&self) -> bool {
        self.channels.iter().flatten().all(|channel| channel.said_bye)
    }

    /// Takes an RTP packet of a media section. True where it was one of the stream's: a sign of life.
    pub fn rtp(&mut self, now: u64, place: usize, bytes: Bytes) -> bool {
        let Some(channel) = self.channel_mut(place) else { return false };
        let Ok(packet) = Packet::parse(&bytes) else {
            channel.counters.unreadable = channel.counters.unreadable.saturating_add(1);
            return false;
        };
        if packet.header.payload_type != channel.format.payload_type {
            channel.counters.strangers = channel.counters.strangers.saturating_add(1);
            return false;
        }
        let payload = bytes.slice_ref(packet.payload);
        let belongs = channel.reorder.push(now, &packet, payload);
        if belongs {
            channel.reception.packet(now, packet.header, channel.format.clock);
        }
        self.advance(now, place);
        belongs
    }

    /// Takes an RTCP packet of a media section. False where it could not be read.
    pub fn rtcp(&mut self, now: u64, place: usize, bytes: &[u8]) -> bool {
        let Some(channel) = self.channel_mut(place) else { return false };
        let (reports, error) = rtcp::parse(bytes);
        for report in &reports {
            match report {
                Report::SenderReport(report) => {
                    channel.clock.report(report);
                    channel.reception.report(now, report);
                }
                Report::Bye { .. } => channel.said_bye = true,
                _ => {}
            }
        }
        if error.is_some() {
            channel.counters.unreadable = channel.counters.unreadable.saturating_add(1);
        }
        self.settle(now);
        error.is_none()
    }

    /// A receiver report about a track with CNAME, from us as `ssrc`; none before its first packet.
    pub fn report(&mut self, now: u64, place: usize, ssrc: u32, cname: &str) -> Option<Bytes> {
        let channel = self.channel_mut(place)?;
        let block = channel.reception.block(now)?;
        channel.heard = Some(Heard::of(&block, channel.format.clock));
        let report = Report::ReceiverReport { ssrc, blocks: vec![block] };
        Some(rtcp::encode_all(&[report, Report::cname(ssrc, cname)]).into())
    }

    /// What the last [`report`](Self::report) about a track said, and how many packets it counted as expected.
    pub fn heard(&self, place: usize) -> Option<(Kind, Heard, u64)> {
        let channel = self.channel(place)?;
        Some((channel.kind(), channel.heard?, channel.reception.expected()))
    }

    /// Lets time pass: gives up what waited long enough.
    pub fn tick(&mut self, now: u64) {
        for place in 0..self.channels.len() {
            self.advance(now, place);
        }
    }

    /// When [`tick`](Self::tick) has something to do, without another packet.
    pub fn wake_at(&self) -> Option<u64> {
        let reorder = self.channels.iter().flatten().filter_map(|c| c.reorder.wake_at()).min();
        let sync = self.since.map(|since| since.saturating_add(self.config.sync_wait));
        [reorder, sync.filter(|_| self.origin.is_none())].into_iter().flatten().min()
    }

    /// The publisher is gone: what is complete comes out.
    pub fn finish(&mut self, now: u64) {
        let end = now.saturating_add(self.config.reorder_wait).saturating_add(1);
        for place in 0..self.channels.len() {
            self.advance(end, place);
            let Some(channel) = self.channel_mut(place) else { continue };
            let Depacketizer::H264(depacketizer) = &mut channel.depacketizer else { continue };
            if let Some(picture) = depacketizer.finish() {
                let raw = channel.picture(place, now, picture);
                self.hold(now, raw);
            }
        }
        if self.origin.is_none() {
            self.align(now);
        }
    }

    /// The next unit, and the media section it is from.
    pub fn poll(&mut self) -> Option<(usize, Unit)> {
        self.out.pop_front()
    }

    fn advance(&mut self, now: u64, place: usize) {
        while let Some(channel) = self.channel_mut(place) {
            let Some(ordered) = channel.reorder.pop(now) else { break };
            let raws = channel.take(place, now, ordered);
            raws.into_iter().for_each(|raw| self.hold(now, Some(raw)));
        }
        self.settle(now);
    }

    fn hold(&mut self, now: u64, raw: Option<Raw>) {
        let Some(raw) = raw else { return };
        if self.origin.is_some() {
            return self.emit(raw);
        }
        self.since.get_or_insert(now);
        self.waiting_bytes = self.waiting_bytes.saturating_add(raw.payload.len()).saturating_add(64);
        self.waiting.push_back(raw);
    }

    /// Decides on the timeline, where all tracks tell or the wait is over.
    fn settle(&mut self, now: u64) {
        let Some(since) = self.since.filter(|_| self.origin.is_none()) else { return };
        let waited = now.saturating_sub(since) >= self.config.sync_wait;
        let mut all = self.channels.iter().flatten();
        let alone = self.channels.iter().flatten().count() == 1;
        if alone || waited || self.waiting_bytes > self.config.sync_bytes || all.all(|c| c.clock.is_told()) {
            self.align(now);
        }
    }

    fn align(&mut self, now: u64) {
        // The pictures' decoding times precede the first presentation time: that much room keeps them from being negative.
        let delay = |c: &Channel| crate::clock::rescale(c.dts.delay(), c.format.clock, 1_000_000);
        let lead = self.channels.iter().flatten().map(delay).max().unwrap_or(0);
        let arrival = i64::try_from(self.since.unwrap_or(now)).unwrap_or(0).saturating_mul(1000);
        let mut clocks: Vec<&mut TrackClock> =
            self.channels.iter_mut().flatten().map(|c| &mut c.clock).collect();
        let Some(origin) = align(&mut clocks, lead) else { return };
        self.origin = Some((origin, arrival.saturating_sub(lead)));
        for raw in std::mem::take(&mut self.waiting) {
            self.emit(raw);
        }
        self.waiting_bytes = 0;
    }

    fn emit(&mut self, raw: Raw) {
        let Some((origin, arrival)) = self.origin else { return };
        let Some(channel) = self.channels.get_mut(raw.place).and_then(Option::as_mut) else { return };
        if !channel.clock.is_set() {
            join(&mut channel.clock, origin, arrival);
        }
        if channel.told.as_ref() != Some(&raw.track) {
            channel.told = Some(Arc::clone(&raw.track));
            self.out.push_back((raw.place, Unit::Track(Arc::clone(&raw.track))));
        }
        let (dts, pts) = channel.dts.next(channel.clock.time(raw.at));
        let frame = Frame { track: raw.track, dts, pts, key: raw.key, payload: raw.payload };
        self.out.push_back((raw.place, Unit::Frame(frame)));
    }
}

impl Channel {
    fn kind(&self) -> Kind {
        if self.format.kind == FormatKind::H264 { Kind::Video } else { Kind::Audio }
    }

    /// Makes the track anew, where its configuration changed.
    fn configure(&mut self, config: Option<Bytes>) {
        let codec = if self.kind() == Kind::Video { Codec::H264 } else { Codec::Aac };
        let known = self.track.as_ref().map(|track| &track.config);
        let Some(config) = config.filter(|config| known != Some(config)) else { return };
        let made = track(codec, config, self.format.clock);
        let sps = (codec == Codec::H264).then(|| Sets::of(&made.config).sps()).flatten();
        self.track = Some(made);
        if let Some(sps) = sps {
            let rate = sps.frame_rate().filter(|rate| (1.0..=1000.0).contains(rate)).unwrap_or(25.0);
            // Milli-frames per second: the step is only a guess at the pictures before the first.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let millis = (rate * 1000.0) as u32;
            self.dts.configure(sps.reorder_depth(), crate::clock::rescale(1000, millis, self.format.clock));
        }
    }

    fn open_bytes(&self) -> usize {
        self.depacketizer.open_bytes().saturating_add(self.reorder.bytes())
    }

    fn take(&mut self, place: usize, now: u64, ordered: Ordered) -> Vec<Raw> {
        let raws = self.depacketize(place, now, ordered);
        let open = self.depacketizer.open_bytes() > 0;
        let began = if raws.is_empty() { self.open_since } else { None };
        self.open_since = open.then(|| began.unwrap_or(now));
        raws
    }

    fn depacketize(&mut self, place: usize, now: u64, ordered: Ordered) -> Vec<Raw> {
        let Ordered { header, payload, lost } = ordered;
        self.counters.lost = self.counters.lost.saturating_add(lost);
        let broken = lost > 0 || self.reorder.take_restarted();
        match &mut self.depacketizer {
            Depacketizer::H264(depacketizer) => {
                let pictures = depacketizer.packet(header.timestamp, header.marker, &payload, broken);
                pictures.into_iter().filter_map(|picture| self.picture(place, now, picture)).collect()
            }
            Depacketizer::Aac(depacketizer) => {
                let units = depacketizer.packet(header.timestamp, &payload, broken);
                self.sounds(place, now, units)
            }
            Depacketizer::Latm(depacketizer) => {
                let units = depacketizer.packet(header.timestamp, header.marker, &payload, broken);
                if let Some(mux) = depacketizer.config().filter(|mux| self.format.mux.as_ref() != Some(mux)) {
                    self.format.mux(mux.clone());
                    let config = self.format.config.clone();
                    self.configure(Some(config));
                }
                self.sounds(place, now, units)
            }
        }
    }

    fn sounds(&mut self, place: usize, now: u64, units: Result<Vec<aac::Unit>, wire::Error>) -> Vec<Raw> {
        let Ok(units) = units else {
            self.counters.unreadable = self.counters.unreadable.saturating_add(1);
            return Vec::new();
        };
        let Some(track) = self.track.clone() else { return Vec::new() };
        let samples = self.format.samples;
        let raw = |(timestamp, index, payload): aac::Unit| {
            let raw = timestamp.wrapping_add(index.wrapping_mul(samples));
            let at = self.clock.place(now, raw);
            Raw { place, track: Arc::clone(&track), at, key: true, payload }
        };
        units.into_iter().map(raw).collect()
    }

    fn picture(&mut self, place: usize, now: u64, picture: h264::Picture) -> Option<Raw> {
        self.configure(picture.config);
        let at = self.clock.place(now, picture.timestamp);
        let Some(track) = self.track.clone() else {
            self.counters.unconfigured = self.counters.unconfigured.saturating_add(1);
            return None;
        };
        Some(Raw { place, track, at, key: picture.key, payload: picture.payload })
    }
}
