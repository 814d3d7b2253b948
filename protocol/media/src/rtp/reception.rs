//! What a receiver reports (RFC 3550 §6.4.1, §A.3, §A.8).

use wire::rtcp::{Block, SenderReport};
use wire::rtp::Header;

/// Counts of one received stream.
#[derive(Clone, Debug, Default)]
pub struct Reception {
    ssrc: u32,
    first: Option<u16>,
    /// Highest number, wraps in the upper half.
    highest: u32,
    received: u64,
    /// Expected and received at the last report.
    reported: (u64, u64),
    transit: Option<i64>,
    /// Jitter in sixteenths of a tick.
    jitter: u64,
    /// Middle bits of the last sender report's NTP time, and when it came.
    last_sr: Option<(u32, u64)>,
}

impl Reception {
    /// Takes a packet that belongs to the stream, on arrival.
    pub fn packet(&mut self, now: u64, header: Header, clock: u32) {
        if self.first.is_none() || self.ssrc != header.ssrc {
            let last_sr = self.last_sr;
            *self = Self { ssrc: header.ssrc, first: Some(header.sequence), last_sr, ..Self::default() };
            self.highest = u32::from(header.sequence);
        }
        let ahead = header.sequence.wrapping_sub((self.highest & 0xffff).try_into().unwrap_or(0));
        if ahead < 0x8000 {
            self.highest = self.highest.wrapping_add(u32::from(ahead));
        }
        self.received = self.received.saturating_add(1);
        let arrival = crate::clock::rescale(i64::try_from(now).unwrap_or(0), 1000, clock);
        let transit = arrival.saturating_sub(i64::from(header.timestamp));
        if let Some(before) = self.transit {
            // Differences wrap with the timestamp.
            let wrapped = (transit.saturating_sub(before) & 0xffff_ffff).cast_unsigned();
            let low = u32::try_from(wrapped).unwrap_or(0).cast_signed();
            let d = u64::from(low.unsigned_abs());
            let decayed = self.jitter.saturating_sub(self.jitter.saturating_add(8) >> 4);
            self.jitter = decayed.saturating_add(d);
        }
        self.transit = Some(transit);
    }

    /// Takes a sender report of the stream.
    pub fn report(&mut self, now: u64, report: &SenderReport) {
        let middle = u32::try_from(report.ntp >> 16 & 0xffff_ffff).unwrap_or(0);
        self.last_sr = Some((middle, now));
    }

    /// Packets expected so far.
    pub fn expected(&self) -> u64 {
        let first = u64::from(self.first.unwrap_or(0));
        if self.first.is_none() { 0 } else { u64::from(self.highest).saturating_sub(first).saturating_add(1) }
    }

    /// Packets that came.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The report block, for which the interval since the last one counts; none before the first packet.
    pub fn block(&mut self, now: u64) -> Option<Block> {
        self.first?;
        let (expected, received) = (self.expected(), self.received);
        let (expected_before, received_before) = std::mem::replace(&mut self.reported, (expected, received));
        let interval = expected.saturating_sub(expected_before);
        let lost_now = interval.saturating_sub(received.saturating_sub(received_before));
        let fraction = lost_now.saturating_mul(256).checked_div(interval).unwrap_or(0).min(255);
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let lost = signed(expected).saturating_sub(signed(received)).clamp(-0x80_0000, 0x7f_ffff);
        let (last_sr, delay) = match self.last_sr {
            // Units of 1/65536 s.
            Some((middle, at)) => (middle, now.saturating_sub(at).saturating_mul(65_536) / 1000),
            None => (0, 0),
        };
        Some(Block {
            source: self.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(255),
            lost: i32::try_from(lost).unwrap_or(0),
            highest: self.highest,
            jitter: u32::try_from(self.jitter >> 4).unwrap_or(u32::MAX),
            last_sr,
            delay: u32::try_from(delay).unwrap_or(u32::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_wraps_and_jitter_are_counted_as_the_rfc_does() {
        let mut r = Reception::default();
        assert_eq!(r.block(0), None);
        for n in 0..20u16 {
            if n == 5 {
                continue;
            }
            // 20 ms apart, every second packet 5 ms late: 40 ticks of 8 kHz.
            let late = if n % 2 == 1 { 5 } else { 0 };
            let header = Header {
                sequence: n.wrapping_sub(3),
                timestamp: u32::from(n).wrapping_mul(160).wrapping_sub(300),
                ssrc: 7,
                ..Header::default()
            };
            r.packet(1000 + u64::from(n) * 20 + late, header, 8000);
        }
        r.report(2000, &SenderReport { ntp: 0x1122_3344_5566_7788, ..SenderReport::default() });
        let block = r.block(3000).unwrap();
        assert_eq!((block.source, block.lost, block.highest), (7, 1, 0x1_0010));
        assert_eq!(block.fraction_lost, 12);
        assert_eq!((block.last_sr, block.delay), (0x3344_5566, 65_536));
        assert!((20..40).contains(&block.jitter), "{}", block.jitter);
        assert_eq!(r.block(3000).unwrap().fraction_lost, 0);
    }
}
