//! A client that plays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use media::Track;
use media::rtp::{Anchor, MAX_PAYLOAD, Sender, packetize};
use session::Time;
use session::rtsp::{Carry, TrackStart};
use wire::rtcp::Packet;

use super::egress::Egress;
use crate::hub::{Item, Piece, Took, Viewer};
use crate::registry::Reception;

/// The name of all tracks of a session in RTCP.
pub(super) const CNAME: &str = "streamgauge";

#[derive(Debug)]
pub(super) struct Playing {
    pub path: String,
    tracks: Vec<Arc<Track>>,
    senders: BTreeMap<usize, (Sender, Carry)>,
    pub viewer: Option<Viewer>,
    anchor: Option<Anchor>,
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
            // Parameter sets go before key frames, the rest the description has told.
            Piece::Metadata(..) | Piece::Track(..) => 0,
        });
        if took == Took::Began {
            // Another publisher's times have nothing to do with those before.
            self.anchor = None;
        }
        self.viewer = Some(viewer);
        took
    }

    fn frame(&mut self, item: &Item, wall: Duration, egress: &mut Egress) -> usize {
        let Some(frame) = item.frame() else { return 0 };
        let Some(place) = self.tracks.iter().position(|t| t.kind() == frame.track.kind()) else { return 0 };
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
    }

    fn say(&self, egress: &mut Egress, words: impl Fn(&Sender, &Anchor) -> Bytes) {
        let Some(anchor) = &self.anchor else { return };
        for (sender, carry) in self.senders.values() {
            egress.rtcp(*carry, words(sender, anchor));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use media::{Codec, Frame, Unit};
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

    /// With B-frames the first picture is shown 80 ms after it is decoded, and sound begins 59 ms after that: RTP-Info has to
    /// name one instant for both tracks (RFC 2326 §12.33), which their first packets follow by as much.
    #[test]
    fn rtp_info_names_one_instant_for_all_tracks() {
        let hub = Hub::new(Bounds { bytes: 1 << 20, total: 1 << 20, time: 30_000, lag: 5_000 });
        let address = "10.0.0.1:4000".parse().unwrap();
        let who = PublisherSnapshot { id: "cam".into(), protocol: Protocol::Rtmp, address };
        let mut publisher = hub.publish("live/a", who, Time::from_millis(0)).unwrap();
        let record = wire::codec::avc::encode(&[SPS], &[&[0x68, 0xea, 0xec, 0xb2, 0x2c]]).unwrap();
        let tracks = vec![track(Codec::H264, record), track(Codec::Aac, vec![0x11, 0x90])];
        let frame = |place: usize, dts, pts, payload: &'static [u8]| {
            let payload = Bytes::from_static(payload);
            Unit::Frame(Frame { track: tracks[place].clone(), dts, pts, key: true, payload })
        };
        tracks.iter().for_each(|track| publisher.push(Unit::Track(track.clone()), 0));
        publisher.push(frame(0, 7000, 7080, &[0, 0, 0, 2, 0x65, 0x88]), 7000);
        publisher.push(frame(1, 7059, 7059, &[0x21, 0x10]), 7059);
        publisher.flush();

        let mut playing = Playing::new("live/a", tracks.clone());
        let channels = |track: u8| Carry::Tcp { channels: (2 * track, 2 * track + 1) };
        playing.set_up(0, channels(0), 7);
        playing.set_up(1, channels(1), 8);
        playing.watch(hub.watch("live/a", Arc::new(Signal::default())));
        let starts = playing.starts();
        let mut egress = Egress::new(address, None);
        playing.take(usize::MAX, Duration::from_secs(1_700_000_000), &mut egress);

        let mut bytes = Vec::new();
        while !egress.outbox.is_empty() {
            let mut slices = [std::io::IoSlice::new(&[])];
            egress.outbox.slices(&mut slices);
            let n = slices[0].len();
            egress.outbox.advance(n, |part| bytes.extend_from_slice(&part));
        }
        let (mut first, mut told) = (BTreeMap::new(), BTreeMap::new());
        let mut rest = &bytes[..];
        while let [b'$', channel, high, low, behind @ ..] = rest {
            let (packet, next) = behind.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            if channel % 2 == 0 {
                let header = rtp::Packet::parse(packet).unwrap().header;
                first.entry(usize::from(channel / 2)).or_insert((header.sequence, header.timestamp));
            } else if let Some(Packet::SenderReport(report)) = wire::rtcp::parse(packet).0.first() {
                told.entry(usize::from(channel / 2)).or_insert(report.rtp);
            }
            rest = next;
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
}
