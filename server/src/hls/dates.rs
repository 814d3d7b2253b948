//! When segments were live (EXT-X-PROGRAM-DATE-TIME, RFC 8216 §4.3.2.6).
//!
//! Frames are only ever late: the first segment's date is the latest at which none of its frames comes from the future, and
//! from there dates go on by the media's own time. Where that has left the clock behind for good they are set anew,
//! at a discontinuity.

use time::OffsetDateTime;

/// Microseconds before a frame arrives at which it was live at the latest: others may come a little sooner.
const SOONER: i64 = 100_000;
/// Microseconds a date is put back at most where it would lie in the future.
const STEP: i64 = 5_000;
/// Microseconds the media's time may be from the clock.
const DRIFT: i64 = 2_000_000;
/// And where there is a discontinuity anyway.
const AT_CHANGE: u64 = 500_000;
/// Segments in a row after which it is not taken for a network that stutters.
const PATIENCE: u32 = 5;

/// Dates of one publisher's segments, in microseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Dates {
    /// The time of day, as frames bring it.
    now: i64,
    /// Where the open segment begins.
    date: Option<i64>,
    /// It begins at a discontinuity, or is the first.
    anew: bool,
    /// It may: the tracks changed.
    renewed: bool,
    /// When the segment before was cut, and how many in a row were far from the clock.
    before: Option<i64>,
    astray: u32,
}

impl Dates {
    /// What time of day it is from now on.
    pub fn at(&mut self, now: OffsetDateTime) {
        self.now = i64::try_from(now.unix_timestamp_nanos().div_euclid(1000)).unwrap_or(i64::MAX);
    }

    /// A segment begins; `jumped`: the media's time does not go on from the segment before.
    pub fn begin(&mut self, jumped: bool) {
        let renewed = std::mem::take(&mut self.renewed);
        let far = self.date.is_none_or(|date| self.now.abs_diff(date) > AT_CHANGE);
        if jumped || (renewed && far) || self.date.is_none() {
            (self.date, self.anew) = (Some(self.now), true);
        }
    }

    /// The next segment begins with other tracks.
    pub fn renew(&mut self) {
        self.renewed = true;
    }

    /// A segment of so many microseconds ends. Returns when it began, and whether that does not follow from the date of the
    /// segment before.
    pub fn end(&mut self, micros: u64) -> (OffsetDateTime, bool) {
        let lasts = i64::try_from(micros).unwrap_or(i64::MAX);
        let latest = self.now.saturating_sub(lasts).saturating_sub(SOONER);
        let mut date = self.date.unwrap_or(latest);
        let ahead = date.saturating_sub(latest);
        // What is sent much faster or slower than it plays says nothing of the clock.
        let passed = self.before.map_or(lasts, |before| self.now.saturating_sub(before));
        let lives = (lasts.div_euclid(2)..=lasts.saturating_mul(2)).contains(&passed);
        self.astray = if lives && ahead.saturating_abs() > DRIFT { self.astray.saturating_add(1) } else { 0 };
        let lost = self.astray >= PATIENCE;
        if std::mem::take(&mut self.anew) || lost {
            date = if lost { latest } else { date.min(latest) };
            self.astray = 0;
        } else if lives && ahead > SOONER {
            date = date.saturating_sub(ahead.saturating_sub(SOONER).min(STEP));
        }
        self.date = Some(date.saturating_add(lasts));
        self.before = Some(self.now);
        let whole = i128::from(date.div_euclid(1000)).saturating_mul(1_000_000);
        (OffsetDateTime::from_unix_timestamp_nanos(whole).unwrap_or(OffsetDateTime::UNIX_EPOCH), lost)
    }
}
