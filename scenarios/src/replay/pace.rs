//! When what was captured is due.

use std::time::Duration;

use tokio::time::Instant;

/// Captured times as times of this run. Where an answer took longer than then, all that follows is as much later.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    anchor: Option<(i64, Instant)>,
    latest_ns: i64,
}

impl Pace {
    /// When something is due that was captured at `time_ns`; the first is due at once. Never earlier than what came before it.
    pub(super) fn due(&mut self, now: Instant, time_ns: i64) -> Instant {
        let (from_ns, from) = *self.anchor.get_or_insert((time_ns, now));
        self.latest_ns = self.latest_ns.max(time_ns).max(from_ns);
        let since = u64::try_from(self.latest_ns.saturating_sub(from_ns)).unwrap_or(0);
        from.checked_add(Duration::from_nanos(since)).unwrap_or(from)
    }

    /// What was captured at `time_ns` had to wait for an answer: it is due now, where it was due before.
    pub(super) fn waited(&mut self, now: Instant, time_ns: i64) {
        if self.due(now, time_ns) < now {
            self.anchor = Some((self.latest_ns, now));
        }
    }
}
