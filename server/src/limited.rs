//! Log lines that a crowd of bad clients cannot turn into a flood.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use session::Time;

/// One line per cause in this time.
const EVERY: Duration = Duration::from_secs(10);

/// Counts what was kept back, by cause.
#[derive(Debug, Default)]
pub struct Limited {
    causes: Mutex<HashMap<&'static str, (Time, u64)>>,
}

impl Limited {
    /// Whether to log now; if so, how many like it were kept back since the last time.
    pub fn admit(&self, cause: &'static str, now: Time) -> Option<u64> {
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        match causes.get_mut(cause) {
            Some((last, kept)) if now.since(*last) < EVERY => {
                *kept = kept.saturating_add(1);
                None
            }
            Some((last, kept)) => {
                *last = now;
                Some(std::mem::take(kept))
            }
            None => {
                causes.insert(cause, (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_cause_in_ten_seconds() {
        let limited = Limited::default();
        let at = Time::from_millis;
        assert_eq!(limited.admit("protocol", at(0)), Some(0));
        assert_eq!(limited.admit("timeout", at(1)), Some(0));
        assert_eq!(limited.admit("protocol", at(9_999)), None);
        assert_eq!(limited.admit("protocol", at(9_999)), None);
        assert_eq!(limited.admit("protocol", at(10_000)), Some(2));
        assert_eq!(limited.admit("protocol", at(10_001)), None);
    }
}
