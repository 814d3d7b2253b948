//! The one clock of a running server.

use std::time::{Duration, Instant, SystemTime};

use session::Time;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Monotonic time since the server began, and the wall time of that beginning.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    wall: SystemTime,
}

impl Clock {
    /// A clock whose epoch is now.
    pub fn start() -> Self {
        Self { began: Instant::now(), wall: SystemTime::now() }
    }

    /// Milliseconds since the epoch, for sessions and the hub.
    pub fn now(&self) -> Time {
        Time::default().after(self.began.elapsed())
    }

    /// The same time as an instant.
    pub fn instant(&self, time: Time) -> Instant {
        self.began.checked_add(Duration::from_millis(time.as_millis())).unwrap_or(self.began)
    }

    /// Nanoseconds since 1970, never running backwards.
    pub fn wall_nanos(&self) -> u64 {
        let since = self.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let nanos = since.saturating_add(self.began.elapsed()).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// The wall time of a time.
    pub fn wall(&self, time: Time) -> SystemTime {
        self.wall.checked_add(Duration::from_millis(time.as_millis())).unwrap_or(self.wall)
    }

    /// A time as RFC 3339 in UTC, to the millisecond.
    pub fn rfc3339(&self, time: Time) -> String {
        let stamp = OffsetDateTime::from(self.wall(time));
        let whole = stamp.replace_nanosecond(u32::from(stamp.millisecond()).saturating_mul(1_000_000));
        whole.unwrap_or(stamp).format(&Rfc3339).unwrap_or_default()
    }
}
