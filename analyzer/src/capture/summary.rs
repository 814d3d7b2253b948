//! What a reader counts on its way.

use wire::net::LinkType;

use super::{Found, Packet, Record};

#[derive(Clone, Debug, Default)]
pub(super) struct Summary {
    frames: u64,
    packets: u64,
    bytes: u64,
    truncated: u64,
    earliest_ns: Option<i64>,
    latest_ns: Option<i64>,
    previous_ns: i64,
    pub(super) start_ns: Option<i64>,
    pub(super) skipped: u64,
}

impl Summary {
    /// Counts a packet and gives it its number.
    pub(super) fn packet<'a>(&mut self, data: &'a [u8], found: &Found, record: Record<'a>) -> Packet<'a> {
        let Found { time_ns, link, interface, orig_len, .. } = *found;
        self.frames = self.frames.saturating_add(1);
        self.packets = self.packets.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::from(orig_len));
        if u32::try_from(data.len()).unwrap_or(u32::MAX) < orig_len {
            self.truncated = self.truncated.saturating_add(1);
        }
        if let Some(time) = time_ns {
            self.earliest_ns = Some(self.earliest_ns.map_or(time, |t| t.min(time)));
            self.latest_ns = Some(self.latest_ns.map_or(time, |t| t.max(time)));
            self.start_ns = self.start_ns.or(time_ns);
            self.previous_ns = time;
        }
        Packet {
            number: self.frames,
            time_ns: self.previous_ns,
            link,
            data,
            orig_len,
            interface,
            record: Some(record),
        }
    }

    /// The time of a packet that was stored without one.
    pub(super) fn previous_ns(&self) -> i64 {
        self.previous_ns
    }

    /// Counts what is no packet.
    pub(super) fn skip(&mut self, frame: bool) {
        self.frames = self.frames.saturating_add(u64::from(frame));
    }

    pub(super) fn to_model(
        &self,
        file: &str,
        format: &str,
        link: Option<LinkType>,
        synthetic: bool,
    ) -> model::Capture {
        let span = match (self.earliest_ns, self.latest_ns) {
            (Some(first), Some(last)) => last.saturating_sub(first),
            _ => 0,
        };
        model::Capture {
            file: file.to_owned(),
            format: format.to_owned(),
            link_type: link.map(|l| l.to_string()).unwrap_or_default(),
            packets: self.packets,
            bytes: self.bytes,
            first_time: self.earliest_ns.map(seconds),
            last_time: self.latest_ns.map(seconds),
            duration_s: seconds(span),
            truncated_packets: self.truncated,
            synthetic,
        }
    }
}

/// Nanoseconds as seconds; whole and broken part apart, so that times of day keep their microseconds.
fn seconds(ns: i64) -> f64 {
    ns.div_euclid(1_000_000_000) as f64 + ns.rem_euclid(1_000_000_000) as f64 / 1e9
}
