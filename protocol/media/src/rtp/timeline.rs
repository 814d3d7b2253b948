//! One timeline for all tracks of a publisher, whose RTP timestamps begin anywhere.

use wire::rtcp::SenderReport;

use crate::clock::{Unwrap32, rescale};

/// A step of the timestamps that differs from the time that passed by so many milliseconds is no step of the media: the
/// sender's clock was set. Time goes on as it passed.
const JUMP: i64 = 10_000;

/// Where one track stands.
#[derive(Debug)]
pub(super) struct TrackClock {
    clock: u32,
    unwrap: Unwrap32,
    adjust: i64,
    /// Arrival and place of the last frame.
    last: Option<(u64, i64)>,
    /// Arrival, raw timestamp and place of the first frame.
    first: Option<(u64, u32, i64)>,
    report: Option<(u64, u32)>,
    /// What makes a place a time of the common timeline, once decided.
    offset: Option<i64>,
    jumps: u64,
}

impl TrackClock {
    pub fn new(clock: u32) -> Self {
        let (unwrap, adjust) = (Unwrap32::default(), 0);
        Self { clock, unwrap, adjust, last: None, first: None, report: None, offset: None, jumps: 0 }
    }

    pub fn jumps(&self) -> u64 {
        self.jumps
    }

    /// The place of a frame's timestamp: ticks that do not wrap and do not jump.
    pub fn place(&mut self, now: u64, raw: u32) -> i64 {
        let unrolled = self.unwrap.next(raw);
        let mut place = unrolled.saturating_add(self.adjust);
        if let Some((then, before)) = self.last {
            let passed = i64::try_from(now.saturating_sub(then)).unwrap_or(i64::MAX);
            let stepped = rescale(place.saturating_sub(before), self.clock, 1000);
            if stepped.saturating_sub(passed).saturating_abs() > JUMP {
                // At least one tick on, so that two frames never fall together.
                let on = rescale(passed, 1000, self.clock).max(1);
                let wanted = before.saturating_add(on);
                self.adjust = self.adjust.saturating_add(wanted.saturating_sub(place));
                self.jumps = self.jumps.saturating_add(1);
                place = wanted;
            }
        }
        self.last = Some((now, place));
        self.first.get_or_insert((now, raw, place));
        place
    }

    /// Takes the first sender report.
    pub fn report(&mut self, report: &SenderReport) {
        if report.ntp != 0 {
            self.report.get_or_insert((report.ntp, report.rtp));
        }
    }

    /// Wall clock of the first frame in microseconds, as the sender tells.
    fn first_wall(&self) -> Option<i64> {
        let ((ntp, rtp), (_, raw, _)) = self.report.zip(self.first)?;
        let behind = i64::from(raw.wrapping_sub(rtp).cast_signed());
        let us = i64::try_from((u128::from(ntp).saturating_mul(1_000_000)) >> 32).unwrap_or(i64::MAX);
        Some(us.saturating_add(rescale(behind, self.clock, 1_000_000)))
    }

    fn first_arrival(&self) -> Option<i64> {
        self.first.map(|(at, ..)| i64::try_from(at).unwrap_or(i64::MAX).saturating_mul(1000))
    }

    pub fn is_told(&self) -> bool {
        self.report.is_some() && self.first.is_some()
    }

    pub fn has_begun(&self) -> bool {
        self.first.is_some()
    }

    /// The time of a place on the common timeline.
    pub fn time(&self, place: i64) -> i64 {
        place.saturating_add(self.offset.unwrap_or(0))
    }

    pub fn is_set(&self) -> bool {
        self.offset.is_some()
    }

    fn set(&mut self, start_us: i64) {
        if let Some((_, _, place)) = self.first {
            self.offset = Some(rescale(start_us, 1_000_000, self.clock).saturating_sub(place));
        }
    }
}

/// What the timeline was built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Sender reports: exact. Wall clock of time 0.
    Reports(i64),
    /// Arrival of the first packets. That of time 0.
    Arrival(i64),
}

/// Puts the tracks that have begun on one timeline, whose first frame is at `lead` microseconds.
pub(super) fn align(tracks: &mut [&mut TrackClock], lead: i64) -> Option<Origin> {
    let walls: Vec<Option<i64>> = tracks.iter().filter(|t| t.has_begun()).map(|t| t.first_wall()).collect();
    let by_report = walls.iter().all(Option::is_some);
    let first = if by_report {
        walls.into_iter().flatten().min()?
    } else {
        tracks.iter().filter_map(|t| t.first_arrival()).min()?
    };
    let zero = first.saturating_sub(lead);
    let origin = if by_report { Origin::Reports(zero) } else { Origin::Arrival(zero) };
    tracks.iter_mut().for_each(|track| join(track, origin, first));
    Some(origin)
}

/// Puts a track on a timeline that stands; `arrival` is that of its time 0, for a track that tells no wall clock.
pub(super) fn join(track: &mut TrackClock, origin: Origin, arrival: i64) {
    let start = match origin {
        Origin::Reports(zero) => match track.first_wall() {
            Some(wall) => Some(wall.saturating_sub(zero)),
            None => track.first_arrival().map(|at| at.saturating_sub(arrival)),
        },
        Origin::Arrival(zero) => track.first_arrival().map(|at| at.saturating_sub(zero)),
    };
    if let Some(start) = start {
        track.set(start);
    }
}
