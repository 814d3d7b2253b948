//! A client that publishes.

use std::collections::BTreeMap;

use bytes::Bytes;
use media::Unit;
use media::rtp::{Ingest, IngestConfig};
use session::Time;
use session::rtsp::Carry;
use wire::sdp::Description;

use super::egress::Egress;
use super::playing::CNAME;
use crate::hub::Publisher;

#[derive(Debug)]
pub(super) struct Publishing {
    publisher: Publisher,
    description: Description,
    carries: BTreeMap<usize, Carry>,
    ingest: Option<Ingest>,
    ssrc: u32,
    timestamp: u32,
    pub report_at: Option<Time>,
    /// When to end: the last packets may be on their way on another port than the goodbye.
    pub over_at: Option<Time>,
}

impl Publishing {
    /// A publisher of what `description` says, before RECORD.
    pub fn new(publisher: Publisher, description: Description, ssrc: u32) -> Self {
        let (carries, ingest) = (BTreeMap::new(), None);
        Self { publisher, description, carries, ingest, ssrc, timestamp: 0, report_at: None, over_at: None }
    }

    pub fn track_count(&self) -> usize {
        self.description.media.len()
    }

    /// True where the description has such a track and we can read it.
    pub fn carries(&self, place: usize) -> bool {
        let readable = self.description.media.get(place).and_then(media::rtp::Format::of);
        readable.is_some()
    }

    pub fn set_up(&mut self, place: usize, carry: Carry) {
        self.carries.insert(place, carry);
    }

    pub fn is_udp(&self) -> bool {
        self.carries.values().any(|carry| matches!(carry, Carry::Udp { .. }))
    }

    /// Packets come from now on; after a pause they go on where they were.
    pub fn record(&mut self) -> bool {
        if self.ingest.is_none() {
            let config = if self.is_udp() { IngestConfig::udp() } else { IngestConfig::tcp() };
            self.ingest = Ingest::new(&self.description, config);
        }
        self.push();
        self.ingest.is_some()
    }

    /// Takes a packet; true where it is a sign of life.
    pub fn packet(&mut self, now: u64, track: usize, rtcp: bool, payload: Bytes) -> bool {
        let Some(ingest) = &mut self.ingest else { return false };
        let alive = if rtcp { ingest.rtcp(now, track, &payload) } else { ingest.rtp(now, track, payload) };
        self.push();
        alive
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn wake_at(&self) -> Option<u64> {
        self.ingest.as_ref()?.wake_at()
    }

    pub fn tick(&mut self, now: u64) {
        if let Some(ingest) = &mut self.ingest {
            ingest.tick(now);
        }
        self.push();
    }

    /// True where all its tracks have said goodbye.
    pub fn is_over(&self) -> bool {
        self.ingest.as_ref().is_some_and(Ingest::is_over)
    }

    /// Tells the publisher how its packets arrive.
    pub fn report(&mut self, now: u64, egress: &mut Egress) {
        let Some(ingest) = &mut self.ingest else { return };
        for (place, carry) in &self.carries {
            if let Some(report) = ingest.report(now, *place, self.ssrc, CNAME) {
                egress.packet(*carry, true, &[], report);
            }
        }
    }

    /// Hands on what still waits, before the end.
    pub fn finish(&mut self, now: u64) {
        if let Some(ingest) = &mut self.ingest {
            ingest.finish(now);
        }
        self.push();
        self.publisher.flush();
    }

    fn push(&mut self) {
        let Some(ingest) = &mut self.ingest else { return };
        while let Some((_, unit)) = ingest.poll() {
            if let Unit::Frame(frame) = &unit {
                // RTMP's time wraps.
                self.timestamp = u32::try_from(frame.dts_ms() & 0xffff_ffff).unwrap_or(0);
            }
            self.publisher.push(unit, self.timestamp);
        }
        self.publisher.flush_if_due();
    }
}
