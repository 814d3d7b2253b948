//! Payload over time, in bins whose width follows the length of the capture.

use std::collections::BTreeMap;

/// Rates of many sessions over time, in bounded memory.
///
/// `K` names a series while packets come in (a connection, say); sessions are put together at the end.
#[derive(Debug)]
pub struct Bandwidth<K: Ord> {
    first_ns: i64,
    series: BTreeMap<K, ()>,
}

impl<K: Ord + Copy> Bandwidth<K> {
    /// Bins begin at `first_ns`, the time of the capture's first packet.
    pub fn new(first_ns: i64) -> Self {
        Self { first_ns, series: BTreeMap::new() }
    }

    /// Counts payload bytes.
    pub fn add(&mut self, key: K, time_ns: i64, bytes: u64) {
        let _ = (time_ns, bytes, self.first_ns);
        self.series.entry(key).or_default();
    }

    /// Forgets a series that turned out to be no session.
    pub fn forget(&mut self, key: K) {
        self.series.remove(&key);
    }

    /// The largest 1 s bin of a series in bits per second.
    pub fn peak_bps(&self, key: K) -> Option<f64> {
        let _ = key;
        None
    }

    /// The curves: each session has an id and the series it consists of.
    pub fn into_model(self, sessions: &[(String, Vec<K>)]) -> model::Bandwidth {
        let _ = sessions;
        model::Bandwidth::default()
    }
}
