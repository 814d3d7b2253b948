//! A client that plays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use media::clock::rescale;
use media::rtp::{Anchor, MAX_PAYLOAD, Sender, packetize};
use media::{Codec, Frame, Kind, Track};
use session::Time;
use session::rtsp::{Carry, TrackStart};
use wire::Cursor;
use wire::codec::aac::AudioSpecificConfig;
use wire::rtcp::Packet;

use super::egress::Egress;
use crate::hub::{Item, Piece, Took, Viewer};
use crate::registry::Reception;

/// A step in a publisher's times that differs by so many microseconds from the time that passed is none of the media.
const JUMP: u64 = 10_000_000;

/// The name of all tracks of a session in RTCP.
pub(super) const CNAME: &str = "streamgauge";

#[derive(Debug)]
pub(super) struct Playing {
    pub path: String,
    tracks: Vec<Arc<Track>>,
    senders: BTreeMap<usize, (Sender, Carry)>,
    pub viewer: Option<Viewer>,
    anchor: Option<Anchor>,
    /// What comes now of a track, where the description does not fit it any more.
    misfit: Option<Arc<Track>>,
    /// When the last frame left, and its time in microseconds.
    last: Option<(Duration, i64)>,
    pub report_at: Option<Time>,
    /// When to say BYE, after the publisher left.
    pub bye_at: Option<Time>,
}

impl Playing {
    pub fn new(path: &str, tracks: Vec<Arc<Track>>) -> Self {
        Self {
            path: path.to_owned(),
            tracks,
            senders: BTreeMap::new(),
            viewer: None,
            anchor: None,
            misfit: None,
            last: None,
            report_at: None,
            bye_at: None,
        }
    }

    /// How many tracks the stream had when it was set up.
    pub fn track_count(&self) -> usize {
        self.tracks.len()
    }

    /// Sets up a track, or gives it a new way; returns its SSRC. None where there is no such track.
    pub fn set_up(&mut self, place: usize, carry: Carry, seed: u64) -> Option<u32> {
        let sender = match self.senders.remove(&place) {
            Some((sender, _)) => sender,
            None => Sender::new(self.tracks.get(place)?, place, seed)?,
        };
        let ssrc = sender.ssrc();
        self.senders.insert(place, (sender, carry));
        Some(ssrc)
    }

    /// True where it is known with which frame the player begins.
    pub fn knows_start(&self) -> bool {
        self.viewer.as_ref().is_some_and(|viewer| viewer.begins_at().is_some())
    }

    /// Where each track begins: all at one instant of the media timeline, so that a player lines them up before the
    /// first report. No frame leaves with an earlier time.
    pub fn starts(&self) -> Vec<TrackStart> {
        let begins = self.viewer.as_ref().and_then(Viewer::begins_at);
        let start = |(place, (sender, _)): (&usize, &(Sender, Carry))| TrackStart {
            track: *place,
            seq: sender.next_sequence(),
            rtptime: begins.map(|(time, clock)| sender.timestamp_at(time, clock)),
        };
        self.senders.iter().map(start).collect()
    }

    pub fn is_udp(&self) -> bool {
        self.senders.values().any(|(_, carry)| matches!(carry, Carry::Udp { .. }))
    }

    /// Watches on, from the last key frame.
    pub fn watch(&mut self, viewer: Viewer) {
        self.viewer = Some(viewer);
    }

    /// Frames left out since the last call.
    pub fn newly_dropped(&mut self) -> u64 {
        self.viewer.as_mut().map_or(0, Viewer::newly_dropped)
    }

    /// Takes what is new in the ring, up to so many bytes.
    pub fn take(&mut self, limit: usize, wall: Duration, egress: &mut Egress) -> Took {
        let Some(mut viewer) = self.viewer.take() else { return Took::All };
        let took = viewer.take(limit, &mut |piece| match piece {
            Piece::Frame(item) => self.frame(item, wall, egress),
            // Parameter sets go before key frames, the rest the description has told. Data has no form in RTP here.
            Piece::Metadata(..) | Piece::Track(..) | Piece::Data(_) => 0,
        });
        if took == Took::Began {
            // Another publisher's times have nothing to do with those before.
            (self.anchor, self.last) = (None, None);
        }
        self.viewer = Some(viewer);
        took
    }

    fn frame(&mut self, item: &Item, wall: Duration, egress: &mut Egress) -> usize {
        let Some(frame) = item.frame() else { return 0 };
        let Some(place) = self.tracks.iter().position(|t| t.kind() == frame.track.kind()) else { return 0 };
        if self.misfit.is_some() {
            return 0;
        }
        let described = self.tracks.get(place).filter(|_| self.senders.contains_key(&place));
        if described.is_some_and(|described| !fits(described, &frame.track)) {
            self.misfit = Some(Arc::clone(&frame.track));
            return 0;
        }
        if self.jumps(wall, frame) {
            self.anchor = None;
        }
        if self.anchor.is_none() {
            // Reports go first: with them a player lines up the tracks from the first frame on.
            self.anchor = Some(Anchor::first(wall, frame.pts, frame.track.clock));
            self.report(wall, egress);
        }
        let Some((sender, carry)) = self.senders.get_mut(&place) else { return 0 };
        let timestamp = sender.timestamp(frame);
        let mut bytes = 0usize;
        for piece in item.packets.get_or_init(|| packetize(frame, MAX_PAYLOAD)) {
            let header = sender.header(timestamp, piece);
            bytes =
                bytes.saturating_add(egress.rtp(*carry, frame.track.kind(), header, piece.payload.clone()));
        }
        bytes
    }

    /// A track as it comes now, where that is not what the player was told and cannot be told any more.
    pub fn misfit(&self) -> Option<&Arc<Track>> {
        self.misfit.as_ref()
    }

    /// True where a publisher's clock was set: then what was said of it before holds no longer.
    fn jumps(&mut self, wall: Duration, frame: &Frame) -> bool {
        let at = rescale(frame.pts, frame.track.clock, 1_000_000);
        let last = self.last.replace((wall, at));
        last.is_some_and(|(then, before)| {
            let passed = i64::try_from(wall.saturating_sub(then).as_micros()).unwrap_or(i64::MAX);
            at.saturating_sub(before).saturating_sub(passed).unsigned_abs() > JUMP
        })
    }

    /// A sender report of each track.
    pub fn report(&self, wall: Duration, egress: &mut Egress) {
        self.say(egress, |sender, anchor| sender.report(anchor, wall, CNAME));
    }

    /// What a player's compound packet tells of its tracks.
    pub fn heard(&self, compound: &[u8], wall: Duration) -> Vec<Reception> {
        let (packets, _) = wire::rtcp::parse(compound);
        let blocks = packets.iter().flat_map(|packet| match packet {
            Packet::ReceiverReport { blocks, .. } => blocks.as_slice(),
            Packet::SenderReport(report) => report.blocks.as_slice(),
            _ => &[],
        });
        let told = |block| {
            self.senders.iter().find_map(|(place, (sender, _))| {
                let kind = self.tracks.get(*place)?.kind();
                Some(Reception { kind, heard: sender.heard(block, wall)?, expected: None })
            })
        };
        blocks.filter_map(told).collect()
    }

    /// The last words of each track.
    pub fn bye(&mut self, wall: Duration, egress: &mut Egress) {
        (self.viewer, self.report_at, self.bye_at) = (None, None, None);
        if self.anchor.is_none() {
            self.anchor = Some(Anchor::new(wall, 0, 1000));
        }
        self.say(egress, |sender, anchor| sender.bye(anchor, wall, CNAME));
        self.anchor = None;
    }

    /// True from PLAY or the first packet on, until goodbye was said.
    pub fn has_begun(&self) -> bool {
        self.viewer.is_some() || self.anchor.is_some()
    }

    fn say(&self, egress: &mut Egress, words: impl Fn(&Sender, &Anchor) -> Bytes) {
        let Some(anchor) = &self.anchor else { return };
        for (sender, carry) in self.senders.values() {
            egress.rtcp(*carry, words(sender, anchor));
        }
    }
}

/// True where a player that was described one track can play the other: pictures bring their parameter sets, but the clock
/// and the configuration of sound stand in the description alone (RFC 3640 §4.1, RFC 3550 §5.1).
fn fits(described: &Arc<Track>, track: &Arc<Track>) -> bool {
    let same = Arc::ptr_eq(described, track) || described.config == track.config;
    described.codec == track.codec && (same || track.kind() == Kind::Video || sounds_alike(described, track))
}

/// Configurations that differ in how they say the same, as some encoders add what a decoder can do without.
fn sounds_alike(one: &Track, other: &Track) -> bool {
    let of = |track: &Track| {
        let config = AudioSpecificConfig::decode(&mut Cursor::new(&track.config)).ok()?;
        let AudioSpecificConfig { object_type, frequency, channel_configuration, .. } = config;
        let told = (object_type, frequency, channel_configuration, config.core_channels());
        Some((told, config.frame_samples(), config.sbr.unwrap_or(false), config.ps.unwrap_or(false)))
    };
    one.codec == Codec::Aac && of(one).is_some_and(|config| Some(config) == of(other))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use media::Unit;
    use model::Protocol;
    use wire::rtp;

    use super::*;
    use crate::hub::{Bounds, Hub, PublisherSnapshot};
    use crate::signal::Signal;

    const SPS: &[u8] = &[
        0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01,
        0x00, 0x00, 0x03, 0x00, 0x32, 0x0f, 0x16, 0x2d, 0x96,
    ];

    fn track(codec: Codec, config: Vec<u8>) -> Arc<Track> {
        let description = String::new();
        Arc::new(Track { codec, config: config.into(), clock: 1000, flv_flags: None, description })
    }

    /// What leaves over TCP: channel and packet of each.
    fn sent(egress: &mut Egress) -> Vec<(u8, Vec<u8>)> {
        let mut bytes = Vec::new();
        while !egress.outbox.is_empty() {
            let mut slices = [std::io::IoSlice::new(&[])];
            egress.outbox.slices(&mut slices);
            let n = slices[0].len();
            egress.outbox.advance(n, |part| bytes.extend_from_slice(&part));
        }
        let (mut packets, mut rest) = (Vec::new(), &bytes[..]);
        while let [b'$', channel, high, low, behind @ ..] = rest {
            let (packet, next) = behind.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            packets.push((*channel, packet.to_vec()));
            rest = next;
        }
        packets
    }

    fn rtp_of(packet: &[u8]) -> rtp::Header {
        rtp::Packet::parse(packet).unwrap().header
    }

    /// The sender report in a compound, if it has one.
    fn report_of(compound: &[u8]) -> Option<wire::rtcp::SenderReport> {
        match wire::rtcp::parse(compound).0.into_iter().next() {
            Some(Packet::SenderReport(report)) => Some(report),
            _ => None,
        }
    }

    struct Stage {
        publisher: crate::hub::Publisher,
        playing: Playing,
        egress: Egress,
        tracks: Vec<Arc<Track>>,
    }

    impl Stage {
        /// A player of pictures and sound, who comes when these frames are there: track, DTS and PTS in milliseconds.
        fn new(frames: &[(usize, i64, i64)]) -> Self {
            let hub = Hub::new(Bounds { bytes: 1 << 20, total: 1 << 20, time: 30_000, lag: 5_000 });
            let address = "10.0.0.1:4000".parse().unwrap();
            let who = PublisherSnapshot { id: "cam".into(), protocol: Protocol::Rtmp, address };
            let mut publisher = hub.publish("live/a", who, Time::from_millis(0)).unwrap();
            let record = wire::codec::avc::encode(&[SPS], &[&[0x68, 0xea, 0xec, 0xb2, 0x2c]]).unwrap();
            let tracks = vec![track(Codec::H264, record), track(Codec::Aac, vec![0x11, 0x90])];
            tracks.iter().for_each(|track| publisher.push(Unit::Track(track.clone()), 0));
            let mut playing = Playing::new("live/a", tracks.clone());
            for place in 0..2u8 {
                let channels = (2 * place, 2 * place + 1);
                playing.set_up(usize::from(place), Carry::Tcp { channels }, 7 + u64::from(place));
            }
            let mut stage = Self { publisher, playing, egress: Egress::new(address, None), tracks };
            stage.push(frames);
            stage.playing.watch(hub.watch("live/a", Arc::new(Signal::default())));
            stage
        }

        fn push(&mut self, frames: &[(usize, i64, i64)]) {
            for (place, dts, pts) in frames.iter().copied() {
                let payload: &[u8] = if place == 0 { &[0, 0, 0, 2, 0x65, 0x88] } else { &[0x21, 0x10] };
                let (track, payload) = (self.tracks[place].clone(), Bytes::from_static(payload));
                let frame = Frame { track, dts, pts, key: true, payload };
                self.publisher.push(Unit::Frame(frame), u32::try_from(dts).unwrap());
            }
            self.publisher.flush();
        }

        /// What leaves at a time.
        fn take(&mut self, wall: Duration) -> Vec<(u8, Vec<u8>)> {
            self.playing.take(usize::MAX, wall, &mut self.egress);
            sent(&mut self.egress)
        }
    }

    /// With B-frames the first picture is shown 80 ms after it is decoded, and sound begins 59 ms after that: RTP-Info has to
    /// name one instant for both tracks (RFC 2326 §12.33), which their first packets follow by as much.
    #[test]
    fn rtp_info_names_one_instant_for_all_tracks() {
        let mut stage = Stage::new(&[(0, 7000, 7080), (1, 7059, 7059)]);
        let starts = stage.playing.starts();
        let (mut first, mut told) = (BTreeMap::new(), BTreeMap::new());
        for (channel, packet) in stage.take(Duration::from_secs(1_700_000_000)) {
            let place = usize::from(channel / 2);
            if channel % 2 == 0 {
                let header = rtp_of(&packet);
                first.entry(place).or_insert((header.sequence, header.timestamp));
            } else if let Some(report) = report_of(&packet) {
                told.entry(place).or_insert(report.rtp);
            }
        }
        let behind = |start: &TrackStart| {
            let (sequence, timestamp) = first[&start.track];
            assert_eq!(start.seq, sequence);
            timestamp.wrapping_sub(start.rtptime.unwrap())
        };
        assert_eq!(starts.iter().map(behind).collect::<Vec<_>>(), [80 * 90, 59 * 48]);
        // Reports go first, and are not older than what they are to place.
        let ahead =
            |(place, clock): (usize, u32)| told[&place].wrapping_sub(first[&place].1) / (clock / 1000);
        assert_eq!([(0, 90_000), (1, 48_000)].map(ahead), [500, 521]);
    }

    /// A publisher whose clock is set by an hour: what was said of its times before would be wrong by that much.
    #[test]
    fn reports_follow_a_clock_that_was_set() {
        let begin = Duration::from_secs(1_700_000_000);
        let mut stage = Stage::new(&[(0, 7000, 7080), (1, 7059, 7059)]);
        stage.take(begin);
        let hour = 3_600_000;
        let gap = |packets: &[(u8, Vec<u8>)]| {
            let at = packets.iter().position(|(channel, _)| *channel == 0).unwrap();
            let stamp = rtp_of(&packets[at].1).timestamp;
            let reports = packets[..at].iter().filter(|(channel, _)| *channel == 1);
            let told = reports.filter_map(|(_, compound)| report_of(compound)).next_back();
            told.map(|told| told.rtp.wrapping_sub(stamp).cast_signed() / 90)
        };
        // A step of the media, late by five seconds: nothing new is said.
        stage.push(&[(0, 7040, 7120)]);
        assert_eq!(gap(&stage.take(begin + Duration::from_secs(5))), None);
        for (dts, after) in [(hour, 6), (40, 7)] {
            stage.push(&[(0, dts, dts + 80)]);
            assert_eq!(gap(&stage.take(begin + Duration::from_secs(after))), Some(500));
        }
        // And who goes is told so once.
        assert!(stage.playing.has_begun());
        stage.playing.bye(begin + Duration::from_secs(8), &mut stage.egress);
        let last = sent(&mut stage.egress);
        assert_eq!(last.len(), 2);
        let said = |(_, c): &(u8, Vec<u8>)| matches!(wire::rtcp::parse(c).0.last(), Some(Packet::Bye { .. }));
        assert!(last.iter().all(said) && !stage.playing.has_begun());
    }

    /// Pictures bring their parameter sets; what a player was told of sound cannot be told anew (RFC 3640 §4.1).
    #[test]
    fn a_player_goes_on_with_other_pictures_and_not_with_other_sound() {
        let begin = Duration::from_secs(1_700_000_000);
        let mut stage = Stage::new(&[(0, 7000, 7080), (1, 7059, 7059)]);
        let types = |packets: &[(u8, Vec<u8>)]| -> Vec<u8> {
            packets.iter().filter(|(channel, _)| *channel == 0).map(|(_, packet)| packet[12] & 0x1f).collect()
        };
        stage.take(begin);
        let mut other = SPS.to_vec();
        other[3] = 0x1f;
        let record = wire::codec::avc::encode(&[&other], &[&[0x68, 0xea, 0xec, 0xb2, 0x2c]]).unwrap();
        stage.tracks[0] = track(Codec::H264, record);
        stage.publisher.push(Unit::Track(stage.tracks[0].clone()), 7040);
        stage.push(&[(0, 7040, 7120)]);
        let packets = stage.take(begin);
        assert_eq!((types(&packets), stage.playing.misfit().is_some()), (vec![24, 5], false));
        assert!(packets[0].1.windows(other.len()).any(|w| w == other), "the new sets go first");
        // The same said with an extension that says nothing new; then another rate.
        for (config, fits) in [(&[0x11, 0x90, 0x56, 0xe5, 0x00][..], true), (&[0x12, 0x10], false)] {
            stage.tracks[1] = track(Codec::Aac, config.to_vec());
            stage.publisher.push(Unit::Track(stage.tracks[1].clone()), 7080);
            stage.push(&[(1, 7100, 7100), (0, 7120, 7160)]);
            let packets = stage.take(begin);
            assert_eq!((packets.len() > 2, stage.playing.misfit().is_none()), (fits, fits), "{config:02x?}");
        }
    }
}
