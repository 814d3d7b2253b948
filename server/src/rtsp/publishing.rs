//! A client that publishes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use media::Unit;
use media::rtp::{Ingest, IngestConfig};
use session::Time;
use session::rtsp::Carry;

use super::egress::Egress;
use super::playing::CNAME;
use crate::hub::Publisher;
use crate::registry::Reception;
use crate::signal::Signal;

#[derive(Debug)]
pub(super) struct Publishing {
    publisher: Publisher,
    carries: BTreeMap<usize, Carry>,
    ingest: Ingest,
    records: bool,
    ssrc: u32,
    timestamp: u32,
    pub report_at: Option<Time>,
    /// When to end: the last packets may be on their way on another port than the goodbye.
    pub over_at: Option<Time>,
}

impl Publishing {
    /// A publisher of what `ingest` can read, before RECORD.
    pub fn new(publisher: Publisher, ingest: Ingest, ssrc: u32) -> Self {
        let (carries, records) = (BTreeMap::new(), false);
        publisher.expect(ingest.kinds().collect());
        Self { publisher, carries, ingest, records, ssrc, timestamp: 0, report_at: None, over_at: None }
    }

    pub fn track_count(&self) -> usize {
        self.ingest.sections()
    }

    /// True where the description has such a track and we can read it.
    pub fn carries(&self, place: usize) -> bool {
        self.ingest.carries(place)
    }

    pub fn set_up(&mut self, place: usize, carry: Carry) {
        self.carries.insert(place, carry);
    }

    pub fn is_udp(&self) -> bool {
        self.carries.values().any(|carry| matches!(carry, Carry::Udp { .. }))
    }

    /// Packets come from now on; after a pause they go on where they were. False where no track that was set up can be read.
    pub fn record(&mut self) -> bool {
        if !self.carries.keys().any(|place| self.ingest.carries(*place)) {
            return false;
        }
        if !std::mem::replace(&mut self.records, true) {
            self.ingest.keep(|place| self.carries.contains_key(&place));
            self.publisher.expect(self.ingest.kinds().collect());
            if self.is_udp() {
                self.ingest.rebound(IngestConfig::udp());
            }
        }
        self.push();
        true
    }

    /// Memory held of frames that nobody can have yet, and since when.
    pub fn open(&self) -> (usize, Option<Time>) {
        (self.ingest.open_bytes(), self.ingest.open_since().map(Time::from_millis))
    }

    /// Hands on what waits to be lined up; false where nothing does.
    pub fn hurry(&mut self, now: u64) -> bool {
        let did = self.ingest.hurry(now);
        self.push();
        did
    }

    /// Takes a packet; true where it is a sign of life.
    pub fn packet(&mut self, now: u64, track: usize, rtcp: bool, payload: Bytes) -> bool {
        if !self.records {
            return false;
        }
        let ingest = &mut self.ingest;
        let alive = if rtcp { ingest.rtcp(now, track, &payload) } else { ingest.rtp(now, track, payload) };
        self.push();
        alive
    }

    /// False where one over TCP has to wait for those who keep all of it; datagrams wait for nobody.
    pub fn may_go_on(&self, signal: &Arc<Signal>) -> bool {
        self.is_udp() || self.publisher.may_go_on(signal)
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn wake_at(&self) -> Option<u64> {
        self.ingest.wake_at()
    }

    pub fn tick(&mut self, now: u64) {
        self.ingest.tick(now);
        self.push();
    }

    /// True where all its tracks have said goodbye.
    pub fn is_over(&self) -> bool {
        self.records && self.ingest.is_over()
    }

    /// It ends the stream of its own will.
    pub fn say_goodbye(&mut self) {
        self.publisher.say_goodbye();
    }

    /// Tells the publisher how its packets arrive; returns the same.
    pub fn report(&mut self, now: u64, egress: &mut Egress) -> Vec<Reception> {
        for (place, carry) in &self.carries {
            if let Some(report) = self.ingest.report(now, *place, self.ssrc, CNAME) {
                egress.rtcp(*carry, report);
            }
        }
        let heard = self.carries.keys().filter_map(|place| self.ingest.heard(*place));
        heard.map(|(kind, heard, expected)| Reception { kind, heard, expected: Some(expected) }).collect()
    }

    /// Hands on what still waits, before the end.
    pub fn finish(&mut self, now: u64) {
        if self.records {
            self.ingest.finish(now);
            self.push();
        }
        self.publisher.flush();
    }

    fn push(&mut self) {
        while let Some((_, unit)) = self.ingest.poll() {
            if let Unit::Frame(frame) = &unit {
                // RTMP's time wraps.
                self.timestamp = u32::try_from(frame.dts_ms() & 0xffff_ffff).unwrap_or(0);
            }
            self.publisher.push(unit, self.timestamp);
        }
        self.publisher.flush_if_due();
    }
}
