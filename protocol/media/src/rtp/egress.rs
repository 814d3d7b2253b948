//! From frames to packets: payloads that viewers share, headers and reports of each.

use std::time::Duration;

use bytes::Bytes;
use wire::rtcp::{self, Block, Packet, SenderReport};
use wire::rtp::{HEADER, Header};

use super::format::{frame_step, payload_type, rtp_clock};
use super::piece::Piece;
use super::{aac, h264};
use crate::clock::rescale;
use crate::frame::{Codec, Frame, Track};

/// Largest payload of a packet in bytes: with headers of IPv6 and UDP it stays below 1500, with room for a tunnel.
pub const MAX_PAYLOAD: usize = 1400;
/// Seconds from 1900, where NTP begins, to 1970.
const NTP_EPOCH: u64 = 2_208_988_800;

/// Cuts a frame into payloads of at most `max` bytes; nothing where RTP cannot carry its codec. Parameter sets go before a key
/// frame.
pub fn packetize(frame: &Frame, max: usize) -> Vec<Piece> {
    match frame.track.codec {
        Codec::H264 => h264::packetize(frame, max),
        Codec::Aac => aac::packetize(&frame.payload, max),
        _ => Vec::new(),
    }
}

/// How old the first frame is said to be.
const AGE: Duration = Duration::from_millis(500);

/// An instant on the wall clock and on the media timeline: what all tracks of a session share, so that their sender reports
/// line up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    wall: Duration,
    media_us: i64,
}

impl Anchor {
    /// `wall` since 1970 is the instant of `pts` ticks of `clock`.
    pub fn new(wall: Duration, pts: i64, clock: u32) -> Self {
        Self { wall, media_us: rescale(pts, clock, 1_000_000) }
    }

    /// The same for the first frame of all that leaves at `wall`, which is said to be half a second old. A report older than its
    /// track's first packet is thrown away by GStreamer, which then knows nothing of the track's place until the next one; a
    /// track may begin that much later than the other, and a report up to a second ahead of the packets counts.
    pub fn first(wall: Duration, pts: i64, clock: u32) -> Self {
        Self::new(wall.saturating_sub(AGE), pts, clock)
    }

    /// Media time at an instant, in microseconds.
    fn media_us(&self, wall: Duration) -> i64 {
        let us = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        self.media_us.saturating_add(us(wall).saturating_sub(us(self.wall)))
    }
}

/// What a receiver report says of a track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// Share of the packets lost since the report before, 0 to 1.
    pub fraction_lost: f64,
    /// Packets lost in all; below 0 where some came twice.
    pub lost: i32,
    /// Interarrival jitter in milliseconds.
    pub jitter_ms: f64,
    /// From our last sender report to this one, without the time it lay at the receiver, in milliseconds.
    pub round_trip_ms: Option<f64>,
}

impl Heard {
    /// What a report block says of a track of so many ticks a second, besides the way there and back.
    pub(super) fn of(block: &Block, clock: u32) -> Self {
        Self {
            fraction_lost: f64::from(block.fraction_lost) / 256.0,
            lost: block.lost,
            jitter_ms: f64::from(block.jitter) * 1000.0 / f64::from(clock.max(1)),
            round_trip_ms: None,
        }
    }
}

/// One viewer's (or publisher's) side of a track: numbers, timestamps and counts.
#[derive(Clone, Debug)]
pub struct Sender {
    payload_type: u8,
    ssrc: u32,
    sequence: u16,
    offset: u32,
    clock: u32,
    /// Ticks from one audio frame to the next, and the timestamp that follows from the last one.
    step: Option<u32>,
    expected: Option<i64>,
    packets: u32,
    octets: u32,
}

impl Sender {
    /// A sender of the track at `place` of a description; SSRC, first number and timestamp offset grow from `seed`, which
    /// nobody should be able to guess. None where RTP cannot carry the codec.
    pub fn new(track: &Track, place: usize, seed: u64) -> Option<Self> {
        let clock = rtp_clock(track)?;
        let a = mix(seed);
        let b = mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let low = |n: u64| u32::try_from(n & 0xffff_ffff).unwrap_or(0);
        Some(Self {
            payload_type: payload_type(place),
            ssrc: low(a).max(1),
            sequence: u16::try_from(a >> 48).unwrap_or(0),
            offset: low(b),
            clock,
            step: frame_step(track),
            expected: None,
            packets: 0,
            octets: 0,
        })
    }

    /// The SSRC.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The number of the next packet, for RTP-Info.
    pub fn next_sequence(&self) -> u16 {
        self.sequence
    }

    /// Packets and payload bytes sent, modulo 2^32.
    pub fn sent(&self) -> (u32, u32) {
        (self.packets, self.octets)
    }

    /// The RTP timestamp of an instant of the media timeline, `time` ticks of `clock`; for RTP-Info (RFC 2326 §12.33).
    pub fn timestamp_at(&self, time: i64, clock: u32) -> u32 {
        self.wrap(rescale(time, clock, self.clock))
    }

    /// The RTP timestamp of the next frame, for all its packets. Audio frames that came with times in milliseconds are put
    /// back to even steps.
    pub fn timestamp(&mut self, frame: &Frame) -> u32 {
        let ticks = self.ticks(frame);
        self.expected = self.step.map(|step| ticks.saturating_add(i64::from(step)));
        self.wrap(ticks)
    }

    fn ticks(&self, frame: &Frame) -> i64 {
        let ticks = rescale(frame.pts, frame.track.clock, self.clock);
        // Times of another clock are off by less than one of its ticks, both here and where the steps began.
        let slack = rescale(2, frame.track.clock, self.clock).max(1);
        match self.expected {
            Some(expected)
                if frame.track.clock != self.clock && ticks.abs_diff(expected) <= slack.unsigned_abs() =>
            {
                expected
            }
            _ => ticks,
        }
    }

    fn wrap(&self, ticks: i64) -> u32 {
        u32::try_from(ticks.cast_unsigned() & 0xffff_ffff).unwrap_or(0).wrapping_add(self.offset)
    }

    /// The header of the next packet, which goes before `piece`'s payload.
    pub fn header(&mut self, timestamp: u32, piece: &Piece) -> [u8; HEADER] {
        let header = Header {
            marker: piece.marker,
            payload_type: self.payload_type,
            sequence: self.sequence,
            timestamp,
            ssrc: self.ssrc,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(u32::try_from(piece.payload.len()).unwrap_or(0));
        header.encode()
    }

    /// A sender report with CNAME, for the instant `wall` since 1970.
    pub fn report(&self, anchor: &Anchor, wall: Duration, cname: &str) -> Bytes {
        let rtp = self.wrap(rescale(anchor.media_us(wall), 1_000_000, self.clock));
        let report = Packet::SenderReport(SenderReport {
            ssrc: self.ssrc,
            ntp: ntp(wall),
            rtp,
            packets: self.packets,
            octets: self.octets,
            blocks: Vec::new(),
        });
        rtcp::encode_all(&[report, Packet::cname(self.ssrc, cname)]).into()
    }

    /// Reads a report block that came in at `wall` since 1970; none where it is about somebody else (RFC 3550 §6.4.1).
    pub fn heard(&self, block: &Block, wall: Duration) -> Option<Heard> {
        if block.source != self.ssrc {
            return None;
        }
        let now = u32::try_from(ntp(wall) >> 16 & 0xffff_ffff).unwrap_or(0);
        let round = now.wrapping_sub(block.last_sr).wrapping_sub(block.delay);
        // Without a report of ours, or with a clock that went back, there is none.
        let known = block.last_sr != 0 && round < 1 << 31;
        let round_trip_ms = known.then(|| f64::from(round) * 1000.0 / 65_536.0);
        Some(Heard { round_trip_ms, ..Heard::of(block, self.clock) })
    }

    /// The last words: a report, CNAME and BYE.
    pub fn bye(&self, anchor: &Anchor, wall: Duration, cname: &str) -> Bytes {
        let mut out = self.report(anchor, wall, cname).to_vec();
        Packet::Bye { sources: vec![self.ssrc], reason: None }.encode(&mut out);
        out.into()
    }
}

/// Seconds since 1900 in 32.32 fixed point.
fn ntp(wall: Duration) -> u64 {
    let seconds = wall.as_secs().wrapping_add(NTP_EPOCH) & 0xffff_ffff;
    let fraction = (u64::from(wall.subsec_nanos()) << 32) / 1_000_000_000;
    seconds << 32 | fraction
}

fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use std::sync::Arc;

    use super::super::format::track;
    use super::*;

    fn audio(track: &Arc<Track>, pts: i64) -> Frame {
        Frame { track: track.clone(), dts: pts, pts, key: true, payload: Bytes::from_static(&[1, 2, 3]) }
    }

    #[test]
    fn millisecond_times_come_back_to_even_steps_and_follow_real_gaps() {
        let track = track(Codec::Aac, Bytes::from_static(&[0x12, 0x10]), 1000);
        let mut sender = Sender::new(&track, 1, 7).unwrap();
        // 44100 Hz: 23.22 ms a frame, rounded down.
        let times = (0..400i64).map(|n| n * 1024 * 1000 / 44_100);
        let stamps: Vec<u32> = times.map(|t| sender.timestamp(&audio(&track, t))).collect();
        assert!(stamps.windows(2).all(|w| w[1].wrapping_sub(w[0]) == 1024));
        let after_gap = sender.timestamp(&audio(&track, 20_000));
        assert_eq!(after_gap.wrapping_sub(stamps[0]), 882_000);
    }

    #[test]
    fn reports_of_two_tracks_line_up_and_count() {
        let (a, v) = (track(Codec::Aac, Bytes::from_static(&[0x11, 0x90]), 48_000), 90_000);
        let mut sender = Sender::new(&a, 0, 1).unwrap();
        let frame = audio(&a, 96_000);
        let timestamp = sender.timestamp(&frame);
        let piece = &packetize(&frame, MAX_PAYLOAD)[0];
        let header = sender.header(timestamp, piece);
        assert_eq!(header[1], 0x80 | 96);
        let anchor = Anchor::new(Duration::from_secs(1_000_000), 2 * v, 90_000);
        let (packets, error) = rtcp::parse(&sender.bye(&anchor, Duration::from_millis(1_000_000_500), "a@b"));
        let Packet::SenderReport(report) = &packets[0] else { panic!() };
        assert_eq!((error, report.packets, report.octets), (None, 1, 7));
        assert_eq!(report.rtp.wrapping_sub(timestamp), 24_000);
        assert_eq!(report.ntp, (1_000_000 + NTP_EPOCH) << 32 | 0x8000_0000);
        assert!(matches!(packets[2], Packet::Bye { .. }));
    }

    #[test]
    fn a_receivers_report_tells_loss_jitter_and_the_way_there_and_back() {
        let audio = track(Codec::Aac, Bytes::from_static(&[0x11, 0x90]), 48_000);
        let sender = Sender::new(&audio, 0, 1).unwrap();
        let sent = Duration::from_secs(1_000_000);
        let middle = u32::try_from(ntp(sent) >> 16 & 0xffff_ffff).unwrap();
        let block = Block {
            source: sender.ssrc(),
            fraction_lost: 64,
            lost: 5,
            jitter: 480,
            last_sr: middle,
            delay: 3 << 16,
            ..Block::default()
        };
        let wall = sent + Duration::from_millis(3250);
        let heard = sender.heard(&block, wall).unwrap();
        assert_eq!((heard.fraction_lost, heard.lost, heard.jitter_ms), (0.25, 5, 10.0));
        assert_eq!(heard.round_trip_ms, Some(250.0));
        let other = |block: Block| sender.heard(&block, wall);
        assert_eq!(other(Block { source: 1, ..block }), None);
        assert_eq!(other(Block { last_sr: 0, ..block }).unwrap().round_trip_ms, None);
        assert_eq!(other(Block { delay: 4 << 16, ..block }).unwrap().round_trip_ms, None);
    }
}
