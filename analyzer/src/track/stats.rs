//! What is counted of one track, whatever protocol carries it.

use std::collections::BTreeMap;

use model::{Gop, Track, TrackKind};

use super::codec::Hidden;
use crate::trace::Mark;

/// A step between frames that is longer than this, in milliseconds, is a jump of the clock, not a frame's length.
const JUMP_MS: i64 = 10_000;
/// Where another resource begins, a step that is longer by this than two usual ones, in milliseconds, is a gap.
const SEAM_MS: i64 = 500;
/// Claims kept for a track.
const MAX_CLAIMS: usize = 64;
/// Longest claim kept, in bytes.
const MAX_CLAIM: usize = 256;

/// Earlier configurations of a track that are told.
const MAX_EARLIER: usize = 8;
/// Longest configuration record or parameter set that is known again.
const MAX_RECORD: usize = 4096;

/// What the bitstream itself says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CodecInfo {
    /// Contract name: `h264`, `aac`, …
    pub codec: Option<String>,
    /// Profile by name.
    pub profile: Option<String>,
    /// Level as text.
    pub level: Option<String>,
    /// Width in luma samples, cropping applied.
    pub width: Option<u32>,
    /// Height in luma samples, cropping applied.
    pub height: Option<u32>,
    /// Samples per second of the decoded sound.
    pub sample_rate: Option<u32>,
    /// Channels of the decoded sound.
    pub channels: Option<u8>,
    /// Pictures per second that the bitstream promises.
    pub nominal_rate: Option<f64>,
}

/// Running figures of one track. Its size does not depend on the length of the stream.
#[derive(Clone, Debug)]
pub struct Stats {
    kind: TrackKind,
    /// What the bitstream says; the last configuration seen.
    pub info: CodecInfo,
    /// The latest configuration record and the latest parameter set among the frames.
    records: [Vec<u8>; 2],
    /// What the configuration was before, and the frames that were counted by then.
    earlier: Vec<String>,
    settled: u64,
    declared: BTreeMap<String, String>,
    reported: BTreeMap<String, String>,
    /// Pictures or audio frames.
    pub frames: u64,
    /// Pictures a decoder can start at.
    pub key_frames: u64,
    /// Messages that only end the sequence.
    ends: u64,
    /// Payload bytes of all packets of the track.
    pub bytes: u64,
    clock: Clock,
    gop: GopCounter,
    /// Frames a second, where something better than the steps between frames tells them.
    rate: Option<f64>,
    /// Where the transport numbers packets.
    network: Option<Network>,
    /// Sound that the configuration is silent about.
    pub(super) hidden: Hidden,
    /// Every frame, where that is asked for.
    marks: Option<Vec<Mark>>,
    /// When the next frame was there.
    arrived_ns: i64,
    /// Frames without a time, and when the first and the last of them were there.
    untimed: (u64, i64, i64),
}

/// What became of a track's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Network {
    /// Different packets.
    pub packets: u64,
    /// Numbers that never came.
    pub lost: u64,
    /// Packets that came after a higher number.
    pub reordered: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Interarrival jitter at the end, in milliseconds.
    pub jitter_ms: Option<f64>,
}

/// The timeline in unwrapped milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    raw: Option<u32>,
    dts: i64,
    first_dts: i64,
    last_dts: i64,
    first_pts: i64,
    last_pts: i64,
    steps: u64,
    stepped_ms: i64,
    broken: bool,
    /// The next frame begins another resource.
    seam: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct GopCounter {
    /// Frames since the last key frame, that one included; none before the first or behind a loss.
    open: Option<(u64, i64)>,
    count: u64,
    /// A frame of the open one has no time.
    untimed: bool,
    frames: u64,
    min: u64,
    max: u64,
    timed: u64,
    ms: i64,
}

impl Stats {
    /// A track without frames.
    pub fn new(kind: TrackKind) -> Self {
        Self {
            kind,
            info: CodecInfo::default(),
            records: [Vec::new(), Vec::new()],
            earlier: Vec::new(),
            settled: 0,
            declared: BTreeMap::new(),
            reported: BTreeMap::new(),
            frames: 0,
            key_frames: 0,
            ends: 0,
            bytes: 0,
            clock: Clock::default(),
            gop: GopCounter::default(),
            rate: None,
            network: None,
            hidden: Hidden::default(),
            marks: None,
            arrived_ns: 0,
            untimed: (0, 0, 0),
        }
    }

    /// The same, with a mark kept of every frame where `trace` says so.
    pub fn traced(mut self, trace: bool) -> Self {
        self.marks = trace.then(Vec::new);
        self
    }

    /// The next frame was there at this time.
    pub fn arrived(&mut self, ns: i64) {
        self.arrived_ns = ns;
    }

    /// The marks that were kept.
    pub fn take_marks(&mut self) -> Option<Vec<Mark>> {
        self.marks.take()
    }

    /// Sets the frames a second where the order of frames is not that of their times.
    pub fn set_rate(&mut self, rate: Option<f64>) {
        self.rate = rate;
    }

    /// Sets what became of the packets.
    pub fn set_network(&mut self, network: Network) {
        self.network = Some(network);
    }

    /// Video, audio or data.
    pub fn kind(&self) -> TrackKind {
        self.kind
    }

    /// What the track turned out to be.
    pub fn set_kind(&mut self, kind: TrackKind) {
        self.kind = kind;
    }

    /// Decoding time of the first and the last frame in unwrapped milliseconds.
    pub fn dts_range(&self) -> (i64, i64) {
        (self.clock.first_dts, self.clock.last_dts)
    }

    /// Smallest and largest presentation time in unwrapped milliseconds.
    pub fn pts_range(&self) -> (i64, i64) {
        (self.clock.first_pts, self.clock.last_pts)
    }

    /// Keeps what a container claims; the first claim of a name holds.
    pub fn declare(&mut self, name: &str, value: impl Into<String>) {
        keep(&mut self.declared, name, value.into());
    }

    /// Keeps what the sender or a receiver reports of the track.
    pub fn report(&mut self, name: &str, value: impl Into<String>) {
        keep(&mut self.reported, name, value.into());
    }

    /// Takes over a configuration record (`place` 0) or a parameter set among the frames (1), as `read` has it. One that is
    /// sent again changes nothing.
    pub fn configure<E>(
        &mut self,
        place: usize,
        record: &[u8],
        read: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        if !record.is_empty() && self.records.get(place).is_some_and(|known| known == record) {
            return Ok(());
        }
        let before = self.info.clone();
        read(self)?;
        if let Some(known) = self.records.get_mut(place) {
            known.clear();
            known.extend_from_slice(record.get(..record.len().min(MAX_RECORD)).unwrap_or_default());
        }
        let (was, is) = (self.describe(&before, None), self.describe(&self.info, None));
        let frames = self.frames.saturating_sub(self.settled);
        if was != is && frames > 0 && before.codec == self.info.codec && self.earlier.len() < MAX_EARLIER {
            self.earlier.push(format!("{was} ({frames} frames)"));
        }
        self.settled = self.frames;
        Ok(())
    }

    /// What senders and receivers reported.
    pub fn reported(&self) -> &BTreeMap<String, String> {
        &self.reported
    }

    /// What containers claimed.
    pub fn declared(&self) -> &BTreeMap<String, String> {
        &self.declared
    }

    /// Frames were lost before the next one: its distance from the last says nothing.
    pub fn lost(&mut self) {
        self.clock.broken = true;
        self.gop.open = None;
    }

    /// Another resource begins: where its first frame does not follow the last one, what lies between was not sent.
    pub fn seam(&mut self) {
        self.clock.seam = true;
    }

    /// Counts a frame with its 32 bit decoding time and the offset of its presentation time, in milliseconds.
    pub fn frame(&mut self, dts: u32, composition: i32, key: bool) {
        self.frames = self.frames.saturating_add(1);
        if std::mem::take(&mut self.clock.seam) && self.clock.is_gap(dts) {
            self.lost();
        }
        self.clock.step(dts, composition);
        if let Some(marks) = &mut self.marks {
            let pts_ms = self.clock.dts.saturating_add(i64::from(composition));
            marks.push(Mark { arrived_ns: self.arrived_ns, pts_ms, key });
        }
        if key {
            self.key_frames = self.key_frames.saturating_add(1);
            self.gop.key(self.clock.dts);
        } else if let Some((frames, _)) = &mut self.gop.open {
            *frames = frames.saturating_add(1);
        }
    }

    /// Counts a frame whose time the capture does not tell, once it has [`arrived`](Self::arrived).
    pub fn untimed_frame(&mut self, key: bool) {
        self.frames = self.frames.saturating_add(1);
        let (count, first, last) = &mut self.untimed;
        if *count == 0 {
            *first = self.arrived_ns;
        }
        *count = count.saturating_add(1);
        *last = self.arrived_ns;
        self.clock.broken = true;
        // Without times a group of pictures still has its frames, but no length.
        self.gop.untimed = true;
        if key {
            self.key_frames = self.key_frames.saturating_add(1);
            self.gop.key(0);
            self.gop.untimed = true;
        } else if let Some((frames, _)) = &mut self.gop.open {
            *frames = frames.saturating_add(1);
        }
    }

    /// Frames whose time is not known.
    pub fn untimed(&self) -> u64 {
        self.untimed.0
    }

    /// Counts a message that only says that the sequence ends.
    pub fn end_of_sequence(&mut self) {
        self.ends = self.ends.saturating_add(1);
    }

    /// Frames per second as the timestamps have it; where no frame has one, as they came.
    pub fn frame_rate(&self) -> Option<f64> {
        if self.rate.is_some() {
            return self.rate;
        }
        let (steps, ms) = (self.clock.steps, self.clock.stepped_ms);
        let (untimed, first, last) = self.untimed;
        if steps == 0 && untimed > 1 && last > first {
            let seconds = millis(last.saturating_sub(first)) / 1e9;
            return Some(round3(small(untimed.saturating_sub(1)) / seconds));
        }
        (steps > 0 && ms > 0).then(|| round3(small(steps) * 1000.0 / millis(ms)))
    }

    fn bps(&self) -> Option<f64> {
        // Every frame lasts as long as the mean step: n frames fill n steps, not n - 1.
        let seconds = small(self.frames) / self.frame_rate()?;
        (seconds > 0.0).then(|| (small(self.bytes) * 8.0 / seconds).round())
    }

    /// The track as the report has it.
    pub fn into_model(mut self) -> Track {
        let video = self.kind == TrackKind::Video;
        let measured = self.frame_rate();
        let description = self.describe(&self.info, measured);
        if !self.earlier.is_empty() {
            self.reported.insert(model::CHANGED_FROM.to_owned(), self.earlier.join("; "));
        }
        Track {
            kind: self.kind,
            frame_rate: if video { measured } else { None },
            bps: self.bps(),
            gop: self.gop.into_model(measured),
            codec: self.info.codec,
            profile: self.info.profile,
            level: self.info.level,
            width: self.info.width,
            height: self.info.height,
            sample_rate: self.info.sample_rate,
            channels: self.info.channels,
            frames: self.frames.saturating_add(self.ends),
            end_of_sequence: self.ends,
            key_frames: self.key_frames,
            bytes: self.bytes,
            packets: self.network.map(|n| n.packets),
            lost_packets: self.network.map(|n| n.lost),
            reordered: self.network.map(|n| n.reordered),
            duplicates: self.network.map(|n| n.duplicates),
            jitter_ms: self.network.and_then(|n| n.jitter_ms).map(round3),
            declared: (!self.declared.is_empty()).then_some(self.declared),
            reported: (!self.reported.is_empty()).then_some(self.reported),
            description,
        }
    }

    fn describe(&self, info: &CodecInfo, measured: Option<f64>) -> String {
        let Some(codec) = &info.codec else { return "unknown codec".to_owned() };
        let mut words = vec![match (codec.as_str(), info.profile.as_deref()) {
            ("aac", Some("LC")) => "AAC-LC".to_owned(),
            ("aac", Some(profile)) => profile.to_owned(),
            (codec, profile) => {
                let mut name = display_name(codec);
                for part in [profile, info.level.as_deref()].into_iter().flatten() {
                    name.push(' ');
                    name.push_str(part);
                }
                name
            }
        }];
        if let (Some(width), Some(height)) = (info.width, info.height) {
            words.push(format!("{width}x{height}"));
        }
        if self.kind == TrackKind::Video {
            words.extend(measured.map(|rate| format!("{} fps", trimmed(rate))));
        }
        words.extend(info.sample_rate.map(|rate| format!("{rate} Hz")));
        words.extend(info.channels.map(|channels| match channels {
            1 => "mono".to_owned(),
            2 => "stereo".to_owned(),
            n => format!("{n} channels"),
        }));
        words.join(" ")
    }
}

impl Clock {
    /// True where the step to this time is not one from a frame to the next.
    fn is_gap(&self, raw: u32) -> bool {
        let (Some(last), Some(mean)) = (self.raw, u64::try_from(self.stepped_ms).ok()) else { return false };
        let Some(mean) = mean.checked_div(self.steps).and_then(|mean| i64::try_from(mean).ok()) else {
            return false;
        };
        let step = i64::from(raw.wrapping_sub(last).cast_signed());
        !(0..=mean.saturating_mul(2).saturating_add(SEAM_MS)).contains(&step)
    }

    fn step(&mut self, raw: u32, composition: i32) {
        let Some(last) = self.raw.replace(raw) else {
            self.dts = i64::from(raw);
            let pts = self.dts.saturating_add(i64::from(composition));
            (self.first_dts, self.last_dts, self.first_pts, self.last_pts) = (self.dts, self.dts, pts, pts);
            self.broken = false;
            return;
        };
        // Timestamps are 32 bits and wrap after 49 days: the shorter way round is the true one.
        let step = i64::from(raw.wrapping_sub(last).cast_signed());
        self.dts = self.dts.saturating_add(step);
        if !self.broken && (0..JUMP_MS).contains(&step) {
            self.steps = self.steps.saturating_add(1);
            self.stepped_ms = self.stepped_ms.saturating_add(step);
        }
        self.broken = false;
        let pts = self.dts.saturating_add(i64::from(composition));
        self.last_dts = self.dts;
        self.first_pts = self.first_pts.min(pts);
        self.last_pts = self.last_pts.max(pts);
    }
}

impl GopCounter {
    fn key(&mut self, dts: i64) {
        self.close(dts);
        self.untimed = false;
    }

    fn close(&mut self, dts: i64) {
        if let Some((frames, start)) = self.open.replace((1, dts)) {
            self.min = if self.count == 0 { frames } else { self.min.min(frames) };
            self.max = self.max.max(frames);
            self.count = self.count.saturating_add(1);
            self.frames = self.frames.saturating_add(frames);
            let ms = dts.saturating_sub(start);
            if ms > 0 && !self.untimed {
                self.timed = self.timed.saturating_add(1);
                self.ms = self.ms.saturating_add(ms);
            }
        }
    }

    /// `rate` stands in for times where no group of pictures has any.
    fn into_model(self, rate: Option<f64>) -> Option<Gop> {
        if self.count == 0 {
            return None;
        }
        let mean = small(self.frames) / small(self.count);
        let seconds = match rate {
            _ if self.timed > 0 => millis(self.ms) / 1000.0 / small(self.timed),
            Some(rate) if rate > 0.0 => mean / rate,
            _ => 0.0,
        };
        Some(Gop {
            min_frames: self.min,
            mean_frames: round3(mean),
            max_frames: self.max,
            mean_s: round3(seconds),
        })
    }
}

/// Keeps a claim, bounded; the first of a name holds.
fn keep(claims: &mut BTreeMap<String, String>, name: &str, mut value: String) {
    if claims.len() < MAX_CLAIMS && !claims.contains_key(name) {
        if value.len() > MAX_CLAIM {
            value = value.chars().take(MAX_CLAIM / 4).collect();
        }
        claims.insert(name.to_owned(), value);
    }
}

fn display_name(codec: &str) -> String {
    match codec {
        "h264" => "H.264",
        "h265" => "H.265",
        "h266" => "H.266",
        "h263" => "Sorenson H.263",
        "av1" => "AV1",
        "vp6" => "VP6",
        "vp8" => "VP8",
        "vp9" => "VP9",
        "aac" => "AAC",
        "mp3" => "MP3",
        "opus" => "Opus",
        "flac" => "FLAC",
        "g711a" => "G.711 A-law",
        "g711u" => "G.711 µ-law",
        "speex" => "Speex",
        "ac3" => "AC-3",
        "eac3" => "E-AC-3",
        "mp2" => "MPEG audio layer II",
        "mpegts" => "MPEG transport stream",
        "mpeg1video" => "MPEG-1 video",
        "mpeg2video" => "MPEG-2 video",
        "mpeg4" => "MPEG-4 part 2",
        "g722" => "G.722",
        "g723" => "G.723.1",
        "g726" => "G.726",
        "g728" => "G.728",
        "g729" => "G.729",
        "gsm" => "GSM",
        "l8" => "PCM 8 bit",
        "l16" => "PCM 16 bit",
        "l24" => "PCM 24 bit",
        "vorbis" => "Vorbis",
        "mjpeg" => "JPEG",
        "svq1" => "Sorenson Video 1",
        "svq3" => "Sorenson Video 3",
        "qdm2" => "QDesign Music 2",
        "flashsv" => "Screen video",
        "flashsv2" => "Screen video 2",
        "pcm" => "PCM",
        "adpcm" => "ADPCM",
        "nellymoser" => "Nellymoser",
        other => other,
    }
    .to_owned()
}

/// A count as a float; exact below 2^53.
#[allow(clippy::cast_precision_loss)]
fn small(n: u64) -> f64 {
    n as f64
}

#[allow(clippy::cast_precision_loss)]
fn millis(n: i64) -> f64 {
    n as f64
}

fn round3(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// At most two decimals, and none that are zero.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    #[test]
    fn the_frame_rate_comes_from_the_timestamps() {
        let mut stats = Stats::new(TrackKind::Video);
        for n in 0..301u32 {
            // 30 frames a second in whole milliseconds, across the 32 bit wrap.
            stats.frame(0xffff_f000u32.wrapping_add(n * 1000 / 30), 0, n % 60 == 0);
        }
        let track = stats.into_model();
        assert_eq!(track.frame_rate, Some(30.0));
        assert_eq!((track.frames, track.key_frames), (301, 6));
        let gop = track.gop.unwrap();
        assert_eq!((gop.min_frames, gop.max_frames, gop.mean_frames, gop.mean_s), (60, 60, 60.0, 2.0));
    }

    #[test]
    fn jumps_and_losses_do_not_count_as_frame_lengths() {
        let mut stats = Stats::new(TrackKind::Video);
        for dts in [0, 40, 80, 3_600_000, 3_600_040] {
            stats.frame(dts, 0, dts == 0);
        }
        stats.lost();
        stats.frame(3_600_200, 0, true);
        stats.frame(3_600_240, 0, false);
        assert_eq!(stats.frame_rate(), Some(25.0));
        assert_eq!(stats.dts_range(), (0, 3_600_240));
        assert!(stats.into_model().gop.is_none());
    }

    #[test]
    fn frames_without_times_are_counted_and_timed_by_their_packets() {
        let mut stats = Stats::new(TrackKind::Video);
        for n in 0..26i64 {
            stats.arrived(n * 200_000_000);
            stats.untimed_frame(n % 10 == 0);
        }
        assert_eq!((stats.frame_rate(), stats.untimed()), (Some(5.0), 26));
        assert_eq!(stats.clone().into_model().gop.unwrap().mean_s, 2.0);
        // Where some have times, those tell the rate.
        for n in 0..21u32 {
            stats.frame(7000 + n * 40, 0, n % 10 == 0);
        }
        assert_eq!(stats.frame_rate(), Some(25.0));
        let gop = stats.into_model().gop.unwrap();
        assert_eq!((gop.min_frames, gop.max_frames, gop.mean_s), (6, 10, 0.4));
    }

    #[test]
    fn a_description_fits_people() {
        let mut stats = Stats::new(TrackKind::Audio);
        stats.info = CodecInfo {
            codec: Some("aac".to_owned()),
            profile: Some("LC".to_owned()),
            sample_rate: Some(44_100),
            channels: Some(2),
            ..CodecInfo::default()
        };
        assert_eq!(stats.into_model().description, "AAC-LC 44100 Hz stereo");
    }
}
