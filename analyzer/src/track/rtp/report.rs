//! What senders and receivers report about a track (RFC 3550 §6.4).

use crate::track::Stats;

/// Seconds from 1900, where NTP begins, to 1970.
const NTP_EPOCH: u64 = 2_208_988_800;

/// The latest reports about one track.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reports {
    sender: Option<Sender>,
    first_sender: Option<Sender>,
    receiver: Option<Block>,
    /// Sender reports seen.
    pub senders: u64,
    /// Report blocks of receivers seen.
    pub receivers: u64,
}

/// A sender report: the sender's clock beside the track's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sender {
    /// NTP time: seconds since 1900 and their fraction in 2^-32.
    pub ntp: u64,
    /// The same moment in the track's clock.
    pub timestamp: u32,
    /// Packets sent so far.
    pub packets: u32,
    /// Payload bytes sent so far.
    pub octets: u32,
}

/// A report block: what a receiver has of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// Lost since the report before, in 1/256.
    pub fraction: u8,
    /// Lost so far; negative where packets were repeated.
    pub lost: i32,
    /// In clock ticks.
    pub jitter: u32,
}

impl Reports {
    /// A sender report of the track's source.
    pub fn sender(&mut self, sender: Sender) {
        self.first_sender.get_or_insert(sender);
        self.sender = Some(sender);
        self.senders = self.senders.saturating_add(1);
    }

    /// A report block about the track's source.
    pub fn receiver(&mut self, block: Block) {
        self.receiver = Some(block);
        self.receivers = self.receivers.saturating_add(1);
    }

    /// Tells the track what was claimed about it.
    pub(super) fn tell(&self, stats: &mut Stats, clock: u32) {
        if let Some(Sender { ntp, timestamp, packets, octets }) = self.sender {
            stats.report("sender_report", format!("{packets} packets, {octets} bytes"));
            stats.report("ntp", format!("{} at RTP time {timestamp}", unix(ntp)));
        }
        if let Some(rate) = self.measured_clock() {
            stats.report("clock_by_sender_reports", format!("{rate:.0} Hz"));
        }
        if let Some(Block { fraction, lost, jitter }) = self.receiver {
            stats.report("receiver_lost", format!("{lost} packets"));
            stats.report("receiver_fraction_lost", format!("{fraction}/256 since the report before"));
            if clock > 0 {
                let ms = f64::from(jitter) * 1000.0 / f64::from(clock);
                stats.report("receiver_jitter", format!("{ms:.3} ms"));
            }
        }
    }

    /// Ticks a second by the first and the latest sender report, where they are a second or more apart.
    pub(super) fn measured_clock(&self) -> Option<f64> {
        let (first, last) = (self.first_sender?, self.sender?);
        let seconds = fixed(last.ntp.checked_sub(first.ntp)?);
        let ticks = f64::from(last.timestamp.wrapping_sub(first.timestamp));
        (seconds >= 1.0).then(|| ticks / seconds)
    }
}

/// A 32.32 fixed-point number.
#[allow(clippy::cast_precision_loss)]
fn fixed(n: u64) -> f64 {
    n as f64 / 4_294_967_296.0
}

/// NTP time as seconds since 1970 with microseconds.
fn unix(ntp: u64) -> String {
    let micros = (ntp & 0xffff_ffff).saturating_mul(1_000_000) >> 32;
    match (ntp >> 32).checked_sub(NTP_EPOCH) {
        Some(seconds) => format!("{seconds}.{micros:06} s since 1970"),
        None => format!("{}.{micros:06} s of the sender's own clock", ntp >> 32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::TrackKind;

    #[test]
    fn reports_become_claims() {
        let mut reports = Reports::default();
        let ntp = (NTP_EPOCH + 1_700_000_000) << 32 | 0x8000_0000;
        reports.sender(Sender { ntp, timestamp: 0xffff_ff00, packets: 1, octets: 9 });
        reports.sender(Sender { ntp: ntp + (2 << 32), timestamp: 179_744, packets: 50, octets: 4000 });
        reports.receiver(Block { fraction: 3, lost: 7, jitter: 90 });
        let mut stats = Stats::new(TrackKind::Video);
        reports.tell(&mut stats, 90_000);
        let claim = |name: &str| stats.reported().get(name).cloned().unwrap();
        assert_eq!(claim("sender_report"), "50 packets, 4000 bytes");
        assert_eq!(claim("ntp"), "1700000002.500000 s since 1970 at RTP time 179744");
        assert_eq!(claim("clock_by_sender_reports"), "90000 Hz");
        assert_eq!(claim("receiver_lost"), "7 packets");
        assert_eq!(claim("receiver_fraction_lost"), "3/256 since the report before");
        assert_eq!(claim("receiver_jitter"), "1.000 ms");
        assert_eq!(unix(5 << 32), "5.000000 s of the sender's own clock");
    }
}
