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
    /// Frames left out that were counted already.
    dropped: u64,
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
            dropped: 0,
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
        self.dropped = 0;
        self.viewer = Some(viewer);
    }

    /// Frames left out since the last call.
    pub fn newly_dropped(&mut self) -> u64 {
        let Some(viewer) = &self.viewer else { return 0 };
        let before = std::mem::replace(&mut self.dropped, viewer.dropped());
        self.dropped.saturating_sub(before)
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
            self.anchor = Some(Anchor::new(wall, frame.pts, frame.track.clock));
            self.report(wall, egress);
        }
        let Some((sender, carry)) = self.senders.get_mut(&place) else { return 0 };
        let timestamp = sender.timestamp(frame);
        let mut bytes = 0usize;
        for piece in item.packets.get_or_init(|| packetize(frame, MAX_PAYLOAD)) {
            let header = sender.header(timestamp, piece);
            bytes = bytes.saturating_add(egress.packet(*carry, false, &header, piece.payload.clone()));
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
                Some(Reception { kind, heard: sender.heard(block, wall)? })
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
            egress.packet(*carry, true, &[], words(sender, anchor));
        }
    }
}
